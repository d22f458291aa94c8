//! `shadowtap hunt`: since when a service or host was used here, by how many devices, how much.
//!
//! In: a service, or host names; a store with its ledger and the key beside it. Out: one answer a
//! pattern, as text or JSON.
//! Never: lists names: the ledger can be asked, not read.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Problem;
use crate::answer::terminal::{counted, printable};
use crate::recorder::finding::bytes;
use crate::recorder::ledger::{LedgerKey, folded_pattern};
use crate::recorder::signature::{Catalogue, HostPattern, Kind, Service};
use crate::recorder::store::{Answers, Ask, Hunted};
use crate::recorder::words::EvidenceKind;
use crate::types::{NAME_MAX, plain_name};

/// Ask the ledger since when a service or host was used here.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The ledger keeps every destination by day without people, whether the catalogue knew it or not. So a
service that was added today can be asked for in the past.

Examples:
  shadowtap hunt all --store ai.db                 every service of the catalogue that was seen
  shadowtap hunt deepseek --store ai.db            all hosts of a service
  shadowtap hunt chat.example.com --store ai.db    one host
  shadowtap hunt '*.example.com' --store ai.db     everything below a domain
  shadowtap hunt deepseek --store ai.db --signatures new/

Exit codes: 0 seen, 1 never seen or the store failed, 2 no such service or no ledger.")]
pub struct HuntArgs {
    /// Id of a service, a host name, *.DOMAIN, or all: whatever the catalogue has by now.
    #[arg(value_name = "SERVICE|HOST|all")]
    pub what: String,
    /// The store.
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Signatures from this folder instead of the built-in ones.
    #[arg(long, value_name = "DIR")]
    pub signatures: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The word for all services.
const ALL: &str = "all";

/// One line of the answer: a pattern, and what it asks of the ledger.
struct Asked {
    service: Option<String>,
    pattern: String,
    ask: Ask,
    /// Hosts of this template could be counted only since the catalogue had it.
    folded_only: bool,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    kind: &'static str,
    asked: String,
    ledger_from: Option<String>,
    ledger_until: Option<String>,
    patterns: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    service: Option<String>,
    /// Whether the store has usage of the service: without, it came into the catalogue later.
    recorded: Option<bool>,
    pattern: String,
    seen: bool,
    first_day: Option<String>,
    last_day: Option<String>,
    days: u64,
    devices_about: u64,
    names: u64,
    bytes_up: u64,
    bytes_down: u64,
    flows: u64,
    evidence: Vec<&'static str>,
    only_since_known: bool,
}

/// Runs the command.
///
/// # Errors
/// If there is no such service, no ledger, or the store fails.
pub fn run(args: &HuntArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let config = super::signatures::config(args.config.as_deref(), args.signatures.as_deref())?;
    let catalogue = config.catalogue()?;
    let answers = Answers::open(&args.store)?;
    let key = Answers::ledger_key(&args.store)?;
    let Some(key) = key.filter(|key| answers.ledger_fits(key).ok().flatten() == Some(true)) else {
        let text = "the store has no ledger, or its key (FILE.ledger-key) is not the one of its \
                    rows; a scan with --store and [ledger] days above 0 makes one";
        return Err(Problem::usage(text).into());
    };
    let asked = questions(&args.what, &catalogue, &key)?;
    let asks: Vec<Ask> = asked.iter().map(|a| a.ask.clone()).collect();
    let (found, span) = answers.hunt(&asks)?;
    let recorded: HashSet<String> =
        answers.services()?.values().map(ToString::to_string).collect();
    let mut lines: Vec<Line> =
        asked.iter().zip(&found).map(|(a, f)| line(a, f, &recorded)).collect();
    if args.what == ALL {
        lines.retain(|l| l.seen);
    }
    let seen = lines.iter().any(|l| l.seen);
    let document = Document {
        schema: 1,
        kind: "hunt",
        asked: args.what.clone(),
        ledger_from: span.map(|(first, _)| day(first)),
        ledger_until: span.map(|(_, last)| day(last)),
        patterns: lines,
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)?;
    } else {
        text(&document, out)?;
    }
    Ok(u8::from(!seen))
}

/// What to ask: the hosts of a service, one host, or a domain.
fn questions(what: &str, catalogue: &Catalogue, key: &LedgerKey) -> anyhow::Result<Vec<Asked>> {
    if what == ALL {
        let hosts = catalogue.services().iter().flat_map(|s| s.hosts.iter().map(move |h| (s, h)));
        return Ok(hosts.map(|(s, h)| of_pattern(s, h, catalogue, key)).collect());
    }
    if let Some(service) = catalogue.service(what) {
        return Ok(service.hosts.iter().map(|h| of_pattern(service, h, catalogue, key)).collect());
    }
    let (domain, name) = what.strip_prefix("*.").map_or((false, what), |name| (true, name));
    let mut buf = [0; NAME_MAX];
    let plain = plain_name(name.as_bytes(), &mut buf).filter(|name| name.contains('.'));
    let Some(plain) = plain else {
        let what = printable(what);
        return Err(Problem::usage(format!("{what:?} is neither a service nor a host name")).into());
    };
    let folded = crate::recorder::ledger::fold(catalogue, plain);
    let hash = key.host(&folded);
    let ask = match domain {
        true => Ask { names: vec![hash], below: vec![hash], ..Ask::default() },
        false => Ask { names: vec![hash], ..Ask::default() },
    };
    let pattern = if domain { format!("*.{folded}") } else { folded.into_owned() };
    Ok(vec![Asked { service: None, pattern, ask, folded_only: false }])
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

fn line(asked: &Asked, found: &Hunted, recorded: &HashSet<String>) -> Line {
    let seen = found.days > 0;
    let known = |kind: &EvidenceKind| found.evidence >> u32::from(kind.number()) & 1 == 1;
    Line {
        service: asked.service.clone(),
        recorded: asked.service.as_ref().map(|id| recorded.contains(id)),
        pattern: asked.pattern.clone(),
        seen,
        first_day: seen.then(|| day(found.first_day)),
        last_day: seen.then(|| day(found.last_day)),
        days: found.days,
        devices_about: found.devices,
        names: found.names,
        bytes_up: found.bytes_up,
        bytes_down: found.bytes_down,
        flows: found.flows,
        evidence: EvidenceKind::ALL.iter().filter(|k| known(k)).map(|k| k.code()).collect(),
        only_since_known: asked.folded_only,
    }
}

fn text(document: &Document, out: &mut impl Write) -> anyhow::Result<()> {
    let asked = printable(&document.asked);
    match (&document.ledger_from, &document.ledger_until) {
        (Some(from), Some(until)) => {
            writeln!(out, "{asked}: the ledger goes from {from} to {until}")?
        }
        _ => writeln!(out, "{asked}: the ledger is empty")?,
    }
    if document.patterns.is_empty() {
        writeln!(out, "  no service of the catalogue was seen")?;
    }
    for line in &document.patterns {
        let mut since =
            if line.only_since_known { " (asked since the catalogue has it)" } else { "" };
        if line.seen && line.recorded == Some(false) {
            since = "; no usage of it is stored: too old, or the catalogue did not know it then";
        }
        let service = line.service.as_ref().filter(|_| document.asked == ALL);
        let service = service.map_or(String::new(), |id| format!("{id}, "));
        match (&line.first_day, &line.last_day) {
            (Some(first), Some(last)) => writeln!(
                out,
                "  {service}{}: since {first}, last {last}, on {}, about {}{}, {} sent, {} received, {}{since}",
                line.pattern,
                days(line.days),
                counted(line.devices_about, "device"),
                if line.names > 1 {
                    format!(" at one of {} names", line.names)
                } else {
                    String::new()
                },
                bytes(line.bytes_up),
                bytes(line.bytes_down),
                counted(line.flows, "flow"),
            )?,
            _ => writeln!(out, "  {}: never seen{since}", line.pattern)?,
        }
    }
    Ok(())
}

fn days(n: u64) -> String {
    if n == 1 { "1 day".to_owned() } else { format!("{n} days") }
}

/// A day since the epoch as a date.
fn day(days: u32) -> String {
    let seconds = i64::from(days) * 86_400;
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
        .unwrap_or_default()
}
