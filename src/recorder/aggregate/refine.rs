//! Rows named by all that became known, once their world is over.
//!
//! In: rows as they grew, and a judge who knows more by now. Out: the same rows under the device
//! and person that they are of, with the verdict for them; what became the same is one row.
//! Never: moves a row to another address or time; adds or loses a byte.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::{FindingKey, FindingTotals, Growing, Who, who};
use crate::recorder::hits::Hit;
use crate::recorder::identity::Person;
use crate::recorder::policy::Ruling;
use crate::recorder::store::rows::{Actor, Hidden, PersonUse, Text};
use crate::types::Timestamp;

/// Who knows more once a world is over.
pub trait Refine {
    /// Who it was, in flows that began from `first` to `last`.
    fn actor(&self, actor: &Arc<Actor>, first: Timestamp, last: Timestamp) -> Arc<Actor>;

    /// What the policy says of that actor.
    fn ruling(&self, hit: &Hit, actor: &Actor, at: Timestamp) -> Ruling;

    /// The actor as names of findings are made of it.
    fn shown(&self, actor: &Arc<Actor>, at: Timestamp) -> Arc<Actor>;
}

impl Growing {
    /// Refines usage and sessions in place; findings become one a device, service and day.
    pub(super) fn refine(&mut self, judge: &dyn Refine) -> BTreeMap<FindingKey, FindingTotals> {
        for (mut key, mut usage) in std::mem::take(&mut self.usage) {
            let (first, last) = usage.begun;
            let actor = judge.actor(&usage.row.actor, first, last);
            if actor.who == Person::Excluded {
                continue;
            }
            if !Arc::ptr_eq(&actor, &usage.row.actor) {
                usage.row.disposition = judge.ruling(&usage.hit, &actor, first).disposition;
                key.1 = who(&actor);
                usage.row.actor = actor;
            }
            self.add_usage(key, usage);
        }
        for ((_, service), spans) in std::mem::take(&mut self.spans) {
            for mut span in spans {
                let (first, last) = span.begun;
                let actor = judge.actor(&span.row.actor, first, last);
                if actor.who == Person::Excluded {
                    continue;
                }
                if !Arc::ptr_eq(&actor, &span.row.actor) {
                    span.row.disposition = judge.ruling(&span.hit, &actor, first).disposition;
                    span.row.actor = actor;
                }
                let key = (who(&span.row.actor), service.clone());
                self.spans.entry(key).or_default().push(span);
            }
        }
        self.refine_findings(judge)
    }

    fn refine_findings(&mut self, judge: &dyn Refine) -> BTreeMap<FindingKey, FindingTotals> {
        let mut merged = BTreeMap::new();
        for ((_, service, day), mut totals) in std::mem::take(&mut self.findings) {
            let (first, last) = totals.begun;
            let actor = judge.actor(&totals.actor, first, last);
            if actor.who == Person::Excluded {
                continue;
            }
            if !Arc::ptr_eq(&actor, &totals.actor) {
                totals.ruling = judge.ruling(&totals.hit, &actor, first);
                totals.actor = actor;
            }
            totals.people = vec![PersonUse {
                who: totals.actor.who.clone(),
                first_seen: first,
                last_seen: totals.last,
                bytes_up: totals.core.0.saturating_add(totals.beside.0),
            }];
            let actor = &totals.actor;
            // A device that changes its address stays one device, if its MAC is known.
            let addr = actor.mac.is_none().then_some(actor.addr);
            let key = (actor.realm, actor.mac, addr, service, day);
            add(&mut merged, key, totals);
        }
        merged
    }
}

/// Adds to what is known of a finding.
pub(super) fn add(
    merged: &mut BTreeMap<FindingKey, FindingTotals>,
    key: FindingKey,
    totals: FindingTotals,
) {
    match merged.entry(key) {
        Entry::Vacant(free) => {
            free.insert(totals);
        }
        Entry::Occupied(mut known) => known.get_mut().merge(totals),
    }
}

/// Rows of hidden traffic under the device that they are of; the person is left out: nobody knows
/// what it was.
pub(super) fn hidden(rows: impl Iterator<Item = Hidden>, judge: &dyn Refine) -> Vec<Hidden> {
    let mut merged: BTreeMap<(Who, Text), Hidden> = BTreeMap::new();
    for mut row in rows {
        let actor = judge.actor(&row.actor, row.first_seen, row.last_seen);
        if actor.who == Person::Excluded {
            continue;
        }
        let named = actor.who == Person::Unknown;
        row.actor = if named {
            actor
        } else {
            Arc::new(Actor { who: Person::Unknown, ..Actor::clone(&actor) })
        };
        match merged.entry((who(&row.actor), row.behind.clone())) {
            Entry::Vacant(free) => {
                free.insert(row);
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.bytes_up += row.bytes_up;
                known.bytes_down += row.bytes_down;
                known.flows += row.flows;
                known.first_seen = known.first_seen.min(row.first_seen);
                known.last_seen = known.last_seen.max(row.last_seen);
            }
        }
    }
    merged.into_values().collect()
}

impl FindingTotals {
    /// Adds another part of the same finding. What went furthest speaks for it; of equals, what
    /// the policy likes least.
    fn merge(&mut self, other: FindingTotals) {
        let rank = |t: &FindingTotals| {
            let opens = t.hit.role.opens_session();
            (t.level, opens, std::cmp::Reverse(t.ruling.disposition))
        };
        if rank(&other) > rank(self) {
            self.level = other.level;
            self.hit = other.hit;
            self.class = other.class;
            self.ruling = other.ruling;
        }
        let add = |a: (u64, u64, u64), b: (u64, u64, u64)| (a.0 + b.0, a.1 + b.1, a.2 + b.2);
        self.core = add(self.core, other.core);
        self.beside = add(self.beside, other.beside);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        if self.actor.host_name.is_none() {
            self.actor = other.actor;
        }
        for of in other.people {
            match self.people.iter_mut().find(|known| known.who == of.who) {
                Some(known) => {
                    known.first_seen = known.first_seen.min(of.first_seen);
                    known.last_seen = known.last_seen.max(of.last_seen);
                    known.bytes_up = known.bytes_up.saturating_add(of.bytes_up);
                }
                None => self.people.push(of),
            }
        }
        self.evidence.extend(other.evidence);
        self.evidence_more = self.evidence_more.saturating_add(other.evidence_more);
        self.grown |= other.grown;
        self.trim();
    }

    /// Orders the persons, and names the one of all of it, or nobody in particular.
    pub(super) fn name(&mut self) {
        self.people.sort_by(|a, b| (a.first_seen, &a.who).cmp(&(b.first_seen, &b.who)));
        let who = match self.people.as_slice() {
            [one] => one.who.clone(),
            _ => Person::Unknown,
        };
        if self.actor.who != who {
            self.actor = Arc::new(Actor { who, ..Actor::clone(&self.actor) });
        }
    }
}
