//! What is left out first when there is more than can be read.
//!
//! In: decoded packets, and whether the rings run over. Out: the packets that are still followed.
//! Never: leaves out a beginning (SYN), an end (FIN, RST), a long header of QUIC, a question or
//! answer of DNS, DHCP or Kerberos, or the first packets with payload of a flow; forgets to count.
//! Limits: [`FIRST_MAX`] packets of a flow, in [`BUCKETS`] buckets that flows share by hash.
//!
//! A packet left out here costs a fifth of one that is followed, and its octets are missing in the
//! totals. A frame that the kernel drops costs nothing, but may be a hello.

use crate::watcher::packet::{Decoded, Packet, tcp_flags};

/// Packets with payload that a flow may have before it counts as past its hello. A hello takes
/// two or three, a large one over TCP with another copy of each segment at most a dozen.
pub const FIRST_MAX: u8 = 16;

/// Counters, one octet each: as many as fit a core's second-level cache beside the rest.
const BUCKETS: usize = 1 << 17;

/// Ports whose datagrams say who is who: DNS and its kin, DHCP, Kerberos.
const SPOKEN: [u16; 9] = [53, 67, 68, 88, 137, 546, 547, 5353, 5355];

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The sieve of one worker.
#[derive(Debug, Default)]
pub struct Shed {
    seen: Vec<u8>,
    active: bool,
    /// Packets left out.
    pub packets: u64,
    /// Times that it began.
    pub times: u64,
}

impl Shed {
    /// Leaves out what can be spared, if there is too much.
    pub fn sift(&mut self, decoded: &mut Decoded, overloaded: bool, first: impl Fn(&Packet) -> u8) {
        if !overloaded {
            self.active = false;
            return;
        }
        if !self.active {
            self.active = true;
            self.times = self.times.saturating_add(1);
            self.seen.clear();
            self.seen.resize(BUCKETS, 0);
        }
        let before = decoded.packets.len();
        let mut packets = std::mem::take(&mut decoded.packets);
        packets.retain(|p| self.keeps(p, &first));
        decoded.packets = packets;
        let left_out = before.saturating_sub(decoded.packets.len()) as u64;
        self.packets = self.packets.saturating_add(left_out);
    }

    #[inline]
    fn keeps(&mut self, packet: &Packet, first: &impl Fn(&Packet) -> u8) -> bool {
        const ENDS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
        let bucket = usize::try_from(packet.hash >> 20).unwrap_or(0) & BUCKETS.wrapping_sub(1);
        let Some(seen) = self.seen.get_mut(bucket) else { return true };
        match packet.key.protocol {
            TCP if packet.flags & ENDS != 0 => {
                if packet.flags & tcp_flags::SYN != 0 {
                    *seen = 0;
                }
                true
            }
            TCP | UDP => {
                let key = &packet.key;
                let told = key.protocol == UDP
                    && (SPOKEN.contains(&key.lo_port)
                        || SPOKEN.contains(&key.hi_port)
                        || first(packet) & 0x80 != 0);
                if told || *seen < FIRST_MAX {
                    *seen = seen.saturating_add(u8::from(packet.payload_wire > 0));
                    return true;
                }
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]
mod tests {
    use super::*;
    use crate::watcher::packet::FlowKey;

    fn packet(protocol: u8, port: u16, flags: u8, payload: u32) -> Packet {
        let key = FlowKey { protocol, hi_port: port, ..FlowKey::default() };
        Packet { key, hash: key.hash(1), flags, payload_wire: payload, ..Packet::default() }
    }

    #[test]
    fn beginnings_ends_and_questions_stay() {
        let many = 100;
        for (name, one, octet, kept) in [
            ("bulk", packet(TCP, 443, tcp_flags::ACK, 1_400), 0x17, usize::from(FIRST_MAX)),
            ("SYN", packet(TCP, 443, tcp_flags::SYN, 0), 0, many),
            ("FIN", packet(TCP, 443, tcp_flags::FIN | tcp_flags::ACK, 0), 0, many),
            ("DNS", packet(UDP, 53, 0, 40), 0, many),
            ("QUIC, long header", packet(UDP, 443, 0, 1_200), 0xc3, many),
            ("QUIC, short header", packet(UDP, 443, 0, 1_200), 0x43, usize::from(FIRST_MAX)),
            ("ICMP", packet(1, 0, 0, 64), 0, 0),
        ] {
            let mut shed = Shed::default();
            let mut decoded = Decoded { packets: vec![one; many], ..Decoded::default() };
            shed.sift(&mut decoded, false, |_| octet);
            assert_eq!(decoded.packets.len(), many, "{name}: all without need");
            shed.sift(&mut decoded, true, |_| octet);
            assert_eq!(decoded.packets.len(), kept, "{name}");
            assert_eq!(shed.packets, (many - kept) as u64, "{name}");
        }
    }

    #[test]
    fn a_new_beginning_opens_the_flow_again() {
        let mut shed = Shed::default();
        let data = packet(TCP, 443, tcp_flags::ACK, 100);
        let mut decoded = Decoded { packets: vec![data; 40], ..Decoded::default() };
        shed.sift(&mut decoded, true, |_| 0);
        decoded.packets = vec![packet(TCP, 443, tcp_flags::SYN, 0), data, data];
        shed.sift(&mut decoded, true, |_| 0);
        assert_eq!(decoded.packets.len(), 3);
    }
}
