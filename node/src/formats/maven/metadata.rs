//! Typed metadata to the documents that clients fetch.
//!
//! <https://maven.apache.org/ref/3.9.9/maven-repository-metadata/repository-metadata.html>

use cairn_cluster::Timestamp;
use quick_xml::escape::escape;

use super::names::{Build, PackageName};
use super::records::{Newest, Plugin};
use crate::registry::time::compact;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata modelVersion=\"1.1.0\">\n";
const END: &str = "</metadata>\n";

fn element(out: &mut String, indent: usize, name: &str, text: &str) {
    let blanks = "                ".get(..indent).unwrap_or_default();
    out.push_str(&format!("{blanks}<{name}>{}</{name}>\n", escape(text)));
}

fn coordinates(out: &mut String, package: &PackageName) {
    let (group, artifact) = package.group_and_artifact();
    element(out, 2, "groupId", &group);
    element(out, 2, "artifactId", artifact);
}

/// How the metadata of an artifact begin: up to its versions.
pub(super) fn artifact_head(package: &PackageName, latest: &str, release: Option<&str>) -> String {
    let mut out = HEAD.to_owned();
    coordinates(&mut out, package);
    out.push_str("  <versioning>\n");
    element(&mut out, 4, "latest", latest);
    if let Some(release) = release {
        element(&mut out, 4, "release", release);
    }
    out.push_str("    <versions>\n");
    out
}

/// The line of a version.
pub(super) fn version_line(out: &mut String, version: &str) {
    element(out, 6, "version", version);
}

/// How the metadata of an artifact end, whose path may be that of a group with plugins too.
pub(super) fn artifact_end(updated: Timestamp, plugins: &[Plugin]) -> String {
    let mut out = "    </versions>\n".to_owned();
    element(&mut out, 4, "lastUpdated", &compact(updated));
    out.push_str("  </versioning>\n");
    plugin_list(&mut out, plugins);
    out.push_str(END);
    out
}

/// The metadata of a snapshot: the newest file of each classifier and extension, by its own value.
pub(super) fn snapshot(package: &PackageName, version: &str, newest: &[Newest]) -> String {
    let mut out = HEAD.to_owned();
    coordinates(&mut out, package);
    element(&mut out, 2, "version", version);
    out.push_str("  <versioning>\n    <snapshot>\n");
    match newest_build(version, newest) {
        Some(build) => {
            element(&mut out, 6, "timestamp", &build.timestamp);
            element(&mut out, 6, "buildNumber", &build.number.to_string());
        }
        // Its files are named after the version itself.
        None => element(&mut out, 6, "localCopy", "true"),
    }
    out.push_str("    </snapshot>\n");
    let updated = newest.iter().map(|newest| newest.at).max().unwrap_or_default();
    element(&mut out, 4, "lastUpdated", &compact(updated));
    out.push_str("    <snapshotVersions>\n");
    for newest in newest {
        out.push_str("      <snapshotVersion>\n");
        if let Some(classifier) = &newest.classifier {
            element(&mut out, 8, "classifier", classifier);
        }
        element(&mut out, 8, "extension", &newest.extension);
        element(&mut out, 8, "value", &newest.value);
        element(&mut out, 8, "updated", &compact(newest.at));
        out.push_str("      </snapshotVersion>\n");
    }
    out.push_str("    </snapshotVersions>\n  </versioning>\n");
    out.push_str(END);
    out
}

/// The build that clients which look no further take all files from. It has a POM if any has: a build of which only
/// a classifier came is none that they could resolve.
fn newest_build(version: &str, newest: &[Newest]) -> Option<Build> {
    let build = |newest: &Newest| Build::of_value(version, &newest.value);
    let is_pom = |newest: &&Newest| newest.extension == "pom" && newest.classifier.is_none();
    match newest.iter().find(is_pom) {
        Some(pom) => build(pom),
        None => newest.iter().filter_map(build).max(),
    }
}

/// The metadata of a group: its plugins.
pub(super) fn plugins(plugins: &[Plugin]) -> String {
    let mut out = HEAD.to_owned();
    plugin_list(&mut out, plugins);
    out.push_str(END);
    out
}

fn plugin_list(out: &mut String, plugins: &[Plugin]) {
    if plugins.is_empty() {
        return;
    }
    out.push_str("  <plugins>\n");
    for plugin in plugins {
        out.push_str("    <plugin>\n");
        element(out, 6, "name", plugin.name.as_ref().unwrap_or(&plugin.artifact));
        element(out, 6, "prefix", &plugin.prefix);
        element(out, 6, "artifactId", &plugin.artifact);
        out.push_str("    </plugin>\n");
    }
    out.push_str("  </plugins>\n");
}

/// How the catalog of archetypes begins.
pub(super) const CATALOG_HEAD: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<archetype-catalog>\n  <archetypes>\n";

/// How it ends.
pub(super) const CATALOG_END: &str = "  </archetypes>\n</archetype-catalog>\n";

/// The lines of an archetype.
pub(super) fn archetype(out: &mut String, package: &PackageName, version: &str) {
    let (group, artifact) = package.group_and_artifact();
    out.push_str("    <archetype>\n");
    element(out, 6, "groupId", &group);
    element(out, 6, "artifactId", artifact);
    element(out, 6, "version", version);
    out.push_str("    </archetype>\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::formats::xml;

    const MOMENT: Timestamp = Timestamp(1_782_907_200_123);

    fn package() -> PackageName {
        "org/acme/lib".parse().unwrap()
    }

    fn newest(extension: &str, classifier: Option<&str>, value: &str) -> Newest {
        Newest {
            extension: extension.into(),
            classifier: classifier.map(str::to_owned),
            value: value.into(),
            at: MOMENT,
        }
    }

    fn plugin(artifact: &str, prefix: &str, name: Option<&str>) -> Plugin {
        Plugin {
            artifact: artifact.into(),
            prefix: prefix.into(),
            name: name.map(str::to_owned),
        }
    }

    fn artifact(plugins: &[Plugin]) -> String {
        let mut out = artifact_head(&package(), "1.1-SNAPSHOT", Some("1.0"));
        for version in ["0.9", "1.0", "1.1-SNAPSHOT"] {
            version_line(&mut out, version);
        }
        out + &artifact_end(MOMENT, plugins)
    }

    #[track_caller]
    fn check(name: &str, expected: &str, found: &str) {
        if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
            let file = format!(
                "{}/src/formats/maven/testdata/{name}.xml",
                env!("CARGO_MANIFEST_DIR")
            );
            std::fs::write(file, found).unwrap();
            return;
        }
        assert_eq!(found, expected, "{name}");
    }

    macro_rules! golden {
        ($name:literal, $found:expr) => {
            check(
                $name,
                include_str!(concat!("testdata/", $name, ".xml")),
                &$found,
            )
        };
    }

    #[test]
    fn documents_are_as_clients_read_them() {
        golden!("artifact", artifact(&[]));
        golden!(
            "artifact-and-group",
            artifact(&[plugin("hello-maven-plugin", "hello", None)])
        );
        golden!(
            "snapshot",
            snapshot(
                &package(),
                "1.1-SNAPSHOT",
                &[
                    newest("jar", None, "1.1-20260701.120000-3"),
                    newest("jar", Some("sources"), "1.1-20260701.130000-4"),
                    newest("pom", None, "1.1-20260701.120000-3"),
                ]
            )
        );
        golden!(
            "snapshot-of-one-name",
            snapshot(&package(), "1.1-SNAPSHOT", &[newest("jar", None, "1.1-SNAPSHOT")])
        );
        golden!(
            "plugins",
            plugins(&[
                plugin("hello-maven-plugin", "hello", Some("Hello <&> more")),
                plugin("x-maven-plugin", "x", None),
            ])
        );
        let mut catalog = CATALOG_HEAD.to_owned();
        archetype(&mut catalog, &"org/acme/start".parse().unwrap(), "1.0");
        golden!("catalog", catalog + CATALOG_END);
    }

    #[test]
    fn a_build_without_a_pom_is_not_the_one_to_resolve() {
        let with_pom = [
            newest("jar", Some("extra"), "1-20260701.130000-4"),
            newest("pom", None, "1-20260701.120000-3"),
        ];
        assert_eq!(newest_build("1-SNAPSHOT", &with_pom).unwrap().number, 3);
        assert_eq!(newest_build("1-SNAPSHOT", &with_pom[..1]).unwrap().number, 4);
        assert_eq!(
            newest_build("1-SNAPSHOT", &[newest("pom", None, "1-SNAPSHOT")]),
            None
        );
    }

    proptest! {
        #[test]
        fn whatever_is_said_comes_out_again(name in "\\PC{1,20}", prefix in "[ -~]{1,20}") {
            let document = plugins(&[plugin("a", &prefix, Some(&name))]);
            let mut found = Vec::new();
            xml::each_text(document.as_bytes(), |path, text| found.push((path.to_owned(), text.to_owned()))).unwrap();
            for (path, text) in [("name", &name), ("prefix", &prefix)] {
                let path = format!("metadata/plugins/plugin/{path}");
                let text = text.trim();
                prop_assert!(text.is_empty() || found.contains(&(path, text.to_owned())), "{:?}", found);
            }
        }
    }
}
