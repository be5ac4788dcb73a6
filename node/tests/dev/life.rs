//! How a cluster begins, goes on and ends.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::*;

#[test]
fn a_cluster_is_made_killed_mended_stopped_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("my data");
    let mut dev = Dev::start(&folder, &["--port", "0"]);
    let env = dev.ready();
    assert_eq!((env.nodes.len(), env.pids.len()), (3, 3));
    dev.until("banner", |dev| dev.printed().contains("Ctrl-C").then_some(()));
    assert_eq!(
        dev.printed().matches(&env.token).count(),
        1,
        "the token is shown once"
    );
    for file in ["dev.env", "root.token", "node-1.toml", "node-1.log"] {
        let mode = std::fs::metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    assert_eq!(get(&env.nodes[2], &env.token), "hello");

    // A node dies; the command that is printed for it brings it back.
    signal(env.pids[1], Signal::KILL);
    let now = dev.until("notice of the death", |dev| {
        Env::read(&dev.folder).filter(|env| env.pids[1] == 0)
    });
    assert_eq!((now.pids[0], now.pids[2]), (env.pids[0], env.pids[2]));
    assert_eq!(get(&env.nodes[0], &env.token), "hello");
    let again = dev.until("command", |dev| {
        let mut lines = dev
            .printed()
            .lines()
            .skip_while(|line| !line.contains("start it again with"));
        Some(lines.nth(1)?.trim().to_owned())
    });
    assert!(again.contains("serve"), "{again}");
    let mut by_hand = Command::new("sh")
        .args(["-c", &format!("exec {again}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    dev.until("the node", |dev| {
        Env::read(&dev.folder).filter(|env| env.pids[1] == by_hand.id() as i32)
    });
    dev.until("an answer of the node", |_| {
        let ready = http().get(format!("{}/-/ready", env.nodes[1])).send().ok()?;
        ready.status().is_success().then_some(())
    });
    assert_eq!(get(&env.nodes[1], &env.token), "hello");

    // It stops with the others, though it is no child of theirs.
    let (status, printed) = dev.stop();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("all nodes have stopped"), "{printed}");
    assert!(by_hand.wait().unwrap().success());
    assert!(!runs(env.pids[0]) && !runs(env.pids[2]));
    assert!(!folder.join("dev.env").exists());

    let mut dev = Dev::start(&folder, &[]);
    let again = dev.ready();
    assert_eq!((&again.nodes, &again.token), (&env.nodes, &env.token));
    assert_eq!(get(&again.nodes[1], &again.token), "hello");
    dev.stop_cleanly();
}

#[test]
fn a_node_that_ends_is_started_again_if_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1", "--respawn"]);
    let env = dev.ready();
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    signal(env.pids[0], Signal::KILL);
    dev.until("another process", |dev| {
        Env::read(&dev.folder).filter(|now| now.pids[0] != 0 && now.pids[0] != env.pids[0])
    });
    dev.until("an answer", |_| {
        let request = http().get(format!("{}/{FILE}", env.nodes[0]));
        let answer = request.header("PRIVATE-TOKEN", &env.token).send().ok()?;
        answer.status().is_success().then_some(())
    });
    dev.stop_cleanly();
}

#[test]
fn nodes_end_with_the_process_that_runs_them() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    signal(dev.child.id() as i32, Signal::KILL);
    dev.until("end of the node", |_| (!runs(env.pids[0])).then_some(()));
    drop(dev);
    // What was killed could not take this away.
    std::fs::remove_file(folder.join("dev.env")).unwrap();
    // The folder is free again, and whole.
    let mut dev = Dev::start(&folder, &[]);
    assert_eq!(dev.ready().token, env.token);
    dev.stop_cleanly();
}

#[test]
fn a_set_up_that_was_interrupted_starts_over() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0"]);
    dev.until("a second node", |dev| {
        dev.folder.join("node-2").exists().then_some(())
    });
    drop(dev);
    assert!(!folder.join("root.token").exists(), "the set-up was not over");
    let mut dev = Dev::start(&folder, &["--port", "0", "--nodes", "1"]);
    let env = dev.ready();
    assert_eq!(env.nodes.len(), 1);
    assert!(put(&env.nodes[0], &env.token, "hello").is_success());
    dev.stop_cleanly();
}

#[test]
fn what_is_in_the_way_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = command(&folder, &["--nodes", "1", "--port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("next:"),
        "{said}"
    );
    drop(taken);
    let mut dev = Dev::start(&folder, &["--nodes", "1", "--port", "0"]);
    dev.ready();
    let refused = command(&folder, &[]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.contains(&format!("in use by process {}", dev.child.id())),
        "{said}"
    );
}

#[test]
fn a_node_that_was_removed_is_left_out_from_then_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut dev = Dev::start(&folder, &["--port", "0", "--respawn"]);
    dev.ready();
    let (_, status) = cairn(&dev, &["cluster", "status", "-o", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let last = status["nodes"][2]["node"].to_string();
    for command in ["drain", "remove"] {
        let (code, printed) = cairn(&dev, &["cluster", command, &last]);
        assert_eq!(code, 0, "{printed}");
    }
    let two = |dev: &mut Dev| Env::read(&dev.folder).filter(|env| env.nodes.len() == 2);
    let env = dev.until("dev.env of two nodes", two);
    assert!(dev.printed().contains("was removed from the cluster"));
    assert!(put(&env.nodes[1], &env.token, "hello").is_success());
    dev.stop_cleanly();

    let mut dev = Dev::start(&folder, &[]);
    let env = dev.ready();
    assert_eq!(env.nodes.len(), 2);
    assert!(dev.printed().contains("was removed from the cluster"));
    assert_eq!(get(&env.nodes[0], &env.token), "hello");
    dev.stop_cleanly();
}
