//! Who has an address at a time, beside one get of a DashMap; both at a million addresses.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use rapidhash::fast::RandomState;
use shadowtap::recorder::identity::bindings::{Bindings, DeviceId, Sign};
use shadowtap::recorder::identity::{Source, Tracker};
use shadowtap::types::{MacAddr, Realm, Timestamp};

const ADDRESSES: u32 = 1_000_000;
const R: Realm = Realm(0);

fn address(n: u32) -> IpAddr {
    let [a, b, c, d] = n.to_be_bytes();
    IpAddr::from([10 + a, b, c, d])
}

/// Addresses in an order that no cache foresees.
fn order() -> impl Iterator<Item = IpAddr> {
    (0_u32..).map(|n| address(n.wrapping_mul(2_654_435_761) % ADDRESSES))
}

fn lookups(c: &mut Criterion) {
    let at = Timestamp(2_000 * Timestamp::SECOND);
    let (mut bindings, mut tracker) = (Bindings::default(), Tracker::default());
    let dash: DashMap<(Realm, IpAddr), u32, RandomState> = DashMap::default();
    for n in 0..ADDRESSES {
        let began = Timestamp(1_000 * Timestamp::SECOND);
        let sign =
            Sign { device: DeviceId(n), source: Source::Dhcp, at: began, lease_s: 9_000, input: 0 };
        bindings.sign(R, address(n), &sign);
        let [a, b, c, d] = n.to_be_bytes();
        let mac = MacAddr([2, 0, a, b, c, d]);
        tracker.bind(R, address(n), mac, Source::Dhcp, began, 9_000, 0);
        dash.insert((R, address(n)), n);
    }
    println!("{} bytes a binding with its device", tracker.bytes() / ADDRESSES as usize);
    let mut group = c.benchmark_group("identity");
    let mut addresses = order();
    group.bench_function("dashmap get", |b| {
        b.iter(|| dash.get(&(R, black_box(addresses.next().expect("endless")))).map(|v| *v));
    });
    group.bench_function("binding at a time", |b| {
        b.iter(|| {
            bindings.at(R, black_box(addresses.next().expect("endless")), at).map(|i| i.device)
        });
    });
    group.bench_function("device and person at a time", |b| {
        b.iter(|| tracker.resolve(R, black_box(addresses.next().expect("endless")), at));
    });
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
