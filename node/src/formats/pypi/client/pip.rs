//! twine, flit and pip.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::*;

/// What twine is run with to publish these files.
fn upload<'a>(registry: &'a str, token: &'a str, files: &[&'a str]) -> Vec<&'a str> {
    let options = [
        "upload",
        "--non-interactive",
        "--disable-progress-bar",
        "--repository-url",
        registry,
        "-u",
        "__token__",
        "-p",
        token,
    ];
    [&options[..], files].concat()
}

/// What pip is run with to install into a folder from an index.
fn install<'a>(index: &'a str, target: &'a str, what: &[&'a str]) -> Vec<&'a str> {
    [&["install", "--index-url", index, "--target", target], what].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn twine_publishes_and_pip_installs() {
    let cluster = cluster().await;
    let (twine, builder) = (client("twine-7", "twine"), client("twine-7", "python"));
    let (left, right) = (unique("left"), unique("Right.Side"));
    let registry = cluster.pypi_registry(0, At::Project);
    for (name, version, dependencies) in [
        (&left, "1.0", vec![]),
        (&right, "1.0", vec![left.as_str()]),
        (&left, "1.1rc1", vec![]),
    ] {
        let name = name.replace('.', "-");
        let dist = build(&builder, &name, version, &dependencies).await;
        let files: Vec<_> = std::fs::read_dir(&dist)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), 2, "a wheel and a source distribution");
        let files: Vec<_> = files.iter().map(|file| text(file)).collect();
        // The second time is what clients do when they did not hear an answer.
        for _ in 0..2 {
            let arguments = upload(&registry, &cluster.token, &files);
            twine.ok(builder.home(), &arguments).await;
        }
    }

    // Both generations of pip, through other nodes, at both levels.
    let reader = cluster.reader().await;
    for (node, folder) in [(1, "pip-26"), (2, "pip-23")] {
        let pip = client(folder, "pip");
        for at in [At::Project, At::Group] {
            // A deploy token is of its project, so the group is asked by a member.
            let token = match at {
                At::Project => &reader,
                At::Group => &cluster.token,
            };
            let index = cluster.pypi_index(node, at, token);
            let target = pip.folder(&unique("target"));
            pip.ok(pip.home(), &install(&index, text(&target), &[&right]))
                .await;
            has(&target, &right.replace('.', "-"), "1.0");
            has(&target, &left, "1.0");
        }
        let index = cluster.pypi_index(node, At::Project, &reader);
        let target = pip.folder("pre");
        pip.ok(pip.home(), &install(&index, text(&target), &["--pre", &left]))
            .await;
        has(&target, &left, "1.1rc1");
        let versions = ["index", "versions", "--pre", "--index-url", &index, &left];
        pip.ok(pip.home(), &versions).await.says("1.1rc1, 1.0");
    }

    // Credentials from a file, hashes, the source.
    let pip = client("twine-7", "pip");
    let host = cluster.nodes[1].split(':').next().unwrap();
    pip.write(
        ".netrc",
        format!("machine {host} login __token__ password {reader}\n"),
    );
    let index = format!("{}/simple/", cluster.pypi_registry(1, At::Project));
    let wheel = wheel_in(&builder.home().join(format!("{left}-1.0/dist")));
    let sha256 = HEXLOWER.encode(&Sha256::digest(std::fs::read(wheel).unwrap()));
    let hashed = pip.folder("hashed");
    for (requirements, hash) in [("right.txt", sha256.as_str()), ("wrong.txt", &"0".repeat(64))] {
        pip.write(requirements, format!("{left}==1.0 --hash=sha256:{hash}\n"));
    }
    let arguments = ["--only-binary", ":all:", "--require-hashes", "-r", "right.txt"];
    pip.ok(pip.home(), &install(&index, text(&hashed), &arguments))
        .await;
    has(&hashed, &left, "1.0");
    let arguments = ["--only-binary", ":all:", "--require-hashes", "-r", "wrong.txt"];
    pip.fails(
        pip.home(),
        &install(&index, text(&hashed), &arguments),
        1,
        &["DO NOT MATCH"],
    )
    .await;
    let source = [
        "download",
        "--no-binary",
        ":all:",
        "--no-deps",
        "--no-build-isolation",
        "--index-url",
        &index,
        &left,
    ];
    pip.ok(pip.home(), &source).await;
    let name = format!("{}-1.0.tar.gz", left.replace('-', "_"));
    assert!(!pip.read(name).is_empty());

    // A newer version; then it is yanked.
    let dist = build(&builder, &left, "1.2", &[]).await;
    let wheel = wheel_in(&dist);
    twine
        .ok(
            builder.home(),
            &upload(&registry, &cluster.token, &[text(&wheel)]),
        )
        .await;
    let target = pip.folder("upgraded");
    let first = format!("{left}==1.0");
    pip.ok(pip.home(), &install(&index, text(&target), &[&first]))
        .await;
    pip.ok(pip.home(), &install(&index, text(&target), &["--upgrade", &left]))
        .await;
    has(&target, &left, "1.2");
    yank(cluster, &left, "1.2").await;
    let target = pip.folder("after-yank");
    pip.ok(pip.home(), &install(&index, text(&target), &[&left]))
        .await;
    has(&target, &left, "1.0");
    let target = pip.folder("pinned");
    let pinned = format!("{left}==1.2");
    let ran = pip
        .ok(pip.home(), &install(&index, text(&target), &[&pinned]))
        .await;
    ran.says("it is broken");
    has(&target, &left, "1.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn twine_and_pip_say_why_they_were_refused() {
    let cluster = cluster().await;
    let (twine, builder) = (client("twine-7", "twine"), client("twine-7", "python"));
    let (name, registry) = (unique("refused"), cluster.pypi_registry(0, At::Project));
    let dist = build(&builder, &name, "1.0", &[]).await;
    let wheel = wheel_in(&dist);
    let reader = cluster.reader().await;
    let home = builder.home();
    let refused = async |token: &str, file: &Path, part: &str| {
        let arguments = upload(&registry, token, &[text(file)]);
        let arguments = [&arguments[..], &["--verbose"]].concat();
        twine.fails(home, &arguments, 1, &[part]).await;
    };
    refused(WRONG_TOKEN, &wheel, "401").await;
    refused(&reader, &wheel, "may not publish here").await;
    let whole = std::fs::read(&wheel).unwrap();

    // What a tool would install is not what others would see.
    let file_name = wheel.file_name().unwrap();
    let changed = |folder: &str, file: &str, bytes: &[u8]| {
        let file = builder.folder(folder).join(file);
        std::fs::write(&file, bytes).unwrap();
        file
    };
    let same_name = text(Path::new(file_name)).to_owned();
    let hidden = [b"#!/bin/sh\n".as_slice(), &whole].concat();
    refused(
        &cluster.token,
        &changed("hidden", &same_name, &hidden),
        "is not a ZIP archive",
    )
    .await;
    let renamed = same_name.replace("-1.0-", "-9.9-");
    refused(
        &cluster.token,
        &changed("renamed", &renamed, &whole),
        "file name says",
    )
    .await;

    twine
        .ok(home, &upload(&registry, &cluster.token, &[text(&wheel)]))
        .await;
    let other = build(&builder, &name, "1.0", &["something"]).await;
    refused(&cluster.token, &wheel_in(&other), "File already exists").await;

    let pip = client("pip-26", "pip");
    let target = pip.folder("target");
    for (token, what, part) in [
        (
            reader.as_str(),
            unique("missing"),
            "No matching distribution found",
        ),
        (WRONG_TOKEN, name.clone(), "No matching distribution found"),
    ] {
        let index = cluster.pypi_index(1, At::Project, token);
        let arguments = install(&index, text(&target), &[&what]);
        pip.fails(pip.home(), &arguments, 1, &[part]).await;
    }
    let index = format!("{}/simple/", cluster.pypi_registry(1, At::Project));
    let arguments = install(&index, text(&target), &[&name]);
    pip.fails(pip.home(), &arguments, 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flit_publishes() {
    let cluster = cluster().await;
    let name = unique("flit");
    let flit = client("twine-7", "flit")
        .with("FLIT_INDEX_URL", cluster.pypi_registry(0, At::Project))
        .with("FLIT_USERNAME", "__token__")
        .with("FLIT_PASSWORD", &cluster.token);
    let folder = flit.folder("package");
    write_source(&folder, &name, "1.0", &[]);
    flit.ok(&folder, &["publish", "--no-use-vcs"]).await;
    let pip = client("pip-26", "pip");
    let index = cluster.pypi_index(2, At::Project, &cluster.reader().await);
    let target = pip.folder("target");
    pip.ok(pip.home(), &install(&index, text(&target), &[&name]))
        .await;
    has(&target, &name, "1.0");
}

/// pip reads the golden files as we mean them.
#[tokio::test]
async fn pip_reads_our_pages() {
    const SCRIPT: &str = r#"
import json, sys
from pip._internal.index.collector import IndexContent, parse_links
from pip._internal.models.link import Link

def shown(path, content_type):
    content = open(path, "rb").read()
    page = IndexContent(content, content_type, "utf-8", "https://cairn.example/simple/acme-foo/", False)
    return [
        [link.filename, link.url_without_fragment, link.hash, link.requires_python, link.yanked_reason,
         link.metadata_file_data and link.metadata_file_data.hashes]
        for link in parse_links(page)
    ]

page = shown(sys.argv[1], "application/vnd.pypi.simple.v1+json")
assert page == shown(sys.argv[2], "text/html"), "the forms differ"
print(json.dumps(page))
"#;
    let python = client("pip-26", "python");
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formats/pypi/testdata");
    let [json, html] = ["project.json", "project.html"].map(|file| testdata.join(file));
    let arguments = ["-c", SCRIPT, text(&json), text(&html)];
    let read = python.ok(python.home(), &arguments).await.json();
    let files = read.as_array().unwrap();
    assert_eq!(files.len(), 4);
    assert_eq!(files[1][0], "acme_foo-1.10-py3-none-any.whl");
    assert_eq!(files[1][3], ">=3.8,<4");
    assert_eq!(files[1][5]["sha256"], "d".repeat(64));
    assert_eq!(files[3][0], "acme_foo-1.9+local.1-py3-none-any.whl");
    assert_eq!(files[3][4], "broken & \"bad\" <3");
}
