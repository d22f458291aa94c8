//! The bars of the first page's chart: what was sent, by time or by service.

use std::collections::BTreeMap;

use super::Facts;
use super::model::{Bar, Chart};
use super::period::{HOUR, Hours, overlap};
use crate::answer::tally::status;
use crate::answer::terminal::time;
use crate::recorder::store::rows::Text;
use crate::types::Timestamp;

/// Bars of a chart from which on time is worth a chart; fewer say less than services do.
const BARS_MIN: u64 = 4;

/// Bars that fit a chart.
const BARS_MAX: u64 = 92;

/// Services in a chart by service.
const CHART_SERVICES: usize = 8;

impl Facts<'_> {
    pub(super) fn chart(&self, hours: Hours, captured: &[Hours]) -> Chart {
        let length = hours.until.saturating_sub(hours.from).saturating_add(1);
        let grain = match length {
            0..=48 => 1,
            49..=2_208 => 24,
            _ => 24 * 7,
        };
        let (first, last) = (hours.from / grain, hours.until / grain);
        let count = last.saturating_sub(first).saturating_add(1);
        if !(BARS_MIN..=BARS_MAX).contains(&count) {
            return self.chart_of_services();
        }
        let mut bars = Vec::new();
        for slot in first..=last {
            let from = slot.saturating_mul(grain);
            let until = from.saturating_add(grain).saturating_sub(1);
            let hour = |h: u64| u32::try_from(h).unwrap_or(u32::MAX);
            let mut sums = [0_u64; 3];
            for (_, sent) in self.tally.hours.range(hour(from)..=hour(until)) {
                for (sum, sent) in sums.iter_mut().zip(sent) {
                    *sum = sum.saturating_add(*sent);
                }
            }
            let pattern = if grain == 1 { "%H:00" } else { "%m-%d" };
            let [sent_forbidden, sent_unreviewed, sent_allowed] = sums;
            bars.push(Bar {
                label: time(Timestamp(from.saturating_mul(HOUR)), pattern),
                sent_forbidden,
                sent_unreviewed,
                sent_allowed,
                captured: overlap(captured, Hours { from, until }) > 0,
            });
        }
        let by = match grain {
            1 => "hour",
            24 => "day",
            _ => "week",
        };
        Chart {
            title: format!("Data sent to AI services by {by}"),
            kind: "time".to_owned(),
            of: self.of.clone(),
            bars,
        }
    }

    fn chart_of_services(&self) -> Chart {
        let mut sums: BTreeMap<&Text, [u64; 3]> = BTreeMap::new();
        for ((_, service, verdict), pair) in &self.tally.pairs {
            if let Some(sum) = sums.entry(service).or_default().get_mut(status(*verdict)) {
                *sum = sum.saturating_add(pair.volume.sent);
            }
        }
        let mut order: Vec<(&Text, [u64; 3])> = sums.into_iter().collect();
        let total = |s: &[u64; 3]| s.iter().fold(0, |a: u64, b| a.saturating_add(*b));
        order.sort_by(|a, b| (total(&b.1), a.0).cmp(&(total(&a.1), b.0)));
        order.truncate(CHART_SERVICES);
        let bars = order.into_iter().map(|(id, sums)| {
            let [sent_forbidden, sent_unreviewed, sent_allowed] = sums;
            let label = self.service(id).name;
            Bar { label, sent_forbidden, sent_unreviewed, sent_allowed, captured: true }
        });
        Chart {
            title: "Data sent to AI services, the most first".to_owned(),
            kind: "services".to_owned(),
            of: self.of.clone(),
            bars: bars.collect(),
        }
    }
}
