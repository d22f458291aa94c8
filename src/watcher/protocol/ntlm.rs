//! NTLM: who logs on to file servers, remote procedures, directories and databases.
//!
//! In: a TCP stream of SMB 1 to 3, DCE/RPC, LDAP or TDS, either direction; or the text of an
//! HTTP `Authorization` field.
//! Out: user and domain of AUTHENTICATE messages, as UTF-8; whether SMB and LDAP servers let them in.
//! Never: reads challenges or responses to them; messages that set up no session are passed
//! over unbuffered, encrypted ones too.
//! Limits: the first 16 KiB of a message that sets up a session, 4 KiB of base64 (decoded),
//! 256 octets of a name.
//! Source: MS-NLMP §2.2.1.3; RFC 1002 §4.3 and MS-SMB2 §2.1 (framing), MS-CIFS §2.2.3.1, MS-SMB2
//! §2.2.1; C706 §12.6.3 (DCE/RPC); RFC 4511 §4.1.1 and RFC 4422 §3.7 (LDAP); MS-TDS §2.2.3.1;
//! RFC 4559 §4 and RFC 4648 §4 (HTTP).

use super::kerberos::length as ber_length;
use super::{AccountSource, Metadata, Out, StreamParser, Then, Turn, ldap};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Octets of a session setup that are waited for. AUTHENTICATE is 1 or 2 KiB at most; what is
/// longer carries a Kerberos ticket.
const SETUP_MAX: usize = 16 * 1024;

/// Octets decoded of a base64 text, for the same reason; on the stack.
const DECODED_MAX: usize = 4 * 1024;

/// Octets of a user or domain in UTF-8. Logon names have 20 characters, principal names 64 and
/// their domain.
const NAME_MAX: usize = 256;

/// Signature and type of AUTHENTICATE (MS-NLMP §2.2.1.3).
const AUTHENTICATE: &[u8; 12] = b"NTLMSSP\0\x03\0\0\0";

/// Offset of the flags; messages of the oldest clients end before them.
const FLAGS_AT: usize = 60;

/// The login goes on with another message (MS-ERREF §2.3.1).
const MORE_PROCESSING_REQUIRED: u32 = 0xc000_0016;

/// Strings are UTF-16LE, else in a code page that is not said (MS-NLMP §2.2.2.5).
const UNICODE: u32 = 1;

/// Account of an AUTHENTICATE message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logon {
    user: Name,
    domain: Name,
}

impl Logon {
    /// User as UTF-8, never empty.
    pub fn user(&self) -> &[u8] {
        self.user.bytes()
    }

    /// Domain, or the name of a machine for its local accounts, as UTF-8; may be empty.
    pub fn domain(&self) -> &[u8] {
        self.domain.bytes()
    }

    /// The same as metadata.
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata::Account { source: AccountSource::Ntlm, user: self.user(), domain: self.domain() }
    }
}

/// The account of the first AUTHENTICATE message in a blob; `None` if there is none or the
/// logon is anonymous.
///
/// # Errors
/// `Short` if a name lies beyond the blob, `Limit` if it is too long.
pub fn authenticate(blob: &[u8]) -> Parsed<Option<Logon>> {
    let Some(message) = found(blob) else { return Ok(None) };
    let mut r = Reader::new(message);
    r.skip(28, "LmChallengeResponse, NtChallengeResponse")?;
    let (domain, user) = (Field::read(&mut r)?, Field::read(&mut r)?);
    r.skip(16, "Workstation, EncryptedRandomSessionKey")?;
    if user.len == 0 {
        return Ok(None);
    }
    // Where the flags would be, an old client has its first string.
    let flagged = user.at.min(domain.at_if_any()) >= FLAGS_AT.saturating_add(4);
    let unicode = match r.array("NegotiateFlags").map(u32::from_le_bytes) {
        Ok(flags) if flagged => flags & UNICODE != 0,
        _ => false,
    };
    let user = Name::decoded(user.bytes(message)?, unicode)?;
    let domain = Name::decoded(domain.bytes(message)?, unicode)?;
    Ok((!user.bytes().is_empty()).then_some(Logon { user, domain }))
}

/// The account in the value of an `Authorization` or `Proxy-Authorization` field of the schemes
/// NTLM and Negotiate; `None` if it has none.
///
/// # Errors
/// As [`authenticate`].
pub fn from_authorization(value: &[u8]) -> Parsed<Option<Logon>> {
    let mut words = value.splitn(2, |&b| b == b' ');
    match (words.next(), words.next()) {
        (Some(scheme), Some(text))
            if scheme.eq_ignore_ascii_case(b"NTLM")
                || scheme.eq_ignore_ascii_case(b"Negotiate") =>
        {
            from_base64(text.trim_ascii())
        }
        _ => Ok(None),
    }
}

/// The account in a base64 text, as HTTP, SMTP, IMAP and POP3 carry it; what stands behind the
/// first character that is not base64 is left out.
///
/// # Errors
/// As [`authenticate`].
pub fn from_base64(text: &[u8]) -> Parsed<Option<Logon>> {
    let mut decoded = [0; DECODED_MAX];
    let mut len = 0;
    // Four characters make three octets; a shorter end makes one less than it has.
    for (four, three) in text.chunks(4).zip(decoded.chunks_exact_mut(3)) {
        let digits = four.iter().map_while(|&b| sextet(b));
        let (bits, count) = digits.fold((0_u32, 0_usize), |(bits, count), digit| {
            (bits << 6 | u32::from(digit), count.saturating_add(1))
        });
        let shift = 6_usize.saturating_mul(4_usize.saturating_sub(count));
        let [_, octets @ ..] = (bits << shift).to_be_bytes();
        three.copy_from_slice(&octets);
        len = count.saturating_sub(1).saturating_add(len);
        if count < 4 {
            break;
        }
    }
    authenticate(decoded.get(..len).unwrap_or_default())
}

/// The blob from the first AUTHENTICATE message on.
fn found(mut blob: &[u8]) -> Option<&[u8]> {
    // By the first letter, so that a long ticket costs one pass and no comparison an octet.
    loop {
        blob = blob.get(blob.iter().position(|&b| b == AUTHENTICATE[0])?..)?;
        if blob.starts_with(AUTHENTICATE) {
            return Some(blob);
        }
        blob = blob.get(1..)?;
    }
}

/// Value of a base64 digit (RFC 4648 §4).
fn sextet(digit: u8) -> Option<u8> {
    let (first, value) = match digit {
        b'A'..=b'Z' => (b'A', 0_u8),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(digit.saturating_sub(first).saturating_add(value))
}

/// Length and place of a string in the message (MS-NLMP §2.2.1.3).
#[derive(Clone, Copy)]
struct Field {
    len: usize,
    at: usize,
}

impl Field {
    fn read(r: &mut Reader<'_>) -> Parsed<Self> {
        let len = u16::from_le_bytes(r.array("Len")?);
        r.skip(2, "MaxLen")?;
        let at = u32::from_le_bytes(r.array("BufferOffset")?);
        Ok(Self { len: len.into(), at: at as usize })
    }

    /// Where it stands; empty ones stand anywhere.
    fn at_if_any(self) -> usize {
        if self.len == 0 { usize::MAX } else { self.at }
    }

    fn bytes(self, message: &[u8]) -> Parsed<&[u8]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        let rest = message.get(self.at..).ok_or(ParseError::short("BufferOffset"))?;
        rest.get(..self.len).ok_or(ParseError::short("Payload"))
    }
}

/// A name in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl Name {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Broken UTF-16, and letters of the unknown code page, become U+FFFD.
    fn decoded(bytes: &[u8], unicode: bool) -> Parsed<Self> {
        let mut name = Self { bytes: [0; NAME_MAX], len: 0 };
        if unicode {
            let units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
            for letter in char::decode_utf16(units) {
                name.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER))?;
            }
        } else {
            for &byte in bytes {
                let known = byte.is_ascii().then_some(char::from(byte));
                name.push(known.unwrap_or(char::REPLACEMENT_CHARACTER))?;
            }
        }
        Ok(name)
    }

    fn push(&mut self, letter: char) -> Parsed<()> {
        let end = self.len.saturating_add(letter.len_utf8());
        let to = self.bytes.get_mut(self.len..end).ok_or(ParseError::limit("UserName"))?;
        letter.encode_utf8(to);
        self.len = end;
        Ok(())
    }
}

/// NTLM in a TCP stream; the first message of the stream says in which carrier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ntlm {
    carrier: Option<Carrier>,
}

impl StreamParser for Ntlm {
    fn feed(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Turn {
        let mut rest = bytes;
        loop {
            let consumed = bytes.len().saturating_sub(rest.len());
            let turn = |then| Turn { consumed, then };
            let Some(&first) = rest.first() else { return turn(Then::Need(1)) };
            let carrier = match self.carrier {
                Some(carrier) => carrier,
                None => match Carrier::of(first) {
                    Some(carrier) => carrier,
                    None => return turn(Then::NotThis(ParseError::invalid("carrier"))),
                },
            };
            let unit = match carrier.unit(rest) {
                Ok(Look::Unit(unit)) => unit,
                Ok(Look::Need(n)) => return turn(Then::Need(n)),
                Err(error) => return turn(Then::NotThis(error)),
            };
            self.carrier = Some(carrier);
            if !unit.sets_up {
                return turn(Then::Skip(unit.length));
            }
            let head = usize::try_from(unit.length).map_or(SETUP_MAX, |n| n.min(SETUP_MAX));
            let Some((setup, behind)) = rest.split_at_checked(head) else {
                return turn(Then::Need(head));
            };
            if let Some(granted) = carrier.answer(setup) {
                out(Metadata::LoginAnswer { granted });
            } else if let Ok(Some(logon)) = authenticate(setup) {
                out(logon.metadata());
            } else if carrier == Carrier::Ldap
                && let Ok(Some(name)) = ldap::simple_bind(setup)
            {
                out(ldap::metadata(name));
            }
            rest = behind;
            if let more @ 1.. = unit.length.saturating_sub(head as u64) {
                let consumed = consumed.saturating_add(head);
                return Turn { consumed, then: Then::Skip(more) };
            }
        }
    }
}

/// `true` if a TCP stream starts as SMB does, with a bind of DCE/RPC or LDAP, or with a login of
/// TDS, whatever the port: remote procedures are called on ports that were agreed on elsewhere.
pub fn looks_like(bytes: &[u8]) -> bool {
    let binds = |look| matches!(look, Ok(Look::Unit(Unit { sets_up: true, .. })));
    match bytes {
        [5, 0 | 1, 11 | 14, _, 0 | 0x10, 0, 0, 0, ..] => binds(rpc(bytes)),
        [0x30, ..] => binds(ldap_unit(bytes)) && ldap::bind_answer(bytes).is_err(),
        // TDS 7 (MS-TDS §2.2.3.1): a login that says its own length again.
        &[0x10, 1, high, low, _, _, _, 0, a, b, c, d, ..] => {
            let inner = u32::from_le_bytes([a, b, c, d]).saturating_add(8);
            inner == u32::from(u16::from_be_bytes([high, low]))
        }
        // SMB; and the offer before a login of TDS, whose first option is the version.
        [0, _, _, _, 0xfe | 0xff, b'S', b'M', b'B', ..]
        | [0x12, 1, _, _, _, _, _, 0, 0, 0, _, 0, 6, ..] => true,
        _ => false,
    }
}

/// Who speaks like this: SMB says it in its flags, all others begin with the client.
pub fn speaker(bytes: &[u8]) -> Direction {
    let answers = match bytes.get(4) {
        Some(0xff) => bytes.get(13).is_some_and(|flags| flags & 0x80 != 0),
        Some(0xfe) => bytes.get(20).is_some_and(|flags| flags & 1 != 0),
        _ => false,
    };
    if answers { Direction::Down } else { Direction::Up }
}

/// What frames the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// SMB behind the header of a `NetBIOS` session.
    Smb,
    /// Connection-oriented DCE/RPC.
    Rpc,
    /// LDAP, later perhaps inside SASL buffers.
    Ldap,
    /// Tabular data stream of SQL Server.
    Tds,
}

/// One message: how long it is with its framing, and whether it may carry AUTHENTICATE.
struct Unit {
    length: u64,
    sets_up: bool,
}

/// A message, or how many octets show what it is.
enum Look {
    Unit(Unit),
    Need(usize),
}

impl Carrier {
    /// The carriers differ in their first octet.
    fn of(first: u8) -> Option<Self> {
        match first {
            0 | 0x81..=0x85 => Some(Self::Smb),
            5 => Some(Self::Rpc),
            0x30 => Some(Self::Ldap),
            1..=4 | 6..=0x12 => Some(Self::Tds),
            _ => None,
        }
    }

    /// What a server says of a login; `None` for what is no answer, or not the last one. Remote
    /// procedures and TDS are not asked: whom they refuse, they hang up on.
    fn answer(self, message: &[u8]) -> Option<bool> {
        match self {
            Self::Smb => smb_answer(message),
            Self::Ldap => ldap::bind_answer(message).ok().flatten(),
            Self::Rpc | Self::Tds => None,
        }
    }

    fn unit(self, bytes: &[u8]) -> Parsed<Look> {
        match self {
            Self::Smb => smb(bytes),
            Self::Rpc => rpc(bytes),
            Self::Ldap => ldap_unit(bytes),
            Self::Tds => tds(bytes),
        }
    }
}

fn unit(length: impl Into<u64>, sets_up: bool) -> Look {
    Look::Unit(Unit { length: length.into(), sets_up })
}

/// `NetBIOS` session header, then SMB 1 (command in octet 4) or SMB 2 and 3 (in octet 12).
fn smb(bytes: &[u8]) -> Parsed<Look> {
    let &[kind, a, b, c, ref message @ ..] = bytes else { return Ok(Look::Need(4)) };
    let length = u32::from_be_bytes([0, a, b, c]);
    let whole = length.saturating_add(4);
    match kind {
        // Session request, its answers, and keep-alive.
        0x81..=0x85 if length <= 0x1_ffff => return Ok(unit(whole, false)),
        0 if length >= 14 => {}
        _ => return Err(ParseError::invalid("NetBIOS session")),
    }
    match message {
        [0xff, b'S', b'M', b'B', command, ..] => Ok(unit(whole, *command == 0x73)),
        // Compound requests do not start with a session setup that has another behind it.
        [0xfe, b'S', b'M', b'B', _, _, _, _, _, _, _, _, 1, 0, ..] => Ok(unit(whole, true)),
        // Any other command, or all of it compressed or encrypted.
        [0xfe, b'S', b'M', b'B', _, _, _, _, _, _, _, _, _, _, ..]
        | [0xfc | 0xfd, b'S', b'M', b'B', ..] => Ok(unit(whole, false)),
        _ if message.len() < 14 => Ok(Look::Need(18)),
        _ => Err(ParseError::invalid("SMB")),
    }
}

/// Status of an answer to a session setup, behind the header of the `NetBIOS` session (MS-CIFS
/// §2.2.3.1, MS-SMB2 §2.2.1.2).
fn smb_answer(bytes: &[u8]) -> Option<bool> {
    let status = match bytes.get(4)? {
        0xff if bytes.get(13)? & 0x80 != 0 => bytes.get(9..13)?,
        0xfe if bytes.get(20)? & 1 != 0 => bytes.get(12..16)?,
        _ => return None,
    };
    match u32::from_le_bytes(*status.first_chunk()?) {
        MORE_PROCESSING_REQUIRED => None,
        // Severity in the two highest bits: 3 is an error (MS-ERREF §2.3).
        status => Some(status >> 30 != 3),
    }
}

/// Bind, alter-context and auth3 with an authentication verifier.
fn rpc(bytes: &[u8]) -> Parsed<Look> {
    let &[version, minor, kind, _, order, _, _, _, a, b, c, d, ..] = bytes else {
        return Ok(Look::Need(16));
    };
    let number =
        |pair| if order & 0x10 == 0 { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
    let (length, verifier) = (number([a, b]), number([c, d]));
    if version != 5 || minor > 1 || kind > 20 || length < 16 {
        return Err(ParseError::invalid("DCE/RPC"));
    }
    Ok(unit(length, matches!(kind, 11 | 14 | 16) && verifier > 0))
}

/// Bind requests: sequence, message id, application tag 0.
fn ldap_unit(bytes: &[u8]) -> Parsed<Look> {
    let mut r = Reader::new(bytes);
    match r.u8("LDAPMessage") {
        Ok(0x30) => {}
        // Once a security layer is agreed on, everything stands in buffers behind their length.
        Ok(0) => {
            return Ok(r.u24("buffer").map_or(Look::Need(4), |n| unit(n.saturating_add(4), false)));
        }
        _ => return Err(ParseError::invalid("LDAPMessage")),
    }
    let Ok(&extra) = r.rest().first().ok_or(()) else { return Ok(Look::Need(2)) };
    let octets = if extra < 0x80 { 1 } else { usize::from(extra & 0x7f).saturating_add(1) };
    if octets > 5 {
        return Err(ParseError::invalid("length"));
    }
    let head = octets.saturating_add(1);
    if bytes.len() < head {
        return Ok(Look::Need(head));
    }
    let length = ber_length(&mut r)?;
    // Message id of 1 to 4 octets, and the tag of the operation.
    let shown = head.saturating_add(length.min(7));
    let Some(message) = bytes.get(head..shown) else { return Ok(Look::Need(shown)) };
    let id = match message {
        [2, id @ 1..=4, ..] => usize::from(*id).saturating_add(2),
        _ => return Err(ParseError::invalid("messageID")),
    };
    let bind = matches!(message.get(id), Some(&(0x60 | ldap::BIND_RESPONSE)));
    Ok(unit(head.saturating_add(length) as u64, bind))
}

/// Login and SSPI packets.
fn tds(bytes: &[u8]) -> Parsed<Look> {
    let &[kind, _, a, b, _, _, _, window, ..] = bytes else { return Ok(Look::Need(8)) };
    let length = u16::from_be_bytes([a, b]);
    if !matches!(kind, 1..=0x12) || length < 8 || window != 0 {
        return Err(ParseError::invalid("TDS"));
    }
    Ok(unit(length, matches!(kind, 0x10 | 0x11)))
}

#[cfg(test)]
mod tests {
    use super::super::dns::trial::{Dice, damaged, stream};
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    /// An AUTHENTICATE message with these strings, and a response that must not come out.
    fn message(head: usize, flags: u32, domain: &[u8], user: &[u8]) -> Vec<u8> {
        let response = b"secret-secret-secret-!!!";
        let mut at = u32::try_from(head).unwrap();
        let mut fields = Vec::new();
        for field in [response, &response[..], domain, user, b"", b""] {
            let len = u16::try_from(field.len()).unwrap().to_le_bytes();
            fields.push([&len[..], &len, &at.to_le_bytes()].concat());
            at += u32::from(u16::from_le_bytes(len));
        }
        let mut bytes = [&AUTHENTICATE[..], &fields.concat(), &flags.to_le_bytes()].concat();
        bytes.resize(head, 0);
        [bytes, response.repeat(2), domain.to_vec(), user.to_vec()].concat()
    }

    fn authenticates(domain: &str, user: &str) -> Vec<u8> {
        message(88, UNICODE, &utf16(domain), &utf16(user))
    }

    fn shown(answer: Parsed<Option<Logon>>) -> Result<String, ParseError> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Ok(match answer? {
            Some(logon) => format!("{} of {}", text(logon.user()), text(logon.domain())),
            None => "nobody".to_owned(),
        })
    }

    #[test]
    fn servers_say_whether_they_let_somebody_in() {
        let smb2 = |flags: u8, status: u32| {
            let mut bytes = vec![0, 0, 0, 64, 0xfe, b'S', b'M', b'B', 64, 0, 0, 0];
            bytes.extend(status.to_le_bytes());
            bytes.extend([1, 0, 0, 0, flags]);
            bytes
        };
        let smb1 = |flags: u8, status: u32| {
            let mut bytes = vec![0, 0, 0, 32, 0xff, b'S', b'M', b'B', 0x73];
            bytes.extend(status.to_le_bytes());
            bytes.push(flags);
            bytes
        };
        let failure = 0xc000_006d;
        let table = [
            ("SMB 2, let in", smb2(1, 0), Some(true)),
            ("SMB 2, refused", smb2(1, failure), Some(false)),
            ("SMB 2, more to come", smb2(1, MORE_PROCESSING_REQUIRED), None),
            ("SMB 2, a request", smb2(0, failure), None),
            ("SMB 1, let in as a guest", smb1(0x80, 0), Some(true)),
            ("SMB 1, refused", smb1(0x80, failure), Some(false)),
            ("SMB 1, a request", smb1(0, failure), None),
            ("cut", smb2(1, failure)[..15].to_vec(), None),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(Carrier::Smb.answer(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn reads_who_authenticates() {
        let alice = authenticates("CORP", "alice");
        let wrapped = [&b"\x60\x82NTLMSSP\0\x02\0\0\0 NTLM"[..], &alice].concat();
        let mut far = alice.clone();
        far[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        let table = [
            ("UTF-16", alice.clone(), Ok("alice of CORP")),
            ("behind other octets", wrapped, Ok("alice of CORP")),
            ("letters", authenticates("CORP", "jürgen𝄞"), Ok("jürgen𝄞 of CORP")),
            ("without a domain", authenticates("", "alice@corp.test"), Ok("alice@corp.test of ")),
            (
                "half a surrogate",
                message(88, UNICODE, b"", &[0, 0xd8, b'a', 0]),
                Ok("\u{fffd}a of "),
            ),
            ("code page", message(72, 0x202, b"CORP", b"j\xfcrgen"), Ok("j\u{fffd}rgen of CORP")),
            ("without flags", message(64, 0, b"CORP", b"alice"), Ok("alice of CORP")),
            ("anonymous", authenticates("", ""), Ok("nobody")),
            ("challenge", b"NTLMSSP\0\x02\0\0\0".repeat(9), Ok("nobody")),
            ("nothing", vec![], Ok("nobody")),
            ("cut head", alice[..40].to_vec(), Err(ParseError::short("BufferOffset"))),
            ("cut user", alice[..alice.len() - 1].to_vec(), Err(ParseError::short("Payload"))),
            ("domain far away", far, Err(ParseError::short("BufferOffset"))),
            (
                "long user",
                authenticates("CORP", &"x".repeat(257)),
                Err(ParseError::limit("UserName")),
            ),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(shown(authenticate(&bytes)), expected.map(str::to_owned), "{name}");
        }
        // The oldest clients put strings where the flags came to be.
        let mut old = message(64, 0, b"", b"");
        old.truncate(60);
        old[36..44].copy_from_slice(&[5, 0, 5, 0, 60, 0, 0, 0]);
        old.extend(b"ALICE");
        assert_eq!(shown(authenticate(&old)), Ok("ALICE of ".to_owned()));
    }

    /// Base64, written out the long way.
    fn base64(bytes: &[u8]) -> String {
        let alphabet: Vec<char> =
            ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
        let bits: String = bytes.iter().map(|b| format!("{b:08b}")).collect();
        let digits = bits.as_bytes().chunks(6).map(|six| {
            let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
            alphabet[usize::from_str_radix(&six, 2).unwrap()]
        });
        let mut text: String = digits.collect();
        text.push_str(&"=".repeat((4 - text.len() % 4) % 4));
        text
    }

    #[test]
    fn reads_authorization_fields() {
        for padding in 0..3 {
            let name = &"alice-and-bob"[..11 + padding];
            let text = base64(&authenticates("CORP", name));
            let expected = Ok(format!("{name} of CORP"));
            for scheme in ["NTLM", "Negotiate", "ntlm"] {
                let value = format!("{scheme} {text}");
                assert_eq!(shown(from_authorization(value.as_bytes())), expected, "{scheme}");
            }
            assert_eq!(shown(from_base64(text.trim_end_matches('=').as_bytes())), expected);
            let other = format!("Basic {text}");
            assert_eq!(from_authorization(other.as_bytes()), Ok(None));
        }
        let far = base64(&[&[0; DECODED_MAX][..], &authenticates("CORP", "alice")].concat());
        for text in ["", "=", "A", "!", "TlRMTVNTUAAD", "NTLM", far.as_str()] {
            assert_eq!(from_base64(text.as_bytes()), Ok(None), "{text:.20}");
        }
    }

    fn smb1(command: u8, body: &[u8]) -> Vec<u8> {
        netbios(0, &[&[0xff, b'S', b'M', b'B', command][..], &[0; 27], body].concat())
    }

    fn smb2(command: u8, body: &[u8]) -> Vec<u8> {
        let head = [&b"\xfeSMB"[..], &[64, 0, 0, 0, 0, 0, 0, 0, command, 0], &[0; 50]].concat();
        netbios(0, &[&head, body].concat())
    }

    fn netbios(kind: u8, message: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[kind][..], &length, message].concat()
    }

    fn rpc(kind: u8, verifier: &[u8]) -> Vec<u8> {
        let length = u16::try_from(verifier.len() + 24).unwrap().to_le_bytes();
        let auth = u16::try_from(verifier.len()).unwrap().to_le_bytes();
        [&[5, 0, kind, 3, 0x10, 0, 0, 0][..], &length, &auth, &[0; 12], verifier].concat()
    }

    fn ldap(operation: u8, body: &[u8]) -> Vec<u8> {
        let ber = |tag: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&[tag, 0x82][..], &length, body].concat()
        };
        ber(0x30, &[&[2, 1, 7][..], &ber(operation, body)].concat())
    }

    fn tds(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
        [&[kind, 1][..], &length, &[0, 0, 1, 0], body].concat()
    }

    #[test]
    fn reads_streams_of_each_carrier() {
        let alice = authenticates("CORP", "alice");
        let bob = authenticates("CORP", "bob");
        let (is_alice, is_bob) = ("Ntlm alice of CORP", "Ntlm bob of CORP");
        let invalid = |field| Some(ParseError::invalid(field));
        let table: [(&str, Vec<Vec<u8>>, &[&str], Option<ParseError>); 11] = [
            (
                "SMB 1",
                vec![netbios(0x81, &[b' '; 68]), smb1(0x72, b"negotiate"), smb1(0x73, &alice)],
                &[is_alice],
                None,
            ),
            (
                "SMB 2, two sessions and encrypted messages",
                vec![
                    smb2(0, b""),
                    smb2(1, &alice),
                    netbios(0, &[&b"\xfdSMB"[..], &[7; 90]].concat()),
                    netbios(0x85, b""),
                    smb2(1, &bob),
                ],
                &[is_alice, is_bob],
                None,
            ),
            (
                "a file that holds a logon",
                vec![smb2(1, b""), smb2(9, &alice), smb1(0x2f, &alice)],
                &[],
                None,
            ),
            (
                "logon behind a long ticket",
                vec![smb2(1, &[&[0; SETUP_MAX][..], &alice].concat()), smb2(1, &bob)],
                &[is_bob],
                None,
            ),
            (
                "remote procedures",
                vec![rpc(11, b"NTLMSSP\0\x01\0\0\0"), rpc(16, &alice), rpc(0, &bob), rpc(14, &bob)],
                &[is_alice, is_bob],
                None,
            ),
            (
                "directory, sealed behind the bind",
                vec![
                    ldap(0x63, &bob),
                    ldap(0x60, &alice),
                    vec![0, 0, 0, 3, 1, 2, 3],
                    ldap(0x60, &bob),
                ],
                &[is_alice, is_bob],
                None,
            ),
            (
                "database",
                vec![tds(0x12, b"prelogin"), tds(0x11, &alice), tds(1, &bob)],
                &[is_alice],
                None,
            ),
            ("something else", vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], &[], invalid("carrier")),
            ("zeroes", vec![vec![0; 99]], &[], invalid("NetBIOS session")),
            ("another file protocol", vec![netbios(0, &[b'x'; 40])], &[], invalid("SMB")),
            ("sequence of something else", vec![vec![0x30, 3, 4, 1, 1]], &[], invalid("messageID")),
        ];
        for (name, messages, expected, fault) in table {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            let bytes = messages.concat();
            assert_eq!(
                stream(&mut Ntlm::default(), &bytes, &[]),
                (expected.clone(), fault),
                "{name}"
            );
            let each: Vec<usize> = (0..bytes.len().min(3_000)).collect();
            assert_eq!(
                stream(&mut Ntlm::default(), &bytes, &each),
                (expected, fault),
                "{name} in octets"
            );
        }
    }

    #[test]
    fn passes_over_what_sets_up_no_session() {
        let mut parser = Ntlm::default();
        let read = smb2(8, &[0; 60_000]);
        let turn = parser.feed(Direction::Down, &read[..18], &mut |_| {});
        assert_eq!(turn, Turn { consumed: 0, then: Then::Skip(read.len() as u64) });
        let setup = smb2(1, &[0; 60_000]);
        let turn = parser.feed(Direction::Up, &setup[..18], &mut |_| {});
        assert_eq!(turn, Turn { consumed: 0, then: Then::Need(SETUP_MAX) });
        let turn = parser.feed(Direction::Up, &setup[..SETUP_MAX], &mut |_| {});
        let more = (setup.len() - SETUP_MAX) as u64;
        assert_eq!(turn, Turn { consumed: SETUP_MAX, then: Then::Skip(more) });
    }

    #[test]
    fn knows_carriers_by_their_shape() {
        let alice = authenticates("CORP", "alice");
        for (name, bytes, expected) in [
            ("SMB 1", smb1(0x72, b""), true),
            ("SMB 2", smb2(0, b""), true),
            ("bind", rpc(11, &alice), true),
            ("call", rpc(0, &alice), false),
            ("LDAP bind", ldap(0x60, &alice), true),
            ("LDAP search", ldap(0x63, b""), false),
            ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), false),
            ("nothing", vec![], false),
        ] {
            assert_eq!(looks_like(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn reports_only_names_of_the_message_however_damaged() {
        let streams = [
            [smb1(0x73, &authenticates("CORP", "alice")), smb2(1, &authenticates("CORP", "bob"))]
                .concat(),
            [rpc(11, b""), rpc(16, &message(72, 0x202, b"CORP", b"alice"))].concat(),
            [ldap(0x60, &authenticates("CORP", "alice")), vec![0, 0, 0, 1, 1]].concat(),
            tds(0x11, &authenticates("CORP", "alice")),
        ];
        let mut said = 0;
        for seed in 0..20_000 {
            let mut dice = Dice::new(seed);
            let mut bytes = damaged(&streams[dice.below(4)], seed);
            bytes.truncate(dice.below(bytes.len() * 3));
            stream(&mut Ntlm::default(), &bytes, &[dice.below(300), dice.below(300)]);
            let text = base64(&bytes);
            let _ = from_base64(&damaged(text.as_bytes(), seed));
            let Ok(Some(logon)) = authenticate(&bytes) else { continue };
            said += 1;
            for name in [logon.user(), logon.domain()] {
                let name = std::str::from_utf8(name).unwrap();
                let plain: Vec<&str> = name.split('\u{fffd}').filter(|p| !p.is_empty()).collect();
                for part in plain {
                    let stands =
                        |bytes_of: &[u8]| bytes.windows(bytes_of.len()).any(|w| w == bytes_of);
                    assert!(stands(&utf16(part)) || stands(part.as_bytes()), "seed {seed}: {part}");
                }
            }
            assert_eq!(from_base64(text.as_bytes()), Ok(Some(logon)));
        }
        assert!(said > 5_000, "{said}");
    }

    proptest! {
        #[test]
        fn a_stream_says_the_same_however_it_is_cut(
            kinds in prop::collection::vec((0_u8..4, 0_usize..40_000), 1..6),
            cuts in prop::collection::vec(0_usize..100_000, 0..12),
        ) {
            let alice = authenticates("CORP", "alice");
            let messages: Vec<_> = kinds.iter().map(|&(kind, size)| match kind {
                0 => smb1(0x73, &alice),
                1 => smb2(1, &[&alice[..], &vec![0; size]].concat()),
                2 => smb2(9, &vec![0; size]),
                _ => netbios(0x85, b""),
            }).collect();
            let logons = kinds.iter().filter(|(kind, _)| *kind < 2).count();
            let expected = vec!["Ntlm alice of CORP".to_owned(); logons];
            prop_assert_eq!(stream(&mut Ntlm::default(), &messages.concat(), &cuts), (expected, None));
        }
    }
}
