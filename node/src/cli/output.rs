//! What commands print: lines for people, or JSON for scripts.

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Human,
    /// For scripts: one JSON document.
    Json,
}

impl Output {
    /// Prints the result of a command.
    pub(super) fn show<R: Display + Serialize>(self, report: &R) {
        match self {
            Self::Human => write_line(io::stdout(), report),
            Self::Json => {
                let json = serde_json::to_string_pretty(report).expect("a report has a form in JSON");
                write_line(io::stdout(), &json);
            }
        }
    }

    /// Prints a secret that is the result of a command. For people, what is said about it goes
    /// to standard error, so that the secret alone can be written to a file.
    pub(super) fn show_secret<R: Display + Serialize>(self, about: &R, secret: &str) {
        match self {
            Self::Human => {
                progress(about);
                write_line(io::stdout(), &secret);
            }
            Self::Json => self.show(about),
        }
    }

    /// Prints why a command failed.
    pub(super) fn show_failure(self, failure: &Failure) {
        match self {
            Self::Human => {
                write_line(io::stderr(), &format_args!("error: {}", failure.message));
                if let Some(next) = &failure.next {
                    write_line(io::stderr(), &format_args!("  next: {next}"));
                }
            }
            Self::Json => {
                let json = serde_json::json!({
                    "error": failure.message,
                    "code": failure.code,
                    "next": failure.next,
                });
                write_line(io::stderr(), &json);
            }
        }
    }
}

/// Prints a line of progress, which is not part of the result.
pub(super) fn progress(line: impl Display) {
    write_line(io::stderr(), &line);
}

/// A reader that went away, as in `cairn … | head`, is no reason to fail.
fn write_line(mut out: impl Write, line: &dyn Display) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
