//! npm's names: packages, versions, dist-tags, tarball files, and how they are spelled in URLs.
//!
//! The rules are those of the client's own name validator. A name that was legal once (upper
//! case, `!~*'()`) can still be asked for, but no new package may take it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest package name, scope and slash included.
const MAX_NAME_CHARS: usize = 214;

/// The longest version; the client's parser has the same limit.
const MAX_VERSION_CHARS: usize = 256;

/// The longest dist-tag.
const MAX_TAG_CHARS: usize = 128;

/// The largest number that JavaScript holds exactly; clients refuse versions beyond it.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("package name {name:?} {problem}")]
    Package { name: String, problem: &'static str },
    #[error("version {version:?} {problem}")]
    Version { version: String, problem: String },
    #[error("dist-tag {tag:?} {problem}")]
    Tag { tag: String, problem: &'static str },
}

/// Cuts foreign text to what an error message can bear.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The name of a package: `name` or `@scope/name`.
///
/// Invariant: 1 to 214 ASCII characters that need no escape in a URL, apart from the `@` and
/// the `/` of a scope; neither part begins with a dot. Names are case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PackageName {
    text: String,
    /// Where the part after the scope begins.
    base_at: usize,
}

impl PackageName {
    /// The whole name, scope included.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The scope without its `@`.
    pub(crate) fn scope(&self) -> Option<&str> {
        (self.base_at > 0).then(|| &self.text[1..self.base_at - 1])
    }

    /// The name without its scope.
    pub(crate) fn base(&self) -> &str {
        &self.text[self.base_at..]
    }

    /// Refuses what only old packages may be called.
    pub(crate) fn check_new(&self) -> Result<(), NameError> {
        let refuse = |problem| {
            Err(NameError::Package {
                name: self.text.clone(),
                problem,
            })
        };
        if self.text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return refuse("has upper-case letters, which new packages may not have");
        }
        if self.text.bytes().any(|byte| b"!~*'()".contains(&byte)) {
            return refuse("has one of the characters !~*'(), which new packages may not have");
        }
        Ok(())
    }

    /// The name of a version's tarball; the scope is not part of it.
    pub(crate) fn tarball_file(&self, version: &Version) -> String {
        format!("{}-{version}.tgz", self.base())
    }

    /// Where clients expect the tarball, relative to the registry's base URL. Lock files leave
    /// out a URL that follows this convention.
    pub(crate) fn tarball_path(&self, version: &Version) -> String {
        format!("{}/-/{}", self.text, self.tarball_file(version))
    }

    /// The version whose tarball has this file name, with or without the scope before it.
    pub(crate) fn version_of_tarball(&self, file: &str) -> Option<Version> {
        let file = match file.strip_prefix(&self.text[..self.base_at]) {
            Some(unscoped) => unscoped,
            None => file,
        };
        let version = file
            .strip_prefix(self.base())?
            .strip_prefix('-')?
            .strip_suffix(".tgz")?;
        let parsed: Version = version.parse().ok()?;
        // Another spelling of the version would be a second URL for the same bytes.
        (parsed.to_string() == version).then_some(parsed)
    }
}

impl FromStr for PackageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem| {
            Err(NameError::Package {
                name: shown(text),
                problem,
            })
        };
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_NAME_CHARS {
            return refuse("is longer than 214 characters");
        }
        let (scope, base) = match text.strip_prefix('@') {
            Some(scoped) => match scoped.split_once('/') {
                Some((scope, base)) => (Some(scope), base),
                None => return refuse("has a scope but nothing after it"),
            },
            None => (None, text),
        };
        for part in scope.iter().copied().chain([base]) {
            if part.is_empty() {
                return refuse("has an empty part");
            }
            if part.starts_with('.') {
                return refuse("has a part that begins with a dot");
            }
            if !part.bytes().all(needs_no_escape) {
                return refuse("has characters that would need an escape in a URL");
            }
        }
        if scope.is_none() {
            if base.starts_with('_') {
                return refuse("begins with an underscore");
            }
            if base.starts_with('-') {
                return refuse("begins with a hyphen");
            }
            if ["node_modules", "favicon.ico"].contains(&base.to_ascii_lowercase().as_str()) {
                return refuse("is reserved");
            }
        }
        Ok(Self {
            text: text.into(),
            base_at: scope.map_or(0, |scope| scope.len() + 2),
        })
    }
}

/// Whether JavaScript's `encodeURIComponent` leaves this byte as it is.
fn needs_no_escape(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte)
}

impl TryFrom<String> for PackageName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.text
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A version: strict semver without build metadata, which npm drops when it publishes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version(semver::Version);

impl Version {
    /// Reads a version as a `package.json` may spell it: blanks, `v` or `=` before it are
    /// dropped, as the client does when it publishes.
    pub(crate) fn clean(text: &str) -> Result<Self, NameError> {
        text.trim().trim_start_matches(['=', 'v', ' ']).parse()
    }

    /// Whether this is a release candidate, beta or the like.
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: String| NameError::Version {
            version: shown(text),
            problem,
        };
        if text.len() > MAX_VERSION_CHARS {
            return Err(refuse("is longer than 256 characters".into()));
        }
        let mut version =
            semver::Version::parse(text).map_err(|error| refuse(format!("is not semver: {error}")))?;
        version.build = semver::BuildMetadata::EMPTY;
        if version.major.max(version.minor).max(version.patch) > MAX_SAFE_INTEGER {
            return Err(refuse("has a number that clients cannot hold".into()));
        }
        Ok(Self(version))
    }
}

impl TryFrom<String> for Version {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A dist-tag: a name that moves from version to version, such as `latest`.
///
/// Invariant: 1 to 128 characters that need no escape in a URL, and nothing that a client
/// would take for a version or a range of versions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DistTag(String);

impl DistTag {
    /// The tag that an install without a version asks for.
    pub(crate) fn latest() -> Self {
        Self("latest".into())
    }
}

impl FromStr for DistTag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem| {
            Err(NameError::Tag {
                tag: shown(text),
                problem,
            })
        };
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_TAG_CHARS {
            return refuse("is longer than 128 characters");
        }
        if !text.bytes().all(needs_no_escape) {
            return refuse("has characters that would need an escape in a URL");
        }
        if reads_as_range(text) {
            return refuse("reads as a version or a range of versions");
        }
        Ok(Self(text.into()))
    }
}

/// Whether a client's loose range parser would accept this text: up to three parts of digits or
/// wildcards after an optional `~`, `v` or `=`; after three parts a pre-release may follow.
fn reads_as_range(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['~', '^']).trim_start_matches(['v', '=']);
    for part in 0..3 {
        if part > 0 {
            match rest.strip_prefix('.') {
                Some(after_dot) => rest = after_dot,
                None => return rest.is_empty(),
            }
        }
        let part_len = if rest.starts_with(['x', 'X', '*']) {
            1
        } else {
            rest.bytes().take_while(u8::is_ascii_digit).count()
        };
        if part_len == 0 {
            return false;
        }
        rest = &rest[part_len..];
    }
    true
}

impl TryFrom<String> for DistTag {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<DistTag> for String {
    fn from(tag: DistTag) -> Self {
        tag.0
    }
}

impl fmt::Display for DistTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DistTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Brings the three spellings of scoped names in a raw URL path into one.
///
/// Clients write `@scope%2fname`, `@scope%2Fname` or `@scope/name`. A segment that begins with
/// `@` (or `%40`) and has no escaped slash is joined with the next by `%2f`, so that the route
/// table sees a package name as one segment.
pub(crate) fn join_scopes(path: &str) -> Cow<'_, str> {
    let opens_scope = |segment: &str| {
        let named = segment.strip_prefix('@').or_else(|| segment.strip_prefix("%40"));
        named.is_some_and(|scope| !scope.is_empty() && !scope.to_ascii_lowercase().contains("%2f"))
    };
    if !path.split('/').any(opens_scope) {
        return Cow::Borrowed(path);
    }
    let mut joined = String::with_capacity(path.len() + 4);
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        joined.push_str(segment);
        if segments.peek().is_some() {
            joined.push_str(if opens_scope(segment) { "%2f" } else { "/" });
        }
    }
    Cow::Owned(joined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn package_names_follow_the_clients_rules() {
        let check = |text: &str, expected: Option<(Option<&str>, &str)>| {
            let parsed = text.parse::<PackageName>();
            let parts = parsed.as_ref().ok().map(|name| (name.scope(), name.base()));
            assert_eq!(parts, expected, "{text:?}: {parsed:?}");
        };
        check("left", Some((None, "left")));
        check("@acme/left", Some((Some("acme"), "left")));
        check("@acme/_private", Some((Some("acme"), "_private")));
        check("some.thing-1_2", Some((None, "some.thing-1_2")));
        check("JSONStream", Some((None, "JSONStream")));
        check("constructor", Some((None, "constructor")));
        check("__proto__", None);
        check("", None);
        check(".", None);
        check("..", None);
        check("@acme/..", None);
        check("@acme/.hidden", None);
        check("@./left", None);
        check(".hidden", None);
        check("_private", None);
        check("-", None);
        check("-rev", None);
        check("@acme", None);
        check("@acme/", None);
        check("@/left", None);
        check("acme/left", None);
        check("@acme/left/right", None);
        check("@acme%2fleft", None);
        check("with space", None);
        check(" left", None);
        check("left\n", None);
        check("a#b", None);
        check("a?b", None);
        check("a\\b", None);
        check("a:b", None);
        check("caf\u{e9}", None);
        check("zero\u{200b}width", None);
        check("node_modules", None);
        check("favicon.ico", None);
        check(&"a".repeat(214), Some((None, &"a".repeat(214))));
        check(&"a".repeat(215), None);
    }

    #[test]
    fn new_packages_may_not_take_old_style_names() {
        let new = |text: &str| text.parse::<PackageName>().unwrap().check_new().is_ok();
        assert!(new("left"));
        assert!(new("@acme/left"));
        assert!(!new("JSONStream"));
        assert!(!new("@Acme/left"));
        assert!(!new("crazy!"));
    }

    #[test]
    fn versions_are_strict_semver_without_build_metadata() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = text.parse::<Version>().ok().map(|version| version.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        };
        check("1.2.3", Some("1.2.3"));
        check("1.2.3-beta.1", Some("1.2.3-beta.1"));
        check("1.2.3+build.5", Some("1.2.3"));
        check("9007199254740991.0.0", Some("9007199254740991.0.0"));
        check("9007199254740992.0.0", None);
        check("v1.2.3", None);
        check("1.2", None);
        check("01.2.3", None);
        check("1.2.3-01", None);
        check("latest", None);
        check("", None);
        check(&format!("1.0.0-{}", "1".repeat(251)), None);
        check(&"1".repeat(1 << 20), None);
    }

    #[test]
    fn a_version_is_cleaned_as_the_client_cleans_it() {
        assert_eq!(Version::clean(" v1.2.3+x ").unwrap().to_string(), "1.2.3");
        assert_eq!(Version::clean("=1.2.3").unwrap().to_string(), "1.2.3");
        assert!(Version::clean("one").is_err());
    }

    #[test]
    fn versions_are_ordered_by_precedence() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.0.0-rc.2") < version("1.0.0-rc.10"));
        assert!(version("1.0.0-rc.10") < version("1.0.0"));
        assert!(version("9.0.0") < version("10.0.0"));
    }

    #[test]
    fn a_tag_is_not_a_range() {
        let check = |text: &str, ok: bool| assert_eq!(text.parse::<DistTag>().is_ok(), ok, "{text:?}");
        check("latest", true);
        check("next-13", true);
        check("v1-lts", true);
        check("3.x-latest", true);
        check("release-1.x", true);
        check("xyz", true);
        check("vnext", true);
        check("__proto__", true);
        check("1", false);
        check("v1", false);
        check("1.x", false);
        check("1.2.3", false);
        check("1.2.3-beta", false);
        check("1.2.3beta", false);
        check("v1.2", false);
        check("x", false);
        check("X.x", false);
        check("*", false);
        check("~1.2", false);
        check("^1", false);
        check(">1", false);
        check("", false);
        check("a b", false);
        check("a/b", false);
        check("caf\u{e9}", false);
        check(&"a".repeat(129), false);
    }

    #[test]
    fn a_tarball_is_named_after_the_package_without_its_scope() {
        let name: PackageName = "@acme/left".parse().unwrap();
        let version: Version = "1.0.0-rc.1".parse().unwrap();
        assert_eq!(name.tarball_path(&version), "@acme/left/-/left-1.0.0-rc.1.tgz");
        let check = |file: &str, expected: Option<&str>| {
            let found = name.version_of_tarball(file).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{file:?}");
        };
        check("left-1.0.0-rc.1.tgz", Some("1.0.0-rc.1"));
        check("@acme/left-1.0.0.tgz", Some("1.0.0"));
        check("@evil/left-1.0.0.tgz", None);
        check("left-1.0.0+build.tgz", None);
        check("left-1.0.0.tar", None);
        check("left1.0.0.tgz", None);
        check("right-1.0.0.tgz", None);
        check("left-../x.tgz", None);
    }

    #[test]
    fn scopes_are_joined_whatever_their_spelling() {
        let check = |path: &str, expected: &str| assert_eq!(join_scopes(path), expected, "{path}");
        check("/left/1.0.0", "/left/1.0.0");
        check("/@acme%2fleft", "/@acme%2fleft");
        check("/@acme%2Fleft/-/left-1.0.0.tgz", "/@acme%2Fleft/-/left-1.0.0.tgz");
        check("/@acme/left", "/@acme%2fleft");
        check("/%40acme/left", "/%40acme%2fleft");
        check("/@acme/left/-/left-1.0.0.tgz", "/@acme%2fleft/-/left-1.0.0.tgz");
        check(
            "/@acme/left/-/@acme/left-1.0.0.tgz",
            "/@acme%2fleft/-/@acme%2fleft-1.0.0.tgz",
        );
        check(
            "/-/package/@acme/left/dist-tags/next",
            "/-/package/@acme%2fleft/dist-tags/next",
        );
        check("/@acme", "/@acme");
        check("/@/left", "/@/left");
    }

    proptest! {
        #[test]
        fn names_display_as_they_were_read(text in "(@[a-zA-Z.~]{0,4}/?)?[a-z._@/%-]{0,8}") {
            if let Ok(name) = text.parse::<PackageName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<PackageName>();
            let _ = text.parse::<Version>();
            let _ = Version::clean(&text);
            let _ = text.parse::<DistTag>();
            let _ = join_scopes(&text);
            let _ = "@acme/left".parse::<PackageName>().unwrap().version_of_tarball(&text);
        }
    }
}
