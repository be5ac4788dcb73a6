//! Attestations, sent by Ruby's library for HTTP as `gem push --attestation` of RubyGems 3.6 and later has it send
//! them: that of the installed version may not know the option yet.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::formats::attested::tests::{around, of_file, statement};

/// Pushes a gem with files that hold attestations each, as they are.
const PUSH: &str = "\
require 'net/http'
host, key, gem, *attestations = ARGV
request = Net::HTTP::Post.new(URI(host + '/api/v1/gems'))
list = '[' + attestations.map { |file| File.binread(file) }.join(',') + ']'
request.set_form([
  ['gem', File.binread(gem), { filename: gem, content_type: 'application/octet-stream' }],
  ['attestations', list, { content_type: 'application/json' }]
], 'multipart/form-data')
request['Authorization'] = key
uri = request.uri
response = Net::HTTP.start(uri.host, uri.port) { |http| http.request(request) }
puts \"#{response.code} #{response.body}\"
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attested_of_a_gem_is_found_beside_it() {
    let ruby = Desk::with("ruby").await;
    let name = unique("attested").replace('-', "_");
    let file = ruby.build(&name, "1.0.0", "").await;
    let sha256 = Sha256::digest(ruby.read(&file));
    let subject = json!([{"name": file, "digest": {"sha256": HEXLOWER.encode(&sha256)}}]);
    let bundles = [
        around(&statement("https://slsa.dev/provenance/v1", &subject)),
        of_file(&sha256),
    ];
    ruby.write(
        "a.sigstore.json",
        serde_json::to_string_pretty(&bundles[0]).unwrap(),
    );
    ruby.write("b.sigstore.json", bundles[1].to_string());
    ruby.write(
        "other.sigstore.json",
        of_file(&Sha256::digest("other")).to_string(),
    );
    let (host, key) = (ruby.host(0), &ruby.cluster.token);
    let push = ["-e", PUSH, "--", &host, key, &file];
    ruby.ok(ruby.home(), &[&push[..], &["other.sigstore.json"]].concat())
        .await
        .says("422 an attestation is about other bytes than those of the gem");
    let both = [&push[..], &["a.sigstore.json", "b.sigstore.json"]].concat();
    ruby.ok(ruby.home(), &both)
        .await
        .says(&format!("200 Successfully registered gem: {name} (1.0.0)"));
    ruby.ok(ruby.home(), &both)
        .await
        .says(&format!("200 Gem was already pushed: {name} (1.0.0)"));
    let path = format!("api/v1/attestations/{name}-1.0.0.json");
    ruby.curl(&path, &ruby.read, &["-o", "served.json"])
        .await
        .says("200");
    let served: Value = serde_json::from_slice(&ruby.read("served.json")).unwrap();
    assert_eq!(served, json!(bundles));

    // Who does not care for them installs the gem as any other.
    let source = ruby.source(1, "projects/1", &ruby.read);
    let install = [
        "install",
        &name,
        "--no-document",
        "--clear-sources",
        "--source",
        &source,
    ];
    let gem = at_home(Client::of_system("gem"));
    gem.ok(&gem.folder("work"), &install)
        .await
        .says("1 gem installed");
}
