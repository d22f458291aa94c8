//! Names and fingerprints as numbers: each text crosses to the recorder once.
//!
//! In: a text. Out: a [`TextId`] that is good for this batch, and longer while somebody keeps it.
//! Never: gives a number to another text within a batch, so a batch reads in order.
//! Limits: texts nobody keeps are forgotten beyond [`IDLE_MAX`]; kept ones are bounded by the
//! flows that keep them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rapidhash::fast::RandomState;

use crate::observation::TextId;

/// Texts remembered though no flow keeps them: enough for the names an office asks for in a
/// day, about 4 MiB.
pub const IDLE_MAX: usize = 65_536;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    kept: u32,
    idle: bool,
}

/// The interner of one watcher.
#[derive(Debug)]
pub struct Texts {
    ids: HashMap<Arc<str>, u32, RandomState>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    idle: VecDeque<u32>,
    fresh: Vec<(TextId, Arc<str>)>,
}

impl Default for Texts {
    fn default() -> Self {
        let none: Arc<str> = Arc::from("");
        Self {
            ids: HashMap::from_iter([(none.clone(), 0)]),
            entries: vec![Entry { text: none, kept: 1, idle: false }],
            free: Vec::new(),
            idle: VecDeque::new(),
            fresh: Vec::new(),
        }
    }
}

impl Texts {
    /// The number of `text`, good until the end of this batch.
    pub fn intern(&mut self, text: &str) -> TextId {
        if let Some(&id) = self.ids.get(text) {
            return TextId(id);
        }
        let text: Arc<str> = Arc::from(text);
        let entry = Entry { text: text.clone(), kept: 0, idle: true };
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
        self.ids.insert(text.clone(), id);
        self.fresh.push((TextId(id), text));
        TextId(id)
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
                self.ids.remove(&entry.text);
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
