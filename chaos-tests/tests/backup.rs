//! A cluster is backed up while clients work, destroyed, and made again in another size, with the
//! commands of `docs/backup.md` as they are written there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::workloads::generic::{self, Read};
use cairn_chaos_tests::workloads::npm;
use cairn_chaos_tests::workloads::oci::{self, Upload};
use cairn_chaos_tests::{Blank, Cluster, Oracle, Payload, program_beside};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Of two segments, which are coded.
const LARGE: usize = (32 << 20) + 700_000;
const MEDIUM: usize = 1_500_000;
/// Copied, rather than coded.
const SMALL: usize = 2000;

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(180);

/// The commands of the manual, in their order.
struct Manual {
    folder: TempDir,
    commands: Vec<String>,
}

/// What a command did.
struct Done {
    code: i32,
    out: String,
    said: String,
}

impl Done {
    fn ok(self) -> anyhow::Result<Self> {
        ensure!(self.code == 0, "it ended with {}: {}", self.code, self.said);
        Ok(self)
    }
}

impl Manual {
    fn read() -> anyhow::Result<Self> {
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backup.md");
        let text = fs::read_to_string(manual)?;
        let blocks = text.split("```sh\n").skip(1);
        let commands = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
        let commands: Vec<String> = commands.map(str::to_owned).collect();
        ensure!(
            commands.len() == 7,
            "the manual has other commands than this test knows"
        );
        Ok(Self {
            folder: TempDir::with_prefix("cairn-backup-")?,
            commands,
        })
    }

    /// Where the manual's backups lie here.
    fn backup(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of the manual, in this test's folder and with this configuration.
    fn command(&self, number: usize, config: &Path) -> String {
        let here = self.folder.path().to_string_lossy();
        let command = self.commands[number].replace("/srv/backups", &here);
        let command = command.replace("/etc/cairn.toml", &config.to_string_lossy());
        // Nodes are run by those who look after them.
        let lines = command.lines().filter(|line| !line.starts_with("cairn serve "));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Runs commands in a shell, with the cluster that they are about; shows each line of what they
/// say to `heard`.
async fn shell(
    commands: &str,
    cluster: Option<&Cluster>,
    mut heard: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Done> {
    let program = program_beside(&std::env::current_exe()?)?;
    let folder = program.parent().context("no folder")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", commands])
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
        shell.env_remove(name);
    }
    if let Some(cluster) = cluster {
        let urls: Vec<_> = (0..cluster.size()).map(|node| cluster.url(node)).collect();
        shell
            .env("CAIRN_URL", urls.join(","))
            .env("CAIRN_TOKEN", cluster.token());
    }
    let mut child = shell.spawn()?;
    let (mut out, mut said) = (String::new(), String::new());
    let mut lines = BufReader::new(child.stderr.take().context("no output")?).lines();
    let mut stdout = child.stdout.take().context("no output")?;
    let read_out = stdout.read_to_string(&mut out);
    let hear = async {
        while let Some(line) = lines.next_line().await? {
            said += &line;
            said.push('\n');
            heard(&line).await?;
        }
        anyhow::Ok(())
    };
    let (read, heard_all) = tokio::join!(read_out, hear);
    read?;
    heard_all?;
    let code = child.wait().await?.code().context("killed")?;
    Ok(Done { code, out, said })
}

/// Runs commands that nobody listens to.
async fn run(commands: &str, cluster: Option<&Cluster>) -> anyhow::Result<Done> {
    shell(commands, cluster, async |_| Ok(())).await
}

/// What is in a cluster besides generic files, and can be looked for in another one.
struct Others {
    layer: Payload,
    /// Of a user who is no administrator's.
    token: String,
}

impl Others {
    async fn publish(cluster: &Cluster) -> anyhow::Result<Self> {
        npm::publish(cluster, 0, "1.0.0").await?;
        npm::set_tag(cluster, 1, "stable", "1.0.0").await?;
        oci::push_config(cluster, 2).await?;
        let layer = Payload {
            number: 5000,
            size_bytes: LARGE as u64,
        };
        let upload = Upload::begin(cluster, 0).await?;
        upload.append(cluster, 1, layer, 0..layer.size_bytes).await?;
        upload.finish(cluster, 2, &layer.sha256()).await?;
        oci::set_tag(cluster, 0, "latest", 1).await?;
        // One that never ends.
        Upload::begin(cluster, 0).await?;

        let url = |path: &str| format!("{}/api/v4/{path}", cluster.url(0));
        let http = cluster.http();
        let user = http
            .request(Method::POST, &url("users"))
            .json(&json!({"username": "ann"}));
        let user = http.expect_of(user, StatusCode::CREATED).await?;
        let user: Value = serde_json::from_slice(&user.body)?;
        let member = json!({"user_id": user["id"], "access_level": 30});
        let member = http
            .request(Method::POST, &url("projects/1/members"))
            .json(&member);
        http.expect_of(member, StatusCode::CREATED).await?;
        let tokens = url(&format!("users/{}/personal_access_tokens", user["id"]));
        let token = http
            .request(Method::POST, &tokens)
            .json(&json!({"name": "laptop", "scopes": ["api"]}));
        let token = http.expect_of(token, StatusCode::CREATED).await?;
        let token: Value = serde_json::from_slice(&token.body)?;
        let token = token["token"].as_str().context("no token")?.to_owned();
        Ok(Self { layer, token })
    }

    /// Looks for all of it through every node.
    async fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        for node in 0..cluster.size() {
            npm::read(cluster, node, "1.0.0").await?;
            ensure!(npm::tag_in_packument(cluster, node, "stable").await? == "1.0.0");
            oci::expect_tag(cluster, node, "latest", 1).await?;
            oci::read(cluster, node, self.layer, &self.layer.sha256()).await?;
            let url = format!("{}/api/v4/user", cluster.url(node));
            let asked = reqwest::Client::builder().no_proxy().build()?.get(url);
            let answer = asked.header("PRIVATE-TOKEN", &self.token).send().await?;
            let user: Value = serde_json::from_slice(&answer.bytes().await?)?;
            ensure!(user["username"] == "ann", "the token is of {user}");
        }
        Ok(())
    }
}

/// Publishes files, each through another node, until it is told to stop; and deletes versions that
/// nobody asks for later.
async fn work(cluster: &Cluster, first: u64, stop: &AtomicBool) -> anyhow::Result<Oracle> {
    let oracle = Oracle::default();
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let node = number as usize % cluster.size();
        let size_bytes = if number.is_multiple_of(4) { MEDIUM } else { SMALL };
        ensure!(oracle.publish(cluster, node, number, size_bytes).await);
        let passing = Payload {
            number: number + 100_000,
            size_bytes: MEDIUM as u64 + number,
        };
        ensure!(generic::publish(cluster, node, passing).await);
        generic::delete(cluster, node, passing.number).await?;
        number += 1;
    }
    Ok(oracle)
}

/// Runs a command while clients work; gives what it did, and what they were told.
async fn amid_work(cluster: &Cluster, first: u64, command: &str) -> anyhow::Result<(Done, Oracle)> {
    let stop = AtomicBool::new(false);
    let command = async {
        let done = run(command, Some(cluster)).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (done, oracle) = tokio::join!(command, work(cluster, first, &stop));
    Ok((done?.ok()?, oracle?))
}

/// What was published while a backup was taken is there whole, or not at all, on all nodes alike.
async fn check_whole(cluster: &Cluster, oracle: &Oracle) -> anyhow::Result<()> {
    for file in oracle.files() {
        let there = generic::read(cluster, 0, file).await?;
        ensure!(
            !matches!(there, Read::Failed(_)),
            "file {}: {there:?}",
            file.number
        );
        for node in 1..cluster.size() {
            let same = generic::read(cluster, node, file).await? == there;
            ensure!(same, "the nodes do not agree on file {}", file.number);
        }
    }
    Ok(())
}

/// What is set for the collection, and what holds it back.
async fn collection(cluster: &Cluster) -> anyhow::Result<Value> {
    let url = format!("{}/api/cairn/v1/tasks", cluster.url(0));
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    let tasks: Vec<Value> = serde_json::from_slice(&answer.body)?;
    let found = tasks.into_iter().find(|task| task["task"] == "collection");
    found.context("no collection")
}

/// Has a round of the collection done, and waits for its end.
async fn collect(cluster: &Cluster) -> anyhow::Result<()> {
    let before = collection(cluster).await?["nodes"][0]["completed_at"].clone();
    let url = format!("{}/api/cairn/v1/tasks/collection?run=true", cluster.url(0));
    cluster.http().expect(Method::POST, &url, StatusCode::OK).await?;
    let round = async {
        while collection(cluster).await?["nodes"][0]["completed_at"] == before {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(WATCHDOG, round).await.context("nothing is collected")?
}

/// The files of blobs in a backup.
fn blobs(backup: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(backup.join("blobs"))? {
        for file in fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_amid_writes_is_restored_into_clusters_of_other_sizes() -> anyhow::Result<()> {
    let manual = Manual::read()?;
    let cluster = Cluster::start().await?;
    let before = Oracle::default();
    for (number, size_bytes) in (0..).zip([SMALL, MEDIUM, LARGE, SMALL, MEDIUM, 0]) {
        ensure!(
            before
                .publish(&cluster, number as usize % 3, number, size_bytes)
                .await
        );
    }
    let others = Others::publish(&cluster).await?;
    let (_, first) = amid_work(&cluster, 1000, &manual.command(0, Path::new(""))).await?;
    // All of that was acknowledged before the next one.
    let (said, during) = amid_work(&cluster, 2000, &manual.command(1, Path::new(""))).await?;
    ensure!(
        said.out.contains("shared with the earlier backup"),
        "{}",
        said.out
    );
    let held = collection(&cluster).await?;
    ensure!(
        held["held_by"] == json!([]),
        "a backup that is over holds back: {held}"
    );
    let monday = manual.backup("monday");
    // What was deleted between the two is in the first alone.
    let in_both = |file: &PathBuf| {
        let same = manual.backup("tuesday").join(file.strip_prefix(&monday)?);
        anyhow::Ok(same.exists().then(|| fs::metadata(same)).transpose()?)
    };
    let shared: Vec<_> = blobs(&monday)?.iter().map(in_both).collect::<Result<_, _>>()?;
    let shared: Vec<_> = shared.into_iter().flatten().collect();
    ensure!(shared.len() >= 7, "{} blobs are in both", shared.len());
    ensure!(
        shared.iter().all(|file| file.nlink() == 2),
        "the second backup copied what the first has"
    );
    let token = cluster.token().to_owned();
    cluster.stop().await?;

    // One that the other shares files with goes, and the other is whole.
    fs::remove_dir_all(&monday)?;
    let checked = run(&manual.command(2, Path::new("")), None).await?.ok()?;
    ensure!(checked.out.contains("are whole"), "{}", checked.out);

    let one = Blank::nodes(1).await?;
    let restore = manual.command(3, &one.node(0).config());
    run(&restore, None).await?.ok()?;
    let again = run(&restore, None).await?;
    ensure!(again.code == 6, "restored over what is there: {}", again.said);
    let one = one.start(&token).await?;
    before.check(&one).await?;
    first.check(&one).await?;
    check_whole(&one, &during).await?;
    others.check(&one).await?;
    let frozen = collection(&one).await?;
    ensure!(
        frozen["paused"] == true && frozen["paused_because"].is_string(),
        "{frozen}"
    );
    let resumed = run(&manual.command(6, Path::new("")), Some(&one)).await?.ok()?;
    ensure!(!resumed.out.contains("restored"), "{}", resumed.out);
    ensure!(collection(&one).await?["paused"] == false);
    collect(&one).await?;
    before.check(&one).await?;
    others.check(&one).await?;
    ensure!(before.publish(&one, 0, 6, MEDIUM).await, "it takes no more");
    npm::publish(&one, 0, "1.1.0").await?;
    one.stop().await?;

    let three = Blank::nodes(3).await?;
    let mut joined = 0;
    let restore = manual.command(4, &three.node(0).config());
    let restored = shell(&restore, None, async |line| {
        if let Some(token) = line.strip_prefix("join token: ") {
            joined += 1;
            three.node(joined).join(token).await?;
        }
        Ok(())
    });
    restored.await?.ok()?;
    ensure!(joined == 2, "{joined} nodes joined");
    let three = three.start(&token).await?;
    first.check(&three).await?;
    check_whole(&three, &during).await?;
    others.check(&three).await?;
    three.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_nothing_is_restored_with_it_unless_told_to() -> anyhow::Result<()> {
    let manual = Manual::read()?;
    let cluster = Cluster::start().await?;
    let oracle = Oracle::default();
    for number in 0..6 {
        ensure!(
            oracle
                .publish(&cluster, 0, number, MEDIUM + number as usize)
                .await
        );
    }
    npm::publish(&cluster, 0, "1.0.0").await?;
    let token = cluster.token().to_owned();
    let take = manual.command(0, Path::new("")).replace("monday", "tuesday");
    run(&take, Some(&cluster)).await?.ok()?;
    let complete = run(&take, Some(&cluster)).await?;
    ensure!(
        complete.code == 6 && complete.said.contains("--against"),
        "{}",
        complete.said
    );
    let denied = run(&format!("{take}2 --token cnp-wrong"), Some(&cluster)).await?;
    ensure!(denied.code == 4, "{}", denied.said);
    let backup = manual.backup("tuesday");
    // As it is when the command is killed shortly before its end: running it again goes on.
    fs::remove_file(backup.join("manifest.json"))?;
    let all = blobs(&backup)?;
    fs::remove_file(&all[0])?;
    fs::create_dir(backup.join("partial"))?;
    fs::write(backup.join("partial/7"), "half a blob")?;
    let unfinished = run(&manual.command(2, Path::new("")), None).await?;
    ensure!(unfinished.code == 5, "{}", unfinished.said);
    let again = run(&take, Some(&cluster)).await?.ok()?;
    let counts = format!(
        ": 1 fetched, 0 shared with the earlier backup, {} there already",
        all.len() - 1
    );
    ensure!(again.out.contains(&counts), "{}", again.out);
    cluster.stop().await?;

    let of = |number: u64| blob_of_size(&backup, MEDIUM as u64 + number);
    // One whose bytes are others, one that is cut short, one that is gone.
    let [changed, cut, gone] = [of(1)?, of(2)?, of(3)?];
    let mut bytes = fs::read(&changed)?;
    bytes[MEDIUM / 2] ^= 1;
    fs::write(&changed, bytes)?;
    fs::File::options().write(true).open(&cut)?.set_len(100)?;
    let kept = manual.backup("kept");
    fs::rename(&gone, &kept)?;

    let checked = run(&manual.command(2, Path::new("")), None).await?;
    ensure!(checked.code == 1, "{}", checked.out);
    for (number, problem) in [(1, "BLAKE3"), (2, "it has 100 bytes"), (3, "is missing")] {
        let file = format!("acme/demo: generic chaos 1.0.{number}, file file.bin");
        let line = checked.out.lines().find(|line| line.contains(&file));
        let line = line.with_context(|| format!("{file} is not named: {}", checked.out))?;
        ensure!(line.contains(problem), "{line}");
    }
    ensure!(!checked.out.contains("chaos-npm"), "{}", checked.out);

    let new = Blank::nodes(1).await?;
    let config = new.node(0).config();
    let refused = run(&manual.command(3, &config), None).await?;
    ensure!(
        refused.code == 1 && refused.said.contains("1.0.3, file file.bin"),
        "{}",
        refused.said
    );
    ensure!(
        !new.node(0).data()?.exists(),
        "something was made of a damaged backup"
    );
    // What can be seen without reading is mended; the rest is found on the way.
    fs::rename(&kept, &gone)?;
    let mended = oracle.files()[2];
    fs::write(&cut, mended.part(0..mended.size_bytes))?;
    let skip = manual.command(5, &config);
    let refused = run(&manual.command(3, &config), None).await?;
    ensure!(
        refused.code == 1 && refused.said.contains("1.0.1, file file.bin"),
        "{}",
        refused.said
    );
    new.node(0).start()?;
    ensure!(!new.node(0).ended().await?.success(), "half of a cluster serves");
    let restored = run(&skip, None).await?.ok()?;
    ensure!(
        restored.out.contains("left out 1") && restored.out.contains("1.0.1, file file.bin"),
        "{}",
        restored.out
    );
    let new = new.start(&token).await?;
    for file in oracle.files() {
        let read = generic::read(&new, 0, file).await?;
        let is_lost = file.number == 1;
        ensure!(
            matches!(read, Read::Failed(_)) == is_lost,
            "file {}: {read:?}",
            file.number
        );
        ensure!(is_lost || read == Read::Whole, "file {}: {read:?}", file.number);
    }
    npm::read(&new, 0, "1.0.0").await?;
    // The same bytes under another name bring the file back.
    let again = oracle.files()[1];
    let url = format!(
        "{}/api/v4/projects/1/packages/generic/again/1.0.0/file.bin",
        new.url(0)
    );
    let body = again.body(0..again.size_bytes);
    let put = new.http().request(Method::PUT, &url).body(body);
    new.http().expect_of(put, StatusCode::CREATED).await?;
    ensure!(generic::read(&new, 0, again).await? == Read::Whole);
    new.stop().await
}

fn blob_of_size(backup: &Path, size: u64) -> anyhow::Result<PathBuf> {
    let files = blobs(backup)?;
    let of_size = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.len() == size);
    files.into_iter().find(of_size).context("no such blob")
}
