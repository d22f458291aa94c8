//! Sensor time: the frames' time, made monotonic and safe from a few wrong stamps.
//!
//! In: the frames of one source, in order. Out: [`Frame::now`] of each.
//! Never: goes back, reads a clock, or jumps on the word of one frame.
//! Limits: [`STEP_MAX_S`] a frame unless [`WITNESSES`] later frames lie beyond it too.

use crate::types::Timestamp;
use crate::watcher::packet::Frame;

/// Furthest that one frame may move sensor time; within it, a wrong stamp does little harm to
/// timeouts that are counted in minutes.
pub const STEP_MAX_S: u64 = 300;

/// Later frames that must all lie beyond a jump to confirm it. Wrong stamps come alone or in
/// short bursts; a real pause is followed by everything that comes after.
pub const WITNESSES: usize = 8;

const STEP_MAX: u64 = STEP_MAX_S * Timestamp::SECOND;

/// Sensor time of one source.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    now: Option<Timestamp>,
    /// Frames whose time lies before sensor time.
    pub backward: u64,
    /// Jumps beyond the limit that later frames confirmed.
    pub confirmed: u64,
    /// Frames beyond the limit that nothing confirmed; they did not move sensor time.
    pub unconfirmed: u64,
}

impl Clock {
    /// Stamps frames that follow one another. `last` says that no more come, so that the few
    /// frames left suffice as witnesses; otherwise a jump at the very end waits for the next call.
    pub fn stamp(&mut self, frames: &mut [Frame], last: bool) {
        let mut rest = frames;
        let Some(mut now) = self.now.or_else(|| start(rest)) else { return };
        while let [frame, after @ ..] = rest {
            let ahead = frame.time.since(now);
            if frame.time < now {
                self.backward = self.backward.saturating_add(1);
            } else if ahead <= STEP_MAX {
                now = frame.time;
            } else if let Some(floor) = confirm(frame.time, after, last)
                && floor.since(now) > STEP_MAX
            {
                now = floor;
                self.confirmed = self.confirmed.saturating_add(1);
            } else {
                self.unconfirmed = self.unconfirmed.saturating_add(1);
            }
            frame.now = now;
            rest = after;
        }
        self.now = Some(now);
    }
}

/// The earliest time among a frame and its witnesses, if there are enough.
fn confirm(time: Timestamp, after: &[Frame], last: bool) -> Option<Timestamp> {
    let enough = after.len() >= WITNESSES || (last && !after.is_empty());
    enough.then(|| after.iter().take(WITNESSES).map(|f| f.time).fold(time, Timestamp::min))
}

/// Where time starts: at the first frame that does not lie ahead of most of its witnesses, for
/// a first stamp far in the future would make time stand still.
fn start(frames: &[Frame]) -> Option<Timestamp> {
    let first = frames.first()?.time;
    let mut rest = frames.get(..WITNESSES.saturating_add(1)).unwrap_or(frames);
    while let [frame, after @ ..] = rest {
        let before = after.iter().filter(|f| f.time < frame.time).count();
        if before <= after.len().div_euclid(2) {
            return Some(frame.time);
        }
        rest = after;
    }
    Some(first)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]
mod tests {
    use super::*;

    /// Name, seconds, sensor time at the end, and the three counts.
    type Case = (&'static str, Vec<i64>, i64, [u64; 3]);

    const DAY: i64 = 86_400;
    const YEAR: i64 = 365 * DAY;
    /// 2023-11-14.
    const START: i64 = 1_700_000_000;

    /// Stamps frames at these seconds after the start, in blocks of `block`; gives seconds after
    /// the start, and the counts of backward steps, confirmed and unconfirmed jumps.
    fn run(seconds: &[i64], block: usize) -> (Vec<i64>, [u64; 3]) {
        let stamp = |s: i64| {
            let s = u64::try_from((START + s).max(0)).expect("positive");
            Frame { time: Timestamp(s * Timestamp::SECOND), ..Frame::default() }
        };
        let mut frames: Vec<_> = seconds.iter().map(|&s| stamp(s)).collect();
        let mut clock = Clock::default();
        let blocks = frames.len().div_ceil(block);
        for (n, block) in frames.chunks_mut(block).enumerate() {
            clock.stamp(block, n + 1 == blocks);
        }
        let seconds = |f: &Frame| i64::try_from(f.now.seconds()).expect("fits") - START;
        let now: Vec<_> = frames.iter().map(seconds).collect();
        assert!(now.is_sorted(), "time went back: {now:?}");
        (now, [clock.backward, clock.confirmed, clock.unconfirmed])
    }

    #[test]
    fn time_never_goes_back_and_jumps_only_when_confirmed() {
        let steady = |from: i64, n: i64| (0..n).map(move |i| from + i);
        let with = |at: usize, stray: i64| {
            let mut times: Vec<_> = steady(0, 20).collect();
            times[at] = stray;
            times
        };
        let y2106 = i64::from(u32::MAX) - START;
        let cases: [Case; 12] = [
            ("steady", steady(0, 20).collect(), 19, [0, 0, 0]),
            ("one frame in 2106", with(5, y2106), 19, [0, 0, 1]),
            ("the first frame in 2106", with(0, y2106), 19, [0, 0, 1]),
            ("the last frame in 2106", with(19, y2106), 18, [0, 0, 1]),
            ("one frame at the epoch", with(5, -START), 19, [1, 0, 0]),
            ("the first frame at the epoch", with(0, -START), 19, [0, 1, 0]),
            ("one frame 30 days back", with(5, -30 * DAY), 19, [1, 0, 0]),
            (
                "30 days back for good",
                steady(0, 10).chain(steady(-30 * DAY, 10)).collect(),
                9,
                [10, 0, 0],
            ),
            (
                "80 years ahead for good",
                steady(0, 10).chain(steady(80 * YEAR, 10)).collect(),
                80 * YEAR + 9,
                [0, 1, 0],
            ),
            (
                "a pause, after a stray",
                steady(0, 10).chain([y2106]).chain(steady(3600, 10)).collect(),
                3609,
                [0, 1, 0],
            ),
            (
                "every frame an hour later",
                (0..20).map(|i| i * 3600).collect(),
                18 * 3600,
                [0, 18, 1],
            ),
            ("just within the step", vec![0, 300, 600], 600, [0, 0, 0]),
        ];
        for (name, times, end, counts) in cases {
            let (now, counted) = run(&times, usize::MAX >> 1);
            assert_eq!((now.last().copied(), counted), (Some(end), counts), "{name}: {now:?}");
        }
    }

    #[test]
    fn a_jump_at_the_end_of_a_block_waits_for_the_next_one() {
        let times: Vec<_> = (0..10).chain((0..20).map(|i| 3600 + i)).collect();
        let (now, counts) = run(&times, 12);
        assert_eq!((now[11], now[12]), (9, 3602));
        assert_eq!(counts, [0, 1, 2]);
    }
}
