//! Writing an export: the state of one view, part by part, as it is asked for.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;

use super::own_records;
use super::part::{Begin, ExportedBlob, Part, PartWriter};
use crate::blob::census::{self, Census};
use crate::blob::{BlobInfo, Retention};
use crate::kv::{ReadError, Snapshot};
use crate::level::Level;
use crate::node_id::ClusterId;
use crate::seams::Timestamp;
use crate::tasks::all_that_is_set;

/// How much is written before it is handed over.
const PIECE_BYTES: usize = 256 << 10;

/// How many pieces wait for the reader.
const PIECES: usize = 4;

/// How much of the records is read at once.
const PAGE_BYTES: usize = 1 << 20;

impl Begin {
    /// For an export of a view.
    pub(crate) async fn of(
        snapshot: &Snapshot,
        backup: crate::BackupId,
        cluster: ClusterId,
        taken_at: Timestamp,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            backup,
            cluster,
            log_index: snapshot.applied_index(),
            revision: super::earlier_revisions(snapshot)
                .await?
                .saturating_add(snapshot.applied_index()),
            taken_at,
            retention: Retention::load(snapshot).await?,
            tasks: all_that_is_set(snapshot).await?,
            level: Level::of(snapshot).await?,
        })
    }
}

/// The export of a view, in its written form. It is made as it is read; dropping it ends that.
pub(crate) fn export(snapshot: Snapshot, begin: Begin) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let export = Export {
            snapshot,
            writer: PartWriter::new(begin),
            sender: sender.clone(),
        };
        if let Err(Stopped::Failed(error)) = export.run().await {
            // Nobody may be reading any more.
            let _ = sender.send(Err(error)).await;
        }
    });
    ReceiverStream::new(pieces).boxed()
}

/// An export under way.
struct Export {
    snapshot: Snapshot,
    writer: PartWriter,
    sender: Sender<Result<Bytes, ReadError>>,
}

/// Why an export ended early.
enum Stopped {
    Failed(ReadError),
    NobodyReads,
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

impl Export {
    async fn run(mut self) -> Result<(), Stopped> {
        let mut census = Census::default();
        while let Some(page) = census.next(&self.snapshot).await? {
            for (space, id, BlobInfo { size, digests }) in page {
                let blob = ExportedBlob {
                    space,
                    id,
                    size,
                    digests,
                };
                self.put_blob(blob).await?;
            }
        }
        let own = own_records();
        let mut after = None;
        loop {
            let page = self.snapshot.page(after.as_ref(), &own, PAGE_BYTES).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, found) in page {
                let key = key.as_bytes().clone();
                let value = found.value;
                self.put(&Part::Record { key, value }).await?;
            }
        }
        self.writer.end();
        self.hand_over().await
    }

    async fn put_blob(&mut self, blob: ExportedBlob) -> Result<(), Stopped> {
        let (space, id) = (blob.space, blob.id);
        let mut names = census::names(&self.snapshot, space, &id, None).await?;
        if names.is_empty() {
            return Ok(());
        }
        self.put(&Part::Blob(blob)).await?;
        loop {
            let next = (names.len() == census::PAGE).then(|| names[names.len() - 1].clone());
            for name in names {
                self.put(&Part::Name(name)).await?;
            }
            let Some(last) = next else { return Ok(()) };
            names = census::names(&self.snapshot, space, &id, Some(&last)).await?;
        }
    }

    async fn put(&mut self, part: &Part) -> Result<(), Stopped> {
        self.writer.put(part);
        if self.writer.len() >= PIECE_BYTES {
            self.hand_over().await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), Stopped> {
        let piece = self.writer.take();
        self.sender
            .send(Ok(piece))
            .await
            .map_err(|_| Stopped::NobodyReads)
    }
}
