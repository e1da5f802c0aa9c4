use std::time::{Duration, Instant, UNIX_EPOCH};

use super::facts::Fact;
use super::fuzz::facts;
use super::*;
use crate::http::http1::{HeadLimits, RequestHead};
use crate::http::path::Readings;

mod bounds;
mod generated;
mod refused;
mod values;

fn matches(text: &str, facts: &Facts<'_>) -> Result<bool, EvaluationError> {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.matches(facts)
}

#[test]
fn answers() {
    for (text, expected) in [
        ("true", true),
        ("request.role == 'tunnel' // the usual", true),
        ("request.role in ['forward', 'gateway']", false),
        (
            "request.method == \"CONNECT\" && request.port == 8443",
            true,
        ),
        ("request.port != 8443 || request.port < 1024", false),
        ("request.port >= 8000 && request.port <= 8999", true),
        ("!(request.port > 8443)", true),
        ("request.port == 0x20fb", true),
        (
            "-request.port < -1 && 3 - -1 == 4 && 7 % 4 * 2 == 6 && 7 / 2 == 3",
            true,
        ),
        ("request.host.endsWith('.example.org')", true),
        (
            "request.host.startsWith('build-') && request.host.contains('-7.')",
            true,
        ),
        ("request.host.contains('internal')", false),
        (
            "request.host.matches('^build-[0-9]+[.]example[.]org$')",
            true,
        ),
        ("matches(request.host, r'^[a-z]+$')", false),
        (
            "request.host == 'build-' + string(7) + '.example.org'",
            true,
        ),
        ("request.host == user.name + '.dev.example.org'", false),
        ("size(request.host) == 19 && user.name.size() == 5", true),
        ("request.host < 'c' && request.host >= 'build'", true),
        ("'ci' in user.groups && !('ops' in user.groups)", true),
        ("user.name in ['alice', 'bob']", true),
        ("user.name in []", false),
        ("request.port in [443, 8443]", true),
        ("user.groups[0] == 'ci' && user.groups[1] == 'team-a'", true),
        ("size(user.groups) == 2 && user.groups.size() < 3", true),
        ("user.groups.exists(g, g.startsWith('team-'))", true),
        ("user.groups.all(g, g.startsWith('team-'))", false),
        (
            "user.groups.exists_one(g, g == 'ci') && user.groups.existsOne(g, g == 'ci')",
            true,
        ),
        ("user.groups.exists_one(g, true)", false),
        ("user.groups.filter(g, g != 'ci') .size() == 1", true),
        (
            "request.host in user.groups.map(g, g + '.example.org')",
            false,
        ),
        (
            "'alice-ci' in user.groups.map(g, user.name + '-' + g)",
            true,
        ),
        ("user.groups.map(g, size(g)).exists(n, n == 6)", true),
        (
            "[1, 2].exists(n, ['ci', 'x'].exists(s, s in user.groups && n == 2))",
            true,
        ),
        (
            "client.ip == '10.1.2.3' && client.ip.startsWith('10.')",
            true,
        ),
        ("ip_in(client.ip, '10.0.0.0/8')", true),
        ("ip_in(client.ip, ['192.168.0.0/16', '10.1.2.3'])", true),
        ("ip_in(client.ip, ['192.168.0.0/16', 'fd00::/8'])", false),
        (
            "request.role == 'tunnel' ? request.port == 8443 : user.name == 'bob'",
            true,
        ),
        ("(request.port == 1 ? [] : ['x']).size() == 1", true),
        ("time > timestamp('2026-11-24T10:30:05Z')", true),
        ("time < timestamp('2026-11-24T11:30:05+01:00')", false),
        (
            "time < timestamp('2026-11-25T00:00:00Z') - duration('13h')",
            true,
        ),
        (
            "time - timestamp('2026-11-24T10:30:00Z') == duration('5.25s')",
            true,
        ),
        (
            "(time - timestamp('2026-11-24T00:00:00Z')).getMinutes() == 630",
            true,
        ),
        (
            "duration('1h30m') == duration('90m') && duration('-1s') + duration('1s') == duration('0s')",
            true,
        ),
        (
            "time.getHours() == 10 && time.getHours('Europe/Berlin') == 11",
            true,
        ),
        (
            "time.getDayOfWeek('Europe/Berlin') in [1, 2, 3, 4, 5]",
            true,
        ),
        (
            "time.getFullYear() == 2026 && time.getMonth() == 10 && time.getDate() == 24",
            true,
        ),
        (
            "time.getDayOfMonth() == 23 && time.getDayOfYear() == 327 && time.getDayOfWeek() == 2",
            true,
        ),
        (
            "time.getMinutes() == 30 && time.getSeconds() == 5 && time.getMilliseconds() == 250",
            true,
        ),
        (
            "time.getHours('Asia/Kolkata') == 16 && time.getMinutes('Asia/Kolkata') == 0",
            true,
        ),
        (
            "timestamp('2026-01-01T00:30:00+02:00').getHours() == 22",
            true,
        ),
        // CEL: the other side decides, whichever side fails.
        ("user.groups[9] == 'x' || true", true),
        ("false && user.groups[9] == 'x'", false),
        ("user.groups[9] == 'x' && request.port == 1", false),
    ] {
        assert_eq!(matches(text, &facts()), Ok(expected), "{text}");
    }
}

#[test]
fn of_other_requests() {
    let v6 = Facts {
        client: "2001:db8::1".parse().unwrap(),
        host: "::1",
        ..facts()
    };
    assert_eq!(matches("client.ip == '2001:db8::1'", &v6), Ok(true));
    assert_eq!(matches("ip_in(client.ip, '2001:db8::/32')", &v6), Ok(true));
    assert_eq!(matches("request.host == '::1'", &v6), Ok(true));
    let mapped = Facts {
        client: "::ffff:10.1.2.3".parse().unwrap(),
        groups: &[],
        ..facts()
    };
    assert_eq!(matches("client.ip == '10.1.2.3'", &mapped), Ok(true));
    assert_eq!(matches("ip_in(client.ip, '10.0.0.0/8')", &mapped), Ok(true));
    assert_eq!(matches("'ci' in user.groups", &mapped), Ok(false));
    assert_eq!(matches("user.groups.all(g, g == 'x')", &mapped), Ok(true));
    let gateway = Facts {
        role: "gateway",
        method: "GET",
        host: "",
        port: 0,
        ..facts()
    };
    assert_eq!(
        matches("request.host == '' && request.port == 0", &gateway),
        Ok(true)
    );
    let before = Facts {
        time: UNIX_EPOCH - Duration::from_millis(1500),
        ..facts()
    };
    assert_eq!(
        matches(
            "time.getFullYear() == 1969 && time.getMilliseconds() == 500",
            &before
        ),
        Ok(true)
    );
}

#[test]
fn evaluations_that_fail() {
    let long = "x".repeat(MAX_FACT + 1);
    let names: Vec<String> = (0..=MAX_GROUPS).map(|n| format!("g{n}")).collect();
    let many: Vec<&str> = names.iter().map(|name| &**name).collect();
    let far = UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    let cases = [
        (
            "request.host == 'x'",
            Facts {
                host: &long,
                ..facts()
            },
            EvaluationError::LongFact(Fact::Host),
        ),
        (
            "!request.host.endsWith('x')",
            Facts {
                host: &long,
                ..facts()
            },
            EvaluationError::LongFact(Fact::Host),
        ),
        (
            "request.method == 'GET'",
            Facts {
                method: &long,
                ..facts()
            },
            EvaluationError::LongFact(Fact::Method),
        ),
        (
            "user.name == 'x'",
            Facts {
                user: &long,
                ..facts()
            },
            EvaluationError::LongFact(Fact::User),
        ),
        (
            "request.role == 'tunnel'",
            Facts {
                role: &long,
                ..facts()
            },
            EvaluationError::LongFact(Fact::Role),
        ),
        (
            "'x' in user.groups",
            Facts {
                groups: &[&long],
                ..facts()
            },
            EvaluationError::LongFact(Fact::Groups),
        ),
        (
            "'x' in user.groups",
            Facts {
                groups: &many,
                ..facts()
            },
            EvaluationError::ManyGroups,
        ),
        (
            "time.getHours() > 1",
            Facts {
                time: far,
                ..facts()
            },
            EvaluationError::Time,
        ),
        (
            "time + duration('2000000h') > time",
            Facts {
                time: far - Duration::from_secs(1),
                ..facts()
            },
            EvaluationError::Overflow,
        ),
        (
            "time - timestamp('0001-01-01T00:00:00Z') > duration('1s')",
            facts(),
            EvaluationError::Overflow,
        ),
        (
            "request.port * 9223372036854775807 > 0",
            facts(),
            EvaluationError::Overflow,
        ),
        (
            "request.port + 9223372036854775807 > 0",
            facts(),
            EvaluationError::Overflow,
        ),
        (
            "-9223372036854775808 - request.port > 0",
            facts(),
            EvaluationError::Overflow,
        ),
        (
            "1 / (request.port - 8443) == 1",
            facts(),
            EvaluationError::DivisionByZero,
        ),
        (
            "1 % (request.port - 8443) == 1",
            facts(),
            EvaluationError::DivisionByZero,
        ),
        ("user.groups[2] == 'x'", facts(), EvaluationError::NoElement),
        (
            "user.groups[1 - request.port] == 'x'",
            facts(),
            EvaluationError::NoElement,
        ),
        (
            "user.groups.exists(g, 1 / (request.port - 8443) == 1)",
            facts(),
            EvaluationError::DivisionByZero,
        ),
        (
            "user.groups[2] == 'x' || request.port == 1",
            facts(),
            EvaluationError::NoElement,
        ),
    ];
    for (text, facts, expected) in cases {
        assert_eq!(matches(text, &facts), Err(expected), "{text}");
    }
    // What an expression does not use does not fail it.
    let odd = Facts {
        method: &long,
        groups: &many,
        time: far,
        ..facts()
    };
    assert_eq!(matches("request.port == 8443", &odd), Ok(true));
    // The bounds themselves are in.
    let at = Facts {
        host: &long[1..],
        groups: &many[1..],
        time: far - Duration::from_secs(1),
        ..facts()
    };
    let text =
        "request.host.startsWith('x') && 'g256' in user.groups && time.getFullYear() == 9999";
    assert_eq!(matches(text, &at), Ok(true));
    for (error, words) in [
        (
            EvaluationError::LongFact(Fact::Host),
            "request.host is longer than 256 bytes",
        ),
        (
            EvaluationError::ManyGroups,
            "the user is in more than 256 groups",
        ),
        (
            EvaluationError::Time,
            "the time is outside of the years 1 to 9999",
        ),
        (
            EvaluationError::Overflow,
            "a number, time or duration is out of range",
        ),
        (EvaluationError::DivisionByZero, "division by zero"),
        (EvaluationError::NoElement, "the list has no such element"),
        (
            EvaluationError::Unexpected,
            "the expression cannot be evaluated",
        ),
    ] {
        assert_eq!(error.to_string(), words);
    }
}

/// The dearest expressions that are admitted, evaluated with the largest facts.
#[test]
fn worst_cases_end() {
    // Each part of it brings a pattern of a and b into states that it was not in before.
    let bit = |n: usize| n.wrapping_mul(n).wrapping_mul(2_654_435_769) >> 13 & 1;
    let host: String = (0..MAX_FACT).map(|n| ["a", "b"][bit(n)]).collect();
    let names: Vec<String> = (0..MAX_GROUPS).map(|n| format!("{n:0256}")).collect();
    let groups: Vec<&str> = names.iter().map(|name| &**name).collect();
    let query = host.repeat(MAX_HEAD_FACT / MAX_FACT);
    let lines = "b: \r\n".repeat(90);
    let head = format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n{lines}x-a: {query}\r\n\r\n");
    let head = RequestHead::parse(head.as_bytes().into(), &HeadLimits::default());
    let head = KeptHead::of(&head.unwrap());
    let odd = format!("/{}", "a;\\%2f/".repeat(290));
    let path = RequestPath::Sent(odd.as_bytes(), Readings::of(odd.as_bytes()));
    let facts = Facts {
        host: &host,
        user: &host,
        groups: &groups,
        head: Some(&head),
        path: &path,
        ..facts()
    };
    let row = |part: &str, times: usize| vec![part; times].join(" && ");
    for text in [
        row("user.groups.all(g, g + user.name != request.host)", 4),
        row("!user.groups.exists(g, g.contains(user.name))", 3),
        row("!(request.host in user.groups.map(g, g + user.name))", 4),
        row("user.groups.filter(g, g != user.name).size() > 0", 6),
        row(
            "user.groups.map(g, g + g).map(g, g + g).all(g, g != request.host)",
            1,
        ),
        row("!request.host.matches('(x+x+)+y')", 16),
        row("!request.host.matches('^[ab]*a[ab]{20}[cd]$')", 6),
        row("!request.host.matches('[ab]*a[ab]{50}[cd]')", 2),
        row("!request.host.matches('[ab]*a[ab]{120}[cd]')", 1),
        row("!request.host.matches('(?:[ab]?){40}[cd]')", 1),
        row("!request.host.matches('a{0,30}a{0,30}b?a{0,30}[cd]')", 1),
        row(
            "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, a + b + c + request.port > 0)))",
            3,
        ),
        row("!request.query.matches('(x+x+)+y')", 2),
        row("!field('x-a').matches('^[ab]*a[ab]{3}[cd]$')", 1),
        row(
            "!request.query.matches('^/v2/[a-z0-9-]+/(manifests|blobs)/')",
            1,
        ),
        row("!field('x-a').matches('^curl/[0-9]+[.]')", 1),
        row("field('x-a') == request.query", 50),
        row("!path_under('/b')", 80),
        row("field('x-a') != 'z'", 70),
        row("time.getHours('Europe/Berlin') < 24", 50),
        row("ip_in(client.ip, ['10.0.0.0/8', '10.0.0.0/9'])", 35),
    ] {
        let expression = Expression::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let began = Instant::now();
        let answer = expression.matches(&facts);
        let took = began.elapsed();
        assert_eq!(answer, Ok(true), "{text}");
        assert_eq!(fuzz::check_cost(&expression, &facts), answer, "{text}");
        assert!(took < Duration::from_secs(2), "{text} took {took:?}");
    }
}

#[test]
fn the_text_is_kept() {
    let text = "request.port == 443 // tls";
    let expression = Expression::parse(text).unwrap();
    assert_eq!(expression.as_str(), text);
    assert_eq!(expression.to_string(), text);
    assert_eq!(format!("{expression:?}"), format!("Expression({text:?})"));
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Expression>();
}

/// The language that the module shows is the language that it reads.
#[test]
fn shown_text_is_read_back() {
    let source = include_str!("../expression.rs");
    let shown = source.split("//! ```").nth(1).unwrap();
    let lines = shown.lines().filter_map(|line| line.strip_prefix("//! "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 11);
    for line in lines {
        matches(line, &facts()).unwrap();
    }
}
