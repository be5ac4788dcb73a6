//! Paths of a Maven repository, and what they name.
//!
//! The protocol has no operations, only paths, so all meaning is in them:
//!
//! ```text
//! org/acme/lib/1.0/lib-1.0[-CLASSIFIER].EXT               a file of a release
//! org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-3.jar a file of the third build of a snapshot
//! org/acme/lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT.jar          the newest of these, or a file that replaces itself
//! org.acme/lib/1.0/ivy-1.0.xml, …/other-1.0.jar           Ivy's layout, as Gradle has it
//! org.acme/lib/1.0/ivys/ivy.xml, …/1.0/jars/lib.jar       Ivy's layout, as sbt has it
//! …/maven-metadata.xml, archetype-catalog.xml             documents that are made here
//! ….sha1, ….md5, ….sha256, ….sha512                       the digest of the file before it
//! …/                                                      a directory
//! ```
//!
//! The package is everything before the version: `org/acme/lib`, as GitLab names it.

use std::fmt;
use std::str::FromStr;

use crate::http::checksum::Algorithm;
use crate::registry::names::InvalidName;

/// The document about an artifact, a snapshot, or the plugins of a group.
pub(super) const METADATA: &str = "maven-metadata.xml";

/// The document about archetypes.
pub(super) const CATALOG: &str = "archetype-catalog.xml";

const MAX_PATH_BYTES: usize = 1024;
const MAX_SEGMENT_BYTES: usize = 255;

/// What snapshots are named after.
const SNAPSHOT: &str = "SNAPSHOT";

/// Ends of names that are more than what follows the last dot.
const COMPOUND: [&str; 8] = [
    "tar.gz",
    "tar.bz2",
    "tar.xz",
    "tar.zst",
    "tar.lzma",
    "tar.Z",
    "jar.pack.gz",
    "pack.gz",
];

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of a version.
    File(Coordinates),
    /// A document that is made here.
    Document(Document),
    /// The digest of a file or document.
    Checksum(Algorithm, Box<Target>),
    /// A directory, which the path ends with a slash for.
    Directory(Directory),
    /// No file; maybe a directory whose slash was left out.
    Other(Directory),
}

/// A document that is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// The `maven-metadata.xml` of a directory.
    Metadata(Directory),
    /// The catalog of archetypes.
    Catalog,
}

/// A directory; the top one has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory(String);

/// The path of a package: where its versions lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackageName(String);

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coordinates {
    pub(super) package: PackageName,
    pub(super) version: String,
    /// Its path in the version.
    pub(super) file: String,
    pub(super) kind: Kind,
}

/// What the name of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Maven's layout.
    Maven(Artifact),
    /// The descriptor of Ivy's layouts.
    Descriptor,
    /// Anything else in Ivy's layouts.
    Ivy,
}

/// What Maven's name of a file says besides artifact and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) classifier: Option<String>,
    pub(super) extension: String,
    /// Which build of a snapshot it is; none if it stands for the newest.
    pub(super) build: Option<Build>,
}

/// A build of a snapshot; the later is the greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Build {
    /// `YYYYMMDD.HHMMSS`
    pub(super) timestamp: String,
    pub(super) number: u64,
}

impl FromStr for Target {
    type Err = InvalidName;

    fn from_str(path: &str) -> Result<Self, InvalidName> {
        if let Some(directory) = path.strip_suffix('/') {
            return Ok(Self::Directory(directory.parse()?));
        }
        check(path)?;
        let segments: Vec<_> = path.split('/').collect();
        if let Some((subject, end)) = path.rsplit_once('.')
            && let Some(algorithm) = Algorithm::named(end)
            && !subject.is_empty()
            && !subject.ends_with('/')
        {
            return match subject.parse()? {
                // A digest of a digest is a mistake of whoever asks.
                Self::Checksum(..) | Self::Other(_) | Self::Directory(_) => {
                    Ok(Self::Other(Directory(path.into())))
                }
                subject => Ok(Self::Checksum(algorithm, Box::new(subject))),
            };
        }
        if path == CATALOG {
            return Ok(Self::Document(Document::Catalog));
        }
        if let Some(directory) = path
            .strip_suffix(METADATA)
            .and_then(|path| path.strip_suffix('/'))
        {
            return Ok(Self::Document(Document::Metadata(Directory(directory.into()))));
        }
        Ok(match Coordinates::of(&segments) {
            Some(coordinates) => Self::File(coordinates),
            None => Self::Other(Directory(path.into())),
        })
    }
}

impl Target {
    /// The version that it belongs to, as far as the path says.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::File(coordinates) => Some(&coordinates.version),
            Self::Checksum(_, subject) => subject.version(),
            // Metadata of a release lie where those of an artifact of its name would.
            Self::Document(Document::Metadata(directory)) => {
                let (_, version) = directory.as_version()?;
                is_snapshot(version).then_some(version)
            }
            Self::Document(Document::Catalog) | Self::Directory(_) | Self::Other(_) => None,
        }
    }
}

/// Refuses what could be misread, here or by clients that keep the same paths in their file systems.
fn check(path: &str) -> Result<(), InvalidName> {
    let wrong = |reason| Err(InvalidName::new("path", path, reason));
    if path.len() > MAX_PATH_BYTES {
        return wrong("is longer than 1024 bytes");
    }
    for segment in path.split('/') {
        if segment.is_empty() || segment.starts_with('.') {
            return wrong("has a segment that is empty or begins with '.'");
        }
        if segment.len() > MAX_SEGMENT_BYTES {
            return wrong("has a segment that is longer than 255 bytes");
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~@=,!$".contains(&byte);
        if !segment.bytes().all(fits) {
            return wrong("has a character that cannot be in a Maven repository");
        }
    }
    Ok(())
}

impl FromStr for Directory {
    type Err = InvalidName;

    fn from_str(path: &str) -> Result<Self, InvalidName> {
        if !path.is_empty() {
            check(path)?;
        }
        Ok(Self(path.into()))
    }
}

impl Directory {
    /// The top one.
    pub(super) fn top() -> Self {
        Self(String::new())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What the names of everything in it begin with.
    pub(super) fn prefix(&self) -> String {
        match self.0.is_empty() {
            true => String::new(),
            false => format!("{}/", self.0),
        }
    }

    /// As a package, if it can be one.
    pub(super) fn as_package(&self) -> Option<PackageName> {
        self.0.contains('/').then(|| PackageName(self.0.clone()))
    }

    /// As a version of a package, if it can be one.
    pub(super) fn as_version(&self) -> Option<(PackageName, &str)> {
        let (package, version) = self.0.rsplit_once('/')?;
        Some((Self(package.into()).as_package()?, version))
    }

    /// As a directory inside of a version, as Ivy's layout has them, with that version.
    pub(super) fn as_folder_of_version(&self) -> Option<(PackageName, String, &str)> {
        let (version, folder) = self.0.rsplit_once('/')?;
        let (package, version) = Self(version.into())
            .as_version()
            .map(|(p, v)| (p, v.to_owned()))?;
        Some((package, version, folder))
    }
}

impl PackageName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `org.acme` and `lib`.
    pub(super) fn group_and_artifact(&self) -> (String, &str) {
        let (group, artifact) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (group.replace('/', "."), artifact)
    }

    /// The directory of the group: `org/acme`.
    pub(super) fn group_path(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(path: &str) -> Result<Self, InvalidName> {
        let directory: Directory = path.parse()?;
        let package = directory.as_package();
        package.ok_or_else(|| InvalidName::new("package", path, "is no group with an artifact"))
    }
}

impl Coordinates {
    fn of(segments: &[&str]) -> Option<Self> {
        let [before @ .., file] = segments else {
            return None;
        };
        let [package @ .., artifact, version] = before else {
            return None;
        };
        if package.is_empty() {
            return None;
        }
        let name =
            |package: &[&str], artifact: &str| PackageName(format!("{}/{artifact}", package.join("/")));
        let coordinates = |kind| Self {
            package: name(package, artifact),
            version: (*version).into(),
            file: (*file).into(),
            kind,
        };
        if let Some(artifact) = Artifact::of(artifact, version, file) {
            return Some(coordinates(Kind::Maven(artifact)));
        }
        // Ivy's layout with a folder for each type of artifact.
        let (folder, rev) = (version, artifact);
        if let [package @ .., module] = package
            && !package.is_empty()
            && is_type_folder(folder)
            && is_revision(rev)
        {
            let is_descriptor = *folder == "ivys" && *file == "ivy.xml";
            return Some(Self {
                package: name(package, module),
                version: (*rev).into(),
                file: format!("{folder}/{file}"),
                kind: if is_descriptor {
                    Kind::Descriptor
                } else {
                    Kind::Ivy
                },
            });
        }
        if *file == format!("ivy-{version}.xml") || *file == "ivy.xml" {
            return Some(coordinates(Kind::Descriptor));
        }
        // A module of several artifacts, each named by itself.
        let (_, rest) = file.split_once(&format!("-{version}"))?;
        Artifact::of_rest(rest, None).map(|_| coordinates(Kind::Ivy))
    }

    /// Whether it belongs to a version that is still being worked on.
    pub(super) fn is_snapshot(&self) -> bool {
        is_snapshot(&self.version)
    }

    /// Whether it may be replaced again and again: a file of a snapshot that is not one of its builds.
    pub(super) fn is_changing(&self) -> bool {
        let build = match &self.kind {
            Kind::Maven(artifact) => artifact.build.as_ref(),
            Kind::Descriptor | Kind::Ivy => None,
        };
        self.is_snapshot() && build.is_none()
    }

    /// Whether clients begin with it: a version without one cannot be resolved yet.
    pub(super) fn is_descriptor(&self) -> bool {
        match &self.kind {
            Kind::Maven(artifact) => {
                artifact.classifier.is_none() && ["pom", "module"].contains(&&*artifact.extension)
            }
            Kind::Descriptor => true,
            Kind::Ivy => false,
        }
    }

    /// Whether it is the artifact itself, as a JAR.
    pub(super) fn is_main_jar(&self) -> bool {
        matches!(&self.kind, Kind::Maven(artifact) if artifact.classifier.is_none() && artifact.extension == "jar")
    }

    /// The artifact's name, as Maven's layout has it.
    fn artifact(&self) -> &str {
        self.package.group_and_artifact().1
    }

    /// The file that this one, which stands for the newest build, stands for: of the build of this value.
    pub(super) fn of_build(&self, value: &str) -> String {
        let end = self
            .file
            .strip_prefix(&format!("{}-{}", self.artifact(), self.version));
        format!("{}-{value}{}", self.artifact(), end.unwrap_or_default())
    }

    /// The value by which metadata names the build that the file is of.
    pub(super) fn value(&self) -> String {
        match &self.kind {
            Kind::Maven(Artifact {
                build: Some(build), ..
            }) => {
                let before = self.version.strip_suffix(SNAPSHOT).unwrap_or_default();
                format!("{before}{build}")
            }
            _ => self.version.clone(),
        }
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.package, self.version, self.file)
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a version is one that is still being worked on.
pub(super) fn is_snapshot(version: &str) -> bool {
    version
        .strip_suffix(SNAPSHOT)
        .is_some_and(|before| before.is_empty() || before.ends_with('-'))
}

/// The folders of Ivy's layout are named after types, in the plural.
fn is_type_folder(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphabetic() || b"-_.".contains(&byte);
    name.len() > 1 && name.ends_with('s') && name.bytes().all(fits)
}

fn is_revision(name: &str) -> bool {
    is_snapshot(name) || name.bytes().any(|byte| byte.is_ascii_digit())
}

impl Artifact {
    /// Reads the name of a file of a version.
    fn of(artifact: &str, version: &str, file: &str) -> Option<Self> {
        let rest = file.strip_prefix(artifact)?.strip_prefix('-')?;
        if let Some(rest) = rest.strip_prefix(version)
            && let Some(found) = Self::of_rest(rest, None)
        {
            return Some(found);
        }
        if !is_snapshot(version) {
            return None;
        }
        let rest = rest.strip_prefix(version.strip_suffix(SNAPSHOT)?)?;
        let (build, rest) = Build::leading(rest)?;
        Self::of_rest(rest, Some(build))
    }

    /// Reads `[-CLASSIFIER].EXTENSION`.
    fn of_rest(rest: &str, build: Option<Build>) -> Option<Self> {
        let (classifier, extension) = match rest.strip_prefix('-') {
            Some(rest) => {
                let (classifier, extension) = split_extension(rest)?;
                (Some(classifier.to_owned()), extension)
            }
            None => {
                let extension = rest.strip_prefix('.')?;
                // What goes on with a number belongs to another version.
                let first = extension.split('.').next().unwrap_or_default();
                if first.bytes().all(|byte| byte.is_ascii_digit()) || extension.ends_with('.') {
                    return None;
                }
                (None, extension)
            }
        };
        Some(Self {
            classifier,
            extension: extension.to_owned(),
            build,
        })
    }
}

/// Splits `CLASSIFIER.EXTENSION`, of which either may have dots.
fn split_extension(name: &str) -> Option<(&str, &str)> {
    let unsigned = name.strip_suffix(".asc").unwrap_or(name);
    let compound = COMPOUND
        .iter()
        .find_map(|end| unsigned.strip_suffix(end)?.strip_suffix('.'));
    let classifier = match compound {
        Some(classifier) => classifier,
        None => unsigned.rsplit_once('.')?.0,
    };
    let extension = name.get(classifier.len() + 1..)?;
    (!classifier.is_empty() && !extension.is_empty()).then_some((classifier, extension))
}

impl Build {
    /// Reads `YYYYMMDD.HHMMSS-N` at the beginning of a name; gives what follows as well.
    fn leading(text: &str) -> Option<(Self, &str)> {
        let (timestamp, rest) = (text.get(..15)?, text.get(15..)?.strip_prefix('-')?);
        let fits = |(at, byte): (usize, u8)| {
            if at == 8 {
                byte == b'.'
            } else {
                byte.is_ascii_digit()
            }
        };
        if !timestamp.bytes().enumerate().all(fits) {
            return None;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest.get(..digits)?;
        let is_written_once = number == "0" || !number.starts_with('0');
        let number = number.parse().ok().filter(|_| is_written_once)?;
        let build = Self {
            timestamp: timestamp.into(),
            number,
        };
        Some((build, &rest[digits..]))
    }

    /// The build that the value of a snapshot ends with.
    pub(super) fn of_value(version: &str, value: &str) -> Option<Self> {
        let rest = value.strip_prefix(version.strip_suffix(SNAPSHOT)?)?;
        Self::leading(rest).and_then(|(build, rest)| rest.is_empty().then_some(build))
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.timestamp, self.number)
    }
}

/// The name by which a package is kept, or a pattern of such: people write `org.acme:lib` as well.
pub(super) fn spelled_alike(name: &str) -> String {
    match name.split_once(':') {
        Some((group, artifact)) => format!("{}/{artifact}", group.replace('.', "/")),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a path names, in one line.
    fn shown(path: &str) -> String {
        let target = match path.parse::<Target>() {
            Ok(target) => target,
            Err(error) => return format!("! {}", error.reason),
        };
        shown_target(&target)
    }

    fn shown_target(target: &Target) -> String {
        match target {
            Target::Checksum(algorithm, subject) => {
                format!("{} of {}", algorithm.name(), shown_target(subject))
            }
            Target::Document(Document::Catalog) => "catalog".into(),
            Target::Document(Document::Metadata(of)) => format!("metadata of {}", of.as_str()),
            Target::Directory(directory) => format!("directory {}", directory.as_str()),
            Target::Other(directory) => format!("? {}", directory.as_str()),
            Target::File(coordinates) => {
                let Coordinates {
                    package,
                    version,
                    file,
                    kind,
                } = coordinates;
                let kind = match kind {
                    Kind::Descriptor => "descriptor".into(),
                    Kind::Ivy => format!("ivy {file}"),
                    Kind::Maven(Artifact {
                        classifier,
                        extension,
                        build,
                    }) => {
                        let classifier = classifier
                            .as_ref()
                            .map_or(String::new(), |name| format!("{name} "));
                        let build = build.as_ref().map_or(String::new(), |build| format!(" {build}"));
                        format!("{classifier}{extension}{build}")
                    }
                };
                format!("{package} {version}: {kind}")
            }
        }
    }

    #[test]
    fn paths_mean_what_the_table_says() {
        for (path, meaning) in [
            ("org/acme/lib/1.0/lib-1.0.jar", "org/acme/lib 1.0: jar"),
            ("org/acme/lib/1.0/lib-1.0.pom", "org/acme/lib 1.0: pom"),
            ("org/acme/lib/1.0/lib-1.0.module", "org/acme/lib 1.0: module"),
            (
                "org/acme/lib/1.0/lib-1.0-sources.jar",
                "org/acme/lib 1.0: sources jar",
            ),
            (
                "org/acme/lib/1.0/lib-1.0-bin.tar.gz",
                "org/acme/lib 1.0: bin tar.gz",
            ),
            ("org/acme/lib/1.0/lib-1.0.tar.gz", "org/acme/lib 1.0: tar.gz"),
            (
                "org/acme/lib/1.0/lib-1.0-jdk1.5.jar",
                "org/acme/lib 1.0: jdk1.5 jar",
            ),
            (
                "org/acme/lib/1.0/lib-1.0-linux-x86_64.exe",
                "org/acme/lib 1.0: linux-x86_64 exe",
            ),
            ("org/acme/lib/1.0/lib-1.0.jar.asc", "org/acme/lib 1.0: jar.asc"),
            (
                "org/acme/lib/1.0/lib-1.0-sources.jar.asc",
                "org/acme/lib 1.0: sources jar.asc",
            ),
            (
                "org/acme/lib/1.0/lib-1.0.jar.asc.sha1",
                "sha1 of org/acme/lib 1.0: jar.asc",
            ),
            ("org/acme/lib/1.0/lib-1.0.jar.md5", "md5 of org/acme/lib 1.0: jar"),
            (
                "org/acme/lib/1.0+build/lib-1.0+build.jar",
                "org/acme/lib 1.0+build: jar",
            ),
            ("junit/junit/4.13/junit-4.13.jar", "junit/junit 4.13: jar"),
            ("a/b-1/1/b-1-1.jar", "a/b-1 1: jar"),
            ("a/lib_2.13/1.0/lib_2.13-1.0.pom", "a/lib_2.13 1.0: pom"),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-3.jar",
                "org/acme/lib 1.0-SNAPSHOT: jar 20260701.120000-3",
            ),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-3-sources.jar",
                "org/acme/lib 1.0-SNAPSHOT: sources jar 20260701.120000-3",
            ),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT.jar",
                "org/acme/lib 1.0-SNAPSHOT: jar",
            ),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT-sources.jar",
                "org/acme/lib 1.0-SNAPSHOT: sources jar",
            ),
            (
                "a/lib/SNAPSHOT/lib-20260701.120000-3.pom",
                "a/lib SNAPSHOT: pom 20260701.120000-3",
            ),
            (
                "org/acme/lib/1.0-SNAPSHOT/maven-metadata.xml",
                "metadata of org/acme/lib/1.0-SNAPSHOT",
            ),
            (
                "org/acme/maven-metadata.xml.sha512",
                "sha512 of metadata of org/acme",
            ),
            ("archetype-catalog.xml", "catalog"),
            ("archetype-catalog.xml.sha1", "sha1 of catalog"),
            ("org.acme/lib/1.0/ivy-1.0.xml", "org.acme/lib 1.0: descriptor"),
            (
                "org.acme/lib/1.0/ivy-1.0.xml.sha1",
                "sha1 of org.acme/lib 1.0: descriptor",
            ),
            ("org.acme/lib/1.0/lib-1.0.jar", "org.acme/lib 1.0: jar"),
            (
                "org.acme/lib/1.0/other-1.0.jar",
                "org.acme/lib 1.0: ivy other-1.0.jar",
            ),
            ("org.acme/lib/1.0/ivys/ivy.xml", "org.acme/lib 1.0: descriptor"),
            (
                "org.acme/lib/1.0/jars/lib.jar",
                "org.acme/lib 1.0: ivy jars/lib.jar",
            ),
            (
                "org.acme/lib/1.0/srcs/lib-sources.jar",
                "org.acme/lib 1.0: ivy srcs/lib-sources.jar",
            ),
            (
                "org.acme/plug/scala_2.12/sbt_1.0/0.1-SNAPSHOT/ivys/ivy.xml.md5",
                "md5 of org.acme/plug/scala_2.12/sbt_1.0 0.1-SNAPSHOT: descriptor",
            ),
            ("org/acme/", "directory org/acme"),
            ("org/acme/lib/1.0/", "directory org/acme/lib/1.0"),
            ("org/acme", "? org/acme"),
            ("lib-1.0.jar", "? lib-1.0.jar"),
            ("lib/1.0/lib-1.0.jar", "? lib/1.0/lib-1.0.jar"),
            ("maven-metadata.xml", "? maven-metadata.xml"),
            ("org/acme/lib/1.0/lib-1.1.jar", "? org/acme/lib/1.0/lib-1.1.jar"),
            (
                "org/acme/lib/1.0/lib-1.0.1.jar",
                "? org/acme/lib/1.0/lib-1.0.1.jar",
            ),
            ("org/acme/lib/1.0/lib-1.0-.jar", "? org/acme/lib/1.0/lib-1.0-.jar"),
            ("org/acme/lib/1.0/README", "? org/acme/lib/1.0/README"),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.12000x-3.jar",
                "? org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.12000x-3.jar",
            ),
            (
                "org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-03.jar",
                "? org/acme/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-03.jar",
            ),
            (
                "org/acme/lib/1.0/lib-1.0.jar.sha1.md5",
                "? org/acme/lib/1.0/lib-1.0.jar.sha1.md5",
            ),
            (
                "org/acme/.sha1",
                "! has a segment that is empty or begins with '.'",
            ),
            (
                ".meta/prefixes.txt",
                "! has a segment that is empty or begins with '.'",
            ),
            (
                "org/../lib/1.0/lib-1.0.jar",
                "! has a segment that is empty or begins with '.'",
            ),
            (
                "org//lib/1.0/lib-1.0.jar",
                "! has a segment that is empty or begins with '.'",
            ),
            (
                "org/a b/1.0/a b-1.0.jar",
                "! has a character that cannot be in a Maven repository",
            ),
            (
                "org/a\\b/1.0/x",
                "! has a character that cannot be in a Maven repository",
            ),
            (
                "org/a\nb/1.0/x",
                "! has a character that cannot be in a Maven repository",
            ),
            (
                "org/é/1.0/x",
                "! has a character that cannot be in a Maven repository",
            ),
        ] {
            assert_eq!(shown(path), meaning, "{path}");
        }
        assert!(shown(&"a/".repeat(600)).contains("1024"));
        assert!(shown(&"a".repeat(256)).contains("255"));
    }

    #[test]
    fn snapshots_are_told_by_their_names() {
        for (version, expected) in [
            ("1.0-SNAPSHOT", true),
            ("SNAPSHOT", true),
            ("1.0", false),
            ("1.0SNAPSHOT", false),
            ("1.0-snapshot", false),
            ("1.0-SNAPSHOT-1", false),
        ] {
            assert_eq!(is_snapshot(version), expected, "{version}");
        }
    }

    #[test]
    fn the_newest_build_is_named_by_its_value() {
        let literal: Target = "a/lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT-sources.jar".parse().unwrap();
        let built: Target = "a/lib/1.0-SNAPSHOT/lib-1.0-20260701.120000-3-sources.jar"
            .parse()
            .unwrap();
        let (Target::File(literal), Target::File(built)) = (literal, built) else {
            panic!("these are files");
        };
        assert!(literal.is_changing() && !built.is_changing());
        assert_eq!(built.value(), "1.0-20260701.120000-3");
        assert_eq!(literal.of_build(&built.value()), built.file);
        assert_eq!(literal.of_build(&literal.value()), literal.file);
        let build = Build::of_value("1.0-SNAPSHOT", &built.value()).unwrap();
        assert_eq!((build.timestamp.as_str(), build.number), ("20260701.120000", 3));
        assert_eq!(Build::of_value("1.0-SNAPSHOT", "1.0-SNAPSHOT"), None);
    }

    #[test]
    fn packages_are_spelled_in_two_ways() {
        assert_eq!(spelled_alike("org.acme:lib"), "org/acme/lib");
        assert_eq!(spelled_alike("org.acme:*"), "org/acme/*");
        assert_eq!(spelled_alike("org/acme/*"), "org/acme/*");
    }

    proptest! {
        #[test]
        fn any_path_is_refused_or_clean(path in "\\PC{0,60}|([a-c.]{1,3}/){1,5}[a-c0-9.-]{0,12}(\\.(jar|sha1|asc))?") {
            if let Ok(target) = path.parse::<Target>() {
                prop_assert!(!path.split('/').any(|segment| segment == ".." || segment == "."));
                if let Target::File(coordinates) = target {
                    prop_assert_eq!(coordinates.to_string(), path);
                    prop_assert!(coordinates.package.as_str().contains('/'));
                }
            }
        }

        #[test]
        fn coordinates_are_read_back(
            group in "[a-z]{1,5}(/[a-z]{1,5}){0,2}",
            artifact in "[a-z]{1,8}(-[a-z]{1,4})?",
            version in "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(-SNAPSHOT)?",
            classifier in prop::option::of("[a-z]{1,6}(-[a-z0-9_]{1,5})?"),
            extension in "jar|pom|war|tar\\.gz|zip|jar\\.asc",
        ) {
            let end = classifier.as_ref().map_or(String::new(), |name| format!("-{name}"));
            let path = format!("{group}/{artifact}/{version}/{artifact}-{version}{end}.{extension}");
            let Ok(Target::File(found)) = path.parse::<Target>() else {
                return Err(TestCaseError::fail(path));
            };
            let expected = Artifact { classifier, extension, build: None };
            prop_assert_eq!(found.kind, Kind::Maven(expected));
            prop_assert_eq!(found.package.as_str(), format!("{group}/{artifact}"));
            prop_assert_eq!(found.version, version);
        }
    }
}
