//! Whether publishing and reading an index cost more, the more there is: of one package, with few
//! versions and with many, and in a project with many packages.

mod formats;

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use hyper::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use hyper::{Method, StatusCode};

use self::formats::{FORMATS, Format};
use crate::bench::{Bench, Loaded, middle, say};
use crate::load::{Load, nothing, request, whole};
use crate::table::{Aim, Figure, Limit, Row};

/// Connections that publish what is not timed.
const PUBLISHERS: usize = 32;

/// Connections that read.
const READERS: usize = 16;

/// Which part of the pace with few versions the pace with many should keep: each takes 1.5 times as long at most.
const AIM: Aim = Aim::Ratio(1.0 / 1.5);

/// Longer than anything that is of a fixed number of requests.
const NO_END: Duration = Duration::from_secs(3600);

/// The name of a format whose growth can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatName(&'static str);

impl FormatName {
    /// Those of all formats that are measured.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|format| Self(format.name))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for FormatName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|name| name.0 == text).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::as_str).collect();
            format!("it is one of {}", names.join(", "))
        })
    }
}

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for format in FORMATS {
        if !bench.formats.is_empty() && !bench.formats.contains(&FormatName(format.name)) {
            continue;
        }
        say(format_args!("growth of {}", format.name));
        begin_anew(bench, format).await?;
        versions(bench, format)
            .await
            .with_context(|| format!("versions of {}", format.name))?;
        begin_anew(bench, format).await?;
        packages(bench, format)
            .await
            .with_context(|| format!("packages of {}", format.name))?;
    }
    Ok(())
}

/// Begins on an empty cluster, in which only what is not measured was published before: the first requests of all are
/// slower than those that follow, however little there is.
async fn begin_anew(bench: &mut Bench, format: &'static Format) -> anyhow::Result<()> {
    bench.begin_anew().await?;
    let warm = |number| ("warm".to_owned(), number);
    publish(bench, format, 1, 0..bench.scale.timed, warm).await?;
    Ok(())
}

/// One package, with more and more versions.
async fn versions(bench: &mut Bench, format: &'static Format) -> anyhow::Result<()> {
    let sizes = bench.scale.growth.clone();
    let mut there = 0;
    let mut few: Option<Vec<f64>> = None;
    for (at, size) in sizes.iter().enumerate() {
        let (name, is_last) = (format.name, at + 1 == sizes.len());
        let version = |number| ("growth".to_owned(), number);
        publish(bench, format, PUBLISHERS, there..*size, version).await?;
        let published = timed(bench, format, *size, version).await?;
        there = *size + timed_count(bench);
        let mut measured = vec![(
            format!("{name} publish, {size} versions there"),
            published,
            is_last,
        )];
        if let Some(index) = format.index {
            let index = index("growth");
            let etag = etag(bench, format, &index).await?;
            let unchanged = read(bench, format, &index, Some(etag)).await?;
            let whole = read(bench, format, &index, None).await?;
            // A whole index is larger when more is in it; all else should not notice.
            measured.push((
                format!("{name} index unchanged, {size} versions"),
                unchanged,
                is_last,
            ));
            measured.push((format!("{name} index, {size} versions"), whole, false));
        }
        let paces = measured.iter().map(|(_, loaded, _)| loaded.outcome.per_second());
        let paces: Vec<f64> = paces.collect();
        for (part, (what, loaded, has_aim)) in measured.into_iter().enumerate() {
            let few = few.as_ref().map(|few| few[part]);
            bench.add(row(what, &loaded, few, has_aim));
        }
        few.get_or_insert(paces);
    }
    Ok(())
}

/// More and more packages of one version each.
async fn packages(bench: &mut Bench, format: &'static Format) -> anyhow::Result<()> {
    let many = bench.scale.packages;
    let package = |number| (format!("package-{number}"), 0);
    let few = timed(bench, format, 0, package).await?;
    publish(bench, format, PUBLISHERS, timed_count(bench)..many, package).await?;
    let published = timed(bench, format, many, package).await?;
    let what = |there| format!("{} publish of a new package, {there} packages there", format.name);
    bench.add(row(what(0), &few, None, false));
    bench.add(row(what(many), &published, Some(few.outcome.per_second()), true));
    Ok(())
}

fn row(what: String, loaded: &Loaded, few: Option<f64>, has_aim: bool) -> Row {
    Row {
        latency: Some(loaded.latency()),
        limit: few.map(|pace| Limit {
            what: "with few",
            figure: Figure::PerSecond(pace),
        }),
        aim: has_aim.then_some(AIM),
        cost: Some(loaded.per_request()),
        ..Row::new(what, Figure::PerSecond(loaded.outcome.per_second()))
    }
}

/// How many are published to be timed, in all rounds.
fn timed_count(bench: &Bench) -> u64 {
    bench.scale.timed * bench.scale.rounds as u64
}

/// Publishes the numbers from `first` on, one after the other, in rounds; the one of middle pace.
///
/// What others published at a time just before keeps the stores busy for a while, which is not what is asked.
async fn timed(
    bench: &Bench,
    format: &'static Format,
    first: u64,
    what: impl Fn(u64) -> (String, u64) + Copy + Send + Sync + 'static,
) -> anyhow::Result<Loaded> {
    let timed = bench.scale.timed;
    let mut rounds = Vec::new();
    for first in (first..first + timed_count(bench)).step_by(timed as usize) {
        rounds.push(publish(bench, format, 1, first..first + timed, what).await?);
    }
    Ok(middle(rounds))
}

/// Publishes these numbers, each as the package and version that `what` says.
async fn publish(
    bench: &Bench,
    format: &'static Format,
    connections: usize,
    numbers: std::ops::Range<u64>,
    what: impl Fn(u64) -> (String, u64) + Send + Sync + 'static,
) -> anyhow::Result<Loaded> {
    let hosts = bench.hosts();
    let load = Load {
        hosts: &hosts,
        connections,
        window: NO_END,
        requests: numbers.end - numbers.start,
        expected: format.published,
    };
    let authorization = format.authorization(bench.cluster.token());
    bench
        .load(&load, move |at| {
            let (package, version) = what(numbers.start + at);
            let publications = (format.publish)(&package, version).into_iter();
            let requests = publications.map(|sent| {
                request(sent.method, &sent.target, Some(&authorization))
                    .header(CONTENT_TYPE, sent.content_type)
                    .body(whole(sent.body))
            });
            requests.collect::<hyper::http::Result<Vec<_>>>()
        })
        .await
}

async fn read(
    bench: &Bench,
    format: &'static Format,
    index: &str,
    etag: Option<String>,
) -> anyhow::Result<Loaded> {
    let hosts = bench.hosts();
    let load = |window| Load {
        hosts: &hosts,
        connections: READERS,
        window,
        requests: u64::MAX,
        expected: match etag {
            Some(_) => StatusCode::NOT_MODIFIED,
            None => StatusCode::OK,
        },
    };
    let authorization = format.authorization(bench.cluster.token());
    let (index, etag) = (index.to_owned(), etag.clone());
    let make = move |_| {
        let mut builder = request(Method::GET, &index, Some(&authorization)).header(ACCEPT, format.accept);
        if let Some(etag) = &etag {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        builder.body(nothing())
    };
    // What is asked for is hot when it is measured.
    bench.load(&load(bench.scale.window / 5), make.clone()).await?;
    bench.load(&load(bench.scale.window), make).await
}

async fn etag(bench: &Bench, format: &Format, index: &str) -> anyhow::Result<String> {
    let request = bench.client.get(bench.url(index)).header("accept", format.accept);
    let authorization = format.authorization(bench.cluster.token());
    let answer = request.header("authorization", authorization).send().await?;
    let etag = answer.error_for_status()?.headers().get("etag").cloned();
    Ok(etag.context("the index has no entity tag")?.to_str()?.to_owned())
}
