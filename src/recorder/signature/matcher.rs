//! Host patterns as a tree of labels, walked from the right.
//!
//! In: patterns with a number each; then plain host names. Out: the number of the pattern that
//! fits best. Never: allocates during a lookup; changes the name.
//! Rules: labels are whole; the longest pattern wins; of equally long ones exact before suffix;
//! a barred name beats every shorter pattern. A template has one variable label; where a fixed
//! label fits as well, both ways are walked and the longer one wins, the fixed one on a tie.
//! Speed: most names are no service's, so the last two labels are one hash-map probe, and the
//! walk goes on only below those that some pattern has.
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

/// Patterns by label. Every pattern has two labels or more, and the last two are fixed.
#[derive(Debug, Default)]
pub struct LabelTree {
    /// Last two labels → their node.
    roots: HashMap<Box<[u8]>, u32, RandomState>,
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Fixed labels, in the order of their heads.
    children: Vec<Child>,
    open: Vec<OpenLabel>,
    exact: Option<u32>,
    suffix: Option<u32>,
    tenant: Option<u32>,
    /// Nothing shorter holds from here on.
    barred: bool,
}

/// A fixed label, its first bytes as a number, and where it leads. Comparing numbers finds the
/// label in a few steps; its bytes are then compared once.
#[derive(Debug)]
struct Child {
    head: u64,
    label: Box<[u8]>,
    to: u32,
}

/// A variable label: the bytes before and behind the variable, and where it leads.
#[derive(Debug)]
struct OpenLabel {
    before: Box<[u8]>,
    behind: Box<[u8]>,
    to: u32,
}

/// How far a walk came: which pattern, the bytes it left open, and how many bytes of the name
/// stand left of it.
#[derive(Clone, Copy)]
struct Found {
    number: Option<u32>,
    open: Option<(usize, usize)>,
    left: usize,
}

impl LabelTree {
    /// Adds a pattern; `false` if this place is taken already, or the pattern has one label only.
    pub fn insert(&mut self, pattern: &str, kind: Kind, number: u32) -> bool {
        let Some(node) = self.place(pattern) else { return false };
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
        if let Some(node) = self.place(name) {
            node.barred = true;
        }
    }

    /// The pattern that fits `name` best; `name` is in plain form.
    pub fn find<'n>(&self, name: &'n str) -> Option<Hit<'n>> {
        let bytes = name.as_bytes();
        if bytes.len() > NAME_MAX {
            return None;
        }
        let (start, left) = last_label(bytes, last_label(bytes, bytes.len()).1?);
        let root = *self.roots.get(bytes.get(start..)?)?;
        let found = self.walk(self.node(root)?, bytes, left, None);
        let number = found.number?;
        Some(Hit { number, open: found.open.and_then(|(from, to)| name.get(from..to)) })
    }

    /// From `node` on along the labels in `name[..left]`; `None` if all are walked.
    fn walk<'t>(
        &'t self,
        mut node: &'t Node,
        name: &[u8],
        mut left: Option<usize>,
        open: Option<(usize, usize)>,
    ) -> Found {
        let mut best = Found { number: None, open: None, left: name.len() };
        loop {
            let Some(end) = left else {
                let number = node.exact.or(node.suffix);
                if number.is_some() || node.barred {
                    best = Found { number, open, left: 0 };
                }
                return best;
            };
            let (start, next_left) = last_label(name, end);
            let number = node.tenant.or(node.suffix);
            // A template that was walked before may have come further.
            if (number.is_some() || node.barred) && end <= best.left {
                best = Found { number, open: Some((start, end)), left: end };
            }
            let label = name.get(start..end).unwrap_or_default();
            if label.is_empty() || label.len() > LABEL_MAX {
                // Not a name: an empty or overlong label never matches anything.
                return Found { number: None, open: None, left: end };
            }
            for OpenLabel { before, behind, to } in &node.open {
                let fits = label.len() > before.len().saturating_add(behind.len())
                    && (before.is_empty() || label.starts_with(before))
                    && (behind.is_empty() || label.ends_with(behind));
                let Some(next) = self.node(*to).filter(|_| fits) else { continue };
                let inner = (start + before.len(), end - behind.len());
                let found = self.walk(next, name, next_left, Some(inner));
                if found.number.is_some() && found.left < best.left {
                    best = found;
                }
            }
            let Some(next) = node.child(label).and_then(|to| self.node(to)) else { return best };
            (node, left) = (next, next_left);
        }
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    /// The node of a pattern, made if need be.
    fn place(&mut self, pattern: &str) -> Option<&mut Node> {
        let bytes = pattern.as_bytes();
        let (start, mut left) = last_label(bytes, last_label(bytes, bytes.len()).1?);
        let new = u32::try_from(self.nodes.len()).ok()?;
        let mut at = *self.roots.entry(bytes.get(start..)?.into()).or_insert(new);
        self.add_if(at == new);
        while let Some(end) = left {
            let (start, next_left) = last_label(bytes, end);
            at = self.step(at, pattern.get(start..end)?)?;
            left = next_left;
        }
        self.nodes.get_mut(at as usize)
    }

    /// The child of node `at` under `label`, made if need be.
    fn step(&mut self, at: u32, label: &str) -> Option<u32> {
        let new = u32::try_from(self.nodes.len()).ok()?;
        let node = self.nodes.get_mut(at as usize)?;
        let to = match variable(label) {
            None => {
                let label = label.as_bytes();
                node.child(label).unwrap_or_else(|| {
                    let head = head(label);
                    let place = node.children.partition_point(|c| c.head < head);
                    node.children.insert(place, Child { head, label: label.into(), to: new });
                    new
                })
            }
            Some((before, behind)) => {
                let (before, behind) = (before.as_bytes(), behind.as_bytes());
                let known = node.open.iter().find(|o| *o.before == *before && *o.behind == *behind);
                let to = known.map_or(new, |o| o.to);
                if to == new {
                    node.open.push(OpenLabel {
                        before: before.into(),
                        behind: behind.into(),
                        to: new,
                    });
                }
                to
            }
        };
        self.add_if(to == new);
        Some(to)
    }

    fn add_if(&mut self, new: bool) {
        if new {
            self.nodes.push(Node::default());
        }
    }
}

impl Node {
    #[inline]
    fn child(&self, label: &[u8]) -> Option<u32> {
        let head = head(label);
        let first = self.children.partition_point(|c| c.head < head);
        let same = self.children.get(first..)?.iter().take_while(|c| c.head == head);
        // The head holds all of a label of up to eight bytes.
        same.filter(|c| c.label.len() == label.len() && c.label.get(8..) == label.get(8..))
            .map(|c| c.to)
            .next()
    }
}

/// The first eight bytes of a label as a number; shorter labels count from the right. Equal
/// labels have equal heads, and that is all that is asked of them.
#[inline]
fn head(label: &[u8]) -> u64 {
    match label.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => label.iter().fold(0, |head, &byte| head << 8 | u64::from(byte)),
    }
}

/// Where the last label of `name[..end]` begins, and where what stands left of its dot ends.
#[inline]
fn last_label(name: &[u8], end: usize) -> (usize, Option<usize>) {
    let dot = last_dot(name.get(..end).unwrap_or_default());
    (dot.map_or(0, |d| d.saturating_add(1)), dot)
}

/// Place of the last dot, eight bytes at a time: this is most of a lookup's work.
#[inline]
fn last_dot(mut bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const DOTS: u64 = u64::from_le_bytes([b'.'; 8]);
    while let Some((front, chunk)) = bytes.split_last_chunk::<8>() {
        let diff = u64::from_le_bytes(*chunk) ^ DOTS;
        // The high bit of each byte that equals a dot; no carry crosses a byte.
        let equal = !(((diff & LOW).wrapping_add(LOW)) | diff | LOW);
        if equal != 0 {
            let behind = (equal.leading_zeros() / 8) as usize;
            return Some(front.len().wrapping_add(7).wrapping_sub(behind));
        }
        bytes = front;
    }
    bytes.iter().rposition(|&b| b == b'.')
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
            ("api.{plan}.tool.test", Kind::Template),
            ("pro.tool.test", Kind::Suffix),
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
            ("template longer than a fixed suffix", "api.pro.tool.test", Some((10, Some("pro")))),
            ("the fixed suffix elsewhere", "www.pro.tool.test", Some((11, Some("www")))),
            ("upper case is not plain", "CHAT.EXAMPLE.COM", None),
        ];
        for (name, host, expected) in cases {
            let found = tree.find(host).map(|h| (h.number, h.open));
            assert_eq!(found, *expected, "{name}: {host}");
        }
    }

    #[test]
    fn the_last_dot_is_found_wherever_it_is() {
        for length in 0..40 {
            for at in 0..length {
                // Neighbours of the dot in every bit, a second dot before it, and high bytes.
                for filler in [b'/', b'-', b'a', 0xae, 0x00, 0xff] {
                    let mut bytes = vec![filler; length];
                    assert_eq!(last_dot(&bytes), None);
                    bytes[at / 2] = b'.';
                    bytes[at] = b'.';
                    assert_eq!(last_dot(&bytes), Some(at), "{bytes:?}");
                }
            }
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
