//! Clients that ask too often, and what others notice of it.

use std::num::NonZeroU32;

use cairn_cluster::Seams;
use tokio::time::Duration;

use super::*;
use crate::formats::npm;
use crate::http::settings::{HttpSettings, RateLimits};
use crate::testing::Answer;

/// A packument of a public project, which is given again from memory.
const PACKUMENT: &str = "/api/v4/projects/2/packages/npm/hello";

const FILE: &str = "/api/v4/projects/1/packages/generic/p/1/f";

async fn node(reads: u32, changes: u32, anonymous: u32) -> TestNode {
    TestNode::with(HttpSettings {
        rates: RateLimits {
            reads: NonZeroU32::new(reads),
            changes: NonZeroU32::new(changes),
            anonymous: NonZeroU32::new(anonymous),
            burst: Duration::from_secs(60),
        },
        ..HttpSettings::default()
    })
    .await
}

/// What a client is told of where it stands.
fn standing(answer: &Answer) -> [&str; 4] {
    ["limit", "name", "observed", "remaining"].map(|what| answer.header(&format!("ratelimit-{what}")))
}

#[tokio::test]
async fn a_user_who_asks_too_often_is_told_so_and_others_go_on() {
    let node = node(3, 0, 0).await;
    let before = Seams::system().clock.now().0 / 1000;
    let user = |caller| node.get("/api/v4/user").by(caller).send();
    for [observed, remaining] in [["1", "2"], ["2", "1"], ["3", "0"]] {
        let answer = user("developer").await.expect(200);
        assert_eq!(standing(&answer), ["3", "cairn_reads", observed, remaining]);
        assert_eq!(answer.header("retry-after"), "");
    }
    let refused = user("developer").await.expect(429);
    assert_eq!(standing(&refused), ["3", "cairn_reads", "4", "0"]);
    assert_eq!(refused.header("retry-after"), "20");
    let reset: u64 = refused.header("ratelimit-reset").parse().unwrap();
    assert!((before + 19..before + 60).contains(&reset), "{reset}");
    assert_eq!(
        refused.json()["message"],
        "429 Too Many Requests: try again later"
    );

    // What is not limited, or not for them.
    user("maintainer").await.expect(200);
    node.put(FILE).by("developer").body("x").send().await.expect(201);
    node.get(FILE).send().await.expect(401);
    for _ in 0..5 {
        node.get("/-/health").by("developer").send().await.expect(200);
        user("root").await.expect(200);
    }
}

#[tokio::test]
async fn formats_refuse_in_their_own_words() {
    let node = node(1, 0, 0).await;
    node.get("/v2/").by("developer").send().await.expect(200);
    let refused = node.get("/v2/").by("developer").send().await.expect(429);
    assert_eq!(refused.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    let refused = node.get(PACKUMENT).by("developer").send().await.expect(429);
    assert!(refused.json()["error"].is_string(), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "60");
}

#[tokio::test]
async fn tokens_of_one_user_count_together_and_deploy_tokens_by_themselves() {
    let node = node(2, 0, 0).await;
    // Both are the maintainer's.
    node.get("/api/v4/user").by("maintainer").send().await.expect(200);
    node.get("/api/v4/user").by("reading").send().await.expect(200);
    node.get("/api/v4/user").by("reading").send().await.expect(429);
    for _ in 0..2 {
        node.get(FILE).by("deploy-read").send().await.expect(404);
    }
    node.get(FILE).by("deploy-read").send().await.expect(429);
    node.get(FILE).by("deploy-write").send().await.expect(404);
}

#[tokio::test]
async fn changes_count_by_themselves() {
    let node = node(0, 2, 0).await;
    for _ in 0..2 {
        node.put(FILE).by("developer").body("x").send().await.expect(201);
        node.get(FILE).by("developer").send().await.expect(200);
    }
    let refused = node.put(FILE).by("developer").body("x").send().await.expect(429);
    assert_eq!(standing(&refused)[1], "cairn_changes");
    node.get(FILE).by("developer").send().await.expect(200);
}

#[tokio::test]
async fn who_sends_no_credentials_that_hold_counts_by_address() {
    let node = node(0, 0, 2).await;
    let asked = |address| node.get(FILE).from(address).send();
    asked("2001:db8:0:1::1").await.expect(401);
    // From the same network; and credentials that do not hold are nobody's.
    let wrong = node.get(FILE).from("2001:db8:0:1:ffff::2").bearer("cnp-wrong");
    wrong.send().await.expect(401);
    let refused = asked("2001:db8:0:1::3").await.expect(429);
    assert_eq!(standing(&refused), ["2", "cairn_anonymous", "3", "0"]);
    asked("2001:db8:0:2::1").await.expect(401);
    asked("192.0.2.1").await.expect(401);
    // Whoever signs in does not pay for others behind the address.
    let signed_in = node.get(FILE).from("2001:db8:0:1::1").by("developer");
    signed_in.send().await.expect(404);
}

#[tokio::test]
async fn answers_from_memory_count_for_whoever_gets_them() {
    let node = node(3, 0, 2).await;
    npm::tests::furnish(&node, 2).await;
    let repeated = || node.front().answers().repeated();
    let asked = |address| node.get(PACKUMENT).from(address).send();
    asked("192.0.2.1").await.expect(200);
    let answer = asked("192.0.2.1").await.expect(200);
    assert_eq!(standing(&answer)[3], "0");
    assert_eq!(repeated(), 1);
    let refused = asked("192.0.2.1").await.expect(429);
    assert!(refused.json()["error"].is_string(), "{refused:?}");
    asked("192.0.2.2").await.expect(200);
    assert_eq!(repeated(), 2);

    for _ in 0..3 {
        node.get(PACKUMENT).by("developer").send().await.expect(200);
    }
    node.get(PACKUMENT).by("developer").send().await.expect(429);
    assert_eq!(repeated(), 4);
}

#[tokio::test]
async fn without_limits_nobody_is_counted() {
    let node = TestNode::start().await;
    let answer = node.get("/api/v4/user").by("developer").send().await.expect(200);
    assert_eq!(standing(&answer), [""; 4]);
}
