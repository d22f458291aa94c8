//! Which department a device belongs to, as a file says it.
//!
//! In: TOML with a `[[department]]` for each, and its networks and devices. Out: [`Departments`].
//! Never: guesses; a device that stands nowhere is of an unknown department.
//! Limits: those of the policy's lists.
//!
//! ```toml
//! [[department]]
//! name = "Research"
//! networks = ["10.20.0.0/25"]
//! devices = ["laptop-7", "02:00:00:00:00:01"]
//! ```

use std::net::IpAddr;

use crate::recorder::store::rows::Actor;
use crate::types::MacAddr;
use crate::written::{ConfigError, Document, Problems, mac, masked, network};

/// Departments of a file; none by default.
#[derive(Clone, Debug, Default)]
pub struct Departments {
    all: Vec<Department>,
}

#[derive(Clone, Debug)]
struct Department {
    name: String,
    networks: Vec<(IpAddr, u8)>,
    macs: Vec<MacAddr>,
    hosts: Vec<String>,
}

impl Departments {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line.
    pub fn read(doc: &Document) -> Result<Departments, ConfigError> {
        let mut problems = Problems::default();
        let table = doc.parse(&mut problems);
        let top = doc.top(&table);
        top.only(&["department"], &mut problems);
        let mut all = Vec::new();
        for section in top.sections("department", &mut problems) {
            section.only(&["name", "networks", "devices"], &mut problems);
            let Some(name) = section.text("name", &mut problems) else {
                let hint = "write name = \"...\"".to_owned();
                problems.error(Some(section.head()), "no `name`".to_owned(), Some(hint));
                continue;
            };
            let name = name.get_ref().split_whitespace().collect::<Vec<_>>().join(" ");
            let mut department =
                Department { name, networks: Vec::new(), macs: Vec::new(), hosts: Vec::new() };
            for text in section.texts("networks", &mut problems) {
                match network(text.get_ref()) {
                    Ok(net) => department.networks.push(net),
                    Err((message, hint)) => {
                        problems.error(Some(section.place(&text)), message, hint);
                    }
                }
            }
            for text in section.texts("devices", &mut problems) {
                match mac(text.get_ref()) {
                    Some(mac) => department.macs.push(mac),
                    None => department.hosts.push(text.get_ref().to_lowercase()),
                }
            }
            all.push(department);
        }
        problems.check()?;
        Ok(Departments { all })
    }

    /// `true` if nobody said anything about departments.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The department of a device: by the device itself, else by the longest network.
    pub fn of(&self, actor: &Actor) -> Option<&str> {
        let host = actor.host_name.as_deref().map(str::to_lowercase);
        let label = host.as_deref().map(|h| h.split('.').next().unwrap_or(h));
        let named = self.all.iter().find(|d| {
            actor.mac.is_some_and(|m| d.macs.contains(&m))
                || d.hosts.iter().any(|h| host.as_deref() == Some(h) || label == Some(h))
        });
        let by_network = || {
            let holds = |(net, bits): &&(IpAddr, u8)| masked(actor.addr, *bits) == *net;
            let longest = |d: &Department| d.networks.iter().filter(holds).map(|n| n.1).max();
            let fits = self.all.iter().filter_map(|d| Some((longest(d)?, d)));
            // The first of equally long ones, so that the order of the file decides.
            fits.rev().max_by_key(|(bits, _)| *bits).map(|(_, d)| d)
        };
        named.or_else(by_network).map(|d| d.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::store::rows::Text;
    use crate::types::Realm;

    #[test]
    fn devices_come_before_networks_and_longer_networks_before_shorter() {
        let text = "[[department]]\nname = \"All\"\nnetworks = [\"192.0.2.0/24\"]\n\
                    [[department]]\nname = \"Lab\"\nnetworks = [\"192.0.2.128/25\"]\n\
                    [[department]]\nname = \"Board\"\ndevices = [\"Anna-PC\", \"02:00:00:00:00:09\"]\n";
        let departments = Departments::read(&Document::new("d.toml", text)).unwrap();
        let actor = |last: u8, mac: u8, host: Option<&str>| Actor {
            realm: Realm(0),
            addr: [192, 0, 2, last].into(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, mac])),
            host_name: host.map(Text::from),
            who: crate::recorder::identity::Person::Unknown,
        };
        for (actor, expected) in [
            (actor(1, 1, None), Some("All")),
            (actor(200, 1, None), Some("Lab")),
            (actor(200, 9, None), Some("Board")),
            (actor(200, 1, Some("anna-pc.office.example")), Some("Board")),
        ] {
            assert_eq!(departments.of(&actor), expected);
        }
        assert_eq!(
            departments.of(&Actor { addr: [198, 51, 100, 1].into(), ..actor(1, 1, None) }),
            None
        );
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "[[department]]\n",
            "[[dept]]\nname = \"x\"",
            "[[department]]\nname=\"x\"\nnetworks=[\"10.1/16\"]",
        ] {
            assert!(Departments::read(&Document::new("d.toml", text)).is_err(), "{text}");
        }
    }
}
