//! What programs do with the answer over a limit: they come back when it says, or tell their user which limit it is.

use crate::support::command::{is_installed, run};
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::package_index::{Index, PIP};
use crate::support::programs::{Way, assert_output, command, curl, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::repository::Repository;
use crate::support::request::ALICE;
use crate::support::zone::steady_zone;

/// A proxy with a class of each user.
fn with(class: &str) -> Proxy {
    Proxy::start(&format!(
        "limits: {{ time_zone: {}, store: {{ file: quota.redb }}, classes: [{{ name: slow, {class} }}] }}",
        steady_zone()
    ))
}

/// How often an answer was 429.
fn refused(proxy: &Proxy) -> usize {
    let records = proxy.records();
    records
        .iter()
        .filter(|record| record["status"] == 429)
        .count()
}

#[test]
fn curl_comes_back_when_the_answer_says() {
    let proxy = with("requests: 1/s, burst: 1");
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let proxy_url = proxy_url(&proxy);
    assert_output(&curl(&["-x", &proxy_url, &url]), "page");
    let outcome = curl(&["-x", &proxy_url, "--retry", "3", "-f", &url]);
    assert!(outcome.status.success(), "{}", outcome.output());
    assert_eq!(outcome.stdout, "page");
    assert!(refused(&proxy) >= 1, "the second request was at the edge");
}

/// A tunnel has no body to read: the reason phrase of the status line names the limit.
#[test]
fn curl_shows_which_limit_a_tunnel_is_over() {
    let proxy = with("new_tunnels: 1/h");
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let proxy_url = proxy_url(&proxy);
    assert_output(&curl(&["-p", "-x", &proxy_url, &url]), "page");
    let outcome = curl(&["-v", "-p", "-x", &proxy_url, &url]);
    assert_eq!(outcome.code(), Some(56), "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("429 Too Many Requests: slow.new_tunnels"),
        "{}",
        outcome.output()
    );
    assert!(
        outcome.stderr.to_lowercase().contains("retry-after: "),
        "{}",
        outcome.output()
    );
}

#[test]
fn pip_comes_back_when_the_answer_says() {
    if !is_installed(&PIP) {
        return;
    }
    let index = Index::new();
    let origin = Origin::http(index.answer());
    let proxy = with("requests: 1/s, burst: 1");
    let url = format!("http://{}", origin.address);
    let proxy_url = proxy_url(&proxy);
    let outcome = index.try_download(
        3,
        Way::Option(&proxy_url),
        &proxy.path("none.pem"),
        &url,
        "slow",
    );
    assert!(outcome.status.success(), "{}", outcome.output());
    index.assert_downloaded("slow");
    assert!(refused(&proxy) >= 1, "the file came right after the index");
}

#[test]
fn git_says_that_it_asks_too_often() {
    if !is_installed(&["git", "--version"]) {
        return;
    }
    let repository = Repository::new();
    let origin = Origin::http(repository.answer());
    let proxy = with("requests: 1/h, burst: 1");
    let url = format!("http://{}", origin.address);
    let proxy_url = proxy_url(&proxy);
    let clone = |name| {
        let way = Way::Option(&proxy_url);
        repository.clone_through(way, &proxy.path("none.pem"), &url, name)
    };
    let outcome = clone("slow");
    assert!(!outcome.status.success(), "{}", outcome.output());
    assert!(
        outcome.stderr.contains("returned error: 429"),
        "{}",
        outcome.output()
    );
}

/// A quota that has ended is no error of the network: the body says which one, and when it begins again.
#[test]
fn curl_shows_which_quota_has_ended() {
    let proxy = with("quota: { day: 4KiB }");
    let origin = Origin::ok(&"x".repeat(5000));
    let url = format!("http://{}/", origin.address);
    let proxy_url = proxy_url(&proxy);
    let first = curl(&["-x", &proxy_url, &url]);
    assert!(first.stdout.len() >= 4096, "what the quota has");
    let second = curl(&["-x", &proxy_url, "-H", "Accept: application/json", &url]);
    let said: serde_json::Value = serde_json::from_str(&second.stdout).unwrap();
    assert_eq!(said["limit"], "slow.quota_day", "{said}");
    let again = said["resets_at"].as_str().unwrap();
    assert!(again.ends_with("0:00Z"), "{said}");
}

/// How many of the 60 scripts of a page run in Chromium, at a rate below what it asks for.
fn page_of_60(class: &str) -> (String, usize) {
    let origin = Origin::http(|request| match request.head.target() {
        "/" => {
            let scripts: String = (0..60)
                .map(|number| format!("<script src=\"/{number}.js\" async></script>"))
                .collect();
            let count = "<script>ran = 0; onload = () => document.title = 'ran ' + ran</script>";
            let page = format!("<!DOCTYPE html><title>none</title>{count}{scripts}");
            response("200 OK", "Content-Type: text/html\r\n", page)
        }
        target if target.ends_with(".js") => {
            response("200 OK", "Content-Type: text/javascript\r\n", "ran += 1")
        }
        _ => ok(""),
    });
    let setup = Setup::new().config(&format!(
        "{{ gateway: {{ upstreams: [\"{}\"] }}, limits: {{ classes: [{{ name: slow, {class} }}] }} }}",
        origin.address
    ));
    let home = setup.path("chromium");
    std::fs::create_dir(&home).unwrap();
    let proxy = setup.start();
    let mut browser = command("chromium");
    browser
        .env("HOME", &home)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--no-proxy-server", "--dump-dom"])
        .arg(format!("--user-data-dir={}", home.display()))
        .arg(format!("http://{}:{}@{}/", ALICE.0, ALICE.1, proxy.address));
    (run(&mut browser, "").output(), refused(&proxy))
}

#[test]
fn a_page_in_a_browser_is_whole_where_its_requests_wait() {
    let (page, refused) = page_of_60("requests: 20/s, burst: 20, queue: 10s");
    assert!(page.contains("<title>ran 60</title>"), "{page}");
    assert_eq!(refused, 0);
    // Without, the page is there and what it asks for beyond the burst is not.
    let (page, refused) = page_of_60("requests: 1/m, burst: 20");
    assert!(page.contains("<title>ran 19</title>"), "{page}");
    assert!(refused >= 41, "{refused}");
}
