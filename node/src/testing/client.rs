//! Runs a real client in a home of its own, so that nothing that it knows from before hides a
//! request, and judges how it ended and what it said.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A client that takes longer than this hangs: far longer than anything here takes on a machine
/// that has other things to do.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How often a client is run that a signal ends.
const MAX_ATTEMPTS: u32 = 3;

/// A client and its home, in which it runs.
pub(crate) struct Client {
    program: PathBuf,
    home: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Client {
    /// One that Debian has.
    pub(crate) fn of_system(name: &str) -> Self {
        let folders = ["/usr/bin", "/usr/local/bin"];
        let program = folders.map(|folder| Path::new(folder).join(name));
        let program = program.into_iter().find(|program| program.exists());
        Self::of(program.unwrap_or_else(|| panic!("{name} is missing; run ops/clients")))
    }

    /// One that `ops/clients` keeps in its own folder, at this path there.
    pub(crate) fn kept(path: &str) -> Self {
        let program = clients().join(path);
        assert!(
            program.exists(),
            "{} is missing; run ops/clients",
            program.display()
        );
        Self::of(program)
    }

    /// The cargo that runs the tests, which finds its compiler beside it.
    pub(crate) fn of_toolchain() -> Self {
        let folder = Self::toolchain_folder().expect("cargo runs the tests");
        Self::of(folder.join("cargo")).finding([folder])
    }

    /// Where the cargo that runs the tests lies.
    pub(crate) fn toolchain_folder() -> Option<PathBuf> {
        let cargo = PathBuf::from(std::env::var_os("CARGO")?);
        cargo.parent().map(Path::to_owned)
    }

    /// This program.
    pub(crate) fn of(program: PathBuf) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let client = Self {
            program,
            home,
            environment: Vec::new(),
        };
        let home = client.home().to_owned();
        client
            .with("PATH", path)
            .with("HOME", &home)
            .with("TMPDIR", &home)
    }

    /// The same with a variable of its environment, which has nothing else than a path and homes.
    pub(crate) fn with(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push((name, value));
        self
    }

    /// The same with further folders in which it finds what it calls, before all others.
    pub(crate) fn finding(self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut path = std::env::join_paths(folders).unwrap();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        self.with("PATH", path)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let file = self.home().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// Reads a file below the home.
    #[track_caller]
    pub(crate) fn read(&self, file: impl AsRef<Path>) -> Vec<u8> {
        let file = self.home().join(file);
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// A folder below the home, made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn ran(&self, arguments: &[&str], output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            what: format!("{} {}", self.program.display(), arguments.join(" ")),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs it in a folder.
    ///
    /// One that a signal ended is run again: mono aborts now and then when it has done everything and ends its threads,
    /// and what it did here can be done twice.
    pub(crate) async fn run(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let mut attempt = 1;
        loop {
            let mut command = self.command(folder, arguments);
            let output = tokio::time::timeout(PATIENCE, command.output()).await;
            let output = output.unwrap_or_else(|_| panic!("{} {arguments:?} hangs", self.program.display()));
            let ran = self.ran(arguments, &output.unwrap());
            if ran.code.is_some() || attempt == MAX_ATTEMPTS {
                return ran;
            }
            attempt += 1;
        }
    }

    /// Runs it in a folder; it must succeed.
    pub(crate) async fn ok(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let ran = self.run(folder, arguments).await;
        assert_eq!(ran.code, Some(0), "{ran}");
        ran
    }

    /// Runs it in a folder; it must end with this code, and say each of these.
    pub(crate) async fn fails(&self, folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) -> Ran {
        let ran = self.run(folder, arguments).await;
        assert_eq!(ran.code, Some(code), "{ran}");
        for part in parts {
            ran.says(part);
        }
        ran
    }

    /// Runs a command that asks questions, and answers them; it must succeed.
    pub(crate) async fn answers(&self, folder: &Path, arguments: &[&str], answers: &[(&str, &str)]) {
        let mut child = self
            .command(folder, arguments)
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
        };
        tokio::time::timeout(PATIENCE, talk)
            .await
            .expect("the client hangs");
        let ran = self.ran(arguments, &child.wait_with_output().await.unwrap());
        assert_eq!(ran.code, Some(0), "{ran}");
    }
}

/// What a command did.
pub(crate) struct Ran {
    what: String,
    /// What it ended with; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self}"))
    }

    /// Makes sure that it said something, on either stream.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        let said = self.stdout.contains(part) || self.stderr.contains(part);
        assert!(said, "does not say {part:?}: {self}");
        self
    }

    /// The lines that it printed and that are not empty.
    pub(crate) fn lines(&self) -> Vec<&str> {
        let lines = self.stdout.lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "{what}\nended with {code:?} and said\n{stdout}\n{stderr}")
    }
}

/// Where `ops/clients` installs what Debian does not have.
pub(crate) fn clients() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("CAIRN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("cairn")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/cairn")));
    let clients = set("CAIRN_CLIENTS").or_else(|| cache.map(|cache| cache.join("clients")));
    clients.expect("CAIRN_CLIENTS or HOME is set")
}

/// Bytes that no compression or repetition makes small, the same in every run for one seed.
pub(crate) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
