//! The owners of a package: users who take care of it. Who may publish is decided by the roles in
//! the project, so being an owner gives no right; it says whom to ask.

use serde::{Deserialize, Serialize};

use crate::auth::{Authorised, Publish};
use crate::http::error::ApiError;
use crate::registry::member;
use crate::registry::names::Username;
use crate::registry::project::Project;
use crate::registry::user::UserState;

/// The most owners of a package.
const MAX_OWNERS: usize = 50;

/// Numbers of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Owners(Vec<u64>);

/// Why the owners cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwnersError {
    #[error("there are at most {MAX_OWNERS} owners")]
    TooMany,
    #[error("the last owner cannot be removed")]
    Last,
}

impl Owners {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their numbers.
    pub(crate) fn users(&self) -> &[u64] {
        &self.0
    }

    /// Adds some.
    pub(crate) fn add(&mut self, users: &[u64]) -> Result<(), OwnersError> {
        for user in users {
            if !self.0.contains(user) {
                self.0.push(*user);
            }
        }
        match self.0.len() > MAX_OWNERS {
            true => Err(OwnersError::TooMany),
            false => Ok(()),
        }
    }

    /// Removes some.
    pub(crate) fn remove(&mut self, users: &[u64]) -> Result<(), OwnersError> {
        let had_owners = !self.is_empty();
        self.0.retain(|owner| !users.contains(owner));
        match had_owners && self.is_empty() {
            true => Err(OwnersError::Last),
            false => Ok(()),
        }
    }
}

impl FromIterator<u64> for Owners {
    fn from_iter<T: IntoIterator<Item = u64>>(users: T) -> Self {
        Self(users.into_iter().collect())
    }
}

/// The number of the user whom a client names by `text`: a username, or the mail address of a member of the
/// project. Only users change owners.
pub(crate) async fn user_named(project: &Authorised<Project, Publish>, text: &str) -> Result<u64, ApiError> {
    let access = project.access();
    if access.caller().user().is_none() {
        return Err(ApiError::forbidden("only users can change owners"));
    }
    // No username has the sign.
    if text.contains('@') {
        return member_at(project, text).await;
    }
    let username: Username = text.parse()?;
    let user = access.user_named(&username).await?;
    match user {
        Some(user) => Ok(user.id),
        None => Err(ApiError::not_found(format!("there is no user `{text:.80}`"))),
    }
}

/// The number of the member who has a mail address. Whether somebody else has it is not told: usernames are
/// known to all who have signed in, addresses are not.
async fn member_at(project: &Authorised<Project, Publish>, address: &str) -> Result<u64, ApiError> {
    let mut found = Vec::new();
    member::each_inherited(project, |member| {
        let user = member.user;
        if user.state == UserState::Active && !user.bot && user.email.eq_ignore_ascii_case(address) {
            found.push(user.id);
        }
    })
    .await?;
    found.dedup();
    match found[..] {
        [user] => Ok(user),
        [] => Err(ApiError::not_found(format!(
            "no member of {} has the address `{address:.80}`; name others by their usernames",
            project.project().path
        ))),
        // Nobody vouches for an address but whoever set it.
        _ => Err(ApiError::unprocessable(format!(
            "several members of {} have the address `{address:.80}`; name one by the username",
            project.project().path
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_keeps_an_owner_and_not_without_end() {
        let mut owners = Owners::default();
        owners.remove(&[7]).unwrap();
        owners.add(&[1, 2, 1]).unwrap();
        owners.remove(&[1]).unwrap();
        assert_eq!(owners.users(), [2]);
        assert_eq!(owners.clone().remove(&[2]), Err(OwnersError::Last));
        let many: Vec<u64> = (0..=50).collect();
        assert_eq!(owners.add(&many), Err(OwnersError::TooMany));
    }
}
