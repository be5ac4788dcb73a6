//! What is garbage: orphans whose time has come, uploads and writers that were abandoned.
//!
//! Every decision is a transaction of its own, so that one that is void holds up no other.

use futures::stream::{self, TryStreamExt};
use tracing::error;

use super::{CLOCK_TOLERANCE, Collector, Pages};
use crate::blob::hold::{is_held, is_held_in};
use crate::blob::id::{BlobId, Generation, Space, UploadId};
use crate::blob::record::{BlobRecord, BlobState, GarbageRecord, PendingRecord, SegmentRecord, UploadRecord};
use crate::blob::walk::fixed;
use crate::blob::{kept, keys};
use crate::kv::{CommitError, ReadError, Scan, Txn};
use crate::record::number;
use crate::seams::Timestamp;
use crate::tasks::Work;

/// How many decisions are under way at a time; they share log entries' fsyncs.
const AT_ONCE: usize = 16;

/// Why a decision was not made.
#[derive(Debug, thiserror::Error)]
pub(in crate::blob) enum DecideError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Collector<'_> {
    /// Makes garbage of what nothing keeps any more.
    pub(in crate::blob) async fn decide(&self, space: Space, work: &Work) -> anyhow::Result<()> {
        self.orphans(space, work).await?;
        self.uploads(space, work).await?;
        self.pending(space, work).await?;
        self.leases(space).await
    }

    async fn orphans(&self, space: Space, work: &Work) -> anyhow::Result<()> {
        // Each decision asks again; this spares asking for each of them.
        if is_held(&self.blobs.kv().local(), self.blobs.seams().clock.now()).await? {
            return Ok(());
        }
        let mut pages = Pages::of(keys::orphans(space));
        while let Some(page) = pages.next(self.blobs).await? {
            let due = page
                .into_iter()
                .map(|entry| Ok::<_, anyhow::Error>(BlobId(fixed(&entry.item)?)));
            let decided = stream::iter(due).map_ok(|id| async move {
                let collected = self.collect_orphan(space, id).await;
                collected.map_err(anyhow::Error::from)
            });
            let decided: Vec<bool> = decided.try_buffer_unordered(AT_ONCE).try_collect().await?;
            work.moved(decided.iter().filter(|collected| **collected).count() as u64, 0)
                .await;
        }
        Ok(())
    }

    /// Makes garbage of a blob that nothing names, if its time has come; says whether it did.
    pub(in crate::blob) async fn collect_orphan(
        &self,
        space: Space,
        id: BlobId,
    ) -> Result<bool, DecideError> {
        let decide = async |mut txn: Txn| {
            let collected = self.judge(&mut txn, space, &id).await?;
            Ok::<_, DecideError>((txn, collected))
        };
        self.blobs.kv().transact(decide).await
    }

    /// The decision on an orphan, in a transaction that depends on all it rests on.
    pub(in crate::blob) async fn judge(
        &self,
        txn: &mut Txn,
        space: Space,
        id: &BlobId,
    ) -> Result<bool, DecideError> {
        let now = self.blobs.seams().clock.now();
        let (key, orphan) = (keys::record(space, id), keys::orphan(space, id));
        let record = txn.record::<BlobRecord>(&key).await?;
        let Some((record, since)) = record.and_then(|record| match record.state {
            BlobState::Live => None,
            BlobState::Orphan { since } => Some((record, since)),
        }) else {
            txn.delete(&orphan);
            return Ok(false);
        };
        let references = keys::references(space, id);
        txn.depend_on(&references).await?;
        if !txn
            .snapshot()
            .scan(Scan::of(&references).limit(1))
            .await?
            .is_empty()
        {
            error!(%space, blob = %id, "a blob that is named was taken for an orphan; it is kept");
            let state = BlobState::Live;
            kept::begins(txn, space, record.size);
            txn.put_record(&key, &BlobRecord { state, ..record });
            txn.delete(&orphan);
            return Ok(false);
        }
        let lease = keys::lease(space, id);
        let leased_until = match txn.get(&lease).await? {
            Some(until) => Timestamp(number(&until).map_err(ReadError::from)?).plus(CLOCK_TOLERANCE),
            None => Timestamp::default(),
        };
        let kept = now < since.plus(self.retention.orphans()) || now < leased_until;
        if kept || is_held_in(txn, now).await? {
            return Ok(false);
        }
        txn.delete(&key);
        txn.delete(&orphan);
        txn.delete(&lease);
        txn.delete(&keys::debt(space, id));
        self.blobs.discard(txn, space, record.garbage(*id, now)).await?;
        Ok(true)
    }

    async fn uploads(&self, space: Space, work: &Work) -> anyhow::Result<()> {
        let mut pages = Pages::of(keys::uploads(space));
        while let Some(page) = pages.next(self.blobs).await? {
            for entry in page {
                let session: UploadRecord = entry.record()?;
                if self.is_over(session.expires) {
                    let id = UploadId(fixed(&entry.item)?);
                    self.retire_abandoned(space, id).await?;
                    work.moved(1, 0).await;
                }
            }
        }
        Ok(())
    }

    async fn retire_abandoned(&self, space: Space, id: UploadId) -> Result<(), DecideError> {
        let retire = async |mut txn: Txn| {
            if let Some(session) = txn.record::<UploadRecord>(&keys::upload(space, &id)).await?
                && self.is_over(session.expires)
            {
                self.blobs.retire_upload(&mut txn, space, &id, &session).await?;
            }
            Ok::<_, DecideError>((txn, ()))
        };
        self.blobs.kv().transact(retire).await
    }

    async fn pending(&self, space: Space, work: &Work) -> anyhow::Result<()> {
        let mut pages = Pages::of(keys::all_pending(space));
        while let Some(page) = pages.next(self.blobs).await? {
            for entry in page {
                let generation = Generation(fixed(&entry.item)?);
                if self.retire_pending(space, generation).await? {
                    work.moved(1, 0).await;
                }
            }
        }
        Ok(())
    }

    /// Makes garbage of segments that belong to nothing and will not any more.
    async fn retire_pending(&self, space: Space, generation: Generation) -> Result<bool, DecideError> {
        let retire = async |mut txn: Txn| {
            let Some(pending) = txn
                .record::<PendingRecord>(&keys::pending(space, &generation))
                .await?
            else {
                return Ok::<_, DecideError>((txn, false));
            };
            let over = match pending.upload {
                // They live as long as it does.
                Some(upload) => txn.get(&keys::upload(space, &upload)).await?.is_none(),
                None => self.is_over(pending.expires),
            };
            if over {
                let segments = keys::segments(space, &generation);
                let some = txn.snapshot().scan(Scan::of(&segments)).await?;
                let lens = some.iter().map(|entry| Ok(entry.record::<SegmentRecord>()?.len));
                let bytes = lens.sum::<Result<u64, ReadError>>()?;
                let garbage = GarbageRecord::of_pending(generation, bytes, self.blobs.seams().clock.now());
                self.blobs.discard(&mut txn, space, garbage).await?;
            }
            Ok((txn, over))
        };
        self.blobs.kv().transact(retire).await
    }

    /// Forgets leases that are over, of blobs that are named anyway.
    async fn leases(&self, space: Space) -> anyhow::Result<()> {
        let mut pages = Pages::of(keys::leases(space));
        while let Some(page) = pages.next(self.blobs).await? {
            let mut over = Vec::new();
            for entry in page {
                if self.is_over(Timestamp(number(&entry.value)?)) {
                    over.push(keys::leases(space).key(&entry.item));
                }
            }
            if over.is_empty() {
                continue;
            }
            let forget = async |mut txn: Txn| {
                for key in &over {
                    // It may have been renewed since it was seen.
                    if let Some(until) = txn.get(key).await?
                        && self.is_over(Timestamp(number(&until).map_err(ReadError::from)?))
                    {
                        txn.delete(key);
                    }
                }
                Ok::<_, DecideError>((txn, ()))
            };
            self.blobs.kv().transact(forget).await?;
        }
        Ok(())
    }

    fn is_over(&self, expires: Timestamp) -> bool {
        self.blobs.seams().clock.now() > expires.plus(CLOCK_TOLERANCE)
    }
}
