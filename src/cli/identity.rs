//! `shadowtap identity check|reveal`: the files that say who is who, and whose a pseudonym is.
//!
//! In: the configuration and the files it names. Out: what they give, and each line that could
//! not be used, with the reason.
//! Never: reveals a pseudonym without a purpose and a record.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Problem;
use super::audit::{self, Entry};
use crate::config::Config;
use crate::recorder::identity::known::What;
use crate::recorder::identity::{Kind, Mode, Veil};
use crate::recorder::store::Answers;
use crate::recorder::store::rows::mac_text;
use crate::types::Timestamp;

/// Lines told one by one; the rest is a number.
const TOLD_MAX: usize = 1_000;

/// Check the files that say who is who; find whose a pseudonym is.
#[derive(Args, Clone, Debug)]
pub struct IdentityArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: IdentityCommand,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum IdentityCommand {
    /// Read inventory, leases and logons as a scan would, and tell each line that cannot be used
    Check(CheckArgs),
    /// Find whose a pseudonym is, with the key, among those whom the inventory knows
    Reveal(RevealArgs),
}

/// Arguments of `identity check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit codes: 0 every line was used, 1 some were not, 2 a file cannot be read.")]
pub struct CheckArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Arguments of `identity reveal`.
#[derive(Args, Clone, Debug)]
pub struct RevealArgs {
    /// Pseudonym, such as user-k7m3qa2xwd.
    #[arg(value_name = "PSEUDONYM")]
    pub pseudonym: String,
    /// The store that holds it, or whose outputs show it.
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// Configuration file, which names the key.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// What the name is needed for; goes on record.
    #[arg(long, value_name = "TEXT")]
    pub purpose: String,
    /// Who asks; goes on record.
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// A second person who agrees; goes on record.
    #[arg(long, value_name = "NAME")]
    pub witness: Option<String>,
    /// Where records go; default: beside the store, `FILE.audit`.
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If the configuration is wrong, a file cannot be read, or nobody has that pseudonym.
pub fn run(args: &IdentityArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        IdentityCommand::Check(args) => check(args, out),
        IdentityCommand::Reveal(args) => reveal(args, out),
    }
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let config = Config::load(args.config.as_deref())?;
    let (known, problems) = config.known()?;
    for problem in problems.iter().take(TOLD_MAX) {
        writeln!(out, "{problem}")?;
    }
    if problems.len() > TOLD_MAX {
        writeln!(out, "and {} more lines", problems.len() - TOLD_MAX)?;
    }
    let (devices, people) = known.inventory.counts();
    let leases = known.events.iter().filter(|e| matches!(e.what, What::Lease { .. })).count();
    let logons = known.events.iter().filter(|e| matches!(e.what, What::On { .. })).count();
    writeln!(
        out,
        "{devices} devices, {people} people, {leases} leases, {logons} logons; {} lines not used; \
         names from the wire: {}; privacy: {}",
        problems.len(),
        if known.settings.users { "yes" } else { "no" },
        known.veil.mode().code(),
    )?;
    Ok(u8::from(!problems.is_empty()))
}

fn reveal(args: &RevealArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let config = Config::load(args.config.as_deref())?;
    if config.veil.mode() == Mode::Clear {
        return Err(Problem::usage("the configuration names no key: nothing is a pseudonym").into());
    }
    let (known, _) = config.known()?;
    let answers = Answers::open_under(&args.store, Some(&config.veil))?;
    let entry = Entry {
        action: "reveal",
        by: args.by.clone(),
        witness: args.witness.clone(),
        purpose: args.purpose.clone(),
        about: args.pseudonym.clone(),
    };
    audit::append(&audit::path(args.audit.as_ref(), &args.store), &entry)?;
    let mut veils = vec![config.veil.clone()];
    let epochs: Vec<Timestamp> = answers.epochs(&config.veil)?;
    veils.extend(epochs.into_iter().map(|at| config.veil.for_store(at)));
    let found = veils.iter().find_map(|veil| owner(veil, &known.inventory, &args.pseudonym));
    let Some(name) = found else {
        return Err(
            Problem::usage("nobody in the inventory has that pseudonym under this key").into()
        );
    };
    writeln!(out, "{name}")?;
    Ok(0)
}

/// Whose the pseudonym is, by trying everybody whom the inventory knows.
fn owner(
    veil: &Veil,
    inventory: &crate::recorder::identity::inventory::Inventory,
    pseudonym: &str,
) -> Option<String> {
    let users = inventory.people().into_iter().map(|p| p.user.to_string());
    let by_user = |name: &String| veil.pseudonym(Kind::User, name) == pseudonym;
    if let Some(user) = users.into_iter().find(by_user) {
        return Some(user);
    }
    let names = inventory.devices().iter().filter_map(|d| d.name.as_deref().map(str::to_owned));
    let by_name = |name: &String| veil.pseudonym(Kind::Device, name) == pseudonym;
    if let Some(device) = names.into_iter().find(by_name) {
        return Some(device);
    }
    let macs = inventory.macs().into_iter();
    macs.into_iter().find(|mac| mac_text(veil.mac(*mac)) == pseudonym).map(mac_text)
}
