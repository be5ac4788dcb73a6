//! How a command fails: a sentence, what to do next, and an exit code that scripts can tell apart.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// What the exit codes mean; shown by `cairn --help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node could answer (try again), \
4 not allowed, 5 not found, 6 in conflict with what is there, 7 the node was removed from its cluster, \
74 the storage of a node failed";

/// The outcome of a failed command, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// Anything that has no code of its own.
    Failed = 1,
    /// The arguments contradict each other. The parser of arguments exits with the same code.
    Usage = 2,
    /// No node could answer now.
    Unavailable = 3,
    /// The token is missing, does not hold or does not allow this.
    Denied = 4,
    /// There is no such thing, or the caller may not know of it.
    NotFound = 5,
    /// What is there already does not allow it.
    Conflict = 6,
    /// The node was removed from its cluster, and can never run again.
    Removed = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    /// How a script learns of it.
    pub(super) code: Code,
    /// What failed, with all its causes.
    pub(super) message: String,
    /// What to do about it.
    pub(super) next: Option<String>,
}

impl Failure {
    /// A failure with this sentence.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            next: None,
        }
    }

    /// A failure without a code of its own.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// Says what to do about it.
    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says first what was being done.
    pub(super) fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(chain(error.as_ref()))
    }
}

/// An error and all its causes in one line.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

/// Turns errors into failures that say what was being done.
pub(super) trait OrFail<T> {
    /// Says what was being done.
    fn or_fail(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: StdError + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::failed(format!("cannot {doing}: {}", chain(&error))))
    }
}
