#![allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]

use std::fs;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;

use super::*;

// --- files by hand ---

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Endian(bool);

impl Endian {
    fn u16(self, n: u16) -> Vec<u8> {
        if self.0 { n.to_be_bytes().into() } else { n.to_le_bytes().into() }
    }

    fn u32(self, n: u32) -> Vec<u8> {
        if self.0 { n.to_be_bytes().into() } else { n.to_le_bytes().into() }
    }
}

const LE: Endian = Endian(false);

/// Seconds, nanoseconds, octets.
type Record<'a> = (u32, u32, &'a [u8]);

/// A pcap file; `magic` decides the unit of time and the record header.
fn pcap_as(e: Endian, magic: u32, link: u32, records: &[Record]) -> Vec<u8> {
    let mut out =
        [e.u32(magic), e.u16(2), e.u16(4), vec![0; 8], e.u32(65_535), e.u32(link)].concat();
    if magic >> 16 == 0x1c00 {
        out.extend(e.u32(0));
    }
    let unit = if matches!(magic, 0xa1b2_c3d4 | 0xa1b2_cd34) { 1000 } else { 1 };
    for (seconds, ns, bytes) in records {
        let len = e.u32(u32::try_from(bytes.len()).expect("fits"));
        out.extend([e.u32(*seconds), e.u32(ns / unit), len.clone(), len].concat());
        if magic == 0xa1b2_cd34 {
            out.extend([0; 8]);
        }
        out.extend_from_slice(bytes);
    }
    out
}

fn pcap(records: &[Record]) -> Vec<u8> {
    pcap_as(LE, 0xa1b2_c3d4, 1, records)
}

/// A pcap with one frame of 60 octets a second.
fn steady(from: u32, seconds: impl IntoIterator<Item = u32>, mark: u8) -> Vec<u8> {
    let frame = [mark; 60];
    let records: Vec<Record> = seconds.into_iter().map(|s| (from + s, 0, &frame[..])).collect();
    pcap(&records)
}

fn ng_block(e: Endian, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
    let len = e.u32(u32::try_from(padded.len() + 12).expect("fits"));
    [e.u32(kind), len.clone(), padded, len].concat()
}

fn ng_section(e: Endian) -> Vec<u8> {
    let body = [e.u32(0x1a2b_3c4d), e.u16(1), e.u16(0), vec![0xff; 8]].concat();
    ng_block(e, 0x0a0d_0d0a, &body)
}

fn ng_interface(e: Endian, link: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
    ng_block(e, 1, &[e.u16(link), e.u16(0), e.u32(snaplen), options.to_vec()].concat())
}

fn ng_packet(e: Endian, interface: u32, units: u64, bytes: &[u8], wire: u32) -> Vec<u8> {
    let [high, low] = [units >> 32, units & 0xffff_ffff].map(|n| u32::try_from(n).expect("half"));
    let captured = u32::try_from(bytes.len()).expect("fits");
    let numbers = [interface, high, low, captured, wire].map(|n| e.u32(n)).concat();
    ng_block(e, 6, &[&numbers, bytes].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

// --- reading them ---

struct Dir(TempDir);

impl Dir {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let dir = Self(TempDir::new().expect("temporary directory"));
        for (name, bytes) in files {
            let path = dir.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("directory");
            fs::write(path, bytes).expect("file");
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Input, time in seconds, sensor time in seconds, link, length on the wire, first octet.
type Seen = (u16, u64, u64, u16, u32, u8);

struct Run {
    seen: Vec<Seen>,
    /// Frames a block.
    blocks: Vec<usize>,
    worlds: Vec<u16>,
    reports: Vec<InputReport>,
    /// Nanoseconds of the first frame.
    first: u64,
}

fn read_with(paths: &[PathBuf], options: &Options) -> Run {
    let mut inputs = Inputs::open(paths, options).expect("valid options");
    let mut block = Block::default();
    let mut run = Run { seen: vec![], blocks: vec![], worlds: vec![], reports: vec![], first: 0 };
    let mut last = Timestamp::default();
    loop {
        match inputs.fill(&mut block) {
            Fill::End => break,
            Fill::NewWorld { input } => {
                run.worlds.push(input);
                last = Timestamp::default();
                continue;
            }
            Fill::Frames => {}
        }
        assert_eq!(block.index, run.blocks.len() as u64);
        for f in &block.frames {
            let bytes = block.bytes(f);
            assert_eq!(bytes.len(), f.captured as usize, "frame within its chunk");
            assert!(f.now >= last && f.now <= block.now, "sensor time went back");
            last = f.now;
            if run.seen.is_empty() {
                run.first = f.time.0;
            }
            let first = bytes.first().copied().unwrap_or(0);
            run.seen.push((f.input, f.time.seconds(), f.now.seconds(), f.link, f.wire, first));
        }
        run.blocks.push(block.frames.len());
    }
    assert!(block.frames.is_empty());
    let (read, total) = inputs.progress();
    assert!(total.is_none_or(|total| total == read), "{read} of {total:?}");
    run.reports = inputs.reports().to_vec();
    run
}

fn read(paths: &[PathBuf]) -> Run {
    read_with(paths, &Options::default())
}

fn read_bytes(bytes: &[u8]) -> (Run, InputReport) {
    let dir = Dir::new(&[("one", bytes)]);
    let run = read(&[dir.path("one")]);
    let report = run.reports[0].clone();
    assert_eq!(report.size, bytes.len() as u64);
    let digest = twox_hash::xxhash3_128::Hasher::oneshot(bytes);
    if report.state == InputState::Read {
        assert_eq!(report.digest, Some(digest), "digest of the stored octets");
    }
    assert_eq!(report.frames, run.seen.len() as u64);
    (run, report)
}

fn fault(report: &InputReport) -> Option<(u64, &str)> {
    report.fault.as_ref().map(|f| (f.offset, f.reason.as_str()))
}

#[test]
fn inputs_may_be_read_on_a_thread_of_their_own() {
    fn moves<T: Send>() {}
    moves::<Inputs>();
}

#[test]
fn reads_every_member_of_the_pcap_family() {
    let records: [Record; 2] = [(100, 1_234_000, b"abc"), (101, 0, b"")];
    for (name, magic) in [
        ("microseconds", 0xa1b2_c3d4),
        ("nanoseconds", 0xa1b2_3c4d),
        ("modified", 0xa1b2_cd34),
        ("ixia", 0x1c00_01ac),
    ] {
        for big in [false, true] {
            let (run, report) = read_bytes(&pcap_as(Endian(big), magic, 101, &records));
            assert_eq!(run.seen, [(0, 100, 100, 101, 3, b'a'), (0, 101, 101, 101, 0, 0)], "{name}");
            assert_eq!(run.first, 100_001_234_000, "{name}");
            assert_eq!((report.fault, report.links, report.bytes), (None, vec![101], 3), "{name}");
        }
    }
    // The upper half of the link type says that frames end with a check sequence of four octets.
    let (run, _) = read_bytes(&pcap_as(LE, 0xa1b2_c3d4, 0x4400_0001, &records));
    assert_eq!(run.seen[0].3, 1);
}

#[test]
fn reads_pcapng_with_all_its_parts() {
    for e in [Endian(false), Endian(true)] {
        let resolution = |unit: u8| [e.u16(9), e.u16(1), vec![unit, 0, 0, 0], vec![0; 4]].concat();
        let seconds = if e.0 { 50_i64.to_be_bytes() } else { 50_i64.to_le_bytes() };
        let offset = [e.u16(14), e.u16(8), seconds.to_vec()].concat();
        let simple = |wire: u32, bytes: &[u8]| ng_block(e, 3, &[&e.u32(wire), bytes].concat());
        let old = [e.u16(1), e.u16(0), e.u32(0), e.u32(3000), e.u32(2), e.u32(9), b"old!".to_vec()];
        let file = [
            ng_section(e),
            ng_interface(e, 1, 4, &[]),
            ng_interface(e, 101, 0, &resolution(3)),
            ng_interface(e, 113, 0, &resolution(0x80 | 4)),
            ng_interface(e, 12, 0, &[resolution(12)[..8].to_vec(), offset].concat()),
            ng_packet(e, 0, 7_000_000, b"abcde", 1500),
            ng_block(e, 4, &[1; 20]),
            ng_block(e, 0x0bad, &[1; 24]),
            ng_block(e, 10, b"secrets!"),
            simple(9, b"wxyz"),
            ng_block(e, 2, &old.concat()),
            ng_packet(e, 2, 11 << 4, b"2", 1),
            ng_packet(e, 3, 13_000_000_000_000, b"3", 1),
            // A section of the other byte order, with interfaces of its own.
            ng_section(Endian(!e.0)),
            ng_interface(Endian(!e.0), 228, 0, &[]),
            ng_packet(Endian(!e.0), 0, 14_000_000, b"4", 1),
        ];
        let (run, report) = read_bytes(&file.concat());
        assert_eq!(report.fault, None);
        assert_eq!(
            run.seen,
            [
                (0, 7, 7, 1, 1500, b'a'),
                (0, 7, 7, 1, 9, b'w'),
                (0, 3, 7, 101, 9, b'o'),
                (0, 11, 11, 113, 1, b'2'),
                (0, 63, 63, 12, 1, b'3'),
                (0, 14, 63, 228, 1, b'4'),
            ]
        );
        assert_eq!(report.links, [1, 101, 113, 12, 228]);
    }
}

#[test]
fn faults_are_named_and_what_lies_in_front_of_them_counts() {
    let good = steady(1000, 0..3, 1);
    let at = |n: usize| 24 + 76 * n;
    let section = [ng_section(LE), ng_interface(LE, 1, 0, &[])].concat();
    let packet = ng_packet(LE, 0, 1, b"abcd", 4);
    let with = |tail: &[u8]| [&section, &packet, tail].concat();
    let after = (section.len() + packet.len()) as u64;
    let mut unequal = packet.clone();
    let end = unequal.len() - 4;
    unequal[end] ^= 4;
    let huge = [&good[..], &LE.u32(1004), &[0; 4], &LE.u32(262_145), &LE.u32(262_145)].concat();
    let cut = "cut short: the last record is not whole";
    for (name, bytes, frames, expected) in [
        ("whole", good.clone(), 3, None),
        ("cut in a record", good[..at(2) + 40].to_vec(), 2, Some((at(2) as u64, cut))),
        ("cut in a record header", good[..at(2) + 9].to_vec(), 2, Some((at(2) as u64, cut))),
        ("cut in the file header", good[..20].to_vec(), 0, Some((0, cut))),
        ("file header alone", good[..24].to_vec(), 0, None),
        (
            "impossible record",
            huge,
            3,
            Some((at(3) as u64, "record of 262145 bytes, more than a frame can have")),
        ),
        (
            "pcap version 3",
            [&good[..4], &[3], &good[5..]].concat(),
            0,
            Some((4, "pcap version 3 is not 2")),
        ),
        ("pcapng, cut", with(&packet[..30]), 1, Some((after, cut))),
        (
            "pcapng, block length",
            with(&[6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
            1,
            Some((after, "block length 7 cannot be")),
        ),
        (
            "pcapng, huge block",
            with(&[6, 0, 0, 0, 0, 0, 0, 0xf0, 0, 0, 0, 0]),
            1,
            Some((after, "block length 4026531840 cannot be")),
        ),
        (
            "pcapng, lengths differ",
            with(&unequal),
            1,
            Some((after, "the two lengths of a block differ")),
        ),
        (
            "pcapng, unknown interface",
            with(&ng_packet(LE, 1, 0, b"", 0)),
            1,
            Some((after, "packet of interface 1, which is not there")),
        ),
        (
            "pcapng, packet beyond block",
            with(&ng_block(LE, 6, &[[0; 12].as_slice(), &LE.u32(9), &[9; 12]].concat())),
            1,
            Some((after, "packet longer than its block")),
        ),
        (
            "pcapng, short packet block",
            with(&ng_block(LE, 6, &[0; 8])),
            1,
            Some((after, "block too short for its type")),
        ),
        (
            "pcapng, no magic",
            with(&ng_block(LE, 0x0a0d_0d0a, &[0; 16])),
            1,
            Some((after, "section header without its byte-order magic")),
        ),
        (
            "pcapng, version 2",
            with(&ng_block(
                LE,
                0x0a0d_0d0a,
                &[0x4d, 0x3c, 0x2b, 0x1a, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            )),
            1,
            Some((after, "section header too short, or of a version other than 1")),
        ),
    ] {
        let (run, report) = read_bytes(&bytes);
        assert_eq!((run.seen.len(), fault(&report)), (frames, expected), "{name}");
        assert_eq!(report.state, InputState::Read, "{name}");
    }
}

#[test]
fn reads_compressed_captures() {
    let plain = steady(1000, 0..400, 1);
    let (a, b) = plain.split_at(9999);
    for (name, bytes, frames, faulty) in [
        ("gzip", gzip(&plain), 400, false),
        ("gzip in members", [gzip(a), gzip(b)].concat(), 400, false),
        ("gzip with a tail", [gzip(&plain), b"tail".to_vec()].concat(), 400, true),
        ("zstd", zstd(&plain), 400, false),
        ("zstd in frames", [zstd(a), zstd(b)].concat(), 400, false),
    ] {
        let (run, report) = read_bytes(&bytes);
        assert_eq!(
            (run.seen.len(), report.fault.is_some()),
            (frames, faulty),
            "{name}: {:?}",
            report.fault
        );
    }
    // Every cut gives what could be unpacked, and says that it was cut.
    for whole in [gzip(&plain), zstd(&plain)] {
        for cut in (40..whole.len()).step_by(7) {
            let (run, report) = read_bytes(&whole[..cut]);
            let said = report.fault.is_some() || matches!(report.state, InputState::Failed(_));
            assert!(said && run.seen.len() <= 400, "cut at {cut}: {report:?}");
        }
    }
    for (name, bytes, expected) in [
        ("gzip of text", gzip(b"hello, this is no capture"), "compressed, but not a capture"),
        ("gzip in gzip", gzip(&gzip(&plain)), "not supported: compressed twice"),
        ("gzip of snoop", gzip(b"snoop\0\0\0 and so on and on"), "not supported: a snoop capture"),
    ] {
        let (_, report) = read_bytes(&bytes);
        assert_eq!(report.state, InputState::Failed(expected.into()), "{name}");
    }
}

#[test]
fn what_is_no_capture_is_said_and_the_others_are_read() {
    let dir = Dir::new(&[
        ("d/b/late.pcap", &steady(2000, 0..2, 2)),
        ("d/a.pcap", &steady(1000, 0..2, 1)),
        ("d/notes.txt", b"these are my notes"),
        ("d/empty", b""),
        ("d/c.snoop", b"snoop\0\0\0\0\0\0\x02\0\0\0\x04"),
        ("d/short", b"\xd4"),
        ("text", b"these are my notes"),
        ("empty", b""),
        ("netmon.cap", b"GMBU and so on and on"),
    ]);
    let paths = ["d", "text", "empty", "netmon.cap", "missing"].map(|p| dir.path(p));
    let run = read(&paths);
    let skipped = |why: &str| InputState::Skipped(why.into());
    let failed = |why: &str| InputState::Failed(why.into());
    let said: Vec<_> =
        run.reports.iter().map(|r| (r.name.as_str(), r.state.clone(), r.frames)).collect();
    assert_eq!(
        said,
        [
            ("a.pcap", InputState::Read, 2),
            ("b/late.pcap", InputState::Read, 2),
            ("c.snoop", skipped("not supported: a snoop capture"), 0),
            ("empty", skipped("empty file"), 0),
            ("notes.txt", skipped("not a capture"), 0),
            ("short", skipped("not a capture"), 0),
            ("text", failed("not a capture"), 0),
            ("empty", failed("empty file"), 0),
            ("netmon.cap", failed("not supported: a Network Monitor capture"), 0),
            ("missing", failed("No such file or directory (os error 2)"), 0),
        ]
    );
    assert_eq!(run.seen.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(run.reports[1].first, Some(Timestamp(2000 * Timestamp::SECOND)));
    assert_eq!(run.reports[1].last, Some(Timestamp(2001 * Timestamp::SECOND)));
}

#[test]
fn a_circle_of_links_and_a_pipe_do_not_catch_us() {
    let dir = Dir::new(&[("d/sub/a.pcap", &steady(1000, 0..2, 1))]);
    std::os::unix::fs::symlink(dir.path("d"), dir.path("d/sub/circle")).expect("link");
    std::os::unix::fs::symlink(dir.path("d/sub/a.pcap"), dir.path("d/link.pcap")).expect("link");
    let run = read(&[dir.path("d")]);
    let names: Vec<_> = run.reports.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["link.pcap", "sub/a.pcap"]);
    assert_eq!(run.reports[0].digest, run.reports[1].digest);
}

#[test]
fn overlapping_files_merge_and_disjoint_ones_follow() {
    let late: [Record; 3] = [(1005, 0, &[9; 60]), (1003, 0, &[9; 60]), (1010, 0, &[9; 60])];
    let dir = Dir::new(&[
        ("z_first", &steady(1000, [0, 2, 4, 6, 8], 1)),
        ("m_between", &steady(1000, [1, 3, 4, 9], 2)),
        ("a_after", &steady(1100, [0, 1], 3)),
        ("b_out_of_order", &pcap(&late)),
    ]);
    let paths = ["z_first", "m_between", "a_after", "b_out_of_order"].map(|p| dir.path(p));
    let order = |run: &Run| run.seen.iter().map(|s| (s.0, s.1 - 1000)).collect::<Vec<_>>();
    let run = read(&paths);
    // Within input 3 its own order holds, at the sensor time of the file.
    assert_eq!(
        order(&run),
        [
            (0, 0),
            (1, 1),
            (0, 2),
            (1, 3),
            (0, 4),
            (1, 4),
            (3, 5),
            (3, 3),
            (0, 6),
            (0, 8),
            (1, 9),
            (3, 10),
            (2, 100),
            (2, 101),
        ]
    );
    assert_eq!(run.reports[3].backward, 1);
    // The order in which they are named changes nothing but the numbers.
    let mut reversed = paths.to_vec();
    reversed.reverse();
    let times = |run: &Run| run.seen.iter().map(|s| (s.2, s.5)).collect::<Vec<_>>();
    let mut sorted = (times(&run), times(&read(&reversed)));
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
}

#[test]
fn each_world_begins_anew() {
    let dir = Dir::new(&[
        ("a", &steady(5000, 0..2, 1)),
        ("b", b"no capture, but named"),
        ("c", &steady(1000, 0..2, 2)),
    ]);
    let paths = ["a", "b", "c"].map(|p| dir.path(p));
    let options = Options { separate: true, ..Options::default() };
    let run = read_with(&paths, &options);
    assert_eq!(run.worlds, [0, 1, 2]);
    assert_eq!(
        run.seen.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(),
        [(0, 5000), (0, 5001), (2, 1000), (2, 1001)]
    );
    assert_eq!(run.blocks, [2, 2]);
}

#[test]
fn time_and_filter_select_frames() {
    // IPv4 UDP from port 53, and the same from port 54.
    let frame = |port: u8| {
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        [[2; 12].as_slice(), &[8, 0], &ip, &[0, port, 4, 0, 0, 8, 0, 0]].concat()
    };
    let (a, b) = (frame(53), frame(54));
    let records: Vec<Record> =
        (0..10).map(|s| (1000 + s, 0, if s % 2 == 0 { &a[..] } else { &b[..] })).collect();
    let dir = Dir::new(&[("one", &pcap(&records)), ("two", &steady(1000, 0..3, 7))]);
    let paths = [dir.path("one"), dir.path("two")];
    let at = |s: u64| Some(Timestamp(s * Timestamp::SECOND));
    for (name, since, until, filter, one, two) in [
        ("all", None, None, None, 10, 3),
        ("since", at(1008), None, None, 2, 0),
        ("until", None, at(1002), None, 2, 2),
        ("both", at(1002), at(1004), None, 2, 1),
        ("filter", None, None, Some("udp port 53"), 5, 0),
        ("filter and time", at(1001), at(1004), Some("udp port 53"), 1, 0),
    ] {
        let options =
            Options { since, until, filter: filter.map(Into::into), ..Options::default() };
        let run = read_with(&paths, &options);
        let count = |input| run.seen.iter().filter(|s| s.0 == input).count();
        assert_eq!((count(0), count(1)), (one, two), "{name}");
        let [first, second] = &run.reports[..] else { panic!("two reports") };
        assert_eq!((first.frames, first.unselected), (10, 10 - one as u64), "{name}");
        assert_eq!((second.frames, second.unselected), (3, 3 - two as u64), "{name}");
    }
    let invalid = Options { filter: Some("port port".into()), ..Options::default() };
    assert!(matches!(Inputs::open(&paths, &invalid), Err(OpenError::Filter(_))));
}

#[test]
fn borders_of_blocks_are_a_function_of_the_file() {
    // Some megabytes of frames of all sizes, and one larger than a chunk.
    let big = vec![5; RECORD_MAX as usize];
    let sizes = (0..6000_usize).map(|n| n * 7919 % 1500);
    let mut records: Vec<Record> = sizes.map(|len| (1000, 0, &big[..len])).collect();
    records.insert(3000, (1000, 0, &big));
    let file = pcap(&records);
    let dir = Dir::new(&[("plain", &file), ("gz", &gzip(&file)), ("zst", &zstd(&file))]);
    let [plain, gz, zst] = ["plain", "gz", "zst"].map(|p| read(&[dir.path(p)]));
    assert_eq!(plain.seen.len(), 6001);
    assert!(plain.blocks.len() > 10, "{:?}", plain.blocks);
    let lengths = |run: &Run| run.seen.iter().map(|s| s.4).collect::<Vec<_>>();
    assert_eq!(
        lengths(&plain),
        records.iter().map(|r| u32::try_from(r.2.len()).expect("fits")).collect::<Vec<_>>()
    );
    for other in [gz, zst] {
        assert_eq!((&other.blocks, lengths(&other)), (&plain.blocks, lengths(&plain)));
    }
}

#[test]
fn a_pipe_is_read_as_it_comes_and_merged_too() {
    let dir = Dir::new(&[("file", &steady(1000, [0, 2], 1))]);
    let pipe = dir.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let bytes = steady(1000, [1, 3], 2);
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut to = fs::OpenOptions::new().write(true).open(pipe).expect("pipe");
            for part in bytes.chunks(5) {
                to.write_all(part).expect("reader");
            }
        }
    });
    let run = read(&[dir.path("file"), pipe]);
    writer.join().expect("writer");
    assert_eq!(
        run.seen.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(),
        [(0, 1000), (1, 1001), (0, 1002), (1, 1003)]
    );
    assert!(run.reports[1].digest.is_some());
}

#[test]
fn many_small_files_share_blocks_and_chunks_are_used_again() {
    let names: Vec<String> = (0..400).map(|n| format!("{n:03}")).collect();
    let files: Vec<_> = (0..400).map(|n| steady(1000 + n * 10, 0..5, 1)).collect();
    let with: Vec<_> =
        names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
    let dir = Dir::new(&with);
    let run = read(&[dir.0.path().to_path_buf()]);
    assert_eq!(run.seen.len(), 2000);
    assert!(run.blocks.len() <= 3, "{:?}", run.blocks);
    assert!(run.seen.is_sorted_by_key(|s| (s.1, s.0)));
}

#[test]
fn hostile_files_end_in_a_report() {
    let section = [ng_section(LE), ng_interface(LE, 1, 0, &[9, 0, 1, 0, 6, 0, 0, 0])].concat();
    let packets: Vec<_> = (0..6).map(|n| ng_packet(LE, 0, n << 20, &[1; 50], 60)).collect();
    let seeds = [steady(1000, 0..6, 1), [section, packets.concat()].concat()];
    let mut state = 1_u64;
    let mut next = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("fits") % n
    };
    for seed in &seeds {
        for cut in 0..seed.len() {
            read_bytes(&seed[..cut]);
        }
        for _ in 0..1500 {
            let mut bytes = seed.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] = [0, 0xff, 0x80, 1][next(4)];
            }
            read_bytes(&bytes);
        }
    }
}
