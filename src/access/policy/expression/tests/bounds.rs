//! The bounds of the text, on both sides of each, and the stack that they leave.

use super::{refused::refused, *};

#[test]
fn bounds() {
    let length = "the expression is longer than 4096 bytes; use lists of domains or networks, or several rules";
    let tokens = "the expression has more than 512 names, values and operators; use lists of domains or networks, or several rules";
    let nested =
        "brackets and ? : are nested more than 16 deep; make several rules of the expression";
    let deep =
        "column 5: operators are nested more than 16 deep; make several rules of the expression";
    let open = |times: usize| format!("{}true{}", "(".repeat(times), ")".repeat(times));
    let sum = |terms: usize| format!("1{} > 0", "+1".repeat(terms - 1));
    let row = |terms| vec!["true"; terms].join("&&");
    let conditionals = |times| format!("{}true", "false?true:".repeat(times));
    for (text, message) in [
        ("(".repeat(100_000), Some(length)),
        ("(".repeat(4096), Some(nested)),
        ("[".repeat(4096), Some(nested)),
        ("!(".repeat(2000), Some(nested)),
        (format!("'{}' == 'x'", "x".repeat(4087)), None),
        (format!("'{}' == 'x'", "x".repeat(4088)), Some(length)),
        (row(256), None),
        (format!("!{}", row(256)), None),
        (row(257), Some(tokens)),
        ("a.".repeat(2000), Some(tokens)),
        ("-1".repeat(2000), Some(tokens)),
        (open(16), None),
        (open(17), Some(nested)),
        (conditionals(15), None),
        (conditionals(17), Some(nested)),
        // Each is closed before the next.
        (vec!["(true)"; 100].join("&&"), None),
        (format!("[{}true][0]", "true?true:true,".repeat(60)), None),
        // In a string and in a comment they are none.
        (format!("'{0}' == r'{0}' // {0}", "(".repeat(100)), None),
        (
            format!("'\\'{0}' == \"\"\"\"{0}\"\"\"", "(".repeat(100)),
            None,
        ),
        (sum(15), None),
        (sum(16), Some(deep)),
    ] {
        let error = Expression::parse(&text)
            .err()
            .map(|error| error.to_string());
        let error = error.as_deref();
        // Where the sum is too deep depends on its length.
        let error = error.map(|error| {
            if error.ends_with(&deep[9..]) {
                deep
            } else {
                error
            }
        });
        assert_eq!(error, message, "{text:.60}");
    }
}

/// The deepest that is admitted leaves most of a thread's stack to its callers, in a build without
/// optimisation too.
#[test]
fn little_stack() {
    let loops: String = (0..7).map(|n| format!("[1].all(x{n},")).collect();
    let loops = format!("{loops}1>0{}", ")".repeat(7));
    let sums = format!("{}1{}>0", "(1+".repeat(14), ")".repeat(14));
    let nots = format!("{}request.port>0{}", "!(".repeat(14), ")".repeat(14));
    let chain = format!("request{}", ".host".repeat(255));
    let deepest = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(move || {
            for text in [loops, sums, nots] {
                assert_eq!(matches(&text, &facts()), Ok(true), "{text}");
                let deeper = format!("!({text})");
                assert!(
                    refused(&deeper).contains("operators are nested"),
                    "{deeper}"
                );
            }
            assert!(refused(&chain).contains("operators are nested"));
        });
    deepest.unwrap().join().unwrap();
}
