//! Captures that an attacker wrote: cut, flipped and doubled. Nothing may panic, hang or outgrow its
//! caps, every frame has one fate, and no name comes up that does not stand in the bytes. What the
//! fuzzers found is played again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use shadowtap::observation::{Batch, Fact};
use shadowtap::recorder::hits::Texts;
use shadowtap::sensor::{self, Listener};
use shadowtap::watcher::capture::{InputReport, Inputs, Options};
use shadowtap::watcher::decode::{DecodeCounters, DecodeOptions};
use shadowtap::watcher::flow::Limits;
use shadowtap::watcher::protocol::HelloTransport;

#[path = "fuzz/targets.rs"]
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "shared with the fuzzers' manifest")]
mod targets;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OFFICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/office/office.pcap.zst");

/// Frames of the office that the tests play with: enough for hellos of every kind.
const FRAMES: usize = 1_200;

/// What a run said.
#[derive(Default)]
struct Heard {
    texts: Texts,
    names: BTreeSet<String>,
    /// Names out of encrypted Initials: authenticated, but not in the bytes as they are.
    sealed: BTreeSet<String>,
    fates: u64,
    frames: u64,
}

impl Listener for Heard {
    fn block(&mut self, batches: &[Batch], decode: &[(u16, DecodeCounters)]) {
        self.fates += decode.iter().map(|(_, c)| c.frames()).sum::<u64>();
        for batch in batches {
            self.texts.learn(&batch.texts);
            for observation in &batch.observations {
                let mut sealed = false;
                let name = match observation.fact {
                    Fact::Hello(hello) => {
                        sealed = hello.transport == HelloTransport::Quic;
                        hello.name
                    }
                    Fact::Http(http) => http.host,
                    Fact::DnsQuery { name, .. } => name,
                    _ => continue,
                };
                if let Some(name) = self.texts.text(name) {
                    let names = if sealed { &mut self.sealed } else { &mut self.names };
                    names.insert(name.to_string());
                }
            }
        }
    }

    fn world(&mut self, _first: usize, inputs: &[InputReport]) {
        self.frames += inputs.iter().map(|i| i.frames).sum::<u64>();
    }

    fn progress(&mut self, _read: u64, _total: Option<u64>, _frames: u64) {}
}

/// Runs the whole offline sensor over a capture.
fn hear(capture: &[u8], heard: &mut Heard) {
    run(capture, Limits::of(1 << 12), heard);
}

/// The same within given limits; the most bytes that flows and streams took.
fn run(capture: &[u8], limits: Limits, heard: &mut Heard) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("hostile.pcap");
    fs::write(&path, capture).expect("a small file");
    let inputs = Inputs::open(&[path], &Options::default()).expect("one input");
    heard.names.clear();
    heard.sealed.clear();
    (heard.fates, heard.frames, heard.texts) = (0, 0, Texts::default());
    let options = sensor::Options {
        watchers: 1,
        decode: DecodeOptions { hash_seed: 1, ..DecodeOptions::default() },
        limits,
        stop: Arc::default(),
    };
    let totals = sensor::run_offline(inputs, &options, heard);
    assert_eq!(heard.frames, heard.fates, "every frame has one fate");
    totals.flow_bytes_peak
}

/// The first frames of the office, as one capture and as its records.
fn office() -> (Vec<u8>, Vec<usize>) {
    let packed = fs::read(OFFICE).expect("the fixture");
    let whole = zstd::decode_all(packed.as_slice()).expect("zstd");
    let mut borders = vec![24];
    while borders.len() <= FRAMES {
        let at = borders[borders.len() - 1];
        let len = u32::from_le_bytes(whole[at + 8..at + 12].try_into().unwrap()) as usize;
        borders.push(at + 16 + len);
    }
    let end = borders[borders.len() - 1];
    (whole[..end].to_vec(), borders)
}

fn ready() -> Heard {
    Heard::default()
}

/// A small generator, so that a failure can be repeated: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// `true` if `name` stands in the bytes, as text or label by label as DNS writes it.
fn stands_in(bytes: &[u8], name: &str) -> bool {
    let has = |part: &str| {
        let part = part.as_bytes();
        bytes.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part))
    };
    has(name) || name.split('.').all(has)
}

#[test]
fn a_cut_capture_says_a_part_of_what_the_whole_says() {
    let (whole, borders) = office();
    let mut heard = ready();
    hear(&whole, &mut heard);
    let all = heard.names.clone();
    assert!(all.len() >= 10, "the office's first frames name hosts: {all:?}");
    let mut dice = Dice(1);
    let cuts = (0..2_000).map(|_| dice.below(whole.len()));
    for cut in cuts.chain(borders.iter().copied()) {
        hear(&whole[..cut], &mut heard);
        let more: Vec<_> = heard.names.difference(&all).collect();
        assert!(more.is_empty(), "cut at {cut}: {more:?} only in the part");
    }
}

/// Fixtures up to this size are cut at every octet.
const SMALL: u64 = 16 << 10;

#[test]
fn every_truncation_of_a_small_fixture_says_a_part_of_the_whole() {
    let mut heard = ready();
    let mut fixtures = 0;
    for folder in fs::read_dir(format!("{ROOT}/fixtures")).expect("fixtures").flatten() {
        let Ok(files) = fs::read_dir(folder.path()) else { continue };
        for file in files.flatten().map(|f| f.path()) {
            let capture = file.extension().is_some_and(|e| e == "pcap" || e == "pcapng");
            if !capture || fs::metadata(&file).expect("a file").len() > SMALL {
                continue;
            }
            fixtures += 1;
            let whole = fs::read(&file).expect("a small file");
            hear(&whole, &mut heard);
            let all = heard.names.clone();
            for cut in 0..whole.len() {
                hear(&whole[..cut], &mut heard);
                assert!(heard.names.is_subset(&all), "{} cut at {cut}", file.display());
            }
        }
    }
    assert!(fixtures > 0, "there are small fixtures");
}

#[test]
fn what_fuzzers_found_is_played_again() {
    let mut played = 0;
    for (name, target) in targets::ALL {
        let mut own = 0;
        for kind in ["corpus", "crashes"] {
            let Ok(files) = fs::read_dir(format!("{ROOT}/tests/fuzz/{kind}/{name}")) else {
                continue;
            };
            for file in files.flatten() {
                target(&fs::read(file.path()).expect("a small file"));
                own += 1;
            }
        }
        assert!(own > 0, "{name} has a corpus");
        played += own;
    }
    assert!(played > 100, "{played} inputs");
}

#[test]
fn every_target_survives_twenty_thousand_mutations_of_its_corpus() {
    for (name, target) in targets::ALL {
        // Those that write files cost a hundred times as much a run, and are no parsers of ours.
        let rounds = match *name {
            "config" | "signatures" => 1_000,
            _ => 20_000,
        };
        let mut corpus = Vec::new();
        for file in fs::read_dir(format!("{ROOT}/tests/fuzz/corpus/{name}")).expect("a corpus") {
            let path = file.expect("an entry").path();
            corpus.push((path.clone(), fs::read(path).expect("a small file")));
        }
        corpus.sort();
        let mut dice = Dice(3);
        for _ in 0..rounds {
            let mut bytes = corpus[dice.below(corpus.len())].1.clone();
            for _ in 0..=dice.below(8) {
                let at = dice.below(bytes.len().max(1));
                match dice.below(6) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, u8::try_from(dice.below(256)).unwrap()),
                    _ if bytes.is_empty() => {}
                    2 => drop(bytes.remove(at)),
                    3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xc0, 0xff][dice.below(6)],
                    4 => bytes[at] ^= 1 << dice.below(8),
                    _ => bytes.copy_within(at.., 0),
                }
            }
            target(&bytes);
        }
    }
}

#[test]
fn flipped_bytes_neither_stop_the_sensor_nor_invent_names() {
    let (whole, _) = office();
    let mut heard = ready();
    let mut dice = Dice(2);
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=dice.below(200) {
            let at = 24 + dice.below(bytes.len() - 24);
            bytes[at] = u8::try_from(dice.below(256)).unwrap();
        }
        hear(&bytes, &mut heard);
        let invented: Vec<_> = heard.names.iter().filter(|n| !stands_in(&bytes, n)).collect();
        assert!(invented.is_empty(), "round {round}: {invented:?} stand nowhere");
    }
}

#[test]
fn doubled_and_swapped_frames_say_the_same() {
    let (whole, borders) = office();
    let mut heard = ready();
    hear(&whole, &mut heard);
    let all = heard.names.clone();
    let records: Vec<&[u8]> = borders.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
    let mut doubled = whole[..24].to_vec();
    let mut swapped = whole[..24].to_vec();
    for pair in records.chunks(2) {
        for record in pair {
            doubled.extend_from_slice(record);
            doubled.extend_from_slice(record);
        }
        for record in pair.iter().rev() {
            swapped.extend_from_slice(record);
        }
    }
    hear(&doubled, &mut heard);
    assert_eq!(heard.names, all, "each frame twice");
    hear(&swapped, &mut heard);
    assert_eq!(heard.names, all, "each pair of frames swapped");
}

// --- floods ---

/// A capture of Ethernet frames, a millisecond apart.
fn capture_of(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut capture = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];
    for (frame, at) in frames.zip(0_u32..) {
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        capture.extend_from_slice(&(1_700_000_000 + at / 1_000).to_le_bytes());
        capture.extend_from_slice(&(at % 1_000 * 1_000).to_le_bytes());
        capture.extend_from_slice(&[len, len].concat());
        capture.extend_from_slice(&frame);
    }
    capture
}

/// An IPv4 frame from a client of that number.
fn ip4(client: u32, protocol: u8, fragment: u16, transport: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend_from_slice(&u16::try_from(transport.len() + 20).unwrap().to_be_bytes());
    frame.extend_from_slice(&client.to_be_bytes()[2..]);
    frame.extend_from_slice(&fragment.to_be_bytes());
    frame.extend_from_slice(&[64, protocol, 0, 0, 10]);
    frame.extend_from_slice(&client.to_be_bytes()[1..]);
    frame.extend_from_slice(&[192, 0, 2, 1]);
    frame.extend_from_slice(transport);
    frame
}

fn tcp(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0xc0, 0, 1, 0xbb];
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    segment
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[0xc0, 0][..], &port.to_be_bytes(), &len, &[0, 0], payload].concat()
}

/// A name, and its frames by number.
type Flood<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);

#[test]
fn floods_keep_to_the_memory_that_they_are_given() {
    // Sixteen shards of 64 flows each of two families, and 64 KiB of streams each.
    let limits = Limits { stream_bytes_max: 64 << 10, ..Limits::of(16 * 64) };
    let half_hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3][..], &[7; 1_300]].concat();
    let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[5; 8], &[0, 0, 0x44, 0x90], &[9; 1_170]].concat();
    let query = |n: u32| {
        let label = format!("h{n:08x}");
        let name = [&[9][..], label.as_bytes(), b"\x07example\0\0\x01\0\x01"].concat();
        [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name].concat()
    };
    let host = |n: u32| format!("GET / HTTP/1.1\r\nHost: h{n}.example\r\n\r\n").into_bytes();
    let floods: [Flood; 8] = [
        ("SYN", &|n| ip4(n, 6, 0, &tcp(n, 2, b""))),
        ("half a hello", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &half_hello))),
        ("segments behind a hole", &|n| ip4(n % 40, 6, 0, &tcp(n * 2_000 + 9, 0x18, &half_hello))),
        ("one octet each", &|n| {
            ip4(n % 40, 6, 0, &tcp(5_u32.wrapping_sub(n / 40), 0x18, &half_hello[..1]))
        }),
        ("QUIC Initials that do not open", &|n| ip4(n, 17, 0, &udp(443, &initial))),
        ("DNS names", &|n| ip4(n % 9, 17, 0, &udp(53, &query(n)))),
        ("HTTP hosts", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &host(n)))),
        ("fragments never completed", &|n| ip4(n, 17, 0x2000, &udp(53, &[7; 1_400])[..1_400])),
    ];
    let mut heard = ready();
    for (name, frame) in floods {
        let capture = capture_of((0..20_000).map(frame));
        let peak = run(&capture, limits, &mut heard);
        // Tables of both families, their cold records, and the streams.
        let most = 16 * (2 * 64 * (128 + 512) + (64 << 10) + (96 << 10));
        assert!(peak <= most, "{name}: {peak} bytes, at most {most}");
        assert_eq!(heard.frames, 20_000, "{name}");
    }
}

#[test]
fn halves_of_hellos_hide_neither_a_whole_one_nor_a_connection_that_works() {
    let limits = Limits { stream_bytes_max: 64 << 10, ..Limits::of(16 * 4_096) };
    let half = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3][..], &[7; 1_300]].concat();
    let flood = |n: u32| ip4(100_000 + n, 6, 0, &tcp(n, 0x18, &half));
    let record = |name: &str| {
        let message = forge::client_hello(name, 400);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, &message].concat()
    };
    let answer = |client: u32, seq: u32, payload: &[u8]| {
        let mut frame = ip4(client, 6, 0, &tcp(seq, 0x18, payload));
        let (from, to) = (frame[26..30].to_vec(), frame[30..34].to_vec());
        frame[26..30].copy_from_slice(&to);
        frame[30..34].copy_from_slice(&from);
        frame[34..38].copy_from_slice(&[1, 0xbb, 0xc0, 0]);
        frame
    };
    let mut frames = Vec::new();
    // Connections that work: a request with its answer, and another one behind the flood.
    let get = |name: String| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for n in 0..30 {
        frames.push(ip4(n, 6, 0, &tcp(1, 0x18, &get(format!("first-{n:02}.example")))));
        frames.push(answer(n, 1, ok));
    }
    frames.extend((0..5_000).map(flood));
    for n in 0..40 {
        let whole = record(&format!("whole-{n:02}.example"));
        let (front, back) = whole.split_at(300);
        frames.push(ip4(1_000 + n, 6, 0, &tcp(1, 0x18, front)));
        frames.extend((0..100).map(|i| flood(5_000 + n * 100 + i)));
        frames.push(ip4(1_000 + n, 6, 0, &tcp(301, 0x18, back)));
    }
    for n in 0..30 {
        let at = u32::try_from(get(String::from("first-00.example")).len()).unwrap();
        frames.push(ip4(n, 6, 0, &tcp(1 + at, 0x18, &get(format!("again-{n:02}.example")))));
    }
    let mut heard = ready();
    run(&capture_of(frames.into_iter()), limits, &mut heard);
    let count = |part: &str| heard.names.iter().filter(|n| n.starts_with(part)).count();
    assert_eq!((count("first-"), count("whole-"), count("again-")), (30, 40, 30));
}

#[test]
fn a_table_at_its_cap_evicts_one_for_one() {
    for flows in [16, 4_000] {
        let limits = Limits::of(16 * 64);
        let capture = capture_of((0..flows).map(|n| ip4(n, 6, 0, &tcp(n, 2, b""))));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("cap.pcap");
        fs::write(&path, capture).expect("a small file");
        let inputs = Inputs::open(&[path], &Options::default()).expect("one input");
        let decode = DecodeOptions { hash_seed: 1, ..DecodeOptions::default() };
        let options = sensor::Options { watchers: 1, decode, limits, stop: Arc::default() };
        let totals = sensor::run_offline(inputs, &options, &mut ready());
        assert_eq!(totals.flow.flows, u64::from(flows));
        // Every shard is filled to its cap, and not one flow further.
        let left_early = u64::from(flows).saturating_sub(16 * 64);
        assert_eq!(totals.flow.flows_evicted, left_early, "{flows} flows");
    }
}

// --- captures that hide names, and what they cost ---

/// Kinds of items that are names.
const NAMES: &[&str] = &[
    "tls_sni",
    "quic_sni",
    "gquic_sni",
    "dtls_sni",
    "dns_query",
    "dns_answer",
    "http_host",
    "http_connect",
    "socks_host",
];

#[test]
fn captures_that_hide_names_say_all_of_them_and_no_others() {
    let folder = format!("{ROOT}/fixtures/hostile");
    let truth = fs::read(format!("{folder}/truth.json")).expect("the fixture");
    let truth: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&truth).expect("a JSON object");
    assert!(truth.len() > 200, "{} captures", truth.len());
    let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--separate", "--observations", "-"])
        .arg(format!("{folder}/captures"))
        .output()
        .expect("the binary runs");
    let complaints = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "some are damaged on purpose: {complaints}");
    let mut said: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let lines = String::from_utf8(out.stdout).expect("text");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    for line in &lines {
        let text = |field: &str| line[field].as_str().expect("a text");
        if NAMES.contains(&text("kind")) {
            let kind = text("kind").strip_prefix('g').unwrap_or(text("kind"));
            said.entry(text("capture")).or_default().insert(format!("{kind} {}", text("value")));
        }
    }
    let mut wrong = Vec::new();
    for (capture, told) in &truth {
        let names = told["names"].as_array().expect("names").iter();
        let names: BTreeSet<String> =
            names.map(|n| n.as_str().expect("a text").to_owned()).collect();
        let own = said.remove(capture.as_str()).unwrap_or_default();
        let differing: Vec<_> = own.symmetric_difference(&names).take(3).collect();
        if !differing.is_empty() {
            wrong.push(format!("{capture}: {differing:?}"));
        }
        let evil = |name: &String| name.contains(".evil.example");
        assert!(names.iter().any(evil) || !own.iter().any(evil), "{capture}: invented");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(said.is_empty(), "captures without a truth: {said:?}");
    // Damage is told with its place, and the next file goes on.
    for (capture, complaint) in [
        ("file-cut-in-record.pcap", "offset 282"),
        ("file-length-lies.pcap", "offset 110"),
        ("file-pcapng-cut.pcapng", "offset 152"),
    ] {
        let told = complaints.lines().find(|l| l.contains(capture)).unwrap_or_default();
        assert!(told.contains(complaint), "{capture}: {told:?} in {complaints}");
    }
    for (capture, complaint) in
        [("file-snoop.pcap", "snoop capture"), ("file-netmon.pcap", "Network Monitor capture")]
    {
        let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
            .args(["scan", "--quiet", &format!("{folder}/captures/{capture}")])
            .output()
            .expect("the binary runs");
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && told.contains(complaint), "{capture}: {told}");
    }
}

/// What the ledger counts, by its name in JSON and store, and how the summary calls it.
const LEDGER: &[(&str, &str)] = &[
    ("frames", "frames parsed"),
    ("packet", "frames parsed"),
    ("malformed_ipv4", "malformed ipv4"),
    ("malformed_tcp", "malformed tcp"),
    ("depth_limit", "depth limit"),
    ("frames_cut_by_snaplen", "frames cut by the snap length"),
    ("flows_named_by_sni", "flows named by TLS server name (SNI)"),
    ("flows_named_by_quic_sni", "flows named by QUIC server name"),
    ("flows_named_by_quic_cid", "named by a connection id"),
    ("flows_named_by_http", "flows named by HTTP host"),
    ("flows_named_by_proxy", "flows named by a proxy request"),
    ("flows_unnamed", "flows without any name"),
    ("hellos", "TLS and QUIC hellos without a name"),
    ("hellos_without_name", "TLS and QUIC hellos without a name"),
    ("hellos_ech_plausible", "hellos with the real name encrypted (ECH)"),
    ("hellos_ech_grease", "hellos with an ECH decoy (GREASE)"),
    ("sslv2_hello", "sslv2 hello"),
    ("clients_with_encrypted_dns", "clients that ask DNS encrypted"),
    ("clients_asking_the_canary", "clients whose browser asked whether to encrypt DNS"),
    ("clients_refused_by_the_canary", "clients that the resolver told not to"),
    ("clients_with_encrypted_hellos", "clients of services that encrypt names"),
    ("clients_of_security_edges", "clients behind a security edge"),
    ("clients_of_relays", "clients of a relay or VPN"),
    ("bytes_to_security_edges", "payload bytes through security edges"),
    ("bytes_to_relays", "payload bytes through relays"),
    ("flows_in_tunnels", "flows that are tunnels"),
    ("bytes_in_wireguard", "payload bytes in WireGuard"),
    ("bytes_in_ipsec", "payload bytes in IPsec"),
    ("bytes_in_openvpn", "payload bytes in OpenVPN"),
    ("bytes_in_tor", "shape of Tor"),
    ("flows_hello_incomplete", "flows whose hello never completed"),
    ("flows_one_sided", "flows of which the mirror shows one direction"),
    ("flows_midstream", "flows begun before the capture"),
    ("flows_with_gaps", "flows with missing bytes"),
    ("flows_with_conflicting_copies", "flows with contradicting copies"),
    ("segments_repeated", "TCP segments seen again"),
    ("quic_flows_without_hello", "QUIC flows that moved"),
    ("fragments_conflicting", "fragments conflicting"),
    ("datagrams_incomplete_timeout", "datagrams incomplete timeout"),
];

#[test]
fn every_number_of_the_ledger_stands_in_json_store_and_summary() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store.db");
    let scan = |arguments: &[&std::ffi::OsStr]| {
        let out = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
            .args(["scan", "--quiet", "--separate"])
            .args(arguments)
            .arg(format!("{ROOT}/fixtures/hostile/captures"))
            .output()
            .expect("the binary runs");
        String::from_utf8(out.stdout).expect("text")
    };
    let summary = scan(&["--store".as_ref(), store.as_os_str()]);
    let document: serde_json::Value =
        serde_json::from_str(&scan(&["--json".as_ref()])).expect("JSON");
    let rows = document["coverage"].as_array().expect("rows");
    let store = rusqlite::Connection::open(&store).expect("the store");
    for (name, words) in LEDGER {
        let row = rows.iter().find(|r| r["name"] == **name);
        let count = row.and_then(|r| r["count"].as_u64()).unwrap_or(0);
        assert!(count > 0, "{name} in JSON");
        let stored: i64 = store
            .query_row("SELECT ifnull(sum(count), 0) FROM coverage WHERE name = ?1", [name], |r| {
                r.get(0)
            })
            .expect("a sum");
        assert_eq!(u64::try_from(stored).unwrap(), count, "{name} in the store");
        let line = summary.lines().find(|l| l.contains(words)).unwrap_or_default();
        let amount = line.split(words).nth(1).unwrap_or_default();
        assert!(amount.bytes().any(|b| (b'1'..=b'9').contains(&b)), "{name} in {summary}");
    }
    // A part has its whole: "so many of so many".
    for (name, whole) in
        [("flows_unnamed", "flows"), ("malformed_tcp", "frames"), ("hellos_ech_grease", "hellos")]
    {
        let row = rows.iter().find(|r| r["name"] == name).expect("seen above");
        assert_eq!(row["of"], whole, "{name}");
        assert!(row["denominator"].as_u64().is_some_and(|n| n > 0), "{name}");
    }
    // Each device that hides has a row, by what it hides behind.
    let hidden = document["hidden_devices"].as_array().expect("rows");
    for behind in
        ["Zscaler", "Netskope", "Global Secure Access", "WARP", "Private Relay", "Tor", "IPsec"]
    {
        let row = hidden.iter().find(|h| h["behind"].as_str().is_some_and(|b| b.contains(behind)));
        assert!(row.is_some_and(|r| r["address"] == "10.0.0.5"), "{behind} in {hidden:?}");
        assert!(summary.contains(behind), "{behind} in the summary");
    }
    assert!(!summary.contains("No AI service is used"), "{summary}");
}

#[path = "../src/watcher/protocol/quic/forge.rs"]
#[allow(dead_code, missing_docs, clippy::missing_panics_doc)]
mod forge;

/// Octets of the captures whose cost is measured.
const COSTLY: usize = 8 << 20;

/// Caps that these scans run under: the bytes of streams, what tables and records of as many flows take,
/// and what the recorder knows of a hundred thousand names and flows, in KiB.
const CAPPED: &str =
    "[limits]\nflows_max = 32768\nnamed_flows_max = 32768\nstream_bytes_max = 16777216\n";
const CAP_KIB: u64 = (16 << 10) + 2 * 32 * 64 * 4 / 3 + 32 * 512 + (32 << 10);

/// Processor seconds and most memory in KiB of a scan.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says what it took")]
fn cost(capture: &[u8], folder: &Path) -> (f64, u64) {
    let (path, config) = (folder.join("costly.pcap"), folder.join("shadowtap.toml"));
    fs::write(&path, capture).expect("a file");
    fs::write(&config, CAPPED).expect("a file");
    let child = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(["scan", "--quiet", "--json", "--threads", "1", "-c"])
        .args([&config, &path])
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the binary runs");
    let pid = i32::try_from(child.id()).expect("a small number");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    let mut memory = 0;
    loop {
        // The kernel's own maximum begins with what this process has; this one is the scan's.
        let told = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = told.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
        let kib = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        if told.contains("shadowtap") {
            memory = memory.max(kib);
        }
        // SAFETY: the child is ours and nobody else waits for it; both places outlive the call.
        match unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) } {
            0 => std::thread::sleep(std::time::Duration::from_millis(2)),
            ended => break assert_eq!(ended, pid),
        }
    }
    assert_eq!(status, 0, "the scan ends well");
    // SAFETY: all zeros is a value of this type, and the kernel wrote another over it.
    let usage = unsafe { usage.assume_init() };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), memory)
}

/// How often the time of a plain capture of as many octets a flood may take. Binaries of tests are
/// hardly optimised, which costs cryptography and small loops most; and where each hundred octets make
/// another flow, host and row of the ledger, that is the price of telling them.
fn most_of(flood: &str) -> f64 {
    let unoptimised = if cfg!(debug_assertions) { 2.0 } else { 1.0 };
    unoptimised * if flood == "HTTP hosts" { 10.0 } else { 5.0 }
}

/// As many frames of a kind as [`COSTLY`] octets hold.
fn much(frame: &dyn Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut octets = 0;
    capture_of((0..).map(frame).take_while(|f| {
        octets += f.len() + 16;
        octets < COSTLY
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of floods")]
fn floods_cost_little_time_and_keep_to_the_cap() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hello = |name: &str| {
        let message = forge::client_hello(name, 200);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, &message].concat()
    };
    let name = |n: u32| format!("h{n:08x}.example");
    let data = vec![23; 1_400];
    let query = |n: u32| {
        let label = format!("h{n:08x}");
        let name = [&[9][..], label.as_bytes(), b"\x07example\0\0\x01\0\x01"].concat();
        [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name].concat()
    };
    // A plain capture, as pages make it: a question, a hello, some records of data.
    let plain = |n: u32| {
        let (flow, at) = (n / 8, n % 8);
        let first = hello(&name(flow));
        match at {
            0 => ip4(flow, 17, 0, &udp(53, &query(flow))),
            1 => ip4(flow, 6, 0, &tcp(0, 2, b"")),
            2 => ip4(flow, 6, 0, &tcp(1, 0x18, &first)),
            _ => {
                let seq = 1 + first.len() + data.len() * (at as usize - 3);
                ip4(flow, 6, 0, &tcp(u32::try_from(seq).unwrap(), 0x18, &data))
            }
        }
    };
    let (plain_s, plain_kib) = cost(&much(&plain), folder.path());
    let long = hello(&"a".repeat(60));
    let half = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3][..], &[7; 1_300]].concat();
    let broken = [&[0xc3, 0, 0, 0, 1, 8][..], &[5; 8], &[0, 0, 0x44, 0x90], &[9; 1_170]].concat();
    let sealed: Vec<Vec<u8>> = (0..64_u8)
        .map(|n| {
            let frames = forge::crypto(0, &forge::client_hello(&format!("q{n}.example"), 0));
            forge::Initial::new(forge::V1, &[n; 8], &frames).seal()
        })
        .collect();
    let scattered: Vec<Vec<u8>> = (0..64_u8)
        .map(|n| {
            let message = forge::client_hello("q.example", 1_000);
            let pieces = (0..300).map(|at| forge::crypto(at * 3, &message[at * 3..=at * 3]));
            forge::Initial::new(forge::V1, &[n; 8], &pieces.collect::<Vec<_>>().concat()).seal()
        })
        .collect();
    // 128 records whose owner is compared to the question label by label.
    let deep = [b"\x01b".repeat(120), b"\x01y\0".to_vec()].concat();
    let asked = [b"\x01b".repeat(120), b"\x01x\0\0\x01\0\x01".to_vec()].concat();
    let owner = [&deep[..], b"\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04"].concat();
    let slow = [&[0, 1, 0x81, 0x80, 0, 1, 0, 5, 0, 0, 0, 0][..], &asked, &owner.repeat(5)].concat();
    let frame = |kind: u8, flags: u8, stream: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), data].concat()
    };
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat();
    let large = [&b"\x82\x86\x84\x40\x01x\x7f\xe9\x06"[..], &[b'y'; 1_000]].concat();
    let bomb = [preface.clone(), frame(1, 5, 1, &large)].concat();
    let referring = frame(1, 5, 3, &[&b"\x82\x86\x84"[..], &[0xbe; 1_300]].concat());
    let begun = [preface, frame(1, 1, 1, b"\x82\x86\x84")].concat();
    let continued = frame(9, 0, 1, &[0; 1_400]);
    let host = |n: u32| format!("GET / HTTP/1.1\r\nHost: h{n}.example\r\n\r\n").into_bytes();
    let piece = |n: u32| {
        let number = |n: u32| n.to_be_bytes();
        let head = [&[1, 0, 0x30, 0, 0, 0][..], &number(n % 30 * 200)[1..], &number(190)[1..]];
        let body = [&head.concat()[..], &[7; 190]].concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1][..], &length, &body].concat()
    };
    let moving = |n: u32| [&[0x41][..], &n.to_be_bytes(), &[5; 900]].concat();
    let octets = |n: u32, forward: bool| {
        let (flow, at) = (n / 700, n % 700);
        let at = if forward { at } else { 700 - at };
        ip4(flow, 6, 0, &tcp(at, 0x18, &long[at as usize % long.len()..][..1]))
    };
    let floods: [Flood<'_>; 24] = [
        ("SYN from everywhere", &|n| ip4(n, 6, 0, &tcp(n, 2, b""))),
        ("half a hello", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &half))),
        ("the first octet of a hello", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &half[..1]))),
        ("a name each", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &hello(&name(n))))),
        ("segments behind a hole", &|n| ip4(n % 400, 6, 0, &tcp(n * 1_500 + 9, 0x18, &half))),
        ("one octet each, forward", &|n| octets(n, true)),
        ("one octet each, backward", &|n| octets(n, false)),
        ("every other octet", &|n| ip4(n / 500, 6, 0, &tcp(9 + n % 500 * 2, 0x18, b"x"))),
        ("overlaps that differ", &|n| {
            let segment = vec![n.to_be_bytes()[3]; 1_400];
            ip4(n / 60, 6, 0, &tcp(9 + n % 60 * 11, 0x18, &segment))
        }),
        ("copies of a hello that differ", &|n| ip4(1, 6, 0, &tcp(1, 0x18, &hello(&name(n))))),
        ("Initials that do not open", &|n| ip4(n, 17, 0, &udp(443, &broken))),
        ("Initials that open", &|n| ip4(n, 17, 0, &udp(443, &sealed[n as usize % 64]))),
        ("Initials full of pieces", &|n| ip4(n, 17, 0, &udp(443, &scattered[n as usize % 64]))),
        ("one flow of Initials", &|n| ip4(7, 17, 0, &udp(443, &sealed[n as usize % 64]))),
        ("connection ids that move", &|n| ip4(n, 17, 0, &udp(443, &moving(n)))),
        ("DNS names", &|n| ip4(n % 9, 17, 0, &udp(53, &query(n)))),
        ("DNS comparisons", &|n| ip4(n % 9, 17, 0, &udp(53, &slow))),
        ("DNS on other ports", &|n| ip4(n, 17, 0, &udp(5_300, &query(n)))),
        ("HTTP hosts", &|n| ip4(n, 6, 0, &tcp(n, 0x18, &host(n)))),
        ("HPACK bombs", &|n| {
            let (flow, at) = (n / 9, n % 9);
            let seq =
                if at == 0 { 1 } else { 1 + bomb.len() + referring.len() * (at as usize - 1) };
            let said = if at == 0 { &bomb } else { &referring };
            ip4(flow, 6, 0, &tcp(u32::try_from(seq).unwrap(), 0x18, said))
        }),
        ("CONTINUATION without end", &|n| {
            let (flow, at) = (n / 30, n % 30);
            let seq =
                if at == 0 { 1 } else { 1 + begun.len() + continued.len() * (at as usize - 1) };
            let said = if at == 0 { &begun } else { &continued };
            ip4(flow, 6, 0, &tcp(u32::try_from(seq).unwrap(), 0x18, said))
        }),
        ("hellos of DTLS in pieces", &|n| ip4(n / 30, 17, 0, &udp(3_478, &piece(n)))),
        ("fragments never completed", &|n| ip4(n, 17, 0x2000, &udp(53, &[7; 1_400])[..1_400])),
        ("fragments of eight octets", &|n| {
            let offset = u16::try_from(n % 120).unwrap();
            ip4(n / 120, 17, 0x2000 | offset, &[7; 8])
        }),
    ];
    let mut wrong = Vec::new();
    println!("{plain_s:6.2} s {plain_kib:7} KiB  a plain capture");
    for (what, frame) in floods {
        let (seconds, kib) = cost(&much(frame), folder.path());
        let times = seconds / plain_s;
        println!("{seconds:6.2} s {kib:7} KiB  {times:4.1} times  {what}");
        if times > most_of(what) || kib > plain_kib + CAP_KIB * 11 / 10 {
            wrong.push(format!("{what}: {seconds:.2} s, {times:.1} times, {kib} KiB"));
        }
    }
    assert!(wrong.is_empty(), "plain {plain_s:.2} s {plain_kib} KiB: {wrong:#?}");
}
