//! What the manual tells to type does what it says.

use super::*;

/// The commands of the manual, in their order.
fn commands() -> String {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pypi.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let blocks = manual.split("```sh\n").skip(1);
    let commands: Vec<_> = blocks.filter_map(|block| block.split("```").next()).collect();
    assert!(!commands.is_empty());
    commands.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let cluster = cluster().await;
    let (name, builder) = (unique("manual"), client("twine-7", "python"));
    for version in ["1.0.0", "1.0.1"] {
        build(&builder, &name, version, &[]).await;
    }
    let bash = Client::of_system("bash")
        .finding(["twine-7", "uv", "poetry"].map(bin))
        .with("CAIRN_URL", cluster.url(0))
        .with("CAIRN_HOST", cluster.nodes[0].split(':').next().unwrap())
        .with("CAIRN_TOKEN", &cluster.token)
        .with("PROJECT", "1")
        .with("NAME", &name)
        .with("FIRST", builder.home().join(format!("{name}-1.0.0/dist")))
        .with("SECOND", builder.home().join(format!("{name}-1.0.1/dist")))
        .with("UV_NO_CACHE", "1")
        .with("UV_PYTHON_DOWNLOADS", "never")
        .with("PIP_NO_CACHE_DIR", "1")
        .with("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
    let script = commands();
    let ran = bash.ok(bash.home(), &["-euxc", &script]).await;
    ran.says("Successfully installed");
}
