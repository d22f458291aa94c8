//! Long headers of QUIC: versions, packet types, and where a packet of a datagram ends.
//!
//! In: a datagram, or what is left of it behind another packet.
//! Out: the packet in front, its connection id, and the bytes behind it.
//! Never: looks below header protection.
//! Limits: connection ids of 20 bytes.
//! Source: RFC 8999 §5.1, RFC 9000 §16, §17.2, RFC 9369 §3.2, RFC 9287 §3 (the fixed bit means nothing).

use super::keys::{PROTECTED_MIN, Scheme};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Longest connection id in bytes in every version we know, RFC 9000 §17.2.
pub(super) const ID_MAX: u8 = 20;

/// Fewest bytes of the id that a client makes up for its first Initial, RFC 9000 §7.2.
const FIRST_ID_MIN: usize = 8;

/// Fewest bytes of a datagram that carries a client's Initial, RFC 9000 §14.1.
const FIRST_DATAGRAM_MIN: usize = 1200;

/// Header form, RFC 8999 §5.1.
const LONG: u8 = 0x80;

/// What a version number means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 0: the server lists what it speaks.
    Negotiation,
    /// Initial packets open with keys of this scheme.
    Known(Scheme),
    /// 0x?a?a?a?a: sent to be refused, RFC 9000 §15.
    Greased,
    /// Google's QUIC before it took IETF headers; the handshake is in clear.
    Clear,
    /// Anything else.
    Unknown,
}

/// Meaning of a version field.
pub(super) fn version(wire: u32) -> Version {
    Version::Known(match wire {
        0 => return Version::Negotiation,
        // 0xfaceb0.. are of mvfst, of which 3 and 4 are other names for version 1.
        1 | 0xff00_0021 | 0xff00_0022 | 0xface_b003 | 0xface_b004 => Scheme::V1,
        0x6b33_43cf => Scheme::V2,
        0xff00_0015 | 0xff00_0016 | 0xface_b001 => Scheme::Draft21,
        0xff00_0017..=0xff00_001c | 0xface_b000..=0xface_b01f => Scheme::Draft23,
        0xff00_001d..=0xff00_0020 => Scheme::Draft29,
        0x5130_3530 => Scheme::Q050,
        0x5430_3530 => Scheme::T050,
        0x5430_3531 => Scheme::T051,
        _ if wire & 0x0f0f_0f0f == 0x0a0a_0a0a => return Version::Greased,
        _ if matches!(wire.to_be_bytes(), [b'Q', b'0', b'0'..=b'4', b'0'..=b'9']) => {
            return Version::Clear;
        }
        _ => return Version::Unknown,
    })
}

/// Type of a packet with a long header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// First flight of either side.
    Initial,
    /// Early data.
    ZeroRtt,
    /// Second flight.
    Handshake,
    /// The server wants to see the client's address proved.
    Retry,
}

/// One packet of a known version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    pub(super) scheme: Scheme,
    /// Destination connection id.
    pub(super) dcid: &'a [u8],
    /// Source connection id: the one that its sender wants to be called by.
    pub(super) scid: &'a [u8],
    /// The packet from its first byte to its last, or to where the capture was cut.
    pub(super) bytes: &'a [u8],
    /// Where the packet number starts in `bytes`.
    pub(super) number_at: usize,
    /// Bytes from there to the end of the packet, as the header says.
    pub(super) length: usize,
    /// Bytes of the datagram behind the packet.
    pub(super) behind: &'a [u8],
}

impl Packet<'_> {
    /// `false` if the capture cut the packet.
    pub(super) fn is_whole(&self) -> bool {
        self.number_at.checked_add(self.length) == Some(self.bytes.len())
    }
}

/// Version of the packet in front, `None` if it has no long header.
pub(super) fn long(bytes: &[u8]) -> Option<Version> {
    let (&first, rest) = bytes.split_first()?;
    let wire = rest.first_chunk().copied().map(u32::from_be_bytes)?;
    (first & LONG != 0).then(|| version(wire))
}

/// Reads the packet in front.
///
/// # Errors
/// `Short` or `Invalid` if no packet of a version of ours starts here.
pub(super) fn packet(bytes: &[u8]) -> Parsed<Packet<'_>> {
    let Some(Version::Known(scheme)) = long(bytes) else {
        return Err(ParseError::invalid("version"));
    };
    layout(bytes, scheme)
}

/// Reads the packet in front as one of `scheme`, whatever its version says.
fn layout(bytes: &[u8], scheme: Scheme) -> Parsed<Packet<'_>> {
    let mut rest = Reader::new(bytes);
    let first = rest.u8("header form")?;
    rest.skip(4, "version")?;
    let dcid = id(&mut rest, "destination connection id")?;
    let scid = id(&mut rest, "source connection id")?;
    let kind = kind(first, scheme);
    if kind == Kind::Retry {
        // Nothing follows a Retry: the token reaches to the end.
        let number_at = bytes.len();
        return Ok(Packet { kind, scheme, dcid, scid, bytes, number_at, length: 0, behind: &[] });
    }
    if kind == Kind::Initial {
        let token = varint(&mut rest, "token length")?;
        rest.skip(size(token), "token")?;
    }
    let length = size(varint(&mut rest, "length")?);
    if length < PROTECTED_MIN {
        return Err(ParseError::invalid("length"));
    }
    let number_at = bytes.len().saturating_sub(rest.len());
    let end = number_at.saturating_add(length);
    let (bytes, behind) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    Ok(Packet { kind, scheme, dcid, scid, bytes, number_at, length, behind })
}

/// `true` if `datagram` can be the first that a QUIC client sends. Early data may stand in front of
/// the Initial (RFC 9000 §12.2).
pub(super) fn is_opening(datagram: &[u8]) -> bool {
    let first = packet(datagram).ok().filter(|p| p.kind == Kind::ZeroRtt && !p.behind.is_empty());
    is_initial(first.map_or(datagram, |early| early.behind))
}

/// `true` if a client's first Initial stands in front.
fn is_initial(datagram: &[u8]) -> bool {
    let (greased, scheme) = match long(datagram) {
        Some(Version::Known(scheme)) => (false, scheme),
        // The layout of such a version is anybody's guess, but clients take that of version 1.
        Some(Version::Greased) => (true, Scheme::V1),
        _ => return false,
    };
    layout(datagram, scheme).is_ok_and(|packet| {
        packet.kind == Kind::Initial
            && packet.dcid.len() >= FIRST_ID_MIN
            && u16::try_from(packet.length).is_ok()
            && (!greased || (packet.is_whole() && datagram.len() >= FIRST_DATAGRAM_MIN))
    })
}

/// Packet type, RFC 9000 §17.2 and RFC 9369 §3.2.
fn kind(first: u8, scheme: Scheme) -> Kind {
    let two_bits = (first >> 4) & 3;
    let as_in_v1 = if scheme == Scheme::V2 { two_bits.wrapping_sub(1) & 3 } else { two_bits };
    match as_in_v1 {
        0 => Kind::Initial,
        1 => Kind::ZeroRtt,
        2 => Kind::Handshake,
        _ => Kind::Retry,
    }
}

fn id<'a>(rest: &mut Reader<'a>, field: &'static str) -> Parsed<&'a [u8]> {
    let bytes = rest.u8(field)?;
    if bytes > ID_MAX {
        return Err(ParseError::invalid(field));
    }
    rest.take(bytes.into(), field)
}

/// Variable-length integer, RFC 9000 §16.
pub(super) fn varint(rest: &mut Reader<'_>, field: &'static str) -> Parsed<u64> {
    let first = rest.u8(field)?;
    let low = u64::from(first & 0x3f);
    Ok(match first >> 6 {
        0 => low,
        1 => low << 8 | u64::from(rest.u8(field)?),
        2 => low << 24 | u64::from(rest.u24(field)?),
        _ => low << 56 | u64::from(rest.u24(field)?) << 32 | u64::from(rest.u32(field)?),
    })
}

/// A length on the wire as one of memory; what does not fit cannot be there.
pub(super) fn size(wire: u64) -> usize {
    usize::try_from(wire).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_the_specification() {
        // RFC 9000 §A.1.
        let table: &[(&[u8], u64)] = &[
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, expected) in table {
            let mut rest = Reader::new(bytes);
            assert_eq!(varint(&mut rest, "x"), Ok(*expected), "{bytes:02x?}");
            assert!(rest.is_empty());
            assert!(varint(&mut Reader::new(&bytes[..bytes.len() - 1]), "x").is_err());
        }
    }

    #[test]
    fn versions() {
        let table = [
            (0, Version::Negotiation),
            (1, Version::Known(Scheme::V1)),
            (2, Version::Unknown),
            (0x6b33_43cf, Version::Known(Scheme::V2)),
            (0xff00_0014, Version::Unknown),
            (0xff00_0016, Version::Known(Scheme::Draft21)),
            (0xff00_0017, Version::Known(Scheme::Draft23)),
            (0xff00_001c, Version::Known(Scheme::Draft23)),
            (0xff00_001d, Version::Known(Scheme::Draft29)),
            (0xff00_0020, Version::Known(Scheme::Draft29)),
            (0xff00_0021, Version::Known(Scheme::V1)),
            (0xff00_0022, Version::Known(Scheme::V1)),
            (0xff00_0023, Version::Unknown),
            (0xface_b001, Version::Known(Scheme::Draft21)),
            (0xface_b002, Version::Known(Scheme::Draft23)),
            (0xface_b003, Version::Known(Scheme::V1)),
            (0xface_b020, Version::Unknown),
            (0x0a0a_0a0a, Version::Greased),
            (0x1a2a_3afa, Version::Greased),
            (u32::from_be_bytes(*b"Q046"), Version::Clear),
            (u32::from_be_bytes(*b"Q050"), Version::Known(Scheme::Q050)),
            (u32::from_be_bytes(*b"T051"), Version::Known(Scheme::T051)),
            (u32::from_be_bytes(*b"Q051"), Version::Unknown),
        ];
        for (wire, expected) in table {
            assert_eq!(version(wire), expected, "{wire:08x}");
        }
    }

    #[test]
    fn types_move_by_one_in_version_2() {
        for (bits, v1, v2) in [
            (0, Kind::Initial, Kind::Retry),
            (1, Kind::ZeroRtt, Kind::Initial),
            (2, Kind::Handshake, Kind::ZeroRtt),
            (3, Kind::Retry, Kind::Handshake),
        ] {
            assert_eq!(kind(0xc0 | bits << 4, Scheme::V1), v1);
            assert_eq!(kind(0xc0 | bits << 4, Scheme::V2), v2);
        }
    }
}
