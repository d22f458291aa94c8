//! Names on the local link: multicast DNS, LLMNR and the `NetBIOS` name service.
//!
//! In: UDP payloads of ports 5353, 5355 and 137, either direction.
//! Out: [`LocalName`]s: what was asked for, and what a device announced as its own.
//! Never: DNS metadata, since nobody vouches for what the link says; gives up a flow, since a
//! multicast group is one flow for each sender.
//! Limits: 32 questions and 128 records a message, 25 names of a node status.
//! Source: RFC 6762 §18 (mDNS), RFC 4795 §2 (LLMNR), RFC 1001 §14.1 and RFC 1002 §4.2 (`NetBIOS`).

use std::net::Ipv4Addr;

use super::dns::{Cursor, DOT_IN_LABEL, Header, Name, RECORDS_MAX, Record, within};
use super::{DatagramParser, LocalName, Metadata, Out, Protocol, Then};
use crate::types::Direction;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Questions read of one message. A device that wakes up asks for 20 and more services at once.
const QUESTIONS_MAX: u16 = 32;

/// Names read of one node status; hosts have 3 to 10 (RFC 1002 §4.2.18 allows 255).
const STATUS_NAMES_MAX: u8 = 25;

/// Octets of a `NetBIOS` name, the last of which is its kind.
const NETBIOS_NAME: usize = 16;

/// Record types NB and NBSTAT (RFC 1002 §4.2.1.3).
const NB: u16 = 0x20;
const NBSTAT: u16 = 0x21;

/// Group bit of NB flags and of the flags of a node status (RFC 1002 §4.2.1.3, §4.2.18).
const GROUP: u16 = 0x8000;

/// Opcodes with which a node claims a name: registration, and refresh, which is 8 in RFC 1002
/// §4.2.1.1 and 9 in the picture of §4.2.4.
const CLAIMS: [u16; 3] = [5, 8, 9];

/// Opcode with which a node gives a name back (RFC 1002 §4.2.9).
const RELEASE: u16 = 6;

/// Multicast DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mdns;

/// Link-local multicast name resolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct Llmnr;

/// `NetBIOS` name service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nbns;

impl DatagramParser for Mdns {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = multicast(Protocol::Mdns, bytes, out);
        Then::Need(1)
    }
}

impl DatagramParser for Llmnr {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = multicast(Protocol::Llmnr, bytes, out);
        Then::Need(1)
    }
}

impl DatagramParser for Nbns {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = netbios(bytes, out);
        Then::Need(1)
    }
}

/// Questions of a query; owner and address of each address record of a response.
fn multicast(protocol: Protocol, bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let (header, mut cursor) = Header::read(bytes)?;
    if header.opcode() != 0 {
        return Err(ParseError::invalid("opcode"));
    }
    let mut say = |name: &Name, announced, addr| match name.text() {
        Some(name) => out(Metadata::LocalName(LocalName { protocol, announced, name, addr })),
        None => out(Metadata::Anomaly(DOT_IN_LABEL)),
    };
    for _ in 0..header.questions.min(QUESTIONS_MAX) {
        let mut name = Name::new();
        cursor.question(&mut name)?;
        if !header.response() {
            say(&name, false, None);
        }
    }
    within(header.questions, QUESTIONS_MAX, "question")?;
    if !header.response() {
        // Records of a query are what others said (known answers) or what is not decided yet.
        return Ok(());
    }
    // A device that says its services adds its addresses to them (RFC 6763 §12).
    let count = if protocol == Protocol::Mdns { header.records() } else { header.answers };
    records(count, &mut cursor, |cursor, record| {
        if let Some(addr) = record.address() {
            say(&cursor.name(record.owner_at)?, true, Some(addr));
        }
        Ok(())
    })
}

/// Visits as many records as were announced.
fn records<'m>(
    count: u16,
    cursor: &mut Cursor<'m>,
    mut visit: impl FnMut(&Cursor<'m>, &Record<'m>) -> Parsed<()>,
) -> Parsed<()> {
    for _ in 0..count.min(RECORDS_MAX) {
        let record = cursor.record()?;
        visit(cursor, &record)?;
    }
    within(count, RECORDS_MAX, "record")
}

/// One message of the `NetBIOS` name service. What is no device's own (groups, people, roles,
/// names given back or refused) counts as asked for.
fn netbios(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let (header, mut cursor) = Header::read(bytes)?;
    let claim = CLAIMS.contains(&header.opcode());
    let held = header.opcode() != RELEASE && header.rcode() == 0;
    for _ in 0..header.questions.min(QUESTIONS_MAX) {
        let mut name = Name::new();
        cursor.question(&mut name)?;
        // The name of a claim stands again in its record, with what it is claimed for.
        if !claim {
            NetbiosName::encoded(name.text())?.say(false, None, out);
        }
    }
    within(header.questions, QUESTIONS_MAX, "question")?;
    records(header.records(), &mut cursor, |cursor, record| {
        let name = NetbiosName::encoded(cursor.name(record.owner_at)?.text())?;
        match record.rtype {
            NB => {
                let mut r = Reader::new(record.rdata);
                let flags = r.u16("NB_FLAGS")?;
                let addr = Ipv4Addr::from(r.array::<4>("NB_ADDRESS")?);
                let own = held && flags & GROUP == 0 && name.is_host();
                name.say(own, own.then_some(addr), out);
                Ok(())
            }
            NBSTAT => status(Reader::new(record.rdata), out),
            _ => Ok(()),
        }
    })
}

/// The names that a node has (RFC 1002 §4.2.18).
fn status(mut r: Reader<'_>, out: &mut Out<'_>) -> Parsed<()> {
    let count = r.u8("NUM_NAMES")?;
    for _ in 0..count.min(STATUS_NAMES_MAX) {
        let name = NetbiosName(r.array("NODE_NAME")?);
        let group = r.u16("NAME_FLAGS")? & GROUP != 0;
        name.say(!group && name.is_host(), None, out);
    }
    within(count.into(), STATUS_NAMES_MAX.into(), "NUM_NAMES")
}

/// 15 octets padded with spaces, and the kind.
struct NetbiosName([u8; NETBIOS_NAME]);

impl NetbiosName {
    /// Each half octet stands as a letter from A to P in the first label (RFC 1001 §14.1).
    fn encoded(text: Option<&[u8]>) -> Parsed<Self> {
        const INVALID: ParseError = ParseError::invalid("NetBIOS name");
        let label = text.and_then(|t| t.split(|&b| b == b'.').next()).ok_or(INVALID)?;
        let letters = label.as_chunks::<2>().0;
        if label.len() != NETBIOS_NAME.saturating_mul(2) {
            return Err(INVALID);
        }
        let mut name = [0; NETBIOS_NAME];
        for (to, [high, low]) in name.iter_mut().zip(letters) {
            let half =
                |letter: u8| letter.checked_sub(b'A').filter(|half| *half < 16).ok_or(INVALID);
            *to = half(*high)? << 4 | half(*low)?;
        }
        Ok(Self(name))
    }

    /// Names of kind 0 (workstation) and 0x20 (file server) are those of a computer; others
    /// name people, domains and browsing roles.
    fn is_host(&self) -> bool {
        matches!(self.0.last(), Some(0 | 0x20))
    }

    fn say(&self, announced: bool, addr: Option<Ipv4Addr>, out: &mut Out<'_>) {
        let [name @ .., _kind] = &self.0;
        let filled = name.iter().rposition(|b| !matches!(b, 0 | b' '));
        let end = filled.map_or(0, |last| last.saturating_add(1));
        let (protocol, addr) = (Protocol::Nbns, addr.map(Into::into));
        let name = name.get(..end).unwrap_or_default();
        out(Metadata::LocalName(LocalName { protocol, announced, name, addr }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::dns::trial::{Dice, damaged, datagram};
    use super::*;

    fn packet(flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [7, flags].map(u16::to_be_bytes).concat();
        bytes.extend(counts.map(u16::to_be_bytes).concat());
        bytes.extend(parts.concat());
        bytes
    }

    fn record(owner: &[u8], rtype: u16, class: u16, rdata: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rdata.len()).unwrap();
        let [rtype, class, length] = [rtype, class, length].map(u16::to_be_bytes);
        [owner, &rtype, &class, &[0, 0, 0, 120], &length, rdata].concat()
    }

    /// First-level encoding, written out the long way.
    fn encoded(name: &str, kind: u8) -> Vec<u8> {
        let mut plain = format!("{name:15}").into_bytes();
        plain.push(kind);
        let letters = plain.iter().flat_map(|b| [b'A' + b / 16, b'A' + b % 16]);
        [32].into_iter().chain(letters).chain([0]).collect()
    }

    const OWN_NAME: &[u8] = b"\x05Phone\x05local\0";
    const SERVICE: &[u8] = b"\x04_ipp\x04_tcp\x05local\0";
    const PTR: [u8; 4] = [0, 12, 0, 1];
    const RESPONSE: u16 = 0x8400;
    const ADDR_6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

    #[test]
    fn reads_names_of_the_link() {
        let a = &record(OWN_NAME, 1, 0x8001, &[192, 0, 2, 9])[..];
        let aaaa = &record(OWN_NAME, 28, 1, &ADDR_6)[..];
        let ptr = &record(SERVICE, 12, 1, &[1, b'x', 0])[..];
        let is4 = |protocol| format!("{protocol} is Phone.local 192.0.2.9");
        let table = [
            (
                "questions",
                packet(0, [2, 0, 0, 0], &[SERVICE, &PTR, OWN_NAME, &[0, 1, 0x80, 1]]),
                vec!["Mdns wanted _ipp._tcp.local".into(), "Mdns wanted Phone.local".into()],
                vec!["Llmnr wanted _ipp._tcp.local".into(), "Llmnr wanted Phone.local".into()],
            ),
            (
                "known answers and probes of a query are not announced",
                packet(0, [1, 1, 1, 0], &[SERVICE, &PTR, ptr, a]),
                vec!["Mdns wanted _ipp._tcp.local".into()],
                vec!["Llmnr wanted _ipp._tcp.local".into()],
            ),
            (
                "own addresses",
                packet(RESPONSE, [0, 2, 0, 0], &[a, aaaa]),
                vec![is4("Mdns"), "Mdns is Phone.local fe80::9".into()],
                vec![is4("Llmnr"), "Llmnr is Phone.local fe80::9".into()],
            ),
            (
                "addresses that go with a service",
                packet(RESPONSE, [0, 1, 0, 1], &[ptr, a]),
                vec![is4("Mdns")],
                vec![],
            ),
            (
                "question of a response",
                packet(RESPONSE, [1, 1, 0, 0], &[OWN_NAME, &[0, 1, 0, 1], a]),
                vec![is4("Mdns")],
                vec![is4("Llmnr")],
            ),
            (
                "cut record",
                packet(RESPONSE, [0, 2, 0, 0], &[a, &aaaa[..20]]),
                vec![is4("Mdns")],
                vec![is4("Llmnr")],
            ),
            (
                "name with a dot in a label",
                packet(RESPONSE, [0, 1, 0, 0], &[&record(b"\x03a.b\0", 1, 1, &[1; 4])]),
                vec!["odd: dns_dot_in_label".into()],
                vec!["odd: dns_dot_in_label".into()],
            ),
            ("other opcode", packet(0x2800, [1, 0, 0, 0], &[SERVICE, &PTR]), vec![], vec![]),
            ("nothing", vec![], vec![], vec![]),
        ];
        for (name, bytes, mdns, llmnr) in table {
            assert_eq!(datagram(&mut Mdns, &bytes), (mdns, Then::Need(1)), "{name}");
            assert_eq!(datagram(&mut Llmnr, &bytes), (llmnr, Then::Need(1)), "{name}");
        }
        let many = packet(0, [33, 0, 0, 0], &[&[SERVICE, &PTR].concat().repeat(33)]);
        assert_eq!(datagram(&mut Mdns, &many).0.len(), 32);
    }

    #[test]
    fn reads_netbios_names() {
        let asked = |name, kind, rtype: u8| [encoded(name, kind), vec![0, rtype, 0, 1]].concat();
        let nb = |owner: &[u8], flags: u8| record(owner, NB, 1, &[flags, 0, 192, 0, 2, 9]);
        let pointer = &[0xc0, 12][..];
        let node = |name: &str, kind: u8, flags: u8| {
            [format!("{name:15}").as_bytes(), &[kind, flags, 0]].concat()
        };
        let nodes = [
            &[3][..],
            &node("OFFICE-7", 0, 4),
            &node("CORP", 0, 0x84),
            &node("OFFICE-7", 0x20, 4),
            &[0; 46],
        ]
        .concat();
        let scoped =
            [&encoded("PC", 0)[..33], &b"\x04corp\x04test\0"[..], &[0, 0x20, 0, 1]].concat();
        let table = [
            (
                "query",
                packet(0x0110, [1, 0, 0, 0], &[&asked("WPAD", 0, 0x20)]),
                vec!["Nbns wanted WPAD"],
            ),
            ("scope is left out", packet(0x0110, [1, 0, 0, 0], &[&scoped]), vec!["Nbns wanted PC"]),
            (
                "registration",
                packet(0x2910, [1, 0, 0, 1], &[&asked("OFFICE-7", 0, 0x20), &nb(pointer, 0)]),
                vec!["Nbns is OFFICE-7 192.0.2.9"],
            ),
            (
                "registration of a group",
                packet(0x2910, [1, 0, 0, 1], &[&asked("CORP", 0, 0x20), &nb(pointer, 0x80)]),
                vec!["Nbns wanted CORP"],
            ),
            (
                "registration of a person",
                packet(0x2910, [1, 0, 0, 1], &[&asked("ALICE DOE", 3, 0x20), &nb(pointer, 0)]),
                vec!["Nbns wanted ALICE DOE"],
            ),
            (
                "release",
                packet(0x3110, [1, 0, 0, 1], &[&asked("OFFICE-7", 0, 0x20), &nb(pointer, 0)]),
                vec!["Nbns wanted OFFICE-7", "Nbns wanted OFFICE-7"],
            ),
            (
                "refused registration",
                packet(0xad86, [0, 1, 0, 0], &[&nb(&encoded("FILES", 0), 0)]),
                vec!["Nbns wanted FILES"],
            ),
            (
                "positive response",
                packet(0x8500, [0, 1, 0, 0], &[&nb(&encoded("FILES", 0x20), 0)]),
                vec!["Nbns is FILES 192.0.2.9"],
            ),
            (
                "node status",
                packet(0x8400, [0, 1, 0, 0], &[&record(&encoded("*", 0), NBSTAT, 1, &nodes)]),
                vec!["Nbns is OFFICE-7", "Nbns wanted CORP", "Nbns is OFFICE-7"],
            ),
            (
                "cut node status",
                packet(0x8400, [0, 1, 0, 0], &[&record(&encoded("*", 0), NBSTAT, 1, &nodes[..30])]),
                vec!["Nbns is OFFICE-7"],
            ),
            (
                "letters",
                packet(0x0110, [1, 0, 0, 0], &[b"\x20", &[b'Q'; 32], &[0, 0, 0x20, 0, 1]]),
                vec![],
            ),
            ("length", packet(0x0110, [1, 0, 0, 0], &[b"\x04EAEA\0", &[0, 0x20, 0, 1]]), vec![]),
        ];
        for (name, bytes, expected) in table {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(datagram(&mut Nbns, &bytes), (expected, Then::Need(1)), "{name}");
        }
    }

    #[test]
    fn reports_only_octets_of_the_message_however_damaged() {
        let mdns = packet(
            RESPONSE,
            [1, 2, 0, 1],
            &[
                SERVICE,
                &PTR,
                &record(OWN_NAME, 1, 0x8001, &[192, 0, 2, 9]),
                &record(&[0xc0, 12], 28, 1, &ADDR_6),
                &record(&[1, b'q', 0xc0, 17], 1, 1, &[1; 4]),
            ],
        );
        let nbns = packet(
            0x2910,
            [1, 0, 0, 1],
            &[
                &encoded("OFFICE-7", 0),
                &[0, 0x20, 0, 1],
                &record(&[0xc0, 12], NB, 1, &[0, 0, 192, 0, 2, 9]),
            ],
        );
        let mut said = 0;
        for seed in 0..20_000 {
            let mut bytes = damaged(&mdns, seed);
            bytes.truncate(Dice::new(seed).below(bytes.len() * 3));
            for parse in [Protocol::Mdns, Protocol::Llmnr] {
                let _ = multicast(parse, &bytes, &mut |m| {
                    let Metadata::LocalName(local) = m else { return };
                    said += 1;
                    for label in local.name.split(|&b| b == b'.').filter(|l| !l.is_empty()) {
                        assert!(bytes.windows(label.len()).any(|w| w == label), "seed {seed}");
                    }
                });
            }
            let bytes = damaged(&nbns, seed);
            let _ = netbios(&bytes, &mut |m| {
                let Metadata::LocalName(local) = m else { return };
                said += 1;
                let letters: Vec<u8> =
                    local.name.iter().flat_map(|b| [b'A' + b / 16, b'A' + b % 16]).collect();
                assert!(letters.is_empty() || bytes.windows(letters.len()).any(|w| w == letters));
            });
        }
        assert!(said > 10_000, "{said}");
    }
}
