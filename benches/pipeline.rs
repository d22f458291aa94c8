//! The whole offline run over the recorded office: read, decode, flows, recorder.
//!
//! Throughput is in frames and in bytes on disk after unpacking; the capture is small, so that
//! this shows changes between two versions, not the rate on a large file.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use shadowtap::observation::Batch;
use shadowtap::recorder::desk::{Desk, Rulebook};
use shadowtap::recorder::policy::Policy;
use shadowtap::recorder::signature::{Catalogue, Clients, Network};
use shadowtap::recorder::store::rows::{InputRow, InputRows, Text};
use shadowtap::recorder::store::{self, Store};
use shadowtap::sensor::{self, Listener};
use shadowtap::types::Timestamp;
use shadowtap::watcher::capture::{InputReport, Inputs, Options};
use shadowtap::watcher::decode::{DecodeCounters, DecodeOptions};
use shadowtap::watcher::flow::Limits;

const OFFICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/office/office.pcap.zst");

/// Counts what watchers say; with a desk it is judged too.
struct Counting {
    desk: Option<Desk>,
    observations: usize,
    rows: Vec<(u16, InputRows)>,
}

impl Listener for Counting {
    fn block(&mut self, batches: &[Batch], _decode: &[(u16, DecodeCounters)]) {
        self.observations += batches.iter().map(|b| b.observations.len()).sum::<usize>();
        if let Some(desk) = &mut self.desk {
            desk.block(batches, &mut |_, _| {});
        }
    }

    fn world(&mut self, _first: usize, _inputs: &[InputReport]) {
        if let Some(desk) = &mut self.desk {
            self.rows = desk.finish(|_| Text::from("bench"));
        }
    }

    fn progress(&mut self, _read: u64, _total: Option<u64>, _frames: u64) {}
}

fn run(path: &std::path::Path, desk: Option<Desk>) -> Counting {
    let inputs = Inputs::open(&[path.to_owned()], &Options::default()).expect("one input");
    let options = sensor::Options {
        watchers: 1,
        decode: DecodeOptions { hash_seed: 1, ..DecodeOptions::default() },
        limits: Limits::of(1 << 20),
        stop: Arc::default(),
    };
    let mut listener = Counting { desk, observations: 0, rows: Vec::new() };
    sensor::run_offline(inputs, &options, &mut listener);
    listener
}

fn rulebook() -> Rulebook {
    Rulebook {
        catalogue: Arc::new(Catalogue::embedded().expect("ours")),
        clients: Arc::new(Clients::embedded().expect("ours")),
        network: Arc::new(Network::embedded().expect("ours")),
        known: Arc::default(),
        policy: Arc::new(Policy::default()),
        own_networks: Vec::new(),
        bulk_bytes: 1_000_000,
    }
}

fn stages(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("office.pcap");
    let whole = zstd::decode_all(fs::read(OFFICE).expect("the fixture").as_slice()).expect("zstd");
    fs::write(&path, &whole).expect("a capture");
    let rules = rulebook();

    let mut group = c.benchmark_group("office");
    group.sample_size(20);
    for (name, throughput) in
        [("frames", Throughput::Elements(59_297)), ("bytes", Throughput::Bytes(whole.len() as u64))]
    {
        group.throughput(throughput);
        group.bench_function(format!("read_decode_flow/{name}"), |b| {
            b.iter(|| black_box(run(&path, None).observations))
        });
        group.bench_function(format!("with_recorder/{name}"), |b| {
            b.iter(|| black_box(run(&path, Some(Desk::new(rules.clone()))).rows.len()))
        });
    }
    group.throughput(Throughput::Elements(1));
    let rows = run(&path, Some(Desk::new(rules.clone()))).rows.remove(0).1;
    group.bench_function("commit_to_memory_store", |b| {
        b.iter(|| {
            let mut store = Store::open_memory(store::Options::default()).expect("memory");
            store.commit_input(&input(), &rows).expect("a commit")
        })
    });
    group.finish();
}

fn input() -> InputRow {
    InputRow {
        key: Text::from("bench"),
        name: Text::from("office.pcap"),
        size_bytes: 1,
        frames: 59_297,
        first_time: Timestamp(0),
        last_time: Timestamp(1),
        fault: None,
        sensor: None,
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
