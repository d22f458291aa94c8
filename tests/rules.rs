//! Each rule of alerts with something that makes it speak, and something like it that does not.

#[path = "support/made.rs"]
mod made;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use shadowtap::recorder::alert::{Grouped, Hours, Pace, Rules, Sensitive, Suppression};
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::{Actor, Candidate, InputRows, Text};
use shadowtap::recorder::store::{Options, Store};
use shadowtap::recorder::words::{ClientClass, Level};
use shadowtap::types::Timestamp;

use made::{BEGIN, device};

const HOUR: u64 = 3_600 * Timestamp::SECOND;
const DAY: u64 = 24 * HOUR;

/// A use: who, what, when after the begin, bytes sent.
type Use<'a> = (Arc<Actor>, &'a str, u64, u64);

/// Rules of which only the one under test speaks.
fn silent() -> Rules {
    Rules {
        first_use: false,
        new_user: false,
        forbidden: false,
        upload_bytes: None,
        upload_baseline: None,
        candidate: false,
        ..Rules::default()
    }
}

/// What was told, event by event, when each batch of uses was an input of its own.
fn events(rules: Rules, inputs: &[Vec<Use<'_>>], candidates: &[Candidate]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut store = Store::open(&path, Options { rules, ..Options::default() }).unwrap();
    let catalogue = Catalogue::embedded().unwrap();
    for (n, uses) in inputs.iter().enumerate() {
        let name = format!("{n}.pcap");
        let mut rows = InputRows { candidates: candidates.to_vec(), ..InputRows::default() };
        for (who, service, at, sent) in uses {
            let (class, level) = (ClientClass::Browser, Level::Used);
            made::put(&mut rows, &catalogue, &name, who, service, class, level, BEGIN + at, *sent);
        }
        let times = uses.iter().map(|u| BEGIN + u.2);
        let (first, last) = (times.clone().min().unwrap_or(BEGIN), times.max().unwrap_or(BEGIN));
        store.commit_input(&made::input(&name, first, last + HOUR), &rows).unwrap();
    }
    drop(store);
    outbox(&path)
}

fn outbox(path: &Path) -> Vec<Value> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut all = conn.prepare("SELECT payload FROM outbox ORDER BY seq").unwrap();
    let rows = all.query_map([], |r| r.get::<_, String>(0)).unwrap();
    rows.map(|r| serde_json::from_str(&r.unwrap()).unwrap()).collect()
}

/// How many events a rule spoke in.
fn spoke(events: &[Value], rule: &str) -> usize {
    let has = |e: &&Value| e["alerts"].as_array().is_some_and(|a| a.iter().any(|r| r == rule));
    events.iter().filter(has).count()
}

fn at(n: u64, service: &str, hour: u64, sent: u64) -> Use<'_> {
    (device(n), service, hour * HOUR, sent)
}

fn of(n: u64, department: &str, service: &'static str) -> Use<'static> {
    let department = Some(Text::from(department));
    (Arc::new(Actor { department, ..Actor::clone(&device(n)) }), service, 10 * HOUR, 9_000)
}

#[test]
fn each_rule_speaks_of_its_own_and_of_nothing_else() {
    let office = Hours { from: 8 * 60, to: 18 * 60, days: [true; 7], offset: 0 };
    let sensitive = |sensitive| Rules { sensitive, ..silent() };
    let legal =
        sensitive(Sensitive { departments: vec![Text::from("legal")], ..Sensitive::default() });
    let net =
        sensitive(Sensitive { networks: vec![([10, 1, 0, 0].into(), 24)], ..Sensitive::default() });
    let upload = Rules { upload_bytes: Some(1_000_000), ..silent() };
    let session = Rules { upload_session_bytes: Some(1_000_000), ..silent() };
    let usual = Rules { upload_baseline: Some(10), ..silent() };
    let habit = |last: u64| -> Vec<Vec<Use<'static>>> {
        let days = (0..15).map(|day| vec![at(1, "claude", day * 24 + 10, 20_000)]);
        days.chain([vec![at(1, "claude", 15 * 24 + 10, last)]]).collect()
    };
    for (name, rules, rule, speaks, not) in [
        (
            "risk",
            Rules { risky: [Text::from("claude")].into(), ..silent() },
            "risk",
            vec![vec![at(1, "claude", 10, 9_000)]],
            vec![vec![at(1, "chatgpt", 10, 9_000)]],
        ),
        (
            "approved use is no risk",
            Rules { risky: [Text::from("openai-api"), Text::from("claude")].into(), ..silent() },
            "risk",
            vec![vec![at(1, "claude", 10, 9_000)]],
            vec![vec![at(1, "openai-api", 10, 9_000)]],
        ),
        (
            "sensitive department",
            legal,
            "sensitive",
            vec![vec![of(1, "Legal", "claude")]],
            vec![vec![of(1, "Sales", "claude"), at(2, "claude", 10, 9_000)]],
        ),
        (
            "sensitive network",
            net,
            "sensitive",
            vec![vec![at(1, "claude", 10, 9_000)]],
            vec![vec![at(300, "claude", 10, 9_000)]],
        ),
        (
            "off hours",
            Rules { work_hours: Some(office), ..silent() },
            "off_hours",
            vec![vec![at(1, "claude", 22, 9_000)]],
            vec![vec![at(1, "claude", 10, 9_000)]],
        ),
        (
            "upload in one session",
            session,
            "upload_session",
            vec![vec![at(1, "claude", 9, 1_200_000)]],
            // As much, but in two sessions.
            vec![vec![at(1, "claude", 9, 600_000), at(1, "claude", 14, 600_000)]],
        ),
        (
            "upload in a day",
            upload,
            "upload",
            vec![vec![at(1, "claude", 9, 700_000)], vec![at(1, "claude", 14, 700_000)]],
            vec![vec![at(1, "claude", 9, 700_000)], vec![at(1, "claude", 34, 700_000)]],
        ),
        ("upload against the usual", usual, "upload_above_usual", habit(400_000), habit(60_000)),
        (
            "first use",
            Rules { first_use: true, ..silent() },
            "first_use",
            vec![vec![at(1, "claude", 9, 9_000)]],
            vec![vec![at(1, "openai-api", 9, 9_000)]],
        ),
        (
            "forbidden",
            Rules { forbidden: true, ..silent() },
            "forbidden",
            vec![vec![at(1, "deepseek", 9, 9_000)]],
            vec![vec![at(1, "claude", 9, 9_000)]],
        ),
    ] {
        let told = events(rules.clone(), &speaks, &[]);
        assert_eq!(spoke(&told, rule), 1, "{name}: {told:?}");
        assert_eq!(events(rules, &not, &[]), Vec::<Value>::new(), "{name}: silent");
    }
}

#[test]
fn a_candidate_is_told_where_it_is_wanted() {
    let candidate = Candidate {
        day: (BEGIN / DAY) as u32,
        host: "llm.partner.example".into(),
        grammars: "openai.chat".into(),
        evidence: "made".into(),
        flows: 1,
        bytes_up: 900,
        bytes_down: 900,
        actors: 1,
        devices: Vec::new(),
        first_seen: Timestamp(BEGIN),
        last_seen: Timestamp(BEGIN + HOUR),
    };
    let rules = |candidate| Rules { candidate, ..silent() };
    let told = events(rules(true), &[vec![]], std::slice::from_ref(&candidate));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["kind"], "unknown_ai");
    assert!(events(rules(false), &[vec![]], &[candidate]).is_empty());
}

#[test]
fn a_suppression_holds_until_its_day_and_for_what_it_names() {
    let suppressed = |service: &str, until: u64| Rules {
        first_use: true,
        suppressions: vec![Suppression {
            service: Some(service.to_owned()),
            device: None,
            until: Some(Timestamp(BEGIN + until)),
            reason: "a pilot".to_owned(),
        }],
        ..silent()
    };
    let uses = [vec![at(1, "claude", 10, 9_000)]];
    assert!(events(suppressed("claude", 2 * DAY), &uses, &[]).is_empty());
    assert_eq!(events(suppressed("claude", HOUR), &uses, &[]).len(), 1, "it is over");
    assert_eq!(events(suppressed("chatgpt", 2 * DAY), &uses, &[]).len(), 1, "another service");
}

#[test]
fn quiet_hours_and_the_first_days_let_only_what_is_grave_through() {
    let night = Hours { from: 20 * 60, to: 6 * 60, days: [true; 7], offset: 0 };
    let grouped =
        |inventory_days| Pace::Grouped(Grouped { inventory_days, decided: true, daily_max: 5 });
    let uses = [vec![at(1, "claude", 22, 9_000), at(2, "deepseek", 22, 9_000)]];
    let services = |rules: Rules| -> Vec<String> {
        let told = events(rules, &uses, &[]);
        let service = |e: &Value| e["service"].as_str().map(str::to_owned);
        told.iter().filter_map(service).collect()
    };
    let awake = Rules { pace: grouped(0), ..Rules::default() };
    assert_eq!(services(awake.clone()), ["deepseek", "claude"]);
    assert_eq!(services(Rules { quiet_hours: Some(night), ..awake }), ["deepseek"]);
    assert_eq!(services(Rules { pace: grouped(7), ..Rules::default() }), ["deepseek"]);
}

/// Five hundred machines do the same: one alert, and for what is forbidden each of them by its id.
#[test]
fn five_hundred_that_do_the_same_are_one_alert() {
    let pace = Pace::Grouped(Grouped { inventory_days: 0, decided: true, daily_max: 5 });
    let rules = Rules { pace, ..Rules::default() };
    for (service, named) in [("deepseek", 499), ("claude", 50)] {
        let uses: Vec<Use<'_>> = (0..500).map(|n| at(n, service, 10, 9_000)).collect();
        let told = events(rules.clone(), &[uses], &[]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["group"]["findings"], 499);
        assert_eq!(told[0]["group"]["event_ids"].as_array().unwrap().len(), named);
    }
}

/// A day of many captures, each with news: a few alerts, one digest, and the rest waits for the
/// next day's.
#[test]
fn a_day_that_goes_on_and_on_gets_no_more_alerts_than_a_day_may_have() {
    let pace = Pace::Grouped(Grouped { inventory_days: 0, decided: true, daily_max: 5 });
    let rules = Rules { pace, ..Rules::default() };
    let services = ["claude", "chatgpt", "gemini", "perplexity", "deepl", "otter", "deepseek"];
    let inputs: Vec<Vec<Use<'_>>> = services
        .iter()
        .enumerate()
        .map(|(n, service)| vec![at(n as u64, service, 8 + n as u64, 9_000)])
        .chain([vec![at(9, "claude", 34, 9_000)], vec![at(9, "claude", 58, 9_000)]])
        .collect();
    let told = events(rules, &inputs, &[]);
    let first: String = "2026-10-24".to_owned();
    let today: Vec<&Value> =
        told.iter().filter(|e| e["ts"].as_str().unwrap().starts_with(&first)).collect();
    assert!(today.len() <= 5, "{today:?}");
    assert!(today.iter().any(|e| e["service"] == "deepseek"), "room is kept for what is grave");
    let ids = told.iter().flat_map(|e| {
        let lines = e["lines"].as_array().cloned().unwrap_or_default();
        let held: usize = lines.iter().map(|l| l["event_ids"].as_array().unwrap().len()).sum();
        [held + usize::from(e["kind"] == "finding")]
    });
    assert!(ids.sum::<usize>() >= services.len(), "nothing is lost: {told:?}");
}
