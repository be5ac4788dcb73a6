//! The golden files, read by the go command from a folder that it takes for a module proxy.

use super::*;
use crate::formats::go::artifact::tests::{MODULE, module};
use crate::formats::go::tests::documents::DOCUMENTS;
use crate::testing::golden;

#[tokio::test]
async fn golden_documents_are_read_by_the_go_command() {
    for version in [NEWEST, OLDEST] {
        let desk = Desk::alone(version);
        for (target, file) in DOCUMENTS {
            desk.write(format!("proxy/{target}"), golden::read("go", file));
        }
        let archive = module(MODULE, "v1.10.0");
        desk.write("proxy/git.acme.io/!team/lib/@v/v1.10.0.zip", archive);
        let proxy = format!("file://{}/proxy", desk.home().display());
        let desk = desk.asking(&[&proxy, "off"]);
        let (home, noon) = (desk.home(), "2026-07-01T12:00:00Z");
        let told = async |module: &str| {
            let ran = desk.ok(home, &["list", "-m", "-json", module]).await;
            let module = ran.json();
            [&module["Version"], &module["Time"]].map(|part| part.as_str().unwrap_or_default().to_owned())
        };

        assert_eq!(
            desk.versions(home, MODULE).await,
            ["v1.9.0", "v1.10.0", "v1.11.0-RC1"]
        );
        assert_eq!(told(&format!("{MODULE}@latest")).await, ["v1.10.0", noon]);
        let newer = format!("{MODULE}@>v1.10.0");
        assert_eq!(told(&newer).await, ["v1.11.0-RC1", noon]);
        let downloaded = desk.download(home, &format!("{MODULE}@v1.10.0")).await;
        let sum = golden::read("go", "release.ziphash");
        assert_eq!(downloaded["Sum"].as_str().unwrap().as_bytes(), sum);

        let commit = ["v0.0.0-20260102030405-abcdefabcdef", "2026-01-02T03:04:05Z"];
        assert_eq!(told("git.acme.io/Team/moving@latest").await, commit);
        assert_eq!(
            told("git.acme.io/old@latest").await,
            ["v2.0.0+incompatible", noon]
        );
    }
}
