//! How a verdict came about: every rule that was looked at, and why the winner won.
//!
//! In: what is asked of a policy. Out: [`Explanation`], and its text for a person.
//! Never: decides anything itself; the winner is the one of [`Policy::rule`].

use std::fmt::Write as _;

use super::file::word;
use super::{Asked, Outside, Policy, Rank, Rule, Ruling, Target};
use crate::types::Timestamp;

/// How a verdict came about.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// The verdict.
    pub ruling: Ruling,
    /// The rule that gave it, if any did.
    pub winner: Option<&'p Rule>,
    /// Why that one, or why none; a sentence without capital and stop.
    pub why: String,
    /// Rules on the service, its vendor or its category: the winner, then those that lost, the
    /// strongest first, then those that do not apply, in the order of the files.
    pub looked_at: Vec<LookedAt<'p>>,
    /// Rules on other things.
    pub elsewhere: usize,
}

/// A rule, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct LookedAt<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gave the verdict.
    Won,
    /// It applies, but the winner is stronger in this.
    Lost(Strength),
    /// Nobody filled in its status.
    Undecided,
    /// It was decided later.
    NotYet,
    /// It does not hold any more.
    Expired,
    /// It is not for this actor.
    Outside(Outside),
    /// It is for another tenant.
    OtherTenant,
}

/// In what one rule is stronger than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// It covers less.
    Target,
    /// It is for fewer.
    Scope,
    /// It allows less.
    Strictness,
    /// It stands first.
    Order,
}

impl Policy {
    /// How the verdict of [`Policy::rule`] comes about.
    pub fn explain(&self, asked: &Asked<'_>) -> Explanation<'_> {
        let about = |target: &Target| match target {
            Target::Tenant(service, _) => **service == *asked.service,
            other => other.covers(asked),
        };
        let mut standing: Vec<(Rank, &Rule)> = Vec::new();
        let mut others = Vec::new();
        for (i, rule) in self.rules.iter().enumerate().filter(|(_, r)| about(&r.target)) {
            let rank = rule.target.covers(asked).then(|| self.rank(i, asked)).flatten();
            match rank {
                Some(rank) => standing.push((rank, rule)),
                None => others.push(LookedAt { rule, outcome: out_of_question(rule, asked) }),
            }
        }
        standing.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let winner = standing.first().copied();
        let outcome = |rank: Rank| match winner {
            Some((best, _)) if best != rank => Outcome::Lost(stronger(best, rank)),
            _ => Outcome::Won,
        };
        let mut looked_at: Vec<LookedAt<'_>> = standing
            .iter()
            .map(|&(rank, rule)| LookedAt { rule, outcome: outcome(rank) })
            .collect();
        looked_at.append(&mut others);
        Explanation {
            ruling: self.rule(asked),
            winner: winner.map(|w| w.1),
            why: self.why(&looked_at),
            elsewhere: self.rules.len().saturating_sub(looked_at.len()),
            looked_at,
        }
    }

    fn why(&self, looked_at: &[LookedAt<'_>]) -> String {
        match looked_at {
            [
                LookedAt { rule, outcome: Outcome::Won },
                LookedAt { rule: next, outcome: Outcome::Lost(by) },
                ..,
            ] => {
                format!("{}, which is next at {}", by.text(rule, next), next.place)
            }
            [LookedAt { outcome: Outcome::Won, .. }, ..] => "no other rule applies".to_owned(),
            _ if self.otherwise.place.is_some() => {
                format!("no rule applies, and the default is {}", word(self.otherwise.disposition))
            }
            _ => "no rule applies, so nobody has decided".to_owned(),
        }
    }
}

fn out_of_question(rule: &Rule, asked: &Asked<'_>) -> Outcome {
    if !rule.target.covers(asked) {
        Outcome::OtherTenant
    } else if rule.status.is_none() {
        Outcome::Undecided
    } else if let Some(outside) = rule.scope.outside(asked) {
        Outcome::Outside(outside)
    } else if rule.validity.ended(asked.at) {
        Outcome::Expired
    } else {
        Outcome::NotYet
    }
}

fn stronger(winner: Rank, other: Rank) -> Strength {
    if winner.target != other.target {
        Strength::Target
    } else if winner.narrowness != other.narrowness {
        Strength::Scope
    } else if winner.strictness != other.strictness {
        Strength::Strictness
    } else {
        Strength::Order
    }
}

impl Strength {
    fn text(self, winner: &Rule, other: &Rule) -> String {
        match self {
            Strength::Target => {
                format!(
                    "a {} is more specific than a {}",
                    winner.target.kind(),
                    other.target.kind()
                )
            }
            Strength::Scope => "it is for fewer than the rule".to_owned(),
            Strength::Strictness => "it is stricter than the equally specific rule".to_owned(),
            Strength::Order => "it stands before the equal rule".to_owned(),
        }
    }
}

impl Outcome {
    /// The word of outside formats.
    pub fn code(self) -> &'static str {
        match self {
            Outcome::Won => "won",
            Outcome::Lost(_) => "lost",
            Outcome::Undecided => "undecided",
            Outcome::NotYet => "not_yet",
            Outcome::Expired => "expired",
            Outcome::Outside(_) => "out_of_scope",
            Outcome::OtherTenant => "other_tenant",
        }
    }
}

impl LookedAt<'_> {
    /// What became of the rule, in words.
    pub fn text(&self) -> String {
        let day = |date: Option<jiff::civil::Date>| date.map(|d| d.to_string()).unwrap_or_default();
        let validity = &self.rule.validity;
        match self.outcome {
            Outcome::Won => "wins".to_owned(),
            Outcome::Lost(Strength::Target) => "loses: it covers more than the winner".to_owned(),
            Outcome::Lost(Strength::Scope) => "loses: it is for more than the winner".to_owned(),
            Outcome::Lost(Strength::Strictness) => "loses: the winner is stricter".to_owned(),
            Outcome::Lost(Strength::Order) => "loses: the winner stands before it".to_owned(),
            Outcome::Undecided => "decides nothing: its status is blank".to_owned(),
            Outcome::NotYet => format!("decided on {}, after that time", day(validity.decided)),
            Outcome::Expired => format!("expired on {}", day(validity.expires)),
            Outcome::Outside(outside) => format!("does not apply: {}", outside.text()),
            Outcome::OtherTenant => "does not apply: it is for another tenant".to_owned(),
        }
    }
}

impl Explanation<'_> {
    /// The explanation for a person, without the question; lines end in a line feed.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let verdict = word(self.ruling.disposition);
        // Writing to a string cannot fail.
        let _ = match self.winner {
            Some(rule) => writeln!(out, "{verdict}, by {} at {}", rule.name, rule.place),
            None => writeln!(out, "{verdict}"),
        };
        let _ = writeln!(out, "  because {}", self.why);
        for (key, value) in self.winner.map(Rule::facts).unwrap_or_default() {
            let _ = writeln!(out, "  {key}: {value}");
        }
        let place = |l: &LookedAt<'_>| l.rule.place.to_string();
        let status = |l: &LookedAt<'_>| l.rule.status.map_or("blank", word);
        let width =
            |f: &dyn Fn(&LookedAt<'_>) -> usize| self.looked_at.iter().map(f).max().unwrap_or(0);
        let places = width(&|l| place(l).chars().count());
        let names = width(&|l| l.rule.name.chars().count());
        if !self.looked_at.is_empty() {
            let _ = writeln!(out, "  rules looked at:");
        }
        for line in &self.looked_at {
            let (at, name, text) = (place(line), &line.rule.name, line.text());
            let _ = writeln!(out, "    {at:places$}  {name:names$}  {:10}  {text}", status(line));
        }
        if self.elsewhere > 0 {
            let _ = writeln!(out, "  rules on other services: {}", self.elsewhere);
        }
        out
    }
}

impl Rule {
    /// What people noted about the decision, by name.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let day = |d: Option<jiff::civil::Date>| d.map(|d| d.to_string());
        let facts = [
            ("reason", self.reason.as_deref().map(str::to_owned)),
            ("owner", self.owner.as_deref().map(str::to_owned)),
            ("decided", day(self.validity.decided)),
            ("expires", day(self.validity.expires)),
        ];
        facts.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// A time as RFC 3339 text in UTC, to the second.
pub fn time_text(at: Timestamp) -> String {
    let seconds = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}
