//! How many manifests and small blobs of an image a second.

use hyper::StatusCode;

use super::image::{self, REPOSITORY};
use crate::bench::{Bench, Get};
use crate::table::Aim;

const CONNECTIONS: usize = 64;

/// Which part of what a bare handler does a hot manifest should come to.
const AIM: Aim = Aim::Ratio(0.5);

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let image = image::push(bench).await?;
    let gets = [
        ("manifest by tag, hot", "manifests/hot".to_owned(), Some(AIM)),
        (
            "manifest by digest, hot",
            format!("manifests/{}", image.digest),
            Some(AIM),
        ),
        ("blob of 10 KiB", format!("blobs/{}", image.layer), None),
    ];
    for (what, path, aim) in gets {
        let authorization = image::authorization(bench).await?;
        let headers = [
            ("authorization", authorization.as_str()),
            ("accept", image::media_type()),
        ];
        let get = Get {
            what: format!("oci {what}, {CONNECTIONS} connections"),
            target: &format!("{REPOSITORY}/{path}"),
            headers: &headers,
            connections: CONNECTIONS,
            expected: StatusCode::OK,
            aim,
        };
        bench.compare(get).await?;
    }
    Ok(())
}
