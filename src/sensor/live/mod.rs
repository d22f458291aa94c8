//! Live: a small parent that opens rings, confined watchers, and a recorder.
//!
//! ```text
//! supervisor   opens rings, hands over descriptors, signals, restarts; parses nothing
//!   ├─ watchers   one process, a thread a ring: no capability, no file, no network; bytes → messages
//!   └─ recorder   one process: no capability, runs no program; messages → store, alerts, views
//! ```
//!
//! In: [`LiveOptions`]. Out: the exit code of the run. Never: leaves a child behind; reads a frame
//! in the parent; goes on in silence after a part failed.
//! Limits: [`RESTARTS_MAX`] restarts of the watchers in [`RESTARTS_WITHIN`].
//!
//! SIGHUP reloads, SIGUSR1 prints statistics, SIGTERM and SIGINT read what is there and end.

pub mod confine;
mod health;
pub mod message;
pub mod recorder;
mod sources;
mod totals;
pub mod worker;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::types::Timestamp;
use crate::watcher::capture::deal::{Deal, Instruction};
use crate::watcher::capture::filter::Filter;
use crate::watcher::capture::live::wall;
use crate::watcher::capture::ring::{self, RingError, RingOptions};
use message::{
    Exclusions, OfRecorder, OfWatcher, PortSetup, RecorderSetup, ToRecorder, ToWatcher,
    WatcherSetup, control_pair, receive, send,
};

/// Restarts of the watchers in [`RESTARTS_WITHIN`] after which something is wrong that another
/// restart would not mend.
const RESTARTS_MAX: usize = 10;

/// See [`RESTARTS_MAX`].
const RESTARTS_WITHIN: Duration = Duration::from_mins(1);

/// How often the parent looks at signals, children and interfaces.
const ROUND: Duration = Duration::from_millis(100);

/// Rounds between two looks at the interfaces.
const LOOK: u32 = 5;

/// Rounds that an end may take before children are killed.
const PATIENCE: u32 = 300;

/// Hidden command that a child is started with.
pub const WATCHERS: &str = "internal-watchers";
/// See [`WATCHERS`].
pub const RECORDER: &str = "internal-recorder";

/// How a live run is set up.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// BPF expression.
    pub filter: Option<String>,
    /// Ask the card for frames to others.
    pub promiscuous: bool,
    /// What the recorder is told.
    pub recorder: RecorderSetup,
    /// Caps and timeouts as in [`WatcherSetup`].
    pub limits: [u64; 9],
    /// Networks whose hosts are ours.
    pub own_networks: Vec<(std::net::IpAddr, u8)>,
    /// What must not be seen.
    pub exclude: Exclusions,
    /// Arguments of a view to start on this terminal.
    pub view: Option<Vec<String>>,
    /// End by itself after so long.
    pub limit: Option<Duration>,
}

/// Why a live run could not begin: for a person who can mend it.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// No such interface.
    #[error("there is no interface {name}; there are: {known}")]
    NoInterface {
        /// Name that was given.
        name: String,
        /// Names that there are.
        known: String,
    },
    /// The right to capture is missing.
    #[error(
        "cannot capture on {interface}: {source}.\n\
         The capability CAP_NET_RAW is missing{promiscuous}. Grant it once with\n\
         \n    sudo setcap cap_net_raw,cap_net_admin+ep {program}\n\n\
         or run as root, or use the systemd unit of the package, which grants it to its own user"
    )]
    NotPermitted {
        /// Interface.
        interface: String,
        /// What the kernel said.
        source: RingError,
        /// Adds what else is needed.
        promiscuous: &'static str,
        /// This program.
        program: String,
    },
    /// Anything else about a ring.
    #[error("cannot capture on {interface}: {source}")]
    Ring {
        /// Interface.
        interface: String,
        /// What the kernel said.
        source: RingError,
    },
    /// The filter is no expression, or not for this link.
    #[error("filter: {0}")]
    Filter(String),
}

/// Runs until a signal ends it; the exit code.
///
/// # Errors
/// If it could not begin, or a part failed for good.
pub fn run(
    options: LiveOptions,
    reload: &mut dyn FnMut() -> Option<Exclusions>,
) -> anyhow::Result<u8> {
    let signals = Signals::new()?;
    let mut supervisor = Supervisor::new(options)?;
    supervisor.start()?;
    let code = supervisor.watch(&signals, reload);
    supervisor.end();
    code
}

/// Signals since they were looked at last.
struct Signals {
    end: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    print: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let on = |signal| -> io::Result<Arc<AtomicBool>> {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, flag.clone())?;
            Ok(flag)
        };
        Ok(Self {
            end: on(SIGTERM)?,
            interrupted: on(SIGINT)?,
            reload: on(SIGHUP)?,
            print: on(SIGUSR1)?,
        })
    }
}

/// Children share the terminal and the service's group: they end when the parent says so.
///
/// # Errors
/// If the handlers cannot be set.
pub fn leave_signals_to_parent() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGUSR1] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// One interface.
struct Port {
    name: String,
    /// Its index while it is there.
    index: Option<u32>,
    up: bool,
    rings: Vec<OwnedFd>,
    link: u16,
    since: Timestamp,
    /// Frames that were lost in front of the ring before we began.
    lost_at_start: u64,
    lost_told: u64,
}

/// A child and the way to talk to it.
struct Part {
    child: Child,
    control: OwnedFd,
}

struct Supervisor {
    options: LiveOptions,
    group: u16,
    opened: Cell<u16>,
    deal: Deal,
    seed: u64,
    ports: Vec<Port>,
    watchers: Option<Part>,
    recorder: Option<Part>,
    view: Option<Child>,
    restarts: VecDeque<Timestamp>,
}

impl Supervisor {
    fn new(options: LiveOptions) -> anyhow::Result<Self> {
        let mut random = [0_u8; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let mut words = random
            .chunks_exact(4)
            .map(|c| u32::from_ne_bytes(c.first_chunk::<4>().copied().unwrap_or_default()));
        let mut word = || words.next().unwrap_or(1);
        let deal = Deal::new([word(), word(), word(), word(), word()]);
        let seed = u64::from(word()) << 32 | u64::from(word());
        // Groups are of the whole network namespace: another sensor has another one.
        let group = u16::try_from(word() & 0xffff).unwrap_or(1);
        let mut ports = Vec::new();
        for name in &options.interfaces {
            let Some(index) = ring::interface_index(name) else {
                let (name, known) = (name.clone(), interfaces().join(", "));
                return Err(LiveError::NoInterface { name, known }.into());
            };
            ports.push(Port {
                name: name.clone(),
                index: Some(index),
                up: is_up(name),
                rings: Vec::new(),
                link: link_of(name),
                since: wall(),
                lost_at_start: lost_before(name),
                lost_told: 0,
            });
        }
        let mut supervisor = Self {
            options,
            group,
            opened: Cell::new(0),
            deal,
            seed,
            ports,
            watchers: None,
            recorder: None,
            view: None,
            restarts: VecDeque::new(),
        };
        for at in 0..supervisor.ports.len() {
            let rings = supervisor.open(at)?;
            if let Some(port) = supervisor.ports.get_mut(at) {
                port.rings = rings;
            }
        }
        Ok(supervisor)
    }

    fn workers(&self) -> usize {
        self.options.recorder.workers
    }

    /// Opens the rings of an interface.
    fn open(&self, at: usize) -> Result<Vec<OwnedFd>, LiveError> {
        let Some(port) = self.ports.get(at) else { return Ok(Vec::new()) };
        let expression = self.options.filter.as_deref();
        let filter = match expression.filter(|f| !sees_tags(f)) {
            Some(expression) => {
                Filter::instructions(expression, port.link).map_err(LiveError::Filter)?
            }
            None => Vec::<Instruction>::new(),
        };
        // The old rings of an interface that came back may still be open in the watchers' process,
        // and a group is of one interface: each opening has a group of its own.
        let group = self.group.wrapping_add(self.opened.replace(self.opened.get().wrapping_add(1)));
        let options = RingOptions {
            bytes: self.options.recorder.ring_bytes,
            promiscuous: self.options.promiscuous,
            filter,
            group: (self.workers() > 1).then(|| (group, self.deal.program(self.workers()))),
        };
        let index = port.index.unwrap_or(0);
        let told = |source: RingError| match source.source.kind() {
            io::ErrorKind::PermissionDenied => LiveError::NotPermitted {
                interface: port.name.clone(),
                source,
                promiscuous: if self.options.promiscuous {
                    ", or CAP_NET_ADMIN for a very large ring"
                } else {
                    ""
                },
                program: program().display().to_string(),
            },
            _ => LiveError::Ring { interface: port.name.clone(), source },
        };
        let rings = ring::open(index, self.workers(), &options).map_err(told)?;
        if is_loopback(&port.name) {
            for ring in &rings {
                ring::ignore_outgoing(ring).map_err(told)?;
            }
        }
        Ok(rings)
    }

    /// Starts both children, and tells them everything.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut recorder = spawn(RECORDER)?;
        let streams = self.start_watchers(false)?;
        let setup = ToRecorder::Setup(Box::new(self.options.recorder.clone()));
        send(&recorder.control, &setup, &streams.iter().collect::<Vec<_>>())?;
        match receive::<OfRecorder>(&recorder.control, true) {
            Ok(Some(_)) => {}
            _ => {
                // It has said why itself.
                let code = recorder.child.wait()?.code().unwrap_or(1);
                self.watchers = None;
                return Err(Ended(u8::try_from(code).unwrap_or(1)).into());
            }
        }
        self.recorder = Some(recorder);
        for at in 0..self.ports.len() {
            self.tell_port(at, false)?;
            self.tell_interface(at)?;
        }
        if let Some(args) = &self.options.view {
            self.view = Some(Command::new("/proc/self/exe").args(args).spawn()?);
        }
        Ok(())
    }

    /// Starts the watchers; the recorder's ends of their streams.
    fn start_watchers(&mut self, restarted: bool) -> anyhow::Result<Vec<OwnedFd>> {
        let part = spawn(WATCHERS)?;
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.workers() {
            let (a, b) = UnixStream::pair()?;
            theirs.push(OwnedFd::from(a));
            ours.push(OwnedFd::from(b));
        }
        let setup = WatcherSetup {
            workers: self.workers(),
            seed: self.seed,
            deal: self.deal,
            own_networks: self.options.own_networks.clone(),
            exclude: self.options.exclude.clone(),
            limits: self.options.limits,
        };
        let streams: Vec<_> = theirs.iter().collect();
        send(&part.control, &ToWatcher::Setup(Box::new(setup)), &streams)?;
        match receive::<OfWatcher>(&part.control, true)? {
            Some((OfWatcher::Ready(missing), _)) => {
                for what in missing.iter().filter(|_| !restarted) {
                    self.say(&format!("confinement: {what}"));
                }
            }
            None => anyhow::bail!("the watchers could not be confined"),
        }
        self.watchers = Some(part);
        Ok(ours)
    }

    fn say(&self, text: &str) {
        if self.options.view.is_none() && !self.options.recorder.quiet {
            eprintln!("shadowtap: {text}");
        }
    }

    fn tell_port(&self, at: usize, restarted: bool) -> io::Result<()> {
        let (Some(port), Some(watchers)) = (self.ports.get(at), &self.watchers) else {
            return Ok(());
        };
        let expression = self.options.filter.clone();
        let setup = PortSetup {
            input: u16::try_from(at).unwrap_or(u16::MAX),
            link: port.link,
            ring_bytes: self.options.recorder.ring_bytes,
            filter: expression.filter(|f| sees_tags(f)),
            restarted,
        };
        send(&watchers.control, &ToWatcher::Port(setup), &port.rings.iter().collect::<Vec<_>>())
    }

    fn tell_interface(&self, at: usize) -> io::Result<()> {
        let (Some(port), Some(recorder)) = (self.ports.get(at), &self.recorder) else {
            return Ok(());
        };
        let told = ToRecorder::Interface {
            input: u16::try_from(at).unwrap_or(u16::MAX),
            up: port.up && port.index.is_some(),
            mtu: number_of(&port.name, "mtu").and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            lost_before: port.lost_told,
        };
        send(&recorder.control, &told, &[])
    }

    /// Until somebody ends it; the exit code.
    fn watch(
        &mut self,
        signals: &Signals,
        reload: &mut dyn FnMut() -> Option<Exclusions>,
    ) -> anyhow::Result<u8> {
        let began = wall();
        let names: Vec<&str> = self.ports.iter().map(|p| p.name.as_str()).collect();
        self.say(&format!("watching {}", names.join(", ")));
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut round = 0_u32;
        loop {
            round = round.wrapping_add(1);
            self.pause();
            let limit = self
                .options
                .limit
                .is_some_and(|limit| u128::from(wall().since(began)) >= limit.as_nanos());
            let interrupted = signals.interrupted.load(Ordering::Relaxed);
            if signals.end.load(Ordering::Relaxed) || interrupted || limit || self.view_ended() {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                let code = self.drain()?;
                // A diagnosis and a view end by themselves; a signal is how any other run ends.
                return Ok(if interrupted && code == 0 { 130 } else { code });
            }
            if signals.reload.swap(false, Ordering::Relaxed) {
                self.reload(reload)?;
            }
            if signals.print.swap(false, Ordering::Relaxed)
                && let Some(recorder) = &self.recorder
            {
                send(&recorder.control, &ToRecorder::Print, &[])?;
            }
            self.children()?;
            if round.is_multiple_of(LOOK) {
                self.look_at_interfaces();
            }
        }
    }

    /// Waits a round, or until a child says something; a sign of life goes to the watchdog.
    fn pause(&self) {
        let Some(recorder) = &self.recorder else { return };
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(ROUND.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(recorder.control.as_fd(), PollFlags::IN)];
        let _ = poll(&mut fds, Some(&limit));
        while let Ok(Some(_)) = receive::<OfRecorder>(&recorder.control, false) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    fn view_ended(&mut self) -> bool {
        self.view.as_mut().is_some_and(|v| matches!(v.try_wait(), Ok(Some(_))))
    }

    fn reload(&mut self, reload: &mut dyn FnMut() -> Option<Exclusions>) -> anyhow::Result<()> {
        if let Some(recorder) = &self.recorder {
            send(&recorder.control, &ToRecorder::Reload, &[])?;
        }
        if let Some(exclude) = reload() {
            self.options.exclude = exclude.clone();
            if let Some(watchers) = &self.watchers {
                send(&watchers.control, &ToWatcher::Exclude(exclude), &[])?;
            }
        }
        Ok(())
    }

    /// Whoever ended unasked is missed: the recorder for good, watchers for a moment.
    fn children(&mut self) -> anyhow::Result<()> {
        if let Some(recorder) = &mut self.recorder
            && let Some(status) = recorder.child.try_wait()?
        {
            self.recorder = None;
            anyhow::bail!("the recorder ended unasked ({status}); nothing more can be kept");
        }
        let ended = match &mut self.watchers {
            Some(watchers) => watchers.child.try_wait()?,
            None => None,
        };
        let Some(status) = ended else { return Ok(()) };
        let now = wall();
        self.restarts.push_back(now);
        let window = u64::try_from(RESTARTS_WITHIN.as_nanos()).unwrap_or(u64::MAX);
        while self.restarts.front().is_some_and(|t| now.since(*t) > window) {
            self.restarts.pop_front();
        }
        if self.restarts.len() > RESTARTS_MAX {
            anyhow::bail!("the watchers ended {RESTARTS_MAX} times within a minute ({status})");
        }
        eprintln!("shadowtap: the watchers ended unasked ({status}) and are started again");
        let streams = self.start_watchers(true)?;
        if let Some(recorder) = &self.recorder {
            send(&recorder.control, &ToRecorder::Workers, &streams.iter().collect::<Vec<_>>())?;
        }
        for at in 0..self.ports.len() {
            self.tell_port(at, true)?;
        }
        Ok(())
    }

    /// Interfaces go and come back; the rings of one that went are worth nothing.
    fn look_at_interfaces(&mut self) {
        for at in 0..self.ports.len() {
            let Some(port) = self.ports.get_mut(at) else { return };
            let index = ring::interface_index(&port.name);
            let up = index.is_some() && is_up(&port.name);
            let lost = lost_before(&port.name).saturating_sub(port.lost_at_start);
            let same = index == port.index && up == port.up;
            if same && lost <= port.lost_told {
                continue;
            }
            port.lost_told = port.lost_told.max(lost);
            let name = port.name.clone();
            let (was, was_up, since) = (port.index, port.up, port.since);
            port.up = up;
            if !same {
                port.since = wall();
            }
            if index != was {
                port.index = index;
                port.rings.clear();
                port.lost_at_start = 0;
            }
            if index.is_some() && index != was {
                port.link = link_of(&name);
                match self.open(at) {
                    Ok(rings) => {
                        if let Some(port) = self.ports.get_mut(at) {
                            port.rings = rings;
                        }
                        let _ = self.tell_port(at, false);
                    }
                    Err(error) => {
                        // Perhaps it went again at once; the next look tries anew.
                        eprintln!("shadowtap: {error}");
                        if let Some(port) = self.ports.get_mut(at) {
                            port.index = None;
                        }
                    }
                }
            }
            if !same {
                let gap_s = wall().since(since) as f64 / Timestamp::SECOND as f64;
                match (index, was_up, up) {
                    (None, true, _) => self.say(&format!("{name} is gone; waiting for it")),
                    (Some(_), true, false) => {
                        self.say(&format!("{name} is down; waiting for it"));
                    }
                    (Some(_), false, true) => self.say(&format!(
                        "{name} is back after {gap_s:.1} s, in which nothing was seen"
                    )),
                    _ => {}
                }
            }
            let _ = self.tell_interface(at);
        }
    }

    /// Lets the watchers read what is there and the recorder write it; its exit code.
    fn drain(&mut self) -> anyhow::Result<u8> {
        self.look_at_interfaces();
        if let Some(watchers) = &self.watchers {
            send(&watchers.control, &ToWatcher::Drain, &[])?;
        }
        if let Some(recorder) = &self.recorder {
            send(&recorder.control, &ToRecorder::Ending, &[])?;
        }
        if let Some(mut view) = self.view.take() {
            let _ = view.wait();
        }
        let Some(mut recorder) = self.recorder.take() else { return Ok(1) };
        for _ in 0..PATIENCE {
            if let Some(status) = recorder.child.try_wait()? {
                return Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1));
            }
            std::thread::sleep(ROUND);
            while let Ok(Some(_)) = receive::<OfRecorder>(&recorder.control, false) {}
        }
        let _ = recorder.child.kill();
        let _ = recorder.child.wait();
        anyhow::bail!("the recorder did not end in time; what it had not written is lost")
    }

    /// No child outlives us.
    fn end(&mut self) {
        for part in [self.watchers.take(), self.recorder.take()].into_iter().flatten() {
            let Part { mut child, control } = part;
            drop(control);
            for _ in 0..PATIENCE {
                if !matches!(child.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(ROUND / 10);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(mut view) = self.view.take() {
            let _ = view.kill();
            let _ = view.wait();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

/// A child ended with this code and has said why.
#[derive(Debug, thiserror::Error)]
#[error("a part of the sensor ended with code {0}")]
pub struct Ended(pub u8);

fn spawn(role: &str) -> io::Result<Part> {
    let (ours, theirs) = control_pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).stdin(Stdio::from(theirs));
    if role == WATCHERS {
        command.stdout(Stdio::null());
    }
    Ok(Part { child: command.spawn()?, control: ours })
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("shadowtap"))
}

/// The kernel strips the outer tag before its filter sees a frame, so an expression about tags is
/// asked where the tag has been put back.
fn sees_tags(expression: &str) -> bool {
    expression.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == "vlan")
}

/// Names of all interfaces.
pub fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(name: &str, what: &str) -> Option<String> {
    // Names of interfaces hold no slash, or they could not have been found.
    let text = fs::read_to_string(format!("/sys/class/net/{name}/{what}")).ok()?;
    Some(text.trim().to_owned())
}

fn number_of(name: &str, what: &str) -> Option<u64> {
    read(name, what)?.parse().ok()
}

fn is_up(name: &str) -> bool {
    /// `IFF_UP`.
    const UP: u64 = 1;
    let flags = read(name, "flags").unwrap_or_default();
    u64::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|f| f & UP != 0)
}

fn is_loopback(name: &str) -> bool {
    /// `ARPHRD_LOOPBACK`.
    const LOOPBACK: u64 = 772;
    number_of(name, "type") == Some(LOOPBACK)
}

/// LINKTYPE of what a ring of this interface holds.
fn link_of(name: &str) -> u16 {
    match number_of(name, "type") {
        // ARPHRD_ETHER, ARPHRD_LOOPBACK
        Some(1 | 772) | None => 1,
        // ARPHRD_IEEE80211_RADIOTAP, ARPHRD_IEEE80211
        Some(803) => 127,
        Some(801) => 105,
        // Tunnels and ARPHRD_NONE: bare IP.
        _ => 101,
    }
}

/// Frames that the card, its driver or the kernel's queue lost in front of every ring.
fn lost_before(name: &str) -> u64 {
    let counters = ["rx_dropped", "rx_missed_errors", "rx_fifo_errors"];
    let read = |what: &&str| number_of(name, &format!("statistics/{what}")).unwrap_or(0);
    counters.iter().map(read).fold(0, u64::saturating_add)
}
