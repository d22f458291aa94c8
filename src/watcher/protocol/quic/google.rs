//! Google's own QUIC handshake: the name in a CHLO message.
//!
//! In: a client's datagram of versions Q009 to Q049, or the frames of an opened Q050 packet.
//! Out: the server name. Never: takes anything else out of the message.
//! Limits: 128 tags; a CHLO that one packet holds, as the first of every client is padded to be.
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
    Ok(ClientMessage { server_name, length: u32::try_from(length).unwrap_or(u32::MAX) })
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
