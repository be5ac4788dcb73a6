//! From what an issuer says of a job to a token, by the rules that believe it.
//!
//! An ID token is taken once in the whole cluster: that it was used is written in the transaction
//! that makes the token, so of two nodes that are shown it at the same time one refuses it.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use cairn_cluster::{CommitError, ReadError, Scan, Snapshot, Timestamp, Txn, Unavailable};
use serde_json::{Map, Value};
use tracing::info;

use crate::app::App;
use crate::auth::scopes::Scopes;
use crate::auth::token::{Token, TokenKind};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::ClientAddress;
use crate::oidc::{IdToken, InvalidIdToken, Issuer, KeyError, Verified, audiences};
use crate::registry::audit::{self, Act, Newcomer, Trail, tell_of_newcomer};
use crate::registry::ending::{self, Ending};
use crate::registry::group;
use crate::registry::keys;
use crate::registry::names::Reference;
use crate::registry::place::{Place, PlaceKind};
use crate::registry::project::{self, Project};
use crate::registry::reader::next_entries;
use crate::registry::token::{self, NewJobToken, TokenEntry};
use crate::registry::trust::job::{Origin, Within};
use crate::registry::trust::rule::TrustRule;

/// The most rules that one token is made by: each is read whenever the token is used.
const MAX_MATCHING: usize = 16;

/// Somebody who shows an ID token.
pub(crate) struct Exchange<'a> {
    app: &'a App,
    address: Option<IpAddr>,
    trail: Option<Trail>,
}

/// What a job wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'w> {
    /// What its issuer gave it.
    pub(crate) token: &'w str,
    /// To act in this project alone.
    pub(crate) project: Option<Reference>,
    /// In this format alone.
    pub(crate) format: Option<&'static str>,
    /// On the package of this normalised name alone.
    pub(crate) package: Option<String>,
    /// For no more than this.
    pub(crate) scopes: Option<Scopes>,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Exchanged {
    /// Shown once, and kept nowhere.
    pub(crate) token: Token,
    /// How long it holds.
    pub(crate) lifetime: Duration,
    /// From when on it does not.
    pub(crate) expires_at: Timestamp,
    /// What it may be used for.
    pub(crate) scopes: Scopes,
}

/// Why a job gets nothing. What rules ask for is nothing that a stranger should learn.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// What it shows does not hold.
    #[error(transparent)]
    Invalid(#[from] InvalidIdToken),
    /// Its issuer does not have the key that it says it is signed with.
    #[error("the ID token is signed with a key that its issuer does not have")]
    UnknownKey,
    /// No rule lets it in.
    #[error("no trust rule matches the issuer, the audience and the claims of the ID token")]
    NoRule,
    /// Too many do.
    #[error("more than {MAX_MATCHING} trust rules match; name the project that the token is for")]
    TooManyRules,
    /// It asks for more than its rules let it do.
    #[error("the trust rules that match do not grant all of the scopes that were asked for")]
    NotGranted,
    /// It was shown before.
    #[error("the ID token was used before; each is taken once")]
    Used,
    /// Its issuer cannot be asked for its keys.
    #[error("the issuer of the ID token cannot be asked for its keys; try again later")]
    IssuerAway,
    /// Too many did not get in from the same address.
    #[error("too many ID tokens were refused; try again later")]
    TooMany(Duration),
    /// The cluster cannot answer.
    #[error("{0}")]
    Failed(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::Failed(error.into())
    }
}

impl Refusal {
    /// The same for those who have no words of their own for it.
    pub(crate) fn into_error(self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::Failed(error) => error,
            Self::IssuerAway => ApiError::new(ErrorKind::Unavailable, message),
            Self::TooMany(wait) => ApiError::new(ErrorKind::TooManyRequests, message)
                .with_header(RETRY_AFTER, HeaderValue::from(wait.as_secs())),
            Self::Invalid(_) | Self::UnknownKey | Self::Used => {
                ApiError::new(ErrorKind::Unauthorized, message)
            }
            Self::NoRule | Self::TooManyRules | Self::NotGranted => ApiError::forbidden(message),
        }
    }
}

impl<'a> Exchange<'a> {
    /// By a request.
    pub(crate) fn of(app: &'a App, parts: &Parts) -> Self {
        Self {
            app,
            address: parts.extensions.get::<ClientAddress>().map(|address| address.0),
            trail: parts.extensions.get().cloned(),
        }
    }

    /// Makes a token for a job.
    pub(crate) async fn exchange(&self, wanted: Wanted<'_>) -> Result<Exchanged, Refusal> {
        match self.attempt(wanted).await {
            Err(refusal @ (Refusal::Failed(_) | Refusal::IssuerAway)) => Err(refusal),
            Err(refusal) => {
                info!(%refusal, "refused an ID token");
                if let Some(trail) = &self.trail {
                    trail.failed(self.address, format!("let in a job: {refusal}"));
                }
                Err(self.counted(refusal))
            }
            made => made,
        }
    }

    fn counted(&self, refusal: Refusal) -> Refusal {
        match self.app.throttle().failed(self.address) {
            Some(wait) => Refusal::TooMany(wait),
            None => refusal,
        }
    }

    async fn attempt(&self, wanted: Wanted<'_>) -> Result<Exchanged, Refusal> {
        let store = self.app.store();
        let shown = IdToken::read(wanted.token)?;
        let issuer: Issuer = shown.issuer().parse().map_err(|_| Refusal::NoRule)?;
        if !self.app.http().may_be_trusted(&issuer) {
            return Err(Refusal::NoRule);
        }
        let snapshot = store.kv().latest().await?;
        // Only issuers that a rule names are asked for anything.
        let by = keys::trust_rules_by(issuer.as_str());
        if snapshot.scan(Scan::of(&by).limit(1)).await?.is_empty() {
            return Err(Refusal::NoRule);
        }
        let now = store.now();
        let key = self.app.issuers().key(&issuer, &shown, now).await;
        let key = key.map_err(|error| match error {
            KeyError::Unknown => Refusal::UnknownKey,
            KeyError::Away => Refusal::IssuerAway,
        })?;
        let verified = shown.verify(&key, now)?;
        let project = match &wanted.project {
            Some(reference) => {
                let found = project::find(&mut snapshot.clone(), reference).await?;
                Some(found.ok_or(Refusal::NoRule)?)
            }
            None => None,
        };
        let rules = matching(&snapshot, &issuer, &verified.claims, project.as_ref(), &wanted).await?;
        let granted = rules
            .iter()
            .fold(Scopes::default(), |scopes, rule| scopes.or(rule.scopes));
        let scopes = wanted.scopes.unwrap_or(granted);
        if scopes.and(granted) != scopes || scopes.is_empty() {
            return Err(Refusal::NotGranted);
        }
        let within = Within {
            project: project.map(|project| project.id),
            format: wanted.format.map(str::to_owned),
            package: wanted.package,
        };
        let origin = Origin::of(issuer.as_str(), &verified.claims);
        self.make(&verified, rules, scopes, within, origin).await
    }

    async fn make(
        &self,
        verified: &Verified,
        rules: Vec<TrustRule>,
        scopes: Scopes,
        within: Within,
        origin: Origin,
    ) -> Result<Exchanged, Refusal> {
        let store = self.app.store();
        let key = &store.secrets().await?.token_hash;
        let lifetime = rules.iter().map(TrustRule::lifetime).min().unwrap_or_default();
        let expires_at = store.now().plus(lifetime);
        let new = NewJobToken {
            number: store.job_number().await?,
            name: rules.first().map(|rule| rule.name.clone()).unwrap_or_default(),
            scopes,
            rules: rules.iter().map(|rule| rule.number).collect(),
            within,
            origin,
            expires_at,
        };
        let used = keys::id_token(&verified.proof);
        let forgotten_at = verified.ends_at.plus(ending::CLOCKS_APART);
        let token = store
            .kv()
            .transact(async |mut txn: Txn| {
                if txn.get(&used).await?.is_some() {
                    return Err(Refusal::Used);
                }
                if super::all_of(&mut txn, &new.rules).await?.is_none() {
                    return Err(Refusal::NoRule);
                }
                txn.put(&used, "");
                ending::order(&mut txn, forgotten_at, &Ending::IdToken(verified.proof));
                let token = token::create_job(&mut txn, store.seams(), key, new.clone());
                self.tell(&mut txn, &rules, &new.origin, &token).await?;
                Ok((txn, token))
            })
            .await?;
        let rules = &new.rules;
        let NewJobToken { origin, .. } = &new;
        info!(
            issuer = origin.issuer,
            subject = origin.subject,
            ?rules,
            ?token,
            "let a job in"
        );
        Ok(Exchanged {
            token,
            lifetime,
            expires_at,
            scopes,
        })
    }

    /// Tells the audit log of every place that a job is let into.
    async fn tell(
        &self,
        txn: &mut Txn,
        rules: &[TrustRule],
        origin: &Origin,
        token: &Token,
    ) -> Result<(), ApiError> {
        let newcomer = Newcomer {
            at: self.app.store().now(),
            by: audit::job(&origin.subject, token.id()),
            from: self.address,
            trail: self.trail.as_ref(),
        };
        for rule in rules {
            let act = Act::new("job.let_in")
                .to(format!("trust rule {} {:?}", rule.number, rule.name))
                .with("issuer", &origin.issuer)
                .with("claims", &origin.claims);
            let Place { root, kind, id } = rule.place;
            match kind {
                PlaceKind::Project => {
                    if let Some(project) = project::by_id(txn, root, id).await? {
                        tell_of_newcomer(txn, &newcomer, &project, act);
                    }
                }
                PlaceKind::Group => {
                    if let Some(group) = group::by_id(txn, root, id).await? {
                        tell_of_newcomer(txn, &newcomer, &group, act);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives up a job's token before its time; says whether it was one that held.
    pub(crate) async fn give_up(&self, token: &str) -> Result<bool, Refusal> {
        let store = self.app.store();
        let Some(token) = token
            .parse::<Token>()
            .ok()
            .filter(|token| token.kind() == TokenKind::Job)
        else {
            return Ok(false);
        };
        let hash = token.hash(&store.secrets().await?.token_hash);
        let held = store
            .kv()
            .transact(async |mut txn: Txn| {
                let record = token::by_id(&mut txn, token.id()).await?;
                let held = record.filter(|record| record.hash.matches(&hash) && record.holds(store.now()));
                if let Some(record) = &held {
                    token::forget(&mut txn, &TokenEntry(record.id.clone()));
                }
                Ok::<_, ApiError>((txn, held.is_some()))
            })
            .await?;
        Ok(held)
    }
}

/// The rules that believe what an issuer says of a job, as far as they are about what it wants.
async fn matching(
    snapshot: &Snapshot,
    issuer: &Issuer,
    claims: &Map<String, Value>,
    project: Option<&Project>,
    wanted: &Wanted<'_>,
) -> Result<Vec<TrustRule>, Refusal> {
    let by = keys::trust_rules_by(issuer.as_str());
    let audiences = audiences(claims);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let entries = next_entries(snapshot, &by, &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let rule: TrustRule = entry.record()?;
            let is_about = project.is_none_or(|project| project.is_inside(&rule.place))
                && wanted.format.is_none_or(|format| rule.is_for_format(format))
                && wanted
                    .package
                    .as_deref()
                    .is_none_or(|name| rule.package.as_ref().is_none_or(|expected| expected.is(name)));
            let is_for_us = audiences.iter().any(|audience| rule.is_for(audience));
            if is_about && is_for_us && rule.matches(claims) {
                found.push(rule);
            }
            if found.len() > MAX_MATCHING {
                return Err(Refusal::TooManyRules);
            }
        }
    }
    match found.is_empty() {
        true => Err(Refusal::NoRule),
        false => Ok(found),
    }
}
