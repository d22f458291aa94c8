//! The recorder at work: every observation of a run, in order, to rows.
//!
//! In: batches merged by order. Out: rows of each input, once a world ends.
//! Never: looks at a packet; lets an unmatched name and a client stand in one row.
//! Limits: those of [`super::flows`], [`super::names`], [`super::identity`],
//! [`super::aggregate`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rapidhash::fast::RandomState;

use super::aggregate::{Aggregate, Judged, Keys, Place, Refine, Seen, Versions};
use super::flows::{MatchedFlow, OPEN_MAX};
use super::hits::{self, Hit, Name, Texts};
use super::identity::known::Event;
use super::identity::{Known, Person, Source, Tracker};
use super::judge::{Carrier, Volume};
use super::ledger::LedgerKey;
use super::names::{Asker, Belief, Names};
use super::policy::{Asked, Policy, Ruling};
use super::quic_ids::QuicIds;
use super::signature::network::HiderKind;
use super::signature::{Catalogue, Clients, Network};
use super::store::rows::{Actor, IdentityRows, InputRows, OpenFlow, Text};
use super::words::{ClientClass, EvidenceKind};
use crate::observation::{
    Batch, Delta, Dhcp, Fact, FlowRef, FlowState, Hello, Http, NameSource, Observation, TextId,
    merged,
};
use crate::types::{Realm, Timestamp};
use crate::watcher::protocol::grammar::Api;
use crate::watcher::protocol::tunnel::Tunnel;
use crate::watcher::protocol::{AccountSource, HelloTransport, HostSource};

/// Flows with API signs but no service, remembered to count their bytes.
const CANDIDATES_OPEN_MAX: usize = 100_000;

/// QUIC flows open at once that go on with an earlier connection.
const MOVED_MAX: usize = 100_000;

/// IP protocol numbers.
const TCP: u8 = 6;
const ESP: u8 = 50;
const AH: u8 = 51;

/// Whom a client hides behind that speaks as Tor does.
const TOR: &str = "Tor (by shape)";

/// Observations ahead whose name is fetched.
const AHEAD: usize = 16;

/// Devices told apart in the ledger of hidden traffic.
const HIDDEN_MAX: usize = 100_000;

/// What the recorder judges by.
#[derive(Clone)]
pub struct Rulebook {
    /// Services.
    pub catalogue: Arc<Catalogue>,
    /// Programs by fingerprint.
    pub clients: Arc<Clients>,
    /// What hides names.
    pub network: Arc<Network>,
    /// Decisions.
    pub policy: Arc<Policy>,
    /// Who is who, beside what the wire says.
    pub known: Arc<Known>,
    /// Networks whose hosts are ours; empty for the private ranges.
    pub own_networks: Vec<(IpAddr, u8)>,
    /// Upload that makes a use `bulk`, in bytes a flow.
    pub bulk_bytes: u64,
}

impl Rulebook {
    /// What the policy says of this use by this actor.
    fn ruling(&self, hit: &Hit, actor: &Actor, at: Timestamp) -> Ruling {
        let user = actor.who.one().map(|claim| &**claim.user.name());
        self.policy.rule(&Asked {
            service: &hit.service,
            category: &hit.category,
            vendor: &hit.vendor,
            tenant: hit.tenant.as_deref(),
            actor,
            user,
            groups: user.map_or(&[], |user| self.known.groups(user)),
            at,
        })
    }

    /// The actor as names of findings are made of it.
    fn shown(&self, actor: &Arc<Actor>, at: Timestamp) -> Arc<Actor> {
        self.known.veil.for_id(at).actor(actor)
    }
}

/// What is known once a world is over: rows are judged anew by it.
struct Hindsight<'a> {
    rules: &'a Rulebook,
    who: &'a Tracker,
}

impl Refine for Hindsight<'_> {
    fn actor(&self, actor: &Arc<Actor>, first: Timestamp, last: Timestamp) -> Arc<Actor> {
        self.who.refined(actor, first, last)
    }

    fn ruling(&self, hit: &Hit, actor: &Actor, at: Timestamp) -> Ruling {
        self.rules.ruling(hit, actor, at)
    }

    fn shown(&self, actor: &Arc<Actor>, at: Timestamp) -> Arc<Actor> {
        self.rules.shown(actor, at)
    }
}

/// Live: rows are told as they stand.
struct AtTheTime<'a> {
    rules: &'a Rulebook,
}

impl Refine for AtTheTime<'_> {
    fn actor(&self, actor: &Arc<Actor>, _: Timestamp, _: Timestamp) -> Arc<Actor> {
        actor.clone()
    }

    fn ruling(&self, hit: &Hit, actor: &Actor, at: Timestamp) -> Ruling {
        self.rules.ruling(hit, actor, at)
    }

    fn shown(&self, actor: &Arc<Actor>, at: Timestamp) -> Arc<Actor> {
        self.rules.shown(actor, at)
    }
}

/// Everything remembered of one world.
#[derive(Default)]
struct World {
    names: Names,
    who: Tracker,
    flows: HashMap<u64, MatchedFlow, RandomState>,
    candidates: HashMap<u64, Text, RandomState>,
    aggregate: Aggregate,
    /// Clients seen, and those of encrypted DNS and of security edges, by input.
    clients: Hosts,
    hidden: BTreeSet<(u16, &'static str, Realm, IpAddr)>,
    /// Flows of people who are left out.
    left_out: HashSet<u64, RandomState>,
    /// Flows to security edges and relays, with the name of what they go through.
    veiled: HashMap<u64, (Text, HiderKind), RandomState>,
    quic_ids: QuicIds,
    /// Flows that go on with a QUIC connection, and its name.
    moved: HashMap<u64, Text, RandomState>,
    flows_full: u64,
}

/// Addresses by input, up to [`HIDDEN_MAX`]. Every flow asks; those of IPv4 take eight bytes, so
/// that ten thousands of them stay in a core's cache.
#[derive(Default)]
struct Hosts {
    v4: HashSet<u64, RandomState>,
    v6: HashSet<(u16, Realm, Ipv6Addr), RandomState>,
}

impl Hosts {
    /// `true` if it is new.
    fn insert(&mut self, input: u16, realm: Realm, addr: IpAddr) -> bool {
        if self.v4.len() + self.v6.len() >= HIDDEN_MAX {
            return false;
        }
        match addr {
            IpAddr::V4(addr) => {
                let place = u64::from(input) << 48 | u64::from(realm.0) << 32;
                self.v4.insert(place | u64::from(addr.to_bits()))
            }
            IpAddr::V6(addr) => self.v6.insert((input, realm, addr)),
        }
    }
}

impl World {
    fn new(number: u32, rules: &Rulebook) -> Self {
        let who = Tracker::new(rules.known.clone());
        Self { aggregate: Aggregate::new(number), who, ..Self::default() }
    }

    /// Notes a client whose names something hides; each once.
    /// Counts a flow of somebody who is left out, once.
    fn leaves_out(&mut self, o: &Observation) {
        if self.left_out.len() < HIDDEN_MAX && self.left_out.insert(o.flow.id) {
            self.aggregate.cover(o.input, "flows_of_people_left_out", None, 1);
        }
    }

    fn hides(&mut self, o: &Observation, row: &'static str) {
        let client = (o.input, row, o.flow.realm, o.flow.client.addr);
        if self.hidden.len() < HIDDEN_MAX && self.hidden.insert(client) {
            self.aggregate.cover(o.input, row, Some("clients"), 1);
        }
    }
}

/// What Firefox asks a network that may not want its DNS encrypted: `use-application-dns.net`
/// without an address means no (support.mozilla.org, "Canary domain").
const CANARY: &str = "use-application-dns.net";

/// The recorder.
pub struct Desk {
    rules: Rulebook,
    versions: Versions,
    texts: Vec<Texts>,
    world: World,
    /// Worlds so far, this one included.
    worlds: u32,
    captures: Vec<Text>,
    /// Key of the ledger, if there is one.
    ledger: Option<LedgerKey>,
    /// Key under which devices at candidates are hashed.
    devices: Option<LedgerKey>,
    carried: HashMap<(u8, crate::types::Endpoint, crate::types::Endpoint), OpenFlow, RandomState>,
    /// A use was seen that nobody was told of yet.
    urgent: bool,
}

impl Desk {
    /// An empty desk.
    pub fn new(rules: Rulebook) -> Self {
        let versions = Versions::of(&rules.policy, &rules.catalogue);
        let world = World::new(1, &rules);
        Self {
            rules,
            versions,
            texts: Vec::new(),
            world,
            worlds: 1,
            captures: Vec::new(),
            ledger: None,
            devices: None,
            carried: HashMap::default(),
            urgent: false,
        }
    }

    /// Named flows that earlier inputs left open, to go on with.
    pub fn carry(&mut self, flows: Vec<OpenFlow>) {
        self.carried = flows.into_iter().map(|o| ((o.transport, o.client, o.server), o)).collect();
    }

    /// Keeps a ledger of all destinations under the first key, and tells devices at candidates
    /// apart under the second.
    pub fn keys(&mut self, ledger: Option<LedgerKey>, devices: Option<LedgerKey>) {
        (self.ledger, self.devices) = (ledger, devices);
    }

    /// Who was who in earlier inputs, by what the store remembers.
    pub fn remember(&mut self, rows: &IdentityRows, until: Timestamp) {
        self.world.who.remember(rows, until);
    }

    /// Tells the names of inputs, by index.
    pub fn captures(&mut self, names: Vec<Text>) {
        self.captures = names;
    }

    /// Takes the batches of all watchers for one block; `observe` is shown every observation.
    pub fn block(&mut self, batches: &[Batch], observe: &mut dyn FnMut(&Observation, &Texts)) {
        for batch in batches {
            if self.texts.len() <= batch.watcher {
                self.texts.resize_with(batch.watcher + 1, Texts::default);
            }
            if let Some(texts) = self.texts.get_mut(batch.watcher) {
                texts.learn(&batch.texts);
            }
        }
        for batch in batches {
            for &(name, count) in &batch.counts {
                self.world.aggregate.cover(batch.input, name, None, count);
            }
        }
        let texts = std::mem::take(&mut self.texts);
        // What is known of a name lies anywhere in memory: it is asked for some observations
        // ahead, and where its bytes are counted once that is here.
        let mut coming = merged(batches).filter_map(|(w, o)| Some((texts.get(w)?, o)));
        let mut ahead: VecDeque<(&Texts, &Observation)> = VecDeque::with_capacity(AHEAD);
        loop {
            while ahead.len() < AHEAD
                && let Some((texts, o)) = coming.next()
            {
                texts.prefetch(o.fact.name());
                if let Fact::Hello(_) = o.fact {
                    self.world.who.expect(o.flow.realm, o.flow.client.addr);
                }
                ahead.push_back((texts, o));
            }
            if let Some((texts, o)) = ahead.get(AHEAD / 2) {
                self.world.aggregate.prefetch(texts.place(o.fact.name()));
            }
            if let Some((texts, o)) = ahead.get(AHEAD / 4) {
                self.world.aggregate.prefetch_clients(texts.place(o.fact.name()));
            }
            let Some((texts, observation)) = ahead.pop_front() else { break };
            observe(observation, texts);
            self.observation(observation, texts);
        }
        drop((coming, ahead));
        self.texts = texts;
    }

    /// Adds to the coverage ledger.
    pub fn cover(&mut self, input: u16, name: &'static str, of: Option<&'static str>, count: u64) {
        self.world.aggregate.cover(input, name, of, count);
    }

    /// Versions under which verdicts are given.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The world is over: its rows by input.
    pub fn finish(&mut self, key_of: impl Fn(u16) -> Text) -> Vec<(u16, InputRows)> {
        self.worlds += 1;
        let fresh = World::new(self.worlds, &self.rules);
        let mut world = std::mem::replace(&mut self.world, fresh);
        let mut left: Vec<_> = world.flows.drain().collect();
        left.sort_by_key(|(id, _)| *id);
        for (_, flow) in left {
            self.close(&mut world, &flow);
        }
        let dropped = world.names.dropped + world.who.dropped() + world.flows_full;
        if dropped > 0 {
            world.aggregate.cover(0, "recorder_cap_hits", None, dropped);
        }
        let keys = hashing(self.ledger.as_ref(), self.devices.as_ref(), &self.rules);
        let judge = Hindsight { rules: &self.rules, who: &world.who };
        let mut rows = world.aggregate.finish(&self.versions, &judge, key_of, keys);
        attach(&mut rows, world.who.rows());
        self.rules.known.veil_rows(&mut rows, world.who.names());
        rows
    }

    /// Live: a use was seen that no rows were made of yet.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Live: the rows of what grew since the last call, with verdicts as they stand now. Flows
    /// that are not in use yet wait until they are, or end. `now` is sensor time, `whole` asks for
    /// roll-ups as well, which need not be as fresh.
    pub fn grown(
        &mut self,
        key_of: impl Fn(u16) -> Text,
        now: Timestamp,
        whole: bool,
    ) -> Vec<(u16, InputRows)> {
        self.urgent = false;
        let mut world = std::mem::take(&mut self.world);
        let mut flows = std::mem::take(&mut world.flows);
        for flow in flows.values_mut().filter(|f| f.grown) {
            if flow.level(self.rules.bulk_bytes).counts() {
                self.close(&mut world, flow);
                flow.tell();
            }
        }
        world.flows = flows;
        let rows = self.known_by_now(&mut world, key_of, now, whole);
        self.world = world;
        rows
    }

    /// Live: the last rows; every flow is closed.
    pub fn finish_live(&mut self, key_of: impl Fn(u16) -> Text) -> Vec<(u16, InputRows)> {
        self.worlds += 1;
        let fresh = World::new(self.worlds, &self.rules);
        let mut world = std::mem::replace(&mut self.world, fresh);
        let flows = std::mem::take(&mut world.flows);
        for flow in flows.values() {
            self.close(&mut world, flow);
        }
        let dropped = world.names.dropped + world.who.dropped() + world.flows_full;
        if dropped > 0 {
            world.aggregate.cover(0, "recorder_cap_hits", None, dropped);
        }
        self.known_by_now(&mut world, key_of, Timestamp(u64::MAX), true)
    }

    /// Live: rows under who it was as far as was known when a flow began: what the store has
    /// already stays as it was told.
    fn known_by_now(
        &self,
        world: &mut World,
        key_of: impl Fn(u16) -> Text,
        now: Timestamp,
        whole: bool,
    ) -> Vec<(u16, InputRows)> {
        let keys = hashing(self.ledger.as_ref(), self.devices.as_ref(), &self.rules);
        let judge = AtTheTime { rules: &self.rules };
        let mut rows = world.aggregate.grown(&self.versions, &judge, key_of, now, whole, keys);
        if whole {
            attach(&mut rows, world.who.grown());
        }
        self.rules.known.veil_rows(&mut rows, world.who.names());
        rows
    }

    /// Live: the watchers began anew and know none of the open flows: they end here.
    pub fn close_all(&mut self) {
        let mut world = std::mem::take(&mut self.world);
        for flow in std::mem::take(&mut world.flows).values() {
            self.close(&mut world, flow);
        }
        world.candidates.clear();
        self.world = world;
    }

    /// Live: judges by other rules from here on. Open flows whose name the new catalogue does not
    /// know end under the old one.
    pub fn judge_by(&mut self, rules: Rulebook) {
        let known = |f: &MatchedFlow| hits::hit(&rules.catalogue, &f.name).map(Arc::new);
        let mut world = std::mem::take(&mut self.world);
        let flows = std::mem::take(&mut world.flows);
        for (id, mut flow) in flows {
            match known(&flow) {
                Some(hit) => {
                    flow.hit = hit;
                    world.flows.insert(id, flow);
                }
                None => self.close(&mut world, &flow),
            }
        }
        world.who.know(rules.known.clone());
        self.world = world;
        for texts in &mut self.texts {
            texts.forget();
        }
        self.versions = Versions::of(&rules.policy, &rules.catalogue);
        self.rules = rules;
    }

    /// Live: files that say who is who were read anew.
    pub fn know(&mut self, known: Arc<Known>) {
        self.judge_by(Rulebook { known, ..self.rules.clone() });
    }

    /// Live: somebody tells of a logon.
    pub fn hear(&mut self, event: &Event) {
        self.world.who.hear(event);
    }

    /// Live: who has which address now, for views.
    pub fn directory(&mut self, directory: Arc<super::identity::Directory>) {
        self.world.who.tell(directory);
    }

    /// Flows open under a name of the catalogue.
    pub fn open(&self) -> usize {
        self.world.flows.len()
    }

    fn observation(&mut self, o: &Observation, texts: &Texts) {
        self.world.who.advance(o.time, o.input);
        match &o.fact {
            Fact::Delta(delta) => self.delta(o, delta, texts),
            Fact::Hello(hello) => self.hello(o, hello, texts),
            Fact::Http(http) => self.http(o, http, texts),
            Fact::HttpAnswer { api: Some(api), .. } => self.api(o, None, *api, true),
            Fact::Api(api) => self.api(o, None, *api, false),
            Fact::DnsQuery { name, id, rtype } => {
                let Some(text) = texts.text(*name) else { return };
                let client = o.flow.client;
                let asker = self.world.who.asker(o.flow.realm, client.addr, o.time);
                self.world.names.question(o.flow.realm, asker, client.port, *id, text, o.time);
                self.world.names.habit(o.flow.realm, asker, text, *rtype);
                self.world.aggregate.cover(o.input, "dns_queries", None, 1);
                if &**text == CANARY {
                    self.world.hides(o, "clients_asking_the_canary");
                }
                let hit = self.known(texts, *name).and_then(|n| n.said.hit.clone());
                if let Some(hit) = hit {
                    self.looked_up(o, &hit);
                }
            }
            Fact::DnsAddress { name, addr, ttl_s, id } => {
                let Some(text) = texts.text(*name) else { return };
                let client = o.flow.client;
                let asker = self.world.who.asker(o.flow.realm, client.addr, o.time);
                self.world.names.answer(
                    o.flow.realm,
                    asker,
                    client.port,
                    *id,
                    text,
                    *addr,
                    *ttl_s,
                    o.time,
                );
            }
            Fact::DnsResponse { name, rcode } => {
                // What is no answer keeps the browser from encrypting by itself.
                if *rcode != 0 && texts.str(*name) == CANARY {
                    self.world.hides(o, "clients_refused_by_the_canary");
                }
            }
            Fact::DnsEch { public_name, ttl_s, .. } => {
                if let Some(text) = texts.text(*public_name) {
                    self.world.names.ech(text, *ttl_s, o.time);
                }
            }
            Fact::QuicServerId { name, id } => {
                if let Some(name) = texts.text(*name).cloned() {
                    let server = o.flow.server.addr;
                    self.world.quic_ids.learn(o.flow.realm, server, *id, name);
                }
            }
            Fact::QuicMoved(id) => {
                let found = self.world.quic_ids.find(o.flow.realm, o.flow.server.addr, id);
                if let Some(name) = found.cloned()
                    && self.world.moved.len() < MOVED_MAX
                {
                    self.world.moved.insert(o.flow.id, name);
                } else {
                    self.world.aggregate.cover(o.input, "quic_flows_without_hello", None, 1);
                }
            }
            Fact::Dhcp(dhcp) => self.dhcp(o, dhcp, texts),
            Fact::Neighbor { mac, .. } => {
                let (realm, addr) = (o.flow.realm, o.flow.client.addr);
                self.world.who.bind(realm, addr, *mac, Source::Neighbor, o.time, 0, o.input);
            }
            Fact::Session(session) => {
                let user = texts.str(session.user);
                self.world.who.session(&o.flow, session, user, o.time, o.input);
            }
            Fact::LocalName { announced: true, name, addr, .. } => {
                let own = addr.is_none_or(|addr| addr == o.flow.client.addr);
                if let Some(name) = texts.text(*name).filter(|_| own) {
                    self.local_name(o, name);
                }
            }
            Fact::Runs(what) => {
                let (realm, addr) = (o.flow.realm, o.flow.client.addr);
                if let Some(what) = texts.text(*what) {
                    self.world.who.announces(realm, addr, what, o.time, o.input);
                }
            }
            Fact::Account { source, user, .. } => {
                let source = account_source(*source);
                self.world.who.login(&o.flow, source, texts.str(*user), o.time, o.input);
            }
            Fact::LoginAnswer { granted } => {
                self.world.who.answered(&o.flow, *granted, o.time);
            }
            Fact::HttpAnswer { api: None, .. }
            | Fact::CertificateName(_)
            | Fact::LocalName { .. }
            | Fact::SocksTarget { .. }
            | Fact::ProxySource(_) => {}
        }
    }

    fn dhcp(&mut self, o: &Observation, dhcp: &Dhcp, texts: &Texts) {
        // RFC 2132 §9.6: 5 is ACK, 7 RELEASE; RFC 8415 §7.3: 7 is REPLY, 8 RELEASE.
        let (granted, released) = if dhcp.version == 4 { (5, 7) } else { (7, 8) };
        let (realm, at, who) = (o.flow.realm, o.time, &mut self.world.who);
        if let Some(name) = texts.text(dhcp.host_name).or_else(|| texts.text(dhcp.fqdn)) {
            who.call(realm, dhcp.mac, name, Source::Dhcp, at, o.input);
        }
        if let Some(class) = texts.text(dhcp.vendor_class).filter(|_| dhcp.from_client) {
            who.runs(realm, dhcp.mac, class, at, o.input);
        }
        let Some(addr) = dhcp.addr else { return };
        if dhcp.message == granted && !dhcp.from_client {
            who.bind(realm, addr, dhcp.mac, Source::Dhcp, at, dhcp.lease_s, o.input);
        } else if dhcp.message == released && dhcp.from_client {
            who.release(realm, addr, at);
        }
    }

    /// A device says what it is called. Browsers announce random names to find one another.
    fn local_name(&mut self, o: &Observation, name: &Text) {
        let plain = name.strip_suffix(".local").unwrap_or(name);
        let random = plain.len() == 36 && plain.bytes().filter(|b| *b == b'-').count() == 4;
        if !random {
            let (realm, addr, name) = (o.flow.realm, o.flow.client.addr, Text::from(plain));
            self.world.who.call_address(realm, addr, &name, Source::Announced, o.time, o.input);
        }
    }

    /// What is known of a name from the name alone.
    fn known<'t>(&self, texts: &'t Texts, id: TextId) -> Option<Name<'t>> {
        texts.name(id, &self.rules.catalogue, &self.rules.network)
    }

    fn ours(&self, addr: IpAddr) -> bool {
        if self.rules.own_networks.is_empty() {
            return is_private(addr);
        }
        self.rules.own_networks.iter().any(|(net, bits)| within(addr, *net, *bits))
    }

    /// `true` if the client is a stranger who comes to a host of ours.
    fn inbound(&self, flow: &FlowRef) -> bool {
        !self.ours(flow.client.addr) && self.ours(flow.server.addr)
    }

    fn looked_up(&mut self, o: &Observation, hit: &Arc<Hit>) {
        if self.inbound(&o.flow) {
            return;
        }
        let actor = self.world.who.actor(o.flow.realm, o.flow.client.addr, o.time);
        if actor.who == Person::Excluded {
            return;
        }
        let ruling = self.rules.ruling(hit, &actor, o.time);
        self.world.aggregate.looked_up(o.input, &actor, hit, &ruling, &self.versions, o.time);
    }

    fn hello(&mut self, o: &Observation, hello: &Hello, texts: &Texts) {
        let name = self.known(texts, hello.name);
        let world = &mut self.world;
        world.who.frame(o.flow.realm, o.flow.client.addr, hello.mac, hello.ttl, o.time, o.input);
        world.aggregate.cover(o.input, "hellos", None, 1);
        if name.is_none() {
            world.aggregate.cover(o.input, "hellos_without_name", Some("hellos"), 1);
        }
        let hidden = hello.ech.is_some() && name.is_some_and(|n| self.hides(&n, o.time));
        if hello.ech.is_some() {
            let row = if hidden { "hellos_ech_plausible" } else { "hellos_ech_grease" };
            self.world.aggregate.cover(o.input, row, Some("hellos"), 1);
        }
        if let Some(name) = &name {
            self.hider(o, name, texts.str(hello.alpn));
        }
        if hidden {
            return;
        }
        let Some(Name { text: name, said, .. }) = name else { return };
        let (Some(hit), false) = (said.hit.clone(), self.inbound(&o.flow)) else { return };
        let (class, evidence) = self.rules.clients.class_of(
            texts.str(hello.ja4),
            "",
            texts.str(hello.alpn),
            hello.grease,
            hello.ech.is_some(),
            false,
        );
        let kind = match hello.transport {
            HelloTransport::Quic => EvidenceKind::QuicSni,
            HelloTransport::Tls | HelloTransport::Dtls => EvidenceKind::Sni,
        };
        let evidence = Text::from(evidence);
        let ja4 = texts.text(hello.ja4).cloned();
        if let Some(flow) = self.matched(o, hit, name.clone(), kind, false, o.time) {
            flow.class = class;
            flow.class_evidence = evidence;
            flow.ja4 = ja4;
            flow.carrier = if kind == EvidenceKind::QuicSni { Carrier::Quic } else { Carrier::Tls };
        }
    }

    /// Notes whom a client hides behind, if it says so by a name.
    fn hider(&mut self, o: &Observation, name: &Name<'_>, alpn: &str) {
        let world = &mut self.world;
        let (by, kind) = match name.said.hider.as_deref() {
            Some((kind, by)) => (by.clone(), *kind),
            None if o.flow.protocol == TCP && alpn.is_empty() && looks_like_tor(name.text) => {
                // A browser that named a host so would have asked for its address.
                let asker = world.who.asker(o.flow.realm, o.flow.client.addr, o.time);
                if world.names.name(o.flow.realm, asker, o.flow.server.addr, o.time).is_some() {
                    return;
                }
                (Text::from(TOR), HiderKind::Relay)
            }
            None => return,
        };
        world.hides(o, hider_row(kind));
        let veils = matches!(kind, HiderKind::SecurityEdge | HiderKind::Relay);
        if veils && world.veiled.len() < HIDDEN_MAX {
            world.veiled.insert(o.flow.id, (by, kind));
        }
    }

    /// `name` is the outer name of an encrypted hello.
    fn hides(&self, name: &Name<'_>, at: Timestamp) -> bool {
        matches!(name.said.hider.as_deref(), Some((HiderKind::EchPublicName, _)))
            || self.world.names.offers_ech(name.text, at)
    }

    fn http(&mut self, o: &Observation, http: &Http, texts: &Texts) {
        let (realm, addr) = (o.flow.realm, o.flow.client.addr);
        self.world.who.frame(realm, addr, http.mac, http.ttl, o.time, o.input);
        self.world.who.agent(realm, addr, texts.str(http.user_agent), o.time, o.input);
        if matches!(http.source, HostSource::Connect | HostSource::AbsoluteUri) {
            self.world.who.proxy(realm, o.flow.server.addr);
            // Logins at a proxy are people's; those at any other server may be anything.
            let user = texts.str(http.user);
            self.world.who.login(&o.flow, Source::Basic, user, o.time, o.input);
        }
        let behind = http.forwarded.filter(|_| self.world.who.trusts(addr));
        if let Some(behind) = behind {
            let user = texts.str(http.vouched);
            self.world.who.account(realm, behind, Source::Proxy, user, o.time, o.input);
        }
        self.world.aggregate.cover(o.input, "http_requests", None, 1);
        if let Some(name) = self.known(texts, http.host) {
            // Clear text has no ALPN: nothing here looks like Tor.
            self.hider(o, &name, "http");
        }
        if self.inbound(&o.flow) {
            return;
        }
        let host = self.known(texts, http.host);
        let Some((name, hit)) = host.and_then(|n| Some((n.text.clone(), n.said.hit.clone()?)))
        else {
            if let Some(api) = http.api {
                self.api(o, host.map(|n| n.text.clone()), api, false);
            }
            return;
        };
        let kind = evidence_kind(http_source(http));
        let agent = texts.str(http.user_agent);
        let (class, evidence) = self.rules.clients.class_of("", agent, "", false, false, http.sdk);
        let evidence = Text::from(evidence);
        let unseen = http.prefetch || http.embedded;
        if let Some(flow) = self.matched(o, hit, name, kind, false, o.time) {
            if class != ClientClass::Unknown {
                flow.class = class;
                flow.class_evidence = evidence;
            }
            let [requests, unseen_requests] = &mut flow.requests;
            *requests += 1;
            *unseen_requests += u64::from(unseen);
        }
        if let Some(behind) = behind {
            let actor = self.world.who.actor(realm, behind, o.time);
            if actor.who == Person::Excluded {
                self.world.flows.remove(&o.flow.id);
            } else if let Some(flow) = self.world.flows.get_mut(&o.flow.id) {
                flow.actor = actor;
            }
        }
    }

    fn api(&mut self, o: &Observation, host: Option<Text>, api: Api, answered: bool) {
        if self.world.flows.contains_key(&o.flow.id) || self.inbound(&o.flow) {
            return;
        }
        let known = self.world.candidates.get(&o.flow.id).cloned();
        let host = host.or(known).unwrap_or_else(|| Text::from(server_text(&o.flow)));
        let seen =
            Seen { client: o.flow.client.addr, flow: o.flow.id, grammar: api.name(), answered };
        self.world.aggregate.candidate(o.input, o.time, &host, &seen);
        if self.world.candidates.len() < CANDIDATES_OPEN_MAX {
            self.world.candidates.insert(o.flow.id, host);
        } else {
            self.world.flows_full += 1;
        }
    }

    /// The flow under this name, begun at `at` if need be; a flow under another name is closed
    /// first.
    fn matched(
        &mut self,
        o: &Observation,
        hit: Arc<Hit>,
        name: Text,
        kind: EvidenceKind,
        doubtful: bool,
        at: Timestamp,
    ) -> Option<&mut MatchedFlow> {
        let other = self.world.flows.get(&o.flow.id).is_some_and(|f| f.name != name);
        if other {
            self.over(o.flow.id);
        }
        if !self.world.flows.contains_key(&o.flow.id) {
            if self.world.flows.len() >= OPEN_MAX {
                self.world.flows_full += 1;
                return None;
            }
            let actor = self.world.who.actor(o.flow.realm, o.flow.client.addr, at);
            if actor.who == Person::Excluded {
                self.world.leaves_out(o);
                return None;
            }
            let flow = MatchedFlow {
                hit,
                name,
                kind,
                doubtful,
                flow: o.flow,
                actor,
                class: ClientClass::Unknown,
                class_evidence: Text::from("nothing seen that tells the program"),
                ja4: None,
                carrier: carrier_of(kind, &o.flow),
                answered: false,
                requests: [0, 0],
                volume: Volume::default(),
                parts: Vec::new(),
                spans: Vec::new(),
                frames: [0; 3],
                open: false,
                carried: false,
                next_seq: [0; 2],
                grown: false,
                told: false,
            };
            self.world.flows.insert(o.flow.id, flow);
        }
        let flow = self.world.flows.get_mut(&o.flow.id)?;
        if kind < flow.kind {
            flow.kind = kind;
        }
        Some(flow)
    }

    fn delta(&mut self, o: &Observation, delta: &Delta, texts: &Texts) {
        let last = delta.state.has(FlowState::LAST);
        self.ledger(o, delta, last);
        let row = self.place(o, delta, last, texts);
        if last {
            self.world.aggregate.cover(o.input, row, Some("flows"), 1);
        }
    }

    /// Counts a delta where it belongs. The answer is the row of the ledger for its flow: every
    /// flow has exactly one.
    fn place(&mut self, o: &Observation, delta: &Delta, last: bool, texts: &Texts) -> &'static str {
        if self.inbound(&o.flow) {
            return "flows_inbound";
        }
        let named = self.known(texts, delta.name);
        let named = named.filter(|n| delta.ja4.is_none() || !self.hides(n, o.time));
        let Some(name) = named else {
            let row = self.nameless(o, delta, last, texts);
            return own_row(&o.flow, delta.state).unwrap_or(row);
        };
        match name.said.hit.clone() {
            Some(hit) => self.count(
                o,
                delta,
                hit,
                name.text.clone(),
                evidence_kind(delta.source.unwrap_or(NameSource::None)),
                false,
                last,
            ),
            None => self.unmatched(o, delta, (name.text, name.place), last),
        }
        source_row(delta.source)
    }

    /// A flow that carried no name: one that DNS, or an earlier input, gave it.
    fn nameless(
        &mut self,
        o: &Observation,
        delta: &Delta,
        last: bool,
        texts: &Texts,
    ) -> &'static str {
        if let Some(flow) = self.world.flows.get(&o.flow.id) {
            let (hit, name, kind, doubtful) =
                (flow.hit.clone(), flow.name.clone(), flow.kind, flow.doubtful);
            let row = if flow.carried { "flows_carried_over" } else { kind_row(kind, doubtful) };
            self.count(o, delta, hit, name, kind, doubtful, last);
            return row;
        }
        if let Some(name) = self.world.moved.get(&o.flow.id).cloned() {
            match hits::hit(&self.rules.catalogue, &name) {
                Some(hit) => {
                    let (hit, kind) = (Arc::new(hit), EvidenceKind::QuicCid);
                    self.count(o, delta, hit, name, kind, false, last);
                }
                None => self.unmatched(o, delta, (&name, &Cell::default()), last),
            }
            if last {
                self.world.moved.remove(&o.flow.id);
            }
            return kind_row(EvidenceKind::QuicCid, false);
        }
        let begun_before = o.flow.protocol != TCP || delta.state.has(FlowState::MIDSTREAM);
        if delta.state.has(FlowState::FIRST)
            && begun_before
            && let Some(open) = self.carried(o, delta)
        {
            self.carry_on(o, delta, &open, last);
            return "flows_carried_over";
        }
        if o.flow.protocol != 6 && o.flow.protocol != 17 {
            return "flows_without_ports";
        }
        let (realm, client) = (o.flow.realm, o.flow.client.addr);
        let found = if self.world.names.may_name(o.flow.server.addr) {
            let asker = self.world.who.asker(realm, client, delta.first);
            let told = |who| self.world.names.name(realm, who, o.flow.server.addr, delta.first);
            // The device may have become known only after it asked.
            let likely = told(asker).filter(|(_, belief)| *belief == Belief::Likely);
            likely.or_else(|| told(Asker::Address(client))).map(|found| (found, asker))
        } else {
            None
        };
        let Some(((name, belief), asker)) = found else {
            if let Some(host) = self.world.candidates.get(&o.flow.id).cloned() {
                self.candidate_bytes(o, delta, &host, last);
            }
            return "flows_unnamed";
        };
        match hits::hit(&self.rules.catalogue, &name) {
            Some(hit) if carries_application(&o.flow) => {
                let doubtful = belief == Belief::Possible;
                let ja4 = texts.text(delta.ja4).cloned();
                self.count(
                    o,
                    delta,
                    Arc::new(hit),
                    name.clone(),
                    EvidenceKind::Dns,
                    doubtful,
                    false,
                );
                let habit = self.world.names.asks_like_browser(realm, asker, &name);
                if let Some(flow) = self.world.flows.get_mut(&o.flow.id) {
                    flow.ja4 = ja4;
                    flow.learn_habit(habit);
                }
                if last {
                    self.over(o.flow.id);
                }
            }
            _ => self.unmatched(o, delta, (&name, &Cell::default()), last),
        }
        kind_row(EvidenceKind::Dns, belief == Belief::Possible)
    }

    fn carried(&mut self, o: &Observation, delta: &Delta) -> Option<OpenFlow> {
        /// A flow that was silent for longer than a named flow may be is another one.
        const LONGEST_PAUSE: u64 = 3_600 * Timestamp::SECOND;
        if self.carried.is_empty() {
            return None;
        }
        let key = (o.flow.protocol, o.flow.client, o.flow.server);
        let open = self.carried.remove(&key)?;
        // A flow without a name of its own knows its times to the second only.
        let later = delta.first.seconds() >= open.first_seen.seconds();
        (later && delta.first.since(open.last_seen) < LONGEST_PAUSE).then_some(open)
    }

    /// Goes on with a flow whose name stands in an earlier input.
    fn carry_on(&mut self, o: &Observation, delta: &Delta, open: &OpenFlow, last: bool) {
        let Some(hit) = hits::hit(&self.rules.catalogue, &open.name) else { return };
        let fresh =
            if o.flow.protocol == TCP { without_repeats(delta, open.next_seq) } else { *delta };
        self.count(o, &fresh, Arc::new(hit), open.name.clone(), open.evidence, false, false);
        if let Some(flow) = self.world.flows.get_mut(&o.flow.id) {
            flow.volume.up += open.bytes_up;
            flow.volume.down += open.bytes_down;
            flow.volume.hello = open.hello_bytes;
            flow.class = open.client_class;
            flow.ja4.clone_from(&open.ja4);
            flow.answered = true;
            flow.carried = true;
        }
        if last {
            self.over(o.flow.id);
        }
    }

    /// Adds a delta to its matched flow; closes the flow with its last one.
    #[expect(
        clippy::too_many_arguments,
        reason = "a delta and everything that was found out about it"
    )]
    fn count(
        &mut self,
        o: &Observation,
        delta: &Delta,
        hit: Arc<Hit>,
        name: Text,
        kind: EvidenceKind,
        doubtful: bool,
        last: bool,
    ) {
        let bulk = self.rules.bulk_bytes;
        let Some(flow) = self.matched(o, hit, name, kind, doubtful, delta.first) else { return };
        flow.add(o.input, delta);
        let urgent = !flow.told && flow.level(bulk).counts();
        self.urgent |= urgent;
        if last {
            self.over(o.flow.id);
        }
    }

    /// A flow, or its stretch under one name, has ended.
    fn over(&mut self, id: u64) {
        self.world.moved.remove(&id);
        let Some(flow) = self.world.flows.remove(&id) else { return };
        // Moves a few pointers; closing needs the rules and the world at once.
        let mut world = std::mem::take(&mut self.world);
        self.close(&mut world, &flow);
        self.world = world;
    }

    fn close(&self, world: &mut World, flow: &MatchedFlow) {
        let Some(first) = flow.parts.first() else { return };
        let judged = Judged {
            level: flow.level(self.rules.bulk_bytes),
            ruling: self.rules.ruling(&flow.hit, &flow.actor, first.first),
        };
        let capture = self.captures.get(usize::from(first.input)).cloned();
        let capture = capture.unwrap_or_else(|| Text::from(""));
        world.aggregate.flow(flow, &judged, &self.versions, &capture);
    }

    fn unmatched(
        &mut self,
        o: &Observation,
        delta: &Delta,
        name: (&Text, &Cell<Place>),
        last: bool,
    ) {
        self.over(o.flow.id);
        if let Some(host) = self.world.candidates.get(&o.flow.id).cloned() {
            self.candidate_bytes(o, delta, &host, last);
        }
        let begins = delta.state.has(FlowState::FIRST);
        self.world.aggregate.destination(
            o.input,
            delta.first,
            name,
            o.flow.client.addr,
            (begins, evidence_kind(delta.source.unwrap_or(NameSource::None))),
            (delta.up, delta.down),
        );
    }

    fn candidate_bytes(&mut self, o: &Observation, delta: &Delta, host: &Text, last: bool) {
        self.world.aggregate.candidate_bytes(o.input, delta.last, host, (delta.up, delta.down));
        if last {
            self.world.candidates.remove(&o.flow.id);
        }
    }

    /// Numbers that every flow adds to, whoever it went to.
    fn ledger(&mut self, o: &Observation, delta: &Delta, last: bool) {
        let world = &mut self.world;
        if delta.heard[0] && world.clients.insert(o.input, o.flow.realm, o.flow.client.addr) {
            world.aggregate.cover(o.input, "clients", None, 1);
        }
        let cover = |aggregate: &mut Aggregate, name, of, n| aggregate.cover(o.input, name, of, n);
        let bytes = delta.up + delta.down;
        cover(&mut world.aggregate, "payload_bytes", None, bytes);
        let tunnel = match o.flow.protocol {
            ESP | AH => Some(Tunnel::Ipsec),
            _ => delta.state.tunnel(),
        };
        // Only in the rare case looked up: most networks have no such flow.
        let veil = match tunnel {
            Some(tunnel) => Some((Text::from(tunnel.name()), "tunnel", tunnel_row(tunnel))),
            None if world.veiled.is_empty() => None,
            None => world.veiled.get(&o.flow.id).map(|(by, kind)| match kind {
                HiderKind::SecurityEdge => (by.clone(), "security-edge", "bytes_to_security_edges"),
                _ if &**by == TOR => (by.clone(), "relay", "bytes_in_tor"),
                _ => (by.clone(), "relay", "bytes_to_relays"),
            }),
        };
        if let Some((by, kind, row)) = veil {
            cover(&mut world.aggregate, row, Some("payload_bytes"), bytes);
            let client = o.flow.client.addr;
            let ours = if self.rules.own_networks.is_empty() {
                is_private(client)
            } else {
                self.rules.own_networks.iter().any(|(net, bits)| within(client, *net, *bits))
            };
            if ours {
                let actor = world.who.actor(o.flow.realm, client, delta.first);
                world.aggregate.hidden(o.input, actor, by, kind, delta);
            }
            if last {
                world.veiled.remove(&o.flow.id);
            }
        }
        if !last {
            return;
        }
        cover(&mut world.aggregate, "flows", None, 1);
        for (bit, row) in [
            (FlowState::MIDSTREAM, "flows_midstream"),
            (FlowState::HELLO_INCOMPLETE, "flows_hello_incomplete"),
            (FlowState::GAP, "flows_with_gaps"),
            (FlowState::CONFLICT, "flows_with_conflicting_copies"),
            (FlowState::SHARED, "flows_with_shared_bytes"),
            (FlowState::PROXIED, "flows_through_proxy"),
            (FlowState::ONE_SIDED, "flows_one_sided"),
        ] {
            if delta.state.has(bit) {
                cover(&mut world.aggregate, row, Some("flows"), 1);
            }
        }
        if !delta.state.has(FlowState::ANSWERED) {
            cover(&mut world.aggregate, "flows_unanswered", Some("flows"), 1);
        }
        if matches!(o.flow.server.port, 443 | 853 | 784 | 8853)
            && let Some(hider) = self.rules.network.by_address(o.flow.server.addr)
            && world.hidden.len() < HIDDEN_MAX
        {
            world.hides(o, hider_row(hider.kind));
        }
    }
}

/// The keys of a desk, as rows are made.
fn hashing<'a>(
    ledger: Option<&'a LedgerKey>,
    devices: Option<&'a LedgerKey>,
    rules: &'a Rulebook,
) -> Keys<'a> {
    Keys { ledger: ledger.map(|key| (key, &*rules.catalogue)), devices }
}

/// Puts what is known of who is who beside the other rows of its input.
fn attach(rows: &mut Vec<(u16, InputRows)>, mut identity: BTreeMap<u16, IdentityRows>) {
    for (input, rows) in rows.iter_mut() {
        rows.identity = identity.remove(input).unwrap_or_default();
    }
    for (input, identity) in identity {
        rows.push((input, InputRows { identity, ..InputRows::default() }));
    }
}

/// The row of a flow that needs no name, or can have none.
fn own_row(flow: &FlowRef, state: FlowState) -> Option<&'static str> {
    match (flow.protocol, flow.server.port) {
        (6 | 17, 53) => Some("flows_of_dns"),
        (17, 67 | 68 | 137 | 546 | 547 | 5353 | 5355) => Some("flows_of_local_services"),
        (ESP | AH, _) => Some("flows_in_tunnels"),
        _ if state.tunnel().is_some() => Some("flows_in_tunnels"),
        _ => None,
    }
}

fn account_source(source: AccountSource) -> Source {
    match source {
        AccountSource::Kerberos => Source::Kerberos,
        AccountSource::KerberosRequest => Source::KerberosRequest,
        AccountSource::Ntlm => Source::Ntlm,
        AccountSource::Radius => Source::Radius,
        AccountSource::Ldap => Source::Ldap,
        AccountSource::HttpBasic => Source::Basic,
    }
}

fn kind_row(kind: EvidenceKind, doubtful: bool) -> &'static str {
    match kind {
        _ if doubtful => "flows_named_possibly",
        EvidenceKind::Dns | EvidenceKind::Address => "flows_named_by_dns",
        EvidenceKind::Sni => "flows_named_by_sni",
        EvidenceKind::QuicSni => "flows_named_by_quic_sni",
        EvidenceKind::QuicCid => "flows_named_by_quic_cid",
        EvidenceKind::HttpHost | EvidenceKind::Authority => "flows_named_by_http",
        EvidenceKind::Connect | EvidenceKind::Socks => "flows_named_by_proxy",
        EvidenceKind::Certificate => "flows_named_by_certificate",
    }
}

fn tunnel_row(tunnel: Tunnel) -> &'static str {
    match tunnel {
        Tunnel::WireGuard => "bytes_in_wireguard",
        Tunnel::OpenVpn => "bytes_in_openvpn",
        Tunnel::Ipsec => "bytes_in_ipsec",
    }
}

/// Names that Tor clients make up for their hellos: `www.`, up to 25 letters of base 32, `.com`. A
/// digit among them sets nineteen in twenty apart from names that people choose.
fn looks_like_tor(name: &str) -> bool {
    let label = name.strip_prefix("www.").and_then(|n| n.strip_suffix(".com")).unwrap_or("");
    (8..=25).contains(&label.len())
        && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        && label.bytes().any(|b| b.is_ascii_digit())
}

fn hider_row(kind: HiderKind) -> &'static str {
    match kind {
        HiderKind::EncryptedDns => "clients_with_encrypted_dns",
        HiderKind::EchPublicName => "clients_with_encrypted_hellos",
        HiderKind::SecurityEdge => "clients_of_security_edges",
        HiderKind::Relay => "clients_of_relays",
    }
}

/// The delta without the bytes that an earlier input counted: a segment sent again just after
/// the border between two files.
fn without_repeats(delta: &Delta, counted_to: [u32; 2]) -> Delta {
    let repeated = |bytes: u64, next: u32, counted: u32| -> u64 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let again = counted.wrapping_sub(next.wrapping_sub(bytes));
        if again <= bytes { u64::from(again) } else { 0 }
    };
    let [up, down] = delta.next_seq;
    let [counted_up, counted_down] = counted_to;
    let mut fresh = *delta;
    fresh.up -= repeated(delta.up, up, counted_up);
    fresh.down -= repeated(delta.down, down, counted_down);
    fresh
}

/// Ports on which a name from DNS may stand for application traffic: not DNS, NTP, or pings.
fn carries_application(flow: &FlowRef) -> bool {
    !matches!(flow.server.port, 53 | 123 | 853 | 0)
}

fn carrier_of(kind: EvidenceKind, flow: &FlowRef) -> Carrier {
    match kind {
        EvidenceKind::QuicSni | EvidenceKind::QuicCid => Carrier::Quic,
        EvidenceKind::HttpHost | EvidenceKind::Authority => Carrier::Clear,
        // Without a hello of its own: by what usually runs there.
        EvidenceKind::Dns | EvidenceKind::Address if flow.protocol == 17 => Carrier::Quic,
        _ => Carrier::Tls,
    }
}

fn http_source(http: &Http) -> NameSource {
    match http.source {
        HostSource::Host | HostSource::AbsoluteUri => NameSource::HttpHost,
        HostSource::Connect => NameSource::Connect,
        HostSource::Authority => NameSource::Authority,
    }
}

fn evidence_kind(source: NameSource) -> EvidenceKind {
    match source {
        NameSource::Sni => EvidenceKind::Sni,
        NameSource::QuicSni => EvidenceKind::QuicSni,
        NameSource::HttpHost => EvidenceKind::HttpHost,
        NameSource::Authority => EvidenceKind::Authority,
        NameSource::Connect => EvidenceKind::Connect,
        NameSource::Socks => EvidenceKind::Socks,
        NameSource::Certificate => EvidenceKind::Certificate,
        NameSource::None => EvidenceKind::Dns,
    }
}

fn source_row(source: Option<NameSource>) -> &'static str {
    match source {
        Some(NameSource::Sni) => "flows_named_by_sni",
        Some(NameSource::QuicSni) => "flows_named_by_quic_sni",
        Some(NameSource::HttpHost | NameSource::Authority) => "flows_named_by_http",
        Some(NameSource::Connect | NameSource::Socks) => "flows_named_by_proxy",
        Some(NameSource::Certificate) => "flows_named_by_certificate",
        Some(NameSource::None) | None => "flows_unnamed",
    }
}

fn server_text(flow: &FlowRef) -> String {
    std::net::SocketAddr::new(flow.server.addr, flow.server.port).to_string()
}

/// RFC 1918, RFC 6598 shared space, loopback, link-local and unique local addresses.
fn is_private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local() || a.is_loopback(),
    }
}

fn within(addr: IpAddr, net: IpAddr, bits: u8) -> bool {
    let of = |x: u128, y: u128, width: u32| {
        let bits = u32::from(bits).min(width);
        bits == 0 || (x ^ y) >> (width - bits) == 0
    };
    match (addr, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            of(u128::from(u32::from(a)), u128::from(u32::from(b)), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => of(u128::from(a), u128::from(b), 128),
        _ => false,
    }
}
