//! `shadowtap audit verify`: the record of who saw real names, and whether it is whole.
//!
//! In: entries, one at a time. Out: lines of JSON, each with the hash of the one before it, so
//! that none can be changed, left out or put in without the rest showing it.
//! Never: holds the name that was revealed; changes a line.
//! Limits: [`LINE_MAX`] octets a line. The last lines can be cut off unseen unless the last hash
//! is kept elsewhere: `audit verify` prints it for that.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::recorder::alert::rfc3339;
use crate::types::Timestamp;

/// Longest line believed in; purposes are sentences.
const LINE_MAX: usize = 64 << 10;

/// Hash before the first line.
const BEGINNING: &str = "begin";

/// Check the record of who saw real names.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What to do with the record.
#[derive(Subcommand, Clone, Debug)]
pub enum AuditCommand {
    /// Check that no line was changed, left out or put in
    Verify(VerifyArgs),
}

/// Arguments of `audit verify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Prints the number of records and the hash of the last: kept elsewhere, it proves later that none
were cut off. With --expect that hash must be among them.

Exit codes: 0 whole, 1 changed or not readable.")]
pub struct VerifyArgs {
    /// The record, such as ai.db.audit.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A hash that was printed before.
    #[arg(long, value_name = "HASH")]
    pub expect: Option<String>,
}

/// Something that goes on record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was done: `reveal`, `forget`.
    pub action: &'static str,
    /// Who did it.
    pub by: String,
    /// Who agreed.
    pub witness: Option<String>,
    /// What for.
    pub purpose: String,
    /// Whom or what it was about, without a name.
    pub about: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    time: String,
    action: String,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<String>,
    purpose: String,
    about: String,
    before: String,
    hash: String,
}

impl Line {
    fn hash_of(&self) -> String {
        // Each part behind its length, so that nothing can move from one to the next.
        let mut hasher = blake3::Hasher::new_derive_key("shadowtap audit record 1");
        let witness = self.witness.as_deref().unwrap_or_default();
        let number = self.number.to_string();
        for part in [
            &*number,
            &self.time,
            &self.action,
            &self.by,
            witness,
            &self.purpose,
            &self.about,
            &self.before,
        ] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Where the record of a store is.
pub fn path(asked: Option<&PathBuf>, store: &Path) -> PathBuf {
    asked.cloned().unwrap_or_else(|| {
        let mut name = store.as_os_str().to_owned();
        name.push(".audit");
        PathBuf::from(name)
    })
}

/// A word for something that must not stand in the record itself; whoever knows it can check.
pub fn digest(text: &str) -> String {
    let hash = blake3::Hasher::new_derive_key("shadowtap audit subject 1")
        .update(text.as_bytes())
        .finalize();
    hash.to_hex().chars().take(16).collect()
}

/// Puts an entry behind the others.
///
/// # Errors
/// If the record cannot be written, or is not whole: nobody sees names that leave no trace.
pub fn append(path: &Path, entry: &Entry) -> anyhow::Result<()> {
    if entry.by.trim().is_empty() || entry.purpose.trim().is_empty() {
        bail!(super::Problem::usage("--purpose and --by must say something"));
    }
    let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let mut file = open.with_context(|| format!("cannot write {}", path.display()))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    let (count, before) = check(&file, None)?;
    let mut line = Line {
        number: count + 1,
        time: rfc3339(now()),
        action: entry.action.to_owned(),
        by: entry.by.clone(),
        witness: entry.witness.clone(),
        purpose: entry.purpose.clone(),
        about: entry.about.clone(),
        before,
        hash: String::new(),
    };
    line.hash = line.hash_of();
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    Ok(())
}

/// Runs the command.
///
/// # Errors
/// If the record is not whole or cannot be read.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let AuditCommand::Verify(VerifyArgs { file, expect }) = &args.command;
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (count, last) = check(&opened, expect.as_deref())?;
    writeln!(out, "{count} records, whole; the last is {last}")?;
    Ok(0)
}

/// How many lines there are and the hash of the last.
fn check(file: &File, expected: Option<&str>) -> anyhow::Result<(u64, String)> {
    let (mut count, mut before) = (0, BEGINNING.to_owned());
    let mut seen = expected.is_none();
    let mut reader = BufReader::new(file);
    loop {
        let mut bytes = Vec::new();
        let read = (&mut reader).take(LINE_MAX as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        let number = count + 1;
        let line: Line = serde_json::from_slice(&bytes)
            .with_context(|| format!("record {number} cannot be read"))?;
        if line.number != number || line.before != before || line.hash != line.hash_of() {
            bail!("record {number} was changed, or one before it is missing");
        }
        seen |= expected == Some(&*line.hash);
        (count, before) = (number, line.hash);
    }
    if !seen {
        bail!("no record has the hash that was expected: some were cut off");
    }
    Ok((count, before))
}

/// Wall time: a record of people's doings is no function of a capture.
fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Timestamp(seconds.saturating_mul(Timestamp::SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(purpose: &str) -> Entry {
        Entry {
            action: "reveal",
            by: "D. Officer".to_owned(),
            witness: None,
            purpose: purpose.to_owned(),
            about: digest("192.0.2.7"),
        }
    }

    #[test]
    fn a_chain_shows_what_was_done_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.audit");
        for n in 0..4 {
            append(&path, &entry(&format!("case {n}"))).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        let verify = |text: &str, expect: Option<String>| {
            let other = dir.path().join("b.audit");
            std::fs::write(&other, text).unwrap();
            let command = AuditCommand::Verify(VerifyArgs { file: other, expect });
            run(&AuditArgs { command }, &mut Vec::new()).is_ok()
        };
        assert!(verify(&whole, None));
        let lines: Vec<&str> = whole.lines().collect();
        let joined = |lines: &[&str]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
        assert!(!verify(&whole.replace("case 2", "case 9"), None), "changed");
        assert!(!verify(&joined(&[lines[0], lines[2], lines[3]]), None), "left out");
        assert!(!verify(&joined(&[lines[1], lines[0], lines[2]]), None), "in another order");
        let last: Line = serde_json::from_str(lines[3]).unwrap();
        assert!(verify(&whole, Some(last.hash.clone())));
        assert!(!verify(&joined(&lines[..3]), Some(last.hash)), "cut off");
        assert!(append(&path, &entry(" ")).is_err(), "no purpose, no names");
        std::fs::write(&path, whole.replace("case 2", "case 9")).unwrap();
        assert!(append(&path, &entry("x")).is_err(), "nothing goes behind a broken chain");
    }
}
