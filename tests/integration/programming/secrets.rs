//! Secrets that scripts send: over TLS, and in clear text where the configuration allows it.

use crate::support::command::tollgate;
use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::fetch;
use crate::support::tls::Authority;

const SECRET: &str = "s3cr3t-of-the-script";

const SCRIPT: &str = "fn upstream_request(r) { r.set_header(\"x-key\", secret(\"api\")); }";

const WHY: &str = "set_header: x-key: the request goes over http, which shows a secret to others; \
                   admit it by a rule with `upgrade: https`, or let the secret have `clear_text: true` (line 1)";

/// `api.test` is sent over https, `rest.test` as it comes.
fn setup(authority: &Authority, dns: &Dns, secret: &str, ports: &[u16]) -> Setup {
    let ports = format!("{ports:?}");
    Setup::new()
        .file("api.secret", format!("{SECRET}\n"))
        .file("api.rhai", SCRIPT)
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem")
        .config(&format!(
            "secrets: {{ api: {secret} }}
scripts: [{{ name: api, file: api.rhai, roles: [forward] }}]
policy:
  default: deny
  rules:
    - {{ name: api, action: admit, domains: [api.test], ports: {ports}, upgrade: https }}
    - {{ name: rest, action: admit, domains: [rest.test], ports: {ports} }}
{}",
            dns.config()
        ))
}

#[test]
fn a_script_sends_a_secret_over_tls_alone() {
    let authority = Authority::new();
    let tls = Origin::https(authority.issue(&["api.test"]).server(), |_| ok("in"));
    let plain = Origin::ok("in");
    let dns = Dns::table(&[("api.test", &["127.0.0.1"]), ("rest.test", &["127.0.0.1"])]);
    let ports = [tls.port(), plain.port()];
    let setup = setup(&authority, &dns, "{ file: api.secret }", &ports);
    let (upgraded, rest) = (
        format!("http://api.test:{}/", tls.port()),
        format!("http://rest.test:{}/", plain.port()),
    );
    let conf = setup.write();
    let explain = |target: &str| {
        let before = ["explain", "-c", conf.to_str().unwrap(), "--user", "alice"];
        let resolve = ["--resolve", "127.0.0.1", "--target", target];
        tollgate(before.iter().chain(&resolve)).stdout
    };
    let explained = explain(&upgraded);
    assert!(explained.contains("sets x-key: ***"), "{explained}");
    let explained = explain(&rest);
    assert!(explained.contains(&format!("fails: {WHY}")), "{explained}");

    let proxy = setup.start();
    assert_eq!(proxy.exchange(fetch(&upgraded)).text(), "in");
    assert_eq!(tls.request().head.fields.all("x-key"), [SECRET]);
    assert_eq!(proxy.exchange(fetch(&rest)).status(), 500);
    assert!(plain.requests().is_empty());
    let record = proxy.record("the failure", |record| record["status"] == 500);
    let detail = format!("hook:api in upstream_request: {WHY}");
    assert_eq!(record["error_detail"], detail, "{record}");
}

#[test]
fn a_secret_in_clear_text_is_the_operator_s_choice() {
    let authority = Authority::new();
    let plain = Origin::ok("in");
    let dns = Dns::table(&[("rest.test", &["127.0.0.1"])]);
    let secret = "{ file: api.secret, clear_text: true }";
    let proxy = setup(&authority, &dns, secret, &[plain.port()]).start();
    let answer = proxy.exchange(fetch(&format!("http://rest.test:{}/", plain.port())));
    assert_eq!(answer.text(), "in");
    assert_eq!(plain.request().head.fields.all("x-key"), [SECRET]);
}
