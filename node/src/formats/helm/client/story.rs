//! Publishing, finding, pulling, depending and upgrading.

use super::*;
use crate::testing::golden;

#[tokio::test(flavor = "multi_thread")]
async fn charts_are_pushed_found_pulled_and_upgraded() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let (name, channel) = (unique("web"), unique("stable"));
        let read = helm.cluster.deploy_token(&["read_package_registry"]).await;
        // Nothing is there, and that is a repository too.
        helm.add("push", 1, &channel, &helm.cluster.token).await;
        helm.add("team", 2, &channel, &read).await;
        let first = helm.package(&name, "1.0.0+build.1").await;
        helm.go(&["cm-push", &first, "push"]).await.says("Done.");
        helm.go(&["repo", "update"]).await;
        let chart = format!("team/{name}");
        helm.go(&["search", "repo", &chart, "--versions"])
            .await
            .says("1.0.0+build.1")
            .says("1.10");
        helm.go(&["show", "chart", &chart]).await.says(&name);
        helm.go(&["show", "values", &chart]).await.says("greeting: hello");
        helm.go(&["template", "x", &chart])
            .await
            .says(&format!("hello {name} 1.0.0+build.1"));
        helm.go(&["pull", &chart, "--untar", "--untardir", "pulled"])
            .await;
        assert_eq!(
            helm.read(format!("pulled/{name}/values.yaml")),
            b"greeting: hello\n"
        );

        // A higher version, by curl through another node; a prerelease is not found by itself.
        let second = helm.package(&name, "1.2.0").await;
        helm.publish(0, &channel, &second).await;
        let third = helm.package(&name, "2.0.0-rc.1").await;
        helm.publish(1, &channel, &third).await;
        helm.go(&["repo", "update", "team"]).await;
        helm.go(&["template", "x", &chart])
            .await
            .says(&format!("hello {name} 1.2.0"));
        helm.go(&["template", "x", &chart, "--version", "~1.0"])
            .await
            .says("1.0.0+build.1");
        helm.go(&["template", "x", &chart, "--devel"])
            .await
            .says("2.0.0-rc.1");
        let listed = helm
            .go(&["search", "repo", &chart, "--versions", "--devel", "-o", "json"])
            .await
            .json();
        let versions: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["version"].clone())
            .collect();
        assert_eq!(versions, ["2.0.0-rc.1", "1.2.0", "1.0.0+build.1"]);
        // Without a repository that is known by name, through the third node.
        let url = helm.repository(2, &channel);
        let signed_in = ["--repo", &url, "--username", "__token__", "--password", &read];
        helm.folder("direct");
        helm.go(&[
            &["pull", &name, "--version", "1.2.0", "-d", "direct"][..],
            &signed_in,
        ]
        .concat())
            .await;
        assert_eq!(helm.read(format!("direct/{second}")), helm.read(&second));

        // What is deleted is gone for those who ask again.
        let path = format!("api/{channel}/charts/{name}/1.2.0");
        let deleted = helm.curl(0, &path, &helm.cluster.token, &["-X", "DELETE"]).await;
        deleted.says("{\"deleted\":true}");
        helm.go(&["repo", "update", "team"]).await;
        helm.go(&["template", "x", &chart]).await.says("1.0.0+build.1");
        helm.refused(&["pull", &chart, "--version", "1.2.0"], &["1.2.0"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_depend_on_charts_by_name_and_by_url() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let (base, channel) = (unique("base"), unique("deps"));
        let read = helm.cluster.deploy_token(&["read_package_registry"]).await;
        helm.add("team", 0, &channel, &read).await;
        for version in ["1.0.0", "1.1.0", "2.0.0"] {
            let packaged = helm.package(&base, version).await;
            helm.publish(1, &channel, &packaged).await;
        }
        let by_url = format!("\"{}\"", helm.repository(0, &channel));
        for (name, repository) in [("by-name", "\"@team\""), ("by-url", by_url.as_str())] {
            let dependencies =
                format!("dependencies:\n- name: {base}\n  version: ^1.0\n  repository: {repository}\n");
            helm.sources(name, "0.1.0", &dependencies);
            helm.go(&["dependency", "update", name]).await;
            let packaged = format!("{name}/charts/{base}-1.1.0.tgz");
            assert!(!helm.read(&packaged).is_empty());
            helm.go(&["template", "x", name])
                .await
                .says(&format!("hello {base} 1.1.0"));
            // What was locked is fetched again.
            std::fs::remove_dir_all(helm.home().join(name).join("charts")).unwrap();
            helm.go(&["dependency", "build", name]).await;
            assert!(!helm.read(&packaged).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_and_the_instance_are_repositories_that_only_read() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let (name, channel) = (unique("shared"), unique("all"));
        let packaged = helm.package(&name, "1.0.0").await;
        helm.publish(0, &channel, &packaged).await;
        for (repository, path) in [
            ("group", "groups/acme/-/packages/helm"),
            ("instance", "packages/helm"),
        ] {
            let url = format!("{}/api/v4/{path}/{channel}", helm.cluster.url(1));
            let add = [
                "repo",
                "add",
                repository,
                &url,
                "--username",
                "__token__",
                "--password",
                &helm.cluster.root,
            ];
            helm.go(&add).await;
            let pulled = helm.folder(repository);
            let chart = format!("{repository}/{name}");
            helm.go(&["pull", &chart, "-d", pulled.to_str().unwrap()]).await;
            assert_eq!(
                helm.read(format!("{repository}/{packaged}")),
                helm.read(&packaged)
            );
            let push = ["cm-push", &packaged, repository];
            helm.refused(&push, &["charts are published to a project"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_says_why_it_was_refused() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let (name, channel) = (unique("refused"), unique("refused"));
        let url = helm.repository(0, &channel);
        // Without a token, and with one of nobody.
        helm.refused(&["repo", "add", "team", &url], &["401 Unauthorized"])
            .await;
        let wrong = [
            "repo",
            "add",
            "team",
            &url,
            "--username",
            "x",
            "--password",
            WRONG_TOKEN,
        ];
        helm.refused(&wrong, &["401 Unauthorized"]).await;
        let nowhere = url.replace("projects/1/", "projects/99/");
        let add = [
            "repo",
            "add",
            "team",
            &nowhere,
            "--username",
            "__token__",
            "--password",
            &helm.cluster.token,
        ];
        helm.refused(&add, &["404 Not Found"]).await;

        // With a token that may not publish.
        let packaged = helm.package(&name, "1.0.0").await;
        let read = helm.cluster.deploy_token(&["read_package_registry"]).await;
        helm.add("reader", 0, &channel, &read).await;
        helm.refused(&["cm-push", &packaged, "reader"], &["403"]).await;

        // Twice, which the plugin packages anew; by force only by those who may delete.
        helm.add("writer", 0, &channel, &helm.cluster.token).await;
        helm.go(&["cm-push", &packaged, "writer"]).await;
        helm.sources(&name, "1.0.0", "description: another\n");
        let again = ["cm-push", &name, "writer"];
        helm.refused(&again, &["409", "file already exists"]).await;
        let write = ["read_package_registry", "write_package_registry"];
        let write = helm.cluster.deploy_token(&write).await;
        helm.add("deploy", 0, &channel, &write).await;
        helm.refused(&["cm-push", &name, "deploy", "--force"], &["403", "may delete"])
            .await;
        helm.go(&["cm-push", &name, "writer", "--force"])
            .await
            .says("Done.");
        helm.go(&["repo", "update"]).await;
        helm.go(&["show", "chart", &format!("reader/{name}")])
            .await
            .says("another");

        // What is no chart, and what is not there.
        helm.write("broken.tgz", b"\x1f\x8b\x08broken");
        let path = format!("api/{channel}/charts");
        let sent = helm.curl(0, &path, &write, &["-F", "chart=@broken.tgz"]).await;
        sent.says("the chart is damaged").says("400");
        helm.refused(&["pull", &format!("reader/{}", unique("none"))], &["not found"])
            .await;
        let missing = format!("reader/{name}");
        helm.refused(&["pull", &missing, "--version", "9.0.0"], &["9.0.0"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_reads_the_index_that_is_kept_as_an_example() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let repositories = "apiVersion: v1\nrepositories:\n- name: golden\n  url: http://127.0.0.1:1/\n";
        helm.write(".config/helm/repositories.yaml", repositories);
        let index = String::from_utf8(golden::read("helm", "index.yaml")).unwrap();
        helm.write(".cache/helm/repository/golden-index.yaml", &index);
        let search = ["search", "repo", "golden/", "--versions", "--devel", "-o", "json"];
        let found = helm.go(&search).await.json();
        let found = found.as_array().unwrap().iter();
        let found: Vec<_> = found
            .map(|entry| format!("{} {}", entry["name"], entry["version"]))
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        for line in index.lines().filter(|line| line.contains("\"digest\"")) {
            let entry: serde_json::Value = serde_json::from_str(line.trim_end_matches(',')).unwrap();
            let line = format!(
                "\"golden/{}\" {}",
                entry["name"].as_str().unwrap(),
                entry["version"]
            );
            assert!(found.contains(&line), "{line}: {found:?}");
        }
    }
}
