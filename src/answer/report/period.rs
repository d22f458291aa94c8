//! The time that a report is about, and how much of it was captured.

use super::Options;
use super::model::{Figure, Period};
use crate::answer::terminal::time;
use crate::recorder::alert::rfc3339;
use crate::recorder::store::Scope;
use crate::recorder::store::rows::InputRow;
use crate::types::Timestamp;

/// Days of a report where nobody says otherwise: the month that leadership meets about.
pub const PERIOD_DAYS: u64 = 30;

/// Nanoseconds of an hour.
pub(super) const HOUR: u64 = 3_600 * Timestamp::SECOND;

/// First and last hour, both included.
#[derive(Clone, Copy)]
pub(super) struct Hours {
    pub(super) from: u64,
    pub(super) until: u64,
}

pub(super) fn period(options: &Options<'_>, first: Timestamp, last: Timestamp) -> Hours {
    let hour = |t: Timestamp| t.0 / HOUR;
    let until = options.until.map_or(hour(last), hour);
    let whole_days = (until / 24).saturating_add(1).saturating_sub(PERIOD_DAYS).saturating_mul(24);
    let from = options.since.map_or_else(|| hour(first).max(whole_days), hour);
    Hours { from: from.min(until), until }
}

impl Hours {
    pub(super) fn scope(self) -> Scope {
        Scope {
            inputs: None,
            since: Some(Timestamp(self.from.saturating_mul(HOUR))),
            until: Some(Timestamp(
                self.until.saturating_add(1).saturating_mul(HOUR).saturating_sub(1),
            )),
        }
    }
}

/// Hours in which something was captured: first and last of each stretch, without overlap.
pub(super) fn captured(inputs: &[InputRow]) -> Vec<Hours> {
    let mut spans: Vec<Hours> = inputs
        .iter()
        .filter(|i| i.frames > 0)
        .map(|i| Hours { from: i.first_time.0 / HOUR, until: i.last_time.0 / HOUR })
        .collect();
    spans.sort_by_key(|s| (s.from, s.until));
    let mut merged: Vec<Hours> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.until.saturating_add(1) => {
                last.until = last.until.max(span.until);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Hours of `captured` in `hours`.
pub(super) fn overlap(captured: &[Hours], hours: Hours) -> u64 {
    let part = |s: &Hours| {
        let (from, until) = (s.from.max(hours.from), s.until.min(hours.until));
        if from > until { 0 } else { until.saturating_sub(from).saturating_add(1) }
    };
    captured.iter().map(part).fold(0, u64::saturating_add)
}

pub(super) fn period_of(
    hours: Hours,
    captured: &[Hours],
    first: Timestamp,
    last: Timestamp,
) -> Period {
    let from = Timestamp(hours.from.saturating_mul(HOUR));
    let until = Timestamp(
        hours.until.saturating_add(1).saturating_mul(HOUR).saturating_sub(Timestamp::SECOND),
    );
    let length = hours.until.saturating_sub(hours.from).saturating_add(1);
    let day = |t| time(t, "%Y-%m-%d");
    let text = if length >= 48 {
        format!("{} to {}", day(from), day(until))
    } else {
        let (from, end) = (from.max(first), until.min(last));
        let pattern = if day(from) == day(end) { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        format!("{} to {} UTC", time(from, "%Y-%m-%d %H:%M"), time(end, pattern))
    };
    Period {
        from: rfc3339(from),
        until: rfc3339(until),
        text,
        captured_hours: Figure::new(overlap(captured, hours), length, "hours of the period"),
    }
}
