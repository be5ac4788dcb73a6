//! Putting an export and its blobs into a cluster that keeps nothing yet.
//!
//! ```text
//! collection   item         value
//! cluster      "restore"    RestoreRecord
//! cluster      "revision"   number: revisions of this cluster go on from there
//! ```
//!
//! What holds here:
//! - it begins only where there is nothing, and goes on only with the backup that it began with;
//! - whatever is done may be done again, so a restore that was interrupted is repeated whole;
//! - a blob is named only if its bytes are those that its name and digests say;
//! - the collection is paused, from before the first blob until an operator resumes it: what the
//!   backup does not know of, because it was made later or left out, stays until somebody has looked.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::own_records;
use super::part::{Begin, ExportedBlob};
use crate::blob::{BackupId, BlobId, BlobTxnError, Blobs, DigestSet, PutError, WriteError, census};
use crate::kv::{Collection, CommitError, Key, Kv, ReadError, Snapshot, Txn, Unavailable};
use crate::level::Level;
use crate::node_id::ClusterId;
use crate::record::Record;
use crate::seams::{Seams, Timestamp};
use crate::tasks::{TaskKind, TaskSettings, put_settings};

/// Why the collection does nothing after a restore.
const FROZEN: &str = "restored from a backup: resume it once you have seen that all is there";

/// How much one transaction writes; a single record may be more.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_RECORDS: usize = 2000;

/// How many names one transaction notes: as many as fit, were they the longest that there can be.
const BATCH_NAMES: usize = 200;

/// How many transactions are under way at a time; they share log entries' fsyncs.
const AT_ONCE: usize = 4;

/// What a cluster knows of the backup that it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RestoreRecord {
    backup: BackupId,
    /// The cluster that the backup was taken of.
    cluster: ClusterId,
    taken_at: Timestamp,
    begun_at: Timestamp,
    /// Nobody is served before.
    finished_at: Option<Timestamp>,
}

impl Record for RestoreRecord {}

fn restore_key() -> Key {
    Collection::new("cluster").key("restore")
}

fn revision_key() -> Key {
    Collection::new("cluster").key("revision")
}

/// Why a restore does not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The cluster keeps something already.
    #[error("this cluster keeps something already: a backup is restored into a new cluster only")]
    NotEmpty,
    /// It has been made from a backup.
    #[error("this cluster is being made, or was, from backup {backup}")]
    Other {
        /// Which.
        backup: BackupId,
    },
    /// It is of a newer cluster than this build can be a node of.
    #[error("the backup is of a cluster of level {level}, this cairn is of level {own}: use a newer cairn")]
    Newer {
        /// The level of the cluster that it was taken of.
        level: Level,
        /// The level of this one.
        own: Level,
    },
    /// Metadata could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A blob was not named.
    #[error(transparent)]
    Blob(#[from] BlobTxnError),
}

impl From<Unavailable> for RestoreError {
    fn from(error: Unavailable) -> Self {
        Self::Commit(error.into())
    }
}

/// Why a blob was not restored. `E` is the error of its content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreBlobError<E> {
    /// Its content could not be read.
    #[error("{0}")]
    Content(E),
    /// Its content is not what its name says.
    #[error("its bytes are not those of blob {id}")]
    Differs {
        /// The blob.
        id: BlobId,
    },
    /// Too few nodes take it now.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// See [`RestoreError`].
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// A cluster that is being made from a backup.
#[derive(Clone)]
pub struct Restore {
    kv: Kv,
    blobs: Blobs,
    seams: Seams,
    backup: BackupId,
}

impl Restore {
    /// Begins, or goes on after an interruption.
    pub async fn begin(kv: Kv, blobs: Blobs, seams: Seams, begin: &Begin) -> Result<Self, RestoreError> {
        let work = async |mut txn: Txn| {
            let own = Level::within(&mut txn).await?;
            if begin.level > own {
                let level = begin.level;
                return Err(RestoreError::Newer { level, own });
            }
            match txn.record::<RestoreRecord>(&restore_key()).await? {
                None => {
                    let found = txn.snapshot().page(None, &own_records(), 1).await?;
                    if !found.is_empty() {
                        return Err(RestoreError::NotEmpty);
                    }
                }
                Some(record) if record.backup == begin.backup && record.finished_at.is_none() => {}
                Some(RestoreRecord { backup, .. }) => return Err(RestoreError::Other { backup }),
            }
            let record = RestoreRecord {
                backup: begin.backup,
                cluster: begin.cluster,
                taken_at: begin.taken_at,
                begun_at: seams.clock.now(),
                finished_at: None,
            };
            txn.put_record(&restore_key(), &record);
            txn.raise(&revision_key(), begin.revision);
            begin.retention.put(&mut txn);
            let mut collection = TaskSettings::default();
            for (kind, settings) in &begin.tasks {
                match kind {
                    TaskKind::Collection => collection.clone_from(settings),
                    kind => put_settings(&mut txn, *kind, settings),
                }
            }
            collection.paused = true;
            collection.paused_because = Some(FROZEN.into());
            put_settings(&mut txn, TaskKind::Collection, &collection);
            Ok((txn, ()))
        };
        kv.transact(work).await?;
        Ok(Self {
            kv,
            blobs,
            seams,
            backup: begin.backup,
        })
    }

    /// Whether a blob is there already, from an earlier attempt.
    pub async fn has(&self, blob: &ExportedBlob) -> Result<bool, RestoreError> {
        let found = self.blobs.stat(&self.kv.local(), blob.space, &blob.id).await?;
        Ok(found.is_some_and(|found| found.size == blob.size))
    }

    /// Stores a blob and notes the first of its names. The content is checked on the way: if it
    /// is another one, nothing is named.
    pub async fn store<E>(
        &self,
        blob: &ExportedBlob,
        name: &[u8],
        content: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<(), StoreBlobError<E>> {
        let differs = || StoreBlobError::Differs { id: blob.id };
        let want = DigestSet {
            sha1: blob.digests.sha1.is_some(),
            sha512: blob.digests.sha512.is_some(),
            md5: blob.digests.md5.is_some(),
        };
        let stored = self.blobs.put(blob.space, want, blob.size, content).await;
        let stored = stored.map_err(|error| match error {
            PutError::Body(error) => StoreBlobError::Content(error),
            PutError::TooLarge { .. } => differs(),
            PutError::Write(error) => StoreBlobError::Write(error),
        })?;
        if (stored.id(), stored.size(), stored.digests()) != (blob.id, blob.size, &blob.digests) {
            return Err(differs());
        }
        let work = async |mut txn: Txn| {
            self.blobs.reference(&mut txn, &stored, name).await?;
            Ok::<_, RestoreError>((txn, ()))
        };
        Ok(self.kv.transact(work).await?)
    }

    /// Notes names of a blob, whether it was stored or not: one that could not be is then kept
    /// for them if anybody ever stores the same bytes again.
    pub async fn name(&self, blob: &ExportedBlob, names: &[Bytes]) -> Result<(), RestoreError> {
        for names in names.chunks(BATCH_NAMES) {
            let work = async |mut txn: Txn| {
                for name in names {
                    census::note_name(&mut txn, blob.space, &blob.id, name);
                }
                Ok::<_, RestoreError>((txn, ()))
            };
            self.kv.transact(work).await?;
        }
        Ok(())
    }

    /// Writes records, in no particular order, some of them at a time.
    pub async fn write<E: From<RestoreError>>(
        &self,
        records: impl Stream<Item = Result<(Key, Bytes), E>>,
    ) -> Result<(), E> {
        let batches = Batches {
            records: Box::pin(records),
            first: None,
        };
        let batches = stream::try_unfold(batches, async |mut batches| {
            let batch = batches.next().await?;
            Ok::<_, E>((!batch.is_empty()).then_some((batch, batches)))
        });
        let written = batches.map_ok(|batch| async move { self.write_batch(batch).await.map_err(E::from) });
        written.try_buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn write_batch(&self, batch: Vec<(Key, Bytes)>) -> Result<(), RestoreError> {
        let work = async |mut txn: Txn| {
            // Whoever finished meanwhile, or began another, is not written over.
            let record = txn.record::<RestoreRecord>(&restore_key()).await?;
            self.check_own(record)?;
            for (key, value) in &batch {
                txn.put(key, value.clone());
            }
            Ok::<_, RestoreError>((txn, ()))
        };
        self.kv.transact(work).await
    }

    fn check_own(&self, record: Option<RestoreRecord>) -> Result<RestoreRecord, RestoreError> {
        match record {
            Some(record) if record.backup == self.backup && record.finished_at.is_none() => Ok(record),
            Some(RestoreRecord { backup, .. }) => Err(RestoreError::Other { backup }),
            None => Err(RestoreError::NotEmpty),
        }
    }

    /// Lets the nodes of the cluster serve what was restored.
    pub async fn finish(self) -> Result<(), RestoreError> {
        let work = async |mut txn: Txn| {
            let record = txn.record::<RestoreRecord>(&restore_key()).await?;
            let record = RestoreRecord {
                finished_at: Some(self.seams.clock.now()),
                ..self.check_own(record)?
            };
            txn.put_record(&restore_key(), &record);
            Ok::<_, RestoreError>((txn, ()))
        };
        self.kv.transact(work).await
    }
}

/// Puts records together that fit into one transaction.
struct Batches<S> {
    records: Pin<Box<S>>,
    /// It did not fit into the batch before.
    first: Option<(Key, Bytes)>,
}

impl<S, E> Batches<S>
where
    S: Stream<Item = Result<(Key, Bytes), E>>,
{
    /// The next batch; empty at the end.
    async fn next(&mut self) -> Result<Vec<(Key, Bytes)>, E> {
        let bytes_of = |(key, value): &(Key, Bytes)| key.as_bytes().len() + value.len();
        let mut batch: Vec<_> = self.first.take().into_iter().collect();
        let mut bytes: usize = batch.iter().map(bytes_of).sum();
        while batch.len() < BATCH_RECORDS {
            let Some(record) = self.records.next().await.transpose()? else {
                break;
            };
            bytes += bytes_of(&record);
            if bytes > BATCH_BYTES && !batch.is_empty() {
                self.first = Some(record);
                break;
            }
            batch.push(record);
        }
        Ok(batch)
    }
}

/// Whether the cluster is being made from a backup, and must not be used yet.
pub(crate) async fn is_under_way(snapshot: &Snapshot) -> Result<bool, ReadError> {
    let record = snapshot.record::<RestoreRecord>(&restore_key()).await?;
    Ok(record.is_some_and(|record| record.finished_at.is_none()))
}

/// What revisions of this cluster go on from: none that anybody remembers from the cluster that
/// it was restored from is higher.
pub(crate) async fn earlier_revisions(snapshot: &Snapshot) -> Result<u64, ReadError> {
    snapshot.number(&revision_key()).await
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::RestoreRecord>("restore");
    }
}
