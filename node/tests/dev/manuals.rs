//! What is printed for people to type.

use std::process::Command;

use crate::harness::*;

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

/// The commands that a document gives for a shell.
fn scripts(document: &str) -> String {
    let blocks = document.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

/// Replaces every one of these parts, each of which is there.
fn with(mut script: String, replaced: &[(&str, &str)]) -> String {
    for (part, other) in replaced {
        assert!(script.contains(part), "no {part:?} in\n{script}");
        script = script.replace(part, other);
    }
    script
}

/// Runs what documents say against one cluster, in one folder. What differs is what depends on the
/// machine: numbers, ports, terminals and folders of the system.
#[test]
fn the_manuals_do_what_they_say() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    let url = env.nodes[0].as_str();
    let run = |what: &str, script: &str| {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_cairn"))
            .parent()
            .unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let done = Command::new("bash")
            .args(["-euxo", "pipefail", "-c", script])
            .current_dir(parent.path())
            .env("HOME", parent.path())
            .env("PATH", path)
            .env("CAIRN_URL", url)
            .env("CAIRN_TOKEN", &env.token)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{what}: {said}\n{printed}");
        printed
    };

    let administration = with(
        scripts(include_str!("../../../docs/administration.md")),
        &[
            (
                "user password ann  ",
                "user password ann --stdin <<< 'correct horse battery' ",
            ),
            // There is no provider.
            ("cairn user link", "! cairn user link"),
            (
                "token revoke 3",
                "token revoke $(cairn token list --project tools/app -o json | jq '.[0].id')",
            ),
            (
                "token rotate 7",
                "token rotate $(cairn token new mine -o json | jq .id)",
            ),
            (
                "image untag 7",
                "image untag $(cairn image list --project tools/app -o json | jq '.[0].id')",
            ),
            ("/etc/bash_completion.d/cairn", "completion"),
        ],
    );
    let (before, after) = administration.split_once("cairn image list").unwrap();
    run("administration", before);
    push_image(&env, "tools/app/web", &["v1", "v2"]);
    let shown = run("administration", &format!("cairn image list{after}"));
    assert!(shown.contains("tools/app/web"), "{shown}");

    let publish = |version: &str| {
        let target = format!("{url}/api/v4/projects/1/packages/generic/hello/{version}/hello.txt");
        let request = http()
            .put(target)
            .header("PRIVATE-TOKEN", &env.token)
            .body("hello");
        assert!(request.send().unwrap().status().is_success());
    };
    let policies = with(
        scripts(include_str!("../../../docs/storage-policies.md")),
        &[
            (". cairn-data/dev.env", ". data/dev.env"),
            ("http://127.0.0.1:7080", url),
        ],
    );
    publish("1.0.0");
    let shown = run("storage policies", &policies);
    assert!(
        shown.contains("release-*") && shown.contains("dev-stable"),
        "{shown}"
    );

    publish("2.0.0");
    run(
        "usage",
        "for id in $(cairn package list --project acme/demo -o json | jq '.[].id'); do
             cairn package delete $id --project acme/demo
         done",
    );
    let nth = |at: usize| format!("$(cairn deleted list acme/demo -o json | jq '.[{at}].id')");
    let usage = with(
        scripts(include_str!("../../../docs/usage.md")),
        &[
            ("restore acme/demo 4711", &format!("restore acme/demo {}", nth(0))),
            ("discard acme/demo 4711", &format!("discard acme/demo {}", nth(0))),
        ],
    );
    let shown = run("usage", &usage);
    assert!(
        shown.contains("quota of group acme") || shown.contains("acme"),
        "{shown}"
    );

    let shown = run("audit", &scripts(include_str!("../../../docs/audit.md")));
    assert!(shown.contains("package.restored"), "{shown}");

    // Generators of clients come from elsewhere.
    let rest: String = scripts(include_str!("../../../docs/rest-api.md"))
        .lines()
        .filter(|line| !line.starts_with("npx ") && !line.starts_with("uvx "))
        .map(|line| format!("{line}\n"))
        .collect();
    let shown = run("REST API", &rest);
    assert!(shown.contains("tools/app"), "{shown}");
    dev.stop_cleanly();
}
