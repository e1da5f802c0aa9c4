//! The page of the admin service in a browser: opening it, and what holds for it whatever it shows.

use super::browser::Browser;
use super::proxy::{Proxy, Setup};
use super::request::sha_line;

/// The operator of the admin service.
pub(crate) const OPERATOR: (&str, &str) = ("root", "canary-0pe7a");

/// Elements that stick out: of the window, or of a box that hides what does not fit.
const STICKING_OUT: &str = "(() => {
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) found.push(`the page: ${root.scrollWidth} > ${root.clientWidth}`);
    for (const node of document.querySelectorAll('body *')) {
        if (node.closest('.unseen, .skip, caption, .u-wrap') || !node.getClientRects().length) continue;
        const box = node.getBoundingClientRect(), style = getComputedStyle(node);
        const scrolls = node.closest('.frame, nav');
        const name = `${node.tagName} ${node.className} ${node.textContent.slice(0, 40)}`;
        if (!scrolls && (box.right > innerWidth + 1 || box.left < -1)) found.push(`${name}: to ${box.right}`);
        const isLine = style.display === 'inline' || node.clientWidth === 0;
        if (!isLine && node.scrollWidth > node.clientWidth + 1) found.push(`${name}: ${node.scrollWidth} > ${node.clientWidth}`);
    }
    return found.slice(0, 10);
})()";

/// Texts whose contrast to what is behind them is below 4.5:1 (WCAG 2.2, 1.4.3).
const PALE: &str = "(() => {
    const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
    const over = (top, below) => Object.fromEntries([...'rgb'].map((c) => [c, top[c] * top.a + below[c] * (1 - top.a)]).concat([['a', 1]]));
    const light = ({ r, g, b }) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (node) => node ? over(parse(getComputedStyle(node).backgroundColor), ground(node.parentElement)) : { r: 255, g: 255, b: 255, a: 1 };
    const found = new Set();
    for (const node of document.querySelectorAll('body *')) {
        const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!hasText || !node.getClientRects().length || node.closest('.gone, :disabled, script, .uplot')) continue;
        const below = ground(node), text = over(parse(getComputedStyle(node).color), below);
        const [a, b] = [light(text), light(below)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.add(`${node.tagName} ${node.className} ${node.textContent.slice(0, 20)}: ${ratio.toFixed(2)}`);
    }
    return [...found].slice(0, 10);
})()";

/// A proxy whose admin service knows its operator.
pub(crate) fn with_operator(setup: Setup) -> Setup {
    setup
        .file("admins.htpasswd", sha_line(OPERATOR))
        .config("admin: { users: admins.htpasswd }")
}

/// The URL of the page, with the operator's credentials.
pub(crate) fn url(proxy: &Proxy) -> String {
    format!(
        "http://{}:{}@{}/",
        OPERATOR.0,
        OPERATOR.1,
        proxy.admin_address()
    )
}

/// Opens the page and waits until it is live.
pub(crate) fn open(browser: &mut Browser, proxy: &Proxy, width: u32) {
    browser.open(&url(proxy), width, if width < 700 { 844 } else { 1000 });
    browser.wait("document.documentElement.classList.contains('scripted')");
    browser.wait("document.getElementById('live-text').textContent === 'live'");
}

/// Nothing sticks out at these widths, all text can be read, light and dark.
pub(crate) fn assert_legible(browser: &mut Browser, widths: &[u32]) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for width in widths {
            browser.resize(*width, 900);
            // The charts take the new size when they are told of it.
            browser.evaluate(
                "document.documentElement.classList.contains('scripted') && \
                 new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
            );
            let out = browser.evaluate(STICKING_OUT);
            assert_eq!(out, serde_json::json!([]), "{scheme} {width}");
            let pale = browser.evaluate(PALE);
            assert_eq!(pale, serde_json::json!([]), "{scheme} {width}");
        }
    }
}

/// The browser has complained of nothing, and asked no other origin.
pub(crate) fn assert_quiet(browser: &mut Browser, proxy: &Proxy) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let own = format!("http://{}/", proxy.admin_address());
    let signed = url(proxy);
    let requests = browser.requests();
    assert!(requests.len() >= 3, "{requests:?}");
    let is_own =
        |url: &&String| url.starts_with(&own) || url.starts_with(&signed) || *url == "about:blank";
    let foreign: Vec<_> = requests.iter().filter(|url| !is_own(url)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}
