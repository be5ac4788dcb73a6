//! What every request must pass before a route sees it: method, size of the head, path, host.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri, Version, header};

use crate::app::App;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::ClientAddress;
use crate::http::pace;
use crate::http::settings::Limits;
use crate::http::{host, path};

/// Headers by which a request would pass for one of another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Refuses what no route should see, and notes base URL and client for those that follow.
pub(super) fn pass(app: &App, request: Request) -> Result<(Request, Option<ClientAddress>), ApiError> {
    let (mut parts, body) = request.into_parts();
    let limits = &app.http().limits;
    check_method(&parts.method, &parts.headers)?;
    check_size(limits, target_bytes(&parts.uri), &parts.headers)?;
    path::check(parts.uri.path()).map_err(|bad| ApiError::bad_request(bad.to_string()))?;
    check_framing(parts.version, &parts.headers)?;
    let (base_url, address) = host::identify(app.http(), &parts)?;
    parts.extensions.insert(base_url);
    if let Some(address) = address {
        parts.extensions.insert(address);
    }
    let body = pace::paced(body, limits);
    Ok((Request::from_parts(parts, body), address))
}

fn check_method(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let overridden = METHOD_OVERRIDES.iter().any(|name| headers.contains_key(*name));
    if overridden || *method == Method::TRACE || *method == Method::CONNECT {
        return Err(ApiError::new(
            ErrorKind::MethodNotAllowed,
            "405 Method Not Allowed",
        ));
    }
    Ok(())
}

/// How long the request target is, as it was sent.
fn target_bytes(uri: &Uri) -> usize {
    let scheme_bytes = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority_bytes = uri.authority().map_or(0, |authority| authority.as_str().len());
    let rest_bytes = uri.path_and_query().map_or(0, |rest| rest.as_str().len());
    scheme_bytes + authority_bytes + rest_bytes
}

fn check_size(limits: &Limits, target_bytes: usize, headers: &HeaderMap) -> Result<(), ApiError> {
    if target_bytes > limits.target_bytes {
        return Err(ApiError::new(
            ErrorKind::TargetTooLong,
            "the request target is too long",
        ));
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > limits.headers || header_bytes > limits.header_bytes {
        return Err(ApiError::new(
            ErrorKind::HeadersTooLarge,
            "the request headers are too large",
        ));
    }
    Ok(())
}

/// One length, and no transfer coding but chunked. The server refuses most of what is wrong
/// here by itself; two agreeing lengths are refused too, because a proxy might read another one.
fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter().count();
    if lengths > 1 || codings > 1 || lengths + codings > 1 && version < Version::HTTP_2 {
        return Err(ApiError::bad_request("the length of the body is ambiguous"));
    }
    Ok(())
}
