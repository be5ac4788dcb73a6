//! The keys of issuers: asked for once they are needed, remembered, asked for again when a token
//! names one that is not known.
//!
//! Each node remembers by itself. What an issuer withdraws is believed for [`FRESH`] at most, and
//! for [`STALE`] while the issuer cannot be asked.

use std::sync::Arc;
use std::time::Duration;

use cairn_cluster::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use moka::sync::Cache;
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use tracing::{info, warn};
use url::{Host, Url};

use super::id_token::IdToken;
use super::issuer::{Issuer, is_here, may_be_asked};

/// How long keys are used without asking again.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// How old the keys may be of an issuer that does not answer.
const STALE: Duration = Duration::from_secs(60 * 60);

/// How long an issuer is left alone after it was asked, whatever tokens come in.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long an answer may take ...
const DEADLINE: Duration = Duration::from_secs(10);
/// ... and how long it may take to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(4);

/// The largest document of an issuer.
const MAX_DOCUMENT_BYTES: usize = 256 << 10;

/// The most keys of an issuer.
const MAX_KEYS: usize = 100;

/// The most redirects, which must stay on the same host.
const MAX_REDIRECTS: usize = 3;

/// The most issuers whose keys are remembered.
const MAX_ISSUERS: u64 = 10_000;

/// What this node knows of issuers.
pub(crate) struct Issuers {
    known: Cache<Issuer, Arc<Mutex<Known>>>,
    here: OnceCell<reqwest::Client>,
    elsewhere: OnceCell<reqwest::Client>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Key>,
    endpoints: Option<Endpoints>,
    /// When the keys were asked for; never, if there are none.
    fetched_at: Option<Timestamp>,
    asked_at: Option<Timestamp>,
    is_away: bool,
}

/// Where people sign in at an issuer, and where their codes are exchanged.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) user_info: Option<Url>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// The issuer does not have it.
    #[error("the issuer has no such key")]
    Unknown,
    /// The issuer cannot be asked.
    #[error("the issuer does not answer")]
    Away,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no client for HTTP could be set up")]
    Setup(#[source] reqwest::Error),
    #[error("it could not be reached")]
    Reach(#[source] reqwest::Error),
    #[error("it answered {0}")]
    Status(u16),
    #[error("a document of it is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    #[error("a document of it is not as expected")]
    Document(#[source] serde_json::Error),
    #[error("it says that it is another issuer")]
    OtherIssuer,
    #[error("its keys are at a place that is not asked")]
    KeysElsewhere,
    #[error("it has no key for RS256 or ES256")]
    NoKeys,
}

impl Default for Issuers {
    fn default() -> Self {
        Self {
            known: Cache::new(MAX_ISSUERS),
            here: OnceCell::new(),
            elsewhere: OnceCell::new(),
        }
    }
}

impl Issuers {
    /// The key of an issuer that a token is said to be signed with.
    pub(crate) async fn key(
        &self,
        issuer: &Issuer,
        token: &IdToken<'_>,
        now: Timestamp,
    ) -> Result<DecodingKey, KeyError> {
        let known = self.known.get_with_by_ref(issuer, Default::default);
        // Whoever comes while the issuer is asked waits for what it answers.
        let mut known = known.lock().await;
        if let Some(key) = known.find(token).filter(|_| known.is_younger_than(FRESH, now)) {
            return Ok(key);
        }
        if known.may_ask(now) {
            self.ask(issuer, &mut known, now).await;
        }
        let is_young = match known.is_away {
            true => known.is_younger_than(STALE, now),
            false => known.is_younger_than(FRESH, now),
        };
        match known.find(token).filter(|_| is_young) {
            Some(key) => Ok(key),
            None if known.is_away || !is_young => Err(KeyError::Away),
            None => Err(KeyError::Unknown),
        }
    }

    /// Where people sign in; none if it does not do that, or cannot be asked.
    pub(super) async fn endpoints(&self, issuer: &Issuer, now: Timestamp) -> Option<Endpoints> {
        let known = self.known.get_with_by_ref(issuer, Default::default);
        let mut known = known.lock().await;
        if !known.is_younger_than(FRESH, now) && known.may_ask(now) {
            self.ask(issuer, &mut known, now).await;
        }
        known
            .endpoints
            .clone()
            .filter(|_| known.is_younger_than(STALE, now))
    }

    async fn ask(&self, issuer: &Issuer, known: &mut Known, now: Timestamp) {
        known.asked_at = Some(now);
        match self.keys_of(issuer).await {
            Ok((keys, endpoints)) => {
                info!(%issuer, keys = keys.len(), "asked an issuer for its keys");
                *known = Known {
                    keys,
                    endpoints,
                    fetched_at: Some(now),
                    asked_at: Some(now),
                    is_away: false,
                };
            }
            Err(error) => {
                known.is_away = true;
                let error = anyhow::Error::new(error);
                warn!(%issuer, "could not ask an issuer for its keys: {error:#}");
            }
        }
    }

    async fn keys_of(&self, issuer: &Issuer) -> Result<(Vec<Key>, Option<Endpoints>), AskError> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: Url,
            authorization_endpoint: Option<Url>,
            token_endpoint: Option<Url>,
            userinfo_endpoint: Option<Url>,
        }
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let http = self.client(issuer).await?;
        let configuration: Configuration = document(http, &issuer.configuration_url()).await?;
        // Keys of another issuer are believed for that one alone.
        if configuration.issuer != issuer.as_str() {
            return Err(AskError::OtherIssuer);
        }
        check_place(issuer, &configuration.jwks_uri)?;
        let set: KeySet = document(http, configuration.jwks_uri.as_str()).await?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        // Keys of kinds that are not known here are for others.
        let keys: Vec<Key> = keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|key| Key::of(&key))
            .collect();
        if keys.is_empty() {
            return Err(AskError::NoKeys);
        }
        let fit = |url: Option<Url>| url.filter(|url| check_place(issuer, url).is_ok());
        let endpoints = fit(configuration.authorization_endpoint).zip(fit(configuration.token_endpoint));
        let endpoints = endpoints.map(|(authorization, token)| Endpoints {
            authorization,
            token,
            user_info: fit(configuration.userinfo_endpoint),
        });
        Ok((keys, endpoints))
    }

    /// Setting up HTTP reads the certificates of the system's authorities.
    pub(super) async fn client(&self, issuer: &Issuer) -> Result<&reqwest::Client, AskError> {
        let (cell, is_here) = match issuer.is_here() {
            true => (&self.here, true),
            false => (&self.elsewhere, false),
        };
        let set_up = async || {
            let client = tokio::task::spawn_blocking(move || client(is_here)).await;
            client.expect("setting up HTTP does not panic")
        };
        cell.get_or_try_init(set_up).await.map_err(AskError::Setup)
    }
}

fn client(is_here: bool) -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder()
        .timeout(DEADLINE)
        .connect_timeout(CONNECT_DEADLINE)
        .redirect(Policy::custom(|redirect| {
            let from = redirect.previous().last().map(Url::origin);
            let stays = from.is_some_and(|from| from == redirect.url().origin());
            match stays && redirect.previous().len() <= MAX_REDIRECTS {
                true => redirect.follow(),
                // The answer that sends elsewhere is the answer.
                false => redirect.stop(),
            }
        }))
        .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")));
    let client = match is_here {
        // Another machine's loopback is not ours.
        true => client.no_proxy(),
        false => client.https_only(true).dns_resolver(Arc::new(NotHere)),
    };
    client.build()
}

/// Finds addresses of names, apart from those that are never asked.
struct NotHere;

impl Resolve for NotHere {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let fit: Vec<_> = found.filter(|address| may_be_asked(address.ip())).collect();
            if fit.is_empty() {
                return Err("it is at an address that is never asked".into());
            }
            Ok(Box::new(fit.into_iter()) as _)
        })
    }
}

/// Makes sure that an issuer does not send us where it could not be itself.
fn check_place(issuer: &Issuer, keys: &Url) -> Result<(), AskError> {
    let fits = match keys.host() {
        _ if is_here(keys) => issuer.is_here(),
        Some(Host::Ipv4(address)) => keys.scheme() == "https" && may_be_asked(address.into()),
        Some(Host::Ipv6(address)) => keys.scheme() == "https" && may_be_asked(address.into()),
        Some(Host::Domain(_)) => keys.scheme() == "https" && !issuer.is_here(),
        None => false,
    };
    match fits {
        true => Ok(()),
        false => Err(AskError::KeysElsewhere),
    }
}

async fn document<T: DeserializeOwned>(http: &reqwest::Client, url: &str) -> Result<T, AskError> {
    document_of(http.get(url)).await
}

/// What a request is answered with, which must be JSON.
pub(super) async fn document_of<T: DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<T, AskError> {
    let answer = request.send().await.map_err(reach)?;
    if !answer.status().is_success() {
        return Err(AskError::Status(answer.status().as_u16()));
    }
    serde_json::from_slice(&bounded(answer).await?).map_err(AskError::Document)
}

fn reach(error: reqwest::Error) -> AskError {
    AskError::Reach(error.without_url())
}

/// The body of an answer, which must not be endless.
pub(super) async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, AskError> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reach)? {
        if bytes.len() + piece.len() > MAX_DOCUMENT_BYTES {
            return Err(AskError::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

impl Known {
    fn is_younger_than(&self, age: Duration, now: Timestamp) -> bool {
        self.fetched_at.is_some_and(|at| now.since(at) < age)
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        self.asked_at.is_none_or(|at| now.since(at) >= ASK_EVERY)
    }

    /// The key that a token names. A token that names none is signed with the only one there is.
    fn find(&self, token: &IdToken<'_>) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == token.algorithm());
        let found = match token.key_id() {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        found.map(|key| key.key.clone())
    }
}

impl Key {
    /// A key that a token may be signed with; none if it is for something else.
    fn of(jwk: &Jwk) -> Option<Self> {
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            _ => return None,
        };
        let is_for_it = jwk.common.key_algorithm.is_none_or(|for_this| for_this == name);
        let is_for_signatures = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        if !is_for_it || !is_for_signatures {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}
