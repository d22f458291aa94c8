//! What can go wrong with the store, and what the caller can do about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the store did not do what it was asked. Nothing is half written in any case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process writes this store.
    #[error("{path}: process {pid} is writing this store; wait for it, or name another store")]
    Locked {
        /// The store.
        path: PathBuf,
        /// Process id that holds the lock, `unknown` if it did not say.
        pid: String,
    },
    /// A later version wrote this store.
    #[error(
        "{path}: this store has schema {found}, and this program knows {known}; use the newer program"
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Schema version of the store.
        found: i64,
        /// Highest schema version known here.
        known: i64,
    },
    /// An earlier version wrote this store, and it was opened for reading only.
    #[error(
        "{path}: this store has schema {found}, older than {known}; scan into it once to bring it up to date"
    )]
    Older {
        /// The store.
        path: PathBuf,
        /// Schema version of the store.
        found: i64,
        /// Highest schema version known here.
        known: i64,
    },
    /// The file is something else.
    #[error("{path}: not a shadowtap store; it was left as it is")]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// The file is a damaged store, and it was opened for reading only.
    #[error("{path}: this store is damaged; the next scan into it moves it aside and starts anew")]
    Damaged {
        /// The store.
        path: PathBuf,
    },
    /// The copy that a migration wants first could not be made or did not prove equal.
    #[error("{path}: no backup before the migration, so it was not begun: {why}")]
    Backup {
        /// Where the copy was to be.
        path: PathBuf,
        /// What failed.
        why: String,
    },
    /// The linked SQLite may corrupt what it writes.
    #[error("SQLite {found} can corrupt a store; {needed} or later is needed")]
    SqliteTooOld {
        /// Version linked.
        found: String,
        /// Oldest version that will do.
        needed: &'static str,
    },
    /// The disk or the store's size limit is full.
    #[error("no room left for the store; nothing of this batch was written")]
    Full,
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// File concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A stored value is none that this program writes.
    #[error("the store holds a value that makes no sense: {0}")]
    Value(String),
    /// Anything else that SQLite says.
    #[error("store: {0}")]
    Sqlite(rusqlite::Error),
}

impl Error {
    /// `true` if the same call can succeed later without anybody changing the program.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Full | Error::File { .. } => true,
            Error::Sqlite(e) => matches!(
                e.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::CannotOpen
                        | ErrorCode::OutOfMemory
                )
            ),
            _ => false,
        }
    }

    /// `true` if the connection can no longer be believed: it is opened and checked anew before
    /// the next write. After a failed sync nobody knows what reached the disk.
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self, Error::Sqlite(e) if matches!(
            e.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ))
    }

    /// `true` if SQLite found the file itself broken.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Error::Sqlite(e) if matches!(
            e.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full,
            _ => Error::Sqlite(e),
        }
    }
}
