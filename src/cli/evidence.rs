//! `shadowtap evidence`: why a finding is one, and its packets.
//!
//! In: the id of a finding or how it begins, a store. Out: its evidence as text or JSON; with
//! `--pcap` a file with exactly its packets.
//! Never: writes to the store; cuts from a capture that changed.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::Problem;
use crate::answer::terminal::counted;
use crate::answer::{evidence, json};
use crate::recorder::store::Answers;

/// Ids shown where a prefix fits several.
const SHOWN_MAX: usize = 10;

/// Show why a finding is one, and cut its packets out of the capture.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap evidence 3f9c --store ai.db                        flows, frames, Wireshark filters
  shadowtap evidence 3f9c --store ai.db --pcap cut.pcapng      cut its packets; the capture lies here
  shadowtap evidence 3f9c --store ai.db --pcap cut.pcapng --capture /archive
                                                               search the capture below a folder
  shadowtap evidence 3f9c --store ai.db --json

Ids stand in the document of scan --json, in alerts, and in the store.
Exit codes: 0 fine, 1 store, capture or output failed, 2 no such finding or wrong usage.")]
pub struct EvidenceArgs {
    /// Id of the finding, or as much of its beginning as no other id shares.
    #[arg(value_name = "ID")]
    pub id: String,
    /// The store that holds it.
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// Write the finding's packets to this file (pcapng).
    #[arg(long, value_name = "OUT")]
    pub pcap: Option<PathBuf>,
    /// Where the capture is: the file, or folders to search. Default: its name in this folder.
    #[arg(long, value_name = "DIR|FILE", num_args = 1.., requires = "pcap")]
    pub capture: Vec<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    schema: u32,
    kind: &'static str,
    finding: json::FindingDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Cut>,
}

#[derive(Serialize)]
struct Cut {
    flows: u64,
    frames: u64,
    bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// If there is no such finding, or the store, the capture or the output fails.
pub fn run(args: &EvidenceArgs) -> anyhow::Result<u8> {
    let answers = Answers::open(&args.store)?;
    let id = id_of(&answers, &args.id)?;
    let Some(finding) = answers.finding(&id)? else {
        return Err(Problem::usage(format!(
            "finding {id} was withdrawn: a later scan no longer found it"
        ))
        .into());
    };
    let cut = match &args.pcap {
        None => None,
        Some(to) => {
            let input = answers.input_of(&id)?.context("the store forgot the finding's input")?;
            Some(evidence::cut(&finding, &input, &args.capture, to)?)
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let cut = cut.map(|c| Cut { flows: c.flows, frames: c.frames, bytes: c.bytes });
        let answer = Answer {
            schema: json::SCHEMA,
            kind: "evidence",
            finding: json::finding(&finding),
            cut,
        };
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        evidence::write(&mut out, &finding)?;
        if let (Some(cut), Some(to)) = (cut, &args.pcap) {
            let (frames, flows) = (counted(cut.frames, "frame"), counted(cut.flows, "flow"));
            writeln!(out, "\n{frames} of {flows} written to {}", to.display())?;
        }
    }
    out.flush()?;
    Ok(0)
}

/// The one id that begins so.
fn id_of(answers: &Answers, prefix: &str) -> anyhow::Result<String> {
    let prefix = prefix.to_ascii_lowercase();
    let ids =
        if prefix.is_empty() { Vec::new() } else { answers.finding_ids(&prefix, SHOWN_MAX)? };
    match ids.as_slice() {
        [] => Err(Problem::usage(format!(
            "no finding begins with {prefix:?}; ids stand in scan --json"
        ))
        .into()),
        [only] => Ok(only.to_string()),
        // A whole id may be the beginning of none but itself: ids are of one length.
        [first, ..] if **first == *prefix => Ok(prefix),
        several => {
            let list: Vec<&str> = several.iter().map(|id| &**id).collect();
            Err(Problem::usage(format!("{prefix:?} fits several findings: {}", list.join(", ")))
                .into())
        }
    }
}
