//! The golden files, read by nuget.exe as if they were a source.

use super::*;
use crate::formats::nuget::tests::documents::{DOCUMENTS, artifacts};
use crate::testing::golden::GoldenServer;

const BASE: &str = "/api/v4/projects/1/packages/nuget";

/// The packages, by the URLs that the documents of both protocols give them.
fn packages() -> Vec<(String, Vec<u8>)> {
    let packages = artifacts().into_iter().flat_map(|(id, version, bytes)| {
        let (lower_id, lower) = (id.to_lowercase(), version.to_lowercase());
        let newer = format!("download/{lower_id}/{lower}/{lower_id}.{lower}.nupkg");
        [
            (newer, bytes.clone()),
            (format!("v2/package/{id}/{version}"), bytes),
        ]
    });
    packages.collect()
}

/// Installs a package; gives what is there afterwards.
async fn installed(nuget: &Nuget, id: &str, folder: &str, more: &[&str]) -> Vec<String> {
    nuget.go(&[&to_install(id, folder)[..], more].concat()).await;
    let entries = std::fs::read_dir(nuget.home().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_documents_are_read_by_both_protocols() {
    let server = GoldenServer::start("nuget", BASE, DOCUMENTS, packages()).await;
    for protocol in ["index.json", "v2"] {
        let nuget = Nuget::newest();
        nuget.source(&format!("{}/{protocol}", server.base), None);
        let list = ["list", "Acme", "-Source", "cairn"];
        let found = nuget.go(&list).await;
        assert_eq!(listed(&found), ["Acme.Base 2.0.0", "Acme.Lib 1.1.0"]);
        let all = [&list[..], &["-AllVersions", "-Prerelease"]].concat();
        let found = nuget.go(&all).await;
        let mut found = listed(&found);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "Acme.Base 1.0.0",
                "Acme.Base 2.0.0",
                "Acme.Lib 1.1.0",
                "Acme.Lib 2.0.0-Beta"
            ]
        );

        // The dependencies of one framework are not those of another.
        let standard = installed(&nuget, "Acme.Lib", "a", &["-Framework", "netstandard2.0"]).await;
        assert_eq!(standard, ["Acme.Base.1.0.0", "Acme.Lib.1.1.0", "Other.3.0.0"]);
        let net = installed(&nuget, "Acme.Lib", "b", &["-Framework", "net45"]).await;
        assert_eq!(net, ["Acme.Lib.1.1.0"]);
        // What is not listed is there for those who name it.
        let named = installed(&nuget, "Acme.Lib", "c", &["-Version", "1.0.0"]).await;
        assert_eq!(named, ["Acme.Lib.1.0.0"]);
        let newest = installed(&nuget, "Acme.Lib", "d", &["-Prerelease"]).await;
        assert_eq!(newest, ["Acme.Lib.2.0.0-Beta"]);
    }
    server.is_all_read();
}
