//! The rings of one worker: blocks of frames as they arrive, and the passing of time when none do.
//!
//! In: rings, one an interface. Out: [`Block`]s that lend the kernel's memory, and [`PortCounts`].
//! Never: copies a frame; lets time stand still because a mirror is silent.
//! Limits: [`PORTS_MAX`] interfaces.
//!
//! This is the only place where a live watcher hears what time it is.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::time::{ClockId, clock_gettime};

use super::clock::Clock;
use super::filter::Filter;
use super::ring::{Lent, Ring};
use crate::types::Timestamp;
use crate::watcher::packet::{Block, Chunk, Frame};

/// Interfaces of one sensor: a blade full of taps.
pub const PORTS_MAX: usize = 64;

/// How far the time of a silent port lags behind the clock: frames may wait that long in a block
/// that the kernel has not handed over yet.
const LAG: Duration = Duration::from_millis(200);

/// Part of a ring that may wait before the worker counts as overloaded, and below which it has
/// caught up: early enough to shed by rule before the kernel drops at random.
const BEHIND: usize = 2;
const CAUGHT_UP: usize = 8;

/// What one port counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortCounts {
    /// Frames that were read.
    pub frames: u64,
    /// Octets of them on the wire.
    pub bytes: u64,
    /// Frames that the filter did not select, where it is not the kernel that filters.
    pub unselected: u64,
    /// Frames for which the ring had no room.
    pub dropped: u64,
    /// Frames of a block that a worker before us did not finish.
    pub abandoned: u64,
}

struct Port {
    input: u16,
    link: u16,
    ring: Option<Ring>,
    filter: Option<Filter>,
    counts: PortCounts,
}

/// What [`LiveSource::fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Frames.
    Frames,
    /// None; the block says what time it is.
    Nothing,
}

/// The rings of one worker.
#[derive(Default)]
pub struct LiveSource {
    ports: Vec<Port>,
    clock: Clock,
    now: Timestamp,
    blocks: u64,
    /// Whose turn it is, so that a busy port does not starve the others.
    turn: usize,
    overloaded: bool,
}

impl LiveSource {
    /// Adds a port, or gives one a new ring after its interface came back.
    pub fn port(
        &mut self,
        input: u16,
        link: u16,
        mut ring: Ring,
        filter: Option<Filter>,
        restarted: bool,
    ) {
        let abandoned = if restarted { ring.skip() } else { 0 };
        let room = self.ports.len() < PORTS_MAX;
        match self.ports.iter_mut().find(|p| p.input == input) {
            Some(port) => {
                port.settle();
                port.ring = Some(ring);
                port.filter = filter;
                port.counts.abandoned = port.counts.abandoned.saturating_add(abandoned);
            }
            None if room => self.ports.push(Port {
                input,
                link,
                ring: Some(ring),
                filter,
                counts: PortCounts { abandoned, ..PortCounts::default() },
            }),
            None => {}
        }
    }

    /// Fills the block with what has arrived, waiting at most `wait`.
    pub fn fill(&mut self, block: &mut Block, wait: Duration) -> Arrived {
        // What was lent goes back to the kernel here.
        block.clear();
        block.index = self.blocks;
        self.blocks = self.blocks.saturating_add(1);
        if !self.ports.iter().any(Port::ready) {
            self.wait(wait);
        }
        let ports = self.ports.len();
        for step in 0..ports {
            let Some(at) = self.turn.wrapping_add(step).checked_rem(ports) else { break };
            let chunk = u16::try_from(block.chunks.len()).unwrap_or(u16::MAX);
            let Some(port) = self.ports.get_mut(at) else { continue };
            if let Some(lent) = port.take(chunk, &mut block.frames) {
                block.chunks.push(Chunk::Lent(Box::new(lent)));
                // One ring at a time, so that a block is of one input.
                break;
            }
        }
        self.turn = self.turn.wrapping_add(1);
        self.clock.stamp(&mut block.frames, true);
        let wall = wall().0.saturating_sub(u64::try_from(LAG.as_nanos()).unwrap_or(0));
        let last = block.frames.last().map_or(Timestamp(wall), |f| f.now);
        self.now = self.now.max(last);
        // Time of a silent port may be ahead of a frame that took long; it never goes back.
        for frame in &mut block.frames {
            if frame.now > self.now {
                frame.now = self.now;
            }
        }
        block.now = self.now;
        if block.frames.is_empty() { Arrived::Nothing } else { Arrived::Frames }
    }

    fn wait(&mut self, wait: Duration) {
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let rings = self.ports.iter().filter_map(|p| p.ring.as_ref());
        let mut fds: Vec<PollFd<'_>> =
            rings.map(|r| PollFd::from_borrowed_fd(r.as_fd(), PollFlags::IN)).collect();
        let _ = poll(&mut fds, Some(&limit));
        for fd in fds.iter().filter(|f| f.revents().contains(PollFlags::ERR)) {
            // The interface went down. Reading the error clears it, so that the next wait waits;
            // the ring goes on by itself when the interface is up again.
            let _ = rustix::net::recv(fd.as_fd(), &mut [0_u8; 1], RecvFlags::DONTWAIT);
        }
    }

    /// Frames wait in such numbers that some must be shed; holds until nearly all are read.
    pub fn overloaded(&mut self) -> bool {
        let parts = if self.overloaded { CAUGHT_UP } else { BEHIND };
        self.overloaded =
            self.ports.iter().filter_map(|p| p.ring.as_ref()).any(|r| r.behind(parts));
        self.overloaded
    }

    /// Frames wait to be read.
    pub fn ready(&self) -> bool {
        self.ports.iter().any(Port::ready)
    }

    /// What each port counted.
    pub fn counts(&mut self) -> Vec<(u16, PortCounts)> {
        self.ports
            .iter_mut()
            .map(|p| {
                p.settle();
                (p.input, p.counts)
            })
            .collect()
    }
}

impl Port {
    fn ready(&self) -> bool {
        self.ring.as_ref().is_some_and(Ring::ready)
    }

    fn take(&mut self, chunk: u16, frames: &mut Vec<Frame>) -> Option<Lent> {
        let from = frames.len();
        let lent = self.ring.as_mut()?.take((self.input, self.link), chunk, frames)?;
        let mut number = self.counts.frames;
        let mut bytes = 0_u64;
        for frame in frames.get_mut(from..).unwrap_or_default() {
            number = number.saturating_add(1);
            frame.number = number;
            bytes = bytes.saturating_add(u64::from(frame.wire));
        }
        self.counts.frames = number;
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        if let Some(filter) = &mut self.filter {
            let octets = lent.as_ref();
            let before = frames.len();
            let mut at = 0_usize;
            frames.retain(|f| {
                at = at.saturating_add(1);
                let start = f.offset as usize;
                let bytes = octets.get(start..).and_then(|o| o.get(..f.captured as usize));
                at <= from || filter.matches(f.link, bytes.unwrap_or_default())
            });
            let left_out = before.saturating_sub(frames.len()) as u64;
            self.counts.unselected = self.counts.unselected.saturating_add(left_out);
        }
        Some(lent)
    }

    /// Takes over what the kernel counted; asking sets its own count to nothing.
    fn settle(&mut self) {
        if let Some(ring) = &self.ring {
            self.counts.dropped = self.counts.dropped.saturating_add(ring.counts().dropped);
        }
    }
}

/// Now, by the clock that stamps frames.
pub fn wall() -> Timestamp {
    let now = clock_gettime(ClockId::Realtime);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    let seconds = part(now.tv_sec).saturating_mul(Timestamp::SECOND);
    Timestamp(seconds.saturating_add(part(now.tv_nsec)))
}
