//! Makes client Initial packets, for tests and benches: the other half of what the parser undoes,
//! written apart from it so that an error would have to be made twice.
//!
//! In: what a packet shall carry. Out: its bytes. Never: runs in the sensor. Limits: none.
//! Source: RFC 9001 §5, RFC 9000 §17.2.2, RFC 9369 §3.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{Aead, Payload};
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub const V1: u32 = 1;
pub const V2: u32 = 0x6b33_43cf;
pub const DRAFT_29: u32 = 0xff00_001d;
pub const Q050: u32 = 0x5130_3530;
pub const T051: u32 = 0x5430_3531;

/// An Initial packet to be.
#[derive(Clone, Debug)]
pub struct Initial<'a> {
    pub version: u32,
    /// Id that the keys come from.
    pub first_dcid: &'a [u8],
    pub dcid: &'a [u8],
    pub scid: &'a [u8],
    pub token: &'a [u8],
    pub number: u32,
    /// 1 to 4.
    pub number_bytes: usize,
    pub frames: &'a [u8],
    /// The payload is filled up with PADDING to have the packet this long.
    pub packet_bytes: usize,
}

impl<'a> Initial<'a> {
    pub fn new(version: u32, dcid: &'a [u8], frames: &'a [u8]) -> Self {
        Self {
            version,
            first_dcid: dcid,
            dcid,
            scid: b"scid",
            token: b"",
            number: 0,
            number_bytes: 1,
            frames,
            packet_bytes: 1200,
        }
    }

    pub fn seal(&self) -> Vec<u8> {
        let kind = u8::from(self.version == V2);
        let mut packet = vec![0xc0 | kind << 4 | u8::try_from(self.number_bytes - 1).unwrap()];
        packet.extend(self.version.to_be_bytes());
        for id in [self.dcid, self.scid] {
            packet.push(u8::try_from(id.len()).unwrap());
            packet.extend(id);
        }
        packet.extend(varint(self.token.len()));
        packet.extend(self.token);
        let number_at = packet.len() + 2;
        let least = 20_usize.saturating_sub(self.number_bytes + 16);
        let room = self.packet_bytes.saturating_sub(number_at + self.number_bytes + 16);
        let mut text = self.frames.to_vec();
        text.resize(text.len().max(room).max(least), 0);
        let length = u16::try_from(self.number_bytes + text.len() + 16).unwrap();
        packet.extend((length | 0x4000).to_be_bytes());
        packet.extend(&self.number.to_be_bytes()[4 - self.number_bytes..]);

        let (key, mut iv, hp) = keys(self.version, self.first_dcid);
        for (octet, number) in iv[8..].iter_mut().zip(self.number.to_be_bytes()) {
            *octet ^= number;
        }
        let cipher = Aes128Gcm::new(&Array(key));
        let sealed = cipher.encrypt(&Array(iv), Payload { msg: &text, aad: &packet }).unwrap();
        packet.extend(sealed);

        let mut mask: [u8; 16] = packet[number_at + 4..number_at + 20].try_into().unwrap();
        let mut block = Array(mask);
        Aes128::new(&Array(hp)).encrypt_block(&mut block);
        mask.copy_from_slice(&block);
        packet[0] ^= mask[0] & 0x0f;
        for i in 0..self.number_bytes {
            packet[number_at + i] ^= mask[1 + i];
        }
        packet
    }
}

/// Key, iv and header protection key of a client.
pub fn keys(version: u32, dcid: &[u8]) -> ([u8; 16], [u8; 12], [u8; 16]) {
    let (salt, label) = match version {
        V1 => ("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic"),
        V2 => ("0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2"),
        DRAFT_29 => ("afbfec289993d24c9e9786f19c6111e04390a899", "quic"),
        Q050 => ("504574efd066fe2f9d945cfcdbd3a7f0d3b56b45", "quic"),
        T051 => ("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d", "quic"),
        other => panic!("no salt for {other:08x}"),
    };
    let secret = expand(&hmac(&unhex(salt), dcid), "client in", 32);
    let part = |name, bytes| expand(&secret, &format!("{label} {name}"), bytes);
    let array = "asked for this many";
    (
        part("key", 16).try_into().expect(array),
        part("iv", 12).try_into().expect(array),
        part("hp", 16).try_into().expect(array),
    )
}

fn expand(secret: &[u8], label: &str, bytes: u8) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let mut info = vec![0, bytes, u8::try_from(label.len()).unwrap()];
    info.extend(label.as_bytes());
    info.extend([0, 1]);
    hmac(secret, &info)[..usize::from(bytes)].to_vec()
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// CRYPTO frame.
pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [&[0x06], &varint(offset)[..], &varint(data.len()), data].concat()
}

/// Variable-length integer of up to 4 bytes.
pub fn varint(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).unwrap();
    match value {
        0..0x40 => vec![u8::try_from(value).unwrap()],
        0x40..0x4000 => u16::try_from(value | 0x4000).unwrap().to_be_bytes().to_vec(),
        _ => (value | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

/// TLS hello for `name` with `extra` bytes of a private extension in front of it, as a browser
/// that shuffles has its post-quantum key share.
pub fn client_hello(name: &str, extra: usize) -> Vec<u8> {
    let mut extensions = extension(0xfafa, &vec![0x5a; extra]);
    let length = u8::try_from(name.len()).unwrap();
    let host = [&[0, length + 3, 0, 0, length], name.as_bytes()].concat();
    extensions.extend(extension(0x0000, &host));
    extensions.extend(extension(0x0010, b"\0\x03\x02h3"));
    extensions.extend(extension(0x002b, b"\x02\x03\x04"));
    extensions.extend(extension(0x000d, b"\0\x02\x04\x03"));
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap() | 1 << 24;
    [&length.to_be_bytes()[..], &body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
