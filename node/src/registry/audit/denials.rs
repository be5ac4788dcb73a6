//! Who was refused: noted in memory, and told to the audit log together.
//!
//! A refusal changes nothing, so there is no transaction that it could be told in; and one for
//! each would let whoever is refused fill the log of the cluster. Equal ones of a few seconds are
//! told once, with how often it was; of more different ones than are kept, how many there were.
//! What a node has not told yet when it is killed is lost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use cairn_cluster::{CommitError, Kv, Timestamp, Txn};

use super::{Author, Event, Refusal, append, author, cut};
use crate::auth::caller::Caller;
use crate::http::observe::{RequestId, shown_path};

/// How often refusals are told.
pub(in crate::registry) const TELL_EVERY: Duration = Duration::from_secs(5);

/// So many different ones are kept until then: what somebody can make the log grow by.
const MAX_KEPT: usize = 100;

/// What is known of a request that may be refused. An extension of the request.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Steps>);

struct Steps {
    method: Method,
    uri: Uri,
    request: Option<RequestId>,
    /// None if the credentials do not hold.
    caller: OnceLock<Option<Caller>>,
    address: OnceLock<IpAddr>,
    /// What was tried without a caller.
    tried: OnceLock<String>,
    /// Whether something was said not to be there because the caller may not know of it.
    hidden: AtomicBool,
}

/// The refusals of one node that the audit log does not know yet.
#[derive(Default)]
pub(crate) struct Denials(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    refused: HashMap<Refused, Event>,
    left_out: u32,
}

/// What makes two refusals equal.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Refused {
    by: Author,
    from: Option<IpAddr>,
    status: u16,
    target: String,
}

impl Trail {
    /// Begins with a request.
    pub(crate) fn begin(method: &Method, uri: &Uri, request: Option<&RequestId>) -> Self {
        Self(Arc::new(Steps {
            method: method.clone(),
            uri: uri.clone(),
            request: request.cloned(),
            caller: OnceLock::new(),
            address: OnceLock::new(),
            tried: OnceLock::new(),
            hidden: AtomicBool::new(false),
        }))
    }

    /// Notes who came to the door; none if the credentials do not hold.
    pub(in crate::registry) fn came(parts: &Parts, caller: Option<&Caller>, address: Option<IpAddr>) {
        if let Some(Self(steps)) = parts.extensions.get::<Self>() {
            let _ = steps.caller.set(caller.cloned());
            if let Some(address) = address {
                let _ = steps.address.set(address);
            }
        }
    }

    /// Whether credentials of a request were found not to hold: it is decided once more where the first
    /// view of it was not surely the latest.
    pub(in crate::registry) fn has_failed(parts: &Parts) -> bool {
        let trail = parts.extensions.get::<Self>();
        trail.is_some_and(|Self(steps)| matches!(steps.caller.get(), Some(None)))
    }

    /// Notes that somebody tried to be let in, and was not.
    pub(in crate::registry) fn failed(&self, address: Option<IpAddr>, what: String) {
        let _ = self.0.caller.set(None);
        let _ = self.0.tried.set(cut(what));
        if let Some(address) = address {
            let _ = self.0.address.set(address);
        }
    }

    /// Notes that something that is there was said not to be.
    pub(in crate::registry) fn hid(&self) {
        self.0.hidden.store(true, Ordering::Relaxed);
    }

    /// The id of the request.
    pub(super) fn request(&self) -> Option<String> {
        self.0.request.as_ref().map(|id| cut(id.as_str().into()))
    }

    /// The method and the path of the request, without what is secret in it.
    pub(super) fn asked(&self) -> String {
        cut(format!("{} {}", self.0.method, shown_path(self.0.uri.path())))
    }

    /// What was refused, if the answer refuses something to somebody. Who sends no credentials is
    /// asked for them, which refuses nothing.
    fn refused(&self, status: StatusCode) -> Option<Refused> {
        let Steps { caller, hidden, .. } = &*self.0;
        let caller = caller.get()?.as_ref();
        if caller.is_some_and(Caller::is_anonymous) {
            return None;
        }
        match status {
            // Some protocols have other words for it.
            _ if self.0.tried.get().is_some() && status.is_client_error() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {}
            StatusCode::NOT_FOUND if hidden.load(Ordering::Relaxed) => {}
            _ => return None,
        }
        Some(Refused {
            by: caller.map_or(Author::Nobody, author),
            from: self.0.address.get().copied(),
            status: status.as_u16(),
            // Where somebody tries tokens does not matter, and the paths may be as many as the tries.
            target: match caller {
                Some(_) => self.asked(),
                None => match self.0.tried.get() {
                    Some(tried) => tried.clone(),
                    None => "credentials that do not hold".into(),
                },
            },
        })
    }
}

impl Denials {
    /// Notes a refusal, if the answer to a request is one.
    pub(crate) fn look(&self, trail: &Trail, status: StatusCode, now: Timestamp) {
        let Some(refused) = trail.refused(status) else {
            return;
        };
        let mut kept = self.0.lock().expect("no panic while held");
        let full = kept.refused.len() >= MAX_KEPT;
        match kept.refused.entry(refused) {
            Entry::Occupied(mut known) => {
                if let Some(refusal) = &mut known.get_mut().refused {
                    refusal.times = refusal.times.saturating_add(1);
                }
            }
            Entry::Vacant(_) if full => kept.left_out = kept.left_out.saturating_add(1),
            Entry::Vacant(place) => {
                let event = event(place.key(), trail.request(), now);
                place.insert(event);
            }
        }
    }

    /// Tells the audit log what was noted since the last time.
    pub(crate) async fn tell(&self, kv: &Kv, now: Timestamp) -> Result<(), CommitError> {
        let Kept { refused, left_out } = std::mem::take(&mut *self.0.lock().expect("no panic while held"));
        let mut events: Vec<Event> = refused.into_values().collect();
        events.sort_by_key(|event| event.at);
        if left_out > 0 {
            let others = Refused {
                by: Author::Nobody,
                from: None,
                status: StatusCode::FORBIDDEN.as_u16(),
                target: "others, which were too many to be told one by one".into(),
            };
            let mut event = event(&others, None, now);
            event.refused = event.refused.map(|refusal| Refusal {
                times: left_out,
                ..refusal
            });
            events.push(event);
        }
        if events.is_empty() {
            return Ok(());
        }
        let told = kv.transact(async |mut txn: Txn| {
            events.iter().for_each(|event| append(&mut txn, event));
            Ok::<_, CommitError>((txn, ()))
        });
        let told = told.await;
        if told.is_err() {
            self.keep(events);
        }
        told
    }

    /// Keeps what could not be told for the next time.
    fn keep(&self, events: Vec<Event>) {
        let mut kept = self.0.lock().expect("no panic while held");
        for event in events {
            let times = event.refused.map_or(0, |refusal| refusal.times);
            if kept.refused.len() >= MAX_KEPT {
                kept.left_out = kept.left_out.saturating_add(times);
                continue;
            }
            let refused = Refused {
                by: event.by.clone(),
                from: event.from,
                status: event.refused.map_or(0, |refusal| refusal.status),
                target: event.target.clone(),
            };
            match kept.refused.entry(refused) {
                Entry::Vacant(place) => drop(place.insert(event)),
                Entry::Occupied(mut known) => {
                    if let Some(refusal) = &mut known.get_mut().refused {
                        refusal.times = refusal.times.saturating_add(times);
                    }
                }
            }
        }
    }
}

fn event(refused: &Refused, request: Option<String>, at: Timestamp) -> Event {
    Event {
        at,
        by: refused.by.clone(),
        from: refused.from,
        request,
        name: "refused".into(),
        place: None,
        target: refused.target.clone(),
        changes: Vec::new(),
        refused: Some(Refusal {
            status: refused.status,
            times: 1,
        }),
    }
}
