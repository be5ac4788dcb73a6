//! Uploads under way in a project, as one format has them: begun on one node, continued on
//! another, ended on a third.
//!
//! The blob store keeps an upload's bytes and where it stands; here is whose it is, how many a
//! project may have under way, and what became of one that ended: a client that did not hear
//! the answer to its last request sends it again and gets the same. Below the format's records:
//!
//! ```text
//! ├── uploading     begun at, upload id   -> ()   those under way, the oldest first
//! ├── uploads       ""                    -> how many are under way (added)
//! ├── finished      upload id             -> what the format remembers of one that ended
//! └── finished-at   finished at, upload id -> ()
//! ```

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use cairn_cluster::record::{Record, decode, encode};
use cairn_cluster::{Collection, DigestSet, Key, Scan, Timestamp, Txn, UploadError, UploadId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::error::{ApiError, ErrorKind};
use crate::registry::{Progress, Scope};

/// Uploads that one project may have under way.
const MAX_SESSIONS: u64 = 1000;

/// How old an upload is when it is first looked at again: as long as one lives without a request.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// How long a client may ask again for the end of an upload.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How many old uploads one new upload looks at: more than begin, so that they never pile up.
const SWEPT: usize = 8;

/// How many uploads of a deleted project one transaction forgets.
const FORGOTTEN: usize = 500;

/// What a refused client should wait.
const RETRY_SECONDS: u64 = 60;

/// The uploads of a format in a project.
pub(crate) struct Sessions<'a> {
    scope: &'a Scope,
    keys: SessionKeys,
}

/// An upload that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Session<T> {
    /// Under which the blob store knows it.
    pub(crate) id: UploadId,
    /// How many bytes are there.
    pub(crate) offset: u64,
    /// What the format wants to know of it.
    pub(crate) of: T,
    begun_at: Timestamp,
}

/// Whose an upload is: handed back by the blob store with each look at the upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Owner<T> {
    project: u64,
    of: T,
    begun_at: Timestamp,
}

impl<T: Serialize + DeserializeOwned> Record for Owner<T> {}

const UPLOADING: &str = "uploading";
const UPLOADS: &str = "uploads";

/// Whether the records of this name are about uploads under way.
pub(super) fn is_of_upload(records: &[u8]) -> bool {
    [UPLOADING, UPLOADS].map(str::as_bytes).contains(&records)
}

/// Where the records lie.
#[derive(Clone)]
pub(crate) struct SessionKeys(Collection);

impl SessionKeys {
    /// Those below a format's records in a project.
    pub(crate) fn new(records: Collection) -> Self {
        Self(records)
    }

    pub(crate) fn uploading(&self) -> Collection {
        self.0.at(UPLOADING)
    }

    pub(crate) fn count(&self) -> Key {
        self.0.at(UPLOADS).key("")
    }

    fn finished(&self, upload: &UploadId) -> Key {
        self.0.at("finished").key(upload)
    }

    pub(crate) fn finished_at(&self) -> Collection {
        self.0.at("finished-at")
    }
}

impl<'a> Sessions<'a> {
    /// Those of the format and project of a scope.
    pub(crate) fn of(scope: &'a Scope) -> Self {
        let keys = SessionKeys::new(scope.collection());
        Self { scope, keys }
    }

    /// Begins an upload.
    pub(crate) async fn begin<T>(&self, wanted: DigestSet, of: T) -> Result<Session<T>, ApiError>
    where
        T: Serialize + DeserializeOwned,
    {
        let under_way = self.scope.snapshot().number(&self.keys.count()).await?;
        self.sweep().await?;
        if under_way >= MAX_SESSIONS {
            let message = format!("the project has {under_way} uploads under way; end some of them first");
            return Err(ApiError::new(ErrorKind::TooManyRequests, message)
                .with_header(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS)));
        }
        let begun_at = self.scope.now();
        let owner = Owner {
            project: self.scope.project().id,
            of,
            begun_at,
        };
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let id = blobs
            .begin_upload(space, wanted, &encode(&owner))
            .await
            .map_err(not_now)?;
        let item = self.item(begun_at, &id);
        let counted = self.scope.prepare(async |mut txn: Txn| {
            txn.put(&item, "");
            txn.add(&self.keys.count(), 1);
            Ok((txn, ()))
        });
        counted.await?;
        Ok(Session {
            id,
            offset: 0,
            of: owner.of,
            begun_at,
        })
    }

    fn item(&self, begun_at: Timestamp, id: &UploadId) -> Key {
        self.keys.uploading().key(timed(begun_at, id))
    }

    /// Finds an upload of this project.
    pub(crate) async fn find<T>(&self, id: &UploadId) -> Result<Option<Session<T>>, ApiError>
    where
        T: Serialize + DeserializeOwned,
    {
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let status = match blobs.upload_status(space, id).await {
            Ok(status) => status,
            Err(UploadError::Unknown) => return Ok(None),
            Err(other) => return Err(not_now(other)),
        };
        let owner: Owner<T> = decode(&status.owner).map_err(ApiError::internal)?;
        let is_ours = owner.project == self.scope.project().id;
        Ok(is_ours.then_some(Session {
            id: *id,
            offset: status.offset,
            of: owner.of,
            begun_at: owner.begun_at,
        }))
    }

    /// Throws an upload away.
    pub(crate) async fn abort<T>(&self, session: &Session<T>) -> Result<(), ApiError> {
        let discarded = self.scope.blobs().abort_upload(self.scope.space(), &session.id);
        match discarded.await {
            Ok(()) | Err(UploadError::Unknown) => {}
            Err(other) => return Err(not_now(other)),
        }
        let work = async |mut txn: Txn| {
            self.forget(&mut txn, session).await?;
            Ok((txn, ()))
        };
        self.scope.prepare(work).await
    }

    /// Takes an upload off the list of those under way, if it is still there.
    pub(crate) async fn forget<T>(&self, txn: &mut Txn, session: &Session<T>) -> Result<(), ApiError> {
        self.forget_item(txn, self.item(session.begun_at, &session.id))
            .await
    }

    async fn forget_item(&self, txn: &mut Txn, item: Key) -> Result<(), ApiError> {
        if txn.get(&item).await?.is_some() {
            txn.delete(&item);
            txn.add(&self.keys.count(), -1);
        }
        Ok(())
    }

    /// Remembers what became of an upload that ended.
    pub(crate) fn remember<R: Record>(&self, txn: &mut Txn, id: &UploadId, end: &R) {
        txn.put_record(&self.keys.finished(id), end);
        txn.put(&self.keys.finished_at().key(timed(self.scope.now(), id)), "");
    }

    /// What became of an upload that ended not long ago.
    pub(crate) async fn remembered<R: Record>(&self, id: &UploadId) -> Result<Option<R>, ApiError> {
        Ok(self.scope.latest().await?.record(&self.keys.finished(id)).await?)
    }

    /// Looks at some uploads that were begun or ended long ago. Every new one does it, so that
    /// abandoned ones give back their space and their place without anybody waiting for them.
    async fn sweep(&self) -> Result<(), ApiError> {
        for (begun_at, id) in self.older_than(&self.keys.uploading(), EXPIRY).await? {
            let status = self.scope.blobs().upload_status(self.scope.space(), &id).await;
            match status {
                Err(UploadError::Unknown) => {
                    let item = self.item(begun_at, &id);
                    let work = async |mut txn: Txn| {
                        self.forget_item(&mut txn, item.clone()).await?;
                        Ok((txn, ()))
                    };
                    self.scope.prepare(work).await?;
                }
                Ok(_) => self.look_again_later(begun_at, &id).await?,
                Err(other) => return Err(not_now(other)),
            }
        }
        let ended = self.older_than(&self.keys.finished_at(), REMEMBERED).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let work = async |mut txn: Txn| {
            for (at, id) in &ended {
                txn.delete(&self.keys.finished(id));
                txn.delete(&self.keys.finished_at().key(timed(*at, id)));
            }
            Ok((txn, ()))
        };
        self.scope.prepare(work).await
    }

    /// Puts an upload that is slow, but not abandoned, behind those that are not looked at yet.
    async fn look_again_later(&self, begun_at: Timestamp, id: &UploadId) -> Result<(), ApiError> {
        let (now, later) = (self.item(begun_at, id), self.item(self.scope.now(), id));
        let work = async |mut txn: Txn| {
            if txn.get(&now).await?.is_some() {
                txn.delete(&now);
                txn.put(&later, "");
            }
            Ok((txn, ()))
        };
        self.scope.prepare(work).await
    }

    async fn older_than(
        &self,
        timed: &Collection,
        age: Duration,
    ) -> Result<Vec<(Timestamp, UploadId)>, ApiError> {
        let oldest = self.scope.snapshot().scan(Scan::of(timed).limit(SWEPT)).await?;
        let now = self.scope.now();
        let items = oldest.iter().filter_map(|entry| read_timed(&entry.item));
        Ok(items.filter(|(at, _)| now.since(*at) >= age).collect())
    }
}

/// Removes some of what is known of the uploads of a deleted project. Their bytes expire by
/// themselves, because nobody can come to them any more.
pub(crate) async fn forget_all(txn: &mut Txn, keys: &SessionKeys) -> Result<Progress, ApiError> {
    let under_way = txn.scan(Scan::of(&keys.uploading()).limit(FORGOTTEN)).await?;
    for entry in &under_way {
        txn.delete(&keys.uploading().key(&entry.item));
    }
    let finished = txn.scan(Scan::of(&keys.finished_at()).limit(FORGOTTEN)).await?;
    for entry in &finished {
        if let Some((_, id)) = read_timed(&entry.item) {
            txn.delete(&keys.finished(&id));
        }
        txn.delete(&keys.finished_at().key(&entry.item));
    }
    if under_way.is_empty() && finished.is_empty() {
        txn.delete(&keys.count());
        return Ok(Progress::Done);
    }
    Ok(Progress::More)
}

/// What an upload that cannot go on now is answered with; an unknown one has gone meanwhile.
pub(crate) fn not_now(error: UploadError) -> ApiError {
    match error {
        UploadError::Unknown => ApiError::not_found("404 Upload Not Found"),
        UploadError::Metadata(error) => error.into(),
        other => ApiError::unavailable(other),
    }
}

/// An item that sorts by time: when, and which upload.
fn timed(at: Timestamp, upload: &UploadId) -> Vec<u8> {
    let mut item = at.0.to_be_bytes().to_vec();
    cairn_cluster::Segment::put(upload, &mut item);
    item
}

/// Reads what [`timed`] wrote.
fn read_timed(item: &[u8]) -> Option<(Timestamp, UploadId)> {
    let (at, upload) = item.split_first_chunk::<8>()?;
    let upload = data_encoding::HEXLOWER.encode(upload).parse().ok()?;
    Some((Timestamp(u64::from_be_bytes(*at)), upload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timed_items_sort_by_time_and_read_back() {
        let upload: UploadId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let (early, late) = (timed(Timestamp(9), &upload), timed(Timestamp(300), &upload));
        assert!(early < late);
        assert_eq!(read_timed(&late), Some((Timestamp(300), upload)));
        assert_eq!(read_timed(b"short"), None);
    }
}
