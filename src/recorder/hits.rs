//! Verdicts by name: one cache a catalogue, filled as names first appear.
//!
//! In: texts as the watchers' interners number them. Out: text and [`Said`] by number.
//! Limits: as many entries as the interners have numbers.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::aggregate::Place;
use super::signature::network::HiderKind;
use super::signature::{Accounts, Catalogue, Network, Strength};
use super::store::rows::Text;
use super::words::Role;
use crate::observation::TextId;
use crate::prefetch::prefetch;
use crate::types::NAME_MAX;

/// What the catalogue says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Service id.
    pub service: Text,
    /// Name of the service as a person writes it.
    pub service_name: Text,
    /// Vendor.
    pub vendor: Text,
    /// Category word.
    pub category: Text,
    /// Pattern that matched.
    pub pattern: Text,
    /// Tenant label, if the pattern has one.
    pub tenant: Option<Text>,
    /// What the host is for.
    pub role: Role,
    /// The name alone does not prove the service.
    pub weak: bool,
    /// No name tells a company's account of the service from a private one.
    pub same_host: bool,
}

/// What is known of a name from the name alone.
#[derive(Debug, Default)]
pub struct Said {
    /// The service that it belongs to.
    pub hit: Option<Arc<Hit>>,
    /// What it hides, and whose hiding place it is.
    pub hider: Option<Arc<(HiderKind, Text)>>,
}

/// A text: one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    text: Text,
    /// Looked up when first asked for: fingerprints and programs are texts too, and no names.
    said: OnceCell<Said>,
    place: Cell<Place>,
}

/// Texts of one watcher.
#[derive(Debug, Default)]
pub struct Texts {
    entries: Vec<Entry>,
}

impl Texts {
    /// Learns the texts that a batch brings.
    pub fn learn(&mut self, texts: &[(TextId, Arc<str>)]) {
        for (id, text) in texts {
            let place = id.0 as usize;
            let new = |text| Entry { text, said: OnceCell::new(), place: Cell::default() };
            if place >= self.entries.len() {
                self.entries.resize_with(place + 1, || new(Text::from("")));
            }
            if let Some(entry) = self.entries.get_mut(place) {
                *entry = new(text.clone());
            }
        }
    }

    /// Forgets what is known of names: another catalogue is asked from here on.
    pub fn forget(&mut self) {
        for entry in &mut self.entries {
            entry.said = OnceCell::new();
        }
    }

    /// Asks for what is known of a number, which is needed soon.
    pub fn prefetch(&self, id: TextId) {
        if let Some(entry) = self.entries.get(id.0 as usize) {
            prefetch(entry);
        }
    }

    /// Where the bytes of a name are counted, as far as it is known.
    pub fn place(&self, id: TextId) -> Place {
        self.entries.get(id.0 as usize).map_or_else(Place::default, |e| e.place.get())
    }

    /// The text of a number; `None` for the empty one.
    pub fn text(&self, id: TextId) -> Option<&Text> {
        if id.is_none() {
            return None;
        }
        self.entries.get(id.0 as usize).map(|e| &e.text)
    }

    /// The text, or nothing.
    pub fn str(&self, id: TextId) -> &str {
        self.text(id).map_or("", |t| t)
    }

    /// The name of a number, and what is known of it; `None` for the empty one.
    pub fn name(&self, id: TextId, catalogue: &Catalogue, network: &Network) -> Option<Name<'_>> {
        if id.is_none() {
            return None;
        }
        let Entry { text, said, place } = self.entries.get(id.0 as usize)?;
        let said = said.get_or_init(|| Said {
            hit: hit(catalogue, text).map(Arc::new),
            hider: network.by_name(text).map(|h| Arc::new((h.kind, Text::from(h.name.as_str())))),
        });
        Some(Name { text, said, place })
    }
}

/// A name as a watcher's number gives it.
#[derive(Clone, Copy, Debug)]
pub struct Name<'t> {
    /// The name.
    pub text: &'t Text,
    /// What is known of it.
    pub said: &'t Said,
    /// Where its bytes are counted.
    pub place: &'t Cell<Place>,
}

/// What the catalogue says of `name`.
pub fn hit(catalogue: &Catalogue, name: &str) -> Option<Hit> {
    if name.len() > NAME_MAX || !name.contains('.') {
        return None;
    }
    let found = catalogue.lookup(name)?;
    Some(Hit {
        service: Text::from(found.service.id.as_str()),
        service_name: Text::from(found.service.name.as_str()),
        vendor: Text::from(found.service.vendor.as_str()),
        category: Text::from(found.service.category.word()),
        pattern: Text::from(found.host.pattern.as_str()),
        tenant: found.tenant.map(Text::from),
        role: found.role,
        weak: found.host.strength == Strength::Weak,
        same_host: found.service.accounts == Accounts::SameHost,
    })
}
