//! Privacy modes: of 200 people and their devices nothing comes out that names one.

#![allow(clippy::cast_possible_truncation, reason = "two hundred people")]

mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use wire::{NINE, Wire, mac};

const MS: u64 = NINE * 1_000;

/// People, each with a device, an address and a link address.
const PEOPLE: u16 = 200;

struct Planted {
    user: String,
    device: String,
    mac: [u8; 6],
    addr: std::net::Ipv4Addr,
}

/// Words in which alerts leave.
const SHAPES: [&str; 8] = ["native", "eve", "cef", "leef", "ecs", "hec", "zeek", "slack"];

fn sink(shape: &str) -> String {
    format!("[sinks.{shape}]\nkind = \"file\"\npath = \"out-sink-{shape}\"\nshape = \"{shape}\"\n")
}

fn planted() -> Vec<Planted> {
    let one = |n: u16| Planted {
        user: format!("zelda.quux{n:03}"),
        device: format!("ZQBOOK-{n:03}"),
        mac: [2, 0x5a, 0x51, 0x7e, (n / 200) as u8 + 0xc1, (n % 200) as u8 + 9],
        addr: std::net::Ipv4Addr::new(10, 77, (n / 100) as u8 + 40, (n % 100) as u8 + 101),
    };
    (0..PEOPLE).map(one).collect()
}

impl Planted {
    /// Everything that names it, as it could stand in a file.
    fn words(&self) -> Vec<Vec<u8>> {
        let hex = |mark: &str| self.mac.map(|o| format!("{o:02x}")).join(mark).into_bytes();
        vec![
            self.user.clone().into_bytes(),
            self.device.to_lowercase().into_bytes(),
            hex(":"),
            hex("-"),
            hex(""),
            self.addr.to_string().into_bytes(),
            self.mac.to_vec(),
        ]
    }
}

fn shadowtap(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs")
}

/// A capture in which everybody has a lease, logs on, asks DNS for others' devices, and uses an
/// AI service; and the inventory that knows all of them.
fn office(dir: &Path, mode: &str) {
    let mut w = Wire::default();
    let mut inventory = "name,mac,user,department\n".to_owned();
    for (n, p) in planted().iter().enumerate() {
        let at = MS + n as u64 * 10_000;
        let addr = p.addr.into();
        w.dhcp(at, p.mac, p.addr, &p.device, 36_000);
        w.arp(at + 50, p.mac, p.addr);
        w.kerberos(at + 100, (p.mac, addr), &p.user);
        w.kerberos(at + 150, (p.mac, addr), &format!("{}$", p.device));
        w.dns(at + 200, (p.mac, addr), &format!("{}.corp.example.com", p.device));
        w.dns(at + 210, (p.mac, addr), &format!("{}.local", p.device));
        let agent = format!("User-Agent: Sync/1 ({}; {})\r\n", p.user, p.device);
        w.ask(at + 1_000, (p.mac, addr, 5_000), 64, "api.openai.com", &agent);
        // Somebody's own machine as destination and as a candidate, by name and by address.
        w.ask(at + 2_000, (p.mac, addr, 5_001), 64, &format!("{}.example.net", p.device), &agent);
        let own = wire::Ends {
            from: (mac(0xfe00), "10.77.9.9".parse().unwrap(), 5_000 + n as u16),
            to: (p.mac, addr, 11_434),
            ttl: 64,
        };
        let question = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}:11434\r\nContent-Type: application/json\r\n\
             Content-Length: 31\r\n\r\n{{\"model\":\"x\",\"messages\":[1,2,3]}}",
            p.addr
        );
        w.talk(
            at + 3_000,
            &own,
            question.as_bytes(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        );
        let [a, b, c, d, e, f] = p.mac;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        inventory.extend([&*p.device, ",", &mac, ",", &p.user, ",Lab\n"]);
    }
    w.save(&dir.join("office.pcap"));
    std::fs::write(dir.join("inventory.csv"), inventory).unwrap();
    let config = format!(
        "[identity]\nusers = true\npurpose = \"test\"\ncontact = \"test@example.org\"\nretention_days = 30\n\
         inventory = [\"inventory.csv\"]\n[privacy]\nmode = \"{mode}\"\nkey_file = \"key\"\n{}",
        SHAPES.map(sink).concat()
    );
    std::fs::write(dir.join("shadowtap.toml"), config).unwrap();
}

/// Runs everything that writes or shows anything, and keeps what it said in files.
fn outputs(dir: &Path) {
    let run = |name: &str, args: &[&str]| {
        let output = shadowtap(dir, args);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(dir.join(format!("out-{name}")), output.stdout).unwrap();
        std::fs::write(dir.join(format!("out-{name}.err")), output.stderr).unwrap();
    };
    let scan = [
        "scan",
        "office.pcap",
        "--store",
        "s.db",
        "--alerts",
        "out-alerts",
        "--observations",
        "out-observations",
        "--stats",
        "out-stats",
    ];
    run("summary", &scan);
    run("json", &["scan", "office.pcap", "--json"]);
    run("json-store", &["scan", "office.pcap", "--json", "--store", "s.db"]);
    run("devices", &["devices", "--store", "s.db"]);
    run("devices-json", &["devices", "--store", "s.db", "--json"]);
    run("users", &["users", "--store", "s.db"]);
    run("users-json", &["users", "--store", "s.db", "--json"]);
    run("identity", &["identity", "check"]);
    run("config", &["config", "show", "--effective"]);
    let p = &planted()[17];
    run("whois", &["whois", &p.addr.to_string(), "--store", "s.db"]);
    run("whois-json", &["whois", &p.addr.to_string(), "--store", "s.db", "--json"]);
    let document = std::fs::read_to_string(dir.join("out-json-store")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.len(), usize::from(PEOPLE), "every person's use is found");
    let id = findings[3]["id"].as_str().unwrap();
    run("evidence", &["evidence", id, "--store", "s.db"]);
    run("evidence-json", &["evidence", id, "--store", "s.db", "--json"]);
    run("policy", &["policy", "init", "--store", "s.db", "--output", "out-policy.toml"]);
    for format in ["md", "json", "csv", "html"] {
        let report = ["report", "--store", "s.db", "--format", format];
        run(&format!("report-{format}"), &report);
        run(&format!("report-names-{format}"), &[&report[..], &["--names"]].concat());
    }
    run("block-list", &["export", "rpz", "--store", "s.db"]);
    run("what-if", &["export", "rpz", "--store", "s.db", "--what-if"]);
    let service = findings[3]["service"].as_str().unwrap();
    run("service", &["service", service, "--json"]);
    run("hunt", &["hunt", service, "--store", "s.db"]);
    run("hunt-json", &["hunt", service, "--store", "s.db", "--json"]);
    run("hunt-host", &["hunt", "*.example.net", "--store", "s.db", "--json"]);
    run("deliver", &["sinks", "deliver", "--store", "s.db"]);
    run("status", &["sinks", "status", "--store", "s.db", "--json"]);
    for shape in SHAPES {
        let size = std::fs::metadata(dir.join(format!("out-sink-{shape}"))).unwrap().len();
        assert!(size > 0, "alerts left in the words of {shape}");
    }
}

/// Names of people and devices that stand in files whose name begins with one of `in_files`.
fn found(dir: &Path, in_files: &[&str]) -> BTreeSet<String> {
    let mut by_first = vec![Vec::new(); 256];
    for word in planted().iter().flat_map(Planted::words).map(|w| w.to_ascii_lowercase()) {
        by_first[usize::from(word[0])].push(word);
    }
    let mut found = BTreeSet::new();
    let mut looked = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !in_files.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        looked += 1;
        let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
        for (at, first) in bytes.iter().enumerate() {
            let rest = &bytes[at..];
            for word in by_first[usize::from(*first)].iter().filter(|w| rest.starts_with(w)) {
                // Whole words: 10.77.40.10 is not in 10.77.40.101.
                let behind = rest.get(word.len()).copied().unwrap_or(b' ');
                if !word.is_ascii() || !behind.is_ascii_digit() {
                    found.insert(format!("{} in {name}", String::from_utf8_lossy(word)));
                }
            }
        }
    }
    assert!(looked > 0, "there is something to search");
    found
}

/// Where `word` stands in `bytes`.
fn memchr(bytes: &[u8], word: &[u8]) -> Vec<usize> {
    let first = word[0];
    let starts = bytes.iter().enumerate().filter(|(_, b)| **b == first).map(|(at, _)| at);
    starts.filter(|at| bytes[*at..].starts_with(word)).collect()
}

#[test]
fn clear_shows_names_so_the_search_can_find_them() {
    let dir = tempfile::tempdir().unwrap();
    office(dir.path(), "clear");
    outputs(dir.path());
    let found = found(dir.path(), &["out-", "s.db"]);
    for word in ["zelda.quux017", "zqbook-017", "10.77.40.118"] {
        assert!(found.iter().any(|f| f.starts_with(word)), "{word}: {found:?}");
    }
    assert!(found.len() > 1_000, "{}", found.len());
}

#[test]
fn masked_lets_nobody_out_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    office(dir.path(), "masked");
    outputs(dir.path());
    assert_eq!(found(dir.path(), &["out-"]), BTreeSet::new());
    assert!(!found(dir.path(), &["s.db"]).is_empty(), "the store keeps names");
    // Alerts wait in the store as they will leave.
    let outbox = std::fs::read_to_string(dir.path().join("out-alerts")).unwrap();
    assert!(outbox.lines().count() >= 1, "{outbox:.300}");

    // A reader without the key, and one who claims that all is clear, see no more.
    std::fs::write(dir.path().join("shadowtap.toml"), "").unwrap();
    std::fs::remove_file(dir.path().join("key")).unwrap();
    for (name, args) in [
        ("devices", &["devices"][..]),
        ("users", &["users"]),
        ("whois", &["whois", "10.77.40.118"]),
    ] {
        let output = shadowtap(dir.path(), &[args, &["--store", "s.db"]].concat());
        std::fs::write(dir.path().join(format!("late-{name}")), output.stdout).unwrap();
    }
    // Of the address that was asked for, the answer says nothing but that somebody had it.
    assert_eq!(found(dir.path(), &["late-"]), BTreeSet::new());

    // With a purpose names come out, and that is on record.
    let reveal = ["whois", "10.77.40.118", "--store", "s.db", "--reveal"];
    let refused = shadowtap(dir.path(), &reveal);
    assert_eq!(refused.status.code(), Some(2), "no purpose, no name");
    let shown = shadowtap(
        dir.path(),
        &[&reveal[..], &["--purpose", "case 17", "--by", "D. Officer"]].concat(),
    );
    assert!(String::from_utf8_lossy(&shown.stdout).contains("zelda.quux017"));
    let record = std::fs::read_to_string(dir.path().join("s.db.audit")).unwrap();
    assert!(record.contains("case 17") && !record.contains("zelda"), "{record}");
}

#[test]
fn pseudonymous_keeps_names_off_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    office(dir.path(), "pseudonymous");
    outputs(dir.path());
    assert_eq!(found(dir.path(), &["out-", "s.db"]), BTreeSet::new());
    let whois = std::fs::read_to_string(dir.path().join("out-whois")).unwrap();
    assert!(whois.contains("user-") && whois.contains("device-"), "{whois}");

    // Whoever has the key and a purpose learns whose a pseudonym is.
    let user = whois.split_whitespace().find(|w| w.starts_with("user-")).unwrap();
    let user = user.trim_end_matches(',');
    let args = [
        "identity",
        "reveal",
        user,
        "--store",
        "s.db",
        "--purpose",
        "case 17",
        "--by",
        "D. Officer",
    ];
    let shown = shadowtap(dir.path(), &args);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "zelda.quux017");
    // With another key nobody does.
    std::fs::remove_file(dir.path().join("key")).unwrap();
    let shown = shadowtap(dir.path(), &args);
    assert_eq!(shown.status.code(), Some(2));

    // Scanned again under another key, nobody is the same.
    let ids = |document: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(dir.path().join(document)).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let findings = document["findings"].as_array().unwrap();
        findings.iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = ids("out-json");
    let output = shadowtap(dir.path(), &["scan", "office.pcap", "--json"]);
    std::fs::write(dir.path().join("out-json"), output.stdout).unwrap();
    assert!(before.is_disjoint(&ids("out-json")), "ids cannot be computed without the key");
}

#[test]
fn who_is_forgotten_under_a_pseudonym_is_gone_too() {
    let dir = tempfile::tempdir().unwrap();
    office(dir.path(), "pseudonymous");
    outputs(dir.path());
    let whois = std::fs::read_to_string(dir.path().join("out-whois")).unwrap();
    let pseudonym = whois.split_whitespace().find(|w| w.starts_with("user-")).unwrap();
    let pseudonym = pseudonym.trim_end_matches(',').to_owned();
    let holds = || {
        let bytes = std::fs::read(dir.path().join("s.db")).unwrap();
        !memchr(&bytes, pseudonym.as_bytes()).is_empty()
    };
    assert!(holds());
    let args = [
        "forget",
        "Zelda.Quux017",
        "--store",
        "s.db",
        "--purpose",
        "asked for",
        "--by",
        "D. Officer",
    ];
    let done = shadowtap(dir.path(), &args);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!holds());
}
