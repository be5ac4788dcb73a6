//! The documents of the older protocol: feeds of Atom whose entries are packages (OData 2.0).
//!
//! <https://www.odata.org/documentation/odata-version-2-0/atom-format/>

use quick_xml::escape::escape;

use super::names::Version;
use super::nuspec::Nuspec;
use super::records::Notes;
use super::registration::Urls;
use crate::registry::time::iso;

/// What the entities are called.
const ENTITY: &str = "NuGetGallery.OData.V2FeedPackage";

/// When what is not listed was published, as clients are told.
const UNLISTED: &str = "1900-01-01T00:00:00";

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

/// A version, as a feed shows it.
pub(super) struct Entry<'a> {
    pub(super) notes: &'a Notes,
    pub(super) is_latest: bool,
    pub(super) is_absolute_latest: bool,
    /// How often the package was downloaded, and how often this version.
    pub(super) downloads: (u64, u64),
}

/// What a feed says of itself.
pub(super) struct Head<'a> {
    /// The URL of the protocol, with a slash at its end.
    pub(super) base: &'a str,
    /// What it lists: `Packages`.
    pub(super) title: &'a str,
    pub(super) updated: &'a str,
    /// How many entities there are, if that was asked for.
    pub(super) count: Option<u64>,
    /// Where it goes on.
    pub(super) next: Option<&'a str>,
}

/// The document that says which lists there are.
pub(super) fn service(base: &str) -> String {
    format!(
        "{DECLARATION}<service xml:base=\"{}\" xmlns=\"http://www.w3.org/2007/app\" \
         xmlns:atom=\"http://www.w3.org/2005/Atom\">\n  <workspace>\n    <atom:title>Default</atom:title>\n    \
         <collection href=\"Packages\">\n      <atom:title>Packages</atom:title>\n    </collection>\n  \
         </workspace>\n</service>\n",
        escape(base)
    )
}

/// Properties of an entity: name, type, whether clients find them elsewhere in an entry as well.
const PROPERTIES: &[(&str, &str)] = &[
    ("Id", "Edm.String"),
    ("Version", "Edm.String"),
    ("NormalizedVersion", "Edm.String"),
    ("Authors", "Edm.String"),
    ("Copyright", "Edm.String"),
    ("Created", "Edm.DateTime"),
    ("Dependencies", "Edm.String"),
    ("Description", "Edm.String"),
    ("DevelopmentDependency", "Edm.Boolean"),
    ("DownloadCount", "Edm.Int32"),
    ("GalleryDetailsUrl", "Edm.String"),
    ("IconUrl", "Edm.String"),
    ("IsLatestVersion", "Edm.Boolean"),
    ("IsAbsoluteLatestVersion", "Edm.Boolean"),
    ("IsPrerelease", "Edm.Boolean"),
    ("Language", "Edm.String"),
    ("LastUpdated", "Edm.DateTime"),
    ("LicenseUrl", "Edm.String"),
    ("Listed", "Edm.Boolean"),
    ("MinClientVersion", "Edm.String"),
    ("PackageHash", "Edm.String"),
    ("PackageHashAlgorithm", "Edm.String"),
    ("PackageSize", "Edm.Int64"),
    ("ProjectUrl", "Edm.String"),
    ("Published", "Edm.DateTime"),
    ("ReleaseNotes", "Edm.String"),
    ("RequireLicenseAcceptance", "Edm.Boolean"),
    ("Summary", "Edm.String"),
    ("Tags", "Edm.String"),
    ("Title", "Edm.String"),
    ("VersionDownloadCount", "Edm.Int32"),
];

/// Functions: name, and their parameters.
const FUNCTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "Search",
        &[
            ("searchTerm", "Edm.String"),
            ("targetFramework", "Edm.String"),
            ("includePrerelease", "Edm.Boolean"),
            ("semVerLevel", "Edm.String"),
        ],
    ),
    (
        "FindPackagesById",
        &[("id", "Edm.String"), ("semVerLevel", "Edm.String")],
    ),
    (
        "GetUpdates",
        &[
            ("packageIds", "Edm.String"),
            ("versions", "Edm.String"),
            ("includePrerelease", "Edm.Boolean"),
            ("includeAllVersions", "Edm.Boolean"),
            ("targetFrameworks", "Edm.String"),
            ("versionConstraints", "Edm.String"),
            ("semVerLevel", "Edm.String"),
        ],
    ),
];

/// The document that says what entities and functions there are.
pub(super) fn metadata() -> String {
    let (namespace, entity) = ENTITY.rsplit_once('.').unwrap_or_default();
    let is_key = |name: &str| name == "Id" || name == "Version";
    let properties: String = PROPERTIES
        .iter()
        .map(|(name, kind)| {
            // Old clients take some of them from where Atom has them.
            let elsewhere = match *name {
                "Id" => " m:FC_TargetPath=\"SyndicationTitle\" m:FC_ContentKind=\"text\" m:FC_KeepInContent=\"true\"",
                "Authors" => " m:FC_TargetPath=\"SyndicationAuthorName\" m:FC_ContentKind=\"text\" m:FC_KeepInContent=\"true\"",
                "LastUpdated" => " m:FC_TargetPath=\"SyndicationUpdated\" m:FC_ContentKind=\"text\" m:FC_KeepInContent=\"true\"",
                "Summary" => " m:FC_TargetPath=\"SyndicationSummary\" m:FC_ContentKind=\"text\" m:FC_KeepInContent=\"true\"",
                _ => "",
            };
            let nullable = !is_key(name) && !matches!(*kind, "Edm.Boolean" | "Edm.Int32" | "Edm.Int64");
            format!("        <Property Name=\"{name}\" Type=\"{kind}\" Nullable=\"{nullable}\"{elsewhere} />\n")
        })
        .collect();
    let functions: String = FUNCTIONS
        .iter()
        .map(|(name, parameters)| {
            let parameters = parameters
                .iter()
                .map(|(name, kind)| format!("          <Parameter Name=\"{name}\" Type=\"{kind}\" Mode=\"In\" />\n"));
            format!(
                "        <FunctionImport Name=\"{name}\" ReturnType=\"Collection({ENTITY})\" EntitySet=\"Packages\" \
                 m:HttpMethod=\"GET\">\n{}        </FunctionImport>\n",
                parameters.collect::<String>()
            )
        })
        .collect();
    format!(
        "{DECLARATION}<edmx:Edmx Version=\"1.0\" xmlns:edmx=\"http://schemas.microsoft.com/ado/2007/06/edmx\">\n  \
         <edmx:DataServices m:DataServiceVersion=\"2.0\" \
         xmlns:m=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\">\n    \
         <Schema Namespace=\"{namespace}\" xmlns=\"http://schemas.microsoft.com/ado/2006/04/edm\">\n      \
         <EntityType Name=\"{entity}\" m:HasStream=\"true\">\n        <Key>\n          <PropertyRef Name=\"Id\" />\n          \
         <PropertyRef Name=\"Version\" />\n        </Key>\n{properties}      </EntityType>\n      \
         <EntityContainer Name=\"FeedContext\" m:IsDefaultEntityContainer=\"true\">\n        \
         <EntitySet Name=\"Packages\" EntityType=\"{ENTITY}\" />\n{functions}      </EntityContainer>\n    </Schema>\n  \
         </edmx:DataServices>\n</edmx:Edmx>\n"
    )
}

/// What stands on the first element of a document.
fn namespaces(base: &str) -> String {
    format!(
        "xml:base=\"{}\" xmlns=\"http://www.w3.org/2005/Atom\" \
         xmlns:d=\"http://schemas.microsoft.com/ado/2007/08/dataservices\" \
         xmlns:m=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\"",
        escape(base)
    )
}

/// How a feed begins; entries follow.
pub(super) fn head(head: &Head<'_>) -> String {
    let Head {
        base, title, updated, ..
    } = head;
    let count = head.count.map(|count| format!("  <m:count>{count}</m:count>\n"));
    format!(
        "{DECLARATION}<feed {}>\n{}  <id>{base}{title}</id>\n  <title type=\"text\">{title}</title>\n  \
         <updated>{updated}</updated>\n  <link rel=\"self\" title=\"{title}\" href=\"{title}\" />\n",
        namespaces(base),
        count.unwrap_or_default(),
        base = escape(*base),
    )
}

/// How it ends.
pub(super) fn end(head: &Head<'_>) -> String {
    let next = head
        .next
        .map(|next| format!("  <link rel=\"next\" href=\"{}\" />\n", escape(next)));
    format!("{}</feed>\n", next.unwrap_or_default())
}

/// An entry by itself.
pub(super) fn document(base: &str, urls: &Urls, of: &Entry<'_>) -> String {
    format!(
        "{DECLARATION}{}",
        entry(base, urls, of, &format!(" {}", namespaces(base)))
    )
}

/// The entry of a version.
pub(super) fn in_feed(base: &str, urls: &Urls, of: &Entry<'_>) -> String {
    entry(base, urls, of, "")
}

/// The key of an entity, as URLs have it.
fn key(id: &str, version: &Version) -> String {
    format!("Packages(Id='{id}',Version='{}')", version.normalised())
}

fn entry(base: &str, urls: &Urls, of: &Entry<'_>, attributes: &str) -> String {
    let (notes, nuspec) = (of.notes, &of.notes.nuspec);
    let (id, version) = (nuspec.id.as_str(), &nuspec.version);
    let key = key(id, version);
    let published = iso(notes.published_at);
    let mut out = format!(
        "<entry{attributes}>\n  <id>{base}{key}</id>\n  <category term=\"{ENTITY}\" \
         scheme=\"http://schemas.microsoft.com/ado/2007/08/dataservices/scheme\" />\n  \
         <link rel=\"edit\" title=\"V2FeedPackage\" href=\"{key}\" />\n  \
         <link rel=\"self\" title=\"V2FeedPackage\" href=\"{key}\" />\n  \
         <title type=\"text\">{id}</title>\n  <summary type=\"text\">{}</summary>\n  <updated>{published}</updated>\n  \
         <author>\n    <name>{}</name>\n  </author>\n  \
         <content type=\"application/zip\" src=\"{base}package/{id}/{}\" />\n  <m:properties>\n",
        escape(&nuspec.summary),
        escape(&nuspec.authors),
        version.normalised(),
        base = escape(base),
    );
    for (name, kind) in PROPERTIES {
        let value = property(name, of, urls);
        let kind = match *kind {
            "Edm.String" => String::new(),
            kind => format!(" m:type=\"{kind}\""),
        };
        match value.is_empty() {
            true => out.push_str(&format!("    <d:{name}{kind} m:null=\"true\" />\n")),
            false => out.push_str(&format!("    <d:{name}{kind}>{}</d:{name}>\n", escape(&value))),
        }
    }
    out.push_str("  </m:properties>\n</entry>\n");
    out
}

fn property(name: &str, of: &Entry<'_>, urls: &Urls) -> String {
    let (notes, nuspec) = (of.notes, &of.notes.nuspec);
    let without_zone = |time: String| time.trim_end_matches('Z').to_owned();
    match name {
        "Id" => nuspec.id.to_string(),
        "Version" => nuspec.version.as_written().into(),
        "NormalizedVersion" => nuspec.version.normalised(),
        "Authors" => nuspec.authors.clone(),
        "Copyright" => nuspec.copyright.clone(),
        "Created" | "LastUpdated" => without_zone(iso(notes.published_at)),
        "Published" if !notes.is_listed => UNLISTED.into(),
        "Published" => without_zone(iso(notes.published_at)),
        "Dependencies" => dependencies(nuspec),
        "Description" => nuspec.description.clone(),
        "DevelopmentDependency" => nuspec.development_dependency.to_string(),
        "DownloadCount" => of.downloads.0.min(i32::MAX as u64).to_string(),
        "VersionDownloadCount" => of.downloads.1.min(i32::MAX as u64).to_string(),
        "GalleryDetailsUrl" => nuspec.project_url.clone(),
        "IconUrl" => urls.icon(nuspec),
        "IsLatestVersion" => of.is_latest.to_string(),
        "IsAbsoluteLatestVersion" => of.is_absolute_latest.to_string(),
        "IsPrerelease" => nuspec.version.is_prerelease().to_string(),
        "Language" => nuspec.language.clone(),
        "LicenseUrl" => urls.license(nuspec),
        "Listed" => notes.is_listed.to_string(),
        "MinClientVersion" => nuspec.min_client_version.clone(),
        "PackageHash" => notes.sha512.clone(),
        "PackageHashAlgorithm" => "SHA512".into(),
        "PackageSize" => notes.size.to_string(),
        "ProjectUrl" => nuspec.project_url.clone(),
        "ReleaseNotes" => nuspec.release_notes.clone(),
        "RequireLicenseAcceptance" => nuspec.require_license_acceptance.to_string(),
        "Summary" => nuspec.summary.clone(),
        "Tags" => nuspec.tag_list().join(" "),
        "Title" => match nuspec.title.is_empty() {
            true => nuspec.id.to_string(),
            false => nuspec.title.clone(),
        },
        _ => String::new(),
    }
}

/// `Id:range:framework|…`; a group without any dependency is `::framework`.
fn dependencies(nuspec: &Nuspec) -> String {
    let mut parts = Vec::new();
    for group in &nuspec.groups {
        let framework = group.framework.as_deref().unwrap_or_default();
        if group.dependencies.is_empty() && !framework.is_empty() {
            parts.push(format!("::{framework}"));
        }
        for dependency in &group.dependencies {
            parts.push(format!("{}:{}:{framework}", dependency.id, dependency.range));
        }
    }
    parts.join("|")
}

#[cfg(test)]
mod tests {
    use super::super::registration::tests::{RICH, check_golden, notes};
    use super::*;
    use crate::formats::xml;

    const BASE: &str = "https://cairn.example/api/v4/projects/1/packages/nuget/";

    fn feed() -> String {
        let protocol = format!("{BASE}v2/");
        let urls = Urls::new(BASE, "Acme.Lib");
        let rich = notes("Acme.Lib", "1.0.0.0", RICH);
        let mut unlisted = notes("Acme.Lib", "2.0-b", "");
        unlisted.is_listed = false;
        let about = Head {
            base: &protocol,
            title: "FindPackagesById",
            updated: "2026-07-01T12:00:00Z",
            count: Some(2),
            next: Some("https://cairn.example/?a='b'&$skip=2"),
        };
        let mut out = head(&about);
        for (notes, is_latest) in [(&rich, true), (&unlisted, false)] {
            out += &in_feed(
                &protocol,
                &urls,
                &Entry {
                    notes,
                    is_latest,
                    is_absolute_latest: is_latest,
                    downloads: (7, 3),
                },
            );
        }
        out + &end(&about)
    }

    #[test]
    fn documents_are_what_clients_expect() {
        check_golden("feed.xml", &feed());
    }

    #[test]
    fn they_are_well_formed() {
        for document in [feed(), metadata(), service(BASE)] {
            xml::each_text(document.as_bytes(), |_, _| {}).unwrap();
        }
        let mut dependencies = Vec::new();
        xml::each_text(feed().as_bytes(), |path, text| {
            if path.ends_with("properties/Dependencies") {
                dependencies.push(text.to_owned());
            }
        })
        .unwrap();
        assert_eq!(
            dependencies,
            ["::net45|Acme.Base:[1.0.0, 2.0.0):.NETStandard2.0|Other:(, ):.NETStandard2.0"]
        );
    }
}
