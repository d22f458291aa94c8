//! The program as a person runs it: exit codes, messages, and promises about repeated runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use shadowtap::recorder::store::{Answers, CandidateLine, Scope};
use tempfile::TempDir;

const OFFICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/office/office.pcap.zst");

/// The recorded office's own networks.
const OFFICE_SCOPE: &str =
    "[scope]\nown_networks = [\"10.20.0.0/24\", \"10.20.1.0/24\", \"2001:db8:20::/64\"]\n";

fn shadowtap(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with the office's configuration.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("office.toml"), OFFICE_SCOPE).expect("a small file");
    dir
}

/// The office capture cut into `parts` files at record borders.
fn office_parts(dir: &Path, parts: usize) -> Vec<PathBuf> {
    let packed = fs::read(OFFICE).expect("the fixture");
    let whole = zstd::decode_all(packed.as_slice()).expect("zstd");
    let (header, mut rest) = whole.split_at(24);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (record, tail) = rest.split_at(16 + len);
        records.push(record);
        rest = tail;
    }
    let each = records.len().div_ceil(parts);
    let write = |(n, chunk): (usize, &[&[u8]])| {
        let path = dir.join(format!("part-{n}.pcap"));
        let mut bytes = header.to_vec();
        for record in chunk {
            bytes.extend_from_slice(record);
        }
        fs::write(&path, bytes).expect("a part");
        path
    };
    records.chunks(each).enumerate().map(write).collect()
}

/// Bytes, flows and sessions by service and level: what must not depend on how often, in how
/// many runs or in which order things were scanned.
fn totals(store: &Path) -> Vec<(String, i64, i64, i64, i64)> {
    let db = Connection::open(store).expect("the store");
    let mut query = db
        .prepare(
            "SELECT w.word, u.level, sum(u.bytes_up), sum(u.bytes_down), sum(u.flows)
             FROM usage u JOIN word w ON w.id = u.service GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .expect("usage");
    let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?));
    query.query_map([], row).expect("rows").map(|r| r.expect("a row")).collect()
}

/// Candidates of a store: host, devices, flows, bytes up, bytes down.
fn candidates(store: &Path) -> Vec<(String, u64, u64, u64, u64)> {
    let store = Answers::open(store).expect("the store");
    let found = store.candidates(&Scope::default()).expect("candidates");
    let line = |c: CandidateLine| {
        let t = c.totals;
        (c.host.to_string(), t.devices, t.flows, t.bytes_up, t.bytes_down)
    };
    found.into_iter().map(line).collect()
}

#[test]
fn exit_codes_and_messages() {
    let dir = folder();
    let at = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
    at("empty.pcap", b"");
    at("note.txt", b"not a capture at all\n");
    at("cut.pcap", &{
        let packed = fs::read(OFFICE).expect("the fixture");
        zstd::decode_all(packed.as_slice()).expect("zstd")[..3_000].to_vec()
    });
    fs::create_dir(dir.path().join("junk")).expect("a folder");
    at("junk/a.bin", &[7; 900]);
    let cases: [(&[&str], i32, &str); 14] = [
        (&["scan", OFFICE, "-q", "-c", "office.toml"], 0, ""),
        (&["scan", OFFICE, "-q", "-c", "office.toml", "--fail-on", "unreviewed"], 3, ""),
        (&["scan", OFFICE, "-q", "-c", "office.toml", "--fail-on", "forbidden"], 0, ""),
        (&["scan", "missing.pcap"], 1, "missing.pcap: No such file"),
        (&["scan", "empty.pcap"], 1, "empty.pcap: empty file"),
        (&["scan", "note.txt"], 1, "note.txt: not a capture"),
        (&["scan", "cut.pcap"], 1, "cut short"),
        (&["scan", "junk"], 0, "skipped"),
        (&["scan"], 2, "no input"),
        (&["scan", OFFICE, "--json", "--alerts", "-"], 2, "both want standard output"),
        (&["scan", OFFICE, "--filter", "no such ((("], 2, "filter"),
        (&["scan", OFFICE, "--fail-on", "sometimes"], 2, "a level"),
        (&["scan", OFFICE, "--threads", "0"], 2, "threads"),
        (&["scan", OFFICE, "-c", "missing.toml"], 2, "missing.toml"),
    ];
    for (args, code, message) in cases {
        let out = shadowtap(dir.path(), args);
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?} says {message:?}, not: {stderr}");
    }
}

#[test]
fn a_good_input_counts_though_another_is_bad() {
    let dir = folder();
    fs::write(dir.path().join("note.txt"), "no capture").expect("a file");
    let args = ["scan", "-q", "-c", "office.toml", "--json", "note.txt", OFFICE];
    let out = shadowtap(dir.path(), &args);
    assert_eq!(out.status.code(), Some(1));
    let alone = shadowtap(dir.path(), &["scan", "-q", "-c", "office.toml", "--json", OFFICE]);
    let findings = |out: &Output| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&out.stdout).expect("JSON")["findings"].clone()
    };
    assert_eq!(findings(&out), findings(&alone));
}

#[test]
fn the_output_does_not_depend_on_the_number_of_threads() {
    let dir = folder();
    // Caps low enough that flows are evicted and left unread: the shards carry them.
    let tight = format!("{OFFICE_SCOPE}[limits]\nflows_max = 512\nnamed_flows_max = 256\n");
    fs::write(dir.path().join("tight.toml"), tight).expect("a file");
    for config in ["office.toml", "tight.toml"] {
        let run = |threads: &str| {
            let args = [
                "scan",
                "-q",
                "-c",
                config,
                "--json",
                "--threads",
                threads,
                "--observations",
                "seen.jsonl",
                OFFICE,
            ];
            let out = shadowtap(dir.path(), &args);
            let seen = fs::read(dir.path().join("seen.jsonl")).expect("observations");
            assert!(!seen.is_empty() && !out.stdout.is_empty());
            (out.stdout, seen)
        };
        let one = run("1");
        for threads in ["2", "7", "16"] {
            assert!(run(threads) == one, "{config} with {threads} threads");
        }
    }
}

#[test]
fn totals_do_not_depend_on_how_the_captures_are_scanned() {
    let dir = folder();
    let parts = office_parts(dir.path(), 5);
    let names: Vec<&str> = parts.iter().map(|p| p.to_str().expect("a path")).collect();
    let scan = |store: &str, inputs: &[&str]| {
        let mut args = vec!["scan", "-q", "-c", "office.toml", "--store", store];
        args.extend(inputs);
        let out = shadowtap(dir.path(), &args);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    };
    scan("whole.db", &[OFFICE]);
    scan("together.db", &names);
    for name in &names {
        scan("singly.db", &[name]);
    }
    let at = |store: &str| totals(&dir.path().join(store));
    let whole = at("whole.db");
    assert!(whole.iter().any(|(.., up, _, _)| *up > 1_000_000), "the office has a bulk upload");
    assert_eq!(at("together.db"), whole, "rotated files in one run");
    assert_eq!(at("singly.db"), whole, "rotated files one by one");
    for name in names.iter().rev() {
        scan("singly.db", &[name]);
    }
    assert_eq!(at("singly.db"), whole, "each again, last one first");
    let heard = |store: &str| candidates(&dir.path().join(store));
    assert!(heard("whole.db").iter().any(|(_, devices, ..)| *devices > 1), "devices to unite");
    assert_eq!(heard("together.db"), heard("whole.db"), "candidates of rotated files in one run");
    assert_eq!(heard("singly.db"), heard("whole.db"), "candidates of rotated files one by one");
}

#[test]
fn excluded_networks_leave_no_trace() {
    let dir = folder();
    let excluded =
        OFFICE_SCOPE.replace("[scope]", "[scope]\nexclude.networks = [\"10.20.0.0/24\"]");
    fs::write(dir.path().join("excluded.toml"), excluded).expect("a file");
    let args = [
        "scan",
        "-q",
        "-c",
        "excluded.toml",
        "--json",
        "--observations",
        "seen.jsonl",
        "--alerts",
        "alerts.jsonl",
        "--store",
        "kept.db",
        OFFICE,
    ];
    let out = shadowtap(dir.path(), &args);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let mut all = out.stdout;
    for name in ["seen.jsonl", "alerts.jsonl", "kept.db"] {
        all.extend(fs::read(dir.path().join(name)).expect("an output"));
    }
    assert!(!text(&all).contains("10.20.0."), "an excluded address is in an output");
}

#[test]
fn standard_input_reads_as_a_file_does() {
    let dir = folder();
    let from_file = shadowtap(dir.path(), &["scan", "-q", "-c", "office.toml", "--json", OFFICE]);
    let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "-q", "-c", "office.toml", "--json", "-"])
        .current_dir(dir.path())
        .stdin(fs::File::open(OFFICE).expect("the fixture"))
        .output()
        .expect("the binary runs");
    let totals = |bytes: &[u8]| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON")["unreviewed"].clone()
    };
    assert!(totals(&out.stdout).is_object());
    assert_eq!(totals(&out.stdout), totals(&from_file.stdout));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = folder();
    let wanted: [&[&str]; 2] = [&["scan", "-q", "--json", OFFICE], &["scan", "-q", OFFICE]];
    for args in wanted {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
            .args(args)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let out = child.wait_with_output().expect("it ends");
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn lookup_answers_line_by_line() {
    let dir = folder();
    let out = shadowtap(dir.path(), &["lookup", "chatgpt.com", "example.org"]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(text(&out.stdout), "chatgpt.com\tchatgpt\tchatgpt.com\nexample.org\t\t\n");
}

#[test]
fn a_policy_named_on_the_command_line_decides() {
    let dir = folder();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/office/policy.toml");
    let signatures = concat!(env!("CARGO_MANIFEST_DIR"), "/signatures");
    let args = ["scan", "-q", "-c", "office.toml", "--policy", policy, "--signatures", signatures];
    let args = [&args[..], &["--fail-on", "bulk,forbidden", OFFICE]].concat();
    let out = shadowtap(dir.path(), &args);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
}

#[test]
fn a_packet_that_lies_in_two_captures_counts_once() {
    let dir = folder();
    let parts = office_parts(dir.path(), 4);
    let join = |name: &str, parts: &[PathBuf]| {
        let mut bytes = fs::read(&parts[0]).expect("a part");
        for part in &parts[1..] {
            bytes.extend_from_slice(&fs::read(part).expect("a part")[24..]);
        }
        fs::write(dir.path().join(name), bytes).expect("a capture");
    };
    join("early.pcap", &parts[..3]);
    join("late.pcap", &parts[1..]);
    join("whole.pcap", &parts);
    join("copy.pcap", &parts);
    let scan = |store: &str, inputs: &[&str]| {
        let mut args = vec!["scan", "-q", "-c", "office.toml", "--store", store];
        args.extend(inputs);
        let out = shadowtap(dir.path(), &args);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        totals(&dir.path().join(store))
    };
    let whole = scan("whole.db", &["whole.pcap"]);
    assert_eq!(scan("overlap.db", &["early.pcap", "late.pcap"]), whole, "overlapping captures");
    assert_eq!(scan("twice.db", &["whole.pcap", "copy.pcap"]), whole, "the same content twice");
    assert_eq!(scan("packed.db", &["whole.pcap", OFFICE]), whole, "plain and compressed");
    // In runs of their own nothing tells that the packets are the same, but the time is.
    let out = shadowtap(dir.path(), &["scan", "--store", "overlap.db", "whole.pcap"]);
    assert!(text(&out.stderr).contains("the store has early.pcap and 1 more of the same time"));
}

#[test]
fn a_part_does_not_take_the_place_of_the_whole() {
    let dir = folder();
    let scan = |more: &[&str]| {
        let args = [&["scan", "-q", "-c", "office.toml", "--store", "s.db", OFFICE], more].concat();
        shadowtap(dir.path(), &args)
    };
    assert_eq!(scan(&[]).status.code(), Some(0));
    let whole = totals(&dir.path().join("s.db"));
    let part = scan(&["--filter", "udp"]);
    assert_eq!(part.status.code(), Some(1));
    assert!(text(&part.stderr).contains("would take its place"), "{}", text(&part.stderr));
    assert_eq!(totals(&dir.path().join("s.db")), whole);
}

#[test]
fn a_capture_with_a_wrong_clock_costs_nothing_of_the_store() {
    let dir = folder();
    let packed = fs::read(OFFICE).expect("the fixture");
    let mut one = zstd::decode_all(packed.as_slice()).expect("zstd");
    let len = u32::from_le_bytes(one[32..36].try_into().unwrap()) as usize;
    one.truncate(40 + len);
    one[24..28].copy_from_slice(&4_200_000_000_u32.to_le_bytes());
    fs::write(dir.path().join("future.pcap"), one).expect("a capture");
    let args = ["scan", "-q", "-c", "office.toml", "--store", "s.db", OFFICE, "future.pcap"];
    let out = shadowtap(dir.path(), &args);
    assert!(text(&out.stdout).contains("AI that nobody approved"), "{}", text(&out.stdout));
    let alone =
        shadowtap(dir.path(), &["scan", "-q", "-c", "office.toml", "--store", "t.db", OFFICE]);
    assert_eq!(alone.status.code(), Some(0));
    assert_eq!(totals(&dir.path().join("s.db")), totals(&dir.path().join("t.db")));
}

#[test]
fn outputs_that_cannot_be_written_are_told_before_the_work() {
    let dir = folder();
    for output in ["--alerts", "--stats", "--observations"] {
        let out = shadowtap(dir.path(), &["scan", "-q", OFFICE, output, "missing/file"]);
        assert_eq!(out.status.code(), Some(2), "{output}");
        assert!(text(&out.stderr).contains("missing/file"), "{output}: {}", text(&out.stderr));
    }
    let out = shadowtap(dir.path(), &["scan", "-q", OFFICE, "--store", "/dev/null"]);
    assert_eq!(out.status.code(), Some(1), "a device is no store: {}", text(&out.stderr));
}

#[test]
fn a_stream_that_is_stopped_counts_as_far_as_it_was_read() {
    use std::io::Write;
    let dir = folder();
    let packed = fs::read(OFFICE).expect("the fixture");
    let whole = zstd::decode_all(packed.as_slice()).expect("zstd");
    let mut child = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "-c", "office.toml", "-"])
        .current_dir(dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    // All but the middle of the last record; then nothing more comes, and nothing is closed.
    pipe.write_all(&whole[..whole.len() - 7]).expect("all is read");
    let pid = rustix::process::Pid::from_child(&child);
    // What the pipe still holds is read before the signal is looked at.
    std::thread::sleep(std::time::Duration::from_millis(500));
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let out = child.wait_with_output().expect("an end");
    drop(pipe);
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("AI that nobody approved"), "{}", text(&out.stdout));
    assert!(!text(&out.stderr).contains("cut short"), "{}", text(&out.stderr));
}
