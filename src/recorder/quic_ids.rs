//! Connection ids that QUIC servers chose, and the names of the connections they stand for.
//!
//! In: the id of each handshake seen, with its name; the first octets of flows without a handshake.
//! Out: the name of a connection that goes on from another address or port.
//! Never: guesses: an id is looked for at the server that chose it alone.
//! Limits: [`IDS_MAX`] ids, the oldest give way.
//! Source: RFC 9000 §5.1 and §9.3 (a rebinding keeps the id; a client that moves on purpose takes one
//! that was sent encrypted, which nobody can follow).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::store::rows::Text;
use crate::observation::QuicId;
use crate::types::Realm;

/// Ids remembered, about 100 bytes each: the connections of an hour on a large network.
pub const IDS_MAX: usize = 50_000;

/// Shortest id looked for: shorter ones would meet by chance.
const ID_MIN: usize = 4;

type Key = (Realm, IpAddr, QuicId);

/// Ids by server.
#[derive(Debug, Default)]
pub struct QuicIds {
    names: HashMap<Key, Text, RandomState>,
    order: VecDeque<Key>,
}

impl QuicIds {
    /// The server at `addr` chose `id` for a connection of that name.
    pub fn learn(&mut self, realm: Realm, addr: IpAddr, id: QuicId, name: Text) {
        if usize::from(id.len) < ID_MIN {
            return;
        }
        let key = (realm, addr, id);
        if self.names.insert(key, name).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// The name of the connection whose id `begins` with, at the server at `addr`.
    pub fn find(&self, realm: Realm, addr: IpAddr, begins: &QuicId) -> Option<&Text> {
        // The length of an id is known to its server only.
        (ID_MIN..=usize::from(begins.len)).rev().find_map(|len| {
            let id = QuicId::new(begins.octets.get(..len)?);
            self.names.get(&(realm, addr, id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_at_its_server_only_and_the_oldest_give_way() {
        let server: IpAddr = "192.0.2.1".parse().unwrap();
        let mut ids = QuicIds::default();
        ids.learn(Realm(0), server, QuicId::new(&[7; 8]), "a.example".into());
        ids.learn(Realm(0), server, QuicId::new(&[1, 2]), "short.example".into());
        let first = QuicId::new(&[7; 20]);
        assert_eq!(ids.find(Realm(0), server, &first).map(|n| &**n), Some("a.example"));
        assert_eq!(ids.find(Realm(1), server, &first), None, "another address space");
        assert_eq!(ids.find(Realm(0), "192.0.2.2".parse().unwrap(), &first), None);
        assert_eq!(ids.find(Realm(0), server, &QuicId::new(&[1, 2, 3, 4, 5])), None, "too short");
        for n in 0..IDS_MAX {
            ids.learn(Realm(0), server, QuicId::new(&n.to_be_bytes()), "b.example".into());
        }
        assert_eq!(ids.find(Realm(0), server, &first), None, "the oldest is gone");
        assert_eq!(ids.names.len(), IDS_MAX);
    }
}
