//! Signing in by a directory, and looking from time to time whether those who did are still there.
//!
//! The looking is done once for the cluster: which node does it is written into a record, by a
//! transaction, with when the next one may; a node that goes away is followed by another one. Nobody is
//! kept out before all have been looked for, so a directory that stops answering keeps nobody out.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use cairn_cluster::record::Record;
use cairn_cluster::{Snapshot, Timestamp, Txn};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::identity::{self, Identity, Person, Terms};
use super::session;
use crate::app::App;
use crate::auth::caller::PasswordUse;
use crate::auth::password::Password;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::settings::SignInDirectory;
use crate::ldap::{DirectoryError, Entry, EntryId, Searcher};
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Access, Instance};
use crate::registry::keys;
use crate::registry::names::Username;
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sequence::Number;
use crate::registry::user::{self, UserState};

/// Who speaks of the accounts of the directory.
pub(crate) const ISSUER: &str = "ldap";

/// For how long a node that looks is not followed by another one.
const TURN: Duration = Duration::from_secs(10 * 60);

/// When the next node may look through the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NextLook(Timestamp);

impl Record for NextLook {}

/// Asks the directory for somebody of this name and password; gives on which terms it is let in, too.
///
/// It is asked for whoever has no such password here, so that nobody learns who has one.
pub(super) async fn ask<'a>(
    app: &'a App,
    name: &str,
    password: &Password,
) -> Result<Option<(Person, &'a Terms)>, ApiError> {
    let Some(SignInDirectory { directory, terms, .. }) = &app.http().auth.directory else {
        return Ok(None);
    };
    let found = directory
        .authenticate(app.conversations(), name, password, &terms.groups())
        .await
        .map_err(unavailable)?;
    Ok(found.map(|entry| (person(entry), terms)))
}

/// The use of a password that is right in the directory, by a user who is linked with it.
pub(super) async fn for_packages<R: Reader>(
    app: &App,
    reader: &mut R,
    name: &str,
    password: &Password,
) -> Result<Option<PasswordUse>, ApiError> {
    let Some((person, terms)) = ask(app, name, password).await? else {
        return Ok(None);
    };
    if !person.is_in_required_group(terms) {
        return Ok(None);
    }
    let user = identity::user_of(reader, &person.identity).await?;
    Ok(user.map(|user| PasswordUse { user, set_at: None }))
}

/// Whether a user is linked with an account of the directory.
pub(in crate::registry) async fn is_linked<R: Reader>(reader: &mut R, user: u64) -> Result<bool, ApiError> {
    let key = keys::user_identities(user).key(ISSUER.as_bytes());
    Ok(reader.read::<Identity>(&key).await?.is_some())
}

/// Looks through the directory, if it is time: whoever is not there any more is kept out, with all
/// tokens and sessions, until it is there again.
pub(in crate::registry) async fn look(app: &App) -> Result<(), ApiError> {
    let Some(directory) = &app.http().auth.directory else {
        return Ok(());
    };
    if !take_turn(app).await? {
        return Ok(());
    }
    let snapshot = app.store().kv().latest().await?;
    let mut searcher = directory.directory.searcher().await.map_err(unavailable)?;
    let (mut found, mut lost, mut after) = (0_usize, Vec::new(), None);
    let mut renewed_at = app.store().now();
    loop {
        let entries = next_entries(&snapshot, &keys::identities(ISSUER), &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let linked = Linked {
                user: entry.record::<Number>()?.0,
                subject: String::from_utf8_lossy(&entry.item).into_owned(),
            };
            match find(&mut searcher, &directory.terms, &linked).await? {
                Some(person) => {
                    found += 1;
                    linked.is_there(app, &snapshot, &person, &directory.terms).await?;
                }
                None if linked.was_there(&snapshot).await? => lost.push(linked),
                None => {}
            }
            if app.store().now().since(renewed_at) > TURN / 2 {
                put_off(app, TURN).await?;
                renewed_at = app.store().now();
            }
        }
    }
    if found == 0 && !lost.is_empty() && !may_be_left(&mut searcher, &directory.terms, &lost).await? {
        warn!(
            users = lost.len(),
            "nobody who signed in by the directory is found there any more: a wrong base, filter or group \
             is likelier than that all have left, so nobody is kept out"
        );
        return put_off(app, directory.look_every).await;
    }
    for linked in &lost {
        linked.change(app, UserState::Vanished, None).await?;
    }
    info!(
        found,
        lost = lost.len(),
        "looked through the directory for those who signed in by it"
    );
    put_off(app, directory.look_every).await
}

/// Whether a directory that has none of ours any more may be believed: it was the last one who left, it
/// shows others, and there is no group that could have been renamed.
async fn may_be_left(searcher: &mut Searcher<'_>, terms: &Terms, lost: &[Linked]) -> Result<bool, ApiError> {
    let is_likely = lost.len() == 1 && terms.required_group.is_none();
    Ok(is_likely && searcher.finds_anybody().await.map_err(unavailable)?)
}

/// Looks for somebody who is linked; none if nobody who may sign in is that.
async fn find(
    searcher: &mut Searcher<'_>,
    terms: &Terms,
    linked: &Linked,
) -> Result<Option<Person>, ApiError> {
    let Ok(id) = linked.subject.parse::<EntryId>() else {
        return Ok(None);
    };
    let found = searcher.find(&id, &terms.groups()).await.map_err(unavailable)?;
    let person = found.map(person);
    Ok(person.filter(|person| person.is_in_required_group(terms)))
}

/// Has a turn, if it is time and no other node is faster.
async fn take_turn(app: &App) -> Result<bool, ApiError> {
    let store = app.store();
    let take = async |mut txn: Txn| {
        let now = store.now();
        let next: Option<NextLook> = txn.record(&keys::directory()).await?;
        if next.is_some_and(|next| now < next.0) {
            return Ok::<_, ApiError>((txn, false));
        }
        txn.put_record(&keys::directory(), &NextLook(now.plus(TURN)));
        Ok((txn, true))
    };
    store.kv().transact(take).await
}

/// Has the next turn be no earlier than after this time.
async fn put_off(app: &App, time: Duration) -> Result<(), ApiError> {
    let store = app.store();
    let put = async |mut txn: Txn| {
        txn.put_record(&keys::directory(), &NextLook(store.now().plus(time)));
        Ok::<_, ApiError>((txn, ()))
    };
    store.kv().transact(put).await
}

/// A user, and the account in the directory that it is linked with.
struct Linked {
    user: u64,
    subject: String,
}

impl Linked {
    /// Whether a user who is not found is still let in.
    async fn was_there(&self, snapshot: &Snapshot) -> Result<bool, ApiError> {
        let known = user::by_id(&mut snapshot.clone(), self.user).await?;
        Ok(known.is_some_and(|user| user.state == UserState::Active))
    }

    /// Has a user who was found be what the directory says.
    async fn is_there(
        &self,
        app: &App,
        snapshot: &Snapshot,
        person: &Person,
        terms: &Terms,
    ) -> Result<(), ApiError> {
        let admin = person.administers(terms);
        let known = user::by_id(&mut snapshot.clone(), self.user).await?;
        let is_so = known.is_none_or(|user| {
            user.state != UserState::Vanished && admin.is_none_or(|admin| admin == user.admin)
        });
        match is_so {
            true => Ok(()),
            false => self.change(app, UserState::Active, admin).await,
        }
    }

    /// Changes a user, unless an administrator blocked it, or unlinked it meanwhile.
    async fn change(&self, app: &App, state: UserState, admin: Option<bool>) -> Result<(), ApiError> {
        let store = app.store();
        let access = Access::of_nobody(app, store.kv().latest().await?);
        let account = Identity {
            issuer: ISSUER.into(),
            subject: self.subject.clone(),
        };
        let work = async |mut txn: Txn| {
            if identity::user_of(&mut txn, &account).await? != Some(self.user) {
                return Ok::<_, ApiError>((txn, ()));
            }
            let Some(before) = user::by_id(&mut txn, self.user).await? else {
                return Ok((txn, ()));
            };
            let mut user = before.clone();
            user.admin = admin.unwrap_or(before.admin);
            if before.state != UserState::Blocked {
                user.state = state;
            }
            if user == before {
                return Ok((txn, ()));
            }
            let mut act = Act::new("user.changed")
                .to(user.username.as_str())
                .changing("admin", &before.admin, &user.admin)
                .changing("state", &before.state, &user.state);
            if user.state == UserState::Vanished {
                // They stay ended when the user is let in again.
                act = act.with("sessions ended", session::end_all(&mut txn, user.id).await?);
            }
            tell(&mut txn, &access, &Instance, act);
            txn.put_record(&keys::users().key(user.id), &user);
            Ok((txn, ()))
        };
        store.kv().transact(work).await
    }
}

fn person(entry: Entry) -> Person {
    Person {
        identity: Identity {
            issuer: ISSUER.into(),
            subject: entry.id.to_string(),
        },
        username: entry.username.parse::<Username>().ok(),
        name: entry.name,
        email: entry.email,
        groups: entry.groups,
    }
}

fn unavailable(error: DirectoryError) -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "the directory that people sign in by cannot be asked now; try again later",
    )
    .with_header(RETRY_AFTER, HeaderValue::from_static("10"))
    .with_source(error)
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::NextLook>("next-look");
    }
}
