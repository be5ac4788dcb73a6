//! Receives an upload: a form whose fields describe a distribution, and the distribution itself.
//!
//! The distribution goes to the blob store piece by piece while a thread of its own looks at it.
//! Fields may come before or after it. What they say is compared with what it says of itself,
//! and otherwise not used: there are many of them, and every version of the metadata adds some.

use axum::body::Body;
use axum::http::HeaderMap;
use cairn_cluster::{DigestSet, StoredBlob};
use data_encoding::HEXLOWER;
use futures::Stream;

use super::artifact::{self, Artifact, ArtifactError, Limits};
use super::attestations::Attestations;
use super::names::{FileName, ProjectName, Version};
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;
use crate::http::multipart::Multipart;
use crate::registry::Scope;

/// What all fields but the distribution may have together.
const MAX_FIELDS_BYTES: u64 = 32 << 20;

/// The longest field that is looked at.
const MAX_FIELD_BYTES: usize = 4 << 10;

/// The longest list of attestations.
const MAX_ATTESTATIONS_BYTES: usize = 1 << 20;

/// The legacy JSON document, and some clients, still name files by their MD5.
const DIGESTS: DigestSet = DigestSet {
    sha1: false,
    sha512: false,
    md5: true,
};

/// A distribution that was received and found to be what the form says.
pub(super) struct Upload {
    pub(super) file: FileName,
    pub(super) artifact: Artifact,
    /// The file; durable, and not yet named by any record.
    pub(super) blob: StoredBlob,
    pub(super) attestations: Option<Attestations>,
}

/// The fields that are looked at.
#[derive(Debug, Default)]
struct Fields {
    action: Option<String>,
    name: Option<String>,
    version: Option<String>,
    file_type: Option<String>,
    md5: Option<String>,
    sha256: Option<String>,
    blake2b_256: Option<String>,
    attestations: Option<String>,
}

/// The distribution, with what was found in it.
struct Content {
    file: FileName,
    artifact: Artifact,
    blob: StoredBlob,
}

/// Receives an upload for the project of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, ApiError> {
    body::refuse_coding(headers)?;
    let limit_bytes = scope.limits().file_bytes;
    let mut form = Multipart::new(headers, body::stream(body), limit_bytes + MAX_FIELDS_BYTES)?;
    let (fields, content) = read(access, scope, &mut form, limit_bytes).await?;
    check(fields, content)
}

async fn read<S: Stream<Item = Result<bytes::Bytes, BodyError>> + Unpin>(
    access: &Access,
    scope: &Scope,
    form: &mut Multipart<S>,
    limit_bytes: u64,
) -> Result<(Fields, Content), ApiError> {
    let mut fields = Fields::default();
    let mut content = None;
    while let Some(part) = form.next().await? {
        let field = match part.name.as_str() {
            "content" if content.is_some() => {
                return Err(ApiError::bad_request(
                    "the form has two files in the field content",
                ));
            }
            "content" => {
                let file: FileName = part.file_name.as_deref().unwrap_or_default().parse()?;
                content = Some(Box::pin(store(access, scope, form, file, limit_bytes)).await?);
                continue;
            }
            ":action" => &mut fields.action,
            "name" => &mut fields.name,
            "version" => &mut fields.version,
            "filetype" => &mut fields.file_type,
            "md5_digest" => &mut fields.md5,
            "sha256_digest" => &mut fields.sha256,
            "blake2_256_digest" => &mut fields.blake2b_256,
            "attestations" => &mut fields.attestations,
            _ => continue,
        };
        let limit_bytes = match part.name.as_str() {
            "attestations" => MAX_ATTESTATIONS_BYTES,
            _ => MAX_FIELD_BYTES,
        };
        let text = form.text(&part.name, limit_bytes).await?;
        if field.replace(text).is_some() {
            return Err(ApiError::bad_request(format!(
                "the form has the field {} twice",
                part.name
            )));
        }
    }
    match content {
        Some(content) => Ok((fields, content)),
        None => Err(ApiError::bad_request("the form has no file in the field content")),
    }
}

/// Stores the part that the form is at, and looks at it on the way.
async fn store<S: Stream<Item = Result<bytes::Bytes, BodyError>> + Unpin>(
    access: &Access,
    scope: &Scope,
    form: &mut Multipart<S>,
    file: FileName,
    limit_bytes: u64,
) -> Result<Content, ApiError> {
    let name = file.clone();
    let look = move |fed| artifact::inspect(&name, fed, &Limits::default());
    let stored = inspected::store((access, scope), DIGESTS, limit_bytes, form.pieces(), look).await;
    let (artifact, blob) = stored?;
    Ok(Content { file, artifact, blob })
}

/// Compares what the form says with what was received.
fn check(fields: Fields, content: Content) -> Result<Upload, ApiError> {
    let Content { file, artifact, blob } = content;
    if fields
        .action
        .as_deref()
        .is_some_and(|action| action != "file_upload")
    {
        return Err(ApiError::bad_request("the field :action is not file_upload"));
    }
    let name: ProjectName = required(fields.name, "name")?.parse()?;
    let version: Version = required(fields.version, "version")?.parse()?;
    let file_type = fields.file_type.as_deref().unwrap_or(file.kind.file_type());
    let digests = blob.digests();
    let md5 = digests.md5.map(|digest| HEXLOWER.encode(&digest));
    let is_digest = |said: &Option<String>, found: &str| {
        said.as_ref().is_none_or(|said| said.eq_ignore_ascii_case(found))
    };
    let wrong = if name != file.project {
        "name"
    } else if version != file.version {
        "version"
    } else if file_type != file.kind.file_type() {
        "filetype"
    } else if !is_digest(&fields.sha256, &HEXLOWER.encode(&digests.sha256)) {
        "sha256_digest"
    } else if !is_digest(&fields.md5, md5.as_deref().unwrap_or_default()) {
        "md5_digest"
    } else if !is_digest(&fields.blake2b_256, &HEXLOWER.encode(&artifact.blake2b_256)) {
        "blake2_256_digest"
    } else {
        let attestations = fields
            .attestations
            .map(|text| Attestations::read(text, file.as_str(), &digests.sha256))
            .transpose()
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        return Ok(Upload {
            file,
            artifact,
            blob,
            attestations,
        });
    };
    Err(ApiError::bad_request(format!(
        "the field {wrong} does not fit the file {file}"
    )))
}

fn required(field: Option<String>, name: &str) -> Result<String, ApiError> {
    field.ok_or_else(|| ApiError::bad_request(format!("the form has no field {name}")))
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}
