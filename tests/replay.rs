//! The recorded office replayed as a company: few alerts, and none of the forbidden uses untold.
//!
//! 150 devices over ten days by default; `SHADOWTAP_REPLAY=1000x14` replays a thousand over two weeks.

#[path = "support/replay.rs"]
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use replay::{Office, Size, Use};

const SHADOWTAP: &str = env!("CARGO_BIN_EXE_shadowtap");

/// Alerts that a team reads on a day.
const DAILY_MAX: u64 = 5;

/// Days of inventory.
const INVENTORY: usize = 7;

const FORBIDDEN: [&str; 2] = ["deepseek", "deepseek-api"];

fn size() -> Size {
    let asked = std::env::var("SHADOWTAP_REPLAY").unwrap_or_else(|_| "150x10".to_owned());
    let (devices, days) = asked.split_once('x').expect("SHADOWTAP_REPLAY is DEVICESxDAYS");
    Size { devices: devices.parse().unwrap(), days: days.parse().unwrap(), cuts: 3 }
}

/// Scans each capture as it becomes whole, as a nightly or hourly job does.
fn scan(dir: &Path, captures: &[std::path::PathBuf]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(root.join("examples/office/policy.toml"), dir.join("policy.toml")).unwrap();
    let config = "[scope]\nown_networks = [\"10.0.0.0/8\", \"2001:db8:20::/48\"]\n\
                  [policy]\nfile = \"policy.toml\"\n";
    fs::write(dir.join("shadowtap.toml"), config).unwrap();
    for capture in captures {
        let outcome = Command::new(SHADOWTAP)
            .args(["scan", "--quiet", "--config", "shadowtap.toml", "--store", "s.db"])
            .arg("--alerts")
            .arg("alerts.jsonl")
            .arg(capture)
            .current_dir(dir)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(outcome.status.success(), "{}: {told}", capture.display());
        fs::remove_file(capture).unwrap();
    }
    let text = fs::read_to_string(dir.join("alerts.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Findings of a store by event ids' first part: day from the begin of the time, service, device.
fn findings(dir: &Path) -> BTreeMap<String, Use> {
    let conn = rusqlite::Connection::open(dir.join("s.db")).unwrap();
    let mut all = conn
        .prepare(
            "SELECT f.key, f.day, w.word, a.mac FROM finding f
             JOIN actor a ON a.id = f.actor JOIN word w ON w.id = f.service",
        )
        .unwrap();
    let rows = all.query_map([], |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, u32>(1)?, r.get::<_, String>(2)?, r.get(3)?))
    });
    let mut found = BTreeMap::new();
    for row in rows.unwrap() {
        let (id, day, service, mac): (_, u32, _, String) = row.unwrap();
        found.insert(
            id,
            Use { day: u64::from(day) - replay::BEGIN / 86_400_000_000_000, service, mac },
        );
    }
    found
}

#[test]
fn a_company_gets_few_alerts_and_hears_of_every_forbidden_use() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let size = size();
    let (captures, truth) =
        Office::read(Path::new(env!("CARGO_MANIFEST_DIR"))).replay(size, dir).unwrap();
    let alerts = scan(dir, &captures);

    let mut by_day: BTreeMap<String, u64> = BTreeMap::new();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for alert in &alerts {
        *by_day.entry(alert["ts"].as_str().unwrap()[..10].to_owned()).or_default() += 1;
        let own = alert["event_id"].as_str().into_iter();
        let group = alert["group"]["event_ids"].as_array().into_iter().flatten();
        let lines = alert["lines"].as_array().into_iter().flatten();
        let digest = lines.flat_map(|l| l["event_ids"].as_array().into_iter().flatten());
        let ids = own.chain(group.chain(digest).filter_map(Value::as_str));
        told.extend(ids.filter_map(|id| Some(id.rsplit_once('-')?.0.to_owned())));
    }
    let after: Vec<u64> = by_day.values().copied().skip(INVENTORY).collect();
    eprintln!(
        "{} devices, {} days, {} uses, alerts by day {:?}",
        size.devices,
        size.days,
        truth.len(),
        by_day.values().collect::<Vec<_>>()
    );
    assert!(after.len() + INVENTORY >= usize::try_from(size.days).unwrap(), "{by_day:?}");
    assert!(after.iter().all(|n| *n <= DAILY_MAX), "{by_day:?}");

    let found = findings(dir);
    let forbidden: BTreeSet<&Use> =
        truth.iter().filter(|u| FORBIDDEN.contains(&u.service.as_str())).collect();
    assert!(forbidden.len() as u64 > size.devices / 10, "{} are a test", forbidden.len());
    let heard: BTreeSet<&Use> =
        found.iter().filter(|(id, _)| told.contains(*id)).map(|(_, one)| one).collect();
    let missed: Vec<_> = forbidden.iter().filter(|u| !heard.contains(*u)).collect();
    assert!(missed.is_empty(), "{} of {} untold: {missed:?}", missed.len(), forbidden.len());
}
