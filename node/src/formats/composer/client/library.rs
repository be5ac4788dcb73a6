//! Composer's own code reads what we write, and agrees with us on versions.

use super::super::constraints::tests::{NOT_READ, READ};
use super::super::versions::tests::NORMALIZED;
use super::super::versions::{Order, Version};
use super::*;
use crate::testing::golden;

/// Runs a piece of PHP with Composer's classes, which finds `input` as JSON in `$input` and prints JSON.
async fn php(code: &str, input: &Value) -> Value {
    let php = Client::of_system("php");
    php.write("input.json", input.to_string());
    let code = format!(
        "require '/usr/share/php/Composer/autoload.php';\n\
         $input = json_decode(file_get_contents('input.json'), true);\n{code}"
    );
    php.ok(php.home(), &["-d", "error_reporting=8191", "-r", &code])
        .await
        .json()
}

/// Versions of every kind, also such as are none.
fn all_kinds() -> Vec<String> {
    let numbers = [
        "1",
        "1.2",
        "01.2",
        "1.2.3",
        "1.2.3.4",
        "1.2.3.4.5",
        "99999",
        "100000",
        "1.x",
        "1.2.x",
        "2010.01.02",
        "2010-01-02",
        "20100102-2030",
    ];
    let modifiers = [
        "",
        "-dev",
        ".dev",
        "dev",
        "-stable",
        "-beta",
        "-b2",
        "b.2",
        "-RC1",
        "rc1-dev",
        "-alpha.1.2",
        "-p1",
        "-pl",
        "_patch3",
        "-meh",
        "-beta-x",
        "+build",
        "-1",
    ];
    let made = numbers.iter().flat_map(|number| {
        modifiers
            .iter()
            .flat_map(move |modifier| ["", "v"].map(|prefix| format!("{prefix}{number}{modifier}")))
    });
    let branches = [
        "dev-main",
        "DEV-x/y",
        "master",
        "trunk",
        "main",
        "feature-dev",
        "1.x.3-dev",
    ]
    .map(str::to_owned);
    made.chain(branches).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_normalised_as_by_composers_own_library() {
    let known = NORMALIZED.iter().map(|(text, _)| (*text).to_owned());
    let all: Vec<String> = known.chain(all_kinds()).collect();
    let code = "$parser = new Composer\\Semver\\VersionParser;\n\
        foreach ($input as $text) { try { $out[$text.'!'] = $parser->normalize($text); } catch (Exception $e) { $out[$text.'!'] = null; } }\n\
        echo json_encode($out);";
    let theirs = php(code, &json!(all)).await;
    for text in &all {
        let ours = text.parse::<Version>().ok().map(|version| version.normalized());
        assert_eq!(json!(ours), theirs[format!("{text}!")], "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_have_the_order_that_composer_gives_them() {
    let mut ours: Vec<(Order, String)> = all_kinds()
        .iter()
        .filter_map(|text| text.parse::<Version>().ok())
        .filter(|version| !version.normalized().starts_with("dev-"))
        .map(|version| (version.order(), version.normalized()))
        .collect();
    ours.sort();
    ours.dedup();
    let ours: Vec<String> = ours.into_iter().map(|(_, normalized)| normalized).collect();
    let code = "$wrong = [];\n\
        foreach ($input as $i => $one) { foreach (array_slice($input, $i + 1) as $other) {\n\
            if (Composer\\Semver\\Comparator::greaterThan($one, $other)) { $wrong[] = \"$one > $other\"; } } }\n\
        echo json_encode($wrong);";
    assert_eq!(php(code, &json!(ours)).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_are_those_that_composers_own_library_reads() {
    let all: Vec<&str> = READ.iter().chain(NOT_READ).copied().collect();
    let code = "$parser = new Composer\\Semver\\VersionParser; $read = [];\n\
        foreach ($input as $text) { try { $parser->parseConstraints($text); $read[] = $text; } catch (Exception $e) { } }\n\
        echo json_encode($read);";
    assert_eq!(php(code, &json!(all)).await, json!(READ));
}

/// Composer loads the golden files as we mean them.
#[tokio::test(flavor = "multi_thread")]
async fn golden_documents_are_loaded_by_composer() {
    let golden = |file: &str| -> Value { serde_json::from_slice(&golden::read("composer", file)).unwrap() };
    let code = "$loader = new Composer\\Package\\Loader\\ArrayLoader(null, true); $out = [];\n\
        foreach ($loader->loadPackages($input) as $package) {\n\
            $out[] = [$package->getName(), $package->getPrettyVersion(), $package->getVersion(), $package->getDistType(),\n\
                $package->getDistSha1Checksum() === $package->getDistReference(), $package->isDev(), $package->isAbandoned(),\n\
                count($package->getRequires()), $package instanceof Composer\\Package\\AliasPackage];\n\
        }\n\
        echo json_encode($out);";
    let released = php(code, &golden("foo.json")["packages"]["acme/foo"]).await;
    assert_eq!(
        released,
        json!([
            [
                "acme/foo", "v1.2.3", "1.2.3.0", "zip", true, false, true, 2, false
            ],
            [
                "acme/foo",
                "1.10.0-beta1",
                "1.10.0.0-beta1",
                "zip",
                true,
                false,
                false,
                0,
                false
            ],
        ])
    );
    let moving = php(code, &golden("foo~dev.json")["packages"]["acme/foo"]).await;
    assert_eq!(
        moving,
        json!([
            [
                "acme/foo",
                "dev-feature/foo",
                "dev-feature/foo",
                "zip",
                true,
                true,
                false,
                0,
                false
            ],
            [
                "acme/foo",
                "2.x-dev",
                "2.9999999.9999999.9999999-dev",
                "zip",
                true,
                true,
                false,
                0,
                true
            ],
        ])
    );
    let code = "$parser = new Composer\\Semver\\VersionParser;\n\
        $advisory = Composer\\Advisory\\PartialSecurityAdvisory::create($input['packageName'], $input, $parser);\n\
        echo json_encode([get_class($advisory), $advisory->title, $advisory->reportedAt->format('c')]);";
    let advisory = php(code, &golden("advisory.json")).await;
    assert_eq!(
        advisory,
        json!([
            "Composer\\Advisory\\SecurityAdvisory",
            "reads too much",
            "2026-01-02T03:04:05+00:00"
        ])
    );
}

/// The first Composer is not to be had. This one still reads what it reads, from a repository that says nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_documents_of_the_first_composer_are_read() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, said) = named("first");
    author.publish(cluster, 0, "", &package(&lib, "v1.0.0")).await;
    author.publish(cluster, 0, "", &package(&lib, "dev-main")).await;
    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    let lazy = format!("{}{}/p/%package%.json", cluster.url(1), path("projects/1"));
    user.write(
        "old/packages.json",
        json!({"packages": [], "providers-lazy-url": lazy}).to_string(),
    );
    let mut project: Value = serde_json::from_slice(&user.read("app/composer.json")).unwrap();
    project["repositories"][0]["url"] = json!(format!("file://{}", user.home().join("old").display()));
    user.write("app/composer.json", project.to_string());
    user.go(&["require", &format!("{lib}:^1.0")]).await;
    assert_eq!(user.said(&said).await, format!("{lib} v1.0.0"));
    user.go(&["require", &format!("{lib}:dev-main")]).await;
    assert_eq!(user.said(&said).await, format!("{lib} dev-main"));
}
