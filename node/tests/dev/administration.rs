//! Administration by commands.

use std::process::Command;

use crate::harness::*;

#[test]
fn the_command_line_administers_a_running_cluster() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        printed
    };
    check(&["group", "create", "tools"], 0, "made group tools (id ");
    check(
        &["group", "create", "tools/inner"],
        0,
        "made group tools/inner (id ",
    );
    check(
        &["project", "create", "tools/inner/app"],
        0,
        "made project tools/inner/app (id 2)",
    );
    check(
        &["project", "create", "nowhere/app"],
        5,
        "next: make it with `cairn group create nowhere`",
    );
    check(&["project", "create", "app"], 2, "is in no group");
    check(
        &["group", "create", "tools", "--token", "cnp-wrong"],
        4,
        "next: set CAIRN_TOKEN",
    );
    check(
        &["group", "create", "x", "--url", "http://127.0.0.1:1"],
        3,
        "cannot reach",
    );
    let status = check(&["cluster", "status"], 0, "NODE");
    assert!(status.contains("leader"), "{status}");
    check(&["cluster", "token"], 0, "crn_join_");

    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&check(arguments, 0, "{")).unwrap()
    };
    let deploy = json(&[
        "token",
        "new",
        "ci",
        "--project",
        "tools/inner/app",
        "--scope",
        "write_package_registry",
        "-o",
        "json",
    ]);
    assert_eq!(deploy["name"], "ci");
    let own = json(&[
        "token",
        "new",
        "laptop",
        "--expires",
        "30 days",
        "--output",
        "json",
    ]);
    let own = own["token"].as_str().unwrap();
    assert!(own.starts_with("cnp-") && own != env.token, "{own}");
    assert!(put(&env.nodes[0], own, "hello").is_success());
    dev.stop_cleanly();
}

const DECLARED: &str = r#"
[[user]]
username = "ann"
name = "Ann"

[[group]]
path = "tools"
visibility = "internal"
members = { ann = "maintainer" }

[[project]]
path = "tools/app"
description = "What everybody uses"
visibility = "internal"
packages = "public"
members = { ann = "owner" }
deploy_tokens = [{ name = "ci", scopes = ["read_package_registry"], username = "runner" }]
access_tokens = [{ name = "bot", scopes = ["read_api"], role = "reporter" }]
settings = { generic_duplicates = "forbid" }
cleanup.packages = { enabled = true, keep_n = 10, older_than = "90d", formats = ["npm", "generic"] }
cleanup.images = { enabled = true, cadence = "7d", name_regex = ".*" }
protect = [
  { packages = "@tools/*", format = "npm", push = "maintainer", delete = "owner" },
  { tags = "^v" },
]

[[project.trust]]
name = "releases"
issuer = "https://ci.example.com"
claims = { project_path = "tools/app", ref = "v*" }
scopes = ["write_package_registry", "read_package_registry"]
"#;

#[test]
fn groups_projects_people_and_tokens_are_administered_by_commands_and_by_a_file() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    let file = parent.path().join("tools.toml");
    std::fs::write(&file, DECLARED).unwrap();
    let file = file.to_str().unwrap();
    let check = |arguments: &[&str], code: i32, expected: &[&str]| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        for part in expected {
            assert!(
                printed.contains(part),
                "{arguments:?} without {part:?}: {printed}"
            );
        }
        printed
    };
    // What would be done, what is done, and that nothing is left to do.
    let planned = [
        "+ user ann",
        "+ group tools (internal)",
        "+ member ann of group tools: maintainer",
        "+ project tools/app (internal)",
        "~ project tools/app: description - -> What everybody uses, package_registry_access_level enabled -> public",
        "+ member ann of project tools/app: owner",
        "+ deploy token ci of project tools/app (read_package_registry)",
        "+ access token bot of project tools/app (read_api)",
        "~ package settings of project tools/app: generic_duplicates - -> forbid",
        "~ cleanup of packages of project tools/app: enabled - -> yes, formats - -> npm, generic, keep_n - -> 10, older_than - -> 90d",
        "~ cleanup of images of project tools/app: cadence - -> 7d",
        "+ protection of packages @tools/* of project tools/app",
        "+ protection of tags ^v of project tools/app",
        "+ trust rule releases of project tools/app",
        "nothing was changed; --yes does it",
    ];
    check(&["apply", "-f", file], 0, &planned);
    let done = check(
        &["apply", "-f", file, "--yes"],
        0,
        &[
            "did 14 things",
            "with the user name runner: cnd-",
            "token bot of project tools/app: cnp-",
        ],
    );
    let deploy = done
        .split("runner: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    check(&["apply", "-f", file, "--yes"], 0, &["everything is as declared"]);
    check(
        &["group", "set", "tools", "--description", "Ours"],
        0,
        &["changed group tools"],
    );
    check(
        &["project", "set", "tools/app", "--packages", "private"],
        0,
        &["changed project tools/app"],
    );
    check(
        &["member", "set", "ann", "reporter", "--project", "tools/app"],
        0,
        &["ann is reporter of project tools/app"],
    );
    // Rules and policies that somebody has changed meanwhile.
    let protected = check(&["protect", "list", "tools/app", "-o", "json"], 0, &[]);
    let protected: serde_json::Value = serde_json::from_str(&protected).unwrap();
    let rule = protected[0]["id"].to_string();
    check(
        &["protect", "remove", "packages", "tools/app", &rule],
        0,
        &["removed rule"],
    );
    check(
        &[
            "protect",
            "add",
            "packages",
            "tools/app",
            "@tools/*",
            "--format",
            "npm",
            "--push",
            "admin",
        ],
        0,
        &["@tools/*"],
    );
    let trusted = check(
        &["trust", "list", "--project", "tools/app", "-o", "json"],
        0,
        &["releases"],
    );
    let trusted: serde_json::Value = serde_json::from_str(&trusted).unwrap();
    let rule = trusted[0]["id"].to_string();
    check(&["trust", "remove", &rule, "--project", "tools/app"], 0, &[]);
    let other = [
        "trust",
        "add",
        "releases",
        "--project",
        "tools/app",
        "--issuer",
        "https://ci.example.com",
        "--claim",
        "ref=main",
    ];
    check(&other, 0, &["releases"]);
    check(
        &["cleanup", "set", "packages", "tools/app", "--keep", "2"],
        0,
        &["2"],
    );
    let again = [
        "~ cleanup of packages of project tools/app: keep_n 2 -> 10\n",
        "~ protection of packages @tools/* of project tools/app: minimum_access_level_for_push admin -> \
         maintainer, minimum_access_level_for_delete - -> owner",
        "~ trust rule releases of project tools/app: claims",
        "~ project tools/app: package_registry_access_level private -> public",
        "~ member ann of project tools/app: reporter -> owner",
    ];
    check(&["apply", "-f", file], 0, &again);
    check(&["apply", "-f", file, "--yes"], 0, &["did 5 things"]);
    check(&["apply", "-f", file, "--yes"], 0, &["everything is as declared"]);
    check(&["apply", "-f", "/nonexistent"], 1, &["cannot read /nonexistent"]);

    check(&["group", "list"], 0, &["tools", "internal", "Ours"]);
    check(
        &["project", "list", "--group", "tools"],
        0,
        &["tools/app", "What everybody uses"],
    );
    check(&["member", "list", "--group", "tools"], 0, &["ann", "maintainer"]);
    check(&["member", "list"], 2, &["--project", "--group"]);
    check(
        &["member", "set", "nobody", "guest", "--group", "tools"],
        5,
        &["there is no user nobody"],
    );
    check(&["user", "list", "--search", "ann"], 0, &["ann", "Ann"]);
    check(
        &["token", "list", "--project", "tools/app"],
        0,
        &["ci", "runner", "read_package_registry"],
    );

    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    let listed = check(
        &["package", "list", "--project", "acme/demo"],
        0,
        &["generic", "hello", "1.0.0"],
    );
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    check(
        &["package", "files", id, "--project", "acme/demo"],
        0,
        &["hello.txt"],
    );
    check(
        &["package", "delete", id, "--project", "acme/demo"],
        0,
        &["deleted version"],
    );
    check(
        &["package", "list", "--project", "acme/demo"],
        0,
        &["there is nothing"],
    );

    push_image(&env, "acme/demo/app", &["v1", "v2", "v3"]);
    let listed = check(&["image", "list", "--group", "acme"], 0, &["acme/demo/app"]);
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let of_demo = |verb: &'static str, more: &[&'static str]| {
        let command = [&["image", verb, id, "--project", "acme/demo"], more].concat();
        check(&command, 0, &[])
    };
    assert!(of_demo("tags", &[]).contains("acme/demo/app:v2"));
    of_demo("untag", &["v1"]);
    of_demo("untag", &["--matching", "v[23]", "--except", "v3"]);
    let left = of_demo("tags", &[]);
    assert!(
        left.contains(":v3") && !left.contains(":v1") && !left.contains(":v2"),
        "{left}"
    );
    of_demo("delete", &[]);
    assert!(!check(&["image", "list", "--project", "acme/demo"], 0, &[]).contains("acme/demo/app"));

    check(
        &["user", "set", "ann", "--name", "Ann B.", "--admin", "true"],
        0,
        &["changed ann"],
    );
    check(&["user", "list", "--search", "ann"], 0, &["Ann B.", "yes"]);
    check(&["user", "set", "ann", "--admin", "false"], 0, &[]);
    // There is no provider here; what is asked for is said.
    check(
        &["user", "link", "ann", "company", "42"],
        1,
        &["provider is not one"],
    );
    check(&["user", "link", "ann", "company"], 2, &["<SUBJECT>"]);
    check(
        &["user", "link", "ann", "company", "--remove"],
        5,
        &["Identity Not Found"],
    );

    let (_, ann) = cairn(&dev, &["token", "new", "laptop", "--user", "ann", "-o", "json"]);
    let ann: serde_json::Value = serde_json::from_str(&ann).unwrap();
    let (number, secret) = (ann["id"].to_string(), ann["token"].as_str().unwrap());
    let as_ann = ["group", "list", "--token", secret];
    check(&as_ann, 0, &["tools"]);
    check(&["token", "rotate", &number], 0, &["made token laptop", "cnp-"]);
    check(&as_ann, 4, &["next: set CAIRN_TOKEN"]);
    // A password is never an argument, and there is no terminal here to ask at.
    check(&["user", "password", "ann"], 2, &["--stdin"]);
    check(
        &["user", "password", "ann", "secret"],
        2,
        &["unexpected argument"],
    );
    check(&["session", "list"], 0, &["there is nothing"]);
    let node = &env.nodes[0];
    let password = serde_json::json!({ "password": "correct horse battery" });
    let set = http()
        .put(format!("{node}/api/v4/users/1"))
        .header("PRIVATE-TOKEN", &env.token);
    assert!(set.json(&password).send().unwrap().status().is_success());
    let signing_in = serde_json::json!({ "username": "root", "password": "correct horse battery" });
    let signed_in = http()
        .post(format!("{node}/api/cairn/v1/session"))
        .json(&signing_in);
    assert_eq!(signed_in.send().unwrap().status(), 201);
    let sessions = check(
        &["session", "list"],
        0,
        &["SIGNED IN BY", "password", "127.0.0.1"],
    );
    let id = sessions.lines().nth(1).unwrap().split(' ').next().unwrap();
    check(&["session", "end", id], 0, &["ended session"]);
    check(&["session", "end", id], 5, &["404 Session Not Found"]);
    check(&["session", "list"], 0, &["there is nothing"]);
    check(&["user", "block", "ann"], 0, &["blocked ann"]);
    check(
        &["member", "remove", "ann", "--project", "tools/app"],
        0,
        &["has no role of its own"],
    );
    check(&["project", "delete", "tools/app"], 2, &["--with-packages"]);
    check(
        &["project", "delete", "tools/app", "--with-packages"],
        0,
        &["deleted project tools/app"],
    );
    check(&["group", "delete", "tools"], 0, &["deleted group tools"]);

    let told = ["audit", "list", "--limit", "100"];
    let told = check(
        &told,
        0,
        &[
            "group.deleted",
            "user.blocked",
            "token.rotated",
            "deploy_token.created",
        ],
    );
    assert!(!told.contains(&deploy) && !told.contains(secret), "{told}");
    check(&["audit", "verify"], 0, &["follow from each other"]);
    let completion = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["completion", "bash"])
        .output();
    assert!(
        String::from_utf8(completion.unwrap().stdout)
            .unwrap()
            .contains("_cairn()")
    );
    dev.stop_cleanly();
}

/// The commands of the manual, one a line, without the name of the program.
fn manual(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    let commands = lines.map(|line| line.strip_prefix("$ cairn ").unwrap());
    let words = |command: &str| command.split(' ').map(str::to_owned).collect();
    commands.map(words).collect()
}

#[test]
fn the_command_line_lets_jobs_in_as_the_manual_says() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&parent.path().join("data"), &["--port", "0", "--nodes", "1"]);
    dev.ready();
    let check = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (status, printed) = cairn(&dev, arguments);
        assert_eq!(status, code, "{arguments:?}: {printed}");
        for part in parts {
            assert!(printed.contains(part), "{arguments:?}: {printed}");
        }
    };
    let commands = manual(include_str!("../../../docs/ci-without-secrets.md"));
    let said: [&[&str]; 3] = [
        &["made trust rule release (id 1)", "repository=acme/demo"],
        &[
            "ID  NAME",
            "1   release",
            "ref=refs/tags/* repository=acme/demo",
            "900s",
        ],
        &[],
    ];
    assert_eq!(commands.len(), said.len());
    for (command, parts) in commands.iter().zip(said) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        check(&command, 0, parts);
    }
    check(
        &["trust", "remove", "1", "--project", "acme/demo"],
        5,
        &["Trust Rule Not Found"],
    );
    let of_group = [
        "trust",
        "add",
        "all",
        "--group",
        "acme",
        "--issuer",
        "https://ci.example",
    ];
    let made = [
        &of_group[..],
        &["--claim", "sub=x", "--scope", "read_registry", "--lifetime", "1h"],
    ]
    .concat();
    check(&made, 0, &["made trust rule all (id 2)"]);
    check(
        &["trust", "list", "--group", "acme"],
        0,
        &["3600s", "read_registry"],
    );
    check(&of_group, 2, &["--claim"]);
    check(
        &[&of_group[..], &["--claim", "sub=*"]].concat(),
        1,
        &["must ask for something"],
    );
    check(&["trust", "list"], 2, &["--project"]);
    dev.stop_cleanly();
}
