//! The outbox: alerts in the order of their commits, and how far each sink has read.

use rusqlite::{OptionalExtension, params};

use super::sql::Count;
use super::{Error, Store};
use crate::types::Timestamp;

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

impl Store {
    /// Alerts behind `seq`, oldest first, at most `max`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn outbox_after(&self, seq: u64, max: usize) -> Result<Vec<OutboxRow>, Error> {
        let mut statement = self.answers.conn.prepare_cached(
            "SELECT seq, event_id, time, severity, payload FROM outbox
             WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![Count(seq), Count(max as u64)], |r| {
            Ok(OutboxRow {
                seq: r.get::<_, Count>(0)?.0,
                event_id: r.get(1)?,
                time: r.get(2)?,
                severity: r.get(3)?,
                payload: r.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
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

    /// How far a sink has read: 0 if it never did.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn cursor(&self, sink: &str) -> Result<u64, Error> {
        let sql = "SELECT seq FROM sink_cursor WHERE sink = ?1";
        let seq = self.answers.conn.query_row(sql, [sink], |r| r.get::<_, Count>(0));
        Ok(seq.optional()?.map_or(0, |seq| seq.0))
    }

    /// Says that a sink holds everything up to `seq`. A cursor never goes back.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn set_cursor(&self, sink: &str, seq: u64) -> Result<(), Error> {
        self.answers.conn.execute(
            "INSERT INTO sink_cursor VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
            params![sink, Count(seq)],
        )?;
        Ok(())
    }
}
