//! Answers that are given again from memory, as long as nothing that they were made from has
//! changed.
//!
//! A handler says of an answer that it is [`Repeatable`]. What it read on the way there (the
//! caller's token and role, the project, the package) was noted, so that the next request like
//! it needs one question to the cluster, how far the metadata are, and a look at whether those
//! few records are what they were. It is never stale, and never given to somebody who may not
//! have it any more: the request is decided as if it had gone all the way.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::Response;
use cairn_cluster::{Key, Seen, Snapshot};
use moka::sync::Cache;

use crate::app::App;
use crate::auth::action::Freshness;
use crate::auth::credentials::TOKEN_HEADERS;
use crate::http::host::BaseUrl;
use crate::http::observe::AnsweredBy;
use crate::http::rates::Principal;
use crate::registry::adoption::Download;
use crate::registry::door::trace::{Taken, Trace, view_for};

/// Memory for answers.
const CAPACITY_BYTES: u64 = 64 << 20;

/// What an answer takes besides its body and what it was made from, about.
const ANSWER_BYTES: usize = 2 << 10;

/// The headers, besides credentials, by which answers that can be repeated may differ.
const TELLING_HEADERS: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// Says of an answer that it depends on nothing but the request's method, URL, credentials and
/// [`TELLING_HEADERS`], and on what was read through the request's view; and that giving it has
/// no effect, besides that of a [`Download`] that is an extension too. An extension of the response, with the body.
#[derive(Clone)]
pub(crate) struct Repeatable(pub(crate) Bytes);

/// The answers of a node.
pub(crate) struct Answers {
    kept: Cache<[u8; 32], Arc<Kept>>,
    #[cfg(test)]
    repeated: std::sync::atomic::AtomicUsize,
}

struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    by: AnsweredBy,
    seen: Seen,
    freshness: Freshness,
    token: Option<Key>,
    principal: Option<Principal>,
    /// What it counts as whenever it is given.
    download: Option<Download>,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let weigh = |_: &[u8; 32], kept: &Arc<Kept>| {
            u32::try_from(ANSWER_BYTES + kept.seen.bytes() + kept.body.len()).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(weigh)
            .build();
        Self {
            kept,
            #[cfg(test)]
            repeated: Default::default(),
        }
    }

    /// How many requests were answered from memory.
    #[cfg(test)]
    pub(crate) fn repeated(&self) -> usize {
        self.repeated.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Answers from memory, or by way of `route`, whose answer may then be remembered.
    pub(crate) async fn answer<F>(
        &self,
        app: &App,
        mut request: Request,
        route: impl FnOnce(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        // HEAD has effects in some protocols.
        if request.method() != Method::GET {
            return route(request).await;
        }
        let name = name(&request);
        let mut taken = None;
        if let Some(kept) = self.kept.get(&name) {
            if let Some(principal) = &kept.principal
                && app.rates().count(request.extensions(), principal).is_err()
            {
                // The door refuses it, and its route says so in the words of the format.
                return route(request).await;
            }
            let view = view_for(app, request.method(), kept.freshness).await;
            match &view {
                Ok((view, _)) if kept.holds(app, view) => {
                    #[cfg(test)]
                    {
                        self.repeated.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        kept.must_be_what_is_answered(view.clone(), request, route).await;
                    }
                    return kept.again(app);
                }
                _ => {
                    let freshness = kept.freshness;
                    taken = Some(Taken { freshness, view });
                }
            }
        }
        let trace = Trace::begin(taken);
        request.extensions_mut().insert(trace.clone());
        let mut response = route(request).await;
        if let Some(Repeatable(body)) = response.extensions_mut().remove()
            && let Some(by) = response.extensions().get().copied()
            && let Some(seen) = trace.seen()
        {
            let kept = Kept {
                status: response.status(),
                headers: response.headers().clone(),
                body,
                by,
                seen,
                freshness: trace.freshness(),
                token: trace.token(),
                principal: trace.principal(),
                download: response.extensions_mut().remove(),
            };
            self.kept.insert(name, Arc::new(kept));
        }
        response
    }
}

/// Names what is asked for, and by whom. Without keeping a token in memory.
fn name(request: &Request) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    if let Some(base_url) = request.extensions().get::<BaseUrl>() {
        part(base_url.as_str().as_bytes());
    }
    part(request.uri().path().as_bytes());
    part(request.uri().query().unwrap_or_default().as_bytes());
    for (name, value) in request.headers() {
        if *name == header::AUTHORIZATION || TELLING_HEADERS.contains(name) || TOKEN_HEADERS.contains(name) {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

impl Kept {
    /// Whether the same would be answered on this view, now.
    fn holds(&self, app: &App, view: &Snapshot) -> bool {
        let over = self.seen.until().is_some_and(|end| end <= app.store().now());
        !over && view.still_shows(&self.seen)
    }

    fn again(&self, app: &App) -> Response {
        if let Some(token) = &self.token {
            app.store().token_used(token);
        }
        if let Some(download) = &self.download {
            download.note(app.store());
        }
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response.extensions_mut().insert(self.by);
        response
    }

    /// Every answer that a test gets from memory is held against what its handler says.
    #[cfg(test)]
    async fn must_be_what_is_answered<F>(
        &self,
        view: Snapshot,
        mut request: Request,
        route: impl FnOnce(Request) -> F,
    ) where
        F: Future<Output = Response>,
    {
        let taken = Taken {
            freshness: self.freshness,
            view: Ok((view, self.freshness == Freshness::Latest)),
        };
        let uri = request.uri().clone();
        request.extensions_mut().insert(Trace::begin(Some(taken)));
        let response = route(request).await;
        assert_eq!(response.status(), self.status, "{uri}");
        assert_eq!(*response.headers(), self.headers, "{uri}");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        assert_eq!(body.unwrap(), self.body, "{uri}");
    }
}
