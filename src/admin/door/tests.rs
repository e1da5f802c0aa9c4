use super::*;

fn door(hosts: &[&str]) -> Door {
    Door {
        operators: None,
        takes_certificates: false,
        has_tls: false,
        is_exposed: false,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        has_public_metrics: false,
        has_page: true,
    }
}

fn fields(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
    let lines = lines.iter();
    let lines = lines.map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
    lines.collect()
}

fn host_is_known(door: &Door, host: &[u8]) -> bool {
    let mut fields = HeaderMap::new();
    fields.insert(HOST, HeaderValue::from_bytes(host).unwrap());
    door.check_host(Version::HTTP_11, &fields).is_ok()
}

#[test]
fn only_addresses_localhost_and_configured_names_lead_here() {
    let door = door(&["ops.example.org"]);
    for host in [
        "127.0.0.1:9188",
        "127.0.0.1",
        "[::1]:9188",
        "[::1]",
        "localhost:1",
        "LOCALHOST",
        "ops.example.org",
        "OPS.example.org:9188",
    ] {
        assert!(host_is_known(&door, host.as_bytes()), "{host}");
    }
    for host in [
        "evil.example:9188",
        "localhost.evil.example",
        "",
        ":9188",
        "127.0.0.1.evil",
        "ops.example.org.evil",
        "x.ops.example.org",
        "ops.example.org:9188:1",
        "[127.0.0.1",
    ] {
        assert!(!host_is_known(&door, host.as_bytes()), "{host}");
    }
    assert!(!host_is_known(&door, b"\xff"));
    let status = |version, fields: &HeaderMap| {
        let answer = door.check_host(version, fields);
        answer.err().map(|answer| answer.status.as_u16())
    };
    // HTTP/1.0 has no field for it (RFC 1945).
    assert_eq!(status(Version::HTTP_10, &HeaderMap::new()), None);
    assert_eq!(status(Version::HTTP_11, &HeaderMap::new()), Some(400));
    let mut two = HeaderMap::new();
    two.append(HOST, HeaderValue::from_static("127.0.0.1"));
    two.append(HOST, HeaderValue::from_static("localhost"));
    assert_eq!(status(Version::HTTP_11, &two), Some(400));
    assert_eq!(status(Version::HTTP_10, &two), Some(400));
}

#[test]
fn what_another_site_can_send_changes_nothing() {
    let door = door(&[]);
    let kind = |effect, path, lines: &[(HeaderName, &'static str)]| {
        let answer = door.check_effect(effect, path, &fields(lines));
        match answer.err().map(|answer| answer.body) {
            None => "admitted",
            Some(crate::admin::answer::Body::Problem { kind, .. }) => kind.kind(),
            Some(body) => panic!("{body:?}"),
        }
    };
    let host = (HOST, "127.0.0.1:9188");
    let own = (ORIGIN, "http://127.0.0.1:9188");
    let field = (REQUEST_FIELD, "1");
    let (api, legacy) = ("/api/v1/reload", "/reload");
    /// A path, fields, and what becomes of them.
    type Case<'a> = (&'a str, &'a [(HeaderName, &'static str)], &'a str);
    let cases: &[Case<'_>] = &[
        (api, &[host.clone(), field.clone()], "admitted"),
        (api, &[host.clone(), own.clone(), field.clone()], "admitted"),
        (api, std::slice::from_ref(&host), "request_field_missing"),
        (api, &[host.clone(), own.clone()], "request_field_missing"),
        (legacy, std::slice::from_ref(&host), "admitted"),
        (
            legacy,
            &[host.clone(), own.clone()],
            "request_field_missing",
        ),
        (legacy, &[host.clone(), own, field.clone()], "admitted"),
        (
            api,
            &[host.clone(), (ORIGIN, "http://evil.example"), field.clone()],
            "origin_refused",
        ),
        (
            api,
            &[host.clone(), (ORIGIN, "null"), field.clone()],
            "origin_refused",
        ),
        (
            api,
            &[
                host.clone(),
                (ORIGIN, "https://127.0.0.1:9188"),
                field.clone(),
            ],
            "origin_refused",
        ),
        (
            api,
            &[
                host.clone(),
                (ORIGIN, "http://127.0.0.1:91880"),
                field.clone(),
            ],
            "origin_refused",
        ),
        (api, &[(ORIGIN, "http://"), field.clone()], "origin_refused"),
        (
            legacy,
            &[host.clone(), (FETCH_SITE, "cross-site")],
            "origin_refused",
        ),
        (
            api,
            &[host.clone(), (FETCH_SITE, "same-origin"), field.clone()],
            "admitted",
        ),
    ];
    for (path, lines, expected) in cases {
        assert_eq!(kind(Effect::Reloads, path, lines), *expected, "{lines:?}");
    }
    let cross = (FETCH_SITE, "cross-site");
    let link = (FETCH_MODE, "navigate");
    let reads: &[Case<'_>] = &[
        (api, std::slice::from_ref(&host), "admitted"),
        (
            api,
            &[host.clone(), (FETCH_SITE, "same-origin")],
            "admitted",
        ),
        (api, &[host.clone(), cross.clone()], "origin_refused"),
        (
            api,
            &[host.clone(), (FETCH_SITE, "same-site")],
            "origin_refused",
        ),
        (
            api,
            &[host.clone(), (ORIGIN, "http://evil.example")],
            "origin_refused",
        ),
        (
            api,
            &[
                host.clone(),
                cross.clone(),
                link.clone(),
                (FETCH_DEST, "document"),
            ],
            "admitted",
        ),
        (
            api,
            &[host.clone(), cross.clone(), link, (FETCH_DEST, "iframe")],
            "origin_refused",
        ),
        ("/healthz", &[host.clone(), cross], "admitted"),
    ];
    for (path, lines, expected) in reads {
        assert_eq!(kind(Effect::Reads, path, lines), *expected, "{lines:?}");
    }
    // Without users nothing else changes.
    let lines = [host.clone(), field];
    assert_eq!(kind(Effect::Changes, api, &lines), "read_only");
    assert_eq!(kind(Effect::Changes, "/quotas/reset", &lines), "read_only");
    assert_eq!(
        kind(
            Effect::Changes,
            "/quotas/reset",
            std::slice::from_ref(&host)
        ),
        "request_field_missing"
    );
    assert_eq!(kind(Effect::Asks, api, &lines), "admitted");
}
