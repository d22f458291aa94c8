//! Keys that protect a client's Initial packets, and the opening of one packet with them.
//!
//! In: the scheme, the destination connection id of the client's first Initial, a whole packet.
//! Out: the frames of the packet in clear, in a buffer of the caller's.
//! Never: gives out a byte that was not authenticated; derives keys of the server or of later levels.
//! Limits: none of its own; the caller bounds how often it asks.
//! Source: RFC 9001 §5.2 (keys), §5.3 (nonce), §5.4 (header protection); RFC 9369 §3.3 (version 2);
//! draft-ietf-quic-tls-21, -23, -29, -33 §5.2 (salts).

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
        let initial = salted(scheme).chain_update(dcid).finalize().into_bytes();
        let client = keyed(&expand(&keyed(&initial), CLIENT_IN));
        let (key, iv, hp) =
            if scheme == Scheme::V2 { (KEY_2, IV_2, HP_2) } else { (KEY, IV, HP) };
        Self {
            payload: AesGcm::new(&Array(front(expand(&client, key)))),
            iv: front(expand(&client, iv)),
            header: Aes128Enc::new(&Array(front(expand(&client, hp)))),
        }
    }

    /// Frames of `packet`, which ends with its tag and whose packet number starts at `number_at`;
    /// `None` if these keys do not authenticate it. `buffer` is overwritten.
    pub(super) fn open<'b>(
        &self,
        packet: &[u8],
        number_at: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]> {
        buffer.clear();
        buffer.extend_from_slice(packet);
        let sample = buffer.get(number_at.checked_add(SAMPLE_AT)?..)?.first_chunk::<BLOCK>()?;
        let mut mask = Array(*sample);
        self.header.encrypt_block(&mut mask);
        let Array([mask_first, mask_number @ ..]) = mask;

        let first = buffer.first_mut()?;
        *first ^= mask_first & 0x0f;
        let number_bytes = usize::from(*first & 3).checked_add(1)?;
        let (header, payload) = buffer.split_at_mut_checked(number_at.checked_add(number_bytes)?)?;
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
        Some(text)
    }
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
