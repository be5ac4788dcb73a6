//! The real clients' stories: Conan 2, and Conan 1 with and without revisions, create packages, publish
//! them by one node and install them through others; and what they make of errors.
//!
//! `ops/clients.d/conan` installs the clients. Those that only read sign in with a deploy token of the
//! project that may do no more. Nothing needs a compiler.

mod first;
mod golden;
mod manual;
mod second;

use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// What both generations end with when they fail.
const FAILED: i32 = 1;

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// Somebody with a Conan and a cache of their own.
struct Desk {
    client: Client,
    cluster: &'static TestCluster,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A client whose cache is in its home.
fn with_cache(client: Client) -> Client {
    let (first, second) = (client.folder("first"), client.folder("second"));
    std::fs::write(second.join("global.conf"), "core:non_interactive = True\n").unwrap();
    client
        .with("CONAN_HOME", second)
        .with("CONAN_USER_HOME", first)
        .with("CONAN_NON_INTERACTIVE", "1")
}

impl Desk {
    async fn with(generation: &str) -> Self {
        let client = with_cache(Client::kept(&format!("conan/{generation}/bin/conan")));
        Self {
            client,
            cluster: cluster().await,
        }
    }

    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(self.home(), arguments).await
    }

    async fn refused(&self, arguments: &[&str], parts: &[&str]) -> Ran {
        self.fails(self.home(), arguments, FAILED, parts).await
    }

    /// Adds the remote of the project, through one node.
    async fn add_remote(&self, node: usize) {
        let url = format!("{}/api/v4/projects/1/packages/conan", self.cluster.url(node));
        self.go(&["remote", "add", "cairn", &url]).await;
    }

    /// Writes a recipe of a header that holds this text.
    fn recipe(&self, name: &str, version: &str, text: &str) {
        let recipe = format!(
            "import os\n\
             from conan import ConanFile\n\
             from conan.tools.files import save\n\n\n\
             class Header(ConanFile):\n    \
                 name = \"{name}\"\n    \
                 version = \"{version}\"\n    \
                 settings = \"os\", \"arch\"\n    \
                 options = {{\"shared\": [True, False]}}\n    \
                 default_options = {{\"shared\": False}}\n    \
                 exports = \"notes.txt\"\n    \
                 exports_sources = \"src/*\"\n\n    \
                 def package(self):\n        \
                     save(self, os.path.join(self.package_folder, \"include\", \"header.h\"), \"{text}\")\n"
        );
        self.write("recipe/conanfile.py", recipe);
        self.write("recipe/notes.txt", "notes");
        self.write("recipe/src/header.c", text);
    }
}
