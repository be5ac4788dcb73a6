//! What a request reads on its way: its view, and the trace that it leaves for
//! [`crate::http::answers`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;
use cairn_cluster::{Footprint, Key, Seen, Snapshot};

use crate::app::App;
use crate::auth::action::Freshness;
use crate::http::error::ApiError;
use crate::http::rates::Principal;

/// How old a permission may be when a node that lost the majority serves what cannot change.
const MAX_PERMISSION_AGE: Duration = Duration::from_secs(30);

/// What a request leaves on its way to an answer. An extension of the request.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Steps>);

#[derive(Default)]
struct Steps {
    footprint: Footprint,
    token: OnceLock<Key>,
    principal: OnceLock<Principal>,
    /// Whether a view was asked for that must be the latest.
    latest: AtomicBool,
    taken: Option<Taken>,
}

/// A view that was taken for the request already.
pub(crate) struct Taken {
    /// For what it was taken.
    pub(crate) freshness: Freshness,
    /// See [`view_for`].
    pub(crate) view: Result<(Snapshot, bool), ApiError>,
}

impl Trace {
    /// Begins with a view, if one was taken.
    pub(crate) fn begin(taken: Option<Taken>) -> Self {
        Self(Arc::new(Steps {
            taken,
            ..Steps::default()
        }))
    }

    /// The view that a request is decided and answered on, and whether it surely has everything
    /// that was acknowledged before; what is read through it is noted, if the answer may be
    /// remembered.
    pub(crate) async fn view(
        app: &App,
        parts: &Parts,
        freshness: Freshness,
    ) -> Result<(Snapshot, bool), ApiError> {
        let Some(Self(steps)) = parts.extensions.get::<Self>() else {
            return view_for(app, &parts.method, freshness).await;
        };
        if freshness == Freshness::Latest {
            steps.latest.store(true, Ordering::Relaxed);
        }
        let (view, is_latest) = match &steps.taken {
            Some(taken) if taken.freshness == freshness => taken.view.clone()?,
            _ => view_for(app, &parts.method, freshness).await?,
        };
        Ok((view.traced(&steps.footprint), is_latest))
    }

    /// Notes where the use of the caller's token is noted.
    pub(crate) fn signed_in_by(parts: &Parts, token: Key) {
        if let Some(Self(steps)) = parts.extensions.get::<Self>() {
            let _ = steps.token.set(token);
        }
    }

    /// Notes whom the request counts for.
    pub(crate) fn counts_for(parts: &Parts, principal: Principal) {
        if let Some(Self(steps)) = parts.extensions.get::<Self>() {
            let _ = steps.principal.set(principal);
        }
    }

    /// How fresh what was read had to be.
    pub(crate) fn freshness(&self) -> Freshness {
        match self.0.latest.load(Ordering::Relaxed) {
            true => Freshness::Latest,
            false => Freshness::Immutable,
        }
    }

    /// All that was read; none if that cannot be told.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.0.footprint.seen()
    }

    /// Whom the request counts for; none if it never came to the door.
    pub(crate) fn principal(&self) -> Option<Principal> {
        self.0.principal.get().cloned()
    }

    /// Where the use of the caller's token is noted, if it has one.
    pub(crate) fn token(&self) -> Option<Key> {
        self.0.token.get().cloned()
    }
}

/// The view that a request is decided and answered on, and whether it surely has everything that
/// was acknowledged before.
pub(crate) async fn view_for(
    app: &App,
    method: &Method,
    freshness: Freshness,
) -> Result<(Snapshot, bool), ApiError> {
    let kv = app.store().kv();
    let reads = *method == Method::GET || *method == Method::HEAD;
    Ok(match freshness {
        Freshness::Immutable if reads => (kv.latest_or_recent(MAX_PERMISSION_AGE).await?, false),
        _ => (kv.latest().await?, true),
    })
}
