//! The questions that can be put to the store. Nothing here writes.
//!
//! Every answer has a fixed order, so that equal stores give equal bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row, named_params, params};

use super::Error;
use super::identity::{people_of, read_who, who_columns};
use super::rows::{
    Actor, DestinationDay, EvidenceItem, Finding, InputRow, OpenFlow, PersonUse, SESSION_GAP, Text,
};
use super::sql::{Addr, Count, Lines, Mac};
use crate::recorder::identity::{Person, Veil};
use crate::recorder::ledger::{DEVICE_BYTES, DEVICES_MAX};
use crate::recorder::words::{ClientClass, Disposition, Level};
use crate::types::{Endpoint, Realm, Timestamp};

/// Nanoseconds of an hour and of a day: the grain of usage, and of findings and roll-ups.
pub(super) const HOUR: u64 = 3_600 * Timestamp::SECOND;
pub(super) const DAY: u64 = 24 * HOUR;

/// Restricts a query over a table with `input`.
pub(super) const OF_INPUTS: &str = "(:inputs IS NULL OR input IN
    (SELECT i.id FROM input i JOIN json_each(:inputs) j ON j.value = i.key))";

/// The store, open for questions.
#[derive(Debug)]
pub struct Answers {
    pub(super) conn: Connection,
    /// How names leave.
    pub(super) veil: Veil,
}

/// Which part of the store a question is about; the default is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Keys of inputs.
    pub inputs: Option<Vec<Text>>,
    /// From the hour (findings and roll-ups: the day) that this time lies in.
    pub since: Option<Timestamp>,
    /// To the hour (findings and roll-ups: the day) that this time lies in, included.
    pub until: Option<Timestamp>,
}

/// Volume, presence and time of some kind of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Distinct devices: link addresses where known, else addresses.
    pub devices: u64,
    /// Sessions, merged over inputs and over the addresses of a device.
    pub sessions: u64,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// First packet; 0 if there was none.
    pub first_seen: Timestamp,
    /// Last packet; 0 if there was none.
    pub last_seen: Timestamp,
}

/// One service within a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// Service id.
    pub service: Text,
    /// Verdict.
    pub disposition: Disposition,
    /// Highest level seen.
    pub level: Level,
    /// What was used: the figures that count.
    pub used: Totals,
    /// What was only named or contacted; devices and sessions that used it are not among these.
    pub below: Totals,
}

/// Services of like verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Sum over services; devices counted once.
    pub used: Totals,
    /// Sum over services of what was only named or contacted; devices counted once.
    pub below: Totals,
    /// By bytes sent, the most first.
    pub services: Vec<ServiceLine>,
}

/// Which policy and catalogue some of the figures were judged by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Judged {
    /// Version of the policy.
    pub policy_version: Text,
    /// Version of the catalogue.
    pub signature_version: Text,
}

/// A host outside the catalogue that behaves like an AI service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateLine {
    /// Host name or address.
    pub host: Text,
    /// API grammars seen.
    pub grammars: Vec<Text>,
    /// What was seen, for a person.
    pub evidence: Text,
    /// Distinct clients, at least; volume and time. It has no sessions: nobody knows it is use.
    pub totals: Totals,
}

/// What a person reads first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Inputs that the figures rest on.
    pub inputs: u64,
    /// Frames in them.
    pub frames: u64,
    /// First frame of them; 0 if there was none.
    pub first_time: Timestamp,
    /// Last frame of them; 0 if there was none.
    pub last_time: Timestamp,
    /// What the figures were judged by.
    pub judged: Vec<Judged>,
    /// `unsanctioned`.
    pub forbidden: Group,
    /// In the catalogue, nobody decided.
    pub unreviewed: Group,
    /// `sanctioned` and `tolerated`.
    pub allowed: Group,
    /// Not in the catalogue; never counted as use. By volume, the most first.
    pub candidates: Vec<CandidateLine>,
}

/// One number of coverage over the inputs of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageLine {
    /// Name of ours.
    pub name: Text,
    /// How many.
    pub count: u64,
    /// What that is a part of, and how many of those there are.
    pub of: Option<(Text, u64)>,
}

/// One device and what hides its traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenLine {
    /// Who, by the address that was seen.
    pub actor: Arc<Actor>,
    /// Security edge, relay or tunnel by its name.
    pub behind: Text,
    /// `security-edge`, `relay` or `tunnel`.
    pub kind: Text,
    /// Volume and time; devices and sessions are not counted here.
    pub totals: Totals,
}

/// One user of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBy {
    /// Who, by the address that was seen.
    pub actor: Arc<Actor>,
    /// Client classes seen.
    pub client_classes: Vec<ClientClass>,
    /// Verdict; the worst if there were several.
    pub disposition: Disposition,
    /// Highest level.
    pub level: Level,
    /// Volume and time, at all levels; devices and sessions are not counted here.
    pub totals: Totals,
    /// Payload bytes sent in use.
    pub used_bytes_up: u64,
    /// Payload bytes received in use.
    pub used_bytes_down: u64,
}

/// One state in the history of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Number, from 1. Some may be missing: revisions that only grew give way to the next.
    pub revision: u32,
    /// The finding is not found any more.
    pub withdrawn: bool,
    /// An alert names this revision.
    pub alerted: bool,
    /// Level.
    pub level: Level,
    /// Verdict.
    pub disposition: Disposition,
    /// Policy that gave it.
    pub policy_version: Text,
    /// Catalogue that gave the service.
    pub signature_version: Text,
    /// Severity.
    pub severity: u8,
    /// Payload bytes from the client.
    pub bytes_up: u64,
    /// Payload bytes to the client.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// Last packet.
    pub last_seen: Timestamp,
}

impl Answers {
    /// `true` if the store holds an input from its first frame to its last, no frame left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn holds_whole(&self, key: &str) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM input WHERE key = ?1 AND NOT EXISTS
                       (SELECT 1 FROM coverage c
                        WHERE c.input = input.id AND c.name = 'frames_not_selected'))";
        Ok(self.conn.query_row(sql, [key], |r| r.get(0))?)
    }

    /// The time by which rows are old: that of the newest input, or of the one before if the newest
    /// alone lies more than a month ahead, as a capture with a wrong clock does.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn trusted_time(&self) -> Result<Timestamp, Error> {
        const MONTH: u64 = 31 * Timestamp::DAY;
        let mut last =
            self.conn.prepare("SELECT last_time FROM input ORDER BY last_time DESC LIMIT 2")?;
        let times = last.query_map([], |r| r.get(0))?.collect::<Result<Vec<Timestamp>, _>>()?;
        Ok(match times.as_slice() {
            [newest, before] if newest.since(*before) > MONTH => *before,
            [newest, ..] => *newest,
            [] => Timestamp::default(),
        })
    }

    /// The four groups with their services and totals.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn summary(&self, scope: &Scope) -> Result<Summary, Error> {
        // One snapshot for all of it, while another process may be writing.
        let _snapshot = self.conn.unchecked_transaction()?;
        let mut tally = Tally::default();
        self.tally_usage(scope, &mut tally)?;
        self.tally_sessions(scope, &mut tally)?;
        let mut summary = self.span_of_inputs(scope)?;
        summary.judged = self.judged(scope)?;
        summary.candidates = self.candidates(scope)?;
        for (group, dispositions) in [
            (&mut summary.forbidden, &[Disposition::Unsanctioned][..]),
            (&mut summary.unreviewed, &[Disposition::Unreviewed][..]),
            (&mut summary.allowed, &[Disposition::Tolerated, Disposition::Sanctioned][..]),
        ] {
            *group = tally.group(dispositions);
        }
        Ok(summary)
    }

    /// Findings that hold, the most severe first, without their evidence.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn findings(&self, scope: &Scope) -> Result<Vec<Finding>, Error> {
        let sql = format!(
            "{FINDING} WHERE r.withdrawn = 0 AND {OF_INPUTS} AND f.day BETWEEN :from AND :to
             ORDER BY r.severity DESC, r.level DESC, r.disposition, r.bytes_up DESC, f.key"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let found = self.all(&sql, values, |r| Ok((r.get::<_, Text>(0)?, read_finding(r)?)))?;
        found.into_iter().map(|(key, finding)| self.peopled(&key, finding)).collect()
    }

    /// The finding with its persons, under the veil.
    fn peopled(&self, key: &str, mut finding: Finding) -> Result<Finding, Error> {
        if let Some(row) = self.row_of(key)? {
            finding.people = people_of(&self.conn, row)?;
            finding.actor = of_people(&finding.actor, &finding.people);
        }
        Ok(self.veil.finding(finding))
    }

    /// A finding that holds, with its evidence.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn finding(&self, id: &str) -> Result<Option<Finding>, Error> {
        let Some(row) = self.row_of(id)? else { return Ok(None) };
        let Some(mut finding) = finding_at(&self.conn, row)? else { return Ok(None) };
        finding.evidence = evidence_of(&self.conn, row)?;
        Ok(Some(self.veil.finding(finding)))
    }

    /// Ids of findings that begin with `prefix`, at most `max` of them, in order.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn finding_ids(&self, prefix: &str, max: usize) -> Result<Vec<Text>, Error> {
        self.all(
            "SELECT key FROM finding WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT ?2",
            params![prefix, Count(max as u64)],
            |r| r.get(0),
        )
    }

    /// Where to look for a finding; empty if there is no such finding.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn evidence(&self, id: &str) -> Result<Vec<EvidenceItem>, Error> {
        match self.row_of(id)? {
            Some(row) => {
                let items = evidence_of(&self.conn, row)?.into_iter();
                Ok(items.map(|item| self.veil.evidence(item)).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// The input that a finding lies in; nothing if there is no such finding.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn input_of(&self, id: &str) -> Result<Option<InputRow>, Error> {
        let sql = "SELECT input FROM finding WHERE key = ?1";
        let input = self.conn.query_row(sql, [id], |r| r.get(0)).optional()?;
        input.map(|input| read_input(&self.conn, input)).transpose()
    }

    /// What became of a finding, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn history(&self, id: &str) -> Result<Vec<Revision>, Error> {
        self.all(
            "SELECT r.revision, r.withdrawn, r.alerted, r.level, r.disposition, p.word, s.word,
                    r.severity, r.bytes_up, r.bytes_down, r.flows, r.last_seen
             FROM finding f JOIN finding_revision r ON r.finding = f.id
             JOIN word p ON p.id = r.policy_version JOIN word s ON s.id = r.signature_version
             WHERE f.key = ?1 ORDER BY r.revision",
            [id],
            |r| {
                Ok(Revision {
                    revision: r.get(0)?,
                    withdrawn: r.get(1)?,
                    alerted: r.get(2)?,
                    level: r.get(3)?,
                    disposition: r.get(4)?,
                    policy_version: r.get(5)?,
                    signature_version: r.get(6)?,
                    severity: r.get(7)?,
                    bytes_up: r.get::<_, Count>(8)?.0,
                    bytes_down: r.get::<_, Count>(9)?.0,
                    flows: r.get::<_, Count>(10)?.0,
                    last_seen: r.get(11)?,
                })
            },
        )
    }

    /// Who used a service, by bytes sent, the most first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn seen_by(&self, service: &str, scope: &Scope) -> Result<Vec<SeenBy>, Error> {
        let sql = format!(
            "SELECT a.realm, a.addr, a.mac, a.host_name, u.classes, u.disposition, u.level,
                    u.up, u.down, u.flows, u.first_seen, u.last_seen, u.used_up, u.used_down,
                    {}
             FROM (SELECT actor, group_concat(DISTINCT client_class) AS classes,
                          min(disposition) AS disposition, max(level) AS level,
                          sum(bytes_up) AS up, sum(bytes_down) AS down, sum(flows) AS flows,
                          sum(bytes_up * (level >= :used)) AS used_up,
                          sum(bytes_down * (level >= :used)) AS used_down,
                          min(first_seen) AS first_seen, max(last_seen) AS last_seen
                   FROM usage
                   WHERE service = (SELECT id FROM word WHERE word = :service)
                     AND {OF_INPUTS} AND hour BETWEEN :from AND :to
                   GROUP BY actor) u
             JOIN actor a ON a.id = u.actor LEFT JOIN person p ON p.id = a.person
             ORDER BY u.up DESC, u.down DESC, a.realm, a.addr, a.mac, p.user, a.many",
            who_columns("a")
        );
        let (from, to) = scope.span(HOUR);
        let values = named_params! {
            ":service": service, ":inputs": scope.keys()?, ":from": from, ":to": to,
            ":used": Level::Used.number(),
        };
        self.all(&sql, values, |r| {
            let classes: String = r.get(4)?;
            let classes: BTreeSet<_> = classes
                .split(',')
                .filter_map(|n| n.parse().ok().and_then(ClientClass::from_number))
                .collect();
            Ok(SeenBy {
                actor: self
                    .veil
                    .actor(&Arc::new(Actor { who: read_who(r, 14)?, ..read_actor(r, 0)? })),
                client_classes: classes.into_iter().collect(),
                disposition: r.get(5)?,
                level: r.get(6)?,
                totals: read_volume(r, 7)?,
                used_bytes_up: r.get::<_, Count>(12)?.0,
                used_bytes_down: r.get::<_, Count>(13)?.0,
            })
        })
    }

    /// Names of captures, other than `but` and the input itself, whose time this one shares.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn inputs_beside(&self, input: &InputRow, but: &[Text]) -> Result<Vec<Text>, Error> {
        let sql = "SELECT name FROM input
             WHERE sensor IS NULL AND frames > 0 AND first_time < ?1 AND last_time > ?2
                   AND key <> ?3 AND key NOT IN (SELECT value FROM json_each(?4))
             ORDER BY first_time, name";
        let but = Scope { inputs: Some(but.to_vec()), ..Scope::default() }.keys()?;
        let values = params![input.last_time, input.first_time, input.key, but];
        self.all(sql, values, |r| r.get(0))
    }

    /// Hosts outside the catalogue that behave like AI services, by volume, the most first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn candidates(&self, scope: &Scope) -> Result<Vec<CandidateLine>, Error> {
        let sql = format!(
            "SELECT host, group_concat(grammars), min(evidence), max(actors), sum(bytes_up),
                    sum(bytes_down), sum(flows), min(first_seen), max(last_seen),
                    group_concat(hex(devices), '')
             FROM candidate WHERE {OF_INPUTS} AND day BETWEEN :from AND :to
             GROUP BY host ORDER BY sum(bytes_up) + sum(bytes_down) DESC, host"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let names = self.device_names()?;
        self.all(&sql, values, |r| {
            let grammars: String = r.get(1)?;
            let grammars: BTreeSet<&str> = grammars.split(',').filter(|g| !g.is_empty()).collect();
            // Of each input alone, and of all together as far as hashes of them are kept.
            let hashes: String = r.get(9)?;
            let together: BTreeSet<&[u8]> =
                hashes.as_bytes().chunks_exact(2 * DEVICE_BYTES).collect();
            let devices = r.get::<_, Count>(3)?.0.max(together.len().min(DEVICES_MAX) as u64);
            Ok(CandidateLine {
                host: self.veil.host(&r.get(0)?, &names),
                grammars: grammars.into_iter().map(Text::from).collect(),
                evidence: r.get(2)?,
                totals: Totals { devices, ..read_volume(r, 4)? },
            })
        })
    }

    /// Daily roll-up of what matched nothing: by day, then by volume, the most first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn destinations(&self, scope: &Scope) -> Result<Vec<DestinationDay>, Error> {
        let sql = format!(
            "SELECT day, name, sum(bytes_up), sum(bytes_down), sum(flows), max(devices)
             FROM destination WHERE {OF_INPUTS} AND day BETWEEN :from AND :to
             GROUP BY day, name ORDER BY day, sum(bytes_up) + sum(bytes_down) DESC, name"
        );
        let (from, to) = scope.span(DAY);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let names = self.device_names()?;
        self.all(&sql, values, |r| {
            Ok(DestinationDay {
                day: r.get(0)?,
                name: self.veil.host(&r.get(1)?, &names),
                bytes_up: r.get::<_, Count>(2)?.0,
                bytes_down: r.get::<_, Count>(3)?.0,
                flows: r.get::<_, Count>(4)?.0,
                devices: r.get::<_, Count>(5)?.0,
            })
        })
    }

    /// What was seen and could not be seen in the inputs of a scope, by name. Without inputs in
    /// the scope, what the store itself left out or forgot is among it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn coverage(&self, scope: &Scope) -> Result<Vec<CoverageLine>, Error> {
        let sql = format!(
            "SELECT c.name, sum(c.count), max(c.part_of)
             FROM coverage c JOIN input i ON i.id = c.input
             WHERE {OF_INPUTS} AND i.last_time >= :from AND i.first_time <= :to
             GROUP BY c.name
             UNION ALL SELECT name, count, NULL FROM counter WHERE :inputs IS NULL
             ORDER BY 1"
        );
        let (from, to) = scope.span(1);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let rows: Vec<(Text, Count, Option<Text>)> =
            self.all(&sql, values, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let counts: BTreeMap<&Text, u64> = rows.iter().map(|r| (&r.0, r.1.0)).collect();
        let line = |(name, count, of): &(Text, Count, Option<Text>)| CoverageLine {
            name: name.clone(),
            count: count.0,
            of: of.as_ref().map(|of| (of.clone(), counts.get(of).copied().unwrap_or(0))),
        };
        Ok(rows.iter().map(line).collect())
    }

    /// Devices whose traffic goes where nobody can look, by volume, the most first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn hidden(&self, scope: &Scope) -> Result<Vec<HiddenLine>, Error> {
        let sql = format!(
            "SELECT a.realm, a.addr, a.mac, a.host_name, w.word, h.kind,
                    h.up, h.down, h.flows, h.first_seen, h.last_seen
             FROM (SELECT actor, behind, max(kind) AS kind, sum(bytes_up) AS up,
                          sum(bytes_down) AS down, sum(flows) AS flows,
                          min(first_seen) AS first_seen, max(last_seen) AS last_seen
                   FROM hidden
                   WHERE {OF_INPUTS} AND last_seen >= :from AND first_seen <= :to
                   GROUP BY actor, behind) h
             JOIN actor a ON a.id = h.actor JOIN word w ON w.id = h.behind
             ORDER BY h.up + h.down DESC, a.realm, a.addr, a.mac, w.word"
        );
        let (from, to) = scope.span(1);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        self.all(&sql, values, |r| {
            Ok(HiddenLine {
                actor: self.veil.actor(&Arc::new(read_actor(r, 0)?)),
                behind: r.get(4)?,
                kind: r.get(5)?,
                totals: read_volume(r, 6)?,
            })
        })
    }

    /// Every input of a scope, by time of its first frame.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn inputs(&self, scope: &Scope) -> Result<Vec<InputRow>, Error> {
        let sql = format!(
            "{INPUT} WHERE (:inputs IS NULL OR key IN (SELECT value FROM json_each(:inputs)))
               AND last_time >= :from AND first_time <= :to ORDER BY first_time, key"
        );
        let (from, to) = scope.span(1);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        self.all(&sql, values, read_input_row)
    }

    /// Named flows that were still open when an input ended and had their last packet before
    /// `before`: the latest state of each, by five-tuple.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open_flows(&self, before: Timestamp) -> Result<Vec<OpenFlow>, Error> {
        let rows: Vec<OpenFlow> = self.all(
            "SELECT o.realm, o.transport, o.client_addr, o.client_port, o.server_addr,
                    o.server_port, s.word, o.role, p.word, o.name, o.evidence, o.client_class,
                    o.level, o.ja4, o.bytes_up, o.bytes_down, o.first_seen, o.last_seen, o.ended,
                    o.next_seq_up, o.next_seq_down, o.hello_bytes
             FROM open_flow o JOIN word s ON s.id = o.service JOIN word p ON p.id = o.pattern
             JOIN input i ON i.id = o.input
             WHERE o.last_seen < ?1
             ORDER BY o.realm, o.transport, o.client_addr, o.client_port, o.server_addr,
                      o.server_port, o.last_seen DESC, o.ended DESC, i.key",
            [before],
            |r| {
                let end = |addr: Addr, port: u16| Endpoint { addr: addr.0, port };
                Ok(OpenFlow {
                    realm: Realm(r.get(0)?),
                    transport: r.get(1)?,
                    client: end(r.get(2)?, r.get(3)?),
                    server: end(r.get(4)?, r.get(5)?),
                    service: r.get(6)?,
                    role: r.get(7)?,
                    pattern: r.get(8)?,
                    name: r.get(9)?,
                    evidence: r.get(10)?,
                    client_class: r.get(11)?,
                    level: r.get(12)?,
                    ja4: r.get(13)?,
                    bytes_up: r.get::<_, Count>(14)?.0,
                    bytes_down: r.get::<_, Count>(15)?.0,
                    first_seen: r.get(16)?,
                    last_seen: r.get(17)?,
                    ended: r.get(18)?,
                    next_seq: [r.get(19)?, r.get(20)?],
                    hello_bytes: r.get::<_, Count>(21)?.0,
                })
            },
        )?;
        let mut latest: Vec<OpenFlow> = Vec::with_capacity(rows.len());
        for row in rows {
            let tuple = |f: &OpenFlow| (f.realm, f.transport, f.client, f.server);
            if latest.last().is_none_or(|last| tuple(last) != tuple(&row)) {
                latest.push(row);
            }
        }
        latest.retain(|flow| !flow.ended);
        Ok(latest)
    }

    fn tally_usage(&self, scope: &Scope, tally: &mut Tally) -> Result<(), Error> {
        let sql = format!(
            "SELECT u.disposition, w.word, a.device, u.level, sum(u.bytes_up), sum(u.bytes_down),
                    sum(u.flows), min(u.first_seen), max(u.last_seen)
             FROM usage u JOIN actor a ON a.id = u.actor JOIN word w ON w.id = u.service
             WHERE {OF_INPUTS} AND u.hour BETWEEN :from AND :to
             GROUP BY u.disposition, w.word, a.device, u.level"
        );
        let (from, to) = scope.span(HOUR);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let rows = self.all(&sql, values, |r| {
            Ok((r.get(0)?, r.get::<_, Text>(1)?, r.get(2)?, r.get(3)?, read_volume(r, 4)?))
        })?;
        for (disposition, service, device, level, volume) in rows {
            tally.usage(disposition, service, device, level, &volume);
        }
        Ok(())
    }

    /// Merges spans over inputs and over the addresses of a device.
    fn tally_sessions(&self, scope: &Scope, tally: &mut Tally) -> Result<(), Error> {
        let sql = format!(
            "SELECT w.word, a.device, s.started, s.ended, s.level, s.disposition
             FROM session s JOIN actor a ON a.id = s.actor JOIN word w ON w.id = s.service
             WHERE {OF_INPUTS} AND s.ended >= :from AND s.started <= :to
             ORDER BY w.word, a.device, s.started, s.ended"
        );
        let (from, to) = scope.span(1);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query(values)?;
        let mut open: Option<Span> = None;
        while let Some(row) = rows.next()? {
            let next = Span {
                service: row.get(0)?,
                device: row.get(1)?,
                end: row.get(3)?,
                level: row.get(4)?,
                disposition: row.get(5)?,
            };
            let start: Timestamp = row.get(2)?;
            match &mut open {
                Some(span) if span.goes_on(&next, start) => span.take(&next),
                _ => {
                    if let Some(done) = open.replace(next) {
                        tally.session(done);
                    }
                }
            }
        }
        if let Some(done) = open {
            tally.session(done);
        }
        Ok(())
    }

    fn span_of_inputs(&self, scope: &Scope) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        for input in self.inputs(scope)? {
            let first = summary.inputs == 0;
            summary.inputs = summary.inputs.saturating_add(1);
            summary.frames = summary.frames.saturating_add(input.frames);
            if first || input.first_time < summary.first_time {
                summary.first_time = input.first_time;
            }
            summary.last_time = summary.last_time.max(input.last_time);
        }
        Ok(summary)
    }

    /// Policies and catalogues that the rows of a scope were judged by.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn judged(&self, scope: &Scope) -> Result<Vec<Judged>, Error> {
        let sql = format!(
            "SELECT DISTINCT p.word, s.word FROM usage u
             JOIN word p ON p.id = u.policy_version JOIN word s ON s.id = u.signature_version
             WHERE {OF_INPUTS} AND u.hour BETWEEN :from AND :to ORDER BY 1, 2"
        );
        let (from, to) = scope.span(HOUR);
        let values = named_params! { ":inputs": scope.keys()?, ":from": from, ":to": to };
        self.all(&sql, values, |r| {
            Ok(Judged { policy_version: r.get(0)?, signature_version: r.get(1)? })
        })
    }

    /// Names of devices, where they must not leave.
    fn device_names(&self) -> Result<HashSet<Text>, Error> {
        if self.veil.is_clear() {
            return Ok(HashSet::new());
        }
        super::identity::device_names(&self.conn)
    }

    pub(super) fn row_of(&self, id: &str) -> Result<Option<i64>, Error> {
        let sql = "SELECT id FROM finding WHERE key = ?1";
        Ok(self.conn.query_row(sql, [id], |r| r.get(0)).optional()?)
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(values, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Scope {
    /// Keys of inputs as a JSON array, which is how a list gets into a statement.
    pub(super) fn keys(&self) -> Result<Option<String>, Error> {
        let Some(inputs) = &self.inputs else { return Ok(None) };
        let keys: Vec<&str> = inputs.iter().map(|key| &**key).collect();
        serde_json::to_string(&keys).map(Some).map_err(|e| Error::Value(e.to_string()))
    }

    /// First and last whole `grain` of the scope.
    pub(super) fn span(&self, grain: u64) -> (i64, i64) {
        let whole = |time: Timestamp| {
            i64::try_from(time.0.checked_div(grain).unwrap_or(0)).unwrap_or(i64::MAX)
        };
        (self.since.map_or(i64::MIN, whole), self.until.map_or(i64::MAX, whole))
    }
}

/// Figures by verdict and service, while they are added up.
#[derive(Default)]
struct Tally {
    lines: BTreeMap<(Disposition, Text), Line>,
}

#[derive(Default)]
struct Line {
    level: Option<Level>,
    used: Totals,
    below: Totals,
    used_by: HashSet<i64>,
    below_by: HashSet<i64>,
}

impl Tally {
    fn usage(
        &mut self,
        disposition: Disposition,
        service: Text,
        device: i64,
        level: Level,
        volume: &Totals,
    ) {
        let line = self.lines.entry((disposition, service)).or_default();
        line.level = line.level.max(Some(level));
        if level.counts() {
            line.used.add(volume);
            line.used_by.insert(device);
        } else {
            line.below.add(volume);
            line.below_by.insert(device);
        }
    }

    fn session(&mut self, span: Span) {
        let line = self.lines.entry((span.disposition, span.service)).or_default();
        line.level = line.level.max(Some(span.level));
        let totals = if span.level.counts() { &mut line.used } else { &mut line.below };
        totals.sessions = totals.sessions.saturating_add(1);
    }

    fn group(&self, dispositions: &[Disposition]) -> Group {
        let mut group = Group::default();
        let (mut used_by, mut below_by) = (HashSet::<i64>::new(), HashSet::<i64>::new());
        for ((disposition, service), line) in &self.lines {
            if !dispositions.contains(disposition) {
                continue;
            }
            used_by.extend(&line.used_by);
            below_by.extend(&line.below_by);
            let only_below = line.below_by.difference(&line.used_by).count() as u64;
            let used = Totals { devices: line.used_by.len() as u64, ..line.used };
            let below = Totals { devices: only_below, ..line.below };
            group.used.add(&used);
            group.below.add(&below);
            group.services.push(ServiceLine {
                service: service.clone(),
                disposition: *disposition,
                level: line.level.unwrap_or(Level::Named),
                used,
                below,
            });
        }
        group.used.devices = used_by.len() as u64;
        group.below.devices = below_by.difference(&used_by).count() as u64;
        group.services.sort_by_key(|line| {
            let volume = (line.used.bytes_up, line.used.bytes_down, line.below.flows);
            (std::cmp::Reverse(volume), line.service.clone(), line.disposition)
        });
        group
    }
}

impl Totals {
    /// Adds volume, sessions and time; devices are sets, which the caller counts.
    fn add(&mut self, other: &Totals) {
        let unseen = |t: &Totals| t.last_seen == Timestamp(0);
        if !unseen(other) {
            let first = if unseen(self) { other.first_seen } else { self.first_seen };
            self.first_seen = first.min(other.first_seen);
            self.last_seen = self.last_seen.max(other.last_seen);
        }
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
        self.flows = self.flows.saturating_add(other.flows);
    }
}

/// A session while it is merged.
struct Span {
    service: Text,
    device: i64,
    end: Timestamp,
    level: Level,
    disposition: Disposition,
}

impl Span {
    fn goes_on(&self, next: &Span, start: Timestamp) -> bool {
        self.service == next.service
            && self.device == next.device
            && start.since(self.end) < SESSION_GAP
    }

    fn take(&mut self, next: &Span) {
        self.end = self.end.max(next.end);
        self.level = self.level.max(next.level);
        self.disposition = self.disposition.min(next.disposition);
    }
}

const INPUT: &str =
    "SELECT key, name, size_bytes, frames, first_time, last_time, fault, sensor FROM input";

pub(super) fn read_input(conn: &Connection, id: i64) -> Result<InputRow, Error> {
    Ok(conn.query_row(&format!("{INPUT} WHERE id = ?1"), [id], read_input_row)?)
}

fn read_input_row(r: &Row<'_>) -> rusqlite::Result<InputRow> {
    Ok(InputRow {
        key: r.get(0)?,
        name: r.get(1)?,
        size_bytes: r.get::<_, Count>(2)?.0,
        frames: r.get::<_, Count>(3)?.0,
        first_time: r.get(4)?,
        last_time: r.get(5)?,
        fault: r.get(6)?,
        sensor: r.get(7)?,
    })
}

pub(super) const FINDING: &str = "
    SELECT f.key, a.realm, a.addr, a.mac, r.host_name, ws.word, f.day, r.revision, wn.word,
           wv.word, wc.word, wt.word, r.client_class, r.level, r.disposition, wp.word, wpv.word,
           wsv.word, r.severity, r.reasons, r.title, r.next_steps, r.bytes_up, r.bytes_down,
           r.flows, r.first_seen, r.last_seen, f.evidence_more
    FROM finding f
    JOIN finding_revision r ON r.finding = f.id AND r.revision = f.revision
    JOIN actor a ON a.id = f.actor
    JOIN word ws ON ws.id = f.service
    JOIN word wn ON wn.id = r.service_name
    JOIN word wv ON wv.id = r.vendor
    JOIN word wc ON wc.id = r.category
    JOIN word wt ON wt.id = r.pattern
    JOIN word wp ON wp.id = r.policy
    JOIN word wpv ON wpv.id = r.policy_version
    JOIN word wsv ON wsv.id = r.signature_version";

/// The finding in a row, without evidence; `None` if it was withdrawn.
pub(super) fn finding_at(conn: &Connection, id: i64) -> Result<Option<Finding>, Error> {
    let mut statement =
        conn.prepare_cached(&format!("{FINDING} WHERE f.id = ?1 AND r.withdrawn = 0"))?;
    let Some(mut finding) = statement.query_row([id], read_finding).optional()? else {
        return Ok(None);
    };
    finding.people = people_of(conn, id)?;
    finding.actor = of_people(&finding.actor, &finding.people);
    Ok(Some(finding))
}

/// The actor of a finding with the one person of it, if it is one.
fn of_people(actor: &Arc<Actor>, people: &[PersonUse]) -> Arc<Actor> {
    match people {
        [one] => Arc::new(Actor { who: one.who.clone(), ..Actor::clone(actor) }),
        _ => actor.clone(),
    }
}

pub(super) fn read_finding(r: &Row<'_>) -> rusqlite::Result<Finding> {
    Ok(Finding {
        id: r.get(0)?,
        actor: Arc::new(read_actor(r, 1)?),
        service: r.get(5)?,
        day: r.get(6)?,
        revision: r.get(7)?,
        service_name: r.get(8)?,
        vendor: r.get(9)?,
        category: r.get(10)?,
        pattern: r.get(11)?,
        client_class: r.get(12)?,
        level: r.get(13)?,
        disposition: r.get(14)?,
        policy: r.get(15)?,
        policy_version: r.get(16)?,
        signature_version: r.get(17)?,
        severity: r.get(18)?,
        reasons: r.get::<_, Lines>(19)?.0,
        title: r.get(20)?,
        next_steps: r.get(21)?,
        bytes_up: r.get::<_, Count>(22)?.0,
        bytes_down: r.get::<_, Count>(23)?.0,
        flows: r.get::<_, Count>(24)?.0,
        first_seen: r.get(25)?,
        last_seen: r.get(26)?,
        evidence: Vec::new(),
        evidence_more: r.get::<_, Count>(27)?.0,
        people: Vec::new(),
    })
}

/// Evidence of the finding in a row, in the order in which it came.
pub(super) fn evidence_of(conn: &Connection, id: i64) -> Result<Vec<EvidenceItem>, Error> {
    let mut statement = conn.prepare_cached(
        "SELECT time, community_id, capture, first_frame, name_frame, last_frame,
                wireshark_filter, transport, client_addr, client_port, server_addr, server_port,
                kind, name, ja4, client_class, client_evidence
         FROM evidence WHERE finding = ?1 ORDER BY item",
    )?;
    let rows = statement.query_map([id], |r| {
        let end = |addr: Addr, port: u16| Endpoint { addr: addr.0, port };
        Ok(EvidenceItem {
            time: r.get(0)?,
            community_id: r.get(1)?,
            capture: r.get(2)?,
            first_frame: r.get::<_, Count>(3)?.0,
            name_frame: r.get::<_, Count>(4)?.0,
            last_frame: r.get::<_, Count>(5)?.0,
            wireshark_filter: r.get(6)?,
            transport: r.get(7)?,
            client: end(r.get(8)?, r.get(9)?),
            server: end(r.get(10)?, r.get(11)?),
            kind: r.get(12)?,
            name: r.get(13)?,
            ja4: r.get(14)?,
            client_class: r.get(15)?,
            client_evidence: r.get(16)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Realm, address, MAC and host name from four columns.
pub(super) fn read_actor(r: &Row<'_>, at: usize) -> rusqlite::Result<Actor> {
    Ok(Actor {
        realm: Realm(r.get(at)?),
        addr: r.get::<_, Addr>(at.saturating_add(1))?.0,
        mac: r.get::<_, Mac>(at.saturating_add(2))?.0,
        host_name: r.get(at.saturating_add(3))?,
        who: Person::Unknown,
        department: None,
    })
}

/// Bytes up and down, flows, first and last packet from five columns.
fn read_volume(r: &Row<'_>, at: usize) -> rusqlite::Result<Totals> {
    Ok(Totals {
        devices: 0,
        sessions: 0,
        bytes_up: r.get::<_, Count>(at)?.0,
        bytes_down: r.get::<_, Count>(at.saturating_add(1))?.0,
        flows: r.get::<_, Count>(at.saturating_add(2))?.0,
        first_seen: r.get(at.saturating_add(3))?,
        last_seen: r.get(at.saturating_add(4))?,
    })
}
