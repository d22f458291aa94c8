//! Captures that an attacker wrote: cut, flipped and doubled. Nothing may panic, hang or outgrow its
//! caps, every frame has one fate, and no name comes up that does not stand in the bytes. What the
//! fuzzers found is played again.

use std::collections::BTreeSet;
use std::fs;
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
