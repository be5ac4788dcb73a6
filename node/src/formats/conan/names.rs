//! References, revisions, package ids and the paths of files, as Conan has them in URLs.
//!
//! A recipe is `name/version`, with `@user` or `@user/channel` behind it if it has them. What a recipe
//! or a binary package is at one time is a revision, which is named by a digest of its content, or by
//! a commit. Where clients do not know of revisions, everything is in the revision `0`.
//!
//! Conan 2 takes lower-case names alone and Conan 1 all, so both are taken, and are different.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::archive::Compression;
use crate::registry::names::{FullPath, InvalidName};

/// What stands in URLs for a user or channel that there is not.
const NOTHING: &str = "_";

/// The longest name, version, user or channel.
const MAX_PART_BYTES: usize = 101;

/// The longest reference; Conan refuses to make one of more.
const MAX_REFERENCE_BYTES: usize = 200;

const MAX_REVISION_BYTES: usize = 64;

const PACKAGE_ID_BYTES: usize = 40;

/// The longest path of a file, and the most folders it lies in.
const MAX_PATH_BYTES: usize = 512;
const MAX_PATH_SEGMENTS: usize = 16;

/// Below it lies what may change without a new revision.
const METADATA: &str = "metadata/";

/// The file that is sent when all others are there.
pub(super) const MANIFEST: &str = "conanmanifest.txt";

/// What a binary package was built with.
pub(super) const INFO: &str = "conaninfo.txt";

/// The recipe itself.
pub(super) const RECIPE: &str = "conanfile.py";

/// The revision of what comes from clients that know of none.
const UNREVISED: &str = "0";

/// A recipe: `name/version[@user[/channel]]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Reference {
    name: String,
    version: String,
    user: Option<String>,
    channel: Option<String>,
}

impl Reference {
    /// The reference that four segments of a URL name.
    pub(super) fn of_url(name: &str, version: &str, user: &str, channel: &str) -> Result<Self, InvalidName> {
        let some = |part: &str| (part != NOTHING).then(|| part.to_owned());
        Self::new(name, version, some(user), some(channel))
    }

    fn new(
        name: &str,
        version: &str,
        user: Option<String>,
        channel: Option<String>,
    ) -> Result<Self, InvalidName> {
        check_part("name", name, 2)?;
        // A version of one character is not taken by clients, and harms nobody.
        check_part("version", version, 1)?;
        for (kind, part) in [("user", &user), ("channel", &channel)] {
            part.iter().try_for_each(|part| check_part(kind, part, 2))?;
        }
        let reference = Self {
            name: name.into(),
            version: version.into(),
            user,
            channel,
        };
        let wrong = |reason| Err(InvalidName::new("reference", &reference.to_string(), reason));
        if reference.user.is_none() && reference.channel.is_some() {
            return wrong("has a channel and no user");
        }
        if reference.to_string().len() > MAX_REFERENCE_BYTES {
            return wrong("is longer than 200 characters");
        }
        Ok(reference)
    }

    /// The reference of a version of a package, as they are stored.
    pub(super) fn stored(name: &str, version: &str) -> Result<Self, InvalidName> {
        format!("{name}/{version}").parse()
    }

    /// The name of the recipe.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All behind the name: what tells it from others of that name.
    pub(super) fn version(&self) -> String {
        let mut version = self.version.clone();
        for (before, part) in [('@', &self.user), ('/', &self.channel)] {
            if let Some(part) = part {
                version.push(before);
                version.push_str(part);
            }
        }
        version
    }

    /// Its four segments in URLs, with slashes between them.
    pub(super) fn url(&self) -> String {
        let user = self.user.as_deref().unwrap_or(NOTHING);
        let channel = self.channel.as_deref().unwrap_or(NOTHING);
        format!("{}/{}/{user}/{channel}", self.name, self.version)
    }

    /// The project whose path the user is, with a `+` for each slash: at the instance, that says where
    /// the recipe is.
    pub(super) fn project(&self) -> Option<FullPath> {
        self.user.as_ref()?.replace('+', "/").parse().ok()
    }
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (recipe, of) = match text.split_once('@') {
            Some((recipe, of)) => (recipe, Some(of)),
            None => (text, None),
        };
        let Some((name, version)) = recipe.split_once('/') else {
            return Err(InvalidName::new("reference", text, "has no version"));
        };
        let (user, channel) = match of.map(|of| of.split_once('/').ok_or(of)) {
            None => (None, None),
            Some(Ok((user, channel))) => (Some(user.to_owned()), Some(channel.to_owned())),
            Some(Err(user)) => (Some(user.to_owned()), None),
        };
        Self::new(name, version, user, channel)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version())
    }
}

fn check_part(kind: &'static str, part: &str, least: usize) -> Result<(), InvalidName> {
    let wrong = |reason| Err(InvalidName::new(kind, part, reason));
    let Some(first) = part.bytes().next() else {
        return wrong("is empty");
    };
    if part.len() < least {
        return wrong("is shorter than 2 characters");
    }
    if part.len() > MAX_PART_BYTES {
        return wrong("is longer than 101 characters");
    }
    if !first.is_ascii_alphanumeric() && first != b'_' {
        return wrong("must begin with a letter, a digit or '_'");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    match part.bytes().all(is_plain) {
        true => Ok(()),
        false => wrong("may hold only letters, digits, '_', '+', '.' and '-'"),
    }
}

/// The name of a revision: a digest, a commit, or `0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Revision(String);

impl Revision {
    /// The one of clients that know of none.
    pub(super) fn unrevised() -> Self {
        Self(UNREVISED.into())
    }

    /// Whether its name says nothing of its content.
    pub(super) fn is_unrevised(&self) -> bool {
        self.0 == UNREVISED
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Revision {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=MAX_REVISION_BYTES).contains(&text.len());
        match fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            true => Ok(Self(text.into())),
            false => Err(InvalidName::new(
                "revision",
                text,
                "is not 1 to 64 letters and digits",
            )),
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a binary package is known by: the SHA-1 of its settings, options and requirements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(String);

impl FromStr for PackageId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == PACKAGE_ID_BYTES && text.bytes().all(is_hex) {
            true => Ok(Self(text.into())),
            false => Err(InvalidName::new(
                "package id",
                text,
                "is not 40 lower-case hexadecimal digits",
            )),
        }
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose revisions follow one another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Line {
    /// Those of a recipe.
    Recipe,
    /// Those of a binary package, which was made of one revision of the recipe.
    Package { recipe: Revision, id: PackageId },
}

impl Line {
    /// Its name among the lines of a reference; empty for the recipe.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Recipe => String::new(),
            Self::Package { recipe, id } => format!("{recipe}/{id}"),
        }
    }

    /// The line of this name.
    pub(super) fn of_key(key: &str) -> Result<Self, InvalidName> {
        if key.is_empty() {
            return Ok(Self::Recipe);
        }
        let Some((recipe, id)) = key.split_once('/') else {
            return Err(InvalidName::new("line", key, "has no package id"));
        };
        Ok(Self::Package {
            recipe: recipe.parse()?,
            id: id.parse()?,
        })
    }

    /// This revision of it.
    pub(super) fn at(&self, revision: Revision) -> Revised {
        Revised {
            line: self.clone(),
            revision,
        }
    }
}

/// One revision of a recipe or of a binary package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Revised {
    pub(super) line: Line,
    pub(super) revision: Revision,
}

impl Revised {
    /// What the names of its files begin with, among those of the reference.
    pub(super) fn folder(&self) -> String {
        let revision = &self.revision;
        match &self.line {
            Line::Recipe => format!("{revision}/export/"),
            Line::Package { recipe, id } => format!("{recipe}/package/{id}/{revision}/"),
        }
    }

    /// Whether clients may send other content under its name.
    pub(super) fn is_unrevised(&self) -> bool {
        self.revision.is_unrevised()
    }

    /// The revision and the path that the name of a file of a reference is made of.
    pub(super) fn of_file(name: &str) -> Option<(Self, &str)> {
        let (first, rest) = name.split_once('/')?;
        let first: Revision = first.parse().ok()?;
        if let Some(path) = rest.strip_prefix("export/") {
            return Some((Line::Recipe.at(first), path));
        }
        let mut parts = rest.strip_prefix("package/")?.splitn(3, '/');
        let (id, revision, path) = (parts.next()?, parts.next()?, parts.next()?);
        let line = Line::Package {
            recipe: first,
            id: id.parse().ok()?,
        };
        Some((line.at(revision.parse().ok()?), path))
    }
}

impl fmt::Display for Revised {
    /// As it stands behind a reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = &self.revision;
        match &self.line {
            Line::Recipe => write!(f, "#{revision}"),
            Line::Package { recipe, id } => write!(f, "#{recipe}:{id}#{revision}"),
        }
    }
}

/// The path of a file inside of a revision. It leads nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FilePath(String);

impl FilePath {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub(super) fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it may change without a new revision: logs, signatures.
    pub(super) fn is_metadata(&self) -> bool {
        self.0.starts_with(METADATA)
    }

    /// How it is compressed, if it is one of the archives that clients make.
    pub(super) fn compression(&self) -> Option<Compression> {
        let (stem, extension) = self.0.rsplit_once('.')?;
        if !["conan_package", "conan_export", "conan_sources"].contains(&stem) {
            return None;
        }
        match extension {
            "tgz" => Some(Compression::Gzip),
            "txz" => Some(Compression::Xz),
            "tzst" => Some(Compression::Zstd),
            _ => None,
        }
    }

    pub(super) fn is_manifest(&self) -> bool {
        self.0 == MANIFEST
    }

    pub(super) fn is_info(&self) -> bool {
        self.0 == INFO
    }
}

impl FromStr for FilePath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("path", text, reason));
        if text.len() > MAX_PATH_BYTES {
            return wrong("is longer than 512 bytes");
        }
        if text.contains('\\') || text.chars().any(char::is_control) {
            return wrong("may not hold '\\' or control characters");
        }
        let mut segments = 0;
        for segment in text.split('/') {
            segments += 1;
            if ["", ".", ".."].contains(&segment) {
                return wrong("has an empty segment, '.' or '..'");
            }
        }
        match segments <= MAX_PATH_SEGMENTS {
            true => Ok(Self(text.into())),
            false => wrong("is nested too deeply"),
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let parsed = text.parse::<Reference>();
        match expected {
            Ok(url) => {
                let parsed = parsed.unwrap();
                assert_eq!((parsed.to_string().as_str(), parsed.url().as_str()), (text, url));
            }
            Err(reason) => assert_eq!(parsed.map_err(|invalid| invalid.reason), Err(reason), "{text}"),
        }
    }

    #[test]
    fn references_are_taken_or_refused_with_a_reason() {
        check("zlib/1.3.1", Ok("zlib/1.3.1/_/_"));
        check("zlib/1.3.1@acme/stable", Ok("zlib/1.3.1/acme/stable"));
        check("zlib/1.3.1@acme", Ok("zlib/1.3.1/acme/_"));
        check("_x/cci.20200101+1-2", Ok("_x/cci.20200101+1-2/_/_"));
        check("Boost/1.80", Ok("Boost/1.80/_/_"));
        check("zlib/1", Ok("zlib/1/_/_"));
        check("zlib", Err("has no version"));
        check("z/1.0", Err("is shorter than 2 characters"));
        check("zlib/", Err("is empty"));
        check("../1.0", Err("must begin with a letter, a digit or '_'"));
        check("zlib/1.0@", Err("is empty"));
        check("zlib/1.0@acme/", Err("is empty"));
        for text in [
            "zl ib/1.0",
            "zlib/1.0/2",
            "zlib/1.0@a\u{e4}b",
            "zlib/1.0@acme/a/b",
        ] {
            check(text, Err("may hold only letters, digits, '_', '+', '.' and '-'"));
        }
        check(
            &format!("{}/1.0", "a".repeat(102)),
            Err("is longer than 101 characters"),
        );
        let long = format!("{0}/{0}", "a".repeat(100));
        check(&long, Err("is longer than 200 characters"));
        let channel = Reference::of_url("zlib", "1.0", "_", "stable");
        assert_eq!(channel.unwrap_err().reason, "has a channel and no user");
    }

    #[test]
    fn the_user_of_a_reference_can_be_the_path_of_a_project() {
        let project = |text: &str| text.parse::<Reference>().unwrap().project();
        assert_eq!(project("zlib/1.0@acme+demo/x1"), "acme/demo".parse().ok());
        assert_eq!(project("zlib/1.0@acme++demo/x1"), None);
        assert_eq!(project("zlib/1.0"), None);
    }

    #[test]
    fn revisions_ids_and_paths_are_taken_or_refused() {
        for good in ["0", "d41d8cd98f00b204e9800998ecf8427e", "17", &"a".repeat(64)] {
            assert_eq!(good.parse::<Revision>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\u{e4}", &"a".repeat(65)] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
        assert!(
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
                .parse::<PackageId>()
                .is_ok()
        );
        for bad in ["", "da39", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"] {
            assert!(bad.parse::<PackageId>().is_err(), "{bad}");
        }
        for good in [
            "conanfile.py",
            "metadata/sign/a b.sig",
            "conan_package.tzst",
            ".x",
        ] {
            assert_eq!(good.parse::<FilePath>().unwrap().as_str(), good);
        }
        let (long, deep) = ("a".repeat(513), vec!["a"; 17].join("/"));
        for bad in [
            "", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\nb", &long, &deep,
        ] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_file_says_which_revision_it_is_of() {
        let id = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        for (name, shown) in [
            ("abc/export/metadata/x/y", "#abc"),
            (
                &format!("abc/package/{id}/def/conaninfo.txt"),
                &*format!("#abc:{id}#def"),
            ),
        ] {
            let (revised, path) = Revised::of_file(name).unwrap();
            assert_eq!(revised.to_string(), shown);
            assert_eq!(format!("{}{path}", revised.folder()), name);
            assert_eq!(Line::of_key(&revised.line.key()), Ok(revised.line));
        }
        for name in ["", "abc", "abc/export", "abc/x/y", "abc/package/x/def/y"] {
            assert_eq!(Revised::of_file(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_shown_again(text in "[a-z0-9@/+._-]{0,30}|\\PC{0,30}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text.clone());
                prop_assert_eq!(Reference::stored(reference.name(), &reference.version()), Ok(reference.clone()));
                let url = reference.url();
                let parts: Vec<_> = url.split('/').collect();
                prop_assert_eq!(Reference::of_url(parts[0], parts[1], parts[2], parts[3]), Ok(reference));
            }
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert!(path.as_str().split('/').all(|part| !["", ".", ".."].contains(&part)));
            }
            let _ = (Revised::of_file(&text), Line::of_key(&text));
        }
    }
}
