//! `shadowtap scan`: captures to "which unapproved AI, by whom, how much".
//!
//! In: capture files, directories, standard input. Out: the summary, and whatever was asked for:
//! one JSON document, the store, alerts, observations, statistics.
//! Never: lets two of these share standard output; calls a run clean in which an input failed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::files::Files;
use super::{OwnedStdout, Problem, level_or_group};
use crate::answer::observations::Observations;
use crate::answer::terminal::printable;
use crate::answer::{json, summary};
use crate::config::{Config, ConfigError, Flag};
use crate::courier::{self, sinks::file::Lines};
use crate::observation::Batch;
use crate::recorder::desk::{Desk, Rulebook};
use crate::recorder::identity::Known;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{InputRow, InputRows, Text};
use crate::recorder::store::{Scope, Store};
use crate::sensor::{self, Listener};
use crate::types::Timestamp;
use crate::watcher::capture::{InputReport, InputState, Inputs, Options};
use crate::watcher::decode::DecodeCounters;

/// Columns of the summary where no terminal says otherwise.
const WIDTH: usize = 100;

/// Blocks after which the progress bar is moved: some 20 times a second at line rate.
const PROGRESS_BLOCKS: u64 = 64;

/// Find AI services in captures: which, approved or not, by whom, how much.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  shadowtap scan office.pcap                     read one capture, print the summary
  shadowtap scan -r monday/ -r tuesday.pcapng.gz captures and whole folders
  tcpdump -i eth1 -w - | shadowtap scan -        from standard input
  shadowtap scan --store ai.db --alerts - caps/  keep everything, alerts as JSON lines
  shadowtap scan --json caps/ > findings.json    the same as one document
  shadowtap scan --fail-on forbidden caps/       exit 3 if a forbidden service was used
  shadowtap scan --filter \"net 10.7.0.0/16\" caps/ only what a BPF expression selects

Exit codes: 0 fine, 1 an input or the store failed though the rest was done,
2 wrong usage or configuration, 3 --fail-on matched, 130 interrupted.")]
pub struct ScanArgs {
    /// Capture files (pcap, pcapng; also gzip or zstd), folders of them, or - for standard input.
    #[arg(value_name = "FILE|DIR|-")]
    pub inputs: Vec<PathBuf>,
    /// Another way to name an input; may be repeated.
    #[arg(short = 'r', long = "read", value_name = "FILE|DIR|-")]
    pub read: Vec<PathBuf>,
    /// Policy, configuration, signatures.
    #[command(flatten)]
    pub files: Files,
    /// Print one JSON document instead of the summary.
    #[arg(long)]
    pub json: bool,
    /// Keep findings and totals in this database.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Write alerts as JSON lines.
    #[arg(long, value_name = "FILE|-")]
    pub alerts: Option<PathBuf>,
    /// Write every name that was read as a JSON line: a browsing log, handle it as one.
    #[arg(long, value_name = "FILE|-")]
    pub observations: Option<PathBuf>,
    /// Write packets, bytes, time, flows, memory, anomalies and cap hits as JSON.
    #[arg(long, value_name = "FILE|-")]
    pub stats: Option<PathBuf>,
    /// Only packets that this BPF expression selects.
    #[arg(long, value_name = "BPF")]
    pub filter: Option<String>,
    /// Only packets from this time on (RFC 3339, or a date).
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub since: Option<Timestamp>,
    /// Only packets before this time.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub until: Option<Timestamp>,
    /// Watcher threads; the output does not depend on them. Default: one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub threads: Option<u16>,
    /// Set one key of the configuration for this run: `--set alerts.mode=every`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Treat every input as a world of its own: no names or flows carry over.
    #[arg(long)]
    pub separate: bool,
    /// Exit with 3 if something at this level or in this group was found.
    /// Levels: named, contacted, used, bulk. Groups, which count from `used` on: forbidden,
    /// unreviewed, unapproved, allowed, candidates. Several stand between commas.
    #[arg(long, value_name = "LEVEL|GROUP", value_parser = level_or_group, value_delimiter = ',')]
    pub fail_on: Vec<super::FailOn>,
    /// No progress, no warnings.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Statistics of a run: the only output that knows the clock and the machine.
#[derive(Debug, Serialize)]
struct Stats {
    schema: u32,
    packets: u64,
    bytes: u64,
    stored_bytes: u64,
    wall_s: f64,
    cpu_s: f64,
    packets_per_s: f64,
    flows: u64,
    peak_memory_bytes: u64,
    threads: usize,
    frames_by_fate: BTreeMap<&'static str, u64>,
    tunnels: BTreeMap<&'static str, u64>,
    anomalies: BTreeMap<String, u64>,
    cap_hits: BTreeMap<String, u64>,
}

/// Runs the command.
///
/// # Errors
/// If nothing could be done: wrong usage, a configuration that does not hold, no store.
pub fn run(args: &ScanArgs) -> anyhow::Result<u8> {
    let stdout = OwnedStdout::one_of(&[
        ("--json", args.json),
        ("--alerts -", is_dash(args.alerts.as_ref())),
        ("--observations -", is_dash(args.observations.as_ref())),
        ("--stats -", is_dash(args.stats.as_ref())),
    ])?;
    let config = Config::load_with(args.files.catalogue.config.as_deref(), &flags(args)?)?;
    let (rulebook, problems) = config.rulebook()?;
    if !args.quiet {
        for problem in &problems {
            eprintln!("{problem}");
        }
    }
    if config.identity.settings.users && !args.quiet {
        let settings = &config.identity.settings;
        eprintln!(
            "shadowtap: names of people are taken from the wire, for: {}; kept {} days; ask {}; privacy: {}",
            settings.purpose,
            settings.retention_days,
            settings.contact,
            config.veil.mode().code(),
        );
    }
    let mut options = config.sensor_options();
    for signal in [SIGINT, SIGTERM] {
        // The second one ends us whatever we wait for; the first one asks.
        signal_hook::flag::register_conditional_shutdown(signal, 130, options.stop.clone())?;
        signal_hook::flag::register(signal, options.stop.clone())?;
    }
    let inputs = open_inputs(args, &options.stop)?;
    let names: Vec<String> = inputs.reports().iter().map(|r| r.name.clone()).collect();
    options.decode.realms.resolve(&names);
    // Outputs first: nobody wants to learn after an hour that they cannot be written.
    let alerts = match &args.alerts {
        Some(_) if stdout.is("--alerts -") => Some(Lines::stdout()),
        Some(path) => Some(Lines::append(path).map_err(|e| cannot_write(path, &e))?),
        None => None,
    };
    let stats_out = args.stats.as_ref().map(writer).transpose()?;
    let mut scan = Scan::new(args, &config, rulebook.clone(), &names)?;
    #[expect(clippy::disallowed_methods, reason = "statistics say how long the run took")]
    let begin = std::time::Instant::now();
    let totals = sensor::run_offline(inputs, &options, &mut scan);
    let wall_s = begin.elapsed().as_secs_f64();
    scan.finish();

    let scope = Scope { inputs: Some(scan.keys.clone()), ..Scope::default() };
    let mut facts = summary::Facts::read(scan.store.answers(), &scope)?;
    facts.unread = std::mem::take(&mut scan.unread);
    if let Some(sink) = alerts {
        scan.alerts(sink);
    }
    if let Some(mut out) = stats_out {
        serde_json::to_writer_pretty(&mut out, &stats(&scan, &totals, wall_s, options.watchers))?;
        writeln!(out)?;
        out.flush()?;
    }
    if args.json {
        let mut out = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, &json::document(&facts, &rulebook.catalogue))?;
        writeln!(out)?;
        out.flush()?;
    } else if stdout.is_free() {
        summarise(&facts, &rulebook.catalogue)?;
    }
    scan.retain();
    if options.stop.load(Ordering::Relaxed) {
        eprintln!(
            "shadowtap: interrupted; a stream counts as far as it was read, files not read to \
             their end were left out"
        );
        return Ok(130);
    }
    let matched = args.fail_on.iter().any(|wanted| wanted.matches(&facts));
    Ok(match (scan.failed, matched) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 0,
    })
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    Problem::usage(format!("cannot write {}: {error}", path.display()))
}

fn open_inputs(args: &ScanArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Inputs> {
    let paths: Vec<PathBuf> = args.inputs.iter().chain(&args.read).cloned().collect();
    if paths.is_empty() {
        let help = "no input: name capture files, folders, or - for standard input";
        return Err(Problem::usage(help).into());
    }
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(Problem::usage("--since must lie before --until").into());
    }
    let options = Options {
        stop: Some(stop.clone()),
        since: args.since,
        until: args.until,
        filter: args.filter.clone(),
        separate: args.separate,
    };
    Inputs::open(&paths, &options).map_err(|e| Problem::usage(e.to_string()).into())
}

fn summarise(facts: &summary::Facts, catalogue: &Catalogue) -> anyhow::Result<()> {
    let terminal = io::stdout().is_terminal();
    let style = summary::Style {
        width: super::columns().unwrap_or(WIDTH),
        color: terminal && std::env::var_os("NO_COLOR").is_none(),
        catalogue,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    summary::write(&mut out, facts, style)?;
    out.flush()?;
    Ok(())
}

fn flags(args: &ScanArgs) -> Result<Vec<Flag>, ConfigError> {
    let threads = ("--threads", "limits.threads", args.threads.map(|n| n.to_string()));
    let set = args.set.iter().map(|set| super::config::flag(set));
    set.chain(args.files.flags(&[threads]).into_iter().map(Ok)).collect()
}

fn is_dash(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|p| p.as_os_str() == "-")
}

fn writer(path: &PathBuf) -> anyhow::Result<Box<dyn Write>> {
    if is_dash(Some(path)) {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).map_err(|e| cannot_write(path, &e))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    // Until the length is known, and for a stream for ever.
    let template = "{spinner} {bytes}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// The recorder's end of a scan.
struct Scan {
    desk: Desk,
    store: Store,
    observations: Option<Observations<Box<dyn Write>>>,
    bar: ProgressBar,
    blocks: u64,
    /// Inputs are not worlds of their own.
    may_meet: bool,
    /// Flows that earlier inputs left open are still to be looked up.
    may_carry: bool,
    /// Keys of the inputs committed.
    keys: Vec<Text>,
    /// An input, the store or an output failed.
    failed: bool,
    /// Inputs of which nothing was read.
    unread: Vec<summary::Unread>,
    decode: BTreeMap<u16, DecodeCounters>,
    totals: DecodeCounters,
    bytes: u64,
    stored: u64,
    /// The store outlives this run.
    kept: bool,
    quiet: bool,
    known: Arc<Known>,
}

impl Listener for Scan {
    fn block(&mut self, batches: &[Batch], decode: &[(u16, DecodeCounters)]) {
        for (input, counters) in decode {
            self.decode.entry(*input).or_default().merge(counters);
            self.totals.merge(counters);
        }
        self.carry_on(batches);
        let observations = &mut self.observations;
        self.desk.block(batches, &mut |observation, texts| {
            if let Some(out) = observations {
                out.observe(observation, texts);
            }
        });
    }

    fn world(&mut self, first: usize, reports: &[InputReport]) {
        let index = |place: usize| u16::try_from(first + place).unwrap_or(u16::MAX);
        for (place, report) in reports.iter().enumerate() {
            self.report(report);
            self.cover(index(place), report);
        }
        let keys: BTreeMap<u16, Text> =
            reports.iter().enumerate().map(|(place, r)| (index(place), key(r))).collect();
        let none = Text::from("");
        let rows = self.desk.finish(|input| keys.get(&input).unwrap_or(&none).clone());
        let mut rows: BTreeMap<u16, InputRows> = rows.into_iter().collect();
        for (place, report) in reports.iter().enumerate() {
            if !matches!(report.state, InputState::Read) || report.digest.is_none() {
                continue;
            }
            let rows = rows.remove(&index(place)).unwrap_or_default();
            self.commit(report, &rows);
        }
        self.decode.clear();
    }

    fn progress(&mut self, read_bytes: u64, total_bytes: Option<u64>, frames: u64) {
        self.blocks += 1;
        self.stored = read_bytes;
        let due = self.blocks.is_multiple_of(PROGRESS_BLOCKS) || total_bytes.is_none();
        if !due || self.bar.is_hidden() {
            return;
        }
        if let Some(total) = total_bytes.filter(|_| self.bar.length().is_none()) {
            let template = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style);
            }
            self.bar.set_length(total);
        }
        self.bar.set_position(read_bytes);
        let rate = frames as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{frames} packets, {rate:.0}/s"));
    }
}

impl Scan {
    /// Keeps the rows of an input, if it is the first of its content in this run.
    fn commit(&mut self, report: &InputReport, rows: &InputRows) {
        let input = row(report);
        if self.keys.contains(&input.key) {
            let text = "has the content of another input of this run, and counts once";
            self.note(&report.name, text);
            self.unread.push(unread(report, text, false));
            return;
        }
        // A part must not take the place of the whole.
        if report.unselected > 0 && self.store.answers().holds_whole(&input.key).unwrap_or(false) {
            let text = "the store holds all of it: a part would take its place, and is not kept";
            self.fail(&report.name, &text);
            self.unread.push(unread(report, text, true));
            return;
        }
        match self.store.commit_input(&input, rows) {
            Ok(_) => {
                self.tell_of_others(&input);
                self.keys.push(input.key);
            }
            Err(error) => {
                self.fail(&format!("store: {}", report.name), &error);
                self.unread.push(unread(report, "what it holds could not be stored", true));
            }
        }
    }

    /// Captures of earlier runs from the same time may hold the same packets, which cannot be
    /// told any more.
    fn tell_of_others(&self, input: &InputRow) {
        if let Ok(others) = self.store.answers().inputs_beside(input, &self.keys)
            && let [first, more @ ..] = others.as_slice()
            && self.may_meet
        {
            let and = match more.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let text = format!(
                "the store has {}{and} of the same time, from another run: what is in both counts \
                 twice; scan captures of one mirror port that overlap together",
                printable(first)
            );
            self.note(&input.name, &text);
        }
    }

    /// Tells something that is no error.
    fn note(&self, name: &str, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("shadowtap: {}: {text}", printable(name)));
        }
    }

    fn new(
        args: &ScanArgs,
        config: &Config,
        rulebook: Rulebook,
        names: &[String],
    ) -> anyhow::Result<Self> {
        let kept = args.store.as_ref().or(config.store.file.as_ref());
        let options = config.store_options(kept.is_some(), !rulebook.policy.rules().is_empty());
        let mut store = match kept {
            Some(path) => Store::open(path, options)
                .with_context(|| format!("cannot open the store {}", path.display()))?,
            None => Store::open_memory(options)?,
        };
        for aside in store.opened().moved_aside.iter().chain(&store.opened().backup) {
            eprintln!("shadowtap: the store of before lies at {}", aside.display());
        }
        let observations = match &args.observations {
            Some(path) => {
                let veil = config.veil.clone();
                Some(Observations::new(writer(path)?, names.to_vec(), &rulebook).under(veil))
            }
            None => None,
        };
        let known = rulebook.known.clone();
        let mut desk = Desk::new(rulebook);
        desk.keys(store.ledger_key()?, store.device_key()?);
        desk.captures(names.iter().map(|n| Text::from(n.as_str())).collect());
        Ok(Self {
            desk,
            store,
            observations,
            bar: progress_bar(args.quiet),
            blocks: 0,
            may_meet: !args.separate,
            may_carry: !args.separate,
            keys: Vec::new(),
            failed: false,
            unread: Vec::new(),
            decode: BTreeMap::new(),
            totals: DecodeCounters::default(),
            bytes: 0,
            stored: 0,
            kept: kept.is_some(),
            quiet: args.quiet,
            known,
        })
    }

    /// Says what went wrong, and remembers that something did.
    fn fail(&mut self, what: &str, error: &dyn std::fmt::Display) {
        self.failed = true;
        let text = format!("{what}: {error}");
        self.bar.suspend(|| eprintln!("shadowtap: {}", printable(&text)));
    }

    /// The run is over: closes what grew with it.
    fn finish(&mut self) {
        self.bar.finish_and_clear();
        if let Some(observations) = self.observations.take()
            && let Err(error) = observations.finish()
        {
            self.fail("observations", &error);
        }
        // What these inputs tell of who is who may name somebody in earlier ones.
        if self.kept
            && let Err(error) = self.store.reattribute(&self.known, Timestamp(0))
        {
            self.fail("store", &error);
        }
        // No more comes in this run: nobody waits for the end of a day.
        if let Err(error) = self.store.flush_alerts() {
            self.fail("store", &error);
        }
    }

    /// Forgets what is too old, once everything of this run was told.
    fn retain(&mut self) {
        if !self.kept {
            return;
        }
        let forgotten = match self.store.answers().trusted_time() {
            Ok(now) => self.store.retain(now),
            Err(error) => Err(error),
        };
        match forgotten {
            Ok(rows) if rows.aged + rows.squeezed > 0 => {
                let count = rows.aged + rows.squeezed;
                let text =
                    format!("{count} old rows were forgotten ([store.retention], size_max_bytes)");
                self.note("store", &text);
            }
            Ok(_) => {}
            Err(error) => self.fail("store", &error),
        }
    }

    fn alerts(&mut self, mut sink: Lines) {
        if let Err(error) = courier::drain(&self.store.outbox(), &mut sink) {
            self.fail("alerts", &error);
        }
    }

    /// With the first block it is known when this run begins, and so which flows of
    /// earlier inputs it may go on with.
    fn carry_on(&mut self, batches: &[Batch]) {
        let Some(first) = batches.first().map(|b| b.begin).filter(|_| self.may_carry) else {
            return;
        };
        self.may_carry = false;
        match self.store.answers().open_flows(first) {
            Ok(flows) => self.desk.carry(flows),
            Err(error) => self.fail("store", &error),
        }
        match self.store.answers().identity_at(first) {
            Ok(rows) => self.desk.remember(&rows, first),
            Err(error) => self.fail("store", &error),
        }
    }

    fn report(&mut self, report: &InputReport) {
        self.bytes += report.bytes;
        match &report.state {
            InputState::Failed(reason) => {
                self.fail(&report.name, reason);
                self.unread.push(unread(report, reason, true));
            }
            InputState::Skipped(reason) => {
                self.note(&report.name, &format!("skipped, {reason}"));
                self.unread.push(unread(report, reason, false));
            }
            _ => {}
        }
        if let Some(fault) = &report.fault {
            let kept = format!(
                "{} at offset {}; the {} frames before it count",
                fault.reason, fault.offset, report.frames
            );
            self.fail(&report.name, &kept);
        }
    }

    /// What capture and decode know of an input, in the coverage ledger.
    fn cover(&mut self, input: u16, report: &InputReport) {
        self.desk.cover(input, "frames", None, report.frames);
        for (name, of, count) in [
            ("frames_not_selected", "frames", report.unselected),
            ("frames_in_another_input", "frames", report.doubled),
            ("frames_back_in_time", "frames", report.backward),
            ("frames_with_stray_time", "frames", report.strays),
        ] {
            if count > 0 {
                self.desk.cover(input, name, Some(of), count);
            }
        }
        let Some(counters) = self.decode.get(&input) else { return };
        for (name, count) in counters.iter().filter(|(_, n)| *n > 0) {
            self.desk.cover(input, name, Some("frames"), count);
        }
        for (name, count) in counters.oddities().filter(|(_, n)| *n > 0) {
            self.desk.cover(input, name, None, count);
        }
    }
}

fn unread(report: &InputReport, reason: &str, failed: bool) -> summary::Unread {
    summary::Unread { name: report.name.clone(), reason: reason.to_owned(), failed }
}

/// Identity of an input: digest and size of what is stored.
fn key(report: &InputReport) -> Text {
    report
        .digest
        .map_or_else(|| Text::from(""), |d| Text::from(format!("{d:032x}-{}", report.size)))
}

fn row(report: &InputReport) -> InputRow {
    InputRow {
        key: key(report),
        name: Text::from(report.name.as_str()),
        size_bytes: report.size,
        frames: report.frames,
        first_time: report.first.unwrap_or_default(),
        last_time: report.last.unwrap_or_default(),
        fault: report
            .fault
            .as_ref()
            .map(|f| Text::from(format!("{} at offset {}", f.reason, f.offset))),
        sensor: None,
    }
}

fn stats(scan: &Scan, totals: &sensor::Totals, wall_s: f64, threads: usize) -> Stats {
    let (cpu_s, peak_memory_bytes) = super::usage();
    let packets = scan.totals.frames();
    let named = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| -> BTreeMap<_, _> {
        pairs.filter(|(_, n)| *n > 0).collect()
    };
    let mut anomalies: BTreeMap<String, u64> =
        totals.flow.anomalies.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    for (name, count) in scan.totals.oddities().filter(|(_, n)| *n > 0) {
        anomalies.insert(name.to_owned(), count);
    }
    for ((protocol, field, why), count) in &totals.flow.parse_errors {
        anomalies.insert(format!("{protocol}: {field} {why:?}").to_lowercase(), *count);
    }
    let mut cap_hits: BTreeMap<String, u64> =
        totals.flow.caps.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    for (name, count) in
        [("flows_evicted", totals.flow.flows_evicted), ("flows_unread", totals.flow.cold_full)]
    {
        if count > 0 {
            cap_hits.insert(name.to_owned(), count);
        }
    }
    Stats {
        schema: 1,
        packets,
        bytes: scan.bytes,
        stored_bytes: scan.stored,
        wall_s,
        cpu_s,
        packets_per_s: packets as f64 / wall_s.max(1e-9),
        flows: totals.flow.flows,
        peak_memory_bytes,
        threads,
        frames_by_fate: named(&mut scan.totals.iter()),
        tunnels: named(&mut scan.totals.wrappings()),
        anomalies,
        cap_hits,
    }
}
