//! `/projects/:id/trust_rules`, `/groups/:id/trust_rules`, below Cairn's own part of the API: which
//! jobs of which issuers are let in without a secret.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::shown::{Words, required, scopes, text};
use crate::app::App;
use crate::auth::scopes::TokenScope;
use crate::auth::{Action, Authorised, Manage, Own};
use crate::formats;
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::page::Paging;
use crate::oidc::Issuer;
use crate::registry::group::Group;
use crate::registry::member::Peopled;
use crate::registry::project::Project;
use crate::registry::time::iso;
use crate::registry::token::ManagesTokens;
use crate::registry::trust::{self, Expected, NewRule, TrustRule};

/// How long a token lives unless its rule says, and the bounds within which a rule may say.
const DEFAULT_LIFETIME_SECONDS: u32 = 15 * 60;
const MIN_LIFETIME_SECONDS: u32 = 60;
const MAX_LIFETIME_SECONDS: u32 = 60 * 60;

/// The most claims of a rule.
const MAX_CLAIMS: usize = 20;

/// The longest name of a claim, a rule or an audience.
const MAX_NAME_BYTES: usize = 255;

/// Claims that say nothing of the job; issuer and audience have fields of their own.
const NOT_OF_THE_JOB: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/cairn/v1/projects/{id}/trust_rules",
            get(list::<Project, Manage>).post(create::<Project, Manage>),
        )
        .route(
            "/api/cairn/v1/projects/{id}/trust_rules/{rule_id}",
            get(show::<Project, Manage>).delete(remove::<Project, Manage>),
        )
        .route(
            "/api/cairn/v1/groups/{id}/trust_rules",
            get(list::<Group, Own>).post(create::<Group, Own>),
        )
        .route(
            "/api/cairn/v1/groups/{id}/trust_rules/{rule_id}",
            get(show::<Group, Own>).delete(remove::<Group, Own>),
        )
}

fn shown(rule: &TrustRule) -> Value {
    json!({
        "id": rule.number,
        "name": rule.name,
        "issuer": rule.issuer,
        "audience": rule.audience,
        "claims": rule.claims,
        "scopes": rule.scopes,
        "package_type": rule.format,
        "package_name_pattern": rule.package,
        "lifetime_seconds": rule.lifetime_seconds,
        "created_by": rule.creator,
        "created_at": iso(rule.created_at),
    })
}

#[derive(Debug, Deserialize)]
struct Rule {
    rule_id: u64,
}

async fn list<T, A>(of: Authorised<T, A>, paging: Paging) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let mut selection = paging.select(true);
    trust::each(&of, |rule| selection.offer([], rule.number, shown(&rule))).await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn show<T, A>(of: Authorised<T, A>, Path(rule): Path<Rule>) -> Result<Json<Value>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    Ok(Json(shown(&trust::get(&of, rule.rule_id).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    claims: Option<BTreeMap<String, Value>>,
    scopes: Option<Words>,
    package_type: Option<String>,
    package_name_pattern: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    lifetime_seconds: Option<u64>,
}

async fn create<T, A>(of: Authorised<T, A>, Params(create): Params<Create>) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let new = create.rule(of.base_url().host())?;
    let rule = trust::create(&of, new).await?;
    Ok((StatusCode::CREATED, Json(shown(&rule))).into_response())
}

async fn remove<T, A>(of: Authorised<T, A>, Path(rule): Path<Rule>) -> Result<StatusCode, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    trust::remove(&of, rule.rule_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Create {
    /// The rule that is meant. Its audience is the host by which its maker knows the cluster: a
    /// host that is told with a job's request would be whatever the job's token is for.
    fn rule(self, host: &str) -> Result<NewRule, ApiError> {
        let issuer: Issuer = required("issuer", self.issuer)?.parse()?;
        let audience = match self.audience {
            Some(audience) => bounded("audience", &audience)?,
            None => host.to_owned(),
        };
        let format = match self.package_type {
            Some(name) => {
                let known = formats::by_name(&name);
                Some(known.ok_or_else(|| ApiError::parameter("package_type does not have a valid value"))?)
            }
            None => None,
        };
        let package = match (self.package_name_pattern, format) {
            (None, _) => None,
            (Some(pattern), Some(format)) => {
                let pattern: Expected = pattern.parse()?;
                Some(pattern.spelled(|name| format.spelled_alike(name)))
            }
            // What is one name in one format are several in another.
            (Some(_), None) => {
                return Err(ApiError::parameter("package_name_pattern needs a package_type"));
            }
        };
        Ok(NewRule {
            name: bounded("name", &required("name", self.name)?)?,
            issuer,
            audience,
            claims: claims(required("claims", self.claims)?)?,
            scopes: scopes(required("scopes", self.scopes)?.into_vec(), TokenScope::JOB)?,
            format: format.map(|format| format.name().to_owned()),
            package,
            lifetime_seconds: lifetime(self.lifetime_seconds)?,
        })
    }
}

fn bounded(field: &str, value: &str) -> Result<String, ApiError> {
    match value.len() {
        1..=MAX_NAME_BYTES => text(field, value),
        _ => Err(ApiError::invalid_field(field, "has between 1 and 255 bytes")),
    }
}

fn claims(sent: BTreeMap<String, Value>) -> Result<BTreeMap<String, Expected>, ApiError> {
    let wrong = |reason: &str| Err(ApiError::invalid_field("claims", reason));
    if sent.len() > MAX_CLAIMS {
        return wrong("has too many entries");
    }
    let mut claims = BTreeMap::new();
    for (name, value) in sent {
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || NOT_OF_THE_JOB.contains(&name.as_str()) {
            return wrong("names a claim that says nothing of the job");
        }
        let Some(value) = trust::claim_text(&value) else {
            return wrong("has a value that is neither text nor a number nor a boolean");
        };
        claims.insert(name, value.parse::<Expected>()?);
    }
    // An issuer may speak for all the world.
    if claims.values().all(Expected::is_anything) {
        return wrong("must ask for something: without that, every job of the issuer is let in");
    }
    Ok(claims)
}

fn lifetime(sent: Option<u64>) -> Result<u32, ApiError> {
    let Some(sent) = sent else {
        return Ok(DEFAULT_LIFETIME_SECONDS);
    };
    let fits = |seconds: &u32| (MIN_LIFETIME_SECONDS..=MAX_LIFETIME_SECONDS).contains(seconds);
    u32::try_from(sent)
        .ok()
        .filter(fits)
        .ok_or_else(|| ApiError::invalid_field("lifetime_seconds", "is between 60 and 3600"))
}
