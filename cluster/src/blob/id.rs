//! The names of what the blob store keeps: blobs, their owners, uploads, backups, and
//! generations of stored bytes. Each is its own type, so that none passes for another.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::kv::Segment;

/// Who owns blobs: the id of a root group.
///
/// Blobs, references, leases and uploads lie in the metadata under their space, and no record
/// of one space ever names a blob of another, so that the keyspace can be split by space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Space(pub u64);

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Segment for Space {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

/// The text is not the lower-case hexadecimal form of an id of this kind.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

/// The longest text that an error repeats.
const MAX_SHOWN: usize = 80;

fn parse_hex<const N: usize>(text: &str, expected: &'static str) -> Result<[u8; N], ParseIdError> {
    let refused = || ParseIdError {
        text: text.chars().take(MAX_SHOWN).collect(),
        expected,
    };
    if text.len() != 2 * N {
        return Err(refused());
    }
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| refused())?;
    bytes.try_into().map_err(|_| refused())
}

/// Fixed-size bytes in their compact stored form: a byte string rather than a list of numbers.
pub(crate) mod fixed_bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    struct Fixed<const N: usize>;

    impl<const N: usize> Visitor<'_> for Fixed<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            bytes
                .try_into()
                .map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        bytes: &[u8; N],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; N], D::Error> {
        from.deserialize_bytes(Fixed::<N>)
    }

    /// The same for bytes that may be absent.
    pub(crate) mod option {
        use serde::de::{Deserialize, Deserializer};
        use serde::ser::{Serialize, Serializer};

        struct Wrap<const N: usize>([u8; N]);

        impl<const N: usize> Serialize for Wrap<N> {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                super::serialize(&self.0, out)
            }
        }

        impl<'de, const N: usize> Deserialize<'de> for Wrap<N> {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                super::deserialize(from).map(Self)
            }
        }

        pub(crate) fn serialize<const N: usize, S: Serializer>(
            bytes: &Option<[u8; N]>,
            out: S,
        ) -> Result<S::Ok, S::Error> {
            bytes.map(Wrap).serialize(out)
        }

        pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<[u8; N]>, D::Error> {
            Ok(Option::<Wrap<N>>::deserialize(from)?.map(|wrap| wrap.0))
        }
    }
}

/// An id of fixed bytes, shown as lower-case hexadecimal.
macro_rules! hex_id {
    ($(#[$doc:meta])* $visibility:vis $name:ident, $bytes:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        $visibility struct $name(#[serde(with = "fixed_bytes")] $visibility [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text, $expected).map(Self)
            }
        }

        impl Segment for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
        }
    };
}

hex_id! {
    /// The name of immutable bytes: their BLAKE3.
    pub BlobId, 32, "a blob id of 64 lower-case hexadecimal digits"
}

hex_id! {
    /// The name of a resumable upload. Random, so it cannot be guessed.
    pub UploadId, 16, "an upload id of 32 lower-case hexadecimal digits"
}

hex_id! {
    /// A backup: under this name it holds the collection back while it is taken.
    pub BackupId, 16, "the id of a backup, 32 lower-case hexadecimal digits"
}

hex_id! {
    /// One act of storing. The same content stored twice has two generations, so that the
    /// shards of one can be removed without a doubt about the other.
    pub(crate) Generation, 16, "a generation of 32 lower-case hexadecimal digits"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = BlobId(*blake3::hash(b"some bytes").as_bytes());
        assert_eq!(id.to_string().parse::<BlobId>().unwrap(), id);
    }

    #[test]
    fn only_the_exact_lower_case_form_is_an_id() {
        let good = "0123456789abcdef0123456789abcdef";
        assert!(good.parse::<UploadId>().is_ok());
        for bad in [
            "",
            "0123",
            &good.to_uppercase(),
            &format!("{good}00"),
            &good.replace('0', "g"),
        ] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad}");
        }
        assert!("\u{1F980}".repeat(8).parse::<UploadId>().is_err());
    }

    #[test]
    fn an_id_is_stored_as_bytes() {
        let stored = rmp_serde::to_vec_named(&Generation([200; 16])).unwrap();
        assert_eq!(stored.len(), 18);
        assert_eq!(
            rmp_serde::from_slice::<Generation>(&stored).unwrap(),
            Generation([200; 16])
        );
        assert!(rmp_serde::from_slice::<BlobId>(&stored).is_err());
    }
}
