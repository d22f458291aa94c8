//! Host lookup against one hash-map probe of the same string, the same with a million patterns, and
//! the load of the catalogue.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rapidhash::fast::RandomState;
use shadowtap::recorder::signature::matcher::LabelTree;
use shadowtap::recorder::signature::{Catalogue, Clients, Kind, Network};

/// Patterns of a catalogue hundreds of times as large as ours.
const MANY: usize = 1_000_000;
/// Names of a stream: more than fit the nearest cache, few enough to be made in no time.
const NAMES: usize = 1 << 18;

/// Names of no service, which most are.
const ORDINARY: [&str; 8] = [
    "www.google.com",
    "fonts.gstatic.com",
    "outlook.office365.com",
    "d1a2b3c4d5e6f7.cloudfront.net",
    "safebrowsing.googleapis.com",
    "s3.eu-central-1.amazonaws.com",
    "gateway.icloud.com",
    "www.example.org",
];

/// Names of services, of every kind of pattern.
const SERVICES: [&str; 8] = [
    "chatgpt.com",
    "api.openai.com",
    "api.anthropic.com",
    "gemini.google.com",
    "contoso.openai.azure.com",
    "bedrock-runtime.eu-central-1.amazonaws.com",
    "europe-west4-aiplatform.googleapis.com",
    "api2.cursor.sh",
];

fn matching(c: &mut Criterion) {
    let catalogue = Catalogue::embedded().expect("the embedded catalogue is valid");
    let mut map: HashMap<String, u32, RandomState> = HashMap::default();
    let mut std_map: HashMap<String, u32> = HashMap::new();
    for service in catalogue.services() {
        for host in &service.hosts {
            map.insert(host.pattern.clone(), 1);
            std_map.insert(host.pattern.clone(), 1);
        }
    }
    for (name, hosts) in [("ordinary", ORDINARY), ("services", SERVICES)] {
        let mut group = c.benchmark_group(format!("eight_hosts/{name}"));
        group.bench_function("lookup", |b| {
            b.iter(|| hosts.iter().filter(|h| catalogue.lookup(black_box(h)).is_some()).count());
        });
        group.bench_function("one_probe", |b| {
            b.iter(|| hosts.iter().filter(|h| map.contains_key(black_box(**h))).count());
        });
        group.bench_function("one_probe_std_hasher", |b| {
            b.iter(|| hosts.iter().filter(|h| std_map.contains_key(black_box(**h))).count());
        });
        group.finish();
    }
    let mut group = c.benchmark_group("load");
    group.sample_size(20);
    group.bench_function("catalogue", |b| {
        b.iter(|| Catalogue::embedded().map(|c| c.services().len()))
    });
    group.bench_function("clients", |b| b.iter(|| Clients::embedded().is_ok()));
    group.bench_function("network", |b| b.iter(|| Network::embedded().is_ok()));
    group.finish();
}

/// A stream of names over patterns: the catalogue's, and a million; names as frequent as in traffic
/// (the n-th in 1 of n), and all as frequent as any other.
fn streams(c: &mut Criterion) {
    let catalogue = Catalogue::embedded().expect("the embedded catalogue is valid");
    let fixed = |kind: Kind| matches!(kind, Kind::Exact | Kind::Suffix);
    let ours: Vec<(String, Kind)> = catalogue
        .services()
        .iter()
        .flat_map(|s| s.hosts.iter().filter(|h| fixed(h.kind)))
        .map(|h| (h.pattern.clone(), h.kind))
        .collect();
    let many: Vec<(String, Kind)> = (0..MANY)
        .map(|n| match n % 4 {
            0 => (format!("api.service-{n}.com"), Kind::Exact),
            1 => (format!("{n}-region.cloud-{}.net", n % 1_000), Kind::Exact),
            _ => (format!("service-{n}.ai"), Kind::Suffix),
        })
        .collect();
    let mut group = c.benchmark_group("stream");
    group.throughput(Throughput::Elements(NAMES as u64));
    group.sample_size(30);
    for (size, patterns) in [("catalogue", &ours), ("million", &many)] {
        let mut tree = LabelTree::default();
        let mut map: HashMap<String, u32, RandomState> = HashMap::default();
        for (number, (pattern, kind)) in patterns.iter().enumerate() {
            tree.insert(pattern, *kind, u32::try_from(number).expect("a million"));
            map.insert(pattern.clone(), 1);
        }
        for (order, zipf) in [("zipf", true), ("uniform", false)] {
            let names = stream(patterns, zipf);
            group.bench_function(format!("{size}/{order}/lookup"), |b| {
                b.iter(|| names.iter().filter(|n| tree.find(black_box(n)).is_some()).count());
            });
            group.bench_function(format!("{size}/{order}/one_probe"), |b| {
                b.iter(|| names.iter().filter(|n| map.contains_key(black_box(n.as_str()))).count());
            });
        }
    }
    group.finish();
}

/// Names that patterns are there for, every second one with a label more, in the order of traffic.
fn stream(patterns: &[(String, Kind)], zipf: bool) -> Vec<String> {
    let mut sums = Vec::with_capacity(patterns.len());
    let mut sum = 0.0;
    for rank in 0..patterns.len() {
        sum += if zipf { 1.0 / (rank as f64 + 1.0) } else { 1.0 };
        sums.push(sum);
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..NAMES)
        .map(|n| {
            let at = (random() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            let rank = sums.partition_point(|s| *s < at).min(patterns.len() - 1);
            // Ranks are dealt out over the patterns, which stand in the order of their making.
            let (pattern, _) = &patterns[rank.wrapping_mul(2_654_435_761) % patterns.len()];
            if n % 2 == 0 { pattern.clone() } else { format!("www.{pattern}") }
        })
        .collect()
}

criterion_group!(benches, matching, streams);
criterion_main!(benches);
