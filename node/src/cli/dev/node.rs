//! One node of a `cairn dev`: a process of the same program.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cairn_cluster::identity::holds_node;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use url::Url;

use super::super::failure::{Code, Failure, OrFail as _};
use super::super::output::progress;
use super::folder::NodeFiles;
use crate::lock::PidLock;

/// Between two looks at a process or at a port.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How often whoever waits is told that it goes on.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

/// After the drain, a node has this long to close its stores.
const CLOSING: Duration = Duration::from_secs(30);

/// How much of a log is shown when a node fails to start.
const LOG_LINES: usize = 12;

/// Variables that would make all nodes the same one, or speak what is not spoken here.
const NOT_INHERITED: [&str; 8] = [
    "CAIRN_NODE_DATA",
    "CAIRN_HTTP_LISTEN",
    "CAIRN_HTTP_TLS_CERTIFICATE",
    "CAIRN_HTTP_TLS_KEY",
    "CAIRN_HTTP_PROXY_PROTOCOL",
    "CAIRN_HTTP_EXTERNAL_URL",
    "CAIRN_CLUSTER_LISTEN",
    "CAIRN_CLUSTER_ADVERTISE",
];

/// A node, whether it runs or not.
pub(super) struct Node {
    files: NodeFiles,
    program: PathBuf,
    child: Option<Child>,
    started: Instant,
    is_removed: bool,
}

impl Node {
    /// A node that is not started yet.
    pub(super) fn new(files: NodeFiles, program: &Path) -> Self {
        Self {
            files,
            program: program.to_owned(),
            child: None,
            started: Instant::now(),
            is_removed: false,
        }
    }

    /// Whether its process ended because it was removed from the cluster, for good.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// What that means.
    pub(super) fn removal(&self) -> String {
        format!(
            "node {} was removed from the cluster; {} is of no use any more",
            self.number(),
            self.files.config.node.data.display()
        )
    }

    /// 1 for the first.
    pub(super) fn number(&self) -> usize {
        self.files.number
    }

    /// Where clients find it.
    pub(super) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.files.config.http.listen)).expect("an address makes a URL")
    }

    /// The command that starts it by hand.
    pub(super) fn command_line(&self) -> String {
        format!(
            "{} serve --config {} --pid-file {}",
            shell_quote(&self.program.to_string_lossy()),
            shell_quote(&self.files.config_path.to_string_lossy()),
            shell_quote(&self.files.pid_path.to_string_lossy())
        )
    }

    /// Its process: the one started here, or one that was started by hand.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.child {
            Some(child) => child.id(),
            None => {
                let holder = PidLock::holder(&self.files.pid_path);
                holder.ok().flatten()?.pid()
            }
        }
    }

    /// How long ago it was started here.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it has been founded, or admitted to its cluster.
    pub(super) fn is_member(&self) -> Result<bool, Failure> {
        holds_node(&self.files.config.node.data).or_fail(format_args!("look for node {}", self.number()))
    }

    /// Starts its process, which ends when this one does.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let log_path = &self.files.log_path;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log_path)
            .or_fail(format_args!("write {}", log_path.display()))?;
        let errors = log
            .try_clone()
            .or_fail(format_args!("write {}", log_path.display()))?;
        let child = self
            .tool(&["serve"])
            .stdout(log)
            .stderr(errors)
            .spawn()
            .or_fail(format_args!("start node {}", self.number()))?;
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    /// Runs another command of the same program for this node, and gives what it prints.
    pub(super) async fn run(&self, arguments: &[&str], secret: Option<&str>) -> Result<Vec<u8>, Failure> {
        let mut command = self.tool(arguments);
        command
            .args(["--output", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let doing = format!("run cairn {} for node {}", arguments.join(" "), self.number());
        let mut child = command.spawn().or_fail(&doing)?;
        let mut input = child.stdin.take().expect("standard input is a pipe");
        if let Some(secret) = secret {
            tokio::io::AsyncWriteExt::write_all(&mut input, secret.as_bytes())
                .await
                .or_fail(&doing)?;
        }
        drop(input);
        let finished = child.wait_with_output().await.or_fail(&doing)?;
        if finished.status.success() {
            Ok(finished.stdout)
        } else {
            let said = String::from_utf8_lossy(&finished.stderr);
            let said: Option<serde_json::Value> = serde_json::from_str(said.trim()).ok();
            let why = said
                .as_ref()
                .and_then(|said| said.get("error")?.as_str())
                .map_or_else(|| describe(finished.status), str::to_owned);
            Err(Failure::failed(format!("cannot {doing}: {why}")))
        }
    }

    /// A command of the same program, in its own process group so that Ctrl-C reaches it only
    /// through this process, which then stops all nodes in order.
    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--config")
            .arg(&self.files.config_path)
            .arg("--pid-file")
            .arg(&self.files.pid_path)
            .arg("--parent")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .process_group(0);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
    }

    /// Waits until it serves, or turns out to be removed.
    pub(super) async fn ready(&mut self, http: &reqwest::Client) -> Result<(), Failure> {
        let url = self.url().join("/-/ready").expect("the path is part of a URL");
        let mut said = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                if self.is_removed {
                    return Ok(());
                }
                let number = self.number();
                let log = &self.files.log_path;
                return Err(Failure::failed(format!(
                    "node {number} {}; the end of its log:\n{}",
                    describe(status),
                    last_lines(log, LOG_LINES)
                ))
                .next(format!("see {}", log.display())));
            }
            if let Ok(answer) = http.get(url.clone()).send().await
                && answer.status() == StatusCode::OK
            {
                return Ok(());
            }
            if said.elapsed() > BETWEEN_WORDS {
                progress(format_args!(
                    "waiting for node {}; it logs to {}",
                    self.number(),
                    self.files.log_path.display()
                ));
                said = Instant::now();
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// How its process ended, the first time that this is asked after it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let ended = child.try_wait().or_fail("look at a process")?;
        if let Some(status) = ended {
            self.child = None;
            self.is_removed = status.code() == Some(Code::Removed as i32);
        }
        Ok(ended)
    }

    /// Asks its process to stop, and returns which one that was.
    pub(super) fn ask_to_stop(&self) -> Option<u32> {
        let pid = self.pid()?;
        signal(pid, Signal::TERM);
        Some(pid)
    }

    /// Waits until its process has stopped; ends it when that takes longer than it may.
    pub(super) async fn stopped(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.files.config.node.drain + CLOSING;
        let mut status = None;
        while let Some(pid) = self.pid() {
            if let Some(ended) = self.ended()? {
                status = Some(ended);
                continue;
            }
            if Instant::now() > deadline {
                signal(pid, Signal::KILL);
                self.reap().await?;
                return Err(Failure::failed(format!(
                    "node {} (process {pid}) did not stop and was killed",
                    self.number()
                ))
                .next(format!("see the end of {}", self.files.log_path.display())));
            }
            sleep(BETWEEN_LOOKS).await;
        }
        match status {
            Some(status) if !status.success() => Err(Failure::failed(format!(
                "node {} {} while it stopped",
                self.number(),
                describe(status)
            ))
            .next(format!("see the end of {}", self.files.log_path.display()))),
            _ => Ok(()),
        }
    }

    async fn reap(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.wait().await.or_fail("wait for a process")?;
        }
        Ok(())
    }
}

/// A process that is gone already needs no signal.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "stopped".to_owned(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(number)) => match Signal::from_named_raw(number) {
            Some(Signal::KILL) => "was killed (SIGKILL)".to_owned(),
            Some(Signal::ABORT) => "aborted (SIGABRT)".to_owned(),
            Some(Signal::TERM) => "was ended (SIGTERM)".to_owned(),
            _ => format!("was ended by signal {number}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// Makes a word of a shell command, so that what is printed can be pasted.
pub(in super::super) fn shell_quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:=@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The end of a log, whatever its size.
fn last_lines(path: &Path, count: usize) -> String {
    const MOST_BYTES: u64 = 16 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = fs::File::open(path)?;
        let size_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(size_bytes.saturating_sub(MOST_BYTES)))?;
        let mut end = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    match read() {
        Ok(end) => {
            let text = String::from_utf8_lossy(&end);
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_quote("/data/node-1.toml"), "/data/node-1.toml");
        assert_eq!(shell_quote("my data"), "'my data'");
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
        assert_eq!(shell_quote(""), "''");
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(file.path(), 2), "two\nthree");
        assert_eq!(last_lines(file.path(), 9), "one\ntwo\nthree");
        assert!(last_lines(Path::new("/nowhere/at/all"), 1).contains("cannot read"));
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed (SIGKILL)");
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "failed with exit code 1");
        assert_eq!(describe(ExitStatus::from_raw(0)), "stopped");
        assert_eq!(describe(ExitStatus::from_raw(11)), "was ended by signal 11");
    }
}
