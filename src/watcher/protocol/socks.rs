//! What stands in front of another protocol: SOCKS, and the PROXY header of load balancers.
//!
//! In: both directions of a TCP stream from its first byte.
//! Out: [`Metadata::SocksTarget`] or [`Metadata::ProxySource`], then a hand-over at the very byte
//! behind the preamble.
//! Never: keeps or emits the names and passwords of SOCKS.
//! Limits: [`USER_ID_MAX`], [`HOST_MAX`], [`PROXY_LINE_MAX`].
//! Source: RFC 1928 (SOCKS 5), RFC 1929 (its passwords); the SOCKS 4 and 4a memos of 1992 and
//! later; the PROXY protocol, versions 1 and 2, of `HAProxy`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader, Why};

/// Longest user id of SOCKS 4; nothing limits it, account names are far shorter.
pub const USER_ID_MAX: usize = 255;

/// Longest host of SOCKS 4a, as SOCKS 5 has it too.
pub const HOST_MAX: usize = 255;

/// Longest line of PROXY version 1, with its end.
pub const PROXY_LINE_MAX: usize = 107;

/// First bytes of PROXY version 2.
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// First bytes of PROXY version 1.
const PROXY_WORD: &[u8] = b"PROXY ";

/// How its lines go on.
const PROXY_LINES: &[&[u8]] = &[b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

const VERSION_4: u8 = 4;
const VERSION_5: u8 = 5;

const COMMAND_CONNECT: u8 = 1;
const COMMAND_BIND: u8 = 2;

const METHOD_NONE: u8 = 0;
const METHOD_PASSWORD: u8 = 2;
const METHOD_REFUSED: u8 = 0xff;

/// Methods that are assigned (IANA SOCKS Methods); those from 0x80 on are private.
const METHOD_ASSIGNED_MAX: u8 = 9;

const REPLY_4_BYTES: usize = 8;
const REPLY_4_GRANTED: u8 = 90;

/// Whether a direction's first bytes are SOCKS; `None` while they may be.
///
/// Strict, as the magic is one byte: a client's greeting is whole and holds only methods that are
/// assigned, a request holds an address that makes sense.
pub fn looks_like(from: Direction, bytes: &[u8]) -> Option<bool> {
    match (from, bytes) {
        (Direction::Up, [VERSION_4, ..]) => looks_like_4(bytes),
        (Direction::Up, [VERSION_5, ..]) => looks_like_5(bytes),
        (Direction::Up, []) => None,
        // An answer alone is too little to tell; the client speaks first anyway.
        _ => Some(false),
    }
}

fn looks_like_4(bytes: &[u8]) -> Option<bool> {
    match request_4(bytes) {
        Ok(request) => {
            let plain = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
            Some(request.port != 0 && plain(request.user) && plain(request.host))
        }
        Err(ParseError { why: Why::Short, .. }) => {
            let user = bytes.get(8..).unwrap_or_default();
            let fits = matches!(bytes.get(1), None | Some(&(COMMAND_CONNECT | COMMAND_BIND)));
            if fits && user.iter().all(|&b| b == 0 || b.is_ascii_graphic()) {
                None
            } else {
                Some(false)
            }
        }
        Err(_) => Some(false),
    }
}

fn looks_like_5(bytes: &[u8]) -> Option<bool> {
    let &count = bytes.get(1)?;
    let methods = bytes.get(2..).unwrap_or_default();
    let assigned = |&m: &u8| m <= METHOD_ASSIGNED_MAX || (0x80..METHOD_REFUSED).contains(&m);
    let count = usize::from(count);
    if count == 0 || count > 16 || !methods.iter().take(count).all(assigned) {
        return Some(false);
    }
    // A hasty client goes on with its password or its request.
    match methods.get(count) {
        Some(&next) => Some(next == 1 || next == VERSION_5),
        None => (methods.len() == count).then_some(true),
    }
}

/// Reads SOCKS up to the point where the tunnelled protocol begins.
#[derive(Debug, Default)]
pub struct Socks {
    up: Up,
    down: Down,
    /// Bytes of the server were seen: the capture is not of one direction only.
    two_way: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Up {
    #[default]
    Greeting,
    /// A password or a request: their first bytes differ.
    Request,
    /// What follows waits for the server's grant.
    Tunnel,
    /// A command other than CONNECT was asked for.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Down {
    /// The choice of a method, or the reply of version 4.
    #[default]
    Method,
    /// The verdict on a password.
    Verdict,
    /// The reply to the request.
    Reply,
}

impl StreamParser for Socks {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        self.two_way |= from == Direction::Down;
        let mut consumed: usize = 0;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                return Turn { consumed, then: Then::Need(1) };
            }
            let step = match from {
                Direction::Up => self.up(rest, out),
                Direction::Down => self.down(rest),
            };
            match step {
                Ok((len, None)) => consumed = consumed.saturating_add(len),
                Ok((len, Some(then))) => {
                    return Turn { consumed: consumed.saturating_add(len), then };
                }
                Err(ParseError { why: Why::Short, .. }) => {
                    return Turn { consumed, then: Then::Need(rest.len().saturating_add(1)) };
                }
                Err(error) => return Turn { consumed, then: Then::NotThis(error) },
            }
        }
    }
}

/// Bytes read, and what the turn ends with, if it ends. `Short` waits for more.
type Step = Parsed<(usize, Option<Then>)>;

impl Socks {
    /// Starts at the first byte of both directions.
    pub fn new() -> Self {
        Self::default()
    }

    fn up(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Step {
        match (self.up, bytes) {
            (Up::Greeting, [VERSION_4, ..]) => {
                let request = request_4(bytes)?;
                self.down = Down::Method;
                let host = request.host;
                if host.is_empty() {
                    self.ask(request.command, &literal(request.addr.into()), request.port, out);
                } else {
                    self.ask(request.command, host, request.port, out);
                }
                Ok((request.len, None))
            }
            (Up::Greeting, [VERSION_5, ..]) => {
                let mut reader = Reader::new(bytes);
                reader.skip(1, "version")?;
                let count = reader.u8("methods")?;
                reader.skip(usize::from(count), "methods")?;
                self.up = Up::Request;
                Ok((read(bytes, &reader), None))
            }
            (Up::Request, [1, ..]) => {
                // User name and password are passed over, never looked at (RFC 1929 §2).
                let mut reader = Reader::new(bytes);
                reader.skip(1, "version")?;
                for field in ["user", "password"] {
                    let len = reader.u8(field)?;
                    reader.skip(usize::from(len), field)?;
                }
                Ok((read(bytes, &reader), None))
            }
            (Up::Request, [VERSION_5, ..]) => {
                let mut reader = Reader::new(bytes);
                reader.skip(1, "version")?;
                let command = reader.u8("command")?;
                reader.skip(1, "reserved")?;
                let host = address_5(&mut reader)?;
                let port = reader.u16("port")?;
                match host {
                    Address::Ip(addr) => self.ask(command, &literal(addr), port, out),
                    Address::Name(name) => self.ask(command, name, port, out),
                }
                Ok((read(bytes, &reader), None))
            }
            (Up::Tunnel, _) if !self.two_way => Ok((0, Some(Then::Handover(None)))),
            (Up::Tunnel | Up::Elsewhere, _) => Err(ParseError::short("grant")),
            _ => Err(ParseError::invalid("version")),
        }
    }

    fn down(&mut self, bytes: &[u8]) -> Step {
        let granted = match self.up {
            Up::Tunnel => Then::Handover(None),
            _ => Then::Done,
        };
        match (self.down, bytes) {
            (Down::Method, [0, ..]) => {
                let mut reader = Reader::new(bytes);
                let [_, code] = reader.array("reply")?;
                reader.skip(REPLY_4_BYTES.saturating_sub(2), "reply")?;
                let then = if code == REPLY_4_GRANTED { granted } else { Then::Done };
                Ok((REPLY_4_BYTES, Some(then)))
            }
            (Down::Method, [VERSION_5, method, ..]) => {
                self.down = match *method {
                    METHOD_NONE => Down::Reply,
                    METHOD_PASSWORD => Down::Verdict,
                    // Refused, or wrapped in something that we cannot follow.
                    _ => return Ok((2, Some(Then::Done))),
                };
                Ok((2, None))
            }
            (Down::Verdict, [1, verdict, ..]) => {
                self.down = Down::Reply;
                Ok((2, (*verdict != 0).then_some(Then::Done)))
            }
            (Down::Reply, [VERSION_5, code, ..]) => {
                let code = *code;
                let mut reader = Reader::new(bytes);
                reader.skip(3, "reply")?;
                address_5(&mut reader)?;
                reader.skip(2, "port")?;
                Ok((read(bytes, &reader), Some(if code == 0 { granted } else { Then::Done })))
            }
            (Down::Method | Down::Reply, [VERSION_5]) | (Down::Verdict, [1]) => {
                Err(ParseError::short("reply"))
            }
            _ => Err(ParseError::invalid("reply")),
        }
    }

    /// Tells where a client wants to go.
    fn ask(&mut self, command: u8, host: &[u8], port: u16, out: &mut Out<'_>) {
        self.up = if command == COMMAND_CONNECT { Up::Tunnel } else { Up::Elsewhere };
        if command == COMMAND_CONNECT {
            out(Metadata::SocksTarget { host, port });
        }
    }
}

fn read(bytes: &[u8], reader: &Reader<'_>) -> usize {
    bytes.len().saturating_sub(reader.len())
}

/// An address as text.
fn literal(addr: IpAddr) -> Vec<u8> {
    addr.to_string().into_bytes()
}

struct Request4<'b> {
    command: u8,
    port: u16,
    addr: Ipv4Addr,
    user: &'b [u8],
    /// Empty unless the address says that a name follows (4a).
    host: &'b [u8],
    len: usize,
}

fn request_4(bytes: &[u8]) -> Parsed<Request4<'_>> {
    let mut reader = Reader::new(bytes);
    reader.skip(1, "version")?;
    let command = reader.u8("command")?;
    if command != COMMAND_CONNECT && command != COMMAND_BIND {
        return Err(ParseError::invalid("command"));
    }
    let port = reader.u16("port")?;
    let address = reader.array("address")?;
    let user = text(&mut reader, USER_ID_MAX, "user id")?;
    let named = matches!(address, [0, 0, 0, last] if last != 0);
    let host = if named { text(&mut reader, HOST_MAX, "host")? } else { &[] };
    if named && host.is_empty() || address[0] == 0 && !named {
        return Err(ParseError::invalid("address"));
    }
    let len = read(bytes, &reader);
    Ok(Request4 { command, port, addr: address.into(), user, host, len })
}

/// Text up to a zero byte, which is read too.
fn text<'b>(reader: &mut Reader<'b>, max: usize, field: &'static str) -> Parsed<&'b [u8]> {
    let Some(len) = reader.rest().iter().take(max.saturating_add(1)).position(|&b| b == 0) else {
        let full = reader.len() > max;
        return Err(if full { ParseError::limit(field) } else { ParseError::short(field) });
    };
    let text = reader.take(len, field)?;
    reader.skip(1, field)?;
    Ok(text)
}

enum Address<'b> {
    Ip(IpAddr),
    Name(&'b [u8]),
}

/// Address type and address (RFC 1928 §5).
fn address_5<'b>(reader: &mut Reader<'b>) -> Parsed<Address<'b>> {
    match reader.u8("address type")? {
        1 => Ok(Address::Ip(Ipv4Addr::from(reader.array::<4>("address")?).into())),
        4 => Ok(Address::Ip(Ipv6Addr::from(reader.array::<16>("address")?).into())),
        3 => {
            let len = reader.u8("host")?;
            reader.take(usize::from(len), "host").map(Address::Name)
        }
        _ => Err(ParseError::invalid("address type")),
    }
}

/// Whether a client's first bytes are a PROXY header; `None` while they may be.
pub fn proxy_looks_like(from: Direction, bytes: &[u8]) -> Option<bool> {
    if from == Direction::Down {
        return Some(false);
    }
    let begins = |whole: &[u8]| {
        let len = bytes.len().min(whole.len());
        bytes.get(..len) == whole.get(..len)
    };
    if let Some(whole) = PROXY_LINES.iter().find(|line| begins(line)) {
        return (bytes.len() >= whole.len()).then_some(true);
    }
    if !begins(PROXY_SIGNATURE) {
        return Some(false);
    }
    // Version 2, and a command that is LOCAL or PROXY.
    let &version = bytes.get(PROXY_SIGNATURE.len())?;
    Some(version == 0x20 || version == 0x21)
}

/// Reads a PROXY header up to the point where the client's own bytes begin.
#[derive(Debug, Default)]
pub struct ProxyHeader {
    /// The header is read to its end, or passed over.
    read: bool,
}

impl StreamParser for ProxyHeader {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        if self.read {
            return Turn { consumed: 0, then: Then::Handover(None) };
        }
        if from == Direction::Down {
            // A server that speaks first waits until the header is through.
            return Turn { consumed: 0, then: Then::Need(bytes.len().saturating_add(1)) };
        }
        let text = bytes.first() == PROXY_WORD.first();
        let read = if text { line(bytes, out) } else { self.binary(bytes, out) };
        match read {
            Ok((consumed, then)) => Turn { consumed, then },
            Err(ParseError { why: Why::Short, .. }) => {
                Turn { consumed: 0, then: Then::Need(bytes.len().saturating_add(1)) }
            }
            Err(error) => Turn { consumed: 0, then: Then::NotThis(error) },
        }
    }
}

impl ProxyHeader {
    /// Starts at the client's first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Version 2: addresses, then extensions, which are passed over.
    fn binary(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Parsed<(usize, Then)> {
        let mut reader = Reader::new(bytes);
        for &wanted in PROXY_SIGNATURE {
            if reader.u8("signature")? != wanted {
                return Err(ParseError::invalid("signature"));
            }
        }
        let command = reader.u8("command")?;
        let family = reader.u8("family")?;
        let len = usize::from(reader.u16("length")?);
        let proxied = match command {
            0x20 => false,
            0x21 => true,
            _ => return Err(ParseError::invalid("command")),
        };
        // Source, destination and two ports; the high half of `family` is the address family.
        let (addr, needed): (Option<IpAddr>, usize) = match family >> 4 {
            1 if proxied => (Some(reader.array::<4>("source")?.into()), 12),
            2 if proxied => (Some(reader.array::<16>("source")?.into()), 36),
            _ => (None, 0),
        };
        if len < needed {
            return Err(ParseError::invalid("length"));
        }
        if let Some(addr) = addr {
            out(Metadata::ProxySource { addr });
        }
        self.read = true;
        let end = PROXY_SIGNATURE.len().saturating_add(4).saturating_add(len);
        if end <= bytes.len() {
            return Ok((end, Then::Handover(None)));
        }
        let missing = u64::try_from(end.saturating_sub(bytes.len())).unwrap_or(u64::MAX);
        Ok((bytes.len(), Then::Skip(missing)))
    }
}

/// Version 1: one line of text.
fn line(bytes: &[u8], out: &mut Out<'_>) -> Parsed<(usize, Then)> {
    let Some(end) = bytes.iter().take(PROXY_LINE_MAX).position(|&b| b == b'\n') else {
        let full = bytes.len() >= PROXY_LINE_MAX;
        return Err(if full { ParseError::limit("line") } else { ParseError::short("line") });
    };
    let line = bytes.get(..end).unwrap_or_default();
    let text = line.strip_prefix(PROXY_WORD).ok_or(ParseError::invalid("line"))?;
    let text = std::str::from_utf8(text).map_err(|_| ParseError::invalid("line"))?;
    let mut words = text.trim_ascii().split(' ');
    let source = match words.next() {
        Some("TCP4") => Ipv4Addr::from_str(words.next().unwrap_or_default()).map(IpAddr::from),
        Some("TCP6") => Ipv6Addr::from_str(words.next().unwrap_or_default()).map(IpAddr::from),
        Some("UNKNOWN") => return Ok((end.saturating_add(1), Then::Handover(None))),
        _ => return Err(ParseError::invalid("family")),
    };
    let addr = source.map_err(|_| ParseError::invalid("source"))?;
    out(Metadata::ProxySource { addr });
    Ok((end.saturating_add(1), Then::Handover(None)))
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is as long as it is"
)]
mod tests {
    use proptest::prelude::*;

    use super::super::http1::tests::{Event, down, play, split, torture, up};
    use super::*;

    /// What is told, in short.
    fn check(parser: &mut dyn StreamParser, script: &[Event]) -> String {
        let text = |line: String| match line.split_once("host: [") {
            Some((_, rest)) => {
                let (bytes, port) = rest.split_once("], port: ").unwrap();
                let byte = |b: &str| char::from(b.parse::<u8>().unwrap());
                let host: String = bytes.split(", ").filter(|b| !b.is_empty()).map(byte).collect();
                format!("{host} {}", port.trim_end_matches(" }"))
            }
            None => line,
        };
        play(parser, script).into_iter().map(text).collect::<Vec<_>>().join(" | ")
    }

    const ASK: &[u8] = b"\x05\x01\0\x03\x09a.example\x01\xbb";
    const GRANT: &[u8] = b"\x05\0\0\x01\0\0\0\0\0\0";
    const HELLO: &str = "\x16\x03\x01";

    fn socks_scripts() -> Vec<(&'static str, Vec<Event>, String)> {
        let through = format!("a.example 443 | Handover(None) | up left: {HELLO} | down left: ");
        let tail = |target: &str, end: &str| format!("{target} | {end} | up left:  | down left: ");
        vec![
            (
                "5, name",
                vec![up(b"\x05\x01\0"), down(b"\x05\0"), up(ASK), down(GRANT), up(HELLO)],
                through.clone(),
            ),
            (
                "5, hasty client",
                vec![
                    up(b"\x05\x01\0"),
                    down(b"\x05\0"),
                    up([ASK, HELLO.as_bytes()].concat()),
                    down(GRANT),
                ],
                through.clone(),
            ),
            (
                "5, password",
                vec![
                    up(b"\x05\x02\0\x02"),
                    down(b"\x05\x02"),
                    up(b"\x01\x04anna\x06s3cr3t"),
                    down(b"\x01\0"),
                    up(ASK),
                    down([GRANT, b"hello"].concat()),
                ],
                "a.example 443 | Handover(None) | up left:  | down left: hello".into(),
            ),
            (
                "5, password refused",
                vec![
                    up(b"\x05\x01\x02"),
                    down(b"\x05\x02"),
                    up(b"\x01\x04anna\x06s3cr3t"),
                    down(b"\x01\x01"),
                ],
                "Done | up left:  | down left: ".into(),
            ),
            (
                "5, no method fits",
                vec![up(b"\x05\x01\x01"), down(b"\x05\xff")],
                "Done | up left:  | down left: ".into(),
            ),
            (
                "5, IPv4, refused",
                vec![
                    up(b"\x05\x01\0"),
                    down(b"\x05\0"),
                    up(b"\x05\x01\0\x01\xc0\0\x02\x01\0\x50"),
                    down(b"\x05\x05\0\x03\x01x\0\0"),
                ],
                tail("192.0.2.1 80", "Done"),
            ),
            (
                "5, IPv6",
                vec![
                    up(b"\x05\x01\0\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50"),
                    down([b"\x05\0", GRANT].concat()),
                ],
                tail("2001:db8::1 80", "Handover(None)"),
            ),
            (
                "5, UDP",
                vec![
                    up(b"\x05\x01\0\x05\x03\0\x01\0\0\0\0\0\0"),
                    down([b"\x05\0", GRANT].concat()),
                ],
                "Done | up left:  | down left: ".into(),
            ),
            (
                "5, one side seen",
                vec![up([b"\x05\x01\0", ASK, HELLO.as_bytes()].concat())],
                through.clone(),
            ),
            (
                "4",
                vec![up(b"\x04\x01\x01\xbb\xc0\0\x02\x01anna\0"), down(b"\0\x5a\0\0\0\0\0\0")],
                tail("192.0.2.1 443", "Handover(None)"),
            ),
            (
                "4, refused",
                vec![up(b"\x04\x01\x01\xbb\xc0\0\x02\x01\0"), down(b"\0\x5b\0\0\0\0\0\0")],
                tail("192.0.2.1 443", "Done"),
            ),
            (
                "4a",
                vec![
                    up(b"\x04\x01\x01\xbb\0\0\0\x01anna\0a.example\0"),
                    down(b"\0\x5a\0\0\0\0\0\0"),
                    up(HELLO),
                ],
                through,
            ),
            (
                "not SOCKS",
                vec![up(b"\x06\x01")],
                "NotThis(ParseError { field: \"version\", why: Invalid }) | up left: \x06\x01 | \
                 down left: "
                    .into(),
            ),
        ]
    }

    #[test]
    fn socks() {
        for (name, script, expected) in socks_scripts() {
            let told = check(&mut Socks::new(), &script);
            assert_eq!(told, expected, "{name}");
            assert!(!told.contains("anna") && !told.contains("s3cr3t"), "{name}");
        }
    }

    fn proxy_scripts() -> Vec<(&'static str, Vec<Event>, String)> {
        let told = |addr: &str, rest: &str| {
            format!(
                "ProxySource {{ addr: {addr} }} | Handover(None) | up left: {rest} | down left: "
            )
        };
        let binary = |command: u8, family: u8, body: &[u8]| {
            let len = u16::try_from(body.len()).unwrap().to_be_bytes();
            [PROXY_SIGNATURE, &[command, family], &len, body].concat()
        };
        let four = b"\xc0\0\x02\x01\xc6\x33\x64\x01\x10\0\0\x50";
        let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 20]].concat();
        vec![
            (
                "1, IPv4",
                vec![up("PROXY TCP4 192.0.2.1 198.51.100.1 4096 80\r\nGET")],
                told("192.0.2.1", "GET"),
            ),
            (
                "1, IPv6",
                vec![up("PROXY TCP6 2001:db8::1 2001:db8::2 4096 80\r\nGET")],
                told("2001:db8::1", "GET"),
            ),
            (
                "1, unknown",
                vec![up("PROXY UNKNOWN\r\nGET")],
                "Handover(None) | up left: GET | down left: ".into(),
            ),
            ("2, IPv4", vec![up([&binary(0x21, 0x11, four)[..], b"GET"].concat())], told("192.0.2.1", "GET")),
            ("2, IPv6", vec![up([&binary(0x21, 0x21, &six)[..], b"GET"].concat())], told("2001:db8::1", "GET")),
            (
                "2, extensions, and a server that speaks first",
                vec![
                    down("220 hello"),
                    up([&binary(0x21, 0x11, &[&four[..], &[0; 3000]].concat())[..], b"EHLO"].concat()),
                ],
                "ProxySource { addr: 192.0.2.1 } | Handover(None) | up left: EHLO | down left: 220 hello".into(),
            ),
            (
                "2, local",
                vec![up([&binary(0x20, 0, &[])[..], b"GET"].concat())],
                "Handover(None) | up left: GET | down left: ".into(),
            ),
        ]
    }

    #[test]
    fn proxy_headers() {
        for (name, script, expected) in proxy_scripts() {
            assert_eq!(check(&mut ProxyHeader::new(), &script), expected, "{name}");
        }
        for (name, bytes, why) in [
            ("bad source", &b"PROXY TCP4 192.0.2.999 192.0.2.1 1 2\r\n"[..], Why::Invalid),
            ("bad family", b"PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n", Why::Invalid),
            ("bad signature", b"\r\n\r\n\0\r\nQUIT\r", Why::Invalid),
            ("bad command", b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c", Why::Invalid),
            (
                "too short",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b\0\0\0\0\0\0\0\0\0\0\0",
                Why::Invalid,
            ),
            ("no line", &[&b"PROXY TCP4 "[..], &[b'1'; 100]].concat(), Why::Limit),
        ] {
            let turn = ProxyHeader::new().feed(Direction::Up, bytes, &mut |_| {});
            assert!(matches!(turn.then, Then::NotThis(error) if error.why == why), "{name}");
        }
    }

    #[test]
    fn what_looks_like_it() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\x05", None),
            (b"\x05\x01", None),
            (b"\x05\x01\0", Some(true)),
            (b"\x05\x02\0\x02", Some(true)),
            (b"\x05\x01\0\x05\x01", Some(true)),
            (b"\x05\x01\0\x07", Some(false)),
            (b"\x05\0\x0b\x03", Some(false)),
            (b"\x05\x01\x7f", Some(false)),
            (b"\x05\x20\0", Some(false)),
            (b"\x04\x01\0\x50\xc0\0\x02\x01", None),
            (b"\x04\x01\0\x50\xc0\0\x02\x01anna\0", Some(true)),
            (b"\x04\x01\0\x50\0\0\0\x01\0a.example\0", Some(true)),
            (b"\x04\x01\0\x50\0\0\0\x01\0", None),
            (b"\x04\x01\0\0\xc0\0\x02\x01\0", Some(false)),
            (b"\x04\x01\0\x50\0\0\0\0\0", Some(false)),
            (b"\x04\x01\0\x50\xc0\0\x02\x01\x01\0", Some(false)),
            (b"\x04\x03", Some(false)),
            (b"\x16\x03\x01", Some(false)),
        ] {
            assert_eq!(looks_like(Direction::Up, bytes), expected, "{bytes:?}");
        }
        assert_eq!(looks_like(Direction::Down, b"\x05\0"), Some(false));
        for (bytes, expected) in [
            (&b"PROXY"[..], None),
            (b"PROXY TCP4 1", Some(true)),
            (b"PROXY UNKNOWN\r\n", Some(true)),
            (b"PROXY UDP", Some(false)),
            (b"\r\n", None),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", Some(true)),
            (b"\r\n\r\n\0\r\nQUIT\n\x11", Some(false)),
            (b"GET", Some(false)),
        ] {
            assert_eq!(proxy_looks_like(Direction::Up, bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn limits() {
        for (len, stops) in
            [(USER_ID_MAX - 1, false), (USER_ID_MAX, false), (USER_ID_MAX + 1, true)]
        {
            let bytes = [b"\x04\x01\0\x50\xc0\0\x02\x01", &vec![b'u'; len][..], b"\0"].concat();
            let told = check(&mut Socks::new(), &[up(bytes)]);
            assert_eq!(told.contains("Limit"), stops, "user id of {len}");
        }
        for (len, stops) in [(HOST_MAX - 1, false), (HOST_MAX, false), (HOST_MAX + 1, true)] {
            let bytes = [b"\x04\x01\0\x50\0\0\0\x01\0", &vec![b'h'; len][..], b"\0"].concat();
            let told = check(&mut Socks::new(), &[up(bytes)]);
            assert_eq!(told.contains("Limit"), stops, "host of {len}");
        }
        for (len, stops) in
            [(PROXY_LINE_MAX - 1, false), (PROXY_LINE_MAX, false), (PROXY_LINE_MAX + 1, true)]
        {
            let bytes = [b"PROXY UNKNOWN ", &vec![b'x'; len - 16][..], b"\r\n"].concat();
            assert_eq!(bytes.len(), len);
            let told = check(&mut ProxyHeader::new(), &[up(bytes)]);
            assert_eq!(told.contains("Limit"), stops, "line of {len}");
        }
    }

    #[test]
    fn survives_hostile_bytes() {
        for (_, script, _) in socks_scripts().into_iter().take(3) {
            torture(&|| Box::new(Socks::new()), &script);
        }
        let proxy: Vec<Event> =
            proxy_scripts().into_iter().flat_map(|(_, script, _)| script).collect();
        torture(&|| Box::new(ProxyHeader::new()), &proxy[..1]);
        torture(&|| Box::new(ProxyHeader::new()), &proxy[3..4]);
    }

    proptest! {
        #[test]
        fn any_split_tells_the_same(lengths in proptest::collection::vec(1_usize..9, 1..20)) {
            for (name, script, expected) in socks_scripts() {
                if name.starts_with("not") {
                    continue;
                }
                prop_assert_eq!(check(&mut Socks::new(), &split(&script, &lengths)), expected);
            }
            for (_, script, expected) in proxy_scripts() {
                prop_assert_eq!(check(&mut ProxyHeader::new(), &split(&script, &lengths)), expected);
            }
        }
    }
}
