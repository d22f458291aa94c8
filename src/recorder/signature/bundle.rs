//! Signature files as one signed file, to carry updates to sensors without a network.
//!
//! In: a folder; or a bundle, its signature (minisign), the key that is trusted, and today.
//! Out: one JSON document with all files, a version and a last day; or the files of a bundle that
//! can be trusted.
//! Never: holds a secret key: the bundle is signed with `minisign -S`, wherever that key lies. Never
//! reads a clock.
//! Limits: [`BUNDLE_MAX_BYTES`], and those of `source.rs` for each file.
//! Source: <https://jedisct1.github.io/minisign/>.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use jiff::civil::Date;
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

use super::CatalogueError;
use super::source;

/// Longest bundle, in bytes: twenty times ours.
pub const BUNDLE_MAX_BYTES: u64 = 64 << 20;

/// File of an installed folder that tells its version.
pub const STAMP_FILE: &str = "bundle.json";

const KIND: &str = "shadowtap-signatures";

/// All signature files of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    kind: String,
    schema: u32,
    /// Rises with every release.
    pub version: u64,
    /// Last day on which it may be installed.
    #[serde(with = "day")]
    pub expires: Date,
    /// Content by path below the signature folder.
    pub files: BTreeMap<String, String>,
}

/// What an installed folder remembers of its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Version of the bundle.
    pub version: u64,
    /// Its last day.
    #[serde(with = "day")]
    pub expires: Date,
}

/// Why a bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no signature beside it.
    Unsigned,
    /// The key or the signature is none.
    Unreadable(&'static str),
    /// The signature is not of this content and key.
    Forged,
    /// It is no bundle of this program.
    NoBundle(String),
    /// Its last day is over.
    Expired(Date),
    /// What is installed is as new, or newer.
    Older {
        /// Version of the bundle.
        version: u64,
        /// Version installed.
        installed: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unsigned => {
                f.write_str("it is not signed: the signature beside it (FILE.minisig) is missing")
            }
            Refusal::Unreadable(what) => write!(f, "{what} is not one of minisign"),
            Refusal::Forged => f.write_str(
                "the signature is not of this file and key: it was changed, or signed by another",
            ),
            Refusal::NoBundle(why) => write!(f, "it is no signature bundle: {why}"),
            Refusal::Expired(day) => write!(f, "its last day was {day}: fetch a newer one"),
            Refusal::Older { version, installed } => {
                write!(f, "it is version {version}, and {installed} is installed")
            }
        }
    }
}

impl Bundle {
    /// A bundle of the files of a folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn of_dir(dir: &Path, version: u64, expires: Date) -> Result<Self, CatalogueError> {
        let files = source::from_dir(dir, |_| true)?;
        let files = files.into_iter().map(|f| (f.name, f.text)).collect();
        Ok(Self { kind: KIND.to_owned(), schema: 1, version, expires, files })
    }

    /// The bundle in these octets, if the key signed them, its last day is not over, and nothing as
    /// new is installed.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open(
        octets: &[u8],
        signature: &str,
        key: &str,
        today: Date,
        installed: Option<Stamp>,
    ) -> Result<Self, Refusal> {
        let key = PublicKey::decode(key)
            .or_else(|_| PublicKey::from_base64(key.trim()))
            .map_err(|_| Refusal::Unreadable("the key"))?;
        let signature =
            Signature::decode(signature).map_err(|_| Refusal::Unreadable("the signature"))?;
        // Signatures of the old kind, over the content and not its digest, are not taken.
        key.verify(octets, &signature, false).map_err(|_| Refusal::Forged)?;
        let bundle: Self =
            serde_json::from_slice(octets).map_err(|e| Refusal::NoBundle(e.to_string()))?;
        if bundle.kind != KIND || bundle.schema != 1 {
            return Err(Refusal::NoBundle("another kind or schema".to_owned()));
        }
        if let Some(name) = bundle.files.keys().find(|name| !is_plain(name)) {
            return Err(Refusal::NoBundle(format!("{name:?} is no name of a signature file")));
        }
        if today > bundle.expires {
            return Err(Refusal::Expired(bundle.expires));
        }
        match installed.map(|stamp| stamp.version) {
            Some(installed) if installed >= bundle.version => {
                Err(Refusal::Older { version: bundle.version, installed })
            }
            _ => Ok(bundle),
        }
    }

    /// What an installed folder remembers.
    pub fn stamp(&self) -> Stamp {
        Stamp { version: self.version, expires: self.expires }
    }
}

/// Days as texts.
mod day {
    use jiff::civil::Date;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub fn serialize<S: Serializer>(day: &Date, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(day)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Date, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// `true` for `name.toml`, below one folder at most: nothing that leads out of the target.
fn is_plain(name: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('.')
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    Path::new(name).extension().is_some_and(|e| e == "toml")
        && name.split('/').count() <= 2
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_folder() {
        for (name, plain) in [
            ("chat.toml", true),
            ("risk/facts.toml", true),
            ("../chat.toml", false),
            ("/etc/chat.toml", false),
            ("a/b/c.toml", false),
            (".hidden.toml", false),
            ("chat.sh", false),
            ("a\\b.toml", false),
        ] {
            assert_eq!(is_plain(name), plain, "{name}");
        }
    }
}
