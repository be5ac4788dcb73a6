//! The real clients' stories: `gem` builds, pushes, finds, installs through other nodes, upgrades and
//! yanks; Bundler installs, updates and tells what is outdated; and what they make of errors.
//!
//! `ops/clients.d/rubygems` installs the clients. Those that only read sign in with a deploy token of
//! the project that may do no more.

mod attested;
mod bundler;
mod gem;
mod manual;

use std::os::unix::fs::PermissionsExt;

use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// What `gem` ends with when it is refused.
const FAILED: i32 = 1;

/// What `gem` ends with when it does not find something.
const NOT_FOUND: i32 = 2;

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// Somebody with a program of Ruby's and a home of their own.
struct Desk {
    client: Client,
    cluster: &'static TestCluster,
    /// What may fetch, and nothing else.
    read: String,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The same with everything that is installed below its home.
fn at_home(client: Client) -> Client {
    let (gems, cache) = (client.home().join("gems"), client.home().join("cache"));
    client
        .with("GEM_HOME", &gems)
        .with("GEM_PATH", &gems)
        .with("GEM_SPEC_CACHE", cache)
        .with("LC_ALL", "C.UTF-8")
}

impl Desk {
    async fn with(program: &str) -> Self {
        let cluster = cluster().await;
        Self {
            client: at_home(Client::of_system(program)),
            cluster,
            read: cluster.deploy_token(&["read_package_registry"]).await,
        }
    }

    /// The URL that gems are pushed to through one node.
    fn host(&self, node: usize) -> String {
        format!("{}/api/v4/projects/1/packages/rubygems", self.cluster.url(node))
    }

    /// The URL that gems are installed from, with what signs in.
    fn source(&self, node: usize, of: &str, token: &str) -> String {
        let url = format!("{}/api/v4/{of}/packages/rubygems/", self.cluster.url(node));
        url.replacen("://", &format!("://__token__:{token}@"), 1)
    }

    /// Runs where no gem lies: `gem` prefers those to what is to be downloaded.
    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(&self.folder("work"), arguments).await
    }

    async fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) -> Ran {
        self.fails(&self.folder("work"), arguments, code, parts).await
    }

    /// Keeps keys, each for a host, as `gem` wants them kept.
    fn keep_keys(&self, keys: &[(&str, &str)]) {
        let lines: String = keys
            .iter()
            .map(|(host, key)| format!("{host}: {key}\n"))
            .collect();
        self.write(".gem/credentials", format!("---\n{lines}"));
        let file = self.home().join(".gem/credentials");
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the sources of a gem, which tells its version, and a specification with `more` in it.
    fn sources(&self, name: &str, version: &str, more: &str) {
        let specification = format!(
            "Gem::Specification.new do |s|\n  s.name = '{name}'\n  s.version = '{version}'\n  s.summary = 'Tells {name}'\n  \
             s.authors = ['Ann']\n  s.license = 'MIT'\n  s.homepage = 'https://acme.example/'\n  \
             s.files = ['lib/{name}.rb']\n  s.required_ruby_version = '>= 2.7'\n{more}\nend\n"
        );
        self.write(format!("{name}.gemspec"), specification);
        let code = format!("puts '{name} is {version}'\n");
        self.write(format!("lib/{name}.rb"), code);
    }

    /// Builds a gem; the name of its file, which lies in the home.
    async fn build(&self, name: &str, version: &str, more: &str) -> String {
        self.sources(name, version, more);
        let gem = Client::of_system("gem");
        let ran = gem.ok(self.home(), &["build", &format!("{name}.gemspec")]).await;
        let file = ran
            .lines()
            .into_iter()
            .find_map(|line| line.strip_prefix("File: "));
        file.unwrap_or_else(|| panic!("{ran}")).to_owned()
    }

    /// Builds a gem and pushes it through one node.
    async fn publish(&self, node: usize, name: &str, version: &str, more: &str) {
        let file = self.build(name, version, more).await;
        self.push(node, &file).await.says("Successfully registered gem");
    }

    async fn push(&self, node: usize, file: &str) -> Ran {
        let gem = Client::of_system("gem").with("GEM_HOST_API_KEY", &self.cluster.token);
        gem.ok(self.home(), &["push", file, "--host", &self.host(node)])
            .await
    }

    /// Sends a request by curl, as somebody with this token; what was answered, and the status.
    async fn curl(&self, path: &str, token: &str, more: &[&str]) -> Ran {
        let url = format!("{}/{path}", self.host(0));
        let authorization = format!("Authorization: {token}");
        let common = ["-sS", "--write-out", "\n%{http_code}", "-H", &authorization, &url];
        let curl = Client::of_system("curl");
        curl.ok(self.home(), &[&common[..], more].concat()).await
    }

    /// What a program says that requires an installed gem.
    async fn require(&self, name: &str) -> Ran {
        let ruby = Client::of_system("ruby").with("GEM_HOME", self.home().join("gems"));
        let code = format!("require '{name}'");
        ruby.ok(&self.folder("work"), &["-e", &code]).await
    }
}
