//! Which blobs there are and what names them: all that is carried from one cluster to another.

use bytes::Bytes;

use super::id::{BlobId, Space};
use super::record::{BlobRecord, BlobState};
use super::walk::fixed;
use super::{BlobInfo, keys};
use crate::kv::{ReadError, Scan, Snapshot, Txn};
use crate::record::number;

/// How many records or names one page holds.
pub(crate) const PAGE: usize = 256;

/// Goes over the blobs that something names, in the order of spaces and ids.
#[derive(Default)]
pub(crate) struct Census {
    /// None before the first space.
    space: Option<Space>,
    last: Bytes,
}

impl Census {
    /// The next blobs; none at the end. A page may be empty before that.
    pub(crate) async fn next(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<Option<Vec<(Space, BlobId, BlobInfo)>>, ReadError> {
        let Some(space) = self.space else {
            return self.enter_next_space(snapshot).await;
        };
        let mut scan = Scan::of(&keys::records(space)).limit(PAGE);
        if !self.last.is_empty() {
            scan = scan.after(&self.last);
        }
        let entries = snapshot.scan(scan).await?;
        let Some(last) = entries.last() else {
            return self.enter_next_space(snapshot).await;
        };
        self.last = last.item.clone();
        let mut page = Vec::new();
        for entry in &entries {
            let record: BlobRecord = entry.record()?;
            if record.state == BlobState::Live {
                let info = BlobInfo {
                    size: record.size,
                    digests: record.digests,
                };
                page.push((space, BlobId(fixed(&entry.item)?), info));
            }
        }
        Ok(Some(page))
    }

    async fn enter_next_space<T: Default>(&mut self, snapshot: &Snapshot) -> Result<Option<T>, ReadError> {
        let mut scan = Scan::of(&keys::spaces()).limit(1);
        if let Some(space) = self.space {
            scan = scan.after(space.0.to_be_bytes());
        }
        let Some(entry) = snapshot.scan(scan).await?.pop() else {
            return Ok(None);
        };
        self.space = Some(Space(number(&entry.item)?));
        self.last = Bytes::new();
        Ok(Some(T::default()))
    }
}

/// The next names of a blob after one, in order: what was given to [`super::Blobs::reference`].
pub(crate) async fn names(
    snapshot: &Snapshot,
    space: Space,
    id: &BlobId,
    after: Option<&Bytes>,
) -> Result<Vec<Bytes>, ReadError> {
    let mut scan = Scan::of(&keys::references(space, id)).limit(PAGE);
    if let Some(after) = after {
        scan = scan.after(after);
    }
    let entries = snapshot.scan(scan).await?;
    Ok(entries.into_iter().map(|entry| entry.item).collect())
}

/// Notes that something names a blob, whether it is there or not. If it is not and its bytes are
/// stored one day, it is then kept for this name too.
pub(crate) fn note_name(txn: &mut Txn, space: Space, id: &BlobId, name: &Bytes) {
    txn.put(&keys::references(space, id).key(name), "");
}
