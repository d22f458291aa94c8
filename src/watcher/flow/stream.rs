//! One direction of a TCP stream, in order, for as long as a parser wants it.
//!
//! In: segments as they were captured. Out: the bytes a parser has not consumed, contiguous.
//! Never: buffers what nobody wants (skipped bodies, a deaf direction), waits without bound.
//! Limits: [`HELD_MAX`], [`WAITING_MAX`], [`WAITING_SEGMENTS_MAX`] a direction.
//! Source: RFC 9293 §3.4 (sequence numbers wrap); overlaps as Linux resolves them: bytes that
//! arrived in order stand; of queued ones the earlier beginning stands, unless it is covered.

use std::collections::VecDeque;

use crate::watcher::packet::Packet;

/// Unconsumed bytes held for a parser: the largest hello (64 KiB) and its record headers.
pub const HELD_MAX: usize = 96 << 10;

/// Bytes that the first allocation for held bytes takes at most on the word of a length field: two
/// full segments, as the hellos with post-quantum shares need.
const HELD_FIRST: usize = 3 << 10;

/// Bytes that arrived ahead of a hole.
pub const WAITING_MAX: usize = 96 << 10;

/// Stretches ahead of a hole that do not touch each other: every other octet of a common hello.
pub const WAITING_SEGMENTS_MAX: usize = 512;

/// Octets that a stretch takes besides its own: its place in the list, and what an allocator adds.
const STRETCH: usize = 64;

/// Longest stretch that touching segments are joined to: moving it costs less than a packet.
const JOINED_MAX: usize = 2 << 10;

/// A jump ahead further than this is no reordering: larger than any receive window in use.
const WINDOW_MAX: u32 = 64 << 20;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Its bytes lie in `held`, or can be read from the segment itself from this offset on.
    InOrder(usize),
    /// Nothing new is readable.
    Nothing,
    /// A cap is met: the hole in front will not be waited for any longer.
    Full,
}

/// State of one direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Sequence number of the first byte not yet in `held`.
    pub next: u32,
    /// `next` is known.
    pub started: bool,
    /// In order, not consumed.
    pub held: Vec<u8>,
    /// Ahead of a hole, sorted by distance from `next`.
    waiting: VecDeque<(u32, Vec<u8>)>,
    waiting_bytes: usize,
    /// Bytes of `held` at which the parser wants to be called.
    pub need: usize,
    /// Bytes to pass over unseen.
    pub skip: u64,
    /// Nothing is wanted any more.
    pub deaf: bool,
    /// Two copies of a byte differed.
    pub conflict: bool,
}

/// Signed distance from `a` to `b` in sequence space.
fn ahead(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

impl Stream {
    /// Bytes of memory that this direction holds.
    pub fn memory(&self) -> usize {
        let stretches = self.waiting.capacity().saturating_mul(STRETCH);
        self.held.capacity().saturating_add(self.waiting_bytes).saturating_add(stretches)
    }

    /// `true` if there is a hole with bytes waiting behind it.
    pub fn has_hole(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The other side acknowledged everything up to the first waiting byte: the hole will not
    /// be filled, its bytes are missing in the capture.
    pub fn acknowledged(&self, ack: u32) -> bool {
        self.waiting.front().is_some_and(|(seq, _)| ahead(*seq, ack) >= 0)
    }

    /// Places a segment. The caller reads `InOrder(offset)` bytes directly when `held` is empty,
    /// else after [`Stream::append`].
    pub fn place(&mut self, packet: &Packet, payload: &[u8]) -> Took {
        let syn = packet.flags & crate::watcher::packet::tcp_flags::SYN != 0;
        let seq = packet.seq.wrapping_add(u32::from(syn));
        if !self.started {
            self.started = true;
            self.next = seq;
        }
        let distance = ahead(self.next, seq);
        if self.deaf {
            // Whoever reads next begins behind what was passed over.
            let end = seq.wrapping_add(packet.payload_wire);
            let further = ahead(self.next, end);
            if further > 0 && further.unsigned_abs() <= WINDOW_MAX {
                self.next = end;
            }
            return Took::Nothing;
        }
        if distance <= 0 {
            let known = distance.unsigned_abs() as usize;
            self.compare(known, payload);
            return if known < payload.len() { Took::InOrder(known) } else { Took::Nothing };
        }
        let distance = distance.unsigned_abs();
        if distance > WINDOW_MAX {
            return Took::Nothing;
        }
        if self.skip >= u64::from(distance) && self.held.is_empty() {
            // Bytes that are passed over anyway may be missing.
            self.skip = self.skip.saturating_sub(u64::from(distance));
            self.next = seq;
            return Took::InOrder(0);
        }
        self.wait(seq, payload)
    }

    /// Notes whether a copy of bytes that are still held differs; `known` bytes of it lie before
    /// `next`. A lone byte is a keep-alive probe, whose content means nothing.
    fn compare(&mut self, known: usize, copy: &[u8]) {
        if copy.len() < 2 {
            return;
        }
        let skipped = known.saturating_sub(self.held.len());
        let from = self.held.len().saturating_sub(known);
        let copy = copy.get(skipped..).unwrap_or_default();
        let held = self.held.get(from..).unwrap_or_default();
        self.conflict |= copy.iter().zip(held).any(|(a, b)| a != b);
    }

    /// Keeps bytes ahead of a hole. What waits never overlaps: where copies do, the one that begins
    /// earlier stands, unless the later one covers it.
    fn wait(&mut self, seq: u32, payload: &[u8]) -> Took {
        let next = self.next;
        let rel = |w: &(u32, Vec<u8>)| w.0.wrapping_sub(next) as usize;
        let mut start = seq.wrapping_sub(next) as usize;
        let end = start.saturating_add(payload.len());
        let mut bytes = payload;
        let mut place = self.waiting.partition_point(|w| rel(w) < start);
        if let Some(before) = place.checked_sub(1).and_then(|p| self.waiting.get(p)) {
            let their_end = rel(before).saturating_add(before.1.len());
            if their_end > start {
                let theirs = before.1.get(start.saturating_sub(rel(before))..).unwrap_or_default();
                self.conflict |= theirs.iter().zip(bytes).any(|(a, b)| a != b);
                let Some(rest) = bytes.get(their_end.saturating_sub(start)..) else {
                    return Took::Nothing;
                };
                (bytes, start) = (rest, their_end);
            }
        }
        while let Some(behind) = self.waiting.get_mut(place) {
            let (at, len) = (behind.0.wrapping_sub(next) as usize, behind.1.len());
            let Some(mine) = bytes.get(at.saturating_sub(start)..) else { break };
            self.conflict |= mine.iter().zip(&behind.1).any(|(a, b)| a != b);
            if at == start && at.saturating_add(len) >= end {
                return Took::Nothing;
            }
            if at.saturating_add(len) > end {
                // The later beginning gives way.
                let common = end.saturating_sub(at);
                behind.1.drain(..common.min(len));
                behind.0 = next.wrapping_add(u32::try_from(end).unwrap_or(u32::MAX));
                self.waiting_bytes = self.waiting_bytes.saturating_sub(common);
                break;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(len);
            self.waiting.remove(place);
        }
        if bytes.is_empty() {
            return Took::Nothing;
        }
        if !self.make_room(start, bytes.len()) {
            return Took::Full;
        }
        place = place.min(self.waiting.len());
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes.len());
        self.join(place, start, bytes);
        Took::Nothing
    }

    /// Lets go of what lies furthest behind, if that makes room for so many bytes in front of it.
    fn make_room(&mut self, start: usize, len: usize) -> bool {
        while self.waiting.len() >= WAITING_SEGMENTS_MAX
            || self.waiting_bytes.saturating_add(len) > WAITING_MAX
        {
            let last = self.waiting.back().map(|w| w.0.wrapping_sub(self.next) as usize);
            if last.is_none_or(|last| last < start) {
                return false;
            }
            let gone = self.waiting.pop_back().map_or(0, |w| w.1.len());
            self.waiting_bytes = self.waiting_bytes.saturating_sub(gone);
        }
        true
    }

    /// Puts bytes that overlap nothing in their place; what touches becomes one, up to
    /// [`JOINED_MAX`], so that a stream in single octets does not fill the list.
    fn join(&mut self, place: usize, start: usize, bytes: &[u8]) {
        let seq = self.next.wrapping_add(u32::try_from(start).unwrap_or(u32::MAX));
        let fits = |w: &(u32, Vec<u8>)| w.1.len().saturating_add(bytes.len()) <= JOINED_MAX;
        let before = place.checked_sub(1).and_then(|p| self.waiting.get_mut(p));
        let ends = |w: &(u32, Vec<u8>)| {
            w.0.wrapping_add(u32::try_from(w.1.len()).unwrap_or(u32::MAX)) == seq
        };
        if let Some(before) = before.filter(|w| fits(w) && ends(w)) {
            before.1.extend_from_slice(bytes);
            return;
        }
        let end = seq.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if let Some(behind) = self.waiting.get_mut(place).filter(|w| fits(w) && w.0 == end) {
            behind.1.splice(..0, bytes.iter().copied());
            behind.0 = seq;
            return;
        }
        self.waiting.insert(place, (seq, bytes.to_vec()));
    }

    /// Counts `len` bytes as read from the stream.
    pub fn advance(&mut self, len: usize) {
        self.next = self.next.wrapping_add(u32::try_from(len).unwrap_or(0));
    }

    /// Appends in-order bytes to what is held; `false` if that breaks the cap.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if self.held.len().saturating_add(bytes.len()) > HELD_MAX {
            return false;
        }
        if self.held.capacity() == 0 {
            // A parser says how much it needs; a liar gets no more than a hello usually takes.
            self.held.reserve_exact(self.need.clamp(bytes.len(), HELD_FIRST.max(bytes.len())));
        }
        self.held.extend_from_slice(bytes);
        true
    }

    /// Moves waiting bytes that are in order by now to `held` (or past it, if skipped);
    /// `true` if there were any.
    pub fn drain_waiting(&mut self) -> bool {
        let mut moved = false;
        while let Some((seq, _)) = self.waiting.front() {
            let distance = ahead(self.next, *seq);
            let hole = u64::from(distance.max(0).unsigned_abs());
            if hole > 0 && (self.skip < hole || !self.held.is_empty()) {
                break;
            }
            if hole > 0 {
                // Bytes that are passed over anyway may be missing.
                self.skip = self.skip.saturating_sub(hole);
                self.next = *seq;
            }
            let distance = distance.min(0);
            let Some((_, bytes)) = self.waiting.pop_front() else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes.len());
            self.compare(distance.unsigned_abs() as usize, &bytes);
            let Some(fresh) = bytes.get(distance.unsigned_abs() as usize..) else { continue };
            self.advance(fresh.len());
            let passed = self.pass(fresh.len());
            let Some(fresh) = fresh.get(passed..) else { continue };
            if !self.append(fresh) {
                break;
            }
            moved = true;
        }
        moved
    }

    /// How many of `len` in-order bytes fall under the skip; reduces it.
    pub fn pass(&mut self, len: usize) -> usize {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(len);
        self.skip = self.skip.saturating_sub(passed as u64);
        passed
    }

    /// Gives up the hole: goes on at the first waiting byte. `false` if nothing waits.
    pub fn jump(&mut self) -> bool {
        let Some((seq, _)) = self.waiting.front() else { return false };
        self.next = *seq;
        self.held.clear();
        self.skip = 0;
        self.need = 1;
        true
    }

    /// Nothing more is wanted: what is held or waits is let go, and `next` stands behind it.
    pub fn turn_deaf(&mut self) {
        self.deaf = true;
        if let Some((seq, bytes)) = self.waiting.back() {
            self.next = seq.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
        }
        // Room that nobody will need again goes back.
        self.held = Vec::new();
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.skip = 0;
    }

    /// Forgets everything ahead of and behind a hole; goes on at `seq`.
    pub fn restart(&mut self, seq: u32) {
        self.held.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.next = seq;
        self.skip = 0;
        self.need = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays segments `(seq, bytes)` and returns what a parser that consumes nothing would see.
    fn play(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut stream = Stream::default();
        for (seq, bytes) in segments {
            let packet = Packet { seq: *seq, ..Packet::default() };
            if let Took::InOrder(from) = stream.place(&packet, bytes) {
                let fresh = &bytes[from..];
                stream.advance(fresh.len());
                assert!(stream.append(fresh));
            }
            stream.drain_waiting();
        }
        stream.held
    }

    #[test]
    fn puts_segments_in_order() {
        let cases: [(&str, &[(u32, &[u8])], &[u8]); 9] = [
            ("in order", &[(10, b"ab"), (12, b"cd")], b"abcd"),
            ("repeated", &[(10, b"ab"), (10, b"ab"), (12, b"c")], b"abc"),
            ("overlap to the left keeps what came first", &[(10, b"ab"), (11, b"XYZ")], b"abYZ"),
            ("swapped", &[(10, b"a"), (13, b"d"), (11, b"bc")], b"abcd"),
            ("three behind a hole", &[(10, b"a"), (14, b"e"), (12, b"cd"), (11, b"b")], b"abcde"),
            (
                "a waiting one inside another",
                &[(10, b"a"), (12, b"cde"), (13, b"D"), (11, b"b")],
                b"abcde",
            ),
            (
                "a later one covers a waiting one",
                &[(10, b"a"), (13, b"d"), (12, b"CDE"), (11, b"b")],
                b"abCDE",
            ),
            ("wraps", &[(u32::MAX, b"ab"), (2, b"d"), (1, b"c")], b"abcd"),
            ("old bytes only", &[(10, b"abc"), (9, b"x")], b"abc"),
        ];
        for (name, segments, expected) in cases {
            assert_eq!(play(segments), expected, "{name}");
        }
    }

    /// A stream whose parser has consumed up to 100 and passes over the next `skip` bytes.
    fn skipping(skip: u64) -> Stream {
        Stream { next: 100, started: true, skip, ..Stream::default() }
    }

    fn at(seq: u32, payload: &[u8]) -> Packet {
        let payload_wire = u32::try_from(payload.len()).unwrap();
        Packet { payload_wire, seq, ..Packet::default() }
    }

    #[test]
    fn a_hole_in_bytes_passed_over_is_none() {
        let mut stream = skipping(50);
        assert_eq!(stream.place(&at(140, b"x"), b"x"), Took::InOrder(0));
        assert_eq!((stream.next, stream.skip), (140, 10));
        // The same where the bytes waited before the parser said that it would pass over them.
        let mut stream = skipping(0);
        assert_eq!(stream.place(&at(140, b"tail"), b"tail"), Took::Nothing);
        stream.skip = 42;
        assert!(stream.drain_waiting());
        assert_eq!((stream.held.as_slice(), stream.skip), (&b"il"[..], 0));
        let mut stream = skipping(30);
        assert_eq!(stream.place(&at(140, b"x"), b"x"), Took::Nothing, "it reaches further");
    }

    #[test]
    fn a_deaf_direction_knows_where_it_stands() {
        let mut stream = skipping(0);
        stream.place(&at(110, b"waits"), b"waits");
        stream.turn_deaf();
        assert_eq!((stream.next, stream.memory()), (115, 0));
        stream.place(&at(200, b"passed"), b"passed");
        stream.place(&at(150, b"late"), b"late");
        stream.deaf = false;
        assert_eq!(stream.place(&at(206, b"new"), b"new"), Took::InOrder(0));
    }

    #[test]
    fn copies_that_differ_are_noticed() {
        let cases: [(&str, &[(u32, &[u8])], bool); 6] = [
            ("same again", &[(10, b"abc"), (10, b"abc")], false),
            ("other again", &[(10, b"abc"), (10, b"abX")], true),
            ("longer, other", &[(10, b"abc"), (9, b"?aXcd")], true),
            ("keep-alive probe", &[(10, b"abc"), (12, b"\0")], false),
            ("both wait", &[(10, b"a"), (13, b"def"), (12, b"cXe")], true),
            ("waited, other came", &[(10, b"a"), (12, b"cd"), (11, b"bX")], true),
        ];
        for (name, segments, expected) in cases {
            let mut stream = Stream::default();
            for (seq, bytes) in segments {
                if let Took::InOrder(from) = stream.place(&at(*seq, bytes), bytes) {
                    stream.advance(bytes.len() - from);
                    assert!(stream.append(&bytes[from..]));
                }
                stream.drain_waiting();
            }
            assert_eq!(stream.conflict, expected, "{name}");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Stream::default();
        let at = |seq| Packet { seq, ..Packet::default() };
        stream.place(&at(0), b"a");
        stream.advance(1);
        let most = u32::try_from(WAITING_SEGMENTS_MAX).unwrap();
        let mut full = 0;
        for n in 0..2 * most {
            let took = stream.place(&at(1_000_000 + n * 2), b"x");
            assert_eq!(took == Took::Full, n >= most, "segment {n}");
            full += u32::from(took == Took::Full);
        }
        assert_eq!(full, most);
        assert_eq!(stream.place(&at(10), b"y"), Took::Nothing, "nearer than all: the last goes");
        assert_eq!(stream.waiting.len(), WAITING_SEGMENTS_MAX);
        assert!(stream.jump() && stream.drain_waiting());
        assert_eq!(stream.held, b"y");
        // By bytes: the cap itself fits, one more does not.
        let mut stream = Stream { next: 0, started: true, ..Stream::default() };
        assert_eq!(stream.place(&at(1), &vec![0; WAITING_MAX]), Took::Nothing);
        let behind = 1 + u32::try_from(WAITING_MAX).unwrap();
        assert_eq!(stream.place(&at(behind), b"z"), Took::Full);
    }

    #[test]
    fn single_octets_in_any_order_are_put_together() {
        let text: Vec<u8> = (0..1_000_u32).map(|n| (n % 251) as u8).collect();
        let one = |n: usize| (10 + u32::try_from(n).unwrap(), &text[n..=n]);
        let backward: Vec<_> = (1..1_000).rev().chain([0]).map(one).collect();
        let interleaved: Vec<_> =
            (0..1_000).step_by(2).chain((1..1_000).step_by(2)).map(one).collect();
        for (name, segments) in [("backward", backward), ("interleaved", interleaved)] {
            let begun = [vec![(9, &b"^"[..])], segments].concat();
            assert_eq!(play(&begun)[1..], text, "{name}");
        }
    }
}
