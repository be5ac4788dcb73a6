//! Receives a file. What clients must be able to read is looked into on its way to the blob store.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use data_encoding::HEXLOWER;
use futures::TryStreamExt;

use super::artifact::{self, Info, MAX_INFO_BYTES, MAX_MANIFEST_BYTES, Manifest};
use super::names::{FilePath, Line, Revised};
use super::store::Looked;
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body;
use crate::http::checksum::Algorithm;
use crate::http::error::ApiError;
use crate::registry::Scope;

/// Clients announce the one, and manifests tell the other.
const DIGESTS: DigestSet = DigestSet {
    sha1: true,
    sha512: false,
    md5: true,
};

/// Stores the body of a request; durable, and not yet named by any record.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    revised: &Revised,
    path: &FilePath,
    headers: &HeaderMap,
    body: Body,
) -> Result<(StoredBlob, Looked), ApiError> {
    let (blob, looked) = if path.is_manifest() {
        let bytes = body::whole(body, MAX_MANIFEST_BYTES).await?;
        Manifest::read(&bytes)?;
        (put(scope, bytes.clone()).await?, Looked::Manifest(bytes))
    } else if path.is_info() && revised.line != Line::Recipe {
        let bytes = body::whole(body, MAX_INFO_BYTES).await?;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| ApiError::bad_request("conaninfo.txt is not UTF-8"))?;
        Info::read(text)?;
        let looked = Looked::Info(text.to_owned());
        (put(scope, bytes.clone()).await?, looked)
    } else if let Some(compression) = path.compression() {
        let pieces = TryStreamExt::map_err(body::stream(body), ApiError::from);
        let limit_bytes = scope.limits().file_bytes;
        let look = move |fed| artifact::inspect(fed, compression);
        let ((), blob) = inspected::store((access, scope), DIGESTS, limit_bytes, pieces, look).await?;
        (blob, Looked::Nothing)
    } else {
        (scope.put_file(DIGESTS, body).await?, Looked::Nothing)
    };
    check(headers, &blob)?;
    Ok((blob, looked))
}

async fn put(scope: &Scope, bytes: Bytes) -> Result<StoredBlob, ApiError> {
    scope.put_file(DIGESTS, Body::from(bytes)).await
}

/// Compares the digests that a client sends with the file.
fn check(headers: &HeaderMap, blob: &StoredBlob) -> Result<(), ApiError> {
    for algorithm in Algorithm::ALL {
        let (Some(sent), Some(digest)) = (headers.get(algorithm.header()), algorithm.of(blob.digests()))
        else {
            continue;
        };
        if !sent
            .as_bytes()
            .eq_ignore_ascii_case(HEXLOWER.encode(digest).as_bytes())
        {
            return Err(ApiError::bad_request(format!(
                "the {} that was sent is not the one of the file",
                algorithm.name()
            )));
        }
    }
    Ok(())
}
