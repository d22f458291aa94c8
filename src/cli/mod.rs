//! One file a command: arguments to one action, no logic of its own.

pub mod approve;
pub mod audit;
pub mod config;
pub mod dist;
pub mod doctor;
pub mod evidence;
pub mod export;
pub mod files;
pub mod forget;
pub mod hunt;
pub mod identity;
pub mod import;
pub mod lookup;
pub mod people;
pub mod policy;
pub mod report;
pub mod scan;
pub mod service;
pub mod signatures;
pub mod sinks;
pub mod top;
pub mod verify;
pub mod watch;
pub mod whois;

use std::io::{self, BufRead, BufWriter};

use clap::{Args, Parser, Subcommand};

use self::files::CatalogueFiles;
use crate::answer::summary::Facts;
use crate::config::ConfigError;
use crate::recorder::words::{Disposition, Level};
use crate::types::Timestamp;

/// Which AI services are in use on this network that nobody approved, by whom, and how much data
/// goes there: from mirrored traffic, without decrypting anything.
#[derive(Parser, Debug)]
#[command(
    name = "shadowtap",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
From captures to a decision:
  shadowtap scan --store ai.db CAPTURES         what is in use, by whom; all of it kept in ai.db
  shadowtap report --store ai.db                services, departments, risks, what to decide
  shadowtap approve SERVICE --store ai.db ...   one decision; deny and review likewise
  shadowtap export rpz --store ai.db --what-if  what a block of the rest would break
  shadowtap export rpz --store ai.db            the block list itself
`shadowtap COMMAND --help` has examples of each."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Find AI services in captures: which, approved or not, by whom, how much.
    Scan(Box<scan::ScanArgs>),
    /// Write a report: what was found, what to decide, what could not be seen.
    Report(Box<report::ReportArgs>),
    /// Approve a service, for a time, for some or for all.
    Approve(Box<approve::ApproveArgs>),
    /// Forbid a service.
    Deny(Box<approve::DenyArgs>),
    /// Say who looks into a service before anybody decides.
    Review(Box<approve::ReviewArgs>),
    /// Write a block list for the tool that blocks, or say what it would break.
    Export(Box<export::ExportArgs>),
    /// Watch interfaces: which AI services are used, now.
    Watch(Box<watch::WatchArgs>),
    /// Show the live view of a running sensor, or of an interface.
    Top(top::TopArgs),
    /// Check a mirror port: both directions, other hosts, DNS, tags, copies, losses.
    Doctor(doctor::DoctorArgs),
    /// Show why a finding is one, and cut its packets out of the capture.
    Evidence(evidence::EvidenceArgs),
    /// Say which service host names belong to.
    Lookup(LookupArgs),
    /// Ask the ledger since when a service or host was used here.
    Hunt(hunt::HuntArgs),
    /// Say what is known of a service, and how risky that makes it.
    Service(service::ServiceArgs),
    /// Check, compare, sign, take in and hand out signatures.
    Signatures(signatures::SignaturesArgs),
    /// Explain, check and start the policy: who may use what.
    Policy(policy::PolicyArgs),
    /// Say who had an address, when, and how that is known.
    Whois(whois::WhoisArgs),
    /// List devices: names, systems, addresses, and whose they are.
    Devices(people::DevicesArgs),
    /// List persons whom the store names.
    Users(people::UsersArgs),
    /// Check the files that say who is who; find whose a pseudonym is.
    Identity(identity::IdentityArgs),
    /// Forget a person or a device.
    Forget(forget::ForgetArgs),
    /// Check the record of who saw real names.
    Audit(audit::AuditArgs),
    /// Write, check and show the configuration.
    Config(config::ConfigArgs),
    /// The watchers of a running sensor; started by it.
    #[command(hide = true)]
    InternalWatchers,
    /// The recorder of a running sensor; started by it.
    #[command(hide = true)]
    InternalRecorder,
    /// Confines itself as watchers are and tries every way out.
    #[command(hide = true)]
    InternalEscape,
    /// Writes man pages; for packages.
    #[command(hide = true)]
    InternalManuals(dist::ManualArgs),
    /// Writes completions; for packages.
    #[command(hide = true)]
    InternalCompletions(dist::CompletionArgs),
    /// Say who gets the alerts, try it, deliver, and see what did not arrive.
    Sinks(sinks::SinksArgs),
    /// Check that a report or an export was not changed since it was written.
    Verify(verify::VerifyArgs),
}

/// Say which service host names belong to.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Prints HOST<TAB>SERVICE<TAB>PATTERN, one line for each, in order; nothing behind the first tab
where the catalogue does not know the name.

Examples:
  shadowtap lookup chatgpt.com api.openai.com
  shadowtap lookup -c shadowtap.toml gpt.intern.example   with the local signatures
  cut -f3 hosts.tsv | shadowtap lookup -")]
pub struct LookupArgs {
    /// Host names; - reads one a line from standard input.
    #[arg(required = true, value_name = "HOST|-")]
    pub hosts: Vec<String>,
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
}

/// Something that the person at the keyboard can mend: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// Wrong usage, in a sentence that says what to do.
    pub fn usage(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Runs a command; its exit code (see `--help` of each).
pub fn run(cli: &Cli) -> u8 {
    let outcome = match &cli.command {
        Command::Scan(args) => scan::run(args),
        Command::Report(args) => report::run(args),
        Command::Approve(args) => approve::approve(args, &mut io::stdout().lock()),
        Command::Deny(args) => approve::deny(args, &mut io::stdout().lock()),
        Command::Review(args) => approve::review(args, &mut io::stdout().lock()),
        Command::Export(args) => export::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Top(args) => top::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Evidence(args) => evidence::run(args),
        Command::Lookup(args) => look_up(args),
        Command::Hunt(args) => hunt::run(args, &mut io::stdout().lock()),
        Command::Service(args) => service::run(args, &mut io::stdout().lock()),
        Command::Signatures(args) => signatures::run(args, &mut io::stdout().lock()),
        Command::Policy(args) => policy::run(args, &mut io::stdout().lock()),
        Command::Whois(args) => whois::run(args),
        Command::Devices(args) => people::devices(args),
        Command::Users(args) => people::users(args),
        Command::Identity(args) => identity::run(args, &mut io::stdout().lock()),
        Command::Forget(args) => forget::run(args),
        Command::Audit(args) => audit::run(args, &mut io::stdout().lock()),
        Command::Config(args) => config::run(args, &mut io::stdout().lock()),
        Command::InternalWatchers => watch::part(crate::sensor::live::WATCHERS),
        Command::InternalRecorder => watch::part(crate::sensor::live::RECORDER),
        Command::InternalEscape => watch::escape(),
        Command::InternalManuals(args) => dist::manuals(args),
        Command::InternalCompletions(args) => dist::completions(args),
        Command::Sinks(args) => sinks::run(args, &mut io::stdout().lock()),
        Command::Verify(args) => verify::run(args, &mut io::stdout().lock()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            if broken_pipe(&error) {
                return 0;
            }
            eprintln!("shadowtap: {error:#}");
            let usage = error.is::<Problem>() || error.is::<ConfigError>();
            if usage { 2 } else { 1 }
        }
    }
}

/// Somebody closed our output, as `head` does: not an error of ours.
fn broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |e: &(dyn std::error::Error + 'static)| {
        let io = e.downcast_ref::<io::Error>().map(io::Error::kind);
        io.or_else(|| e.downcast_ref::<serde_json::Error>()?.io_error_kind())
    };
    error.chain().any(|e| kind(e) == Some(io::ErrorKind::BrokenPipe))
}

fn look_up(args: &LookupArgs) -> anyhow::Result<u8> {
    let config = args.files.clone().load()?;
    let catalogue = config.catalogue()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for host in &args.hosts {
        if host == "-" {
            // Line by line as octets: one that is no text must not end the others.
            for line in io::stdin().lock().split(b'\n') {
                let line = line?;
                lookup::lookup_lines(&catalogue, [String::from_utf8_lossy(&line)], &mut out)?;
            }
        } else {
            lookup::lookup_lines(&catalogue, [host], &mut out)?;
        }
    }
    io::Write::flush(&mut out)?;
    Ok(0)
}

/// Which output owns standard output; at most one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedStdout(Option<&'static str>);

impl OwnedStdout {
    /// The one of `wanted` that is asked for.
    ///
    /// # Errors
    /// If more than one is.
    pub fn one_of(wanted: &[(&'static str, bool)]) -> Result<Self, Problem> {
        let asked: Vec<&'static str> =
            wanted.iter().filter(|(_, on)| *on).map(|(n, _)| *n).collect();
        match asked.as_slice() {
            [] => Ok(Self(None)),
            [one] => Ok(Self(Some(one))),
            [a, b, ..] => Err(Problem::usage(format!(
                "{a} and {b} both want standard output: give one of them a file"
            ))),
        }
    }

    /// Nobody asked for it: the summary may have it.
    pub fn is_free(self) -> bool {
        self.0.is_none()
    }

    /// `true` if that output owns it.
    pub fn is(self, name: &str) -> bool {
        self.0 == Some(name)
    }
}

/// What `--fail-on` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// Any service at this level or above.
    Level(Level),
    /// Use of a service of this group.
    Group(Group),
}

/// Groups of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Forbidden.
    Forbidden,
    /// Nobody decided.
    Unreviewed,
    /// Forbidden or undecided.
    Unapproved,
    /// Allowed.
    Allowed,
    /// Outside the catalogue.
    Candidates,
}

impl FailOn {
    /// `true` if it was found.
    pub fn matches(self, facts: &Facts) -> bool {
        let summary = &facts.summary;
        let used =
            |group: &crate::recorder::store::Group| group.services.iter().any(|s| s.level.counts());
        let groups = [&summary.forbidden, &summary.unreviewed, &summary.allowed];
        match self {
            FailOn::Level(level) => {
                groups.iter().any(|g| g.services.iter().any(|s| s.level >= level))
            }
            FailOn::Group(Group::Forbidden) => used(&summary.forbidden),
            FailOn::Group(Group::Unreviewed) => used(&summary.unreviewed),
            FailOn::Group(Group::Unapproved) => {
                used(&summary.forbidden) || used(&summary.unreviewed)
            }
            FailOn::Group(Group::Allowed) => used(&summary.allowed),
            FailOn::Group(Group::Candidates) => !summary.candidates.is_empty(),
        }
    }
}

/// Reads the value of `--fail-on`.
///
/// # Errors
/// If it is neither a level nor a group; the message lists them.
pub fn level_or_group(text: &str) -> Result<FailOn, String> {
    if let Some(level) = Level::from_code(text) {
        return Ok(FailOn::Level(level));
    }
    let group = match text {
        "forbidden" => Group::Forbidden,
        "unreviewed" => Group::Unreviewed,
        "unapproved" => Group::Unapproved,
        "allowed" => Group::Allowed,
        "candidates" => Group::Candidates,
        _ if Disposition::from_code(text) == Some(Disposition::Unsanctioned) => Group::Forbidden,
        _ => {
            return Err(
                "a level (named, contacted, used, bulk) or a group (forbidden, unreviewed, \
                        unapproved, allowed, candidates)"
                    .to_owned(),
            );
        }
    };
    Ok(FailOn::Group(group))
}

/// Reads a time: RFC 3339, or a date, which begins at midnight UTC.
///
/// # Errors
/// If it is neither.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time: jiff::Timestamp =
        whole.parse().map_err(|_| "a time as 2026-11-23T09:00:00Z, or a date".to_owned())?;
    u64::try_from(time.as_nanosecond()).map(Timestamp).map_err(|_| "a time from 1970 on".to_owned())
}

/// A point in time, or a span before the store's last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This time.
    At(Timestamp),
    /// So many seconds before the last frame.
    Span(u64),
}

impl Since {
    /// The time that it means in a store whose last frame is at `last`.
    pub fn before(self, last: Timestamp) -> Timestamp {
        match self {
            Since::At(time) => time,
            Since::Span(s) => Timestamp(last.0.saturating_sub(s.saturating_mul(Timestamp::SECOND))),
        }
    }
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spans = [("h", 3_600), ("d", 86_400), ("w", 7 * 86_400)];
        let span = spans.iter().find_map(|(unit, s)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(*s)
        });
        match span {
            Some(s) => Ok(Since::Span(s)),
            None => time(text).map(Since::At).map_err(|e| format!("{e}, or a span such as 14d")),
        }
    }
}

/// Columns of the terminal, if standard output is one.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// CPU seconds of this process so far, and the most memory it held, in bytes.
pub fn usage() -> (f64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib: u64 =
        peak.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or_default();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    (cpu_s, kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn at_most_one_output_owns_standard_output() {
        assert!(
            OwnedStdout::one_of(&[("--json", false), ("--alerts -", false)]).unwrap().is_free()
        );
        assert!(
            OwnedStdout::one_of(&[("--json", true), ("--alerts -", false)]).unwrap().is("--json")
        );
        assert!(OwnedStdout::one_of(&[("--json", true), ("--alerts -", true)]).is_err());
    }

    #[test]
    fn times() {
        let day = Timestamp(1_795_392_000 * Timestamp::SECOND);
        assert_eq!(time("2026-11-23"), Ok(day));
        assert_eq!(time("2026-11-23T00:00:00Z"), Ok(day));
        assert!(time("yesterday").is_err());
        assert!(time("1960-01-01").is_err());
        assert_eq!("2026-11-23".parse(), Ok(Since::At(day)));
        assert_eq!("14d".parse(), Ok(Since::Span(14 * 86_400)));
        assert_eq!("1w".parse::<Since>().unwrap().before(day), time("2026-11-16").unwrap());
        assert!("14x".parse::<Since>().is_err());
    }
}
