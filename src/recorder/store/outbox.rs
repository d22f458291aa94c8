//! The outbox: alerts in the order of their commits, and how far each sink has read.
//!
//! In: a sink's name. Out: the alerts that it has not had yet. Never: changes an alert; moves a
//! cursor back; forgets why an alert was put aside.
//! Limits: [`DEAD_LETTERS_MAX`] a sink.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::sql::Count;
use super::{BUSY_TIMEOUT_MS, Error, Store, schema};
use crate::types::Timestamp;

/// Alerts put aside for one sink, the newest: enough to see what is wrong with a receiver.
pub const DEAD_LETTERS_MAX: u64 = 10_000;

/// One alert to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Place in the order; only rises.
    pub seq: u64,
    /// Finding id and revision: the receiver drops what it has already.
    pub event_id: String,
    /// Capture time.
    pub time: Timestamp,
    /// 0 to 10.
    pub severity: u8,
    /// [`crate::recorder::alert::Event`] as one line of JSON.
    pub payload: String,
}

/// An alert that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink.
    pub sink: String,
    /// The alert.
    pub event_id: String,
    /// What the receiver said.
    pub why: String,
}

/// How it goes with a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkState {
    /// The sink.
    pub sink: String,
    /// Alerts that wait for it.
    pub waiting: u64,
    /// Alerts that it took.
    pub delivered: u64,
    /// Alerts put aside.
    pub dead: u64,
    /// Attempts that failed since the last one that did not.
    pub failures: u64,
    /// What the last one said.
    pub trouble: Option<String>,
}

/// The outbox of a store, which may be written by somebody else at the same time.
#[derive(Debug)]
pub struct Outbox<'s>(Link<'s>);

#[derive(Debug)]
enum Link<'s> {
    Own(Connection),
    Shared(&'s Connection),
}

impl Store {
    /// The outbox of this store.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox(Link::Shared(&self.answers.conn))
    }

    /// Puts an event of the sensor itself among the alerts; once it returns, the event is safe.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn post(&mut self, row: &OutboxRow) -> Result<(), Error> {
        self.ready()?;
        self.answers.conn.pragma_update(None, "synchronous", "FULL")?;
        let outcome = self.answers.conn.execute(
            "INSERT INTO outbox (event_id, time, severity, payload) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (event_id) DO NOTHING",
            params![row.event_id, row.time, row.severity, row.payload],
        );
        self.judge(outcome.map(|_| ()).map_err(Error::from))
    }
}

impl Outbox<'static> {
    /// The outbox of the store at `path`, beside its writer.
    ///
    /// # Errors
    /// If there is no store of this version, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
        if schema::application(&conn)? != schema::APPLICATION_ID {
            return Err(Error::NotAStore { path: path.to_owned() });
        }
        let (found, known, path) = (schema::version(&conn)?, schema::known(), path.to_owned());
        match found.cmp(&known) {
            std::cmp::Ordering::Less => Err(Error::Older { path, found, known }),
            std::cmp::Ordering::Greater => Err(Error::Newer { path, found, known }),
            std::cmp::Ordering::Equal => {
                conn.pragma_update(None, "synchronous", "FULL")?;
                Ok(Self(Link::Own(conn)))
            }
        }
    }
}

impl Outbox<'_> {
    fn conn(&self) -> &Connection {
        match &self.0 {
            Link::Own(conn) => conn,
            Link::Shared(conn) => conn,
        }
    }

    /// Alerts behind `seq`, oldest first, at most `max`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn after(&self, seq: u64, max: usize) -> Result<Vec<OutboxRow>, Error> {
        let mut statement = self.conn().prepare_cached(
            "SELECT seq, event_id, time, severity, payload FROM outbox
             WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![Count(seq), Count(max as u64)], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How far a sink has read: 0 if it never did.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn cursor(&self, sink: &str) -> Result<u64, Error> {
        let sql = "SELECT seq FROM sink_cursor WHERE sink = ?1";
        let seq = self.conn().query_row(sql, [sink], |r| r.get::<_, Count>(0));
        Ok(seq.optional()?.map_or(0, |seq| seq.0))
    }

    /// Says that a sink holds everything up to `seq`, `taken` alerts more than before. A cursor
    /// never goes back.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn delivered(&self, sink: &str, seq: u64, taken: u64) -> Result<(), Error> {
        let tx = self.conn().unchecked_transaction()?;
        move_cursor(&tx, sink, seq)?;
        tx.execute(
            "INSERT INTO sink_state VALUES (?1, ?2, 0, NULL)
             ON CONFLICT DO UPDATE SET
                 delivered = delivered + excluded.delivered, failures = 0, trouble = NULL",
            params![sink, Count(taken)],
        )?;
        Ok(tx.commit()?)
    }

    /// Notes that a sink took nothing.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn failed(&self, sink: &str, why: &str) -> Result<(), Error> {
        self.conn().execute(
            "INSERT INTO sink_state VALUES (?1, 0, 1, ?2)
             ON CONFLICT DO UPDATE SET failures = failures + 1, trouble = excluded.trouble",
            params![sink, why],
        )?;
        Ok(())
    }

    /// Puts aside an alert that a sink will never take, and goes on behind it.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn bury(&self, sink: &str, row: &OutboxRow, why: &str) -> Result<(), Error> {
        let tx = self.conn().unchecked_transaction()?;
        tx.execute(
            "INSERT OR REPLACE INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5)",
            params![sink, Count(row.seq), row.event_id, why, row.payload],
        )?;
        tx.execute(
            "DELETE FROM dead_letter WHERE sink = ?1 AND seq NOT IN
                 (SELECT seq FROM dead_letter WHERE sink = ?1 ORDER BY seq DESC LIMIT ?2)",
            params![sink, Count(DEAD_LETTERS_MAX)],
        )?;
        move_cursor(&tx, sink, row.seq)?;
        Ok(tx.commit()?)
    }

    /// Alerts put aside, by sink and order.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        let mut all = self
            .conn()
            .prepare("SELECT sink, event_id, why FROM dead_letter ORDER BY sink, seq")?;
        let rows = all.query_map([], |r| {
            Ok(DeadLetter { sink: r.get(0)?, event_id: r.get(1)?, why: r.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Alerts put aside for one sink, to be tried again.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn buried(&self, sink: &str) -> Result<Vec<OutboxRow>, Error> {
        let mut all = self.conn().prepare(
            "SELECT d.seq, d.event_id, coalesce(o.time, 0), coalesce(o.severity, 0), d.payload
             FROM dead_letter d LEFT JOIN outbox o ON o.seq = d.seq
             WHERE d.sink = ?1 ORDER BY d.seq",
        )?;
        let rows = all.query_map([sink], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// An alert that was put aside was taken after all.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn unbury(&self, sink: &str, seq: u64) -> Result<(), Error> {
        let sql = "DELETE FROM dead_letter WHERE sink = ?1 AND seq = ?2";
        self.conn().execute(sql, params![sink, Count(seq)])?;
        Ok(())
    }

    /// How it goes with every sink that there ever was.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn states(&self) -> Result<Vec<SinkState>, Error> {
        let mut all = self.conn().prepare(
            "SELECT s.sink, coalesce(t.delivered, 0), coalesce(t.failures, 0), t.trouble,
                    (SELECT count(*) FROM outbox WHERE seq > coalesce(c.seq, 0)),
                    (SELECT count(*) FROM dead_letter d WHERE d.sink = s.sink)
             FROM (SELECT sink FROM sink_cursor UNION SELECT sink FROM sink_state) s
             LEFT JOIN sink_state t ON t.sink = s.sink
             LEFT JOIN sink_cursor c ON c.sink = s.sink
             ORDER BY s.sink",
        )?;
        let rows = all.query_map([], |r| {
            Ok(SinkState {
                sink: r.get(0)?,
                delivered: r.get::<_, Count>(1)?.0,
                failures: r.get::<_, Count>(2)?.0,
                trouble: r.get(3)?,
                waiting: r.get::<_, Count>(4)?.0,
                dead: r.get::<_, Count>(5)?.0,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn row(r: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: r.get::<_, Count>(0)?.0,
        event_id: r.get(1)?,
        time: r.get(2)?,
        severity: r.get(3)?,
        payload: r.get(4)?,
    })
}

fn move_cursor(conn: &Connection, sink: &str, seq: u64) -> Result<(), Error> {
    conn.execute(
        "INSERT INTO sink_cursor VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
        params![sink, Count(seq)],
    )?;
    Ok(())
}
