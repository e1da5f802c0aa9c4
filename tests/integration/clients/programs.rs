//! Programs that people use, through the proxy. `make test` installs them: one that is missing
//! is a failure and no reason to skip.

use crate::support::command::run;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::programs::{Way, assert_output, command, curl, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::repository::Repository;
use crate::support::request::ALICE;
use crate::support::tls::Authority;

#[test]
fn curl_fetches_http() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    assert_output(&curl(&["-x", &proxy_url(&proxy), &url, &url]), "pagepage");
    assert_output(
        &curl(&["--http1.0", "-x", &proxy_url(&proxy), &url]),
        "page",
    );
    let bare = format!("http://{}", proxy.address);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    assert_output(
        &curl(&[&["-x", &bare, &url], code.as_slice()].concat()),
        "407",
    );
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    assert_output(
        &curl(&["--proxy-anyauth", "-U", &user, "-x", &bare, &url]),
        "page",
    );
    assert_output(&curl(&["-p", "-x", &proxy_url(&proxy), &url]), "page");
}

#[test]
fn curl_fetches_https_through_a_tunnel() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let setup = Setup::new().file("ca.pem", authority.pem());
    let ca = setup.path("ca.pem").display().to_string();
    let proxy = setup.start();
    let origin = Origin::https(identity.server(), |request| ok(&request.body));
    let url = format!("https://{}/", origin.address);
    let base = ["--cacert", &ca, "-d", "secret", &url];
    assert_output(
        &curl(&[&["-x", &proxy_url(&proxy)], base.as_slice()].concat()),
        "secret",
    );
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let bare = format!("http://{}", proxy.address);
    let anyauth = ["--proxy-anyauth", "-U", &user, "-x", &bare];
    assert_output(
        &curl(&[anyauth.as_slice(), base.as_slice()].concat()),
        "secret",
    );
    let refused = curl(&[&["-x", &bare], base.as_slice()].concat());
    assert_eq!(refused.code(), Some(56), "{}", refused.output());
    assert!(refused.stderr.contains("407"), "{}", refused.stderr);
}

#[test]
fn curl_uses_a_tls_listener() {
    let authority = Authority::new();
    let setup = Setup::new()
        .file("ca.pem", authority.pem())
        .tls(&authority.issue(&["127.0.0.1"]));
    let ca = setup.path("ca.pem").display().to_string();
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let https = format!("https://{}:{}@{}", ALICE.0, ALICE.1, proxy.secure_address());
    assert_output(&curl(&["--proxy-cacert", &ca, "-x", &https, &url]), "page");
    assert_output(
        &curl(&["--proxy-cacert", &ca, "-p", "-x", &https, &url]),
        "page",
    );
}

#[test]
fn curl_sends_and_gets_large_bodies() {
    let body = payload::bytes(20_000_000);
    let proxy = Proxy::plain();
    let origin = Origin::http(|request| ok(&request.body));
    let url = format!("http://{}/", origin.address);
    let (sent, got) = (proxy.path("sent"), proxy.path("got"));
    std::fs::write(&sent, &body).unwrap();
    let data = format!("@{}", sent.display());
    let output = got.display().to_string();
    let proxy_url = proxy_url(&proxy);
    for extra in [
        &[][..],
        &["-p"],
        &["-H", "Transfer-Encoding: chunked"],
        &["-H", "Expect:"],
    ] {
        let arguments = [
            "-x",
            &proxy_url,
            "--data-binary",
            &data,
            "-o",
            &output,
            &url,
        ];
        let outcome = curl(&[extra, arguments.as_slice()].concat());
        assert!(outcome.status.success(), "{extra:?}: {}", outcome.output());
        assert!(
            std::fs::read(&got).unwrap() == body,
            "{extra:?}: another body"
        );
        std::fs::remove_file(&got).unwrap();
    }
}

#[test]
fn wget_fetches_a_page() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("page");
    let mut command = command("wget");
    command
        .env("http_proxy", proxy_url(&proxy))
        .args(["-q", "-t", "1", "-T", "20", "--no-config", "-O", "-"])
        .arg(format!("http://{}/", origin.address));
    assert_output(&run(&mut command, ""), "page");
}

#[test]
fn python_fetches_http_and_https() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let setup = Setup::new().file("ca.pem", authority.pem());
    let ca = setup.path("ca.pem");
    let proxy = setup.start();
    let plain = Origin::ok("plain");
    let secure = Origin::https(identity.server(), |_| ok("secure"));
    let script = format!(
        "import ssl, urllib.request as u
context = ssl.create_default_context(cafile={ca:?})
proxies = u.ProxyHandler({{'http': {url:?}, 'https': {url:?}}})
opener = u.build_opener(proxies, u.HTTPSHandler(context=context))
for url in ({plain:?}, {secure:?}):
    print(opener.open(url, timeout=20).read().decode())",
        url = proxy_url(&proxy),
        plain = format!("http://{}/", plain.address),
        secure = format!("https://{}/", secure.address),
    );
    let outcome = run(command("python3").args(["-c", &script]), "");
    assert_output(&outcome, "plain\nsecure\n");
}

#[test]
fn git_clones_over_http_and_https() {
    let repository = Repository::new();
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let plain = Origin::http(repository.answer());
    let secure = Origin::https(identity.server(), repository.answer());
    let proxy = Setup::new().file("ca.pem", authority.pem()).start();
    for (scheme, origin) in [("http", &plain), ("https", &secure)] {
        let url = format!("{scheme}://{}", origin.address);
        let proxy_url = proxy_url(&proxy);
        let way = Way::Option(&proxy_url);
        let outcome = repository.clone_through(way, &proxy.path("ca.pem"), &url, scheme);
        assert!(outcome.status.success(), "{scheme}: {}", outcome.output());
        repository.assert_cloned(scheme);
    }
    assert!(!plain.requests().is_empty() && !secure.requests().is_empty());
}
