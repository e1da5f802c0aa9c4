//! Types and values that are refused, each with its exact message.

use super::refused::refused;

#[test]
fn types_and_values() {
    for (text, message) in [
        (
            "request.port == '443'",
            "column 14: == does not take an int and a string; write 443 without quotes",
        ),
        (
            "'443' == request.port",
            "column 7: == does not take a string and an int; write 443 without quotes",
        ),
        (
            "request.port == user.name",
            "column 14: == does not take an int and a string; write string(...) around the int",
        ),
        (
            "request.host + 1 == 'x'",
            "column 14: + does not take a string and an int; write string(...) around the int",
        ),
        (
            "!request.port",
            "column 1: ! does not take an int; compare it, as in x != 0",
        ),
        (
            "!request.host",
            "column 1: ! does not take a string; compare it, as in x != \"\"",
        ),
        (
            "!user.groups",
            "column 1: ! does not take a list of strings; compare its size, as in size(x) == 0",
        ),
        ("-request.host == 'x'", "column 1: - does not take a string"),
        (
            "request.port && true",
            "column 14: && does not take an int and a bool; write bools on both sides, as in x == 1 && y == 2",
        ),
        ("true + true", "column 6: + does not take a bool and a bool"),
        (
            "true < false",
            "column 6: < does not take a bool and a bool",
        ),
        (
            "time > '2026-01-01'",
            "column 6: > does not take a timestamp and a string; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "time - 3600 > time",
            "column 6: - does not take a timestamp and an int; write duration(\"1h30m\")",
        ),
        (
            "'x' in request.host",
            "column 5: in does not take a string and a string; write text.contains(\"part\")",
        ),
        (
            "user.groups in 'x'",
            "column 13: in does not take a list of strings and a string; write the list after in",
        ),
        (
            "1 in user.groups",
            "column 3: in does not take an int and a list of strings",
        ),
        (
            "user.groups == 'x'",
            "column 13: == does not take a list of strings and a string; write value in list",
        ),
        (
            "user.groups == ['x']",
            "column 13: == does not take a list of strings and a list of strings; compare their elements with in, all or exists",
        ),
        (
            "user.groups + ['x']",
            "column 13: + does not take a list of strings and a list of strings; write x in a || x in b",
        ),
        (
            "user.groups['x'] == 'x'",
            "column 12: [] does not take a list of strings and a string; elements are counted from 0, as in user.groups[0]",
        ),
        (
            "request.host[0] == 'x'",
            "column 13: [] does not take a string and an int; only lists have elements",
        ),
        (
            "user.groups[-1] == 'x'",
            "column 12: this always fails: the list has no such element",
        ),
        (
            "request.port ? true : false",
            "column 14: ? : does not take an int; write a bool before the ?",
        ),
        (
            "true ? 1 : 'x'",
            "column 6: the two results of ? : are an int and a string; give both the same type",
        ),
        (
            "[1, 'x'] == []",
            "column 5: the list holds an int and a string; give its elements one type",
        ),
        ("[[1]] == []", "column 2: a list cannot hold lists"),
        (
            "request.host",
            "the expression is a string, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "request.port",
            "the expression is an int, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "user.groups",
            "the expression is a list of strings, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "1 + 1",
            "the expression is an int, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "time",
            "the expression is a timestamp, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "duration('1s')",
            "the expression is a duration, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "1.5 > 1",
            "column 1: doubles are not supported; write an int",
        ),
        (
            "1u == 1",
            "column 1: unsigned ints are not supported; remove the u",
        ),
        (
            "null == null",
            "column 1: null is not supported; compare with \"\" or 0",
        ),
        (
            "b'x' == b'x'",
            "column 1: bytes are not supported; remove the b",
        ),
        ("{'a': 1}", "column 1: maps are not supported"),
        ("a.b{c: 1}", "column 4: messages are not supported"),
        (
            "1 / 0 == 1",
            "column 3: this always fails: division by zero",
        ),
        (
            "request.port / 0 == 1",
            "column 14: this always fails: division by zero",
        ),
        (
            "request.port % 0 == 1",
            "column 14: this always fails: division by zero",
        ),
        (
            "9223372036854775807 + 1 > 0",
            "column 21: this always fails: a number, time or duration is out of range",
        ),
        (
            "true || 1 / 0 == 1",
            "column 11: this always fails: division by zero",
        ),
        (
            "['a'][3] == 'a'",
            "column 6: this always fails: the list has no such element",
        ),
        (
            "request.host.matches('(x')",
            "column 22: not a regular expression: unclosed group",
        ),
        (
            "request.host.matches('\\\\w{1000}')",
            "column 22: the pattern is too large once compiled; repeat less with {n}, write [0-9] for \\d and [0-9A-Za-z_] for \\w",
        ),
        (
            "request.host.matches(user.name)",
            "column 26: matches needs its argument in quotes, not computed; write text.matches(\"^pattern$\")",
        ),
        (
            "request.host.matches('x' + 'y')",
            "column 26: matches needs its argument in quotes, not computed; write text.matches(\"^pattern$\")",
        ),
        (
            "request.host.matches('[z-a]')",
            "column 22: not a regular expression: invalid character class range, the start must be <= the end",
        ),
        (
            "time > timestamp('yesterday')",
            "column 18: not a time of the years 1 to 9999; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "time > timestamp('2026-13-01T00:00:00Z')",
            "column 18: not a time of the years 1 to 9999; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "time > timestamp('0000-12-31T00:00:00Z')",
            "column 18: not a time of the years 1 to 9999; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "time > timestamp(1)",
            "column 8: timestamp needs its argument in quotes, not computed; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "time > timestamp(user.name)",
            "column 8: timestamp needs its argument in quotes, not computed; write timestamp(\"2026-11-24T10:00:00Z\")",
        ),
        (
            "duration('1 hour') > duration('1s')",
            "column 10: not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns",
        ),
        (
            "duration('1hour') > duration('1s')",
            "column 10: not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns",
        ),
        (
            "duration('') > duration('1s')",
            "column 10: not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns",
        ),
        (
            "duration('1.h') > duration('1s')",
            "column 10: not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns",
        ),
        (
            "duration('3000000h') > duration('1s')",
            "column 10: not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns",
        ),
        (
            "time.getHours('Europe/Berln') == 1",
            "column 15: unknown time zone \"Europe/Berln\"; write Europe/Berlin",
        ),
        (
            "time.getHours('CEST+1') == 1",
            "column 15: unknown time zone \"CEST+1\"; write a name such as Europe/Berlin or UTC",
        ),
        (
            "time.getHours(1) == 1",
            "column 15: getHours needs its argument in quotes, not computed; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "time.getHours(user.name) == 1",
            "column 19: getHours needs its argument in quotes, not computed; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "request.port.getHours() == 1",
            "column 14: getHours does not take an int; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "duration('1h').getDate() == 1",
            "column 16: getDate does not take a duration; write time.getDate(\"Europe/Berlin\")",
        ),
        (
            "duration('1h').getHours('UTC') == 1",
            "column 16: getHours does not take a duration; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "time.getHours('UTC', 'UTC') == 1",
            "column 6: getHours is not used like this; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "ip_in(client.ip, '10.1.2.3/8')",
            "column 1: entry 1 \"10.1.2.3/8\": has bits behind the prefix; write 10.0.0.0/8 for the network or a single address",
        ),
        (
            "ip_in(client.ip, 'x')",
            "column 1: entry 1 \"x\": not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address",
        ),
        (
            "ip_in(client.ip, ['10.0.0.0/8', '010.0.0.1'])",
            "column 1: entry 2 \"010.0.0.1\": not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address",
        ),
        (
            "ip_in(client.ip, [])",
            "column 1: ip_in is not used like this; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "ip_in(client.ip, '')",
            "column 1: ip_in is not used like this; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "ip_in(request.host, '10.0.0.0/8')",
            "column 1: ip_in is not used like this; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "ip_in(client.ip, user.name)",
            "column 22: ip_in needs its argument in quotes, not computed; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "client.ip.ip_in('10.0.0.0/8')",
            "column 11: ip_in is not used like this; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "ip_in(client.ip)",
            "column 1: ip_in is not used like this; write ip_in(client.ip, [\"10.0.0.0/8\"])",
        ),
        (
            "user.groups.exists(g, g)",
            "column 23: exists needs a bool for each element, not a string; write list.exists(x, x == \"text\")",
        ),
        (
            "user.groups.exists(time, true)",
            "column 13: exists needs a new name for the elements; write user.groups.exists(g, ...)",
        ),
        (
            "user.groups.exists(request, true)",
            "column 13: exists needs a new name for the elements; write user.groups.exists(g, ...)",
        ),
        (
            "user.groups.exists('g', true)",
            "column 13: exists needs a new name for the elements; write user.groups.exists(g, ...)",
        ),
        (
            "user.groups.exists(g, user.groups.exists(g, true))",
            "column 35: exists needs a new name for the elements; write user.groups.exists(g, ...)",
        ),
        (
            "user.groups.exists(g)",
            "column 13: exists is not used like this; write list.exists(x, x == \"text\")",
        ),
        (
            "request.host.exists(g, true)",
            "column 14: exists does not take a string; write list.exists(x, x == \"text\")",
        ),
        (
            "[].exists(g, true)",
            "column 4: exists does not take an empty list; write list.exists(x, x == \"text\")",
        ),
        (
            "user.groups.map(g, [g]).size() == 1",
            "column 20: a list cannot hold lists",
        ),
        (
            "user.groups.map(g, true, g).size() == 1",
            "column 13: map is not used like this; write list.map(x, x + \"text\")",
        ),
        (
            "exists(user.groups, g, true)",
            "column 1: exists is not used like this; write list.exists(x, x == \"text\")",
        ),
        (
            "user.groups.exists(g, g.x == 1)",
            "column 25: a string has no field x",
        ),
        (
            "user.groups.exists(g, true) && g == 'x'",
            "column 32: unknown name g",
        ),
        (
            "request.host == 'Example.org'",
            "column 14: request.host is never \"Example.org\": hosts are in lower case; write \"example.org\"",
        ),
        (
            "request.host.endsWith('.Example.org')",
            "column 14: request.host is never \".Example.org\": hosts are in lower case; write \".example.org\"",
        ),
        (
            "request.host in ['a.org', 'b.org.']",
            "column 14: request.host is never \"b.org.\": hosts have no dot at the end; write \"b.org\"",
        ),
        (
            "'bücher.example' == request.host",
            "column 19: request.host is never \"bücher.example\": hosts are in their ASCII form, as xn--bcher-kva.example",
        ),
        (
            "request.host.endsWith('.org.')",
            "column 14: request.host is never \".org.\": hosts have no dot at the end; write \".org\"",
        ),
        (
            "request.role == 'connect'",
            "column 14: request.role is never \"connect\": it is one of tunnel, forward, gateway",
        ),
        (
            "request.role == 'tunel'",
            "column 14: request.role is never \"tunel\": write \"tunnel\"",
        ),
        (
            "request.method in ['get']",
            "column 16: request.method is never \"get\": write \"GET\"",
        ),
        (
            "client.ip == '::ffff:10.0.0.1'",
            "column 11: client.ip is never \"::ffff:10.0.0.1\": write \"10.0.0.1\"",
        ),
        (
            "client.ip == '10.0.0.0/8'",
            "column 11: client.ip is never \"10.0.0.0/8\": it is one address; write ip_in(client.ip, \"10.0.0.0/8\")",
        ),
        (
            "client.ip != '2001:DB8::1'",
            "column 11: client.ip is never \"2001:DB8::1\": write \"2001:db8::1\"",
        ),
        (
            "user.groups.exists(a, user.groups.exists(b, a == b))",
            "an evaluation could take 1906693 steps, more than 50000; loop over one list at a time, and write startsWith, endsWith or contains for matches",
        ),
        (
            "[request.host].map(a, a+a).map(b, b+b).map(c, c+c).map(d, d+d).map(e, e+e).size() == 1",
            "column 72: the string could become 8192 bytes long, more than 4096; join fewer strings",
        ),
    ] {
        assert_eq!(refused(text), message, "{text}");
    }
}
