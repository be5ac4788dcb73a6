//! What `cairn backup` asks of a running cluster: that nothing is collected for a while, all that
//! is kept in the metadata as one consistent stream, and blobs.
//!
//! The stream has what nobody else is told, such as the key under which tokens are hashed; all of
//! this is for administrators alone. GitLab has nothing like it, so it lies below `/api/cairn/v1`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use cairn_cluster::{BackupId, BlobId, BlobReadError, Hold, Space};
use futures::StreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use crate::app::App;
use crate::auth::{Authorised, Instance, Own};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::rest::{Created, Nothing, Octets, Path, about};
use crate::registry::audit::Act;
use crate::registry::time::iso;

/// The routes below `/api/cairn/v1/backups`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/backups",
            get_with(
                list,
                about("listBackups", "Lists the backups that are being taken"),
            )
            .post_with(
                begin,
                about("beginBackup", "Begins a backup: nothing is collected meanwhile"),
            ),
        )
        .api_route(
            "/api/cairn/v1/backups/{backup}",
            get_with(renew, about("renewBackup", "Shows a backup, and keeps it going"))
                .delete_with(end, about("endBackup", "Ends a backup")),
        )
        .api_route(
            "/api/cairn/v1/backups/{backup}/metadata",
            get_with(
                metadata,
                about("exportMetadata", "Gives all metadata as one consistent stream"),
            ),
        )
        .api_route(
            "/api/cairn/v1/backups/{backup}/blobs/{root_group}/{blob}",
            get_with(blob, about("exportBlob", "Gives the bytes of a blob")),
        )
        .with_path_items(|item| item.tag("Backups"))
}

/// A backup that is being taken. As long as it is, nothing is collected.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Backup")]
pub(super) struct ShownHold {
    backup: String,
    by: String,
    begun_at: String,
    /// Until when the collection is held back, if nothing more is asked for.
    held_until: String,
}

impl From<Hold> for ShownHold {
    fn from(hold: Hold) -> Self {
        Self {
            backup: hold.backup.to_string(),
            by: hold.by,
            begun_at: iso(hold.since),
            held_until: iso(hold.until),
        }
    }
}

async fn list(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
) -> Result<Json<Vec<ShownHold>>, ApiError> {
    let holds = app.operator().backups().await?;
    Ok(Json(holds.into_iter().map(ShownHold::from).collect()))
}

async fn begin(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
) -> Result<Created<ShownHold>, ApiError> {
    let by = instance.caller().username().unwrap_or_default();
    instance.announce(Act::new("cluster.backup_begun")).await?;
    let hold = app.operator().begin_backup(by).await?;
    info!(backup = %hold.backup, by, "a backup begins; nothing is collected meanwhile");
    Ok(Created(hold.into()))
}

fn backup_id(text: &str) -> Result<BackupId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::not_found("404 Backup Not Found"))
}

/// Shows a backup. That it is asked for keeps it going.
async fn renew(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Path(backup): Path<String>,
) -> Result<Json<ShownHold>, ApiError> {
    let hold = app.operator().renew_backup(backup_id(&backup)?).await?;
    Ok(Json(hold.into()))
}

async fn end(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Path(backup): Path<String>,
) -> Result<Nothing<204>, ApiError> {
    let backup = backup_id(&backup)?;
    app.operator().end_backup(backup).await?;
    info!(%backup, "a backup has ended");
    Ok(Nothing)
}

/// Answers with an export of the latest state: see `cairn_cluster::Part`. If it cannot be read to
/// its end, the connection breaks; its form shows that too.
async fn metadata(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Path(backup): Path<String>,
) -> Result<Octets, ApiError> {
    let backup = backup_id(&backup)?;
    app.operator().renew_backup(backup).await?;
    let export = app.operator().export(backup).await?;
    Ok(Octets(bytes(Body::from_stream(export))))
}

/// Answers with a blob; 410 if too little is left of it.
async fn blob(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path((backup, root_group, blob)): Path<(String, String, String)>,
) -> Result<Octets, ApiError> {
    let backup = backup_id(&backup)?;
    let unknown = || ApiError::not_found("404 Blob Not Found");
    let space = Space(root_group.parse().map_err(|_| unknown())?);
    let blob: BlobId = blob.parse().map_err(|_| unknown())?;
    app.operator().renew_backup(backup).await?;
    let reader = app.operator().read_blob(space, blob).await;
    let reader = reader.map_err(|error| match error {
        // What this says is what the operator has to know.
        BlobReadError::Damaged { .. } | BlobReadError::Unknown { .. } => {
            ApiError::new(ErrorKind::Gone, error.to_string())
        }
        other => other.into(),
    })?;
    let len = reader.len();
    let room = app.read_buffers().take(instance.access().address(), len).await;
    let mut response = bytes(Body::from_stream(reader.inspect(move |_| {
        // Held until the body is dropped.
        let _ = &room;
    })));
    response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
    Ok(Octets(response))
}

fn bytes(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
