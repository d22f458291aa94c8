//! `shadowtap devices`, `shadowtap users`: who and what the store knows.
//!
//! In: a store. Out: a table or one JSON document, under the privacy mode.
//! Never: orders people by what they did.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::Problem;
use crate::answer::terminal::{counted, printable};
use crate::config::Config;
use crate::recorder::alert::rfc3339;
use crate::recorder::identity::subject::address_text;
use crate::recorder::identity::vendor::vendor;
use crate::recorder::identity::{Known, Person, Veil};
use crate::recorder::store::rows::{Actor, mac_text};
use crate::recorder::store::{Answers, DeviceLine, UserLine};
use crate::types::{Realm, Timestamp};

/// Addresses shown of one device in the table.
const ADDRESSES_SHOWN: usize = 2;

/// Which store, under which configuration, and how it is shown.
#[derive(Args, Clone, Debug)]
pub struct From {
    /// The store; default: that of the configuration.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// A store that was opened to be asked.
pub struct Opened {
    /// The answers, under their veil.
    pub answers: Answers,
    /// What is known beside the store.
    pub known: Arc<Known>,
    /// Where the store is.
    pub store: PathBuf,
}

impl From {
    /// Opens the store under the configuration's mode and key.
    ///
    /// # Errors
    /// If the configuration is wrong or the store cannot be read.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let config = Config::load(self.config.as_deref())?;
        let (known, _) = config.known()?;
        let store = self.store.clone().or(config.store.file);
        let store = store.ok_or_else(|| Problem::usage("no store: name it with --store"))?;
        let answers = Answers::open_under(&store, Some(&known.veil))?;
        Ok(Opened { answers, known, store })
    }
}

impl Opened {
    /// The privacy mode in a word.
    pub fn mode(&self) -> &'static str {
        let shown = self.answers.veil().mode();
        if shown == Veil::clear().mode() { self.known.veil.mode().code() } else { shown.code() }
    }
}

/// List devices: names, systems, addresses, and whose they are.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap devices --store ai.db
  shadowtap devices --store ai.db --json | jq '.devices[].names'

Exit codes: 0 fine, 1 the store failed, 2 wrong usage.")]
pub struct DevicesArgs {
    /// Where, and how it is shown.
    #[command(flatten)]
    pub from: From,
}

/// List persons whom the store names: devices, departments, when seen.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap users --store ai.db
  shadowtap users --store ai.db --json

In the order of names: this is an inventory, no ranking.
Exit codes: 0 fine, 1 the store failed, 2 wrong usage.")]
pub struct UsersArgs {
    /// Where, and how it is shown.
    #[command(flatten)]
    pub from: From,
}

#[derive(Serialize)]
struct DeviceList {
    schema: u32,
    kind: &'static str,
    privacy: &'static str,
    devices: Vec<Device>,
}

#[derive(Serialize)]
struct Device {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    randomised: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'static str>,
    names: Vec<String>,
    systems: Vec<String>,
    addresses: Vec<String>,
    users: Vec<Tied>,
}

#[derive(Serialize)]
struct Tied {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    basis: String,
}

#[derive(Serialize)]
struct UserList {
    schema: u32,
    kind: &'static str,
    privacy: &'static str,
    users: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<String>,
    devices: Vec<String>,
    findings: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

/// Runs `devices`.
///
/// # Errors
/// If the store cannot be read.
pub fn devices(args: &DevicesArgs) -> anyhow::Result<u8> {
    let opened = args.from.open()?;
    let randomised = opened.answers.veil().is_clear();
    let lines = opened.answers.devices()?;
    let devices: Vec<Device> = lines.iter().map(|l| device(l, randomised)).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    if args.from.json {
        let all = DeviceList { schema: 1, kind: "devices", privacy: opened.mode(), devices };
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    } else {
        let count = counted(devices.len() as u64, "device");
        writeln!(out, "{count} (privacy: {})", opened.mode())?;
        for d in &devices {
            let name = d.names.first().cloned().unwrap_or_else(|| "(no name)".to_owned());
            let mac = d.mac.clone().unwrap_or_default();
            let more = d.addresses.len().saturating_sub(ADDRESSES_SHOWN);
            let more = if more > 0 { format!(" +{more}") } else { String::new() };
            let addresses: Vec<&str> =
                d.addresses.iter().take(ADDRESSES_SHOWN).map(String::as_str).collect();
            let users: Vec<String> = d
                .users
                .iter()
                .map(|u| format!("{} [{}]", u.user.as_deref().unwrap_or("nobody named"), u.basis))
                .collect();
            let parts = [
                name,
                mac,
                d.vendor.unwrap_or_default().to_owned(),
                format!("{}{more}", addresses.join(" ")),
                d.systems.join(", "),
                users.join("; "),
            ];
            let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
            writeln!(out, "  {}", printable(&parts.join(" | ")))?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn device(line: &DeviceLine, randomised: bool) -> Device {
    let user = |p: &Person| {
        let actor = Actor {
            realm: Realm::default(),
            addr: std::net::Ipv4Addr::UNSPECIFIED.into(),
            mac: None,
            host_name: None,
            who: p.clone(),
            department: None,
        };
        let text = actor.text();
        Tied { user: text.user, basis: text.user_basis.unwrap_or_default() }
    };
    Device {
        mac: line.mac.map(mac_text),
        randomised: randomised && line.mac.is_some_and(crate::types::MacAddr::is_local),
        // A pseudonym is a local address, and so has none.
        vendor: line.mac.and_then(vendor),
        names: line.names.iter().map(ToString::to_string).collect(),
        systems: line.systems.iter().map(ToString::to_string).collect(),
        addresses: line.addresses.iter().map(|(a, _)| address_text(*a)).collect(),
        users: line.people.iter().map(user).collect(),
    }
}

/// Runs `users`.
///
/// # Errors
/// If the store cannot be read.
pub fn users(args: &UsersArgs) -> anyhow::Result<u8> {
    let opened = args.from.open()?;
    let users: Vec<Listed> = opened.answers.users()?.iter().map(listed).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    if args.from.json {
        let all = UserList { schema: 1, kind: "users", privacy: opened.mode(), users };
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    } else {
        let count = counted(users.len() as u64, "person");
        writeln!(out, "{count} (privacy: {})", opened.mode())?;
        for u in &users {
            let seen = u.first.clone().zip(u.last.clone());
            let seen = seen.map_or(String::new(), |(first, last)| format!("{first} to {last}"));
            let department = u.department.clone().unwrap_or_default();
            let findings = counted(u.findings, "finding");
            let parts = [u.user.clone(), department, u.devices.join(", "), findings, seen];
            let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
            writeln!(out, "  {}", printable(&parts.join(" | ")))?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn listed(line: &UserLine) -> Listed {
    let time = |at: Timestamp| (at.0 > 0).then(|| rfc3339(at));
    let name = |actor: &Arc<Actor>| {
        let text = actor.text();
        text.host.or(text.mac).unwrap_or(text.ip)
    };
    let mut devices: Vec<String> = line.devices.iter().map(name).collect();
    devices.sort();
    devices.dedup();
    Listed {
        // The store's answers have put it under their veil already.
        user: line.user.text(&Veil::clear()),
        department: line.department.as_deref().map(str::to_owned),
        devices,
        findings: line.findings,
        first: time(line.first),
        last: time(line.last),
    }
}
