//! Words that every role shares: time, addresses, directions, names.
//!
//! Plain values without behaviour of their own: no clock, no serde, no Display of people.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z, as the capture says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// One second in this unit.
    pub const SECOND: u64 = 1_000_000_000;

    /// Nanoseconds of a day.
    pub const DAY: u64 = 86_400 * Self::SECOND;

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / Self::SECOND
    }

    /// Whole minutes since the epoch: the grain in which flows report.
    pub fn minute(self) -> u32 {
        u32::try_from(self.seconds() / 60).unwrap_or(u32::MAX)
    }

    /// Whole days since the epoch, UTC.
    pub fn day(self) -> u32 {
        u32::try_from(self.seconds() / 86_400).unwrap_or(u32::MAX)
    }

    /// Nanoseconds from `earlier` to this, 0 if it lies in the future.
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// IEEE 802 MAC-48 address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `true` for the all-zero address, which means "not known".
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// `true` for a group (multicast or broadcast) address: bit 0 of the first octet.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// `true` if locally administered: a randomised or virtual address (IEEE 802-2014 §8.4).
    pub fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

/// Small id that keeps overlapping address spaces apart; 0 is the default realm.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Realm(pub u16);

/// Which way bytes go within a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

impl Direction {
    /// 0 for up, 1 for down: index into a pair.
    pub fn index(self) -> usize {
        match self {
            Direction::Up => 0,
            Direction::Down => 1,
        }
    }

    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Direction {
        match self {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        }
    }
}

/// Address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// IPv4 or IPv6 address; IPv4-mapped IPv6 is kept as it stood on the wire.
    pub addr: IpAddr,
    /// TCP or UDP port, 0 for other protocols.
    pub port: u16,
}

/// Longest name the domain name system allows, in octets of text (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 253;

/// Writes the plain form of a name into `buf`: lower case, without final dot.
///
/// Keeps what a host name, a service label or an IP literal can consist of: letters, digits,
/// `-`, `_`, `.`, `*`, `:`, `[`, `]`. Everything else is no name that could be matched, shown
/// or stored safely, so the answer is `None` and the caller counts it.
pub fn plain_name<'b>(raw: &[u8], buf: &'b mut [u8; NAME_MAX]) -> Option<&'b str> {
    let raw = raw.strip_suffix(b".").unwrap_or(raw);
    let out = buf.get_mut(..raw.len())?;
    if raw.is_empty() {
        return None;
    }
    for (to, &from) in out.iter_mut().zip(raw) {
        *to = match from {
            b'A'..=b'Z' => from | 0x20,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b':' | b'[' | b']' => from,
            _ => return None,
        };
    }
    std::str::from_utf8(out).ok()
}
