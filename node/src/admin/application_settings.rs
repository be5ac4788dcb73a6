//! `/application/settings`: what holds for the whole instance, for administrators.

use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Instance, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::token::lifetime::{Lifetimes, MAX_DAYS};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/application/settings", get(show).put(change))
}

fn shown(lifetimes: Lifetimes) -> Json<Value> {
    Json(json!({
        "max_personal_access_token_lifetime": lifetimes.personal_days,
        "max_deploy_token_lifetime": lifetimes.deploy_days,
        "require_personal_access_token_expiry": true,
    }))
}

async fn show(of: Authorised<Instance, Own>) -> Result<Json<Value>, ApiError> {
    Ok(shown(of.token_lifetimes().await?))
}

/// What is absent stays, null takes it away.
#[derive(Debug, Deserialize)]
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
) -> Result<Json<Value>, ApiError> {
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
