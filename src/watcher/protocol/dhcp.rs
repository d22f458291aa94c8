//! DHCP for IPv4 and IPv6: which device has, or asks for, which name and address.
//!
//! In: UDP payloads of ports 67 and 68, or 546 and 547, either direction, relayed or not.
//! Out: one [`DhcpMessage`] a datagram: MAC, address, names, vendor class, lease.
//! Never: gives up a flow, since all clients that have no address yet share one; reads
//! authentication or boot parameters.
//! Limits: 255 octets of each name, 64 of the vendor class, 8 relays around a message.
//! Source: RFC 2131 §2, RFC 2132, RFC 3396 (split options), RFC 4702 (option 81), RFC 8415,
//! RFC 4704 (option 39), RFC 6939 (option 79).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dns::Name;
use super::{DatagramParser, DhcpMessage, Metadata, Out, Then};
use crate::types::{Direction, MacAddr};
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Octets kept of a host name: what one option can hold (RFC 2132 §2).
const NAME_MAX: usize = 255;

/// Octets kept of a vendor class; real ones ("MSFT 5.0", "android-dhcp-14") are short.
const VENDOR_CLASS_MAX: usize = 64;

/// Octets kept of a client identifier: a type and a MAC address.
const CLIENT_ID_MAX: usize = 7;

/// Relay headers opened around a message (`HOP_COUNT_LIMIT`, RFC 8415 §7.6).
const RELAYS_MAX: usize = 8;

/// First octets of the options of BOOTP (RFC 2131 §3).
const MAGIC_COOKIE: u32 = 0x6382_5363;

/// DHCP for IPv4.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dhcp;

/// DHCP for IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dhcp6;

impl DatagramParser for Dhcp {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = message4(bytes, out);
        Then::Need(1)
    }
}

impl DatagramParser for Dhcp6 {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        let _bad_ones_are_passed_over = message6(bytes, out);
        Then::Need(1)
    }
}

/// Reads one DHCP message for IPv4; BOOTP without a message type says nothing.
///
/// # Errors
/// `Short` if the fixed part is cut, `Invalid` if it is no BOOTP or not followed by DHCP's cookie.
pub fn message4(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut r = Reader::new(bytes);
    let op = r.u8("op")?;
    let (hardware, hardware_len) = (r.u8("htype")?, r.u8("hlen")?);
    r.skip(9, "hops, xid, secs, flags")?;
    let (client_addr, your_addr) = (r.array::<4>("ciaddr")?, r.array::<4>("yiaddr")?);
    r.skip(8, "siaddr, giaddr")?;
    let mac = r.array::<6>("chaddr")?;
    r.skip(10, "chaddr")?;
    let (server_name, file) = (r.take(64, "sname")?, r.take(128, "file")?);
    let from_client = match op {
        1 => true,
        2 => false,
        _ => return Err(ParseError::invalid("op")),
    };
    if r.u32("magic cookie")? != MAGIC_COOKIE {
        return Err(ParseError::invalid("magic cookie"));
    }

    let mut options = Options4::default();
    options.read(r.rest());
    // Options may go on in fields that a boot loader does not need (RFC 3396 §5 has the order).
    let overload = options.overload;
    if overload & 1 != 0 {
        options.read(file);
    }
    if overload & 2 != 0 {
        options.read(server_name);
    }
    if options.message == 0 {
        return Ok(());
    }

    let mut name = Name::new();
    let mac = match options.client_id.text() {
        _ if hardware_len == 6 && mac != [0; 6] => mac,
        [1, rest @ ..] if hardware == 1 => rest.try_into().unwrap_or_default(),
        _ => [0; 6],
    };
    let addr = [your_addr, options.requested, client_addr].into_iter().find(|a| *a != [0; 4]);
    out(Metadata::Dhcp(DhcpMessage {
        version: 4,
        message: options.message,
        from_client,
        mac: MacAddr(mac),
        addr: addr.map(|a| Ipv4Addr::from(a).into()),
        host_name: said(without_nul(options.host_name.text())),
        fqdn: said(fqdn4(options.fqdn.text(), &mut name)),
        vendor_class: said(options.vendor_class.text()),
        lease_s: options.lease_s,
    }));
    Ok(())
}

/// Name in option 81 (RFC 4702 §2): flags, two codes, then text or, by flag E, labels.
fn fqdn4<'n>(option: &'n [u8], name: &'n mut Name) -> &'n [u8] {
    match option {
        [flags, _, _, text @ ..] if flags & 4 == 0 => without_nul(text),
        [_, _, _, labels @ ..] => alone(labels, name),
        _ => &[],
    }
}

/// Text of a name in labels, empty if it is none.
fn alone<'n>(labels: &[u8], name: &'n mut Name) -> &'n [u8] {
    match name.read_alone(labels) {
        Ok(()) => name.text().filter(|text| *text != b".").unwrap_or_default(),
        Err(_) => &[],
    }
}

/// Some clients count the NUL of C into the option (RFC 2132 §2 tells servers to trim it).
fn without_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != 0).map_or(0, |last| last.saturating_add(1));
    text.get(..end).unwrap_or_default()
}

fn said(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

/// What the options of a message say.
#[derive(Default)]
struct Options4 {
    message: u8,
    overload: u8,
    requested: [u8; 4],
    lease_s: u32,
    host_name: Text<NAME_MAX>,
    fqdn: Text<NAME_MAX>,
    vendor_class: Text<VENDOR_CLASS_MAX>,
    client_id: Text<CLIENT_ID_MAX>,
}

impl Options4 {
    /// Reads up to the end mark, or to the first option that is not whole.
    fn read(&mut self, bytes: &[u8]) {
        let mut r = Reader::new(bytes);
        while let Ok(code) = r.u8("option") {
            match code {
                0 => continue,
                255 => return,
                _ => {}
            }
            let Ok(length) = r.u8("length") else { return };
            let Ok(value) = r.take(usize::from(length), "value") else { return };
            match code {
                12 => self.host_name.push(value),
                50 => self.requested = value.try_into().unwrap_or(self.requested),
                51 => self.lease_s = value.try_into().map_or(self.lease_s, u32::from_be_bytes),
                52 => self.overload = value.first().copied().unwrap_or_default(),
                53 => self.message = value.first().copied().unwrap_or_default(),
                60 => self.vendor_class.push(value),
                61 => self.client_id.push(value),
                81 => self.fqdn.push(value),
                _ => {}
            }
        }
    }
}

/// Octets of an option; one that occurs again goes on where it stopped (RFC 3396 §5).
struct Text<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Default for Text<MAX> {
    fn default() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }
}

impl<const MAX: usize> Text<MAX> {
    /// Appends what there is room for.
    fn push(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(more) {
            *to = *from;
            self.len = self.len.saturating_add(1);
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Reads one DHCP message for IPv6, out of its relays if it has any.
///
/// # Errors
/// `Short` if a header is cut, `Invalid` for a message type that is none, `Limit` for more
/// relays than are opened.
pub fn message6(bytes: &[u8], out: &mut Out<'_>) -> Parsed<()> {
    let mut relayed = Reader::new(bytes);
    let mut mac = None;
    for _ in 0..=RELAYS_MAX {
        let message = relayed.u8("msg-type")?;
        if !matches!(message, 12 | 13) {
            return plain6(message, relayed, mac, out);
        }
        relayed.skip(33, "hop-count, link-address, peer-address")?;
        let mut inner = None;
        for (code, value) in options6(relayed) {
            match code {
                9 => inner = inner.or(Some(value)),
                // The relay next to the client is the innermost, so the last one holds.
                79 => mac = ethernet(value).or(mac),
                _ => {}
            }
        }
        relayed = Reader::new(inner.ok_or(ParseError::short("relay message"))?);
    }
    Err(ParseError::limit("relay message"))
}

/// A message between client and server (RFC 8415 §8), behind its type.
fn plain6(
    message: u8,
    mut r: Reader<'_>,
    relay_mac: Option<MacAddr>,
    out: &mut Out<'_>,
) -> Parsed<()> {
    let from_client = match message {
        1 | 3..=6 | 8 | 9 | 11 => true,
        2 | 7 | 10 => false,
        _ => return Err(ParseError::invalid("msg-type")),
    };
    r.skip(3, "transaction-id")?;
    let mut duid_mac = None;
    let mut lease = None;
    let mut vendor_class = None;
    let mut name = Name::new();
    let mut fqdn = None;
    for (code, value) in options6(r) {
        match code {
            1 => duid_mac = duid_mac.or(duid_ethernet(value)),
            3 => lease = lease.or(identity_association(value)),
            // Enterprise number, then classes, each behind its length; the first one says it.
            16 => vendor_class = vendor_class.or(value.get(4..).and_then(first_class)),
            39 => fqdn = fqdn.or(value.get(1..)),
            _ => {}
        }
    }
    out(Metadata::Dhcp(DhcpMessage {
        version: 6,
        message,
        from_client,
        mac: relay_mac.or(duid_mac).unwrap_or_default(),
        addr: lease.map(|(addr, _)| addr),
        host_name: None,
        fqdn: fqdn.and_then(|labels| said(alone(labels, &mut name))),
        vendor_class,
        lease_s: lease.map_or(0, |(_, seconds)| seconds),
    }));
    Ok(())
}

/// Code and value of each option that is whole (RFC 8415 §21.1).
fn options6(mut r: Reader<'_>) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (r.u16("option-code").ok()?, r.u16("option-len").ok()?);
        r.take(usize::from(length), "option").ok().map(|value| (code, value))
    })
}

/// Ethernet address in a DUID that is made of one (RFC 8415 §11.2 with time, §11.4 without).
fn duid_ethernet(duid: &[u8]) -> Option<MacAddr> {
    match duid {
        [0, 3, link @ ..] => ethernet(link),
        [0, 1, 0, 1, _, _, _, _, mac @ ..] => <[u8; 6]>::try_from(mac).ok().map(MacAddr),
        _ => None,
    }
}

/// Hardware type Ethernet and its address.
fn ethernet(link: &[u8]) -> Option<MacAddr> {
    let mac = link.strip_prefix(&[0, 1])?;
    <[u8; 6]>::try_from(mac).ok().map(MacAddr)
}

/// First address of an `IA_NA` (RFC 8415 §21.4, §21.6), and how long it holds in seconds; one
/// that holds no longer is taken away.
fn identity_association(value: &[u8]) -> Option<(IpAddr, u32)> {
    let options = Reader::new(value.get(12..)?);
    options6(options).filter(|(code, _)| *code == 5).find_map(|(_, value)| {
        let mut r = Reader::new(value);
        let addr = r.array::<16>("IPv6-address").ok()?;
        r.skip(4, "preferred-lifetime").ok()?;
        let seconds = r.u32("valid-lifetime").ok()?;
        (addr != [0; 16]).then_some((Ipv6Addr::from(addr).into(), seconds))
    })
}

fn first_class(classes: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(classes);
    let length = usize::from(r.u16("vendor-class-len").ok()?);
    let class = r.take(length, "vendor-class-data").ok()?;
    said(class.get(..class.len().min(VENDOR_CLASS_MAX))?)
}

#[cfg(test)]
mod tests {
    use super::super::dns::trial::{Dice, damaged};
    use super::*;

    /// The fields of a message that are worth comparing, as owned values.
    #[derive(Debug, Default, PartialEq)]
    struct Said {
        message: u8,
        from_client: bool,
        mac: &'static str,
        addr: &'static str,
        host_name: &'static str,
        fqdn: &'static str,
        vendor_class: &'static str,
        lease_s: u32,
    }

    type Parse = fn(&[u8], &mut Out<'_>) -> Parsed<()>;

    fn leak(text: Option<&[u8]>) -> &'static str {
        String::from_utf8(text.unwrap_or_default().to_vec()).unwrap().leak()
    }

    fn read(parse: Parse, bytes: &[u8]) -> (Option<Said>, Parsed<()>) {
        let mut said = None;
        let answer = parse(bytes, &mut |m| {
            let Metadata::Dhcp(m) = m else { panic!("{m:?}") };
            assert!(said.is_none(), "one a datagram");
            said = Some(Said {
                message: m.message,
                from_client: m.from_client,
                mac: m.mac.0.map(|b| format!("{b:02x}")).concat().leak(),
                addr: m.addr.map_or(String::new(), |a| a.to_string()).leak(),
                host_name: leak(m.host_name),
                fqdn: leak(m.fqdn),
                vendor_class: leak(m.vendor_class),
                lease_s: m.lease_s,
            });
        });
        (said, answer)
    }

    fn option4(code: u8, value: &[u8]) -> Vec<u8> {
        [&[code, u8::try_from(value.len()).unwrap()][..], value].concat()
    }

    fn message(op: u8, addrs: [[u8; 4]; 2], sname: &[u8], file: &[u8], options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![op, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
        bytes.extend(addrs.concat());
        bytes.extend([0; 8]);
        bytes.extend([2, 0, 0x5e, 0x10, 0, 7]);
        bytes.extend([0; 10]);
        for (field, size) in [(sname, 64), (file, 128)] {
            bytes.extend(field);
            bytes.extend(vec![0; size - field.len()]);
        }
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(options);
        bytes
    }

    const NONE: [[u8; 4]; 2] = [[0; 4]; 2];
    const MAC: &str = "02005e100007";

    fn discover() -> Said {
        Said { message: 1, from_client: true, mac: MAC, ..Said::default() }
    }

    #[test]
    fn reads_messages_of_version_4() {
        let kind = |message: u8| option4(53, &[message]);
        let parts = |parts: &[Vec<u8>]| parts.concat();
        let request = parts(&[
            kind(3),
            option4(12, b"LAPTOP-7\0"),
            option4(50, &[192, 0, 2, 7]),
            option4(60, b"MSFT 5.0"),
            option4(81, b"\0\0\0laptop-7.corp.test"),
            vec![255],
            option4(12, b"behind the end"),
        ]);
        let mut no_hardware = message(
            1,
            NONE,
            b"",
            b"",
            &parts(&[kind(1), option4(61, &[1, 2, 0, 0x5e, 0x10, 0, 9])]),
        );
        no_hardware[28..34].fill(0);
        let long = b"v".repeat(100);
        let table: [(&str, Vec<u8>, Option<Said>); 11] = [
            (
                "request",
                message(1, NONE, b"", b"", &request),
                Some(Said {
                    message: 3,
                    addr: "192.0.2.7",
                    host_name: "LAPTOP-7",
                    fqdn: "laptop-7.corp.test",
                    vendor_class: "MSFT 5.0",
                    ..discover()
                }),
            ),
            (
                "acknowledgement",
                message(
                    2,
                    [[0; 4], [192, 0, 2, 8]],
                    b"",
                    b"",
                    &parts(&[kind(5), option4(51, &[0, 0, 0x0e, 0x10])]),
                ),
                Some(Said {
                    message: 5,
                    from_client: false,
                    addr: "192.0.2.8",
                    lease_s: 3600,
                    ..discover()
                }),
            ),
            (
                "renewal has its address",
                message(1, [[192, 0, 2, 9], [0; 4]], b"", b"", &kind(3)),
                Some(Said { message: 3, addr: "192.0.2.9", ..discover() }),
            ),
            (
                "name of labels",
                message(
                    1,
                    NONE,
                    b"",
                    b"",
                    &parts(&[kind(1), option4(81, b"\x04\0\0\x02pc\x04corp\0")]),
                ),
                Some(Said { fqdn: "pc.corp", ..discover() }),
            ),
            (
                "split, and continued in file and sname",
                message(
                    1,
                    NONE,
                    &option4(12, b"ee"),
                    &option4(12, b"-thr"),
                    &parts(&[
                        kind(1),
                        option4(12, b"one"),
                        option4(52, &[3]),
                        vec![0, 0],
                        option4(12, b"-two"),
                    ]),
                ),
                Some(Said { host_name: "one-two-three", ..discover() }),
            ),
            (
                "file is not options unless it says so",
                message(1, NONE, b"", &option4(12, b"boot"), &kind(1)),
                Some(discover()),
            ),
            (
                "client identifier in place of an address",
                no_hardware,
                Some(Said { mac: "02005e100009", ..discover() }),
            ),
            (
                "long vendor class",
                message(1, NONE, b"", b"", &parts(&[kind(1), option4(60, &long)])),
                Some(Said { vendor_class: leak(Some(&long[..64])), ..discover() }),
            ),
            (
                "last option cut",
                message(
                    1,
                    NONE,
                    b"",
                    b"",
                    &parts(&[kind(1), option4(60, b"a"), vec![12, 9, b'x']]),
                ),
                Some(Said { vendor_class: "a", ..discover() }),
            ),
            (
                "name of NULs",
                message(1, NONE, b"", b"", &parts(&[kind(1), option4(12, &[0; 3])])),
                Some(discover()),
            ),
            ("plain BOOTP", message(1, NONE, b"", b"", &option4(12, b"x")), None),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(read(message4, &bytes), (expected, Ok(())), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_dhcp_of_version_4() {
        let good = message(1, NONE, b"", b"", &option4(53, &[1]));
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        for (name, bytes, expected) in [
            ("empty", vec![], ParseError::short("op")),
            ("cut", good[..200].to_vec(), ParseError::short("file")),
            ("op", changed(0, 3), ParseError::invalid("op")),
            ("cookie", changed(239, 0), ParseError::invalid("magic cookie")),
        ] {
            assert_eq!(read(message4, &bytes), (None, Err(expected)), "{name}");
            let then = Dhcp.datagram(Direction::Up, &bytes, &mut |_| {});
            assert_eq!(then, Then::Need(1), "{name}: other clients share the flow");
        }
    }

    fn option6(code: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        [&code.to_be_bytes(), &length.to_be_bytes(), value].concat()
    }

    fn relayed(option_79: &[u8], inner: &[u8]) -> Vec<u8> {
        [&[12, 0][..], &[0; 32], option_79, &option6(9, inner)].concat()
    }

    fn address6() -> Vec<u8> {
        let addr = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let lifetimes = [0, 0, 0x0e, 0x10, 0, 0, 0x1c, 0x20];
        option6(3, &[&[0; 12][..], &option6(5, &[&addr[..], &lifetimes].concat())].concat())
    }

    fn message6_of(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
        [&[kind, 1, 2, 3][..], &options.concat()].concat()
    }

    #[test]
    fn reads_messages_of_version_6() {
        let llt = option6(1, &[0, 1, 0, 1, 9, 9, 9, 9, 2, 0, 0x5e, 0x10, 0, 7]);
        let ll = option6(1, &[0, 3, 0, 1, 2, 0, 0x5e, 0x10, 0, 7]);
        let uuid = option6(1, &[0, 4, 0, 1, 2, 0, 0x5e, 0x10, 0, 7]);
        let next_to = option6(79, &[0, 1, 2, 0, 0x5e, 0x10, 0, 9]);
        let wifi = option6(79, &[0, 6, 2, 0, 0x5e, 0x10, 0, 9]);
        let fqdn = option6(39, b"\x01\x03pc7\x04corp\x04test\0");
        let class = option6(16, b"\0\0\x01\x37\0\x08MSFT 5.0\0\x01x");
        let solicit = message6_of(1, &[llt, fqdn, class]);
        let wrapped = |n: usize| (0..n).fold(solicit.clone(), |inner, _| relayed(&wifi, &inner));
        let said = || Said { fqdn: "pc7.corp.test", vendor_class: "MSFT 5.0", ..discover() };
        let table = [
            ("solicit", solicit.clone(), Some(said()), Ok(())),
            (
                "reply",
                message6_of(7, &[ll.clone(), address6()]),
                Some(Said {
                    message: 7,
                    from_client: false,
                    addr: "2001:db8::7",
                    lease_s: 7200,
                    ..discover()
                }),
                Ok(()),
            ),
            (
                "name without a domain, DUID without an address",
                message6_of(3, &[uuid, option6(39, b"\x00\x03pc7")]),
                Some(Said { message: 3, mac: "000000000000", fqdn: "pc7", ..discover() }),
                Ok(()),
            ),
            (
                "relay that saw the address",
                relayed(&next_to, &solicit),
                Some(Said { mac: "02005e100009", ..said() }),
                Ok(()),
            ),
            (
                "relay nearest to the client",
                relayed(&option6(79, &[0, 1, 9, 9, 9, 9, 9, 9]), &relayed(&next_to, &solicit)),
                Some(Said { mac: "02005e100009", ..said() }),
                Ok(()),
            ),
            ("8 relays", wrapped(8), Some(said()), Ok(())),
            ("9 relays", wrapped(9), None, Err(ParseError::limit("relay message"))),
            (
                "cut behind the first option",
                message6_of(5, &[ll.clone(), vec![0, 39, 0, 9, 1]]),
                Some(Said { message: 5, ..discover() }),
                Ok(()),
            ),
            (
                "name with a dot in a label",
                message6_of(5, &[ll, option6(39, b"\x01\x03a.b\0")]),
                Some(Said { message: 5, ..discover() }),
                Ok(()),
            ),
            ("type", vec![99, 0, 0, 0], None, Err(ParseError::invalid("msg-type"))),
            ("empty", vec![], None, Err(ParseError::short("msg-type"))),
            ("empty relay", vec![12; 34], None, Err(ParseError::short("relay message"))),
        ];
        for (name, bytes, expected, answer) in table {
            assert_eq!(read(message6, &bytes), (expected, answer), "{name}");
            assert_eq!(Dhcp6.datagram(Direction::Up, &bytes, &mut |_| {}), Then::Need(1));
        }
    }

    #[test]
    fn reports_only_octets_of_the_message_however_damaged() {
        let v4 = message(
            1,
            NONE,
            b"",
            b"",
            &[
                option4(53, &[1]),
                option4(12, b"LAPTOP-7"),
                option4(60, b"MSFT 5.0"),
                option4(81, b"\0\0\0laptop-7.corp.test"),
            ]
            .concat(),
        );
        let v6 = relayed(
            &[],
            &message6_of(
                1,
                &[
                    option6(1, &[0, 3, 0, 1, 2, 0, 0x5e, 0x10, 0, 7]),
                    option6(39, b"\x01\x03pc7\x04corp\x04test\0"),
                    option6(16, b"\0\0\x01\x37\0\x08MSFT 5.0"),
                    address6(),
                ],
            ),
        );
        let mut said = 0;
        for seed in 0..20_000 {
            for (parse, bytes) in [(message4 as Parse, &v4), (message6, &v6)] {
                let mut bytes = damaged(bytes, seed);
                bytes.truncate(Dice::new(seed).below(bytes.len() * 3));
                let _ = parse(&bytes, &mut |m| {
                    let Metadata::Dhcp(m) = m else { panic!("{m:?}") };
                    said += 1;
                    for text in [m.host_name, m.fqdn, m.vendor_class].into_iter().flatten() {
                        assert!(!text.is_empty() && text.len() <= NAME_MAX);
                        for part in text.split(|&b| b == b'.').filter(|p| !p.is_empty()) {
                            assert!(bytes.windows(part.len()).any(|w| w == part), "seed {seed}");
                        }
                    }
                });
            }
        }
        assert!(said > 5_000, "{said}");
    }
}
