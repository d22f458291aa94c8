//! Who it was, live: leases from the wire, logons by syslog, files that change, and what leaves of it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Net, Sender, Watch, lines, until};
use crate::wire::{Wire, mac, v4};

const SECONDS: Duration = Duration::from_secs(1);
const HOST: &str = "api.openai.com";

/// What must not leave where names do not leave.
const NAMES: [&str; 8] =
    ["anna", "ben.", "carla", "laptop-q", "LAPTOP-Q", "10.0.0.7", "02:00:00:00:00:07", "10.0.0.8"];

/// A sensor that hears of logons at port 5514, with `mode` for names.
fn config(net: &Net, mode: &str) {
    net.run("ip", &["link", "set", "lo", "up"]);
    let certificate =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=sensor";
    let made = Command::new("openssl")
        .args(certificate.split(' '))
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(net.dir.path())
        .output();
    assert!(made.expect("openssl runs").status.success(), "a certificate");
    std::fs::write(net.path("inventory.csv"), "name,mac,user\n").expect("a file");
    let text = format!(
        "[identity]\nusers = true\npurpose = \"test\"\ncontact = \"a@example.org\"\nretention_days = 9\n\
         inventory = [\"inventory.csv\"]\n\
         listen = [\"udp://127.0.0.1:5514\", \"tcp://127.0.0.1:5514\", \"tls://127.0.0.1:6514\"]\n\
         listen_from = [\"127.0.0.1/32\"]\nlisten_cert = \"cert.pem\"\nlisten_key = \"key.pem\"\n\
         [privacy]\nmode = \"{mode}\"\nkey_file = \"key\"\n[alerts]\nmode = \"every\"\n"
    );
    std::fs::write(net.path("shadowtap.toml"), text).expect("a file");
}

/// Somebody tells of a logon.
fn tell(net: &Net, carrier: &str, message: &str) {
    let script = match carrier {
        // The sender stays a moment, as senders do: what it says last is not to be lost with it.
        "tls" => {
            "(printf '%s\\n' \"$1\"; sleep 1) | openssl s_client -quiet -no_ign_eof -connect 127.0.0.1:6514"
                .to_owned()
        }
        _ => format!("printf '%s\\n' \"$1\" > /dev/{carrier}/127.0.0.1/5514"),
    };
    net.run("bash", &["-c", &format!("{script} 2>/dev/null"), "bash", message]);
}

fn send(sender: &mut Sender, fill: impl FnOnce(&mut Wire)) {
    let mut wire = Wire::default();
    fill(&mut wire);
    wire.frames().iter().for_each(|frame| sender.send(frame));
}

/// A machine gets an address and uses an AI service.
fn lease(sender: &mut Sender, n: u16, name: &str) {
    let addr = format!("10.0.0.{n}").parse().expect("an address");
    send(sender, |w| w.dhcp(0, mac(n), addr, name, 3_600));
}

fn ask(sender: &mut Sender, n: u16, port: u16) {
    send(sender, |w| w.ask(0, (mac(n), v4(&format!("10.0.0.{n}")), port), 64, HOST, ""));
}

fn said(net: &Net, args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .args(["--store", "s.db", "--json"])
        .current_dir(net.dir.path())
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// What the store says now of who used AI on the device with that link address.
fn finding(net: &Net, alerts: &Path, mac: &str) -> Option<(u64, String)> {
    let alert =
        lines(alerts).into_iter().find(|e| e["kind"] == "finding" && e["src_mac"] == mac)?;
    let answer = said(net, &["evidence", alert["finding_id"].as_str()?]);
    let of = &answer["finding"];
    Some((of["revision"].as_u64()?, of["user"].as_str().unwrap_or("?").to_owned()))
}

fn watch(net: &Net) -> Watch {
    net.watch(&["--config", "shadowtap.toml", "--store", "s.db", "--alerts", "alerts.jsonl"])
}

#[test]
fn a_lease_a_logon_and_a_use_are_one_finding_with_both_names() {
    let Some(net) = Net::new("who") else { return };
    config(&net, "clear");
    let (watch, mut sender, alerts) = (watch(&net), net.sender(), net.path("alerts.jsonl"));
    lease(&mut sender, 7, "LAPTOP-Q7");
    tell(&net, "udp", "<38>Nov 23 10:00:00 dc1 logon user=anna ip=10.0.0.7");
    // The message is there before the use that it names is over.
    std::thread::sleep(2 * SECONDS);
    ask(&mut sender, 7, 5_000);
    let alert = until("an alert", 10 * SECONDS, || {
        lines(&alerts).into_iter().find(|e| e["src_mac"] == "02:00:00:00:00:07")
    });
    assert_eq!((&alert["src_host"], &alert["user"]), (&"LAPTOP-Q7".into(), &"anna".into()));

    // Told late: the finding is there without a name, and gets a revision with one.
    lease(&mut sender, 8, "LAPTOP-Q8");
    // Whole seconds: the next one is behind the lease.
    std::thread::sleep(2 * SECONDS);
    let begun = Command::new("date").arg("+%s").output().expect("date runs").stdout;
    let begun: u64 = String::from_utf8_lossy(&begun).trim().parse().expect("a number");
    ask(&mut sender, 8, 5_000);
    let first = until("a finding", 10 * SECONDS, || finding(&net, &alerts, "02:00:00:00:00:08"));
    assert_eq!(first, (1, "?".to_owned()));
    for (carrier, user) in [("tcp", "ben"), ("tls", "nobody-else")] {
        let addr = if carrier == "tcp" { "10.0.0.8" } else { "10.0.0.99" };
        tell(&net, carrier, &format!("ts={begun} user={user} ip={addr}"));
    }
    let later = until("a revision", 40 * SECONDS, || {
        finding(&net, &alerts, "02:00:00:00:00:08").filter(|f| f.0 > 1)
    });
    assert_eq!(later, (2, "ben".to_owned()));
    until("what came by TLS", 20 * SECONDS, || {
        (said(&net, &["whois", "10.0.0.99"])["user"] == "nobody-else").then_some(())
    });

    // A file that changes: whose the machine is.
    ask(&mut sender, 9, 5_000);
    until("a finding", 10 * SECONDS, || finding(&net, &alerts, "02:00:00:00:00:09"));
    let inventory = "name,mac,user\nlaptop-q9,02:00:00:00:00:09,carla\n";
    std::fs::write(net.path("new.csv"), inventory).expect("a file");
    std::fs::rename(net.path("new.csv"), net.path("inventory.csv")).expect("in its place");
    let later = until("a revision", 40 * SECONDS, || {
        finding(&net, &alerts, "02:00:00:00:00:09").filter(|f| f.0 > 1)
    });
    assert_eq!(later, (2, "carla".to_owned()));
    let (status, _) = watch.end("TERM");
    assert!(status.success(), "{status}");
}

#[test]
fn names_do_not_leave_a_running_sensor_that_masks_them() {
    for mode in ["masked", "pseudonymous"] {
        let Some(net) = Net::new("mask") else { return };
        config(&net, mode);
        let (watch, mut sender, alerts) = (watch(&net), net.sender(), net.path("alerts.jsonl"));
        lease(&mut sender, 7, "LAPTOP-Q7");
        tell(&net, "tcp", "user=anna ip=10.0.0.7");
        tell(&net, "udp", "of 10.0.0.7 anna cannot be used");
        std::thread::sleep(2 * SECONDS);
        ask(&mut sender, 7, 5_000);
        lease(&mut sender, 8, "LAPTOP-Q8");
        ask(&mut sender, 8, 5_000);
        until("two alerts", 10 * SECONDS, || {
            (lines(&alerts).iter().filter(|e| e["kind"] == "finding").count() >= 2).then_some(())
        });
        tell(&net, "tcp", "user=ben.late ip=10.0.0.8");
        std::fs::write(
            net.path("inventory.csv"),
            "name,mac,user\nlaptop-q8,02:00:00:00:00:08,carla\n",
        )
        .expect("a file");
        watch.wait_for("read anew", 20 * SECONDS);
        std::thread::sleep(12 * SECONDS);
        let view = UnixStream::connect(net.path("views.sock")).expect("a view attaches");
        let mut shown = String::new();
        BufReader::new(view).read_line(&mut shown).expect("a snapshot");
        assert!(shown.contains("OpenAI"), "it shows what happened: {shown}");
        let words = watch.said().join("\n");
        let (status, summary) = watch.end("TERM");
        assert!(status.success(), "{status}");
        let read = |name: &str| std::fs::read(net.path(name)).unwrap_or_default();
        let mut outputs = vec![
            ("alerts", read("alerts.jsonl")),
            ("messages", words.into_bytes()),
            ("summary", summary.into_bytes()),
            ("view", shown.into_bytes()),
        ];
        if mode == "pseudonymous" {
            outputs.extend([("store", read("s.db")), ("journal", read("s.db-wal"))]);
        }
        for (what, bytes) in outputs {
            let text = String::from_utf8_lossy(&bytes);
            for name in NAMES {
                assert!(!text.contains(name), "{mode}: {name} in {what}: {text}");
            }
        }
    }
}
