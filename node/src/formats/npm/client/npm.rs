//! npm itself.

use super::*;

const DUPLICATE: &str = "cannot publish over the previously published versions";

async fn npm() -> Desk {
    let npm = Desk::new("npm-11", "npm").await;
    npm.sign_in(0, At::Project, &npm.cluster.token);
    npm
}

impl Desk {
    /// Configures a client that reads `.npmrc`.
    pub(super) fn sign_in(&self, node: usize, at: At, token: &str) {
        self.write(".npmrc", self.cluster.npmrc(node, at, token));
    }

    async fn publish(&self, folder: &Path, name: &str, version: &str) {
        write_package(folder, name, version, json!({}));
        self.ok(folder, &["publish"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_signs_in_by_token_and_by_prompt() {
    let npm = npm().await;
    let folder = npm.folder("anywhere");
    npm.ok(&folder, &["whoami"]).await.says(&npm.cluster.username);
    npm.ok(&folder, &["ping"]).await.says("PONG");
    npm.ok(&folder, &["profile", "get", "--json"])
        .await
        .says(&npm.cluster.username);
    let registry = npm.cluster.registry(1, At::Project);
    npm.write(".npmrc", format!("registry={registry}\n"));
    npm.fails(&folder, &["whoami"], 1, &["ENEEDAUTH"]).await;
    // The token is the password.
    let questions = [
        ("Username", npm.cluster.username.as_str()),
        ("Password", npm.cluster.token.as_str()),
    ];
    npm.answers(&folder, &["login", "--auth-type=legacy"], &questions)
        .await;
    npm.ok(&folder, &["whoami"]).await.says(&npm.cluster.username);
    // Signing out ends the token everywhere.
    let own = json!({"name": "own", "scopes": ["api"], "access_level": 30});
    let own = npm.cluster.project_token(own).await;
    npm.sign_in(2, At::Project, &own);
    npm.ok(&folder, &["token", "list"]).await.says("own");
    npm.ok(&folder, &["logout"]).await;
    npm.fails(&folder, &["whoami"], 1, &["ENEEDAUTH"]).await;
    npm.sign_in(0, At::Project, &own);
    npm.fails(&folder, &["whoami"], 1, &["E401"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_publishes_through_one_node_and_installs_through_the_others() {
    let npm = npm().await;
    let (plain, scoped) = (npm.unique("left"), format!("@acme/{}", npm.unique("right")));
    let package = npm.folder("package");
    npm.publish(&package, &plain, "1.0.0").await;
    let depends = json!({"dependencies": {plain.clone(): "^1.0.0"}, "bin": "index.js"});
    write_package(&package, &scoped, "1.0.0", depends);
    npm.ok(&package, &["publish", "--access", "restricted"]).await;
    let ways = [(1, At::Project), (2, At::Project), (1, At::Group)];
    for (turn, (node, at)) in ways.into_iter().enumerate() {
        npm.sign_in(node, at, &npm.cluster.token);
        let application = npm.application(&format!("application-{turn}"));
        npm.ok(&application, &["install", &scoped]).await;
        assert_eq!(installed(&application, &scoped), index(&scoped, "1.0.0"));
        assert_eq!(installed(&application, &plain), index(&plain, "1.0.0"));
        npm.audits(&application, &["audit"], "found 0 vulnerabilities", &plain)
            .await;
        uninstall(&application);
        npm.ok(&application, &["ci"]).await;
        installed(&application, &plain);
    }
    // The whole instance is asked by the scope that is the root group.
    let alone = format!("@acme/{}", npm.unique("alone"));
    npm.sign_in(0, At::Project, &npm.cluster.token);
    npm.publish(&package, &alone, "1.0.0").await;
    npm.sign_in(2, At::Instance, &npm.cluster.token);
    let application = npm.application("application-instance");
    npm.ok(&application, &["install", &alone]).await;
    assert_eq!(installed(&application, &alone), index(&alone, "1.0.0"));
    npm.fails(&application, &["install", &plain], 1, &["E404"]).await;
    write_package(&package, &alone, "2.0.0", json!({}));
    npm.fails(&package, &["publish"], 1, &["E405", "published to a project"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_publishes_and_installs_large_tarballs() {
    let npm = npm().await;
    let (name, package) = (npm.unique("large"), npm.folder("large"));
    write_noise(&package);
    npm.publish(&package, &name, "1.0.0").await;
    npm.sign_in(1, At::Project, &npm.cluster.token);
    let application = npm.application("application");
    npm.ok(&application, &["install", &name]).await;
    has_noise(&application, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_tags_deprecates_searches_and_unpublishes() {
    let npm = npm().await;
    let (name, package) = (npm.unique("tagged"), npm.folder("package"));
    npm.publish(&package, &name, "1.0.0").await;
    npm.sign_in(1, At::Project, &npm.cluster.token);
    let application = npm.application("application");
    npm.ok(&application, &["install", &name]).await;

    write_package(&package, &name, "2.0.0-rc.1", json!({}));
    npm.ok(&package, &["publish", "--tag", "next"]).await;
    npm.publish(&package, &name, "1.1.0").await;
    npm.sign_in(2, At::Project, &npm.cluster.token);
    let view = async |what: &str, field: &[&str]| {
        let arguments = [&["view", what], field, &["--json"]].concat();
        npm.ok(&package, &arguments).await.json()
    };
    let tags = view(&name, &["dist-tags"]).await;
    assert_eq!(tags, json!({"latest": "1.1.0", "next": "2.0.0-rc.1"}));
    let one = format!("{name}@1.0.0");
    npm.ok(&package, &["dist-tag", "add", &one, "stable"]).await;
    npm.ok(&package, &["dist-tag", "ls", &name])
        .await
        .says("stable: 1.0.0");
    npm.ok(&package, &["dist-tag", "rm", &name, "next"]).await;
    npm.fails(&package, &["dist-tag", "rm", &name, "latest"], 1, &["E403"])
        .await;
    npm.fails(&package, &["dist-tag", "add", &one, "v1.x"], 1, &["SemVer range"])
        .await;

    npm.ok(&package, &["deprecate", &format!("{name}@<1.1"), "use 1.1"])
        .await;
    let shown = view(&one, &[]).await;
    assert_eq!(shown["deprecated"], "use 1.1");
    assert_eq!(shown["dist-tags"], json!({"latest": "1.1.0", "stable": "1.0.0"}));
    assert!(shown["time"]["1.1.0"].is_string());
    let warned = npm.application("application-warned");
    npm.ok(&warned, &["install", &one]).await.says("use 1.1");
    npm.ok(&package, &["undeprecate", &name]).await;
    assert!(view(&one, &[]).await.get("deprecated").is_none());

    let outdated = npm.run(&application, &["outdated", "--all", "--json"]).await;
    assert_eq!(outdated.json()[&name]["latest"], "1.1.0");
    npm.ok(&application, &["update"]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.1.0"));

    let found = npm.ok(&package, &["search", &name, "--json"]).await.json();
    assert_eq!(found[0]["name"], name.as_str());
    npm.ok(&package, &["search", &format!("keywords:cairn {name}")])
        .await
        .says(&name);
    npm.ok(&package, &["owner", "ls", &name])
        .await
        .says(&npm.cluster.username);
    npm.ok(&package, &["owner", "add", "root", &name]).await;
    npm.ok(&package, &["owner", "ls", &name]).await.says("root");
    npm.ok(&package, &["owner", "rm", "root", &name]).await;
    npm.ok(&package, &["star", &name]).await;
    npm.ok(&package, &["unstar", &name]).await;
    npm.ok(&package, &["access", "get", "status", &name])
        .await
        .says("private");
    npm.ok(&package, &["pack", &name]).await;

    // One version, then all.
    npm.ok(&package, &["unpublish", &format!("{name}@1.1.0")]).await;
    let versions = view(&name, &["versions"]).await;
    assert_eq!(versions, json!(["1.0.0", "2.0.0-rc.1"]));
    npm.ok(&package, &["unpublish", "--force", &name]).await;
    npm.fails(&package, &["view", &name], 1, &["E404"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_asks_who_may_do_what_and_what_it_likes() {
    let npm = npm().await;
    let (plain, package) = (npm.unique("liked"), npm.folder("package"));
    let scoped = format!("@acme/{}", npm.unique("asked"));
    npm.publish(&package, &plain, "1.0.0").await;
    npm.publish(&package, &scoped, "1.0.0").await;
    npm.sign_in(1, At::Project, &npm.cluster.token);
    let own = npm.ok(&package, &["access", "list", "packages"]).await;
    own.says(&format!("{plain}: read-write"));
    npm.ok(&package, &["access", "list", "packages", "@acme", &scoped])
        .await
        .says(&format!("{scoped}: read-write"));
    npm.fails(&package, &["access", "list", "packages", "@nobody"], 1, &["E404"])
        .await;
    npm.ok(&package, &["access", "list", "collaborators", &scoped])
        .await
        .says(&format!("{}: read-write", npm.cluster.username));
    npm.ok(&package, &["access", "get", "status", &scoped])
        .await
        .says(&format!("{scoped}: private"));
    npm.ok(&package, &["access", "set", "status=private", &scoped])
        .await;
    npm.ok(&package, &["access", "set", "mfa=none", &scoped]).await;
    for (what, code) in [
        (["access", "set", "status=public", &scoped].as_slice(), "E403"),
        (&["access", "set", "mfa=publish", &scoped], "E403"),
        (&["access", "grant", "read-only", "acme:devs", &scoped], "E404"),
        (&["access", "revoke", "acme:devs", &scoped], "E404"),
        (&["access", "list", "packages", "acme:devs"], "E404"),
        (&["team", "create", "acme:devs"], "E403"),
        (&["team", "destroy", "acme:devs"], "E404"),
        (&["team", "add", "acme:devs", "root"], "E404"),
        (&["team", "rm", "acme:devs", "root"], "E404"),
        (&["team", "ls", "acme:devs"], "E404"),
        (&["org", "set", "acme", "root", "developer"], "E403"),
        (&["org", "rm", "acme", "root"], "E403"),
        (&["org", "ls", "nobody"], "E404"),
        (&["profile", "set", "fullname", "x"], "E403"),
    ] {
        npm.fails(&package, what, 1, &[code]).await;
    }
    let bot = json!({"name": npm.unique("bot"), "scopes": ["api"], "access_level": 30});
    npm.cluster.group_token(bot).await;
    npm.ok(&package, &["org", "ls", "acme"])
        .await
        .says(" - developer");
    npm.ok(&package, &["team", "ls", "acme"])
        .await
        .says("@acme has 0 teams");

    for name in [&plain, &scoped] {
        npm.ok(&package, &["star", name]).await;
    }
    npm.sign_in(2, At::Group, &npm.cluster.token);
    let stars = npm.ok(&package, &["stars"]).await;
    stars.says(&plain);
    npm.sign_in(2, At::Project, &npm.cluster.token);
    npm.ok(&package, &["unstar", &plain]).await;
    let stars = npm.ok(&package, &["stars", &npm.cluster.username]).await.stdout;
    assert!(stars.contains(&scoped) && !stars.contains(&plain), "{stars}");
    npm.ok(&package, &["stars", "nobody"])
        .await
        .says("has not starred");
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_says_why_it_was_refused() {
    let npm = npm().await;
    let (name, package) = (npm.unique("refused"), npm.folder("package"));
    npm.publish(&package, &name, "1.0.0").await;
    let application = npm.application("application");
    npm.ok(&application, &["install", &name]).await;

    let missing = npm.unique("missing");
    npm.fails(&package, &["view", &missing], 1, &["E404"]).await;
    npm.fails(&application, &["install", &missing], 1, &["E404", &missing])
        .await;
    let no_version = format!("{name}@9.9.9");
    npm.fails(&application, &["install", &no_version], 1, &["ETARGET"])
        .await;

    std::fs::write(package.join("index.js"), "changed").unwrap();
    npm.fails(&package, &["publish"], 1, &[DUPLICATE]).await;
    // The client has looked before; told not to, it is the registry that refuses.
    npm.fails(&package, &["publish", "--force"], 1, &["E403", DUPLICATE])
        .await;
    npm.ok(&package, &["unpublish", &no_version]).await;

    // A tarball in which other unpackers would see another package.
    let broken = npm.unique("corrupt");
    write_package(&package, &broken, "1.0.0", json!({}));
    let packed = npm.ok(&package, &["pack", "--json"]).await.json();
    let tarball = package.join(packed[0]["filename"].as_str().unwrap());
    corrupt(&tarball);
    let publish = ["publish", tarball.to_str().unwrap()];
    npm.fails(&package, &publish, 1, &["E422"]).await;
    npm.fails(&package, &["view", &broken], 1, &["E404"]).await;

    // Another digest in the lock file: the tarball is not the one that was locked.
    let lock = application.join("package-lock.json");
    let mut wrong: Value = serde_json::from_slice(&std::fs::read(&lock).unwrap()).unwrap();
    for package in wrong["packages"].as_object_mut().unwrap().values_mut() {
        if package.get("integrity").is_some() {
            package["integrity"] = json!(format!("sha512-{}==", "A".repeat(86)));
        }
    }
    std::fs::write(&lock, wrong.to_string()).unwrap();
    npm.fails(&application, &["ci"], 1, &["EINTEGRITY"]).await;

    write_package(&package, &name, "2.0.0", json!({}));
    npm.sign_in(1, At::Project, WRONG_TOKEN);
    npm.fails(&package, &["publish"], 1, &["E401"]).await;
    npm.fails(&package, &["view", &name], 1, &["E401"]).await;
    let registry = npm.cluster.registry(2, At::Project);
    npm.write(".npmrc", format!("registry={registry}\n"));
    npm.fails(&package, &["publish"], 1, &["ENEEDAUTH"]).await;
    npm.fails(&package, &["view", &name], 1, &["E401"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_may_do_what_its_token_may() {
    let npm = npm().await;
    let (name, package) = (npm.unique("scopes"), npm.folder("package"));
    npm.publish(&package, &name, "1.0.0").await;
    write_package(&package, &name, "2.0.0", json!({}));
    let reading = json!({"name": "reading", "scopes": ["read_api"], "access_level": 40});
    let reporter = json!({"name": "reporter", "scopes": ["api"], "access_level": 20});
    for token in [
        npm.cluster.project_token(reading).await,
        npm.cluster.project_token(reporter).await,
        npm.cluster.deploy_token(&["read_package_registry"]).await,
    ] {
        npm.sign_in(1, At::Project, &token);
        npm.ok(&package, &["view", &name]).await;
        npm.fails(&package, &["publish"], 1, &["E403"]).await;
        let one = format!("{name}@1.0.0");
        npm.fails(&package, &["dist-tag", "add", &one, "stable"], 1, &["E403"])
            .await;
        npm.fails(&package, &["deprecate", &name, "no"], 1, &["E403"])
            .await;
        npm.fails(&package, &["unpublish", "--force", &name], 1, &["E403"])
            .await;
    }
    let developer = json!({"name": "developer", "scopes": ["api"], "access_level": 30});
    npm.sign_in(2, At::Project, &npm.cluster.project_token(developer).await);
    npm.fails(&package, &["unpublish", "--force", &name], 1, &["E403"])
        .await;
    npm.ok(&package, &["publish"]).await;
    // One that may only write cannot even look.
    let token = npm.cluster.deploy_token(&["write_package_registry"]).await;
    npm.sign_in(2, At::Project, &token);
    npm.fails(&package, &["view", &name], 1, &["E403"]).await;
    // One of another kind does not count here.
    let token = npm
        .cluster
        .deploy_token(&["read_registry", "write_registry"])
        .await;
    npm.sign_in(0, At::Project, &token);
    npm.fails(&package, &["view", &name], 1, &["E403"]).await;
    let both = ["read_package_registry", "write_package_registry"];
    npm.sign_in(0, At::Project, &npm.cluster.deploy_token(&both).await);
    write_package(&package, &name, "3.0.0", json!({}));
    npm.ok(&package, &["publish"]).await;
}
