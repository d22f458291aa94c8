//! Files: reader, watchers and recorder as threads of one process.
//!
//! ```text
//! reader ──blocks──▶ every watcher          (bounded: blocks go back when all are done)
//! watcher k decodes each block whose number is k modulo the watchers, stitches fragments in
//! the order of blocks, then handles its own shards of every block
//! watchers ──batches──▶ recorder (this thread), merged by order
//! ```
//!
//! Which block a frame is in, which shard a flow is in and where an observation stands in the
//! order are functions of the input. So is, therefore, everything that the recorder sees,
//! whatever the number of watchers.
//!
//! One watcher needs none of that: one thread does each block from its file to its rows while the
//! block is in the core's cache.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::observation::Batch;
use crate::watcher::capture::{Fill, InputReport, Inputs};
use crate::watcher::decode::{DecodeCounters, DecodeOptions, Decoder, Stitcher};
use crate::watcher::flow::counters::FlowCounters;
use crate::watcher::flow::{Flows, Limits, SHARDS};
use crate::watcher::packet::{Block, Decoded, Frame};

/// Watchers of one run at most: one a shard.
pub const WATCHERS_MAX: usize = SHARDS;

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Watchers, 1 to [`WATCHERS_MAX`].
    pub watchers: usize,
    /// What decoding leaves out, and the seed of flow hashes.
    pub decode: DecodeOptions,
    /// Caps of each shard.
    pub limits: Limits,
    /// Set from outside to end the run early: what is read is handled, the rest is not read.
    pub stop: Arc<AtomicBool>,
}

/// What watchers and reader counted over the whole run.
#[derive(Debug, Default)]
pub struct Totals {
    /// Flow stage.
    pub flow: FlowCounters,
    /// Most bytes that tables and streams took at once.
    pub flow_bytes_peak: usize,
    /// Blocks read.
    pub blocks: u64,
}

/// What the recorder is told, in the order of the run.
pub trait Listener {
    /// Everything all watchers have to say of one block, in order, and what decoding counted.
    fn block(&mut self, batches: &[Batch], decode: &[(u16, DecodeCounters)]);

    /// A world is over: its inputs are read and all flows have ended. `first` is the index of
    /// the first of these inputs.
    fn world(&mut self, first: usize, inputs: &[InputReport]);

    /// Something to show while waiting.
    fn progress(&mut self, read_bytes: u64, total_bytes: Option<u64>, frames: u64);
}

/// One block on its way through the watchers.
#[derive(Default)]
struct Job {
    block: Block,
    decoded: OnceLock<(Decoded, DecodeCounters)>,
    /// The decoded buffers of an earlier block, to be used again.
    spare: Mutex<Decoded>,
    /// The block ends a world: all flows end behind it.
    ends_world: bool,
    reports: (usize, Vec<InputReport>),
    read: (u64, Option<u64>),
}

/// What a watcher sends for a block.
struct Sent {
    batch: Batch,
    /// Set with the batch of a block. Behind the end of a world come the last words of each
    /// shard, in parts.
    job: Option<Arc<Job>>,
    /// These were the last of a shard.
    over: bool,
}

/// Fragments cross blocks, so they are put together in the order of blocks, whoever decodes.
#[derive(Default)]
struct InOrder {
    turn: Mutex<(u64, Stitcher)>,
    changed: Condvar,
}

impl InOrder {
    fn stitch(
        &self,
        job: &Job,
        decoder: &Decoder,
        decoded: &mut Decoded,
        counters: &mut DecodeCounters,
    ) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while turn.0 != job.block.index {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        if job.ends_world {
            turn.1.finish(decoded, decoder, counters);
        } else {
            turn.1.stitch(&job.block, decoded, decoder, counters);
        }
        turn.0 += 1;
        self.changed.notify_all();
    }
}

/// Reads all inputs, and tells `listener` what was seen.
pub fn run_offline(inputs: Inputs, options: &Options, listener: &mut dyn Listener) -> Totals {
    let watchers = options.watchers.clamp(1, WATCHERS_MAX);
    let decoder = Decoder::new(options.decode.clone());
    let mut totals = Totals::default();
    let mut reader = Reader::new(inputs, &options.stop);
    if watchers == 1 {
        alone(reader, &decoder, options, listener, &mut totals);
        return totals;
    }
    let in_order = InOrder::default();
    // Each watcher looks one round of blocks ahead; twice that keeps the reader busy as well.
    let blocks_max = 2 * watchers + 2;
    let (free_in, free_out) = bounded::<Job>(blocks_max);
    for _ in 0..blocks_max {
        let _ = free_in.send(Job::default());
    }
    thread::scope(|scope| {
        let (mut to_watchers, mut from_watchers, mut handles) = (vec![], vec![], vec![]);
        for me in 0..watchers {
            let (job_in, job_out) = bounded::<Arc<Job>>(blocks_max);
            let (sent_in, sent_out) = bounded::<Sent>(blocks_max);
            to_watchers.push(job_in);
            from_watchers.push(sent_out);
            let flows = Flows::new(me, watchers, options.limits, options.decode.hash_seed);
            let (decoder, in_order) = (&decoder, &in_order);
            handles.push(
                scope.spawn(move || {
                    watch(me, watchers, flows, decoder, in_order, &job_out, &sent_in)
                }),
            );
        }
        scope.spawn(move || {
            while let Ok(mut job) = free_out.recv()
                && reader.fill(&mut job)
                && deal(job, &to_watchers)
            {}
        });
        record(&from_watchers, &free_in, listener, &mut totals);
        for handle in handles {
            if let Ok((counters, peak)) = handle.join() {
                totals.flow.add(&counters);
                totals.flow_bytes_peak += peak;
            }
        }
    });
    totals
}

/// Fills one block after another, until a block says that the run is over.
struct Reader<'s> {
    inputs: Inputs,
    stop: &'s AtomicBool,
    last: Frame,
    index: u64,
    /// Inputs whose reports were handed on.
    told: usize,
    over: bool,
}

impl<'s> Reader<'s> {
    fn new(inputs: Inputs, stop: &'s AtomicBool) -> Self {
        Self { inputs, stop, last: Frame::default(), index: 0, told: 0, over: false }
    }

    /// Fills `job` with the next block, or with the end of a world; `false` behind the last one.
    fn fill(&mut self, job: &mut Job) -> bool {
        if self.over {
            return false;
        }
        // What a stream gave counts; it ends by itself.
        let stopped = self.stop.load(Ordering::Relaxed) && !self.inputs.streams();
        let fill = if stopped { Fill::End } else { self.inputs.fill(&mut job.block) };
        job.read = self.inputs.progress();
        job.block.index = self.index;
        self.index += 1;
        let reports = self.inputs.reports();
        let ended = match fill {
            Fill::Frames => {
                self.last = job.block.frames.last().copied().unwrap_or(self.last);
                job.ends_world = false;
                return true;
            }
            Fill::NewWorld { input } => usize::from(input),
            Fill::End => reports.len(),
        };
        self.over = fill == Fill::End;
        // The end of a world is a block of its own, with an empty frame that says the time.
        let last = self.last;
        job.block.clear();
        job.block.frames.push(Frame { captured: 0, wire: 0, time: last.now, ..last });
        job.block.now = last.now;
        job.ends_world = true;
        job.reports = (self.told, reports.get(self.told..ended).unwrap_or_default().to_vec());
        self.told = ended.max(self.told);
        true
    }
}

/// The whole run on this thread.
fn alone(
    mut reader: Reader<'_>,
    decoder: &Decoder,
    options: &Options,
    listener: &mut dyn Listener,
    totals: &mut Totals,
) {
    let mut flows = Flows::new(0, 1, options.limits, options.decode.hash_seed);
    let (mut job, mut decoded, mut stitcher) = <(Job, Decoded, Stitcher)>::default();
    let mut frames = 0;
    while reader.fill(&mut job) {
        let block = &job.block;
        let mut counters = DecodeCounters::default();
        if job.ends_world {
            stitcher.finish(&mut decoded, decoder, &mut counters);
        } else {
            decoder.block(block, &mut decoded, &mut counters);
            stitcher.stitch(block, &mut decoded, decoder, &mut counters);
        }
        let batch = flows.block(block, &decoded);
        totals.flow_bytes_peak = totals.flow_bytes_peak.max(flows.bytes());
        tell(listener, totals, &mut frames, (&job, counters), &[batch]);
        if job.ends_world {
            for shard in 0..SHARDS {
                let mut over = false;
                while !over {
                    let batch;
                    (batch, over) = flows.finish(shard, block);
                    listener.block(&[batch], &[]);
                }
            }
            listener.world(job.reports.0, &job.reports.1);
        }
        listener.progress(job.read.0, job.read.1, frames);
    }
    totals.flow.add(&flows.counters);
}

/// Tells what was seen of one block.
fn tell(
    listener: &mut dyn Listener,
    totals: &mut Totals,
    frames: &mut u64,
    (job, counters): (&Job, DecodeCounters),
    batches: &[Batch],
) {
    totals.blocks += 1;
    if !job.ends_world {
        *frames += job.block.frames.len() as u64;
    }
    let input = job.block.frames.first().map_or(0, |f| f.input);
    listener.block(batches, &[(input, counters)]);
}

/// Hands a block to every watcher; `false` if nobody is there.
fn deal(job: Job, watchers: &[Sender<Arc<Job>>]) -> bool {
    let job = Arc::new(job);
    let Some((last, others)) = watchers.split_last() else { return false };
    // The last one gets this handle itself, so that only watchers hold the block from here on
    // and the recorder, who gets theirs, can take it apart.
    others.iter().all(|w| w.send(job.clone()).is_ok()) && last.send(job).is_ok()
}

/// A watcher: decodes its blocks a round ahead, handles its shards of every block in order.
fn watch(
    me: usize,
    of: usize,
    mut flows: Flows,
    decoder: &Decoder,
    in_order: &InOrder,
    jobs: &Receiver<Arc<Job>>,
    sent: &Sender<Sent>,
) -> (FlowCounters, usize) {
    let mut queue = std::collections::VecDeque::new();
    let mut peak = 0;
    loop {
        // A round ahead, so that no watcher waits for a block that nobody decodes yet.
        while queue.len() < of {
            let Ok(job) = jobs.recv() else { break };
            if job.block.index % of as u64 == me as u64 {
                decode(&job, decoder, in_order);
            }
            queue.push_back(job);
        }
        let Some(job) = queue.pop_front() else { break };
        let (decoded, _) = job.decoded.wait();
        let batch = flows.block(&job.block, decoded);
        peak = peak.max(flows.bytes());
        // The handle goes along, so that the recorder's is the last one and the block can be used
        // again; only the end of a world is needed here for longer.
        let world = job.ends_world.then(|| job.clone());
        let mut going = sent.send(Sent { batch, job: Some(job), over: false }).is_ok();
        if let Some(job) = world {
            let mut shards = (me..SHARDS).step_by(of);
            while going && let Some(shard) = shards.next() {
                let mut over = false;
                while going && !over {
                    let batch;
                    (batch, over) = flows.finish(shard, &job.block);
                    going = sent.send(Sent { batch, job: None, over }).is_ok();
                }
            }
        }
        if !going {
            break;
        }
    }
    (flows.counters, peak)
}

fn decode(job: &Job, decoder: &Decoder, in_order: &InOrder) {
    let mut decoded =
        std::mem::take(&mut *job.spare.lock().unwrap_or_else(PoisonError::into_inner));
    let mut counters = DecodeCounters::default();
    if !job.ends_world {
        decoder.block(&job.block, &mut decoded, &mut counters);
    }
    in_order.stitch(job, decoder, &mut decoded, &mut counters);
    let _ = job.decoded.set((decoded, counters));
}

/// The recorder's side: the batches of all watchers for one block at a time.
fn record(
    watchers: &[Receiver<Sent>],
    free: &Sender<Job>,
    listener: &mut dyn Listener,
    totals: &mut Totals,
) {
    let mut frames = 0;
    loop {
        // Every watcher's handle but one is let go here, so that the job can be taken apart.
        let mut job = None;
        let batch = |watcher: &Receiver<Sent>| {
            let sent = watcher.recv().ok()?;
            job = sent.job;
            Some(sent.batch)
        };
        let Some(batches) = watchers.iter().map(batch).collect::<Option<Vec<_>>>() else { return };
        let Some(job) = job else { return };
        let counters = job.decoded.get().map(|(_, c)| c.clone()).unwrap_or_default();
        tell(listener, totals, &mut frames, (&job, counters), &batches);
        if job.ends_world {
            for watcher in watchers.iter().cycle().take(SHARDS) {
                let mut over = false;
                while !over {
                    let Ok(sent) = watcher.recv() else { return };
                    listener.block(&[sent.batch], &[]);
                    over = sent.over;
                }
            }
            listener.world(job.reports.0, &job.reports.1);
        }
        listener.progress(job.read.0, job.read.1, frames);
        // Behind the end of a world a watcher may hold its handle for a moment longer. The block
        // then goes with it, and a new one takes its place: the reader must not run out of them.
        let next = Arc::into_inner(job).map_or_else(Job::default, |job| {
            let spare = job.decoded.into_inner().map(|(d, _)| d).unwrap_or_default();
            Job { block: job.block, spare: Mutex::new(spare), ..Job::default() }
        });
        let _ = free.try_send(next);
    }
}
