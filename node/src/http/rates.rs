//! How many requests a client may make in a minute: a user or a deploy token, and whoever sends no
//! credentials by address. Without a limit in the configuration, nothing is counted.
//!
//! A client has so many requests at once as the burst allows, and gets them back evenly. Each node
//! counts for itself. Administrators are not limited, so that whoever runs the cluster can always
//! act; nor is what comes to no project, such as probes.
//!
//! The door ([`crate::registry::door`]) says who sends a request; so does what an answer from memory
//! was made for. A request counts once, whoever of them says it first.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, header};
use cairn_cluster::Timestamp;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::auth::caller::Caller;
use crate::auth::throttle::network;
use crate::auth::token::TokenId;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::ClientAddress;
use crate::http::metrics;
use crate::http::settings::RateLimits;

/// Clients that are counted at a time, for each limit. Beyond it, those that asked for nothing the
/// longest begin anew.
const MAX_CLIENTS: u64 = 100_000;

const MINUTE: Duration = Duration::from_secs(60);

/// The limits at work.
pub(crate) struct Rates {
    reads: Option<Limit>,
    changes: Option<Limit>,
    anonymous: Option<Limit>,
}

/// Whom a request counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// The address that it comes from.
    Anonymous,
    /// Nobody.
    Administrator,
    User(u64),
    /// What is nobody's in particular.
    Token(TokenId),
}

/// A request that counts, once. An extension of the request. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turn(Arc<Inner>);

struct Inner {
    changes: bool,
    address: Option<IpAddr>,
    standing: OnceLock<Standing>,
}

/// How a client stands after a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    name: &'static str,
    per_minute: u32,
    /// How many requests may be made at once.
    burst: u32,
    remaining: u32,
    /// How long to wait, if there were too many.
    refused_for: Option<Duration>,
}

impl Principal {
    pub(crate) fn of(caller: &Caller) -> Self {
        match (caller.user(), caller.token()) {
            (Some(_), _) if caller.is_admin() => Self::Administrator,
            (Some(user), _) => Self::User(user.id),
            (None, Some(token)) => Self::Token(token.clone()),
            (None, None) => Self::Anonymous,
        }
    }
}

impl Rates {
    pub(crate) fn new(limits: &RateLimits) -> Self {
        let limit = |name, per_minute: Option<NonZeroU32>| {
            per_minute.map(|per_minute| Limit::new(name, per_minute, limits.burst))
        };
        Self {
            reads: limit("cairn_reads", limits.reads),
            changes: limit("cairn_changes", limits.changes),
            anonymous: limit("cairn_anonymous", limits.anonymous),
        }
    }

    /// Has a request count, if there are limits.
    pub(crate) fn begin(&self, request: &mut Request, address: Option<ClientAddress>) -> Option<Turn> {
        if self.reads.is_none() && self.changes.is_none() && self.anonymous.is_none() {
            return None;
        }
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let turn = Turn(Arc::new(Inner {
            changes: !reads,
            address: address.map(|address| address.0),
            standing: OnceLock::new(),
        }));
        request.extensions_mut().insert(turn.clone());
        Some(turn)
    }

    /// Counts the request for whoever sends it, unless it was counted; refuses it if there were too
    /// many.
    pub(crate) fn count(&self, request: &Extensions, principal: &Principal) -> Result<(), ApiError> {
        let Some(Turn(turn)) = request.get::<Turn>() else {
            return Ok(());
        };
        let (limit, client) = match principal {
            Principal::Administrator => return Ok(()),
            Principal::Anonymous => match turn.address {
                Some(address) => (&self.anonymous, Client::Address(network(address))),
                None => return Ok(()),
            },
            Principal::User(id) => (self.signed_in(turn), Client::User(*id)),
            Principal::Token(id) => (self.signed_in(turn), Client::Token(id.clone())),
        };
        if let Some(limit) = limit {
            turn.standing.get_or_init(|| limit.count(&client));
        }
        refused(turn)
    }

    fn signed_in(&self, turn: &Inner) -> &Option<Limit> {
        match turn.changes {
            true => &self.changes,
            false => &self.reads,
        }
    }

    /// Refuses what was counted already, and was too much.
    pub(crate) fn check(&self, request: &Extensions) -> Result<(), ApiError> {
        match request.get::<Turn>() {
            Some(Turn(turn)) => refused(turn),
            None => Ok(()),
        }
    }
}

fn refused(turn: &Inner) -> Result<(), ApiError> {
    match turn.standing.get() {
        Some(Standing {
            refused_for: Some(_), ..
        }) => Err(ApiError::new(
            ErrorKind::TooManyRequests,
            "429 Too Many Requests: try again later",
        )),
        _ => Ok(()),
    }
}

impl Turn {
    /// Tells the client how it stands, in the headers that GitLab's clients read.
    pub(crate) fn tell(&self, now: Timestamp, headers: &mut HeaderMap) {
        if let Some(standing) = self.0.standing.get() {
            standing.tell(now, headers);
        }
    }
}

impl Standing {
    fn tell(&self, now: Timestamp, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
        const NAME: HeaderName = HeaderName::from_static("ratelimit-name");
        const OBSERVED: HeaderName = HeaderName::from_static("ratelimit-observed");
        const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
        let used = self.burst.saturating_sub(self.remaining);
        let until = self
            .refused_for
            .unwrap_or_else(|| MINUTE * used / self.per_minute);
        let refused = u32::from(self.refused_for.is_some());
        headers.insert(LIMIT, HeaderValue::from(self.per_minute));
        headers.insert(NAME, HeaderValue::from_static(self.name));
        headers.insert(OBSERVED, HeaderValue::from(used.saturating_add(refused)));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        let reset = now.plus(until).0.div_ceil(1000);
        headers.insert(RESET, HeaderValue::from(reset));
        if let Some(wait) = self.refused_for {
            let seconds = (wait.as_millis() as u64).div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

/// One limit, and how far each client is from it.
struct Limit {
    name: &'static str,
    per_minute: NonZeroU32,
    burst: NonZeroU32,
    clients: RateLimiter<Client, Clients, SinceStart, StateInformationMiddleware>,
}

/// Who is counted by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    Address(IpAddr),
    User(u64),
    Token(TokenId),
}

impl Limit {
    fn new(name: &'static str, per_minute: NonZeroU32, burst: Duration) -> Self {
        let at_once = u128::from(per_minute.get()) * burst.as_millis() / MINUTE.as_millis();
        let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN);
        let each = MINUTE / per_minute.get();
        let quota = Quota::with_period(each.max(Duration::from_nanos(1)))
            .expect("the period is not zero")
            .allow_burst(burst);
        let clients = Clients::new(each.saturating_mul(burst.get()));
        Self {
            name,
            per_minute,
            burst,
            clients: RateLimiter::new(quota, clients, SinceStart(Instant::now())),
        }
    }

    fn count(&self, client: &Client) -> Standing {
        let (remaining, refused_for) = match self.clients.check_key(client) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(until.wait_time_from(self.clients.clock().now()))),
        };
        if refused_for.is_some() {
            metrics::limited(self.name);
        }
        Standing {
            name: self.name,
            per_minute: self.per_minute.get(),
            burst: self.burst.get(),
            remaining,
            refused_for,
        }
    }
}

/// What is kept of each client, in bounded memory.
struct Clients(Cache<Client, Arc<InMemoryState>>);

impl Clients {
    /// After `full`, a client that asks for nothing has back all that it may ask for.
    fn new(full: Duration) -> Self {
        let kept = Cache::builder()
            .max_capacity(MAX_CLIENTS)
            // Who comes anew must count, however many come.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(full.max(Duration::from_secs(1)));
        Self(kept.build())
    }
}

impl StateStore for Clients {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, client: &Client, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let kept = self.0.get(client);
        let state = kept.unwrap_or_else(|| self.0.get_with_by_ref(client, Arc::default));
        state.measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

/// Time since it was made.
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_minute: u32, burst: Duration) -> Limit {
        Limit::new("cairn_test", NonZeroU32::new(per_minute).unwrap(), burst)
    }

    fn refused_for(limit: &Limit, user: u64) -> Option<Duration> {
        limit.count(&Client::User(user)).refused_for
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_comes_back_evenly() {
        let limit = limit(60, Duration::from_secs(10));
        for _ in 0..10 {
            assert_eq!(refused_for(&limit, 1), None);
        }
        assert_eq!(refused_for(&limit, 1), Some(Duration::from_secs(1)));
        assert_eq!(refused_for(&limit, 2), None);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(refused_for(&limit, 1), Some(Duration::from_millis(400)));
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(refused_for(&limit, 1), None);
        assert!(refused_for(&limit, 1).is_some());
        // More than the burst is never there.
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(limit.count(&Client::User(1)).remaining, 9);
    }

    #[test]
    fn limits_of_any_size_let_one_request_through_at_least() {
        for per_minute in [1, 7, 1000, u32::MAX] {
            for burst in [Duration::ZERO, MINUTE, Duration::from_secs(7 * 24 * 3600)] {
                let limit = limit(per_minute, burst);
                let standing = limit.count(&Client::User(1));
                assert_eq!(standing.refused_for, None, "{per_minute} {burst:?}");
                let mut headers = HeaderMap::new();
                standing.tell(Timestamp(1_782_907_200_000), &mut headers);
                assert_eq!(headers.len(), 5);
            }
        }
    }

    #[test]
    fn however_many_clients_come_few_are_kept_and_the_last_ones_count() {
        let limit = limit(1, MINUTE);
        for user in 0..2 * MAX_CLIENTS {
            assert_eq!(refused_for(&limit, user), None);
        }
        let Clients(kept) = limit.clients.into_state_store();
        kept.run_pending_tasks();
        assert!(kept.entry_count() <= MAX_CLIENTS);
        assert!(kept.contains_key(&Client::User(2 * MAX_CLIENTS - 1)));
    }
}
