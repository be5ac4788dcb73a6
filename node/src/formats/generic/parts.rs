//! Uploads in parts: a file comes in pieces that are sent in any order, several at a time, each
//! to any node, and is published when the client says which of them it is made of.
//!
//! ```text
//! POST   {file}?uploads                 begins one: 200 {"upload_id", "expires_at"}
//! PUT    {file}?upload_id=ID&part=N     a part, from 1 to 10000; one that is there is replaced
//! GET    {file}?upload_id=ID            the parts that are there
//! POST   {file}?upload_id=ID            {"parts": [{"part", "etag"}], "sha256"}: publishes the file
//! DELETE {file}?upload_id=ID            throws it away
//! ```
//!
//! Each part is a blob, which a record names until the upload ends: when it is published or
//! thrown away, and at the latest a week after it began. Publishing reads the parts and stores
//! them as one blob, so that the file is like any other. Below the format's records:
//!
//! ```text
//! ├── multiparts         number     -> Upload
//! ├── multiparts-count   ""         -> how many are under way (added)
//! ├── parts-bytes        number     -> how many bytes an upload's parts have (added)
//! └── parts / number     part       -> Part
//! ```

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use cairn_cluster::record::Record;
use cairn_cluster::{
    BlobId, BlobReadError, Collection, Digests, Key, Scan, StoredBlob, Timestamp, Txn, UploadId,
};
use data_encoding::HEXLOWER;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Action, Authorised, Publish};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::fetch::find_file;
use crate::formats::generic::place::Place;
use crate::formats::generic::publish::{self, Content, DIGESTS, Demands, Finished, Published, Wanted};
use crate::formats::lists::ListQuery;
use crate::formats::{Progress, Removal};
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::project::Project;
use crate::registry::sessions::Sessions;
use crate::registry::time::iso;

/// The highest number of a part.
const MAX_PART: u64 = 10_000;

/// Uploads in parts that one project may have under way.
const MAX_UPLOADS: u64 = 1000;

/// How long one may take.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The largest list of parts that a client may send.
const MAX_LIST_BYTES: usize = 2 << 20;

/// Parts that one answer lists, at most.
const PAGE: usize = 1000;

/// How many parts one transaction lets go of.
const STEP: usize = 64;

/// What a client that is refused another upload should wait.
const RETRY_SECONDS: u64 = 60;

/// Where the records lie.
struct Keys(Collection);

impl Keys {
    fn of(scope: &Scope) -> Self {
        Self(scope.collection())
    }

    fn uploads(&self) -> Collection {
        self.0.at("multiparts")
    }

    fn count(&self) -> Key {
        self.0.at("multiparts-count").key("")
    }

    fn bytes(&self, number: u64) -> Key {
        self.0.at("parts-bytes").key(number)
    }

    fn parts(&self, number: u64) -> Collection {
        self.0.at("parts").at(number)
    }
}

/// What is kept of an upload under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    id: UploadId,
    /// Who began it; nobody else goes on with it.
    username: Option<String>,
    wanted: Wanted,
    claims: Claims,
    expires_at: Timestamp,
}

impl Record for Upload {}

/// A part that is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    blob: BlobId,
    size: u64,
    digests: Digests,
    stored_at: Timestamp,
}

impl Record for Part {}

impl Part {
    fn etag(&self) -> String {
        format!("\"{}\"", HEXLOWER.encode(&self.digests.sha256))
    }
}

/// By which the records of an upload are found; the number is a part of its id.
fn number(id: &UploadId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What a request for the URL of a file is about.
pub(super) enum About<A> {
    /// The file.
    File(Authorised<Project, A>),
    /// An upload of it in parts, which the query names: for whoever may publish.
    Upload(Uploader),
}

impl<A: Action> FromRequestParts<App> for About<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match named_upload(&parts.uri) {
            None => {
                let project = Authorised::<Project, A>::from_request_parts(parts, app).await?;
                Ok(Self::File(project))
            }
            Some(id) => Ok(Self::Upload(Uploader {
                project: Authorised::<Project, Publish>::from_request_parts(parts, app).await?,
                id,
            })),
        }
    }
}

fn named_upload(uri: &http::Uri) -> Option<String> {
    let mut fields = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let named = fields.find(|(name, _)| name == "upload_id");
    named.map(|(_, id)| id.into_owned())
}

/// Begins an upload of the file that is wanted.
pub(super) async fn begin(
    project: &Authorised<Project, Publish>,
    wanted: Wanted,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let demands = Demands::of(project, headers).await?;
    publish::refuse_early(&scope, &wanted, headers, &demands).await?;
    let keys = Keys::of(&scope);
    let under_way = scope.snapshot().number(&keys.count()).await?;
    if under_way >= MAX_UPLOADS {
        let message =
            format!("the project has {under_way} uploads in parts under way; end some of them first");
        return Err(ApiError::new(ErrorKind::TooManyRequests, message)
            .with_header(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS)));
    }
    let id = UploadId(scope.nonce());
    let upload = Upload {
        id,
        username: scope.caller().username().map(str::to_owned),
        wanted,
        claims: Claims::of(headers)?,
        expires_at: scope.now().plus(LIFETIME),
    };
    let begun = async |mut txn: Txn| {
        txn.put_record(&keys.uploads().key(number(&id)), &upload);
        txn.add(&keys.count(), 1);
        scope
            .order_removal_at(&mut txn, number(&id), upload.expires_at)
            .await?;
        Ok((txn, ()))
    };
    scope.prepare(begun).await?;
    let answer = json!({ "upload_id": id.to_string(), "expires_at": iso(upload.expires_at) });
    Ok(Json(answer).into_response())
}

/// Somebody who may publish, and the upload that was named.
pub(super) struct Uploader {
    project: Authorised<Project, Publish>,
    id: String,
}

/// Which of the parts are listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) limit: Option<u64>,
    pub(super) after: Option<u64>,
}

impl Listed {
    /// What a client asks for.
    pub(super) fn of(query: &ListQuery) -> Result<Self, ApiError> {
        let number = |after: &String| {
            let number = after.parse();
            number.map_err(|_| ApiError::bad_request("after is not the number of a part"))
        };
        Ok(Self {
            limit: query.limit,
            after: query.after.as_ref().map(number).transpose()?,
        })
    }
}

/// What a file is made of, as the client that sent it says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    parts: Vec<WantedPart>,
    sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedPart {
    part: u64,
    etag: Option<String>,
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Upload Not Found")
}

impl Uploader {
    /// The project, for an answer about what was published.
    pub(super) fn scope(&self) -> Scope {
        self.project.scope(NAME)
    }

    fn id(&self) -> Result<UploadId, ApiError> {
        self.id.parse().map_err(|_| unknown())
    }

    /// The caller's upload of this name to this place; one of somebody else is as unknown as none.
    async fn find(&self, scope: &Scope, place: &Place) -> Result<Upload, ApiError> {
        let id = self.id()?;
        let key = Keys::of(scope).uploads().key(number(&id));
        let found: Option<Upload> = scope.snapshot().record(&key).await?;
        let is_meant = |upload: &Upload| {
            upload.id == id
                && upload.wanted.place == *place
                && upload.username.as_deref() == scope.caller().username()
                && scope.now() < upload.expires_at
        };
        found.filter(is_meant).ok_or_else(unknown)
    }

    /// Stores a part.
    pub(super) async fn put(
        &self,
        place: &Place,
        part: Option<u64>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, ApiError> {
        body::refuse_coding(headers)?;
        let part = part
            .filter(|part| (1..=MAX_PART).contains(part))
            .ok_or_else(|| ApiError::bad_request(format!("part is not a number between 1 and {MAX_PART}")))?;
        let claims = Claims::of(headers)?;
        let scope = self.scope();
        let upload = self.find(&scope, place).await?;
        let (keys, number) = (Keys::of(&scope), number(&upload.id));
        let limit = scope.limits().file_bytes;
        let there = scope.snapshot().number(&keys.bytes(number)).await?;
        let announced = body::content_length(headers).unwrap_or_default();
        // As much again may be there as fits into the file: parts that will be replaced.
        if there.saturating_add(announced) > limit.saturating_mul(2) || announced > limit {
            return Err(body::file_too_large(limit));
        }
        let blob = scope.put_file(claims.algorithms(), body).await?;
        claims.check(blob.digests(), blob.size())?;
        let key = keys.parts(number).key(part);
        let stored = scope
            .prepare(async |mut txn: Txn| {
                let stored = keep(&scope, &mut txn, &keys, &upload, &key, &blob).await?;
                Ok((txn, stored))
            })
            .await?;
        let sha256 = HEXLOWER.encode(&stored.digests.sha256);
        let headers = [
            (header::ETAG.as_str(), stored.etag()),
            ("x-checksum-sha256", sha256),
        ];
        let body = json!({ "part": part, "size": stored.size, "etag": stored.etag() });
        Ok((StatusCode::OK, headers, Json(body)).into_response())
    }

    /// Lists the parts that are there.
    pub(super) async fn list(&self, place: &Place, wanted: Listed) -> Result<Response, ApiError> {
        let scope = self.scope();
        let upload = self.find(&scope, place).await?;
        let parts = Keys::of(&scope).parts(number(&upload.id));
        let limit = wanted
            .limit
            .map_or(PAGE, |limit| limit.clamp(1, PAGE as u64) as usize);
        let after = wanted.after.unwrap_or_default().to_be_bytes();
        let scan = Scan::of(&parts).limit(limit + 1).after(after.as_slice());
        let mut entries = scope.snapshot().scan(scan).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let mut shown = Vec::with_capacity(entries.len());
        for entry in &entries {
            shown.push(show(part_number(&entry.item), &entry.record::<Part>()?));
        }
        let next = entries
            .last()
            .filter(|_| more)
            .map(|entry| part_number(&entry.item));
        let answer = json!({
            "upload_id": upload.id.to_string(),
            "expires_at": iso(upload.expires_at),
            "parts": shown,
            "next": next,
        });
        Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
    }

    /// Publishes the file.
    pub(super) async fn join(
        &self,
        place: &Place,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Wanted, Published), ApiError> {
        body::refuse_coding(headers)?;
        let whole: Whole = body::json(&body::whole(body, MAX_LIST_BYTES).await?, 8)?;
        let scope = self.scope();
        let upload = match self.find(&scope, place).await {
            Ok(upload) => upload,
            // The answer to the request that ended it may have been lost.
            Err(unknown) => return self.joined_before(&scope, place).await?.ok_or(unknown),
        };
        let demands = Demands::of(&self.project, headers)
            .await?
            .and(&upload.claims, whole.sha256.as_deref())?;
        publish::refuse_early(&scope, &upload.wanted, headers, &demands).await?;
        let parts = chosen(&scope, &upload, &whole.parts).await?;
        let limit = scope.limits().file_bytes;
        let size = parts
            .iter()
            .try_fold(0_u64, |size, part| size.checked_add(part.size));
        if size.is_none_or(|size| size > limit) {
            return Err(body::file_too_large(limit));
        }
        let bytes = read_all(scope.clone(), parts).boxed();
        let stored = scope.blobs().put(scope.space(), DIGESTS, limit, bytes).await;
        let stored = stored?;
        demands.check(&stored)?;
        let published = scope
            .transact(async |mut txn: Txn| {
                let content = Content::Stored(&stored);
                let published = publish::name(&scope, &mut txn, &upload.wanted, &demands, content).await?;
                let finished = Finished::of(&scope, stored.size(), Some(&upload.wanted));
                forget(&scope, &mut txn, &upload).await?;
                Sessions::of(&scope).remember(&mut txn, &upload.id, &finished);
                Ok((txn, published))
            })
            .await?;
        Ok((upload.wanted, published))
    }

    /// What became of an upload that ended as this file, not long ago.
    async fn joined_before(
        &self,
        scope: &Scope,
        place: &Place,
    ) -> Result<Option<(Wanted, Published)>, ApiError> {
        let Some(finished) = Sessions::of(scope).remembered::<Finished>(&self.id()?).await? else {
            return Ok(None);
        };
        let is_own = finished.username.as_deref() == scope.caller().username();
        let Some(wanted) = finished.wanted.filter(|wanted| is_own && wanted.place == *place) else {
            return Ok(None);
        };
        let (version, file) = find_file(scope, place).await?;
        let published = Published {
            version,
            file,
            replaced: false,
        };
        Ok(Some((wanted, published)))
    }

    /// Throws the upload away.
    pub(super) async fn abort(&self, place: &Place) -> Result<StatusCode, ApiError> {
        let scope = self.scope();
        let upload = self.find(&scope, place).await?;
        scope
            .prepare(async |mut txn: Txn| {
                forget(&scope, &mut txn, &upload).await?;
                Ok((txn, StatusCode::NO_CONTENT))
            })
            .await
    }
}

fn part_number(item: &[u8]) -> u64 {
    item.try_into().map_or(0, u64::from_be_bytes)
}

fn show(number: u64, part: &Part) -> Value {
    json!({
        "part": number,
        "size": part.size,
        "etag": part.etag(),
        "sha256": HEXLOWER.encode(&part.digests.sha256),
        "last_modified": iso(part.stored_at),
    })
}

/// Keeps stored bytes as a part of an upload, if that is still under way.
async fn keep(
    scope: &Scope,
    txn: &mut Txn,
    keys: &Keys,
    upload: &Upload,
    key: &Key,
    blob: &StoredBlob,
) -> Result<Part, ApiError> {
    let number = number(&upload.id);
    if txn.get(&keys.uploads().key(number)).await?.is_none() {
        return Err(unknown());
    }
    let before: Option<Part> = txn.record(key).await?;
    let (blobs, space) = (scope.blobs(), scope.space());
    let mut more = blob.size() as i64;
    if let Some(before) = before {
        more -= before.size as i64;
        if before.blob != blob.id() {
            blobs.release(txn, space, &before.blob, key.as_bytes()).await?;
        }
    }
    blobs.reference(txn, blob, key.as_bytes()).await?;
    let part = Part {
        blob: blob.id(),
        size: blob.size(),
        digests: blob.digests().clone(),
        stored_at: scope.now(),
    };
    txn.put_record(key, &part);
    txn.add(&keys.bytes(number), more);
    Ok(part)
}

/// Ends an upload: nobody can come to it any more, and its parts are let go of in the background.
async fn forget(scope: &Scope, txn: &mut Txn, upload: &Upload) -> Result<(), ApiError> {
    let (keys, number) = (Keys::of(scope), number(&upload.id));
    let key = keys.uploads().key(number);
    if txn.get(&key).await?.is_none() {
        return Err(unknown());
    }
    txn.delete(&key);
    txn.add(&keys.count(), -1);
    scope.order_removal(txn, number).await
}

/// The parts that a client named, in its order.
async fn chosen(scope: &Scope, upload: &Upload, wanted: &[WantedPart]) -> Result<Vec<Part>, ApiError> {
    if wanted.is_empty() {
        return Err(ApiError::bad_request("parts is empty"));
    }
    if wanted.windows(2).any(|pair| pair[0].part >= pair[1].part) {
        return Err(ApiError::bad_request(
            "parts are listed in the order of their numbers, each once",
        ));
    }
    let parts = Keys::of(scope).parts(number(&upload.id));
    let mut found = Vec::with_capacity(wanted.len());
    for WantedPart { part, etag } in wanted {
        let record: Option<Part> = scope.snapshot().record(&parts.key(*part)).await?;
        let record =
            record.ok_or_else(|| ApiError::bad_request(format!("part {part} has not been uploaded")))?;
        let is_meant = |etag: &String| etag.trim_matches('"') == record.etag().trim_matches('"');
        if !etag.as_ref().is_none_or(is_meant) {
            return Err(ApiError::bad_request(format!(
                "part {part} is another one than the list says: its ETag is {}",
                record.etag()
            )));
        }
        found.push(record);
    }
    Ok(found)
}

/// The bytes of all parts, one after the other.
fn read_all(scope: Scope, parts: Vec<Part>) -> impl Stream<Item = Result<bytes::Bytes, ApiError>> + Send {
    stream::iter(parts)
        .then(move |part| {
            let scope = scope.clone();
            async move {
                // On a view of its own: joining may take long, and a view keeps what it sees.
                let snapshot = scope.latest().await?;
                let read = scope
                    .blobs()
                    .read(&snapshot, scope.space(), &part.blob, None)
                    .await
                    .map_err(gone_or_unreadable)?;
                Ok::<_, ApiError>(read.map_err(gone_or_unreadable))
            }
        })
        .try_flatten()
}

/// A part that is not there any more: the upload was ended by another request.
fn gone_or_unreadable(error: BlobReadError) -> ApiError {
    match error {
        BlobReadError::Unknown { .. } => unknown(),
        other => other.into(),
    }
}

/// Lets go of some parts of an upload that has ended, or whose time has come; or, in a project
/// that was deleted, of any.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal {
        txn,
        blobs,
        space,
        records,
        part,
        account: _,
    } = removal;
    let keys = Keys(records);
    let number = match part {
        Some(number) => number,
        None => match txn.scan(Scan::of(&keys.uploads()).limit(1)).await?.pop() {
            Some(upload) => part_number(&upload.item),
            None => {
                txn.delete(&keys.count());
                return Ok(Progress::Done);
            }
        },
    };
    let parts = keys.parts(number);
    let found = txn.scan(Scan::of(&parts).limit(STEP)).await?;
    for entry in &found {
        let (key, record) = (parts.key(&entry.item), entry.record::<Part>()?);
        blobs.release(txn, space, &record.blob, key.as_bytes()).await?;
        txn.delete(&key);
    }
    if found.len() == STEP {
        return Ok(Progress::More);
    }
    txn.delete(&keys.bytes(number));
    let upload = keys.uploads().key(number);
    if txn.get(&upload).await?.is_some() {
        txn.delete(&upload);
        txn.add(&keys.count(), -1);
    }
    Ok(match part {
        Some(_) => Progress::Done,
        None => Progress::More,
    })
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Upload>("generic-upload");
        samples::check::<super::Part>("generic-part");
    }
}
