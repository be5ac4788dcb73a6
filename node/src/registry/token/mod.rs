//! Tokens as they are stored: never their secrets.

pub(crate) mod access;
pub(crate) mod deploy;
pub(crate) mod lifetime;
mod personal;

use cairn_cluster::record::Record;
use cairn_cluster::{Collection, ReadError, Seams, Snapshot, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Manage, Own};
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::token::{HashKey, SecretHash, Token, TokenId, TokenKind};
use crate::http::error::ApiError;
use crate::registry::audit::Act;
use crate::registry::door::Authorised;
use crate::registry::ending::{self, Ending};
use crate::registry::group::Group;
use crate::registry::place::Place;
use crate::registry::project::Project;
use crate::registry::reader::{Reader, next_entries};
use crate::registry::time::iso;
use crate::registry::token::lifetime::Lifetimes;
use crate::registry::trust::{Origin, Within};
use crate::registry::{keys, sequence};

/// A token, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its number in the REST API.
    pub number: u64,
    /// Its name in the token itself.
    pub id: TokenId,
    /// What its secret must hash to.
    pub hash: SecretHash,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Whose it is.
    pub holder: Holder,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it does not hold; never if there is none.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A token, and when it was last used.
#[derive(Clone, Debug)]
pub struct ShownToken {
    /// What is stored.
    pub record: TokenRecord,
    /// When it was last used, to about ten minutes; 0 if never.
    pub used_at: Timestamp,
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A user's.
    User {
        /// Which user.
        id: u64,
    },
    /// A deploy token.
    Deploy {
        /// The username that goes with it.
        username: String,
        /// Where it may be used.
        place: Place,
    },
    /// A job that trust rules let in.
    Job {
        /// The numbers of the rules; when one is removed, the token holds no more.
        rules: Vec<u64>,
        /// What of that it was asked for.
        within: Within,
        /// What its issuer said of the job.
        origin: Origin,
    },
}

impl Record for TokenRecord {}

impl TokenRecord {
    /// Whether it can be used at this time.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && !self.expired(now)
    }

    /// Whether its time is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// From when on it does not hold; never if there is none.
    pub expires_at: Option<Timestamp>,
}

impl NewToken {
    /// The same with an end, if tokens of this kind have to end and none was asked for. Refused if it
    /// would live too long.
    async fn within_lifetime(
        mut self,
        txn: &mut Txn,
        kind: TokenKind,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        self.expires_at = Lifetimes::of(txn).await?.end(kind, self.expires_at, now)?;
        Ok(self)
    }
}

/// Makes a personal access token of `user`. The token is returned once and kept nowhere.
pub(in crate::registry) async fn create_personal(
    txn: &mut Txn,
    seams: &Seams,
    key: &HashKey,
    user: u64,
    new: NewToken,
) -> Result<(TokenRecord, Token), ApiError> {
    let (record, token) = create(txn, seams, key, (TokenKind::Personal, "token"), new, |_| {
        Holder::User { id: user }
    })
    .await?;
    let entry = TokenEntry(record.id.clone());
    txn.put_record(&keys::user_tokens(user).key(record.number), &entry);
    txn.put_record(&keys::token_numbers().key(record.number), &entry);
    Ok((record, token))
}

/// Makes a token of `user` in the place of an older one, with its name and scopes; that one holds no
/// more.
async fn replace_personal(
    txn: &mut Txn,
    seams: &Seams,
    key: &HashKey,
    user: u64,
    mut old: TokenRecord,
    expires_at: Option<Timestamp>,
) -> Result<(TokenRecord, Token), ApiError> {
    let now = seams.clock.now();
    if !old.holds(now) {
        return Err(ApiError::bad_request(
            "400 Bad request: the token does not hold any more",
        ));
    }
    let new = NewToken {
        name: old.name.clone(),
        scopes: old.scopes,
        expires_at,
    };
    let new = new.within_lifetime(txn, TokenKind::Personal, now).await?;
    revoke(txn, &mut old, now);
    create_personal(txn, seams, key, user, new).await
}

/// Makes a deploy token of a group or project; its username is made up unless one is given.
pub(in crate::registry) async fn create_deploy(
    txn: &mut Txn,
    seams: &Seams,
    key: &HashKey,
    place: Place,
    username: Option<String>,
    new: NewToken,
) -> Result<(TokenRecord, Token), ApiError> {
    let (record, token) = create(
        txn,
        seams,
        key,
        (TokenKind::Deploy, "deploy-token"),
        new,
        |number| Holder::Deploy {
            username: username.unwrap_or_else(|| format!("gitlab+deploy-token-{number}")),
            place,
        },
    )
    .await?;
    let entry = keys::deploy_tokens(place.root, place.member()).key(record.number);
    txn.put_record(&entry, &TokenEntry(record.id.clone()));
    Ok((record, token))
}

/// A job's token to be made.
#[derive(Clone, Debug)]
pub(in crate::registry) struct NewJobToken {
    pub(in crate::registry) number: u64,
    pub(in crate::registry) name: String,
    pub(in crate::registry) scopes: Scopes,
    pub(in crate::registry) rules: Vec<u64>,
    pub(in crate::registry) within: Within,
    pub(in crate::registry) origin: Origin,
    pub(in crate::registry) expires_at: Timestamp,
}

/// Makes the token of a job, which is forgotten when its time is over.
pub(in crate::registry) fn create_job(
    txn: &mut Txn,
    seams: &Seams,
    key: &HashKey,
    new: NewJobToken,
) -> Token {
    let token = Token::generate(TokenKind::Job, seams);
    let record = TokenRecord {
        number: new.number,
        id: token.id().clone(),
        hash: token.hash(key),
        name: new.name,
        scopes: new.scopes,
        holder: Holder::Job {
            rules: new.rules,
            within: new.within,
            origin: new.origin,
        },
        created_at: seams.clock.now(),
        expires_at: Some(new.expires_at),
        revoked_at: None,
    };
    txn.put_record(&keys::token(token.id()), &record);
    ending::order(txn, new.expires_at, &Ending::Token(record.id));
    token
}

async fn create(
    txn: &mut Txn,
    seams: &Seams,
    key: &HashKey,
    (kind, sequence_name): (TokenKind, &str),
    new: NewToken,
    holder: impl FnOnce(u64) -> Holder,
) -> Result<(TokenRecord, Token), ApiError> {
    let number = sequence::next(txn, sequence_name).await?;
    let token = Token::generate(kind, seams);
    let record = TokenRecord {
        number,
        id: token.id().clone(),
        hash: token.hash(key),
        name: new.name,
        scopes: new.scopes,
        holder: holder(number),
        created_at: seams.clock.now(),
        expires_at: new.expires_at,
        revoked_at: None,
    };
    txn.put_record(&keys::token(token.id()), &record);
    Ok((record, token))
}

/// An entry of a list of tokens: the token's id under its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::registry) struct TokenEntry(pub(in crate::registry) TokenId);

impl Record for TokenEntry {}

pub(in crate::registry) async fn by_id<R: Reader>(
    reader: &mut R,
    id: &TokenId,
) -> Result<Option<TokenRecord>, ReadError> {
    reader.read(&keys::token(id)).await
}

/// Removes a token's record: it is as if it had never been. Its number leads nowhere then.
pub(in crate::registry) fn forget(txn: &mut Txn, entry: &TokenEntry) {
    txn.delete(&keys::token(&entry.0));
    txn.delete(&keys::token_used(&entry.0));
}

/// Proof that the caller may manage the tokens of this group or project: maintainers those of
/// a project, owners those of a group.
pub(crate) trait ManagesTokens<T> {}

impl ManagesTokens<Project> for Authorised<Project, Manage> {}
impl ManagesTokens<Group> for Authorised<Group, Own> {}

/// What the audit log is told of a token: all but its secret.
fn told(what: &'static str, record: &TokenRecord) -> Act {
    let mut act = Act::new(what)
        .to(format!("token {} {:?}", record.number, record.name))
        .with(
            "scopes",
            record
                .scopes
                .iter()
                .map(TokenScope::name)
                .collect::<Vec<_>>()
                .join(", "),
        );
    match &record.holder {
        Holder::User { id } => act = act.with("user", id),
        Holder::Deploy { username, .. } => act = act.with("username", username),
        Holder::Job { origin, .. } => act = act.with("job", &origin.subject),
    }
    match record.expires_at {
        Some(end) => act.with("expires at", iso(end)),
        None => act,
    }
}

fn revoke(txn: &mut Txn, record: &mut TokenRecord, now: Timestamp) {
    record.revoked_at.get_or_insert(now);
    txn.put_record(&keys::token(&record.id), record);
}

async fn by_number<R: Reader>(reader: &mut R, number: u64) -> Result<TokenRecord, ApiError> {
    find_in(reader, &keys::token_numbers(), number).await
}

/// The token of this number in a list.
async fn find_in<R: Reader>(reader: &mut R, list: &Collection, number: u64) -> Result<TokenRecord, ApiError> {
    let entry: Option<TokenEntry> = reader.read(&list.key(number)).await?;
    let record = by_id(reader, &entry.ok_or_else(unknown)?.0).await?;
    record.ok_or_else(unknown)
}

async fn one_in(snapshot: &Snapshot, list: &Collection, number: u64) -> Result<ShownToken, ApiError> {
    let record = find_in(&mut snapshot.clone(), list, number).await?;
    shown(snapshot, record).await
}

async fn each_in(
    snapshot: &Snapshot,
    list: &Collection,
    mut row: impl FnMut(ShownToken),
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let entries = next_entries(snapshot, list, &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let id = entry.record::<TokenEntry>()?.0;
            if let Some(record) = by_id(&mut snapshot.clone(), &id).await? {
                row(shown(snapshot, record).await?);
            }
        }
    }
}

async fn shown(snapshot: &Snapshot, record: TokenRecord) -> Result<ShownToken, ApiError> {
    let used_at = Timestamp(snapshot.number(&keys::token_used(&record.id)).await?);
    Ok(ShownToken { record, used_at })
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Token Not Found")
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::TokenRecord>("token");
        samples::check::<super::TokenEntry>("token-entry");
    }
}
