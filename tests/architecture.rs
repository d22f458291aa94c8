//! The house as the code has it: who may use whom, and what is absent where.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `src/`, as `/`-separated paths, with its text.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let name =
            path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).expect("a source file"))
    };
    // A room's tests may stand in a file of their own.
    let ships = |(name, _): &(String, String)| !name.ends_with("tests.rs");
    found.into_iter().map(read).filter(ships).collect()
}

/// The part of a file that ships: everything before its tests.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Roles and what they may never reach for. `observation.rs` and `types.rs` are everybody's.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("watcher/", &["recorder", "courier", "answer", "cli", "config", "sensor"]),
    (
        "watcher/protocol/",
        &["watcher::flow", "watcher::decode", "watcher::capture", "watcher::packet"],
    ),
    ("watcher/decode/", &["watcher::flow", "watcher::protocol", "watcher::capture"]),
    (
        "recorder/",
        &[
            "cli",
            "answer",
            "courier",
            "sensor",
            "watcher::capture",
            "watcher::decode",
            "watcher::flow",
        ],
    ),
    ("courier/", &["watcher", "cli", "answer", "sensor"]),
    ("answer/", &["cli", "courier", "sensor"]),
];

#[test]
fn arrows_point_downhill() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (room, never) in FORBIDDEN.iter().filter(|(room, _)| name.starts_with(room)) {
            for word in *never {
                let used = format!("crate::{word}");
                let hits = shipped(&text).match_indices(&used).filter(|(at, _)| {
                    let behind = shipped(&text)[at + used.len()..].chars().next();
                    behind.is_none_or(|c| !c.is_alphanumeric() && c != '_')
                });
                if hits.count() > 0 {
                    wrong.push(format!("{name} uses {used}, which {room} must not"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_absent_is_absent() {
    let rules: [(&str, &[&str], &[&str]); 5] = [
        ("SQL", &["SELECT ", "INSERT INTO", "DELETE FROM"], &["recorder/store/"]),
        ("threads and channels", &["thread::spawn", "thread::scope", "bounded::<"], &["sensor/"]),
        ("libpcap", &["pcap::"], &["watcher/capture/"]),
        ("unsafe code", &["unsafe {"], &["watcher/capture/", "prefetch.rs"]),
        // Signatures of web hooks and test messages carry the time at which they are sent.
        ("a wall clock", &["SystemTime::now", "Timestamp::now"], &["courier/", "cli/sinks.rs"]),
    ];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (what, signs, only_in) in &rules {
            if only_in.iter().any(|place| name.starts_with(place)) {
                continue;
            }
            for sign in *signs {
                let code = shipped(&text).lines().filter(|l| !l.trim_start().starts_with("//"));
                if code.into_iter().any(|line| line.contains(sign)) {
                    wrong.push(format!("{name}: {what} ({sign}) belongs to {only_in:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "without a module doc: {missing:?}");
}
