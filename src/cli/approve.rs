//! `shadowtap approve|deny|review`: one decision, written down where it counts.
//!
//! In: a service, who decides and why. Out: the policy file changed, the decision in the store's
//! history, and what changes in numbers.
//! Never: changes anything with `--dry-run`; leaves a policy that does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Problem;
use super::files::Files;
use super::report::{POLICY_HERE, Today, file_name, open, today};
use crate::answer::tally::{Judge, Tally, status};
use crate::answer::terminal::{Column, counted, printable, table, time, wrap};
use crate::config::ConfigError;
use crate::recorder::finding::bytes;
use crate::recorder::identity::Person;
use crate::recorder::policy::edit::{Change, change};
use crate::recorder::policy::{Asked, Policy};
use crate::recorder::signature::{Catalogue, Service};
use crate::recorder::store::rows::{Actor, Text};
use crate::recorder::store::{Answers, Decision, Scope, decide};
use crate::recorder::words::{Disposition, State};
use crate::types::{NAME_MAX, Realm, Timestamp, plain_name};
use crate::written::{Document, nearest};

/// Columns of what is printed.
const WIDTH: usize = 100;

/// Services offered for a word that is none.
const ALIKE_MAX: usize = 5;

/// What all decisions have in common.
#[derive(Args, Clone, Debug)]
pub struct DecisionArgs {
    /// Service id, name or host name; for review also a candidate host.
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Who answers for it from now on.
    #[arg(long, value_name = "NAME")]
    pub owner: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Last day on which the decision holds: a day (2027-03-31), or a month with its last day
    /// (2027-03).
    #[arg(long, value_name = "DATE", value_parser = last_day)]
    pub expires: Option<String>,
    /// Day of the decision; it does not hold before. Without it, it holds for the past too.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub decided: Option<String>,
    /// Day until which something is to be done about it.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub due: Option<String>,
    /// For some only: network:10.1.0.0/16, device:laptop-7, group:NAME or user:NAME; may repeat.
    #[arg(long, value_name = "KIND:NAME", value_parser = limit)]
    pub scope: Vec<(&'static str, String)>,
    /// The store: keeps the decision in its history, and gives the numbers.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
    /// Only show what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// Approve a service, for a time, for some or for all.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap approve claude --store ai.db --owner IT --reason \"contract signed\" --expires 2027-03
  shadowtap approve claude --store ai.db --owner IT --reason trial --scope department:Research
  shadowtap approve claude --store ai.db --owner IT --reason trial --tolerate --dry-run

Changes one rule of the policy file and nothing else, writes the decision into the store's history, and says what
changes in numbers. Reports and exports judge by the new policy at once, without a new scan.

Exit codes: 0 fine, 1 a file or the store failed, 2 wrong usage or policy.")]
pub struct ApproveArgs {
    #[command(flatten)]
    /// The decision.
    pub decision: DecisionArgs,
    /// Tolerate it for the time being rather than allow it.
    #[arg(long)]
    pub tolerate: bool,
}

/// Forbid a service.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  shadowtap deny deepseek --owner \"data protection\" --reason \"no agreement\" --store ai.db

Afterwards `shadowtap export rpz --store ai.db --what-if` says what a block would break.
Exit codes: 0 fine, 1 a file or the store failed, 2 wrong usage or policy.")]
pub struct DenyArgs {
    #[command(flatten)]
    /// The decision.
    pub decision: DecisionArgs,
}

/// Say who looks into a service before anybody decides.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap review otter --owner legal --reason \"records meetings\" --due 2026-12-15 --store ai.db
  shadowtap review gpu-4.office.example --owner it --reason \"whose is it?\" --store ai.db    a candidate

Exit codes: 0 fine, 1 a file or the store failed, 2 wrong usage or policy.")]
pub struct ReviewArgs {
    #[command(flatten)]
    /// The decision.
    pub decision: DecisionArgs,
}

/// Runs `approve`.
///
/// # Errors
/// If the policy or the store cannot be changed.
pub fn approve(args: &ApproveArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let verdict = if args.tolerate { Disposition::Tolerated } else { Disposition::Sanctioned };
    let state = match args.decision.expires {
        Some(_) => State::Accepted,
        None => State::Resolved,
    };
    run(&args.decision, verdict, state, out)
}

/// Runs `deny`.
///
/// # Errors
/// If the policy or the store cannot be changed.
pub fn deny(args: &DenyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    run(&args.decision, Disposition::Unsanctioned, State::Open, out)
}

/// Runs `review`.
///
/// # Errors
/// If the policy or the store cannot be changed.
pub fn review(args: &ReviewArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    run(&args.decision, Disposition::Unreviewed, State::InReview, out)
}

fn run(
    args: &DecisionArgs,
    verdict: Disposition,
    state: State,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    // One that is not there yet is going to be made.
    let policy = args.files.policy.clone().filter(|p| p.exists());
    let today = today(&Files { policy, ..args.files.clone() })?;
    let answers = args.store.as_deref().map(open).transpose()?;
    let service = match find(&today.catalogue, &args.service) {
        Ok(service) => service,
        Err(problem) => return candidate(args, state, answers.as_ref(), out, problem),
    };
    let path = args.files.policy.as_ref().or(today.policy_file.as_ref()).cloned();
    let path = path.unwrap_or_else(|| PathBuf::from(POLICY_HERE));
    let before = if path.exists() {
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
    } else if let (Some(answers), Some(store)) = (&answers, &args.store) {
        recorded(answers, &today, &file_name(store))?
    } else {
        String::new()
    };
    let wanted = Change {
        service: service.id.clone(),
        status: word(verdict).to_owned(),
        owner: Some(args.owner.clone()),
        reason: Some(args.reason.clone()),
        decided: args.decided.clone(),
        expires: args.expires.clone(),
        scope: args.scope.clone(),
    };
    let after = change(&before, &wanted)
        .map_err(|why| Problem::usage(format!("{}: {why}", path.display())))?;
    if let Some((_, last)) = answers.as_ref().map(Answers::span).transpose()?.flatten()
        && let Some(expires) = &args.expires
        && super::time(expires).is_ok_and(|day| last.since(day) >= Timestamp::DAY)
    {
        let seen = time(last, "%Y-%m-%d");
        let text =
            format!("{expires} is over: the store goes on to {seen}, so nothing would change");
        return Err(Problem::usage(text).into());
    }
    let shown = path.display().to_string();
    let (policy, problems) =
        Policy::read(&Document::new(&shown, after.as_str()), &today.catalogue)?;
    for problem in problems {
        eprintln!("{problem}");
    }
    let scope = scope_text(&args.scope);
    let until = args.expires.as_deref().map_or(String::new(), |d| format!(", until {d}"));
    writeln!(
        out,
        "{} ({} by {}): {} for {scope}{until}; {} answers for it",
        service.id,
        service.name,
        service.vendor,
        verb(verdict),
        printable(&args.owner)
    )?;
    let there = if path.exists() { before.as_str() } else { "" };
    difference(out, there, &after, &file_name(&path))?;
    if let Some(answers) = &answers {
        numbers(out, answers, &today, &policy)?;
        siblings(out, answers, &today, service)?;
    }
    if args.dry_run {
        writeln!(out, "\nNothing was changed (--dry-run).")?;
        return Ok(0);
    }
    replace(&path, &after)?;
    let Some(store) = &args.store else {
        writeln!(out, "\n{shown} is changed. Without --store the decision stands in no history.")?;
        return Ok(0);
    };
    let subject = format!("service:{}", service.id);
    write_down(args, store, &subject, state, Some(verdict), &policy, answers.as_ref())?;
    writeln!(
        out,
        "\n{shown} is changed, and the decision stands in the history of {0}.\n\
         Reports judge all of the store by it; --decided DATE leaves what was before that day.\n\
         Next: shadowtap report --store {0}{1}, or shadowtap export FORM --store {0}{1} --what-if",
        file_name(store),
        if shown == POLICY_HERE { String::new() } else { format!(" --policy {shown}") },
    )?;
    // A narrower or stricter rule may speak louder.
    if args.scope.is_empty() {
        told_otherwise(out, &policy, service, verdict, answers.as_ref())?;
    }
    Ok(0)
}

/// Services of the same vendor that were used and that this decision leaves as they are.
fn siblings(
    out: &mut dyn Write,
    answers: &Answers,
    today: &Today,
    service: &Service,
) -> anyhow::Result<()> {
    let used = answers.services()?;
    let others: BTreeSet<&str> = used
        .values()
        .filter_map(|id| today.catalogue.service(id))
        .filter(|s| s.vendor == service.vendor && s.id != service.id)
        .map(|s| s.id.as_str())
        .collect();
    if !others.is_empty() {
        let others: Vec<&str> = others.into_iter().collect();
        writeln!(out, "Also of {}, and not part of this: {}", service.vendor, others.join(", "))?;
    }
    Ok(())
}

/// A first policy that says what the store has recorded, so that a new file takes nothing back.
fn recorded(answers: &Answers, today: &Today, store: &str) -> anyhow::Result<String> {
    let (actors, services) = (answers.actors()?, answers.services()?);
    let mut judge = Judge::new(None, &today.catalogue, &actors, &services);
    let tally = Tally::read(answers, &Scope::default(), &mut judge)?;
    let mut verdicts: BTreeMap<&str, BTreeSet<Disposition>> = BTreeMap::new();
    for (_, service, verdict) in tally.pairs.keys() {
        verdicts.entry(service).or_default().insert(*verdict);
    }
    let mut text = format!(
        "# Begun with the verdicts that {store} had recorded.\n\n[default]\nstatus = \"unreviewed\"\n"
    );
    for (service, verdicts) in verdicts {
        let mut all = verdicts.iter();
        match (all.next(), all.next()) {
            (Some(Disposition::Unreviewed), None) | (None, _) => {}
            (Some(verdict), None) => writeln!(
                text,
                "\n[[rule]]\nservice = \"{service}\"\nstatus = \"{}\"\nreason = \"as recorded\"",
                word(*verdict)
            )?,
            // It depends on who it was, which nobody wrote down.
            (Some(_), Some(_)) => writeln!(text, "\n# {service}: several verdicts were recorded")?,
        }
    }
    Ok(text)
}

/// A host outside the catalogue can be looked into, but no policy rules about it.
fn candidate(
    args: &DecisionArgs,
    state: State,
    answers: Option<&Answers>,
    out: &mut dyn Write,
    problem: ConfigError,
) -> anyhow::Result<u8> {
    let (Some(answers), Some(store), State::InReview) = (answers, &args.store, state) else {
        return Err(problem.into());
    };
    let host = args.service.to_lowercase();
    let known = answers.candidates(&Scope::default())?;
    if !known.iter().any(|c| *c.host == *host) {
        return Err(problem.into());
    }
    writeln!(out, "{}: in review; {} answers for it", printable(&host), printable(&args.owner))?;
    if args.dry_run {
        writeln!(out, "Nothing was changed (--dry-run).")?;
        return Ok(0);
    }
    let policy = Policy::default();
    write_down(args, store, &format!("candidate:{host}"), state, None, &policy, Some(answers))?;
    writeln!(out, "It stands in the history of {}.", file_name(store))?;
    Ok(0)
}

fn write_down(
    args: &DecisionArgs,
    store: &Path,
    subject: &str,
    state: State,
    disposition: Option<Disposition>,
    policy: &Policy,
    answers: Option<&Answers>,
) -> anyhow::Result<()> {
    let span = answers.map(Answers::span).transpose()?.flatten();
    let text = |t: &Option<String>| t.as_deref().map(Text::from);
    let line = |t: &str| Text::from(t.split_whitespace().collect::<Vec<_>>().join(" "));
    let decision = Decision {
        subject: Text::from(subject),
        state,
        disposition,
        scope: Text::from(scope_text(&args.scope)),
        owner: Some(line(&args.owner)),
        reason: Some(line(&args.reason)),
        decided: text(&args.decided),
        due: text(&args.due),
        expires: text(&args.expires),
        policy_version: policy.version().clone(),
        data_until: span.map_or(Timestamp(0), |s| s.1),
    };
    decide(store, &decision)
        .with_context(|| format!("cannot write to the store {}", store.display()))
}

/// Lines that go and lines that come.
fn difference(out: &mut dyn Write, before: &str, after: &str, name: &str) -> anyhow::Result<()> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()).saturating_sub(head);
    let tail =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let changed = |lines: &[&str]| -> Vec<String> {
        let end = lines.len().saturating_sub(tail);
        lines.iter().take(end).skip(head).map(|l| (*l).to_owned()).collect()
    };
    let (gone, come) = (changed(&old), changed(&new));
    if gone.is_empty() && come.is_empty() {
        writeln!(out, "\n{name}: says so already")?;
        return Ok(());
    }
    writeln!(out, "\n{name}, from line {}:", head.saturating_add(1))?;
    for (sign, lines) in [("-", gone), ("+", come)] {
        for line in lines {
            writeln!(out, "  {sign} {}", printable(&line))?;
        }
    }
    Ok(())
}

/// What changes in what was used.
fn numbers(
    out: &mut dyn Write,
    answers: &Answers,
    today: &Today,
    policy: &Policy,
) -> anyhow::Result<()> {
    let (actors, services) = (answers.actors()?, answers.services()?);
    let read = |policy: Option<&Policy>| {
        let mut judge = Judge::new(policy, &today.catalogue, &actors, &services);
        Tally::read(answers, &Scope::default(), &mut judge)
    };
    let (old, new) = (read(today.policy.as_ref())?, read(Some(policy))?);
    let line = |tally: &Tally, place: usize| {
        let (volume, devices) = tally.sum(|k| status(k.2) == place);
        let services = tally.services(|d| status(d) == place).len() as u64;
        format!(
            "{}, {}, {} sent",
            counted(services, "service"),
            counted(devices, "device"),
            bytes(volume.sent)
        )
    };
    let columns = [
        Column { head: "In use", right: false, spare: 0 },
        Column { head: "Before", right: false, spare: 0 },
        Column { head: "After", right: false, spare: 0 },
    ];
    let rows: Vec<Vec<String>> = [(0, "forbidden"), (1, "not yet reviewed"), (2, "allowed")]
        .into_iter()
        .map(|(place, word)| vec![word.to_owned(), line(&old, place), line(&new, place)])
        .collect();
    writeln!(out, "\nWhat changes, over everything in the store:")?;
    for line in table(&columns, &rows, WIDTH.saturating_sub(2)).into_iter().flatten() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn told_otherwise(
    out: &mut dyn Write,
    policy: &Policy,
    service: &Service,
    verdict: Disposition,
    answers: Option<&Answers>,
) -> anyhow::Result<()> {
    let Some((_, last)) = answers.map(Answers::span).transpose()?.flatten() else { return Ok(()) };
    let nobody = Actor {
        realm: Realm::default(),
        addr: std::net::Ipv4Addr::UNSPECIFIED.into(),
        mac: None,
        host_name: None,
        who: Person::Unknown,
        department: None,
    };
    let asked = Asked {
        service: &service.id,
        category: service.category.word(),
        vendor: &service.vendor,
        tenant: None,
        actor: &nobody,
        user: None,
        groups: &[],
        at: last,
    };
    let ruling = policy.rule(&asked);
    if ruling.disposition != verdict {
        let text = format!(
            "Mind: at the end of the store the verdict is {}, by {}; `shadowtap policy explain {}` says why.",
            word(ruling.disposition),
            if ruling.rule.is_empty() { "no rule" } else { &ruling.rule },
            service.id
        );
        for line in wrap(&text, WIDTH) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Writes a file so that it is the old one or the new one, whatever happens.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut part = path.clone().into_os_string();
    part.push(".new");
    let part = PathBuf::from(part);
    let mut file = fs::File::create(&part).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    if let Ok(known) = fs::metadata(path) {
        fs::set_permissions(&part, known.permissions()).with_context(failed)?;
    }
    fs::rename(&part, path).with_context(failed)
}

/// The service that a word means: an id, a name or a host.
///
/// # Errors
/// If it means none; with the nearest.
pub fn find<'c>(catalogue: &'c Catalogue, wanted: &str) -> Result<&'c Service, ConfigError> {
    if let Some(service) = catalogue.service(wanted) {
        return Ok(service);
    }
    let all = catalogue.services();
    if let Some(service) = all.iter().find(|s| s.name.eq_ignore_ascii_case(wanted)) {
        return Ok(service);
    }
    let mut buf = [0; NAME_MAX];
    let found = plain_name(wanted.as_bytes(), &mut buf)
        .and_then(|host| catalogue.lookup(host).map(|m| m.service.id.clone()));
    if let Some(service) = found.and_then(|id| catalogue.service(&id)) {
        return Ok(service);
    }
    Err(unknown(catalogue, wanted))
}

/// There is no such service, but perhaps one whose id has the word in it, or is written alike.
fn unknown(catalogue: &Catalogue, wanted: &str) -> ConfigError {
    let word = wanted.to_lowercase().replace([' ', '_'], "-");
    let ids = || catalogue.services().iter().map(|s| s.id.as_str());
    let alike: Vec<&str> =
        ids().filter(|id| id.split('-').any(|part| part == word)).take(ALIKE_MAX).collect();
    let hint = match (alike.as_slice(), nearest(&word, ids())) {
        ([_, ..], _) => format!("did you mean {}?", alike.join(", ")),
        ([], Some(near)) => format!("did you mean {near}?"),
        ([], None) => {
            "`shadowtap lookup HOST` tells the id of the service behind a host".to_owned()
        }
    };
    ConfigError::usage(format!("no service `{wanted}` in the catalogue"), hint)
}

fn word(verdict: Disposition) -> &'static str {
    crate::recorder::policy::file::word(verdict)
}

fn verb(verdict: Disposition) -> &'static str {
    match verdict {
        Disposition::Unsanctioned => "forbidden",
        Disposition::Unreviewed => "in review",
        Disposition::Tolerated => "tolerated",
        Disposition::Sanctioned => "approved",
    }
}

fn scope_text(scope: &[(&'static str, String)]) -> String {
    if scope.is_empty() {
        return "everybody".to_owned();
    }
    let names: Vec<String> =
        scope.iter().map(|(key, name)| format!("{} {name}", key.trim_end_matches('s'))).collect();
    names.join(", ")
}

/// A day, or the last one of a month.
fn last_day(text: &str) -> Result<String, String> {
    let month = format!("{text}-01").parse::<jiff::civil::Date>();
    let month = month.map(|first| first.last_of_month().to_string());
    month.or_else(|_| day(text)).map_err(|why| format!("{why}, or a month such as 2027-03"))
}

fn day(text: &str) -> Result<String, String> {
    let day: jiff::civil::Date = text.parse().map_err(|_| "a day such as 2027-03-31".to_owned())?;
    Ok(day.to_string())
}

fn limit(text: &str) -> Result<(&'static str, String), String> {
    let kinds = [
        ("network", "networks"),
        ("device", "devices"),
        ("department", "departments"),
        ("user", "users"),
        ("group", "groups"),
    ];
    let (kind, name) = text.split_once(':').unwrap_or(("", text));
    let key = kinds.iter().find(|(k, _)| *k == kind).map(|(_, key)| *key);
    match key {
        Some(key) if !name.trim().is_empty() => Ok((key, name.trim().to_owned())),
        _ => {
            Err("network:10.1.0.0/16, device:NAME, department:NAME, group:NAME or user:NAME"
                .to_owned())
        }
    }
}
