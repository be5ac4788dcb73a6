//! `/projects/:id/trust_rules`, `/groups/:id/trust_rules`, below Cairn's own part of the API: which
//! jobs of which issuers are let in without a secret.

use std::collections::BTreeMap;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::shown::{Words, required, scopes, text};
use crate::app::App;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::{Action, Authorised, Manage, Own};
use crate::formats;
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::page::{Page, Paging};
use crate::http::rest::{Created, Nothing, Path, about};
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

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/projects/{id}/trust_rules",
            get_with(
                list::<Project, Manage>,
                about(
                    "listProjectTrustRules",
                    "Lists the rules by which CI jobs get into a project without a secret",
                ),
            )
            .post_with(
                create::<Project, Manage>,
                about(
                    "createProjectTrustRule",
                    "Makes a rule by which CI jobs get into a project without a secret",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/trust_rules/{rule_id}",
            get_with(
                show::<Project, Manage>,
                about("getProjectTrustRule", "Shows a trust rule of a project"),
            )
            .delete_with(
                remove::<Project, Manage>,
                about("removeProjectTrustRule", "Removes a trust rule of a project"),
            ),
        )
        .api_route(
            "/api/cairn/v1/groups/{id}/trust_rules",
            get_with(
                list::<Group, Own>,
                about(
                    "listGroupTrustRules",
                    "Lists the rules by which CI jobs get into a group without a secret",
                ),
            )
            .post_with(
                create::<Group, Own>,
                about(
                    "createGroupTrustRule",
                    "Makes a rule by which CI jobs get into a group without a secret",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/groups/{id}/trust_rules/{rule_id}",
            get_with(
                show::<Group, Own>,
                about("getGroupTrustRule", "Shows a trust rule of a group"),
            )
            .delete_with(
                remove::<Group, Own>,
                about("removeGroupTrustRule", "Removes a trust rule of a group"),
            ),
        )
        .with_path_items(|item| item.tag("Trust rules"))
}

/// A rule by which CI jobs get in without a secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TrustRule")]
struct Shown {
    id: u64,
    name: String,
    issuer: String,
    audience: String,
    /// What the issuer must say of the job; `*` at the end stands for anything.
    #[schemars(with = "BTreeMap<String, String>")]
    claims: BTreeMap<String, Expected>,
    #[schemars(with = "Vec<String>")]
    scopes: Scopes,
    package_type: Option<String>,
    #[schemars(with = "Option<String>")]
    package_name_pattern: Option<Expected>,
    lifetime_seconds: u32,
    created_by: Option<u64>,
    created_at: String,
}

fn shown(rule: &TrustRule) -> Shown {
    Shown {
        id: rule.number,
        name: rule.name.clone(),
        issuer: rule.issuer.to_string(),
        audience: rule.audience.clone(),
        claims: rule.claims.clone(),
        scopes: rule.scopes,
        package_type: rule.format.clone(),
        package_name_pattern: rule.package.clone(),
        lifetime_seconds: rule.lifetime_seconds,
        created_by: rule.creator,
        created_at: iso(rule.created_at),
    }
}

#[derive(Debug, Deserialize)]
struct Rule {
    rule_id: u64,
}

async fn list<T, A>(of: Authorised<T, A>, paging: Paging) -> Result<Page<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let mut selection = paging.select(true);
    trust::each(&of, |rule| selection.offer([], rule.number, shown(&rule))).await?;
    Ok(selection.finish())
}

async fn show<T, A>(of: Authorised<T, A>, Path(rule): Path<Rule>) -> Result<Json<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    Ok(Json(shown(&trust::get(&of, rule.rule_id).await?)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schemars(required)]
    name: Option<String>,
    #[schemars(required)]
    issuer: Option<String>,
    audience: Option<String>,
    #[schemars(required)]
    claims: Option<BTreeMap<String, Value>>,
    #[schemars(required)]
    scopes: Option<Words>,
    package_type: Option<String>,
    package_name_pattern: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    lifetime_seconds: Option<u64>,
}

async fn create<T, A>(
    of: Authorised<T, A>,
    Params(create): Params<Create>,
) -> Result<Created<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let new = create.rule(of.base_url().host())?;
    let rule = trust::create(&of, new).await?;
    Ok(Created(shown(&rule)))
}

async fn remove<T, A>(of: Authorised<T, A>, Path(rule): Path<Rule>) -> Result<Nothing<204>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    trust::remove(&of, rule.rule_id).await?;
    Ok(Nothing)
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
