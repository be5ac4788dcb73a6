//! A cluster of `cairn dev`, and what is asked of it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sha2::{Digest as _, Sha256};

/// Far longer than anything here takes, so that a hang ends.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(180);

pub(crate) const FILE: &str = "api/v4/projects/1/packages/generic/hello/1.0.0/hello.txt";

/// A running `cairn dev`. Dropping it kills it, and its nodes end with it.
pub(crate) struct Dev {
    pub(crate) child: Child,
    pub(crate) folder: PathBuf,
    lines: Receiver<String>,
    pub(crate) seen: String,
}

/// What `dev.env` says.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) nodes: Vec<String>,
    pub(crate) token: String,
    /// 0 stands for a node that does not run.
    pub(crate) pids: Vec<i32>,
}

impl Dev {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
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
    pub(crate) fn ready(&mut self) -> Env {
        self.until("dev.env", |dev| {
            assert!(dev.child.try_wait().unwrap().is_none(), "cairn dev ended");
            Env::read(&dev.folder)
        })
    }

    /// What it has printed so far.
    pub(crate) fn printed(&mut self) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            self.seen += &line;
            self.seen.push('\n');
        }
        &self.seen
    }

    /// Looks until there is something.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
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
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        signal(self.child.id() as i32, Signal::TERM);
        let status = self.until("end", |dev| dev.child.try_wait().unwrap());
        // Its output has ended with it; what is under way in the pipes comes.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
            self.seen += &line;
            self.seen.push('\n');
        }
        (status, std::mem::take(&mut self.seen))
    }

    pub(crate) fn stop_cleanly(self) {
        let folder = self.folder.clone();
        let (status, printed) = self.stop();
        assert!(status.success(), "{printed}\n{}", ends_of_logs(&folder));
    }
}

/// The last lines of what each node has logged.
fn ends_of_logs(folder: &Path) -> String {
    let mut ends = String::new();
    for node in 1..=3 {
        let log = std::fs::read_to_string(folder.join(format!("node-{node}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        ends += &format!("node {node}:\n");
        for line in &lines[lines.len().saturating_sub(20)..] {
            ends += &format!("  {line}\n");
        }
    }
    ends
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Env {
    pub(crate) fn read(folder: &Path) -> Option<Self> {
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

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
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

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) fn runs(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

pub(crate) fn http() -> reqwest::blocking::Client {
    reqwest::blocking::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn put(node: &str, token: &str, body: &'static str) -> reqwest::StatusCode {
    let request = http()
        .put(format!("{node}/{FILE}"))
        .header("PRIVATE-TOKEN", token);
    request.body(body).send().unwrap().status()
}

pub(crate) fn get(node: &str, token: &str) -> String {
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

/// Pushes an image without layers, under each of these tags.
pub(crate) fn push_image(env: &Env, repository: &str, tags: &[&str]) {
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
pub(crate) fn cairn(dev: &Dev, arguments: &[&str]) -> (i32, String) {
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
