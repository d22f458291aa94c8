//! Keys that protect a client's Initial packets, and the opening of one packet with them.
//!
//! In: the scheme, the destination connection id of the client's first Initial, a whole packet.
//! Out: the frames of the packet in clear, in a buffer of the caller's.
//! Never: gives out a byte that was not authenticated; derives keys of the server or of later levels.
//! Limits: none of its own; the caller bounds how often it asks.
//! Source: RFC 9001 §5.2 (keys), §5.3 (nonce), §5.4 (header protection); RFC 9369 §3.3 (version 2);
//! draft-ietf-quic-tls-21, -23, -29, -33 §5.2 (salts).

use std::ops::Range;
use std::sync::LazyLock;

use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Octets from the start of the packet number to the sample of header protection, RFC 9001 §5.4.2.
const SAMPLE_AT: usize = 4;

/// Octets of that sample, of an AES block and of the tag behind every payload, RFC 9001 §5.3, §5.4.3.
const BLOCK: usize = 16;

/// Fewest octets from the packet number to the end of a packet: below them there is no whole sample.
pub(super) const PROTECTED_MIN: usize = SAMPLE_AT + BLOCK;

/// How a version protects its Initial packets. Versions that differ in nothing else share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Drafts 21 and 22, and the oldest mvfst.
    Draft21,
    /// Drafts 23 to 28, and most of mvfst.
    Draft23,
    /// Drafts 29 to 32.
    Draft29,
    /// Drafts 33 and 34, and RFC 9000.
    V1,
    /// RFC 9369.
    V2,
    /// Google's handshake in IETF packets.
    Q050,
    /// TLS in Google's packets, first form.
    T050,
    /// TLS in Google's packets, second form.
    T051,
}

/// Schemes and their salts.
const SALTS: [&[u8; 20]; 8] = [
    b"\x7f\xbc\xdb\x0e\x7c\x66\xbb\xe9\x19\x3a\x96\xcd\x21\x51\x9e\xbd\x7a\x02\x64\x4a",
    b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02",
    b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99",
    b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
    b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
    b"\x50\x45\x74\xef\xd0\x66\xfe\x2f\x9d\x94\x5c\xfc\xdb\xd3\xa7\xf0\xd3\xb5\x6b\x45",
    b"\x7f\xf5\x79\xe5\xac\xd0\x72\x91\x55\x80\x30\x4c\x43\xa2\x36\x7c\x60\x48\x83\x10",
    b"\x7a\x4e\xde\xf4\xe7\xcc\xee\x5f\xa4\x50\x6c\x19\x12\x4f\xc8\xcc\xda\x6e\x03\x3d",
];

/// One HMAC state a salt: the first half of every extraction, done once for all.
static SALTED: LazyLock<[Hmac<Sha256>; 8]> = LazyLock::new(|| SALTS.map(|salt| keyed(salt)));

/// `HkdfLabel` (RFC 8446 §7.1) with empty context, and the counter 1 of HKDF-Expand behind it.
const CLIENT_IN: &[u8] = b"\x00\x20\x0ftls13 client in\x00\x01";
const KEY: &[u8] = b"\x00\x10\x0etls13 quic key\x00\x01";
const IV: &[u8] = b"\x00\x0c\x0dtls13 quic iv\x00\x01";
const HP: &[u8] = b"\x00\x10\x0dtls13 quic hp\x00\x01";
const KEY_2: &[u8] = b"\x00\x10\x10tls13 quicv2 key\x00\x01";
const IV_2: &[u8] = b"\x00\x0c\x0ftls13 quicv2 iv\x00\x01";
const HP_2: &[u8] = b"\x00\x10\x0ftls13 quicv2 hp\x00\x01";

/// What opens the Initial packets of one client.
pub(super) struct Keys {
    payload: AesGcm<Aes128Enc, U12>,
    iv: [u8; 12],
    header: Aes128Enc,
}

impl Keys {
    /// Keys of the client whose first Initial carried `dcid`.
    pub(super) fn derive(scheme: Scheme, dcid: &[u8]) -> Self {
        let (key, iv, hp) = material(scheme, dcid);
        Self { payload: AesGcm::new(&Array(key)), iv, header: Aes128Enc::new(&Array(hp)) }
    }

    /// Opens `packet`, which ends with its tag and whose packet number starts at `number_at`, in
    /// `buffer`: where its frames stand there, `None` if these keys do not authenticate it.
    pub(super) fn open(
        &self,
        packet: &[u8],
        number_at: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        buffer.clear();
        buffer.extend_from_slice(packet);
        let sample = buffer.get(number_at.checked_add(SAMPLE_AT)?..)?.first_chunk::<BLOCK>()?;
        let mut mask = Array(*sample);
        self.header.encrypt_block(&mut mask);
        let Array([mask_first, mask_number @ ..]) = mask;

        let first = buffer.first_mut()?;
        *first ^= mask_first & 0x0f;
        let number_bytes = usize::from(*first & 3).checked_add(1)?;
        let (header, payload) =
            buffer.split_at_mut_checked(number_at.checked_add(number_bytes)?)?;
        let mut nonce = self.iv;
        let number = header.get_mut(number_at..)?;
        for (octet, mask) in number.iter_mut().zip(mask_number) {
            *octet ^= mask;
        }
        // The number's octets stand at the end of a 12-byte integer, RFC 9001 §5.3.
        for (octet, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *octet ^= number;
        }
        let (text, tag) = payload.split_last_chunk_mut::<BLOCK>()?;
        self.payload
            .decrypt_inout_detached(&Array(nonce), header, (&mut *text).into(), &Array(*tag))
            .ok()?;
        let frames_at = header.len();
        Some(frames_at..frames_at.checked_add(text.len())?)
    }
}

/// Key, iv and header protection key of the client.
fn material(scheme: Scheme, dcid: &[u8]) -> ([u8; 16], [u8; 12], [u8; 16]) {
    let initial = salted(scheme).chain_update(dcid).finalize().into_bytes();
    let client = keyed(&expand(&keyed(&initial), CLIENT_IN));
    let (key, iv, hp) = if scheme == Scheme::V2 { (KEY_2, IV_2, HP_2) } else { (KEY, IV, HP) };
    (front(expand(&client, key)), front(expand(&client, iv)), front(expand(&client, hp)))
}

fn salted(scheme: Scheme) -> Hmac<Sha256> {
    let [draft21, draft23, draft29, v1, v2, q050, t050, t051] = &*SALTED;
    match scheme {
        Scheme::Draft21 => draft21,
        Scheme::Draft23 => draft23,
        Scheme::Draft29 => draft29,
        Scheme::V1 => v1,
        Scheme::V2 => v2,
        Scheme::Q050 => q050,
        Scheme::T050 => t050,
        Scheme::T051 => t051,
    }
    .clone()
}

/// HMAC state under a key of at most a block, which HMAC pads with zeros (RFC 2104 §2).
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&Array(block))
}

/// HKDF-Expand-Label of one hash length: one HMAC, since no Initial secret is longer.
fn expand(secret: &Hmac<Sha256>, label: &[u8]) -> [u8; 32] {
    secret.clone().chain_update(label).finalize().into_bytes().0
}

/// First octets of a hash.
fn front<const N: usize>(hash: [u8; 32]) -> [u8; N] {
    let mut head = [0; N];
    for (to, from) in head.iter_mut().zip(hash) {
        *to = from;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::super::forge::{self, Initial, unhex};
    use super::*;

    const DCID: &[u8] = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";

    /// The CRYPTO frame of RFC 9001 §A.2.
    const CRYPTO_FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868\
        04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578616d706c652e636f6dff0100\
        0100000a00080006001d0017001800100007000504616c706e00050005010000000000330026002400\
        1d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d\
        0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff\
        05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

    #[test]
    fn keys_and_packets_of_the_specifications() {
        // RFC 9001 §A.1 and §A.2, RFC 9369 §A.1 and §A.2: keys; start and tag of the packet.
        let table = [
            (
                "version 1",
                Scheme::V1,
                forge::V1,
                "1f369613dd76d5467730efcbe3b1a22d",
                "fa044b2f42a3fd3b46fb255c",
                "9f50449e04a0e810283a1e9933adedd2",
                "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
                "e221af44860018ab0856972e194cd934",
            ),
            (
                "version 2",
                Scheme::V2,
                forge::V2,
                "8b1a0bc121284290a29e0971b5cd045d",
                "91f73e2351d8fa91660e909f",
                "45b95e15235d6f45a6b19cbcb0294ba9",
                "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071",
                "a18b2faa745b6fe189cf772a9f84cbfc",
            ),
        ];
        for (name, scheme, version, key, iv, hp, head, tag) in table {
            let (k, i, h) = material(scheme, DCID);
            assert_eq!((&k[..], &i[..], &h[..]), (&unhex(key)[..], &unhex(iv)[..], &unhex(hp)[..]));

            let frames = unhex(CRYPTO_FRAME);
            let plan = Initial::new(version, DCID, &frames);
            let packet = Initial { scid: b"", number: 2, number_bytes: 4, ..plan }.seal();
            assert_eq!(packet.len(), 1200, "{name}");
            assert!(packet.starts_with(&unhex(head)), "{name}");
            assert!(packet.ends_with(&unhex(tag)), "{name}");

            let mut buffer = Vec::new();
            let range = Keys::derive(scheme, DCID).open(&packet, 18, &mut buffer).unwrap();
            assert!(buffer[range.clone()].starts_with(&frames), "{name}");
            assert_eq!(range, 22..1184, "{name}");
        }
    }

    #[test]
    fn no_bit_may_differ() {
        let packet = Initial { packet_bytes: 60, ..Initial::new(forge::V1, DCID, b"\x01") }.seal();
        let keys = Keys::derive(Scheme::V1, DCID);
        let number_at = 22;
        let mut buffer = Vec::new();
        assert!(keys.open(&packet, number_at, &mut buffer).is_some());
        for bit in 0..8 * packet.len() {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open(&changed, number_at, &mut buffer), None, "bit {bit}");
        }
        for end in 0..packet.len() {
            assert_eq!(keys.open(&packet[..end], number_at, &mut buffer), None, "cut at {end}");
        }
        for (name, other) in [
            ("another id", Keys::derive(Scheme::V1, b"\x83\x94\xc8\xf0\x3e\x51\x57\x09")),
            ("another scheme", Keys::derive(Scheme::Draft29, DCID)),
        ] {
            assert_eq!(other.open(&packet, number_at, &mut buffer), None, "{name}");
        }
    }

    #[test]
    fn packet_numbers_of_every_length() {
        for number_bytes in 1_usize..=4 {
            let number = 0x0102_0304 >> (8 * (4 - number_bytes));
            let plan = Initial::new(forge::DRAFT_29, DCID, b"\x01\x01");
            let packet = Initial { number, number_bytes, scid: b"", ..plan }.seal();
            let keys = Keys::derive(Scheme::Draft29, DCID);
            let mut buffer = Vec::new();
            let range = keys.open(&packet, 18, &mut buffer).expect("opens");
            assert_eq!(buffer[range][..3], [1, 1, 0], "{number_bytes}");
        }
    }
}
