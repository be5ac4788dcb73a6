//! The golden files, read by what both generations of the client speak to registries with.

use serde_json::{Value, json};

use super::*;
use crate::formats::conan::tests::documents::DOCUMENTS;
use crate::testing::golden::GoldenServer;

const BASE: &str = "/api/v4/projects/1/packages/conan";

const FIRST: &str = r#"
import json, sys, requests
from conans.client.rest.rest_client_v1 import RestV1Methods
from conans.model.ref import ConanFileReference, PackageReference

base = sys.argv[1]
api = RestV1Methods(base, None, {}, None, requests, None, True)
recipe = ConanFileReference.loads("hello/1.0@acme/stable")
package = PackageReference(recipe, "da39a3ee5e6b4b0d3255bfef95601890afd80709")
urls = lambda url: {name: url[len(base):] for name, url in api._get_file_to_url_dict(url).items()}
print(json.dumps({
    "found": [repr(found) for found in api.search("hello*")],
    "packages": api.search_packages(recipe)[package.id]["content"],
    "sums": sorted(api.get_recipe_snapshot(recipe)) + sorted(api.get_package_snapshot(package)),
    "sum": api.get_recipe_snapshot(recipe)["conanfile.py"],
    "digest": urls(api.router.recipe_manifest(recipe)),
    "package digest": urls(api.router.package_manifest(package)),
    "urls": urls(api.router.recipe_download_urls(recipe)),
    "package urls": urls(api.router.package_download_urls(package)),
}))
"#;

const SECOND: &str = r#"
import json, sys, requests
from conan.api.model import PkgReference, RecipeReference
from conan.internal.rest.rest_client_v2 import RestV2Methods

api = RestV2Methods(sys.argv[1], None, requests, {}, True)
recipe = RecipeReference.loads("hello/1.0@acme/stable")
latest = api.get_latest_recipe_reference(recipe)
package = PkgReference(latest, "da39a3ee5e6b4b0d3255bfef95601890afd80709")
newest = api.get_latest_package_reference(package, {})
timed = lambda found: [found.revision, found.timestamp]
files = lambda url: sorted(api._get_file_list_json(url)["files"])
print(json.dumps({
    "found": [repr(found) for found in api.search("hello*")],
    "latest": timed(latest),
    "revisions": [timed(found) for found in api.get_recipe_revisions_references(recipe)],
    "files": files(api.router.recipe_snapshot(latest)),
    "packages": api.search_packages(latest, False)[package.package_id]["content"],
    "ids": list(api.search_packages(latest, True)),
    "newest": timed(newest),
    "package revisions": [timed(found) for found in api.get_package_revisions_references(package)],
    "package files": files(api.router.package_snapshot(newest)),
}))
"#;

/// What a generation makes of the files that a server has.
async fn read(generation: &str, script: &str, server: &GoldenServer) -> Value {
    let python = with_cache(Client::kept(&format!("conan/{generation}/bin/python")));
    let ran = python.ok(python.home(), &["-c", script, &server.base]).await;
    ran.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_documents_are_read_by_both_generations() {
    let server = GoldenServer::start("conan", BASE, DOCUMENTS, Vec::new()).await;
    let info = "[settings]\narch=x86_64\nos=Linux\n[options]\nshared=False\n[requires]\nzlib/1.3\n[recipe_hash]\nabc\n";
    let id = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let [older, recipe, before, package] = ["1", "2", "3", "4"].map(|digit| digit.repeat(32));
    let second = read("conan-2", SECOND, &server).await;
    assert_eq!(
        second,
        json!({
            "found": ["hello/1.0", "hello/1.0@acme/stable", "hello/2.0@acme"],
            "latest": [recipe, 1_782_907_201.123],
            "revisions": [[recipe, 1_782_907_201.123], [older, 1_782_907_200.123]],
            "files": ["conan_export.tgz", "conanfile.py", "conanmanifest.txt"],
            "packages": info,
            "ids": [id],
            "newest": [package, 1_782_907_201.123_002],
            "package revisions": [[package, 1_782_907_201.123_002], [before, 1_782_907_201.123_001]],
            "package files":
                ["conan_package.tgz", "conaninfo.txt", "conanmanifest.txt", "metadata/logs/build.txt"],
        })
    );

    let first = read("conan-1", FIRST, &server).await;
    let urls = |folder: &str, files: &[&str]| -> Value {
        let url = |file: &&str| (file.to_string(), json!(format!("{folder}{file}")));
        files.iter().map(url).collect()
    };
    let exported = format!("/v1/files/hello/1.0/acme/stable/{recipe}/export/");
    let packaged = format!("/v1/files/hello/1.0/acme/stable/{recipe}/package/{id}/{package}/");
    assert_eq!(
        first,
        json!({
            // It knows of no user without a channel.
            "found": ["hello/1.0", "hello/1.0@acme/stable"],
            "packages": info,
            "sums": [
                "conan_export.tgz", "conanfile.py", "conanmanifest.txt",
                "conan_package.tgz", "conaninfo.txt", "conanmanifest.txt", "metadata/logs/build.txt",
            ],
            "sum": "a05b57b11c4b61f664dae278f7cf2b52",
            "digest": urls(&exported, &["conanmanifest.txt"]),
            "package digest": urls(&packaged, &["conanmanifest.txt"]),
            "urls": urls(&exported, &["conan_export.tgz", "conanfile.py", "conanmanifest.txt"]),
            "package urls": urls(
                &packaged,
                &["conan_package.tgz", "conaninfo.txt", "conanmanifest.txt", "metadata/logs/build.txt"],
            ),
        })
    );
    server.is_all_read();
}
