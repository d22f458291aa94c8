//! `shadowtap config init|check|show`: the configuration file.
//!
//! In: arguments. Out: lines on `out`, a file for `init`; an exit code.
//! Never: overwrites a file unasked.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::config::{Config, ConfigError, DEFAULTS, FILE_NAME, Flag, Origin, Setting, Value};
use crate::written::{Problem, Severity};

const EXAMPLES: &str = "\
Examples:
  shadowtap config init                      write ./shadowtap.toml, every key explained
  shadowtap config check                     check it, with the policy and signatures it names
  shadowtap config show                      what a file or a flag sets, and which
  shadowtap config show --effective --json   every value, for a program

Without a file everything has a default. Exit codes: 0 fine, 1 a file could not be written,
2 the configuration is wrong.";

/// Write, check or show the configuration.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Write a file that holds every key with its default, unit and reason
    Init(InitArgs),
    /// Check a file with what it includes, its policy and its signatures
    Check(CheckArgs),
    /// Show values, and who set them
    Show(ShowArgs),
}

/// Arguments of `config init`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Where to write; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = FILE_NAME)]
    pub output: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `config check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// File to check; else the one that `SHADOWTAP_CONFIG` names, else ./shadowtap.toml
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
}

/// Arguments of `config show`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a value as a flag would
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Show defaults too
    #[arg(long)]
    pub effective: bool,
    /// As one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Runs the command; the answer is the exit code.
///
/// # Errors
/// [`ConfigError`] for wrong configuration or usage; any other if something could not be written.
pub fn run(args: &ConfigArgs, out: &mut dyn Write) -> Result<u8> {
    match &args.command {
        ConfigCommand::Init(args) => init(args, out),
        ConfigCommand::Check(args) => check(args, out),
        ConfigCommand::Show(args) => show(args, out),
    }
}

fn init(args: &InitArgs, out: &mut dyn Write) -> Result<u8> {
    save(&args.output, DEFAULTS, args.force, out)?;
    Ok(0)
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<u8> {
    let config = Config::load(args.file.as_deref())?;
    let (rules, mut problems) = config.rulebook()?;
    problems.splice(..0, config.problems.iter().cloned());
    tell(&problems, out)?;
    let files = match config.files.as_slice() {
        [] => "no file, all defaults".to_owned(),
        files => files.join(", "),
    };
    let (count, version) = (rules.policy.rules().len(), rules.policy.version());
    let services = rules.catalogue.services().len();
    writeln!(out, "{files}: fine; {count} rules (policy {version}), {services} services")?;
    Ok(exit_code(&problems, args.strict))
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<u8> {
    let flags = args.set.iter().map(|set| flag(set)).collect::<Result<Vec<_>, _>>()?;
    let config = Config::load_with(args.config.as_deref(), &flags)?;
    let shown = |s: &&Setting| args.effective || s.origin != Origin::Default;
    let settings: Vec<&Setting> = config.settings.iter().filter(shown).collect();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &Shown::new(&config, &settings))?;
        writeln!(out)?;
        return Ok(0);
    }
    for problem in &config.problems {
        writeln!(out, "# {}", problem.message)?;
    }
    if settings.is_empty() {
        writeln!(out, "# nothing is set; --effective shows the defaults")?;
    }
    let line = |s: &&Setting| format!("{} = {}", s.key, s.value);
    let lines: Vec<String> = settings.iter().map(line).collect();
    let width = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    for (line, setting) in lines.iter().zip(&settings) {
        writeln!(out, "{line:width$}  # {}", setting.origin)?;
    }
    Ok(0)
}

/// `KEY=VALUE` of `--set`.
///
/// # Errors
/// If there is no `=` in it.
pub fn flag(set: &str) -> Result<Flag, ConfigError> {
    let Some((key, value)) = set.split_once('=') else {
        let hint = "write --set limits.threads=4";
        return Err(ConfigError::usage(format!("--set {set}: no value"), hint));
    };
    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
    Ok(Flag { name: "--set".to_owned(), key, value })
}

/// Writes `text` to a new file, or to `out` for `-`.
///
/// # Errors
/// [`ConfigError`] if the file is there and `force` is not; any other if it cannot be written.
pub fn save(path: &Path, text: &str, force: bool, out: &mut dyn Write) -> Result<()> {
    if path == Path::new("-") {
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let at = path.display();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(force).create_new(!force);
    let mut file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let hint = "--force overwrites it, --output names another file";
            return Err(ConfigError::usage(format!("{at} is there already"), hint).into());
        }
        opened => opened.with_context(|| format!("cannot write {at}"))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {at}"))?;
    writeln!(out, "wrote {at}")?;
    Ok(())
}

/// Tells warnings and notes, a paragraph each.
///
/// # Errors
/// Those of `out`.
pub fn tell(problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))
}

/// 2 if there is a warning and warnings count.
pub(super) fn exit_code(problems: &[Problem], strict: bool) -> u8 {
    let counts = |p: &Problem| p.severity <= Severity::Warning;
    if strict && problems.iter().any(counts) { 2 } else { 0 }
}

/// `config show --json`.
#[derive(Serialize)]
struct Shown<'c> {
    files: Vec<&'c str>,
    settings: Vec<ShownSetting<'c>>,
}

#[derive(Serialize)]
struct ShownSetting<'c> {
    key: &'c str,
    value: serde_json::Value,
    /// `default`, `file` or `flag`.
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'c str>,
}

impl<'c> Shown<'c> {
    fn new(config: &'c Config, settings: &[&'c Setting]) -> Self {
        let setting = |s: &&'c Setting| {
            let (origin, place, flag) = match &s.origin {
                Origin::Default => ("default", None, None),
                Origin::File(place) => ("file", Some(place), None),
                Origin::Flag(name) => ("flag", None, Some(name.as_str())),
            };
            let (file, line) = (place.map(|p| &*p.file), place.map(|p| p.line));
            ShownSetting { key: &s.key, value: json(&s.value), origin, file, line, flag }
        };
        let files = config.files.iter().map(|f| &**f).collect();
        Self { files, settings: settings.iter().map(setting).collect() }
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Number(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(items) => items.iter().map(|(value, _)| json(value)).collect(),
    }
}
