//! TLS over TCP: what the handshake says in clear.
//!
//! In: the bytes of both directions in order; or one hello message on its own (QUIC, DTLS).
//! Out: the client's hello (server name, ALPN, versions, fingerprint, ECH), the version that the
//! server chose, and, if the client named nobody, the names in the server's certificate.
//! Never: keeps randoms, keys, session ids, tickets or application data; reads a client's
//! certificate.
//! Limits: [`MESSAGE_MAX`], [`PASSED_MAX`], [`CERTIFICATE_NAMES_MAX`]. A record in one slice is
//! read in place; a message that spans records is copied. A direction has to be able to hold one
//! record: 18,437 bytes.
//! Source: RFC 8446 §4 and §5.1, RFC 5246 §6.2.1, §7.4.2 and §E.2, RFC 5280 §4.2.1.6 (names in
//! certificates).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;

use tls_parser::parse_tls_handshake_server_hello;
use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

use super::ja4::values;
use super::{ClientHello, HelloTransport, Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

mod hello;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
pub(super) mod sample;

pub use hello::{ALPN_MAX, Scratch, client_hello, partial_hello, partial_name};
use hello::{SUPPORTED_VERSIONS, extensions};

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
    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        let [up, down] = &self.sides;
        up.held.capacity().saturating_add(down.held.capacity())
    }

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
        if !self.side(from).begun && sslv2_hello(header) {
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
        // With these, a server goes over to encryption behind its final hello.
        let encrypts = matches!(kind, CHANGE_CIPHER_SPEC | APPLICATION_DATA)
            && side.role == Role::Server
            && answered;
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
                // Behind a hello, ciphertext may begin like another one.
                Err(_) if self.side(from).role == Role::Client => self.side(from).over = true,
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
        let hello = client_hello(message, HelloTransport::Tls, &mut scratch)?;
        let side = self.side(from);
        side.over = side.role == Role::Client; // there is no third
        side.role = Role::Client;
        self.report(from, hello, out);
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
        let hello = parse_tls_handshake_server_hello(body).map(|(_, hello)| hello);
        let version = match (hello, body) {
            (Ok(hello), _) if hello.random == HELLO_RETRY_REQUEST => None,
            (Ok(hello), _) => Some(
                extensions(hello.ext.unwrap_or_default())
                    .filter_map(Result::ok)
                    .find(|(kind, _)| *kind == SUPPORTED_VERSIONS)
                    .and_then(|(_, body)| values(body).next())
                    .unwrap_or(hello.version.0),
            ),
            // Drafts of TLS 1.3 up to 21 said it here, and had other fields behind it.
            (Err(_), [0x7f, draft, ..]) => Some(u16::from_be_bytes([0x7f, *draft])),
            (Err(_), _) => return Err(ParseError::invalid("server_hello")),
        };
        self.side(from).role = Role::Server;
        let Some(version) = version else { return Ok(()) };
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::sample::*;
    use super::*;
    use crate::types::Direction::{Down, Up};

    /// Plays whole turns of a conversation.
    fn play(conversation: &[(Direction, &[u8])]) -> Player {
        let mut player = Player::new(Tls::default());
        for (from, bytes) in conversation {
            player.push(*from, bytes);
        }
        player.ended()
    }

    const FINAL: [u8; 32] = [0x11; 32];

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
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

        let cases: Vec<(&str, Conversation, Vec<String>, Option<Then>)> = vec![
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
            (
                "draft of TLS 1.3",
                vec![(Up, first.clone()), (Down, server_hello(0x7f12, FINAL, None))],
                s(&[hello, "server 7f12"]),
                Some(Then::Done),
            ),
            (
                "no third hello",
                vec![(Up, joined(&[&plain, &other, &first]))],
                s(&["chat.example 0303 [] t12d030100", "other.example 0303 [] t12d030100"]),
                None,
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
    fn conversations() -> Vec<Conversation> {
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
