//! Tags that clients move and read at the same time, and what they saw of each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::invariants::linearizable::{self, Kind, Request};
use crate::invariants::{Invariant, Violation};

/// After so many requests another tag is used: a history must be short to be judged.
const REQUESTS: usize = 40;

/// As many writes whose outcome is unknown as one history may have: each may take effect at any
/// later time.
const UNKNOWN: usize = 8;

/// The tags of one kind of client.
pub(super) struct Tags {
    prefix: &'static str,
    clock: AtomicU64,
    tags: Mutex<Vec<Tag>>,
}

/// A tag and all that was asked about it.
struct Tag {
    name: String,
    history: Vec<Request>,
}

impl Tag {
    fn is_full(&self) -> bool {
        let is_unknown =
            |request: &&Request| request.ended.is_none() && matches!(request.kind, Kind::Write(_));
        self.history.len() >= REQUESTS || self.history.iter().filter(is_unknown).count() >= UNKNOWN
    }
}

/// A request that is under way.
pub(super) struct Asked {
    /// The tag that it is about.
    pub(super) tag: String,
    at: usize,
}

impl Tags {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            clock: AtomicU64::new(0),
            tags: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Tag>> {
        self.tags.lock().expect("no panic while held")
    }

    /// Begins a request about the tag that is in use.
    pub(super) fn begin(&self, kind: Kind) -> Asked {
        let mut tags = self.lock();
        if tags.last().is_none_or(Tag::is_full) {
            tags.push(Tag {
                name: format!("{}-{}", self.prefix, self.now()),
                history: Vec::new(),
            });
        }
        let tag = tags.last_mut().expect("there is one");
        tag.history.push(Request {
            began: self.now(),
            ended: None,
            kind,
        });
        Asked {
            tag: tag.name.clone(),
            at: tag.history.len() - 1,
        }
    }

    /// A request was answered with success, and so.
    pub(super) fn end(&self, asked: &Asked, kind: Kind) {
        let ended = self.now();
        let mut tags = self.lock();
        let tag = tags.iter_mut().find(|tag| tag.name == asked.tag);
        // Nothing is judged while it is under way.
        let request = &mut tag.expect("it was in use").history[asked.at];
        (request.ended, request.kind) = (Some(ended), kind);
    }

    /// The tag that is in use, if there is one.
    pub(super) fn in_use(&self) -> bool {
        self.lock().last().is_some()
    }

    /// Judges what was seen so far, while nothing is under way. Gives how many requests that were,
    /// of tags that are done with.
    pub(super) fn check(&self) -> Result<u64, Violation> {
        let mut tags = self.lock();
        for tag in tags.iter() {
            linearizable::check(&tag.name, &tag.history)?;
        }
        let in_use = tags.pop();
        let checked = tags.iter().map(|tag| tag.history.len() as u64).sum();
        tags.clear();
        tags.extend(in_use);
        Ok(checked)
    }
}

/// A tag's value that nobody ever wrote.
pub(super) fn strange(tag: &str, node: usize, value: &str) -> Violation {
    Invariant::Linearizable.violated(format!(
        "node {} says that the tag {tag} is {value}, which nobody wrote",
        node + 1
    ))
}
