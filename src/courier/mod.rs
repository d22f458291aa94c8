//! Carries alerts from the outbox to sinks.
//!
//! In: the outbox, in order; `[sinks.NAME]` of the configuration. Out: each alert to each sink at
//! least once, in that order. Never: sees a packet; goes on past an alert that a sink did not take,
//! unless the sink says that it never will; lets one sink wait for another.
//! Limits: [`BATCH_MAX`], [`PAUSE_MIN`], [`PAUSE_MAX`].

pub mod live;
pub mod receivers;
pub mod settings;
pub mod shape;
pub mod sinks;

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::recorder::store::{self, Outbox, OutboxRow};

/// Alerts handed to a sink at a time: what is held in memory, and at most what is sent twice
/// if the machine stops between a delivery and its note.
pub const BATCH_MAX: usize = 256;

/// First pause after a failure; each further one is twice as long.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause: a receiver that comes back is served within five minutes.
pub const PAUSE_MAX: Duration = Duration::from_mins(5);

/// How often a running courier looks for new alerts. A commit and this make up most of the time
/// from packet to alert, so it is short; one look costs a few microseconds.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a delivery comes to.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), Undelivered>> + 'a>>;

/// Somebody who takes alerts.
pub trait Sink {
    /// Name under which the store notes how far this sink has read; the same in every run.
    fn name(&self) -> &str;

    /// `true` if this sink wants the alert at all.
    fn wants(&self, _row: &OutboxRow) -> bool {
        true
    }

    /// Pause between two deliveries, for sinks that gather.
    fn gathers(&self) -> Option<Duration> {
        None
    }

    /// Takes a batch: once it is done, the alerts are safe with the receiver. A batch that failed
    /// comes again, so a receiver may see an event id twice.
    fn deliver<'a>(&'a mut self, batch: &'a [OutboxRow]) -> Delivering<'a>;
}

/// A sink did not take a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Alerts of the batch, from its start, that it did take.
    pub taken: usize,
    /// It will never take the next one, so there is no use in trying again.
    pub refused: bool,
    /// What it said.
    pub why: String,
    /// How long it asked to be left alone.
    pub pause: Option<Duration>,
}

impl Undelivered {
    /// It may take the rest later.
    pub fn later(taken: usize, why: impl Into<String>) -> Self {
        Self { taken, refused: false, why: why.into(), pause: None }
    }

    /// It will never take the one behind the first `taken`.
    pub fn refused(taken: usize, why: impl Into<String>) -> Self {
        Self { taken, refused: true, why: why.into(), pause: None }
    }
}

/// Why draining stopped before the end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sink.
    #[error("alerts to {sink}: {why}")]
    Sink {
        /// Its name.
        sink: String,
        /// What it said.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The runtime for network sinks.
    #[error("no runtime for sinks: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Carries everything that a sink has not had yet; returns how many alerts it took.
///
/// # Errors
/// If the sink or the store fails; what was noted as delivered stays so, the rest comes again.
pub fn drain(outbox: &Outbox<'_>, sink: &mut dyn Sink) -> Result<u64, Error> {
    runtime()?.block_on(async {
        let mut delivered = 0_u64;
        loop {
            match turn(outbox, sink).await? {
                Turn::Nothing => return Ok(delivered),
                Turn::Taken(n) => delivered = delivered.saturating_add(n),
                Turn::Failed { why, .. } => {
                    return Err(Error::Sink { sink: sink.name().to_owned(), why });
                }
            }
        }
    })
}

/// Hands a sink once more what it refused; returns how many alerts it took this time.
///
/// # Errors
/// If the sink refuses again or the store fails; what it took stays noted.
pub fn retry(outbox: &Outbox<'_>, sink: &mut dyn Sink) -> Result<u64, Error> {
    let name = sink.name().to_owned();
    let runtime = runtime()?;
    let mut taken = 0_u64;
    for row in outbox.buried(&name)? {
        let outcome = runtime.block_on(sink.deliver(std::slice::from_ref(&row)));
        outcome.map_err(|e| Error::Sink { sink: name.clone(), why: e.why })?;
        outbox.unbury(&name, row.seq)?;
        taken = taken.saturating_add(1);
    }
    Ok(taken)
}

/// Serves a sink until `stop` says so and it has everything, or fails once more after that.
///
/// # Errors
/// If the store fails.
pub async fn serve(
    outbox: &Outbox<'_>,
    sink: &mut dyn Sink,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut pause = PAUSE_MIN;
    loop {
        let stopping = *stop.borrow();
        let wait = match turn(outbox, sink).await? {
            Turn::Nothing | Turn::Failed { .. } if stopping => return Ok(()),
            Turn::Nothing => LOOK_EVERY,
            Turn::Taken(_) => {
                pause = PAUSE_MIN;
                sink.gathers().unwrap_or_default()
            }
            Turn::Failed { asked, .. } => {
                let wait = asked.unwrap_or(pause).min(PAUSE_MAX);
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
                jittered(wait)
            }
        };
        if !stopping && !wait.is_zero() {
            let _ = tokio::time::timeout(wait, stop.wait_for(|s| *s)).await;
        }
    }
}

/// A runtime on this thread alone: sinks wait for the network, nothing else.
///
/// # Errors
/// If the system gives no event queue.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

enum Turn {
    Nothing,
    Taken(u64),
    Failed { why: String, asked: Option<Duration> },
}

/// One batch: handed over, and what became of it noted.
async fn turn(outbox: &Outbox<'_>, sink: &mut dyn Sink) -> Result<Turn, Error> {
    let name = sink.name().to_owned();
    let seen = outbox.after(outbox.cursor(&name)?, BATCH_MAX)?;
    let Some(last) = seen.last().map(|row| row.seq) else { return Ok(Turn::Nothing) };
    let batch: Vec<OutboxRow> = seen.into_iter().filter(|row| sink.wants(row)).collect();
    let whole = batch.len() as u64;
    let outcome = if batch.is_empty() { Ok(()) } else { sink.deliver(&batch).await };
    let Err(missed) = outcome else {
        outbox.delivered(&name, last, whole)?;
        return Ok(Turn::Taken(whole));
    };
    if let Some(row) = missed.taken.checked_sub(1).and_then(|at| batch.get(at)) {
        outbox.delivered(&name, row.seq, missed.taken as u64)?;
    }
    match batch.get(missed.taken) {
        Some(row) if missed.refused => {
            outbox.bury(&name, row, &missed.why)?;
            Ok(Turn::Taken(missed.taken as u64))
        }
        _ => {
            outbox.failed(&name, &missed.why)?;
            Ok(Turn::Failed { why: missed.why, asked: missed.pause })
        }
    }
}

/// Between half and the whole of a pause, so that many couriers do not come back together.
fn jittered(pause: Duration) -> Duration {
    // The standard library seeds each of these anew from the system.
    let random = RandomState::new().build_hasher().finish() % 1_000;
    let part = u32::try_from(random).unwrap_or(0).saturating_add(1_000);
    pause.saturating_mul(part) / 2_000
}
