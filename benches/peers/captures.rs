//! The captures: each a function of its sizes, so that two machines measure with the same bytes.
//!
//! In: sizes, and the recorded office. Out: pcap files.
//! Never: holds an address of anybody: clients are of RFC 1918, servers of RFC 2544.
//! Source: RFC 8446 §4 for hellos, RFC 9001 §5 for Initials (the tests' own writer of them).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;

use crate::forge;
use crate::wire::{self, ACK, Capture, Dice, FIN, PSH, Path, Recorded, SYN, stir};

/// When all captures begin: a Monday morning.
const BEGIN: u64 = 1_750_060_800_000_000_000;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

/// Flows of TLS that are open at once, at most: a large site in a busy minute.
const OPEN_MAX: u64 = 200_000;

/// Flows of QUIC that are open at once.
const QUIC_OPEN_MAX: usize = 5_000;

/// Clients that flows with names are spread over.
const CLIENTS: u64 = 60_000;

/// Most octets of a TCP segment with the usual options.
const SEGMENT: usize = 1_400;

/// Hellos that bring a post-quantum key share, in percent: these take two segments.
const SPLIT_PERCENT: u64 = 40;

/// Octets of such a share (X25519MLKEM768: 1,184 and 32), and group number.
const SHARE: (u16, usize) = (0x11ec, 1_216);

/// Copies of the office that begin within each other: as many offices work at once.
const OFFICES_AT_ONCE: u64 = 20;

/// The recorded office, once for each group of clients: every copy has private addresses and link
/// addresses of its own, the servers and their names are the same. Frames have their full length.
pub fn mix(out: &str, office: &str, copies: u64) -> io::Result<String> {
    let office = wire::read(office)?;
    let first = office.first().map_or(0, |f| f.at);
    let length = office.last().map_or(0, |f| f.at) - first;
    let mut capture = Capture::create(out)?;
    let mut next: BinaryHeap<_> = (0..copies)
        .map(|copy| Reverse((BEGIN + copy * length / OFFICES_AT_ONCE, copy, 0)))
        .collect();
    let mut dice = Dice::new(1);
    let junk: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(1 << 16).collect();
    let mut bytes = Vec::new();
    while let Some(Reverse((at, copy, index))) = next.pop() {
        let Recorded { at: then, bytes: frame, wire } = &office[index];
        bytes.clear();
        bytes.extend(frame);
        // The recording kept the beginning of large frames; a mirror brings them whole.
        let rest = (*wire as usize).saturating_sub(frame.len());
        bytes.extend(junk.iter().take(rest));
        move_to(&mut bytes, copy);
        capture.frame(at, &bytes, *wire)?;
        if let Some(after) = office.get(index + 1) {
            next.push(Reverse((at + after.at.saturating_sub(*then), copy, index + 1)));
        }
    }
    capture.finish(0)
}

/// Gives a frame of the office the addresses of another copy. The office uses `10.20.0.0/15` and
/// `2001:db8:20::/48`; what stands in payloads is left as it is.
fn move_to(frame: &mut [u8], copy: u64) {
    if copy == 0 || frame.len() < 34 {
        return;
    }
    let [high, low] = ((copy << 1) as u16).to_be_bytes();
    for mac in [0, 6] {
        if frame[mac] & 1 == 0 {
            frame[mac + 2] ^= high;
            frame[mac + 1] ^= low;
        }
    }
    let (addresses, bytes, transport) = match [frame[12], frame[13]] {
        [8, 0] => (26, 4, 14 + usize::from(frame[14] & 15) * 4),
        [8, 6] if frame.len() >= 42 => {
            for at in [28, 38] {
                if frame[at] == 10 {
                    frame[at + 1] ^= low;
                    frame[at + 2] ^= high << 1;
                }
            }
            return;
        }
        [0x86, 0xdd] if frame.len() >= 54 => (22, 16, 54),
        _ => return,
    };
    let old: Vec<u8> = frame[addresses..addresses + 2 * bytes].to_vec();
    for end in [addresses, addresses + bytes] {
        if bytes == 4 && frame[end] == 10 {
            frame[end + 1] ^= low;
            frame[end + 2] ^= high << 1;
        } else if bytes == 16 && frame[end..end + 6] == [0x20, 1, 0x0d, 0xb8, 0, 0x20] {
            frame[end + 4] ^= high;
            frame[end + 5] ^= low;
        }
    }
    let new: Vec<u8> = frame[addresses..addresses + 2 * bytes].to_vec();
    if bytes == 4 {
        wire::mend(&mut frame[24..26], &old, &new);
    }
    let first = bytes == 16 || (frame[20] & 0x1f, frame[21]) == (0, 0);
    let protocol = if bytes == 4 { frame[23] } else { frame[20] };
    let sum = match protocol {
        6 => transport + 16,
        17 => transport + 6,
        58 => transport + 2,
        _ => return,
    };
    if first && let Some(sum) = frame.get_mut(sum..sum + 2) {
        wire::mend(sum, &old, &new);
    }
}

/// A TLS flow on its way.
struct Flow {
    path: Path,
    number: u64,
    seq: [u32; 2],
    step: u16,
    data: u16,
    hello: Vec<u8>,
}

impl Flow {
    fn new(number: u64) -> Self {
        let mut dice = Dice::new(stir(number ^ 0x71_75_69_63));
        let ends = (dice.roll() as u32, dice.roll() as u32);
        // A long tail: three records on average, twenty at most.
        let data = (0..20).take_while(|_| dice.under(4) != 0).count() as u16;
        Self {
            path: path(number, 443, CLIENTS),
            number,
            seq: [ends.0, ends.1],
            step: 0,
            data,
            hello: Vec::new(),
        }
    }
}

/// `flows` TLS 1.3 flows: handshake, hello, answer, records of mixed size, both ends.
pub fn tls(out: &str, flows: u64) -> io::Result<String> {
    let mut capture = Capture::create(out)?;
    let mut dice = Dice::new(2);
    let (mut begun, mut now, mut frame) = (0, BEGIN, Vec::new());
    let mut open: Vec<Flow> = Vec::new();
    let mut next: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    while open.len() < OPEN_MAX as usize && begun < flows {
        next.push(Reverse((BEGIN + dice.under(2 * SECOND), open.len())));
        open.push(Flow::new(begun));
        begun += 1;
    }
    let junk: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(4096).collect();
    while let Some(Reverse((at, place))) = next.pop() {
        now = now.max(at);
        let flow = &mut open[place];
        let wait = segment(flow, &junk, &mut dice, &mut frame, &mut capture);
        capture.frame(now, &frame, frame.len() as u32)?;
        match wait {
            Some(wait) => next.push(Reverse((now + wait, place))),
            None if begun < flows => {
                *flow = Flow::new(begun);
                begun += 1;
                next.push(Reverse((now + dice.under(50 * MILLI), place)));
            }
            None => {}
        }
    }
    capture.finish(flows)
}

/// Makes the flow's next frame; how long until the one behind it, `None` behind the last.
fn segment(
    flow: &mut Flow,
    junk: &[u8],
    dice: &mut Dice,
    frame: &mut Vec<u8>,
    capture: &mut Capture,
) -> Option<u64> {
    let mut send = |flow: &mut Flow, side: usize, flags: u8, payload: &[u8]| {
        let path = if side == 0 { flow.path } else { flow.path.back() };
        let ack = if flags & ACK == 0 { 0 } else { flow.seq[side ^ 1] };
        wire::tcp(frame, path, (flow.seq[side], ack), flags, payload);
        let counted = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        flow.seq[side] = flow.seq[side].wrapping_add(counted);
    };
    let mut wait = 20 * MILLI + dice.under(20 * MILLI);
    let last_data = 6 + flow.data;
    match flow.step {
        0 => send(flow, 0, SYN, &[]),
        1 => send(flow, 1, SYN | ACK, &[]),
        2 => {
            send(flow, 0, ACK, &[]);
            wait = MILLI / 10;
        }
        3 => {
            let name = name_of(flow.number);
            flow.hello = record(&hello(&name, flow.number, false));
            capture.name(name);
            let rest = flow.hello.split_off(flow.hello.len().min(SEGMENT));
            let part = std::mem::replace(&mut flow.hello, rest);
            send(flow, 0, if flow.hello.is_empty() { ACK | PSH } else { ACK }, &part);
            if flow.hello.is_empty() {
                flow.step += 1;
            } else {
                wait = MILLI / 50;
            }
        }
        4 => {
            let part = std::mem::take(&mut flow.hello);
            send(flow, 0, ACK | PSH, &part);
        }
        5 => send(flow, 1, ACK | PSH, &server_hello(junk)),
        step if step < last_data => {
            // Seven empty to four middling to one large, as in the usual mix of frame sizes.
            let bytes = match dice.under(12) {
                0..7 => 0,
                7..11 => 512_u16,
                _ => 1_400,
            };
            let mut payload = Vec::new();
            if let Some(inner) = bytes.checked_sub(5) {
                payload.extend([0x17, 3, 3]);
                payload.extend(inner.to_be_bytes());
                payload.extend(&junk[dice.under(2_000) as usize..][..usize::from(inner)]);
            }
            let side = usize::from(dice.under(3) != 0);
            send(flow, side, ACK, &payload);
        }
        step if step == last_data => send(flow, 0, FIN | ACK, &[]),
        step if step == last_data + 1 => send(flow, 1, FIN | ACK, &[]),
        _ => {
            send(flow, 0, ACK, &[]);
            return None;
        }
    }
    flow.step += 1;
    Some(wait)
}

/// 60-byte frames: the first `flows` open a flow each, then all are drawn evenly.
pub fn tiny(out: &str, flows: u64, frames: u64) -> io::Result<String> {
    let mut capture = Capture::create(out)?;
    let mut dice = Dice::new(4);
    let mut steps = vec![0_u8; flows as usize];
    let mut frame = Vec::new();
    for number in 0..frames {
        let flow = if number < flows { number } else { dice.under(flows) };
        let step = steps[flow as usize];
        steps[flow as usize] = step.saturating_add(1).min(250);
        let back = usize::from(step & 1);
        let random = stir(flow ^ 0x0074_696e_7900);
        if flow % 5 == 0 {
            let path = path(flow, 8_801, 1 << 24);
            wire::udp(
                &mut frame,
                if back == 1 { path.back() } else { path },
                &random.to_be_bytes(),
            );
        } else {
            let path = path(flow, 443, 1 << 24);
            let begin = [random as u32, (random >> 32) as u32];
            let syn = |side: usize| u32::from(step > side as u8);
            let seq = begin[back].wrapping_add(syn(back));
            let ack = begin[back ^ 1].wrapping_add(1);
            let (flags, ack) = match step {
                0 => (SYN, 0),
                1 => (SYN | ACK, ack),
                _ => (ACK, ack),
            };
            let path = if back == 1 { path.back() } else { path };
            wire::tcp(&mut frame, path, (seq, ack), flags, &[]);
        }
        capture.frame(BEGIN + number * 500, &frame, frame.len() as u32)?;
    }
    capture.finish(flows.min(frames))
}

/// A QUIC datagram to come: from which side, and its bytes.
type Datagram = (usize, Vec<u8>);

/// `flows` QUIC flows: the hello in one Initial or, where it brings a post-quantum share, in two;
/// the server's handshake packets, and some protected ones. Every other flow is version 2.
pub fn quic(out: &str, flows: u64) -> io::Result<String> {
    let mut capture = Capture::create(out)?;
    let mut dice = Dice::new(3);
    let junk: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(4096).collect();
    let mut next: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let mut open: HashMap<u64, Vec<Datagram>> = HashMap::new();
    let (mut begun, mut now, mut frame) = (0, BEGIN, Vec::new());
    loop {
        while open.len() < QUIC_OPEN_MAX && begun < flows {
            let name = name_of(begun);
            open.insert(begun, datagrams(begun, &name, &junk));
            capture.name(name);
            next.push(Reverse((now + dice.under(200 * MILLI), begun, 0)));
            begun += 1;
        }
        let Some(Reverse((at, number, index))) = next.pop() else { break };
        now = now.max(at);
        let Some((side, payload)) = open.get(&number).and_then(|all| all.get(index)) else {
            open.remove(&number);
            continue;
        };
        let path = path(number, 443, CLIENTS);
        wire::udp(&mut frame, if *side == 0 { path } else { path.back() }, payload);
        capture.frame(now, &frame, frame.len() as u32)?;
        next.push(Reverse((now + 5 * MILLI + dice.under(20 * MILLI), number, index + 1)));
    }
    capture.finish(flows)
}

/// All datagrams of a QUIC flow.
fn datagrams(number: u64, name: &str, junk: &[u8]) -> Vec<Datagram> {
    /// Octets of a CRYPTO frame that leave room for the rest of a 1,200-byte packet.
    const PART: usize = 1_080;
    let id = stir(number).to_be_bytes();
    let version = if number % 2 == 0 { forge::V1 } else { forge::V2 };
    let hello = hello(name, number, true);
    let mut all: Vec<Datagram> = Vec::new();
    for (packet, part) in (0_u32..).zip(hello.chunks(PART)) {
        let frames = forge::crypto(packet as usize * PART, part);
        let initial =
            forge::Initial { number: packet, ..forge::Initial::new(version, &id, &frames) };
        all.push((0, initial.seal()));
    }
    // Handshake packets of the server (RFC 9000 §17.2.4), whose keys nobody has who only listens.
    for cut in [0, 700] {
        let kind = if number % 2 == 0 { 0xe0 } else { 0xf0 };
        let head = [&[kind][..], &version.to_be_bytes(), &[4], b"scid", &[0, 0x44, 0x80]].concat();
        all.push((1, [&head[..], &junk[cut..cut + 1_152]].concat()));
    }
    for cut in 0..6 {
        let mut short = junk[cut * 300..cut * 300 + 60 + cut * 150].to_vec();
        short[0] = 0x40 | short[0] & 0x3f;
        short[1..9].copy_from_slice(&id);
        all.push((cut % 2, short));
    }
    all
}

/// Who talks in a flow: one of so many clients, one of 130,000 servers, a port.
fn path(number: u64, port: u16, clients: u64) -> Path {
    let random = stir(number ^ 0x5061_7468);
    let [_, a, b, c] = ((random % clients) as u32).to_be_bytes();
    let [_, d, e, f] = ((random >> 24) as u32 & 0x0001_ffff).to_be_bytes();
    // Flows of one client differ in their port, whatever else is drawn.
    let from = 1_024 + (number % 60_000) as u16;
    Path { from: ([10, a, b, c], from), to: ([198, 18 + d, e, f], port) }
}

/// The server's name in flow `number`: 96,000 different ones, which nobody can register.
fn name_of(number: u64) -> String {
    const KINDS: [&str; 12] = [
        "api",
        "chat",
        "www",
        "cdn",
        "mail",
        "login",
        "assets",
        "edge",
        "inference",
        "models",
        "files",
        "metrics",
    ];
    const DOMAINS: [&str; 4] = ["example.com", "example.net", "shop.example", "cloud.example"];
    let random = stir(number ^ 0x6e61_6d65);
    let kind = KINDS[(random % 12) as usize];
    let domain = DOMAINS[(random >> 8) as usize % 4];
    format!("{kind}-{}.{domain}", (random >> 16) % 2_000)
}

/// A ClientHello as a browser's: sixteen suites, a dozen extensions, the name in front of a large
/// key share or behind it.
fn hello(name: &str, number: u64, quic: bool) -> Vec<u8> {
    const SUITES: [u16; 16] = [
        0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
        0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let mut dice = Dice::new(stir(number ^ 0x6865_6c6c));
    let large = dice.under(100) < SPLIT_PERCENT;
    let mut random = |bytes: usize| -> Vec<u8> {
        std::iter::repeat_with(|| dice.roll() as u8).take(bytes).collect()
    };
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut shares = [&[0, 0x1d][..], &sized(&random(32))].concat();
    if large {
        shares = [&SHARE.0.to_be_bytes()[..], &sized(&random(SHARE.1)), &shares].concat();
    }
    let server = [&[0][..], &sized(name.as_bytes())].concat();
    let protocols: &[u8] = if quic { b"\x02h3" } else { b"\x02h2\x08http/1.1" };
    let (server, shares) = ((0x0000, sized(&server)), (0x0033, sized(&shares)));
    let (first, last) = if number % 2 == 0 { (server, shares) } else { (shares, server) };
    let mut extensions = vec![
        first,
        (0x0017, vec![]),
        (0xff01, vec![0]),
        (0x000a, sized(&[0x11, 0xec, 0, 0x1d, 0, 0x17, 0, 0x18])),
        (0x000b, vec![1, 0]),
        (0x0010, sized(protocols)),
        (0x0005, vec![1, 0, 0, 0, 0]),
        (0x000d, sized(&[4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1])),
        (0x002d, vec![1, 1]),
        (0x002b, vec![4, 3, 4, 3, 3]),
        (0x001b, vec![2, 0, 2]),
        last,
    ];
    if quic {
        // Transport parameters (RFC 9000 §18): idle timeout, and a limit of data.
        extensions.push((0x0039, vec![1, 4, 0x80, 0, 0x75, 0x30, 4, 4, 0x80, 0x10, 0, 0]));
    }
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &sized(body)].concat())
        .collect();
    let suites: Vec<u8> = SUITES.iter().flat_map(|s| s.to_be_bytes()).collect();
    let session = if quic { vec![] } else { random(32) };
    let body = [
        &[3, 3][..],
        &random(32),
        &[session.len() as u8],
        &session,
        &sized(&suites),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    [&[1, a, b, c][..], &body].concat()
}

/// A handshake message as a record of its own.
fn record(message: &[u8]) -> Vec<u8> {
    let [a, b] = (message.len() as u16).to_be_bytes();
    [&[0x16, 3, 1, a, b][..], message].concat()
}

/// The server's answer of TLS 1.3, and the first of what nobody can read.
fn server_hello(junk: &[u8]) -> Vec<u8> {
    let extensions =
        [&[0, 0x33, 0, 0x24, 0, 0x1d, 0, 0x20][..], &junk[..32], &[0, 0x2b, 0, 2, 3, 4]];
    let extensions = extensions.concat();
    let body =
        [&[3, 3][..], &junk[32..64], &[32], &junk[64..96], &[0x13, 1, 0, 0, 46], &extensions];
    let body = body.concat();
    let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&record(&message)[..], &[0x14, 3, 3, 0, 1, 1, 0x17, 3, 3, 1, 0], &junk[96..352]].concat()
}
