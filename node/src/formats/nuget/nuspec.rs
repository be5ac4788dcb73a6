//! What a package says of itself: the `.nuspec` in it.
//!
//! Its namespace has changed over the years and says nothing; so it is passed over.
//!
//! <https://learn.microsoft.com/nuget/reference/nuspec>

use serde::{Deserialize, Serialize};

use super::names::{PackageId, Range, Version};
use crate::formats::xml::{self, InvalidXml, Seen};
use crate::registry::names::InvalidName;

/// The largest document that is read.
pub(super) const MAX_NUSPEC_BYTES: u64 = 1 << 20;

/// The most groups of dependencies, and the most dependencies of all of them.
const MAX_DEPENDENCIES: usize = 2_000;

/// The most types of a package.
const MAX_TYPES: usize = 32;

/// The longest name of a framework, type, or path.
const MAX_WORD_BYTES: usize = 260;

/// The type of packages that hold symbols for another one.
const SYMBOLS: &str = "SymbolsPackage";

/// What a package says of itself. What it leaves out is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nuspec {
    pub(super) id: PackageId,
    pub(super) version: Version,
    pub(super) title: String,
    pub(super) authors: String,
    pub(super) owners: String,
    pub(super) description: String,
    pub(super) summary: String,
    pub(super) release_notes: String,
    pub(super) copyright: String,
    pub(super) language: String,
    pub(super) tags: String,
    pub(super) project_url: String,
    pub(super) icon_url: String,
    pub(super) license_url: String,
    pub(super) license: Option<License>,
    /// The path of its icon, in the package.
    pub(super) icon: Option<String>,
    /// The path of its README, in the package.
    pub(super) readme: Option<String>,
    pub(super) repository: Option<Repository>,
    pub(super) min_client_version: String,
    pub(super) require_license_acceptance: bool,
    pub(super) development_dependency: bool,
    pub(super) groups: Vec<Group>,
    pub(super) types: Vec<PackageType>,
}

/// Under which license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum License {
    /// As SPDX says it.
    Expression(String),
    /// That of a file in the package.
    File(String),
}

/// Where its sources are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Repository {
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) branch: String,
    pub(super) commit: String,
}

/// What it depends on where it is used for a framework; for all others, if none is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) framework: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
}

/// One package that it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dependency {
    pub(super) id: PackageId,
    pub(super) range: Range,
}

/// What kind of package it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackageType {
    pub(super) name: String,
    pub(super) version: String,
}

/// Why a `.nuspec` was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NuspecError {
    #[error(transparent)]
    Xml(#[from] InvalidXml),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("it has more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("its {0} is longer than {MAX_WORD_BYTES} bytes")]
    TooLong(&'static str),
}

impl Nuspec {
    /// Reads a document.
    pub(super) fn read(document: &[u8]) -> Result<Self, NuspecError> {
        let mut reading = Reading::default();
        let mut outcome = Ok(());
        xml::each(document, MAX_NUSPEC_BYTES as usize, |path, seen| {
            if outcome.is_ok()
                && let Some(inner) = path.strip_prefix("package/metadata")
            {
                outcome = reading.see(inner.trim_start_matches('/'), &seen);
            }
        })?;
        outcome?;
        reading.end()
    }

    /// Whether clients that know of the first SemVer only cannot use it.
    pub(super) fn is_semver2(&self) -> bool {
        let dependencies = || self.groups.iter().flat_map(|group| &group.dependencies);
        self.version.is_semver2() || dependencies().any(|dependency| dependency.range.is_semver2())
    }

    /// Whether it holds symbols for another package.
    pub(super) fn is_for_symbols(&self) -> bool {
        let is_it = |kind: &PackageType| kind.name.eq_ignore_ascii_case(SYMBOLS);
        self.types.iter().any(is_it)
    }

    /// What people search for it by.
    pub(super) fn tag_list(&self) -> Vec<&str> {
        let is_between = |c: char| c.is_whitespace() || c == ',' || c == ';';
        self.tags
            .split(is_between)
            .filter(|tag| !tag.is_empty())
            .collect()
    }

    /// Its authors, one by one.
    pub(super) fn author_list(&self) -> Vec<&str> {
        list(&self.authors)
    }

    /// Its owners, one by one.
    pub(super) fn owner_list(&self) -> Vec<&str> {
        list(&self.owners)
    }

    /// The files of the package that it says something about.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let license = match &self.license {
            Some(License::File(path)) => Some(path.as_str()),
            _ => None,
        };
        let others = [self.icon.as_deref(), self.readme.as_deref(), license];
        others.into_iter().flatten()
    }
}

fn list(text: &str) -> Vec<&str> {
    let parts = text.split([',', ';']).map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

/// What XML can say again: control characters may come in by reference.
fn clean(text: &str) -> String {
    let is_fit = |c: &char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    text.chars().filter(is_fit).collect()
}

/// An address that people can be sent to; nothing else is kept of it.
fn web_address(text: &str) -> String {
    let fits = url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
    if fits { clean(text) } else { String::new() }
}

/// The path of a file in the package, with the separators that it has there.
fn path_in_package(text: &str) -> String {
    text.replace('\\', "/").trim_start_matches("./").to_owned()
}

/// What was read of a document so far.
#[derive(Default)]
struct Reading {
    id: Option<PackageId>,
    version: Option<Version>,
    texts: Texts,
    license: Option<License>,
    license_is_file: bool,
    icon: Option<String>,
    readme: Option<String>,
    repository: Option<Repository>,
    min_client_version: String,
    require_license_acceptance: bool,
    development_dependency: bool,
    groups: Vec<Group>,
    dependencies: usize,
    types: Vec<PackageType>,
}

#[derive(Default)]
struct Texts {
    title: String,
    authors: String,
    owners: String,
    description: String,
    summary: String,
    release_notes: String,
    copyright: String,
    language: String,
    tags: String,
    project_url: String,
    icon_url: String,
    license_url: String,
}

impl Reading {
    fn see(&mut self, path: &str, seen: &Seen<'_>) -> Result<(), NuspecError> {
        match seen {
            Seen::Text(text) => self.text(path, text),
            Seen::Element(attributes) => self.element(path, attributes),
        }
    }

    fn text(&mut self, path: &str, text: &str) -> Result<(), NuspecError> {
        let texts = &mut self.texts;
        match path {
            "id" => self.id = Some(text.parse()?),
            "version" => self.version = Some(text.parse()?),
            "title" => texts.title = clean(text),
            "authors" => texts.authors = clean(text),
            "owners" => texts.owners = clean(text),
            "description" => texts.description = clean(text),
            "summary" => texts.summary = clean(text),
            "releaseNotes" => texts.release_notes = clean(text),
            "copyright" => texts.copyright = clean(text),
            "language" => texts.language = clean(text),
            "tags" => texts.tags = clean(text),
            "projectUrl" => texts.project_url = web_address(text),
            "iconUrl" => texts.icon_url = web_address(text),
            "licenseUrl" => texts.license_url = web_address(text),
            "license" if self.license_is_file => {
                self.license = Some(License::File(word("license", &path_in_package(text))?));
            }
            "license" => self.license = Some(License::Expression(clean(text))),
            "icon" => self.icon = Some(word("icon", &path_in_package(text))?),
            "readme" => self.readme = Some(word("readme", &path_in_package(text))?),
            "requireLicenseAcceptance" => self.require_license_acceptance = is_true(text),
            "developmentDependency" => self.development_dependency = is_true(text),
            _ => {}
        }
        Ok(())
    }

    fn element(&mut self, path: &str, attributes: &[(String, String)]) -> Result<(), NuspecError> {
        let said = |name: &str| {
            let attribute = attributes.iter().find(|(found, _)| found == name);
            attribute.map(|(_, value)| value.trim())
        };
        match path {
            "" => {
                self.min_client_version =
                    word("minClientVersion", said("minClientVersion").unwrap_or_default())?
            }
            "license" => {
                self.license_is_file = said("type").is_some_and(|kind| kind.eq_ignore_ascii_case("file"))
            }
            "repository" => {
                let text = |name| clean(said(name).unwrap_or_default());
                self.repository = Some(Repository {
                    kind: text("type"),
                    url: web_address(said("url").unwrap_or_default()),
                    branch: text("branch"),
                    commit: text("commit"),
                });
            }
            "packageTypes/packageType" => {
                if self.types.len() >= MAX_TYPES {
                    return Err(NuspecError::TooMany(MAX_TYPES, "package types"));
                }
                self.types.push(PackageType {
                    name: word("package type", said("name").unwrap_or_default())?,
                    version: word("package type", said("version").unwrap_or_default())?,
                });
            }
            "dependencies/group" => {
                if self.groups.len() >= MAX_DEPENDENCIES {
                    return Err(NuspecError::TooMany(MAX_DEPENDENCIES, "groups of dependencies"));
                }
                let framework = said("targetFramework").filter(|framework| !framework.is_empty());
                let framework = framework.map(|framework| word("target framework", framework));
                self.groups.push(Group {
                    framework: framework.transpose()?,
                    dependencies: Vec::new(),
                });
            }
            "dependencies/group/dependency" => {
                let group = self.groups.len().saturating_sub(1);
                self.dependency(group, said("id"), said("version"))?;
            }
            "dependencies/dependency" => {
                let group = self.groups.iter().position(|group| group.framework.is_none());
                let group = group.unwrap_or_else(|| {
                    self.groups.push(Group::default());
                    self.groups.len() - 1
                });
                self.dependency(group, said("id"), said("version"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn dependency(&mut self, group: usize, id: Option<&str>, range: Option<&str>) -> Result<(), NuspecError> {
        self.dependencies += 1;
        if self.dependencies > MAX_DEPENDENCIES {
            return Err(NuspecError::TooMany(MAX_DEPENDENCIES, "dependencies"));
        }
        let dependency = Dependency {
            id: id.ok_or(NuspecError::Missing("id of a dependency"))?.parse()?,
            range: range.unwrap_or_default().parse()?,
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.dependencies.push(dependency);
        }
        Ok(())
    }

    fn end(self) -> Result<Nuspec, NuspecError> {
        let texts = self.texts;
        Ok(Nuspec {
            id: self.id.ok_or(NuspecError::Missing("id"))?,
            version: self.version.ok_or(NuspecError::Missing("version"))?,
            title: texts.title,
            authors: texts.authors,
            owners: texts.owners,
            description: texts.description,
            summary: texts.summary,
            release_notes: texts.release_notes,
            copyright: texts.copyright,
            language: texts.language,
            tags: texts.tags,
            project_url: texts.project_url,
            icon_url: texts.icon_url,
            license_url: texts.license_url,
            license: self.license,
            icon: self.icon,
            readme: self.readme,
            repository: self.repository,
            min_client_version: self.min_client_version,
            require_license_acceptance: self.require_license_acceptance,
            development_dependency: self.development_dependency,
            groups: self.groups,
            types: self.types,
        })
    }
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1"
}

fn word(what: &'static str, text: &str) -> Result<String, NuspecError> {
    match text.len() > MAX_WORD_BYTES {
        true => Err(NuspecError::TooLong(what)),
        false => Ok(clean(text)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A document with more metadata.
    pub(in crate::formats::nuget) fn nuspec_with(id: &str, version: &str, more: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<package xmlns=\"http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd\">\n\
             <metadata minClientVersion=\"2.12\"><id>{id}</id><version>{version}</version><authors>Ann, Bob</authors>\
             <description>Does things</description>{more}</metadata></package>"
        )
    }

    fn read(more: &str) -> Result<Nuspec, NuspecError> {
        Nuspec::read(nuspec_with("Acme.Lib", "1.0.0", more).as_bytes())
    }

    #[test]
    fn all_that_is_said_is_read() {
        let nuspec = read(
            "<title>T &amp; T</title><owners>Carl; Dora</owners><summary>S</summary><tags>a b,c</tags>\
             <releaseNotes><![CDATA[<new>]]></releaseNotes><projectUrl>https://acme.example/</projectUrl>\
             <iconUrl>javascript:alert(1)</iconUrl><license type=\"expression\">MIT</license>\
             <icon>images\\icon.png</icon><readme>docs/README.md</readme><language>en-US</language>\
             <requireLicenseAcceptance>true</requireLicenseAcceptance><copyright>\u{a9} Acme</copyright>\
             <developmentDependency>true</developmentDependency>\
             <repository type=\"git\" url=\"https://acme.example/x.git\" commit=\"abc\" branch=\"main\"/>\
             <packageTypes><packageType name=\"DotnetTool\" /></packageTypes>\
             <dependencies><group targetFramework=\"net45\"/><group><dependency id=\"A\" version=\"1.0\"/></group>\
             <group targetFramework=\".NETStandard2.0\"><dependency id=\"B\" version=\"[1.0,2.0)\" exclude=\"Build\"/>\
             <dependency id=\"C\"></dependency></group></dependencies>",
        )
        .unwrap();
        assert_eq!(nuspec.title, "T & T");
        assert_eq!(nuspec.author_list(), ["Ann", "Bob"]);
        assert_eq!(nuspec.owner_list(), ["Carl", "Dora"]);
        assert_eq!(nuspec.tag_list(), ["a", "b", "c"]);
        assert_eq!(nuspec.release_notes, "<new>");
        assert_eq!(
            (nuspec.project_url.as_str(), nuspec.icon_url.as_str()),
            ("https://acme.example/", "")
        );
        assert_eq!(nuspec.license, Some(License::Expression("MIT".into())));
        assert_eq!(
            nuspec.files().collect::<Vec<_>>(),
            ["images/icon.png", "docs/README.md"]
        );
        assert!(nuspec.require_license_acceptance && nuspec.development_dependency);
        assert_eq!(nuspec.min_client_version, "2.12");
        assert_eq!(nuspec.repository.as_ref().unwrap().commit, "abc");
        assert_eq!(nuspec.types[0].name, "DotnetTool");
        let groups: Vec<_> = nuspec
            .groups
            .iter()
            .map(|group| {
                let dependencies = group.dependencies.iter();
                let dependencies =
                    dependencies.map(|dependency| format!(" {} {}", dependency.id, dependency.range));
                format!("{:?}{}", group.framework, dependencies.collect::<String>())
            })
            .collect();
        assert_eq!(
            groups,
            [
                "Some(\"net45\")",
                "None A [1.0.0, )",
                "Some(\".NETStandard2.0\") B [1.0.0, 2.0.0) C (, )"
            ]
        );
        assert!(!nuspec.is_semver2());
    }

    #[test]
    fn dependencies_may_stand_without_groups() {
        let nuspec = read(
            "<dependencies><dependency id=\"A\" version=\"1.0.0-a.1\"/><dependency id=\"B\"/></dependencies>",
        );
        let nuspec = nuspec.unwrap();
        assert_eq!((nuspec.groups.len(), nuspec.groups[0].dependencies.len()), (1, 2));
        assert!(nuspec.is_semver2());
    }

    #[test]
    fn what_it_cannot_be_without_is_asked_for() {
        let check = |document: &str, part: &str| {
            let error = Nuspec::read(document.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check(
            "<package><metadata><id>a</id></metadata></package>",
            "has no version",
        );
        check(
            "<package><metadata><version>1</version></metadata></package>",
            "has no id",
        );
        check("<other/>", "has no id");
        check("", "has no id");
        check("<package><metadata>", "cut off");
        check("<!DOCTYPE a><package/>", "document type");
        check(&nuspec_with("../x", "1.0", ""), "package id");
        check(&nuspec_with("a", "1.*", ""), "package version");
        check(
            &nuspec_with(
                "a",
                "1",
                "<dependencies><dependency id='b' version='*'/></dependencies>",
            ),
            "version",
        );
        check(
            &nuspec_with("a", "1", "<dependencies><dependency version='1'/></dependencies>"),
            "id of a dependency",
        );
        let many = "<dependency id='b'/>".repeat(2_001);
        check(
            &nuspec_with("a", "1", &format!("<dependencies>{many}</dependencies>")),
            "more than 2000 dependencies",
        );
        check(
            &nuspec_with("a", "1", &format!("<icon>{}</icon>", "x".repeat(300))),
            "icon is longer",
        );
    }

    #[test]
    fn what_xml_cannot_say_again_is_left_out() {
        assert_eq!(
            read("<title>a&#1;b&#xFFFF;c&#10;d</title>").unwrap().title,
            "abc\nd"
        );
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(more in "\\PC{0,40}|(<[a-z]{1,3}>|<group>|<dependency id='a' version='[0-9.*]{0,3}'/>|</[a-z]{1,3}>|&[a-z]{0,3};){0,8}", cut in 0..400usize) {
            let document = nuspec_with("a", "1.0", &more);
            let _ = Nuspec::read(document.as_bytes());
            let _ = Nuspec::read(&document.as_bytes()[..cut.min(document.len())]);
        }
    }
}
