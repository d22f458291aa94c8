//! The ledger in the store: rows by input and day, their key beside the store, and the hunt.
//!
//! The key lies in `FILE.ledger-key`, readable by the owner alone, and not in a table: a copy of
//! the store (a backup, a mail to somebody who helps) then holds no name that could be guessed.
//! Whoever loses the key loses the ledger's past, and nothing else: rows of a key that is gone are
//! deleted, and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use super::sql::{COUNT_MAX, Count};
use super::write::Writer;
use super::{Answers, Error, Store, file};
use crate::recorder::ledger::{
    HostHash, KEY_BYTES, LedgerDay, LedgerKey, ShortHash, Sketch, short,
};

/// Name of the key's file behind that of the store.
const KEY_SUFFIX: &str = ".ledger-key";

/// Where keys come from.
const CHANCE: &str = "/dev/urandom";

/// Readable by its owner alone.
const MODE: u32 = 0o600;

/// Row of `counter` for rows whose key is gone.
const KEY_GONE: &str = "ledger_rows_without_key";

/// First and last day (days since 1970-01-01) that the ledger has.
pub type Days = (u32, u32);

/// Something that the ledger is asked for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// These names.
    pub names: Vec<HostHash>,
    /// Everything below these.
    pub below: Vec<HostHash>,
    /// But not these names.
    pub but_names: Vec<HostHash>,
    /// Nor anything below these.
    pub but_below: Vec<HostHash>,
}

/// What the ledger knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hunted {
    /// First day, in days since the epoch.
    pub first_day: u32,
    /// Last day.
    pub last_day: u32,
    /// Days on which it was seen.
    pub days: u64,
    /// Payload bytes from clients.
    pub bytes_up: u64,
    /// Payload bytes to clients.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// What gave the names, a bit each.
    pub evidence: u32,
    /// Devices, about: the most that one name had, as devices are counted by name.
    pub devices: u64,
    /// Different names.
    pub names: u64,
}

impl Store {
    /// The key of the ledger, made if need be. `None` where nothing outlives the run, and where the
    /// ledger is switched off: then what it held goes too.
    ///
    /// # Errors
    /// If the key cannot be read or written, or the store not be written.
    pub fn ledger_key(&mut self) -> Result<Option<LedgerKey>, Error> {
        let Some(lock) = &self.lock else { return Ok(None) };
        let path = file::beside(lock.store(), KEY_SUFFIX);
        let conn = &self.answers.conn;
        if self.options.retention.ledger_days == 0 {
            conn.execute("DELETE FROM ledger", [])?;
            conn.execute("DELETE FROM ledger_key", [])?;
            return match std::fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    Err(Error::File { path, source })
                }
                _ => Ok(None),
            };
        }
        let key = match read_key(&path)? {
            Some(key) => key,
            None => make_key(path)?,
        };
        if self.answers.ledger_fits(&key)? != Some(true) {
            let gone = conn.execute("DELETE FROM ledger", [])?;
            conn.execute("DELETE FROM ledger_key", [])?;
            conn.execute("INSERT INTO ledger_key VALUES (?1)", [signed(key.fingerprint())])?;
            if gone > 0 {
                conn.execute(
                    "INSERT INTO counter VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    params![KEY_GONE, Count(gone as u64)],
                )?;
            }
        }
        Ok(Some(key))
    }
}

impl Store {
    /// The key under which devices at candidates are hashed: the ledger's, or where nothing stays,
    /// one that nobody will know.
    ///
    /// # Errors
    /// If none can be made.
    pub fn device_key(&mut self) -> Result<Option<LedgerKey>, Error> {
        match &self.lock {
            Some(_) => self.ledger_key(),
            None => chance()
                .map(|octets| Some(LedgerKey::new(octets)))
                .map_err(|source| Error::File { path: PathBuf::from(CHANCE), source }),
        }
    }
}

impl Answers {
    /// The key of the ledger of the store at `path`; `None` if there is none.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn ledger_key(path: &Path) -> Result<Option<LedgerKey>, Error> {
        let store = std::fs::canonicalize(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        read_key(&file::beside(&store, KEY_SUFFIX))
    }

    /// `true` if the rows were hashed under this key; `None` if there are no rows yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn ledger_fits(&self, key: &LedgerKey) -> Result<Option<bool>, Error> {
        let mut find = self.conn.prepare("SELECT fingerprint FROM ledger_key")?;
        let found: Option<i64> = find.query_row([], |r| r.get(0)).optional()?;
        Ok(found.map(|fingerprint| fingerprint == signed(key.fingerprint())))
    }

    /// What the ledger knows of each ask, in one walk over it; and its first and last day.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn hunt(&self, asks: &[Ask]) -> Result<(Vec<Hunted>, Option<Days>), Error> {
        let mut found: Vec<Hunting> = asks.iter().map(|_| Hunting::default()).collect();
        let wanted = Wanted::of(asks);
        let mut fitting = Vec::new();
        let mut span: Option<Days> = None;
        let mut walk = self.conn.prepare(
            "SELECT day, host, above, bytes_up, bytes_down, flows, evidence, devices FROM ledger",
        )?;
        let mut rows = walk.query([])?;
        while let Some(r) = rows.next()? {
            let row = LedgerDay {
                day: r.get(0)?,
                host: r.get::<_, i64>(1)?.cast_unsigned(),
                above: r.get(2)?,
                bytes_up: r.get::<_, Count>(3)?.0,
                bytes_down: r.get::<_, Count>(4)?.0,
                flows: r.get::<_, Count>(5)?.0,
                evidence: r.get(6)?,
                devices: Sketch::from_bytes(r.get_ref(7)?.as_blob().unwrap_or_default()),
            };
            span = Some(span.map_or((row.day, row.day), |(first, last)| {
                (first.min(row.day), last.max(row.day))
            }));
            fitting.clear();
            wanted.by(&row, &mut fitting);
            for &at in &fitting {
                if let (Some(ask), Some(found)) = (asks.get(at), found.get_mut(at))
                    && !ask.bars(&row)
                {
                    found.add(&row);
                }
            }
        }
        Ok((found.into_iter().map(Hunting::finish).collect(), span))
    }
}

impl Ask {
    /// `true` for a row that the ask leaves to another.
    fn bars(&self, row: &LedgerDay) -> bool {
        self.but_names.contains(&row.host) || self.but_below.iter().any(|n| row.is_below(*n))
    }
}

/// Which asks want a name, and what lies below it: a walk with thousands of asks, as of a whole
/// catalogue, looks only at those that a row may be for.
#[derive(Default)]
struct Wanted {
    names: HashMap<HostHash, Vec<usize>>,
    below: HashMap<ShortHash, Vec<usize>>,
}

impl Wanted {
    fn of(asks: &[Ask]) -> Self {
        let mut wanted = Self::default();
        for (at, ask) in asks.iter().enumerate() {
            for name in &ask.names {
                wanted.names.entry(*name).or_default().push(at);
            }
            for name in &ask.below {
                wanted.below.entry(short(*name)).or_default().push(at);
            }
        }
        wanted
    }

    /// The asks that want a row, each once.
    fn by(&self, row: &LedgerDay, fitting: &mut Vec<usize>) {
        fitting.extend(self.names.get(&row.host).into_iter().flatten());
        for parent in row.parents() {
            fitting.extend(self.below.get(&parent).into_iter().flatten());
        }
        fitting.sort_unstable();
        fitting.dedup();
    }
}

/// What grows while the ledger is walked.
#[derive(Default)]
struct Hunting {
    total: Hunted,
    days: BTreeSet<u32>,
    devices: HashMap<HostHash, Sketch>,
}

impl Hunting {
    fn add(&mut self, row: &LedgerDay) {
        self.days.insert(row.day);
        self.total.bytes_up = self.total.bytes_up.saturating_add(row.bytes_up);
        self.total.bytes_down = self.total.bytes_down.saturating_add(row.bytes_down);
        self.total.flows = self.total.flows.saturating_add(row.flows);
        self.total.evidence |= row.evidence;
        self.devices.entry(row.host).or_default().merge(&row.devices);
    }

    fn finish(self) -> Hunted {
        let devices = self.devices.values().map(Sketch::estimate).max().unwrap_or(0);
        Hunted {
            first_day: self.days.first().copied().unwrap_or(0),
            last_day: self.days.last().copied().unwrap_or(0),
            days: self.days.len() as u64,
            devices,
            names: self.devices.len() as u64,
            ..self.total
        }
    }
}

impl Writer<'_> {
    /// Puts rows in, in the order of their key, so that pages fill up; equal keys add up.
    pub(super) fn ledger(&self, input: i64, rows: &[LedgerDay]) -> Result<(), Error> {
        let mut sorted: BTreeMap<(u32, i64), LedgerDay> = BTreeMap::new();
        for row in rows {
            let key = (row.day, signed(row.host));
            match sorted.get_mut(&key) {
                Some(known) => add(known, row),
                None => drop(sorted.insert(key, row.clone())),
            }
        }
        let mut find = self.tx.prepare_cached(
            "SELECT bytes_up, bytes_down, flows, evidence, devices FROM ledger
             WHERE input = ?1 AND day = ?2 AND host = ?3",
        )?;
        let mut put = self.tx.prepare_cached(
            "INSERT OR REPLACE INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for ((day, host), mut row) in sorted {
            let stored = find.query_row(params![input, day, host], |r| {
                Ok(LedgerDay {
                    bytes_up: r.get::<_, Count>(0)?.0,
                    bytes_down: r.get::<_, Count>(1)?.0,
                    flows: r.get::<_, Count>(2)?.0,
                    evidence: r.get(3)?,
                    devices: Sketch::from_bytes(r.get_ref(4)?.as_blob().unwrap_or_default()),
                    ..row.clone()
                })
            });
            if let Some(stored) = stored.optional()? {
                add(&mut row, &stored);
            }
            put.execute(params![
                input,
                day,
                host,
                row.above,
                Count(row.bytes_up.min(COUNT_MAX)),
                Count(row.bytes_down.min(COUNT_MAX)),
                Count(row.flows.min(COUNT_MAX)),
                row.evidence,
                row.devices.to_bytes(),
            ])?;
        }
        Ok(())
    }
}

fn add(to: &mut LedgerDay, more: &LedgerDay) {
    to.bytes_up = to.bytes_up.saturating_add(more.bytes_up);
    to.bytes_down = to.bytes_down.saturating_add(more.bytes_down);
    to.flows = to.flows.saturating_add(more.flows);
    to.evidence |= more.evidence;
    to.devices.merge(&more.devices);
}

/// SQLite's integers have a sign.
fn signed(hash: u64) -> i64 {
    hash.cast_signed()
}

fn read_key(path: &Path) -> Result<Option<LedgerKey>, Error> {
    let io = |source| Error::File { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let mut octets = [0; KEY_BYTES];
    match file.read_exact(&mut octets) {
        Ok(()) => Ok(Some(LedgerKey::new(octets))),
        // Cut short: as good as none.
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(io(e)),
    }
}

/// Makes a key of the system's chance and keeps it where only its owner reads it.
fn chance() -> std::io::Result<[u8; KEY_BYTES]> {
    let mut octets = [0; KEY_BYTES];
    File::open(CHANCE).and_then(|mut chance| chance.read_exact(&mut octets))?;
    Ok(octets)
}

fn make_key(path: PathBuf) -> Result<LedgerKey, Error> {
    let made = chance();
    let kept = made.and_then(|octets| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&path)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.write_all(&octets)?;
        file.sync_all()?;
        Ok(octets)
    });
    match kept {
        Ok(octets) => Ok(LedgerKey::new(octets)),
        Err(source) => Err(Error::File { path, source }),
    }
}
