//! Users: people, and the bots behind access tokens of projects and groups.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Own, See};
use crate::auth::caller::Basis;
use crate::auth::password::PasswordHash;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::names::Username;
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sign_in::{self, Identity, directory, session};
use crate::registry::{keys, sequence, token};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub id: u64,
    /// The name it signs in with.
    pub username: Username,
    /// The name to show.
    pub name: String,
    /// Its mail address; may be empty.
    pub email: String,
    /// Whether it administers the instance.
    pub admin: bool,
    /// Whether it stands for an access token of a project or group.
    pub bot: bool,
    /// Whether its tokens hold.
    pub state: UserState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whether a user may do anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    /// Its tokens hold.
    Active,
    /// None of its tokens holds.
    Blocked,
    /// None of its tokens holds, until the directory knows it again.
    Vanished,
}

impl Record for User {}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name it signs in with.
    pub username: Username,
    /// The name to show.
    pub name: String,
    /// Its mail address; may be empty.
    pub email: String,
    /// Whether it administers the instance.
    pub admin: bool,
    /// Whether it stands for an access token.
    pub bot: bool,
}

/// What is to be different about a user.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The name to show.
    pub name: Option<String>,
    /// Its mail address.
    pub email: Option<String>,
    /// Whether it administers the instance.
    pub admin: Option<bool>,
    /// An account somewhere else to link it with.
    pub(crate) identity: Option<Identity>,
}

impl UserChange {
    fn apply(self, user: User) -> User {
        User {
            name: self.name.unwrap_or(user.name),
            email: self.email.unwrap_or(user.email),
            admin: self.admin.unwrap_or(user.admin),
            ..user
        }
    }
}

pub(in crate::registry) async fn by_id<R: Reader>(
    reader: &mut R,
    id: u64,
) -> Result<Option<User>, ReadError> {
    reader.read(&keys::users().key(id)).await
}

pub(in crate::registry) async fn by_name<R: Reader>(
    reader: &mut R,
    name: &Username,
) -> Result<Option<User>, ReadError> {
    match reader
        .read::<sequence::Number>(&keys::username(&name.folded()))
        .await?
    {
        Some(id) => by_id(reader, id.0).await,
        None => Ok(None),
    }
}

/// Makes a user; a conflict if the name is taken.
pub(in crate::registry) async fn create(
    txn: &mut Txn,
    new: NewUser,
    now: Timestamp,
) -> Result<User, ApiError> {
    let name_key = keys::username(&new.username.folded());
    if txn.get(&name_key).await?.is_some() {
        return Err(ApiError::conflict("Username has already been taken"));
    }
    let id = sequence::next(txn, "user").await?;
    let user = User {
        id,
        username: new.username,
        name: new.name,
        email: new.email,
        admin: new.admin,
        bot: new.bot,
        state: UserState::Active,
        created_at: now,
    };
    txn.put_record(&name_key, &sequence::Number(id));
    txn.put_record(&keys::users().key(id), &user);
    Ok(user)
}

/// Calls `row` with every user, in the order of their numbers, until it says that it has enough.
pub(crate) async fn each(
    of: &Authorised<Instance, Own>,
    mut row: impl FnMut(User) -> bool,
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let entries = next_entries(of.snapshot(), &keys::users(), &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            if !row(entry.record()?) {
                return Ok(());
            }
        }
    }
}

impl Authorised<Instance, Own> {
    /// Makes a user.
    pub(crate) async fn create_user(
        &self,
        new: NewUser,
        password: Option<PasswordHash>,
        identity: Option<Identity>,
    ) -> Result<User, ApiError> {
        transact(self, async |mut txn: Txn, _| {
            let user = create(&mut txn, new.clone(), self.now()).await?;
            let mut act = Act::new("user.created")
                .to(user.username.as_str())
                .with("admin", user.admin)
                .with("password", if password.is_some() { "set" } else { "none" });
            if let Some(identity) = &identity {
                sign_in::link(&mut txn, user.id, identity).await?;
                act = act.with("linked with", identity);
            }
            if let Some(hash) = &password {
                sign_in::set_password(&mut txn, user.id, hash.clone(), self.now()).await?;
            }
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, user))
        })
        .await
    }

    /// The name of the user of this number.
    pub(crate) async fn username_of(&self, id: u64) -> Result<Username, ApiError> {
        let user = by_id(&mut self.snapshot().clone(), id).await?;
        Ok(user.ok_or_else(unknown)?.username)
    }

    /// Changes a user.
    pub(crate) async fn change_user(
        &self,
        id: u64,
        change: UserChange,
        password: Option<PasswordHash>,
    ) -> Result<User, ApiError> {
        let own = self.caller().user().is_some_and(|own| own.id == id);
        if own && change.admin == Some(false) {
            return Err(ApiError::forbidden(
                "403 Forbidden: nobody takes it from themselves to administer",
            ));
        }
        if own && password.is_some() && matches!(self.caller().basis(), Basis::Session(_)) {
            return Err(ApiError::forbidden(
                "403 Forbidden: one's own password is changed by PUT /api/cairn/v1/user/password",
            ));
        }
        transact(self, async |mut txn: Txn, _| {
            let before = by_id(&mut txn, id).await?.ok_or_else(unknown)?;
            if before.bot {
                return Err(ApiError::forbidden(
                    "403 Forbidden: the bot of an access token stays as it is",
                ));
            }
            let user = change.clone().apply(before.clone());
            let mut act = Act::new("user.changed")
                .to(user.username.as_str())
                .changing("name", &before.name, &user.name)
                .changing("email", &before.email, &user.email)
                .changing("admin", &before.admin, &user.admin);
            if let Some(identity) = &change.identity {
                sign_in::link(&mut txn, id, identity).await?;
                act = act.with("linked with", identity);
            }
            if let Some(hash) = &password {
                let ended = sign_in::set_password(&mut txn, id, hash.clone(), self.now()).await?;
                act = act.with("password", "set").with("sessions ended", ended);
            }
            tell(&mut txn, self.access(), &Instance, act);
            txn.put_record(&keys::users().key(id), &user);
            Ok((txn, user))
        })
        .await
    }

    /// Lets a user's tokens hold, or not.
    pub(crate) async fn set_blocked(&self, id: u64, is_blocked: bool) -> Result<(), ApiError> {
        if self.caller().user().is_some_and(|own| own.id == id) {
            return Err(ApiError::forbidden("403 Forbidden: nobody blocks themselves"));
        }
        transact(self, async |mut txn: Txn, _| {
            let mut user = by_id(&mut txn, id).await?.ok_or_else(unknown)?;
            if user.state == UserState::Vanished && !is_blocked && directory::is_linked(&mut txn, id).await? {
                return Err(ApiError::forbidden(
                    "403 Forbidden: the directory does not know this user; unlink it first, by DELETE \
                     /users/:id/identities/ldap",
                ));
            }
            let (name, state) = match is_blocked {
                true => ("user.blocked", UserState::Blocked),
                false => ("user.unblocked", UserState::Active),
            };
            let mut act = Act::new(name).to(user.username.as_str());
            if is_blocked {
                // They stay ended when the user is let in again.
                act = act.with("sessions ended", session::end_all(&mut txn, id).await?);
            }
            tell(&mut txn, self.access(), &Instance, act);
            user.state = state;
            txn.put_record(&keys::users().key(id), &user);
            Ok((txn, ()))
        })
        .await
    }
}

impl Authorised<Instance, See> {
    /// The user of this name, for whoever has signed in.
    pub(crate) async fn user_named(&self, name: &Username) -> Result<Option<User>, ApiError> {
        Ok(by_name(&mut self.snapshot().clone(), name).await?)
    }

    /// The user of this number, for whoever has signed in.
    pub(crate) async fn user_shown(&self, id: u64) -> Result<User, ApiError> {
        by_id(&mut self.snapshot().clone(), id).await?.ok_or_else(unknown)
    }
}

/// Removes the user behind an access token, with its tokens.
pub(in crate::registry) async fn drop_bot(txn: &mut Txn, id: u64) -> Result<(), ApiError> {
    let Some(user) = by_id(txn, id).await?.filter(|user| user.bot) else {
        return Ok(());
    };
    let tokens = keys::user_tokens(id);
    for entry in txn.scan(Scan::of(&tokens)).await? {
        token::forget(txn, &entry.record()?);
        txn.delete(&tokens.key(&entry.item));
        txn.delete(&keys::token_numbers().key(&entry.item));
    }
    txn.delete(&keys::username(&user.username.folded()));
    txn.delete(&keys::users().key(id));
    Ok(())
}

fn unknown() -> ApiError {
    ApiError::not_found("404 User Not Found")
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::User>("user");
    }
}
