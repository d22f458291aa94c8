//! TLS ClientHello and certificates from a TCP stream.
//!
//! In: the bytes of both directions in order; or one handshake message on its own.
//! Out: what the hello says in clear (server name, ALPN, versions, fingerprint, ECH).
//! Never: keeps key shares, randoms, session ids or application data.
//! Limits: 64 KiB a handshake message.
//! Source: RFC 8446 §4.1.2, RFC 6066 §3 (names), RFC 7301 §3.1 (ALPN), RFC 9849 §5 (ECH),
//! RFC 9147 §5.2 (DTLS header), RFC 5246 §6.2.1 (records).

use super::ja4::{self, JA4_LEN, is_grease, values};
use super::{ClientHello, EchOuter, HelloTransport};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Longest handshake message read, in bytes with its header. A hello with two post-quantum
/// shares has 2.5 KiB, a certificate chain up to 20 KiB; 64 KiB is where common servers refuse.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Room for the joined ALPN protocols, in bytes. Browsers offer 11, all registered names of
/// HTTP together 30.
pub const ALPN_MAX: usize = 64;

/// Handshake types, RFC 8446 §4.
const CLIENT_HELLO: u8 = 1;

/// Extension types, IANA "TLS ExtensionType Values".
const SERVER_NAME: u16 = 0x0000;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const SUPPORTED_VERSIONS: u16 = 0x002b;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// Longest `legacy_session_id`, RFC 8446 §4.1.2.
const SESSION_ID_MAX: u8 = 32;

/// Room for the two texts of a [`ClientHello`] that do not stand in the message as such.
#[derive(Clone, Debug)]
pub struct Scratch {
    alpn: [u8; ALPN_MAX],
    ja4: [u8; JA4_LEN],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { alpn: [0; ALPN_MAX], ja4: [0; JA4_LEN] }
    }
}

/// Reads one whole ClientHello, `message` being the handshake message with its header of 4 bytes
/// (12 for DTLS, not fragmented).
///
/// Only the framing of the message can be wrong: an extension whose inside does not read counts as
/// present and empty, since servers that do not know it accept it too.
///
/// # Errors
/// `Short` or `Invalid` if the lengths contradict each other, `Limit` beyond [`MESSAGE_MAX`]. A
/// name may have been whole nonetheless: see [`partial_hello`].
pub fn client_hello<'a>(
    message: &'a [u8],
    transport: HelloTransport,
    scratch: &'a mut Scratch,
) -> Parsed<ClientHello<'a>> {
    let mut fields = Fields::default();
    fields.read(message, transport)?;
    let ja4 = ja4::ja4(
        ja4::Offer {
            transport,
            version: fields.version,
            alpn: protocols(fields.alpn).next().unwrap_or_default(),
            ciphers: fields.ciphers,
            extensions: extensions(fields.extensions).filter_map(|e| e.ok().map(|e| e.0)),
            signatures: fields.signatures,
        },
        &mut scratch.ja4,
    );
    Ok(fields.into_hello(message, transport, ja4, &mut scratch.alpn))
}

/// What a ClientHello that was cut or that breaks behind its name says up to there: `None` unless
/// a name stands wholly in `prefix`. The fingerprint is empty, for it needs all extensions.
pub fn partial_hello<'a>(
    prefix: &'a [u8],
    transport: HelloTransport,
    scratch: &'a mut Scratch,
) -> Option<ClientHello<'a>> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, transport);
    fields.server_name?;
    Some(fields.into_hello(prefix, transport, "", &mut scratch.alpn))
}

/// The server name of a ClientHello of which only `prefix` is there, if it stands wholly in it.
pub fn partial_name(prefix: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, HelloTransport::Tls);
    fields.server_name
}

/// The parts of a hello as far as they were read, so that what precedes a fault is not lost.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    version: u16,
    ciphers: &'a [u8],
    extensions: &'a [u8],
    server_name: Option<&'a [u8]>,
    alpn: &'a [u8],
    signatures: &'a [u8],
    ech: Option<EchOuter>,
    esni: bool,
    grease: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, message: &'a [u8], transport: HelloTransport) -> Parsed<()> {
        let mut rest = body(message, transport)?;
        self.version = rest.u16("legacy_version")?;
        rest.skip(32, "random")?;
        let session_id = rest.u8("legacy_session_id")?;
        if session_id > SESSION_ID_MAX {
            return Err(ParseError::invalid("legacy_session_id"));
        }
        rest.skip(session_id.into(), "legacy_session_id")?;
        if transport == HelloTransport::Dtls {
            let cookie = rest.u8("cookie")?;
            rest.skip(cookie.into(), "cookie")?;
        }
        let ciphers = rest.u16("cipher_suites")?;
        if ciphers % 2 != 0 {
            return Err(ParseError::invalid("cipher_suites"));
        }
        self.ciphers = rest.take(ciphers.into(), "cipher_suites")?;
        self.grease = values(self.ciphers).any(is_grease);
        let compression = rest.u8("legacy_compression_methods")?;
        rest.skip(compression.into(), "legacy_compression_methods")?;
        if rest.is_empty() {
            return Ok(()); // before TLS 1.3 the extensions may be absent as a whole
        }
        let length = usize::from(rest.u16("extensions")?);
        self.extensions = rest.rest().get(..length).unwrap_or(rest.rest());
        for extension in extensions(self.extensions) {
            let (kind, body) = extension?;
            self.extension(kind, body, transport);
        }
        match rest.len() {
            there if there < length => Err(ParseError::short("extensions")),
            there if there > length => Err(ParseError::invalid("extensions")),
            _ => Ok(()),
        }
    }

    fn extension(&mut self, kind: u16, body: &'a [u8], transport: HelloTransport) {
        self.grease |= is_grease(kind);
        match kind {
            SERVER_NAME => self.server_name = self.server_name.or_else(|| host_name(body)),
            ALPN => self.alpn = vector16(body),
            SIGNATURE_ALGORITHMS => self.signatures = vector16(body),
            SUPPORTED_VERSIONS => {
                self.version = highest(body, transport).unwrap_or(self.version);
            }
            ENCRYPTED_CLIENT_HELLO => self.ech = ech_outer(body).ok().flatten(),
            ENCRYPTED_SERVER_NAME => self.esni = true,
            _ => {}
        }
    }

    fn into_hello(
        self,
        message: &'a [u8],
        transport: HelloTransport,
        ja4: &'a str,
        alpn: &'a mut [u8; ALPN_MAX],
    ) -> ClientHello<'a> {
        ClientHello {
            transport,
            server_name: self.server_name,
            alpn: joined(self.alpn, alpn),
            version: self.version,
            ja4,
            ech: self.ech,
            esni: self.esni,
            grease: self.grease,
            length: u32::try_from(message.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A reader over the body of the hello: no further than the message says, and no further than the
/// bytes are there.
fn body(message: &[u8], transport: HelloTransport) -> Parsed<Reader<'_>> {
    let mut rest = Reader::new(message);
    if rest.u8("msg_type")? != CLIENT_HELLO {
        return Err(ParseError::invalid("msg_type"));
    }
    let declared = rest.u24("length")?;
    if transport == HelloTransport::Dtls {
        rest.skip(2, "message_seq")?;
        let offset = rest.u24("fragment_offset")?;
        if offset != 0 || rest.u24("fragment_length")? != declared {
            return Err(ParseError::invalid("fragment_offset"));
        }
    }
    let declared = usize::try_from(declared).unwrap_or(usize::MAX);
    if declared > MESSAGE_MAX {
        return Err(ParseError::limit("length"));
    }
    Ok(Reader::new(rest.rest().get(..declared).unwrap_or(rest.rest())))
}

/// Type and body of each extension; an error ends it.
fn extensions(block: &[u8]) -> impl Iterator<Item = Parsed<(u16, &[u8])>> {
    let mut rest = Reader::new(block);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || rest.is_empty() {
            return None;
        }
        let one = extension(&mut rest);
        broken = one.is_err();
        Some(one)
    })
}

fn extension<'a>(rest: &mut Reader<'a>) -> Parsed<(u16, &'a [u8])> {
    let kind = rest.u16("extension_type")?;
    let length = rest.u16("extension_data")?;
    Ok((kind, rest.take(length.into(), "extension_data")?))
}

/// What a vector with a 16-bit length holds; empty if the length lies.
fn vector16(body: &[u8]) -> &[u8] {
    let mut rest = Reader::new(body);
    rest.u16("length").and_then(|n| rest.take(n.into(), "vector")).unwrap_or_default()
}

/// First `host_name` of a `ServerNameList` that is not empty, RFC 6066 §3.
fn host_name(body: &[u8]) -> Option<&[u8]> {
    let mut list = Reader::new(vector16(body));
    while let Ok(kind) = list.u8("name_type") {
        let length = list.u16("host_name").ok()?;
        let name = list.take(length.into(), "host_name").ok()?;
        if kind == 0 {
            return Some(name).filter(|n| !n.is_empty());
        }
    }
    None
}

/// Highest version of `supported_versions` (RFC 8446 §4.2.1); DTLS counts downwards.
fn highest(body: &[u8], transport: HelloTransport) -> Option<u16> {
    let offered = values(body.get(1..)?).filter(|&v| !is_grease(v));
    match transport {
        HelloTransport::Dtls => offered.min(),
        HelloTransport::Tls | HelloTransport::Quic => offered.max(),
    }
}

/// The outer form of `encrypted_client_hello`; `None` for the inner one.
fn ech_outer(body: &[u8]) -> Parsed<Option<EchOuter>> {
    let mut rest = Reader::new(body);
    if rest.u8("ech_type")? != 0 {
        return Ok(None);
    }
    let kdf = rest.u16("kdf_id")?;
    let aead = rest.u16("aead_id")?;
    let config_id = rest.u8("config_id")?;
    let enc_bytes = rest.u16("enc")?;
    rest.skip(enc_bytes.into(), "enc")?;
    let payload_bytes = rest.u16("payload")?;
    rest.skip(payload_bytes.into(), "payload")?;
    Ok(Some(EchOuter { config_id, kdf, aead, enc_bytes, payload_bytes }))
}

/// The names of a `ProtocolNameList` without its length, RFC 7301 §3.1.
fn protocols(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Reader::new(list);
    std::iter::from_fn(move || {
        let length = rest.u8("protocol_name").ok()?;
        rest.take(length.into(), "protocol_name").ok()
    })
}

/// Joins whole protocol names by commas as far as they fit; bytes that are not printable ASCII, or
/// are a comma, become `?`.
fn joined<'t>(list: &[u8], text: &'t mut [u8; ALPN_MAX]) -> &'t str {
    let mut used = 0_usize;
    for name in protocols(list) {
        let start = if used == 0 { 0 } else { used.saturating_add(1) };
        let end = start.saturating_add(name.len());
        let Some(room) = text.get_mut(start..end) else { break };
        for (to, &from) in room.iter_mut().zip(name) {
            *to = if from.is_ascii_graphic() && from != b',' { from } else { b'?' };
        }
        if start > used
            && let Some(comma) = text.get_mut(used)
        {
            *comma = b',';
        }
        used = end;
    }
    std::str::from_utf8(text.get(..used).unwrap_or_default()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_hello_with_a_name() {
        let mut m = vec![1, 0, 0, 0, 3, 3];
        m.extend([7; 32]);
        m.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        m.extend([0, 21, 0, 0, 0, 17, 0, 15, 0, 0, 12]);
        m.extend(b"chat.example");
        m[3] = u8::try_from(m.len() - 4).unwrap();
        let mut scratch = Scratch::default();
        let hello = client_hello(&m, HelloTransport::Tls, &mut scratch).unwrap();
        assert_eq!(hello.server_name, Some(&b"chat.example"[..]));
        assert!(hello.ja4.starts_with("t12d010100_"), "{}", hello.ja4);
        assert_eq!(partial_name(&m[..m.len() - 1]), None);
    }
}
