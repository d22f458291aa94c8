//! Flows that are being read, oldest first: who has to leave when their bytes meet the cap.
//!
//! In: flows whose reading begins. Out: the one to give up next. Never: searches the tables.
//! Limits: twice as many entries as flows being read, and [`LEAST`] more.
//!
//! A flow that both sides speak in and that holds little goes to the end of the line instead, up to
//! [`SPARED_MAX`] in a row: thousands of halves of a hello that nobody answers leave before the first
//! connection that works.

use std::collections::VecDeque;

use crate::watcher::packet::FlowKey;

/// Entries below which nobody looks for those that are over.
const LEAST: usize = 1_024;

/// Flows spared in a row before one has to leave all the same: work per packet stays bounded where
/// all of them work.
pub const SPARED_MAX: u32 = 16;

/// A flow whose reading began.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Where it stands.
    pub key: FlowKey,
    /// Hash of the key.
    pub hash: u64,
    /// Number of the reading: the flow may be read again later.
    pub reading: u32,
}

/// The line.
#[derive(Debug, Default)]
pub struct Readers {
    line: VecDeque<Reader>,
    /// Length at which the line is cleaned next.
    clean_at: usize,
}

impl Readers {
    /// Reading begins.
    pub fn push(&mut self, reader: Reader) {
        self.line.push_back(reader);
    }

    /// `true` if the line should be cleaned: most of it may be over.
    pub fn is_long(&self) -> bool {
        self.line.len() > self.clean_at.max(LEAST)
    }

    /// Whose turn it is to leave, if anybody is there.
    pub fn pop(&mut self) -> Option<Reader> {
        self.line.pop_front()
    }

    /// Keeps those that `is_read` still says are being read.
    pub fn clean(&mut self, mut is_read: impl FnMut(&Reader) -> bool) {
        self.line.retain(|reader| is_read(reader));
        self.line.shrink_to(LEAST);
        self.clean_at = self.line.len().saturating_mul(2);
    }

    /// Nobody is read any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(reading: u32) -> Reader {
        Reader { key: FlowKey::default(), hash: 0, reading }
    }

    #[test]
    fn the_line_is_as_long_as_there_are_readers() {
        let mut readers = Readers::default();
        let (mut cleaned, mut longest) = (0, 0);
        for id in 0..100_000 {
            readers.push(reader(id));
            if readers.is_long() {
                // Only the last hundred are still being read.
                readers.clean(|r| r.reading + 100 > id);
                cleaned += 1;
            }
            longest = longest.max(readers.line.len());
        }
        assert!(longest <= LEAST + 1 && cleaned < 200, "{longest} {cleaned}");
        assert!(readers.pop().is_some_and(|r| r.reading > 98_000), "the oldest that is left");
    }
}
