//! What several kinds of answers have in common: times, texts of bounded length, expiry dates.

use cairn_cluster::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::scopes::{Scopes, TokenScope};
use crate::http::error::ApiError;
use crate::http::host::BaseUrl;
use crate::registry::time::{date, iso, parse_date};
use crate::registry::user::{User, UserState};

/// The longest text of a field.
const MAX_TEXT_BYTES: usize = 2000;

/// A time, or null.
pub(super) fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(iso)
}

/// A day, or null.
pub(super) fn day(at: Option<Timestamp>) -> Option<String> {
    at.map(date)
}

/// A text that is shown as it was sent; no control characters, and not endless.
pub(super) fn text(field: &str, value: &str) -> Result<String, ApiError> {
    if value.len() > MAX_TEXT_BYTES {
        return Err(ApiError::invalid_field(field, "is too long"));
    }
    if value
        .chars()
        .any(|character| character.is_control() && !"\n\t".contains(character))
    {
        return Err(ApiError::invalid_field(field, "has a control character"));
    }
    Ok(value.into())
}

/// A field that must be there.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::parameter(format!("{field} is missing")))
}

/// The day on which something ends, if one is given.
pub(super) fn end(expires_at: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = expires_at.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let end = parse_date(text).ok_or_else(|| ApiError::parameter("expires_at is invalid"))?;
    if end <= now {
        return Err(ApiError::invalid_field("expires_at", "must be in the future"));
    }
    Ok(Some(end))
}

/// Scopes as they were sent, out of those that this kind of token may have.
pub(super) fn scopes(sent: Vec<String>, allowed: &[TokenScope]) -> Result<Scopes, ApiError> {
    let unknown = |_| ApiError::parameter("scopes does not have a valid value");
    let scopes = Scopes::try_from(sent).map_err(unknown)?;
    if scopes.is_empty() {
        return Err(ApiError::parameter("scopes is missing"));
    }
    if scopes.iter().any(|scope| !allowed.contains(&scope)) {
        return Err(ApiError::parameter("scopes does not have a valid value"));
    }
    Ok(scopes)
}

/// A list that may come as one text with commas.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Words {
    List(Vec<String>),
    Text(String),
}

impl Words {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::List(list) => list,
            Self::Text(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
        }
    }
}

/// A user, as far as everybody who has signed in is told.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserHead")]
pub(super) struct ShownUser {
    id: u64,
    username: String,
    name: String,
    /// `active`, `blocked`, or `ldap_blocked` while the directory does not know it.
    state: &'static str,
    avatar_url: Option<String>,
    web_url: String,
    /// Whether it stands for an access token.
    bot: bool,
}

impl ShownUser {
    pub(super) fn of(user: &User, base_url: &BaseUrl) -> Self {
        Self {
            id: user.id,
            username: user.username.as_str().into(),
            name: user.name.clone(),
            state: match user.state {
                UserState::Active => "active",
                UserState::Blocked => "blocked",
                UserState::Vanished => "ldap_blocked",
            },
            avatar_url: None,
            web_url: format!("{base_url}/{}", user.username.as_str()),
            bot: user.bot,
        }
    }
}
