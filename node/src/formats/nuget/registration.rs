//! What the newer protocol says of versions: the service index, registrations, and items of searches.
//!
//! <https://learn.microsoft.com/nuget/api/registration-base-url-resource>

use serde_json::{Map, Value, json};

use super::names::{Version, package_file};
use super::nuspec::{License, Nuspec};
use super::records::{Line, Notes, Wants};
use super::warnings::Warnings;
use crate::registry::time::iso;

/// How many versions a page has.
pub(super) const PAGE: usize = 64;

/// Up to how many versions the pages are in the document about them.
pub(super) const MAX_INLINE: usize = 128;

/// When what is not listed was published, as clients are told.
const UNLISTED: &str = "1900-01-01T00:00:00+00:00";

/// A set of registrations: those that clients see which know of the first SemVer only, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hive {
    First,
    Second,
}

impl Hive {
    /// What its URLs begin with, below that of the registry.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::First => "metadata-semver1",
            Self::Second => "metadata",
        }
    }

    /// Which versions it has.
    pub(super) fn wants(self) -> Wants {
        Wants::of(true, self == Self::Second)
    }
}

/// The URLs of what there is of one package in one registry.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    /// That of the registry, with a slash at its end.
    base: String,
    /// The name of the package in lower case.
    id: String,
}

impl Urls {
    pub(super) fn new(base: &str, id: &str) -> Self {
        Self {
            base: base.into(),
            id: id.to_ascii_lowercase(),
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn registration(&self, hive: Hive) -> String {
        format!("{}{}/{}/index.json", self.base, hive.path(), self.id)
    }

    fn leaf(&self, hive: Hive, version: &Version) -> String {
        format!(
            "{}{}/{}/{}.json",
            self.base,
            hive.path(),
            self.id,
            version.in_urls()
        )
    }

    fn page(&self, hive: Hive, lower: &Version, upper: &Version) -> String {
        let (lower, upper) = (lower.in_urls(), upper.in_urls());
        format!(
            "{}{}/{}/page/{lower}/{upper}.json",
            self.base,
            hive.path(),
            self.id
        )
    }

    pub(super) fn package(&self, version: &Version) -> String {
        let (id, file) = (&self.id, package_file(&self.id, version));
        format!("{}download/{id}/{}/{file}", self.base, version.in_urls())
    }

    fn part(&self, version: &Version, part: &str) -> String {
        format!("{}download/{}/{}/{part}", self.base, self.id, version.in_urls())
    }

    /// Where its icon is: in the package, or somewhere else.
    pub(super) fn icon(&self, nuspec: &Nuspec) -> String {
        match nuspec.icon {
            Some(_) => self.part(&nuspec.version, "icon"),
            None => nuspec.icon_url.clone(),
        }
    }

    /// The same of its license.
    pub(super) fn license(&self, nuspec: &Nuspec) -> String {
        match nuspec.license {
            Some(License::File(_)) => self.part(&nuspec.version, "license"),
            _ => nuspec.license_url.clone(),
        }
    }
}

/// The document that tells clients where everything is.
pub(super) fn service_index(base: &str, is_project: bool) -> Value {
    let registrations = |hive: Hive| format!("{base}{}/", hive.path());
    let both = |name: &'static str| {
        ["", "/3.0.0-beta", "/3.0.0-rc", "/3.5.0"].map(|version| format!("{name}{version}"))
    };
    let mut resources = vec![json!({
        "@id": format!("{base}download/"),
        "@type": "PackageBaseAddress/3.0.0",
        "comment": "where packages are downloaded from",
    })];
    let mut add = |url: &str, kind: &str, comment: &str| {
        resources.push(json!({"@id": url, "@type": kind, "comment": comment}));
    };
    for kind in [
        "RegistrationsBaseUrl",
        "RegistrationsBaseUrl/3.0.0-beta",
        "RegistrationsBaseUrl/3.0.0-rc",
    ] {
        add(
            &registrations(Hive::First),
            kind,
            "about packages, without those of SemVer 2",
        );
    }
    add(
        &registrations(Hive::First),
        "RegistrationsBaseUrl/3.4.0",
        "about packages, compressed, without those of SemVer 2",
    );
    for kind in ["RegistrationsBaseUrl/3.6.0", "RegistrationsBaseUrl/Versioned"] {
        add(&registrations(Hive::Second), kind, "about packages, compressed");
    }
    for kind in both("SearchQueryService") {
        add(&format!("{base}query"), &kind, "searches packages");
    }
    for kind in both("SearchAutocompleteService") {
        add(
            &format!("{base}autocomplete"),
            &kind,
            "completes names and versions",
        );
    }
    if is_project {
        add(
            &format!("{base}v2/package"),
            "PackagePublish/2.0.0",
            "takes packages",
        );
        add(
            &format!("{base}symbolpackage"),
            "SymbolPackagePublish/4.9.0",
            "takes packages of symbols",
        );
        add(
            &format!("{base}catalog/index.json"),
            "Catalog/3.0.0",
            "what was changed, for mirrors",
        );
    }
    add(&format!("{base}v2"), "LegacyGallery/2.0.0", "the older protocol");
    add(
        &format!("{base}vulnerabilities/index.json"),
        "VulnerabilityInfo/6.7.0",
        "weaknesses of packages",
    );
    add(
        &format!("{base}download/{{lower_id}}/{{lower_version}}/readme"),
        "ReadmeUriTemplate/6.13.0",
        "the README of a package",
    );
    json!({"version": "3.0.0", "resources": resources})
}

/// Some versions that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) lower: Version,
    pub(super) upper: Version,
    pub(super) count: usize,
}

impl Page {
    /// Adds the next version to pages.
    pub(super) fn add(pages: &mut Vec<Self>, version: &Version) {
        match pages.last_mut() {
            Some(page) if page.count < PAGE => {
                page.upper = version.clone();
                page.count += 1;
            }
            _ => pages.push(Self {
                lower: version.clone(),
                upper: version.clone(),
                count: 1,
            }),
        }
    }

    /// What is said of it; the versions themselves are to follow as its last member.
    pub(super) fn head(&self, urls: &Urls, hive: Hive, is_inline: bool) -> Map<String, Value> {
        let registration = urls.registration(hive);
        let (lower, upper) = (self.lower.normalised(), self.upper.normalised());
        let url = match is_inline {
            true => format!("{registration}#page/{lower}/{upper}"),
            false => urls.page(hive, &self.lower, &self.upper),
        };
        let head = json!({
            "@id": url, "@type": "catalog:CatalogPage", "count": self.count,
            "lower": lower, "upper": upper, "parent": registration,
        });
        match head {
            Value::Object(head) => head,
            _ => Map::new(),
        }
    }
}

/// How the document about all versions begins, up to its pages.
pub(super) fn index_head(urls: &Urls, hive: Hive, pages: usize) -> String {
    let mut head = json!({
        "@id": urls.registration(hive),
        "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
        "count": pages,
    })
    .to_string();
    head.pop();
    head + ",\"items\":["
}

/// What a page says of a version.
pub(super) fn leaf(urls: &Urls, hive: Hive, notes: &Notes, warnings: &Warnings) -> Value {
    let nuspec = &notes.nuspec;
    json!({
        "@id": urls.leaf(hive, &nuspec.version),
        "@type": "Package",
        "catalogEntry": entry(urls, hive, notes, warnings),
        "packageContent": urls.package(&nuspec.version),
        "registration": urls.registration(hive),
    })
}

/// The document about one version.
pub(super) fn document(urls: &Urls, hive: Hive, notes: &Notes, warnings: &Warnings) -> Value {
    let mut document = leaf(urls, hive, notes, warnings);
    document["@type"] = json!(["Package", "catalog:Permalink"]);
    document["listed"] = json!(notes.is_listed);
    document["published"] = json!(published(notes));
    document
}

/// What the catalog says of a version.
pub(super) fn details(urls: &Urls, hive: Hive, notes: &Notes, warnings: &Warnings) -> Value {
    let nuspec = &notes.nuspec;
    let mut details = entry(urls, hive, notes, warnings);
    let more = json!({
        "@type": ["PackageDetails", "catalog:Permalink"],
        "copyright": nuspec.copyright,
        "created": iso(notes.published_at),
        "isPrerelease": nuspec.version.is_prerelease(),
        "packageHash": notes.sha512,
        "packageHashAlgorithm": "SHA512",
        "packageSize": notes.size,
        "releaseNotes": nuspec.release_notes,
        "verbatimVersion": nuspec.version,
    });
    if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
        details.extend(more);
    }
    details
}

pub(super) fn published(notes: &Notes) -> String {
    match notes.is_listed {
        true => iso(notes.published_at).replace('Z', "+00:00"),
        false => UNLISTED.into(),
    }
}

fn entry(urls: &Urls, hive: Hive, notes: &Notes, warnings: &Warnings) -> Value {
    let nuspec = &notes.nuspec;
    let license = match &nuspec.license {
        Some(License::Expression(expression)) => expression.as_str(),
        _ => "",
    };
    let mut entry = json!({
        "@id": urls.leaf(hive, &nuspec.version),
        "@type": "PackageDetails",
        "authors": nuspec.author_list().join(", "),
        "dependencyGroups": groups(urls, hive, nuspec),
        "description": nuspec.description,
        "iconUrl": urls.icon(nuspec),
        "id": nuspec.id,
        "language": nuspec.language,
        "licenseExpression": license,
        "licenseUrl": urls.license(nuspec),
        "listed": notes.is_listed,
        "minClientVersion": nuspec.min_client_version,
        "packageContent": urls.package(&nuspec.version),
        "projectUrl": nuspec.project_url,
        "published": published(notes),
        "requireLicenseAcceptance": nuspec.require_license_acceptance,
        "summary": nuspec.summary,
        "tags": nuspec.tag_list(),
        "title": nuspec.title,
        "version": nuspec.version.full(),
    });
    if nuspec.readme.is_some() {
        entry["readmeUrl"] = json!(urls.part(&nuspec.version, "readme"));
    }
    if nuspec.groups.is_empty()
        && let Some(entry) = entry.as_object_mut()
    {
        entry.remove("dependencyGroups");
    }
    warnings.tell(&nuspec.version, &mut entry);
    entry
}

fn groups(urls: &Urls, hive: Hive, nuspec: &Nuspec) -> Value {
    let groups = nuspec.groups.iter().map(|group| {
        let dependencies = group.dependencies.iter().map(|dependency| {
            let registration = Urls::new(urls.base(), dependency.id.as_str()).registration(hive);
            json!({
                "@type": "PackageDependency",
                "id": dependency.id,
                "range": dependency.range,
                "registration": registration,
            })
        });
        let mut said = json!({"@type": "PackageDependencyGroup"});
        if let Some(framework) = &group.framework {
            said["targetFramework"] = json!(framework);
        }
        // A group without any is not the same as no group.
        if !group.dependencies.is_empty() {
            said["dependencies"] = dependencies.collect();
        }
        said
    });
    groups.collect()
}

/// What a search says of a package: of its newest version, and which others there are, each with its downloads.
pub(super) fn search_item(
    urls: &Urls,
    hive: Hive,
    notes: &Notes,
    warnings: &Warnings,
    downloads: u64,
    versions: &[(Line, u64)],
) -> Value {
    let nuspec = &notes.nuspec;
    let types: Vec<Value> = match nuspec.types.is_empty() {
        true => vec![json!({"name": "Dependency"})],
        false => nuspec
            .types
            .iter()
            .map(|kind| json!({"name": kind.name}))
            .collect(),
    };
    let versions = versions.iter().map(|(line, downloads)| {
        json!({
            "@id": urls.leaf(hive, &line.version),
            "version": line.version.full(),
            "downloads": downloads,
        })
    });
    let mut item = json!({
        "@id": urls.registration(hive),
        "@type": "Package",
        "registration": urls.registration(hive),
        "id": nuspec.id,
        "version": nuspec.version.full(),
        "description": nuspec.description,
        "summary": nuspec.summary,
        "title": if nuspec.title.is_empty() { nuspec.id.as_str() } else { &nuspec.title },
        "authors": nuspec.author_list(),
        "owners": nuspec.owner_list(),
        "tags": nuspec.tag_list(),
        "iconUrl": urls.icon(nuspec),
        "licenseUrl": urls.license(nuspec),
        "projectUrl": nuspec.project_url,
        "totalDownloads": downloads,
        "verified": false,
        "packageTypes": types,
        "versions": versions.collect::<Value>(),
    });
    warnings.tell(&nuspec.version, &mut item);
    item
}

#[cfg(test)]
pub(super) mod tests {
    use cairn_cluster::Timestamp;

    use super::super::nuspec::tests::nuspec_with;
    use super::super::warnings::{Advisory, Alternate, Deprecation, Reason};
    use super::*;
    use crate::formats::advisories::Severity;

    const BASE: &str = "https://cairn.example/api/v4/projects/1/packages/nuget/";

    /// What is kept of a version with more metadata.
    pub(in crate::formats::nuget) fn notes(id: &str, version: &str, more: &str) -> Notes {
        Notes {
            nuspec: Nuspec::read(nuspec_with(id, version, more).as_bytes()).unwrap(),
            is_listed: true,
            published_at: Timestamp(1_782_907_200_123),
            size: 1234,
            sha512: "c2hhNTEy".into(),
        }
    }

    /// Something against version 1.0-beta, and against others.
    fn warnings() -> Warnings {
        let version: Version = "1.0-beta".parse().unwrap();
        let deprecation = Deprecation {
            reasons: vec![Reason::Legacy, Reason::CriticalBugs],
            message: Some("it \"burns\"".into()),
            alternate: Some(Alternate {
                id: "Acme.Next".parse().unwrap(),
                version: Some("2.0".parse().unwrap()),
            }),
        };
        let advisory = |affected: &str, severity| Advisory {
            id: "A-1".into(),
            affected: affected.parse().unwrap(),
            severity,
            link: format!("https://acme.example/{affected}"),
        };
        Warnings {
            deprecations: [(version.key(), deprecation)].into(),
            advisories: vec![
                advisory("(,1.0)", Severity::High),
                advisory("[1.0,2.0)", Severity::Low),
                advisory("", Severity::Critical),
            ],
        }
    }

    /// Everything that a package can say of itself.
    pub(in crate::formats::nuget) const RICH: &str = "<title>Lib &amp; \u{2028}</title><owners>Carl</owners>\
        <summary>Short</summary><tags>a b</tags><releaseNotes>&lt;new&gt;</releaseNotes>\
        <projectUrl>https://acme.example/</projectUrl><license type=\"file\">LICENSE.txt</license>\
        <icon>images\\icon.png</icon><readme>docs/README.md</readme><language>en-US</language>\
        <copyright>\u{a9} Acme</copyright><dependencies><group targetFramework=\"net45\"/>\
        <group targetFramework=\".NETStandard2.0\"><dependency id=\"Acme.Base\" version=\"[1.0,2.0)\"/>\
        <dependency id=\"Other\"/></group></dependencies>";

    /// Compares with a file of `testdata`, or writes it where `CAIRN_UPDATE_GOLDEN` is set.
    #[track_caller]
    pub(in crate::formats::nuget) fn check_golden(file: &str, actual: &str) {
        crate::testing::check_golden("nuget", file, actual.as_bytes());
    }

    #[track_caller]
    fn check(file: &str, actual: &Value) {
        check_golden(
            file,
            &format!("{}\n", serde_json::to_string_pretty(actual).unwrap()),
        );
    }

    #[test]
    fn documents_are_what_clients_expect() {
        let urls = Urls::new(BASE, "Acme.Lib");
        check(
            "leaf.json",
            &document(
                &urls,
                Hive::Second,
                &notes("Acme.Lib", "1.0-Beta+b", RICH),
                &warnings(),
            ),
        );
        let plain = notes("Acme.Lib", "1.0", "<license type=\"expression\">MIT</license>");
        let line = plain.line(1);
        let item = search_item(&urls, Hive::First, &plain, &warnings(), 7, &[(line, 3)]);
        check("search-item.json", &item);
    }

    #[test]
    fn versions_are_in_pages() {
        let mut pages = Vec::new();
        for minor in 0..130 {
            Page::add(&mut pages, &format!("1.{minor}").parse().unwrap());
        }
        let bounds: Vec<_> = pages
            .iter()
            .map(|page| format!("{} {} {}", page.lower, page.upper, page.count))
            .collect();
        assert_eq!(
            bounds,
            ["1.0.0 1.63.0 64", "1.64.0 1.127.0 64", "1.128.0 1.129.0 2"]
        );
        let head = pages[0].head(&Urls::new(BASE, "A"), Hive::Second, false);
        assert_eq!(
            head["@id"],
            "https://cairn.example/api/v4/projects/1/packages/nuget/metadata/a/page/1.0.0/1.63.0.json"
        );
    }
}
