//! Who has an address: MAC and device name, at a time.
//!
//! In: ARP, NDP and DHCP facts in the order of the run. Out: an [`Actor`] for an address now.
//! Never: takes the MAC of a router for that of the hosts behind it; decides by wall clock.
//! Limits: [`ADDRESSES_MAX`], [`DEVICES_MAX`]; the older half goes first, and is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use rapidhash::fast::RandomState;

use crate::recorder::names::Asker;
use crate::recorder::store::rows::{Actor, Text};
use crate::types::{MacAddr, Realm};

/// Addresses in the younger of two generations.
pub const ADDRESSES_MAX: usize = 250_000;

/// Devices by MAC.
pub const DEVICES_MAX: usize = 100_000;

/// Addresses of one family seen in frames of one MAC from which on it is taken for a router:
/// hosts have one or two, and some privacy addresses in IPv6.
const ROUTER_ADDRESSES: usize = 5;

/// Where a binding came from, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A DHCP server granted the lease.
    Dhcp,
    /// ARP or neighbour discovery.
    Neighbor,
    /// The MAC in the client's own frames.
    Frame,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    mac: MacAddr,
    source: Source,
}

/// Who has which address, for views: written by the recorder, read beside it, and never asked for
/// anything that a result depends on.
#[derive(Debug, Default)]
pub struct Directory {
    by_address: DashMap<(Realm, IpAddr), Arc<Actor>, RandomState>,
}

impl Directory {
    /// Whoever has the address.
    pub fn actor(&self, realm: Realm, addr: IpAddr) -> Option<Arc<Actor>> {
        self.by_address.get(&(realm, addr)).map(|a| a.clone())
    }

    /// Addresses known.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// `true` if none is known.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

/// Bindings in force.
#[derive(Debug, Default)]
pub struct Bindings {
    /// Where views read.
    directory: Option<Arc<Directory>>,
    young: HashMap<(Realm, IpAddr), Binding, RandomState>,
    old: HashMap<(Realm, IpAddr), Binding, RandomState>,
    names: HashMap<MacAddr, Text, RandomState>,
    /// Addresses in frames of a MAC: past [`ROUTER_ADDRESSES`] it is a router.
    seen_with: HashMap<MacAddr, Vec<IpAddr>, RandomState>,
    actors: HashMap<(Realm, IpAddr, Option<MacAddr>), Arc<Actor>, RandomState>,
    /// Generations dropped because a cap was met.
    pub dropped: u64,
}

impl Bindings {
    /// From now on, views read here who has which address.
    pub fn publish(&mut self, directory: Arc<Directory>) {
        self.directory = Some(directory);
    }

    /// From now on, `addr` belongs to `mac`.
    pub fn bind(&mut self, realm: Realm, addr: IpAddr, mac: MacAddr, source: Source) {
        if mac.is_zero() || mac.is_group() || addr.is_unspecified() || addr.is_multicast() {
            return;
        }
        if source == Source::Frame && self.routes(mac, addr) {
            return;
        }
        if let Some(known) = self.binding(realm, addr)
            && (known.mac == mac || (source == Source::Frame && known.source < source))
        {
            return;
        }
        if self.young.len() >= ADDRESSES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.young.insert((realm, addr), Binding { mac, source });
    }

    /// A lease ended: the address is free for others.
    pub fn release(&mut self, realm: Realm, addr: IpAddr) {
        self.young.remove(&(realm, addr));
        self.old.remove(&(realm, addr));
    }

    /// The device calls itself `name`.
    pub fn call(&mut self, mac: MacAddr, name: &Text) {
        if mac.is_zero() || name.is_empty() || self.names.get(&mac).is_some_and(|n| n == name) {
            return;
        }
        if self.names.len() >= DEVICES_MAX {
            self.names.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.names.insert(mac, name.clone());
        self.actors.retain(|(_, _, m), _| *m != Some(mac));
    }

    /// Who has `addr` now.
    pub fn actor(&mut self, realm: Realm, addr: IpAddr) -> Arc<Actor> {
        let mac = self.binding(realm, addr).map(|b| b.mac);
        let key = (realm, addr, mac);
        if let Some(actor) = self.actors.get(&key) {
            return actor.clone();
        }
        if self.actors.len() >= ADDRESSES_MAX {
            self.actors.clear();
        }
        let host_name = mac.and_then(|m| self.names.get(&m).cloned());
        let actor = Arc::new(Actor { realm, addr, mac, host_name });
        if let Some(directory) = &self.directory {
            if directory.len() >= ADDRESSES_MAX {
                directory.by_address.clear();
            }
            directory.by_address.insert((realm, addr), actor.clone());
        }
        self.actors.insert(key, actor.clone());
        actor
    }

    /// The device behind `addr`, or the address where no device is known.
    pub fn asker(&self, realm: Realm, addr: IpAddr) -> Asker {
        self.binding(realm, addr).map_or(Asker::Address(addr), |b| Asker::Device(b.mac))
    }

    fn binding(&self, realm: Realm, addr: IpAddr) -> Option<Binding> {
        let key = (realm, addr);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Notes that frames of `mac` carry `addr`; `true` once it is plainly a router.
    fn routes(&mut self, mac: MacAddr, addr: IpAddr) -> bool {
        if self.seen_with.len() >= DEVICES_MAX {
            self.seen_with.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        let addresses = self.seen_with.entry(mac).or_default();
        if !addresses.contains(&addr) && addresses.len() < ROUTER_ADDRESSES {
            addresses.push(addr);
        }
        let family = |a: &&IpAddr| a.is_ipv4() == addr.is_ipv4();
        addresses.iter().filter(family).count() >= ROUTER_ADDRESSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Realm = Realm(0);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn an_address_changes_hands() {
        let mut b = Bindings::default();
        b.bind(R, ip(9), mac(1), Source::Dhcp);
        b.call(mac(1), &Text::from("laptop-1"));
        assert_eq!(b.actor(R, ip(9)).host_name.as_deref(), Some("laptop-1"));
        b.bind(R, ip(9), mac(2), Source::Dhcp);
        let now = b.actor(R, ip(9));
        assert_eq!((now.mac, now.host_name.as_deref()), (Some(mac(2)), None));
    }

    #[test]
    fn what_frames_say_does_not_overrule_dhcp_and_a_router_says_nothing() {
        let mut b = Bindings::default();
        b.bind(R, ip(1), mac(1), Source::Dhcp);
        b.bind(R, ip(1), mac(7), Source::Frame);
        assert_eq!(b.actor(R, ip(1)).mac, Some(mac(1)));
        for last in 10..40 {
            b.bind(R, ip(last), mac(7), Source::Frame);
        }
        assert_eq!(b.actor(R, ip(39)).mac, None);
    }
}
