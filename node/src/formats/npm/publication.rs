//! Decides what a publish document publishes.
//!
//! The URL, the document and the tarball must agree on the name and the version. What installing
//! the package depends on (dependencies, scripts, executables) is taken from the `package.json`
//! in the tarball, whatever the document says: otherwise a package could show one list of
//! dependencies to those who look and another to those who install.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value};

use super::artifact::{Artifact, Readme};
use super::document::{Document, SentTarball, SentVersion};
use super::names::{DistTag, NameError, PackageName, Version};
use super::provenance::{Provenance, ProvenanceError};

/// The largest manifest, as JSON, in bytes. A version's record holds it twice: whole, and
/// abbreviated.
pub(crate) const MAX_MANIFEST_BYTES: usize = 120 << 10;

/// What is taken from the tarball alone.
const FROM_TARBALL: [&str; 15] = [
    "dependencies",
    "optionalDependencies",
    "devDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "acceptDependencies",
    "bundleDependencies",
    "bin",
    "directories",
    "scripts",
    "engines",
    "os",
    "cpu",
    "libc",
    "funding",
];

/// Those of [`FROM_TARBALL`] that map package names to ranges.
const DEPENDENCY_MAPS: [&str; 5] = [
    "dependencies",
    "optionalDependencies",
    "devDependencies",
    "peerDependencies",
    "acceptDependencies",
];

/// What the server says itself, or keeps elsewhere.
const OURS: [&str; 9] = [
    "name",
    "version",
    "dist",
    "deprecated",
    "maintainers",
    "readme",
    "hasInstallScript",
    "bundledDependencies",
    "time",
];

/// What clients add for themselves that is of use to others.
const CLIENT_NOTES: [&str; 2] = ["_nodeVersion", "_npmVersion"];

/// What clients print to a terminal.
const PRINTED: [&str; 6] = ["description", "homepage", "license", "keywords", "author", "bugs"];

/// One version to be published.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) name: PackageName,
    pub(crate) version: Version,
    /// The tags that are to point to the version.
    pub(crate) tags: Vec<DistTag>,
    /// The manifest, apart from what the server says itself.
    pub(crate) manifest: Map<String, Value>,
    pub(crate) deprecated: Option<String>,
    pub(crate) has_install_script: bool,
    pub(crate) has_shrinkwrap: bool,
    pub(crate) file_count: u64,
    pub(crate) unpacked_bytes: u64,
    pub(crate) readme: Option<Readme>,
    pub(crate) provenance: Option<Provenance>,
    /// The digests that the client computed.
    pub(crate) sent_digests: SentDigests,
}

/// The digests that a client sent with its tarball.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentDigests {
    pub(crate) shasum: Option<String>,
    pub(crate) integrity: Option<String>,
}

/// Why a document does not publish anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublicationError {
    #[error("no tarball is attached")]
    NoTarball,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{what} says {found:?}, but the package is {expected:?}")]
    Mismatch {
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error("the document has no manifest for version {0}")]
    NoManifest(String),
    #[error("the manifest of version {0} does not fit into what a document may hold")]
    ManifestDropped(String),
    #[error("the manifest has {bytes} bytes, more than the {MAX_MANIFEST_BYTES} that it may have")]
    ManifestTooLarge { bytes: usize },
    #[error("{field} in package.json {problem}")]
    Field { field: String, problem: &'static str },
    #[error("the deprecation message {0}")]
    Message(&'static str),
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    #[error("the tarball's {algorithm} is {computed}, but the document says {sent}")]
    Digest {
        algorithm: &'static str,
        computed: String,
        sent: String,
    },
}

/// The digests of a tarball as packuments have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TarballDigests {
    /// SHA-1, in hexadecimal.
    pub(crate) shasum: String,
    /// SHA-512, as subresource integrity.
    pub(crate) integrity: String,
}

impl TarballDigests {
    /// Spells the digests out.
    pub(crate) fn of(sha1: &[u8; 20], sha512: &[u8; 64]) -> Self {
        Self {
            shasum: HEXLOWER.encode(sha1),
            integrity: format!("sha512-{}", BASE64.encode(sha512)),
        }
    }
}

fn expect_same(what: &'static str, found: &str, expected: &str) -> Result<(), PublicationError> {
    if found == expected {
        return Ok(());
    }
    Err(PublicationError::Mismatch {
        what,
        found: found.chars().take(300).collect(),
        expected: expected.into(),
    })
}

fn bad_field<T>(field: &str, problem: &'static str) -> Result<T, PublicationError> {
    Err(PublicationError::Field {
        field: field.chars().take(80).collect(),
        problem,
    })
}

impl Publication {
    /// Reads what `document`, sent to the URL of `name`, publishes.
    pub(crate) fn of(name: &PackageName, document: Document) -> Result<Self, PublicationError> {
        let Some(tarball) = document.tarball else {
            return Err(PublicationError::NoTarball);
        };
        for (what, found) in [("_id", &document.id), ("name", &document.name)] {
            if let Some(found) = found {
                expect_same(what, found, name.as_str())?;
            }
        }
        let version = attached_version(name, &tarball)?;
        let (sent_as, sent) = find_version(document.versions.unwrap_or_default(), &version)?;
        let Some(manifest) = sent.manifest else {
            return Err(PublicationError::ManifestDropped(version.to_string()));
        };
        check_identity(
            "the manifest's name",
            "the manifest's version",
            &manifest,
            name,
            &version,
        )?;
        let artifact = tarball.artifact;
        check_identity(
            "the name in the tarball's package.json",
            "the version in the tarball's package.json",
            &artifact.manifest,
            name,
            &version,
        )?;
        let tags = document
            .dist_tags
            .unwrap_or_default()
            .into_iter()
            // Old clients send the tags of all other versions along.
            .filter(|(_, target)| *target == sent_as || *target == version.to_string())
            .map(|(tag, _)| tag.parse())
            .collect::<Result<_, _>>()?;
        let sent_digests = SentDigests {
            shasum: dist_text(&manifest, "shasum"),
            integrity: dist_text(&manifest, "integrity"),
        };
        check_message(sent.deprecated.as_deref())?;
        let sent_readme = sent.readme.or(document.readme).filter(|text| !text.is_empty());
        Ok(Self {
            name: name.clone(),
            tags,
            deprecated: sent.deprecated.filter(|message| !message.is_empty()),
            has_install_script: has_install_script(&artifact),
            has_shrinkwrap: artifact.has_shrinkwrap,
            file_count: artifact.file_count,
            unpacked_bytes: artifact.unpacked_bytes,
            manifest: merge(manifest, &artifact, name)?,
            readme: artifact.readme.or_else(|| {
                sent_readme.map(|text| Readme {
                    file_name: "README.md".into(),
                    text,
                })
            }),
            provenance: document
                .provenance
                .map(|bundle| Provenance::read(bundle, name, &version))
                .transpose()?,
            sent_digests,
            version,
        })
    }
}

impl SentDigests {
    /// Compares them with what was computed. Digests of other algorithms are not judged.
    pub(crate) fn check(&self, computed: &TarballDigests) -> Result<(), PublicationError> {
        let differs = |algorithm, computed: &str, sent: &str| {
            Err(PublicationError::Digest {
                algorithm,
                computed: computed.into(),
                sent: sent.chars().take(120).collect(),
            })
        };
        if let Some(sent) = &self.shasum
            && !sent.eq_ignore_ascii_case(&computed.shasum)
        {
            return differs("shasum", &computed.shasum, sent);
        }
        // One of several digests of the same algorithm must be right.
        let mut of_ours = self
            .integrity
            .iter()
            .flat_map(|integrity| integrity.split_ascii_whitespace())
            .map(|digest| digest.split('?').next().unwrap_or(digest))
            .filter(|digest| digest.starts_with("sha512-"))
            .peekable();
        if let Some(&sent) = of_ours.peek()
            && !of_ours.any(|digest| digest == computed.integrity)
        {
            return differs("integrity", &computed.integrity, sent);
        }
        Ok(())
    }
}

/// The version that the attachment is named after.
fn attached_version(name: &PackageName, tarball: &SentTarball) -> Result<Version, PublicationError> {
    let file = tarball.file_name.as_str();
    let unscoped = file
        .strip_prefix(&format!("@{}/", name.scope().unwrap_or_default()))
        .unwrap_or(file);
    let version = unscoped
        .strip_prefix(name.base())
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".tgz"));
    match version {
        Some(version) => Ok(version.parse()?),
        None => Err(PublicationError::Mismatch {
            what: "the attachment's name",
            found: file.chars().take(300).collect(),
            expected: format!("{name}-VERSION.tgz"),
        }),
    }
}

/// The manifest of this version, and the key under which the client sent it.
fn find_version(
    versions: impl IntoIterator<Item = (String, SentVersion)>,
    version: &Version,
) -> Result<(String, SentVersion), PublicationError> {
    versions
        .into_iter()
        .find(|(key, _)| Version::clean(key).is_ok_and(|key| key == *version))
        .ok_or_else(|| PublicationError::NoManifest(version.to_string()))
}

fn check_identity(
    what_name: &'static str,
    what_version: &'static str,
    manifest: &Map<String, Value>,
    name: &PackageName,
    version: &Version,
) -> Result<(), PublicationError> {
    let text = |field: &str| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    expect_same(what_name, text("name").trim(), name.as_str())?;
    match Version::clean(text("version")) {
        Ok(found) if found == *version => Ok(()),
        _ => expect_same(what_version, text("version"), &version.to_string()),
    }
}

fn dist_text(manifest: &Map<String, Value>, field: &str) -> Option<String> {
    Some(manifest.get("dist")?.get(field)?.as_str()?.to_owned())
}

/// Clients run these when they install; a `binding.gyp` stands for a script of that kind.
fn has_install_script(artifact: &Artifact) -> bool {
    let scripts = artifact.manifest.get("scripts").and_then(Value::as_object);
    let has = |name: &str| {
        scripts
            .and_then(|scripts| scripts.get(name))
            .and_then(Value::as_str)
            .is_some_and(|script| !script.is_empty())
    };
    let builds = artifact.has_binding_gyp && artifact.manifest.get("gypfile") != Some(&Value::Bool(false));
    builds || has("preinstall") || has("install") || has("postinstall")
}

/// The manifest that is served: as it was sent, except for what the tarball decides.
fn merge(
    sent: Map<String, Value>,
    artifact: &Artifact,
    name: &PackageName,
) -> Result<Map<String, Value>, PublicationError> {
    let sent_bin = sent.get("bin").cloned();
    let mut manifest: Map<String, Value> = sent
        .into_iter()
        .filter(|(field, _)| {
            // Clients leave notes to themselves, among them paths on the publisher's machine.
            let is_private = field.starts_with('_') && !CLIENT_NOTES.contains(&field.as_str());
            !is_private && !OURS.contains(&field.as_str()) && !FROM_TARBALL.contains(&field.as_str())
        })
        .collect();
    for field in FROM_TARBALL {
        let value = artifact.manifest.get(field).filter(|value| !is_empty(value));
        let value = match field {
            "bin" => executables(value, sent_bin.as_ref(), artifact, name)?,
            "bundleDependencies" => bundled(artifact),
            _ if DEPENDENCY_MAPS.contains(&field) => {
                value.map(|value| check_dependencies(field, value)).transpose()?
            }
            "peerDependenciesMeta" | "scripts" | "directories" => {
                if value.is_some_and(|value| !value.is_object()) {
                    return bad_field(field, "is not an object");
                }
                value.cloned()
            }
            _ => value.cloned(),
        };
        if let Some(value) = value {
            manifest.insert(field.into(), value);
        }
    }
    for field in PRINTED {
        if let Some(value) = manifest.get(field) {
            check_printed(field, value)?;
        }
    }
    let bytes = Value::Object(manifest.clone()).to_string().len();
    if bytes > MAX_MANIFEST_BYTES {
        return Err(PublicationError::ManifestTooLarge { bytes });
    }
    Ok(manifest)
}

/// The ways in which people write that there is nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn check_dependencies(field: &str, value: &Value) -> Result<Value, PublicationError> {
    let Some(dependencies) = value.as_object() else {
        return bad_field(field, "is not an object");
    };
    for (name, range) in dependencies {
        match range.as_str() {
            Some(range) if !has_controls(name) && !has_controls(range) => {}
            Some(_) => return bad_field(field, "has control characters"),
            None => return bad_field(field, "has a range that is not a string"),
        }
    }
    Ok(value.clone())
}

/// What clients link into the path: one file under the package's own name, or several.
fn executables(
    bin: Option<&Value>,
    sent: Option<&Value>,
    artifact: &Artifact,
    name: &PackageName,
) -> Result<Option<Value>, PublicationError> {
    match bin {
        Some(Value::String(path)) => Ok(Some(Value::Object(Map::from_iter([(
            name.base().to_owned(),
            Value::String(path.clone()),
        )])))),
        Some(Value::Object(files)) if files.values().all(Value::is_string) => {
            if files.keys().any(|command| has_controls(command)) {
                return bad_field("bin", "has control characters");
            }
            Ok(bin.cloned())
        }
        Some(_) => bad_field("bin", "is neither a path nor an object of paths"),
        None => Ok(expanded_folder(artifact, sent)),
    }
}

/// The client lists the files of `directories.bin`, which takes the whole archive to know; the
/// list is believed as far as its files lie in that folder.
fn expanded_folder(artifact: &Artifact, sent: Option<&Value>) -> Option<Value> {
    let folder = artifact.manifest.get("directories")?.get("bin")?.as_str()?;
    let folder = folder.trim_start_matches("./").trim_end_matches('/');
    let inside = |path: &str| {
        let path = path.trim_start_matches("./");
        let rest = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| !rest.split('/').any(|part| part == ".."))
    };
    let files = sent?.as_object()?;
    let believed = files
        .iter()
        .all(|(command, path)| !has_controls(command) && path.as_str().is_some_and(inside));
    believed.then(|| sent.cloned()).flatten()
}

/// A list of names; `true` stands for all dependencies.
fn bundled(artifact: &Artifact) -> Option<Value> {
    let manifest = &artifact.manifest;
    let value = manifest
        .get("bundleDependencies")
        .or_else(|| manifest.get("bundledDependencies"))
        .filter(|value| !is_empty(value))?;
    let names = |map: &Map<String, Value>| Value::Array(map.keys().cloned().map(Value::String).collect());
    match value {
        Value::Bool(true) => manifest.get("dependencies").and_then(Value::as_object).map(names),
        Value::Object(map) => Some(names(map)),
        list => Some(list.clone()),
    }
}

/// Refuses what would change the terminal of those who read it.
fn check_printed(field: &str, value: &Value) -> Result<(), PublicationError> {
    match value {
        Value::String(text) if has_controls(text.trim()) => bad_field(field, "has control characters"),
        Value::Array(items) => items.iter().try_for_each(|item| check_printed(field, item)),
        Value::Object(members) => members
            .values()
            .try_for_each(|member| check_printed(field, member)),
        _ => Ok(()),
    }
}

/// Refuses a deprecation message that a terminal or a log would misread.
pub(crate) fn check_message(message: Option<&str>) -> Result<(), PublicationError> {
    /// The registry that clients know best has the same limit.
    const MAX_MESSAGE_CHARS: usize = 1024;
    match message {
        Some(message) if message.chars().count() > MAX_MESSAGE_CHARS => {
            Err(PublicationError::Message("is longer than 1024 characters"))
        }
        Some(message) if has_controls(message) => Err(PublicationError::Message("has control characters")),
        _ => Ok(()),
    }
}

/// Line breaks and tabs are harmless where text is folded into a line; escapes are not.
fn has_controls(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn artifact(manifest: Value) -> Artifact {
        Artifact {
            manifest: object(manifest),
            file_count: 2,
            unpacked_bytes: 100,
            has_binding_gyp: false,
            has_shrinkwrap: false,
            readme: None,
        }
    }

    /// A document for `@acme/left` 1.0.0 in which some members are replaced.
    fn document(sent: Value, packed: Value) -> Document {
        Document {
            id: Some("@acme/left".into()),
            name: Some("@acme/left".into()),
            dist_tags: Some([("latest".to_owned(), "1.0.0".to_owned())].into()),
            versions: Some(
                [(
                    "1.0.0".to_owned(),
                    SentVersion {
                        manifest: Some(object(with(
                            json!({"name": "@acme/left", "version": "1.0.0"}),
                            sent,
                        ))),
                        ..SentVersion::default()
                    },
                )]
                .into(),
            ),
            tarball: Some(SentTarball {
                file_name: "@acme/left-1.0.0.tgz".into(),
                artifact: artifact(with(json!({"name": "@acme/left", "version": "1.0.0"}), packed)),
            }),
            ..Document::default()
        }
    }

    fn with(mut base: Value, more: Value) -> Value {
        base.as_object_mut().unwrap().extend(object(more));
        base
    }

    fn publish(document: Document) -> Result<Publication, PublicationError> {
        Publication::of(&"@acme/left".parse().unwrap(), document)
    }

    #[track_caller]
    fn refused(document: Document, part: &str) {
        let error = publish(document).unwrap_err().to_string();
        assert!(error.contains(part), "{error} / {part}");
    }

    #[test]
    fn the_tarball_decides_what_is_installed() {
        let publication = publish(document(
            json!({
                "description": "as sent",
                "dependencies": {"harmless": "1"},
                "scripts": {},
                "bin": {"left": "sent.js"},
                "optionalDependencies": {"sent": "1"},
                "_nodeVersion": "20.0.0",
                "_resolved": "/home/me/left",
                "_npmUser": {"name": "someone else"},
                "maintainers": [{"name": "someone else"}],
                "dist": {"shasum": "aa", "integrity": "sha512-bb", "tarball": "http://elsewhere/"},
            }),
            json!({
                "dependencies": {"hidden": "^2.0.0"},
                "scripts": {"postinstall": "node x.js"},
                "bin": "cli.js",
                "bundledDependencies": true,
                "os": ["linux"],
                "devDependencies": [],
            }),
        ))
        .unwrap();
        assert_eq!(
            Value::Object(publication.manifest),
            json!({
                "description": "as sent",
                "_nodeVersion": "20.0.0",
                "dependencies": {"hidden": "^2.0.0"},
                "bundleDependencies": ["hidden"],
                "bin": {"left": "cli.js"},
                "scripts": {"postinstall": "node x.js"},
                "os": ["linux"],
            })
        );
        assert!(publication.has_install_script);
        assert_eq!(publication.sent_digests.shasum.as_deref(), Some("aa"));
        assert_eq!(publication.tags, ["latest".parse().unwrap()]);
    }

    #[test]
    fn a_binding_gyp_is_an_install_script() {
        let script_of = |packed: Value| {
            let mut sent = document(json!({}), packed);
            sent.tarball.as_mut().unwrap().artifact.has_binding_gyp = true;
            publish(sent).unwrap().has_install_script
        };
        assert!(script_of(json!({})));
        assert!(!script_of(json!({"gypfile": false})));
        assert!(script_of(
            json!({"gypfile": false, "scripts": {"install": "make"}})
        ));
    }

    #[test]
    fn executables_of_a_folder_are_believed_within_it() {
        let bin = |sent: Value| {
            let packed = json!({"directories": {"bin": "./tools/"}});
            publish(document(json!({"bin": sent}), packed))
                .unwrap()
                .manifest
                .get("bin")
                .cloned()
        };
        assert_eq!(bin(json!({"a": "tools/a"})), Some(json!({"a": "tools/a"})));
        assert_eq!(
            bin(json!({"a": "./tools/sub/a"})),
            Some(json!({"a": "./tools/sub/a"}))
        );
        assert_eq!(bin(json!({"a": "tools/../other"})), None);
        assert_eq!(bin(json!({"a": "other/a"})), None);
        assert_eq!(bin(json!({"a": 1})), None);
    }

    #[test]
    fn everything_must_name_the_same_package() {
        let change = |change: fn(&mut Document)| {
            let mut document = document(json!({}), json!({}));
            change(&mut document);
            document
        };
        refused(
            change(|document| document.id = Some("left".into())),
            "_id says \"left\"",
        );
        refused(
            change(|document| document.name = Some("@acme/right".into())),
            "name says",
        );
        refused(change(|document| document.tarball = None), "no tarball");
        refused(
            change(|document| document.versions = None),
            "no manifest for version 1.0.0",
        );
        let attachment = |file_name: &str| {
            let mut document = document(json!({}), json!({}));
            document.tarball.as_mut().unwrap().file_name = file_name.into();
            document
        };
        refused(attachment("right-1.0.0.tgz"), "the attachment's name");
        refused(attachment("@acme/left.tgz"), "the attachment's name");
        refused(attachment("@acme/left-one.tgz"), "not semver");
        refused(
            attachment("@acme/left-2.0.0.tgz"),
            "no manifest for version 2.0.0",
        );
        assert!(publish(attachment("left-1.0.0.tgz")).is_ok());
        assert!(publish(attachment("@acme/left-1.0.0+build.tgz")).is_ok());
        refused(
            document(json!({"name": "left"}), json!({})),
            "the manifest's name",
        );
        refused(
            document(json!({"version": "1.0.1"}), json!({})),
            "the manifest's version",
        );
        refused(
            document(json!({}), json!({"name": "@evil/left"})),
            "the tarball's package.json",
        );
        refused(
            document(json!({}), json!({"version": "9.9.9"})),
            "the tarball's package.json",
        );
        refused(
            document(json!({}), json!({"version": 1})),
            "the tarball's package.json",
        );
        assert!(
            publish(document(
                json!({"version": "v1.0.0"}),
                json!({"version": "=1.0.0+x"})
            ))
            .is_ok()
        );
    }

    #[test]
    fn only_tags_of_the_published_version_count() {
        let mut sent = document(json!({}), json!({}));
        sent.dist_tags = Some(
            [("latest", "0.9.0"), ("next", "1.0.0")]
                .map(|(tag, version)| (tag.into(), version.into()))
                .into(),
        );
        assert_eq!(publish(sent).unwrap().tags, ["next".parse().unwrap()]);
        let mut sent = document(json!({}), json!({}));
        sent.dist_tags = Some([("1.x".to_owned(), "1.0.0".to_owned())].into());
        refused(sent, "reads as a version");
    }

    #[test]
    fn sent_digests_are_compared() {
        let computed = TarballDigests::of(&[1; 20], &[2; 64]);
        let check = |shasum: Option<&str>, integrity: Option<&str>| {
            let sent = SentDigests {
                shasum: shasum.map(String::from),
                integrity: integrity.map(String::from),
            };
            sent.check(&computed).is_ok()
        };
        let right = computed.integrity.as_str();
        assert!(check(None, None));
        assert!(check(Some(&"01".repeat(20)), Some(right)));
        assert!(check(None, Some(&format!("sha1-xx sha512-AA== {right}?opt"))));
        assert!(check(None, Some("sha384-AA==")));
        assert!(!check(Some(&"02".repeat(20)), Some(right)));
        assert!(!check(Some(""), None));
        assert!(!check(None, Some("sha512-AA==")));
    }

    #[test]
    fn malformed_fields_are_refused() {
        let packed = |packed: Value| document(json!({}), packed);
        refused(
            packed(json!({"dependencies": ["a"]})),
            "dependencies in package.json is not an object",
        );
        refused(packed(json!({"dependencies": {"a": 1}})), "not a string");
        refused(
            packed(json!({"dependencies": {"a": "\u{1b}[0m"}})),
            "control characters",
        );
        refused(packed(json!({"bin": 1})), "bin in package.json");
        refused(packed(json!({"bin": {"a": 1}})), "bin in package.json");
        refused(packed(json!({"scripts": "make"})), "scripts in package.json");
        refused(
            document(json!({"description": "\u{1b}[31mred"}), json!({})),
            "description",
        );
        refused(
            document(json!({"keywords": ["ok", "\u{7}"]}), json!({})),
            "keywords",
        );
        refused(
            document(json!({"author": {"name": "\u{9b}x"}}), json!({})),
            "author",
        );
        refused(
            document(json!({"x": "y".repeat(300_000)}), json!({})),
            "more than the",
        );
        let mut sent = document(json!({}), json!({}));
        sent.versions
            .as_mut()
            .unwrap()
            .get_mut("1.0.0")
            .unwrap()
            .deprecated = Some("x".repeat(2000));
        refused(sent, "the deprecation message");
        let mut sent = document(json!({}), json!({}));
        sent.versions.as_mut().unwrap().get_mut("1.0.0").unwrap().manifest = None;
        refused(sent, "does not fit");
    }
}
