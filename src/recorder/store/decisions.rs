//! What people decided about what was found, with its history.
//!
//! Decisions are added and never changed. They are written by a command of a person while the
//! recorder may be at work, so this does not take the recorder's lock: SQLite keeps the two apart.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::rows::Text;
use super::{Answers, BUSY_TIMEOUT_MS, Error, require_sqlite, schema};
use crate::recorder::words::{Disposition, State};
use crate::types::Timestamp;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `service:ID`, `candidate:HOST` or `hidden:NAME`.
    pub subject: Text,
    /// Where the risk stands from now on.
    pub state: State,
    /// What the policy says from now on, if the decision changed it.
    pub disposition: Option<Disposition>,
    /// Whom it is for, in words; `everybody` without limits.
    pub scope: Text,
    /// Who answers for it.
    pub owner: Option<Text>,
    /// Why.
    pub reason: Option<Text>,
    /// Day of the decision, if the person said it.
    pub decided: Option<Text>,
    /// Day until which something is to be done.
    pub due: Option<Text>,
    /// Last day of an acceptance.
    pub expires: Option<Text>,
    /// Policy from now on.
    pub policy_version: Text,
    /// Newest capture time in the store.
    pub data_until: Timestamp,
}

/// Adds a decision to the store at `path`.
///
/// # Errors
/// If there is no store of this version, or it cannot be written.
pub fn decide(path: &Path, decision: &Decision) -> Result<(), Error> {
    require_sqlite()?;
    // Whether there is one of the right version is asked first, and without writing anything.
    drop(Answers::open(path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have brought the store up to date between the two looks.
    let found = schema::version(&tx)?;
    if found != schema::known() {
        let (path, known) = (path.to_owned(), schema::known());
        return Err(Error::Newer { path, found, known });
    }
    tx.execute(
        "INSERT INTO decision (subject, state, disposition, scope, owner, reason, decided, due,
                               expires, policy_version, data_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            decision.subject,
            decision.state,
            decision.disposition,
            decision.scope,
            decision.owner,
            decision.reason,
            decision.decided,
            decision.due,
            decision.expires,
            decision.policy_version,
            decision.data_until,
        ],
    )?;
    tx.commit()?;
    Ok(())
}

impl Answers {
    /// Every decision, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn decisions(&self) -> Result<Vec<Decision>, Error> {
        let mut statement = self.conn.prepare_cached(
            "SELECT subject, state, disposition, scope, owner, reason, decided, due, expires,
                    policy_version, data_until
             FROM decision ORDER BY id",
        )?;
        let rows = statement.query_map([], |r| {
            Ok(Decision {
                subject: r.get(0)?,
                state: r.get(1)?,
                disposition: r.get(2)?,
                scope: r.get(3)?,
                owner: r.get(4)?,
                reason: r.get(5)?,
                decided: r.get(6)?,
                due: r.get(7)?,
                expires: r.get(8)?,
                policy_version: r.get(9)?,
                data_until: r.get(10)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
