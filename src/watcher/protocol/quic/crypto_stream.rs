//! CRYPTO stream of one encryption level, put together from frames in any order.
//!
//! In: offset and data of CRYPTO frames. Out: the first handshake message once it is whole.
//! Never: keeps a byte of the stream twice, or room for bytes that did not come.
//! Limits: 64 KiB of stream, 64 pieces that do not join.
//! Source: RFC 9000 §19.6, §7.5; RFC 8446 §4 (message header).

use crate::watcher::wire::{ParseError, Parsed};

/// Highest offset in bytes at which stream data may end: as long as a hello may be.
pub(super) const STREAM_MAX: usize = 64 * 1024;

/// Most pieces held. Browsers cut a hello into some ten frames a packet and shuffle them; a client
/// that needs more than this many is after our memory or our time.
pub(super) const PIECES_MAX: usize = 64;

/// Type and length in front of each handshake message.
const HEADER_BYTES: usize = 4;

/// Handshake type, RFC 8446 §4.
const CLIENT_HELLO: u8 = 1;

/// What a frame brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// New bytes, or the same ones again.
    Agrees,
    /// Other bytes for a place that was filled already; the first ones stay.
    Conflicts,
}

/// Stream bytes in order of arrival, and where they belong.
#[derive(Debug, Default)]
pub(super) struct CryptoStream {
    arrived: Vec<u8>,
    /// Sorted by `from`, never overlapping.
    pieces: Vec<Piece>,
    /// The message in order, if it had to be gathered.
    gathered: Vec<u8>,
}

/// Stream bytes `from..to`, which stand at `at` in `arrived`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: usize,
    to: usize,
    at: usize,
}

impl Piece {
    fn len(self) -> usize {
        self.to.saturating_sub(self.from)
    }

    fn end(self) -> usize {
        self.at.saturating_add(self.len())
    }
}

impl CryptoStream {
    /// Bytes of memory behind this value.
    pub(super) fn memory(&self) -> usize {
        let pieces = self.pieces.capacity().saturating_mul(size_of::<Piece>());
        let bytes = self.arrived.capacity().saturating_add(self.gathered.capacity());
        pieces.saturating_add(bytes)
    }

    /// Forgets everything but the room it has.
    pub(super) fn clear(&mut self) {
        self.arrived.clear();
        self.pieces.clear();
    }

    /// Takes the data of one frame.
    ///
    /// # Errors
    /// `Limit` beyond [`STREAM_MAX`] or [`PIECES_MAX`].
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) -> Parsed<Agreement> {
        let field = "crypto offset";
        let mut from = usize::try_from(offset).map_err(|_| ParseError::limit(field))?;
        let to = from.checked_add(data.len()).filter(|&to| to <= STREAM_MAX);
        let to = to.ok_or(ParseError::limit(field))?;
        let mut rest = data;
        let mut agreement = Agreement::Agrees;
        let mut next = self.pieces.partition_point(|piece| piece.to <= from);
        while from < to {
            let piece = self.pieces.get(next).copied();
            let filled = piece.filter(|piece| piece.from <= from);
            let end = filled.map_or_else(
                || piece.map_or(to, |piece| piece.from.min(to)),
                |piece| piece.to.min(to),
            );
            let Some((part, behind)) = rest.split_at_checked(end.saturating_sub(from)) else {
                break;
            };
            match filled {
                Some(piece) => {
                    let at = piece.at.saturating_add(from.saturating_sub(piece.from));
                    if self.arrived.get(at..).is_none_or(|held| !held.starts_with(part)) {
                        agreement = Agreement::Conflicts;
                    }
                    next = next.saturating_add(1);
                }
                None if self.add(next, from, part)? => next = next.saturating_add(1),
                None => {}
            }
            rest = behind;
            from = end;
        }
        Ok(agreement)
    }

    /// Puts `part` in front of piece `next`; `false` if it made the piece before it longer.
    fn add(&mut self, next: usize, from: usize, part: &[u8]) -> Parsed<bool> {
        let at = self.arrived.len();
        let to = from.saturating_add(part.len());
        let before = next.checked_sub(1).and_then(|before| self.pieces.get_mut(before));
        let joined = before.filter(|piece| piece.to == from && piece.end() == at);
        let is_new = joined.is_none();
        if let Some(piece) = joined {
            piece.to = to;
        } else if self.pieces.len() < PIECES_MAX {
            self.pieces.insert(next, Piece { from, to, at });
        } else {
            return Err(ParseError::limit("crypto fragments"));
        }
        self.arrived.extend_from_slice(part);
        Ok(is_new)
    }

    /// The client's hello with its header, `None` while bytes are missing.
    ///
    /// # Errors
    /// `Invalid` if the stream starts with another message, `Limit` if this one is too long.
    pub(super) fn hello(&mut self) -> Parsed<Option<&[u8]>> {
        let there = self.run();
        let mut header = [0; HEADER_BYTES];
        if there < HEADER_BYTES {
            return Ok(None);
        }
        for (to, from) in header.iter_mut().zip(self.bytes()) {
            *to = *from;
        }
        let [kind, length @ ..] = header;
        if kind != CLIENT_HELLO {
            return Err(ParseError::invalid("handshake type"));
        }
        let [high, middle, low] = length;
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low]))
            .unwrap_or(usize::MAX)
            .saturating_add(HEADER_BYTES);
        if length > STREAM_MAX {
            return Err(ParseError::limit("handshake length"));
        }
        Ok(if there < length { None } else { self.front(length) })
    }

    /// The bytes from the start of the stream to the first that is missing.
    pub(super) fn prefix(&mut self) -> &[u8] {
        let there = self.run();
        self.front(there).unwrap_or_default()
    }

    /// Number of those bytes.
    fn run(&self) -> usize {
        self.pieces
            .iter()
            .try_fold(0, |end, piece| if piece.from == end { Ok(piece.to) } else { Err(end) })
            .unwrap_or_else(|end| end)
    }

    /// Bytes in stream order, holes passed over.
    fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.parts().flatten()
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().filter_map(|piece| self.arrived.get(piece.at..piece.end()))
    }

    /// The first `n` bytes, of which none is missing.
    fn front(&mut self, n: usize) -> Option<&[u8]> {
        let first = self.pieces.first().copied()?;
        if first.len() >= n {
            return self.arrived.get(first.at..)?.get(..n);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        gathered.reserve(n);
        self.parts().for_each(|part| gathered.extend_from_slice(part));
        self.gathered = gathered;
        self.gathered.get(..n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(body: usize) -> Vec<u8> {
        let length = u32::try_from(body).unwrap().to_be_bytes();
        let mut message = vec![CLIENT_HELLO, length[1], length[2], length[3]];
        message.extend((0..body).map(|i| u8::try_from(i % 251).unwrap()));
        message
    }

    /// Offset and data.
    type Frame<'a> = (usize, &'a [u8]);

    fn read(frames: &[Frame<'_>]) -> (Vec<Agreement>, Option<Vec<u8>>) {
        let mut stream = CryptoStream::default();
        let said = frames.iter().map(|&(at, data)| stream.insert(at as u64, data).unwrap());
        let said = said.collect();
        (said, stream.hello().unwrap().map(<[u8]>::to_vec))
    }

    #[test]
    fn any_order_overlap_and_repetition_give_the_message() {
        let m = hello(96);
        let table: &[(&str, &[Frame<'_>], bool)] = &[
            ("one frame", &[(0, &m)], true),
            ("bytes of the next message behind", &[(0, &m), (100, b"more")], true),
            ("one byte short", &[(0, &m[..99])], false),
            ("halves", &[(0, &m[..50]), (50, &m[50..])], true),
            ("halves turned", &[(50, &m[50..]), (0, &m[..50])], true),
            ("hole", &[(0, &m[..50]), (51, &m[51..])], false),
            (
                "header in four frames",
                &[(3, &m[3..]), (1, &m[1..2]), (2, &m[2..3]), (0, &m[..1])],
                true,
            ),
            (
                "overlap at both ends",
                &[(40, &m[40..60]), (30, &m[30..90]), (0, &m[..35]), (80, &m[80..])],
                true,
            ),
            ("swallowed", &[(10, &m[10..20]), (30, &m[30..40]), (0, &m)], true),
            ("repeated", &[(0, &m[..50]), (0, &m[..50]), (20, &m[20..30]), (50, &m[50..])], true),
            ("empty frames", &[(0, b""), (500, b""), (0, &m)], true),
        ];
        for (name, frames, whole) in table {
            let (said, message) = read(frames);
            assert!(said.iter().all(|a| *a == Agreement::Agrees), "{name}");
            assert_eq!(message, whole.then(|| m.clone()), "{name}");
        }
    }

    #[test]
    fn first_copy_wins_and_the_conflict_is_told() {
        let m = hello(96);
        let mut other = m.clone();
        other[60] ^= 1;
        let (said, message) = read(&[(50, &m[50..70]), (0, &other)]);
        assert_eq!(said, [Agreement::Agrees, Agreement::Conflicts]);
        assert_eq!(message, Some(m));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let end = STREAM_MAX as u64;
        for (name, offset, fits) in
            [("below", end - 2, true), ("at", end - 1, true), ("above", end, false)]
        {
            assert_eq!(CryptoStream::default().insert(offset, b"x").is_ok(), fits, "{name}");
        }
        assert!(CryptoStream::default().insert(u64::MAX, b"x").is_err());

        let mut stream = CryptoStream::default();
        for i in 0..PIECES_MAX as u64 {
            assert_eq!(stream.insert(2 * i, b"x"), Ok(Agreement::Agrees), "piece {i}");
        }
        let beyond = 2 * PIECES_MAX as u64;
        assert_eq!(stream.insert(beyond, b"x"), Err(ParseError::limit("crypto fragments")));
        assert_eq!(stream.insert(beyond - 1, b"x"), Ok(Agreement::Agrees), "joins the last one");

        for (length, expected) in [
            (STREAM_MAX - 5, Ok(None)),
            (STREAM_MAX - 4, Ok(None)),
            (STREAM_MAX - 3, Err(ParseError::limit("handshake length"))),
        ] {
            let mut stream = CryptoStream::default();
            stream.insert(0, &hello(length)[..100]).unwrap();
            assert_eq!(stream.hello(), expected, "{length}");
        }
    }

    #[test]
    fn another_message_is_none_of_ours() {
        let mut stream = CryptoStream::default();
        stream.insert(0, &[2, 0, 0, 1, 0]).unwrap();
        assert_eq!(stream.hello(), Err(ParseError::invalid("handshake type")));
    }

    #[test]
    fn memory_follows_what_arrived() {
        let mut stream = CryptoStream::default();
        for offset in [0, 60_000, 60_000, 0, 30_000] {
            stream.insert(offset, &[7; 10]).unwrap();
        }
        assert_eq!(stream.arrived.len(), 30);
        assert_eq!(stream.prefix(), [7; 10]);
    }
}
