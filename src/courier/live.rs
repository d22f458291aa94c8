//! Views of a running sensor: snapshots for whoever attaches.
//!
//! In: snapshots of the recorder, a socket. Out: each snapshot as a line to every view; how many
//! there are. Never: holds the recorder up.
//! Limits: [`VIEWS_MAX`] views; one that does not read is dropped after [`VIEW_PATIENCE`].

use std::io;
use std::os::unix::net::UnixListener as Listening;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

/// Views at once.
pub const VIEWS_MAX: usize = 16;

/// How long a view may not read.
pub const VIEW_PATIENCE: Duration = Duration::from_secs(10);

/// Serves views until the recorder hangs up; `count` hears how many there are.
///
/// # Errors
/// If the system gives no event queue, or the socket is none.
pub fn show(
    views: Listening,
    snapshots: watch::Receiver<String>,
    count: impl Fn(usize) + Clone + Send + 'static,
) -> io::Result<()> {
    let runtime = super::runtime()?;
    let mut over = snapshots.clone();
    runtime.block_on(async {
        let hung_up = async { while over.changed().await.is_ok() {} };
        tokio::select! {
            outcome = serve(views, snapshots, count) => outcome,
            () = hung_up => Ok(()),
        }
    })
}

async fn serve(
    views: Listening,
    snapshots: watch::Receiver<String>,
    count: impl Fn(usize) + Clone + Send + 'static,
) -> io::Result<()> {
    views.set_nonblocking(true)?;
    let views = UnixListener::from_std(views)?;
    let room = Arc::new(Semaphore::new(VIEWS_MAX));
    loop {
        let (view, _) = views.accept().await?;
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (snapshots, count, room) = (snapshots.clone(), count.clone(), Arc::clone(&room));
        let looking = move || VIEWS_MAX.saturating_sub(room.available_permits());
        count(looking());
        tokio::spawn(async move {
            let _ = feed(view, snapshots).await;
            drop(place);
            count(looking());
        });
    }
}

async fn feed(mut view: UnixStream, mut snapshots: watch::Receiver<String>) -> io::Result<()> {
    loop {
        let mut line = snapshots.borrow_and_update().clone();
        if !line.is_empty() {
            line.push('\n');
            tokio::time::timeout(VIEW_PATIENCE, view.write_all(line.as_bytes())).await??;
        }
        if snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}
