//! Names and addresses that hide other names: encrypted DNS, ECH public names, security edges.
//!
//! In: plain host names and addresses. Out: what kind of hiding place it is, and whose.
//! Never: says that somebody used AI; these say what could not be seen.
//! Limits: those of `source.rs`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use rapidhash::fast::RandomState;
use serde::Deserialize;
use toml::Spanned;

use super::catalog::Kind;
use super::matcher::LabelTree;
use super::source::{self, CatalogueError, File};

/// Something on the network that hides names from a passive sensor.
#[derive(Clone, Debug)]
pub struct Hider {
    /// Stable, lower case.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Who runs it.
    pub vendor: String,
    /// What it hides.
    pub kind: HiderKind,
}

/// What a [`Hider`] hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiderKind {
    /// DNS questions, over HTTPS, TLS or QUIC (RFC 8484, 7858, 9250).
    EncryptedDns,
    /// Server names (RFC 9849).
    EchPublicName,
    /// Everything behind a cloud proxy that the organisation itself uses.
    SecurityEdge,
    /// Everything behind a relay or tunnel that a person uses.
    Relay,
}

/// All hiding places, by name and by address.
#[derive(Debug)]
pub struct Network {
    hiders: Vec<Hider>,
    names: LabelTree,
    addresses: HashMap<IpAddr, usize, RandomState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    hider: Vec<RawHider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHider {
    id: Spanned<String>,
    name: String,
    vendor: String,
    kind: HiderKind,
    #[serde(default)]
    exact: Vec<Spanned<String>>,
    #[serde(default)]
    suffix: Vec<Spanned<String>>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    source: String,
}

impl Network {
    /// The tables that the binary carries.
    ///
    /// # Errors
    /// Names file and line; a test of ours makes sure that a release has none.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::build(&source::embedded(is_network_file))
    }

    /// The tables of a folder; the embedded ones if the folder has no `network/`.
    ///
    /// # Errors
    /// Names file and line of the first thing that is wrong.
    pub fn from_dir(dir: &Path) -> Result<Self, CatalogueError> {
        let files = source::from_dir(dir, is_network_file)?;
        if files.is_empty() { Self::embedded() } else { Self::build(&files) }
    }

    /// What hides behind a host name in plain form.
    pub fn by_name(&self, host: &str) -> Option<&Hider> {
        let hit = self.names.find(host)?;
        self.hiders.get(hit.number as usize)
    }

    /// The encrypted resolver that answers at an address (ports 443, 853 and 8853 only tell).
    pub fn by_address(&self, addr: IpAddr) -> Option<&Hider> {
        let addr = addr.to_canonical();
        self.addresses.get(&addr).and_then(|&at| self.hiders.get(at))
    }

    /// `true` if `name` is the outer name of a hello whose real name is encrypted (RFC 9849).
    pub fn is_ech_public_name(&self, name: &str) -> bool {
        self.by_name(name).is_some_and(|h| h.kind == HiderKind::EchPublicName)
    }

    /// All of them, in the order of files and entries.
    pub fn hiders(&self) -> &[Hider] {
        &self.hiders
    }

    fn build(files: &[File]) -> Result<Self, CatalogueError> {
        let mut network =
            Self { hiders: Vec::new(), names: LabelTree::default(), addresses: HashMap::default() };
        for file in files {
            let raw: RawFile = file.parse()?;
            for hider in raw.hider {
                network.add(file, hider)?;
            }
        }
        Ok(network)
    }

    fn add(&mut self, file: &File, raw: RawHider) -> Result<(), CatalogueError> {
        let at = self.hiders.len();
        let id = raw.id.get_ref();
        if raw.source.is_empty() || self.hiders.iter().any(|h| h.id == *id) {
            let message = format!("{id:?} is taken, or has no source");
            return Err(file.error(raw.id.span(), message));
        }
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        for (kind, names) in [(Kind::Exact, &raw.exact), (Kind::Suffix, &raw.suffix)] {
            for name in names {
                let text = name.get_ref();
                super::catalog::check_pattern(text, kind)
                    .map_err(|m| file.error(name.span(), m))?;
                if !self.names.insert(text, kind, number) {
                    return Err(file.error(name.span(), format!("{text:?} is there already")));
                }
            }
        }
        for text in &raw.addresses {
            let parsed: Option<IpAddr> = text.get_ref().parse().ok();
            let Some(addr) = parsed else {
                let message = format!("{:?} is not an address", text.get_ref());
                return Err(file.error(text.span(), message));
            };
            if self.addresses.insert(addr, at).is_some() {
                return Err(file.error(text.span(), format!("{addr} is there already")));
            }
        }
        let RawHider { id, name, vendor, kind, .. } = raw;
        self.hiders.push(Hider { id: id.into_inner(), name, vendor, kind });
        Ok(())
    }
}

fn is_network_file(name: &str) -> bool {
    name.starts_with("network/")
}
