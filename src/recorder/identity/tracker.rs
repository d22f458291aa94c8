//! Joins devices, names, people and what was known before into who has an address at a time.
//!
//! In: facts in the order of the run; [`Known`]. Out: [`Resolved`] for an address and a time, and
//! the rows that let the store answer the same later.
//! Never: carries a person over to the next device that gets the address.
//! Limits: those of its parts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use rapidhash::fast::RandomState;

use super::bindings::{Bindings, DeviceId, Interval, Sign};
use super::devices::{Device, Devices};
use super::directory::Directory;
use super::frames::{Frames, Said};
use super::inventory::Managed;
use super::known::{Event, Known, What};
use super::people::{self, Account, People, Stay};
use super::shared::{self, Shared};
use super::{Claim, Many, Person, Relation, Source, Subject};
use crate::observation::{FlowRef, Session};
use crate::recorder::names::Asker;
use crate::recorder::store::rows::{
    Actor, BindingRow, IdentityRows, ManyRow, SaidRow, StayRow, Text,
};
use crate::types::{MacAddr, Realm, Timestamp};
use crate::watcher::packet::octets_of;
use crate::watcher::protocol::SessionState;
use crate::written::masked;

/// Input of what the store remembered of earlier ones: it is not written again.
pub const REMEMBERED: u16 = u16::MAX;

/// Longest device name kept, in octets: that of the domain name system.
const NAME_MAX: usize = 253;

/// Requests of RADIUS in flight: 256 numbers of some hundred access servers.
const ASKED_MAX: usize = 65_536;

/// Logins whose answer is awaited: what a large network tries within seconds.
const TRIED_MAX: usize = 65_536;

/// Time in which a request is answered, with all its retries (RFC 5080 §2.2.1 waits that long).
const ASKED_HOLDS: u64 = 60 * Timestamp::SECOND;

/// Who has an address at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Link address.
    pub mac: Option<MacAddr>,
    /// Name of the device.
    pub host_name: Option<Text>,
    /// Who is at it.
    pub person: Person,
    /// Department of the device.
    pub department: Option<Text>,
}

/// Something that was known before.
enum Past<'a> {
    Binding(&'a BindingRow),
    Stay(&'a StayRow),
    Event(&'a Event),
}

/// A login that was tried, and who was there before.
#[derive(Debug)]
struct Tried {
    realm: Realm,
    addr: IpAddr,
    at: Timestamp,
    before: Vec<Stay>,
}

/// Everything known of one world.
#[derive(Debug, Default)]
pub struct Tracker {
    known: Arc<Known>,
    bindings: Bindings,
    devices: Devices,
    people: People,
    shared: Shared,
    /// Events of files that have happened.
    happened: usize,
    /// Who asked to be let in: by access server, RADIUS server and number.
    asked: HashMap<(IpAddr, IpAddr, u8), (Text, MacAddr, Timestamp), RandomState>,
    /// Logins that may yet be refused, by flow.
    tried: HashMap<u64, Tried, RandomState>,
    directory: Option<Arc<Directory>>,
    /// Live: digests of the rows that were given out last.
    given: HashSet<u64, RandomState>,
    frames: Frames,
}

impl Tracker {
    /// Nothing seen yet.
    pub fn new(known: Arc<Known>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Tells `directory` from now on who has which address.
    pub fn tell(&mut self, directory: Arc<Directory>) {
        self.directory = Some(directory);
    }

    /// Other files say from now on what is known beside the wire. What was read of the earlier
    /// ones has happened; what is new of that time happens now, late.
    pub fn know(&mut self, known: Arc<Known>) {
        let last = self.happened.checked_sub(1).and_then(|n| self.known.events.get(n));
        let last = last.map(|e| e.at);
        self.happened = known.events.partition_point(|e| Some(e.at) <= last);
        let before: HashSet<&Event, RandomState> = self.known.events.iter().collect();
        let past = known.events.iter().take(self.happened);
        let late: Vec<Event> = past.filter(|e| !before.contains(e)).cloned().collect();
        self.known = known;
        for event in &late {
            self.happen(event, 0);
        }
    }

    /// Somebody tells of something that happened.
    pub fn hear(&mut self, event: &Event) {
        self.happen(event, 0);
    }

    /// What is known beside the wire.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Lets happen what files say of the time up to `now`.
    #[inline]
    pub fn advance(&mut self, now: Timestamp, input: u16) {
        while let Some(event) = self.known.events.get(self.happened) {
            if event.at > now {
                return;
            }
            let event = event.clone();
            self.happened += 1;
            self.happen(&event, input);
        }
    }

    fn happen(&mut self, event: &Event, input: u16) {
        let (realm, at, addr) = (Realm::default(), event.at, event.addr);
        match &event.what {
            What::Lease { mac, lease_s, name } => {
                self.bind(realm, addr, *mac, Source::LeaseFile, at, *lease_s, input);
                if let Some(name) = name {
                    self.call(realm, *mac, name, Source::LeaseFile, at, input);
                }
            }
            What::Free => self.release(realm, addr, at),
            What::On { account, until } => {
                self.logon(realm, addr, Source::Logon, account, at, *until, input);
            }
            What::Off { account } => self.logoff(realm, addr, account, at),
        }
    }

    /// From now on, `addr` belongs to `mac`.
    #[expect(clippy::too_many_arguments, reason = "one sign has as many parts")]
    pub fn bind(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        mac: MacAddr,
        source: Source,
        at: Timestamp,
        lease_s: u32,
        input: u16,
    ) {
        if addr.is_unspecified() || addr.is_multicast() {
            return;
        }
        let Some(device) = self.devices.of(realm, mac) else { return };
        if source == Source::Frame {
            if !self.devices.sends(device, addr) {
                return;
            }
        } else {
            self.frames.forget(realm, addr);
        }
        let changed = self.bindings.sign(realm, addr, &Sign { device, source, at, lease_s, input });
        if changed {
            self.devices.has(device, addr);
            self.publish(realm, addr, at);
        }
    }

    /// A frame of `mac` carried a packet of `addr` with this TTL; 0 if it is not known.
    pub fn frame(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        mac: MacAddr,
        ttl: u8,
        at: Timestamp,
        input: u16,
    ) {
        let at_s = u32::try_from(at.seconds()).unwrap_or(u32::MAX);
        if self.frames.repeats(Said { addr: octets_of(addr), at_s, realm, input, mac, ttl }) {
            return;
        }
        if shared::is_unrouted(ttl) {
            self.shared.ttl(realm, addr, ttl, None);
            self.bind(realm, addr, mac, Source::Frame, at, 0, input);
            return;
        }
        let device = self.devices.of(realm, mac);
        self.shared.ttl(realm, addr, ttl, device);
    }

    /// A frame of that address is coming.
    #[inline]
    pub fn expect(&self, realm: Realm, addr: IpAddr) {
        self.frames.expect(realm, addr);
    }

    /// A lease ended: the address is free for others.
    pub fn release(&mut self, realm: Realm, addr: IpAddr, at: Timestamp) {
        self.frames.forget(realm, addr);
        self.bindings.release(realm, addr, at);
        self.publish(realm, addr, at);
    }

    /// The device calls itself `name`.
    pub fn call(
        &mut self,
        realm: Realm,
        mac: MacAddr,
        name: &Text,
        source: Source,
        at: Timestamp,
        input: u16,
    ) {
        if name.is_empty() || name.len() > NAME_MAX {
            return;
        }
        if let Some(device) = self.devices.of(realm, mac) {
            self.devices.call(device, name, source, at, input);
            if self.directory.is_some() {
                let addresses = self.devices.get(device).into_iter().flat_map(Device::addresses);
                addresses.for_each(|addr| self.publish(realm, addr, at));
            }
        }
    }

    /// Whoever has `addr` calls itself `name`.
    pub fn call_address(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        name: &Text,
        source: Source,
        at: Timestamp,
        input: u16,
    ) {
        let owner = self.binding(realm, addr, at).and_then(|i| self.devices.get(i.device));
        if let Some(mac) = owner.map(|d| d.mac) {
            self.call(realm, mac, name, source, at, input);
        }
    }

    /// The device says what it runs on: a vendor class.
    pub fn runs(&mut self, realm: Realm, mac: MacAddr, system: &Text, at: Timestamp, input: u16) {
        if let Some(device) = self.devices.of(realm, mac).filter(|_| !system.is_empty()) {
            self.devices.runs(device, system, Source::Dhcp, at, input);
        }
    }

    /// Whoever has `addr` announces what it is.
    pub fn announces(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        what: &Text,
        at: Timestamp,
        input: u16,
    ) {
        if let Some(device) = self.binding(realm, addr, at).map(|i| i.device) {
            self.devices.runs(device, what, Source::Announced, at, input);
        }
    }

    /// A program at `addr` says what it runs on.
    pub fn agent(&mut self, realm: Realm, addr: IpAddr, agent: &str, at: Timestamp, input: u16) {
        let Some((system, bit)) = shared::system_of(agent) else { return };
        self.shared.system(realm, addr, bit);
        if let Some(device) = self.binding(realm, addr, at).map(|i| i.device) {
            self.devices.runs(device, &Text::from(system), Source::Agent, at, input);
        }
    }

    /// Clients ask `addr` to fetch for them.
    pub fn proxy(&mut self, realm: Realm, addr: IpAddr) {
        self.shared.proxy(realm, addr);
    }

    /// An account was seen in `flow`, of its client. Where the server's answer can be read, a
    /// login that it refuses has not happened ([`Self::answered`]).
    pub fn login(
        &mut self,
        flow: &FlowRef,
        source: Source,
        account: &str,
        at: Timestamp,
        input: u16,
    ) {
        let (realm, addr) = (flow.realm, flow.client.addr);
        let waits =
            matches!(source, Source::KerberosRequest | Source::Ntlm | Source::Ldap | Source::Basic);
        // A question that is asked again is still the same one.
        let same = |t: &Tried| at.since(t.at) < ASKED_HOLDS;
        if !waits {
            self.tried.remove(&flow.id);
        } else if self.known.settings.users && !self.tried.get(&flow.id).is_some_and(same) {
            if self.tried.len() >= TRIED_MAX {
                self.tried.clear();
            }
            let before = self.people.of(realm, addr).to_vec();
            self.tried.insert(flow.id, Tried { realm, addr, at, before });
        }
        self.account(realm, addr, source, account, at, input);
    }

    /// The server of `flow` let somebody in, or did not: then whoever was there before still is.
    pub fn answered(&mut self, flow: &FlowRef, granted: bool, at: Timestamp) {
        let Some(tried) = self.tried.remove(&flow.id) else { return };
        if !granted && at.since(tried.at) < ASKED_HOLDS {
            self.people.restore(tried.realm, tried.addr, tried.before);
            self.publish(tried.realm, tried.addr, at);
        }
    }

    /// An account was seen on the wire, of the client at `addr`.
    pub fn account(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        source: Source,
        account: &str,
        at: Timestamp,
        input: u16,
    ) {
        match Account::read(account) {
            Account::Machine(name) => {
                let source =
                    if source == Source::Kerberos { Source::Kerberos } else { Source::Announced };
                self.call_address(realm, addr, &name, source, at, input);
            }
            Account::Person(_) if self.known.settings.users => {
                self.logon(realm, addr, source, account, at, None, input);
            }
            Account::Person(_) | Account::Nobody => {}
        }
    }

    /// Somebody logged on at `addr`.
    #[expect(clippy::too_many_arguments, reason = "one logon has as many parts")]
    pub fn logon(
        &mut self,
        realm: Realm,
        addr: IpAddr,
        source: Source,
        account: &str,
        at: Timestamp,
        until: Option<Timestamp>,
        input: u16,
    ) {
        let Account::Person(user) = Account::read(account) else { return };
        let user = Subject::user(self.known.inventory.login(&user));
        self.people.sign(realm, addr, people::Sign { user, source, at, until, input });
        self.publish(realm, addr, at);
    }

    /// What RADIUS says: people are let in with a device, often before it has an address.
    pub fn session(
        &mut self,
        flow: &FlowRef,
        session: &Session,
        user: &str,
        at: Timestamp,
        input: u16,
    ) {
        let realm = flow.realm;
        let key = (flow.client.addr, flow.server.addr, session.id);
        let (mut user, mut mac) = (Text::from(user), session.mac);
        match session.state {
            SessionState::Asked => {
                if self.asked.len() >= ASKED_MAX {
                    self.asked.clear();
                }
                self.asked.insert(key, (user, mac, at));
                return;
            }
            SessionState::Granted => {
                let asked = self.asked.remove(&key);
                let Some((who, device, _)) = asked.filter(|a| at.since(a.2) < ASKED_HOLDS) else {
                    return;
                };
                // The server may know the name better than the one who asked.
                user = if user.is_empty() { who } else { user };
                mac = device;
            }
            SessionState::Begun | SessionState::Ended => {}
        }
        let own = (!mac.is_zero()).then(|| link_local(mac));
        for addr in session.addr.into_iter().chain(own) {
            if session.state == SessionState::Ended {
                self.logoff(realm, addr, &user, at);
                continue;
            }
            if !mac.is_zero() {
                self.bind(realm, addr, mac, Source::Radius, at, session.lasts_s, input);
            }
            let lasts = u64::from(session.lasts_s).saturating_mul(Timestamp::SECOND);
            let until = (lasts > 0).then(|| Timestamp(at.0.saturating_add(lasts)));
            if self.known.settings.users {
                self.logon(realm, addr, Source::Radius, &user, at, until, input);
            }
        }
    }

    /// `true` for a proxy whose word about its client counts.
    pub fn trusts(&self, addr: IpAddr) -> bool {
        self.known.settings.trusted_proxies.iter().any(|net| within(addr, *net))
    }

    /// Somebody left; whoever it was, if the account is empty.
    pub fn logoff(&mut self, realm: Realm, addr: IpAddr, account: &str, at: Timestamp) {
        let user = match Account::read(account) {
            Account::Person(user) => Some(Subject::user(self.known.inventory.login(&user))),
            Account::Nobody if account.is_empty() => None,
            Account::Machine(_) | Account::Nobody => return,
        };
        self.people.left(realm, addr, user.as_ref(), at);
        self.publish(realm, addr, at);
    }

    fn publish(&self, realm: Realm, addr: IpAddr, at: Timestamp) {
        if let Some(directory) = &self.directory {
            directory.put(self.actor(realm, addr, at));
        }
    }

    /// The device behind `addr` then, or the address where no device is known.
    pub fn asker(&self, realm: Realm, addr: IpAddr, at: Timestamp) -> Asker {
        let device = self.binding(realm, addr, at).and_then(|i| self.devices.get(i.device));
        device.map_or(Asker::Address(addr), |d| Asker::Device(d.mac))
    }

    /// Who has `addr` at that time, as far as is known by now.
    pub fn actor(&self, realm: Realm, addr: IpAddr, at: Timestamp) -> Arc<Actor> {
        let Resolved { mac, host_name, person, department } = self.resolve(realm, addr, at);
        Arc::new(Actor { realm, addr, mac, host_name, who: person, department })
    }

    /// Who it was, now that everything is known, in flows that began from `first` to `last` and
    /// were the same actor's as far as was known then. Where that turns out to be wrong, nobody
    /// is named.
    pub fn refined(&self, actor: &Arc<Actor>, first: Timestamp, last: Timestamp) -> Arc<Actor> {
        let a = self.resolve(actor.realm, actor.addr, first);
        let b = if first == last { a.clone() } else { self.resolve(actor.realm, actor.addr, last) };
        let forgotten = self.bindings.dropped > 0;
        let mac = if a.mac == b.mac { a.mac } else { None };
        let mac = if forgotten { mac.or(actor.mac) } else { mac };
        let person = match (a.person, b.person) {
            (a, b) if a == b => a,
            // Whoever is left out is so in all of it: a part is not told apart.
            (Person::Excluded, _) | (_, Person::Excluded) => Person::Excluded,
            (many @ Person::Many(_), _) | (_, many @ Person::Many(_)) => many,
            _ => Person::Unknown,
        };
        let host_name = a.host_name.filter(|_| mac.is_some());
        if (mac, &host_name, &person) == (actor.mac, &actor.host_name, &actor.who) {
            return actor.clone();
        }
        // Another device than was thought: its department is that of the present.
        let department =
            if mac == actor.mac { actor.department.clone().or(a.department) } else { a.department };
        Arc::new(Actor { mac, host_name, who: person, department, ..Actor::clone(actor) })
    }

    /// Who has `addr` at that time.
    pub fn resolve(&self, realm: Realm, addr: IpAddr, at: Timestamp) -> Resolved {
        let interval = self.bindings.at(realm, addr, at);
        if interval.is_some_and(|i| self.disputed(i)) {
            let department = self.known.department(addr, None, None, None);
            return Resolved { person: self.crowd(realm, addr), department, ..Resolved::default() };
        }
        let binding = interval.filter(|i| !self.forwarded(i));
        let device = binding.and_then(|i| self.devices.get(i.device));
        let named = device.and_then(|d| d.name(at)).map(|n| n.name.clone());
        let managed = self.managed(device, named.as_ref(), addr);
        let host_name = named.or_else(|| device.and(managed).and_then(|m| m.name.clone()));
        let person = self.person(realm, addr, at, binding, device, managed);
        let mac = device.map(|d| d.mac);
        let department = self.known.department(addr, mac, host_name.as_deref(), managed);
        Resolved { mac, host_name, person, department }
    }

    /// The interval that holds the address, unless it rests on frames that a router forwarded, or
    /// somebody else uses the address too.
    fn binding(&self, realm: Realm, addr: IpAddr, at: Timestamp) -> Option<&Interval> {
        let interval = self.bindings.at(realm, addr, at)?;
        (!self.forwarded(interval) && !self.disputed(interval)).then_some(interval)
    }

    fn forwarded(&self, interval: &Interval) -> bool {
        interval.source == Source::Frame && self.routes(interval.device)
    }

    fn routes(&self, device: DeviceId) -> bool {
        self.devices.get(device).is_some_and(|d| d.routes)
    }

    /// `true` if another device used the address; a router that speaks for others does not count.
    fn disputed(&self, interval: &Interval) -> bool {
        interval.disputed() && !self.routes(interval.rival)
    }

    /// The device as its managers know it: by link address, else by its name, else by address.
    fn managed(
        &self,
        device: Option<&Device>,
        name: Option<&Text>,
        addr: IpAddr,
    ) -> Option<&Managed> {
        let inventory = &self.known.inventory;
        let by_mac = device.and_then(|d| inventory.by_mac(d.mac));
        let by_name = || name.and_then(|name| inventory.by_name(name));
        by_mac.or_else(by_name).or_else(|| inventory.by_address(addr))
    }

    fn person(
        &self,
        realm: Realm,
        addr: IpAddr,
        at: Timestamp,
        binding: Option<&Interval>,
        device: Option<&Device>,
        managed: Option<&Managed>,
    ) -> Person {
        if let Some(many) = self.many(realm, addr, binding) {
            return Person::Many(many);
        }
        if let Some(stay) = self.stay(realm, addr, at, binding.map(|i| i.device), device) {
            return self.claim(stay.user.clone(), Relation::LoggedOn, stay.source);
        }
        match managed.and_then(|m| m.user.clone()) {
            Some(user) => self.claim(Subject::user(user), Relation::Primary, Source::Inventory),
            None => Person::Unknown,
        }
    }

    /// Who has an address of which nobody knows whose it is.
    fn crowd(&self, realm: Realm, addr: IpAddr) -> Person {
        self.many(realm, addr, None).map_or(Person::Unknown, Person::Many)
    }

    fn claim(&self, user: Subject, relation: Relation, source: Source) -> Person {
        if self.known.excludes(user.name()) {
            return Person::Excluded;
        }
        let department =
            self.known.inventory.person(user.name()).and_then(|p| p.department.clone());
        Person::One(Arc::new(Claim { user, relation, source, department }))
    }

    /// Why there are many at the address.
    pub fn many(&self, realm: Realm, addr: IpAddr, binding: Option<&Interval>) -> Option<Many> {
        if self.known.settings.shared.iter().any(|net| within(addr, *net)) {
            return Some(Many::Configured);
        }
        let owner = binding.filter(|i| i.source < Source::Frame).map(|i| i.device);
        let many = self.shared.many(realm, addr, owner);
        many.or_else(|| shared::is_crowd(self.people.of(realm, addr)).then_some(Many::Users))
    }

    /// Who logged on at this device, here or at another of its addresses: the best source, of
    /// equals the latest.
    fn stay(
        &self,
        realm: Realm,
        addr: IpAddr,
        at: Timestamp,
        id: Option<DeviceId>,
        device: Option<&Device>,
    ) -> Option<&Stay> {
        let others = device.into_iter().flat_map(Device::addresses).filter(|other| *other != addr);
        let here = |addr: IpAddr| {
            let same_device =
                move |stay: &&Stay| self.binding(realm, addr, stay.from).map(|i| i.device) == id;
            self.people.of(realm, addr).iter().filter(move |s| s.holds(at)).filter(same_device)
        };
        let stays = std::iter::once(addr).chain(others).flat_map(here);
        stays.min_by_key(|s| (people::class(s.source), std::cmp::Reverse(s.from)))
    }

    /// Octets that bindings and devices take.
    pub fn bytes(&self) -> usize {
        self.bindings.bytes() + self.devices.bytes()
    }

    /// Times that a cap made something be forgotten.
    pub fn dropped(&self) -> u64 {
        self.bindings.dropped + self.devices.dropped + self.people.dropped + self.shared.dropped
    }

    /// Takes what the store remembers of earlier inputs, and what files say of the time up to
    /// `until`, in the order of time.
    pub fn remember(&mut self, rows: &IdentityRows, until: Timestamp) {
        let known = self.known.clone();
        let mut past: Vec<(Timestamp, Past<'_>)> = Vec::new();
        past.extend(rows.bindings.iter().map(|b| (b.from, Past::Binding(b))));
        past.extend(rows.stays.iter().map(|s| (s.from, Past::Stay(s))));
        for event in known.events.iter().skip(self.happened).take_while(|e| e.at <= until) {
            past.push((event.at, Past::Event(event)));
            self.happened += 1;
        }
        past.sort_by_key(|p| p.0);
        for (_, past) in past {
            match past {
                Past::Binding(row) => self.recall(row),
                Past::Stay(row) => {
                    let sign = people::Sign {
                        user: row.user.clone(),
                        source: row.source,
                        at: row.from,
                        until: Some(row.until),
                        input: REMEMBERED,
                    };
                    self.people.sign(row.realm, row.addr, sign);
                }
                Past::Event(event) => self.happen(event, REMEMBERED),
            }
        }
        for row in rows.said.iter().filter(|row| row.is_name) {
            if let Some(device) = self.devices.of(row.realm, row.mac) {
                self.devices.call(device, &row.text, row.source, row.first, REMEMBERED);
            }
        }
        for row in &rows.many {
            self.shared.remember(row.realm, row.addr, row.many);
        }
    }

    fn recall(&mut self, row: &BindingRow) {
        let Some(device) = self.devices.of(row.realm, row.mac) else { return };
        let interval = Interval {
            from: row.from,
            until: row.until,
            device,
            input: REMEMBERED,
            source: row.source,
            rival: if row.disputed { DeviceId::SOME } else { DeviceId::NONE },
        };
        self.bindings.recall(row.realm, row.addr, interval);
        self.devices.has(device, row.addr);
    }

    /// What the store keeps of it, by input, in an order of its own.
    pub fn rows(&self) -> BTreeMap<u16, IdentityRows> {
        let mut rows: BTreeMap<u16, IdentityRows> = BTreeMap::new();
        for (realm, addr, intervals) in self.bindings.all() {
            for i in intervals.iter().filter(|i| i.input != REMEMBERED) {
                let Some(device) = self.devices.get(i.device) else { continue };
                if device.routes && i.source == Source::Frame {
                    continue;
                }
                rows.entry(i.input).or_default().bindings.push(BindingRow {
                    realm,
                    addr,
                    mac: device.mac,
                    from: i.from,
                    until: i.until,
                    source: i.source,
                    disputed: self.disputed(i),
                });
                if let Some(many) = self.many(realm, addr, Some(i)) {
                    let row = ManyRow { realm, addr, many };
                    rows.entry(i.input).or_default().many.push(row);
                }
            }
        }
        for device in self.devices.all() {
            let Some(extra) = device.extra() else { continue };
            let names = extra.names.iter().map(|n| (true, n));
            for (is_name, said) in names.chain(extra.systems.iter().map(|n| (false, n))) {
                if said.input == REMEMBERED {
                    continue;
                }
                rows.entry(said.input).or_default().said.push(SaidRow {
                    realm: device.realm,
                    mac: device.mac,
                    is_name,
                    text: said.name.clone(),
                    source: said.source,
                    first: said.from,
                    last: said.last,
                });
            }
        }
        for (realm, addr, stays) in self.people.all() {
            let kept = |s: &&Stay| s.input != REMEMBERED && !self.known.excludes(s.user.name());
            for stay in stays.iter().filter(kept) {
                rows.entry(stay.input).or_default().stays.push(StayRow {
                    realm,
                    addr,
                    user: stay.user.clone(),
                    from: stay.from,
                    last: stay.last,
                    until: stay.until,
                    source: stay.source,
                });
            }
        }
        rows.values_mut().for_each(IdentityRows::sort);
        rows
    }

    /// Live: the same, as far as it is new or has changed since the last call.
    pub fn grown(&mut self) -> BTreeMap<u16, IdentityRows> {
        let mut rows = self.rows();
        let digest = *self.given.hasher();
        let mut all = HashSet::with_hasher(digest);
        let mut is_new = |row: u64| {
            all.insert(row);
            !self.given.contains(&row)
        };
        for (input, rows) in &mut rows {
            rows.bindings.retain(|row| is_new(digest.hash_one((input, 0, row))));
            rows.said.retain(|row| is_new(digest.hash_one((input, 1, row))));
            rows.stays.retain(|row| is_new(digest.hash_one((input, 2, row))));
            rows.many.retain(|row| is_new(digest.hash_one((input, 3, row))));
        }
        rows.retain(|_, rows| *rows != IdentityRows::default());
        self.given = all;
        rows
    }

    /// Names that devices gave themselves.
    pub fn names(&self) -> impl Iterator<Item = &Text> {
        let extras = self.devices.all().iter().filter_map(Device::extra);
        extras.flat_map(|extra| extra.names.iter().map(|n| &n.name))
    }
}

fn within(addr: IpAddr, (net, bits): (IpAddr, u8)) -> bool {
    net.is_ipv4() == addr.is_ipv4() && masked(addr, bits) == net
}

/// The address that every device with IPv6 can make of its link address (RFC 4291 §2.5.6 and
/// appendix A): where a person logs on with a device that has no other address yet.
fn link_local(mac: MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    IpAddr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::identity::Settings;

    const R: Realm = Realm(0);

    fn s(seconds: u64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn v6(last: u8) -> IpAddr {
        format!("2001:db8::{last:x}").parse().unwrap()
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    fn tracker(inventory: &str) -> Tracker {
        let mut known =
            Known { settings: Settings { users: true, ..Settings::default() }, ..Known::default() };
        assert!(known.inventory.read("a.csv", inventory, &[]).is_empty());
        Tracker::new(known.sorted())
    }

    /// `mac-name-person`, with `?` for what is not known.
    fn who(t: &Tracker, addr: IpAddr, at: u64) -> String {
        let r = t.resolve(R, addr, s(at));
        let mac = r.mac.map_or("?".to_owned(), |m| m.0[5].to_string());
        let person = match &r.person {
            Person::Unknown => "?".to_owned(),
            Person::One(c) => format!(
                "{}{}",
                c.user.name(),
                if c.relation == Relation::Primary { "*" } else { "" }
            ),
            Person::Many(_) => "many".to_owned(),
            Person::Excluded => "left out".to_owned(),
        };
        format!("{mac} {} {person}", r.host_name.as_deref().unwrap_or("?"))
    }

    const INVENTORY: &str =
        "name,mac,user,department\npc-1,02:00:00:00:00:01,anna,Sales\npc-2,,ben,Lab\n";

    #[test]
    fn the_main_path_dhcp_to_device_to_primary_user() {
        let mut t = tracker(INVENTORY);
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 1_000, 0);
        t.call(R, mac(1), &Text::from("PC-1"), Source::Dhcp, s(100), 0);
        t.bind(R, ip(9), mac(2), Source::Dhcp, s(500), 1_000, 0);
        t.call(R, mac(2), &Text::from("pc-2.corp.test"), Source::Dhcp, s(500), 0);
        t.bind(R, ip(9), mac(3), Source::Dhcp, s(900), 1_000, 0);
        assert_eq!(who(&t, ip(9), 99), "? ? ?");
        assert_eq!(who(&t, ip(9), 100), "1 PC-1 anna*");
        assert_eq!(who(&t, ip(9), 500), "2 pc-2.corp.test ben*", "by its name");
        assert_eq!(who(&t, ip(9), 900), "3 ? ?", "a stranger");
        let Person::One(claim) = t.resolve(R, ip(9), s(100)).person else { panic!() };
        assert_eq!(claim.department.as_deref(), Some("Sales"));
    }

    #[test]
    fn who_logs_on_comes_before_whose_it_is_and_does_not_outlive_the_address() {
        let mut t = tracker(INVENTORY);
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 10_000, 0);
        t.account(R, ip(9), Source::Kerberos, "ben@CORP", s(200), 0);
        t.account(R, ip(9), Source::Ntlm, "CORP\\backup", s(300), 0);
        assert_eq!(who(&t, ip(9), 150), "1 pc-1 anna*");
        assert_eq!(who(&t, ip(9), 350), "1 pc-1 ben", "a second account of a program");
        t.account(R, ip(9), Source::Kerberos, "anna", s(400), 0);
        assert_eq!(who(&t, ip(9), 399), "1 pc-1 ben");
        assert_eq!(who(&t, ip(9), 400), "1 pc-1 anna");
        t.bind(R, ip(9), mac(5), Source::Dhcp, s(500), 10_000, 0);
        assert_eq!(who(&t, ip(9), 500), "5 ? ?", "another device, another person");
    }

    #[test]
    fn one_device_on_two_families_and_with_privacy_addresses() {
        let mut t = tracker("name\n");
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 10_000, 0);
        for n in 1..9 {
            t.bind(R, v6(n), mac(1), Source::Neighbor, s(100 + u64::from(n)), 0, 0);
            t.frame(R, v6(n), mac(1), 64, s(110), 0);
        }
        t.account(R, ip(9), Source::Kerberos, "anna", s(200), 0);
        for n in 1..9 {
            assert_eq!(who(&t, v6(n), 300), "1 ? anna");
        }
    }

    #[test]
    fn radius_lets_people_in_before_they_have_an_address() {
        let mut t = tracker("name\n");
        let flow = FlowRef {
            realm: R,
            protocol: 17,
            id: 1,
            client: crate::types::Endpoint { addr: ip(250), port: 5_000 },
            server: crate::types::Endpoint { addr: ip(251), port: 1812 },
        };
        let session = |state, addr, mac| Session {
            id: 7,
            state,
            user: crate::observation::TextId::NONE,
            addr,
            mac,
            lasts_s: 0,
        };
        let none = MacAddr::default();
        t.session(&flow, &session(SessionState::Asked, None, mac(1)), "anna", s(100), 0);
        assert_eq!(who(&t, ip(9), 105), "? ? ?");
        t.session(&flow, &session(SessionState::Granted, None, none), "", s(101), 0);
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(110), 0, 0);
        assert_eq!(who(&t, ip(9), 120), "1 ? anna");
        t.session(&flow, &session(SessionState::Ended, None, mac(1)), "anna", s(200), 0);
        assert_eq!(who(&t, ip(9), 200), "1 ? ?");
        t.session(&flow, &session(SessionState::Begun, Some(ip(8)), none), "ben", s(300), 0);
        assert_eq!(who(&t, ip(8), 300), "? ? ben", "a VPN gives addresses to people");
        t.session(&flow, &session(SessionState::Granted, None, none), "", s(400), 0);
        assert_eq!(who(&t, ip(250), 400), "? ? ?", "the access server is nobody");
    }

    /// The flow of that number, from host 9 to some server.
    fn flow(id: u64) -> FlowRef {
        let end = |addr| crate::types::Endpoint { addr, port: 445 };
        FlowRef { realm: R, protocol: 6, id, client: end(ip(9)), server: end(ip(251)) }
    }

    #[test]
    fn whom_a_server_refuses_was_never_there() {
        let mut t = tracker("name\n");
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(50), 10_000, 0);
        t.login(&flow(1), Source::Ntlm, "anna", s(100), 0);
        t.answered(&flow(1), true, s(101));
        t.login(&flow(1), Source::Ntlm, "ben", s(200), 0);
        assert_eq!(who(&t, ip(9), 200), "1 ? ben", "as far as is known by then");
        t.answered(&flow(1), false, s(201));
        assert_eq!(who(&t, ip(9), 210), "1 ? anna", "as if he had not tried");
        t.answered(&flow(1), false, s(202));
        assert_eq!(who(&t, ip(9), 210), "1 ? anna", "an answer to something else");
        t.login(&flow(2), Source::KerberosRequest, "carla", s(300), 0);
        t.login(&flow(2), Source::KerberosRequest, "carla", s(301), 0);
        t.answered(&flow(2), false, s(302));
        t.login(&flow(2), Source::KerberosRequest, "carla", s(303), 0);
        t.login(&flow(2), Source::Kerberos, "carla", s(304), 0);
        t.answered(&flow(2), false, s(305));
        assert_eq!(who(&t, ip(9), 310), "1 ? carla", "what is granted stays granted");
        t.login(&flow(3), Source::Ldap, "eva", s(400), 0);
        t.answered(&flow(3), false, s(400 + 61));
        let there = t.people.of(R, ip(9)).iter().any(|stay| stay.user == Subject::user("eva"));
        assert!(there, "nobody answers after a minute");
    }

    #[test]
    fn an_address_that_two_use_is_nobodys() {
        let mut t = tracker(INVENTORY);
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 10_000, 0);
        t.account(R, ip(9), Source::Kerberos, "anna", s(150), 0);
        t.bind(R, ip(9), mac(2), Source::Neighbor, s(200), 0, 0);
        t.account(R, ip(9), Source::Kerberos, "ben", s(250), 0);
        assert_eq!(who(&t, ip(9), 199), "1 pc-1 anna");
        assert_eq!(who(&t, ip(9), 300), "? ? ?");
        t.bind(R, ip(9), mac(2), Source::Dhcp, s(400), 10_000, 0);
        assert_eq!(who(&t, ip(9), 400), "2 ? ?", "granted anew");
        // A router answers ARP for those behind it.
        t.bind(R, ip(8), mac(1), Source::Dhcp, s(500), 10_000, 0);
        t.bind(R, ip(8), mac(7), Source::Neighbor, s(600), 0, 0);
        assert_eq!(who(&t, ip(8), 650), "? ? ?");
        for n in 20..26 {
            t.frame(R, ip(n), mac(7), 64, s(700), 0);
        }
        assert_eq!(who(&t, ip(8), 650), "1 pc-1 anna*", "it was one");
        let rows = t.rows().remove(&0).unwrap();
        let mut again = tracker(INVENTORY);
        again.remember(&rows, s(0));
        for (addr, at, expected) in [(9, 199, "1 pc-1 anna"), (9, 300, "? ? ?"), (9, 400, "2 ? ?")]
        {
            assert_eq!(who(&again, ip(addr), at), expected, "{at} out of the store");
        }
    }

    #[test]
    fn behind_a_router_nobody_has_its_mac() {
        let mut t = tracker(INVENTORY);
        for n in 10..14 {
            t.frame(R, ip(n), mac(1), 63, s(100), 0);
        }
        assert_eq!(who(&t, ip(10), 100), "? ? ?", "routed by its TTL");
        for n in 20..26 {
            t.frame(R, ip(n), mac(2), 64, s(100), 0);
        }
        assert_eq!(
            who(&t, ip(20), 100),
            "? ? ?",
            "a bridge that keeps TTLs, by its many addresses"
        );
    }

    #[test]
    fn what_forwards_for_others_is_many() {
        let mut t = tracker(INVENTORY);
        t.bind(R, ip(9), mac(1), Source::Neighbor, s(100), 0, 0);
        t.account(R, ip(9), Source::Ntlm, "anna", s(110), 0);
        t.frame(R, ip(9), mac(1), 64, s(110), 0);
        assert_eq!(who(&t, ip(9), 120), "1 pc-1 anna");
        t.frame(R, ip(9), mac(1), 127, s(130), 0);
        assert_eq!(who(&t, ip(9), 120), "1 pc-1 many", "also before it showed");
    }

    #[test]
    fn wire_names_are_taken_only_if_switched_on() {
        let mut t = Tracker::default();
        t.account(R, ip(9), Source::Kerberos, "anna", s(100), 0);
        assert_eq!(who(&t, ip(9), 100), "? ? ?");
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 0, 0);
        t.account(R, ip(9), Source::Kerberos, "PC-9$", s(101), 0);
        assert_eq!(who(&t, ip(9), 101), "1 pc-9 ?", "a machine is no person");
    }

    #[test]
    fn files_happen_in_their_time() {
        let mut known = Known::default();
        let lease = |at, m| Event {
            at: s(at),
            addr: ip(9),
            what: What::Lease { mac: mac(m), lease_s: 1_000, name: None },
        };
        let on = Event {
            at: s(150),
            addr: ip(9),
            what: What::On { account: Text::from("anna"), until: None },
        };
        let off = Event { at: s(180), addr: ip(9), what: What::Off { account: Text::from("") } };
        known.events = vec![lease(300, 2), off, lease(100, 1), on];
        let mut t = Tracker::new(known.sorted());
        t.bind(R, ip(9), mac(7), Source::Frame, s(50), 0, 0);
        t.advance(s(1_000), 0);
        for (at, expected) in
            [(60, "7 ? ?"), (140, "1 ? ?"), (160, "1 ? anna"), (190, "1 ? ?"), (310, "2 ? ?")]
        {
            assert_eq!(who(&t, ip(9), at), expected, "{at}");
        }
    }

    #[test]
    fn what_is_learnt_late_refines_and_what_contradicts_unnames() {
        let mut t = tracker("name\n");
        let before = t.actor(R, ip(9), s(1_000));
        assert_eq!(before.mac, None);
        t.bind(R, ip(9), mac(1), Source::Neighbor, s(1_100), 0, 0);
        t.call(R, mac(1), &Text::from("pc"), Source::Dhcp, s(1_200), 0);
        let after = t.refined(&before, s(1_000), s(1_050));
        assert_eq!((after.mac, after.host_name.as_deref()), (Some(mac(1)), Some("pc")));
        let apart = t.refined(&before, s(400), s(1_050));
        assert_eq!(apart.mac, None, "not all of it was that device's");
    }

    #[test]
    fn a_million_bindings_fit_into_300_bytes_each() {
        let mut t = Tracker::default();
        let count = 1_000_000_u32;
        for n in 0..count {
            let [a, b, c, d] = n.to_be_bytes();
            let addr = IpAddr::from([10 + a, b, c, d]);
            t.bind(R, addr, MacAddr([2, 1, a, b, c, d]), Source::Neighbor, s(100), 0, 0);
        }
        let each = t.bytes() / count as usize;
        assert!(each <= 300, "{each}");
        assert_eq!(
            (t.dropped(), t.resolve(R, IpAddr::from([10, 0, 0, 9]), s(100)).mac.is_some()),
            (0, true)
        );
    }

    #[test]
    fn live_gives_out_what_is_new_and_tells_views_who_has_an_address() {
        let mut t = tracker("name\n");
        let directory = Arc::new(Directory::default());
        t.tell(directory.clone());
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 1_000, 3);
        let rows = t.grown().remove(&3).unwrap();
        assert_eq!((rows.bindings.len(), rows.said.len()), (1, 0));
        assert!(t.grown().is_empty(), "nothing came");
        t.call(R, mac(1), &Text::from("pc"), Source::Announced, s(200), 3);
        let rows = t.grown().remove(&3).unwrap();
        assert_eq!((rows.bindings.len(), rows.said.len()), (0, 1));
        assert_eq!(
            t.names().collect::<Vec<_>>(),
            ["pc"].map(Text::from).iter().collect::<Vec<_>>()
        );
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(900), 1_000, 3);
        assert_eq!(t.grown().remove(&3).unwrap().bindings.len(), 1, "the lease was renewed");
        let seen = directory.get(R, ip(9)).unwrap();
        assert_eq!((seen.mac, seen.host_name.as_deref()), (Some(mac(1)), Some("pc")));
        t.release(R, ip(9), s(1_000));
        assert_eq!(directory.get(R, ip(9)).unwrap().mac, None);
    }

    #[test]
    fn files_read_again_do_not_happen_twice() {
        let on = |at, account: &str| Event {
            at: s(at),
            addr: ip(9),
            what: What::On { account: Text::from(account), until: None },
        };
        let known = |events| Known { events, ..Known::default() }.sorted();
        let mut t = Tracker::new(known(vec![on(100, "anna")]));
        t.advance(s(150), 0);
        t.logoff(R, ip(9), "anna", s(160));
        t.know(known(vec![on(100, "anna"), on(200, "ben")]));
        t.advance(s(250), 0);
        assert_eq!(
            (who(&t, ip(9), 170).as_str(), who(&t, ip(9), 210).as_str()),
            ("? ? ?", "? ? ben")
        );
        t.know(known(vec![on(100, "anna"), on(180, "carla"), on(200, "ben")]));
        assert_eq!(who(&t, ip(9), 190), "? ? carla", "a line that came late");
        assert_eq!(who(&t, ip(9), 210), "? ? ben", "changes nothing of what came later");
    }

    #[test]
    fn the_store_gives_back_what_it_was_told() {
        let mut t = tracker("name\n");
        t.bind(R, ip(9), mac(1), Source::Dhcp, s(100), 1_000, 3);
        t.call(R, mac(1), &Text::from("pc"), Source::Dhcp, s(100), 3);
        t.account(R, ip(9), Source::Kerberos, "anna", s(200), 3);
        let rows = t.rows().remove(&3).unwrap();
        let mut again = tracker("name\n");
        again.remember(&rows, s(0));
        assert_eq!(who(&again, ip(9), 250), "1 pc anna");
        assert!(again.rows().is_empty(), "and is not written twice");
    }
}
