//! DTLS: the hello in a client's first datagrams; and TLS inside RDP's own UDP transport.
//!
//! In: the datagrams of one flow. Out: the hello, once whole.
//! Never: opens an encrypted record; waits for more than a client's first flights.
//! Limits: [`MESSAGE_MAX`] in [`PIECES_MAX`] pieces, [`DATAGRAMS_MAX`] datagrams.
//! Source: RFC 6347 §4.1 and §4.2.2, RFC 9147 §5 (records, fragments of messages); MS-RDPEUDP §3.1.1
//! (RDP puts TLS behind headers of up to some tens of octets).

use super::tls::{Scratch, client_hello};
use super::{DatagramParser, HelloTransport, Metadata, Out, Then};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Longest hello put together, header included: one with post-quantum shares has 2.5 KiB.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// Pieces of it: at 500 octets each, what the longest hello needs.
pub const PIECES_MAX: usize = 32;

/// Datagrams up to the hello: a first flight, sent again some times, and once more with a cookie.
pub const DATAGRAMS_MAX: u8 = 24;

/// Octets of RDP's headers that may stand in front of TLS: the fixed ones, and an acknowledgment
/// vector.
const RDP_HEADERS_MAX: usize = 40;

const RDP: u16 = 3389;

/// Record type and handshake type (RFC 8446 §4 and §5.1).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Octets of a handshake header: type, length, sequence number, fragment's offset and length.
const MESSAGE_HEADER: usize = 12;

/// `true` if a datagram between these ports begins with a client's hello.
pub fn looks_like(ports: [u16; 2], datagram: &[u8]) -> bool {
    let fragment = record(&mut Reader::new(datagram)).ok().flatten();
    let begins =
        fragment.is_some_and(|f| f.first() == Some(&CLIENT_HELLO) && Fragment::read(f).is_ok());
    begins || (ports.contains(&RDP) && rdp(datagram).is_some())
}

/// Reads the hello of one UDP flow.
#[derive(Debug, Default)]
pub struct Dtls {
    datagrams: u8,
    /// Sequence number and length of the message being put together.
    message: Option<(u16, usize)>,
    /// Its pieces by their offset.
    pieces: Vec<(usize, Vec<u8>)>,
}

impl DatagramParser for Dtls {
    fn datagram(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        self.datagrams = self.datagrams.saturating_add(1);
        if from == Direction::Down {
            // A request for the cookie, or the answer to a hello that was not seen.
            return self.patient();
        }
        if let Some(message) = rdp(bytes) {
            return match report(message, HelloTransport::Tls, out) {
                Ok(()) => Then::Done,
                Err(error) => Then::NotThis(error),
            };
        }
        let mut rest = Reader::new(bytes);
        loop {
            match record(&mut rest) {
                Ok(Some(fragment)) => match self.take(fragment, out) {
                    Ok(true) => return Then::Done,
                    Ok(false) => {}
                    Err(error) => return Then::NotThis(error),
                },
                Ok(None) if rest.is_empty() => return self.patient(),
                Ok(None) => {}
                Err(error) => return Then::NotThis(error),
            }
        }
    }
}

/// Part of a handshake message.
struct Fragment<'a> {
    sequence: u16,
    length: usize,
    offset: usize,
    data: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn read(bytes: &'a [u8]) -> Parsed<Self> {
        let mut r = Reader::new(bytes);
        r.skip(1, "msg_type")?;
        let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let length = number(r.u24("length")?);
        let sequence = r.u16("message_seq")?;
        let offset = number(r.u24("fragment_offset")?);
        let part = number(r.u24("fragment_length")?);
        if length.saturating_add(MESSAGE_HEADER) > MESSAGE_MAX {
            return Err(ParseError::limit("length"));
        }
        if offset.saturating_add(part) > length {
            return Err(ParseError::invalid("fragment_offset"));
        }
        Ok(Self { sequence, length, offset, data: r.take(part, "fragment")? })
    }
}

impl Dtls {
    /// Bytes of memory behind this value.
    pub fn memory(&self) -> usize {
        let one = size_of::<(usize, Vec<u8>)>();
        let pieces = self.pieces.iter().map(|(_, data)| data.len().saturating_add(one));
        pieces.fold(0, usize::saturating_add)
    }

    fn patient(&self) -> Then {
        let spent = self.datagrams >= DATAGRAMS_MAX;
        if spent { Then::NotThis(ParseError::limit("datagrams")) } else { Then::Need(1) }
    }

    /// Takes one record's content; `true` once the hello was reported.
    fn take(&mut self, content: &[u8], out: &mut Out<'_>) -> Parsed<bool> {
        if content.first() != Some(&CLIENT_HELLO) {
            return Ok(false);
        }
        let fragment = Fragment::read(content)?;
        if fragment.data.len() == fragment.length {
            report(content, HelloTransport::Dtls, out)?;
            return Ok(true);
        }
        let this = (fragment.sequence, fragment.length);
        if self.message != Some(this) {
            self.message = Some(this);
            self.pieces.clear();
        }
        let place = self.pieces.partition_point(|(at, _)| *at < fragment.offset);
        let known = self
            .pieces
            .get(place)
            .is_some_and(|(at, data)| *at == fragment.offset && data.len() >= fragment.data.len());
        if known || fragment.data.is_empty() {
            return Ok(false);
        }
        if self.pieces.len() >= PIECES_MAX {
            return Err(ParseError::limit("fragments"));
        }
        self.pieces.insert(place, (fragment.offset, fragment.data.to_vec()));
        let Some(message) = self.whole(fragment.length) else { return Ok(false) };
        report(&message, HelloTransport::Dtls, out)?;
        Ok(true)
    }

    /// The message as if it had come in one piece, if every octet is there; of copies the first.
    fn whole(&self, length: usize) -> Option<Vec<u8>> {
        let size = u32::try_from(length).ok()?.to_be_bytes();
        let [_, a, b, c] = size;
        let mut message = vec![CLIENT_HELLO, a, b, c, 0, 0, 0, 0, 0, a, b, c];
        for (at, data) in &self.pieces {
            let have = message.len().saturating_sub(MESSAGE_HEADER);
            let known = have.checked_sub(*at)?;
            message.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        (message.len() == length.saturating_add(MESSAGE_HEADER)).then_some(message)
    }
}

/// The next record: its content if it is a handshake in clear, nothing for another one.
fn record<'a>(r: &mut Reader<'a>) -> Parsed<Option<&'a [u8]>> {
    if r.is_empty() {
        return Ok(None);
    }
    let kind = r.u8("type")?;
    // 0xfeff is DTLS 1.0, 0xfefd 1.2 and, for the hello, 1.3; 0x0100 what some began with.
    let version = r.u16("version")?;
    let epoch = r.u16("epoch")?;
    r.skip(6, "sequence_number")?;
    let length = r.u16("length")?;
    if !matches!(version, 0xfeff | 0xfefd | 0x0100) || !(20..=26).contains(&kind) {
        return Err(ParseError::invalid("record"));
    }
    let content = r.take(length.into(), "fragment")?;
    Ok((kind == HANDSHAKE && epoch == 0).then_some(content))
}

/// A hello in a TLS record that fills a datagram of RDP to its end.
fn rdp(datagram: &[u8]) -> Option<&[u8]> {
    (1..=RDP_HEADERS_MAX).find_map(|at| {
        let (head, message) = datagram.get(at..)?.split_first_chunk::<5>()?;
        let &[HANDSHAKE, 3, 0..=4, high, low] = head else { return None };
        let fits = usize::from(u16::from_be_bytes([high, low])) == message.len();
        (fits && message.first() == Some(&CLIENT_HELLO)).then_some(message)
    })
}

fn report(message: &[u8], transport: HelloTransport, out: &mut Out<'_>) -> Parsed<()> {
    let mut scratch = Scratch::default();
    let hello = client_hello(message, transport, &mut scratch)?;
    out(Metadata::Hello(hello));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tls::sample::Offer;
    use super::*;
    use Direction::{Down, Up};

    fn hello() -> Vec<u8> {
        Offer::new("turn.example").browser().built(HelloTransport::Dtls)
    }

    fn sealed(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1], &length[..], content].concat()
    }

    /// Part of the hello as a record.
    fn part(from: usize, to: usize) -> Vec<u8> {
        let (message, number) = (hello(), |n: usize| u32::try_from(n).unwrap().to_be_bytes());
        let header = [&message[..6], &number(from)[1..], &number(to - from)[1..]].concat();
        sealed(22, &[&header[..], &message[12 + from..12 + to]].concat())
    }

    fn play(datagrams: &[(Direction, Vec<u8>)]) -> (Vec<String>, Then) {
        let (mut dtls, mut names, mut then) = (Dtls::default(), Vec::new(), Then::Need(1));
        for (from, bytes) in datagrams {
            then = dtls.datagram(*from, bytes, &mut |said| {
                if let Metadata::Hello(hello) = said {
                    names.push(String::from_utf8_lossy(hello.server_name.unwrap()).into_owned());
                }
            });
            if !matches!(then, Then::Need(_)) {
                break;
            }
        }
        (names, then)
    }

    #[test]
    fn reads_the_hello_however_it_is_cut() {
        let end = hello().len() - 12;
        let named = (vec!["turn.example".to_owned()], Then::Done);
        for (name, datagrams, expected) in [
            ("whole", vec![(Up, sealed(22, &hello()))], &named),
            ("in two", vec![(Up, part(0, 700)), (Up, part(700, end))], &named),
            ("backwards", vec![(Up, part(700, end)), (Up, part(0, 700))], &named),
            (
                "overlapping, repeated",
                vec![(Up, part(0, 300)), (Up, part(0, 300)), (Up, part(200, end))],
                &named,
            ),
            (
                "behind a request for a cookie",
                vec![(Up, part(0, 9)), (Down, sealed(22, &[3; 30])), (Up, sealed(22, &hello()))],
                &named,
            ),
            (
                "behind another record",
                vec![(Up, [sealed(21, &[1, 0]), sealed(22, &hello())].concat())],
                &named,
            ),
            ("with a hole", vec![(Up, part(0, 9)), (Up, part(10, end))], &(vec![], Then::Need(1))),
            (
                "not DTLS",
                vec![(Up, b"something else".to_vec())],
                &(vec![], Then::NotThis(ParseError::invalid("record"))),
            ),
        ] {
            assert_eq!(&play(&datagrams), expected, "{name}");
        }
        assert!(looks_like([9, 10], &part(0, 700)) && !looks_like([9, 10], b"no"));
    }

    #[test]
    fn reads_tls_in_the_transport_of_rdp() {
        let record = Offer::new("rdp.example").record();
        let datagram =
            [&[0, 0x14, 0xc1, 1, 0xf4, 1, 0x64, 0xe0, 0x64, 0, 1, 0][..], &record].concat();
        assert!(looks_like([50_000, 3389], &datagram) && !looks_like([50_000, 3390], &datagram));
        assert_eq!(play(&[(Up, datagram)]), (vec!["rdp.example".to_owned()], Then::Done));
    }

    #[test]
    fn waits_within_bounds() {
        let silence = vec![(Up, sealed(21, &[1, 0])); 99];
        assert_eq!(play(&silence).1, Then::NotThis(ParseError::limit("datagrams")));
        let crumbs: Vec<_> = (0..99).map(|n| (Up, part(n * 2, n * 2 + 1))).collect();
        assert!(matches!(play(&crumbs).1, Then::NotThis(_)));
    }
}
