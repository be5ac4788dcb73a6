//! The story of the real clients, curl and wget: publish, fetch, resume, verify, delete.

use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};
use crate::testing::readme::blocks;

/// A client with the credentials of a project in `.netrc`.
struct Desk {
    client: Client,
    cluster: &'static TestCluster,
    /// A package that no other run has.
    package: String,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Desk {
    async fn new(program: &str) -> Self {
        let desk = Self {
            client: Client::of_system(program),
            cluster: cluster().await,
            package: unique("tool"),
        };
        desk.sign_in(&desk.cluster.token);
        desk
    }

    fn sign_in(&self, token: &str) {
        self.write(
            ".netrc",
            format!("machine 127.0.0.1 login deploy password {token}\n"),
        );
    }

    /// The URL of something in this package, through one of the nodes.
    fn url(&self, node: usize, path: &str) -> String {
        let base = self.cluster.url(node % 3);
        format!(
            "{base}/api/v4/projects/1/packages/generic/{}/{path}",
            self.package
        )
    }

    /// Runs the client in its home; it must succeed.
    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(self.home(), arguments).await
    }

    /// Runs curl with the credentials of `.netrc`; gives what it printed.
    async fn curl(&self, arguments: &[&str]) -> String {
        let common = ["-sS", "-n", "--fail-with-body"];
        self.go(&[&common, arguments].concat()).await.stdout
    }

    /// Runs curl as scripts do; it must end as it does on an error, with this status of HTTP and
    /// this in the body.
    async fn refused(&self, arguments: &[&str], status: u16, part: &str) {
        let common = ["-sS", "--fail-with-body"];
        let arguments = [&common, arguments].concat();
        let status = format!("error: {status}");
        self.fails(self.home(), &arguments, 22, &[&status, part]).await;
    }
}

fn noise(length: usize) -> Vec<u8> {
    crate::testing::client::noise("generic", length)
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_publishes_through_one_node_and_fetches_from_the_others() {
    let desk = Desk::new("curl").await;
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
    desk.folder("named");
    desk.curl(&["-OJ", "--output-dir", "named", &desk.url(1, "1.0.0/tool.tgz")])
        .await;
    assert!(desk.read("named/tool.tgz") == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_publishes_in_every_way_that_people_use() {
    let desk = Desk::new("curl").await;
    desk.write("a", b"one file");
    desk.write("b", b"another");
    desk.curl(&["-T", "{a,b}", &desk.url(0, "1/")]).await;
    assert_eq!(desk.curl(&[&desk.url(1, "1/b")]).await, "another");

    // Of unknown length.
    let script = format!(
        "printf 'piped' | curl -sS -n -f -T - '{}'",
        desk.url(0, "1/piped")
    );
    let shell = Client::of_system("sh").with("HOME", desk.home());
    shell.ok(desk.home(), &["-c", &script]).await;
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
    desk.refused(
        &["-n", "-H", &wrong, "-T", "a", &desk.url(0, "1/wrong")],
        400,
        "the sha256 of the file",
    )
    .await;
    desk.refused(&["-n", &desk.url(1, "1/wrong")], 404, "404 File Not Found")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_proves_who_it_is_in_every_way() {
    let desk = Desk::new("curl").await;
    desk.write("f", b"x");
    let token = desk.cluster.token.as_str();
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
        let common = ["-sS", "--fail-with-body"];
        desk.go(&[&common[..], &arguments].concat())
            .await
            .says("201 Created");
    }
    for arguments in [
        &["-T", "f", &url("nobody")][..],
        &["-u", "x:wrong", "-T", "f", &url("wrong")],
        &["-u", "x:wrong", &url("basic")],
        &[&url("basic")],
    ] {
        desk.refused(arguments, 401, "401 Unauthorized").await;
    }
    let reading = desk.cluster.deploy_token(&["read_package_registry"]).await;
    let header = format!("DEPLOY-TOKEN: {reading}");
    assert_eq!(
        desk.go(&["-sS", "-f", "-H", &header, &url("basic")]).await.stdout,
        "x"
    );
    desk.refused(&["-H", &header, "-T", "f", &url("reading")], 403, "403 Forbidden")
        .await;
    desk.refused(
        &["-H", &header, "-X", "DELETE", &url("basic")],
        403,
        "403 Forbidden",
    )
    .await;
    // A deploy token goes with its username.
    let pair = format!("somebody:{reading}");
    desk.refused(&["-u", &pair, &url("basic")], 401, "401 Unauthorized")
        .await;
    let both = format!("PRIVATE-TOKEN: {token}");
    desk.refused(
        &["-H", &header, "-H", &both, &url("basic")],
        401,
        "401 Unauthorized",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_never_overwrites_or_truncates() {
    let desk = Desk::new("curl").await;
    desk.write("f", noise(5000));
    desk.write("other", b"other");
    let url = desk.url(0, "1/f");
    desk.curl(&["-T", "f", &url]).await;
    // The same again is the same publish.
    desk.curl(&["-T", "f", &desk.url(1, "1/f")]).await;
    desk.refused(
        &["-n", "-T", "other", &desk.url(1, "1/f")],
        400,
        "Duplicate package is not allowed",
    )
    .await;
    desk.refused(
        &["-n", "-H", "If-None-Match: *", "-T", "f", &desk.url(2, "1/f")],
        412,
        "412 Precondition Failed",
    )
    .await;
    // Resuming an upload sends only its tail.
    desk.refused(
        &["-n", "-C", "1000", "-T", "f", &desk.url(0, "1/tail")],
        400,
        "Content-Range",
    )
    .await;
    desk.refused(&["-n", &desk.url(0, "1/tail")], 404, "404 File Not Found")
        .await;
    desk.curl(&["-C", "0", "-T", "f", &desk.url(0, "1/whole")]).await;
    desk.curl(&["-o", "back", &desk.url(1, "1/f")]).await;
    assert!(desk.read("back") == noise(5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_and_revalidates_on_any_node() {
    let desk = Desk::new("curl").await;
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
    assert!(!desk.home().join("unused").exists() || desk.read("unused").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_listings_and_deletion_by_curl() {
    let desk = Desk::new("curl").await;
    desk.write("f.tgz", b"x");
    for version in ["1.0.0", "1.1.0"] {
        desk.curl(&["-T", "f.tgz", &desk.url(0, &format!("{version}/"))])
            .await;
    }
    desk.curl(&["-o", "sum", &desk.url(1, "1.1.0/f.tgz.sha256")])
        .await;
    let sha256sum = Client::of_system("sha256sum");
    sha256sum.ok(desk.home(), &["-c", "sum"]).await.says("f.tgz: OK");
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
        desk.refused(&["-n", &desk.url(node, "1.0.0/f.tgz")], 404, "404")
            .await;
    }
    desk.curl(&["-X", "DELETE", desk.url(2, "").trim_end_matches('/')])
        .await;
    for node in 0..3 {
        desk.refused(&["-n", &desk.url(node, "1.1.0/f.tgz")], 404, "404")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wget_fetches_resumes_and_mirrors() {
    let (desk, wget) = (Desk::new("curl").await, Client::of_system("wget"));
    let wget = wget.with("HOME", desk.home());
    let content = noise(200_000);
    desk.write("f.bin", &content);
    for path in ["1/f.bin", "1/sub/g.bin"] {
        desk.curl(&["-T", "f.bin", &desk.url(0, path)]).await;
    }
    desk.folder("w");
    let fetch = async |arguments: &[&str]| {
        wget.ok(desk.home(), &[&["-nv"], arguments].concat()).await;
    };
    // It sends its credentials only when it is asked for them.
    fetch(&["-P", "w", &desk.url(1, "1/f.bin")]).await;
    assert!(desk.read("w/f.bin") == content);
    desk.write("w/f.bin", &content[..50_000]);
    fetch(&["-c", "-P", "w", &desk.url(2, "1/f.bin")]).await;
    assert!(desk.read("w/f.bin") == content);
    fetch(&["-N", "-P", "w", &desk.url(0, "1/f.bin")]).await;
    fetch(&["--content-disposition", "-P", "d", &desk.url(0, "1/f.bin")]).await;
    assert!(desk.read("d/f.bin") == content);
    let put = [
        "--method=PUT",
        "--body-file=f.bin",
        "--auth-no-challenge",
        "-O",
        "answer",
    ];
    fetch(&[&put[..], &[&desk.url(0, "1/put")]].concat()).await;
    let mirror = ["-r", "-np", "-nH", "--cut-dirs=7", "-P", "mirror"];
    fetch(&[&mirror[..], &[&desk.url(1, "1/")]].concat()).await;
    assert!(desk.read("mirror/1/sub/g.bin") == content);
    assert!(desk.read("mirror/1/put") == content);
    // It ends with 8 where a server says an error, and with 6 where it may not come in.
    let missing = ["-nv", &desk.url(2, "1/missing")];
    wget.fails(desk.home(), &missing, 8, &["404"]).await;
    desk.sign_in("wrong");
    let there = ["-nv", "-O", "no", &desk.url(2, "1/f.bin")];
    wget.fails(desk.home(), &there, 6, &["Authentication Failed"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aria2_fetches_by_ranges_in_parallel_from_all_nodes() {
    let (desk, aria2) = (Desk::new("curl").await, Client::of_system("aria2c"));
    let aria2 = aria2.with("HOME", desk.home());
    let content = noise(16 << 20);
    desk.write("f.bin", &content);
    desk.curl(&["-T", "f.bin", &desk.url(0, "1/f.bin")]).await;
    let checksum = format!("--checksum=sha-256={}", sha256(&content));
    let urls = [0, 1, 2].map(|node| desk.url(node, "1/f.bin"));
    let credentials = format!("--header=PRIVATE-TOKEN: {}", desk.cluster.token);
    let how = [
        "-x8",
        "-s8",
        "-k1M",
        "-o",
        "back",
        "--no-conf",
        &credentials,
        &checksum,
    ];
    let urls = urls.each_ref().map(String::as_str);
    aria2.ok(desk.home(), &[&how[..], &urls].concat()).await;
    assert!(desk.read("back") == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_and_writes_any_path() {
    let desk = Desk::new("curl").await;
    let raw = |node: usize, path: &str| {
        let base = desk.cluster.url(node);
        let package = &desk.package;
        format!("{base}/api/v4/projects/1/packages/generic/-/raw/{package}/{path}")
    };
    desk.write("a b;c.txt", b"any name");
    desk.curl(&["-T", "a b;c.txt", &raw(0, "dir/")]).await;
    let url = raw(1, "dir/a%20b;c.txt");
    assert_eq!(desk.curl(&[&url]).await, "any name");
    desk.write("other", b"other");
    let other = ["-n", "-T", "other", &raw(2, "dir/a%20b;c.txt")];
    desk.refused(&other, 409, "another file is there already").await;
    let wget = Client::of_system("wget").with("HOME", desk.home());
    let mirror = [
        "-nv",
        "-r",
        "-np",
        "-nH",
        "--cut-dirs=10",
        "-P",
        "mirror",
        &raw(2, "dir/"),
    ];
    wget.ok(desk.home(), &mirror).await;
    assert_eq!(desk.read("mirror/a b;c.txt"), b"any name");
    desk.curl(&["-X", "DELETE", &raw(1, "dir/")]).await;
    for node in 0..3 {
        desk.refused(&["-n", &raw(node, "dir/a%20b;c.txt")], 404, "404 File Not Found")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_a_file_in_pieces_to_all_nodes() {
    let desk = Desk::new("curl").await;
    let content = noise(5 << 20);
    let pieces = [
        &content[..2_000_000],
        &content[2_000_000..4_500_000],
        &content[4_500_000..],
    ];
    let encode = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let metadata = format!(
        "Upload-Metadata: package {},version {},filename {},sha256 {}",
        encode(&desk.package),
        encode("1"),
        encode("f.bin"),
        encode(&sha256(&content))
    );
    let length = format!("Upload-Length: {}", content.len());
    let spoken = [
        "-H",
        "Tus-Resumable: 1.0.0",
        "-H",
        &format!("PRIVATE-TOKEN: {}", desk.cluster.token),
    ];
    let common = [&["-sS", "--fail-with-body", "-o", "answer"][..], &spoken].concat();
    let begin = [
        "-X",
        "POST",
        "-w",
        "%header{location}",
        "-H",
        &length,
        "-H",
        &metadata,
    ];
    let uploads = format!(
        "{}/api/v4/projects/1/packages/generic/-/uploads",
        desk.cluster.url(0)
    );
    let location = desk.go(&[&common[..], &begin, &[&uploads]].concat()).await.stdout;
    let path = location.splitn(4, '/').nth(3).unwrap();
    let at = |node: usize| format!("{}/{path}", desk.cluster.url(node % 3));
    let mut offset = 0;
    for (turn, piece) in pieces.iter().enumerate() {
        let head = ["-I", "-w", "%header{upload-offset}", &at(turn)];
        let stands = desk.go(&[&common[..], &head].concat()).await.stdout;
        assert_eq!(stands, offset.to_string());
        desk.write("piece", piece);
        let from = format!("Upload-Offset: {offset}");
        let kind = "Content-Type: application/offset+octet-stream";
        let send = ["-X", "PATCH", "-H", kind, "-H", &from, "--data-binary", "@piece"];
        desk.go(&[&common[..], &send, &[&at(turn + 1)]].concat()).await;
        offset += piece.len();
    }
    for node in 0..3 {
        desk.curl(&["-o", "back", &desk.url(node, "1/f.bin")]).await;
        assert!(desk.read("back") == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_parts_at_a_time_to_all_nodes() {
    let desk = Desk::new("curl").await;
    let content = noise(5 << 20);
    let parts = [
        &content[..2_000_000],
        &content[2_000_000..4_500_000],
        &content[4_500_000..],
    ];
    let file = |node: usize, query: &str| desk.url(node, &format!("1/f.bin?{query}"));
    let begun = desk.curl(&["-X", "POST", &file(0, "uploads")]).await;
    let begun: Value = serde_json::from_str(&begun).unwrap();
    let id = begun["upload_id"].as_str().unwrap();
    // The last part first, and all by one run of the client.
    let mut arguments = vec!["--parallel".to_owned()];
    for (turn, part) in parts.iter().enumerate().rev() {
        let name = format!("part-{turn}");
        desk.write(&name, part);
        let sum = format!("X-Checksum-Sha256: {}", sha256(part));
        let url = file(turn, &format!("upload_id={id}&part={}", turn + 1));
        let answer = format!("answer-{turn}");
        let upload = ["-n", "-f", "-H", &sum, "-T", &name, "-o", &answer, &url];
        if arguments.len() > 1 {
            arguments.push("--next".into());
        }
        arguments.extend(upload.map(str::to_owned));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    desk.go(&arguments).await;
    let whole = json!({
        "parts": (1..=3).map(|part| json!({ "part": part })).collect::<Vec<_>>(),
        "sha256": sha256(&content),
    });
    desk.write("whole", whole.to_string());
    let of = format!("upload_id={id}");
    let listed = desk.curl(&[&file(2, &of)]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["parts"][1]["size"], 2_500_000);
    let end = ["-X", "POST", "--data-binary", "@whole", &file(1, &of)];
    let ended = desk.curl(&end).await;
    assert!(ended.contains("201 Created"), "{ended}");
    for node in 0..3 {
        desk.curl(&["-o", "back", &desk.url(node, "1/f.bin")]).await;
        assert!(desk.read("back") == content);
    }
    let gone = ["-n", "-T", "part-0", &file(0, &format!("{of}&part=1"))];
    desk.refused(&gone, 404, "404 Upload Not Found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_link_fetches_by_it_without_credentials() {
    let desk = Desk::new("curl").await;
    let content = noise(300_000);
    desk.write("f.bin", &content);
    desk.curl(&["-T", "f.bin", &desk.url(0, "1/")]).await;
    let wanted = json!({"package": desk.package, "version": "1", "file": "f.bin"}).to_string();
    let links = desk.cluster.url(1) + "/api/v4/projects/1/packages/generic/-/links";
    let made = ["--json", &wanted, &links];
    let made: Value = serde_json::from_str(&desk.curl(&made).await).unwrap();
    let url = made["url"].as_str().unwrap();

    let (curl, wget) = (Client::of_system("curl"), Client::of_system("wget"));
    curl.ok(curl.home(), &["-sSf", "-o", "back", url]).await;
    assert!(curl.read("back") == content);
    curl.write("back", &content[..100_000]);
    curl.ok(curl.home(), &["-sSf", "-C", "-", "-o", "back", url])
        .await;
    assert!(curl.read("back") == content);
    let named = ["-nv", "--content-disposition", url];
    wget.ok(wget.home(), &named).await;
    assert!(wget.read("f.bin") == content);
    let other = url.replace("/f.bin?", "/g.bin?");
    curl.fails(curl.home(), &["-sSf", &other], 22, &["error: 401"])
        .await;
    let bare = url.split('?').next().unwrap();
    curl.fails(curl.home(), &["-sSf", bare], 22, &["error: 401"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_promotes_a_version_and_speaks_to_the_urls_of_gitea() {
    let desk = Desk::new("curl").await;
    desk.write("f.bin", b"tested");
    let gitea = |node: usize, version: &str| {
        let (base, package) = (desk.cluster.url(node), &desk.package);
        format!("{base}/api/packages/acme%2Fdemo/generic/{package}/{version}/f.bin")
    };
    desk.curl(&["-T", "f.bin", &gitea(0, "1.0-rc.1")]).await;
    let order = json!({
        "from": {"package": desk.package, "version": "1.0-rc.1"},
        "to": {"version": "1.0"},
    });
    let order = order.to_string();
    let url = desk.cluster.url(1) + "/api/v4/projects/1/packages/generic/-/copy";
    let answer = desk.curl(&["--json", &order, &url]).await;
    assert!(answer.contains(&sha256(b"tested")), "{answer}");
    desk.curl(&["-X", "DELETE", &gitea(2, "1.0-rc.1")]).await;
    for node in 0..3 {
        assert_eq!(desk.curl(&[&gitea(node, "1.0")]).await, "tested");
        assert_eq!(desk.curl(&[&desk.url(node, "1.0/f.bin")]).await, "tested");
        desk.refused(&["-n", &gitea(node, "1.0-rc.1")], 404, "404 File Not Found")
            .await;
    }
    desk.write("f.bin", b"other");
    desk.refused(&["-n", "-T", "f.bin", &gitea(2, "1.0")], 409, "exists already")
        .await;
}

/// The commands of `docs/generic.md`, as they are written there.
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_works_as_it_is_written() {
    let cluster = cluster().await;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generic.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let manual = manual
        .replace("http://127.0.0.1:7080", &cluster.url(0))
        .replace("hello-tool", &unique("hello"));
    let script = format!("set -eux\n{}", blocks(&manual, "sh").concat());
    assert!(
        script.matches("curl ").count() >= 10,
        "the manual has lost its commands"
    );
    let shell = Client::of_system("bash").with("CAIRN_TOKEN", &cluster.token);
    shell.write("manual.sh", script);
    let ran = shell.ok(&shell.folder("work"), &["../manual.sh"]).await;
    ran.says("large: OK");
}
