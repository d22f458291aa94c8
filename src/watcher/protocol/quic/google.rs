//! Google's own QUIC handshake: the name in a CHLO message.
//!
//! In: a client's datagram of versions Q009 to Q049, or the frames of an opened Q050 packet.
//! Out: the server name. Never: takes anything else out of the message.
//! Limits: 128 tags; of several packets, those whose frames in front are of kinds with a known length.
//! Source: "QUIC Crypto" (Langley, Chang 2016), "QUIC Wire Layout Specification" (Hamilton 2016),
//! draft-hamilton-early-deployment-quic-00 §6.1.

use super::header::{self, Version};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Flags of the public header: version present, reset, 8-byte connection id, and two that are 0.
const VERSION: u8 = 0x01;
const RESET: u8 = 0x02;
const CONNECTION_ID: u8 = 0x08;
const ZERO: u8 = 0xc0;

/// Most tags of a message; the handshake defines about 50.
const TAGS_MAX: usize = 128;

/// Types of frames: CRYPTO since Q047, STREAM with flags in the same octet (of these one says that
/// its length is given), and two of one octet.
const CRYPTO: u8 = 8;
const STREAM: u8 = 0x80;
const WITH_LENGTH: u8 = 0x20;
const PADDING: u8 = 0;
const PING: u8 = 7;

/// Number of the stream that carries the handshake.
const HANDSHAKE_STREAM: u64 = 1;

/// Names of the message and of the tag that we want.
const CHLO: &[u8; 4] = b"CHLO";
const SNI: [u8; 4] = *b"SNI\0";

/// What a CHLO says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientMessage<'a> {
    /// SNI tag, if it is there and whole.
    pub(super) server_name: Option<&'a [u8]>,
    /// Length of the message in bytes.
    pub(super) length: u32,
    /// All of it is there.
    pub(super) whole: bool,
}

/// What a client's packet in clear carries of the handshake's stream.
pub(super) struct Pieces<'a> {
    rest: Reader<'a>,
    /// Numbers are big-endian, as since Q039.
    big: bool,
}

/// The frames of a client's datagram of a version in clear; `None` if its header is not known.
pub(super) fn pieces(datagram: &[u8]) -> Option<Pieces<'_>> {
    let mut rest = Reader::new(datagram);
    let flags = rest.u8("flags").ok()?;
    let number = |from: usize| {
        let digits: &[u8; 2] = datagram.get(from..)?.first_chunk()?;
        std::str::from_utf8(digits).ok()?.parse::<u8>().ok()
    };
    let (version, number_bytes) = if flags & 0x80 == 0 {
        rest.skip(8 + 4, "connection id, version").ok()?;
        (number(11)?, [1, 2, 4, 6].get(usize::from(flags >> 4 & 3)).copied()?)
    } else {
        rest.skip(4, "version").ok()?;
        // One octet for the lengths of both ids, in which 0 is none and n is n + 3.
        let lengths = rest.u8("id lengths").ok()?;
        for nibble in [lengths >> 4, lengths & 15] {
            let id = if nibble == 0 { 0 } else { usize::from(nibble).saturating_add(3) };
            rest.skip(id, "connection id").ok()?;
        }
        let version = number(3)?;
        // Q049 writes lengths as the IETF's drafts of its time did.
        if !(44..=48).contains(&version) {
            return None;
        }
        (version, usize::from(flags & 3).saturating_add(1))
    };
    rest.skip(number_bytes, "packet number").ok()?;
    rest.skip(12, "hash").ok()?;
    if version < 34 {
        rest.skip(1, "private flags").ok()?;
    }
    Some(Pieces { rest, big: version >= 39 })
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (u64, &'a [u8]);

    /// Offset and data of the next frame of the handshake's stream.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rest.u8("frame type").ok()? {
                PADDING | PING => {}
                kind if kind & STREAM != 0 => {
                    let id = self.number(usize::from(kind & 3).saturating_add(1))?;
                    let wide = usize::from(kind >> 2 & 7);
                    let offset = if wide == 0 { 0 } else { self.number(wide.saturating_add(1))? };
                    let length = match kind & WITH_LENGTH != 0 {
                        true => header::size(self.number(2)?),
                        false => self.rest.len(),
                    };
                    let data = self.rest.take(length, "data").ok()?;
                    if id == HANDSHAKE_STREAM {
                        return Some((offset, data));
                    }
                }
                CRYPTO => {
                    let offset = header::varint(&mut self.rest, "offset").ok()?;
                    let length = header::varint(&mut self.rest, "length").ok()?;
                    let data = self.rest.take(header::size(length), "data").ok()?;
                    return Some((offset, data));
                }
                _ => return None,
            }
        }
    }
}

impl Pieces<'_> {
    /// A number of so many octets.
    fn number(&mut self, octets: usize) -> Option<u64> {
        let bytes = self.rest.take(octets, "number").ok()?;
        let add = |sum: u64, octet: &u8| sum << 8 | u64::from(*octet);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}

/// `true` if `datagram` starts as a client's of a version in clear does.
pub(super) fn is_clear(datagram: &[u8]) -> bool {
    if header::long(datagram) == Some(Version::Clear) {
        return true;
    }
    let mut rest = Reader::new(datagram);
    rest.u8("public flags").is_ok_and(|flags| {
        flags & (VERSION | RESET | CONNECTION_ID | ZERO) == VERSION | CONNECTION_ID
            && rest.skip(8, "connection id").is_ok()
            && rest.u32("version").is_ok_and(|wire| header::version(wire) == Version::Clear)
    })
}

/// `true` if a server's datagram goes on with the handshake rather than refusing the version or
/// resetting.
pub(super) fn answers(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|flags| flags & ZERO != 0 || flags & (VERSION | RESET) == 0)
}

/// Looks for a CHLO in frames. Frame headers vary from version to version, the message does not.
pub(super) fn client_message(frames: &[u8]) -> Option<ClientMessage<'_>> {
    let at = frames.windows(CHLO.len()).position(|window| window == CHLO)?;
    read(frames.get(at..)?).ok()
}

/// The CHLO that a stream begins with, as far as it is there.
pub(super) fn stream_message(stream: &[u8]) -> Option<ClientMessage<'_>> {
    read(stream.strip_prefix(CHLO).and(Some(stream))?).ok()
}

fn read(message: &[u8]) -> Parsed<ClientMessage<'_>> {
    let mut rest = Reader::new(message);
    rest.skip(CHLO.len(), "tag")?;
    let count = usize::from(rest.u16("tag count")?.swap_bytes());
    if count == 0 || count > TAGS_MAX {
        return Err(ParseError::invalid("tag count"));
    }
    rest.skip(2, "padding")?;
    let mut tags = rest.sub(count.saturating_mul(8), "tags")?;
    let values = rest.rest();
    let mut server_name = None;
    let mut from = 0;
    while !tags.is_empty() {
        let tag = tags.array("tag")?;
        let to = header::size(tags.u32("end offset")?.swap_bytes().into());
        if to < from {
            return Err(ParseError::invalid("end offset"));
        }
        if tag == SNI {
            server_name = values.get(from..to);
        }
        from = to;
    }
    let length = count.saturating_add(1).saturating_mul(8).saturating_add(from);
    let whole = message.len() >= length;
    Ok(ClientMessage { server_name, length: u32::try_from(length).unwrap_or(u32::MAX), whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHLO with these tags.
    fn chlo(tags: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut message = CHLO.to_vec();
        message.extend(u16::try_from(tags.len()).unwrap().to_le_bytes());
        message.extend([0, 0]);
        let mut end = 0;
        for (tag, value) in tags {
            end += u32::try_from(value.len()).unwrap();
            message.extend(*tag);
            message.extend(end.to_le_bytes());
        }
        for (_, value) in tags {
            message.extend(*value);
        }
        message
    }

    #[test]
    fn finds_the_name_among_the_tags() {
        let name: &[u8] = b"www.example.com";
        let whole = chlo(&[(b"PAD\0", &[b'-'; 900]), (b"SNI\0", name), (b"VER\0", b"Q043")]);
        let mut behind_frame = vec![0xa0, 1, 0xc0, 3];
        behind_frame.extend(&whole);
        let mut late = whole.clone();
        late[13] = 0xff;
        type Said<'a> = Option<Option<&'a [u8]>>;
        let table: [(&str, &[u8], Said<'_>); 8] = [
            ("message alone", &whole, Some(Some(name))),
            ("behind a frame header", &behind_frame, Some(Some(name))),
            ("no name", &chlo(&[(b"VER\0", b"Q043")]), Some(None)),
            ("cut in the name", &whole[..whole.len() - 5], Some(None)),
            ("cut in the tags", &whole[..20], None),
            ("no tags", &chlo(&[]), None),
            ("offsets that go back", &late, None),
            ("another message", b"REJ\0\x01\0\0\0", None),
        ];
        for (label, frames, expected) in table {
            let said = client_message(frames).map(|message| message.server_name);
            assert_eq!(said, expected, "{label}");
        }
        assert_eq!(client_message(&behind_frame).unwrap().length as usize, whole.len());
    }

    /// A packet of Q043 with this much of stream 1.
    fn public(offset: u32, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x09, 1, 2, 3, 4, 5, 6, 7, 8];
        packet.extend(b"Q043\x01");
        packet.extend([9; 12]);
        packet.extend([PING, STREAM | WITH_LENGTH | 3 << 2, 1]);
        packet.extend(offset.to_be_bytes());
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(data);
        packet
    }

    #[test]
    fn finds_the_stream_in_a_packet() {
        let little = [
            &b"\x09\x01\x02\x03\x04\x05\x06\x07\x08Q035\x01"[..],
            &[9; 12],
            b"\xa4\x01\x02\x01\x01\0x",
        ]
        .concat();
        let cid =
            [&b"\xc0Q046\x50\x01\x02\x03\x04\x05\x06\x07\x08\0"[..], &[9; 12], b"\x80\x01abc"]
                .concat();
        let crypto = [
            &b"\xc0Q048\x50\x01\x02\x03\x04\x05\x06\x07\x08\0"[..],
            &[9; 12],
            b"\x08\x41\0\x01z\0\0",
        ]
        .concat();
        type Found<'a> = Option<Vec<(u64, &'a [u8])>>;
        let table: [(&str, &[u8], Found<'_>); 7] = [
            ("stream", &public(7, b"abc"), Some(vec![(7, b"abc")])),
            ("little-endian", &little, Some(vec![(258, b"x")])),
            ("long header", &cid, Some(vec![(0, b"abc")])),
            ("CRYPTO", &crypto, Some(vec![(256, b"z")])),
            ("another stream", &[&public(0, b"")[..27], b"\x80\x05abc"].concat(), Some(vec![])),
            ("lengths of the IETF", b"\xc0Q049\x08aaaaaaaa\0\0", None),
            ("cut", &public(7, b"abc")[..20], None),
        ];
        for (label, datagram, expected) in table {
            assert_eq!(pieces(datagram).map(Iterator::collect::<Vec<_>>), expected, "{label}");
        }
    }

    #[test]
    fn tells_clear_versions_by_their_header() {
        let mut public = vec![0x0d, 1, 2, 3, 4, 5, 6, 7, 8];
        public.extend(b"Q043\x01");
        let mut long = vec![0xc3];
        long.extend(b"Q046\x50");
        let table: &[(&str, &[u8], bool)] = &[
            ("public header", &public, true),
            ("its flags with a reset", &[&[0x0f], &public[1..]].concat(), false),
            ("without connection id", &[&[0x05], &public[1..]].concat(), false),
            ("cut in the version", &public[..12], false),
            ("long header", &long, true),
            ("version of encrypted Initials", b"\xc3Q050\x50", false),
            ("nothing", b"", false),
        ];
        for (label, datagram, expected) in table {
            assert_eq!(is_clear(datagram), *expected, "{label}");
        }
    }
}
