//! Names and fingerprints as numbers: each text crosses to the recorder once.
//!
//! In: a text. Out: a [`TextId`] that is good for this batch, and longer while somebody keeps it.
//! Never: gives a number to another text within a batch, so a batch reads in order.
//! Limits: texts nobody keeps are forgotten beyond [`IDLE_MAX`]; kept ones are bounded by the
//! flows that keep them.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use rapidhash::fast::RandomState;

use crate::observation::TextId;
use crate::prefetch::prefetch;
use crate::watcher::protocol::ja4::{self, JA4_LEN, KEY_MAX, Offer};

/// Texts remembered though no flow keeps them: enough for the names an office asks for in a
/// day, about 4 MiB.
pub const IDLE_MAX: usize = 65_536;

/// Kinds of client whose fingerprint is remembered: an office has some dozens. 80 KiB.
const PRINTS: usize = 256;

/// Octets of a text that stand in its entry, so that a common one is compared in one line.
const FRONT: usize = 32;

/// One text: a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Entry {
    /// The beginning of the text, and zeros.
    front: [u8; FRONT],
    text: Arc<str>,
    hash: u64,
    kept: u32,
    idle: bool,
}

/// A text that is being looked up.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'t> {
    text: &'t str,
    hash: u64,
    front: [u8; FRONT],
}

/// The interner of one watcher.
#[derive(Debug)]
pub struct Texts {
    ids: Ids,
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
            ids: Ids::default(),
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
        let sought = self.seek(text);
        self.find(&sought)
    }

    /// Begins to look `text` up: whoever has something else to do meanwhile need not wait.
    pub fn seek<'t>(&self, text: &'t str) -> Sought<'t> {
        let hash = self.hasher.hash_one(text);
        self.ids.prefetch(hash);
        let mut front = [0; FRONT];
        for (to, &from) in front.iter_mut().zip(text.as_bytes()) {
            *to = from;
        }
        Sought { text, hash, front }
    }

    /// The next step of that.
    pub fn approach(&self, sought: &Sought<'_>) {
        if let Some(entry) = self.ids.first(sought.hash).and_then(|id| self.entries.get(id)) {
            prefetch(entry);
        }
    }

    /// The number of a text sought, good until the end of this batch.
    pub fn find(&mut self, sought: &Sought<'_>) -> TextId {
        let same = |id: u32| {
            self.entries.get(id as usize).is_some_and(|e| {
                e.hash == sought.hash
                    && e.front == sought.front
                    && e.text.len() == sought.text.len()
                    && (sought.text.len() <= FRONT || *e.text == *sought.text)
            })
        };
        match self.ids.find(sought.hash, same) {
            Some(id) => TextId(id),
            None => self.add(sought),
        }
    }

    fn add(&mut self, sought: &Sought<'_>) -> TextId {
        let (text, hash, front): (Arc<str>, _, _) =
            (Arc::from(sought.text), sought.hash, sought.front);
        let entry = Entry { front, text: text.clone(), hash, kept: 0, idle: true };
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
        self.ids.insert(hash, id, |id| entries.get(id as usize).map_or(0, |e| e.hash));
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

    /// Asks for the entry of a number, which is needed soon.
    pub fn prefetch(&self, id: TextId) {
        if let Some(entry) = self.entries.get(id.0 as usize) {
            prefetch(entry);
        }
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
                let (hash, entries) = (entry.hash, &self.entries);
                let hash_of = |id: u32| entries.get(id as usize).map_or(0, |e| e.hash);
                self.ids.remove(hash, id, hash_of);
                self.free.push(id);
            }
        }
        std::mem::take(&mut self.fresh)
    }
}

/// Numbers by hash: open addressing, at most half full, with a part of the hash beside each number
/// so that hardly any other is looked at. A power of two of seats.
#[derive(Debug)]
struct Ids {
    /// Upper half of the hash, then the number; [`FREE`] where nobody sits.
    seats: Vec<u64>,
    len: usize,
}

/// A seat without a number: no text has this one, for the entries would take 256 GiB.
const FREE: u64 = u64::MAX;

/// Seats of an empty table.
const SEATS_MIN: usize = 1024;

impl Default for Ids {
    fn default() -> Self {
        Self { seats: vec![FREE; SEATS_MIN], len: 0 }
    }
}

impl Ids {
    /// Where a hash belongs: by its lower half, for the seat keeps the upper one.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        usize::try_from(hash).unwrap_or(usize::MAX) & self.mask()
    }

    #[inline]
    fn mask(&self) -> usize {
        self.seats.len().wrapping_sub(1)
    }

    fn prefetch(&self, hash: u64) {
        if let Some(seat) = self.seats.get(self.home(hash)) {
            prefetch(seat);
        }
    }

    /// The number that sits where a hash belongs.
    fn first(&self, hash: u64) -> Option<usize> {
        let seat = *self.seats.get(self.home(hash))?;
        (seat != FREE).then(|| number(seat) as usize)
    }

    #[inline]
    fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        while let Some(&seat) = self.seats.get(at).filter(|s| **s != FREE) {
            if seat >> 32 == hash >> 32 && same(number(seat)) {
                return Some(number(seat));
            }
            at = at.wrapping_add(1) & self.mask();
        }
        None
    }

    /// Seats a number that is not there yet.
    fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len.saturating_mul(2) >= self.seats.len() {
            let larger = vec![FREE; self.seats.len().saturating_mul(2)];
            let old = std::mem::replace(&mut self.seats, larger);
            for seat in old.into_iter().filter(|s| *s != FREE) {
                self.seat(hash_of(number(seat)), number(seat));
            }
        }
        self.seat(hash, id);
        self.len = self.len.saturating_add(1);
    }

    fn seat(&mut self, hash: u64, id: u32) {
        let mut at = self.home(hash);
        while self.seats.get(at).is_some_and(|s| *s != FREE) {
            at = at.wrapping_add(1) & self.mask();
        }
        if let Some(seat) = self.seats.get_mut(at) {
            *seat = (hash >> 32) << 32 | u64::from(id);
        }
    }

    /// Frees the seat of a number; those behind move up, so that no gap parts one from its home.
    fn remove(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        let mut hole = self.home(hash);
        while let Some(&seat) = self.seats.get(hole).filter(|s| **s != FREE) {
            if number(seat) == id {
                break;
            }
            hole = hole.wrapping_add(1) & self.mask();
        }
        let mut next = hole.wrapping_add(1) & self.mask();
        while let Some(&seat) = self.seats.get(next).filter(|s| **s != FREE) {
            let home = self.home(hash_of(number(seat)));
            let from_home = next.wrapping_sub(home) & self.mask();
            let from_hole = next.wrapping_sub(hole) & self.mask();
            if from_home >= from_hole {
                if let Some(to) = self.seats.get_mut(hole) {
                    *to = seat;
                }
                hole = next;
            }
            next = next.wrapping_add(1) & self.mask();
        }
        if let Some(seat) = self.seats.get_mut(hole).filter(|s| **s != FREE) {
            *seat = FREE;
            self.len = self.len.saturating_sub(1);
        }
    }
}

/// The number in a seat.
#[inline]
fn number(seat: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = seat.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn numbers_are_found_through_growth_and_removal() {
        let mut ids = Ids::default();
        let mut known: HashMap<u32, u64> = HashMap::new();
        // Few homes and few tags, so that seats are shared and moved all the time.
        let hash = |id: u32| u64::from(id % 7) << 32 | u64::from(id.wrapping_mul(97) % 64);
        let mut x = 1u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (x >> 8) % 3_000;
            let there = ids.find(hash(id), |other| other == id);
            assert_eq!(there.is_some(), known.contains_key(&id));
            if there.is_none() {
                ids.insert(hash(id), id, hash);
                known.insert(id, hash(id));
            } else if x & 1 == 0 {
                ids.remove(hash(id), id, hash);
                known.remove(&id);
            }
            assert_eq!(ids.len, known.len());
        }
        assert!(known.iter().all(|(id, hash)| ids.find(*hash, |other| other == *id).is_some()));
    }

    #[test]
    fn texts_are_told_apart_at_any_length() {
        let mut texts = Texts::default();
        let long = "x".repeat(FRONT);
        let all =
            ["", "a", "a\0", &long, &format!("{long}1"), &format!("{long}2")].map(String::from);
        let ids = all.each_ref().map(|t| texts.intern(t));
        for (i, text) in all.iter().enumerate() {
            assert_eq!(texts.intern(text), ids[i]);
            assert!(ids.iter().skip(i + 1).all(|other| *other != ids[i]), "{text:?}");
        }
    }

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
