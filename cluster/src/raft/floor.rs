//! How far the log has reached for certain, noted beside it.
//!
//! RocksDB takes the first damaged record of its write-ahead log for the torn end of the last
//! write and goes on without what comes after. After a loss of power that is right, but a bit
//! that has flipped on the disk looks the same. A node that has lost entries which it has
//! confirmed, or its vote, must not go on: this note is how it finds out.
//!
//! The note follows the log: at once for a vote, within about a second for entries. What it says
//! was durable before; a truncation lowers it before it takes place.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::types::Vote;
use crate::files;

/// How long entries may go without a note.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The note of one log.
pub(super) struct Floor {
    path: PathBuf,
    /// The log index after the last entry that is durable.
    end: u64,
    noted: Noted,
    noted_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    /// The log index after the last entry.
    end: u64,
    /// Term, node, and whether it was won; in this order the greater vote is the later one.
    vote: Option<(u64, u64, bool)>,
}

fn parts(vote: &Vote) -> (u64, u64, bool) {
    (vote.leader_id.term, vote.leader_id.node_id, vote.committed)
}

impl Floor {
    /// Reads the note in `path` and holds the log against it, which ends before `end`.
    pub(super) fn check(path: PathBuf, end: u64, vote: Option<&Vote>) -> io::Result<Self> {
        let noted = read(&path)?;
        let found = Noted {
            end,
            vote: vote.map(parts),
        };
        if found.end < noted.end || found.vote < noted.vote {
            return Err(io::Error::other(format!(
                "the raft log is damaged: {found:?} is left of it, it had {noted:?}; \
                 such a node does not go on, replace it by a new one"
            )));
        }
        Ok(Self {
            path,
            end,
            noted,
            noted_at: None,
        })
    }

    /// The log is durable up to the entry before `end`.
    pub(super) fn reached(&mut self, end: u64) {
        self.end = end;
    }

    /// Notes a vote that is durable, and how far the log is.
    pub(super) fn note_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.note(Noted {
            end: self.end,
            vote: Some(parts(vote)),
        })
    }

    /// Notes how far the log is, if that was not done for a while.
    pub(super) fn note_if_due(&mut self) -> io::Result<()> {
        let is_due = self.noted_at.is_none_or(|at| at.elapsed() >= NOTE_EVERY);
        match is_due && self.end > self.noted.end {
            true => self.note(Noted {
                end: self.end,
                ..self.noted
            }),
            false => Ok(()),
        }
    }

    /// Says that the log may end before `end` from now on.
    pub(super) fn lower(&mut self, end: u64) -> io::Result<()> {
        self.end = self.end.min(end);
        match end < self.noted.end {
            true => self.note(Noted { end, ..self.noted }),
            false => Ok(()),
        }
    }

    fn note(&mut self, noted: Noted) -> io::Result<()> {
        let text = serde_json::to_vec(&noted).map_err(io::Error::other)?;
        files::replace(&self.path, &text)?;
        self.noted = noted;
        self.noted_at = Some(Instant::now());
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Noted> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Noted::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod stored {
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        let noted = Noted {
            end: 9,
            vote: Some((3, 5, true)),
        };
        samples::check_bytes("raft-floor", &[serde_json::to_vec(&noted).unwrap()], |stored| {
            let noted: Noted = serde_json::from_slice(stored).unwrap();
            serde_json::to_string(&noted).unwrap()
        });
    }
}
