use std::net::SocketAddr;

use super::{guarded, request, to_port};
use crate::access::policy::{Destination, Guard};
use crate::http::target::Target;

/// What a hostile CONNECT looks like, and how it ends: the canonical spelling that the log
/// shows with the rule that denies it, or why it is refused.
#[test]
fn known_spellings_of_addresses() {
    let policy = guarded(Guard::default());
    for (host, expected) in [
        (
            "[example.com]",
            "brackets hold something else than an IPv6 address",
        ),
        ("0177.0.0.1", "127.0.0.1:443 special_purpose:loopback"),
        ("2130706433", "127.0.0.1:443 special_purpose:loopback"),
        ("127.1", "127.0.0.1:443 special_purpose:loopback"),
        ("127.0.0.1.", "127.0.0.1:443 special_purpose:loopback"),
        (
            "[::ffff:127.0.0.1]",
            "[::ffff:127.0.0.1]:443 special_purpose:loopback",
        ),
        (
            "[::FFFF:7F00:1]",
            "[::ffff:127.0.0.1]:443 special_purpose:loopback",
        ),
        (
            "[64:ff9b::7f00:1]",
            "[64:ff9b::7f00:1]:443 special_purpose:loopback",
        ),
        (
            "[2002:7f00:1::]",
            "[2002:7f00:1::]:443 special_purpose:loopback",
        ),
        (
            "[::5efe:10.0.0.1]",
            "[::5efe:a00:1]:443 special_purpose:private_use",
        ),
        ("0.0.0.0", "0.0.0.0:443 special_purpose:unspecified"),
        (
            "[fe80::1%eth0]",
            "brackets hold something else than an IPv6 address",
        ),
        ("LOCALHOST.", "localhost:443 to resolve"),
        ("ⓛocalhost", "localhost:443 to resolve"),
    ] {
        let raw = format!("{host}:443");
        let outcome = match Target::parse(b"CONNECT", raw.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(Target::Authority(authority)) => match authority.host.ip() {
                None => format!("{authority} to resolve"),
                Some(ip) => {
                    let admission = to_port(&policy, authority.port);
                    let denied = admission.admit_address(SocketAddr::new(ip, authority.port));
                    format!("{authority} {}", denied.unwrap_err().by)
                }
            },
            Ok(other) => panic!("{other:?}"),
        };
        assert_eq!(outcome, expected, "{host}");
    }
}

/// Spellings of places inside: as an absolute-form or a CONNECT target, none gets anywhere.
const HOSTILE: &[&str] = &[
    // Loopback
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "127.1.",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.1",
    "00000177.0.0.1",
    "0x7f.0.0.1",
    "0X7F.0x00.0x0.0x1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "2130706433.",
    "017700000001",
    "0x7f.0.1",
    "127.0.0.0x1",
    "127.00000.00000.1",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．1",
    "127｡0｡0｡1",
    "0ｘ7f.1",
    "127.0.0.1\u{ad}",
    "%3127.0.0.1",
    "127%2e0%2e0%2e1",
    "127.0.0.1%00",
    "127.0.0.1%0a",
    "127.0.0.1#",
    "127.0.0.1\\",
    "x@127.0.0.1",
    "example.org@127.0.0.1",
    "example.org\\@127.0.0.1",
    "127.0.0.1\t",
    "127.0.0.1..",
    ".127.0.0.1",
    "127.0.0.1,example.org",
    "[127.0.0.1]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "::1",
    "[::1%lo]",
    "[::1%25lo]",
    "[::1%250]",
    "[v6.::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:FFFF:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:0177.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::127.0.0.1]",
    "[64:ff9b:1:7f00:0:100::]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2001:0:808:808::80ff:fffe]",
    "[2001:0:7f00:1::f7f7:f7f7]",
    "[2606:4700::5efe:127.0.0.1]",
    "[2606:4700::200:5efe:7f00:1]",
    "[::5efe:127.0.0.1]",
    // This host, this network
    "0",
    "0.",
    "0x0",
    "00",
    "0.0.0.0",
    "0.0",
    "0.0.0.1",
    "0x",
    "[::]",
    "[::0.0.0.0]",
    "[::ffff:0.0.0.0]",
    "[::ffff:0:0]",
    "[64:ff9b::]",
    "[2002::]",
    // Private use
    "10.0.0.1",
    "10.1",
    "012.0.0.1",
    "0xa.0.0.1",
    "167772161",
    "0xa000001",
    "172.16.0.1",
    "172.31.255.255",
    "0254.020.0.1",
    "192.168.0.1",
    "192.168.1",
    "0xc0a80001",
    "3232235521",
    "030052000001",
    "[::ffff:10.0.0.1]",
    "[::ffff:c0a8:1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::]",
    "[2002:c0a8:1::1]",
    "[::5efe:10.0.0.1]",
    "[fe80::5efe:10.0.0.1]",
    "[::10.0.0.1]",
    "[::ffff:0:192.168.0.1]",
    "[64:ff9b:1:a00:0:100::]",
    "[64:ff9b:1:c0:a8:1::]",
    "[64:ff9b:1::c0:a800:100:0]",
    // Metadata services and links
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "0xa9.0xfe.0xa9.0xfe",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%eth0]",
    "[fe80::a9fe:a9fe]",
    "[fe80::1%25eth0]",
    "[FE80::1]",
    "100.100.100.200",
    "192.0.0.192",
    "100.64.0.1",
    // The rest
    "[fc00::1]",
    "[fdff::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "240.0.0.1",
    "0xffffffff",
    "4294967295",
    "4294967296",
    "198.18.0.1",
    "192.0.2.1",
    "[2001:db8::1]",
    "[100::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[4000::1]",
    "[::ffff:255.255.255.255]",
];

#[test]
fn no_hostile_spelling_gets_inside() {
    let policy = guarded(Guard::default());
    let mut counts = [0, 0];
    for host in HOSTILE {
        let connect = format!("{host}:443");
        let absolute = format!("http://{host}/");
        let targets: [(&[u8], &str); 2] = [(b"CONNECT", &connect), (b"GET", &absolute)];
        for (method, raw) in targets {
            let Ok(target) = Target::parse(method, raw.as_bytes()) else {
                counts[0] += 1;
                continue;
            };
            let authority = target.authority().unwrap();
            let ip = authority.host.ip();
            let ip = ip.unwrap_or_else(|| panic!("{raw} is left to the resolver as {authority}"));
            // As the target itself, and as what some name resolves to.
            let asked = request(match method {
                b"CONNECT" => Destination::Tunnel(authority),
                _ => Destination::Forward(authority),
            });
            let denied = policy.admit_request(&asked);
            assert!(denied.is_err(), "{raw} is admitted as {authority}");
            let admission = to_port(&policy, authority.port);
            let denied = admission.admit_address(SocketAddr::new(ip, authority.port));
            assert!(denied.is_err(), "{raw} is admitted as {authority}");
            counts[1] += 1;
        }
    }
    assert!(
        counts[0] > 40 && counts[1] > 160,
        "refused, denied: {counts:?}"
    );
}
