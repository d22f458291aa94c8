//! Who had an address at a time, with the whole chain of evidence.
//!
//! In: what the store keeps, what is known beside it. Out: the answer and every link that leads
//! to it or contradicts it, under a veil.
//! Never: judges otherwise than the recorder did: it is the same [`Tracker`].

use std::net::IpAddr;
use std::sync::Arc;

use super::vendor::vendor;
use super::{Known, Many, Person, Source, Tracker, Veil};
use crate::recorder::identity::people::class;
use crate::recorder::store::rows::Text;
use crate::recorder::store::rows::{Actor, IdentityRows, mac_text};
use crate::types::{Realm, Timestamp};

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it says, in words.
    pub says: String,
    /// Who says so.
    pub source: Source,
    /// First moment.
    pub from: Timestamp,
    /// First moment behind it, as far as is known; 0 for one that has no end.
    pub until: Timestamp,
    /// It holds at the time asked for.
    pub holds: bool,
    /// The answer rests on it.
    pub used: bool,
    /// Somebody else said otherwise.
    pub disputed: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whois {
    /// Who it was.
    pub actor: Arc<Actor>,
    /// When.
    pub at: Timestamp,
    /// Evidence: devices, names, persons, assignments; each in the order of time.
    pub chain: Vec<Link>,
}

/// Who had `addr` at `at`; without a time, at the last one that anything is known of.
pub fn whois(
    addr: IpAddr,
    at: Option<Timestamp>,
    rows: &IdentityRows,
    known: &Arc<Known>,
    veil: &Veil,
) -> Whois {
    let realm = rows.bindings.first().map_or(Realm::default(), |b| b.realm);
    let latest = latest(addr, rows);
    let at = at.unwrap_or(latest);
    let mut tracker = Tracker::new(known.clone());
    tracker.remember(rows, Timestamp(u64::MAX));
    let resolved = tracker.resolve(realm, addr, at);
    let many = match resolved.person {
        Person::Many(many) => Some(many),
        _ => None,
    };
    let who = resolved.person.clone();
    let actor = Arc::new(Actor {
        realm,
        addr,
        mac: resolved.mac,
        host_name: resolved.host_name.clone(),
        who: resolved.person,
        department: resolved.department,
    });
    let mut chain = devices(addr, at, &actor, rows, veil);
    chain.extend(names(at, &actor, rows, veil));
    chain.extend(people(at, &who, rows, veil));
    chain.extend(assigned(at, &actor, known, veil));
    chain.extend(many.map(|many| shared(many, at)));
    Whois { actor: veil.actor(&actor), at, chain }
}

fn latest(addr: IpAddr, rows: &IdentityRows) -> Timestamp {
    let signs = rows.stays.iter().filter(|s| s.addr == addr).map(|s| s.last);
    let begins = rows.bindings.iter().filter(|b| b.addr == addr).map(|b| b.from);
    let said = rows.said.iter().map(|s| s.last);
    let all = signs.chain(begins).chain(said).max().unwrap_or_default();
    // A name may be said after the address went to somebody else; then the last owner counts.
    let end = rows.bindings.iter().filter(|b| b.addr == addr).map(|b| b.until).max();
    end.map_or(all, |end| all.min(Timestamp(end.0.saturating_sub(1))))
}

fn devices(
    addr: IpAddr,
    at: Timestamp,
    actor: &Actor,
    rows: &IdentityRows,
    veil: &Veil,
) -> Vec<Link> {
    let of = rows.bindings.iter().filter(|b| b.addr == addr);
    let link = |b: &crate::recorder::store::rows::BindingRow| {
        let holds = b.from <= at && at < b.until;
        // A pseudonym is a local address, and so has no maker.
        let mac = veil.mac(b.mac);
        let maker = vendor(mac).map_or(String::new(), |maker| format!(" ({maker})"));
        Link {
            says: format!("{}{maker} has it", mac_text(mac)),
            source: b.source,
            from: b.from,
            until: b.until,
            holds,
            used: holds && actor.mac == Some(b.mac),
            disputed: b.disputed,
        }
    };
    of.map(link).collect()
}

fn names(at: Timestamp, actor: &Actor, rows: &IdentityRows, veil: &Veil) -> Vec<Link> {
    let of = rows.said.iter().filter(|s| actor.mac == Some(s.mac));
    of.map(|s| {
        let says = if s.is_name {
            format!("the device is called {}", veil.name(super::Kind::Device, &s.text))
        } else {
            format!("the device runs {}", s.text)
        };
        Link {
            says,
            source: s.source,
            from: s.first,
            until: Timestamp(0),
            holds: s.first <= at,
            used: s.is_name && actor.host_name.as_ref() == Some(&s.text),
            disputed: false,
        }
    })
    .collect()
}

fn people(at: Timestamp, who: &Person, rows: &IdentityRows, veil: &Veil) -> Vec<Link> {
    rows.stays
        .iter()
        .map(|s| {
            let holds = s.from <= at && at < s.until;
            let named = who.one().is_some_and(|c| c.user == s.user && c.source == s.source);
            let at_address = super::subject::address_text(veil.address(s.addr));
            Link {
                says: format!("{} logged on at {at_address}", s.user.text(veil)),
                source: s.source,
                from: s.from,
                until: s.until,
                holds,
                used: holds && named,
                // A login of a program beside the person's own.
                disputed: holds && !named && class(s.source) <= 2,
            }
        })
        .collect()
}

fn assigned(at: Timestamp, actor: &Actor, known: &Known, veil: &Veil) -> Option<Link> {
    let inventory = &known.inventory;
    let by_mac =
        actor.mac.and_then(|mac| inventory.by_mac(mac)).map(|m| (m, "by its link address"));
    let name = || actor.host_name.as_ref().and_then(|n: &Text| inventory.by_name(n));
    let by_name = || name().map(|m| (m, "by its name"));
    let by_address = || inventory.by_address(actor.addr).map(|m| (m, "by its address"));
    let (managed, how) = by_mac.or_else(by_name).or_else(by_address)?;
    let user = managed.user.clone().filter(|user| !known.excludes(user))?;
    let user = super::Subject::user(user);
    let used = actor.who.one().is_some_and(|c| c.user == user && c.source == Source::Inventory);
    Some(Link {
        says: format!("the device, {how}, is assigned to {}", user.text(veil)),
        source: Source::Inventory,
        from: Timestamp(0),
        until: Timestamp(0),
        holds: true,
        used,
        disputed: !used && actor.who.one().is_some_and(|c| c.user != user) && at.0 > 0,
    })
}

fn shared(many: Many, at: Timestamp) -> Link {
    Link {
        says: format!("many people: {}", many.code()),
        source: Source::Frame,
        from: Timestamp(0),
        until: Timestamp(0),
        holds: at.0 > 0,
        used: true,
        disputed: false,
    }
}
