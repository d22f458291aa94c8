//! What is known before the first packet: settings, inventory, leases, logon events.
//!
//! In: the configuration and the files it names, as text. Out: [`Known`], shared by all worlds of
//! a run. Never: reads a file itself; is changed by what is seen.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::departments::{Departments, Place};
use super::inventory::{Inventory, Managed, plain_name};
use super::subject::{Mode, Veil};
use crate::recorder::store::rows::{InputRows, Text};
use crate::types::{MacAddr, Timestamp};

/// What may be looked at, and under whose responsibility.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Take people's names from the wire.
    pub users: bool,
    /// What for; asked of whoever switches `users` on.
    pub purpose: String,
    /// Whom people can ask about it.
    pub contact: String,
    /// Days for which names of people and their devices' addresses stay in the store.
    pub retention_days: u32,
    /// Proxies and load balancers whose word about a client counts.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Networks in which every address stands for many people.
    pub shared: Vec<(IpAddr, u8)>,
    /// Groups whose members' doings are not recorded, in lower case.
    pub exclude_groups: Vec<Text>,
}

/// What a file of leases or logons says, by its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The address it speaks of.
    pub addr: IpAddr,
    /// What happened.
    pub what: What,
}

/// Something that happened at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// It was leased.
    Lease {
        /// To whom.
        mac: MacAddr,
        /// For how many seconds.
        lease_s: u32,
        /// Name that the client gave.
        name: Option<Text>,
    },
    /// It was given back.
    Free,
    /// Somebody logged on there.
    On {
        /// Account as written.
        account: Text,
        /// When the session is over, if that is known.
        until: Option<Timestamp>,
    },
    /// Somebody logged off.
    Off {
        /// Account as written; empty for whoever it was.
        account: Text,
    },
}

/// Everything known before the first packet.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What may be looked at.
    pub settings: Settings,
    /// How names leave.
    pub veil: Veil,
    /// Devices and people.
    pub inventory: Inventory,
    /// Departments by network and device.
    pub departments: Departments,
    /// Leases and logons, by time.
    pub events: Vec<Event>,
}

impl Known {
    /// Groups of a person.
    pub fn groups(&self, user: &str) -> &[Text] {
        self.inventory.person(user).map_or(&[], |p| &p.groups)
    }

    /// Department of a device: as the configuration has it, else as its managers do.
    pub fn department(
        &self,
        addr: IpAddr,
        mac: Option<MacAddr>,
        host: Option<&str>,
        managed: Option<&Managed>,
    ) -> Option<Text> {
        let by_place = self.departments.name(Place { addr, mac, host });
        by_place.or_else(|| managed.and_then(|m| m.department.as_ref())).cloned()
    }

    /// `true` if nothing of what this person does may be recorded.
    pub fn excludes(&self, user: &str) -> bool {
        let excluded = &self.settings.exclude_groups;
        let is = |group: &Text| excluded.iter().any(|e| e.eq_ignore_ascii_case(group));
        !excluded.is_empty() && self.groups(user).iter().any(is)
    }

    /// Takes names out of rows that go to a store which must have none; `said` are the names that
    /// devices gave themselves.
    pub fn veil_rows<'a>(
        &self,
        rows: &mut [(u16, InputRows)],
        said: impl Iterator<Item = &'a Text>,
    ) {
        if self.veil.mode() != Mode::Pseudonymous {
            return;
        }
        let said = said.map(|name| plain_name(name));
        let managed = self.inventory.devices().iter().filter_map(|d| d.name.clone());
        let names: HashSet<Text> = said.chain(managed).collect();
        for (_, rows) in rows {
            self.veil.rows(rows, &names);
        }
    }

    /// With its events in the order of time.
    #[must_use]
    pub fn sorted(mut self) -> Arc<Self> {
        // Stable, so that lines of one second stay in the order of their file.
        self.events.sort_by_key(|e| e.at);
        Arc::new(self)
    }
}
