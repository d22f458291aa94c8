//! What the flow stage says does not depend on how bytes were cut into segments, in which order
//! and how often these arrived, or on how many watchers share the work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use shadowtap::observation::{Batch, Fact, FlowState, Observation, TextId, merged};
use shadowtap::recorder::hits::Texts;
use shadowtap::sensor::{self, Listener};
use shadowtap::watcher::capture::{InputReport, Inputs, Options};
use shadowtap::watcher::decode::{DecodeCounters, DecodeOptions};
use shadowtap::watcher::flow::Limits;

const OFFICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/office/office.pcap.zst");

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A capture being written: Ethernet, one frame a millisecond.
struct Capture {
    bytes: Vec<u8>,
    frames: u32,
}

/// One TCP connection of a capture.
#[derive(Clone, Copy)]
struct Peers {
    v6: bool,
    client: u8,
    ports: (u16, u16),
}

impl Capture {
    fn new() -> Self {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        Self { bytes, frames: 0 }
    }

    fn segment(&mut self, peers: Peers, up: bool, seq: u32, flags: u8, payload: &[u8]) {
        let (from, to) = if up { (peers.client, 200) } else { (200, peers.client) };
        let (sport, dport) = if up { peers.ports } else { (peers.ports.1, peers.ports.0) };
        let mut tcp = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        tcp.extend_from_slice(&seq.to_be_bytes());
        tcp.extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        let len = u16::try_from(tcp.len()).unwrap();
        let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from];
        if peers.v6 {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend_from_slice(&len.to_be_bytes());
            frame.extend_from_slice(&[6, 64]);
            for host in [from, to] {
                frame.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                frame.push(host);
            }
        } else {
            frame.extend_from_slice(&[8, 0, 0x45, 0]);
            frame.extend_from_slice(&(len + 20).to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend_from_slice(&[192, 0, 2, from, 192, 0, 2, to]);
        }
        frame.extend_from_slice(&tcp);
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        self.bytes.extend_from_slice(&(1_700_000_000 + self.frames / 1_000).to_le_bytes());
        self.bytes.extend_from_slice(&(self.frames % 1_000 * 1_000).to_le_bytes());
        self.bytes.extend_from_slice(&[len, len].concat());
        self.bytes.extend_from_slice(&frame);
        self.frames += 1;
    }

    /// A connection: handshake, then each segment `(up, offset, bytes)`.
    fn connection(&mut self, peers: Peers, segments: &[(bool, usize, &[u8])]) {
        // Sequence numbers that wrap on the way.
        let begin = |up: bool| if up { u32::MAX - 100 } else { 7_000 };
        self.segment(peers, true, begin(true), SYN, b"");
        self.segment(peers, false, begin(false), SYN | ACK, b"");
        for (up, offset, bytes) in segments {
            let seq = begin(*up).wrapping_add(1).wrapping_add(u32::try_from(*offset).unwrap());
            // Without acknowledgments: what they say of losses is another matter.
            self.segment(peers, *up, seq, 0, bytes);
        }
    }
}

/// A conversation: port, what the client says, what the server answers.
type Talk = (u16, Vec<u8>, Vec<u8>);

/// A ClientHello of one name and a long, unknown extension, in one record.
fn hello(name: &str) -> Vec<u8> {
    let prefixed =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let list = prefixed(&[&[0][..], &prefixed(name.as_bytes())].concat());
    let sni = [&[0, 0][..], &prefixed(&list)].concat();
    let long = [&[0xab, 0xcd][..], &prefixed(&[7; 1_200])].concat();
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let extensions = prefixed(&[&sni[..], &long, &versions].concat());
    let ciphers = [0, 2, 0x13, 1, 1, 0];
    let body = [&[3, 3][..], &[9; 32], &[0], &ciphers, &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &prefixed(&handshake)].concat()
}

fn dns(id: u8, name: &str, answer: Option<[u8; 4]>) -> Vec<u8> {
    let (flags, count) = if answer.is_some() { (0x81, 1) } else { (1, 0) };
    let mut message = vec![0, id, flags, 0, 0, 1, 0, count, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    if let Some(addr) = answer {
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(&addr);
    }
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

fn talks() -> [Talk; 3] {
    let body = "x".repeat(700);
    let post =
        format!("POST /a HTTP/1.1\r\nHost: one.example\r\nContent-Length: 700\r\n\r\n{body}");
    let get = "GET / HTTP/1.1\r\nHost: two.example\r\nUser-Agent: test/1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes".repeat(2);
    let asked = [dns(1, "three.example", None), dns(2, "four.example", None)].concat();
    let told = [
        dns(1, "three.example", Some([192, 0, 2, 3])),
        dns(2, "four.example", Some([192, 0, 2, 4])),
    ];
    [
        (443, hello("five.example"), vec![23, 3, 3, 0, 4, 1, 2, 3, 4]),
        (80, [post.as_bytes(), get.as_bytes()].concat(), answer.into_bytes()),
        (53, asked, told.concat()),
    ]
}

/// What a run said: every observation as a line in order, the facts, and octets by flow.
#[derive(Default)]
struct Heard {
    texts: Vec<Texts>,
    lines: Vec<String>,
    facts: BTreeSet<String>,
    octets: BTreeMap<String, (u64, u64)>,
    conflict: bool,
}

impl Heard {
    fn observe(&mut self, watcher: usize, o: &Observation) {
        let text = |id: TextId| self.texts[watcher].str(id).to_owned();
        let ends = format!("{:?} > {:?}", o.flow.client, o.flow.server);
        let fact = match o.fact {
            Fact::Delta(delta) => {
                let octets = self.octets.entry(ends.clone()).or_default();
                *octets = (octets.0 + delta.up, octets.1 + delta.down);
                self.conflict |= delta.state.0 & FlowState::CONFLICT != 0;
                let names = [delta.name, delta.ja4, delta.user_agent].map(text);
                let mut bare = delta;
                (bare.name, bare.ja4, bare.user_agent) = (TextId::NONE, TextId::NONE, TextId::NONE);
                self.lines.push(format!("{:?} {} {ends} {bare:?} {names:?}", o.order, o.flow.id));
                return;
            }
            Fact::Hello(h) => format!("hello {} {}", text(h.name), text(h.ja4)),
            Fact::Http(h) => format!("http {} {}", text(h.host), text(h.user_agent)),
            Fact::DnsQuery { name, id, .. } => format!("query {id} {}", text(name)),
            Fact::DnsAddress { name, addr, .. } => format!("address {} {addr}", text(name)),
            other => format!("{:?}", std::mem::discriminant(&other)),
        };
        self.lines.push(format!("{:?} {} {} {ends} {fact}", o.order, o.frame_number, o.flow.id));
        self.facts.insert(format!("{ends} {fact}"));
    }
}

impl Listener for Heard {
    fn block(&mut self, batches: &[Batch], _decode: &[(u16, DecodeCounters)]) {
        for (watcher, batch) in batches.iter().enumerate() {
            self.texts[watcher].learn(&batch.texts);
        }
        for (watcher, observation) in merged(batches) {
            self.observe(watcher, observation);
        }
    }

    fn world(&mut self, _first: usize, _inputs: &[InputReport]) {}

    fn progress(&mut self, _read: u64, _total: Option<u64>, _frames: u64) {}
}

/// Runs the whole offline sensor; answers what was heard and how many flows had to leave early.
fn hear(capture: &[u8], watchers: usize, flows_max: usize) -> (Heard, u64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("flow.pcap");
    fs::write(&path, capture).expect("a small file");
    let inputs = Inputs::open(&[path], &Options::default()).expect("one input");
    let mut heard =
        Heard { texts: (0..watchers).map(|_| Texts::default()).collect(), ..Heard::default() };
    let options = sensor::Options {
        watchers,
        decode: DecodeOptions { hash_seed: 1, ..DecodeOptions::default() },
        limits: Limits::of(flows_max),
        stop: Arc::default(),
    };
    let totals = sensor::run_offline(inputs, &options, &mut heard);
    (heard, totals.flow.flows_evicted)
}

fn peers(v6: bool, client: u8, port: u16) -> Peers {
    Peers { v6, client, ports: (40_000 + u16::from(client), port) }
}

/// The stream in segments of these lengths, over and over.
fn split<'s>(up: bool, stream: &'s [u8], lengths: &[usize]) -> Vec<(bool, usize, &'s [u8])> {
    let (mut segments, mut at) = (Vec::new(), 0);
    for length in lengths.iter().cycle() {
        if at == stream.len() {
            break;
        }
        let end = (at + length).min(stream.len());
        segments.push((up, at, &stream[at..end]));
        at = end;
    }
    segments
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_segments_in_any_order_say_the_same(
        v6: bool,
        talk in 0_usize..3,
        // As short as a window of waiting segments allows.
        lengths in proptest::collection::vec(20_usize..400, 1..12),
        ranks in proptest::collection::vec(any::<u64>(), 160),
        twice in proptest::collection::vec(any::<bool>(), 160),
    ) {
        let (port, up, down) = &talks()[talk];
        let mut whole = Capture::new();
        whole.connection(peers(v6, 1, *port), &[(true, 0, &up[..]), (false, 0, &down[..])]);
        let (expected, _) = hear(&whole.bytes, 1, 1 << 12);
        prop_assert!(!expected.facts.is_empty());

        let mut mixed = Capture::new();
        let mut order = Vec::new();
        for (up, stream) in [(true, up), (false, down)] {
            let mut segments: Vec<_> = split(up, stream, &lengths)
                .into_iter()
                .zip(twice.iter())
                .flat_map(|(segment, twice)| vec![segment; 1 + usize::from(*twice)])
                .zip(ranks.iter())
                .collect();
            segments.sort_by_key(|(_, rank)| **rank);
            order.extend(segments.into_iter().map(|(segment, _)| segment));
        }
        mixed.connection(peers(v6, 1, *port), &order);
        let (heard, _) = hear(&mixed.bytes, 1, 1 << 12);
        prop_assert_eq!(&heard.facts, &expected.facts);
        prop_assert_eq!(&heard.octets, &expected.octets);
        prop_assert!(!heard.conflict, "copies were the same");
    }
}

/// Four thousand connections at once, of every kind and both families.
fn crowd() -> Vec<u8> {
    let mut capture = Capture::new();
    for round in 0..40 {
        for client in 1..100 {
            let (port, up, down) = &talks()[usize::from(client) % 3];
            let pair = peers(client % 2 == 0, client, *port + round);
            capture.connection(pair, &[(true, 0, &up[..]), (false, 0, &down[..])]);
        }
    }
    capture.bytes
}

#[test]
fn any_number_of_watchers_says_the_same_in_the_same_order() {
    let office = zstd::decode_all(fs::read(OFFICE).expect("the fixture").as_slice()).expect("zstd");
    for (name, capture) in [("crowd", crowd()), ("office", office)] {
        for (flows_max, crowded) in [(1 << 16, false), (64, true)] {
            let (one, evicted) = hear(&capture, 1, flows_max);
            assert_eq!(evicted > 0, crowded, "{name}: {evicted} flows left early");
            for watchers in [2, 7, 16] {
                let (more, _) = hear(&capture, watchers, flows_max);
                let same = one.lines.len() == more.lines.len();
                let other = one.lines.iter().zip(&more.lines).find(|(a, b)| a != b);
                assert!(same && other.is_none(), "{name}, {watchers} watchers: {other:?}");
            }
        }
    }
}

#[test]
fn a_copy_that_differs_is_told() {
    let (port, up, down) = &talks()[1];
    let mut forged = up.clone();
    forged[500] = b'y';
    let mut capture = Capture::new();
    // The forged copy waits behind a hole when the true one comes.
    let segments: [(bool, usize, &[u8]); 4] = [
        (true, 400, &forged[400..600]),
        (true, 450, &up[450..]),
        (true, 0, &up[..400]),
        (false, 0, &down[..]),
    ];
    capture.connection(peers(false, 1, *port), &segments);
    assert!(hear(&capture.bytes, 1, 1 << 12).0.conflict);
}

// --- what a receiver takes: the evasion rule, case by case ---

const FIN: u8 = 1;
const RST: u8 = 4;
const URG: u8 = 32;

/// Sequence numbers at which client and server begin; the client's wraps within a hello.
const MINE: u32 = u32::MAX - 300;
const YOURS: u32 = 7_000;

/// One segment: from the client, octets behind the SYN, flags, payload.
type Step = (bool, u32, u8, Vec<u8>);

fn handshake() -> Vec<Step> {
    vec![
        (true, u32::MAX, SYN, vec![]),
        (false, u32::MAX, SYN | ACK, vec![]),
        (true, 0, ACK, vec![]),
    ]
}

/// A handshake, then `steps`, then an answer.
fn after(steps: Vec<Step>) -> Vec<Step> {
    [handshake(), steps, vec![(false, 0, ACK, vec![23, 3, 3, 0, 4, 1, 2, 3, 4])]].concat()
}

/// The names that were told, whether copies differed, and payload octets from the client.
fn told(steps: &[Step], port: u16) -> (Vec<String>, bool, u64) {
    let mut capture = Capture::new();
    let peers = peers(false, 1, port);
    for (up, at, flags, payload) in steps {
        let begin = if *up { MINE } else { YOURS };
        let ack = flags & ACK != 0 && *flags != SYN | ACK;
        let seq = begin.wrapping_add(1).wrapping_add(*at);
        capture.segment(peers, *up, seq, if ack { *flags & !ACK } else { *flags }, payload);
    }
    let (heard, _) = hear(&capture.bytes, 1, 1 << 12);
    let named = |fact: &String| {
        let mut words = fact.split(' ').skip_while(|w| !matches!(*w, "hello" | "http"));
        words.nth(1).map(str::to_owned)
    };
    let names: BTreeSet<String> = heard.facts.iter().filter_map(named).collect();
    let up = heard.octets.values().map(|(up, _)| *up).sum();
    (names.into_iter().collect(), heard.conflict, up)
}

fn up(at: usize, payload: &[u8]) -> Step {
    (true, u32::try_from(at).unwrap(), ACK, payload.to_vec())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn evasions_neither_hide_nor_invent_a_name() {
    type Case<'n> = (&'n str, Vec<Step>, &'n [&'n str], bool);
    let good = hello("good.example");
    let evil = hello("evil.example");
    let len = good.len();
    assert_eq!(len, evil.len());
    let far = 1_u32 << 30;
    let (one, both) = (&["good.example"][..], &["evil.example", "good.example"][..]);
    let octets = |order: &mut dyn Iterator<Item = usize>| -> Vec<Step> {
        order.map(|n| up(n, &good[n..=n])).collect()
    };
    // The name stands in the first hundred octets; the copy that differs is of them.
    let cases: Vec<Case<'_>> = vec![
        ("plain", after(vec![up(0, &good)]), one, false),
        ("exact copy", after(vec![up(0, &good), up(0, &good)]), one, false),
        ("a copy that differs, behind", after(vec![up(0, &good), up(0, &evil)]), both, true),
        ("a copy that differs, in front", after(vec![up(0, &evil), up(0, &good)]), both, true),
        (
            "a copy of the first half differs",
            after(vec![up(0, &good), up(0, &evil[..600])]),
            both,
            true,
        ),
        (
            "garbage in front of the hello",
            after(vec![up(0, &[b'z'; 40]), up(0, &good)]),
            one,
            false,
        ),
        ("overlap left", after(vec![up(0, &good[..500]), up(300, &good[300..])]), one, false),
        ("overlap right", after(vec![up(500, &good[500..]), up(0, &good[..700])]), one, false),
        (
            "overlap inside, differing",
            after(vec![
                up(60, &evil[60..300]),
                up(100, &good[100..200]),
                up(0, &evil[..60]),
                up(300, &evil[300..]),
            ]),
            &["evil.example"],
            false,
        ),
        (
            "overlap around, differing in the name",
            after(vec![
                up(90, &evil[90..120]),
                up(60, &good[60..300]),
                up(0, &good[..60]),
                up(300, &good[300..]),
            ]),
            one,
            good[90..120] != evil[90..120],
        ),
        ("one octet each", after(octets(&mut (0..len))), one, false),
        ("one octet each, backward", after(octets(&mut (0..len).rev())), one, false),
        (
            "one octet each, interleaved",
            after(octets(&mut (0..900).step_by(2).chain((1..900).step_by(2)).chain(900..len))),
            one,
            false,
        ),
        (
            "records of one octet",
            after(vec![up(
                0,
                &good[5..].iter().flat_map(|b| [22, 3, 1, 0, 1, *b]).collect::<Vec<_>>(),
            )]),
            one,
            false,
        ),
        (
            "far out of the window first",
            after(
                vec![(true, far, ACK, vec![b'z'; 100]); 20]
                    .into_iter()
                    .chain([up(0, &good)])
                    .collect(),
            ),
            one,
            false,
        ),
        (
            "a list full of what no window holds",
            after(
                (0..700_u32)
                    .map(|n| (true, 900_000 + n * 9, ACK, vec![b'z'; 4]))
                    .chain([up(0, &good)])
                    .collect(),
            ),
            one,
            false,
        ),
        (
            "a reset out of the window",
            after(vec![(true, far, RST, vec![]), up(0, &good)]),
            one,
            false,
        ),
        ("a reset, then data", after(vec![(true, 0, RST, vec![]), up(0, &good)]), one, false),
        ("an early FIN", after(vec![(true, far, FIN, vec![]), up(0, &good)]), one, false),
        ("data with FIN", after(vec![(true, 0, FIN | ACK, good.clone())]), one, false),
        (
            "a second SYN elsewhere",
            after(vec![up(0, &good[..300]), (true, far, SYN, vec![]), up(300, &good[300..])]),
            one,
            false,
        ),
        ("urgent", after(vec![(true, 0, URG | ACK, good.clone())]), one, false),
        (
            "data in the SYN",
            [
                vec![
                    (true, u32::MAX, SYN, good[..400].to_vec()),
                    (false, u32::MAX, SYN | ACK, vec![]),
                ],
                vec![up(400, &good[400..])],
            ]
            .concat(),
            one,
            false,
        ),
        (
            "simultaneous open",
            vec![
                (true, u32::MAX, SYN, vec![]),
                (false, u32::MAX, SYN, vec![]),
                (true, u32::MAX, SYN | ACK, vec![]),
                (false, u32::MAX, SYN | ACK, vec![]),
                up(0, &good),
            ],
            one,
            false,
        ),
        ("midstream", vec![up(0, &good), (false, 0, ACK, vec![22, 3, 3, 0, 2, 2, 0])], one, false),
        ("the other side alone", vec![(true, u32::MAX, SYN, vec![]), up(0, &good)], one, false),
        ("two names in two hellos", after(vec![up(0, &good), up(len, &evil)]), both, false),
        ("half a hello", [handshake(), vec![up(0, &good[..300])]].concat(), one, false),
        ("a hello without its first octets", after(vec![up(30, &good[30..])]), &[], false),
    ];
    for (name, steps, expected, conflict) in cases {
        let (names, differs, _) = told(&steps, 443);
        assert_eq!(
            (names, differs),
            (expected.iter().map(ToString::to_string).collect(), conflict),
            "{name}"
        );
    }
}

#[test]
fn ports_used_again_are_another_flow() {
    let (first, second) = (hello("first.example"), hello("second.example"));
    let other = 1_u32 << 29;
    for (name, end) in [
        ("after FIN", vec![(true, 9_999, FIN, vec![]), (false, 0, FIN, vec![])]),
        ("after RST", vec![(false, 0, RST, vec![])]),
        ("without an end", vec![]),
    ] {
        let again = vec![
            (true, other, SYN, vec![]),
            (false, other, SYN | ACK, vec![]),
            (true, other + 1, ACK, second.clone()),
        ];
        let steps = [after(vec![up(0, &first)]), end, again].concat();
        let (names, _, octets) = told(&steps, 443);
        assert_eq!(names, ["first.example", "second.example"], "{name}");
        assert_eq!(octets, (first.len() + second.len()) as u64, "{name}");
    }
}

#[test]
fn bytes_far_out_of_the_window_do_not_stop_the_count() {
    let body = vec![b'x'; 1_000];
    let mut steps = after(vec![up(0, &hello("good.example"))]);
    let begin = hello("good.example").len();
    steps.push((true, 1 << 30, ACK, b"junk".to_vec()));
    for n in 0..50 {
        steps.push(up(begin + n * 1_000, &body));
    }
    let (_, _, octets) = told(&steps, 443);
    assert_eq!(octets, (begin + 50_000 + 4) as u64);
}

// --- across flows ---

#[path = "../src/watcher/protocol/quic/forge.rs"]
#[allow(dead_code, missing_docs, clippy::missing_panics_doc)]
mod forge;

/// A frame: Ethernet, a VLAN tag if one is given, IPv4 from `client` to a server or back, UDP.
fn datagram(vlan: Option<u16>, port: u16, up: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(vlan) = vlan {
        frame.extend_from_slice(&[0x81, 0]);
        frame.extend_from_slice(&vlan.to_be_bytes());
    }
    let len = u16::try_from(payload.len() + 8).unwrap();
    frame.extend_from_slice(&[8, 0, 0x45, 0]);
    frame.extend_from_slice(&(len + 20).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    let ends = [([10, 0, 0, 5], port), ([192, 0, 2, 1], 443)];
    let [from, to] = if up { ends } else { [ends[1], ends[0]] };
    frame.extend_from_slice(&[from.0, to.0].concat());
    frame
        .extend_from_slice(&[from.1.to_be_bytes(), to.1.to_be_bytes(), len.to_be_bytes()].concat());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// The coverage ledger of a scan of these frames under a configuration.
fn ledger(frames: &[Vec<u8>], config: &str) -> BTreeMap<String, u64> {
    let mut capture = Capture::new();
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        capture.bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        capture.bytes.extend_from_slice(&[len, len].concat());
        capture.bytes.extend_from_slice(frame);
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (path, settings) = (dir.path().join("a.pcap"), dir.path().join("shadowtap.toml"));
    fs::write(&path, &capture.bytes).expect("a small file");
    fs::write(&settings, config).expect("a small file");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--json", "-c"])
        .args([&settings, &path])
        .output()
        .expect("the binary runs");
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let rows = document["coverage"].as_array().expect("rows").iter();
    rows.map(|r| (r["name"].as_str().unwrap().to_owned(), r["count"].as_u64().unwrap())).collect()
}

/// A QUIC connection up to the server's answer, which calls itself `id`.
fn quic(port: u16, id: [u8; 8]) -> Vec<Vec<u8>> {
    let frames = forge::crypto(0, &forge::client_hello("chat.example", 0));
    let initial = forge::Initial::new(forge::V1, b"12345678", &frames).seal();
    let answer =
        [&[0xc1, 0, 0, 0, 1, 4][..], b"scid", &[8], &id, &[0, 0x44, 0], &[9; 1_024]].concat();
    vec![datagram(None, port, true, &initial), datagram(None, port, false, &answer)]
}

#[test]
fn a_quic_connection_keeps_its_name_on_another_port() {
    let short = |id: &[u8; 8]| [&[0x41][..], id, &[7; 40]].concat();
    let moved =
        [quic(50_000, *b"serverid"), vec![datagram(None, 50_001, true, &short(b"serverid"))]];
    let rows = ledger(&moved.concat(), "");
    assert_eq!(rows.get("flows_named_by_quic_cid"), Some(&1), "{rows:?}");
    assert_eq!(rows.get("flows_named_by_quic_sni"), Some(&1), "{rows:?}");
    let other =
        [quic(50_000, *b"serverid"), vec![datagram(None, 50_001, true, &short(b"anotherX"))]];
    let rows = ledger(&other.concat(), "");
    assert_eq!(rows.get("flows_named_by_quic_cid"), None, "{rows:?}");
    assert_eq!(rows.get("quic_flows_without_hello"), Some(&1), "{rows:?}");
}

#[test]
fn realms_keep_address_spaces_apart_that_overlap() {
    let both =
        [datagram(Some(10), 50_000, true, b"hello"), datagram(Some(20), 50_000, true, b"hello")];
    assert_eq!(ledger(&both, "").get("flows"), Some(&1), "without realms they are one");
    let config = "[scope]\nrealms = [\"vlan 10 = 1\", \"vlan 15-25 = 2\"]\n";
    let rows = ledger(&both, config);
    assert_eq!((rows.get("flows"), rows.get("clients")), (Some(&2), Some(&2)), "{rows:?}");
}

#[test]
fn every_flow_has_one_row_of_the_ledger() {
    let wireguard = [&[1, 0, 0, 0][..], &[5; 144]].concat();
    let frames = [
        quic(50_000, *b"serverid"),
        vec![datagram(None, 50_001, true, &wireguard), datagram(None, 50_002, true, b"anything")],
    ];
    let rows = ledger(&frames.concat(), "");
    assert_eq!(rows.get("bytes_in_wireguard"), Some(&148));
    assert_eq!(rows.get("flows_in_tunnels"), Some(&1));
    let places =
        ["flows_named_", "flows_of_", "flows_in_tunnels", "flows_unnamed", "flows_inbound"];
    let sum: u64 = rows
        .iter()
        .filter(|(name, _)| places.iter().any(|p| name.starts_with(p)))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(Some(&sum), rows.get("flows"), "{rows:?}");
}
