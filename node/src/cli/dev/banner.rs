//! What `cairn dev` prints once its cluster is ready. The examples are run by a test, as printed.

use std::fmt::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use url::Url;

use super::env_file::EnvFile;
use super::node::shell_quote;

/// Everything that is told.
#[derive(Serialize)]
pub(super) struct Banner<'a> {
    pub(super) folder: &'a Path,
    pub(super) nodes: &'a [Url],
    /// Each node's command line.
    pub(super) commands: &'a [String],
    /// The administrator's token, at the first start.
    pub(super) token: Option<&'a str>,
    pub(super) respawn: bool,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env_file = shell_quote(&EnvFile::path(self.folder).to_string_lossy());
        let count = match self.nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        };
        writeln!(
            out,
            "\nCairn is running: {count}, data in {}\n",
            self.folder.display()
        )?;
        for (url, number) in self.nodes.iter().zip(1..) {
            writeln!(out, "  node {number}   {}", base(url))?;
        }
        match self.token {
            Some(token) => writeln!(
                out,
                "\nThe token of the administrator `root`, shown only this once:\n\n  {token}\n"
            )?,
            None => writeln!(out, "\nThe token is the one shown at the first start.\n")?,
        }
        writeln!(
            out,
            "In another shell, set CAIRN_NODES, CAIRN_TOKEN and CAIRN_PIDS by"
        )?;
        writeln!(out, "\n    . {env_file}\n")?;
        // Each example publishes through the first node and fetches through the last.
        if let [first, .., last] | [first @ last] = self.nodes {
            for example in [curl(first, last), npm(first, last), skopeo(first, last)] {
                writeln!(out, "{example}")?;
            }
        }
        if self.respawn {
            writeln!(out, "A node that ends is started again.")?;
        } else {
            writeln!(out, "A node that ends stays so. To start it again:\n")?;
            for command in self.commands {
                writeln!(out, "  {command}")?;
            }
        }
        write!(out, "\nCtrl-C stops all nodes.")
    }
}

/// Without the slash that a URL without a path ends with.
fn base(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

fn host(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

fn curl(first: &Url, last: &Url) -> String {
    let file = "api/v4/projects/1/packages/generic/hello/1.0.0/hello.txt";
    let mut text = String::from("curl, publishing a file and fetching it:\n\n");
    lines(
        &mut text,
        &[
            "echo 'Hello from Cairn' > hello.txt",
            &format!(
                "curl --fail -H \"PRIVATE-TOKEN: $CAIRN_TOKEN\" -T hello.txt {}{file}",
                first
            ),
            &format!("curl --fail -H \"PRIVATE-TOKEN: $CAIRN_TOKEN\" {last}{file}"),
        ],
    );
    text
}

fn npm(first: &Url, last: &Url) -> String {
    let registry = |url: &Url| format!("{}/api/v4/projects/1/packages/npm/", host(url));
    let mut text = String::from("npm, publishing a package and installing it:\n\n");
    let options = |url: &Url| {
        let registry = registry(url);
        format!("--registry=http://{registry} \"--//{registry}:_authToken=$CAIRN_TOKEN\"")
    };
    lines(
        &mut text,
        &[
            "mkdir -p hello-npm hello-app",
            "echo '{\"name\": \"@acme/hello\", \"version\": \"1.0.0\"}' > hello-npm/package.json",
            &format!("npm publish ./hello-npm {}", options(first)),
            &format!("npm install --prefix hello-app @acme/hello {}", options(last)),
        ],
    );
    text
}

fn skopeo(first: &Url, last: &Url) -> String {
    let mut text = String::from("skopeo, pushing an image with one file and pulling it:\n\n");
    let image = |url: &Url| format!("docker://{}/acme/demo/hello:1.0", host(url));
    lines(
        &mut text,
        &[
            "tar -cf hello.tar hello.txt",
            &format!(
                "skopeo copy --dest-tls-verify=false --dest-creds \"root:$CAIRN_TOKEN\" tarball:hello.tar {}",
                image(first)
            ),
            &format!(
                "skopeo copy --src-tls-verify=false --src-creds \"root:$CAIRN_TOKEN\" {} dir:hello-image",
                image(last)
            ),
        ],
    );
    text
}

fn lines(text: &mut String, commands: &[&str]) {
    for command in commands {
        writeln!(text, "    {command}").expect("a String takes all that is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(nodes: &[Url], token: Option<&str>) -> String {
        Banner {
            folder: Path::new("/data/my cluster"),
            nodes,
            commands: &["cairn serve --config x".to_owned()],
            token,
            respawn: false,
        }
        .to_string()
    }

    #[test]
    fn the_token_is_shown_once_and_never_in_the_examples() {
        let nodes = [
            "http://127.0.0.1:1/".parse().unwrap(),
            "http://127.0.0.1:3/".parse().unwrap(),
        ];
        let first = banner(&nodes, Some("cnp-secret"));
        assert_eq!(first.matches("cnp-secret").count(), 1);
        assert!(!banner(&nodes, None).contains("cnp-"));
        assert!(first.contains("    . '/data/my cluster/dev.env'\n"));
        assert!(first.contains("http://127.0.0.1:1/api/v4/projects/1/packages/generic"));
        assert!(first.contains("docker://127.0.0.1:3/acme/demo/hello:1.0"));
    }

    #[test]
    fn one_node_publishes_and_serves() {
        let text = banner(&["http://127.0.0.1:1/".parse().unwrap()], None);
        assert!(text.contains("Cairn is running: 1 node,"));
        assert!(text.contains("skopeo copy --src-tls-verify=false"));
    }
}
