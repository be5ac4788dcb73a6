//! The real clients' stories: sign in, publish, install from other nodes, tag, deprecate,
//! search, audit, unpublish; and what they make of errors.
//!
//! `ops/clients.d/npm` installs the clients. Each runs in a home and with caches of its own, so
//! that nothing it knows from before hides a request. Three nodes of one cluster listen on
//! loopback; with `CAIRN_NODES` and `CAIRN_TOKEN` set, as `cairn dev` writes them to `dev.env`, a
//! running cluster is used instead.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::testing::TestNode;

/// A client that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Three nodes of one cluster, on sockets.
struct Nodes {
    addresses: Vec<String>,
    token: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Nodes {
    async fn start() -> Self {
        match (std::env::var("CAIRN_NODES"), std::env::var("CAIRN_TOKEN")) {
            (Ok(urls), Ok(token)) => {
                let urls = urls.split_whitespace();
                let address = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
                Self {
                    addresses: urls.map(address).collect(),
                    token,
                    tasks: Vec::new(),
                }
            }
            _ => Self::in_this_process().await,
        }
    }

    async fn in_this_process() -> Self {
        let first = TestNode::start().await;
        let nodes = [first.sibling(), first.sibling(), first];
        let mut started = Self {
            addresses: Vec::new(),
            token: nodes[0].token("root").into(),
            tasks: Vec::new(),
        };
        for node in nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.addresses.push(listener.local_addr().unwrap().to_string());
            let router = node.router();
            started.tasks.push(tokio::spawn(async move {
                axum::serve(listener, router).await.unwrap();
            }));
        }
        started
    }

    /// The registry of the project `acme/demo` on one node, with a slash at its end.
    fn registry(&self, node: usize) -> String {
        format!("http://{}/api/v4/projects/1/packages/npm/", self.addresses[node])
    }

    /// An `.npmrc` that uses one node and has a token for all of them.
    fn npmrc(&self, node: usize, token: &str) -> String {
        let mut text = format!("registry={}\n", self.registry(node));
        for at in 0..self.addresses.len() {
            let registry = self.registry(at);
            let registry = registry.strip_prefix("http:").unwrap();
            text += &format!("{registry}:_authToken={token}\n");
        }
        text
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// One client in a home of its own.
struct Client {
    /// The folder below `$CAIRN_CLIENTS/npm`.
    folder: &'static str,
    program: PathBuf,
    path: OsString,
    home: TempDir,
    /// What the names of this run's packages end with: a running cluster may know others.
    run: String,
}

fn clients() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("CAIRN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("cairn")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/cairn")));
    let clients = set("CAIRN_CLIENTS").or_else(|| cache.map(|cache| cache.join("clients")));
    clients.expect("CAIRN_CLIENTS or HOME is set").join("npm")
}

impl Client {
    fn new(folder: &'static str, program: &str) -> Self {
        let bin = |folder: &str| clients().join(folder).join("node_modules/.bin");
        let program = bin(folder).join(program);
        assert!(
            program.exists(),
            "{} is missing; run ops/clients",
            program.display()
        );
        // Some clients call npm for what they do not do themselves.
        let mut path = std::env::join_paths([bin(folder), bin("npm-11"), bin("node")]).unwrap();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Self {
            folder,
            program,
            path,
            home: tempfile::tempdir().unwrap(),
            run: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
        }
    }

    /// An empty folder to work in.
    fn workspace(&self, name: &str) -> PathBuf {
        let workspace = self.home.path().join(name);
        std::fs::create_dir_all(&workspace).unwrap();
        workspace
    }

    /// A folder with an application that has no dependencies yet.
    fn application(&self, name: &str) -> PathBuf {
        let application = self.workspace(name);
        let write = |file: &str, text: &str| std::fs::write(application.join(file), text).unwrap();
        write(
            "package.json",
            r#"{"name":"application","version":"1.0.0","private":true}"#,
        );
        // pnpm refuses what was published today, unless it is told not to.
        write("pnpm-workspace.yaml", "minimumReleaseAge: 0\n");
        application
    }

    /// A name for packages that no other client uses, and no other run.
    fn name(&self, name: &str) -> String {
        format!("{}-{name}-{}", self.folder, self.run)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.home.path().join(file), text).unwrap();
    }

    fn command(&self, workspace: &Path, arguments: &[&str]) -> Command {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(workspace)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("npm_config_cache", home.join("npm-cache"))
            .env("npm_config_userconfig", home.join(".npmrc"))
            .env("npm_config_update_notifier", "false")
            .env("npm_config_fund", "false")
            .env("YARN_ENABLE_TELEMETRY", "0")
            .env("YARN_ENABLE_GLOBAL_CACHE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, workspace: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.command(workspace, arguments);
        let output = tokio::time::timeout(PATIENCE, command.output());
        let output = output.await.expect("the client hangs").unwrap();
        Ran::of(self, arguments, &output)
    }

    async fn ok(&self, workspace: &Path, arguments: &[&str]) -> Ran {
        let ran = self.run(workspace, arguments).await;
        assert!(
            ran.success,
            "{} failed:\n{}\n{}",
            ran.what, ran.stdout, ran.stderr
        );
        ran
    }

    /// Runs a command that must fail and say this.
    async fn fails(&self, workspace: &Path, arguments: &[&str], part: &str) {
        let ran = self.run(workspace, arguments).await;
        let said = format!("{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.success, "{} should have failed:\n{said}", ran.what);
        assert!(said.contains(part), "{} does not say {part:?}:\n{said}", ran.what);
    }

    /// Runs a command that asks questions.
    async fn answers(&self, workspace: &Path, arguments: &[&str], answers: &[(&str, &str)]) {
        let mut child = self
            .command(workspace, arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let talk = async {
            let mut heard = String::new();
            for (question, answer) in answers {
                while !heard.contains(question) {
                    let mut bytes = [0; 1024];
                    let count = stdout.read(&mut bytes).await.unwrap();
                    assert!(count > 0, "it ended without asking {question:?}: {heard}");
                    heard += &String::from_utf8_lossy(&bytes[..count]);
                }
                heard.clear();
                stdin.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
            stdout.read_to_string(&mut heard).await.unwrap();
            heard
        };
        let heard = tokio::time::timeout(PATIENCE, talk)
            .await
            .expect("the client hangs");
        let output = child.wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {heard}\n{stderr}");
    }
}

/// What a command did.
struct Ran {
    what: String,
    success: bool,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(client: &Client, arguments: &[&str], output: &Output) -> Self {
        Self {
            what: format!("{} {}", client.folder, arguments.join(" ")),
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{} printed {}", self.what, self.stdout))
    }

    #[track_caller]
    fn says(&self, part: &str) {
        assert!(
            self.stdout.contains(part) || self.stderr.contains(part),
            "{} does not say {part:?}:\n{}\n{}",
            self.what,
            self.stdout,
            self.stderr
        );
    }
}

/// Writes a package into a folder.
fn write_package(folder: &Path, name: &str, version: &str, more: Value) {
    let mut manifest = json!({
        "name": name, "version": version, "description": format!("{name} for tests"),
        "main": "index.js", "license": "Apache-2.0", "keywords": ["cairn"],
    });
    manifest
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    std::fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
    std::fs::write(
        folder.join("index.js"),
        format!("module.exports = '{name} {version}'\n"),
    )
    .unwrap();
    std::fs::write(folder.join("README.md"), format!("# {name}\n")).unwrap();
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new()
        .update(b"noise")
        .finalize_xof()
        .fill(&mut out);
    out
}

fn installed(workspace: &Path, name: &str) -> String {
    let file = workspace.join("node_modules").join(name).join("index.js");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_publishes_and_installs() {
    let (nodes, npm) = (Nodes::start().await, Client::new("npm-11", "npm"));
    let (plain, scoped) = (npm.name("left"), format!("@acme/{}", npm.name("right")));
    let package = npm.workspace("package");

    // Signing in, with the token as the password.
    npm.write(".npmrc", &format!("registry={}\n", nodes.registry(0)));
    npm.fails(&package, &["whoami"], "ENEEDAUTH").await;
    let questions = [("Username", "root"), ("Password", nodes.token.as_str())];
    npm.answers(&package, &["login", "--auth-type=legacy"], &questions)
        .await;
    npm.ok(&package, &["whoami"]).await.says("root");
    npm.ok(&package, &["ping"]).await.says("PONG");
    npm.ok(&package, &["profile", "get", "--json"]).await.says("root");
    npm.write(".npmrc", &nodes.npmrc(0, &nodes.token));

    // Publishing on the first node, installing from the others.
    write_package(&package, &plain, "1.0.0", json!({}));
    npm.ok(&package, &["publish"]).await;
    write_package(
        &package,
        &scoped,
        "1.0.0",
        json!({"dependencies": {plain.clone(): "^1.0.0"}, "bin": "index.js"}),
    );
    npm.ok(&package, &["publish", "--access", "restricted"]).await;
    for node in [1, 2] {
        npm.write(".npmrc", &nodes.npmrc(node, &nodes.token));
        let application = npm.application(&format!("application-{node}"));
        npm.ok(&application, &["install", &scoped]).await;
        assert_eq!(
            installed(&application, &scoped),
            format!("module.exports = '{scoped} 1.0.0'\n")
        );
        assert_eq!(
            installed(&application, &plain),
            format!("module.exports = '{plain} 1.0.0'\n")
        );
        npm.ok(&application, &["audit"])
            .await
            .says("found 0 vulnerabilities");
        std::fs::remove_dir_all(application.join("node_modules")).unwrap();
        npm.ok(&application, &["ci"]).await;
        installed(&application, &plain);
    }

    // A large tarball.
    let large = npm.workspace("large");
    write_package(&large, &npm.name("large"), "1.0.0", json!({}));
    std::fs::write(large.join("noise"), noise(40 << 20)).unwrap();
    npm.ok(&large, &["publish"]).await;
    npm.write(".npmrc", &nodes.npmrc(0, &nodes.token));
    let application = npm.application("application-large");
    npm.ok(&application, &["install", &npm.name("large")]).await;
    let unpacked = application
        .join("node_modules")
        .join(npm.name("large"))
        .join("noise");
    assert!(std::fs::read(unpacked).unwrap() == noise(40 << 20));

    // Tags, other versions, deprecation.
    write_package(&package, &plain, "2.0.0-rc.1", json!({}));
    npm.ok(&package, &["publish", "--tag", "next"]).await;
    write_package(&package, &plain, "1.1.0", json!({"keywords": [npm.run]}));
    npm.ok(&package, &["publish"]).await;
    let tags = npm
        .ok(&package, &["view", &plain, "dist-tags", "--json"])
        .await
        .json();
    assert_eq!(tags, json!({"latest": "1.1.0", "next": "2.0.0-rc.1"}));
    npm.ok(
        &package,
        &["dist-tag", "add", &format!("{plain}@1.0.0"), "stable"],
    )
    .await;
    npm.ok(&package, &["dist-tag", "ls", &plain])
        .await
        .says("stable: 1.0.0");
    npm.ok(&package, &["dist-tag", "rm", &plain, "next"]).await;
    npm.fails(&package, &["dist-tag", "rm", &plain, "latest"], "403")
        .await;
    npm.ok(&package, &["deprecate", &format!("{plain}@<1.1"), "use 1.1"])
        .await;
    let view = npm
        .ok(&package, &["view", &format!("{plain}@1.0.0"), "--json"])
        .await
        .json();
    assert_eq!(view["deprecated"], "use 1.1");
    assert_eq!(view["dist-tags"], json!({"latest": "1.1.0", "stable": "1.0.0"}));
    assert!(view["time"]["1.1.0"].is_string() && view["readme"].is_null());
    npm.ok(&package, &["deprecate", &plain, ""]).await;
    let view = npm
        .ok(&package, &["view", &format!("{plain}@1.0.0"), "--json"])
        .await
        .json();
    assert!(view.get("deprecated").is_none());
    let application = npm.workspace("application-1");
    let outdated = npm
        .run(&application, &["outdated", "--all", "--json"])
        .await
        .json();
    assert_eq!(outdated[&plain]["latest"], "1.1.0");
    npm.ok(&application, &["update"]).await;
    assert_eq!(
        installed(&application, &plain),
        format!("module.exports = '{plain} 1.1.0'\n")
    );

    // Searching, owners, stars, access.
    let found = npm.ok(&package, &["search", &plain, "--json"]).await.json();
    assert_eq!(found[0]["name"], plain.as_str());
    npm.ok(&package, &["search", "keywords:cairn"])
        .await
        .says(&scoped);
    npm.ok(&package, &["owner", "ls", &plain]).await.says("root");
    npm.ok(&package, &["owner", "add", "developer", &plain]).await;
    npm.ok(&package, &["owner", "ls", &plain]).await.says("developer");
    npm.ok(&package, &["owner", "rm", "developer", &plain]).await;
    npm.ok(&package, &["star", &plain]).await;
    npm.ok(&package, &["unstar", &plain]).await;
    npm.ok(&package, &["access", "get", "status", &scoped])
        .await
        .says("private");
    npm.ok(&package, &["pack", &plain]).await;

    // Errors.
    std::fs::write(package.join("index.js"), "changed").unwrap();
    npm.fails(
        &package,
        &["publish"],
        "cannot publish over the previously published versions",
    )
    .await;
    npm.fails(&package, &["view", &npm.name("missing")], "E404").await;
    npm.fails(&application, &["install", &npm.name("missing")], "E404")
        .await;
    corrupt_tarballs_are_refused(&npm, &package).await;
    wrong_integrity_is_noticed(&npm, &application).await;
    npm.write(".npmrc", &nodes.npmrc(0, "cnp-wrong"));
    npm.fails(&package, &["publish"], "E401").await;
    npm.fails(&package, &["view", &plain], "E401").await;
    npm.write(".npmrc", &format!("registry={}\n", nodes.registry(0)));
    npm.fails(&package, &["view", &plain], "E401").await;
    npm.write(".npmrc", &nodes.npmrc(0, &nodes.token));

    // Unpublishing: one version, then all.
    npm.ok(&package, &["unpublish", &format!("{plain}@1.1.0")]).await;
    let versions = npm
        .ok(&package, &["view", &plain, "versions", "--json"])
        .await
        .json();
    assert_eq!(versions, json!(["1.0.0", "2.0.0-rc.1"]));
    npm.fails(&package, &["publish"], "previously published versions")
        .await;
    npm.ok(&package, &["unpublish", "--force", &plain]).await;
    npm.fails(&package, &["view", &plain], "E404").await;
}

/// Appends a second compressed stream to a tarball: the client does not mind and sends it, but
/// other unpackers would see another package.
async fn corrupt_tarballs_are_refused(npm: &Client, package: &Path) {
    write_package(package, &npm.name("corrupt"), "1.0.0", json!({}));
    let packed = npm.ok(package, &["pack", "--json"]).await.json();
    let file = package.join(packed[0]["filename"].as_str().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let mut second = flate2::read::GzEncoder::new(&b""[..], flate2::Compression::fast());
    std::io::Read::read_to_end(&mut second, &mut bytes).unwrap();
    std::fs::write(&file, bytes).unwrap();
    npm.fails(package, &["publish", file.to_str().unwrap()], "422")
        .await;
    npm.fails(package, &["view", &npm.name("corrupt")], "E404").await;
    write_package(package, &npm.name("left"), "1.1.0", json!({}));
    std::fs::write(package.join("index.js"), "changed").unwrap();
}

/// Changes a digest in the lock file: the client must not take the tarball for the right one.
async fn wrong_integrity_is_noticed(npm: &Client, application: &Path) {
    let lock = application.join("package-lock.json");
    let right = std::fs::read_to_string(&lock).unwrap();
    let mut wrong: Value = serde_json::from_str(&right).unwrap();
    for package in wrong["packages"].as_object_mut().unwrap().values_mut() {
        if package.get("integrity").is_some() {
            package["integrity"] = json!(format!("sha512-{}==", "A".repeat(86)));
        }
    }
    std::fs::write(&lock, wrong.to_string()).unwrap();
    npm.fails(application, &["ci"], "EINTEGRITY").await;
    std::fs::write(&lock, right).unwrap();
}

async fn pnpm_story(folder: &'static str) {
    let (nodes, pnpm) = (Nodes::start().await, Client::new(folder, "pnpm"));
    let (plain, scoped) = (pnpm.name("left"), format!("@acme/{}", pnpm.name("right")));
    pnpm.write(".npmrc", &nodes.npmrc(0, &nodes.token));
    let package = pnpm.workspace("package");
    let publish = ["publish", "--no-git-checks"];
    write_package(&package, &plain, "1.0.0", json!({}));
    pnpm.ok(&package, &publish).await;
    write_package(
        &package,
        &scoped,
        "1.0.0",
        json!({"dependencies": {plain.clone(): "^1.0.0"}}),
    );
    pnpm.ok(&package, &publish).await;
    let secret = pnpm.name("secret");
    let other = pnpm.workspace("other");
    write_package(&other, &secret, "1.0.0", json!({}));
    pnpm.ok(&other, &publish).await;

    pnpm.write(".npmrc", &nodes.npmrc(1, &nodes.token));
    let application = pnpm.application("application");
    pnpm.ok(&application, &["add", &scoped]).await;
    installed(&application, &scoped);
    // The URL of a tarball follows the convention, so the lock file leaves it out.
    let lock = std::fs::read_to_string(application.join("pnpm-lock.yaml")).unwrap();
    assert!(
        lock.contains("integrity: sha512-") && !lock.contains("tarball:"),
        "{lock}"
    );
    std::fs::remove_dir_all(application.join("node_modules")).unwrap();
    pnpm.write(".npmrc", &nodes.npmrc(2, &nodes.token));
    pnpm.ok(&application, &["install", "--frozen-lockfile"]).await;
    installed(&application, &scoped);
    pnpm.ok(&application, &["audit"])
        .await
        .says("No known vulnerabilities found");

    write_package(&package, &scoped, "1.1.0", json!({}));
    pnpm.ok(&package, &publish).await;
    pnpm.run(&application, &["outdated"]).await.says("1.1.0");
    pnpm.ok(&application, &["update"]).await;
    assert_eq!(
        installed(&application, &scoped),
        format!("module.exports = '{scoped} 1.1.0'\n")
    );
    let tags = ["view", &scoped, "dist-tags", "--json"];
    assert_eq!(pnpm.ok(&package, &tags).await.json(), json!({"latest": "1.1.0"}));
    pnpm.ok(&package, &["deprecate", &format!("{scoped}@1.0.0"), "old"])
        .await;
    pnpm.ok(
        &package,
        &["dist-tag", "add", &format!("{scoped}@1.0.0"), "stable"],
    )
    .await;
    pnpm.ok(&package, &["dist-tag", "ls", &scoped])
        .await
        .says("stable: 1.0.0");
    pnpm.ok(&package, &["whoami"]).await.says("root");
    pnpm.ok(&package, &["search", &scoped]).await.says(&scoped);

    std::fs::write(package.join("index.js"), "changed").unwrap();
    pnpm.fails(&package, &publish, "cannot publish over the previously published")
        .await;
    let fresh = pnpm.application("fresh");
    pnpm.ok(&fresh, &["add", &scoped]).await;
    assert_eq!(
        installed(&fresh, &scoped),
        format!("module.exports = '{scoped} 1.1.0'\n")
    );
    pnpm.fails(&fresh, &["add", &pnpm.name("missing")], "404").await;
    pnpm.ok(&package, &["unpublish", &format!("{scoped}@1.1.0")])
        .await;
    assert_eq!(
        pnpm.ok(&package, &tags).await.json(),
        json!({"latest": "1.0.0", "stable": "1.0.0"})
    );
    pnpm.write(".npmrc", &nodes.npmrc(0, "cnp-wrong"));
    let unknown = pnpm.application("unknown");
    // One that it has not seen yet, so that it must ask.
    pnpm.fails(&unknown, &["add", &secret], "401").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_10_publishes_and_installs() {
    pnpm_story("pnpm-10").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_12_publishes_and_installs() {
    pnpm_story("pnpm-12").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_classic_publishes_and_installs() {
    let (nodes, yarn) = (Nodes::start().await, Client::new("yarn-1", "yarn"));
    let (plain, scoped) = (yarn.name("left"), format!("@acme/{}", yarn.name("right")));
    let configure = |node: usize, token: &str| {
        // Without the last line it sends no token for packages without a scope.
        yarn.write(
            ".npmrc",
            &format!("{}always-auth=true\n", nodes.npmrc(node, token)),
        );
        yarn.write(".yarnrc", &format!("registry \"{}\"\n", nodes.registry(node)));
    };
    configure(0, &nodes.token);
    let package = yarn.workspace("package");
    let publish = async |name: &str, version: &str| {
        write_package(&package, name, version, json!({}));
        yarn.run(
            &package,
            &["publish", "--non-interactive", "--no-git-tag-version"],
        )
        .await
    };
    assert!(publish(&plain, "1.0.0").await.success);
    let published = publish(&scoped, "1.0.0").await;
    assert!(published.success, "{}\n{}", published.stdout, published.stderr);

    configure(1, &nodes.token);
    let application = yarn.application("application");
    yarn.ok(&application, &["add", &plain, &scoped]).await;
    assert_eq!(
        installed(&application, &scoped),
        format!("module.exports = '{scoped} 1.0.0'\n")
    );
    std::fs::remove_dir_all(application.join("node_modules")).unwrap();
    yarn.ok(&application, &["install", "--frozen-lockfile"]).await;
    installed(&application, &plain);

    assert!(publish(&plain, "1.1.0").await.success);
    yarn.run(&application, &["outdated"]).await.says("1.1.0");
    yarn.ok(&application, &["upgrade", "--latest"]).await;
    assert_eq!(
        installed(&application, &plain),
        format!("module.exports = '{plain} 1.1.0'\n")
    );
    yarn.ok(&package, &["tag", "add", &format!("{plain}@1.0.0"), "stable"])
        .await;
    yarn.ok(&package, &["tag", "list", &plain]).await.says("stable");
    yarn.ok(&package, &["tag", "remove", &plain, "stable"]).await;
    yarn.ok(&package, &["info", &plain, "version"])
        .await
        .says("1.1.0");
    yarn.ok(&package, &["owner", "list", &plain]).await.says("root");

    std::fs::write(package.join("index.js"), "changed").unwrap();
    let again = ["publish", "--non-interactive", "--no-git-tag-version"];
    yarn.fails(&package, &again, "previously published versions")
        .await;
    yarn.fails(
        &application,
        &["add", &yarn.name("missing")],
        "is not in this registry",
    )
    .await;
    configure(2, "cnp-wrong");
    let refused = publish(&plain, "1.2.0").await;
    assert!(!refused.success, "{}", refused.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_berry_publishes_and_installs() {
    let (nodes, yarn) = (Nodes::start().await, Client::new("yarn-4", "yarn"));
    let (plain, scoped) = (yarn.name("left"), format!("@acme/{}", yarn.name("right")));
    let configure = |node: usize, token: &str| {
        let text = format!(
            "npmRegistryServer: \"{}\"\nnpmAuthToken: \"{token}\"\nnpmAlwaysAuth: true\nnpmMinimalAgeGate: 0\n\
             unsafeHttpWhitelist: [\"127.0.0.1\"]\nnodeLinker: node-modules\nenableImmutableInstalls: false\n",
            nodes.registry(node).trim_end_matches('/')
        );
        yarn.write(".yarnrc.yml", &text);
    };
    configure(0, &nodes.token);
    let package = yarn.workspace("package");
    let write = |name: &str, version: &str| {
        write_package(&package, name, version, json!({}));
        std::fs::write(package.join("yarn.lock"), "").unwrap();
    };
    write(&plain, "1.0.0");
    yarn.ok(&package, &["install"]).await;
    yarn.ok(&package, &["npm", "whoami"]).await.says("root");
    yarn.ok(&package, &["npm", "publish"]).await;
    write(&scoped, "1.0.0");
    yarn.ok(&package, &["install"]).await;
    yarn.ok(&package, &["npm", "publish", "--access", "restricted"])
        .await;

    configure(1, &nodes.token);
    let application = yarn.application("application");
    std::fs::write(application.join("yarn.lock"), "").unwrap();
    yarn.ok(&application, &["add", &plain, &scoped]).await;
    assert_eq!(
        installed(&application, &scoped),
        format!("module.exports = '{scoped} 1.0.0'\n")
    );
    let lock = std::fs::read_to_string(application.join("yarn.lock")).unwrap();
    assert!(!lock.contains("__archiveUrl"), "{lock}");
    std::fs::remove_dir_all(application.join("node_modules")).unwrap();
    yarn.ok(&application, &["install", "--immutable"]).await;
    installed(&application, &plain);
    yarn.ok(&application, &["npm", "audit"])
        .await
        .says("No audit suggestions");

    yarn.ok(
        &package,
        &["npm", "tag", "add", &format!("{scoped}@1.0.0"), "stable"],
    )
    .await;
    yarn.ok(&package, &["npm", "tag", "list", &scoped])
        .await
        .says("stable");
    yarn.ok(&package, &["npm", "tag", "remove", &scoped, "stable"])
        .await;
    yarn.ok(&package, &["npm", "info", &scoped, "--json"])
        .await
        .says("\"latest\":\"1.0.0\"");

    std::fs::write(package.join("index.js"), "changed").unwrap();
    yarn.fails(&package, &["npm", "publish"], "previously published versions")
        .await;
    yarn.fails(&application, &["add", &yarn.name("missing")], "not found")
        .await;
    configure(2, "cnp-wrong");
    write(&scoped, "1.1.0");
    yarn.ok(&package, &["install"]).await;
    yarn.fails(&package, &["npm", "publish"], "Invalid authentication")
        .await;
}
