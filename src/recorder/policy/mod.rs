//! Who may use what: the decisions of people, most specific first.
//!
//! In: rules read by [`mod@file`]; then a service, an actor and a capture time.
//! Out: a [`Ruling`], or an [`Explanation`](explain::Explanation) of how it came about.
//! Never: reads a clock; names a person or a device in a ruling.
//! Limits: [`RULES_MAX`](file::RULES_MAX).
//!
//! Order of precedence: tenant, service, vendor, category, default. Of rules on the same target
//! the narrower scope wins (device or user, then group, then the longer network prefix, then
//! everybody), of equally narrow ones the stricter, of equally strict ones the first.

pub mod edit;
pub mod explain;
pub mod file;
mod scope;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use file::PolicyBuilder;
pub use scope::{Device, Narrowness, Outside, Scope};

use super::store::rows::{Actor, Text};
use super::words::Disposition;
use crate::types::Timestamp;
use crate::written::Place;

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
    /// Login of the person, if a source of identity says so.
    pub user: Option<&'a str>,
    /// Groups of the person, if a source of identity says so.
    pub groups: &'a [Text],
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
    rules: Vec<Rule>,
    otherwise: Otherwise,
    /// Rules by what they cover, in the order of the file. Those on a tenant stand with their
    /// service.
    by_service: HashMap<Text, Vec<usize>>,
    by_vendor: HashMap<Text, Vec<usize>>,
    by_category: HashMap<Text, Vec<usize>>,
}

/// Verdict on what no rule covers.
#[derive(Clone, Debug)]
struct Otherwise {
    disposition: Disposition,
    ruling: Text,
    place: Option<Place>,
}

/// One decision of a person.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What rulings call it; given, or made of target and kind of scope, without names of people.
    pub name: Text,
    /// What it covers.
    pub target: Target,
    /// The decision; `None` if nobody filled it in.
    pub status: Option<Disposition>,
    /// Who answers for it.
    pub owner: Option<Text>,
    /// Why it was taken.
    pub reason: Option<Text>,
    /// When it holds.
    pub validity: Validity,
    /// Whom it is for.
    pub scope: Scope,
    /// Where it stands.
    pub place: Place,
}

/// What a rule covers; the later, the more specific.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// All services of a category, by its word.
    Category(Text),
    /// All services of a vendor.
    Vendor(Text),
    /// One service, by id.
    Service(Text),
    /// One customer's part of a service: id, and the label that its host names carry.
    Tenant(Text, Text),
}

/// Days on which a rule holds, both ends included, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// First day.
    pub decided: Option<Date>,
    /// Last day.
    pub expires: Option<Date>,
}

/// A time in which the answer to a question stays the same, in seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First second; `None` for the beginning of time.
    pub from_s: Option<u64>,
    /// First second after it; `None` for the end of time.
    pub until_s: Option<u64>,
    /// The answer.
    pub ruling: Ruling,
}

/// Everything that decides between rules that apply; the greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    target: u8,
    narrowness: Narrowness,
    strictness: Reverse<Disposition>,
    order: Reverse<usize>,
}

impl Default for Policy {
    /// Nobody decided anything.
    fn default() -> Self {
        Self::new(Vec::new(), Otherwise::default())
    }
}

impl Default for Otherwise {
    /// Not decided.
    fn default() -> Self {
        Self { disposition: Disposition::Unreviewed, ruling: Text::from(""), place: None }
    }
}

impl Policy {
    fn new(rules: Vec<Rule>, otherwise: Otherwise) -> Self {
        let version = version(&rules, &otherwise);
        let mut policy = Self {
            version,
            rules: Vec::new(),
            otherwise,
            by_service: HashMap::new(),
            by_vendor: HashMap::new(),
            by_category: HashMap::new(),
        };
        for (i, rule) in rules.iter().enumerate() {
            let (shelf, key) = match &rule.target {
                Target::Category(key) => (&mut policy.by_category, key),
                Target::Vendor(key) => (&mut policy.by_vendor, key),
                Target::Service(key) | Target::Tenant(key, _) => (&mut policy.by_service, key),
            };
            shelf.entry(key.clone()).or_default().push(i);
        }
        policy.rules = rules;
        policy
    }

    /// Digest of the decisions; `none` if there are none.
    pub fn version(&self) -> &Text {
        &self.version
    }

    /// The verdict on a use.
    pub fn rule(&self, asked: &Asked<'_>) -> Ruling {
        let decided = self.covering(asked).filter_map(|i| self.rank(i, asked)).max();
        let Some((_, rule, disposition)) = decided.and_then(|rank| {
            let rule = self.rules.get(rank.order.0)?;
            Some((rank, rule, rule.status?))
        }) else {
            return Ruling {
                disposition: self.otherwise.disposition,
                rule: self.otherwise.ruling.clone(),
            };
        };
        Ruling { disposition, rule: rule.name.clone() }
    }

    /// The verdicts on a use over all of time, whatever time was asked for.
    pub fn spans(&self, asked: &Asked<'_>) -> Vec<Span> {
        let here = |i: &usize| self.rules.get(*i).filter(|r| r.scope.outside(asked).is_none());
        let mut bounds: Vec<u64> = self
            .covering(asked)
            .filter_map(|i| here(&i))
            .flat_map(|rule| [rule.validity.begins_s(), rule.validity.ends_s()])
            .flatten()
            .collect();
        bounds.push(0);
        bounds.sort_unstable();
        bounds.dedup();
        let mut spans: Vec<Span> = Vec::new();
        for bound in bounds {
            let at = Timestamp(bound.saturating_mul(Timestamp::SECOND));
            let ruling = self.rule(&Asked { at, ..*asked });
            match spans.last_mut() {
                Some(last) if last.ruling == ruling => {}
                last => {
                    if let Some(last) = last {
                        last.until_s = Some(bound);
                    }
                    let from_s = (bound > 0).then_some(bound);
                    spans.push(Span { from_s, until_s: None, ruling });
                }
            }
        }
        spans
    }

    /// Services with a rule for single tenants.
    pub fn tenanted(&self) -> BTreeSet<Text> {
        let tenants = self.rules.iter().filter_map(|rule| match &rule.target {
            Target::Tenant(service, _) => Some(service.clone()),
            _ => None,
        });
        tenants.collect()
    }

    /// All rules, in the order of the files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Rules whose target covers what is asked for.
    fn covering<'a>(&'a self, asked: &'a Asked<'_>) -> impl Iterator<Item = usize> + 'a {
        let shelves = [
            self.by_service.get(asked.service),
            self.by_vendor.get(asked.vendor),
            self.by_category.get(asked.category),
        ];
        let covers = |i: &usize| self.rules.get(*i).is_some_and(|r| r.target.covers(asked));
        shelves.into_iter().flatten().flatten().copied().filter(covers)
    }

    /// The rank of rule `i` if it applies; its target is known to cover what is asked for.
    fn rank(&self, i: usize, asked: &Asked<'_>) -> Option<Rank> {
        let rule = self.rules.get(i)?;
        let status = rule.status?;
        if !rule.validity.holds(asked.at) || rule.scope.outside(asked).is_some() {
            return None;
        }
        Some(Rank {
            target: rule.target.rank(),
            narrowness: rule.scope.narrowness(asked),
            strictness: Reverse(status),
            order: Reverse(i),
        })
    }
}

impl Target {
    fn covers(&self, asked: &Asked<'_>) -> bool {
        match self {
            Target::Category(category) => **category == *asked.category,
            Target::Vendor(vendor) => **vendor == *asked.vendor,
            Target::Service(service) => **service == *asked.service,
            Target::Tenant(service, tenant) => {
                let same = |label: &str| label.eq_ignore_ascii_case(tenant);
                **service == *asked.service && asked.tenant.is_some_and(same)
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Target::Category(_) => 1,
            Target::Vendor(_) => 2,
            Target::Service(_) => 3,
            Target::Tenant(..) => 4,
        }
    }

    /// The kind of target in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Category(_) => "category",
            Target::Vendor(_) => "vendor",
            Target::Service(_) => "service",
            Target::Tenant(..) => "tenant",
        }
    }

    /// Kind and name.
    pub fn text(&self) -> String {
        match self {
            Target::Category(name) | Target::Vendor(name) | Target::Service(name) => {
                format!("{}:{name}", self.kind())
            }
            Target::Tenant(service, tenant) => format!("tenant:{service}/{tenant}"),
        }
    }
}

impl Validity {
    /// First second at which the rule holds; `None` if it always did.
    fn begins_s(self) -> Option<u64> {
        self.decided.map(seconds)
    }

    /// First second at which it holds no more; `None` if it always will.
    fn ends_s(self) -> Option<u64> {
        let after = self.expires?.tomorrow().ok()?;
        Some(seconds(after))
    }

    fn begun(self, at: Timestamp) -> bool {
        self.begins_s().is_none_or(|from| from <= at.seconds())
    }

    fn ended(self, at: Timestamp) -> bool {
        self.ends_s().is_some_and(|until| until <= at.seconds())
    }

    /// `true` if it holds at that time.
    pub fn holds(self, at: Timestamp) -> bool {
        self.begun(at) && !self.ended(at)
    }

    /// `true` if some day belongs to both.
    fn meets(self, other: Validity) -> bool {
        let from = self.begins_s().max(other.begins_s()).unwrap_or(0);
        let until = [self.ends_s(), other.ends_s()].into_iter().flatten().min();
        until.is_none_or(|until| from < until)
    }
}

/// The beginning of a day in UTC, 0 for days before 1970.
fn seconds(day: Date) -> u64 {
    let zoned = day.to_zoned(TimeZone::UTC);
    zoned.map_or(0, |z| u64::try_from(z.timestamp().as_second()).unwrap_or(0))
}

/// Length of a version in characters: 48 bits tell policies apart and fit a line.
const VERSION_CHARS: usize = 12;

/// Digest of what was decided; neither comments nor the place of a rule change it.
fn version(rules: &[Rule], otherwise: &Otherwise) -> Text {
    if rules.is_empty() && otherwise.disposition == Disposition::Unreviewed {
        return Text::from("none");
    }
    let mut digest = blake3::Hasher::new();
    let mut add = |text: &str| {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    add(otherwise.disposition.code());
    for rule in rules {
        let date = |d: Option<Date>| d.map(|d| d.to_string()).unwrap_or_default();
        add(&rule.name);
        add(&rule.target.text());
        add(rule.status.map_or("", Disposition::code));
        add(rule.owner.as_deref().unwrap_or(""));
        add(rule.reason.as_deref().unwrap_or(""));
        add(&date(rule.validity.decided));
        add(&date(rule.validity.expires));
        rule.scope.digest(&mut add);
    }
    let hex = digest.finalize().to_hex();
    Arc::from(hex.as_str().get(..VERSION_CHARS).unwrap_or_default())
}
