//! Names of projects, versions and distribution files, as the Python packaging specifications
//! have them: name normalisation (PEP 503), versions (PEP 440), wheel file names (PEP 427) and
//! source distribution file names (PEP 625, and what came before it).

use std::fmt;
use std::str::FromStr;

use crate::registry::names::InvalidName;

/// The longest name of a project.
const MAX_PROJECT_CHARS: usize = 200;

/// The longest version; clients write it into file names.
const MAX_VERSION_CHARS: usize = 128;

/// The longest file name that file systems take.
const MAX_FILE_CHARS: usize = 255;

/// The name of a project, normalised: `Foo_.Bar` and `foo-bar` are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProjectName(String);

impl ProjectName {
    /// The normalised name: lower case, with single hyphens between words.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("project name", text, reason));
        if text.len() > MAX_PROJECT_CHARS {
            return wrong("is longer than 200 characters");
        }
        let is_mark = |byte: u8| b"-_.".contains(&byte);
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
        {
            return wrong("has characters other than ASCII letters, digits, '.', '-' and '_'");
        }
        let ends = [text.bytes().next(), text.bytes().next_back()];
        if !ends.iter().flatten().all(u8::is_ascii_alphanumeric) || text.is_empty() {
            return wrong("does not begin and end with a letter or digit");
        }
        Ok(Self(spelled_alike(text)))
    }
}

/// The form of a name that all its spellings have in common.
pub(super) fn spelled_alike(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version. `Display` writes it normalised, as in `1.0rc1` for `1.0-RC.1`; equality and order
/// are those of PEP 440, for which `1.0` and `1.0.0` are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Version(pep440_rs::Version);

impl Version {
    /// One text for all spellings of a version, by which it is found.
    pub(crate) fn key(&self) -> String {
        let release = self.0.release();
        let significant = release.iter().rposition(|number| *number != 0).unwrap_or(0);
        let shortest = release[..=significant].to_vec();
        self.0.clone().with_release(shortest).to_string()
    }

    /// Whether it is a release candidate, a beta or the like, or a development version.
    pub(crate) fn is_prerelease(&self) -> bool {
        self.0.any_prerelease()
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_VERSION_CHARS {
            return Err(InvalidName::new("version", text, "is longer than 128 characters"));
        }
        match text.parse() {
            Ok(version) => Ok(Self(version)),
            Err(_) => Err(InvalidName::new(
                "version",
                text,
                "is not a version as PEP 440 has them",
            )),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The file name of a distribution, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    text: String,
    /// The project.
    pub(crate) project: ProjectName,
    /// The version.
    pub(crate) version: Version,
    /// What kind of file it is.
    pub(crate) kind: Kind,
}

/// A kind of distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Built, for the Pythons that the tag names.
    Wheel { python: String },
    /// Source, as a compressed tar archive.
    TarGz,
    /// Source, as a ZIP archive: how it was done before PEP 625.
    Zip,
}

impl Kind {
    /// What upload forms call it, in the field `filetype`.
    pub(crate) fn file_type(&self) -> &'static str {
        match self {
            Self::Wheel { .. } => "bdist_wheel",
            Self::TarGz | Self::Zip => "sdist",
        }
    }

    /// What the legacy JSON document calls `python_version`.
    pub(crate) fn python(&self) -> &str {
        match self {
            Self::Wheel { python } => python,
            Self::TarGz | Self::Zip => "source",
        }
    }
}

impl FileName {
    /// The whole name.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FileName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("file name", text, reason));
        if text.len() > MAX_FILE_CHARS {
            return wrong("is longer than 255 characters");
        }
        // `!` is part of versions with an epoch, `+` of local ones.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+!".contains(&byte);
        if !text.bytes().all(fits) {
            return wrong("has characters that no distribution has in its name");
        }
        let (project, version, kind) = if let Some(stem) = text.strip_suffix(".whl") {
            match wheel(stem) {
                Some(parts) => parts,
                None => return wrong("is not NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl"),
            }
        } else {
            let (stem, kind) = match (text.strip_suffix(".tar.gz"), text.strip_suffix(".zip")) {
                (Some(stem), _) => (stem, Kind::TarGz),
                (None, Some(stem)) => (stem, Kind::Zip),
                (None, None) => return wrong("is neither a .whl nor a .tar.gz or .zip"),
            };
            match stem.rsplit_once('-') {
                Some((project, version)) => (project, version, kind),
                None => return wrong("is not NAME-VERSION.tar.gz"),
            }
        };
        Ok(Self {
            project: project.parse()?,
            version: version.parse()?,
            kind,
            text: text.into(),
        })
    }
}

/// Takes apart the name of a wheel.
fn wheel(stem: &str) -> Option<(&str, &str, Kind)> {
    let parts: Vec<&str> = stem.split('-').collect();
    let (project, version, tags) = match parts.as_slice() {
        [project, version, tags @ ..] if tags.len() == 3 => (*project, *version, tags),
        [project, version, build, tags @ ..] if tags.len() == 3 => {
            build
                .starts_with(|first: char| first.is_ascii_digit())
                .then_some(())?;
            (*project, *version, tags)
        }
        _ => return None,
    };
    let is_tag = |tag: &&str| {
        !tag.is_empty()
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    let python = tags.first()?.to_string();
    tags.iter()
        .all(is_tag)
        .then_some((project, version, Kind::Wheel { python }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_a_project_are_one_name() {
        for text in ["foo-bar", "Foo.Bar", "FOO__bar", "foo-_.bar"] {
            assert_eq!(text.parse::<ProjectName>().unwrap().as_str(), "foo-bar", "{text}");
        }
        assert_eq!("A".parse::<ProjectName>().unwrap().as_str(), "a");
        for text in [
            "",
            "-a",
            "a-",
            ".a",
            "a_",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"a".repeat(201),
        ] {
            assert!(text.parse::<ProjectName>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_normalised_and_found_by_every_spelling() {
        let check = |text: &str, shown: &str, key: &str| {
            let version: Version = text.parse().unwrap();
            assert_eq!(
                (version.to_string().as_str(), version.key().as_str()),
                (shown, key)
            );
        };
        check("1.0.0", "1.0.0", "1");
        check("1", "1", "1");
        check("0.0", "0.0", "0");
        check("1.0-RC.1", "1.0rc1", "1rc1");
        check(
            "v2!1.20.0.post3.dev4+Ubuntu-1",
            "2!1.20.0.post3.dev4+ubuntu.1",
            "2!1.20.post3.dev4+ubuntu.1",
        );
        for text in [
            "",
            "one",
            "1.0-x-1",
            "1..0",
            "1.0+",
            "99999999999999999999999",
            &"1".repeat(200),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_as_pep_440_says() {
        let ordered = [
            "1.0.dev1",
            "1.0a1",
            "1.0rc1",
            "1.0",
            "1.0+local",
            "1.0.post1",
            "1.2",
            "1.10",
            "1!0.1",
        ];
        for pair in ordered.windows(2) {
            let [one, other] = [pair[0], pair[1]].map(|text| text.parse::<Version>().unwrap());
            assert!(one < other, "{pair:?}");
        }
        assert_eq!("1.0".parse::<Version>().unwrap(), "1.0.0".parse().unwrap());
        assert!("1.0.dev1".parse::<Version>().unwrap().is_prerelease());
        assert!(!"1.0.post1".parse::<Version>().unwrap().is_prerelease());
    }

    #[test]
    fn file_names_say_what_they_are() {
        let check = |text: &str, project: &str, version: &str, kind: &str, python: &str| {
            let file: FileName = text.parse().unwrap();
            assert_eq!(file.project.as_str(), project, "{text}");
            assert_eq!(file.version.to_string(), version, "{text}");
            assert_eq!(
                (file.kind.file_type(), file.kind.python()),
                (kind, python),
                "{text}"
            );
            assert_eq!(file.as_str(), text);
        };
        check(
            "Acme.Foo_Bar-1.0-py3-none-any.whl",
            "acme-foo-bar",
            "1.0",
            "bdist_wheel",
            "py3",
        );
        check(
            "x-1.0-1b-cp311-abi3-manylinux_2_17_x86_64.whl",
            "x",
            "1.0",
            "bdist_wheel",
            "cp311",
        );
        check(
            "x-1.0+cu118-py2.py3-none-any.whl",
            "x",
            "1.0+cu118",
            "bdist_wheel",
            "py2.py3",
        );
        check("x-1!1.0-py3-none-any.whl", "x", "1!1.0", "bdist_wheel", "py3");
        check("foo_bar-1.0.tar.gz", "foo-bar", "1.0", "sdist", "source");
        check("Foo-Bar-1.0.zip", "foo-bar", "1.0", "sdist", "source");
        for text in [
            "",
            "x",
            ".whl",
            "x.whl",
            "x-1.0.whl",
            "x-1.0-none-any.whl",
            "x-1.0-b1-py3-none-any.whl",
            "x-1.0-1-py3-none-any-more.whl",
            "x-1.0--none-any.whl",
            "x-1.0.tar.bz2",
            "x-1.0.exe",
            "x-1.0.egg",
            "x-one.tar.gz",
            "-1.0.tar.gz",
            "1.0.tar.gz",
            "../x-1.0.tar.gz",
            "x-1.0.tar.gz.asc",
            "x-1.0.tar.gz\n",
            "a/x-1.0.tar.gz",
            "x-1.0 .zip",
            &format!("x-{}.zip", "1".repeat(300)),
        ] {
            assert!(text.parse::<FileName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_clean(text in "\\PC{0,30}|[a-z0-9._+!-]{0,20}(\\.whl|\\.tar\\.gz|\\.zip)") {
            if let Ok(file) = text.parse::<FileName>() {
                prop_assert!(!text.contains(['/', '\\', '"', '<', '&', '%', ' ']));
                let again: Version = file.version.to_string().parse().unwrap();
                prop_assert_eq!(&again, &file.version);
                prop_assert_eq!(again.key(), file.version.key());
            }
            if let Ok(name) = text.parse::<ProjectName>() {
                prop_assert_eq!(name.as_str().parse::<ProjectName>().unwrap(), name);
            }
        }
    }
}
