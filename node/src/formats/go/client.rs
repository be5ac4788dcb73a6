//! The real client's stories: publish, get, upgrade, retract, install; and what the go command makes of
//! errors.
//!
//! The newest go command and an older one. They send credentials over HTTPS alone, so the nodes are
//! reached through a front that speaks it; no module has dependencies outside of the cluster.

mod golden;

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::artifact::tests::{module_with, zip};
use crate::testing::client::{Client, clients};
use crate::testing::cluster::{TestCluster, cluster, unique};
use crate::testing::readme::blocks;

/// The newest go command that is tested.
const NEWEST: &str = "1.27";

/// The oldest one.
const OLDEST: &str = "1.21";

/// What curl ends with when the server refuses.
const REFUSED: i32 = 22;

/// Packs a folder as programs that use Go's own libraries do.
const PACK: &str = r#"package main

import (
	"archive/zip"
	"io/fs"
	"os"
	"path/filepath"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	folder, prefix, target := os.Args[1], os.Args[2], os.Args[3]
	file, err := os.Create(target)
	check(err)
	archive := zip.NewWriter(file)
	check(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		check(err)
		content, err := os.ReadFile(path)
		check(err)
		writer, err := archive.Create(prefix + "/" + filepath.ToSlash(name))
		check(err)
		_, err = writer.Write(content)
		return err
	}))
	check(archive.Close())
	check(file.Close())
}
"#;

/// Somebody with a go command and a home of their own.
struct Desk {
    client: Client,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Desk {
    /// With the go command of a version, which trusts no node.
    fn alone(version: &str) -> Self {
        let client = Client::kept(&format!("golang/{version}/go/bin/go"));
        // Nothing is told to anybody about how it is used.
        client.write(".config/go/telemetry/mode", "off");
        let client = client
            .with("GOTOOLCHAIN", "local")
            .with("GOFLAGS", "-mod=mod -modcacherw")
            .with("GONOSUMDB", "git.acme.io")
            .with("CGO_ENABLED", "0")
            .with("GOCACHE", clients().join("golang/cache"));
        Self { client }
    }

    fn new(cluster: &TestCluster, version: &str) -> Self {
        let Self { client } = Self::alone(version);
        client.write("authority.pem", &cluster.secure.authority);
        let authority = client.home().join("authority.pem");
        Self {
            client: client.with("SSL_CERT_FILE", authority),
        }
    }

    /// The same with these module proxies, asked one after the other.
    fn asking(self, proxies: &[&str]) -> Self {
        Self {
            client: self.client.with("GOPROXY", proxies.join(",")),
        }
    }

    /// The same with a token for the node of this number, as its user has it in `.netrc`.
    fn with_token(self, cluster: &TestCluster, node: usize, token: &str) -> Self {
        let line = format!(
            "machine {} login deploy password {token}\n",
            cluster.secure.nodes[node]
        );
        self.client.write(".netrc", line);
        self
    }

    /// Somebody who reads the packages of project 1 through one node.
    fn at(cluster: &TestCluster, version: &str, node: usize, token: &str) -> Self {
        let proxy = proxy(cluster, node, "projects/1");
        let desk = Self::new(cluster, version).asking(&[&proxy, "off"]);
        desk.with_token(cluster, node, token)
    }

    /// A program that prints what a library says of itself.
    fn user_of(&self, module: &str) -> PathBuf {
        let folder = self.folder("app");
        self.write("app/go.mod", "module example.com/app\n\ngo 1.21\n");
        let main =
            format!("package main\n\nimport lib \"{module}\"\n\nfunc main() {{ println(lib.Name) }}\n");
        self.write("app/main.go", main);
        folder
    }

    async fn versions(&self, folder: &Path, module: &str) -> Vec<String> {
        let ran = self.ok(folder, &["list", "-m", "-versions", module]).await;
        let words = ran.stdout.split_whitespace().map(str::to_owned);
        words.skip(1).collect()
    }

    /// What is downloaded of a version, as the go command says it.
    async fn download(&self, folder: &Path, version: &str) -> Value {
        self.ok(folder, &["mod", "download", "-json", version])
            .await
            .json()
    }
}

/// The URL of the modules of a project, a group or the instance, through one node.
fn proxy(cluster: &TestCluster, node: usize, of: &str) -> String {
    format!("https://{}{}", cluster.secure.nodes[node], path(of))
}

fn path(of: &str) -> String {
    match of.split('/').next() {
        Some("groups") => format!("/api/v4/{of}/-/packages/go"),
        Some("instance") => "/api/v4/packages/go".to_owned(),
        _ => format!("/api/v4/{of}/packages/go"),
    }
}

/// A library that says its name and version, with more lines in its `go.mod`.
fn library(path: &str, version: &str, more: &str) -> Vec<u8> {
    let code = format!("package lib\n\nconst Name = \"{path} {version}\"\n");
    let go_mod = format!("module {path}\n\ngo 1.21\n{more}");
    zip(path, version, &[("go.mod", &go_mod), ("lib.go", &code)])
}

/// Somebody who publishes with curl.
struct Author {
    curl: Client,
    token: String,
}

impl Author {
    fn new(token: &str) -> Self {
        Self {
            curl: Client::of_system("curl"),
            token: token.to_owned(),
        }
    }

    fn arguments(&self, base: &str, artifact: &[u8]) -> Vec<String> {
        self.curl.write("module.zip", artifact);
        let arguments = [
            "-sS",
            "--fail-with-body",
            "-T",
            "module.zip",
            "-u",
            &format!("deploy:{}", self.token),
            &format!("{base}/upload"),
        ];
        arguments.map(str::to_owned).into()
    }

    /// Publishes to a project through one node.
    async fn publish_to(&self, cluster: &TestCluster, node: usize, project: u64, artifact: &[u8]) -> Value {
        let base = format!("{}{}", cluster.url(node), path(&format!("projects/{project}")));
        let arguments = self.arguments(&base, artifact);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.curl.ok(self.curl.home(), &arguments).await.json()
    }

    async fn publish(&self, cluster: &TestCluster, node: usize, artifact: &[u8]) -> Value {
        self.publish_to(cluster, node, 1, artifact).await
    }

    async fn may_not_publish(&self, cluster: &TestCluster, artifact: &[u8], status: u16, because: &str) {
        let base = format!("{}{}", cluster.url(0), path("projects/1"));
        let arguments = self.arguments(&base, artifact);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let status = format!("error: {status}");
        let parts = [status.as_str(), because];
        self.curl
            .fails(self.curl.home(), &arguments, REFUSED, &parts)
            .await;
    }
}

/// Makes sure that `go.sum` has the sums that were told when a version was published.
fn has_sums(go_sum: &[u8], published: &Value) {
    let go_sum = String::from_utf8_lossy(go_sum);
    let said = |key: &str| {
        published[key]
            .as_str()
            .unwrap_or_else(|| panic!("{published}"))
            .to_owned()
    };
    let (path, version) = (said("Path"), said("Version"));
    for line in [
        format!("{path} {version} {}", said("Sum")),
        format!("{path} {version}/go.mod {}", said("GoModSum")),
    ] {
        assert!(
            go_sum.lines().any(|found| found == line),
            "no {line} in\n{go_sum}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_published_used_upgraded_and_retracted() {
    let cluster = cluster().await;
    let write = cluster
        .deploy_token(&["read_package_registry", "write_package_registry"])
        .await;
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    let author = Author::new(&write);
    let lib = format!("git.acme.io/Team/{}", unique("Lib"));
    let first = author.publish(cluster, 0, &library(&lib, "v1.0.0", "")).await;

    let user = Desk::at(cluster, NEWEST, 1, &read);
    let app = user.user_of(&lib);
    let latest = format!("{lib}@latest");
    user.ok(&app, &["get", &latest])
        .await
        .says(&format!("added {lib} v1.0.0"));
    user.ok(&app, &["run", "."]).await.says(&format!("{lib} v1.0.0"));
    has_sums(&user.read("app/go.sum"), &first);
    user.ok(&app, &["mod", "verify"])
        .await
        .says("all modules verified");
    user.ok(&app, &["mod", "tidy"]).await;

    // An upgrade, published through another node, is seen at once.
    let second = author.publish(cluster, 2, &library(&lib, "v1.1.0", "")).await;
    assert_eq!(user.versions(&app, &lib).await, ["v1.0.0", "v1.1.0"]);
    user.ok(&app, &["list", "-m", "-u", "all"]).await.says("[v1.1.0]");
    let upgraded = format!("upgraded {lib} v1.0.0 => v1.1.0");
    user.ok(&app, &["get", "-u", "./..."]).await.says(&upgraded);
    user.ok(&app, &["run", "."]).await.says(&format!("{lib} v1.1.0"));
    has_sums(&user.read("app/go.sum"), &second);

    // Somebody else gets the same bytes from a third node, and publishes them again.
    let newcomer = Desk::at(cluster, NEWEST, 2, &read);
    let elsewhere = newcomer.folder("elsewhere");
    let downloaded = newcomer.download(&elsewhere, &format!("{lib}@v1.1.0")).await;
    assert_eq!(
        (&downloaded["Sum"], &downloaded["GoModSum"]),
        (&second["Sum"], &second["GoModSum"])
    );
    let archive = newcomer.read(downloaded["Zip"].as_str().unwrap());
    assert!(archive == library(&lib, "v1.1.0", ""));
    assert_eq!(author.publish(cluster, 1, &archive).await, second);

    // A release of no use is taken back by a newer one, and a commit is used by its hash.
    let retracting = library(&lib, "v1.2.0", "\nretract v1.1.0 // It was broken.\n");
    author.publish(cluster, 0, &retracting).await;
    assert_eq!(newcomer.versions(&elsewhere, &lib).await, ["v1.0.0", "v1.2.0"]);
    let retracted = ["list", "-m", "-u", "-retracted", &lib];
    user.ok(&app, &retracted).await.says("(retracted) [v1.2.0]");
    user.ok(&app, &["get", &format!("{lib}@v1.1.0")])
        .await
        .says("It was broken.");
    let commit = "v1.2.1-0.20260102030405-abcdefabcdef";
    author.publish(cluster, 1, &library(&lib, commit, "")).await;
    user.ok(&app, &["get", &format!("{lib}@abcdefabcdef")])
        .await
        .says(&format!("=> {commit}"));
    user.ok(&app, &["run", "."])
        .await
        .says(&format!("{lib} {commit}"));
    let listed = user.versions(&app, &lib).await;
    assert_eq!(listed, ["v1.0.0", "v1.2.0"], "a commit is no release");

    // What is deleted is gone, together with what it retracted.
    let list = format!("/api/v4/projects/1/packages?package_version=v1.2.0&package_name={lib}");
    let found = cluster.ask(Method::GET, &list, &cluster.root, None).await;
    cluster
        .delete(&format!("/api/v4/projects/1/packages/{}", found[0]["id"]))
        .await;
    let late = Desk::at(cluster, NEWEST, 0, &read);
    let folder = late.folder("late");
    assert_eq!(late.versions(&folder, &lib).await, ["v1.0.0", "v1.1.0"]);
    late.ok(&folder, &["list", "-m", &latest]).await.says("v1.1.0");
    let gone = format!("{lib}@v1.2.0");
    late.fails(&folder, &["mod", "download", &gone], 1, &["v1.2.0"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_higher_major_versions_come_from_a_group() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let tool = format!("git.acme.io/{}", unique("tool"));
    let path = format!("{tool}/v2");

    // Packed with the libraries that the go command itself has.
    let packer = Desk::new(cluster, NEWEST);
    let sources = packer.folder("sources");
    packer.write("sources/go.mod", format!("module {path}\n\ngo 1.21\n"));
    packer.write("sources/lib.go", "package lib\n\nconst Name = \"the second\"\n");
    let main = format!("package main\n\nimport lib \"{path}\"\n\nfunc main() {{ println(lib.Name) }}\n");
    packer.write("sources/cmd/tool/main.go", main);
    packer.write("sources/testdata/r\u{e9}sum\u{e9}.txt", "text");
    packer.write("pack/main.go", PACK);
    let target = packer.home().join("tool.zip");
    let (folder, target) = (sources.to_str().unwrap(), target.to_str().unwrap());
    let prefix = format!("{path}@v2.3.0");
    let pack = ["run", "main.go", folder, &prefix, target];
    packer.ok(&packer.folder("pack"), &pack).await;
    let published = author.publish(cluster, 0, &packer.read("tool.zip")).await;
    assert_eq!(published["Path"], path);

    let member = Desk::new(cluster, NEWEST).with_token(cluster, 2, &cluster.root);
    let member = member.asking(&[&proxy(cluster, 2, "groups/acme"), "off"]);
    let bin = member.folder("bin");
    let member = Desk {
        client: member.client.with("GOBIN", &bin),
    };
    let latest = format!("{path}/cmd/tool@latest");
    member.ok(member.home(), &["install", &latest]).await;
    let installed = Client::of(bin.join("tool"));
    installed.ok(member.home(), &[]).await.says("the second");
    let downloaded = member
        .download(&member.folder("x"), &format!("{path}@v2.3.0"))
        .await;
    assert_eq!(downloaded["Sum"], published["Sum"]);

    // The instance shows the same, and folders in an archive count for its sum.
    let with_folders = zip(
        &tool,
        "v1.0.0",
        &[
            ("", ""),
            ("sub/", ""),
            ("sub/x.go", "package sub\n"),
            ("x.go", "package x\n"),
        ],
    );
    let published = author.publish(cluster, 1, &with_folders).await;
    let everybody = Desk::new(cluster, NEWEST).with_token(cluster, 1, &cluster.root);
    let everybody = everybody.asking(&[&proxy(cluster, 1, "instance"), "off"]);
    let downloaded = everybody
        .download(&everybody.folder("x"), &format!("{tool}@v1.0.0"))
        .await;
    assert_eq!(downloaded["Sum"], published["Sum"]);
    assert_eq!(downloaded["GoModSum"], published["GoModSum"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_go_command_and_credentials_in_the_url_work() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let lib = format!("git.acme.io/Team/{}", unique("old"));
    let published = author
        .publish(cluster, 0, &library(&lib, "v1.0.0-RC.1", ""))
        .await;
    for version in [OLDEST, NEWEST] {
        let secret = format!("https://deploy:{}@", cluster.token);
        let proxy = proxy(cluster, 1, "projects/1").replace("https://", &secret);
        let user = Desk::new(cluster, version).asking(&[&proxy, "off"]);
        let app = user.user_of(&lib);
        user.ok(&app, &["version"]).await.says(&format!("go{version}"));
        user.ok(&app, &["get", &lib]).await.says("v1.0.0-RC.1");
        user.ok(&app, &["run", "."])
            .await
            .says(&format!("{lib} v1.0.0-RC.1"));
        has_sums(&user.read("app/go.sum"), &published);
        assert_eq!(user.versions(&app, &lib).await, ["v1.0.0-RC.1"]);
        let old = format!("git.acme.io/{}", unique("bare"));
        let bare = zip(&old, "v2.0.0+incompatible", &[("lib.go", "package lib\n")]);
        let published = author.publish(cluster, 2, &bare).await;
        let downloaded = user.download(&app, &format!("{old}@v2.0.0+incompatible")).await;
        assert_eq!(downloaded["Sum"], published["Sum"]);
        assert_eq!(downloaded["GoModSum"], published["GoModSum"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_command_says_what_was_wrong() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let lib = format!("git.acme.io/{}", unique("lib"));
    author.publish(cluster, 0, &library(&lib, "v1.0.0", "")).await;
    let here = proxy(cluster, 0, "projects/1");
    let get = ["get", &lib];
    let failed = async |desk: &Desk, parts: &[&str]| {
        let app = desk.user_of(&lib);
        desk.fails(&app, &get, 1, parts).await;
    };

    let nobody = Desk::new(cluster, NEWEST).asking(&[&here, "off"]);
    failed(&nobody, &["401 Unauthorized"]).await;
    let stranger = Desk::at(cluster, NEWEST, 0, "cnp-wrong");
    failed(&stranger, &["401 Unauthorized"]).await;
    // A token that may only publish.
    let writing = cluster.deploy_token(&["write_package_registry"]).await;
    let writer = Desk::at(cluster, NEWEST, 0, &writing);
    failed(&writer, &["403 Forbidden"]).await;
    // Over plain HTTP it does not even try.
    let plain = format!(
        "http://deploy:{}@{}{}",
        cluster.token,
        cluster.nodes[0],
        path("projects/1")
    );
    let careless = Desk::new(cluster, NEWEST).asking(&[&plain, "off"]);
    failed(&careless, &["refusing to pass credentials to insecure URL"]).await;

    // What is not here is looked for at the next place, and what the last one says is told.
    let new = json!({"name": unique("further"), "namespace_id": 1});
    let project = cluster
        .ask(Method::POST, "/api/v4/projects", &cluster.root, Some(new))
        .await;
    let further = project["id"].as_u64().unwrap_or_else(|| panic!("{project}"));
    let other = format!("git.acme.io/{}", unique("other"));
    Author::new(&cluster.root)
        .publish_to(cluster, 1, further, &library(&other, "v1.0.0", ""))
        .await;
    let there = proxy(cluster, 0, &format!("projects/{further}"));
    let user = Desk::new(cluster, NEWEST).with_token(cluster, 0, &cluster.root);
    let user = user.asking(&[&here, &there, "off"]);
    let app = user.user_of(&other);
    user.ok(&app, &["get", &other])
        .await
        .says(&format!("added {other} v1.0.0"));
    user.ok(&app, &["get", &lib])
        .await
        .says(&format!("added {lib} v1.0.0"));
    let unknown = format!("git.acme.io/{}", unique("unknown"));
    let off = "module lookup disabled by GOPROXY=off";
    user.fails(&app, &["get", &unknown], 1, &[off]).await;
    let user = user.asking(&[&here]);
    let server = format!("not found: module {unknown}");
    user.fails(&app, &["get", &unknown], 1, &["404 Not Found", &server])
        .await;
    let wrong = format!("{lib}@v1.5.0");
    let server = format!("not found: {wrong}");
    user.fails(&app, &["get", &wrong], 1, &["404 Not Found", &server])
        .await;
    // Without GONOSUMDB it asks the checksum database itself, because we do not stand in for that.
    let nowhere = format!("{} https://localhost:1", verifier("sum.invalid"));
    let asking = Desk {
        client: user.client.with("GONOSUMDB", "").with("GOSUMDB", nowhere),
    };
    author.publish(cluster, 0, &library(&lib, "v1.0.1", "")).await;
    let newer = format!("{lib}@v1.0.1");
    let refused = "https://localhost:1/";
    asking.fails(&app, &["get", &newer], 1, &[refused]).await;
}

/// A key of a checksum database, as the go command is given it.
fn verifier(name: &str) -> String {
    let key = [[1].as_slice(), &[7; 32]].concat();
    let hashed = Sha256::digest([name.as_bytes(), b"\n", &key].concat());
    format!("{name}+{}+{}", HEXLOWER.encode(&hashed[..4]), BASE64.encode(&key))
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_that_are_not_what_they_say_are_refused() {
    let cluster = cluster().await;
    let lib = format!("git.acme.io/{}", unique("lib"));
    let artifact = library(&lib, "v1.0.0", "");
    let reader = Author::new(&cluster.deploy_token(&["read_package_registry"]).await);
    let may_not = "403 Forbidden: this token may not publish here";
    reader.may_not_publish(cluster, &artifact, 403, may_not).await;
    let stranger = Author::new("cnp-wrong");
    stranger
        .may_not_publish(cluster, &artifact, 401, "401 Unauthorized")
        .await;

    let author = Author::new(&cluster.token);
    let refused = async |artifact: &[u8], because: &str| {
        author.may_not_publish(cluster, artifact, 400, because).await;
    };
    refused(b"no archive", "the module is not a ZIP archive").await;
    let mut corrupt = artifact.clone();
    corrupt[100] ^= 1;
    refused(&corrupt, "is damaged").await;
    refused(&library(&lib, "1.0.0", ""), "is not 'v' and a whole version").await;
    refused(&library(&lib, "v2.0.0", ""), "is not of the major version").await;
    let other = zip(&lib, "v1.0.0", &[("go.mod", "module git.acme.io/other\n")]);
    refused(&other, "but git.acme.io/other by its go.mod").await;
    let twice = zip(&lib, "v1.0.0", &[("a.go", ""), ("A.go", "")]);
    refused(&twice, "differs from another only by case").await;
    let nested = zip(&lib, "v1.0.0", &[("go.mod", ""), ("sub/go.mod", "")]);
    refused(&nested, "elsewhere than at its root").await;

    // Nothing of it is left, and the right module can still be published, once.
    let user = Desk::at(cluster, NEWEST, 1, &cluster.token);
    let app = user.user_of(&lib);
    user.fails(&app, &["get", &lib], 1, &["disabled by GOPROXY=off"])
        .await;
    author.publish(cluster, 0, &artifact).await;
    let changed = module_with(&lib, "v1.0.0", "package lib // changed\n");
    author
        .may_not_publish(cluster, &changed, 409, "exists already with other content")
        .await;
    author.publish(cluster, 2, &artifact).await;
    user.ok(&app, &["get", &lib]).await;
}

/// The commands of `docs/go.md`, as they are written there.
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_works_as_it_is_written() {
    let cluster = cluster().await;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/go.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let manual = manual
        .replace("cairn.example", &cluster.secure.nodes[0])
        .replace("team/hello", &format!("team/{}", unique("hello")));
    let script = format!("set -eux\n{}", blocks(&manual, "sh").concat());
    assert!(
        script.matches("go ").count() >= 10,
        "the manual has lost its commands"
    );
    let shell = Client::of_system("bash");
    shell.write("authority.pem", &cluster.secure.authority);
    shell.write(".config/go/telemetry/mode", "off");
    shell.write("manual.sh", script);
    let authority = shell.home().join("authority.pem");
    let shell = shell
        .finding([clients().join(format!("golang/{NEWEST}/go/bin"))])
        .with("SSL_CERT_FILE", &authority)
        .with("CURL_CA_BUNDLE", &authority)
        .with("GOTOOLCHAIN", "local")
        .with("GOFLAGS", "-modcacherw")
        .with("GOCACHE", clients().join("golang/cache"))
        .with("CGO_ENABLED", "0")
        .with("CAIRN_TOKEN", &cluster.token);
    let ran = shell.ok(&shell.folder("work"), &["../manual.sh"]).await;
    ran.says("Hello from a module").says("all modules verified");
}
