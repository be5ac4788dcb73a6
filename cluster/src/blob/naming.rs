//! Which blobs are kept: references by records, and leases by promises.
//!
//! - A record and the reference that it holds are written in one transaction.
//! - Naming a blob checks its record and adds one item, so namings of one blob never conflict
//!   with each other.
//! - Taking a reference away depends on another one that stays, or, if it is the last, on there
//!   being no other: then it conflicts with a naming at the same time, and one of the two is
//!   done again.
//! - A lease checks the record as well, so one is never given on a blob that is being removed.

use std::time::Duration;

use super::error::{BlobTxnError, LeaseError};
use super::id::{BlobId, Space};
use super::record::{BlobRecord, BlobState, DebtRecord, Segmentation};
use super::writer::{Nameable, StoredBlob};
use super::{Blobs, kept, keys};
use crate::kv::{ReadError, Scan, Txn};

impl Blobs {
    /// Names freshly stored bytes: their record and the reference become part of the caller's
    /// transaction. If the same content is kept already, that is named and the fresh bytes are
    /// left to the collection.
    ///
    /// `referrer` says which record names it, in the caller's own terms; one record naming one
    /// blob twice is one reference.
    pub async fn reference(
        &self,
        txn: &mut Txn,
        blob: &StoredBlob,
        referrer: &[u8],
    ) -> Result<(), BlobTxnError> {
        let blob = blob.inner.as_ref();
        let now = self.seams().clock.now();
        if now > blob.expires {
            return Err(BlobTxnError::Expired { id: blob.id });
        }
        let key = keys::record(blob.space, &blob.id);
        match txn.record::<BlobRecord>(&key).await? {
            Some(present) => {
                if present.generation != blob.generation {
                    // These bytes are kept already: the fresh ones need not wait for anybody.
                    self.discard(txn, blob.space, blob.garbage(now)).await?;
                }
                if present.state != BlobState::Live {
                    txn.delete(&keys::orphan(blob.space, &blob.id));
                    kept::begins(txn, blob.space, present.size);
                }
                // Another format may have asked for other digests of the same bytes.
                let digests = present.digests.union(&blob.digests);
                if present.state != BlobState::Live || digests != present.digests {
                    let revived = BlobRecord {
                        state: BlobState::Live,
                        digests,
                        ..present
                    };
                    txn.put_record(&key, &revived);
                }
            }
            None => {
                self.check_kept(txn, blob).await?;
                let record = BlobRecord {
                    size: blob.size,
                    digests: blob.digests.clone(),
                    generation: blob.generation,
                    segments: blob.segments.clone(),
                    state: BlobState::Live,
                };
                txn.put_record(&key, &record);
                kept::begins(txn, blob.space, blob.size);
                if let Segmentation::Apart(_) = blob.segments {
                    txn.delete(&keys::pending(blob.space, &blob.generation));
                }
                if blob.indebted {
                    let debt = DebtRecord::new(blob.generation, now);
                    txn.put_record(&keys::debt(blob.space, &blob.id), &debt);
                }
                self.note_if_astray(txn, blob).await?;
                note_space(txn, blob.space).await?;
            }
        }
        txn.put(&keys::references(blob.space, &blob.id).key(referrer), "");
        Ok(())
    }

    /// Makes sure that the bytes of what is to be named have not been collected: after they were
    /// named and released once, or while nobody named them.
    async fn check_kept(&self, txn: &mut Txn, blob: &Nameable) -> Result<(), BlobTxnError> {
        let garbage = keys::garbage(blob.space, &blob.generation);
        let mut collected = txn.get(&garbage).await?.is_some();
        if let Segmentation::Apart(_) = blob.segments {
            // As long as this is there, so are the items that list the segments; the collection
            // takes them away together.
            let pending = keys::pending(blob.space, &blob.generation);
            collected |= txn.get(&pending).await?.is_none();
        }
        if collected {
            return Err(BlobTxnError::Expired { id: blob.id });
        }
        Ok(())
    }

    /// Names a blob that is kept already.
    pub async fn reference_existing(
        &self,
        txn: &mut Txn,
        space: Space,
        id: &BlobId,
        referrer: &[u8],
    ) -> Result<(), BlobTxnError> {
        let key = keys::record(space, id);
        let Some(record) = txn.record::<BlobRecord>(&key).await? else {
            return Err(BlobTxnError::Unknown { id: *id });
        };
        match record.state {
            BlobState::Live => {}
            BlobState::Orphan { .. } => {
                let state = BlobState::Live;
                kept::begins(txn, space, record.size);
                txn.put_record(&key, &BlobRecord { state, ..record });
                txn.delete(&keys::orphan(space, id));
            }
        }
        txn.put(&keys::references(space, id).key(referrer), "");
        Ok(())
    }

    /// Takes back that `referrer` names the blob. With its last reference gone the blob is an
    /// orphan, kept for as long as a lease on it lasts. Changes nothing if there was no such
    /// reference.
    pub async fn release(
        &self,
        txn: &mut Txn,
        space: Space,
        id: &BlobId,
        referrer: &[u8],
    ) -> Result<(), BlobTxnError> {
        let references = keys::references(space, id);
        let reference = references.key(referrer);
        if txn.get(&reference).await?.is_none() {
            return Ok(());
        }
        txn.delete(&reference);
        // What the transaction itself has named and released counts too.
        let written = txn.written(&references);
        if written.values().any(|there| *there) {
            return Ok(());
        }
        let scan = Scan::of(&references).limit(written.len() + 1);
        let committed = txn.snapshot().scan(scan).await?;
        if let Some(other) = committed.iter().find(|entry| !written.contains_key(&entry.item)) {
            // That one has to stay until the commit; whatever else comes and goes does not matter.
            txn.get(&references.key(&other.item)).await?;
            return Ok(());
        }
        txn.depend_on(&references).await?;
        let key = keys::record(space, id);
        if let Some(record) = txn.record::<BlobRecord>(&key).await? {
            let since = self.seams().clock.now();
            let state = BlobState::Orphan { since };
            if record.state == BlobState::Live {
                kept::ends(txn, space, record.size);
            }
            txn.put_record(&key, &BlobRecord { state, ..record });
            txn.put(&keys::orphan(space, id), since.0.to_be_bytes().to_vec());
        }
        Ok(())
    }

    /// Promises that the blob will still be there after `time`, named or not: for an answer
    /// that says it exists, or a mount. False if it is not known, or being removed.
    ///
    /// Writes only if less than half of the time is covered already, so that repeated
    /// questions cost nothing.
    pub async fn lease(&self, space: Space, id: &BlobId, time: Duration) -> Result<bool, LeaseError> {
        let work = async |mut txn: Txn| {
            let record = txn.record::<BlobRecord>(&keys::record(space, id)).await?;
            let kept = record.is_some();
            if kept {
                let now = self.seams().clock.now();
                let lease = keys::lease(space, id);
                let until = txn.snapshot().number(&lease).await?;
                if until < now.plus(time / 2).0 {
                    txn.raise(&lease, now.plus(time).0);
                }
            }
            Ok::<_, LeaseError>((txn, kept))
        };
        self.kv().transact(work).await
    }
}

/// Makes sure that work which goes over all spaces comes by this one.
pub(super) async fn note_space(txn: &mut Txn, space: Space) -> Result<(), ReadError> {
    let key = keys::space(space);
    if txn.get(&key).await?.is_none() {
        txn.put(&key, "");
    }
    Ok(())
}
