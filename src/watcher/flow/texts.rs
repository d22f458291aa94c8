//! Names and fingerprints as numbers: each text crosses to the recorder once.
//!
//! In: a text. Out: a [`TextId`] that is good for this batch, and longer while somebody keeps it.
//! Never: gives a number to another text within a batch, so a batch reads in order.
//! Limits: texts nobody keeps are forgotten beyond [`IDLE_MAX`]; kept ones are bounded by the
//! flows that keep them.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use rapidhash::fast::RandomState;

use crate::observation::TextId;
use crate::watcher::protocol::ja4::{self, JA4_LEN, KEY_MAX, Offer};

/// Texts remembered though no flow keeps them: enough for the names an office asks for in a
/// day, about 4 MiB.
pub const IDLE_MAX: usize = 65_536;

/// Kinds of client whose fingerprint is remembered: an office has some dozens. 80 KiB.
const PRINTS: usize = 256;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    hash: u64,
    kept: u32,
    idle: bool,
}

/// The interner of one watcher.
#[derive(Debug)]
pub struct Texts {
    ids: HashTable<u32>,
    hasher: RandomState,
    entries: Vec<Entry>,
    free: Vec<u32>,
    idle: VecDeque<u32>,
    fresh: Vec<(TextId, Arc<str>)>,
    prints: Vec<Print>,
}

/// A fingerprint, kept under what it was made of.
#[derive(Clone, Debug, Default)]
struct Print {
    key: Vec<u8>,
    id: TextId,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self {
            ids: HashTable::new(),
            hasher: RandomState::default(),
            entries: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            fresh: Vec::new(),
            prints: vec![Print::default(); PRINTS],
        };
        // The empty text is number 0, known to everybody and kept for ever.
        let none = texts.intern("");
        texts.keep(none);
        texts.fresh.clear();
        texts
    }
}

impl Texts {
    /// The number of `text`, good until the end of this batch.
    pub fn intern(&mut self, text: &str) -> TextId {
        let hash = self.hasher.hash_one(text);
        let same = |id: &u32| {
            let entry = self.entries.get(*id as usize);
            entry.is_some_and(|e| e.hash == hash && *e.text == *text)
        };
        if let Some(&id) = self.ids.find(hash, same) {
            return TextId(id);
        }
        self.add(hash, text)
    }

    fn add(&mut self, hash: u64, text: &str) -> TextId {
        let text: Arc<str> = Arc::from(text);
        let entry = Entry { text: text.clone(), hash, kept: 0, idle: true };
        let id = if let Some(id) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(id as usize) {
                *place = entry;
            }
            id
        } else {
            let Ok(id) = u32::try_from(self.entries.len()) else { return TextId::NONE };
            self.entries.push(entry);
            id
        };
        self.idle.push_back(id);
        let entries = &self.entries;
        let hash_of = |id: &u32| entries.get(*id as usize).map_or(0, |e| e.hash);
        self.ids.insert_unique(hash, id, hash_of);
        self.fresh.push((TextId(id), text));
        TextId(id)
    }

    /// The number of the fingerprint of `offer`, good until the end of this batch. Clients of one
    /// kind make one offer over and over, and two digests each time cost more than all the rest
    /// of a hello.
    pub fn fingerprint(&mut self, offer: &Offer<'_>) -> TextId {
        let mut text = [0; JA4_LEN];
        let mut room = [0; KEY_MAX];
        let Some(key) = offer.key(&mut room) else {
            return self.intern(ja4::ja4(offer, &mut text));
        };
        let place = usize::from(self.hasher.hash_one(key).to_le_bytes()[0]);
        if let Some(print) = self.prints.get(place).filter(|p| p.key == key) {
            return print.id;
        }
        let id = self.intern(ja4::ja4(offer, &mut text));
        self.keep(id);
        if let Some(print) = self.prints.get_mut(place) {
            print.key.clear();
            print.key.extend_from_slice(key);
            let before = std::mem::replace(&mut print.id, id);
            self.release(before);
        }
        id
    }

    /// The number of `text`, good until [`Texts::release`].
    pub fn keep(&mut self, id: TextId) -> TextId {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.kept = entry.kept.saturating_add(1);
        }
        id
    }

    /// Gives back what [`Texts::keep`] took.
    pub fn release(&mut self, id: TextId) {
        if id.is_none() {
            return;
        }
        let Some(entry) = self.entries.get_mut(id.0 as usize) else { return };
        entry.kept = entry.kept.saturating_sub(1);
        if entry.kept == 0 && !entry.idle {
            entry.idle = true;
            self.idle.push_back(id.0);
        }
    }

    /// Ends the batch: what is new in it, for the recorder. Numbers that fell idle may now be
    /// given to others.
    pub fn end_batch(&mut self) -> Vec<(TextId, Arc<str>)> {
        while self.idle.len() > IDLE_MAX {
            let Some(id) = self.idle.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(id as usize) else { continue };
            entry.idle = false;
            if entry.kept == 0 {
                if let Ok(known) = self.ids.find_entry(entry.hash, |known| *known == id) {
                    known.remove();
                }
                self.free.push(id);
            }
        }
        std::mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_one_number_and_idle_numbers_are_reused_only_in_a_later_batch() {
        let mut texts = Texts::default();
        let a = texts.intern("a.example");
        assert_eq!(texts.intern("a.example"), a);
        assert_eq!(texts.intern(""), TextId::NONE);
        texts.keep(a);
        for n in 0..=IDLE_MAX {
            texts.intern(&format!("{n}.example"));
        }
        assert_eq!(texts.end_batch().len(), IDLE_MAX + 2);
        assert_eq!(texts.intern("a.example"), a, "kept texts stay");
        let reused = texts.intern("new.example");
        assert!(reused.0 < u32::try_from(IDLE_MAX).unwrap() + 2, "an idle number is used again");
        assert_eq!(texts.end_batch(), [(reused, Arc::from("new.example"))]);
    }
}
