//! The package index of npm, the packument: one JSON document per package, in two forms.
//!
//! The *full* form has every manifest as it was published; the *abbreviated* form only what an
//! install needs. Of each version a ready [`Fragment`] of both is made when it is published, and
//! a packument is the concatenation of fragments: publishing the ten-thousandth version costs
//! what the first did, and a packument of any size can be sent in pieces.
//!
//! Fragments do not say where the registry is: the same package is served under the URL of its
//! project, of each group above it, and of the instance, and tarballs must come from the same
//! place as the packument, because clients send their token only there.

use std::collections::BTreeMap;

use cairn_cluster::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::artifact::Readme;
use super::names::{DistTag, PackageName, Version};
use super::publication::Publication;

/// What an abbreviated packument keeps of a manifest.
const ABBREVIATED: [&str; 16] = [
    "dependencies",
    "acceptDependencies",
    "optionalDependencies",
    "devDependencies",
    "bundleDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bin",
    "directories",
    "engines",
    "cpu",
    "os",
    "libc",
    "funding",
    "_hasShrinkwrap",
    "hasInstallScript",
];

/// What a full packument repeats of the latest version's manifest.
const HOISTED: [&str; 8] = [
    "description",
    "author",
    "contributors",
    "license",
    "homepage",
    "repository",
    "bugs",
    "keywords",
];

/// Which form of a packument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Everything.
    Full,
    /// What an install needs.
    Abbreviated,
}

impl Form {
    /// The form that a client asks for: abbreviated, if it names that type at all.
    pub(crate) fn accepted(accept: &str) -> Self {
        let abbreviated = accept.split(',').any(|range| {
            let media_type = range.split(';').next().unwrap_or_default().trim();
            media_type.eq_ignore_ascii_case(Self::Abbreviated.media_type())
        });
        if abbreviated {
            Self::Abbreviated
        } else {
            Self::Full
        }
    }

    /// Its media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Full => "application/json",
            Self::Abbreviated => "application/vnd.npm.install-v1+json",
        }
    }

    /// Tells apart the entity tags of the two forms: with one tag for both, a client that has one
    /// and asks for the other would be told that it has it already.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Full => 'f',
            Self::Abbreviated => 'a',
        }
    }
}

/// One version in one form, ready to be joined with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fragment {
    /// The JSON object without its last brace, cut wherever the registry's URL belongs.
    pieces: Vec<String>,
    /// Why the version should not be used any more.
    pub(crate) deprecated: Option<String>,
}

impl Fragment {
    /// Appends the version's JSON object. `base` is the registry's URL, with a slash at its end.
    pub(crate) fn render(&self, base: &str, out: &mut String) {
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                out.push_str(base);
            }
            out.push_str(piece);
        }
        if let Some(message) = &self.deprecated {
            out.push_str(",\"deprecated\":");
            push_json(out, message);
        }
        out.push('}');
    }

    /// The version's JSON object as a value.
    pub(crate) fn manifest(&self, base: &str) -> Map<String, Value> {
        let mut text = String::new();
        self.render(base, &mut text);
        // It was made from a value by `fragment`.
        serde_json::from_str(&text).expect("a fragment is a JSON object")
    }

    /// `object` is the manifest without what follows in `dist`, of which each piece ends where the
    /// registry's URL belongs.
    fn of(object: Map<String, Value>, dist: &[String], deprecated: Option<String>) -> Self {
        let mut text = Value::Object(object).to_string();
        text.pop();
        let mut pieces = vec![text];
        pieces[0].push_str(",\"dist\":");
        for (at, piece) in dist.iter().enumerate() {
            if at == 0 {
                pieces[0].push_str(piece);
            } else {
                pieces.push(piece.clone());
            }
        }
        Self { pieces, deprecated }
    }
}

/// What the server says of a published version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dist<'a> {
    /// The tarball's SHA-1, in hexadecimal.
    pub(crate) shasum: &'a str,
    /// The tarball's SHA-512, as subresource integrity.
    pub(crate) integrity: &'a str,
    /// Who published it.
    pub(crate) publisher: &'a str,
}

/// The fragments of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fragments {
    pub(crate) full: Fragment,
    pub(crate) abbreviated: Fragment,
}

impl Fragments {
    /// Makes the fragments of what is about to be published.
    pub(crate) fn of(publication: &Publication, dist: Dist<'_>) -> Self {
        let Publication { name, version, .. } = publication;
        let mut full = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("version".to_owned(), json!(version)),
        ]);
        full.extend(publication.manifest.clone());
        if publication.has_shrinkwrap {
            full.insert("_hasShrinkwrap".into(), json!(true));
        }
        if publication.has_install_script {
            full.insert("hasInstallScript".into(), json!(true));
        }
        let mut abbreviated = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("version".to_owned(), json!(version)),
        ]);
        for field in ABBREVIATED {
            if let Some(value) = full.get(field) {
                abbreviated.insert(field.into(), value.clone());
            }
        }
        full.insert("_id".into(), json!(format!("{name}@{version}")));
        full.insert("_npmUser".into(), json!({"name": dist.publisher}));
        full.insert("maintainers".into(), json!([{"name": dist.publisher}]));
        let dist = dist_pieces(publication, dist);
        let fragment = |object| Fragment::of(object, &dist, publication.deprecated.clone());
        Self {
            full: fragment(full),
            abbreviated: fragment(abbreviated),
        }
    }
}

/// The JSON object `dist`, cut where the registry's URL belongs. Neither names nor versions have
/// characters that JSON would escape.
fn dist_pieces(publication: &Publication, dist: Dist<'_>) -> Vec<String> {
    let Publication { name, version, .. } = publication;
    let computed = json!({
        "shasum": dist.shasum,
        "integrity": dist.integrity,
        "fileCount": publication.file_count,
        "unpackedSize": publication.unpacked_bytes,
    });
    let computed = computed.to_string();
    let tarball = format!("{},\"tarball\":\"", computed.trim_end_matches('}'));
    let path = name.tarball_path(version);
    match &publication.provenance {
        None => vec![tarball, format!("{path}\"}}")],
        Some(provenance) => {
            let predicate = json!({"predicateType": provenance.predicate_type});
            vec![
                tarball,
                format!("{path}\",\"attestations\":{{\"url\":\""),
                format!("-/npm/v1/attestations/{name}@{version}\",\"provenance\":{predicate}}}}}"),
            ]
        }
    }
}

/// What a full packument repeats of this manifest, if it is the latest.
pub(crate) fn hoisted(manifest: &Map<String, Value>) -> Map<String, Value> {
    HOISTED
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), manifest.get(*field)?.clone())))
        .collect()
}

/// Somebody who takes care of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maintainer {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
}

/// What a packument says besides its versions.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    pub(crate) name: PackageName,
    /// Opaque; changes whenever anything in the packument does.
    pub(crate) revision: String,
    pub(crate) dist_tags: BTreeMap<DistTag, Version>,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) maintainers: Vec<Maintainer>,
    /// Those who have starred the package.
    pub(crate) users: Vec<String>,
    /// See [`hoisted`].
    pub(crate) hoisted: Map<String, Value>,
    /// That of the latest version.
    pub(crate) readme: Option<Readme>,
}

/// Writes a packument from its parts, in this order: [`Writer::begin`], each
/// [`Writer::version`], [`Writer::end_versions`], each [`Writer::published`], [`Writer::end`].
/// What is written so far can be taken at any time.
pub(crate) struct Writer {
    form: Form,
    base: String,
    out: String,
    is_first: bool,
}

impl Writer {
    /// Begins a packument. `base` is the registry's URL, with a slash at its end.
    pub(crate) fn begin(form: Form, base: &str, heading: &Heading) -> Self {
        let mut out = String::from("{");
        let mut member = |key: &str, value: &Value| {
            push_json(&mut out, key);
            out.push(':');
            out.push_str(&value.to_string());
            out.push(',');
        };
        match form {
            Form::Full => {
                member("_id", &json!(heading.name));
                member("_rev", &json!(heading.revision));
                member("name", &json!(heading.name));
            }
            Form::Abbreviated => {
                member("name", &json!(heading.name));
                member("modified", &json!(iso_time(heading.modified)));
            }
        }
        member("dist-tags", &json!(heading.dist_tags));
        out.push_str("\"versions\":{");
        Self {
            form,
            base: base.into(),
            out,
            is_first: true,
        }
    }

    /// Adds a version.
    pub(crate) fn version(&mut self, version: &str, fragment: &Fragment) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        push_json(&mut self.out, version);
        self.out.push(':');
        fragment.render(&self.base, &mut self.out);
    }

    /// After the last version: begins the times of publication. Clients that refuse releases
    /// younger than some age look for them in both forms.
    pub(crate) fn end_versions(&mut self, heading: &Heading) {
        self.out.push_str("},\"time\":{\"created\":");
        push_json(&mut self.out, &iso_time(heading.created));
        self.out.push_str(",\"modified\":");
        push_json(&mut self.out, &iso_time(heading.modified));
    }

    /// Adds the time at which a version was published.
    pub(crate) fn published(&mut self, version: &str, time: Timestamp) {
        self.out.push(',');
        push_json(&mut self.out, version);
        self.out.push(':');
        push_json(&mut self.out, &iso_time(time));
    }

    /// Ends the packument.
    pub(crate) fn end(&mut self, heading: &Heading) {
        self.out.push('}');
        if self.form == Form::Full {
            let users: Map<String, Value> = heading
                .users
                .iter()
                .map(|user| (user.clone(), json!(true)))
                .collect();
            let mut rest = Map::from_iter([
                ("maintainers".to_owned(), json!(heading.maintainers)),
                ("users".to_owned(), Value::Object(users)),
            ]);
            rest.extend(heading.hoisted.clone());
            if let Some(readme) = &heading.readme {
                rest.insert("readme".into(), json!(readme.text));
                rest.insert("readmeFilename".into(), json!(readme.file_name));
            }
            for (key, value) in rest {
                self.out.push(',');
                push_json(&mut self.out, &key);
                self.out.push(':');
                self.out.push_str(&value.to_string());
            }
        }
        self.out.push('}');
    }

    /// Takes what is written so far.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }
}

/// A package as search results show it.
pub(crate) struct Found<'a> {
    pub(crate) name: &'a PackageName,
    pub(crate) version: &'a Version,
    pub(crate) date: Timestamp,
    pub(crate) publisher: Option<&'a str>,
    pub(crate) maintainers: &'a [Maintainer],
    pub(crate) hoisted: &'a Map<String, Value>,
    pub(crate) score: f64,
}

/// One entry of a search result.
pub(crate) fn search_entry(found: &Found<'_>) -> Value {
    let text = |field: &str| {
        found
            .hoisted
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let user = |name: &str| json!({"username": name, "name": name});
    let mut links = Map::new();
    if let Some(Value::String(homepage)) = found.hoisted.get("homepage") {
        links.insert("homepage".into(), json!(homepage));
    }
    let repository = found.hoisted.get("repository");
    let repository = repository.and_then(|repository| repository.get("url").or(Some(repository)));
    if let Some(Value::String(url)) = repository {
        links.insert("repository".into(), json!(url));
    }
    json!({
        "package": {
            "name": found.name,
            "scope": found.name.scope().unwrap_or("unscoped"),
            "version": found.version,
            "description": text("description"),
            "keywords": keywords(found.hoisted),
            "date": iso_time(found.date),
            "links": links,
            "publisher": found.publisher.map(user),
            "maintainers": found.maintainers.iter().map(|maintainer| user(&maintainer.name)).collect::<Vec<_>>(),
        },
        "score": {
            "final": found.score,
            "detail": {"quality": found.score, "popularity": found.score, "maintenance": found.score},
        },
        "searchScore": found.score,
    })
}

/// The keywords of a package; a single string is taken apart as clients do it.
pub(crate) fn keywords(hoisted: &Map<String, Value>) -> Vec<&str> {
    match hoisted.get("keywords") {
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(words)) => words.split([',', ' ']).filter(|word| !word.is_empty()).collect(),
        _ => Vec::new(),
    }
}

/// A time as JavaScript writes it: `2026-01-02T03:04:05.678Z`.
pub(crate) fn iso_time(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn push_json(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::super::provenance::{self, Provenance};
    use super::super::publication::SentDigests;
    use super::super::publication::tests::object;
    use super::*;

    const BASE: &str = "https://cairn.example/api/v4/projects/1/packages/npm/";

    fn publication(version: &str, manifest: Value) -> Publication {
        Publication {
            name: "@acme/left".parse().unwrap(),
            version: version.parse().unwrap(),
            tags: Vec::new(),
            manifest: object(manifest),
            deprecated: None,
            has_install_script: false,
            has_shrinkwrap: false,
            file_count: 2,
            unpacked_bytes: 1000,
            readme: None,
            provenance: None,
            sent_digests: SentDigests::default(),
        }
    }

    fn fragments(publication: &Publication) -> Fragments {
        Fragments::of(
            publication,
            Dist {
                shasum: "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                integrity: "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
                publisher: "alice",
            },
        )
    }

    fn heading() -> Heading {
        Heading {
            name: "@acme/left".parse().unwrap(),
            revision: "42-0000000000000007".into(),
            dist_tags: [("latest", "1.1.0"), ("next", "2.0.0-rc.1")]
                .map(|(tag, version)| (tag.parse().unwrap(), version.parse().unwrap()))
                .into(),
            created: Timestamp(1_767_323_045_678),
            modified: Timestamp(1_767_409_445_000),
            maintainers: vec![
                Maintainer {
                    name: "alice".into(),
                    email: None,
                },
                Maintainer {
                    name: "bob".into(),
                    email: Some("bob@cairn.example".into()),
                },
            ],
            users: vec!["carol".into()],
            hoisted: hoisted(&object(
                json!({"description": "pads \"left\"", "license": "MIT", "x": 1}),
            )),
            readme: Some(Readme {
                file_name: "README.md".into(),
                text: "# left\n".into(),
            }),
        }
    }

    /// Three versions: plain, deprecated and with everything, with provenance and a script.
    fn packument(form: Form) -> String {
        let plain = publication(
            "1.0.0",
            json!({"description": "pads", "scripts": {"test": "true"}}),
        );
        let mut rich = publication(
            "1.1.0",
            json!({
                "description": "pads \"left\"", "license": "MIT", "main": "index.js",
                "dependencies": {"right": "^1.0.0"}, "bin": {"left": "cli.js"}, "engines": {"node": ">=18"},
                "peerDependencies": {"up": "*"}, "peerDependenciesMeta": {"up": {"optional": true}},
                "_nodeVersion": "20.0.0",
            }),
        );
        rich.deprecated = Some("use \"2\" instead".into());
        rich.has_shrinkwrap = true;
        let mut signed = publication("2.0.0-rc.1", json!({"scripts": {"install": "make"}}));
        signed.has_install_script = true;
        let bundle = provenance::tests::bundle("pkg:npm/%40acme/left@2.0.0-rc.1", "00");
        signed.provenance = Some(Provenance::read(bundle, &signed.name, &signed.version).unwrap());
        let heading = heading();
        let mut writer = Writer::begin(form, BASE, &heading);
        let published = [plain, rich, signed];
        for publication in &published {
            let fragments = fragments(publication);
            let fragment = match form {
                Form::Full => fragments.full,
                Form::Abbreviated => fragments.abbreviated,
            };
            writer.version(&publication.version.to_string(), &fragment);
        }
        writer.end_versions(&heading);
        for publication in &published {
            writer.published(&publication.version.to_string(), heading.created);
        }
        writer.end(&heading);
        writer.take()
    }

    /// Compares with a file of `testdata`, or writes it where `CAIRN_UPDATE_GOLDEN` is set.
    fn check_golden(file: &str, actual: &str) {
        let value: Value = serde_json::from_str(actual).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap() + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/formats/npm/testdata")
            .join(file);
        if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &pretty).unwrap();
        }
        assert_eq!(pretty, std::fs::read_to_string(&path).unwrap(), "{file} differs");
    }

    #[test]
    fn packuments_are_what_clients_expect() {
        check_golden("packument-full.json", &packument(Form::Full));
        check_golden("packument-abbreviated.json", &packument(Form::Abbreviated));
    }

    #[test]
    fn a_search_entry_is_what_clients_expect() {
        let heading = heading();
        let entry = search_entry(&Found {
            name: &heading.name,
            version: &"1.1.0".parse().unwrap(),
            date: heading.created,
            publisher: Some("alice"),
            maintainers: &heading.maintainers,
            hoisted: &object(json!({
                "description": "pads", "keywords": ["pad", "string"], "homepage": "https://left.example",
                "repository": {"type": "git", "url": "git+https://git.example/left.git"},
            })),
            score: 1.0,
        });
        check_golden("search-entry.json", &entry.to_string());
    }

    #[test]
    fn a_package_without_versions_is_still_json() {
        for form in [Form::Full, Form::Abbreviated] {
            let heading = heading();
            let mut writer = Writer::begin(form, BASE, &heading);
            writer.end_versions(&heading);
            writer.end(&heading);
            assert!(serde_json::from_str::<Value>(&writer.take()).unwrap()["versions"].is_object());
        }
    }

    #[test]
    fn a_fragment_follows_the_url_it_is_served_under() {
        let fragment = fragments(&publication("1.0.0", json!({"evil": "\u{0}", "also": "\\u0000"}))).full;
        let manifest = fragment.manifest("http://other/");
        assert_eq!(
            manifest["dist"]["tarball"],
            "http://other/@acme/left/-/left-1.0.0.tgz"
        );
    }

    #[test]
    fn the_abbreviated_form_is_for_those_who_name_it() {
        let check = |accept: &str, expected: Form| assert_eq!(Form::accepted(accept), expected, "{accept}");
        check(
            "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
            Form::Abbreviated,
        );
        check("application/vnd.npm.install-v1+json", Form::Abbreviated);
        check("application/json", Form::Full);
        check("*/*", Form::Full);
        check("", Form::Full);
    }

    #[test]
    fn times_are_written_as_javascript_writes_them() {
        assert_eq!(iso_time(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso_time(Timestamp(1_767_323_045_678)), "2026-01-02T03:04:05.678Z");
        assert_eq!(iso_time(Timestamp(u64::MAX)).len(), 24);
    }
}
