//! `/-/oidc/exchange`: a job shows what its issuer says of it and gets a token; `/-/oidc/revoke`
//! gives that up. For all that speaks HTTP; what package clients call by paths of their own is
//! with their formats.
//!
//! Specifications: OAuth 2.0 Token Exchange (RFC 8693), Token Revocation (RFC 7009). The same
//! fields are taken as JSON, and `token` for `subject_token`.

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::App;
use crate::auth::scopes::Scopes;
use crate::formats;
use crate::http::body::{Params, json, media_type, refuse_coding, whole};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form;
use crate::http::rest::about;
use crate::registry::trust::{Exchange, Exchanged, Refusal, Wanted};

/// The largest request: a token is at most 16 KiB.
const MAX_REQUEST_BYTES: usize = 32 << 10;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/-/oidc/exchange",
            post_with(exchange, |operation| {
                about(
                    "exchangeToken",
                    "Gives a job a token for the ID token of its CI service (RFC 8693)",
                )(operation)
                .input::<Params<Fields>>()
                .response::<200, Json<Given>>()
            }),
        )
        .api_route(
            "/-/oidc/revoke",
            post_with(revoke, |operation| {
                about(
                    "giveUpToken",
                    "Gives a token up that was got by exchange (RFC 7009)",
                )(operation)
                .input::<Params<Revoke>>()
                .response::<200, Json<Empty>>()
            }),
        )
        .with_path_items(|item| item.tag("Token exchange"))
}

#[derive(Deserialize, JsonSchema)]
struct Fields {
    grant_type: Option<String>,
    #[serde(alias = "token")]
    #[schemars(required)]
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    actor_token: Option<String>,
    scope: Option<String>,
    /// The path or the number of a project.
    #[serde(alias = "audience")]
    repository: Option<String>,
    package_type: Option<String>,
}

/// An error in the words of OAuth.
struct Refused {
    kind: ErrorKind,
    error: &'static str,
    description: String,
    wait_seconds: Option<u64>,
}

impl Refused {
    fn request(description: impl Into<String>) -> Self {
        Self::bad("invalid_request", description)
    }

    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::BadRequest,
            error,
            description: description.into(),
            wait_seconds: None,
        }
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self {
            kind: error.kind,
            error: "invalid_request",
            description: error.message,
            wait_seconds: None,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut response = (self.kind.status(), no_store(), Json(body)).into_response();
        if let Some(seconds) = self.wait_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn refused(refusal: Refusal) -> Result<Refused, ApiError> {
    let description = refusal.to_string();
    Ok(match refusal {
        Refusal::Failed(error) => return Err(error),
        Refusal::TooManyRules => Refused::bad("invalid_target", description),
        Refusal::NotGranted => Refused::bad("invalid_scope", description),
        Refusal::TooMany(wait) => Refused {
            kind: ErrorKind::TooManyRequests,
            wait_seconds: Some(wait.as_secs()),
            ..Refused::bad("slow_down", description)
        },
        Refusal::IssuerAway => Refused {
            kind: ErrorKind::Unavailable,
            wait_seconds: Some(10),
            ..Refused::bad("temporarily_unavailable", description)
        },
        Refusal::Invalid(_) | Refusal::UnknownKey | Refusal::NoRule | Refusal::Used => {
            Refused::bad("invalid_grant", description)
        }
    })
}

fn no_store() -> [(header::HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}

async fn fields<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    refuse_coding(headers)?;
    let bytes: Bytes = whole(body, MAX_REQUEST_BYTES).await?;
    match media_type(headers).as_deref() {
        Some("application/x-www-form-urlencoded") => form::parse(&bytes),
        _ => json(&bytes, 4),
    }
}

async fn exchange(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let fields: Fields = match fields(&parts.headers, body).await {
        Ok(fields) => fields,
        Err(error) => return Ok(Refused::from(error).into_response()),
    };
    let wanted = match fields.wanted() {
        Ok(wanted) => wanted,
        Err(refused) => return Ok(refused.into_response()),
    };
    match Exchange::of(&app, &parts).exchange(wanted).await {
        Ok(made) => Ok((no_store(), Json(Given::from(&made))).into_response()),
        Err(refusal) => Ok(refused(refusal)?.into_response()),
    }
}

/// What a job is given.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExchangedToken")]
struct Given {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    /// How many seconds it holds.
    expires_in: u64,
    /// What it is for: scopes with spaces between them.
    scope: String,
}

impl From<&Exchanged> for Given {
    fn from(made: &Exchanged) -> Self {
        let scopes: Vec<&str> = made.scopes.into();
        Self {
            access_token: made.token.reveal(),
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: made.lifetime.as_secs(),
            scope: scopes.join(" "),
        }
    }
}

/// There is nothing to say.
#[derive(Serialize, JsonSchema)]
struct Empty {}

impl Fields {
    fn wanted(&self) -> Result<Wanted<'_>, Refused> {
        let is = |sent: &Option<String>, known: &[&str]| {
            sent.as_deref()
                .is_none_or(|sent| sent.is_empty() || known.contains(&sent))
        };
        if !is(&self.grant_type, &[GRANT]) {
            return Err(Refused::bad(
                "unsupported_grant_type",
                format!("the grant type is {GRANT}"),
            ));
        }
        if !is(&self.subject_token_type, &[ID_TOKEN, JWT]) {
            return Err(Refused::request(format!(
                "subject_token_type is {ID_TOKEN} or {JWT}"
            )));
        }
        if !is(&self.requested_token_type, &[ACCESS_TOKEN]) {
            return Err(Refused::request(format!(
                "requested_token_type is {ACCESS_TOKEN}"
            )));
        }
        if self.actor_token.is_some() {
            return Err(Refused::request("there is no acting for others"));
        }
        let token = self.subject_token.as_deref();
        let project = match self.repository.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => {
                let path = path.parse();
                Some(path.map_err(|_| Refused::bad("invalid_target", "repository is no path of a project"))?)
            }
            None => None,
        };
        let format = match self.package_type.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                let format = formats::by_name(name);
                Some(format.ok_or_else(|| Refused::request("package_type is not known"))?)
            }
            None => None,
        };
        let scopes = match self.scope.as_deref().filter(|scope| !scope.is_empty()) {
            Some(text) => {
                let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
                let scopes = Scopes::try_from(words);
                Some(scopes.map_err(|unknown| Refused::bad("invalid_scope", unknown.to_string()))?)
            }
            None => None,
        };
        Ok(Wanted {
            token: token.ok_or_else(|| Refused::request("subject_token is missing"))?,
            project,
            format: format.map(|format| format.name()),
            package: None,
            scopes,
        })
    }
}

#[derive(Deserialize, JsonSchema)]
struct Revoke {
    token: String,
}

/// Whether the token held is not told: whoever has one may say that it is to hold no more.
async fn revoke(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let Revoke { token } = match fields(&parts.headers, body).await {
        Ok(revoke) => revoke,
        Err(error) => return Ok(Refused::from(error).into_response()),
    };
    let given_up = Exchange::of(&app, &parts).give_up(&token).await;
    given_up.map_err(Refusal::into_error)?;
    Ok((StatusCode::OK, no_store(), Json(Empty {})).into_response())
}
