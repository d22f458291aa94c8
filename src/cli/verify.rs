//! `shadowtap verify`: whether a report or an export is what shadowtap wrote.
//!
//! In: a file; a public key, if it was signed. Out: one line; an exit code.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Problem;
use crate::answer::verify::{self, Verdict};

/// Check that a report or an export was not changed since it was written.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap verify report.html
  minisign -Sm report.pdf                                   sign it with your own key
  shadowtap verify report.pdf --public-key minisign.pub     checks report.pdf.minisig too

The digest in a file shows changes by accident or by somebody who does not know of it; only a signature shows
who vouches for the file.

Exit codes: 0 it is as it was written, 1 it was changed or the signature is wrong, 2 wrong usage.")]
pub struct VerifyArgs {
    /// Report or export.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Public key of minisign: a file, or the key itself.
    #[arg(long, value_name = "FILE|KEY")]
    pub public_key: Option<String>,
    /// The signature. Default: FILE.minisig.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    pub signature: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read.
pub fn run(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let read = |path: &Path| {
        fs::read(path).map_err(|e| Problem::usage(format!("cannot read {}: {e}", path.display())))
    };
    let bytes = read(&args.file)?;
    let name = args.file.display();
    let mut code = match verify::check(&bytes) {
        Verdict::Whole(digest) => {
            writeln!(out, "{name}: as it was written (sha256 {digest})")?;
            0
        }
        Verdict::Changed { found, expected } => {
            writeln!(
                out,
                "{name}: CHANGED since it was written: it says {found} and is {expected}"
            )?;
            1
        }
        Verdict::Unsealed => {
            writeln!(out, "{name}: carries no digest of shadowtap")?;
            1
        }
    };
    if let Some(key) = &args.public_key {
        let beside = || {
            let mut path = args.file.clone().into_os_string();
            path.push(".minisig");
            PathBuf::from(path)
        };
        let path = args.signature.clone().unwrap_or_else(beside);
        let signature = String::from_utf8_lossy(&read(&path)?).into_owned();
        let key = match fs::read_to_string(key) {
            Ok(text) => text,
            Err(_) => key.clone(),
        };
        match verify::signature(&bytes, &key, &signature) {
            Ok(comment) => writeln!(out, "{name}: signature fits; trusted comment: {comment}")?,
            Err(why) => {
                writeln!(out, "{name}: SIGNATURE does not hold: {why}")?;
                code = 1;
            }
        }
    }
    out.flush().context("cannot write")?;
    Ok(code)
}
