//! The store's files: who may write, who may read, and what is moved aside.
//!
//! Beside `FILE` lie `FILE-wal` and `FILE-shm` (SQLite's), `FILE.lock`, after a migration
//! `FILE.backup-vN`, and after damage `FILE.damaged-N`. All are readable by their owner alone.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::Error;
use super::schema;

/// Read and written by the owner alone: the store names people.
const MODE: u32 = 0o600;

/// First octets of every SQLite file (<https://www.sqlite.org/fileformat.html> §1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Offset of the application id in a SQLite file, big-endian.
const APPLICATION_ID_AT: usize = 68;

/// Length of a SQLite file's header.
const HEAD_BYTES: u64 = 100;

/// Names tried for a damaged store before giving up.
const DAMAGED_MAX: u32 = 1_000;

/// The right to write a store: an advisory lock on a file beside it, which the kernel gives
/// back when the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    store: PathBuf,
    known: bool,
    _file: File,
}

impl Lock {
    /// Takes the lock of the store at `path`.
    pub fn take(path: &Path) -> Result<Lock, Error> {
        let store = resolve(path)?;
        // A device or a pipe is nobody's store, and its rights are not ours to change.
        if std::fs::metadata(&store).is_ok_and(|m| !m.is_file()) {
            return Err(Error::NotAStore { path: store });
        }
        let lock_path = beside(&store, ".lock");
        let known = lock_path.exists();
        let io = |source| Error::File { path: lock_path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&lock_path)
            .map_err(io)?;
        if let Err(e) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK {
                return Err(io(e.into()));
            }
            return Err(Error::Locked { path: store, pid: holder(&mut file) });
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Lock { store, known, _file: file })
    }

    /// Gives the lock back; takes its file away too if there was none before.
    pub fn give_up(self) {
        if !self.known {
            // Left behind it would only mislead: the store was never ours.
            let _ = std::fs::remove_file(beside(&self.store, ".lock"));
        }
    }

    /// The store's file, links followed.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// `true` if the lock file was there before: this program has written the store already.
    pub fn known(&self) -> bool {
        self.known
    }
}

/// Process id that the holder of the lock wrote down.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // A pid has at most ten digits; anything longer is not ours.
    let read = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => pid.to_string(),
        _ => "unknown".to_owned(),
    }
}

/// `true` if a writer has been at this store before.
pub fn is_known(path: &Path) -> bool {
    resolve(path).is_ok_and(|store| beside(&store, ".lock").exists())
}

/// `path` with `suffix` after its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The path as a URI that lets SQLite read it as immutable.
pub fn uri(path: &Path) -> String {
    let octets = path.as_os_str().as_bytes().iter();
    let escaped: String = octets
        .map(|&octet| match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(octet).to_string()
            }
            _ => format!("%{octet:02X}"),
        })
        .collect();
    format!("file:{escaped}?immutable=1")
}

/// Follows links, so that two names of one store meet at one lock.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    match std::fs::canonicalize(path) {
        Ok(resolved) => Ok(resolved),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(p) if !p.as_os_str().is_empty() => p,
                _ => Path::new("."),
            };
            let io = |source| Error::File { path: folder.to_owned(), source };
            let folder = std::fs::canonicalize(folder).map_err(io)?;
            let name =
                path.file_name().ok_or_else(|| Error::NotAStore { path: path.to_owned() })?;
            Ok(folder.join(name))
        }
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// What a file begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is none, or it is empty.
    Nothing,
    /// Our application id.
    Ours,
    /// A SQLite file. Ours looks so too before its first checkpoint.
    Sqlite,
    /// Something else.
    Other,
}

/// Looks at the first octets of the file.
///
/// Done before SQLite opens it: closing a file drops all of a process's POSIX locks on it.
pub fn look(path: &Path) -> Result<Look, Error> {
    let io = |source| Error::File { path: path.to_owned(), source };
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Look::Nothing),
        Err(e) => return Err(io(e)),
    };
    let id = schema::APPLICATION_ID.to_be_bytes();
    Ok(match head.get(APPLICATION_ID_AT..) {
        _ if head.is_empty() => Look::Nothing,
        Some(rest) if rest.starts_with(&id) => Look::Ours,
        _ if head.starts_with(MAGIC) => Look::Sqlite,
        _ => Look::Other,
    })
}

/// Makes the file if there is none, and takes it from everybody but its owner.
pub fn make_private(path: &Path) -> Result<(), Error> {
    let io = |source| Error::File { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io)
        }
        Err(e) => Err(io(e)),
    }
}

/// Renames a damaged store and its WAL; returns where it lies now.
pub fn move_aside(path: &Path) -> Result<PathBuf, Error> {
    let free = (1..=DAMAGED_MAX)
        .map(|n| beside(path, &format!(".damaged-{n}")))
        .find(|aside| !aside.exists())
        .ok_or_else(|| Error::Damaged { path: path.to_owned() })?;
    for suffix in ["", "-wal", "-shm"] {
        let from = beside(path, suffix);
        match std::fs::rename(&from, beside(&free, suffix)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::File { path: from, source: e });
            }
            _ => {}
        }
    }
    sync_folder(path)?;
    Ok(free)
}

/// Makes a rename or a new file in the store's folder outlive a power cut.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let io = |source| Error::File { path: folder.to_owned(), source };
    File::open(folder).and_then(|f| f.sync_all()).map_err(io)
}
