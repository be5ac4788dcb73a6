//! `dev.env`: what scripts need to know of a running `cairn dev`, in the shell's own syntax.
//!
//! It is there only while all nodes were ready and none has been asked to stop, so a script can
//! wait for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use super::super::failure::{Failure, OrFail as _};
use super::private_file;

/// What `dev.env` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct EnvFile {
    /// Where clients find each node.
    pub(in super::super) nodes: Vec<Url>,
    /// The token of the administrator.
    pub(in super::super) token: String,
    /// The process of each node, as far as it runs.
    pub(super) pids: Vec<Option<u32>>,
}

/// Stands for the number of a process that does not run. `kill` refuses it, while it takes 0 to
/// mean everything.
const NO_PROCESS: &str = "-";

/// The clients that a shell starts read the token from their environment.
const EXPORT: &str = "export CAIRN_NODES CAIRN_TOKEN CAIRN_PIDS";

impl EnvFile {
    /// Where the file is in the folder of a `cairn dev`.
    pub(in super::super) fn path(folder: &Path) -> PathBuf {
        folder.join("dev.env")
    }

    /// Reads the file, if there is one.
    pub(in super::super) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = Self::path(folder);
        match fs::read_to_string(&path) {
            Ok(text) => match Self::parse(&text) {
                Some(env_file) => Ok(Some(env_file)),
                None => Err(Failure::failed(format!("{} is damaged", path.display()))
                    .next("start `cairn dev` again: it writes the file anew")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).or_fail(format_args!("read {}", path.display())),
        }
    }

    /// Puts the file in place, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let path = Self::path(folder);
        private_file(&path, &self.render()).or_fail(format_args!("write {}", path.display()))
    }

    /// Takes the file away, if it is there.
    pub(super) fn remove(folder: &Path) -> Result<(), Failure> {
        let path = Self::path(folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).or_fail(format_args!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn render(&self) -> String {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|url| url.as_str().trim_end_matches('/'))
            .collect();
        let pids: Vec<_> = self
            .pids
            .iter()
            .map(|pid| pid.map_or_else(|| NO_PROCESS.to_owned(), |pid| pid.to_string()))
            .collect();
        format!(
            "CAIRN_NODES=\"{}\"\nCAIRN_TOKEN={}\nCAIRN_PIDS=\"{}\"\n{EXPORT}\n",
            nodes.join(" "),
            self.token,
            pids.join(" ")
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim_matches('"'))
        };
        Some(Self {
            nodes: value("CAIRN_NODES")?
                .split_whitespace()
                .map(|url| url.parse().ok())
                .collect::<Option<_>>()?,
            token: value("CAIRN_TOKEN")?.to_owned(),
            pids: value("CAIRN_PIDS")?
                .split_whitespace()
                .map(|pid| pid.parse().ok())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(EnvFile::read(folder.path()).unwrap(), None);
        EnvFile::remove(folder.path()).unwrap();
        let env_file = EnvFile {
            nodes: vec![
                "http://127.0.0.1:7080".parse().unwrap(),
                "http://127.0.0.1:7082".parse().unwrap(),
            ],
            token: "cnp-secret".into(),
            pids: vec![Some(12), None],
        };
        env_file.write(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(EnvFile::path(folder.path())).unwrap(),
            "CAIRN_NODES=\"http://127.0.0.1:7080 http://127.0.0.1:7082\"\n\
             CAIRN_TOKEN=cnp-secret\n\
             CAIRN_PIDS=\"12 -\"\n\
             export CAIRN_NODES CAIRN_TOKEN CAIRN_PIDS\n"
        );
        assert_eq!(EnvFile::read(folder.path()).unwrap(), Some(env_file));
        fs::write(EnvFile::path(folder.path()), "CAIRN_NODES=").unwrap();
        EnvFile::read(folder.path()).unwrap_err();
    }
}
