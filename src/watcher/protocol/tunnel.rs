//! Tunnels that nobody looks into, by the shape of their first packets.
//!
//! In: the first payloads of a flow that no parser wants. Out: which tunnel it is.
//! Never: takes a port for proof where the bytes can tell; reads what is inside.
//! Source: the `WireGuard` paper §5.4; RFC 3948 §2 and RFC 7296 §3.1 for IPsec in UDP; the wire format
//! in `OpenVPN`'s protocol documentation.

/// A tunnel whose content is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tunnel {
    /// `WireGuard`.
    WireGuard,
    /// `OpenVPN`.
    OpenVpn,
    /// IPsec: ESP or IKE, in UDP or on its own.
    Ipsec,
}

impl Tunnel {
    /// Every one, in the order of its numbers from 1.
    pub const ALL: [Tunnel; 3] = [Tunnel::WireGuard, Tunnel::OpenVpn, Tunnel::Ipsec];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Tunnel::WireGuard => "WireGuard",
            Tunnel::OpenVpn => "OpenVPN",
            Tunnel::Ipsec => "IPsec",
        }
    }
}

/// Ports of IKE, and of IKE and ESP behind address translation.
const IKE: u16 = 500;
const IPSEC_IN_UDP: u16 = 4500;

/// `OpenVPN`'s own port (IANA).
const OPENVPN: u16 = 1194;

/// A datagram between these two ports, as far as it was captured; it had `len` octets.
pub fn datagram(ports: [u16; 2], bytes: &[u8], len: usize) -> Option<Tunnel> {
    if ports.contains(&IPSEC_IN_UDP) {
        return match bytes {
            [0, 0, 0, 0, message @ ..] if ike(message, len.saturating_sub(4)) => {
                Some(Tunnel::Ipsec)
            }
            // A security parameter index, sequence number, and at least a block and its check.
            [0, 0, 0, 0, ..] => None,
            [_, _, _, _, ..] if len >= 32 => Some(Tunnel::Ipsec),
            _ => None,
        };
    }
    if ports.contains(&IKE) && ike(bytes, len) {
        return Some(Tunnel::Ipsec);
    }
    if wireguard(bytes, len) {
        return Some(Tunnel::WireGuard);
    }
    openvpn(bytes, len, ports.contains(&OPENVPN)).then_some(Tunnel::OpenVpn)
}

/// The beginning of a stream: `OpenVPN` puts a length in front of each packet.
pub fn stream(ports: [u16; 2], bytes: &[u8]) -> Option<Tunnel> {
    let (&[high, low], packet) = bytes.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let own_port = ports.contains(&OPENVPN);
    (len == packet.len() && openvpn(packet, len, own_port)).then_some(Tunnel::OpenVpn)
}

/// Type, three zeros, and a length that each type has: initiation 148, response 92, cookie 64; data
/// is padded to 16 and counts from 0.
fn wireguard(bytes: &[u8], len: usize) -> bool {
    match bytes {
        [1, 0, 0, 0, ..] => len == 148,
        [2, 0, 0, 0, ..] => len == 92,
        [3, 0, 0, 0, ..] => len == 64,
        &[4, 0, 0, 0, _, _, _, _, _, _, _, _, 0, 0, 0, 0, ..] => {
            len >= 32 && len.checked_rem(16) == Some(0)
        }
        _ => false,
    }
}

/// Version 1 or 2 behind two cookies, and a length that is the datagram's.
fn ike(bytes: &[u8], len: usize) -> bool {
    let Some(&[version, _, _, _, _, _, _, a, b, c, d]) =
        bytes.get(17..28).and_then(<[u8]>::first_chunk)
    else {
        return false;
    };
    let said = u32::from_be_bytes([a, b, c, d]);
    matches!(version, 0x10 | 0x20) && usize::try_from(said) == Ok(len)
}

/// A hard reset with key number 0: alone, or with an authentication whose packet number is 1. On the
/// program's own port its first octet will do.
fn openvpn(bytes: &[u8], len: usize, own_port: bool) -> bool {
    let Some(opcode) = bytes.first() else { return false };
    if !matches!(opcode, 0x38 | 0x40 | 0x50) {
        return false;
    }
    let one_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk) == Some(&[0, 0, 0, 1]);
    let shaped = match len {
        // Session id, no acknowledgments, packet 0.
        14 => bytes.get(9..14) == Some(&[0; 5][..]),
        26 => bytes.get(9) == Some(&1),
        // tls-crypt, or tls-auth with a hash of 32 octets; of 20; of 64.
        54 => one_at(9) || one_at(41),
        42 => one_at(29),
        86 => one_at(73),
        // tls-crypt-v2 carries the client's key wrapped.
        _ => *opcode == 0x50 && len > 100 && one_at(9),
    };
    shaped || (own_port && len >= 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_known_by_their_shape() {
        let packet = |head: &[u8], len: usize| [head, &vec![0x5a; len - head.len()]].concat();
        let counted = packet(&[4, 0, 0, 0, 9, 9, 9, 9, 7, 0, 0, 0, 0, 0, 0, 0], 96);
        let ike = |len: u8| {
            let mut message = packet(&[7; 8], 28 + 30);
            message[17] = 0x20;
            message[24..28].copy_from_slice(&[0, 0, 0, len]);
            message
        };
        let reset = [&[0x38][..], &[3; 8], &[0; 5]].concat();
        let sealed = [&[0x38][..], &[3; 8], &[0, 0, 0, 1], &[9; 41]].concat();
        for (name, ports, bytes, expected) in [
            ("initiation", [9, 51_820], packet(&[1, 0, 0, 0], 148), Some(Tunnel::WireGuard)),
            ("of another length", [9, 51_820], packet(&[1, 0, 0, 0], 147), None),
            ("response", [51_820, 9], packet(&[2, 0, 0, 0], 92), Some(Tunnel::WireGuard)),
            ("data", [9, 7_777], counted.clone(), Some(Tunnel::WireGuard)),
            ("data of an odd length", [9, 7_777], counted[..95].to_vec(), None),
            ("ike", [500, 500], ike(58), Some(Tunnel::Ipsec)),
            ("ike of another length", [500, 500], ike(57), None),
            ("ike elsewhere", [9, 9], ike(58), None),
            (
                "ike behind translation",
                [9, 4500],
                [&[0; 4][..], &ike(58)].concat(),
                Some(Tunnel::Ipsec),
            ),
            ("esp in udp", [4500, 9], packet(&[1, 2, 3, 4], 100), Some(Tunnel::Ipsec)),
            ("keep-alive", [4500, 9], vec![0xff], None),
            ("reset", [9, 443], reset.clone(), Some(Tunnel::OpenVpn)),
            ("reset with tls-crypt", [9, 443], sealed, Some(Tunnel::OpenVpn)),
            ("its own port", [9, 1194], packet(&[0x38], 60), Some(Tunnel::OpenVpn)),
            ("text", [9, 443], b"8 bottles of beer".to_vec(), None),
            ("nothing", [9, 1194], Vec::new(), None),
        ] {
            assert_eq!(datagram(ports, &bytes, bytes.len()), expected, "{name}");
        }
        let framed = [&[0, 14][..], &reset].concat();
        assert_eq!(stream([9, 443], &framed), Some(Tunnel::OpenVpn));
        assert_eq!(stream([9, 443], &framed[..15]), None);
    }
}
