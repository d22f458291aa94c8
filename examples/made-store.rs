//! Fills a store as if a sensor had watched: `cargo run --example made-store -- STORE DEVICES DAYS`.
//! For looking at reports of every size. Writes STORE.departments.toml and STORE.policy.toml too.

#[path = "../tests/support/made.rs"]
mod made;

use std::path::PathBuf;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, devices, days] = args.as_slice() else {
        eprintln!("usage: made-store STORE DEVICES DAYS");
        std::process::exit(2);
    };
    let (devices, days) = (devices.parse().unwrap_or(0), days.parse().unwrap_or(0));
    let path = PathBuf::from(store);
    if devices <= 1 {
        made::one_finding(&path);
    } else {
        let busy = if devices > 5_000 { 12 } else { 35 };
        made::fill(&path, made::Size { devices, days, busy }, 7);
    }
    let beside = |end: &str| PathBuf::from(format!("{store}.{end}"));
    let written = std::fs::write(beside("departments.toml"), made::departments(devices))
        .and_then(|()| std::fs::write(beside("policy.toml"), made::POLICY));
    if let Err(error) = written {
        eprintln!("made-store: {error}");
        std::process::exit(1);
    }
}
