//! Names of persons and devices, and the one place where they become text.
//!
//! In: names, addresses, link addresses. Out: under [`Mode::Clear`] themselves, else pseudonyms:
//! keyed hashes that nobody can compute or try out without the key.
//! Never: prints a name by `Debug` or `Display`; keeps the key where the names are.
//! Limits: [`DIGITS`] characters a pseudonym; collisions below one in a million at 10,000 names.
//! Source: BLAKE3 in its keyed mode.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::Person;
use crate::recorder::store::rows::{Actor, EvidenceItem, Finding, InputRows, PersonUse, Text};
use crate::types::{Endpoint, MacAddr, Timestamp};

/// Characters of a pseudonym behind its kind: 50 bits, five each.
const DIGITS: usize = 10;

/// Octets of a key.
const KEY_BYTES: usize = 32;

/// First octets of addresses that stand for pseudonyms: unique local, and `pse` in letters, so
/// that nobody takes one for an address of the network.
const ADDRESS_PREFIX: [u8; 4] = [0xfd, b'p', b's', b'e'];

/// First octet of link addresses that stand for pseudonyms: locally administered, no group.
const MAC_PREFIX: u8 = 0x7a;

/// Epochs tried for one pseudonym: centuries at ninety days.
const EPOCHS_MAX: usize = 1_000;

/// Nanoseconds of a day.
const DAY: u64 = Timestamp::DAY;

/// How names leave the recorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// As they are.
    #[default]
    Clear,
    /// The store keeps names, everything that leaves it shows pseudonyms.
    Masked,
    /// Names never reach the store.
    Pseudonymous,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 3] = [Mode::Clear, Mode::Masked, Mode::Pseudonymous];

    /// Word of configuration and outputs.
    pub fn code(self) -> &'static str {
        match self {
            Mode::Clear => "clear",
            Mode::Masked => "masked",
            Mode::Pseudonymous => "pseudonymous",
        }
    }

    /// The mode of that word.
    pub fn from_code(code: &str) -> Option<Mode> {
        Self::ALL.into_iter().find(|m| m.code() == code)
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The mode of that number.
    pub fn from_number(number: u8) -> Option<Mode> {
        Self::ALL.into_iter().find(|m| m.number() == number)
    }
}

/// What a name is of; the word in front of its pseudonym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person's login.
    User,
    /// A device's name.
    Device,
    /// A link address.
    Mac,
    /// An address.
    Address,
    /// Any other text that may name somebody, such as a host of ours.
    Name,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Device => "device",
            Kind::Mac => "mac",
            Kind::Address => "address",
            Kind::Name => "name",
        }
    }
}

/// A person's or device's name. No `Display`, no `Serialize`, and a `Debug` that says nothing:
/// [`Subject::text`] under a [`Veil`] is the way out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    kind: Kind,
    name: Text,
}

impl Subject {
    /// A name of that kind.
    pub fn new(kind: Kind, name: impl Into<Text>) -> Self {
        Self { kind, name: name.into() }
    }

    /// A person's login.
    pub fn user(name: impl Into<Text>) -> Self {
        Self::new(Kind::User, name)
    }

    /// The name for the recorder's own work: joining, judging, storing.
    pub(in crate::recorder) fn name(&self) -> &Text {
        &self.name
    }

    /// The name as `veil` lets it out.
    pub fn text(&self, veil: &Veil) -> String {
        match veil.mode {
            Mode::Clear => self.name.to_string(),
            Mode::Masked | Mode::Pseudonymous => veil.pseudonym(self.kind, &self.name),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.kind.word())
    }
}

/// Key of the pseudonyms. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(..)")
    }
}

impl Key {
    /// The key of these octets.
    pub fn new(octets: [u8; KEY_BYTES]) -> Self {
        Self(octets)
    }

    /// A key for one run, of the system's random numbers.
    ///
    /// # Errors
    /// If there are none.
    pub fn random() -> io::Result<Self> {
        let mut octets = [0; KEY_BYTES];
        fs::File::open("/dev/urandom")?.read_exact(&mut octets)?;
        Ok(Self(octets))
    }

    /// The key in the file at `path`, which is made with a new one if it is not there.
    ///
    /// # Errors
    /// If the file is no key, others may read it, or it cannot be read or made.
    pub fn load_or_make(path: &Path) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(mut file) => {
                let key = Self::random()?;
                writeln!(file, "{}", hex(&key.0))?;
                file.sync_all()?;
                Ok(key)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let file = fs::File::open(path)?;
                if file.metadata()?.permissions().mode() & 0o077 != 0 {
                    return Err(wrong("others than its owner may read it: chmod 600"));
                }
                let mut text = String::new();
                // Twice the octets in hex, and a line break; more is something else.
                file.take(KEY_BYTES as u64 * 2 + 2).read_to_string(&mut text)?;
                let octets =
                    unhex(text.trim()).ok_or_else(|| wrong("holds no key (64 hex digits)"))?;
                Ok(Self(octets))
            }
            Err(e) => Err(e),
        }
    }
}

/// Mode and key: what turns names into text.
#[derive(Clone, Debug, Default)]
pub struct Veil {
    mode: Mode,
    key: Option<Arc<Key>>,
    /// Days after which pseudonyms of the store change; 0 for never.
    epoch_days: u32,
}

impl Veil {
    /// Names as they are.
    pub fn clear() -> Self {
        Self::default()
    }

    /// Pseudonyms by `key`, in the store new ones every `epoch_days`.
    pub fn new(mode: Mode, key: Key, epoch_days: u32) -> Self {
        Self { mode, key: Some(Arc::new(key)), epoch_days }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The veil of what leaves a store that was written under `stored`; a store remembers its
    /// mode, so that a reader who was told nothing shows no more than one who was.
    ///
    /// # Errors
    /// If a key is needed for this reader alone and there are no random numbers.
    pub fn for_reader(stored: Mode, asked: Option<&Veil>) -> io::Result<Veil> {
        match (stored, asked) {
            // What lies in a pseudonymous store are pseudonyms already.
            (Mode::Clear, None) | (Mode::Pseudonymous, _) => Ok(Veil::clear()),
            (Mode::Clear, Some(veil)) if veil.mode == Mode::Clear => Ok(Veil::clear()),
            (_, Some(veil)) if veil.key.is_some() => {
                Ok(Veil { mode: Mode::Masked, key: veil.key.clone(), epoch_days: 0 })
            }
            (Mode::Masked, _) | (Mode::Clear, Some(_)) => {
                Ok(Veil::new(Mode::Masked, Key::random()?, 0))
            }
        }
    }

    /// The veil under which rows of this time are stored.
    #[must_use]
    pub fn for_store(&self, at: Timestamp) -> Veil {
        match (self.mode, &self.key) {
            (Mode::Pseudonymous, Some(key)) => {
                let span = u64::from(self.epoch_days).saturating_mul(DAY);
                let epoch = at.0.checked_div(span).unwrap_or(0);
                let octets = *blake3::keyed_hash(&key.0, &epoch.to_be_bytes()).as_bytes();
                Veil { mode: Mode::Pseudonymous, key: Some(Arc::new(Key(octets))), epoch_days: 0 }
            }
            _ => Veil::clear(),
        }
    }

    /// A time in each epoch from `first` to `last`, at most [`EPOCHS_MAX`].
    pub fn epochs(&self, first: Timestamp, last: Timestamp) -> Vec<Timestamp> {
        let span = u64::from(self.epoch_days).saturating_mul(DAY).max(1);
        let span = if self.epoch_days == 0 { u64::MAX } else { span };
        // Rows know their day by its noon, which may lie behind the last frame.
        let last = last.0.saturating_add(DAY) / span;
        let epochs = (first.0.saturating_sub(DAY) / span)..=last;
        epochs.take(EPOCHS_MAX).map(|epoch| Timestamp(epoch.saturating_mul(span))).collect()
    }

    /// `true` if names leave as they are.
    pub fn is_clear(&self) -> bool {
        self.mode == Mode::Clear
    }

    fn hash(&self, kind: Kind, octets: &[u8]) -> [u8; 32] {
        // A veil without key is clear and never comes here; zeros still name nobody.
        let key = self.key.as_deref().map_or([0; KEY_BYTES], |key| key.0);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(kind.word().as_bytes());
        hasher.update(&[0]);
        hasher.update(octets);
        *hasher.finalize().as_bytes()
    }

    /// The pseudonym of a name, whatever its case.
    pub fn pseudonym(&self, kind: Kind, name: &str) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let hash = self.hash(kind, name.to_lowercase().as_bytes());
        let digits = hash.iter().take(DIGITS).map(|octet| {
            ALPHABET.get(usize::from(octet & 31)).map_or('x', |digit| char::from(*digit))
        });
        format!("{}-{}", kind.word(), digits.collect::<String>())
    }

    /// A text that names somebody, as it may be shown.
    pub fn name(&self, kind: Kind, name: &str) -> String {
        if self.is_clear() { name.to_owned() } else { self.pseudonym(kind, name) }
    }

    /// An address, or one that stands for it.
    pub fn address(&self, addr: IpAddr) -> IpAddr {
        if self.is_clear() || is_pseudonym(addr) {
            return addr;
        }
        let octets = match addr {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        };
        let hash = self.hash(Kind::Address, &octets);
        let mut made = [0; 16];
        let digits = ADDRESS_PREFIX.iter().chain(hash.iter());
        for (to, from) in made.iter_mut().zip(digits) {
            *to = *from;
        }
        IpAddr::V6(Ipv6Addr::from(made))
    }

    /// A link address, or one that stands for it.
    pub fn mac(&self, mac: MacAddr) -> MacAddr {
        if self.is_clear() {
            return mac;
        }
        let [a, b, c, d, e, ..] = self.hash(Kind::Mac, &mac.0);
        MacAddr([MAC_PREFIX, a, b, c, d, e])
    }

    /// An actor as it may leave.
    pub fn actor(&self, actor: &Arc<Actor>) -> Arc<Actor> {
        if self.is_clear() {
            return actor.clone();
        }
        Arc::new(Actor {
            realm: actor.realm,
            addr: self.address(actor.addr),
            mac: actor.mac.map(|mac| self.mac(mac)),
            host_name: actor
                .host_name
                .as_deref()
                .map(|n| Text::from(self.pseudonym(Kind::Device, n))),
            who: self.person(&actor.who),
            // A group, not a name; answers show small ones together.
            department: actor.department.clone(),
        })
    }

    /// A person as he or she may leave.
    pub fn person(&self, person: &Person) -> Person {
        match person {
            Person::One(claim) if !self.is_clear() => {
                Person::One(claim.under(Subject::user(claim.user.text(self))))
            }
            other => other.clone(),
        }
    }

    /// Evidence as it may leave: what finds the client again goes, frame numbers stay.
    #[must_use]
    pub fn evidence(&self, item: EvidenceItem) -> EvidenceItem {
        if self.is_clear() {
            return item;
        }
        let client = Endpoint { addr: self.address(item.client.addr), port: item.client.port };
        let filter = format!("frame.number=={}", item.first_frame);
        // The Community ID is a hash without a key: whoever guesses the address can check it.
        EvidenceItem {
            client,
            community_id: Text::from(""),
            wireshark_filter: Text::from(filter),
            ..item
        }
    }

    /// A finding as it may leave.
    #[must_use]
    pub fn finding(&self, mut finding: Finding) -> Finding {
        if self.is_clear() {
            return finding;
        }
        finding.actor = self.actor(&finding.actor);
        finding.evidence = finding.evidence.into_iter().map(|e| self.evidence(e)).collect();
        for of in &mut finding.people {
            *of = PersonUse { who: self.person(&of.who), ..of.clone() };
        }
        finding
    }
}

impl Veil {
    /// The veil of names that findings get their ids from: who has no key cannot try out which
    /// device an id is of.
    #[must_use]
    pub fn for_id(&self, at: Timestamp) -> Veil {
        if self.mode == Mode::Pseudonymous { self.for_store(at) } else { self.clone() }
    }

    /// Takes the names out of rows before they are stored; `names` are those of devices.
    pub fn rows(&self, rows: &mut InputRows, names: &HashSet<Text>) {
        let day = |day: u32| {
            Timestamp((u64::from(day) * 86_400 + 43_200).saturating_mul(Timestamp::SECOND))
        };
        for row in &mut rows.usage {
            row.actor = self.for_store(row.first_seen).actor(&row.actor);
        }
        for row in &mut rows.sessions {
            row.actor = self.for_store(row.start).actor(&row.actor);
        }
        for row in &mut rows.findings {
            *row = self.for_store(day(row.day)).finding(row.clone());
        }
        for row in &mut rows.hidden {
            row.actor = self.for_store(row.first_seen).actor(&row.actor);
        }
        for row in &mut rows.open_flows {
            row.client.addr = self.for_store(row.first_seen).address(row.client.addr);
        }
        for row in &mut rows.destinations {
            row.name = self.for_store(day(row.day)).host(&row.name, names);
        }
        for row in &mut rows.candidates {
            row.host = self.for_store(day(row.day)).host(&row.host, names);
        }
        let identity = &mut rows.identity;
        for row in &mut identity.bindings {
            let veil = self.for_store(row.from);
            (row.addr, row.mac) = (veil.address(row.addr), veil.mac(row.mac));
        }
        for row in &mut identity.said {
            let veil = self.for_store(row.first);
            row.mac = veil.mac(row.mac);
            if row.is_name {
                row.text = Text::from(veil.pseudonym(Kind::Device, &row.text));
            }
        }
        for row in &mut identity.stays {
            let veil = self.for_store(row.from);
            row.addr = veil.address(row.addr);
            row.user = Subject::user(row.user.text(&veil));
        }
        for row in &mut identity.many {
            // Nothing says when; the reason alone is of no use to anybody.
            row.addr = self.for_store(Timestamp(0)).address(row.addr);
        }
        identity.sort();
    }

    /// A host that may be a device of ours, and so somebody's: under a pseudonym. All others are
    /// the world's.
    pub fn host(&self, host: &Text, names: &HashSet<Text>) -> Text {
        let local = is_local(host) || names.contains(&super::inventory::plain_name(host));
        if local && !self.is_clear() && !host.is_empty() {
            Text::from(self.pseudonym(Kind::Name, host))
        } else {
            host.clone()
        }
    }
}

/// `true` for names and addresses that mean something on one network only (RFC 6761, RFC 6762,
/// RFC 8375, and what administrators use besides).
pub fn is_local(host: &str) -> bool {
    const SUFFIXES: [&str; 10] = [
        "local",
        "lan",
        "home",
        "internal",
        "corp",
        "intranet",
        "arpa",
        "localdomain",
        "test",
        "private",
    ];
    let bare = host.trim_start_matches('[');
    let bare = bare.split(']').next().unwrap_or(bare);
    let socket = host.parse::<std::net::SocketAddr>().ok().map(|s| s.ip());
    if bare.parse::<IpAddr>().is_ok() || socket.is_some() {
        return true;
    }
    let last = host.rsplit('.').next().unwrap_or(host).to_lowercase();
    !host.contains('.') || SUFFIXES.contains(&last.as_str())
}

/// `true` for an address that stands for another one.
pub fn is_pseudonym(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.octets().starts_with(&ADDRESS_PREFIX))
}

/// An address for people: those that stand for others are called so.
pub fn address_text(addr: IpAddr) -> String {
    match addr {
        IpAddr::V6(a) if is_pseudonym(addr) => {
            let [_, _, _, _, rest @ ..] = a.octets();
            format!("address-{}", hex(rest.get(..5).unwrap_or_default()))
        }
        other => other.to_string(),
    }
}

fn hex(octets: &[u8]) -> String {
    use fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut octets = [0; KEY_BYTES];
    if text.len() != KEY_BYTES * 2 {
        return None;
    }
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(mode: Mode, octet: u8) -> Veil {
        Veil::new(mode, Key([octet; KEY_BYTES]), 90)
    }

    #[test]
    fn a_name_leaves_only_under_the_mode() {
        let anna = Subject::user("Anna.Example");
        assert_eq!(format!("{anna:?}"), "Subject(user)");
        assert_eq!(anna.text(&Veil::clear()), "Anna.Example");
        let masked = anna.text(&veil(Mode::Masked, 1));
        assert!(masked.starts_with("user-") && masked.len() == 5 + DIGITS, "{masked}");
        assert_eq!(masked, Subject::user("ANNA.example").text(&veil(Mode::Masked, 1)), "case");
        assert_ne!(masked, anna.text(&veil(Mode::Masked, 2)), "another key, another name");
    }

    #[test]
    fn addresses_stay_addresses_and_are_recognised() {
        let v = veil(Mode::Masked, 1);
        for addr in ["192.0.2.7", "2001:db8::7"] {
            let addr: IpAddr = addr.parse().unwrap();
            let other = v.address(addr);
            assert!(is_pseudonym(other) && !is_pseudonym(addr));
            assert_eq!(v.address(other), other, "twice is once");
            assert!(address_text(other).starts_with("address-"));
            assert_eq!(Veil::clear().address(addr), addr);
        }
        let mac = v.mac(MacAddr([0, 1, 2, 3, 4, 5]));
        assert!(mac.is_local() && !mac.is_group());
    }

    #[test]
    fn pseudonyms_of_the_store_change_with_the_epoch() {
        let v = veil(Mode::Pseudonymous, 1);
        let name = |day: u64| Subject::user("anna").text(&v.for_store(Timestamp(day * DAY)));
        assert_eq!(name(0), name(89));
        assert_ne!(name(89), name(90));
        assert!(veil(Mode::Masked, 1).for_store(Timestamp(0)).is_clear(), "masked keeps names");
    }

    #[test]
    fn a_reader_who_was_told_nothing_sees_no_more() {
        let mode = |stored, asked: Option<&Veil>| Veil::for_reader(stored, asked).unwrap().mode();
        let (clear, masked) = (Veil::clear(), veil(Mode::Masked, 1));
        assert_eq!(mode(Mode::Masked, None), Mode::Masked);
        assert_eq!(mode(Mode::Masked, Some(&clear)), Mode::Masked);
        assert_eq!(mode(Mode::Masked, Some(&masked)), Mode::Masked);
        assert_eq!(mode(Mode::Clear, Some(&masked)), Mode::Masked);
        assert_eq!(mode(Mode::Clear, None), Mode::Clear);
        assert_eq!(mode(Mode::Pseudonymous, None), Mode::Clear, "nothing is left to hide");
    }

    #[test]
    fn a_key_file_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = Key::load_or_make(&path).unwrap();
        assert_eq!(Key::load_or_make(&path).unwrap(), made);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Key::load_or_make(&path).is_err(), "others may read it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(Key::load_or_make(&path).is_err(), "no key");
        assert_eq!(format!("{made:?}"), "Key(..)");
    }
}
