//! Who it was: the right device and person at the right time, or nobody; never a wrong name.

mod wire;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use wire::{Ends, NINE, ROUTER, Wire, mac, v4};

const MS: u64 = NINE * 1_000;
const HOST: &str = "api.openai.com";

const IDENTITY: &str = "[identity]\nusers = true\npurpose = \"test\"\ncontact = \"test@example.org\"\nretention_days = 30\n";

fn shadowtap(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The document of a scan of `wire` under `config`; the same for several numbers of threads.
fn scan(dir: &Path, wire: Wire, config: &str, more: &[&str]) -> Value {
    std::fs::write(dir.join("shadowtap.toml"), config).expect("a configuration");
    wire.save(&dir.join("a.pcap"));
    let run = |threads: &str, more: &[&str]| {
        let mut args = vec!["scan", "--quiet", "--json", "--threads", threads];
        args.extend(more);
        args.push("a.pcap");
        let output = shadowtap(dir, &args);
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    };
    let one = run("1", more);
    assert_eq!(run("7", &[]), one, "the same for any number of threads");
    serde_json::from_slice(&one).expect("JSON")
}

/// `mac host user` of each person's part of each finding, in order.
fn who(document: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for f in document["findings"].as_array().expect("findings") {
        let word = |v: &Value| v.as_str().unwrap_or("?").to_owned();
        let mac = word(&f["mac"]);
        let mac = mac.rsplit(':').next().unwrap_or("?").to_owned();
        for p in f["people"].as_array().expect("people") {
            let basis = p["user_basis"].as_str().unwrap_or("?");
            let user =
                p["user"].as_str().unwrap_or(if basis.starts_with("many") { "many" } else { "?" });
            let star = if basis.starts_with("primary") { "*" } else { "" };
            let sent = p["bytes_sent"].as_u64().expect("a number") / 4_000;
            lines.push(format!(
                "{} {mac} {} {user}{star} {sent}",
                word(&f["address"]),
                word(&f["host"])
            ));
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_address_changes_hands_between_two_machines() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    let addr = "10.0.0.9".parse().unwrap();
    w.dhcp(MS, mac(1), addr, "LAPTOP-1", 3_600);
    w.ask(MS + 60_000, (mac(1), addr.into(), 5_001), 64, HOST, "");
    w.dhcp(MS + 600_000, mac(2), addr, "LAPTOP-2", 3_600);
    w.ask(MS + 660_000, (mac(2), addr.into(), 5_002), 64, HOST, "");
    let inventory = "name,user\nlaptop-1,anna\nlaptop-2,ben\n";
    std::fs::write(dir.path().join("i.csv"), inventory).unwrap();
    let document =
        scan(dir.path(), w, "[identity]\ninventory = [\"i.csv\"]\n", &["--store", "s.db"]);
    let expected = ["10.0.0.9 01 LAPTOP-1 anna* 1", "10.0.0.9 02 LAPTOP-2 ben* 1"];
    assert_eq!(who(&document), expected);

    let whois = |at: &str| {
        let args = ["whois", "10.0.0.9", "--store", "s.db", "--json", "--at", at];
        let output = shadowtap(dir.path(), &args);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(whois("2026-03-02T09:09:59Z")["user"], "anna");
    assert_eq!(whois("2026-03-02T09:10:01Z")["user"], "ben");
    assert_eq!(whois("2026-03-02T09:10:01Z")["host"], "LAPTOP-2");
    assert_eq!(whois("2026-03-02T08:59:00Z")["user"], Value::Null);
    let chain = whois("2026-03-02T09:10:01Z")["evidence"].clone();
    let chain = chain.as_array().unwrap().iter();
    let used: Vec<&str> =
        chain.filter(|l| l["used"] == true).filter_map(|l| l["source"].as_str()).collect();
    assert_eq!(used, ["dhcp", "dhcp", "inventory"]);
    let list = text(&shadowtap(dir.path(), &["devices", "--store", "s.db"]));
    assert!(list.contains("LAPTOP-1") && list.contains("MSFT 5.0"), "{list}");
    let list = text(&shadowtap(dir.path(), &["users", "--store", "s.db"]));
    assert!(list.contains("anna | LAPTOP-1 | 1 finding"), "{list}");
}

#[test]
fn two_take_turns_on_one_machine_and_machine_accounts_are_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    let addr = v4("10.0.0.9");
    w.dhcp(MS, mac(1), "10.0.0.9".parse().unwrap(), "DESK-1", 36_000);
    w.kerberos(MS + 1_000, (mac(1), addr), "DESK-1$");
    w.ask(MS + 5_000, (mac(1), addr, 5_000), 64, HOST, "");
    w.kerberos(MS + 10_000, (mac(1), addr), "anna");
    w.ask(MS + 20_000, (mac(1), addr, 5_001), 64, HOST, "");
    w.ask(MS + 25_000, (mac(1), addr, 5_002), 64, HOST, "");
    w.kerberos(MS + 700_000, (mac(1), addr), "ben");
    w.ask(MS + 720_000, (mac(1), addr, 5_003), 64, HOST, "");
    let document = scan(dir.path(), w, IDENTITY, &[]);
    let expected =
        ["10.0.0.9 01 DESK-1 ? 1", "10.0.0.9 01 DESK-1 anna 2", "10.0.0.9 01 DESK-1 ben 1"];
    assert_eq!(who(&document), expected);
}

#[test]
fn without_leave_nobody_is_named_from_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    let addr = v4("10.0.0.9");
    w.kerberos(MS + 10_000, (mac(1), addr), "anna-planted");
    w.ask(MS + 20_000, (mac(1), addr, 5_001), 64, HOST, "");
    let document = scan(dir.path(), w, "", &["--store", "s.db"]);
    assert_eq!(who(&document), ["10.0.0.9 01 ? ? 1"]);
    let store = std::fs::read(dir.path().join("s.db")).unwrap();
    assert!(!store.windows(12).any(|w| w == b"anna-planted"));
    let wrong = "[identity]\nusers = true\n";
    std::fs::write(dir.path().join("shadowtap.toml"), wrong).unwrap();
    let output = shadowtap(dir.path(), &["scan", "a.pcap"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("identity.purpose"), "{}", text(&output));
}

#[test]
fn a_nat_with_three_hosts_and_a_router_without_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    let nat = v4("10.0.0.30");
    w.arp(MS, mac(30), "10.0.0.30".parse().unwrap());
    w.kerberos(MS + 500, (mac(30), nat), "anna");
    for (n, ttl) in [(1, 63), (2, 127), (3, 63)] {
        w.ask(MS + 1_000 * n, (mac(30), nat, 5_000 + u16::try_from(n).unwrap()), ttl, HOST, "");
    }
    // Hosts of another floor, behind a router: their frames carry its link address.
    for n in 1..4_u8 {
        let addr = v4(&format!("10.1.0.{n}"));
        w.kerberos(MS + 2_000 + u64::from(n), (ROUTER, addr), &format!("user{n}"));
        w.ask(MS + 10_000 * u64::from(n), (ROUTER, addr, 6_000), 127, HOST, "");
    }
    let document = scan(dir.path(), w, IDENTITY, &["--store", "s.db"]);
    let expected = [
        "10.0.0.30 1e ? many 3",
        "10.1.0.1 ? ? user1 1",
        "10.1.0.2 ? ? user2 1",
        "10.1.0.3 ? ? user3 1",
    ];
    assert_eq!(who(&document), expected);
    let answer = text(&shadowtap(dir.path(), &["whois", "10.0.0.30", "--store", "s.db"]));
    assert!(answer.contains("nobody is named: many"), "{answer}");
}

#[test]
fn privacy_addresses_are_one_device_with_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    w.dhcp(MS, mac(1), "10.0.0.9".parse().unwrap(), "LAPTOP-1", 3_600);
    w.kerberos(MS + 1_000, (mac(1), v4("10.0.0.9")), "anna");
    for n in 1..=6_u64 {
        let addr: std::net::Ipv6Addr = format!("2001:db8::{n:x}:{n:x}").parse().unwrap();
        w.ndp(MS + 2_000 * n, mac(1), addr);
        w.ask(MS + 2_000 * n + 100, (mac(1), addr.into(), 5_000), 64, HOST, "");
    }
    let document = scan(dir.path(), w, IDENTITY, &[]);
    assert_eq!(document["findings"].as_array().unwrap().len(), 1, "one device");
    let lines = who(&document);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("01 LAPTOP-1 anna 6"), "{lines:?}");
}

#[test]
fn what_is_said_after_a_flow_names_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    w.ask(MS, (mac(1), v4("10.0.0.9"), 5_001), 64, HOST, "");
    w.dhcp(MS + 60_000, mac(1), "10.0.0.9".parse().unwrap(), "LAPTOP-1", 3_600);
    let document = scan(dir.path(), w, "", &[]);
    assert_eq!(who(&document), ["10.0.0.9 01 LAPTOP-1 ? 1"]);
}

#[test]
fn an_earlier_capture_tells_a_later_one_who_is_who() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shadowtap.toml"), IDENTITY).unwrap();
    let mut w = Wire::default();
    w.dhcp(MS, mac(1), "10.0.0.9".parse().unwrap(), "LAPTOP-1", 36_000);
    w.kerberos(MS + 1_000, (mac(1), v4("10.0.0.9")), "anna");
    w.save(&dir.path().join("1.pcap"));
    let mut w = Wire::default();
    w.ask(MS + 60_000, (mac(1), v4("10.0.0.9"), 5_001), 64, HOST, "");
    w.save(&dir.path().join("2.pcap"));
    let apart = |args: &[&str]| {
        let args = [&["scan", "--quiet", "--json", "--store", "s.db"], args].concat();
        let output = shadowtap(dir.path(), &args);
        assert!(output.status.success(), "{}", text(&output));
        who(&serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    assert!(apart(&["1.pcap"]).is_empty());
    assert_eq!(apart(&["2.pcap"]), ["10.0.0.9 01 LAPTOP-1 anna 1"]);
}

#[test]
fn radius_ldap_proxies_and_clear_logins() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    // 802.1X: asked and granted before the device has an address.
    let station = b"02-00-00-00-00-01".to_vec();
    w.radius(MS, 1, &[(1, b"anna".to_vec()), (2, b"planted-secret!!".to_vec()), (31, station)]);
    w.radius(MS + 10, 2, &[]);
    w.dhcp(MS + 1_000, mac(1), "10.0.0.1".parse().unwrap(), "LAPTOP-1", 3_600);
    w.ask(MS + 2_000, (mac(1), v4("10.0.0.1"), 5_000), 64, HOST, "");
    // A VPN gives an address to a person.
    let framed = vec![10, 8, 0, 2];
    w.radius(MS + 3_000, 4, &[(40, vec![0, 0, 0, 1]), (1, b"ben".to_vec()), (8, framed)]);
    w.ask(MS + 4_000, (ROUTER, v4("10.8.0.2"), 5_000), 63, HOST, "");
    // A bind in clear.
    let bind =
        b"\x30\x26\x02\x01\x01\x60\x21\x02\x01\x03\x04\x0ccn=eva,dc=xy\x80\x0eplanted-secret";
    let from = (mac(3), v4("10.0.0.3"), 5_389);
    let ends = Ends { from, to: (mac(99), v4("10.0.0.99"), 389), ttl: 64 };
    w.talk(MS + 5_000, &ends, bind, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00");
    w.ask(MS + 6_000, (mac(3), v4("10.0.0.3"), 5_001), 64, HOST, "");
    // A proxy that is trusted tells for whom it asks; one that is not is believed nothing.
    let said = "X-Forwarded-For: 198.51.100.1, 10.0.0.4\r\nX-Authenticated-User: CORP\\fred\r\n";
    w.ask(MS + 7_000, (mac(40), v4("10.0.0.40"), 5_000), 64, HOST, said);
    w.ask(MS + 8_000, (mac(41), v4("10.0.0.41"), 5_000), 64, HOST, said);
    // Base64 of gina:planted-secret, asked of a proxy, which so becomes many.
    let basic = "Proxy-Authorization: Basic Z2luYTpwbGFudGVkLXNlY3JldA==\r\n";
    let ends = Ends {
        from: (mac(5), v4("10.0.0.5"), 5_000),
        to: (mac(50), v4("10.0.0.50"), 3128),
        ttl: 64,
    };
    let question = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{basic}\r\n");
    w.talk(MS + 9_000, &ends, question.as_bytes(), b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n");
    // A password that the proxy does not accept: hank is not there.
    let from = (mac(6), v4("10.0.0.6"), 5_000);
    let question = question.replace("Z2luYTpw", "aGFuazpw");
    let refused = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
    w.talk(MS + 9_500, &Ends { from, ..ends }, question.as_bytes(), refused);
    w.ask(MS + 10_500, (mac(6), v4("10.0.0.6"), 5_001), 64, HOST, "");
    w.ask(MS + 10_000, (mac(5), v4("10.0.0.5"), 5_001), 64, HOST, "");
    w.ask(MS + 11_000, (mac(50), v4("10.0.0.50"), 5_001), 64, HOST, "");
    let config = format!("{IDENTITY}trusted_proxies = [\"10.0.0.40\"]\n");
    let more = ["--store", "s.db", "--observations", "o.jsonl", "--alerts", "a.jsonl"];
    let document = scan(dir.path(), w, &config, &more);
    let expected = [
        "10.0.0.1 01 LAPTOP-1 anna 1",
        "10.0.0.3 03 ? eva 1",
        "10.0.0.4 ? ? fred 1",
        "10.0.0.41 29 ? ? 1",
        "10.0.0.5 05 ? gina 1",
        "10.0.0.50 32 ? many 1",
        "10.0.0.6 06 ? ? 1",
        "10.8.0.2 ? ? ben 1",
    ];
    assert_eq!(who(&document), expected);
    // Passwords came by five times, in clear and in Base64: nothing holds one.
    for file in ["s.db", "o.jsonl", "a.jsonl"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        for secret in ["planted-secret", "Z2luYTpwbGFudGVkLXNlY3JldA", "cGxhbnRlZC1zZWNyZXQ"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} in {file}");
        }
    }
}

#[test]
fn leases_and_logons_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let end = NINE + 3_600;
    let leases = format!(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n\
         10.1.0.9,02:00:00:00:00:01,,3600,{end},1,0,0,laptop-1.,0,,0\n10.1.0.9,bad\n"
    );
    std::fs::write(dir.path().join("kea.csv"), leases).unwrap();
    let logons = "{\"EventID\":4624,\"LogonType\":2,\"TimeCreated\":\"2026-03-02T09:00:30Z\",\"TargetUserName\":\"anna\",\"IpAddress\":\"10.1.0.9\"}\n\
                  {\"EventID\":4634,\"TimeCreated\":\"2026-03-02T09:10:00Z\",\"TargetUserName\":\"anna\",\"IpAddress\":\"10.1.0.9\"}\nrubbish\n";
    std::fs::write(dir.path().join("logons.jsonl"), logons).unwrap();
    let config = format!("{IDENTITY}leases = [\"kea.csv\"]\nlogons = [\"logons.jsonl\"]\n");
    let mut w = Wire::default();
    for (n, minute) in [(0, 0), (1, 5), (2, 15)] {
        w.ask(MS + minute * 60_000, (ROUTER, v4("10.1.0.9"), 5_000 + n), 63, HOST, "");
    }
    let document = scan(dir.path(), w, &config, &[]);
    assert_eq!(who(&document), ["10.1.0.9 01 laptop-1 ? 2", "10.1.0.9 01 laptop-1 anna 1"]);
    let output = shadowtap(dir.path(), &["identity", "check"]);
    assert_eq!(output.status.code(), Some(1), "some lines were not used");
    let told = text(&output);
    assert!(told.contains("kea.csv:3") && told.contains("logons.jsonl:3"), "{told}");
    assert!(told.contains("1 leases, 1 logons; 2 lines not used"), "{told}");
}

#[test]
fn groups_and_users_decide_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let people = "user,department,groups\nanna,Lab,ai-pilot\nben,Sales,\n";
    std::fs::write(dir.path().join("people.csv"), people).unwrap();
    let mut w = Wire::default();
    for (n, user) in [(1_u8, "anna"), (2, "ben")] {
        let addr = v4(&format!("10.0.0.{n}"));
        w.ask(MS + 1_000 * u64::from(n), (mac(n.into()), addr, 5_000), 64, HOST, "");
        // Said after the flow: the verdict is given anew.
        w.kerberos(MS + 100 * u64::from(n), (mac(n.into()), addr), user);
    }
    let config = format!(
        "{IDENTITY}inventory = [\"people.csv\"]\n[policy.default]\nstatus = \"forbidden\"\n\
         [[policy.rule]]\nvendor = \"OpenAI\"\nstatus = \"sanctioned\"\nowner = \"it\"\nreason = \"pilot\"\ngroups = [\"ai-pilot\"]\n"
    );
    let document = scan(dir.path(), w, &config, &[]);
    let verdict = |user: &str| {
        let all = document["findings"].as_array().unwrap();
        let of = all.iter().find(|f| f["user"] == user).unwrap_or_else(|| panic!("{user}"));
        (
            of["disposition"].as_str().unwrap().to_owned(),
            of["department"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(verdict("anna"), ("sanctioned".to_owned(), "Lab".to_owned()));
    assert_eq!(verdict("ben"), ("unsanctioned".to_owned(), "Sales".to_owned()));
}

#[test]
fn who_is_forgotten_is_in_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Wire::default();
    for (n, user) in [(1_u8, "planted-anna"), (2, "planted-ben")] {
        let addr: std::net::Ipv4Addr = format!("10.0.0.{n}").parse().unwrap();
        w.dhcp(MS, mac(n.into()), addr, &format!("planted-pc-{n}"), 3_600);
        w.kerberos(MS + 100, (mac(n.into()), addr.into()), user);
        w.ask(MS + 1_000, (mac(n.into()), addr.into(), 5_000), 64, HOST, "");
    }
    let before = scan(dir.path(), w, IDENTITY, &["--store", "s.db"]);
    assert_eq!(who(&before).len(), 2);
    let holds = |word: &str| {
        let all = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let of_store =
            |p: &std::path::PathBuf| p.file_name().unwrap().to_string_lossy().starts_with("s.db");
        all.filter(of_store).any(|p| {
            let bytes = std::fs::read(&p).unwrap();
            bytes.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    assert!(holds("planted-anna") && holds("planted-pc-2"));
    let forget = |what: &str| {
        let args =
            ["forget", what, "--store", "s.db", "--purpose", "asked for", "--by", "D. Officer"];
        shadowtap(dir.path(), &args)
    };
    let done = forget("planted-anna");
    assert!(done.status.success(), "{}", text(&done));
    assert!(!holds("planted-anna"), "the person is gone");
    assert!(holds("planted-ben"), "others stay");
    let done = forget("planted-pc-2");
    assert!(done.status.success(), "{}", text(&done));
    assert!(
        !holds("planted-pc-2") && !holds("02:00:00:00:00:02") && !holds("10.0.0.2\u{0}"),
        "the device too"
    );
    assert_eq!(forget("planted-anna").status.code(), Some(2), "there is nobody left of that name");
    let verified = text(&shadowtap(dir.path(), &["audit", "verify", "s.db.audit"]));
    assert!(verified.starts_with("3 records, whole"), "{verified}");
    let record = std::fs::read_to_string(dir.path().join("s.db.audit")).unwrap();
    assert!(!record.contains("planted"), "the record names nobody: {record}");
}

#[test]
fn late_evidence_is_a_new_revision_and_never_takes_a_name_back() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shadowtap.toml"), IDENTITY).unwrap();
    let addr = v4("10.0.0.9");
    let mut w = Wire::default();
    w.dhcp(MS, mac(1), "10.0.0.9".parse().unwrap(), "LAPTOP-1", 36_000);
    w.ask(MS + 60_000, (mac(1), addr, 5_001), 64, HOST, "");
    w.save(&dir.path().join("1.pcap"));
    // Another sensor saw the logon of a minute before.
    let mut w = Wire::default();
    w.kerberos(MS + 30_000, (mac(1), addr), "anna");
    w.dhcp(MS + 20_000, mac(1), "10.0.0.9".parse().unwrap(), "LAPTOP-1", 36_000);
    w.save(&dir.path().join("2.pcap"));
    std::fs::write(dir.path().join("3.pcap"), std::fs::read(dir.path().join("1.pcap")).unwrap())
        .unwrap();
    let scan = |file: &str| {
        let output = shadowtap(dir.path(), &["scan", "--quiet", "--json", "--store", "s.db", file]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let first = scan("1.pcap");
    assert_eq!(who(&first), ["10.0.0.9 01 LAPTOP-1 ? 1"]);
    let id = first["findings"][0]["id"].as_str().unwrap().to_owned();
    let finding = || {
        let output = shadowtap(dir.path(), &["evidence", &id, "--store", "s.db", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let of = &answer["finding"];
        let user = of["user"].as_str().unwrap_or("?").to_owned();
        (of["revision"].as_u64().unwrap(), user, of["bytes_sent"].as_u64().unwrap())
    };
    let (revision, user, sent) = finding();
    assert_eq!((revision, &*user), (1, "?"));
    scan("2.pcap");
    assert_eq!(finding(), (2, "anna".to_owned(), sent), "a new revision, and no byte more");
    scan("2.pcap");
    assert_eq!(finding(), (2, "anna".to_owned(), sent), "once");
    let devices = text(&shadowtap(dir.path(), &["users", "--store", "s.db"]));
    assert!(devices.contains("anna | LAPTOP-1 | 1 finding"), "{devices}");
}

#[test]
fn members_of_excluded_groups_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let people = "user,groups\nanna,Works Council;Staff\nben,Staff\n";
    std::fs::write(dir.path().join("people.csv"), people).unwrap();
    std::fs::write(dir.path().join("devices.csv"), "name,mac,user\npc-3,02:00:00:00:00:03,anna\n")
        .unwrap();
    let mut w = Wire::default();
    for (n, user) in [(1_u8, "anna"), (2, "ben")] {
        let addr = v4(&format!("10.0.0.{n}"));
        w.kerberos(MS + 100 * u64::from(n), (mac(n.into()), addr), user);
        w.ask(MS + 1_000 * u64::from(n), (mac(n.into()), addr, 5_000), 64, HOST, "");
    }
    // Her own machine, at which nobody logs on, and one at which she does so after its use.
    w.ask(MS + 5_000, (mac(3), v4("10.0.0.3"), 5_000), 64, HOST, "");
    w.arp(MS + 4_000, mac(3), "10.0.0.3".parse().unwrap());
    let config = format!(
        "{IDENTITY}inventory = [\"people.csv\", \"devices.csv\"]\nexclude_groups = [\"works council\"]\n"
    );
    let more = ["--store", "s.db", "--observations", "o.jsonl", "--alerts", "a.jsonl"];
    let document = scan(dir.path(), w, &config, &more);
    assert_eq!(who(&document), ["10.0.0.2 02 ? ben 1"]);
    let left_out = document["coverage"]
        .as_array()
        .and_then(|rows| rows.iter().find(|r| r["name"] == "flows_of_people_left_out"))
        .and_then(|row| row["count"].as_u64());
    assert_eq!(left_out, Some(2), "they are counted: {}", document["coverage"]);
    let asked = [&["users"][..], &["devices"], &["whois", "10.0.0.1"], &["whois", "10.0.0.3"]];
    for (n, args) in asked.iter().enumerate() {
        let output = shadowtap(dir.path(), &[args, &["--store", "s.db"][..]].concat());
        std::fs::write(dir.path().join(format!("out-{n}")), text(&output)).unwrap();
    }
    for file in ["s.db", "o.jsonl", "a.jsonl", "out-0", "out-1", "out-2", "out-3"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        assert!(!bytes.windows(4).any(|w| w.eq_ignore_ascii_case(b"anna")), "anna in {file}");
    }
}

/// What the recorded office's servers and programs say happened there; see fixtures/README.md.
struct Recorded {
    dir: tempfile::TempDir,
    truth: Value,
    document: Value,
}

impl Recorded {
    /// Scans the committed recording, or another one in the folder `IDENTITY_OFFICE`.
    fn scan(extra: &str) -> Recorded {
        let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identity-office");
        let folder = std::env::var("IDENTITY_OFFICE").unwrap_or(committed.to_owned());
        let folder = Path::new(&folder);
        let truth = std::fs::read(folder.join("identity.truth.json")).expect("the truth");
        let truth: Value = serde_json::from_slice(&truth).expect("JSON");
        let dir = tempfile::tempdir().unwrap();
        let inventory = folder.join("inventory.csv");
        let config = format!(
            "{IDENTITY}inventory = [\"{}\"]\n{extra}[scope]\nown_networks = {}\n",
            inventory.display(),
            truth["own_networks"]
        );
        std::fs::write(dir.path().join("shadowtap.toml"), config).unwrap();
        let capture = folder.join("identity.pcap.zst");
        let args = ["scan", "--quiet", "--json", "--store", "s.db", "--observations", "o.jsonl"];
        let args = [&args[..], &[capture.to_str().unwrap()]].concat();
        let output = shadowtap(dir.path(), &args);
        assert!(output.status.success(), "{}", text(&output));
        let document = serde_json::from_slice(&output.stdout).expect("JSON");
        Recorded { dir, truth, document }
    }

    fn rows(&self, key: &str) -> &[Value] {
        self.truth[key].as_array().expect("rows")
    }

    /// Service of each AI host of the truth.
    fn services(&self) -> std::collections::BTreeMap<String, String> {
        let hosts: std::collections::BTreeSet<&str> =
            self.rows("flows").iter().filter_map(|f| f["host"].as_str()).collect();
        let args: Vec<&str> = std::iter::once("lookup").chain(hosts).collect();
        let said = text(&shadowtap(self.dir.path(), &args));
        let pair = |line: &str| {
            let mut words = line.split('\t').map(str::to_owned);
            Some((words.next()?, words.next()?))
        };
        said.lines().filter_map(pair).collect()
    }

    /// The device that had an address then: link address and name.
    fn holder(&self, addr: &str, at: f64) -> Option<(&str, &str)> {
        let mut held = self.rows("held").iter().filter(|h| {
            h["address"] == addr
                && h["from"].as_f64().unwrap() <= at
                && h["until"].as_f64().is_none_or(|until| at < until)
        });
        held.next_back().map(|h| (h["mac"].as_str().unwrap(), h["name"].as_str().unwrap()))
    }
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
    time.as_nanosecond() as f64 / 1e9
}

#[test]
fn the_recorded_office_has_not_one_wrong_name() {
    let recorded = Recorded::scan("");
    let services = recorded.services();
    let inventory = [("inv-10", "olga"), ("desk-1", "anna")];
    let (mut wrong, mut named, mut seen_flows) = (Vec::new(), 0_u64, 0_u64);
    for f in recorded.document["findings"].as_array().unwrap() {
        let (addr, service) = (f["address"].as_str().unwrap(), f["service"].as_str().unwrap());
        let (from, until) = (seconds(&f["first_seen"]), seconds(&f["last_seen"]));
        // A device with several addresses is one finding: of its service, whatever the address.
        let owner = recorded.holder(addr, from + 0.05);
        let of_device = |flow: &&Value| {
            let same = match f["mac"].as_str() {
                Some(mac) => flow["mac"] == mac,
                None => flow["address"] == addr,
            };
            let at = flow["at"].as_f64().unwrap();
            same && services[flow["host"].as_str().unwrap()] == service
                && (from - 0.5..=until + 0.5).contains(&at)
        };
        let flows: Vec<&Value> = recorded.rows("flows").iter().filter(of_device).collect();
        let line = format!("{addr} {service} {}", f["first_seen"]);
        if flows.is_empty() {
            wrong.push(format!("{line}: no such use"));
        }
        if let Some(mac) = f["mac"].as_str()
            && owner.is_none_or(|o| o.0 != mac)
        {
            wrong.push(format!("{line}: device {mac}, was {owner:?}"));
        }
        if let Some(host) = f["host"].as_str()
            && owner.is_none_or(|o| o.1 != host.to_lowercase())
        {
            wrong.push(format!("{line}: host {host}, was {owner:?}"));
        }
        for p in f["people"].as_array().unwrap() {
            let Some(user) = p["user"].as_str() else { continue };
            let primary = p["user_basis"].as_str().unwrap().starts_with("primary");
            let (from, until) = (seconds(&p["first_seen"]), seconds(&p["last_seen"]));
            let theirs = flows.iter().filter(|flow| {
                let device = flow["device"].as_str().unwrap();
                let assigned = primary && inventory.contains(&(device, user));
                let at = flow["at"].as_f64().unwrap();
                let sat =
                    if primary { assigned && flow["user"].is_null() } else { flow["user"] == user };
                sat && flow["many"] == false && (from - 0.3..=until + 0.3).contains(&at)
            });
            let posted: Vec<u64> = theirs.map(|t| t["posted"].as_u64().unwrap()).collect();
            // Hellos, tickets and headers come on top of what was posted: about a kilobyte each.
            let (sent, least) = (p["bytes_sent"].as_u64().unwrap(), posted.iter().sum::<u64>());
            let most = least + 2_000 * posted.len() as u64;
            if posted.is_empty() || !(least..=most).contains(&sent) {
                wrong.push(format!("{line}: {user} sent {sent}, did {posted:?}"));
            }
            named += posted.len() as u64;
        }
    }
    for flow in recorded.rows("flows") {
        seen_flows += u64::from(flow["seen"] == true && flow["many"] == false);
    }
    assert_eq!(wrong, Vec::<String>::new());
    // Whoever was seen to log on is named for what he did; three uses are named by inventory.
    assert!(named >= seen_flows + 3, "{named} of {seen_flows} and 3 uses have a name");
    let total = recorded.document["findings"].as_array().unwrap().len();
    assert!(total >= 20, "{total} findings");
    let many: Vec<&str> = recorded
        .rows("flows")
        .iter()
        .filter(|flow| flow["many"] == true)
        .filter_map(|flow| flow["address"].as_str())
        .collect();
    for f in recorded.document["findings"].as_array().unwrap() {
        let basis = f["people"][0]["user_basis"].as_str().unwrap_or_default();
        let is_many = many.contains(&f["address"].as_str().unwrap());
        assert_eq!(basis.starts_with("many"), is_many, "{} {basis}", f["address"]);
    }
}

#[test]
fn the_recorded_office_keeps_no_password() {
    let recorded = Recorded::scan("");
    let mut searched = 0;
    for file in ["s.db", "o.jsonl"] {
        let bytes = std::fs::read(recorded.dir.path().join(file)).unwrap();
        for secret in recorded.rows("passwords") {
            let secret = secret.as_str().unwrap().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "a password in {file}");
            searched += 1;
        }
    }
    assert!(searched > 40, "{searched}");
    let observed = std::fs::read_to_string(recorded.dir.path().join("o.jsonl")).unwrap();
    // Several on one flow stay apart: on one SMB connection, and between one switch and RADIUS.
    let of = |kind: &str, client: &str| -> std::collections::BTreeSet<String> {
        let lines = observed.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON"));
        let lines = lines.filter(|l| l["kind"] == kind && l["client"] == client);
        lines.map(|l| l["value"].as_str().unwrap().to_owned()).collect()
    };
    let held = |name: &str| {
        let row = recorded.rows("held").iter().find(|h| h["name"] == name).expect("a host");
        row["address"].as_str().unwrap().to_owned()
    };
    assert_eq!(of("ntlm_user", &held("term-7")), ["sven", "tara"].map(str::to_owned).into());
    let radius = of("radius_user", &held("nas"));
    assert_eq!(radius, ["hugo", "ines", "olaf", "wanda"].map(str::to_owned).into());
}
