//! `shadowtap whois ADDRESS`: who had an address at a time, with the whole chain of evidence.
//!
//! In: a store, and what the configuration knows beside it. Out: the answer as text or JSON.
//! Never: shows more than the privacy mode allows, but with a purpose that is written down.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::audit::{self, Entry};
use super::{Problem, people};
use crate::answer::terminal::printable;
use crate::recorder::alert::rfc3339;
use crate::recorder::identity::whois::{Link, Whois, whois};
use crate::recorder::identity::{Mode, Person, Veil};
use crate::recorder::store::rows::IdentityRows;
use crate::types::Timestamp;

/// Say who had an address, when, and how that is known.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap whois 10.0.0.7 --store ai.db                          by the last that is known
  shadowtap whois 10.0.0.7 --at 2026-11-23T09:30:00Z --store ai.db
  shadowtap whois 10.0.0.7 --store ai.db --json
  shadowtap whois 10.0.0.7 --store ai.db --reveal --purpose 'case 17: leaked key' --by 'D. Officer'
                                    real names where the privacy mode masks them; goes on record

Exit codes: 0 fine, 1 the store failed, 2 wrong usage.")]
pub struct WhoisArgs {
    /// Address.
    #[arg(value_name = "ADDRESS")]
    pub address: IpAddr,
    /// When; default: the last time of which anything is known.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub at: Option<Timestamp>,
    /// Where, and how it is shown.
    #[command(flatten)]
    pub from: people::From,
    /// Names as they are, where the store has them and the privacy mode masks them.
    #[arg(long, requires = "purpose", requires = "by")]
    pub reveal: bool,
    /// What the names are needed for; goes on record.
    #[arg(long, value_name = "TEXT")]
    pub purpose: Option<String>,
    /// Who asks; goes on record.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// A second person who agrees; goes on record.
    #[arg(long, value_name = "NAME")]
    pub witness: Option<String>,
    /// Where records go; default: beside the store, `FILE.audit`.
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    schema: u32,
    kind: &'static str,
    privacy: &'static str,
    at: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_basis: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<String>,
    evidence: Vec<Evidence>,
}

#[derive(Serialize)]
struct Evidence {
    says: String,
    source: &'static str,
    confidence: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    holds: bool,
    used: bool,
    disputed: bool,
}

/// Runs the command.
///
/// # Errors
/// If the store cannot be read, or names are asked for that the store does not have.
pub fn run(args: &WhoisArgs) -> anyhow::Result<u8> {
    let opened = args.from.open()?;
    let (answers, known) = (&opened.answers, &opened.known);
    let stored = known.veil.for_store(args.at.unwrap_or_default());
    let mut veil = answers.veil().clone();
    if args.reveal {
        if known.veil.mode() == Mode::Pseudonymous {
            let why = "the store holds pseudonyms only; `shadowtap identity reveal` tries the key";
            return Err(Problem::usage(why).into());
        }
        let entry = Entry {
            action: "reveal",
            by: args.by.clone().unwrap_or_default(),
            witness: args.witness.clone(),
            purpose: args.purpose.clone().unwrap_or_default(),
            // Whom it was about, for those who may look; not a name that the record would spread.
            about: format!("address {}", super::audit::digest(&args.address.to_string())),
        };
        audit::append(&audit::path(args.audit.as_ref(), &opened.store), &entry)?;
        veil = Veil::clear();
    }
    // In a store of pseudonyms the address stands under that of its time.
    let mut veils = vec![stored];
    if args.at.is_none() {
        let epochs = answers.epochs(&known.veil)?.into_iter().rev();
        veils = epochs.map(|at| known.veil.for_store(at)).collect();
    }
    let (mut addr, mut rows) = (args.address, IdentityRows::default());
    for stored in &veils {
        addr = stored.address(args.address);
        rows = answers.identity_of(addr)?;
        if rows != IdentityRows::default() {
            break;
        }
    }
    let found = whois(addr, args.at, &rows, known, &veil);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.from.json {
        serde_json::to_writer_pretty(&mut out, &answer(&found, opened.mode()))?;
        writeln!(out)?;
    } else {
        write(&mut out, &found, opened.mode())?;
    }
    out.flush()?;
    Ok(0)
}

fn answer(found: &Whois, privacy: &'static str) -> Answer {
    let who = found.actor.text();
    let time = |at: Timestamp| (at.0 > 0).then(|| rfc3339(at));
    let evidence = |link: &Link| Evidence {
        says: link.says.clone(),
        source: link.source.code(),
        confidence: link.source.confidence(),
        from: time(link.from),
        until: time(link.until),
        holds: link.holds,
        used: link.used,
        disputed: link.disputed,
    };
    Answer {
        schema: 1,
        kind: "whois",
        privacy,
        at: rfc3339(found.at),
        address: who.ip,
        mac: who.mac,
        host: who.host,
        user: who.user,
        user_basis: who.user_basis,
        department: who.department,
        evidence: found.chain.iter().map(evidence).collect(),
    }
}

fn write(out: &mut dyn Write, found: &Whois, privacy: &str) -> io::Result<()> {
    let who = found.actor.text();
    writeln!(out, "{} at {} (privacy: {privacy})", printable(&who.ip), rfc3339(found.at))?;
    let mut say = |what: &str, text: &str| writeln!(out, "  {what:<8}{}", printable(text));
    let device: Vec<String> = who.host.into_iter().chain(who.mac).collect();
    let device = if device.is_empty() { "not known".to_owned() } else { device.join(" ") };
    say("device", &device)?;
    let person = match (&found.actor.who, who.user, who.user_basis) {
        (Person::Unknown, ..) => "not known".to_owned(),
        (_, Some(user), Some(basis)) => format!("{user}, {basis}"),
        (_, _, basis) => format!("nobody is named: {}", basis.unwrap_or_default()),
    };
    say("person", &person)?;
    if let Some(department) = who.department {
        say("in", &department)?;
    }
    writeln!(out, "\nEvidence (+ the answer rests on it, - it does not hold then, ! disputed)")?;
    if found.chain.is_empty() {
        writeln!(out, "  none: nothing in the store speaks of this address")?;
    }
    for link in &found.chain {
        let mark = match (link.used, link.holds, link.disputed) {
            (_, _, true) => '!',
            (true, ..) => '+',
            (false, false, _) => '-',
            (false, true, _) => ' ',
        };
        let span = match (link.from.0, link.until.0) {
            (0, 0) => String::new(),
            (_, 0) => format!(", from {}", rfc3339(link.from)),
            _ => format!(", {} to {}", rfc3339(link.from), rfc3339(link.until)),
        };
        let (says, source) = (printable(&link.says), link.source.code());
        writeln!(out, "  {mark} {says} ({source}, {} %){span}", link.source.confidence())?;
    }
    Ok(())
}
