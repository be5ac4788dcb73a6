//! The real client's stories: sign in, publish, build and install through other nodes, upgrade,
//! yank, search; and what cargo makes of errors.
//!
//! The cargo that runs the tests is the client. No crate has dependencies outside of the cluster,
//! so that no other registry is asked.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Cargo;
use super::artifact::tests::{crate_of, crate_with};
use super::document::tests::document;
use super::tests::framed;
use crate::formats::Format;
use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};
use crate::testing::readme::{README, blocks};

/// What cargo ends with when it fails.
const FAILED: i32 = 101;

const PROJECT: &str = "projects/1";

/// Somebody with a cargo and a home of their own.
struct Desk {
    client: Client,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The registry of a project or group on one node.
fn registry(cluster: &TestCluster, node: usize, of: &str) -> String {
    let middle = if of.starts_with("groups") { "/-" } else { "" };
    format!("{}/api/v4/{of}{middle}/packages/cargo", cluster.url(node))
}

impl Desk {
    /// Somebody whose cargo has this configuration.
    fn configured(configuration: &str) -> Self {
        let client = Client::of_toolchain();
        let home = client.home().to_owned();
        client.write("config.toml", configuration);
        let client = client
            .with("CARGO_HOME", &home)
            .with("CARGO_TARGET_DIR", home.join("target"))
            .with("CARGO_NET_RETRY", "0")
            .with("CARGO_TERM_COLOR", "never");
        Self { client }
    }

    /// Somebody who uses a registry through one node.
    fn at(cluster: &TestCluster, node: usize, of: &str) -> Self {
        Self::configured(&format!(
            "[registries.cairn]\nindex = \"sparse+{}/index/\"\n\
             [registry]\nglobal-credential-providers = [\"cargo:token\"]\n",
            registry(cluster, node, of)
        ))
    }

    /// The same with a token in the environment, as CI has it.
    fn with_token(self, token: &str) -> Self {
        Self {
            client: self.client.with("CARGO_REGISTRIES_CAIRN_TOKEN", token),
        }
    }

    /// The sources of a library whose `name()` says its name and version.
    fn library(&self, name: &str, version: &str, more: &str) -> PathBuf {
        let folder = self.folder(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n\
             description = \"{name} for tests\"\nlicense = \"MIT\"\n{more}\n[workspace]\n"
        );
        self.write(folder.join("Cargo.toml"), manifest);
        let source = format!("pub fn name() -> &'static str {{ \"{name} {version}\" }}\n");
        self.write(folder.join("src/lib.rs"), source);
        folder
    }

    /// The sources of a program without dependencies, with this in its `main`.
    fn program(&self, name: &str, main: &str) -> PathBuf {
        let folder = self.folder(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             description = \"{name} for tests\"\nlicense = \"MIT\"\n[workspace]\n[dependencies]\n"
        );
        self.write(folder.join("Cargo.toml"), manifest);
        self.write(folder.join("src/main.rs"), format!("fn main() {{ {main} }}\n"));
        folder
    }

    /// A program that prints what the `name()` of a library says.
    fn user_of(&self, library: &str) -> PathBuf {
        let call = format!("println!(\"{{}}\", {}::name());", library.replace('-', "_"));
        self.program(&format!("uses-{library}"), &call)
    }

    async fn publish(&self, folder: &Path) -> Ran {
        self.ok(folder, &["publish", "--registry", "cairn", "--allow-dirty"])
            .await
    }

    async fn may_not_publish(&self, folder: &Path, because: &str) {
        let arguments = ["publish", "--registry", "cairn", "--allow-dirty"];
        self.fails(folder, &arguments, FAILED, &[because]).await;
    }

    async fn add(&self, folder: &Path, dependency: &str) {
        self.ok(folder, &["add", "--registry", "cairn", dependency]).await;
    }

    async fn cannot_add(&self, folder: &Path, dependency: &str, because: &str) {
        let arguments = ["add", "--registry", "cairn", dependency];
        self.fails(folder, &arguments, FAILED, &[because]).await;
    }

    /// Builds a program with what is locked, or resolved anew, and runs it.
    async fn prints(&self, folder: &Path, line: &str) {
        let ran = self.ok(folder, &["run", "--quiet"]).await;
        assert_eq!(ran.lines(), [line], "{ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crates_are_published_built_upgraded_and_yanked() {
    let cluster = cluster().await;
    let write = cluster
        .deploy_token(&["read_package_registry", "write_package_registry"])
        .await;
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    let (left, right) = (unique("left"), unique("right"));

    // Signing in stores the token; publishing waits until the index has the crate.
    let author = Desk::at(cluster, 0, PROJECT);
    let sources = author.library(&left, "0.1.0", "");
    // The question goes to the stream for errors, so the answer does not wait for it.
    let login = ["login", "--registry", "cairn"];
    author.answers(&sources, &login, &[("", &write)]).await;
    let rehearsal = ["publish", "--registry", "cairn", "--allow-dirty", "--dry-run"];
    author.ok(&sources, &rehearsal).await;
    author.publish(&sources).await.says("Published");
    let near = format!(
        "[dependencies]\n\
         near = {{ version = \"^0.1\", registry = \"cairn\", package = \"{left}\", optional = true }}\n\
         [features]\nfull = [\"dep:near\"]\n"
    );
    let dependent = author.library(&right, "1.0.0-rc.1+build", &near);
    author.publish(&dependent).await;

    // Built with a token for reading, through another node.
    let user = Desk::at(cluster, 1, PROJECT).with_token(&read);
    let program = user.user_of(&left);
    user.add(&program, &left).await;
    user.prints(&program, &format!("{left} 0.1.0")).await;
    let other = user.user_of(&right);
    let candidate = format!("{right}@=1.0.0-rc.1");
    let with_feature = ["add", "--registry", "cairn", &candidate, "--features", "full"];
    user.ok(&other, &with_feature).await;
    user.prints(&other, &format!("{right} 1.0.0-rc.1+build")).await;

    // An upgrade, and what is locked.
    author.library(&left, "0.1.1", "");
    author.publish(&sources).await;
    user.prints(&program, &format!("{left} 0.1.0")).await;
    user.ok(&program, &["update"]).await.says("v0.1.1");
    user.prints(&program, &format!("{left} 0.1.1")).await;

    // What is yanked stays in lock files, and comes into no new one.
    let yank = ["yank", "--registry", "cairn", "--version", "0.1.1", &left];
    author.ok(&sources, &yank).await;
    let newcomer = Desk::at(cluster, 2, PROJECT).with_token(&read);
    let locked = newcomer.user_of(&left);
    let (there, here) = (registry(cluster, 1, PROJECT), registry(cluster, 2, PROJECT));
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = fs::read_to_string(program.join(file)).unwrap();
        newcomer.write(locked.join(file), text.replace(&there, &here));
    }
    newcomer.ok(&locked, &["fetch", "--locked"]).await;
    newcomer.prints(&locked, &format!("{left} 0.1.1")).await;
    fs::remove_file(locked.join("Cargo.lock")).unwrap();
    newcomer.ok(&locked, &["generate-lockfile"]).await;
    newcomer.prints(&locked, &format!("{left} 0.1.0")).await;
    author.ok(&sources, &[&yank[..], &["--undo"]].concat()).await;
    newcomer.ok(&locked, &["update"]).await.says("v0.1.1");

    author.ok(&sources, &["logout", "--registry", "cairn"]).await;
    author.library(&left, "0.1.2", "");
    author.may_not_publish(&sources, "no token found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crates_are_searched_for_installed_and_asked_about() {
    let cluster = cluster().await;
    let author = Desk::at(cluster, 0, PROJECT).with_token(&cluster.token);
    let tool = unique("tool");
    let sources = author.program(&tool, "println!(\"it works\");");
    author.publish(&sources).await;

    let read = cluster.deploy_token(&["read_package_registry"]).await;
    let user = Desk::at(cluster, 1, PROJECT).with_token(&read);
    let folder = user.folder("anywhere");
    let about = format!("{tool} for tests");
    let found = user.ok(&folder, &["search", "--registry", "cairn", &tool]).await;
    found.says(&format!("{tool} = \"0.1.0\"")).says(&about);
    let odd = ["search", "--registry", "cairn", "--limit", "1", "% \"'&?#"];
    user.ok(&folder, &odd).await;
    let info = ["info", "--registry", "cairn", &tool];
    user.ok(&folder, &info).await.says(&about);
    user.ok(&folder, &["install", "--registry", "cairn", &tool]).await;
    assert!(user.home().join("bin").join(&tool).exists());

    // From the group, which holds the project.
    let member = Desk::at(cluster, 2, "groups/acme").with_token(&cluster.root);
    let folder = member.folder("anywhere");
    member.ok(&folder, &info).await.says(&about);
    let library = member.library(&unique("other"), "1.0.0", "");
    member
        .may_not_publish(&library, "crates are published to a project")
        .await;

    let owner = |change: &'static str, name: &'static str| ["owner", "--registry", "cairn", change, name];
    let list = ["owner", "--registry", "cairn", "--list", &tool];
    author.ok(&sources, &list).await.says(&cluster.username);
    let remove = [
        "owner",
        "--registry",
        "cairn",
        "--remove",
        &cluster.username,
        &tool,
    ];
    let last = "the last owner cannot be removed";
    author.fails(&sources, &remove, FAILED, &[last]).await;
    let nobody = [&owner("--add", "nobody-here")[..], &[tool.as_str()]].concat();
    let unknown = "there is no user `nobody-here`";
    author.fails(&sources, &nobody, FAILED, &[unknown]).await;
    let root = [&owner("--add", "root")[..], &[tool.as_str()]].concat();
    let said = author.ok(&sources, &root).await;
    said.says("who may publish is decided by the roles");
    author.ok(&sources, &list).await.says("root");
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_says_what_was_wrong() {
    let cluster = cluster().await;
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    let left = unique("left");

    let nobody = Desk::at(cluster, 0, PROJECT);
    let sources = nobody.library(&left, "0.1.0", "");
    nobody.may_not_publish(&sources, "no token found").await;
    nobody
        .cannot_add(&nobody.user_of(&left), &left, "no token found")
        .await;
    let stranger = Desk::at(cluster, 0, PROJECT).with_token("cnp-wrong");
    let sources = stranger.library(&left, "0.1.0", "");
    stranger.may_not_publish(&sources, "token rejected").await;
    let reader = Desk::at(cluster, 0, PROJECT).with_token(&read);
    let sources = reader.library(&left, "0.1.0", "");
    let may_not = "403 Forbidden: this token may not publish here";
    reader.may_not_publish(&sources, may_not).await;

    // Set up as users are told to.
    let setup = Cargo.clients()[0];
    let configuration = setup.configuration.replace("{base}", &cluster.url(1));
    let configuration = configuration
        .replace("{project}", "1")
        .replace("{token}", &cluster.token);
    let author = Desk::configured(&configuration);
    let sources = author.library(&left, "0.1.0", "");
    author.publish(&sources).await;
    author.may_not_publish(&sources, "already exists").await;
    let shadow = author.library(&left.replace('-', "_"), "0.2.0", "");
    author.may_not_publish(&shadow, "was previously named").await;
    let reserved = author.library("proc_macro", "0.1.0", "");
    author.may_not_publish(&reserved, "is reserved").await;

    let missing = unique("missing");
    let program = author.user_of(&missing);
    author.cannot_add(&program, &missing, "could not be found").await;
    let manifest = fs::read_to_string(program.join("Cargo.toml")).unwrap();
    let asks_for = format!("{missing} = {{ version = \"1\", registry = \"cairn\" }}\n");
    author.write(program.join("Cargo.toml"), manifest + &asks_for);
    let unknown = format!("no matching package named `{missing}` found");
    author.fails(&program, &["build"], FAILED, &[&unknown]).await;
    let yank = ["yank", "--registry", "cairn", "--version", "1.0.0", &missing];
    author.fails(&program, &yank, FAILED, &["does not exist"]).await;
}

/// What cargo itself does not send goes out with curl.
#[tokio::test(flavor = "multi_thread")]
async fn crates_that_are_not_what_they_say_are_refused() {
    let cluster = cluster().await;
    let left = unique("left");
    let curl = Client::of_system("curl");
    let token = format!("Authorization: {}", cluster.token);
    let target = format!("{}/api/v1/crates/new", registry(cluster, 0, PROJECT));
    let send = async |artifact: &[u8]| {
        let body = framed(&document(&left, "1.0.0", json!({})), artifact);
        curl.write("body", body);
        let arguments = [
            "-sS",
            "-w",
            " %{http_code}",
            "-X",
            "PUT",
            "--data-binary",
            "@body",
            "-H",
        ];
        let arguments = [&arguments[..], &[&token, &target]].concat();
        curl.ok(curl.home(), &arguments).await.stdout
    };
    let refused = async |artifact: &[u8], because: &str| {
        let said = send(artifact).await;
        assert!(
            said.contains(because) && said.ends_with(" 422"),
            "{said} / {because}"
        );
    };
    let whole = crate_of(&left, "1.0.0");
    let mut corrupt = whole.clone();
    let checksum_at = corrupt.len() - 6;
    corrupt[checksum_at] ^= 1;
    refused(&corrupt, "is damaged").await;
    refused(&crate_of(&left, "2.0.0"), "outside of").await;
    let other = "[package]\nname = \"other\"\nversion = \"1.0.0\"\n";
    refused(&crate_with(&format!("{left}-1.0.0"), other), "by its Cargo.toml").await;
    refused(&crate_with("../../etc", "x"), "unsafe path").await;

    // Nothing of it is left, and the right crate can still be published, once.
    let user = Desk::at(cluster, 1, PROJECT).with_token(&cluster.token);
    let program = user.user_of(&left);
    user.cannot_add(&program, &left, "could not be found").await;
    let published = send(&whole).await;
    assert!(published.ends_with(" 200"), "{published}");
    let again = send(&whole).await;
    assert!(again.contains("is already uploaded"), "{again}");
    user.add(&program, &left).await;
}

/// The commands of `docs/cargo.md`, as they are written there.
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_works_as_it_is_written() {
    let cluster = cluster().await;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cargo.md");
    let manual = fs::read_to_string(manual).unwrap();
    // The README shows the same configuration.
    assert!(README.contains(&blocks(&manual, "toml")[0]));
    let manual = manual
        .replace("http://127.0.0.1:7080", &cluster.url(0))
        .replace("hello-cairn", &unique("hello"));
    let script = format!("set -eux\n{}", blocks(&manual, "sh").concat());
    assert!(
        script.matches("cargo ").count() >= 10,
        "the manual has lost its commands"
    );
    let shell = Client::of_system("bash");
    let home = shell.home().to_owned();
    shell.write("config.toml", blocks(&manual, "toml").remove(0));
    shell.write("manual.sh", script);
    let shell = shell
        .finding(Client::toolchain_folder())
        .with("CARGO_HOME", &home)
        .with("CARGO_TARGET_DIR", home.join("target"))
        .with("CAIRN_TOKEN", &cluster.token);
    shell.ok(&shell.folder("work"), &["../manual.sh"]).await;
}
