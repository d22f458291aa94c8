//! Late evidence: who it was, learnt after the finding was stored.
//!
//! In: what the store and the inventory know by now. Out: usage under the person, and a new
//! revision of each finding of whom more is known.
//! Never: takes a name back for lack of evidence, or names a weaker one in place of a stronger;
//! rewrites a revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior, params};

use super::identity::{read_who, who_columns};
use super::queries::{finding_at, read_actor};
use super::rows::{Actor, PersonUse};
use super::sql::Count;
use super::write::Writer;
use super::{Error, Store};
use crate::recorder::identity::{Known, Mode, Person, Relation, Tracker, Veil, people};
use crate::recorder::words::Level;
use crate::types::Timestamp;

/// One row of usage, as far as it is of somebody.
struct Row {
    input: i64,
    hour: i64,
    actor: i64,
    service: i64,
    who: Actor,
    first: Timestamp,
    last: Timestamp,
}

impl Store {
    /// Names whom later evidence tells: a logon, a lease or an inventory that came after the
    /// finding. Looks at what was used from `since` on, by the hour. Returns how many findings have a
    /// new revision. A store of pseudonyms cannot.
    ///
    /// # Errors
    /// If the store cannot be written; then it holds what it held before.
    pub fn reattribute(&mut self, known: &Arc<Known>, since: Timestamp) -> Result<u64, Error> {
        if super::identity::mode(&self.answers.conn)? == Mode::Pseudonymous {
            return Ok(0);
        }
        let mut tracker = Tracker::new(known.clone());
        tracker.remember(&self.answers.identity_all()?, Timestamp(u64::MAX));
        let changes = changes(&self.answers.conn, &tracker, since)?;
        if changes.is_empty() {
            return Ok(0);
        }
        let veil = Veil::clear();
        let conn = &mut self.answers.conn;
        conn.pragma_update(None, "synchronous", "FULL")?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&tx, &veil);
        let mut touched = BTreeSet::new();
        for (row, person) in &changes {
            let actor = Actor { who: person.clone(), ..row.who.clone() };
            let to = writer.actor(&actor, row.last)?;
            move_usage(&tx, row, to)?;
            touched.insert((row.input, row.service, row.hour / 24, row.actor));
        }
        writer.host_names()?;
        let mut revised = 0;
        for finding in findings_of(&tx, &touched)? {
            revised += u64::from(revise(&mut writer, &tx, finding)?);
        }
        drop(writer);
        tx.execute(
            "DELETE FROM actor WHERE id NOT IN
                 (SELECT actor FROM usage UNION SELECT actor FROM session
                  UNION SELECT actor FROM finding UNION SELECT actor FROM hidden)",
            [],
        )?;
        tx.commit()?;
        Ok(revised)
    }
}

/// Rows of usage of which more is known now.
fn changes(
    conn: &Connection,
    tracker: &Tracker,
    since: Timestamp,
) -> Result<Vec<(Row, Person)>, Error> {
    let sql = format!(
        "SELECT a.realm, a.addr, a.mac, a.host_name, {}, u.input, u.hour, u.actor, u.service,
                min(u.first_seen), max(u.last_seen)
         FROM usage u JOIN actor a ON a.id = u.actor LEFT JOIN person p ON p.id = a.person
         WHERE a.many = -1 AND u.hour >= ?1 GROUP BY u.input, u.hour, u.actor, u.service",
        who_columns("a")
    );
    let mut find = conn.prepare(&sql)?;
    let mut rows = find.query([Count(since.seconds() / 3_600)])?;
    let mut changes = Vec::new();
    while let Some(r) = rows.next()? {
        let row = Row {
            who: Actor { who: read_who(r, 4)?, ..read_actor(r, 0)? },
            input: r.get(9)?,
            hour: r.get(10)?,
            actor: r.get(11)?,
            service: r.get(12)?,
            first: r.get(13)?,
            last: r.get(14)?,
        };
        let then = tracker.resolve(row.who.realm, row.who.addr, row.first);
        let later = tracker.resolve(row.who.realm, row.who.addr, row.last);
        // Another device at that time: what is known of it is not known of this one.
        let same_device = then.mac == row.who.mac || row.who.mac.is_none();
        if then.person == later.person && same_device && is_better(&row.who.who, &then.person) {
            changes.push((row, then.person));
        }
    }
    Ok(changes)
}

/// `true` if the new answer says more, from a better source.
fn is_better(before: &Person, now: &Person) -> bool {
    match (before, now) {
        (Person::Unknown, Person::One(_) | Person::Many(_)) | (Person::One(_), Person::Many(_)) => {
            true
        }
        (Person::One(a), Person::One(b)) => match (a.relation, b.relation) {
            (Relation::Primary, Relation::LoggedOn) => true,
            (Relation::LoggedOn, Relation::LoggedOn) => {
                people::class(b.source) < people::class(a.source)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Usage of an hour goes to another actor; rows of equal key add up.
fn move_usage(conn: &Connection, row: &Row, to: i64) -> Result<(), Error> {
    let of = "input = ?1 AND hour = ?2 AND actor = ?3 AND service = ?4";
    let mut put = conn.prepare_cached(&format!(
        "INSERT INTO usage
             SELECT input, hour, ?5, service, role, pattern, client_class, level, evidence,
                    disposition, policy_version, signature_version, bytes_up, bytes_down, flows,
                    first_seen, last_seen
             FROM usage WHERE {of}
         ON CONFLICT DO UPDATE SET
             bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down,
             flows = flows + excluded.flows, first_seen = min(first_seen, excluded.first_seen),
             last_seen = max(last_seen, excluded.last_seen)"
    ))?;
    put.execute(params![row.input, row.hour, row.actor, row.service, to])?;
    let mut gone = conn.prepare_cached(&format!("DELETE FROM usage WHERE {of}"))?;
    gone.execute(params![row.input, row.hour, row.actor, row.service])?;
    Ok(())
}

/// Findings that the touched usage is part of.
fn findings_of(
    conn: &Connection,
    touched: &BTreeSet<(i64, i64, i64, i64)>,
) -> Result<BTreeSet<i64>, Error> {
    let mut find = conn.prepare_cached(
        "SELECT f.id FROM finding f JOIN actor a ON a.id = f.actor
         WHERE f.input = ?1 AND f.service = ?2 AND f.day = ?3
           AND a.device = (SELECT device FROM actor WHERE id = ?4)",
    )?;
    let mut findings = BTreeSet::new();
    for (input, service, day, actor) in touched {
        let rows = find.query_map(params![input, service, day, actor], |r| r.get(0))?;
        for row in rows {
            findings.insert(row?);
        }
    }
    Ok(findings)
}

/// Writes a revision with the persons that usage has now; `false` if they are the same.
fn revise(writer: &mut Writer<'_>, conn: &Connection, id: i64) -> Result<bool, Error> {
    let Some(mut finding) = finding_at(conn, id)? else { return Ok(false) };
    let sql = format!(
        "SELECT {}, min(u.first_seen), max(u.last_seen), sum(u.bytes_up)
         FROM finding f JOIN actor o ON o.id = f.actor
         JOIN actor a ON a.device = o.device
         JOIN usage u ON u.actor = a.id AND u.input = f.input AND u.service = f.service
         LEFT JOIN person p ON p.id = a.person
         WHERE f.id = ?1 AND u.hour / 24 = f.day AND u.level >= ?2
         GROUP BY a.person, a.relation, a.source, a.many",
        who_columns("a")
    );
    let mut find = conn.prepare_cached(&sql)?;
    let rows = find.query_map(params![id, Level::Contacted.number()], |r| {
        Ok(PersonUse {
            who: read_who(r, 0)?,
            first_seen: r.get(5)?,
            last_seen: r.get(6)?,
            bytes_up: r.get::<_, Count>(7)?.0,
        })
    })?;
    // Two sources of one person's stay are one person.
    let mut people: BTreeMap<Person, PersonUse> = BTreeMap::new();
    for row in rows {
        let row = row?;
        people.insert(row.who.clone(), row);
    }
    let mut people: Vec<PersonUse> = people.into_values().collect();
    people.sort_by(|a, b| (a.first_seen, &a.who).cmp(&(b.first_seen, &b.who)));
    let names = |people: &[PersonUse]| people.iter().map(|p| p.who.clone()).collect::<Vec<_>>();
    if people.is_empty() || names(&people) == names(&finding.people) {
        return Ok(false);
    }
    finding.people = people;
    let next = finding.revision.saturating_add(1);
    writer.revision(id, next, &finding)?;
    Ok(true)
}
