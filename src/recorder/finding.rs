//! A finding in words: its id, title, severity with reasons, and what to do next.

use twox_hash::XxHash3_128;

use super::hits::Hit;
use super::policy::Ruling;
use super::store::rows::{Actor, Text};
use super::words::{ClientClass, Disposition, Level};

/// What is said of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// 0 to 10.
    pub severity: u8,
    /// Why, a short sentence each.
    pub reasons: Vec<Text>,
    /// One line for a person.
    pub title: Text,
    /// What to do next.
    pub next_steps: Text,
}

/// Id of a finding: a hash of what never changes about it (device, service, day, input).
pub fn id(actor: &Actor, service: &str, day: u32, input: &str) -> Text {
    let device = actor.mac.map_or_else(|| actor.addr.to_string(), |m| format!("{:02x?}", m.0));
    let facts = format!("{}\n{device}\n{service}\n{day}\n{input}", actor.realm.0);
    Text::from(format!("{:032x}", XxHash3_128::oneshot(facts.as_bytes())))
}

/// Severity, title and advice.
pub fn tell(hit: &Hit, ruling: &Ruling, level: Level, class: ClientClass, bytes_up: u64) -> Told {
    let mut reasons = vec![Text::from(match ruling.disposition {
        Disposition::Unsanctioned => "the policy forbids this service",
        Disposition::Unreviewed => "nobody has decided about this service",
        Disposition::Tolerated => "the policy tolerates this service",
        Disposition::Sanctioned => "the policy allows this service",
    })];
    let mut severity = match (ruling.disposition, level) {
        (Disposition::Unsanctioned, Level::Bulk) => 9,
        (Disposition::Unsanctioned, Level::Used) => 7,
        (Disposition::Unreviewed, Level::Bulk) => 6,
        (Disposition::Unreviewed, Level::Used) => 4,
        (Disposition::Unsanctioned, _) | (Disposition::Tolerated, Level::Bulk) => 3,
        (Disposition::Tolerated, Level::Used)
        | (Disposition::Unreviewed, _)
        | (Disposition::Sanctioned, Level::Bulk) => 1,
        _ => 0,
    };
    reasons.push(Text::from(match level {
        Level::Bulk => "a bulk upload went there",
        Level::Used => "it was used, not only opened",
        Level::Contacted => "it was contacted, but nothing shows use",
        Level::Named => "only its name was seen",
    }));
    if class == ClientClass::Program && ruling.disposition.unapproved() && level.counts() {
        severity += 1;
        reasons.push(Text::from("a program sends there, without a person reading along"));
    }
    let what = match level {
        Level::Bulk => "received a bulk upload",
        Level::Used => "was used",
        Level::Contacted => "was contacted",
        Level::Named => "was asked for",
    };
    let by = match class {
        ClientClass::Browser => " by a browser",
        ClientClass::Program => " by a program",
        ClientClass::Server => " by a server",
        ClientClass::Unknown => "",
    };
    let title = format!(
        "{} ({}) {what}{by}, {} sent",
        hit.service_name,
        word(ruling.disposition),
        bytes(bytes_up)
    );
    Told {
        severity: severity.min(10),
        reasons,
        title: Text::from(title),
        next_steps: Text::from(next_steps(hit, ruling.disposition, level)),
    }
}

fn next_steps(hit: &Hit, disposition: Disposition, level: Level) -> String {
    let service = &hit.service;
    match (disposition, level.counts()) {
        (Disposition::Unsanctioned, true) => format!(
            "Talk to the user and offer the approved alternative; see the packets with `shadowtap evidence`; \
             block {} if it goes on.",
            hit.pattern
        ),
        (Disposition::Unreviewed, true) => format!(
            "Decide about {service}: allow, tolerate or forbid it in the policy; \
             `shadowtap policy explain {service}` shows where it stands."
        ),
        (_, true) => "Nothing: this use is allowed.".to_owned(),
        (_, false) => "Nothing yet: no use was seen.".to_owned(),
    }
}

/// The verdict as a person says it.
pub fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Unsanctioned => "forbidden",
        Disposition::Unreviewed => "not yet reviewed",
        Disposition::Tolerated => "tolerated",
        Disposition::Sanctioned => "allowed",
    }
}

/// Bytes for a person: decimal units, three digits.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.995 {
        format!("{value:.2} {unit}")
    } else if value < 99.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_verdict_level_and_program() {
        use ClientClass::{Browser, Program};
        use Disposition::{Sanctioned, Tolerated, Unreviewed, Unsanctioned};
        let hit = Hit {
            service: Text::from("alpha"),
            service_name: Text::from("Alpha"),
            vendor: Text::from("Alpha Inc."),
            category: Text::from("chat"),
            pattern: Text::from("alpha.example"),
            tenant: None,
            role: crate::recorder::words::Role::Chat,
            weak: false,
        };
        let table = [
            ("forbidden, used", Unsanctioned, Level::Used, Browser, 7),
            ("forbidden, used by a program", Unsanctioned, Level::Used, Program, 8),
            ("forbidden, much sent", Unsanctioned, Level::Bulk, Browser, 9),
            ("forbidden, only looked up", Unsanctioned, Level::Named, Program, 3),
            ("unreviewed, bulk", Unreviewed, Level::Bulk, Browser, 6),
            ("tolerated, used by a program", Tolerated, Level::Used, Program, 1),
            ("allowed, contacted", Sanctioned, Level::Contacted, Browser, 0),
        ];
        for (name, disposition, level, class, expected) in table {
            let ruling = Ruling { disposition, rule: Text::from("") };
            let told = tell(&hit, &ruling, level, class, 100);
            assert_eq!(told.severity, expected, "{name}");
            assert!(!told.reasons.is_empty() && !told.next_steps.is_empty(), "{name}");
            assert!(told.title.contains("Alpha"), "{name}");
        }
    }

    #[test]
    fn bytes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_600, "1.00 MB"),
            (5_000_000_000, "5.00 GB"),
        ];
        for (n, expected) in cases {
            assert_eq!(bytes(n), expected);
        }
    }
}
