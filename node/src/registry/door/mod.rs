//! The only door: how a request comes to a group, a project, or the whole instance.
//!
//! A handler has [`Authorised<Project, Publish>`](Authorised) in its signature; the extractor
//! takes one snapshot, reads the credentials, finds the project and decides, in the order that
//! makes neither strangers nor anonymous callers learn what exists:
//!
//! 1. credentials that do not hold: 401, even on public data;
//! 2. packages switched off in the project: 403;
//! 3. allowed: go on;
//! 4. the caller may see the project, but not do this: 403 (401 if it could still sign in);
//! 5. an anonymous caller on the path of a package format: 401, whether the thing exists or not;
//! 6. otherwise 404.
//!
//! A transaction made through [`Scope`] decides again inside of itself, so that what was
//! withdrawn during a long upload is withdrawn from the upload too.

mod decide;
mod extract;
mod format_session;
mod identify;
mod image;
mod link;
pub(crate) mod trace;

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use cairn_cluster::{Scan, Snapshot, Timestamp, Txn};

use crate::app::App;
use crate::auth::action::{Action, Decision, Freshness, Verb};
use crate::auth::caller::{Caller, Identity};
use crate::auth::credentials::{self, BadCredentials, Presented};
use crate::auth::derived::{Grants, MAX_LIFETIME};
use crate::auth::session::{COOKIE_NAME, Sent, SessionId, forget_cookie, is_from_own_pages};
use crate::http::error::ApiError;
use crate::http::host::{BaseUrl, ClientAddress};
use crate::http::rates::Principal;
use crate::registry::audit::{Located, Trail, Whereabouts};
use crate::registry::group::{self, Group};
use crate::registry::keys;
use crate::registry::names::{FullPath, Reference, Username};
use crate::registry::project::{self, Project};
use crate::registry::scope::Scope;
use crate::registry::sign_in::session;
use crate::registry::user::{self, User};

pub(crate) use decide::Resource;
pub(in crate::registry) use decide::{decide_again, transact};
use identify::{bad_credentials, identify};
use trace::Trace;

/// Which kind of route a request came by.
#[derive(Clone, Copy)]
pub(crate) enum Surface {
    /// The REST API.
    Management,
    /// The routes of the package format of this name: its clients wait for a 401 to send their
    /// credentials.
    Packages(&'static str),
}

/// One request at the door: who it is, and the one snapshot that it is decided and answered on.
#[derive(Clone)]
pub struct Access {
    app: App,
    snapshot: Snapshot,
    /// Whether the snapshot was the latest when it was taken.
    is_latest: bool,
    caller: Caller,
    surface: Surface,
    base_url: BaseUrl,
    address: Option<IpAddr>,
    trail: Option<Trail>,
    /// Whether nobody asked for it.
    is_unasked: bool,
}

/// The whole instance, as something that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Instance;

impl Located for Instance {
    fn whereabouts(&self) -> Option<Whereabouts> {
        None
    }
}

/// Proof that the caller may do `A` to this group, project, or instance.
pub struct Authorised<T, A> {
    what: Arc<T>,
    access: Access,
    action: PhantomData<fn() -> A>,
}

impl<T, A> Clone for Authorised<T, A> {
    fn clone(&self) -> Self {
        Self {
            what: self.what.clone(),
            access: self.access.clone(),
            action: PhantomData,
        }
    }
}

impl Access {
    /// Takes a snapshot and reads the credentials of a request.
    pub async fn of(app: &App, parts: &Parts, freshness: Freshness) -> Result<Self, ApiError> {
        let presented = credentials::presented(&parts.headers, parts.uri.query(), app.http().query_tokens);
        Self::presenting(app, parts, freshness, presented).await
    }

    /// The same with credentials that were read already.
    async fn presenting(
        app: &App,
        parts: &Parts,
        freshness: Freshness,
        presented: Result<Option<Presented>, BadCredentials>,
    ) -> Result<Self, ApiError> {
        let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
        let surface = parts
            .extensions
            .get::<Surface>()
            .copied()
            .unwrap_or(Surface::Management);
        let session = match (&presented, surface) {
            (Ok(None), Surface::Management) => SessionId::sent(&parts.headers),
            // A token was meant; a cookie comes along unasked, and is nothing to package clients.
            _ => Sent::Nothing,
        };
        let by_cookie = !matches!(session, Sent::Nothing);
        if by_cookie && !parts.method.is_safe() && !is_from_own_pages(parts) {
            return Err(ApiError::forbidden(
                "403 Forbidden: the request does not say that it comes from our own pages",
            ));
        }
        // Whoever is refused for asking too often costs the cluster as little as possible.
        app.rates().check(&parts.extensions)?;
        if matches!(presented, Ok(None)) && !by_cookie {
            app.rates().count(&parts.extensions, &Principal::Anonymous)?;
        }
        let (snapshot, is_latest) = Trace::view(app, parts, freshness).await?;
        let identified = match presented {
            Ok(None) => match &session {
                Sent::Nothing => Ok(Some(Caller::anonymous())),
                Sent::Id(id) => session::identify(app, &mut snapshot.clone(), id).await,
                Sent::Unfit => Ok(None),
            },
            Ok(Some(presented)) => identify(app, &mut snapshot.clone(), parts, &presented).await,
            Err(BadCredentials::InQuery) => {
                return Err(ApiError::bad_request(BadCredentials::InQuery.to_string()));
            }
            Err(_) => Ok(None),
        };
        let identified = identified?;
        Trail::came(parts, identified.as_ref(), address);
        let Some(caller) = identified else {
            let refused = match by_cookie {
                // Nobody guesses an id; a browser sends one that has ended until it is told to forget it.
                true => ApiError::unauthorized().with_header(SET_COOKIE, forget_cookie(COOKIE_NAME)),
                false => bad_credentials(app, address),
            };
            app.rates().count(&parts.extensions, &Principal::Anonymous)?;
            return Err(refused);
        };
        let principal = Principal::of(&caller);
        app.rates().count(&parts.extensions, &principal)?;
        Trace::counts_for(parts, principal);
        let caller = match surface {
            Surface::Packages(format) => caller.at(format),
            Surface::Management => caller,
        };
        let base_url = parts.extensions.get::<BaseUrl>().cloned().unwrap_or_default();
        Ok(Self {
            app: app.clone(),
            snapshot,
            is_latest,
            caller,
            surface,
            base_url,
            address,
            trail: parts.extensions.get().cloned(),
            is_unasked: false,
        })
    }

    /// Cairn itself, in front of what it looks after unasked. It has no rights but what the code
    /// around it does without asking the door, which no handler can name.
    pub(in crate::registry) fn of_nobody(app: &App, snapshot: Snapshot) -> Self {
        Self {
            app: app.clone(),
            snapshot,
            is_latest: true,
            caller: Caller::anonymous(),
            surface: Surface::Management,
            base_url: BaseUrl::default(),
            address: None,
            trail: None,
            is_unasked: true,
        }
    }

    /// Who it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The one view of this request.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The URL of the host root, as the client knows it.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    /// Where the request came from, if it came through the network.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it is Cairn itself.
    pub(in crate::registry) fn is_unasked(&self) -> bool {
        self.is_unasked
    }

    /// What the audit log is told of the request.
    pub(in crate::registry) fn trail(&self) -> Option<&Trail> {
        self.trail.as_ref()
    }

    /// The same request, answered on a view that is the latest.
    pub(in crate::registry) fn on(&self, snapshot: Snapshot) -> Self {
        Self {
            snapshot: snapshot.traced_like(&self.snapshot),
            is_latest: true,
            ..self.clone()
        }
    }

    /// Runs `work` in a transaction of this request, as [`cairn_cluster::Kv::transact`] does.
    pub(in crate::registry) async fn transact<T, F>(&self, work: impl Fn(Txn) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<(Txn, T), ApiError>>,
    {
        let kv = self.app.store().kv();
        match self.is_latest {
            true => kv.transact_after(&self.snapshot, work).await,
            false => kv.transact(work).await,
        }
    }

    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Comes to a project that the URL names, to do `A`.
    pub async fn project<A: Action>(
        &self,
        reference: &Reference,
    ) -> Result<Authorised<Project, A>, ApiError> {
        self.check_surface()?;
        match project::find(&mut self.snapshot.clone(), reference).await? {
            Some(project) => self.decided(project).await,
            None => Err(self.unknown::<Project>()),
        }
    }

    /// Comes to a group that the URL names, to do `A`.
    pub async fn group<A: Action>(&self, reference: &Reference) -> Result<Authorised<Group, A>, ApiError> {
        self.check_surface()?;
        match group::find(&mut self.snapshot.clone(), reference).await? {
            Some(group) => self.decided(group).await,
            None => Err(self.unknown::<Group>()),
        }
    }

    /// Comes to the instance: everybody may ask it for packages, and what they find is decided
    /// one by one; users see it; administrators own it.
    pub async fn instance<A: Action>(&self) -> Result<Authorised<Instance, A>, ApiError> {
        self.check_surface()?;
        self.decided(Instance).await
    }

    /// Makes sure that the caller is a user.
    pub fn signed_in(&self) -> Result<&User, ApiError> {
        self.check_surface()?;
        self.caller.user().ok_or_else(ApiError::unauthorized)
    }

    /// The user of this name, for those who are users themselves.
    pub async fn user_named(&self, name: &Username) -> Result<Option<User>, ApiError> {
        self.signed_in()?;
        Ok(user::by_name(&mut self.snapshot.clone(), name).await?)
    }

    /// A short-lived token for this caller, held to `grants`: see [`crate::auth::derived`].
    pub async fn derive_token(
        &self,
        audience: &str,
        grants: Grants,
        lifetime: Duration,
    ) -> Result<String, ApiError> {
        self.sign(audience, grants, lifetime.min(MAX_LIFETIME)).await
    }

    async fn sign(&self, audience: &str, grants: Grants, lifetime: Duration) -> Result<String, ApiError> {
        let store = self.app.store();
        let signer = &store.secrets().await?.signer;
        let nonce = store.seams().random();
        Ok(signer.sign(&self.caller, audience, grants, store.now(), lifetime, nonce))
    }

    /// What is said of something that is not there, or must seem so: 401 to anonymous clients of
    /// packages, 404 to all others.
    pub fn missing(&self, message: &str) -> ApiError {
        match self.surface {
            Surface::Packages(_) if self.caller.is_anonymous() => ApiError::unauthorized(),
            _ => ApiError::not_found(message),
        }
    }

    /// Whether the caller may do `A` to something that is there.
    pub(crate) async fn may<A: Action, T: Resource>(&self, what: &T) -> Result<bool, ApiError> {
        let reader = &mut self.snapshot.clone();
        let decision = what.decide(reader, &self.caller, A::VERB, self.now()).await?;
        Ok(decision == Decision::Allowed)
    }

    /// The number of the root group of this path.
    pub(in crate::registry) async fn root_group(&self, path: &str) -> Result<Option<u64>, ApiError> {
        let Ok(path) = path.parse::<FullPath>() else {
            return Ok(None);
        };
        let found = group::find(&mut self.snapshot.clone(), &Reference::Path(path)).await?;
        Ok(found
            .filter(|group| group.ancestors.is_empty())
            .map(|group| group.id))
    }

    /// The numbers of all root groups.
    pub(in crate::registry) async fn root_groups(&self) -> Result<Vec<u64>, ApiError> {
        let entries = self.snapshot.scan(Scan::of(&keys::root_groups())).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| keys::number(&entry.item))
            .collect())
    }

    /// The same caller in front of what it may pull: this project, if it may.
    pub(crate) async fn readable<A: Action>(
        &self,
        project: Project,
    ) -> Result<Option<Authorised<Project, A>>, ApiError> {
        let allowed = self.may::<A, _>(&project).await?;
        Ok(allowed.then(|| self.authorised(project)))
    }

    fn authorised<T, A>(&self, what: T) -> Authorised<T, A> {
        Authorised {
            what: Arc::new(what),
            access: self.clone(),
            action: PhantomData,
        }
    }

    /// Deploy tokens, jobs, and tokens that a protocol derived are for package clients alone.
    pub(in crate::registry) fn check_surface(&self) -> Result<(), ApiError> {
        let derived = self.caller.grants().is_some();
        let for_packages_only =
            derived || matches!(self.caller.identity(), Identity::Deploy { .. } | Identity::Job(_));
        match self.surface {
            Surface::Management if for_packages_only => Err(ApiError::unauthorized()),
            // Images are come to by `image`, which looks at what the token grants.
            Surface::Packages(format) if derived && !self.has_session_of(format) => {
                Err(ApiError::unauthorized())
            }
            _ => Ok(()),
        }
    }

    /// Decides whether the caller may do `A` to something that is there.
    async fn decided<T: Resource, A: Action>(&self, what: T) -> Result<Authorised<T, A>, ApiError> {
        let reader = &mut self.snapshot.clone();
        match what.decide(reader, &self.caller, A::VERB, self.now()).await? {
            Decision::Allowed => Ok(self.authorised(what)),
            refused => Err(self.refuse::<T>(A::VERB, refused)),
        }
    }

    /// Wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.app.store().now()
    }

    /// What is said of something that is not there.
    fn unknown<T: Resource>(&self) -> ApiError {
        self.missing(T::NOT_FOUND)
    }

    fn refuse<T: Resource>(&self, verb: Verb, decision: Decision) -> ApiError {
        let anonymous = self.caller.is_anonymous();
        match (self.surface, decision) {
            (Surface::Packages(_), _) if anonymous => ApiError::unauthorized(),
            (Surface::Management, Decision::Forbidden) if anonymous => ApiError::unauthorized(),
            (_, Decision::Hidden) => {
                self.trail.iter().for_each(Trail::hid);
                ApiError::not_found(T::NOT_FOUND)
            }
            _ => ApiError::forbidden(match verb {
                Verb::Publish | Verb::PushImage => "403 Forbidden: this token may not publish here",
                _ => "403 Forbidden",
            }),
        }
    }
}

impl<T, A: Action> Authorised<T, A> {
    /// Who it is.
    pub fn caller(&self) -> &Caller {
        &self.access.caller
    }

    /// The one view of this request.
    pub fn snapshot(&self) -> &Snapshot {
        &self.access.snapshot
    }

    /// The URL of the host root, as the client knows it.
    pub fn base_url(&self) -> &BaseUrl {
        &self.access.base_url
    }

    pub(in crate::registry) fn now(&self) -> Timestamp {
        self.access.now()
    }

    /// What the caller came to.
    pub(in crate::registry) fn what(&self) -> &T {
        &self.what
    }

    /// The request at the door.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

impl<A: Action> Authorised<Project, A> {
    /// The project.
    pub fn project(&self) -> &Project {
        &self.what
    }

    /// What `format` keeps in the project.
    pub fn scope(&self, format: &'static str) -> Scope {
        Scope::new(self.access.clone(), self.what.clone(), format, A::VERB)
    }

    /// Whether the caller may do `B` here too.
    pub async fn may<B: Action>(&self) -> Result<bool, ApiError> {
        self.access.may::<B, _>(&*self.what).await
    }

    /// The same project for another action, if the caller may do that as well.
    pub async fn also<B: Action>(&self) -> Result<Authorised<Project, B>, ApiError> {
        self.access.decided(Project::clone(&self.what)).await
    }
}

impl<A: Action> Authorised<Group, A> {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.what
    }
}
