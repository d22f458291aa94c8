//! Whom a rule is for: networks, devices, users, groups, departments.
//!
//! Of each list that is given one entry must fit, and of every list: a rule with `networks` and
//! `devices` is for these devices while they are in these networks.

use std::net::IpAddr;

use super::Asked;
use crate::recorder::store::rows::Text;
use crate::types::MacAddr;
use crate::written::masked;

/// Whom a rule is for; everybody, if all lists are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Networks of the client's address.
    pub networks: Vec<(IpAddr, u8)>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Logins, compared without regard to case.
    pub users: Vec<Text>,
    /// Groups, compared without regard to case.
    pub groups: Vec<Text>,
    /// Departments, compared without regard to case.
    pub departments: Vec<Text>,
}

/// A device as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// By link address.
    Mac(MacAddr),
    /// By the name that it gives itself; without a dot it stands for any domain.
    Name(Text),
}

/// Why a rule is not for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The address lies in none of its networks.
    Networks,
    /// It is none of its devices.
    Devices,
    /// The person is none of its users, or not known.
    Users,
    /// The person is in none of its groups, or not known.
    Groups,
    /// The device and the person are of none of its departments, or of an unknown one.
    Departments,
}

/// How narrow a scope is; the greater, the narrower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Narrowness {
    /// It names devices or users.
    pub person: bool,
    /// It names groups or departments.
    pub group: bool,
    /// Length of its longest network prefix that holds the address.
    pub network: Option<u8>,
}

impl Scope {
    /// Why the scope does not hold who is asked for; `None` if it does.
    pub fn outside(&self, asked: &Asked<'_>) -> Option<Outside> {
        if !self.networks.is_empty() && self.prefix(asked.actor.addr).is_none() {
            return Some(Outside::Networks);
        }
        if !self.devices.is_empty() && !self.devices.iter().any(|d| d.is(asked)) {
            return Some(Outside::Devices);
        }
        let among = |names: &[Text], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        let recorded = || asked.actor.who.one().map(|claim| &**claim.user.name());
        let user = asked.user.or_else(recorded);
        if !self.users.is_empty() && !user.is_some_and(|u| among(&self.users, u)) {
            return Some(Outside::Users);
        }
        if !self.groups.is_empty() && !asked.groups.iter().any(|g| among(&self.groups, g)) {
            return Some(Outside::Groups);
        }
        let department = asked.actor.department();
        if !self.departments.is_empty() && !department.is_some_and(|d| among(&self.departments, d))
        {
            return Some(Outside::Departments);
        }
        None
    }

    /// How narrow it is for who is asked for, whom it holds.
    pub fn narrowness(&self, asked: &Asked<'_>) -> Narrowness {
        Narrowness {
            person: !self.devices.is_empty() || !self.users.is_empty(),
            group: !self.groups.is_empty() || !self.departments.is_empty(),
            network: self.prefix(asked.actor.addr),
        }
    }

    /// Kinds of lists that are given, without what stands in them.
    pub fn kinds(&self) -> Vec<&'static str> {
        let kinds = [
            ("networks", self.networks.is_empty()),
            ("devices", self.devices.is_empty()),
            ("users", self.users.is_empty()),
            ("groups", self.groups.is_empty()),
            ("departments", self.departments.is_empty()),
        ];
        kinds.into_iter().filter(|k| !k.1).map(|k| k.0).collect()
    }

    /// Length of the longest prefix that holds the address.
    fn prefix(&self, addr: IpAddr) -> Option<u8> {
        let holds = |(net, bits): &&(IpAddr, u8)| masked(addr, *bits) == *net;
        self.networks.iter().filter(holds).map(|(_, bits)| *bits).max()
    }

    pub(super) fn digest(&self, add: &mut impl FnMut(&str)) {
        for (net, bits) in &self.networks {
            add(&format!("network {net}/{bits}"));
        }
        for device in &self.devices {
            match device {
                Device::Mac(mac) => add(&format!("mac {:02x?}", mac.0)),
                Device::Name(name) => add(&format!("device {name}")),
            }
        }
        for user in &self.users {
            add(&format!("user {user}"));
        }
        for group in &self.groups {
            add(&format!("group {group}"));
        }
        for department in &self.departments {
            add(&format!("department {department}"));
        }
        add("end of scope");
    }
}

impl Device {
    fn is(&self, asked: &Asked<'_>) -> bool {
        match self {
            Device::Mac(mac) => asked.actor.mac == Some(*mac),
            Device::Name(name) => {
                let Some(own) = asked.actor.host_name.as_deref() else { return false };
                let label = own.split('.').next().unwrap_or(own);
                own.eq_ignore_ascii_case(name) || label.eq_ignore_ascii_case(name)
            }
        }
    }
}

impl Outside {
    /// The reason in words.
    pub fn text(self) -> &'static str {
        match self {
            Outside::Networks => "the address is in none of its networks",
            Outside::Devices => "the device is none of its devices",
            Outside::Users => "the user is none of its users",
            Outside::Groups => "the user is in none of its groups",
            Outside::Departments => "the device and its user are of none of its departments",
        }
    }
}
