//! curl: what scripts do without a client of images, with Basic credentials and by the token
//! flow, each request at another node.

use super::*;

/// An answer, with its head.
struct Answer {
    status: String,
    location: String,
    body: Vec<u8>,
}

impl Desk {
    /// A request to one of the nodes.
    async fn curl(&self, node: usize, credentials: &str, arguments: &[&str], target: &str) -> Answer {
        let url = match target.starts_with('/') {
            true => format!("{}{target}", self.cluster.url(node)),
            // Where an upload goes on may be told with the host; another node is asked.
            false => {
                let path = target.splitn(4, '/').nth(3).unwrap();
                format!("{}/{path}", self.cluster.url(node))
            }
        };
        let common = ["-sS", "-D", "head", "-o", "body", "-w", "%{http_code}"];
        let who: Vec<&str> = match credentials {
            "" => Vec::new(),
            bearer if bearer.starts_with("Authorization") => vec!["-H", bearer],
            basic => vec!["-u", basic],
        };
        let ran = self.go(&[&common[..], &who, arguments, &[&url]].concat()).await;
        let head = String::from_utf8(self.read("head")).unwrap();
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location")
                .then(|| value.trim().to_owned())
        });
        Answer {
            status: ran.stdout,
            location: location.unwrap_or_default(),
            body: self.read("body"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pushes_in_chunks_through_all_nodes_with_basic_and_with_a_token() {
    let curl = Desk::new(Client::of_system("curl")).await;
    let basic = format!("root:{}", curl.cluster.token);
    let image = format!("acme/demo/{}/app", curl.place);
    let scope = format!("repository:{image}:pull,push");
    let ask = format!("/jwt/auth?service=container_registry&scope={scope}");
    let answer = curl.curl(0, &basic, &[], &ask).await;
    let token: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let bearer = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());

    for (turn, credentials) in [&basic, &bearer].into_iter().enumerate() {
        let whole = content(&format!("curl {turn}"));
        let digest = format!("sha256:{}", HEXLOWER.encode(&sha2::Sha256::digest(&whole)));
        curl.write("first", &whole[..300_000]);
        curl.write("second", &whole[300_000..]);
        let uploads = format!("/v2/{image}/blobs/uploads/");
        let begun = curl.curl(turn, credentials, &["-X", "POST"], &uploads).await;
        assert_eq!(begun.status, "202");
        let send = ["-X", "PATCH", "-H", "Content-Type: application/octet-stream"];
        let first = [
            &send[..],
            &["-H", "Content-Range: 0-299999", "--data-binary", "@first"],
        ]
        .concat();
        let sent = curl.curl(turn + 1, credentials, &first, &begun.location).await;
        assert_eq!(sent.status, "202");
        // The same again does not follow what is there.
        let again = curl.curl(turn, credentials, &first, &sent.location).await;
        assert_eq!(again.status, "416");
        let join = if sent.location.contains('?') { '&' } else { '?' };
        let finish = format!("{}{join}digest={}", sent.location, digest.replace(':', "%3A"));
        let rest = ["-X", "PUT", "--data-binary", "@second"];
        let node = (turn + 2) % 3;
        let done = curl.curl(node, credentials, &rest, &finish).await;
        assert_eq!(done.status, "201", "{}", String::from_utf8_lossy(&done.body));
        for node in 0..3 {
            let target = format!("/v2/{image}/blobs/{digest}");
            let there = curl.curl(node, credentials, &[], &target).await;
            assert_eq!(there.status, "200");
            assert!(there.body == whole);
            let part = curl
                .curl(node, credentials, &["-r", "299990-300009"], &target)
                .await;
            assert_eq!(
                (part.status.as_str(), part.body.as_slice()),
                ("206", &whole[299_990..300_010])
            );
        }
    }
    let nobody = curl.curl(0, "", &[], "/v2/").await;
    assert_eq!(nobody.status, "401");
    let wrong = curl.curl(1, "root:wrong", &[], "/v2/").await;
    assert_eq!(wrong.status, "401");
}
