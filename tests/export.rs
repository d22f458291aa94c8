//! Block lists: each form is loaded by the tool that it is for, where that tool is installed, and
//! blocks what it says, and no more.
//!
//! `SHADOWTAP_TOOLS=required` makes a missing tool a failure, as in continuous integration.

#[path = "support/made.rs"]
mod made;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use shadowtap::answer::export::{self, Entry, Form, Head, List};
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::Text;
use shadowtap::types::Timestamp;

fn texts(ids: &[&str]) -> BTreeSet<Text> {
    ids.iter().map(|id| Text::from(*id)).collect()
}

fn head() -> Head {
    Head {
        catalogue: "c1".to_owned(),
        policy: "p1".to_owned(),
        what: "unapproved services in use".to_owned(),
        until: Timestamp(made::BEGIN),
        serial: 1_792_800_000,
    }
}

/// Many services, with something of every kind: suffixes, exact names, exceptions, addresses.
fn list() -> List {
    let catalogue = Catalogue::embedded().unwrap();
    let ids: Vec<&str> = catalogue
        .services()
        .iter()
        .map(|s| s.id.as_str())
        .filter(|id| !matches!(*id, "openai-api" | "gemini"))
        .collect();
    let seen = BTreeSet::new();
    let open = export::read_open("claude.ai").unwrap();
    export::list(&catalogue, &texts(&ids), &texts(&["openai-api", "gemini"]), &open, &seen)
}

/// Runs a tool on a file; `None` if it is not installed and need not be.
fn load(tool: &str, args: &[&str], dir: &Path) -> Option<(bool, String)> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let run = Command::new(tool).args(args).current_dir(dir).env("PATH", path).output();
    match run {
        Ok(run) => {
            let text = String::from_utf8_lossy(&run.stdout).into_owned()
                + &String::from_utf8_lossy(&run.stderr);
            Some((run.status.success(), text))
        }
        Err(error) => {
            assert!(
                std::env::var_os("SHADOWTAP_TOOLS").is_none_or(|v| v != "required"),
                "{tool} is not installed: {error}"
            );
            eprintln!("{tool} is not installed; its form was written and not loaded");
            None
        }
    }
}

#[test]
fn every_form_is_loaded_by_its_tool() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let list = list();
    assert!(list.entries.len() > 400 && !list.exceptions.is_empty() && !list.addresses.is_empty());
    for (word, form) in Form::ALL {
        let text = export::write(&list, form, &head()).unwrap();
        std::fs::write(dir.join(word), &text).unwrap();
        let comment = if form == Form::Rpz { ";" } else { "#" };
        let first: Vec<&str> = text.lines().take(4).collect();
        assert!(first.iter().all(|l| l.starts_with(comment)), "{word}: {first:?}");
        assert!(text.contains("valid until 2026-11-23"), "{word}");
    }
    std::fs::write(
        dir.join("squid.conf"),
        "acl listed dstdomain \"squid\"\nhttp_access deny listed\nhttp_access allow all\nhttp_port 3128\n\
         cache_log /dev/null\naccess_log none\npid_filename none\n",
    )
    .unwrap();
    let unbound = "unbound.conf";
    let config = format!("include: \"{}\"\n", dir.join("unbound").display());
    let config = format!(
        "server:\n    chroot: \"\"\n    directory: \"{}\"\n    username: \"\"\n{config}",
        dir.display()
    );
    std::fs::write(dir.join(unbound), config).unwrap();
    for (tool, args) in [
        ("named-checkzone", &["-q", "rpz.shadowtap", "rpz"][..]),
        ("unbound-checkconf", &[unbound]),
        ("dnsmasq", &["--test", "-C", "dnsmasq"]),
        ("squid", &["-k", "parse", "-f", "squid.conf"]),
        ("nft", &["-c", "-f", "nftables"]),
        ("suricata", &["-T", "-S", "suricata", "-l", "."]),
    ] {
        if let Some((fine, text)) = load(tool, args, dir) {
            let lacks_rights = tool == "nft" && text.contains("Operation not permitted");
            assert!(fine || lacks_rights, "{tool}: {text}");
            let complaint =
                tool == "squid" && (text.contains("ERROR") || text.contains("WARNING: '"));
            assert!(!complaint, "{tool}: {text}");
        }
    }
}

#[test]
fn forms_say_what_they_cannot() {
    let list = list();
    for (form, says) in [
        (Form::Hosts, "matches whole names only"),
        (Form::ZeekIntel, "matches whole names only"),
        (Form::Squid, "cannot leave names open"),
        (Form::Dnsmasq, "blocks what is below"),
        (Form::Nftables, "no vendor publishes addresses"),
    ] {
        let text = export::write(&list, form, &head()).unwrap();
        assert!(text.lines().any(|l| l.starts_with("# note:") && l.contains(says)), "{form:?}");
    }
    assert!(export::misses(&list, Form::Rpz).is_empty(), "a zone can say it all");
}

#[test]
fn addresses_that_others_may_use_are_refused_with_the_reason() {
    let catalogue = Catalogue::embedded().unwrap();
    let none = BTreeSet::new();
    let shared = export::list(&catalogue, &texts(&["chatgpt"]), &none, &[], &BTreeSet::new());
    let refused = export::write(&shared, Form::Nftables, &head()).unwrap_err().to_string();
    assert!(refused.contains("chatgpt") && refused.contains("its own alone"), "{refused}");
}

#[test]
fn templates_are_blocked_where_their_names_were_seen() {
    let catalogue = Catalogue::embedded().unwrap();
    let (service, host) = catalogue
        .services()
        .iter()
        .flat_map(|s| s.hosts.iter().map(move |h| (s, h)))
        .find(|(_, h)| h.pattern.contains('{') && h.role.counts())
        .unwrap();
    let open = host.pattern.find('{').unwrap()..=host.pattern.find('}').unwrap();
    let mut name = host.pattern.clone();
    name.replace_range(open, "eu-west-1");
    let seen = BTreeSet::from([(Text::from(service.id.as_str()), Text::from(name.as_str()))]);
    let list = export::list(&catalogue, &texts(&[&service.id]), &BTreeSet::new(), &[], &seen);
    assert!(list.covers(&name), "{name}");
    assert!(list.notes.iter().any(|n| n.contains("varies within a label")), "{:?}", list.notes);
}

#[test]
fn a_list_blocks_no_name_of_a_service_that_is_not_in_it() {
    let catalogue = Catalogue::embedded().unwrap();
    let mut wrong = Vec::new();
    for service in catalogue.services() {
        let one = texts(&[&service.id]);
        let list = export::list(&catalogue, &one, &BTreeSet::new(), &[], &BTreeSet::new());
        for other in catalogue.services().iter().filter(|s| s.id != service.id) {
            for host in other.hosts.iter().filter(|h| !h.pattern.contains('{')) {
                if list.covers(&host.pattern) {
                    wrong.push(format!("{}: {} of {}", service.id, host.pattern, other.id));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn rule_numbers_of_suricata_are_its_users_own_and_never_twice() {
    let text = export::write(&list(), Form::Suricata, &head()).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let sid: u64 =
            line.split("sid:").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        assert!((1_000_000..2_000_000).contains(&sid), "{sid}");
        assert!(seen.insert(sid), "{sid} twice");
    }
}

#[test]
fn an_entry_knows_its_borders() {
    let list = List {
        entries: vec![Entry {
            name: "example.com".to_owned(),
            below: true,
            service: "x".to_owned(),
        }],
        ..List::default()
    };
    for (name, expected) in
        [("example.com", true), ("a.example.com", true), ("badexample.com", false), ("com", false)]
    {
        assert_eq!(list.covers(name), expected, "{name}");
    }
}
