//! Which department a device belongs to, as files say it.
//!
//! In: TOML with a `[[department]]` for each, and its networks and devices: a file of its own, or
//! part of the configuration. Out: [`Departments`].
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

use crate::recorder::store::rows::{Actor, Text};
use crate::types::MacAddr;
use crate::written::{ConfigError, Document, Problems, Section, mac, masked, network};

/// Departments of a file; none by default.
#[derive(Clone, Debug, Default)]
pub struct Departments {
    all: Vec<Department>,
}

#[derive(Clone, Debug)]
struct Department {
    name: Text,
    networks: Vec<(IpAddr, u8)>,
    macs: Vec<MacAddr>,
    hosts: Vec<String>,
}

/// A device, as far as departments tell devices apart.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Address.
    pub addr: IpAddr,
    /// Link address.
    pub mac: Option<MacAddr>,
    /// Name that it gives itself.
    pub host: Option<&'a str>,
}

impl Departments {
    /// Reads a file that holds nothing else.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line.
    pub fn read(doc: &Document) -> Result<Departments, ConfigError> {
        let mut problems = Problems::default();
        let table = doc.parse(&mut problems);
        let top = doc.top(&table);
        top.only(&["department"], &mut problems);
        let mut departments = Departments::default();
        departments.take(&top, &mut problems);
        problems.check()?;
        Ok(departments)
    }

    /// The departments that stand in the files of a configuration.
    pub fn of(documents: &[Document], problems: &mut Problems) -> Departments {
        let mut departments = Departments::default();
        for doc in documents {
            // What is no TOML was told before.
            let table = doc.parse(&mut Problems::default());
            departments.take(&doc.top(&table), problems);
        }
        departments
    }

    fn take(&mut self, top: &Section<'_>, problems: &mut Problems) {
        for section in top.sections("department", problems) {
            section.only(&["name", "networks", "devices"], problems);
            let Some(name) = section.text("name", problems) else {
                let hint = "write name = \"...\"".to_owned();
                problems.error(Some(section.head()), "no `name`".to_owned(), Some(hint));
                continue;
            };
            let name = name.get_ref().split_whitespace().collect::<Vec<_>>().join(" ");
            let mut department = Department {
                name: Text::from(name),
                networks: Vec::new(),
                macs: Vec::new(),
                hosts: Vec::new(),
            };
            for text in section.texts("networks", problems) {
                match network(text.get_ref()) {
                    Ok(net) => department.networks.push(net),
                    Err((message, hint)) => {
                        problems.error(Some(section.place(&text)), message, hint);
                    }
                }
            }
            for text in section.texts("devices", problems) {
                match mac(text.get_ref()) {
                    Some(mac) => department.macs.push(mac),
                    None => department.hosts.push(text.get_ref().to_lowercase()),
                }
            }
            self.all.push(department);
        }
    }

    /// Networks of departments.
    pub fn networks(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        self.all.iter().flat_map(|d| d.networks.iter().copied())
    }

    /// `true` if nobody said anything about departments.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The department of somebody recorded: as these say, else as was recorded.
    pub fn of_actor<'a>(&'a self, actor: &'a Actor) -> Option<&'a Text> {
        let host = actor.host_name.as_deref();
        let place = Place { addr: actor.addr, mac: actor.mac, host };
        self.name(place).or_else(|| actor.department())
    }

    /// The department of a device: by the device itself, else by the longest network.
    pub fn name(&self, place: Place<'_>) -> Option<&Text> {
        let host = place.host.map(str::to_lowercase);
        let label = host.as_deref().map(|h| h.split('.').next().unwrap_or(h));
        let named = self.all.iter().find(|d| {
            place.mac.is_some_and(|m| d.macs.contains(&m))
                || d.hosts.iter().any(|h| host.as_deref() == Some(h) || label == Some(h))
        });
        let by_network = || {
            let holds = |(net, bits): &&(IpAddr, u8)| masked(place.addr, *bits) == *net;
            let longest = |d: &Department| d.networks.iter().filter(holds).map(|n| n.1).max();
            let fits = self.all.iter().filter_map(|d| Some((longest(d)?, d)));
            // The first of equally long ones, so that the order of the file decides.
            fits.rev().max_by_key(|(bits, _)| *bits).map(|(_, d)| d)
        };
        named.or_else(by_network).map(|d| &d.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_before_networks_and_longer_networks_before_shorter() {
        let text = "[[department]]\nname = \"All\"\nnetworks = [\"192.0.2.0/24\"]\n\
                    [[department]]\nname = \"Lab\"\nnetworks = [\"192.0.2.128/25\"]\n\
                    [[department]]\nname = \"Board\"\ndevices = [\"Anna-PC\", \"02:00:00:00:00:09\"]\n";
        let departments = Departments::read(&Document::new("d.toml", text)).unwrap();
        let name = |addr: [u8; 4], mac: u8, host: Option<&str>| {
            let mac = Some(MacAddr([2, 0, 0, 0, 0, mac]));
            departments.name(Place { addr: addr.into(), mac, host }).map(|name| &**name)
        };
        for (addr, mac, host, expected) in [
            ([192, 0, 2, 1], 1, None, Some("All")),
            ([192, 0, 2, 200], 1, None, Some("Lab")),
            ([192, 0, 2, 200], 9, None, Some("Board")),
            ([192, 0, 2, 200], 1, Some("anna-pc.office.example"), Some("Board")),
            ([198, 51, 100, 1], 1, None, None),
        ] {
            assert_eq!(name(addr, mac, host), expected, "{addr:?} {mac} {host:?}");
        }
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
