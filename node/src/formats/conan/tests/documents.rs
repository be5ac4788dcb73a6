//! The documents that clients read, as golden files; real clients read the same.

use std::time::Duration;

use super::*;
use crate::testing::clock::StoppedClock;
use crate::testing::golden::{self, Documents};

/// What both generations ask for about the reference that the test below publishes.
pub(in crate::formats::conan) const DOCUMENTS: &Documents = &[
    ("v2/conans/search?q=hello%2A", "search.json"),
    ("v2/conans/hello/1.0/acme/stable/latest", "recipe-latest.json"),
    (
        "v2/conans/hello/1.0/acme/stable/revisions",
        "recipe-revisions.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/files",
        "recipe-files.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/search?list_only=False",
        "packages.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/search?list_only=True",
        "package-ids.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/latest",
        "package-latest.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/revisions",
        "package-revisions.json",
    ),
    (
        "v2/conans/hello/1.0/acme/stable/revisions/22222222222222222222222222222222/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/revisions/44444444444444444444444444444444/files",
        "package-files.json",
    ),
    ("v1/conans/search?q=hello%2A", "search.json"),
    ("v1/conans/hello/1.0/acme/stable", "v1-recipe.json"),
    ("v1/conans/hello/1.0/acme/stable/digest", "v1-recipe-digest.json"),
    (
        "v1/conans/hello/1.0/acme/stable/download_urls",
        "v1-recipe-urls.json",
    ),
    ("v1/conans/hello/1.0/acme/stable/search", "packages.json"),
    (
        "v1/conans/hello/1.0/acme/stable/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "v1-package.json",
    ),
    (
        "v1/conans/hello/1.0/acme/stable/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/digest",
        "v1-package-digest.json",
    ),
    (
        "v1/conans/hello/1.0/acme/stable/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/download_urls",
        "v1-package-urls.json",
    ),
];

#[tokio::test]
async fn documents_are_what_clients_expect() {
    let (node, clock) = StoppedClock::noon().await;
    let reference = "hello/1.0/acme/stable";
    let [older, newer] = ["1", "2"].map(|digit| digit.repeat(32));
    publish(&node, "hello/1.0/_/_", &older).await;
    publish(&node, "hello/2.0/acme/_", &older).await;
    publish(&node, reference, &older).await;
    clock.advance(Duration::from_secs(1));
    publish(&node, reference, &newer).await;
    for digit in ["3", "4"] {
        publish_package(&node, reference, &newer, &digit.repeat(32)).await;
    }
    let file = of(reference, &newer, ID, &"4".repeat(32));
    let log = format!("{file}/files/metadata/logs/build.txt");
    put(&node, &log, "developer", b"built").await.expect(201);
    golden::check(&node, "conan", BASE, DOCUMENTS).await;
}
