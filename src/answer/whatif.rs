//! What a block list would break: told before it is loaded.
//!
//! In: a list, and the store's last days. Out: text: AI users who lose a service, allowed services
//! that are hit, other names by count alone, and what nobody can know.
//! Never: names a device or a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::export::List;
use super::report::Failure;
use super::tally::{Pair, Tally};
use super::terminal::{counted, number, time};
use crate::recorder::finding::bytes;
use crate::recorder::policy::file::word;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{DestinationDay, Text};
use crate::recorder::store::{Answers, Scope};
use crate::recorder::words::{ClientClass, Disposition};
use crate::types::Timestamp;

/// Seconds of traffic that show little of what happens: less than a week.
const SHORT_S: u64 = 7 * 86_400;

/// Department of devices that none is known of.
const UNKNOWN: &str = "unknown";

/// Other names shown; the rest is counted.
const NAMES_MAX: usize = 20;

/// Everything that the answer is made of.
pub struct Question<'a> {
    /// The list.
    pub list: &'a List,
    /// What was used, judged by the policy of today.
    pub tally: &'a Tally,
    /// The time asked for.
    pub scope: &'a Scope,
    /// First and last second of it that the store holds.
    pub span: (Timestamp, Timestamp),
    /// Names of services.
    pub catalogue: &'a Catalogue,
    /// Department of each device, if any is known.
    pub department: &'a dyn Fn(i64) -> Option<String>,
}

/// Says what would break.
///
/// # Errors
/// If the store cannot be read.
pub fn tell(answers: &Answers, asked: &Question<'_>) -> Result<String, Failure> {
    let destinations = answers.destinations(asked.scope)?;
    let seen = answers.names_seen(asked.scope)?;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = text(&mut out, asked, &destinations, &seen);
    Ok(out)
}

#[expect(clippy::too_many_lines, reason = "one page of text, from top to bottom")]
fn text(
    out: &mut String,
    asked: &Question<'_>,
    destinations: &[DestinationDay],
    seen: &BTreeSet<(Text, Text)>,
) -> std::fmt::Result {
    let minute = |t| time(t, "%Y-%m-%d %H:%M");
    let (from, until) = asked.span;
    writeln!(
        out,
        "What this list ({} of {}) would have broken from {} to {} UTC, by what the store holds:",
        counted(asked.list.entries.len() as u64, "name"),
        counted(asked.list.services.len() as u64, "service"),
        minute(from),
        minute(until)
    )?;
    let length = until.since(from).div_ceil(Timestamp::SECOND);
    if length < SHORT_S {
        let (n, unit) = match length {
            0..3_600 => (length.div_ceil(60), "minute"),
            3_600..86_400 => (length.div_ceil(3_600), "hour"),
            _ => (length.div_ceil(86_400), "day"),
        };
        let length = counted(n, unit);
        writeln!(out, "That is {length} of traffic: what happens less often is not in it.")?;
    }
    let mut by: BTreeMap<(&Text, Disposition), (Pair, BTreeSet<i64>)> = BTreeMap::new();
    for ((device, service, verdict), pair) in &asked.tally.pairs {
        let entry = by.entry((service, *verdict)).or_default();
        entry.0.add(pair);
        entry.1.insert(*device);
    }
    let on_list = |id: &Text| asked.list.services.contains(&**id);
    let name = |id: &str| asked.catalogue.service(id).map_or(id.to_owned(), |s| s.name.clone());

    writeln!(out, "\nUsers of AI who would lose a service")?;
    let mut everybody = BTreeSet::new();
    let mut order: Vec<_> = by.iter().filter(|((id, _), _)| on_list(id)).collect();
    order.sort_by(|a, b| (b.1.1.len(), a.0).cmp(&(a.1.1.len(), b.0)));
    for ((id, verdict), (pair, devices)) in &order {
        everybody.extend(devices.iter().copied());
        let programs = pair.classes.contains(&ClientClass::Program)
            || pair.classes.contains(&ClientClass::Server);
        writeln!(
            out,
            "  {} ({}): {}, {}, {} sent{}",
            name(id),
            word(*verdict),
            counted(devices.len() as u64, "device"),
            counted(pair.volume.sessions, "session"),
            bytes(pair.volume.sent),
            if programs { "; programs among them would fail, not only people" } else { "" }
        )?;
        let mut departments: BTreeMap<String, u64> = BTreeMap::new();
        for device in devices {
            let name = (asked.department)(*device).unwrap_or_else(|| UNKNOWN.to_owned());
            let count = departments.entry(name).or_default();
            *count = count.saturating_add(1);
        }
        if departments.keys().any(|name| name != UNKNOWN) {
            let list: Vec<String> =
                departments.iter().map(|(d, n)| format!("{d} {}", number(*n))).collect();
            writeln!(out, "      by department: {}", list.join(", "))?;
        }
    }
    match everybody.len() as u64 {
        0 => writeln!(out, "  nobody: none of these services was used")?,
        n => writeln!(out, "  In all {}.", counted(n, "device"))?,
    }

    writeln!(out, "\nAllowed services that would break")?;
    let hit: Vec<&(Text, Text)> =
        seen.iter().filter(|(id, name)| !on_list(id) && asked.list.covers(name)).collect();
    let mut broken: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, host) in &hit {
        broken.entry(id).or_default().push(host);
    }
    for (id, hosts) in &broken {
        writeln!(out, "  {}: {}", name(id), hosts.join(", "))?;
    }
    let allowed_too = by.iter().filter(|((id, v), _)| on_list(id) && !v.unapproved());
    let mut none = broken.is_empty();
    for ((id, verdict), (_, devices)) in allowed_too {
        none = false;
        let devices = counted(devices.len() as u64, "device");
        writeln!(
            out,
            "  {}: {} for {devices}, and a list cannot tell them from the others",
            name(id),
            word(*verdict)
        )?;
    }
    if none {
        writeln!(out, "  none of those that were seen")?;
    }
    open(out, asked, name)?;

    writeln!(
        out,
        "\nOther names that would be blocked (counts only: nobody keeps who went there)"
    )?;
    let mut others: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut rest, mut all) = (0_u64, 0_u64);
    for row in destinations {
        all = all.saturating_add(row.flows);
        if *row.name == *DestinationDay::REMAINDER {
            rest = rest.saturating_add(row.flows);
        } else if asked.list.covers(&row.name) {
            let sum = others.entry(&row.name).or_default();
            sum.0 = sum.0.saturating_add(row.flows);
            sum.1 = sum.1.max(row.devices);
        }
    }
    for (host, (flows, devices)) in others.iter().take(NAMES_MAX) {
        let (flows, devices) = (counted(*flows, "flow"), counted(*devices, "device"));
        writeln!(out, "  {host}: {flows}, at least {devices} on its busiest day")?;
    }
    if others.is_empty() {
        writeln!(out, "  none of {} to names outside the catalogue", counted(all, "flow"))?;
    }
    let more = others.len().saturating_sub(NAMES_MAX) as u64;
    if more > 0 {
        writeln!(out, "  and {}", counted(more, "more name"))?;
    }

    writeln!(out, "\nUnknown")?;
    writeln!(
        out,
        "  {} went to names that were not kept apart; what of them the list would hit is not known.",
        counted(rest, "flow")
    )?;
    for note in &asked.list.notes {
        writeln!(out, "  {note}.")?;
    }
    writeln!(
        out,
        "  Clients with encrypted DNS or behind a relay pass by a resolver's list; the sensor shows them in its coverage."
    )
}

/// What the list leaves open though nobody approved it.
fn open(out: &mut String, asked: &Question<'_>, name: impl Fn(&str) -> String) -> std::fmt::Result {
    let used: BTreeSet<&Text> = asked.tally.pairs.keys().map(|(_, id, _)| id).collect();
    let contacted = asked.tally.below.keys().filter(|(verdict, id)| {
        verdict.unapproved() && !used.contains(id) && !asked.list.services.contains(&**id)
    });
    let contacted: Vec<String> = contacted.map(|(_, id)| name(id)).collect();
    if asked.list.exceptions.is_empty() && contacted.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nStays open (--service ID puts a service on the list, whatever was seen of it)"
    )?;
    for entry in &asked.list.exceptions {
        let of = name(&entry.service);
        writeln!(out, "  {}, below a blocked name: {of}, which is not on the list", entry.name)?;
    }
    if !contacted.is_empty() {
        writeln!(out, "  only contacted, no use seen: {}", contacted.join(", "))?;
    }
    Ok(())
}
