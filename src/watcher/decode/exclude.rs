//! Networks, VLANs and MACs that the sensor must not see.
//!
//! In: addresses and tags as they stand in a frame, at any depth.
//! Out: yes or no. Never: remembers what it was asked.

use std::net::IpAddr;

use crate::types::MacAddr;
use crate::watcher::packet::octets_of;

/// What is dropped before anything else is read of it, and only counted.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    networks: Vec<Network>,
    vlans: Vec<u16>,
    macs: Vec<MacAddr>,
}

/// Address range in the 16-octet form.
#[derive(Clone, Copy, Debug)]
struct Network {
    bits: u128,
    mask: u128,
    v6: bool,
}

impl Exclude {
    /// Excludes networks (address and prefix length), VLAN ids and MACs, wherever in a frame they
    /// appear. A prefix longer than the address is taken as the whole address.
    pub fn new(networks: &[(IpAddr, u8)], vlans: &[u16], macs: &[MacAddr]) -> Self {
        let networks = networks.iter().map(|&(addr, prefix)| network(addr, prefix)).collect();
        Self { networks, vlans: vlans.to_vec(), macs: macs.to_vec() }
    }

    /// `true` if nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.vlans.is_empty() && self.macs.is_empty()
    }

    /// `true` if the address lies in an excluded network.
    pub fn holds_addr(&self, octets: [u8; 16], v6: bool) -> bool {
        let bits = u128::from_be_bytes(octets);
        self.networks.iter().any(|n| n.v6 == v6 && bits & n.mask == n.bits)
    }

    /// `true` if the VLAN is excluded.
    pub fn holds_vlan(&self, id: u16) -> bool {
        self.vlans.contains(&id)
    }

    /// `true` if the MAC is excluded.
    pub fn holds_mac(&self, mac: MacAddr) -> bool {
        self.macs.contains(&mac)
    }
}

fn network(addr: IpAddr, prefix: u8) -> Network {
    let v6 = addr.is_ipv6();
    // IPv4 is kept behind 96 bits of mapping prefix.
    let prefix = if v6 { prefix } else { prefix.min(32).saturating_add(96) };
    let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(prefix))).unwrap_or(0);
    Network { bits: u128::from_be_bytes(octets_of(addr)) & mask, mask, v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_named_and_nothing_else() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("address");
        let nets = [
            (ip("10.1.0.0"), 16),
            (ip("192.0.2.7"), 32),
            (ip("2001:db8::"), 32),
            (ip("fe80::1"), 200),
        ];
        let exclude = Exclude::new(&nets, &[7], &[MacAddr([2, 0, 0, 0, 0, 1])]);
        for (addr, expected) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("fe80::1", true),
            ("fe80::2", false),
            ("::ffff:10.1.0.1", false),
        ] {
            let addr_ = ip(addr);
            assert_eq!(exclude.holds_addr(octets_of(addr_), addr_.is_ipv6()), expected, "{addr}");
        }
        assert!(exclude.holds_vlan(7) && !exclude.holds_vlan(8));
        assert!(!exclude.holds_mac(MacAddr([2, 0, 0, 0, 0, 2])));
        assert!(
            Exclude::new(&[(ip("0.0.0.0"), 0)], &[], &[])
                .holds_addr(octets_of(ip("8.8.8.8")), false)
        );
        assert!(Exclude::default().is_empty() && !exclude.is_empty());
    }
}
