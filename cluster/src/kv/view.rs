//! What reading the state means, whichever store holds it.

use bytes::Bytes;

use super::apply::TransactionId;

/// A stored value and the log index that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The log index of the last write; never 0.
    pub version: u64,
    /// What was written.
    pub value: Bytes,
}

/// The store under the state could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub(crate) String);

/// The bounds of a scan over encoded keys: `start` inclusive, `end` exclusive.
#[derive(Clone, Debug)]
pub(crate) struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) limit: usize,
    /// The scan ends with the entry that reaches this many bytes of values.
    pub(crate) limit_bytes: usize,
    pub(crate) backwards: bool,
}

impl KeyRange {
    /// Takes entries, which come in the order of the scan, up to its limits.
    pub(crate) fn take(
        &self,
        entries: impl Iterator<Item = Result<(Bytes, Versioned), StoreError>>,
    ) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in entries.take(self.limit) {
            let entry = entry?;
            bytes += entry.1.value.len();
            found.push(entry);
            if bytes >= self.limit_bytes {
                break;
            }
        }
        Ok(found)
    }
}

/// What `apply` reads of the state.
pub(crate) trait State {
    /// The value under an encoded key.
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// The log index of the last write to any item of an encoded collection; 0 if there was none.
    fn revision(&self, collection: &[u8]) -> Result<u64, StoreError>;

    /// The remembered outcome of a transaction; see `Outcome::to_stored`.
    fn outcome(&self, id: &TransactionId) -> Result<Option<u64>, StoreError>;
}

/// One consistent state, as requests and transactions read it.
///
/// Calls may touch a disk; async callers go through [`super::Snapshot`].
pub(crate) trait View: State + Send + Sync {
    /// The log index up to which this state is complete.
    fn applied_index(&self) -> u64;

    /// As `get`, but only if it can be answered without touching a disk; otherwise `None`.
    fn get_cached(&self, key: &[u8]) -> Option<Result<Option<Versioned>, StoreError>>;

    /// As `revision`, but only if it can be answered without touching a disk; otherwise `None`.
    fn revision_cached(&self, collection: &[u8]) -> Option<Result<u64, StoreError>>;

    /// The entries in a range, in order, up to its limit.
    fn scan(&self, range: &KeyRange) -> Result<Vec<(Bytes, Versioned)>, StoreError>;
}
