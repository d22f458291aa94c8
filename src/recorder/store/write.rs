//! Puts the rows of one input, or of one live batch, into the store: one transaction.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::queries::finding_at;
use super::rows::{
    Actor, CANDIDATES_MAX, Candidate, Coverage, DESTINATIONS_MAX, DestinationDay, EVIDENCE_MAX,
    EvidenceItem, Finding, Hidden, InputRow, InputRows, OpenFlow, SESSION_GAP, SessionSpan, Text,
    Usage,
};
use super::sql::{Addr, COUNT_MAX, Count, Lines, Mac};
use super::{Committed, Error, identity};
use crate::recorder::alert::Rules;
use crate::recorder::identity::{Person, Veil};
use crate::recorder::words::{Level, Role};
use crate::types::{MacAddr, Timestamp};

/// Coverage row that counts candidates beyond [`CANDIDATES_MAX`].
const CANDIDATES_LEFT_OUT: &str = "candidates_beyond_cap";

/// What becomes of the rows that the input has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They go: a file is scanned again.
    Replace,
    /// They stay, equal keys add up: a live batch.
    Add,
}

/// Writes everything or nothing.
pub fn write(
    conn: &mut Connection,
    rules: &Rules,
    veil: &Veil,
    input: &InputRow,
    rows: &InputRows,
    mode: Mode,
) -> Result<Committed, Error> {
    // Usage may lose its last seconds in a power cut, a finding and its alert may not.
    let durable = mode == Mode::Replace || !rows.findings.is_empty();
    conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut writer = Writer::new(&tx, veil);
    let committed = writer.rows(rules, input, rows, mode)?;
    drop(writer);
    tx.commit()?;
    Ok(committed)
}

/// Tells what waits for the end of its day, now that no more comes.
pub fn flush(conn: &mut Connection, rules: &Rules, veil: &Veil) -> Result<u64, Error> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let writer = Writer::new(&tx, veil);
    let told = writer.digests(rules, u32::MAX)?;
    drop(writer);
    tx.commit()?;
    Ok(told)
}

/// One transaction, with the ids that it has looked up already.
pub(super) struct Writer<'t> {
    pub(super) tx: &'t Transaction<'t>,
    /// How names leave in alerts.
    pub(super) veil: &'t Veil,
    words: HashMap<Text, i64>,
    actors: HashMap<ActorKey, KnownActor>,
}

type ActorKey = (u16, IpAddr, Option<MacAddr>, Person);

struct KnownActor {
    department: Option<Text>,
    id: i64,
    /// Latest name that a row of this transaction gave, and when.
    host_name: Option<(Timestamp, Text)>,
}

impl<'t> Writer<'t> {
    pub(super) fn new(tx: &'t Transaction<'t>, veil: &'t Veil) -> Self {
        Self { tx, veil, words: HashMap::new(), actors: HashMap::new() }
    }
}

impl Writer<'_> {
    fn rows(
        &mut self,
        rules: &Rules,
        input: &InputRow,
        rows: &InputRows,
        mode: Mode,
    ) -> Result<Committed, Error> {
        let id = self.input(input, mode)?;
        if mode == Mode::Replace {
            let tables =
                ["usage", "session", "candidate", "destination", "coverage", "hidden", "ledger"];
            for table in tables {
                self.tx.execute(&format!("DELETE FROM {table} WHERE input = ?1"), [id])?;
            }
        }
        self.tx.execute("DELETE FROM open_flow WHERE input = ?1", [id])?;
        for row in &rows.usage {
            self.usage(id, row)?;
        }
        for row in &rows.sessions {
            self.session(id, row)?;
        }
        let new_candidates = self.new_candidates(&rows.candidates)?;
        for row in &rows.candidates {
            self.candidate(id, row)?;
        }
        for row in &rows.destinations {
            self.destination(id, row)?;
        }
        self.ledger(id, &rows.ledger)?;
        for row in &rows.coverage {
            self.coverage(id, row)?;
        }
        for row in &rows.hidden {
            self.hidden(id, row)?;
        }
        for row in &rows.open_flows {
            self.open_flow(id, row)?;
        }
        identity::write(self.tx, id, &rows.identity, mode == Mode::Replace)?;
        self.fold_candidates(id, rows)?;
        self.fold_destinations(id, rows)?;
        let (changed, withdrawn) = self.findings(id, &rows.findings, mode)?;
        self.host_names()?;
        let alerts = self.alerts(rules, id, &changed, &new_candidates)?;
        Ok(Committed { findings_changed: changed.len() as u64 + withdrawn, alerts })
    }

    fn input(&self, input: &InputRow, mode: Mode) -> Result<i64, Error> {
        let times = match mode {
            Mode::Replace => "first_time = excluded.first_time, last_time = excluded.last_time",
            Mode::Add => {
                "first_time = min(first_time, excluded.first_time),
                 last_time = max(last_time, excluded.last_time)"
            }
        };
        let sql = format!(
            "INSERT INTO input
                 (key, name, size_bytes, frames, first_time, last_time, fault, sensor)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (key) DO UPDATE SET
                 name = excluded.name, size_bytes = excluded.size_bytes,
                 frames = excluded.frames, fault = excluded.fault, sensor = excluded.sensor,
                 {times}
             RETURNING id"
        );
        let values = params![
            input.key,
            input.name,
            Count(input.size_bytes),
            Count(input.frames),
            input.first_time,
            input.last_time,
            input.fault,
            input.sensor,
        ];
        Ok(self.tx.query_row(&sql, values, |r| r.get(0))?)
    }

    fn usage(&mut self, input: i64, row: &Usage) -> Result<(), Error> {
        let actor = self.actor(&row.actor, row.last_seen)?;
        let (service, pattern) = (self.word(&row.service)?, self.word(&row.pattern)?);
        let policy_version = self.word(&row.policy_version)?;
        let signature_version = self.word(&row.signature_version)?;
        let mut put = self.tx.prepare_cached(
            "INSERT INTO usage VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT DO UPDATE SET
                 disposition = excluded.disposition,
                 policy_version = excluded.policy_version,
                 signature_version = excluded.signature_version,
                 bytes_up = min(bytes_up + excluded.bytes_up, ?18),
                 bytes_down = min(bytes_down + excluded.bytes_down, ?18),
                 flows = min(flows + excluded.flows, ?18),
                 first_seen = min(first_seen, excluded.first_seen),
                 last_seen = max(last_seen, excluded.last_seen)",
        )?;
        put.execute(params![
            input,
            row.hour,
            actor,
            service,
            row.role,
            pattern,
            row.client_class,
            row.level,
            row.evidence,
            row.disposition,
            policy_version,
            signature_version,
            Count(row.bytes_up),
            Count(row.bytes_down),
            Count(row.flows),
            row.first_seen,
            row.last_seen,
            Count(COUNT_MAX),
        ])?;
        Ok(())
    }

    /// Adds a span to those of the input, which stay at least [`SESSION_GAP`] apart.
    fn session(&mut self, input: i64, row: &SessionSpan) -> Result<(), Error> {
        let (actor, service) = (self.actor(&row.actor, row.end)?, self.word(&row.service)?);
        let reach_from = Timestamp(row.start.0.saturating_sub(SESSION_GAP));
        let reach_to = Timestamp(row.end.0.saturating_add(SESSION_GAP));
        let mut near = self.tx.prepare_cached(
            "DELETE FROM session
             WHERE input = ?1 AND actor = ?2 AND service = ?3 AND started < ?4 AND ended > ?5
             RETURNING started, ended, level, disposition, bytes_up",
        )?;
        let (mut start, mut end) = (row.start, row.end.max(row.start));
        let (mut level, mut disposition) = (row.level, row.disposition);
        let mut bytes_up = row.bytes_up;
        let mut touching = near.query(params![input, actor, service, reach_to, reach_from])?;
        while let Some(other) = touching.next()? {
            start = start.min(other.get(0)?);
            end = end.max(other.get(1)?);
            level = level.max(other.get(2)?);
            disposition = disposition.min(other.get(3)?);
            bytes_up = bytes_up.saturating_add(other.get::<_, Count>(4)?.0);
        }
        let mut put = self.tx.prepare_cached(
            "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET
                 ended = max(ended, excluded.ended), level = max(level, excluded.level),
                 disposition = min(disposition, excluded.disposition),
                 bytes_up = min(bytes_up + excluded.bytes_up, ?9)",
        )?;
        let (bytes_up, most) = (Count(bytes_up.min(COUNT_MAX)), Count(COUNT_MAX));
        put.execute(params![
            input,
            actor,
            service,
            start,
            end,
            level,
            disposition,
            bytes_up,
            most
        ])?;
        Ok(())
    }

    fn candidate(&self, input: i64, row: &Candidate) -> Result<(), Error> {
        let mut put = self.tx.prepare_cached(
            "INSERT INTO candidate VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?13)
             ON CONFLICT DO UPDATE SET
                 evidence = excluded.evidence, devices = excluded.devices,
                 flows = min(flows + excluded.flows, ?12),
                 bytes_up = min(bytes_up + excluded.bytes_up, ?12),
                 bytes_down = min(bytes_down + excluded.bytes_down, ?12),
                 actors = max(actors, excluded.actors),
                 first_seen = min(first_seen, excluded.first_seen),
                 last_seen = max(last_seen, excluded.last_seen)",
        )?;
        put.execute(params![
            input,
            row.day,
            row.host,
            row.grammars,
            row.evidence,
            Count(row.flows),
            Count(row.bytes_up),
            Count(row.bytes_down),
            Count(row.actors),
            row.first_seen,
            row.last_seen,
            Count(COUNT_MAX),
            row.devices,
        ])?;
        Ok(())
    }

    fn destination(&self, input: i64, row: &DestinationDay) -> Result<(), Error> {
        let mut put = self.tx.prepare_cached(
            "INSERT INTO destination VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET
                 bytes_up = min(bytes_up + excluded.bytes_up, ?8),
                 bytes_down = min(bytes_down + excluded.bytes_down, ?8),
                 flows = min(flows + excluded.flows, ?8),
                 devices = max(devices, excluded.devices)",
        )?;
        put.execute(params![
            input,
            row.day,
            row.name,
            Count(row.bytes_up),
            Count(row.bytes_down),
            Count(row.flows),
            Count(row.devices),
            Count(COUNT_MAX),
        ])?;
        Ok(())
    }

    fn coverage(&self, input: i64, row: &Coverage) -> Result<(), Error> {
        let mut put = self.tx.prepare_cached(
            "INSERT INTO coverage VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET
                 count = min(count + excluded.count, ?5),
                 part_of = coalesce(excluded.part_of, part_of)",
        )?;
        put.execute(params![input, row.name, Count(row.count), row.of, Count(COUNT_MAX)])?;
        Ok(())
    }

    fn hidden(&mut self, input: i64, row: &Hidden) -> Result<(), Error> {
        let (actor, behind) = (self.actor(&row.actor, row.last_seen)?, self.word(&row.behind)?);
        let mut put = self.tx.prepare_cached(
            "INSERT INTO hidden VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET
                 bytes_up = min(bytes_up + excluded.bytes_up, ?10),
                 bytes_down = min(bytes_down + excluded.bytes_down, ?10),
                 flows = min(flows + excluded.flows, ?10),
                 first_seen = min(first_seen, excluded.first_seen),
                 last_seen = max(last_seen, excluded.last_seen)",
        )?;
        put.execute(params![
            input,
            actor,
            behind,
            row.kind,
            Count(row.bytes_up),
            Count(row.bytes_down),
            Count(row.flows),
            row.first_seen,
            row.last_seen,
            Count(COUNT_MAX),
        ])?;
        Ok(())
    }

    fn open_flow(&mut self, input: i64, row: &OpenFlow) -> Result<(), Error> {
        let (service, pattern) = (self.word(&row.service)?, self.word(&row.pattern)?);
        let mut put = self.tx.prepare_cached(
            "INSERT OR REPLACE INTO open_flow VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                  ?18, ?19, ?20, ?21, ?22, ?23)",
        )?;
        put.execute(params![
            input,
            row.realm.0,
            row.transport,
            Addr(row.client.addr),
            row.client.port,
            Addr(row.server.addr),
            row.server.port,
            service,
            row.role,
            pattern,
            row.name,
            row.evidence,
            row.client_class,
            row.level,
            row.ja4,
            Count(row.bytes_up),
            Count(row.bytes_down),
            row.first_seen,
            row.last_seen,
            row.ended,
            row.next_seq[0],
            row.next_seq[1],
            Count(row.hello_bytes),
        ])?;
        Ok(())
    }

    /// Leaves the heaviest candidates of a day, and says how many it left out.
    fn fold_candidates(&self, input: i64, rows: &InputRows) -> Result<(), Error> {
        let days: HashSet<u32> = rows.candidates.iter().map(|c| c.day).collect();
        for day in days {
            let left_out = self.tx.execute(
                "DELETE FROM candidate WHERE (input, day, host, grammars) IN
                     (SELECT input, day, host, grammars FROM candidate
                      WHERE input = ?1 AND day = ?2
                      ORDER BY bytes_up + bytes_down DESC, flows DESC, host, grammars
                      LIMIT -1 OFFSET ?3)",
                params![input, day, Count(CANDIDATES_MAX as u64)],
            )?;
            if left_out > 0 {
                let (name, count) = (Text::from(CANDIDATES_LEFT_OUT), left_out as u64);
                self.coverage(input, &Coverage { name, count, of: None })?;
            }
        }
        Ok(())
    }

    /// Leaves the heaviest destinations of a day, and adds the others up in one row.
    fn fold_destinations(&self, input: i64, rows: &InputRows) -> Result<(), Error> {
        let days: HashSet<u32> = rows.destinations.iter().map(|d| d.day).collect();
        for day in days {
            let mut fold = self.tx.prepare_cached(
                "DELETE FROM destination WHERE (input, day, name) IN
                     (SELECT input, day, name FROM destination
                      WHERE input = ?1 AND day = ?2 AND name <> ?3
                      ORDER BY bytes_up + bytes_down DESC, flows DESC, name
                      LIMIT -1 OFFSET ?4)
                 RETURNING bytes_up, bytes_down, flows, devices",
            )?;
            let values =
                params![input, day, DestinationDay::REMAINDER, Count(DESTINATIONS_MAX as u64)];
            let folded = fold
                .query_map(values, |r| {
                    Ok(DestinationDay {
                        day,
                        name: Text::from(DestinationDay::REMAINDER),
                        bytes_up: r.get::<_, Count>(0)?.0,
                        bytes_down: r.get::<_, Count>(1)?.0,
                        flows: r.get::<_, Count>(2)?.0,
                        devices: r.get::<_, Count>(3)?.0,
                    })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            for row in &folded {
                self.destination(input, row)?;
            }
        }
        Ok(())
    }

    /// Writes findings; returns those that are new or changed, and how many are gone.
    fn findings(
        &mut self,
        input: i64,
        findings: &[Finding],
        mode: Mode,
    ) -> Result<(Vec<i64>, u64), Error> {
        let (mut changed, mut seen) = (Vec::new(), HashSet::new());
        let mut noted = HashSet::new();
        for finding in findings {
            let mode = if seen.contains(&finding.id) { Mode::Add } else { mode };
            seen.insert(&finding.id);
            let (id, is_changed) = self.finding(input, finding, mode)?;
            if mode == Mode::Add && is_changed && finding.level.counts() {
                self.promote(input, finding)?;
            }
            if is_changed && noted.insert(id) {
                changed.push(id);
            }
        }
        let mut withdrawn = 0;
        if mode == Mode::Replace {
            let mut of_input = self.tx.prepare_cached(
                "SELECT f.id, f.key FROM finding f
                 JOIN finding_revision r ON r.finding = f.id AND r.revision = f.revision
                 WHERE f.input = ?1 AND r.withdrawn = 0 ORDER BY f.id",
            )?;
            let of_input = of_input
                .query_map([input], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect::<Result<Vec<(i64, Text)>, _>>()?;
            for (id, _) in of_input.into_iter().filter(|(_, key)| !seen.contains(key)) {
                self.withdraw(id)?;
                withdrawn += 1;
            }
        }
        Ok((changed, withdrawn))
    }

    /// Writes one finding and returns its row, and whether it is new or changed.
    fn finding(&mut self, input: i64, new: &Finding, mode: Mode) -> Result<(i64, bool), Error> {
        let actor = self.actor(&new.actor, new.last_seen)?;
        let service = self.word(&new.service)?;
        let known: Option<(i64, u32)> = self
            .tx
            .prepare_cached("SELECT id, revision FROM finding WHERE key = ?1")?
            .query_row([&new.id], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let stored = match known {
            Some((id, _)) => finding_at(self.tx, id)?,
            None => None,
        };
        let next = match (&stored, mode) {
            (Some(stored), Mode::Add) => added(stored, new),
            _ => new.clone(),
        };
        let is_changed = stored.as_ref().is_none_or(|stored| !same_but(stored, &next, false));
        let id = match known {
            Some((id, _)) => id,
            None => self.tx.query_row(
                "INSERT INTO finding (key, input, actor, service, day, revision, evidence_more)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 0) RETURNING id",
                params![new.id, input, actor, service, new.day],
                |r| r.get(0),
            )?,
        };
        if is_changed {
            let last = known.map_or(0, |(_, revision)| revision);
            let revision = last.saturating_add(1);
            self.revision(id, revision, &next)?;
            // A live finding grows every few seconds; of those revisions that only grew, and
            // that no alert names, the last one tells as much as all of them.
            let only_grew = stored.as_ref().is_some_and(|stored| same_but(stored, &next, true));
            if mode == Mode::Add && only_grew && last > 1 {
                self.tx.execute(
                    "DELETE FROM finding_revision
                     WHERE finding = ?1 AND revision = ?2 AND alerted = 0",
                    params![id, last],
                )?;
            }
        }
        self.evidence(id, new, mode)?;
        Ok((id, is_changed))
    }

    /// Contact that was stored before the device came to use the service is part of that use, as
    /// in [`crate::recorder::aggregate`] where all of a day is there at once.
    fn promote(&mut self, input: i64, finding: &Finding) -> Result<(), Error> {
        let service = self.word(&finding.service)?;
        let actor = &finding.actor;
        let addr = actor.mac.is_none().then_some(Addr(actor.addr));
        let roles = Role::ALL.iter().filter(|r| r.opens_session());
        for role in roles {
            let values = params![
                input,
                service,
                role,
                finding.day,
                actor.realm.0,
                Mac(actor.mac),
                addr,
                Level::Contacted,
                Level::Used,
                Count(COUNT_MAX)
            ];
            let mut lift = self.tx.prepare_cached(
                "INSERT INTO usage
                 SELECT u.input, u.hour, u.actor, u.service, u.role, u.pattern, u.client_class,
                        ?9, u.evidence, u.disposition, u.policy_version, u.signature_version,
                        u.bytes_up, u.bytes_down, u.flows, u.first_seen, u.last_seen
                 FROM usage u JOIN actor a ON a.id = u.actor
                 WHERE u.input = ?1 AND u.service = ?2 AND u.role = ?3 AND u.level = ?8
                   AND u.hour BETWEEN ?4 * 24 AND ?4 * 24 + 23
                   AND a.realm = ?5 AND a.mac = ?6 AND (?7 IS NULL OR a.addr = ?7)
                 ON CONFLICT DO UPDATE SET
                     bytes_up = min(bytes_up + excluded.bytes_up, ?10),
                     bytes_down = min(bytes_down + excluded.bytes_down, ?10),
                     flows = min(flows + excluded.flows, ?10),
                     first_seen = min(first_seen, excluded.first_seen),
                     last_seen = max(last_seen, excluded.last_seen)",
            )?;
            if lift.execute(values)? == 0 {
                continue;
            }
            self.tx.execute(
                "DELETE FROM usage
                 WHERE input = ?1 AND service = ?2 AND role = ?3 AND level = ?7
                   AND hour BETWEEN ?4 * 24 AND ?4 * 24 + 23
                   AND actor IN (SELECT id FROM actor WHERE realm = ?5 AND mac = ?6
                                 AND (?8 IS NULL OR addr = ?8))",
                params![
                    input,
                    service,
                    role,
                    finding.day,
                    actor.realm.0,
                    Mac(actor.mac),
                    Level::Contacted,
                    actor.mac.is_none().then_some(Addr(actor.addr))
                ],
            )?;
        }
        Ok(())
    }

    pub(super) fn revision(&mut self, id: i64, revision: u32, f: &Finding) -> Result<(), Error> {
        let mut words = [0; 7];
        let texts = [
            &f.service_name,
            &f.vendor,
            &f.category,
            &f.pattern,
            &f.policy,
            &f.policy_version,
            &f.signature_version,
        ];
        for (word, text) in words.iter_mut().zip(texts) {
            *word = self.word(text)?;
        }
        let [service_name, vendor, category, pattern, policy, policy_version, signature_version] =
            words;
        let mut put = self.tx.prepare_cached(
            "INSERT INTO finding_revision VALUES
                 (?1, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                  ?17, ?18, ?19, ?20, ?21, ?22)",
        )?;
        put.execute(params![
            id,
            revision,
            f.actor.host_name,
            service_name,
            vendor,
            category,
            pattern,
            f.client_class,
            f.level,
            f.disposition,
            policy,
            policy_version,
            signature_version,
            f.severity,
            Lines(f.reasons.clone()),
            f.title,
            f.next_steps,
            Count(f.bytes_up),
            Count(f.bytes_down),
            Count(f.flows),
            f.first_seen,
            f.last_seen,
        ])?;
        self.tx.execute("UPDATE finding SET revision = ?2 WHERE id = ?1", params![id, revision])?;
        identity::write_people(self.tx, id, revision, &f.people)
    }

    fn evidence(&self, id: i64, new: &Finding, mode: Mode) -> Result<(), Error> {
        let kept: u64 = match mode {
            Mode::Replace => {
                self.tx.execute("DELETE FROM evidence WHERE finding = ?1", [id])?;
                0
            }
            Mode::Add => {
                self.tx
                    .prepare_cached("SELECT count(*) FROM evidence WHERE finding = ?1")?
                    .query_row([id], |r| r.get::<_, Count>(0))?
                    .0
            }
        };
        let room = EVIDENCE_MAX.saturating_sub(usize::try_from(kept).unwrap_or(EVIDENCE_MAX));
        for (item, number) in new.evidence.iter().take(room).zip(kept..) {
            self.evidence_item(id, number, item)?;
        }
        let left_out = new.evidence.len().saturating_sub(room) as u64;
        let more = Count(new.evidence_more.saturating_add(left_out));
        let sql = match mode {
            Mode::Replace => "UPDATE finding SET evidence_more = ?2 WHERE id = ?1",
            Mode::Add => "UPDATE finding SET evidence_more = evidence_more + ?2 WHERE id = ?1",
        };
        self.tx.prepare_cached(sql)?.execute(params![id, more])?;
        Ok(())
    }

    fn evidence_item(&self, id: i64, number: u64, item: &EvidenceItem) -> Result<(), Error> {
        let mut put = self.tx.prepare_cached(
            "INSERT INTO evidence VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                  ?18, ?19)",
        )?;
        put.execute(params![
            id,
            Count(number),
            item.time,
            item.community_id,
            item.capture,
            Count(item.first_frame),
            Count(item.name_frame),
            Count(item.last_frame),
            item.wireshark_filter,
            item.transport,
            Addr(item.client.addr),
            item.client.port,
            Addr(item.server.addr),
            item.server.port,
            item.kind,
            item.name,
            item.ja4,
            item.client_class,
            item.client_evidence,
        ])?;
        Ok(())
    }

    /// Says in a last revision that the finding is not found any more.
    fn withdraw(&self, id: i64) -> Result<(), Error> {
        self.tx.execute(
            "INSERT INTO finding_revision
             SELECT r.finding, r.revision + 1, 1, 0, r.host_name, r.service_name, r.vendor,
                    r.category, r.pattern, r.client_class, r.level, r.disposition, r.policy,
                    r.policy_version, r.signature_version, r.severity, r.reasons, r.title,
                    r.next_steps, r.bytes_up, r.bytes_down, r.flows, r.first_seen, r.last_seen
             FROM finding f
             JOIN finding_revision r ON r.finding = f.id AND r.revision = f.revision
             WHERE f.id = ?1",
            [id],
        )?;
        self.tx.execute(
            "UPDATE finding SET revision = revision + 1, evidence_more = 0 WHERE id = ?1",
            [id],
        )?;
        self.tx.execute("DELETE FROM evidence WHERE finding = ?1", [id])?;
        Ok(())
    }

    pub(super) fn count(&self, name: &str, count: u64) -> Result<(), Error> {
        self.tx.execute(
            "INSERT INTO counter VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
            params![name, Count(count)],
        )?;
        Ok(())
    }

    fn word(&mut self, word: &Text) -> Result<i64, Error> {
        if let Some(&id) = self.words.get(word) {
            return Ok(id);
        }
        self.tx.prepare_cached("INSERT OR IGNORE INTO word (word) VALUES (?1)")?.execute([word])?;
        let mut find = self.tx.prepare_cached("SELECT id FROM word WHERE word = ?1")?;
        let id = find.query_row([word], |r| r.get(0))?;
        self.words.insert(word.clone(), id);
        Ok(id)
    }

    pub(super) fn actor(&mut self, actor: &Actor, at: Timestamp) -> Result<i64, Error> {
        let key = (actor.realm.0, actor.addr, actor.mac, actor.who.clone());
        let named = actor.host_name.clone().map(|name| (at, name));
        if let Some(known) = self.actors.get_mut(&key) {
            known.host_name = known.host_name.take().max(named);
            if actor.department.is_some() {
                known.department.clone_from(&actor.department);
            }
            return Ok(known.id);
        }
        let person = identity::person_id(self.tx, &actor.who)?;
        let (relation, source, many) = identity::columns_of(&actor.who);
        let (addr, mac) = (Addr(actor.addr), Mac(actor.mac));
        let values = params![actor.realm.0, addr, mac, person, relation, source, many];
        let mut find = self.tx.prepare_cached(
            "SELECT id FROM actor WHERE realm = ?1 AND addr = ?2 AND mac = ?3 AND person = ?4
               AND relation = ?5 AND source = ?6 AND many = ?7",
        )?;
        let id = match find.query_row(values, |r| r.get(0)).optional()? {
            Some(id) => id,
            None => self.new_actor(actor, person)?,
        };
        let department = actor.department.clone();
        self.actors.insert(key, KnownActor { id, department, host_name: named });
        Ok(id)
    }

    fn new_actor(&self, actor: &Actor, person: i64) -> Result<i64, Error> {
        let (addr, mac) = (Addr(actor.addr), Mac(actor.mac));
        // Where the link address is not known, the address is the device.
        let device: Option<i64> = self.tx.query_row(
            "SELECT min(device) FROM actor
             WHERE realm = ?1 AND mac = ?2 AND (?2 <> '' OR addr = ?3)",
            params![actor.realm.0, mac, addr],
            |r| r.get(0),
        )?;
        let (relation, source, many) = identity::columns_of(&actor.who);
        let id = self.tx.query_row(
            "INSERT INTO actor
                 (realm, addr, mac, person, relation, source, many, device, host_name_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0) RETURNING id",
            params![actor.realm.0, addr, mac, person, relation, source, many],
            |r| r.get(0),
        )?;
        self.tx.execute(
            "UPDATE actor SET device = ?2 WHERE id = ?1",
            params![id, device.unwrap_or(id)],
        )?;
        Ok(id)
    }

    /// The name that was said last, by capture time, is the actor's, in whatever order inputs come;
    /// the department is that of the configuration which recorded it last.
    pub(super) fn host_names(&self) -> Result<(), Error> {
        let mut put = self.tx.prepare_cached(
            "UPDATE actor SET host_name = ?2, host_name_at = ?3
             WHERE id = ?1 AND (host_name_at, coalesce(host_name, '')) < (?3, ?2)",
        )?;
        let mut place = self.tx.prepare_cached("UPDATE actor SET department = ?2 WHERE id = ?1")?;
        for known in self.actors.values() {
            if let Some((at, name)) = &known.host_name {
                put.execute(params![known.id, name, at])?;
            }
            if known.department.is_some() {
                place.execute(params![known.id, known.department])?;
            }
        }
        Ok(())
    }
}

/// A stored finding with a live batch's growth added.
///
/// The batch speaks for the present, unless it saw less than what is known already: then only
/// its volume counts, or its verdict if that changed.
fn added(stored: &Finding, new: &Finding) -> Finding {
    let speaks = new.level >= stored.level || new.disposition != stored.disposition;
    let mut next = if speaks { new.clone() } else { stored.clone() };
    next.level = stored.level.max(new.level);
    next.bytes_up = stored.bytes_up.saturating_add(new.bytes_up);
    next.bytes_down = stored.bytes_down.saturating_add(new.bytes_down);
    next.flows = stored.flows.saturating_add(new.flows);
    next.first_seen = stored.first_seen.min(new.first_seen);
    next.last_seen = stored.last_seen.max(new.last_seen);
    next.people.clone_from(&stored.people);
    for of in &new.people {
        match next.people.iter_mut().find(|known| known.who == of.who) {
            Some(known) => {
                known.first_seen = known.first_seen.min(of.first_seen);
                known.last_seen = known.last_seen.max(of.last_seen);
                known.bytes_up = known.bytes_up.saturating_add(of.bytes_up);
            }
            None => next.people.push(of.clone()),
        }
    }
    next
}

/// `true` if two states of a finding say the same, revision and evidence apart, and volume and
/// last packet too if `volume_apart`.
fn same_but(a: &Finding, b: &Finding, volume_apart: bool) -> bool {
    let plain = |f: &Finding| {
        // Who it was stands in the persons; the actor's row is that of the first revision.
        let actor = std::sync::Arc::new(Actor {
            who: Person::Unknown,
            department: None,
            ..Actor::clone(&f.actor)
        });
        let mut f =
            Finding { actor, revision: 0, evidence: Vec::new(), evidence_more: 0, ..f.clone() };
        if volume_apart {
            (f.bytes_up, f.bytes_down, f.flows, f.last_seen) = (0, 0, 0, Timestamp(0));
            // The title says the volume too.
            f.title = Text::from("");
            for of in &mut f.people {
                (of.bytes_up, of.last_seen) = (0, Timestamp(0));
            }
        }
        f
    };
    plain(a) == plain(b)
}
