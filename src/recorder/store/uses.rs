//! Rows for answers that judge anew: use by use, with numbers in place of texts.
//!
//! Out: usage and sessions one at a time, so that a year of a large site fits no memory and needs
//! none; who the actors are; evidence of a service. Nothing here writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rapidhash::fast::RandomState;
use rusqlite::named_params;

use super::identity::{read_who, who_columns};
use super::queries::{DAY, FINDING, HOUR, OF_INPUTS, evidence_of, read_actor, read_finding};
use super::rows::{Actor, Finding, Text};
use super::sql::{Addr, Count, Mac};
use super::{Answers, Error, Scope};
use crate::recorder::identity::inventory::plain_name;
use crate::recorder::words::{ClientClass, Disposition, Level, Role};
use crate::types::{MacAddr, Timestamp};

/// One row of usage.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Hours since the epoch.
    pub hour: u32,
    /// Number of the actor.
    pub actor: i64,
    /// Number of the service.
    pub service: i64,
    /// Number of the pattern.
    pub pattern: i64,
    /// What the host is for.
    pub role: Role,
    /// Browser, program, server.
    pub client_class: ClientClass,
    /// How far it went.
    pub level: Level,
    /// Verdict when recorded.
    pub disposition: Disposition,
    /// Payload bytes from the client.
    pub bytes_up: u64,
    /// Payload bytes to the client.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
}

/// One stored session; those of a device and service come together, in order of time.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// Number of the actor.
    pub actor: i64,
    /// Number of the service.
    pub service: i64,
    /// First packet.
    pub start: Timestamp,
    /// Last packet.
    pub end: Timestamp,
    /// Highest level.
    pub level: Level,
    /// Verdict when recorded.
    pub disposition: Disposition,
}

/// An actor and the device it belongs to.
#[derive(Clone, Debug)]
pub struct Known {
    /// Number of the device: the first actor with the same link address.
    pub device: i64,
    /// Who.
    pub actor: Arc<Actor>,
}

/// Numbers to what they stand for.
pub type Numbered<T> = HashMap<i64, T, RandomState>;

/// Devices that were seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By link address, with their names.
    pub devices: BTreeMap<MacAddr, BTreeSet<Text>>,
    /// Addresses that somebody had.
    pub addresses: BTreeSet<IpAddr>,
}

impl Answers {
    /// Gives every row of usage in a scope to `take`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn each_use(&self, scope: &Scope, mut take: impl FnMut(&Use)) -> Result<(), Error> {
        let sql = format!(
            "SELECT hour, actor, service, role, client_class, level, disposition, bytes_up,
                    bytes_down, flows, first_seen, last_seen, pattern
             FROM usage WHERE {OF_INPUTS} AND hour BETWEEN :from AND :to"
        );
        let (from, to) = scope.span(HOUR);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(values)?;
        while let Some(r) = rows.next()? {
            take(&Use {
                hour: r.get(0)?,
                actor: r.get(1)?,
                service: r.get(2)?,
                pattern: r.get(12)?,
                role: r.get(3)?,
                client_class: r.get(4)?,
                level: r.get(5)?,
                disposition: r.get(6)?,
                bytes_up: r.get::<_, Count>(7)?.0,
                bytes_down: r.get::<_, Count>(8)?.0,
                flows: r.get::<_, Count>(9)?.0,
                first_seen: r.get(10)?,
                last_seen: r.get(11)?,
            });
        }
        Ok(())
    }

    /// Gives every session that touches a scope to `take`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn each_session(
        &self,
        scope: &Scope,
        mut take: impl FnMut(&Presence),
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT s.actor, s.service, s.started, s.ended, s.level, s.disposition
             FROM session s JOIN actor a ON a.id = s.actor
             WHERE {OF_INPUTS} AND s.ended >= :from AND s.started <= :to
             ORDER BY s.service, a.device, s.started, s.ended"
        );
        let (from, to) = scope.span(1);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(values)?;
        while let Some(r) = rows.next()? {
            take(&Presence {
                actor: r.get(0)?,
                service: r.get(1)?,
                start: r.get(2)?,
                end: r.get(3)?,
                level: r.get(4)?,
                disposition: r.get(5)?,
            });
        }
        Ok(())
    }

    /// Every actor by number.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn actors(&self) -> Result<Numbered<Known>, Error> {
        let sql = format!(
            "SELECT a.id, a.device, a.realm, a.addr, a.mac, a.host_name, {}, a.department
             FROM actor a LEFT JOIN person p ON p.id = a.person",
            who_columns("a")
        );
        let rows = self.all(&sql, [], |r| {
            let (who, department) = (read_who(r, 6)?, r.get(11)?);
            let actor = Arc::new(Actor { who, department, ..read_actor(r, 2)? });
            Ok((r.get(0)?, Known { device: r.get(1)?, actor: self.veil.actor(&actor) }))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Every service that usage names, by number.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn services(&self) -> Result<Numbered<Text>, Error> {
        let sql = "SELECT id, word FROM word WHERE id IN
                       (SELECT service FROM usage UNION SELECT service FROM session)";
        Ok(self.all(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?.into_iter().collect())
    }

    /// Every pattern that usage names, by number.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn patterns(&self) -> Result<Numbered<Text>, Error> {
        let sql = "SELECT id, word FROM word WHERE id IN (SELECT pattern FROM usage)";
        Ok(self.all(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?.into_iter().collect())
    }

    /// Services that were used before a time.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn used_before(&self, at: Timestamp) -> Result<BTreeSet<Text>, Error> {
        let sql = "SELECT word FROM word WHERE id IN
                       (SELECT service FROM usage WHERE hour < ?1 AND level >= ?2)";
        let hour = i64::try_from(at.0.checked_div(HOUR).unwrap_or(0)).unwrap_or(i64::MAX);
        let used = Level::Used.number();
        Ok(self.all(sql, rusqlite::params![hour, used], |r| r.get(0))?.into_iter().collect())
    }

    /// The most of `name` that one input of a scope counted: clients are counted anew in each, so
    /// there were at least so many.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn coverage_max(&self, name: &str, scope: &Scope) -> Result<u64, Error> {
        let sql = format!(
            "SELECT coalesce(max(c.count), 0) FROM coverage c JOIN input i ON i.id = c.input
             WHERE c.name = :name AND {OF_INPUTS} AND i.last_time >= :from AND i.first_time <= :to"
        );
        let (from, to) = scope.span(1);
        let values =
            named_params! { ":name": name, ":inputs": scope.keys()?, ":from": from, ":to": to };
        Ok(self.conn.query_row(&sql, values, |r| r.get::<_, Count>(0))?.0)
    }

    /// Devices that were seen, whether they use AI or not.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn seen(&self, scope: &Scope) -> Result<Seen, Error> {
        const WITHIN: &str =
            "JOIN input i ON i.id = b.input WHERE i.last_time >= :from AND i.first_time <= :to";
        let (from, to) = scope.span(1);
        let times = named_params! { ":from": from, ":to": to };
        let sql = format!("SELECT DISTINCT b.addr, b.mac FROM binding b {WITHIN}");
        let bound: Vec<(Addr, Mac)> = self.all(&sql, times, |r| Ok((r.get(0)?, r.get(1)?)))?;
        let sql = format!(
            "SELECT DISTINCT b.mac, b.text FROM said b {WITHIN} AND b.is_name = 1
             UNION SELECT mac, host_name FROM actor WHERE host_name IS NOT NULL"
        );
        let named: Vec<(Mac, Text)> = self.all(&sql, times, |r| Ok((r.get(0)?, r.get(1)?)))?;
        let users: Vec<Addr> = self.all("SELECT DISTINCT addr FROM actor", [], |r| r.get(0))?;
        let mut seen = Seen::default();
        for (addr, mac) in bound {
            seen.addresses.insert(addr.0);
            if let Some(mac) = mac.0 {
                seen.devices.entry(mac).or_default();
            }
        }
        for (mac, name) in named {
            if let Some(names) = mac.0.and_then(|mac| seen.devices.get_mut(&mac)) {
                names.insert(plain_name(&name));
            }
        }
        seen.addresses.extend(users.into_iter().map(|a| a.0));
        Ok(seen)
    }

    /// How many findings of use of each service hold.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn count_findings(&self, scope: &Scope) -> Result<BTreeMap<Text, u64>, Error> {
        let sql = format!(
            "SELECT w.word, count(*) FROM finding f
             JOIN finding_revision r ON r.finding = f.id AND r.revision = f.revision
             JOIN word w ON w.id = f.service
             WHERE r.withdrawn = 0 AND r.level >= :used AND {OF_INPUTS}
               AND f.day BETWEEN :from AND :to GROUP BY w.word"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! {
            ":inputs": scope.keys()?, ":from": from, ":to": to, ":used": Level::Used.number(),
        };
        let rows = self.all(&sql, values, |r| Ok((r.get(0)?, r.get::<_, Count>(1)?.0)))?;
        Ok(rows.into_iter().collect())
    }

    /// Findings of a service that say most, with evidence: highest level, then most sent.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn telling_findings(
        &self,
        service: &str,
        scope: &Scope,
        max: u32,
    ) -> Result<Vec<Finding>, Error> {
        let sql = format!(
            "{FINDING} WHERE r.withdrawn = 0 AND {OF_INPUTS} AND f.day BETWEEN :from AND :to
               AND f.service = (SELECT id FROM word WHERE word = :service)
             ORDER BY r.level DESC, r.bytes_up DESC, f.key LIMIT :max"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! {
            ":inputs": scope.keys()?, ":from": from, ":to": to, ":service": service, ":max": max,
        };
        let mut findings = self.all(&sql, values, read_finding)?;
        for finding in &mut findings {
            if let Some(row) = self.row_of(&finding.id)? {
                finding.evidence = evidence_of(&self.conn, row)?;
            }
        }
        let findings = findings.into_iter().map(|f| self.veil.finding(f)).collect();
        Ok(findings)
    }

    /// Host names that evidence holds, with service and pattern: what was really asked for.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn names_seen(&self, scope: &Scope) -> Result<BTreeSet<(Text, Text)>, Error> {
        let sql = format!(
            "SELECT DISTINCT w.word, e.name FROM finding f JOIN evidence e ON e.finding = f.id
             JOIN word w ON w.id = f.service
             WHERE {OF_INPUTS} AND f.day BETWEEN :from AND :to"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let rows = self.all(&sql, values, |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }

    /// First and last frame in the store; nothing without inputs.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn span(&self) -> Result<Option<(Timestamp, Timestamp)>, Error> {
        let sql = "SELECT min(first_time), max(last_time) FROM input WHERE frames > 0";
        let span: (Option<Timestamp>, Option<Timestamp>) =
            self.conn.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(span.0.zip(span.1))
    }
}
