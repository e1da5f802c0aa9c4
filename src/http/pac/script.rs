//! The JavaScript of a PAC file, in the version that the oldest engines of clients know (ECMAScript 3).
//!
//! Each value of the configuration is a string literal or a number. No function that resolves a name is called with
//! one: each look-up would tell the name servers of the client what it is about to visit.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::{Direct, Hop};

/// Brings a host into one spelling. Lower case, without the dot at the end, and without brackets, which some clients
/// leave on an address.
const BEGIN: &str = "\
function FindProxyForURL(url, host) {
  host = host.toLowerCase().replace(/\\.$/, \"\").replace(/^\\[(.*)\\]$/, \"$1\");
";

const IS_BELOW: &str = "\
  function isBelow(suffix) {
    var start = host.length - suffix.length;
    return start > 0 && host.substring(start) == suffix;
  }
";

/// `isInNet` resolves what is no address, so that it is asked about addresses alone.
const IS_IPV4: &str = r#"  var octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  var isIpv4 = new RegExp("^" + octet + "(\\." + octet + "){3}$").test(host);
"#;

/// The eight groups of an IPv6 address; none for what is no such address.
const GROUPS: &str = "\
  function readGroups() {
    if (host.indexOf(\":\") < 0 || !/^[0-9a-f:]+$/.test(host)) return null;
    var halves = host.split(\"::\");
    if (halves.length > 2) return null;
    var head = halves[0] ? halves[0].split(\":\") : [];
    var tail = halves.length == 2 && halves[1] ? halves[1].split(\":\") : [];
    var missing = 8 - head.length - tail.length;
    if (halves.length == 2 ? missing < 1 : missing != 0) return null;
    var groups = [], i;
    for (i = 0; i < head.length; i++) groups.push(head[i]);
    for (i = 0; i < missing; i++) groups.push(\"0\");
    for (i = 0; i < tail.length; i++) groups.push(tail[i]);
    for (i = 0; i < 8; i++) {
      if (!/^[0-9a-f]{1,4}$/.test(groups[i])) return null;
      groups[i] = parseInt(groups[i], 16);
    }
    return groups;
  }
  var groups = readGroups();
  function isInIpv6(network, mask) {
    if (!groups) return false;
    for (var i = 0; i < 8; i++) {
      if ((groups[i] & mask[i]) != network[i]) return false;
    }
    return true;
  }
";

/// Writes the file.
pub(super) fn write(proxies: &[Hop], direct: &[Direct]) -> String {
    let mut out = String::from(BEGIN);
    let has = |is: fn(&Direct) -> bool| direct.iter().any(is);
    if has(|it| matches!(it, Direct::Suffix(_) | Direct::Below(_))) {
        out.push_str(IS_BELOW);
    }
    if has(|it| matches!(it, Direct::Network(IpNet::V4(_)))) {
        out.push_str(IS_IPV4);
    }
    if has(|it| matches!(it, Direct::Network(IpNet::V6(_)))) {
        out.push_str(GROUPS);
    }
    for entry in direct {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  if ({}) return \"DIRECT\";", condition(entry));
    }
    let proxies: Vec<_> = proxies.iter().map(Hop::to_string).collect();
    let _ = writeln!(out, "  return {};\n}}", literal(&proxies.join("; ")));
    out
}

fn condition(entry: &Direct) -> String {
    let below = |name: &str| format!("isBelow({})", literal(&format!(".{name}")));
    match entry {
        Direct::Exact(name) => format!("host == {}", literal(name)),
        Direct::Suffix(name) => format!("host == {} || {}", literal(name), below(name)),
        Direct::Below(name) => below(name),
        Direct::Network(IpNet::V4(network)) => format!(
            "isIpv4 && isInNet(host, {}, {})",
            literal(&network.network().to_string()),
            literal(&network.netmask().to_string()),
        ),
        Direct::Network(IpNet::V6(network)) => in_ipv6(network),
    }
}

fn in_ipv6(network: &Ipv6Net) -> String {
    let array = |address: Ipv6Addr| format!("{:?}", address.segments());
    let (address, mask) = (array(network.network()), array(network.netmask()));
    format!("isInIpv6({address}, {mask})")
}

/// A string literal that has this value. What has a meaning to JavaScript, HTML or a terminal is an escape in it.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for unit in text.encode_utf16() {
        match u8::try_from(unit).map(char::from) {
            Ok(c @ (' ' | '*' | '.' | '-' | '_' | ':' | ';' | '[' | ']')) => out.push(c),
            Ok(c) if c.is_ascii_alphanumeric() => out.push(c),
            _ => {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_used_is_not_written() {
        let proxies = [
            Hop::parse("PROXY proxy.corp.example:8888").unwrap(),
            Hop::Direct,
        ];
        assert_eq!(
            write(&proxies, &[]),
            format!("{BEGIN}  return \"PROXY proxy.corp.example:8888; DIRECT\";\n}}\n")
        );
        let direct: Vec<_> = [
            ".corp.example",
            "*.local",
            "host",
            "10.0.0.0/8",
            "2001:db8::/33",
        ]
        .iter()
        .map(|text| Direct::parse(text).unwrap())
        .collect();
        let text = write(&proxies, &direct);
        let conditions: Vec<_> = text
            .lines()
            .filter(|line| line.ends_with("return \"DIRECT\";"))
            .collect();
        assert_eq!(
            conditions,
            [
                r#"  if (host == "corp.example" || isBelow(".corp.example")) return "DIRECT";"#,
                r#"  if (isBelow(".local")) return "DIRECT";"#,
                r#"  if (host == "host") return "DIRECT";"#,
                r#"  if (isIpv4 && isInNet(host, "10.0.0.0", "255.0.0.0")) return "DIRECT";"#,
                "  if (isInIpv6([8193, 3512, 0, 0, 0, 0, 0, 0], [65535, 65535, 32768, 0, 0, 0, 0, 0])) \
                 return \"DIRECT\";",
            ]
        );
        assert!(!text.contains("dnsResolve") && !text.contains("isResolvable"));
    }

    proptest! {
        /// JSON has the escapes of JavaScript and fewer, so that its parser reads the value back.
        #[test]
        fn no_value_breaks_out_of_its_literal(text in any::<String>()) {
            let written = literal(&text);
            prop_assert_eq!(&serde_json::from_str::<String>(&written).unwrap(), &text);
            let inner = written.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap();
            prop_assert!(inner.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{written}");
            for sign in ["\"", "'", "<", ">", "/", "\n", "\r"] {
                prop_assert!(!inner.contains(sign), "{written}");
            }
        }
    }
}
