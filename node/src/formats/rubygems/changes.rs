//! `/versions`: every change of every gem, in the order of commits.
//!
//! Its lines are links of chains, one for each project; they only get more. A node remembers how far
//! it has read them, with the digests up to there and a mark every so many lines: so a request after a
//! publish reads one line, and who wants the end of the document has it read from the last mark before
//! that. Nothing else of it is kept in memory. The lines of several projects have the order in which
//! they were committed, so that a group's document only gets longer as well, and is the same on every
//! node.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::{Snapshot, Timestamp};
use moka::future::Cache;
use tokio::sync::Mutex;

use super::documents::{Facts, Pieces, in_pieces, open};
use super::index::versions_head;
use super::names::GemName;
use super::records::Keys;
use crate::auth::Pull;
use crate::formats::place::{Place, precedence};
use crate::http::error::ApiError;
use crate::http::serve::Opened;
use crate::registry::Scope;
use crate::registry::package::View;

/// How many lines are read at a time, of all projects together.
const PAGE: usize = 512;

/// Lines between two marks.
const LINES_PER_MARK: u64 = 1024;

/// How many projects and groups are remembered.
const MAX_REMEMBERED: u64 = 4096;

/// How large pieces get.
const PIECE_BYTES: usize = 32 << 10;

/// What is remembered of each set of projects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ledgers {
    kept: Cache<Vec<u64>, Arc<Mutex<Ledger>>>,
}

/// How far the lines of some projects were read.
struct Ledger {
    /// The number of the last line of each.
    read: Vec<u64>,
    facts: Facts,
    marks: Vec<Mark>,
    lines: u64,
}

/// A place in the document from which it can be read on.
#[derive(Clone)]
struct Mark {
    offset: u64,
    read: Vec<u64>,
}

/// The lines of some projects behind a place, in their order.
struct Lines {
    place: Arc<Place<Pull>>,
    scopes: Arc<Vec<Scope>>,
    snapshot: Snapshot,
    /// The number of the last line of each that was given.
    read: Vec<u64>,
    /// Where to stop.
    until: Vec<u64>,
    ahead: Vec<VecDeque<(u64, u64, Bytes)>>,
}

impl Lines {
    fn new(of: &Source, read: Vec<u64>, until: Vec<u64>) -> Self {
        Self {
            place: of.place.clone(),
            scopes: of.scopes.clone(),
            snapshot: of.snapshot.clone(),
            ahead: vec![VecDeque::new(); read.len()],
            read,
            until,
        }
    }

    /// The next line; none after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let mut first: Option<(u64, usize)> = None;
            for at in 0..self.scopes.len() {
                self.fill(at).await?;
                let next = self.ahead[at].front().map(|(log_index, ..)| (*log_index, at));
                first = first.into_iter().chain(next).min();
            }
            let Some((_, at)) = first else {
                return Ok(None);
            };
            let Some((_, number, line)) = self.ahead[at].pop_front() else {
                return Ok(None);
            };
            let is_shown = self.is_shown(at, &line).await?;
            self.read[at] = number;
            if is_shown {
                return Ok(Some(line));
            }
        }
    }

    async fn fill(&mut self, at: usize) -> Result<(), ApiError> {
        if !self.ahead[at].is_empty() || self.read[at] >= self.until[at] {
            return Ok(());
        }
        let left = usize::try_from(self.until[at] - self.read[at]).unwrap_or(usize::MAX);
        let page = (PAGE / self.scopes.len()).max(4).min(left);
        let chain = Keys::new(self.scopes[at].collection()).changes();
        let links = self
            .snapshot
            .placed_links_after(&chain, self.read[at], page)
            .await?;
        self.ahead[at].extend(
            links
                .into_iter()
                .map(|(log_index, link)| (log_index, link.number, link.content)),
        );
        if self.ahead[at].is_empty() {
            let gone = std::io::Error::other("changes of gems that were counted are not there");
            return Err(ApiError::internal(gone));
        }
        Ok(())
    }

    /// Whether a gem is that of this project, where several have one of its name.
    async fn is_shown(&self, at: usize, line: &[u8]) -> Result<bool, ApiError> {
        if self.scopes.len() == 1 {
            return Ok(true);
        }
        let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let name: GemName = String::from_utf8_lossy(name).parse()?;
        let canonical = name.canonical();
        let mut first = None;
        for scope in self.place.scopes_holding(&canonical).await? {
            let id = scope.project().id;
            let at = self.scopes.iter().position(|scope| scope.project().id == id);
            // What is made here is the same for all who get it, so no other project counts.
            if let (Some(at), Some(package)) = (at, View::of(&scope).package(&canonical).await?) {
                let found = (precedence(&scope, &package), at);
                first = first.into_iter().chain([found]).min();
            }
        }
        Ok(first.is_none_or(|(_, first)| first == at))
    }
}

/// What a document is made from.
struct Source {
    place: Arc<Place<Pull>>,
    scopes: Arc<Vec<Scope>>,
    snapshot: Snapshot,
}

impl Source {
    async fn counts(&self) -> Result<Vec<u64>, ApiError> {
        let mut counts = Vec::with_capacity(self.scopes.len());
        for scope in self.scopes.iter() {
            let chain = Keys::new(scope.collection()).changes();
            counts.push(self.snapshot.links(&chain).await?);
        }
        Ok(counts)
    }

    fn head(&self) -> String {
        let made = self.scopes.iter().map(|scope| scope.project().created_at);
        versions_head(made.min().unwrap_or(Timestamp(0)))
    }
}

impl Ledger {
    fn new(source: &Source) -> Self {
        let mut facts = Facts::new();
        facts.add(source.head().as_bytes());
        Self {
            read: vec![0; source.scopes.len()],
            facts,
            marks: Vec::new(),
            lines: 0,
        }
    }

    /// Reads what was added.
    async fn catch_up(&mut self, source: &Source, until: Vec<u64>) -> Result<(), ApiError> {
        let mut lines = Lines::new(source, self.read.clone(), until);
        while let Some(line) = lines.next().await? {
            if self.lines.is_multiple_of(LINES_PER_MARK) && self.lines > 0 {
                self.marks.push(Mark {
                    offset: self.facts.length,
                    read: self.read.clone(),
                });
            }
            self.facts.add(&line);
            self.facts.add(b"\n");
            self.lines += 1;
            self.read.clone_from(&lines.read);
        }
        self.read = lines.read;
        Ok(())
    }

    /// The last place that is not behind an offset.
    fn mark_before(&self, offset: u64) -> Option<Mark> {
        let behind = self.marks.partition_point(|mark| mark.offset <= offset);
        behind.checked_sub(1).map(|at| self.marks[at].clone())
    }
}

/// The document from a place on.
struct Document {
    head: Option<String>,
    lines: Lines,
}

impl Pieces for Document {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut piece = self.head.take().unwrap_or_default().into_bytes();
        while piece.len() < PIECE_BYTES
            && let Some(line) = self.lines.next().await?
        {
            piece.extend_from_slice(&line);
            piece.push(b'\n');
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

impl Ledgers {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::new(MAX_REMEMBERED),
        }
    }

    /// Answers with the changes of all gems that the caller may see.
    pub(super) async fn answer(
        &self,
        place: Place<Pull>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let mut scopes = place.scopes().await?;
        scopes.sort_by_key(|scope| scope.project().id);
        let projects: Vec<u64> = scopes.iter().map(|scope| scope.project().id).collect();
        let mut source = Source {
            snapshot: place.access().snapshot().clone(),
            place: Arc::new(place),
            scopes: Arc::new(scopes),
        };
        let fresh = async { Arc::new(Mutex::new(Ledger::new(&source))) };
        let ledger = self.kept.get_with(projects, fresh).await;
        let mut ledger = ledger.lock().await;
        let mut until = source.counts().await?;
        let is_behind = |until: &[u64]| until.iter().zip(&ledger.read).any(|(until, read)| until < read);
        if let Some(scope) = source.scopes.first()
            && is_behind(&until)
        {
            // Another request has read further, on a later view.
            source.snapshot = scope.latest().await?;
            until = source.counts().await?;
        }
        ledger.catch_up(&source, until.clone()).await?;
        let served = ledger.facts.served("text/plain; charset=utf-8");
        let length = ledger.facts.length;
        let opening = match open(method, headers, length, served)? {
            Opened::Answered(response) => return Ok(response),
            Opened::Wanted(opening) => opening,
        };
        let range = opening.range();
        let mark = ledger.mark_before(range.start);
        drop(ledger);
        let (read, offset) = match mark {
            Some(mark) => (mark.read, mark.offset),
            None => (vec![0; until.len()], 0),
        };
        let document = Document {
            head: (offset == 0).then(|| source.head()),
            lines: Lines::new(&source, read, until),
        };
        let body = in_pieces(document, range.start - offset..range.end - offset);
        Ok(opening.answer(body))
    }
}
