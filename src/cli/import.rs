//! `shadowtap signatures import`: a list of somebody's as a draft of local signatures.
//!
//! In: a list of v2fly, of a hosts file, or of comma-separated values. Out: an overlay to review.
//! Never: takes more than a name and its owner; makes anything certain; keeps what no pattern can say.
//! Limits: [`LINES_MAX`] lines.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;

use crate::recorder::signature::{Catalogue, Kind};
use crate::types::{NAME_MAX, plain_name};

/// Services by id: their name and their hosts.
type Services = BTreeMap<String, (String, BTreeSet<(String, Kind)>)>;

/// Longest list read: more hosts than all public lists of AI services together.
pub const LINES_MAX: usize = 100_000;

/// Ways in which lists are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// `domain:`, `full:`, bare names; attributes and comments.
    V2fly,
    /// `0.0.0.0 name`, or a name a line.
    Hosts,
    /// `host,service` with an optional category; a leading `*.` or `.` for everything below.
    Csv,
}

/// What became of a list.
pub struct Draft {
    /// The overlay.
    pub text: String,
    /// Hosts in it.
    pub hosts: usize,
    /// Hosts that the catalogue has already.
    pub known: usize,
    /// Lines that no pattern can say, with the reason.
    pub left_out: Vec<(usize, &'static str)>,
}

/// Makes a draft of a list; `name` is the list's, for provenance, and `today` the day of entry.
pub fn draft(list: &str, format: ListFormat, name: &str, today: &str, known: &Catalogue) -> Draft {
    let mut services = Services::new();
    let mut draft = Draft { text: String::new(), hosts: 0, known: 0, left_out: Vec::new() };
    for (line, number) in list.lines().take(LINES_MAX).zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (host, kind, service) = match read(line, format) {
            Ok(read) => read,
            Err(why) => {
                draft.left_out.push((number, why));
                continue;
            }
        };
        let mut buf = [0; NAME_MAX];
        let plain = plain_name(host.as_bytes(), &mut buf).filter(|n| n.contains('.'));
        let suffix = plain.and_then(|n| psl::suffix(n.as_bytes()));
        let Some(plain) = plain.filter(|n| suffix.is_none_or(|s| s.as_bytes() != n.as_bytes()))
        else {
            draft.left_out.push((number, "no host name, or a public suffix"));
            continue;
        };
        if known.lookup(plain).is_some() {
            draft.known += 1;
            continue;
        }
        let domain = psl::domain_str(plain).unwrap_or(plain);
        let service = service.unwrap_or(domain);
        let id: String = service
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let id = format!("local-{}", id.trim_matches('-'));
        let entry = services.entry(id).or_insert_with(|| (service.to_owned(), BTreeSet::new()));
        if entry.1.insert((plain.to_owned(), kind)) {
            draft.hosts += 1;
        }
    }
    draft.text = written(&services, name, today);
    draft
}

/// A line's host, whether it stands for everything below, and its service.
fn read(line: &str, format: ListFormat) -> Result<(&str, Kind, Option<&str>), &'static str> {
    match format {
        ListFormat::V2fly => {
            let rule = line.split_whitespace().next().unwrap_or_default();
            match rule.split_once(':') {
                None => Ok((rule, Kind::Suffix, None)),
                Some(("domain", name)) => Ok((name, Kind::Suffix, None)),
                Some(("full", name)) => Ok((name, Kind::Exact, None)),
                Some(("include", _)) => Err("another list, which must be imported itself"),
                Some(_) => Err("words and expressions hit names of others"),
            }
        }
        ListFormat::Hosts => {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [name] | [_, name, ..] => Ok((name, Kind::Exact, None)),
                [] => Err("empty"),
            }
        }
        ListFormat::Csv => {
            let mut fields = line.split(',').map(|f| f.trim().trim_matches('"'));
            let host = fields.next().unwrap_or_default();
            let service = fields.next().filter(|s| !s.is_empty());
            if matches!(host, "host" | "domain" | "host_pattern") {
                return Err("the heading");
            }
            let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
            Ok((below.unwrap_or(host), below.map_or(Kind::Exact, |_| Kind::Suffix), service))
        }
    }
}

fn written(services: &Services, name: &str, today: &str) -> String {
    use std::fmt::Write as _;
    let text = |t: &str| toml::Value::String(t.to_owned()).to_string();
    let mut out = format!(
        "# Draft made of {}. Review every line: who owns the host, what it is for, what else lives there.\n\
         # Then name it in [signatures] local.\n",
        text(name)
    );
    for (id, (service, hosts)) in services {
        let first = hosts.first().map_or("", |(host, _)| host.as_str());
        let _ = write!(
            out,
            "\n[[service]]\nid = {}\nname = {}\nvendor = \"unknown\"\nvendor_country = \"ZZ\"\n\
             category = \"chat\"\nstatus = \"unverified\"\nfirst_added = {}\nlast_verified = {}\n\
             provenance = [{}]\nmust_match = [{}]\nmust_miss = [\"www.example.org\"]\n",
            text(id),
            text(service),
            text(today),
            text(today),
            text(&format!("import: {name}")),
            text(first),
        );
        for (host, kind) in hosts {
            let kind = if *kind == Kind::Exact { "exact" } else { "suffix" };
            let _ = write!(
                out,
                "\n[[service.host]]\npattern = {}\nmatch = \"{kind}\"\nrole = \"chat\"\n\
                 strength = \"probable\"\n",
                text(host)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_drafts() {
        let catalogue = Catalogue::embedded().unwrap();
        let cases: [(ListFormat, &str, usize, usize, usize); 3] = [
            (
                ListFormat::V2fly,
                "# c\ndomain:newai.example @cn\nfull:api.newai.example # x\nchatgpt.com\n\
                 keyword:ai\ninclude:other\nco.uk\n",
                2,
                1,
                3,
            ),
            (ListFormat::Hosts, "127.0.0.1 one.example\n0.0.0.0 claude.ai\ntwo.example\n", 2, 1, 0),
            (
                ListFormat::Csv,
                "host,service\n*.three.example,\"Three\"\nfour.example,Three,chat\nbad host,x\n",
                2,
                0,
                2,
            ),
        ];
        for (format, list, hosts, known, left_out) in cases {
            let draft = draft(list, format, "list", "2026-11-23", &catalogue);
            let found = (draft.hosts, draft.known, draft.left_out.len());
            assert_eq!(found, (hosts, known, left_out), "{format:?}\n{}", draft.text);
            let folder = tempfile::tempdir().unwrap();
            let local = folder.path().join("local.toml");
            std::fs::write(&local, &draft.text).unwrap();
            let overlaid = Catalogue::with_local(None, Some(&local));
            assert!(overlaid.is_ok(), "{format:?}: {:?}\n{}", overlaid.err(), draft.text);
        }
    }
}
