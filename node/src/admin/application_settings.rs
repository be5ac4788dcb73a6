//! `/application/settings`: what holds for the whole instance, for administrators.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::{Authorised, Instance, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::rest::about;
use crate::registry::token::lifetime::{Lifetimes, MAX_DAYS};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/application/settings",
            get_with(
                show,
                about("getSettings", "Shows what holds for the whole instance"),
            )
            .put_with(
                change,
                about("changeSettings", "Changes what holds for the whole instance"),
            ),
        )
        .with_path_items(|item| item.tag("Instance"))
}

/// What holds for the whole instance.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApplicationSettings")]
struct Shown {
    /// Within how many days personal and access tokens have to end.
    max_personal_access_token_lifetime: Option<u32>,
    /// The same of deploy tokens.
    max_deploy_token_lifetime: Option<u32>,
    require_personal_access_token_expiry: bool,
}

fn shown(lifetimes: Lifetimes) -> Json<Shown> {
    Json(Shown {
        max_personal_access_token_lifetime: lifetimes.personal_days,
        max_deploy_token_lifetime: lifetimes.deploy_days,
        require_personal_access_token_expiry: true,
    })
}

async fn show(of: Authorised<Instance, Own>) -> Result<Json<Shown>, ApiError> {
    Ok(shown(of.token_lifetimes().await?))
}

/// What is absent stays, null takes it away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "form::nullable_number")]
    max_personal_access_token_lifetime: Option<Option<u64>>,
    #[serde(default, deserialize_with = "form::nullable_number")]
    max_deploy_token_lifetime: Option<Option<u64>>,
}

/// Days within which a token has to end; a personal one never lives longer than [`MAX_DAYS`].
fn days(field: &str, days: Option<u64>, most: u32) -> Result<Option<u32>, ApiError> {
    let checked = |days: u64| {
        let days = u32::try_from(days).ok().filter(|days| (1..=most).contains(days));
        days.ok_or_else(|| ApiError::invalid_field(field, &format!("must be between 1 and {most} days")))
    };
    days.map(checked).transpose()
}

async fn change(
    of: Authorised<Instance, Own>,
    Params(change): Params<Change>,
) -> Result<Json<Shown>, ApiError> {
    /// A century: beyond it, nothing is a limit.
    const MAX_DEPLOY_DAYS: u32 = 36_500;
    let mut lifetimes = of.token_lifetimes().await?;
    if let Some(set) = change.max_personal_access_token_lifetime {
        lifetimes.personal_days = days("max_personal_access_token_lifetime", set, MAX_DAYS)?;
    }
    if let Some(set) = change.max_deploy_token_lifetime {
        lifetimes.deploy_days = days("max_deploy_token_lifetime", set, MAX_DEPLOY_DAYS)?;
    }
    of.set_token_lifetimes(lifetimes).await?;
    Ok(shown(lifetimes))
}
