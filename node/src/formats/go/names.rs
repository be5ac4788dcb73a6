//! Paths and versions of modules, and how URLs spell them.
//!
//! The rules are those of the package `golang.org/x/mod/module`: what the go command would not
//! accept is not published. Paths differ by case; in URLs each upper-case letter is written as an
//! exclamation mark and its lower-case form, so that nothing depends on case there.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use cairn_cluster::Timestamp;

use crate::registry::names::InvalidName;
use crate::registry::time::parse_date;

/// The longest path of a module.
const MAX_PATH_BYTES: usize = 512;

/// The longest version.
const MAX_VERSION_BYTES: usize = 128;

/// Files that some systems do not have, whatever follows the first dot of the name.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The path of a module, such as `git.acme.io/team/lib/v2`.
///
/// Invariant: the go command accepts it, and its last element may say a major version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ModulePath(String);

/// What the end of a path says of the major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Major<'p> {
    /// Nothing: it is 0 or 1, or there is no `go.mod`.
    Unsaid,
    /// `/v2` and above.
    Slash(&'p str),
    /// `.v0` and above, as gopkg.in has it.
    Dot(&'p str),
}

impl ModulePath {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its last element says the major version, so that there must be a `go.mod`.
    pub(super) fn says_major(&self) -> bool {
        matches!(self.major(), Major::Slash(_))
    }

    fn major(&self) -> Major<'_> {
        major_of(&self.0).unwrap_or(Major::Unsaid)
    }

    /// Refuses a version that is not one of this module's, because its major version is another.
    pub(super) fn check(&self, version: &Version) -> Result<(), InvalidName> {
        let own = version.0.major.to_string();
        let is_old_pseudo = version.to_string().starts_with("v0.0.0-");
        let fits = match self.major() {
            Major::Unsaid => version.is_incompatible() || version.0.major < 2,
            // Pseudo-versions of `.v1` were once made so, and modules depend on them.
            Major::Dot("1") if is_old_pseudo => true,
            Major::Dot(major) => !version.is_incompatible() && own == major,
            Major::Slash(major) => !version.is_incompatible() && own == major,
        };
        let refuse = |reason| Err(InvalidName::new("version", &version.to_string(), reason));
        match (fits, version.is_incompatible()) {
            (true, true) if version.0.major < 2 => {
                refuse("is incompatible with nothing: the major version is below 2")
            }
            (true, _) => Ok(()),
            (false, true) => refuse("is +incompatible, but the path of the module says the major version"),
            (false, false) => refuse("is not of the major version that the path of the module says"),
        }
    }
}

/// What the end of a path says of the major version; none if it must not end so.
fn major_of(path: &str) -> Option<Major<'_>> {
    let is_gopkg = path.starts_with("gopkg.in/");
    let is_digit = |byte: char| byte.is_ascii_digit();
    if is_gopkg {
        let stable = path.strip_suffix("-unstable").unwrap_or(path);
        let digits = &stable[stable.trim_end_matches(is_digit).len()..];
        let is_number = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        let before = &stable[..stable.len() - digits.len()];
        return (is_number && before.ends_with(".v")).then_some(Major::Dot(digits));
    }
    let number = &path[path.trim_end_matches(|byte| is_digit(byte) || byte == '.').len()..];
    if number.is_empty() || !path[..path.len() - number.len()].ends_with("/v") {
        return Some(Major::Unsaid);
    }
    let is_major = !number.contains('.') && !number.starts_with('0') && number != "1";
    is_major.then_some(Major::Slash(number))
}

impl FromStr for ModulePath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("module path", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_PATH_BYTES {
            return refuse("is longer than 512 bytes");
        }
        for element in text.split('/') {
            if let Err(reason) = check_element(element, Kind::Module) {
                return refuse(reason);
            }
        }
        let host = text.split('/').next().unwrap_or_default();
        if !host.contains('.') {
            return refuse("does not begin with the name of a host: there is no dot in it");
        }
        let is_of_host =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if host.starts_with('-') || !host.bytes().all(is_of_host) {
            return refuse(
                "has other characters in the name of its host than lower-case letters, digits, '-' and '.'",
            );
        }
        if major_of(text).is_none() {
            return refuse("does not end as paths with a major version do");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an element of a path is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Module,
    File,
}

/// Refuses what the go command would not take as one element of a path.
pub(super) fn check_element(element: &str, kind: Kind) -> Result<(), &'static str> {
    if element.is_empty() {
        return Err("has an empty element");
    }
    if element.ends_with('.') {
        return Err("has an element that ends with a dot");
    }
    if kind == Kind::Module && element.starts_with('.') {
        return Err("has an element that begins with a dot");
    }
    let is_allowed = |character: char| match kind {
        Kind::Module => character.is_ascii_alphanumeric() || "-._~".contains(character),
        Kind::File => is_of_file(character),
    };
    if !element.chars().all(is_allowed) {
        return Err("has a character that it must not have");
    }
    let short = element.split('.').next().unwrap_or_default();
    if DEVICES.iter().any(|device| device.eq_ignore_ascii_case(short)) {
        return Err("has an element that is no file on some systems");
    }
    let tail = short.rsplit_once('~').map_or("", |(_, tail)| tail);
    if kind == Kind::Module && !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has an element that ends with '~' and digits");
    }
    Ok(())
}

fn is_of_file(character: char) -> bool {
    match character.is_ascii() {
        true => character.is_ascii_alphanumeric() || "!#$%&()+,-.=@[]^_{}~ ".contains(character),
        false => is_letter(character),
    }
}

/// Whether Unicode has it as a letter, which is narrower than [`char::is_alphabetic`].
fn is_letter(character: char) -> bool {
    use std::sync::LazyLock;
    static LETTER: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"^\p{L}$").expect("it is an expression"));
    LETTER.is_match(character.encode_utf8(&mut [0; 4]))
}

/// A canonical version, in the order of semver: `v1.2.3`, `v1.2.3-rc.1`, `v2.0.0+incompatible`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(semver::Version);

/// What a pseudo-version, which was made of a commit, says of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit<'v> {
    /// When it was made.
    pub(super) at: Timestamp,
    /// The beginning of its hash.
    pub(super) revision: &'v str,
}

impl Commit<'_> {
    /// Whether somebody who writes this hash means it: either may be cut shorter than the other.
    pub(super) fn is_meant_by(&self, hash: &str) -> bool {
        hash.starts_with(self.revision) || self.revision.starts_with(hash)
    }
}

impl Version {
    /// Whether it stands for a major version above 1 of a module that has no `go.mod`.
    pub(super) fn is_incompatible(&self) -> bool {
        !self.0.build.is_empty()
    }

    /// The commit that it was made of, if it is a pseudo-version.
    pub(super) fn commit(&self) -> Option<Commit<'_>> {
        let (before, revision) = self.0.pre.as_str().rsplit_once('-')?;
        let (before, time) = before.split_at_checked(before.len().checked_sub(14)?)?;
        let follows_nothing = before.is_empty() && (self.0.minor, self.0.patch) == (0, 0);
        let is_pseudo = follows_nothing || before == "0." || before.ends_with(".0.");
        let is_plain = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_pseudo || !is_plain || !time.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let [date, clock] = [&time[..8], &time[8..]];
        let at = parse_date(&format!(
            "{}-{}-{}T{}:{}:{}Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &clock[..2],
            &clock[2..4],
            &clock[4..]
        ))?;
        Some(Commit { at, revision })
    }

    /// By this, the version that is used unless somebody says another: releases before what leads to
    /// them, and commits only if there is nothing else.
    pub(super) fn rank(&self) -> impl Ord + '_ {
        let kind = match (self.0.pre.is_empty(), self.commit()) {
            (true, _) => 2,
            (false, None) => 1,
            (false, Some(_)) => 0,
        };
        (kind, !self.is_incompatible(), self)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("version", text, reason));
        if text.len() > MAX_VERSION_BYTES {
            return refuse("is longer than 128 characters");
        }
        let Some(Ok(version)) = text.strip_prefix('v').map(semver::Version::parse) else {
            return refuse("is not 'v' and a whole version of semver, as v1.2.3");
        };
        if !["", "incompatible"].contains(&version.build.as_str()) {
            return refuse("has build metadata, which no canonical version has but +incompatible");
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// What a URL below the base asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) module: ModulePath,
    pub(super) what: What,
}

/// What of a module is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its versions.
    List,
    /// The version that is used unless somebody says another.
    Latest,
    /// The version that was made of the commit whose hash begins so.
    Commit(String),
    /// Something of a version.
    Of(Version, Part),
}

/// What can be had of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// When it was published.
    Info,
    /// Its `go.mod`.
    Mod,
    /// All of it.
    Zip,
    /// The sum of that, as the go command keeps it beside the archive.
    ZipHash,
}

impl FromStr for Asked {
    type Err = InvalidName;

    /// Reads the part of a path after the base, with percent escapes decoded.
    fn from_str(path: &str) -> Result<Self, InvalidName> {
        if let Some(module) = path.strip_suffix("/@latest") {
            let module = unescape(module)?.parse()?;
            let what = What::Latest;
            return Ok(Self { module, what });
        }
        let refuse = |reason| InvalidName::new("path", path, reason);
        let (module, file) = path
            .split_once("/@v/")
            .ok_or_else(|| refuse("is none of the module proxy protocol"))?;
        let module: ModulePath = unescape(module)?.parse()?;
        if file == "list" {
            let what = What::List;
            return Ok(Self { module, what });
        }
        let (version, extension) = file
            .rsplit_once('.')
            .ok_or_else(|| refuse("does not say what of the version is asked for"))?;
        let part = match extension {
            "info" => Part::Info,
            "mod" => Part::Mod,
            "zip" => Part::Zip,
            "ziphash" => Part::ZipHash,
            _ => return Err(refuse("does not say what of the version is asked for")),
        };
        let version = unescape(version)?;
        let what = match part == Part::Info && is_hash(&version) {
            true => What::Commit(version),
            false => What::Of(version.parse()?, part),
        };
        Ok(Self { module, what })
    }
}

/// Whether this may be the beginning of a commit's hash.
fn is_hash(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (7..=64).contains(&text.len()) && text.bytes().all(is_digit)
}

/// The text that a URL spells so.
fn unescape(escaped: &str) -> Result<String, InvalidName> {
    let refuse = |reason| Err(InvalidName::new("path", escaped, reason));
    let mut text = String::with_capacity(escaped.len());
    let mut characters = escaped.chars();
    while let Some(character) = characters.next() {
        match character {
            '!' => match characters.next() {
                Some(letter) if letter.is_ascii_lowercase() => text.push(letter.to_ascii_uppercase()),
                _ => return refuse("has a '!' that no lower-case letter follows"),
            },
            character if character.is_ascii_uppercase() => {
                return refuse("has an upper-case letter; it is written as '!' and its lower-case form");
            }
            character if character.is_ascii() => text.push(character),
            _ => return refuse("has a character that is not ASCII"),
        }
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How a URL spells a path or version.
    pub(in crate::formats::go) fn escape(text: &str) -> String {
        let spelled = text
            .chars()
            .map(|character| match character.is_ascii_uppercase() {
                true => format!("!{}", character.to_ascii_lowercase()),
                false => character.to_string(),
            });
        spelled.collect()
    }

    #[track_caller]
    fn check<T: FromStr<Err = InvalidName> + ToString>(text: &str, expected: Result<(), &str>) {
        match (text.parse::<T>(), expected) {
            (Ok(name), Ok(())) => assert_eq!(name.to_string(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (Ok(_), Err(part)) => panic!("{text:?} is taken, not refused: {part}"),
            (Err(error), Ok(())) => panic!("{error}"),
        }
    }

    #[test]
    fn paths_are_as_the_go_command_takes_them() {
        let check = check::<ModulePath>;
        for path in [
            "git.acme.io",
            "git.acme.io/team/lib",
            "git.acme.io/Team/Lib-x_y~z.w",
            "git.acme.io/team/lib/v2",
            "git.acme.io/team/lib/v10",
            "git.acme.io/team/v2x",
            "git.acme.io/team/console",
            "1.2/x",
            "gopkg.in/yaml.v2",
            "gopkg.in/yaml.v0",
            "gopkg.in/yaml.v2-unstable",
        ] {
            check(path, Ok(()));
        }
        check("", Err("is empty"));
        check(&format!("a.b/{}", "x".repeat(600)), Err("longer than 512"));
        check("/a.b", Err("empty element"));
        check("a.b/", Err("empty element"));
        check("a.b//c", Err("empty element"));
        check("a.b/..", Err("ends with a dot"));
        check("a.b/c.", Err("ends with a dot"));
        check("a.b/.git", Err("begins with a dot"));
        check("a.b/c d", Err("must not have"));
        check("a.b/c@d", Err("must not have"));
        check("a.b/c!d", Err("must not have"));
        check("a.b/\u{fc}", Err("must not have"));
        check("a.b/Con.x", Err("no file on some systems"));
        check("a.b/x~1", Err("'~' and digits"));
        check("a.b/x~1.y", Err("'~' and digits"));
        check("team/lib", Err("no dot in it"));
        check("Git.acme.io/lib", Err("name of its host"));
        check("-git.acme.io/lib", Err("name of its host"));
        check("git_acme.io/lib", Err("name of its host"));
        for path in [
            "git.acme.io/lib/v1",
            "git.acme.io/lib/v0",
            "git.acme.io/lib/v02",
            "git.acme.io/lib/v1.2",
            "gopkg.in/yaml",
            "gopkg.in/yaml.v",
            "gopkg.in/yaml.v01",
            "gopkg.in/yaml/v2",
        ] {
            check(path, Err("major version"));
        }
    }

    #[test]
    fn versions_are_canonical() {
        let check = check::<Version>;
        for version in [
            "v0.0.0",
            "v1.2.3",
            "v1.2.3-rc.1",
            "v2.0.0+incompatible",
            "v1.2.3-0.20260102030405-abcdefabcdef",
        ] {
            check(version, Ok(()));
        }
        for version in [
            "",
            "1.2.3",
            "v1",
            "v1.2",
            "v1.2.3.4",
            "v01.2.3",
            "v1.2.3-01",
            "V1.2.3",
            "master",
        ] {
            check(version, Err("is not 'v' and a whole version"));
        }
        check("v1.2.3+meta", Err("build metadata"));
        check(&format!("v1.2.3-{}", "x".repeat(200)), Err("longer than 128"));
    }

    #[test]
    fn pseudo_versions_tell_of_their_commit() {
        let commit = |text: &str| {
            let version: Version = text.parse().unwrap();
            version.commit().map(|commit| {
                (
                    crate::registry::time::iso_seconds(commit.at),
                    commit.revision.to_owned(),
                )
            })
        };
        let expected = Some(("2026-01-02T03:04:05Z".to_owned(), "abcdefabcdef".to_owned()));
        for version in [
            "v0.0.0-20260102030405-abcdefabcdef",
            "v2.0.0-20260102030405-abcdefabcdef",
            "v1.2.4-0.20260102030405-abcdefabcdef",
            "v1.2.3-rc.1.0.20260102030405-abcdefabcdef",
            "v2.0.1-0.20260102030405-abcdefabcdef+incompatible",
        ] {
            assert_eq!(commit(version), expected, "{version}");
        }
        for version in [
            "v1.2.3",
            "v1.2.3-rc.1",
            "v1.2.3-20260102030405-abcdefabcdef",
            "v1.2.3-1.20260102030405-abcdefabcdef",
            "v0.0.0-2026010203040-abcdefabcdef",
            "v0.0.0-20261302030405-abcdefabcdef",
            "v0.0.0-20260102030405",
            "v0.0.0-rc.1.20260102030405-abcdefabcdef",
        ] {
            assert_eq!(commit(version), None, "{version}");
        }
    }

    #[test]
    fn a_version_is_of_the_major_version_that_its_path_says() {
        let check = |path: &str, version: &str, fits: bool| {
            let (path, version): (ModulePath, Version) = (path.parse().unwrap(), version.parse().unwrap());
            assert_eq!(path.check(&version).is_ok(), fits, "{path} {version}");
        };
        check("a.b/c", "v0.1.0", true);
        check("a.b/c", "v1.9.0", true);
        check("a.b/c", "v2.0.0", false);
        check("a.b/c", "v2.0.0+incompatible", true);
        check("a.b/c", "v1.0.0+incompatible", false);
        check("a.b/c/v2", "v2.1.0", true);
        check("a.b/c/v2", "v3.1.0", false);
        check("a.b/c/v2", "v20.1.0", false);
        check("a.b/c/v2", "v2.1.0+incompatible", false);
        check("a.b/c/v2", "v2.0.0-20260102030405-abcdefabcdef", true);
        check("gopkg.in/c.v1", "v1.2.3", true);
        check("gopkg.in/c.v1-unstable", "v1.2.3", true);
        check("gopkg.in/c.v1", "v2.2.3", false);
        check("gopkg.in/c.v1", "v0.0.0-20260102030405-abcdefabcdef", true);
        check("gopkg.in/c.v2", "v0.0.0-20260102030405-abcdefabcdef", false);
    }

    #[test]
    fn the_latest_version_is_a_release_if_there_is_one() {
        let latest = |versions: &[&str]| {
            let versions = versions.iter().map(|text| text.parse::<Version>().unwrap());
            let mut versions: Vec<_> = versions.collect();
            versions.sort_by(|one, other| one.rank().cmp(&other.rank()));
            versions.pop().unwrap().to_string()
        };
        assert_eq!(latest(&["v1.10.0", "v1.9.0", "v1.2.0"]), "v1.10.0");
        assert_eq!(latest(&["v1.0.0", "v1.1.0-rc.1"]), "v1.0.0");
        assert_eq!(latest(&["v1.1.0-rc.2", "v1.1.0-rc.10"]), "v1.1.0-rc.10");
        let (early, late) = (
            "v0.0.0-20260102030405-abcdefabcdef",
            "v0.0.0-20260202030405-000000000000",
        );
        assert_eq!(latest(&[late, early]), late);
        assert_eq!(latest(&[late, "v0.0.1-alpha"]), "v0.0.1-alpha");
        assert_eq!(latest(&["v2.0.0+incompatible", "v1.0.0"]), "v1.0.0");
    }

    #[test]
    fn urls_say_what_is_asked_for() {
        let asked = |path: &str| {
            path.parse::<Asked>()
                .map(|asked| (asked.module.to_string(), asked.what))
        };
        let version: Version = "v1.0.0-RC1".parse().unwrap();
        let module = "git.acme.io/Team/lib".to_owned();
        for (file, what) in [
            ("@v/list", What::List),
            ("@latest", What::Latest),
            ("@v/v1.0.0-!r!c1.info", What::Of(version.clone(), Part::Info)),
            ("@v/v1.0.0-!r!c1.mod", What::Of(version.clone(), Part::Mod)),
            ("@v/v1.0.0-!r!c1.zip", What::Of(version.clone(), Part::Zip)),
            (
                "@v/v1.0.0-!r!c1.ziphash",
                What::Of(version.clone(), Part::ZipHash),
            ),
            ("@v/abcdef0.info", What::Commit("abcdef0".into())),
        ] {
            let path = format!("git.acme.io/!team/lib/{file}");
            assert_eq!(asked(&path).unwrap(), (module.clone(), what), "{path}");
        }
        for (path, part) in [
            ("git.acme.io/Team/lib/@v/list", "has an upper-case letter"),
            ("git.acme.io/!/@v/list", "has a '!'"),
            ("git.acme.io/!Team/@v/list", "has a '!'"),
            ("git.acme.io/lib!/@v/list", "has a '!'"),
            ("git.acme.io/l\u{fc}b/@v/list", "not ASCII"),
            ("lib/@v/list", "no dot"),
            ("git.acme.io/lib/@v/", "does not say what"),
            ("git.acme.io/lib/@v/v1.0.0.tar", "does not say what"),
            ("git.acme.io/lib/@v/v1.0.zip", "is not 'v'"),
            ("git.acme.io/lib/@v/master.info", "is not 'v'"),
            ("git.acme.io/lib/@v/v1.0.0-RC1.zip", "has an upper-case letter"),
            ("git.acme.io/lib", "is none of"),
            ("@v/list", "is none of"),
            ("/@latest", "is empty"),
        ] {
            let error = asked(path).unwrap_err().to_string();
            assert!(error.contains(part), "{path}: {error}");
        }
    }

    #[test]
    fn a_commit_is_meant_by_a_part_of_its_hash() {
        let version: Version = "v0.0.0-20260102030405-abcdefabcdef".parse().unwrap();
        let is_meant_by = |hash: &str| version.commit().unwrap().is_meant_by(hash);
        assert!(is_meant_by("abcdefa") && is_meant_by("abcdefabcdef0123456789"));
        assert!(!is_meant_by("abcdeff"));
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_unescaped_to_the_same(text in "[a-zA-Z0-9.~_/+-]{0,40}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.bytes().any(|byte| byte.is_ascii_uppercase()));
            prop_assert_eq!(unescape(&escaped).unwrap(), text);
        }

        #[test]
        fn names_never_panic_and_are_what_they_were_read_from(text in any::<String>()) {
            let _ = text.parse::<Asked>();
            if let Ok(path) = text.parse::<ModulePath>() {
                prop_assert_eq!(path.as_str(), &text);
            }
        }

        #[test]
        fn versions_are_what_they_were_read_from(text in "v[0-9.+a-z-]{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                let _ = (version.rank(), version.commit());
                prop_assert_eq!(version.to_string(), text);
            }
        }

        #[test]
        fn paths_of_the_protocol_never_panic(path in "[a-z!.A]{1,9}/(@v/)?[v0-9.@a-z!]{0,20}(info|zip)?") {
            let _ = path.parse::<Asked>();
        }
    }
}
