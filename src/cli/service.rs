//! `shadowtap service`: what is known of one service, and how risky that makes it.
//!
//! In: a service id, or a former one. Out: hosts, sources, facts and the score, line by line.
//! Never: gives a number where too little is known.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::Problem;
use super::files::CatalogueFiles;
use crate::answer::terminal::printable;
use crate::recorder::signature::risk::{Score, ScoreLine};
use crate::recorder::signature::{Accounts, Service};

/// Say what is known of a service, and how risky that makes it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap service chatgpt            hosts, facts with their sources, score line by line
  shadowtap service chatgpt --json

The score is 0 (harmless) to 100: each known fact takes a share of its weight, over the sum of the
known weights. Weights and shares stand in signatures/risk/weights.toml.
Exit codes: 0 fine, 2 no such service or wrong configuration.")]
pub struct ServiceArgs {
    /// Id of the service, as `shadowtap lookup` prints it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Document<'s> {
    schema: u32,
    kind: &'static str,
    id: &'s str,
    name: &'s str,
    vendor: &'s str,
    vendor_country: &'s str,
    category: &'static str,
    tags: &'s [String],
    status: String,
    former_names: &'s [String],
    first_added: &'s str,
    last_verified: &'s str,
    accounts: &'static str,
    hosts: Vec<HostDocument<'s>>,
    provenance: &'s [String],
    risk: RiskDocument<'s>,
}

#[derive(Serialize)]
struct HostDocument<'s> {
    pattern: &'s str,
    #[serde(rename = "match")]
    kind: String,
    role: &'static str,
    strength: String,
    excludes: &'s [String],
    also_needed: Option<&'s str>,
}

#[derive(Serialize)]
struct RiskDocument<'s> {
    score: Option<u32>,
    verdict: String,
    known_percent: u32,
    lines: Vec<LineDocument<'s>>,
}

#[derive(Serialize)]
struct LineDocument<'s> {
    attribute: &'s str,
    weight: u32,
    value: &'s str,
    /// `read`, `quoted` or `recalled`; what is only recalled counts as unknown.
    how: Option<&'static str>,
    percent: Option<u32>,
    source: Option<&'s str>,
    date: Option<&'s str>,
    reason: &'s str,
}

/// Runs the command.
///
/// # Errors
/// If there is no such service, the configuration does not hold, or the output fails.
pub fn run(args: &ServiceArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let config = args.files.clone().load()?;
    let (catalogue, risk) = config.catalogue_and_risk()?;
    let Some(service) = catalogue.service(&args.id) else {
        let id = printable(&args.id);
        return Err(Problem::usage(format!(
            "no service {id:?}; `shadowtap lookup HOST` tells the id of a host"
        ))
        .into());
    };
    let score = risk.score(&service.id);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &document(service, &score))?;
        writeln!(out)?;
    } else {
        text(service, &score, out)?;
    }
    Ok(0)
}

/// The number, or why there is none.
fn verdict(score: &Score) -> String {
    match score.points {
        Some(points) => format!("{points} of 100"),
        None => format!(
            "insufficient facts: {} % of the weight is known, {} % is needed",
            score.known_percent, score.known_percent_min
        ),
    }
}

/// What names can say of accounts.
pub fn accounts_sentence(accounts: Accounts) -> &'static str {
    match accounts {
        Accounts::Unknown => "nobody looked whether hosts tell company accounts from private ones",
        Accounts::SameHost => {
            "company and private accounts go to the same hosts: no name tells them apart"
        }
        Accounts::ByHost => {
            "hosts tell company accounts from private ones: by plan, tenant or region"
        }
    }
}

fn text(service: &Service, score: &Score, out: &mut impl Write) -> anyhow::Result<()> {
    let Service { id, name, vendor, vendor_country, .. } = service;
    writeln!(out, "{name} ({id}), {vendor}, {vendor_country}")?;
    writeln!(
        out,
        "  {}{}; {}; entered {}, reviewed {}",
        service.category.word(),
        service.tags.iter().fold(String::new(), |all, tag| all + ", " + tag),
        word(service.status),
        service.first_added,
        service.last_verified
    )?;
    writeln!(out, "  accounts: {}", accounts_sentence(service.accounts))?;
    writeln!(out, "\nhosts")?;
    for host in &service.hosts {
        let needed = host.also_needed.as_ref().map(|n| format!("; also needed: {n}"));
        writeln!(
            out,
            "  {:40} {:9} {:10} {}{}",
            host.pattern,
            word(host.kind),
            host.role.code(),
            word(host.strength),
            needed.unwrap_or_default()
        )?;
    }
    writeln!(out, "\nwhere that comes from")?;
    for line in &service.provenance {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\nrisk: {}", verdict(score))?;
    for ScoreLine { attribute, weight, fact, percent, reason } in &score.lines {
        match (fact, percent) {
            (Some(fact), Some(percent)) => {
                let points = f64::from(weight * percent) / 100.0;
                let value = format!("{attribute} = {}", fact.value);
                writeln!(out, "  {value:46} {points:>5} of {weight:<3} {reason}")?;
                writeln!(out, "    {} ({}, {})", fact.source, fact.how.word(), fact.date)?;
            }
            (Some(fact), None) => {
                let value = format!("{attribute} = {}?", fact.value);
                writeln!(out, "  {value:46} {:>5} of {weight:<3} {reason}", "-")?;
                writeln!(out, "    {}: nobody read it there, so it does not count", fact.source)?;
            }
            _ => writeln!(
                out,
                "  {:46} {:>5} of {weight:<3} {reason}",
                format!("{attribute} unknown"),
                "-"
            )?,
        }
    }
    let known = score.lines.iter().filter(|l| l.percent.is_some());
    let (taken, of) = known
        .fold((0, 0), |(taken, of), l| (taken + l.weight * l.percent.unwrap_or(0), of + l.weight));
    writeln!(
        out,
        "  {} of {of} known points; {} % of the weight is known",
        f64::from(taken) / 100.0,
        score.known_percent
    )?;
    Ok(())
}

fn document<'s>(service: &'s Service, score: &'s Score) -> Document<'s> {
    let host = |host: &'s crate::recorder::signature::HostPattern| HostDocument {
        pattern: &host.pattern,
        kind: word(host.kind),
        role: host.role.code(),
        strength: word(host.strength),
        excludes: &host.excludes,
        also_needed: host.also_needed.as_deref(),
    };
    let line = |line: &'s ScoreLine| LineDocument {
        attribute: &line.attribute,
        weight: line.weight,
        value: line.fact.as_ref().map_or("unknown", |f| &f.value),
        how: line.fact.as_ref().map(|f| f.how.word()),
        percent: line.percent,
        source: line.fact.as_ref().map(|f| f.source.as_str()),
        date: line.fact.as_ref().map(|f| f.date.as_str()),
        reason: &line.reason,
    };
    Document {
        schema: 1,
        kind: "service",
        id: &service.id,
        name: &service.name,
        vendor: &service.vendor,
        vendor_country: &service.vendor_country,
        category: service.category.word(),
        tags: &service.tags,
        status: word(service.status),
        former_names: &service.former_names,
        first_added: &service.first_added,
        last_verified: &service.last_verified,
        accounts: service.accounts.word(),
        hosts: service.hosts.iter().map(host).collect(),
        provenance: &service.provenance,
        risk: RiskDocument {
            score: score.points,
            verdict: verdict(score),
            known_percent: score.known_percent,
            lines: score.lines.iter().map(line).collect(),
        },
    }
}

/// Words of the catalogue are their variants in lower case.
fn word(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}
