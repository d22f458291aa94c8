//! What the flow stage counts about itself, by name.

use std::collections::BTreeMap;

use super::work::{Outcome, Work};
use crate::watcher::wire::{ParseError, Why};

/// Counts of one watcher; those of all watchers add up.
#[derive(Clone, Debug, Default)]
pub struct FlowCounters {
    /// Flows begun.
    pub flows: u64,
    /// Flows ended early because a table was at its cap.
    pub flows_evicted: u64,
    /// Flows not read because too many were being read.
    pub cold_full: u64,
    /// Oddities by name; names are ours and few.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// Errors by protocol, field and kind.
    pub parse_errors: BTreeMap<(&'static str, &'static str, Why), u64>,
    /// Caps met while reading, by name.
    pub caps: BTreeMap<&'static str, u64>,
    /// TCP segments whose bytes had all come before, since the last batch: sent again, or mirrored
    /// twice.
    pub repeated: u64,
    /// What the coverage ledger is told with the next batch.
    told_next: BTreeMap<&'static str, u64>,
}

fn increment<K: Ord>(map: &mut BTreeMap<K, u64>, key: K) {
    let count = map.entry(key).or_default();
    *count = count.saturating_add(1);
}

impl FlowCounters {
    /// Counts an oddity.
    pub fn anomaly(&mut self, what: &'static str) {
        increment(&mut self.anomalies, what);
        self.cover(what);
    }

    /// Counts in the coverage ledger.
    pub fn cover(&mut self, what: &'static str) {
        increment(&mut self.told_next, what);
    }

    /// What the ledger has not been told yet.
    pub fn news(&mut self) -> Vec<(&'static str, u64)> {
        let repeated = std::mem::take(&mut self.repeated);
        if repeated > 0 {
            self.told_next.insert("segments_repeated", repeated);
        }
        std::mem::take(&mut self.told_next).into_iter().collect()
    }

    /// Counts bytes that broke a protocol's rules, or a limit of ours.
    pub fn parse_error(&mut self, protocol: &'static str, error: ParseError) {
        increment(&mut self.parse_errors, (protocol, error.field, error.why));
    }

    /// Counts why reading a flow ended.
    pub fn ended(&mut self, work: &Work, outcome: Outcome) {
        match outcome {
            Outcome::Going | Outcome::Done => {}
            Outcome::NotThis(error) => self.parse_error(work.parser.name(), error),
            Outcome::Cap(cap) => {
                increment(&mut self.caps, cap);
                self.cover(ledger_name(cap));
            }
        }
    }

    /// Adds the counts of another watcher.
    pub fn add(&mut self, other: &FlowCounters) {
        self.flows = self.flows.saturating_add(other.flows);
        self.flows_evicted = self.flows_evicted.saturating_add(other.flows_evicted);
        self.cold_full = self.cold_full.saturating_add(other.cold_full);
        merge(&mut self.anomalies, &other.anomalies);
        merge(&mut self.parse_errors, &other.parse_errors);
        merge(&mut self.caps, &other.caps);
    }
}

/// The name of a cap in the ledger. A hole is none, and stands among the flows with gaps.
fn ledger_name(cap: &'static str) -> &'static str {
    match cap {
        "handovers" => "cap_protocols_in_one_flow",
        "stream_bytes" => "cap_stream_bytes_in_all",
        "stream_held" => "cap_stream_bytes_of_a_flow",
        _ => "flows_read_up_to_a_hole",
    }
}

fn merge<K: Ord + Copy>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        let sum = into.entry(*key).or_default();
        *sum = sum.saturating_add(*count);
    }
}
