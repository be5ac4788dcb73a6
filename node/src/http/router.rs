//! Every route of a node, from the table of formats and the REST API.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any};
use tower::ServiceExt;

use crate::admin;
use crate::app::App;
use crate::formats::{FORMATS, Format, Level, Mount, go};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::{observe, probes};

/// The routes of a node.
pub(super) fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new().merge(admin::routes()).merge(probes::routes());
    for format in FORMATS {
        for level in Level::ALL {
            routes = mount(routes, app, *format, level);
        }
    }
    routes
        .fallback(elsewhere(app))
        .method_not_allowed_fallback(async || method_not_allowed())
        // Every body is read with a limit of its own.
        .layer(DefaultBodyLimit::disable())
}

/// Answers what no route has: import paths of Go may be any.
fn elsewhere(app: &App) -> MethodRouter<App> {
    let pages = go::import_pages()
        .layer(from_fn(|request, next| observe::speak(&go::Go, request, next)))
        .with_state(app.clone());
    any(
        async move |request: Request| match go::import::is_asked_by(&request) {
            true => pages.oneshot(request).await.into_response(),
            false => not_found().into_response(),
        },
    )
}

/// Adds the routes of one format at one level.
fn mount(routes: Router<App>, app: &App, format: &'static dyn Format, level: Level) -> Router<App> {
    let mount = Mount {
        format: format.name(),
        level,
    };
    let speak = from_fn(move |mut request: Request, next| {
        request.extensions_mut().insert(mount);
        observe::speak(format, request, next)
    });
    let own = format
        .routes(level)
        .method_not_allowed_fallback(async || method_not_allowed());
    if level == Level::Host {
        return routes.merge(own.layer(speak));
    }
    let prefix = level.prefix(format.name());
    let own = own.fallback(async || not_found()).layer(speak);
    // The base URL with a slash at its end is the same as without.
    let root = own.clone().with_state(app.clone());
    let with_slash = any(async move |mut request: Request| {
        *request.uri_mut() = root_uri(request.uri());
        root.oneshot(request).await
    });
    routes.route(&format!("{prefix}/"), with_slash).nest(&prefix, own)
}

fn root_uri(uri: &axum::http::Uri) -> axum::http::Uri {
    let target = match uri.query() {
        Some(query) => format!("/?{query}"),
        None => "/".into(),
    };
    target.parse().unwrap_or_default()
}

fn not_found() -> ApiError {
    ApiError::not_found("404 Not Found")
}

fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "405 Method Not Allowed")
}
