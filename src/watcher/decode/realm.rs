//! Which address space a frame is of: what interfaces, VLANs and virtual networks say.
//!
//! In: the input of a frame, and the tags met on the way in. Out: a [`Realm`].
//! Never: guesses; what nobody configured is realm 0.

use serde::{Deserialize, Serialize};

use crate::types::Realm;

/// What tells address spaces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tag {
    /// Id of a VLAN (IEEE 802.1Q).
    Vlan,
    /// Number of a virtual network (VXLAN, GENEVE).
    Vni,
}

/// Realms by what tells them; the innermost tag that is listed decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realms {
    tags: Vec<(Tag, u32, u32, Realm)>,
    /// Interfaces and files by their names, until the inputs are known.
    named: Vec<(String, Realm)>,
    /// By index of the input.
    inputs: Vec<Realm>,
}

impl Realms {
    /// Every id from `first` to `last` is of `realm`.
    pub fn tag(&mut self, tag: Tag, first: u32, last: u32, realm: Realm) {
        self.tags.push((tag, first, last, realm));
    }

    /// The interface or file of that name is of `realm`.
    pub fn interface(&mut self, name: &str, realm: Realm) {
        self.named.push((name.to_owned(), realm));
    }

    /// `true` if all is one realm.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.inputs.iter().all(|r| *r == Realm::default())
    }

    /// Tells the names of the inputs, by index.
    pub fn resolve(&mut self, inputs: &[String]) {
        let realm = |name: &String| {
            let known = self.named.iter().find(|(known, _)| known == name);
            known.map_or(Realm::default(), |(_, realm)| *realm)
        };
        self.inputs = inputs.iter().map(realm).collect();
    }

    /// Realm of the frames of an input.
    pub fn of_input(&self, input: u16) -> Realm {
        self.inputs.get(usize::from(input)).copied().unwrap_or_default()
    }

    /// Realm behind a tag; nothing if it is not listed.
    pub fn behind(&self, tag: Tag, id: u32) -> Option<Realm> {
        let holds = |(kind, first, last, _): &&(Tag, u32, u32, Realm)| {
            *kind == tag && (*first..=*last).contains(&id)
        };
        self.tags.iter().find(holds).map(|(.., realm)| *realm)
    }
}
