//! `cairn dev` as its user meets it: real processes, real signals, what it prints.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sha2::{Digest as _, Sha256};

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(180);

const FILE: &str = "api/v4/projects/1/packages/generic/hello/1.0.0/hello.txt";

/// A running `cairn dev`. Dropping it kills it, and its nodes end with it.
struct Dev {
    child: Child,
    folder: PathBuf,
    lines: Receiver<String>,
    seen: String,
}

/// What `dev.env` says.
#[derive(Debug)]
struct Env {
    nodes: Vec<String>,
    token: String,
    /// 0 stands for a node that does not run.
    pids: Vec<i32>,
}

impl Dev {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments).spawn().unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // The test may have ended.
                    let _ = sender.send(line);
                }
            });
        }
        Self {
            child,
            folder: folder.to_owned(),
            lines,
            seen: String::new(),
        }
    }

    /// Waits for `dev.env`.
    fn ready(&mut self) -> Env {
        self.until("dev.env", |dev| {
            assert!(dev.child.try_wait().unwrap().is_none(), "cairn dev ended");
            Env::read(&dev.folder)
        })
    }

    /// What it has printed so far.
    fn printed(&mut self) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            self.seen += &line;
            self.seen.push('\n');
        }
        &self.seen
    }

    /// Looks until there is something.
    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                begun.elapsed() < WATCHDOG,
                "no {what}; printed:\n{}",
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to stop and waits until it has.
    fn stop(mut self) -> (ExitStatus, String) {
        signal(self.child.id() as i32, Signal::TERM);
        let status = self.until("end", |dev| dev.child.try_wait().unwrap());
        // Its output has ended with it; what is under way in the pipes comes.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
            self.seen += &line;
            self.seen.push('\n');
        }
        (status, std::mem::take(&mut self.seen))
    }

    fn stop_cleanly(self) {
        let (status, printed) = self.stop();
        assert!(status.success(), "{printed}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Env {
    fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("dev.env")).ok()?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_matches('"').to_owned()
        };
        Some(Self {
            nodes: value("CAIRN_NODES=").split(' ').map(str::to_owned).collect(),
            token: value("CAIRN_TOKEN="),
            pids: value("CAIRN_PIDS=")
                .split(' ')
                .map(|pid| pid.parse().unwrap_or(0))
                .collect(),
        })
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command
        .arg("dev")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn runs(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

fn http() -> reqwest::blocking::Client {
    reqwest::blocking::Client::builder().no_proxy().build().unwrap()
}

fn put(node: &str, token: &str, body: &'static str) -> reqwest::StatusCode {
    let request = http()
        .put(format!("{node}/{FILE}"))
        .header("PRIVATE-TOKEN", token);
    request.body(body).send().unwrap().status()
}

fn get(node: &str, token: &str) -> String {
    let request = http()
        .get(format!("{node}/{FILE}"))
        .header("PRIVATE-TOKEN", token);
    request
        .send()
        .unwrap()
        .error_for_status()
        .unwrap()
        .text()
        .unwrap()
}

#[test]
fn a_cluster_is_made_killed_mended_stopped_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("my data");
    let mut dev = Dev::start(&folder, &["--port", "0"]);
    let env = dev.ready();
    assert_eq!((env.nodes.len(), env.pids.len()), (3, 3));
    dev.until("banner", |dev| dev.printed().contains("Ctrl-C").then_some(()));
    assert_eq!(
        dev.printed().matches(&env.token).count(),
        1,
        "the token is shown once"
    );
    for file in ["dev.env", "root.token", "node-1.toml", "node-1.log"] {
        let mode = std::fs::metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    assert_eq!(get(&env.nodes[2], &env.token), "hello");

    // A node dies; the command that is printed for it brings it back.
    signal(env.pids[1], Signal::KILL);
    let now = dev.until("notice of the death", |dev| {
        Env::read(&dev.folder).filter(|env| env.pids[1] == 0)
    });
    assert_eq!((now.pids[0], now.pids[2]), (env.pids[0], env.pids[2]));
    assert_eq!(get(&env.nodes[0], &env.token), "hello");
    let again = dev.until("command", |dev| {
        let mut lines = dev
            .printed()
            .lines()
            .skip_while(|line| !line.contains("start it again with"));
        Some(lines.nth(1)?.trim().to_owned())
    });
    assert!(again.contains("serve"), "{again}");
    let mut by_hand = Command::new("sh")
        .args(["-c", &format!("exec {again}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    dev.until("the node", |dev| {
        Env::read(&dev.folder).filter(|env| env.pids[1] == by_hand.id() as i32)
    });
    dev.until("an answer of the node", |_| {
        let ready = http().get(format!("{}/-/ready", env.nodes[1])).send().ok()?;
        ready.status().is_success().then_some(())
    });
    assert_eq!(get(&env.nodes[1], &env.token), "hello");

    // It stops with the others, though it is no child of theirs.
    let (status, printed) = dev.stop();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("all nodes have stopped"), "{printed}");
    assert!(by_hand.wait().unwrap().success());
    assert!(!runs(env.pids[0]) && !runs(env.pids[2]));
    assert!(!folder.join("dev.env").exists());

    let mut dev = Dev::start(&folder, &[]);
    let again = dev.ready();
    assert_eq!((&again.nodes, &again.token), (&env.nodes, &env.token));
    assert_eq!(get(&again.nodes[1], &again.token), "hello");
    dev.stop_cleanly();
}

#[test]
fn a_node_that_ends_is_started_again_if_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1", "--respawn"]);
    let env = dev.ready();
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    signal(env.pids[0], Signal::KILL);
    dev.until("another process", |dev| {
        Env::read(&dev.folder).filter(|now| now.pids[0] != 0 && now.pids[0] != env.pids[0])
    });
    dev.until("an answer", |_| {
        let request = http().get(format!("{}/{FILE}", env.nodes[0]));
        let answer = request.header("PRIVATE-TOKEN", &env.token).send().ok()?;
        answer.status().is_success().then_some(())
    });
    dev.stop_cleanly();
}

#[test]
fn nodes_end_with_the_process_that_runs_them() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    signal(dev.child.id() as i32, Signal::KILL);
    dev.until("end of the node", |_| (!runs(env.pids[0])).then_some(()));
    drop(dev);
    // What was killed could not take this away.
    std::fs::remove_file(folder.join("dev.env")).unwrap();
    // The folder is free again, and whole.
    let mut dev = Dev::start(&folder, &[]);
    assert_eq!(dev.ready().token, env.token);
    dev.stop_cleanly();
}

#[test]
fn a_set_up_that_was_interrupted_starts_over() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0"]);
    dev.until("a second node", |dev| {
        dev.folder.join("node-2").exists().then_some(())
    });
    drop(dev);
    assert!(!folder.join("root.token").exists(), "the set-up was not over");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    assert_eq!(env.nodes.len(), 1);
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    dev.stop_cleanly();
}

#[test]
fn what_is_in_the_way_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = command(&folder, &["--nodes", "1", "--port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("next:"),
        "{said}"
    );
    drop(taken);
    let mut dev = Dev::start(&folder, &["--nodes", "1", "--port", "0"]);
    dev.ready();
    let refused = command(&folder, &[]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.contains(&format!("in use by process {}", dev.child.id())),
        "{said}"
    );
}

/// Pushes an image without layers, under each of these tags.
fn push_image(env: &Env, repository: &str, tags: &[&str]) {
    let send = |method: &str, path: String, kind: &str, body: String| {
        let url = format!("{}/v2/{repository}/{path}", env.nodes[0]);
        let request = http().request(method.parse().unwrap(), url);
        let request = request.basic_auth("root", Some(&env.token));
        let answer = request.header("content-type", kind).body(body).send().unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().unwrap());
    };
    let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest("{}")));
    let blob = format!("blobs/uploads/?digest={digest}");
    send("POST", blob, "application/octet-stream", "{}".into());
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let body = serde_json::json!({
        "schemaVersion": 2, "mediaType": manifest, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2 },
    });
    for tag in tags {
        send("PUT", format!("manifests/{tag}"), manifest, body.to_string());
    }
}

/// Runs a command against the cluster of `dev`, and gives its exit code and what it printed.
fn cairn(dev: &Dev, arguments: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(arguments)
        .arg("--dev")
        .arg(&dev.folder)
        .env_remove("CAIRN_URL")
        .env_remove("CAIRN_TOKEN")
        .output()
        .unwrap();
    let printed = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap(), printed)
}

#[test]
fn the_command_line_administers_a_running_cluster() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        printed
    };
    check(&["group", "create", "tools"], 0, "made group tools (id ");
    check(
        &["group", "create", "tools/inner"],
        0,
        "made group tools/inner (id ",
    );
    check(
        &["project", "create", "tools/inner/app"],
        0,
        "made project tools/inner/app (id 2)",
    );
    check(
        &["project", "create", "nowhere/app"],
        5,
        "next: make it with `cairn group create nowhere`",
    );
    check(&["project", "create", "app"], 2, "is in no group");
    check(
        &["group", "create", "tools", "--token", "cnp-wrong"],
        4,
        "next: set CAIRN_TOKEN",
    );
    check(
        &["group", "create", "x", "--url", "http://127.0.0.1:1"],
        3,
        "cannot reach",
    );
    let status = check(&["cluster", "status"], 0, "NODE");
    assert!(status.contains("leader"), "{status}");
    check(&["cluster", "token"], 0, "crn_join_");

    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&check(arguments, 0, "{")).unwrap()
    };
    let deploy = json(&[
        "token",
        "new",
        "ci",
        "--project",
        "tools/inner/app",
        "--scope",
        "write_package_registry",
        "-o",
        "json",
    ]);
    assert_eq!(deploy["name"], "ci");
    let own = json(&[
        "token",
        "new",
        "laptop",
        "--expires",
        "30 days",
        "--output",
        "json",
    ]);
    let own = own["token"].as_str().unwrap();
    assert!(own.starts_with("cnp-") && own != env.token, "{own}");
    assert!(put(&env.nodes[0], own, "hello").is_success());
    dev.stop_cleanly();
}

const DECLARED: &str = r#"
[[user]]
username = "ann"
name = "Ann"

[[group]]
path = "tools"
visibility = "internal"
members = { ann = "maintainer" }

[[project]]
path = "tools/app"
description = "What everybody uses"
visibility = "internal"
packages = "public"
members = { ann = "owner" }
deploy_tokens = [{ name = "ci", scopes = ["read_package_registry"], username = "runner" }]
access_tokens = [{ name = "bot", scopes = ["read_api"], role = "reporter" }]
settings = { generic_duplicates = "forbid" }
cleanup.packages = { enabled = true, keep_n = 10, older_than = "90d", formats = ["npm", "generic"] }
cleanup.images = { enabled = true, cadence = "7d", name_regex = ".*" }
protect = [
  { packages = "@tools/*", format = "npm", push = "maintainer", delete = "owner" },
  { tags = "^v" },
]

[[project.trust]]
name = "releases"
issuer = "https://ci.example.com"
claims = { project_path = "tools/app", ref = "v*" }
scopes = ["write_package_registry", "read_package_registry"]
"#;

#[test]
fn groups_projects_people_and_tokens_are_administered_by_commands_and_by_a_file() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    let file = parent.path().join("tools.toml");
    std::fs::write(&file, DECLARED).unwrap();
    let file = file.to_str().unwrap();
    let check = |arguments: &[&str], code: i32, expected: &[&str]| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        for part in expected {
            assert!(
                printed.contains(part),
                "{arguments:?} without {part:?}: {printed}"
            );
        }
        printed
    };
    // What would be done, what is done, and that nothing is left to do.
    let planned = [
        "+ user ann",
        "+ group tools (internal)",
        "+ member ann of group tools: maintainer",
        "+ project tools/app (internal)",
        "~ project tools/app: description - -> What everybody uses, package_registry_access_level enabled -> public",
        "+ member ann of project tools/app: owner",
        "+ deploy token ci of project tools/app (read_package_registry)",
        "+ access token bot of project tools/app (read_api)",
        "~ package settings of project tools/app: generic_duplicates - -> forbid",
        "~ cleanup of packages of project tools/app: enabled - -> yes, formats - -> npm, generic, keep_n - -> 10, older_than - -> 90d",
        "~ cleanup of images of project tools/app: cadence - -> 7d",
        "+ protection of packages @tools/* of project tools/app",
        "+ protection of tags ^v of project tools/app",
        "+ trust rule releases of project tools/app",
        "nothing was changed; --yes does it",
    ];
    check(&["apply", "-f", file], 0, &planned);
    let done = check(
        &["apply", "-f", file, "--yes"],
        0,
        &[
            "did 14 things",
            "with the user name runner: cnd-",
            "token bot of project tools/app: cnp-",
        ],
    );
    let deploy = done
        .split("runner: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    check(&["apply", "-f", file, "--yes"], 0, &["everything is as declared"]);
    check(
        &["group", "set", "tools", "--description", "Ours"],
        0,
        &["changed group tools"],
    );
    check(
        &["project", "set", "tools/app", "--packages", "private"],
        0,
        &["changed project tools/app"],
    );
    check(
        &["member", "set", "ann", "reporter", "--project", "tools/app"],
        0,
        &["ann is reporter of project tools/app"],
    );
    // Rules and policies that somebody has changed meanwhile.
    let protected = check(&["protect", "list", "tools/app", "-o", "json"], 0, &[]);
    let protected: serde_json::Value = serde_json::from_str(&protected).unwrap();
    let rule = protected[0]["id"].to_string();
    check(
        &["protect", "remove", "packages", "tools/app", &rule],
        0,
        &["removed rule"],
    );
    check(
        &[
            "protect",
            "add",
            "packages",
            "tools/app",
            "@tools/*",
            "--format",
            "npm",
            "--push",
            "admin",
        ],
        0,
        &["@tools/*"],
    );
    let trusted = check(
        &["trust", "list", "--project", "tools/app", "-o", "json"],
        0,
        &["releases"],
    );
    let trusted: serde_json::Value = serde_json::from_str(&trusted).unwrap();
    let rule = trusted[0]["id"].to_string();
    check(&["trust", "remove", &rule, "--project", "tools/app"], 0, &[]);
    let other = [
        "trust",
        "add",
        "releases",
        "--project",
        "tools/app",
        "--issuer",
        "https://ci.example.com",
        "--claim",
        "ref=main",
    ];
    check(&other, 0, &["releases"]);
    check(
        &["cleanup", "set", "packages", "tools/app", "--keep", "2"],
        0,
        &["2"],
    );
    let again = [
        "~ cleanup of packages of project tools/app: keep_n 2 -> 10\n",
        "~ protection of packages @tools/* of project tools/app: minimum_access_level_for_push admin -> \
         maintainer, minimum_access_level_for_delete - -> owner",
        "~ trust rule releases of project tools/app: claims",
        "~ project tools/app: package_registry_access_level private -> public",
        "~ member ann of project tools/app: reporter -> owner",
    ];
    check(&["apply", "-f", file], 0, &again);
    check(&["apply", "-f", file, "--yes"], 0, &["did 5 things"]);
    check(&["apply", "-f", file, "--yes"], 0, &["everything is as declared"]);
    check(&["apply", "-f", "/nonexistent"], 1, &["cannot read /nonexistent"]);

    check(&["group", "list"], 0, &["tools", "internal", "Ours"]);
    check(
        &["project", "list", "--group", "tools"],
        0,
        &["tools/app", "What everybody uses"],
    );
    check(&["member", "list", "--group", "tools"], 0, &["ann", "maintainer"]);
    check(&["member", "list"], 2, &["--project", "--group"]);
    check(
        &["member", "set", "nobody", "guest", "--group", "tools"],
        5,
        &["there is no user nobody"],
    );
    check(&["user", "list", "--search", "ann"], 0, &["ann", "Ann"]);
    check(
        &["token", "list", "--project", "tools/app"],
        0,
        &["ci", "runner", "read_package_registry"],
    );

    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    let listed = check(
        &["package", "list", "--project", "acme/demo"],
        0,
        &["generic", "hello", "1.0.0"],
    );
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    check(
        &["package", "files", id, "--project", "acme/demo"],
        0,
        &["hello.txt"],
    );
    check(
        &["package", "delete", id, "--project", "acme/demo"],
        0,
        &["deleted version"],
    );
    check(
        &["package", "list", "--project", "acme/demo"],
        0,
        &["there is nothing"],
    );

    push_image(&env, "acme/demo/app", &["v1", "v2", "v3"]);
    let listed = check(&["image", "list", "--group", "acme"], 0, &["acme/demo/app"]);
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let of_demo = |verb: &'static str, more: &[&'static str]| {
        let command = [&["image", verb, id, "--project", "acme/demo"], more].concat();
        check(&command, 0, &[])
    };
    assert!(of_demo("tags", &[]).contains("acme/demo/app:v2"));
    of_demo("untag", &["v1"]);
    of_demo("untag", &["--matching", "v[23]", "--except", "v3"]);
    let left = of_demo("tags", &[]);
    assert!(
        left.contains(":v3") && !left.contains(":v1") && !left.contains(":v2"),
        "{left}"
    );
    of_demo("delete", &[]);
    assert!(!check(&["image", "list", "--project", "acme/demo"], 0, &[]).contains("acme/demo/app"));

    check(
        &["user", "set", "ann", "--name", "Ann B.", "--admin", "true"],
        0,
        &["changed ann"],
    );
    check(&["user", "list", "--search", "ann"], 0, &["Ann B.", "yes"]);
    check(&["user", "set", "ann", "--admin", "false"], 0, &[]);
    // There is no provider here; what is asked for is said.
    check(
        &["user", "link", "ann", "company", "42"],
        1,
        &["provider is not one"],
    );
    check(&["user", "link", "ann", "company"], 2, &["<SUBJECT>"]);
    check(
        &["user", "link", "ann", "company", "--remove"],
        5,
        &["Identity Not Found"],
    );

    let (_, ann) = cairn(&dev, &["token", "new", "laptop", "--user", "ann", "-o", "json"]);
    let ann: serde_json::Value = serde_json::from_str(&ann).unwrap();
    let (number, secret) = (ann["id"].to_string(), ann["token"].as_str().unwrap());
    let as_ann = ["group", "list", "--token", secret];
    check(&as_ann, 0, &["tools"]);
    check(&["token", "rotate", &number], 0, &["made token laptop", "cnp-"]);
    check(&as_ann, 4, &["next: set CAIRN_TOKEN"]);
    // A password is never an argument, and there is no terminal here to ask at.
    check(&["user", "password", "ann"], 2, &["--stdin"]);
    check(
        &["user", "password", "ann", "secret"],
        2,
        &["unexpected argument"],
    );
    check(&["session", "list"], 0, &["there is nothing"]);
    let node = &env.nodes[0];
    let password = serde_json::json!({ "password": "correct horse battery" });
    let set = http()
        .put(format!("{node}/api/v4/users/1"))
        .header("PRIVATE-TOKEN", &env.token);
    assert!(set.json(&password).send().unwrap().status().is_success());
    let signing_in = serde_json::json!({ "username": "root", "password": "correct horse battery" });
    let signed_in = http()
        .post(format!("{node}/api/cairn/v1/session"))
        .json(&signing_in);
    assert_eq!(signed_in.send().unwrap().status(), 201);
    let sessions = check(
        &["session", "list"],
        0,
        &["SIGNED IN BY", "password", "127.0.0.1"],
    );
    let id = sessions.lines().nth(1).unwrap().split(' ').next().unwrap();
    check(&["session", "end", id], 0, &["ended session"]);
    check(&["session", "end", id], 5, &["404 Session Not Found"]);
    check(&["session", "list"], 0, &["there is nothing"]);
    check(&["user", "block", "ann"], 0, &["blocked ann"]);
    check(
        &["member", "remove", "ann", "--project", "tools/app"],
        0,
        &["has no role of its own"],
    );
    check(&["project", "delete", "tools/app"], 2, &["--with-packages"]);
    check(
        &["project", "delete", "tools/app", "--with-packages"],
        0,
        &["deleted project tools/app"],
    );
    check(&["group", "delete", "tools"], 0, &["deleted group tools"]);

    let told = ["audit", "list", "--limit", "100"];
    let told = check(
        &told,
        0,
        &[
            "group.deleted",
            "user.blocked",
            "token.rotated",
            "deploy_token.created",
        ],
    );
    assert!(!told.contains(&deploy) && !told.contains(secret), "{told}");
    check(&["audit", "verify"], 0, &["follow from each other"]);
    let completion = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["completion", "bash"])
        .output();
    assert!(
        String::from_utf8(completion.unwrap().stdout)
            .unwrap()
            .contains("_cairn()")
    );
    dev.stop_cleanly();
}

/// The commands of the manual, one a line, without the name of the program.
fn manual(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    let commands = lines.map(|line| line.strip_prefix("$ cairn ").unwrap());
    let words = |command: &str| command.split(' ').map(str::to_owned).collect();
    commands.map(words).collect()
}

#[test]
fn the_command_line_lets_jobs_in_as_the_manual_says() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    dev.ready();
    let check = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        for part in parts {
            assert!(printed.contains(part), "{arguments:?}: {printed}");
        }
    };
    let commands = manual(include_str!("../../docs/ci-without-secrets.md"));
    let said: [&[&str]; 3] = [
        &["made trust rule release (id 1)", "repository=acme/demo"],
        &[
            "ID  NAME",
            "1   release",
            "ref=refs/tags/* repository=acme/demo",
            "900s",
        ],
        &[],
    ];
    assert_eq!(commands.len(), said.len());
    for (command, parts) in commands.iter().zip(said) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        check(&command, 0, parts);
    }
    check(
        &["trust", "remove", "1", "--project", "acme/demo"],
        5,
        &["Trust Rule Not Found"],
    );
    let of_group = [
        "trust",
        "add",
        "all",
        "--group",
        "acme",
        "--issuer",
        "https://ci.example",
    ];
    let made = [
        &of_group[..],
        &["--claim", "sub=x", "--scope", "read_registry", "--lifetime", "1h"],
    ]
    .concat();
    check(&made, 0, &["made trust rule all (id 2)"]);
    check(
        &["trust", "list", "--group", "acme"],
        0,
        &["3600s", "read_registry"],
    );
    check(&of_group, 2, &["--claim"]);
    check(
        &[&of_group[..], &["--claim", "sub=*"]].concat(),
        1,
        &["must ask for something"],
    );
    check(&["trust", "list"], 2, &["--project"]);
    dev.stop_cleanly();
}

#[test]
fn a_node_that_was_removed_is_left_out_from_then_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--respawn"]);
    dev.ready();
    let (_, status) = cairn(&dev, &["cluster", "status", "-o", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let last = status["nodes"][2]["node"].to_string();
    for command in ["drain", "remove"] {
        let (code, printed) = cairn(&dev, &["cluster", command, &last]);
        assert_eq!(code, 0, "{printed}");
    }
    let two = |dev: &mut Dev| Env::read(&dev.folder).filter(|env| env.nodes.len() == 2);
    let env = dev.until("dev.env of two nodes", two);
    assert!(dev.printed().contains("was removed from the cluster"));
    assert!(put(&env.nodes[1], &env.token, "hello").is_success());
    dev.stop_cleanly();

    let mut dev = Dev::start(&folder, &[]);
    let env = dev.ready();
    assert_eq!(env.nodes.len(), 2);
    assert!(dev.printed().contains("was removed from the cluster"));
    assert_eq!(get(&env.nodes[0], &env.token), "hello");
    dev.stop_cleanly();
}

/// The examples that `cairn dev` prints are what a new user does first.
#[cfg(feature = "real-clients")]
#[test]
fn the_examples_work_as_they_are_printed() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0"]);
    dev.ready();
    dev.until("banner", |dev| dev.printed().contains("Ctrl-C").then_some(()));
    let commands: Vec<_> = dev
        .printed()
        .lines()
        .filter_map(|line| line.strip_prefix("    ").map(str::to_owned))
        .collect();
    for client in ["curl ", "npm publish", "npm install", "skopeo copy"] {
        assert!(
            commands.iter().any(|line| line.starts_with(client)),
            "no example for {client}"
        );
    }
    let shell = parent.path().join("shell");
    std::fs::create_dir(&shell).unwrap();
    let script = format!("set -eux\n{}\n", commands.join("\n"));
    let done = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&shell)
        .env("HOME", &shell)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&done.stdout)
    );
    assert!(String::from_utf8_lossy(&done.stdout).contains("Hello from Cairn"));
    assert!(
        shell
            .join("hello-app/node_modules/@acme/hello/package.json")
            .exists()
    );
    assert!(shell.join("hello-image/manifest.json").exists());
    dev.stop_cleanly();
}
