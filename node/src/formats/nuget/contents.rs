//! A file of a stored package: its `.nuspec`, icon, license or README, which clients ask for by themselves.

use std::io::Read;

use bytes::Bytes;
use futures::StreamExt;

use super::artifact::{LIMITS, unescaped};
use super::nuspec::{License, Nuspec};
use crate::archive::{Compressed, Refused, Visitor, feed, small_file, walk_zip};
use crate::auth::Access;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::File;

/// The largest file that is shown; the public gallery takes no larger ones.
const MAX_SHOWN_BYTES: u64 = 1 << 20;

/// What of a package is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Nuspec,
    Icon,
    License,
    Readme,
}

impl Part {
    /// The path that it has in the package; none for the document at the top, which may have any name.
    fn path(self, nuspec: &Nuspec) -> Option<&str> {
        match (self, &nuspec.license) {
            (Self::Icon, _) => nuspec.icon.as_deref(),
            (Self::Readme, _) => nuspec.readme.as_deref(),
            (Self::License, Some(License::File(path))) => Some(path),
            (Self::License | Self::Nuspec, _) => None,
        }
    }

    /// What it is, by what it begins with where that matters: nothing here is run by a browser.
    pub(super) fn media_type(self, bytes: &[u8]) -> &'static str {
        match self {
            Self::Nuspec => "application/xml",
            Self::Icon if bytes.starts_with(b"\x89PNG") => "image/png",
            Self::Icon if bytes.starts_with(b"\xff\xd8\xff") => "image/jpeg",
            Self::Icon => "application/octet-stream",
            Self::License => "text/plain; charset=utf-8",
            Self::Readme => "text/markdown; charset=utf-8",
        }
    }
}

/// Why a walk ends.
enum Stop {
    Found(Vec<u8>),
    Refused(Refused),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Looks for the file of one path; without one, for the document at the top.
struct Look(Option<String>);

impl Visitor for Look {
    type Error = Stop;

    fn file(&mut self, name: &str, _: u64, content: &mut dyn Read) -> Result<(), Stop> {
        let path = unescaped(name)?.to_lowercase();
        let is_it = match &self.0 {
            Some(wanted) => path == *wanted,
            None => !path.contains('/') && path.ends_with(".nuspec"),
        };
        match is_it {
            true => Err(Stop::Found(small_file(&path, content, MAX_SHOWN_BYTES)?)),
            false => Ok(()),
        }
    }

    fn link(&mut self, _: &str) -> Result<(), Stop> {
        Ok(())
    }
}

fn look(source: impl Compressed, path: Option<String>) -> Result<Option<Vec<u8>>, Refused> {
    let wanted = path.map(|path| path.to_lowercase());
    match walk_zip(source, &LIMITS, &mut Look(wanted)) {
        Ok(()) => Ok(None),
        Err(Stop::Found(bytes)) => Ok(Some(bytes)),
        Err(Stop::Refused(refused)) => Err(refused),
    }
}

/// Reads a part of a stored package, as far as that has to be read for it. None if it has no such.
pub(super) async fn read(
    access: &Access,
    scope: &Scope,
    file: &File,
    nuspec: &Nuspec,
    part: Part,
) -> Result<Option<Bytes>, ApiError> {
    let path = part.path(nuspec).map(str::to_owned);
    if path.is_none() && part != Part::Nuspec {
        return Ok(None);
    }
    let (feeder, fed) = feed();
    let reading = access
        .app()
        .parser_threads()
        .start(access.caller(), move || look(fed, path))
        .await;
    let mut pieces = scope
        .blobs()
        .read(scope.snapshot(), scope.space(), &file.blob, None)
        .await?;
    while let Some(piece) = pieces.next().await {
        if !feeder.push(piece?).await {
            break;
        }
    }
    drop(feeder);
    let found = reading.await.map_err(ApiError::internal)?;
    let found = found.map_err(|refused| ApiError::unprocessable(format!("the package {refused}")));
    Ok(found?.map(Bytes::from))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::artifact::tests::{package_of, packed};
    use super::*;

    #[test]
    fn a_file_is_found_by_its_path_whatever_its_case() {
        let package = package_of("Acme.Lib", "1.0.0");
        let find = |path: Option<&str>| look(Cursor::new(package.as_slice()), path.map(str::to_owned));
        assert_eq!(
            find(Some("docs/readme.md")).unwrap().as_deref(),
            Some(&b"# Read me"[..])
        );
        assert_eq!(
            find(Some("lib/net45/a b.DLL")).unwrap().as_deref(),
            Some(&b"MZ"[..])
        );
        assert_eq!(find(Some("none")).unwrap(), None);
        assert!(find(None).unwrap().unwrap().starts_with(b"<?xml"));
        let large = packed(&[("icon.png", &[0; (1 << 20) + 1])]);
        let outcome = look(Cursor::new(large.as_slice()), Some("icon.png".into()));
        assert!(outcome.unwrap_err().to_string().contains("more than"));
    }
}
