//! Host lookup against one hash-map probe of the same string, and the load of the catalogue.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rapidhash::fast::RandomState;
use shadowtap::recorder::signature::{Catalogue, Clients, Network};

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

criterion_group!(benches, matching);
criterion_main!(benches);
