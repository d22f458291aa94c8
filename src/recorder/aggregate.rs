//! Flows to rows: usage by hour, sessions, findings by device, service and day.
//!
//! In: finished flows, look-ups, destinations that matched nothing. Out: the rows of each input.
//! Never: keeps an unmatched name together with an actor.
//! Limits: [`DESTINATIONS_TRACKED_MAX`] names a run are told apart; the rest becomes one row.
//!
//! Rows grow apart by address, device and person as known when a flow began; once the world is
//! over, [`refine`] names them by all that became known, and merges what is the same.

mod refine;

pub use refine::Refine;

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::hash_map;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use rapidhash::fast::RandomState;

use super::evidence;
use super::finding;
use super::flows::{MatchedFlow, Part};
use super::hits::Hit;
use super::identity::Person;
use super::ledger::{LedgerDay, LedgerKey};
use super::policy::{Policy, Ruling};
use super::signature::Catalogue;
use super::store::rows::{
    Actor, Candidate, Coverage, DESTINATIONS_MAX, DestinationDay, EVIDENCE_MAX, EvidenceItem,
    Finding, Hidden, IdentityRows, InputRows, OpenFlow, PersonUse, SESSION_GAP, SessionSpan, Text,
    Usage,
};
use super::words::{ClientClass, EvidenceKind, Level, Role};
use crate::observation::{Delta, FlowState};
use crate::prefetch::prefetch;
use crate::types::{MacAddr, Realm, Timestamp};

/// Unmatched names told apart before the rest is lumped together; about 150 bytes each.
pub const DESTINATIONS_TRACKED_MAX: usize = 500_000;

/// Devices behind security edges, relays and tunnels told apart in one input; about 200 bytes each.
const HIDDEN_TRACKED_MAX: usize = 100_000;

/// Clients counted exactly per destination; more is "at least so many". Kept in order, so that
/// the busiest names of a large office still take a few steps a flow.
const DEVICES_TRACKED_MAX: usize = 1_024;

/// The same once a run counts [`CLIENTS_TRACKED_MAX`] of them at all destinations together.
const DEVICES_TRACKED_MIN: usize = 64;

/// Clients of all destinations together, 17 bytes each, before destinations get fewer: invented
/// addresses at invented names must not take more than some 70 MB.
const CLIENTS_TRACKED_MAX: usize = 4_000_000;

/// Versions under which verdicts were given.
#[derive(Clone, Debug)]
pub struct Versions {
    /// Policy.
    pub policy: Text,
    /// Catalogue.
    pub signatures: Text,
    /// Services of which the policy tells tenants apart.
    pub tenanted: BTreeSet<Text>,
}

impl Versions {
    /// Under a policy and a catalogue.
    pub fn of(policy: &Policy, catalogue: &Catalogue) -> Self {
        Self {
            policy: policy.version().clone(),
            signatures: Text::from(catalogue.version()),
            tenanted: policy.tenanted(),
        }
    }

    /// The pattern under which a use is kept: with the tenant in it where the policy asks for
    /// tenants, so that it can be judged again by another policy.
    fn pattern(&self, hit: &Hit) -> Text {
        match &hit.tenant {
            Some(tenant) if self.tenanted.contains(&hit.service) => {
                let (before, after) = match hit.pattern.split_once('{') {
                    None => (String::new(), format!(".{}", hit.pattern)),
                    Some((before, rest)) => {
                        let after = rest.split_once('}').map_or("", |(_, after)| after);
                        (before.to_owned(), after.to_owned())
                    }
                };
                Text::from(format!("{before}{tenant}{after}"))
            }
            _ => hit.pattern.clone(),
        }
    }
}

/// Who, as far as rows are kept apart by it.
type Who = (Realm, IpAddr, Option<MacAddr>, Person);
type UsageKey = (u32, Who, Text, Role, Text, ClientClass, Level, EvidenceKind);
type FindingKey = (Realm, Option<MacAddr>, Option<IpAddr>, Text, u32);
type HiddenKey = (Realm, IpAddr, Option<MacAddr>, Text);
type SpanKey = (Who, Text);

fn who(actor: &Actor) -> Who {
    (actor.realm, actor.addr, actor.mac, actor.who.clone())
}

/// A row, and of which flows it is: by what they were matched, from when to when they began.
#[derive(Debug)]
struct Grown<T> {
    row: T,
    hit: Arc<Hit>,
    begun: (Timestamp, Timestamp),
}

impl<T> Grown<T> {
    fn new(row: T, hit: &Arc<Hit>, begun: Timestamp) -> Self {
        Self { row, hit: hit.clone(), begun: (begun, begun) }
    }

    /// The row, of a flow that began at that time too.
    fn of(&mut self, begun: Timestamp) -> &mut T {
        self.begun = (self.begun.0.min(begun), self.begun.1.max(begun));
        &mut self.row
    }
}

/// Live: volume and flows of something that the store has already.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    up: u64,
    down: u64,
    flows: u64,
}

/// Bytes to one name outside the catalogue within a day.
#[derive(Debug, Default)]
struct Destination {
    up: u64,
    down: u64,
    flows: u64,
    devices: Devices,
    /// What gave the name, a bit for each kind.
    evidence: u32,
}

/// Addresses, most often a single one.
#[derive(Debug, Default)]
struct Devices {
    first: Option<IpAddr>,
    more: Vec<IpAddr>,
}

impl Devices {
    /// Counts an address, unless there are `most` already; `true` if it is new beside the first.
    fn insert(&mut self, addr: IpAddr, most: usize) -> bool {
        match self.first {
            None => self.first = Some(addr),
            Some(first) if first == addr => {}
            Some(_) => {
                if let Err(place) = self.more.binary_search(&addr)
                    && self.more.len() + 1 < most
                {
                    self.more.insert(place, addr);
                    return true;
                }
            }
        }
        false
    }

    fn len(&self) -> usize {
        self.more.len() + usize::from(self.first.is_some())
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.first.iter().chain(&self.more).copied()
    }
}

/// Where the bytes of a name are counted: kept beside the name, so that only its first flow
/// of a day looks for it. Of another run, input or day it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    run: u32,
    day: u32,
    index: u32,
    input: u16,
}

/// One API-speaking host outside the catalogue.
#[derive(Debug)]
struct CandidateTotals {
    grammars: BTreeSet<&'static str>,
    flows: BTreeSet<u64>,
    clients: BTreeSet<IpAddr>,
    up: u64,
    down: u64,
    first: Timestamp,
    last: Timestamp,
    answered: bool,
    grown: bool,
    told: Told,
}

/// Under which keys what is outside the catalogue is hashed.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Destinations, whose tenants the catalogue knows; without it no ledger is kept.
    pub ledger: Option<(&'a LedgerKey, &'a Catalogue)>,
    /// Devices at candidates; without it those of several inputs are not united.
    pub devices: Option<&'a LedgerKey>,
}

/// Flows of candidates counted exactly; more is "at least so many".
const CANDIDATE_FLOWS_MAX: usize = 10_000;

#[derive(Debug)]
struct FindingTotals {
    actor: Arc<Actor>,
    hit: Arc<Hit>,
    ruling: Ruling,
    level: Level,
    class: ClientClass,
    /// Volume and flows of hosts that a person or program works with, and of the others.
    core: (u64, u64, u64),
    beside: (u64, u64, u64),
    first: Timestamp,
    last: Timestamp,
    evidence: Vec<(Level, EvidenceItem)>,
    evidence_more: u64,
    /// Live: it grew since it was told.
    grown: bool,
    told: Told,
    /// Flows began from when to when.
    begun: (Timestamp, Timestamp),
    people: Vec<PersonUse>,
}

/// Rows of one input while they grow.
#[derive(Debug, Default)]
struct Growing {
    usage: BTreeMap<UsageKey, Grown<Usage>>,
    spans: BTreeMap<SpanKey, Vec<Grown<SessionSpan>>>,
    findings: BTreeMap<(Who, Text, u32), FindingTotals>,
    /// Live: findings of which the store has a part already.
    told: BTreeMap<FindingKey, FindingTotals>,
    /// Place in `destinations` by day and name.
    by_name: HashMap<(u32, Text), u32, RandomState>,
    destinations: Vec<Destination>,
    lumped: BTreeMap<u32, Destination>,
    /// Bytes to names of the catalogue, by day, for the ledger.
    matched: HashMap<(u32, Text), Destination, RandomState>,
    candidates: BTreeMap<(u32, Text), CandidateTotals>,
    /// Few rows, touched by every flow: found by walking, not by comparing texts.
    coverage: Vec<(&'static str, Option<&'static str>, u64)>,
    hidden: BTreeMap<HiddenKey, Hidden>,
    open_flows: Vec<OpenFlow>,
}

/// Rows of all inputs of a world.
#[derive(Debug, Default)]
pub struct Aggregate {
    /// The input that was last added to, and its rows: nearly always the next one too.
    input: u16,
    growing: Box<Growing>,
    others: BTreeMap<u16, Box<Growing>>,
    destinations: usize,
    /// Clients beside the first of each destination.
    clients: usize,
    /// Tells the places of this run from those of others; 0 is nobody's.
    run: u32,
    /// Live: the day whose destinations are being counted.
    day: u32,
}

/// What a finished flow adds, beside its own numbers.
#[derive(Clone, Debug)]
pub struct Judged {
    /// How far it went.
    pub level: Level,
    /// What the policy says.
    pub ruling: Ruling,
}

/// Signs of an API in one flow.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Who spoke it.
    pub client: IpAddr,
    /// Flow number.
    pub flow: u64,
    /// Name of the grammar.
    pub grammar: &'static str,
    /// The server answered in kind.
    pub answered: bool,
}

impl Aggregate {
    /// Rows of run number `run`, which no other may have.
    pub fn new(run: u32) -> Self {
        Self { run, ..Self::default() }
    }

    fn input(&mut self, input: u16) -> &mut Growing {
        if input != self.input {
            let next = self.others.remove(&input).unwrap_or_default();
            let before = std::mem::replace(&mut self.growing, next);
            self.others.insert(std::mem::replace(&mut self.input, input), before);
        }
        &mut self.growing
    }

    /// A flow under one name is over.
    pub fn flow(
        &mut self,
        flow: &MatchedFlow,
        judged: &Judged,
        versions: &Versions,
        capture: &Text,
    ) {
        let actor = &flow.actor;
        // A flow that began in an earlier input is counted there.
        let mut counted = flow.carried || flow.told;
        let begun = flow.parts.first().map_or(Timestamp(0), |p| p.first);
        let pattern = versions.pattern(&flow.hit);
        for part in &flow.parts {
            let growing = self.input(part.input);
            let key = (
                part.hour,
                who(actor),
                flow.hit.service.clone(),
                flow.hit.role,
                pattern.clone(),
                flow.class,
                judged.level,
                flow.kind,
            );
            let fresh = || Usage {
                hour: part.hour,
                actor: actor.clone(),
                service: flow.hit.service.clone(),
                role: flow.hit.role,
                pattern: pattern.clone(),
                client_class: flow.class,
                level: judged.level,
                evidence: flow.kind,
                disposition: judged.ruling.disposition,
                policy_version: versions.policy.clone(),
                signature_version: versions.signatures.clone(),
                bytes_up: 0,
                bytes_down: 0,
                flows: 0,
                first_seen: part.first,
                last_seen: part.last,
            };
            let grown = growing.usage.entry(key);
            let grown = grown.or_insert_with(|| Grown::new(fresh(), &flow.hit, begun));
            let usage = grown.of(begun);
            usage.bytes_up += part.up;
            usage.bytes_down += part.down;
            usage.flows += u64::from(!counted);
            usage.first_seen = usage.first_seen.min(part.first);
            usage.last_seen = usage.last_seen.max(part.last);
            growing.matched(flow, part, !counted);
            if judged.level >= Level::Contacted {
                growing.finding(
                    flow,
                    judged,
                    part.hour / 24,
                    (part.up, part.down, u64::from(!counted)),
                    (part.first, part.last),
                    capture,
                );
            }
            counted = true;
        }
        if flow.hit.role.opens_session() && judged.level >= Level::Contacted {
            for (input, start, end) in &flow.spans {
                let within = |p: &&Part| p.input == *input && *start <= p.first && p.first <= *end;
                let sent = flow.parts.iter().filter(within).fold(0, |n: u64, p| n + p.up);
                self.input(*input).span(flow, judged, (*start, *end), sent);
            }
        }
        if (flow.open || flow.carried)
            && let Some(part) = flow.parts.last()
        {
            let open = open_flow(flow, judged.level, part.last);
            self.input(part.input).open_flows.push(open);
        }
    }

    /// A name of the catalogue was asked for in DNS.
    pub fn looked_up(
        &mut self,
        input: u16,
        actor: &Arc<Actor>,
        hit: &Arc<Hit>,
        ruling: &Ruling,
        versions: &Versions,
        at: Timestamp,
    ) {
        let hour = u32::try_from(at.seconds() / 3600).unwrap_or(u32::MAX);
        let pattern = versions.pattern(hit);
        let key = (
            hour,
            who(actor),
            hit.service.clone(),
            hit.role,
            pattern.clone(),
            ClientClass::Unknown,
            Level::Named,
            EvidenceKind::Dns,
        );
        let fresh = || Usage {
            hour,
            actor: actor.clone(),
            service: hit.service.clone(),
            role: hit.role,
            pattern: pattern.clone(),
            client_class: ClientClass::Unknown,
            level: Level::Named,
            evidence: EvidenceKind::Dns,
            disposition: ruling.disposition,
            policy_version: versions.policy.clone(),
            signature_version: versions.signatures.clone(),
            bytes_up: 0,
            bytes_down: 0,
            flows: 0,
            first_seen: at,
            last_seen: at,
        };
        let grown = self.input(input).usage.entry(key);
        let usage = grown.or_insert_with(|| Grown::new(fresh(), hit, at)).of(at);
        usage.first_seen = usage.first_seen.min(at);
        usage.last_seen = usage.last_seen.max(at);
    }

    /// Asks for the row of a name, which is needed soon.
    pub fn prefetch(&self, place: Place) {
        if let Some(destination) = self.at(place) {
            prefetch(destination);
        }
    }

    /// Asks for the clients of a name, which are needed very soon: where a search for one begins.
    pub fn prefetch_clients(&self, place: Place) {
        if let Some(more) = self.at(place).map(|d| &d.devices.more)
            && let Some(middle) = more.get(more.len() / 2)
        {
            prefetch(middle);
        }
    }

    fn at(&self, place: Place) -> Option<&Destination> {
        let here = place.run == self.run && place.input == self.input;
        self.growing.destinations.get(place.index as usize).filter(|_| here)
    }

    /// Bytes (up, down) to a name outside the catalogue; `place` is the name's own.
    pub fn destination(
        &mut self,
        input: u16,
        at: Timestamp,
        (name, place): (&Text, &Cell<Place>),
        client: IpAddr,
        (begins, kind): (bool, EvidenceKind),
        bytes: (u64, u64),
    ) {
        let day = u32::try_from(at.seconds() / 86_400).unwrap_or(u32::MAX);
        let known = place.get();
        let here = (known.run, known.day, known.input) == (self.run, day, input);
        let destination =
            if here { Some(known.index) } else { self.place(input, day, name, place) };
        let most = if self.clients < CLIENTS_TRACKED_MAX {
            DEVICES_TRACKED_MAX
        } else {
            DEVICES_TRACKED_MIN
        };
        let growing = self.input(input);
        let destination = match destination {
            Some(index) => growing.destinations.get_mut(index as usize),
            None => Some(growing.lumped.entry(day).or_default()),
        };
        let Some(destination) = destination else { return };
        destination.up += bytes.0;
        destination.down += bytes.1;
        destination.flows += u64::from(begins);
        destination.evidence |= bit(kind);
        self.clients += usize::from(destination.devices.insert(client, most));
    }

    /// Finds or makes the place where bytes of a name are counted; `None` once there are too many.
    fn place(&mut self, input: u16, day: u32, name: &Text, place: &Cell<Place>) -> Option<u32> {
        let room = self.destinations < DESTINATIONS_TRACKED_MAX;
        let run = self.run;
        let growing = self.input(input);
        let free = u32::try_from(growing.destinations.len()).ok()?;
        let key = (day, name.clone());
        let index = if room {
            *growing.by_name.entry(key).or_insert(free)
        } else {
            *growing.by_name.get(&key)?
        };
        if index == free {
            growing.destinations.push(Destination::default());
            self.destinations += 1;
        }
        place.set(Place { run, day, index, input });
        Some(index)
    }

    /// Signs of an AI API at a host outside the catalogue.
    pub fn candidate(&mut self, input: u16, at: Timestamp, host: &Text, seen: &Seen) {
        let day = u32::try_from(at.seconds() / 86_400).unwrap_or(u32::MAX);
        let totals = self.input(input).candidates.entry((day, host.clone())).or_insert_with(|| {
            CandidateTotals {
                grammars: BTreeSet::new(),
                flows: BTreeSet::new(),
                clients: BTreeSet::new(),
                up: 0,
                down: 0,
                first: at,
                last: at,
                answered: false,
                grown: true,
                told: Told::default(),
            }
        });
        totals.grown = true;
        totals.grammars.insert(seen.grammar);
        totals.answered |= seen.answered;
        if totals.flows.len() < CANDIDATE_FLOWS_MAX {
            totals.flows.insert(seen.flow);
        }
        if totals.clients.len() < CANDIDATE_FLOWS_MAX {
            totals.clients.insert(seen.client);
        }
        totals.first = totals.first.min(at);
        totals.last = totals.last.max(at);
    }

    /// Bytes of a flow that showed such signs.
    pub fn candidate_bytes(&mut self, input: u16, at: Timestamp, host: &Text, bytes: (u64, u64)) {
        let day = u32::try_from(at.seconds() / 86_400).unwrap_or(u32::MAX);
        if let Some(totals) = self.input(input).candidates.get_mut(&(day, host.clone())) {
            totals.grown = true;
            totals.up += bytes.0;
            totals.down += bytes.1;
            totals.last = totals.last.max(at);
        }
    }

    /// Adds to a number of the coverage ledger; `of` names the number that this is a part of.
    pub fn cover(&mut self, input: u16, name: &'static str, of: Option<&'static str>, count: u64) {
        let rows = &mut self.input(input).coverage;
        match rows.iter_mut().find(|(known, ..)| std::ptr::eq(*known, name)) {
            Some((.., sum)) => *sum += count,
            None => rows.push((name, of, count)),
        }
    }

    /// A device sent so much where nobody can look.
    pub fn hidden(
        &mut self,
        input: u16,
        actor: Arc<Actor>,
        behind: Text,
        kind: &'static str,
        delta: &Delta,
    ) {
        let rows = &mut self.input(input).hidden;
        let key = (actor.realm, actor.addr, actor.mac, behind.clone());
        if rows.len() >= HIDDEN_TRACKED_MAX && !rows.contains_key(&key) {
            return self.cover(input, "cap_hidden_devices", None, 1);
        }
        let row = rows.entry(key).or_insert_with(|| Hidden {
            actor,
            behind,
            kind: Text::from(kind),
            bytes_up: 0,
            bytes_down: 0,
            flows: 0,
            first_seen: delta.first,
            last_seen: delta.last,
        });
        row.bytes_up += delta.up;
        row.bytes_down += delta.down;
        row.flows += u64::from(delta.state.has(FlowState::LAST));
        row.first_seen = row.first_seen.min(delta.first);
        row.last_seen = row.last_seen.max(delta.last);
    }

    /// The rows of each input; `inputs` gives the digest that finding ids are made of.
    pub fn finish(
        self,
        versions: &Versions,
        judge: &dyn Refine,
        key_of: impl Fn(u16) -> Text,
        keys: Keys<'_>,
    ) -> Vec<(u16, InputRows)> {
        let rows = |(input, growing): (u16, Box<Growing>)| {
            let key = key_of(input);
            (input, growing.finish(versions, judge, &key, keys))
        };
        let mut inputs = self.others;
        inputs.insert(self.input, self.growing);
        inputs.into_iter().map(rows).collect()
    }

    /// Live: the rows of each input that grew since the last call. What decides about later rows
    /// stays: what a device used today, and how much of it the store has.
    pub fn grown(
        &mut self,
        versions: &Versions,
        judge: &dyn Refine,
        key_of: impl Fn(u16) -> Text,
        now: Timestamp,
        whole: bool,
        keys: Keys<'_>,
    ) -> Vec<(u16, InputRows)> {
        let today = u32::try_from(now.seconds() / 86_400).unwrap_or(u32::MAX);
        // With a new day names are counted anew, and places of the old one mean nothing more.
        let anew = today > self.day;
        let current = (&self.input, &mut self.growing);
        let mut rows = Vec::new();
        for (input, growing) in std::iter::once(current).chain(self.others.iter_mut()) {
            let key = key_of(*input);
            let ledger = keys.ledger.filter(|_| whole || anew);
            let ledger = ledger.map(|(key, catalogue)| growing.ledger(key, catalogue));
            if whole || anew {
                growing.matched.clear();
            }
            let grown = growing.grown(versions, judge, &key, (today, whole || anew), keys.devices);
            rows.push((*input, InputRows { ledger: ledger.unwrap_or_default(), ..grown }));
            if anew {
                growing.by_name.clear();
                growing.destinations.clear();
            }
        }
        if anew {
            self.day = today;
            self.destinations = 0;
            self.run = self.run.wrapping_add(1).max(1);
        }
        rows
    }
}

impl Growing {
    fn span(
        &mut self,
        flow: &MatchedFlow,
        judged: &Judged,
        (start, end): (Timestamp, Timestamp),
        bytes_up: u64,
    ) {
        let actor = &flow.actor;
        let key = (who(actor), flow.hit.service.clone());
        let span = SessionSpan {
            actor: actor.clone(),
            service: flow.hit.service.clone(),
            start,
            end,
            level: judged.level,
            disposition: judged.ruling.disposition,
            bytes_up,
        };
        let begun = flow.parts.first().map_or(start, |p| p.first);
        self.spans.entry(key).or_default().push(Grown::new(span, &flow.hit, begun));
    }

    fn finding(
        &mut self,
        flow: &MatchedFlow,
        judged: &Judged,
        day: u32,
        volume: (u64, u64, u64),
        time: (Timestamp, Timestamp),
        capture: &Text,
    ) {
        let actor = &flow.actor;
        let begun = flow.parts.first().map_or(time.0, |p| p.first);
        let key = (who(actor), flow.hit.service.clone(), day);
        let totals = self.findings.entry(key).or_insert_with(|| FindingTotals {
            actor: actor.clone(),
            hit: flow.hit.clone(),
            ruling: judged.ruling.clone(),
            level: judged.level,
            class: flow.class,
            core: (0, 0, 0),
            beside: (0, 0, 0),
            first: time.0,
            last: time.1,
            evidence: Vec::new(),
            evidence_more: 0,
            grown: true,
            told: Told::default(),
            begun: (begun, begun),
            people: Vec::new(),
        });
        totals.begun = (totals.begun.0.min(begun), totals.begun.1.max(begun));
        if (judged.level, flow.hit.role.opens_session())
            > (totals.level, totals.hit.role.opens_session())
        {
            totals.level = judged.level;
            totals.hit = flow.hit.clone();
            totals.class = flow.class;
            totals.ruling = judged.ruling.clone();
        }
        let sum = if flow.hit.role.opens_session() { &mut totals.core } else { &mut totals.beside };
        *sum = (sum.0 + volume.0, sum.1 + volume.1, sum.2 + volume.2);
        totals.first = totals.first.min(time.0);
        totals.last = totals.last.max(time.1);
        if volume.2 == 0 {
            return;
        }
        totals.evidence.push((judged.level, evidence::item(flow, capture)));
        if totals.evidence.len() > EVIDENCE_MAX * 2 {
            totals.trim();
        }
    }

    /// Once a device uses a service, its other connections to the hosts it uses it through that
    /// day are part of that use: a browser opens several and speaks over one.
    fn promote(&mut self, findings: &BTreeMap<FindingKey, FindingTotals>) {
        let counts = findings.iter().filter(|(_, totals)| totals.level.counts());
        let used: BTreeSet<FindingKey> = counts.map(|(key, _)| key.clone()).collect();
        let is_used = |realm, addr: IpAddr, mac: Option<MacAddr>, service: &Text, day| {
            used.contains(&(realm, mac, mac.is_none().then_some(addr), service.clone(), day))
        };
        for (key, mut usage) in std::mem::take(&mut self.usage) {
            let (hour, ref who, ref service, role, ref pattern, class, level, kind) = key;
            let (realm, addr, mac, _) = *who;
            let mut level = level;
            if level == Level::Contacted
                && role.opens_session()
                && is_used(realm, addr, mac, service, hour / 24)
            {
                level = Level::Used;
                usage.row.level = level;
            }
            let (who, service, pattern) = (who.clone(), service.clone(), pattern.clone());
            let key = (hour, who, service, role, pattern, class, level, kind);
            self.add_usage(key, usage);
        }
    }

    /// Counts a matched flow's bytes for the ledger.
    fn matched(&mut self, flow: &MatchedFlow, part: &Part, begins: bool) {
        let room = self.matched.len() < DESTINATIONS_TRACKED_MAX;
        let key = (part.hour / 24, flow.name.clone());
        let destination = match self.matched.entry(key) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(free) if room => free.insert(Destination::default()),
            hash_map::Entry::Vacant(_) => return,
        };
        destination.up += part.up;
        destination.down += part.down;
        destination.flows += u64::from(begins);
        destination.devices.insert(flow.actor.addr, DEVICES_TRACKED_MAX);
        destination.evidence |= bit(flow.kind);
    }

    /// Every destination by day, hashed; in the order of names, which nobody sees any more.
    fn ledger(&self, key: &LedgerKey, catalogue: &Catalogue) -> Vec<LedgerDay> {
        let counted = |index: &u32| self.destinations.get(*index as usize);
        let unmatched = self.by_name.iter().filter_map(|(k, index)| Some((k, counted(index)?)));
        let mut rows = Vec::with_capacity(self.by_name.len() + self.matched.len());
        let grew = |d: &Destination| (d.up, d.down, d.flows) != (0, 0, 0);
        for ((day, name), destination) in unmatched.chain(&self.matched).filter(|(_, d)| grew(d)) {
            let mut row = key.row(catalogue, name, *day);
            destination.devices.iter().for_each(|device| key.count(&mut row, device));
            row.bytes_up = destination.up;
            row.bytes_down = destination.down;
            row.flows = destination.flows;
            row.evidence = destination.evidence;
            rows.push(row);
        }
        // As the store has them: appending to its tree takes a fraction of finding places in it.
        rows.sort_unstable_by_key(|row| (row.day, row.host.cast_signed()));
        rows
    }

    fn add_usage(&mut self, key: UsageKey, usage: Grown<Usage>) {
        match self.usage.entry(key) {
            Entry::Vacant(free) => {
                free.insert(usage);
            }
            Entry::Occupied(mut known) => add(&mut known.get_mut().row, &usage.row),
        }
    }

    fn finish(
        mut self,
        versions: &Versions,
        judge: &dyn Refine,
        key: &Text,
        keys: Keys<'_>,
    ) -> InputRows {
        let ledger = keys.ledger.map(|(key, catalogue)| self.ledger(key, catalogue));
        let findings = self.refine(judge);
        self.promote(&findings);
        let usage = self.usage.into_values().map(|grown| grown.row).collect();
        let sessions = sessions(self.spans);
        let findings = findings
            .into_iter()
            .map(|((.., day), totals)| totals.finish(day, key, versions, judge))
            .collect();
        let candidates = self
            .candidates
            .into_iter()
            .map(|((day, host), t)| t.row(day, host, keys.devices))
            .collect();
        let destinations = destinations(self.by_name, &mut self.destinations, &self.lumped);
        let coverage = coverage(self.coverage);
        let hidden = refine::hidden(self.hidden.into_values(), judge);
        InputRows {
            usage,
            sessions,
            findings,
            candidates,
            destinations,
            ledger: ledger.unwrap_or_default(),
            coverage,
            hidden,
            open_flows: self.open_flows,
            identity: IdentityRows::default(),
        }
    }
}

impl Growing {
    fn grown(
        &mut self,
        versions: &Versions,
        judge: &dyn Refine,
        key: &Text,
        (today, whole): (u32, bool),
        devices: Option<&LedgerKey>,
    ) -> InputRows {
        let mut told = std::mem::take(&mut self.told);
        for (key, totals) in self.refine(judge) {
            refine::add(&mut told, key, totals);
        }
        self.promote(&told);
        let usage = std::mem::take(&mut self.usage).into_values().map(|grown| grown.row).collect();
        let sessions = sessions(std::mem::take(&mut self.spans));
        // A day that is over may still get flows that began in it, not much later though.
        let over = |day: u32| day.saturating_add(1) < today;
        let mut findings = Vec::new();
        told.retain(|(.., day), totals| {
            findings.extend(totals.growth(*day, key, versions, judge, over(*day)));
            !over(*day)
        });
        self.told = told;
        let mut candidates = Vec::new();
        self.candidates.retain(|(day, host), totals| {
            candidates.extend(totals.growth(*day, host, devices));
            !over(*day)
        });
        let mut roll_ups = Vec::new();
        if whole {
            for ((day, name), index) in &self.by_name {
                let destination = self.destinations.get_mut(*index as usize);
                roll_ups.extend(destination.and_then(|d| d.growth(*day, name)));
            }
            let rest = Text::from(DestinationDay::REMAINDER);
            roll_ups.extend(self.lumped.iter_mut().filter_map(|(day, d)| d.growth(*day, &rest)));
            roll_ups.sort_by(|a, b| (a.day, &a.name).cmp(&(b.day, &b.name)));
            self.lumped.retain(|day, _| !over(*day));
        }
        InputRows {
            usage,
            sessions,
            findings,
            candidates,
            destinations: roll_ups,
            ledger: Vec::new(),
            coverage: coverage(std::mem::take(&mut self.coverage)),
            hidden: refine::hidden(std::mem::take(&mut self.hidden).into_values(), judge),
            open_flows: std::mem::take(&mut self.open_flows),
            identity: IdentityRows::default(),
        }
    }
}

impl Destination {
    /// What came since the last call; the devices are all of the day's.
    fn growth(&mut self, day: u32, name: &Text) -> Option<DestinationDay> {
        if (self.up, self.down, self.flows) == (0, 0, 0) {
            return None;
        }
        let row = DestinationDay {
            day,
            name: name.clone(),
            bytes_up: std::mem::take(&mut self.up),
            bytes_down: std::mem::take(&mut self.down),
            flows: std::mem::take(&mut self.flows),
            devices: self.devices.len() as u64,
        };
        Some(row)
    }
}

impl FindingTotals {
    /// What came since the last call, under the verdict as it stands. Contact with hosts beside
    /// the service waits until the day is `over`: should the service be used yet, it does not
    /// count.
    fn growth(
        &mut self,
        day: u32,
        key: &Text,
        versions: &Versions,
        judge: &dyn Refine,
        over: bool,
    ) -> Option<Finding> {
        let core = self.level.counts() || self.core.2 > 0;
        if !self.grown || !(core || over) {
            return None;
        }
        self.grown = false;
        let totals = FindingTotals {
            actor: self.actor.clone(),
            hit: self.hit.clone(),
            ruling: self.ruling.clone(),
            evidence: std::mem::take(&mut self.evidence),
            evidence_more: std::mem::take(&mut self.evidence_more),
            people: std::mem::take(&mut self.people),
            ..*self
        };
        let mut finding = totals.finish(day, key, versions, judge);
        let now = Told { up: finding.bytes_up, down: finding.bytes_down, flows: finding.flows };
        finding.bytes_up -= self.told.up.min(now.up);
        finding.bytes_down -= self.told.down.min(now.down);
        finding.flows -= self.told.flows.min(now.flows);
        self.told = now;
        Some(finding)
    }

    /// Keeps the strongest evidence, the earliest of equal strength.
    fn trim(&mut self) {
        self.evidence.sort_by(|(a, x), (b, y)| {
            b.cmp(a).then(x.time.cmp(&y.time)).then(x.first_frame.cmp(&y.first_frame))
        });
        let more = self.evidence.len().saturating_sub(EVIDENCE_MAX);
        self.evidence_more += more as u64;
        self.evidence.truncate(EVIDENCE_MAX);
    }

    fn finish(mut self, day: u32, key: &Text, versions: &Versions, judge: &dyn Refine) -> Finding {
        self.trim();
        self.name();
        // A used service is told by the hosts that it was used through; scripts and pictures
        // beside them say nothing of what went there.
        let (up, down, flows) =
            if self.level.counts() || self.core.2 > 0 { self.core } else { self.beside };
        let actor = self.actor;
        let told = finding::tell(&self.hit, &self.ruling, self.level, self.class, up);
        let noon = Timestamp((u64::from(day) * 86_400 + 43_200).saturating_mul(Timestamp::SECOND));
        Finding {
            id: finding::id(&judge.shown(&actor, noon), &self.hit.service, day, key),
            actor,
            service: self.hit.service.clone(),
            day,
            revision: 0,
            service_name: self.hit.service_name.clone(),
            vendor: self.hit.vendor.clone(),
            category: self.hit.category.clone(),
            pattern: self.hit.pattern.clone(),
            client_class: self.class,
            level: self.level,
            disposition: self.ruling.disposition,
            policy: self.ruling.rule.clone(),
            policy_version: versions.policy.clone(),
            signature_version: versions.signatures.clone(),
            severity: told.severity,
            reasons: told.reasons,
            title: told.title,
            next_steps: told.next_steps,
            bytes_up: up,
            bytes_down: down,
            flows,
            first_seen: self.first,
            last_seen: self.last,
            evidence: self.evidence.into_iter().map(|(_, e)| e).collect(),
            evidence_more: self.evidence_more,
            people: self.people,
        }
    }
}

impl CandidateTotals {
    /// What came since the last call.
    fn growth(&mut self, day: u32, host: &Text, key: Option<&LedgerKey>) -> Option<Candidate> {
        if !std::mem::take(&mut self.grown) {
            return None;
        }
        let mut row = self.row(day, host.clone(), key);
        let now = Told { up: row.bytes_up, down: row.bytes_down, flows: row.flows };
        row.bytes_up -= self.told.up.min(now.up);
        row.bytes_down -= self.told.down.min(now.down);
        row.flows -= self.told.flows.min(now.flows);
        self.told = now;
        Some(row)
    }

    fn row(&self, day: u32, host: Text, key: Option<&LedgerKey>) -> Candidate {
        let grammars: Vec<&str> = self.grammars.iter().copied().collect();
        let grammars = grammars.join(",");
        let answer =
            if self.answered { "and answers were seen" } else { "no answer in kind was seen" };
        let devices = key.map(|key| key.devices(&host, self.clients.iter().copied()));
        Candidate {
            day,
            host,
            evidence: Text::from(format!("requests in clear speak {grammars}; {answer}")),
            grammars: Text::from(grammars),
            flows: self.flows.len() as u64,
            bytes_up: self.up,
            bytes_down: self.down,
            actors: self.clients.len() as u64,
            devices: devices.unwrap_or_default(),
            first_seen: self.first,
            last_seen: self.last,
        }
    }
}

/// The bit of a kind of evidence in the ledger.
fn bit(kind: EvidenceKind) -> u32 {
    1u32.checked_shl(u32::from(kind.number())).unwrap_or(0)
}

fn add(to: &mut Usage, more: &Usage) {
    to.bytes_up += more.bytes_up;
    to.bytes_down += more.bytes_down;
    to.flows += more.flows;
    to.first_seen = to.first_seen.min(more.first_seen);
    to.last_seen = to.last_seen.max(more.last_seen);
}

/// One row a name, in order; the same name may stand twice in the binary.
fn coverage(rows: Vec<(&'static str, Option<&'static str>, u64)>) -> Vec<Coverage> {
    let mut by_name: BTreeMap<&str, (Option<&str>, u64)> = BTreeMap::new();
    for (name, of, count) in rows {
        let row = by_name.entry(name).or_insert((of, 0));
        row.1 += count;
    }
    let row = |(name, (of, count)): (&str, (Option<&str>, u64))| Coverage {
        name: Text::from(name),
        count,
        of: of.map(Text::from),
    };
    by_name.into_iter().map(row).collect()
}

/// Presence of everybody, merged.
fn sessions(spans: BTreeMap<SpanKey, Vec<Grown<SessionSpan>>>) -> Vec<SessionSpan> {
    let rows = spans.into_values().map(|spans| spans.into_iter().map(|grown| grown.row).collect());
    rows.flat_map(merge_spans).collect()
}

/// Merges presence with gaps below a session's; level and verdict are the strongest within.
fn merge_spans(mut spans: Vec<SessionSpan>) -> Vec<SessionSpan> {
    spans.sort_by_key(|s| (s.start, s.end));
    let mut merged: Vec<SessionSpan> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start.since(last.end) < SESSION_GAP => {
                last.end = last.end.max(span.end);
                last.level = last.level.max(span.level);
                last.disposition = last.disposition.min(span.disposition);
                last.bytes_up = last.bytes_up.saturating_add(span.bytes_up);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// The largest destinations of each day, and one row for the rest.
fn destinations(
    by_name: HashMap<(u32, Text), u32, RandomState>,
    counted: &mut [Destination],
    lumped: &BTreeMap<u32, Destination>,
) -> Vec<DestinationDay> {
    let mut days: BTreeMap<u32, Vec<(Text, Destination)>> = BTreeMap::new();
    for ((day, name), index) in by_name {
        let Some(destination) = counted.get_mut(index as usize) else { continue };
        days.entry(day).or_default().push((name, std::mem::take(destination)));
    }
    for day in lumped.keys() {
        days.entry(*day).or_default();
    }
    let mut rows = Vec::new();
    for (day, mut list) in days {
        let larger = |(a, x): &(Text, Destination), (b, y): &(Text, Destination)| {
            (y.up + y.down, a).cmp(&(x.up + x.down, b))
        };
        if list.len() > DESTINATIONS_MAX {
            list.select_nth_unstable_by(DESTINATIONS_MAX, larger);
        }
        let rest = list.split_off(list.len().min(DESTINATIONS_MAX));
        list.sort_unstable_by(larger);
        let row = |name: Text, d: &Destination, devices: usize| DestinationDay {
            day,
            name,
            bytes_up: d.up,
            bytes_down: d.down,
            flows: d.flows,
            devices: devices as u64,
        };
        rows.extend(list.into_iter().map(|(name, d)| row(name, &d, d.devices.len())));
        let (mut sum, mut devices) = (Destination::default(), HashSet::new());
        for d in rest.iter().map(|(_, d)| d).chain(lumped.get(&day)) {
            sum.up += d.up;
            sum.down += d.down;
            sum.flows += d.flows;
            devices.extend(d.devices.iter());
        }
        if sum.flows > 0 || sum.up > 0 || sum.down > 0 {
            rows.push(row(Text::from(DestinationDay::REMAINDER), &sum, devices.len()));
        }
    }
    rows
}

fn open_flow(flow: &MatchedFlow, level: Level, last: Timestamp) -> OpenFlow {
    OpenFlow {
        realm: flow.flow.realm,
        transport: flow.flow.protocol,
        client: flow.flow.client,
        server: flow.flow.server,
        service: flow.hit.service.clone(),
        role: flow.hit.role,
        pattern: flow.hit.pattern.clone(),
        name: flow.name.clone(),
        evidence: flow.kind,
        client_class: flow.class,
        level,
        ja4: flow.ja4.clone(),
        bytes_up: flow.volume.up,
        bytes_down: flow.volume.down,
        first_seen: flow.parts.first().map_or(last, |p| p.first),
        last_seen: last,
        hello_bytes: flow.volume.hello,
        next_seq: flow.next_seq,
        ended: !flow.open,
    }
}
