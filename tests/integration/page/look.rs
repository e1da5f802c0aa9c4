//! What the page is before and without its module, and who may do what with it.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::client::Wire;
use crate::support::dashboard::{assert_legible, assert_quiet, open, url, with_operator};
use crate::support::documents::{read, root};
use crate::support::eventually;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};

/// Has the module write what the server has written, from the same data; gives what is not the same.
const FIRST_PAINT: &str = "(async () => {
    const { Table, drawFacts } = await import('/assets/page.js');
    const html = await (await fetch(new URL('/', location.origin))).text();
    const page = new DOMParser().parseFromString(html, 'text/html');
    const data = JSON.parse(page.getElementById('data').textContent);
    const other = [];
    const compare = (name, before, after) => {
        if (before === after) return;
        let at = 0;
        while (before[at] === after[at]) at += 1;
        other.push(`${name}: ${before.slice(at - 60, at + 60)} | ${after.slice(at - 60, at + 60)}`);
    };
    let rows = 0;
    for (const node of page.querySelectorAll('table[data-table]')) {
        const section = node.closest('section');
        const before = section.outerHTML;
        rows += node.tBodies[0].rows.length;
        node.tBodies[0].textContent = '';
        new Table(node).draw(data);
        compare(node.dataset.table, before, section.outerHTML);
    }
    const before = page.body.outerHTML;
    drawFacts(page, data);
    compare('facts', before, page.body.outerHTML);
    return { other, rows };
})()";

/// A request to the admin service, with more field lines.
fn admin(proxy: &Proxy, path: &str, fields: &str) -> Response {
    let mut wire = Wire::connect(proxy.admin_address()).unwrap();
    let address = proxy.admin_address();
    wire.exchange(format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n"
    ))
}

/// A proxy with something in most tables.
fn used_proxy(setup: Setup) -> (Proxy, Vec<Wire>, Origin) {
    let echo = Origin::echo();
    let proxy = setup.start();
    let wires = (0..3).map(|_| proxy.tunnel(echo.address)).collect();
    for path in ["", "a", "a%20b?query=canary-query"] {
        proxy.fetch(&format!("http://10.9.8.7/{path}"));
    }
    proxy.fetch("http://127.0.0.1:1/");
    (proxy, wires, echo)
}

#[test]
fn the_first_paint_is_what_the_module_writes() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (proxy, _wires, _echo) = used_proxy(with_operator(Setup::new()));
    open(&mut browser, &proxy, 1600);
    let outcome = browser.evaluate(FIRST_PAINT);
    assert_eq!(outcome["other"], json!([]), "{outcome}");
    assert!(outcome["rows"].as_u64().unwrap() > 15, "{outcome}");
    assert_quiet(&mut browser, &proxy);
}

/// The examples of which `admin::page::format` holds the other side.
#[test]
fn the_module_has_the_formats_of_the_program() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let proxy = with_operator(Setup::new()).start();
    open(&mut browser, &proxy, 1600);
    let text = read(&root().join("src/admin/page/assets/formats.json"));
    let examples: Value = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for (format, examples_of) in examples.as_object().unwrap() {
        for example in examples_of.as_array().into_iter().flatten() {
            let call = format!(
                "import('/assets/page.js').then(({{ show }}) => show({}, {}, {}))",
                json!(format),
                example["value"],
                examples["now"]
            );
            let shown = browser.evaluate(&call);
            assert_eq!(shown["text"], example["text"], "{format} {example}");
            assert_eq!(shown["title"], example["title"], "{format} {example}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn it_is_whole_without_scripts() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (proxy, _wires, echo) = used_proxy(with_operator(Setup::new()));
    std::fs::write(proxy.path("pingora.yaml"), "tollgate: {").unwrap();
    proxy.signal(rustix::process::Signal::HUP);
    eventually("the reload to fail", || {
        proxy.errors().contains("nothing was changed").then_some(())
    });
    browser.disable_scripts(true);
    browser.open(&url(&proxy), 1600, 1000);
    let text = browser.evaluate("document.body.innerText");
    let text = text.as_str().unwrap();
    for expected in [
        &echo.address.to_string(),
        "alice",
        "http://10.9.8.7/a",
        "running",
        "Descriptors",
        "The last reload failed, and changed nothing.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // Nothing that only a script could do is offered.
    for absent in ["Close", "Explain", "Reload", "canary"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let refresh = browser.evaluate("document.querySelector('meta[http-equiv=refresh]').content");
    assert_eq!(refresh, "5");
    assert_legible(&mut browser, &[1600, 390]);
    assert_quiet(&mut browser, &proxy);
}

#[test]
fn what_is_empty_says_what_will_be_there() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let proxy = with_operator(Setup::new()).start();
    open(&mut browser, &proxy, 390);
    let empty =
        browser.evaluate("[...document.querySelectorAll('.empty')].map((row) => row.innerText)");
    let empty: Vec<_> = empty
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    assert!(empty.len() >= 10, "{empty:?}");
    assert!(empty.iter().all(|text| text.len() > 15), "{empty:?}");
    assert!(
        empty
            .iter()
            .any(|text| text.starts_with("No tunnel is open.")),
        "{empty:?}"
    );
    assert_legible(&mut browser, &[390, 700, 1100, 1600]);
    assert_quiet(&mut browser, &proxy);
}

#[test]
fn it_can_be_used_by_keyboard() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let (proxy, _wires, _echo) = used_proxy(with_operator(Setup::new()));
    open(browser, &proxy, 1600);
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.className"), "skip");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.evaluate(outline), "solid");
    browser.press("Enter");
    browser.wait("location.hash === '#main'");
    // Everything that can be clicked is a button, a link or a field, and each has a name.
    let nameless = browser.evaluate(
        "[...document.querySelectorAll('button, a, input')].filter((node) => \
            !(node.getAttribute('aria-label') || node.textContent.trim() || node.closest('label'))).length",
    );
    assert_eq!(nameless, 0);
    let tables = browser.evaluate(
        "[...document.querySelectorAll('table')].every((table) => table.caption?.textContent)",
    );
    assert_eq!(tables, true);
    // A heading sorts, and says how.
    let heading = "document.querySelector('#tunnels th[data-member=user]')";
    browser.evaluate(&format!("{heading}.firstElementChild.focus()"));
    browser.press("Enter");
    browser.wait(&format!("{heading}.ariaSort === 'ascending'"));
    browser.press("Enter");
    browser.wait(&format!("{heading}.ariaSort === 'descending'"));
    // A row that has the focus keeps it while snapshots come.
    browser.evaluate("(() => { window.held = document.querySelector('#tunnels [data-do=close]'); window.held.focus() })()");
    browser.evaluate("window.clock = document.getElementById('time').textContent");
    browser.wait("document.getElementById('time').textContent !== window.clock");
    assert_eq!(
        browser.evaluate("document.activeElement === window.held"),
        true
    );
    assert_quiet(browser, &proxy);
}

#[test]
fn without_users_it_has_no_button_that_changes() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (proxy, _wires, _echo) = used_proxy(Setup::new());
    browser.open(&format!("http://{}/", proxy.admin_address()), 1600, 1000);
    browser.wait("document.querySelectorAll('#tunnels tbody tr[data-row]').length === 3");
    browser.wait("document.getElementById('live-text').textContent === 'live'");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('[data-do=close], [data-do=drain]').length"),
        0
    );
    // Explaining changes nothing, and a reload reads what is on the disk.
    browser.evaluate("document.querySelector('[data-do=reload]').click()");
    browser.wait("document.getElementById('notices').textContent.includes('Reloaded 4 users')");
    browser.evaluate("document.querySelector('#denials [data-do=explain]').click()");
    browser.wait("document.querySelector('#denials .detail .verdict') !== null");
    assert_quiet(&mut browser, &proxy);
}

#[test]
fn its_files_have_validators_and_its_policy_has_nothing_inline() {
    let proxy = Setup::new().start();
    let page = admin(&proxy, "/", "");
    assert_eq!(page.status(), 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for word in ["unsafe", "http:", "https:", "data:", "*"] {
        assert!(!policy.contains(word), "{policy}");
    }
    let text = page.text();
    for word in [" style=", "<style", "onclick", "javascript:", "://"] {
        assert!(!text.contains(word), "{word}");
    }
    for (path, content_type) in [
        ("/assets/page.css", "text/css; charset=utf-8"),
        ("/assets/page.js", "text/javascript; charset=utf-8"),
        ("/assets/uplot.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        assert!(text.contains(&format!("\"{path}\"")), "{path}");
        let file = admin(&proxy, path, "");
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(file.field("content-type"), Some(content_type));
        let tag = file.field("etag").unwrap().to_owned();
        assert!(!tag.starts_with("W/"), "{tag}");
        let again = admin(&proxy, path, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((again.status(), again.body.len()), (304, 0), "{path}");
        assert_eq!(again.field("etag"), Some(&*tag));
        let other = admin(&proxy, path, "If-None-Match: \"other\"\r\n");
        assert_eq!(other.body, file.body);
    }
    for path in [
        "/assets/",
        "/assets/none.js",
        "/assets/..%2fpage.js",
        "/page.css",
    ] {
        assert_eq!(admin(&proxy, path, "").status(), 404, "{path}");
    }
}
