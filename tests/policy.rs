//! Policy and configuration: who may use what, and how people are told what is wrong.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use clap::{Parser, Subcommand};
use proptest::prelude::*;
use shadowtap::cli::config::ConfigArgs;
use shadowtap::cli::policy::PolicyArgs;
use shadowtap::cli::{config, policy};
use shadowtap::config::{Config, ConfigError, DEFAULTS, Flag, Origin};
use shadowtap::recorder::identity::Person;
use shadowtap::recorder::policy::{Asked, Policy, Ruling};
use shadowtap::recorder::signature::Catalogue;
use shadowtap::recorder::store::rows::{Actor, InputRow, InputRows, Text, Usage};
use shadowtap::recorder::store::{Options as StoreOptions, Retention, Store};
use shadowtap::recorder::words::{ClientClass, Disposition, EvidenceKind, Level, Role};
use shadowtap::types::{MacAddr, Realm, Timestamp};
use shadowtap::watcher::flow::Limits as FlowLimits;
use shadowtap::written::{Document, Problem, Severity};

use Disposition::{Sanctioned, Tolerated, Unreviewed, Unsanctioned};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::embedded().unwrap());

// ---- asking -----------------------------------------------------------------------------------

/// Who asks for what, and when; the rest of the question follows from it.
#[derive(Clone, Debug)]
struct Question {
    service: &'static str,
    tenant: Option<&'static str>,
    addr: IpAddr,
    mac: Option<MacAddr>,
    host: Option<&'static str>,
    user: Option<&'static str>,
    groups: Vec<Text>,
    at: Timestamp,
}

/// A chat, from a laptop in 10.1.2.0/24, on 2026-11-15.
fn chatgpt() -> Question {
    Question {
        service: "chatgpt",
        tenant: None,
        addr: [10, 1, 2, 3].into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 7])),
        host: Some("LAPTOP-7.corp.example"),
        user: None,
        groups: Vec::new(),
        at: day("2026-11-15"),
    }
}

fn day(text: &str) -> Timestamp {
    shadowtap::cli::time(text).unwrap()
}

impl Question {
    fn put<T>(&self, ask: impl FnOnce(&Asked<'_>) -> T) -> T {
        let service = CATALOGUE.service(self.service).unwrap();
        let actor = Actor {
            realm: Realm(0),
            addr: self.addr,
            mac: self.mac,
            host_name: self.host.map(Text::from),
            who: Person::Unknown,
            department: None,
        };
        ask(&Asked {
            service: &service.id,
            category: service.category.word(),
            vendor: &service.vendor,
            tenant: self.tenant,
            actor: &actor,
            user: self.user,
            groups: &self.groups,
            at: self.at,
        })
    }

    fn ruling(&self, policy: &Policy) -> Ruling {
        self.put(|asked| policy.rule(asked))
    }
}

fn read(text: &str) -> Result<(Policy, Vec<Problem>), ConfigError> {
    Policy::read(&Document::new("policy.toml", text), &CATALOGUE)
}

fn policy_of(text: &str) -> Policy {
    read(text).unwrap_or_else(|e| panic!("{e}")).0
}

// ---- precedence, scope, validity --------------------------------------------------------------

#[test]
fn the_most_specific_rule_wins() {
    let category = "[[rule]]\ncategory = \"chat\"\nstatus = \"tolerated\"\n";
    let vendor = "[[rule]]\nvendor = \"openai\"\nstatus = \"forbidden\"\n";
    let service = "[[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\n";
    let blank = "[[rule]]\nservice = \"chatgpt\"\nstatus = \"\"\n";
    let review = "[[rule]]\nservice = \"chatgpt\"\nstatus = \"unreviewed\"\n";
    let default = "[default]\nstatus = \"forbidden\"\n";
    let other = "[[rule]]\nservice = \"claude\"\nstatus = \"forbidden\"\n";
    let cases: &[(&str, &[&str], Disposition, &str)] = &[
        ("nothing decided", &[], Unreviewed, ""),
        ("only another service", &[other], Unreviewed, ""),
        ("default", &[default, other], Unsanctioned, "default"),
        ("category before default", &[default, category], Tolerated, "category:chat"),
        ("vendor before category", &[category, vendor], Unsanctioned, "vendor:OpenAI"),
        ("service before vendor", &[service, category, vendor], Sanctioned, "service:chatgpt"),
        (
            "order in the file is nothing",
            &[vendor, category, service],
            Sanctioned,
            "service:chatgpt",
        ),
        ("a blank decides nothing", &[blank, vendor], Unsanctioned, "vendor:OpenAI"),
        ("unreviewed is a decision", &[review, vendor], Unreviewed, "service:chatgpt"),
    ];
    for (name, rules, disposition, rule) in cases {
        let ruling = chatgpt().ruling(&policy_of(&rules.concat()));
        assert_eq!((ruling.disposition, &*ruling.rule), (*disposition, *rule), "{name}");
    }
}

#[test]
fn a_tenant_is_narrower_than_its_service() {
    let policy = policy_of(
        "[[rule]]\nservice = \"azure-openai\"\nstatus = \"forbidden\"\n\
         [[rule]]\nservice = \"azure-openai\"\ntenant = [\"Our-Resource\", \"our-lab\"]\nstatus = \"sanctioned\"\n",
    );
    for (tenant, disposition, rule) in [
        (Some("our-resource"), Sanctioned, "tenant:azure-openai/our-resource"),
        (Some("our-lab"), Sanctioned, "tenant:azure-openai/our-lab"),
        (Some("theirs"), Unsanctioned, "service:azure-openai"),
        (None, Unsanctioned, "service:azure-openai"),
    ] {
        let ruling = Question { service: "azure-openai", tenant, ..chatgpt() }.ruling(&policy);
        assert_eq!((ruling.disposition, &*ruling.rule), (disposition, rule), "{tenant:?}");
    }
}

#[test]
fn a_narrower_scope_wins_within_a_target() {
    let rule = |scope: &str, status: &str| {
        format!("[[rule]]\nservice = \"chatgpt\"\nstatus = \"{status}\"\n{scope}\n")
    };
    let all = rule("", "unreviewed");
    let (allowed, barred) = (rule("", "sanctioned"), rule("", "forbidden"));
    let net8 = rule("networks = [\"10.0.0.0/8\"]", "tolerated");
    let net24 = rule("networks = [\"10.1.2.0/24\"]", "forbidden");
    let elsewhere = rule("networks = [\"10.9.0.0/16\", \"2001:db8::/32\"]", "forbidden");
    let name = rule("devices = [\"laptop-7\"]", "sanctioned");
    let mac = rule("devices = [\"02-00-00-00-00-07\"]", "sanctioned");
    let both = rule("devices = [\"laptop-7\"]\nnetworks = [\"10.1.0.0/16\"]", "forbidden");
    let away = rule("devices = [\"laptop-7\"]\nnetworks = [\"10.9.0.0/16\"]", "forbidden");
    let user = rule("users = [\"Anna\"]", "sanctioned");
    let group = rule("groups = [\"lab\"]", "tolerated");
    let vendor_device =
        "[[rule]]\nvendor = \"OpenAI\"\nstatus = \"forbidden\"\ndevices = [\"laptop-7\"]\n";
    let anna = Question { user: Some("anna"), groups: vec!["Lab".into()], ..chatgpt() };
    let six = Question { addr: "2001:db8::5".parse().unwrap(), ..chatgpt() };
    let other_host = Question { host: Some("laptop-70"), ..chatgpt() };
    let nameless = Question { host: None, mac: None, ..chatgpt() };
    let cases: &[(&str, &Question, Vec<&str>, Disposition)] = &[
        ("network before everybody", &chatgpt(), vec![&all, &net8], Tolerated),
        ("longer prefix", &chatgpt(), vec![&net24, &net8, &all], Unsanctioned),
        ("another network", &chatgpt(), vec![&elsewhere, &all], Unreviewed),
        ("network of IPv6", &six, vec![&elsewhere, &all], Unsanctioned),
        ("device before network", &chatgpt(), vec![&name, &net24], Sanctioned),
        ("device by MAC", &chatgpt(), vec![&mac, &net24], Sanctioned),
        ("device of another name", &other_host, vec![&name, &all], Unreviewed),
        ("unknown device", &nameless, vec![&mac, &name, &all], Unreviewed),
        ("both lists must fit, and are narrower", &chatgpt(), vec![&name, &both], Unsanctioned),
        ("one list does not fit", &chatgpt(), vec![&all, &away], Unreviewed),
        ("a user that nobody knows", &chatgpt(), vec![&user, &group, &all], Unreviewed),
        ("group before network", &anna, vec![&group, &net24], Tolerated),
        ("user before group", &anna, vec![&group, &user], Sanctioned),
        ("the target comes first", &chatgpt(), vec![vendor_device, &net8], Tolerated),
        ("ties: the stricter, either way", &chatgpt(), vec![&all, &allowed], Unreviewed),
        ("ties: the stricter", &chatgpt(), vec![&allowed, &barred], Unsanctioned),
    ];
    for (name, question, rules, disposition) in cases {
        assert_eq!(
            question.ruling(&policy_of(&rules.concat())).disposition,
            *disposition,
            "{name}"
        );
    }
}

#[test]
fn rules_hold_from_their_first_to_their_last_day_of_capture_time() {
    let policy = policy_of(
        "[[rule]]\nvendor = \"OpenAI\"\nstatus = \"forbidden\"\n\
         [[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\ndecided = 2026-11-10\nexpires = \"2026-11-20\"\n",
    );
    for (at, disposition) in [
        ("1970-01-01", Unsanctioned),
        ("2026-11-09T23:59:59.999999999Z", Unsanctioned),
        ("2026-11-10", Sanctioned),
        ("2026-11-20T23:59:59.999999999Z", Sanctioned),
        ("2026-11-21", Unsanctioned),
        ("2026-11-21T01:00:00+02:00", Sanctioned),
        ("2400-01-01", Unsanctioned),
    ] {
        let ruling = Question { at: day(at), ..chatgpt() }.ruling(&policy);
        assert_eq!(ruling.disposition, disposition, "{at}");
    }
    let spans = chatgpt().put(|asked| policy.spans(asked));
    let spans: Vec<_> = spans.iter().map(|s| (s.from_s, s.until_s, s.ruling.disposition)).collect();
    let (from, until) = (day("2026-11-10").seconds(), day("2026-11-21").seconds());
    let expected = [
        (None, Some(from), Unsanctioned),
        (Some(from), Some(until), Sanctioned),
        (Some(until), None, Unsanctioned),
    ];
    assert_eq!(spans, expected);
}

#[test]
fn a_ruling_names_no_person_device_or_network() {
    let policy = policy_of(
        "[[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\n\
         devices = [\"laptop-7\"]\nnetworks = [\"10.1.2.3\"]\n",
    );
    assert_eq!(&*chatgpt().ruling(&policy).rule, "service:chatgpt@networks+devices");
}

#[test]
fn the_version_follows_decisions_and_not_words_around_them() {
    let one = "[[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\n";
    let version = |text: &str| policy_of(text).version().to_string();
    assert_eq!(version(""), "none");
    assert_eq!(version("# only words\n[default]\nstatus = \"unreviewed\"\n"), "none");
    assert_eq!(version(one), version(&format!("# words\n\n{one}")));
    assert_eq!(version(one).len(), 12);
    let others = [
        one.replace("sanctioned", "forbidden"),
        one.replace("chatgpt", "claude"),
        format!("{one}owner = \"me\"\n"),
        format!("{one}expires = 2026-01-01\n"),
        format!("{one}networks = [\"10.0.0.0/8\"]\n"),
        format!("{one}users = [\"a\"]\n"),
        format!("{one}groups = [\"a\"]\n"),
        format!("{one}[default]\nstatus = \"forbidden\"\n"),
    ];
    let mut versions: Vec<String> = others.iter().map(|text| version(text)).collect();
    versions.push(version(one));
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), others.len() + 1);
}

// ---- properties -------------------------------------------------------------------------------

const SERVICES: [&str; 4] = ["chatgpt", "openai-api", "claude", "azure-openai"];

fn target() -> impl Strategy<Value = String> {
    let quoted = |key: &'static str, words: Vec<&'static str>| {
        prop::sample::select(words).prop_map(move |w| format!("{key} = \"{w}\"\n"))
    };
    prop_oneof![
        quoted("service", SERVICES.to_vec()),
        quoted("vendor", vec!["OpenAI", "Anthropic", "Microsoft"]),
        quoted("category", vec!["chat", "llm-api", "coding"]),
        quoted("service = \"azure-openai\"\ntenant", vec!["ours", "theirs"]),
    ]
}

fn rule_text() -> impl Strategy<Value = String> {
    let status =
        prop::sample::select(vec!["sanctioned", "tolerated", "forbidden", "unreviewed", ""]);
    let some = |lines: Vec<&'static str>| prop::option::of(prop::sample::select(lines));
    let scope = (
        some(vec!["networks = [\"10.0.0.0/8\"]", "networks = [\"10.1.2.0/24\", \"10.3.0.0/16\"]"]),
        some(vec!["devices = [\"laptop-7\"]", "devices = [\"02:00:00:00:00:08\"]"]),
        some(vec!["groups = [\"lab\"]"]),
        some(vec![
            "decided = 2026-11-10",
            "expires = 2026-11-20",
            "decided = 2026-11-05\nexpires = 2026-11-12",
        ]),
    );
    (target(), status, scope).prop_map(|(target, status, (networks, devices, groups, validity))| {
        let more = [networks, devices, groups, validity];
        let more: Vec<&str> = more.into_iter().flatten().collect();
        format!("[[rule]]\n{target}status = \"{status}\"\n{}\n", more.join("\n"))
    })
}

fn question() -> impl Strategy<Value = Question> {
    let addr = prop::sample::select(vec![[10, 1, 2, 3], [10, 9, 9, 9], [192, 0, 2, 1]]);
    (prop::sample::select(SERVICES.to_vec()), addr, 7..9_u8, any::<bool>(), 1..30_u32).prop_map(
        |(service, addr, mac, lab, d)| Question {
            service,
            tenant: (service == "azure-openai").then_some("ours"),
            addr: addr.into(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, mac])),
            host: (mac == 7).then_some("laptop-7"),
            groups: if lab { vec!["lab".into()] } else { vec![] },
            at: day(&format!("2026-11-{d:02}")),
            ..chatgpt()
        },
    )
}

/// Rules that say something about others, other times, or nothing.
fn irrelevant() -> impl Strategy<Value = String> {
    let about = prop::sample::select(SERVICES.to_vec());
    let how = prop::sample::select(vec![
        "status = \"forbidden\"\nexpires = 2026-10-31",
        "status = \"sanctioned\"\ndecided = 2026-12-01",
        "status = \"forbidden\"\nnetworks = [\"203.0.113.0/24\"]",
        "status = \"sanctioned\"\ndevices = [\"another\"]",
        "status = \"forbidden\"\nusers = [\"nobody\"]",
        "status = \"tolerated\"\ngroups = [\"board\"]",
        "status = \"\"",
    ]);
    let same = (about, how)
        .prop_map(|(service, how)| format!("[[rule]]\nservice = \"{service}\"\n{how}\n"));
    let other = prop::sample::select(vec![
        "service = \"midjourney\"",
        "vendor = \"Suno\"",
        "category = \"music\"",
    ]);
    let other = other.prop_map(|target| format!("[[rule]]\n{target}\nstatus = \"forbidden\"\n"));
    prop_oneof![same, other]
}

proptest! {
    #[test]
    fn an_irrelevant_rule_never_changes_a_verdict(
        rules in prop::collection::vec(rule_text(), 0..8),
        extra in irrelevant(),
        place in any::<prop::sample::Index>(),
        question in question(),
    ) {
        let before = question.ruling(&policy_of(&rules.concat()));
        let mut more = rules.clone();
        more.insert(place.index(rules.len() + 1), extra);
        prop_assert_eq!(question.ruling(&policy_of(&more.concat())), before);
    }

    #[test]
    fn the_order_of_rules_changes_no_verdict(
        rules in prop::collection::vec(rule_text(), 0..8),
        shuffled in any::<prop::sample::Index>(),
        question in question(),
    ) {
        let mut turned = rules.clone();
        turned.rotate_left(shuffled.index(rules.len() + 1) % (rules.len().max(1)));
        turned.reverse();
        let verdict = |rules: &[String]| question.ruling(&policy_of(&rules.concat())).disposition;
        prop_assert_eq!(verdict(&turned), verdict(&rules));
    }

    #[test]
    fn explanation_and_spans_say_what_the_ruling_says(
        rules in prop::collection::vec(rule_text(), 0..8),
        question in question(),
    ) {
        let policy = policy_of(&rules.concat());
        let ruling = question.ruling(&policy);
        question.put(|asked| {
            let explanation = policy.explain(asked);
            prop_assert_eq!(&explanation.ruling, &ruling);
            prop_assert_eq!(explanation.winner.and_then(|w| w.status), explanation.winner.map(|_| ruling.disposition));
            prop_assert_eq!(explanation.looked_at.len() + explanation.elsewhere, policy.rules().len());
            let now = asked.at.seconds();
            let spans = policy.spans(asked);
            let within = |s: &&shadowtap::recorder::policy::Span| {
                s.from_s.is_none_or(|f| f <= now) && s.until_s.is_none_or(|u| now < u)
            };
            let here: Vec<_> = spans.iter().filter(within).map(|s| &s.ruling).collect();
            prop_assert_eq!(here, vec![&ruling]);
            Ok(())
        })?;
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z_=\"#.,0-9{}\n é-]{0,200}") {
        let _ = read(&text);
    }
}

// ---- mistakes in a policy ---------------------------------------------------------------------

/// Problems as `line:column severity: message | hint`.
fn told(text: &str) -> Vec<String> {
    let problems = match read(text) {
        Ok((_, problems)) => problems,
        Err(e) => e.problems,
    };
    let one = |p: &Problem| {
        let at =
            p.place.as_ref().map_or_else(|| "-".to_owned(), |p| format!("{}:{}", p.line, p.column));
        let hint = p.hint.as_ref().map(|h| format!(" | {h}")).unwrap_or_default();
        format!("{at} {}: {}{hint}", p.severity.word(), p.message)
    };
    problems.iter().map(one).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes_are_told_with_place_and_advice() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "unknown key",
            "[[rule]]\nservice = \"chatgpt\"\nstaus = \"forbidden\"\n",
            &[
                "1:1 error: [[rule]] has no `status` | it is one of \"sanctioned\", \"tolerated\", \"forbidden\" and \
             \"unreviewed\"; \"\" leaves it open",
                "3:1 error: unknown key `staus` in [[rule]] | did you mean `status`?",
            ],
        ),
        (
            "unknown table",
            "[[rules]]\nservice = \"chatgpt\"\n",
            &["1:3 error: unknown key `rules` | did you mean `rule`?"],
        ),
        (
            "unknown service",
            "[[rule]]\nservice = \"chatgtp\"\nstatus = \"forbidden\"\n",
            &["2:11 error: no service `chatgtp` in the catalogue | did you mean \"chatgpt\"?"],
        ),
        (
            "service by its name",
            "[[rule]]\nservice = \"Azure OpenAI\"\nstatus = \"forbidden\"\n",
            &[
                "2:11 error: no service `Azure OpenAI` in the catalogue | did you mean \"azure-openai\"?",
            ],
        ),
        (
            "service by a host",
            "[[rule]]\nservice = \"claude.ai\"\nstatus = \"forbidden\"\n",
            &["2:11 error: no service `claude.ai` in the catalogue | did you mean \"claude\"?"],
        ),
        (
            "unknown vendor",
            "[[rule]]\nvendor = \"Antropic\"\nstatus = \"forbidden\"\n",
            &["2:10 error: no vendor `Antropic` in the catalogue | did you mean \"Anthropic\"?"],
        ),
        (
            "unknown category",
            "[[rule]]\ncategory = \"chats\"\nstatus = \"forbidden\"\n",
            &["2:12 error: no category `chats` in the catalogue | did you mean \"chat\"?"],
        ),
        (
            "unknown status",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbiden\"\n",
            &["3:10 error: unknown status `forbiden` | did you mean \"forbidden\"?"],
        ),
        (
            "no target, two targets",
            "[[rule]]\nstatus = \"forbidden\"\n[[rule]]\nservice = \"chatgpt\"\n\
          vendor = \"OpenAI\"\nstatus = \"forbidden\"\n",
            &[
                "1:1 error: the rule does not say what it covers | give it one of `service`, `vendor` and `category`; \
             `tenant` goes with one `service`",
                "3:1 error: the rule covers two kinds of things | give it one of `service`, `vendor` and `category`; \
             `tenant` goes with one `service`",
            ],
        ),
        (
            "bad dates",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ndecided = \"1 May\"\n\
          expires = 2026-11-01T10:00:00Z\n",
            &[
                "4:11 error: `decided` must be a day such as 2026-11-01",
                "5:11 error: `expires` must be a day such as 2026-11-01",
            ],
        ),
        (
            "no such day",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ndecided = \"2026-02-30\"\n",
            &["4:11 error: `decided` must be a day such as 2026-11-01"],
        ),
        (
            "expires first",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ndecided = 2026-11-02\n\
          expires = 2026-11-01\n",
            &["5:11 error: the rule expires before 2026-11-02, when it was decided"],
        ),
        (
            "network with host bits",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\n\
          networks = [\"10.0.0.0/8\", \"10.1.2.3/16\"]\n",
            &[
                "4:27 error: `10.1.2.3/16` is an address within a network | did you mean 10.1.0.0/16, or the single \
             host 10.1.2.3?",
            ],
        ),
        (
            "address as device",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ndevices = \"10.1.2.3\"\n",
            &["4:11 error: `10.1.2.3` is no device | an address goes into `networks`"],
        ),
        (
            "empty scope",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ndevices = []\n",
            &["4:11 error: `devices` is empty | leave it out to cover everybody"],
        ),
        (
            "tenant of a vendor",
            "[[rule]]\nvendor = \"Microsoft\"\ntenant = \"ours\"\nstatus = \"sanctioned\"\n",
            &[
                "3:10 error: a tenant is one customer's part of one service | give the rule one `service` beside `tenant`",
            ],
        ),
        (
            "an allowing default",
            "[default]\nstatus = \"sanctioned\"\n",
            &[
                "2:10 error: what nobody decided about cannot be allowed | the default is \"unreviewed\" or \
             \"forbidden\"; allow by category instead",
            ],
        ),
        (
            "no TOML",
            "[[rule]]\nservice = chatgpt\n",
            &[
                "1:1 error: [[rule]] has no `status` | it is one of \"sanctioned\", \"tolerated\", \"forbidden\" and \
             \"unreviewed\"; \"\" leaves it open",
                "2:11 error: string values must be quoted, expected literal string",
            ],
        ),
        (
            "users match nobody",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\nusers = [\"anna\"]\n",
            &[
                "1:1 note: this rule is for people: it matches where the sensor knows who it was | name an inventory or logons in [identity], or scope it by `networks`, `devices` or `departments`",
            ],
        ),
        (
            "said twice",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\n[[rule]]\nservice = \"chatgpt\"\n\
          status = \"forbidden\"\n[[rule]]\nservice = [\"claude\", \"chatgpt\"]\nstatus = \"sanctioned\"\n",
            &[
                "4:1 warning: service:chatgpt is decided the same way at policy.toml:1 already | remove one of them",
                "7:1 warning: service:chatgpt is decided otherwise at policy.toml:1; the stricter holds: forbidden | \
             keep one of them, or let one expire before the other begins",
            ],
        ),
        (
            "one after the other",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\nexpires = 2026-11-01\n\
          [[rule]]\nservice = \"chatgpt\"\nstatus = \"sanctioned\"\ndecided = 2026-11-02\n",
            &[],
        ),
        (
            "no tenants there",
            "[[rule]]\nservice = \"midjourney\"\ntenant = \"ours\"\nstatus = \"sanctioned\"\n",
            &[
                "3:10 warning: host names of `midjourney` do not tell tenants apart; the rule matches nothing",
            ],
        ),
        (
            "blanks",
            "[[rule]]\nservice = \"chatgpt\"\nstatus = \"\"\n",
            &["- note: 1 of 1 rules have no status yet and decide nothing"],
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(told(text), *expected, "{name}");
    }
}

#[test]
fn a_mistake_shows_its_line() {
    let error = read("# mine\n[[rule]]\nservice = \"chatgtp\"  # chat\nstatus = \"forbidden\"\n")
        .unwrap_err();
    let expected = "\
policy.toml:3:11: error: no service `chatgtp` in the catalogue
    service = \"chatgtp\"  # chat
              ^^^^^^^^^
    did you mean \"chatgpt\"?";
    assert_eq!(error.to_string(), expected);
}

// ---- commands ---------------------------------------------------------------------------------

#[derive(Parser)]
#[command(name = "shadowtap")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Policy(PolicyArgs),
    Config(ConfigArgs),
}

fn run(words: &[&str]) -> anyhow::Result<(u8, String)> {
    let cli = Cli::try_parse_from(["shadowtap"].iter().chain(words))?;
    let mut out = Vec::new();
    let code = match cli.command {
        Command::Policy(args) => policy::run(&args, &mut out)?,
        Command::Config(args) => config::run(&args, &mut out)?,
    };
    Ok((code, String::from_utf8(out)?))
}

/// The message of wrong configuration or usage.
fn refused(words: &[&str]) -> String {
    run(words).unwrap_err().downcast::<ConfigError>().unwrap().to_string()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

const OFFICE: &str = "\
[default]
status = \"unreviewed\"

[[rule]]
category = \"chat\"
status = \"tolerated\"

[[rule]]
service = \"chatgpt\"
status = \"sanctioned\"
owner = \"it-security\"
reason = \"contract with data protection terms\"
decided = 2026-11-01
expires = 2027-10-31

[[rule]]
service = \"chatgpt\"
status = \"forbidden\"
devices = [\"till-3\"]

[[rule]]
vendor = \"OpenAI\"
status = \"forbidden\"

[[rule]]
service = \"claude\"
status = \"\"
";

#[test]
fn explain_tells_why() {
    let dir = folder();
    let path = write(dir.path(), "policy.toml", OFFICE);
    let at = text_of(&path);
    let explain = |words: &[&str]| {
        let mut all = vec!["policy", "explain"];
        all.extend(words);
        all.extend(["--policy", at]);
        run(&all).unwrap().1.replace(at, "policy.toml")
    };
    let expected = "\
chatgpt: ChatGPT by OpenAI, category chat
asked for device laptop-7, address 10.1.2.3

until 2026-10-31: forbidden, by vendor:OpenAI at policy.toml:21
  because a vendor is more specific than a category, which is next at policy.toml:4
  rules looked at:
    policy.toml:21  vendor:OpenAI            forbidden   wins
    policy.toml:4   category:chat            tolerated   loses: it covers more than the winner
    policy.toml:8   service:chatgpt          sanctioned  decided on 2026-11-01, after that time
    policy.toml:16  service:chatgpt@devices  forbidden   does not apply: the device is none of its devices
  rules on other services: 1

from 2026-11-01 until 2027-10-31: sanctioned, by service:chatgpt at policy.toml:8
  because a service is more specific than a vendor, which is next at policy.toml:21
  reason: contract with data protection terms
  owner: it-security
  decided: 2026-11-01
  expires: 2027-10-31
  rules looked at:
    policy.toml:8   service:chatgpt          sanctioned  wins
    policy.toml:21  vendor:OpenAI            forbidden   loses: it covers more than the winner
    policy.toml:4   category:chat            tolerated   loses: it covers more than the winner
    policy.toml:16  service:chatgpt@devices  forbidden   does not apply: the device is none of its devices
  rules on other services: 1

from 2027-11-01: forbidden, by vendor:OpenAI at policy.toml:21
  because a vendor is more specific than a category, which is next at policy.toml:4
  rules looked at:
    policy.toml:21  vendor:OpenAI            forbidden   wins
    policy.toml:4   category:chat            tolerated   loses: it covers more than the winner
    policy.toml:8   service:chatgpt          sanctioned  expired on 2027-10-31
    policy.toml:16  service:chatgpt@devices  forbidden   does not apply: the device is none of its devices
  rules on other services: 1
";
    assert_eq!(explain(&["chatgpt", "--device", "laptop-7", "--address", "10.1.2.3"]), expected);

    let expected = "\
chatgpt: ChatGPT by OpenAI, category chat
asked for device TILL-3

at 2026-11-20T00:00:00Z: forbidden, by service:chatgpt@devices at policy.toml:16
  because it is for fewer than the rule, which is next at policy.toml:8
  rules looked at:
    policy.toml:16  service:chatgpt@devices  forbidden   wins
    policy.toml:8   service:chatgpt          sanctioned  loses: it is for more than the winner
    policy.toml:21  vendor:OpenAI            forbidden   loses: it covers more than the winner
    policy.toml:4   category:chat            tolerated   loses: it covers more than the winner
  rules on other services: 1
";
    assert_eq!(explain(&["chatgpt", "--device", "TILL-3", "--at", "2026-11-20"]), expected);

    let expected = "\
azure-openai: Azure OpenAI by Microsoft, category llm-api
asked for anybody, tenant contoso

unreviewed
  because no rule applies, and the default is unreviewed
  rules on other services: 5
";
    assert_eq!(explain(&["contoso.openai.azure.com"]), expected);
}

#[test]
fn explain_as_json() {
    let dir = folder();
    let path = write(dir.path(), "policy.toml", OFFICE);
    let (code, out) = run(&[
        "policy",
        "explain",
        "claude",
        "--policy",
        text_of(&path),
        "--json",
        "--user",
        "anna",
    ])
    .unwrap();
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["asked"]["user"], "anna");
    assert_eq!(json["answers"].as_array().unwrap().len(), 1);
    let answer = &json["answers"][0];
    assert_eq!(
        (&answer["action"], &answer["rule"]),
        (&"tolerated".into(), &"category:chat".into())
    );
    let outcomes: Vec<&str> = answer["looked_at"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["won", "undecided"]);
    assert_eq!(answer["looked_at"][1]["line"], 25);
}

#[test]
fn wrong_usage_is_told_and_not_guessed() {
    assert_eq!(
        refused(&["policy", "explain", "chatgtp"]),
        "error: no service `chatgtp` in the catalogue\n    did you mean chatgpt?"
    );
    let at = run(&["policy", "explain", "chatgpt", "--at", "yesterday"]).unwrap_err().to_string();
    assert!(at.contains("a time as 2026-11-23T09:00:00Z, or a date"), "{at}");
    assert!(
        refused(&["policy", "check", "/nowhere/policy.toml"])
            .starts_with("error: /nowhere/policy.toml: No such file")
    );
    assert!(
        run(&["policy", "init", "--store", "/nowhere/store.db"])
            .unwrap_err()
            .downcast::<ConfigError>()
            .is_err()
    );
}

#[test]
fn check_tells_notes_and_minds_strict() {
    let dir = folder();
    let path = write(dir.path(), "p.toml", OFFICE);
    let (code, out) = run(&["policy", "check", text_of(&path)]).unwrap();
    let version = policy_of(OFFICE).version().clone();
    let expected = format!(
        "note: 1 of 5 rules have no status yet and decide nothing\n{}: fine; 5 rules, version {version}\n",
        text_of(&path)
    );
    assert_eq!((code, out), (0, expected));
    let twice = format!("{OFFICE}[[rule]]\nvendor = \"OpenAI\"\nstatus = \"forbidden\"\n");
    let path = write(dir.path(), "p.toml", &twice);
    assert_eq!(run(&["policy", "check", text_of(&path)]).unwrap().0, 0);
    assert_eq!(run(&["policy", "check", "--strict", text_of(&path)]).unwrap().0, 2);
}

fn usage(service: &str, who: u8, bytes_up: u64, level: Level, disposition: Disposition) -> Usage {
    let at = day("2026-11-15");
    let actor = Actor {
        realm: Realm(0),
        addr: [192, 0, 2, who].into(),
        mac: None,
        host_name: Some(Text::from("annas-laptop")),
        who: Person::Unknown,
        department: None,
    };
    Usage {
        hour: u32::try_from(at.seconds() / 3_600).unwrap(),
        actor: Arc::new(actor),
        service: service.into(),
        role: Role::Chat,
        pattern: "pattern.example".into(),
        client_class: ClientClass::Browser,
        level,
        evidence: EvidenceKind::Sni,
        disposition,
        policy_version: "none".into(),
        signature_version: "test".into(),
        bytes_up,
        bytes_down: 10 * bytes_up,
        flows: 1,
        first_seen: at,
        last_seen: Timestamp(at.0 + 90 * Timestamp::SECOND),
    }
}

fn store_with(path: &Path, usage: Vec<Usage>) {
    let mut store = Store::open(path, StoreOptions::default()).unwrap();
    let input = InputRow {
        key: "input".into(),
        name: "office.pcap".into(),
        sensor: None,
        frames: 10,
        size_bytes: 1_000,
        fault: None,
        first_time: day("2026-11-15"),
        last_time: day("2026-11-16"),
    };
    store.commit_input(&input, &InputRows { usage, ..InputRows::default() }).unwrap();
}

#[test]
fn a_first_policy_loads_and_leaves_every_verdict_open() {
    let dir = folder();
    let (db, file) = (dir.path().join("s.db"), dir.path().join("policy.toml"));
    store_with(
        &db,
        vec![
            usage("claude", 1, 5_000, Level::Used, Unreviewed),
            usage("chatgpt", 1, 2_000_000, Level::Bulk, Unsanctioned),
            usage("chatgpt", 2, 1_000, Level::Used, Unsanctioned),
            usage("gemini", 2, 0, Level::Named, Unreviewed),
            usage("gone\nservice", 2, 7_000, Level::Used, Unreviewed),
        ],
    );
    let words = ["policy", "init", "--store", text_of(&db), "--output", text_of(&file)];
    assert_eq!(run(&words).unwrap(), (0, format!("wrote {}\n", file.display())));
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("annas-laptop") && !text.contains("192.0.2."), "{text}");
    let rules = text.split_once("\n# Made of ").unwrap().1;
    let expected = "\
1 input from 2026-11-15T00:00:00Z to 2026-11-16T00:00:00Z.

[default]
status = \"unreviewed\"

# ChatGPT by OpenAI, category chat
#   used by 2 devices in 0 sessions; judged forbidden then
#   2.00 MB sent, 20.0 MB received; first seen 2026-11-15T00:00:00Z, last 2026-11-15T00:01:30Z
[[rule]]
service = \"chatgpt\"
status = \"\"
owner = \"\"
reason = \"\"

# gone\u{fffd}service
#   used by 1 device in 0 sessions
#   7.00 kB sent, 70.0 kB received; first seen 2026-11-15T00:00:00Z, last 2026-11-15T00:01:30Z
#   not in this catalogue, so the rule is left out:
# [[rule]]
# service = \"gone\\u000Aservice\"
# status = \"\"
# owner = \"\"
# reason = \"\"

# Claude by Anthropic, category chat
#   used by 1 device in 0 sessions
#   5.00 kB sent, 50.0 kB received; first seen 2026-11-15T00:00:00Z, last 2026-11-15T00:01:30Z
[[rule]]
service = \"claude\"
status = \"\"
owner = \"\"
reason = \"\"

# Gemini by Google, category chat
#   only asked for, by 1 device
#   0 B sent, 0 B received; first seen 2026-11-15T00:00:00Z, last 2026-11-15T00:01:30Z
[[rule]]
service = \"gemini\"
status = \"\"
owner = \"\"
reason = \"\"
";
    assert_eq!(rules, expected);
    let (policy, problems) = read(&text).unwrap_or_else(|e| panic!("{e}"));
    assert!(problems.iter().all(|p| p.severity == Severity::Note), "{problems:?}");
    assert_eq!(policy.rules().len(), 3);
    for service in CATALOGUE.services() {
        let id: &'static str = &service.id;
        let ruling = Question { service: id, ..chatgpt() }.ruling(&policy);
        assert_eq!((ruling.disposition, &*ruling.rule), (Unreviewed, ""), "{id}");
    }
    assert!(refused(&words).contains("is there already"));
    let forced = run(&[&words[..], &["--force"]].concat());
    assert_eq!(forced.unwrap().0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

// ---- configuration ----------------------------------------------------------------------------

fn load(path: &Path) -> Config {
    Config::load(Some(path)).unwrap_or_else(|e| panic!("{e}"))
}

/// Everything of a configuration but where it comes from.
fn values(config: &Config) -> String {
    let Config { scope, limits, bulk_bytes, signatures_dir, alerts, store, policy, .. } = config;
    format!(
        "{scope:?} {limits:?} {bulk_bytes} {signatures_dir:?} {alerts:?} {store:?} {:?}",
        policy.file
    )
}

#[test]
fn the_file_that_init_writes_loads_and_changes_nothing() {
    let dir = folder();
    let file = dir.path().join("shadowtap.toml");
    let words = ["config", "init", "--output", text_of(&file)];
    assert_eq!(run(&words).unwrap().0, 0);
    assert!(refused(&words).contains("is there already"));
    let defaults = Config::load(None).unwrap();
    assert!(defaults.files.is_empty(), "no file lies here");
    assert_eq!(values(&load(&file)), values(&defaults));
    let (code, out) = run(&["config", "check", text_of(&file)]).unwrap();
    let services = CATALOGUE.services().len();
    assert_eq!(
        (code, out),
        (0, format!("{}: fine; 0 rules (policy none), {services} services\n", file.display()))
    );
    assert_eq!(run(&["config", "init", "--output", "-"]).unwrap().1, DEFAULTS);
}

#[test]
fn defaults_are_those_of_the_rooms() {
    let config = Config::load(None).unwrap();
    assert_eq!(format!("{:?}", config.limits()), format!("{:?}", FlowLimits::of(1 << 22)));
    let (ours, rooms) = (config.store_options(false, false), StoreOptions::default());
    assert_eq!((ours.rules, ours.size_max_bytes), (rooms.rules, rooms.size_max_bytes));
    assert_eq!(ours.retention, Retention::default());
    assert!(config.decode_options().exclude.is_empty());
    assert!((1..=16).contains(&config.watchers()));
    let (rulebook, problems) = config.rulebook().unwrap();
    assert!(problems.is_empty() && rulebook.own_networks.is_empty());
    assert_eq!((&**rulebook.policy.version(), rulebook.bulk_bytes), ("none", 1_000_000));
}

#[test]
fn the_example_of_rules_in_the_file_is_a_good_one() {
    let uncommented =
        |line: &str| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line).to_owned();
    let start = DEFAULTS.find("# [policy.default]").unwrap();
    let end = DEFAULTS.find("\n[signatures]").unwrap();
    let lines: Vec<String> = DEFAULTS[start..end].lines().map(uncommented).collect();
    let dir = folder();
    let file = write(dir.path(), "shadowtap.toml", &lines.join("\n"));
    let (policy, problems) = load(&file).policy(&CATALOGUE).unwrap_or_else(|e| panic!("{e}"));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(policy.rules().len(), 1);
    assert_eq!(policy.rules()[0].scope.devices.len(), 2);
}

#[test]
fn later_files_override_earlier_ones_and_rules_add_up() {
    let dir = folder();
    let main = write(
        dir.path(),
        "main.toml",
        "\
include = [\"site/site.toml\", \"more.toml\"]
[limits]
flows_max = 2_000_000
[[policy.rule]]
service = \"chatgpt\"
status = \"sanctioned\"
",
    );
    write(
        dir.path(),
        "site/site.toml",
        "\
include = \"../base.toml\"
[limits]
flows_max = 32
udp_idle_s = 60
[policy]
file = \"policy.toml\"
[store]
file = \"office.db\"
",
    );
    write(
        dir.path(),
        "site/policy.toml",
        "[[rule]]\nservice = \"claude\"\nstatus = \"forbidden\"\n",
    );
    write(
        dir.path(),
        "base.toml",
        "\
[limits]
udp_idle_s = 30
closed_s = 20
[scope]
own_networks = [\"10.0.0.0/8\"]
[[policy.rule]]
vendor = \"Google\"
status = \"tolerated\"
",
    );
    write(
        dir.path(),
        "more.toml",
        "include = \"base.toml\"\n[policy.default]\nstatus = \"forbidden\"\n",
    );
    let config = load(&main);
    let l = &config.limits;
    assert_eq!((l.flows_max, l.udp_idle_s, l.closed_s, l.tcp_idle_s), (2_000_000, 60, 20, 600));
    assert_eq!(config.limits().flows_max, 125_000);
    assert_eq!(config.scope.own_networks, [("10.0.0.0".parse().unwrap(), 8)]);
    assert_eq!(config.policy.file.as_deref(), Some(dir.path().join("site/policy.toml").as_path()));
    assert_eq!(config.store.file.as_deref(), Some(dir.path().join("site/office.db").as_path()));
    assert_eq!(config.files.len(), 4, "base.toml is read once");
    let (policy, _) = config.policy(&CATALOGUE).unwrap_or_else(|e| panic!("{e}"));
    for (service, disposition) in [
        ("chatgpt", Sanctioned),
        ("claude", Unsanctioned),
        ("gemini", Tolerated),
        ("midjourney", Unsanctioned),
    ] {
        let ruling = Question { service, ..chatgpt() }.ruling(&policy);
        assert_eq!(ruling.disposition, disposition, "{service}");
    }

    let shown = run(&["config", "show", "--config", text_of(&main), "--set", "limits.threads=3"])
        .unwrap()
        .1;
    let shown = shown.replace(text_of(dir.path()), "DIR");
    let expected = "\
scope.own_networks = [\"10.0.0.0/8\"]  # DIR/site/../base.toml:5
limits.threads = 3                   # --set
limits.flows_max = 2000000           # DIR/main.toml:3
limits.closed_s = 20                 # DIR/site/../base.toml:3
limits.udp_idle_s = 60               # DIR/site/site.toml:4
policy.file = \"policy.toml\"          # DIR/site/site.toml:6
store.file = \"office.db\"             # DIR/site/site.toml:8
";
    assert_eq!(shown, expected);

    // A policy that a flag names stands alone.
    let flag = Flag {
        name: "--policy".to_owned(),
        key: "policy.file".to_owned(),
        value: dir.path().join("site/policy.toml").display().to_string(),
    };
    let config = Config::load_with(Some(&main), &[flag]).unwrap();
    assert_eq!(config.policy(&CATALOGUE).unwrap().0.rules().len(), 1);
}

#[test]
fn show_tells_all_and_for_programs() {
    let (_, all) = run(&["config", "show", "--effective"]).unwrap();
    assert_eq!(all.lines().count(), Config::load(None).unwrap().settings.len());
    assert!(all.lines().all(|l| l.ends_with("# default")), "{all}");
    assert_eq!(
        run(&["config", "show"]).unwrap().1,
        "# nothing is set; --effective shows the defaults\n"
    );
    let (_, out) = run(&["config", "show", "--json", "--set", "scope.exclude.vlans=7, 9"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!({
        "files": [],
        "settings": [
            {"key": "scope.exclude.vlans", "value": [7, 9], "origin": "flag", "flag": "--set"},
        ],
    });
    assert_eq!(json, expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes_in_a_configuration_are_told_by_file_and_line() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "unknown key",
            "[limits]\nflow_max = 1\n",
            &[
                "c.toml:2:1: error: unknown key `flow_max` in [limits]\n    flow_max = 1\n    ^^^^^^^^\n    \
             did you mean `flows_max`?",
            ],
        ),
        (
            "unknown table",
            "[limts]\nflows_max = 32\n",
            &[
                "c.toml:1:2: error: unknown key `limts`\n    [limts]\n     ^^^^^\n    did you mean `limits`?",
            ],
        ),
        (
            "nothing near",
            "[store]\nzzzzzz = 1\n",
            &[
                "c.toml:2:1: error: unknown key `zzzzzz` in [store]\n    zzzzzz = 1\n    ^^^^^^\n    \
             known here: file, size_max_bytes, retention",
            ],
        ),
        (
            "another type",
            "[limits]\n\nflows_max = \"many\"\n[alerts]\nfirst_use = 1\n",
            &[
                "c.toml:3:13: error: `flows_max` must be a whole number, not negative\n    flows_max = \"many\"\n    \
             \u{20}           ^^^^^^\n    the default is 4194304",
                "c.toml:5:13: error: `first_use` must be true or false\n    first_use = 1\n                ^\n    \
             the default is true",
            ],
        ),
        (
            "negative",
            "[alerts]\ncooldown_s = -1\n",
            &[
                "c.toml:2:14: error: `cooldown_s` must be a whole number, not negative\n    cooldown_s = -1\n    \
             \u{20}            ^^\n    the default is 14400",
            ],
        ),
        (
            "out of range",
            "[store.retention]\nusage_days = 0\n",
            &[
                "c.toml:2:14: error: `store.retention.usage_days` is 0, but must be from 1 to 36500\n    \
             usage_days = 0\n                 ^",
            ],
        ),
        (
            "items",
            "[scope.exclude]\nnetworks = [\"10.0.0.0/8\",\n  \"10.1.2.3/8\"]\nvlans = [1, 4096]\n\
          macs = [\"x\"]\n",
            &[
                "c.toml:3:3: error: `10.1.2.3/8` is an address within a network\n      \"10.1.2.3/8\"]\n      \
             ^^^^^^^^^^^^\n    did you mean 10.0.0.0/8, or the single host 10.1.2.3?",
                "c.toml:4:13: error: 4096 is no VLAN id\n    vlans = [1, 4096]\n                ^^^^\n    \
             VLAN ids go from 0 to 4095, without quotes",
                "c.toml:5:9: error: \"x\" is no MAC\n    macs = [\"x\"]\n            ^^^\n    \
             write it as \"02:00:00:00:00:01\"",
            ],
        ),
        (
            "a value for a table",
            "limits = 5\n",
            &[
                "c.toml:1:10: error: `limits` must be a table, [limits]\n    limits = 5\n             ^",
            ],
        ),
        (
            "twice",
            "[judge]\nbulk_bytes = 1\nbulk_bytes = 2\n",
            &["c.toml:3:1: error: duplicate key\n    bulk_bytes = 2\n    ^^^^^^^^^^"],
        ),
        (
            "a missing include",
            "include = [\"none.toml\"]\n",
            &["c.toml:1:12: error: DIR/none.toml: No such file or directory (os error 2)\n    \
             include = [\"none.toml\"]\n               ^^^^^^^^^^^"],
        ),
        (
            "itself",
            "include = [\"c.toml\"]\n",
            &[
                "c.toml:1:12: error: DIR/c.toml includes itself\n    include = [\"c.toml\"]\n               ^^^^^^^^\n    \
             remove one of the includes",
            ],
        ),
    ];
    for (name, text, expected) in cases {
        let dir = folder();
        let file = write(dir.path(), "c.toml", text);
        let error = Config::load(Some(&file)).unwrap_err();
        let at = text_of(dir.path());
        let told: Vec<String> = error
            .problems
            .iter()
            .map(|p| {
                p.to_string().replacen(&format!("{at}/c.toml:"), "c.toml:", 1).replace(at, "DIR")
            })
            .collect();
        assert_eq!(told, *expected, "{name}");
    }
}

#[test]
fn includes_end() {
    let dir = folder();
    for n in 0..20 {
        write(dir.path(), &format!("{n}.toml"), &format!("include = \"{}.toml\"\n", n + 1));
    }
    let error = Config::load(Some(&dir.path().join("0.toml"))).unwrap_err().to_string();
    assert!(error.contains("/7.toml:1:11: error: more than 8 files deep"), "{error}");
    write(dir.path(), "a.toml", "include = \"b.toml\"\n");
    write(dir.path(), "b.toml", "include = \"a.toml\"\n");
    let error = Config::load(Some(&dir.path().join("a.toml"))).unwrap_err().to_string();
    assert!(error.contains("/b.toml:1:11: error:") && error.contains("includes itself"), "{error}");
}

#[test]
fn check_reads_policy_and_signatures_too() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let file = write(dir.path(), "c.toml", "[policy]\nfile = \"p.toml\"\n");
    write(dir.path(), "p.toml", "\n[[rule]]\nservice = \"nope-nope\"\nstatus = \"forbidden\"\n");
    let told = refused(&["config", "check", text_of(&file)]);
    assert!(
        told.starts_with(&format!("{}:3:11: error: no service `nope-nope`", at("p.toml"))),
        "{told}"
    );
    fs::remove_file(dir.path().join("p.toml")).unwrap();
    let told = refused(&["config", "check", text_of(&file)]);
    assert!(
        told.starts_with(&format!("{}:2:8: error: {}: No such file", at("c.toml"), at("p.toml"))),
        "{told}"
    );
    let inline = write(
        dir.path(),
        "i.toml",
        "[[policy.rule]]\nservice = \"chatgpt\"\nstatus = \"forbiden\"\n",
    );
    let told = refused(&["config", "check", text_of(&inline)]);
    assert!(
        told.starts_with(&format!("{}:3:10: error: unknown status `forbiden`", at("i.toml"))),
        "{told}"
    );
    let users = write(
        dir.path(),
        "u.toml",
        "[[policy.rule]]\nservice = \"chatgpt\"\nstatus = \"forbidden\"\ngroups = [\"lab\"]\n",
    );
    let (code, out) = run(&["config", "check", "--strict", text_of(&users)]).unwrap();
    assert_eq!(code, 0, "a note is no warning");
    assert!(out.contains("u.toml:1:1: note: this rule is for people"), "{out}");
    let bad = write(dir.path(), "s.toml", "[signatures]\ndir = \"sigs\"\n");
    write(dir.path(), "sigs/x.toml", "\n[[service]]\nid = \"x\"\n");
    let told = refused(&["config", "check", text_of(&bad)]);
    assert!(told.starts_with("x.toml:2:1: error: missing field"), "{told}");
}

#[test]
fn flags_come_last_and_are_checked() {
    let dir = folder();
    let file = write(dir.path(), "c.toml", "[limits]\nthreads = 2\n");
    let flag = |key: &str, value: &str| Flag {
        name: "--x".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let config = Config::load_with(Some(&file), &[flag("limits.threads", "4")]).unwrap();
    assert_eq!((config.limits.threads, config.watchers()), (4, 4));
    let threads = config.settings.iter().find(|s| s.key == "limits.threads").unwrap();
    assert_eq!(threads.origin, Origin::Flag("--x".to_owned()));
    for (key, value, expected) in [
        (
            "limits.threads",
            "four",
            "error: --x: `limits.threads` must be a whole number, not negative",
        ),
        ("limits.threads", "17", "error: --x: `limits.threads` is 17, but must be from 0 to 16"),
        (
            "limit.threads",
            "4",
            "error: --x: unknown key `limit.threads`\n    did you mean `limits.threads`?",
        ),
        (
            "scope.own_networks",
            "10.0.0.0/8,x",
            "error: --x: `x` is no network\n    write an address and a length, \
          such as 10.1.0.0/16 or 2001:db8::/32",
        ),
    ] {
        let error = Config::load_with(Some(&file), &[flag(key, value)]).unwrap_err();
        assert_eq!(error.to_string(), expected, "{key} {value}");
    }
    assert_eq!(
        refused(&["config", "show", "--set", "limits.threads"]),
        "error: --set limits.threads: no value\n    \
               write --set limits.threads=4"
    );
}

#[test]
fn exclusions_reach_the_decoder() {
    let dir = folder();
    let file = write(
        dir.path(),
        "c.toml",
        "[scope.exclude]\nnetworks = [\"10.9.0.0/16\"]\nvlans = [7]\n\
                     macs = [\"02:00:00:00:00:09\"]\n",
    );
    let exclude = load(&file).decode_options().exclude;
    assert!(exclude.holds_vlan(7) && !exclude.holds_vlan(8));
    assert!(exclude.holds_mac(MacAddr([2, 0, 0, 0, 0, 9])));
    assert!(!exclude.is_empty());
}

#[test]
fn help_has_examples() {
    for words in [["policy", "--help"], ["config", "--help"]] {
        let Err(help) = Cli::try_parse_from(["shadowtap"].iter().chain(&words)) else {
            panic!("no help")
        };
        let help = help.to_string();
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
}
