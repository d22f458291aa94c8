//! `shadowtap policy explain|init|check`: who may use what, and why.
//!
//! In: arguments. Out: lines on `out`, a file for `init`; an exit code.
//! Never: reads a clock: without a time, the answer is given for all of time.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::approve::find;
use super::config::{exit_code, save, tell};
use super::files::{CatalogueFiles, Files};
use super::report::{Today, today};
use crate::answer::starter::starter_policy;
use crate::config::ConfigError;
use crate::recorder::identity::Person;
use crate::recorder::policy::explain::{Explanation, time_text};
use crate::recorder::policy::{Asked, Policy, Span};
use crate::recorder::signature::{Catalogue, Service};
use crate::recorder::store::rows::{Actor, Text};
use crate::recorder::store::{Answers, Scope};
use crate::recorder::words::Disposition;
use crate::types::{NAME_MAX, Realm, Timestamp, plain_name};
use crate::written::{Document, mac};

const EXAMPLES: &str = "\
Examples:
  shadowtap policy init --store office.db --output policy.toml
  shadowtap policy check policy.toml
  shadowtap policy explain chatgpt --policy policy.toml
  shadowtap policy explain our-team.openai.azure.com --device laptop-7 --at 2026-11-20

Exit codes: 0 fine, 1 the store or a file failed, 2 the policy or the usage is wrong.";

/// Explain, start or check the policy: who may use what.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What to do with the policy.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Tell the verdict on a service, and every rule that was looked at
    Explain(ExplainArgs),
    /// Write a first policy: a blank decision for each service in a store
    Init(InitArgs),
    /// Check a policy file
    Check(CheckArgs),
}

/// Arguments of `policy explain`.
#[derive(Args, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Service id, or a host name
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Login of the user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Group of the user; may repeat
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Department of the device or its user
    #[arg(long, value_name = "NAME")]
    pub department: Option<String>,
    /// Host name or MAC of the device
    #[arg(long, value_name = "NAME|MAC")]
    pub device: Option<String>,
    /// Address of the device
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// Tenant: the label that stands in the host name
    #[arg(long, value_name = "LABEL")]
    pub tenant: Option<String>,
    /// Day, or time with offset, of the use; without it, the answer for all of time
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub at: Option<Timestamp>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
    /// As one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `policy init`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Store of earlier scans
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// Where to write; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
}

/// Arguments of `policy check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// Policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
    /// Configuration, signatures.
    #[command(flatten)]
    pub files: CatalogueFiles,
}

/// Runs the command; the answer is the exit code.
///
/// # Errors
/// [`ConfigError`] for a wrong policy or usage; any other if the store or a file failed.
pub fn run(args: &PolicyArgs, out: &mut dyn Write) -> Result<u8> {
    match &args.command {
        PolicyCommand::Explain(args) => explain(args, out),
        PolicyCommand::Init(args) => init(args, out),
        PolicyCommand::Check(args) => check(args, out),
    }
}

fn init(args: &InitArgs, out: &mut dyn Write) -> Result<u8> {
    let catalogue = args.files.clone().load()?.catalogue()?;
    let answers = Answers::open(&args.store)?;
    let summary = answers.summary(&Scope::default())?;
    save(&args.output, &starter_policy(&summary, &catalogue), args.force, out)?;
    Ok(0)
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<u8> {
    let catalogue = args.files.clone().load()?.catalogue()?;
    let doc = Document::read(&args.file).map_err(ConfigError::from)?;
    let (policy, problems) = Policy::read(&doc, &catalogue)?;
    tell(&problems, out)?;
    let count = policy.rules().len();
    writeln!(out, "{}: fine; {count} rules, version {}", args.file.display(), policy.version())?;
    Ok(exit_code(&problems, args.strict))
}

fn explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<u8> {
    let Today { catalogue, policy, .. } = today(&args.files)?;
    let policy = policy.unwrap_or_default();
    let (service, tenant) = service(&catalogue, args)?;
    let groups: Vec<Text> = args.group.iter().map(|g| Text::from(g.as_str())).collect();
    let actor = actor(args);
    let at = args.at;
    let asked = Asked {
        service: &service.id,
        category: service.category.word(),
        vendor: &service.vendor,
        tenant: tenant.as_deref(),
        actor: &actor,
        user: args.user.as_deref(),
        groups: &groups,
        at: at.unwrap_or_default(),
    };
    let spans = match at {
        Some(_) => vec![Span { from_s: None, until_s: None, ruling: policy.rule(&asked) }],
        None => policy.spans(&asked),
    };
    let explained: Vec<(Span, Explanation<'_>)> = spans
        .into_iter()
        .map(|span| {
            let from =
                span.from_s.map_or(asked.at, |s| Timestamp(s.saturating_mul(Timestamp::SECOND)));
            (span, policy.explain(&Asked { at: from, ..asked }))
        })
        .collect();
    if args.json {
        let told = Told::new(args, service, &asked, at, &policy, &catalogue, &explained);
        serde_json::to_writer_pretty(&mut *out, &told)?;
        writeln!(out)?;
        return Ok(0);
    }
    let (id, name, vendor) = (&service.id, &service.name, &service.vendor);
    writeln!(out, "{id}: {name} by {vendor}, category {}", service.category.word())?;
    writeln!(out, "asked for {}", whom(args, tenant.as_deref()))?;
    for (span, explanation) in &explained {
        let when = at.map_or_else(|| span_text(span), |at| format!("at {}: ", time_text(at)));
        write!(out, "\n{when}{}", explanation.text())?;
    }
    Ok(0)
}

/// The service meant, by id or host name, and the tenant.
fn service<'c>(
    catalogue: &'c Catalogue,
    args: &ExplainArgs,
) -> Result<(&'c Service, Option<String>), ConfigError> {
    let mut buf = [0; NAME_MAX];
    let tenant = plain_name(args.service.as_bytes(), &mut buf)
        .and_then(|name| catalogue.lookup(name)?.tenant.map(str::to_owned));
    let service = find(catalogue, &args.service)?;
    Ok((service, args.tenant.clone().or(tenant)))
}

fn actor(args: &ExplainArgs) -> Actor {
    let device = args.device.as_deref();
    let mac = device.and_then(mac);
    Actor {
        realm: Realm::default(),
        addr: args.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        mac,
        host_name: device.filter(|_| mac.is_none()).map(|d| Text::from(d.to_lowercase())),
        who: Person::Unknown,
        department: args.department.as_deref().map(Text::from),
    }
}

fn whom(args: &ExplainArgs, tenant: Option<&str>) -> String {
    let mut parts = Vec::new();
    parts.extend(args.user.iter().map(|u| format!("user {u}")));
    parts.extend(args.group.iter().map(|g| format!("group {g}")));
    parts.extend(args.device.iter().map(|d| format!("device {d}")));
    parts.extend(args.address.iter().map(|a| format!("address {a}")));
    if parts.is_empty() {
        parts.push("anybody".to_owned());
    }
    parts.extend(tenant.iter().map(|t| format!("tenant {t}")));
    parts.join(", ")
}

/// Days from and until which an answer holds, in front of it; nothing if it always does.
fn span_text(span: &Span) -> String {
    let day = |s: u64| {
        let time = Timestamp(s.saturating_mul(Timestamp::SECOND));
        time_text(time).split('T').next().unwrap_or_default().to_owned()
    };
    let last = span.until_s.map(|until| day(until.saturating_sub(1)));
    match (span.from_s.map(day), last) {
        (None, None) => String::new(),
        (Some(from), None) => format!("from {from}: "),
        (None, Some(last)) => format!("until {last}: "),
        (Some(from), Some(last)) => format!("from {from} until {last}: "),
    }
}

/// `policy explain --json`.
#[derive(Serialize)]
struct Told<'e> {
    service: &'e str,
    service_name: &'e str,
    vendor: &'e str,
    category: &'e str,
    asked: Question<'e>,
    policy_version: &'e str,
    signature_version: &'e str,
    answers: Vec<Answer<'e>>,
}

#[derive(Serialize)]
struct Question<'e> {
    user: Option<&'e str>,
    groups: &'e [String],
    device: Option<&'e str>,
    address: Option<IpAddr>,
    tenant: Option<&'e str>,
    at: Option<String>,
}

#[derive(Serialize)]
struct Answer<'e> {
    /// First second, `null` for the beginning of time; both are `null` for an answer to `at`.
    from: Option<String>,
    /// First second after it.
    until: Option<String>,
    action: &'static str,
    rule: &'e str,
    why: &'e str,
    looked_at: Vec<Considered<'e>>,
    rules_elsewhere: usize,
}

#[derive(Serialize)]
struct Considered<'e> {
    rule: &'e str,
    target: String,
    /// `null` while nobody filled it in.
    action: Option<&'static str>,
    outcome: &'static str,
    text: String,
    file: &'e str,
    line: usize,
    owner: Option<&'e str>,
    reason: Option<&'e str>,
    decided: Option<String>,
    expires: Option<String>,
}

impl<'e> Told<'e> {
    fn new(
        args: &'e ExplainArgs,
        service: &'e Service,
        asked: &Asked<'e>,
        at: Option<Timestamp>,
        policy: &'e Policy,
        catalogue: &'e Catalogue,
        explained: &'e [(Span, Explanation<'e>)],
    ) -> Self {
        Self {
            service: &service.id,
            service_name: &service.name,
            vendor: &service.vendor,
            category: service.category.word(),
            asked: Question {
                user: asked.user,
                groups: &args.group,
                device: args.device.as_deref(),
                address: args.address,
                tenant: asked.tenant,
                at: at.map(time_text),
            },
            policy_version: policy.version(),
            signature_version: catalogue.version(),
            answers: explained.iter().map(|(span, e)| Answer::new(span, e)).collect(),
        }
    }
}

impl<'e> Answer<'e> {
    fn new(span: &Span, explanation: &'e Explanation<'e>) -> Self {
        let time = |s: u64| time_text(Timestamp(s.saturating_mul(Timestamp::SECOND)));
        let line = |l: &crate::recorder::policy::explain::LookedAt<'e>| Considered {
            rule: &l.rule.name,
            target: l.rule.target.text(),
            action: l.rule.status.map(Disposition::code),
            outcome: l.outcome.code(),
            text: l.text(),
            file: &l.rule.place.file,
            line: l.rule.place.line,
            owner: l.rule.owner.as_deref(),
            reason: l.rule.reason.as_deref(),
            decided: l.rule.validity.decided.map(|d| d.to_string()),
            expires: l.rule.validity.expires.map(|d| d.to_string()),
        };
        Self {
            from: span.from_s.map(time),
            until: span.until_s.map(time),
            action: explanation.ruling.disposition.code(),
            rule: &explanation.ruling.rule,
            why: &explanation.why,
            looked_at: explanation.looked_at.iter().map(line).collect(),
            rules_elsewhere: explanation.elsewhere,
        }
    }
}
