//! Receives a package: as the file of a form, which is how clients send it, or as the body itself.
//!
//! It goes to the blob store while it is looked into; so do the PDBs of a package of symbols, each to a blob of its own.

use std::io;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::{Stream, TryStreamExt};
use tokio::sync::mpsc;

use super::artifact::{self, ArtifactError, Keep, LIMITS};
use super::nuspec::Nuspec;
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::multipart::Multipart;
use crate::registry::Scope;

/// What a form may have besides the package.
const MAX_FORM_BYTES: u64 = 64 << 10;

/// How many pieces of PDBs may wait for the blob store.
const PIECES_UNDER_WAY: usize = 4;

/// What the older protocol says of a package.
const DIGESTS: DigestSet = DigestSet {
    sha1: false,
    sha512: true,
    md5: false,
};

/// A package that was received.
pub(super) struct Received {
    pub(super) nuspec: Nuspec,
    /// Durable, and not yet named by any record.
    pub(super) blob: StoredBlob,
    /// The same of each of its PDBs.
    pub(super) pdbs: Vec<Pdb>,
}

/// A PDB that was received.
pub(super) struct Pdb {
    pub(super) name: String,
    pub(super) signature: String,
    pub(super) blob: StoredBlob,
}

/// What a client means to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Package,
    Symbols,
}

/// Receives a package for the project of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    what: What,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, ApiError> {
    let form_bytes = scope.limits().file_bytes + MAX_FORM_BYTES;
    body::refuse_file(headers, form_bytes)?;
    let pieces = body::stream(body);
    if body::media_type(headers).as_deref() != Some("multipart/form-data") {
        return Box::pin(store(access, scope, what, pieces.map_err(ApiError::from))).await;
    }
    // Old clients on Unix end the last part so.
    let mut form = Multipart::new(headers, pieces, form_bytes)?.with_bare_breaks();
    let outcome = match form.next().await? {
        Some(_) => Box::pin(store(access, scope, what, form.pieces())).await,
        None => Err(ApiError::bad_request("the form has no file in it")),
    };
    let received = outcome?;
    form.drain().await?;
    Ok(received)
}

async fn store(
    access: &Access,
    scope: &Scope,
    what: What,
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
) -> Result<Received, ApiError> {
    let limit_bytes = scope.limits().file_bytes;
    if what == What::Package {
        let look = |fed| artifact::inspect(fed, &LIMITS);
        let stored = inspected::store((access, scope), DIGESTS, limit_bytes, pieces, look).await;
        let (nuspec, blob) = stored?;
        return Ok(Received {
            nuspec,
            blob,
            pdbs: Vec::new(),
        });
    }
    let (sender, receiver) = mpsc::channel(PIECES_UNDER_WAY);
    let look = move |fed| artifact::inspect_symbols(fed, &LIMITS, Sending(sender));
    let (stored, pdbs) = futures::join!(
        inspected::store((access, scope), DIGESTS, limit_bytes, pieces, look),
        store_pdbs(scope, receiver),
    );
    // If the PDBs could not be stored, whoever looked for them could not go on.
    let pdbs = pdbs?;
    let (nuspec, blob) = stored?;
    Ok(Received { nuspec, blob, pdbs })
}

/// What is found of PDBs.
enum Found {
    Begin,
    Piece(Bytes),
    End(Option<(String, String)>),
}

/// Sends what it is given from the thread that reads a package.
struct Sending(mpsc::Sender<Found>);

impl Sending {
    fn send(&self, found: Found) -> io::Result<()> {
        let nobody = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(found).map_err(nobody)
    }
}

impl Keep for Sending {
    fn begin(&mut self) -> io::Result<()> {
        self.send(Found::Begin)
    }

    fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        match piece.is_empty() {
            true => Ok(()),
            false => self.send(Found::Piece(Bytes::copy_from_slice(piece))),
        }
    }

    fn end(&mut self, known: Option<(String, String)>) -> io::Result<()> {
        self.send(Found::End(known))
    }
}

async fn store_pdbs(scope: &Scope, mut found: mpsc::Receiver<Found>) -> Result<Vec<Pdb>, ApiError> {
    let mut stored: Vec<Pdb> = Vec::new();
    let mut open = None;
    while let Some(next) = found.recv().await {
        match (next, &mut open) {
            (Found::Begin, _) => open = Some(scope.blobs().writer(scope.space(), DigestSet::default())),
            (Found::Piece(piece), Some(writer)) => {
                writer.write(piece).await.map_err(ApiError::unavailable)?;
            }
            (Found::End(Some((name, signature))), Some(_)) => {
                // The same file may be there for several frameworks.
                let is_known = |pdb: &Pdb| pdb.name == name && pdb.signature == signature;
                if let Some(writer) = open.take()
                    && !stored.iter().any(is_known)
                {
                    let blob = writer.finish().await.map_err(ApiError::unavailable)?;
                    stored.push(Pdb {
                        name,
                        signature,
                        blob,
                    });
                }
            }
            (Found::End(_) | Found::Piece(_), _) => open = None,
        }
    }
    Ok(stored)
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}
