//! The names that a script can use, with the numbers of their arguments: what `check` compares the names of a text
//! with.

use crate::hook::Phases;

/// The phases of scripts, in the order in which they run. A script has no function for `connection`, which is before
/// there is a request, and none for `resolve`, which waits.
pub(super) const PHASES: [(&str, Phases); 10] = [
    ("request", Phases::REQUEST),
    ("authorize", Phases::AUTHORIZE),
    ("route", Phases::ROUTE),
    ("upstream_request", Phases::UPSTREAM_REQUEST),
    ("response", Phases::RESPONSE),
    ("tunnel_open", Phases::TUNNEL_OPEN),
    ("tunnel_hello", Phases::TUNNEL_HELLO),
    ("tunnel_bytes", Phases::TUNNEL_BYTES),
    ("tunnel_close", Phases::TUNNEL_CLOSE),
    ("log", Phases::LOG),
];

/// The properties of a request, response or tunnel.
pub(super) const PROPERTIES: [&str; 18] = [
    "id", "role", "method", "version", "scheme", "host", "port", "path", "query", "client", "tls",
    "user", "groups", "status", "sni", "alpn", "ja4", "ech",
];

/// The methods of a request, response or tunnel.
pub(super) const METHODS: [(&str, &[usize]); 15] = [
    ("group", &[0]),
    ("in_group", &[1]),
    ("host_under", &[1]),
    ("path_under", &[1]),
    ("header", &[1]),
    ("request_header", &[1]),
    ("set_header", &[2]),
    ("add_header", &[2]),
    ("remove_header", &[1]),
    ("set_target", &[1]),
    ("pool", &[1]),
    ("via", &[1]),
    ("tag", &[2]),
    ("count", &[1, 2]),
    ("report_every", &[1]),
];

/// The functions.
pub(super) const FUNCTIONS: [(&str, &[usize]); 9] = [
    ("deny", &[0, 1, 2]),
    ("answer", &[2, 3]),
    ("cut", &[0]),
    ("secret", &[1]),
    ("bearer", &[1]),
    ("basic", &[2]),
    ("range", &[2, 3]),
    ("type_of", &[1]),
    ("parse_int", &[1, 2]),
];

/// The methods of texts, numbers, arrays and maps; as functions they have one argument more.
pub(super) const COMMON: [(&str, &[usize]); 68] = [
    // Of every value.
    ("to_string", &[0]),
    ("to_debug", &[0]),
    ("type_of", &[0]),
    // Of texts.
    ("len", &[0]),
    ("is_empty", &[0]),
    ("contains", &[1]),
    ("starts_with", &[1]),
    ("ends_with", &[1]),
    ("index_of", &[1, 2]),
    ("sub_string", &[1, 2]),
    ("crop", &[1, 2]),
    ("replace", &[2]),
    ("trim", &[0]),
    ("truncate", &[1]),
    ("pad", &[2]),
    ("to_lower", &[0]),
    ("to_upper", &[0]),
    ("make_lower", &[0]),
    ("make_upper", &[0]),
    ("split", &[0, 1, 2]),
    ("split_rev", &[1, 2]),
    ("chars", &[0, 1, 2]),
    ("to_chars", &[0]),
    ("bytes", &[0]),
    ("append", &[1]),
    ("clear", &[0]),
    ("remove", &[1]),
    ("pop", &[0, 1]),
    ("get", &[1]),
    ("set", &[2]),
    // Of numbers.
    ("abs", &[0]),
    ("sign", &[0]),
    ("is_zero", &[0]),
    ("is_odd", &[0]),
    ("is_even", &[0]),
    ("to_int", &[0]),
    ("to_hex", &[0]),
    ("to_octal", &[0]),
    ("to_binary", &[0]),
    ("min", &[1]),
    ("max", &[1]),
    // Of arrays and maps.
    ("push", &[1]),
    ("insert", &[2]),
    ("shift", &[0]),
    ("chop", &[1]),
    ("reverse", &[0]),
    ("splice", &[2, 3]),
    ("extract", &[1, 2]),
    ("for_each", &[1]),
    ("map", &[1]),
    ("filter", &[1]),
    ("find", &[1, 2]),
    ("find_map", &[1, 2]),
    ("some", &[1]),
    ("all", &[1]),
    ("dedup", &[0, 1]),
    ("reduce", &[1, 2]),
    ("reduce_rev", &[1, 2]),
    ("zip", &[2]),
    ("sort", &[0, 1]),
    ("sort_desc", &[0]),
    ("order", &[0, 1]),
    ("drain", &[1, 2]),
    ("retain", &[1, 2]),
    ("keys", &[0]),
    ("values", &[0]),
    ("mixin", &[1]),
    ("fill_with", &[1]),
];

/// Functions of Rhai that scripts do not have, with the reason.
pub(super) const REFUSED: [(&str, &str); 9] = [
    (
        "print",
        "a script has no output; `r.tag(name, value)` writes into the log",
    ),
    (
        "debug",
        "a script has no output; `r.tag(name, value)` writes into the log",
    ),
    ("eval", "a text is never run"),
    ("sleep", "a script never waits"),
    ("timestamp", "a script has no clock; `time` of a rule has"),
    (
        "Fn",
        "functions have no values; call the function, or write `|x| ..`",
    ),
    (
        "call",
        "functions have no values; call the function by its name",
    ),
    (
        "curry",
        "functions have no values; call the function by its name",
    ),
    ("is_def_fn", "the functions of a script are known"),
];

/// The arguments of the function of a phase.
pub(super) fn arguments(phase: Phases) -> (usize, &'static str) {
    if phase == Phases::TUNNEL_BYTES {
        (2, "fn tunnel_bytes(t, moved)")
    } else if phase == Phases::TUNNEL_CLOSE {
        (2, "fn tunnel_close(t, total)")
    } else {
        (1, "")
    }
}

/// The phase of this name.
pub(super) fn phase(name: &str) -> Option<Phases> {
    let mut all = PHASES.into_iter();
    all.find_map(|(other, phase)| (other == name).then_some(phase))
}

/// The numbers of arguments that a name has in a table.
pub(super) fn arities(table: &[(&str, &'static [usize])], name: &str) -> Option<&'static [usize]> {
    let mut table = table.iter();
    table.find_map(|(other, arities)| (*other == name).then_some(*arities))
}
