//! How long rows stay, and how large the store gets.
//!
//! What is forgotten is really gone: SQLite overwrites it (`secure_delete`), the freed pages are
//! given back, and the WAL, which still holds the pages as they were, is emptied. Where rows moved
//! between pages while they lived, copies of them stay in the unused middle of pages, which
//! SQLite does not overwrite: those go with a rebuild of the file, once a day at most.

use rusqlite::{Connection, TransactionBehavior, named_params};

use super::Error;
use super::sql::Count;
use crate::types::Timestamp;

/// One pass forgets at most this part of a table, so that a clock that jumps a century ahead
/// costs a tenth of the store, and not all of it, before somebody looks.
const PASS_PART: u64 = 10;

/// Fewer rows than this are forgotten in one pass: a small store does not need many.
const PASS_ROWS_MIN: u64 = 1_000;

/// Rounds over all tables in which a pass makes room. Each takes a tenth, so that this many
/// leave a store of twice its size at under half of it.
const ROUNDS_MAX: u32 = 16;

/// Days that rows of each kind stay, by capture time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Usage and sessions: a year and the month before, to compare.
    pub usage_days: u32,
    /// Findings with their last revision.
    pub findings_days: u32,
    /// Evidence and earlier revisions of findings: as long as captures are usually kept.
    pub evidence_days: u32,
    /// Candidates.
    pub candidates_days: u32,
    /// Daily roll-ups of unmatched destinations.
    pub destinations_days: u32,
    /// The ledger of all destinations; 0 for none.
    pub ledger_days: u32,
    /// Flows to go on with: no flow idles longer and still has its name.
    pub open_flows_days: u32,
    /// Alerts, delivered or not.
    pub outbox_days: u32,
    /// What was told already; afterwards a use counts as the first one again.
    pub memory_days: u32,
    /// Who had which address, what devices say, who was where.
    pub identity_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            usage_days: 400,
            findings_days: 400,
            evidence_days: 90,
            candidates_days: 400,
            destinations_days: 90,
            ledger_days: 396,
            open_flows_days: 2,
            outbox_days: 90,
            memory_days: 400,
            identity_days: 90,
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Rows forgotten for their age.
    pub aged: u64,
    /// Rows forgotten for room.
    pub squeezed: u64,
    /// Another pass would forget more, or a reader kept old pages alive.
    pub more: bool,
}

/// A table that forgets: its key, and what is old in it.
struct Table {
    name: &'static str,
    key: &'static str,
    /// Column that tells the age, and its unit in nanoseconds.
    age: (&'static str, u64),
    /// Rows that may go at all, besides being old.
    only: &'static str,
}

const HOUR: u64 = 3_600 * Timestamp::SECOND;
const DAY: u64 = 24 * HOUR;

const EVIDENCE: Table =
    Table { name: "evidence", key: "finding, item", age: ("time", 1), only: "true" };

const HISTORY: Table = Table {
    name: "finding_revision",
    key: "finding, revision",
    age: ("last_seen", 1),
    only: "revision <> (SELECT f.revision FROM finding f WHERE f.id = finding)",
};

const DESTINATION: Table =
    Table { name: "destination", key: "input, day, name", age: ("day", DAY), only: "true" };

const LEDGER: Table =
    Table { name: "ledger", key: "input, day, host", age: ("day", DAY), only: "true" };

const CANDIDATE: Table =
    Table { name: "candidate", key: "input, day, host, grammars", age: ("day", DAY), only: "true" };

const USAGE: Table = Table {
    name: "usage",
    key: "input, hour, actor, service, role, pattern, client_class, level, evidence",
    age: ("hour", HOUR),
    only: "true",
};

const SESSION: Table = Table {
    name: "session",
    key: "input, actor, service, started",
    age: ("ended", 1),
    only: "true",
};

const HIDDEN: Table =
    Table { name: "hidden", key: "input, actor, behind", age: ("last_seen", 1), only: "true" };

const FINDING: Table = Table { name: "finding", key: "id", age: ("day", DAY), only: "true" };

const OUTBOX: Table = Table { name: "outbox", key: "seq", age: ("time", 1), only: "true" };

const OPEN_FLOW: Table = Table {
    name: "open_flow",
    key: "input, realm, transport, client_addr, client_port, server_addr, server_port",
    age: ("last_seen", 1),
    only: "true",
};

const MEMORY: Table = Table {
    name: "alert_memory",
    key: "rule, service, device, day",
    age: ("time", 1),
    only: "true",
};

const BINDING: Table = Table {
    name: "binding",
    key: "input, realm, addr, began, mac",
    age: ("ended", 1),
    only: "true",
};

const SAID: Table = Table {
    name: "said",
    key: "input, realm, mac, is_name, text, source",
    age: ("last_seen", 1),
    only: "true",
};

const STAY: Table = Table {
    name: "stay",
    key: "input, realm, addr, person, began, source",
    age: ("ended", 1),
    only: "true",
};

/// Inputs go once nothing is left of them.
const INPUT: Table = Table {
    name: "input",
    key: "id",
    age: ("last_time", 1),
    only: "id NOT IN (SELECT input FROM usage UNION SELECT input FROM session
                      UNION SELECT input FROM finding UNION SELECT input FROM candidate
                      UNION SELECT input FROM destination UNION SELECT input FROM ledger UNION SELECT input FROM hidden)",
};

/// Forgets by age, then by size; `rebuilt` is the day on which the file was last written anew.
/// See [`super::Store::retain`].
pub fn retain(
    conn: &mut Connection,
    days: &Retention,
    size_max_bytes: u64,
    now: Timestamp,
    rebuilt: &mut Option<u64>,
) -> Result<Retained, Error> {
    // Each pass is small and may be lost in a power cut: the next one does it again.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    let mut done = Retained::default();
    for (table, days) in [
        (&EVIDENCE, days.evidence_days),
        (&HISTORY, days.evidence_days),
        (&DESTINATION, days.destinations_days),
        (&LEDGER, days.ledger_days),
        (&CANDIDATE, days.candidates_days),
        (&USAGE, days.usage_days),
        (&SESSION, days.usage_days),
        (&HIDDEN, days.usage_days),
        (&FINDING, days.findings_days),
        (&OPEN_FLOW, days.open_flows_days),
        (&OUTBOX, days.outbox_days),
        (&MEMORY, days.memory_days),
        (&BINDING, days.identity_days),
        (&SAID, days.identity_days),
        (&STAY, days.identity_days),
        (&INPUT, days.usage_days.max(days.findings_days)),
    ] {
        let before = Timestamp(now.0.saturating_sub(u64::from(days).saturating_mul(DAY)));
        let (rows, more) = forget(conn, table, Some(before))?;
        done.aged = done.aged.saturating_add(rows);
        done.more |= more;
    }
    if done.aged > 0 {
        done.aged = done.aged.saturating_add(forget_leftovers(conn)?);
        let today = now.0.checked_div(DAY);
        let due = !done.more && *rebuilt != today;
        done.more |= if due { !rebuild(conn)? } else { !give_back(conn)? };
        *rebuilt = if due { today } else { *rebuilt };
    }
    squeeze(conn, size_max_bytes, &mut done)?;
    Ok(done)
}

/// Forgets the oldest detail until the store keeps to its size.
fn squeeze(conn: &mut Connection, size_max_bytes: u64, done: &mut Retained) -> Result<(), Error> {
    for _ in 0..ROUNDS_MAX {
        for table in [
            &EVIDENCE,
            &HISTORY,
            &DESTINATION,
            &LEDGER,
            &CANDIDATE,
            &OUTBOX,
            &HIDDEN,
            &USAGE,
            &SESSION,
            &FINDING,
        ] {
            if size_bytes(conn)? <= size_max_bytes {
                return Ok(());
            }
            let (rows, _) = forget(conn, table, None)?;
            if rows > 0 {
                done.squeezed = done.squeezed.saturating_add(rows);
                conn.execute(
                    "INSERT INTO counter VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    rusqlite::params![format!("forgotten_for_room_{}", table.name), Count(rows)],
                )?;
                forget_leftovers(conn)?;
                done.more |= !give_back(conn)?;
            }
        }
    }
    done.more |= size_bytes(conn)? > size_max_bytes;
    Ok(())
}

/// Forgets the oldest rows of a table, at most a tenth of them; those before a time, or any.
/// Returns how many, and whether more rows of that age are left.
fn forget(
    conn: &mut Connection,
    table: &Table,
    before: Option<Timestamp>,
) -> Result<(u64, bool), Error> {
    let Table { name, key, age: (age, unit), only } = *table;
    let before = before.map_or(i64::MAX, |time| {
        i64::try_from(time.0.checked_div(unit).unwrap_or(0)).unwrap_or(i64::MAX)
    });
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = format!("FROM {name} WHERE {age} < :before AND {only}");
    let any: bool = tx.query_row(
        &format!("SELECT EXISTS (SELECT 1 {old})"),
        named_params! { ":before": before },
        |r| r.get(0),
    )?;
    if !any {
        return Ok((0, false));
    }
    let rows =
        tx.query_row(&format!("SELECT count(*) FROM {name}"), [], |r| r.get::<_, Count>(0))?;
    let most = rows.0.div_ceil(PASS_PART).max(PASS_ROWS_MIN);
    let sql = format!(
        "DELETE FROM {name} WHERE ({key}) IN (SELECT {key} {old} ORDER BY {age}, {key} LIMIT :most)"
    );
    let gone = tx.execute(&sql, named_params! { ":before": before, ":most": Count(most) })? as u64;
    tx.commit()?;
    Ok((gone, gone == most))
}

/// Removes what only the forgotten rows needed: coverage of inputs, and above all actors.
fn forget_leftovers(conn: &mut Connection) -> Result<u64, Error> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let gone = tx.execute(
        "DELETE FROM actor WHERE id NOT IN
             (SELECT actor FROM usage UNION SELECT actor FROM session
              UNION SELECT actor FROM finding UNION SELECT actor FROM hidden)",
        [],
    )?;
    tx.execute(
        "DELETE FROM person WHERE id NOT IN
             (SELECT person FROM actor UNION SELECT person FROM stay
              UNION SELECT person FROM finding_person)",
        [],
    )?;
    tx.execute("DELETE FROM shared WHERE input NOT IN (SELECT id FROM input)", [])?;
    tx.execute("DELETE FROM coverage WHERE input NOT IN (SELECT id FROM input)", [])?;
    tx.execute("DELETE FROM open_flow WHERE input NOT IN (SELECT id FROM input)", [])?;
    tx.commit()?;
    Ok(gone as u64)
}

/// Writes the file anew without anything but what lives, and empties the WAL; `false` if a reader
/// still needs it. Takes as much room on the disk again while it runs.
pub(super) fn rebuild(conn: &Connection) -> Result<bool, Error> {
    conn.execute_batch("VACUUM")?;
    give_back(conn)
}

/// Gives free pages back and empties the WAL; `false` if a reader still needs it.
pub(super) fn give_back(conn: &Connection) -> Result<bool, Error> {
    let mut vacuum = conn.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    Ok(busy == 0)
}

/// Bytes of the database in use.
fn size_bytes(conn: &Connection) -> Result<u64, Error> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, Count>(0));
    let pages = pragma("page_count")?.0.saturating_sub(pragma("freelist_count")?.0);
    Ok(pages.saturating_mul(pragma("page_size")?.0))
}
