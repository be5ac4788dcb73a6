//! A run: what it starts, and what all measurements share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use cairn_chaos_tests::{Cluster, Launch};
use hyper::http::Result as HttpResult;
use hyper::{Method, Request, StatusCode};

use crate::bare::Bare;
use crate::load::{Load, Outcome, Payload, Sequence, nothing, request};
use crate::machine::{self, Machine};
use crate::measures::{FormatName, Measure};
use crate::process::cpu_time_of;
use crate::scale::Scale;
use crate::table::{Aim, Cost, Figure, Limit, Row, Table};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program `cairn`.
    pub cairn: PathBuf,
    /// The program `cairn-benches`.
    pub benches: PathBuf,
    /// Where the cluster gets a folder of its own.
    pub folder: PathBuf,
    /// How much is measured.
    pub scale: Scale,
    /// What; all, if this is empty.
    pub only: Vec<Measure>,
    /// Whose growth; that of all formats, if this is empty.
    pub formats: Vec<FormatName>,
}

/// Measures, and tells on standard error how far it is.
pub async fn run(options: Options) -> anyhow::Result<Table> {
    say("measuring the machine");
    let (folder, time) = (options.folder.clone(), options.scale.limit);
    let parent = options.folder.clone();
    let measured = tokio::task::spawn_blocking(move || Machine::measure(&folder, time));
    let machine = measured.await??;
    say("starting a cluster");
    let cluster = Cluster::launch(Launch::new(options.cairn, options.folder)).await?;
    let mut bench = Bench {
        bare: Bare::start(&options.benches).await?,
        hosts: hosts_of(&cluster),
        client: reqwest::Client::builder().no_proxy().build()?,
        alive: (0..cluster.size()).collect(),
        cluster,
        folder: parent,
        machine,
        scale: options.scale,
        formats: options.formats,
        rows: Vec::new(),
    };
    for measure in Measure::ALL {
        if measure.is_wanted(&options.only) {
            measure
                .run(&mut bench)
                .await
                .with_context(|| format!("measure {measure:?}"))?;
        }
    }
    let table = Table {
        machine: bench.machine.description.clone(),
        limits: bench.machine.limits(),
        rows: bench.rows,
    };
    say("stopping the cluster");
    bench.cluster.stop().await?;
    Ok(table)
}

/// Says how far it is.
pub(crate) fn say(what: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nobody may be listening; the table is what counts.
    let _ = writeln!(std::io::stderr(), "==> {what}");
}

/// The host with its port of a base URL.
pub(crate) fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// The hosts of all nodes.
fn hosts_of(cluster: &Cluster) -> Vec<String> {
    (0..cluster.size()).map(|node| host(cluster.url(node))).collect()
}

/// What the measurements share.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) bare: Bare,
    pub(crate) machine: Machine,
    /// On the disk to be measured.
    folder: PathBuf,
    pub(crate) scale: Scale,
    /// Whose growth is measured, if it is not that of all formats.
    pub(crate) formats: Vec<FormatName>,
    /// For what is done once.
    pub(crate) client: reqwest::Client,
    /// By node.
    hosts: Vec<String>,
    /// Which nodes run.
    alive: Vec<usize>,
    rows: Vec<Row>,
}

/// A load, and what it cost whoever served it.
pub(crate) struct Loaded {
    pub(crate) outcome: Outcome,
    pub(crate) cpu: Duration,
}

/// A GET that is compared with the bare server.
pub(crate) struct Get<'a> {
    pub(crate) what: String,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) connections: usize,
    pub(crate) expected: StatusCode,
    pub(crate) aim: Option<Aim>,
}

impl Bench {
    /// Adds to the table.
    pub(crate) fn add(&mut self, row: Row) {
        say(format_args!("{}: {}", row.what, row.cairn));
        self.rows.push(row);
    }

    /// The hosts of the nodes that run.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.alive.iter().map(|node| self.hosts[*node].clone()).collect()
    }

    /// The host of a node that does not lead, as most do not.
    async fn a_follower(&self) -> anyhow::Result<String> {
        let leader = self.cluster.leader().await?;
        let follower = self.alive.iter().find(|node| **node != leader);
        Ok(self.hosts[*follower.context("there is no follower")?].clone())
    }

    /// The processes of the nodes that run.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<i32>> {
        let pid = |node: &usize| Ok(self.cluster.node(*node).pid()?.as_raw_nonzero().get());
        self.alive.iter().map(pid).collect()
    }

    /// Which nodes run.
    pub(crate) fn alive(&self) -> &[usize] {
        &self.alive
    }

    /// How many small appends a second can be made durable now: what a disk gives changes.
    pub(crate) async fn syncs(&self) -> anyhow::Result<f64> {
        self.measure_disk(machine::syncs).await
    }

    /// How many bytes a second can be written to files now.
    pub(crate) async fn disk(&self) -> anyhow::Result<f64> {
        self.measure_disk(machine::disk).await
    }

    async fn measure_disk(
        &self,
        measure: impl FnOnce(&Path, Duration) -> anyhow::Result<f64> + Send + 'static,
    ) -> anyhow::Result<f64> {
        let (folder, time) = (tempfile::tempdir_in(&self.folder)?, self.scale.limit);
        let measured = move || {
            let measured = measure(folder.path(), time);
            drop(folder);
            measured
        };
        tokio::task::spawn_blocking(measured).await?
    }

    /// On the disk to be measured.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills a node that does not lead, for good.
    pub(crate) async fn kill_a_follower(&mut self) -> anyhow::Result<()> {
        let leader = self.cluster.leader().await?;
        let at = self.alive.iter().rposition(|node| *node != leader);
        let node = self.alive.remove(at.context("there is no follower")?);
        self.cluster.node(node).kill().await
    }

    /// Takes an empty cluster in the place of the one that is there, whose stores may still be busy with what they got.
    pub(crate) async fn begin_anew(&mut self) -> anyhow::Result<()> {
        let launch = Launch::new(PathBuf::from(self.cluster.program()), self.folder.clone());
        let cluster = Cluster::launch(launch).await?;
        std::mem::replace(&mut self.cluster, cluster).stop().await?;
        self.hosts = hosts_of(&self.cluster);
        self.alive = (0..self.cluster.size()).collect();
        Ok(())
    }

    /// The URL of a path on the first node.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.hosts[self.alive[0]])
    }

    /// Puts a load on Cairn.
    pub(crate) async fn load<S: Sequence>(
        &self,
        load: &Load<'_>,
        make: impl Fn(u64) -> HttpResult<S> + Send + Sync + 'static,
    ) -> anyhow::Result<Loaded> {
        observed(&self.pids()?, load, make).await
    }

    /// Puts a load on the bare server.
    pub(crate) async fn load_bare<S: Sequence>(
        &self,
        load: &Load<'_>,
        make: impl Fn(u64) -> HttpResult<S> + Send + Sync + 'static,
    ) -> anyhow::Result<Loaded> {
        observed(&[self.bare.pid()?], load, make).await
    }

    /// Measures a GET and the same bytes from the bare server, in turns, and adds it.
    pub(crate) async fn compare(&mut self, get: Get<'_>) -> anyhow::Result<()> {
        let hosts = [self.a_follower().await?];
        let bare_host = [self.bare.address().to_owned()];
        let bare_target = self.bare.keep("get", self.fetch(&get).await?).await?;
        let load = |hosts, expected, window| Load {
            hosts,
            connections: get.connections,
            window,
            requests: u64::MAX,
            expected,
        };
        let window = self.scale.window;
        let make = get.maker();
        // What is asked for is hot when it is measured.
        self.load(&load(&hosts, get.expected, window / 5), make.clone())
            .await?;
        let (mut bare, mut cairn) = (Vec::new(), Vec::new());
        for _ in 0..self.scale.rounds {
            let target = bare_target.clone();
            let make_bare = move |_| request(Method::GET, &target, None).body(nothing());
            let load_bare = load(&bare_host, StatusCode::OK, window);
            bare.push(self.load_bare(&load_bare, make_bare).await?);
            cairn.push(
                self.load(&load(&hosts, get.expected, window), make.clone())
                    .await?,
            );
        }
        let (bare, cairn) = (middle(bare), middle(cairn));
        self.add(Row {
            latency: Some(cairn.latency()),
            limit: Some(Limit {
                what: "bare handler",
                figure: Figure::PerSecond(bare.outcome.per_second()),
            }),
            aim: get.aim,
            cost: Some(cairn.per_request()),
            bare_cost: Some(bare.per_request()),
            ..Row::new(get.what, Figure::PerSecond(cairn.outcome.per_second()))
        });
        Ok(())
    }

    /// The bytes that a GET is answered with.
    async fn fetch(&self, get: &Get<'_>) -> anyhow::Result<Bytes> {
        let mut request = self.client.get(self.url(get.target));
        for (name, value) in get.headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, target) = (answer.status(), get.target);
        ensure!(status == get.expected, "{target} is answered with {status}");
        Ok(answer.bytes().await?)
    }
}

async fn observed<S: Sequence>(
    pids: &[i32],
    load: &Load<'_>,
    make: impl Fn(u64) -> HttpResult<S> + Send + Sync + 'static,
) -> anyhow::Result<Loaded> {
    let before = cpu_time_of(pids)?;
    let outcome = load.run(make).await?;
    let cpu = cpu_time_of(pids)?.saturating_sub(before);
    Ok(Loaded { outcome, cpu })
}

impl Loaded {
    /// What one request cost.
    pub(crate) fn per_request(&self) -> Cost {
        Cost::PerRequest(self.cpu.div_f64(self.outcome.requests() as f64))
    }

    /// What a byte cost, if each request carried so many.
    pub(crate) fn per_byte(&self, request_bytes: u64) -> Cost {
        let bytes = self.outcome.requests() as f64 * request_bytes as f64;
        Cost::PerByte(self.cpu.as_secs_f64() / bytes)
    }

    /// How long half of the requests took, and all but one in a hundred.
    pub(crate) fn latency(&self) -> (Duration, Duration) {
        (self.outcome.percentile(0.5), self.outcome.percentile(0.99))
    }
}

impl Get<'_> {
    fn maker(&self) -> impl Fn(u64) -> HttpResult<Request<Payload>> + Clone + Send + Sync + 'static {
        let target = self.target.to_owned();
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        move |_| {
            let mut builder = request(Method::GET, &target, None);
            for (name, value) in &headers {
                builder = builder.header(*name, value);
            }
            builder.body(nothing())
        }
    }
}

/// The one of middle pace.
pub(crate) fn middle(mut of: Vec<Loaded>) -> Loaded {
    let pace = |loaded: &Loaded| loaded.outcome.per_second();
    of.sort_by(|one, other| pace(one).total_cmp(&pace(other)));
    of.swap_remove(of.len() / 2)
}

/// The one in the middle.
pub(crate) fn middle_of(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
