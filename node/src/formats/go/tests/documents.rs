//! The documents that the go command reads, as golden files; it reads the same.

use super::*;
use crate::testing::clock::StoppedClock;
use crate::testing::golden::{self, Documents};

/// What the go command asks for about the modules that the test below publishes.
pub(in crate::formats::go) const DOCUMENTS: &Documents = &[
    ("git.acme.io/!team/lib/@v/list", "list"),
    ("git.acme.io/!team/lib/@v/v1.10.0.info", "release.info"),
    ("git.acme.io/!team/lib/@v/v1.10.0.mod", "release.mod"),
    ("git.acme.io/!team/lib/@v/v1.10.0.ziphash", "release.ziphash"),
    ("git.acme.io/!team/lib/@v/v1.11.0-!r!c1.info", "prerelease.info"),
    ("git.acme.io/!team/moving/@v/list", "moving-list"),
    ("git.acme.io/!team/moving/@latest", "moving-latest.info"),
    (
        "git.acme.io/!team/moving/@v/v0.0.0-20260102030405-abcdefabcdef.info",
        "moving.info",
    ),
    ("git.acme.io/old/@v/list", "old-list"),
    ("git.acme.io/old/@v/v2.0.0+incompatible.info", "old.info"),
    ("git.acme.io/old/@v/v2.0.0+incompatible.mod", "old.mod"),
];

#[tokio::test]
async fn documents_are_what_the_go_command_expects() {
    let (node, _) = StoppedClock::noon().await;
    for version in ["v1.9.0", "v1.10.0", "v1.11.0-RC1", PSEUDO] {
        publish(&node, MODULE, version).await;
    }
    publish(&node, "git.acme.io/Team/moving", PSEUDO).await;
    // From before there were modules.
    let old = zip(
        "git.acme.io/old",
        "v2.0.0+incompatible",
        &[("old.go", "package old\n")],
    );
    upload(&node, 1, "developer", old).await.expect(201);
    golden::check(&node, "go", BASE, DOCUMENTS).await;
}
