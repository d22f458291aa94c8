//! LDAP: the name in a simple bind, and whether it was let in.
//!
//! In: one LDAP message that is a bind request or its answer, or as much of it as is there.
//! Out: the name, as UTF-8 or a distinguished name, of a bind that carries a password; whether a
//! bind was granted.
//! Never: looks at the password beyond its being there; takes an anonymous bind for somebody.
//! Limits: 256 octets of a name.
//! Source: RFC 4511 §4.2 (bind), §4.1.9 (result codes), §5.1 (encoding); RFC 4513 §5.1 (what counts as anonymous).

use super::kerberos::length as ber_length;
use super::{AccountSource, Metadata};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Octets of a name: distinguished names of people stay below.
const NAME_MAX: usize = 256;

/// Tags: sequence, integer, octet string, bind request, simple authentication.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BIND_REQUEST: u8 = 0x60;
const SIMPLE: u8 = 0x80;
const ENUMERATED: u8 = 0x0a;

/// Tag of the answer to a bind.
pub const BIND_RESPONSE: u8 = 0x61;

/// Result codes: success, and that a bind of several steps goes on (RFC 4511 appendix A).
const SUCCESS: u8 = 0;
const IN_PROGRESS: u8 = 14;

/// The name of a simple bind; `None` if it is another one, or anonymous.
///
/// # Errors
/// `Short` if the message ends before the name does, `Invalid` if it is none, `Limit` for a name
/// that is too long.
pub fn simple_bind(bytes: &[u8]) -> Parsed<Option<&[u8]>> {
    let mut r = Reader::new(bytes);
    let _message_length = element(&mut r, SEQUENCE)?;
    let id = element(&mut r, INTEGER)?;
    r.skip(id, "messageID")?;
    let _bind_length = element(&mut r, BIND_REQUEST)?;
    let version = element(&mut r, INTEGER)?;
    r.skip(version, "version")?;
    let length = element(&mut r, OCTETS)?;
    if length > NAME_MAX {
        return Err(ParseError::limit("name"));
    }
    let name = r.take(length, "name")?;
    let simple = r.u8("authentication")? == SIMPLE && ber_length(&mut r)? > 0;
    Ok((simple && !name.is_empty()).then_some(name))
}

/// What the answer to a bind says: `None` if another step follows.
///
/// # Errors
/// `Short` if the message ends before its result, `Invalid` if it is none.
pub fn bind_answer(bytes: &[u8]) -> Parsed<Option<bool>> {
    let mut r = Reader::new(bytes);
    let _message_length = element(&mut r, SEQUENCE)?;
    let id = element(&mut r, INTEGER)?;
    r.skip(id, "messageID")?;
    let _answer_length = element(&mut r, BIND_RESPONSE)?;
    if element(&mut r, ENUMERATED)? != 1 {
        return Err(ParseError::invalid("resultCode"));
    }
    let code = r.u8("resultCode")?;
    Ok((code != IN_PROGRESS).then_some(code == SUCCESS))
}

/// The name as metadata.
pub fn metadata(user: &[u8]) -> Metadata<'_> {
    Metadata::Account { source: AccountSource::Ldap, user, domain: &[] }
}

/// Length of the element with this tag.
fn element(r: &mut Reader<'_>, tag: u8) -> Parsed<usize> {
    if r.u8("tag")? != tag {
        return Err(ParseError::invalid("tag"));
    }
    ber_length(r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ber(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, body].concat()
    }

    fn bind(name: &str, authentication: (u8, &[u8])) -> Vec<u8> {
        let parts =
            [ber(2, &[3]), ber(4, name.as_bytes()), ber(authentication.0, authentication.1)];
        ber(0x30, &[ber(2, &[1]), ber(0x60, &parts.concat())].concat())
    }

    #[test]
    fn the_answer_to_a_bind() {
        let answer = |code: &[u8]| ber(0x30, &[ber(2, &[1]), ber(0x61, &ber(0x0a, code))].concat());
        let short = Err(ParseError::short("resultCode"));
        let table: [(&str, Vec<u8>, Parsed<Option<bool>>); 5] = [
            ("success", answer(&[0]), Ok(Some(true))),
            ("wrong password", answer(&[49]), Ok(Some(false))),
            ("one step of several", answer(&[14]), Ok(None)),
            ("a code of two octets", answer(&[1, 0]), Err(ParseError::invalid("resultCode"))),
            ("cut", answer(&[0]).split_last().unwrap().1.to_vec(), short),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(bind_answer(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_simple_bind() {
        let long = "x".repeat(257);
        let whole = bind("cn=anna,dc=corp", (0x80, b"secret"));
        let cut = &whole[..whole.len() - 3];
        let table: [(&str, Vec<u8>, Parsed<Option<&[u8]>>); 7] = [
            ("distinguished", whole.clone(), Ok(Some(b"cn=anna,dc=corp"))),
            ("cut in the password", cut.to_vec(), Ok(Some(b"cn=anna,dc=corp"))),
            ("anonymous", bind("", (0x80, b"")), Ok(None)),
            ("without a password", bind("cn=anna", (0x80, b"")), Ok(None)),
            ("SASL", bind("", (0xa3, b"\x04\x06GSSAPI")), Ok(None)),
            ("a long name", bind(&long, (0x80, b"x")), Err(ParseError::limit("name"))),
            (
                "a search",
                ber(0x30, &[ber(2, &[1]), ber(0x63, b"")].concat()),
                Err(ParseError::invalid("tag")),
            ),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(simple_bind(&bytes), expected, "{name}");
        }
        for end in 0..whole.len() {
            if let Ok(Some(name)) = simple_bind(&whole[..end]) {
                assert_eq!(name, b"cn=anna,dc=corp", "cut at {end}");
            }
        }
    }
}
