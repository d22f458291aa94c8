//! `shadowtap report`: the store as a report for people who decide.
//!
//! In: a store; policy, catalogue and departments of today. Out: one file in a chosen format.
//! Never: writes to the store; names devices without being asked to.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::files::Files;
use super::{Problem, Since};
use crate::answer::mask::Names;
use crate::answer::report::{self, Format, Options};
use crate::recorder::identity::Known;
use crate::recorder::identity::departments::Departments;
use crate::recorder::policy::Policy;
use crate::recorder::signature::{Catalogue, Risk};
use crate::recorder::store::Answers;
use crate::types::Timestamp;
use crate::written::Document;

/// Write a report: what was found, what to decide, what could not be seen.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap report --store ai.db                       as text, here: services, departments, risks
  shadowtap report --store ai.db --output report.html  for leadership: verdict, what to decide
  shadowtap report --store ai.db --output report.pdf   the same on paper
  shadowtap report --store ai.db --output report.xlsx  all tables, with filters
  shadowtap report --store ai.db --policy new.toml     by another policy, without a new scan
  shadowtap report --store ai.db --names --output named.html
                                                       with names: for those who may see them

Without --since and --until the report is about the last 30 days of the store. The policy is that
of the configuration (shadowtap.toml here, or --config), else policy.toml here, else verdicts stay
as they were recorded. Departments are those of the configuration when it was recorded, or of today:
  [[department]]
  name = \"Research\"
  networks = [\"10.1.0.0/24\"]
  devices = [\"laptop-7\"]
What to do next: `shadowtap approve|deny|review SERVICE`, then `shadowtap export FORM --what-if`.
`shadowtap verify FILE` checks later that a report was not changed.

Exit codes: 0 fine, 1 the store or the output failed, 2 wrong usage or configuration.")]
pub struct ReportArgs {
    /// The store to report on.
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// html, pdf, xlsx, csv, json or md. Default: what the output's name ends with, else md.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<Format>,
    /// Where to write; - or nothing for standard output.
    #[arg(short, long, value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// From this time on: a date or time, or 14d, 36h before the store's last frame.
    #[arg(long, value_name = "TIME|SPAN")]
    pub since: Option<Since>,
    /// Up to this time, its hour included.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub until: Option<Timestamp>,
    /// Name devices and small departments, which are masked otherwise.
    #[arg(long)]
    pub names: bool,
    /// Who belongs where, instead of what was recorded: a file of `[[department]]` tables.
    #[arg(long, value_name = "FILE")]
    pub departments: Option<PathBuf>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
}

/// The policy where neither a flag nor the configuration names one, if it is there.
pub const POLICY_HERE: &str = "policy.toml";

/// What answers are made by: the catalogue and the policy of today.
pub struct Today {
    /// Services.
    pub catalogue: Catalogue,
    /// What is known of them.
    pub risk: Risk,
    /// Decisions; `None` if nobody gave any, so that verdicts stay as recorded.
    pub policy: Option<Policy>,
    /// The file that the policy came from, if it is one.
    pub policy_file: Option<PathBuf>,
    /// Who belongs where, as the configuration says.
    pub departments: Departments,
    /// What whoever manages devices knows of them; empty if nobody was asked.
    pub known: Arc<Known>,
    /// Networks that the configuration names: those of the house, and of departments.
    pub subnets: Vec<(IpAddr, u8)>,
}

/// Reads configuration, catalogue and policy.
///
/// # Errors
/// Whatever is wrong with them.
pub fn today(files: &Files) -> anyhow::Result<Today> {
    let mut config = files.load()?;
    let (catalogue, risk) = config.catalogue_and_risk()?;
    let (mut policy, mut problems) = config.policy(&catalogue)?;
    let here = PathBuf::from(POLICY_HERE);
    if config.policy.file.is_none() && policy.rules().is_empty() && here.is_file() {
        config.policy.file = Some(here);
        (policy, problems) = config.policy(&catalogue)?;
        eprintln!("shadowtap: judged by {POLICY_HERE} here, as nothing names another policy");
    }
    for problem in problems {
        eprintln!("{problem}");
    }
    let policy_file = config.policy.file.clone();
    let given = policy_file.is_some() || !policy.rules().is_empty();
    let policy = given.then_some(policy);
    let departments = config.departments.clone();
    let mut subnets = config.scope.own_networks.clone();
    subnets.extend(departments.networks());
    subnets.sort_unstable();
    subnets.dedup();
    let (known, _) = config.known()?;
    Ok(Today { catalogue, risk, policy, policy_file, departments, known, subnets })
}

/// Runs the command.
///
/// # Errors
/// If the store, the configuration or the output fails.
pub fn run(args: &ReportArgs) -> anyhow::Result<u8> {
    let output = args.output.as_deref().filter(|o| o.as_os_str() != "-");
    let by_name = || output?.extension()?.to_str().and_then(Format::from_word);
    let format = args.format.or_else(by_name).unwrap_or(Format::Md);
    let binary = matches!(format, Format::Pdf | Format::Xlsx);
    if output.is_none() && binary && io::stdout().is_terminal() {
        return Err(Problem::usage("this format is not for a terminal: add --output FILE").into());
    }
    let today = today(&args.files)?;
    let departments = read_departments(args.departments.as_deref(), &today)?;
    let answers = open(&args.store)?;
    let last = answers.span()?.map_or(Timestamp(0), |s| s.1);
    let options = Options {
        since: args.since.map(|s| s.before(last)),
        until: args.until,
        catalogue: &today.catalogue,
        risk: Some(&today.risk),
        policy: today.policy.as_ref(),
        departments: &departments,
        known: &today.known,
        subnets: today.subnets.clone(),
        ledger: Answers::ledger_key(&args.store)?,
        names: if args.names { Names::Shown } else { Names::Masked },
        store: file_name(&args.store),
        policy_file: today.policy_file.as_deref().map_or("policy.toml".to_owned(), file_name),
    };
    let report = report::build(&answers, &options)?;
    let bytes = report::render(&report, format)?;
    write_to(output, &bytes)?;
    if let Some(path) = output {
        eprintln!("shadowtap: {} written; {}", path.display(), report.verdict);
    }
    Ok(0)
}

/// Opens a store for reading, and says which if it fails.
///
/// # Errors
/// If it cannot be read.
pub fn open(path: &Path) -> anyhow::Result<Answers> {
    Answers::open(path).with_context(|| format!("cannot read the store {}", path.display()))
}

/// The departments of a file; without one, those of the configuration.
///
/// # Errors
/// If the file cannot be read, or does not hold.
pub fn read_departments(path: Option<&Path>, today: &Today) -> anyhow::Result<Departments> {
    let Some(path) = path else { return Ok(today.departments.clone()) };
    let doc = Document::read(path).map_err(crate::config::ConfigError::from)?;
    Ok(Departments::read(&doc)?)
}

/// Writes to a file, or to standard output.
///
/// # Errors
/// If it cannot be written.
pub fn write_to(output: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match output {
        Some(path) => {
            let failed = || format!("cannot write {}", path.display());
            let mut file = File::create(path).with_context(failed)?;
            file.write_all(bytes).with_context(failed)?;
        }
        None => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
    }
    Ok(())
}

/// The last part of a path: outputs hold no absolute ones.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

fn format(text: &str) -> Result<Format, String> {
    let words: Vec<&str> = Format::ALL.iter().map(|(w, _)| *w).collect();
    Format::from_word(text).ok_or_else(|| format!("one of {}", words.join(", ")))
}
