//! Stored rows, added up under the policy of today.
//!
//! In: usage and sessions of a scope, actors, and a policy if verdicts are to be given anew.
//! Out: [`Tally`]: volume by device, service and verdict, and by time.
//! Never: takes what was only named or contacted for use.
//! Limits: memory grows with pairs of device and service, not with rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rapidhash::fast::RandomState;

use crate::recorder::policy::{Asked, Policy, Span};
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{Actor, SESSION_GAP, Text};
use crate::recorder::store::{Answers, Error, Known, Numbered, Presence, Scope};
use crate::recorder::words::{ClientClass, Disposition, Level};
use crate::types::Timestamp;

/// Volume and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Payload bytes from the clients.
    pub sent: u64,
    /// Payload bytes to the clients.
    pub received: u64,
    /// Flows.
    pub flows: u64,
    /// Sessions.
    pub sessions: u64,
    /// First packet; 0 if there was none.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
}

/// One device at one service under one verdict.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    /// What was used.
    pub volume: Volume,
    /// Bytes sent by class of client, in the order of [`ClientClass::ALL`].
    pub by_class: [u64; 4],
    /// Classes seen.
    pub classes: BTreeSet<ClientClass>,
    /// Highest level.
    pub level: Option<Level>,
    /// Days on which it was used.
    pub days: BTreeSet<u32>,
    /// Tenants of the service, where the policy told them apart when it was recorded.
    pub tenants: BTreeSet<Text>,
}

/// Device, service, verdict.
pub type PairKey = (i64, Text, Disposition);

/// Everything of a scope.
#[derive(Debug, Default)]
pub struct Tally {
    /// By device, service and verdict, what was used.
    pub pairs: HashMap<PairKey, Pair, RandomState>,
    /// Bytes sent in use by hour: forbidden, unreviewed, allowed.
    pub hours: BTreeMap<u32, [u64; 3]>,
    /// Services that were contacted without use, with the devices.
    pub below: BTreeMap<(Disposition, Text), BTreeSet<i64>>,
}

/// What rows are judged by.
pub struct Judge<'a> {
    policy: Option<&'a Policy>,
    catalogue: &'a Catalogue,
    actors: &'a Numbered<Known>,
    services: &'a Numbered<Text>,
    /// Verdicts over all of time, by actor and service.
    spans: HashMap<(i64, i64, Option<Text>), Vec<Span>, RandomState>,
    /// Services of which the policy tells tenants apart.
    tenanted: BTreeSet<Text>,
}

impl Volume {
    /// Adds another.
    pub fn add(&mut self, other: &Volume) {
        if other.first.0 > 0 && (self.first.0 == 0 || other.first < self.first) {
            self.first = other.first;
        }
        self.last = self.last.max(other.last);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.flows = self.flows.saturating_add(other.flows);
        self.sessions = self.sessions.saturating_add(other.sessions);
    }
}

impl Pair {
    /// Adds another.
    pub fn add(&mut self, other: &Pair) {
        self.volume.add(&other.volume);
        for (own, new) in self.by_class.iter_mut().zip(other.by_class) {
            *own = own.saturating_add(new);
        }
        self.classes.extend(&other.classes);
        self.level = self.level.max(other.level);
        self.days.extend(&other.days);
        self.tenants.extend(other.tenants.iter().cloned());
    }
}

impl<'a> Judge<'a> {
    /// A judge; without a policy, verdicts stay as recorded.
    pub fn new(
        policy: Option<&'a Policy>,
        catalogue: &'a Catalogue,
        actors: &'a Numbered<Known>,
        services: &'a Numbered<Text>,
    ) -> Self {
        let tenanted = policy.map(Policy::tenanted).unwrap_or_default();
        Self { policy, catalogue, actors, services, spans: HashMap::default(), tenanted }
    }

    fn verdict(
        &mut self,
        actor: i64,
        service: i64,
        tenant: Option<&Text>,
        at_s: u64,
        recorded: Disposition,
    ) -> Disposition {
        let Some(policy) = self.policy else { return recorded };
        let spans = self.spans.entry((actor, service, tenant.cloned())).or_insert_with(|| {
            let (Some(known), Some(id)) = (self.actors.get(&actor), self.services.get(&service))
            else {
                return Vec::new();
            };
            spans(policy, self.catalogue, &known.actor, id, tenant.map(|t| &**t))
        });
        let holds = |s: &&Span| {
            s.from_s.is_none_or(|from| from <= at_s) && s.until_s.is_none_or(|until| at_s < until)
        };
        spans.iter().find(holds).map_or(recorded, |s| s.ruling.disposition)
    }
}

/// The verdicts of a policy on an actor's use of a service, over all of time.
pub fn spans(
    policy: &Policy,
    catalogue: &Catalogue,
    actor: &Arc<Actor>,
    id: &str,
    tenant: Option<&str>,
) -> Vec<Span> {
    let service = catalogue.service(id);
    policy.spans(&Asked {
        service: id,
        category: service.map_or("", |s| s.category.word()),
        vendor: service.map_or("", |s| s.vendor.as_str()),
        tenant,
        actor,
        user: None,
        groups: &[],
        at: Timestamp(0),
    })
}

/// Tenants by the number of the pattern that holds one.
fn tenants(answers: &Answers, judge: &Judge<'_>) -> Result<Numbered<Text>, Error> {
    if judge.tenanted.is_empty() {
        return Ok(Numbered::default());
    }
    let tenant = |(number, pattern): (i64, Text)| {
        let found = judge.catalogue.lookup(&pattern)?;
        let told_apart = judge.tenanted.contains(found.service.id.as_str());
        Some((number, Text::from(found.tenant.filter(|_| told_apart)?)))
    };
    Ok(answers.patterns()?.into_iter().filter_map(tenant).collect())
}

impl Tally {
    /// Adds up what a store holds of a scope.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read(answers: &Answers, scope: &Scope, judge: &mut Judge<'_>) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let nobody = Text::from("");
        let tenants = tenants(answers, judge)?;
        answers.each_use(scope, |row| {
            let at_s = u64::from(row.hour).saturating_mul(3600);
            let tenant = tenants.get(&row.pattern);
            let verdict = judge.verdict(row.actor, row.service, tenant, at_s, row.disposition);
            let device = judge.actors.get(&row.actor).map_or(row.actor, |k| k.device);
            let service = judge.services.get(&row.service).unwrap_or(&nobody).clone();
            if !row.level.counts() {
                if row.level >= Level::Contacted {
                    tally.below.entry((verdict, service)).or_default().insert(device);
                }
                return;
            }
            let pair = tally.pairs.entry((device, service, verdict)).or_default();
            pair.volume.add(&Volume {
                sent: row.bytes_up,
                received: row.bytes_down,
                flows: row.flows,
                sessions: 0,
                first: row.first_seen,
                last: row.last_seen,
            });
            if let Some(class) = pair.by_class.get_mut(usize::from(row.client_class.number())) {
                *class = class.saturating_add(row.bytes_up);
            }
            pair.classes.insert(row.client_class);
            pair.level = pair.level.max(Some(row.level));
            pair.days.insert(row.hour / 24);
            pair.tenants.extend(tenant.cloned());
            let slot = tally.hours.entry(row.hour).or_default();
            if let Some(sum) = slot.get_mut(status(verdict)) {
                *sum = sum.saturating_add(row.bytes_up);
            }
        })?;
        let mut sessions: Vec<(PairKey, u64)> = Vec::new();
        let mut open: Option<(i64, Presence)> = None;
        let mut close = |device: i64, span: &Presence, judge: &mut Judge<'_>| {
            if span.level.counts() {
                let at_s = span.start.seconds();
                let service = judge.services.get(&span.service).unwrap_or(&nobody).clone();
                // Sessions do not hold the tenant: what was said when they were recorded holds.
                let verdict = match judge.tenanted.contains(&service) {
                    true => span.disposition,
                    false => judge.verdict(span.actor, span.service, None, at_s, span.disposition),
                };
                sessions.push(((device, service, verdict), 1));
            }
        };
        answers.each_session(scope, |row| {
            let device = judge.actors.get(&row.actor).map_or(row.actor, |k| k.device);
            if let Some((last, span)) = &mut open
                && *last == device
                && span.service == row.service
                && row.start.since(span.end) < SESSION_GAP
            {
                span.end = span.end.max(row.end);
                span.level = span.level.max(row.level);
                span.disposition = span.disposition.min(row.disposition);
                return;
            }
            if let Some((device, span)) = open.replace((device, *row)) {
                close(device, &span, judge);
            }
        })?;
        if let Some((device, span)) = open {
            close(device, &span, judge);
        }
        for (key, count) in sessions {
            // A session without use in this scope began or ended beside it.
            let key = if tally.pairs.contains_key(&key) {
                key
            } else {
                // Judged otherwise than its use: it belongs to that all the same.
                let (device, service, _) = key;
                let like = Disposition::ALL
                    .iter()
                    .map(|d| (device, service.clone(), *d))
                    .find(|k| tally.pairs.contains_key(k));
                let Some(key) = like else { continue };
                key
            };
            if let Some(pair) = tally.pairs.get_mut(&key) {
                pair.volume.sessions = pair.volume.sessions.saturating_add(count);
            }
        }
        Ok(tally)
    }

    /// The sum of the pairs that `keep` keeps, and the devices in them.
    pub fn sum(&self, keep: impl Fn(&PairKey) -> bool) -> (Volume, u64) {
        let mut volume = Volume::default();
        let mut devices: HashSet<i64, RandomState> = HashSet::default();
        for (key, pair) in self.pairs.iter().filter(|(k, _)| keep(k)) {
            volume.add(&pair.volume);
            devices.insert(key.0);
        }
        (volume, devices.len() as u64)
    }

    /// Services in use under these verdicts.
    pub fn services(&self, keep: impl Fn(Disposition) -> bool) -> BTreeSet<&Text> {
        self.pairs.keys().filter(|k| keep(k.2)).map(|k| &k.1).collect()
    }
}

/// Place of a verdict among forbidden, unreviewed, allowed.
pub fn status(verdict: Disposition) -> usize {
    match verdict {
        Disposition::Unsanctioned => 0,
        Disposition::Unreviewed => 1,
        Disposition::Tolerated | Disposition::Sanctioned => 2,
    }
}
