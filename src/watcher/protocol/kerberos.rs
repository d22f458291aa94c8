//! Kerberos: who logs on.
//!
//! In: UDP datagrams, or a TCP stream with each message behind its length, either direction.
//! Out: client name and realm of AS-REQ, AS-REP and TGS-REP; that a request was refused.
//! Never: reads pre-authentication data, tickets or any encrypted part; other messages are
//! passed over unbuffered.
//! Limits: the first 16 KiB of a message, 1 MiB of its announced length, 16 fields a sequence,
//! 8 components and 255 octets of a name.
//! Source: RFC 4120 §5.2.2, §5.4 (messages), §7.2 (transports); X.690 §8.1 and §10 (DER).

use super::{AccountSource, DatagramParser, Metadata, Out, StreamParser, Then, Turn};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader, Why};

/// Octets of a message that are waited for. The client name stands in front of the ticket in
/// replies; in requests pre-authentication stands before it, a few KiB with certificates.
const HEAD_MAX: usize = 16 * 1024;

/// Longest message believed in. Tickets with large group lists come to 64 KiB.
const MESSAGE_MAX: u32 = 1 << 20;

/// Fields visited of one sequence; the longest of the protocol has 13.
const FIELDS_MAX: usize = 16;

/// Components of a principal name; services have 2 or 3, people 1.
const COMPONENTS_MAX: usize = 8;

/// Octets of a principal name with its slashes.
const USER_MAX: usize = 255;

/// Unreadable datagrams in a row after which a flow is no longer taken for Kerberos.
const BAD_MAX: u8 = 4;

/// Identifier octets: SEQUENCE, and the first of the context-specific and application tags
/// (constructed).
const SEQUENCE: u8 = 0x30;
const CONTEXT: u8 = 0xa0;
const APPLICATION: u8 = 0x60;

/// The `GeneralString` of X.680, of which Kerberos makes its strings (RFC 4120 §5.2.1).
const GENERAL_STRING: u8 = 0x1b;

/// Message types, which are their application tags too (RFC 4120 §7.5.7).
const AS_REQ: u8 = 10;
const AS_REP: u8 = 11;
const TGS_REP: u8 = 13;
const KRB_ERROR: u8 = 30;

/// An error answers a request, whatever it says: also that the password is still to be shown, and
/// then the next request is another one.
const REFUSED: Metadata<'static> = Metadata::LoginAnswer { granted: false };

/// Kerberos over UDP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kerberos {
    bad: u8,
}

/// Kerberos over TCP: each message behind its length in four octets (RFC 4120 §7.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct KerberosTcp;

impl DatagramParser for Kerberos {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        match (kind(bytes), message(bytes, out)) {
            // A datagram cut by the snap length is still one.
            (Ok(_), _) => self.bad = 0,
            (Err(error), _) => {
                self.bad = self.bad.saturating_add(1);
                if self.bad >= BAD_MAX {
                    return Then::NotThis(error);
                }
            }
        }
        Then::Need(1)
    }
}

impl StreamParser for KerberosTcp {
    fn feed(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut rest = Reader::new(bytes);
        loop {
            let consumed = bytes.len().saturating_sub(rest.len());
            let turn = |then| Turn { consumed, then };
            let mut ahead = rest;
            let Ok(length) = ahead.u32("length") else { return turn(Then::Need(4)) };
            // The first bit is reserved for extensions that nobody made.
            if length == 0 || length > MESSAGE_MAX {
                return turn(Then::NotThis(ParseError::invalid("length")));
            }
            match kind(ahead.rest()) {
                Err(ParseError { why: Why::Short, .. }) => {
                    return turn(Then::Need(5));
                }
                Err(error) => return turn(Then::NotThis(error)),
                Ok(AS_REQ | AS_REP | TGS_REP) => {
                    let head = HEAD_MAX.min(length as usize);
                    let Ok(bytes) = ahead.take(head, "message") else {
                        return turn(Then::Need(head.saturating_add(4)));
                    };
                    // One bad message does not spoil the framing of the next.
                    let _nothing_to_say = message(bytes, out);
                    rest = ahead;
                    if let behind @ 1.. = u64::from(length).saturating_sub(head as u64) {
                        let consumed = consumed.saturating_add(4).saturating_add(head);
                        return Turn { consumed, then: Then::Skip(behind) };
                    }
                }
                Ok(kind) => {
                    if kind == KRB_ERROR {
                        out(REFUSED);
                    }
                    let consumed = consumed.saturating_add(4);
                    return Turn { consumed, then: Then::Skip(length.into()) };
                }
            }
        }
    }
}

/// The message type that the first octet gives.
fn kind(bytes: &[u8]) -> Parsed<u8> {
    let tag = bytes.first().ok_or(ParseError::short("msg-type"))?;
    match tag.wrapping_sub(APPLICATION) {
        kind @ (AS_REQ..=15 | 20..=22 | KRB_ERROR) => Ok(kind),
        _ => Err(ParseError::invalid("msg-type")),
    }
}

/// Reads one message, or as much of it as is there.
///
/// # Errors
/// `Short` if it ends before the name does, `Invalid` if it is not encoded as it must be,
/// `Limit` for a name that is too long.
pub fn message(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let kind = kind(bytes)?;
    let mut outer = Reader::new(bytes);
    let mut fields = Fields::of(enter(&mut outer, bytes.first().copied().unwrap_or_default())?)?;
    // Where name and realm stand: in a request in its body, field 4.
    let (name, realm) = match kind {
        AS_REQ => {
            fields = Fields::of(fields.find(4)?.ok_or(ParseError::invalid("req-body"))?)?;
            (1, 2)
        }
        AS_REP | TGS_REP => (4, 3),
        KRB_ERROR => {
            out(REFUSED);
            return Ok(());
        }
        _ => return Ok(()),
    };
    let mut user = Joined { bytes: [0; USER_MAX], len: 0 };
    let mut domain: &[u8] = &[];
    // Fields come in the order of their numbers, and a cut behind the name takes only the realm.
    let (first, second) = if name < realm { (name, realm) } else { (realm, name) };
    for wanted in [first, second] {
        let field = match fields.find(wanted) {
            Err(error) if user.len == 0 => return Err(error),
            other => other.ok().flatten(),
        };
        match field {
            Some(field) if wanted == name => user.read(field)?,
            Some(mut field) => domain = string(&mut field).unwrap_or_default(),
            None => {}
        }
    }
    if let Some(user) = user.bytes.get(..user.len).filter(|user| !user.is_empty()) {
        // Anybody can ask in anybody's name; the KDC grants only to whoever knows the password.
        let source = match kind {
            AS_REQ => AccountSource::KerberosRequest,
            _ => AccountSource::Kerberos,
        };
        out(Metadata::Account { source, user, domain });
    }
    Ok(())
}

/// Fields of a SEQUENCE, each in its context-specific tag.
struct Fields<'m> {
    rest: Reader<'m>,
    left: usize,
}

impl<'m> Fields<'m> {
    fn of(mut holder: Reader<'m>) -> Parsed<Self> {
        Ok(Self { rest: enter(&mut holder, SEQUENCE)?, left: FIELDS_MAX })
    }

    /// Contents of the field with this number, passing over those before it; a later one is
    /// left where it is.
    fn find(&mut self, number: u8) -> Parsed<Option<Reader<'m>>> {
        while !self.rest.is_empty() {
            let mut ahead = self.rest;
            let tag = ahead.u8("tag")?;
            let this = tag.wrapping_sub(CONTEXT);
            if this > 30 {
                return Err(ParseError::invalid("tag"));
            }
            if this > number {
                return Ok(None);
            }
            self.left = self.left.checked_sub(1).ok_or(ParseError::limit("field"))?;
            if this == number {
                return enter(&mut self.rest, tag).map(Some);
            }
            let length = length(&mut ahead)?;
            ahead.skip(length, "field")?;
            self.rest = ahead;
        }
        Ok(None)
    }
}

/// Components of a `PrincipalName` (RFC 4120 §5.2.2), joined by slashes.
struct Joined {
    bytes: [u8; USER_MAX],
    len: usize,
}

impl Joined {
    fn read(&mut self, name: Reader<'_>) -> Parsed<()> {
        let mut strings = Fields::of(name)?.find(1)?.ok_or(ParseError::invalid("name-string"))?;
        let mut strings = enter(&mut strings, SEQUENCE)?;
        for i in 0..COMPONENTS_MAX {
            if strings.is_empty() {
                return Ok(());
            }
            let component = match string(&mut strings) {
                Ok(component) => component,
                Err(error) => {
                    // Half a name is somebody else's.
                    self.len = 0;
                    return Err(error);
                }
            };
            if i > 0 {
                self.push(b"/")?;
            }
            self.push(component)?;
        }
        if strings.is_empty() { Ok(()) } else { Err(ParseError::limit("name-string")) }
    }

    fn push(&mut self, more: &[u8]) -> Parsed<()> {
        let end = self.len.saturating_add(more.len());
        let to = self.bytes.get_mut(self.len..end).ok_or(ParseError::limit("name-string"))?;
        to.copy_from_slice(more);
        self.len = end;
        Ok(())
    }
}

fn string<'m>(r: &mut Reader<'m>) -> Parsed<&'m [u8]> {
    if r.u8("tag")? != GENERAL_STRING {
        return Err(ParseError::invalid("tag"));
    }
    let length = length(r)?;
    r.take(length, "string")
}

/// Contents of the element with this tag, or as much of them as is there.
fn enter<'m>(r: &mut Reader<'m>, tag: u8) -> Parsed<Reader<'m>> {
    if r.u8("tag")? != tag {
        return Err(ParseError::invalid("tag"));
    }
    let length = length(r)?.min(r.len());
    r.sub(length, "contents")
}

/// Definite length (X.690 §8.1.3) in up to four octets, as some encoders always use.
pub(super) fn length(r: &mut Reader<'_>) -> Parsed<usize> {
    let first = r.u8("length")?;
    if first < 0x80 {
        return Ok(first.into());
    }
    let octets = r.take(usize::from(first & 0x7f), "length")?;
    if octets.is_empty() || octets.len() > 4 {
        return Err(ParseError::invalid("length"));
    }
    Ok(octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)))
}

#[cfg(test)]
mod tests {
    use super::super::dns::trial::{Dice, damaged, datagram, lines, stream};
    use super::*;
    use proptest::prelude::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = contents.len();
        let head = if length < 0x80 {
            vec![tag, u8::try_from(length).unwrap()]
        } else {
            [&[tag, 0x84][..], &u32::try_from(length).unwrap().to_be_bytes()].concat()
        };
        [head, contents.to_vec()].concat()
    }

    fn sequence(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let fields: Vec<_> = fields.iter().map(|(n, value)| der(CONTEXT + n, value)).collect();
        der(SEQUENCE, &fields.concat())
    }

    fn text(text: &str) -> Vec<u8> {
        der(GENERAL_STRING, text.as_bytes())
    }

    fn number(n: u8) -> Vec<u8> {
        der(2, &[n])
    }

    fn name(components: &[&str]) -> Vec<u8> {
        let strings: Vec<_> = components.iter().map(|c| text(c)).collect();
        sequence(&[(0, number(1)), (1, der(SEQUENCE, &strings.concat()))])
    }

    /// Pre-authentication whose secret must not come out.
    fn padata() -> Vec<u8> {
        der(SEQUENCE, &sequence(&[(1, number(2)), (2, der(4, b"secret"))]))
    }

    fn request(kind: u8, cname: Option<&[&str]>) -> Vec<u8> {
        let mut body = vec![(0, der(3, &[0, 0x40, 0, 0, 0]))];
        body.extend(cname.map(|c| (1, name(c))));
        body.push((2, text("CORP.TEST")));
        body.push((3, name(&["krbtgt", "CORP.TEST"])));
        let fields = [(1, number(5)), (2, number(kind)), (3, padata()), (4, sequence(&body))];
        der(APPLICATION + kind, &sequence(&fields))
    }

    fn reply(kind: u8, cname: &[&str], secret: usize) -> Vec<u8> {
        let ticket = der(0x61, &sequence(&[(0, number(5)), (3, der(4, &vec![7; secret]))]));
        der(
            APPLICATION + kind,
            &sequence(&[
                (0, number(5)),
                (1, number(kind)),
                (3, text("CORP.TEST")),
                (4, name(cname)),
                (5, ticket),
                (6, sequence(&[(2, der(4, b"secret"))])),
            ]),
        )
    }

    fn error() -> Vec<u8> {
        der(
            APPLICATION + KRB_ERROR,
            &sequence(&[(0, number(5)), (7, text("X")), (8, name(&["no"]))]),
        )
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
    }

    #[test]
    fn reads_who_logs_on() {
        let alice = "Kerberos alice of CORP.TEST";
        let long = "x".repeat(300);
        let cut = |bytes: Vec<u8>, at: &[u8]| {
            let end = bytes.windows(at.len()).position(|w| w == at).unwrap();
            bytes[..end].to_vec()
        };
        let invalid = |field| Err(ParseError::invalid(field));
        let table = [
            (
                "AS-REQ",
                request(AS_REQ, Some(&["alice"])),
                vec!["KerberosRequest alice of CORP.TEST"],
                Ok(()),
            ),
            ("AS-REP", reply(AS_REP, &["alice"], 900), vec![alice], Ok(())),
            (
                "TGS-REP of a machine's service",
                reply(TGS_REP, &["host", "pc7.corp.test"], 9),
                vec!["Kerberos host/pc7.corp.test of CORP.TEST"],
                Ok(()),
            ),
            (
                "octets that are no letters",
                reply(AS_REP, &["jürgen"], 9),
                vec!["Kerberos j\\xc3\\xbcrgen of CORP.TEST"],
                Ok(()),
            ),
            ("TGS-REQ", request(12, Some(&["alice"])), vec![], Ok(())),
            ("AS-REQ without a name", request(AS_REQ, None), vec![], Ok(())),
            ("error", error(), vec!["LoginAnswer { granted: false }"], Ok(())),
            (
                "cut in the ticket",
                reply(AS_REP, &["alice"], 900)[..200].to_vec(),
                vec![alice],
                Ok(()),
            ),
            (
                "cut in the realm",
                cut(request(AS_REQ, Some(&["alice"])), b"TEST"),
                vec!["KerberosRequest alice of "],
                Ok(()),
            ),
            (
                "cut in the name",
                cut(request(AS_REQ, Some(&["alice"])), b"ice"),
                vec![],
                Err(ParseError::short("string")),
            ),
            (
                "cut in a second component",
                cut(reply(AS_REP, &["host", "pc7"], 0), b"c7"),
                vec![],
                Err(ParseError::short("string")),
            ),
            (
                "8 components",
                reply(AS_REP, &["a"; 8], 0),
                vec!["Kerberos a/a/a/a/a/a/a/a of CORP.TEST"],
                Ok(()),
            ),
            (
                "9 components",
                reply(AS_REP, &["a"; 9], 0),
                vec![],
                Err(ParseError::limit("name-string")),
            ),
            (
                "long name",
                reply(AS_REP, &[&long], 0),
                vec![],
                Err(ParseError::limit("name-string")),
            ),
            ("indefinite length", vec![0x6b, 0x80, 0x30, 0], vec![], invalid("length")),
            (
                "length of 5 octets",
                vec![0x6b, 0x85, 0, 0, 0, 0, 1, 0x30],
                vec![],
                invalid("length"),
            ),
            ("other tag", vec![0x30, 0x03, 1, 1, 1], vec![], invalid("msg-type")),
            ("nothing", vec![], vec![], Err(ParseError::short("msg-type"))),
        ];
        for (name, bytes, expected, answer) in table {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(lines(|out| message(&bytes, out)), (expected, answer), "{name}");
        }
        let fields: Vec<_> = (0..17).map(|_| (0, number(5))).collect();
        let many = der(APPLICATION + AS_REP, &sequence(&fields));
        assert_eq!(lines(|out| message(&many, out)).1, Err(ParseError::limit("field")));
    }

    #[test]
    fn a_flow_is_given_up_after_several_bad_datagrams_in_a_row() {
        let mut parser = Kerberos::default();
        let good = request(AS_REQ, Some(&["alice"]));
        for bytes in [&b"x"[..], b"", b"x", &good, b"x", b"x", b"x"] {
            assert_eq!(datagram(&mut parser, bytes).1, Then::Need(1));
        }
        assert!(matches!(datagram(&mut parser, b"x").1, Then::NotThis(_)));
    }

    #[test]
    fn a_stream_of_something_else_is_not_waited_for() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x20SSH-2.0", &[0; 9], &[0, 0x20, 0, 0, 0x6a]]
        {
            assert!(stream(&mut KerberosTcp, bytes, &[]).1.is_some(), "{bytes:x?}");
        }
    }

    #[test]
    fn passes_over_what_it_does_not_read() {
        let ticket = framed(&reply(AS_REP, &["alice"], 50_000));
        let turn = KerberosTcp.feed(Direction::Down, &ticket[..20_000], &mut |_| {});
        let expected = Then::Skip((ticket.len() - 4 - HEAD_MAX) as u64);
        assert_eq!(turn, Turn { consumed: 4 + HEAD_MAX, then: expected });
        let other = framed(&request(12, None));
        let turn = KerberosTcp.feed(Direction::Up, &other[..9], &mut |_| {});
        assert_eq!(turn, Turn { consumed: 4, then: Then::Skip(other.len() as u64 - 4) });
    }

    #[test]
    fn reports_only_names_of_the_message_however_damaged() {
        let messages = [
            request(AS_REQ, Some(&["alice"])),
            reply(AS_REP, &["host", "pc7.corp.test"], 30),
            reply(TGS_REP, &["alice"], 300),
        ];
        let mut said = 0;
        for seed in 0..20_000 {
            let mut dice = Dice::new(seed);
            let mut bytes = damaged(&messages[dice.below(3)], seed);
            bytes.truncate(dice.below(bytes.len() * 3));
            let _ = message(&bytes, &mut |m| {
                let Metadata::Account { user, domain, .. } = m else { panic!("{m:?}") };
                said += 1;
                assert!(!user.is_empty() && user.len() <= USER_MAX);
                let parts = user.split(|&b| b == b'/').chain([domain]).filter(|p| !p.is_empty());
                for part in parts {
                    assert!(bytes.windows(part.len()).any(|w| w == part), "seed {seed}");
                }
            });
            // The same in a stream: it ends, and keeps the contract.
            stream(&mut KerberosTcp, &damaged(&framed(&messages[0]).repeat(3), seed), &[9, 70]);
        }
        assert!(said > 5_000, "{said}");
    }

    proptest! {
        #[test]
        fn a_stream_says_the_same_however_it_is_cut(
            kinds in prop::collection::vec((0_u8..5, 0_usize..40_000), 1..6),
            cuts in prop::collection::vec(0_usize..100_000, 0..12),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (kind, secret) in kinds {
                let message = match kind {
                    0 => request(AS_REQ, Some(&["alice"])),
                    1 => request(12, None),
                    2 => reply(AS_REP, &["host", "pc7"], secret),
                    3 => reply(TGS_REP, &["bob"], secret),
                    _ => error(),
                };
                bytes.extend(framed(&message));
                expected.extend(lines(|out| super::message(&message, out)).0);
            }
            prop_assert_eq!(stream(&mut KerberosTcp, &bytes, &cuts), (expected.clone(), None));
            let each: Vec<usize> = (0..bytes.len().min(2_000)).collect();
            prop_assert_eq!(stream(&mut KerberosTcp, &bytes, &each), (expected, None));
        }
    }
}
