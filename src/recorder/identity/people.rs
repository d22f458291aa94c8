//! Who was seen to log on where, as intervals of capture time.
//!
//! In: account names with source, address and time. Out: who is there at a time.
//! Never: takes a machine or service account for a person; keeps a password, hash or token.
//! Limits: [`ADDRESSES_MAX`] addresses, [`STAYS_MAX`] stays of each.

use std::collections::HashMap;
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::{Source, Subject};
use crate::recorder::store::rows::Text;
use crate::types::{Realm, Timestamp};

/// Addresses at which somebody was seen.
pub const ADDRESSES_MAX: usize = 250_000;

/// Stays remembered of one address: a busy shared desk for a week.
pub const STAYS_MAX: usize = 64;

/// Longest login kept, in octets: principal names have 64 characters and a domain.
pub const LOGIN_MAX: usize = 256;

/// Time for which a logon holds behind its last sign: ten hours, as tickets of Kerberos do, and a
/// working day; a session that is told to last has an end of its own.
const LOGON_HOLDS: u64 = 10 * 3_600 * Timestamp::SECOND;

/// The same for what any program may use a second account for.
const SECOND_HOLDS: u64 = 3_600 * Timestamp::SECOND;

/// Logins that are no person's.
const NOBODY: [&str; 12] = [
    "",
    "-",
    "anonymous",
    "anonymous logon",
    "guest",
    "system",
    "local service",
    "network service",
    "iusr",
    "nobody",
    "root",
    "krbtgt",
];

/// A time in which somebody was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Who.
    pub user: Subject,
    /// Who says so.
    pub source: Source,
    /// First sign.
    pub from: Timestamp,
    /// Last sign.
    pub last: Timestamp,
    /// First moment behind it, as far as is known.
    pub until: Timestamp,
    /// Input of the first sign.
    pub input: u16,
}

impl Stay {
    /// `true` if it lasts then.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// What a source says of one logon.
#[derive(Clone, Debug)]
pub struct Sign {
    /// Who.
    pub user: Subject,
    /// Who says so.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// When it is over, if that is known.
    pub until: Option<Timestamp>,
    /// Input of the frame.
    pub input: u16,
}

/// Stays by address.
#[derive(Debug, Default)]
pub struct People {
    stays: HashMap<(Realm, IpAddr), Vec<Stay>, RandomState>,
    /// Stays forgotten because a cap was met.
    pub dropped: u64,
}

/// How strongly a source says that this person sits there; the lower, the more. Within a class
/// the later sign is right: somebody else sat down.
pub fn class(source: Source) -> u8 {
    match source {
        Source::Logon | Source::Radius | Source::Kerberos | Source::Configured => 0,
        Source::Proxy | Source::Ntlm => 1,
        Source::Basic | Source::Ldap => 2,
        _ => 3,
    }
}

impl People {
    /// Takes a sign.
    pub fn sign(&mut self, realm: Realm, addr: IpAddr, sign: Sign) {
        if self.stays.len() >= ADDRESSES_MAX && !self.stays.contains_key(&(realm, addr)) {
            self.stays.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        let stays = self.stays.entry((realm, addr)).or_default();
        let holds = if class(sign.source) == 0 { LOGON_HOLDS } else { SECOND_HOLDS };
        let until = sign.until.unwrap_or(Timestamp(sign.at.0.saturating_add(holds)));
        let rank = class(sign.source);
        let same = |s: &&mut Stay| s.user == sign.user && s.holds(sign.at);
        if let Some(stay) = stays.iter_mut().rev().find(same) {
            stay.last = stay.last.max(sign.at);
            stay.until = stay.until.max(until);
            // A stronger sign than before begins a stay of its own, below.
            if class(stay.source) <= rank {
                return;
            }
        }
        for stay in stays.iter_mut() {
            if stay.user != sign.user && stay.holds(sign.at) && class(stay.source) >= rank {
                stay.until = sign.at;
            }
        }
        if stays.len() >= STAYS_MAX {
            stays.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
        let Sign { user, source, at, input, .. } = sign;
        stays.push(Stay { user, source, from: at, last: at, until, input });
    }

    /// `user` left at `at`; whoever it was, if none is named.
    pub fn left(&mut self, realm: Realm, addr: IpAddr, user: Option<&Subject>, at: Timestamp) {
        let Some(stays) = self.stays.get_mut(&(realm, addr)) else { return };
        for stay in stays.iter_mut() {
            if stay.holds(at) && user.is_none_or(|user| *user == stay.user) {
                stay.until = at;
            }
        }
    }

    /// Puts back who was at an address before a sign that turned out to be none.
    pub fn restore(&mut self, realm: Realm, addr: IpAddr, before: Vec<Stay>) {
        if before.is_empty() {
            self.stays.remove(&(realm, addr));
        } else {
            self.stays.insert((realm, addr), before);
        }
    }

    /// Everybody who was at an address, in the order of signs.
    pub fn of(&self, realm: Realm, addr: IpAddr) -> &[Stay] {
        self.stays.get(&(realm, addr)).map_or(&[], Vec::as_slice)
    }

    /// All stays, in no order.
    pub fn all(&self) -> impl Iterator<Item = (Realm, IpAddr, &[Stay])> {
        self.stays.iter().map(|((realm, addr), stays)| (*realm, *addr, stays.as_slice()))
    }
}

/// What an account name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A person, by login in lower case without domain or realm.
    Person(Text),
    /// A machine, by its name.
    Machine(Text),
    /// Nobody in particular.
    Nobody,
}

impl Account {
    /// Reads a name as it stands on the wire or in a log: `anna`, `CORP\anna`, `anna@corp.test`,
    /// `PC-7$`, `host/pc-7.corp.test`, `cn=anna,ou=people,dc=corp`.
    pub fn read(written: &str) -> Account {
        let name = written.trim();
        if name.len() > LOGIN_MAX || name.chars().any(char::is_control) {
            return Account::Nobody;
        }
        if let Some(first) = distinguished(name) {
            return Account::read(first);
        }
        let name = name.rsplit_once('\\').map_or(name, |(_, name)| name);
        if let Some((service, rest)) = name.split_once('/') {
            let host = rest.split(['/', '@']).next().unwrap_or_default().to_lowercase();
            let machine = service.eq_ignore_ascii_case("host") && !host.is_empty();
            return if machine { Account::Machine(Text::from(host)) } else { Account::Nobody };
        }
        let name = name.split('@').next().unwrap_or_default();
        if let Some(machine) = name.strip_suffix('$').filter(|m| !m.is_empty()) {
            return Account::Machine(Text::from(machine.to_lowercase()));
        }
        let name = name.to_lowercase();
        if NOBODY.contains(&&*name) || name.starts_with("umfd-") || name.starts_with("dwm-") {
            return Account::Nobody;
        }
        Account::Person(Text::from(name))
    }
}

/// Value of the first attribute of a distinguished name, if it is one that names people.
fn distinguished(name: &str) -> Option<&str> {
    let (attribute, rest) = name.split_once('=')?;
    let names = ["cn", "uid", "samaccountname", "userprincipalname"];
    if !names.iter().any(|n| attribute.trim().eq_ignore_ascii_case(n)) {
        return None;
    }
    rest.split(',').next().map(str::trim).filter(|value| !value.is_empty() && !value.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Realm = Realm(0);

    fn s(seconds: u64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    fn ip() -> IpAddr {
        IpAddr::from([192, 0, 2, 9])
    }

    fn sign(p: &mut People, user: &str, source: Source, at: u64) {
        let user = Subject::user(user);
        p.sign(R, ip(), Sign { user, source, at: s(at), until: None, input: 0 });
    }

    fn there(p: &People, at: u64) -> Vec<String> {
        let stays = p.of(R, ip()).iter().filter(|stay| stay.holds(s(at)));
        stays.map(|stay| stay.user.name().to_string()).collect()
    }

    #[test]
    fn two_take_turns() {
        let mut p = People::default();
        sign(&mut p, "anna", Source::Kerberos, 100);
        sign(&mut p, "ben", Source::Kerberos, 200);
        sign(&mut p, "anna", Source::Kerberos, 300);
        let table = [
            ("before", 99, vec![]),
            ("first", 199, vec!["anna"]),
            ("second", 299, vec!["ben"]),
            ("again", 300, vec!["anna"]),
        ];
        for (name, at, expected) in table {
            assert_eq!(there(&p, at), expected, "{name}");
        }
        p.left(R, ip(), None, s(400));
        assert_eq!((there(&p, 399).len(), there(&p, 400).len()), (1, 0));
    }

    #[test]
    fn a_second_account_of_a_program_ends_no_stay() {
        let mut p = People::default();
        sign(&mut p, "anna", Source::Kerberos, 100);
        sign(&mut p, "backup", Source::Ntlm, 200);
        assert_eq!(there(&p, 250), ["anna", "backup"], "both are known; trust decides");
        sign(&mut p, "ben", Source::Logon, 300);
        assert_eq!(there(&p, 350), ["ben"]);
    }

    #[test]
    fn stays_are_bounded() {
        for (count, dropped) in [(STAYS_MAX - 1, 0), (STAYS_MAX, 0), (STAYS_MAX + 1, 1)] {
            let mut p = People::default();
            for n in 0..count {
                sign(&mut p, &format!("u{n}"), Source::Kerberos, 100 + n as u64);
            }
            assert_eq!((p.of(R, ip()).len(), p.dropped), (count.min(STAYS_MAX), dropped));
        }
    }

    #[test]
    fn people_machines_and_nobody() {
        let person = |n: &str| Account::Person(Text::from(n));
        let machine = |n: &str| Account::Machine(Text::from(n));
        let long = "x".repeat(LOGIN_MAX + 1);
        let table = [
            ("Anna", person("anna")),
            ("CORP\\Anna", person("anna")),
            ("anna@CORP.TEST", person("anna")),
            ("cn=Anna Example,ou=people,dc=corp", person("anna example")),
            ("uid=anna,dc=corp", person("anna")),
            ("PC-7$", machine("pc-7")),
            ("CORP\\PC-7$@CORP.TEST", machine("pc-7")),
            ("host/pc-7.corp.test", machine("pc-7.corp.test")),
            ("HTTP/web.corp.test", Account::Nobody),
            ("ANONYMOUS LOGON", Account::Nobody),
            ("DWM-1", Account::Nobody),
            ("-", Account::Nobody),
            ("", Account::Nobody),
            ("$", person("$")),
            ("a\nb", Account::Nobody),
            (&long, Account::Nobody),
        ];
        for (written, expected) in table {
            assert_eq!(Account::read(written), expected, "{written}");
        }
    }
}
