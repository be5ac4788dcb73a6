//! The documents that clients fetch: what a repository is, the versions of one package, and the names that there are.
//!
//! Of a version, a ready piece is made when it is published. A document is the concatenation of such pieces, each with
//! what is not known before: under which URL its archive is fetched, and what has been said of its package since.

use cairn_cluster::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::manifest::Manifest;
use super::names::PackageName;
use super::records::{Advisory, Head, VersionNotes, file_name};
use super::versions::Version;
use crate::registry::time::{iso, iso_seconds};

/// What a part of a version is left in when it is written as a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The list of versions that Composer 2.10 and later do not install.
pub(super) const MALWARE: &str = "malware";

/// What documents say of a version, without the last brace.
pub(super) fn document(manifest: &Manifest, version: &Version, published_at: Timestamp) -> String {
    let mut fields = Map::from_iter([
        ("name".to_owned(), json!(manifest.name.as_str())),
        ("version".to_owned(), json!(version.as_str())),
        ("version_normalized".to_owned(), json!(version.normalized())),
    ]);
    fields.extend(manifest.fields.clone());
    let time = iso_seconds(published_at);
    fields.insert(
        "time".into(),
        json!(format!("{}+00:00", time.trim_end_matches('Z'))),
    );
    let mut text = Value::Object(fields).to_string();
    text.pop();
    text
}

/// Where an archive is, below the URL of a repository. Lock files have it, so it never changes.
pub(super) fn archive_path(name: &PackageName, version: &Version, reference: &str) -> String {
    let version = version.canonical();
    // A branch may have slashes in its name.
    let parts: Vec<String> = version
        .split('/')
        .map(|part| utf8_percent_encode(part, SEGMENT).to_string())
        .collect();
    format!("files/{name}/{}/{}", parts.join("/"), file_name(reference))
}

/// Which versions of a package a document has, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// What does not move.
    Released,
    /// Branches, and what is in development.
    Dev,
    /// All of them, as the first Composer reads them.
    Legacy,
}

impl Form {
    /// Tells apart the entity tags of forms.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Released => 'v',
            Self::Dev => 'd',
            Self::Legacy => 'l',
        }
    }

    pub(super) fn takes(self, version: &Version) -> bool {
        match self {
            Self::Released => !version.is_dev(),
            Self::Dev => version.is_dev(),
            Self::Legacy => true,
        }
    }
}

/// Writes a document about a package: [`Writer::begin`], each [`Writer::version`], [`Writer::end`]. What is written
/// so far can be taken at any time.
pub(super) struct Writer {
    form: Form,
    name: PackageName,
    /// The URL of the repository, with a slash at its end.
    base: String,
    head: Head,
    out: String,
    is_first: bool,
}

impl Writer {
    pub(super) fn begin(form: Form, base: &str, name: PackageName, head: Head) -> Self {
        let open = if form == Form::Legacy { '{' } else { '[' };
        Self {
            form,
            out: format!("{{\"packages\":{{\"{name}\":{open}"),
            name,
            base: base.to_owned(),
            head,
            is_first: true,
        }
    }

    /// Adds a version, which has this number.
    pub(super) fn version(&mut self, notes: &VersionNotes, number: u64) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        self.out.push('\n');
        if self.form == Form::Legacy {
            self.out.push_str(&format!("{}:", json!(notes.version.as_str())));
        }
        self.out.push_str(&notes.document);
        let reference = &notes.reference;
        let dist = json!({
            "type": "zip",
            "url": format!("{}{}", self.base, archive_path(&self.name, &notes.version, reference)),
            "reference": reference,
            "shasum": reference,
        });
        self.out.push_str(&format!(",\"dist\":{dist}"));
        if let Some(abandoned) = self.head.abandoned.as_ref().or(notes.abandoned.as_ref()) {
            self.out
                .push_str(&format!(",\"abandoned\":{}", abandoned.value()));
        }
        if self.head.default_branch.as_ref() == Some(&notes.version.canonical()) {
            self.out.push_str(",\"default-branch\":true");
        }
        if self.form == Form::Legacy {
            self.out.push_str(&format!(",\"uid\":{number}"));
        }
        self.out.push('}');
    }

    pub(super) fn end(&mut self, advisories: &[Advisory]) {
        match self.form {
            Form::Legacy => self.out.push_str("\n}}}\n"),
            Form::Released | Form::Dev => {
                let short = |advisory: &Advisory| json!({"advisoryId": advisory.id, "affectedVersions": advisory.affected});
                let malware = advisories.iter().filter(|advisory| advisory.malware);
                let malware: Vec<Value> = malware.map(filter_entry).collect();
                let advisories: Vec<Value> = advisories.iter().map(short).collect();
                self.out.push_str(&format!(
                    "\n]}},\"security-advisories\":{},\"filter\":{}}}\n",
                    json!(advisories),
                    json!({ MALWARE: malware }),
                ));
            }
        }
    }

    /// Takes what is written so far.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}

/// What a repository is, by its URL with a slash at its end: where it answers what, and of which vendors it has
/// packages, if that can be said.
pub(super) fn root(base: &str, vendors: Option<&[String]>) -> Value {
    let at = |path: &str| format!("{base}{path}");
    let mut root = json!({
        "packages": [],
        "metadata-url": at("p2/%package%.json"),
        "providers-lazy-url": at("p/%package%.json"),
        "search": at("search.json?q=%query%&type=%type%"),
        "list": at("list.json"),
        "providers-api": at("providers/%package%.json"),
        "security-advisories": {"metadata": true, "api-url": at("security-advisories")},
        "filter": {"metadata": true, "lists": { MALWARE: {"enabled": true} }, "api-url": at("filter")},
    });
    if let Some(vendors) = vendors {
        let mut patterns: Vec<String> = vendors.iter().map(|vendor| format!("{vendor}/*")).collect();
        if patterns.is_empty() {
            // A list without anything in it is no list to Composer, which would ask for every name; this is none.
            patterns.push("/".into());
        }
        root["available-package-patterns"] = json!(patterns);
    }
    root
}

/// An advisory on malware as those read it who ask which versions not to install.
pub(super) fn filter_entry(advisory: &Advisory) -> Value {
    json!({
        "constraint": advisory.affected,
        "url": advisory.link,
        "reason": advisory.title,
        "id": advisory.id,
    })
}

/// An advisory as audits read it, of a repository by its URL.
pub(super) fn advisory(name: &PackageName, advisory: &Advisory, base: &str) -> Value {
    let mut shown = json!({
        "advisoryId": advisory.id,
        "packageName": name.as_str(),
        "title": advisory.title,
        "link": advisory.link,
        "cve": advisory.cve,
        "affectedVersions": advisory.affected,
        "reportedAt": iso(advisory.reported_at)[..19].replace('T', " "),
        "severity": advisory.severity,
        "sources": [{"name": "cairn", "remoteId": advisory.id}],
        "composerRepository": base.trim_end_matches('/'),
    });
    if advisory.malware {
        shown["malware"] = json!(true);
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::manifest::Abandoned;
    use super::*;

    const BASE: &str = "https://cairn.example/api/v4/projects/1/packages/composer/";

    fn notes(version: &str, more: Value) -> VersionNotes {
        let mut manifest = json!({"name": "acme/foo", "description": "does \"things\""});
        for (field, value) in more.as_object().unwrap() {
            manifest[field] = value.clone();
        }
        let manifest = Manifest::read(manifest.to_string().as_bytes()).unwrap();
        let version: Version = version.parse().unwrap();
        VersionNotes {
            document: document(&manifest, &version, Timestamp(1_767_323_045_678)),
            version,
            reference: "da39a3ee5e6b4b0d3255bfef95601890afd80709".into(),
            abandoned: manifest.abandoned,
            lacks_archive: false,
        }
    }

    fn all() -> Vec<VersionNotes> {
        let rich = json!({
            "type": "library", "license": "MIT", "require": {"php": ">=8.1", "acme/bar": "^1.0 || dev-main"},
            "autoload": {"psr-4": {"Acme\\Foo\\": "src/"}}, "abandoned": "acme/new",
        });
        vec![
            notes("v1.2.3", rich),
            notes("1.10.0-beta1", json!({})),
            notes("dev-feature/foo", json!({})),
            notes(
                "dev-main",
                json!({"extra": {"branch-alias": {"dev-main": "2.x-dev"}}}),
            ),
        ]
    }

    fn advisories() -> [Advisory; 1] {
        [Advisory {
            id: "ACME-2026-1".into(),
            title: "reads too much".into(),
            affected: ">=1.0,<1.2.4".parse().unwrap(),
            link: Some("https://acme.example/1".into()),
            cve: None,
            severity: Some(crate::formats::advisories::Severity::High),
            reported_at: Timestamp(1_767_323_045_678),
            malware: true,
        }]
    }

    fn written(form: Form, head: Head) -> String {
        let mut writer = Writer::begin(form, BASE, "acme/foo".parse().unwrap(), head);
        let mut out = String::new();
        for (number, notes) in all()
            .iter()
            .enumerate()
            .filter(|(_, notes)| form.takes(&notes.version))
        {
            writer.version(notes, number as u64 + 1);
            out += &writer.take();
        }
        writer.end(&advisories());
        out + &writer.take()
    }

    fn check_golden(file: &str, actual: &str) {
        crate::testing::check_golden("composer", file, actual.as_bytes());
    }

    #[test]
    fn documents_are_what_clients_expect() {
        let head = Head {
            default_branch: Some("dev-main".into()),
            ..Head::default()
        };
        check_golden("foo.json", &written(Form::Released, head.clone()));
        check_golden("foo~dev.json", &written(Form::Dev, head.clone()));
        check_golden("foo-legacy.json", &written(Form::Legacy, head));
        let root = root(BASE, Some(&["acme".into()]));
        check_golden("packages.json", &format!("{root:#}\n"));
        let name = "acme/foo".parse().unwrap();
        check_golden(
            "advisory.json",
            &format!("{:#}\n", advisory(&name, &advisories()[0], BASE)),
        );
    }

    #[test]
    fn what_was_said_of_a_package_counts_for_all_its_versions() {
        let head = Head {
            abandoned: Some(Abandoned::default()),
            ..Head::default()
        };
        let parsed: Value = serde_json::from_str(&written(Form::Released, head)).unwrap();
        let versions = parsed["packages"]["acme/foo"].as_array().unwrap();
        assert!(
            versions.iter().all(|version| version["abandoned"] == true),
            "{versions:?}"
        );
    }

    #[test]
    fn a_document_without_versions_is_json_too() {
        for form in [Form::Released, Form::Dev, Form::Legacy] {
            let mut writer = Writer::begin(form, BASE, "acme/foo".parse().unwrap(), Head::default());
            writer.end(&[]);
            let parsed: Value = serde_json::from_str(&writer.take()).unwrap();
            let versions = &parsed["packages"]["acme/foo"];
            assert!(*versions == json!([]) || *versions == json!({}), "{versions}");
        }
    }

    #[test]
    fn archives_have_paths_that_any_branch_can_have() {
        let name: PackageName = "acme/foo".parse().unwrap();
        let path = |version: &str| archive_path(&name, &version.parse().unwrap(), "ab");
        assert_eq!(path("v1.0"), "files/acme/foo/1.0.0/ab.zip");
        assert_eq!(path("dev-feature/a+b"), "files/acme/foo/dev-feature/a%2Bb/ab.zip");
    }

    #[test]
    fn a_repository_without_packages_takes_no_name() {
        assert_eq!(root(BASE, Some(&[]))["available-package-patterns"], json!(["/"]));
        assert_eq!(root(BASE, None)["available-package-patterns"], Value::Null);
    }
}
