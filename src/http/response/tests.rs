use proptest::prelude::*;

use super::*;

/// Field lines in order.
type Lines<'a> = &'a [(&'static str, &'a str)];

fn headers(lines: Lines<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn framing(lines: Lines<'_>) -> FramingFields {
    ResponseFields::read(StatusCode::OK, &headers(lines)).framing
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

/// The names that are left once those that end here are removed.
fn left(code: u16, lines: Lines<'_>) -> Vec<String> {
    let mut map = headers(lines);
    for name in ResponseFields::read(status(code), &map).hop_by_hop {
        map.remove(name);
    }
    let mut left: Vec<_> = map.keys().map(ToString::to_string).collect();
    left.sort();
    left
}

#[test]
fn hop_by_hop_fields_are_removed() {
    let lines = [
        ("connection", "close, X-Private"),
        ("keep-alive", "timeout=5"),
        ("x-private", "1"),
        ("proxy-authenticate", "Basic realm=origin"),
        ("upgrade", "h2c"),
        ("trailer", "X"),
        ("te", "trailers"),
        ("proxy-authenticate", "Negotiate"),
        ("proxy-authentication-info", "nextnonce=1"),
        ("proxy-connection", "close"),
        ("server", "origin"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
    ];
    let expected = [
        "connection",
        "content-length",
        "server",
        "transfer-encoding",
    ];
    assert_eq!(left(200, &lines), expected);
}

#[test]
fn a_101_keeps_upgrade() {
    let lines = [("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(left(101, &lines), ["connection", "upgrade"]);
    assert_eq!(left(426, &lines), ["connection"]);
}

#[test]
fn no_option_removes_what_frames_or_dates() {
    let lines = [
        (
            "connection",
            "content-length, transfer-encoding, via, Date, close",
        ),
        ("content-length", "3"),
        ("via", "1.1 a"),
        ("date", "today"),
        ("close", "1"),
    ];
    let expected = ["close", "connection", "content-length", "date", "via"];
    assert_eq!(left(200, &lines), expected);
}

#[test]
fn options_of_every_line_count() {
    let lines = [
        ("connection", "x-a"),
        ("connection", "X-B, close,,x-c"),
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-b", "2"),
        ("x-d", "1"),
    ];
    assert_eq!(left(200, &lines), ["connection", "x-d"]);
}

#[test]
fn what_pingora_gets_has_one_reading() {
    use FramingChange::*;
    let length = |text| ("content-length", text);
    let coding = |text| ("transfer-encoding", text);
    let longest = "9223372036854775807";
    let cases: &[(u16, Lines<'_>, _)] = &[
        (200, &[], Ok(Keep)),
        (200, &[length("5")], Ok(Keep)),
        (200, &[length("0")], Ok(Keep)),
        (200, &[length("005")], Ok(Keep)),
        (200, &[length(longest)], Ok(Keep)),
        (200, &[length("5, 5")], Ok(SetLength(5))),
        (200, &[length("5,\t5 , 05")], Ok(SetLength(5))),
        (200, &[length("5"), length("5")], Ok(SetLength(5))),
        (200, &[length("5"), length("05")], Ok(SetLength(5))),
        (200, &[length("5"), length("5, 5")], Ok(SetLength(5))),
        (200, &[length("5, 5"), length("5")], Ok(SetLength(5))),
        (200, &[length("5"), length("6")], Err(AmbiguousFraming)),
        (200, &[length("3,4,4")], Err(AmbiguousFraming)),
        (200, &[length("x"), length("3")], Err(AmbiguousFraming)),
        (200, &[length("9223372036854775808")], Err(AmbiguousFraming)),
        (
            200,
            &[length("18446744073709551616")],
            Err(AmbiguousFraming),
        ),
        (200, &[length("+5")], Err(AmbiguousFraming)),
        (200, &[length("5 5")], Err(AmbiguousFraming)),
        (200, &[length("5,")], Err(AmbiguousFraming)),
        (200, &[length("")], Err(AmbiguousFraming)),
        (200, &[coding("Chunked")], Ok(Keep)),
        (200, &[coding("chunked"), length("x")], Ok(Keep)),
        (200, &[coding("xchunked")], Err(AmbiguousFraming)),
        (200, &[coding("identity")], Err(AmbiguousFraming)),
        (200, &[coding("gzip, chunked")], Err(AmbiguousFraming)),
        (
            200,
            &[coding("chunked"), coding("chunked")],
            Err(AmbiguousFraming),
        ),
        (
            200,
            &[coding("gzip"), coding("chunked")],
            Err(AmbiguousFraming),
        ),
        (204, &[length("5")], Ok(Remove)),
        (204, &[coding("chunked")], Ok(Remove)),
        (204, &[length("x")], Ok(Remove)),
        (204, &[], Ok(Keep)),
        (103, &[length("5")], Ok(Remove)),
        (304, &[length("5")], Ok(Keep)),
        (304, &[length("5"), length("6")], Err(AmbiguousFraming)),
    ];
    for (code, lines, expected) in cases {
        let change = framing(lines).change(status(*code));
        assert_eq!(change, *expected, "{code} {lines:?}");
    }
}

#[test]
fn where_a_body_ends() {
    let length = |text| ("content-length", text);
    let coding = |text| ("transfer-encoding", text);
    let cases: &[(Method, u16, Lines<'_>, _)] = &[
        (Method::GET, 200, &[], Ok(BodyEnd::Close)),
        (Method::GET, 200, &[length("5")], Ok(BodyEnd::Length(5))),
        (
            Method::GET,
            200,
            &[length("5"), length("5")],
            Ok(BodyEnd::Length(5)),
        ),
        (Method::GET, 403, &[coding("Chunked")], Ok(BodyEnd::Chunked)),
        (Method::GET, 101, &[], Ok(BodyEnd::None)),
        (Method::GET, 103, &[length("5")], Ok(BodyEnd::None)),
        (Method::GET, 204, &[length("5")], Ok(BodyEnd::None)),
        (Method::GET, 304, &[length("x")], Ok(BodyEnd::None)),
        (Method::HEAD, 200, &[length("5")], Ok(BodyEnd::None)),
        (Method::CONNECT, 200, &[length("5")], Ok(BodyEnd::Close)),
        (Method::CONNECT, 204, &[], Ok(BodyEnd::Close)),
        (Method::CONNECT, 407, &[length("2")], Ok(BodyEnd::Length(2))),
        (Method::GET, 200, &[length("+5")], Err(AmbiguousFraming)),
        (Method::GET, 200, &[length("")], Err(AmbiguousFraming)),
        (
            Method::GET,
            200,
            &[length("9223372036854775807")],
            Ok(BodyEnd::Length(i64::MAX as u64)),
        ),
        (
            Method::GET,
            200,
            &[length("9223372036854775808")],
            Err(AmbiguousFraming),
        ),
        (Method::GET, 200, &[length("5, 5")], Err(AmbiguousFraming)),
        (
            Method::GET,
            200,
            &[length("5"), length("05")],
            Err(AmbiguousFraming),
        ),
        (
            Method::GET,
            200,
            &[length("5"), length("6")],
            Err(AmbiguousFraming),
        ),
        (
            Method::GET,
            200,
            &[length("5"), coding("chunked")],
            Err(AmbiguousFraming),
        ),
        (Method::GET, 200, &[coding("gzip")], Err(AmbiguousFraming)),
    ];
    for (method, code, lines, expected) in cases {
        let end = BodyEnd::of(method, status(*code), &framing(lines));
        assert_eq!(end, *expected, "{method} {code} {lines:?}");
    }
}

/// The values of all lines of one field.
fn values<'a>(lines: Lines<'a>, field: &str) -> Vec<&'a str> {
    let same = lines.iter().filter(|(name, _)| *name == field);
    same.map(|(_, value)| *value).collect()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// Whether the one coding is `chunked`; none without a coding.
fn model_chunked(lines: Lines<'_>) -> Option<bool> {
    match values(lines, "transfer-encoding")[..] {
        [] => None,
        [one] => Some(one.to_lowercase() == "chunked"),
        _ => Some(false),
    }
}

/// [`FramingFields::change`], with all lines of a field joined to one.
fn model_change(code: u16, lines: Lines<'_>) -> Result<FramingChange, AmbiguousFraming> {
    let lengths = values(lines, "content-length");
    let chunked = model_chunked(lines);
    if lengths.is_empty() && chunked.is_none() {
        return Ok(FramingChange::Keep);
    }
    if code < 200 || code == 204 {
        return Ok(FramingChange::Remove);
    }
    if let Some(chunked) = chunked {
        return chunked
            .then_some(FramingChange::Keep)
            .ok_or(AmbiguousFraming);
    }
    let joined = lengths.join(",");
    let numbers: Vec<Option<i64>> = joined
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .map(|member| is_digits(member).then(|| member.parse().ok()).flatten())
        .collect();
    match numbers[..] {
        [Some(_)] => Ok(FramingChange::Keep),
        [Some(first), ref others @ ..] if others.iter().all(|other| *other == Some(first)) => {
            Ok(FramingChange::SetLength(first.unsigned_abs()))
        }
        _ => Err(AmbiguousFraming),
    }
}

/// [`BodyEnd::of`], by the texts of the lines.
fn model_end(method: &str, code: u16, lines: Lines<'_>) -> Result<BodyEnd, AmbiguousFraming> {
    match (method, code) {
        ("CONNECT", 200..300) => return Ok(BodyEnd::Close),
        ("HEAD", _) | (_, 100..200 | 204 | 304) => return Ok(BodyEnd::None),
        _ => {}
    }
    let mut lengths = values(lines, "content-length");
    lengths.sort_unstable();
    lengths.dedup();
    match (model_chunked(lines), &lengths[..]) {
        (None, []) => Ok(BodyEnd::Close),
        (Some(true), []) => Ok(BodyEnd::Chunked),
        (None, [one]) if is_digits(one) => {
            let length = one.parse::<i64>().map(i64::cast_unsigned);
            length.map(BodyEnd::Length).or(Err(AmbiguousFraming))
        }
        _ => Err(AmbiguousFraming),
    }
}

fn lines() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let length = prop_oneof![
        4 => prop::sample::select(vec!["5", "5", "5", "05", "6", "0", "5,5", "5, 05", "5 ,\t5", "x", "", "+5"]),
        1 => prop::sample::select(vec![
            "9223372036854775807", "9223372036854775808", "18446744073709551615",
            "18446744073709551616", "00000000000000000000000005",
        ]),
    ];
    let coding = prop::sample::select(vec!["chunked", "CHUNKED", "gzip", "gzip, chunked", ""]);
    let other = prop::sample::select(vec!["date", "connection", "x"]);
    let line = prop_oneof![
        4 => length.prop_map(|value| ("content-length", value.to_owned())),
        1 => "[0-9, \tx+-]{0,6}".prop_map(|value| ("content-length", value.trim().to_owned())),
        1 => coding.prop_map(|value| ("transfer-encoding", value.to_owned())),
        1 => other.prop_map(|name| (name, "1".to_owned())),
    ];
    prop::collection::vec(line, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn one_reading_as_in_the_model(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "CONNECT"]),
        code in prop::sample::select(vec![100u16, 101, 103, 200, 204, 205, 206, 299, 304, 403, 502]),
        lines in lines(),
    ) {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let fields = framing(&lines);
        prop_assert_eq!(fields.change(status(code)), model_change(code, &lines));
        let end = BodyEnd::of(&method.parse().unwrap(), status(code), &fields);
        prop_assert_eq!(end, model_end(method, code, &lines));
        // What goes on is read as what came.
        if let (Ok(end), Ok(FramingChange::SetLength(length))) = (end, fields.change(status(code))) {
            prop_assert!(end == BodyEnd::Length(length) || !matches!(end, BodyEnd::Length(_)));
        }
    }
}
