//! The digests that package clients know files by, and the names that they have for them.

use cairn_cluster::Digests;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    /// MD5, which old clients alone have.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name, as headers and the names of checksum files end with it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The header that says a digest of a body, in hexadecimal digits.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Md5 => "x-checksum-md5",
            Self::Sha1 => "x-checksum-sha1",
            Self::Sha256 => "x-checksum-sha256",
            Self::Sha512 => "x-checksum-sha512",
        }
    }

    /// How long its digests are.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Its digest among those of a blob, if it was computed.
    pub(crate) fn of(self, digests: &Digests) -> Option<&[u8]> {
        match self {
            Self::Md5 => digests.md5.as_ref().map(<[u8; 16]>::as_slice),
            Self::Sha1 => digests.sha1.as_ref().map(<[u8; 20]>::as_slice),
            Self::Sha256 => Some(digests.sha256.as_slice()),
            Self::Sha512 => digests.sha512.as_ref().map(<[u8; 64]>::as_slice),
        }
    }
}

/// All digests that clients may ask for.
#[derive(Default)]
pub(crate) struct Hasher {
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
    sha512: Sha512,
}

impl Hasher {
    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha1.update(bytes);
        self.sha256.update(bytes);
        self.sha512.update(bytes);
    }

    /// The digests of all of them.
    pub(crate) fn finish(self) -> Digests {
        Digests {
            sha256: self.sha256.finalize().into(),
            sha1: Some(self.sha1.finalize().into()),
            sha512: Some(self.sha512.finalize().into()),
            md5: Some(self.md5.finalize().into()),
        }
    }
}

/// The digests of bytes that are at hand, and not many.
pub(crate) fn of(bytes: &[u8]) -> Digests {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}
