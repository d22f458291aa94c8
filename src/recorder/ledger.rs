//! The ledger: every destination by day, without people, so that it can be asked for a name but
//! not read.
//!
//! In: names with bytes and the addresses of clients; a secret key. Out: [`LedgerDay`]s, which hold
//! hashes under that key and a sketch of how many devices there were.
//! Never: keeps a name, an address, or anything by which two destinations show the same device:
//! devices are hashed together with the destination.
//! Limits: [`PARENTS_MAX`] parents a name; [`REGISTERS`] registers a sketch, an error of 13 %.
//!
//! Names of tenants (`contoso.openai.example`) are folded into their pattern before they are
//! hashed: a customer's label may name a firm or a person. Beside its own hash, a row has short
//! ones of the domains above it, so that a signature that comes later may ask for a suffix.
//! Source: Flajolet et al., HyperLogLog (2007), with linear counting for small numbers.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::signature::{Catalogue, Kind};
use crate::types::NAME_MAX;

/// Octets of the key: those of BLAKE3's keyed mode.
pub const KEY_BYTES: usize = 32;

/// Octets that are hashed in one piece, the kind in front of them: any name.
const HASHED_MAX: usize = NAME_MAX + 3;

/// Octets of a parent's hash. A ledger of a million rows then gives one false answer in a million.
const PARENT_BYTES: usize = 5;

/// Domains above a name that are kept, from the registrable one down: names with more labels than
/// that are made by machines, and nobody writes signatures in their middle.
const PARENTS_MAX: usize = 4;

/// Registers of a sketch, five bits each: 40 octets, so that a full row stays under 120.
const REGISTERS: usize = 64;

/// Octets of a sketch with all its registers; shorter ones hold pairs of place and rank.
const DENSE_BYTES: usize = REGISTERS / 8 * 5;

/// Largest rank in five bits.
const RANK_MAX: u8 = 31;

/// Bias of 64 registers (the paper's alpha).
const ALPHA: f64 = 0.709;

/// Octets of a device's hash. Among [`DEVICES_MAX`] two are alike once in 500 million times.
pub const DEVICE_BYTES: usize = 5;

/// Devices at one destination that are told apart over several inputs; more is "at least".
pub const DEVICES_MAX: usize = 64;

/// The secret under which names are hashed. Without it the ledger cannot be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct LedgerKey([u8; KEY_BYTES]);

/// Hash of a whole name.
pub type HostHash = u64;

/// What a row keeps of the hash of a domain above its name.
pub type ShortHash = [u8; PARENT_BYTES];

/// One destination on one day in one input, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerDay {
    /// Days since the epoch.
    pub day: u32,
    /// Hash of the folded name.
    pub host: HostHash,
    /// Hashes of the domains above it, five octets each.
    pub above: Vec<u8>,
    /// Payload bytes from clients.
    pub bytes_up: u64,
    /// Payload bytes to clients.
    pub bytes_down: u64,
    /// Flows that began.
    pub flows: u64,
    /// What gave the name: a bit for each number of `EvidenceKind`.
    pub evidence: u32,
    /// How many devices, about.
    pub devices: Sketch,
}

/// How many different things were put in, about; what they were cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    ranks: [u8; REGISTERS],
}

impl std::fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LedgerKey(..)")
    }
}

impl LedgerKey {
    /// A key of these octets, which must come from a good source of chance.
    pub fn new(octets: [u8; KEY_BYTES]) -> Self {
        Self(octets)
    }

    /// What tells this key from others and does not give it away.
    pub fn fingerprint(&self) -> u64 {
        self.hash(b'k', &[])
    }

    /// Hash of a name as the ledger has it: folded, in plain form.
    pub fn host(&self, name: &str) -> HostHash {
        self.hash(b'n', name.as_bytes())
    }

    /// The row of a destination.
    pub fn row(&self, catalogue: &Catalogue, name: &str, day: u32) -> LedgerDay {
        let folded = fold(catalogue, name);
        LedgerDay {
            day,
            host: self.host(&folded),
            above: self.above(&folded),
            bytes_up: 0,
            bytes_down: 0,
            flows: 0,
            evidence: 0,
            devices: Sketch::default(),
        }
    }

    /// Counts a device at a row's destination.
    pub fn count(&self, row: &mut LedgerDay, device: IpAddr) {
        row.devices.insert(self.device(row.host, device));
    }

    /// Hashes of devices at a destination, so that those of several inputs can be united: the
    /// first octets of each, the lowest [`DEVICES_MAX`] in order.
    pub fn devices(&self, name: &str, devices: impl Iterator<Item = IpAddr>) -> Vec<u8> {
        let host = self.host(name);
        let hashes: BTreeSet<[u8; DEVICE_BYTES]> =
            devices.map(|device| short(self.device(host, device))).collect();
        hashes.into_iter().take(DEVICES_MAX).flatten().collect()
    }

    fn device(&self, host: HostHash, device: IpAddr) -> u64 {
        let mut text = [0; 24];
        let [host_octets @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = &mut text;
        *host_octets = host.to_be_bytes();
        let [_, _, _, _, _, _, _, _, addr @ ..] = &mut text;
        *addr = match device {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        };
        self.hash(b'd', &text)
    }

    fn hash(&self, what: u8, text: &[u8]) -> u64 {
        // In one piece: the state of a hasher that takes parts is twenty times as large.
        let mut whole = [what; HASHED_MAX];
        let [_, room @ ..] = &mut whole;
        let digest = match room.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                blake3::keyed_hash(&self.0, whole.get(..=text.len()).unwrap_or_default())
            }
            None => blake3::Hasher::new_keyed(&self.0).update(&[what]).update(text).finalize(),
        };
        let first = digest.as_bytes().first_chunk::<8>();
        first.map_or(0, |octets| u64::from_be_bytes(*octets))
    }

    /// Hashes of the domains above a name, the registrable one first.
    fn above(&self, name: &str) -> Vec<u8> {
        let Some(domain) = psl::domain(name.as_bytes()) else { return Vec::new() };
        let mut parents = Vec::new();
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if parent.len() < domain.as_bytes().len() {
                break;
            }
            parents.push(parent);
            rest = parent;
        }
        let hash = |parent: &&str| short(self.host(parent));
        parents.iter().rev().take(PARENTS_MAX).flat_map(hash).collect()
    }
}

/// The first octets of a hash, as parents are kept.
pub fn short(hash: HostHash) -> ShortHash {
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [a, b, c, d, e]
}

impl LedgerDay {
    /// `true` if the row's name lies below the one with this hash.
    pub fn is_below(&self, name: HostHash) -> bool {
        let short = short(name);
        self.parents().any(|parent| parent == short)
    }

    /// What it keeps of the domains above its name.
    pub fn parents(&self) -> impl Iterator<Item = ShortHash> {
        self.above.chunks_exact(PARENT_BYTES).filter_map(|parent| parent.try_into().ok())
    }
}

/// A name without what only says whose it is: the label that a tenant or template pattern of the
/// catalogue leaves open becomes `*`.
pub fn fold<'n>(catalogue: &Catalogue, name: &'n str) -> Cow<'n, str> {
    if name.len() > NAME_MAX {
        return Cow::Borrowed(name);
    }
    let Some(found) = catalogue.lookup(name) else { return Cow::Borrowed(name) };
    match folded_pattern(&found.host.pattern, found.host.kind) {
        Some(folded) => Cow::Owned(folded),
        None => Cow::Borrowed(name),
    }
}

/// The name under which all tenants of a pattern are counted; `None` for patterns without any.
pub fn folded_pattern(pattern: &str, kind: Kind) -> Option<String> {
    match kind {
        Kind::Exact | Kind::Suffix => None,
        Kind::Tenant => Some(format!("*.{pattern}")),
        Kind::Template => {
            let (before, rest) = pattern.split_once('{')?;
            let (_, behind) = rest.split_once('}')?;
            Some(format!("{before}*{behind}"))
        }
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { ranks: [0; REGISTERS] }
    }
}

impl Sketch {
    /// Puts in something by its hash.
    pub fn insert(&mut self, hash: u64) {
        // Six bits say which register, the zeros in front of the others which rank.
        let place = usize::try_from(hash >> 58).unwrap_or(0);
        let rank = u8::try_from((hash << 6).leading_zeros() + 1).unwrap_or(RANK_MAX);
        if let Some(known) = self.ranks.get_mut(place) {
            *known = (*known).max(rank.min(RANK_MAX));
        }
    }

    /// Puts in everything that is in the other.
    pub fn merge(&mut self, other: &Self) {
        for (mine, other) in self.ranks.iter_mut().zip(other.ranks) {
            *mine = (*mine).max(other);
        }
    }

    /// How many different things are in it, about.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::naive_bytecount,
        reason = "a sum of 64 positive terms is far from the ends of both types; 64 octets"
    )]
    pub fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let sum: f64 = self.ranks.iter().map(|&rank| (-f64::from(rank)).exp2()).sum();
        let raw = ALPHA * m * m / sum;
        let empty = self.ranks.iter().filter(|&&rank| rank == 0).count();
        let counted = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
        counted.round() as u64
    }

    /// The sketch in octets: pairs of place and rank while that is shorter.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pairs = (0u8..).zip(self.ranks).filter(|(_, rank)| *rank > 0);
        let sparse: Vec<u8> = pairs.flat_map(|(place, rank)| [place, rank]).collect();
        if sparse.len() < DENSE_BYTES {
            return sparse;
        }
        let pack = |eight: &[u8]| {
            let bits = eight.iter().fold(0u64, |bits, &rank| bits << 5 | u64::from(rank));
            let [_, _, _, octets @ ..] = bits.to_be_bytes();
            octets
        };
        self.ranks.chunks(8).flat_map(pack).collect()
    }

    /// The sketch of such octets; what makes no sense is left out.
    pub fn from_bytes(octets: &[u8]) -> Self {
        let mut sketch = Self::default();
        if octets.len() == DENSE_BYTES {
            for (ranks, packed) in sketch.ranks.chunks_mut(8).zip(octets.chunks(5)) {
                let mut bits =
                    packed.iter().fold(0u64, |bits, &octet| bits << 8 | u64::from(octet));
                for rank in ranks.iter_mut().rev() {
                    *rank = u8::try_from(bits & u64::from(RANK_MAX)).unwrap_or(0);
                    bits >>= 5;
                }
            }
            return sketch;
        }
        for pair in octets.chunks_exact(2) {
            if let [place, rank] = *pair
                && let Some(known) = sketch.ranks.get_mut(usize::from(place))
            {
                *known = (*known).max(rank.min(RANK_MAX));
            }
        }
        sketch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LedgerKey {
        LedgerKey::new([7; KEY_BYTES])
    }

    #[test]
    fn a_sketch_counts_about_and_comes_back() {
        // (things, least, most): exact for few, within three times 13 % for many.
        for (things, least, most) in
            [(0, 0, 0), (1, 1, 1), (2, 2, 2), (10, 9, 11), (100, 70, 130), (20_000, 12_500, 27_500)]
        {
            let mut sketch = Sketch::default();
            for thing in 0..things {
                sketch.insert(key().hash(b'd', &u64::to_be_bytes(thing)));
                sketch.insert(key().hash(b'd', &u64::to_be_bytes(thing)));
            }
            let estimate = sketch.estimate();
            assert!((least..=most).contains(&estimate), "{things}: {estimate}");
            let octets = sketch.to_bytes();
            assert!(octets.len() <= DENSE_BYTES, "{things}");
            assert_eq!(Sketch::from_bytes(&octets), sketch, "{things}");
        }
    }

    #[test]
    fn merged_sketches_count_what_is_in_either() {
        let of = |range: std::ops::Range<u64>| {
            let mut sketch = Sketch::default();
            range.for_each(|n| sketch.insert(key().hash(b'd', &n.to_be_bytes())));
            sketch
        };
        let mut merged = of(0..30);
        merged.merge(&of(10..40));
        assert_eq!(merged, of(0..40));
    }

    #[test]
    fn any_octets_are_a_sketch() {
        for octets in [&[][..], &[1], &[255, 255], &[0, 255], &[255; 40], &[9; 41], &[255; 100]] {
            let sketch = Sketch::from_bytes(octets);
            assert!(sketch.to_bytes().len() <= DENSE_BYTES);
            let _ = sketch.estimate();
        }
    }

    #[test]
    fn a_name_can_be_asked_for_from_above() {
        let catalogue = Catalogue::embedded().unwrap();
        let key = key();
        let row = key.row(&catalogue, "a.b.chat.example.co.uk", 1);
        for above in ["b.chat.example.co.uk", "chat.example.co.uk", "example.co.uk"] {
            assert!(row.is_below(key.host(above)), "{above}");
        }
        for not in ["a.b.chat.example.co.uk", "co.uk", "uk", "other.example"] {
            assert!(!row.is_below(key.host(not)), "{not}");
        }
        assert_ne!(LedgerKey::new([8; KEY_BYTES]).host("a"), key.host("a"));
    }

    #[test]
    fn tenants_are_folded_and_devices_are_apart_by_destination() {
        let catalogue = Catalogue::embedded().unwrap();
        let cases = [
            ("contoso.openai.azure.com", "*.openai.azure.com"),
            ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock-runtime.*.amazonaws.com"),
            ("chatgpt.com", "chatgpt.com"),
            ("www.example.org", "www.example.org"),
        ];
        for (name, folded) in cases {
            assert_eq!(fold(&catalogue, name), folded);
        }
        let device: IpAddr = "10.0.0.7".parse().unwrap();
        let mut rows = ["a.example", "b.example"].map(|n| key().row(&catalogue, n, 1));
        for row in &mut rows {
            key().count(row, device);
        }
        assert_ne!(rows[0].devices, rows[1].devices, "one device must not link destinations");
    }
}
