//! `gem`: building, pushing, finding, installing, updating and yanking.

use std::path::Path;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn gems_are_pushed_found_installed_and_updated() {
    let gem = Desk::with("gem").await;
    let name = unique("acme").replace('-', "_");
    let source = gem.source(1, "projects/1", &gem.read);
    let from = ["--clear-sources", "--source", source.as_str()];
    let host = gem.host(0);
    gem.keep_keys(&[(&host, &gem.cluster.token)]);
    let first = gem.build(&name, "1.0.0", "").await;
    gem.go(&["push", &format!("../{first}"), "--host", &host])
        .await
        .says(&format!("Successfully registered gem: {name} (1.0.0)"));

    let install = ["install", &name, "--no-document"];
    gem.go(&[&install[..], &from].concat())
        .await
        .says("1 gem installed");
    gem.require(&name).await.says(&format!("{name} is 1.0.0"));

    // By an index that is older than the compact one.
    gem.go(&[&["list", "--remote", "--exact", &name][..], &from].concat())
        .await
        .says(&format!("{name} (1.0.0)"));
    gem.go(&[&["specification", "--remote", &name, "summary"][..], &from].concat())
        .await
        .says(&format!("Tells {name}"));

    // A higher one that depends on another gem, through a third node, and one that leads to the next.
    let base = format!("{name}_base");
    gem.publish(2, &base, "0.5.0", "").await;
    let needs = format!("s.add_dependency '{base}', '>= 0.5', '< 2'");
    gem.publish(2, &name, "1.1.0", &needs).await;
    gem.publish(1, &name, "2.0.0.rc1", "").await;
    gem.go(&[&["outdated"][..], &from].concat())
        .await
        .says(&format!("{name} (1.0.0 < 1.1.0)"));
    gem.go(&[&["update", &name, "--no-document"][..], &from].concat())
        .await
        .says(&format!("Successfully installed {base}-0.5.0"));
    gem.require(&name).await.says(&format!("{name} is 1.1.0"));
    let all = ["search", "--remote", "--all", "--prerelease", "--versions", &name];
    gem.go(&[&all[..], &from].concat())
        .await
        .says("2.0.0.rc1, 1.1.0, 1.0.0");
    let fetch = ["fetch", &name, "--version", "1.0.0"];
    gem.go(&[&fetch[..], &from].concat()).await;
    assert_eq!(gem.read(format!("work/{first}")), gem.read(&first));
    std::fs::remove_file(gem.home().join("work").join(&first)).unwrap();
    gem.go(&[&["install", &name, "--pre", "--no-document"][..], &from].concat())
        .await
        .says(&format!("Successfully installed {name}-2.0.0.rc1"));

    // What is yanked is found by nobody any more.
    gem.go(&["yank", &name, "--version", "1.1.0", "--host", &host])
        .await
        .says(&format!("Successfully deleted gem: {name} (1.1.0)"));
    let exact = ["install", &name, "--version", "1.1.0", "--no-document"];
    gem.refused(
        &[&exact[..], &from].concat(),
        NOT_FOUND,
        &["Could not find a valid gem"],
    )
    .await;
    // `gem` cannot take that back; a request can.
    let restored = ["-X", "PUT", "-d", &format!("gem_name={name}&version=1.1.0")];
    gem.curl("api/v1/gems/unyank", &gem.cluster.token, &restored)
        .await
        .says("Successfully restored gem")
        .says("200");
    gem.go(&[&exact[..], &from].concat())
        .await
        .says("1 gem installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gem_for_the_machine_is_installed_of_those_for_several() {
    let gem = Desk::with("gem").await;
    let name = unique("native").replace('-', "_");
    let platform = "s.platform = Gem::Platform.new('x86_64-linux')";
    for (version, more) in [
        ("1.0.0", ""),
        ("1.0.0", platform),
        ("1.0.0", "s.platform = 'java'"),
    ] {
        gem.publish(0, &name, version, more).await;
    }
    let source = gem.source(2, "projects/1", &gem.read);
    let from = ["--clear-sources", "--source", source.as_str(), "--no-document"];
    let machine = Client::of_system("ruby")
        .ok(gem.home(), &["-e", "print Gem::Platform.local.to_s"])
        .await;
    let expected = match machine.stdout.starts_with("x86_64-linux") {
        true => format!("{name}-1.0.0-x86_64-linux"),
        false => format!("{name}-1.0.0\n"),
    };
    gem.go(&[&["install", &name][..], &from].concat())
        .await
        .says(&expected);
    let yank = [
        "yank",
        &name,
        "-v",
        "1.0.0",
        "--platform",
        "java",
        "--host",
        &gem.host(1),
    ];
    let signed_in = Client::of_system("gem").with("GEM_HOST_API_KEY", &gem.cluster.token);
    signed_in
        .ok(gem.home(), &yank)
        .await
        .says(&format!("{name} (1.0.0-java)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_and_the_instance_are_sources_that_only_read() {
    let gem = Desk::with("gem").await;
    let name = unique("shared").replace('-', "_");
    gem.publish(0, &name, "1.0.0", "").await;
    for of in ["groups/acme/-", "."] {
        let source = gem.source(1, of, &gem.cluster.root).replace("/./", "/");
        let folder = gem.folder(&of.replace('/', "_"));
        let install = [
            "install",
            &name,
            "--no-document",
            "--clear-sources",
            "--source",
            &source,
        ];
        let into = ["--install-dir", folder.to_str().unwrap()];
        gem.go(&[&install[..], &into].concat())
            .await
            .says("1 gem installed");
        let host = source.replace(&format!("__token__:{}@", gem.cluster.root), "");
        let file = format!("{name}-1.0.0.gem");
        let signed_in = Client::of_system("gem").with("GEM_HOST_API_KEY", &gem.cluster.root);
        let push = ["push", &file, "--host", host.trim_end_matches('/')];
        let parts = ["gems are pushed to a project"];
        signed_in.fails(gem.home(), &push, FAILED, &parts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gem_tells_owners_and_signs_in() {
    let gem = Desk::with("gem").await;
    let name = unique("owned").replace('-', "_");
    gem.publish(0, &name, "1.0.0", "").await;
    let host = gem.host(1);
    // It asks on a terminal alone. The password is the token, which is kept for this host then.
    let terminal = Desk::with("script").await;
    let answers = [
        ("Email:", "ann@acme.example"),
        ("Password:", gem.cluster.token.as_str()),
        ("API Key name", "tests"),
    ];
    let scopes = [
        "index_rubygems",
        "push_rubygem",
        "yank_rubygem",
        "add_owner",
        "remove_owner",
        "access_webhooks",
        "show_dashboard",
    ];
    let scopes = scopes.map(|scope| (scope, "n"));
    // By `--host`, this version asks the public host first how it wants to be signed in to.
    let sign_in = format!("RUBYGEMS_HOST={host} gem signin");
    terminal
        .answers(
            terminal.home(),
            &["-qec", &sign_in, "/dev/null"],
            &[&answers[..], &scopes].concat(),
        )
        .await;
    let kept = [".gem/credentials", ".local/share/gem/credentials"];
    let kept = kept.map(|file| std::fs::read_to_string(terminal.home().join(file)).unwrap_or_default());
    assert!(kept.concat().contains(&gem.cluster.token), "{kept:?}");
    gem.keep_keys(&[(&host, &gem.cluster.token)]);
    gem.go(&["owner", &name, "--host", &host])
        .await
        .says(&format!("Owners for gem: {name}"));
    gem.go(&["owner", &name, "--host", &host, "--add", "root"])
        .await
        .says("Owner added successfully")
        .says("- root");
    gem.refused(
        &["owner", &name, "--host", &host, "--add", "nobody-here"],
        FAILED,
        &["there is no user `nobody-here`"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gem_says_why_it_was_refused() {
    let gem = Desk::with("gem").await;
    let name = unique("refused").replace('-', "_");
    let host = gem.host(0);
    let file = gem.build(&name, "1.0.0", "").await;
    let pushed = format!("../{file}");
    let push = ["push", &pushed, "--host", &host];
    // Without a token that is known, and with one that may not push.
    gem.keep_keys(&[(&host, WRONG_TOKEN)]);
    gem.refused(&push, FAILED, &["401 Unauthorized"]).await;
    gem.keep_keys(&[(&host, &gem.read)]);
    gem.refused(&push, FAILED, &["403"]).await;
    gem.keep_keys(&[(&host, &gem.cluster.token)]);
    gem.go(&push).await.says("Successfully registered gem");
    // The same again, and something else.
    gem.go(&push).await.says("Gem was already pushed");
    let other = gem.build(&name, "1.0.0", "s.description = 'other'").await;
    gem.refused(
        &["push", &format!("../{other}"), "--host", &host],
        FAILED,
        &["Repushing of gem versions is not allowed"],
    )
    .await;
    let again = gem.build(&name.replace('_', "-"), "2.0.0", "").await;
    gem.refused(
        &["push", &format!("../{again}"), "--host", &host],
        FAILED,
        &["is too close to"],
    )
    .await;

    // Nobody who is not signed in, or nothing that is there.
    let install = ["install", &name, "--no-document", "--clear-sources", "--source"];
    let open = format!("{host}/");
    gem.refused(&[&install[..], &[&open]].concat(), NOT_FOUND, &["401"])
        .await;
    let wrong = gem.source(1, "projects/1", WRONG_TOKEN);
    gem.refused(&[&install[..], &[&wrong]].concat(), NOT_FOUND, &["401"])
        .await;
    let source = gem.source(1, "projects/1", &gem.read);
    let missing = [
        "install",
        "nothing_like_it",
        "--clear-sources",
        "--source",
        &source,
    ];
    gem.refused(&missing, NOT_FOUND, &["Could not find a valid gem"])
        .await;
    gem.go(&["yank", &name, "-v", "9.0.0", "--host", &host])
        .await
        .says("could not be found");

    // `gem push` looks into what it sends; what it would not send, curl does.
    gem.write("broken.gem", b"broken");
    let hostile = crate::formats::rubygems::artifact::tests::gem_with("--- !ruby/object:Kernel {}\n", b"");
    gem.write("hostile.gem", hostile);
    let mut changed = gem.read(&file);
    // In the middle of the files.
    let at = changed.len() / 2;
    changed[at] ^= 1;
    gem.write("changed.gem", changed);
    for (file, part) in [
        ("broken.gem", "the gem"),
        ("hostile.gem", "no gem needs"),
        ("changed.gem", "the gem"),
    ] {
        let sent = ["-X", "POST", "--data-binary", &format!("@{file}")];
        gem.curl("api/v1/gems", &gem.cluster.token, &sent)
            .await
            .says(part)
            .says("422");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ruby_reads_in_the_indexes_is_what_is_in_the_gem() {
    let ruby = Desk::with("ruby").await;
    let name = unique("marshal").replace('-', "_");
    let more = "s.description = \"q\\n\\u00e9\"\n  s.email = 'a@acme.example'\n  s.platform = 'x86_64-linux'\n  \
        s.metadata = { 'source_code_uri' => 'https://acme.example/src' }\n  s.add_dependency 'zeta', '>= 1.0', '< 3'\n  \
        s.add_development_dependency 'rake', '~> 13.0'\n  s.add_dependency 'alpha', '!= 2.0.a'";
    ruby.publish(0, &name, "1.0.0.rc1", more).await;
    let full = format!("{name}-1.0.0.rc1-x86_64-linux");
    for (path, file) in [
        (format!("quick/Marshal.4.8/{full}.gemspec.rz"), "spec.rz"),
        ("prerelease_specs.4.8.gz".into(), "specs.gz"),
        (format!("info/{name}"), "info"),
    ] {
        ruby.curl(&path, &ruby.read, &["-o", file]).await.says("200");
    }
    let script = format!(
        "require 'rubygems/package'; require 'zlib'\n\
         ours = Marshal.load(Zlib::Inflate.inflate(File.binread('spec.rz')))\n\
         theirs = Marshal.load(Marshal.dump(Gem::Package.new('{full}.gem').spec))\n\
         fields = %i[name version platform original_platform summary description authors email homepage licenses metadata \
         date required_ruby_version required_rubygems_version dependencies rubygems_version full_name]\n\
         fields.each {{ |f| a, b = ours.send(f), theirs.send(f); raise \"#{{f}}: #{{a.inspect}} #{{b.inspect}}\" unless a == b }}\n\
         tuple = Marshal.load(Zlib::GzipReader.open('specs.gz').read).find {{ |t| t[0] == '{name}' }}\n\
         raise tuple.inspect unless tuple == ['{name}', Gem::Version.new('1.0.0.rc1'), 'x86_64-linux']\n\
         line = File.read('info').lines.last.chomp\n\
         version, platform, needs, = Gem::Resolver::APISet::GemParser.new.parse(line)\n\
         raise line unless [version, platform] == ['1.0.0.rc1', 'x86_64-linux']\n\
         raise needs.inspect unless needs == [['alpha', ['!= 2.0.a']], ['zeta', ['< 3', '>= 1.0']]]\n\
         puts 'the same'"
    );
    ruby.ok(ruby.home(), &["-e", &script]).await.says("the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby_reads_the_indexes_that_are_kept_as_examples() {
    let ruby = Desk::with("ruby").await;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formats/rubygems/testdata");
    let script = "require 'rubygems/package'; require 'stringio'\n\
        kept = ->(file) { File.read(file + '.base64').unpack1('m') }\n\
        specs = Marshal.load(kept['specs.4.8'])\n\
        raise specs.inspect unless specs.map { |n, v, p| \"#{n} #{v} #{p}\" } == \
        ['acme_foo 1.0.0 ruby', 'acme_foo 1.0.0 x86_64-linux', 'web 0.1 java']\n\
        spec = Marshal.load(kept['acme_foo-1.0.0.gemspec'])\n\
        theirs = Marshal.load(Marshal.dump(Gem::Package.new(StringIO.new(kept['acme_foo-1.0.0.gem'])).spec))\n\
        %i[name version platform summary description authors email homepage licenses metadata date dependencies \
        required_ruby_version].each { |f| raise f.to_s unless spec.send(f) == theirs.send(f) }\n\
        parser = Gem::Resolver::APISet::GemParser.new\n\
        lines = File.read('info').lines.drop(1).map { |line| parser.parse(line.chomp) }\n\
        raise lines.inspect unless lines.map(&:first) == ['1.0.0', '1.0.0']\n\
        puts 'all are read'";
    ruby.ok(&kept, &["-e", script]).await.says("all are read");
}
