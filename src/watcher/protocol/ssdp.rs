//! SSDP: what kind of device announces itself on the link.
//!
//! In: UDP payloads of port 1900. Out: product words of `SERVER`, and the device type, of NOTIFY.
//! Never: reads locations, serial numbers or friendly names; takes a search or a farewell for an
//! announcement.
//! Limits: [`LINES_MAX`] lines, [`WORD_MAX`] octets of what is told.
//! Source: UPnP Device Architecture 2.0 §1.2.2 (NOTIFY with ssdp:alive), §1.1.4 (device types).

use super::{DatagramParser, Metadata, Out, Then};
use crate::types::Direction;

/// Lines of one message; the architecture names 12.
const LINES_MAX: usize = 32;

/// Longest text told; product words of all makers are shorter.
const WORD_MAX: usize = 96;

/// How an announcement begins.
const NOTIFY: &[u8] = b"NOTIFY ";

/// SSDP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ssdp;

impl DatagramParser for Ssdp {
    fn datagram(&mut self, _from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Then {
        announcement(bytes, out);
        Then::Need(1)
    }
}

fn announcement(bytes: &[u8], out: &mut Out<'_>) {
    if !bytes.starts_with(NOTIFY) {
        return;
    }
    let (mut alive, mut server, mut kind) = (false, None, None);
    let lines = bytes.split(|b| *b == b'\n').skip(1).take(LINES_MAX);
    for (name, value) in lines.filter_map(field) {
        if name.eq_ignore_ascii_case(b"NTS") {
            alive = value.eq_ignore_ascii_case(b"ssdp:alive");
        } else if name.eq_ignore_ascii_case(b"SERVER") {
            server = Some(value);
        } else if name.eq_ignore_ascii_case(b"NT") {
            kind = device_type(value);
        }
    }
    for word in [server, kind].into_iter().flatten().filter(|_| alive) {
        if !word.is_empty() && word.len() <= WORD_MAX && word.iter().all(|b| (32..127).contains(b))
        {
            out(Metadata::Runs(word));
        }
    }
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    Some((name.trim_ascii(), rest.get(1..)?.trim_ascii()))
}

/// `MediaRenderer` of `urn:schemas-upnp-org:device:MediaRenderer:1`.
fn device_type(value: &[u8]) -> Option<&[u8]> {
    let mut parts = value.split(|b| *b == b':');
    let urn = parts.next()? == b"urn";
    let _whose = parts.next()?;
    let device = parts.next()? == b"device";
    parts.next().filter(|_| urn && device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> Vec<String> {
        let mut words = Vec::new();
        let out = &mut |m: Metadata<'_>| {
            let Metadata::Runs(word) = m else { panic!("{m:?}") };
            words.push(String::from_utf8(word.to_vec()).unwrap());
        };
        Ssdp.datagram(Direction::Up, message.as_bytes(), out);
        words
    }

    #[test]
    fn what_announces_itself() {
        let notify = |fields: &str| {
            format!("NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n{fields}\r\n")
        };
        let tv = "NT: urn:schemas-upnp-org:device:MediaRenderer:1\r\nNTS: ssdp:alive\r\n\
                  SERVER: Linux/4.1 UPnP/1.0 TV/2\r\nUSN: uuid:1::x\r\n";
        let long = format!("NTS: ssdp:alive\r\nSERVER: {}\r\n", "x".repeat(WORD_MAX + 1));
        let most = "x".repeat(WORD_MAX);
        let table: [(&str, String, Vec<&str>); 8] = [
            ("a television", notify(tv), vec!["Linux/4.1 UPnP/1.0 TV/2", "MediaRenderer"]),
            ("a farewell", notify(&tv.replace("alive", "byebye")), vec![]),
            ("a search", notify(tv).replace("NOTIFY", "M-SEARCH"), vec![]),
            (
                "a service is no device",
                notify("NT: urn:x:service:Y:1\r\nNTS: ssdp:alive\r\n"),
                vec![],
            ),
            ("too long", notify(&long), vec![]),
            (
                "as long as may be",
                notify(&format!("nts:ssdp:alive\r\nserver:{most}\r\n")),
                vec![&most],
            ),
            ("no text", notify("NTS: ssdp:alive\r\nSERVER: a\u{1b}[2J\r\n"), vec![]),
            ("nothing", String::new(), vec![]),
        ];
        for (name, message, expected) in table {
            assert_eq!(told(&message), expected, "{name}");
        }
        let whole = notify(tv);
        for end in 0..whole.len() {
            let words = told(&whole[..end]);
            assert!(words.iter().all(|w| whole.contains(w.as_str())), "cut at {end}");
        }
    }
}
