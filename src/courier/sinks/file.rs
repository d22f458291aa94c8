//! Alerts as lines into a file or to standard output.
//!
//! In: batches of the outbox. Out: one line an alert, ended by a line feed; a file that has grown
//! past its size becomes `FILE.1`, the one before `FILE.2`, and so on.
//! Never: a line cut in two, as far as the file tells: a torn last line of ours is taken off
//! before the next is written, since its alert comes again. Writes into a file that somebody
//! else moved away: it is opened anew by its name.
//! Limits: reads back at most [`TAIL_MAX`] bytes of an existing file; keeps [`Rotation::keep`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::courier::shape::Shape;
use crate::courier::{Delivering, Sink, Undelivered};
use crate::recorder::store::OutboxRow;

/// How far back a torn last line is looked for: far longer than any alert.
const TAIL_MAX: u64 = 1 << 20;

/// Every line of ours begins with one of these: JSON in any shape, or CEF. A last line of somebody
/// else's that is none of them is never cut off.
const OURS: [&[u8]; 2] = [b"{\"", b"CEF:"];

/// When a file is put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes from which on it is; 0 for never.
    pub bytes: u64,
    /// Earlier files that are kept.
    pub keep: u32,
}

/// Writes alerts as lines.
#[derive(Debug)]
pub struct Lines {
    name: String,
    shape: Option<Shape>,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Stdout,
    File { path: PathBuf, file: File, rotation: Option<Rotation> },
}

impl Lines {
    /// Appends to a file in the native shape, which is made for its owner alone if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened or mended.
    pub fn append(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // The full path, so that the same words in another folder are another sink.
        let whole = std::fs::canonicalize(path)?;
        let name = format!("jsonl:{}", whole.display());
        Ok(Self { name, shape: None, out: Out::File { path: whole, file, rotation: None } })
    }

    /// Appends to a file that is put aside when it has grown.
    ///
    /// # Errors
    /// If the file cannot be opened or mended.
    pub fn rotating(name: &str, path: &Path, shape: Shape, rotation: Rotation) -> io::Result<Self> {
        let (file, path) = (open(path)?, path.to_owned());
        let out = Out::File { path, file, rotation: Some(rotation) };
        Ok(Self { name: name.to_owned(), shape: Some(shape), out })
    }

    /// Writes to standard output in the native shape.
    pub fn stdout() -> Self {
        Self { name: "jsonl:-".to_owned(), shape: None, out: Out::Stdout }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout => {
                let mut out = io::stdout();
                out.write_all(lines)?;
                out.flush()
            }
            Out::File { path, file, rotation } => {
                if let Some(rotation) = rotation {
                    reopen_if_moved(path, file)?;
                    let len = file.metadata()?.len();
                    let grown = len.saturating_add(lines.len() as u64) > rotation.bytes;
                    if rotation.bytes > 0 && len > 0 && grown {
                        rotate(path, rotation.keep)?;
                        *file = open(path)?;
                    }
                }
                file.write_all(lines)?;
                settle(file)
            }
        }
    }
}

impl Sink for Lines {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        Box::pin(async move {
            let mut lines = Vec::new();
            for (at, row) in batch.iter().enumerate() {
                match &self.shape {
                    None => lines.extend_from_slice(row.payload.as_bytes()),
                    Some(shape) => match shape.render(&row.payload) {
                        Ok(line) => lines.extend_from_slice(line.as_bytes()),
                        Err(e) => {
                            self.write(&lines).map_err(|e| Undelivered::later(0, e.to_string()))?;
                            return Err(Undelivered::refused(at, e.to_string()));
                        }
                    },
                }
                lines.push(b'\n');
            }
            self.write(&lines).map_err(|e| Undelivered::later(0, e.to_string()))
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        mend(&mut file)?;
    }
    Ok(file)
}

/// A file that another program rotated is no longer the one of this name.
fn reopen_if_moved(path: &Path, file: &mut File) -> io::Result<()> {
    let ours = file.metadata()?;
    let there = std::fs::metadata(path);
    if !there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
        *file = open(path)?;
    }
    Ok(())
}

/// `FILE` to `FILE.1`, `FILE.1` to `FILE.2`, the last one away.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        match std::fs::rename(numbered(n), numbered(n.saturating_add(1))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(1))
}

/// Returns once what was written outlives this process, and for a file the machine.
fn settle(file: &File) -> io::Result<()> {
    match file.sync_data() {
        // Pipes and devices cannot be synced, and need not be.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
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
    // A line shorter than our opening is ours if it is the start of it; a whole one only lacks its end.
    let ours = OURS.iter().any(|ours| torn.starts_with(ours) || ours.starts_with(torn));
    if ours && serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_err() {
        return file.set_len(from.saturating_add(line as u64));
    }
    file.write_all(b"\n")
}
