//! Devices by link address: what they call themselves, which system runs, whether they route.
//!
//! In: names, vendor classes, user agents, frames. Out: the best name at a time, facts for the
//! store. Never: merges two link addresses.
//! Limits: [`DEVICES_MAX`] devices of 40 bytes, [`NAMES_MAX`] names, [`ADDRESSES_MAX`] addresses.

use std::collections::HashMap;
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::Source;
use super::bindings::DeviceId;
use crate::recorder::store::rows::Text;
use crate::types::{MacAddr, Realm, Timestamp};

/// Devices told apart: as many as addresses. Whoever makes up link addresses fills it, and then
/// known devices stay known.
pub const DEVICES_MAX: usize = 1_000_000;

/// Names of one device; each protocol knows one or two.
pub const NAMES_MAX: usize = 8;

/// Latest addresses of one device: both families with some privacy addresses.
pub const ADDRESSES_MAX: usize = 16;

/// IPv4 addresses in unrouted frames of one link address from which on it is taken for a router:
/// hosts have one or two.
pub const ROUTER_ADDRESSES: usize = 5;

/// A name, and who gave it when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: Text,
    /// Who says so.
    pub source: Source,
    /// First time.
    pub from: Timestamp,
    /// Last time.
    pub last: Timestamp,
    /// Input of the first time.
    pub input: u16,
}

/// What is known of a device beside its address.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Names, in the order in which they came.
    pub names: Vec<Named>,
    /// Systems: families and vendor classes, as said.
    pub systems: Vec<Named>,
    /// Latest addresses.
    pub addresses: Vec<IpAddr>,
    /// IPv4 addresses in its unrouted frames.
    own: Vec<IpAddr>,
}

/// One link address.
#[derive(Clone, Debug)]
pub struct Device {
    /// Link address.
    pub mac: MacAddr,
    /// Address space.
    pub realm: Realm,
    /// It forwards frames of others: its frames say nothing of who has an address.
    pub routes: bool,
    /// The first address; further ones stand in `extra`.
    first: Option<IpAddr>,
    extra: Option<Box<Extra>>,
}

impl Device {
    /// What is known beside the address.
    pub fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Addresses that it had lately.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.first
            .into_iter()
            .chain(self.extra().into_iter().flat_map(|e| e.addresses.iter().copied()))
    }

    /// The name at a time: of the best source that had spoken by then, else the next to speak; a
    /// device is called what it is called before it says so.
    pub fn name(&self, at: Timestamp) -> Option<&Named> {
        let names = &self.extra()?.names;
        let before = names.iter().filter(|n| n.from <= at);
        let best = before.min_by_key(|n| (n.source, std::cmp::Reverse(n.from)));
        best.or_else(|| names.iter().min_by_key(|n| (n.from, n.source)))
    }
}

/// All devices.
#[derive(Debug, Default)]
pub struct Devices {
    by_mac: HashMap<(Realm, MacAddr), DeviceId, RandomState>,
    all: Vec<Device>,
    /// Devices and names left out because a cap was met.
    pub dropped: u64,
}

impl Devices {
    /// The device of a link address, made if need be; `None` for no device's address.
    pub fn of(&mut self, realm: Realm, mac: MacAddr) -> Option<DeviceId> {
        if mac.is_zero() || mac.is_group() {
            return None;
        }
        if let Some(id) = self.by_mac.get(&(realm, mac)) {
            return Some(*id);
        }
        if self.all.len() >= DEVICES_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        let id = DeviceId(u32::try_from(self.all.len()).ok()?);
        self.all.push(Device { mac, realm, routes: false, first: None, extra: None });
        self.by_mac.insert((realm, mac), id);
        Some(id)
    }

    /// The device of that number.
    pub fn get(&self, id: DeviceId) -> Option<&Device> {
        self.all.get(id.0 as usize)
    }

    fn get_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.all.get_mut(id.0 as usize)
    }

    /// Octets that the tables take, names apart.
    pub fn bytes(&self) -> usize {
        let slots = (self.by_mac.capacity() * 8).div_ceil(7).next_power_of_two();
        slots * (size_of::<((Realm, MacAddr), DeviceId)>() + 1)
            + self.all.capacity() * size_of::<Device>()
    }

    /// Every device, by number.
    pub fn all(&self) -> &[Device] {
        &self.all
    }

    /// The device has this address now.
    pub fn has(&mut self, id: DeviceId, addr: IpAddr) {
        let Some(device) = self.get_mut(id) else { return };
        if device.first.is_none() {
            device.first = Some(addr);
        } else if device.addresses().all(|known| known != addr) {
            let addresses = &mut device.extra_mut().addresses;
            if addresses.len() >= ADDRESSES_MAX {
                addresses.remove(0);
            }
            addresses.push(addr);
        }
    }

    /// The device is called `name`.
    pub fn call(&mut self, id: DeviceId, name: &Text, source: Source, at: Timestamp, input: u16) {
        let Some(device) = self.get_mut(id) else { return };
        let full = !remember(&mut device.extra_mut().names, name, source, at, input);
        self.dropped = self.dropped.saturating_add(u64::from(full));
    }

    /// The device runs `system`, or says that it does.
    pub fn runs(&mut self, id: DeviceId, system: &Text, source: Source, at: Timestamp, input: u16) {
        let Some(device) = self.get_mut(id) else { return };
        let full = !remember(&mut device.extra_mut().systems, system, source, at, input);
        self.dropped = self.dropped.saturating_add(u64::from(full));
    }

    /// The device forwards for others.
    pub fn routes(&mut self, id: DeviceId) {
        if let Some(device) = self.get_mut(id) {
            device.routes = true;
        }
    }

    /// Unrouted frames of the device carry `addr`; `false` if it is plainly a router.
    pub fn sends(&mut self, id: DeviceId, addr: IpAddr) -> bool {
        let Some(device) = self.get_mut(id) else { return false };
        if device.routes || addr.is_ipv6() {
            return !device.routes;
        }
        // The one address that most hosts have needs no list.
        if device.first == Some(addr) && device.extra.is_none() {
            return true;
        }
        let own = &mut device.extra_mut().own;
        if !own.contains(&addr) {
            own.push(addr);
        }
        if own.len() >= ROUTER_ADDRESSES {
            device.routes = true;
        }
        !device.routes
    }
}

/// Puts a name among those of its source; `false` if there is no room.
fn remember(
    names: &mut Vec<Named>,
    name: &Text,
    source: Source,
    at: Timestamp,
    input: u16,
) -> bool {
    let same = |n: &&mut Named| n.source == source && n.name.eq_ignore_ascii_case(name);
    if let Some(known) = names.iter_mut().rev().find(same) {
        known.last = known.last.max(at);
        known.from = known.from.min(at);
        return true;
    }
    if names.len() >= NAMES_MAX {
        return false;
    }
    names.push(Named { name: name.clone(), source, from: at, last: at, input });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Realm = Realm(0);

    fn s(seconds: u64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    fn name(devices: &Devices, id: DeviceId, at: u64) -> Option<&str> {
        devices.get(id)?.name(s(at)).map(|n| &*n.name)
    }

    #[test]
    fn a_name_holds_before_it_is_said_and_until_a_better_one() {
        let mut d = Devices::default();
        let id = d.of(R, MacAddr([2, 0, 0, 0, 0, 1])).unwrap();
        assert_eq!(name(&d, id, 5), None);
        d.call(id, &Text::from("local-name"), Source::Announced, s(50), 0);
        assert_eq!(name(&d, id, 5), Some("local-name"), "carried back");
        d.call(id, &Text::from("leased"), Source::Dhcp, s(60), 0);
        assert_eq!(name(&d, id, 55), Some("local-name"));
        assert_eq!(name(&d, id, 60), Some("leased"), "DHCP is believed more");
        d.call(id, &Text::from("renamed"), Source::Dhcp, s(90), 0);
        assert_eq!((name(&d, id, 89), name(&d, id, 90)), (Some("leased"), Some("renamed")));
        for n in 0..20 {
            d.call(id, &Text::from(format!("n{n}")), Source::Announced, s(100 + n), 0);
        }
        assert_eq!(d.get(id).unwrap().extra().unwrap().names.len(), NAMES_MAX);
        assert_eq!(d.dropped, 20 - (NAMES_MAX as u64 - 3));
    }

    #[test]
    fn a_router_is_told_by_the_addresses_in_its_frames() {
        let mut d = Devices::default();
        let id = d.of(R, MacAddr([2, 0, 0, 0, 0, 1])).unwrap();
        for n in 1..u8::try_from(ROUTER_ADDRESSES).unwrap() {
            assert!(d.sends(id, IpAddr::from([192, 0, 2, n])), "{n}");
            assert!(d.sends(id, format!("2001:db8::{n}").parse().unwrap()), "privacy addresses");
        }
        assert!(!d.sends(id, IpAddr::from([192, 0, 2, 99])));
        assert!(d.get(id).unwrap().routes);
        assert_eq!(d.of(R, MacAddr([0; 6])), None);
        assert_eq!(d.of(R, MacAddr([0xff; 6])), None);
    }
}
