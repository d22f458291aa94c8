//! Who is who in the store: persons, bindings, what devices say, and the right to be forgotten.
//!
//! In: [`IdentityRows`] of an input. Out: the same at a time, for `whois`, `devices`, `users`, and
//! for the next run to go on with.
//! Never: gives a name out but under the veil of these [`Answers`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::rows::{Actor, BindingRow, IdentityRows, ManyRow, PersonUse, SaidRow, StayRow, Text};
use super::sql::{Addr, Count, Mac};
use super::{Answers, Error, Store, retention};
use crate::recorder::identity::inventory::plain_name;
use crate::recorder::identity::{Claim, Kind, Many, Mode, Person, Relation, Source, Subject, Veil};
use crate::types::{MacAddr, Realm, Timestamp};

/// Rows that the next run is told of: the bindings in force when it begins. More addresses at
/// once than this are no network that one sensor watches.
const REMEMBERED_MAX: usize = 1_000_000;

/// Rows of one answer of `devices` or `users`.
const LISTED_MAX: usize = 100_000;

/// No person, relation, source or reason.
const NONE: i64 = -1;

impl ToSql for Source {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.number()))
    }
}

impl FromSql for Source {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        let source = u8::try_from(number).ok().and_then(Source::from_number);
        source.ok_or(FromSqlError::OutOfRange(number))
    }
}

/// Relation, source and reason as three columns.
pub(super) fn columns_of(person: &Person) -> (i64, i64, i64) {
    match person {
        Person::Unknown | Person::Excluded => (NONE, NONE, NONE),
        Person::One(c) => (c.relation.number().into(), c.source.number().into(), NONE),
        Person::Many(many) => (NONE, NONE, many.number().into()),
    }
}

/// Columns that [`read_who`] reads, of `person p` and a table with the other three.
pub(super) fn who_columns(table: &str) -> String {
    format!("p.user, p.department, {table}.relation, {table}.source, {table}.many")
}

/// Login, department, relation, source and reason from five columns.
pub(super) fn read_who(r: &Row<'_>, at: usize) -> rusqlite::Result<Person> {
    let column = |n: usize| at.saturating_add(n);
    let user: Option<Text> = r.get(column(0))?;
    let number = |n: usize| r.get::<_, i64>(column(n)).map(|n| u8::try_from(n).ok());
    let (relation, source, many) = (number(2)?, number(3)?, number(4)?);
    if let Some(many) = many.and_then(Many::from_number) {
        return Ok(Person::Many(many));
    }
    let (Some(user), Some(relation), Some(source)) =
        (user, relation.and_then(Relation::from_number), source.and_then(Source::from_number))
    else {
        return Ok(Person::Unknown);
    };
    let department = r.get(column(1))?;
    Ok(Person::One(Arc::new(Claim { user: Subject::user(user), relation, source, department })))
}

/// Row of a person, made if need be; 0 for nobody.
pub(super) fn person_id(conn: &Connection, person: &Person) -> Result<i64, Error> {
    match person.one() {
        None => Ok(0),
        Some(claim) => user_id(conn, claim.user.name(), claim.department.as_ref()),
    }
}

fn user_id(conn: &Connection, user: &Text, department: Option<&Text>) -> Result<i64, Error> {
    let mut put = conn.prepare_cached(
        "INSERT INTO person (user, department) VALUES (?1, ?2)
         ON CONFLICT (user) DO UPDATE SET department = coalesce(excluded.department, department)
         RETURNING id",
    )?;
    Ok(put.query_row(params![user, department], |r| r.get(0))?)
}

/// Writes who is who in an input; with `replace`, in place of what it said before.
pub(super) fn write(
    conn: &Connection,
    input: i64,
    rows: &IdentityRows,
    replace: bool,
) -> Result<(), Error> {
    if replace {
        for table in ["binding", "said", "stay", "shared"] {
            conn.execute(&format!("DELETE FROM {table} WHERE input = ?1"), [input])?;
        }
    }
    let mut put = conn.prepare_cached(
        "INSERT INTO binding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET
             ended = excluded.ended, source = min(source, excluded.source),
             disputed = max(disputed, excluded.disputed)",
    )?;
    for row in &rows.bindings {
        let (addr, mac) = (Addr(row.addr), Mac(Some(row.mac)));
        let (from, until) = (row.from, row.until);
        put.execute(params![input, row.realm.0, addr, mac, from, until, row.source, row.disputed])?;
    }
    let mut put = conn.prepare_cached(
        "INSERT INTO said VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET
             first_seen = min(first_seen, excluded.first_seen),
             last_seen = max(last_seen, excluded.last_seen)",
    )?;
    for row in &rows.said {
        let mac = Mac(Some(row.mac));
        put.execute(params![
            input,
            row.realm.0,
            mac,
            row.is_name,
            row.text,
            row.source,
            row.first,
            row.last
        ])?;
    }
    let mut put = conn.prepare_cached(
        "INSERT INTO stay VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen, ended = excluded.ended",
    )?;
    for row in &rows.stays {
        let person = user_id(conn, row.user.name(), None)?;
        let (addr, from) = (Addr(row.addr), row.from);
        put.execute(params![
            input,
            row.realm.0,
            addr,
            person,
            from,
            row.last,
            row.until,
            row.source
        ])?;
    }
    let mut put = conn.prepare_cached("INSERT OR IGNORE INTO shared VALUES (?1, ?2, ?3, ?4)")?;
    for row in &rows.many {
        put.execute(params![input, row.realm.0, Addr(row.addr), row.many.number()])?;
    }
    Ok(())
}

/// Writes the persons of a revision of a finding.
pub(super) fn write_people(
    conn: &Connection,
    finding: i64,
    revision: u32,
    people: &[PersonUse],
) -> Result<(), Error> {
    let mut put = conn.prepare_cached(
        "INSERT INTO finding_person VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (item, of) in people.iter().enumerate() {
        let person = person_id(conn, &of.who)?;
        let (relation, source, many) = columns_of(&of.who);
        put.execute(params![
            finding,
            revision,
            Count(item as u64),
            person,
            relation,
            source,
            many,
            of.first_seen,
            of.last_seen,
            Count(of.bytes_up)
        ])?;
    }
    Ok(())
}

/// Persons of the finding in a row, as its last revision has them.
pub(super) fn people_of(conn: &Connection, finding: i64) -> Result<Vec<PersonUse>, Error> {
    let sql = format!(
        "SELECT {}, x.first_seen, x.last_seen, x.bytes_up
         FROM finding f JOIN finding_person x ON x.finding = f.id AND x.revision = f.revision
         LEFT JOIN person p ON p.id = x.person WHERE f.id = ?1 ORDER BY x.item",
        who_columns("x")
    );
    let mut find = conn.prepare_cached(&sql)?;
    let rows = find.query_map([finding], |r| {
        Ok(PersonUse {
            who: read_who(r, 0)?,
            first_seen: r.get(5)?,
            last_seen: r.get(6)?,
            bytes_up: r.get::<_, Count>(7)?.0,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Names that devices have, as hosts are compared with.
pub(super) fn device_names(conn: &Connection) -> Result<HashSet<Text>, Error> {
    let mut find = conn.prepare_cached(
        "SELECT text FROM said WHERE is_name = 1
         UNION SELECT host_name FROM actor WHERE host_name IS NOT NULL",
    )?;
    let mut rows = find.query([])?;
    let mut names = HashSet::new();
    while let Some(row) = rows.next()? {
        names.insert(plain_name(&row.get::<_, Text>(0)?));
    }
    Ok(names)
}

/// The mode that the store was last written under.
pub(super) fn mode(conn: &Connection) -> Result<Mode, Error> {
    let number =
        conn.query_row("SELECT mode FROM privacy", [], |r| r.get::<_, u8>(0)).optional()?;
    Ok(number.map_or(Mode::Clear, |n| Mode::from_number(n).unwrap_or(Mode::Masked)))
}

/// Notes the mode under which the store is written from now on.
pub(super) fn set_mode(conn: &Connection, mode: Mode) -> Result<(), Error> {
    conn.execute(
        "INSERT INTO privacy VALUES (1, ?1)
         ON CONFLICT DO UPDATE SET mode = excluded.mode WHERE mode <> excluded.mode",
        [mode.number()],
    )?;
    Ok(())
}

/// One device as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLine {
    /// Link address.
    pub mac: Option<MacAddr>,
    /// Names, the most trusted first.
    pub names: Vec<Text>,
    /// Systems that it says it runs.
    pub systems: Vec<Text>,
    /// Its addresses, with the latest sign of each.
    pub addresses: Vec<(IpAddr, Timestamp)>,
    /// Persons seen there or to whom it is assigned.
    pub people: Vec<Person>,
}

/// One person as the store knows him or her.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    /// Who.
    pub user: Subject,
    /// Department, if a directory says so.
    pub department: Option<Text>,
    /// Devices, by their names, else link addresses or addresses.
    pub devices: Vec<Arc<Actor>>,
    /// Findings that name the person.
    pub findings: u64,
    /// First sign; 0 if there is none.
    pub first: Timestamp,
    /// Last sign; 0 if there is none.
    pub last: Timestamp,
}

impl Answers {
    /// The veil under which these answers are given.
    pub fn veil(&self) -> &Veil {
        &self.veil
    }

    /// Everything the store knows of who had an address around a time, as it stands, for the same
    /// judgement as in the recorder. Only for `whois`, which veils what it shows.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn identity_of(&self, addr: IpAddr) -> Result<IdentityRows, Error> {
        let mut rows = IdentityRows {
            bindings: self.all(
                "SELECT DISTINCT b.realm, b.addr, b.mac, b.began, b.ended, b.source, b.disputed
                 FROM binding b WHERE b.addr = ?1
                    OR b.mac IN (SELECT mac FROM binding WHERE addr = ?1)
                 ORDER BY b.began, b.addr, b.mac",
                [Addr(addr)],
                read_binding,
            )?,
            said: self.all(
                "SELECT realm, mac, is_name, text, source, min(first_seen), max(last_seen)
                 FROM said WHERE mac IN (SELECT mac FROM binding WHERE addr = ?1)
                 GROUP BY realm, mac, is_name, text, source ORDER BY 6, text",
                [Addr(addr)],
                read_said,
            )?,
            stays: self.all(
                "SELECT DISTINCT s.realm, s.addr, p.user, s.began, s.last_seen, s.ended, s.source
                 FROM stay s JOIN person p ON p.id = s.person
                 WHERE s.addr = ?1 OR s.addr IN
                    (SELECT addr FROM binding WHERE mac IN
                        (SELECT mac FROM binding WHERE addr = ?1))
                 ORDER BY s.began, p.user",
                [Addr(addr)],
                read_stay,
            )?,
            many: self.all(
                "SELECT DISTINCT realm, addr, many FROM shared WHERE addr = ?1",
                [Addr(addr)],
                read_many,
            )?,
        };
        rows.many.sort();
        Ok(rows)
    }

    /// All that the store knows of who is who, for the recorder's own use.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(in crate::recorder) fn identity_all(&self) -> Result<IdentityRows, Error> {
        let most = Count(REMEMBERED_MAX as u64);
        Ok(IdentityRows {
            bindings: self.all(
                "SELECT DISTINCT realm, addr, mac, began, ended, source, disputed FROM binding
                 ORDER BY began, addr, mac LIMIT ?1",
                [&most],
                read_binding,
            )?,
            said: self.all(
                "SELECT realm, mac, is_name, text, source, min(first_seen), max(last_seen)
                 FROM said GROUP BY realm, mac, is_name, text, source ORDER BY 6, text LIMIT ?1",
                [&most],
                read_said,
            )?,
            stays: self.all(
                "SELECT DISTINCT s.realm, s.addr, p.user, s.began, s.last_seen, s.ended, s.source
                 FROM stay s JOIN person p ON p.id = s.person ORDER BY s.began, p.user LIMIT ?1",
                [&most],
                read_stay,
            )?,
            many: self.all(
                "SELECT DISTINCT realm, addr, many FROM shared ORDER BY addr LIMIT ?1",
                [&most],
                read_many,
            )?,
        })
    }

    /// What holds at `at`, for a run that begins then. A store of pseudonyms knows nobody.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn identity_at(&self, at: Timestamp) -> Result<IdentityRows, Error> {
        if mode(&self.conn)? == Mode::Pseudonymous {
            return Ok(IdentityRows::default());
        }
        let most = Count(REMEMBERED_MAX as u64);
        Ok(IdentityRows {
            bindings: self.all(
                "SELECT DISTINCT realm, addr, mac, began, ended, source, disputed FROM binding
                 WHERE began <= ?1 AND ended > ?1 ORDER BY began, addr, mac LIMIT ?2",
                params![at, most],
                read_binding,
            )?,
            said: self.all(
                "SELECT realm, mac, is_name, text, source, min(first_seen), max(last_seen)
                 FROM said WHERE first_seen <= ?1 AND mac IN
                    (SELECT mac FROM binding WHERE began <= ?1 AND ended > ?1)
                 GROUP BY realm, mac, is_name, text, source ORDER BY 6, text LIMIT ?2",
                params![at, most],
                read_said,
            )?,
            stays: self.all(
                "SELECT DISTINCT s.realm, s.addr, p.user, s.began, s.last_seen, s.ended, s.source
                 FROM stay s JOIN person p ON p.id = s.person
                 WHERE s.began <= ?1 AND s.ended > ?1 ORDER BY s.began, p.user LIMIT ?2",
                params![at, most],
                read_stay,
            )?,
            many: Vec::new(),
        })
    }

    /// Every device, by link address; actors without one are not among them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn devices(&self) -> Result<Vec<DeviceLine>, Error> {
        let macs: Vec<Mac> = self.all(
            "SELECT mac FROM (SELECT mac FROM binding UNION SELECT mac FROM said
                              UNION SELECT mac FROM actor) WHERE mac <> '' ORDER BY mac LIMIT ?1",
            [Count(LISTED_MAX as u64)],
            |r| r.get(0),
        )?;
        macs.into_iter().filter_map(|mac| mac.0).map(|mac| self.device(mac)).collect()
    }

    fn device(&self, mac: MacAddr) -> Result<DeviceLine, Error> {
        let said = |is_name: bool| {
            let sql = "SELECT text FROM said WHERE mac = ?1 AND is_name = ?2
                       GROUP BY text ORDER BY min(source), max(last_seen) DESC, text";
            self.all(sql, params![Mac(Some(mac)), is_name], |r| r.get::<_, Text>(0))
        };
        let addresses = self.all(
            "SELECT addr, max(ended) FROM binding WHERE mac = ?1 GROUP BY addr ORDER BY 2 DESC, addr",
            [Mac(Some(mac))],
            |r| Ok((r.get::<_, Addr>(0)?.0, r.get(1)?)),
        )?;
        let sql = format!(
            "SELECT DISTINCT {} FROM actor a LEFT JOIN person p ON p.id = a.person
             WHERE a.mac = ?1 AND (a.person > 0 OR a.many >= 0) ORDER BY p.user, a.relation",
            who_columns("a")
        );
        let people: Vec<Person> = self.all(&sql, [Mac(Some(mac))], |r| read_who(r, 0))?;
        let names = said(true)?;
        let veiled = |n: Text| match self.veil.is_clear() {
            true => n,
            false => Text::from(self.veil.pseudonym(Kind::Device, &n)),
        };
        Ok(DeviceLine {
            mac: Some(self.veil.mac(mac)),
            names: names.into_iter().map(veiled).collect(),
            systems: said(false)?,
            addresses: addresses.into_iter().map(|(a, t)| (self.veil.address(a), t)).collect(),
            people: people.iter().map(|p| self.veil.person(p)).collect(),
        })
    }

    /// Every person, by login.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn users(&self) -> Result<Vec<UserLine>, Error> {
        let people: Vec<(i64, Text, Option<Text>)> = self.all(
            "SELECT id, user, department FROM person ORDER BY user LIMIT ?1",
            [Count(LISTED_MAX as u64)],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )?;
        let mut lines = Vec::with_capacity(people.len());
        for (id, user, department) in people {
            let devices = self.all(
                "SELECT realm, addr, mac, max(host_name) FROM actor WHERE person = ?1
                 GROUP BY realm, addr, mac ORDER BY addr, mac",
                [id],
                |r| super::queries::read_actor(r, 0),
            )?;
            let (first, last) = self.conn.query_row(
                "SELECT coalesce(min(began), 0), coalesce(max(last_seen), 0) FROM
                    (SELECT began, last_seen FROM stay WHERE person = ?1
                     UNION ALL SELECT first_seen, last_seen FROM finding_person WHERE person = ?1)",
                [id],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )?;
            let findings = self.conn.query_row(
                "SELECT count(*) FROM finding_person x
                 JOIN finding f ON f.id = x.finding AND f.revision = x.revision
                 WHERE x.person = ?1",
                [id],
                |r| r.get::<_, Count>(0),
            )?;
            let veiled = devices.into_iter().map(|a| self.veil.actor(&Arc::new(a)));
            let user = Subject::user(user);
            lines.push(UserLine {
                user: Subject::user(user.text(&self.veil)),
                department,
                devices: veiled.collect(),
                findings: findings.0,
                first,
                last,
            });
        }
        Ok(lines)
    }

    /// A time in each epoch in which anything was stored, for whoever looks for a pseudonym.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn epochs(&self, veil: &Veil) -> Result<Vec<Timestamp>, Error> {
        let span = "SELECT coalesce(min(first_time), 0), coalesce(max(last_time), 0) FROM input";
        let (first, last): (Timestamp, Timestamp) =
            self.conn.query_row(span, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(veil.epochs(first, last))
    }

    /// Departments of the persons of an actor's device; for roll-ups.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn departments(&self) -> Result<Vec<(Text, u64)>, Error> {
        self.all(
            "SELECT department, count(*) FROM person WHERE department IS NOT NULL
             GROUP BY department ORDER BY department",
            [],
            |r| Ok((r.get(0)?, r.get::<_, Count>(1)?.0)),
        )
    }
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Persons.
    pub people: u64,
    /// Devices' link addresses.
    pub devices: u64,
    /// Rows that named them.
    pub rows: u64,
    /// A reader kept old pages alive; forgetting again will overwrite them.
    pub more: bool,
}

impl Store {
    /// Forgets a person by login, or a device by name, link address or address: the names go,
    /// bytes and services stay as nobody's. What was deleted is overwritten, in the file and in
    /// its log. An erasure event for the sinks goes into the outbox, with `token` in place of the
    /// name.
    ///
    /// # Errors
    /// If the store cannot be written; then it holds what it held before.
    pub fn forget(&mut self, word: &str, token: &str) -> Result<Forgotten, Error> {
        let conn = &mut self.answers.conn;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut done = Forgotten::default();
        let people: Vec<i64> =
            ids(&tx, "SELECT id FROM person WHERE lower(user) = lower(?1)", word)?;
        let macs = macs_of(&tx, word)?;
        let mut gone: Vec<(i64, Text)> = Vec::new();
        for person in people {
            done.people += 1;
            gone.extend(named(&tx, "x.person = ?1", &person)?);
            for sql in [
                "DELETE FROM stay WHERE person = ?1",
                "UPDATE finding_person SET person = 0, relation = -1, source = -1 WHERE person = ?1",
            ] {
                done.rows += tx.execute(sql, [person])? as u64;
            }
            done.rows += unname(&tx, "person = ?1", &person)?;
            tx.execute("DELETE FROM person WHERE id = ?1", [person])?;
        }
        for mac in &macs {
            done.devices += 1;
            let in_findings = "f.actor IN (SELECT id FROM actor WHERE mac = ?1)";
            gone.extend(named(&tx, in_findings, mac)?);
            for sql in [
                "DELETE FROM stay WHERE addr IN (SELECT addr FROM binding WHERE mac = ?1)",
                "DELETE FROM open_flow WHERE client_addr IN (SELECT addr FROM actor WHERE mac = ?1)",
                "DELETE FROM evidence WHERE finding IN
                    (SELECT f.id FROM finding f JOIN actor a ON a.id = f.actor WHERE a.mac = ?1)",
                "UPDATE finding_revision SET host_name = NULL WHERE finding IN
                    (SELECT f.id FROM finding f JOIN actor a ON a.id = f.actor WHERE a.mac = ?1)",
                "DELETE FROM binding WHERE mac = ?1",
                "DELETE FROM said WHERE mac = ?1",
            ] {
                done.rows += tx.execute(sql, [mac])? as u64;
            }
            done.rows += strip(&tx, mac)?;
        }
        gone.sort();
        gone.dedup();
        for (_, key) in &gone {
            // What was told of them lies in the outbox as text.
            done.rows += tx
                .execute("DELETE FROM outbox WHERE substr(event_id, 1, length(?1)) = ?1", [key])?
                as u64;
        }
        if done.rows > 0 || done.people > 0 {
            post_erasure(&tx, token, &gone)?;
        }
        tx.commit()?;
        done.more = !retention::rebuild(&self.answers.conn)?;
        Ok(done)
    }
}

/// An erasure event: which events of before are void.
fn post_erasure(conn: &Connection, token: &str, gone: &[(i64, Text)]) -> Result<(), Error> {
    let keys: Vec<&str> = gone.iter().map(|(_, key)| &**key).collect();
    let event_id = format!("erasure-{token}");
    let payload = serde_json::json!({
        "schema": crate::recorder::alert::SCHEMA, "kind": "erasure", "event_id": event_id,
        "finding_ids": keys,
    });
    let last = "SELECT coalesce(max(last_time), 0) FROM input";
    let time: Timestamp = conn.query_row(last, [], |r| r.get(0))?;
    conn.execute(
        "INSERT INTO outbox (event_id, time, severity, payload) VALUES (?1, ?2, 0, ?3)
         ON CONFLICT (event_id) DO NOTHING",
        params![event_id, time, payload.to_string()],
    )?;
    Ok(())
}

fn ids(conn: &Connection, sql: &str, word: &str) -> Result<Vec<i64>, Error> {
    let mut find = conn.prepare(sql)?;
    let rows = find.query_map([word], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Link addresses of a device by name, link address or address, as the store writes them.
fn macs_of(conn: &Connection, word: &str) -> Result<Vec<String>, Error> {
    let plain = word.to_lowercase().replace('-', ":");
    let mut find = conn.prepare(
        "SELECT mac FROM said WHERE is_name = 1 AND lower(text) = lower(?1)
         UNION SELECT mac FROM actor WHERE lower(host_name) = lower(?1) OR mac = ?2 OR addr = ?1
         UNION SELECT mac FROM binding WHERE mac = ?2 OR addr = ?1
         UNION SELECT mac FROM said WHERE mac = ?2",
    )?;
    let rows = find.query_map(params![word, plain], |r| r.get::<_, String>(0))?;
    let all: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|mac| !mac.is_empty()).collect())
}

/// Findings that name somebody, by a condition over `finding f` and `finding_person x`.
fn named(conn: &Connection, of: &str, value: &dyn ToSql) -> Result<Vec<(i64, Text)>, Error> {
    let sql = format!(
        "SELECT DISTINCT f.id, f.key FROM finding f
         LEFT JOIN finding_person x ON x.finding = f.id WHERE {of}"
    );
    let mut find = conn.prepare(&sql)?;
    let rows = find.query_map([value], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Actors under a condition become nobody's, and one with those that are nobody's already.
fn unname(conn: &Connection, of: &str, value: &dyn ToSql) -> Result<u64, Error> {
    let sql = format!("SELECT id, realm, addr, mac FROM actor WHERE {of}");
    let mut find = conn.prepare(&sql)?;
    let rows = find.query_map([value], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let actors: Vec<(i64, i64, String, String)> = rows.collect::<Result<_, _>>()?;
    for (id, realm, addr, mac) in &actors {
        become_one(conn, *id, *realm, addr, mac)?;
    }
    Ok(actors.len() as u64)
}

/// Actors of a link address lose it, their name and their address.
fn strip(conn: &Connection, mac: &str) -> Result<u64, Error> {
    let mut find = conn.prepare("SELECT id, realm FROM actor WHERE mac = ?1")?;
    let rows = find.query_map([mac], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let actors: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    for (id, realm) in &actors {
        become_one(conn, *id, *realm, "::", "")?;
    }
    Ok(actors.len() as u64)
}

/// The actor `id` becomes nobody in particular at that address; rows of equal key add up.
fn become_one(conn: &Connection, id: i64, realm: i64, addr: &str, mac: &str) -> Result<(), Error> {
    let other: Option<i64> = conn
        .query_row(
            "SELECT id FROM actor WHERE realm = ?1 AND addr = ?2 AND mac = ?3 AND person = 0
               AND relation = -1 AND source = -1 AND many = -1 AND id <> ?4",
            params![realm, addr, mac, id],
            |r| r.get(0),
        )
        .optional()?;
    let Some(other) = other else {
        conn.execute(
            "UPDATE actor SET addr = ?2, mac = ?3, person = 0, relation = -1, source = -1,
                              many = -1, host_name = iif(?3 = '', NULL, host_name)
             WHERE id = ?1",
            params![id, addr, mac],
        )?;
        return Ok(());
    };
    for sql in [
        "INSERT INTO usage
             SELECT input, hour, ?2, service, role, pattern, client_class, level, evidence,
                    disposition, policy_version, signature_version, bytes_up, bytes_down, flows,
                    first_seen, last_seen
             FROM usage WHERE actor = ?1
         ON CONFLICT DO UPDATE SET
             bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down,
             flows = flows + excluded.flows, first_seen = min(first_seen, excluded.first_seen),
             last_seen = max(last_seen, excluded.last_seen)",
        "UPDATE OR IGNORE session SET actor = ?2 WHERE actor = ?1",
        "UPDATE OR IGNORE hidden SET actor = ?2 WHERE actor = ?1",
        "UPDATE finding SET actor = ?2 WHERE actor = ?1",
    ] {
        conn.execute(sql, [id, other])?;
    }
    for sql in [
        "DELETE FROM usage WHERE actor = ?1",
        "DELETE FROM session WHERE actor = ?1",
        "DELETE FROM hidden WHERE actor = ?1",
        "DELETE FROM actor WHERE id = ?1",
    ] {
        conn.execute(sql, [id])?;
    }
    Ok(())
}

fn read_binding(r: &Row<'_>) -> rusqlite::Result<BindingRow> {
    Ok(BindingRow {
        realm: Realm(r.get(0)?),
        addr: r.get::<_, Addr>(1)?.0,
        mac: r.get::<_, Mac>(2)?.0.unwrap_or_default(),
        from: r.get(3)?,
        until: r.get(4)?,
        source: r.get(5)?,
        disputed: r.get(6)?,
    })
}

fn read_said(r: &Row<'_>) -> rusqlite::Result<SaidRow> {
    Ok(SaidRow {
        realm: Realm(r.get(0)?),
        mac: r.get::<_, Mac>(1)?.0.unwrap_or_default(),
        is_name: r.get(2)?,
        text: r.get(3)?,
        source: r.get(4)?,
        first: r.get(5)?,
        last: r.get(6)?,
    })
}

fn read_stay(r: &Row<'_>) -> rusqlite::Result<StayRow> {
    Ok(StayRow {
        realm: Realm(r.get(0)?),
        addr: r.get::<_, Addr>(1)?.0,
        user: Subject::user(r.get::<_, Text>(2)?),
        from: r.get(3)?,
        last: r.get(4)?,
        until: r.get(5)?,
        source: r.get(6)?,
    })
}

fn read_many(r: &Row<'_>) -> rusqlite::Result<ManyRow> {
    let number: i64 = r.get(2)?;
    let many = u8::try_from(number).ok().and_then(Many::from_number);
    let many = many.ok_or(rusqlite::Error::IntegralValueOutOfRange(2, number))?;
    Ok(ManyRow { realm: Realm(r.get(0)?), addr: r.get::<_, Addr>(1)?.0, many })
}
