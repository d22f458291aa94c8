//! Reports: the same store gives the same bytes, no name leaves masked, every figure has its whole.

#[path = "support/made.rs"]
mod made;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use shadowtap::answer::mask::Names;
use shadowtap::answer::report::model::Report;
use shadowtap::answer::report::{self, Format, Options};
use shadowtap::answer::verify::{self, Verdict};
use shadowtap::recorder::identity::Known;
use shadowtap::recorder::identity::departments::Departments;
use shadowtap::recorder::policy::Policy;
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::Text;
use shadowtap::recorder::store::{Answers, Decision, Options as StoreOptions, Scope, decide};
use shadowtap::recorder::words::{Disposition, State};
use shadowtap::types::Timestamp;
use shadowtap::written::Document;

use made::{BEGIN, POLICY, Size};

const DAY: u64 = 86_400 * Timestamp::SECOND;

fn store(dir: &Path, size: Size) -> PathBuf {
    let path = dir.join("s.db");
    made::fill(&path, size, 11);
    path
}

fn small() -> Size {
    Size { devices: 90, days: 40, busy: 40 }
}

fn policy(text: &str, catalogue: &Catalogue) -> Policy {
    Policy::read(&Document::new("policy.toml", text), catalogue).expect("a policy").0
}

/// A report of the store at `path`, under a policy.
fn report(path: &Path, policy_text: Option<&str>, names: Names, devices: u64) -> Report {
    let catalogue = Catalogue::embedded().expect("the catalogue");
    let policy = policy_text.map(|text| policy(text, &catalogue));
    let text = made::departments(devices);
    let departments = Departments::read(&Document::new("d.toml", text.as_str())).expect("read");
    let options = Options {
        since: None,
        until: None,
        catalogue: &catalogue,
        risk: None,
        policy: policy.as_ref(),
        departments: &departments,
        known: &Known::default(),
        subnets: Vec::new(),
        ledger: None,
        names,
        store: "s.db".to_owned(),
        policy_file: "policy.toml".to_owned(),
    };
    report::build(&Answers::open(path).expect("opens"), &options).expect("a report")
}

#[test]
fn the_same_store_gives_the_same_bytes_in_every_format_and_each_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let (a, b) = (
        report(&path, Some(POLICY), Names::Masked, 90),
        report(&path, Some(POLICY), Names::Masked, 90),
    );
    for (word, format) in Format::ALL {
        let one = report::render(&a, format).unwrap();
        let two = report::render(&b, format).unwrap();
        assert!(one == two, "{word} differs");
        assert!(matches!(verify::check(&one), Verdict::Whole(_)), "{word} is not sealed");
        let mut changed = one.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(!matches!(verify::check(&changed), Verdict::Whole(_)), "{word}: a change passed");
    }
}

#[test]
fn no_name_and_no_address_leaves_masked() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let answers = Answers::open(&path).unwrap();
    let mut secrets = BTreeSet::new();
    for known in answers.actors().unwrap().values() {
        let text = known.actor.text();
        secrets.extend([Some(text.ip), text.mac, text.host].into_iter().flatten());
    }
    for finding in answers.findings(&Scope::default()).unwrap() {
        secrets.insert(finding.id.to_string());
    }
    assert!(secrets.len() > 300, "the store names people: {}", secrets.len());
    // 10.1.0.3 is a device of the house that answers like a model; 10.1.0.30 begins like it.
    let masked = report(&path, Some(POLICY), Names::Masked, 90);
    let shown = report(&path, Some(POLICY), Names::Shown, 90);
    for format in [Format::Html, Format::Csv, Format::Json, Format::Md] {
        let text = String::from_utf8(report::render(&masked, format).unwrap()).unwrap();
        let told: Vec<&String> = secrets.iter().filter(|s| text.contains(s.as_str())).collect();
        assert!(told.is_empty(), "{format:?} tells {told:?}");
    }
    // The other two are packed; their cells come from the same values.
    let json = serde_json::to_string(&masked).unwrap();
    assert!(!secrets.iter().any(|s| json.contains(s.as_str())));
    let named = serde_json::to_string(&shown).unwrap();
    assert!(secrets.iter().filter(|s| named.contains(s.as_str())).count() > 50, "--names names");
}

#[test]
fn departments_of_few_are_shown_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    // 70 devices: 64 of Research, six of Sales; some of them never use AI.
    made::fill(&path, Size { devices: 70, days: 10, busy: 30 }, 3);
    let masked = report(&path, None, Names::Masked, 70);
    for department in &masked.departments {
        assert!(department.devices.count >= 5, "{department:?}");
    }
    let shown = report(&path, None, Names::Shown, 70);
    assert!(shown.departments.iter().any(|d| d.name == "Sales"), "{:?}", shown.departments);
    let sent = |r: &Report| r.departments.iter().map(|d| d.sent_unreviewed.count).sum::<u64>();
    assert_eq!(sent(&masked), sent(&shown));
}

#[test]
fn parts_add_up_to_their_wholes() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let r = report(&path, Some(POLICY), Names::Masked, 90);
    let of = &r.uses.of;
    let sum =
        |column: fn(&report::model::UseRow) -> u64| r.uses.rows.iter().map(column).sum::<u64>();
    assert_eq!(sum(|u| u.sent), of.sent);
    assert_eq!(sum(|u| u.received), of.received);
    assert_eq!(sum(|u| u.flows), of.flows);
    assert_eq!(sum(|u| u.sessions), of.sessions);
    assert_eq!(r.devices.rows.iter().map(|d| d.sent).sum::<u64>(), of.sent);
    assert_eq!(r.groups.iter().map(|g| g.sent.count).sum::<u64>(), of.sent);
    let departments = r.departments.iter();
    let by_department = departments
        .map(|d| d.sent_forbidden.count + d.sent_unreviewed.count + d.sent_allowed.count);
    assert_eq!(by_department.sum::<u64>(), of.sent);
    assert_eq!(r.clients.iter().map(|c| c.sent.count).sum::<u64>(), of.sent);
    let bars = r.chart.bars.iter();
    let drawn: u64 = bars.map(|b| b.sent_forbidden + b.sent_unreviewed + b.sent_allowed).sum();
    assert_eq!(drawn, of.sent);
    assert_eq!(r.chart.bars.len(), 30, "a bar a day");
    assert!(r.before.is_some() && r.numbers.iter().all(|n| n.before.is_some()));
    assert_eq!(r.period.captured_hours.of, 717);
}

#[test]
fn another_policy_gives_another_report_without_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let recorded = report(&path, None, Names::Masked, 90);
    assert!(!recorded.judged.anew && recorded.judged.policies == ["recorded"]);
    let strict = "[default]\nstatus = \"forbidden\"\n";
    let new = report(&path, Some(strict), Names::Masked, 90);
    assert!(new.judged.anew);
    let status =
        |r: &Report| -> Vec<u64> { r.groups.iter().map(|g| g.services.len() as u64).collect() };
    assert_ne!(status(&recorded), status(&new));
    assert_eq!(status(&new)[1..], [0, 0], "everything is forbidden");
    assert_eq!(new.uses.of.sent, recorded.uses.of.sent, "verdicts change, facts do not");
    // A rule that ends in the middle splits one service over two groups.
    let half = "[[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\nexpires = 2026-11-15\n";
    let split = report(&path, Some(half), Names::Masked, 90);
    let in_groups =
        split.groups.iter().filter(|g| g.services.iter().any(|s| s.service.id == "chatgpt"));
    assert_eq!(in_groups.count(), 2);
}

#[test]
fn a_decision_gives_a_risk_its_owner_state_and_history_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let say = |state, expires: Option<&str>| Decision {
        subject: Text::from("service:claude"),
        state,
        disposition: Some(Disposition::Sanctioned),
        scope: Text::from("everybody"),
        owner: Some(Text::from("legal")),
        reason: Some(Text::from("a trial")),
        decided: None,
        due: None,
        expires: expires.map(Text::from),
        policy_version: Text::from("p"),
        data_until: Timestamp(BEGIN),
    };
    let risk = |r: &Report| r.risks.iter().find(|r| r.id == "service:claude").unwrap().clone();
    assert_eq!(risk(&report(&path, Some(POLICY), Names::Masked, 90)).state, "open");
    decide(&path, &say(State::Accepted, Some("2027-03-31"))).unwrap();
    let now = risk(&report(&path, Some(POLICY), Names::Masked, 90));
    assert_eq!((now.state.as_str(), now.owner.as_str()), ("accepted", "legal"));
    assert_eq!(now.state_text, "accepted until 2027-03-31");
    // The store's data goes on to December: an acceptance that ended before is none.
    decide(&path, &say(State::Accepted, Some("2026-11-01"))).unwrap();
    let after = risk(&report(&path, Some(POLICY), Names::Masked, 90));
    assert_eq!(after.state, "open");
    assert!(after.state_text.contains("ended on 2026-11-01"), "{}", after.state_text);
    assert_eq!(after.history.len(), 2);
}

#[test]
fn a_store_without_anything_says_what_silence_is_worth() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(shadowtap::recorder::store::Store::open(&path, StoreOptions::default()).unwrap());
    let r = report(&path, None, Names::Masked, 1);
    assert!(r.verdict.contains("No use of an AI service was seen."), "{}", r.verdict);
    assert!(r.verdict.contains("says nothing"), "{}", r.verdict);
    for (word, format) in Format::ALL {
        assert!(!report::render(&r, format).unwrap().is_empty(), "{word}");
    }
}

#[test]
fn time_comes_from_the_store_and_since_cuts_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let catalogue = Catalogue::embedded().unwrap();
    let options = |since: u64, until: u64| Options {
        since: Some(Timestamp(since)),
        until: Some(Timestamp(until)),
        catalogue: &catalogue,
        risk: None,
        policy: None,
        departments: Box::leak(Box::default()),
        known: Box::leak(Box::default()),
        subnets: Vec::new(),
        ledger: None,
        names: Names::Masked,
        store: "s.db".to_owned(),
        policy_file: "p.toml".to_owned(),
    };
    let answers = Answers::open(&path).unwrap();
    let week = report::build(&answers, &options(BEGIN + 14 * DAY, BEGIN + 21 * DAY - 1)).unwrap();
    assert_eq!(week.period.text, "2026-11-07 to 2026-11-13");
    let before = week.before.unwrap();
    assert_eq!(before.text, "2026-10-31 to 2026-11-06");
    // One day of the week before has no capture.
    assert!(before.captured_hours.count < week.period.captured_hours.count);
    assert!(week.news.known);
}

/// Every number of the schema is a figure with its whole, stands in a table whose `of` has the same
/// name, or is one of the few that count nothing.
#[test]
fn every_figure_has_its_denominator() {
    // Version, rank on a scale, a threshold, places in a file.
    let no_figures =
        ["schema", "severity", "smallest_group", "first_frame", "name_frame", "last_frame"];
    let schema = serde_json::to_value(report::schema()).unwrap();
    let types = schema["$defs"].as_object().unwrap();
    let denominators: BTreeSet<&str> = types["Denominators"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut checked = 0;
    let mut check = |name: &str, of: &serde_json::Value| {
        if matches!(name, "Figure" | "Denominators") {
            return;
        }
        for (key, value) in of["properties"].as_object().into_iter().flatten() {
            let integer = value["type"] == "integer"
                || value["type"].as_array().is_some_and(|t| t.iter().any(|t| t == "integer"));
            if !integer || no_figures.contains(&key.as_str()) {
                continue;
            }
            // sent_unapproved and services_unapproved are parts of sent and services.
            let stem = key.split('_').next().unwrap();
            assert!(denominators.contains(stem), "{name}.{key} has no denominator");
            checked += 1;
        }
    };
    check("Report", &schema);
    for (name, of) in types {
        check(name, of);
    }
    assert!(checked > 15, "{checked}");
    let figure = types["Figure"]["required"].as_array().unwrap();
    assert_eq!(figure.len(), 3, "count, of, of_what");
}

#[test]
fn the_published_schema_is_the_one_that_the_code_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/report-1.json");
    let own = serde_json::to_string_pretty(&report::schema()).unwrap() + "\n";
    if std::env::var_os("SHADOWTAP_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &own).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(own == published, "run with SHADOWTAP_WRITE_SCHEMAS=1, then look at the change");
}

#[test]
fn html_is_one_file_that_asks_nobody_and_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), small());
    let r = report(&path, Some(POLICY), Names::Shown, 90);
    let html = String::from_utf8(report::render(&r, Format::Html).unwrap()).unwrap();
    for sign in ["<script", "src=", "http://", "https://", "url(", "@import", "<link", "onload"] {
        assert!(!html.contains(sign), "{sign}");
    }
    for link in html.split("href=\"").skip(1) {
        let target = link.split('"').next().unwrap();
        let id = target.strip_prefix('#').expect("links lead within the page");
        assert!(html.contains(&format!("id=\"{id}\"")), "{target} leads nowhere");
    }
    for tag in ["table", "ul", "ol", "dl", "li", "tr", "td", "figure", "svg", "h2", "h3", "details"]
    {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    made::one_finding(&path);
    let mut r = report(&path, Some(POLICY), Names::Shown, 1);
    for text in [
        "<img src=x onerror=alert(1)>",
        "=HYPERLINK(\"x\")",
        "a|b\n# c",
        "\u{202e}\u{1b}[2J",
        "漢字 ünïcode 🙂",
    ] {
        r.devices.rows[0].device = text.to_owned();
        r.uses.rows[0].device = text.to_owned();
        r.risks[0].title = text.repeat(200);
        for (word, format) in Format::ALL {
            let bytes = report::render(&r, format).unwrap();
            if matches!(format, Format::Html | Format::Md) {
                let page = String::from_utf8(bytes).unwrap();
                // Markdown escapes with a backslash, HTML by name.
                let page = page.replace("\\<", "");
                assert!(!page.contains("<img") && !page.contains('\u{1b}'), "{word}");
                assert!(!page.contains('\u{202e}'), "{word}");
            }
        }
    }
}

fn shadowtap(dir: &Path, args: &[&str]) -> (i32, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.code().unwrap_or(-1), text)
}

#[test]
fn from_finding_to_decision_to_block_list_at_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    store(dir, small());
    std::fs::write(dir.join("policy.toml"), POLICY).unwrap();
    std::fs::write(dir.join("departments.toml"), made::departments(90)).unwrap();
    let with = ["--store", "s.db", "--policy", "policy.toml"];
    let run = |args: &[&str]| shadowtap(dir, &[args, &with].concat());

    let (code, text) = run(&["report", "--departments", "departments.toml", "--output", "a.html"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = shadowtap(dir, &["verify", "a.html"]);
    assert!(code == 0 && text.contains("as it was written"), "{text}");

    let approve = [
        "approve",
        "Claude",
        "--owner",
        "legal",
        "--reason",
        "contract",
        "--expires",
        "2027-03-31",
    ];
    let (code, text) = run(&[&approve[..], &["--dry-run"]].concat());
    assert!(code == 0 && text.contains("Nothing was changed"), "{text}");
    assert_eq!(std::fs::read_to_string(dir.join("policy.toml")).unwrap(), POLICY);
    let (code, text) = run(&approve);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("+ service = \"claude\"") && text.contains("What changes"), "{text}");
    let changed = std::fs::read_to_string(dir.join("policy.toml")).unwrap();
    assert!(changed.starts_with(POLICY), "the rest stays as it was");
    assert!(changed.contains("expires = 2027-03-31"));

    assert!(text.contains("--decided DATE leaves what was before"), "{text}");
    // The policy that lies here is found, as by the commands before.
    let (code, text) = shadowtap(dir, &["policy", "explain", "Claude"]);
    assert!(code == 0 && text.contains("until 2027-03-31: sanctioned"), "{text}");

    let (code, text) =
        run(&["export", "rpz", "--what-if", "--since", "14d", "--departments", "departments.toml"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("who would lose a service") && text.contains("DeepSeek (forbidden)"),
        "{text}"
    );
    assert!(!text.contains("Claude ("), "what is approved stays: {text}");
    let (code, text) = run(&["export", "rpz", "--output", "block.rpz"]);
    assert_eq!(code, 0, "{text}");
    let list = std::fs::read_to_string(dir.join("block.rpz")).unwrap();
    assert!(
        list.contains("*.deepseek.com CNAME .") || list.contains("chat.deepseek.com CNAME ."),
        "{list}"
    );
    assert!(!list.contains("\nclaude.ai CNAME ."), "{list}");
    assert_eq!(shadowtap(dir, &["verify", "block.rpz"]).0, 0);

    let (code, text) = run(&["report", "--format", "md"]);
    assert!(code == 0 && text.contains("accepted until 2027-03-31"), "{text}");
    let (code, text) = run(&["review", "10.1.0.3", "--owner", "it", "--reason", "whose is it?"]);
    assert!(code == 0 && text.contains("in review"), "{text}");
    let (code, text) = run(&["deny", "otter", "--owner", "legal", "--reason", "records people"]);
    assert!(code == 0 && text.contains("forbidden for everybody"), "{text}");
    for (args, says) in [
        (&["approve", "deepsek", "--owner", "x", "--reason", "y"][..], "did you mean deepseek"),
        (&["approve", "copilot", "--owner", "x", "--reason", "y"], "github-copilot"),
        (
            &["approve", "claude", "--owner", "x", "--reason", "y", "--expires", "2025-03"],
            "2025-03-31 is over",
        ),
        (&["export", "nftables"], "its own alone"),
        (&["export", "rpz", "--since", "soon"], "14d"),
        (
            &["approve", "claude", "--owner", "x", "--reason", "y", "--expires", "March"],
            "2027-03-31",
        ),
    ] {
        let (code, text) = run(args);
        assert!(code == 2 && text.contains(says), "{args:?}: {code} {text}");
    }
}
