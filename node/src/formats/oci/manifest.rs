//! Manifests: bytes as a client pushed them -> what Cairn must know of them.
//!
//! The four kinds are those of the OCI image-spec 1.1 (image manifest and index) and of Docker's
//! image manifest schema 2 (manifest and list). The bytes are stored and served exactly as they
//! came, unknown fields included; this module only reads them. All of it is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names::Digest;

/// What a manifest may have at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of the document. Clients count on 4 MiB.
    pub(super) size_bytes: usize,
    /// Objects and lists inside of each other.
    pub(super) depth: usize,
    /// Distinct digests that are named. All of them are looked up, and noted as used, in one
    /// transaction of bounded size.
    pub(super) references: usize,
}

/// What Cairn takes, unless the configuration says another size.
pub(super) const LIMITS: Limits = Limits {
    size_bytes: 4 << 20,
    depth: 64,
    references: 3_000,
};

/// The kinds of manifest. Stored by these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    OciImage,
    OciIndex,
    DockerImage,
    DockerList,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::OciImage,
        Self::OciIndex,
        Self::DockerImage,
        Self::DockerList,
    ];

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OciImage => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerImage => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }

    /// Whether it lists other manifests rather than layers.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }
}

/// RFC 6838 allows 127 characters on each side of the slash.
const MAX_MEDIA_TYPE_BYTES: usize = 255;

/// Docker's first image format, whose manifests were signed text; no client makes them any more.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// The fields that decide what a manifest is.
const KNOWN_FIELDS: [&str; 10] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "history",
];

/// Content that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, rename = "urls", deserialize_with = "is_list_of_some")]
    has_urls: bool,
}

impl Descriptor {
    /// Whether the content may lie elsewhere. Cairn neither asks for it nor ever fetches it.
    fn is_foreign(&self) -> bool {
        self.has_urls
            || self.media_type.contains(".foreign.diff.")
            || self.media_type.contains(".layer.nondistributable.")
    }
}

/// What Cairn knows of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) kind: Kind,
    pub(super) config: Option<Descriptor>,
    pub(super) layers: Vec<Descriptor>,
    pub(super) children: Vec<Descriptor>,
    pub(super) subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

/// Why bytes are not a manifest that can be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// More bytes than [`Limits::size_bytes`].
    #[error("a manifest of more than {0} bytes is too large")]
    TooLarge(usize),
    /// More digests than [`Limits::references`].
    #[error("a manifest that names more than {0} digests is too large")]
    TooManyReferences(usize),
    /// Nested deeper than [`Limits::depth`].
    #[error("the manifest is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Not JSON, or a field is not what it should be.
    #[error("the manifest does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// Docker's first format.
    #[error("manifests of schema 1 are not supported")]
    SchemaOne,
    /// `schemaVersion` is not 2.
    #[error("the schema version is not 2")]
    SchemaVersion,
    /// Neither the request nor the document says which kind it is, nor does its shape.
    #[error("media type {0:?} is not one of a manifest")]
    MediaType(String),
    /// The document says that it is something else than the request does.
    #[error("the manifest says it is {document:?} but was sent as {request:?}")]
    MediaTypeDiffers {
        /// `mediaType` in the document.
        document: String,
        /// `Content-Type` of the request.
        request: String,
    },
    /// The document reads as two kinds at once, or not as the kind that it is said to be.
    #[error("a manifest of type {0} must not have the field {1:?}")]
    Unexpected(&'static str, &'static str),
    /// A field that the kind needs is absent.
    #[error("a manifest of type {0} needs the field {1:?}")]
    Missing(&'static str, &'static str),
    /// The type of an artifact that is longer than any media type.
    #[error("a media type of more than {MAX_MEDIA_TYPE_BYTES} bytes is not one")]
    MediaTypeTooLong,
    /// A field that a lenient reader would take for another.
    #[error("the field {0:?} differs from {1:?} only by case")]
    Ambiguous(String, &'static str),
}

impl Manifest {
    /// Reads one that was taken before, maybe under other limits.
    pub(super) fn of_stored(body: &[u8], kind: Kind) -> Result<Self, ManifestError> {
        let unlimited = Limits {
            size_bytes: usize::MAX,
            references: usize::MAX,
            ..LIMITS
        };
        Self::parse(body, Some(kind.media_type()), &unlimited)
    }

    /// Reads a manifest that was sent with this `Content-Type`.
    pub(super) fn parse(
        body: &[u8],
        content_type: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, ManifestError> {
        if body.len() > limits.size_bytes {
            return Err(ManifestError::TooLarge(limits.size_bytes));
        }
        if depth(body) > limits.depth {
            return Err(ManifestError::TooDeep(limits.depth));
        }
        let fields: Fields = serde_json::from_slice(body)?;
        fields.check_spelling()?;
        let kind = fields.kind(content_type.map(without_parameters))?;
        fields.check_shape(kind)?;
        let manifest = Self {
            kind,
            config: fields.read("config")?,
            layers: fields.read::<Vec<_>>("layers")?.unwrap_or_default(),
            children: fields.read::<Vec<_>>("manifests")?.unwrap_or_default(),
            subject: fields.read("subject")?,
            artifact_type: fields
                .read::<String>("artifactType")?
                .filter(|text| !text.is_empty()),
            annotations: fields.read::<BTreeMap<_, _>>("annotations")?.unwrap_or_default(),
        };
        if manifest.blobs().len() + manifest.child_digests().len() > limits.references {
            return Err(ManifestError::TooManyReferences(limits.references));
        }
        let config_type = manifest
            .config
            .as_ref()
            .map_or(0, |config| config.media_type.len());
        let artifact_type = manifest.artifact_type.as_ref().map_or(0, String::len);
        if config_type.max(artifact_type) > MAX_MEDIA_TYPE_BYTES {
            return Err(ManifestError::MediaTypeTooLong);
        }
        Ok(manifest)
    }

    /// The blobs that must be in the repository before the manifest may be: config and layers,
    /// apart from layers that may lie elsewhere.
    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        let layers = self.layers.iter().filter(|layer| !layer.is_foreign());
        self.config.iter().chain(layers).map(|blob| blob.digest).collect()
    }

    /// The manifests that must be in the repository before an index of them may be.
    pub(super) fn child_digests(&self) -> BTreeSet<Digest> {
        self.children.iter().map(|child| child.digest).collect()
    }

    /// The bytes of config and layers, each counted once.
    pub(super) fn content_bytes(&self) -> u64 {
        let sizes: BTreeMap<Digest, u64> = self
            .config
            .iter()
            .chain(&self.layers)
            .map(|blob| (blob.digest, blob.size))
            .collect();
        sizes.values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// What kind of artifact it is: its own word, or for an image the type of its config.
    pub(super) fn artifact_type(&self) -> Option<&str> {
        let of_config = || self.config.as_ref().map(|config| config.media_type.as_str());
        self.artifact_type
            .as_deref()
            .or_else(of_config)
            .filter(|media_type| !media_type.is_empty())
    }

    /// This manifest as an entry of the list of those that refer to its subject.
    pub(super) fn referrer_entry(&self, digest: &Digest, size_bytes: u64) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry<'a> {
            media_type: &'a str,
            digest: &'a Digest,
            size: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            artifact_type: Option<&'a str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
        }
        let entry = Entry {
            media_type: self.kind.media_type(),
            digest,
            size: size_bytes,
            artifact_type: self.artifact_type(),
            annotations: &self.annotations,
        };
        serde_json::to_string(&entry).expect("text and numbers serialise")
    }
}

/// The members of the outermost object, not yet read.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // Readers differ in which of two they take, so nobody knows what they would pull.
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format_args!(
                            "the field {name:?} is there twice"
                        )));
                    }
                    members.insert(name, value);
                }
                Ok(Fields(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Fields<'_> {
    /// Reads a field; null is as good as absent.
    fn read<'s, T: Deserialize<'s>>(&'s self, name: &str) -> Result<Option<T>, ManifestError> {
        match self.0.get(name) {
            Some(value) => Ok(serde_json::from_str(value.get())?),
            None => Ok(None),
        }
    }

    /// Whether the field is there and not null, which encoders write for a list they never made.
    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() != "null")
    }

    /// Some readers match names without regard to case: to them `Layers` is `layers`, so that
    /// one document could be two images.
    fn check_spelling(&self) -> Result<(), ManifestError> {
        for name in self.0.keys() {
            for known in KNOWN_FIELDS {
                if name != known && name.eq_ignore_ascii_case(known) {
                    return Err(ManifestError::Ambiguous(name.clone(), known));
                }
            }
        }
        Ok(())
    }

    /// Decides what it is: by the request, then by what the document says, then by its shape.
    fn kind(&self, content_type: Option<&str>) -> Result<Kind, ManifestError> {
        let document: Option<String> = self.read("mediaType")?;
        let document = document.as_deref().filter(|text| !text.is_empty());
        let is_schema_1 = |media_type: Option<&str>| media_type.is_some_and(|it| SCHEMA_1.contains(&it));
        let version: Option<serde_json::Number> = self.read("schemaVersion")?;
        if is_schema_1(content_type)
            || is_schema_1(document)
            || version == Some(1.into())
            || self.has("fsLayers")
        {
            return Err(ManifestError::SchemaOne);
        }
        if version != Some(2.into()) {
            return Err(ManifestError::SchemaVersion);
        }
        let known = |media_type: &str| {
            Kind::of_media_type(media_type)
                .ok_or_else(|| ManifestError::MediaType(media_type.chars().take(80).collect()))
        };
        match (content_type.filter(|text| !is_untyped(text)), document) {
            (Some(request), Some(document)) if request != document => Err(ManifestError::MediaTypeDiffers {
                document: document.chars().take(80).collect(),
                request: request.chars().take(80).collect(),
            }),
            (Some(media_type), _) | (None, Some(media_type)) => known(media_type),
            (None, None) if self.has("manifests") => Ok(Kind::OciIndex),
            (None, None) => Ok(Kind::OciImage),
        }
    }

    /// What reads as an index to one client and as an image to another could be two different
    /// things under one digest.
    fn check_shape(&self, kind: Kind) -> Result<(), ManifestError> {
        let (needed, refused): (&[_], &[_]) = if kind.is_list() {
            (&["manifests"], &["layers", "config"])
        } else {
            (&["config", "layers"], &["manifests"])
        };
        if let Some(name) = refused.iter().find(|name| self.has(name)) {
            return Err(ManifestError::Unexpected(kind.media_type(), name));
        }
        // A list that is null is empty; a config cannot be.
        let is_there = |name: &str| self.has(name) || (name != "config" && self.0.contains_key(name));
        match needed.iter().find(|name| !is_there(name)) {
            Some(name) => Err(ManifestError::Missing(kind.media_type(), name)),
            None => Ok(()),
        }
    }
}

/// Types that clients send when they do not know the type.
fn is_untyped(content_type: &str) -> bool {
    matches!(content_type, "" | "application/json" | "application/octet-stream")
}

fn without_parameters(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_list_of_some<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let list: Option<Vec<de::IgnoredAny>> = Option::deserialize(deserializer)?;
    Ok(list.is_some_and(|items| !items.is_empty()))
}

/// How deep objects and lists lie in each other. Counted before anything is parsed, so that no
/// parser has to follow.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !is_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn digest(of: &str) -> String {
        Digest::of(super::super::names::Algorithm::Sha256, of.as_bytes()).to_string()
    }

    fn descriptor(media_type: &str, of: &str) -> Value {
        json!({"mediaType": media_type, "digest": digest(of), "size": of.len()})
    }

    fn image() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": Kind::OciImage.media_type(),
            "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer")],
        })
    }

    pub(in crate::formats::oci) fn documents() -> [Value; 2] {
        [image(), index()]
    }

    fn index() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": Kind::OciIndex.media_type(),
            "manifests": [descriptor(Kind::OciImage.media_type(), "child")],
        })
    }

    fn with(mut document: Value, name: &str, value: Value) -> Value {
        document[name] = value;
        document
    }

    fn without(mut document: Value, name: &str) -> Value {
        document.as_object_mut().unwrap().remove(name);
        document
    }

    fn parse(document: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(document.to_string().as_bytes(), content_type, &LIMITS)
    }

    #[test]
    fn the_four_kinds_are_read() {
        for kind in Kind::ALL {
            let document = if kind.is_list() { index() } else { image() };
            let document = with(document, "mediaType", json!(kind.media_type()));
            let manifest = parse(&document, Some(kind.media_type())).unwrap();
            assert_eq!(manifest.kind, kind);
            assert_eq!(manifest.blobs().len(), if kind.is_list() { 0 } else { 2 });
            assert_eq!(manifest.child_digests().len(), usize::from(kind.is_list()));
        }
        assert_eq!(parse(&image(), None).unwrap().content_bytes(), 11);
    }

    #[test]
    fn the_kind_is_decided_by_request_then_document_then_shape() {
        let (oci_image, oci_index) = (Kind::OciImage.media_type(), Kind::OciIndex.media_type());
        let untyped_image = without(image(), "mediaType");
        let untyped_index = without(index(), "mediaType");
        let docker = Kind::DockerImage.media_type();
        let check = |document: &Value, content_type: Option<&str>, expected: Kind| {
            assert_eq!(parse(document, content_type).unwrap().kind, expected);
        };
        check(&image(), Some(oci_image), Kind::OciImage);
        check(
            &image(),
            Some(&format!("{oci_image}; charset=utf-8")),
            Kind::OciImage,
        );
        check(&image(), None, Kind::OciImage);
        check(&image(), Some("application/json"), Kind::OciImage);
        check(&untyped_image, Some(oci_image), Kind::OciImage);
        check(&untyped_image, Some(docker), Kind::DockerImage);
        check(&untyped_image, None, Kind::OciImage);
        check(&untyped_index, None, Kind::OciIndex);
        check(&untyped_index, Some(oci_index), Kind::OciIndex);
        check(
            &with(image(), "mediaType", json!("")),
            Some(docker),
            Kind::DockerImage,
        );
    }

    #[test]
    fn type_confusion_is_refused() {
        use ManifestError as E;
        let check = |document: Value, content_type: Option<&str>, is_expected: fn(&E) -> bool| {
            let error = parse(&document, content_type).expect_err(&document.to_string());
            assert!(is_expected(&error), "{document}: {error:?}");
        };
        let children = index()["manifests"].clone();
        let layers = image()["layers"].clone();
        let config = image()["config"].clone();
        check(with(image(), "manifests", children.clone()), None, |error| {
            matches!(error, E::Unexpected(..))
        });
        check(with(image(), "manifests", json!([])), None, |error| {
            matches!(error, E::Unexpected(..))
        });
        check(with(index(), "layers", layers.clone()), None, |error| {
            matches!(error, E::Unexpected(..))
        });
        check(with(index(), "config", config), None, |error| {
            matches!(error, E::Unexpected(..))
        });
        check(with(index(), "Layers", layers), None, |error| {
            matches!(error, E::Ambiguous(..))
        });
        check(with(image(), "MANIFESTS", children), None, |error| {
            matches!(error, E::Ambiguous(..))
        });
        check(image(), Some(Kind::OciIndex.media_type()), |error| {
            matches!(error, E::MediaTypeDiffers { .. })
        });
        check(image(), Some(Kind::DockerImage.media_type()), |error| {
            matches!(error, E::MediaTypeDiffers { .. })
        });
        check(
            without(image(), "mediaType"),
            Some(Kind::OciIndex.media_type()),
            |error| matches!(error, E::Unexpected(..)),
        );
        check(
            without(index(), "mediaType"),
            Some(Kind::OciImage.media_type()),
            |error| matches!(error, E::Unexpected(..)),
        );
        check(without(image(), "mediaType"), Some("text/html"), |error| {
            matches!(error, E::MediaType(_))
        });
        check(
            with(image(), "mediaType", json!("application/x")),
            None,
            |error| matches!(error, E::MediaType(_)),
        );
    }

    #[test]
    fn the_first_schema_is_refused() {
        let check = |document: &Value, content_type: Option<&str>| {
            assert!(
                matches!(parse(document, content_type), Err(ManifestError::SchemaOne)),
                "{document}"
            );
        };
        check(&with(image(), "schemaVersion", json!(1)), None);
        check(&with(image(), "fsLayers", json!([])), None);
        check(&without(image(), "mediaType"), Some(SCHEMA_1[0]));
        check(&with(image(), "mediaType", json!(SCHEMA_1[1])), None);
        for version in [json!(3), json!(2.5), json!(null)] {
            let document = with(image(), "schemaVersion", version);
            assert!(matches!(
                parse(&document, None),
                Err(ManifestError::SchemaVersion)
            ));
        }
        let document = without(image(), "schemaVersion");
        assert!(matches!(
            parse(&document, None),
            Err(ManifestError::SchemaVersion)
        ));
    }

    #[test]
    fn a_manifest_has_what_its_kind_needs() {
        for (document, field) in [(image(), "config"), (image(), "layers"), (index(), "manifests")] {
            let result = parse(&without(document, field), Some("application/json"));
            assert!(
                matches!(result, Err(ManifestError::Missing(_, name)) if name == field),
                "{field}"
            );
        }
        let result = parse(&with(image(), "config", json!(null)), None);
        assert!(matches!(result, Err(ManifestError::Missing(_, "config"))));
    }

    #[test]
    fn what_is_legal_and_odd_is_taken() {
        let empty = with(image(), "layers", json!([]));
        assert!(parse(&empty, None).unwrap().layers.is_empty());
        let null = with(image(), "layers", json!(null));
        assert!(parse(&null, None).unwrap().layers.is_empty());
        let no_children = with(index(), "manifests", json!([]));
        assert!(parse(&no_children, None).unwrap().children.is_empty());
        assert!(parse(&with(index(), "layers", json!(null)), None).is_ok());
        let with_data = with(image(), "x-unknown", json!({"data": ["anything", {"at": "all"}]}));
        assert!(parse(&with_data, None).is_ok());
        let mut inline = image();
        inline["config"]["data"] = json!("e30=");
        inline["config"]["urls"] = json!(null);
        assert_eq!(parse(&inline, None).unwrap().blobs().len(), 2);
        let nested = with(
            index(),
            "manifests",
            json!([descriptor(Kind::OciIndex.media_type(), "other")]),
        );
        assert_eq!(parse(&nested, None).unwrap().children.len(), 1);
    }

    #[test]
    fn layers_that_lie_elsewhere_are_not_asked_for() {
        for media_type in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            let document = with(image(), "layers", json!([descriptor(media_type, "foreign")]));
            assert_eq!(parse(&document, None).unwrap().blobs().len(), 1, "{media_type}");
        }
        let mut document = image();
        document["layers"][0]["urls"] = json!(["https://elsewhere.example/layer"]);
        assert_eq!(parse(&document, None).unwrap().blobs().len(), 1);
    }

    #[test]
    fn broken_documents_are_refused() {
        let texts = [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{}x",
            "{\"schemaVersion\":2",
            "\u{feff}{}",
            r#"{"schemaVersion":2,"layers":[],"layers":[],"config":null}"#,
            r#"{"schemaVersion":2,"schemaVersion":2}"#,
            r#"{"schemaVersion":1e400}"#,
        ];
        for text in texts {
            let result = Manifest::parse(text.as_bytes(), None, &LIMITS);
            assert!(
                matches!(result, Err(ManifestError::Json(_))),
                "{text}: {result:?}"
            );
        }
        let sha1 = format!("sha1:{}", "0".repeat(40));
        let upper = digest("layer").to_uppercase();
        for bad in [json!("x"), json!(null), json!(7), json!(sha1), json!(upper)] {
            let mut document = image();
            document["layers"][0]["digest"] = bad;
            assert!(
                matches!(parse(&document, None), Err(ManifestError::Json(_))),
                "{document}"
            );
        }
        for bad in [json!(-1), json!(1.5), json!("1"), json!(null)] {
            let mut document = image();
            document["config"]["size"] = bad;
            assert!(
                matches!(parse(&document, None), Err(ManifestError::Json(_))),
                "{document}"
            );
        }
        for bad in [json!({"a": 1}), json!([]), json!({"a": null})] {
            let document = with(image(), "annotations", bad);
            assert!(
                matches!(parse(&document, None), Err(ManifestError::Json(_))),
                "{document}"
            );
        }
    }

    #[test]
    fn size_depth_and_references_are_bounded() {
        let annotations = json!({"a": "A".repeat((4 << 20) - 600)});
        assert!(parse(&with(image(), "annotations", annotations), None).is_ok());
        let annotations = json!({"a": "A".repeat(4 << 20)});
        let result = parse(&with(image(), "annotations", annotations), None);
        assert!(matches!(result, Err(ManifestError::TooLarge(_))));

        let nested = |levels: usize| {
            let value = "[".repeat(levels) + &"]".repeat(levels);
            let text = image().to_string().replacen('{', &format!("{{\"x\":{value},"), 1);
            Manifest::parse(text.as_bytes(), None, &LIMITS)
        };
        assert!(nested(63).is_ok());
        assert!(matches!(nested(64), Err(ManifestError::TooDeep(64))));
        assert!(matches!(nested(100_000), Err(ManifestError::TooDeep(64))));

        let layers = |count: usize| {
            let layers: Vec<_> = (0..count).map(|at| descriptor("x", &at.to_string())).collect();
            parse(&with(image(), "layers", json!(layers)), None)
        };
        assert!(layers(LIMITS.references - 1).is_ok());
        assert!(matches!(
            layers(LIMITS.references),
            Err(ManifestError::TooManyReferences(_))
        ));
    }

    #[test]
    fn types_that_are_kept_are_bounded() {
        let long = "x".repeat(MAX_MEDIA_TYPE_BYTES + 1);
        let mut config = image();
        config["config"]["mediaType"] = json!(long);
        for document in [with(image(), "artifactType", json!(long)), config] {
            assert!(matches!(
                parse(&document, None),
                Err(ManifestError::MediaTypeTooLong)
            ));
        }
    }

    #[test]
    fn brackets_in_text_are_not_depth() {
        assert_eq!(depth(br#"{"a":"[[[[\"[[[","b":[{}]}"#), 3);
        assert_eq!(depth(b"]]]]["), 1);
    }

    #[test]
    fn an_entry_of_the_referrers_has_the_type_that_clients_look_for() {
        let check = |document: Value, expected: Value| {
            let manifest = parse(&document, None).unwrap();
            let digest = Digest::Sha256([1; 32]);
            let entry: Value = serde_json::from_str(&manifest.referrer_entry(&digest, 5)).unwrap();
            let media_type = manifest.kind.media_type();
            let mut whole = json!({"mediaType": media_type, "digest": digest.to_string(), "size": 5});
            whole
                .as_object_mut()
                .unwrap()
                .extend(expected.as_object().unwrap().clone());
            assert_eq!(entry, whole);
        };
        let config_type = "application/vnd.oci.image.config.v1+json";
        check(image(), json!({"artifactType": config_type}));
        check(
            with(image(), "artifactType", json!("")),
            json!({"artifactType": config_type}),
        );
        check(
            with(image(), "artifactType", json!("a/b")),
            json!({"artifactType": "a/b"}),
        );
        check(index(), json!({}));
        check(
            with(index(), "artifactType", json!("a/b")),
            json!({"artifactType": "a/b"}),
        );
        check(
            with(index(), "annotations", json!({"k": "v"})),
            json!({"annotations": {"k": "v"}}),
        );
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&bytes, None, &LIMITS);
        }

        #[test]
        fn changed_documents_never_panic(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = image().to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Manifest::parse(&bytes, None, &LIMITS);
        }
    }
}
