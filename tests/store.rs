//! The store keeps what it is told, once, through rescans, kills, full disks and time.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "dice and loop counters are small"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use shadowtap::courier::{self, Delivering, Sink, Undelivered, sinks::file::Lines};
use shadowtap::recorder::alert::{Event, Rules};
use shadowtap::recorder::identity::Person;
use shadowtap::recorder::store::rows::{
    Actor, CANDIDATES_MAX, Candidate, Coverage, DESTINATIONS_MAX, DestinationDay, EVIDENCE_MAX,
    EvidenceItem, Finding, IdentityRows, InputRow, InputRows, OpenFlow, SESSION_GAP, SessionSpan,
    Text, Usage,
};
use shadowtap::recorder::store::{
    Answers, Error, Options, OutboxRow, Retained, Scope, Store, Summary, schema,
};
use shadowtap::recorder::words::{ClientClass, Disposition, EvidenceKind, Level, Role};
use shadowtap::types::{Endpoint, MacAddr, Realm, Timestamp};

const S: u64 = Timestamp::SECOND;
const HOUR: u64 = 3_600 * S;
const DAY: u64 = 24 * HOUR;
/// 2026-03-02T00:00:00Z, a Monday.
const MONDAY: u64 = 1_772_409_600 * S;

// ---- rows to store ----------------------------------------------------------------------------

fn actor(n: u8) -> Arc<Actor> {
    Arc::new(Actor {
        realm: Realm(0),
        addr: [192, 0, 2, n].into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, n])),
        host_name: Some(Text::from(format!("host-{n}"))),
        who: Person::Unknown,
        department: None,
    })
}

fn usage(who: &Arc<Actor>, service: &str, at: u64, bytes_up: u64) -> Usage {
    Usage {
        hour: u32::try_from(at / HOUR).unwrap(),
        actor: who.clone(),
        service: service.into(),
        role: Role::Api,
        pattern: format!("*.{service}.example").into(),
        client_class: ClientClass::Program,
        level: Level::Used,
        evidence: EvidenceKind::Sni,
        disposition: Disposition::Unreviewed,
        policy_version: "p1".into(),
        signature_version: "s1".into(),
        bytes_up,
        bytes_down: bytes_up * 3,
        flows: 1,
        first_seen: Timestamp(at),
        last_seen: Timestamp(at + S),
    }
}

fn span(who: &Arc<Actor>, service: &str, start: u64, end: u64) -> SessionSpan {
    SessionSpan {
        actor: who.clone(),
        service: service.into(),
        start: Timestamp(start),
        end: Timestamp(end),
        level: Level::Used,
        disposition: Disposition::Unreviewed,
        bytes_up: 0,
    }
}

fn evidence(n: u64, at: u64) -> EvidenceItem {
    EvidenceItem {
        time: Timestamp(at),
        community_id: format!("1:community{n}").into(),
        capture: "office.pcap".into(),
        first_frame: n,
        name_frame: n + 3,
        last_frame: n + 9,
        wireshark_filter: format!("tcp.stream eq {n}").into(),
        transport: 6,
        client: Endpoint { addr: [192, 0, 2, 1].into(), port: 50_000 },
        server: Endpoint { addr: [198, 51, 100, 7].into(), port: 443 },
        kind: EvidenceKind::Sni,
        name: "api.alpha.example".into(),
        ja4: Some("t13d1516h2_8daaf6152771_02713d6af862".into()),
        client_class: ClientClass::Program,
        client_evidence: "user agent of an SDK".into(),
    }
}

fn finding(input: &str, who: &Arc<Actor>, service: &str, at: u64, bytes_up: u64) -> Finding {
    let day = at / DAY;
    Finding {
        id: format!("{input}-{}-{service}-{day}", who.addr).into(),
        actor: who.clone(),
        service: service.into(),
        day: u32::try_from(day).unwrap(),
        revision: 0,
        service_name: service.to_uppercase().into(),
        vendor: "Example".into(),
        category: "chat".into(),
        pattern: format!("*.{service}.example").into(),
        client_class: ClientClass::Program,
        level: Level::Used,
        disposition: Disposition::Unreviewed,
        policy: "".into(),
        policy_version: "p1".into(),
        signature_version: "s1".into(),
        severity: 4,
        reasons: vec!["nobody has decided about it yet".into()],
        title: "Unreviewed AI service used".into(),
        next_steps: "Decide.".into(),
        bytes_up,
        bytes_down: bytes_up * 3,
        flows: 1,
        first_seen: Timestamp(at),
        last_seen: Timestamp(at + S),
        evidence: vec![evidence(1, at)],
        evidence_more: 0,
        people: Vec::new(),
    }
}

fn input(key: &str, first: u64, last: u64) -> InputRow {
    InputRow {
        key: key.into(),
        name: format!("{key}.pcap").into(),
        size_bytes: 1_000,
        frames: 10,
        first_time: Timestamp(first),
        last_time: Timestamp(last),
        fault: None,
        sensor: None,
    }
}

fn coverage(name: &str, count: u64, of: Option<&str>) -> Coverage {
    Coverage { name: name.into(), count, of: of.map(Text::from) }
}

fn destination(name: &str, bytes_up: u64) -> DestinationDay {
    DestinationDay {
        day: u32::try_from(MONDAY / DAY).unwrap(),
        name: name.into(),
        bytes_up,
        bytes_down: 0,
        flows: 1,
        devices: 1,
    }
}

fn candidate(host: &str, grammars: &str, bytes_up: u64) -> Candidate {
    Candidate {
        day: u32::try_from(MONDAY / DAY).unwrap(),
        host: host.into(),
        grammars: grammars.into(),
        evidence: "POST /v1/chat/completions".into(),
        flows: 1,
        bytes_up,
        bytes_down: 1,
        actors: 1,
        devices: Vec::new(),
        first_seen: Timestamp(MONDAY),
        last_seen: Timestamp(MONDAY + S),
    }
}

/// An hour of one device at one service, everything that belongs to it.
fn hour_rows(key: &str, n: u8, service: &str, at: u64, bytes_up: u64) -> InputRows {
    let who = actor(n);
    InputRows {
        ledger: Vec::new(),
        hidden: Vec::new(),
        usage: vec![usage(&who, service, at, bytes_up)],
        sessions: vec![span(&who, service, at, at + S)],
        findings: vec![finding(key, &who, service, at, bytes_up)],
        candidates: vec![candidate("llm.example", "openai", bytes_up)],
        destinations: vec![destination("www.example", bytes_up)],
        coverage: vec![
            coverage("quic_flows", 4, None),
            coverage("quic_unread", 1, Some("quic_flows")),
        ],
        open_flows: vec![],
        identity: IdentityRows::default(),
    }
}

/// Alerts for findings alone: candidates have tests of their own.
fn plain() -> Options {
    Options {
        rules: Rules { candidate: false, upload_baseline: None, ..Rules::default() },
        ..Options::default()
    }
}

fn memory() -> Store {
    Store::open_memory(plain()).unwrap()
}

fn summary(store: &Store) -> Summary {
    store.answers().summary(&Scope::default()).unwrap()
}

/// Everything that a person could be told, as text to compare.
fn all_answers(store: &Store) -> String {
    let answers = store.answers();
    let scope = Scope::default();
    let findings: Vec<_> = answers
        .findings(&scope)
        .unwrap()
        .iter()
        .map(|f| answers.finding(&f.id).unwrap().unwrap())
        .collect();
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}",
        answers.summary(&scope).unwrap(),
        findings,
        answers.coverage(&scope).unwrap(),
        answers.destinations(&scope).unwrap(),
        answers.inputs(&scope).unwrap(),
        answers.seen_by("alpha", &scope).unwrap(),
    )
}

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

// ---- counting ---------------------------------------------------------------------------------

#[test]
fn totals_equal_the_sum_of_deltas() {
    let mut dice = Dice(7);
    let (mut live, mut whole) = (memory(), memory());
    let mut all = InputRows::default();
    let mut expected: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for minute in 0..300 {
        let at = MONDAY + minute * 60 * S;
        let mut batch = InputRows::default();
        for _ in 0..dice.roll(4) {
            let service = ["alpha", "beta", "gamma"][dice.roll(3) as usize];
            let who = actor(dice.roll(5) as u8);
            let bytes_up = dice.roll(100_000);
            batch.usage.push(usage(&who, service, at, bytes_up));
            batch.sessions.push(span(&who, service, at, at + S));
            batch.findings.push(finding("live", &who, service, at, bytes_up));
            let sum = expected.entry(service.to_owned()).or_default();
            *sum = (sum.0 + bytes_up, sum.1 + bytes_up * 3, sum.2 + 1);
        }
        live.append(&input("live", MONDAY, at), &batch).unwrap();
        all.usage.extend(batch.usage);
        all.sessions.extend(batch.sessions);
        all.findings.extend(batch.findings);
    }
    whole.commit_input(&input("live", MONDAY, MONDAY + 299 * 60 * S), &all).unwrap();
    let summary_live = summary(&live);
    let found: BTreeMap<_, _> = summary_live
        .unreviewed
        .services
        .iter()
        .map(|l| (l.service.to_string(), (l.used.bytes_up, l.used.bytes_down, l.used.flows)))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(summary_live, summary(&whole), "five hundred batches or one make no difference");
    let findings = live.answers().findings(&Scope::default()).unwrap();
    let sent: u64 = findings.iter().map(|f| f.bytes_up).sum();
    assert_eq!(sent, expected.values().map(|e| e.0).sum::<u64>());
}

#[test]
fn a_live_finding_keeps_a_short_history_and_every_alert() {
    let mut store = memory();
    let who = actor(1);
    for n in 0..400 {
        let mut f = finding("live", &who, "alpha", MONDAY, 100_000);
        f.last_seen = Timestamp(MONDAY + n * 5 * S);
        f.evidence = vec![evidence(n, MONDAY + n * 5 * S)];
        let rows = InputRows { findings: vec![f], ..InputRows::default() };
        store.append(&input("live", MONDAY, MONDAY), &rows).unwrap();
    }
    let found = store.answers().findings(&Scope::default()).unwrap();
    assert_eq!((found.len(), found[0].bytes_up, found[0].flows), (1, 40_000_000, 400));
    assert_eq!(found[0].revision, 400, "every change has a number");
    let history = store.answers().history(&found[0].id).unwrap();
    assert!(history.len() <= 4, "{} revisions kept", history.len());
    let outbox = store.outbox().after(0, 100).unwrap();
    let ids: Vec<_> = outbox.iter().map(|row| row.event_id.clone()).collect();
    assert_eq!(ids, [format!("{}-1", found[0].id), format!("{}-101", found[0].id)]);
    for row in history.iter().filter(|r| r.alerted) {
        assert!(ids.contains(&format!("{}-{}", found[0].id, row.revision)));
    }
    let full = store.answers().finding(&found[0].id).unwrap().unwrap();
    assert_eq!(full.evidence.len(), EVIDENCE_MAX);
    assert_eq!(full.evidence_more, 400 - EVIDENCE_MAX as u64);
}

#[test]
fn a_rescan_changes_nothing() {
    let mut store = memory();
    let rows = hour_rows("a", 1, "alpha", MONDAY, 50);
    let first = store.commit_input(&input("a", MONDAY, MONDAY + HOUR), &rows).unwrap();
    assert_eq!((first.findings_changed, first.alerts), (1, 1));
    let (answers, outbox) = (all_answers(&store), store.outbox().after(0, 9).unwrap());
    for _ in 0..3 {
        let again = store.commit_input(&input("a", MONDAY, MONDAY + HOUR), &rows).unwrap();
        assert_eq!((again.findings_changed, again.alerts), (0, 0));
    }
    assert_eq!(all_answers(&store), answers);
    assert_eq!(store.outbox().after(0, 9).unwrap(), outbox);
}

#[test]
fn a_replaced_input_leaves_nothing_of_before() {
    let (mut store, mut fresh) = (memory(), memory());
    let old = hour_rows("a", 1, "alpha", MONDAY, 50);
    let mut new = hour_rows("a", 2, "beta", MONDAY, 70);
    new.candidates.clear();
    store.commit_input(&input("a", MONDAY, MONDAY + HOUR), &old).unwrap();
    let done = store.commit_input(&input("a", MONDAY, MONDAY + 2 * HOUR), &new).unwrap();
    assert_eq!(done.findings_changed, 2, "one new, one gone");
    fresh.commit_input(&input("a", MONDAY, MONDAY + 2 * HOUR), &new).unwrap();
    assert_eq!(all_answers(&store), all_answers(&fresh));
    let history = store.answers().history(&old.findings[0].id).unwrap();
    assert_eq!(history.iter().map(|r| r.withdrawn).collect::<Vec<_>>(), [false, true]);
    assert_eq!(store.answers().finding(&old.findings[0].id).unwrap(), None);
    assert!(store.answers().evidence(&old.findings[0].id).unwrap().is_empty());

    store.commit_input(&input("a", MONDAY, MONDAY + HOUR), &old).unwrap();
    let back = store.answers().finding(&old.findings[0].id).unwrap().unwrap();
    assert_eq!(back.revision, 3, "found again: a new revision, never an old number");
}

#[test]
fn a_changed_finding_is_a_new_revision() {
    let mut store = memory();
    let mut rows = hour_rows("a", 1, "alpha", MONDAY, 50);
    store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    rows.findings[0].disposition = Disposition::Unsanctioned;
    rows.findings[0].policy_version = "p2".into();
    let done = store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    assert_eq!((done.findings_changed, done.alerts), (1, 1), "forbidden now, and told");
    let history = store.answers().history(&rows.findings[0].id).unwrap();
    let seen: Vec<_> =
        history.iter().map(|r| (r.revision, r.disposition, &*r.policy_version)).collect();
    let (unreviewed, forbidden) = (Disposition::Unreviewed, Disposition::Unsanctioned);
    assert_eq!(seen, [(1, unreviewed, "p1"), (2, forbidden, "p2")]);
}

#[test]
fn inputs_in_any_order_give_equal_answers() {
    let minutes = |n: u64| MONDAY + n * 60 * S;
    // The session goes on over three rotated files; the device changes its address in between.
    let mut moved = Actor::clone(&actor(1));
    moved.addr = "2001:db8::1".parse().unwrap();
    moved.host_name = Some("renamed".into());
    let moved = Arc::new(moved);
    let mut a = hour_rows("a", 1, "alpha", minutes(0), 50);
    a.sessions = vec![span(&actor(1), "alpha", minutes(0), minutes(10))];
    let mut b = hour_rows("b", 1, "alpha", minutes(60), 9);
    b.usage.push(usage(&moved, "alpha", minutes(61), 4));
    b.sessions = vec![span(&moved, "alpha", minutes(35), minutes(50))];
    let mut c = hour_rows("c", 1, "alpha", minutes(120), 3);
    // It calls itself something else from then on, at its first address too.
    let mut renamed = Actor::clone(&actor(1));
    renamed.host_name = Some("later-name".into());
    c.usage[0].actor = Arc::new(renamed);
    c.sessions = vec![
        span(&actor(1), "alpha", minutes(79), minutes(79)),
        // Exactly the gap: a session of its own.
        span(&actor(1), "alpha", minutes(79) + SESSION_GAP, minutes(110)),
    ];
    let inputs = [
        (input("a", minutes(0), minutes(30)), a),
        (input("b", minutes(30), minutes(70)), b),
        (input("c", minutes(70), minutes(130)), c),
    ];
    let answers_of = |order: &[usize]| {
        let mut store = memory();
        for &i in order {
            store.commit_input(&inputs[i].0, &inputs[i].1).unwrap();
        }
        let line = &summary(&store).unreviewed.services[0];
        assert_eq!((line.used.sessions, line.used.devices, line.used.bytes_up), (2, 1, 66));
        let seen_by = store.answers().seen_by("alpha", &Scope::default()).unwrap();
        assert_eq!(seen_by[0].actor.host_name.as_deref(), Some("later-name"));
        all_answers(&store)
    };
    let expected = answers_of(&[0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(answers_of(&order), expected, "order {order:?}");
    }
    assert_eq!(answers_of(&[2, 1, 0, 1, 2]), expected, "and with rescans");
}

#[test]
fn groups_are_disjoint_and_levels_apart() {
    let mut store = memory();
    let table = [
        ("chat", Disposition::Unsanctioned, Level::Used),
        ("chat", Disposition::Unsanctioned, Level::Named),
        ("look", Disposition::Unsanctioned, Level::Contacted),
        ("new", Disposition::Unreviewed, Level::Bulk),
        ("office", Disposition::Sanctioned, Level::Used),
        ("trial", Disposition::Tolerated, Level::Used),
    ];
    let mut rows = InputRows::default();
    for (n, (service, disposition, level)) in (0..).zip(table) {
        let who = actor(n);
        let at = MONDAY + u64::from(n) * HOUR;
        rows.usage.push(Usage { disposition, level, ..usage(&who, service, at, 10) });
        rows.sessions.push(SessionSpan { disposition, level, ..span(&who, service, at, at) });
    }
    store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    let all = summary(&store);
    let shape = |group: &shadowtap::recorder::store::Group| {
        let of = |l: &shadowtap::recorder::store::ServiceLine| {
            let (u, b) = (l.used, l.below);
            (l.service.to_string(), l.level, u.devices, u.sessions, b.devices, b.sessions)
        };
        group.services.iter().map(of).collect::<Vec<_>>()
    };
    let chat = ("chat".to_owned(), Level::Used, 1, 1, 1, 1);
    let look = ("look".to_owned(), Level::Contacted, 0, 0, 1, 1);
    assert_eq!(shape(&all.forbidden), [chat, look]);
    assert_eq!((all.forbidden.used.devices, all.forbidden.below.devices), (1, 2));
    assert_eq!((all.forbidden.used.bytes_up, all.forbidden.below.bytes_up), (10, 20));
    assert_eq!(shape(&all.unreviewed), [("new".to_owned(), Level::Bulk, 1, 1, 0, 0)]);
    assert_eq!(all.allowed.services.len(), 2);
    let later = Scope { since: Some(Timestamp(MONDAY + 3 * HOUR)), ..Scope::default() };
    let all = store.answers().summary(&later).unwrap();
    assert!(all.forbidden.services.is_empty() && all.unreviewed.used.sessions == 1);
    let other = Scope { inputs: Some(vec!["b".into()]), ..Scope::default() };
    assert_eq!(store.answers().summary(&other).unwrap(), Summary::default());
}

#[test]
fn coverage_has_its_denominator() {
    let mut store = memory();
    for (key, n) in [("a", 1), ("b", 2)] {
        let rows = hour_rows(key, n, "alpha", MONDAY, 50);
        store.commit_input(&input(key, MONDAY, MONDAY + HOUR), &rows).unwrap();
    }
    let lines = store.answers().coverage(&Scope::default()).unwrap();
    let unread = lines.iter().find(|l| &*l.name == "quic_unread").unwrap();
    assert_eq!((unread.count, unread.of.clone()), (2, Some(("quic_flows".into(), 8))));
}

#[test]
fn caps_hold_at_their_edge_and_count_the_rest() {
    for (name, extra) in [("below", -1), ("at", 0), ("above", 1), ("far above", 700)] {
        let at = |max: usize| usize::try_from(max as i64 + extra).unwrap();
        let beyond = u64::try_from(extra.max(0)).unwrap();
        let mut rows = InputRows::default();
        for i in 0..at(DESTINATIONS_MAX) {
            rows.destinations.push(destination(&format!("{i}.example"), 10 + i as u64));
        }
        for i in 0..at(CANDIDATES_MAX) {
            rows.candidates.push(candidate(&format!("{i}.example"), "openai", 10 + i as u64));
        }
        let mut f = finding("a", &actor(1), "alpha", MONDAY, 1);
        let items = usize::try_from(EVIDENCE_MAX as i64 + extra).unwrap();
        f.evidence = (0..items as u64).map(|n| evidence(n, MONDAY)).collect();
        rows.findings.push(f);
        let mut store = memory();
        store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
        let scope = Scope::default();
        let days = store.answers().destinations(&scope).unwrap();
        let named = days.iter().filter(|d| &*d.name != DestinationDay::REMAINDER).count();
        assert_eq!(named, at(DESTINATIONS_MAX).min(DESTINATIONS_MAX), "{name}");
        let sum = |rows: &[DestinationDay]| rows.iter().map(|d| d.bytes_up).sum::<u64>();
        assert_eq!(sum(&days), sum(&rows.destinations), "{name}: no byte is lost");
        assert_eq!(days.len() - named, usize::from(beyond > 0), "{name}");
        let kept = store.answers().candidates(&scope).unwrap().len();
        assert_eq!(kept, at(CANDIDATES_MAX).min(CANDIDATES_MAX), "{name}");
        let lines = store.answers().coverage(&scope).unwrap();
        let left_out = lines.iter().find(|l| &*l.name == "candidates_beyond_cap");
        assert_eq!(left_out.map_or(0, |l| l.count), beyond, "{name}");
        let f = store.answers().finding(&rows.findings[0].id).unwrap().unwrap();
        let kept = items.min(EVIDENCE_MAX);
        assert_eq!((f.evidence.len(), f.evidence_more), (kept, beyond), "{name}");
    }
}

#[test]
fn an_open_flow_is_carried_until_it_ends() {
    let flow = |at: u64, bytes_up: u64, ended: bool| OpenFlow {
        realm: Realm(0),
        transport: 6,
        client: Endpoint { addr: [192, 0, 2, 1].into(), port: 50_000 },
        server: Endpoint { addr: [198, 51, 100, 7].into(), port: 443 },
        service: "alpha".into(),
        role: Role::Chat,
        pattern: "chat.alpha.example".into(),
        name: "chat.alpha.example".into(),
        evidence: EvidenceKind::Sni,
        client_class: ClientClass::Browser,
        level: Level::Used,
        ja4: None,
        bytes_up,
        bytes_down: 2 * bytes_up,
        first_seen: Timestamp(MONDAY),
        last_seen: Timestamp(at),
        hello_bytes: 517,
        next_seq: [7, 9],
        ended,
    };
    let with = |flows: Vec<OpenFlow>| InputRows { open_flows: flows, ..InputRows::default() };
    let mut store = memory();
    let (a, b) = (MONDAY + HOUR, MONDAY + 2 * HOUR);
    store.commit_input(&input("a", MONDAY, a), &with(vec![flow(a - 1, 10, false)])).unwrap();
    let open = |store: &Store, before: u64| store.answers().open_flows(Timestamp(before)).unwrap();
    assert_eq!(open(&store, a), [flow(a - 1, 10, false)]);
    assert!(open(&store, a - 1).is_empty(), "only what was before");
    store.commit_input(&input("b", a, b), &with(vec![flow(b - 1, 30, false)])).unwrap();
    assert_eq!(open(&store, b), [flow(b - 1, 30, false)], "the latest state");
    assert_eq!(open(&store, a), [flow(a - 1, 10, false)], "a rescan of b sees a's");
    store.commit_input(&input("b", a, b), &with(vec![flow(a + 5, 12, true)])).unwrap();
    assert!(open(&store, b).is_empty(), "it ended in b");
    store.commit_input(&input("b", a, b), &with(vec![])).unwrap();
    assert_eq!(open(&store, b), [flow(a - 1, 10, false)], "replaced with its input");
}

// ---- alerts and courier -----------------------------------------------------------------------

fn events(store: &Store) -> Vec<Event> {
    let rows = store.outbox().after(0, 1_000).unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.payload).unwrap()).collect()
}

#[test]
fn alerts_say_what_is_new_once() {
    let mut store = memory();
    let mut commit = |key: &str, n: u8, day: u64, hour: u64, edit: &dyn Fn(&mut Finding)| {
        let at = MONDAY + day * DAY + hour * HOUR;
        let mut rows = hour_rows(key, n, "alpha", at, 50);
        edit(&mut rows.findings[0]);
        store.commit_input(&input(key, at, at), &rows).unwrap();
        let last = events(&store).into_iter().filter(|e| e.finding_id.starts_with(key));
        last.flat_map(|e| e.alerts).collect::<Vec<_>>()
    };
    let forbid = |f: &mut Finding| f.disposition = Disposition::Unsanctioned;
    let none: [&str; 0] = [];
    assert_eq!(commit("lookup", 1, 0, 8, &|f| f.level = Level::Contacted), none);
    assert_eq!(commit("allowed", 9, 0, 8, &|f| f.disposition = Disposition::Sanctioned), none);
    assert_eq!(commit("first", 1, 0, 9, &|_| ()), ["new_user"], "an allowed use made it known");
    assert_eq!(commit("again", 1, 0, 10, &|_| ()), none);
    assert_eq!(commit("second", 2, 0, 10, &|_| ()), ["new_user"]);
    // Two captures of one day that are under the limit alone and over it together.
    assert_eq!(commit("half", 2, 1, 9, &|f| f.bytes_up = 6_000_000), none);
    assert_eq!(commit("other-half", 2, 1, 10, &|f| f.bytes_up = 6_000_000), ["upload"]);
    assert_eq!(commit("more", 2, 1, 11, &|f| f.bytes_up = 6_000_000), none);
    assert_eq!(commit("bad", 1, 2, 9, &forbid), ["forbidden"]);
    assert_eq!(commit("cooling", 1, 2, 12, &forbid), none);
    assert_eq!(commit("cooled", 1, 2, 13, &forbid), ["forbidden"], "four hours later");
    assert_eq!(commit("earlier", 1, 2, 4, &forbid), ["forbidden"], "a capture from before");
    let lines = store.answers().coverage(&Scope::default()).unwrap();
    let held = lines.iter().find(|l| &*l.name == "alerts_held_by_cooldown").unwrap();
    assert_eq!(held.count, 1);
}

#[test]
fn an_event_carries_its_evidence_and_capture_time() {
    let commit = || {
        let mut store = memory();
        let mut rows = hour_rows("a", 1, "alpha", MONDAY + 9 * HOUR + 123_456_789, 50);
        rows.findings[0].disposition = Disposition::Unsanctioned;
        rows.findings[0].evidence = (1..=8).map(|n| evidence(n, MONDAY)).collect();
        store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
        store.outbox().after(0, 9).unwrap()
    };
    let rows = commit();
    assert_eq!(rows, commit(), "no clock and no chance in it");
    let event: Event = serde_json::from_str(&rows[0].payload).unwrap();
    let json: serde_json::Value = serde_json::from_str(&rows[0].payload).unwrap();
    for (field, expected) in [
        ("schema", "1"),
        ("kind", "\"finding\""),
        ("event_id", &format!("\"{}-1\"", event.finding_id)),
        ("ts", "\"2026-03-02T09:00:01.123456Z\""),
        ("first_seen", "\"2026-03-02T09:00:00.123456Z\""),
        ("src_ip", "\"192.0.2.1\""),
        ("src_port", "50000"),
        ("src_mac", "\"02:00:00:00:00:01\""),
        ("src_host", "\"host-1\""),
        ("dst_ip", "\"198.51.100.7\""),
        ("dst_port", "443"),
        ("transport", "\"tcp\""),
        ("app_proto", "\"tls\""),
        ("host", "\"api.alpha.example\""),
        ("host_source", "\"sni\""),
        ("action", "\"unsanctioned\""),
        ("severity", "7"),
        ("alerts", "[\"first_use\",\"new_user\",\"forbidden\"]"),
        ("evidence_more", "3"),
    ] {
        assert_eq!(json[field].to_string(), expected, "{field}");
    }
    assert_eq!(event.evidence.len(), 5);
    assert_eq!(event.evidence[0].five_tuple, "tcp 192.0.2.1:50000 > 198.51.100.7:443");
}

/// Fails on chosen calls, before or after it took the batch.
#[derive(Default)]
struct Shaky {
    taken: Vec<String>,
    calls: u32,
}

impl Sink for Shaky {
    fn name(&self) -> &'static str {
        "shaky"
    }

    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a> {
        Box::pin(async move {
            self.calls += 1;
            let fails = self.calls % 3;
            if fails != 1 {
                self.taken.extend(batch.iter().map(|row| row.event_id.clone()));
            }
            if fails == 0 { Ok(()) } else { Err(Undelivered::later(0, "not now")) }
        })
    }
}

#[test]
fn every_alert_arrives_in_order_whatever_the_sink_does() {
    let mut store = memory();
    for n in 0..=255 {
        for service in ["alpha", "beta"] {
            let key = format!("{service}{n}");
            let rows = hour_rows(&key, n, service, MONDAY + u64::from(n) * S, 50);
            store.commit_input(&input(&key, MONDAY, MONDAY), &rows).unwrap();
        }
    }
    let expected: Vec<_> =
        store.outbox().after(0, 1_000).unwrap().into_iter().map(|row| row.event_id).collect();
    assert_eq!(expected.len(), 512);
    let mut sink = Shaky::default();
    let mut rounds = 0;
    while courier::drain(&store.outbox(), &mut sink).is_err() {
        rounds += 1;
        assert!(rounds < 10);
    }
    let mut once = Vec::new();
    for id in &sink.taken {
        if !once.contains(id) {
            once.push(id.clone());
        }
    }
    assert_eq!(once, expected, "all, in order, once the doubles are dropped");
    assert!(sink.taken.len() > once.len(), "this sink made doubles");
    assert_eq!(courier::drain(&store.outbox(), &mut sink).unwrap(), 0, "the cursor holds");
}

#[test]
fn json_lines_mend_a_torn_line_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = memory();
    let rows = hour_rows("a", 1, "alpha", MONDAY, 50);
    store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    let line = format!("{}\n", store.outbox().after(0, 9).unwrap()[0].payload);
    for (name, before, kept) in [
        ("new file", "", ""),
        ("torn in the middle", "{\"x\":1}\n{\"schema\":1,\"ki", "{\"x\":1}\n"),
        ("torn at once", "{\"sch", ""),
        ("whole", "{\"schema\":1}\n", "{\"schema\":1}\n"),
        ("somebody else's", "notes of mine", "notes of mine\n"),
    ] {
        let path = dir.path().join(name);
        if !before.is_empty() {
            std::fs::write(&path, before).unwrap();
        }
        let mut sink = Lines::append(&path).unwrap();
        assert_eq!(courier::drain(&store.outbox(), &mut sink).unwrap(), 1, "{name}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}{line}"), "{name}");
    }
}

// ---- the file ---------------------------------------------------------------------------------

fn open(path: &Path) -> Store {
    Store::open(path, plain()).unwrap()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut first = open(&path);
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for other in [&path, &link] {
        match Store::open(other, plain()) {
            Err(Error::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
    }
    let rows = hour_rows("a", 1, "alpha", MONDAY, 50);
    first.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    let reader = Answers::open(&path).unwrap();
    let scope = Scope::default();
    assert_eq!(reader.summary(&scope).unwrap(), summary(&first));
    for file in ["", "-wal", "-shm", ".lock"] {
        let mode = std::fs::metadata(beside(&path, file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
    }
    drop(first);
    let second = open(&path);
    assert_eq!(summary(&second).inputs, 1);
}

#[test]
fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "notes of mine, longer than the header of a database ".repeat(9))
        .unwrap();
    let other = dir.path().join("other.db");
    let conn = rusqlite::Connection::open(&other).unwrap();
    conn.execute_batch("CREATE TABLE mine(x); INSERT INTO mine VALUES (1)").unwrap();
    drop(conn);
    for path in [&notes, &other] {
        let before = std::fs::read(path).unwrap();
        let refused = Store::open(path, plain());
        assert!(matches!(refused, Err(Error::NotAStore { .. })), "{refused:?}");
        assert!(matches!(Answers::open(path), Err(Error::NotAStore { .. })));
        assert_eq!(std::fs::read(path).unwrap(), before);
        assert!(!beside(path, ".lock").exists(), "no lock file marks it as ours");
        let refused = Store::open(path, plain());
        assert!(matches!(refused, Err(Error::NotAStore { .. })), "{refused:?}");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    assert!(matches!(Answers::open(&dir.path().join("none")), Err(Error::File { .. })));
    assert!(Store::open(&dir.path().join("no/such/folder"), plain()).is_err());
}

#[test]
fn a_newer_store_is_refused_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path));
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", schema::known() + 1).unwrap();
    drop(conn);
    let before = std::fs::read(&path).unwrap();
    let refused = Store::open(&path, plain()).unwrap_err();
    assert!(refused.to_string().contains("newer program"), "{refused}");
    assert!(matches!(Answers::open(&path), Err(Error::Newer { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_migration_keeps_a_copy_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut store = open(&path);
    let rows = hour_rows("a", 1, "alpha", MONDAY, 50);
    store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    let expected = all_answers(&store);
    drop(store);
    let mut steps = schema::MIGRATIONS.to_vec();
    steps.push("ALTER TABLE input ADD COLUMN later TEXT");
    let mut conn = rusqlite::Connection::open(&path).unwrap();
    let kept = schema::migrate(&mut conn, Some(&path), &steps).unwrap().unwrap();
    assert_eq!(schema::version(&conn).unwrap(), schema::known() + 1);
    drop(conn);
    assert_eq!(kept, beside(&path, &format!(".backup-v{}", schema::known())));
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(all_answers(&open(&kept)), expected);
    assert!(matches!(Store::open(&path, plain()), Err(Error::Newer { .. })));
}

#[test]
fn a_damaged_store_is_noticed_moved_aside_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.db");
    let mut store = open(&good);
    for n in 0..40 {
        let key = format!("in{n}");
        let rows = hour_rows(&key, n, "alpha", MONDAY, 50);
        store.commit_input(&input(&key, MONDAY, MONDAY), &rows).unwrap();
    }
    drop(store);
    let whole = std::fs::read(&good).unwrap();
    let (mut noticed, mut refused) = (0, 0);
    for seed in 1..=60_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bytes = whole.clone();
        let at = dice.roll(bytes.len() as u64) as usize;
        match seed % 3 {
            0 => bytes.truncate(at.max(1)),
            1 => {
                let page = at / 4096 * 4096;
                bytes[page..page + 4096].fill(0);
            }
            _ => {
                for _ in 0..64 {
                    let at = dice.roll(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << dice.roll(8);
                }
            }
        }
        let path = dir.path().join(format!("{seed}.db"));
        std::fs::write(beside(&path, ".lock"), "1\n").unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let mut store = match Store::open(&path, plain()) {
            Ok(store) => store,
            Err(Error::Newer { .. }) => {
                refused += 1;
                continue;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        };
        if let Some(aside) = store.opened().moved_aside.clone() {
            noticed += 1;
            assert_eq!(std::fs::read(aside).unwrap(), bytes, "seed {seed}: kept as it was");
            assert_eq!(summary(&store), Summary::default());
        }
        // Damage inside a value may go unnoticed until it is met; then it is an error.
        let rows = hour_rows("new", 1, "alpha", MONDAY, 50);
        let written = store.commit_input(&input("new", MONDAY, MONDAY), &rows);
        assert!(
            written.is_ok() || store.opened().moved_aside.is_none(),
            "seed {seed}: {written:?}"
        );
    }
    assert!(noticed >= 30, "{noticed} of 60 noticed, {refused} refused");
    assert!(refused <= 2, "{refused} refused");
}

#[test]
fn what_is_forgotten_is_in_no_byte_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut store = open(&path);
    let marked = |n: u64, at: u64, mark: &str| {
        let who = Arc::new(Actor {
            realm: Realm(0),
            addr: std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n)).into(),
            mac: Some(MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8])),
            host_name: Some(format!("{mark}-host-{n}").into()),
            who: Person::Unknown,
            department: None,
        });
        let mut f = finding(&format!("{mark}-key-{n}"), &who, "alpha", at, 50);
        f.evidence[0].name = format!("{mark}-evidence-{n}.example").into();
        f.title = format!("{mark}-title-{n}").into();
        let mut rows = InputRows {
            usage: vec![usage(&who, "alpha", at, 5)],
            sessions: vec![span(&who, "alpha", at, at)],
            findings: vec![f],
            destinations: vec![destination(&format!("{mark}-destination-{n}"), 5)],
            candidates: vec![candidate(&format!("{mark}-candidate-{n}"), "openai", 5)],
            ..InputRows::default()
        };
        rows.destinations[0].day = u32::try_from(at / DAY).unwrap();
        rows.candidates[0].day = rows.destinations[0].day;
        let mut input = input(&format!("{mark}-input-{n}"), at, at);
        input.name = format!("{mark}-name-{n}").into();
        (input, rows)
    };
    let mut dice = Dice(99);
    for n in 0..600 {
        // Old and new side by side on the pages.
        let (mark, at) =
            if dice.roll(2) == 0 { ("OLDMARK", MONDAY) } else { ("NEWMARK", MONDAY + 500 * DAY) };
        let (input, rows) = marked(n, at + dice.roll(HOUR), mark);
        store.commit_input(&input, &rows).unwrap();
    }
    let contains = |mark: &str| {
        ["", "-wal"].iter().any(|suffix| {
            let bytes = std::fs::read(beside(&path, suffix)).unwrap_or_default();
            bytes.windows(mark.len()).any(|w| w == mark.as_bytes())
        })
    };
    assert!(contains("OLDMARK") && contains("NEWMARK"));
    let mut passes = 0;
    while store.retain(Timestamp(MONDAY + 501 * DAY)).unwrap().more {
        passes += 1;
        assert!(passes < 20);
    }
    assert!(!contains("OLDMARK"), "a forgotten name is still in the file");
    assert!(contains("NEWMARK"));
    let left = store.answers().findings(&Scope::default()).unwrap();
    assert!(!left.is_empty() && left.iter().all(|f| f.id.starts_with("NEWMARK")));
    let once = store.retain(Timestamp(MONDAY + 501 * DAY)).unwrap();
    assert_eq!(once, Retained::default(), "and nothing more to do");
}

#[test]
fn a_clock_that_jumps_costs_a_tenth() {
    let mut store = memory();
    let mut rows = InputRows::default();
    for n in 0..20_000_u64 {
        rows.usage.push(usage(&actor((n % 200) as u8), "alpha", MONDAY + n * HOUR / 4, 1));
    }
    store.commit_input(&input("a", MONDAY, MONDAY), &rows).unwrap();
    let before = summary(&store).unreviewed.used.bytes_up;
    let pass = store.retain(Timestamp(MONDAY + 80 * 365 * DAY)).unwrap();
    assert!(pass.more);
    let after = summary(&store).unreviewed.used.bytes_up;
    assert!(after >= before * 9 / 10 && after < before, "{before} to {after}");
}

#[test]
fn the_store_keeps_to_its_size_and_says_what_that_cost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let options = Options { size_max_bytes: 1 << 20, ..plain() };
    let mut store = Store::open(&path, options).unwrap();
    for n in 0..60_u64 {
        let at = MONDAY + n * HOUR;
        let mut rows = hour_rows(&format!("in{n}"), n as u8, "alpha", at, 50);
        rows.findings[0].evidence = (0..20).map(|i| evidence(i, at)).collect();
        for i in 0..150 {
            rows.usage.push(usage(&actor((i % 250) as u8), &format!("s{}", i % 7), at, 1));
        }
        store.commit_input(&input(&format!("in{n}"), at, at), &rows).unwrap();
        store.retain(Timestamp(at)).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= 1 << 20, "after {n}");
    }
    let lines = store.answers().coverage(&Scope::default()).unwrap();
    let forgot = lines.iter().find(|l| &*l.name == "forgotten_for_room_evidence");
    assert!(forgot.is_some_and(|l| l.count > 0), "{lines:?}");
    let newest = store.answers().findings(&Scope::default()).unwrap();
    assert!(newest.iter().any(|f| f.id.starts_with("in59-")), "the newest is there");
}

#[test]
fn a_full_store_refuses_a_batch_whole_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let options = Options { size_max_bytes: 400 << 10, ..plain() };
    let mut store = Store::open(&path, options.clone()).unwrap();
    fill_until_refused(&mut store);
    drop(store);
    let mut store = Store::open(&path, plain()).unwrap();
    let (input, rows) = big_input(u32::MAX);
    store.commit_input(&input, &rows).unwrap();
}

fn big_input(n: u32) -> (InputRow, InputRows) {
    let key = format!("big{n}");
    let mut rows = hour_rows(&key, 1, "alpha", MONDAY, 50);
    for i in 0..500 {
        rows.usage.push(usage(&actor((i % 250) as u8), &format!("s{i}"), MONDAY, 1));
    }
    (input(&key, MONDAY, MONDAY), rows)
}

fn fill_until_refused(store: &mut Store) -> (InputRow, InputRows) {
    for n in 0..10_000 {
        let before = all_answers(store);
        let (input, rows) = big_input(n);
        match store.commit_input(&input, &rows) {
            Ok(_) => {}
            Err(e) => {
                assert!(matches!(e, Error::Full) && e.is_retryable(), "{e}");
                assert_eq!(e.to_string(), Error::Full.to_string());
                assert_eq!(all_answers(store), before, "nothing half written");
                return (input, rows);
            }
        }
    }
    panic!("never full");
}

// ---- other processes --------------------------------------------------------------------------

/// Runs one test function of this file in a process of its own.
fn child(role: &str, test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(role, path);
    command
}

/// On a real full disk: a small tmpfs in a mount namespace of the child's own. Needs root, which
/// the size limit of the test above does not.
#[test]
fn a_full_disk_refuses_a_batch_whole_and_goes_on_when_there_is_room() {
    if let Some(dir) = std::env::var_os("STORE_FULL_DISK") {
        return full_disk(Path::new(&dir));
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let inner = child(
        "STORE_FULL_DISK",
        "a_full_disk_refuses_a_batch_whole_and_goes_on_when_there_is_room",
        dir.path(),
    );
    let script =
        "mount -t tmpfs -o size=3m none \"$STORE_FULL_DISK\" || exit 77; exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("STORE_FULL_DISK", dir.path())
        .output()
        .unwrap();
    // 77: no right to mount, as in some containers.
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 77)), "{text}");
}

fn full_disk(dir: &Path) {
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let mut store = open(&dir.join("s.db"));
    let (input, rows) = fill_until_refused(&mut store);
    let again = store.commit_input(&input, &rows);
    assert!(matches!(again, Err(Error::Full)), "still full: {again:?}");
    std::fs::remove_file(&ballast).unwrap();
    store.commit_input(&input, &rows).unwrap();
    let expected = all_answers(&store);
    drop(store);
    assert_eq!(all_answers(&open(&dir.join("s.db"))), expected);
}

/// Two contents for each input, so that a rescan cut short would show as a mixture.
fn killed_rows(key: &str, n: u64, variant: u64) -> InputRows {
    let at = MONDAY + n * HOUR;
    let mut rows = hour_rows(key, 1, "alpha", at, 100 + variant);
    for i in 0..20_u8 {
        rows.usage.push(usage(&actor(i), "beta", at, n + variant * 1_000));
        rows.sessions.push(span(&actor(i), "beta", at, at + S));
    }
    rows.findings.push(finding(key, &actor(2), &format!("gamma{variant}"), at, 7));
    rows
}

#[test]
fn nothing_is_lost_or_doubled_by_fifty_kills() {
    if let Some(path) = std::env::var_os("STORE_KILLED") {
        return commit_forever(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut dice = Dice(0x5eed);
    let (mut done, mut whole) = (BTreeMap::<u64, u64>::new(), Whole::new());
    for kill in 0..50 {
        let mut process = child("STORE_KILLED", "nothing_is_lost_or_doubled_by_fifty_kills", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let wanted = dice.roll(4) + 1;
        let mut commits = 0;
        let mut note = |line: &str| {
            let mut words = line.split(' ').skip_while(|word| *word != "done").skip(1);
            if let (Some(n), Some(variant)) = (words.next(), words.next()) {
                done.insert(n.parse().unwrap(), variant.parse().unwrap());
                return 1;
            }
            0
        };
        while commits < wanted {
            commits += note(&lines.next().expect("the child ended by itself").unwrap());
        }
        match Store::open(&path, plain()) {
            Err(Error::Locked { pid, .. }) => assert_eq!(pid, process.id().to_string()),
            other => panic!("{other:?}"),
        }
        // A moment somewhere inside the next commits.
        std::thread::sleep(Duration::from_micros(dice.roll(6_000)));
        process.kill().unwrap();
        process.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line);
        }
        check_whole(&path, &done, &mut whole, kill);
    }
    assert!(done.len() > 40, "{} inputs", done.len());
}

/// Commits new inputs and scans old ones again, until somebody stops it.
fn commit_forever(path: &Path) {
    let mut store = open(path);
    let mut dice = Dice(u64::from(std::process::id()) | 1);
    let mut next = summary(&store).inputs;
    loop {
        let n = if next > 0 && dice.roll(3) == 0 { dice.roll(next) } else { next };
        let variant = dice.roll(2);
        let key = format!("k{n}");
        let at = MONDAY + n * HOUR;
        store.commit_input(&input(&key, at, at), &killed_rows(&key, n, variant)).unwrap();
        println!("done {n} {variant}");
        next = next.max(n + 1);
    }
}

/// What a person would be told of one input, revisions apart: they say how often it was scanned.
fn told(answers: &Answers, key: &str) -> (Summary, Vec<Finding>) {
    let scope = Scope { inputs: Some(vec![key.into()]), ..Scope::default() };
    let mut findings = answers.findings(&scope).unwrap();
    for finding in &mut findings {
        finding.revision = 0;
    }
    (answers.summary(&scope).unwrap(), findings)
}

/// Every input is whole, in one of its two contents; what was said to be done is there.
fn check_whole(path: &Path, done: &BTreeMap<u64, u64>, whole: &mut Whole, kill: u32) {
    let store = open(path);
    assert_eq!(store.opened().moved_aside, None, "kill {kill}");
    let conn = rusqlite::Connection::open(path).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(verdict, "ok", "kill {kill}");
    let inputs = summary(&store).inputs;
    for n in 0..inputs {
        let key = format!("k{n}");
        let contents = whole.entry(n).or_insert_with(|| {
            [0, 1].map(|variant| {
                let mut fresh = memory();
                let at = MONDAY + n * HOUR;
                let rows = killed_rows(&key, n, variant);
                fresh.commit_input(&input(&key, at, at), &rows).unwrap();
                told(fresh.answers(), &key)
            })
        });
        let found = told(store.answers(), &key);
        assert!(contents.contains(&found), "kill {kill}: input {n} is neither content");
    }
    let last = done.keys().next_back().copied().unwrap_or(0);
    assert!(last < inputs, "kill {kill}: input {last} was committed and is gone");
}

/// Both contents of every input.
type Whole = BTreeMap<u64, [(Summary, Vec<Finding>); 2]>;
