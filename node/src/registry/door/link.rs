//! Projects as links name them: by a token that was signed for one thing in the project.

use std::time::Duration;

use axum::http::request::Parts;

use crate::app::App;
use crate::auth::action::{Action, Freshness};
use crate::auth::credentials::Presented;
use crate::auth::derived::{Grant, Grants, MAX_LINK_LIFETIME};
use crate::http::error::ApiError;
use crate::registry::door::extract::reference;
use crate::registry::door::{Access, Authorised};
use crate::registry::names::Reference;
use crate::registry::project::{self, Project};

/// The protocol's service that links are for.
const AUDIENCE: &str = "link";

/// What a link is for, and what may be done by it.
const KIND: &str = "link";
const ACTION: &str = "pull";

/// One thing in a project, in the words of a format.
fn thing_in(project: &Project, thing: &str) -> String {
    format!("{}/{thing}", project.id)
}

impl<A: Action> Authorised<Project, A> {
    /// A token that lets whoever has it do what the caller may, to this one thing of the project.
    pub(crate) async fn sign_link(&self, thing: &str, lifetime: Duration) -> Result<String, ApiError> {
        if self.caller().is_anonymous() {
            return Err(ApiError::unauthorized());
        }
        let grants = Grants(vec![Grant {
            kind: KIND.into(),
            name: thing_in(self.project(), thing),
            actions: vec![ACTION.into()],
        }]);
        let lifetime = lifetime.min(MAX_LINK_LIFETIME);
        self.access().sign(AUDIENCE, grants, lifetime).await
    }

    /// Comes to the project that the URL names by such a token. Whoever made it must still be
    /// allowed to do `A`.
    pub(crate) async fn by_link(
        parts: &mut Parts,
        app: &App,
        token: &str,
        thing: &str,
    ) -> Result<Self, ApiError> {
        let reference = reference(parts).await?;
        let reference = reference.map_err(|_| ApiError::unauthorized())?;
        let come = async |freshness| {
            let presented = Presented {
                username: None,
                secret: token.to_owned(),
            };
            let access = Access::presenting(app, parts, freshness, Ok(Some(presented))).await?;
            access.linked::<A>(&reference, thing).await
        };
        match come(A::FRESHNESS).await {
            // What may be stale is confirmed before it is refused.
            Err(_) if A::FRESHNESS == Freshness::Immutable => come(Freshness::Latest).await,
            decided => decided,
        }
    }
}

impl Access {
    async fn linked<A: Action>(
        &self,
        reference: &Reference,
        thing: &str,
    ) -> Result<Authorised<Project, A>, ApiError> {
        let project = project::find(&mut self.snapshot.clone(), reference).await?;
        let granted = |project: &Project| {
            let thing = thing_in(project, thing);
            let grants = self.caller.grants();
            grants.is_some_and(|grants| grants.allow(KIND, &thing, ACTION))
        };
        match project.filter(granted) {
            Some(project) => self.decided(project).await,
            None => Err(ApiError::unauthorized()),
        }
    }
}
