//! TLS over TCP: what the handshake says in clear.
//!
//! In: the bytes of both directions in order; or one hello message on its own (QUIC, DTLS).
//! Out: the client's hello (server name, ALPN, versions, fingerprint, ECH), the version that the
//! server chose, and, if the client named nobody, the names in the server's certificate.
//! Never: keeps randoms, keys, session ids, tickets or application data; reads a client's
//! certificate.
//! Limits: [`MESSAGE_MAX`], [`PASSED_MAX`], [`CERTIFICATE_NAMES_MAX`], [`ALPN_MAX`], those of
//! [`ja4`]. A record in one slice is read in place; a message that spans records is copied.
//! Source: RFC 8446 §4 and §5.1, RFC 5246 §6.2.1 and §7.4.2, RFC 6066 §3 (names), RFC 7301 §3.1
//! (ALPN), RFC 9849 §5 (ECH), RFC 9147 §5.2 (DTLS header), RFC 5280 §4.2.1.6 (certificate names).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;

use tls_parser::{TlsMessageHandshake, parse_tls_handshake_msg_server_hello};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

use super::ja4::{self, JA4_LEN, is_grease, values};
use super::{ClientHello, EchOuter, HelloTransport, Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Longest handshake message read, in bytes with its header. A hello with two post-quantum
/// shares has 2.5 KiB, a certificate chain up to 20 KiB; common servers refuse beyond 64 KiB.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Bytes of records other than handshake that a side may send while its next message is waited
/// for. Early data is at most 16 KiB with common servers (`max_early_data_size`); four times that
/// and no answer means that the answer will not be seen.
pub const PASSED_MAX: usize = 64 * 1024;

/// Certificate names reported at most: the first ones are the owner's, shared certificates of
/// content networks go on for a hundred.
pub const CERTIFICATE_NAMES_MAX: usize = 16;

/// Room for the joined ALPN protocols, in bytes. Browsers offer 11; all that IANA lists for HTTP
/// take 30.
pub const ALPN_MAX: usize = 64;

/// Longest fragment of a record: 2^14 and what RFC 5246 §6.2.3 allows encryption to add.
const FRAGMENT_MAX: usize = (1 << 14) + 2048;

/// Bytes of a record header: type, version, length.
const RECORD_HEADER: usize = 5;

/// Record types, RFC 8446 §5.1; heartbeat is RFC 6520.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// Bytes of a handshake header: type and 24-bit length, RFC 8446 §4.
const MESSAGE_HEADER: usize = 4;

/// Handshake types, RFC 8446 §4.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;

/// TLS 1.3; from here on the server's certificate is encrypted.
const TLS13: u16 = 0x0304;

/// `random` of a `ServerHello` that asks for another hello, RFC 8446 §4.1.3.
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extension types, IANA "TLS `ExtensionType` Values".
const SERVER_NAME: u16 = 0x0000;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const SUPPORTED_VERSIONS: u16 = 0x002b;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// Longest `legacy_session_id`, RFC 8446 §4.1.2.
const SESSION_ID_MAX: u8 = 32;

/// Bytes of the shortest `ClientHello` or `ServerHello` without its header: version, random and
/// four bytes for the shortest lists.
const HELLO_MIN: usize = 38;

/// Reads the clear part of a TLS connection.
///
/// Who is client and who is server follows from the hellos, not from who opened the connection:
/// in FTP's active mode the server does.
#[derive(Debug, Default)]
pub struct Tls {
    sides: [Side; 2],
    /// A `ClientHello` was reported.
    hello: bool,
    /// Digest of the name in the last `ClientHello` that had one.
    name: Option<u64>,
    /// The server's final hello was seen.
    answered: bool,
}

/// What is known of one direction.
#[derive(Debug, Default)]
struct Side {
    role: Role,
    /// Nothing more is wanted from this side.
    over: bool,
    /// Beginning of a handshake message that spans records.
    held: Vec<u8>,
    /// Bytes of other records, see [`PASSED_MAX`].
    passed: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Unknown,
    Client,
    Server,
}

/// What one look at the front of a slice came to.
enum Step {
    /// This many bytes are through.
    Next(usize),
    /// This many bytes, counted from the front, have to be there first.
    Need(usize),
    /// The header is through, the fragment of this length need not be shown.
    Skip(usize),
}

impl StreamParser for Tls {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut rest = bytes;
        let then = loop {
            if self.side(from).over {
                break self.settled();
            }
            match self.step(from, rest, out) {
                Ok(Step::Next(n)) => rest = rest.get(n..).unwrap_or_default(),
                Ok(Step::Need(n)) => break Then::Need(n),
                Ok(Step::Skip(n)) => {
                    rest = rest.get(RECORD_HEADER..).unwrap_or_default();
                    break Then::Skip(n as u64);
                }
                Err(error) => break self.broken(from, error),
            }
        };
        Turn { consumed: bytes.len().saturating_sub(rest.len()), then }
    }

    fn cut(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) {
        if self.side(from).over {
            return;
        }
        if let Some((&header, behind)) = bytes.split_first_chunk()
            && let Ok((HANDSHAKE, length)) = record(header)
        {
            let there = behind.get(..length).unwrap_or(behind);
            let _ = self.handshake(from, there, out); // no more is to come that it could break
        }
        let held = mem::take(&mut self.side(from).held);
        self.salvage(from, &held, out);
        self.side(from).over = true;
    }

    /// A side with a hole is through: where the next record begins is not known. The other one
    /// may still say something.
    fn gap(&mut self, from: Direction) -> bool {
        self.side(from).over = true;
        self.side(from).held = Vec::new();
        !self.side(from.reverse()).over
    }
}

impl Tls {
    fn side(&mut self, from: Direction) -> &mut Side {
        let [up, down] = &mut self.sides;
        match from {
            Direction::Up => up,
            Direction::Down => down,
        }
    }

    /// What is wanted once a side is over.
    fn settled(&self) -> Then {
        if self.sides.iter().all(|s| s.over) { Then::Done } else { Then::Deaf }
    }

    /// A side that breaks after hellos were read ends alone, so that the other one is heard out.
    fn broken(&mut self, from: Direction, error: ParseError) -> Then {
        self.side(from).over = true;
        if !self.side(from.reverse()).over && (self.hello || self.answered) {
            return Then::Deaf;
        }
        Then::NotThis(error)
    }

    fn step(&mut self, from: Direction, rest: &[u8], out: &mut Out<'_>) -> Parsed<Step> {
        let Some((&header, behind)) = rest.split_first_chunk() else {
            return Ok(Step::Need(RECORD_HEADER));
        };
        if self.side(from).role == Role::Unknown && sslv2_hello(header) {
            out(Metadata::Anomaly("sslv2_hello"));
            self.sides.iter_mut().for_each(|s| s.over = true);
            return Ok(Step::Next(0));
        }
        let (kind, length) = record(header)?;
        let whole = RECORD_HEADER.saturating_add(length);
        let fragment = behind.get(..length);
        if kind == HANDSHAKE && length > 0 {
            let Some(fragment) = fragment else { return Ok(Step::Need(whole)) };
            self.handshake(from, fragment, out)?;
            return Ok(Step::Next(whole));
        }
        self.pass(from, kind, whole);
        Ok(if fragment.is_some() { Step::Next(whole) } else { Step::Skip(length) })
    }

    /// A record that carries no handshake message: what it says about those to come.
    fn pass(&mut self, from: Direction, kind: u8, whole: usize) {
        let answered = self.answered;
        let side = self.side(from);
        side.passed = side.passed.saturating_add(whole);
        // Behind its final hello, a server's next record of these kinds begins the encryption.
        let encrypts = side.role == Role::Server && answered && kind != ALERT;
        side.over |= encrypts || side.passed > PASSED_MAX;
        if kind == APPLICATION_DATA && side.role == Role::Unknown {
            side.over = true; // seen from the middle on: hellos come first or not at all
            let other = self.side(from.reverse());
            other.over |= other.role == Role::Unknown;
        }
    }

    /// The fragment of a handshake record: part of a message, or several.
    fn handshake(&mut self, from: Direction, fragment: &[u8], out: &mut Out<'_>) -> Parsed<()> {
        let mut held = mem::take(&mut self.side(from).held);
        if held.is_empty() {
            let left = self.messages(from, fragment, out)?;
            held.extend_from_slice(left);
        } else {
            held.extend_from_slice(fragment);
            let left = self.messages(from, &held, out)?.len();
            held.drain(..held.len().saturating_sub(left));
        }
        if !self.side(from).over {
            self.side(from).held = held;
        }
        Ok(())
    }

    /// Reads whole messages and returns what is left of `bytes`.
    fn messages<'b>(
        &mut self,
        from: Direction,
        bytes: &'b [u8],
        out: &mut Out<'_>,
    ) -> Parsed<&'b [u8]> {
        let mut rest = bytes;
        while !self.side(from).over {
            let Some(&kind) = rest.first() else { break };
            if !self.wants(from, kind)? {
                self.side(from).over = true;
                break;
            }
            let read = wanted(rest).and_then(|length| match rest.split_at_checked(length) {
                Some((message, behind)) => self.message(from, message, out).map(|()| Some(behind)),
                None => Ok(None),
            });
            match read {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => break,
                Err(error) => {
                    self.salvage(from, rest, out);
                    return Err(error);
                }
            }
        }
        Ok(rest)
    }

    /// Whether a message of this type is worth waiting for. Whatever else comes ends the side:
    /// it is ciphertext, a client's key exchange, or a server's message behind the certificate.
    fn wants(&mut self, from: Direction, kind: u8) -> Parsed<bool> {
        match (self.side(from).role, kind) {
            (Role::Unknown, CLIENT_HELLO | SERVER_HELLO) | (Role::Client, CLIENT_HELLO) => Ok(true),
            (Role::Unknown, _) => Err(ParseError::invalid("msg_type")),
            (Role::Server, SERVER_HELLO) => Ok(!self.answered),
            (Role::Server, CERTIFICATE) => Ok(self.answered && self.name.is_none()),
            _ => Ok(false),
        }
    }

    fn message(&mut self, from: Direction, message: &[u8], out: &mut Out<'_>) -> Parsed<()> {
        match message.first() {
            Some(&CLIENT_HELLO) => self.client_hello(from, message, out),
            Some(&SERVER_HELLO) => self.server_hello(from, message, out),
            _ => {
                self.side(from).over = true;
                certificate_names(message, out)
            }
        }
    }

    fn client_hello(&mut self, from: Direction, message: &[u8], out: &mut Out<'_>) -> Parsed<()> {
        let mut scratch = Scratch::default();
        match client_hello(message, HelloTransport::Tls, &mut scratch) {
            Ok(hello) => self.report(from, hello, out),
            // A second one may be ciphertext that begins like a hello.
            Err(_) if self.side(from).role == Role::Client => self.side(from).over = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reports what a hello says that broke off, if a name stands in it.
    fn salvage(&mut self, from: Direction, prefix: &[u8], out: &mut Out<'_>) {
        let mut scratch = Scratch::default();
        if self.side(from).role == Role::Unknown
            && let Some(hello) = partial_hello(prefix, HelloTransport::Tls, &mut scratch)
        {
            self.report(from, hello, out);
        }
    }

    /// The first hello counts; one after a retry only if it names somebody else.
    fn report(&mut self, from: Direction, hello: ClientHello<'_>, out: &mut Out<'_>) {
        let name = hello.server_name.map(digest);
        if !self.hello || (name.is_some() && name != self.name) {
            out(Metadata::Hello(hello));
        }
        self.hello = true;
        self.name = name.or(self.name);
        let answered = self.answered;
        let side = self.side(from);
        side.role = Role::Client;
        side.over |= answered;
    }

    fn server_hello(&mut self, from: Direction, message: &[u8], out: &mut Out<'_>) -> Parsed<()> {
        let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
        let (legacy, random, block) = match parse_tls_handshake_msg_server_hello(body) {
            Ok((_, TlsMessageHandshake::ServerHello(h))) => (h.version.0, h.random, h.ext),
            Ok((_, TlsMessageHandshake::ServerHelloV13Draft18(h))) => {
                (h.version.0, h.random, h.ext)
            }
            _ => return Err(ParseError::invalid("server_hello")),
        };
        self.side(from).role = Role::Server;
        if random == HELLO_RETRY_REQUEST {
            return Ok(());
        }
        let version = extensions(block.unwrap_or_default())
            .filter_map(Result::ok)
            .find(|(kind, _)| *kind == SUPPORTED_VERSIONS)
            .and_then(|(_, body)| values(body).next())
            .unwrap_or(legacy);
        out(Metadata::ServerHello { version });
        self.answered = true;
        self.side(from).over = version >= TLS13 || self.name.is_some();
        let hello = self.hello;
        self.side(from.reverse()).over |= hello;
        Ok(())
    }
}

/// Whether a stream that begins with `bytes` is TLS: `None` until there are enough to tell, at
/// most 11. A record of another type than handshake is taken as a connection seen from the
/// middle on.
pub fn looks_like(bytes: &[u8]) -> Option<bool> {
    if bytes.first()? & 0x80 != 0 {
        return looks_like_sslv2(bytes);
    }
    let good = |(at, &byte): (usize, &u8)| match at {
        0 => (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&byte),
        1 => byte == 3,
        _ => byte <= 4,
    };
    if !bytes.iter().take(3).enumerate().all(good) {
        return Some(false);
    }
    let (&header, fragment) = bytes.split_first_chunk()?;
    match record(header) {
        Err(_) | Ok((_, 0)) => Some(false),
        Ok((HANDSHAKE, length)) => looks_like_hello(fragment, length),
        Ok((CHANGE_CIPHER_SPEC, 1)) => fragment.first().map(|&b| b == 1),
        Ok((ALERT, 2)) => fragment.first().map(|level| matches!(level, 1 | 2)),
        Ok((kind, _)) => Some(kind == APPLICATION_DATA),
    }
}

/// The same for the fragment of the first handshake record, of which `length` bytes will come.
fn looks_like_hello(fragment: &[u8], length: usize) -> Option<bool> {
    let good = |(at, &byte): (usize, &u8)| match at {
        0 => matches!(byte, CLIENT_HELLO | SERVER_HELLO),
        1 => byte == 0, // no hello that a server takes has 64 KiB
        4 => byte == 3,
        5 => byte <= 4,
        _ => true,
    };
    let telling = length.min(6);
    if !fragment.iter().take(telling).enumerate().all(good) {
        return Some(false);
    }
    if let Some(&[_, _, high, low]) = fragment.first_chunk()
        && usize::from(u16::from_be_bytes([high, low])) < HELLO_MIN
        && length >= MESSAGE_HEADER
    {
        return Some(false);
    }
    (fragment.len() >= telling).then_some(true)
}

/// The same for the hello of SSL 2.0, RFC 5246 §E.2: all its lengths have to agree.
fn looks_like_sslv2(bytes: &[u8]) -> Option<bool> {
    if bytes.get(2).is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Some(false);
    }
    let &[a, b, kind, major, minor] = bytes.first_chunk()?;
    if !sslv2_hello([a, b, kind, major, minor]) {
        return Some(false);
    }
    let mut lengths = values(bytes.get(5..11)?);
    let (ciphers, session, challenge) = (lengths.next()?, lengths.next()?, lengths.next()?);
    let sum = u32::from(ciphers).checked_add(session.into())?.checked_add(challenge.into())?;
    Some(
        ciphers > 0
            && ciphers % 3 == 0
            && matches!(session, 0 | 16)
            && (16..=32).contains(&challenge)
            && sum.checked_add(9) == Some(u32::from(u16::from_be_bytes([a & 0x7f, b]))),
    )
}

/// Length with the top bit set, type 1, version 2.0 or 3.x.
fn sslv2_hello([length, _, kind, major, minor]: [u8; RECORD_HEADER]) -> bool {
    length & 0x80 != 0 && kind == CLIENT_HELLO && ((major, minor) == (0, 2) || major == 3)
}

/// Type and fragment length of a record.
fn record([kind, major, minor, high, low]: [u8; RECORD_HEADER]) -> Parsed<(u8, usize)> {
    if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&kind) {
        return Err(ParseError::invalid("type"));
    }
    if major != 3 || minor > 4 {
        return Err(ParseError::invalid("legacy_record_version"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > FRAGMENT_MAX {
        return Err(ParseError::invalid("length"));
    }
    Ok((kind, length))
}

/// How many bytes of the message that `bytes` begins with have to be there to read it: all, or of
/// a certificate list what goes up to the end of the first one.
fn wanted(bytes: &[u8]) -> Parsed<usize> {
    let mut rest = Reader::new(bytes);
    let (Ok(kind), Ok(length)) = (rest.u8("msg_type"), rest.u24("length")) else {
        return Ok(MESSAGE_HEADER);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut whole = length.saturating_add(MESSAGE_HEADER);
    if kind == CERTIFICATE {
        let lengths = MESSAGE_HEADER.saturating_add(6);
        let first = rest.u24("certificate_list").and_then(|_| rest.u24("cert_data")).unwrap_or(0);
        whole = whole.min(usize::try_from(first).unwrap_or(usize::MAX).saturating_add(lengths));
    }
    if whole > MESSAGE_MAX {
        return Err(ParseError::limit("length"));
    }
    Ok(whole)
}

/// Reports the names of the first certificate of a Certificate message before TLS 1.3.
fn certificate_names(message: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut rest = Reader::new(message);
    rest.skip(MESSAGE_HEADER, "msg_type")?;
    rest.u24("certificate_list")?;
    let length = usize::try_from(rest.u24("cert_data")?).unwrap_or(usize::MAX);
    let der = rest.take(length, "cert_data")?;
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (_, certificate) = parser.parse(der).map_err(|_| ParseError::invalid("certificate"))?;

    let mut left = CERTIFICATE_NAMES_MAX;
    for extension in certificate.extensions() {
        if extension.oid != OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        let Ok((_, alternatives)) = SubjectAlternativeName::from_der(extension.value) else {
            continue;
        };
        for name in alternatives.general_names.iter().take(left) {
            if let GeneralName::DNSName(name) = name
                && !name.is_empty()
            {
                out(Metadata::CertificateName(name.as_bytes()));
                left = left.saturating_sub(1);
            }
        }
    }
    if left == CERTIFICATE_NAMES_MAX
        && let Some(common) = certificate.subject().iter_common_name().next()
        && !common.as_slice().is_empty()
    {
        out(Metadata::CertificateName(common.as_slice()));
    }
    Ok(())
}

/// What tells two server names apart without keeping them.
fn digest(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Room for the two texts of a hello that do not stand in the message as such.
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

/// Reads one whole `ClientHello`, `message` being the handshake message with its header of 4 bytes
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
    if message.len() > MESSAGE_MAX {
        return Err(ParseError::limit("length"));
    }
    let mut fields = Fields::default();
    fields.read(message, transport)?;
    if u32::try_from(message.len()).is_ok_and(|there| there < fields.length) {
        return Err(ParseError::short("length"));
    }
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
    Ok(fields.into_hello(transport, ja4, &mut scratch.alpn))
}

/// What a `ClientHello` that was cut or that breaks behind its name says up to there: `None` unless
/// a name stands wholly in `prefix`. The fingerprint is empty, for it needs all extensions.
pub fn partial_hello<'a>(
    prefix: &'a [u8],
    transport: HelloTransport,
    scratch: &'a mut Scratch,
) -> Option<ClientHello<'a>> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, transport);
    fields.server_name?;
    Some(fields.into_hello(transport, "", &mut scratch.alpn))
}

/// The server name of a `ClientHello` of which only `prefix` is there, if it stands wholly in it.
pub fn partial_name(prefix: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::default();
    let _ = fields.read(prefix, HelloTransport::Tls);
    fields.server_name
}

/// The parts of a hello as far as they were read, so that what precedes a fault is not lost.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    length: u32,
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
        let (length, mut rest) = body(message, transport)?;
        self.length = length;
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
            length: self.length,
        }
    }
}

/// Length that the message claims to have, and a reader over its body: no further than it says,
/// and no further than the bytes are there.
fn body(message: &[u8], transport: HelloTransport) -> Parsed<(u32, Reader<'_>)> {
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
    let length = usize::try_from(declared).unwrap_or(usize::MAX);
    let header = u32::try_from(message.len().saturating_sub(rest.len())).unwrap_or(0);
    let body = Reader::new(rest.rest().get(..length).unwrap_or(rest.rest()));
    Ok((declared.saturating_add(header), body))
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
