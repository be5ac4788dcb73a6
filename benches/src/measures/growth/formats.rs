//! What the clients of each format send to publish, and where they read what there is.

use std::io::{Cursor, Write};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::{Method, StatusCode};
use md5::{Digest as _, Md5};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A format, as those who publish and install meet it.
pub(super) struct Format {
    pub(super) name: &'static str,
    /// The requests that publish the version of this number of a package, each after the answer to the one before.
    pub(super) publish: fn(package: &str, number: u64) -> Vec<Publication>,
    /// How each is answered.
    pub(super) published: StatusCode,
    /// The path of the index of a package, if clients read one.
    pub(super) index: Option<fn(package: &str) -> String>,
    /// What clients accept when they read it.
    pub(super) accept: &'static str,
    scheme: Scheme,
}

/// How a token is sent.
enum Scheme {
    Basic,
    Bearer,
    /// As it is.
    Raw,
}

/// A request that publishes.
pub(super) struct Publication {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Format {
    /// The header with which its clients send a token.
    pub(super) fn authorization(&self, token: &str) -> String {
        match self.scheme {
            Scheme::Basic => format!("Basic {}", BASE64.encode(format!("__token__:{token}").as_bytes())),
            Scheme::Bearer => format!("Bearer {token}"),
            Scheme::Raw => token.to_owned(),
        }
    }
}

/// All that are measured.
pub(super) static FORMATS: &[Format] = &[
    Format {
        name: "generic",
        publish: |package, number| vec![generic(package, number)],
        published: StatusCode::CREATED,
        index: None,
        accept: "application/json",
        scheme: Scheme::Bearer,
    },
    Format {
        name: "maven",
        publish: |package, number| vec![maven(package, number)],
        published: StatusCode::CREATED,
        index: Some(|package| {
            format!("/api/v4/projects/1/packages/maven/org/acme/{package}/maven-metadata.xml")
        }),
        accept: "text/xml",
        scheme: Scheme::Basic,
    },
    Format {
        name: "npm",
        publish: |package, number| vec![npm(package, number)],
        published: StatusCode::CREATED,
        index: Some(|package| format!("/api/v4/projects/1/packages/npm/{package}")),
        accept: "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
        scheme: Scheme::Bearer,
    },
    Format {
        name: "pypi",
        publish: |package, number| vec![pypi(package, number)],
        published: StatusCode::OK,
        index: Some(|package| format!("/api/v4/projects/1/packages/pypi/simple/{package}/")),
        accept: "application/vnd.pypi.simple.v1+json",
        scheme: Scheme::Basic,
    },
    Format {
        name: "cargo",
        publish: |package, number| vec![cargo(package, number)],
        published: StatusCode::OK,
        index: Some(|package| {
            let (first, second) = (&package[..2], &package[2..4]);
            format!("/api/v4/projects/1/packages/cargo/index/{first}/{second}/{package}")
        }),
        accept: "*/*",
        scheme: Scheme::Raw,
    },
    Format {
        name: "composer",
        publish: |package, number| vec![composer(package, number)],
        published: StatusCode::CREATED,
        index: Some(|package| format!("/api/v4/projects/1/packages/composer/p2/acme/{package}.json")),
        accept: "*/*",
        scheme: Scheme::Basic,
    },
    Format {
        name: "go",
        publish: |package, number| vec![go(package, number)],
        published: StatusCode::CREATED,
        index: Some(|package| format!("/api/v4/projects/1/packages/go/acme.test/{package}/@v/list")),
        accept: "*/*",
        scheme: Scheme::Basic,
    },
    Format {
        name: "helm",
        publish: |package, number| vec![helm(package, number)],
        published: StatusCode::CREATED,
        // A channel of its own has nothing but this chart.
        index: Some(|package| format!("/api/v4/projects/1/packages/helm/{package}/index.yaml")),
        accept: "*/*",
        scheme: Scheme::Basic,
    },
    Format {
        name: "rubygems",
        publish: |package, number| vec![rubygems(package, number)],
        published: StatusCode::OK,
        index: Some(|package| format!("/api/v4/projects/1/packages/rubygems/info/{package}")),
        accept: "*/*",
        scheme: Scheme::Raw,
    },
    Format {
        name: "nuget",
        publish: |package, number| vec![nuget(package, number)],
        published: StatusCode::CREATED,
        index: Some(|package| format!("/api/v4/projects/1/packages/nuget/metadata/{package}/index.json")),
        accept: "application/json",
        scheme: Scheme::Basic,
    },
    Format {
        name: "conan",
        publish: conan,
        published: StatusCode::CREATED,
        // What a version range is looked up in.
        index: Some(|package| format!("/api/v4/projects/1/packages/conan/v2/conans/search?q={package}/*")),
        accept: "*/*",
        scheme: Scheme::Bearer,
    },
];

/// A tar archive of small files.
fn tar<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let added = archive.append_data(&mut header, path, bytes);
        added.expect("memory takes all bytes, and the paths are short");
    }
    archive.into_inner().expect("memory takes all bytes")
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes all bytes")
}

/// The same, compressed.
fn tar_gz(files: &[(String, String)]) -> Vec<u8> {
    let files = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes()));
    gz(&tar(files))
}

/// A ZIP archive of small files, which are not compressed.
fn zip(files: &[(String, String)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (path, text) in files {
        let added = archive
            .start_file(path, stored)
            .and_then(|()| Ok(archive.write_all(text.as_bytes())?));
        added.expect("memory takes all bytes");
    }
    archive.finish().expect("memory takes all bytes").into_inner()
}

fn generic(package: &str, number: u64) -> Publication {
    Publication {
        method: Method::PUT,
        target: format!("/api/v4/projects/1/packages/generic/{package}/1.{number}.0/file.txt"),
        content_type: "application/octet-stream",
        body: format!("{package} {number}").into(),
    }
}

fn maven(package: &str, number: u64) -> Publication {
    let version = format!("1.{number}.0");
    Publication {
        method: Method::PUT,
        target: format!(
            "/api/v4/projects/1/packages/maven/org/acme/{package}/{version}/{package}-{version}.pom"
        ),
        content_type: "application/octet-stream",
        body: format!("<project><artifactId>{package}</artifactId><version>{version}</version></project>")
            .into(),
    }
}

fn npm(package: &str, number: u64) -> Publication {
    let version = format!("1.{number}.0");
    let manifest = json!({ "name": package, "version": version, "dependencies": { "left": "^1.0.0" } });
    let tarball = tar_gz(&[("package/package.json".into(), manifest.to_string())]);
    let document = json!({
        "_id": package, "name": package, "dist-tags": { "latest": version },
        "versions": { version.clone(): manifest },
        "_attachments": { format!("{package}-{version}.tgz"): {
            "content_type": "application/octet-stream",
            "data": BASE64.encode(&tarball),
            "length": tarball.len(),
        }},
    });
    Publication {
        method: Method::PUT,
        target: format!("/api/v4/projects/1/packages/npm/{package}"),
        content_type: "application/json",
        body: document.to_string().into(),
    }
}

fn pypi(package: &str, number: u64) -> Publication {
    let version = format!("1.{number}.0");
    let stem = format!("{}-{version}", package.replace('-', "_"));
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n");
    let sdist = tar_gz(&[(format!("{stem}/PKG-INFO"), metadata)]);
    let mut body = Vec::new();
    for (name, value) in [
        (":action", "file_upload"),
        ("metadata_version", "2.1"),
        ("name", package),
        ("version", &version),
        ("filetype", "sdist"),
    ] {
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let file = format!(
        "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{stem}.tar.gz\"\r\n\r\n"
    );
    body.extend_from_slice(file.as_bytes());
    body.extend_from_slice(&sdist);
    body.extend_from_slice(b"\r\n--b--\r\n");
    Publication {
        method: Method::POST,
        target: "/api/v4/projects/1/packages/pypi".into(),
        content_type: "multipart/form-data; boundary=b",
        body: body.into(),
    }
}

fn cargo(package: &str, number: u64) -> Publication {
    let version = format!("1.{number}.0");
    let manifest = format!("[package]\nname = \"{package}\"\nversion = \"{version}\"\nedition = \"2021\"\n");
    let artifact = tar_gz(&[
        (format!("{package}-{version}/Cargo.toml"), manifest),
        (format!("{package}-{version}/src/lib.rs"), String::new()),
    ]);
    let metadata = json!({
        "name": package, "vers": version, "deps": [], "features": {}, "authors": [],
        "description": "measured", "license": "MIT", "keywords": [], "categories": [], "badges": {},
    });
    let mut body = Vec::new();
    for part in [metadata.to_string().as_bytes(), &artifact] {
        body.extend_from_slice(&(part.len() as u32).to_le_bytes());
        body.extend_from_slice(part);
    }
    Publication {
        method: Method::PUT,
        target: "/api/v4/projects/1/packages/cargo/api/v1/crates/new".into(),
        content_type: "application/octet-stream",
        body: body.into(),
    }
}

fn composer(package: &str, number: u64) -> Publication {
    let manifest = json!({
        "name": format!("acme/{package}"), "version": format!("1.{number}.0"), "description": "measured",
        "require": { "acme/left": "^1.0" },
    });
    Publication {
        method: Method::PUT,
        target: "/api/v4/projects/1/packages/composer".into(),
        content_type: "application/zip",
        body: zip(&[("composer.json".into(), manifest.to_string())]).into(),
    }
}

fn go(package: &str, number: u64) -> Publication {
    let module = format!("acme.test/{package}");
    let folder = format!("{module}@v1.{number}.0");
    let files = [
        (
            format!("{folder}/go.mod"),
            format!("module {module}\n\ngo 1.21\n"),
        ),
        (format!("{folder}/lib.go"), "package lib\n".to_owned()),
    ];
    Publication {
        method: Method::PUT,
        target: "/api/v4/projects/1/packages/go/upload".into(),
        content_type: "application/zip",
        body: zip(&files).into(),
    }
}

fn helm(package: &str, number: u64) -> Publication {
    let metadata = format!("apiVersion: v2\nname: {package}\nversion: 1.{number}.0\ndescription: measured\n");
    let chart = tar_gz(&[
        (format!("{package}/Chart.yaml"), metadata),
        (format!("{package}/values.yaml"), String::new()),
    ]);
    Publication {
        method: Method::POST,
        target: format!("/api/v4/projects/1/packages/helm/api/{package}/charts"),
        content_type: "application/gzip",
        body: chart.into(),
    }
}

fn rubygems(package: &str, number: u64) -> Publication {
    let specification = format!(
        "--- !ruby/object:Gem::Specification\nname: {package}\nversion: !ruby/object:Gem::Version\n  \
         version: 1.{number}.0\nplatform: ruby\nauthors: []\nsummary: measured\ndependencies: []\n\
         rubygems_version: 3.3.15\n"
    );
    let (metadata, data) = (
        gz(specification.as_bytes()),
        tar_gz(&[("lib/a.rb".into(), String::new())]),
    );
    let gem = tar([
        ("metadata.gz", metadata.as_slice()),
        ("data.tar.gz", data.as_slice()),
    ]);
    Publication {
        method: Method::POST,
        target: "/api/v4/projects/1/packages/rubygems/api/v1/gems".into(),
        content_type: "application/octet-stream",
        body: gem.into(),
    }
}

fn nuget(package: &str, number: u64) -> Publication {
    let nuspec = format!(
        "<package><metadata><id>{package}</id><version>1.{number}.0</version><authors>measured</authors>\
         <description>measured</description></metadata></package>"
    );
    Publication {
        method: Method::PUT,
        target: "/api/v4/projects/1/packages/nuget/v2/package".into(),
        content_type: "application/octet-stream",
        body: zip(&[(format!("{package}.nuspec"), nuspec)]).into(),
    }
}

/// A recipe is there when its manifest is.
fn conan(package: &str, number: u64) -> Vec<Publication> {
    let md5 = |text: &str| HEXLOWER.encode(&Md5::digest(text.as_bytes()));
    let recipe = format!("name = \"{package}\"\nversion = \"1.{number}.0\"\n");
    let manifest = format!("1700000000\nconanfile.py: {}\n", md5(&recipe));
    let files = format!(
        "/api/v4/projects/1/packages/conan/v2/conans/{package}/1.{number}.0/_/_/revisions/{}/files",
        md5(&manifest)
    );
    let file = |name, text: String| Publication {
        method: Method::PUT,
        target: format!("{files}/{name}"),
        content_type: "application/octet-stream",
        body: text.into(),
    };
    vec![file("conanfile.py", recipe), file("conanmanifest.txt", manifest)]
}
