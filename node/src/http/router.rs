//! Every route of a node, from the table of formats and the REST API.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn;
use axum::routing::any;
use tower::ServiceExt;

use crate::admin;
use crate::app::App;
use crate::formats::{FORMATS, Format, Level, Mount};
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
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || method_not_allowed())
        // Every body is read with a limit of its own.
        .layer(DefaultBodyLimit::disable())
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
