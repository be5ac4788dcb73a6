//! The metrics of HTTP, and the recorder that holds those of the whole process.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Records the metrics of this process from now on. To be called once, at start.
pub fn install() -> Result<(), BuildError> {
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(
        metrics_exporter_prometheus::Matcher::Suffix("_seconds".into()),
        SECONDS,
    )?;
    let handle = recorder.install_recorder()?;
    // A second call fails in the line above.
    let _ = RECORDER.set(handle);
    Ok(())
}

/// All metrics, as Prometheus reads them; none if they are not recorded.
pub(crate) fn exposition() -> Option<String> {
    let handle = RECORDER.get()?;
    handle.run_upkeep();
    Some(handle.render())
}

/// Requests answered, by format, method and outcome; and how long their heads took.
pub(crate) fn answered(format: &'static str, method: &Method, status: StatusCode, took: Duration) {
    let method = method_label(method);
    let outcome = outcome(status);
    counter!("cairn_http_requests_total", "format" => format, "method" => method, "outcome" => outcome)
        .increment(1);
    histogram!("cairn_http_request_seconds", "format" => format, "method" => method)
        .record(took.as_secs_f64());
}

/// Connections that are open.
pub(crate) fn connections(open: usize) {
    gauge!("cairn_http_connections").set(open as f64);
}

/// Connections that were closed before they sent a request, by reason.
pub(crate) fn dropped(reason: &'static str) {
    counter!("cairn_http_connections_dropped_total", "reason" => reason).increment(1);
}

/// Requests that were refused because their client made too many, by limit.
pub(crate) fn limited(limit: &'static str) {
    counter!("cairn_http_limited_total", "limit" => limit).increment(1);
}

/// How long the certificate that clients are shown still holds, and whether the files that it
/// came from hold something that cannot be used.
pub(crate) fn certificate(seconds_left: i64, refused: bool) {
    gauge!("cairn_http_certificate_left_seconds").set(seconds_left as f64);
    gauge!("cairn_http_certificate_refused").set(f64::from(u8::from(refused)));
}

/// From a closed set, because clients can send any word.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=399 => "ok",
        401 | 403 => "denied",
        404 => "not_found",
        503 | 507 => "unavailable",
        400..=499 => "refused",
        _ => "failed",
    }
}
