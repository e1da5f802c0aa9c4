//! The hosts file: `address name name …`, hosts(5). Pure: the caller reads it.

use std::collections::HashMap;
use std::net::IpAddr;

/// The names of a hosts file and their addresses.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<Box<str>, Vec<IpAddr>>,
}

impl Hosts {
    /// Parses a hosts file. Invalid lines are skipped, as every resolver does:
    /// the other lines must keep working.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            let Ok(line) = str::from_utf8(line) else {
                continue;
            };
            let mut words = line.split_ascii_whitespace();
            // An address with a zone (`fe80::1%eth0`) does not parse: it cannot be
            // dialled without its zone.
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words {
                let name = name.strip_suffix('.').unwrap_or(name);
                let addresses = by_name
                    .entry(name.to_ascii_lowercase().into_boxed_str())
                    .or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self { by_name }
    }

    /// The addresses of a lower-case name, or `None` when the file has none.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.by_name.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(text: &str, name: &str) -> Option<Vec<String>> {
        Hosts::parse(text.as_bytes())
            .addresses(name)
            .map(|found| found.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn lines() {
        let cases: &[(&str, &str, Option<&[&str]>)] = &[
            ("192.0.2.1 web", "web", Some(&["192.0.2.1"])),
            (
                "192.0.2.1\tWeb.Example.  www # web2",
                "web.example",
                Some(&["192.0.2.1"]),
            ),
            ("192.0.2.1 web www # web2", "www", Some(&["192.0.2.1"])),
            ("192.0.2.1 web # web2", "web2", None),
            ("# 192.0.2.1 web", "web", None),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2 web", "web", None),
            ("fe80::1%eth0 web", "web", None),
            (
                "192.0.2.1 web\r\n2001:db8::1 web\r\n",
                "web",
                Some(&["192.0.2.1", "2001:db8::1"]),
            ),
            (
                "192.0.2.1 web\n192.0.2.1 web web",
                "web",
                Some(&["192.0.2.1"]),
            ),
            ("\u{feff}192.0.2.1 web", "web", Some(&["192.0.2.1"])),
            ("", "web", None),
        ];
        for (text, name, expected) in cases {
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
            assert_eq!(addresses(text, name), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_utf8_does_not_affect_the_others() {
        let hosts = Hosts::parse(b"192.0.2.1 \xff\n192.0.2.2 web\n");
        assert!(hosts.addresses("web").is_some());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..512)) {
            Hosts::parse(&text);
        }

        #[test]
        fn written_text_is_read_back(address: IpAddr, name in "[a-z0-9-]{1,20}(\\.[a-z]{1,8}){0,3}") {
            let hosts = Hosts::parse(format!("{address} {name}").as_bytes());
            prop_assert_eq!(hosts.addresses(&name), Some(&[address][..]));
        }
    }
}
