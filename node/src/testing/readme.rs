//! The examples of the README, run as they are printed there; only the ports are others.

use crate::formats::npm::client as npm;
use crate::formats::pypi::client as pypi;
use crate::testing::client::Client;
use crate::testing::cluster::{cluster, unique};

pub(crate) const README: &str = include_str!("../../../README.md");

/// The fenced blocks of one language in a text.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The section on use.
fn use_it() -> &'static str {
    let section = README.split("\n## Use it\n").nth(1).unwrap();
    section.split("\n## ").next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_readme_work_as_they_are_printed() {
    let cluster = cluster().await;
    let python = pypi::bin("twine-7");
    let shell = Client::of_system("bash").finding([npm::bin("npm-11"), npm::bin("node"), python]);
    // What is installed must not change the clients themselves.
    let installed = shell.folder("installed");
    let shell = shell.with("PIP_TARGET", &installed);
    let here = |text: &str| {
        let text = text.replace("127.0.0.1:7080", &cluster.nodes[0]);
        text.replace("127.0.0.1:7082", &cluster.nodes[1])
    };
    let env = format!(
        "CAIRN_NODES=\"{}\"\nCAIRN_TOKEN={}\nCAIRN_PIDS=\"\"\nexport CAIRN_NODES CAIRN_TOKEN CAIRN_PIDS\n",
        [0, 1, 2].map(|node| cluster.url(node)).join(" "),
        cluster.root
    );
    shell.write("cairn-data/dev.env", env);
    let npmrc = blocks(use_it(), "ini");
    assert_eq!(npmrc.len(), 1);
    shell.write("package/.npmrc", here(&npmrc[0]));
    let name = unique("readme");
    shell.write(
        "package/package.json",
        format!("{{\"name\": \"{name}\", \"version\": \"1.0.0\"}}"),
    );
    crate::formats::oci::client::lay_out(&shell, "my-image", "1.0", b"readme");

    let scripts = blocks(use_it(), "sh");
    let [environment, curl, python, skopeo] = scripts.as_slice() else {
        panic!("the README has other examples than this test knows");
    };
    let publish = format!("cd package\nnpm publish\nnpm view {name} version\ncd ..\n");
    let builder = pypi::client("twine-7", "python");
    let dist = pypi::build(&builder, &name, "1.0.0", &[]).await;
    let python = here(python).replace("dist/*", &format!("{}/*", dist.display()));
    let python = python.replace(" hello\n", &format!(" {name}\n"));
    let script = [
        "set -e\n",
        environment,
        &here(curl),
        &publish,
        &python,
        &here(skopeo),
    ]
    .concat();
    let ran = shell.ok(shell.home(), &["-c", &script]).await;
    pypi::has(&installed, &name, "1.0.0");
    ran.says("Hello from Cairn")
        .says("1.0.0")
        .says("Writing manifest");
}
