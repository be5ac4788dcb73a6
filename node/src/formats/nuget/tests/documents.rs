//! A small source as golden files: all that nuget.exe reads of it by both protocols; it reads the same.

use super::super::registration::tests::RICH;
use super::*;
use crate::testing::clock::StoppedClock;
use crate::testing::golden::{self, Documents};

/// What nuget.exe asks for when it lists and installs the packages of [`artifacts`].
pub(in crate::formats::nuget) const DOCUMENTS: &Documents = &[
    ("index.json", "service-index.json"),
    ("metadata/acme.lib/index.json", "registration.json"),
    ("metadata/acme.base/index.json", "registration-base.json"),
    ("metadata/other/index.json", "registration-other.json"),
    ("v2", "service.xml"),
    ("v2/$metadata", "metadata.xml"),
    (
        "v2/Search()?$filter=IsLatestVersion&$orderby=Id&searchTerm='Acme'&targetFramework=''&includePrerelease=false&$skip=0&$top=30&semVerLevel=2.0.0",
        "found.xml",
    ),
    (
        "v2/Search()?$orderby=Id&searchTerm='Acme'&targetFramework=''&includePrerelease=true&$skip=0&$top=30&semVerLevel=2.0.0",
        "found-all.xml",
    ),
    (
        "v2/FindPackagesById()?id='Acme.Lib'&semVerLevel=2.0.0",
        "versions.xml",
    ),
    (
        "v2/FindPackagesById()?id='Acme.Base'&semVerLevel=2.0.0",
        "versions-base.xml",
    ),
    (
        "v2/FindPackagesById()?id='Other'&semVerLevel=2.0.0",
        "versions-other.xml",
    ),
    ("v2/Packages(Id='Acme.Lib',Version='1.0.0')", "entry.xml"),
];

/// Names, versions and bytes of packages: one that says all that can be said and needs two others, and one that
/// is not listed.
pub(in crate::formats::nuget) fn artifacts() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let expression = "<license type=\"expression\">MIT</license>";
    let all = [
        ("Acme.Base", "1.0.0", ""),
        ("Acme.Base", "2.0.0", ""),
        ("Other", "3.0.0", ""),
        ("Acme.Lib", "1.0.0", expression),
        ("Acme.Lib", "1.1.0", RICH),
        ("Acme.Lib", "2.0.0-Beta", ""),
    ];
    all.map(|(id, version, more)| (id, version, package_with(id, version, more)))
        .into()
}

#[tokio::test]
async fn documents_are_what_nuget_expects() {
    let (node, _) = StoppedClock::noon().await;
    for (_, _, artifact) in artifacts() {
        put(&node, &artifact).await.expect(201);
    }
    let unlist = node.delete(format!("{BASE}/v2/package/Acme.Lib/1.0.0"));
    unlist.by("maintainer").send().await.expect(204);
    golden::check(&node, "nuget", BASE, DOCUMENTS).await;
}
