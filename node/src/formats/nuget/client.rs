//! The real clients' stories: nuget.exe 4.7 by both protocols and Debian's nuget 2.8 by the older one push, install,
//! list, unlist and upgrade through different nodes, and what they make of errors.
//!
//! `ops/clients.d/nuget` installs the clients. What needs the SDK of .NET, which cannot be had from package registries,
//! is played by curl: the requests of `dotnet restore` and of pushing symbols.

mod golden;
mod manual;
mod older;
mod story;

use super::artifact::tests::{packed, symbols_of};
use crate::testing::client::{Client, Ran, clients};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// What the clients end with when they fail.
const FAILED: i32 = 1;

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// What a client lists, without what it says of its credentials.
fn listed(ran: &Ran) -> Vec<&str> {
    let mut lines = ran.lines();
    lines.retain(|line| !line.starts_with("Using credentials"));
    lines
}

/// The arguments that install the newest version of a package, and what it needs, into a folder.
fn to_install<'a>(id: &'a str, folder: &'a str) -> [&'a str; 7] {
    [
        "install",
        id,
        "-Source",
        "cairn",
        "-OutputDirectory",
        folder,
        "-NoCache",
    ]
}

/// The arguments that unlist a version.
fn to_delete<'a>(id: &'a str, version: &'a str, token: &'a str) -> [&'a str; 8] {
    [
        "delete",
        id,
        version,
        "-Source",
        "cairn",
        "-ApiKey",
        token,
        "-NoPrompt",
    ]
}

/// Where a request comes in.
#[derive(Clone, Copy)]
enum At {
    Project,
    Group,
}

/// A client with a home of its own.
struct Nuget {
    client: Client,
    /// What is called before its arguments.
    program: Vec<String>,
}

impl std::ops::Deref for Nuget {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Somebody with a client at the cluster.
struct Desk {
    nuget: Nuget,
    cluster: &'static TestCluster,
}

impl std::ops::Deref for Desk {
    type Target = Nuget;

    fn deref(&self) -> &Nuget {
        &self.nuget
    }
}

impl Desk {
    async fn new() -> Self {
        Self {
            nuget: Nuget::newest(),
            cluster: cluster().await,
        }
    }

    async fn old() -> Self {
        Self {
            nuget: Nuget::oldest(),
            cluster: cluster().await,
        }
    }

    /// The URL of the registry through one node, and what follows it.
    fn url(&self, node: usize, at: At, path: &str) -> String {
        let place = match at {
            At::Project => "projects/1/packages",
            At::Group => "groups/acme/-/packages",
        };
        format!("{}/api/v4/{place}/nuget/{path}", self.cluster.url(node))
    }
}

impl Nuget {
    /// nuget.exe 4.7.
    fn newest() -> Self {
        let program = clients().join("nuget/nuget.exe");
        assert!(
            program.exists(),
            "{} is missing; run ops/clients",
            program.display()
        );
        Self {
            client: Client::of_system("mono"),
            program: vec![program.to_str().unwrap().to_owned()],
        }
    }

    /// Debian's nuget 2.8.
    fn oldest() -> Self {
        Self {
            client: Client::of_system("nuget"),
            program: Vec::new(),
        }
    }

    /// Has one source, with the name `cairn`, which is signed in to by a token if there is one.
    fn source(&self, url: &str, token: Option<&str>) {
        let credentials = token.map(|token| {
            format!(
                "<packageSourceCredentials><cairn><add key=\"Username\" value=\"__token__\" />\
                 <add key=\"ClearTextPassword\" value=\"{token}\" /></cairn></packageSourceCredentials>"
            )
        });
        let configuration = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<configuration><packageSources><clear />\
             <add key=\"cairn\" value=\"{url}\" /></packageSources>{}</configuration>\n",
            credentials.unwrap_or_default()
        );
        self.write("NuGet.Config", configuration);
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let program = self.program.iter().map(String::as_str);
        let common = ["-NonInteractive", "-ConfigFile", "NuGet.Config"];
        program.chain(arguments.iter().copied()).chain(common).collect()
    }

    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(self.home(), &self.arguments(arguments)).await
    }

    async fn refused(&self, arguments: &[&str], parts: &[&str]) -> Ran {
        self.fails(self.home(), &self.arguments(arguments), FAILED, parts)
            .await
    }

    /// Packs a package by the client itself, with a library in it and this in its metadata; the name of its file.
    async fn pack(&self, id: &str, version: &str, more: &str) -> String {
        let nuspec = format!(
            "<?xml version=\"1.0\"?>\n<package><metadata><id>{id}</id><version>{version}</version>\
             <authors>Ann</authors><description>Says hello from {id} {version}</description>{more}</metadata>\
             <files><file src=\"{id}.txt\" target=\"content\\{id} notes.txt\" /></files></package>\n"
        );
        self.write(format!("{id}.nuspec"), nuspec);
        self.write(format!("{id}.txt"), format!("{id} {version}\n"));
        let program = self.program.iter().map(String::as_str);
        let nuspec = format!("{id}.nuspec");
        let pack: Vec<&str> = program.chain(["pack", &nuspec, "-NoPackageAnalysis"]).collect();
        self.ok(self.home(), &pack)
            .await
            .says("Successfully created package");
        format!("{id}.{version}.nupkg")
    }

    async fn push(&self, file: &str, key: &str) -> Ran {
        self.go(&["push", file, "-Source", "cairn", "-ApiKey", key]).await
    }

    /// Asks for something by curl, which prints the answer and its status.
    async fn curl(&self, arguments: &[&str]) -> Ran {
        let common = ["--silent", "--show-error", "--write-out", "\n%{http_code}"];
        Client::of_system("curl")
            .ok(self.home(), &[&common[..], arguments].concat())
            .await
    }
}
