//! The form of Nexus.

use super::*;

/// A form of these fields; one with a name of a file is a file.
fn form(fields: &[(&str, Option<&str>, &str)]) -> String {
    let mut form = String::new();
    for (name, file, value) in fields {
        let file = file
            .map(|file| format!("; filename=\"{file}\""))
            .unwrap_or_default();
        form.push_str(&format!(
            "--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        ));
    }
    form + "--b--\r\n"
}

async fn post(node: &TestNode, caller: &str, form: String) -> Answer {
    let request = node.post(at("/-/raw/")).by(caller);
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    request.body(form).send().await
}

#[tokio::test]
async fn the_files_of_a_form_are_there_at_once() {
    let node = TestNode::start().await;
    let files = form(&[
        ("raw.asset1", Some("a.bin"), "one"),
        ("raw.asset1.filename", None, "sub/renamed.bin"),
        ("raw.directory", None, "/dir/of/them/"),
        ("raw.asset2", Some("b.bin"), "two"),
    ]);
    post(&node, "developer", files.clone()).await.expect(204);
    let sibling = node.sibling();
    for (path, bytes) in [("sub/renamed.bin", "one"), ("b.bin", "two")] {
        let file = sibling.get(at(&format!("/-/raw/dir/of/them/{path}")));
        assert_eq!(file.by("reporter").send().await.expect(200).text(), bytes);
    }
    post(&node, "developer", files).await.expect(204);
    let root = form(&[("raw.directory", None, "/"), ("raw.asset1", Some("top"), "x")]);
    post(&node, "deploy-write", root).await.expect(204);
    let top = node.get(at("/-/raw/top")).by("reporter").send().await;
    assert_eq!(top.expect(200).text(), "x");
}

#[tokio::test]
async fn wrong_forms_are_refused_and_leave_nothing() {
    let node = TestNode::start().await;
    node.put(at("/-/raw/taken"))
        .by("developer")
        .body("taken")
        .send()
        .await
        .expect(201);
    let directory = ("raw.directory", None, "/");
    let file = ("raw.asset1", Some("f"), "x");
    let many: Vec<_> = (0..65).map(|at| format!("raw.asset{at}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (name.as_str(), Some(name.as_str()), "x"))
        .chain([directory])
        .collect();
    for (fields, status, message) in [
        (&[file][..], 400, "does not have raw.directory"),
        (&[directory], 400, "has no file"),
        (
            &[directory, ("raw.asset1", None, "x")],
            400,
            "raw.asset1.filename",
        ),
        (
            &[directory, ("raw.asset1.filename", None, "f")],
            400,
            "does not have raw.asset1",
        ),
        (&[directory, file, file], 400, "raw.asset1 twice"),
        (
            &[directory, file, ("raw.assetx", Some("f"), "x")],
            400,
            "unknown field",
        ),
        (
            &[directory, file, ("maven2.asset1", Some("f"), "x")],
            400,
            "unknown field",
        ),
        (
            &[directory, file, ("raw.asset2", Some("../g"), "x")],
            400,
            "'..' segment",
        ),
        (&many, 400, "more than 64 files"),
        (
            &[directory, file, ("raw.asset2", Some("taken"), "other")],
            409,
            "another file",
        ),
    ] {
        let answer = post(&node, "developer", form(fields)).await;
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{fields:?}: {said}");
        node.get(at("/-/raw/f")).by("reporter").send().await.expect(404);
    }
    let cut = form(&[directory, file]);
    post(&node, "developer", cut[..cut.len() - 8].to_owned())
        .await
        .expect(400);
    let plain = node.post(at("/-/raw/")).by("developer").body("x").send().await;
    plain.expect(415);
    for (caller, status) in [
        ("anonymous", 401),
        ("stranger", 404),
        ("reporter", 403),
        ("deploy-read", 403),
    ] {
        post(&node, caller, form(&[directory, file])).await.expect(status);
    }
    node.get(at("/-/raw/f")).by("reporter").send().await.expect(404);
}
