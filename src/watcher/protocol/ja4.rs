//! JA4, the TLS client fingerprint: a name for the TLS library behind a hello.
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

/// Room for [`Offer::key`]: common hellos take 60 to 150 bytes.
pub const KEY_MAX: usize = 256;

/// What a hello says of its sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer<'a> {
    /// Carrier of the hello.
    pub transport: HelloTransport,
    /// Highest version offered, wire value without GREASE.
    pub version: u16,
    /// First ALPN protocol; empty if none was offered.
    pub alpn: &'a [u8],
    /// Cipher suites as 16-bit values on the wire.
    pub ciphers: &'a [u8],
    /// Extensions on the wire, whose types count.
    pub extensions: &'a [u8],
    /// Signature algorithms as 16-bit values on the wire.
    pub signatures: &'a [u8],
}

impl Offer<'_> {
    /// Everything that the fingerprint depends on, and little else: offers with one key have one
    /// fingerprint. Clients that shuffle their extensions from hello to hello have one key, as do
    /// those that throw dice for their GREASE. `None` if it does not fit, which no library needs.
    pub fn key<'k>(&self, room: &'k mut [u8; KEY_MAX]) -> Option<&'k [u8]> {
        let [v1, v2] = version(self.version);
        let [a1, a2] = alpn(self.alpn);
        let mut extensions = [0; KEY_MAX / 4];
        let extensions = sorted(types(self.extensions), &mut extensions)?;
        let ciphers = values(self.ciphers).filter(|&c| !is_grease(c));
        let signatures = values(self.signatures).filter(|&s| !is_grease(s));
        let count = u8::try_from(extensions.len()).ok()?;
        let (head, mut rest) = room.split_first_chunk_mut::<8>()?;
        *head = [carrier(self.transport), v1, v2, a1, a2, count, 0, 0];
        let mut used = head.len();
        let mut parts = 0_u8;
        let all = extensions.iter().copied().chain(ciphers.inspect(|_| {
            parts = parts.saturating_add(1);
        }));
        for value in all.chain(signatures) {
            let (to, behind) = rest.split_first_chunk_mut::<2>()?;
            *to = value.to_be_bytes();
            rest = behind;
            used = used.saturating_add(2);
        }
        // Where ciphers end and signatures begin; what fits has fewer than 256 of them.
        *room.get_mut(6)? = parts;
        room.get(..used)
    }
}

/// Writes the fingerprint of `offer` into `text`; empty if it is beyond [`CIPHERS_MAX`] or
/// [`EXTENSIONS_MAX`].
pub fn ja4<'t>(offer: &Offer<'_>, text: &'t mut [u8; JA4_LEN]) -> &'t str {
    let mut ciphers = [0; CIPHERS_MAX];
    let mut extensions = [0; EXTENSIONS_MAX];
    let Some(ciphers) = sorted(values(offer.ciphers), &mut ciphers) else { return "" };
    let Some(extensions) = sorted(types(offer.extensions), &mut extensions) else { return "" };

    let named = extensions.contains(&SERVER_NAME);
    let hashed = || extensions.iter().copied().filter(|&e| e != SERVER_NAME && e != ALPN);
    let signatures = values(offer.signatures).filter(|&s| !is_grease(s));

    let [v1, v2] = version(offer.version);
    let [c1, c2] = two_digits(ciphers.len());
    let [e1, e2] = two_digits(extensions.len());
    let [a1, a2] = alpn(offer.alpn);
    let head =
        [carrier(offer.transport), v1, v2, if named { b'd' } else { b'i' }, c1, c2, e1, e2, a1, a2];
    let suites = hash(ciphers.iter().copied(), std::iter::empty());
    let rest = if hashed().next().is_some() { hash(hashed(), signatures) } else { NO_HASH };

    let parts = head.iter().chain(b"_").chain(&suites).chain(b"_").chain(&rest);
    for (to, &from) in text.iter_mut().zip(parts) {
        *to = from;
    }
    std::str::from_utf8(text).unwrap_or("")
}

const fn carrier(transport: HelloTransport) -> u8 {
    match transport {
        HelloTransport::Tls => b't',
        HelloTransport::Quic => b'q',
        HelloTransport::Dtls => b'd',
    }
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

/// The types in a block of extensions, as far as its lengths hold.
fn types(block: &[u8]) -> impl Iterator<Item = u16> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let (&[a, b, c, d], body) = rest.split_first_chunk()?;
        rest = body.get(usize::from(u16::from_be_bytes([c, d]))..)?;
        Some(u16::from_be_bytes([a, b]))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_be_bytes()).collect()
    }

    /// The example of the public description, in an order of its own.
    const CIPHERS: [u16; 15] = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    const EXTENSIONS: [u16; 16] = [
        0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
        0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
    ];
    const SIGNATURES: [u16; 8] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];

    fn check(ciphers: &[u16], extensions: &[u16], signatures: &[u16]) -> String {
        told(ciphers, extensions, signatures).0
    }

    /// Fingerprint and key.
    fn told(ciphers: &[u16], extensions: &[u16], signatures: &[u16]) -> (String, Option<Vec<u8>>) {
        let extension = |kind: &u16| [kind.to_be_bytes(), [0, 1]].concat().into_iter().chain([7]);
        let offer = Offer {
            transport: HelloTransport::Tls,
            version: 0x0304,
            alpn: b"h2",
            ciphers: &bytes(ciphers),
            extensions: &extensions.iter().flat_map(extension).collect::<Vec<_>>(),
            signatures: &bytes(signatures),
        };
        let key = offer.key(&mut [0; KEY_MAX]).map(<[u8]>::to_vec);
        (ja4(&offer, &mut [0; JA4_LEN]).to_string(), key)
    }

    #[test]
    fn offers_of_one_key_have_one_fingerprint() {
        let first = told(&CIPHERS, &EXTENSIONS, &SIGNATURES);
        assert_eq!(told(&CIPHERS, &reversed(&EXTENSIONS), &SIGNATURES), first, "shuffled");
        let greased = [&[0x0a0a], &CIPHERS[..]].concat();
        assert_eq!(told(&greased, &EXTENSIONS, &SIGNATURES), first, "GREASE");
        let [.., last] = CIPHERS;
        let moved = [&[last], &SIGNATURES[..]].concat();
        for (name, other) in [
            ("a cipher less", told(&CIPHERS[1..], &EXTENSIONS, &SIGNATURES)),
            ("an extension less", told(&CIPHERS, &EXTENSIONS[1..], &SIGNATURES)),
            ("other signatures", told(&CIPHERS, &EXTENSIONS, &reversed(&SIGNATURES))),
            ("a cipher among the signatures", told(&CIPHERS[..14], &EXTENSIONS, &moved)),
        ] {
            assert_ne!(other.1, first.1, "{name}");
            assert_ne!(other.0, first.0, "{name}");
        }
        assert_eq!(told(&[1; 200], &EXTENSIONS, &SIGNATURES).1, None, "too long to be kept");
    }

    #[test]
    fn fingerprints() {
        let grease = |list: &[u16]| [&[0x0a0a], list, &[0xfafa]].concat();
        let cases: [(&str, String, &str); 10] = [
            (
                "published example",
                check(&CIPHERS, &EXTENSIONS, &SIGNATURES),
                "t13d1516h2_8daaf6152771_e5627efa2ab1",
            ),
            (
                "GREASE changes nothing",
                check(&grease(&CIPHERS), &grease(&EXTENSIONS), &grease(&SIGNATURES)),
                "t13d1516h2_8daaf6152771_e5627efa2ab1",
            ),
            (
                "nor does the order",
                check(&reversed(&CIPHERS), &reversed(&EXTENSIONS), &SIGNATURES),
                "t13d1516h2_8daaf6152771_e5627efa2ab1",
            ),
            // SHA-256 of "1301", of "000a", and of "000a_0403" as sha256sum gives them.
            (
                "one of each",
                check(&[0x1301], &[0x000a], &[]),
                "t13i0101h2_0f2cb44170f4_a8f3e973773c",
            ),
            (
                "signatures follow",
                check(&[0x1301], &[0x000a], &[0x0403]),
                "t13i0101h2_0f2cb44170f4_1128d980f6b5",
            ),
            ("nothing", check(&[], &[], &[]), "t13i0000h2_000000000000_000000000000"),
            (
                "only what is left out",
                check(&[], &[SERVER_NAME, ALPN], &[0x0403]),
                "t13d0002h2_000000000000_000000000000",
            ),
            (
                "only GREASE",
                check(&[0x0a0a], &[0x1a1a], &[]),
                "t13i0000h2_000000000000_000000000000",
            ),
            ("too many ciphers", check(&[1; CIPHERS_MAX + 1], &[], &[]), ""),
            ("too many extensions", check(&[], &[1; EXTENSIONS_MAX + 1], &[]), ""),
        ];
        for (name, got, expected) in cases {
            assert_eq!(got, expected, "{name}");
        }
        let most = check(&[1; CIPHERS_MAX], &[1; EXTENSIONS_MAX], &[]);
        assert!(most.starts_with("t13i9999h2_"), "{most}");
    }

    fn reversed(list: &[u16]) -> Vec<u16> {
        list.iter().rev().copied().collect()
    }

    #[test]
    fn protocol_characters() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "00"),
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"h", "hh"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
            (b"0\xab\xcd1", "01"),
        ];
        for (protocol, expected) in cases {
            assert_eq!(alpn(protocol), expected.as_bytes(), "{protocol:x?}");
        }
    }

    #[test]
    fn versions() {
        let cases = [
            (0x0304, "13"),
            (0x0303, "12"),
            (0x0302, "11"),
            (0x0301, "10"),
            (0x0300, "s3"),
            (0x0002, "s2"),
            (0xfeff, "d1"),
            (0xfefd, "d2"),
            (0xfefc, "d3"),
            (0x7f1c, "00"),
        ];
        for (wire, expected) in cases {
            assert_eq!(version(wire), expected.as_bytes(), "{wire:04x}");
        }
    }

    #[test]
    fn grease_values() {
        let all: Vec<u16> = (0..=u16::MAX).filter(|&v| is_grease(v)).collect();
        assert_eq!(all.len(), 16);
        assert_eq!((all[0], all[1], all[15]), (0x0a0a, 0x1a1a, 0xfafa));
    }
}
