//! Where the packets of a finding are, and a cut of exactly those packets.
//!
//! In: a finding, the input it lies in, and paths below which the capture may be.
//! Out: the evidence as text; a pcapng file with the finding's packets as they were captured.
//! Never: cuts from a file whose content is not what was scanned; writes over the capture;
//! copies a packet of another flow.
//! Limits: [`SEARCHED_MAX`] files and [`DEPTH_MAX`] folders deep are searched for the capture.
//! Source: draft-ietf-opsawg-pcapng §4.1 to §4.3.
//!
//! Fragments of a flow's datagrams carry no ports; of those only the frame that completes a
//! datagram is cut.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::terminal::{counted, printable};
use crate::recorder::alert::rfc3339;
use crate::recorder::finding::bytes;
use crate::recorder::store::rows::{EvidenceItem, Finding, InputRow};
use crate::types::{Realm, Timestamp};
use crate::watcher::capture::{Fill, InputReport, Inputs, OpenError, Options};
use crate::watcher::decode::{DecodeCounters, DecodeOptions, Decoder, Stitcher};
use crate::watcher::packet::{Block, Decoded, FlowKey, Frame, Packet, octets_of, tcp_flags};

/// Files of the right name or length that are looked at: more of them are no archive in which a
/// person would look either.
pub const SEARCHED_MAX: usize = 100_000;

/// Folders within one another, as for the inputs of a scan.
pub const DEPTH_MAX: usize = 64;

/// What was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Flows of the finding that evidence is kept of.
    pub flows: u64,
    /// Frames written.
    pub frames: u64,
    /// Octets of them.
    pub bytes: u64,
}

/// Why nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The capture is not where it was looked for.
    #[error("{capture} is not at hand ({looked}); name the file or its folder with --capture")]
    NotFound {
        /// Capture by its name.
        capture: String,
        /// Where it was looked for.
        looked: String,
    },
    /// The capture has changed, or another file bears its name.
    #[error(
        "{}: this is not the content that was scanned (id {found}, the finding's input has {wanted}), so its frame numbers mean nothing; nothing was cut",
        path.display()
    )]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// Identity of what it holds.
        found: String,
        /// Identity of what was scanned.
        wanted: String,
    },
    /// The finding was seen live.
    #[error("the finding was seen live on sensor {0}; there is no capture to cut from")]
    Live(String),
    /// The cut would overwrite the capture.
    #[error("{}: this is the capture itself; choose another name for the cut", .0.display())]
    SameFile(PathBuf),
    /// The capture cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The capture could not be opened as one.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Writes the evidence of a finding for a person.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let who = finding.actor.text();
    let who: Vec<String> = who.host.into_iter().chain([who.ip]).chain(who.mac).collect();
    writeln!(out, "{}", printable(&finding.title))?;
    let say = |out: &mut dyn Write, what: &str, text: &str| {
        if text.is_empty() { Ok(()) } else { writeln!(out, "  {what:<14}{}", printable(text)) }
    };
    say(out, "finding", &format!("{} revision {}", finding.id, finding.revision))?;
    say(
        out,
        "service",
        &format!("{} ({}), {}", finding.service_name, finding.vendor, finding.service),
    )?;
    say(out, "by", &who.join(" "))?;
    let (level, verdict) =
        (finding.level.code(), crate::recorder::finding::word(finding.disposition));
    say(out, "verdict", &format!("{verdict}, {level}, severity {}", finding.severity))?;
    for reason in &finding.reasons {
        say(out, "because", reason)?;
    }
    say(out, "next", &finding.next_steps)?;
    let (up, down) = (bytes(finding.bytes_up), bytes(finding.bytes_down));
    say(out, "volume", &format!("{up} sent, {down} received, {}", counted(finding.flows, "flow")))?;
    let (first, last) = (rfc3339(finding.first_seen), rfc3339(finding.last_seen));
    say(out, "time", &format!("{first} to {last}"))?;
    for (i, item) in finding.evidence.iter().enumerate() {
        writeln!(out, "\nEvidence {}", i + 1)?;
        say(out, "name", &format!("{}, by {}", item.name, item.kind.code()))?;
        say(out, "flow", &item.five_tuple())?;
        say(out, "begins", &rfc3339(item.time))?;
        say(out, "capture", &item.capture)?;
        let named = if item.name_frame == 0 {
            "name from elsewhere".to_owned()
        } else {
            format!("name in frame {}", item.name_frame)
        };
        say(out, "frames", &format!("{} to {}, {named}", item.first_frame, item.last_frame))?;
        say(out, "Wireshark", &item.wireshark_filter)?;
        say(out, "Community ID", &item.community_id)?;
        say(out, "JA4", item.ja4.as_deref().unwrap_or_default())?;
        say(out, "client", &format!("{}: {}", item.client_class.code(), item.client_evidence))?;
    }
    if finding.evidence_more > 0 {
        writeln!(out, "\nShown by {} as well.", counted(finding.evidence_more, "more flow"))?;
    }
    Ok(())
}

/// A file for its owner alone: packets are more than anybody else needs to see.
fn private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Cuts the packets of a finding out of its capture into `to`.
///
/// # Errors
/// If the capture is not at hand, is not what was scanned, or cannot be read, or `to` cannot be
/// written; `to` is touched only once the capture proved to be the right one.
pub fn cut(
    finding: &Finding,
    input: &InputRow,
    below: &[PathBuf],
    to: &Path,
) -> Result<Cut, CutError> {
    if let Some(sensor) = &input.sensor {
        return Err(CutError::Live(sensor.to_string()));
    }
    let mut wanted = Wanted::of(&finding.evidence);
    let capture = find(input, below, &mut wanted)?;
    let failed = |source| CutError::Io { path: to.display().to_string(), source };
    if same_file(&capture, to) {
        return Err(CutError::SameFile(to.to_owned()));
    }
    let mut out = Writer::new(BufWriter::new(private(to).map_err(failed)?)).map_err(failed)?;
    let mut cut = Cut { flows: finding.evidence.len() as u64, ..Cut::default() };
    let mut outcome = Ok(());
    let mut written = 0;
    read(&capture, |block, frame, packet| {
        // A datagram put together from fragments stands at a frame that may have its own packet.
        if outcome.is_err() || written == frame.number || !wanted.has(packet, frame.number) {
            return;
        }
        written = frame.number;
        outcome = out.frame(frame, block.bytes(frame));
        cut.frames = cut.frames.saturating_add(1);
        cut.bytes = cut.bytes.saturating_add(u64::from(frame.captured));
    })?;
    outcome.and_then(|()| out.out.flush()).map_err(failed)?;
    Ok(cut)
}

/// Frames of one flow that are wanted.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    /// First SYN, and its sequence number, of the connection that the first frame belongs to.
    syn: Option<(u64, u32)>,
}

/// Which packets are evidence.
#[derive(Clone, Debug)]
struct Wanted {
    flows: HashMap<FlowKey, Vec<Span>>,
}

impl Wanted {
    fn of(items: &[EvidenceItem]) -> Self {
        let mut flows: HashMap<FlowKey, Vec<Span>> = HashMap::new();
        for item in items {
            let end = |e: crate::types::Endpoint| (octets_of(e.addr), e.port);
            let v6 = item.client.addr.is_ipv6();
            // Realms come from configuration; within one file the frame numbers tell flows apart.
            let (client, server) = (end(item.client), end(item.server));
            let (key, _) = FlowKey::new(Realm(0), item.transport, client, server, v6);
            let span = Span { first: item.first_frame, last: item.last_frame, syn: None };
            flows.entry(key).or_default().push(span);
        }
        Self { flows }
    }

    /// Remembers the SYN in front of a span: evidence begins with the first payload.
    fn look_back(&mut self, packet: &Packet, number: u64) {
        let key = FlowKey { realm: Realm(0), ..packet.key };
        let Some(spans) = self.flows.get_mut(&key).filter(|_| packet.key.protocol == 6) else {
            return;
        };
        let opens = packet.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        for span in spans.iter_mut().filter(|s| number < s.first) {
            match span.syn {
                // A SYN sent again.
                Some((_, seq)) if opens && seq == packet.seq => {}
                _ if opens => span.syn = Some((number, packet.seq)),
                // Bytes in front of the first frame: an earlier use of the same ports, or of the
                // same connection under another name.
                _ if packet.payload_wire > 0 => span.syn = None,
                _ => {}
            }
        }
    }

    fn has(&self, packet: &Packet, number: u64) -> bool {
        let key = FlowKey { realm: Realm(0), ..packet.key };
        let within = |s: &Span| (s.syn.map_or(s.first, |syn| syn.0)..=s.last).contains(&number);
        self.flows.get(&key).is_some_and(|spans| spans.iter().any(within))
    }
}

/// Finds the file that holds what was scanned, and where in it the flows begin.
fn find(input: &InputRow, below: &[PathBuf], wanted: &mut Wanted) -> Result<PathBuf, CutError> {
    let here = [PathBuf::from(&*input.name)];
    let roots = if below.is_empty() { &here[..] } else { below };
    let mut other = None;
    for path in candidates(input, roots) {
        let mut attempt = wanted.clone();
        let report = read(&path, |_, frame, packet| attempt.look_back(packet, frame.number))?;
        let found = report.digest.map_or_else(String::new, |d| format!("{d:032x}-{}", report.size));
        if found == *input.key {
            *wanted = attempt;
            return Ok(path);
        }
        let wanted = input.key.to_string();
        other = other.or(Some(CutError::OtherContent { path, found, wanted }));
    }
    let looked: Vec<_> = roots.iter().map(|p| format!("looked in {}", p.display())).collect();
    let (capture, looked) = (input.name.to_string(), looked.join(", "));
    Err(other.unwrap_or(CutError::NotFound { capture, looked }))
}

/// Files that may be the capture, the likeliest first: files that were named, whatever they are
/// called; in folders what bears the capture's name.
fn candidates(input: &InputRow, roots: &[PathBuf]) -> Vec<PathBuf> {
    let name = Path::new(&*input.name);
    let mut found = Vec::new();
    for root in roots {
        if !root.is_dir() {
            found.extend(root.is_file().then(|| root.clone()));
            continue;
        }
        let at_once = root.join(name);
        if at_once.is_file() {
            found.push(at_once);
        }
        if let Some(file) = name.file_name() {
            search(root, file, 0, &mut 0, &mut found);
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    // Of equal name, one of equal length first.
    found.sort_by_key(|p| fs::metadata(p).map_or(true, |m| m.len() != input.size_bytes));
    found
}

fn search(
    dir: &Path,
    name: &std::ffi::OsStr,
    depth: usize,
    looked: &mut usize,
    found: &mut Vec<PathBuf>,
) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        *looked = looked.saturating_add(1);
        if *looked > SEARCHED_MAX {
            return;
        }
        let link = path.is_symlink();
        if path.is_dir() && !link && depth < DEPTH_MAX {
            search(&path, name, depth.saturating_add(1), looked, found);
        } else if path.file_name() == Some(name) && path.is_file() {
            found.push(path);
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Shows every packet of a capture with its frame, in order.
fn read(
    path: &Path,
    mut each: impl FnMut(&Block, &Frame, &Packet),
) -> Result<InputReport, CutError> {
    let mut inputs = Inputs::open(&[path.to_owned()], &Options::default())?;
    let decoder = Decoder::new(DecodeOptions { hash_seed: 1, ..DecodeOptions::default() });
    let (mut block, mut decoded) = (Block::default(), Decoded::default());
    let (mut stitcher, mut counters) = (Stitcher::default(), DecodeCounters::default());
    while inputs.fill(&mut block) != Fill::End {
        decoder.block(&block, &mut decoded, &mut counters);
        stitcher.stitch(&block, &mut decoded, &decoder, &mut counters);
        for packet in &decoded.packets {
            if let Some(frame) = block.frames.get(packet.frame as usize) {
                each(&block, frame, packet);
            }
        }
    }
    let report = inputs.reports().first().cloned().unwrap_or_default();
    match report.state {
        crate::watcher::capture::InputState::Failed(why)
        | crate::watcher::capture::InputState::Skipped(why) => {
            Err(CutError::Unreadable { path: path.display().to_string(), why })
        }
        _ => Ok(report),
    }
}

/// Writes pcapng: one section, an interface for each link type, times in nanoseconds.
struct Writer<W> {
    out: W,
    links: Vec<u16>,
}

impl<W: Write> Writer<W> {
    fn new(mut out: W) -> io::Result<Self> {
        // Section header: byte-order magic, version 1.0, length not said.
        let mut body = 0x1A2B_3C4D_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend([0xFF; 8]);
        block(&mut out, 0x0A0D_0D0A, &[&body])?;
        Ok(Self { out, links: Vec::new() })
    }

    fn frame(&mut self, frame: &Frame, octets: &[u8]) -> io::Result<()> {
        let known = self.links.iter().position(|l| *l == frame.link);
        if known.is_none() {
            let [low, high] = frame.link.to_le_bytes();
            // No snap length; option 9, if_tsresol: 10^-9 s; end of options.
            let body = [low, high, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
            block(&mut self.out, 1, &[&body])?;
            self.links.push(frame.link);
        }
        let interface = known.unwrap_or(self.links.len().saturating_sub(1));
        let interface = u32::try_from(interface).map_err(io::Error::other)?;
        let Timestamp(time) = frame.time;
        // Both halves little-endian, the higher one first.
        let halves = time.rotate_left(32).to_le_bytes();
        let mut head = Vec::with_capacity(20);
        head.extend(interface.to_le_bytes());
        head.extend(halves);
        head.extend(u32::try_from(octets.len()).map_err(io::Error::other)?.to_le_bytes());
        head.extend(frame.wire.to_le_bytes());
        block(&mut self.out, 6, &[&head, octets])
    }
}

/// One block: type, length, body filled up to 32 bits, length.
fn block(out: &mut impl Write, kind: u32, body: &[&[u8]]) -> io::Result<()> {
    let length: usize = body.iter().map(|b| b.len()).sum();
    let padded = length.next_multiple_of(4);
    let total = u32::try_from(padded.saturating_add(12)).map_err(io::Error::other)?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&total.to_le_bytes())?;
    for part in body {
        out.write_all(part)?;
    }
    out.write_all([0; 3].get(..padded.saturating_sub(length)).unwrap_or_default())?;
    out.write_all(&total.to_le_bytes())
}
