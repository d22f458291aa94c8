//! How long decode takes for a frame, by the way that it goes.
//!
//! Run: `cargo bench --bench decode`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{LaxSlicedPacket, PacketBuilder};
use shadowtap::watcher::decode::{DecodeCounters, Decoder, Stitcher};
use shadowtap::watcher::packet::{Block, Chunk, Decoded, Frame};

/// Frames of a block, about as many as a chunk of a real capture holds.
const FRAMES: u16 = 1000;

fn web(n: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = n.to_be_bytes();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, a, b], [198, 51, 100, 1], 64)
        .tcp(40_000, 443, u32::from(n), 1024)
        .write(&mut frame, payload)
        .expect("memory");
    frame
}

fn web6(n: u16, payload: &[u8]) -> Vec<u8> {
    let mut src = [0x20; 16];
    src[14..].copy_from_slice(&n.to_be_bytes());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6(src, [0x30; 16], 64)
        .udp(40_000, 443)
        .write(&mut frame, payload)
        .expect("memory");
    frame
}

/// The frame in VXLAN in IPv4.
fn vxlan(inner: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(50_000, 4789)
        .write(&mut frame, &[&[8, 0, 0, 0, 0, 0, 1, 0], inner].concat())
        .expect("memory");
    frame
}

/// Two fragments of a datagram.
fn fragments(n: u16) -> Vec<Vec<u8>> {
    let whole = web6(n, &[7; 600]);
    let datagram = whole.get(54..).unwrap_or_default();
    let cut = |(part, more): (&[u8], bool)| {
        let len = u16::try_from(part.len() + 20).expect("short").to_be_bytes();
        let [a, b] = n.to_be_bytes();
        let place = if more { [0x20, 0] } else { [0, 37] };
        let head = [0x45, 0, len[0], len[1], a, b, place[0], place[1], 64, 17, 0, 0];
        [[4; 12].as_slice(), &[8, 0], &head, &[10, 0, 0, 1, 10, 0, 0, 2], part].concat()
    };
    let (first, last) = datagram.split_at(296);
    vec![cut((first, true)), cut((last, false))]
}

fn block(frames: &[Vec<u8>]) -> Block {
    let (mut chunk, mut block) = (Vec::new(), Block::default());
    for (frame, number) in frames.iter().zip(1..) {
        let offset = u32::try_from(chunk.len()).expect("small");
        let len = u32::try_from(frame.len()).expect("small");
        chunk.extend_from_slice(frame);
        let (captured, wire) = (len, len);
        block.frames.push(Frame { number, offset, captured, wire, link: 1, ..Frame::default() });
    }
    block.chunks.push(Chunk::Read(Arc::new(chunk)));
    block
}

fn decode(c: &mut Criterion) {
    let of = |make: &dyn Fn(u16) -> Vec<u8>| (0..FRAMES).map(make).collect::<Vec<_>>();
    let cases = [
        ("ipv4_tcp", of(&|n| web(n, &[7; 200]))),
        ("ipv6_udp", of(&|n| web6(n, &[7; 200]))),
        ("vxlan", of(&|n| vxlan(&web(n, &[7; 150])))),
        ("arp", of(&|_| [[2; 12].as_slice(), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[4; 20]].concat())),
        ("fragments", (0..FRAMES / 2).flat_map(fragments).collect()),
    ];
    let mut group = c.benchmark_group("decode");
    for (name, frames) in &cases {
        let block = block(frames);
        let decoder = Decoder::default();
        let (mut out, mut counters) = (Decoded::default(), DecodeCounters::default());
        group.throughput(Throughput::Elements(block.frames.len() as u64));
        group.bench_function(*name, |b| {
            b.iter_batched_ref(
                Stitcher::default,
                |stitcher| {
                    decoder.block(black_box(&block), &mut out, &mut counters);
                    stitcher.stitch(&block, &mut out, &decoder, &mut counters);
                    black_box(out.packets.len())
                },
                BatchSize::SmallInput,
            );
        });
        assert!(counters.frames() > 0);
        if *name == "ipv4_tcp" {
            group.bench_function("ipv4_tcp_etherparse", |b| {
                b.iter(|| {
                    for frame in &block.frames {
                        black_box(LaxSlicedPacket::from_ethernet(block.bytes(frame)).ok());
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
