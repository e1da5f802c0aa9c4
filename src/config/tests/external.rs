//! `auth.external` and what the configuration says of its service, and errors that are told once.

use super::Setup;

const USERS: &str = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";

/// The warnings or the problems of a file, each on a line without the name of the file and of `tollgate`.
fn said(external: &str, more: &str) -> String {
    let setup = Setup::new();
    setup.file("users", USERS);
    let yaml = format!(
        "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n  admin: {{address: '127.0.0.1:9188'}}\n  \
         auth: {{htpasswd: users, external: {{{external}}}}}\n{more}"
    );
    let said = match setup.load(&yaml) {
        Ok(config) => config.warnings.to_string(),
        Err(error) => error.to_string(),
    };
    let line = |line: &str| {
        let (_, rest) = line.split_once("f.yaml").unwrap();
        let (_, rest) = rest.split_once(": ").unwrap();
        rest.replace("tollgate.", "")
    };
    said.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn one_mistake_is_one_message() {
    let url = "url: 'http://127.0.0.1:9/'";
    let word = "auth.external.ask: another word; write always or rule or unknown_users";
    for keys in [
        "ask: alway",
        "ask: alway, on_failure: admit",
        "ask: alway, send_password: true",
    ] {
        assert_eq!(said(&format!("{url}, {keys}"), ""), word, "{keys}");
    }
    for (keys, expected) in [
        (
            "aks: always",
            "auth.external.aks: unknown key; did you mean \"ask\"?",
        ),
        (
            "send_password: yse",
            "auth.external.send_password: neither true nor false; write true or false",
        ),
        (
            "send_pasword: true",
            "auth.external.send_pasword: unknown key; did you mean \"send_password\"?",
        ),
    ] {
        assert_eq!(said(&format!("{url}, {keys}"), ""), expected);
    }
    assert_eq!(
        said("ulr: 'http://127.0.0.1:9/', ask: always", ""),
        "auth.external.ulr: unknown key; did you mean \"url\"?"
    );
    // Nor do rules that ask it follow from it.
    let rules = "  policy: {rules: [{name: r, action: admit, ask: true}]}\n";
    assert_eq!(said(&format!("{url}, ask: rlue"), rules), word);
    let always = format!("{url}, ask: always");
    for (more, expected) in [
        (
            "  limits: {request_head: large, request_target: 512KiB}\n",
            "limits.request_head: not a size; write one from 1KiB to 1MiB, in B, KiB, MiB, GiB or TiB",
        ),
        (
            "  limits: {request_haed: 1MiB, request_target: 512KiB}\n",
            "limits.request_haed: unknown key; did you mean \"request_head\"?",
        ),
    ] {
        assert_eq!(said(&always, more), expected);
    }
}

#[test]
fn a_url_that_leads_here() {
    let admin = "auth.external.url: the address of the admin service of this program, which answers no question; write \
                 the address of the service";
    let loops = "auth.external.url: an address on which this program listens: each question would be a request to ask \
                 about; write the address of the service";
    let gateway = "warning: auth.external.url: an address on which this program listens: a question is a request to its \
                   gateway; write the address of the service";
    let known = "send_password: true";
    for (url, keys, expected) in [
        ("http://127.0.0.1:9188/", known, admin),
        ("http://localhost:9188/", "ask: always", admin),
        ("http://localhost:8888/check", "ask: always", loops),
        ("http://127.0.0.1:8888/check", known, gateway),
        ("http://[::1]:9000/", known, ""),
        ("http://127.0.0.2:9000/", known, ""),
        ("https://auth.test:8888/", known, ""),
    ] {
        assert_eq!(
            said(&format!("url: '{url}', {keys}"), ""),
            expected,
            "{url}"
        );
    }
}

#[test]
fn services_that_clients_reach_through_the_proxy() {
    let keys = "url: 'http://127.0.0.1:9000/', send_password: true";
    let service = "the authoriser: clients can ask it through the proxy, past the lock-out; name smaller networks, or \
                   put a rule with `action: deny, networks: [\"127.0.0.1\"], ports: [9000]` first";
    let of_admin = "the admin service, which has no authentication: clients can use it through the proxy; name smaller \
                    networks, or put a rule with `action: deny, networks: [\"127.0.0.1\"], ports: [9188]` first";
    let deny = "  policy: {rules: [{name: own, action: deny, networks: [127.0.0.1], ports: [9000, 9188]}]}\n";
    for (more, expected) in [
        // Ports of forwarded requests are open.
        (
            "  egress: {allow_networks: [127.0.0.0/8]}\n",
            format!("warning: egress.allow_networks: 127.0.0.0/8 opens 127.0.0.1:9000, {service}"),
        ),
        (
            "  egress: {allow_networks: [127.0.0.1]}\n",
            format!(
                "warning: egress.allow_networks: 127.0.0.1/32 opens 127.0.0.1:9000, {service}\n\
                 warning: egress.allow_networks: 127.0.0.1/32 opens 127.0.0.1:9188, {of_admin}"
            ),
        ),
        (
            "  egress: {allow_networks: [127.0.0.0/8], deny_networks: [127.0.0.1]}\n",
            String::new(),
        ),
        (
            "  egress: {allow_networks: [127.0.0.0/8], connect_ports: [443], http_ports: [80]}\n",
            String::new(),
        ),
        ("  egress: {allow_networks: [10.0.0.0/8]}\n", String::new()),
        (
            "  policy: {rules: [{name: lab, action: admit, users: [alice], networks: [127.0.0.0/8]}]}\n",
            format!("warning: policy: the rule lab opens 127.0.0.1:9000, {service}"),
        ),
    ] {
        assert_eq!(said(keys, more), expected, "{more}");
    }
    let denied = format!("  egress: {{allow_networks: [127.0.0.1]}}\n{deny}");
    assert_eq!(said(keys, &denied), "");
    // Others are reached without the proxy.
    assert_eq!(said("url: 'https://192.88.98.1/', ask: always", ""), "");
}
