//! What is stored and as whose it counts, whatever is published and deleted.

use proptest::prelude::*;

use super::*;
use crate::formats::oci;
use crate::registry::fixture;

async fn usage(node: &TestNode, place: &str) -> Value {
    let target = format!("/api/cairn/v1/{place}/usage");
    node.get(target).by("root").send().await.expect(200).json()
}

/// Bytes, files and versions.
fn counted(of: &Value) -> (u64, u64, u64) {
    let number = |name: &str| of[name].as_u64().unwrap();
    (number("bytes"), number("files"), number("versions"))
}

async fn put(node: &TestNode, by: &str, project: u64, path: &str, bytes: &str) {
    let target = format!("/api/v4/projects/{project}/packages/generic/{path}");
    let sent = node.put(target).by(by).body(bytes.to_owned()).send();
    sent.await.expect(201);
}

#[tokio::test]
async fn usage_is_counted_by_project_group_format_and_user() {
    let node = TestNode::start().await;
    put(&node, "developer", 1, "tool/1/a", "12345").await;
    put(&node, "developer", 1, "tool/1/b", "123").await;
    put(&node, "maintainer", 1, "tool/2/a", "12345").await;
    put(&node, "deploy-write", 1, "tool/3/a", "1").await;
    put(&node, "root", 2, "open/1/a", "1234567890").await;
    // The same again stores nothing.
    put(&node, "developer", 1, "tool/1/a", "12345").await;
    oci::tests::furnish(&node, "acme/demo/app").await;

    let project = usage(&node, "projects/1").await;
    let formats = project["formats"].as_array().unwrap();
    let names: Vec<_> = formats
        .iter()
        .map(|of| of["package_type"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["generic", "oci"]);
    assert_eq!(counted(&formats[0]), (14, 4, 3));
    let (image_bytes, image_files, manifests) = counted(&formats[1]);
    assert_eq!((image_files, manifests), (3, 1));
    assert_eq!(counted(&project), (14 + image_bytes, 7, 4));

    let group = usage(&node, "groups/acme").await;
    assert_eq!(counted(&group), (24 + image_bytes, 8, 5));
    // "12345" is there twice and stored once; of the image, two blobs are: its manifest is small enough
    // for the metadata.
    let all = node
        .get("/api/cairn/v1/usage")
        .by("root")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(all["content_bytes"].as_u64().unwrap(), 24 + 7 - 5);
    assert_eq!(all["stored_bytes"], all["content_bytes"]);
    let share = |of: &Value| of["stored_bytes"].as_u64().unwrap();
    assert_eq!(share(&group), share(&all));
    assert!(share(&project) < share(&group), "{project}");

    let users = node.get("/api/cairn/v1/projects/1/usage/users").by("maintainer");
    let users = users.send().await.expect(200).json();
    let rows: Vec<_> = users.as_array().unwrap().iter().collect();
    let of = |name: &str| {
        let found = rows
            .iter()
            .find(|row| row["user"]["username"].as_str() == Some(name));
        counted(found.unwrap())
    };
    assert_eq!(of("developer"), (8 + image_bytes, 5, 2));
    assert_eq!(of("maintainer"), (5, 1, 1));
    let nobody = rows.iter().find(|row| row["user"].is_null()).unwrap();
    assert_eq!(counted(nobody), (1, 1, 1));
    let sizes: Vec<_> = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");

    let projects = node.get("/api/cairn/v1/groups/acme/usage/projects").by("owner");
    let projects = projects.send().await.expect(200).json();
    assert_eq!(projects[0]["project_path"], "acme/demo");
    assert_eq!(projects[1]["bytes"], 10);
}

#[tokio::test]
async fn gitlab_shows_the_same_as_statistics_to_members() {
    let node = TestNode::start().await;
    put(&node, "developer", 1, "tool/1/a", "12345").await;
    oci::tests::furnish(&node, "acme/demo/app").await;
    for target in ["/api/v4/projects/1", "/api/v4/groups/acme"] {
        let with = format!("{target}?statistics=true");
        let shown = node.get(&with).by("reporter").send().await.expect(200).json();
        let of = |name: &str| shown["statistics"][name].as_u64().unwrap();
        assert_eq!(of("packages_size"), 5);
        assert!(of("container_registry_size") > 0);
        assert_eq!(of("storage_size"), 5 + of("container_registry_size"));
        let plain = node.get(target).by("reporter").send().await.expect(200).json();
        assert!(plain.get("statistics").is_none());
        // A guest may see it, but not what is in it.
        let guest = node.get(&with).by("guest").send().await.expect(200).json();
        assert!(guest.get("statistics").is_none());
    }
    let open = node
        .get("/api/v4/projects/2?statistics=true")
        .send()
        .await
        .expect(200)
        .json();
    assert!(open.get("statistics").is_none());
}

#[tokio::test]
async fn what_was_stored_before_anything_was_counted_is_counted_once() {
    let node = TestNode::start().await;
    put(&node, "developer", 1, "tool/1/a", "12345").await;
    put(&node, "developer", 1, "gone/1/a", "12345678").await;
    put(&node, "developer", 2, "tool/1/a", "12345").await;
    oci::tests::furnish(&node, "acme/demo/app").await;
    let (project, group) = (
        usage(&node, "projects/1").await,
        usage(&node, "groups/acme").await,
    );
    let all = node.get("/api/cairn/v1/usage").by("root").send().await.json();
    fixture::forget_counters(node.app()).await;
    assert_eq!(counted(&usage(&node, "groups/acme").await), (0, 0, 0));
    // Two nodes do it at once, while something is published and deleted.
    let sibling = node.sibling();
    let (one, other, ..) = tokio::join!(
        fixture::recount(node.app()),
        fixture::recount(sibling.app()),
        put(&node, "developer", 1, "late/1/a", "1"),
        put(&sibling, "developer", 2, "late/1/a", "12")
    );
    one.unwrap();
    other.unwrap();
    let more = |before: &Value, bytes: u64, count: u64| {
        let (b, f, v) = counted(before);
        (b + bytes, f + count, v + count)
    };
    assert_eq!(counted(&usage(&node, "projects/1").await), more(&project, 1, 1));
    assert_eq!(counted(&usage(&node, "groups/acme").await), more(&group, 3, 2));
    let now = node.get("/api/cairn/v1/usage").by("root").send().await.json();
    assert_eq!(
        now["content_bytes"].as_u64().unwrap(),
        all["content_bytes"].as_u64().unwrap() + 3
    );
    let standing = node.get("/api/cairn/v1/usage/recount").by("root");
    let standing = standing.send().await.expect(200).json();
    assert_eq!(standing["under_way"], false);
    assert!(standing["corrected"].as_u64().unwrap() > 0);

    // Counted anew, nothing is wrong any more.
    node.post("/api/cairn/v1/usage/recount")
        .by("root")
        .send()
        .await
        .expect(202);
    fixture::recount(node.app()).await.unwrap();
    let standing = node
        .get("/api/cairn/v1/usage/recount")
        .by("root")
        .send()
        .await
        .json();
    assert_eq!(
        (&standing["under_way"], &standing["corrected"]),
        (&json!(false), &json!(0))
    );
}

/// Something that changes what is stored.
#[derive(Clone, Debug)]
enum Step {
    Put {
        project: u64,
        version: u8,
        file: u8,
        size: usize,
    },
    Replace {
        version: u8,
        size: usize,
    },
    DeleteVersion {
        project: u64,
        nth: usize,
    },
    DeleteFile {
        nth: usize,
    },
    Image {
        layer: u8,
    },
    DeleteImage,
    Purge,
    DeleteProject,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3u64, 0..3u8, 0..3u8, 0..40usize)
            .prop_map(|(project, version, file, size)| Step::Put { project, version, file, size }),
        2 => (0..3u8, 0..40usize).prop_map(|(version, size)| Step::Replace { version, size }),
        2 => (1..3u64, 0..9usize).prop_map(|(project, nth)| Step::DeleteVersion { project, nth }),
        1 => (0..9usize).prop_map(|nth| Step::DeleteFile { nth }),
        2 => (0..3u8).prop_map(|layer| Step::Image { layer }),
        1 => Just(Step::DeleteImage),
        1 => Just(Step::Purge),
        1 => Just(Step::DeleteProject),
    ]
}

async fn take(node: &TestNode, step: &Step) {
    let versions = async |project: u64| {
        let target = format!("/api/v4/projects/{project}/packages?per_page=100");
        let listed = node.get(target).by("root").send().await;
        match listed.status {
            200 => ids(&listed),
            _ => Vec::new(),
        }
    };
    match step {
        Step::Put {
            project,
            version,
            file,
            size,
        } => {
            let target = format!("/api/v4/projects/{project}/packages/generic/tool/{version}/{file}");
            let by = ["developer", "maintainer"][usize::from(version % 2)];
            node.put(target).by(by).body("x".repeat(*size)).send().await;
        }
        // Of this name, all are kept that were published.
        Step::Replace { version, size } => {
            let target = format!("/api/v4/projects/1/packages/generic/many/{version}/file");
            let body = "y".repeat(*size);
            node.put(target).by("developer").body(body).send().await;
        }
        Step::DeleteVersion { project, nth } => {
            let versions = versions(*project).await;
            if let Some(id) = versions.get(nth % versions.len().max(1)) {
                let target = format!("/api/v4/projects/{project}/packages/{id}");
                node.delete(target).by("root").send().await.expect(204);
            }
        }
        Step::DeleteFile { nth } => {
            let versions = versions(1).await;
            if let Some(id) = versions.get(nth % versions.len().max(1)) {
                let target = format!("/api/v4/projects/1/packages/{id}/package_files");
                let files = ids(&node.get(&target).by("root").send().await.expect(200));
                if let Some(file) = files.get(nth % files.len().max(1)) {
                    let target = format!("{target}/{file}");
                    node.delete(target).by("root").send().await.expect(204);
                }
            }
        }
        Step::Image { layer } => oci::tests::push(node, "acme/demo/app", *layer).await,
        Step::DeleteImage => {
            let listed = node.get("/api/v4/projects/1/registry/repositories").by("root");
            for id in ids(&listed.send().await.expect(200)) {
                let target = format!("/api/v4/projects/1/registry/repositories/{id}");
                node.delete(target).by("root").send().await.expect(202);
            }
        }
        Step::Purge => fixture::purge(node.app()).await,
        Step::DeleteProject => {
            node.delete("/api/v4/projects/2").by("root").send().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_published_and_deleted_the_counters_are_right(
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = TestNode::start().await;
            fixture::set_duplicates(
                node.app(),
                1,
                "generic",
                crate::registry::settings::DuplicatePolicy::Allow,
            )
            .await;
            for step in &steps {
                take(&node, step).await;
                fixture::check_counters(node.app(), 1).await;
            }
            fixture::purge(node.app()).await;
            fixture::recount(node.app()).await.unwrap();
            let standing = node.get("/api/cairn/v1/usage/recount").by("root").send().await.json();
            assert_eq!(standing["corrected"], 0, "{standing}");
        });
    }
}
