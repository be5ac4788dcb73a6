//! From the credentials of a request to whom they stand for.

use std::net::IpAddr;

use axum::http::request::Parts;
use cairn_cluster::{Snapshot, Timestamp};

use crate::app::App;
use crate::auth::caller::{Basis, Caller, Identity, JOB_USERNAME};
use crate::auth::credentials::Presented;
use crate::auth::token::Token;
use crate::http::error::ApiError;
use crate::http::host::ClientAddress;
use crate::registry::audit::Trail;
use crate::registry::door::Surface;
use crate::registry::door::trace::Trace;
use crate::registry::keys;
use crate::registry::reader::Reader;
use crate::registry::sign_in;
use crate::registry::token::{self, Holder, TokenRecord};
use crate::registry::trust::{self, Job};
use crate::registry::user::{self, UserState};

/// Finds whom a credential stands for; none if it does not hold.
pub(super) async fn identify(
    app: &App,
    snapshot: &mut Snapshot,
    parts: &Parts,
    presented: &Presented,
) -> Result<Option<Caller>, ApiError> {
    let store = app.store();
    let now = store.now();
    let secrets = store.secrets().await?;
    if let Ok(token) = presented.secret.parse::<Token>() {
        let record = token::by_id(snapshot, token.id()).await?;
        // A token that is not known costs the same hash and comparison as one that is.
        let hash = token.hash(&secrets.token_hash);
        let stored = record.as_ref().map_or(&hash, |record| &record.hash);
        let matches = stored.matches(&hash);
        let Some(record) = record.filter(|record| matches && record.holds(now)) else {
            return Ok(None);
        };
        if !username_fits(&record, presented.username.as_deref()) {
            return Ok(None);
        }
        let used = keys::token_used(&record.id);
        store.token_used(&used);
        Trace::signed_in_by(parts, used);
        hold_until_expiry(snapshot, &record);
        return caller_of(snapshot, record).await;
    }
    let Ok(claims) = secrets.signer.verify(&presented.secret, now) else {
        return by_password(app, snapshot, parts, presented).await;
    };
    snapshot.holds_until(claims.expiry());
    let parent = parent_caller(snapshot, &claims.parent(), now).await?;
    Ok(parent.map(|caller| caller.held_to(claims.grants().clone())))
}

/// Package clients may send a password by Basic authentication, where that is switched on.
async fn by_password(
    app: &App,
    snapshot: &mut Snapshot,
    parts: &Parts,
    presented: &Presented,
) -> Result<Option<Caller>, ApiError> {
    let is_of_packages = matches!(parts.extensions.get(), Some(Surface::Packages(_)));
    match &presented.username {
        // One that was wrong is not hashed again.
        Some(name)
            if is_of_packages && app.http().auth.passwords_for_packages && !Trail::has_failed(parts) =>
        {
            let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
            sign_in::for_packages(app, snapshot, address, name, &presented.secret).await
        }
        _ => Ok(None),
    }
}

fn hold_until_expiry<R: Reader>(reader: &mut R, record: &TokenRecord) {
    if let Some(end) = record.expires_at {
        reader.holds_until(end);
    }
}

async fn parent_caller<R: Reader>(
    reader: &mut R,
    basis: &Basis,
    now: Timestamp,
) -> Result<Option<Caller>, ApiError> {
    let id = match basis {
        Basis::Token(id) => id,
        Basis::Password(shown) => return sign_in::caller_of(reader, shown).await,
        Basis::Session(name) => return sign_in::session::caller(reader, name, now).await,
        Basis::Nothing => return Ok(Some(Caller::anonymous())),
    };
    match token::by_id(reader, id).await? {
        Some(record) if record.holds(now) => {
            hold_until_expiry(reader, &record);
            caller_of(reader, record).await
        }
        _ => Ok(None),
    }
}

/// What clients of Python packages send where a server wants a token and no username.
const ANY_USERNAME: &str = "__token__";

/// Wherever a username is sent, a deploy token goes with its own, the token of a job with that of
/// jobs, and a personal one with any other.
fn username_fits(record: &TokenRecord, sent: Option<&str>) -> bool {
    match (&record.holder, sent) {
        (_, None | Some(ANY_USERNAME)) => true,
        (Holder::Deploy { username, .. }, Some(sent)) => username == sent,
        (Holder::Job { .. }, Some(sent)) => sent == JOB_USERNAME,
        (Holder::User { .. }, Some(sent)) => sent != JOB_USERNAME,
    }
}

async fn caller_of<R: Reader>(reader: &mut R, record: TokenRecord) -> Result<Option<Caller>, ApiError> {
    let identity = match record.holder {
        Holder::User { id } => match user::by_id(reader, id).await? {
            Some(user) if user.state == UserState::Active => Identity::User(user),
            _ => return Ok(None),
        },
        Holder::Deploy { username, place } => Identity::Deploy { username, place },
        Holder::Job {
            rules,
            within,
            origin,
        } => match trust::all_of(reader, &rules).await? {
            Some(rules) => Identity::Job(Job::new(rules, record.scopes, within, origin)),
            None => return Ok(None),
        },
    };
    Ok(Some(Caller::new(
        identity,
        record.scopes,
        Basis::Token(record.id),
    )))
}

/// The same caller as it is now; none if what it is known by does not hold any more.
pub(super) async fn again<R: Reader>(
    reader: &mut R,
    caller: &Caller,
    now: Timestamp,
) -> Result<Option<Caller>, ApiError> {
    let current = parent_caller(reader, caller.basis(), now).await?;
    Ok(current.map(|current| current.narrowed_like(caller)))
}

/// What credentials that do not hold are answered with.
pub(super) fn bad_credentials(app: &App, address: Option<IpAddr>) -> ApiError {
    match app.throttle().failed(address) {
        None => ApiError::unauthorized(),
        Some(wait) => sign_in::too_many(wait),
    }
}
