//! sbt: publishes in Maven's layout and in Ivy's, and resolves everything through Cairn and a folder of what sbt itself
//! is made of.

use super::*;
use crate::testing::client::{Ran, clients};

/// How sbt says where Ivy's layout has which file.
const IVY_STYLE: &str = "[organization]/[module]/(scala_[scalaVersion]/)(sbt_[sbtVersion]/)[revision]/[type]s/\
                         [artifact](-[classifier]).[ext]";

/// sbt, signed in with a token. It resolves nothing from anywhere but the repositories that it is told here.
struct Sbt {
    client: Client,
    options: Vec<String>,
}

impl Sbt {
    /// With a build of one class, and these settings.
    fn new(repository: &str, token: &str, settings: &str, source: &str) -> Self {
        let client = on_java("java");
        let installed = clients().join("maven/sbt");
        let home = client.home().display();
        // Not by the name of the one that is published to: sbt would take this one instead.
        client.write(
            "repositories",
            format!(
                "[repositories]\n  tools: file://{}/\n  maven-style: {repository}, allowInsecureProtocol\n  \
                 ivy-style: {repository}, {IVY_STYLE}, allowInsecureProtocol\n",
                installed.join("repository").display()
            ),
        );
        let version = std::fs::read_to_string(installed.join("installed"))
            .expect("ops/clients.d/maven has installed sbt");
        client.write(
            "build/project/build.properties",
            format!("sbt.version={version}\n"),
        );
        client.write(
            "build/build.sbt",
            format!(
                "credentials += Credentials(\"cairn\", \"127.0.0.1\", \"deploy\", \"{token}\")\n\
                 crossPaths := false\nautoScalaLibrary := false\nCompile / doc / sources := Nil\n{settings}"
            ),
        );
        client.write("build/src/main/java/acme/Code.java", source);
        let options = vec![
            "-Xmx1g".to_owned(),
            // It is over before more would pay.
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dsbt.override.build.repos=true".to_owned(),
            format!("-Dsbt.repository.config={home}/repositories"),
            format!("-Dsbt.global.base={home}/.sbt"),
            format!("-Dsbt.boot.directory={}", installed.join("boot").display()),
            format!("-Dsbt.ivy.home={home}/.ivy2"),
            format!("-Dsbt.coursier.home={home}/coursier"),
            "-Dsbt.server.autostart=false".to_owned(),
            "-Dsbt.color=false".to_owned(),
            "-jar".to_owned(),
            installed.join("sbt-launch.jar").display().to_string(),
        ];
        Self { client, options }
    }

    /// A library `lib` that is published to this repository.
    fn library(repository: &str, token: &str, organization: &str, is_maven_style: bool) -> Self {
        let to = match is_maven_style {
            true => format!("\"cairn\" at \"{repository}\""),
            false => format!("Resolver.url(\"cairn\", url(\"{repository}\"))(Resolver.ivyStylePatterns)"),
        };
        let settings = format!(
            "organization := \"{organization}\"\nname := \"lib\"\npublishMavenStyle := {is_maven_style}\n\
             publishTo := Some(({to}).withAllowInsecureProtocol(true))\n"
        );
        let source = "package acme; public class Code { }";
        Self::new(repository, token, &settings, source)
    }

    /// A program that says which file of `lib` it has got.
    fn program(repository: &str, token: &str) -> Self {
        let source = "package main; public class Code { public static void main(String[] a) { \
                      System.out.println(\"got \" + acme.Code.class.getProtectionDomain().getCodeSource()); } }";
        Self::new(repository, token, "", source)
    }

    /// The command by which a program depends on `lib`.
    fn dependency(organization: &str, version: &str) -> String {
        format!("set libraryDependencies := Seq(\"{organization}\" % \"lib\" % \"{version}\")")
    }

    async fn run(&self, commands: &[&str]) -> Ran {
        let options = self.options.iter().map(String::as_str);
        let arguments: Vec<&str> = options.chain(commands.iter().copied()).collect();
        self.client.run(&self.client.folder("build"), &arguments).await
    }

    async fn ok(&self, commands: &[&str]) -> Ran {
        let ran = self.run(commands).await;
        assert_eq!(ran.code, Some(0), "{ran}");
        ran
    }

    async fn fails(&self, commands: &[&str], part: &str) {
        let ran = self.run(commands).await;
        assert_eq!(ran.code, Some(1), "{ran}");
        ran.says(part);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sbt_publishes_and_resolves_in_mavens_layout() {
    let cluster = cluster().await;
    let organization = unique_group("sbt");
    let developer = Sbt::library(
        &cluster.maven_repository(0, At::Project),
        &cluster.token,
        &organization,
        true,
    );
    developer
        .ok(&[
            "set version := \"1.0.0\"",
            "publish",
            "set version := \"1.10.0\"",
            "publish",
            "set version := \"2.0.0-SNAPSHOT\"",
            "publish",
            // What is named after the snapshot is overwritten.
            "publish",
        ])
        .await;
    let reader = cluster.maven_reader().await;
    let program = Sbt::program(&cluster.maven_repository(1, At::Project), &reader);
    for (version, file) in [
        ("1.0.0", "/lib-1.0.0.jar"),
        ("[1.0,2.0)", "/lib-1.10.0.jar"),
        ("2.0.0-SNAPSHOT", "/lib-2.0.0-SNAPSHOT.jar"),
    ] {
        let dependency = Sbt::dependency(&organization, version);
        program.ok(&[&dependency, "run"]).await.says(file);
    }
    program
        .fails(&[&Sbt::dependency(&organization, "9.9.9"), "update"], "Not found")
        .await;

    // A release stays what it is, for whoever insists too.
    let source = "package acme; public class Code { public int more; }";
    developer
        .client
        .write("build/src/main/java/acme/Code.java", source);
    let overwrite = "set publishConfiguration := publishConfiguration.value.withOverwrite(true)";
    developer
        .fails(&["set version := \"1.0.0\"", overwrite, "publish"], "409")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sbt_publishes_and_resolves_in_ivys_layout() {
    let cluster = cluster().await;
    let organization = unique_group("sbt-ivy");
    let developer = Sbt::library(
        &cluster.maven_repository(0, At::Project),
        &cluster.token,
        &organization,
        false,
    );
    developer.ok(&["set version := \"1.0.0\"", "publish"]).await;
    let group = cluster.maven_repository(2, At::Group);
    let program = Sbt::program(&group, &cluster.token);
    let dependency = Sbt::dependency(&organization, "1.0.0");
    program.ok(&[&dependency, "run"]).await.says("/lib.jar ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sbt_may_not_do_it_says() {
    let cluster = cluster().await;
    let organization = unique_group("sbt-errors");
    let repository = cluster.maven_repository(0, At::Project);
    let publish = ["set version := \"1.0.0\"", "publish"];
    let stranger = Sbt::library(&repository, WRONG_TOKEN, &organization, true);
    // Java asks again and again, and tells of that.
    stranger.fails(&publish, "Server redirected too many").await;
    let reader = cluster.maven_reader().await;
    let reader = Sbt::library(&repository, &reader, &organization, true);
    reader.fails(&publish, "403").await;
}
