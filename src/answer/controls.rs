//! Controls of public catalogues, and which aspect of a risk they are about.
//!
//! In: `controls.toml`, which the binary carries. Out: [`Controls`].
//! Never: says that a technique was observed: unapproved use is exposure.
//! Source: the catalogues named in the file, with their versions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const FILE: &str = include_str!("controls.toml");

/// Everything in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// Catalogues.
    pub catalogue: Vec<CatalogueVersion>,
    aspect: Vec<AspectControls>,
    /// Tests that ask whether something is configured.
    pub test: Vec<Test>,
}

/// A catalogue of controls.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogueVersion {
    /// Our id of it.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Which version the ids are from.
    pub version: String,
}

/// One control, and what a risk has to do with it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Catalogue id.
    pub catalogue: String,
    /// Id within the catalogue.
    pub id: String,
    /// What it is about, in our words.
    pub title: String,
    /// How the risk and the control belong together.
    pub relation: Relation,
    /// Why, in one line.
    pub why: String,
}

/// How a risk and a control belong together.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The control asks for exactly what was found missing, or what the report gives.
    Direct,
    /// What was seen comes before what the control is about.
    Precursor,
    /// What was seen makes the control matter; nobody saw an attack.
    Exposure,
}

/// A test that asks whether a control is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Id of the test.
    pub id: String,
    /// What it is called, in our words.
    pub title: String,
    /// What it asks.
    pub asks: String,
    /// Which observation stands beside it.
    pub observed: Observed,
}

/// What the report can put beside a test.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Observed {
    /// Agents seen.
    Agents,
    /// Programs that call AI services.
    Programs,
    /// Risks without an owner.
    Owners,
    /// Generative services in use.
    Generative,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AspectControls {
    id: String,
    control: Vec<Control>,
}

impl Relation {
    /// The word of outside formats.
    pub fn code(self) -> &'static str {
        match self {
            Relation::Direct => "direct",
            Relation::Precursor => "precursor",
            Relation::Exposure => "exposure",
        }
    }
}

impl Controls {
    /// The controls that the binary carries.
    ///
    /// # Errors
    /// Never in a release: a test reads the file.
    pub fn embedded() -> Result<Controls, toml::de::Error> {
        toml::from_str(FILE)
    }

    /// Controls of some aspects, each once, in the order of the catalogues.
    pub fn of(&self, aspects: &[&str]) -> Vec<Control> {
        let mut found: BTreeMap<(usize, &str), &Control> = BTreeMap::new();
        for aspect in self.aspect.iter().filter(|a| aspects.contains(&a.id.as_str())) {
            for control in &aspect.control {
                let place = self.catalogue.iter().position(|c| c.id == control.catalogue);
                found.entry((place.unwrap_or(usize::MAX), &control.id)).or_insert(control);
            }
        }
        found.into_values().cloned().collect()
    }

    /// Name of a catalogue.
    pub fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.catalogue.iter().find(|c| c.id == id).map_or(id, |c| &c.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let controls = Controls::embedded().unwrap();
        for aspect in &controls.aspect {
            for control in &aspect.control {
                let known = controls.catalogue.iter().any(|c| c.id == control.catalogue);
                assert!(known, "{}: catalogue {}", aspect.id, control.catalogue);
                assert!(!control.why.is_empty() && !control.title.is_empty(), "{}", control.id);
                let technique = control.id.starts_with("AML.T");
                assert!(
                    !technique || control.relation != Relation::Direct,
                    "{}: a technique of attackers is never found directly",
                    control.id
                );
                assert!(!control.why.contains("observed"), "{}", control.id);
            }
        }
        assert_eq!(controls.test.len(), 7);
    }

    #[test]
    fn controls_of_two_aspects_come_once_and_in_order() {
        let controls = Controls::embedded().unwrap();
        let of = controls.of(&["mcp", "agent", "unapproved-use"]);
        let mut ids: Vec<_> = of.iter().map(|c| (&c.catalogue, &c.id)).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert_eq!(of[0].catalogue, "nist-ai-rmf");
        assert!(controls.of(&["no such aspect"]).is_empty());
    }
}
