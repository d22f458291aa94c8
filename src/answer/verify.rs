//! Whether a file is what shadowtap wrote.
//!
//! In: a report or an export. Out: its digest, and whether it is the right one.
//! Never: says who wrote a file; that takes a signature, made by its owner's key.
//! Source: minisign, <https://jedisct1.github.io/minisign/>.
//!
//! A file carries `shadowtap-sha256:` and 64 hexadecimal digits, once. The digits are the SHA-256
//! of the same file with 64 zeros in their place.

use sha2::{Digest, Sha256};

/// What a file has before it is sealed.
pub const MARK: &str =
    "shadowtap-sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What stands before the digits.
const LABEL: &[u8] = b"shadowtap-sha256:";

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The digest fits.
    Whole(String),
    /// It does not: the file was changed.
    Changed {
        /// The digest in the file.
        found: String,
        /// The digest of the file.
        expected: String,
    },
    /// The file carries no digest.
    Unsealed,
}

/// Puts the digest in; a file without a mark stays as it is.
#[must_use]
pub fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(at) = place(&bytes) {
        let digest = digest(&bytes, at);
        if let Some(room) = bytes.get_mut(at..at.saturating_add(DIGITS)) {
            room.copy_from_slice(digest.as_bytes());
        }
    }
    bytes
}

/// Checks the digest of a file.
pub fn check(bytes: &[u8]) -> Verdict {
    let Some(at) = place(bytes) else { return Verdict::Unsealed };
    let found = bytes.get(at..at.saturating_add(DIGITS)).unwrap_or_default();
    let found = String::from_utf8_lossy(found).into_owned();
    let expected = digest(bytes, at);
    if found == expected { Verdict::Whole(expected) } else { Verdict::Changed { found, expected } }
}

/// Where the digits begin: behind the last label, as text within could hold another.
fn place(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(LABEL.len().checked_add(DIGITS)?)?;
    let digits = |at: usize| {
        let of = bytes.get(at..at.saturating_add(DIGITS)).unwrap_or_default();
        of.len() == DIGITS && of.iter().all(u8::is_ascii_hexdigit)
    };
    (0..=last)
        .rev()
        .filter(|at| bytes.get(*at..).is_some_and(|b| b.starts_with(LABEL)))
        .map(|at| at.saturating_add(LABEL.len()))
        .find(|at| digits(*at))
}

fn digest(bytes: &[u8], at: usize) -> String {
    let mut hasher = Sha256::new();
    hasher.update(bytes.get(..at).unwrap_or_default());
    hasher.update([b'0'; DIGITS]);
    hasher.update(bytes.get(at.saturating_add(DIGITS)..).unwrap_or_default());
    hasher.finalize().iter().fold(String::new(), |mut text, octet| {
        text.push_str(&format!("{octet:02x}"));
        text
    })
}

/// Checks a signature of minisign over the whole file.
///
/// # Errors
/// What is wrong with key or signature.
pub fn signature(bytes: &[u8], key: &str, signature: &str) -> Result<String, String> {
    // A key is a file of two lines, or the second of them.
    let key = minisign_verify::PublicKey::decode(key)
        .or_else(|_| minisign_verify::PublicKey::from_base64(key.trim()))
        .map_err(|e| format!("the public key: {e}"))?;
    let signature =
        minisign_verify::Signature::decode(signature).map_err(|e| format!("the signature: {e}"))?;
    key.verify(bytes, &signature, false).map_err(|e| e.to_string())?;
    Ok(signature.trusted_comment().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_is_whole_until_a_byte_changes() {
        let sealed = seal(format!("head {MARK} tail").into_bytes());
        assert!(matches!(check(&sealed), Verdict::Whole(_)));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(!matches!(check(&changed), Verdict::Whole(_)), "byte {at}");
        }
        assert_eq!(check(b"nothing"), Verdict::Unsealed);
        assert_eq!(seal(b"nothing".to_vec()), b"nothing");
    }

    #[test]
    fn text_that_looks_like_a_mark_does_not_take_its_place() {
        let body = format!("a host called shadowtap-sha256:xyz, then {MARK}\n");
        let sealed = seal(body.into_bytes());
        assert!(matches!(check(&sealed), Verdict::Whole(_)));
    }

    #[test]
    fn a_signature_of_minisign_holds_for_its_file_alone() {
        let key = "untrusted comment: minisign public key 3C84963008D7FDD4\n\
                   RWTU/dcIMJaEPLrFpkEMx/oXCZNwdW1ZxrVHqnfNl+nOcahBgybMVPsM\n";
        let sig = "untrusted comment: signature from minisign secret key\n\
                   RUTU/dcIMJaEPAmoKl9ndE3l3rx2TJVCe+RCBHS+0oEzfoccYIKf4jdBcocJmoAKX/stlmQrYj6Z3QWMW2X12WnK1y0doahtYw8=\n\
                   trusted comment: signed by the test\n\
                   Ewv4q3Q4HiqDecsGiXylGemaiVAr5UHt6ZY4vOC5jfvoVY5wr1eJKTtwa8eMwzjplFLEXbNYc/vvW8h6H8IbDQ==\n";
        let alone = key.lines().nth(1).unwrap();
        assert_eq!(signature(b"a report\n", key, sig).unwrap(), "signed by the test");
        assert_eq!(signature(b"a report\n", alone, sig).unwrap(), "signed by the test");
        assert!(signature(b"another\n", key, sig).is_err());
        assert!(signature(b"a report\n", "no key", sig).is_err());
        assert!(signature(b"a report\n", key, "no signature").is_err());
    }
}
