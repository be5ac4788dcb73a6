//! The form by which Nexus takes files of its raw repositories: `POST` to `-/raw/`, with
//! `raw.directory`, and for each file `raw.asset1`, `raw.asset1.filename`, and so on. All of them
//! become visible at once.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use cairn_cluster::{StoredBlob, Txn};
use futures::Stream;

use crate::auth::{Authorised, Publish};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::place::Place;
use crate::formats::generic::publish::{self, Content, DIGESTS, Demands, Wanted};
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;
use crate::http::multipart::Multipart;
use crate::registry::Scope;
use crate::registry::package::Status;
use crate::registry::project::Project;

/// The most files of one form, which one transaction makes visible.
const MAX_FILES: usize = 64;

/// The longest value of a field that is no file.
const MAX_FIELD_BYTES: usize = 4 << 10;

/// What a form says.
#[derive(Default)]
struct Form {
    directory: Option<String>,
    /// By the name of their field.
    assets: BTreeMap<String, Asset>,
}

#[derive(Default)]
struct Asset {
    blob: Option<StoredBlob>,
    /// What the file was called where it was sent from.
    sent_as: Option<String>,
    filename: Option<String>,
}

/// Publishes the files of a form.
pub(super) async fn post(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    body::refuse_coding(&headers)?;
    let scope = project.scope(NAME);
    // The limit is one on each file; so many of them fit into a form.
    let limit = scope.limits().file_bytes.saturating_mul(MAX_FILES as u64);
    let mut parts = Multipart::new(&headers, body::stream(body), limit)?;
    let files = read(&scope, &mut parts).await?.files()?;
    let demands = Demands::claimed(&project, Claims::default()).await?;
    scope
        .transact(async |mut txn: Txn| {
            for (wanted, blob) in &files {
                publish::name(&scope, &mut txn, wanted, &demands, Content::Stored(blob)).await?;
            }
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

async fn read<S>(scope: &Scope, parts: &mut Multipart<S>) -> Result<Form, ApiError>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    let mut form = Form::default();
    while let Some(part) = parts.next().await? {
        let field = part.name;
        if field == "raw.directory" {
            form.directory = Some(parts.text(&field, MAX_FIELD_BYTES).await?);
            continue;
        }
        let asset = field.strip_prefix("raw.asset").ok_or_else(|| unknown(&field))?;
        let number = asset.strip_suffix(".filename").unwrap_or(asset);
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unknown(&field));
        }
        let is_name = number != asset;
        let asset = form.assets.entry(number.to_owned()).or_default();
        if is_name {
            asset.filename = Some(parts.text(&field, MAX_FIELD_BYTES).await?);
        } else if asset.blob.is_some() {
            return Err(ApiError::bad_request(format!("the form has {field} twice")));
        } else {
            asset.blob = Some(store(scope, parts).await?);
            asset.sent_as = part.file_name;
        }
        if form.assets.len() > MAX_FILES {
            return Err(ApiError::bad_request(format!(
                "the form has more than {MAX_FILES} files"
            )));
        }
    }
    Ok(form)
}

fn unknown(field: &str) -> ApiError {
    ApiError::bad_request(format!("the form has an unknown field {field:.100?}"))
}

/// Stores the file that a part holds.
async fn store<S>(scope: &Scope, parts: &mut Multipart<S>) -> Result<StoredBlob, ApiError>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    let limit = scope.limits().file_bytes;
    let mut writer = scope.blobs().writer(scope.space(), DIGESTS);
    while let Some(bytes) = parts.chunk().await? {
        if bytes.len() as u64 > limit - writer.size() {
            return Err(body::file_too_large(limit));
        }
        writer.write(bytes).await.map_err(ApiError::unavailable)?;
    }
    writer.finish().await.map_err(ApiError::unavailable)
}

impl Form {
    /// The files, and where they are to lie.
    fn files(self) -> Result<Vec<(Wanted, StoredBlob)>, ApiError> {
        let directory = self
            .directory
            .ok_or_else(|| ApiError::bad_request("the form does not have raw.directory"))?;
        let directory = directory.trim_matches('/');
        if self.assets.is_empty() {
            return Err(ApiError::bad_request("the form has no file, such as raw.asset1"));
        }
        let files = self.assets.into_iter().map(|(number, asset)| {
            let missing =
                |what: &str| ApiError::bad_request(format!("the form does not have raw.asset{number}{what}"));
            let blob = asset.blob.ok_or_else(|| missing(""))?;
            let filename = asset
                .filename
                .or(asset.sent_as)
                .ok_or_else(|| missing(".filename"))?;
            let path = match directory {
                "" | "." => filename,
                directory => format!("{directory}/{filename}"),
            };
            let wanted = Wanted {
                place: Place::Raw(path.parse()?),
                status: Some(Status::Hidden),
            };
            Ok((wanted, blob))
        });
        files.collect()
    }
}
