//! Host patterns as a tree of labels, walked from the right.
//!
//! In: patterns with a number each; then plain host names. Out: the number of the pattern that
//! fits best. Never: allocates during a lookup; changes the name.
//! Rules: labels are whole; the longest pattern wins; of equally long ones exact before suffix;
//! a barred name beats every shorter pattern. A template has one variable label; where a fixed
//! label fits as well, both ways are walked and the longer one wins, the fixed one on a tie.
//! Limits: a name is at most 253 bytes, so a walk ends after 127 labels (RFC 1035 §2.3.4).

use std::collections::HashMap;

use rapidhash::fast::RandomState;

use super::catalog::Kind;
use crate::types::NAME_MAX;

/// Longest label, in bytes (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// What a pattern gave for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'n> {
    /// Number given to [`LabelTree::insert`].
    pub number: u32,
    /// The label that the pattern left open: the variable one of a template, the one directly
    /// below a tenant or suffix; `None` if the pattern is the whole name.
    pub open: Option<&'n str>,
}

/// Patterns by label.
#[derive(Debug)]
pub struct LabelTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, u32, RandomState>,
    /// Variable labels: text before and behind the variable, and where it leads.
    open: Vec<(Box<str>, Box<str>, u32)>,
    exact: Option<u32>,
    suffix: Option<u32>,
    tenant: Option<u32>,
    /// Nothing shorter holds from here on.
    barred: bool,
}

/// How far a walk came: what it found, and how many labels deep that was.
#[derive(Clone, Copy)]
struct Found<'n> {
    hit: Option<Hit<'n>>,
    depth: usize,
}

impl Default for LabelTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl LabelTree {
    /// Adds a pattern; `false` if this place is taken already.
    pub fn insert(&mut self, pattern: &str, kind: Kind, number: u32) -> bool {
        let node = self.place(pattern);
        let seat = match kind {
            Kind::Exact | Kind::Template => &mut node.exact,
            Kind::Suffix => &mut node.suffix,
            Kind::Tenant => &mut node.tenant,
        };
        if seat.is_some() {
            return false;
        }
        *seat = Some(number);
        true
    }

    /// Bars a name and everything below it from shorter patterns.
    pub fn bar(&mut self, name: &str) {
        self.place(name).barred = true;
    }

    /// The pattern that fits `name` best; `name` is in plain form.
    pub fn find<'n>(&self, name: &'n str) -> Option<Hit<'n>> {
        let root = self.nodes.first()?;
        if name.len() > NAME_MAX {
            return None;
        }
        self.walk(root, Some(name), 0, None).hit
    }

    /// From `node`, `depth` labels deep, along `rest`, the labels not walked yet.
    fn walk<'t, 'n>(
        &'t self,
        mut node: &'t Node,
        mut rest: Option<&'n str>,
        mut depth: usize,
        open: Option<&'n str>,
    ) -> Found<'n> {
        let mut best = Found { hit: None, depth: 0 };
        loop {
            let Some(name) = rest else {
                if let Some(number) = node.exact.or(node.suffix) {
                    best = Found { hit: Some(Hit { number, open }), depth };
                } else if node.barred {
                    best = Found { hit: None, depth };
                }
                return best;
            };
            let (left, label) = match name.rsplit_once('.') {
                Some((left, label)) => (Some(left), label),
                None => (None, name),
            };
            if let Some(number) = node.tenant.or(node.suffix) {
                best = Found { hit: Some(Hit { number, open: Some(label) }), depth };
            } else if node.barred {
                best = Found { hit: None, depth };
            }
            if label.is_empty() || label.len() > LABEL_MAX {
                // Not a name: an empty or overlong label never matches anything.
                return Found { hit: None, depth };
            }
            for (before, behind, to) in &node.open {
                let inner = label
                    .strip_prefix(before.as_ref())
                    .and_then(|l| l.strip_suffix(behind.as_ref()))
                    .filter(|l| !l.is_empty());
                if let (Some(inner), Some(next)) = (inner, self.nodes.get(*to as usize)) {
                    let found = self.walk(next, left, depth + 1, Some(inner));
                    if found.hit.is_some() && found.depth > best.depth {
                        best = found;
                    }
                }
            }
            let next = node.children.get(label).and_then(|&to| self.nodes.get(to as usize));
            let Some(next) = next else { return best };
            (node, rest, depth) = (next, left, depth + 1);
        }
    }

    /// The node of a pattern, made if need be.
    fn place(&mut self, pattern: &str) -> &mut Node {
        let mut at = 0;
        for label in pattern.rsplit('.') {
            at = self.step(at, label);
        }
        let at = at.min(self.nodes.len().saturating_sub(1));
        #[expect(clippy::indexing_slicing, reason = "the root always exists, and at is clamped")]
        &mut self.nodes[at]
    }

    /// The child of node `at` under `label`, made if need be.
    fn step(&mut self, at: usize, label: &str) -> usize {
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Some(node) = self.nodes.get_mut(at) else { return 0 };
        let to = match variable(label) {
            None => *node.children.entry(label.into()).or_insert(new),
            Some((before, behind)) => {
                let known = node.open.iter().find(|o| *o.0 == *before && *o.1 == *behind);
                let to = known.map_or(new, |o| o.2);
                if to == new {
                    node.open.push((before.into(), behind.into(), new));
                }
                to
            }
        };
        if to == new {
            self.nodes.push(Node::default());
        }
        to as usize
    }
}

/// Text before and behind the `{name}` of a label; `None` if the label is fixed.
pub(super) fn variable(label: &str) -> Option<(&str, &str)> {
    let (before, rest) = label.split_once('{')?;
    let (_, behind) = rest.split_once('}')?;
    Some((before, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> LabelTree {
        let mut tree = LabelTree::default();
        let patterns = [
            ("chat.example.com", Kind::Exact),
            ("example.com", Kind::Suffix),
            ("api.example.com", Kind::Suffix),
            ("ai.example.net", Kind::Tenant),
            ("run.{region}.cloud.test", Kind::Template),
            ("{region}-plat.cloud.test", Kind::Template),
            ("run.eu.cloud.test", Kind::Exact),
            ("deep.docs.example.com", Kind::Exact),
            ("both.example.com", Kind::Exact),
            ("both.example.com", Kind::Suffix),
        ];
        for (number, (pattern, kind)) in (0..).zip(patterns) {
            assert!(tree.insert(pattern, kind, number), "{pattern}");
        }
        tree.bar("docs.example.com");
        tree
    }

    #[test]
    fn the_longest_pattern_wins_at_label_borders() {
        let tree = tree();
        let cases: &[(&str, &str, Option<(u32, Option<&str>)>)] = &[
            ("exact", "chat.example.com", Some((0, None))),
            ("below exact: the suffix", "a.chat.example.com", Some((1, Some("chat")))),
            ("bare suffix", "example.com", Some((1, None))),
            ("deeper suffix", "x.api.example.com", Some((2, Some("x")))),
            ("no border", "badexample.com", None),
            ("look-alike behind", "example.com.evil.test", None),
            ("only the public part", "com", None),
            ("empty", "", None),
            ("empty label", "a..example.com", None),
            ("leading dot", ".example.com", None),
            ("final dot is not plain", "example.com.", None),
            ("tenant", "t1.ai.example.net", Some((3, Some("t1")))),
            ("deep tenant", "a.t1.ai.example.net", Some((3, Some("t1")))),
            ("bare tenant", "ai.example.net", None),
            ("template", "run.us-1.cloud.test", Some((4, Some("us-1")))),
            ("template too deep", "x.run.us-1.cloud.test", None),
            ("template too short", "us-1.cloud.test", None),
            ("variable within a label", "us-1-plat.cloud.test", Some((5, Some("us-1")))),
            ("empty variable", "-plat.cloud.test", None),
            ("fixed before template", "run.eu.cloud.test", Some((6, None))),
            ("fixed branch without goal", "walk.eu.cloud.test", None),
            ("barred", "docs.example.com", None),
            ("below barred", "v2.docs.example.com", None),
            ("named below barred", "deep.docs.example.com", Some((7, None))),
            ("exact before suffix", "both.example.com", Some((8, None))),
            ("suffix of both", "x.both.example.com", Some((9, Some("x")))),
            ("upper case is not plain", "CHAT.EXAMPLE.COM", None),
        ];
        for (name, host, expected) in cases {
            let found = tree.find(host).map(|h| (h.number, h.open));
            assert_eq!(found, *expected, "{name}: {host}");
        }
    }

    #[test]
    fn a_name_of_many_labels_ends() {
        let tree = tree();
        let long = format!("{}example.com", "a.".repeat(120));
        assert_eq!(tree.find(&long).map(|h| h.number), Some(1));
        let too_long = format!("{}example.com", "a.".repeat(125));
        assert_eq!(tree.find(&too_long), None);
        let label = format!("{}.example.com", "a".repeat(64));
        assert_eq!(tree.find(&label), None);
    }

    #[test]
    fn a_place_is_taken_once() {
        let mut tree = tree();
        assert!(!tree.insert("example.com", Kind::Suffix, 99));
        assert!(tree.insert("example.com", Kind::Exact, 99));
        assert!(!tree.insert("run.{zone}.cloud.test", Kind::Template, 99));
    }
}
