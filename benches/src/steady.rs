//! A steady load, as many clients make it: so many requests a second begin, whatever became of those
//! before. What each took counts from when it was to begin.
//!
//! Clients are behind a load balancer: one that does not get an answer from a node, or is told to come
//! back later, goes on to the next one. What is not answered in time by any of them has failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::Payload;
use reqwest::{Client, Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::table::{Figure, Row};

/// How long a client waits for an answer, through whichever node.
const PATIENCE: Duration = Duration::from_secs(20);

const BEFORE_NEXT_NODE: Duration = Duration::from_millis(10);

/// How much of a large file a client reads.
const PART_BYTES: u64 = 64 << 10;

/// How long a file is that a client writes.
const WRITTEN_BYTES: u64 = 20 << 10;

/// The package that files are versions of.
const PACKAGE: &str = "api/v4/projects/1/packages/generic/steady";

/// A load that can be put on a cluster again and again.
pub(crate) struct Steady {
    client: Client,
    token: String,
    /// What is there to be read.
    stored: Vec<Payload>,
    reads_per_second: u32,
    writes_per_second: u32,
    next: AtomicU64,
}

/// What became of requests of one kind.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    failed: u64,
}

impl Seen {
    fn note(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => self.took.push(took),
            None => self.failed += 1,
        }
    }

    /// The time that so many of the requests did not exceed.
    fn percentile(&self, share: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.took.get(at).copied().unwrap_or_default()
    }

    /// How many of the requests were answered, and how long that took.
    fn row(mut self, what: String) -> Row {
        self.took.sort_unstable();
        let all = self.took.len() as u64 + self.failed;
        let share = self.took.len() as f64 / all as f64;
        Row {
            latency: Some((self.percentile(0.5), self.percentile(0.99))),
            ..Row::new(what, Figure::Share(share))
        }
    }
}

impl Steady {
    pub(crate) fn new(client: Client, token: &str, rates: (u32, u32)) -> Self {
        Self {
            client,
            token: token.to_owned(),
            stored: Vec::new(),
            reads_per_second: rates.0,
            writes_per_second: rates.1,
            next: AtomicU64::new(0),
        }
    }

    /// Stores files of a size through these nodes, to be read from then on.
    pub(crate) async fn store(&mut self, urls: &[String], count: u64, size_bytes: u64) -> anyhow::Result<()> {
        for _ in 0..count {
            let file = self.number(size_bytes);
            let url = &urls[file.number as usize % urls.len()];
            ensure!(
                self.write(url, file).await,
                "a file of {size_bytes} bytes cannot be stored"
            );
            self.stored.push(file);
        }
        Ok(())
    }

    fn number(&self, size_bytes: u64) -> Payload {
        Payload {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            size_bytes,
        }
    }

    /// Keeps the load up while something is done. Gives what came of that, and rows for reads and for
    /// writes `while` it was done.
    pub(crate) async fn during<T>(
        self: &Arc<Self>,
        what: &str,
        urls: Vec<String>,
        operation: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, [Row; 2])> {
        let (over, urls) = (Arc::new(AtomicBool::new(false)), Arc::new(urls));
        let (reads, writes) = (Arc::<Mutex<Seen>>::default(), Arc::<Mutex<Seen>>::default());
        let load = |per_second: u32, seen: &Arc<Mutex<Seen>>, is_read: bool| {
            let (steady, urls, over, seen) = (self.clone(), urls.clone(), over.clone(), seen.clone());
            tokio::spawn(async move { steady.keep_up(per_second, &urls, &over, &seen, is_read).await })
        };
        let reading = load(self.reads_per_second, &reads, true);
        let writing = load(self.writes_per_second, &writes, false);
        let done = operation.await;
        over.store(true, Ordering::Relaxed);
        reading.await?;
        writing.await?;
        let seen = |of: Arc<Mutex<Seen>>| {
            let seen = Arc::into_inner(of).context("a client still works")?;
            Ok::<_, anyhow::Error>(seen.into_inner().expect("no panic while held"))
        };
        let rows = [
            seen(reads)?.row(format!("reads answered, {what}")),
            seen(writes)?.row(format!("writes answered, {what}")),
        ];
        Ok((done?, rows))
    }

    async fn keep_up(
        self: Arc<Self>,
        per_second: u32,
        urls: &Arc<Vec<String>>,
        over: &AtomicBool,
        seen: &Arc<Mutex<Seen>>,
        is_read: bool,
    ) {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        let mut turn = 0;
        while !over.load(Ordering::Relaxed) {
            let due = ticks.tick().await.into_std();
            turn += 1;
            let (steady, urls, seen) = (self.clone(), urls.clone(), seen.clone());
            requests.spawn(async move {
                let answered = match is_read {
                    true => timeout(PATIENCE, steady.read_somewhere(&urls, turn)).await,
                    false => timeout(PATIENCE, steady.write_somewhere(&urls, turn)).await,
                };
                let took = answered
                    .ok()
                    .map(|()| Instant::now().saturating_duration_since(due));
                seen.lock().expect("no panic while held").note(took);
            });
            while requests.try_join_next().is_some() {}
        }
        requests.join_all().await;
    }

    async fn read_somewhere(&self, urls: &[String], turn: usize) {
        // All of them in an order that is not that of nodes.
        let file = self.stored[turn * 7919 % self.stored.len()];
        for url in urls.iter().cycle().skip(turn % urls.len()) {
            if self.read(url, file).await {
                return;
            }
            sleep(BEFORE_NEXT_NODE).await;
        }
    }

    /// Reads a part of a file, which must be right.
    async fn read(&self, url: &str, file: Payload) -> bool {
        let part = 0..PART_BYTES.min(file.size_bytes);
        let request = self.request(Method::GET, url, file);
        let request = request.header("range", format!("bytes=0-{}", part.end - 1));
        let Ok(answer) = request.send().await else {
            return false;
        };
        let is_success = answer.status() == StatusCode::PARTIAL_CONTENT;
        let body = answer.bytes().await;
        is_success && body.is_ok_and(|body| body == file.part(part))
    }

    async fn write_somewhere(&self, urls: &[String], turn: usize) {
        let file = self.number(WRITTEN_BYTES);
        for url in urls.iter().cycle().skip(turn % urls.len()) {
            if self.write(url, file).await {
                return;
            }
            sleep(BEFORE_NEXT_NODE).await;
        }
    }

    /// Publishes a file.
    async fn write(&self, url: &str, file: Payload) -> bool {
        let request = self.request(Method::PUT, url, file);
        let request = request
            .header("content-length", file.size_bytes)
            .body(file.body(0..file.size_bytes));
        let answer = request.send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::CREATED)
    }

    /// How long it takes until a write is acknowledged through any of these nodes.
    pub(crate) async fn next_write(&self, urls: &[String]) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let written = timeout(PATIENCE, self.write_somewhere(urls, 0)).await;
        written.context("no write is acknowledged any more")?;
        Ok(begun.elapsed())
    }

    fn request(&self, method: Method, url: &str, file: Payload) -> reqwest::RequestBuilder {
        let url = format!("{url}/{PACKAGE}/1.0.{}/file.bin", file.number);
        self.client
            .request(method, url)
            .header("PRIVATE-TOKEN", &self.token)
    }
}
