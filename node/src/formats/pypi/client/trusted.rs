//! uv in a job, which has no secret but what its service says of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::testing::issuer::TestIssuer;

/// What ends TLS before the cluster, as `localhost` on a port, and the certificate of whoever
/// vouches for it.
async fn with_tls(cluster: &'static TestCluster) -> (u16, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let own = own.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut cluster = TcpStream::connect(&cluster.balanced).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut cluster).await
            });
        }
    });
    (port, authority.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn uv_publishes_from_a_job_without_a_secret() {
    let cluster = cluster().await;
    let issuer = TestIssuer::start().await;
    issuer.run_job(json!({"repository": "acme/demo", "environment": "release"}));
    let (port, authority) = with_tls(cluster).await;
    let (name, builder) = (unique("trusted"), client("twine-7", "python"));
    let wheel = wheel_in(&build(&builder, &name, "1.0", &[]).await);
    let uv = client("uv", "uv");
    uv.write("authority.pem", authority);
    let authority = uv.home().join("authority.pem");
    let uv = uv
        .with("SSL_CERT_FILE", authority)
        .with("CI", "true")
        .with("GITHUB_ACTIONS", "true")
        .with(
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            format!("{}/token?x=1", issuer.url()),
        )
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t");
    let registry = format!("https://localhost:{port}/api/v4/projects/1/packages/pypi");
    let publish = [
        "publish",
        "--trusted-publishing",
        "always",
        "--publish-url",
        &registry,
        text(&wheel),
    ];
    uv.fails(builder.home(), &publish, 2, &["no trust rule"]).await;
    let rule = json!({
        "name": name,
        "issuer": issuer.url(),
        "audience": "localhost",
        "claims": {"repository": "acme/demo", "environment": "release"},
        "scopes": ["read_package_registry", "write_package_registry"],
        "package_type": "pypi",
        "package_name_pattern": name,
    });
    cluster.trust(rule).await;
    uv.ok(builder.home(), &publish).await;
    let other = unique("other");
    let wheel = wheel_in(&build(&builder, &other, "1.0", &[]).await);
    let publish = [&publish[..5], &[text(&wheel)]].concat();
    uv.fails(builder.home(), &publish, 2, &["do not let it do this"])
        .await;

    let (pip, target) = (client("pip-26", "pip"), builder.folder("target"));
    let index = cluster.pypi_index(2, At::Project, &cluster.reader().await);
    let install = ["install", "--index-url", &index, "--target", text(&target), &name];
    pip.ok(builder.home(), &install).await;
    has(&target, &name, "1.0");
}
