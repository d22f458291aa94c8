//! What the recorded office says, as reviewed snapshots: a change of any count shows here.
//!
//! To accept a change after reading it: `INSTA_UPDATE=always cargo test --test golden`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The document of a scan of the office, and its observations counted by kind.
fn office() -> (Value, BTreeMap<String, u64>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let seen = dir.path().join("seen.jsonl");
    let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--json", "--threads", "3"])
        .args(["-c", &format!("{ROOT}/examples/office/shadowtap.toml")])
        .arg("--observations")
        .arg(&seen)
        .arg(format!("{ROOT}/fixtures/office/office.pcap.zst"))
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs");
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let document = serde_json::from_slice(&out.stdout).expect("JSON");
    let lines = std::fs::read_to_string(seen).expect("observations");
    let mut kinds = BTreeMap::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        *kinds.entry(line["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
    }
    (document, kinds)
}

#[test]
fn the_office_is_read_as_it_was_recorded() {
    let (document, kinds) = office();
    insta::assert_json_snapshot!("office-observations", kinds);
    insta::assert_json_snapshot!("office-coverage", document["coverage"]);
    let findings = document["findings"].as_array().expect("findings");
    let lines: Vec<String> = findings
        .iter()
        .map(|f| {
            let word = |key: &str| f[key].as_str().unwrap_or("?").to_owned();
            let number = |key: &str| f[key].as_u64().expect("a number");
            format!(
                "{} {} {} {} sent {} received {}",
                word("service"),
                word("level"),
                word("client_class"),
                f["host"].as_str().unwrap_or("(no name)"),
                number("bytes_sent"),
                number("bytes_received"),
            )
        })
        .collect();
    insta::assert_json_snapshot!("office-findings", lines);
}

#[test]
fn every_layer_of_the_fixture_says_its_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let seen = dir.path().join("seen.jsonl");
    let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--json", "--observations"])
        .arg(&seen)
        .arg(format!("{ROOT}/fixtures/layers/layers.pcapng"))
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .expect("the binary runs");
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = std::fs::read_to_string(seen).expect("observations");
    let said = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let names: std::collections::BTreeSet<String> = lines
        .lines()
        .map(said)
        .filter(|line| line["kind"] == "dns_query")
        .map(|line| line["value"].as_str().expect("text").replace(".example", ""))
        .collect();
    let layers = "4in6 6in4 ah arcnet atm ayiya capwap enc erspan1 erspan2 erspan3 etherip \
                  extensions geneve gre gtpu hdlc l2tp lisp macsec mpls mpls-udp nflog nsh null \
                  nvgre pbb pflog pktap plain ppi ppp pppoe pptp prism qinq radiotap raw six sll \
                  sll2 teredo vlan vxlan vxlan-gpe wlan";
    assert_eq!(names.into_iter().collect::<Vec<_>>().join(" "), layers);
}
