//! Packages of symbols, and the PDBs in them as debuggers ask for them.

use super::super::nuspec::tests::nuspec_with;
use super::super::pdb::tests::pdb;
use super::*;

async fn put_symbols(node: &TestNode, content: &[u8]) -> Answer {
    put_by(node, &format!("{BASE}/symbolpackage/"), "developer", content).await
}

/// The number of a PDB of this byte, as URLs have it.
fn number(byte: u8) -> String {
    format!("{}FFFFFFFF", format!("{byte:02X}").repeat(16))
}

#[tokio::test]
async fn a_pdb_is_found_by_its_name_and_number() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0").await;
    put_symbols(&node, &symbols_of("Acme.Lib", "1.0.0", [7; 16]))
        .await
        .expect(201);
    let number = number(7);
    for path in [
        format!("symbolfiles/Acme.Lib.pdb/{number}/Acme.Lib.pdb"),
        format!("symbols/acme.lib.pdb/{}/ACME.LIB.PDB", number.to_lowercase()),
    ] {
        let file = get(&node.sibling(), &path).await.expect(200);
        assert_eq!(file.body, pdb([7; 16]));
        let group = node.get(format!("{GROUP}/{path}")).by("reporter");
        group.send().await.expect(200);
        node.get(format!("{BASE}/{path}")).send().await.expect(401);
    }
    for path in [
        format!("symbols/acme.lib.pdb/{}/acme.lib.pdb", number.replace('0', "1")),
        format!("symbols/other.pdb/{number}/other.pdb"),
        format!("symbols/acme.lib.pdb/{number}/other.pdb"),
        format!("symbols/acme.lib.pdb/{}/acme.lib.pdb", &number[..8]),
    ] {
        get(&node, &path).await.expect(404);
    }
    let (_, files) = numbers(&node, "1.0.0").await;
    assert_eq!(
        files.into_iter().map(|(_, name)| name).collect::<Vec<_>>(),
        [
            "acme.lib.1.0.0.nupkg".to_owned(),
            "acme.lib.1.0.0.snupkg".into(),
            format!("symbols/{}/acme.lib.pdb", number.to_lowercase()),
        ]
    );
}

#[tokio::test]
async fn symbols_are_of_a_package_that_is_there() {
    let node = TestNode::start().await;
    let symbols = symbols_of("Acme.Lib", "1.0", [7; 16]);
    let refused = put_symbols(&node, &symbols).await.expect(404);
    assert_eq!(refused.reason, "there is no Acme.Lib 1.0.0 here");
    publish(&node, "Acme.Lib", "1.1").await;
    put_symbols(&node, &symbols).await.expect(404);
    publish(&node, "Acme.Lib", "1.0").await;
    put_symbols(&node, &symbols).await.expect(201);
    put_symbols(&node, &symbols).await.expect(201);
    let refused = put_symbols(&node, &symbols_of("Acme.Lib", "1.0", [8; 16]))
        .await
        .expect(409);
    assert_eq!(refused.reason, "Acme.Lib 1.0.0 has other symbols already");
    put_by(&node, &format!("{BASE}/symbolpackage"), "reporter", &symbols)
        .await
        .expect(403);
}

#[tokio::test]
async fn what_holds_no_symbols_is_refused() {
    let node = TestNode::start().await;
    publish(&node, "a", "1.0").await;
    let kind = "<packageTypes><packageType name=\"SymbolsPackage\"/></packageTypes>";
    let nuspec = nuspec_with("a", "1.0", kind);
    for (files, part) in [
        (
            vec![("a.pdb", pdb([1; 16])), ("a.dll", b"MZ".to_vec())],
            "may not hold",
        ),
        (
            vec![("a.pdb", b"Microsoft C/C++ MSF 7.00".to_vec())],
            "not portable",
        ),
        (Vec::new(), "no portable PDB"),
    ] {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, content)| (*name, content.as_slice()))
            .collect();
        let package = packed(&[&[("a.nuspec", nuspec.as_bytes())], files.as_slice()].concat());
        let refused = put_symbols(&node, &package).await.expect(400);
        assert!(refused.reason.contains(part), "{} / {part}", refused.reason);
    }
    // Of the old kind, anything may be in it.
    let old = packed(&[
        ("a.nuspec", nuspec_with("a", "1.0", "").as_bytes()),
        ("lib/a.dll", b"MZ"),
        ("lib/a.pdb", &pdb([2; 16])),
        ("src/a.cs", b"class A {}"),
    ]);
    put_symbols(&node, &old).await.expect(201);
    get(&node, &format!("symbols/a.pdb/{}/a.pdb", number(2)))
        .await
        .expect(200);
    assert!(
        numbers(&node, "1.0.0")
            .await
            .1
            .iter()
            .any(|(_, name)| name == "a.1.0.0.symbols.nupkg")
    );
}

#[tokio::test]
async fn one_pdb_in_two_versions_is_there_until_both_are_gone() {
    let node = TestNode::start().await;
    publish_all(&node, "a", &["1.0", "1.1"]).await;
    for version in ["1.0", "1.1"] {
        put_symbols(&node, &symbols_of("a", version, [3; 16]))
            .await
            .expect(201);
    }
    let path = format!("symbols/a.pdb/{}/a.pdb", number(3));
    for (version, status) in [("1.0.0", 200), ("1.1.0", 404)] {
        let (id, _) = numbers(&node, version).await;
        let target = format!("/api/v4/projects/1/packages/{id}");
        node.delete(target).by("maintainer").send().await.expect(204);
        get(&node, &path).await.expect(status);
    }
}

#[tokio::test]
async fn large_symbols_pass_by_in_pieces() {
    let node = TestNode::start().await;
    publish(&node, "a", "1.0").await;
    let mut large = pdb([4; 16]);
    large.extend((0..2_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
    let kind = "<packageTypes><packageType name=\"SymbolsPackage\"/></packageTypes>";
    let package = packed(&[
        ("a.nuspec", nuspec_with("a", "1.0", kind).as_bytes()),
        ("lib/net45/a.pdb", &large),
        ("lib/net48/a.pdb", &large),
    ]);
    put_symbols(&node, &package).await.expect(201);
    let file = get(&node, &format!("symbols/a.pdb/{}/a.pdb", number(4)))
        .await
        .expect(200);
    assert_eq!(file.body, large);
}
