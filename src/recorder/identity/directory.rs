//! Who has which address now, for views beside the recorder.
//!
//! In: the recorder's own answers, as they change. Out: the same, to whoever looks.
//! Never: decides a result: what must be reproducible asks the [`super::Tracker`] at a time.
//! Limits: as many addresses as [`super::bindings::ADDRESSES_MAX`].

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use rapidhash::fast::RandomState;

use super::bindings::ADDRESSES_MAX;
use crate::recorder::store::rows::Actor;
use crate::types::Realm;

/// Addresses and who has them.
#[derive(Debug, Default)]
pub struct Directory {
    now: DashMap<(Realm, IpAddr), Arc<Actor>, RandomState>,
}

impl Directory {
    /// From now on this actor has its address.
    pub fn put(&self, actor: Arc<Actor>) {
        let key = (actor.realm, actor.addr);
        if self.now.len() < ADDRESSES_MAX || self.now.contains_key(&key) {
            self.now.insert(key, actor);
        }
    }

    /// Who has the address now.
    pub fn get(&self, realm: Realm, addr: IpAddr) -> Option<Arc<Actor>> {
        self.now.get(&(realm, addr)).map(|entry| entry.value().clone())
    }

    /// Addresses known.
    pub fn len(&self) -> usize {
        self.now.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty()
    }
}
