//! `shadowtap signatures check|diff|pack|verify|install|import|export`: the catalogue as files.
//!
//! In: folders, bundles and lists. Out: what is wrong or different, in words; new files.
//! Never: replaces a catalogue by one that is unsigned, expired, older or broken.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::Serialize;

use super::Problem;
use crate::answer::terminal::printable;
use crate::config::{Config, ConfigError, Flag};
use crate::recorder::signature::check::{self, Finding, Report};

/// Check, compare, sign, take in and hand out signatures.
#[derive(Args, Clone, Debug)]
pub struct SignaturesArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SignaturesCommand,
}

/// What can be done with signatures.
#[derive(Subcommand, Clone, Debug)]
pub enum SignaturesCommand {
    /// Find everything that is wrong with signature files, with file, line and remedy.
    Check(CheckArgs),
}

/// Find everything that is wrong with signature files, with file, line and remedy.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap signatures check                     the built-in catalogue
  shadowtap signatures check signatures/         a folder
  shadowtap signatures check --stale 180         also what nobody reviewed for half a year

Exit codes: 0 nothing is wrong, 1 something is, 2 the folder cannot be read.")]
pub struct CheckArgs {
    /// Folder of signature files; default: the built-in ones.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Also entries that nobody reviewed for so many days.
    #[arg(long, value_name = "DAYS")]
    pub stale: Option<u32>,
    /// The day from which --stale counts back; default: today.
    #[arg(long, value_name = "DATE", requires = "stale")]
    pub today: Option<Date>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or the output fails.
pub fn run(args: &SignaturesArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    match &args.command {
        SignaturesCommand::Check(args) => run_check(args, out),
    }
}

#[derive(Serialize)]
struct CheckDocument<'r> {
    schema: u32,
    kind: &'static str,
    #[serde(flatten)]
    report: &'r Report,
}

fn run_check(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let stale = args.stale.map(|days| (days, args.today.unwrap_or_else(today)));
    let report =
        check::check(args.dir.as_deref(), stale).map_err(|e| Problem::usage(e.to_string()))?;
    if args.json {
        let document = CheckDocument { schema: 1, kind: "signatures-check", report: &report };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)?;
    } else {
        for (word, list) in [("remark", &report.remarks), ("fault", &report.faults)] {
            for finding in list {
                writeln!(out, "{}", line(word, finding))?;
            }
        }
        let Report { services, patterns, memory_only, faults, remarks } = &report;
        writeln!(
            out,
            "{services} services, {patterns} patterns, {memory_only} from memory alone: \
             {} faults, {} remarks",
            faults.len(),
            remarks.len()
        )?;
    }
    Ok(u8::from(!report.faults.is_empty()))
}

fn line(word: &str, finding: &Finding) -> String {
    let Finding { rule, file, line, message, fix } = finding;
    let text = format!("{file}:{line}: {word} [{rule}] {message}; {fix}");
    printable(&text).into_owned()
}

/// The day on the wall (UTC). Only commands that ask how old something is want it; what they find
/// in traffic never depends on it.
fn today() -> Date {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let time = jiff::Timestamp::from_second(now.tv_sec).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The configuration, with the signature folder that a flag names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn config(file: Option<&Path>, signatures: Option<&Path>) -> Result<Config, ConfigError> {
    let flag = signatures.map(|dir| Flag {
        name: "--signatures".to_owned(),
        key: "signatures.dir".to_owned(),
        value: dir.to_string_lossy().into_owned(),
    });
    Config::load_with(file, flag.as_slice())
}
