//! Charts that are signed, and verified by those who have the key.

use super::*;

const SIGNER: &str = "Cairn Tests <tests@cairn.example>";

/// Makes a key of the test's own; its halves are then in `secret.gpg` and `public.gpg` of a home.
pub(super) async fn make_key(home: &Client) {
    let folder = home.folder("gnupg");
    let gpg = Client::of_system("gpg").with("GNUPGHOME", &folder);
    #[cfg(unix)]
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let make = [
        "--batch",
        "--passphrase",
        "",
        "--quick-generate-key",
        SIGNER,
        "rsa2048",
        "sign",
        "never",
    ];
    gpg.ok(home.home(), &make).await;
    for (file, export) in [("secret.gpg", "--export-secret-keys"), ("public.gpg", "--export")] {
        let path = home.home().join(file);
        let path = path.to_str().unwrap();
        gpg.ok(home.home(), &["--batch", "--output", path, export]).await;
    }
    // Its agent would outlive the test.
    let conf = Client::of_system("gpgconf").with("GNUPGHOME", &folder);
    conf.ok(home.home(), &["--kill", "gpg-agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_chart_is_verified_when_it_is_pulled() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        make_key(&helm).await;
        let (name, channel) = (unique("signed"), unique("signed"));
        let token = &helm.cluster.token;
        helm.add("team", 1, &channel, token).await;
        let charts = format!("api/{channel}/charts");
        let sign = ["--sign", "--key", "Cairn Tests", "--keyring", "secret.gpg"];
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            helm.sources(&name, version, "");
            helm.go(&[&["package", &name][..], &sign].concat()).await;
        }
        let file = |version: &str| format!("{name}-{version}.tgz");
        let chart = |version: &str| format!("chart=@{}", file(version));
        let prov = |version: &str| format!("prov=@{}.prov", file(version));

        // With its chart; after it; and not at all.
        let (first, signed) = (chart("1.0.0"), prov("1.0.0"));
        helm.curl(0, &charts, token, &["-F", &first, "-F", &signed])
            .await
            .says("201");
        helm.publish(2, &channel, &file("1.1.0")).await;
        let body = format!("@{}.prov", file("1.1.0"));
        let path = format!("api/{channel}/prov");
        helm.curl(0, &path, token, &["--data-binary", &body])
            .await
            .says("201");
        helm.publish(2, &channel, &file("1.2.0")).await;
        helm.go(&["repo", "update"]).await;
        let pull = async |version: &str| {
            let (chart, folder) = (format!("team/{name}"), helm.folder(version));
            let pull = [
                "pull",
                &chart,
                "--version",
                version,
                "-d",
                folder.to_str().unwrap(),
            ];
            let verify = ["--verify", "--keyring", "public.gpg"];
            helm.run(helm.home(), &[&pull[..], &verify].concat()).await
        };
        for version in ["1.0.0", "1.1.0"] {
            let pulled = pull(version).await;
            assert_eq!(pulled.code, Some(0), "{pulled}");
            pulled.says("Chart Hash Verified");
            assert_eq!(
                helm.read(format!("{version}/{}", file(version))),
                helm.read(file(version))
            );
        }
        let unsigned = pull("1.2.0").await;
        assert_eq!(unsigned.code, Some(FAILED), "{unsigned}");
        unsigned.says("provenance");

        // What was signed about other bytes, or about another version.
        let sent = helm
            .curl(0, &charts, token, &["-F", &chart("1.2.0"), "-F", &prov("1.1.0")])
            .await;
        sent.says("400").says("the provenance file is about");
        let mut text = String::from_utf8(helm.read(format!("{}.prov", file("1.2.0")))).unwrap();
        let at = text.find("sha256:").unwrap() + 7;
        text.replace_range(at..at + 4, "0000");
        helm.write("forged.prov", text);
        let sent = helm.curl(0, &charts, token, &["-F", "prov=@forged.prov"]).await;
        sent.says("400").says("has the digest");
        // It is gone with its chart.
        let path = format!("api/{channel}/charts/{name}/1.0.0");
        helm.curl(0, &path, token, &["-X", "DELETE"]).await.says("200");
        let gone = helm
            .curl(1, &format!("{channel}/charts/{}.prov", file("1.0.0")), token, &[])
            .await;
        gone.says("404");
    }
}
