//! What a client's Initial costs: keys, opening, reassembly and hello, state included.
//!
//! In: packets made here. Out: time a datagram.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shadowtap::types::Direction;
use shadowtap::watcher::protocol::quic::{Quic, looks_like};
use shadowtap::watcher::protocol::{DatagramParser, Metadata};

#[path = "../src/watcher/protocol/quic/forge.rs"]
mod forge;

use forge::{Initial, client_hello, crypto};

const DCID: &[u8] = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";

/// Feeds a new flow and counts the hellos.
fn read(datagrams: &[Vec<u8>]) -> usize {
    let mut hellos = 0;
    let mut quic = Quic::new();
    for datagram in datagrams {
        let _ = quic.datagram(Direction::Up, black_box(datagram), &mut |said| {
            hellos += usize::from(matches!(said, Metadata::Hello(_)));
        });
    }
    hellos
}

/// A hello of browser size in two datagrams, cut into pieces of 150 bytes and shuffled.
fn shuffled(version: u32) -> Vec<Vec<u8>> {
    let hello = client_hello("chat.example", 1500);
    let mut frames: Vec<_> =
        hello.chunks(150).enumerate().map(|(i, part)| crypto(150 * i, part)).collect();
    frames.reverse();
    frames.swap(0, 7);
    let halves = [frames[..6].concat(), frames[6..].concat()];
    let seal = |frames: &Vec<u8>| Initial::new(version, DCID, frames).seal();
    halves.iter().map(seal).collect()
}

fn initials(c: &mut Criterion) {
    let mut group = c.benchmark_group("quic");
    for (name, version) in [("v1", forge::V1), ("v2", forge::V2)] {
        let frames = crypto(0, &client_hello("chat.example", 0));
        let one = vec![Initial::new(version, DCID, &frames).seal()];
        let two = shuffled(version);
        assert_eq!((read(&one), read(&two)), (1, 1));
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}/hello in one"), |b| b.iter(|| read(&one)));
        group.throughput(Throughput::Elements(2));
        group.bench_function(format!("{name}/hello in two, shuffled"), |b| b.iter(|| read(&two)));
    }
    group.finish();
}

fn recognition(c: &mut Criterion) {
    let mut group = c.benchmark_group("quic/looks_like");
    group.throughput(Throughput::Elements(1));
    let frames = crypto(0, &client_hello("chat.example", 0));
    for (name, datagram) in [
        ("initial", Initial::new(forge::V1, DCID, &frames).seal()),
        ("short header", vec![0x41; 1200]),
        ("dns", b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00".to_vec()),
    ] {
        group.bench_function(name, |b| b.iter(|| looks_like(black_box(&datagram))));
    }
    group.finish();
}

criterion_group!(benches, initials, recognition);
criterion_main!(benches);
