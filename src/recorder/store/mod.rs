//! The store: usage, findings with evidence, coverage and outbox in one SQLite file.
//!
//! In: rows of one input at a time, or of one live batch; each call is one transaction.
//! Out: answers ([`Answers`]), and alerts in the outbox, committed with their findings.
//! Never: half an input; a name that matched nothing beside an actor; a clock of its own.
//! Limits: one writer; [`Options::size_max_bytes`] and [`Retention`] by default.
//! Source: <https://www.sqlite.org/wal.html>, <https://www.sqlite.org/howtocorrupt.html>.

mod alerts;
mod attribute;
mod decisions;
mod error;
mod file;
mod identity;
mod ledger;
mod outbox;
mod queries;
mod retention;
pub mod rows;
pub mod schema;
mod sql;
mod uses;
mod write;

pub use decisions::{Decision, decide};
pub use error::Error;
pub use identity::{DeviceLine, Forgotten, UserLine};
pub use ledger::{Ask, Hunted};
pub use outbox::{DEAD_LETTERS_MAX, DeadLetter, Outbox, OutboxRow, SinkState};
pub use queries::{
    Answers, CandidateLine, CoverageLine, Group, HiddenLine, Judged, Revision, Scope, SeenBy,
    ServiceLine, Summary, Totals,
};
pub use retention::{Retained, Retention};
pub use uses::{Known, Numbered, Presence, Seen, Use};

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::recorder::alert::Rules;
use crate::recorder::identity::Veil;
use crate::recorder::store::rows::{InputRow, InputRows};
use crate::types::Timestamp;

/// Oldest SQLite that does not corrupt a WAL store when a checkpoint meets a write.
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");

/// How long a statement waits for a reader's lock, in milliseconds: longer than any checkpoint of
/// a store within its limits, shorter than a person thinks the program hangs.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// The WAL shrinks to this after a checkpoint, in bytes; a long reader can let it grow.
const WAL_KEPT_BYTES: i64 = 16 << 20;

/// What the store does beyond keeping rows.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a finding becomes an alert.
    pub rules: Rules,
    /// How long rows stay.
    pub retention: Retention,
    /// Size of the database file that [`Store::retain`] keeps to by forgetting the oldest detail,
    /// in bytes. A single batch may go up to half as much again, then it is refused.
    pub size_max_bytes: u64,
    /// How names are stored and leave; `None` leaves a store as it was written last.
    pub veil: Option<Veil>,
}

impl Default for Options {
    /// 2 GiB: about a year of an office of some hundred devices, and no surprise on a small disk.
    fn default() -> Self {
        let (rules, retention) = (Rules::default(), Retention::default());
        Self { rules, retention, size_max_bytes: 2 << 30, veil: None }
    }
}

/// What happened when the store was opened, to be told to whoever opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The store was damaged; it lies here now, and an empty one took its place.
    pub moved_aside: Option<PathBuf>,
    /// The store was brought up to date; the one before lies here.
    pub backup: Option<PathBuf>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Findings that are new, changed or gone.
    pub findings_changed: u64,
    /// Alerts put into the outbox.
    pub alerts: u64,
}

/// The store, open for writing. There is one at a time for a file.
#[derive(Debug)]
pub struct Store {
    // Before the lock, so that the connection closes while the lock is still held.
    answers: Answers,
    lock: Option<file::Lock>,
    options: Options,
    opened: Opened,
    /// The last write failed in a way after which the connection is not believed.
    suspect: bool,
    /// Day of sensor time on which the file was last written anew.
    rebuilt: Option<u64>,
}

impl Store {
    /// Opens the store at `path`, makes it if there is none, and brings it up to date.
    ///
    /// # Errors
    /// If another process writes it, a newer program wrote it, it is no store, or the disk refuses.
    pub fn open(path: &Path, options: Options) -> Result<Store, Error> {
        require_sqlite()?;
        let lock = file::Lock::take(path)?;
        let (conn, opened) = match open_checked(&lock, &options) {
            Ok(open) => open,
            Err(e) => {
                if matches!(e, Error::NotAStore { .. } | Error::File { .. }) {
                    lock.give_up();
                }
                return Err(e);
            }
        };
        let veil = veil_of(&conn, options.veil.as_ref())?;
        let answers = Answers { conn, veil };
        Ok(Store { answers, lock: Some(lock), options, opened, suspect: false, rebuilt: None })
    }

    /// A store for one run, gone when it is dropped; all else is as with a file.
    ///
    /// # Errors
    /// If memory is out or the linked SQLite is too old.
    pub fn open_memory(options: Options) -> Result<Store, Error> {
        require_sqlite()?;
        let mut conn = Connection::open_in_memory()?;
        configure(&conn, &options)?;
        schema::migrate(&mut conn, None, schema::MIGRATIONS)?;
        note_mode(&conn, &options)?;
        let (opened, veil) = (Opened::default(), veil_of(&conn, options.veil.as_ref())?);
        let answers = Answers { conn, veil };
        Ok(Store { answers, lock: None, options, opened, suspect: false, rebuilt: None })
    }

    /// What happened at opening.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The questions that can be put to the store.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Puts the rows of a whole input in place of those it had before, in one transaction.
    ///
    /// Findings that did not change keep their revision and raise no alert again; those that are
    /// no longer found get a last revision that says so.
    ///
    /// # Errors
    /// If the store could not take them all; then it holds what it held before. The call may be
    /// made again if [`Error::is_retryable`].
    pub fn commit_input(&mut self, input: &InputRow, rows: &InputRows) -> Result<Committed, Error> {
        self.write(input, rows, write::Mode::Replace)
    }

    /// Adds a live batch to what its input (sensor and epoch) holds already, in one transaction.
    ///
    /// # Errors
    /// As [`Store::commit_input`]: all of the batch or nothing.
    pub fn append(&mut self, epoch: &InputRow, rows: &InputRows) -> Result<Committed, Error> {
        self.write(epoch, rows, write::Mode::Add)
    }

    /// Tells at once what waits for the end of its day: no more comes. Returns how many alerts
    /// that makes.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn flush_alerts(&mut self) -> Result<u64, Error> {
        self.ready()?;
        let Answers { conn, veil } = &mut self.answers;
        let outcome = write::flush(conn, &self.options.rules, veil);
        self.judge(outcome)
    }

    /// Forgets what is older than its table's days before `now`, then the oldest detail until the
    /// file keeps to its size; what is forgotten is overwritten, and counted in coverage.
    ///
    /// `now` is capture time. One pass forgets at most a tenth of a table, so that one wrong clock
    /// costs little; [`Retained::more`] says that another pass would find more.
    ///
    /// # Errors
    /// If the store cannot be written; what was forgotten before that stays forgotten.
    pub fn retain(&mut self, now: Timestamp) -> Result<Retained, Error> {
        self.ready()?;
        let outcome = retention::retain(
            &mut self.answers.conn,
            &self.options.retention,
            self.options.size_max_bytes,
            now,
            &mut self.rebuilt,
        );
        self.judge(outcome)
    }

    fn write(
        &mut self,
        input: &InputRow,
        rows: &InputRows,
        mode: write::Mode,
    ) -> Result<Committed, Error> {
        self.ready()?;
        let Answers { conn, veil } = &mut self.answers;
        let outcome = write::write(conn, &self.options.rules, veil, input, rows, mode);
        self.judge(outcome)
    }

    /// Opens the connection anew if the last failure left it in doubt.
    fn ready(&mut self) -> Result<(), Error> {
        if let (true, Some(lock)) = (self.suspect, &self.lock) {
            // The old connection must be gone first: its close may still write.
            self.answers.conn = Connection::open_in_memory()?;
            let (conn, opened) = open_checked(lock, &self.options)?;
            self.answers.conn = conn;
            self.opened = opened;
            self.suspect = false;
        }
        Ok(())
    }

    fn judge<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(e) = &outcome {
            self.suspect |= e.is_suspect();
        }
        outcome
    }
}

impl Answers {
    /// Opens a store for reading only, while another process may be writing it.
    ///
    /// # Errors
    /// If there is none, it is damaged, no store, or of another schema version.
    pub fn open(path: &Path) -> Result<Answers, Error> {
        Self::open_under(path, None)
    }

    /// The same under a veil. Whatever it is, names leave no clearer than the store's own mode
    /// allows; without its key, under pseudonyms of this reader alone.
    ///
    /// # Errors
    /// As [`Answers::open`].
    pub fn open_under(path: &Path, veil: Option<&Veil>) -> Result<Answers, Error> {
        require_sqlite()?;
        let at = || path.to_owned();
        std::fs::metadata(path).map_err(|source| Error::File { path: at(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let checked = (|| -> Result<_, Error> {
            let conn = open_to_read(path, flags)?;
            let identity = (schema::application(&conn)?, schema::version(&conn)?);
            Ok((conn, identity))
        })();
        let known = schema::known();
        match checked {
            Err(e) if e.is_damage() && file::is_known(path) => Err(Error::Damaged { path: at() }),
            Err(e) if e.is_damage() => Err(Error::NotAStore { path: at() }),
            Err(e) => Err(e),
            Ok((_, (id, _))) if id != schema::APPLICATION_ID => {
                Err(Error::NotAStore { path: at() })
            }
            Ok((_, (_, found))) if found > known => Err(Error::Newer { path: at(), found, known }),
            Ok((_, (_, found))) if found < known => Err(Error::Older { path: at(), found, known }),
            Ok((conn, _)) => {
                let veil = veil_of(&conn, veil)?;
                Ok(Answers { conn, veil })
            }
        }
    }
}

/// How names leave a store.
fn veil_of(conn: &Connection, asked: Option<&Veil>) -> Result<Veil, Error> {
    let random = |e: std::io::Error| Error::Value(format!("no random numbers: {e}"));
    Veil::for_reader(identity::mode(conn)?, asked).map_err(random)
}

/// Notes in the store under which mode it is written from now on.
fn note_mode(conn: &Connection, options: &Options) -> Result<(), Error> {
    match options.veil.as_ref().map(Veil::mode) {
        None => Ok(()),
        Some(mode) => identity::set_mode(conn, mode),
    }
}

/// A store in a folder that cannot be written, and that no writer left open, has no shared
/// memory file and cannot get one; as nobody can write it, it may be read as immutable.
fn open_to_read(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    let needs_shared_memory = matches!(
        schema::version(&conn),
        Err(Error::Sqlite(e)) if matches!(
            e.sqlite_error_code(),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
        )
    );
    if !needs_shared_memory || file::beside(path, "-wal").exists() {
        return Ok(conn);
    }
    let uri = file::uri(path);
    Ok(Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?)
}

fn require_sqlite() -> Result<(), Error> {
    if rusqlite::version_number() < SQLITE_NEEDED.0 {
        let found = rusqlite::version().to_owned();
        return Err(Error::SqliteTooOld { found, needed: SQLITE_NEEDED.1 });
    }
    Ok(())
}

/// Opens and checks; a damaged store is moved aside and an empty one takes its place.
fn open_checked(lock: &file::Lock, options: &Options) -> Result<(Connection, Opened), Error> {
    let path = lock.store();
    let mut opened = Opened::default();
    match (file::look(path)?, lock.known()) {
        (file::Look::Other, true) => opened.moved_aside = Some(file::move_aside(path)?),
        (file::Look::Other | file::Look::Sqlite, false) => {
            return Err(Error::NotAStore { path: path.to_owned() });
        }
        _ => {}
    }
    let (conn, backup) = match open_file(path, options) {
        Err(e) if e.is_damage() || matches!(e, Error::Damaged { .. }) => {
            opened.moved_aside = Some(file::move_aside(path)?);
            open_file(path, options)?
        }
        other => other?,
    };
    opened.backup = backup;
    if let Some(aside) = &opened.moved_aside {
        tracing::error!(
            store = %path.display(), kept_as = %aside.display(),
            "the store was damaged; it was moved aside and an empty one took its place"
        );
    }
    Ok((conn, opened))
}

fn open_file(path: &Path, options: &Options) -> Result<(Connection, Option<PathBuf>), Error> {
    file::make_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    if !schema::is_empty(&conn)? {
        schema::quick_check(&conn, path)?;
        let (application, version) = (schema::application(&conn)?, schema::version(&conn)?);
        if application != schema::APPLICATION_ID {
            return Err(Error::Damaged { path: path.to_owned() });
        }
        if version > schema::known() {
            let (path, known) = (path.to_owned(), schema::known());
            return Err(Error::Newer { path, found: version, known });
        }
    }
    configure(&conn, options)?;
    let backup = schema::migrate(&mut conn, Some(path), schema::MIGRATIONS)?;
    note_mode(&conn, options)?;
    Ok((conn, backup))
}

/// Settings of a connection that writes. The first two only take effect on an empty file.
fn configure(conn: &Connection, options: &Options) -> Result<(), Error> {
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // What is forgotten is overwritten with zeros, and sorting never spills to disk.
    conn.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    conn.pragma_update(None, "cell_size_check", "ON")?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))?;
    let page_bytes = conn.pragma_query_value(None, "page_size", |r| r.get::<_, sql::Count>(0))?.0;
    let hard_max = options.size_max_bytes.saturating_add(options.size_max_bytes / 2);
    let pages = hard_max.checked_div(page_bytes).unwrap_or(u64::MAX).clamp(1, 1 << 31);
    conn.pragma_update_and_check(None, "max_page_count", sql::Count(pages), |_| Ok(()))?;
    Ok(())
}
