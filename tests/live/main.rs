//! The live sensor with real traffic, in network namespaces that the tests make and take away.
//!
//! Needs root; where it is missing each test says so plainly and is skipped.

#![allow(clippy::disallowed_methods, reason = "real traffic takes real time")]

mod bench;
mod who;
#[path = "../wire/mod.rs"]
mod wire;

use std::process::Command;
use std::time::{Duration, Instant};

use bench::{Net, PORT, Sender, Talk, json, lines, question, signal, tiny, until};
use serde_json::Value;

const SECONDS: Duration = Duration::from_secs(1);

/// Sums up what a run counted, and holds it against what was sent.
fn account(stats: &Value, sender: &Sender) {
    let lost: u64 =
        stats["lost"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    let (packets, parsed) = (stats["packets"].as_u64(), stats["parsed"].as_u64());
    assert_eq!(packets, Some(sender.sent), "every frame that was sent reached a counter: {stats}");
    assert_eq!(parsed.map(|p| p + lost), packets, "parsed + every counted reason: {stats}");
}

/// Alerts that name a service.
fn alerts<'a>(all: &'a [Value], service: &str) -> Vec<&'a Value> {
    all.iter().filter(|e| e["service"] == service).collect()
}

#[test]
fn frames_sent_are_read_or_counted_at_every_rate() {
    let Some(net) = Net::new("rates") else { return };
    let frames: Vec<Vec<u8>> = (0..20_000).map(tiny).collect();
    for (rate, count) in [(20_000, 20_000), (60_000, 60_000), (200_000, 200_000), (0, 300_000)] {
        let stats = net.path("stats.json");
        let watch = net.watch(&["--threads", "2", "--stats", stats.to_str().expect("text")]);
        let mut sender = net.sender();
        sender.pour(frames.iter().map(Vec::as_slice).cycle().take(count), rate);
        let (status, _) = watch.end("TERM");
        assert!(status.success(), "{status}");
        let stats = json(&stats);
        account(&stats, &sender);
        if rate == 20_000 {
            assert_eq!(stats["parsed"].as_u64(), Some(sender.sent), "nothing is lost at leisure");
            assert_eq!(stats["handed_over"].as_u64(), Some(0), "the kernel deals as we do");
        }
    }
}

#[test]
fn under_overload_hellos_are_kept_and_every_loss_is_counted() {
    let Some(net) = Net::new("load") else { return };
    let (stats, alerted) = (net.path("stats.json"), net.path("alerts.jsonl"));
    let args = ["--threads", "1", "--ring", "64", "--alerts", alerted.to_str().expect("text")];
    let watch = net.watch(&[&args[..], &["--stats", stats.to_str().expect("text")]].concat());
    let mut sender = net.sender();
    // Standing still for a moment is the same as being too slow, and the same every time.
    signal(watch.watchers(), "STOP");
    let frames: Vec<Vec<u8>> = (0..20_000).map(tiny).collect();
    // Two thirds of the ring: what comes then is behind when reading begins.
    sender.pour(frames.iter().map(Vec::as_slice).cycle().take(300_000), 0);
    for n in 0..50_u8 {
        let mut talk = Talk::new(100 + n, 50_000);
        let frames = [talk.hello("api.openai.com"), talk.use_it(2_000)].concat();
        for frame in &frames {
            sender.send(frame);
        }
    }
    let reached = sender.sent;
    sender.pour(frames.iter().map(Vec::as_slice).cycle().take(600_000), 0);
    signal(watch.watchers(), "CONT");
    let found = until("fifty devices alerted", 20 * SECONDS, || {
        let all = lines(&alerted);
        let found = alerts(&all, "openai-api").len();
        (found >= 50).then_some(found)
    });
    let (status, _) = watch.end("TERM");
    assert!(status.success(), "{status}");
    let stats = json(&stats);
    account(&stats, &sender);
    let lost = &stats["lost"];
    assert!(lost["ring_full"].as_u64() > Some(0), "the ring ran over: {stats}");
    assert!(lost["shed_by_rule"].as_u64() > Some(0), "packets were shed by rule: {stats}");
    assert_eq!(found, 50, "every use whose hello reached the ring ({reached} frames) was found");
}

#[test]
fn an_alert_comes_within_two_seconds_of_the_hello() {
    let Some(net) = Net::new("alert") else { return };
    let (alerted, store, config) =
        (net.path("alerts.jsonl"), net.path("ai.db"), net.path("shadowtap.toml"));
    // Each finding for itself, though they are kept.
    std::fs::write(&config, "[alerts]\nmode = \"every\"\n").expect("a file");
    let text = |p: &std::path::Path| p.to_str().expect("text").to_owned();
    let (config, kept) = (text(&config), text(&store));
    let watch = net.watch(&["--config", &config, "--store", &kept, "--alerts", &text(&alerted)]);
    let mut sender = net.sender();
    let mut waits = Vec::new();
    for n in 0..12_u8 {
        let mut talk = Talk::new(10 + n, 40_000);
        talk.hello("api.anthropic.com").iter().for_each(|f| sender.send(f));
        let hello = Instant::now();
        talk.use_it(1_000).iter().for_each(|f| sender.send(f));
        until("an alert", 5 * SECONDS, || {
            (alerts(&lines(&alerted), "anthropic-api").len() > usize::from(n)).then_some(())
        });
        waits.push(hello.elapsed());
        // Not in step with the sensor's seconds.
        std::thread::sleep(Duration::from_millis(37 * u64::from(n)));
    }
    waits.sort();
    let worst = waits.last().copied().unwrap_or_default();
    println!("alert latency: median {:?}, worst {worst:?}", waits.get(waits.len() / 2));
    assert!(worst <= 2 * SECONDS, "{waits:?}");
    let (status, text) = watch.end("TERM");
    assert!(status.success(), "{status}");
    assert!(text.contains("Claude API"), "totals at the end: {text}");
    let known = lines(&alerted).into_iter().filter(|e| e["kind"] == "finding");
    assert!(known.into_iter().all(|e| e["sensor_id"].is_string()), "findings name their sensor");
}

#[test]
fn what_is_seen_live_is_what_a_scan_of_the_same_frames_sees() {
    let Some(net) = Net::new("equal") else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("equal: SKIPPED: tcpdump is not installed");
        return;
    }
    let dump = net.path("dump.pcap");
    let mut tcpdump = Command::new("ip")
        .args(["netns", "exec", &net.name, "tcpdump", "-i", PORT, "-nn", "-s0", "-B", "65536"])
        .args(["--time-stamp-precision=nano", "-Z", "root", "-w"])
        .arg(&dump)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("tcpdump starts");
    let mut words = std::io::BufReader::new(tcpdump.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut words, &mut line).expect("a line");
    let watch = net.watch(&["--json", "--threads", "2"]);
    let mut sender = net.sender();
    let office = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/office/office.pcap.zst");
    let bytes = zstd::decode_all(std::fs::File::open(office).expect("the office")).expect("zstd");
    sender.pour(frames_of(&bytes).into_iter(), 20_000);
    // tcpdump hands on what waits in a block once a second.
    std::thread::sleep(SECONDS * 3 / 2);
    signal(tcpdump.id(), "TERM");
    tcpdump.wait().expect("it ends");
    let (status, live) = watch.end("TERM");
    assert!(status.success(), "{status}");
    let scan = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--json"])
        .arg(&dump)
        .output()
        .expect("a scan");
    let live: Value = serde_json::from_str(&live).expect("JSON");
    let scan: Value = serde_json::from_slice(&scan.stdout).expect("JSON");
    assert_eq!(live["frames"].as_u64(), Some(sender.sent));
    assert_eq!(live["frames"], scan["frames"]);
    assert_eq!(uses(&live), uses(&scan));
    assert!(uses(&live).len() > 10, "the office uses AI");
    for group in ["forbidden", "unreviewed", "allowed"] {
        for sum in ["bytes_sent", "bytes_received", "devices", "sessions"] {
            assert_eq!(live[group]["used"][sum], scan[group]["used"][sum], "{group} {sum}");
        }
    }
}

/// Frames of a classic capture.
fn frames_of(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut at) = (Vec::new(), 24);
    while let Some(head) = bytes.get(at..at + 16) {
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        frames.push(&bytes[at + 16..at + 16 + len]);
        at += 16 + len;
    }
    frames
}

/// Who used what, how far it went and how much, in order.
fn uses(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().expect("findings").iter();
    let used = findings.filter(|f| f["level"] == "used" || f["level"] == "bulk");
    let line = |f: &Value| {
        let device = if f["mac"].is_string() { &f["mac"] } else { &f["address"] };
        let facts =
            ["service", "level", "disposition", "bytes_sent", "bytes_received", "client_class"];
        let facts: Vec<String> = facts.iter().map(|k| f[k].to_string()).collect();
        format!("{device} {}", facts.join(" "))
    };
    let mut lines: Vec<String> = used.map(line).collect();
    lines.sort();
    lines
}

#[test]
fn signals_reload_print_and_end_without_losing_a_frame() {
    let Some(net) = Net::new("signals") else { return };
    let (alerted, stats, policy) =
        (net.path("alerts.jsonl"), net.path("stats.json"), net.path("p.toml"));
    let rules = |status: &str| {
        format!(
            "[[rule]]\nservice = \"openai-api\"\nstatus = \"{status}\"\nowner = \"it\"\n\
             reason = \"test\"\ndecided = 2026-01-01\n"
        )
    };
    std::fs::write(&policy, rules("sanctioned")).expect("a policy");
    let text = |p: &std::path::Path| p.to_str().expect("text").to_owned();
    let watch = net.watch(&[
        "--policy",
        &text(&policy),
        "--alerts",
        &text(&alerted),
        "--stats",
        &text(&stats),
    ]);
    let mut sender = net.sender();
    let frames: Vec<Vec<u8>> = (0..20_000).map(tiny).collect();
    let mut talk = Talk::new(7, 40_000);
    talk.hello("api.openai.com").iter().for_each(|f| sender.send(f));
    talk.use_it(1_500).iter().for_each(|f| sender.send(f));
    std::thread::sleep(2 * SECONDS);
    assert!(alerts(&lines(&alerted), "openai-api").is_empty(), "allowed: {:?}", lines(&alerted));
    std::fs::write(&policy, rules("forbidden")).expect("a policy");
    watch.signal("HUP");
    watch.wait_for("reloaded: policy", 10 * SECONDS);
    // The same policy, then a broken one, over and over, with traffic on.
    for round in 0..10 {
        let good = round % 2 == 0;
        let text = if good { rules("forbidden") } else { "[[rule]]\nnonsense = 1\n".to_owned() };
        let written = policy.with_extension("new");
        std::fs::write(&written, text).expect("a policy");
        std::fs::rename(&written, &policy).expect("at once");
        watch.signal("HUP");
        sender.pour(frames.iter().map(Vec::as_slice).take(4_000), 40_000);
    }
    watch.wait_for("not reloaded", 5 * SECONDS);
    watch.signal("USR1");
    watch.wait_for("\"kind\":\"live\"", 5 * SECONDS);
    let mut talk = Talk::new(8, 40_000);
    talk.hello("api.openai.com").iter().for_each(|f| sender.send(f));
    talk.use_it(1_500).iter().for_each(|f| sender.send(f));
    let forbidden = until("the policy of the last good reload", 5 * SECONDS, || {
        alerts(&lines(&alerted), "openai-api").first().map(|e| (*e).clone())
    });
    assert_eq!(forbidden["action"], "unsanctioned", "{forbidden}");
    let (status, _) = watch.end("TERM");
    assert!(status.success(), "{status}");
    let stats = json(&stats);
    account(&stats, &sender);
    assert_eq!(stats["parsed"].as_u64(), Some(sender.sent), "a reload loses nothing");
    let watch = net.watch(&[]);
    assert_eq!(watch.end("INT").0.code(), Some(130));
}

#[test]
fn an_interface_may_go_and_come_back() {
    let Some(net) = Net::new("flap") else { return };
    let alerted = net.path("alerts.jsonl");
    let watch = net.watch(&["--alerts", alerted.to_str().expect("text")]);
    let mut clients = 20..;
    let mut speak = |sender: &mut Sender| {
        let mut talk = Talk::new(clients.next().expect("endless"), 40_000);
        talk.hello("api.mistral.ai").iter().for_each(|f| sender.send(f));
        talk.use_it(1_500).iter().for_each(|f| sender.send(f));
    };
    let seen = |n: usize| {
        until("a use", 5 * SECONDS, || {
            (alerts(&lines(&alerted), "mistral-api").len() >= n).then_some(())
        });
    };
    speak(&mut net.sender());
    seen(1);
    for _ in 0..3 {
        net.link(&["set", PORT, "down"]);
        watch.wait_for("is down", 5 * SECONDS);
        net.link(&["set", PORT, "up"]);
        std::thread::sleep(SECONDS);
    }
    watch.wait_for("is back", 5 * SECONDS);
    speak(&mut net.sender());
    seen(2);
    let returns = || watch.said().iter().filter(|l| l.contains("is back")).count();
    let before = returns();
    net.link(&["del", PORT]);
    watch.wait_for("is gone", 5 * SECONDS);
    net.cable();
    until("the new one is watched", 5 * SECONDS, || (returns() > before).then_some(()));
    speak(&mut net.sender());
    seen(3);
    let (status, text) = watch.end("TERM");
    assert!(status.success(), "{status}");
    assert!(text.contains("Mistral"), "{text}");
}

#[test]
fn a_mirror_that_dies_is_an_alarm_and_silence_is_noticed() {
    let Some(net) = Net::new("mirror") else { return };
    let (alerted, config) = (net.path("alerts.jsonl"), net.path("shadowtap.toml"));
    std::fs::write(&config, "[sensor]\nid = \"tap-7\"\ncheck_s = 1\nheartbeat_s = 1\n")
        .expect("a file");
    let text = |p: &std::path::Path| p.to_str().expect("text").to_owned();
    let watch = net.watch(&["--config", &text(&config), "--alerts", &text(&alerted)]);
    let mut sender = net.sender();
    let reason = |kind: &str, reason: &str, since: usize| {
        lines(&alerted).into_iter().skip(since).any(|e| e["event"] == kind && e["reason"] == reason)
    };
    let office: Vec<Vec<u8>> =
        (0..2_000).map(tiny).chain((0..20).map(|n| question(9, n))).collect();
    let one_way: Vec<Vec<u8>> = (0..2_000).step_by(2).map(tiny).collect();
    let pour = |sender: &mut Sender, frames: &[Vec<u8>], done: &dyn Fn() -> bool, what: &str| {
        until(what, 10 * SECONDS, || {
            sender.pour(frames.iter().map(Vec::as_slice), 20_000);
            done().then_some(())
        });
    };
    let beats = || lines(&alerted).iter().filter(|e| e["event"] == "heartbeat").count();
    let before = beats();
    pour(&mut sender, &office, &|| beats() > before + 2, "heartbeats with traffic");
    assert!(
        !reason("mirror_degraded", "no_frames", 0) || reason("mirror_restored", "no_frames", 0)
    );
    let since = lines(&alerted).len();
    // The mirror is taken away: the cable is there, and nothing comes.
    until("no frames", 10 * SECONDS, || {
        reason("mirror_degraded", "no_frames", since).then_some(())
    });
    pour(
        &mut sender,
        &office,
        &|| reason("mirror_restored", "no_frames", since),
        "the mirror is back",
    );
    pour(
        &mut sender,
        &one_way,
        &|| reason("mirror_degraded", "one_direction", since),
        "one direction",
    );
    let (status, _) = watch.end("TERM");
    assert!(status.success(), "{status}");
    let all = lines(&alerted);
    let numbers: Vec<u64> = all
        .iter()
        .filter(|e| e["event"] == "heartbeat")
        .filter_map(|e| e["number"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "a gap would be silence");
    assert!(all.iter().all(|e| e["sensor_id"] == "tap-7"));
    let degraded = all.iter().find(|e| e["event"] == "mirror_degraded").expect("told above");
    assert!(degraded["next_steps"].as_str().is_some_and(|t| !t.is_empty()), "{degraded}");
}

#[test]
fn watchers_that_die_are_started_again_and_missed_frames_counted() {
    let Some(net) = Net::new("crash") else { return };
    let (alerted, stats) = (net.path("alerts.jsonl"), net.path("stats.json"));
    let text = |p: &std::path::Path| p.to_str().expect("text").to_owned();
    let watch =
        net.watch(&["--alerts", &text(&alerted), "--stats", &text(&stats), "--threads", "2"]);
    let mut sender = net.sender();
    let mut speak = |client| {
        let mut talk = Talk::new(client, 40_000);
        talk.hello("api.openai.com").iter().for_each(|f| sender.send(f));
        talk.use_it(1_500).iter().for_each(|f| sender.send(f));
    };
    speak(30);
    until("a use", 5 * SECONDS, || {
        (!alerts(&lines(&alerted), "openai-api").is_empty()).then_some(())
    });
    let first = watch.watchers();
    signal(first, "KILL");
    watch.wait_for("are started again", 10 * SECONDS);
    until("others", 10 * SECONDS, || (watch.watchers() != first).then_some(()));
    speak(31);
    until("a use after it", 10 * SECONDS, || {
        (alerts(&lines(&alerted), "openai-api").len() >= 2).then_some(())
    });
    let (status, _) = watch.end("TERM");
    assert!(status.success(), "{status}");
    assert_eq!(json(&stats)["worker_restarts"].as_u64(), Some(1));
}

#[test]
fn a_confined_watcher_cannot_get_out() {
    if let Some(why) = bench::missing() {
        eprintln!("escape: SKIPPED: {why}");
        return;
    }
    let out = Command::new(env!("CARGO_BIN_EXE_shadowtap")).arg("internal-escape").output();
    let out = out.expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout);
    for way in [
        "read a file",
        "connect over TCP",
        "run a program",
        "take a capability back",
        "become root",
    ] {
        assert!(text.contains(&format!("shut {way}")), "{way}: {text}");
    }
    assert!(out.status.success() && !text.contains("OPEN"), "{text}");
}

#[test]
fn the_watchers_of_a_running_sensor_hold_no_right() {
    let Some(net) = Net::new("rights") else { return };
    let watch = net.watch(&[]);
    let pid = watch.watchers();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, v)| v.trim().to_owned())
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert!(field("Uid").starts_with("65534"), "{}", field("Uid"));
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).expect("status");
        assert!(status.contains("Seccomp:\t2"), "every thread is confined");
    }
    assert!(watch.end("TERM").0.success());
}

#[test]
fn doctor_says_what_is_wrong_with_a_mirror() {
    let Some(net) = Net::new("doctor") else { return };
    let look = |frames: Vec<Vec<u8>>| {
        let mut sender = net.sender();
        let child = Command::new("ip")
            .args(["netns", "exec", &net.name, env!("CARGO_BIN_EXE_shadowtap"), "doctor"])
            .args(["-i", PORT, "--seconds", "3"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it starts");
        let begin = Instant::now();
        while begin.elapsed() < 3 * SECONDS {
            sender.pour(frames.iter().map(Vec::as_slice), 5_000);
        }
        let out = child.wait_with_output().expect("it ends");
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, good) = look((0..500).map(tiny).chain((0..9).map(|n| question(9, n))).collect());
    assert_eq!(code, Some(0), "{good}");
    for check in ["both directions", "other hosts", "inside the NAT", "DNS", "ring"] {
        assert!(good.contains(check), "{check}: {good}");
    }
    let (code, bad) = look((0..500).step_by(2).map(tiny).collect());
    assert_eq!(code, Some(1), "{bad}");
    assert!(
        bad.contains("BAD     both directions") && bad.contains("mirror both directions"),
        "{bad}"
    );
}

#[test]
fn a_missing_right_is_named_with_the_command_that_grants_it() {
    if let Some(why) = bench::missing() {
        eprintln!("grant: SKIPPED: {why}");
        return;
    }
    // Root without the right to capture, in a namespace that has only `lo`.
    let out = Command::new("setpriv")
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
        .args([env!("CARGO_BIN_EXE_shadowtap"), "watch", "-i", "lo", "--quiet"])
        .output();
    let Ok(out) = out else {
        eprintln!("grant: SKIPPED: setpriv (util-linux) is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("CAP_NET_RAW") && text.contains("sudo setcap cap_net_raw"), "{text}");
}
