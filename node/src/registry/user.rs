//! Users: people, and the bots behind access tokens of projects and groups.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Own, See};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::names::Username;
use crate::registry::reader::{Reader, next_entries};
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
    pub(crate) async fn create_user(&self, new: NewUser) -> Result<User, ApiError> {
        transact(self, async |mut txn: Txn, _| {
            let user = create(&mut txn, new.clone(), self.now()).await?;
            let act = Act::new("user.created")
                .to(user.username.as_str())
                .with("admin", user.admin);
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, user))
        })
        .await
    }

    /// Lets a user's tokens hold, or not.
    pub(crate) async fn set_state(&self, id: u64, state: UserState) -> Result<(), ApiError> {
        if self.caller().user().is_some_and(|own| own.id == id) {
            return Err(ApiError::forbidden("403 Forbidden: nobody blocks themselves"));
        }
        transact(self, async |mut txn: Txn, _| {
            let mut user = by_id(&mut txn, id).await?.ok_or_else(unknown)?;
            let name = match state {
                UserState::Active => "user.unblocked",
                UserState::Blocked => "user.blocked",
            };
            tell(
                &mut txn,
                self.access(),
                &Instance,
                Act::new(name).to(user.username.as_str()),
            );
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
