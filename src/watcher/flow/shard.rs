//! One logical shard: a sixteenth of all flows, and what its packets do to them.
//!
//! In: packets of this shard in the order of the run, and the passing of time.
//! Out: observations. Never: depends on which thread runs it, or on any other shard, so that the
//! output is the same for any number of watchers; that is why the caps live here.
//! Limits: [`Limits`].

use std::collections::HashMap;
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::cold::{Cold, Slab, sets_up};
use super::counters::FlowCounters;
use super::emit::{self, Event, Naming, Sender};
use super::readers::{Reader, Readers, SPARED_MAX};
use super::table::{Entry, Hot, Key, Key4, Key6, NO_COLD, Table, flag};
use super::texts::Texts;
use super::work::{Outcome, Work};
use crate::observation::{
    Delta, Fact, FlowRef, FlowState, NameSource, Observation, Order, QuicId, TextId,
};
use crate::types::{Direction, MacAddr, Realm, Timestamp};
use crate::watcher::packet::{Block, Decoded, FlowKey, Frame, Neighbor, Packet, tcp_flags};
use crate::watcher::protocol::parser::{self, Verdict};
use crate::watcher::protocol::{Metadata, Protocol, quic, tunnel};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// LINKTYPE_ETHERNET: the link whose frames begin with two MAC addresses.
const ETHERNET: u16 = 1;

/// Where QUIC servers listen, nearly all of them: elsewhere a first octet is too little to go by.
const QUIC_PORT: u16 = 443;

/// Payload packets of a flow that the probe looks at: a banner, a greeting and the first words
/// of each side; what has not spoken by then never does.
const PROBES_MAX: u8 = 6;

/// Octets of a client among which a second hello may follow, as after a retry.
const RETRY_BYTES_MAX: u32 = 16 << 10;

/// Octets of a record with the shortest hello that can be (RFC 8446 §4.1.2, §5.1).
const HELLO_MIN: u32 = 47;

/// A sequence number further ahead than this is a new beginning, not a loss: more than any
/// receive window in use.
const JUMP_MAX: u32 = 64 << 20;

/// Receive window that common systems open by themselves.
const WINDOW_COMMON: u32 = 4 << 20;

/// Slots looked at a second are the table's size over this: each flow is seen every 16 s.
const SWEEP_ROUND_S: u64 = 16;

/// Flows that end together when the run is over: what they say stays in the core's cache until
/// it is recorded.
const FINISH_FLOWS: usize = 1024;

/// Slots ahead whose cold record is fetched when all flows end.
const FINISH_AHEAD: usize = 24;

/// Addresses whose MAC was told already, to tell each once in ten minutes.
const NEIGHBORS_MAX: usize = 4_096;

/// Seconds after which a known neighbour is told again.
const NEIGHBOR_REPEAT_S: u64 = 600;

/// Caps of one shard, and seconds of silence after which a flow is over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows of one address family.
    pub flows_max: usize,
    /// Flows being read or named at once.
    pub cold_max: usize,
    /// Bytes that streams may hold.
    pub stream_bytes_max: usize,
    /// TCP without a name.
    pub tcp_idle_s: u64,
    /// TCP with a name: long pauses are normal between two prompts.
    pub named_idle_s: u64,
    /// TCP that nobody answered.
    pub unanswered_s: u64,
    /// TCP after FIN or RST.
    pub closed_s: u64,
    /// UDP.
    pub udp_idle_s: u64,
    /// UDP of one question and one answer (DNS, DHCP).
    pub datagram_idle_s: u64,
    /// Flows with a name tell each second that they grew, not each minute: live, an alert waits
    /// for it.
    pub tells_growth: bool,
}

impl Limits {
    /// Limits for `flows` flows in all shards together.
    pub fn of(flows: usize) -> Self {
        let each = flows / super::SHARDS;
        Self {
            flows_max: each,
            cold_max: each,
            stream_bytes_max: 16 << 20,
            tcp_idle_s: 600,
            named_idle_s: 3_600,
            unanswered_s: 60,
            closed_s: 10,
            udp_idle_s: 180,
            datagram_idle_s: 15,
            tells_growth: false,
        }
    }
}

/// Where a shard puts what it has to say.
pub struct Outlet<'o> {
    /// Interner of the watcher.
    pub texts: &'o mut Texts,
    /// Observations of this batch.
    pub observations: &'o mut Vec<Observation>,
    /// Counters of the watcher.
    pub counters: &'o mut FlowCounters,
    /// Frame of the block being handled, for what has no packet of its own.
    pub at_frame: u32,
}

/// One shard.
pub struct Shard {
    v4: Table<Key4>,
    v6: Table<Key6>,
    rest: Rest,
}

/// Everything of a shard but the tables, so that a table and this can be borrowed at once.
struct Rest {
    index: u8,
    limits: Limits,
    cold: Slab,
    born: u32,
    stream_bytes: usize,
    swept_s: u64,
    #[expect(clippy::vec_box, reason = "the boxes go in and out as they are; that is the point")]
    works: Vec<Box<Work>>,
    events: Vec<Event>,
    neighbors: HashMap<(Realm, IpAddr), (MacAddr, u64), RandomState>,
    /// Flows with a name that grew since they told, with their hashes; each stands here once.
    grown: Vec<(FlowKey, u64)>,
    /// Flows being read, oldest first, and how many there ever were.
    readers: Readers,
    readings: u32,
}

/// A packet with everything that goes with it. Its bytes are looked for only if somebody reads
/// them, which is one packet in ten.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// Its frame.
    pub frame: &'a Frame,
    /// The block of the frame.
    pub block: &'a Block,
    /// What decoding made of the block.
    pub decoded: &'a Decoded,
    /// Minute of sensor time, and the time within it.
    pub minute: (u32, Timestamp),
    /// Second within it.
    pub second: u8,
}

/// Where in the run something was said.
#[derive(Clone, Copy)]
struct Moment {
    frame: u32,
    input: u16,
    number: u64,
    now: Timestamp,
}

impl<'a> Arrival<'a> {
    /// Captured payload.
    fn payload(&self) -> &'a [u8] {
        self.decoded.payload(self.block, self.packet)
    }

    /// The client's end as this packet shows it: its link address, zero if the link has none, and
    /// the TTL if the packet is the client's own.
    fn client(&self, from: Direction) -> Sender {
        let ttl = if from == Direction::Up { self.packet.ttl } else { 0 };
        if self.frame.link != ETHERNET {
            return Sender { mac: MacAddr::default(), ttl };
        }
        let mac = match (self.block.bytes(self.frame), from) {
            (&[_, _, _, _, _, _, a, b, c, d, e, f, ..], Direction::Up)
            | (&[a, b, c, d, e, f, ..], Direction::Down) => MacAddr([a, b, c, d, e, f]),
            _ => MacAddr::default(),
        };
        Sender { mac, ttl }
    }

    fn moment(&self) -> Moment {
        let frame = self.frame;
        Moment {
            frame: self.packet.frame,
            input: frame.input,
            number: frame.number,
            now: frame.now,
        }
    }
}

impl Shard {
    /// An empty shard; `seed` is that of the packets' hashes.
    pub fn new(index: u8, limits: Limits, seed: u64) -> Self {
        Self {
            v4: Table::new(limits.flows_max, seed),
            v6: Table::new(limits.flows_max, seed),
            rest: Rest {
                index,
                limits,
                cold: Slab::default(),
                born: 0,
                stream_bytes: 0,
                swept_s: 0,
                works: Vec::new(),
                events: Vec::new(),
                neighbors: HashMap::default(),
                grown: Vec::new(),
                readers: Readers::default(),
                readings: 0,
            },
        }
    }

    /// Flows now in the tables.
    pub fn flows(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len())
    }

    /// Bytes of the tables and of what streams hold.
    pub fn bytes(&self) -> usize {
        let cold = self.rest.cold.len().saturating_mul(size_of::<Cold>());
        let tables = self.v4.bytes().saturating_add(self.v6.bytes());
        tables.saturating_add(cold).saturating_add(self.rest.stream_bytes)
    }

    /// Fetches the line of a packet that comes soon.
    #[inline]
    pub fn prefetch(&self, packet: &Packet) {
        if packet.key.v6 {
            self.v6.prefetch(packet.hash);
        } else {
            self.v4.prefetch(packet.hash);
        }
    }

    /// Fetches the second line of a packet that comes very soon, if it needs one.
    #[inline]
    pub fn prefetch_next(&self, packet: &Packet) {
        if packet.key.v6 {
            self.v6.prefetch_next(&Key6::pack(&packet.key), packet.hash);
        } else {
            self.v4.prefetch_next(&Key4::pack(&packet.key), packet.hash);
        }
    }

    /// Counts a packet and lets its flow's parser read it.
    #[inline]
    pub fn packet(&mut self, arrival: &Arrival<'_>, out: &mut Outlet<'_>) {
        if arrival.packet.key.v6 {
            self.rest.packet(&mut self.v6, arrival, out);
        } else {
            self.rest.packet(&mut self.v4, arrival, out);
        }
        if self.rest.stream_bytes > self.rest.limits.stream_bytes_max || self.rest.readers.is_long()
        {
            self.relieve(out);
        }
    }

    /// Bytes of streams are at their cap: the oldest flows are not read any longer.
    #[cold]
    fn relieve(&mut self, out: &mut Outlet<'_>) {
        if self.rest.readers.is_long() {
            self.clean_readers();
        }
        let mut spares = SPARED_MAX;
        while self.rest.stream_bytes > self.rest.limits.stream_bytes_max
            && let Some(reader) = self.rest.readers.pop()
        {
            let gone = if reader.key.v6 {
                self.rest.give_up(&mut self.v6, &reader, spares > 0, out)
            } else {
                self.rest.give_up(&mut self.v4, &reader, spares > 0, out)
            };
            if gone {
                spares = SPARED_MAX;
            } else {
                spares = spares.saturating_sub(1);
                self.rest.readers.push(reader);
            }
        }
    }

    /// Forgets readers that are through.
    fn clean_readers(&mut self) {
        let Self { v4, v6, rest } = self;
        let Rest { readers, cold, .. } = rest;
        readers.clean(|r| {
            let record = match r.key.v6 {
                true => v6.find(&Key6::pack(&r.key), r.hash).map(|i| v6.cold_at(i)),
                false => v4.find(&Key4::pack(&r.key), r.hash).map(|i| v4.cold_at(i)),
            };
            let work = record.and_then(|c| cold.get(c)).and_then(|c| c.work.as_ref());
            work.is_some_and(|w| w.reading == r.reading)
        });
    }

    /// Tells who owns an address, unless it was told lately.
    pub fn neighbor(&mut self, neighbor: &Neighbor, frame: &Frame, out: &mut Outlet<'_>) {
        self.rest.neighbor(neighbor, frame, out);
    }

    /// Time passes: flows that fell silent end, old counts are told.
    pub fn tick(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        let now_s = now.seconds();
        let passed = now_s.saturating_sub(self.rest.swept_s);
        if passed == 0 {
            return;
        }
        self.rest.swept_s = now_s;
        for (key, hash) in std::mem::take(&mut self.rest.grown) {
            if key.v6 {
                self.rest.tell_growth(&mut self.v6, &key, hash, out);
            } else {
                self.rest.tell_growth(&mut self.v4, &key, hash, out);
            }
        }
        self.rest.sweep(&mut self.v4, passed, now_s, out);
        self.rest.sweep(&mut self.v6, passed, now_s, out);
    }

    /// The run is over: flows tell what they have and end, up to [`FINISH_FLOWS`] of them a call.
    /// `true` once all have.
    pub fn finish(&mut self, out: &mut Outlet<'_>) -> bool {
        let mut room = FINISH_FLOWS;
        let over = self.rest.finish(&mut self.v4, &mut room, out)
            && self.rest.finish(&mut self.v6, &mut room, out);
        if over {
            self.rest.neighbors.clear();
            self.rest.grown.clear();
            self.rest.readers.clear();
        }
        over
    }
}

impl Rest {
    #[inline]
    fn packet<K: Key>(
        &mut self,
        table: &mut Table<K>,
        arrival: &Arrival<'_>,
        out: &mut Outlet<'_>,
    ) {
        let Arrival { packet, frame, .. } = *arrival;
        let key = K::pack(&packet.key);
        let mut index = self.enter(table, &key, arrival, out);
        let restarts = table.slot(index).is_some_and(|s| restarts(&s.hot, packet));
        if restarts {
            self.close(table, index, out);
            index = self.enter(table, &key, arrival, out);
        }
        let Some(slot) = table.slot(index) else { return };
        let side = usize::from(packet.from_hi);
        let hot = &mut slot.hot;
        let (minute, in_minute) = arrival.minute;
        if hot.minute != minute || hot.input != frame.input || full(hot, side, packet) {
            self.flush(&slot.key, hot, 0, out);
            hot.minute = minute;
            hot.input = frame.input;
        }
        hot.set_last(in_minute, arrival.second);
        hot.last_frame = low_half(frame.number);
        let opening = opening(hot, side, packet);
        let fresh = account(hot, side, packet);
        let again = fresh == 0 && packet.payload_wire > 0;
        note_state(hot, side, packet);
        let known = hot.cold != NO_COLD;
        if known
            && self.limits.tells_growth
            && let Some(cold) = self.cold.get(hot.cold)
            && !cold.grown
            && !cold.name.is_none()
        {
            cold.grown = true;
            self.grown.push((packet.key, packet.hash));
        }
        if known
            && packet.key.protocol == UDP
            && sets_up(hot, packet, arrival.payload())
            && let Some(cold) = self.cold.get(hot.cold)
        {
            cold.count_set_up(hot, packet, arrival.payload());
        }
        let reading = hot.flags & (flag::READING | flag::DATAGRAMS) != 0;
        if reading && (packet.payload_wire > 0 || known) {
            self.read(slot, arrival, opening, out);
        }
        if again {
            out.counters.repeated = out.counters.repeated.wrapping_add(1);
            if packet.key.protocol == TCP {
                self.again(slot, arrival, out);
            }
        } else if early(&slot.hot, packet) && is_hello(arrival.payload()) {
            self.other_hello(slot, arrival, Beside::Behind, out);
        }
        let hot = &mut slot.hot;
        if hot.quiet() {
            hot.set_first(in_minute);
        }
        if let Some(b) = hot.bytes.get_mut(side) {
            *b = b.saturating_add(fresh);
        }
        hot.hear(side);
    }

    #[inline]
    fn enter<K: Key>(
        &mut self,
        table: &mut Table<K>,
        key: &K,
        arrival: &Arrival<'_>,
        out: &mut Outlet<'_>,
    ) -> usize {
        loop {
            match table.enter(key, arrival.packet.hash) {
                Entry::Known(index) => return index,
                Entry::New(index) => {
                    if let Some(slot) = table.slot(index) {
                        self.born = self.born.wrapping_add(1);
                        begin(&mut slot.hot, self.born, arrival);
                        out.counters.flows = out.counters.flows.saturating_add(1);
                    }
                    return index;
                }
                Entry::Full(victim) => {
                    out.counters.flows_evicted = out.counters.flows_evicted.saturating_add(1);
                    out.counters.cover("cap_flows_evicted");
                    self.close(table, victim, out);
                }
            }
        }
    }

    /// A flow with a name says what it counted.
    fn tell_growth<K: Key>(
        &mut self,
        table: &mut Table<K>,
        key: &FlowKey,
        hash: u64,
        out: &mut Outlet<'_>,
    ) {
        let Some(index) = table.find(&K::pack(key), hash) else { return };
        let Some(slot) = table.slot(index) else { return };
        if let Some(cold) = self.cold.get(slot.hot.cold) {
            cold.grown = false;
        }
        self.flush(&slot.key, &mut slot.hot, 0, out);
    }

    /// Lets somebody read the packet: its parser, or whoever the probe finds.
    fn read<K: Key>(
        &mut self,
        slot: &mut super::table::Slot<K>,
        arrival: &Arrival<'_>,
        opening: Opening,
        out: &mut Outlet<'_>,
    ) {
        let (packet, payload) = (arrival.packet, arrival.payload());
        let hot = &mut slot.hot;
        let mut work = self.cold.get(hot.cold).and_then(|c| c.work.take());
        if work.is_none() {
            if hot.has(flag::DATAGRAMS) {
                self.datagram(&slot.key, hot, arrival, out);
                return;
            }
            work = self.probe(hot, arrival, payload, opening, out);
        }
        let Some(mut work) = work else {
            return self.apply(&slot.key, hot, arrival.moment(), out);
        };
        let from = direction(hot, packet);
        self.stream_bytes = self.stream_bytes.saturating_sub(work.memory());
        let sender = arrival.client(from);
        let (events, texts) = (&mut self.events, &mut *out.texts);
        let mut sink = |m: Metadata<'_>| events.push(emit::event(texts, sender, &m));
        let mut outcome = if packet.key.protocol == TCP {
            work.segment(from, packet, payload, &mut sink)
        } else {
            work.datagram(from, payload, &mut sink)
        };
        self.apply(&slot.key, hot, arrival.moment(), out);
        let Some(cold) = self.cold.get(hot.cold) else { return };
        if work.gap {
            cold.state |= FlowState::GAP;
        }
        if work.conflict() {
            cold.state |= FlowState::CONFLICT;
        }
        let named = cold.source == NameSource::Sni && !cold.name.is_none();
        if outcome == Outcome::Going && named && matches!(work.parser, parser::Parser::Tls(_)) {
            outcome = Outcome::Done;
        }
        let memory = work.memory();
        if outcome == Outcome::Going {
            self.stream_bytes = self.stream_bytes.saturating_add(memory);
            cold.work = Some(work);
            return;
        }
        out.counters.ended(&work, outcome);
        hot.flags &= !flag::READING;
        work.over = true;
        cold.work = Some(work);
        self.stream_bytes = self.stream_bytes.saturating_add(memory);
        if outcome == Outcome::Done {
            self.drop_work(hot);
        } else {
            self.last_words(&slot.key, hot, out);
        }
        self.settle(hot, out);
    }

    /// A segment brought nothing new.
    #[inline(never)]
    fn again<K: Key>(
        &mut self,
        slot: &mut super::table::Slot<K>,
        arrival: &Arrival<'_>,
        out: &mut Outlet<'_>,
    ) {
        let hot = &mut slot.hot;
        if hot.cold == NO_COLD && hot.probes >= PROBES_MAX {
            // Nobody was recognised, perhaps because bytes that no receiver took came first.
            hot.flags |= flag::READING;
            return self.read(slot, arrival, Opening::Plain, out);
        }
        if is_hello(arrival.payload()) {
            self.other_hello(slot, arrival, Beside::Copy, out);
        }
    }

    /// A hello beside the one that was read. If it names somebody else it is told too: of two copies
    /// nobody knows which the server took, and behind a retry the second counts.
    fn other_hello<K: Key>(
        &mut self,
        slot: &mut super::table::Slot<K>,
        arrival: &Arrival<'_>,
        place: Beside,
        out: &mut Outlet<'_>,
    ) {
        let (packet, payload) = (arrival.packet, arrival.payload());
        let hot = &mut slot.hot;
        let read = |c: &&mut Cold| c.work.is_none() && c.name_frame != arrival.frame.number;
        let name = self.cold.get(hot.cold).filter(read).map(|c| c.name);
        let Some(name) = name.filter(|n| !n.is_none()) else { return };
        let from = direction(hot, packet);
        let mut work = Work::new(Some(Protocol::Tls), 0);
        let sender = arrival.client(from);
        let (events, texts) = (&mut self.events, &mut *out.texts);
        let mut sink = |m: Metadata<'_>| events.push(emit::event(texts, sender, &m));
        work.segment(from, packet, payload, &mut sink);
        work.end(&mut sink);
        let other = |e: &Event| e.naming.is_some_and(|n| !n.name.is_none() && n.name != name);
        self.events.retain(other);
        if self.events.is_empty() {
            return;
        }
        if place == Beside::Copy {
            for event in &mut self.events {
                event.naming = None;
            }
            out.counters.anomaly("hellos_conflicting");
            if let Some(cold) = self.cold.get(hot.cold) {
                cold.state |= FlowState::CONFLICT;
            }
        }
        self.apply(&slot.key, hot, arrival.moment(), out);
    }

    /// Reading this flow ends because the bytes of all are at their cap; `false` if it works and is
    /// to be spared.
    fn give_up<K: Key>(
        &mut self,
        table: &mut Table<K>,
        reader: &Reader,
        spare: bool,
        out: &mut Outlet<'_>,
    ) -> bool {
        let Some(index) = table.find(&K::pack(&reader.key), reader.hash) else { return true };
        let Some(slot) = table.slot(index) else { return true };
        let work = self.cold.get(slot.hot.cold).and_then(|c| c.work.as_ref());
        let Some(work) = work.filter(|w| w.reading == reader.reading) else { return true };
        if spare && work.works() {
            return false;
        }
        out.counters.ended(work, Outcome::Cap("stream_bytes"));
        slot.hot.flags &= !flag::READING;
        self.last_words(&slot.key, &mut slot.hot, out);
        self.settle(&mut slot.hot, out);
        true
    }

    fn drop_work(&mut self, hot: &Hot) {
        if let Some(work) = self.cold.get(hot.cold).and_then(|c| c.work.take()) {
            self.stream_bytes = self.stream_bytes.saturating_sub(work.memory());
            self.retire(work);
        }
    }

    /// Keeps the allocation of a finished reader for the next flow, but nothing that it held.
    fn retire(&mut self, mut work: Box<Work>) {
        const SPARE: usize = 64;
        if self.works.len() < SPARE {
            work.forget();
            self.works.push(work);
        }
    }

    /// A flow that is neither read nor named needs no cold record.
    fn settle(&mut self, hot: &mut Hot, out: &mut Outlet<'_>) {
        let empty = self
            .cold
            .get(hot.cold)
            .is_some_and(|c| c.work.is_none() && !c.says_something() && c.state == 0);
        if empty {
            self.drop_cold(hot, out);
        }
    }

    fn drop_cold(&mut self, hot: &mut Hot, out: &mut Outlet<'_>) {
        if let Some(cold) = self.cold.remove(hot.cold) {
            for id in [cold.name, cold.ja4, cold.user_agent] {
                out.texts.release(id);
            }
            if let Some(work) = cold.work {
                self.stream_bytes = self.stream_bytes.saturating_sub(work.memory());
                self.retire(work);
            }
        }
        hot.cold = NO_COLD;
    }

    /// A protocol without memory: each datagram for itself.
    fn datagram<K: Key>(
        &mut self,
        key: &K,
        hot: &mut Hot,
        arrival: &Arrival<'_>,
        out: &mut Outlet<'_>,
    ) {
        let (packet, payload) = (arrival.packet, arrival.payload());
        let (client, server) = ports(hot, packet);
        let Some(protocol) = parser::datagram_protocol(client, server) else { return };
        let first = hot.quiet() && !hot.has(flag::REPORTED);
        if protocol == Protocol::Dns && first {
            dns_roles(hot, packet, payload);
        }
        let from = direction(hot, packet);
        let sender = arrival.client(from);
        let (events, texts) = (&mut self.events, &mut *out.texts);
        let mut sink = |m: Metadata<'_>| events.push(emit::event(texts, sender, &m));
        let then = parser::datagram(protocol, from, payload, &mut sink);
        if let crate::watcher::protocol::Then::NotThis(error) = then {
            out.counters.parse_error(protocol_word(protocol), error);
        }
        self.apply(key, hot, arrival.moment(), out);
    }

    /// Asks who speaks here; a reader for it, or `None`.
    fn probe(
        &mut self,
        hot: &mut Hot,
        arrival: &Arrival<'_>,
        payload: &[u8],
        opening: Opening,
        out: &mut Outlet<'_>,
    ) -> Option<Box<Work>> {
        let Arrival { packet, frame, .. } = *arrival;
        if payload.is_empty() || opening == Opening::Probe {
            return None;
        }
        hot.probes = hot.probes.saturating_add(1);
        let from = direction(hot, packet);
        let (_, port) = ports(hot, packet);
        let found = match packet.key.protocol {
            // Out of order: what comes first in the stream decides.
            TCP if matches!(opening, Opening::Ahead(_)) => Some((None, from)),
            TCP => match parser::probe(from, payload, port) {
                Verdict::Is(protocol, speaker) => Some((Some(protocol), speaker)),
                Verdict::Undecided => Some((None, from)),
                Verdict::Nobody => None,
            },
            _ => parser::probe_datagram([packet.key.lo_port, packet.key.hi_port], payload)
                .map(|(protocol, speaker)| (Some(protocol), speaker)),
        };
        let Some((protocol, speaker)) = found else {
            hot.set_tunnel(tunnel_number(packet, payload));
            let first = hot.quiet() && !hot.has(flag::REPORTED);
            if packet.key.protocol == UDP
                && port == QUIC_PORT
                && first
                && from == Direction::Up
                && let Some(id) = quic::short(payload)
            {
                let fact = Some(Fact::QuicMoved(QuicId::new(id)));
                self.events.push(Event { fact, naming: None, anomaly: None });
            }
            if hot.probes >= PROBES_MAX || hot.tunnel() != 0 {
                hot.flags &= !flag::READING;
            }
            return None;
        };
        if self.cold.len() >= self.limits.cold_max {
            hot.flags &= !flag::READING;
            out.counters.cold_full = out.counters.cold_full.saturating_add(1);
            out.counters.cover("cap_flows_unread");
            return None;
        }
        if speaker != from {
            hot.flags ^= flag::CLIENT_HI;
        }
        let mut work = self.works.pop().unwrap_or_else(|| Box::new(Work::new(None, 0)));
        *work = Work::new(protocol, port);
        self.stream_bytes = self.stream_bytes.saturating_add(work.memory());
        if packet.key.protocol == TCP {
            let client_hi = usize::from(hot.has(flag::CLIENT_HI));
            let me = usize::from(packet.from_hi);
            if let Opening::Ahead(first) = opening {
                work.begin(direction(hot, packet), first);
            }
            // Where the other side stands, if that is known: from its SYN or its payload. An
            // acknowledgment alone may have overtaken what it stands behind.
            let other = me ^ 1;
            let placed = !hot.has(flag::MIDSTREAM) || hot.has(flag::PAYLOAD << other);
            if placed && hot.flags & (flag::SEQ_KNOWN << other) != 0 {
                let direction = if other == client_hi { Direction::Up } else { Direction::Down };
                work.begin(direction, hot.next_seq.get(other).copied().unwrap_or(0));
            }
        }
        let mac = arrival.client(direction(hot, packet)).mac;
        let mut cold = Cold::new(frame.now, frame.number, mac);
        cold.count_set_up(hot, packet, payload);
        hot.cold = self.cold.insert(cold);
        self.readings = self.readings.wrapping_add(1);
        work.reading = self.readings;
        let reader = Reader { key: packet.key, hash: packet.hash, reading: work.reading };
        self.readers.push(reader);
        Some(work)
    }

    /// Acts on what the parser said: names the flow, sends the facts.
    fn apply<K: Key>(&mut self, key: &K, hot: &mut Hot, at: Moment, out: &mut Outlet<'_>) {
        if self.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            if let Some(what) = event.anomaly {
                out.counters.anomaly(what);
            }
            if let Some(naming) = event.naming {
                self.name(key, hot, &naming, at, out);
            }
            if let Some(mut fact) = event.fact {
                if let Fact::QuicServerId { name, .. } = &mut fact {
                    *name = self.cold.get(hot.cold).map_or(TextId::NONE, |c| c.name);
                }
                out.observations.push(Observation {
                    order: Order { frame: at.frame, shard: self.index },
                    input: at.input,
                    frame_number: at.number,
                    time: at.now,
                    flow: flow_ref(key, hot, self.index),
                    fact,
                });
            }
        }
        self.events = events;
    }

    /// The flow has a name from here on; bytes so far belong to the name before.
    fn name<K: Key>(
        &mut self,
        key: &K,
        hot: &mut Hot,
        naming: &Naming,
        at: Moment,
        out: &mut Outlet<'_>,
    ) {
        let Some(cold) = self.cold.get(hot.cold) else { return };
        let had = cold.name;
        let certificate_late = naming.source == NameSource::Certificate && !had.is_none();
        let changes = !naming.name.is_none() && naming.name != had && !certificate_late;
        if changes && !had.is_none() {
            if naming.multiplexed && cold.source == NameSource::Authority {
                cold.state |= FlowState::SHARED;
            }
            self.flush(key, hot, 0, out);
        }
        let Some(cold) = self.cold.get(hot.cold) else { return };
        if changes {
            out.texts.release(cold.name);
            cold.name = out.texts.keep(naming.name);
            cold.source = naming.source;
            cold.name_frame = at.number;
        }
        if matches!(naming.source, NameSource::Connect | NameSource::Socks) {
            cold.state |= FlowState::PROXIED;
        }
        if !naming.ja4.is_none() && naming.ja4 != cold.ja4 {
            out.texts.release(cold.ja4);
            cold.ja4 = out.texts.keep(naming.ja4);
        }
        if !naming.user_agent.is_none() && naming.user_agent != cold.user_agent {
            out.texts.release(cold.user_agent);
            cold.user_agent = out.texts.keep(naming.user_agent);
        }
        if naming.source != NameSource::QuicSni {
            cold.hello_bytes = cold.hello_bytes.max(naming.hello_bytes);
        }
    }

    /// Sends the bytes counted so far, if there are any or the flow is over.
    fn flush<K: Key>(&mut self, key: &K, hot: &mut Hot, more_state: u16, out: &mut Outlet<'_>) {
        if hot.quiet() && more_state & FlowState::LAST == 0 {
            return;
        }
        let client = usize::from(hot.has(flag::CLIENT_HI));
        let server = client ^ 1;
        let pick = |pair: [u32; 2], side: usize| pair.get(side).copied().unwrap_or(0);
        let [first, last] = hot.span();
        let to_second = |t: Timestamp| Timestamp(t.seconds().saturating_mul(Timestamp::SECOND));
        let mut state = more_state | FlowState::of_tunnel(hot.tunnel());
        for (bit, set) in [
            (FlowState::ONE_SIDED, one_sided(hot)),
            (FlowState::FIRST, !hot.has(flag::REPORTED)),
            (FlowState::ANSWERED, hot.has(flag::ANSWERED)),
            (FlowState::MIDSTREAM, hot.has(flag::MIDSTREAM)),
            (FlowState::GAP, hot.has(flag::GAP)),
        ] {
            if set {
                state |= bit;
            }
        }
        let mut delta = Delta {
            up: u64::from(pick(hot.bytes, client)),
            down: u64::from(pick(hot.bytes, server)),
            next_seq: [pick(hot.next_seq, client), pick(hot.next_seq, server)],
            heard: [hot.heard(client), hot.heard(server)],
            first: to_second(first),
            last: to_second(last),
            state: FlowState(state),
            ..Delta::default()
        };
        let mut frame_number = 0;
        if let Some(cold) = self.cold.get(hot.cold) {
            delta.first = first.max(cold.begun);
            delta.last = last;
            delta.name = cold.name;
            delta.source = (cold.source != NameSource::None).then_some(cold.source);
            delta.ja4 = cold.ja4;
            delta.user_agent = cold.user_agent;
            delta.first_frame = cold.first_frame;
            delta.name_frame = cold.name_frame;
            delta.last_frame = cold.last_frame(hot.last_frame);
            delta.hello_bytes = cold.hello_bytes;
            delta.state.0 |= cold.state;
            frame_number = delta.last_frame;
        }
        out.observations.push(Observation {
            order: Order { frame: out.at_frame, shard: self.index },
            input: hot.input,
            frame_number,
            time: delta.last,
            flow: flow_ref(key, hot, self.index),
            fact: Fact::Delta(delta),
        });
        hot.flags |= flag::REPORTED;
        hot.bytes = [0; 2];
        hot.hush();
    }

    /// Ends the flow at `index`.
    fn close<K: Key>(&mut self, table: &mut Table<K>, index: usize, out: &mut Outlet<'_>) {
        let Some(slot) = table.slot(index) else { return };
        self.last_words(&slot.key, &mut slot.hot, out);
        self.flush(&slot.key, &mut slot.hot, FlowState::LAST, out);
        self.drop_cold(&mut slot.hot, out);
        table.remove(index);
    }

    /// A flow ends while it is read: what its streams hold is all there is.
    fn last_words<K: Key>(&mut self, key: &K, hot: &mut Hot, out: &mut Outlet<'_>) {
        let Some(cold) = self.cold.get(hot.cold) else { return };
        let Some(mut work) = cold.work.take() else { return };
        let (sender, number) = (Sender { mac: cold.mac, ttl: 0 }, cold.last_frame(hot.last_frame));
        let [_, now] = hot.span();
        self.stream_bytes = self.stream_bytes.saturating_sub(work.memory());
        let waits = work.waits();
        let (events, texts) = (&mut self.events, &mut *out.texts);
        work.end(&mut |m: Metadata<'_>| events.push(emit::event(texts, sender, &m)));
        let at = Moment { frame: out.at_frame, input: hot.input, number, now };
        self.apply(key, hot, at, out);
        if let Some(cold) = self.cold.get(hot.cold)
            && waits
            && cold.name.is_none()
        {
            cold.state |= FlowState::HELLO_INCOMPLETE;
        }
        self.retire(work);
    }

    fn sweep<K: Key>(
        &mut self,
        table: &mut Table<K>,
        passed_s: u64,
        now_s: u64,
        out: &mut Outlet<'_>,
    ) {
        let share = passed_s.min(SWEEP_ROUND_S);
        let slots = (table.capacity() as u64).saturating_mul(share).div_ceil(SWEEP_ROUND_S);
        let mut slots = usize::try_from(slots).unwrap_or(usize::MAX).min(table.capacity());
        let minute = u32::try_from(now_s / 60).unwrap_or(u32::MAX);
        let limits = self.limits;
        let stale = |hot: &mut Hot| {
            let idle = now_s.saturating_sub(hot.last_seen_s());
            idle > idle_max(&limits, hot) || (hot.minute < minute && !hot.quiet())
        };
        while let Some(index) = table.sweep(&mut slots, stale) {
            let Some(slot) = table.slot(index) else { break };
            let idle = now_s.saturating_sub(slot.hot.last_seen_s());
            if idle > idle_max(&limits, &slot.hot) {
                self.close(table, index, out);
            } else {
                self.flush(&slot.key, &mut slot.hot, 0, out);
            }
        }
        table.shrink();
    }

    fn finish<K: Key>(
        &mut self,
        table: &mut Table<K>,
        room: &mut usize,
        out: &mut Outlet<'_>,
    ) -> bool {
        while let Some(less) = room.checked_sub(1) {
            let Some(index) = table.next_used() else {
                *table = Table::new(self.limits.flows_max, table.seed());
                return true;
            };
            *room = less;
            // The table is read in order, its records are not.
            self.cold.prefetch(table.cold_at(index.saturating_add(FINISH_AHEAD)));
            let soon = table.cold_at(index.saturating_add(FINISH_AHEAD / 2));
            if let Some(cold) = self.cold.get(soon) {
                out.texts.prefetch(cold.name);
            }
            let Some(slot) = table.slot(index) else { continue };
            // Closed ones too: a last alert may come after the FIN.
            let last = FlowState::LAST | FlowState::OPEN;
            self.last_words(&slot.key, &mut slot.hot, out);
            self.flush(&slot.key, &mut slot.hot, last, out);
            self.drop_cold(&mut slot.hot, out);
            slot.hot = Hot::default();
        }
        false
    }

    fn neighbor(&mut self, neighbor: &Neighbor, frame: &Frame, out: &mut Outlet<'_>) {
        let now_s = frame.now.seconds();
        let key = (neighbor.realm, neighbor.addr);
        if let Some((mac, told_s)) = self.neighbors.get(&key)
            && *mac == neighbor.mac
            && now_s.saturating_sub(*told_s) < NEIGHBOR_REPEAT_S
        {
            return;
        }
        if self.neighbors.len() >= NEIGHBORS_MAX {
            out.counters.anomaly("neighbors_full");
            self.neighbors.clear();
        }
        self.neighbors.insert(key, (neighbor.mac, now_s));
        let endpoint = crate::types::Endpoint { addr: neighbor.addr, port: 0 };
        out.observations.push(Observation {
            order: Order { frame: neighbor.frame, shard: self.index },
            input: frame.input,
            frame_number: frame.number,
            time: frame.now,
            flow: FlowRef {
                realm: neighbor.realm,
                protocol: 0,
                id: 0,
                client: endpoint,
                server: endpoint,
            },
            fact: Fact::Neighbor { source: neighbor.source, mac: neighbor.mac },
        });
    }
}

/// A number without its upper half.
fn low_half(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Reset, or ended from both sides.
fn closed(hot: &Hot) -> bool {
    hot.has(flag::RST) || hot.has(flag::FIN | flag::FIN << 1)
}

/// Resolvers ask each other from port 53 to port 53, where no port tells who asks; the QR bit
/// does (RFC 1035 §4.1.1). Against what the ports say, a response must also hold an answer: a
/// question with a wrong bit is still a question.
fn dns_roles(hot: &mut Hot, packet: &Packet, payload: &[u8]) {
    let &[_, _, flags, _, _, _, answers_high, answers_low, ..] = payload else { return };
    let from_server = flags & 0x80 != 0;
    let (client, server) = ports(hot, packet);
    if from_server && client != server && (answers_high, answers_low) == (0, 0) {
        return;
    }
    if from_server == (direction(hot, packet) == Direction::Up) {
        hot.flags ^= flag::CLIENT_HI;
    }
}

/// Seconds of silence that end this flow.
fn idle_max(limits: &Limits, hot: &Hot) -> u64 {
    if hot.has(flag::DATAGRAMS) {
        return limits.datagram_idle_s;
    }
    let tcp = hot.flags & (flag::SEQ_KNOWN | flag::SEQ_KNOWN << 1) != 0;
    if !tcp {
        return limits.udp_idle_s;
    }
    match (closed(hot), hot.has(flag::ANSWERED), hot.cold != NO_COLD) {
        (true, ..) => limits.closed_s,
        (_, false, false) => limits.unanswered_s,
        (.., true) => limits.named_idle_s,
        _ => limits.tcp_idle_s,
    }
}

/// Fills the slot of a new flow: who is the client, and does anybody read it.
fn begin(hot: &mut Hot, id: u32, arrival: &Arrival<'_>) {
    let Arrival { packet, frame, minute: (minute, _), .. } = *arrival;
    let key = &packet.key;
    let (from, to) =
        if packet.from_hi { (key.hi_port, key.lo_port) } else { (key.lo_port, key.hi_port) };
    let syn = packet.flags & tcp_flags::SYN != 0;
    let ack = packet.flags & tcp_flags::ACK != 0;
    let sender_is_client = match key.protocol {
        TCP if syn => !ack,
        // Without a beginning the lower port serves.
        TCP => to <= from,
        _ => from >= 1024 || to < 1024,
    };
    *hot = Hot::default();
    hot.id = id;
    hot.minute = minute;
    hot.input = frame.input;
    hot.flags = flag::USED;
    if sender_is_client == packet.from_hi {
        hot.flags |= flag::CLIENT_HI;
    }
    match key.protocol {
        TCP => {
            hot.flags |= flag::READING;
            if !syn {
                hot.flags |= flag::MIDSTREAM;
            }
        }
        UDP => {
            let (client, server) = ports(hot, packet);
            hot.flags |= if parser::datagram_protocol(client, server).is_some() {
                flag::DATAGRAMS
            } else {
                flag::READING
            };
        }
        _ => {}
    }
}

/// `true` if this packet begins another connection on the same ports.
///
/// A SYN amid a connection is not believed (RFC 5961 §4): its answer is, or the SYN itself where
/// nothing else is seen of the other side.
fn restarts(hot: &Hot, packet: &Packet) -> bool {
    if packet.key.protocol != TCP || packet.flags & tcp_flags::SYN == 0 {
        return false;
    }
    let side = usize::from(packet.from_hi);
    if hot.flags & (flag::SEQ_KNOWN << side) == 0 {
        return false;
    }
    let expected = hot.next_seq.get(side).copied().unwrap_or(0);
    let again = packet.seq.wrapping_add(1);
    let over = hot.has(flag::RST) || hot.flags & (flag::FIN | flag::FIN << 1) != 0;
    if over {
        return again != expected;
    }
    let answered = packet.flags & tcp_flags::ACK != 0;
    let alone = hot.flags & (flag::SEQ_KNOWN << (side ^ 1)) == 0;
    // A SYN sent again lies just behind what was sent since; another beginning is anywhere.
    (answered || alone) && expected.wrapping_sub(again) > JUMP_MAX
}

/// `true` if the counters of a flow cannot take this packet.
fn full(hot: &Hot, side: usize, packet: &Packet) -> bool {
    const ROOM: u32 = u32::MAX - (1 << 27);
    let over = |pair: &[u32; 2]| pair.get(side).is_some_and(|b| *b > ROOM);
    over(&hot.bytes) || packet.payload_wire > 1 << 26
}

/// How a second hello stands to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// It claims the same place in the stream.
    Copy,
    /// It follows it.
    Behind,
}

/// Among the first octets of the client in a flow with a record, where payload may be touched though
/// the flow only counts. Most packets are ruled out by what is in registers.
#[inline]
fn early(hot: &Hot, packet: &Packet) -> bool {
    let hello = packet.payload_captured >= HELLO_MIN && packet.key.protocol == TCP;
    let from_client = direction(hot, packet) == Direction::Up;
    let few = hot.bytes.get(usize::from(packet.from_hi)).is_some_and(|n| *n <= RETRY_BYTES_MAX);
    hello && from_client && few && hot.cold != NO_COLD && !hot.has(flag::REPORTED)
}

/// A TLS record that begins with a client's hello.
fn is_hello(payload: &[u8]) -> bool {
    matches!(payload, [22, 3, _, _, _, 1, ..])
}

/// How a segment stands to the beginning of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Nothing stands out.
    Plain,
    /// The handshake was seen and this is the first payload after it, but its first byte, at this
    /// sequence number, is still to come.
    Ahead(u32),
    /// One byte that no data belongs to: a keep-alive probe (RFC 9293 §3.8.4), which would hide
    /// the beginning of what comes after a pause. Or bytes far outside of any window, which no
    /// receiver takes.
    Probe,
}

fn opening(hot: &Hot, side: usize, packet: &Packet) -> Opening {
    if packet.key.protocol != TCP || packet.payload_wire == 0 {
        return Opening::Plain;
    }
    let heard = hot.has(flag::PAYLOAD << side);
    let known = hot.has(flag::SEQ_KNOWN << side);
    let next = hot.next_seq.get(side).copied().unwrap_or(0);
    let ahead = packet.seq.wrapping_sub(next);
    if known && !heard && hot.has(flag::SYN) && (1..=JUMP_MAX).contains(&ahead) {
        return Opening::Ahead(next);
    }
    let lonely = hot.has(flag::MIDSTREAM) && !known;
    let behind = known && ahead == u32::MAX;
    let probe = packet.payload_wire == 1 && (lonely || behind);
    let syn = packet.flags & tcp_flags::SYN != 0;
    let foreign = known && hot.has(flag::SYN) && !syn && is_foreign(ahead);
    if probe || foreign { Opening::Probe } else { Opening::Plain }
}

/// `true` for a distance in sequence space, either way, that no window spans.
fn is_foreign(ahead: u32) -> bool {
    ahead > JUMP_MAX && ahead < JUMP_MAX.wrapping_neg()
}

/// Payload octets of this packet that no packet before it brought (RFC 9293 §3.4).
///
/// Counted by the span of sequence numbers, so that a late segment is not lost and a repeated
/// one not counted: bytes that the capture missed but the sender numbered are counted as sent.
fn account(hot: &mut Hot, side: usize, packet: &Packet) -> u32 {
    if packet.key.protocol != TCP {
        return packet.payload_wire;
    }
    let syn = u32::from(packet.flags & tcp_flags::SYN != 0);
    let begin = packet.seq.wrapping_add(syn);
    let end = begin.wrapping_add(packet.payload_wire);
    let known = hot.flags & (flag::SEQ_KNOWN << side) != 0;
    let Some(next) = hot.next_seq.get_mut(side) else { return 0 };
    if !known {
        hot.flags |= flag::SEQ_KNOWN << side;
        // Where this side begins may stand there already, see `note_state`: an acknowledgment, which
        // may have overtaken bytes, does not move it.
        let alone = packet.payload_wire == 0 && syn == 0;
        if !alone || *next == 0 || end.wrapping_sub(*next) > JUMP_MAX {
            *next = end;
        }
        return packet.payload_wire;
    }
    let ahead = end.wrapping_sub(*next);
    if ahead == 0 {
        return 0;
    }
    if packet.payload_wire == 0 && syn == 0 {
        // A pure acknowledgment in front of bytes still to come, or a reset: carries nothing.
        return 0;
    }
    if is_foreign(ahead) {
        // Another connection whose beginning was missed, or forged: it counts, and moves nothing.
        if packet.payload_wire > 0 {
            hot.flags |= flag::GAP;
        }
        return packet.payload_wire;
    }
    if ahead > u32::MAX / 2 {
        return 0;
    }
    *next = end;
    ahead
}

/// What this packet says of the flow's life.
fn note_state(hot: &mut Hot, side: usize, packet: &Packet) {
    if packet.payload_wire > 0 {
        hot.flags |= flag::PAYLOAD << side;
        if hot.has(flag::PAYLOAD | flag::PAYLOAD << 1) {
            hot.flags |= flag::ANSWERED;
        }
    }
    if packet.key.protocol != TCP {
        return;
    }
    let from_server = packet.from_hi != hot.has(flag::CLIENT_HI);
    let both = tcp_flags::SYN | tcp_flags::ACK;
    if packet.flags & tcp_flags::SYN != 0 {
        hot.flags |= flag::SYN;
        if packet.flags & both == both && from_server {
            hot.flags |= flag::ANSWERED;
            // Its acknowledgment says where the other side begins.
            let other = side ^ 1;
            if !hot.has(flag::SEQ_KNOWN << other)
                && let Some(next) = hot.next_seq.get_mut(other)
            {
                *next = packet.ack;
            }
        }
    }
    let known = hot.has(flag::SEQ_KNOWN << side);
    let next = hot.next_seq.get(side).copied().unwrap_or(0);
    // A FIN ends what lies within a window; bytes in front of it may be missing.
    let end = packet.seq.wrapping_add(packet.payload_wire);
    if packet.flags & tcp_flags::FIN != 0 && (!known || end.wrapping_sub(next) <= WINDOW_COMMON) {
        hot.flags |= flag::FIN << side;
    }
    // Only the exact number resets (RFC 5961 §3); a FIN takes one that is not counted here.
    let exact = !known || packet.seq.wrapping_sub(next) <= 1;
    if packet.flags & tcp_flags::RST != 0 && exact {
        hot.flags |= flag::RST;
    }
}

#[inline]
fn direction(hot: &Hot, packet: &Packet) -> Direction {
    if packet.from_hi == hot.has(flag::CLIENT_HI) { Direction::Up } else { Direction::Down }
}

/// Ports of client and server.
fn ports(hot: &Hot, packet: &Packet) -> (u16, u16) {
    let key = &packet.key;
    if hot.has(flag::CLIENT_HI) { (key.hi_port, key.lo_port) } else { (key.lo_port, key.hi_port) }
}

fn flow_ref<K: Key>(key: &K, hot: &Hot, shard: u8) -> FlowRef {
    let key = key.unpack();
    let client_hi = hot.has(flag::CLIENT_HI);
    FlowRef {
        realm: key.realm,
        protocol: key.protocol,
        id: u64::from(shard) << 32 | u64::from(hot.id),
        client: key.endpoint(client_hi),
        server: key.endpoint(!client_hi),
    }
}

/// One side of a TCP flow sent payload, and nothing at all was seen of the other.
fn one_sided(hot: &Hot) -> bool {
    let seen = |side: u16| hot.has(flag::SEQ_KNOWN << side);
    let spoke = |side: u16| hot.has(flag::PAYLOAD << side);
    (seen(0) && !seen(1) && spoke(0)) || (seen(1) && !seen(0) && spoke(1))
}

/// The tunnel that a payload nobody reads looks like, by its place from 1; 0 for none.
fn tunnel_number(packet: &Packet, payload: &[u8]) -> u8 {
    let ports = [packet.key.lo_port, packet.key.hi_port];
    let found = match packet.key.protocol {
        TCP => tunnel::stream(ports, payload),
        _ => tunnel::datagram(ports, payload, packet.payload_wire as usize),
    };
    found.map_or(0, |found| (found as u8).saturating_add(1))
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Dns => "dns",
        Protocol::Mdns => "mdns",
        Protocol::Llmnr => "llmnr",
        Protocol::Nbns => "nbns",
        Protocol::Dhcp => "dhcp",
        Protocol::Dhcp6 => "dhcp6",
        Protocol::Kerberos => "kerberos",
        Protocol::Radius => "radius",
        Protocol::Ssdp => "ssdp",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(seq: u32, len: u32, flags: u8) -> Packet {
        let mut p = Packet { seq, payload_wire: len, flags, ..Packet::default() };
        p.key.protocol = TCP;
        p
    }

    #[test]
    fn each_sequence_byte_counts_once() {
        let syn = tcp_flags::SYN;
        let cases: [(&str, &[Packet], u32); 7] = [
            ("plain", &[tcp(9, 0, syn), tcp(10, 5, 0), tcp(15, 5, 0)], 10),
            ("repeated", &[tcp(9, 0, syn), tcp(10, 5, 0), tcp(10, 5, 0)], 5),
            ("partly repeated", &[tcp(10, 5, 0), tcp(12, 5, 0)], 7),
            ("late", &[tcp(10, 5, 0), tcp(20, 5, 0), tcp(15, 5, 0)], 15),
            ("wraps", &[tcp(u32::MAX - 1, 4, 0), tcp(2, 3, 0)], 7),
            ("keep-alive probe one byte back", &[tcp(10, 5, 0), tcp(14, 1, 0), tcp(14, 0, 0)], 5),
            ("absurd jump", &[tcp(10, 5, 0), tcp(1 << 30, 5, 0)], 10),
        ];
        for (name, packets, expected) in cases {
            let mut hot = Hot::default();
            let sum: u32 = packets.iter().map(|p| account(&mut hot, 0, p)).sum();
            assert_eq!(sum, expected, "{name}");
        }
    }

    #[test]
    fn a_syn_begins_anew_only_where_it_is_no_repetition() {
        let mut hot = Hot::default();
        let first = tcp(100, 0, tcp_flags::SYN);
        account(&mut hot, 0, &first);
        account(&mut hot, 0, &tcp(101, 50, 0));
        assert!(!restarts(&hot, &first), "sent again");
        assert!(restarts(&hot, &tcp(3_000_000_000, 0, tcp_flags::SYN)));
        hot.flags |= flag::FIN;
        assert!(restarts(&hot, &tcp(900, 0, tcp_flags::SYN)), "after the end any other one");
    }
}
