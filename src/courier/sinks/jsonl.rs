//! Alerts as JSON lines into a file or to standard output.
//!
//! In: batches of the outbox. Out: one line an alert, ended by a line feed.
//! Never: a line cut in two, as far as the file tells: a torn last line of ours is taken off
//! before the next is written, since its alert comes again.
//! Limits: reads back at most `TAIL_MAX` bytes of an existing file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::courier::{Sink, SinkError};
use crate::recorder::store::OutboxRow;

/// How far back a torn last line is looked for: far longer than any alert.
const TAIL_MAX: u64 = 1 << 20;

/// Every line of ours begins so; a last line of somebody else's is never cut off.
const OURS: &[u8] = b"{\"schema\":";

/// Writes alerts as JSON lines.
#[derive(Debug)]
pub struct JsonLines<W> {
    name: String,
    out: W,
}

impl JsonLines<File> {
    /// Appends to a file, which is made for its owner alone if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened or mended.
    pub fn append(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        if file.metadata()?.is_file() {
            mend(&mut file)?;
        }
        // The full path, so that the same words in another folder are another sink.
        let whole = std::fs::canonicalize(path)?;
        Ok(Self { name: format!("jsonl:{}", whole.display()), out: file })
    }
}

impl JsonLines<io::Stdout> {
    /// Writes to standard output.
    pub fn stdout() -> Self {
        Self { name: "jsonl:-".to_owned(), out: io::stdout() }
    }
}

/// Somewhere to write, and how to be sure that it arrived.
pub trait Durable: Write {
    /// Returns once what was written outlives this process, and for a file the machine.
    ///
    /// # Errors
    /// If it may be lost.
    fn settle(&mut self) -> io::Result<()>;
}

impl Durable for File {
    fn settle(&mut self) -> io::Result<()> {
        match self.sync_data() {
            // Pipes and devices cannot be synced, and need not be.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            outcome => outcome,
        }
    }
}

impl Durable for io::Stdout {
    fn settle(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl<W: Durable> Sink for JsonLines<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, batch: &[OutboxRow]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for row in batch {
            lines.extend_from_slice(row.payload.as_bytes());
            lines.push(b'\n');
        }
        self.out
            .write_all(&lines)
            .and_then(|()| self.out.settle())
            .map_err(|source| SinkError { sink: self.name.clone(), source })
    }
}

/// Takes off a torn line of ours, or ends somebody else's.
fn mend(file: &mut File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(TAIL_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL_MAX).read_to_end(&mut tail)?;
    if tail.is_empty() || tail.ends_with(b"\n") {
        return Ok(());
    }
    let line = tail.iter().rposition(|&b| b == b'\n').map_or(0, |at| at.saturating_add(1));
    let torn = tail.get(line..).unwrap_or_default();
    // A line shorter than our opening is ours if it is the start of it.
    if torn.starts_with(OURS) || OURS.starts_with(torn) {
        return file.set_len(from.saturating_add(line as u64));
    }
    file.write_all(b"\n")
}
