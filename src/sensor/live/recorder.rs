//! The process of the recorder: observations of all workers to rows, alerts and reports.
//!
//! In: [`FromWatcher`] messages, orders of the supervisor. Out: the store, alerts, snapshots; at
//! the end the summary. Never: sees a packet; waits for a sink; believes a watcher's numbers.
//! Limits: [`QUEUE_MAX`] messages wait; rows that the store refuses wait in [`PENDING_MAX`] lots.
//!
//! Batches of the workers are taken in the order of their times: one is due once no worker can
//! send an earlier one.

use std::collections::VecDeque;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::confine;
use super::health::Health;
use super::message::{
    FromWatcher, OfRecorder, Pulse, RecorderSetup, ToRecorder, read, receive, send,
};
use super::sources::Sources;
use super::totals::LiveTotals;
use crate::answer::live::{Heartbeat, SCHEMA, Snapshot, fill};
use crate::answer::{json, mirror, summary};
use crate::config::{Config, Flag};
use crate::courier::receivers::syslog;
use crate::courier::settings::{SinkSettings, Target};
use crate::courier::sinks::file::Lines;
use crate::courier::{self, Sink};
use crate::observation::Batch;
use crate::recorder::alert::rfc3339;
use crate::recorder::desk::{Desk, Rulebook};
use crate::recorder::identity::Directory;
use crate::recorder::store::rows::{IdentityRows, InputRow, InputRows, Text};
use crate::recorder::store::{Outbox, OutboxRow, Scope, Store};
use crate::types::Timestamp;
use crate::watcher::capture::live::wall;

/// Messages of workers that wait for the recorder: some blocks each, so that a slow disk holds a
/// worker up only once its ring is in use as well.
const QUEUE_MAX: usize = 512;

/// Lots of rows that wait while the store refuses them: over an hour of them.
const PENDING_MAX: usize = 1_000;

/// At most so much of totals is ever uncommitted.
const COMMIT: u64 = 5 * Timestamp::SECOND;

/// A use that nobody was told of yet is committed at once, but not more often than this.
const COMMIT_URGENT: u64 = Timestamp::SECOND / 4;

/// Roll-ups of what matched nothing are committed so often.
const COMMIT_ROLLUPS: u64 = 60 * Timestamp::SECOND;

/// Forgetting what is old, so often.
const RETAIN: u64 = 3_600 * Timestamp::SECOND;

/// Findings of the last day are named anew by what has become known since, at most so often.
const ATTRIBUTE: u64 = 10 * Timestamp::SECOND;

/// The same where nothing was told late, but the wire itself said more.
const ATTRIBUTE_LEISURELY: u64 = 60 * Timestamp::SECOND;

/// How far back findings are named anew while the sensor runs: files of a night's export included.
const ATTRIBUTE_BACK: u64 = Timestamp::DAY;

/// How long the recorder waits for messages before it looks at the time.
const WAIT: Duration = Duration::from_millis(50);

/// How long the last alerts may take to be delivered.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reader of one worker's stream brings.
enum Came {
    Message(usize, FromWatcher),
    Ended(usize, Option<String>),
}

/// Batches of one worker that are not due yet.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Batch>,
    latest: Timestamp,
    ended: bool,
}

/// Runs the process; its exit code.
///
/// # Errors
/// If it cannot be set up; the message is for a person.
pub fn run(control: &OwnedFd) -> anyhow::Result<u8> {
    let Some((ToRecorder::Setup(setup), streams)) = receive(control, true)? else {
        anyhow::bail!("the first word must be how to work");
    };
    let mut recorder = Recorder::new(*setup)?;
    recorder.attach(streams)?;
    send(control, &OfRecorder::Ready, &[])?;
    recorder.work(control)?;
    recorder.finish()
}

struct Recorder {
    setup: RecorderSetup,
    config: Config,
    rules: Rulebook,
    desk: Desk,
    store: Store,
    directory: Arc<Directory>,
    lanes: Vec<Lane>,
    came: (Sender<Came>, Receiver<Came>),
    totals: LiveTotals,
    health: Health,
    couriers: Couriers,
    sources: Sources,
    /// Something was told that may name findings of before; the wire said something of the kind.
    late: (bool, bool),
    attributed: Timestamp,
    /// Where the store lies that is only there for the sinks.
    passing: Option<PathBuf>,
    pending: VecDeque<(InputRow, InputRows)>,
    store_trouble: Option<String>,
    now: Timestamp,
    first: Timestamp,
    committed: Timestamp,
    rolled_up: Timestamp,
    retained: Timestamp,
    second: Timestamp,
    beat: Timestamp,
    beats: u64,
    failed: bool,
}

impl Recorder {
    fn new(setup: RecorderSetup) -> anyhow::Result<Self> {
        let (config, rules) = load(&setup)?;
        let kept = setup.store.clone().or_else(|| config.store.file.clone());
        let has_sinks = setup.alerts.is_some() || !config.sinks.is_empty();
        // Sinks read the outbox beside its writer, so it has to be a file while the run lasts.
        let passing = match (&kept, &setup.socket) {
            (None, Some(socket)) if has_sinks => Some(socket.with_extension("outbox")),
            _ => None,
        };
        let file = kept.or_else(|| passing.clone());
        let options = config
            .store_options(passing.is_none() && file.is_some(), !rules.policy.rules().is_empty());
        let mut store = match &file {
            Some(path) => Store::open(path, options)
                .with_context(|| format!("cannot open the store {}", path.display()))?,
            None => Store::open_memory(options)?,
        };
        for aside in store.opened().moved_aside.iter().chain(&store.opened().backup) {
            eprintln!("shadowtap: the store of before lies at {}", aside.display());
        }
        let views = setup.socket.as_deref().map(listen).transpose()?;
        let told = &config.identity.listen;
        let receiver = (!told.endpoints.is_empty()).then(|| syslog::Receiver::bind(told));
        let receiver = receiver.transpose().map_err(|why| anyhow::anyhow!("identity: {why}"))?;
        let writable = writable(&setup, &config);
        let folders: Vec<&Path> = writable.iter().map(PathBuf::as_path).collect();
        let network = config.sinks.iter().any(|s| !matches!(s.target, Target::File { .. }));
        for missing in confine::recorder(&folders, network)? {
            eprintln!("shadowtap: {missing}");
        }
        let sources = Sources::start(&config, receiver)?;
        let couriers = Couriers::start(&setup, &config, file.as_deref(), views)?;
        let mut desk = Desk::new(rules.clone());
        desk.keys(store.ledger_key()?, store.device_key()?);
        desk.captures(setup.interfaces.iter().map(|n| Text::from(n.as_str())).collect());
        let directory = Arc::new(Directory::default());
        desk.directory(directory.clone());
        if let Ok(flows) = store.answers().open_flows(wall()) {
            desk.carry(flows);
        }
        if let Ok(known) = store.answers().identity_at(wall()) {
            desk.remember(&known, wall());
        }
        let epoch = setup.epoch;
        let health = Health::new(&setup, config.sensor.check_s);
        Ok(Self {
            totals: LiveTotals::new(&setup.interfaces),
            setup,
            config,
            rules,
            desk,
            store,
            directory,
            lanes: Vec::new(),
            came: bounded(QUEUE_MAX),
            health,
            couriers,
            sources,
            late: (false, false),
            attributed: epoch,
            passing,
            pending: VecDeque::new(),
            store_trouble: None,
            now: epoch,
            first: epoch,
            committed: epoch,
            rolled_up: epoch,
            retained: epoch,
            second: epoch,
            beat: epoch,
            beats: 0,
            failed: false,
        })
    }

    /// Reads the streams of (new) workers, a thread each.
    fn attach(&mut self, streams: Vec<OwnedFd>) -> anyhow::Result<()> {
        let from = self.lanes.len();
        for (lane, stream) in (from..).zip(streams) {
            let to = self.came.0.clone();
            let mut stream = BufReader::new(UnixStream::from(stream));
            std::thread::Builder::new().name("stream".to_owned()).spawn(move || {
                let mut buffer = Vec::new();
                let why = loop {
                    match read(&mut stream, &mut buffer) {
                        Ok(Some(message)) => {
                            if to.send(Came::Message(lane, message)).is_err() {
                                return;
                            }
                        }
                        Ok(None) => break None,
                        Err(error) => break Some(error.to_string()),
                    }
                };
                let _ = to.send(Came::Ended(lane, why));
            })?;
            self.lanes.push(Lane { latest: self.now, ..Lane::default() });
        }
        Ok(())
    }

    /// Works until all workers have ended and nobody follows them.
    fn work(&mut self, control: &OwnedFd) -> anyhow::Result<()> {
        let mut ending = false;
        loop {
            match self.came.1.recv_timeout(WAIT) {
                Ok(came) => {
                    self.take(came);
                    while let Ok(came) = self.came.1.try_recv() {
                        self.take(came);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            ending |= self.orders(control)?;
            self.due();
            self.tick(control);
            if ending && self.lanes.iter().all(|l| l.ended) {
                return Ok(());
            }
        }
    }

    fn take(&mut self, came: Came) {
        match came {
            Came::Message(lane, FromWatcher::Batch(mut batch)) => {
                // Whoever reads hostile bytes does not choose under which number they are kept.
                batch.watcher = lane;
                let Some(lane) = self.lanes.get_mut(lane) else { return };
                lane.latest = lane.latest.max(batch.now);
                lane.waiting.push_back(batch);
            }
            Came::Message(lane, FromWatcher::Pulse(pulse)) => self.pulse(lane, &pulse),
            Came::Ended(lane, why) => {
                if let Some(why) = why {
                    eprintln!("shadowtap: a worker's stream broke off: {why}");
                }
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.ended = true;
                }
            }
        }
    }

    fn pulse(&mut self, lane: usize, pulse: &Pulse) {
        let pulse = &Pulse { lane: lane as u64, ..pulse.clone() };
        self.totals.pulse(lane, pulse);
        self.health.pulse(pulse);
    }

    /// Hands to the desk what no worker can precede any more.
    fn due(&mut self) {
        let live = self.lanes.iter().filter(|l| !l.ended);
        let horizon = live.map(|l| l.latest).min().unwrap_or(Timestamp(u64::MAX));
        loop {
            let heads = self.lanes.iter().enumerate();
            let heads = heads.filter_map(|(i, l)| Some((l.waiting.front()?.now, i)));
            let Some((at, lane)) = heads.min().filter(|(at, _)| *at <= horizon) else { return };
            let batch = self.lanes.get_mut(lane).and_then(|l| l.waiting.pop_front());
            let Some(batch) = batch else { return };
            self.now = self.now.max(at);
            // Where the run begins is where the first thing was seen, not where waiting began.
            if let Some(seen) = batch.observations.first().map(|o| o.time)
                && self.first == self.setup.epoch
            {
                self.first = seen;
            }
            self.desk.block(&[batch], &mut |_, _| {});
        }
    }

    /// Orders of the supervisor; `true` once no more workers will come.
    fn orders(&mut self, control: &OwnedFd) -> anyhow::Result<bool> {
        let mut ending = false;
        loop {
            let (order, fds) = match receive::<ToRecorder>(control.as_fd(), false) {
                Ok(Some(order)) => order,
                // The supervisor is gone: what is there is finished.
                Ok(None) => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ending),
                Err(e) => return Err(e.into()),
            };
            match order {
                ToRecorder::Setup(_) => {}
                ToRecorder::Workers => {
                    self.desk.close_all();
                    self.totals.restarted();
                    self.attach(fds)?;
                }
                ToRecorder::Reload => self.reload(),
                ToRecorder::Print => self.print(),
                ToRecorder::Interface { input, up, mtu, lost_before } => {
                    self.totals.interface(input, up, lost_before, &mut self.desk);
                    self.health.interface(input, up, mtu);
                }
                ToRecorder::Ending => ending = true,
            }
        }
    }

    fn reload(&mut self) {
        match load(&self.setup) {
            // What is in the store stands under the mode that it was opened with.
            Ok((config, _)) if config.veil.mode() != self.config.veil.mode() => {
                eprintln!(
                    "shadowtap: not reloaded: another privacy mode takes a new start of the sensor"
                );
            }
            Ok((config, rules)) => {
                self.desk.judge_by(rules.clone());
                self.sources.reload(&config);
                self.late.0 = true;
                (self.config, self.rules) = (config, rules);
                self.health.every(self.config.sensor.check_s);
                self.say("reloaded: policy, signatures and settings are in force");
            }
            Err(error) => {
                eprintln!("shadowtap: not reloaded, the earlier state stays in force: {error:#}");
            }
        }
    }

    fn say(&self, text: &str) {
        if !self.setup.quiet && !self.setup.viewed {
            eprintln!("shadowtap: {text}");
        }
    }

    fn print(&self) {
        let text =
            serde_json::to_string(&self.totals.stats(&self.setup, self.now.since(self.first)));
        eprintln!("{}", text.unwrap_or_default());
    }

    /// What the passing of time asks for.
    fn tick(&mut self, control: &OwnedFd) {
        let now = wall();
        self.failed |= self.couriers.trouble();
        let since = now.since(self.committed);
        if since >= COMMIT || (self.desk.is_urgent() && since >= COMMIT_URGENT) {
            self.commit(now, false);
        }
        if now.since(self.retained) >= RETAIN {
            self.retained = now;
            if let Err(error) = self.store.retain(self.now) {
                self.trouble(&error.to_string());
            }
        }
        if now.since(self.second) >= Timestamp::SECOND {
            self.second = now;
            let _ = send(control, &OfRecorder::Alive, &[]);
            self.totals.second(now);
            self.who(now);
            if self.setup.doctor_s == 0 {
                self.check(now);
            }
            if self.couriers.views() > 0 {
                self.snapshot();
            }
        }
        if now.since(self.beat) >= self.config.sensor.heartbeat_s.saturating_mul(Timestamp::SECOND)
        {
            self.beat = now;
            self.heartbeat(now);
        }
    }

    /// Takes what has become known of who is who, and names findings by it.
    fn who(&mut self, now: Timestamp) {
        let news = self.sources.news(&self.config, now);
        self.late.0 |= news.is_something();
        for event in &news.events {
            self.desk.hear(event);
        }
        if let Some(known) = news.known {
            self.desk.know(known.clone());
            self.rules.known = known;
            self.say("identity: files have changed and were read anew");
        }
        for what in &news.told {
            eprintln!("shadowtap: identity: {what}");
        }
        let since = now.since(self.attributed);
        let due =
            (self.late.0 && since >= ATTRIBUTE) || (self.late.1 && since >= ATTRIBUTE_LEISURELY);
        if due && self.pending.is_empty() {
            // What is known has to lie in the store first, who is who included.
            self.rolled_up = Timestamp(0);
            self.commit(now, false);
            self.attribute(now);
        }
    }

    fn attribute(&mut self, now: Timestamp) {
        (self.late, self.attributed) = ((false, false), now);
        let since = Timestamp(now.0.saturating_sub(ATTRIBUTE_BACK));
        if let Err(error) = self.store.reattribute(&self.rules.known, since) {
            self.trouble(&error.to_string());
        }
    }

    fn check(&mut self, now: Timestamp) {
        for event in self.health.check(now) {
            let row = event.row(now);
            self.say(&format!("{}: {}", event.0.interface, event.0.title));
            if let Err(error) = self.store.post(&row) {
                self.trouble(&error.to_string());
            }
        }
    }

    fn key(&self, input: u16) -> Text {
        let name = self.setup.interfaces.get(usize::from(input)).map_or("", String::as_str);
        let epoch = self.setup.epoch.seconds();
        Text::from(format!("{}-{epoch}-{name}", self.setup.sensor))
    }

    fn input(&self, input: u16) -> InputRow {
        let name = self.setup.interfaces.get(usize::from(input)).map_or("", String::as_str);
        let (frames, bytes) = self.totals.volume(input);
        InputRow {
            key: self.key(input),
            name: Text::from(name),
            size_bytes: bytes,
            frames,
            first_time: self.first,
            last_time: self.now,
            fault: None,
            sensor: Some(Text::from(self.setup.sensor.as_str())),
        }
    }

    /// Puts what grew into the store, all of it or nothing, and what waited before it.
    fn commit(&mut self, now: Timestamp, last: bool) {
        self.totals.cover(&mut self.desk);
        let whole = last || now.since(self.rolled_up) >= COMMIT_ROLLUPS;
        // A finding is of the sensor, whichever interface and run it came by.
        let sensor = Text::from(self.setup.sensor.as_str());
        let rows = if last {
            self.desk.finish_live(|_| sensor.clone())
        } else {
            self.desk.grown(|_| sensor.clone(), self.now, whole)
        };
        if whole {
            self.rolled_up = now;
        }
        self.committed = now;
        for (input, rows) in rows {
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
                self.trouble("rows were given up: the store refused them for too long");
            }
            self.late.1 |= rows.identity != IdentityRows::default();
            self.pending.push_back((self.input(input), rows));
        }
        while let Some((input, rows)) = self.pending.pop_front() {
            match self.store.append(&input, &rows) {
                Ok(_) => {
                    if self.store_trouble.take().is_some() {
                        self.say("the store takes rows again; nothing was lost meanwhile");
                    }
                }
                Err(error) => {
                    self.trouble(&error.to_string());
                    self.pending.push_front((input, rows));
                    return;
                }
            }
        }
    }

    fn trouble(&mut self, what: &str) {
        self.failed = true;
        if self.store_trouble.as_deref() != Some(what) {
            eprintln!("shadowtap: store: {what}; capture goes on");
        }
        self.store_trouble = Some(what.to_owned());
    }

    /// A sign of life to every sink, as an event like any other.
    fn heartbeat(&mut self, now: Timestamp) {
        self.beats += 1;
        if !self.couriers.any() {
            return;
        }
        let degraded = self.health.degraded();
        let (frames, lost) = self.totals.frames_and_lost();
        let (sensor, epoch) = (&self.setup.sensor, self.setup.epoch);
        let event_id = format!("{sensor}-{}-heartbeat-{}", epoch.seconds(), self.beats);
        let beat = Heartbeat {
            schema: SCHEMA,
            kind: "health".to_owned(),
            event: "heartbeat".to_owned(),
            event_id: event_id.clone(),
            sensor_id: sensor.clone(),
            since: rfc3339(epoch),
            number: self.beats,
            ts: rfc3339(now),
            severity: 0,
            every_s: self.config.sensor.heartbeat_s,
            title: format!("{sensor} lives: {frames} frames, {lost} not read"),
            state: if degraded.is_empty() { "ok" } else { "degraded" }.to_owned(),
            degraded,
            frames,
            lost,
        };
        let payload = serde_json::to_string(&beat).unwrap_or_default();
        let row = OutboxRow { seq: 0, event_id, time: now, severity: 0, payload };
        if let Err(error) = self.store.post(&row) {
            self.trouble(&error.to_string());
        }
    }

    fn snapshot(&mut self) {
        let mut snapshot = Snapshot {
            schema: SCHEMA,
            sensor: self.setup.sensor.clone(),
            since: rfc3339(self.setup.epoch),
            now: rfc3339(self.now),
            degraded: self.health.degraded(),
            store_trouble: self.store_trouble.clone(),
            ..Snapshot::default()
        };
        self.totals.show(&mut snapshot, &self.health);
        let scope = self.scope();
        let answers = self.store.answers();
        let filled = fill(&mut snapshot, answers, &scope, &self.rules.catalogue, &self.directory);
        if filled.is_ok()
            && let Ok(line) = serde_json::to_string(&snapshot)
        {
            self.couriers.show(line);
        }
    }

    fn scope(&self) -> Scope {
        let inputs = (0_u16..).zip(&self.setup.interfaces).map(|(i, _)| self.key(i)).collect();
        Scope { inputs: Some(inputs), ..Scope::default() }
    }

    /// All workers have ended: last rows, last alerts, and what was asked for.
    fn finish(mut self) -> anyhow::Result<u8> {
        self.due();
        if self.setup.doctor_s > 0 {
            return self.diagnose();
        }
        self.commit(wall(), true);
        if !self.pending.is_empty() {
            self.commit(wall(), true);
        }
        self.attribute(wall());
        if let Err(error) = self.store.flush_alerts() {
            self.trouble(&error.to_string());
        }
        self.heartbeat(wall());
        self.failed |= self.couriers.stop();
        let totals = self.totals.stats(&self.setup, self.now.since(self.first));
        if let Some(path) = &self.setup.stats {
            let mut out = writer(path)?;
            serde_json::to_writer_pretty(&mut out, &totals)?;
            writeln!(out)?;
            out.flush()?;
        }
        let facts = summary::Facts::read(self.store.answers(), &self.scope())?;
        let stdout_taken = [self.setup.alerts.as_ref(), self.setup.stats.as_ref()];
        let stdout_taken = stdout_taken.into_iter().flatten().any(|p| p.as_os_str() == "-");
        if self.setup.json {
            let mut out = BufWriter::new(io::stdout().lock());
            serde_json::to_writer_pretty(&mut out, &json::document(&facts, &self.rules.catalogue))?;
            writeln!(out)?;
            out.flush()?;
        } else if !stdout_taken && !self.setup.quiet {
            let mut out = BufWriter::new(io::stdout().lock());
            let style = summary::Style {
                width: columns(),
                color: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
                catalogue: &self.rules.catalogue,
            };
            summary::write(&mut out, &facts, style)?;
            out.flush()?;
        }
        if !self.setup.quiet {
            eprintln!("shadowtap: {}", self.totals.sentence());
        }
        if let Some(store) = &self.passing {
            for end in ["", "-wal", "-shm", ".lock"] {
                let mut name = store.clone().into_os_string();
                name.push(end);
                let _ = std::fs::remove_file(name);
            }
        }
        if let Some(socket) = &self.setup.socket {
            let _ = std::fs::remove_file(socket);
        }
        Ok(u8::from(self.failed))
    }

    /// `doctor`: what the mirror showed, a line each.
    fn diagnose(self) -> anyhow::Result<u8> {
        let mut out = io::stdout().lock();
        let mut bad = false;
        let seconds = self.now.since(self.first) as f64 / Timestamp::SECOND as f64;
        for measured in self.health.measured(&self.totals, seconds) {
            writeln!(out, "{}", measured.interface)?;
            for check in mirror::checks(&measured) {
                bad |= check.state == mirror::State::Bad;
                let mark = match check.state {
                    mirror::State::Good => "ok     ",
                    mirror::State::Unknown => "unknown",
                    mirror::State::Bad => "BAD    ",
                };
                writeln!(out, "  {mark} {:<18} {}", check.what, check.measured)?;
                if check.state != mirror::State::Good {
                    writeln!(out, "          {:<18} {}", "means", check.means)?;
                }
                if !check.todo.is_empty() {
                    writeln!(out, "          {:<18} {}", "do", check.todo)?;
                }
            }
        }
        Ok(u8::from(bad))
    }
}

/// Configuration, signatures and policy as one.
fn load(setup: &RecorderSetup) -> anyhow::Result<(Config, Rulebook)> {
    let flag = |(name, key, value): &(String, String, String)| Flag {
        name: name.clone(),
        key: key.clone(),
        value: value.clone(),
    };
    let flags: Vec<Flag> = setup.flags.iter().map(flag).collect();
    let config = Config::load_with(setup.config.as_deref(), &flags)?;
    let (rules, problems) = config.rulebook()?;
    if !setup.quiet && !setup.viewed {
        for problem in &problems {
            eprintln!("{problem}");
        }
    }
    Ok((config, rules))
}

/// Who carries alerts and snapshots: a thread each, so that none waits for another.
struct Couriers {
    stop: tokio::sync::watch::Sender<bool>,
    snapshots: tokio::sync::watch::Sender<String>,
    views: Arc<AtomicUsize>,
    sinks: usize,
    /// What a courier ended with.
    ended: Receiver<Result<(), String>>,
}

impl Couriers {
    fn start(
        setup: &RecorderSetup,
        config: &Config,
        store: Option<&Path>,
        views: Option<UnixListener>,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (snapshots, shown) = tokio::sync::watch::channel(String::new());
        let (tell, ended) = unbounded();
        let (ready, readiness) = bounded(1);
        let looking = Arc::new(AtomicUsize::new(0));
        if let Some(views) = views {
            let count = looking.clone();
            let count = move |n| count.store(n, Ordering::Relaxed);
            std::thread::Builder::new()
                .name("views".to_owned())
                .spawn(move || courier::live::show(views, shown, count))?;
        }
        let lines = setup.alerts.iter().map(|p| Receiving::Lines(p.clone()));
        let sinks: Vec<Receiving> = lines
            .chain(config.sinks.iter().map(|s| Receiving::Settings(Box::new(s.clone()))))
            .collect();
        let count = if store.is_some() { sinks.len() } else { 0 };
        for (sink, store) in sinks.into_iter().zip(std::iter::repeat(store)) {
            let Some(store) = store.map(Path::to_owned) else { break };
            let (tell, ready, stopped) = (tell.clone(), ready.clone(), stopped.clone());
            std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
                let opened = sink.open().and_then(|sink| {
                    let outbox = Outbox::open(&store).map_err(|e| e.to_string())?;
                    Ok((sink, outbox))
                });
                let (mut sink, outbox) = match opened {
                    Ok(opened) => opened,
                    Err(why) => return drop(ready.send(Err(why))),
                };
                let _ = ready.send(Ok(()));
                drop(ready);
                let outcome = courier::runtime().map_err(|e| e.to_string()).and_then(|runtime| {
                    let serving = courier::serve(&outbox, &mut *sink, stopped);
                    runtime.block_on(serving).map_err(|e| e.to_string())
                });
                let _ = tell.send(outcome);
            })?;
            readiness
                .recv()
                .unwrap_or_else(|e| Err(e.to_string()))
                .map_err(|why| anyhow::anyhow!("alerts: {why}"))?;
        }
        Ok(Self { stop, snapshots, views: looking, sinks: count, ended })
    }

    fn any(&self) -> bool {
        self.sinks > 0
    }

    fn views(&self) -> usize {
        self.views.load(Ordering::Relaxed)
    }

    fn show(&self, snapshot: String) {
        let _ = self.snapshots.send(snapshot);
    }

    /// A courier ended that should not have.
    fn trouble(&mut self) -> bool {
        let mut failed = false;
        while let Ok(outcome) = self.ended.try_recv() {
            self.sinks = self.sinks.saturating_sub(1);
            failed = true;
            eprintln!("shadowtap: alerts: {}", outcome.err().unwrap_or_default());
        }
        failed
    }

    /// Lets them deliver what is there; `true` if one could not in time. What is not delivered
    /// stays in the outbox.
    fn stop(&mut self) -> bool {
        let _ = self.stop.send(true);
        let mut failed = false;
        while self.sinks > 0 {
            self.sinks -= 1;
            match self.ended.recv_timeout(PATIENCE) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    failed = true;
                    eprintln!("shadowtap: alerts: {why}");
                }
                Err(_) => return true,
            }
        }
        failed
    }
}

/// A sink before it is opened, in the thread that serves it.
enum Receiving {
    Lines(PathBuf),
    Settings(Box<SinkSettings>),
}

impl Receiving {
    fn open(self) -> Result<Box<dyn Sink>, String> {
        match self {
            Receiving::Lines(path) if path.as_os_str() == "-" => Ok(Box::new(Lines::stdout())),
            Receiving::Lines(path) => match Lines::append(&path) {
                Ok(lines) => Ok(Box::new(lines)),
                Err(e) => Err(format!("cannot write {}: {e}", path.display())),
            },
            Receiving::Settings(settings) => settings.sink(),
        }
    }
}

/// Where views attach: for the owner alone.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let why = || format!("cannot listen at {}", path.display());
    if UnixStream::connect(path).is_err() {
        // Left over from a run that was killed.
        let _ = std::fs::remove_file(path);
    }
    let views = UnixListener::bind(path).with_context(why)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(why)?;
    Ok(views)
}

/// Folders that the recorder writes into from now on.
fn writable(setup: &RecorderSetup, config: &Config) -> Vec<PathBuf> {
    let files = [
        setup.store.as_ref().or(config.store.file.as_ref()),
        setup.alerts.as_ref(),
        setup.stats.as_ref(),
        setup.socket.as_ref(),
    ];
    let sinks = config.sinks.iter().filter_map(|s| match &s.target {
        Target::File { path, .. } => Some(path),
        _ => None,
    });
    let folder = |file: &PathBuf| {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        whole.parent().map(Path::to_owned)
    };
    files
        .into_iter()
        .flatten()
        .chain(sinks)
        .filter(|f| f.as_os_str() != "-")
        .filter_map(folder)
        .collect()
}

fn writer(path: &PathBuf) -> anyhow::Result<Box<dyn Write>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file =
        std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Columns of the terminal, or of a page.
fn columns() -> usize {
    const PAGE: usize = 100;
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.filter(|s| s.ws_col > 0).map_or(PAGE, |s| usize::from(s.ws_col))
}
