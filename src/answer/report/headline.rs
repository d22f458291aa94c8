//! What the first page says in one sentence and four numbers, and what is new.

use super::model::{Figure, LateLine, News, Number, Period};
use super::period::{HOUR, Hours};
use super::{Facts, capital};
use crate::answer::coverage;
use crate::answer::hunt::{day, known_late};
use crate::answer::tally::{PairKey, Tally};
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;
use crate::recorder::store::rows::Text;
use crate::recorder::store::{Answers, CoverageLine, Error, HiddenLine, Hunted};
use crate::recorder::words::{Disposition, Level};
use crate::types::Timestamp;

impl Facts<'_> {
    pub(super) fn verdict(&self, ledger: &[CoverageLine], hidden: &[HiddenLine]) -> String {
        let count = |keep: fn(Disposition) -> bool| self.tally.services(keep).len() as u64;
        let n = count(Disposition::unapproved);
        if n == 0 {
            let what = if self.tally.pairs.is_empty() {
                "No use of an AI service was seen."
            } else {
                "Only approved AI services were seen in use."
            };
            return format!("{what} {}", coverage::worth(ledger, hidden));
        }
        let (volume, devices) = self.tally.sum(|k| k.2.unapproved());
        let sent = self.sent_figure(volume.sent);
        let forbidden = count(|d| d == Disposition::Unsanctioned);
        let decided = match (forbidden, n) {
            (0, 1) => "Nobody has decided about it yet.".to_owned(),
            (0, _) => "Nobody has decided about any of them yet.".to_owned(),
            (1, 1) => "It is forbidden.".to_owned(),
            (1, _) => "One of them is forbidden.".to_owned(),
            (f, n) if f == n => "All of them are forbidden.".to_owned(),
            (f, _) => format!("{} of them are forbidden.", number(f)),
        };
        format!(
            "{} that nobody approved {} in use on {} of {} devices; {} went there, {} of what went to AI. {decided}",
            capital(&counted(n, "AI service")),
            if n == 1 { "is" } else { "are" },
            number(devices),
            number(self.of.devices),
            bytes(volume.sent),
            sent.share(),
        )
    }

    pub(super) fn trend(&self, now: &Period, then: Option<&Period>) -> String {
        let (Some(then), Some(before)) = (then, self.before) else {
            return "The store holds nothing from before this period, so there is nothing to compare it with."
                .to_owned();
        };
        let (had, has) = (&then.captured_hours, &now.captured_hours);
        if had.count.saturating_mul(2) < has.count {
            return format!(
                "The time before ({}) was captured for {} hours only, against {} now: too little to compare.",
                then.text,
                number(had.count),
                number(has.count)
            );
        }
        let sent = |t: &Tally| t.sum(|k| k.2.unapproved()).0.sent;
        let services = |t: &Tally| t.services(Disposition::unapproved).len() as u64;
        let (old, new) = (sent(before), sent(self.tally));
        let data = match change(old, new) {
            None => "No data went to unapproved services before".to_owned(),
            Some((word, 0)) => format!("As {word} data goes to unapproved services as before"),
            Some((word, percent)) => {
                format!("{} % {word} data goes to unapproved services than before", number(percent))
            }
        };
        let (a, b) = (services(before), services(self.tally));
        let count = match a.cmp(&b) {
            std::cmp::Ordering::Equal => {
                format!("there are {} of them, as many as then", number(b))
            }
            std::cmp::Ordering::Less => {
                format!("there are {} of them, up from {}", number(b), number(a))
            }
            std::cmp::Ordering::Greater => {
                format!("there are {} of them, down from {}", number(b), number(a))
            }
        };
        format!("{data} ({}); {count}.", then.text)
    }

    pub(super) fn numbers(&self) -> Vec<Number> {
        let unapproved = |k: &PairKey| k.2.unapproved();
        let bulk = |t: &Tally| {
            t.pairs.iter().filter(|(k, p)| unapproved(k) && p.level == Some(Level::Bulk)).count()
                as u64
        };
        let pairs = |t: &Tally| t.pairs.keys().filter(|k| unapproved(k)).count() as u64;
        let make = |label: &str, unit: &str, figure: &dyn Fn(&Tally) -> Figure| Number {
            label: label.to_owned(),
            unit: unit.to_owned(),
            now: figure(self.tally),
            before: self.before.map(figure),
        };
        vec![
            make("unapproved AI services in use", "count", &|t| {
                let all = t.services(|_| true).len() as u64;
                let count = t.services(Disposition::unapproved).len() as u64;
                Figure::new(count, all, "AI services in use")
            }),
            make("devices that used them", "count", &|t| self.devices_figure(t.sum(unapproved).1)),
            make("data sent to them", "bytes", &|t| {
                let (all, _) = t.sum(|_| true);
                Figure::new(t.sum(unapproved).0.sent, all.sent, "bytes sent to AI services")
            }),
            make("bulk uploads to them", "count", &|t| {
                Figure::new(bulk(t), pairs(t), "uses, counted by device and service")
            }),
        ]
    }

    /// What the ledger saw of services that the rows do not name.
    pub(super) fn late(&self, answers: &Answers) -> Result<Vec<LateLine>, Error> {
        let catalogue = self.options.catalogue;
        let Some(key) = &self.options.ledger else { return Ok(Vec::new()) };
        if answers.ledger_fits(key)? != Some(true) {
            return Ok(Vec::new());
        }
        let (late, days) = known_late(answers, key, catalogue)?;
        let line = |(id, found): (Text, Hunted)| LateLine {
            service: self.service(&id),
            first_day: day(found.first_day),
            last_day: day(found.last_day),
            days: Figure::new(found.days, days, "days of the ledger"),
            devices: self.devices_figure(found.devices),
            sent: Figure::new(
                found.bytes_up,
                self.of.sent.saturating_add(found.bytes_up),
                "bytes sent to AI services, these included",
            ),
        };
        Ok(late.into_iter().map(line).collect())
    }

    pub(super) fn news(&self, first: Timestamp, hours: Hours) -> News {
        let known = first.0 / HOUR < hours.from;
        let new: Vec<String> = if known {
            let used = self.tally.services(|_| true);
            let fresh = used.into_iter().filter(|id| !self.used_before.contains(*id));
            fresh.map(|id| self.service(id).name).collect()
        } else {
            Vec::new()
        };
        let text = match (known, new.len() as u64) {
            (false, _) => {
                "The store begins with this period, so what is new cannot be told.".to_owned()
            }
            (true, 0) => "No service was used that had not been used here before.".to_owned(),
            (true, n) => format!(
                "{} of {} in use had not been used here before.",
                counted(n, "service"),
                number(self.of.services)
            ),
        };
        News { known, text, services: new }
    }
}

/// `more` or `less` and by how many percent; `None` if there was nothing before.
fn change(old: u64, new: u64) -> Option<(&'static str, u64)> {
    let (a, b) = (u128::from(old), u128::from(new));
    let difference = a.abs_diff(b).checked_mul(100)?.checked_div(a)?;
    let percent = u64::try_from(difference).unwrap_or(u64::MAX);
    Some((
        if percent == 0 {
            "much"
        } else if new > old {
            "more"
        } else {
            "less"
        },
        percent,
    ))
}
