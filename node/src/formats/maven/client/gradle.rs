//! Gradle of Debian: resolves from Maven and Ivy repositories, and publishes to Ivy's. Its plugin that publishes to
//! Maven's is broken there; what newer Gradles send is in the tests of requests.

use super::*;
use crate::testing::client::Ran;

/// Gradle with a build of these lines, which knows the repository as `cairn`.
fn gradle(repository: &str, token: &str, build: &str) -> Client {
    let client = on_java("gradle");
    let credentials = format!("credentials {{ username 'deploy'; password '{token}' }}");
    client.write("build/settings.gradle", "rootProject.name = 'build'\n");
    client.write(
        "build/build.gradle",
        build
            .replace("CREDENTIALS", &credentials)
            .replace("REPOSITORY", &format!("url '{repository}'; {credentials}")),
    );
    client
}

async fn run(client: &Client, task: &str) -> Ran {
    let folder = client.folder("build");
    let arguments = [
        "--no-daemon",
        "--console=plain",
        "--refresh-dependencies",
        "-q",
        task,
    ];
    client.run(&folder, &arguments).await
}

async fn ok(client: &Client, task: &str) {
    let ran = run(client, task).await;
    assert_eq!(ran.code, Some(0), "{ran}");
}

/// A build that copies a dependency into `out`.
fn fetching(kind: &str, dependency: &str) -> String {
    format!(
        "repositories {{ {kind} {{ REPOSITORY }} }}\n\
         configurations {{ fetched }}\n\
         configurations.all {{ resolutionStrategy.cacheChangingModulesFor 0, 'seconds' }}\n\
         dependencies {{ fetched '{dependency}' }}\n\
         task fetch(type: Copy) {{ from configurations.fetched; into 'out' }}\n"
    )
}

/// Publishes a version for Maven as newer Gradles do it: with SHA-256 and SHA-512.
async fn publish(cluster: &TestCluster, group: &str, version: &str, build: &str, content: &str) {
    let value = version.replace("SNAPSHOT", build);
    let stem = format!("{}/lib/{version}/lib-{value}", group.replace('.', "/"));
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>{group}</groupId>\
         <artifactId>lib</artifactId><version>{version}</version></project>"
    );
    for (end, content) in [("jar", content), ("pom", &pom)] {
        let path = format!("{stem}.{end}");
        assert_eq!(cluster.maven_request("PUT", 0, &path, content).await.0, 201);
        for algorithm in ["md5", "sha1", "sha256", "sha512"] {
            let path = format!("{path}.{algorithm}");
            let digest = cluster.maven_request("GET", 1, &path, "").await.1;
            assert_eq!(cluster.maven_request("PUT", 2, &path, &digest).await.0, 201);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_ranges_and_snapshots_are_resolved() {
    let cluster = cluster().await;
    let group = unique_group("gradle");
    for version in ["1.0", "1.9", "1.10", "2.0-rc1"] {
        publish(cluster, &group, version, "", &format!("lib {version}")).await;
    }
    publish(cluster, &group, "3.0-SNAPSHOT", "20260701.120000-1", "first").await;
    publish(cluster, &group, "3.0-SNAPSHOT", "20260701.130000-2", "second").await;
    let reader = cluster.maven_reader().await;
    for (version, file, content) in [
        ("1.0", "lib-1.0.jar", "lib 1.0"),
        ("1.+", "lib-1.10.jar", "lib 1.10"),
        ("latest.release", "lib-2.0-rc1.jar", "lib 2.0-rc1"),
        ("3.0-SNAPSHOT", "lib-3.0-SNAPSHOT.jar", "second"),
    ] {
        let repository = cluster.maven_repository(1, At::Project);
        let client = gradle(
            &repository,
            &reader,
            &fetching("maven", &format!("{group}:lib:{version}")),
        );
        ok(&client, "fetch").await;
        assert_eq!(
            client.read(format!("build/out/{file}")),
            content.as_bytes(),
            "{version}"
        );
    }
    let repository = cluster.maven_repository(1, At::Project);
    let client = gradle(
        &repository,
        &reader,
        &fetching("maven", &format!("{group}:lib:9.9")),
    );
    let missing = run(&client, "fetch").await;
    assert_eq!(missing.code, Some(1), "{missing}");
    missing.says(&format!("Could not find {group}:lib:9.9"));
    let client = gradle(
        &repository,
        WRONG_TOKEN,
        &fetching("maven", &format!("{group}:lib:1.0")),
    );
    let refused = run(&client, "fetch").await;
    assert_eq!(refused.code, Some(1), "{refused}");
    refused.says("401");
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_published_and_resolved_as_ivy_has_them() {
    let cluster = cluster().await;
    let group = unique_group("gradle-ivy");
    for version in ["1.0", "1.1"] {
        let build = format!(
            "apply plugin: 'ivy-publish'\n\
             publishing {{ publications {{ tool(IvyPublication) {{\n\
             organisation '{group}'; module 'tool'; revision '{version}'; artifact(file('tool.jar')) }} }}\n\
             repositories {{ ivy {{ REPOSITORY }} }} }}\n"
        );
        let client = gradle(&cluster.maven_repository(0, At::Project), &cluster.token, &build);
        client.write("build/tool.jar", format!("tool {version}"));
        ok(&client, "publish").await;
    }
    for (node, at, version, file) in [
        (1, At::Project, "1.0", "tool-1.0.jar"),
        (2, At::Group, "1.+", "tool-1.1.jar"),
    ] {
        let repository = cluster.maven_repository(node, at);
        let dependency = format!("{group}:tool:{version}");
        let client = gradle(&repository, &cluster.token, &fetching("ivy", &dependency));
        ok(&client, "fetch").await;
        let content = file.replace("tool-", "tool ").replace(".jar", "");
        assert_eq!(client.read(format!("build/out/{file}")), content.as_bytes());
    }
}
