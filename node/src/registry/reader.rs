//! Reading records from a snapshot or inside a transaction by the same code.
//!
//! What is read inside a transaction is checked again at its commit; so a permission that is
//! read there cannot be withdrawn before what it permits has happened.

use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{Collection, Entry, Key, ReadError, Scan, Snapshot, Timestamp, Txn};

/// Something that shows the value under a key.
pub(crate) trait Reader: Send {
    /// The value under `key`.
    fn value(&mut self, key: &Key) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// The items that `scan` asks for.
    fn list(&mut self, scan: Scan) -> impl Future<Output = Result<Vec<Entry>, ReadError>> + Send;

    /// Notes that what is decided on what was read changes by itself at `end`.
    fn holds_until(&mut self, end: Timestamp);

    /// The record under `key`.
    fn read<R: Record>(&mut self, key: &Key) -> impl Future<Output = Result<Option<R>, ReadError>> + Send {
        async move {
            match self.value(key).await? {
                Some(value) => Ok(Some(cairn_cluster::record::decode(&value)?)),
                None => Ok(None),
            }
        }
    }
}

impl Reader for Snapshot {
    async fn value(&mut self, key: &Key) -> Result<Option<Bytes>, ReadError> {
        Ok(self.get(key).await?.map(|found| found.value))
    }

    async fn list(&mut self, scan: Scan) -> Result<Vec<Entry>, ReadError> {
        self.scan(scan).await
    }

    fn holds_until(&mut self, end: Timestamp) {
        Snapshot::holds_until(self, end);
    }
}

impl Reader for Txn {
    async fn value(&mut self, key: &Key) -> Result<Option<Bytes>, ReadError> {
        self.get(key).await
    }

    async fn list(&mut self, scan: Scan) -> Result<Vec<Entry>, ReadError> {
        self.scan(scan).await
    }

    /// What it decides is committed now or never.
    fn holds_until(&mut self, _: Timestamp) {}
}

/// How many items of a long list are read at a time.
const PAGE: usize = 1000;

/// The next items of a collection, and the place to go on after them.
pub(crate) async fn next_entries(
    snapshot: &Snapshot,
    collection: &Collection,
    after: &mut Option<Bytes>,
) -> Result<Vec<Entry>, ReadError> {
    let mut scan = Scan::of(collection).limit(PAGE);
    if let Some(after) = &after {
        scan = scan.after(after);
    }
    let entries = snapshot.scan(scan).await?;
    if let Some(last) = entries.last() {
        *after = Some(last.item.clone());
    }
    Ok(entries)
}
