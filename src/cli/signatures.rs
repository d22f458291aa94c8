//! `shadowtap signatures check|diff|pack|verify|install|import|export`: the catalogue as files.
//!
//! In: folders, bundles and lists. Out: what is wrong or different, in words; new files.
//! Never: replaces a catalogue by one that is unsigned, expired, older or broken.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::Serialize;

use super::Problem;
use super::files::CatalogueFiles;
use super::import::{self, ListFormat};
use crate::answer::indicators::{self, Format};
use crate::answer::terminal::{counted, printable};
use crate::recorder::signature::bundle::{BUNDLE_MAX_BYTES, Bundle, Refusal, STAMP_FILE, Stamp};
use crate::recorder::signature::check::{self, Finding, Report};
use crate::recorder::signature::{Catalogue, difference};

/// Lines of an imported list of which it is told why they were left out.
const LEFT_OUT_SHOWN: usize = 20;

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
    /// Say in words what a change of signatures means.
    Diff(DiffArgs),
    /// Make one file of a folder, to be signed with minisign.
    Pack(PackArgs),
    /// Say whether a signed file can be trusted.
    Verify(VerifyArgs),
    /// Put a signed file's signatures in place; the ones before are kept.
    Install(InstallArgs),
    /// Make a draft of local signatures of somebody's list.
    Import(ImportArgs),
    /// Write the catalogue for another tool.
    Export(ExportArgs),
}

/// Say in words what a change of signatures means.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes: 0 no difference, 1 differences, 2 a folder cannot be read.")]
pub struct DiffArgs {
    /// The signatures before; `built-in` for the built-in ones.
    #[arg(value_name = "DIR|built-in")]
    pub before: PathBuf,
    /// The signatures after.
    #[arg(value_name = "DIR|built-in")]
    pub after: PathBuf,
}

/// Make one file of a folder, to be signed with minisign.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  shadowtap signatures pack signatures/ --number 12 --expires 2027-05-31 --out update.json
  minisign -S -s KEY -m update.json           wherever the secret key lies
  shadowtap signatures install update.json --key minisign.pub --dir /etc/shadowtap/signatures")]
pub struct PackArgs {
    /// Folder of signature files.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Number of this release; must rise.
    #[arg(long, value_name = "N")]
    pub number: u64,
    /// Last day on which it may be installed.
    #[arg(long, value_name = "DATE")]
    pub expires: Date,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Say whether a signed file can be trusted.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes: 0 it can, 1 it cannot, 2 a file cannot be read.")]
pub struct VerifyArgs {
    /// The file of `pack`; its signature lies beside it as FILE.minisig.
    #[arg(value_name = "FILE")]
    pub bundle: PathBuf,
    /// Public key of minisign that is trusted.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The day to take for today.
    #[arg(long, value_name = "DATE")]
    pub today: Option<Date>,
}

/// Put a signed file's signatures in place; the ones before are kept.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
What is unsigned, changed, expired, as old as what is there, or holds a mistake is refused, and
nothing changes. The folder before lies at DIR.previous.
Exit codes: 0 installed, 1 refused, 2 a file cannot be read or written.")]
pub struct InstallArgs {
    /// What to install, and whom to trust.
    #[command(flatten)]
    pub trust: VerifyArgs,
    /// The folder that `[signatures] dir` names.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// Make a draft of local signatures of somebody's list.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The list.
    #[arg(value_name = "LIST")]
    pub list: PathBuf,
    /// How it is written.
    #[arg(long, value_name = "FORMAT")]
    pub format: ListFormat,
    /// Day of entry; default: today.
    #[arg(long, value_name = "DATE")]
    pub today: Option<Date>,
}

/// Write the catalogue for another tool.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The tool.
    #[arg(value_name = "FORMAT")]
    pub format: Format,
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
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
        SignaturesCommand::Diff(args) => run_diff(args, out),
        SignaturesCommand::Pack(args) => pack(args, out),
        SignaturesCommand::Verify(args) => match open(args, None)? {
            Ok(bundle) => {
                let (version, files) = (bundle.version, bundle.files.len());
                writeln!(out, "good: version {version}, {files} files, until {}", bundle.expires)?;
                Ok(0)
            }
            Err(refusal) => Ok(refuse(&args.bundle, &refusal)),
        },
        SignaturesCommand::Install(args) => install(args, out),
        SignaturesCommand::Import(args) => run_import(args, out),
        SignaturesCommand::Export(args) => {
            let config = args.files.clone().load()?;
            indicators::write(&config.catalogue()?, args.format, out)?;
            Ok(0)
        }
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

fn run_diff(args: &DiffArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let load = |dir: &Path| {
        let dir = (dir != Path::new("built-in")).then_some(dir);
        Catalogue::with_local(dir, None).map_err(|e| Problem::usage(e.to_string()))
    };
    let told = difference::sentences(&load(&args.before)?, &load(&args.after)?);
    for sentence in &told {
        writeln!(out, "{}", printable(sentence))?;
    }
    Ok(u8::from(!told.is_empty()))
}

fn pack(args: &PackArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let report = check::check(Some(&args.dir), None).map_err(|e| Problem::usage(e.to_string()))?;
    if let Some(fault) = report.faults.first() {
        return Err(Problem::usage(line("fault", fault)).into());
    }
    let bundle = Bundle::of_dir(&args.dir, args.number, args.expires)
        .map_err(|e| Problem::usage(e.to_string()))?;
    let mut text = serde_json::to_vec(&bundle)?;
    text.push(b'\n');
    std::fs::write(&args.out, text).map_err(|e| unusable(&args.out, &e))?;
    let name = args.out.display().to_string();
    writeln!(out, "{} files; sign it: minisign -S -m {}", bundle.files.len(), printable(&name))?;
    Ok(0)
}

/// The bundle, or why it is refused.
fn open(args: &VerifyArgs, installed: Option<Stamp>) -> anyhow::Result<Result<Bundle, Refusal>> {
    let mut signature = args.bundle.clone().into_os_string();
    signature.push(".minisig");
    let octets = limited(&args.bundle)?;
    let key = limited(&args.key)?;
    let Ok(signature) = limited(Path::new(&signature)) else {
        return Ok(Err(Refusal::Unsigned));
    };
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let today = args.today.unwrap_or_else(today);
    Ok(Bundle::open(&octets, &text(&signature), &text(&key), today, installed))
}

fn refuse(bundle: &Path, refusal: &Refusal) -> u8 {
    let name = bundle.display().to_string();
    eprintln!("shadowtap: {} is refused: {refusal}", printable(&name));
    1
}

fn install(args: &InstallArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let dir = &args.dir;
    let stamp = std::fs::read(dir.join(STAMP_FILE)).ok();
    let installed = stamp.and_then(|text| serde_json::from_slice(&text).ok());
    let bundle = match open(&args.trust, installed)? {
        Ok(bundle) => bundle,
        Err(refusal) => return Ok(refuse(&args.trust.bundle, &refusal)),
    };
    let beside = |suffix: &str| {
        let mut name = dir.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (fresh, previous) = (beside(".new"), beside(".previous"));
    remove(&fresh)?;
    for (name, text) in &bundle.files {
        let path = fresh.join(name);
        let folder = path.parent().unwrap_or(&fresh);
        std::fs::create_dir_all(folder).map_err(|e| unusable(folder, &e))?;
        std::fs::write(&path, text).map_err(|e| unusable(&path, &e))?;
    }
    let stamp = serde_json::to_vec(&bundle.stamp())?;
    std::fs::write(fresh.join(STAMP_FILE), stamp).map_err(|e| unusable(&fresh, &e))?;
    let report = check::check(Some(&fresh), None).map_err(|e| Problem::usage(e.to_string()))?;
    if let Some(fault) = report.faults.first() {
        remove(&fresh)?;
        return Ok(refuse(&args.trust.bundle, &Refusal::NoBundle(line("fault", fault))));
    }
    let told = match dir.is_dir() {
        true => {
            let before = Catalogue::from_dir(dir).map_err(|e| Problem::usage(e.to_string()));
            let after = Catalogue::from_dir(&fresh).map_err(|e| Problem::usage(e.to_string()))?;
            remove(&previous)?;
            std::fs::rename(dir, &previous).map_err(|e| unusable(dir, &e))?;
            before.map_or(0, |before| difference::sentences(&before, &after).len())
        }
        false => 0,
    };
    if let Err(error) = std::fs::rename(&fresh, dir) {
        // What was there comes back before anybody is told.
        let _ = std::fs::rename(&previous, dir);
        return Err(unusable(dir, &error).into());
    }
    writeln!(
        out,
        "installed version {}, {} services, {told} differences to the one before",
        bundle.version, report.services
    )?;
    Ok(0)
}

fn remove(folder: &Path) -> Result<(), Problem> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unusable(folder, &e)),
        _ => Ok(()),
    }
}

fn run_import(args: &ImportArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let catalogue = Catalogue::embedded().map_err(|e| Problem::usage(e.to_string()))?;
    let octets = limited(&args.list)?;
    let list = String::from_utf8_lossy(&octets);
    let name = args.list.file_name().unwrap_or_default().to_string_lossy();
    let today = args.today.unwrap_or_else(today).to_string();
    let draft = import::draft(&list, args.format, &name, &today, &catalogue);
    out.write_all(draft.text.as_bytes())?;
    eprintln!(
        "shadowtap: {} in the draft, {} known already, {} left out",
        counted(draft.hosts as u64, "host"),
        draft.known,
        counted(draft.left_out.len() as u64, "line")
    );
    for (number, why) in draft.left_out.iter().take(LEFT_OUT_SHOWN) {
        eprintln!("shadowtap: line {number}: {why}");
    }
    Ok(0)
}

/// The octets of a file that somebody named.
fn limited(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut octets = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(BUNDLE_MAX_BYTES + 1).read_to_end(&mut octets));
    match read {
        Ok(_) if octets.len() as u64 > BUNDLE_MAX_BYTES => {
            Err(Problem::usage(format!("{} is too long", path.display())))
        }
        Ok(_) => Ok(octets),
        Err(e) => Err(unusable(path, &e)),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::usage(format!("{}: {error}", path.display()))
}

/// The day on the wall (UTC). Only commands that ask how old something is want it; what they find
/// in traffic never depends on it.
fn today() -> Date {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let time = jiff::Timestamp::from_second(now.tv_sec).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC).date()
}
