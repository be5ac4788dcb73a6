//! Making a new cluster from a backup.
//!
//! The first node of the new cluster does it, before it serves anybody: it reads the folder, and
//! stores blobs and records as any node does, on all nodes that have joined by then. A file says
//! in its data directory that this has begun; until it has ended, the node does not serve, and
//! what was interrupted goes on when it is begun again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cairn_cluster::identity::DirError;
use cairn_cluster::{
    BackupId, Begin, Blobs, Cluster, ClusterId, FailStop, NodeId, Restore, RestoreError, Seams,
    StoreBlobError,
};
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use tokio::time::sleep;
use tokio_util::io::ReaderStream;

use super::check::{self, Depth, Lost};
use super::contents::{Content, Contents, NamedBlob};
use super::damage::Damages;
use super::folder::Folder;
use super::manifest::Manifest;
use super::progress::Progress;
use crate::config::Config;
use crate::registry::blob_names;
use crate::start;

/// Says in a data directory which backup its cluster is being made from.
const MARK: &str = "RESTORING";

/// How many blobs are on their way at a time.
const AT_ONCE: usize = 8;

/// How often something is tried that the cluster does not take at the moment.
const ATTEMPTS: u32 = 8;

const READ_BYTES: usize = 256 << 10;

/// Between two looks at whether enough nodes have joined.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// How long a node may take to join.
const JOIN_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The backup.
    pub(crate) folder: PathBuf,
    /// Goes on without blobs that are missing or damaged.
    pub(crate) skip_damaged: bool,
    /// How many nodes there are when blobs are copied.
    pub(crate) nodes: usize,
}

/// What whoever watches is told.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// This is done now.
    Doing(&'static str),
    /// Another node may join with this token.
    JoinToken(&'a str),
}

/// A cluster that was made.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) manifest: Manifest,
    /// What was left out.
    pub(crate) left_out: Damages,
}

/// Why nothing was restored, or not all of it.
#[derive(Debug)]
pub(crate) enum RestoreFailure {
    /// There is something already.
    Conflict(String),
    /// Blobs are missing or damaged.
    Damaged(Damages),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E> From<E> for RestoreFailure
where
    anyhow::Error: From<E>,
{
    fn from(error: E) -> Self {
        let error = anyhow::Error::from(error);
        match error.downcast_ref::<DirError>() {
            Some(DirError::InUse { .. } | DirError::NotEmpty { .. } | DirError::Taken { .. }) => {
                Self::Conflict(error.to_string())
            }
            _ => Self::Other(error),
        }
    }
}

/// Refuses a data directory whose cluster is still being made from a backup.
pub(crate) fn check_finished(data: &Path) -> anyhow::Result<()> {
    if let Some(backup) = marked(data)? {
        bail!(
            "this node is being made from backup {backup}, and that has not ended: run `cairn restore` again"
        );
    }
    Ok(())
}

fn marked(data: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(data.join(MARK)) {
        Ok(backup) => Ok(Some(backup.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn mark(data: &Path, backup: BackupId) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(data.join(MARK))?;
    writeln!(file, "{backup}")?;
    file.sync_all()?;
    File::open(data)?.sync_all()
}

fn unmark(data: &Path) -> io::Result<()> {
    fs::remove_file(data.join(MARK))?;
    File::open(data)?.sync_all()
}

/// Makes a cluster from a backup, with this node as its first.
pub(crate) async fn restore(
    config: &Config,
    plan: &Plan,
    progress: &Arc<Progress>,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Restored, RestoreFailure> {
    let (folder, manifest) = Folder::open(&plan.folder)?;
    tell(Event::Doing("looking whether the backup is whole"));
    let missing = check::check(&folder, &manifest, Depth::Sizes, progress).await?;
    if !missing.is_empty() && !plan.skip_damaged {
        return Err(RestoreFailure::Damaged(missing));
    }
    prepare(&config.node.data, manifest.backup).await?;

    let seams = Seams::system();
    let fail_stop = FailStop::new(start::say_and_exit);
    let cluster = Cluster::start(
        start::cluster_config(config, start::own_build()),
        seams,
        fail_stop,
    )
    .await
    .context("start the first node")?;
    let filled = fill_in_step(&cluster, &folder, &manifest, plan, progress, tell).await;
    cluster.stop().await;
    let left_out = filled?;
    let data = config.node.data.clone();
    tokio::task::spawn_blocking(move || unmark(&data))
        .await?
        .context("note that the restore has ended")?;
    Ok(Restored {
        cluster: cluster.id(),
        node: cluster.node(),
        manifest,
        left_out,
    })
}

/// Makes the data directory of the first node, unless an earlier attempt has.
async fn prepare(data: &Path, backup: BackupId) -> Result<(), RestoreFailure> {
    let data = data.to_owned();
    let made = tokio::task::spawn_blocking(move || match marked(&data)? {
        Some(marked) if marked == backup.to_string() => Ok(()),
        Some(marked) => Err(RestoreFailure::Conflict(format!(
            "data directory {} belongs to a cluster that is being made from another backup, {marked}",
            data.display()
        ))),
        None => {
            Cluster::init(&data, &Seams::system())?;
            Ok(mark(&data, backup)?)
        }
    });
    made.await?
}

/// Fills the cluster, in step with the nodes that join meanwhile.
async fn fill_in_step(
    cluster: &Cluster,
    folder: &Folder,
    manifest: &Manifest,
    plan: &Plan,
    progress: &Arc<Progress>,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Damages, RestoreFailure> {
    cluster.enter().await?;
    tokio::select! {
        filled = fill(cluster, folder, manifest, plan, progress, tell) => filled,
        Some(departed) = cluster.follow() => Err(departed.into()),
    }
}

async fn fill(
    cluster: &Cluster,
    folder: &Folder,
    manifest: &Manifest,
    plan: &Plan,
    progress: &Arc<Progress>,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Damages, RestoreFailure> {
    let restore = match cluster.begin_restore(&first(folder).await?).await {
        Err(error @ (RestoreError::NotEmpty | RestoreError::Other { .. } | RestoreError::Newer { .. })) => {
            return Err(RestoreFailure::Conflict(error.to_string()));
        }
        begun => begun?,
    };
    gather(cluster, plan.nodes, tell).await?;
    tell(Event::Doing("copying blobs"));
    let mut damages = copy_blobs(&restore, folder, manifest, progress).await?;
    if !damages.is_empty() {
        damages.describe(folder).await?;
        if !plan.skip_damaged {
            return Err(RestoreFailure::Damaged(damages));
        }
    }
    tell(Event::Doing("writing records"));
    write_records(&restore, folder, manifest).await?;
    restore.finish().await?;
    Ok(damages)
}

/// What the metadata begin with.
async fn first(folder: &Folder) -> anyhow::Result<Begin> {
    match Contents::read(folder.metadata(), None).next().await? {
        Some(Content::Begin(begin)) => Ok(begin),
        _ => bail!("the metadata do not begin as they should"),
    }
}

/// Waits until there are so many nodes.
async fn gather(cluster: &Cluster, nodes: usize, tell: &(dyn Fn(Event<'_>) + Sync)) -> anyhow::Result<()> {
    let there = async || {
        let layout = Blobs::layout(&cluster.kv().local()).await?;
        anyhow::Ok(layout.map_or(0, |layout| layout.members.len()))
    };
    for _ in there().await?..nodes {
        let token = cluster.join_token(JOIN_WITHIN).await?;
        tell(Event::JoinToken(&token.to_string()));
    }
    if there().await? < nodes {
        tell(Event::Doing("waiting for the other nodes to join and serve"));
    }
    while there().await? < nodes {
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

/// Copies the blobs; gives those that are missing or damaged.
async fn copy_blobs(
    restore: &Restore,
    folder: &Folder,
    manifest: &Manifest,
    progress: &Progress,
) -> anyhow::Result<Damages> {
    let lost = Lost::of(manifest);
    progress.expect(manifest.totals.blobs, manifest.totals.blob_bytes);
    let mut damages = Damages::default();
    let mut copying = FuturesUnordered::new();
    let mut contents = Contents::read(folder.metadata(), Some(manifest.metadata_blake3));
    while let Some(content) = contents.next().await? {
        match content {
            Content::Blob(named) => {
                if copying.len() >= AT_ONCE
                    && let Some(copied) = copying.next().await
                {
                    note(&mut damages, copied?);
                }
                copying.push(copy(restore, folder, &lost, progress, named));
            }
            Content::Names(named) => {
                // After the blob itself.
                while let Some(copied) = copying.next().await {
                    note(&mut damages, copied?);
                }
                restore.name(&named.blob, &named.names).await?;
            }
            // Blobs come first; the rest is read for its checksum.
            Content::Begin(_) | Content::Record(..) | Content::End(_) => {}
        }
    }
    while let Some(copied) = copying.next().await {
        note(&mut damages, copied?);
    }
    Ok(damages)
}

fn note(damages: &mut Damages, copied: Option<(NamedBlob, String)>) {
    if let Some((named, problem)) = copied {
        damages.add(&named, problem);
    }
}

/// Copies a blob. Gives it back, and why, if it is missing or damaged.
async fn copy(
    restore: &Restore,
    folder: &Folder,
    lost: &Lost,
    progress: &Progress,
    named: NamedBlob,
) -> anyhow::Result<Option<(NamedBlob, String)>> {
    let mut attempt = 0;
    let problem = loop {
        match try_copy(restore, folder, lost, &named).await {
            Ok(problem) => break problem,
            Err(error) if attempt + 1 == ATTEMPTS => {
                return Err(error.context(format!("store blob {}", named.blob.id)));
            }
            // Nodes come and go; whatever was done may be done again.
            Err(_) => sleep(Duration::from_millis(250 << attempt)).await,
        }
        attempt += 1;
    };
    progress.bytes(named.blob.size);
    progress.blob();
    Ok(problem.map(|problem| (named, problem)))
}

/// Copies a blob; says what is wrong with it, if something is.
async fn try_copy(
    restore: &Restore,
    folder: &Folder,
    lost: &Lost,
    named: &NamedBlob,
) -> anyhow::Result<Option<String>> {
    let NamedBlob { blob, names } = named;
    let problem = match restore.has(blob).await? {
        true => None,
        false => store(restore, &folder.blob(&blob.id), lost, named).await?,
    };
    // The first was noted when the blob was stored.
    if problem.is_some() || names.len() > 1 {
        restore.name(blob, names).await?;
    }
    Ok(problem)
}

async fn store(
    restore: &Restore,
    path: &Path,
    lost: &Lost,
    named: &NamedBlob,
) -> anyhow::Result<Option<String>> {
    let file = match tokio::fs::File::open(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reason = lost.reason(named);
            return Ok(Some(reason.unwrap_or_else(|| check::unreadable(path, &error))));
        }
        Err(error) => return Ok(Some(check::unreadable(path, &error))),
        Ok(file) => file,
    };
    let size = file.metadata().await?.len();
    if size != named.blob.size {
        return Ok(Some(check::wrong_size(path, size, named)));
    }
    let content = ReaderStream::with_capacity(file, READ_BYTES);
    match restore.store(&named.blob, &named.names[0], content).await {
        Ok(()) => Ok(None),
        Err(StoreBlobError::Content(error)) => Ok(Some(check::unreadable(path, &error))),
        Err(StoreBlobError::Differs { .. }) => Ok(Some(check::other_content(path))),
        Err(StoreBlobError::Write(error)) => Err(error.into()),
        Err(StoreBlobError::Restore(error)) => Err(error.into()),
    }
}

/// Writes the records, but for those of uploads that were under way.
async fn write_records(restore: &Restore, folder: &Folder, manifest: &Manifest) -> anyhow::Result<()> {
    let contents = Contents::read(folder.metadata(), Some(manifest.metadata_blake3));
    let records = stream::try_unfold(contents, async |mut contents| {
        while let Some(content) = contents.next().await? {
            if let Content::Record(key, value) = content
                && !blob_names::is_of_upload(&key)
            {
                return Ok(Some(((key, value), contents)));
            }
        }
        anyhow::Ok(None)
    });
    restore.write(records).await
}
