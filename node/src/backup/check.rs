//! Checking a backup without a cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use cairn_cluster::BlobId;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::{JoinError, JoinHandle};

use super::contents::{Content, Contents, ContentsError, NamedBlob};
use super::damage::Damages;
use super::folder::Folder;
use super::manifest::Manifest;
use super::progress::Progress;

const BUFFER_BYTES: u64 = 1 << 20;

/// How closely blobs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// That they are there, with the size that they should have.
    Sizes,
    /// All of their bytes.
    Contents,
}

/// Blobs of which the backup itself says that it does not have them, and why.
#[derive(Debug, Default)]
pub(crate) struct Lost(BTreeMap<(u64, BlobId), String>);

impl Lost {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let unreadable = manifest.unreadable.iter();
        Self(
            unreadable
                .map(|lost| ((lost.root_group, lost.blob), lost.reason.clone()))
                .collect(),
        )
    }

    /// Why this blob is not there, if the backup says so.
    pub(crate) fn reason(&self, named: &NamedBlob) -> Option<String> {
        let reason = self.0.get(&(named.blob.space.0, named.blob.id))?;
        Some(format!(
            "the cluster could not read it when the backup was taken: {reason}"
        ))
    }
}

/// Checks the metadata and all blobs, and says what is missing or damaged. Damaged metadata are
/// an error: without them there is no backup.
pub(crate) async fn check(
    folder: &Folder,
    manifest: &Manifest,
    depth: Depth,
    progress: &Arc<Progress>,
) -> Result<Damages, ContentsError> {
    let lost = Lost::of(manifest);
    let at_once = available_parallelism().map_or(1, usize::from);
    progress.expect(manifest.totals.blobs, manifest.totals.blob_bytes);
    let mut damages = Damages::default();
    let mut looking: FuturesUnordered<JoinHandle<(NamedBlob, Option<String>)>> = FuturesUnordered::new();
    let mut contents = Contents::read(folder.metadata(), Some(manifest.metadata_blake3));
    while let Some(content) = contents.next().await? {
        let Content::Blob(named) = content else { continue };
        if looking.len() >= at_once
            && let Some(looked) = looking.next().await
        {
            note(&mut damages, looked);
        }
        let lost = lost.reason(&named);
        let (path, progress) = (folder.blob(&named.blob.id), progress.clone());
        looking.push(tokio::task::spawn_blocking(move || {
            let problem = match lost {
                // It may be there all the same, for another group.
                Some(reason) if !path.exists() => Some(reason),
                _ => problem(&path, &named, depth, &progress),
            };
            progress.blob();
            (named, problem)
        }));
    }
    while let Some(looked) = looking.next().await {
        note(&mut damages, looked);
    }
    damages.describe(folder).await?;
    Ok(damages)
}

fn note(damages: &mut Damages, looked: Result<(NamedBlob, Option<String>), JoinError>) {
    let (named, problem) = looked.expect("looking at a file does not panic");
    if let Some(problem) = problem {
        damages.add(&named, problem);
    }
}

/// What is wrong with the file of a blob.
fn problem(path: &Path, named: &NamedBlob, depth: Depth, progress: &Progress) -> Option<String> {
    let look = || -> io::Result<Option<String>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size != named.blob.size {
            return Ok(Some(wrong_size(path, size, named)));
        }
        if depth == Depth::Sizes {
            progress.bytes(size);
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; size.clamp(1, BUFFER_BYTES) as usize];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            progress.bytes(read as u64);
        }
        let found = BlobId(*hasher.finalize().as_bytes());
        Ok((found != named.blob.id).then(|| other_content(path)))
    };
    look().unwrap_or_else(|error| Some(unreadable(path, &error)))
}

/// What is said of a file that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{} is missing", path.display()),
        _ => format!("{} cannot be read: {error}", path.display()),
    }
}

/// What is said of a file that is longer or shorter than it should be.
pub(crate) fn wrong_size(path: &Path, size: u64, named: &NamedBlob) -> String {
    let wanted = named.blob.size;
    format!(
        "{} is damaged: it has {size} bytes and should have {wanted}",
        path.display()
    )
}

/// What is said of a file with other bytes than it should have.
pub(crate) fn other_content(path: &Path) -> String {
    format!(
        "{} is damaged: its bytes do not have their BLAKE3",
        path.display()
    )
}
