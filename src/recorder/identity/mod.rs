//! Who has an address: the device, and the person at it, at a time.
//!
//! In: DHCP, ARP, NDP, names on the link, logons, and what inventories know, in the order of the
//! run. Out: an [`crate::recorder::store::rows::Actor`] for an address at a time.
//! Never: takes the MAC of a router for that of the hosts behind it; names one person where many
//! share an address; decides by wall clock.
//! Limits: those of [`bindings`], [`devices`] and [`people`]; what they forget is counted.
//!
//! What is observed comes before what is assigned, and of observations the one with the better
//! source: the order of the variants of [`Source`]. What loses is shown by `whois`.

pub mod bindings;
pub mod departments;
pub mod devices;
pub mod directory;
mod frames;
pub mod inventory;
pub mod known;
pub mod leases;
pub mod logons;
pub mod people;
pub mod shared;
pub mod subject;
mod tracker;
pub mod vendor;
pub mod whois;

pub use directory::Directory;
pub use known::{Known, Settings};
pub use subject::{Kind, Mode, Subject, Veil};
pub use tracker::{Resolved, Tracker};

use std::sync::Arc;

use crate::recorder::store::rows::Text;

/// Who said so, most trusted first within what it speaks of: devices, names, persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A DHCP server granted the lease, on the wire.
    Dhcp,
    /// RADIUS accounting: the network access server gave the address.
    Radius,
    /// Lease file of a DHCP server.
    LeaseFile,
    /// ARP or neighbour discovery.
    Neighbor,
    /// The MAC in the client's own frames, unrouted.
    Frame,
    /// Announced on the local link: mDNS, LLMNR, `NetBIOS`.
    Announced,
    /// A user agent or vendor class.
    Agent,
    /// Logon event of a system or service: Windows, VPN, 802.1X, identity provider.
    Logon,
    /// Kerberos ticket that a KDC granted.
    Kerberos,
    /// Proxy that authenticated the user and says so.
    Proxy,
    /// NTLM.
    Ntlm,
    /// Login in clear: HTTP Basic.
    Basic,
    /// LDAP bind.
    Ldap,
    /// Ticket asked for, not seen granted.
    KerberosRequest,
    /// Inventory or directory export.
    Inventory,
    /// Configuration.
    Configured,
}

impl Source {
    /// Every source, in order.
    pub const ALL: [Source; 16] = [
        Source::Dhcp,
        Source::Radius,
        Source::LeaseFile,
        Source::Neighbor,
        Source::Frame,
        Source::Announced,
        Source::Agent,
        Source::Logon,
        Source::Kerberos,
        Source::Proxy,
        Source::Ntlm,
        Source::Basic,
        Source::Ldap,
        Source::KerberosRequest,
        Source::Inventory,
        Source::Configured,
    ];

    /// Word of outputs.
    pub fn code(self) -> &'static str {
        match self {
            Source::Dhcp => "dhcp",
            Source::Radius => "radius",
            Source::LeaseFile => "lease-file",
            Source::Neighbor => "neighbor",
            Source::Frame => "frame",
            Source::Announced => "announced",
            Source::Agent => "agent",
            Source::Logon => "logon-event",
            Source::Kerberos => "kerberos",
            Source::Proxy => "proxy",
            Source::Ntlm => "ntlm",
            Source::Basic => "http-basic",
            Source::Ldap => "ldap",
            Source::KerberosRequest => "kerberos-request",
            Source::Inventory => "inventory",
            Source::Configured => "configured",
        }
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The source of that number.
    pub fn from_number(number: u8) -> Option<Source> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// How far it can be believed, in percent: who could have said it falsely. A lease is given
    /// by a server, a frame is sent by whoever likes; a directory was right when it was exported.
    pub fn confidence(self) -> u8 {
        match self {
            Source::Dhcp | Source::Radius | Source::Logon | Source::Configured => 95,
            Source::LeaseFile | Source::Kerberos => 90,
            Source::Neighbor | Source::Proxy => 85,
            Source::Frame | Source::Ntlm => 75,
            Source::Inventory => 70,
            Source::Basic | Source::Ldap => 60,
            Source::Announced | Source::KerberosRequest => 50,
            Source::Agent => 40,
        }
    }
}

/// What ties a person to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// Seen to log on there, at that time.
    LoggedOn,
    /// The device is assigned to the person.
    Primary,
}

impl Relation {
    /// Word of outputs.
    pub fn code(self) -> &'static str {
        match self {
            Relation::LoggedOn => "logged on",
            Relation::Primary => "primary user",
        }
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The relation of that number.
    pub fn from_number(number: u8) -> Option<Relation> {
        [Relation::LoggedOn, Relation::Primary].get(usize::from(number)).copied()
    }
}

/// Why an address stands for many people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Many {
    /// Configuration says so.
    Configured,
    /// It forwards for others: what leaves it has passed a router already.
    Nat,
    /// Clients ask it to fetch for them.
    Proxy,
    /// Several operating systems at once.
    Systems,
    /// Several people at once.
    Users,
}

impl Many {
    /// Every reason.
    pub const ALL: [Many; 5] =
        [Many::Configured, Many::Nat, Many::Proxy, Many::Systems, Many::Users];

    /// Word of outputs.
    pub fn code(self) -> &'static str {
        match self {
            Many::Configured => "configured as shared",
            Many::Nat => "forwards for others (NAT, containers)",
            Many::Proxy => "proxy",
            Many::Systems => "several operating systems",
            Many::Users => "several users at once",
        }
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The reason of that number.
    pub fn from_number(number: u8) -> Option<Many> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A person, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// Login.
    pub user: Subject,
    /// Assigned or observed.
    pub relation: Relation,
    /// Who said so.
    pub source: Source,
    /// Department, if a directory says so; no name of a person.
    pub department: Option<Text>,
}

impl Claim {
    /// The same about somebody under another name.
    pub fn under(&self, user: Subject) -> Arc<Claim> {
        Arc::new(Claim { user, ..self.clone() })
    }
}

/// Who is at a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Person {
    /// Nobody knows.
    #[default]
    Unknown,
    /// This one.
    One(Arc<Claim>),
    /// More than one: nobody is named.
    Many(Many),
    /// Somebody of a group that is left out: what such people do is not recorded.
    Excluded,
}

impl Person {
    /// The one person, if it is one.
    pub fn one(&self) -> Option<&Claim> {
        match self {
            Person::One(claim) => Some(claim),
            Person::Unknown | Person::Many(_) | Person::Excluded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_numbers() {
        for source in Source::ALL {
            assert_eq!(Source::from_number(source.number()), Some(source), "{}", source.code());
        }
        for many in Many::ALL {
            assert_eq!(Many::from_number(many.number()), Some(many), "{}", many.code());
        }
        for relation in [Relation::LoggedOn, Relation::Primary] {
            assert_eq!(Relation::from_number(relation.number()), Some(relation));
        }
        for mode in Mode::ALL {
            assert_eq!(Mode::from_code(mode.code()), Some(mode));
            assert_eq!(Mode::from_number(mode.number()), Some(mode));
        }
    }
}
