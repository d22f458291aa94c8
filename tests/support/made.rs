//! A store as a sensor would have filled it, of any size, from a seed: for tests of what is made of
//! stores, and for looking at pages.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    dead_code,
    reason = "dice are small, and not everybody throws all of them"
)]

use std::path::Path;
use std::sync::Arc;

use shadowtap::recorder::finding;
use shadowtap::recorder::hits::Hit;
use shadowtap::recorder::identity::Person;
use shadowtap::recorder::policy::Ruling;
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::{
    Actor, Candidate, Coverage, DestinationDay, EvidenceItem, Finding, InputRow, InputRows,
    SessionSpan, Text, Usage,
};
use shadowtap::recorder::store::{Options, Store};
use shadowtap::recorder::words::{ClientClass, Disposition, EvidenceKind, Level};
use shadowtap::types::{Endpoint, MacAddr, Realm, Timestamp};

const S: u64 = Timestamp::SECOND;
const HOUR: u64 = 3_600 * S;
const DAY: u64 = 24 * HOUR;

/// 2026-10-24T00:00:00Z; a month later it is a Monday in November.
pub const BEGIN: u64 = 1_792_800_000 * S;

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub devices: u64,
    pub days: u64,
    /// Of a hundred devices, so many use AI on a working day.
    pub busy: u64,
}

/// Services, how popular each is, and who uses it.
const SERVICES: [(&str, u64, ClientClass, u64); 16] = [
    ("openai-api", 14, ClientClass::Program, 400_000),
    ("chatgpt", 30, ClientClass::Browser, 60_000),
    ("github-copilot", 12, ClientClass::Program, 150_000),
    ("claude", 12, ClientClass::Browser, 90_000),
    ("gemini", 9, ClientClass::Browser, 50_000),
    ("deepseek", 5, ClientClass::Browser, 40_000),
    ("perplexity", 5, ClientClass::Browser, 30_000),
    ("cursor", 4, ClientClass::Program, 700_000),
    ("mistral-api", 3, ClientClass::Program, 120_000),
    ("openrouter", 2, ClientClass::Program, 200_000),
    ("groq-api", 2, ClientClass::Program, 80_000),
    ("deepl", 4, ClientClass::Browser, 25_000),
    ("otter", 2, ClientClass::Browser, 900_000),
    ("character-ai", 2, ClientClass::Browser, 20_000),
    ("midjourney", 1, ClientClass::Browser, 30_000),
    ("manus", 1, ClientClass::Browser, 300_000),
];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides.max(1)
    }
}

pub fn device(n: u64) -> Arc<Actor> {
    let [.., a, b, c] = n.to_be_bytes();
    let people =
        ["anna", "bo", "carla", "dmitri", "elif", "farid", "greta", "hugo", "ines", "jonas"];
    let name = people[(n % 10) as usize];
    Arc::new(Actor {
        realm: Realm(0),
        addr: [10, a.wrapping_add(1), b, c].into(),
        mac: Some(MacAddr([2, 0, 0, a, b, c])),
        host_name: (!n.is_multiple_of(9)).then(|| Text::from(format!("{name}-laptop-{n}"))),
        who: Person::Unknown,
        department: None,
    })
}

/// Departments for [`device`]s: blocks of 50 addresses, the last one smaller than the rest.
pub fn departments(devices: u64) -> String {
    let names =
        ["Research", "Sales", "Finance", "Legal", "Production", "Marketing", "Service", "People"];
    let mut text = String::new();
    for (i, name) in names.iter().enumerate() {
        text += &["[[department]]\nname = \"", name, "\"\nnetworks = [\n"].concat();
        for block in 0..=(devices / 64) {
            if block % 8 == i as u64 {
                let [.., a, b, c] = (block * 64).to_be_bytes();
                let net = format!("  \"10.{}.{b}.{c}/26\",\n", a.wrapping_add(1));
                text += &net;
            }
        }
        text.push_str("]\n\n");
    }
    text
}

pub const POLICY: &str = r#"# What was decided so far.
[default]
status = "unreviewed"

[[rule]] # the contract of March
service = "openai-api"
status = "sanctioned"
owner = "platform team"
reason = "contract with data processing terms"
expires = 2027-03-01

[[rule]]
service = "github-copilot"
status = "tolerated"
owner = "platform team"
reason = "trial until the review"
expires = 2026-12-31

# Nobody knows where these process what is written.
[[rule]]
service = ["deepseek", "deepseek-api"]
status = "forbidden"
owner = "data protection"
reason = "no agreement on where prompts are processed"
"#;

fn verdict(service: &str) -> Disposition {
    match service {
        "openai-api" => Disposition::Sanctioned,
        "github-copilot" => Disposition::Tolerated,
        "deepseek" | "deepseek-api" => Disposition::Unsanctioned,
        _ => Disposition::Unreviewed,
    }
}

/// One use, as usage, session and finding.
#[allow(clippy::too_many_arguments)]
pub fn put(
    rows: &mut InputRows,
    catalogue: &Catalogue,
    input: &str,
    who: &Arc<Actor>,
    id: &str,
    class: ClientClass,
    level: Level,
    at: u64,
    sent: u64,
) {
    let Some(service) = catalogue.service(id) else { panic!("no service {id}") };
    let Some(host) = service.hosts.iter().find(|h| h.role.opens_session()) else {
        panic!("{id} has no host that counts")
    };
    let role = host.role;
    let name = host.pattern.replace("{region}", "eu-1");
    let ruling = Ruling { disposition: verdict(id), rule: Text::from("") };
    let hit = Hit {
        service: id.into(),
        service_name: service.name.as_str().into(),
        vendor: service.vendor.as_str().into(),
        category: service.category.word().into(),
        pattern: host.pattern.as_str().into(),
        tenant: None,
        role,
        weak: false,
        same_host: false,
    };
    let told = finding::tell(&hit, &ruling, level, class, sent);
    let (first, last) = (Timestamp(at), Timestamp(at + 300 * S));
    let day = (at / DAY) as u32;
    rows.usage.push(Usage {
        hour: (at / HOUR) as u32,
        actor: who.clone(),
        service: id.into(),
        role,
        pattern: hit.pattern.clone(),
        client_class: class,
        level,
        evidence: EvidenceKind::Sni,
        disposition: ruling.disposition,
        policy_version: "recorded".into(),
        signature_version: catalogue.version().into(),
        bytes_up: sent,
        bytes_down: sent * 3,
        flows: 2,
        first_seen: first,
        last_seen: last,
    });
    rows.sessions.push(SessionSpan {
        actor: who.clone(),
        service: id.into(),
        start: first,
        end: last,
        level,
        disposition: ruling.disposition,
        bytes_up: sent,
    });
    let id_of = finding::id(who, id, day, input);
    if rows.findings.iter().rev().take(40).any(|f| f.id == id_of) {
        return;
    }
    rows.findings.push(Finding {
        id: id_of,
        actor: who.clone(),
        service: id.into(),
        day,
        revision: 0,
        service_name: hit.service_name.clone(),
        vendor: hit.vendor.clone(),
        category: hit.category.clone(),
        pattern: hit.pattern.clone(),
        client_class: class,
        level,
        disposition: ruling.disposition,
        policy: ruling.rule.clone(),
        policy_version: "recorded".into(),
        signature_version: catalogue.version().into(),
        severity: told.severity,
        reasons: told.reasons,
        title: told.title,
        next_steps: told.next_steps,
        bytes_up: sent,
        bytes_down: sent * 3,
        flows: 2,
        first_seen: first,
        last_seen: last,
        people: Vec::new(),
        evidence: vec![EvidenceItem {
            time: first,
            community_id: "1:made".into(),
            capture: input.into(),
            first_frame: at % 9_973 + 1,
            name_frame: at % 9_973 + 4,
            last_frame: at % 9_973 + 60,
            wireshark_filter: format!("ip.addr == {}", who.addr).into(),
            transport: 6,
            client: Endpoint { addr: who.addr, port: 50_000 },
            server: Endpoint { addr: [198, 51, 100, 7].into(), port: 443 },
            kind: EvidenceKind::Sni,
            name: name.into(),
            ja4: None,
            client_class: class,
            client_evidence: "made".into(),
        }],
        evidence_more: 0,
    });
}

pub fn input(name: &str, first: u64, last: u64) -> InputRow {
    InputRow {
        key: format!("{name}-key").into(),
        name: name.into(),
        size_bytes: 1 << 20,
        frames: 1_000,
        first_time: Timestamp(first),
        last_time: Timestamp(last),
        fault: None,
        sensor: None,
    }
}

fn coverage(clients: u64) -> Vec<Coverage> {
    let row = |name: &str, count: u64, of: Option<&str>| Coverage {
        name: name.into(),
        count,
        of: of.map(Text::from),
    };
    vec![
        row("clients", clients, None),
        row("flows", clients * 40, None),
        row("flows_named_by_sni", clients * 31, Some("flows")),
        row("flows_unnamed", clients * 9, Some("flows")),
        row("hellos", clients * 33, None),
        row("hellos_ech_plausible", clients / 20, Some("hellos")),
        row("clients_with_encrypted_dns", clients / 12, Some("clients")),
        row("clients_of_security_edges", clients / 30, Some("clients")),
        row("frames", 1_000, None),
    ]
}

/// Fills a store of one day: one device uses one service.
pub fn one_finding(path: &Path) {
    let catalogue = Catalogue::embedded().expect("the catalogue");
    let mut store = Store::open(path, Options::default()).expect("a store");
    let mut rows = InputRows { coverage: coverage(34), ..InputRows::default() };
    put(
        &mut rows,
        &catalogue,
        "one.pcap",
        &device(7),
        "deepseek",
        ClientClass::Browser,
        Level::Used,
        BEGIN + 10 * HOUR,
        48_000,
    );
    let row = input("one.pcap", BEGIN + 9 * HOUR, BEGIN + 17 * HOUR);
    store.commit_input(&row, &rows).expect("committed");
}

/// Fills a store: one input a day.
pub fn fill(path: &Path, size: Size, seed: u64) {
    let catalogue = Catalogue::embedded().expect("the catalogue");
    let mut options = Options::default();
    options.retention.evidence_days = 400;
    let mut store = Store::open(path, options).expect("a store");
    let mut dice = Dice(seed | 1);
    let all: u64 = SERVICES.iter().map(|s| s.1).sum();
    for day in 0..size.days {
        let begin = BEGIN + day * DAY;
        let weekend = matches!((begin / DAY + 4) % 7, 0 | 6);
        let name = format!("day-{:02}.pcapng", day + 1);
        let mut rows = InputRows { coverage: coverage(size.devices), ..InputRows::default() };
        for n in 0..size.devices {
            let busy = if weekend { size.busy / 8 } else { size.busy };
            if dice.roll(100) >= busy {
                continue;
            }
            for _ in 0..=dice.roll(2) {
                // Everybody has their habits.
                let habit = n.wrapping_mul(0x9e37_79b9) % all;
                let mut at = if dice.roll(3) > 0 { habit } else { dice.roll(all) };
                let Some((id, _, class, typical)) = SERVICES.iter().find(|s| {
                    let here = at < s.1;
                    at = at.saturating_sub(s.1);
                    here
                }) else {
                    continue;
                };
                // The last service comes up late in the month.
                if *id == "manus" && day + 12 < size.days {
                    continue;
                }
                let bulk = dice.roll(60) == 0;
                let sent = typical / 2 + dice.roll(*typical) + if bulk { 6_000_000 } else { 0 };
                let level = if bulk { Level::Bulk } else { Level::Used };
                let when = begin + (8 + dice.roll(10)) * HOUR + dice.roll(3_000) * S;
                put(&mut rows, &catalogue, &name, &device(n), id, *class, level, when, sent);
            }
        }
        rows.candidates.push(Candidate {
            day: (begin / DAY) as u32,
            host: "10.1.0.3".into(),
            grammars: "ollama.generate".into(),
            evidence: "requests in clear speak ollama.generate".into(),
            flows: 3,
            bytes_up: 9_000,
            bytes_down: 60_000,
            actors: 2,
            devices: Vec::new(),
            first_seen: Timestamp(begin + 9 * HOUR),
            last_seen: Timestamp(begin + 10 * HOUR),
        });
        rows.destinations.push(DestinationDay {
            day: (begin / DAY) as u32,
            name: "cdn.deepseek.com.example".into(),
            bytes_up: 100,
            bytes_down: 10_000,
            flows: 4,
            devices: 3,
        });
        // The sensor slept a night, and a whole day once.
        if day == 11 && size.days > 20 {
            continue;
        }
        let row = input(&name, begin + 6 * HOUR, begin + 20 * HOUR);
        store.commit_input(&row, &rows).expect("committed");
    }
}
