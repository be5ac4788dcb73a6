//! The catalog: what mirrors follow.

use super::*;

/// The changes behind a cursor as a mirror reads them, and the cursor behind them.
async fn follow(node: &TestNode, cursor: &mut String) -> Vec<Value> {
    let index = told(node, "catalog/index.json").await;
    let mut found = Vec::new();
    for page in index["items"].as_array().unwrap() {
        if page["commitTimeStamp"].as_str().unwrap() <= cursor.as_str() {
            continue;
        }
        let url = page["@id"].as_str().unwrap().strip_prefix(HOST).unwrap();
        let read = node.get(url).by("reporter").send().await.expect(200).json();
        for field in ["commitId", "commitTimeStamp", "count"] {
            assert_eq!(read[field], page[field]);
        }
        assert_eq!(read["parent"], index["@id"]);
        let items = read["items"].as_array().unwrap();
        assert_eq!(items.len() as u64, read["count"].as_u64().unwrap());
        let is_new = |item: &&Value| item["commitTimeStamp"].as_str().unwrap() > cursor.as_str();
        found.extend(items.iter().filter(is_new).cloned());
    }
    assert!(found.is_sorted_by_key(|item| item["commitTimeStamp"].as_str().unwrap().to_owned()));
    if let Some(last) = found.last() {
        assert_eq!(last["commitTimeStamp"], index["commitTimeStamp"]);
        *cursor = last["commitTimeStamp"].as_str().unwrap().into();
    }
    found
}

/// What of it was changed, and what the catalog says of that.
async fn leaves(node: &TestNode, items: &[Value]) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for item in items {
        let url = item["@id"].as_str().unwrap().strip_prefix(HOST).unwrap();
        let answer = node.get(url).by("reporter").send().await.expect(200);
        assert!(answer.header("cache-control").contains("immutable"));
        let leaf = answer.json();
        for (of_leaf, of_item) in [
            ("catalog:commitTimeStamp", "commitTimeStamp"),
            ("catalog:commitId", "commitId"),
            ("id", "nuget:id"),
            ("version", "nuget:version"),
        ] {
            assert_eq!(leaf[of_leaf], item[of_item]);
        }
        assert_eq!(
            format!("nuget:{}", leaf["@type"][0].as_str().unwrap()),
            item["@type"]
        );
        let text = |field: &str| item[field].as_str().unwrap().to_owned();
        leaves.push((format!("{} {}", text("nuget:id"), text("nuget:version")), leaf));
    }
    leaves
}

#[tokio::test]
async fn a_mirror_hears_of_every_change() {
    let node = TestNode::start().await;
    let (sibling, mut cursor) = (node.sibling(), String::new());
    assert!(follow(&node, &mut cursor).await.is_empty());
    publish(&node, "Acme.Lib", "1.0.0").await;
    publish(&node, "Acme.Other", "2.0.0-rc.1+build").await;
    // An upload that is repeated changes nothing.
    publish(&node, "Acme.Lib", "1.0.0").await;
    let items = follow(&sibling, &mut cursor).await;
    let published = leaves(&sibling, &items).await;
    let names: Vec<_> = published.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Acme.Lib 1.0.0", "Acme.Other 2.0.0-rc.1+build"]);
    let lib = &published[0].1;
    assert_eq!(
        (&lib["listed"], &lib["packageHashAlgorithm"], &lib["isPrerelease"]),
        (&json!(true), &json!("SHA512"), &json!(false))
    );
    let package = package_of("Acme.Lib", "1.0.0");
    assert_eq!(lib["packageSize"], package.len());
    let content = lib["packageContent"]
        .as_str()
        .unwrap()
        .strip_prefix(HOST)
        .unwrap();
    let content = node.get(content).by("reporter").send().await.expect(200);
    assert_eq!(content.body, package);

    // What is said of a version later is another change.
    for (method, listed) in [("DELETE", false), ("POST", true)] {
        let target = format!("{BASE}/acme.lib/1.0");
        let request = node.request(method.parse().unwrap(), target).by("developer");
        assert!(request.send().await.status < 300);
        let changed = leaves(&sibling, &follow(&sibling, &mut cursor).await).await;
        assert_eq!((changed.len(), &changed[0].1["listed"]), (1, &json!(listed)));
    }
    let said = json!({"versions": ["1.0.0"], "isLegacy": true});
    let target = format!("{BASE}/v2/package/Acme.Lib/deprecations");
    node.put(target)
        .by("developer")
        .json(&said)
        .send()
        .await
        .expect(200);
    let changed = leaves(&node, &follow(&node, &mut cursor).await).await;
    assert_eq!(changed[0].1["deprecation"], json!({"reasons": ["Legacy"]}));

    let (id, _) = numbers(&node, "1.0.0").await;
    removal::delete(&node, &id.to_string()).await;
    let changed = leaves(&sibling, &follow(&sibling, &mut cursor).await).await;
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(
        (changed[0].0.as_str(), &changed[0].1["@type"][0]),
        ("Acme.Lib 1.0.0", &json!("PackageDelete"))
    );
    removal::restore_all(&node).await;
    let changed = leaves(&sibling, &follow(&sibling, &mut cursor).await).await;
    assert_eq!(changed[0].1["@type"][0], "PackageDetails");
    // What was told once stays what it was.
    assert_eq!(leaves(&sibling, &items).await, published);
    // Whoever begins now hears all of it.
    assert_eq!(follow(&node, &mut String::new()).await.len(), 7);
}

#[tokio::test]
async fn the_catalog_tells_the_beginnings_of_long_texts() {
    let node = TestNode::start().await;
    let notes = format!("begins {}", "\u{fc}".repeat(20_000));
    let more = format!("<releaseNotes>{notes}</releaseNotes><projectUrl>https://acme.example/1</projectUrl>");
    let package = package_with("Acme.Long", "1.0.0", &more);
    put(&node, &package).await.expect(201);
    let changed = leaves(&node, &follow(&node, &mut String::new()).await).await;
    let told = changed[0].1["releaseNotes"].as_str().unwrap();
    assert!(
        notes.starts_with(told) && (1_000..=4_000).contains(&told.len()),
        "{told}"
    );
    assert_eq!(changed[0].1["projectUrl"], "https://acme.example/1");
}

#[tokio::test]
async fn pages_are_full_before_the_next_one_begins() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0.0").await;
    let target = format!("{BASE}/Acme.Lib/1.0.0");
    for _ in 0..275 {
        node.delete(&target).by("developer").send().await.expect(204);
        node.post(&target).by("developer").send().await.expect(200);
    }
    let index = told(&node, "catalog/index.json").await;
    let counts: Vec<_> = index["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| &page["count"])
        .collect();
    assert_eq!(
        (counts, &index["count"]),
        (vec![&json!(550), &json!(1)], &json!(2))
    );
    let mut cursor = String::new();
    assert_eq!(follow(&node.sibling(), &mut cursor).await.len(), 551);
    assert!(follow(&node, &mut cursor).await.is_empty());
    let full = get(&node, "catalog/page0.json").await.expect(200);
    let has = |path: &str, answer: &Answer| {
        let request = node.get(format!("{BASE}/{path}")).by("reporter");
        request.header("if-none-match", answer.header("etag"))
    };
    let last = get(&node, "catalog/page1.json").await.expect(200);
    node.delete(&target).by("developer").send().await.expect(204);
    has("catalog/page0.json", &full).send().await.expect(304);
    has("catalog/page1.json", &last).send().await.expect(200);
    assert_eq!(follow(&node, &mut cursor).await.len(), 1);
    for path in [
        "page2.json",
        "page00.json",
        "data/0.json",
        "data/553.json",
        "data/x.json",
    ] {
        get(&node, &format!("catalog/{path}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_group_has_no_catalog() {
    let node = TestNode::start().await;
    let types = async |base: &str| {
        let request = node.get(format!("{base}/index.json")).by("reporter");
        let index = request.send().await.expect(200).json();
        let resources = index["resources"].as_array().unwrap().clone();
        resources
            .iter()
            .any(|resource| resource["@type"] == "Catalog/3.0.0")
    };
    assert!(types(BASE).await);
    assert!(!types(GROUP).await);
    let request = node.get(format!("{GROUP}/catalog/index.json")).by("reporter");
    request.send().await.expect(404);
}
