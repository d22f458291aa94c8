//! RADIUS: who is let into the network, with which device, at which address.
//!
//! In: UDP datagrams between an access server (a switch, an access point, a VPN server) and its
//! RADIUS server, either direction. Out: one [`Session`] a message that says something of a person
//! or a device.
//! Never: reads passwords, challenges, keys, or EAP beyond an identity.
//! Limits: [`ATTRIBUTES_MAX`] attributes of a message, as many as fit into its 4,096 octets.
//! Source: RFC 2865 §3 and §5 (messages, User-Name, Framed-IP-Address, Calling-Station-Id),
//! RFC 2866 §5.1 (Acct-Status-Type), RFC 6911 §3.1 (Framed-IPv6-Address), RFC 3579 §3.1
//! (EAP-Message), RFC 3748 §5.1 (identity), RFC 3580 §3.21 (form of the station's address).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{DatagramParser, Metadata, Out, Session, SessionState, Then};
use crate::types::{Direction, MacAddr};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Attributes of one message; 4,096 octets hold no more than 2,038, real ones have some thirty.
const ATTRIBUTES_MAX: usize = 2_048;

/// Largest message (RFC 2865 §3).
const MESSAGE_MAX: usize = 4_096;

/// Codes of RFC 2865 §3.
const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCOUNTING_REQUEST: u8 = 4;

/// Attribute types.
const USER_NAME: u8 = 1;
const FRAMED_ADDRESS: u8 = 8;
const SESSION_TIMEOUT: u8 = 27;
const CALLING_STATION: u8 = 31;
const STATUS_TYPE: u8 = 40;
const EAP_MESSAGE: u8 = 79;
const FRAMED_ADDRESS_6: u8 = 168;

/// RADIUS for authentication and accounting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Radius;

impl DatagramParser for Radius {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = message(bytes, out);
        Then::Need(1)
    }
}

/// Reads one message.
///
/// # Errors
/// `Short` if its head is cut, `Invalid` if its length makes no sense.
pub fn message(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut r = Reader::new(bytes);
    let (code, id) = (r.u8("code")?, r.u8("identifier")?);
    let length = usize::from(r.u16("length")?);
    if !(20..=MESSAGE_MAX).contains(&length) {
        return Err(ParseError::invalid("length"));
    }
    r.skip(16, "authenticator")?;
    let mut state = match code {
        ACCESS_REQUEST => SessionState::Asked,
        ACCESS_ACCEPT => SessionState::Granted,
        ACCOUNTING_REQUEST => SessionState::Begun,
        _ => return Ok(()),
    };
    // What stands behind the length is padding; a cut message ends where it ends.
    let body = length.saturating_sub(20).min(r.len());
    let mut r = r.sub(body, "attributes")?;
    let (mut user, mut identity): (&[u8], &[u8]) = (&[], &[]);
    let (mut addr, mut mac, mut lasts_s) = (None, MacAddr::default(), 0);
    for _ in 0..ATTRIBUTES_MAX {
        if r.is_empty() {
            break;
        }
        // What stands whole before a broken attribute counts.
        let Some((kind, value)) = attribute(&mut r) else { break };
        match kind {
            USER_NAME => user = value,
            FRAMED_ADDRESS => addr = address4(value).or(addr),
            FRAMED_ADDRESS_6 => addr = addr.or_else(|| address6(value)),
            SESSION_TIMEOUT => lasts_s = number(value).unwrap_or(0),
            CALLING_STATION => mac = station(value).unwrap_or_default(),
            EAP_MESSAGE if identity.is_empty() => identity = eap_identity(value),
            STATUS_TYPE => {
                state = match number(value) {
                    Some(1 | 3) => SessionState::Begun,
                    Some(2) => SessionState::Ended,
                    // The access server itself came or went.
                    _ => return Ok(()),
                }
            }
            _ => {}
        }
    }
    let user = if user.is_empty() { identity } else { user };
    if user.is_empty() && (addr.is_none() || mac.is_zero()) && state != SessionState::Granted {
        return Ok(());
    }
    out(Metadata::Session(Session { id, state, user, addr, mac, lasts_s }));
    Ok(())
}

fn attribute<'m>(r: &mut Reader<'m>) -> Option<(u8, &'m [u8])> {
    let (kind, length) = (r.u8("type").ok()?, r.u8("length").ok()?);
    let length = usize::from(length).checked_sub(2)?;
    Some((kind, r.take(length, "value").ok()?))
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// Values of all ones and its neighbour leave the choice to others (RFC 2865 §5.8).
fn address4(value: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 4] = value.try_into().ok()?;
    let addr = Ipv4Addr::from(octets);
    let chosen = !addr.is_unspecified() && !matches!(octets, [255, 255, 255, 254 | 255]);
    chosen.then_some(addr.into())
}

fn address6(value: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = value.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// Six octets in hex, parted by anything or nothing; a name of the network may follow.
fn station(value: &[u8]) -> Option<MacAddr> {
    let mut octets = [0; 6];
    let mut digits = value.iter().filter_map(|b| char::from(*b).to_digit(16));
    let parted = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'-' | b':' | b'.');
    let plain = value.get(..value.len().min(17)).unwrap_or_default();
    if !plain.iter().all(parted) {
        return None;
    }
    for octet in &mut octets {
        let (high, low) = (digits.next()?, digits.next()?);
        *octet = u8::try_from(high << 4 | low).ok()?;
    }
    Some(MacAddr(octets))
}

/// Identity in an EAP response: code 2, id, length, type 1.
fn eap_identity(value: &[u8]) -> &[u8] {
    match value {
        [2, _, high, low, 1, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(5);
            // What goes on in the next attribute is longer than any name.
            rest.get(..length).unwrap_or_default()
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::dns::trial::{Dice, damaged};
    use super::*;

    fn packet(code: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.push(*kind);
            body.push(u8::try_from(value.len() + 2).unwrap());
            body.extend(*value);
        }
        let length = u16::try_from(body.len() + 20).unwrap().to_be_bytes();
        [&[code, 7][..], &length, &[9; 16], &body].concat()
    }

    fn said(bytes: &[u8]) -> (Vec<String>, Parsed<()>) {
        let mut said = Vec::new();
        let done = message(bytes, &mut |m| {
            let Metadata::Session(s) = m else { panic!("{m:?}") };
            let addr = s.addr.map_or("-".to_owned(), |a| a.to_string());
            let user = String::from_utf8_lossy(s.user);
            said.push(format!("{:?} {} {user} {addr} {} {}", s.state, s.id, s.mac.0[5], s.lasts_s));
        });
        (said, done)
    }

    #[test]
    fn reads_sessions() {
        let start = 1_u32.to_be_bytes();
        let stop = 2_u32.to_be_bytes();
        let on = 7_u32.to_be_bytes();
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let eap = [&[2, 1, 0, 9, 1][..], b"anna"].concat();
        let secret = (2, &b"secret-secret!!!"[..]);
        let table: [(&str, Vec<u8>, &str); 10] = [
            (
                "request",
                packet(1, &[(1, b"anna"), secret, (31, b"02-00-00-00-00-09:corp")]),
                "Asked 7 anna - 9 0",
            ),
            (
                "identity of EAP alone",
                packet(1, &[(79, &eap), (31, b"020000000009")]),
                "Asked 7 anna - 9 0",
            ),
            ("accept", packet(2, &[(27, &60_u32.to_be_bytes())]), "Granted 7  - 0 60"),
            (
                "start",
                packet(
                    4,
                    &[
                        (40, &start),
                        (1, b"anna@corp"),
                        (8, &[192, 0, 2, 7]),
                        (31, b"0200.0000.0009"),
                    ],
                ),
                "Begun 7 anna@corp 192.0.2.7 9 0",
            ),
            (
                "stop",
                packet(4, &[(40, &stop), (1, b"anna"), (8, &[192, 0, 2, 7])]),
                "Ended 7 anna 192.0.2.7 0 0",
            ),
            ("IPv6", packet(4, &[(1, b"anna"), (168, &v6)]), "Begun 7 anna 2001:db8::7 0 0"),
            (
                "address left to others",
                packet(4, &[(1, b"anna"), (8, &[255; 4])]),
                "Begun 7 anna - 0 0",
            ),
            (
                "a telephone",
                packet(4, &[(1, b"anna"), (31, b"+49 30 123456789")]),
                "Begun 7 anna - 0 0",
            ),
            ("the server came up", packet(4, &[(40, &on), (1, b"anna")]), ""),
            ("reject", packet(3, &[(1, b"anna")]), ""),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(
                said(&bytes),
                (vec![expected.to_owned()].into_iter().filter(|e| !e.is_empty()).collect(), Ok(())),
                "{name}"
            );
        }
    }

    #[test]
    fn spoiled_messages_say_nothing_false() {
        let good = packet(4, &[(40, &1_u32.to_be_bytes()), (1, b"anna"), (8, &[192, 0, 2, 7])]);
        assert!(said(&good[..10]).1.is_err());
        let mut broken = packet(4, &[(1, b"anna"), (8, &[192, 0, 2, 7])]);
        broken[27] = 1;
        assert_eq!(said(&broken).0, ["Begun 7 anna - 0 0"], "what stands before counts");
        let mut count = 0;
        for seed in 0..5_000 {
            let mut dice = Dice::new(seed);
            let mut bytes = damaged(&good, seed);
            bytes.truncate(dice.below(bytes.len() * 2));
            let _ = message(&bytes, &mut |m| {
                let Metadata::Session(s) = m else { panic!("{m:?}") };
                assert!(s.user.is_empty() || bytes.windows(s.user.len()).any(|w| w == s.user));
                count += 1;
            });
        }
        assert!(count > 500, "{count}");
    }
}
