//! Rows for answers that judge anew: use by use, with numbers in place of texts.
//!
//! Out: usage and sessions one at a time, so that a year of a large site fits no memory and needs
//! none; who the actors are; evidence of a service. Nothing here writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rapidhash::fast::RandomState;
use rusqlite::named_params;

use super::queries::{DAY, FINDING, HOUR, OF_INPUTS, evidence_of, read_actor, read_finding};
use super::rows::{Actor, Finding, Text};
use super::sql::Count;
use super::{Answers, Error, Scope};
use crate::recorder::words::{ClientClass, Disposition, Level, Role};
use crate::types::Timestamp;

/// One row of usage.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Hours since the epoch.
    pub hour: u32,
    /// Number of the actor.
    pub actor: i64,
    /// Number of the service.
    pub service: i64,
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

impl Answers {
    /// Gives every row of usage in a scope to `take`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn each_use(&self, scope: &Scope, mut take: impl FnMut(&Use)) -> Result<(), Error> {
        let sql = format!(
            "SELECT hour, actor, service, role, client_class, level, disposition, bytes_up,
                    bytes_down, flows, first_seen, last_seen
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
        let sql = "SELECT id, device, realm, addr, mac, host_name FROM actor";
        let rows = self.all(sql, [], |r| {
            Ok((r.get(0)?, Known { device: r.get(1)?, actor: Arc::new(read_actor(r, 2)?) }))
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
