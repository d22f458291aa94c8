//! Carries alerts from the outbox to sinks.
//!
//! In: the outbox, in order. Out: each alert to each sink at least once, in that order.
//! Never: sees a packet; goes on past a batch that a sink did not take.
//! Limits: [`BATCH_MAX`].

pub mod live;
pub mod sinks;

use crate::recorder::store::{self, OutboxRow, Store};

/// Alerts handed to a sink at a time: what is held in memory, and at most what is sent twice
/// if the machine stops between a delivery and its note.
pub const BATCH_MAX: usize = 256;

/// Somebody who takes alerts.
pub trait Sink {
    /// Name under which the store notes how far this sink has read; the same in every run.
    fn name(&self) -> &str;

    /// Takes a batch: once this returns, the alerts are safe with the receiver. A batch that
    /// failed comes again, so a receiver may see an event id twice.
    ///
    /// # Errors
    /// If the receiver did not take all of it.
    fn deliver(&mut self, batch: &[OutboxRow]) -> Result<(), SinkError>;
}

/// A sink did not take a batch.
#[derive(Debug, thiserror::Error)]
#[error("alerts to {sink}: {source}")]
pub struct SinkError {
    /// Name of the sink.
    pub sink: String,
    /// What went wrong.
    pub source: std::io::Error,
}

/// Why draining stopped before the end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Carries everything that a sink has not had yet; returns how many alerts that were.
///
/// # Errors
/// If the sink or the store fails; what was noted as delivered stays so, the rest comes again.
pub fn drain(store: &Store, sink: &mut dyn Sink) -> Result<u64, Error> {
    let mut delivered = 0_u64;
    let mut seq = store.cursor(sink.name())?;
    loop {
        let batch = store.outbox_after(seq, BATCH_MAX)?;
        let Some(last) = batch.last() else { return Ok(delivered) };
        sink.deliver(&batch)?;
        seq = last.seq;
        store.set_cursor(sink.name(), seq)?;
        delivered = delivered.saturating_add(batch.len() as u64);
    }
}
