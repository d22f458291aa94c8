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
    /// What ended a side that broke.
    error: Option<ParseError>,
}

/// What is known of one direction.
#[derive(Debug, Default)]
struct Side {
    role: Role,
    /// A record has begun.
    begun: bool,
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
        if self.sides.iter().all(|s| s.over) {
            self.error.map_or(Then::Done, Then::NotThis)
        } else {
            Then::Deaf
        }
    }

    /// A side that breaks ends alone if the other one may have something to say: the server's
    /// answer to a sound hello, or a hello that has begun.
    fn broken(&mut self, from: Direction, error: ParseError) -> Then {
        self.error = self.error.or(Some(error));
        self.side(from).over = true;
        let sound = self.side(from).role != Role::Unknown;
        let other = self.side(from.reverse());
        other.over |= !sound && (other.role == Role::Client || !other.begun);
        self.settled()
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
        self.side(from).begun = true;
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
        if matches!(kind, APPLICATION_DATA | CHANGE_CIPHER_SPEC) && side.role == Role::Unknown {
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
        if !self.side(from).over && !held.is_empty() {
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
            Ok(hello) => {
                self.side(from).role = Role::Client;
                self.report(from, hello, out);
            }
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
        self.side(from).over |= answered;
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

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use tls_parser::{TlsExtension, TlsMessage, parse_tls_plaintext};

    use super::*;
    use crate::types::Direction::{Down, Up};
    use crate::watcher::protocol::Protocol;

    /// `ClientHello` of OpenSSL 3.0 for `chat.example`, offering h2 and http/1.1.
    const OPENSSL_13: &str = "\
        160301014b0100014703038fae046e80310ddde7e53530d0cca076ac3fbbc9e073c40de24f02465105d2cd204a36\
        32d53a860e1f67151a8324c637521155cb49081e110ed94896136458f663003e130213031301c02cc030009fcca9\
        cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f\
        00ff010000c000000011000f00000c636861742e6578616d706c65000b000403000102000a00160014001d001700\
        1e0019001801000101010201030104002300000010000e000c02683208687474702f312e31001600000017000000\
        0d002a0028040305030603080708080809080a080b08040805080604010501060103030301030204020502060200\
        2b0009080304030303020301002d00020101003300260024001d00209794bb405bc22daf58e844699cec2bbe85c4\
        b62fe21090f7e3e34eafb7a3221d";

    /// `ClientHello` of OpenSSL 3.0, TLS 1.2 at most and without a name.
    const OPENSSL_12: &str = "\
        16030100b7010000b3030316166a4113b2e42a0a9972db44369259660d36464a4e2bfde3d45f32a04397ab000038\
        c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c\
        003d003c0035002f00ff01000052000b000403000102000a000c000a001d0017001e001900180023000000160000\
        00170000000d002a0028040305030603080708080809080a080b0804080508060401050106010303030103020402\
        05020602";

    /// The answer to it: `ServerHello`, and a certificate with alternative names.
    const SERVER_12: &str = "\
        16030300410200003d030383193510c951f4f3155b35c986e69040522bb37603fec728229ae8b470a68e4700c02c\
        000015ff01000100000b000403000102002300000017000016030301dc0b0001d80001d50001d2308201ce308201\
        75a0030201020214605be6f5740f27984cbfd40f7da50bc993e1b06d300a06082a8648ce3d040302301a31183016\
        06035504030c0f636e2e636861742e6578616d706c65301e170d3236313132333131323430345a170d3336313132\
        303131323430345a301a3118301606035504030c0f636e2e636861742e6578616d706c653059301306072a8648ce\
        3d020106082a8648ce3d030107034200049f941c6d97a60dcb615a83429f65f84328753afc6e25a05c600a3e6d5f\
        48d7d79149489330693ca6950fa48eb12a0fd51d9b4b53ac95f990f29e1e115520bd9ba38198308195301d060355\
        1d0e04160414df5a24a24fc5c91ac8035c16038cbf7e9cc5d13e301f0603551d23041830168014df5a24a24fc5c9\
        1ac8035c16038cbf7e9cc5d13e300f0603551d130101ff040530030101ff30420603551d11043b3039820c636861\
        742e6578616d706c65820e2a2e636861742e6578616d706c658704c000020181136e6f626f647940636861742e65\
        78616d706c65300a06082a8648ce3d040302034700304402204ec292e8e42ed063f5187ad4ed1921895d480a2892\
        275eb990d8ae5c6d17885702200b1a28a8907afcceb208dbc4de14b2428f96cc357a9a9f7377bdbf9e26796173";

    /// Another, whose certificate has a common name only.
    const SERVER_12_CN: &str = "\
        16030300410200003d030351d985bb41ef78f3a84fb4535cf03382512dc6ad6ab5ebfd51666aa3a22eee2d00c02c\
        000015ff01000100000b000403000102002300000017000016030301ba0b0001b60001b30001b0308201ac308201\
        53a003020102021466c6d18d689c4d14d62f4e4a39764abab7c2b515300a06082a8648ce3d040302302c3110300e\
        060355040a0c074578616d706c653118301606035504030c0f636e2e636861742e6578616d706c65301e170d3236\
        313132333131323430345a170d3336313132303131323430345a302c3110300e060355040a0c074578616d706c65\
        3118301606035504030c0f636e2e636861742e6578616d706c653059301306072a8648ce3d020106082a8648ce3d\
        03010703420004e6863e61f2e64a9f9fd0073b41251c47ed1da5f25ca22c22641d4a70649a942a8505e41df4813e\
        29667745e25354a6359e214e5429ff3fcaea72d2d11b0cca39a3533051301d0603551d0e04160414d2feb914295a\
        f34377677e8dd93c2e6927110dcb301f0603551d23041830168014d2feb914295af34377677e8dd93c2e6927110d\
        cb300f0603551d130101ff040530030101ff300a06082a8648ce3d040302034700304402201f3b96ad0e937bfbbe\
        ddbb1f9abbc8ca555f5893471a8f19e7322641e5b12e1302204c6720298027ce7495a587ce00bd481cd3341112c7\
        afa68add41b3420aea9006";

    fn hex(text: &str) -> Vec<u8> {
        let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    fn vector(length_bytes: usize, inside: &[u8]) -> Vec<u8> {
        let length = u32::try_from(inside.len()).unwrap().to_be_bytes();
        [&length[4 - length_bytes..], inside].concat()
    }

    fn list(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_be_bytes()).collect()
    }

    /// What a test hello offers.
    #[derive(Clone, Debug)]
    pub struct Offer {
        version: u16,
        session_id: usize,
        ciphers: Vec<u16>,
        extensions: Vec<(u16, Vec<u8>)>,
    }

    impl Offer {
        pub fn new(name: &str) -> Self {
            let this = Self {
                version: 0x0303,
                session_id: 32,
                ciphers: vec![0x1301, 0x1302, 0xc02f],
                extensions: vec![],
            };
            if name.is_empty() { this } else { this.name(name) }
        }

        fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
            self.extensions.push((kind, body));
            self
        }

        fn name(self, name: &str) -> Self {
            let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
            self.with(SERVER_NAME, vector(2, &entry))
        }

        fn alpn(self, names: &[&[u8]]) -> Self {
            let names: Vec<u8> = names.iter().flat_map(|n| vector(1, n)).collect();
            self.with(ALPN, vector(2, &names))
        }

        fn versions(self, versions: &[u16]) -> Self {
            self.with(SUPPORTED_VERSIONS, vector(1, &list(versions)))
        }

        /// What a present browser adds: GREASE, a post-quantum key share of 1,216 bytes, ECH.
        pub fn browser(self) -> Self {
            let mut this = self.with(0x1a1a, vec![]);
            this.ciphers.insert(0, 0x4a4a);
            let ech = [&[0, 0, 1, 0, 1, 7][..], &vector(2, &[5; 32]), &vector(2, &[6; 144])];
            this.versions(&[0x3a3a, 0x0304, 0x0303])
                .alpn(&[b"h2", b"http/1.1"])
                .with(SIGNATURE_ALGORITHMS, vector(2, &list(&[0x0403, 0x0804, 0x0401])))
                .with(0x0033, vector(2, &[&[0x11, 0xec][..], &vector(2, &[9; 1216])].concat()))
                .with(ENCRYPTED_CLIENT_HELLO, ech.concat())
                .with(0xdada, vec![0])
        }

        pub fn message(&self) -> Vec<u8> {
            self.built(HelloTransport::Tls)
        }

        fn built(&self, transport: HelloTransport) -> Vec<u8> {
            let mut body = [&self.version.to_be_bytes()[..], &[0xaa; 32]].concat();
            body.extend(vector(1, &vec![0xbb; self.session_id]));
            if transport == HelloTransport::Dtls {
                body.extend(vector(1, &[0xcc; 20]));
            }
            body.extend(vector(2, &list(&self.ciphers)));
            body.extend([1, 0]);
            let extension = |(kind, body): &(u16, Vec<u8>)| {
                [&kind.to_be_bytes()[..], &vector(2, body)].concat()
            };
            let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
            body.extend(vector(2, &extensions));
            let mut message = [&[CLIENT_HELLO][..], &vector(3, &body)].concat();
            if transport == HelloTransport::Dtls {
                let fragment = [&[0; 5][..], &message[1..4]].concat();
                message.splice(4..4, fragment);
            }
            message
        }

        pub fn record(&self) -> Vec<u8> {
            records(&self.message(), &[])
        }
    }

    /// Splits a message into records of the given sizes, the rest into the last.
    fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut rest = message;
        let mut stream = vec![];
        for size in sizes.iter().copied().chain([1 << 14; 8]) {
            let (fragment, behind) = rest.split_at(size.min(rest.len()));
            if !fragment.is_empty() {
                stream.extend([&[HANDSHAKE, 3, 1][..], &vector(2, fragment)].concat());
            }
            rest = behind;
        }
        stream
    }

    fn record_of(kind: u8, length: usize) -> Vec<u8> {
        [&[kind, 3, 3][..], &vector(2, &vec![1; length])].concat()
    }

    pub fn server_hello(version: u16, random: [u8; 32], supported: Option<u16>) -> Vec<u8> {
        let mut body = [&version.to_be_bytes()[..], &random, &[0, 0x13, 0x01, 0]].concat();
        if let Some(version) = supported {
            let extension = [list(&[SUPPORTED_VERSIONS, 2, version])].concat();
            body.extend(vector(2, &extension));
        }
        records(&[&[SERVER_HELLO][..], &vector(3, &body)].concat(), &[])
    }

    /// Plays the part of the flow stage: holds what a parser has not consumed, honours what it
    /// wants, and writes down what it says.
    pub struct Player {
        parser: Box<dyn StreamParser>,
        held: [Vec<u8>; 2],
        need: [usize; 2],
        skip: [usize; 2],
        deaf: [bool; 2],
        pub said: Vec<String>,
        pub turns: usize,
        pub end: Option<Then>,
        /// Bytes that each direction had consumed when TLS took over.
        pub handed_over: Option<[usize; 2]>,
        consumed: [usize; 2],
    }

    impl Player {
        pub fn new(parser: impl StreamParser + 'static) -> Self {
            Self {
                parser: Box::new(parser),
                held: [vec![], vec![]],
                need: [1; 2],
                skip: [0; 2],
                deaf: [false; 2],
                said: vec![],
                turns: 0,
                end: None,
                handed_over: None,
                consumed: [0; 2],
            }
        }

        pub fn push(&mut self, from: Direction, bytes: &[u8]) {
            self.held[from.index()].extend(bytes);
            self.run(from);
        }

        fn run(&mut self, from: Direction) {
            let at = from.index();
            loop {
                let skipped = self.skip[at].min(self.held[at].len());
                self.held[at].drain(..skipped);
                self.skip[at] -= skipped;
                let there = self.held[at].len();
                if self.end.is_some() || self.deaf[at] || there == 0 || there < self.need[at] {
                    return;
                }
                self.turns += 1;
                let said = &mut self.said;
                let turn = self.parser.feed(from, &self.held[at], &mut |m| said.push(written(&m)));
                assert!(turn.consumed <= there);
                self.held[at].drain(..turn.consumed);
                self.consumed[at] += turn.consumed;
                self.need[at] = 1;
                match turn.then {
                    Then::Need(n) => {
                        assert!(n > self.held[at].len(), "asks for what it was shown");
                        self.need[at] = n;
                        return;
                    }
                    Then::Skip(n) => {
                        assert!(n > 0);
                        self.skip[at] = usize::try_from(n).unwrap();
                    }
                    Then::Deaf => self.deaf[at] = true,
                    Then::Handover(to) => {
                        assert_eq!((to, self.handed_over), (Some(Protocol::Tls), None));
                        self.handed_over = Some(self.consumed);
                        self.parser = Box::new(Tls::default());
                        self.need = [1; 2];
                        self.deaf = [false; 2];
                        self.run(Up);
                        self.run(Down);
                        return;
                    }
                    then @ (Then::Done | Then::NotThis(_)) => self.end = Some(then),
                }
            }
        }

        /// A hole in the capture.
        pub fn hole(&mut self, from: Direction) {
            self.cut(from);
            if !self.parser.gap(from) {
                self.end = Some(Then::Done);
            }
            self.held[from.index()].clear();
            self.need[from.index()] = 1;
        }

        fn cut(&mut self, from: Direction) {
            if self.end.is_none() && !self.deaf[from.index()] {
                let said = &mut self.said;
                let held = &self.held[from.index()];
                self.parser.cut(from, held, &mut |m| said.push(written(&m)));
            }
        }

        /// The end of the flow.
        pub fn ended(mut self) -> Self {
            self.cut(Up);
            self.cut(Down);
            self
        }
    }

    fn written(metadata: &Metadata<'_>) -> String {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        match metadata {
            Metadata::Hello(h) => {
                let mut line = h.server_name.map_or("-".into(), text);
                let ja4 = h.ja4.get(..10).unwrap_or(h.ja4);
                write!(line, " {:04x} [{}] {ja4}", h.version, h.alpn).unwrap();
                let flags = [(h.ech.is_some(), " ech"), (h.esni, " esni"), (h.grease, " grease")];
                line.extend(flags.iter().filter(|f| f.0).map(|f| f.1));
                line
            }
            Metadata::ServerHello { version } => format!("server {version:04x}"),
            Metadata::CertificateName(name) => format!("certificate {}", text(name)),
            Metadata::Anomaly(name) => format!("anomaly {name}"),
            other => panic!("{other:?} from TLS"),
        }
    }

    /// Plays whole turns of a conversation.
    fn play(conversation: &[(Direction, &[u8])]) -> Player {
        let mut player = Player::new(Tls::default());
        for (from, bytes) in conversation {
            player.push(*from, bytes);
        }
        player.ended()
    }

    const FINAL: [u8; 32] = [0x11; 32];

    fn read(message: &[u8], transport: HelloTransport) -> String {
        match client_hello(message, transport, &mut Scratch::default()) {
            Ok(hello) => written(&Metadata::Hello(hello)),
            Err(error) => format!("{} {:?}", error.field, error.why),
        }
    }

    #[test]
    fn reads_hellos() {
        let b = || Offer::new("chat.example");
        let none = || Offer::new("");
        let ciphers = |n| Offer { ciphers: (0..n).collect(), ..b() };
        let extensions = |n| (1..n).fold(b(), |o, kind| o.with(0x5000 + kind, vec![]));
        let entry = |kind, name: &[u8]| [&[kind][..], &vector(2, name)].concat();
        let names = |e: &[Vec<u8>]| none().with(SERVER_NAME, vector(2, &e.concat()));
        let a60 = [b'a'; 60];
        let joined = format!("chat.example 0303 [{},hh] t12d0302aa", "a".repeat(60));
        let cases: [(&str, Offer, &str); 24] = [
            ("browser", b().browser(), "chat.example 0304 [h2,http/1.1] t13d0306h2 ech grease"),
            ("ESNI", b().with(0xffce, vec![1]), "chat.example 0303 [] t12d030200 esni"),
            ("name only", b(), "chat.example 0303 [] t12d030100"),
            ("nothing", none(), "- 0303 [] t12i030000"),
            ("99 ciphers are printed of 150", ciphers(150), "chat.example 0303 [] t12d990100"),
            ("no ciphers", ciphers(0), "chat.example 0303 [] t12d000100"),
            ("too many ciphers to sort", ciphers(1_001), "chat.example 0303 [] "),
            (
                "as many extensions as are sorted",
                extensions(256),
                "chat.example 0303 [] t12d039900",
            ),
            ("too many extensions to sort", extensions(257), "chat.example 0303 [] "),
            ("empty name", names(&[entry(0, b"")]), "- 0303 [] t12d030100"),
            (
                "name behind one of another type",
                names(&[entry(1, b"x"), entry(0, b"chat.example")]),
                "chat.example 0303 [] t12d030100",
            ),
            (
                "two names",
                names(&[entry(0, b"chat.example"), entry(0, b"b.example")]),
                "chat.example 0303 [] t12d030100",
            ),
            ("name twice", b().name("b.example"), "chat.example 0303 [] t12d030200"),
            (
                "list of names that lies",
                none().with(0, vec![0, 9, 0, 0, 1, 1]),
                "- 0303 [] t12d030100",
            ),
            (
                "ALPN of odd bytes",
                b().alpn(&[b"\xab\xcd", b"a,b"]),
                "chat.example 0303 [??,a?b] t12d0302ad",
            ),
            ("ALPN with no room for the last", b().alpn(&[&a60, b"hh", b"h3"]), &joined),
            (
                "highest version",
                b().versions(&[0x0301, 0x0304, 0x0303, 0x8a8a]),
                "chat.example 0304 [] t13d030200",
            ),
            ("only GREASE as version", b().versions(&[0x8a8a]), "chat.example 0303 [] t12d030200"),
            (
                "GREASE cipher",
                Offer { ciphers: vec![0xfafa, 1], ..b() },
                "chat.example 0303 [] t12d010100 grease",
            ),
            ("inner ECH", b().with(0xfe0d, vec![1]), "chat.example 0303 [] t12d030200"),
            ("broken ECH", b().with(0xfe0d, vec![0, 1]), "chat.example 0303 [] t12d030200"),
            ("SSL 3.0", Offer { version: 0x0300, ..none() }, "- 0300 [] ts3i030000"),
            ("no session id", Offer { session_id: 0, ..b() }, "chat.example 0303 [] t12d030100"),
            ("session id too long", Offer { session_id: 33, ..b() }, "legacy_session_id Invalid"),
        ];
        for (name, offer, expected) in cases {
            assert_eq!(read(&offer.message(), HelloTransport::Tls), expected, "{name}");
        }
        for (transport, expected) in [(HelloTransport::Quic, 'q'), (HelloTransport::Dtls, 'd')] {
            let offer = Offer { version: 0xfefd, ..b() };
            let offer = if expected == 'd' { offer } else { b() };
            let head = if expected == 'd' { "fefd [] dd2" } else { "0303 [] q12" };
            let message = offer.built(transport);
            assert_eq!(read(&message, transport), format!("chat.example {head}d030100"));
        }
    }

    #[test]
    fn fingerprints_recorded_hellos() {
        let cases = [
            (OPENSSL_13, "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"),
            (OPENSSL_12, "t12i280600_d943125447b4_e7e480e5a997"),
        ];
        for (sample, expected) in cases {
            let record = hex(sample);
            let mut scratch = Scratch::default();
            let hello = client_hello(&record[5..], HelloTransport::Tls, &mut scratch).unwrap();
            assert_eq!(hello.ja4, expected);
            assert_eq!(hello.length as usize, record.len() - RECORD_HEADER);
        }
    }

    #[test]
    fn reads_the_outer_ech() {
        let message = Offer::new("public.example").browser().message();
        let mut scratch = Scratch::default();
        let hello = client_hello(&message, HelloTransport::Tls, &mut scratch).unwrap();
        let expected =
            EchOuter { config_id: 7, kdf: 1, aead: 1, enc_bytes: 32, payload_bytes: 144 };
        assert_eq!(hello.ech, Some(expected));
    }

    /// What each cut of a hello gives: nothing before the name is whole, then the name, and never
    /// an empty or shortened one.
    #[test]
    fn a_cut_hello_gives_its_name_as_soon_as_it_is_whole() {
        for offer in [Offer::new("chat.example"), Offer::new("chat.example").browser()] {
            let message = offer.message();
            let at = message.windows(12).position(|w| w == b"chat.example").unwrap();
            for end in 0..message.len() {
                let prefix = &message[..end];
                let expected = (end >= at + 12).then_some(&b"chat.example"[..]);
                assert_eq!(partial_name(prefix), expected, "{end} bytes");
                assert!(
                    client_hello(prefix, HelloTransport::Tls, &mut Scratch::default()).is_err()
                );
            }
            assert_eq!(partial_name(&message), Some(&b"chat.example"[..]));
        }
    }

    #[test]
    fn follows_conversations() {
        let named = Offer::new("chat.example").browser();
        let hello = "chat.example 0304 [h2,http/1.1] t13d0306h2 ech grease";
        let first = named.record();
        let other = Offer::new("other.example").record();
        let plain = Offer::new("chat.example").record();
        let retry = server_hello(0x0303, HELLO_RETRY_REQUEST, Some(0x0304));
        let answer = server_hello(0x0303, FINAL, Some(0x0304));
        let answer12 = server_hello(0x0303, FINAL, None);
        let ccs = &record_of(CHANGE_CIPHER_SPEC, 1)[..];
        let data = &record_of(APPLICATION_DATA, 3_000)[..];
        let alert = &record_of(ALERT, 2)[..];
        let (up12, down12, cn12) = (hex(OPENSSL_12), hex(SERVER_12), hex(SERVER_12_CN));
        let nameless = "- 0303 [] t12i280600";
        let sslv2 = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10, 0, 0, 0x35];
        let mut broken = Offer::new("chat.example").with(9, vec![0; 4]).record();
        let length = broken.len() - 5;
        broken[length] = 5; // the last extension claims a byte more than there is
        let mut huge = plain.clone();
        huge[6] = 1; // 64 KiB and more
        let joined = |parts: &[&[u8]]| parts.concat();
        let s = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let invalid = |field| Some(Then::NotThis(ParseError::invalid(field)));

        let cases: Vec<(&str, Vec<(Direction, Vec<u8>)>, Vec<String>, Option<Then>)> = vec![
            (
                "TLS 1.3",
                vec![(Up, first.clone()), (Down, joined(&[&answer, ccs, data]))],
                s(&[hello, "server 0304"]),
                Some(Then::Done),
            ),
            (
                "the server's side comes first",
                vec![(Down, answer.clone()), (Up, first.clone())],
                s(&["server 0304", hello]),
                Some(Then::Done),
            ),
            ("one-sided", vec![(Up, joined(&[&first, ccs, data]))], s(&[hello]), None),
            (
                "retry with the same name",
                vec![
                    (Up, first.clone()),
                    (Down, joined(&[&retry, ccs])),
                    (Up, joined(&[ccs, &first])),
                    (Down, answer.clone()),
                ],
                s(&[hello, "server 0304"]),
                Some(Then::Done),
            ),
            (
                "retry with another name, after early data",
                vec![
                    (Up, joined(&[&first, ccs, data])),
                    (Down, retry.clone()),
                    (Up, joined(&[data, &other])),
                    (Down, answer.clone()),
                ],
                s(&[hello, "other.example 0303 [] t12d030100", "server 0304"]),
                Some(Then::Done),
            ),
            (
                "alert before the answer",
                vec![(Up, plain.clone()), (Down, joined(&[alert, &answer12]))],
                s(&["chat.example 0303 [] t12d030100", "server 0303"]),
                Some(Then::Done),
            ),
            (
                "certificate, since no name was asked for",
                vec![(Up, up12.clone()), (Down, down12.clone())],
                s(&[
                    nameless,
                    "server 0303",
                    "certificate chat.example",
                    "certificate *.chat.example",
                ]),
                Some(Then::Done),
            ),
            (
                "certificate with a common name",
                vec![(Up, up12.clone()), (Down, cn12.clone())],
                s(&[nameless, "server 0303", "certificate cn.chat.example"]),
                Some(Then::Done),
            ),
            (
                "server's side only",
                vec![(Down, down12.clone())],
                s(&["server 0303", "certificate chat.example", "certificate *.chat.example"]),
                None,
            ),
            (
                "a name was asked for",
                vec![(Up, plain.clone()), (Down, down12.clone())],
                s(&["chat.example 0303 [] t12d030100", "server 0303"]),
                Some(Then::Done),
            ),
            (
                "resumed, no certificate",
                vec![(Up, up12.clone()), (Down, joined(&[&answer12, ccs, &down12]))],
                s(&[nameless, "server 0303"]),
                Some(Then::Done),
            ),
            (
                "the client's certificate is nobody's business",
                vec![(Down, answer12.clone()), (Up, joined(&[&up12, &down12[70..]]))],
                s(&["server 0303", nameless]),
                None,
            ),
            (
                "who connects is the server",
                vec![(Down, first.clone()), (Up, answer.clone())],
                s(&[hello, "server 0304"]),
                Some(Then::Done),
            ),
            (
                "SSL 2.0 hello",
                vec![(Up, sslv2.to_vec())],
                s(&["anomaly sslv2_hello"]),
                Some(Then::Done),
            ),
            ("from the middle on", vec![(Up, data.to_vec())], vec![], Some(Then::Done)),
            ("from the change of ciphers on", vec![(Up, ccs.to_vec())], vec![], Some(Then::Done)),
            ("no TLS", vec![(Up, b"GET / HTTP/1.1\r\n".to_vec())], vec![], invalid("type")),
            (
                "no hello",
                vec![(Up, [&[HANDSHAKE, 3, 3, 0, 4, 16, 0, 0, 0][..]].concat())],
                vec![],
                invalid("msg_type"),
            ),
            (
                "broken behind the name",
                vec![(Up, broken)],
                s(&["chat.example 0303 [] "]),
                Some(Then::NotThis(ParseError::short("extension_data"))),
            ),
            (
                "longer than any",
                vec![(Up, huge)],
                s(&["chat.example 0303 [] "]),
                Some(Then::NotThis(ParseError::limit("length"))),
            ),
            (
                "garbage behind the hello",
                vec![(Up, joined(&[&plain, b"garbage"])), (Down, answer12.clone())],
                s(&["chat.example 0303 [] t12d030100", "server 0303"]),
                invalid("type"),
            ),
            (
                "garbage instead of an answer",
                vec![(Up, plain.clone()), (Down, b"garbage".to_vec())],
                s(&["chat.example 0303 [] t12d030100"]),
                invalid("type"),
            ),
            (
                "cut within the record, behind the name",
                vec![(Up, first[..first.len() - 1].to_vec())],
                s(&["chat.example 0304 [h2,http/1.1]  ech grease"]),
                None,
            ),
            ("cut within the name", vec![(Up, first[..90].to_vec())], vec![], None),
            (
                "cut between records",
                vec![(Up, records(&named.message(), &[300])[..305].to_vec())],
                s(&["chat.example 0304 [h2,http/1.1]  grease"]),
                None,
            ),
        ];
        for (name, conversation, said, end) in cases {
            let parts: Vec<_> = conversation.iter().map(|(from, b)| (*from, &b[..])).collect();
            let player = play(&parts);
            assert_eq!(player.said, said, "{name}");
            assert_eq!(player.end, end, "{name}");
        }
    }

    #[test]
    fn a_hole_ends_one_side_only() {
        let hello = Offer::new("chat.example").record();
        let line = "chat.example 0303 [] t12d030100";

        let mut player = Player::new(Tls::default());
        player.hole(Down);
        player.push(Up, &hello);
        assert_eq!((player.said, player.end), (vec![line.to_string()], None), "waits for a retry");

        let mut player = Player::new(Tls::default());
        player.push(Up, &hello[..40]);
        player.hole(Up);
        player.push(Up, b"from somewhere in the middle");
        player.push(Down, &hex(SERVER_12));
        assert_eq!(
            player.said,
            ["server 0303", "certificate chat.example", "certificate *.chat.example"]
        );
        assert_eq!(player.end, Some(Then::Done));

        let mut player = Player::new(Tls::default());
        player.hole(Up);
        player.hole(Down);
        assert_eq!(player.end, Some(Then::Done));
    }

    #[test]
    fn a_hello_in_one_slice_is_read_in_place_and_in_one_turn() {
        let hello = Offer::new("chat.example").browser().record();
        let mut tls = Tls::default();
        let turn = tls.feed(Up, &hello, &mut |_| ());
        assert_eq!(turn, Turn { consumed: hello.len(), then: Then::Need(RECORD_HEADER) });
        assert!(tls.sides.iter().all(|s| s.held.capacity() == 0));

        let mut tls = Tls::default();
        let turn = tls.feed(Up, &hello[..1448], &mut |_| ());
        assert_eq!(turn, Turn { consumed: 0, then: Then::Need(hello.len()) });
    }

    #[test]
    fn what_is_passed_over_is_bounded() {
        let mut player = Player::new(Tls::default());
        player.push(Up, &Offer::new("chat.example").record());
        for _ in 0..10 {
            player.push(Up, &record_of(APPLICATION_DATA, 16_000));
        }
        assert!(player.deaf[0], "after {} bytes", player.consumed[0]);

        let mut player = Player::new(Tls::default());
        for _ in 0..20_000 {
            player.push(Up, &[HANDSHAKE, 3, 3, 0, 0]);
        }
        assert!(player.deaf[0]);
        assert!(player.consumed[0] <= PASSED_MAX + RECORD_HEADER);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut tls = Tls::default();
        let hello = Offer::new("").with(0x7777, vec![0; 60_000]).message();
        for byte in &hello[..hello.len() - 1] {
            let turn = tls.feed(Up, &[HANDSHAKE, 3, 3, 0, 1, *byte], &mut |_| panic!());
            assert_eq!(turn.then, Then::Need(RECORD_HEADER));
        }
        assert!(tls.sides[0].held.capacity() <= 2 * MESSAGE_MAX);
        let mut said = 0;
        tls.feed(Up, &[HANDSHAKE, 3, 3, 0, 1, 0], &mut |_| said += 1);
        assert_eq!(said, 1);
        assert_eq!(tls.sides[0].held.capacity(), 0);
    }

    #[test]
    fn tells_tls_from_the_rest() {
        let hello = Offer::new("chat.example").record();
        let sslv2 = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
        let good: [&[u8]; 10] = [
            &hello,
            &records(&Offer::new("chat.example").message(), &[1]),
            &records(&Offer::new("chat.example").message(), &[3]),
            &hex(OPENSSL_13),
            &hex(SERVER_12),
            &server_hello(0x0303, HELLO_RETRY_REQUEST, Some(0x0304)),
            &record_of(APPLICATION_DATA, 100),
            &record_of(ALERT, 2),
            &record_of(CHANGE_CIPHER_SPEC, 1),
            &sslv2,
        ];
        for bytes in good {
            let first = (0..=bytes.len()).find_map(|n| looks_like(&bytes[..n])).unwrap();
            assert!(first, "{:02x?}", &bytes[..5]);
            assert_eq!(looks_like(bytes), Some(true));
            assert!((11..bytes.len()).all(|n| looks_like(&bytes[..n]) == Some(true)));
        }
        let bad: [(&str, &[u8]); 12] = [
            ("HTTP", b"G"),
            ("SSH", b"S"),
            ("type", &[19]),
            ("major version", &[22, 2]),
            ("minor version", &[22, 3, 5]),
            ("empty record", &[22, 3, 3, 0, 0]),
            ("record too long", &[22, 3, 3, 0x48, 1]),
            ("other message", &[22, 3, 3, 0, 50, 11]),
            ("message too long", &[22, 3, 3, 0, 50, 1, 1]),
            ("message too short", &[22, 3, 3, 0, 50, 1, 0, 0, 37]),
            ("version of the hello", &[22, 3, 3, 0, 50, 1, 0, 0, 46, 2]),
            ("SSL 2.0 of odd lengths", &[0x80, 0x2e, 1, 3, 1, 0, 0x14, 0, 0, 0, 0x10]),
        ];
        for (name, bytes) in bad {
            assert_eq!(looks_like(bytes), Some(false), "{name}");
            let shorter = &bytes[..bytes.len() - 1];
            assert_eq!(looks_like(shorter), None, "{name}: decided before the last byte");
        }
    }

    /// Conversations that the properties below take apart.
    fn conversations() -> Vec<Vec<(Direction, Vec<u8>)>> {
        let browser = Offer::new("chat.example").browser();
        let retry = server_hello(0x0303, HELLO_RETRY_REQUEST, Some(0x0304));
        let answer = server_hello(0x0303, FINAL, Some(0x0304));
        let data = record_of(APPLICATION_DATA, 700);
        vec![
            vec![(Up, browser.record()), (Down, [answer.clone(), data.clone()].concat())],
            vec![(Up, hex(OPENSSL_12)), (Down, hex(SERVER_12))],
            vec![
                (Up, [browser.record(), data].concat()),
                (Down, retry),
                (Up, records(&Offer::new("other.example").message(), &[10, 20, 30])),
                (Down, answer),
            ],
            vec![(Down, hex(SERVER_12_CN))],
        ]
    }

    /// Plays a conversation in segments whose sizes come from `sizes` in turn.
    fn in_segments(conversation: &[(Direction, Vec<u8>)], sizes: &[usize]) -> Player {
        let mut player = Player::new(Tls::default());
        let mut sizes = sizes.iter().cycle();
        for (from, bytes) in conversation {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (segment, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                player.push(*from, segment);
                rest = behind;
            }
        }
        player.ended()
    }

    proptest! {
        #[test]
        fn any_split_into_segments_says_the_same(
            which in 0..4_usize,
            sizes in prop::collection::vec(1..1_500_usize, 1..40),
        ) {
            let conversation = &conversations()[which];
            let whole = in_segments(conversation, &[usize::MAX]);
            let parts = in_segments(conversation, &sizes);
            prop_assert_eq!(&parts.said, &whole.said);
            prop_assert_eq!(parts.end, whole.end);
            prop_assert!(parts.turns <= whole.turns + 16, "{} turns", parts.turns);
        }

        #[test]
        fn any_split_into_records_says_the_same(
            browser: bool,
            sizes in prop::collection::vec(1..600_usize, 0..8),
            segment in 1..2_000_usize,
        ) {
            let offer = Offer::new("chat.example");
            let offer = if browser { offer.browser() } else { offer };
            let whole = in_segments(&[(Up, offer.record())], &[usize::MAX]);
            let parts = in_segments(&[(Up, records(&offer.message(), &sizes))], &[segment]);
            prop_assert_eq!(parts.said, whole.said);
        }

        /// The oracle reads what is built here just like this reader does.
        #[test]
        fn agrees_with_tls_parser(
            name in "[a-z]{1,20}\\.example",
            ciphers in prop::collection::vec(any::<u16>(), 1..60),
            protocols in prop::collection::vec("[!-+\\--~]{1,12}", 1..5),
            versions in prop::collection::vec(0x0301_u16..=0x0304, 1..5),
            shift in 0..4_usize,
            other in 0x5000_u16..0x5fff,
        ) {
            let names: Vec<&[u8]> = protocols.iter().map(String::as_bytes).collect();
            let mut offer =
                Offer::new(&name).alpn(&names).versions(&versions).with(other, vec![1, 2, 3]);
            offer.ciphers = ciphers;
            offer.extensions.rotate_left(shift);
            let record = offer.record();

            let (_, plaintext) = parse_tls_plaintext(&record).unwrap();
            let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(oracle))] =
                &plaintext.msg[..]
            else {
                panic!("no hello")
            };
            let (_, extensions) =
                tls_parser::parse_tls_client_hello_extensions(oracle.ext.unwrap()).unwrap();

            let mut scratch = Scratch::default();
            let hello = client_hello(&record[5..], HelloTransport::Tls, &mut scratch).unwrap();
            for extension in &extensions {
                match extension {
                    TlsExtension::SNI(list) => prop_assert_eq!(hello.server_name, Some(list[0].1)),
                    TlsExtension::ALPN(list) => {
                        let mut all = list.iter().map(|p| String::from_utf8_lossy(p).into_owned());
                        let mut expected = all.next().unwrap();
                        for name in all.take_while(|_| true) {
                            if expected.len() + 1 + name.len() > ALPN_MAX {
                                break;
                            }
                            expected = expected + "," + &name;
                        }
                        prop_assert_eq!(hello.alpn, expected);
                    }
                    TlsExtension::SupportedVersions(list) => {
                        prop_assert_eq!(Some(hello.version), list.iter().map(|v| v.0).max());
                    }
                    _ => {}
                }
            }
            let counted = oracle.ciphers.iter().filter(|c| !is_grease(c.0)).count();
            prop_assert_eq!(&hello.ja4[4..6], format!("{counted:02}"));
            prop_assert_eq!(&hello.ja4[6..8], format!("{:02}", extensions.len()));
        }
    }

    /// Random numbers that are the same each time (xorshift64*).
    pub struct Dice(u64);

    impl Dice {
        pub fn new(seed: u64) -> Self {
            Self(seed)
        }

        pub fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            usize::try_from(high).unwrap() % n
        }

        /// Changes bytes, cuts, doubles or inserts.
        pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
            for _ in 0..=self.below(6) {
                if bytes.is_empty() {
                    return;
                }
                let at = self.below(bytes.len());
                match self.below(8) {
                    0 => bytes.truncate(at),
                    1 => {
                        let end = bytes.len().min(at + self.below(40));
                        let copy = bytes[at..end].to_vec();
                        bytes.splice(at..at, copy);
                    }
                    2 => drop(bytes.drain(at..bytes.len().min(at + self.below(20)))),
                    3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                    4 => bytes[at] ^= 1 << self.below(8),
                    _ => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                }
            }
        }
    }

    #[test]
    fn spoiled_conversations_end_in_bounded_turns() {
        let mut dice = Dice::new(1);
        let samples = conversations();
        for _ in 0..20_000 {
            let mut conversation = samples[dice.below(samples.len())].clone();
            for (_, bytes) in &mut conversation {
                dice.spoil(bytes);
            }
            let segment = 1 + dice.below(3_000);
            let player = in_segments(&conversation, &[segment]);
            let bytes: usize = conversation.iter().map(|(_, b)| b.len()).sum();
            assert!(player.turns <= bytes / 5 + bytes / segment + 16);
        }
    }

    #[test]
    fn spoiled_hellos_give_names_that_stand_in_them() {
        let mut dice = Dice::new(2);
        let samples = [
            Offer::new("chat.example").browser().message(),
            Offer::new("chat.example").alpn(&[b"h2"]).message(),
            hex(OPENSSL_13)[5..].to_vec(),
        ];
        let mut named = 0;
        for _ in 0..20_000 {
            let mut message = samples[dice.below(samples.len())].clone();
            dice.spoil(&mut message);
            let mut scratch = Scratch::default();
            let stands = |name: &[u8]| message.windows(name.len()).any(|w| w == name);
            match client_hello(&message, HelloTransport::Tls, &mut scratch) {
                Ok(hello) => {
                    assert!(hello.ja4.len() == JA4_LEN || hello.ja4.is_empty());
                    assert!(hello.server_name.is_none_or(stands));
                    assert_eq!(hello.server_name, partial_name(&message));
                    named += usize::from(hello.server_name.is_some());
                }
                Err(_) => assert!(partial_name(&message).is_none_or(stands)),
            }
        }
        assert!(named > 4_000, "only {named} were read at all");
    }

    #[test]
    fn every_truncation_is_read_without_harm() {
        for conversation in conversations() {
            let whole = in_segments(&conversation, &[usize::MAX]).said;
            let all: usize = conversation.iter().map(|(_, b)| b.len()).sum();
            for end in 0..all {
                let mut left = end;
                let cut: Vec<_> = conversation
                    .iter()
                    .map(|(from, b)| {
                        let there = left.min(b.len());
                        left -= there;
                        (*from, b[..there].to_vec())
                    })
                    .collect();
                let said = in_segments(&cut, &[1_448]).said;
                assert!(said.len() <= whole.len());
                for (part, whole) in said.iter().zip(&whole) {
                    let name = |line: &str| line.split(' ').next().map(str::to_string);
                    assert_eq!(name(part), name(whole), "cut at {end}");
                }
            }
        }
    }
}
