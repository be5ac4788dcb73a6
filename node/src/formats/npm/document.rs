//! Reads the document that clients publish, as a stream.
//!
//! One JSON object carries the metadata and, as base64, the tarball, in any order:
//!
//! ```text
//! {"_id", "name", "dist-tags": {TAG: VERSION}, "versions": {VERSION: manifest}, "readme"?,
//!  "_attachments": {"NAME-VERSION.tgz": {"content_type", "data": base64, "length"},
//!                   "NAME-VERSION.sigstore": {"content_type", "data": text, "length"}}}
//! ```
//!
//! The same form without attachments changes what is there already: a whole package index that
//! the client has edited, of which there may be thousands of versions. So manifests are kept as
//! long as there is room for them, and of every version its deprecation.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::{Map, Value};
use struson::reader::ValueType;

use super::artifact::{self, Artifact, ArtifactError};
use crate::formats::json::{self, Budget, JsonError, Reader};

/// How much a document may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The JSON, apart from attachments.
    pub(crate) json: json::Limits,
    /// Memory for what is always kept: names, tags, deprecations.
    pub(crate) kept_bytes: usize,
    /// Memory for manifests.
    pub(crate) manifests_bytes: usize,
    /// Versions that a document may list.
    pub(crate) versions: usize,
    /// Bytes of a README that are kept.
    pub(crate) readme_bytes: usize,
    /// Bytes of a provenance bundle.
    pub(crate) provenance_bytes: usize,
    /// The tarball.
    pub(crate) tarball: artifact::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json: json::Limits {
                document_bytes: 64 << 20,
                string_bytes: 1 << 20,
                depth: 64,
            },
            kept_bytes: 8 << 20,
            manifests_bytes: 8 << 20,
            versions: 20_000,
            readme_bytes: 64 << 10,
            provenance_bytes: 128 << 10,
            tarball: artifact::Limits::default(),
        }
    }
}

/// What a client sent.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) dist_tags: Option<BTreeMap<String, String>>,
    /// By the key that the client used.
    pub(crate) versions: Option<BTreeMap<String, SentVersion>>,
    pub(crate) readme: Option<String>,
    pub(crate) maintainers: Option<Value>,
    pub(crate) users: Option<Map<String, Value>>,
    pub(crate) tarball: Option<SentTarball>,
    pub(crate) provenance: Option<String>,
}

/// A version in the document.
#[derive(Debug, Default)]
pub(crate) struct SentVersion {
    /// Its manifest, if there was room for it.
    pub(crate) manifest: Option<Map<String, Value>>,
    pub(crate) deprecated: Option<String>,
    pub(crate) readme: Option<String>,
}

/// A tarball that was attached.
#[derive(Debug)]
pub(crate) struct SentTarball {
    /// The attachment's key.
    pub(crate) file_name: String,
    pub(crate) artifact: Artifact,
}

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("{0}")]
    Malformed(String),
    #[error("the document lists more than {0} versions")]
    TooManyVersions(usize),
    #[error("the provenance bundle is larger than {0} bytes")]
    ProvenanceTooLarge(usize),
    #[error(transparent)]
    Tarball(#[from] ArtifactError),
}

fn malformed<T>(why: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::Malformed(why.into()))
}

/// Reads a document to its end; the bytes of an attached tarball go to `sink` as they come.
pub(crate) fn read(
    body: impl Read,
    limits: &Limits,
    mut sink: impl FnMut(Bytes) -> io::Result<()>,
) -> Result<Document, DocumentError> {
    let mut reading = Reading {
        json: Reader::new(body, limits.json),
        kept: Budget(limits.kept_bytes),
        manifests: Budget(limits.manifests_bytes),
        limits,
    };
    let mut document = Document::default();
    if reading.json.peek()? != ValueType::Object {
        return malformed("the document is not a JSON object");
    }
    reading.json.begin_object()?;
    let mut keys = HashSet::new();
    while let Some(key) = reading.key(&mut keys)? {
        match key.as_str() {
            "_id" => document.id = reading.text("_id")?,
            "name" => document.name = reading.text("name")?,
            "_rev" => document.revision = reading.text("_rev")?,
            "dist-tags" => document.dist_tags = reading.dist_tags()?,
            "versions" => document.versions = reading.versions()?,
            "readme" => document.readme = reading.json.text_prefix(limits.readme_bytes)?,
            "maintainers" => document.maintainers = Some(reading.kept_value()?),
            "users" => document.users = reading.users()?,
            "_attachments" => reading.attachments(&mut document, &mut sink)?,
            _ => reading.json.skip()?,
        }
    }
    reading.json.finish()?;
    Ok(document)
}

struct Reading<'a, R: Read> {
    json: Reader<R>,
    kept: Budget,
    manifests: Budget,
    limits: &'a Limits,
}

impl<R: Read> Reading<'_, R> {
    fn key(&mut self, seen: &mut HashSet<String>) -> Result<Option<String>, DocumentError> {
        Ok(self.json.next_key(seen, &mut self.kept)?)
    }

    fn kept_value(&mut self) -> Result<Value, DocumentError> {
        Ok(self.json.value(&mut self.kept)?.ok_or(JsonError::TooLarge)?)
    }

    /// A string, or nothing in one of the ways that clients write it.
    fn text(&mut self, what: &str) -> Result<Option<String>, DocumentError> {
        match self.kept_value()? {
            Value::String(text) => Ok(Some(text)),
            Value::Null | Value::Bool(false) => Ok(None),
            _ => malformed(format!("{what} is not a string")),
        }
    }

    fn dist_tags(&mut self) -> Result<Option<BTreeMap<String, String>>, DocumentError> {
        match self.kept_value()? {
            Value::Object(tags) => tags
                .into_iter()
                .map(|(tag, version)| match version {
                    Value::String(version) => Ok((tag, version)),
                    _ => malformed(format!("dist-tag {tag:?} does not name a version")),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Value::Null => Ok(None),
            _ => malformed("dist-tags is not an object"),
        }
    }

    fn users(&mut self) -> Result<Option<Map<String, Value>>, DocumentError> {
        match self.kept_value()? {
            Value::Object(users) => Ok(Some(users)),
            Value::Null => Ok(None),
            _ => malformed("users is not an object"),
        }
    }

    fn versions(&mut self) -> Result<Option<BTreeMap<String, SentVersion>>, DocumentError> {
        match self.json.peek()? {
            ValueType::Object => {}
            ValueType::Null => {
                self.json.skip()?;
                return Ok(None);
            }
            _ => return malformed("versions is not an object"),
        }
        self.json.begin_object()?;
        let mut versions = BTreeMap::new();
        let mut keys = HashSet::new();
        while let Some(key) = self.key(&mut keys)? {
            if versions.len() == self.limits.versions {
                return Err(DocumentError::TooManyVersions(self.limits.versions));
            }
            let version = self.version(&key)?;
            versions.insert(key, version);
        }
        Ok(Some(versions))
    }

    fn version(&mut self, version: &str) -> Result<SentVersion, DocumentError> {
        if self.json.peek()? != ValueType::Object {
            return malformed(format!("the manifest of version {version:?} is not an object"));
        }
        self.json.begin_object()?;
        let mut sent = SentVersion {
            manifest: Some(Map::new()),
            ..SentVersion::default()
        };
        // The keys of one manifest do not outlive it, so they are not charged to what is kept.
        let (mut keys, mut key_budget) = (HashSet::new(), Budget(self.limits.manifests_bytes));
        while let Some(key) = self.json.next_key(&mut keys, &mut key_budget)? {
            match key.as_str() {
                "deprecated" => sent.deprecated = self.text("deprecated")?,
                // Long, and not part of the manifest that others read.
                "readme" => sent.readme = self.json.text_prefix(self.limits.readme_bytes)?,
                _ => match (&mut sent.manifest, self.json.value(&mut self.manifests)?) {
                    (Some(manifest), Some(value)) => {
                        manifest.insert(key, value);
                    }
                    (manifest, _) => *manifest = None,
                },
            }
        }
        Ok(sent)
    }

    fn attachments(
        &mut self,
        document: &mut Document,
        sink: &mut impl FnMut(Bytes) -> io::Result<()>,
    ) -> Result<(), DocumentError> {
        match self.json.peek()? {
            ValueType::Object => self.json.begin_object()?,
            ValueType::Null => return Ok(self.json.skip()?),
            _ => return malformed("_attachments is not an object"),
        }
        let mut keys = HashSet::new();
        while let Some(file_name) = self.key(&mut keys)? {
            if file_name.ends_with(".tgz") {
                if document.tarball.is_some() {
                    return malformed("more than one tarball is attached");
                }
                document.tarball = Some(self.tarball(file_name, sink)?);
            } else if file_name.ends_with(".sigstore") {
                if document.provenance.is_some() {
                    return malformed("more than one provenance bundle is attached");
                }
                document.provenance = Some(self.provenance()?);
            } else {
                return malformed(format!(
                    "the attachment {file_name:?} is neither a tarball nor a provenance bundle"
                ));
            }
        }
        Ok(())
    }

    fn tarball(
        &mut self,
        file_name: String,
        sink: &mut impl FnMut(Bytes) -> io::Result<()>,
    ) -> Result<SentTarball, DocumentError> {
        let limits = self.limits;
        let mut received = None;
        let length = self.attachment(&file_name, |json| {
            let outcome = json.stream_text(|text| {
                let mut decoder = Base64Reader::new(text);
                let artifact = artifact::inspect(&mut decoder, &limits.tarball, &mut *sink);
                artifact.map(|artifact| (artifact, decoder.decoded_bytes))
            });
            match outcome {
                // The connection broke: the tarball is not to blame.
                Err(error @ JsonError::Io(_)) => Err(error.into()),
                Err(error) => Err(DocumentError::Json(error)),
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(read)) => {
                    received = Some(read);
                    Ok(())
                }
            }
        })?;
        let Some((artifact, size_bytes)) = received else {
            return malformed(format!("the attachment {file_name:?} has no data"));
        };
        if length.is_some_and(|length| length != size_bytes) {
            return malformed(format!(
                "the attachment {file_name:?} does not have the length that is given for it"
            ));
        }
        Ok(SentTarball { file_name, artifact })
    }

    fn provenance(&mut self) -> Result<String, DocumentError> {
        let limit_bytes = self.limits.provenance_bytes;
        let mut bundle = None;
        self.attachment("provenance", |json| {
            // One byte more than allowed tells that it was cut.
            bundle = json.text_prefix(limit_bytes + 1)?;
            Ok(())
        })?;
        match bundle {
            Some(bundle) if bundle.len() > limit_bytes => Err(DocumentError::ProvenanceTooLarge(limit_bytes)),
            Some(bundle) => Ok(bundle),
            None => malformed("the attached provenance bundle has no data"),
        }
    }

    /// Reads an attachment: `data` is left to the caller; its `length`, if given, is returned.
    fn attachment(
        &mut self,
        file_name: &str,
        mut data: impl FnMut(&mut Reader<R>) -> Result<(), DocumentError>,
    ) -> Result<Option<u64>, DocumentError> {
        if self.json.peek()? != ValueType::Object {
            return malformed(format!("the attachment {file_name:?} is not an object"));
        }
        self.json.begin_object()?;
        let mut length = None;
        let mut keys = HashSet::new();
        while let Some(key) = self.key(&mut keys)? {
            match key.as_str() {
                "data" if self.json.peek()? == ValueType::String => data(&mut self.json)?,
                "data" => {
                    return malformed(format!(
                        "the data of the attachment {file_name:?} is not a string"
                    ));
                }
                "length" => length = self.kept_value()?.as_u64(),
                _ => self.json.skip()?,
            }
        }
        Ok(length)
    }
}

/// Decodes base64 as a stream.
struct Base64Reader<R> {
    text: R,
    decoded: Vec<u8>,
    position: usize,
    decoded_bytes: u64,
    ended: bool,
}

impl<R: Read> Base64Reader<R> {
    /// A multiple of four characters, so that every block but the last is whole.
    const BLOCK_CHARS: usize = 64 << 10;

    fn new(text: R) -> Self {
        Self {
            text,
            decoded: Vec::new(),
            position: 0,
            decoded_bytes: 0,
            ended: false,
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut block = Vec::with_capacity(Self::BLOCK_CHARS);
        (&mut self.text)
            .take(Self::BLOCK_CHARS as u64)
            .read_to_end(&mut block)?;
        // The decoder lets a padded group stand before others.
        let padded_before_end = block[..block.len().saturating_sub(2)].contains(&b'=');
        if padded_before_end || (self.ended && !block.is_empty()) {
            return Err(invalid("base64 data goes on after its padding".into()));
        }
        self.ended = block.len() < Self::BLOCK_CHARS || block.ends_with(b"=");
        self.decoded = BASE64
            .decode(&block)
            .map_err(|error| invalid(format!("the data is not base64: {error}")))?;
        self.decoded_bytes += self.decoded.len() as u64;
        self.position = 0;
        Ok(())
    }
}

impl<R: Read> Read for Base64Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.decoded.len() {
            self.next_block()?;
        }
        let count = (&self.decoded[self.position..]).read(out)?;
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tarball() -> Vec<u8> {
        artifact::tests::tarball(r#"{"name":"left","version":"1.0.0"}"#)
    }

    fn read_all(document: &[u8], limits: &Limits) -> Result<(Document, Vec<u8>), DocumentError> {
        let mut bytes = Vec::new();
        let document = read(document, limits, |chunk| {
            bytes.extend_from_slice(&chunk);
            Ok(())
        })?;
        Ok((document, bytes))
    }

    fn check(document: impl AsRef<[u8]>, expected: Result<(), &str>) {
        let outcome = read_all(document.as_ref(), &Limits::default());
        match (&outcome, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            _ => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    pub(in crate::formats::npm) fn a_publication() -> String {
        let tarball = BASE64.encode(&tarball());
        json!({
            "_id": "left", "name": "left", "dist-tags": {"latest": "1.0.0"}, "access": null,
            "versions": {"1.0.0": {"name": "left", "version": "1.0.0", "readme": "# a"}},
            "_attachments": {"left-1.0.0.tgz": {"content_type": "application/octet-stream", "data": tarball}},
        })
        .to_string()
    }

    fn attached(attachments: Value) -> String {
        json!({"name": "left", "_attachments": attachments}).to_string()
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let tarball = tarball();
        let members = [
            json!({"_id": "left", "name": "left"}),
            json!({"versions": {"1.0.0": {"name": "left", "readme": "# long", "deprecated": "no"}}}),
            json!({"_attachments": {"left-1.0.0.tgz": {"length": tarball.len(), "data": BASE64.encode(&tarball)}}}),
            json!({"dist-tags": {"latest": "1.0.0"}, "_rev": "3-x", "access": null}),
        ];
        for first in 0..members.len() {
            let mut document = Map::new();
            for member in members.iter().cycle().skip(first).take(members.len()) {
                document.extend(member.as_object().unwrap().clone());
            }
            let text = Value::Object(document).to_string();
            let (document, bytes) = read_all(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(bytes, tarball);
            assert_eq!(document.id.as_deref(), Some("left"));
            assert_eq!(document.revision.as_deref(), Some("3-x"));
            assert_eq!(document.dist_tags.unwrap()["latest"], "1.0.0");
            let version = &document.versions.unwrap()["1.0.0"];
            assert_eq!(version.manifest, json!({"name": "left"}).as_object().cloned());
            assert_eq!(version.deprecated.as_deref(), Some("no"));
            assert_eq!(version.readme.as_deref(), Some("# long"));
            let sent = document.tarball.unwrap();
            assert_eq!(sent.file_name, "left-1.0.0.tgz");
            assert_eq!(sent.artifact.manifest["version"], "1.0.0");
        }
    }

    #[test]
    fn a_large_tarball_passes_in_blocks() {
        let noise: Vec<u8> = (0..40_000u32)
            .flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
            .collect();
        let tarball = artifact::tests::tarball_with(r#"{"name":"left"}"#, &noise);
        assert!(tarball.len() > 1 << 20);
        let document = attached(json!({"left-1.0.0.tgz": {"data": BASE64.encode(&tarball)}}));
        // Far less than the tarball: only what surrounds it counts.
        let limits = Limits {
            json: json::Limits {
                document_bytes: 4096,
                ..Limits::default().json
            },
            ..Limits::default()
        };
        assert_eq!(read_all(document.as_bytes(), &limits).unwrap().1, tarball);
    }

    #[test]
    fn a_package_index_of_thousands_of_versions_tells_all_deprecations() {
        let versions: Map<String, Value> = (0..2000)
            .map(|n| {
                (
                    format!("1.0.{n}"),
                    json!({"name": "left", "deprecated": format!("use {n}"), "x": "y".repeat(1000)}),
                )
            })
            .collect();
        let text = json!({"versions": versions}).to_string();
        let limits = Limits {
            manifests_bytes: 100_000,
            ..Limits::default()
        };
        let (document, _) = read_all(text.as_bytes(), &limits).unwrap();
        let versions = document.versions.unwrap();
        assert_eq!(versions.len(), 2000);
        assert!(
            versions
                .values()
                .filter(|version| version.manifest.is_some())
                .count()
                < 100
        );
        assert_eq!(versions["1.0.1999"].deprecated.as_deref(), Some("use 1999"));
    }

    #[test]
    fn malformed_documents_are_refused() {
        check("[]", Err("not a JSON object"));
        check("", Err("malformed JSON"));
        check(r#"{"name":"a","name":"b"}"#, Err("twice"));
        check(r#"{"versions":{"1.0.0":{},"1.0.0":{}}}"#, Err("twice"));
        check(r#"{"versions":{"1.0.0":{"name":"a","name":"b"}}}"#, Err("twice"));
        check(r#"{"versions":{"1.0.0":[]}}"#, Err("not an object"));
        check(r#"{"versions":[]}"#, Err("not an object"));
        check(r#"{"dist-tags":{"latest":1}}"#, Err("does not name a version"));
        check(r#"{"dist-tags":"latest"}"#, Err("not an object"));
        check(r#"{"name":["a"]}"#, Err("not a string"));
        check(r#"{"users":[]}"#, Err("not an object"));
        check(r#"{"name":"a"} x"#, Err("malformed JSON"));
        check(
            format!("{}1{}", r#"{"x":"#.repeat(1000), "}".repeat(1000)),
            Err("deeper than 64"),
        );
        check(
            r#"{"versions":null,"dist-tags":null,"users":null,"_attachments":null}"#,
            Ok(()),
        );
        check(
            r#"{"versions":{"__proto__":{"__proto__":1}},"__proto__":{}}"#,
            Ok(()),
        );
    }

    #[test]
    fn malformed_attachments_are_refused() {
        let tarball = BASE64.encode(&tarball());
        check(attached(json!([])), Err("not an object"));
        check(attached(json!({"left.zip": {}})), Err("neither a tarball"));
        check(attached(json!({"left-1.0.0.tgz": "x"})), Err("not an object"));
        check(attached(json!({"left-1.0.0.tgz": {}})), Err("has no data"));
        check(
            attached(json!({"left-1.0.0.tgz": {"data": 1}})),
            Err("not a string"),
        );
        check(
            attached(json!({"left-1.0.0.tgz": {"data": tarball, "length": 3}})),
            Err("length that is given"),
        );
        check(
            attached(json!({"left-1.0.0.tgz": {"data": tarball}, "left-2.0.0.tgz": {"data": tarball}})),
            Err("more than one tarball"),
        );
        let data = |data: &str| attached(json!({"left-1.0.0.tgz": {"data": data}}));
        check(data("!!!!"), Err("not base64"));
        check(data(&tarball[..tarball.len() - 1]), Err("not base64"));
        check(data(&format!("{tarball}{tarball}")), Err("after its"));
        check(data(&format!("YQ=={tarball}")), Err("after its padding"));
        check(data(""), Err("is damaged"));
        check(data(&BASE64.encode(b"not a tarball")), Err("is damaged"));
        // The text ends in the middle of the data.
        let whole = data(&tarball);
        check(&whole[..whole.len() - 20], Err("malformed JSON"));
    }

    #[test]
    fn provenance_is_kept_as_text() {
        let bundle = r#"{"mediaType":"x"}"#;
        let text =
            attached(json!({"left-1.0.0.sigstore": {"content_type": "x", "data": bundle, "length": 17}}));
        assert_eq!(
            read_all(text.as_bytes(), &Limits::default())
                .unwrap()
                .0
                .provenance
                .as_deref(),
            Some(bundle)
        );
        let large = attached(json!({"left-1.0.0.sigstore": {"data": "x".repeat(200_000)}}));
        check(large, Err("provenance bundle is larger"));
    }

    #[test]
    fn limits_hold() {
        let versions: Map<String, Value> = (0..21_000).map(|n| (format!("1.0.{n}"), json!({}))).collect();
        check(
            json!({"versions": versions}).to_string(),
            Err("more than 20000 versions"),
        );
        let users: Map<String, Value> = (0..200_000).map(|n| (format!("u{n}"), json!(true))).collect();
        check(json!({"users": users}).to_string(), Err("larger than allowed"));
        let keys: Map<String, Value> = (0..200_000).map(|n| (format!("u{n}"), json!(1))).collect();
        check(Value::Object(keys).to_string(), Err("larger than allowed"));
        let limits = Limits {
            tarball: artifact::Limits {
                tarball_bytes: 10,
                ..Default::default()
            },
            ..Limits::default()
        };
        let document = attached(json!({"left-1.0.0.tgz": {"data": BASE64.encode(&tarball())}}));
        let error = read_all(document.as_bytes(), &limits).unwrap_err();
        assert!(
            matches!(error, DocumentError::Tarball(ArtifactError::TooLarge(10))),
            "{error}"
        );
    }

    #[test]
    fn a_broken_connection_is_told_from_a_broken_document() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
            }
        }
        let document = attached(json!({"left-1.0.0.tgz": {"data": BASE64.encode(&tarball())}}));
        for cut in [5, 30, document.len() / 2, document.len() - 2] {
            let body = document.as_bytes()[..cut].chain(Broken);
            let error = read(body, &Limits::default(), |_| Ok(())).unwrap_err();
            assert!(
                matches!(error, DocumentError::Json(JsonError::Io(_))),
                "{cut}: {error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn base64_is_decoded_whatever_the_reads(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1..9usize) {
            let text = BASE64.encode(&bytes);
            let mut decoder = Base64Reader::new(text.as_bytes());
            let mut decoded = Vec::new();
            let mut out = vec![0; step];
            loop {
                let count = decoder.read(&mut out).unwrap();
                if count == 0 {
                    break;
                }
                decoded.extend_from_slice(&out[..count]);
            }
            prop_assert_eq!(decoded, bytes);
        }

        #[test]
        fn damaged_documents_never_panic(flips in prop::collection::vec((0..2000usize, any::<u8>()), 1..4)) {
            let tarball = tarball();
            let mut text = json!({
                "name": "left",
                "versions": {"1.0.0": {"name": "left"}},
                "_attachments": {"left-1.0.0.tgz": {"data": BASE64.encode(&tarball)}},
            }).to_string().into_bytes();
            let len = text.len();
            for (at, byte) in flips {
                text[at % len] = byte;
            }
            let _ = read_all(&text, &Limits::default());
        }
    }
}
