//! How a request comes to an image: through the registry's door, with answers that make clients
//! do the right thing next.
//!
//! - Nobody in particular: 401 with the scope that is needed, whether the image exists or not.
//! - A token that was not asked for enough: the same, so that the client asks for more.
//! - A token that was asked for it and refused: asking again would not help, so 403, or 404 for
//!   those who may not know that the project exists.

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};

use super::error;
use super::login::SERVICE;
use super::names::RepositoryName;
use super::path::{Endpoint, Query, Resource};
use super::scope::{self, Actions, Scope as TokenScope};
use super::{NAME, names};
use crate::app::App;
use crate::auth::{Access, Action, Authorised, PushImage, See, Verb};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::BaseUrl;
use crate::registry::Scope;
use crate::registry::project::Project;

/// A request, without its body.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) app: &'a App,
    pub(super) parts: &'a Parts,
}

/// An image for a caller that may do `A` to it. Whether there is a repository of this name is
/// another question.
pub(super) struct Image<A> {
    pub(super) name: RepositoryName,
    /// What of the name is below the project; may be empty.
    pub(super) path: String,
    pub(super) scope: Scope,
    project: Authorised<Project, A>,
}

impl<'a> Head<'a> {
    /// The fields of the query.
    pub(super) fn query(&self) -> Query {
        Query::parse(self.parts.uri.query())
    }

    /// A header that is text.
    pub(super) fn header(&self, name: header::HeaderName) -> Option<&'a str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Comes to an image to do `A`.
    pub(super) async fn image<A: Action>(&self, name: &RepositoryName) -> Result<Image<A>, ApiError> {
        let access = Access::of(self.app, self.parts, A::FRESHNESS).await?;
        match access.image::<A>(name.as_str()).await {
            Ok((project, path)) => Ok(Image {
                name: name.clone(),
                path,
                scope: project.scope(NAME),
                project,
            }),
            Err(refused) => Err(self.refused::<A>(&access, name, refused).await),
        }
    }

    async fn refused<A: Action>(
        &self,
        access: &Access,
        name: &RepositoryName,
        refused: ApiError,
    ) -> ApiError {
        match refused.kind {
            ErrorKind::NotFound => error::name_unknown(name),
            ErrorKind::Unauthorized if access.caller().grants().is_some() => {
                match was_in_vain::<A>(access, name).await {
                    Ok(Some(final_word)) => final_word,
                    Ok(None) => insufficient(self.parts, access.base_url()),
                    Err(error) => error,
                }
            }
            _ => refused,
        }
    }
}

/// What to answer to a caller whose token was refused `A` when it asked; none if another token
/// could help.
async fn was_in_vain<A: Action>(
    access: &Access,
    name: &RepositoryName,
) -> Result<Option<ApiError>, ApiError> {
    let caller = access.caller();
    let refused = caller
        .grants()
        .is_some_and(|grants| scope::was_refused(grants, name, actions(A::VERB)));
    // Whoever has not signed in can still do so; and rights may have been given meanwhile.
    if caller.is_anonymous() || !refused || access.may_touch_image::<A>(name.as_str()).await? {
        return Ok(None);
    }
    Ok(Some(match access.may_touch_image::<See>(name.as_str()).await? {
        true => ApiError::forbidden(format!("the token may not do this to {name}")),
        false => error::name_unknown(name),
    }))
}

/// 401 for a token that does not go far enough.
pub(super) fn insufficient(parts: &Parts, base_url: &BaseUrl) -> ApiError {
    let challenge = challenge(parts, base_url, true);
    ApiError::unauthorized().with_header(header::WWW_AUTHENTICATE, challenge)
}

impl<A: Action> Image<A> {
    /// Whether the caller may also push, and its token says so.
    pub(super) async fn may_push(&self) -> Result<bool, ApiError> {
        let grants = self.scope.caller().grants();
        if grants.is_some_and(|grants| !grants.allow("repository", self.name.as_str(), "push")) {
            return Ok(false);
        }
        self.project.may::<PushImage>().await
    }

    /// The request at the door.
    pub(super) fn access(&self) -> &Access {
        self.project.access()
    }

    /// Looks for something that cannot change, and says on which view it was found. Only that it
    /// is absent has to be confirmed by the majority.
    pub(super) async fn find<T, F>(&self, look: impl Fn(Scope) -> F) -> Result<Option<(Scope, T)>, ApiError>
    where
        F: Future<Output = Result<Option<T>, ApiError>>,
    {
        if let Some(found) = look(self.scope.clone()).await? {
            return Ok(Some((self.scope.clone(), found)));
        }
        let confirmed = self.scope.confirmed().await?;
        let found = look(confirmed.clone()).await?;
        Ok(found.map(|found| (confirmed, found)))
    }
}

/// The action that a token must grant for a verb.
fn actions(verb: Verb) -> Actions {
    match verb {
        Verb::PushImage => Actions {
            pull: false,
            ..Actions::PUSH
        },
        Verb::DeleteImage => Actions::DELETE,
        _ => Actions::PULL,
    }
}

/// What a request without enough rights is told: where to get a token, and which.
///
/// Every value is quoted, and all scopes are in one, because clients read no more than that.
pub(super) fn challenge(parts: &Parts, base_url: &BaseUrl, is_insufficient: bool) -> HeaderValue {
    let scopes = needed(parts);
    let mut text = format!("Bearer realm=\"{base_url}/jwt/auth\",service=\"{SERVICE}\"");
    if !scopes.is_empty() {
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
    }
    if is_insufficient {
        text.push_str(",error=\"insufficient_scope\"");
    }
    // Hosts and names are of a few plain characters; a text that is no header challenges all the same.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// The scopes that a request needs.
fn needed(parts: &Parts) -> Vec<TokenScope> {
    let (name, resource) = match Endpoint::parse(parts.uri.path()) {
        Ok(Endpoint::Repository(name, resource)) => (name, resource),
        Ok(Endpoint::Catalog) => {
            return vec![TokenScope {
                resource: scope::Resource::Catalog,
                actions: Actions::ALL,
            }];
        }
        Ok(Endpoint::Base) | Err(_) => return Vec::new(),
    };
    let is_content = matches!(resource, Resource::Manifest(_) | Resource::Blob(_));
    let actions = match parts.method {
        Method::GET | Method::HEAD if !matches!(resource, Resource::Upload(_)) => Actions::PULL,
        Method::DELETE if is_content => Actions::DELETE,
        _ => Actions::PUSH,
    };
    let mut scopes = vec![TokenScope::repository(&name, actions)];
    if resource == Resource::Uploads
        && let Some(source) = mount_source(&Query::parse(parts.uri.query()))
        && source != name
    {
        scopes.push(TokenScope::repository(&source, Actions::PULL));
    }
    scopes
}

/// The repository that a blob is to be mounted from.
pub(super) fn mount_source(query: &Query) -> Option<names::RepositoryName> {
    query.get("mount").and(query.get("from"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_challenge_names_what_the_request_needs() {
        let check = |method: Method, target: &str, expected: &str| {
            let request = Request::builder().method(method).uri(target).body(()).unwrap();
            let (parts, ()) = request.into_parts();
            let challenge = challenge(&parts, &BaseUrl::default(), false);
            let begin = "Bearer realm=\"http://localhost/jwt/auth\",service=\"container_registry\"";
            assert_eq!(
                challenge.to_str().unwrap(),
                format!("{begin}{expected}"),
                "{target}"
            );
        };
        let hex = "0".repeat(64);
        check(Method::GET, "/v2/", "");
        check(Method::GET, "/v2/_catalog", ",scope=\"registry:catalog:*\"");
        check(
            Method::GET,
            "/v2/a/b/manifests/x",
            ",scope=\"repository:a/b:pull\"",
        );
        check(
            Method::HEAD,
            &format!("/v2/a/b/blobs/sha256:{hex}"),
            ",scope=\"repository:a/b:pull\"",
        );
        check(Method::GET, "/v2/a/b/tags/list", ",scope=\"repository:a/b:pull\"");
        check(
            Method::PUT,
            "/v2/a/b/manifests/x",
            ",scope=\"repository:a/b:pull,push\"",
        );
        check(
            Method::POST,
            "/v2/a/b/blobs/uploads/",
            ",scope=\"repository:a/b:pull,push\"",
        );
        check(
            Method::GET,
            "/v2/a/b/blobs/uploads/x",
            ",scope=\"repository:a/b:pull,push\"",
        );
        check(
            Method::DELETE,
            "/v2/a/b/blobs/uploads/x",
            ",scope=\"repository:a/b:pull,push\"",
        );
        check(
            Method::DELETE,
            "/v2/a/b/manifests/x",
            ",scope=\"repository:a/b:delete\"",
        );
        check(
            Method::POST,
            &format!("/v2/a/b/blobs/uploads/?mount=sha256:{hex}&from=c%2Fd"),
            ",scope=\"repository:a/b:pull,push repository:c/d:pull\"",
        );
        check(Method::GET, "/v2/a/\"x\"/tags/list", "");
    }
}
