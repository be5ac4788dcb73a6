//! The audit log: who changed what, and who was refused what.
//!
//! Whatever a request changes is told in the transaction that changes it, so neither is there
//! without the other. [`crate::registry::door`] makes sure of that: what does not tell by itself
//! what it does is told by its request. Events form a [chain](cairn_cluster::Chain), so that nobody alters or removes
//! one without breaking it. They hold no secrets: of a token its name and number, never more.

mod denials;
mod event;
mod read;

use std::net::IpAddr;

use cairn_cluster::{Timestamp, Txn, record};
use serde::Serialize;
use serde_json::Value;

use crate::auth::action::Own;
use crate::auth::caller::{Caller, Identity};
use crate::auth::token::TokenId;
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised, Instance, Resource, transact};
use crate::registry::group::Group;
use crate::registry::keys;
use crate::registry::place::Place;
use crate::registry::project::Project;

pub(in crate::registry) use denials::TELL_EVERY;
pub(crate) use denials::{Denials, Trail};
pub(crate) use event::{Author, Change, Event, Refusal, Whereabouts};
pub(crate) use read::{Numbered, ReadsAudit, each, get};

/// The longest text that is kept of something that a client chose.
const MAX_TEXT_CHARS: usize = 300;

/// Something that a transaction does, to be told to the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    name: &'static str,
    target: String,
    changes: Vec<Change>,
}

impl Act {
    /// `name` says what it is, as in `project.created`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            target: String::new(),
            changes: Vec::new(),
        }
    }

    /// What it is done to, within the group or project that it is done in.
    pub(crate) fn to(mut self, target: impl Into<String>) -> Self {
        self.target = cut(target.into());
        self
    }

    /// Something about it, or what it is set to.
    pub(crate) fn with(self, what: &'static str, now: impl Serialize) -> Self {
        self.set(what, None, Some(shown(&now)))
    }

    /// What differs afterwards; nothing if it does not.
    pub(crate) fn changing<T: PartialEq + Serialize>(
        self,
        what: &'static str,
        before: &T,
        after: &T,
    ) -> Self {
        match before == after {
            true => self,
            false => self.set(what, Some(shown(before)), Some(shown(after))),
        }
    }

    fn set(mut self, what: &'static str, before: Option<String>, after: Option<String>) -> Self {
        self.changes.push(Change {
            what: what.into(),
            before: before.map(cut),
            after: after.map(cut),
        });
        self
    }
}

/// Where something is done.
pub(crate) trait Located {
    /// The group or project; none for the instance.
    fn whereabouts(&self) -> Option<Whereabouts>;
}

impl Located for Project {
    fn whereabouts(&self) -> Option<Whereabouts> {
        Some(Whereabouts::new(self.place(), self.path.as_str()))
    }
}

impl Located for Group {
    fn whereabouts(&self) -> Option<Whereabouts> {
        Some(Whereabouts::new(self.place(), self.path.as_str()))
    }
}

/// Tells what a transaction does, as a part of it.
pub(in crate::registry) fn tell<L: Located>(txn: &mut Txn, access: &Access, place: &L, act: Act) {
    let event = Event {
        at: access.now(),
        by: match access.is_unasked() {
            true => Author::Cairn,
            false => author(access.caller()),
        },
        from: access.address(),
        request: access.trail().and_then(Trail::request),
        name: act.name.into(),
        place: place.whereabouts(),
        target: act.target,
        changes: act.changes,
        refused: None,
    };
    append(txn, &event);
}

/// Somebody who has no caller yet: a job that is let in, a user who signs in.
pub(in crate::registry) struct Newcomer<'a> {
    pub(in crate::registry) at: Timestamp,
    pub(in crate::registry) by: Author,
    pub(in crate::registry) from: Option<IpAddr>,
    pub(in crate::registry) trail: Option<&'a Trail>,
}

/// Tells that somebody is let in, as a part of the transaction that does it.
pub(in crate::registry) fn tell_of_newcomer<L: Located>(
    txn: &mut Txn,
    newcomer: &Newcomer<'_>,
    place: &L,
    act: Act,
) {
    let event = Event {
        at: newcomer.at,
        by: newcomer.by.clone(),
        from: newcomer.from,
        request: newcomer.trail.and_then(Trail::request),
        name: act.name.into(),
        place: place.whereabouts(),
        target: act.target,
        changes: act.changes,
        refused: None,
    };
    append(txn, &event);
}

impl Authorised<Instance, Own> {
    /// Tells what is about to be done to the cluster itself, which has transactions of its own. If
    /// it cannot be told, it is not to be done.
    pub(crate) async fn announce(&self, act: Act) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, _| {
            tell(&mut txn, self.access(), &Instance, act.clone());
            Ok((txn, ()))
        })
        .await
    }
}

/// Tells what a request does by its method and path, unless the transaction says more by itself.
pub(in crate::registry) fn tell_anyway<T: Resource>(txn: &mut Txn, access: &Access, what: &T) {
    if txn.is_empty() || txn.appends_to(&keys::audit()) {
        return;
    }
    let asked = access.trail().map(Trail::asked).unwrap_or_default();
    tell(txn, access, what, Act::new("changed").to(asked));
}

fn append(txn: &mut Txn, event: &Event) {
    let place = event.place.as_ref();
    let list = keys::audited(place.map(|place| Place::from(place).member()));
    txn.append(&keys::audit(), record::encode(event), &[list]);
}

fn author(caller: &Caller) -> Author {
    let token = caller.token().map(|id| id.as_str().to_owned());
    match caller.identity() {
        Identity::Anonymous => Author::Nobody,
        Identity::User(user) => Author::User {
            id: user.id,
            name: user.username.as_str().into(),
            token,
        },
        Identity::Deploy { username, .. } => Author::Deploy {
            name: username.clone(),
            token,
        },
        Identity::Job(job) => Author::Job {
            name: cut(job.origin().subject.clone()),
            token,
        },
    }
}

/// A job, by what its issuer calls it.
pub(in crate::registry) fn job(subject: &str, token: &TokenId) -> Author {
    Author::Job {
        name: cut(subject.into()),
        token: Some(token.as_str().into()),
    }
}

/// Text as it is, and all else as JSON.
fn shown(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => format!("({error})"),
    }
}

/// Text of strangers, of bounded length, and without what a terminal that shows it would obey.
fn cut(text: String) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_is_short_and_moves_no_cursor() {
        assert_eq!(cut("über".into()), "über");
        assert_eq!(cut("a\u{1b}[2J\nb".into()), "a\u{fffd}[2J\u{fffd}b");
        let long = cut("é".repeat(MAX_TEXT_CHARS + 1));
        assert_eq!(long.chars().count(), MAX_TEXT_CHARS + 1);
        assert!(long.ends_with("é…"));
    }
}
