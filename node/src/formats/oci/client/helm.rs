//! helm.

use super::*;

const PLAIN: &str = "--plain-http";
const PACKAGE: &str = "web-1.2.3+build.4.tgz";

async fn helm() -> Desk {
    let helm = Desk::new(Client::kept("go/bin/helm")).await;
    helm.write(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.2.3+build.4\n",
    );
    helm.write(
        "chart/templates/note.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: note\n",
    );
    helm.go(&["package", "chart"]).await;
    helm
}

impl Desk {
    fn charts(&self) -> String {
        format!("oci://{}", self.name("/charts"))
    }

    async fn helm_login(&self, name: &str, token: &str) {
        let login = ["registry", "login", PLAIN, self.host(), "-u", name, "-p", token];
        self.go(&login).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_pushes_and_pulls_charts() {
    let helm = helm().await;
    helm.helm_login("root", &helm.cluster.token).await;
    helm.go(&["push", PLAIN, PACKAGE, &helm.charts()]).await;
    let chart = format!("{}/web", helm.charts());
    let version = ["--version", "1.2.3+build.4"];
    helm.go(&[&["show", "chart", PLAIN, &chart][..], &version].concat())
        .await
        .says("name: web");
    helm.go(&["template", PLAIN, "x", &chart, "--version", "~1.2.0"])
        .await
        .says("ConfigMap");
    let packaged = helm.read(PACKAGE);
    helm.folder("pulled");
    helm.go(&[&["pull", PLAIN, &chart, "-d", "pulled"][..], &version].concat())
        .await;
    assert_eq!(helm.read(format!("pulled/{PACKAGE}")), packaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_says_why_it_was_refused() {
    let helm = helm().await;
    let host = helm.host();
    let wrong = ["registry", "login", PLAIN, host, "-u", "root", "-p", "wrong"];
    helm.refused(&wrong, 1, &["401"]).await;
    let push = ["push", PLAIN, PACKAGE, &helm.charts()];
    helm.refused(&push, 1, &["401"]).await;
    helm.helm_login("deploy", &helm.reading().await).await;
    helm.refused(&push, 1, &["403"]).await;
    let chart = format!("{}/web", helm.charts());
    let show = ["show", "chart", PLAIN, &chart, "--version", "1.2.3"];
    helm.refused(&show, 1, &["not found"]).await;
}
