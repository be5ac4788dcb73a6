//! The story of the real clients, curl and wget: publish, fetch, resume, verify, delete.

use std::fs;
use std::path::Path;
use std::process::Output;

use cairn_cluster::Seams;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::Command;

use crate::testing::cluster::{TestCluster, cluster};

/// A folder with the client's own configuration and files in it.
struct Desk {
    cluster: TestCluster,
    folder: TempDir,
    /// A package that no other run has.
    package: String,
}

impl Desk {
    async fn new() -> Self {
        let cluster = cluster().await;
        let folder = TempDir::new().unwrap();
        let netrc: String = cluster
            .urls
            .iter()
            .map(|url| {
                let host = url.split("://").nth(1).unwrap().split(':').next().unwrap();
                format!("machine {host} login token password {}\n", cluster.token)
            })
            .collect();
        fs::write(folder.path().join(".netrc"), netrc).unwrap();
        let package = format!("tool-{}", HEXLOWER.encode(&Seams::system().random::<6>()));
        Self {
            cluster,
            folder,
            package,
        }
    }

    /// The URL of something in this package, through one of the nodes.
    fn url(&self, node: usize, path: &str) -> String {
        let urls = &self.cluster.urls;
        let base = &urls[node % urls.len()];
        format!(
            "{base}/api/v4/projects/1/packages/generic/{}/{path}",
            self.package
        )
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .output()
            .await
            .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"))
    }

    /// Runs curl with the credentials of `.netrc`; gives what it printed.
    async fn curl(&self, arguments: &[&str]) -> String {
        let output = self
            .run("curl", &[&["-sS", "-n", "--fail-with-body"], arguments].concat())
            .await;
        assert!(output.status.success(), "curl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs curl and expects this status of HTTP.
    async fn refused(&self, arguments: &[&str], status: &str) {
        let arguments = [&["-sS", "-o", "/dev/null", "-w", "%{http_code}"], arguments].concat();
        let output = self.run("curl", &arguments).await;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            status,
            "curl {arguments:?}: {output:?}"
        );
    }

    async fn wget(&self, arguments: &[&str]) {
        let output = self.run("wget", &[&["-nv"], arguments].concat()).await;
        assert!(output.status.success(), "wget {arguments:?}: {output:?}");
    }
}

/// Bytes that no compression or repetition makes small, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_publishes_through_one_node_and_fetches_from_the_others() {
    let desk = Desk::new().await;
    let content = noise(3 << 20);
    desk.write("tool.tgz", &content);
    // The name is appended to a URL that ends with a slash.
    let answer = desk.curl(&["-T", "tool.tgz", &desk.url(0, "1.0.0/")]).await;
    assert!(answer.contains("201 Created"), "{answer}");
    for node in 0..3 {
        let target = format!("from-{node}.tgz");
        desk.curl(&["-o", &target, &desk.url(node, "1.0.0/tool.tgz")])
            .await;
        assert!(desk.read(&target) == content);
    }
    // The name comes from the answer.
    desk.write("elsewhere.txt", b"");
    let output = desk.run("mkdir", &["named"]).await;
    assert!(output.status.success());
    desk.curl(&["-OJ", "--output-dir", "named", &desk.url(1, "1.0.0/tool.tgz")])
        .await;
    assert!(desk.read("named/tool.tgz") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_publishes_in_every_way_that_people_use() {
    let desk = Desk::new().await;
    desk.write("a", b"one file");
    desk.write("b", b"another");
    desk.curl(&["-T", "{a,b}", &desk.url(0, "1/")]).await;
    assert_eq!(desk.curl(&[&desk.url(1, "1/b")]).await, "another");

    // Of unknown length.
    let script = format!(
        "printf 'piped' | curl -sS -n -f -T - '{}'",
        desk.url(0, "1/piped")
    );
    let piped = desk.run("sh", &["-c", &script]).await;
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(desk.curl(&[&desk.url(1, "1/piped")]).await, "piped");

    // What says that it is a form is taken as it is.
    desk.curl(&["-X", "PUT", "--data-binary", "@a", &desk.url(0, "1/form")])
        .await;
    assert_eq!(desk.curl(&[&desk.url(1, "1/form")]).await, "one file");

    let object = desk
        .curl(&["-T", "a", &desk.url(0, "1/object?select=package_file")])
        .await;
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["file_sha256"], sha256(b"one file"));

    // Names that curl encodes.
    desk.write("x+y~1@z.tgz", b"odd name");
    desk.curl(&["-T", "x+y~1@z.tgz", &desk.url(0, "1/")]).await;
    assert_eq!(desk.curl(&[&desk.url(1, "1/x%2by~1%40z.tgz")]).await, "odd name");

    let claimed = format!("X-Checksum-Sha256: {}", sha256(b"one file"));
    desk.curl(&["-H", &claimed, "-T", "a", &desk.url(0, "1/claimed")])
        .await;
    let wrong = format!("X-Checksum-Sha256: {}", sha256(b"else"));
    desk.refused(&["-n", "-H", &wrong, "-T", "a", &desk.url(0, "1/wrong")], "400")
        .await;
    desk.refused(&["-n", &desk.url(1, "1/wrong")], "404").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_proves_who_it_is_in_every_way() {
    let desk = Desk::new().await;
    desk.write("f", b"x");
    let token = desk.cluster.token.clone();
    let url = |name: &str| desk.url(0, &format!("1/{name}"));
    for (name, credentials) in [
        ("basic", vec!["-u".into(), format!("anybody:{token}")]),
        (
            "anyauth",
            vec!["--anyauth".into(), "-u".into(), format!("anybody:{token}")],
        ),
        (
            "bearer",
            vec!["-H".into(), format!("Authorization: Bearer {token}")],
        ),
        ("private", vec!["-H".into(), format!("PRIVATE-TOKEN: {token}")]),
        ("jfrog", vec!["-H".into(), format!("X-JFrog-Art-Api: {token}")]),
    ] {
        let url = url(name);
        let mut arguments: Vec<&str> = credentials.iter().map(String::as_str).collect();
        arguments.extend(["-T", "f", &url]);
        desk.refused(&arguments, "201").await;
    }
    desk.refused(&["-T", "f", &url("nobody")], "401").await;
    desk.refused(&["-u", "x:wrong", "-T", "f", &url("wrong")], "401")
        .await;
    desk.refused(&["-u", "x:wrong", &url("basic")], "401").await;
    desk.refused(&[&url("basic")], "401").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_never_overwrites_or_truncates() {
    let desk = Desk::new().await;
    desk.write("f", &noise(5000));
    desk.write("other", b"other");
    let url = desk.url(0, "1/f");
    desk.curl(&["-T", "f", &url]).await;
    // The same again is the same publish.
    desk.curl(&["-T", "f", &desk.url(1, "1/f")]).await;
    desk.refused(&["-n", "-T", "other", &desk.url(1, "1/f")], "400")
        .await;
    desk.refused(
        &["-n", "-H", "If-None-Match: *", "-T", "f", &desk.url(2, "1/f")],
        "412",
    )
    .await;
    // Resuming an upload sends only its tail.
    desk.refused(&["-n", "-C", "1000", "-T", "f", &desk.url(0, "1/tail")], "400")
        .await;
    desk.refused(&["-n", &desk.url(0, "1/tail")], "404").await;
    desk.curl(&["-C", "0", "-T", "f", &desk.url(0, "1/whole")]).await;
    desk.curl(&["-o", "back", &desk.url(1, "1/f")]).await;
    assert!(desk.read("back") == noise(5000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_resumes_and_revalidates_on_any_node() {
    let desk = Desk::new().await;
    let content = noise(1 << 20);
    desk.write("f", &content);
    desk.curl(&["-T", "f", &desk.url(0, "1/f")]).await;
    desk.write("part", &content[..300_000]);
    desk.curl(&["-C", "-", "-o", "part", &desk.url(1, "1/f")]).await;
    assert!(desk.read("part") == content);

    let code = ["-o", "back", "-w", "%{http_code}"];
    let conditional = ["--etag-save", "tag", "--etag-compare", "tag"];
    let first = desk
        .curl(&[&code[..], &conditional, &[&desk.url(0, "1/f")]].concat())
        .await;
    assert_eq!(first, "200");
    for node in 0..3 {
        let again = desk
            .curl(&[&code[..], &conditional, &[&desk.url(node, "1/f")]].concat())
            .await;
        assert_eq!(again, "304");
        let by_date = desk
            .curl(&[
                "-R",
                "-z",
                "back",
                "-o",
                "unused",
                "-w",
                "%{http_code}",
                &desk.url(node, "1/f"),
            ])
            .await;
        assert_eq!(by_date, "304");
    }
    assert!(!Path::new(&desk.path("unused")).exists() || desk.read("unused").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_listings_and_deletion_by_curl() {
    let desk = Desk::new().await;
    desk.write("f.tgz", b"x");
    for version in ["1.0.0", "1.1.0"] {
        desk.curl(&["-T", "f.tgz", &desk.url(0, &format!("{version}/"))])
            .await;
    }
    desk.curl(&["-o", "sum", &desk.url(1, "1.1.0/f.tgz.sha256")])
        .await;
    let checked = desk.run("sha256sum", &["-c", "sum"]).await;
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(desk.curl(&["-L", &desk.url(2, "latest/f.tgz")]).await, "x");

    let listed = desk
        .curl(&["-H", "Accept: application/json", &desk.url(1, "")])
        .await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["entries"][1]["name"], "1.1.0");
    let html = desk.curl(&[&desk.url(1, "1.1.0/")]).await;
    assert!(html.contains("<a href=\"f.tgz\">"), "{html}");

    desk.curl(&["-X", "DELETE", &desk.url(0, "1.0.0/f.tgz")]).await;
    for node in 0..3 {
        desk.refused(&["-n", &desk.url(node, "1.0.0/f.tgz")], "404").await;
    }
    desk.curl(&["-X", "DELETE", desk.url(2, "").trim_end_matches('/')])
        .await;
    for node in 0..3 {
        desk.refused(&["-n", &desk.url(node, "1.1.0/f.tgz")], "404").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wget_fetches_resumes_and_mirrors() {
    let desk = Desk::new().await;
    let content = noise(200_000);
    desk.write("f.bin", &content);
    for path in ["1/f.bin", "1/sub/g.bin"] {
        desk.curl(&["-T", "f.bin", &desk.url(0, path)]).await;
    }
    let output = desk.run("mkdir", &["w"]).await;
    assert!(output.status.success());
    // It sends its credentials only when it is asked for them.
    desk.wget(&["-P", "w", &desk.url(1, "1/f.bin")]).await;
    assert!(desk.read("w/f.bin") == content);
    desk.write("w/f.bin", &content[..50_000]);
    desk.wget(&["-c", "-P", "w", &desk.url(2, "1/f.bin")]).await;
    assert!(desk.read("w/f.bin") == content);
    desk.wget(&["-N", "-P", "w", &desk.url(0, "1/f.bin")]).await;
    desk.wget(&["--content-disposition", "-P", "d", &desk.url(0, "1/f.bin")])
        .await;
    assert!(desk.read("d/f.bin") == content);
    desk.wget(&[
        "--method=PUT",
        "--body-file=f.bin",
        "--auth-no-challenge",
        "-O",
        "answer",
        &desk.url(0, "1/put"),
    ])
    .await;
    desk.wget(&[
        "-r",
        "-np",
        "-nH",
        "--cut-dirs=7",
        "-P",
        "mirror",
        &desk.url(1, "1/"),
    ])
    .await;
    assert!(desk.read("mirror/1/sub/g.bin") == content);
    assert!(desk.read("mirror/1/put") == content);
}
