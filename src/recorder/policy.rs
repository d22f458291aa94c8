//! Who may use what: the decisions of people, most specific first.

use super::store::rows::{Actor, Text};
use super::words::Disposition;
use crate::types::Timestamp;

/// What is asked of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Service id.
    pub service: &'a str,
    /// Category word.
    pub category: &'a str,
    /// Vendor.
    pub vendor: &'a str,
    /// Tenant label of the name, if its pattern has one.
    pub tenant: Option<&'a str>,
    /// Who.
    pub actor: &'a Actor,
    /// When: validity runs on capture time.
    pub at: Timestamp,
}

/// What the policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The verdict.
    pub disposition: Disposition,
    /// Rule that gave it; empty if nobody decided.
    pub rule: Text,
}

/// Decisions in force.
#[derive(Clone, Debug)]
pub struct Policy {
    version: Text,
}

impl Default for Policy {
    /// Nobody decided anything.
    fn default() -> Self {
        Self { version: Text::from("none") }
    }
}

impl Policy {
    /// Digest of the decisions.
    pub fn version(&self) -> &Text {
        &self.version
    }

    /// The verdict on a use.
    pub fn rule(&self, _asked: &Asked<'_>) -> Ruling {
        Ruling { disposition: Disposition::Unreviewed, rule: Text::from("") }
    }
}
