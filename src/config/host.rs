//! What people write where an address, a domain or a network is expected, and what to write instead. Pure.
//!
//! No text comes back in a message: a value in the wrong place may be a password.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressUse {
    /// To listen on.
    Listener,
    /// To connect to.
    Upstream,
    /// To ask for names; its port may be left out.
    NameServer,
}

/// What is wrong, and what to write instead.
pub(super) type Mistake = (&'static str, String);

impl AddressUse {
    pub(super) fn example(self) -> &'static str {
        match self {
            AddressUse::Listener => "write it as \"127.0.0.1:8888\" or \"[::1]:8888\"",
            AddressUse::Upstream => {
                "write it as \"127.0.0.1:80\", \"backend:80\", \"https://backend:8443\" or \"unix:/run/app.sock\""
            }
            AddressUse::NameServer => "write it as \"192.0.2.53\" or \"[2001:db8::53]:53\"",
        }
    }

    /// What to write for a port alone.
    fn for_port(self) -> &'static str {
        match self {
            AddressUse::Listener => {
                "write \"127.0.0.1:8888\" for programs on this machine, or \"0.0.0.0:8888\" for the network, \
                 with your port"
            }
            _ => self.example(),
        }
    }

    fn for_name(self, name: &str) -> &'static str {
        match self {
            _ if name.eq_ignore_ascii_case("localhost") => "write 127.0.0.1 or [::1] for localhost",
            AddressUse::Listener => {
                "write an IP address of this machine, or 0.0.0.0 for all of them; `ip address` prints them"
            }
            _ => "write its IP address; `getent hosts NAME` prints it",
        }
    }
}

/// Says what is wrong with an address that does not parse.
pub(super) fn address(text: &str, for_use: AddressUse) -> Mistake {
    let example = for_use.example();
    if is_variable(text) {
        return (VARIABLE, FILL_IN.to_owned());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return url_for_address(scheme, rest, for_use);
    }
    if text.starts_with('/') || text.starts_with("unix:") {
        return ("a path, where an address is expected", example.to_owned());
    }
    if let Some((host, port)) = text.split_once('@')
        && host.parse::<IpAddr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        let advice = format!("write a colon before the port; {example}");
        return ("a port behind `@`", advice);
    }
    if text.contains('@') {
        let advice = format!("leave out everything up to `@`; {example}");
        return ("has a user or a password", advice);
    }
    if text.contains(char::is_whitespace) || text.contains(',') {
        return (
            "more than one address, or a space in one",
            format!("{example}, each address by itself"),
        );
    }
    if let Some(at) = text.find('/') {
        let (before, _) = text.split_at(at);
        let advice = if is_complete(before, for_use) {
            "leave out everything from `/` on".to_owned()
        } else {
            example.to_owned()
        };
        return ("an address with a path or a prefix length", advice);
    }
    if text.contains('#') {
        return (
            "a port behind `#`",
            format!("write a colon before the port; {example}"),
        );
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return ("an address without a port", example.to_owned());
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((host, port)) = text.rsplit_once(':') else {
        return match text {
            _ if is_number(text) => ("a port without an address", for_use.for_port().to_owned()),
            _ if is_dotted(text) => ("not an IPv4 address", DOTTED.to_owned()),
            _ if is_name(text) => name(text, for_use, false),
            _ => ("not an address with a port", example.to_owned()),
        };
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
        .parse::<IpAddr>()
        .is_ok();
    let names_port = is_number(port) && port.parse::<u16>().is_ok();
    const PORT: &str = "write a port from 1 to 65535";
    match (is_address, names_port) {
        (true, false) if is_number(port) => ("the port is out of range", PORT.to_owned()),
        (true, false) => ("the port is not a number", PORT.to_owned()),
        (true, true) => {
            let advice = format!("write brackets around the address; {example}");
            ("an IPv6 address without brackets", advice)
        }
        (false, _) if host.is_empty() && is_number(port) => {
            ("a port without an address", for_use.for_port().to_owned())
        }
        (false, _) if matches!(host, "*" | "any" | "[*]") => {
            let advice = "write 0.0.0.0 for every IPv4 address, or [::] for IPv6 as well";
            (
                "a wildcard, where an address is expected",
                advice.to_owned(),
            )
        }
        (false, _) if is_dotted(host) => ("not an IPv4 address", DOTTED.to_owned()),
        (false, true) => name(host, for_use, true),
        (false, false) => ("not an address with a port", example.to_owned()),
    }
}

pub(super) const VARIABLE: &str = "a variable of a template";
pub(super) const FILL_IN: &str = "write the value: variables are not filled in here";

/// `${DOMAIN}`, `$DOMAIN`, `{{ domain }}`
pub(super) fn is_variable(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ["${", "{{", "{%"].iter().any(|start| text.contains(start))
        || text
            .strip_prefix('$')
            .is_some_and(|name| !name.is_empty() && name.chars().all(is_name))
}

const DOTTED: &str = "write four numbers from 0 to 255, without zeros before them";

fn name(host: &str, for_use: AddressUse, has_port: bool) -> Mistake {
    if for_use == AddressUse::Upstream {
        let message = if has_port {
            "not a name with a port"
        } else {
            "a name without a port"
        };
        return (message, for_use.example().to_owned());
    }
    let advice = for_use.for_name(host);
    let advice = if has_port || for_use == AddressUse::NameServer {
        advice.to_owned()
    } else {
        format!("{advice}, and a port behind a colon")
    };
    ("a name, where an address is expected", advice)
}

fn url_for_address(scheme: &str, rest: &str, for_use: AddressUse) -> Mistake {
    const MESSAGE: &str = "a URL, where an address is expected";
    let example = for_use.example();
    if for_use == AddressUse::NameServer && !matches!(scheme, "udp" | "dns") {
        let advice = format!("name servers are asked by UDP and TCP alone; {example}");
        return (MESSAGE, advice);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let leave_out = leave_out(scheme, !path.is_empty());
    let host = authority.split(':').next().unwrap_or(authority);
    let advice = if is_complete(authority, for_use) {
        leave_out
    } else if is_name(host) && !is_dotted(host) {
        format!("{leave_out}, and {}", for_use.for_name(host))
    } else {
        format!("{leave_out}; {example}")
    };
    (MESSAGE, advice)
}

/// Which parts of a URL to leave out.
fn leave_out(scheme: &str, has_path: bool) -> String {
    let scheme = match scheme {
        "http" | "https" | "tcp" | "udp" | "tls" | "ws" | "wss" => format!("`{scheme}://`"),
        _ => "everything up to `://`".to_owned(),
    };
    if has_path {
        format!("leave out {scheme} and everything from the next `/` on")
    } else {
        format!("leave out {scheme}")
    }
}

fn is_complete(text: &str, for_use: AddressUse) -> bool {
    let without_port = for_use == AddressUse::NameServer && text.parse::<IpAddr>().is_ok();
    without_port || text.parse::<SocketAddr>().is_ok()
}

fn is_dotted(text: &str) -> bool {
    text.contains('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

pub(super) const DOMAIN_WITH_PORT: &str = "a domain with a port";

/// Says what is wrong with an entry of a list of domains, where it is one of the usual mistakes.
pub(super) fn domain(text: &str) -> Option<Mistake> {
    if is_variable(text) {
        return Some((VARIABLE, FILL_IN.to_owned()));
    }
    let is_wildcard = text.contains('*') && is_name(&text.replace('*', "a"));
    if is_wildcard || text.parse::<IpNet>().is_ok() {
        // What reads the entry says it better.
        return None;
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let has_path = rest.contains(['/', '?', '#']);
        let mut advice = leave_out(scheme, has_path);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if authority.contains('@') {
            advice.push_str(", and everything up to `@`");
        }
        if has_port(authority) {
            advice.push_str(", and the port");
        }
        return Some(("a URL, where a domain is expected", advice));
    }
    if text.starts_with("||") || text.starts_with("@@") {
        let advice = "write .example.org, or put it into a list file and name that as \"@file\"";
        return Some((
            "a rule of an ad blocker, where a domain is expected",
            advice.to_owned(),
        ));
    }
    if is_expression(text) {
        let advice = "write example.org for one domain, or .example.org for it and all below it";
        return Some((
            "a regular expression, where a domain is expected",
            advice.to_owned(),
        ));
    }
    if text.contains('@') {
        let advice = "leave out everything up to `@`".to_owned();
        return Some((
            "a user or a mail address, where a domain is expected",
            advice,
        ));
    }
    if text.contains('/') {
        let advice = "leave out everything from `/` on".to_owned();
        return Some(("a domain with a path", advice));
    }
    if has_port(text) {
        let advice = "leave out the port; ports have lists of their own, `connect_ports`, `http_ports` and `ports`";
        return Some((DOMAIN_WITH_PORT, advice.to_owned()));
    }
    if text.contains(char::is_whitespace) || text.contains([',', ';']) {
        let advice = "write each domain as an entry of its own".to_owned();
        return Some(("more than one domain, or a space in one", advice));
    }
    None
}

/// Says what is wrong with an entry of a list of networks, where it is one of the usual mistakes.
pub(super) fn network(text: &str) -> Option<Mistake> {
    const EXAMPLE: &str = "write it as 192.0.2.0/24, 2001:db8::/32 or a single address";
    if is_variable(text) {
        return Some((VARIABLE, FILL_IN.to_owned()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let leave_out = leave_out(scheme, rest.contains(['/', '?', '#']));
        return Some((
            "a URL, where a network is expected",
            format!("{leave_out}; {EXAMPLE}"),
        ));
    }
    if matches!(text, "any" | "all" | "*") {
        let advice = "write 0.0.0.0/0 and \"::/0\"".to_owned();
        return Some(("not a network", advice));
    }
    if text.parse::<SocketAddr>().is_ok() {
        let advice = "leave out the port; ports have lists of their own, `connect_ports`, `http_ports` and `ports`";
        return Some(("an address with a port", advice.to_owned()));
    }
    if text.contains(char::is_whitespace) || text.contains([',', ';']) {
        let advice = "write each network as an entry of its own".to_owned();
        return Some(("more than one network, or a space in one", advice));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare != text && bare.parse::<IpAddr>().is_ok() {
        return Some((
            "an address in brackets",
            "leave out the brackets".to_owned(),
        ));
    }
    if let Some((address, prefix)) = text.split_once('/')
        && address.parse::<IpAddr>().is_ok()
    {
        if prefix.parse::<IpAddr>().is_ok() {
            let advice = "write the length of the prefix, such as /24 for 255.255.255.0".to_owned();
            return Some(("a network with a netmask", advice));
        }
        if prefix.is_empty() || prefix.bytes().any(|byte| !byte.is_ascii_digit()) {
            let advice = "write a number behind `/`, or leave it out".to_owned();
            return Some(("the length of the prefix is not a number", advice));
        }
        let longest = if address.contains(':') { 128 } else { 32 };
        if prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest) {
            return None;
        }
        let advice = format!("write one from 0 to {longest}");
        return Some(("the length of the prefix is out of range", advice));
    }
    let parts = text.split_once('-');
    if parts.is_some_and(|(first, last)| {
        first.trim().parse::<IpAddr>().is_ok() && is_dotted_or_ip(last.trim())
    }) {
        return Some((
            "a range of addresses, where a network is expected",
            EXAMPLE.to_owned(),
        ));
    }
    if text.contains('*') {
        return Some((
            "a wildcard, where a network is expected",
            EXAMPLE.to_owned(),
        ));
    }
    let host = match text.split_once(':') {
        Some((host, _)) if has_port(text) => host,
        _ => text,
    };
    if is_name(host) && host.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        let advice = "write its IP address here, or the name into a list of domains".to_owned();
        return Some(("a name, where a network is expected", advice));
    }
    None
}

fn is_dotted_or_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether a text has signs that expressions have and names do not. A star alone is a wildcard.
fn is_expression(text: &str) -> bool {
    let is_delimited = text.len() > 2 && text.starts_with('/') && text.ends_with('/');
    text.starts_with(['^', '~'])
        || ["re:", "regex:", "regexp:"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        || text.contains(['\\', '$', '(', '|', '+', '?', '{'])
        || is_delimited
        || (text.contains(".*") && text != ".*")
        || (text.contains('[') && !text.starts_with('['))
}

fn has_port(text: &str) -> bool {
    let port = text
        .rsplit_once(':')
        .map(|(host, port)| (host.contains(':'), port));
    port.is_some_and(|(more, port)| {
        !more && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests;
