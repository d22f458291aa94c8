//! What is known of a service beyond its hosts, and a score that anybody can recompute.
//!
//! In: `risk/facts.toml` and `risk/weights.toml`. Out: [`Score`], line by line.
//! Never: takes an unknown fact for a good one, or a remembered one for a known one; gives a number
//! where too little is known.
//! Limits: those of `source.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::Catalogue;
use super::catalog::RawLocal;
use super::source::{self, CatalogueError, File};

/// Folder of both files, below that of the services.
const FOLDER: &str = "risk/";
/// Weights of attributes, and what each value takes of them.
const WEIGHTS_FILE: &str = "risk/weights.toml";

/// Facts about services, and the table that makes scores of them.
#[derive(Clone, Debug, Default)]
pub struct Risk {
    /// Percent of the weight that must be known before there is a number.
    known_percent_min: u32,
    weights: Vec<Weight>,
    facts: HashMap<String, BTreeMap<String, Fact>>,
}

/// One fact with where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// A word of the attribute's list.
    pub value: String,
    /// The public page, or document, that says it.
    pub source: String,
    /// Day on which that was so, as far as anybody looked.
    pub date: String,
    /// Whether anybody looked.
    #[serde(default)]
    pub how: How,
}

/// How a fact came from its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Somebody read it there.
    #[default]
    Read,
    /// Somebody read that others quote it from there.
    Quoted,
    /// Nobody looked: it is what somebody remembers. It is shown, and counts as unknown.
    Recalled,
}

impl How {
    /// The word in signature files.
    pub fn word(self) -> &'static str {
        match self {
            How::Read => "read",
            How::Quoted => "quoted",
            How::Recalled => "recalled",
        }
    }
}

/// What an attribute weighs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Name of the attribute.
    pub attribute: String,
    /// Its weight.
    pub weight: u32,
    values: Vec<Share>,
    else_percent: Option<u32>,
    /// Why it weighs anything.
    pub reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    value: String,
    percent: u32,
}

/// The score of a service, as its lines make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// 0 harmless to 100; `None` if too little is known.
    pub points: Option<u32>,
    /// Percent of the weight that is known.
    pub known_percent: u32,
    /// Percent that must be known.
    pub known_percent_min: u32,
    /// One line an attribute, in the order of the table.
    pub lines: Vec<ScoreLine>,
}

/// What one attribute adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreLine {
    /// Name of the attribute.
    pub attribute: String,
    /// Its weight.
    pub weight: u32,
    /// What is known or remembered.
    pub fact: Option<Fact>,
    /// Percent of the weight that the value takes; `None` if nobody looked.
    pub percent: Option<u32>,
    /// Why the attribute weighs anything.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWeights {
    known_percent_min: u32,
    weight: Vec<Spanned<Weight>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFacts {
    #[serde(default)]
    service: Vec<RawService>,
}

#[derive(Deserialize)]
struct RawService {
    id: Spanned<String>,
    #[serde(flatten)]
    facts: BTreeMap<String, Fact>,
}

impl Risk {
    /// The facts that the binary carries.
    ///
    /// # Errors
    /// Names file and line; a test of ours makes sure that a release has none.
    pub fn embedded(catalogue: &Catalogue) -> Result<Self, CatalogueError> {
        Self::build(&source::embedded(is_risk_file), catalogue)
    }

    /// The facts of a folder; the embedded ones of services that it has, if it has no `risk/`.
    ///
    /// # Errors
    /// Names file and line of the first thing that is wrong.
    pub fn from_dir(dir: &Path, catalogue: &Catalogue) -> Result<Self, CatalogueError> {
        let files = source::from_dir(dir, is_risk_file)?;
        if !files.is_empty() {
            return Self::build(&files, catalogue);
        }
        let embedded = Catalogue::embedded()?;
        let mut ours = Self::embedded(&embedded)?;
        ours.facts.retain(|id, _| catalogue.service(id).is_some());
        Ok(ours)
    }

    /// Takes in what a local file says of services.
    ///
    /// # Errors
    /// Names file and line of the first fact that makes no sense.
    pub fn take_local(&mut self, local: &Path) -> Result<(), CatalogueError> {
        let file = source::one(local)?;
        let raw: RawLocal = file.parse()?;
        for change in raw.change {
            for (attribute, fact) in change.risk {
                self.set(change.service.get_ref(), &attribute, fact)
                    .map_err(|m| file.error(change.service.span(), m))?;
            }
        }
        Ok(())
    }

    /// What is known of a service, by attribute.
    pub fn facts(&self, service: &str) -> Option<&BTreeMap<String, Fact>> {
        self.facts.get(service)
    }

    /// Services with facts.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// `true` if nothing is known of any service.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Says something else of a service; a fact that has the attribute already gives way.
    ///
    /// # Errors
    /// A sentence, if the table has no such attribute or value.
    pub fn set(&mut self, service: &str, attribute: &str, fact: Fact) -> Result<(), String> {
        self.check(attribute, &fact)?;
        let facts = self.facts.entry(service.to_owned()).or_default();
        facts.insert(attribute.to_owned(), fact);
        Ok(())
    }

    /// The score of a service, with every line of it.
    pub fn score(&self, service: &str) -> Score {
        let facts = self.facts.get(service);
        let line = |weight: &Weight| {
            let fact = facts.and_then(|f| f.get(&weight.attribute)).cloned();
            let looked = fact.as_ref().filter(|f| f.how != How::Recalled);
            ScoreLine {
                attribute: weight.attribute.clone(),
                weight: weight.weight,
                percent: looked.and_then(|f| weight.percent(&f.value)),
                fact,
                reason: weight.reason.clone(),
            }
        };
        let lines: Vec<ScoreLine> = self.weights.iter().map(line).collect();
        let all: u32 = lines.iter().map(|l| l.weight).sum();
        let known: u32 = lines.iter().filter(|l| l.percent.is_some()).map(|l| l.weight).sum();
        let taken: u32 = lines.iter().filter_map(|l| Some(l.percent? * l.weight)).sum();
        let known_percent = (known * 100).checked_div(all).unwrap_or(0);
        let enough = known > 0 && known * 100 >= all * self.known_percent_min;
        Score {
            // Half a point goes up.
            points: enough.then(|| (taken + known / 2) / known.max(1)),
            known_percent,
            known_percent_min: self.known_percent_min,
            lines,
        }
    }

    fn build(files: &[File], catalogue: &Catalogue) -> Result<Self, CatalogueError> {
        let mut risk = Self::default();
        for file in files.iter().filter(|f| f.name == WEIGHTS_FILE) {
            let raw: RawWeights = file.parse()?;
            risk.known_percent_min = raw.known_percent_min.min(100);
            for weight in raw.weight {
                let span = weight.span();
                let weight = weight.into_inner();
                // The sum of all must stay far below what a number holds.
                let wrong = weight.weight > 1_000
                    || weight.values.iter().any(|s| s.percent > 100)
                    || weight.else_percent.is_some_and(|p| p > 100)
                    || risk.weights.iter().any(|w| w.attribute == weight.attribute);
                if wrong {
                    let name = &weight.attribute;
                    let message = format!("{name:?} is there twice, or over 1000 or 100 percent");
                    return Err(file.error(span, message));
                }
                risk.weights.push(weight);
            }
        }
        for file in files.iter().filter(|f| f.name != WEIGHTS_FILE) {
            let raw: RawFacts = file.parse()?;
            for service in raw.service {
                let id = service.id.get_ref();
                if catalogue.service(id).is_none_or(|s| s.id != *id) {
                    let message = format!("the catalogue has no service {id:?}");
                    return Err(file.error(service.id.span(), message));
                }
                for (attribute, fact) in service.facts {
                    risk.set(id, &attribute, fact)
                        .map_err(|m| file.error(service.id.span(), format!("{id}: {m}")))?;
                }
            }
        }
        Ok(risk)
    }

    /// What is wrong with a fact, if anything is.
    fn check(&self, attribute: &str, fact: &Fact) -> Result<(), String> {
        let Some(weight) = self.weights.iter().find(|w| w.attribute == attribute) else {
            return Err(format!("{WEIGHTS_FILE} knows no attribute {attribute:?}"));
        };
        if fact.source.is_empty() || fact.date.parse::<Date>().is_err() {
            return Err(format!("{attribute} needs a source and a date"));
        }
        if weight.percent(&fact.value).is_none() {
            let words: Vec<&str> = weight.values.iter().map(|s| s.value.as_str()).collect();
            let value = &fact.value;
            return Err(format!("{attribute} is {value:?}, none of {}", words.join(", ")));
        }
        Ok(())
    }
}

impl Weight {
    fn percent(&self, value: &str) -> Option<u32> {
        let listed = self.values.iter().find(|s| s.value == value).map(|s| s.percent);
        listed.or(self.else_percent.filter(|_| !value.is_empty()))
    }
}

fn is_risk_file(name: &str) -> bool {
    name.starts_with(FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk() -> Risk {
        let share = |value: &str, percent| Share { value: value.to_owned(), percent };
        let weight = |attribute: &str, weight| Weight {
            attribute: attribute.to_owned(),
            weight,
            values: vec![share("yes", 100), share("some", 50), share("no", 0)],
            else_percent: None,
            reason: "tests".to_owned(),
        };
        Risk {
            known_percent_min: 60,
            weights: vec![weight("a", 50), weight("b", 30), weight("c", 20)],
            facts: HashMap::new(),
        }
    }

    fn fact(value: &str) -> Fact {
        let (source, date) = ("s".to_owned(), "2026-11-23".to_owned());
        Fact { value: value.to_owned(), source, date, how: How::Read }
    }

    #[test]
    fn what_somebody_remembers_is_shown_and_does_not_count() {
        let mut risk = risk();
        risk.set("one", "a", Fact { how: How::Recalled, ..fact("yes") }).unwrap();
        risk.set("one", "b", Fact { how: How::Quoted, ..fact("yes") }).unwrap();
        let score = risk.score("one");
        assert_eq!((score.points, score.known_percent), (None, 30));
        assert_eq!(score.lines.first().and_then(|l| l.percent), None);
        assert!(score.lines.first().is_some_and(|l| l.fact.is_some()));
    }

    #[test]
    fn a_score_is_the_sum_of_its_lines() {
        let cases: &[(&str, &[(&str, &str)], Option<u32>, u32)] = &[
            ("nothing known", &[], None, 0),
            ("half known", &[("a", "yes")], None, 50),
            ("enough known", &[("a", "yes"), ("c", "no")], Some(71), 70),
            ("just enough", &[("b", "no"), ("a", "no")], Some(0), 80),
            ("all known", &[("a", "some"), ("b", "yes"), ("c", "yes")], Some(75), 100),
        ];
        for (name, facts, points, known) in cases {
            let mut risk = risk();
            for (attribute, value) in *facts {
                risk.set("one", attribute, fact(value)).unwrap();
            }
            let score = risk.score("one");
            assert_eq!((score.points, score.known_percent), (*points, *known), "{name}");
            assert_eq!(score.lines.len(), 3, "{name}");
        }
    }

    #[test]
    fn a_fact_without_source_or_sense_is_refused() {
        let mut risk = risk();
        assert!(risk.set("one", "d", fact("yes")).is_err());
        assert!(risk.set("one", "a", fact("perhaps")).is_err());
        assert!(risk.set("one", "a", Fact { source: String::new(), ..fact("yes") }).is_err());
        assert!(risk.set("one", "a", Fact { date: "today".to_owned(), ..fact("yes") }).is_err());
    }
}
