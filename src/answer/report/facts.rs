//! Everything that the parts of a report are made from, and how things are called in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rapidhash::fast::RandomState;

use super::model::{Denominators, Figure, ServiceName};
use super::{Options, UNKNOWN};
use crate::answer::mask::{Mask, Subject};
use crate::answer::tally::Tally;
use crate::recorder::policy::{Policy, Target};
use crate::recorder::store::rows::Text;
use crate::recorder::store::{Decision, Known, Numbered, Scope};
use crate::types::Timestamp;

/// Everything that the parts of a report are made from.
pub(super) struct Facts<'a> {
    pub(super) options: &'a Options<'a>,
    pub(super) actors: &'a Numbered<Known>,
    pub(super) tally: &'a Tally,
    pub(super) before: Option<&'a Tally>,
    pub(super) mask: Mask,
    pub(super) scope: Scope,
    pub(super) of: Denominators,
    /// Department of each device, as it is shown.
    pub(super) department: HashMap<i64, String, RandomState>,
    /// Place of each device, from 1, by what it sent to unapproved services.
    pub(super) rank: HashMap<i64, u64, RandomState>,
    pub(super) used_before: BTreeSet<Text>,
    pub(super) findings: BTreeMap<Text, u64>,
    pub(super) decisions: Vec<Decision>,
    pub(super) until: Timestamp,
}

impl Facts<'_> {
    /// Places and departments of devices.
    pub(super) fn devices(&mut self) {
        let mut sums: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for ((device, _, verdict), pair) in &self.tally.pairs {
            let sum = sums.entry(*device).or_default();
            if verdict.unapproved() {
                sum.0 = sum.0.saturating_add(pair.volume.sent);
            }
            sum.1 = sum.1.saturating_add(pair.volume.sent);
        }
        let mut order: Vec<(i64, (u64, u64))> = sums.into_iter().collect();
        let key = |device: i64| {
            self.actors.get(&device).map(|k| (k.actor.realm, k.actor.addr, k.actor.mac))
        };
        order.sort_by(|a, b| (b.1, key(a.0)).cmp(&(a.1, key(b.0))));
        let mut own: BTreeMap<i64, &str> = BTreeMap::new();
        for known in self.actors.values() {
            if let Some(name) = self.options.departments.of_actor(&known.actor) {
                own.entry(known.device).or_insert(name);
            }
        }
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for (device, _) in &order {
            if let Some(name) = own.get(device) {
                let size = sizes.entry(name).or_default();
                *size = size.saturating_add(1);
            }
        }
        let together = together(&sizes, self.mask.group_min());
        for (device, _) in &order {
            let name = match own.get(device) {
                None => UNKNOWN.to_owned(),
                Some(name) if together.contains(name) => "small departments together".to_owned(),
                Some(name) => (*name).to_owned(),
            };
            self.department.insert(*device, name);
        }
        self.rank = (1..).zip(&order).map(|(rank, (device, _))| (*device, rank)).collect();
    }

    pub(super) fn rank_of(&self, device: i64) -> u64 {
        self.rank.get(&device).copied().unwrap_or(u64::MAX)
    }

    pub(super) fn label(&self, device: i64) -> String {
        match self.actors.get(&device) {
            Some(known) => self.mask.device(Subject::new(&known.actor), self.rank_of(device)),
            None => UNKNOWN.to_owned(),
        }
    }

    pub(super) fn department_of(&self, device: i64) -> &str {
        self.department.get(&device).map_or(UNKNOWN, String::as_str)
    }

    pub(super) fn service(&self, id: &str) -> ServiceName {
        let known = self.options.catalogue.service(id);
        ServiceName {
            id: id.to_owned(),
            name: known.map_or(id, |s| &s.name).to_owned(),
            vendor: known.map_or("", |s| &s.vendor).to_owned(),
            country: known.map_or("", |s| &s.vendor_country).to_owned(),
            category: known.map_or("", |s| s.category.word()).to_owned(),
        }
    }

    /// Who answers for a service: whoever decided last, else the policy.
    pub(super) fn owner(&self, id: &str) -> String {
        let subject = format!("service:{id}");
        let about = |d: &&Decision| *d.subject == *subject;
        let mut decided = self.decisions.iter().rev().filter(about);
        let decided = decided.find_map(|d| d.owner.as_deref());
        let rules = self.options.policy.map(Policy::rules).unwrap_or_default();
        let service = self.options.catalogue.service(id);
        let covers = |target: &Target| match target {
            Target::Service(s) => **s == *id,
            Target::Vendor(v) => service.is_some_and(|s| s.vendor == **v),
            Target::Category(c) => service.is_some_and(|s| s.category.word() == &**c),
            Target::Tenant(..) => false,
        };
        let mut fitting: Vec<_> =
            rules.iter().filter(|r| r.status.is_some() && covers(&r.target)).collect();
        fitting.sort_by(|a, b| b.target.cmp(&a.target));
        let by_rule = fitting.iter().find_map(|r| r.owner.as_deref());
        decided.or(by_rule).unwrap_or_default().to_owned()
    }

    pub(super) fn devices_figure(&self, count: u64) -> Figure {
        Figure::new(count, self.of.devices, "devices seen")
    }

    pub(super) fn sent_figure(&self, count: u64) -> Figure {
        Figure::new(count, self.of.sent, "bytes sent to AI services")
    }
}

/// Departments that are too small to be shown alone, and as many more as these need to hide among.
fn together<'a>(sizes: &BTreeMap<&'a str, u64>, least: u64) -> BTreeSet<&'a str> {
    let mut order: Vec<(u64, &str)> = sizes.iter().map(|(name, n)| (*n, *name)).collect();
    order.sort_unstable();
    let mut together = BTreeSet::new();
    let mut sum = 0_u64;
    for (size, name) in order {
        if size >= least && (together.is_empty() || sum >= least) {
            break;
        }
        together.insert(name);
        sum = sum.saturating_add(size);
    }
    together
}
