//! How long tokens may live: what administrators have set, within what holds for every token.

use std::time::Duration;

use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Action, Own};
use crate::auth::token::TokenKind;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys;
use crate::registry::reader::Reader;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a token of a user or a bot lives unless its maker says, in days.
const DEFAULT_DAYS: u32 = 365;

/// The longest that such a token may live whatever is set, in days. GitLab has the same.
pub(crate) const MAX_DAYS: u32 = 400;

/// The longest lives of tokens that are made from now on, as administrators have set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lifetimes {
    /// Of tokens of users and bots, in days; [`MAX_DAYS`] if nothing is set.
    #[serde(default)]
    pub(crate) personal_days: Option<u32>,
    /// Of deploy tokens, in days; if nothing is set, they need not end.
    #[serde(default)]
    pub(crate) deploy_days: Option<u32>,
}

impl Record for Lifetimes {}

impl Lifetimes {
    pub(in crate::registry) async fn of<R: Reader>(reader: &mut R) -> Result<Self, ReadError> {
        Ok(reader.read(&keys::token_lifetimes()).await?.unwrap_or_default())
    }

    /// When a token ends for which its maker asks for this end, if for any; refused if that is too
    /// far away.
    pub(super) fn end(
        self,
        kind: TokenKind,
        asked: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ApiError> {
        let (most, unasked) = match kind {
            TokenKind::Deploy => (self.deploy_days, self.deploy_days),
            _ => {
                let most = self.personal_days.unwrap_or(MAX_DAYS);
                (Some(most), Some(most.min(DEFAULT_DAYS)))
            }
        };
        let end = asked.or(unasked.map(|days| now.plus(DAY * days)));
        match (end, most) {
            (Some(end), Some(most)) if end > now.plus(DAY * most) => Err(ApiError::invalid_field(
                "expires_at",
                &format!("must be within {most} days"),
            )),
            _ => Ok(end),
        }
    }
}

impl<A: Action> Authorised<Instance, A> {
    /// The longest lives that are set.
    pub(crate) async fn token_lifetimes(&self) -> Result<Lifetimes, ApiError> {
        Ok(Lifetimes::of(&mut self.snapshot().clone()).await?)
    }
}

impl Authorised<Instance, Own> {
    /// Sets the longest lives. Tokens that exist keep their ends.
    pub(crate) async fn set_token_lifetimes(&self, lifetimes: Lifetimes) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, _| {
            txn.put_record(&keys::token_lifetimes(), &lifetimes);
            let days = |set: Option<u32>| set.map_or_else(|| "not set".to_owned(), |days| days.to_string());
            let act = Act::new("token_lifetimes.changed")
                .with("days of personal tokens", days(lifetimes.personal_days))
                .with("days of deploy tokens", days(lifetimes.deploy_days));
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, ()))
        })
        .await
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Lifetimes>("token-lifetimes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn in_days(days: u32) -> Timestamp {
        NOW.plus(DAY * days)
    }

    #[test]
    fn tokens_of_users_always_end_and_deploy_tokens_when_it_is_set() {
        let end = |lifetimes: Lifetimes, kind, asked| lifetimes.end(kind, asked, NOW).ok();
        let (personal, deploy) = (TokenKind::Personal, TokenKind::Deploy);
        let none = Lifetimes::default();
        assert_eq!(end(none, personal, None), Some(Some(in_days(365))));
        assert_eq!(end(none, personal, Some(in_days(400))), Some(Some(in_days(400))));
        assert_eq!(end(none, personal, Some(in_days(401))), None);
        assert_eq!(end(none, deploy, None), Some(None));
        assert_eq!(end(none, deploy, Some(in_days(4000))), Some(Some(in_days(4000))));
        let set = Lifetimes {
            personal_days: Some(30),
            deploy_days: Some(90),
        };
        assert_eq!(end(set, personal, None), Some(Some(in_days(30))));
        assert_eq!(end(set, personal, Some(in_days(31))), None);
        assert_eq!(end(set, deploy, None), Some(Some(in_days(90))));
        assert_eq!(end(set, deploy, Some(in_days(91))), None);
    }
}
