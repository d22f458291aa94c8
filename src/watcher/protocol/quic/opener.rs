//! Which keys to try on a client's Initial.
//!
//! In: packets in any order, of either side. Out: the frames of those that a client's keys open.
//! Never: tries without end on a flow that is no client's.
//! Limits: 8 key derivations and 96 packets opened a flow.
//! Source: RFC 9001 §5.2 (the first id makes the keys, a Retry makes new ones); RFC 9368 §2, RFC 9369
//! §4.1 (a new version makes new ones of the same id).

use std::ops::Range;

use super::header::{self, Packet};
use super::keys::{Keys, Scheme};

/// Key sets derived for one flow. A client needs one, another behind a Retry and another to change
/// its version; a packet that nothing opens costs one too, so that a flow can waste 20 µs on them.
pub(super) const DERIVATIONS_MAX: u8 = 8;

/// Packets opened for one flow: 55 of 1,200 bytes hold the longest hello, the rest are repetitions.
pub(super) const OPENS_MAX: u8 = 96;

/// Room for a connection id.
const ID_MAX: usize = header::ID_MAX as usize;

/// Opens packets with the keys at hand, or with those that a packet itself suggests.
#[derive(Default)]
pub(super) struct Opener {
    last: Option<KeySet>,
    derivations: u8,
    opens: u8,
    /// The packet opened last.
    buffer: Vec<u8>,
}

struct KeySet {
    scheme: Scheme,
    dcid: Id,
    keys: Keys,
}

/// Whether a packet goes on with the stream of the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Same,
    /// The first, one behind a Retry, or of another connection between the same two ports.
    New,
}

impl Opener {
    /// Bytes of memory behind this value.
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// `true` once no new keys will be tried.
    pub(super) fn is_spent(&self) -> bool {
        self.derivations >= DERIVATIONS_MAX
    }

    /// Frames of `packet`, if it is a client's.
    ///
    /// Keys stay those of the client's first connection id although it soon uses one of the
    /// server's; so the ones that opened a packet come first, under another version the same id
    /// comes second, and the packet's own id last.
    pub(super) fn open(&mut self, packet: &Packet<'_>) -> Option<(&[u8], Connection)> {
        let range = match self.last.take() {
            None => None,
            Some(set) if set.scheme == packet.scheme => {
                let range = self.attempt(&set.keys, packet);
                let is_own = set.dcid.as_slice() == packet.dcid;
                self.last = Some(set);
                if range.is_none() && is_own {
                    return None;
                }
                range
            }
            Some(set) => {
                let range = self.derive(packet, set.dcid);
                if range.is_none() {
                    self.last = Some(set);
                }
                range
            }
        };
        let (range, connection) = match range {
            Some(range) => (range, Connection::Same),
            None => (self.derive(packet, Id::new(packet.dcid)?)?, Connection::New),
        };
        self.buffer.get(range).map(|frames| (frames, connection))
    }

    /// Tries keys of `dcid`, and keeps them if they open the packet.
    fn derive(&mut self, packet: &Packet<'_>, dcid: Id) -> Option<Range<usize>> {
        if self.is_spent() {
            return None;
        }
        self.derivations = self.derivations.saturating_add(1);
        let keys = Keys::derive(packet.scheme, dcid.as_slice());
        let range = self.attempt(&keys, packet)?;
        self.last = Some(KeySet { scheme: packet.scheme, dcid, keys });
        Some(range)
    }

    fn attempt(&mut self, keys: &Keys, packet: &Packet<'_>) -> Option<Range<usize>> {
        if self.opens >= OPENS_MAX {
            return None;
        }
        self.opens = self.opens.saturating_add(1);
        keys.open(packet.bytes, packet.number_at, &mut self.buffer)
    }
}

/// A connection id.
#[derive(Clone, Copy)]
struct Id {
    bytes: [u8; ID_MAX],
    len: usize,
}

impl Id {
    fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID_MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { bytes, len: id.len() })
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
