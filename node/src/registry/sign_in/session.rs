//! Sessions of browsers, as they are stored: under a hash of their ids, so that every node knows
//! them, and none holds what a browser would have to show.

use std::net::IpAddr;
use std::time::Duration;

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Seams, Snapshot, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::action::{Action, ManageSelf};
use crate::auth::caller::{Basis, Caller, Identity};
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::session::{SessionId, SessionKey, SessionName};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::ending::{self, Ending};
use crate::registry::keys;
use crate::registry::reader::Reader;
use crate::registry::user::{self, UserState};

/// The sessions that a user may have at a time; the next one ends the oldest.
const MAX_PER_USER: usize = 100;

/// How long after a use a node may write when it was.
const NOTED_WITHIN: Duration = Duration::from_secs(600);

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whose it is.
    pub(crate) user: u64,
    /// How it began.
    pub(crate) by: Means,
    /// From which address.
    pub(crate) from: Option<IpAddr>,
    /// When.
    pub(crate) begun_at: Timestamp,
    /// When it ends at the latest.
    pub(crate) ends_at: Timestamp,
}

impl Record for Session {}

/// A session, as its user is shown it.
pub(crate) struct OwnSession {
    /// What the user calls it by.
    pub(crate) id: String,
    /// How it began, and when it ends.
    pub(crate) session: Session,
    /// When it was last used, to about ten minutes.
    pub(crate) used_at: Timestamp,
    /// Whether the request came with it.
    pub(crate) is_current: bool,
}

/// How somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Means {
    /// By a password that Cairn keeps.
    Password,
    /// By the directory.
    Directory,
    /// By an identity provider of this name.
    Provider(String),
}

impl Means {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Password => "password",
            Self::Directory => "ldap",
            Self::Provider(name) => name,
        }
    }
}

/// Begins a session: what the browser is to keep.
pub(super) async fn begin(
    txn: &mut Txn,
    seams: &Seams,
    key: &SessionKey,
    session: &Session,
) -> Result<SessionId, ApiError> {
    let list = keys::user_sessions(session.user);
    let all = txn.scan(Scan::of(&list)).await?;
    let too_many = (all.len() + 1).saturating_sub(MAX_PER_USER);
    for oldest in all.iter().take(too_many) {
        if let Some(name) = keys::session_of_item(&oldest.item) {
            end(txn, &name).await?;
        }
    }
    let id = SessionId::of(seams.random());
    let name = id.name(key);
    txn.put_record(&keys::session(&name), session);
    txn.put(&list.key(keys::session_item(session.begun_at, &name)), "");
    // By then every node has written when it was last used.
    ending::order(txn, session.ends_at.plus(NOTED_WITHIN), &Ending::Session(name));
    Ok(id)
}

/// Ends a session, if it is there.
pub(in crate::registry) async fn end(txn: &mut Txn, name: &SessionName) -> Result<(), ReadError> {
    let session: Option<Session> = txn.record(&keys::session(name)).await?;
    if let Some(session) = session {
        let item = keys::session_item(session.begun_at, name);
        txn.delete(&keys::user_sessions(session.user).key(item));
        txn.delete(&keys::session(name));
    }
    txn.delete(&keys::session_used(name));
    Ok(())
}

/// Ends all sessions of a user; gives how many there were.
pub(in crate::registry) async fn end_all(txn: &mut Txn, user: u64) -> Result<usize, ReadError> {
    let all = txn.scan(Scan::of(&keys::user_sessions(user))).await?;
    for entry in &all {
        if let Some(name) = keys::session_of_item(&entry.item) {
            end(txn, &name).await?;
        }
    }
    Ok(all.len())
}

/// Finds whom the session of a browser stands for; none if it does not hold.
pub(in crate::registry) async fn identify(
    app: &App,
    snapshot: &mut Snapshot,
    id: &SessionId,
) -> Result<Option<Caller>, ApiError> {
    let store = app.store();
    let name = id.name(&store.secrets().await?.session_key);
    let Some(session) = find(snapshot, &name, store.now()).await? else {
        return Ok(None);
    };
    if used_at(app, snapshot, &name, &session).await?.is_none() {
        return Ok(None);
    }
    let caller = caller_of(snapshot, name, &session).await?;
    if caller.is_some() {
        store.session_used(&keys::session_used(&name));
    }
    Ok(caller)
}

/// Whom a session stands for that was in use a moment ago.
pub(in crate::registry) async fn caller<R: Reader>(
    reader: &mut R,
    name: &SessionName,
    now: Timestamp,
) -> Result<Option<Caller>, ApiError> {
    match find(reader, name, now).await? {
        Some(session) => caller_of(reader, *name, &session).await,
        None => Ok(None),
    }
}

async fn find<R: Reader>(
    reader: &mut R,
    name: &SessionName,
    now: Timestamp,
) -> Result<Option<Session>, ReadError> {
    let session: Option<Session> = reader.read(&keys::session(name)).await?;
    Ok(session.filter(|session| now < session.ends_at))
}

/// When a session was last used; none if that is so long ago that it has ended.
async fn used_at(
    app: &App,
    snapshot: &Snapshot,
    name: &SessionName,
    session: &Session,
) -> Result<Option<Timestamp>, ReadError> {
    let noted = Timestamp(snapshot.number(&keys::session_used(name)).await?);
    let used_at = noted.max(session.begun_at);
    let ends_at = used_at.plus(app.http().auth.session_idle);
    Ok((app.store().now() < ends_at).then_some(used_at))
}

async fn caller_of<R: Reader>(
    reader: &mut R,
    name: SessionName,
    session: &Session,
) -> Result<Option<Caller>, ApiError> {
    let user = user::by_id(reader, session.user).await?;
    let user = user.filter(|user| user.state == UserState::Active);
    Ok(user.map(|user| {
        let scopes = Scopes::of(&[TokenScope::Api]);
        Caller::new(Identity::User(user), scopes, Basis::Session(name))
    }))
}

impl<A: Action> Authorised<Instance, A> {
    /// The name of the session that the request came with.
    fn session_name(&self) -> Option<SessionName> {
        match self.caller().basis() {
            Basis::Session(name) => Some(*name),
            _ => None,
        }
    }

    /// The session that the request came with; none if it came with a token.
    pub(crate) async fn session(&self) -> Result<Option<Session>, ApiError> {
        match self.session_name() {
            Some(name) => Ok(find(&mut self.snapshot().clone(), &name, self.now()).await?),
            None => Ok(None),
        }
    }

    /// The sessions of the caller, the newest first.
    pub(crate) async fn own_sessions(&self) -> Result<Vec<OwnSession>, ApiError> {
        let app = self.access().app();
        let snapshot = self.snapshot();
        let list = keys::user_sessions(self.access().signed_in()?.id);
        let all = snapshot.scan(Scan::of(&list)).await?;
        let mut own = Vec::new();
        for name in all
            .iter()
            .rev()
            .filter_map(|entry| keys::session_of_item(&entry.item))
        {
            let Some(session) = find(&mut snapshot.clone(), &name, self.now()).await? else {
                continue;
            };
            if let Some(used_at) = used_at(app, snapshot, &name, &session).await? {
                own.push(OwnSession {
                    id: name.short(),
                    session,
                    used_at,
                    is_current: self.session_name() == Some(name),
                });
            }
        }
        Ok(own)
    }
}

impl Authorised<Instance, ManageSelf> {
    /// Ends a session of the caller; says whether it is the one that the request came with.
    pub(crate) async fn end_own_session(&self, id: &str) -> Result<bool, ApiError> {
        let user = self.access().signed_in()?;
        transact(self, async |mut txn: Txn, _| {
            let all = txn.scan(Scan::of(&keys::user_sessions(user.id))).await?;
            let mut names = all.iter().filter_map(|entry| keys::session_of_item(&entry.item));
            let Some(name) = names.find(|name| name.short() == id) else {
                return Err(ApiError::not_found("404 Session Not Found"));
            };
            end(&mut txn, &name).await?;
            let act = Act::new("session.ended").to(user.username.as_str());
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, self.session_name() == Some(name)))
        })
        .await
    }

    /// Ends the session that the request came with.
    pub(crate) async fn end_session(&self) -> Result<(), ApiError> {
        let Some(name) = self.session_name() else {
            return Err(ApiError::not_found("404 Session Not Found"));
        };
        transact(self, async |mut txn: Txn, _| {
            end(&mut txn, &name).await?;
            let user = self.access().signed_in()?.username.as_str();
            tell(
                &mut txn,
                self.access(),
                &Instance,
                Act::new("session.ended").to(user),
            );
            Ok((txn, ()))
        })
        .await
    }

    /// Begins a session in place of the one that the request came with, if it came with one.
    pub(super) async fn renew_session(
        &self,
        txn: &mut Txn,
        key: &SessionKey,
        lifetime: Duration,
    ) -> Result<Option<SessionId>, ApiError> {
        let Some(before) = self.session().await? else {
            return Ok(None);
        };
        let now = self.now();
        let session = Session {
            begun_at: now,
            ends_at: now.plus(lifetime),
            from: self.access().address(),
            ..before
        };
        let seams = self.access().app().store().seams();
        begin(txn, seams, key, &session).await.map(Some)
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Session>("session");
    }
}
