//! Copying, which is how a file or a version is promoted: `POST -/copy` of the project that gets
//! it, in one transaction and without moving a byte.
//!
//! ```text
//! {"from_project": "acme/demo", "from": {"package": "tool", "version": "1.0.0-rc.1"},
//!  "to": {"version": "1.0.0"}}
//! ```
//!
//! `from` names a file, a version with all its files, or a `path` of the raw view; without
//! `from_project`, in the same. What `to` leaves out is as in `from`. The caller may pull there and
//! publish here; both are below one root group, because no record of one names a blob of another.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cairn_cluster::Txn;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::fetch::{find_file, find_version};
use crate::formats::generic::names::{PackageName, VersionName};
use crate::formats::generic::place::{Place, Spot};
use crate::formats::generic::publish::{self, Content, Demands, Published, Wanted};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::names::Reference;
use crate::registry::package::{Edit, File, Status, Version, View};
use crate::registry::project::Project;

/// The most files of a version that is copied: what one transaction can hold.
const MAX_FILES: usize = 256;

/// The route.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/-/copy", post(copy))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// A number or a path.
    from_project: Option<Value>,
    from: Spot,
    #[serde(default)]
    to: Spot,
    status: Option<Status>,
}

/// A file to be copied, and where to.
pub(super) struct Copy {
    pub(super) version: Version,
    pub(super) file: File,
    pub(super) wanted: Wanted,
}

async fn copy(
    project: Authorised<Project, Publish>,
    Params(order): Params<Order>,
) -> Result<Response, ApiError> {
    if order.status == Some(Status::Deprecated) {
        return Err(ApiError::bad_request("status does not have a valid value"));
    }
    let scope = project.scope(NAME);
    let source = source(&project, order.from_project.as_ref()).await?.scope(NAME);
    if source.space() != scope.space() {
        return Err(ApiError::unprocessable(
            "files are copied below one root group; download them and publish them here",
        ));
    }
    let copies = match order.from.is_version() {
        true => of_version(&source, &order).await?,
        false => vec![of_file(&source, &order).await?],
    };
    let demands = Demands::claimed(&project, Claims::default()).await?;
    let published = scope
        .transact(async |mut txn: Txn| {
            let mut published = Vec::with_capacity(copies.len());
            for copy in &copies {
                published.push(put(&source, &scope, &mut txn, copy, &demands).await?);
            }
            Ok((txn, published))
        })
        .await?;
    let files = published.iter().zip(&copies);
    let files: Vec<_> = files
        .map(|(published, copy)| show(published, &copy.wanted.place.url(&scope)))
        .collect();
    let answer = json!({ "message": "201 Created", "files": files });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The project to copy from, for a caller that may pull there.
async fn source(
    project: &Authorised<Project, Publish>,
    named: Option<&Value>,
) -> Result<Authorised<Project, Pull>, ApiError> {
    let named = match named {
        None => return project.also::<Pull>().await,
        Some(Value::String(path)) => path.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => {
            return Err(ApiError::bad_request(
                "from_project is neither a number nor a path",
            ));
        }
    };
    let reference: Reference = named.parse()?;
    project.access().project(&reference).await
}

async fn of_file(source: &Scope, order: &Order) -> Result<Copy, ApiError> {
    let place = order.from.place()?;
    let (version, file) = find_file(source, &place).await?;
    Ok(Copy {
        version,
        file,
        wanted: wanted(order.to.or(&place)?, order),
    })
}

async fn of_version(source: &Scope, order: &Order) -> Result<Vec<Copy>, ApiError> {
    let (from, to) = (&order.from, &order.to);
    if to.file.is_some() || to.path.is_some() {
        return Err(ApiError::bad_request("a version is copied to a version"));
    }
    let (package, version): (PackageName, VersionName) = from.version()?;
    let (_, found) = find_version(source, package.as_str(), version.as_str()).await?;
    let files = View::of(source).files(&found, None, MAX_FILES + 1).await?;
    if files.len() > MAX_FILES {
        return Err(ApiError::unprocessable(format!(
            "the version has more than {MAX_FILES} files; copy them one by one"
        )));
    }
    let copies = files.into_iter().map(|file| {
        let place = Place::Package {
            package: package.clone(),
            version: version.clone(),
            file: file.name.parse()?,
        };
        Ok(Copy {
            version: found.clone(),
            file,
            wanted: wanted(to.or(&place)?, order),
        })
    });
    copies.collect()
}

fn wanted(place: Place, order: &Order) -> Wanted {
    let status = match place.is_raw() {
        true => Some(Status::Hidden),
        false => order.status,
    };
    Wanted { place, status }
}

/// Makes a copy, if what is to be copied is still there.
pub(super) async fn put(
    source: &Scope,
    scope: &Scope,
    txn: &mut Txn,
    copy: &Copy,
    demands: &Demands,
) -> Result<Published, ApiError> {
    // It may have been replaced or deleted since it was found.
    let mut from = Edit::new(source, txn);
    let file = from.file(&copy.version, &copy.file.name).await?;
    let file = file.ok_or_else(|| ApiError::not_found("404 File Not Found"))?;
    publish::name(scope, txn, &copy.wanted, demands, Content::Kept(&file)).await
}

fn show(published: &Published, url: &str) -> Value {
    let file = &published.file;
    json!({
        "file_name": file.name,
        "size": file.size,
        "file_sha256": HEXLOWER.encode(&file.digests.sha256),
        "url": url,
    })
}
