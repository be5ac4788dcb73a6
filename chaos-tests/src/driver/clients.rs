//! What clients do, each by dice of its own: one small thing after the other, through any node.

use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use super::options::{Workload, Workloads};
use super::{CODED_BYTES, Run, tags};
use crate::invariants::linearizable::Kind;
use crate::invariants::one_winner::Contest;
use crate::invariants::{Invariant, Violation, fresh, revoked};
use crate::payload::Payload;
use crate::workloads::generic::{self, Read, TWINS};
use crate::workloads::{npm, oci, tokens};

/// Inside the metadata's log, in the store of small blobs twice, in shard files; what is small is
/// published more often.
const SIZES: [usize; 10] = [
    100,
    100,
    100,
    100,
    100,
    30_000,
    30_000,
    30_000,
    300_000,
    CODED_BYTES,
];

/// When files of so many bytes are there, clients rather delete.
const CROWDED_BYTES: u64 = 100 << 20;

/// Between two things that a client does.
const PAUSE: std::ops::Range<u64> = 10..80;

/// How long the contents are for which names contend.
const CONTENT_BYTES: u64 = 1000;

/// How many versions the npm package has whose tags move.
pub(super) const VERSIONS: u64 = 5;

/// What a client may do next, and how often it does, in comparison.
const DOINGS: [(Doing, Workload, u32); 10] = [
    (Doing::Publish, Workload::Publish, 6),
    (Doing::Read, Workload::Publish, 8),
    (Doing::MoveImageTag, Workload::Publish, 2),
    (Doing::ReadImageTag, Workload::Publish, 3),
    (Doing::MoveNpmTag, Workload::Publish, 2),
    (Doing::ReadNpmTag, Workload::Publish, 3),
    (Doing::Contend, Workload::Publish, 1),
    (Doing::Delete, Workload::Delete, 3),
    (Doing::Twin, Workload::Delete, 1),
    (Doing::Revoke, Workload::Tokens, 1),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Publish,
    Read,
    MoveImageTag,
    ReadImageTag,
    MoveNpmTag,
    ReadNpmTag,
    Contend,
    Delete,
    Twin,
    Revoke,
}

/// The requests that workloads make again and again.
pub(super) fn wanted(workloads: &Workloads) -> Vec<&'static str> {
    let of = |workload| -> &[&'static str] {
        match workload {
            Workload::Publish => &[
                "publish",
                "read",
                "move image tag",
                "read image tag",
                "move npm tag",
                "read npm tag",
                "contend",
            ],
            Workload::Push => &["push"],
            Workload::Delete => &["delete"],
            Workload::Snapshots => &[],
            Workload::Tokens => &["revoke"],
        }
    };
    let all = [
        Workload::Publish,
        Workload::Push,
        Workload::Delete,
        Workload::Tokens,
    ];
    let included = all.into_iter().filter(|workload| workloads.include(*workload));
    included.flat_map(of).copied().collect()
}

/// One client.
pub(super) struct Client<'a> {
    run: &'a Run,
    dice: StdRng,
}

impl<'a> Client<'a> {
    /// The client with a number.
    pub(super) fn new(run: &'a Run, number: u64) -> Self {
        Self {
            run,
            dice: StdRng::seed_from_u64(run.seed.wrapping_add(1 + number)),
        }
    }

    /// Does one thing after the other until the run ends or a promise is broken.
    pub(super) async fn work(mut self) -> Result<(), Violation> {
        while !self.run.is_over() {
            {
                let _turn = self.run.gate.read().await;
                let doing = self.choose();
                self.act(doing).await?;
            }
            sleep(Duration::from_millis(self.dice.random_range(PAUSE))).await;
        }
        Ok(())
    }

    fn choose(&mut self) -> Doing {
        let included = |(_, workload, _): &&(Doing, Workload, u32)| self.run.workloads().include(*workload);
        let possible: Vec<_> = DOINGS.iter().filter(included).collect();
        let chosen = possible.choose_weighted(&mut self.dice, |(_, _, weight)| *weight);
        let chosen = chosen.map_or(Doing::Publish, |(doing, _, _)| *doing);
        match chosen {
            Doing::Publish if self.is_crowded() => Doing::Delete,
            chosen => chosen,
        }
    }

    fn is_crowded(&self) -> bool {
        let delete = self.run.workloads().include(Workload::Delete);
        delete && self.run.oracle.acknowledged_bytes() > CROWDED_BYTES
    }

    fn node(&mut self) -> usize {
        self.dice.random_range(0..self.run.cluster.size())
    }

    async fn act(&mut self, doing: Doing) -> Result<(), Violation> {
        match doing {
            Doing::Publish => {
                self.publish().await;
                Ok(())
            }
            Doing::Read => self.read().await,
            Doing::MoveImageTag => {
                self.move_image_tag().await;
                Ok(())
            }
            Doing::ReadImageTag => {
                let node = self.node();
                self.read_image_tag(node).await
            }
            Doing::MoveNpmTag => {
                self.move_npm_tag().await;
                Ok(())
            }
            Doing::ReadNpmTag => {
                let node = self.node();
                self.read_npm_tag(node).await
            }
            Doing::Contend => self.contend().await,
            Doing::Delete => self.delete().await,
            Doing::Twin => {
                self.twin().await;
                Ok(())
            }
            Doing::Revoke => self.revoke().await,
        }
    }

    async fn publish(&mut self) {
        let size_bytes = *SIZES.choose(&mut self.dice).expect("there are sizes");
        let (number, node) = (self.run.number(), self.node());
        let published = self.publish_as(node, number, size_bytes).await;
        // Who was not told tries again, through whichever node, and must not be refused for what
        // the first attempt did.
        if !published && self.dice.random_bool(0.5) {
            let node = self.node();
            self.publish_as(node, number, size_bytes).await;
        }
    }

    async fn publish_as(&self, node: usize, number: u64, size_bytes: usize) -> bool {
        let (run, oracle) = (self.run, &self.run.oracle);
        let published = oracle.publish(&run.cluster, node, number, size_bytes).await;
        run.count("publish", published);
        published
    }

    /// Some file that was acknowledged, or was once.
    fn some_file(&mut self) -> Option<u64> {
        let from = self.dice.random_range(0..self.run.numbers());
        self.run.oracle.next_known(from).map(|known| known.file.number)
    }

    async fn read(&mut self) -> Result<(), Violation> {
        let (Some(number), node) = (self.some_file(), self.node()) else {
            return Ok(());
        };
        let (run, oracle) = (self.run, &self.run.oracle);
        let Some(before) = oracle.known(number) else {
            return Ok(());
        };
        let size_bytes = before.file.size_bytes;
        let read = match size_bytes > 1000 && self.dice.random_bool(0.3) {
            true => {
                let start = self.dice.random_range(0..size_bytes - 1000);
                generic::read_range(&run.cluster, node, before.file, start..start + 1000).await?
            }
            false => generic::read(&run.cluster, node, before.file).await?,
        };
        let after = oracle.known(number).unwrap_or(before);
        run.count("read", !matches!(read, Read::Failed(_)));
        fresh::judge(&before, &after, node, &read)
    }

    async fn delete(&mut self) -> Result<(), Violation> {
        let (run, oracle) = (self.run, &self.run.oracle);
        let Some(number) = self.some_file() else {
            return Ok(());
        };
        let Some(file) = oracle.take(number) else {
            return Ok(());
        };
        let node = self.node();
        let deleted = oracle.delete(&run.cluster, node, file).await?;
        run.count("delete", deleted);
        // The same content again, while what held it is being collected.
        if deleted && !self.is_crowded() && self.dice.random_bool(0.4) {
            let pause = self.dice.random_range(0..6000);
            if self.dice.random_bool(0.5) {
                sleep(Duration::from_millis(pause)).await;
            }
            let node = self.node();
            let size_bytes = file.size_bytes as usize;
            let published = oracle.publish(&run.cluster, node, number, size_bytes).await;
            run.count("publish again", published);
        }
        Ok(())
    }

    /// Publishes what is there under another name: the same blob, named twice.
    async fn twin(&mut self) {
        let (run, oracle) = (self.run, &self.run.oracle);
        let number = self.some_file().filter(|number| *number < TWINS);
        let Some(known) = number.and_then(|number| oracle.known(number)) else {
            return;
        };
        let twin = known.file.number + TWINS;
        if oracle.known(twin).is_some() {
            return;
        }
        let (node, size_bytes) = (self.node(), known.file.size_bytes as usize);
        let published = oracle.publish(&run.cluster, node, twin, size_bytes).await;
        run.count("publish twin", published);
    }

    async fn move_image_tag(&mut self) {
        let (run, node, number) = (self.run, self.node(), self.run.number());
        let asked = run.image_tags.begin(Kind::Write(number));
        let moved = oci::set_tag(&run.cluster, node, &asked.tag, number).await.is_ok();
        if moved {
            run.image_tags.end(&asked, Kind::Write(number));
        }
        run.count("move image tag", moved);
    }

    /// Reads the tags that are in use through a node.
    pub(super) async fn read_tags_through(&mut self, node: usize) -> Result<(), Violation> {
        if self.run.image_tags.in_use() {
            self.read_image_tag(node).await?;
        }
        match self.run.npm_tags.in_use() {
            true => self.read_npm_tag(node).await,
            false => Ok(()),
        }
    }

    async fn read_image_tag(&mut self, node: usize) -> Result<(), Violation> {
        let run = self.run;
        let asked = run.image_tags.begin(Kind::Read(None));
        let seen = oci::find_tag(&run.cluster, node, &asked.tag).await?;
        if let Some(seen) = seen {
            run.image_tags.end(&asked, Kind::Read(seen));
        }
        run.count("read image tag", seen.is_some());
        Ok(())
    }

    async fn move_npm_tag(&mut self) {
        let (run, node, version) = (self.run, self.node(), self.dice.random_range(0..VERSIONS));
        let asked = run.npm_tags.begin(Kind::Write(version));
        let text = format!("1.0.{version}");
        let moved = npm::set_tag(&run.cluster, node, &asked.tag, &text).await.is_ok();
        if moved {
            run.npm_tags.end(&asked, Kind::Write(version));
        }
        run.count("move npm tag", moved);
    }

    async fn read_npm_tag(&mut self, node: usize) -> Result<(), Violation> {
        let run = self.run;
        let asked = run.npm_tags.begin(Kind::Read(None));
        let seen = match self.dice.random_bool(0.5) {
            true => npm::find_tag(&run.cluster, node, &asked.tag).await,
            false => npm::find_tag_in_packument(&run.cluster, node, &asked.tag).await,
        };
        run.count("read npm tag", seen.is_ok());
        let Ok(seen) = seen else { return Ok(()) };
        let seen = match seen {
            None => None,
            Some(text) => {
                let version = text.strip_prefix("1.0.").and_then(|version| version.parse().ok());
                Some(version.ok_or_else(|| tags::strange(&asked.tag, node, &text))?)
            }
        };
        run.npm_tags.end(&asked, Kind::Read(seen));
        Ok(())
    }

    /// Different contents under one name, at the same time, through different nodes.
    async fn contend(&mut self) -> Result<(), Violation> {
        let (run, name) = (self.run, self.run.number());
        let contents = [0, 1].map(|_| Payload {
            number: run.number(),
            size_bytes: CONTENT_BYTES,
        });
        let first = self.node();
        let nodes = [first, (first + 1) % run.cluster.size()];
        let publish =
            |at: usize| async move { generic::contend(&run.cluster, nodes[at], name, contents[at]).await };
        let (one, other) = futures::join!(publish(0), publish(1));
        let mut contest = Contest {
            name,
            entries: vec![(contents[0].number, one), (contents[1].number, other)],
            seen: None,
        };
        contest.judge()?;
        let node = self.node();
        if let Some(served) = generic::winner(&run.cluster, node, name, &contents).await? {
            contest.judge_served(node, served.map(|content| content.number))?;
        }
        run.count("contend", one || other);
        run.contests
            .lock()
            .expect("no panic while held")
            .push((contest, contents));
        Ok(())
    }

    async fn revoke(&mut self) -> Result<(), Violation> {
        let run = self.run;
        let node = self.node();
        let Ok(token) = tokens::make(&run.cluster, node).await else {
            run.count("revoke", false);
            return Ok(());
        };
        let node = self.node();
        let answered = tokens::try_out(&run.cluster, node, &token).await;
        if answered == Some(reqwest::StatusCode::UNAUTHORIZED) {
            let node = node + 1;
            return Err(Invariant::Fresh.violated(format!("node {node} does not know a token that was made")));
        }
        let node = self.node();
        let revoked = tokens::revoke(&run.cluster, node, &token).await;
        run.count("revoke", revoked);
        if revoked {
            let asked =
                (0..run.cluster.size()).map(async |node| tokens::try_out(&run.cluster, node, &token).await);
            for (node, answered) in join_all(asked).await.into_iter().enumerate() {
                revoked::judge(node, answered)?;
            }
        }
        Ok(())
    }
}
