//! Taking a backup: all of it through the API of any node, so that it needs no access to a node's
//! disks, and lies where the operator wants it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_cluster::{Begin, BlobId, ExportedBlob, Totals};
use futures::stream::{FuturesUnordered, StreamExt as _};
use reqwest::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::backup::contents::{Content, Contents};
use crate::backup::folder::{Folder, FolderError, Growing, NewFile};
use crate::backup::manifest::{MAX_UNREADABLE, Manifest, Unreadable};
use crate::backup::progress::Progress;
use crate::cli::client::{Client, Opened};
use crate::cli::failure::{Code, Failure, OrFail as _, chain};

/// How many blobs are fetched at a time.
const AT_ONCE: usize = 8;

/// How often a transfer that breaks is begun again; each time with another node, if there are more.
const ATTEMPTS: usize = 5;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);

/// How often the cluster is told that the backup goes on: well within the time that it waits.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// How much is written at once.
const WRITTEN_BYTES: usize = 1 << 20;

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) manifest: Manifest,
    pub(super) counts: Counts,
}

/// Where the blobs came from. Content that several groups have counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) fetched: u64,
    pub(super) fetched_bytes: u64,
    /// From the earlier backup.
    pub(super) shared: u64,
    /// There already.
    pub(super) found: u64,
}

/// Takes a backup into a folder.
pub(super) async fn take(
    client: Client,
    growing: Growing,
    earlier: Option<Folder>,
    progress: Arc<Progress>,
) -> Result<Taken, Failure> {
    let held: Held = client.post("/api/cairn/v1/backups", &json!({})).await?;
    let base = format!("/api/cairn/v1/backups/{}", held.backup);
    let taking = Taking {
        client,
        base,
        growing: Arc::new(growing),
        earlier,
        progress,
    };
    let taken = tokio::select! {
        taken = taking.run() => taken,
        over = taking.keep_going() => Err(over),
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted").next(GO_ON)),
    };
    // Otherwise it ends by itself, a little later.
    let _ = taking.client.delete(&taking.base).await;
    let (manifest, counts) = taken?;
    let growing =
        Arc::into_inner(taking.growing).ok_or_else(|| Failure::failed("a file is still being written"))?;
    let manifest = blocking(move || growing.complete(&manifest).map(|()| manifest)).await?;
    Ok(Taken { manifest, counts })
}

/// What to do when a backup was not completed.
const GO_ON: &str = "run the same command again: it goes on with what is there";

#[derive(Deserialize)]
struct Held {
    backup: String,
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let conflict = |next: &str| Failure::new(Code::Conflict, error.to_string()).next(next);
        match &error {
            FolderError::Complete(_) => conflict("name another folder, and this one with --against"),
            FolderError::Foreign { .. } => conflict("name a folder that is empty or not there yet"),
            FolderError::InUse { .. } => conflict("wait until that process has ended"),
            FolderError::NoBackup(_) => Failure::new(Code::NotFound, error.to_string())
                .next("name a folder that `cairn backup` has completed"),
            FolderError::Manifest { .. } => {
                Failure::failed(error.to_string()).next("use another backup, or a copy of this one")
            }
            FolderError::Io { .. } => Failure::failed(error.to_string()),
        }
    }
}

/// Runs work that waits for a disk on a thread made for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FolderError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.or_fail("write the backup")??)
}

/// A backup under way.
struct Taking {
    client: Client,
    base: String,
    growing: Arc<Growing>,
    earlier: Option<Folder>,
    progress: Arc<Progress>,
}

/// What became of one blob.
enum Copied {
    Fetched(u64),
    Shared,
    Found,
    Unreadable(Unreadable),
}

/// How a transfer ended early.
enum Broken {
    /// It may go better another time.
    Transfer(String),
    Failed(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Taking {
    /// Tells the cluster again and again that the backup goes on; ends when it does not.
    async fn keep_going(&self) -> Failure {
        loop {
            sleep(RENEW_EVERY).await;
            let renewed: Result<Held, Failure> = self.client.get(&self.base).await;
            if let Err(failure) = renewed
                && failure.code == Code::NotFound
            {
                return failure.next(GO_ON);
            }
        }
    }

    async fn run(&self) -> Result<(Manifest, Counts), Failure> {
        let (bytes, blake3) = self.fetch_metadata().await?;
        let (begin, totals) = self.look_through(blake3).await?;
        let mut manifest = Manifest::new(&begin, totals, bytes, blake3);
        self.progress.expect(totals.blobs, totals.blob_bytes);
        let mut counts = Counts::default();
        let mut copying = FuturesUnordered::new();
        let mut contents = Contents::read(self.growing.folder().metadata(), None);
        // Two groups may have the same content at the same time.
        let mut under_way = BTreeSet::new();
        let mut number = 0;
        while let Some(content) = contents.next().await.or_fail("read the metadata again")? {
            let Content::Blob(named) = content else { continue };
            while copying.len() >= AT_ONCE || under_way.contains(&named.blob.id) {
                let Some(copied) = copying.next().await else { break };
                note(copied?, &mut under_way, &mut counts, &mut manifest)?;
            }
            under_way.insert(named.blob.id);
            copying.push(self.copy(named.blob, number));
            number += 1;
        }
        while let Some(copied) = copying.next().await {
            note(copied?, &mut under_way, &mut counts, &mut manifest)?;
        }
        Ok((manifest, counts))
    }

    /// Fetches the metadata; gives their size and BLAKE3.
    async fn fetch_metadata(&self) -> Result<(u64, BlobId), Failure> {
        let path = format!("{}/metadata", self.base);
        for attempt in 0..ATTEMPTS {
            let broken = match self.client.open(&path, attempt).await? {
                Opened::Gone(reason) => return Err(Failure::failed(reason)),
                Opened::Body(body) => match self.receive(body, None, &Progress::default()).await {
                    Ok((file, bytes, blake3)) => {
                        let path = self.growing.folder().metadata();
                        blocking(move || file.keep(&path)).await?;
                        return Ok((bytes, blake3));
                    }
                    Err(Broken::Failed(failure)) => return Err(failure),
                    Err(Broken::Transfer(reason)) => reason,
                },
            };
            if attempt + 1 == ATTEMPTS {
                return Err(Failure::new(
                    Code::Unavailable,
                    format!("cannot fetch the metadata: {broken}"),
                ));
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Makes sure that the metadata are whole.
    async fn look_through(&self, blake3: BlobId) -> Result<(Begin, Totals), Failure> {
        let mut contents = Contents::read(self.growing.folder().metadata(), Some(blake3));
        let (mut begin, mut totals) = (None, None);
        while let Some(content) = contents.next().await.or_fail("use what was fetched")? {
            match content {
                Content::Begin(found) => begin = Some(found),
                Content::End(found) => totals = Some(found),
                Content::Blob(_) | Content::Names(_) | Content::Record(..) => {}
            }
        }
        begin
            .zip(totals)
            .ok_or_else(|| Failure::failed("the metadata have no end"))
    }

    async fn copy(&self, blob: ExportedBlob, number: usize) -> Result<(BlobId, Copied), Failure> {
        let path = self.growing.folder().blob(&blob.id);
        let earlier = self.earlier.as_ref().map(|earlier| earlier.blob(&blob.id));
        let (growing, size, to) = (self.growing.clone(), blob.size, path.clone());
        let there = blocking(move || {
            if growing.has(&to, size)? {
                return Ok(Some(Copied::Found));
            }
            match earlier {
                Some(earlier) if growing.has(&earlier, size)? => {
                    growing.share(&earlier, &to)?;
                    Ok(Some(Copied::Shared))
                }
                _ => Ok(None),
            }
        });
        let copied = match there.await? {
            Some(copied) => {
                self.progress.bytes(size);
                copied
            }
            None => self.fetch(&blob, number).await?,
        };
        self.progress.blob();
        Ok((blob.id, copied))
    }

    async fn fetch(&self, blob: &ExportedBlob, number: usize) -> Result<Copied, Failure> {
        let path = format!("{}/blobs/{}/{}", self.base, blob.space, blob.id);
        let unreadable = |reason| {
            Copied::Unreadable(Unreadable {
                root_group: blob.space.0,
                blob: blob.id,
                reason,
            })
        };
        let mut broken = String::new();
        for attempt in 0..ATTEMPTS {
            let body = match self.client.open(&path, number + attempt).await {
                Ok(Opened::Gone(reason)) => return Ok(unreadable(reason)),
                Ok(Opened::Body(body)) => body,
                // A node that stops, or a cluster between two leaders.
                Err(failure) if failure.code == Code::Unavailable && attempt + 1 < ATTEMPTS => {
                    sleep(Duration::from_secs(1 << attempt)).await;
                    continue;
                }
                Err(failure) => return Err(failure.next(GO_ON)),
            };
            match self.receive(body, Some(blob), &self.progress).await {
                Ok((file, bytes, _)) => {
                    let path = self.growing.folder().blob(&blob.id);
                    blocking(move || file.keep(&path)).await?;
                    return Ok(Copied::Fetched(bytes));
                }
                Err(Broken::Failed(failure)) => return Err(failure),
                Err(Broken::Transfer(reason)) => broken = reason,
            }
        }
        // The nodes answer, but never with all of it.
        Ok(unreadable(format!(
            "of {ATTEMPTS} transfers none was complete: {broken}"
        )))
    }

    /// Receives bytes into a new file; those of a blob must be its own.
    async fn receive(
        &self,
        mut body: Response,
        blob: Option<&ExportedBlob>,
        progress: &Progress,
    ) -> Result<(NewFile, u64, BlobId), Broken> {
        let growing = self.growing.clone();
        let mut writing = Writing {
            file: blocking(move || growing.new_file()).await?,
            hasher: blake3::Hasher::new(),
        };
        let mut bytes = 0;
        let mut counted = progress.tentatively();
        let mut waiting = BytesMut::new();
        loop {
            let chunk = match timeout(SILENCE, body.chunk()).await {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return Err(Broken::Transfer(chain(&error.without_url()))),
                Err(_) => return Err(Broken::Transfer(format!("nothing came for {SILENCE:?}"))),
            };
            let is_last = chunk.is_none();
            if let Some(chunk) = chunk {
                bytes += chunk.len() as u64;
                if blob.is_some_and(|blob| bytes > blob.size) {
                    return Err(Broken::Transfer("there is more than there should be".into()));
                }
                waiting.extend_from_slice(&chunk);
            }
            if is_last || waiting.len() >= WRITTEN_BYTES {
                let piece = waiting.split().freeze();
                counted.bytes(piece.len() as u64);
                writing = blocking(move || writing.write(&piece)).await?;
            }
            if is_last {
                break;
            }
        }
        let found = BlobId(*writing.hasher.finalize().as_bytes());
        match blob {
            Some(blob) if blob.id != found => {
                Err(Broken::Transfer("its bytes do not have their BLAKE3".into()))
            }
            _ => {
                counted.keep();
                Ok((writing.file, bytes, found))
            }
        }
    }
}

/// A file that is being written, and hashed on the way.
struct Writing {
    file: NewFile,
    hasher: blake3::Hasher,
}

impl Writing {
    fn write(mut self, bytes: &Bytes) -> Result<Self, FolderError> {
        self.hasher.update(bytes);
        self.file.write(bytes)?;
        Ok(self)
    }
}

fn note(
    (id, copied): (BlobId, Copied),
    under_way: &mut BTreeSet<BlobId>,
    counts: &mut Counts,
    manifest: &mut Manifest,
) -> Result<(), Failure> {
    under_way.remove(&id);
    match copied {
        Copied::Fetched(bytes) => {
            counts.fetched += 1;
            counts.fetched_bytes += bytes;
        }
        Copied::Shared => counts.shared += 1,
        Copied::Found => counts.found += 1,
        Copied::Unreadable(blob) => manifest.unreadable.push(blob),
    }
    if manifest.unreadable.len() > MAX_UNREADABLE {
        return Err(Failure::failed(format!(
            "more than {MAX_UNREADABLE} blobs cannot be read; this would be no backup"
        ))
        .next("see `cairn blobs --under-protected`"));
    }
    Ok(())
}
