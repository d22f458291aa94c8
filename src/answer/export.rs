//! Block lists for the tools that block: the sensor itself blocks nothing.
//!
//! In: services to block, the catalogue, the policy, names to leave alone. Out: one list in the
//! form that a resolver, proxy, firewall or sensor loads, with versions and expiry in its head.
//! Never: blocks what the policy allows, or another service's names below a blocked one; blocks an
//! address that somebody else may use too.
//! Limits: forms that cannot say "and all below" or "but not this" list what they miss.
//! Source: the forms' own manuals; each is loaded by its real tool in `tests/export.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::report::Failure;
use super::verify::MARK;
use crate::recorder::signature::{Catalogue, Kind, Service, Strength};
use crate::recorder::store::rows::Text;
use crate::types::{NAME_MAX, Timestamp, plain_name};

use super::terminal::{counted, time};

/// Days for which a list is good: a month, so that a service that moved or was approved does not
/// stay blocked for longer than a person remembers why.
pub const VALID_DAYS: u64 = 30;

/// Numbers of Suricata rules for local use, by its documentation: 1,000,000 to 1,999,999.
const SID_FIRST: u64 = 1_200_000;
const SID_COUNT: u64 = 700_000;

/// Rules for one name: TLS, QUIC, DNS, HTTP.
const SIDS_A_NAME: u64 = 4;

/// Forms of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Response policy zone.
    Rpz,
    /// Unbound configuration.
    Unbound,
    /// dnsmasq configuration.
    Dnsmasq,
    /// Lines for /etc/hosts and what reads such files.
    Hosts,
    /// Suricata rules.
    Suricata,
    /// Intelligence file of Zeek.
    ZeekIntel,
    /// Domain list of Squid.
    Squid,
    /// nftables rules, by address.
    Nftables,
    /// External dynamic list of domains.
    Edl,
    /// Table.
    Csv,
}

/// A name that is blocked or left alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Everything below it too.
    pub below: bool,
    /// Service it belongs to.
    pub service: String,
}

/// What is to be blocked, before it has a form.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Names to block, in order.
    pub entries: Vec<Entry>,
    /// Names below these that stay open.
    pub exceptions: Vec<Entry>,
    /// Address blocks that vendors publish as their own alone.
    pub addresses: Vec<(IpAddr, u8, String)>,
    /// Services in it.
    pub services: BTreeSet<String>,
    /// Services without such addresses.
    pub without_addresses: BTreeSet<String>,
    /// What the list cannot say or leaves out, a sentence each.
    pub notes: Vec<String>,
    /// The same of its addresses.
    pub address_notes: Vec<String>,
}

/// What stands in the head of a list.
#[derive(Clone, Debug)]
pub struct Head {
    /// Catalogue version.
    pub catalogue: String,
    /// Policy version.
    pub policy: String,
    /// What was asked for, in words.
    pub what: String,
    /// Newest frame of the store.
    pub until: Timestamp,
    /// Serial number of the zone; must rise.
    pub serial: u32,
}

impl Form {
    /// Every form with its word.
    pub const ALL: [(&'static str, Form); 10] = [
        ("rpz", Form::Rpz),
        ("unbound", Form::Unbound),
        ("dnsmasq", Form::Dnsmasq),
        ("hosts", Form::Hosts),
        ("suricata", Form::Suricata),
        ("zeek-intel", Form::ZeekIntel),
        ("squid", Form::Squid),
        ("nftables", Form::Nftables),
        ("edl", Form::Edl),
        ("csv", Form::Csv),
    ];

    /// The form of a word.
    pub fn from_word(word: &str) -> Option<Form> {
        Self::ALL.iter().find(|(w, _)| *w == word).map(|(_, f)| *f)
    }

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, f)| *f == self).map_or("", |(w, _)| w)
    }

    /// How a line of comment begins.
    fn comment(self) -> &'static str {
        if self == Form::Rpz { ";" } else { "#" }
    }

    /// The form can say "this name and all below".
    fn says_below(self) -> bool {
        !matches!(self, Form::Hosts | Form::ZeekIntel)
    }

    /// The form can say "this name and none below".
    fn says_exactly(self) -> bool {
        !matches!(self, Form::Unbound | Form::Dnsmasq)
    }

    /// The form can leave a name open below a blocked one.
    fn says_except(self) -> bool {
        matches!(self, Form::Rpz | Form::Unbound | Form::Dnsmasq | Form::Suricata | Form::Csv)
    }
}

/// Makes the list of some services' names.
///
/// `allowed` are services that stay open wherever they are, `open` further names from a file,
/// `seen` host names with the service they belong to.
pub fn list(
    catalogue: &Catalogue,
    blocked: &BTreeSet<Text>,
    allowed: &BTreeSet<Text>,
    open: &[Entry],
    seen: &BTreeSet<(Text, Text)>,
) -> List {
    let mut list = List::default();
    let mut entries: BTreeMap<(String, bool), String> = BTreeMap::new();
    for id in blocked {
        let Some(service) = catalogue.service(id) else {
            list.notes.push(format!("{id} is not in this catalogue and is left out"));
            continue;
        };
        list.services.insert(service.id.clone());
        list.of_service(service, catalogue, seen, &mut entries);
        if service.addresses.is_empty() {
            list.without_addresses.insert(service.id.clone());
        }
        list.addresses_of(service, catalogue, blocked, allowed);
    }
    list.addresses.sort();
    // Names of everybody else: what lies below a blocked name stays open, what lies above one
    // that is allowed is not blocked at all.
    let others = catalogue.services().iter().filter(|s| !blocked.contains(s.id.as_str()));
    let mut exceptions = BTreeSet::new();
    let mut open: Vec<Entry> = open.to_vec();
    for service in others {
        let keep = allowed.contains(service.id.as_str());
        for host in service.hosts.iter().filter(|h| h.kind != Kind::Template) {
            let entry = Entry {
                name: host.pattern.clone(),
                below: host.kind != Kind::Exact,
                service: service.id.clone(),
            };
            if keep && host.role.opens_session() {
                open.push(entry.clone());
            }
            if entries.keys().any(|(name, below)| *below && is_below(&entry.name, name)) {
                exceptions.insert(entry);
            }
        }
    }
    for entry in open {
        let covers =
            |name: &str| name == entry.name || (entry.below && is_below(name, &entry.name));
        entries.retain(|(name, _), service| {
            let goes = covers(name);
            if goes {
                let note = format!("{name} ({service}) is left out: {} is allowed", entry.name);
                list.notes.push(note);
            }
            !goes
        });
        if entries.keys().any(|(name, below)| *below && is_below(&entry.name, name)) {
            exceptions.insert(entry);
        }
    }
    for service in catalogue.services().iter().filter(|s| blocked.contains(s.id.as_str())) {
        for host in &service.hosts {
            for name in &host.excludes {
                let covered = entries.contains_key(&(host.pattern.clone(), true));
                if covered {
                    let service = service.id.clone();
                    exceptions.insert(Entry { name: name.clone(), below: true, service });
                }
            }
        }
    }
    list.exceptions = exceptions.into_iter().collect();
    let all: Vec<(String, bool)> = entries.keys().cloned().collect();
    for ((name, below), service) in entries {
        // A name below another blocked one is blocked already.
        let again = all.iter().any(|(n, b)| *b && (is_below(&name, n) || (*n == name && !below)));
        if !again {
            list.entries.push(Entry { name, below, service });
        }
    }
    list
}

impl List {
    fn of_service(
        &mut self,
        service: &Service,
        catalogue: &Catalogue,
        seen: &BTreeSet<(Text, Text)>,
        entries: &mut BTreeMap<(String, bool), String>,
    ) {
        let mut any = false;
        for host in service.hosts.iter().filter(|h| h.role.opens_session()) {
            if host.strength == Strength::Weak {
                self.notes.push(format!(
                    "{} ({}) is left out: the name alone does not prove the service",
                    host.pattern, service.id
                ));
                continue;
            }
            match host.kind {
                Kind::Exact | Kind::Suffix | Kind::Tenant => {
                    let below = host.kind != Kind::Exact;
                    entries.insert((host.pattern.clone(), below), service.id.clone());
                    any = true;
                }
                Kind::Template => {
                    let fits = |name: &str| {
                        catalogue.lookup(name).is_some_and(|m| m.host.pattern == host.pattern)
                    };
                    let names: Vec<&str> = seen
                        .iter()
                        .filter(|(id, name)| **id == *service.id && fits(name))
                        .map(|(_, name)| &**name)
                        .collect();
                    for name in &names {
                        entries.insert(((*name).to_owned(), false), service.id.clone());
                        any = true;
                    }
                    self.notes.push(format!(
                        "{} ({}) varies within a label, which no list can say: {} seen here {} in it",
                        host.pattern,
                        service.id,
                        counted(names.len() as u64, "name"),
                        if names.len() == 1 { "is" } else { "are" },
                    ));
                }
            }
        }
        if !any {
            self.notes.push(format!("{} has no name that can be blocked", service.id));
        }
    }

    /// Address blocks are a vendor's, not a service's: one whose vendor has something that is
    /// allowed is left out.
    fn addresses_of(
        &mut self,
        service: &Service,
        catalogue: &Catalogue,
        blocked: &BTreeSet<Text>,
        allowed: &BTreeSet<Text>,
    ) {
        let others = || {
            let all = catalogue.services().iter();
            all.filter(|s| s.vendor == service.vendor && !blocked.contains(s.id.as_str()))
        };
        let open = others().find(|s| allowed.contains(s.id.as_str()));
        for block in &service.addresses {
            let net = format!("{}/{}", block.addr, block.bits);
            if let Some(open) = open {
                self.address_notes.push(format!(
                    "{net} ({}) is left out: {} of the same vendor is allowed",
                    service.id, open.id
                ));
                self.without_addresses.insert(service.id.clone());
                continue;
            }
            for other in others() {
                self.address_notes
                    .push(format!("{net} is all of {}'s: {} stops too", service.vendor, other.id));
            }
            self.addresses.push((block.addr, block.bits, service.id.clone()));
        }
    }

    /// `true` if the list covers a name.
    pub fn covers(&self, name: &str) -> bool {
        let on = |e: &Entry| e.name == name || (e.below && is_below(name, &e.name));
        self.entries.iter().any(on) && !self.exceptions.iter().any(on)
    }
}

/// Writes a list in a form.
///
/// # Errors
/// With the reason, if the form cannot hold any of it.
pub fn write(list: &List, form: Form, head: &Head) -> Result<String, Failure> {
    if form == Form::Nftables && list.addresses.is_empty() {
        let services: Vec<&str> = list.without_addresses.iter().map(String::as_str).collect();
        let mut why = format!(
            "no vendor publishes addresses that are its own alone for {}; blocking shared addresses would break other \
             sites, so use a form by name (rpz, unbound, squid ...)",
            services.join(", ")
        );
        for note in &list.address_notes {
            why.push_str("; ");
            why.push_str(note);
        }
        return Err(Failure::Format("nftables rules", why));
    }
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, list, form, head);
    Ok(out)
}

fn write_all(out: &mut String, list: &List, form: Form, head: &Head) -> std::fmt::Result {
    let c = form.comment();
    let days = head.until.0.saturating_add(VALID_DAYS * Timestamp::DAY);
    let day = |t: u64| time(Timestamp(t), "%Y-%m-%d");
    let count = if form == Form::Nftables {
        counted(list.addresses.len() as u64, "address block")
    } else {
        counted(list.entries.len() as u64, "name")
    };
    writeln!(
        out,
        "{c} Block list of shadowtap {}, form {}",
        env!("CARGO_PKG_VERSION"),
        form.word()
    )?;
    writeln!(
        out,
        "{c} {}: {count} of {}",
        head.what,
        counted(list.services.len() as u64, "service")
    )?;
    writeln!(out, "{c} catalogue {}, policy {}", head.catalogue, head.policy)?;
    writeln!(
        out,
        "{c} made of data up to {}; valid until {}: make it anew then",
        day(head.until.0),
        day(days)
    )?;
    for note in list.notes.iter().chain(&misses(list, form)) {
        writeln!(out, "{c} note: {note}")?;
    }
    writeln!(out, "{c} {MARK}")?;
    body(out, list, form, head)
}

/// What the form cannot say of this list.
pub fn misses(list: &List, form: Form) -> Vec<String> {
    let mut notes = Vec::new();
    let below = list.entries.iter().filter(|e| e.below).count() as u64;
    let exact = list.entries.len() as u64 - below;
    if form == Form::Nftables {
        notes.extend(list.address_notes.iter().cloned());
        if !list.without_addresses.is_empty() {
            let services: Vec<&str> = list.without_addresses.iter().map(String::as_str).collect();
            notes.push(format!(
                "not blocked, as no vendor publishes addresses of its own alone: {}",
                services.join(", ")
            ));
        }
        return notes;
    }
    if !form.says_below() && below > 0 {
        notes.push(format!(
            "this form matches whole names only: of {} the names below stay open, except those listed",
            counted(below, "name")
        ));
    }
    if !form.says_exactly() && exact > 0 {
        notes.push(format!("this form blocks what is below {} too", counted(exact, "single name")));
    }
    if !form.says_except() && form.says_below() && !list.exceptions.is_empty() {
        let names: Vec<&str> = list.exceptions.iter().map(|e| e.name.as_str()).collect();
        notes.push(format!(
            "this form cannot leave names open below a blocked one; the blocked names above these match exactly only: {}",
            names.join(", ")
        ));
    }
    notes
}

fn body(out: &mut String, list: &List, form: Form, head: &Head) -> std::fmt::Result {
    // Where no exception can be said, a name above one is blocked without what is below.
    let below = |e: &Entry| {
        let hurts = list.exceptions.iter().any(|x| is_below(&x.name, &e.name));
        e.below && (form.says_except() || !hurts)
    };
    match form {
        Form::Rpz => {
            writeln!(out, "$TTL 300")?;
            writeln!(
                out,
                "@ IN SOA localhost. nobody.localhost. {} 3600 600 604800 300",
                head.serial
            )?;
            writeln!(out, "@ IN NS localhost.")?;
            for e in &list.exceptions {
                writeln!(out, "{} CNAME rpz-passthru.", e.name)?;
                if e.below {
                    writeln!(out, "*.{} CNAME rpz-passthru.", e.name)?;
                }
            }
            for e in &list.entries {
                writeln!(out, "{} CNAME .", e.name)?;
                if e.below {
                    writeln!(out, "*.{} CNAME .", e.name)?;
                }
            }
        }
        Form::Unbound => {
            writeln!(out, "server:")?;
            for e in &list.entries {
                writeln!(out, "    local-zone: \"{}.\" always_nxdomain", e.name)?;
            }
            for e in &list.exceptions {
                writeln!(out, "    local-zone: \"{}.\" always_transparent", e.name)?;
            }
        }
        Form::Dnsmasq => {
            for e in &list.entries {
                writeln!(out, "local=/{}/", e.name)?;
            }
            for e in &list.exceptions {
                writeln!(out, "server=/{}/#", e.name)?;
            }
        }
        Form::Hosts => {
            for e in &list.entries {
                writeln!(out, "0.0.0.0 {}", e.name)?;
            }
        }
        Form::Suricata => suricata(out, list)?,
        Form::ZeekIntel => {
            writeln!(out, "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc")?;
            for e in &list.entries {
                writeln!(out, "{}\tIntel::DOMAIN\tshadowtap\t{}", e.name, e.service)?;
            }
        }
        Form::Squid => {
            for e in &list.entries {
                writeln!(out, "{}{}", if below(e) { "." } else { "" }, e.name)?;
            }
        }
        Form::Nftables => nftables(out, list)?,
        Form::Edl => {
            for e in &list.entries {
                writeln!(out, "{}", e.name)?;
                if below(e) {
                    writeln!(out, "*.{}", e.name)?;
                }
            }
        }
        Form::Csv => {
            writeln!(out, "action,name,and_below,service")?;
            let rows = [("block", &list.entries), ("leave", &list.exceptions)];
            for (action, entries) in rows {
                for e in entries {
                    writeln!(out, "{action},{},{},{}", e.name, e.below, e.service)?;
                }
            }
        }
    }
    Ok(())
}

fn suricata(out: &mut String, list: &List) -> std::fmt::Result {
    let mut taken: BTreeSet<u64> = BTreeSet::new();
    let rows = [("pass", &list.exceptions), ("alert", &list.entries)];
    for (action, entries) in rows {
        for e in entries {
            // The number follows from the name, so that it stays while the list changes.
            let slots = SID_COUNT / SIDS_A_NAME;
            let hash = twox_hash::XxHash3_64::oneshot(format!("{action} {}", e.name).as_bytes());
            let mut slot = hash.checked_rem(slots).unwrap_or(0);
            while !taken.insert(slot) {
                slot = slot.saturating_add(1).checked_rem(slots).unwrap_or(0);
            }
            let sid = SID_FIRST.saturating_add(slot.saturating_mul(SIDS_A_NAME));
            let (matched, lower) = if e.below {
                let matched = format!("dotprefix; content:\".{}\"; ", e.name);
                (format!("{matched}nocase; endswith;"), format!("{matched}endswith;"))
            } else {
                let matched = format!("content:\"{}\"; ", e.name);
                let size = format!("bsize:{};", e.name.len());
                (format!("{matched}nocase; {size}"), format!("{matched}{size}"))
            };
            let flow = "flow:established,to_server; ";
            for (nth, (protocol, flow, field, matched)) in (0..).zip([
                ("tls", flow, "tls.sni", &matched),
                ("quic", "", "quic.sni", &matched),
                ("dns", "", "dns.query", &matched),
                ("http", flow, "http.host", &lower),
            ]) {
                writeln!(
                    out,
                    "{action} {protocol} any any -> any any (msg:\"SHADOWTAP {} {}\"; {flow}{field}; {matched} sid:{}; rev:1;)",
                    e.service,
                    e.name,
                    sid.saturating_add(nth)
                )?;
            }
        }
    }
    Ok(())
}

fn nftables(out: &mut String, list: &List) -> std::fmt::Result {
    writeln!(out, "table inet shadowtap {{")?;
    for (name, kind, v4) in [("blocked4", "ipv4_addr", true), ("blocked6", "ipv6_addr", false)] {
        let blocks: Vec<String> = list
            .addresses
            .iter()
            .filter(|(addr, ..)| addr.is_ipv4() == v4)
            .map(|(addr, bits, _)| format!("{addr}/{bits}"))
            .collect();
        writeln!(out, "    set {name} {{")?;
        writeln!(out, "        type {kind}; flags interval; auto-merge;")?;
        if !blocks.is_empty() {
            writeln!(out, "        elements = {{ {} }}", blocks.join(", "))?;
        }
        writeln!(out, "    }}")?;
    }
    writeln!(out, "    chain passing {{")?;
    writeln!(out, "        type filter hook forward priority filter; policy accept;")?;
    writeln!(out, "        ip daddr @blocked4 counter reject")?;
    writeln!(out, "        ip6 daddr @blocked6 counter reject")?;
    writeln!(out, "    }}\n}}")
}

/// Reads names to leave alone: one a line; `*.` or `.` in front means everything below too.
///
/// # Errors
/// The line that is no name.
pub fn read_open(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        let bare = line.strip_prefix("*.").or_else(|| line.strip_prefix('.')).unwrap_or(line);
        let mut buf = [0; NAME_MAX];
        let name = plain_name(bare.as_bytes(), &mut buf)
            .filter(|n| n.contains('.') && !n.contains('*'))
            .ok_or_else(|| format!("line {number}: `{line}` is no host name"))?;
        // What somebody wants open is meant with everything below it.
        entries.push(Entry {
            name: name.to_owned(),
            below: true,
            service: "allow list".to_owned(),
        });
    }
    Ok(entries)
}

/// `true` if `name` lies below `above`, at a label's border.
fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ids: &[&str]) -> BTreeSet<Text> {
        ids.iter().map(|id| Text::from(*id)).collect()
    }

    #[test]
    fn below_means_at_a_label_border() {
        for (name, above, expected) in [
            ("a.example.com", "example.com", true),
            ("example.com", "example.com", false),
            ("notexample.com", "example.com", false),
            (".example.com", "example.com", false),
        ] {
            assert_eq!(is_below(name, above), expected, "{name} below {above}");
        }
    }

    #[test]
    fn what_is_allowed_stays_open_and_others_below_too() {
        let catalogue = Catalogue::embedded().unwrap();
        let all: Vec<&Service> = catalogue.services().iter().collect();
        let everything: BTreeSet<Text> = all.iter().map(|s| Text::from(s.id.as_str())).collect();
        for service in &all {
            let blocked: BTreeSet<Text> =
                everything.iter().filter(|id| ***id != *service.id).cloned().collect();
            if service.id.len() % 7 > 0 {
                continue;
            }
            let allowed = texts(&[&service.id]);
            let list = list(&catalogue, &blocked, &allowed, &[], &BTreeSet::new());
            for host in service.hosts.iter().filter(|h| h.role.opens_session()) {
                if host.kind == Kind::Exact || host.kind == Kind::Suffix {
                    let name = &host.pattern;
                    assert!(!list.covers(name), "{name} of {} is blocked", service.id);
                }
            }
        }
    }

    #[test]
    fn an_allow_list_comes_first() {
        let catalogue = Catalogue::embedded().unwrap();
        let blocked = texts(&["deepseek"]);
        let open = read_open("# keep\nchat.deepseek.com # the trial\n\n").unwrap();
        let with = list(&catalogue, &blocked, &BTreeSet::new(), &[], &BTreeSet::new());
        let without = list(&catalogue, &blocked, &BTreeSet::new(), &open, &BTreeSet::new());
        assert!(with.covers("chat.deepseek.com"));
        assert!(!without.covers("chat.deepseek.com"));
        for bad in ["http://x", "one two.example", "nodot"] {
            assert!(read_open(bad).is_err(), "{bad}");
        }
    }
}
