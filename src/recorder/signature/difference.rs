//! What a change of signatures means, in words.
//!
//! In: two catalogues. Out: one sentence a difference, in order.
//! Never: tells of wording, sources or dates: only of what is flagged, and as what.

use std::collections::BTreeMap;

use super::{Catalogue, HostPattern, Kind, Service};

/// The differences from `old` to `new`, one sentence each.
pub fn sentences(old: &Catalogue, new: &Catalogue) -> Vec<String> {
    let mut told = Vec::new();
    for service in new.services() {
        match old.service(&service.id) {
            None => told.push(format!("knows a new service, {} ({})", service.name, service.id)),
            Some(before) if before.id != service.id => {
                told.push(format!("calls {} {} now", before.id, service.id));
            }
            Some(before) => changed(before, service, &mut told),
        }
    }
    for service in old.services() {
        if new.service(&service.id).is_none() {
            told.push(format!("does not know {} ({}) any more", service.name, service.id));
        }
    }
    let (before, now) = (patterns(old), patterns(new));
    for (key, (service, host)) in &now {
        match before.get(key) {
            None => told.push(format!(
                "now flags {} as {} ({}, {})",
                shown(host),
                service.id,
                host.role.code(),
                host.strength.word()
            )),
            Some((owner, _))
                if owner.id != service.id
                    && new.service(&owner.id).is_none_or(|s| s.id != service.id) =>
            {
                told.push(format!("flags {} as {}, not {}", shown(host), service.id, owner.id));
            }
            Some((_, other)) => {
                if other.role != host.role {
                    let (was, is) = (other.role.code(), host.role.code());
                    told.push(format!("takes {} for {is}, not {was}", shown(host)));
                }
                if other.strength != host.strength {
                    let (was, is) = (other.strength.word(), host.strength.word());
                    told.push(format!("is {is} of {}, not {was}", shown(host)));
                }
            }
        }
    }
    for (key, (service, host)) in &before {
        if !now.contains_key(key) {
            told.push(format!("no longer flags {} ({})", shown(host), service.id));
        }
    }
    told
}

fn changed(before: &Service, now: &Service, told: &mut Vec<String>) {
    let id = &now.id;
    if before.name != now.name {
        told.push(format!("names {id} {}, not {}", now.name, before.name));
    }
    if before.category != now.category {
        let (was, is) = (before.category.word(), now.category.word());
        told.push(format!("counts {id} among {is}, not {was}"));
    }
    if before.vendor != now.vendor {
        told.push(format!("says {id} is of {}, not {}", now.vendor, before.vendor));
    }
}

type Patterns<'c> = BTreeMap<(&'c str, Kind), (&'c Service, &'c HostPattern)>;

fn patterns(catalogue: &Catalogue) -> Patterns<'_> {
    let all = catalogue.services().iter().flat_map(|s| s.hosts.iter().map(move |h| (s, h)));
    all.map(|(s, h)| ((h.pattern.as_str(), h.kind), (s, h))).collect()
}

/// A pattern as people write it.
fn shown(host: &HostPattern) -> String {
    match host.kind {
        Kind::Exact | Kind::Template => host.pattern.clone(),
        Kind::Suffix => format!("{} and below", host.pattern),
        Kind::Tenant => format!("*.{}", host.pattern),
    }
}
