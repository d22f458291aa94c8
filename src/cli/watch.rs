//! `shadowtap watch`: interfaces, live.
//!
//! In: interfaces, perhaps a BPF expression. Out: the live view on a terminal; or alerts, a store,
//! and at the end the summary. Never: stores anything unasked; runs with rights it does not need.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::files::{CatalogueFiles, Files};
use super::{OwnedStdout, Problem};
use crate::config::{Config, Flag};
use crate::sensor::live::message::{Exclusions, RecorderSetup};
use crate::sensor::live::{self, Ended, LiveError, LiveOptions, confine};
use crate::watcher::capture::filter;
use crate::watcher::capture::live::wall;

/// Watch interfaces: which AI services are used, now.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap watch -i eth1                        look at a mirror port; keeps nothing
  shadowtap watch -i eth1 --store ai.db --alerts alerts.jsonl   a sensor that keeps and tells
  shadowtap watch -i tap0 -i tap1                both halves of a split tap
  shadowtap watch -i eth1 --alerts - | jq .      alerts and heartbeats as JSON lines
  shadowtap watch -i eth1 net 10.1.0.0/16        only what a BPF expression selects

Signals: HUP reads configuration, policy and signatures again, TERM and INT end after everything
that was captured is written, USR1 prints statistics to standard error.

Capturing needs CAP_NET_RAW; it is given up before the first packet is read.

Exit codes: 0 fine, 1 the store or a sink failed, or a part ended, 2 wrong usage, configuration
or missing rights, 130 interrupted after a clean flush.")]
pub struct WatchArgs {
    /// Interface to watch; may be repeated.
    #[arg(short = 'i', long = "interface", value_name = "IFACE", required = true)]
    pub interfaces: Vec<String>,
    /// Only packets that this BPF expression selects; the last words.
    #[arg(value_name = "BPF", trailing_var_arg = true)]
    pub filter: Vec<String>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
    /// Keep findings and totals in this database.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Write alerts, heartbeats and alarms of the mirror as JSON lines.
    #[arg(long, value_name = "FILE|-")]
    pub alerts: Option<PathBuf>,
    /// At the end, print one JSON document instead of the summary.
    #[arg(long)]
    pub json: bool,
    /// At the end, write what was counted as JSON.
    #[arg(long, value_name = "FILE|-")]
    pub stats: Option<PathBuf>,
    /// Watcher threads, each with its own ring. Default: one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub threads: Option<u16>,
    /// Ring of each thread and interface, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=4096))]
    pub ring: Option<u32>,
    /// Socket that `shadowtap top` attaches to.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Messages instead of the live view, though this is a terminal.
    #[arg(long)]
    pub no_view: bool,
    /// No messages but problems, no summary at the end.
    #[arg(short, long)]
    pub quiet: bool,
}

impl WatchArgs {
    /// The live view of these interfaces, and nothing else.
    pub fn looking_at(interfaces: &[String], config: Option<PathBuf>) -> Self {
        Self {
            interfaces: interfaces.to_vec(),
            filter: Vec::new(),
            files: Files {
                catalogue: CatalogueFiles { config, ..CatalogueFiles::default() },
                ..Files::default()
            },
            store: None,
            alerts: None,
            json: false,
            stats: None,
            threads: None,
            ring: None,
            socket: None,
            no_view: false,
            quiet: false,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If it could not begin: wrong usage, a configuration that does not hold, no right to capture.
pub fn run(args: &WatchArgs) -> anyhow::Result<u8> {
    let stdout = OwnedStdout::one_of(&[
        ("--json", args.json),
        ("--alerts -", is_dash(args.alerts.as_ref())),
        ("--stats -", is_dash(args.stats.as_ref())),
    ])?;
    let config = Config::load_with(args.files.catalogue.config.as_deref(), &flags(args))?;
    let keeps = args.store.is_some() || config.store.file.is_some();
    let asked = keeps || args.alerts.is_some() || args.quiet || args.no_view;
    let viewed = stdout.is_free() && !asked && io::stdout().is_terminal();
    let socket = match &args.socket {
        Some(path) => path.clone(),
        None => socket_folder()?.join(format!("{}.sock", std::process::id())),
    };
    let filter = expression(args)?;
    let mut options = options(args.interfaces.clone(), &config, filter);
    options.recorder = RecorderSetup {
        config: args.files.catalogue.config.clone(),
        flags: flags(args).into_iter().map(|f| (f.name, f.key, f.value)).collect(),
        store: args.store.clone(),
        alerts: args.alerts.clone(),
        json: args.json,
        stats: args.stats.clone(),
        quiet: args.quiet,
        viewed,
        socket: Some(socket.clone()),
        ..options.recorder
    };
    if viewed {
        let socket = socket.display().to_string();
        options.view = Some(vec!["top".to_owned(), "--attach".to_owned(), socket]);
    }
    start(options, args.files.catalogue.config.as_deref(), &flags(args))
}

/// Runs a sensor, and puts the causes that a person can mend into words.
///
/// # Errors
/// As [`run`].
pub fn start(options: LiveOptions, config: Option<&Path>, flags: &[Flag]) -> anyhow::Result<u8> {
    let watched = options.interfaces.clone();
    let mut reload = || Config::load_with(config, flags).ok().map(|c| exclusions(&c, &watched));
    match live::run(options, &mut reload) {
        Err(error) => match error.downcast_ref::<Ended>() {
            Some(Ended(code)) => Ok(*code),
            None if error.is::<LiveError>() => Err(Problem::usage(error.to_string()).into()),
            None => Err(error),
        },
        code => code,
    }
}

/// Options of a sensor from its configuration.
pub fn options(interfaces: Vec<String>, config: &Config, filter: Option<String>) -> LiveOptions {
    let limits = config.limits();
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let sensor = &config.sensor;
    let exclude = exclusions(config, &interfaces);
    LiveOptions {
        recorder: RecorderSetup {
            sensor: if sensor.id.is_empty() { host_name() } else { sensor.id.clone() },
            epoch: wall(),
            interfaces: interfaces.clone(),
            workers: config.watchers(),
            ring_bytes: sensor.ring_bytes,
            ..RecorderSetup::default()
        },
        interfaces,
        filter,
        promiscuous: sensor.promiscuous,
        limits: [
            number(limits.flows_max),
            number(limits.cold_max),
            number(limits.stream_bytes_max),
            limits.tcp_idle_s,
            limits.named_idle_s,
            limits.unanswered_s,
            limits.closed_s,
            limits.udp_idle_s,
            limits.datagram_idle_s,
        ],
        own_networks: config.scope.own_networks.clone(),
        exclude,
        view: None,
        limit: None,
    }
}

/// A child of [`run`]: confined watchers, or the recorder.
///
/// # Errors
/// If it could not be set up; the message is for the parent's terminal.
pub fn part(role: &str) -> anyhow::Result<u8> {
    live::leave_signals_to_parent()?;
    let control: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    if role == live::WATCHERS {
        live::worker::run(&control)?;
        return Ok(0);
    }
    live::recorder::run(&control)
}

/// Confines itself and tries to get out: a line for each way.
///
/// # Errors
/// If it cannot be confined at all.
pub fn escape() -> anyhow::Result<u8> {
    let ways = confine::try_to_escape()?;
    for (way, shut) in &ways {
        println!("{} {way}", if *shut { "shut" } else { "OPEN" });
    }
    Ok(u8::from(ways.iter().any(|(_, shut)| !shut)))
}

fn expression(args: &WatchArgs) -> anyhow::Result<Option<String>> {
    let expression = args.filter.join(" ");
    if expression.is_empty() {
        return Ok(None);
    }
    filter::Filter::new(&expression).map_err(|e| Problem::usage(format!("filter: {e}")))?;
    let hidden = filter::hides(&expression);
    if !hidden.is_empty() && !args.quiet {
        eprintln!(
            "shadowtap: \"{expression}\" is asked of the outermost header: the same packets inside \
             {} are not seen",
            hidden.join(", ")
        );
    }
    Ok(Some(expression))
}

fn flags(args: &WatchArgs) -> Vec<Flag> {
    args.files.flags(&[
        ("--threads", "limits.threads", args.threads.map(|n| n.to_string())),
        ("--ring", "sensor.ring_bytes", args.ring.map(|n| (u64::from(n) << 20).to_string())),
    ])
}

fn exclusions(config: &Config, interfaces: &[String]) -> Exclusions {
    let mut realms = config.scope.realms.clone();
    realms.resolve(interfaces);
    Exclusions {
        realms,
        networks: config.scope.exclude_networks.clone(),
        vlans: config.scope.exclude_vlans.clone(),
        macs: config.scope.exclude_macs.clone(),
    }
}

fn is_dash(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|p| p.as_os_str() == "-")
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "sensor".to_owned() } else { name }
}

/// Where sensors of this user put their sockets, made for the user alone.
///
/// # Errors
/// If there can be no such folder.
pub fn socket_folder() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"]
        .iter()
        .find_map(|v| std::env::var_os(v).filter(|v| !v.is_empty()))
        .map_or_else(default_folder, |f| PathBuf::from(f).join("shadowtap"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn default_folder() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/shadowtap");
    }
    std::env::temp_dir().join(format!("shadowtap-{}", rustix::process::geteuid().as_raw()))
}

/// Runs for a while; for commands that end by themselves.
pub fn for_a_while(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}
