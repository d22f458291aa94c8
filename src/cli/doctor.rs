//! `shadowtap doctor`: is the mirror any good?
//!
//! In: interfaces, some seconds of their traffic. Out: a line a check: measured, what it means for
//! findings, what to do. Never: keeps anything of what it saw.

use std::path::PathBuf;

use clap::Args;

use super::watch;
use crate::config::Config;
use crate::sensor::live::message::RecorderSetup;

/// Check a mirror port: both directions, other hosts, DNS, tags, copies, losses.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap doctor -i eth1                 ten seconds of a mirror port
  shadowtap doctor -i eth1 --seconds 60    a quiet one

Exit codes: 0 all is well, 1 something is not, 2 wrong usage or missing rights.")]
pub struct DoctorArgs {
    /// Interface to check; may be repeated.
    #[arg(short = 'i', long = "interface", value_name = "IFACE", required = true)]
    pub interfaces: Vec<String>,
    /// How long to look.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If it could not capture.
pub fn run(args: &DoctorArgs) -> anyhow::Result<u8> {
    let config = Config::load_with(args.config.as_deref(), &[])?;
    let mut options = watch::options(args.interfaces.clone(), &config, None);
    options.limit = watch::for_a_while(args.seconds);
    options.recorder = RecorderSetup {
        config: args.config.clone(),
        // What it sees is nobody's business, whatever the configuration says.
        flags: vec![("doctor".to_owned(), "store.file".to_owned(), "\"\"".to_owned())],
        quiet: true,
        doctor_s: args.seconds,
        ..options.recorder
    };
    eprintln!("shadowtap: looking for {} s ...", args.seconds);
    watch::start(options, args.config.clone(), Vec::new())
}
