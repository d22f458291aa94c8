//! Alerts, heartbeats and views of a live sensor: the only async runtime.
//!
//! In: [`Task`]s of the recorder. Out: lines to the sink, snapshots to whoever attached; how far
//! the sink has read goes back to the recorder. Never: holds the recorder up, sees a packet.
//! Limits: [`TASKS_MAX`] tasks wait; [`VIEWS_MAX`] views; a view that does not read is dropped
//! after [`VIEW_PATIENCE`].

use std::io;
use std::os::unix::net::UnixListener as Listening;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Sink, SinkError};
use crate::recorder::store::OutboxRow;

/// Tasks that wait; a sink that stands longer than this holds back alerts in the outbox, where
/// they are safe.
pub const TASKS_MAX: usize = 64;

/// Views at once.
pub const VIEWS_MAX: usize = 16;

/// How long a view may not read.
pub const VIEW_PATIENCE: Duration = Duration::from_secs(10);

/// What the recorder asks for.
#[derive(Debug)]
pub enum Task {
    /// Alerts of the outbox, in order.
    Alerts(Vec<OutboxRow>),
    /// A line that is worth nothing later: a sign of life.
    Heartbeat(String),
    /// What views show from now on.
    Snapshot(String),
}

/// What comes back.
#[derive(Debug)]
pub enum Done {
    /// The sink has everything up to this.
    Delivered(u64),
    /// It did not take a batch; it comes again from the outbox.
    Failed(SinkError),
    /// Somebody looks, or nobody does any more.
    Views(usize),
}

/// Works until the recorder hangs up; everything handed in before is delivered.
///
/// # Errors
/// If there can be no runtime.
pub fn run(
    sink: Option<Box<dyn Sink + Send>>,
    views: Option<Listening>,
    tasks: mpsc::Receiver<Task>,
    done: impl Fn(Done) + Clone + Send + Sync + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(deliver(sink, views, tasks, done));
    // A sink that hangs in a write must not keep the sensor from ending.
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

async fn deliver(
    sink: Option<Box<dyn Sink + Send>>,
    views: Option<Listening>,
    mut tasks: mpsc::Receiver<Task>,
    done: impl Fn(Done) + Clone + Send + Sync + 'static,
) {
    let sink = Arc::new(Mutex::new(sink));
    let (show, shown) = watch::channel(String::new());
    if let Some(views) = views {
        let done = done.clone();
        tokio::spawn(async move {
            let _ = serve(views, shown, done).await;
        });
    }
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Alerts(batch) => {
                let last = batch.last().map_or(0, |r| r.seq);
                match write(&sink, batch).await {
                    Ok(()) => done(Done::Delivered(last)),
                    Err(error) => done(Done::Failed(error)),
                }
            }
            Task::Heartbeat(payload) => {
                let row = OutboxRow {
                    seq: 0,
                    event_id: String::new(),
                    time: crate::types::Timestamp::default(),
                    severity: 0,
                    payload,
                };
                // A lost heartbeat is noticed by its number; that is what it is for.
                let _ = write(&sink, vec![row]).await;
            }
            Task::Snapshot(line) => {
                let _ = show.send(line);
            }
        }
    }
}

/// Writes beside the runtime, so that views go on while a sink stands.
async fn write(
    sink: &Arc<Mutex<Option<Box<dyn Sink + Send>>>>,
    batch: Vec<OutboxRow>,
) -> Result<(), SinkError> {
    let sink = Arc::clone(sink);
    let written = tokio::task::spawn_blocking(move || {
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.as_mut().map_or(Ok(()), |sink| sink.deliver(&batch))
    });
    let lost = |e| SinkError { sink: "sink".to_owned(), source: io::Error::other(e) };
    written.await.map_err(lost)?
}

async fn serve(
    views: Listening,
    shown: watch::Receiver<String>,
    done: impl Fn(Done) + Clone + Send + Sync + 'static,
) -> io::Result<()> {
    views.set_nonblocking(true)?;
    let views = UnixListener::from_std(views)?;
    let room = Arc::new(Semaphore::new(VIEWS_MAX));
    loop {
        let (view, _) = views.accept().await?;
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (shown, done, room) = (shown.clone(), done.clone(), Arc::clone(&room));
        done(Done::Views(VIEWS_MAX.saturating_sub(room.available_permits())));
        tokio::spawn(async move {
            let _ = show(view, shown).await;
            drop(place);
            done(Done::Views(VIEWS_MAX.saturating_sub(room.available_permits())));
        });
    }
}

async fn show(mut view: UnixStream, mut shown: watch::Receiver<String>) -> io::Result<()> {
    loop {
        let mut line = shown.borrow_and_update().clone();
        if !line.is_empty() {
            line.push('\n');
            tokio::time::timeout(VIEW_PATIENCE, view.write_all(line.as_bytes())).await??;
        }
        if shown.changed().await.is_err() {
            return Ok(());
        }
    }
}
