//! The metadata of a backup, read on a thread of its own: blobs with their names first, then
//! records.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_cluster::{Begin, BlobId, ExportedBlob, Key, Part, PartError, Parts, Totals};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// How much of the metadata waits for its reader. A record may be a MiB.
const WAITING: usize = 16;

/// How many names of a blob come at once.
const MAX_NAMES: usize = 4096;

const BUFFER_BYTES: usize = 1 << 20;

/// What the metadata hold, in this order.
#[derive(Debug)]
pub(crate) enum Content {
    /// What the backup says of itself.
    Begin(Begin),
    /// A blob.
    Blob(NamedBlob),
    /// More names of the blob before, which has very many.
    Names(NamedBlob),
    /// A record.
    Record(Key, Bytes),
    /// All came that should.
    End(Totals),
}

/// A blob and names of it; never none.
#[derive(Clone, Debug)]
pub(crate) struct NamedBlob {
    pub(crate) blob: ExportedBlob,
    pub(crate) names: Vec<Bytes>,
}

/// Why the metadata cannot be read: without them there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentsError {
    #[error("the metadata cannot be read: {}: {error}", .path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("the metadata are damaged: {}: {error}", .path.display())]
    Parts { path: PathBuf, error: PartError },
    #[error("the metadata are damaged: {}: they are not those that the manifest names", .path.display())]
    Other { path: PathBuf },
}

/// The metadata, as they are read.
pub(crate) struct Contents {
    contents: Receiver<Result<Content, ContentsError>>,
}

impl Contents {
    /// Reads a file, which must have this BLAKE3 if it is known.
    pub(crate) fn read(path: PathBuf, expected: Option<BlobId>) -> Self {
        let (sender, contents) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            // An error of this kind says that nobody wants more.
            if let Err(Stopped::Failed(error)) = send_all(&path, expected, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self { contents }
    }

    /// The next; none after the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Content>, ContentsError> {
        self.contents.recv().await.transpose()
    }
}

enum Stopped {
    Failed(ContentsError),
    NobodyReads,
}

impl From<ContentsError> for Stopped {
    fn from(error: ContentsError) -> Self {
        Self::Failed(error)
    }
}

fn send_all(
    path: &Path,
    expected: Option<BlobId>,
    sender: &Sender<Result<Content, ContentsError>>,
) -> Result<(), Stopped> {
    let file = File::open(path).map_err(|error| ContentsError::Open {
        path: path.into(),
        error,
    })?;
    let mut file = Hashing {
        from: file,
        hasher: expected.map(|_| blake3::Hasher::new()),
    };
    let mut sending = Sending { sender, open: None };
    let mut end = None;
    for part in Parts::new(BufReader::with_capacity(BUFFER_BYTES, &mut file)) {
        match part {
            // Held back: what comes before is vouched for by the checksum of all.
            Ok(Part::End(totals)) => end = Some(totals),
            Ok(part) => sending.part(part)?,
            Err(error) => {
                let path = path.into();
                return Err(ContentsError::Parts { path, error }.into());
            }
        }
    }
    let found = file.hasher.map(|hasher| BlobId(*hasher.finalize().as_bytes()));
    if found != expected {
        return Err(ContentsError::Other { path: path.into() }.into());
    }
    sending.close()?;
    match end {
        Some(totals) => sending.send(Content::End(totals)),
        None => Ok(()),
    }
}

/// Puts blobs and their names together.
struct Sending<'a> {
    sender: &'a Sender<Result<Content, ContentsError>>,
    open: Option<Open>,
}

/// A blob whose names are still coming.
struct Open {
    named: NamedBlob,
    /// Some were sent.
    continued: bool,
}

impl Sending<'_> {
    fn part(&mut self, part: Part) -> Result<(), Stopped> {
        match part {
            Part::Name(name) => self.name(name),
            Part::Blob(blob) => {
                self.close()?;
                let names = Vec::new();
                self.open = Some(Open {
                    named: NamedBlob { blob, names },
                    continued: false,
                });
                Ok(())
            }
            Part::Begin(begin) => self.send(Content::Begin(begin)),
            Part::Record { key, value } => {
                self.close()?;
                let key = Key::decode(key).expect("keys were checked when they were read");
                self.send(Content::Record(key, value))
            }
            Part::End(totals) => self.send(Content::End(totals)),
        }
    }

    fn name(&mut self, name: Bytes) -> Result<(), Stopped> {
        if let Some(Open { named, .. }) = &self.open
            && named.names.len() == MAX_NAMES
        {
            let blob = named.blob.clone();
            self.close()?;
            let names = Vec::new();
            self.open = Some(Open {
                named: NamedBlob { blob, names },
                continued: true,
            });
        }
        let open = self.open.as_mut().expect("names follow their blob");
        open.named.names.push(name);
        Ok(())
    }

    /// Sends the blob whose names have come.
    fn close(&mut self) -> Result<(), Stopped> {
        match self.open.take() {
            Some(Open { named, .. }) if named.names.is_empty() => Ok(()),
            Some(Open {
                named,
                continued: true,
            }) => self.send(Content::Names(named)),
            Some(Open { named, .. }) => self.send(Content::Blob(named)),
            None => Ok(()),
        }
    }

    fn send(&self, content: Content) -> Result<(), Stopped> {
        let sent = self.sender.blocking_send(Ok(content));
        sent.map_err(|_| Stopped::NobodyReads)
    }
}

/// Hashes what is read.
struct Hashing {
    from: File,
    hasher: Option<blake3::Hasher>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}
