//! The only way in which a device or a person gets into a report, and what masking leaves of it.
//!
//! In: a [`Subject`], which has no Display and no Serialize. Out: text, under the [`Mask`].
//! Never: derives a masked label from the name or address: addresses are few, so every digest of
//! one can be undone by trying all.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::recorder::store::rows::Actor;

/// Groups of fewer devices are shown together with others where names are masked: below five,
/// a colleague knows who is meant.
pub const GROUP_MIN: u64 = 5;

/// Whether names leave the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Devices are numbers, small departments are shown together.
    #[default]
    Masked,
    /// Everything is named.
    Shown,
}

/// A device or person about whom something is said.
#[derive(Clone, Copy)]
pub struct Subject<'a>(&'a Actor);

impl<'a> Subject<'a> {
    /// The device of an actor.
    pub fn new(actor: &'a Actor) -> Self {
        Self(actor)
    }
}

/// What turns subjects into text.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: Names,
    /// Names and addresses of devices, to know one where it stands as a destination.
    own: BTreeSet<String>,
}

impl Mask {
    /// A mask for a store with these devices.
    pub fn new<'a>(names: Names, devices: impl Iterator<Item = &'a Actor>) -> Self {
        let own = devices.flat_map(|a| {
            let text = a.text();
            let host = text.host.map(|h| label(&h.to_lowercase()).to_owned());
            [Some(text.ip), host].into_iter().flatten()
        });
        Self { names, own: own.collect() }
    }

    /// `true` if names leave the store.
    pub fn shows_names(&self) -> bool {
        self.names == Names::Shown
    }

    /// Fewest devices of a group that is shown alone.
    pub fn group_min(&self) -> u64 {
        if self.shows_names() { 1 } else { GROUP_MIN }
    }

    /// The device, which is the `rank`-th of the report.
    pub fn device(&self, subject: Subject<'_>, rank: u64) -> String {
        if !self.shows_names() {
            return format!("device {rank}");
        }
        let text = subject.0.text();
        match text.host {
            Some(host) => format!("{host} ({})", text.ip),
            None => text.ip,
        }
    }

    /// A host that was talked to: a device of ours is masked like one, a service is not.
    pub fn host(&self, host: &str) -> String {
        let private = host.parse::<IpAddr>().is_ok_and(|addr| match addr {
            IpAddr::V4(a) => a.is_private() || a.is_link_local(),
            IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local(),
        });
        let ours = private || self.own.contains(host) || self.own.contains(label(host));
        if ours && !self.shows_names() { "a device of ours".to_owned() } else { host.to_owned() }
    }
}

/// The first label of a name, or the whole of an address.
fn label(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() { host } else { host.split('.').next().unwrap_or(host) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::store::rows::Text;
    use crate::types::Realm;

    #[test]
    fn masked_devices_are_numbers_and_our_hosts_are_nobody() {
        let actor = Actor {
            realm: Realm(0),
            addr: [192, 0, 2, 9].into(),
            mac: None,
            host_name: Some(Text::from("Gpu-4")),
            who: crate::recorder::identity::Person::Unknown,
            department: None,
        };
        let masked = Mask::new(Names::Masked, [&actor].into_iter());
        let shown = Mask::new(Names::Shown, [&actor].into_iter());
        assert_eq!(masked.device(Subject::new(&actor), 7), "device 7");
        assert_eq!(shown.device(Subject::new(&actor), 7), "Gpu-4 (192.0.2.9)");
        for (host, expected) in [
            ("gpu-4.office.example", "a device of ours"),
            ("192.0.2.9", "a device of ours"),
            ("10.1.2.3", "a device of ours"),
            ("198.51.100.7", "198.51.100.7"),
            ("llm.vendor.example", "llm.vendor.example"),
        ] {
            assert_eq!(masked.host(host), expected, "{host}");
            assert_eq!(shown.host(host), host);
        }
    }
}
