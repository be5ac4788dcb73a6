//! mvn of three generations, with Debian's deploy and dependency plugins. They differ in how they ask: those since
//! 3.9 take digests from headers, and 4 asks for what a repository has at all.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_json::json;
use sha1::{Digest, Sha1};

use super::*;
use crate::formats::maven::order::Order;
use crate::testing::client::Ran;

const DEPLOY_FILE: &str = "org.apache.maven.plugins:maven-deploy-plugin:3.0.0:deploy-file";
const GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.5.0:get";

/// The generations.
const ALL: [&str; 3] = ["3.8", "3.9", "4"];

/// mvn of a generation, signed in with a token; without one, not at all.
fn mvn(generation: &str, token: Option<&str>) -> Client {
    let client = match generation {
        // Debian has this one.
        "3.8" => Client::of_system("mvn"),
        other => Client::kept(&format!("maven/mvn-{other}/bin/mvn")),
    };
    let client = at_home(client);
    let server = token.map_or(String::new(), |token| {
        format!("<server><id>cairn</id><username>deploy</username><password>{token}</password></server>")
    });
    client.write("server.xml", server);
    client
}

/// Lets mvn take its own parts from Debian's repository and all else from a repository, of which it checks every
/// digest. Plugins are there only if they are of a group, and then found by their prefix: whoever asks for all of mvn's
/// parts with a token that does not hold is taken for somebody who guesses, and slowed down.
fn look_into(client: &Client, repository: &str, plugin_group: Option<&str>) {
    let server = String::from_utf8(client.read("server.xml")).unwrap();
    let about = |id: &str, url: &str, checksums: &str| {
        let policy = format!(
            "<enabled>true</enabled><updatePolicy>always</updatePolicy>\
             <checksumPolicy>{checksums}</checksumPolicy>"
        );
        format!("<id>{id}</id><url>{url}</url><releases>{policy}</releases><snapshots>{policy}</snapshots>")
    };
    let debian = about("central", "file:///usr/share/maven-repo", "ignore");
    let cairn = about("cairn", repository, "fail");
    let plugins = plugin_group.map_or(String::new(), |_| {
        format!("<pluginRepository>{cairn}</pluginRepository>")
    });
    let settings = format!(
        "<settings><servers>{server}</servers><pluginGroups><pluginGroup>{}</pluginGroup></pluginGroups>\
         <profiles><profile><id>cairn</id>\
         <repositories><repository>{debian}</repository><repository>{cairn}</repository></repositories>\
         <pluginRepositories><pluginRepository>{debian}</pluginRepository>{plugins}</pluginRepositories>\
         </profile></profiles><activeProfiles><activeProfile>cairn</activeProfile></activeProfiles></settings>",
        plugin_group.unwrap_or("org.none")
    );
    client.write(".m2/settings.xml", settings);
}

/// Publishes a file as `lib` of a group.
async fn deploy(
    client: &Client,
    repository: &str,
    (group, version): (&str, &str),
    file: &str,
    more: &[&str],
) -> Ran {
    look_into(client, repository, None);
    let said = [
        format!("-Durl={repository}"),
        format!("-DgroupId={group}"),
        format!("-Dversion={version}"),
        format!("-Dfile={file}"),
    ];
    let mut arguments = vec!["-B", DEPLOY_FILE, "-DrepositoryId=cairn", "-DartifactId=lib"];
    arguments.extend(said.iter().map(String::as_str));
    arguments.extend(more);
    client.run(client.home(), &arguments).await
}

/// Fetches an artifact with what it depends on.
async fn fetch(client: &Client, repository: &str, artifact: &str) -> Ran {
    fetch_with(client, repository, artifact, &[]).await
}

async fn fetch_with(client: &Client, repository: &str, artifact: &str, more: &[&str]) -> Ran {
    look_into(client, repository, None);
    let artifact = format!("-Dartifact={artifact}");
    let arguments = ["-B", "-ntp", "-U", GET, &artifact];
    client.run(client.home(), &[&arguments, more].concat()).await
}

/// Makes sure that mvn has done what it was told to.
#[track_caller]
fn is_ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran}");
    ran
}

/// Makes sure that it has not, and says why.
#[track_caller]
fn is_refused(ran: &Ran, why: &str) {
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.says(why);
}

/// Publishes versions of a library whose JARs say which they are.
async fn published(generation: &str, cluster: &TestCluster, group: &str, versions: &[&str]) {
    let developer = mvn(generation, Some(&cluster.token));
    for version in versions {
        developer.write("lib.jar", format!("lib {version}"));
        developer.write("lib-sources.jar", format!("sources {version}"));
        let repository = cluster.maven_repository(0, At::Project);
        let sources = ["-Dsources=lib-sources.jar"];
        is_ok(deploy(&developer, &repository, (group, version), "lib.jar", &sources).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_go_from_node_to_node() {
    let cluster = cluster().await;
    let reader_token = cluster.maven_reader().await;
    let mut last = String::new();
    for generation in ALL {
        let group = unique_group("mvn-release");
        published(generation, cluster, &group, &["1.0", "1.1", "1.10"]).await;
        let reader = mvn(generation, Some(&reader_token));
        releases_are_resolved(cluster, &reader, &group).await;
        last = group;
    }
    for (generation, node, at) in [
        ("3.8", 2, At::Group),
        ("3.9", 0, At::Instance),
        ("4", 1, At::Group),
    ] {
        let reader = mvn(generation, Some(&cluster.token));
        let repository = cluster.maven_repository(node, at);
        is_ok(fetch(&reader, &repository, &format!("{last}:lib:1.1")).await);
        let fetched = reader.read(local(&reader, &last, "lib/1.1/lib-1.1.jar"));
        assert_eq!(fetched, b"lib 1.1");
    }
    what_is_deleted_is_not_resolved(cluster, &last).await;
}

async fn releases_are_resolved(cluster: &TestCluster, reader: &Client, group: &str) {
    let repository = cluster.maven_repository(1, At::Project);
    for (artifact, file, content) in [
        ("lib:1.0", "lib/1.0/lib-1.0.jar", "lib 1.0"),
        (
            "lib:1.0:jar:sources",
            "lib/1.0/lib-1.0-sources.jar",
            "sources 1.0",
        ),
        // Between 1.1 and 1.10 lies more than one digit.
        ("lib:[1.0,1.9)", "lib/1.1/lib-1.1.jar", "lib 1.1"),
        ("lib:RELEASE", "lib/1.10/lib-1.10.jar", "lib 1.10"),
    ] {
        is_ok(fetch(reader, &repository, &format!("{group}:{artifact}")).await);
        let fetched = reader.read(local(reader, group, file));
        assert_eq!(fetched, content.as_bytes(), "{artifact}");
    }
}

/// Finds the versions of a library by the REST API and deletes one of them.
async fn what_is_deleted_is_not_resolved(cluster: &TestCluster, group: &str) {
    let name = format!("{}/lib", group.replace('.', "/"));
    let path = format!("/api/v4/projects/1/packages?package_type=maven&package_name={name}");
    let listed = cluster
        .ask(reqwest::Method::GET, &path, &cluster.token, None)
        .await;
    let listed = listed.as_array().unwrap();
    let versions: BTreeMap<_, _> = listed
        .iter()
        .map(|package| {
            (
                package["version"].as_str().unwrap(),
                package["id"].as_u64().unwrap(),
            )
        })
        .collect();
    assert!(versions.keys().eq(["1.0", "1.1", "1.10"].iter()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!(
        "{}/api/v4/projects/1/packages/{}",
        cluster.url(1),
        versions["1.1"]
    );
    let deleted = client
        .delete(url)
        .bearer_auth(&cluster.root)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.status(), 204);
    let reader = mvn("3.9", Some(&cluster.token));
    let repository = cluster.maven_repository(2, At::Project);
    let gone = fetch(&reader, &repository, &format!("{group}:lib:1.1")).await;
    is_refused(&gone, "Could not find artifact");
    is_ok(fetch(&reader, &repository, &format!("{group}:lib:[1.0,1.9)")).await);
    let fetched = reader.read(local(&reader, group, "lib/1.0/lib-1.0.jar"));
    assert_eq!(fetched, b"lib 1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_deployed_again_and_again() {
    let cluster = cluster().await;
    for (at, generation) in ALL.into_iter().enumerate() {
        snapshots_go_from(generation, ALL[(at + 1) % ALL.len()], cluster).await;
    }
}

/// Deploys snapshots with one generation and fetches them with another one.
async fn snapshots_go_from(deploys: &str, fetches: &str, cluster: &TestCluster) {
    let group = unique_group("mvn-snapshot");
    let snapshot = (group.as_str(), "1.0-SNAPSHOT");
    let developer = mvn(deploys, Some(&cluster.token));
    let reader_token = cluster.maven_reader().await;
    let reader = mvn(fetches, Some(&reader_token));
    let artifact = format!("{group}:lib:1.0-SNAPSHOT");
    let fetched = "lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT.jar";
    for (node, content) in ["first", "second"].into_iter().enumerate() {
        developer.write("lib.jar", content);
        let repository = cluster.maven_repository(node, At::Project);
        let ran = is_ok(deploy(&developer, &repository, snapshot, "lib.jar", &[]).await);
        ran.says(&format!("-{}.jar", node + 1));
        let repository = cluster.maven_repository(2 - node, At::Project);
        is_ok(fetch(&reader, &repository, &artifact).await);
        assert_eq!(reader.read(local(&reader, &group, fetched)), content.as_bytes());
    }
    // What has only a classifier hides nothing of the rest.
    developer.write("extra.jar", "extra");
    let repository = cluster.maven_repository(0, At::Project);
    let more = ["-Dclassifier=extra", "-DgeneratePom=false"];
    is_ok(deploy(&developer, &repository, snapshot, "extra.jar", &more).await);
    let repository = cluster.maven_repository(1, At::Project);
    let reader = mvn(fetches, Some(&reader_token));
    is_ok(fetch(&reader, &repository, &artifact).await);
    assert_eq!(reader.read(local(&reader, &group, fetched)), b"second");
    is_ok(fetch(&reader, &repository, &format!("{artifact}:jar:extra")).await);
    let file = "lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT-extra.jar";
    assert_eq!(reader.read(local(&reader, &group, file)), b"extra");
    // As those fetch it who know nothing of builds.
    let path = format!("{}/{fetched}", group.replace('.', "/"));
    let (status, newest) = cluster.maven_request("GET", 2, &path, "").await;
    assert_eq!((status, newest.as_str()), (200, "second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_in_words() {
    let cluster = cluster().await;
    let group = unique_group("mvn-errors");
    published("3.8", cluster, &group, &["1.0"]).await;
    let repository = cluster.maven_repository(1, At::Project);
    let reader = cluster.maven_reader().await;
    let (first, artifact) = ((group.as_str(), "1.0"), format!("{group}:lib:1.0"));
    // Version 4 knows no words but its own.
    let why = "lib-1.0.jar is published already, with other content";
    let told = [
        ("3.8", why, "401"),
        ("3.9", why, "401"),
        ("4", "409", "too many authentication attempts"),
    ];
    for (generation, why, wrong_token) in told {
        let developer = mvn(generation, Some(&cluster.token));
        let bare = ["-DgeneratePom=false"];
        // The same again is no mistake.
        developer.write("lib.jar", "lib 1.0");
        is_ok(deploy(&developer, &repository, first, "lib.jar", &bare).await);
        developer.write("lib.jar", "other content");
        let duplicate = deploy(&developer, &repository, first, "lib.jar", &bare).await;
        is_refused(&duplicate, why);
        for (token, why) in [
            (None, "401"),
            (Some(WRONG_TOKEN), wrong_token),
            (Some(reader.as_str()), "403"),
        ] {
            let client = mvn(generation, token);
            client.write("lib.jar", "lib 1.1");
            let refused = deploy(&client, &repository, (&group, "1.1"), "lib.jar", &[]).await;
            is_refused(&refused, why);
        }
        let wrong = mvn(generation, Some(WRONG_TOKEN));
        is_refused(&fetch(&wrong, &repository, &artifact).await, wrong_token);
        let absent = mvn(generation, Some(&reader));
        let absent = fetch(&absent, &repository, &format!("{group}:lib:9.9")).await;
        is_refused(&absent, "Could not find artifact");
    }

    // What only scripts would send.
    let stem = format!("{}/lib/1.0/lib-1.0", group.replace('.', "/"));
    let digest = format!("{stem}.jar.sha1");
    let wrong = cluster.maven_request("PUT", 0, &digest, &"0".repeat(40)).await;
    assert_eq!(wrong.0, 400, "{}", wrong.1);
    for path in [
        "a/b/1/b%5c-1.jar",
        "a/b/1/c-2.jar",
        "a//b/1/b-1.jar",
        "a/b%2fc/1/x-1.jar",
    ] {
        let refused = cluster.maven_request("PUT", 0, path, "x").await;
        assert_eq!(refused.0, 400, "{path}: {}", refused.1);
    }
    is_ok(fetch(&mvn("4", Some(&reader)), &repository, &artifact).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_for_releases_says_that_it_takes_no_snapshots() {
    let cluster = cluster().await;
    let group = unique_group("mvn-policy");
    let ask = async |method, path: &str, body| cluster.ask(method, path, &cluster.root, Some(body)).await;
    let new = json!({"path": unique("releases"), "namespace_id": 1});
    let project = ask(reqwest::Method::POST, "/api/v4/projects", new).await["id"].clone();
    let settings = format!("/api/v4/projects/{project}/packages/settings");
    ask(
        reqwest::Method::PUT,
        &settings,
        json!({"maven_version_policy": "release"}),
    )
    .await;
    let repository = format!("{}/api/v4/projects/{project}/packages/maven/", cluster.url(1));
    let why = "this project takes releases only, and 1.0-SNAPSHOT is a snapshot";
    for (generation, why) in [("3.8", why), ("3.9", why), ("4", "409")] {
        let developer = mvn(generation, Some(&cluster.root));
        developer.write("lib.jar", "lib");
        let snapshot = deploy(&developer, &repository, (&group, "1.0-SNAPSHOT"), "lib.jar", &[]).await;
        is_refused(&snapshot, why);
    }
    let developer = mvn("3.8", Some(&cluster.root));
    developer.write("lib.jar", "lib");
    is_ok(deploy(&developer, &repository, (&group, "1.0"), "lib.jar", &[]).await);
}

/// A project of Maven's own, which is built and deployed as people do it.
fn project(group: &str, artifact: &str, packaging: &str, repository: &str, dependencies: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>1.0</version>\
         <packaging>{packaging}</packaging><name>Says hello</name>\
         <properties><maven.compiler.source>11</maven.compiler.source>\
         <maven.compiler.target>11</maven.compiler.target></properties>\
         <repositories><repository><id>cairn</id><url>{repository}</url></repository></repositories>\
         <distributionManagement><repository><id>cairn</id><url>{repository}</url></repository>\
         </distributionManagement><dependencies>{dependencies}</dependencies></project>"
    )
}

fn dependency(group: &str, artifact: &str, version: &str, scope: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version><scope>{scope}</scope></dependency>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_and_a_plugin_are_built_deployed_and_used() {
    let cluster = cluster().await;
    let group = unique_group("mvn-build");
    let developer = mvn("3.8", Some(&cluster.token));
    let build = ["-B", "-ntp", "deploy"];
    let repository = cluster.maven_repository(0, At::Project);
    look_into(&developer, &repository, None);
    developer.write("lib/pom.xml", project(&group, "lib", "jar", &repository, ""));
    let library = "package lib; public class Lib { public static String hello() { return \"hello\"; } }";
    developer.write("lib/src/main/java/lib/Lib.java", library);
    developer.ok(&developer.folder("lib"), &build).await;

    // Another project is compiled against it, fetched from another node.
    let dependencies = [
        dependency("org.apache.maven", "maven-plugin-api", "3.x", "provided"),
        dependency(
            "org.apache.maven.plugin-tools",
            "maven-plugin-annotations",
            "debian",
            "provided",
        ),
        dependency(&group, "lib", "[1.0,2.0)", "compile"),
    ]
    .concat();
    let repository = cluster.maven_repository(1, At::Project);
    let developer = mvn("3.8", Some(&cluster.token));
    look_into(&developer, &repository, None);
    let plugin = project(
        &group,
        "hello-maven-plugin",
        "maven-plugin",
        &repository,
        &dependencies,
    );
    developer.write("plugin/pom.xml", plugin);
    developer.write(
        "plugin/src/main/java/plugin/Hi.java",
        "package plugin; import org.apache.maven.plugins.annotations.Mojo;\n\
         @Mojo(name = \"hi\", requiresProject = false)\n\
         public class Hi extends org.apache.maven.plugin.AbstractMojo {\n\
         public void execute() { getLog().info(lib.Lib.hello() + \" from the plugin\"); } }\n",
    );
    developer.ok(&developer.folder("plugin"), &build).await;

    // Called by its prefix, which only the metadata of the group know.
    let user = mvn("3.9", Some(&cluster.maven_reader().await));
    let repository = cluster.maven_repository(2, At::Project);
    look_into(&user, &repository, Some(&group));
    let ran = user.ok(user.home(), &["-B", "-ntp", "hello:hi"]).await;
    ran.says("hello from the plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_modules_deploy_one_snapshot_at_the_same_time() {
    let cluster = cluster().await;
    let group = unique_group("mvn-many");
    let mut deploys = Vec::new();
    for number in 0..6_usize {
        let (group, token) = (group.clone(), cluster.token.clone());
        let repository = cluster.maven_repository(number % 3, At::Project);
        deploys.push(tokio::spawn(async move {
            let developer = mvn(ALL[number % ALL.len()], Some(&token));
            developer.write("lib.jar", format!("part {number}"));
            let classifier = format!("-Dclassifier=part{number}");
            let more = [classifier.as_str(), "-DgeneratePom=false"];
            is_ok(
                deploy(
                    &developer,
                    &repository,
                    (&group, "1.0-SNAPSHOT"),
                    "lib.jar",
                    &more,
                )
                .await,
            );
        }));
    }
    for deploy in deploys {
        deploy.await.unwrap();
    }
    let reader = mvn("3.9", Some(&cluster.token));
    for number in 0..6 {
        let repository = cluster.maven_repository(number % 3, At::Project);
        let artifact = format!("{group}:lib:1.0-SNAPSHOT:jar:part{number}");
        // There is no POM.
        is_ok(fetch_with(&reader, &repository, &artifact, &["-Dtransitive=false"]).await);
        let file = format!("lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT-part{number}.jar");
        assert_eq!(
            reader.read(local(&reader, &group, &file)),
            format!("part {number}").as_bytes()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_metadata_are_read_as_they_are_meant() {
    for generation in ALL {
        let reader = mvn(generation, None);
        let put = |file: &str, content: &[u8]| {
            reader.write(format!("repository/org/acme/lib/{file}"), content);
            let digest = HEXLOWER.encode(&Sha1::digest(content));
            reader.write(format!("repository/org/acme/lib/{file}.sha1"), digest);
        };
        put("maven-metadata.xml", include_bytes!("../testdata/artifact.xml"));
        put(
            "1.1-SNAPSHOT/maven-metadata.xml",
            include_bytes!("../testdata/snapshot.xml"),
        );
        let snapshot = "1.1-20260701.120000-3";
        for (folder, value) in [("0.9", "0.9"), ("1.0", "1.0"), ("1.1-SNAPSHOT", snapshot)] {
            let pom = format!(
                "<project><modelVersion>4.0.0</modelVersion><groupId>org.acme</groupId>\
                 <artifactId>lib</artifactId><version>{folder}</version></project>"
            );
            put(&format!("{folder}/lib-{value}.pom"), pom.as_bytes());
            put(&format!("{folder}/lib-{value}.jar"), value.as_bytes());
        }
        // Of a later build than the rest.
        put(
            "1.1-SNAPSHOT/lib-1.1-20260701.130000-4-sources.jar",
            b"sources of build 4",
        );
        let repository = format!("file://{}/repository", reader.home().display());
        for (artifact, file, content) in [
            ("[0.9,1.0]", "1.0/lib-1.0.jar", "1.0"),
            ("RELEASE", "1.0/lib-1.0.jar", "1.0"),
            ("1.1-SNAPSHOT", "1.1-SNAPSHOT/lib-1.1-SNAPSHOT.jar", snapshot),
            (
                "1.1-SNAPSHOT:jar:sources",
                "1.1-SNAPSHOT/lib-1.1-SNAPSHOT-sources.jar",
                "sources of build 4",
            ),
        ] {
            is_ok(fetch(&reader, &repository, &format!("org.acme:lib:{artifact}")).await);
            let fetched = reader.read(local(&reader, "org.acme", &format!("lib/{file}")));
            assert_eq!(fetched, content.as_bytes(), "{generation} {artifact}");
        }
    }
}

#[tokio::test]
async fn versions_are_ordered_as_maven_orders_them() {
    let java = on_java("java");
    let lib = "/usr/share/maven/lib";
    let classpath = format!("{lib}/maven-artifact-3.x.jar:{lib}/commons-lang3.jar");
    let mut versions: Vec<String> = include_str!("../testdata/order.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    // What says nothing comes last only: Maven itself does not do there what it says of it elsewhere.
    let telling = [
        "1", "2", "10", "alpha", "beta2", "m1", "rc", "SNAPSHOT", "sp", "x",
    ];
    let last = ["0", "final", "GA"];
    for first in ["1", "1.0", "2", "1.2.3", "1.0.1", "1.10"] {
        for second in telling {
            let ends = telling.iter().chain(&last);
            versions.extend(ends.map(|end| format!("{first}-{second}-{end}")));
        }
        versions.extend(telling.iter().chain(&last).map(|end| format!("{first}-{end}")));
    }
    // Each beside many others, not only beside those that are near.
    let shuffled: Vec<_> = (1..4)
        .flat_map(|step| (0..versions.len()).map(move |at| at * (2 * step + 1)))
        .map(|at| versions[at % versions.len()].as_str())
        .collect();
    let class = "org.apache.maven.artifact.versioning.ComparableVersion";
    let arguments = [&["-cp", &classpath, class][..], &shuffled].concat();
    let ran = java.ok(java.home(), &arguments).await;
    let mut compared = 0;
    let mut wrong = Vec::new();
    for line in ran.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [one, sign @ ("<" | "==" | ">"), other] = words.as_slice() else {
            continue;
        };
        compared += 1;
        let found = match Order::of(one).cmp(&Order::of(other)) {
            std::cmp::Ordering::Less => "<",
            std::cmp::Ordering::Equal => "==",
            std::cmp::Ordering::Greater => ">",
        };
        if found != *sign {
            wrong.push(format!("{one} {sign} {other}, not {found}"));
        }
    }
    assert_eq!(compared, shuffled.len() - 1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
