//! Signing in at an identity provider.

use axum::http::HeaderValue;
use cairn_cluster::Txn;
use serde_json::{Map, Value};
use tracing::info;
use url::Url;

use super::identity::{Identity, Person};
use super::session::Means;
use super::{Known, SignedIn, Visitor, too_many};
use crate::auth::sign_in::{Attempt, AttemptKey, BadState, Binding};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::settings::SignInProvider;
use crate::oidc::{LoginError, ProviderSecrets};
use crate::registry::ending::{self, Ending};
use crate::registry::keys;
use crate::registry::names::Username;

/// The longest text of a provider that is kept.
const MAX_TEXT_BYTES: usize = 255;

/// The most groups of somebody.
const MAX_GROUPS: usize = 1000;

/// What a browser brings back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Returned {
    /// What the provider gives for its tokens.
    pub(crate) code: Option<String>,
    /// What we gave it.
    pub(crate) state: String,
    /// Who it says to be (RFC 9207).
    pub(crate) issuer: Option<String>,
    /// Why there is no code.
    pub(crate) error: Option<String>,
}

impl Visitor {
    /// Where the browser is sent to sign in, and what it is to keep until it comes back.
    pub(crate) async fn begin_at(
        &self,
        name: &str,
        return_to: Option<&str>,
        binding: Option<Binding>,
    ) -> Result<(Url, HeaderValue), ApiError> {
        let provider = self.provider(name)?;
        self.check_pace()?;
        let store = self.app.store();
        let key = &store.secrets().await?.attempt_key;
        // Another tab may be on its way.
        let binding = binding.unwrap_or_else(|| Binding::of(store.seams().random()));
        let attempt = Attempt::begin(name, return_to, store.now(), store.seams().random());
        let secrets = secrets(key, &binding, &attempt);
        let redirect = self.redirect(name);
        let url = provider
            .provider
            .authorization_url(self.app.issuers(), &redirect, &secrets, store.now())
            .await?;
        Ok((url, binding.cookie()))
    }

    /// Signs in whom a provider sent back; says where the browser goes then.
    pub(crate) async fn come_back(
        &self,
        name: &str,
        binding: Option<Binding>,
        returned: Returned,
    ) -> Result<(SignedIn, String), ApiError> {
        let provider = self.provider(name)?;
        self.check_pace()?;
        let known = self.known_by(name, provider, binding, returned).await;
        let signed_in = match known {
            Ok((known, return_to)) => self.begin(known).await.map(|signed_in| (signed_in, return_to)),
            Err(error) => Err(error),
        };
        signed_in.map_err(|error| self.count(name, error))
    }

    async fn known_by(
        &self,
        name: &str,
        provider: &SignInProvider,
        binding: Option<Binding>,
        returned: Returned,
    ) -> Result<(Known, String), ApiError> {
        let store = self.app.store();
        let (key, now) = (&store.secrets().await?.attempt_key, store.now());
        let binding = binding.ok_or(BadState)?;
        let attempt = key.read(&binding, name, &returned.state, now)?;
        let proof = key.proof(&binding, &attempt);
        let snapshot = store.kv().latest().await?;
        if snapshot.get(&keys::id_token(&proof)).await?.is_some() {
            return Err(used());
        }
        let provider_of = &provider.provider;
        if returned
            .issuer
            .is_some_and(|issuer| issuer != provider_of.issuer.as_str())
        {
            return Err(LoginError::Invalid.into());
        }
        let Some(code) = returned.code else {
            info!(provider = name, "a provider sent somebody back without a code");
            let denied = returned.error.as_deref() == Some("access_denied");
            return Err(ApiError::forbidden(match denied {
                true => "403 Forbidden: the identity provider does not let you in here",
                false => "403 Forbidden: the identity provider could not sign you in",
            }));
        };
        let secrets = secrets(key, &binding, &attempt);
        let issuers = self.app.issuers();
        let login = provider_of
            .log_in(issuers, &self.redirect(name), &code, &secrets, now)
            .await?;
        let mut claims = login.verified.claims.clone();
        let needed = [
            (true, &provider_of.username_claim),
            (provider.terms.ask_for_groups(), &provider_of.groups_claim),
        ];
        if needed
            .iter()
            .any(|(asked, claim)| *asked && !claims.contains_key(*claim))
        {
            // Some put into the ID token what must be there and no more.
            for (claim, value) in provider_of.user_info(issuers, &login, now).await? {
                claims.entry(claim).or_insert(value);
            }
        }
        let known = Known::Person {
            person: person(provider, &claims),
            terms: provider.terms.clone(),
            means: Means::Provider(name.to_owned()),
            shown: vec![
                (proof, attempt.ends_at),
                (login.verified.proof, login.verified.ends_at),
            ],
        };
        Ok((known, attempt.return_to))
    }

    fn provider(&self, name: &str) -> Result<&SignInProvider, ApiError> {
        let provider = self.app.http().auth.providers.get(name);
        provider.ok_or_else(|| ApiError::not_found("404 Identity Provider Not Found"))
    }

    fn redirect(&self, name: &str) -> String {
        format!("{}/api/cairn/v1/session/oidc/{name}/callback", self.base_url)
    }

    fn check_pace(&self) -> Result<(), ApiError> {
        self.app.throttle().check(self.address).map_err(too_many)
    }

    /// Counts somebody who was not let in.
    fn count(&self, provider: &str, error: ApiError) -> ApiError {
        if !matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden) {
            return error;
        }
        info!(provider, error = error.message, "refused to sign somebody in");
        if let Some(trail) = &self.trail {
            trail.failed(self.address, format!("sign in by {provider}"));
        }
        match self.app.throttle().failed(self.address) {
            Some(wait) => too_many(wait),
            None => error,
        }
    }
}

/// Notes that what was shown was shown, so that nobody shows it again; as part of the transaction
/// that begins a session by it.
pub(super) async fn take(
    txn: &mut Txn,
    shown: &[([u8; 32], cairn_cluster::Timestamp)],
) -> Result<(), ApiError> {
    for (proof, ends_at) in shown {
        let key = keys::id_token(proof);
        if txn.get(&key).await?.is_some() {
            return Err(used());
        }
        txn.put(&key, "");
        ending::order(txn, ends_at.plus(ending::CLOCKS_APART), &Ending::IdToken(*proof));
    }
    Ok(())
}

fn secrets(key: &AttemptKey, binding: &Binding, attempt: &Attempt) -> ProviderSecrets {
    ProviderSecrets {
        state: key.state(binding, attempt),
        nonce: key.nonce(binding, attempt),
        verifier: key.verifier(binding, attempt),
    }
}

fn person(provider: &SignInProvider, claims: &Map<String, Value>) -> Person {
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str).map(str::trim);
        let is_fit = |text: &&str| !text.is_empty() && text.len() <= MAX_TEXT_BYTES;
        let text = text
            .filter(is_fit)
            .filter(|text| !text.chars().any(char::is_control));
        text.map(str::to_owned)
    };
    let groups = match claims.get(&provider.provider.groups_claim) {
        Some(Value::Array(groups)) => groups
            .iter()
            .take(MAX_GROUPS)
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect(),
        Some(Value::String(group)) => vec![group.clone()],
        _ => Vec::new(),
    };
    let username = text(&provider.provider.username_claim);
    Person {
        identity: Identity {
            issuer: provider.provider.issuer.as_str().into(),
            // As it is, and checked with the ID token: two that differ are never one person.
            subject: claims
                .get("sub")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .into(),
        },
        // Where that is a mail address, what comes before the host.
        username: username.and_then(|name| name.split('@').next()?.parse::<Username>().ok()),
        name: text("name"),
        email: text(&provider.provider.email_claim),
        groups,
    }
}

fn used() -> ApiError {
    ApiError::new(
        ErrorKind::Unauthorized,
        "401 Unauthorized: this was shown before; begin again",
    )
}

impl From<BadState> for ApiError {
    fn from(bad: BadState) -> Self {
        Self::new(ErrorKind::Unauthorized, format!("401 Unauthorized: {bad}"))
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Away => Self::new(ErrorKind::Unavailable, error.to_string()),
            LoginError::Refused | LoginError::Invalid => {
                Self::new(ErrorKind::Unauthorized, format!("401 Unauthorized: {error}"))
            }
        }
    }
}
