//! Stored records: a version byte, then MessagePack with named fields.
//!
//! Fields may be added with a default and are ignored by older readers; a change of meaning
//! raises [`Record::VERSION`] and comes with an [`Record::upgrade`] from the version before.
//!
//! Both are new forms, which wait for the [`crate::Level`] of the cluster: an older node cannot read
//! a newer version, and one that changes a record drops the fields that it does not know.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value with a stored form.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that [`encode`] writes.
    const VERSION: u8 = 1;

    /// Reads the body of an older version.
    fn upgrade(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let _ = body;
        Err(DecodeError::Version {
            kind: std::any::type_name::<Self>(),
            version,
        })
    }
}

/// Stored bytes that are not the record they should be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer Cairn, or by a version whose form is no longer read.
    #[error("stored {kind} has version {version}, which this version of cairn cannot read")]
    Version {
        /// The type that was expected.
        kind: &'static str,
        /// The version found.
        version: u8,
    },
    /// Damaged, or of another kind.
    #[error("stored {kind} does not decode: {reason}")]
    Malformed {
        /// The type that was expected.
        kind: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// The stored form of a record.
pub fn encode<R: Record>(record: &R) -> Bytes {
    let mut out = vec![R::VERSION];
    // Maps with string keys, numbers, text and bytes: there is nothing that could not be written.
    rmp_serde::encode::write_named(&mut out, record).expect("records serialise");
    out.into()
}

/// Reads a stored record.
pub fn decode<R: Record>(stored: &[u8]) -> Result<R, DecodeError> {
    let kind = std::any::type_name::<R>();
    match stored.split_first() {
        Some((&version, body)) if version == R::VERSION => {
            rmp_serde::from_slice(body).map_err(|error| DecodeError::Malformed {
                kind,
                reason: error.to_string(),
            })
        }
        Some((&version, body)) => R::upgrade(version, body),
        None => Err(DecodeError::Malformed {
            kind,
            reason: "it is empty".into(),
        }),
    }
}

/// Reads a number as counters keep it: eight bytes, big endian.
pub fn number(stored: &[u8]) -> Result<u64, DecodeError> {
    stored
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| DecodeError::Malformed {
            kind: "number",
            reason: format!("it has {} bytes, not 8", stored.len()),
        })
}

/// Bytes of any number in their compact stored form.
pub(crate) mod byte_string {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    struct Any;

    impl Visitor<'_> for Any {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(bytes.to_vec())
        }
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, B: From<Vec<u8>>, D: Deserializer<'de>>(from: D) -> Result<B, D::Error> {
        Ok(from.deserialize_bytes(Any)?.into())
    }
}
