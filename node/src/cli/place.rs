//! The group or project that a command is about.

use std::fmt;

use clap::Args;

use super::client::encode_path;

/// One of the two.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Place {
    /// In this project
    #[arg(long, value_name = "PATH")]
    project: Option<String>,

    /// In this group, and all that is below it
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
}

impl Place {
    /// A group.
    pub(super) fn group(path: &str) -> Self {
        Self {
            project: None,
            group: Some(path.into()),
        }
    }

    /// A project.
    pub(super) fn project(path: &str) -> Self {
        Self {
            project: Some(path.into()),
            group: None,
        }
    }

    /// The path of something of it in the REST API, or its own for nothing.
    pub(super) fn api(&self, what: &str) -> String {
        self.below("/api/v4", what)
    }

    /// The same in Cairn's own part of the API.
    pub(super) fn own_api(&self, what: &str) -> String {
        self.below("/api/cairn/v1", what)
    }

    fn below(&self, api: &str, what: &str) -> String {
        let (kind, path) = self.parts();
        let separator = if what.is_empty() { "" } else { "/" };
        format!("{api}/{kind}s/{}{separator}{what}", encode_path(path))
    }

    fn parts(&self) -> (&'static str, &str) {
        match (&self.project, &self.group) {
            (Some(path), _) => ("project", path),
            (None, path) => ("group", path.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = self.parts();
        write!(f, "{kind} {path}")
    }
}
