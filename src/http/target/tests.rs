use proptest::prelude::*;

use super::*;

/// Shows a result so that a table can hold it: the canonical target, or the error.
fn shown(method: &str, raw: &[u8]) -> Result<String, TargetError> {
    Target::parse(method.as_bytes(), raw).map(|target| match target {
        Target::Absolute {
            scheme,
            authority,
            path_start,
        } => {
            let path = String::from_utf8_lossy(&raw[path_start..]);
            format!("{scheme}://{authority} {path}")
        }
        Target::Authority(authority) => authority.to_string(),
        Target::Origin => "origin".to_owned(),
        Target::Asterisk => "asterisk".to_owned(),
    })
}

#[track_caller]
fn check(method: &str, raw: &str, expected: Result<&str, TargetError>) {
    let expected = expected.map(str::to_owned);
    assert_eq!(shown(method, raw.as_bytes()), expected, "{method} {raw}");
}

#[test]
fn forms() {
    for (method, raw, expected) in [
        ("GET", "/", Ok("origin")),
        ("GET", "//evil/x", Ok("origin")),
        ("GET", "/a?b=http://c@d/\\", Ok("origin")),
        ("OPTIONS", "*", Ok("asterisk")),
        ("OPTIONS", "/x", Ok("origin")),
        ("GET", "*", Err(TargetError::AsteriskForm)),
        ("options", "*", Err(TargetError::AsteriskForm)),
        ("OPTIONS", "**", Err(TargetError::Form)),
        ("CONNECT", "example.org:443", Ok("example.org:443")),
        ("CONNECT", "*", Err(TargetError::ConnectForm)),
        ("CONNECT", "/", Err(TargetError::ConnectForm)),
        ("CONNECT", "/:443", Err(TargetError::ConnectForm)),
        ("CONNECT", "http://h:80/", Err(TargetError::ConnectForm)),
        ("CONNECT", "http://h:80", Err(TargetError::ConnectForm)),
        ("CONNECT", "h:443/", Err(TargetError::ConnectForm)),
        ("CONNECT", "h:443?x", Err(TargetError::ConnectForm)),
        ("CONNECT", "", Err(TargetError::Empty)),
        ("connect", "h:443", Err(TargetError::AuthorityForm)),
        ("GET", "example.org:80", Err(TargetError::AuthorityForm)),
        ("GET", "[::1]:80", Err(TargetError::AuthorityForm)),
        ("GET", "127.0.0.1:80", Err(TargetError::AuthorityForm)),
        ("GET", "http:80", Err(TargetError::AuthorityForm)),
        ("GET", "", Err(TargetError::Empty)),
        ("GET", "example.org", Err(TargetError::Form)),
        ("GET", "example.org/x", Err(TargetError::Form)),
        ("GET", "?x", Err(TargetError::Form)),
        ("GET", "http:/h/", Err(TargetError::Form)),
        ("GET", "http:h/", Err(TargetError::Form)),
        ("GET", "http:\\\\h/", Err(TargetError::Form)),
        ("GET", "://h/", Err(TargetError::Form)),
        ("GET", "1http://h/", Err(TargetError::Form)),
        ("GET", "ftp://h/", Err(TargetError::Scheme)),
        ("GET", "gopher://h:70/", Err(TargetError::Scheme)),
        ("GET", "urn:x", Err(TargetError::Scheme)),
        ("GET", "ws://h/", Err(TargetError::Scheme)),
        ("GET", "httpx://h/", Err(TargetError::Scheme)),
        ("GET", "view-source:http://h/", Err(TargetError::Scheme)),
    ] {
        check(method, raw, expected);
    }
}

#[test]
fn absolute_form() {
    for (raw, expected) in [
        ("http://example.org", Ok("http://example.org:80 ")),
        ("http://example.org/", Ok("http://example.org:80 /")),
        ("https://example.org/a", Ok("https://example.org:443 /a")),
        ("HtTp://EXAMPLE.org:80/A", Ok("http://example.org:80 /A")),
        ("http://h:8080?q=/x", Ok("http://h:8080 ?q=/x")),
        (
            "http://h/a@b:c\\d|e^{f}\"<>`é",
            Ok("http://h:80 /a@b:c\\d|e^{f}\"<>`é"),
        ),
        ("http://h?@evil/", Ok("http://h:80 ?@evil/")),
        ("http://h/%2f..%00/..;x/", Ok("http://h:80 /%2f..%00/..;x/")),
        ("http://[2001:DB8::1]/", Ok("http://[2001:db8::1]:80 /")),
        ("http://[::1]:81", Ok("http://[::1]:81 ")),
        ("http://", Err(TargetError::EmptyHost)),
        ("http:///path", Err(TargetError::EmptyHost)),
        ("http://:80/", Err(TargetError::EmptyHost)),
        ("http://?x", Err(TargetError::EmptyHost)),
        ("http://h:/", Ok("http://h:80 /")),
        ("https://H:/a", Ok("https://h:443 /a")),
        ("http://h:", Ok("http://h:80 ")),
        ("http://h:?q", Ok("http://h:80 ?q")),
        ("https://[::1]:/", Ok("https://[::1]:443 /")),
        ("http://:/", Err(TargetError::EmptyHost)),
        ("http://h::/", Err(TargetError::UnbracketedIpv6)),
        ("http://h: /", Err(TargetError::Byte)),
        ("http://good@evil/", Err(TargetError::Userinfo)),
        ("http://good:pw@evil:80/", Err(TargetError::Userinfo)),
        ("http://@evil/", Err(TargetError::Userinfo)),
        ("http://evil#@good/", Err(TargetError::Fragment)),
        ("http://h/#f", Err(TargetError::Fragment)),
        ("http://good\\@evil/", Err(TargetError::Backslash)),
        ("http://good\\.evil/", Err(TargetError::Backslash)),
        ("http://h\\/", Err(TargetError::Backslash)),
        ("http://h/a b", Err(TargetError::Byte)),
        ("http://h /", Err(TargetError::Byte)),
        ("http://h/\t", Err(TargetError::Byte)),
        ("http://h\r\nx/", Err(TargetError::Byte)),
        ("http://h/\0", Err(TargetError::Byte)),
        ("http://h/\x7f", Err(TargetError::Byte)),
    ] {
        check("GET", raw, expected);
    }
    // obs-text in the path passes, also where it is not UTF-8; in the host it does not.
    let raw = b"http://h/\xff\xfe?\x80";
    let target = Target::parse(b"GET", raw).unwrap();
    assert!(matches!(target, Target::Absolute { path_start: 8, .. }));
    let error = Target::parse(b"GET", b"http://h\xff/").unwrap_err();
    assert_eq!(error, TargetError::HostName);
}

#[test]
fn ports() {
    for (raw, expected) in [
        ("h:1", Ok("h:1")),
        ("h:65535", Ok("h:65535")),
        ("[::1]:443", Ok("[::1]:443")),
        ("h", Err(TargetError::MissingPort)),
        ("[::1]", Err(TargetError::MissingPort)),
        (":443", Err(TargetError::EmptyHost)),
        (":", Err(TargetError::EmptyHost)),
        ("h:", Err(TargetError::Port)),
        ("[::1]:", Err(TargetError::Port)),
        ("h:0", Err(TargetError::Port)),
        ("h:00443", Err(TargetError::Port)),
        ("h:65536", Err(TargetError::Port)),
        ("h:99999", Err(TargetError::Port)),
        ("h:655350", Err(TargetError::Port)),
        ("h:4294967739", Err(TargetError::Port)),
        ("h:18446744073709552059", Err(TargetError::Port)),
        ("h:+80", Err(TargetError::Port)),
        ("h:-80", Err(TargetError::Port)),
        ("h:0x50", Err(TargetError::Port)),
        ("h:80a", Err(TargetError::Port)),
        ("h:8\u{ff10}", Err(TargetError::Port)),
        ("h:http", Err(TargetError::Port)),
        ("h:443#evil:80", Err(TargetError::Fragment)),
        ("h:80:443", Err(TargetError::UnbracketedIpv6)),
        ("::1:443", Err(TargetError::UnbracketedIpv6)),
        ("2001:db8::1", Err(TargetError::UnbracketedIpv6)),
        ("[::1]443", Err(TargetError::Brackets)),
        ("[::1]:80:80", Err(TargetError::UnbracketedIpv6)),
    ] {
        check("CONNECT", raw, expected);
    }
}

#[test]
fn hosts() {
    let label = "a".repeat(63);
    let long_label = format!("{label}a.org");
    let full = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let too_long = format!("{full}a");
    let rooted = format!("{full}.");
    for (raw, expected) in [
        ("example.org", Ok("example.org")),
        ("EXAMPLE.Org.", Ok("example.org")),
        ("localhost", Ok("localhost")),
        ("_dmarc.a_b.example.org", Ok("_dmarc.a_b.example.org")),
        ("r3---sn-x.example.org", Ok("r3---sn-x.example.org")),
        ("-x-.example.org", Ok("-x-.example.org")),
        ("3com.example.3g", Ok("3com.example.3g")),
        ("bücher.example", Ok("xn--bcher-kva.example")),
        ("BÜCHER.example", Ok("xn--bcher-kva.example")),
        ("XN--BCHER-KVA.example", Ok("xn--bcher-kva.example")),
        ("ｅｘａｍｐｌｅ。ｏｒｇ", Ok("example.org")),
        ("exa\u{ad}mple.org", Ok("example.org")),
        ("faß.example", Ok("xn--fa-hia.example")),
        (&full, Ok(&full)),
        (&rooted, Ok(&full)),
        ("xn--a.example", Err(TargetError::HostName)),
        ("XN--A.example", Err(TargetError::HostName)),
        ("xn--.example", Err(TargetError::HostName)),
        ("a\u{3000}b", Err(TargetError::HostName)),
        ("a\u{ff0f}b", Err(TargetError::HostName)),
        ("a\u{ff20}b", Err(TargetError::HostName)),
        ("a\u{ff05}30", Err(TargetError::HostName)),
        ("a\u{2488}com", Err(TargetError::HostName)),
        ("a\u{202e}b", Err(TargetError::HostName)),
        ("a*b", Err(TargetError::HostName)),
        ("*.example.org", Err(TargetError::HostName)),
        ("a,b", Err(TargetError::HostName)),
        ("a;b", Err(TargetError::HostName)),
        ("a'b", Err(TargetError::HostName)),
        ("a|b", Err(TargetError::HostName)),
        ("a<b>", Err(TargetError::HostName)),
        ("a]", Err(TargetError::HostName)),
        ("a[::1]", Err(TargetError::UnbracketedIpv6)),
        ("ex%61mple.org", Err(TargetError::PercentInHost)),
        ("%", Err(TargetError::PercentInHost)),
        (".", Err(TargetError::EmptyHost)),
        ("\u{ad}", Err(TargetError::EmptyHost)),
        ("..", Err(TargetError::EmptyLabel)),
        (".example.org", Err(TargetError::EmptyLabel)),
        ("a..b", Err(TargetError::EmptyLabel)),
        ("a。。b", Err(TargetError::EmptyLabel)),
        ("example.org..", Err(TargetError::EmptyLabel)),
        (&long_label, Err(TargetError::HostLength)),
        (&too_long, Err(TargetError::HostLength)),
        ("[example.com]", Err(TargetError::Brackets)),
        ("[127.0.0.1]", Err(TargetError::Brackets)),
        ("[]", Err(TargetError::Brackets)),
        ("[::1", Err(TargetError::Brackets)),
        ("[[::1]]", Err(TargetError::Brackets)),
        ("[::1%25lo]", Err(TargetError::Brackets)),
        ("[fe80::1%eth0]", Err(TargetError::Brackets)),
        ("[v1.fe80::a+en1]", Err(TargetError::Brackets)),
        ("[::ffff:0177.0.0.1]", Err(TargetError::Brackets)),
        ("[::ffff:1.2.3]", Err(TargetError::Brackets)),
        ("[1:2:3:4:5:6:7:8:9]", Err(TargetError::Brackets)),
        ("[::12345]", Err(TargetError::Brackets)),
    ] {
        let absolute = expected.map(|host| format!("http://{host}:80 /"));
        let raw_absolute = format!("http://{raw}/");
        assert_eq!(shown("GET", raw_absolute.as_bytes()), absolute, "{raw}");
        let connect = expected.map(|host| format!("{host}:1"));
        let raw_connect = format!("{raw}:1");
        assert_eq!(shown("CONNECT", raw_connect.as_bytes()), connect, "{raw}");
    }
    let huge = "ü".repeat(10_000);
    let error = Host::parse(huge.as_bytes()).unwrap_err();
    assert_eq!(error, TargetError::HostLength);
}

#[test]
fn ipv4_in_every_spelling() {
    for (raw, expected) in [
        ("127.0.0.1", Ok("127.0.0.1")),
        ("127.0.0.1.", Ok("127.0.0.1")),
        ("0177.0.0.1", Ok("127.0.0.1")),
        ("0x7f.1", Ok("127.0.0.1")),
        ("0X7F.0x0.0X.0x1", Ok("127.0.0.1")),
        ("2130706433", Ok("127.0.0.1")),
        ("017700000001", Ok("127.0.0.1")),
        ("0x7f000001", Ok("127.0.0.1")),
        ("127.1", Ok("127.0.0.1")),
        ("127.0.1", Ok("127.0.0.1")),
        ("127.65535", Ok("127.0.255.255")),
        ("０x7f.1", Ok("127.0.0.1")),
        ("①②⑦.⓪.⓪.①", Ok("127.0.0.1")),
        ("127。0。0。1", Ok("127.0.0.1")),
        ("0", Ok("0.0.0.0")),
        ("0x", Ok("0.0.0.0")),
        ("4294967295", Ok("255.255.255.255")),
        ("4294967296", Err(TargetError::Ipv4Number)),
        ("256.0.0.1", Err(TargetError::Ipv4Number)),
        ("127.0.0.256", Err(TargetError::Ipv4Number)),
        ("1.2.3.4.5", Err(TargetError::Ipv4Number)),
        ("08.0.0.1", Err(TargetError::Ipv4Number)),
        ("0x7g.0.0.1", Err(TargetError::Ipv4Number)),
        ("example.127", Err(TargetError::Ipv4Number)),
        ("example.0x7f", Err(TargetError::Ipv4Number)),
        ("127.0.0.1..", Err(TargetError::EmptyLabel)),
        ("127..0.1", Err(TargetError::EmptyLabel)),
    ] {
        let host = Host::parse(raw.as_bytes()).map(|host| host.to_string());
        assert_eq!(host, expected.map(str::to_owned), "{raw}");
    }
}

#[test]
fn authorities() {
    let parse = |raw: &str, default| Authority::parse_with_default(raw.as_bytes(), default);
    assert_eq!(parse("h", Some(443)).unwrap().to_string(), "h:443");
    assert_eq!(parse("h:80", Some(443)).unwrap().to_string(), "h:80");
    assert_eq!(parse("h:", Some(443)).unwrap().to_string(), "h:443");
    assert_eq!(parse("h:", None), Err(TargetError::Port));
    assert_eq!(parse("h", None), Err(TargetError::MissingPort));
    assert_eq!(parse("a b", Some(1)), Err(TargetError::Byte));
    assert_eq!(parse("a#b", Some(1)), Err(TargetError::Fragment));
    assert_eq!(parse("a/b", Some(1)), Err(TargetError::HostName));

    let field = |raw: &str, scheme| {
        raw.parse::<Authority>()
            .unwrap()
            .host_field(scheme)
            .to_string()
    };
    assert_eq!(field("h:80", Scheme::Http), "h");
    assert_eq!(field("h:80", Scheme::Https), "h:80");
    assert_eq!(field("[::1]:443", Scheme::Https), "[::1]");
    assert_eq!(field("[::1]:8443", Scheme::Https), "[::1]:8443");

    let name = Host::parse(b"h").unwrap();
    assert_eq!(
        (name.is_name(), name.name(), name.ip()),
        (true, Some("h"), None)
    );
    let mapped = Host::parse(b"[::ffff:127.0.0.1]").unwrap();
    assert_eq!(mapped.to_string(), "[::ffff:127.0.0.1]");
    assert!(!mapped.is_name() && mapped.name().is_none());

    let target = Target::parse(b"CONNECT", b"h:443").unwrap();
    assert_eq!(target.authority().unwrap().port, 443);
    assert!(Target::Origin.authority().is_none());
}

/// Bytes that parsers trip over, in any order.
fn odd_authority() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("."),
        Just(":"),
        Just("["),
        Just("]"),
        Just("::"),
        Just("@"),
        Just("\\"),
        Just("%"),
        Just("xn--"),
        Just("bcher-kva"),
        Just("0x"),
        Just("0177"),
        Just("127"),
        Just("1"),
        Just("ffff"),
        Just("example"),
        Just("EXAMPLE"),
        Just("ü"),
        Just("。"),
        Just("\u{ad}"),
        Just("ß"),
        Just("_"),
        Just("-"),
        Just("443"),
        Just("ｘ"),
        Just("①"),
        Just("\u{200d}"),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn never_panics(method in "CONNECT|GET|OPTIONS", raw: Vec<u8>) {
        let _ = Target::parse(method.as_bytes(), &raw);
        let _ = Target::parse(b"GET", &[b"http://", &raw[..]].concat());
    }

    #[test]
    fn parses_what_it_prints(raw in odd_authority(), port: u16) {
        for raw in [raw.clone(), format!("{raw}:{port}")] {
            if let Ok(authority) = Authority::parse_with_default(raw.as_bytes(), Some(1)) {
                fuzz::check_authority(&authority);
            }
        }
    }

    #[test]
    fn addresses_survive(ip: std::net::IpAddr, port in 1u16..) {
        let authority = Authority { host: Host::Ip(ip), port };
        prop_assert_eq!(authority.to_string().parse(), Ok(authority));
    }

    /// What is accepted means the same to the URL parser of browsers.
    #[test]
    fn agrees_with_url(raw in odd_authority(), tail in "[/?].{0,4}") {
        let raw = format!("http://{raw}{tail}");
        if let Ok(Target::Absolute { scheme, authority, .. }) = Target::parse(b"GET", raw.as_bytes()) {
            fuzz::check_url(&raw, scheme, &authority);
        }
    }
}
