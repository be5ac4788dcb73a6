//! What supervisors of a node ask: is it alive, does it take requests, how is it doing.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;
use crate::http::metrics;

/// `/-/health`, `/-/ready`, `/-/metrics`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/-/health", get(async || "ok\n"))
        .route("/-/ready", get(ready))
        .route("/-/metrics", get(exposition))
}

/// Ready while the node is not draining and a majority of the cluster answers.
async fn ready(State(app): State<App>) -> Response {
    if app.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match app.reaches_majority().await {
        Ok(()) => "ready\n".into_response(),
        Err(unavailable) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unavailable}\n")).into_response(),
    }
}

async fn exposition() -> Response {
    match metrics::exposition() {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        None => (StatusCode::NOT_FOUND, "this node records no metrics\n").into_response(),
    }
}
