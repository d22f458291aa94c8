//! Recorder, courier and receiver are killed again and again under load: what was committed arrives.
//!
//! 24 kills by default; `SHADOWTAP_KILLS=200` makes as many.

#[path = "support/replay.rs"]
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use replay::{Office, Size};

const SHADOWTAP: &str = env!("CARGO_BIN_EXE_shadowtap");

/// Who is killed in turn.
const ROLES: [&str; 3] = ["recorder", "courier", "receiver"];

/// The three, as far as they run.
struct House {
    dir: PathBuf,
    port: u16,
    captures: Vec<PathBuf>,
    /// Place of the capture that is recorded now.
    at: usize,
    running: [Option<Child>; 3],
}

impl House {
    fn shadowtap(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SHADOWTAP);
        command.args(words).current_dir(&self.dir).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&self, role: usize) -> Child {
        let mut command = match role {
            0 => {
                let set = ["--config", "shadowtap.toml", "--store", "s.db", "--set"];
                let mut scan = self.shadowtap(&["scan", "--quiet"]);
                scan.args(set).arg("alerts.mode=every").arg(&self.captures[self.at]);
                scan
            }
            1 => self.shadowtap(&[
                "sinks",
                "deliver",
                "--config",
                "shadowtap.toml",
                "--store",
                "s.db",
            ]),
            _ => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers/hook.py");
                let mut receiver = Command::new("/usr/bin/python3");
                receiver.arg(script).current_dir(&self.dir).stderr(Stdio::null());
                receiver.args(["port", "got", "0", "-", &self.port.to_string()]);
                receiver
            }
        };
        command.spawn().unwrap()
    }

    /// Starts whoever does not run, and moves on to the next capture once one is done.
    fn keep_busy(&mut self) {
        for role in 0..ROLES.len() {
            if let Some(child) = &mut self.running[role]
                && let Some(status) = child.try_wait().unwrap()
            {
                self.running[role] = None;
                if role == 0 && status.success() {
                    self.at = (self.at + 1) % self.captures.len();
                }
            }
            // A courier needs a store to read from.
            if self.running[role].is_none() && (role != 1 || self.dir.join("s.db").exists()) {
                self.running[role] = Some(self.start(role));
            }
        }
    }

    /// Event ids of all alerts that are committed by now, in order.
    fn committed(&self) -> Vec<String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let Ok(conn) = Connection::open_with_flags(self.dir.join("s.db"), flags) else {
            return Vec::new();
        };
        let Ok(mut all) = conn.prepare("SELECT event_id FROM outbox ORDER BY seq") else {
            return Vec::new();
        };
        let rows = all.query_map([], |r| r.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// Event ids as the file has them, over all its rotations.
    fn in_file(&self) -> Vec<String> {
        let mut parts: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if let Some(end) = name.strip_prefix("alerts.json") {
                // The highest number is the oldest part.
                let age: u64 = end.trim_start_matches('.').parse().unwrap_or(0);
                parts.insert(u64::MAX - age, path);
            }
        }
        let text: String = parts.values().map(|p| fs::read_to_string(p).unwrap()).collect();
        text.lines().map(|l| id(&serde_json::from_str(l).unwrap())).collect()
    }

    /// Event ids as the receiver has them.
    fn at_receiver(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("got")).unwrap();
        let body = |line: &str| -> Value {
            let request: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str(request["body"].as_str().unwrap()).unwrap()
        };
        text.lines().map(|l| id(&body(l))).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn id(event: &Value) -> String {
    event["event_id"].as_str().unwrap().to_owned()
}

/// The first time of each.
fn once(ids: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.iter().filter(|id| seen.insert(*id)).cloned().collect()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long each takes alone is measured")]
fn whoever_is_killed_every_committed_alert_arrives() {
    let kills: u64 =
        std::env::var("SHADOWTAP_KILLS").map_or(24, |n| n.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let size = Size { devices: 96, days: kills.div_ceil(12).clamp(2, 12), cuts: 4 };
    let (captures, _) = Office::read(root).replay(size, &dir).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::copy(root.join("examples/office/policy.toml"), dir.join("policy.toml")).unwrap();
    let config = format!(
        "[scope]\nown_networks = [\"10.0.0.0/8\", \"2001:db8:20::/48\"]\n[policy]\nfile = \"policy.toml\"\n\
         [sinks.file]\nkind = \"file\"\npath = \"alerts.json\"\nrotate_bytes = 60000\nkeep = 1000\n\
         [sinks.hook]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/in\"\n"
    );
    fs::write(dir.join("shadowtap.toml"), config).unwrap();
    let mut house = House { dir, port, captures, at: 0, running: [None, None, None] };

    // How long each takes when it is left alone: kills fall anywhere within, and a little behind.
    let mut whole = [Duration::ZERO; 3];
    for role in [2, 0, 1] {
        let begun = Instant::now();
        let mut child = house.start(role);
        if role == 2 {
            house.running[role] = Some(child);
        } else {
            assert!(child.wait().unwrap().success(), "{}", ROLES[role]);
        }
        whole[role] = begun.elapsed();
    }
    whole[2] = whole[1];
    house.at = 1;

    let mut killed = [0_u64; 3];
    let mut committed: BTreeSet<String> = BTreeSet::new();
    let mut turn = 0_u32;
    while killed.iter().sum::<u64>() < kills {
        house.keep_busy();
        let role = turn as usize % 3;
        sleep(whole[role] * (turn * 37 % 130) / 100);
        turn += 1;
        assert!(u64::from(turn) < kills * 40, "{killed:?}: they do not even start");
        if let Some(child) = &mut house.running[role]
            && child.try_wait().unwrap().is_none()
        {
            child.kill().unwrap();
            child.wait().unwrap();
            house.running[role] = None;
            killed[role] += 1;
            committed.extend(house.committed());
        }
    }
    // Left in peace, they finish.
    for role in 0..2 {
        if let Some(mut child) = house.running[role].take() {
            child.wait().unwrap();
        }
    }
    for at in 0..house.captures.len() {
        house.at = at;
        assert!(house.start(0).wait().unwrap().success());
    }
    house.keep_busy();
    for _ in 0..50 {
        if house.start(1).wait().unwrap().success() {
            break;
        }
        sleep(Duration::from_millis(100));
    }

    let all = house.committed();
    let (file, hook) = (house.in_file(), house.at_receiver());
    eprintln!(
        "killed {killed:?} ({ROLES:?}); {} alerts, {} of them committed between kills; the file has {} lines, the \
         receiver {}",
        all.len(),
        committed.len(),
        file.len(),
        hook.len()
    );
    assert!(killed.iter().all(|n| *n > 0), "{killed:?}");
    assert!(committed.len() > 20, "{} is no load", committed.len());
    assert!(committed.iter().all(|id| all.contains(id)), "a committed alert is gone");
    assert_eq!(once(&file), all, "file: every alert, in order, doubles told apart by id");
    assert_eq!(once(&hook), all, "receiver: every alert, in order, doubles told apart by id");
}
