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
use super::files::CatalogueFiles;
use crate::answer::hunt::{ALL, Asked, day, questions};
use crate::answer::terminal::{counted, printable};
use crate::recorder::finding::bytes;
use crate::recorder::store::{Answers, Ask, Hunted};
use crate::recorder::words::EvidenceKind;

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
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
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
    let config = args.files.clone().load()?;
    let catalogue = config.catalogue()?;
    let answers = Answers::open(&args.store)?;
    let key = Answers::ledger_key(&args.store)?;
    let Some(key) = key.filter(|key| answers.ledger_fits(key).ok().flatten() == Some(true)) else {
        let text = "the store has no ledger, or its key (FILE.ledger-key) is not the one of its \
                    rows; a scan with --store and [ledger] days above 0 makes one";
        return Err(Problem::usage(text).into());
    };
    let Some(asked) = questions(&args.what, &catalogue, &key) else {
        let what = printable(&args.what);
        return Err(Problem::usage(format!("{what:?} is neither a service nor a host name")).into());
    };
    let asks: Vec<Ask> = asked.iter().map(|a| a.ask.clone()).collect();
    let (found, span) = answers.hunt(&asks)?;
    let recorded: HashSet<String> = answers.services()?.values().map(ToString::to_string).collect();
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
