//! Verdicts by name: one cache a catalogue, filled as names first appear.
//!
//! In: texts as the watchers' interners number them. Out: text and [`Hit`] by number.
//! Limits: as many entries as the interners have numbers.

use std::sync::Arc;

use crate::observation::TextId;
use crate::recorder::signature::{Catalogue, Strength};
use crate::recorder::store::rows::Text;
use crate::recorder::words::Role;
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
}

#[derive(Clone, Debug)]
struct Entry {
    text: Text,
    hit: Option<Arc<Hit>>,
}

/// Texts of one watcher.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    entries: Vec<Entry>,
}

impl Texts {
    /// Learns the texts that a batch brings.
    pub fn learn(&mut self, texts: &[(TextId, Arc<str>)], catalogue: &Catalogue) {
        for (id, text) in texts {
            let place = id.0 as usize;
            if place >= self.entries.len() {
                let none = Entry { text: Text::from(""), hit: None };
                self.entries.resize(place + 1, none);
            }
            if let Some(entry) = self.entries.get_mut(place) {
                *entry = Entry { text: text.clone(), hit: hit(catalogue, text).map(Arc::new) };
            }
        }
    }

    /// Asks another catalogue about every text.
    pub fn look_up_again(&mut self, catalogue: &Catalogue) {
        for entry in &mut self.entries {
            entry.hit = hit(catalogue, &entry.text).map(Arc::new);
        }
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

    /// What the catalogue says of it.
    pub fn hit(&self, id: TextId) -> Option<&Arc<Hit>> {
        if id.is_none() {
            return None;
        }
        self.entries.get(id.0 as usize)?.hit.as_ref()
    }
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
        role: Role::from_code(found.role.word()).unwrap_or(Role::Other),
        weak: found.host.strength == Strength::Weak,
    })
}
