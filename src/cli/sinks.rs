//! `shadowtap sinks list|test|deliver|status`: who gets the alerts.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Problem;
use crate::answer::terminal::printable as clean;
use crate::config::Config;
use crate::courier::{self, settings::SinkSettings};
use crate::recorder::alert::SCHEMA;
use crate::recorder::store::{Outbox, OutboxRow};
use crate::types::Timestamp;

/// Say who gets the alerts, try it, deliver, and see what did not arrive.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Sinks stand in the configuration, one table each:

  [sinks.siem]
  kind = \"syslog\"              # file, syslog, webhook, mail
  address = \"siem.example:6514\"
  carrier = \"tls\"
  shape = \"cef\"                # native, eve, cef, leef, ecs, hec, zeek, slack, or a file.toml
  severity_min = 4

Exit code: 0 fine, 1 an alert was not taken, 2 wrong usage or configuration.

Examples:
  shadowtap sinks test siem
  shadowtap sinks deliver --store office.db
  shadowtap sinks status --store office.db --json")]
pub struct SinksArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with sinks.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Show the sinks of the configuration.
    List {
        /// As one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Send a test message to some sinks, or to all.
    Test {
        /// Sinks by name; all if none is given.
        names: Vec<String>,
    },
    /// Deliver what the store holds and the sinks have not had yet.
    Deliver {
        /// The store.
        #[arg(long, value_name = "FILE")]
        store: PathBuf,
        /// Try what this sink refused once more.
        #[arg(long, value_name = "SINK")]
        retry: Option<String>,
    },
    /// Show how far each sink is, and what it refused.
    Status {
        /// The store.
        #[arg(long, value_name = "FILE")]
        store: PathBuf,
        /// As one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command; its exit code.
///
/// # Errors
/// Wrong configuration, or a store that cannot be read.
pub fn run(args: &SinksArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let config = || Config::load(args.config.as_deref());
    match &args.action {
        Action::List { json } => list(&config()?.sinks, *json, out),
        Action::Test { names } => test(&chosen(config()?.sinks, names)?, out),
        Action::Deliver { store, retry } => deliver(&config()?.sinks, store, retry.as_deref(), out),
        Action::Status { store, json } => status(store, *json, out),
    }
}

fn chosen(sinks: Vec<SinkSettings>, names: &[String]) -> anyhow::Result<Vec<SinkSettings>> {
    for name in names {
        if !sinks.iter().any(|s| s.name == *name) {
            let known: Vec<&str> = sinks.iter().map(|s| s.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(
                Problem::usage(format!("no sink is called {name}; there are: {known}")).into()
            );
        }
    }
    if sinks.is_empty() {
        return Err(Problem::usage("the configuration has no [sinks.NAME] table").into());
    }
    Ok(sinks.into_iter().filter(|s| names.is_empty() || names.contains(&s.name)).collect())
}

#[derive(Serialize)]
struct Listed<'s> {
    name: &'s str,
    to: String,
    shape: &'s str,
    severity_min: u8,
    events: &'s [String],
}

fn list(sinks: &[SinkSettings], json: bool, out: &mut impl Write) -> anyhow::Result<u8> {
    let listed = sinks.iter().map(|s| Listed {
        name: &s.name,
        to: s.place(),
        shape: &s.shape,
        severity_min: s.severity_min,
        events: &s.events,
    });
    if json {
        serde_json::to_writer_pretty(&mut *out, &listed.collect::<Vec<_>>())?;
        writeln!(out)?;
        return Ok(0);
    }
    if sinks.is_empty() {
        writeln!(out, "No sinks: the configuration has no [sinks.NAME] table.")?;
    }
    for s in listed {
        let (name, to, shape) = (clean(s.name), clean(&s.to), clean(s.shape));
        writeln!(out, "{name:16} {to}  shape {shape}, severity from {}", s.severity_min)?;
    }
    Ok(0)
}

fn test(sinks: &[SinkSettings], out: &mut impl Write) -> anyhow::Result<u8> {
    // A person asked for it now, so now is its time.
    let now = jiff::Timestamp::now();
    let event_id = format!("test-{}", now.as_millisecond());
    let payload = serde_json::json!({
        "schema": SCHEMA,
        "kind": "health",
        "event_id": event_id,
        "ts": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        "severity": 0,
        "title": "shadowtap test message",
        "next_steps": "Nothing: somebody ran `shadowtap sinks test`.",
    });
    let payload = payload.to_string();
    let row = OutboxRow { seq: 0, event_id, time: Timestamp(0), severity: 0, payload };
    let runtime = courier::runtime()?;
    let mut code = 0;
    for settings in sinks {
        let outcome = settings.sink().and_then(|mut sink| {
            runtime.block_on(sink.deliver(std::slice::from_ref(&row))).map_err(|e| e.why)
        });
        let name = clean(&settings.name);
        match outcome {
            Ok(()) => writeln!(out, "{name:16} took it: {}", clean(&settings.place()))?,
            Err(why) => {
                code = 1;
                writeln!(out, "{name:16} did not take it: {}", clean(&why))?;
            }
        }
    }
    Ok(code)
}

fn deliver(
    sinks: &[SinkSettings],
    store: &Path,
    retry: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let again: Vec<String> = retry.map(str::to_owned).into_iter().collect();
    let sinks = chosen(sinks.to_vec(), &again)?;
    let outbox = open(store)?;
    let mut code = 0;
    for settings in &sinks {
        let name = clean(&settings.name);
        let outcome = settings.sink().and_then(|mut sink| {
            let risen = match retry {
                Some(_) => courier::retry(&outbox, &mut *sink).map_err(|e| e.to_string())?,
                None => 0,
            };
            let taken = courier::drain(&outbox, &mut *sink).map_err(|e| e.to_string())?;
            Ok(taken.saturating_add(risen))
        });
        match outcome {
            Ok(taken) => writeln!(out, "{name:16} took {taken}")?,
            Err(why) => {
                code = 1;
                writeln!(out, "{name:16} failed: {}", clean(&why))?;
            }
        }
    }
    Ok(code)
}

#[derive(Serialize)]
struct Status {
    sinks: Vec<State>,
    dead_letters: Vec<Dead>,
}

#[derive(Serialize)]
struct State {
    sink: String,
    delivered: u64,
    waiting: u64,
    dead: u64,
    failures: u64,
    trouble: Option<String>,
}

#[derive(Serialize)]
struct Dead {
    sink: String,
    event_id: String,
    why: String,
}

fn status(store: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<u8> {
    let outbox = open(store)?;
    let sinks = outbox.states()?.into_iter().map(|s| State {
        sink: s.sink,
        delivered: s.delivered,
        waiting: s.waiting,
        dead: s.dead,
        failures: s.failures,
        trouble: s.trouble,
    });
    let dead_letters = outbox.dead_letters()?.into_iter();
    let dead_letters =
        dead_letters.map(|d| Dead { sink: d.sink, event_id: d.event_id, why: d.why });
    let status = Status { sinks: sinks.collect(), dead_letters: dead_letters.collect() };
    if json {
        serde_json::to_writer_pretty(&mut *out, &status)?;
        writeln!(out)?;
        return Ok(0);
    }
    if status.sinks.is_empty() {
        writeln!(out, "No sink has had an alert of this store.")?;
    }
    for s in &status.sinks {
        writeln!(
            out,
            "{:16} delivered {}, waiting {}, put aside {}",
            clean(&s.sink),
            s.delivered,
            s.waiting,
            s.dead
        )?;
        if let Some(trouble) = &s.trouble {
            writeln!(out, "{:16} failed {} times: {}", "", s.failures, clean(trouble))?;
        }
    }
    for d in &status.dead_letters {
        let (sink, id, why) = (clean(&d.sink), clean(&d.event_id), clean(&d.why));
        writeln!(out, "put aside by {sink}: {id}: {why}")?;
    }
    Ok(0)
}

fn open(store: &Path) -> anyhow::Result<Outbox<'static>> {
    Outbox::open(store).with_context(|| format!("cannot open the store {}", store.display()))
}
