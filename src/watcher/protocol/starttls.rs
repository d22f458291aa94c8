//! Protocols that begin in clear and turn to TLS on the same connection.
//!
//! In: both directions of SMTP, IMAP, POP3, FTP, XMPP, LDAP, `PostgreSQL`, `MySQL`, RDP or TDS.
//! Out: the byte of each direction at which TLS begins, as [`Then::Handover`]; for TDS, which
//! wraps TLS in packets of its own, the metadata itself.
//! Never: reads what is said in clear beyond what frames it; keeps any of it.
//! Limits: [`UNIT_MAX`], [`PLAIN_MAX`], [`HOLD_MAX`].
//! Source: RFC 3207 (SMTP), RFC 9051 §6.2.1 (IMAP), RFC 2595 §4 (POP3), RFC 4217 (FTP), RFC 6120
//! §5.4 (XMPP), RFC 4511 §4.14 (LDAP); the protocol pages of `PostgreSQL` ("SSL Session
//! Encryption"), `MySQL` ("Connection Phase"), MS-RDPBCGR §2.2.1, MS-TDS §2.2.6.5.

use super::tls::{self, Tls};
use super::{Out, Protocol, StreamParser, Then, Turn};
use crate::types::Direction::{self, Down, Up};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Longest line, element or message in clear, in bytes. SMTP allows 512, IMAP servers 8,192; TDS
/// packets are 4,096 until something else is agreed on.
pub const UNIT_MAX: usize = 8 * 1024;

/// Bytes in clear, both directions together, after which the session is taken to stay in clear.
/// Greetings and lists of capabilities have 0.2 to 4 KiB.
pub const PLAIN_MAX: usize = 16 * 1024;

/// Bytes of a client's TLS that wait for the server's consent; more would not be sent without it.
pub const HOLD_MAX: usize = 20 * 1024;

/// Bytes after which the beginning of a stream is told or is something else.
const OPENING_MAX: usize = 64;

/// First byte of a TLS handshake record; none of the protocols has it at the start of a unit.
const TLS_HANDSHAKE: u8 = 22;

/// `requestName` of LDAP's `StartTLS`, RFC 4511 §4.14.1.
const LDAP_STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// Capability bit by which a `MySQL` client asks for TLS.
const MYSQL_CLIENT_SSL: u8 = 0x08;

/// Bytes of a TDS packet header, and the types of pre-login and response.
const TDS_HEADER: usize = 8;
const TDS_PRELOGIN: u8 = 0x12;
const TDS_RESPONSE: u8 = 0x04;

/// How a protocol frames what it says in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Commands and replies that end with a line feed: SMTP, IMAP, POP3, FTP.
    Lines,
    /// Elements of a stream: XMPP.
    Xml,
    Postgres,
    Mysql,
    Ldap,
    Rdp,
    Tds,
}

/// How texts begin that open a dialogue, in either letter case.
const OPENINGS: [(Direction, &[u8], Dialect); 19] = [
    (Down, b"220 ", Dialect::Lines),
    (Down, b"220-", Dialect::Lines),
    (Down, b"+OK", Dialect::Lines),
    (Down, b"* OK", Dialect::Lines),
    (Down, b"* PREAUTH", Dialect::Lines),
    (Up, b"EHLO ", Dialect::Lines),
    (Up, b"LHLO ", Dialect::Lines),
    (Up, b"STARTTLS\r\n", Dialect::Lines),
    (Up, b"STLS\r\n", Dialect::Lines),
    (Up, b"CAPA\r\n", Dialect::Lines),
    (Up, b"AUTH TLS", Dialect::Lines),
    (Up, b"AUTH SSL", Dialect::Lines),
    (Up, b"<?xml ", Dialect::Xml),
    (Down, b"<?xml ", Dialect::Xml),
    (Up, b"<stream:stream", Dialect::Xml),
    (Down, b"<stream:stream", Dialect::Xml),
    (Up, b"<starttls", Dialect::Xml),
    (Up, b"\0\0\0\x08\x04\xd2\x16\x2f", Dialect::Postgres),
    (Up, b"\0\0\0\x08\x04\xd2\x16\x30", Dialect::Postgres), // GSSENCRequest may come first
];

/// Whether bytes have some shape; `None` if more are needed to tell.
type Shape = fn(&[u8]) -> Option<bool>;

/// What opens a dialogue, but is no fixed text.
const SHAPES: [(Direction, Shape, Dialect); 5] = [
    (Up, imap_command, Dialect::Lines),
    (Up, ldap_starttls, Dialect::Ldap),
    (Up, rdp_connect, Dialect::Rdp),
    (Up, tds_prelogin, Dialect::Tds),
    (Down, mysql_greeting, Dialect::Mysql),
];

/// Finds where TLS begins.
///
/// A handover needs no reading of commands and replies: TLS is what looks like TLS between two
/// units. They only matter if the client does not wait for the reply: then its hello is held
/// until the server's side stands behind that reply too.
#[derive(Debug, Default)]
pub struct StartTls {
    dialect: Option<Dialect>,
    /// The client asked for TLS, and the server has not replied.
    asked: bool,
    /// The client's hello waits for that reply.
    holding: bool,
    /// The server said something.
    server_heard: bool,
    /// The server's side has a hole.
    server_lost: bool,
    /// Bytes at the front of a unit that were searched for its end already.
    searched: [usize; 2],
    /// Bytes consumed.
    plain: usize,
    /// Reader of TLS inside TDS packets.
    inner: Tls,
}

/// What the first bytes of a direction say.
enum Opening {
    Of(Dialect),
    Unknown,
    /// More bytes are needed to tell.
    Open,
}

/// One unit of a dialogue.
struct Unit {
    /// Bytes with its framing.
    length: usize,
    /// A client's request for TLS, to which the server has to reply first.
    asks: bool,
    /// The end of a server's reply.
    replies: bool,
}

/// What one look at the front of a slice came to.
enum Step {
    /// This many bytes are through.
    Next(usize),
    Stop(Then),
}

impl StreamParser for StartTls {
    fn feed(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut rest = bytes;
        let then = loop {
            match self.step(from, rest, out) {
                Ok(Step::Next(n)) => {
                    rest = rest.get(n..).unwrap_or_default();
                    self.plain = self.plain.saturating_add(n);
                    if self.holding && !self.asked {
                        break Then::Handover(Some(Protocol::Tls));
                    }
                    if self.plain > PLAIN_MAX {
                        break Then::Done;
                    }
                }
                Ok(Step::Stop(then)) => break then,
                Err(error) if self.dialect.is_none() => break Then::NotThis(error),
                Err(_) => break Then::Done, // it goes on without TLS, or differently from all known
            }
        };
        Turn { consumed: bytes.len().saturating_sub(rest.len()), then }
    }

    /// Lines and elements fall into step again behind a hole. With the others the server's part is
    /// dispensable: where the client's TLS begins shows by itself.
    fn gap(&mut self, from: Direction) -> bool {
        *self.searched(from) = 0;
        self.server_lost |= from == Down;
        from == Down || matches!(self.dialect, Some(Dialect::Lines | Dialect::Xml))
    }

    /// A hello that waited for a reply which does not come still names somebody.
    fn cut(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) {
        if self.dialect != Some(Dialect::Tds) && tls::looks_like(bytes) == Some(true) {
            let turn = self.inner.feed(from, bytes, out);
            self.inner.cut(from, bytes.get(turn.consumed..).unwrap_or_default(), out);
        }
    }
}

impl StartTls {
    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        self.inner.memory()
    }

    fn step(&mut self, from: Direction, rest: &[u8], out: &mut Out<'_>) -> Parsed<Step> {
        let more = Ok(Step::Stop(Then::Need(rest.len().saturating_add(1))));
        let Some(&first) = rest.first() else { return more };
        let opening = self.dialect.map_or_else(|| opening(from, rest), Opening::Of);
        let dialect = match opening {
            Opening::Of(dialect) => dialect,
            Opening::Unknown if rest.len() >= OPENING_MAX => {
                return Err(ParseError::invalid("greeting"));
            }
            // What the other direction says may tell.
            Opening::Unknown | Opening::Open => return more,
        };
        self.dialect = Some(dialect);
        self.server_heard |= from == Down;
        if first == TLS_HANDSHAKE && dialect != Dialect::Tds {
            match tls::looks_like(rest) {
                Some(true) if self.has_to_wait(from, rest) => {
                    self.holding = true;
                    return more;
                }
                Some(true) => return Ok(Step::Stop(Then::Handover(Some(Protocol::Tls)))),
                Some(false) => {}
                None => return more,
            }
        }
        if from == Down && self.server_lost && !matches!(dialect, Dialect::Lines | Dialect::Xml) {
            return Ok(Step::Stop(Then::Deaf));
        }
        let searched = self.searched(from);
        let Some(unit) = unit(dialect, from, rest, searched)? else { return more };
        *searched = 0;
        if dialect == Dialect::Tds
            && let Some(then) = self.unwrapped(from, rest.get(TDS_HEADER..unit.length), out)
        {
            return Ok(Step::Stop(then));
        }
        self.asked = (self.asked || unit.asks) && !unit.replies;
        Ok(Step::Next(unit.length))
    }

    fn searched(&mut self, from: Direction) -> &mut usize {
        let [up, down] = &mut self.searched;
        match from {
            Up => up,
            Down => down,
        }
    }

    /// Whether a hello came ahead of the server's reply, which is not consumed yet and may come.
    fn has_to_wait(&self, from: Direction, hello: &[u8]) -> bool {
        from == Up
            && self.asked
            && self.server_heard
            && !self.server_lost
            && hello.len() <= HOLD_MAX
    }

    /// Shows the inside of a TDS packet to the TLS reader, if it is TLS. Records that span packets
    /// are not joined; a name in the first packet is found all the same.
    fn unwrapped(
        &mut self,
        from: Direction,
        inside: Option<&[u8]>,
        out: &mut Out<'_>,
    ) -> Option<Then> {
        let inside = inside.filter(|i| tls::looks_like(i) == Some(true))?;
        let turn = self.inner.feed(from, inside, out);
        if let Some(left) = inside.get(turn.consumed..).filter(|left| !left.is_empty()) {
            self.inner.cut(from, left, out);
        }
        match turn.then {
            Then::Need(_) | Then::Deaf if turn.consumed == inside.len() => None,
            _ => Some(Then::Done),
        }
    }
}

/// Whether `bytes`, the first of direction `from`, open a protocol that may turn to TLS: `None`
/// until there are enough to tell.
pub fn looks_like(from: Direction, bytes: &[u8]) -> Option<bool> {
    match opening(from, bytes) {
        Opening::Of(_) => Some(true),
        Opening::Unknown => Some(false),
        Opening::Open => None,
    }
}

fn opening(from: Direction, bytes: &[u8]) -> Opening {
    let texts = OPENINGS
        .iter()
        .filter(|(side, _, _)| *side == from)
        .map(|&(_, text, dialect)| (begins(bytes, text), dialect));
    let shapes = SHAPES
        .iter()
        .filter(|(side, _, _)| *side == from)
        .map(|&(_, fits, dialect)| (fits(bytes), dialect));
    let mut undecided = false;
    for (fits, dialect) in texts.chain(shapes) {
        if fits == Some(true) {
            return Opening::Of(dialect);
        }
        undecided |= fits.is_none();
    }
    if undecided { Opening::Open } else { Opening::Unknown }
}

/// Whether `bytes` begin with `text`, in either letter case.
fn begins(bytes: &[u8], text: &[u8]) -> Option<bool> {
    let there = bytes.len().min(text.len());
    let same = bytes.get(..there)?.eq_ignore_ascii_case(text.get(..there)?);
    if same && there < text.len() { None } else { Some(same) }
}

/// A tag and one of the commands with which an IMAP client begins.
fn imap_command(bytes: &[u8]) -> Option<bool> {
    let tag = bytes.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    match bytes.get(tag) {
        _ if tag > 16 => Some(false),
        None => None,
        Some(b' ') if tag > 0 => {
            let command = bytes.get(tag.saturating_add(1)..)?;
            let fits = [begins(command, b"CAPABILITY"), begins(command, b"STARTTLS")];
            if fits.contains(&None) { None } else { Some(fits.contains(&Some(true))) }
        }
        Some(_) => Some(false),
    }
}

/// Handshake of protocol 10: 3 bytes of length, sequence number 0, and a version such as `8.0.36`.
fn mysql_greeting(bytes: &[u8]) -> Option<bool> {
    let good = |(at, &byte): (usize, &u8)| match at {
        1 => byte <= 1,
        2 | 3 => byte == 0,
        4 => byte == 10,
        5 => byte.is_ascii_digit(),
        6 => byte.is_ascii_digit() || byte == b'.',
        _ => true,
    };
    if !bytes.iter().take(7).enumerate().all(good) {
        return Some(false);
    }
    (bytes.len() >= 7).then_some(true)
}

/// A `LDAPMessage` with the extended request for TLS.
fn ldap_starttls(bytes: &[u8]) -> Option<bool> {
    match ldap_request_name(bytes) {
        Ok(name) => Some(name == LDAP_STARTTLS),
        Err(error) if error == SHORT && bytes.len() < OPENING_MAX => None,
        Err(_) => Some(false),
    }
}

/// The failure that more bytes may mend.
const SHORT: ParseError = ParseError::short("ldap");

fn ldap_request_name(bytes: &[u8]) -> Parsed<&[u8]> {
    let mut rest = Reader::new(bytes);
    ber(&mut rest, 0x30)?;
    let id = ber(&mut rest, 0x02)?;
    rest.skip(id, SHORT.field)?;
    ber(&mut rest, 0x77)?;
    let name = ber(&mut rest, 0x80)?;
    if name != LDAP_STARTTLS.len() {
        return Err(ParseError::invalid("requestName"));
    }
    rest.take(name, SHORT.field)
}

/// Length of a BER element of type `tag` (X.690 §8.1.3, at most four octets of length).
fn ber(rest: &mut Reader<'_>, tag: u8) -> Parsed<usize> {
    if rest.u8(SHORT.field)? != tag {
        return Err(ParseError::invalid("tag"));
    }
    let length = match rest.u8(SHORT.field)? {
        short @ 0..=0x7f => u32::from(short),
        0x81 => rest.u8(SHORT.field)?.into(),
        0x82 => rest.u16(SHORT.field)?.into(),
        0x83 => rest.u24(SHORT.field)?,
        0x84 => rest.u32(SHORT.field)?,
        _ => return Err(ParseError::invalid("length")),
    };
    usize::try_from(length).map_err(|_| ParseError::limit("length"))
}

/// TPKT header and an X.224 connection request that fills it.
fn rdp_connect(bytes: &[u8]) -> Option<bool> {
    if bytes.iter().zip([3, 0, 0]).any(|(&byte, good)| byte != good) {
        return Some(false);
    }
    let &[_, _, _, length, indicator, code] = bytes.first_chunk()?;
    Some(code == 0xe0 && length.checked_sub(5) == Some(indicator))
}

/// A pre-login packet whose first option is the version, of 6 bytes.
fn tds_prelogin(bytes: &[u8]) -> Option<bool> {
    let good = |(at, &byte): (usize, &u8)| match at {
        0 => byte == TDS_PRELOGIN,
        1 => byte <= 1,
        2 => usize::from(byte) << 8 < UNIT_MAX,
        7 | 8 | 11 => byte == 0,
        12 => byte == 6,
        _ => true,
    };
    if !bytes.iter().take(13).enumerate().all(good) {
        return Some(false);
    }
    (bytes.len() >= 13).then_some(true)
}

/// The unit that `bytes` begin with; `None` if its end is not there yet. `searched` saves looking
/// at the same bytes for each segment of a long line.
fn unit(
    dialect: Dialect,
    from: Direction,
    bytes: &[u8],
    searched: &mut usize,
) -> Parsed<Option<Unit>> {
    let length = match dialect {
        Dialect::Lines => ending(bytes, b'\n', searched),
        Dialect::Xml if bytes.first().is_some_and(u8::is_ascii_whitespace) => Some(1),
        Dialect::Xml => ending(bytes, b'>', searched),
        Dialect::Postgres => Some(if from == Up { 8 } else { 1 }),
        Dialect::Mysql => bytes.first_chunk().map(|&[a, b, c]| framed([c, b, a], 4)),
        Dialect::Ldap => {
            let mut rest = Reader::new(bytes);
            match ber(&mut rest, 0x30) {
                Ok(inside) => Some(bytes.len().saturating_sub(rest.len()).saturating_add(inside)),
                Err(SHORT) => None,
                Err(error) => return Err(error),
            }
        }
        Dialect::Rdp | Dialect::Tds => {
            bytes.first_chunk().map(|&[_, _, a, b]| framed([0, a, b], 0))
        }
    };
    if length.unwrap_or(bytes.len()) > UNIT_MAX {
        return Err(ParseError::limit("unit"));
    }
    let Some(text) = length.and_then(|l| bytes.get(..l)) else { return Ok(None) };
    let (asks, replies) = meaning(dialect, from, text).ok_or(ParseError::invalid("unit"))?;
    Ok(Some(Unit { length: text.len(), asks, replies }))
}

/// Bytes up to and with the first `last`.
fn ending(bytes: &[u8], last: u8, searched: &mut usize) -> Option<usize> {
    let fresh = bytes.get(*searched..).unwrap_or_default();
    let at = fresh.iter().position(|&b| b == last);
    let end = at.map(|at| searched.saturating_add(at).saturating_add(1));
    *searched = bytes.len();
    end
}

/// Length of a message whose length field leaves out `beside` bytes.
fn framed([a, b, c]: [u8; 3], beside: usize) -> usize {
    usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX).saturating_add(beside)
}

/// Whether a unit asks for TLS, and whether it ends a reply; `None` if with it the session goes on
/// without TLS.
fn meaning(dialect: Dialect, from: Direction, text: &[u8]) -> Option<(bool, bool)> {
    let up = from == Up;
    match dialect {
        Dialect::Lines => Some((up && asks_in_line(text), !up && replies_in_line(text))),
        Dialect::Xml => Some((
            up && text.starts_with(b"<starttls"),
            text.starts_with(b"<proceed") || text.starts_with(b"<failure"),
        )),
        Dialect::Postgres if up => {
            text.starts_with(b"\0\0\0\x08\x04\xd2\x16").then_some((true, false))
        }
        Dialect::Postgres => matches!(text, b"S" | b"G" | b"N").then_some((false, true)),
        // The client's TLS follows its request at once, there is no reply to it.
        Dialect::Mysql if up => {
            let asks = text.len() == 36 && text.get(5)? & MYSQL_CLIENT_SSL != 0;
            asks.then_some((false, false))
        }
        Dialect::Mysql => (*text.get(3)? == 0).then_some((false, false)),
        Dialect::Ldap if up => ldap_starttls(text)?.then_some((true, false)),
        Dialect::Ldap => Some((false, true)),
        Dialect::Rdp => (*text.get(5)? == if up { 0xe0 } else { 0xd0 }).then_some((up, !up)),
        Dialect::Tds => {
            let kind = *text.first()?;
            let good =
                text.len() > TDS_HEADER && (kind == TDS_PRELOGIN || !up && kind == TDS_RESPONSE);
            good.then_some((false, false))
        }
    }
}

/// STARTTLS of SMTP and (behind a tag) IMAP, STLS of POP3, AUTH TLS and AUTH SSL of FTP.
fn asks_in_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let command = line.splitn(2, |&b| b == b' ').last().unwrap_or_default();
    ["STARTTLS", "STLS"].iter().any(|c| command.eq_ignore_ascii_case(c.as_bytes()))
        || begins(line, b"AUTH TLS") == Some(true)
        || begins(line, b"AUTH SSL") == Some(true)
}

/// The last line of a reply: `220 ` (not `220-`), `+OK`, `-ERR`, or a tag with its outcome.
fn replies_in_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let mut words = line.split(|&b| b == b' ');
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    matches!(first, [a, b, c] if [a, b, c].iter().all(|d| d.is_ascii_digit()))
        || matches!(first.first(), Some(b'+' | b'-'))
        || first != b"*" && [&b"OK"[..], b"NO", b"BAD"].contains(&second)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::super::tls::sample::{Conversation, Dice, Offer, Player, server_hello};
    use super::*;

    /// What a client's hello and its answer say.
    const SAID: [&str; 2] = ["chat.example 0303 [] t12d030100", "server 0303"];

    fn hello() -> Vec<u8> {
        Offer::new("chat.example").record()
    }

    fn answer() -> Vec<u8> {
        server_hello(0x0303, [1; 32], None)
    }

    /// The clear part of a session of each protocol, from the greeting to the consent.
    fn openings() -> Vec<(&'static str, Conversation)> {
        let text = |parts: &[(Direction, &str)]| -> Conversation {
            parts.iter().map(|(from, line)| (*from, line.as_bytes().to_vec())).collect()
        };
        let ldap = [&[0x30, 0x1d, 2, 1, 1, 0x77, 0x18, 0x80, 0x16][..], LDAP_STARTTLS].concat();
        let ldap_long = [
            &[0x30, 0x84, 0, 0, 0, 0x21, 2, 1, 1, 0x77, 0x84, 0, 0, 0, 0x18, 0x80, 0x16][..],
            LDAP_STARTTLS,
        ]
        .concat();
        let ldap_yes = vec![0x30, 0x0c, 2, 1, 1, 0x78, 7, 10, 1, 0, 4, 0, 4, 0];
        let greeting = [&[0x4a, 0, 0, 0, 10][..], b"8.0.36\0", &[0x5a; 0x4a - 8]].concat();
        let ask = [&[32, 0, 0, 1, 0x85, 0xae, 0xff, 1, 0, 0, 0, 1, 255][..], &[0; 23]].concat();
        let connect = [
            &[3, 0, 0, 0x2a, 0x25, 0xe0, 0, 0, 0, 0, 0][..],
            b"Cookie: mstshash=ex\r\n",
            &[0, 1, 0, 8, 0, 3, 0, 0, 0, 0],
        ]
        .concat();
        let connected = vec![3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 1, 0, 0, 0];
        vec![
            (
                "SMTP",
                text(&[
                    (Down, "220-mail.example\r\n220 ready\r\n"),
                    (Up, "EHLO client.example\r\n"),
                    (Down, "250-mail.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"),
                    (Up, "STARTTLS\r\n"),
                    (Down, "220 go ahead\r\n"),
                ]),
            ),
            (
                "IMAP",
                text(&[
                    (Down, "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
                    (Up, "a1 CAPABILITY\r\n"),
                    (Down, "* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n"),
                    (Up, "a2 starttls\r\n"),
                    (Down, "a2 OK begin\r\n"),
                ]),
            ),
            (
                "POP3",
                text(&[(Down, "+OK pop.example\r\n"), (Up, "STLS\r\n"), (Down, "+OK begin\r\n")]),
            ),
            (
                "FTP",
                text(&[
                    (Down, "220-hello\r\n what you see\r\n220 ready\r\n"),
                    (Up, "FEAT\r\n"),
                    (Down, "211-Features:\r\n AUTH TLS\r\n211 End\r\n"),
                    (Up, "AUTH TLS\r\n"),
                    (Down, "234 proceed\r\n"),
                ]),
            ),
            (
                "XMPP",
                text(&[
                    (Up, "<?xml version='1.0'?>\n<stream:stream to='chat.example' version='1.0'>"),
                    (Down, "<?xml version='1.0'?><stream:stream from='chat.example'>"),
                    (Down, "<stream:features><starttls><required/></starttls></stream:features>"),
                    (Up, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                    (Down, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                ]),
            ),
            ("LDAP", vec![(Up, ldap), (Down, ldap_yes.clone())]),
            ("LDAP, long lengths", vec![(Up, ldap_long), (Down, ldap_yes)]),
            (
                "PostgreSQL",
                vec![(Up, vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]), (Down, b"S".to_vec())],
            ),
            (
                "PostgreSQL, GSS first",
                vec![
                    (Up, vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x30]),
                    (Down, b"N".to_vec()),
                    (Up, vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
                    (Down, b"S".to_vec()),
                ],
            ),
            ("MySQL", vec![(Down, greeting), (Up, ask)]),
            ("RDP", vec![(Up, connect), (Down, connected)]),
        ]
    }

    fn consumed(conversation: &Conversation) -> [usize; 2] {
        [Up, Down].map(|side| {
            conversation.iter().filter(|(from, _)| *from == side).map(|(_, b)| b.len()).sum()
        })
    }

    fn play(conversation: &Conversation, sizes: &[usize]) -> Player {
        let mut player = Player::new(StartTls::default());
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

    fn with_tls(mut conversation: Conversation) -> Conversation {
        conversation.extend([(Up, hello()), (Down, answer())]);
        conversation
    }

    #[test]
    fn hands_over_at_the_right_byte_of_each_direction() {
        for (name, opening) in openings() {
            let clear = consumed(&opening);
            let player = play(&with_tls(opening), &[usize::MAX]);
            assert_eq!(player.handed_over, Some(clear), "{name}");
            assert_eq!(player.said, SAID, "{name}");
            assert_eq!(player.end, Some(Then::Done), "{name}");
        }
    }

    #[test]
    fn opens_what_it_can_read() {
        for (name, opening) in openings() {
            let (from, bytes) = &opening[0];
            assert_eq!(looks_like(*from, bytes), Some(true), "{name}");
            let first = (1..=bytes.len()).find_map(|n| looks_like(*from, &bytes[..n]));
            assert_eq!(first, Some(true), "{name}: given up before it was told");
        }
        let others: [(&str, Direction, &[u8]); 14] = [
            ("HTTP", Up, b"GET / HTTP/1.1\r\n"),
            ("HTTP", Down, b"HTTP/1.1 200 OK\r\n"),
            ("SSH", Down, b"SSH-2.0-OpenSSH_9.6\r\n"),
            ("SSH", Up, b"SSH-2.0-OpenSSH_9.6\r\n"),
            ("TLS", Up, &hello()),
            ("TLS", Down, &answer()),
            ("SOCKS", Up, &[5, 1, 0]),
            ("LDAP bind", Up, &[0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0]),
            ("PostgreSQL start-up", Up, &[0, 0, 0, 41, 0, 3, 0, 0]),
            ("MySQL refusal", Down, &[0x4a, 0, 0, 0, 0xff, 0x69]),
            ("X.224 data", Up, &[3, 0, 0, 7, 2, 0xf0, 0x80]),
            ("TDS batch", Up, &[1, 1, 0, 40, 0, 0, 1, 0, 22, 0, 0, 0, 18]),
            ("words", Up, b"hello world"),
            ("zeroes", Up, &[0; 16]),
        ];
        for (name, from, bytes) in others {
            assert_eq!(looks_like(from, bytes), Some(false), "{name}");
        }
    }

    #[test]
    fn one_side_is_enough() {
        for (name, opening) in openings() {
            if ["MySQL", "FTP"].contains(&name) {
                continue; // the client's part alone does not open
            }
            let conversation: Conversation =
                with_tls(opening).into_iter().filter(|(from, _)| *from == Up).collect();
            assert_eq!(play(&conversation, &[usize::MAX]).said, SAID[..1], "{name}");
        }
        for (name, opening) in openings() {
            let conversation: Conversation =
                with_tls(opening).into_iter().filter(|(from, _)| *from == Down).collect();
            if ["SMTP", "IMAP", "POP3", "FTP", "MySQL", "XMPP"].contains(&name) {
                assert_eq!(play(&conversation, &[usize::MAX]).said, SAID[1..], "{name}");
            }
        }
    }

    /// A client may send its hello with the command, which is bad manners but works.
    #[test]
    fn a_hello_ahead_of_the_consent_waits_for_it() {
        for (name, opening) in openings() {
            let clear = consumed(&opening);
            let mut conversation = opening;
            let Some(at) = conversation.iter().rposition(|(from, _)| *from == Up) else { continue };
            conversation[at].1.extend(hello());
            conversation.push((Down, answer()));
            let player = play(&conversation, &[usize::MAX]);
            assert_eq!(player.said[0], SAID[0], "{name}");
            // Where the server is first heard with its consent, nothing tells that it will come.
            if ["SMTP", "IMAP", "POP3", "FTP", "XMPP"].contains(&name) {
                assert_eq!(player.said, SAID, "{name}");
                assert_eq!(player.handed_over, Some(clear), "{name}");
            }
        }
    }

    #[test]
    fn a_hello_that_waits_in_vain_is_read_in_the_end() {
        let conversation: Conversation =
            vec![(Down, b"220 ready\r\n".to_vec()), (Up, [b"STARTTLS\r\n", &hello()[..]].concat())];
        let player = play(&conversation, &[usize::MAX]);
        assert_eq!((player.handed_over, player.said), (None, vec![SAID[0].to_string()]));
    }

    #[test]
    fn gives_up() {
        let line = |text: &str, times: usize| text.repeat(times).into_bytes();
        let cases: [(&str, Conversation, Option<Then>); 8] = [
            (
                "mail in clear",
                vec![(Down, line("220 x\r\n", 1)), (Up, line("a line of a letter\r\n", 1_000))],
                Some(Then::Done),
            ),
            (
                "line without end",
                vec![(Down, line("220 x\r\n", 1)), (Up, line("a", UNIT_MAX + 1))],
                Some(Then::Done),
            ),
            (
                "PostgreSQL without TLS",
                vec![
                    (Up, vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
                    (Down, b"N".to_vec()),
                    (Up, vec![0, 0, 0, 41, 0, 3, 0, 0]),
                ],
                Some(Then::Done),
            ),
            (
                "MySQL without TLS",
                vec![
                    openings()[9].1[0].clone(),
                    (Up, [&[32, 0, 0, 1, 5, 0xa6][..], &[0; 30]].concat()),
                ],
                Some(Then::Done),
            ),
            (
                "RDP without TLS",
                vec![openings()[10].1[0].clone(), (Up, vec![3, 0, 0, 7, 2, 0xf0, 0x80])],
                Some(Then::Done),
            ),
            ("length of a giant", vec![(Up, vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2])], None),
            (
                "nothing known",
                vec![(Up, vec![b'z'; OPENING_MAX])],
                Some(Then::NotThis(ParseError::invalid("greeting"))),
            ),
            (
                "nothing known yet",
                vec![(Up, b"USER x\r\n".to_vec()), (Down, line("220 x\r\n", 1))],
                None,
            ),
        ];
        for (name, conversation, end) in cases {
            assert_eq!(play(&conversation, &[usize::MAX]).end, end, "{name}");
        }
    }

    fn tds(kind: u8, inside: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inside.len() + TDS_HEADER).unwrap().to_be_bytes();
        [&[kind, 1, length[0], length[1], 0, 0, 1, 0][..], inside].concat()
    }

    #[test]
    fn reads_tls_inside_tds() {
        let login = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 255, 15, 0, 7, 208, 0, 0, 1];
        let hello = hello();
        let opened = |rest: Conversation| -> Conversation {
            [vec![(Up, tds(0x12, &login)), (Down, tds(4, &login))], rest].concat()
        };
        let whole = opened(vec![(Up, tds(0x12, &hello)), (Down, tds(0x12, &answer()))]);
        for sizes in [&[usize::MAX][..], &[1], &[5, 100]] {
            let player = play(&whole, sizes);
            assert_eq!(
                (player.said, player.end),
                (SAID.map(String::from).to_vec(), Some(Then::Done))
            );
        }
        let long = Offer::new("chat.example").browser().record();
        let (head, tail) = long.split_at(1_000);
        let split = opened(vec![(Up, [tds(0x12, head), tds(0x12, tail)].concat())]);
        let player = play(&split, &[usize::MAX]);
        assert!(player.said[0].starts_with("chat.example 0304"), "{:?}", player.said);
        let plain = opened(vec![(Up, tds(0x10, &[0; 100]))]);
        let player = play(&plain, &[usize::MAX]);
        assert_eq!((player.said, player.end), (vec![], Some(Then::Done)));
    }

    #[test]
    fn a_hole_does_not_hide_the_hello() {
        for side in [Up, Down] {
            let mut player = Player::new(StartTls::default());
            player.push(Down, b"220 mail.example\r\n");
            player.push(Up, b"EHLO cli");
            player.push(Down, b"250-ma");
            player.hole(side);
            player.push(Up, b"of a line\r\n");
            player.push(Down, b"of a line\r\n");
            player.push(Up, b"STARTTLS\r\n");
            player.push(Down, b"220 go\r\n");
            player.push(Up, &hello());
            assert_eq!(player.said, SAID[..1], "{side:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_into_segments_says_the_same(
            which in 0..11_usize,
            sizes in prop::collection::vec(1..300_usize, 1..30),
        ) {
            let (name, opening) = openings().swap_remove(which);
            let clear = consumed(&opening);
            let player = play(&with_tls(opening), &sizes);
            prop_assert_eq!(player.handed_over, Some(clear), "{}", name);
            prop_assert_eq!(player.said, SAID, "{}", name);
        }
    }

    #[test]
    fn spoiled_conversations_end_in_bounded_turns() {
        let mut dice = Dice::new(3);
        let samples: Vec<Conversation> =
            openings().into_iter().map(|(_, opening)| with_tls(opening)).collect();
        for _ in 0..20_000 {
            let mut conversation = samples[dice.below(samples.len())].clone();
            for (_, bytes) in &mut conversation {
                if dice.below(3) == 0 {
                    dice.spoil(bytes);
                }
            }
            let segment = 1 + dice.below(400);
            let player = play(&conversation, &[segment]);
            let bytes: usize = conversation.iter().map(|(_, b)| b.len()).sum();
            assert!(player.turns <= bytes + 16, "{} turns for {bytes} bytes", player.turns);
        }
    }
}
