//! The process of the watchers: confined, then packets from rings to observations.
//!
//! In: rings and streams, handed over by the supervisor; control messages. Out: [`FromWatcher`]
//! messages, one stream a worker. Never: opens anything; goes on unconfined; stops reading because
//! there is nothing to say.
//! Limits: [`HANDED_MAX`] hand-overs wait for a worker.
//!
//! Each flow has one owner, by the hash of its innermost addresses and ports. The kernel's program
//! (`capture/deal.rs`) brings nearly all frames to their owner; what it could not read, and
//! datagrams put together from fragments, are handed over as a copy.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender as Queue, bounded};

use super::confine;
use super::message::{
    Exclusions, FromWatcher, OBSERVATIONS_MAX, OfWatcher, PortSetup, Pulse, Sender, ToWatcher,
    WatcherSetup, receive, send,
};
use crate::observation::Batch;
use crate::types::Timestamp;
use crate::watcher::capture::deal::Deal;
use crate::watcher::capture::filter::Filter;
use crate::watcher::capture::live::{Arrived, LiveSource};
use crate::watcher::capture::ring::Ring;
use crate::watcher::decode::{DecodeCounters, DecodeOptions, Decoder, Exclude, Stitcher};
use crate::watcher::flow::{Flows, Limits, SHARDS, neighbor_hash, owner};
use crate::watcher::mirror::Mirror;
use crate::watcher::packet::{Block, Chunk, Decoded, Frame, Neighbor, Packet};
use crate::watcher::shed::Shed;

/// Hand-overs that wait for one worker: a block's worth each, so some tens of milliseconds.
const HANDED_MAX: usize = 256;

/// How long a worker waits for frames: what a handed packet and a change wait for at most.
const WAIT: Duration = Duration::from_millis(50);

/// Rounds without a frame after which a worker that is to end does so: more than the kernel takes
/// to hand over a block that is not full.
const QUIET_ROUNDS: u32 = 4;

/// Octets of a frame that are handed over in front of the payload: both MACs, and the type.
const LINK: u32 = 14;

/// Nanoseconds of sensor time between two batches that say nothing but the time.
const SILENCE: u64 = Timestamp::SECOND / 5;

/// Packets that another worker owns, with copies of what they point to.
#[derive(Default)]
struct Handed {
    block: Block,
    bytes: Vec<u8>,
    decoded: Decoded,
}

/// What workers are told while they run.
#[derive(Default)]
struct Orders {
    drain: AtomicBool,
    changed: AtomicBool,
    decoder: Mutex<Decoder>,
    ports: Mutex<Vec<(usize, PortSetup, Ring)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the process: `control` is its only way out at first.
///
/// # Errors
/// If it cannot be set up or confined; then nothing was read.
pub fn run(control: &OwnedFd) -> anyhow::Result<()> {
    let Some((ToWatcher::Setup(setup), streams)) = receive(control, true)? else {
        anyhow::bail!("the first word must be how to work");
    };
    let missing = confine::watcher_before_threads()?;
    let orders = Arc::new(Orders::default());
    *lock(&orders.decoder) = Decoder::new(decode_options(&setup, &setup.exclude));
    let (queues, inboxes): (Vec<_>, Vec<_>) =
        (0..setup.workers).map(|_| bounded::<Handed>(HANDED_MAX)).unzip();
    // All threads have come here before the filter, and stand until it holds for each of them.
    let gate = Arc::new(Barrier::new(setup.workers.saturating_add(1)));
    let mut handles = Vec::new();
    for (me, (stream, inbox)) in streams.into_iter().zip(inboxes).enumerate() {
        let worker = Worker::new(me, &setup, stream, inbox, queues.clone(), orders.clone());
        let gate = gate.clone();
        handles.push(std::thread::spawn(move || {
            // A worker that fails ends the process: half a sensor would look whole.
            let bomb = AbortOnPanic;
            gate.wait();
            gate.wait();
            let outcome = worker.run();
            std::mem::forget(bomb);
            outcome
        }));
    }
    drop(queues);
    gate.wait();
    confine::watcher_with_threads()?;
    gate.wait();
    send(control, &OfWatcher::Ready(missing), &[])?;
    listen(control, &setup, &orders)?;
    for handle in handles {
        if let Ok(Err(error)) = handle.join() {
            return Err(error.into());
        }
    }
    Ok(())
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Takes orders until the last one.
fn listen(control: &OwnedFd, setup: &WatcherSetup, orders: &Orders) -> io::Result<()> {
    while let Some((order, fds)) = receive::<ToWatcher>(control, true)? {
        match order {
            ToWatcher::Setup(_) => {}
            ToWatcher::Port(port) => {
                let mut mapped = Vec::new();
                for (worker, fd) in fds.into_iter().enumerate() {
                    let ring = Ring::map(fd, port.ring_bytes).map_err(io::Error::other)?;
                    mapped.push((worker, port.clone(), ring));
                }
                lock(&orders.ports).append(&mut mapped);
                orders.changed.store(true, Ordering::Release);
            }
            ToWatcher::Exclude(exclude) => {
                *lock(&orders.decoder) = Decoder::new(decode_options(setup, &exclude));
                orders.changed.store(true, Ordering::Release);
            }
            ToWatcher::Drain => break,
        }
    }
    orders.drain.store(true, Ordering::Release);
    Ok(())
}

fn decode_options(setup: &WatcherSetup, exclude: &Exclusions) -> DecodeOptions {
    let Exclusions { networks, vlans, macs } = exclude;
    let exclude = Exclude::new(networks, vlans, macs);
    DecodeOptions { hash_seed: setup.seed, exclude, realms: setup.realms.clone() }
}

fn limits_of(setup: &WatcherSetup) -> Limits {
    let [flows, named, bytes, tcp, named_s, unanswered, closed, udp, datagram] = setup.limits;
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        flows_max: size(flows),
        cold_max: size(named),
        stream_bytes_max: size(bytes),
        tcp_idle_s: tcp,
        named_idle_s: named_s,
        unanswered_s: unanswered,
        closed_s: closed,
        udp_idle_s: udp,
        datagram_idle_s: datagram,
        tells_growth: true,
    }
}

/// One thread: its rings, its shards, its stream.
struct Worker {
    me: usize,
    workers: usize,
    deal: Deal,
    source: LiveSource,
    decoder: Decoder,
    stitcher: Stitcher,
    flows: Flows,
    shed: Shed,
    mirror: Mirror,
    decode: BTreeMap<u16, DecodeCounters>,
    handed: (u64, u64),
    outboxes: Vec<Handed>,
    queues: Vec<Queue<Handed>>,
    inbox: Receiver<Handed>,
    orders: Arc<Orders>,
    to: Sender<UnixStream>,
    told: Timestamp,
    pulsed_s: u64,
}

impl Worker {
    fn new(
        me: usize,
        setup: &WatcherSetup,
        stream: OwnedFd,
        inbox: Receiver<Handed>,
        queues: Vec<Queue<Handed>>,
        orders: Arc<Orders>,
    ) -> Self {
        Self {
            me,
            workers: setup.workers,
            deal: setup.deal,
            source: LiveSource::default(),
            decoder: Decoder::new(decode_options(setup, &setup.exclude)),
            stitcher: Stitcher::default(),
            flows: Flows::new(me, setup.workers, limits_of(setup), setup.seed),
            shed: Shed::default(),
            mirror: Mirror::new(&setup.own_networks),
            decode: BTreeMap::new(),
            handed: (0, 0),
            outboxes: (0..setup.workers).map(|_| Handed::default()).collect(),
            queues,
            inbox,
            orders,
            to: Sender::new(UnixStream::from(stream)),
            told: Timestamp::default(),
            pulsed_s: 0,
        }
    }

    fn run(mut self) -> io::Result<()> {
        let (mut block, mut decoded) = (Block::default(), Decoded::default());
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS {
            self.take_orders();
            let draining = self.orders.drain.load(Ordering::Acquire);
            let arrived = self.source.fill(&mut block, WAIT);
            quiet = match arrived {
                Arrived::Nothing if draining => quiet.saturating_add(1),
                _ => 0,
            };
            self.block(&block, &mut decoded)?;
            while let Ok(handed) = self.inbox.try_recv() {
                quiet = 0;
                let batch = self.flows.block(&handed.block, &handed.decoded);
                self.tell(batch)?;
            }
        }
        // The others may still hand something over; who is last has nobody left to wait for.
        self.queues.clear();
        while let Ok(handed) = self.inbox.recv_timeout(WAIT * QUIET_ROUNDS) {
            let batch = self.flows.block(&handed.block, &handed.decoded);
            self.tell(batch)?;
        }
        let end =
            Block { index: block.index.saturating_add(1), now: block.now, ..Block::default() };
        for shard in (self.me..SHARDS).step_by(self.workers.max(1)) {
            let mut over = false;
            while !over {
                let batch;
                (batch, over) = self.flows.finish(shard, &end);
                self.tell(batch)?;
            }
        }
        self.pulse(end.now, true)
    }

    fn take_orders(&mut self) {
        if !self.orders.changed.load(Ordering::Acquire) {
            return;
        }
        self.decoder = lock(&self.orders.decoder).clone();
        let mut ports = lock(&self.orders.ports);
        let mut mine = Vec::new();
        let mut at = 0;
        while at < ports.len() {
            if ports.get(at).is_some_and(|(worker, ..)| *worker == self.me) {
                mine.push(ports.swap_remove(at));
            } else {
                at = at.saturating_add(1);
            }
        }
        drop(ports);
        for (_, port, ring) in mine {
            let filter = port.filter.as_deref().and_then(|f| Filter::new(f).ok());
            self.source.port(port.input, port.link, ring, filter, port.restarted);
        }
    }

    /// One block of our rings, from frames to observations.
    fn block(&mut self, block: &Block, decoded: &mut Decoded) -> io::Result<()> {
        let input = block.frames.first().map_or(0, |f| f.input);
        // Blocks of several ports are decoded as one and counted apart only where it matters.
        let counters = self.decode.entry(input).or_default();
        self.decoder.block(block, decoded, counters);
        if self.workers > 1 {
            for packet in &mut decoded.packets {
                deal(&self.deal, packet);
            }
        }
        self.mirror.note(block, decoded);
        self.stitcher.stitch(block, decoded, &self.decoder, counters);
        if self.workers > 1 {
            self.hand_over(block, decoded);
        }
        let overloaded = !block.frames.is_empty() && self.source.overloaded();
        if overloaded {
            let first =
                |p: &Packet| block.slice(p.chunk, p.payload, 1).first().copied().unwrap_or(0);
            self.shed.sift(decoded, true, first);
        } else {
            self.shed.sift(decoded, false, |_| 0);
        }
        let batch = self.flows.block(block, decoded);
        self.tell(batch)?;
        if block.now.seconds() > self.pulsed_s {
            self.pulsed_s = block.now.seconds();
            self.pulse(block.now, false)?;
        }
        Ok(())
    }

    /// Sends what others own to them, and keeps the rest.
    fn hand_over(&mut self, block: &Block, decoded: &mut Decoded) {
        let mut packets = std::mem::take(&mut decoded.packets);
        let mut neighbors = std::mem::take(&mut decoded.neighbors);
        for packet in &mut packets {
            // Fragments put together were dealt by their addresses; now the ports are known.
            deal(&self.deal, packet);
            let to = owner(packet.hash, self.workers);
            if to != self.me
                && let Some(outbox) = self.outboxes.get_mut(to)
            {
                outbox.packet(block, decoded, packet);
            }
        }
        for neighbor in &neighbors {
            let to = owner(neighbor_hash(neighbor), self.workers);
            if to != self.me
                && let Some(outbox) = self.outboxes.get_mut(to)
            {
                outbox.neighbor(block, neighbor);
            }
        }
        packets.retain(|p| owner(p.hash, self.workers) == self.me);
        neighbors.retain(|n| owner(neighbor_hash(n), self.workers) == self.me);
        (decoded.packets, decoded.neighbors) = (packets, neighbors);
        for (outbox, queue) in self.outboxes.iter_mut().zip(&self.queues) {
            if outbox.block.frames.is_empty() {
                continue;
            }
            let mut handed = std::mem::take(outbox);
            let packets = handed.decoded.packets.len() as u64;
            handed.block.now = block.now;
            handed.block.index = block.index;
            let bytes = std::mem::take(&mut handed.bytes);
            handed.block.chunks.push(Chunk::Read(Arc::new(bytes)));
            // A full queue means that the owner is behind: to wait would lose frames here as well.
            let (fine, lost) = &mut self.handed;
            let count = if queue.try_send(handed).is_ok() { fine } else { lost };
            *count = count.saturating_add(packets);
        }
    }

    fn tell(&mut self, mut batch: Batch) -> io::Result<()> {
        if batch.observations.is_empty()
            && batch.texts.is_empty()
            && batch.counts.is_empty()
            && batch.now.since(self.told) < SILENCE
        {
            return Ok(());
        }
        self.told = batch.now;
        batch.watcher = self.me;
        while batch.observations.len() > OBSERVATIONS_MAX {
            let rest = batch.observations.split_off(OBSERVATIONS_MAX);
            let next = Batch {
                observations: rest,
                texts: Vec::new(),
                counts: Vec::new(),
                watcher: batch.watcher,
                block: batch.block,
                begin: batch.begin,
                now: batch.now,
                input: batch.input,
            };
            self.to.send(&FromWatcher::Batch(std::mem::replace(&mut batch, next)))?;
        }
        self.to.send(&FromWatcher::Batch(batch))
    }

    fn pulse(&mut self, now: Timestamp, last: bool) -> io::Result<()> {
        let counters = &self.flows.counters;
        let mut anomalies: Vec<(String, u64)> =
            counters.anomalies.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        for ((protocol, field, why), count) in &counters.parse_errors {
            anomalies.push((format!("{protocol}: {field} {why:?}").to_lowercase(), *count));
        }
        let pulse = Pulse {
            now,
            lane: self.me as u64,
            cpu_s: cpu_s(),
            ports: self.source.counts(),
            decode: self.decode.iter().map(|(input, c)| (*input, c.to_numbers())).collect(),
            flows: counters.flows,
            flows_open: self.flows.open() as u64,
            flows_evicted: counters.flows_evicted,
            flows_unread: counters.cold_full,
            memory: self.flows.bytes() as u64,
            anomalies,
            caps: counters.caps.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect(),
            shed: (self.shed.packets, self.shed.times),
            handed: self.handed,
            mirror: self.mirror.take(),
            last,
        };
        self.to.send(&FromWatcher::Pulse(Box::new(pulse)))
    }
}

/// CPU seconds of this thread.
fn cpu_s() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Puts the shard that the dealing hash names into the upper bits of the packet's hash.
fn deal(deal: &Deal, packet: &mut Packet) {
    const SHARD: u32 = 60;
    let ports = packet.key.protocol == 6 || packet.key.protocol == 17;
    let shard = u64::from(deal.shard(&packet.key, ports));
    packet.hash = packet.hash & (u64::MAX >> 4) | shard << SHARD;
}

impl Handed {
    fn packet(&mut self, block: &Block, decoded: &Decoded, packet: &Packet) {
        let Some(frame) = block.frames.get(packet.frame as usize) else { return };
        let number = self.frame(block, frame);
        let payload = decoded.payload(block, packet);
        let at = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(payload);
        self.decoded.packets.push(Packet { frame: number, chunk: 0, payload: at, ..*packet });
    }

    fn neighbor(&mut self, block: &Block, neighbor: &Neighbor) {
        let Some(frame) = block.frames.get(neighbor.frame as usize) else { return };
        let number = self.frame(block, frame);
        self.decoded.neighbors.push(Neighbor { frame: number, ..*neighbor });
    }

    /// Copies what flows look at of a frame beside its packet: the MACs.
    fn frame(&mut self, block: &Block, frame: &Frame) -> u32 {
        let head = block.slice(frame.chunk, frame.offset, frame.captured.min(LINK));
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(head);
        let captured = u32::try_from(head.len()).unwrap_or(0);
        let number = u32::try_from(self.block.frames.len()).unwrap_or(u32::MAX);
        self.block.frames.push(Frame { chunk: 0, offset, captured, ..*frame });
        number
    }
}
