//! Whom others say that somebody is: accounts of identity providers and directories, and the users
//! that they are linked with.
//!
//! An account is known by who speaks of it and by what it is called there (issuer and subject),
//! which never changes; never by a mail address or a name, which anybody could have chosen.

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Txn};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::auth::action::{Action, Own};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys;
use crate::registry::names::Username;
use crate::registry::reader::Reader;
use crate::registry::sequence::Number;
use crate::registry::sign_in::directory;
use crate::registry::user::{self, NewUser, User, UserState};

/// The longest name of an account.
const MAX_SUBJECT_BYTES: usize = 255;

/// An account somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Who speaks of it.
    pub(crate) issuer: String,
    /// What it is called there.
    pub(crate) subject: String,
}

impl Record for Identity {}

/// Somebody whom a provider or a directory knows.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// By what.
    pub(crate) identity: Identity,
    /// The name to sign in with, if there is one that can be.
    pub(crate) username: Option<Username>,
    /// The name to show.
    pub(crate) name: Option<String>,
    /// The mail address.
    pub(crate) email: Option<String>,
    /// The groups.
    pub(crate) groups: Vec<String>,
}

/// Who of those that a provider or a directory knows is let in, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether there is a user for whoever comes first.
    pub(crate) auto_create: bool,
    /// A group that everybody must be in.
    pub(crate) required_group: Option<String>,
    /// Those who are in it administer the instance, and nobody else of them does.
    pub(crate) admin_group: Option<String>,
}

impl Person {
    /// Whether somebody is in the group that everybody must be in.
    pub(super) fn is_in_required_group(&self, terms: &Terms) -> bool {
        let group = terms.required_group.as_ref();
        group.is_none_or(|group| self.groups.contains(group))
    }

    /// Whether somebody administers, where a group says who does.
    pub(super) fn administers(&self, terms: &Terms) -> Option<bool> {
        let group = terms.admin_group.as_ref();
        group.map(|group| self.groups.contains(group))
    }
}

impl Terms {
    /// Whether the groups of somebody matter.
    pub(crate) fn ask_for_groups(&self) -> bool {
        !self.groups().is_empty()
    }

    /// The groups that matter.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let groups = [&self.required_group, &self.admin_group];
        groups.into_iter().flatten().map(String::as_str).collect()
    }
}

/// The number of the user that an account is linked with.
pub(in crate::registry) async fn user_of<R: Reader>(
    reader: &mut R,
    identity: &Identity,
) -> Result<Option<u64>, ReadError> {
    let found: Option<Number> = reader
        .read(&keys::identity(&identity.issuer, &identity.subject))
        .await?;
    Ok(found.map(|number| number.0))
}

/// Lets somebody in: gives the user, who is made if that is allowed, and is what the groups say.
pub(super) async fn admit(
    txn: &mut Txn,
    person: &Person,
    terms: &Terms,
    now: cairn_cluster::Timestamp,
) -> Result<(User, Option<Act>), ApiError> {
    if !person.is_in_required_group(terms) {
        return Err(ApiError::forbidden(
            "403 Forbidden: this account is not in the group that may sign in",
        ));
    }
    let admin = person.administers(terms);
    let Some(id) = user_of(txn, &person.identity).await? else {
        let user = create(txn, person, terms, admin.unwrap_or(false), now).await?;
        let act = Act::new("user.created")
            .to(user.username.as_str())
            .with("admin", user.admin)
            .with("issuer", &person.identity.issuer)
            .with("subject", &person.identity.subject);
        return Ok((user, Some(act)));
    };
    let mut user = user::by_id(txn, id).await?.ok_or_else(no_user)?;
    let before = user.clone();
    user.admin = admin.unwrap_or(user.admin);
    if user.state == UserState::Vanished && person.identity.issuer == directory::ISSUER {
        user.state = UserState::Active;
    }
    if user == before {
        return Ok((user, None));
    }
    let act = Act::new("user.changed")
        .to(user.username.as_str())
        .changing("admin", &before.admin, &user.admin)
        .changing("state", &before.state, &user.state);
    txn.put_record(&keys::users().key(id), &user);
    Ok((user, Some(act)))
}

async fn create(
    txn: &mut Txn,
    person: &Person,
    terms: &Terms,
    admin: bool,
    now: cairn_cluster::Timestamp,
) -> Result<User, ApiError> {
    let Identity { issuer, subject } = &person.identity;
    if !terms.auto_create {
        info!(
            issuer,
            subject, "somebody was to sign in with whom no user is linked"
        );
        return Err(no_user());
    }
    let Some(username) = &person.username else {
        return Err(ApiError::forbidden(
            "403 Forbidden: this account has no name that could be a username; ask an administrator",
        ));
    };
    if user::by_name(txn, username).await?.is_some() {
        // It may be somebody else's.
        info!(
            issuer,
            subject, "somebody was to sign in who is not linked with the user of that name"
        );
        return Err(ApiError::forbidden(format!(
            "403 Forbidden: there is a user {} already that this account is not linked with; ask an administrator",
            username.as_str()
        )));
    }
    let new = NewUser {
        username: username.clone(),
        name: person.name.clone().unwrap_or_else(|| username.as_str().into()),
        email: person.email.clone().unwrap_or_default(),
        admin,
        bot: false,
    };
    let user = user::create(txn, new, now).await?;
    link(txn, user.id, &person.identity).await?;
    Ok(user)
}

/// Links an account with a user, in place of the one that its issuer speaks of by now.
pub(in crate::registry) async fn link(txn: &mut Txn, user: u64, identity: &Identity) -> Result<(), ApiError> {
    if identity.subject.is_empty() || identity.subject.len() > MAX_SUBJECT_BYTES {
        return Err(ApiError::invalid_field("extern_uid", "must have 1 to 255 bytes"));
    }
    match user_of(txn, identity).await? {
        Some(known) if known == user => return Ok(()),
        Some(_) => return Err(ApiError::conflict("Extern uid has already been taken")),
        None => {}
    }
    unlink(txn, user, &identity.issuer).await?;
    txn.put_record(
        &keys::identity(&identity.issuer, &identity.subject),
        &Number(user),
    );
    txn.put_record(
        &keys::user_identities(user).key(identity.issuer.as_bytes()),
        identity,
    );
    Ok(())
}

/// Ends the link of a user with the account that an issuer speaks of; says whether there was one.
async fn unlink(txn: &mut Txn, user: u64, issuer: &str) -> Result<bool, ApiError> {
    let key = keys::user_identities(user).key(issuer.as_bytes());
    let before: Option<Identity> = txn.record(&key).await?;
    if let Some(before) = &before {
        txn.delete(&keys::identity(&before.issuer, &before.subject));
        txn.delete(&key);
    }
    Ok(before.is_some())
}

impl<A: Action> Authorised<Instance, A> {
    /// The accounts that a user is linked with.
    pub(crate) async fn identities(&self, user: u64) -> Result<Vec<Identity>, ApiError> {
        let list = keys::user_identities(user);
        let entries = self
            .access()
            .app()
            .store()
            .kv()
            .latest()
            .await?
            .scan(Scan::of(&list))
            .await?;
        let identities: Result<Vec<_>, _> = entries.iter().map(|entry| entry.record::<Identity>()).collect();
        Ok(identities?)
    }
}

impl Authorised<Instance, Own> {
    /// Ends the link of a user with the account that an issuer speaks of.
    pub(crate) async fn unlink(&self, user: u64, issuer: &str) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, _| {
            let known = user::by_id(&mut txn, user).await?;
            let known = known.ok_or_else(|| ApiError::not_found("404 User Not Found"))?;
            if !unlink(&mut txn, user, issuer).await? {
                return Err(ApiError::not_found("404 Identity Not Found"));
            }
            let act = Act::new("user.changed").to(known.username.as_str());
            tell(
                &mut txn,
                self.access(),
                &Instance,
                act.with("unlinked from", issuer),
            );
            Ok((txn, ()))
        })
        .await
    }
}

fn no_user() -> ApiError {
    ApiError::forbidden("403 Forbidden: no user is linked with this account; ask an administrator")
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Identity>("identity");
    }
}
