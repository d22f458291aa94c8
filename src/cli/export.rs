//! `shadowtap export`: block lists for resolvers, proxies, firewalls and sensors.
//!
//! In: a store, the policy of today, names to leave alone. Out: one list, or what it would break.
//! Never: writes to the store; makes a list that blocks what is allowed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::approve::find;
use super::files::Files;
use super::report::{open, read_departments, today, write_to};
use super::{Problem, Since};
use crate::answer::export::{self, Form, Head};
use crate::answer::mask::GROUP_MIN;
use crate::answer::report::Failure;
use crate::answer::tally::{Judge, Tally, spans};
use crate::answer::verify;
use crate::answer::whatif::{self, Question};
use crate::recorder::identity::Person;
use crate::recorder::policy::Policy;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{Actor, Text};
use crate::recorder::store::{Answers, Scope};
use crate::recorder::words::Disposition;
use crate::types::{Realm, Timestamp};

/// Write a block list for the tool that blocks, or say what it would break.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Forms: rpz (BIND, Unbound, Knot), unbound, dnsmasq (Pi-hole), hosts, suricata, zeek-intel, squid,
nftables (by address), edl (external dynamic list of firewalls), csv.

Examples:
  shadowtap export rpz --store ai.db --what-if              what would break? nothing is written
  shadowtap export rpz --store ai.db --what-if --since 14d  ... by the store's last 14 days
  shadowtap export rpz --store ai.db --output block.rpz     each unapproved service that was seen
  shadowtap export squid --store ai.db --only forbidden     only what the policy forbids
  shadowtap export edl --store ai.db --from policy          what the policy forbids, seen or not
  shadowtap export hosts --store ai.db --service deepseek --allow keep.txt

Services that the policy allows are taken out first, then the names of --allow. The list says in
its head what it is made of, until when it is good, and what its form cannot say. Approve first
what is to stay: shadowtap approve --help.

Exit codes: 0 fine, 1 the store or the output failed, 2 wrong usage, or a list that cannot be made,
with the reason.")]
pub struct ExportArgs {
    /// Form of the list.
    #[arg(value_name = "FORM", value_parser = form)]
    pub form: Form,
    /// The store with what was seen.
    #[arg(long, value_name = "FILE")]
    pub store: PathBuf,
    /// Services from what was found in the store, or from the policy's own words.
    #[arg(long, value_name = "findings|policy", default_value = "findings", value_parser = ["findings", "policy"])]
    pub from: String,
    /// Which of them: unapproved (forbidden and not yet reviewed), or forbidden alone.
    #[arg(long, value_name = "unapproved|forbidden", default_value = "unapproved", value_parser = ["unapproved", "forbidden"])]
    pub only: String,
    /// Just this service, whatever its verdict; may repeat.
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// Names to leave alone, one a line, each with everything below it.
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Say what the list would break, and write none.
    #[arg(long)]
    pub what_if: bool,
    /// From this time on: a date or time, or 14d, 36h before the store's last frame.
    #[arg(long, value_name = "TIME|SPAN")]
    pub since: Option<Since>,
    /// Serial number of an RPZ; must rise. Default: seconds of the store's last frame, and decisions since.
    #[arg(long, value_name = "N")]
    pub serial: Option<u32>,
    /// Where to write; - or nothing for standard output.
    #[arg(short, long, value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// Who belongs where, for --what-if.
    #[arg(long, value_name = "FILE")]
    pub departments: Option<PathBuf>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
}

/// Services to block, and in what words they were chosen.
struct Chosen {
    blocked: BTreeSet<Text>,
    what: String,
    notes: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// If the store or the output fails, or the list cannot be made.
pub fn run(args: &ExportArgs) -> anyhow::Result<u8> {
    let today = today(&args.files)?;
    let catalogue = &today.catalogue;
    let answers = open(&args.store)?;
    let (first, last) = answers.span()?.unwrap_or_default();
    let since = args.since.map(|s| s.before(last));
    let scope = Scope { inputs: None, since, until: None };
    let (actors, services) = (answers.actors()?, answers.services()?);
    let mut judge = Judge::new(today.policy.as_ref(), catalogue, &actors, &services);
    let tally = Tally::read(&answers, &scope, &mut judge)?;
    let open_names = match &args.allow {
        None => Vec::new(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let wrong = |why| Problem::usage(format!("{}: {why}", path.display()));
            export::read_open(&text).map_err(wrong)?
        }
    };
    let allowed = allowed(catalogue, today.policy.as_ref(), &tally, last);
    let chosen = choose(args, catalogue, today.policy.as_ref(), &tally, last)?;
    let allowed = &allowed - &chosen.blocked;
    let seen = answers.names_seen(&scope)?;
    let mut list = export::list(catalogue, &chosen.blocked, &allowed, &open_names, &seen);
    list.notes.splice(0..0, chosen.notes);
    let output = args.output.as_deref().filter(|o| o.as_os_str() != "-");
    if args.what_if {
        let departments = read_departments(args.departments.as_deref(), &today)?;
        let sizes = sizes(&tally, |device| {
            actors
                .get(&device)
                .and_then(|k| departments.of_actor(&k.actor))
                .map(ToString::to_string)
        });
        let department = |device: i64| {
            let name = departments.of_actor(&actors.get(&device)?.actor)?;
            let small = sizes.get(&**name).is_none_or(|n| *n < GROUP_MIN);
            Some(if small { "small departments".to_owned() } else { name.to_string() })
        };
        let question = Question {
            list: &list,
            tally: &tally,
            scope: &scope,
            span: (since.unwrap_or(first).max(first), last),
            catalogue,
            department: &department,
        };
        let mut text = whatif::tell(&answers, &question)?;
        for note in export::misses(&list, args.form) {
            text.extend(["  ", note.as_str(), ".\n"]);
        }
        write_to(output, text.as_bytes())?;
        return Ok(0);
    }
    let decisions = answers.decisions()?.len();
    let head = Head {
        catalogue: catalogue.version().to_owned(),
        policy: today
            .policy
            .as_ref()
            .map_or_else(|| recorded(&answers, &scope), |p| p.version().to_string()),
        what: chosen.what,
        until: last,
        serial: args.serial.unwrap_or_else(|| {
            let seconds = u32::try_from(last.seconds()).unwrap_or(u32::MAX);
            seconds.saturating_add(u32::try_from(decisions).unwrap_or(u32::MAX))
        }),
    };
    let text = match export::write(&list, args.form, &head) {
        Ok(text) => text,
        Err(error @ Failure::Format(..)) => return Err(Problem::usage(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    write_to(output, &verify::seal(text.into_bytes()))?;
    for note in list.notes.iter().chain(&export::misses(&list, args.form)) {
        eprintln!("shadowtap: note: {note}");
    }
    if let Some(path) = output {
        eprintln!(
            "shadowtap: {}: {} names of {} services; --what-if says what it would break",
            path.display(),
            list.entries.len(),
            list.services.len()
        );
    }
    Ok(0)
}

fn choose(
    args: &ExportArgs,
    catalogue: &Catalogue,
    policy: Option<&Policy>,
    tally: &Tally,
    last: Timestamp,
) -> anyhow::Result<Chosen> {
    if !args.service.is_empty() {
        let mut blocked = BTreeSet::new();
        for word in &args.service {
            blocked.insert(Text::from(find(catalogue, word)?.id.as_str()));
        }
        let what = "services that were named".to_owned();
        return Ok(Chosen { blocked, what, notes: Vec::new() });
    }
    let forbidden = args.only == "forbidden";
    let wanted = |d: Disposition| {
        if forbidden { d == Disposition::Unsanctioned } else { d.unapproved() }
    };
    if args.from == "policy" {
        let Some(policy) = policy else {
            return Err(Problem::usage("there is no policy: name one with --policy FILE").into());
        };
        let blocked = catalogue
            .services()
            .iter()
            .filter(|s| for_everybody(policy, catalogue, &s.id, last) == Disposition::Unsanctioned)
            .map(|s| Text::from(s.id.as_str()))
            .collect();
        let what = "what the policy forbids for everybody, seen or not".to_owned();
        return Ok(Chosen { blocked, what, notes: Vec::new() });
    }
    let mut blocked: BTreeSet<Text> = tally.services(wanted).into_iter().cloned().collect();
    let mut notes = Vec::new();
    let allowed: BTreeSet<Text> =
        tally.services(|d| !d.unapproved()).into_iter().cloned().collect();
    for both in &blocked.clone() & &allowed {
        notes.push(format!(
            "{both} is allowed for some, and a list blocks for everybody: it is left out; --service {both} blocks it all the same"
        ));
        blocked.remove(&both);
    }
    let what = if forbidden { "forbidden services in use" } else { "unapproved services in use" };
    Ok(Chosen { blocked, what: what.to_owned(), notes })
}

/// Services that stay open: allowed for everybody by the policy, or for somebody who uses them.
fn allowed(
    catalogue: &Catalogue,
    policy: Option<&Policy>,
    tally: &Tally,
    last: Timestamp,
) -> BTreeSet<Text> {
    let mut allowed: BTreeSet<Text> =
        tally.services(|d| !d.unapproved()).into_iter().cloned().collect();
    if let Some(policy) = policy {
        let by_policy = catalogue
            .services()
            .iter()
            .filter(|s| !for_everybody(policy, catalogue, &s.id, last).unapproved());
        allowed.extend(by_policy.map(|s| Text::from(s.id.as_str())));
    }
    allowed
}

/// The verdict on somebody of whom nothing is known.
fn for_everybody(policy: &Policy, catalogue: &Catalogue, id: &str, at: Timestamp) -> Disposition {
    let nobody = std::sync::Arc::new(Actor {
        realm: Realm::default(),
        addr: std::net::Ipv4Addr::UNSPECIFIED.into(),
        mac: None,
        host_name: None,
        who: Person::Unknown,
        department: None,
    });
    let at_s = at.seconds();
    let all = spans(policy, catalogue, &nobody, id, None);
    let now = all.iter().find(|s| {
        s.from_s.is_none_or(|from| from <= at_s) && s.until_s.is_none_or(|until| at_s < until)
    });
    now.map_or(Disposition::Unreviewed, |s| s.ruling.disposition)
}

fn sizes(
    tally: &Tally,
    department: impl Fn(i64) -> Option<String>,
) -> std::collections::BTreeMap<String, u64> {
    let devices: BTreeSet<i64> = tally.pairs.keys().map(|k| k.0).collect();
    let mut sizes = std::collections::BTreeMap::new();
    for name in devices.into_iter().filter_map(department) {
        let size: &mut u64 = sizes.entry(name).or_default();
        *size = size.saturating_add(1);
    }
    sizes
}

fn recorded(answers: &Answers, scope: &Scope) -> String {
    let judged = answers.judged(scope).unwrap_or_default();
    let versions: BTreeSet<&str> = judged.iter().map(|j| &*j.policy_version).collect();
    format!("{} (as recorded)", versions.into_iter().collect::<Vec<_>>().join(", "))
}

fn form(text: &str) -> Result<Form, String> {
    let words: Vec<&str> = Form::ALL.iter().map(|(w, _)| *w).collect();
    Form::from_word(text).ok_or_else(|| format!("one of {}", words.join(", ")))
}
