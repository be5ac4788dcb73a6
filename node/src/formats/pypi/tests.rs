//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

mod pages;
mod removal;
mod uploads;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::archive::zip_tests::Builder;
use crate::testing::archives::tar_gz;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/pypi";
const GROUP: &str = "/api/v4/groups/1/-/packages/pypi";
const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// A distribution and what is sent with it.
#[derive(Clone)]
struct Dist {
    file: String,
    bytes: Vec<u8>,
    fields: Vec<(String, String)>,
    /// Whether the fields come after the file.
    late: bool,
}

fn core_metadata(name: &str, version: &str) -> String {
    format!("Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n\n# {name}\n")
}

impl Dist {
    fn new(name: &str, version: &str, kind: &str, file: String, bytes: Vec<u8>) -> Self {
        let fields = [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("metadata_version", "2.4"),
            ("name", name),
            ("version", version),
            ("filetype", kind),
            ("classifiers", "A"),
            ("classifiers", "B"),
        ];
        Self {
            file,
            bytes,
            fields: fields.map(|(name, value)| (name.into(), value.into())).into(),
            late: false,
        }
    }

    /// A wheel of files that are stored as they are, so that its digest never changes.
    fn wheel(name: &str, version: &str) -> Self {
        Self::wheel_for(name, version, "py3-none-any")
    }

    fn wheel_for(name: &str, version: &str, tags: &str) -> Self {
        Self::wheel_with(name, version, tags, &core_metadata(name, version))
    }

    fn wheel_with(name: &str, version: &str, tags: &str, metadata: &str) -> Self {
        let stem = format!("{}-{version}", name.replace(['-', '.'], "_"));
        let bytes = Builder::default()
            .stored("module.py", tags)
            .stored(&format!("{stem}.dist-info/METADATA"), metadata)
            .stored(&format!("{stem}.dist-info/WHEEL"), "Wheel-Version: 1.0\n")
            .stored(&format!("{stem}.dist-info/RECORD"), "")
            .end();
        Self::new(name, version, "bdist_wheel", format!("{stem}-{tags}.whl"), bytes)
    }

    fn sdist(name: &str, version: &str) -> Self {
        let stem = format!("{}-{version}", name.replace(['-', '.'], "_"));
        let metadata = core_metadata(name, version);
        let bytes = tar_gz(&[
            (&format!("{stem}/PKG-INFO"), metadata.as_bytes()),
            (&format!("{stem}/src/x.egg-info/PKG-INFO"), b"another"),
        ]);
        Self::new(name, version, "sdist", format!("{stem}.tar.gz"), bytes)
    }

    fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    fn late(mut self) -> Self {
        self.late = true;
        self
    }

    fn named(mut self, file: &str) -> Self {
        self.file = file.into();
        self
    }

    fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = bytes;
        self
    }

    fn sha256(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.bytes))
    }

    /// Where it is, below the base URL.
    fn path(&self) -> String {
        format!("files/{}/{}", self.sha256(), self.file.replace('+', "%2B"))
    }

    fn form(&self) -> Vec<u8> {
        let fields = self.fields.iter().map(|(name, value)| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        });
        let fields: String = fields.collect();
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.file
        );
        let content = [head.as_bytes(), &self.bytes, b"\r\n"].concat();
        match self.late {
            true => [content, fields.into_bytes(), b"--b--\r\n".to_vec()].concat(),
            false => [fields.into_bytes(), content, b"--b--\r\n".to_vec()].concat(),
        }
    }

    async fn send_to(&self, node: &TestNode, base: &str, caller: &str) -> Answer {
        let request = node.post(base).by(caller);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        request.body(self.form()).send().await
    }

    /// Publishes it to project 1.
    async fn publish(&self, node: &TestNode) -> Answer {
        self.send_to(node, BASE, "developer").await
    }
}

/// The name and the bytes of a wheel.
pub(super) fn wheel(name: &str, version: &str) -> (String, Vec<u8>) {
    let wheel = Dist::wheel(name, version);
    (wheel.file, wheel.bytes)
}

/// The name and the bytes of a source distribution.
pub(super) fn source_distribution(name: &str, version: &str) -> (String, Vec<u8>) {
    let source = Dist::sdist(name, version);
    (source.file, source.bytes)
}

/// Publishes `hello` 1.0 to a project, for the table of routes and callers.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let base = format!("/api/v4/projects/{project}/packages/pypi");
    let hello = Dist::wheel("hello", "1.0");
    hello.send_to(node, &base, "root").await.expect(200);
}

async fn page(node: &TestNode, base: &str, name: &str) -> Value {
    let request = node.get(format!("{base}/simple/{name}/")).by("reporter");
    request.header("accept", JSON).send().await.expect(200).json()
}

fn files(page: &Value) -> Vec<&str> {
    let files = page["files"].as_array().unwrap();
    files
        .iter()
        .map(|file| file["filename"].as_str().unwrap())
        .collect()
}

async fn get(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/{path}")).by("reporter").send().await
}
