//! `shadowtap forget USER|DEVICE`: the right to be forgotten.
//!
//! In: a login, a device's name, link address or address. Out: a store without them, an erasure
//! event for the sinks, a record that it was done.
//! Never: leaves the name in a freed page; says in the record who it was.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::Problem;
use super::audit::{self, Entry};
use crate::answer::terminal::counted;
use crate::config::Config;
use crate::recorder::identity::{Kind, Mode};
use crate::recorder::store::Store;

/// Forget a person or a device: names go, figures stay as nobody's.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap forget anna --store ai.db --purpose 'request of 2026-11-20' --by 'D. Officer'
  shadowtap forget laptop-7 --store ai.db --purpose 'device left' --by 'D. Officer'
  shadowtap forget 02:00:00:00:00:07 --store ai.db --purpose 'device left' --by 'D. Officer'

What is forgotten is overwritten in the store and its log; backups are yours to delete, and the
captures too. Sinks get an erasure event with the ids of the findings that named it.
Exit codes: 0 fine, 1 the store failed, 2 wrong usage or nothing of that name.")]
pub struct ForgetArgs {
    /// Login, device name, link address or address.
    #[arg(value_name = "USER|DEVICE")]
    pub what: String,
    /// The store; default: that of the configuration.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Why; goes on record.
    #[arg(long, value_name = "TEXT")]
    pub purpose: String,
    /// Who asks for it; goes on record.
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// Where records go; default: beside the store, `FILE.audit`.
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If the store cannot be written, or holds nothing of that name.
pub fn run(args: &ForgetArgs) -> anyhow::Result<u8> {
    let config = Config::load(args.config.as_deref())?;
    let path = args.store.clone().or_else(|| config.store.file.clone());
    let path = path.ok_or_else(|| Problem::usage("no store: name it with --store"))?;
    if !path.exists() {
        return Err(Problem::usage(format!("{} is not there", path.display())).into());
    }
    let mut store = Store::open(&path, config.store_options(true, false))?;
    let about = audit::digest(&args.what.to_lowercase());
    let entry = Entry {
        action: "forget",
        by: args.by.clone(),
        witness: None,
        purpose: args.purpose.clone(),
        about: format!("subject {about}"),
    };
    audit::append(&audit::path(args.audit.as_ref(), &path), &entry)?;
    let mut words = vec![args.what.clone()];
    if config.veil.mode() == Mode::Pseudonymous {
        // Under whichever epoch it was written.
        for at in store.answers().epochs(&config.veil)? {
            let veil = config.veil.for_store(at);
            words.extend([Kind::User, Kind::Device].map(|kind| veil.pseudonym(kind, &args.what)));
            words.extend(args.what.parse().ok().map(|addr| veil.address(addr).to_string()));
            let mac = crate::written::mac(&args.what).map(|mac| veil.mac(mac));
            words.extend(mac.map(crate::recorder::store::rows::mac_text));
        }
    }
    let (mut people, mut devices, mut rows, mut more) = (0, 0, 0, false);
    for word in &words {
        let done = store.forget(word, &about)?;
        people += done.people;
        devices += done.devices;
        rows += done.rows;
        more |= done.more;
    }
    if people + devices == 0 {
        return Err(Problem::usage("the store knows nobody and nothing of that name").into());
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "forgotten: {}, {}, {} changed",
        counted(people, "person"),
        counted(devices, "device"),
        counted(rows, "row"),
    )?;
    if more {
        writeln!(out, "a reader still holds old pages: run it again once it has gone")?;
    }
    Ok(0)
}
