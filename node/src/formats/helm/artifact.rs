//! Reads a chart's archive as it passes by: what it says of itself, and whether it is safe to unpack.
//!
//! A chart is a gzip-compressed tar whose entries lie in one folder, with the metadata as
//! `Chart.yaml` in it. Subcharts lie deeper, with metadata of their own. Helm packages no links.

use std::io::Read;

use super::metadata::{MAX_YAML_BYTES, Metadata, MetadataError};
use crate::archive::{self, Compressed, Paths, Refused, Visitor, small_file};

/// How much a chart may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The archive.
    pub(super) archive: archive::Limits,
    /// Bytes of one file.
    pub(super) file_bytes: u64,
}

/// What is larger, Helm refuses to load.
impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: archive::Limits {
                unpacked_bytes: 100 << 20,
                entries: 20_000,
                ..archive::Limits::default()
            },
            file_bytes: 5 << 20,
        }
    }
}

/// Why a chart was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// It is not a chart, or not safe to unpack.
    #[error("the chart {0}")]
    Refused(#[from] Refused),
    /// What it says of itself.
    #[error("the Chart.yaml of the chart {0}")]
    Metadata(#[from] MetadataError),
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads a chart to its end.
pub(super) fn inspect(source: impl Compressed, limits: &Limits) -> Result<Metadata, ArtifactError> {
    let mut found = Found {
        limits,
        folder: None,
        paths: Paths::default(),
        chart: None,
        requirements: None,
    };
    archive::walk_tar_gz(source, &limits.archive, &mut found)?;
    match found.chart {
        Some(chart) => Ok(Metadata::read(&chart, found.requirements.as_deref())?),
        None => refused("has no Chart.yaml in its folder"),
    }
}

/// What has been found so far.
struct Found<'l> {
    limits: &'l Limits,
    /// The one folder that everything must lie in.
    folder: Option<String>,
    paths: Paths,
    chart: Option<Vec<u8>>,
    requirements: Option<Vec<u8>>,
}

impl Found<'_> {
    /// The path below the folder.
    fn inner<'p>(&mut self, path: &'p str) -> Result<&'p str, ArtifactError> {
        let (folder, inner) = path.split_once('/').unwrap_or((path, ""));
        match self.folder.get_or_insert_with(|| folder.to_owned()) == folder {
            true => Ok(inner),
            false => refused(format!("has more than one folder: {folder:.80?}")),
        }
    }
}

impl Visitor for Found<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        let inner = self.inner(path)?;
        if inner.is_empty() {
            return refused(format!("has a file outside of a folder: {path:.80?}"));
        }
        if size_bytes > self.limits.file_bytes {
            let limit_bytes = self.limits.file_bytes;
            return refused(format!(
                "has a file of more than {limit_bytes} bytes: {path:.80?}"
            ));
        }
        if !self.paths.insert(path) {
            return refused(format!("has two files that unpack to one path: {path:.80?}"));
        }
        let kept = match inner {
            "Chart.yaml" => &mut self.chart,
            "requirements.yaml" => &mut self.requirements,
            _ => return Ok(()),
        };
        *kept = Some(small_file(path, content, MAX_YAML_BYTES as u64)?);
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), ArtifactError> {
        self.inner(path).map(|_| ())
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link: {path:.80?}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::super::metadata::tests::chart_yaml;
    use super::*;
    use crate::fuzz::gzip;
    use crate::testing::archives;

    /// A chart of these files.
    pub(in crate::formats::helm) fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        packed_with(files, |_| {})
    }

    fn packed_with(files: &[(&str, &str)], more: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut tar = archives::tar(files);
        more(&mut tar);
        gzip(&tar.into_inner().unwrap())
    }

    /// A chart as Helm packages it, with values and a template.
    pub(in crate::formats::helm) fn chart_of(name: &str, version: &str) -> Vec<u8> {
        chart_with(name, &chart_yaml(name, version))
    }

    /// The same with another `Chart.yaml`.
    pub(in crate::formats::helm) fn chart_with(folder: &str, metadata: &str) -> Vec<u8> {
        packed(&[
            (&format!("{folder}/Chart.yaml"), metadata),
            (&format!("{folder}/values.yaml"), "replicas: 1\n"),
            (&format!("{folder}/templates/note.yaml"), "kind: ConfigMap\n"),
            (
                &format!("{folder}/charts/sub/Chart.yaml"),
                &chart_yaml("sub", "9.0.0"),
            ),
        ])
    }

    fn inspected(chart: &[u8]) -> Result<Metadata, ArtifactError> {
        inspect(Cursor::new(chart), &Limits::default())
    }

    #[track_caller]
    fn check(chart: Vec<u8>, expected: Result<(), &str>) {
        match (inspected(&chart), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    #[test]
    fn a_chart_is_what_its_metadata_says() {
        let metadata = inspected(&chart_of("app", "1.2.3")).unwrap();
        assert_eq!(
            (metadata.name.as_str(), metadata.version.to_string().as_str()),
            ("app", "1.2.3")
        );
        check(packed(&[]), Err("no Chart.yaml"));
        check(
            packed(&[("app/charts/sub/Chart.yaml", &chart_yaml("a", "1.0.0"))]),
            Err("no Chart.yaml"),
        );
        check(
            packed(&[("app/chart.yaml", &chart_yaml("a", "1.0.0"))]),
            Err("no Chart.yaml"),
        );
        check(
            packed(&[("Chart.yaml", &chart_yaml("a", "1.0.0"))]),
            Err("outside of a folder"),
        );
        check(
            packed(&[("app/Chart.yaml", "name: app\n")]),
            Err("the Chart.yaml of the chart is malformed"),
        );
        check(
            packed(&[("app/Chart.yaml", &"#".repeat(300 << 10))]),
            Err("Chart.yaml of more than"),
        );
        check(b"not gzip".to_vec(), Err("is damaged"));
        check(Vec::new(), Err("is damaged"));
    }

    #[test]
    fn what_helm_would_not_unpack_is_refused() {
        let yaml = chart_yaml("app", "1.0.0");
        let with = |path: &str| packed(&[("app/Chart.yaml", &yaml), (path, "x")]);
        check(with("app/README.md"), Ok(()));
        check(with("other/README.md"), Err("more than one folder"));
        check(with("README.md"), Err("more than one folder"));
        check(with("app/chart.YAML"), Err("unpack to one path"));
        check(with("app/Chart.yaml"), Err("unpack to one path"));
        for path in [
            "/etc/passwd",
            "app/../../x",
            "../x",
            "app\\x",
            "C:/x",
            "app//x",
            "app/./x",
        ] {
            check(with(path), Err("unsafe path"));
        }
        let large = "x".repeat((5 << 20) + 1);
        check(
            packed(&[("app/Chart.yaml", &yaml), ("app/big", &large)]),
            Err("file of more than"),
        );
        let entry = |kind: tar::EntryType, target: Option<&'static str>| {
            packed_with(&[("app/Chart.yaml", &yaml)], |tar| {
                let mut header = tar::Header::new_ustar();
                header.set_entry_type(kind);
                header.set_size(0);
                header.set_mode(0o755);
                match target {
                    Some(target) => tar.append_link(&mut header, "app/x", target).unwrap(),
                    None => tar.append_data(&mut header, "app/x", std::io::empty()).unwrap(),
                }
            })
        };
        check(entry(tar::EntryType::Directory, None), Ok(()));
        check(
            entry(tar::EntryType::Fifo, None),
            Err("neither a file nor a folder"),
        );
        check(
            entry(tar::EntryType::Symlink, Some("Chart.yaml")),
            Err("has a link"),
        );
        check(
            entry(tar::EntryType::Link, Some("app/Chart.yaml")),
            Err("has a link"),
        );
        check(entry(tar::EntryType::Symlink, Some("../../etc")), Err("link"));
    }

    #[test]
    fn what_follows_a_chart_is_refused() {
        let chart = chart_of("app", "1.0.0");
        check([chart.as_slice(), b"x"].concat(), Err("goes on after"));
        check([chart.as_slice(), &chart].concat(), Err("goes on after"));
        check(chart[..chart.len() - 9].to_vec(), Err("is damaged"));
    }

    #[test]
    fn a_bomb_is_stopped() {
        let limits = Limits {
            archive: archive::Limits {
                unpacked_bytes: 1 << 20,
                ratio: 10_000,
                ..archive::Limits::default()
            },
            ..Limits::default()
        };
        let zeroes = "\0".repeat(2 << 20);
        let bomb = packed(&[
            ("app/Chart.yaml", &chart_yaml("app", "1.0.0")),
            ("app/x", &zeroes),
        ]);
        let error = inspect(Cursor::new(bomb.as_slice()), &limits)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the chart unpacks to more than 1048576 bytes");
    }
}
