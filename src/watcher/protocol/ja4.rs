//! JA4, the TLS client fingerprint: a name for the TLS library behind a ClientHello.
//!
//! In: what a hello offers, as wire bytes. Out: 36 characters, for example
//! `t13d1516h2_8daaf6152771_e5627efa2ab1`, or an empty text if the hello is beyond the limits.
//! Never: allocates; reads names; keeps anything of the hello but two truncated hashes.
//! Limits: 1,000 cipher suites, 256 extensions.
//! Source: the public description of JA4 (TLS client), RFC 8701 for GREASE.

use sha2::{Digest, Sha256};

use super::HelloTransport;

/// Length of the fingerprint in characters: 10 + `_` + 12 + `_` + 12.
pub const JA4_LEN: usize = 36;

/// Cipher suites sorted at most. IANA lists under 400; a hello with more than 1,000 was built to
/// cost time, and has no library to be named after.
pub const CIPHERS_MAX: usize = 1_000;

/// Extensions sorted at most. IANA lists under 70, all GREASE values are 16.
pub const EXTENSIONS_MAX: usize = 256;

/// The part of a hash that is printed, in characters.
const HASH_CHARS: usize = 12;

/// What stands for the hash of an empty list.
const NO_HASH: [u8; HASH_CHARS] = [b'0'; HASH_CHARS];

/// Counts are printed with two digits.
const COUNT_MAX: usize = 99;

/// Extension types that the hash leaves out: they follow the target, not the library.
const SERVER_NAME: u16 = 0x0000;
const ALPN: u16 = 0x0010;

/// What a ClientHello says of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a, E> {
    /// Carrier of the hello.
    pub transport: HelloTransport,
    /// Highest version offered, wire value without GREASE.
    pub version: u16,
    /// First ALPN protocol; empty if none was offered.
    pub alpn: &'a [u8],
    /// Cipher suites as 16-bit values on the wire.
    pub ciphers: &'a [u8],
    /// Extension types in any order.
    pub extensions: E,
    /// Signature algorithms as 16-bit values on the wire.
    pub signatures: &'a [u8],
}

/// Writes the fingerprint of `offer` into `text`; empty if it is beyond [`CIPHERS_MAX`] or
/// [`EXTENSIONS_MAX`].
pub fn ja4<'t>(
    offer: Offer<'_, impl Iterator<Item = u16>>,
    text: &'t mut [u8; JA4_LEN],
) -> &'t str {
    let mut ciphers = [0; CIPHERS_MAX];
    let mut extensions = [0; EXTENSIONS_MAX];
    let Some(ciphers) = sorted(values(offer.ciphers), &mut ciphers) else { return "" };
    let Some(extensions) = sorted(offer.extensions, &mut extensions) else { return "" };

    let named = extensions.contains(&SERVER_NAME);
    let hashed = || extensions.iter().copied().filter(|&e| e != SERVER_NAME && e != ALPN);
    let signatures = values(offer.signatures).filter(|&s| !is_grease(s));

    let [v1, v2] = version(offer.version);
    let [c1, c2] = two_digits(ciphers.len());
    let [e1, e2] = two_digits(extensions.len());
    let [a1, a2] = alpn(offer.alpn);
    let head = [
        match offer.transport {
            HelloTransport::Tls => b't',
            HelloTransport::Quic => b'q',
            HelloTransport::Dtls => b'd',
        },
        v1,
        v2,
        if named { b'd' } else { b'i' },
        c1,
        c2,
        e1,
        e2,
        a1,
        a2,
    ];
    let suites = hash(ciphers.iter().copied(), std::iter::empty());
    let rest = if hashed().next().is_some() { hash(hashed(), signatures) } else { NO_HASH };

    let parts = head.iter().chain(b"_").chain(&suites).chain(b"_").chain(&rest);
    for (to, &from) in text.iter_mut().zip(parts) {
        *to = from;
    }
    std::str::from_utf8(text).unwrap_or("")
}

/// `true` for the reserved values 0x0a0a, 0x1a1a ... 0xfafa of RFC 8701 §2.
pub const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The 16-bit values of a list on the wire; a single byte at the end is passed over.
pub(super) fn values(list: &[u8]) -> impl Iterator<Item = u16> + '_ {
    list.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair))
}

/// Fills `room` with the values that are not GREASE and sorts them; `None` if they do not fit.
fn sorted(values: impl Iterator<Item = u16>, room: &mut [u16]) -> Option<&[u16]> {
    let mut used = 0_usize;
    for value in values.filter(|&v| !is_grease(v)) {
        *room.get_mut(used)? = value;
        used = used.saturating_add(1);
    }
    let list = room.get_mut(..used)?;
    list.sort_unstable();
    Some(list)
}

/// First characters of the SHA-256 of `list` in hexadecimal, joined by commas, and, if there are
/// any, of `tail` behind an underscore.
fn hash(list: impl Iterator<Item = u16>, tail: impl Iterator<Item = u16>) -> [u8; HASH_CHARS] {
    let mut sha = Sha256::new();
    let mut empty = true;
    for (value, comma) in list.zip(std::iter::once(false).chain(std::iter::repeat(true))) {
        write(&mut sha, if comma { b"," } else { b"" }, value);
        empty = false;
    }
    for (value, comma) in tail.zip(std::iter::once(false).chain(std::iter::repeat(true))) {
        write(&mut sha, if comma { b"," } else { b"_" }, value);
    }
    if empty {
        return NO_HASH;
    }
    let mut text = NO_HASH;
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(sha.finalize()) {
        *pair = hex(byte);
    }
    text
}

fn write(sha: &mut Sha256, separator: &[u8], value: u16) {
    let [high, low] = value.to_be_bytes();
    let ([a, b], [c, d]) = (hex(high), hex(low));
    sha.update(separator);
    sha.update([a, b, c, d]);
}

/// Version as two characters; unknown ones are `00`.
const fn version(wire: u16) -> [u8; 2] {
    match wire {
        0x0304 => *b"13",
        0x0303 => *b"12",
        0x0302 => *b"11",
        0x0301 => *b"10",
        0x0300 => *b"s3",
        0x0002 => *b"s2",
        0xfeff => *b"d1",
        0xfefd => *b"d2",
        0xfefc => *b"d3",
        _ => *b"00",
    }
}

/// First and last character of a protocol name; of its hexadecimal form if either is no letter or
/// digit.
fn alpn(protocol: &[u8]) -> [u8; 2] {
    match (protocol.first(), protocol.last()) {
        (Some(&first), Some(&last))
            if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() =>
        {
            [first, last]
        }
        (Some(&first), Some(&last)) => [hex(first)[0], hex(last)[1]],
        _ => *b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = u8::try_from(count.min(COUNT_MAX)).unwrap_or(0);
    [b'0'.wrapping_add(count / 10), b'0'.wrapping_add(count % 10)]
}

/// Lower-case hexadecimal form of a byte.
fn hex(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| match nibble {
        0..=9 => b'0'.wrapping_add(nibble),
        _ => b'a'.wrapping_sub(10).wrapping_add(nibble),
    };
    [digit(byte >> 4), digit(byte & 0x0f)]
}
