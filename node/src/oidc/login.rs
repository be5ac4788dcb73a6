//! Signing people in: the authorisation code flow with PKCE, as far as it is between this node and a
//! provider.
//!
//! Specifications: OpenID Connect Core 1.0 section 3.1, OAuth 2.0 (RFC 6749), PKCE (RFC 7636). The
//! requests are made and read by the crate `oauth2`; they go through the client of [`super::Issuers`],
//! which asks no other places than for keys.

use std::path::PathBuf;

use cairn_cluster::Timestamp;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;
use url::Url;

use super::issuers::{AskError, Endpoints, document_of};
use super::{IdToken, Issuer, Issuers, Verified, audiences};

/// A provider that people sign in at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Who it is in its tokens.
    pub issuer: Issuer,
    /// Who we are there.
    pub client_id: String,
    /// The file that holds what proves it; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What people call it.
    pub title: String,
    /// What we ask for.
    pub scopes: Vec<String>,
    /// The claim that holds the name to sign in with.
    pub username_claim: String,
    /// The one that holds the mail address.
    pub email_claim: String,
    /// The one that holds the groups.
    pub groups_claim: String,
}

/// What somebody is asked for, and with which it comes back.
pub(crate) struct Secrets {
    /// Handed back by the browser.
    pub(crate) state: String,
    /// In the ID token.
    pub(crate) nonce: String,
    /// Shown when the code is exchanged.
    pub(crate) verifier: String,
}

/// What a provider says of somebody who came back.
pub(crate) struct Login {
    /// From its ID token.
    pub(crate) verified: Verified,
    /// What it was that may be asked for more.
    access_token: String,
}

/// Whether this can be who somebody is at a provider: OpenID Connect Core 1.0, section 2, has at most
/// 255 ASCII characters.
fn is_subject(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Why somebody did not come in by a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginError {
    /// It cannot be asked, or does not do this.
    #[error("the identity provider cannot be asked now; try again later")]
    Away,
    /// It does not know the code, or the node.
    #[error("the identity provider does not take what it gave out; begin again")]
    Refused,
    /// What it says is not for us, or not about this.
    #[error("what the identity provider says of you does not hold; begin again")]
    Invalid,
}

/// What OpenID Connect adds to the answer of OAuth.
#[derive(Debug, Serialize, Deserialize)]
struct WithIdToken {
    id_token: String,
}

impl ExtraTokenFields for WithIdToken {}

type Tokens = StandardTokenResponse<WithIdToken, BasicTokenType>;

type OidcClient = Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// Where a browser is sent to sign in.
    pub(crate) async fn authorization_url(
        &self,
        issuers: &Issuers,
        redirect: &str,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Result<Url, LoginError> {
        let endpoints = self.endpoints(issuers, now).await?;
        let client = self.client(&endpoints, redirect, None)?;
        let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
        let (url, _) = client
            .authorize_url(|| CsrfToken::new(secrets.state.clone()))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_extra_param("nonce", secrets.nonce.clone())
            .url();
        Ok(url)
    }

    /// Exchanges the code that a browser came back with for what the provider says of its user.
    pub(crate) async fn log_in(
        &self,
        issuers: &Issuers,
        redirect: &str,
        code: &str,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Result<Login, LoginError> {
        let endpoints = self.endpoints(issuers, now).await?;
        let secret = self.secret().await?;
        let client = self.client(&endpoints, redirect, secret)?;
        let http = issuers
            .client(&self.issuer)
            .await
            .map_err(|error| self.away(&error))?;
        let exchanged = exchange(client, http.clone(), code.to_owned(), secrets.verifier.clone()).await;
        let tokens = exchanged.map_err(|error| match error {
            RequestTokenError::Request(error) => self.away(&error),
            RequestTokenError::ServerResponse(said) => {
                warn!(issuer = %self.issuer, error = %said.error(), "a provider did not take a code");
                LoginError::Refused
            }
            // Its cause may hold what was answered.
            _ => {
                warn!(issuer = %self.issuer, "what a provider answered to a code cannot be read");
                LoginError::Refused
            }
        })?;
        let verified = self
            .verify(issuers, &tokens.extra_fields().id_token, &secrets.nonce, now)
            .await?;
        Ok(Login {
            verified,
            access_token: tokens.access_token().secret().clone(),
        })
    }

    /// What the provider says besides the ID token of somebody who came back.
    pub(crate) async fn user_info(
        &self,
        issuers: &Issuers,
        login: &Login,
        now: Timestamp,
    ) -> Result<Map<String, Value>, LoginError> {
        let Some(url) = self.endpoints(issuers, now).await?.user_info else {
            return Ok(Map::new());
        };
        let http = issuers
            .client(&self.issuer)
            .await
            .map_err(|error| self.away(&error))?;
        let request = http.get(url).bearer_auth(&login.access_token);
        let info: Map<String, Value> = document_of(request).await.map_err(|error| self.away(&error))?;
        // It may be about somebody else.
        match info
            .get("sub")
            .is_some_and(|subject| Some(subject) == login.verified.claims.get("sub"))
        {
            true => Ok(info),
            false => Err(LoginError::Invalid),
        }
    }

    async fn verify(
        &self,
        issuers: &Issuers,
        token: &str,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Verified, LoginError> {
        let invalid = |reason: &str| {
            warn!(issuer = %self.issuer, "an ID token of a provider does not hold: {reason}");
            LoginError::Invalid
        };
        let shown = IdToken::read(token).map_err(|error| invalid(&error.to_string()))?;
        if shown.issuer() != self.issuer.as_str() {
            return Err(invalid("it is of another issuer"));
        }
        let key = issuers.key(&self.issuer, &shown, now).await;
        let key = key.map_err(|error| invalid(&error.to_string()))?;
        let verified = shown
            .verify(&key, now)
            .map_err(|error| invalid(&error.to_string()))?;
        let claims = &verified.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let audiences = audiences(claims);
        if !audiences.contains(&self.client_id.as_str()) {
            return Err(invalid("it is for another audience"));
        }
        let party = text("azp");
        if (audiences.len() > 1 || party.is_some()) && party != Some(self.client_id.as_str()) {
            return Err(invalid("it was asked for by another party"));
        }
        if text("nonce") != Some(nonce) {
            return Err(invalid("it has another nonce"));
        }
        if !text("sub").is_some_and(is_subject) {
            return Err(invalid("it is about nobody who can be told from others"));
        }
        Ok(verified)
    }

    async fn endpoints(&self, issuers: &Issuers, now: Timestamp) -> Result<Endpoints, LoginError> {
        let endpoints = issuers.endpoints(&self.issuer, now).await;
        endpoints.ok_or(LoginError::Away)
    }

    fn client(
        &self,
        endpoints: &Endpoints,
        redirect: &str,
        secret: Option<ClientSecret>,
    ) -> Result<OidcClient, LoginError> {
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|error| self.away(&error))?;
        let client = Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(endpoints.authorization.clone()))
            .set_token_uri(TokenUrl::from_url(endpoints.token.clone()))
            .set_redirect_uri(redirect);
        Ok(match secret {
            Some(secret) => client.set_client_secret(secret),
            None => client,
        })
    }

    /// Read whenever it is needed, so that it can be replaced.
    async fn secret(&self) -> Result<Option<ClientSecret>, LoginError> {
        let Some(file) = &self.client_secret_file else {
            return Ok(None);
        };
        match tokio::fs::read_to_string(file).await {
            Ok(secret) => Ok(Some(ClientSecret::new(secret.trim().to_owned()))),
            Err(error) => {
                warn!(%error, "cannot read {}", file.display());
                Err(LoginError::Away)
            }
        }
    }

    fn away(&self, error: &(dyn std::error::Error + 'static)) -> LoginError {
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        warn!(issuer = %self.issuer, "could not ask a provider: {error}{cause}");
        LoginError::Away
    }
}

/// The client of [`Issuers`], as the crate `oauth2` wants one.
struct Guarded(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Guarded {
    type Error = AskError;
    type Future = BoxFuture<'static, Result<HttpResponse, AskError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        send(self.0.clone(), request).boxed()
    }
}

fn exchange(
    client: OidcClient,
    http: reqwest::Client,
    code: String,
    verifier: String,
) -> BoxFuture<'static, Result<Tokens, RequestTokenError<AskError, BasicErrorResponse>>> {
    async move {
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier));
        request.request_async(&Guarded(http)).await
    }
    .boxed()
}

async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, AskError> {
    let request =
        reqwest::Request::try_from(request).map_err(|error| AskError::Reach(error.without_url()))?;
    let mut answer = http
        .execute(request)
        .await
        .map_err(|error| AskError::Reach(error.without_url()))?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    *response.body_mut() = super::issuers::bounded(answer).await?;
    Ok(response)
}
