//! Requests and answers on an in-memory node: every row of the contract, and what a wrong request gets.

pub(super) mod documents;

use serde_json::{Value, json};

use super::artifact::tests::{MODULE, module, module_with, zip};
use super::names::tests::escape;
use crate::http::settings::HttpSettings;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/go";
const GROUP: &str = "/api/v4/groups/acme/-/packages/go";
const INSTANCE: &str = "/api/v4/packages/go";

const PSEUDO: &str = "v0.0.0-20260102030405-abcdefabcdef";

/// Publishes `git.acme.io/Team/lib` v1.0.0 to a project, for the matrix of routes.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    upload(node, project, "root", module(MODULE, "v1.0.0"))
        .await
        .expect(201);
}

async fn upload(node: &TestNode, project: u64, caller: &str, artifact: Vec<u8>) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/go/upload");
    node.put(target).by(caller).body(artifact).send().await
}

async fn publish(node: &TestNode, path: &str, version: &str) -> Value {
    let answer = upload(node, 1, "developer", module(path, version)).await;
    answer.expect(201).json()
}

/// Something of a module, below a base.
async fn get(node: &TestNode, base: &str, path: &str, file: &str) -> Answer {
    let target = format!("{base}/{}/{}", escape(path), escape(file));
    node.get(target).by("reporter").send().await
}

/// Deletes a version by the REST API; gives its number.
async fn delete(node: &TestNode, version: &str) -> u64 {
    let id = number(node, version).await;
    let target = format!("/api/v4/projects/1/packages/{id}");
    node.delete(target).by("maintainer").send().await.expect(204);
    id
}

async fn number(node: &TestNode, version: &str) -> u64 {
    let target = format!("/api/v4/projects/1/packages?package_type=go&package_version={version}");
    let listed = node.get(target).by("maintainer").send().await.expect(200).json();
    listed[0]["id"].as_u64().unwrap_or_else(|| panic!("{listed}"))
}

#[tokio::test]
async fn what_is_published_is_served_by_every_node() {
    let node = TestNode::start().await;
    let artifact = module(MODULE, "v1.0.0-RC1");
    let answer = upload(&node, 1, "deploy-write", artifact.clone())
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&answer["Path"], &answer["Version"]),
        (&json!(MODULE), &json!("v1.0.0-RC1"))
    );
    let node = node.sibling();
    let list = get(&node, BASE, MODULE, "@v/list").await.expect(200);
    assert_eq!(
        (list.text(), list.header("content-type")),
        ("v1.0.0-RC1\n", "text/plain; charset=utf-8")
    );

    let info = get(&node, BASE, MODULE, "@v/v1.0.0-RC1.info").await.expect(200);
    assert_eq!(info.header("content-type"), "application/json");
    assert_eq!(info.json()["Version"], "v1.0.0-RC1");
    let time = info.json()["Time"].as_str().unwrap().to_owned();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    assert_eq!(
        get(&node, BASE, MODULE, "@latest").await.expect(200).json(),
        info.json()
    );

    let go_mod = get(&node, BASE, MODULE, "@v/v1.0.0-RC1.mod").await.expect(200);
    assert_eq!(go_mod.text(), format!("module {MODULE}\n\ngo 1.21\n"));
    assert_eq!(go_mod.header("content-type"), "text/plain; charset=utf-8");
    let archive = get(&node, BASE, MODULE, "@v/v1.0.0-RC1.zip").await.expect(200);
    assert_eq!(
        (&archive.body[..], archive.header("content-type")),
        (&artifact[..], "application/zip")
    );
    assert_eq!(
        archive.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    let hash = get(&node, BASE, MODULE, "@v/v1.0.0-RC1.ziphash")
        .await
        .expect(200);
    assert_eq!(hash.text(), answer["Sum"]);
}

#[tokio::test]
async fn upper_case_is_written_with_exclamation_marks_encoded_or_not() {
    let node = TestNode::start().await;
    publish(&node, MODULE, "v1.0.0").await;
    for (path, status) in [
        ("git.acme.io/!team/lib", 200),
        ("git.acme.io/%21team/lib", 200),
        ("git.acme.io/Team/lib", 404),
        ("git.acme.io/team/lib", 404),
        ("git.acme.io/!!team/lib", 404),
        ("git.acme.io/%21Team/lib", 404),
        ("git.acme.io", 404),
        ("git.acme.io/!team", 404),
    ] {
        let request = node.get(format!("{BASE}/{path}/@v/list")).by("reporter");
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert!(answer.text().starts_with("not found: "), "{}", answer.text());
        }
    }
    // A module of the same letters is another one.
    publish(&node, "git.acme.io/team/lib", "v0.1.0").await;
    let list = get(&node, BASE, "git.acme.io/team/lib", "@v/list")
        .await
        .expect(200);
    assert_eq!(list.text(), "v0.1.0\n");
}

#[tokio::test]
async fn lists_have_what_was_released_and_latest_has_the_rest() {
    let node = TestNode::start().await;
    publish(&node, MODULE, PSEUDO).await;
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.expect(200).text(), "");
    let latest = async || get(&node, BASE, MODULE, "@latest").await.expect(200).json();
    assert_eq!(
        latest().await,
        json!({"Version": PSEUDO, "Time": "2026-01-02T03:04:05Z"})
    );
    for hash in [
        "abcdefa",
        "abcdefabcdef",
        "abcdefabcdef0123456789abcdef0123456789ab",
    ] {
        let info = get(&node, BASE, MODULE, &format!("@v/{hash}.info"))
            .await
            .expect(200);
        assert_eq!(info.json()["Version"], PSEUDO);
        assert_eq!(info.header("cache-control"), "private, no-cache");
    }
    for missing in ["abcdef1", "master", "v0", "v0.0.0"] {
        get(&node, BASE, MODULE, &format!("@v/{missing}.info"))
            .await
            .expect(404);
    }
    publish(&node, MODULE, "v1.1.0-rc.1").await;
    assert_eq!(latest().await["Version"], "v1.1.0-rc.1");
    for version in ["v1.9.0", "v1.10.0", "v1.11.0-rc.1"] {
        publish(&node, MODULE, version).await;
    }
    assert_eq!(latest().await["Version"], "v1.10.0");
    let list = get(&node, BASE, MODULE, "@v/list").await.expect(200);
    let mut versions: Vec<_> = list.text().lines().collect();
    versions.sort_unstable();
    assert_eq!(versions, ["v1.1.0-rc.1", "v1.10.0", "v1.11.0-rc.1", "v1.9.0"]);
}

#[tokio::test]
async fn a_list_is_not_sent_twice_and_tells_of_a_publish_at_once() {
    let node = TestNode::start().await;
    publish(&node, MODULE, "v1.0.0").await;
    let other = node.sibling();
    let first = get(&other, BASE, MODULE, "@v/list").await.expect(200);
    let again = async |etag: &str| {
        let target = format!("{BASE}/{}/@v/list", escape(MODULE));
        let request = other.get(target).by("reporter");
        request.header("if-none-match", etag).send().await
    };
    assert!(again(first.header("etag")).await.expect(304).body.is_empty());
    publish(&node, MODULE, "v1.1.0").await;
    assert_eq!(
        again(first.header("etag")).await.expect(200).text(),
        "v1.0.0\nv1.1.0\n"
    );
}

#[tokio::test]
async fn archives_are_fetched_in_parts_and_asked_about() {
    let node = TestNode::start().await;
    let artifact = module(MODULE, "v1.0.0");
    upload(&node, 1, "developer", artifact.clone()).await.expect(201);
    let target = |file: &str| format!("{BASE}/{}/{file}", escape(MODULE));
    let part = node.get(target("@v/v1.0.0.zip")).by("reporter");
    let part = part.header("range", "bytes=5-9").send().await.expect(206);
    assert_eq!(part.body, artifact[5..10]);
    for file in [
        "@v/list",
        "@latest",
        "@v/v1.0.0.info",
        "@v/v1.0.0.mod",
        "@v/v1.0.0.zip",
    ] {
        let whole = node.get(target(file)).by("reporter").send().await.expect(200);
        let head = node.head(target(file)).by("reporter").send().await.expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("etag"), whole.header("etag"), "{file}");
        let again = node.get(target(file)).by("reporter");
        let again = again.header("if-none-match", whole.header("etag"));
        again.send().await.expect(304);
        node.head(
            target(&file.replace("v1.0.0", "v9.0.0"))
                .replace("lib/@l", "no/@l")
                .replace("lib/@v/list", "no/@v/list"),
        )
        .by("reporter")
        .send()
        .await
        .expect(404);
    }
}

#[tokio::test]
async fn a_version_is_published_once() {
    let node = TestNode::start().await;
    let first = publish(&node, MODULE, "v1.0.0").await;
    let again = upload(&node, 1, "developer", module(MODULE, "v1.0.0"))
        .await
        .expect(200);
    assert_eq!(again.json(), first);
    // The same content packed in another order is the same module; what was served stays.
    let go_mod = format!("module {MODULE}\n\ngo 1.21\n");
    let packed = zip(
        MODULE,
        "v1.0.0",
        &[("lib.go", "package lib\n"), ("go.mod", &go_mod)],
    );
    upload(&node, 1, "developer", packed).await.expect(200);
    let served = get(&node, BASE, MODULE, "@v/v1.0.0.zip").await.expect(200);
    assert_eq!(served.body, module(MODULE, "v1.0.0"));

    let other = module_with(MODULE, "v1.0.0", "package lib // changed\n");
    let refused = upload(&node, 1, "maintainer", other).await.expect(409);
    let sum = first["Sum"].as_str().unwrap();
    assert_eq!(
        refused.text(),
        format!("{MODULE}@v1.0.0 exists already with other content ({sum}); publish another version\n")
    );
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.text(), "v1.0.0\n");
}

#[tokio::test]
async fn of_two_publishes_at_once_one_wins() {
    let node = TestNode::start().await;
    let one = upload(&node, 1, "developer", module(MODULE, "v1.0.0"));
    let other = upload(
        &node,
        1,
        "developer",
        module_with(MODULE, "v1.0.0", "package other\n"),
    );
    let (one, other) = tokio::join!(one, other);
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn what_is_no_module_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let check = async |artifact: Vec<u8>, part: &str| {
        let answer = upload(&node, 1, "developer", artifact).await.expect(400);
        assert!(answer.text().contains(part), "{} / {part}", answer.text());
    };
    check(Vec::new(), "the module is not a ZIP archive").await;
    check(b"<html>".repeat(100_000), "the module is not a ZIP archive").await;
    check(module(MODULE, "v1.0"), "is not 'v' and a whole version").await;
    check(module("lib", "v1.0.0"), "no dot in it").await;
    check(module(MODULE, "v2.0.0"), "is not of the major version").await;
    let other = zip(MODULE, "v1.0.0", &[("go.mod", "module git.acme.io/other\n")]);
    check(other, "but git.acme.io/other by its go.mod").await;
    let mut corrupt = module(MODULE, "v1.0.0");
    corrupt[90] ^= 1;
    check(corrupt, "is damaged").await;
    get(&node, BASE, MODULE, "@v/list").await.expect(404);
    let coded = node.put(format!("{BASE}/upload")).by("developer");
    let coded = coded
        .header("content-encoding", "gzip")
        .body(module(MODULE, "v1.0.0"));
    coded.send().await.expect(415);
    publish(&node, MODULE, "v1.0.0").await;
}

#[tokio::test]
async fn a_module_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let node = TestNode::with(settings).await;
    let answer = upload(&node, 1, "developer", module(MODULE, "v1.0.0"))
        .await
        .expect(413);
    assert_eq!(answer.text(), "the file is over the limit of 100 bytes\n");
}

#[tokio::test]
async fn a_module_without_go_mod_gets_one() {
    let node = TestNode::start().await;
    let old = zip(
        "git.acme.io/old",
        "v2.0.0+incompatible",
        &[("old.go", "package old\n")],
    );
    upload(&node, 1, "developer", old).await.expect(201);
    for version in ["v2.0.0+incompatible", "v2.0.0%2Bincompatible"] {
        let target = format!("{BASE}/git.acme.io/old/@v/{version}.mod");
        let go_mod = node.get(target).by("reporter").send().await.expect(200);
        assert_eq!(go_mod.text(), "module git.acme.io/old\n");
    }
    let list = get(&node, BASE, "git.acme.io/old", "@v/list").await;
    assert_eq!(list.text(), "v2.0.0+incompatible\n");
}

#[tokio::test]
async fn a_version_that_was_deleted_comes_back_with_its_content_alone() {
    let node = TestNode::start().await;
    for version in ["v1.0.0", "v1.1.0"] {
        publish(&node, MODULE, version).await;
    }
    delete(&node, "v1.1.0").await;
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.text(), "v1.0.0\n");
    assert_eq!(
        get(&node, BASE, MODULE, "@latest").await.json()["Version"],
        "v1.0.0"
    );
    for file in ["info", "mod", "zip", "ziphash"] {
        let gone = get(&node, BASE, MODULE, &format!("@v/v1.1.0.{file}"))
            .await
            .expect(410);
        assert_eq!(gone.text(), format!("{MODULE}@v1.1.0 was deleted\n"));
    }
    let other = module_with(MODULE, "v1.1.0", "package other\n");
    let refused = upload(&node, 1, "maintainer", other).await.expect(409);
    assert!(
        refused.text().contains("was deleted with other content"),
        "{}",
        refused.text()
    );
    publish(&node, MODULE, "v1.1.0").await;
    assert_eq!(
        get(&node, BASE, MODULE, "@v/list").await.text(),
        "v1.0.0\nv1.1.0\n"
    );

    for version in ["v1.0.0", "v1.1.0"] {
        delete(&node, version).await;
    }
    get(&node, BASE, MODULE, "@v/list").await.expect(404);
    get(&node, BASE, MODULE, "@latest").await.expect(404);
}

#[tokio::test]
async fn what_was_deleted_is_restored_with_its_place_in_the_list() {
    let node = TestNode::start().await;
    publish(&node, MODULE, "v1.0.0").await;
    let restore = async || {
        let trash = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
        let trash = trash.send().await.expect(200).json();
        let id = trash[0]["id"].as_u64().unwrap_or_else(|| panic!("{trash}"));
        let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
        node.post(target).by("maintainer").send().await.expect(200);
    };
    let id = delete(&node, "v1.0.0").await;
    get(&node, BASE, MODULE, "@v/list").await.expect(404);
    restore().await;
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.text(), "v1.0.0\n");

    // Without one of its files a version is not there.
    let files = format!("/api/v4/projects/1/packages/{id}/package_files");
    let listed = node.get(&files).by("maintainer").send().await.expect(200).json();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["file_name"])
        .collect();
    assert_eq!(names, ["v1.0.0.zip", "v1.0.0.mod"]);
    let target = format!("{files}/{}", listed[0]["id"]);
    node.delete(target).by("maintainer").send().await.expect(204);
    get(&node, BASE, MODULE, "@v/list").await.expect(404);
    for file in ["info", "mod", "zip"] {
        get(&node, BASE, MODULE, &format!("@v/v1.0.0.{file}"))
            .await
            .expect(404);
    }
    restore().await;
    get(&node, BASE, MODULE, "@v/v1.0.0.zip").await.expect(200);
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.text(), "v1.0.0\n");

    // And it is made whole by publishing it again.
    let listed = node.get(&files).by("maintainer").send().await.expect(200).json();
    let target = format!("{files}/{}", listed[0]["id"]);
    node.delete(target).by("maintainer").send().await.expect(204);
    upload(&node, 1, "developer", module(MODULE, "v1.0.0"))
        .await
        .expect(200);
    assert_eq!(get(&node, BASE, MODULE, "@v/list").await.text(), "v1.0.0\n");
}

#[tokio::test]
async fn a_group_and_the_instance_show_the_module_that_was_there_first() {
    let node = TestNode::start().await;
    publish(&node, MODULE, "v1.0.0").await;
    upload(&node, 2, "developer", module(MODULE, "v1.9.9"))
        .await
        .expect(201);
    upload(&node, 2, "developer", module("git.acme.io/open", "v1.0.0"))
        .await
        .expect(201);
    for base in [GROUP, INSTANCE] {
        assert_eq!(
            get(&node, base, MODULE, "@v/list").await.expect(200).text(),
            "v1.0.0\n"
        );
        get(&node, base, MODULE, "@v/v1.9.9.zip").await.expect(404);
        get(&node, base, MODULE, "@v/v1.0.0.zip").await.expect(200);
        get(&node, base, "git.acme.io/open", "@v/v1.0.0.mod")
            .await
            .expect(200);
        let refused = node
            .put(format!("{base}/upload"))
            .by("owner")
            .send()
            .await
            .expect(405);
        assert_eq!(
            refused.text(),
            "405 Method Not Allowed: modules are published to a project\n"
        );
    }
    // Nobody in particular sees what everybody may.
    let open = |base: &str, path: &str| node.get(format!("{base}/{path}/@v/list")).send();
    open(INSTANCE, "git.acme.io/open").await.expect(200);
    let unknown = open(INSTANCE, "git.acme.io/unknown").await.expect(401);
    assert_eq!(unknown.header("www-authenticate"), "Basic realm=\"cairn\"");
    open(BASE, "git.acme.io/unknown").await.expect(401);
}

#[tokio::test]
async fn scripts_of_gitea_move_over() {
    let node = TestNode::start().await;
    let base = "/api/packages/acme%2Fdemo/go";
    let artifact = module(MODULE, "v1.0.0");
    let request = node
        .put(format!("{base}/upload"))
        .basic("deploy", node.token("developer"));
    request.body(artifact.clone()).send().await.expect(201);
    assert_eq!(
        get(&node, base, MODULE, "@v/list").await.expect(200).text(),
        "v1.0.0\n"
    );
    let archive = get(&node, base, MODULE, "@v/v1.0.0.zip").await.expect(200);
    assert_eq!(archive.body, artifact);
    get(&node, base, MODULE, "@v/v1.1.0.zip").await.expect(404);
    get(&node, "/api/packages/99/go", MODULE, "@v/list")
        .await
        .expect(404);
}

#[tokio::test]
async fn checksum_databases_are_left_to_the_client() {
    let node = TestNode::start().await;
    for base in [BASE, GROUP, INSTANCE] {
        let target = format!("{base}/sumdb/sum.example.org/supported");
        let answer = node.get(&target).by("reporter").send().await.expect(404);
        assert!(
            answer.text().contains("sum.example.org is not asked"),
            "{}",
            answer.text()
        );
        node.get(&target).send().await.expect(401);
    }
}

#[tokio::test]
async fn a_protected_module_is_published_by_those_above() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "git.acme.io/*",
        "package_type": "go",
        "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = upload(&node, 1, "developer", module(MODULE, "v1.0.0"))
        .await
        .expect(403);
    assert_eq!(refused.text(), "Package protected.\n");
    upload(&node, 1, "deploy-write", module(MODULE, "v1.0.0"))
        .await
        .expect(403);
    upload(&node, 1, "maintainer", module(MODULE, "v1.0.0"))
        .await
        .expect(201);
    publish(&node, "git.other.io/lib", "v1.0.0").await;
}

/// What the page of an import path says: the prefix, and where the modules below it are.
async fn imported(node: &TestNode, path: &str, caller: &str) -> (String, String) {
    let request = node.get(format!("/{path}?go-get=1")).by(caller);
    let page = request.send().await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let content = page.text().split("name=\"go-import\" content=\"").nth(1).unwrap();
    let content = content.split('"').next().unwrap();
    let (prefix, way) = content.split_once(' ').unwrap();
    let url = way.strip_prefix("mod http://cairn.example").unwrap();
    (prefix.to_owned(), url.to_owned())
}

#[tokio::test]
async fn an_import_path_below_a_project_leads_to_its_modules() {
    let node = TestNode::start().await;
    let module_path = "cairn.example/acme/demo/lib";
    publish(&node, module_path, "v1.0.0").await;
    for path in [
        "acme/demo",
        "acme/demo/lib",
        "acme/demo/lib/v2/",
        "acme/demo/%61/b",
    ] {
        let (prefix, url) = imported(&node, path, "reporter").await;
        assert_eq!(prefix, "cairn.example/acme/demo", "{path}");
        assert_eq!(url, "/api/v4/projects/acme%2Fdemo/packages/go");
        let list = get(&node, &url, module_path, "@v/list").await.expect(200);
        assert_eq!(list.text(), "v1.0.0\n");
    }
    let head = node.request(axum::http::Method::HEAD, "/acme/demo?go-get=1");
    head.by("reporter").send().await.expect(200);
}

#[tokio::test]
async fn the_page_of_an_import_path_tells_nobody_what_is_there() {
    let node = TestNode::start().await;
    let sub = json!({"name": "sub", "path": "sub", "parent_id": 1});
    let sub = node.post("/api/v4/groups").by("owner").json(&sub).send().await;
    let sub = sub.expect(201).json()["id"].clone();
    let deep = json!({"name": "deep", "path": "deep", "namespace_id": sub});
    node.post("/api/v4/projects")
        .by("owner")
        .json(&deep)
        .send()
        .await
        .expect(201);
    let (prefix, url) = imported(&node, "acme/sub/deep/lib", "reporter").await;
    assert_eq!(prefix, "cairn.example/acme/sub/deep");
    assert_eq!(url, "/api/v4/projects/acme%2Fsub%2Fdeep/packages/go");
    // Others hear the same of what is there and of what is not.
    for caller in ["anonymous", "stranger", "foreign-deploy"] {
        for (path, prefix) in [
            ("acme/sub/deep/lib", "cairn.example/acme/sub"),
            ("acme/sub/none/lib", "cairn.example/acme/sub"),
            ("acme/demo/lib", "cairn.example/acme/demo"),
            ("acme/none/lib", "cairn.example/acme/none"),
            ("none/none", "cairn.example/none/none"),
        ] {
            assert_eq!(imported(&node, path, caller).await.0, prefix, "{caller} {path}");
        }
    }
    let send = async |path: &str, caller: &str| node.get(path).by(caller).send().await;
    // Without the question there is nothing, nor where there can be no project.
    for path in [
        "/acme/demo",
        "/acme/demo?go-get=0",
        "/?go-get=1",
        "/acme?go-get=1",
        "/api/demo?go-get=1",
        "/%3Cb%3E/%22?go-get=1",
    ] {
        send(path, "anonymous").await.expect(404);
    }
    node.post("/acme/demo?go-get=1")
        .by("root")
        .send()
        .await
        .expect(404);
    // A token that does not hold is refused, so that whoever sent it hears of it.
    send("/acme/demo?go-get=1", "wrong").await.expect(401);
}
