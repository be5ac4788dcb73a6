//! Ivy, with the layout of Gradle, that of sbt, and Maven's.

use super::*;
use crate::testing::client::Ran;

/// Ivy, signed in with a token, with resolvers for a repository.
fn ivy(repository: &str, token: &str) -> Client {
    let client = on_java("java");
    client.write(
        "settings.xml",
        format!(
            "<ivysettings><settings defaultResolver=\"gradle\"/>\
             <credentials host=\"127.0.0.1\" realm=\"cairn\" username=\"deploy\" passwd=\"{token}\"/><resolvers>\
             <url name=\"gradle\"><ivy pattern=\"{repository}[organisation]/[module]/[revision]/ivy-[revision].xml\"/>\
             <artifact pattern=\"{repository}[organisation]/[module]/[revision]/[artifact]-[revision].[ext]\"/></url>\
             <url name=\"sbt\"><ivy pattern=\"{repository}[organisation]/[module]/scala_2.12/[revision]/ivys/ivy.xml\"/>\
             <artifact pattern=\"{repository}[organisation]/[module]/scala_2.12/[revision]/[type]s/[artifact].[ext]\"/>\
             </url><ibiblio name=\"maven\" m2compatible=\"true\" root=\"{repository}\"/></resolvers></ivysettings>"
        ),
    );
    client
}

/// Runs Ivy with one of its resolvers.
async fn run(client: &Client, resolver: &str, arguments: &[&str]) -> Ran {
    let settings = client.read("settings.xml");
    let settings = String::from_utf8(settings).unwrap();
    let (before, rest) = settings.split_once("defaultResolver=\"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    client.write(
        "settings.xml",
        format!("{before}defaultResolver=\"{resolver}\"{after}"),
    );
    let java = [
        "-jar",
        "/usr/share/java/ivy.jar",
        "-settings",
        "settings.xml",
        "-cache",
        "cache",
    ];
    client.run(client.home(), &[&java, arguments].concat()).await
}

/// Publishes a version of a module.
async fn publish(client: &Client, resolver: &str, org: &str, version: &str, more: &[&str]) -> Ran {
    client.write(
        "ivy.xml",
        format!(
            "<ivy-module version=\"2.0\"><info organisation=\"{org}\" module=\"tool\"/>\
             <publications><artifact name=\"tool\" type=\"jar\" ext=\"jar\"/></publications></ivy-module>"
        ),
    );
    client.write("tool.jar", format!("tool {version}"));
    let arguments = [
        "-ivy",
        "ivy.xml",
        "-publish",
        resolver,
        "-revision",
        version,
        "-publishpattern",
        "[artifact].[ext]",
    ];
    run(client, resolver, &[&arguments, more].concat()).await
}

/// Fetches a version of a module into `out`.
async fn fetch(client: &Client, resolver: &str, org: &str, version: &str) -> Ran {
    let arguments = [
        "-dependency",
        org,
        "tool",
        version,
        "-retrieve",
        "out/[artifact].[ext]",
        "-refresh",
    ];
    run(client, resolver, &arguments).await
}

#[track_caller]
fn is_ok(ran: &Ran) {
    // Ivy ends well whatever has failed; what it says counts.
    assert_eq!(ran.code, Some(0), "{ran}");
    for word in ["UNRESOLVED", "FAILED DOWNLOADS", "impossible to publish", "ERROR"] {
        assert!(!ran.stdout.contains(word) && !ran.stderr.contains(word), "{ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_published_and_resolved_in_either_layout() {
    let cluster = cluster().await;
    let reader = cluster.maven_reader().await;
    for resolver in ["gradle", "sbt"] {
        let org = unique_group(&format!("ivy-{resolver}"));
        let developer = ivy(&cluster.maven_repository(0, At::Project), &cluster.token);
        for version in ["1.0", "1.1", "1.10"] {
            // It asks for the digests of what it has just uploaded, and must not find any.
            is_ok(&publish(&developer, resolver, &org, version, &[]).await);
        }
        for (version, expected) in [
            ("1.0", "tool 1.0"),
            ("latest.integration", "tool 1.10"),
            ("[1.0,1.5[", "tool 1.1"),
        ] {
            let client = ivy(&cluster.maven_repository(1, At::Project), &reader);
            is_ok(&fetch(&client, resolver, &org, version).await);
            assert_eq!(
                client.read("out/tool.jar"),
                expected.as_bytes(),
                "{resolver} {version}"
            );
        }
        let client = ivy(&cluster.maven_repository(2, At::Group), &cluster.token);
        is_ok(&fetch(&client, resolver, &org, "1.+").await);
        assert_eq!(client.read("out/tool.jar"), b"tool 1.10");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_one_name_are_overwritten_and_resolved() {
    let cluster = cluster().await;
    let org = unique_group("ivy-snapshot");
    let developer = ivy(&cluster.maven_repository(0, At::Project), &cluster.token);
    for _ in 0..2 {
        is_ok(&publish(&developer, "sbt", &org, "1.0-SNAPSHOT", &["-overwrite"]).await);
    }
    let client = ivy(&cluster.maven_repository(1, At::Project), &cluster.token);
    is_ok(&fetch(&client, "sbt", &org, "1.0-SNAPSHOT").await);
    assert_eq!(client.read("out/tool.jar"), b"tool 1.0-SNAPSHOT");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ivy_may_not_do_it_says() {
    let cluster = cluster().await;
    let org = unique_group("ivy-errors");
    let repository = cluster.maven_repository(0, At::Project);
    let developer = ivy(&repository, &cluster.token);
    is_ok(&publish(&developer, "gradle", &org, "1.0", &[]).await);
    let again = publish(&developer, "gradle", &org, "1.0", &[]).await;
    assert_ne!(again.code, Some(0), "{again}");
    again.says("destination file exists");
    let client = ivy(&repository, WRONG_TOKEN);
    let refused = publish(&client, "gradle", &org, "1.1", &[]).await;
    assert_ne!(refused.code, Some(0), "{refused}");
    fetch(&client, "gradle", &org, "1.0").await.says("UNRESOLVED");
    let reader = ivy(&repository, &cluster.maven_reader().await);
    let refused = publish(&reader, "gradle", &org, "1.1", &[]).await;
    assert_ne!(refused.code, Some(0), "{refused}");
    refused.says("refused by the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn ivy_resolves_what_others_have_published_for_maven() {
    let cluster = cluster().await;
    let org = unique_group("ivy-maven");
    let path = org.replace('.', "/");
    for version in ["1.9", "1.10"] {
        let pom = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>{org}</groupId>\
             <artifactId>tool</artifactId><version>{version}</version></project>"
        );
        for (end, content) in [("jar", format!("tool {version}")), ("pom", pom)] {
            let file = format!("{path}/tool/{version}/tool-{version}.{end}");
            assert_eq!(cluster.maven_request("PUT", 0, &file, &content).await.0, 201);
        }
    }
    let client = ivy(&cluster.maven_repository(1, At::Project), &cluster.token);
    is_ok(&fetch(&client, "maven", &org, "latest.integration").await);
    assert_eq!(client.read("out/tool.jar"), b"tool 1.10");
}
