//! What the configuration says of the organisation shows in verdicts, alerts and the report:
//! departments, inventory, subnets, tenants; and services that the catalogue learnt late.

mod wire;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use wire::{NINE, Wire, mac, v4};

const MS: u64 = NINE * 1_000;

const CONFIG: &str = r#"
[scope]
own_networks = ["10.1.0.0/24", "10.1.1.0/24", "10.1.9.0/24", "10.7.0.0/16"]
[identity]
inventory = ["inventory.csv"]
[alerts]
mode = "every"
sensitive = ["group board", "department Research"]
[[department]]
name = "Research"
networks = ["10.1.0.0/24"]
[[policy.rule]]
service = "azure-openai"
status = "forbidden"
[[policy.rule]]
service = "azure-openai"
tenant = "contoso"
status = "sanctioned"
[[policy.rule]]
service = "openai-api"
status = "sanctioned"
departments = ["research"]
"#;

/// Two of these are seen; the last is not.
const INVENTORY: &str = "name,mac,user,department,groups\n\
    laptop-1,02:00:00:00:00:01,,,\n\
    laptop-2,02:00:00:00:00:02,ben,Legal,board\n\
    laptop-9,02:00:00:00:00:09,ida,Legal,\n";

fn shadowtap(dir: &Path, args: &[&str]) -> (i32, Vec<u8>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    (run.status.code().unwrap_or(-1), run.stdout, told)
}

fn done(dir: &Path, args: &[&str]) -> Vec<u8> {
    let (code, out, told) = shadowtap(dir, args);
    assert_eq!(code, 0, "{args:?}: {told}");
    out
}

/// A morning of three devices, the third of which nobody manages.
fn morning(dir: &Path) {
    let mut w = Wire::default();
    for (at, n, addr, host) in [
        (0, 1, "10.1.0.11", "contoso.openai.azure.com"),
        (10, 1, "10.1.0.11", "api.openai.com"),
        (20, 2, "10.1.1.12", "theirs.openai.azure.com"),
        (30, 3, "10.1.9.13", "api.openai.com"),
        (40, 3, "10.1.9.13", "api.newcomer.example"),
    ] {
        let (port, at) = (5_000 + at, MS + u64::from(at) * 1_000);
        w.arp(at, mac(n), addr.parse().unwrap());
        w.ask(at + 500, (mac(n), v4(addr), port), 64, host, "");
    }
    w.save(&dir.join("a.pcap"));
    fs::write(dir.join("shadowtap.toml"), CONFIG).unwrap();
    fs::write(dir.join("inventory.csv"), INVENTORY).unwrap();
    done(dir, &["scan", "--quiet", "--store", "s.db", "--alerts", "alerts.jsonl", "a.pcap"]);
}

fn report(dir: &Path, more: &[&str]) -> Value {
    let args = [&["report", "--store", "s.db", "--names", "--format", "json"], more].concat();
    serde_json::from_slice(&done(dir, &args)).unwrap()
}

/// Service id, tenants and devices of each line of a group.
fn lines(report: &Value, status: &str) -> Vec<String> {
    let groups = report["groups"].as_array().unwrap();
    let group = groups.iter().find(|g| g["status"] == status).unwrap();
    let line = |s: &Value| {
        let tenants: Vec<&str> =
            s["tenants"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        format!("{} [{}] {}", s["id"].as_str().unwrap(), tenants.join(" "), s["devices"])
    };
    group["services"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn departments_tenants_and_sensitive_groups_come_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    morning(dir);

    // Nobody gives departments to the report: they were recorded.
    fs::remove_file(dir.join("inventory.csv")).unwrap();
    fs::write(dir.join("shadowtap.toml"), "").unwrap();
    let r = report(dir, &[]);
    let departments = r["departments"].as_array().unwrap();
    let mut names: Vec<&str> = departments.iter().filter_map(|d| d["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Legal", "Research", "unknown"]);

    // The same verdicts, as recorded and judged anew by tenant and department.
    fs::write(dir.join("inventory.csv"), INVENTORY).unwrap();
    for config in ["", CONFIG] {
        fs::write(dir.join("shadowtap.toml"), config).unwrap();
        let r = report(dir, &[]);
        let tenants = if config.is_empty() { ["", ""] } else { ["theirs", "contoso"] };
        assert_eq!(lines(&r, "forbidden"), [format!("azure-openai [{}] 1", tenants[0])]);
        let mut allowed = lines(&r, "allowed");
        allowed.sort();
        let contoso = format!("azure-openai [{}] 1", tenants[1]);
        assert_eq!(allowed, [contoso.as_str(), "openai-api [] 1"]);
        assert_eq!(lines(&r, "unreviewed"), ["openai-api [] 1"]);
    }

    let alerts = fs::read_to_string(dir.join("alerts.jsonl")).unwrap();
    let alerts: Vec<Value> = alerts.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let sensitive = |ip: &str| {
        let of = alerts.iter().filter(|a| a["src_ip"] == ip);
        of.flat_map(|a| a["alerts"].as_array().unwrap()).any(|r| r == "sensitive")
    };
    assert!(sensitive("10.1.1.12"), "ben sits on the board: {alerts:?}");
    assert!(!sensitive("10.1.9.13"), "nobody knows the guest");
    let ben = alerts.iter().find(|a| a["src_ip"] == "10.1.1.12").unwrap();
    assert_eq!(ben["department"], "Legal");
}

#[test]
fn what_cannot_be_seen_is_told_in_terms_of_the_organisation_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    morning(dir);
    let r = report(dir, &[]);
    let unseen = r["unseen"].as_array().unwrap();
    let line = |what: &str| {
        let found = unseen.iter().find(|u| u["what"].as_str().unwrap().starts_with(what));
        found.unwrap_or_else(|| panic!("no line on {what}: {unseen:?}"))
    };
    let figure = |what: &str| {
        let f = &line(what)["figure"];
        (f["count"].as_u64().unwrap(), f["of"].as_u64().unwrap(), f["of_what"].as_str().unwrap())
    };
    let inventory = "devices of the inventory";
    assert_eq!(figure("Devices of the inventory that were never seen"), (1, 3, inventory));
    let (strange, all, _) = figure("Devices seen that are in no inventory");
    assert_eq!(all - strange, 2, "two are known");
    let (dark, subnets, _) = figure("Known subnets in which no device was seen");
    assert_eq!((dark, subnets), (1, 4));
    let meaning = line("Known subnets")["meaning"].as_str().unwrap();
    assert!(meaning.contains("10.7.0.0/16"), "{meaning}");
    assert_eq!(figure("Devices using AI without a known department").0, 1);
    for what in [
        "Hours with capture",
        "Frames dropped",
        "Flows without any name",
        "Captures that break off",
        "Entries of the catalogue",
    ] {
        assert!(figure(what).1 > 0, "{what}");
    }

    // Each line, with its meaning, in each format that holds the whole report.
    let html = String::from_utf8(done(dir, &["report", "--store", "s.db", "--format", "html"]));
    let md =
        String::from_utf8(done(dir, &["report", "--store", "s.db", "--format", "md"])).unwrap();
    let html = html.unwrap();
    done(dir, &["report", "--store", "s.db", "--output", "r.xlsx"]);
    let read = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('xl/sharedStrings.xml').decode())";
    let run = Command::new("/usr/bin/python3")
        .args(["-c", read, "r.xlsx"])
        .current_dir(dir)
        .output()
        .unwrap();
    let sheets = String::from_utf8(run.stdout).unwrap();
    for line in unseen {
        let what = line["what"].as_str().unwrap();
        for (format, text) in [("html", &html), ("md", &md), ("xlsx", &sheets)] {
            assert!(text.contains(what), "{format}: {what}");
        }
    }
    for test in r["tests"].as_array().unwrap() {
        assert!(test["observed"].as_str().unwrap().len() > 10, "{test}");
        for (format, text) in [("html", &html), ("xlsx", &sheets)] {
            assert!(text.contains(test["id"].as_str().unwrap()), "{format}: {test}");
        }
    }
}

#[test]
fn the_report_tells_what_the_ledger_saw_before_the_catalogue_knew_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    morning(dir);
    assert_eq!(report(dir, &[])["late"].as_array().unwrap().len(), 0);
    let newcomer = "[[service]]\nid = 'newcomer'\nname = 'Newcomer'\nvendor = 'Newcomer'\n\
        vendor_country = 'DE'\ncategory = 'llm-api'\nstatus = 'active'\nfirst_added = '2026-11-20'\n\
        last_verified = '2026-11-20'\nprovenance = ['vendor documentation']\n\
        must_match = ['api.newcomer.example']\nmust_miss = ['other.example']\n\
        [[service.host]]\npattern = 'api.newcomer.example'\nmatch = 'exact'\nrole = 'api'\nstrength = 'certain'\n";
    fs::write(dir.join("own.toml"), newcomer).unwrap();
    let config = format!("{CONFIG}\n[signatures]\nlocal = \"own.toml\"\n");
    fs::write(dir.join("shadowtap.toml"), config).unwrap();
    let r = report(dir, &[]);
    let late = r["late"].as_array().unwrap();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((&late[0]["id"], &late[0]["first_day"]), (&"newcomer".into(), &"2026-03-02".into()));
    assert_eq!(late[0]["sent"]["count"].as_u64().map(|n| n / 4_000), Some(1));
    let md = done(dir, &["report", "--store", "s.db", "--format", "md"]);
    assert!(String::from_utf8(md).unwrap().contains("Known only since the catalogue of today"));
}
