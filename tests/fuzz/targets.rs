//! What is fuzzed: one function a target, with the oracle that it holds.
//!
//! In: any bytes. Out: nothing; a broken promise is a panic. The same functions run under libFuzzer
//! (`run.rs`) and replay the committed corpora in `cargo test` (`tests/hostile.rs`).
//! Never: needs a file that is not here, or a clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use shadowtap::answer::terminal;
use shadowtap::config::Config;
use shadowtap::observation::{Batch, Fact, TextId};
use shadowtap::recorder::policy::Policy;
use shadowtap::recorder::signature::{Catalogue, Network};
use shadowtap::types::{Direction, Timestamp};
use shadowtap::watcher::capture::{Format, Stop, Walker, recognise};
use shadowtap::watcher::decode::{DecodeCounters, DecodeOptions, Decoder, Exclude, Stitcher};
use shadowtap::watcher::flow::texts::Texts;
use shadowtap::watcher::flow::{Flows, Limits, SHARDS};
use shadowtap::watcher::packet::{
    Block, Chunk, Decoded, FlowKey, Fragment, Frame, Packet, tcp_flags,
};
use shadowtap::watcher::protocol::parser::{self, Parser};
use shadowtap::watcher::protocol::{
    Metadata, Protocol, Then, dhcp, dns, kerberos, local, ntlm, quic, tls,
};
use shadowtap::written::{Document, quoted};

#[path = "../../src/watcher/protocol/quic/forge.rs"]
#[allow(dead_code, missing_docs, clippy::missing_panics_doc)]
mod forge;

/// Every target by its name, which is also that of its binary and of its corpus.
pub const ALL: &[(&str, fn(&[u8]))] = &[
    ("capture_file", capture_file),
    ("config", config),
    ("dhcp", dhcp),
    ("dns", dns),
    ("dns_tcp", dns_tcp),
    ("dtls", dtls),
    ("frame", frame),
    ("h2c", h2c),
    ("http1", http1),
    ("ip_defrag", ip_defrag),
    ("kerberos", kerberos),
    ("local", local),
    ("ntlm", ntlm),
    ("output_escape", output_escape),
    ("quic_crypto", quic_crypto),
    ("quic_initial", quic_initial),
    ("signatures", signatures),
    ("socks", socks),
    ("starttls", starttls),
    ("tcp_stream", tcp_stream),
    ("tls_client", tls_client),
];

/// Runs one target.
#[allow(dead_code)]
pub fn run(name: &str, bytes: &[u8]) {
    let target = ALL.iter().find(|t| t.0 == name).expect("a target of that name");
    target.1(bytes);
}

// --- bytes to plans ---

/// Takes numbers off the front of the input; 0 where there are none left.
struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// Pieces behind a length of two octets each.
    fn pieces(&mut self, most: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !self.0.is_empty() && pieces.len() < most {
            let len = self.number();
            pieces.push(self.bytes(len));
        }
        pieces
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part))
}

/// Names stand in the input, whole or label by label.
fn stands_in(input: &[u8], name: &[u8]) {
    let whole = has(input, name) || name.split(|b| *b == b'.').all(|label| has(input, label));
    assert!(whole, "{:?} stands nowhere in the input", String::from_utf8_lossy(name));
}

fn names_stand_in(input: &[u8], said: &Metadata<'_>) {
    match said {
        Metadata::Hello(hello) => stands_in(input, hello.server_name.unwrap_or_default()),
        Metadata::CertificateName(name) => stands_in(input, name),
        Metadata::DnsQuery(question) => stands_in(input, question.name),
        Metadata::DnsAddress { question, .. } => stands_in(input, question.name),
        Metadata::HttpRequest(request) => stands_in(input, request.host.unwrap_or_default()),
        _ => {}
    }
}

// --- files and frames ---

/// A capture file walked in pieces is the same as walked at once, and every frame lies in it.
fn capture_file(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let step = dice.number().max(1);
    let file = dice.0;
    let walker = || match recognise(file) {
        Format::Pcap(variant) => Some(Walker::pcap(variant, 0)),
        Format::Pcapng => Some(Walker::pcapng(0)),
        _ => None,
    };
    let (Some(mut at_once), Some(mut by_pieces)) = (walker(), walker()) else { return };
    let mut whole = Vec::new();
    let (used, stop) = at_once.walk(file, &mut whole);
    for frame in &whole {
        assert!(frame.offset as usize + frame.captured as usize <= used, "{frame:?} in {used}");
    }
    let (mut begin, mut end, mut frames) = (0, 0, Vec::new());
    let last = loop {
        end = (end + step).min(file.len());
        let mut found = Vec::new();
        let (walked, stop) = by_pieces.walk(&file[begin..end], &mut found);
        frames.extend(found.iter().map(|f| Frame { offset: f.offset + begin as u32, ..*f }));
        begin += walked;
        match stop {
            Stop::More(_) if end < file.len() => {}
            Stop::More(need) => break (begin, Stop::More(need)),
            Stop::Fault(at, reason) => break (begin - walked + at, Stop::Fault(0, reason)),
        }
    };
    let expected = match stop {
        Stop::More(need) => (used, Stop::More(need)),
        Stop::Fault(at, reason) => (at, Stop::Fault(0, reason)),
    };
    assert_eq!(last, expected);
    assert_eq!(format!("{frames:?}"), format!("{whole:?}"));
}

/// Link types that are read, and one that is not.
const LINKS: &[u16] = &[
    1, 0, 7, 9, 11, 12, 50, 51, 101, 104, 105, 108, 109, 113, 117, 119, 127, 129, 149, 163, 166,
    192, 204, 228, 229, 239, 258, 276, 9_999,
];

fn block_of(frames: &[&[u8]], link: u16) -> Block {
    let mut chunk = Vec::new();
    let mut block = Block::default();
    for (bytes, number) in frames.iter().zip(1_u64..) {
        let time = Timestamp(number * Timestamp::SECOND);
        block.frames.push(Frame {
            time,
            now: time,
            number,
            offset: chunk.len() as u32,
            captured: bytes.len() as u32,
            wire: bytes.len() as u32,
            chunk: 0,
            input: 0,
            link,
        });
        block.now = time;
        chunk.extend_from_slice(bytes);
    }
    block.chunks.push(Chunk::Read(Arc::new(chunk)));
    block
}

fn limits() -> Limits {
    Limits { stream_bytes_max: 1 << 20, ..Limits::of(1 << 8) }
}

/// Each frame has one fate, the short way says what the long way says, and payloads are there.
fn frame(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let link = LINKS[usize::from(dice.byte()) % LINKS.len()];
    let frames = dice.pieces(64);
    let block = block_of(&frames, link);
    // Excluding a VLAN that nobody has makes every frame go the long way.
    let slow = DecodeOptions {
        hash_seed: 1,
        exclude: Exclude::new(&[], &[0xffff], &[]),
        ..DecodeOptions::default()
    };
    let fast = DecodeOptions { hash_seed: 1, ..DecodeOptions::default() };
    let mut said = Vec::new();
    for options in [fast, slow] {
        let decoder = Decoder::new(options);
        let (mut decoded, mut counters) = (Decoded::default(), DecodeCounters::default());
        decoder.block(&block, &mut decoded, &mut counters);
        assert_eq!(counters.frames(), frames.len() as u64, "every frame has one fate");
        let mut stitcher = Stitcher::default();
        stitcher.stitch(&block, &mut decoded, &decoder, &mut counters);
        for packet in &decoded.packets {
            let payload = decoded.payload(&block, packet);
            assert_eq!(payload.len(), packet.payload_captured as usize, "{packet:?}");
            assert!(packet.payload_captured <= packet.payload_wire, "{packet:?}");
        }
        let mut flows = Flows::new(0, 1, limits(), 1);
        flows.block(&block, &decoded);
        said.push((format!("{:?}", decoded.packets), counters));
    }
    assert!(said[0] == said[1], "the short way and the long way differ");
}

/// Fragments of one datagram in any order, some twice, give that datagram.
fn ip_defrag(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let (cuts, v6) = (1 + usize::from(dice.byte() % 24), dice.byte() & 1 == 1);
    let orders: Vec<u8> = dice.bytes(cuts).to_vec();
    let doubled = dice.byte();
    let lens: Vec<usize> = (0..cuts).map(|_| 8 + 8 * usize::from(dice.byte() % 32)).collect();
    // A UDP header whose length fits, and the rest of the input.
    let total = (8 + dice.0.len()).min(lens.iter().sum());
    let mut datagram = [&[0xc0, 0, 0xd0, 0][..], &(total as u16).to_be_bytes(), &[0, 0]].concat();
    datagram.extend_from_slice(&dice.0[..total - 8]);
    let mut fragments = Vec::new();
    let mut at = 0;
    for (i, len) in lens.iter().enumerate() {
        let len = (*len).min(total - at);
        if len == 0 {
            break;
        }
        let order = orders.get(i).copied().unwrap_or(0);
        for _ in 0..=usize::from(doubled >> (i % 8) & 1) {
            fragments.push((order, at, len));
        }
        at += len;
    }
    fragments.sort_by_key(|f| f.0);
    let frames: Vec<&[u8]> = fragments.iter().map(|f| &datagram[f.1..f.1 + f.2]).collect();
    let mut block = block_of(&frames, 1);
    // All at once: what waits for long is given up.
    for frame in &mut block.frames {
        frame.now = block.now;
    }
    let mut decoded = Decoded::default();
    for (i, (_, offset, len)) in fragments.iter().enumerate() {
        decoded.fragments.push(Fragment {
            frame: i as u32,
            chunk: 0,
            data: block.frames[i].offset,
            captured: *len as u32,
            wire: *len as u32,
            offset: *offset as u32,
            more: offset + len < total,
            v6,
            src: [1; 16],
            dst: [2; 16],
            id: 7,
            protocol: 17,
            depth: 0,
            realm: shadowtap::types::Realm::default(),
            ttl: 64,
        });
    }
    let decoder = Decoder::new(DecodeOptions { hash_seed: 1, ..DecodeOptions::default() });
    let mut counters = DecodeCounters::default();
    let mut stitcher = Stitcher::default();
    let packets = |decoded: &Decoded| -> BTreeSet<Vec<u8>> {
        decoded.packets.iter().map(|p| decoded.payload(&block, p).to_vec()).collect()
    };
    stitcher.stitch(&block, &mut decoded, &decoder, &mut counters);
    if fragments.len() > 1 && fragments.iter().any(|f| f.2 < total) {
        assert!(packets(&decoded).contains(&datagram[8..]), "not the datagram");
    }
    decoded.clear();
    stitcher.finish(&mut decoded, &decoder, &mut counters);
    assert_eq!(stitcher.held(), (0, 0), "nothing is kept behind the end");
}

// --- streams ---

/// Octets that a parser may keep besides eight times what it was shown: both tables of HPACK, and
/// the requests whose answers are awaited.
const KEEPS: usize = 64 << 10;

/// Plays the flow stage to a parser: `script` says whose bytes come next. What was told, and how
/// each direction ended.
fn play(protocol: Protocol, port: u16, script: &[(Direction, &[u8])]) -> Vec<String> {
    let mut parser = Parser::new(Some(protocol), port);
    let octets: usize = script.iter().map(|(_, bytes)| bytes.len()).sum();
    let (mut told, mut held) = (Vec::new(), [Vec::new(), Vec::new()]);
    let (mut needs, mut skips, mut deaf) = ([1_usize; 2], [0_u64; 2], [false; 2]);
    for &(from, bytes) in script {
        let i = from.index();
        let skipped = usize::try_from(skips[i]).unwrap_or(usize::MAX).min(bytes.len());
        skips[i] -= skipped as u64;
        held[i].extend_from_slice(&bytes[skipped..]);
        let mut turns = 0;
        while !deaf[i] && !held[i].is_empty() && held[i].len() >= needs[i] {
            turns += 1;
            assert!(turns <= 8 + held[i].len(), "turns without progress");
            let shown = std::mem::take(&mut held[i]);
            let turn = parser.feed(from, &shown, &mut |said| told.push(format!("{said:?}")));
            assert!(turn.consumed <= shown.len(), "consumed what was not there");
            assert!(parser.memory() <= KEEPS + 8 * octets, "{} of {octets}", parser.memory());
            held[i] = shown[turn.consumed..].to_vec();
            needs[i] = 1;
            match turn.then {
                Then::Need(need) => {
                    assert!(need > held[i].len(), "needs what it has");
                    needs[i] = need;
                }
                Then::Skip(len) => {
                    let here = usize::try_from(len).unwrap_or(usize::MAX).min(held[i].len());
                    held[i].drain(..here);
                    skips[i] = len - here as u64;
                }
                Then::Deaf => deaf[i] = true,
                // Why and where a parser ends may be seen earlier in one piece than in two.
                Then::Done | Then::NotThis(_) | Then::Handover(_) => return told,
            }
        }
    }
    for from in [Direction::Up, Direction::Down] {
        let rest = std::mem::take(&mut held[from.index()]);
        parser.cut(from, &rest, &mut |said| told.push(format!("{said:?}")));
    }
    told
}

/// The same bytes cut anywhere say the same. `bytes` begin with two lengths to cut at, then
/// pieces, whose first octet says who sent them.
fn any_split(protocol: Protocol, bytes: &[u8]) {
    any_split_on(protocol, 443, bytes);
}

fn any_split_on(protocol: Protocol, port: u16, bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let steps = [dice.byte(), dice.byte()].map(|n| 1 + usize::from(n));
    let mut whole: Vec<(Direction, &[u8])> = Vec::new();
    for piece in dice.pieces(32) {
        let Some((who, piece)) = piece.split_first() else { continue };
        whole.push((if who & 1 == 0 { Direction::Up } else { Direction::Down }, piece));
    }
    let mut parts = Vec::new();
    let mut steps = steps.iter().cycle();
    for &(from, piece) in &whole {
        let mut rest = piece;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*steps.next().unwrap()).min(rest.len()));
            parts.push((from, head));
            rest = tail;
        }
    }
    assert_eq!(play(protocol, port, &whole), play(protocol, port, &parts));
}

fn http1(bytes: &[u8]) {
    any_split(Protocol::Http1, bytes);
}

fn h2c(bytes: &[u8]) {
    any_split(Protocol::Http2, bytes);
}

fn starttls(bytes: &[u8]) {
    any_split(Protocol::StartTls, bytes);
}

fn socks(bytes: &[u8]) {
    any_split(Protocol::Socks, bytes);
    any_split(Protocol::ProxyHeader, bytes);
}

fn dns_tcp(bytes: &[u8]) {
    any_split_on(Protocol::Dns, 53, bytes);
    any_split_on(Protocol::Dns, 5_300, bytes);
}

/// Streams of TLS split anywhere, and a lone hello, whose name stands in it and is the one that
/// another reader finds.
fn tls_client(bytes: &[u8]) {
    any_split(Protocol::Tls, bytes);
    let mut scratch = tls::Scratch::default();
    let Ok(hello) =
        tls::client_hello(bytes, shadowtap::watcher::protocol::HelloTransport::Tls, &mut scratch)
    else {
        return;
    };
    names_stand_in(bytes, &Metadata::Hello(hello.clone()));
    assert!(hello.length as usize <= bytes.len());
}

/// The flow stage with all its parsers: segments of two streams in any order, some twice, some
/// missing. Whatever is told stands in one of the streams, and memory stays under its cap.
fn tcp_stream(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let port = [443, 80, 25, 53, 88, 1080, 445, 8443][usize::from(dice.byte() % 8)];
    let plan_len = usize::from(dice.byte());
    let plan = dice.bytes(plan_len * 3);
    let border = dice.number().min(dice.0.len());
    let streams = dice.0.split_at(border);
    let ends = [([10; 16], 40_000), ([9; 16], port)];
    let (mut block, mut decoded) = (Block::default(), Decoded::default());
    block.chunks.push(Chunk::Read(Arc::new([streams.0, streams.1].concat())));
    let mut add = |up: bool, at: usize, len: usize, flags: u8| {
        let (from, to) = if up { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let (key, from_hi) = FlowKey::new(shadowtap::types::Realm::default(), 6, from, to, true);
        let stream = if up { streams.0 } else { streams.1 };
        let at = at.min(stream.len());
        let len = len.min(stream.len() - at);
        let frame = block.frames.len() as u32;
        let time = Timestamp(u64::from(frame / 8) * Timestamp::SECOND);
        block.frames.push(Frame {
            time,
            now: time,
            number: 1 + u64::from(frame),
            ..Frame::default()
        });
        let begin: u32 = if up { u32::MAX - 50 } else { 700 };
        let syn = flags & tcp_flags::SYN != 0;
        decoded.packets.push(Packet {
            hash: key.hash(1),
            key,
            frame,
            payload: (at + if up { 0 } else { border }) as u32,
            payload_captured: len as u32,
            payload_wire: len as u32,
            seq: begin.wrapping_add(at as u32).wrapping_sub(u32::from(syn)),
            ack: 0,
            ip_len: 40 + len as u32,
            flags,
            from_hi,
            ..Packet::default()
        });
    };
    for step in plan.as_chunks::<3>().0 {
        let len = usize::from(step[2]) * 8;
        let at = usize::from(step[1]) * 8 + usize::from(step[0] >> 5);
        let flags = match step[0] >> 1 & 15 {
            0 => tcp_flags::SYN,
            1 => tcp_flags::FIN,
            2 => tcp_flags::RST,
            _ => 0,
        };
        add(step[0] & 1 == 0, at, len, flags);
    }
    // In the end everything, in order.
    for up in [true, false] {
        for at in (0..=u16::MAX as usize).step_by(1_400).take_while(|at| *at < dice.0.len()) {
            add(up, at, 1_400, 0);
        }
    }
    block.now = block.frames.last().map_or(Timestamp::default(), |f| f.now);
    let mut flows = Flows::new(0, 1, limits(), 1);
    let batch = flows.block(&block, &decoded);
    assert!(flows.bytes() < 8 << 20, "{} bytes for one flow", flows.bytes());
    let mut batches = vec![batch];
    for shard in 0..SHARDS {
        let mut over = false;
        while !over {
            let batch;
            (batch, over) = flows.finish(shard, &block);
            batches.push(batch);
        }
    }
    heard(&batches, &mut |name| {
        let there = has(streams.0, name.as_bytes()) || has(streams.1, name.as_bytes());
        // HTTP/2 packs names (RFC 7541 §5.2), DNS and others cut them into labels.
        let packed = has(streams.0, b"PRI * HTTP/2");
        let labels = name.split('.').all(|label| has(dice.0, label.as_bytes()));
        // SOCKS asks for addresses in octets.
        let address = name.parse::<std::net::IpAddr>().is_ok();
        assert!(there || packed || labels || address, "{name:?} stands in no stream");
    });
}

/// Every name that batches tell.
fn heard(batches: &[Batch], tell: &mut dyn FnMut(&str)) {
    let mut texts = std::collections::HashMap::new();
    for batch in batches {
        for (id, text) in &batch.texts {
            texts.insert(*id, text.clone());
        }
        for observation in &batch.observations {
            let name = match observation.fact {
                Fact::Hello(hello) => hello.name,
                Fact::Http(http) => http.host,
                Fact::DnsQuery { name, .. } | Fact::DnsAddress { name, .. } => name,
                Fact::SocksTarget { host, .. } => host,
                _ => TextId::NONE,
            };
            if let Some(name) = texts.get(&name) {
                tell(name);
            }
        }
    }
}

// --- datagrams ---

fn dns(bytes: &[u8]) {
    let _ = dns::message(bytes, &mut |said| names_stand_in(bytes, &said));
    let _ = parser::datagram(Protocol::Dns, Direction::Down, bytes, &mut |_| {});
}

fn local(bytes: &[u8]) {
    use shadowtap::watcher::protocol::DatagramParser;
    let _ = local::Mdns.datagram(Direction::Up, bytes, &mut |_| {});
    let _ = local::Llmnr.datagram(Direction::Up, bytes, &mut |_| {});
    let _ = local::Nbns.datagram(Direction::Up, bytes, &mut |_| {});
}

fn dhcp(bytes: &[u8]) {
    let mut check = |said: Metadata<'_>| {
        if let Metadata::Dhcp(message) = said {
            // An option may stand in parts (RFC 3396).
            let class = message.vendor_class.unwrap_or_default();
            assert!(class.iter().all(|octet| bytes.contains(octet)), "{message:?}");
        }
    };
    let _ = dhcp::message4(bytes, &mut check);
    let _ = dhcp::message6(bytes, &mut check);
}

fn kerberos(bytes: &[u8]) {
    let _ = kerberos::message(bytes, &mut |_| {});
    any_split(Protocol::Kerberos, bytes);
}

fn ntlm(bytes: &[u8]) {
    let _ = ntlm::authenticate(bytes);
    let _ = ntlm::from_authorization(bytes);
    let _ = ntlm::from_base64(bytes);
    any_split(Protocol::Ntlm, bytes);
}

/// Datagrams as they come: nothing but work within bounds is promised, for they are sealed.
fn quic_initial(bytes: &[u8]) {
    datagrams(Protocol::Quic, bytes, &mut |_| {});
}

/// Datagrams in clear: names stand in one of them, or across two.
fn dtls(bytes: &[u8]) {
    datagrams(Protocol::Dtls, bytes, &mut |said| {
        if let Metadata::Hello(hello) = said {
            let name = hello.server_name.unwrap_or_default();
            assert!(name.windows(1).all(|octet| has(bytes, octet)), "{name:?}");
        }
    });
}

fn datagrams(protocol: Protocol, bytes: &[u8], check: &mut dyn FnMut(Metadata<'_>)) {
    let mut dice = Dice(bytes);
    let mut flow = Parser::new(Some(protocol), 443);
    for piece in dice.pieces(100) {
        let Some((who, datagram)) = piece.split_first() else { continue };
        let from = if who & 1 == 0 { Direction::Up } else { Direction::Down };
        let _ = parser::probe_datagram([443, 3389], datagram);
        let then = flow.datagram(from, datagram, &mut *check);
        assert!(flow.memory() <= KEEPS + 8 * bytes.len(), "{} octets kept", flow.memory());
        if !matches!(then, Then::Need(_)) {
            break;
        }
    }
}

/// A hello in CRYPTO frames of any order, cut, repeated, in one datagram or several: its name comes
/// out if every byte came, and no other ever does.
fn quic_crypto(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let version = [forge::V1, forge::V2, forge::DRAFT_29][usize::from(dice.byte() % 3)];
    let hello = forge::client_hello("chat.example", usize::from(dice.byte()) * 8);
    let mut covered = vec![false; hello.len()];
    let mut quic = quic::Quic::new();
    let mut names = Vec::new();
    let mut number = 0;
    let mut going = true;
    while !dice.0.is_empty() && going && number < 40 {
        let mut frames = Vec::new();
        for _ in 0..=dice.byte() % 8 {
            let at = dice.number() % hello.len();
            let len = (usize::from(dice.byte()) * 4 + 1).min(hello.len() - at);
            if frames.len() + len + 8 > 1_100 {
                continue;
            }
            frames.extend(forge::crypto(at, &hello[at..at + len]));
            covered[at..at + len].fill(true);
        }
        let mut initial = forge::Initial::new(version, b"12345678", &frames);
        initial.number = number;
        number += 1;
        use shadowtap::watcher::protocol::DatagramParser;
        let then = quic.datagram(Direction::Up, &initial.seal(), &mut |said| {
            if let Metadata::Hello(hello) = said {
                names.push(hello.server_name.unwrap_or_default().to_vec());
            }
        });
        going = matches!(then, Then::Need(_)) && names.is_empty();
    }
    assert!(names.iter().all(|n| n == b"chat.example"), "{names:?}");
    // The caps on pieces and datagrams may end it before the last byte.
    if going && covered.iter().all(|c| *c) {
        assert_eq!(names.len(), 1, "every byte came");
    }
}

// --- what people write, and what we write ---

/// A file of this process alone.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("shadowtap-fuzz-{}", std::process::id()));
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, bytes).expect("a small file");
    path
}

/// Whatever stands in a configuration or a policy, it is taken or every mistake has a place.
fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // An include would read what others left there.
    if text.contains("include") {
        return;
    }
    let path = file("config/shadowtap.toml", bytes);
    let _ = Config::load(Some(&path)).map(|config| (config.limits(), config.sensor_options()));
    let catalogue = empty_catalogue();
    let _ = Policy::read(&Document::new("policy.toml", text), &catalogue);
}

fn empty_catalogue() -> Catalogue {
    let path = file("catalogue/none.toml", b"");
    Catalogue::from_dir(path.parent().expect("a folder"))
        .unwrap_or_else(|_| Catalogue::embedded().expect("ours"))
}

/// Signature files are taken or refused with a line, and lookups in them end.
fn signatures(bytes: &[u8]) {
    let path = file("signatures/one.toml", bytes);
    let folder = path.parent().expect("a folder");
    if let Ok(catalogue) = Catalogue::from_dir(folder) {
        for service in catalogue.services() {
            let _ = catalogue.lookup(&service.id);
        }
        let _ = catalogue.lookup("a.b.c.d.example");
    }
    file("signatures/network/one.toml", bytes);
    let _ = Network::from_dir(folder).map(|n| n.by_name("a.example").is_some());
    let _ = fs::remove_file(folder.join("network/one.toml"));
}

/// Text from the wire is shown, never obeyed, and reads back from JSON and TOML.
fn output_escape(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let shown = terminal::printable(&text);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{feff}']), "{shown:?}");
    for line in terminal::wrap(&shown, 40) {
        assert!(!line.contains('\n'));
    }
    let json = serde_json::to_string(&text).expect("text");
    assert!(!json.contains('\n'), "one line a record");
    let back: String = serde_json::from_str(&json).expect("reads back");
    assert_eq!(back, text);
    let table = format!("key = {}", quoted(&text));
    let back: toml::Table = toml::from_str(&table).expect("reads back");
    assert_eq!(back.get("key").and_then(|v| v.as_str()), Some(&*text));
    let mut texts = Texts::default();
    let id = texts.intern(&text);
    let kept = texts.keep(id);
    texts.release(kept);
}
