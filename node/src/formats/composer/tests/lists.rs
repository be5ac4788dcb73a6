//! What a repository says of itself, the names that it has, and searches.

use super::*;

#[tokio::test]
async fn a_repository_says_which_vendors_it_has() {
    let node = TestNode::start().await;
    let root = async |base: &str| get_at(&node, base, "packages.json").await.expect(200);
    let empty = root(BASE).await;
    assert_eq!(empty.json()["available-package-patterns"], json!(["/"]));
    assert_eq!(
        empty.header("last-modified"),
        "",
        "nothing was there yet that could have changed"
    );
    publish(&node, "zoo/foo", "1.0").await;
    let first = root(BASE).await;
    publish(&node, "zoo/bar", "1.0").await;
    assert_eq!(
        root(BASE).await.header("last-modified"),
        first.header("last-modified")
    );
    publish(&node, "acme/foo", "1.0").await;
    let second = root(BASE).await;
    assert_eq!(
        second.json()["available-package-patterns"],
        json!(["acme/*", "zoo/*"])
    );
    assert_ne!(second.header("last-modified"), first.header("last-modified"));
    let at = |path: &str| json!(format!("http://cairn.example{BASE}/{path}"));
    for (key, path) in [
        ("metadata-url", "p2/%package%.json"),
        ("providers-lazy-url", "p/%package%.json"),
        ("search", "search.json?q=%query%&type=%type%"),
        ("list", "list.json"),
        ("providers-api", "providers/%package%.json"),
    ] {
        assert_eq!(second.json()[key], at(path), "{key}");
    }
    assert_eq!(second.json()["packages"], json!([]));
    // Of several projects together, no second could say whether anything has changed.
    for base in [GROUP, INSTANCE] {
        let root = root(base).await;
        assert_eq!(
            root.json()["available-package-patterns"],
            json!(["acme/*", "zoo/*"]),
            "{base}"
        );
        assert_eq!(root.header("last-modified"), "");
        let again = node.get(format!("{base}/packages.json")).by("reporter");
        again
            .header("if-none-match", root.header("etag"))
            .send()
            .await
            .expect(304);
    }
}

#[tokio::test]
async fn names_are_listed_by_patterns_and_vendors() {
    let node = TestNode::start().await;
    let names = async |query: &str| {
        let list = get(&node, &format!("list.json{query}")).await.expect(200).json();
        let names = list["packageNames"]
            .as_array()
            .unwrap_or_else(|| panic!("{list}"))
            .clone();
        names
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(names("").await.is_empty());
    for name in ["zoo/a", "acme/foo", "acme/bar", "acme-2/x"] {
        publish(&node, name, "1.0").await;
    }
    assert_eq!(names("").await, ["acme-2/x", "acme/bar", "acme/foo", "zoo/a"]);
    assert_eq!(names("?filter=acme/*").await, ["acme/bar", "acme/foo"]);
    assert_eq!(names("?filter=*oo*").await, ["acme/foo", "zoo/a"]);
    assert_eq!(names("?vendor=acme&filter=acme/f*").await, ["acme/foo"]);
    assert!(names("?filter=nothing/*").await.is_empty());
    removal::delete_of(&node, "zoo/a").await;
    assert_eq!(
        names("?filter=z*").await,
        Vec::<String>::new(),
        "nothing of it is left"
    );
    get(&node, &format!("list.json?filter={}", "*".repeat(300)))
        .await
        .expect(400);
}

#[tokio::test]
async fn searches_find_names_words_and_types() {
    let node = TestNode::start().await;
    let more = json!({
        "description": "Pads a string", "keywords": ["Text"], "type": "composer-plugin", "homepage": "https://acme.example",
        "support": {"source": "https://git.example/pad"},
    });
    send(
        &node,
        "developer",
        "",
        &package_with("acme/left-pad", "1.0", more),
    )
    .await
    .expect(201);
    publish(&node, "acme/pad", "1.0").await;
    publish(&node, "acme/other", "1.0").await;
    let found = async |query: &str| {
        let answer = get(&node, &format!("search.json?{query}"))
            .await
            .expect(200)
            .json();
        let names: Vec<_> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["name"].as_str().unwrap().to_owned())
            .collect();
        (
            names.join(" "),
            answer["total"].as_u64().unwrap(),
            answer["next"].clone(),
        )
    };
    assert_eq!(
        found("q=pad&type=").await,
        ("acme/pad acme/left-pad".into(), 2, Value::Null)
    );
    assert_eq!(found("q=text").await.0, "acme/left-pad");
    assert_eq!(found("q=a+STRING").await.0, "acme/left-pad");
    assert_eq!(found("q=pad&type=composer-plugin").await.0, "acme/left-pad");
    assert_eq!(found("q=&type=library").await.0, "acme/other acme/pad");
    assert_eq!(found("q=nothing").await, (String::new(), 0, Value::Null));
    let (names, total, next) = found("q=acme&per_page=2").await;
    assert_eq!((names.as_str(), total), ("acme/left-pad acme/other", 3));
    let next = next.as_str().unwrap().trim_start_matches("http://cairn.example");
    let rest = node.get(next).by("reporter").send().await.expect(200).json();
    assert_eq!(
        (&rest["results"][0]["name"], &rest["next"]),
        (&json!("acme/pad"), &Value::Null)
    );
    let hit = get(&node, "search.json?q=left-pad").await.json()["results"][0].clone();
    assert_eq!(
        hit,
        json!({"name": "acme/left-pad", "description": "Pads a string", "url": "https://acme.example", "repository": "https://git.example/pad"})
    );
    get(&node, "search.json?q=acme&page=x&per_page=-1")
        .await
        .expect(200);
}

#[tokio::test]
async fn what_stands_for_a_virtual_package_is_told() {
    let node = TestNode::start().await;
    let logger = package_with(
        "acme/logger",
        "1.0",
        json!({"provide": {"psr/log-implementation": "3.0"}}),
    );
    send(&node, "developer", "", &logger).await.expect(201);
    publish(&node, "acme/other", "1.0").await;
    let providers = get(&node, "providers/psr/log-implementation.json")
        .await
        .expect(200)
        .json();
    assert_eq!(
        providers,
        json!({"providers": [{"name": "acme/logger", "description": "acme/logger does things", "type": "library"}]})
    );
    let none = get(&node, "providers/psr/other.json").await.expect(200).json();
    assert_eq!(none, json!({"providers": []}));
}
