//! Captures that an attacker wrote: cut, flipped and doubled. Nothing may panic or hang, every
//! frame has one fate, and no name comes up that does not stand in the bytes.

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
        limits: Limits::of(1 << 12),
        stop: Arc::default(),
    };
    sensor::run_offline(inputs, &options, heard);
    assert_eq!(heard.frames, heard.fates, "every frame has one fate");
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
    let cuts = (0..300).map(|_| dice.below(whole.len()));
    for cut in cuts.chain(borders.iter().copied().step_by(4)) {
        hear(&whole[..cut], &mut heard);
        let more: Vec<_> = heard.names.difference(&all).collect();
        assert!(more.is_empty(), "cut at {cut}: {more:?} only in the part");
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
