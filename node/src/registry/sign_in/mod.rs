//! Signing in: from what somebody shows to the session of a browser.
//!
//! Whoever shows something wrong is told the same as somebody who does not exist, after the same
//! work. A session begins in a transaction that depends on what let it begin, so it is not there if
//! that was withdrawn meanwhile.

#[cfg(all(test, feature = "real-clients"))]
mod client;
pub(crate) mod directory;
mod identity;
mod password;
mod provider;
pub(in crate::registry) mod session;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use cairn_cluster::{Timestamp, Txn};
use tracing::info;

use crate::app::App;
use crate::auth::password::{Busy, Password, PasswordHash};
use crate::auth::session::{Sent, SessionId, is_from_elsewhere};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::{BaseUrl, ClientAddress};
use crate::http::rates::Principal;
use crate::registry::audit::{Act, Author, Newcomer, Trail, tell_of_newcomer};
use crate::registry::door::Instance;
use crate::registry::keys;
use crate::registry::names::Username;
use crate::registry::user::{self, User, UserState};

pub(in crate::registry) use identity::link;
pub(crate) use identity::{Identity, Terms};
pub(crate) use password::RightPasswords;
pub(in crate::registry) use password::{StoredPassword, caller_of, for_packages, set as set_password};
pub(crate) use provider::Returned;
pub(crate) use session::{Means, OwnSession, Session};

use identity::Person;

/// The longest name that somebody is asked for.
const MAX_NAME_BYTES: usize = 255;

/// Somebody who wants to sign in.
pub(crate) struct Visitor {
    app: App,
    address: Option<IpAddr>,
    trail: Option<Trail>,
    base_url: BaseUrl,
    /// The session that the browser has, whose place the new one takes.
    before: Option<SessionId>,
}

/// Somebody who has.
pub(crate) struct SignedIn {
    /// Who.
    pub(crate) user: User,
    /// Of how long.
    pub(crate) session: Session,
    /// What the browser is to keep.
    pub(crate) id: SessionId,
}

/// Who was let in, and on what.
enum Known {
    /// A user who showed a password.
    User {
        id: u64,
        /// The password, as it was stored then.
        password: StoredPassword,
        /// The same, hashed better.
        renewed: Option<PasswordHash>,
    },
    /// Somebody whom a provider or the directory knows.
    Person {
        person: Person,
        terms: Terms,
        means: Means,
        /// What must not be shown again, and until when somebody could.
        shown: Vec<([u8; 32], Timestamp)>,
    },
}

impl FromRequestParts<App> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        app.rates().check(&parts.extensions)?;
        app.rates().count(&parts.extensions, &Principal::Anonymous)?;
        // Another site would sign somebody in as somebody else.
        if !parts.method.is_safe() && is_from_elsewhere(parts) {
            return Err(ApiError::forbidden(
                "403 Forbidden: a page of another site asked for this",
            ));
        }
        Ok(Self {
            app: app.clone(),
            address: parts.extensions.get::<ClientAddress>().map(|address| address.0),
            trail: parts.extensions.get().cloned(),
            base_url: parts.extensions.get().cloned().unwrap_or_default(),
            before: match SessionId::sent(&parts.headers) {
                Sent::Id(id) => Some(id),
                Sent::Nothing | Sent::Unfit => None,
            },
        })
    }
}

impl Visitor {
    /// The URL of the host root, as the browser knows it.
    pub(crate) fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    /// Signs in by name and password.
    pub(crate) async fn by_password(&self, name: &str, password: &Password) -> Result<SignedIn, ApiError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(ApiError::invalid_field("username", "is too long"));
        }
        let throttle = self.app.throttle();
        let attempt = throttle.try_password(self.address, name);
        let attempt = attempt.map_err(|wait| self.refused(name, too_many(wait)))?;
        let snapshot = self.app.store().kv().latest().await?;
        let found = password::find(&mut snapshot.clone(), name).await?;
        let checked = password::check(&self.app, found, password).await?;
        let Some((user, stored, is_outgrown)) = checked else {
            if let Some((person, terms)) = directory::ask(&self.app, name, password).await? {
                attempt.succeeded();
                let known = Known::Person {
                    person,
                    terms: terms.clone(),
                    means: Means::Directory,
                    shown: Vec::new(),
                };
                return self.begin(known).await.map_err(|error| self.refused(name, error));
            }
            let wrong = match throttle.failed(self.address) {
                None => ApiError::new(
                    ErrorKind::Unauthorized,
                    "401 Unauthorized: the username or the password is wrong",
                ),
                Some(wait) => too_many(wait),
            };
            return Err(self.refused(name, wrong));
        };
        attempt.succeeded();
        let renewed = match is_outgrown {
            true => Some(password::hash(&self.app, password).await?),
            false => None,
        };
        self.begin(Known::User {
            id: user.id,
            password: stored,
            renewed,
        })
        .await
    }

    /// Begins a session.
    async fn begin(&self, known: Known) -> Result<SignedIn, ApiError> {
        let store = self.app.store();
        let key = &store.secrets().await?.session_key;
        let settings = &self.app.http().auth;
        let work = async |mut txn: Txn| {
            let (user, means) = self.admit(&mut txn, &known).await?;
            if user.state != UserState::Active {
                return Err(ApiError::forbidden("403 Forbidden: this user is blocked"));
            }
            if let Some(before) = &self.before {
                session::end(&mut txn, &before.name(key)).await?;
            }
            let now = store.now();
            let session = Session {
                user: user.id,
                by: means,
                from: self.address,
                begun_at: now,
                ends_at: now.plus(settings.session_lifetime),
            };
            let id = session::begin(&mut txn, store.seams(), key, &session).await?;
            let began = Act::new("session.began")
                .to(user.username.as_str())
                .with("by", session.by.name());
            self.tell(&mut txn, &user, began);
            Ok((txn, SignedIn { user, session, id }))
        };
        store.kv().transact(work).await
    }

    /// Makes sure, as part of the transaction, of what let somebody in.
    async fn admit(&self, txn: &mut Txn, known: &Known) -> Result<(User, Means), ApiError> {
        match known {
            Known::User {
                id,
                password,
                renewed,
            } => {
                let user = user::by_id(txn, *id).await?.ok_or_else(ApiError::unauthorized)?;
                let now: Option<StoredPassword> = txn.record(&keys::password(*id)).await?;
                if now.as_ref() != Some(password) {
                    return Err(ApiError::unauthorized());
                }
                if let Some(hash) = renewed {
                    let renewed = StoredPassword {
                        hash: hash.clone(),
                        ..password.clone()
                    };
                    txn.put_record(&keys::password(*id), &renewed);
                }
                Ok((user, Means::Password))
            }
            Known::Person {
                person,
                terms,
                means,
                shown,
            } => {
                provider::take(txn, shown).await?;
                let (user, act) = identity::admit(txn, person, terms, self.app.store().now()).await?;
                if let Some(act) = act {
                    self.tell(txn, &user, act);
                }
                Ok((user, means.clone()))
            }
        }
    }

    fn tell(&self, txn: &mut Txn, user: &User, act: Act) {
        let newcomer = Newcomer {
            at: self.app.store().now(),
            by: Author::User {
                id: user.id,
                name: user.username.as_str().into(),
                token: None,
            },
            from: self.address,
            trail: self.trail.as_ref(),
        };
        tell_of_newcomer(txn, &newcomer, &Instance, act);
    }

    /// Notes who was to be signed in, for the audit log. What is no name at all may be a password
    /// that was typed into the wrong field.
    fn refused(&self, name: &str, error: ApiError) -> ApiError {
        if !matches!(
            error.kind,
            ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::TooManyRequests
        ) {
            return error;
        }
        let name = match name.parse::<Username>() {
            Ok(name) => name.as_str().to_owned(),
            Err(_) => "somebody whose name cannot be one".into(),
        };
        info!(status = error.kind.status().as_u16(), "refused to sign in {name}");
        if let Some(trail) = &self.trail {
            trail.failed(self.address, format!("sign in as {name}"));
        }
        error
    }
}

/// What is said of too many tries.
pub(in crate::registry) fn too_many(wait: Duration) -> ApiError {
    ApiError::new(
        ErrorKind::TooManyRequests,
        "429 Too Many Requests: sign in failed too often",
    )
    .with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs()))
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        Self::new(
            ErrorKind::TooManyRequests,
            format!("429 Too Many Requests: {busy}"),
        )
        .with_header(RETRY_AFTER, HeaderValue::from(1))
    }
}
