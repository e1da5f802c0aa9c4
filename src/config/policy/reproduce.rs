//! The command that explains the request of a test, to be pasted into a shell.

use std::net::Ipv4Addr;
use std::path::Path;

use super::script_cases::ScriptCase;
use crate::access::policy::TestCase;
use crate::http::role::Role;

/// Fields whose values are credentials, which no message repeats.
const HIDDEN: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// `tollgate explain ..` for the request of a test of this configuration.
pub(super) fn command(configuration: &Path, case: &TestCase, seen: &ScriptCase) -> String {
    let scenario = &case.scenario;
    let request = scenario.request();
    let mut arguments = vec![
        ("-c", configuration.display().to_string()),
        ("--user", scenario.user.to_string()),
        ("--target", seen.target.to_string()),
    ];
    let usual = match &*seen.target {
        "*" => "OPTIONS",
        _ => "GET",
    };
    if request.role() != Role::Tunnel && request.method != usual {
        arguments.push(("--method", request.method.to_owned()));
    }
    let groups = scenario.groups.iter();
    arguments.extend(groups.map(|group| ("--group", group.to_string())));
    let claims = scenario.claims.iter();
    arguments.extend(claims.map(|(name, text)| ("--claim", format!("{name}={text}"))));
    for (name, value) in &seen.fields {
        let is_hidden = HIDDEN.iter().any(|other| other.eq_ignore_ascii_case(name));
        let value = if is_hidden { "..." } else { value };
        arguments.push(("--header", format!("{name}: {value}")));
    }
    if let Some(hello) = &scenario.hello {
        let sni = hello.sni.as_deref().unwrap_or_default();
        arguments.push(("--sni", sni.to_owned()));
        let alpn = hello.alpn.iter();
        arguments.extend(alpn.map(|protocol| ("--alpn", protocol.to_string())));
        if !hello.ja4.is_empty() {
            arguments.push(("--ja4", hello.ja4.to_string()));
        }
    }
    if scenario.client != Ipv4Addr::LOCALHOST {
        arguments.push(("--client", scenario.client.to_string()));
    }
    if !scenario.resolve.is_empty() {
        let addresses: Vec<String> = scenario.resolve.iter().map(ToString::to_string).collect();
        arguments.push(("--resolve", addresses.join(",")));
    }
    if case.timed {
        arguments.push(("--time", scenario.time.to_string()));
    }
    let has_ech = scenario.hello.as_ref().is_some_and(|hello| hello.ech);
    let mut command = "tollgate explain".to_owned();
    for (option, value) in arguments {
        command.push_str(&format!(" {option} {}", quoted(&value)));
    }
    if has_ech {
        command.push_str(" --ech");
    }
    command
}

/// A word of a shell. Control characters, which would end the line of the message, are left out.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@%+,=[]".contains(c);
    if !text.is_empty() && !text.starts_with('[') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (text, expected) in [
            ("alice", "alice"),
            ("example.org:443", "example.org:443"),
            ("http://a.example/x?a=1&b=2", "'http://a.example/x?a=1&b=2'"),
            ("bob b", "'bob b'"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
            ("[::1]:443", "'[::1]:443'"),
            ("a\nb", "'ab'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
