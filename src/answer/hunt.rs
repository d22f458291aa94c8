//! What the ledger is asked: since when a service or host was used here.
//!
//! In: a service or host, the catalogue, the ledger's key. Out: [`Asked`]; and for a report the
//! services that were used before the catalogue knew them ([`known_late`]).
//! Never: lists names: the ledger can be asked, not read.

use std::collections::BTreeMap;

use crate::recorder::ledger::{LedgerKey, folded_pattern};
use crate::recorder::signature::{Catalogue, HostPattern, Kind, Service, Strength};
use crate::recorder::store::rows::Text;
use crate::recorder::store::{Answers, Ask, Error, Hunted};
use crate::types::{NAME_MAX, plain_name};

/// The word for all services.
pub const ALL: &str = "all";

/// One line of the answer: a pattern, and what it asks of the ledger.
pub struct Asked {
    /// The service whose pattern it is.
    pub service: Option<String>,
    /// The pattern.
    pub pattern: String,
    /// What is looked for.
    pub ask: Ask,
    /// Hosts of this template could be counted only since the catalogue had it.
    pub folded_only: bool,
}

/// Services of the catalogue that the ledger has seen at hosts whose use counts, though no row of
/// the store names them: the catalogue of that time did not know them. Also the ledger's days.
///
/// # Errors
/// If the store cannot be read.
pub fn known_late(
    answers: &Answers,
    key: &LedgerKey,
    catalogue: &Catalogue,
) -> Result<(BTreeMap<Text, Hunted>, u64), Error> {
    let recorded: Vec<Text> = answers.services()?.into_values().collect();
    let unknown = catalogue.services().iter().filter(|s| !recorded.iter().any(|r| **r == *s.id));
    let mut asked: Vec<(&Service, Ask)> = Vec::new();
    for service in unknown {
        // Templates were counted under other names before the catalogue had them.
        let hosts = service.hosts.iter().filter(|h| {
            h.role.opens_session() && h.strength != Strength::Weak && h.kind != Kind::Template
        });
        asked.extend(hosts.map(|h| (service, of_pattern(service, h, catalogue, key).ask)));
    }
    let asks: Vec<Ask> = asked.iter().map(|a| a.1.clone()).collect();
    let (found, span) = answers.hunt(&asks)?;
    let mut late: BTreeMap<Text, Hunted> = BTreeMap::new();
    for ((service, _), found) in asked.iter().zip(found).filter(|(_, f)| f.bytes_up > 0) {
        match late.get_mut(service.id.as_str()) {
            None => drop(late.insert(Text::from(service.id.as_str()), found)),
            Some(sum) => {
                sum.first_day = sum.first_day.min(found.first_day);
                sum.last_day = sum.last_day.max(found.last_day);
                // Days and devices of different hosts may be the same ones.
                sum.days = sum.days.max(found.days);
                sum.devices = sum.devices.max(found.devices);
                sum.bytes_up = sum.bytes_up.saturating_add(found.bytes_up);
                sum.bytes_down = sum.bytes_down.saturating_add(found.bytes_down);
                sum.flows = sum.flows.saturating_add(found.flows);
            }
        }
    }
    let days = span.map_or(0, |(first, last)| u64::from(last.saturating_sub(first)) + 1);
    Ok((late, days))
}

/// What to ask: the hosts of [`ALL`] services or of one, one host, or a domain; `None` for what is
/// none of these.
pub fn questions(what: &str, catalogue: &Catalogue, key: &LedgerKey) -> Option<Vec<Asked>> {
    if what == ALL {
        let hosts = catalogue.services().iter().flat_map(|s| s.hosts.iter().map(move |h| (s, h)));
        return Some(hosts.map(|(s, h)| of_pattern(s, h, catalogue, key)).collect());
    }
    if let Some(service) = catalogue.service(what) {
        return Some(
            service.hosts.iter().map(|h| of_pattern(service, h, catalogue, key)).collect(),
        );
    }
    let (domain, name) = what.strip_prefix("*.").map_or((false, what), |name| (true, name));
    let mut buf = [0; NAME_MAX];
    let plain = plain_name(name.as_bytes(), &mut buf).filter(|name| name.contains('.'))?;
    let folded = crate::recorder::ledger::fold(catalogue, plain);
    let hash = key.host(&folded);
    let ask = match domain {
        true => Ask { names: vec![hash], below: vec![hash], ..Ask::default() },
        false => Ask { names: vec![hash], ..Ask::default() },
    };
    let pattern = if domain { format!("*.{folded}") } else { folded.into_owned() };
    Some(vec![Asked { service: None, pattern, ask, folded_only: false }])
}

fn of_pattern(
    service: &Service,
    host: &HostPattern,
    catalogue: &Catalogue,
    key: &LedgerKey,
) -> Asked {
    let name = key.host(&host.pattern);
    let mut ask = Ask::default();
    match folded_pattern(&host.pattern, host.kind) {
        Some(folded) => ask.names.push(key.host(&folded)),
        None => ask.names.push(name),
    }
    if matches!(host.kind, Kind::Suffix | Kind::Tenant) {
        ask.below.push(name);
        let barred = host.excludes.iter().map(String::as_str);
        for below in barred {
            ask.but_names.push(key.host(below));
            ask.but_below.push(key.host(below));
        }
        apart(service, host, catalogue, key, &mut ask);
    }
    let (service, pattern) = (Some(service.id.clone()), host.pattern.clone());
    Asked { service, pattern, ask, folded_only: host.kind == Kind::Template }
}

/// Names below a wide pattern that a more special pattern has, of this or another service: they
/// are asked for with that one.
fn apart(
    service: &Service,
    wide: &HostPattern,
    catalogue: &Catalogue,
    key: &LedgerKey,
    ask: &mut Ask,
) {
    for (other, host) in
        catalogue.services().iter().flat_map(|s| s.hosts.iter().map(move |h| (s, h)))
    {
        let itself = other.id == service.id && host.pattern == wide.pattern;
        let below = host.pattern.strip_suffix(&wide.pattern).is_some_and(|r| r.ends_with('.'));
        if itself || !below {
            continue;
        }
        let name = key.host(&host.pattern);
        match folded_pattern(&host.pattern, host.kind) {
            Some(folded) => ask.but_names.push(key.host(&folded)),
            None => ask.but_names.push(name),
        }
        if matches!(host.kind, Kind::Suffix | Kind::Tenant) {
            ask.but_below.push(name);
        }
    }
}

/// A day since the epoch as a date.
pub fn day(days: u32) -> String {
    let seconds = i64::from(days) * 86_400;
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
        .unwrap_or_default()
}
