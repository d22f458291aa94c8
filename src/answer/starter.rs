//! A first policy, made of what was seen: one blank decision for each service.
//!
//! In: the store's [`Summary`], and the catalogue. Out: TOML for a person to fill in.
//! Never: decides anything; names a user or a device.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::recorder::finding::bytes;
use crate::recorder::policy::explain::time_text;
use crate::recorder::policy::file::word;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::{ServiceLine, Summary, Totals};
use crate::recorder::words::{Disposition, Level};
use crate::written::quoted;

/// What stands above the rules.
const HEAD: &str = "\
# First policy: every AI service that was seen here, those that were sent most first.
#
# Fill in `status`: \"sanctioned\", \"tolerated\" or \"forbidden\". While it is blank the rule decides
# nothing, and the service stays unreviewed. Then `shadowtap policy check` this file, name it in
# shadowtap.toml under [policy] or with --policy, and ask `shadowtap policy explain SERVICE`.
# A rule may also cover a vendor = \"...\" or a category = \"...\", and be for some only:
# networks = [\"10.20.0.0/16\"], devices = [\"laptop-7\", \"02:00:00:00:00:01\"].
";

/// A policy that leaves every verdict open, with a rule for each service seen.
pub fn starter_policy(summary: &Summary, catalogue: &Catalogue) -> String {
    let mut out = String::from(HEAD);
    let span = match summary.inputs {
        0 => "nothing: the store is empty".to_owned(),
        n => format!(
            "{n} input{} from {} to {}",
            plural(n),
            time_text(summary.first_time),
            time_text(summary.last_time)
        ),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "#\n# Made of {span}.\n\n[default]\nstatus = \"unreviewed\"");
    for line in &services(summary) {
        rule(&mut out, line, catalogue);
    }
    out
}

/// Services of all groups by bytes sent; a service that stands in several comes once.
fn services(summary: &Summary) -> Vec<ServiceLine> {
    let groups = [&summary.forbidden, &summary.unreviewed, &summary.allowed];
    let mut services: Vec<ServiceLine> = Vec::new();
    for line in groups.into_iter().flat_map(|g| &g.services) {
        match services.iter_mut().find(|s| s.service == line.service) {
            Some(known) => {
                known.level = known.level.max(line.level);
                known.used = sum(&known.used, &line.used);
                known.below = sum(&known.below, &line.below);
            }
            None => services.push(line.clone()),
        }
    }
    let sent = |s: &ServiceLine| s.used.bytes_up.saturating_add(s.below.bytes_up);
    services.sort_by(|a, b| (Reverse(sent(a)), &a.service).cmp(&(Reverse(sent(b)), &b.service)));
    services
}

/// Both together; devices are at least as many as in the larger of them.
fn sum(a: &Totals, b: &Totals) -> Totals {
    let seen = [a, b].into_iter().filter(|t| t.first_seen.0 > 0);
    Totals {
        devices: a.devices.max(b.devices),
        sessions: a.sessions.saturating_add(b.sessions),
        bytes_up: a.bytes_up.saturating_add(b.bytes_up),
        bytes_down: a.bytes_down.saturating_add(b.bytes_down),
        flows: a.flows.saturating_add(b.flows),
        first_seen: seen.map(|t| t.first_seen).min().unwrap_or_default(),
        last_seen: a.last_seen.max(b.last_seen),
    }
}

fn rule(out: &mut String, line: &ServiceLine, catalogue: &Catalogue) {
    let all = sum(&line.used, &line.below);
    let known = catalogue.service(&line.service);
    let name = known.map_or_else(
        || line.service.to_string(),
        |s| format!("{} by {}, category {}", s.name, s.vendor, s.category.word()),
    );
    let (devices, sessions) = (line.used.devices, line.used.sessions);
    // A comment ends with its line, whatever a store or a catalogue holds.
    let name: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let used = match line.level {
        Level::Bulk | Level::Used => format!(
            "used by {devices} device{} in {sessions} session{}",
            plural(devices),
            plural(sessions)
        ),
        Level::Contacted => {
            format!("contacted by {} device{}, not used", all.devices, plural(all.devices))
        }
        Level::Named => format!("only asked for, by {} device{}", all.devices, plural(all.devices)),
    };
    let judged = match line.disposition {
        Disposition::Unreviewed => String::new(),
        decided => format!("; judged {} then", word(decided)),
    };
    let (up, down) = (bytes(all.bytes_up), bytes(all.bytes_down));
    let (first, last) = (time_text(all.first_seen), time_text(all.last_seen));
    let _ = writeln!(out, "\n# {name}\n#   {used}{judged}");
    let _ = writeln!(out, "#   {up} sent, {down} received; first seen {first}, last {last}");
    // A service that the catalogue does not know (another version wrote it) cannot be decided.
    let off = if known.is_some() { "" } else { "# " };
    if known.is_none() {
        let _ = writeln!(out, "#   not in this catalogue, so the rule is left out:");
    }
    let id = quoted(&line.service);
    let _ = writeln!(
        out,
        "{off}[[rule]]\n{off}service = {id}\n{off}status = \"\"\n{off}owner = \"\"\n{off}reason = \"\""
    );
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}
