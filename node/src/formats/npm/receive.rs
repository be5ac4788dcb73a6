//! Receives a publish document: JSON is parsed on a thread of its own while the tarball in it
//! goes to the blob store, piece by piece. Memory does not depend on the size of the tarball.

use std::io::{self, BufReader};

use axum::body::Body;
use bytes::Bytes;
use cairn_cluster::{BlobWriter, DigestSet, StoredBlob, WriteError};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::artifact::ArtifactError;
use super::document::{self, Document, DocumentError, Limits};
use super::publication::PublicationError;
use crate::auth::Access;
use crate::formats::json::JsonError;
use crate::http::body::{self, BodyError};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;

/// npm publishes both digests.
const DIGESTS: DigestSet = DigestSet {
    sha1: true,
    sha512: true,
    md5: false,
};

/// How many pieces of a tarball may wait for the blob store.
const PIECES_UNDER_WAY: usize = 4;

/// What a client sent.
pub(super) struct Received {
    pub(super) document: Document,
    /// The attached tarball; durable, and not yet named by any record.
    pub(super) tarball: Option<StoredBlob>,
}

/// Receives a document. Its tarball is stored for the project of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    body: Body,
    limit_bytes: u64,
) -> Result<Received, ApiError> {
    let mut limits = Limits::default();
    // Base64 has four characters for three bytes.
    limits.tarball.tarball_bytes = limit_bytes / 4 * 3;
    let (sender, mut pieces) = mpsc::channel(PIECES_UNDER_WAY);
    let parsing = parse(access, body, limit_bytes, limits, move |piece| {
        sender
            .blocking_send(piece)
            .map_err(|_| io::Error::other("nobody takes the tarball"))
    })
    .await;

    let mut writer: Option<BlobWriter> = None;
    let mut failed: Option<WriteError> = None;
    while let Some(piece) = pieces.recv().await {
        let writer = writer.get_or_insert_with(|| scope.blobs().writer(scope.space(), DIGESTS));
        if let Err(error) = writer.write(piece).await {
            failed = Some(error);
            break;
        }
    }
    // The parser stops when nobody takes what it sends.
    drop(pieces);
    let parsed = parsing.await.map_err(ApiError::internal)?;
    if let Some(error) = failed {
        return Err(ApiError::unavailable(error));
    }
    let document = parsed?;
    let tarball = match (writer, &document.tarball) {
        (Some(writer), Some(_)) => Some(writer.finish().await.map_err(ApiError::unavailable)?),
        _ => None,
    };
    Ok(Received { document, tarball })
}

/// Receives a document that may not have a tarball: what those send who may not publish.
pub(super) async fn receive_small(
    access: &Access,
    body: Body,
    limit_bytes: u64,
) -> Result<Document, ApiError> {
    let refuse = |_| Err(io::Error::other("a tarball is not taken here"));
    parse(access, body, limit_bytes, Limits::default(), refuse)
        .await
        .await
        .map_err(ApiError::internal)?
        .map_err(|error| match error {
            DocumentError::Tarball(ArtifactError::Sink(_)) => {
                ApiError::forbidden("403 Forbidden: this token may not publish here")
            }
            error => error.into(),
        })
}

/// Begins to parse; this waits for a thread, what it returns for the end of the body.
async fn parse(
    access: &Access,
    body: Body,
    limit_bytes: u64,
    limits: Limits,
    sink: impl FnMut(Bytes) -> io::Result<()> + Send + 'static,
) -> tokio::task::JoinHandle<Result<Document, DocumentError>> {
    let mut left_bytes = limit_bytes;
    let body = body::stream(body).map_err(into_io).map(move |piece| {
        let piece: Bytes = piece?;
        match left_bytes.checked_sub(piece.len() as u64) {
            Some(left) => {
                left_bytes = left;
                Ok(piece)
            }
            None => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        }
    });
    let work = move || {
        let mut source = BufReader::with_capacity(64 << 10, SyncIoBridge::new(StreamReader::new(body)));
        let outcome = document::read(&mut source, &limits, sink);
        if outcome.as_ref().is_err_and(is_worth_hearing) {
            // Clients read an answer only when they have sent everything.
            let _ = io::copy(&mut source, &mut io::sink());
        }
        outcome
    };
    access.app().parser_threads().start(access.caller(), work).await
}

/// Whether the client is still there, and did nothing that it should stop doing at once.
fn is_worth_hearing(error: &DocumentError) -> bool {
    let too_large = matches!(
        error,
        DocumentError::Tarball(ArtifactError::TooLarge(_)) | DocumentError::Json(JsonError::TooLarge)
    );
    !too_large && broken_body(error).is_none()
}

/// The body's own failure, if that is what stopped the parser.
fn broken_body(error: &DocumentError) -> Option<&io::Error> {
    match error {
        DocumentError::Json(JsonError::Io(error)) => Some(error),
        _ => None,
    }
}

/// The parser keeps only the kind of an I/O error, so the kind says which it was.
fn into_io(error: BodyError) -> io::Error {
    let kind = match error {
        BodyError::TooSlow(_) => io::ErrorKind::TimedOut,
        BodyError::Broken(_) => io::ErrorKind::UnexpectedEof,
    };
    io::Error::new(kind, error.to_string())
}

impl From<DocumentError> for ApiError {
    fn from(error: DocumentError) -> Self {
        if let Some(broken) = broken_body(&error) {
            return match broken.kind() {
                io::ErrorKind::TimedOut => {
                    ApiError::new(ErrorKind::RequestTimeout, "the body arrives too slowly")
                }
                io::ErrorKind::FileTooLarge => {
                    ApiError::new(ErrorKind::TooLarge, "the document is larger than allowed")
                }
                _ => BodyError::Broken(broken.to_string()).into(),
            };
        }
        let kind = match &error {
            DocumentError::Json(JsonError::TooLarge)
            | DocumentError::TooManyVersions(_)
            | DocumentError::ProvenanceTooLarge(_)
            | DocumentError::Tarball(ArtifactError::TooLarge(_)) => ErrorKind::TooLarge,
            DocumentError::Json(_) | DocumentError::Malformed(_) => ErrorKind::BadRequest,
            // The text of the attachment is not base64.
            DocumentError::Tarball(ArtifactError::Source(_)) => ErrorKind::BadRequest,
            DocumentError::Tarball(ArtifactError::Sink(_)) => ErrorKind::Unavailable,
            DocumentError::Tarball(ArtifactError::Refused(_) | ArtifactError::Manifest(_)) => {
                ErrorKind::Unprocessable
            }
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<PublicationError> for ApiError {
    fn from(error: PublicationError) -> Self {
        let kind = match &error {
            PublicationError::ManifestDropped(_) | PublicationError::ManifestTooLarge { .. } => {
                ErrorKind::TooLarge
            }
            PublicationError::NoTarball | PublicationError::Name(_) | PublicationError::NoManifest(_) => {
                ErrorKind::BadRequest
            }
            PublicationError::Mismatch { .. }
            | PublicationError::Field { .. }
            | PublicationError::Message(_)
            | PublicationError::Provenance(_)
            | PublicationError::Digest { .. } => ErrorKind::Unprocessable,
        };
        ApiError::new(kind, error.to_string())
    }
}
