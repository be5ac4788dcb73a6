//! The parsers of Cargo's that are fuzzed.

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream;

use super::frames::{FrameError, Frames};
use super::names::{CrateName, Version};
use super::{artifact, document};
use crate::fuzz::{Target, gzip, text};
#[cfg(test)]
use crate::fuzz::{gunzip, lines};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "cargo_crate",
        read: crate_file,
        #[cfg(test)]
        seeds: || vec![gunzip(&artifact::tests::crate_of("left", "1.0.0"))],
    },
    Target {
        name: "cargo_document",
        read: |bytes| document::read(bytes, &document::Limits::default(), |_| false).is_ok(),
        #[cfg(test)]
        seeds: || {
            let more = serde_json::json!({
                "deps": [{"name": "util", "version_req": "^1", "features": [], "optional": true,
                    "default_features": true, "target": null, "kind": "normal"}],
                "features": {"x": ["dep:util"]},
            });
            vec![
                document::tests::document("left", "1.0.0", more)
                    .to_string()
                    .into(),
            ]
        },
    },
    Target {
        name: "cargo_frames",
        read: |bytes| block_on(frames(bytes)).is_ok(),
        #[cfg(test)]
        seeds: || vec![b"\x02\0\0\0{}\x05\0\0\0crate".into(), vec![0; 8]],
    },
    Target {
        name: "cargo_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("left_pad\nserde-json\n1.0.0\n0.1.0-alpha.1+build.5"),
    },
];

fn crate_file(tar: &[u8]) -> bool {
    let (name, version) = ("left".parse(), "1.0.0".parse());
    let (name, version) = (name.expect("a name"), version.expect("a version"));
    let packed = std::io::Cursor::new(gzip(tar));
    artifact::inspect(packed, &artifact::Limits::default(), &name, &version).is_ok()
}

async fn frames(body: &[u8]) -> Result<(), FrameError> {
    let pieces = body.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let mut frames = Frames::new(stream::iter(pieces));
    let length = frames.length("metadata", 1 << 10).await?;
    assert_eq!(frames.whole("metadata", length).await?.len(), length as usize);
    let mut left = frames.length("crate", 1 << 10).await?;
    while left > 0 {
        frames.some("crate", &mut left).await?;
    }
    frames.end().await
}

fn names(text: &str) -> bool {
    let name = text.parse::<CrateName>();
    if let Ok(name) = &name {
        assert_eq!(name.as_str(), text);
    }
    let version = text.parse::<Version>();
    if let Ok(version) = &version {
        assert_eq!(version.to_string(), text);
    }
    name.is_ok() || version.is_ok()
}
