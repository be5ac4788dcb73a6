//! The OCI's own conformance suite, against each node and against all of them in turn.

use super::*;

/// The workflows of the specification, and what is in the names of the suite's checks of each.
const WORKFLOWS: [(&str, &[&str]); 4] = [
    ("pull", &["/pull/"]),
    ("push", &["/push/"]),
    ("content discovery", &["/tag-list", "/referrers"]),
    ("content management", &["/delete/"]),
];

async fn judge(host: &str, version: &str) {
    let suite = Desk::new(Client::kept("go/bin/conformance")).await;
    let repository = |name: &str| format!("acme/demo/{}/{name}", suite.place);
    let client = Client::kept("go/bin/conformance")
        .with("OCI_REGISTRY", host)
        .with("OCI_TLS", "disabled")
        .with("OCI_REPO1", repository("one"))
        .with("OCI_REPO2", repository("other"))
        .with("OCI_USERNAME", "root")
        .with("OCI_PASSWORD", &suite.cluster.token)
        // What the specification allows and the suite leaves out by default.
        .with("OCI_API_BLOBS_UPLOAD_CANCEL", "true")
        .with("OCI_VERSION", version);
    let ran = client.ok(client.home(), &[]).await;
    ran.says("OCI Conformance Result: Pass");
    let checks = ran.lines().into_iter().filter_map(|line| {
        let (name, outcome) = line.rsplit_once(": ")?;
        name.starts_with("OCI Conformance Test/")
            .then_some((name, outcome))
    });
    let checks: Vec<_> = checks.collect();
    for (name, outcome) in &checks {
        // Mounting without a source is the one thing that a registry may leave to the client.
        let may_skip = name.ends_with("/blob-mount-anonymous");
        assert!(*outcome == "Pass" || *outcome == "Skip" && may_skip, "{ran}");
    }
    for (workflow, marks) in WORKFLOWS {
        let of_workflow = |name: &str| marks.iter().any(|mark| name.contains(mark));
        let count = checks.iter().filter(|(name, _)| of_workflow(name)).count();
        assert!(count > 0, "nothing was checked of {workflow}: {ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the OCI conformance suite, which is not in every mirror of Go modules"]
async fn the_suite_passes_against_each_node_and_all_in_turn() {
    let ways = cluster().await.ways();
    futures::future::join_all(ways.map(|host| judge(host, "1.1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the OCI conformance suite, which is not in every mirror of Go modules"]
async fn the_suite_of_the_next_version_passes() {
    judge(&cluster().await.balanced, "dev").await;
}
