//! Findings to alerts: what is told now, what with others, and what at the end of the day.
//!
//! In: the findings that a transaction changed. Out: outbox rows in the same transaction.
//! Never: tells a finding twice at the same revision; drops what it holds back: all of it stands
//! in the day's digest.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::Error;
use super::queries::{evidence_of, finding_at, read_input};
use super::rows::{Actor, Candidate, Finding, InputRow, Text};
use super::sql::Count;
use super::write::Writer;
use crate::recorder::alert::{self, Event, Memory, Rule, Rules};
use crate::recorder::digest::{self, Digest, Held};
use crate::types::Timestamp;

/// Store counter of findings whose alert a cool-down held back.
const ALERTS_COOLED: &str = "alerts_held_by_cooldown";

/// Store counter of findings that a suppression silenced.
const ALERTS_SUPPRESSED: &str = "alerts_suppressed";

/// Nanoseconds of a day.
const DAY: u64 = Timestamp::DAY;

/// Days before a finding's that make its baseline.
const BASELINE_DAYS: u32 = 14;

/// Days of use among them from which on there is a usual: two may be chance.
const BASELINE_LEAST: u64 = 3;

/// Alerts of a day that are kept for what is grave, so that news of the morning do not use up what
/// a forbidden use of the afternoon needs; at most half of them.
const GRAVE_KEPT: u64 = 2;

/// A finding for which rules speak.
struct Spoken {
    row: i64,
    finding: Finding,
    rules: Vec<Rule>,
    memory: Memory,
    /// Told a short while ago: it is not told at once again.
    cooling: bool,
}

impl Spoken {
    /// It is told at once, whatever else waits.
    fn grave(&self) -> bool {
        self.rules.iter().any(|r| r.grave())
    }
}

impl Writer<'_> {
    /// Puts events into the outbox for every changed finding for which a rule speaks, and for
    /// hosts outside the catalogue that are new.
    pub(super) fn alerts(
        &mut self,
        rules: &Rules,
        input: i64,
        changed: &[i64],
        candidates: &[Candidate],
    ) -> Result<u64, Error> {
        let spoken = self.spoken(rules, changed)?;
        let input = read_input(self.tx, input)?;
        let mut alerts = match rules.pace.grouped() {
            None => {
                let mut alerts = 0;
                for one in spoken {
                    alerts += self.tell(&input, vec![one])?;
                }
                alerts
            }
            Some(grouped) => {
                for candidate in candidates {
                    self.hold_host(candidate)?;
                }
                self.paced(rules, grouped, &input, spoken)?
            }
        };
        if rules.pace.grouped().is_none() && rules.candidate {
            for candidate in candidates {
                let event = digest::candidate(&input, candidate);
                self.post(&event.event_id, candidate.last_seen, event.severity, &event)?;
                alerts += 1;
            }
        }
        let newest = self.newest()?;
        Ok(alerts + self.digests(rules, newest.day())?)
    }

    /// The changed findings for which a rule speaks, in the order in which they happened.
    fn spoken(&self, rules: &Rules, changed: &[i64]) -> Result<Vec<Spoken>, Error> {
        let mut findings = Vec::with_capacity(changed.len());
        for &id in changed {
            if let Some(mut finding) = finding_at(self.tx, id)? {
                if !rules.sensitive.departments.is_empty() {
                    finding.actor = self.with_department(&finding.actor, id)?;
                }
                findings.push((id, finding));
            }
        }
        findings.sort_by(|a, b| (a.1.first_seen, &a.1.id).cmp(&(b.1.first_seen, &b.1.id)));
        let mut spoken = Vec::new();
        for (row, finding) in findings {
            if !finding.level.counts() {
                continue;
            }
            let about = self.about(row)?;
            let memory = self.memory(rules, &about)?;
            let decision = alert::decide(rules, &finding, &memory);
            self.remember(&about, Rule::FirstUse, finding.last_seen)?;
            self.remember(&about, Rule::NewUser, finding.last_seen)?;
            // Once a finding, not once for each time that it grows.
            if decision.cooling && finding.revision == 1 {
                self.count(ALERTS_COOLED, 1)?;
            }
            if decision.suppressed && finding.revision == 1 {
                self.count(ALERTS_SUPPRESSED, 1)?;
            }
            for &rule in &decision.rules {
                self.remember(&about, rule, finding.last_seen)?;
            }
            let cooling = decision.rules.is_empty() && decision.cooling;
            let mut spoke = decision.rules;
            if cooling && rules.pace.grouped().is_some() {
                spoke.push(Rule::Forbidden);
            }
            if !spoke.is_empty() {
                spoken.push(Spoken { row, finding, rules: spoke, memory, cooling });
            }
        }
        Ok(spoken)
    }

    fn with_department(&self, actor: &Arc<Actor>, finding: i64) -> Result<Arc<Actor>, Error> {
        let mut find = self.tx.prepare_cached(
            "SELECT a.department FROM finding f JOIN actor a ON a.id = f.actor WHERE f.id = ?1",
        )?;
        let department = find.query_row([finding], |r| r.get(0))?;
        Ok(Arc::new(Actor { department, ..Actor::clone(actor) }))
    }

    /// One alert for the same service, verdict and day; the rest at the end of the day.
    fn paced(
        &mut self,
        rules: &Rules,
        grouped: &alert::Grouped,
        input: &InputRow,
        spoken: Vec<Spoken>,
    ) -> Result<u64, Error> {
        let begin: Option<Timestamp> =
            self.tx.query_row("SELECT min(first_time) FROM input", [], |r| r.get(0))?;
        let begin = begin.unwrap_or_default().day();
        let mut groups: BTreeMap<(u32, u8, String), Vec<Spoken>> = BTreeMap::new();
        for one in spoken {
            let known =
                grouped.decided && one.finding.day >= begin.saturating_add(grouped.inventory_days);
            let grave = one.grave();
            let quiet = rules.quiet(&one.finding);
            if (known || grave) && !quiet && !one.cooling {
                let f = &one.finding;
                let key = (f.day, 10_u8.saturating_sub(f.severity), f.service.to_string());
                groups.entry(key).or_default().push(one);
            } else {
                self.hold(&one)?;
            }
        }
        // The same service with several severities is one group, under its gravest.
        let mut merged: BTreeMap<(u32, String), (u8, Vec<Spoken>)> = BTreeMap::new();
        for ((day, mild, service), members) in groups {
            let group = merged.entry((day, service)).or_insert((mild, Vec::new()));
            group.1.extend(members);
        }
        let mut order: Vec<(u32, u8, Vec<Spoken>)> =
            merged.into_iter().map(|((day, _), (mild, members))| (day, mild, members)).collect();
        order.sort_by_key(|(day, mild, _)| (*day, *mild));
        let mut alerts = 0;
        for (day, _, members) in order {
            // One is kept for the digest.
            let most = u64::from(grouped.daily_max);
            let kept = if members.iter().any(Spoken::grave) { 0 } else { GRAVE_KEPT.min(most / 2) };
            let room = self.told_on(day)?.saturating_add(1).saturating_add(kept) < most;
            let about = match members.first() {
                Some(first) => self.about(first.row)?,
                None => continue,
            };
            let told = self.told(&about, Rule::Group)?.is_some();
            if room && !told {
                let last = members.iter().map(|m| m.finding.last_seen).max().unwrap_or_default();
                self.remember(&about, Rule::Group, last)?;
                alerts += self.tell(input, members)?;
            } else {
                for one in &members {
                    self.hold(one)?;
                }
            }
        }
        Ok(alerts)
    }

    /// One event for some findings, led by the gravest.
    fn tell(&self, input: &InputRow, mut group: Vec<Spoken>) -> Result<u64, Error> {
        group.sort_by_key(|m| {
            std::cmp::Reverse((m.finding.severity, m.finding.bytes_up, m.finding.id.clone()))
        });
        let Some((lead, others)) = group.split_first_mut() else { return Ok(0) };
        lead.finding.evidence = evidence_of(self.tx, lead.row)?;
        // Alerts wait in the store as they leave it: under the veil.
        let shown = self.veil.finding(lead.finding.clone());
        let mut event = Event::new(input, &shown, &lead.rules, &lead.memory);
        let shown = others.iter().map(|m| self.veil.finding(m.finding.clone()));
        let shown: Vec<Finding> = shown.collect();
        event.join(shown.iter().zip(others.iter().map(|m| m.rules.as_slice())));
        let last = lead.finding.last_seen;
        self.post(&event.event_id, last, event.severity, &event)?;
        for one in &group {
            self.tx.execute(
                "UPDATE finding_revision SET alerted = 1 WHERE finding = ?1 AND revision = ?2",
                params![one.row, one.finding.revision],
            )?;
            self.tx.execute("DELETE FROM held WHERE finding = ?1", [one.row])?;
        }
        Ok(1)
    }

    fn hold(&self, one: &Spoken) -> Result<(), Error> {
        let codes: Vec<&str> = one.rules.iter().map(|r| r.code()).collect();
        self.tx.execute(
            "INSERT INTO held (day, finding, host, rules) VALUES (?1, ?2, NULL, ?3)
             ON CONFLICT DO NOTHING",
            params![one.finding.day, one.row, codes.join(" ")],
        )?;
        Ok(())
    }

    fn hold_host(&self, candidate: &Candidate) -> Result<(), Error> {
        self.tx.execute(
            "INSERT INTO held (day, finding, host, rules) VALUES (?1, NULL, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![candidate.day, candidate.host, candidate.grammars],
        )?;
        Ok(())
    }

    /// Tells what was held on every day before `day`. A day that goes on after its digest may have
    /// another one while there is room; what finds none waits for the next day's.
    pub(super) fn digests(&self, rules: &Rules, day: u32) -> Result<u64, Error> {
        let Some(grouped) = rules.pace.grouped() else { return Ok(0) };
        let most = u64::from(grouped.daily_max);
        let today = self.newest()?.day();
        let days: Vec<u32> = self
            .tx
            .prepare("SELECT DISTINCT day FROM held WHERE day < ?1 ORDER BY day")?
            .query_map([day], |r| r.get(0))?
            .collect::<Result<_, _>>()?;
        let mut told = 0;
        for day in days {
            let earlier = self.tx.query_row(
                "SELECT count(*) FROM outbox WHERE event_id BETWEEN ?1 AND ?2",
                // `.` follows `-`.
                [format!("digest-{day}-"), format!("digest-{day}.")],
                |r| r.get::<_, Count>(0),
            )?;
            let over = day < today;
            let kept = u64::from(!over);
            if earlier.0 > 0 && self.told_on(day)?.saturating_add(kept) >= most {
                if over {
                    let sql = "UPDATE OR REPLACE held SET day = ?2 WHERE day = ?1";
                    self.tx.execute(sql, [day, today])?;
                }
                continue;
            }
            let held = self.held(day)?;
            self.tx.execute("DELETE FROM held WHERE day = ?1", [day])?;
            if held.is_empty() {
                continue;
            }
            let digest = Digest::new(day, earlier.0.saturating_add(1), &held);
            let end = Timestamp(u64::from(day).saturating_add(1).saturating_mul(DAY) - 1);
            self.post(&digest.event_id, end, digest.severity, &digest)?;
            told += 1;
        }
        Ok(told)
    }

    fn held(&self, day: u32) -> Result<Vec<Held>, Error> {
        let mut all = self.tx.prepare(
            "SELECT h.finding, h.host, h.rules, a.device
             FROM held h LEFT JOIN finding f ON f.id = h.finding
             LEFT JOIN actor a ON a.id = f.actor WHERE h.day = ?1 ORDER BY h.id",
        )?;
        let rows =
            all.query_map([day], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
                .collect::<Result<Vec<(Option<i64>, Option<String>, String, Option<i64>)>, _>>()?;
        let mut held = Vec::new();
        let names = match self.veil.is_clear() {
            true => HashSet::new(),
            false => super::identity::device_names(self.tx)?,
        };
        for (finding, host, rules, device) in rows {
            match (finding, host) {
                (Some(id), _) => {
                    // Withdrawn since: there is nothing to tell.
                    let Some(finding) = finding_at(self.tx, id)? else { continue };
                    held.push(Held::Finding {
                        finding: Box::new(self.veil.finding(finding)),
                        rules,
                        device: device.unwrap_or(0),
                    });
                }
                (None, Some(host)) => {
                    let host = self.veil.host(&Text::from(host), &names).to_string();
                    held.push(Held::Candidate { host, grammars: rules });
                }
                (None, None) => {}
            }
        }
        Ok(held)
    }

    /// Candidates of an input whose hosts the store had not seen.
    pub(super) fn new_candidates(&self, rows: &[Candidate]) -> Result<Vec<Candidate>, Error> {
        let mut known =
            self.tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM candidate WHERE host = ?1)")?;
        let mut new: Vec<Candidate> = Vec::new();
        for row in rows {
            let seen: bool = known.query_row([&row.host], |r| r.get(0))?;
            if !seen && !new.iter().any(|c| c.host == row.host) {
                new.push(row.clone());
            }
        }
        Ok(new)
    }

    /// Alerts of a day so far.
    fn told_on(&self, day: u32) -> Result<u64, Error> {
        let (from, to) = (u64::from(day).saturating_mul(DAY), DAY);
        let values = params![Timestamp(from), Timestamp(from.saturating_add(to))];
        let sql = "SELECT count(*) FROM outbox WHERE time >= ?1 AND time < ?2 AND severity > 0";
        Ok(self.tx.query_row(sql, values, |r| r.get::<_, Count>(0))?.0)
    }

    /// Last packet of all inputs.
    fn newest(&self) -> Result<Timestamp, Error> {
        let newest: Option<Timestamp> =
            self.tx.query_row("SELECT max(last_time) FROM input", [], |r| r.get(0))?;
        Ok(newest.unwrap_or_default())
    }

    fn about(&self, finding: i64) -> Result<About, Error> {
        Ok(self.tx.query_row(
            "SELECT f.service, a.device, f.day, f.input FROM finding f
             JOIN actor a ON a.id = f.actor WHERE f.id = ?1",
            [finding],
            |r| {
                let (service, device, day) = (r.get(0)?, r.get(1)?, r.get(2)?);
                Ok(About { service, device, day, input: r.get(3)? })
            },
        )?)
    }

    /// When a rule spoke last about the same.
    fn told(&self, about: &About, rule: Rule) -> Result<Option<Timestamp>, Error> {
        let (device, day) = about.key(rule);
        let mut find = self.tx.prepare_cached(
            "SELECT time FROM alert_memory
             WHERE rule = ?1 AND service = ?2 AND device = ?3 AND day = ?4",
        )?;
        let values = params![rule.number(), about.service, device, day];
        Ok(find.query_row(values, |r| r.get(0)).optional()?)
    }

    fn memory(&self, rules: &Rules, about: &About) -> Result<Memory, Error> {
        let sent = |from: u32, to: u32| -> Result<(u64, u64), Error> {
            let mut sent = self.tx.prepare_cached(
                // From the device on: a service has many findings a day, a device few.
                "SELECT coalesce(sum(r.bytes_up), 0), count(DISTINCT f.day) FROM actor a
                 CROSS JOIN finding f ON f.actor = a.id AND f.service = ?1
                        AND f.day BETWEEN ?2 AND ?3
                 JOIN finding_revision r ON r.finding = f.id AND r.revision = f.revision
                 WHERE a.device = ?4 AND r.withdrawn = 0 AND r.level >= 2",
            )?;
            let values = params![about.service, from, to, about.device];
            let read =
                |r: &rusqlite::Row<'_>| Ok((r.get::<_, Count>(0)?.0, r.get::<_, Count>(1)?.0));
            Ok(sent.query_row(values, read)?)
        };
        let (before, days) = match (rules.upload_baseline, about.day.checked_sub(BASELINE_DAYS)) {
            (Some(_), Some(from)) => sent(from, about.day.saturating_sub(1))?,
            _ => (0, 0),
        };
        let usual = if days < BASELINE_LEAST { None } else { before.checked_div(days) };
        Ok(Memory {
            service_known: self.told(about, Rule::FirstUse)?.is_some(),
            user_known: self.told(about, Rule::NewUser)?.is_some(),
            sent_that_day: sent(about.day, about.day)?.0,
            usual_a_day: usual.unwrap_or(0),
            upload_told: self.told(about, Rule::Upload)?.is_some(),
            baseline_told: self.told(about, Rule::Baseline)?.is_some(),
            off_hours_told: self.told(about, Rule::OffHours)?.is_some(),
            forbidden_told: self.told(about, Rule::Forbidden)?,
            longest_upload: match rules.upload_session_bytes {
                Some(_) => self.session_most(about)?,
                None => 0,
            },
            session_told: self.told(about, Rule::Session)?.is_some(),
            risk_told: self.told(about, Rule::Risk)?.is_some(),
            sensitive_told: self.told(about, Rule::Sensitive)?.is_some(),
        })
    }

    /// Bytes that the device sent to the service in one session of the day.
    fn session_most(&self, about: &About) -> Result<u64, Error> {
        let mut most = self.tx.prepare_cached(
            "SELECT coalesce(max(s.bytes_up), 0) FROM actor a
             CROSS JOIN session s ON s.input = ?1 AND s.actor = a.id AND s.service = ?2
             WHERE a.device = ?3 AND s.ended >= ?4 AND s.started < ?5",
        )?;
        let begin = u64::from(about.day).saturating_mul(DAY);
        let (begin, end) = (Timestamp(begin), Timestamp(begin.saturating_add(DAY)));
        let values = params![about.input, about.service, about.device, begin, end];
        Ok(most.query_row(values, |r| r.get::<_, Count>(0))?.0)
    }

    fn remember(&self, about: &About, rule: Rule, time: Timestamp) -> Result<(), Error> {
        let (device, day) = about.key(rule);
        let mut put = self.tx.prepare_cached(
            "INSERT INTO alert_memory VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET time = max(time, excluded.time)",
        )?;
        put.execute(params![rule.number(), about.service, device, day, time])?;
        Ok(())
    }

    fn post(
        &self,
        event_id: &str,
        time: Timestamp,
        severity: u8,
        event: &impl serde::Serialize,
    ) -> Result<(), Error> {
        let payload = serde_json::to_string(event).map_err(|e| Error::Value(e.to_string()))?;
        self.tx.execute(
            "INSERT INTO outbox (event_id, time, severity, payload) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (event_id) DO NOTHING",
            params![event_id, time, severity, payload],
        )?;
        Ok(())
    }
}

/// What alert memory is about.
struct About {
    service: i64,
    device: i64,
    day: u32,
    input: i64,
}

impl About {
    /// Device and day under which a rule remembers; 0 for any.
    fn key(&self, rule: Rule) -> (i64, u32) {
        match rule {
            Rule::FirstUse => (0, 0),
            Rule::NewUser | Rule::Forbidden => (self.device, 0),
            Rule::Upload
            | Rule::Baseline
            | Rule::OffHours
            | Rule::Session
            | Rule::Risk
            | Rule::Sensitive => (self.device, self.day),
            Rule::Group => (0, self.day),
        }
    }
}
