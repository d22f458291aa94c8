//! Files to blocks of frames.
//!
//! In: the names on the command line: capture files, directories of them, standard input.
//! Out: [`Block`]s in the order of the run, and an [`InputReport`] for every file.
//! Never: gives up what lay in front of a fault, lets one bad file stop the next, or reads a clock.
//! Limits: [`INPUTS_MAX`] inputs, [`MERGED_MAX`] open at once; those of `savefile.rs`.
//! Source: design of time in `clock.rs`, of formats in `savefile.rs`.
//!
//! Files that overlap in time are merged by sensor time, within one file its own order holds;
//! files that do not overlap follow one another. Which frames a block holds depends on the
//! inputs alone.

mod clock;
pub mod deal;
pub mod filter;
mod list;
pub mod live;
mod pages;
pub mod ring;
mod savefile;
mod source;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use twox_hash::XxHash3_128;

pub use clock::{STEP_MAX_S, WITNESSES};
pub use list::{DEPTH_MAX, INPUTS_MAX};
pub use pages::Room;
pub use savefile::{BLOCK_MAX, Fault, Format, INTERFACES_MAX, RECORD_MAX, Stop, Walker, recognise};
pub use source::CHUNK;

use self::filter::Filter;
use self::list::{Named, list};
use self::source::{PEEK, Pool, Refusal, Source};
use super::packet::{Block, Chunk, EXTRA_CHUNK, Frame};
use crate::types::Timestamp;

/// Files merged at once. Each holds a chunk and a descriptor: 64 MiB, and far below the usual
/// limit of 1024 descriptors. Where more overlap, the later ones wait and come late.
pub const MERGED_MAX: usize = 256;

/// Octets of frames after which a block is full: more than half a chunk, so that a large file
/// gives one block a chunk, and small files share one.
const BLOCK_BYTES: usize = CHUNK / 2;

/// Chunks of one block, when it is put together from many files; below [`EXTRA_CHUNK`].
const BLOCK_CHUNKS: usize = 1024;
const _: () = assert!(BLOCK_CHUNKS < EXTRA_CHUNK as usize);

/// Frames of one moment that are compared across inputs: a burst at one time stamp of a coarse clock.
const MOMENT_MAX: usize = 4_096;

/// How the inputs are to be read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Frames before this time are left out.
    pub since: Option<Timestamp>,
    /// Frames from this time on are left out.
    pub until: Option<Timestamp>,
    /// Only frames that this BPF expression selects.
    pub filter: Option<String>,
    /// Every input is a world of its own: no merging, and time starts anew.
    pub separate: bool,
    /// Once set, a stream that is waited for has ended.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Why nothing can be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// More inputs than frames can name.
    #[error("{0}")]
    TooMany(String),
    /// The filter is no BPF expression.
    #[error("filter: {0}")]
    Filter(String),
}

/// What [`Inputs::fill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// The block holds frames.
    Frames,
    /// With [`Options::separate`]: forget everything, the following blocks are of this input.
    NewWorld {
        /// Index of the input.
        input: u16,
    },
    /// There is nothing more.
    End,
}

/// How far an input has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InputState {
    /// Not opened yet.
    #[default]
    Waiting,
    /// Open.
    Reading,
    /// Read to its end, or to its fault.
    Read,
    /// No capture, in a directory of captures; the reason.
    Skipped(String),
    /// Named, but cannot be read as a capture; the reason.
    Failed(String),
}

/// What one input was.
#[derive(Clone, Debug, Default)]
pub struct InputReport {
    /// Path below the directory given; the file name for a file given; `-` for standard input.
    pub name: String,
    /// How far it has come.
    pub state: InputState,
    /// Octets as stored.
    pub size: u64,
    /// Frames in it.
    pub frames: u64,
    /// Frames left out by time or filter.
    pub unselected: u64,
    /// Frames left out because another input that was read with it holds the same.
    pub doubled: u64,
    /// Octets of the frames on the wire.
    pub bytes: u64,
    /// XXH3-128 of the stored octets, once wholly read; with `size` it is the input's identity.
    pub digest: Option<u128>,
    /// Sensor time of the first frame selected.
    pub first: Option<Timestamp>,
    /// Sensor time of the last frame selected.
    pub last: Option<Timestamp>,
    /// Link types of its interfaces (LINKTYPE), in order of appearance.
    pub links: Vec<u16>,
    /// What ended it early.
    pub fault: Option<Fault>,
    /// Frames whose time lay before sensor time.
    pub backward: u64,
    /// Jumps in time that later frames confirmed.
    pub jumps: u64,
    /// Frames whose jump in time nothing confirmed.
    pub strays: u64,
}

/// Everything named on the command line, opened as its time comes.
pub struct Inputs {
    named: Vec<Named>,
    reports: Vec<InputReport>,
    selection: Selection,
    separate: bool,
    stop: Option<Arc<AtomicBool>>,
    /// Frames of one moment, where inputs overlap.
    moment: Moment,
    /// By time of the first frame.
    waiting: VecDeque<Waiting>,
    active: Vec<Active>,
    pool: Pool,
    now: Timestamp,
    blocks: u64,
    /// Octets of inputs that are done.
    done: u64,
    total: Option<u64>,
}

/// Which frames are wanted.
struct Selection {
    since: Timestamp,
    until: Option<Timestamp>,
    filter: Option<Filter>,
}

/// Frames of one moment, so that a packet that lies in two inputs counts once: equal in time, length
/// and octets.
#[derive(Default)]
struct Moment {
    now: Timestamp,
    /// Which input held it, and what it was.
    frames: Vec<(u16, u128)>,
}

impl Moment {
    /// `true` if another input held this frame already; each copy there answers for one here.
    fn had(&mut self, frame: &Frame, input: u16, octets: &[u8]) -> bool {
        // Sensor time never goes back, as the time of a frame may.
        if frame.now != self.now {
            self.now = frame.now;
            self.frames.clear();
        }
        let seed = frame.time.0.rotate_left(32) ^ u64::from(frame.wire);
        let what = XxHash3_128::oneshot_with_seed(seed, octets);
        let other = self.frames.iter().position(|(from, is)| *from != input && *is == what);
        if let Some(at) = other {
            self.frames.swap_remove(at);
            return true;
        }
        if self.frames.len() < MOMENT_MAX {
            self.frames.push((input, what));
        }
        false
    }
}

impl Selection {
    /// `true` if nothing is left out.
    fn takes_all(&self) -> bool {
        self.since == Timestamp::default() && self.until.is_none() && self.filter.is_none()
    }
}

/// An input whose first frame is known.
struct Waiting {
    first: Timestamp,
    input: u16,
    /// Kept open if it cannot be opened twice, with its first piece.
    open: Option<Box<Active>>,
}

/// An input that takes part in the merge.
struct Active {
    input: u16,
    source: Source,
    /// Where its frames lie; nothing once all are handed out.
    chunk: Option<Arc<Vec<u8>>>,
    frames: Vec<Frame>,
    next: usize,
    /// Number of `chunk` in the block being filled.
    slot: Option<u16>,
    /// Frames that another input held.
    doubled: u64,
}

impl Inputs {
    /// Lists the inputs and learns when each begins.
    ///
    /// # Errors
    /// If the filter is invalid or there are too many inputs; trouble with single inputs stands
    /// in their reports.
    pub fn open(paths: &[PathBuf], options: &Options) -> Result<Self, OpenError> {
        let filter = options.filter.as_deref().map(Filter::new).transpose();
        let selection = Selection {
            since: options.since.unwrap_or_default(),
            until: options.until,
            filter: filter.map_err(OpenError::Filter)?,
        };
        let named = list(paths).map_err(OpenError::TooMany)?;
        let sizes: Vec<_> = named.iter().map(size).collect();
        let total = sizes.iter().try_fold(0_u64, |sum, size| Some(sum.saturating_add((*size)?)));
        let report = |(named, size): (&Named, &Option<u64>)| InputReport {
            name: named.name.clone(),
            size: size.unwrap_or(0),
            ..InputReport::default()
        };
        let reports = named.iter().zip(&sizes).map(report).collect();
        let mut inputs = Self {
            reports,
            selection,
            separate: options.separate,
            stop: options.stop.clone(),
            moment: Moment::default(),
            waiting: VecDeque::new(),
            active: Vec::new(),
            pool: Pool::default(),
            now: Timestamp::default(),
            blocks: 0,
            done: 0,
            total,
            named,
        };
        inputs.line_up();
        Ok(inputs)
    }

    /// Fills the block with the next frames, reusing its buffers.
    pub fn fill(&mut self, block: &mut Block) -> Fill {
        for chunk in block.chunks.drain(..) {
            if let Chunk::Read(chunk) = chunk {
                self.pool.put(chunk);
            }
        }
        block.clear();
        for active in &mut self.active {
            active.slot = None;
        }
        let mut octets = 0_usize;
        while octets < BLOCK_BYTES && block.chunks.len() < BLOCK_CHUNKS {
            self.refill();
            if self.separate && self.active.is_empty() && block.frames.is_empty() {
                let Some(next) = self.waiting.pop_front() else { break };
                let input = next.input;
                self.start(next);
                self.now = Timestamp::default();
                return Fill::NewWorld { input };
            }
            if !self.separate {
                self.admit();
            }
            let Some((turn, limit)) = self.turn() else { break };
            octets = octets.saturating_add(self.hand_out(turn, limit, block));
        }
        block.now = self.now;
        block.index = self.blocks;
        if block.frames.is_empty() {
            return Fill::End;
        }
        self.blocks = self.blocks.saturating_add(1);
        Fill::Frames
    }

    /// One report an input, in the order of [`Frame::input`]; complete once `fill` said `End`.
    pub fn reports(&self) -> &[InputReport] {
        &self.reports
    }

    /// `true` if everything that is being read is a stream, which ends by itself once it is told to.
    pub fn streams(&self) -> bool {
        !self.active.is_empty() && self.active.iter().all(|a| !a.source.regular)
    }

    /// Octets read so far as stored, and of how many if that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let reading = self.active.iter().map(|a| a.source.bytes());
        (reading.fold(self.done, u64::saturating_add), self.total)
    }

    /// Puts the inputs in order of their first frame; as they were named if each is a world.
    fn line_up(&mut self) {
        let alone = self.separate || self.named.len() == 1;
        let mut waiting = Vec::new();
        for input in 0..u16::try_from(self.named.len()).unwrap_or(u16::MAX) {
            if alone {
                waiting.push(Waiting { first: Timestamp::default(), input, open: None });
            } else if let Some(next) = self.peek(input) {
                waiting.push(next);
            }
        }
        waiting.sort_by_key(|w| (w.first, w.input));
        self.waiting = waiting.into();
    }

    /// When an input begins; nothing if it has no frame.
    fn peek(&mut self, input: u16) -> Option<Waiting> {
        let mut active = self.open_source(input, PEEK)?;
        let first = active.load(&mut self.pool, None);
        let Some(first) = first else {
            self.retire(active);
            return None;
        };
        // A pipe gives its octets only once.
        if active.source.regular {
            return Some(Waiting { first, input, open: None });
        }
        active.select(&mut self.selection);
        Some(Waiting { first, input, open: Some(Box::new(active)) })
    }

    fn open_source(&mut self, input: u16, chunk: usize) -> Option<Active> {
        let named = self.named.get(usize::from(input))?;
        let report = self.reports.get_mut(usize::from(input))?;
        match Source::open(named, input, chunk, self.stop.as_ref()) {
            Ok(source) => Some(Active {
                input,
                source,
                chunk: None,
                frames: Vec::new(),
                next: 0,
                slot: None,
                doubled: 0,
            }),
            Err(refusal) => {
                report.state = match refusal {
                    Refusal::NotCapture(why) if named.found => InputState::Skipped(why),
                    Refusal::NotCapture(why) | Refusal::Unreadable(why) => InputState::Failed(why),
                };
                self.done = self.done.saturating_add(report.size);
                None
            }
        }
    }

    /// Lets in every waiting input that begins before the next frame.
    fn admit(&mut self) {
        while self.active.len() < MERGED_MAX {
            let head = self.active.iter().filter_map(Active::head).min();
            let Some(first) = self.waiting.front().map(|w| (w.first, w.input)) else { return };
            if head.is_some_and(|head| head < first) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else { return };
            self.start(next);
        }
    }

    fn start(&mut self, next: Waiting) {
        if let Some(report) = self.reports.get_mut(usize::from(next.input)) {
            report.state = InputState::Reading;
        }
        let active = match next.open {
            Some(active) => Some(*active),
            None => self.open_source(next.input, CHUNK),
        };
        self.active.extend(active);
        self.refill();
    }

    /// Reads on wherever all frames are handed out; what has ended leaves.
    fn refill(&mut self) {
        while let Some(at) = self.active.iter().position(|a| a.head().is_none()) {
            let Some(active) = self.active.get_mut(at) else { return };
            if active.load(&mut self.pool, Some(&mut self.selection)).is_none() {
                let active = self.active.swap_remove(at);
                self.retire(active);
            }
        }
    }

    /// Whose turn it is, and before which frame of another it ends.
    fn turn(&self) -> Option<(usize, (Timestamp, u16))> {
        let heads = self.active.iter().enumerate();
        let (turn, _) = heads.filter_map(|(i, a)| Some((i, a.head()?))).min_by_key(|(_, h)| *h)?;
        let others = self.active.iter().enumerate().filter(|(i, _)| *i != turn);
        let limit = others.filter_map(|(_, a)| a.head()).min();
        let room = !self.separate && self.active.len() < MERGED_MAX;
        let next = self.waiting.front().filter(|_| room).map(|w| (w.first, w.input));
        let limit = limit.into_iter().chain(next).min();
        Some((turn, limit.unwrap_or((Timestamp(u64::MAX), u16::MAX))))
    }

    /// Moves frames of one input up to `limit` into the block; their octets.
    fn hand_out(&mut self, turn: usize, limit: (Timestamp, u16), block: &mut Block) -> usize {
        // Another input may hold the same frames.
        let merging = self.active.len() > 1;
        let Some(active) = self.active.get_mut(turn) else { return 0 };
        let slot = match (active.slot, &active.chunk) {
            (Some(slot), _) => slot,
            (None, Some(chunk)) => {
                block.chunks.push(Chunk::Read(Arc::clone(chunk)));
                u16::try_from(block.chunks.len().saturating_sub(1)).unwrap_or(u16::MAX)
            }
            (None, None) => return 0,
        };
        active.slot = Some(slot);
        let frames = active.frames.get(active.next..).unwrap_or_default();
        let input = active.input;
        // The first always goes, whatever the limit says, so that every turn moves on.
        let ahead = |f: &&Frame| (f.now, input) < limit;
        let mut run = match frames.last() {
            Some(last) if ahead(&last) => frames.len(),
            _ => frames.iter().skip(1).take_while(ahead).count().saturating_add(1),
        };
        let taken = frames.get(..run).unwrap_or_default();
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return 0 };
        let end = last.offset.saturating_add(last.captured);
        let octets = end.saturating_sub(first.offset) as usize;
        let (first, last) = (first.now.max(self.now), last.now.max(self.now));
        if !merging && block.frames.is_empty() && active.next == 0 && run == active.frames.len() {
            // The usual case: one large file. Nothing is copied; its chunk is number 0.
            std::mem::swap(&mut block.frames, &mut active.frames);
            active.frames.clear();
        } else {
            let before = block.frames.len();
            block.frames.extend(taken.iter().map(|f| Frame { chunk: slot, ..*f }));
            active.next = active.next.saturating_add(run);
            if let (true, Some(chunk)) = (merging, &active.chunk) {
                let doubled =
                    drop_doubles(&mut self.moment, &mut block.frames, before, input, chunk);
                run = run.saturating_sub(doubled);
                active.doubled = active.doubled.saturating_add(doubled as u64);
            }
        }
        if active.head().is_none() {
            active.chunk = None;
        }
        if first == self.now {
            // An input that had to wait for its turn may lie behind.
            let from = block.frames.len().saturating_sub(run);
            for frame in block.frames.get_mut(from..).unwrap_or_default() {
                frame.now = frame.now.max(self.now);
            }
        }
        self.now = last;
        if let Some(report) = self.reports.get_mut(usize::from(input)) {
            report.first = report.first.or(Some(first));
            report.last = Some(last);
        }
        octets
    }

    /// Writes the report of an input that has ended.
    fn retire(&mut self, mut active: Active) {
        let source = &mut active.source;
        let digest = source.digest();
        let Some(report) = self.reports.get_mut(usize::from(active.input)) else { return };
        report.state = InputState::Read;
        report.digest = digest;
        report.size = report.size.max(source.bytes());
        report.frames = source.walker().frames;
        report.bytes = source.walker().wire;
        report.links.clone_from(&source.walker().links);
        report.unselected = source.unselected;
        report.doubled = active.doubled;
        report.fault = source.fault.take();
        report.backward = source.clock.backward;
        report.jumps = source.clock.confirmed;
        report.strays = source.clock.unconfirmed;
        self.done = self.done.saturating_add(report.size);
    }
}

/// Takes frames out of a block, from `before` on, that another input held; how many.
///
/// Runs of one input end where another's frame is due, so only their borders can be doubled.
fn drop_doubles(
    moment: &mut Moment,
    frames: &mut Vec<Frame>,
    before: usize,
    input: u16,
    chunk: &[u8],
) -> usize {
    let run = frames.get(before..).unwrap_or_default();
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return 0 };
    let (first, last, end) = (first.now, last.now, frames.len());
    let mut kept = before;
    for at in before..end {
        let Some(frame) = frames.get(at).copied() else { break };
        if frame.now == first || frame.now == last {
            let octets = chunk.get(frame.offset as usize..).unwrap_or_default();
            let octets = octets.get(..frame.captured as usize).unwrap_or_default();
            if moment.had(&frame, input, octets) {
                continue;
            }
        }
        if let Some(place) = frames.get_mut(kept) {
            *place = frame;
        }
        kept = kept.saturating_add(1);
    }
    frames.truncate(kept);
    end.saturating_sub(kept)
}

impl Active {
    /// Key of the next frame to hand out.
    fn head(&self) -> Option<(Timestamp, u16)> {
        self.frames.get(self.next).map(|f| (f.now, self.input))
    }

    /// Reads the next piece; the sensor time of its first frame.
    fn load(&mut self, pool: &mut Pool, selection: Option<&mut Selection>) -> Option<Timestamp> {
        self.next = 0;
        self.slot = None;
        self.chunk = self.source.piece(pool, selection, &mut self.frames);
        self.frames.first().map(|f| f.now)
    }

    /// Leaves out what is not wanted of a piece that was read without asking.
    fn select(&mut self, selection: &mut Selection) {
        let Some(chunk) = &self.chunk else { return };
        let before = self.frames.len();
        self.frames.retain(|f| selected(selection, f, chunk));
        let dropped = before.saturating_sub(self.frames.len()) as u64;
        self.source.unselected = self.source.unselected.saturating_add(dropped);
    }
}

/// `true` if a frame that lies in `chunk` is wanted.
fn selected(selection: &mut Selection, frame: &Frame, chunk: &[u8]) -> bool {
    let late = selection.until.is_some_and(|until| frame.time >= until);
    if frame.time < selection.since || late {
        return false;
    }
    let Some(filter) = &mut selection.filter else { return true };
    let start = frame.offset as usize;
    let octets = chunk.get(start..).and_then(|rest| rest.get(..frame.captured as usize));
    filter.matches(frame.link, octets.unwrap_or_default())
}

/// Octets of a regular file.
fn size(named: &Named) -> Option<u64> {
    let known = std::fs::metadata(&named.path).ok().filter(std::fs::Metadata::is_file);
    known.map(|m| m.len())
}

#[cfg(test)]
mod tests;
