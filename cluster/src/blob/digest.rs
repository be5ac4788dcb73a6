//! The digests of a blob's content, computed in one pass and able to stop and go on.

use digest::Digest;
use digest::common::hazmat::{SerializableState, SerializedState};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::id::fixed_bytes;
use crate::record::byte_string;

/// Which line of the hash crates wrote a saved state. States are stable within one line only;
/// those of another are thrown away and the bytes are hashed again.
const STATE_LINE: &str = "rustcrypto-0.11";

/// Digests that are computed besides BLAKE3 and sha256, which always are.
///
/// Each costs: all five in one pass are six times slower than the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DigestSet {
    /// SHA-1.
    pub sha1: bool,
    /// SHA-512.
    pub sha512: bool,
    /// MD5.
    pub md5: bool,
}

/// The digests of a blob's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// SHA-256.
    #[serde(with = "fixed_bytes")]
    pub sha256: [u8; 32],
    /// SHA-1, if it was asked for.
    #[serde(
        default,
        with = "fixed_bytes::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub sha1: Option<[u8; 20]>,
    /// SHA-512, if it was asked for.
    #[serde(
        default,
        with = "fixed_bytes::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub sha512: Option<[u8; 64]>,
    /// MD5, if it was asked for.
    #[serde(
        default,
        with = "fixed_bytes::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub md5: Option<[u8; 16]>,
}

impl Digests {
    /// What is known from either of two passes over the same bytes.
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self {
            sha256: self.sha256,
            sha1: self.sha1.or(other.sha1),
            sha512: self.sha512.or(other.sha512),
            md5: self.md5.or(other.md5),
        }
    }
}

/// Computes digests as the bytes come in.
#[derive(Clone)]
pub(crate) struct DigestState {
    sha256: Sha256,
    sha1: Option<Sha1>,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

/// A [`DigestState`] in its stored form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedDigests {
    line: String,
    #[serde(with = "byte_string")]
    sha256: Vec<u8>,
    #[serde(default, with = "byte_string", skip_serializing_if = "Vec::is_empty")]
    sha1: Vec<u8>,
    #[serde(default, with = "byte_string", skip_serializing_if = "Vec::is_empty")]
    sha512: Vec<u8>,
    #[serde(default, with = "byte_string", skip_serializing_if = "Vec::is_empty")]
    md5: Vec<u8>,
}

#[cfg(test)]
impl SavedDigests {
    /// Makes it look like the work of another version.
    pub(super) fn set_line(&mut self, line: &str) {
        self.line = line.into();
    }
}

impl DigestState {
    /// Of no bytes yet.
    pub(crate) fn new(want: DigestSet) -> Self {
        Self {
            sha256: Sha256::new(),
            sha1: want.sha1.then(Sha1::new),
            sha512: want.sha512.then(Sha512::new),
            md5: want.md5.then(Md5::new),
        }
    }

    /// Takes more bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// The digests of all bytes so far.
    pub(crate) fn finish(self) -> Digests {
        Digests {
            sha256: self.sha256.finalize().into(),
            sha1: self.sha1.map(|hash| hash.finalize().into()),
            sha512: self.sha512.map(|hash| hash.finalize().into()),
            md5: self.md5.map(|hash| hash.finalize().into()),
        }
    }

    /// The stored form, from which another node can go on.
    pub(crate) fn save(&self) -> SavedDigests {
        fn bytes<H: SerializableState>(hash: &H) -> Vec<u8> {
            hash.serialize().to_vec()
        }
        SavedDigests {
            line: STATE_LINE.into(),
            sha256: bytes(&self.sha256),
            sha1: self.sha1.as_ref().map(bytes).unwrap_or_default(),
            sha512: self.sha512.as_ref().map(bytes).unwrap_or_default(),
            md5: self.md5.as_ref().map(bytes).unwrap_or_default(),
        }
    }

    /// Goes on from a stored form; `None` if it is not one of this line, or not one for `want`.
    pub(crate) fn restore(saved: &SavedDigests, want: DigestSet) -> Option<Self> {
        fn state<H: SerializableState>(bytes: &[u8]) -> Option<H> {
            let state = SerializedState::<H>::try_from(bytes).ok()?;
            H::deserialize(&state).ok()
        }
        fn optional<H: SerializableState>(wanted: bool, bytes: &[u8]) -> Option<Option<H>> {
            if wanted {
                state(bytes).map(Some)
            } else {
                Some(None)
            }
        }
        if saved.line != STATE_LINE {
            return None;
        }
        Some(Self {
            sha256: state(&saved.sha256)?,
            sha1: optional(want.sha1, &saved.sha1)?,
            sha512: optional(want.sha512, &saved.sha512)?,
            md5: optional(want.md5, &saved.md5)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: DigestSet = DigestSet {
        sha1: true,
        sha512: true,
        md5: true,
    };

    #[test]
    fn a_saved_state_goes_on_where_it_stopped() {
        for cut in [0, 1, 63, 64, 65, 127, 128, 1000] {
            let bytes: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
            let mut first = DigestState::new(ALL);
            first.update(&bytes[..cut]);
            let mut second = DigestState::restore(&first.save(), ALL).unwrap();
            second.update(&bytes[cut..]);
            let mut whole = DigestState::new(ALL);
            whole.update(&bytes);
            assert_eq!(second.finish(), whole.finish(), "cut at {cut}");
        }
    }

    #[test]
    fn a_state_of_another_line_or_with_too_little_in_it_is_not_used() {
        let mut saved = DigestState::new(DigestSet::default()).save();
        assert!(DigestState::restore(&saved, ALL).is_none());
        assert!(DigestState::restore(&saved, DigestSet::default()).is_some());
        saved.sha256.pop();
        assert!(DigestState::restore(&saved, DigestSet::default()).is_none());
        let mut other = DigestState::new(ALL).save();
        other.set_line("rustcrypto-0.12");
        assert!(DigestState::restore(&other, ALL).is_none());
    }
}
