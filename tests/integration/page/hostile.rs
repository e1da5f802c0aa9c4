//! Clients who write HTML into whatever the page shows of them.

use crate::support::browser::Browser;
use crate::support::dashboard::{assert_legible, assert_quiet, open, with_operator};
use crate::support::hello::hello;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, credentials, sha_line};

/// Ends attributes, elements and scripts, and runs when it is markup.
const MARKUP: &str =
    "\"'></td></script><img src=x onerror=pwned=1><script>pwned=1</script>&lt;b&gt;";
/// The same as a name of a user, which has no colon in a password file.
const USER: (&str, &str) = ("\"'></td><img src=x onerror=pwned=1>", "canary-m4rk");

/// What a client may send in each place: whatever the answer, the page may show it.
fn send(proxy: &Proxy, origin: &Origin) {
    let encoded = MARKUP.replace('%', "%25").replace(' ', "%20");
    let at = origin.address;
    for user in [ALICE, USER] {
        let credentials = credentials(user);
        for head in [
            // The path, in both spellings.
            format!("GET http://{at}/{encoded} HTTP/1.1\r\nHost: {at}\r\n{credentials}"),
            format!("GET http://10.9.8.7/{encoded} HTTP/1.1\r\nHost: 10.9.8.7\r\n{credentials}"),
            format!(
                "GET http://10.9.8.7/%3Cimg%20src=x%20onerror=pwned=1%3E HTTP/1.1\r\nHost: 10.9.8.7\r\n{credentials}"
            ),
            // The host.
            format!("GET http://{encoded}/ HTTP/1.1\r\nHost: {encoded}\r\n{credentials}"),
            format!("CONNECT {encoded}:443 HTTP/1.1\r\nHost: {encoded}:443\r\n{credentials}"),
            format!("CONNECT <img>.test:443 HTTP/1.1\r\nHost: <img>.test:443\r\n{credentials}"),
            // The user agent, and fields of proxies before this one.
            format!(
                "GET http://10.9.8.7/ HTTP/1.1\r\nHost: 10.9.8.7\r\nUser-Agent: {MARKUP}\r\nVia: {MARKUP}\r\n\
                X-Forwarded-For: {MARKUP}\r\nReferer: {MARKUP}\r\n{credentials}"
            ),
            // The method.
            format!("<IMG> http://10.9.8.7/ HTTP/1.1\r\nHost: 10.9.8.7\r\n{credentials}"),
            format!("X!#$&'*|~ http://10.9.8.7/ HTTP/1.1\r\nHost: 10.9.8.7\r\n{credentials}"),
            // The id of a request, where a gateway before this one sets it.
            format!(
                "GET http://10.9.8.7/ HTTP/1.1\r\nHost: 10.9.8.7\r\nX-Request-Id: {MARKUP}\r\n{credentials}"
            ),
            // Targets that are longer than what fits.
            format!(
                "GET http://10.9.8.7/{} HTTP/1.1\r\nHost: 10.9.8.7\r\n{credentials}",
                "<i>".repeat(600)
            ),
            format!(
                "GET http://{}.test/ HTTP/1.1\r\nHost: {}.test\r\n{credentials}",
                "a".repeat(60),
                "a".repeat(60)
            ),
        ] {
            let _whatever = proxy.exchange(format!("{head}\r\n"));
        }
    }
    // A user that nobody knows.
    let unknown = credentials((MARKUP, "x"));
    proxy.exchange(format!(
        "GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{unknown}\r\n"
    ));
}

/// The ClientHello of a client with this name in it, spliced over one of the same length.
fn spliced_hello(name: &str) -> Vec<u8> {
    let stand_in = format!("{}.test", "a".repeat(name.len() - 5));
    let mut bytes = hello(&stand_in);
    let found = bytes
        .windows(name.len())
        .position(|part| part == stand_in.as_bytes());
    let at = found.unwrap();
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

#[test]
fn nothing_that_a_client_sends_is_markup() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let origin = Origin::ok("page");
    let echo = Origin::echo();
    let proxy = with_operator(Setup::new())
        .file("users.htpasswd", sha_line(ALICE) + &sha_line(USER))
        .config("tunnel: { sni: present }")
        .start();
    send(&proxy, &origin);
    // Tunnels that stay open: of that user, and with that name of a host.
    let mut tunnels = Vec::new();
    for sni in ["<img src=x onerror=pwned=1>", "a.localhost"] {
        let mut wire = proxy.connect();
        let head = format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
            echo.address,
            credentials(USER)
        );
        assert_eq!(wire.exchange(head).status(), 200);
        let _may_be_refused = wire.send(spliced_hello(sni));
        tunnels.push(wire);
    }
    open(browser, &proxy, 1600);
    browser.wait("document.querySelectorAll('#tunnels tbody tr[data-row]').length >= 1");
    browser.wait("document.querySelectorAll('#denials tbody tr[data-row]').length >= 6");
    browser.evaluate(
        "for (const button of document.querySelectorAll('[data-do=columns]')) button.click()",
    );
    // What the server has written, and after it what the module has.
    let check = |browser: &mut Browser| {
        assert_eq!(browser.evaluate("window.pwned === undefined"), true);
        let foreign = "document.querySelectorAll('body img, body i, body b, body style, body script:not(#data), body iframe').length";
        assert_eq!(browser.evaluate(foreign), 0);
        let text = browser.evaluate("document.body.innerText");
        let text = text.as_str().unwrap();
        assert!(text.contains("<img src=x onerror=pwned=1>"), "{text}");
    };
    check(browser);
    send(&proxy, &origin);
    browser.evaluate("window.clock = document.getElementById('time').textContent");
    browser.wait("document.getElementById('time').textContent !== window.clock");
    check(browser);
    // What the policy says of it, in its place.
    browser.evaluate("for (const button of [...document.querySelectorAll('#denials [data-do=explain]')].slice(0, 6)) button.click()");
    browser.wait("document.querySelectorAll('#denials .detail p').length >= 6 && !document.querySelector('#denials .detail').textContent.includes('…')");
    check(browser);
    assert_legible(browser, &[390, 1600]);
    browser.disable_scripts(true);
    open_without_scripts(browser, &proxy);
    check(browser);
    // The explanations of requests that cannot be read are answered with an error, which the console shows.
    let complaints: Vec<_> = browser
        .complaints()
        .into_iter()
        .filter(|it| !it.contains("/api/v1/explain"))
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
    drop(tunnels);
}

fn open_without_scripts(browser: &mut Browser, proxy: &Proxy) {
    browser.open(&crate::support::dashboard::url(proxy), 1600, 1000);
}

/// A page that is opened with the credentials in its URL asks with them, and shows them nowhere.
#[test]
fn credentials_are_in_nothing_that_is_shown() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let proxy = with_operator(Setup::new()).start();
    proxy.fetch("http://10.9.8.7/?token=canary-query");
    open(&mut browser, &proxy, 1600);
    let html = browser.evaluate("document.documentElement.outerHTML");
    let html = html.as_str().unwrap();
    for secret in ["canary", ALICE.1] {
        assert!(!html.contains(secret), "{secret}");
    }
    assert_quiet(&mut browser, &proxy);
}
