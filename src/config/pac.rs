//! `tollgate.pac`: the file from which browsers learn of the proxy.

use super::egress;
use super::host::{self, Mistake};
use super::keys::form::Absent::{Is, Required};
use super::keys::form::{Flag, OneOf, Raw, RawList};
use super::keys::keys;
use super::reader::Item;
use crate::http::pac::{Direct, Hop, Pac, Parts, WPAD_PATH};
use crate::http::path::Prefix;

/// More make a file that clients read again and again too long.
const MAX_PROXIES: usize = 16;
const MAX_DIRECT: usize = 1024;

const DEFAULT_PATH: &str = "/proxy.pac";

const HOPS: &str = "write such as \"PROXY proxy.example.com:8888\", with HTTPS for a listener with tls; \
     several with `; ` between them";

keys! {
    /// The keys of the file.
    pub(super) struct PacKeys<'d> {
        /// The path of the file, at every listener.
        path: Option<Item<'d>> = Is("/proxy.pac"), Raw => Shape::Form {
            what: "a path such as `/proxy.pac`",
            pattern: "^/[A-Za-z0-9._~/-]+$",
        };
        /// Whether the file is at `/wpad.dat` too, where clients look for it by themselves.
        wpad: bool = true, Flag;
        /// What clients try, in this order: `PROXY`, `HTTPS` or `SOCKS5` with `NAME:PORT`, several with `; ` between them.
        /// With `DIRECT` as the last one, clients go past a proxy that does not answer.
        proxy: Option<Item<'d>> = Required, Raw => Shape::text("proxies such as `PROXY proxy.example.com:8888`");
        /// What clients reach without a proxy: `example.org` for one host, `.example.org` for it and all below it,
        /// `*.example.org` for all below it, and networks, which are for hosts that are given as addresses.
        direct: Option<Item<'d>> = Is("[]"), RawList => Shape::text("a domain or a network").list(MAX_DIRECT);
        /// Whether a client needs a user to read it. Most cannot send one.
        authentication: bool = false, OneOf(&[("none", false), ("required", true)]);
    }
}

/// Reads the map.
pub(super) fn read(item: &Item<'_>) -> Option<Pac> {
    let mut section = item.section();
    let keys = PacKeys::take(&mut section);
    if keys.proxy.is_none() {
        section.report("proxy", "missing", HOPS);
    }
    section.finish();
    let path = match &keys.path {
        Some(item) => path(item),
        None => Some(DEFAULT_PATH.into()),
    };
    let proxies = keys.proxy.as_ref().and_then(proxies);
    let direct = keys.direct.as_ref().map(direct).unwrap_or_default();
    Some(Pac::new(Parts {
        path: path?,
        has_wpad: keys.wpad,
        needs_user: keys.authentication,
        proxies: proxies?,
        direct,
    }))
}

fn path(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    let is_one = text.len() > 1 && !text.ends_with('/') && Prefix::parse(text).is_some();
    if !is_one {
        let remedy = "write segments of letters, digits, `-`, `.`, `_` and `~`, such as /proxy.pac";
        item.report("not the path of a file that has one spelling", remedy);
        return None;
    }
    if text == WPAD_PATH {
        item.report(
            "the path that `wpad` is for",
            "write another one, such as /proxy.pac",
        );
        return None;
    }
    if text.starts_with("/.tollgate/") || text == "/.tollgate" {
        item.report(
            "below /.tollgate, where Tollgate has pages of its own",
            "write another one, such as /proxy.pac",
        );
        return None;
    }
    Some(text.into())
}

fn proxies(item: &Item<'_>) -> Option<Vec<Hop>> {
    let text = item.text()?;
    if host::is_variable(text) {
        item.report(host::VARIABLE, host::FILL_IN);
        return None;
    }
    let hops: Option<Vec<Hop>> = text.split(';').map(Hop::parse).collect();
    let Some(hops) = hops else {
        item.report("not a list of proxies as a PAC file has it", HOPS);
        return None;
    };
    if hops.len() > MAX_PROXIES {
        item.report("too many proxies", format!("keep {MAX_PROXIES}"));
        return None;
    }
    // What is behind it is never tried, and alone it is no way to this proxy.
    let direct = hops.iter().position(|hop| *hop == Hop::Direct);
    if direct.is_some_and(|at| at == 0 || at + 1 < hops.len()) {
        let remedy = "write it as the last one, behind a proxy; for some hosts use `direct`";
        item.report("DIRECT is not behind all proxies", remedy);
        return None;
    }
    Some(hops)
}

fn direct(item: &Item<'_>) -> Vec<Direct> {
    let items = item.list().unwrap_or_default();
    if let Some(item) = items.get(MAX_DIRECT) {
        item.report("too many entries", format!("keep {MAX_DIRECT}"));
    }
    let items = items.iter().take(MAX_DIRECT);
    items.filter_map(entry).collect()
}

fn entry(item: &Item<'_>) -> Option<Direct> {
    let text = egress::entry(item)?;
    let direct = Direct::parse(text);
    if direct.is_none() {
        let (message, remedy) = mistake(text);
        item.report(message, remedy);
    }
    direct
}

fn mistake(text: &str) -> Mistake {
    let example = "write example.org, .example.org, \"*.example.org\" or 10.0.0.0/8";
    let usual = match text.contains('*') {
        true => None,
        false => host::domain(text),
    };
    usual.unwrap_or(("neither a domain nor a network", example.to_owned()))
}
