//! Grammar, names and functions that are refused, each with its exact message.

use super::*;

pub(super) fn refused(text: &str) -> String {
    match Expression::parse(text) {
        Ok(expression) => panic!("admitted: {expression}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn grammar_and_names() {
    for (text, message) in [
        (
            "",
            "the expression is empty; remove the key, or write an expression",
        ),
        (
            " // nothing",
            "the expression is empty; remove the key, or write an expression",
        ),
        (
            "request.port = 443",
            "column 14: = is not an operator; write ==",
        ),
        (
            "request.port == 443 and true",
            "column 21: and is not an operator; write &&",
        ),
        ("a or b", "column 3: or is not an operator; write ||"),
        ("not true", "column 1: not is not an operator; write !"),
        ("true & true", "column 6: & is not an operator; write &&"),
        ("true | true", "column 6: | is not an operator; write ||"),
        ("request.host == 'x", "column 17: ' is not closed; close it"),
        (
            "request.host == '''x''",
            "column 17: ' is not closed; close it",
        ),
        ("(request.port == 1", "column 1: ( is not closed; close it"),
        (
            "request.port == 1)",
            "column 18: ) closes no bracket; remove it, or open one before it",
        ),
        (
            "[1)",
            "column 3: ) closes no bracket; remove it, or open one before it",
        ),
        ("#", "column 1: unexpected character '#'"),
        ("`a`", "column 1: unexpected character '`'"),
        (
            "request.port == 443\n  ==",
            "line 2, column 5: not an expression: it ends too early",
        ),
        (
            "request..host",
            "column 9: not an expression: no viable alternative at input '..'",
        ),
        (
            "!!true",
            "column 2: !! has no effect; write it once, or not at all",
        ),
        (
            "--request.port == 1",
            "column 2: -- has no effect; write it once, or not at all",
        ),
        (
            "if == 1",
            "column 1: not an expression: reserved identifier: if",
        ),
        (
            "'\\q' == 'x'",
            "column 1: not an expression: token recognition error at: ''\\q'",
        ),
        (
            "99999999999999999999 == 1",
            "column 1: not an expression: invalid int literal",
        ),
        (
            "requst.host == 'x'",
            "column 1: unknown name requst; write request",
        ),
        (
            "host == 'x'",
            "column 1: unknown name host; write request.host",
        ),
        (
            "request == 'x'",
            "column 1: request alone has no value; write request.role, request.method, request.host, request.port, request.path or request.query",
        ),
        (
            "user",
            "column 1: user alone has no value; write user.name or user.groups",
        ),
        (
            "client == 'x'",
            "column 1: client alone has no value; write client.ip",
        ),
        (
            "request.hots == 'x'",
            "column 9: request has no field hots; write request.host",
        ),
        (
            "request.url == '/'",
            "column 9: request has no field url; write request.role, request.method, request.host, request.port, request.path or request.query",
        ),
        (
            "user.group == 'x'",
            "column 6: user has no field group; write user.groups",
        ),
        (
            "time.hour == 3",
            "column 6: a timestamp has no field hour; write time.getHours(\"Europe/Berlin\")",
        ),
        (
            "request.host.size == 3",
            "column 14: a string has no field size; write size(text) or size(list)",
        ),
        ("xyzzy", "column 1: unknown name xyzzy"),
        (
            ".request.host == 'x'",
            "column 2: unknown name .request; write request",
        ),
        (
            "request.host.lower() == 'x'",
            "column 14: unknown function lower",
        ),
        (
            "request.host.startswith('x')",
            "column 14: unknown function startswith; write startsWith",
        ),
        (
            "startsWith(request.host, 'x')",
            "column 1: startsWith is not used like this; write text.startsWith(\"text\")",
        ),
        (
            "request.host.startsWith()",
            "column 14: startsWith is not used like this; write text.startsWith(\"text\")",
        ),
        (
            "request.host.startsWith('a', 'b')",
            "column 14: startsWith is not used like this; write text.startsWith(\"text\")",
        ),
        (
            "request.host.startsWith(1)",
            "column 14: startsWith does not take an int; write text.startsWith(\"text\")",
        ),
        (
            "request.port.startsWith('4')",
            "column 14: startsWith does not take an int; write text.startsWith(\"text\")",
        ),
        (
            "size()",
            "column 1: size is not used like this; write size(text) or size(list)",
        ),
        (
            "size(request.port) == 1",
            "column 1: size does not take an int; write size(text) or size(list)",
        ),
        (
            "size(time) == 1",
            "column 1: size does not take a timestamp; write size(text) or size(list)",
        ),
        (
            "string('x') == 'x'",
            "column 1: string does not take a string; write string(443)",
        ),
        (
            "has(request.host)",
            "column 1: every name has a value; remove has()",
        ),
        ("int('1') == 1", "column 1: unknown function int"),
        (
            "field('Proxy-Authorization') == ''",
            "column 7: credentials are not visible to rules; write user.name, user.groups or claim(\"name\")",
        ),
        (
            "field('user agent') == ''",
            "column 7: not the name of a field; write one such as field(\"user-agent\")",
        ),
        (
            "field(user.name) == ''",
            "column 1: field needs its argument in quotes, not computed; write field(\"user-agent\")",
        ),
        (
            "user.name.field('a') == ''",
            "column 11: field is not used like this; write field(\"user-agent\")",
        ),
        (
            "field('a')",
            "the expression is a string, not a bool; compare it with something, as in request.port == 443",
        ),
        (
            "claim('') == 'a'",
            "column 7: not the name of a claim; write one such as claim(\"repository\")",
        ),
        (
            "path_under('v2/a')",
            "column 12: not a path that has one spelling; write one such as path_under(\"/v2/team-a\"), of letters, digits, -, ., _ and ~ between slashes",
        ),
        (
            "path_under('/v2/%61')",
            "column 12: not a path that has one spelling; write one such as path_under(\"/v2/team-a\"), of letters, digits, -, ., _ and ~ between slashes",
        ),
        (
            "request.path == 'v2'",
            "column 14: request.path is never \"v2\": paths begin with a slash; write \"/v2\"",
        ),
        (
            "request.path.endsWith('?a')",
            "column 14: request.path is never \"?a\": the query is in request.query, without the ?",
        ),
        (
            "request.path.matches('[ab]{100}')",
            "an evaluation could take 245882 steps, more than 50000; loop over one list at a time, and write startsWith, endsWith or contains for matches",
        ),
    ] {
        assert_eq!(refused(text), message, "{text}");
    }
}

/// A message fits into one line of a terminal, whatever the expression contains.
#[test]
fn long_names_are_cut() {
    let long = "x".repeat(4000);
    for text in [
        long.clone(),
        format!("request.{long} == 1"),
        format!("request.host.{long}"),
        format!("{long}(1)"),
        format!("request.host.{long}()"),
        format!("time.getHours('{long}') == 1"),
        format!("request.role == '{long}'"),
        format!("request.host == '{}'", long.to_uppercase()),
        format!("client.ip == '{long}'"),
    ] {
        let message = refused(&text);
        assert!(message.len() < 600, "{message}");
    }
}
