//! Passwords as they are stored, apart from the users whose they are, so that nothing that shows a
//! user can show one.

use std::net::IpAddr;
use std::time::Duration;

use cairn_cluster::record::Record;
use cairn_cluster::{Snapshot, Timestamp, Txn};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::{directory, session, too_many};
use crate::app::App;
use crate::auth::action::{ManageSelf, Own};
use crate::auth::caller::{Basis, Caller, Identity, PasswordUse};
use crate::auth::password::{Checked, Password, PasswordHash};
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::session::SessionId;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys;
use crate::registry::names::Username;
use crate::registry::reader::Reader;
use crate::registry::user::{self, User, UserState};

/// How long a password that was right for a package client is not hashed again.
const REMEMBERED: Duration = Duration::from_secs(60);

/// So many are remembered.
const MAX_REMEMBERED: u64 = 10_000;

/// The password of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct StoredPassword {
    /// What it must hash to.
    pub(in crate::registry) hash: PasswordHash,
    /// When it was set.
    pub(in crate::registry) set_at: Timestamp,
}

impl Record for StoredPassword {}

/// Passwords that were right lately, by keyed hashes of them: a package client sends its own with
/// every request.
pub(crate) struct RightPasswords(Cache<[u8; 32], PasswordUse>);

impl Default for RightPasswords {
    fn default() -> Self {
        let kept = Cache::builder().max_capacity(MAX_REMEMBERED);
        Self(kept.time_to_live(REMEMBERED).build())
    }
}

/// Who has a name, and what is stored of the password.
pub(super) type Found = (Option<User>, Option<StoredPassword>);

/// Finds the user that somebody says to be.
pub(super) async fn find<R: Reader>(reader: &mut R, name: &str) -> Result<Found, ApiError> {
    let user = match name.parse::<Username>() {
        Ok(name) => user::by_name(reader, &name).await?,
        Err(_) => None,
    };
    let stored = match &user {
        Some(user) => reader.read(&keys::password(user.id)).await?,
        None => None,
    };
    Ok((user, stored))
}

/// Whether a password is that of a user who may sign in, and whether it should be hashed anew.
pub(super) async fn check(
    app: &App,
    (user, stored): Found,
    password: &Password,
) -> Result<Option<(User, StoredPassword, bool)>, ApiError> {
    if !app.http().auth.passwords {
        return Ok(None);
    }
    let hash = stored.as_ref().map(|stored| stored.hash.clone());
    let checked = app.passwords().check(password, hash).await?;
    let user = user.filter(|user| user.state == UserState::Active && !user.bot);
    Ok(match (user, stored, checked) {
        (Some(user), Some(stored), Checked::Right { is_outgrown }) => Some((user, stored, is_outgrown)),
        _ => None,
    })
}

/// Hashes a password, to be stored.
pub(super) async fn hash(app: &App, password: &Password) -> Result<PasswordHash, ApiError> {
    Ok(app
        .passwords()
        .hash(password, app.store().seams().random())
        .await?)
}

/// Finds whom a package client stands for that sends a password; none if it is not right.
pub(in crate::registry) async fn for_packages(
    app: &App,
    snapshot: &mut Snapshot,
    address: Option<IpAddr>,
    name: &str,
    password: &str,
) -> Result<Option<Caller>, ApiError> {
    let Ok(password) = Password::try_from(password.to_owned()) else {
        return Ok(None);
    };
    let remembered = remembered_as(&app.store().secrets().await?.password_key, name, &password);
    if let Some(shown) = app.right_passwords().0.get(&remembered) {
        return caller_of(snapshot, &shown).await;
    }
    let attempt = app.throttle().try_password(address, name).map_err(too_many)?;
    let found = find(snapshot, name).await?;
    let shown = match check(app, found, &password).await? {
        Some((user, stored, _)) => Some(PasswordUse {
            user: user.id,
            set_at: Some(stored.set_at),
        }),
        None => directory::for_packages(app, snapshot, name, &password).await?,
    };
    let Some(shown) = shown else {
        return Ok(None);
    };
    attempt.succeeded();
    app.right_passwords().0.insert(remembered, shown);
    caller_of(snapshot, &shown).await
}

fn remembered_as(key: &[u8; 32], name: &str, password: &Password) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    let name = name.to_ascii_lowercase();
    hasher.update(&(name.len() as u64).to_be_bytes());
    hasher.update(name.as_bytes());
    hasher.update(password.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

/// Whom a password stands for that was shown; none if it is another one by now.
pub(in crate::registry) async fn caller_of<R: Reader>(
    reader: &mut R,
    shown: &PasswordUse,
) -> Result<Option<Caller>, ApiError> {
    let holds = match shown.set_at {
        Some(set_at) => {
            let stored: Option<StoredPassword> = reader.read(&keys::password(shown.user)).await?;
            stored.is_some_and(|stored| stored.set_at == set_at)
        }
        None => directory::is_linked(reader, shown.user).await?,
    };
    if !holds {
        return Ok(None);
    }
    let user = user::by_id(reader, shown.user).await?;
    let user = user.filter(|user| user.state == UserState::Active);
    Ok(user.map(|user| {
        let scopes = Scopes::of(&[TokenScope::Api]);
        Caller::new(Identity::User(user), scopes, Basis::Password(*shown))
    }))
}

/// Sets a password as part of a transaction, and ends all sessions of the user; gives how many.
pub(in crate::registry) async fn set(
    txn: &mut Txn,
    user: u64,
    hash: PasswordHash,
    now: Timestamp,
) -> Result<usize, ApiError> {
    // What was shown before does not hold after, even within the same millisecond.
    let before: Option<StoredPassword> = txn.record(&keys::password(user)).await?;
    let least = before.map_or(0, |before| before.set_at.0 + 1);
    let set_at = Timestamp(now.0.max(least));
    txn.put_record(&keys::password(user), &StoredPassword { hash, set_at });
    Ok(session::end_all(txn, user).await?)
}

impl Authorised<Instance, Own> {
    /// Hashes a password that is chosen for a user.
    pub(crate) async fn hash_password(
        &self,
        username: &Username,
        password: &Password,
    ) -> Result<PasswordHash, ApiError> {
        check_choice(username, password)?;
        hash(self.access().app(), password).await
    }
}

fn check_choice(username: &Username, password: &Password) -> Result<(), ApiError> {
    let unfit =
        |bad: crate::auth::password::BadPassword| ApiError::invalid_field("password", &bad.to_string());
    password.check_choice(username).map_err(unfit)
}

impl Authorised<Instance, ManageSelf> {
    /// Changes the caller's own password. All sessions end; if the request came with one, there is a
    /// new one in its place.
    pub(crate) async fn change_own_password(
        &self,
        old: &Password,
        new: &Password,
    ) -> Result<Option<SessionId>, ApiError> {
        let app = self.access().app();
        let user = self.access().signed_in()?.clone();
        let name = user.username.as_str();
        check_choice(&user.username, new)?;
        let address = self.access().address();
        let attempt = app.throttle().try_password(address, name).map_err(too_many)?;
        let found = find(&mut self.snapshot().clone(), name).await?;
        if found.1.is_none() {
            return Err(ApiError::forbidden(
                "403 Forbidden: you have no password; an administrator sets the first one",
            ));
        }
        let Some((_, shown, _)) = check(app, found, old).await? else {
            return Err(match app.throttle().failed(address) {
                None => ApiError::forbidden("403 Forbidden: the old password is wrong"),
                Some(wait) => too_many(wait),
            });
        };
        attempt.succeeded();
        let hash = hash(app, new).await?;
        let key = &app.store().secrets().await?.session_key;
        let lifetime = app.http().auth.session_lifetime;
        transact(self, async |mut txn: Txn, _| {
            let now: Option<StoredPassword> = txn.record(&keys::password(user.id)).await?;
            if now.as_ref() != Some(&shown) {
                return Err(ApiError::new(
                    ErrorKind::Conflict,
                    "the password was changed meanwhile",
                ));
            }
            let ended = set(&mut txn, user.id, hash.clone(), self.now()).await?;
            let act = Act::new("password.changed")
                .to(name)
                .with("sessions ended", ended);
            tell(&mut txn, self.access(), &Instance, act);
            let id = self.renew_session(&mut txn, key, lifetime).await?;
            Ok((txn, id))
        })
        .await
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::StoredPassword>("password");
    }
}
