//! The page while traffic runs: it follows, and what an operator does with it happens.

use crate::support::browser::Browser;
use crate::support::client::Wire;
use crate::support::dashboard::{assert_legible, assert_quiet, open, with_operator};
use crate::support::load;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{BOB, fetch, request_of};

const RATE: u32 = 500;
/// More than a snapshot has.
const TUNNELS: usize = 220;

/// Keeps when the clock of the page changes.
const WATCH: &str = "window.changes = []; new MutationObserver(() => window.changes.push(performance.now()))
    .observe(document.getElementById('time'), { childList: true, characterData: true, subtree: true })";

fn busy_proxy() -> Proxy {
    with_operator(Setup::new())
        .config(
            "policy:
  rules:
    - { name: no-private-pages, domains: [.denied.test], action: deny, message: \"ask it@corp.test\" }
    - { name: staff, users: [alice, bob], action: admit }",
        )
        .start()
}

/// Tunnels of Alice to a server that sends back what it gets.
fn tunnels(proxy: &Proxy, echo: &Origin) -> Vec<Wire> {
    let mut wires = Vec::with_capacity(TUNNELS);
    for _ in 0..TUNNELS {
        let mut wire = proxy.tunnel(echo.address);
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
        wires.push(wire);
    }
    wires
}

#[test]
fn it_follows_500_requests_a_second_and_220_tunnels() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let proxy = busy_proxy();
    let (echo, pages) = (Origin::echo(), Origin::ok("page"));
    let mut wires = tunnels(&proxy, &echo);
    let request = fetch(&format!("http://{}/page", pages.address));
    let answers = load::run_beside(
        proxy.address,
        RATE,
        |_| request.clone(),
        || {
            open(browser, &proxy, 1600);
            assert_follows(browser);
            close_one_beyond_the_snapshot(browser, &mut wires);
            explain_a_denial(browser, &proxy);
            browser.wait("document.querySelector('#users tbody th')?.textContent === 'alice'");
            assert_legible(browser, &[1600, 390]);
            assert_quiet(browser, &proxy);
        },
    );
    assert!(answers.iter().all(|answer| answer.status == 200));
}

fn assert_follows(browser: &mut Browser) {
    browser.evaluate(WATCH);
    browser.wait("window.changes.length >= 6");
    let between = browser.evaluate("window.changes[5] - window.changes[0]");
    // Five seconds, give or take what a busy machine adds.
    let between = between.as_f64().unwrap();
    assert!((3900.0..9000.0).contains(&between), "{between}");
    let mut number = |selector: &str| {
        let text = browser.evaluate(&format!(
            "document.querySelector(\"{selector}\").textContent"
        ));
        text.as_str()
            .unwrap()
            .replace(',', "")
            .parse::<u32>()
            .unwrap()
    };
    let a_second = number("[data-value='/snapshot/now/requests']");
    assert!(a_second > RATE / 4, "{a_second}");
    let open_tunnels = number("[data-value='/snapshot/now/open_tunnels']");
    assert_eq!(open_tunnels as usize, TUNNELS);
    browser.wait("document.querySelector('#tunnels [data-shown]').textContent === '200 of 220'");
}

/// A search finds a tunnel that the snapshot does not have, and its button closes it.
fn close_one_beyond_the_snapshot(browser: &mut Browser, wires: &mut [Wire]) {
    let clients = "[...document.querySelectorAll('#tunnels [data-label=Client]')].map((cell) => cell.textContent)";
    let clients = browser.evaluate(clients);
    let clients = clients.as_array().unwrap();
    assert_eq!(clients.len(), 200);
    let address = |wire: &Wire| wire.socket().local_addr().unwrap().to_string();
    let is_hidden = |wire: &&mut Wire| !clients.iter().any(|client| *client == address(wire));
    let hidden = wires.iter_mut().rev().find(is_hidden).unwrap();
    search(browser, &address(hidden));
    browser.wait(&format!(
        "[...document.querySelectorAll('#tunnels tr[data-row]')].map((row) => row.textContent) \
         .every((text, index, all) => all.length === 1 && text.includes('{}'))",
        address(hidden)
    ));
    browser.wait("document.querySelectorAll('#tunnels tr[data-row]').length === 1");
    browser.evaluate("document.querySelector('#tunnels tr[data-row] button').click()");
    browser.wait("document.getElementById('confirm').open");
    browser.evaluate("document.getElementById('confirm-yes').click()");
    hidden.assert_closed();
    browser.wait("document.getElementById('said').textContent.endsWith('is closed.')");
    browser.wait("document.querySelectorAll('#tunnels tr[data-row]').length === 0");
    search(browser, "");
    browser.wait("document.querySelector('#tunnels [data-shown]').textContent === '200 of 219'");
    // The others go on.
    let open = wires.iter_mut().next().unwrap();
    open.send("ping").unwrap();
    assert_eq!(open.read_bytes(4).unwrap(), b"ping");
}

fn search(browser: &mut Browser, text: &str) {
    browser.evaluate(&format!(
        "(() => {{ const input = document.querySelector('#tunnels [data-search]'); \
         input.value = '{text}'; input.dispatchEvent(new Event('input')) }})()"
    ));
}

fn explain_a_denial(browser: &mut Browser, proxy: &Proxy) {
    let answer = proxy.exchange(fetch("http://a.denied.test/"));
    assert_eq!(answer.status(), 403);
    browser.wait("document.querySelectorAll('#denials tr[data-row]').length === 1");
    browser.evaluate("document.querySelector('#denials [data-do=explain]').click()");
    browser.wait(
        "document.querySelector('#denials .detail')?.textContent.startsWith('deny by no-private-pages')",
    );
}

#[test]
fn a_tunnel_is_closed_after_a_question() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let proxy = busy_proxy();
    let echo = Origin::echo();
    let mut alices = proxy.tunnel(echo.address);
    let mut bobs = proxy.connect();
    let connect = request_of(BOB, "CONNECT", &echo.address.to_string());
    assert_eq!(bobs.exchange(connect).status(), 200);
    open(browser, &proxy, 1600);
    browser.wait("document.querySelectorAll('#tunnels tbody tr[data-row]').length === 2");
    let find = "const find = () => [...document.querySelectorAll('#tunnels tr[data-row]')].find((row) => row.textContent.includes('bob'));";
    // Whoever says no has changed nothing.
    browser.evaluate(&format!(
        "(() => {{ {find} find().querySelector('button').click() }})()"
    ));
    browser.wait("document.getElementById('confirm').open");
    let question = browser.evaluate("document.getElementById('confirm').textContent");
    assert!(
        question.as_str().unwrap().contains("bob to 127.0.0.1"),
        "{question}"
    );
    browser.press("Escape");
    browser.wait("!document.getElementById('confirm').open");
    bobs.send("still here").unwrap();
    assert_eq!(bobs.read_bytes(10).unwrap(), b"still here");
    // A button has its own name for screen readers, and works by keyboard.
    let focus = format!(
        "(() => {{ {find} const button = find().querySelector('button'); button.focus(); return button.getAttribute('aria-label') }})()"
    );
    let name = browser.evaluate(&focus);
    assert!(
        name.as_str().unwrap().starts_with("Close: bob 127.0.0.1:"),
        "{name}"
    );
    browser.press("Enter");
    browser.wait("document.getElementById('confirm').open");
    browser.evaluate("document.getElementById('confirm-yes').focus()");
    browser.press("Enter");
    browser.wait("document.getElementById('said').textContent.endsWith('is closed.')");
    bobs.assert_closed();
    browser.wait(&format!(
        "(() => {{ {find} return !find() || find().textContent.includes('clos') }})()"
    ));
    browser.wait(&format!("(() => {{ {find} return !find() }})()"));
    let record = proxy.record("Bob's tunnel", |record| record["event"] == "tunnel_close");
    assert_eq!(record["user"], BOB.0, "{record}");
    assert_eq!(record["end_reason"], "closed_by_admin", "{record}");
    alices.send("untouched").unwrap();
    assert_eq!(alices.read_bytes(9).unwrap(), b"untouched");
    assert_quiet(browser, &proxy);
}

/// The end of a question that was left is told late, and is no answer to the next one.
#[test]
fn an_answer_is_that_of_its_question() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let proxy = busy_proxy();
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    open(browser, &proxy, 1600);
    browser.wait("document.querySelectorAll('#tunnels tbody tr[data-row]').length === 1");
    browser.evaluate(
        "(() => { const button = document.querySelector('#tunnels tr[data-row] button'); \
         button.click(); document.getElementById('confirm').close(); button.click() })()",
    );
    browser.wait("document.getElementById('confirm').open");
    browser.evaluate("document.getElementById('confirm-yes').click()");
    browser.wait("document.getElementById('said').textContent.endsWith('is closed.')");
    tunnel.assert_closed();
    assert_quiet(browser, &proxy);
}

#[test]
fn a_denial_is_explained_in_its_place() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let proxy = busy_proxy();
    open(browser, &proxy, 1600);
    browser.wait("document.querySelector('#denials .empty') !== null");
    // It comes while the page is open.
    let answer = proxy.exchange(fetch("http://a.denied.test/secret?token=canary-query"));
    assert_eq!(answer.status(), 403);
    browser.wait("document.querySelectorAll('#denials tr[data-row]').length === 1");
    let row = browser.evaluate("document.querySelector('#denials tr[data-row]').textContent");
    let row = row.as_str().unwrap();
    assert!(
        row.contains("no-private-pages") && row.contains("alice"),
        "{row}"
    );
    assert!(
        row.contains("http://a.denied.test/secret") && !row.contains("canary"),
        "{row}"
    );
    browser.evaluate("document.querySelector('#denials [data-do=explain]').click()");
    browser.wait("document.querySelector('#denials .detail .verdict') !== null");
    let detail = browser.evaluate("document.querySelector('#denials .detail').textContent");
    let detail = detail.as_str().unwrap();
    assert!(detail.starts_with("deny by no-private-pages"), "{detail}");
    assert!(
        detail.contains("no-private-pages (deny) decides"),
        "{detail}"
    );
    assert!(detail.contains("ask it@corp.test"), "{detail}");
    // It stays beside its row while others come, and goes by the same button.
    proxy.exchange(fetch("http://b.denied.test/"));
    browser.wait("document.querySelectorAll('#denials tr[data-row]').length === 2");
    browser.wait("document.querySelector('#denials .detail').previousElementSibling.textContent.includes('a.denied.test')");
    browser.evaluate("document.querySelector('#denials [aria-expanded=true]').click()");
    browser.wait("document.querySelector('#denials .detail') === null");
    // Any other request, by the form.
    browser.evaluate("(() => { const form = document.getElementById('question'); form.target.value = '127.0.0.1:443'; \
        form.user.value = 'bob'; form.requestSubmit() })()");
    browser.wait(
        "document.querySelector('#explanation .verdict')?.textContent.startsWith('admit by staff')",
    );
    assert_quiet(browser, &proxy);
}

#[test]
fn a_lost_connection_is_told_and_found_again() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let proxy = with_operator(Setup::new()).start();
    open(browser, &proxy, 1600);
    proxy.signal(rustix::process::Signal::STOP);
    browser.wait("document.documentElement.classList.contains('lost')");
    browser.wait("document.getElementById('notices').textContent.includes('is lost')");
    proxy.signal(rustix::process::Signal::CONT);
    browser.wait("!document.documentElement.classList.contains('lost')");
    browser.wait("!document.getElementById('notices').textContent.includes('is lost')");
}
