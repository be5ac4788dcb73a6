//! The OCI's own conformance suite, against each node and against all of them in turn.

use super::{Client, Fleet};

async fn judge(host: &str, token: &str, number: usize, version: &str) {
    let client = Client::built("conformance");
    let repository = |name: &str| format!("acme/demo/conformance-{version}-{number}/{name}");
    let (one, other) = (repository("one"), repository("other"));
    let environment = [
        ("OCI_REGISTRY", host),
        ("OCI_TLS", "disabled"),
        ("OCI_REPO1", one.as_str()),
        ("OCI_REPO2", other.as_str()),
        ("OCI_USERNAME", "root"),
        ("OCI_PASSWORD", token),
        ("OCI_VERSION", version),
    ];
    let output = client.output(&[], &environment).await;
    let report = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{host}, version {version}:\n{report}\n{complaints}"
    );
    assert!(report.contains("OCI Conformance Result: Pass"), "{report}");
    // Mounting without a source is the one thing that a registry may leave to the client.
    for (outcome, most) in [("FAIL", 0), ("Error", 0), ("Skip", 2)] {
        let count = report.lines().find_map(|line| {
            let (name, count) = line.split_once(':')?;
            let is_total = name.trim().trim_end_matches('.') == outcome && name.contains("..");
            is_total.then(|| count.trim().parse::<u32>().unwrap())
        });
        assert!(
            count.is_some_and(|count| count <= most),
            "{outcome} {count:?}: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the OCI conformance suite, which is not in every mirror of Go modules"]
async fn the_suite_passes_against_each_node_and_all_in_turn() {
    let fleet = Fleet::start().await;
    for (number, host) in fleet.ways().enumerate() {
        judge(host, &fleet.token, number, "1.1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the OCI conformance suite, which is not in every mirror of Go modules"]
async fn the_suite_of_the_next_version_passes() {
    let fleet = Fleet::start().await;
    judge(&fleet.balanced, &fleet.token, 0, "dev").await;
}
