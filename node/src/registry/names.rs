//! Names of groups, projects and users: parsed once at the edge.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::error::ApiError;

/// The most groups above a project, and so the deepest group.
pub const MAX_DEPTH: usize = 20;

const MAX_SEGMENT_BYTES: usize = 255;

/// Words that routes at the host root, or inside of a group, already mean something by.
const RESERVED_AT_ROOT: &[&str] = &[
    "admin", "api", "assets", "explore", "groups", "health", "help", "jwt", "login", "oauth", "projects",
    "public", "r", "search", "t", "uploads", "users", "v2",
];
const RESERVED_ANYWHERE: &[&str] = &["-", "dependency_proxy"];

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} {reason}")]
pub struct InvalidName {
    /// What was to be named.
    pub kind: &'static str,
    /// The text, shortened.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl InvalidName {
    /// Says what is wrong with `name`; only its beginning is kept.
    pub fn new(kind: &'static str, name: &str, reason: &'static str) -> Self {
        Self {
            kind,
            name: name.chars().take(64).collect(),
            reason,
        }
    }
}

impl From<InvalidName> for ApiError {
    fn from(invalid: InvalidName) -> Self {
        Self::bad_request(invalid.to_string())
    }
}

/// Who may see a group or project.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its members.
    #[default]
    Private,
    /// Everyone who has signed in.
    Internal,
    /// Everyone.
    Public,
}

impl Visibility {
    /// Its name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }
}

/// The last part of the path of a group or project: letters, digits, `_`, `-`, `.`.
///
/// ASCII alone, so that no two paths look alike; compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathSegment(String);

impl PathSegment {
    /// The segment as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathSegment {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("path", text, reason));
        let folded = text.to_ascii_lowercase();
        if text.is_empty() {
            return wrong("is empty");
        }
        if text.len() > MAX_SEGMENT_BYTES {
            return wrong("is longer than 255 characters");
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        {
            return wrong("may hold only letters, digits, '_', '-' and '.'");
        }
        if RESERVED_ANYWHERE.contains(&folded.as_str()) {
            return wrong("is a reserved word");
        }
        if !text.as_bytes()[0].is_ascii_alphanumeric() && text.as_bytes()[0] != b'_' {
            return wrong("must begin with a letter, a digit or '_'");
        }
        if text.ends_with('.') || folded.ends_with(".git") || folded.ends_with(".atom") {
            return wrong("must not end with '.', '.git' or '.atom'");
        }
        if text.contains("..") {
            return wrong("must not hold '..'");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for PathSegment {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PathSegment> for String {
    fn from(segment: PathSegment) -> Self {
        segment.0
    }
}

/// The whole path of a group or project, from its root group: `acme/tools/demo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FullPath(String);

impl FullPath {
    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which paths are compared.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// How many segments there are.
    pub fn depth(&self) -> usize {
        self.0.split('/').count()
    }

    /// The first segment: the path of the root group.
    pub fn root(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The last segment.
    pub fn last(&self) -> &str {
        self.split().1
    }

    /// The path of what it lies in (empty for a root group), and the last segment.
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// The path of what is named `segment` in this group.
    pub fn child(&self, segment: &PathSegment) -> Result<Self, InvalidName> {
        format!("{}/{}", self.0, segment.0).parse()
    }

    /// The path of a root group.
    pub fn of_root(segment: &PathSegment) -> Result<Self, InvalidName> {
        segment.0.parse()
    }
}

impl FromStr for FullPath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("path", text, reason));
        let mut depth = 0;
        for segment in text.split('/') {
            depth += 1;
            if depth > MAX_DEPTH + 1 {
                return wrong("is nested too deeply");
            }
            segment.parse::<PathSegment>()?;
        }
        let root = text.split('/').next().unwrap_or_default();
        if RESERVED_AT_ROOT.contains(&root.to_ascii_lowercase().as_str()) {
            return wrong("begins with a reserved word");
        }
        // A number in a URL is always an id.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong("must not be a number");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for FullPath {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<FullPath> for String {
    fn from(path: FullPath) -> Self {
        path.0
    }
}

impl fmt::Display for FullPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a URL names a group or project: by number, or by percent-encoded path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By number.
    Id(u64),
    /// By path.
    Path(FullPath),
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = text.parse();
            return id
                .map(Self::Id)
                .map_err(|_| InvalidName::new("id", text, "is too large"));
        }
        text.parse().map(Self::Path)
    }
}

/// The name a user signs in with; compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

impl Username {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for Username {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.parse::<PathSegment>() {
            Ok(segment) => Ok(Self(segment.0)),
            Err(invalid) => Err(InvalidName {
                kind: "username",
                ..invalid
            }),
        }
    }
}

impl TryFrom<String> for Username {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let parsed = text.parse::<FullPath>();
        match expected {
            Ok(()) => assert_eq!(parsed.as_ref().map(FullPath::as_str), Ok(text)),
            Err(reason) => assert_eq!(parsed.map_err(|invalid| invalid.reason), Err(reason)),
        }
    }

    #[test]
    fn paths_are_taken_or_refused_with_a_reason() {
        check("acme", Ok(()));
        check("acme/tools/demo", Ok(()));
        check("Acme/my.tool_1-x", Ok(()));
        check("acme/123", Ok(()));
        check("", Err("is empty"));
        check("acme//demo", Err("is empty"));
        check("acme/", Err("is empty"));
        check("acme/..", Err("must begin with a letter, a digit or '_'"));
        check("acme/a..b", Err("must not hold '..'"));
        check("acme/-", Err("is a reserved word"));
        check("acme/dependency_proxy", Err("is a reserved word"));
        check("api", Err("begins with a reserved word"));
        check("V2/demo", Err("begins with a reserved word"));
        check("acme/v2", Ok(()));
        check("123", Err("must not be a number"));
        check(
            "acme/d\u{e9}mo",
            Err("may hold only letters, digits, '_', '-' and '.'"),
        );
        check("acme/demo.git", Err("must not end with '.', '.git' or '.atom'"));
        check(&"a".repeat(256), Err("is longer than 255 characters"));
        check(&vec!["a"; MAX_DEPTH + 2].join("/"), Err("is nested too deeply"));
    }

    #[test]
    fn a_number_is_an_id_and_all_else_a_path() {
        assert_eq!("17".parse(), Ok(Reference::Id(17)));
        assert_eq!("a/1".parse(), Ok(Reference::Path("a/1".parse().unwrap())));
        assert!("99999999999999999999999".parse::<Reference>().is_err());
        assert!("".parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_shown_again(text in "\\PC{0,40}") {
            if let Ok(path) = text.parse::<FullPath>() {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(text.is_ascii() && !text.contains("..") && !text.contains("//"));
            }
        }
    }
}
