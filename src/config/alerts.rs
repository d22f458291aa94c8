//! When a finding becomes an alert, as people write it: hours, suppressions, pace.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::{Reader, Value};
use crate::recorder::alert::{Grouped, Hours, Pace, Sensitive, Suppression};
use crate::types::Timestamp;
use crate::written::{Document, Problems, Section, network};

/// Most alerts a day when grouped: above, nothing is grouped.
const DAILY_MAX: u64 = 100_000;

/// Days of the week as people write them, from Monday on.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// How many alerts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Grouped where results are kept.
    Auto(Grouped),
    /// One for each finding.
    Every,
    /// A few a day.
    Grouped(Grouped),
}

impl Mode {
    /// The pace for a run that keeps its results or not, under a policy or none.
    pub fn pace(self, kept: bool, decided: bool) -> Pace {
        match self {
            Mode::Every => Pace::Every,
            Mode::Auto(_) if !kept => Pace::Every,
            Mode::Auto(grouped) | Mode::Grouped(grouped) => {
                Pace::Grouped(Grouped { decided, ..grouped })
            }
        }
    }
}

impl Reader {
    pub(super) fn mode(&mut self) -> Mode {
        let days = self.number("alerts.inventory_days", 0, super::DAYS_MAX);
        let most = self.number("alerts.daily_max", 1, DAILY_MAX);
        let grouped = Grouped {
            inventory_days: u32::try_from(days).unwrap_or(u32::MAX),
            daily_max: u32::try_from(most).unwrap_or(u32::MAX),
            decided: false,
        };
        match self.text("alerts.mode").as_str() {
            "auto" => Mode::Auto(grouped),
            "every" => Mode::Every,
            "grouped" => Mode::Grouped(grouped),
            other => {
                let message = format!("`alerts.mode` is `{other}`");
                let hint = "it is every, grouped or auto".to_owned();
                self.wrong("alerts.mode", None, message, Some(hint));
                Mode::Every
            }
        }
    }

    /// Whose use is told: departments and networks, and groups by name.
    pub(super) fn sensitive(&mut self) -> (Sensitive, Vec<String>) {
        let key = "alerts.sensitive";
        let (mut found, mut groups) = (Sensitive::default(), Vec::new());
        for (value, place) in self.items(key) {
            let text = match value {
                Value::Text(text) => text,
                other => other.to_string(),
            };
            let (kind, name) = text.split_once(' ').unwrap_or((&text, ""));
            let name = name.trim();
            match (kind, network(name)) {
                ("network", Ok(net)) => found.networks.push(net),
                ("department", _) if !name.is_empty() => found.departments.push(name.into()),
                ("group", _) if !name.is_empty() => groups.push(name.to_owned()),
                _ => {
                    let hint =
                        "write \"department Legal\", \"group board\" or \"network 10.1.2.0/24\"";
                    let message = format!("`{text}` names nobody whose use is sensitive");
                    self.wrong(key, place, message, Some(hint.to_owned()));
                }
            }
        }
        (found, groups)
    }

    pub(super) fn hours(&mut self, key: &str) -> Option<Hours> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        let hours = hours(&text);
        if hours.is_none() {
            let message = format!("`{key}` is `{text}`");
            let hint = "hours look like \"07:00-20:00\" or \"mon-fri 07:00-20:00 +01:00\"";
            self.wrong(key, None, message, Some(hint.to_owned()));
        }
        hours
    }

    pub(super) fn text(&self, key: &str) -> String {
        match self.setting(key).map(|s| &s.value) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }
}

/// `[DAY-DAY] HH:MM-HH:MM [+HH:MM]`.
fn hours(text: &str) -> Option<Hours> {
    let (mut days, mut offset, mut span) = ([true; 7], 0, None);
    for word in text.split_whitespace() {
        if word.starts_with(['+', '-']) {
            offset = east(word)?;
            continue;
        }
        let (from, to) = word.split_once('-')?;
        if let Some(first) = DAYS.iter().position(|d| *d == from) {
            let last = DAYS.iter().position(|d| *d == to)?;
            days = std::array::from_fn(|day| match first <= last {
                true => (first..=last).contains(&day),
                false => day >= first || day <= last,
            });
        } else {
            span = Some((minute(from)?, minute(to)?));
        }
    }
    let (from, to) = span?;
    Some(Hours { from, to, days, offset })
}

/// Minutes after midnight; 24:00 is the end of the day.
fn minute(text: &str) -> Option<u16> {
    if text == "24:00" {
        return Some(1_440);
    }
    let time = Time::strptime("%H:%M", text).ok()?;
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).ok()
}

/// Minutes east of UTC.
fn east(text: &str) -> Option<i32> {
    let (sign, rest) = text.split_at_checked(1)?;
    let minutes = i32::from(minute(rest)?);
    (minutes <= 14 * 60).then_some(if sign == "-" { -minutes } else { minutes })
}

/// The suppressions of some files.
pub fn suppressions(documents: &[Document], problems: &mut Problems) -> Vec<Suppression> {
    let mut found = Vec::new();
    for doc in documents {
        // What is no TOML was told before.
        let table = doc.parse(&mut Problems::default());
        let Some(alerts) = doc.top(&table).section("alerts", problems) else { continue };
        for section in alerts.sections("suppress", problems) {
            found.extend(suppression(&section, problems));
        }
    }
    found
}

fn suppression(section: &Section<'_>, problems: &mut Problems) -> Option<Suppression> {
    section.only(&["service", "device", "until", "reason"], problems);
    let owned = |key: &str, problems: &mut Problems| {
        section.text(key, problems).map(|t| (*t.get_ref()).to_owned())
    };
    let (service, device) = (owned("service", problems), owned("device", problems));
    let reason = owned("reason", problems);
    if service.is_none() && device.is_none() {
        let message = "a suppression names neither service nor device".to_owned();
        let hint = "it would silence everything: switch the rules off instead".to_owned();
        problems.error(Some(section.head()), message, Some(hint));
    }
    if reason.is_none() {
        let message = "a suppression has no `reason`".to_owned();
        problems.error(Some(section.head()), message, None);
    }
    let until = section.date("until", problems).and_then(|day| end_of(*day.get_ref()));
    Some(Suppression { service, device, until, reason: reason? })
}

/// Last nanosecond of a day, UTC.
fn end_of(day: Date) -> Option<Timestamp> {
    let next = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(next.timestamp().as_nanosecond()).ok().map(|ns| Timestamp(ns.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_as_people_write_them() {
        let week = [true, true, true, true, true, false, false];
        for (text, expected) in [
            ("07:00-20:00", Some(Hours { from: 420, to: 1_200, days: [true; 7], offset: 0 })),
            (
                "mon-fri 08:30-24:00 -05:30",
                Some(Hours { from: 510, to: 1_440, days: week, offset: -330 }),
            ),
            (
                "fri-mon 22:00-06:00 +01:00",
                Some(Hours {
                    from: 1_320,
                    to: 360,
                    days: [true, false, false, false, true, true, true],
                    offset: 60,
                }),
            ),
            ("mon-fri", None),
            ("7-20", None),
            ("25:00-26:00", None),
            ("mon-fry 07:00-20:00", None),
            ("07:00-20:00 +15:00", None),
        ] {
            assert_eq!(hours(text), expected, "{text}");
        }
    }

    #[test]
    fn suppressions_say_what_and_why() {
        let told = |text: &str| {
            let mut problems = Problems::default();
            let found = suppressions(&[Document::new("t.toml", text)], &mut problems);
            (found, problems.0.iter().map(ToString::to_string).collect::<String>())
        };
        let (found, problems) = told(
            "[[alerts.suppress]]\nservice = \"alpha\"\nuntil = 2026-03-02\nreason = \"pilot\"\n",
        );
        assert_eq!(problems, "");
        let end = Timestamp((1_772_409_600 + 86_400) * Timestamp::SECOND - 1);
        assert_eq!(found[0].until, Some(end));
        for (text, expected) in [
            ("[[alerts.suppress]]\nreason = \"x\"\n", "neither service nor device"),
            ("[[alerts.suppress]]\nservice = \"x\"\n", "no `reason`"),
            (
                "[[alerts.suppress]]\nservice = \"x\"\nreason = \"y\"\nuntill = 2026-03-02\n",
                "until",
            ),
        ] {
            let (_, problems) = told(text);
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }
}
