//! What all tests share, and what concerns the file as a whole.

mod external;
mod lockout;
mod parents;
mod policy;
mod reload;
mod repository;
mod scripts;
mod secrets;
mod sections;
mod senders;
mod server;
mod tls;
mod trusted;
mod tunnel;
mod values;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

pub(super) use self::repository::own;
use super::*;
use crate::access::policy::{ExplainedDecision, Moment, Policy, Scenario};

/// `alice` with `secret`, in a cheap format.
const ALICE: &str = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";

/// `username` with `password`, in a cheap format.
const DEMO: &str = "username:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";

/// A directory with a configuration in it.
pub(super) struct Setup {
    directory: TempDir,
}

impl Setup {
    pub(super) fn new() -> Setup {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup { directory };
        setup.file("users", ALICE);
        setup
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        // Else there are warnings of what every user can read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("f.yaml")
    }

    pub(super) fn load(&self, yaml: &str) -> Result<Config, ConfigError> {
        self.file("f.yaml", yaml);
        Config::load(&self.path())
    }

    /// What is wrong with `yaml`, one problem a line, without the name of the directory.
    fn problems(&self, yaml: &str) -> String {
        let error = self.load(yaml).expect_err("no problem");
        self.shown(&error)
    }

    fn shown(&self, error: &ConfigError) -> String {
        let directory = format!("{}/", self.directory.path().display());
        error.to_string().replace(&directory, "")
    }
}

/// A complete file with `lines` below `tollgate:`; they begin on line 5.
fn with(lines: &str) -> String {
    format!(
        "version: 1\n\
         tollgate:\n  \
           listeners: [{{address: \"127.0.0.1:8888\"}}]\n  \
           auth: {{htpasswd: users}}\n\
         {lines}"
    )
}

fn check(lines: &str, expected: &str) {
    assert_eq!(Setup::new().problems(&with(lines)), expected, "{lines}");
}

/// What `policy` says of a target when alice asks for it, and who says it.
fn decision(policy: &Policy, target: &str) -> String {
    let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
    let scenario = Scenario::new("alice", target, None, time).unwrap();
    let explanation = policy.explain(&scenario);
    let decision = match explanation.decision {
        ExplainedDecision::Admit => "admit",
        ExplainedDecision::Deny => "deny",
        ExplainedDecision::DependsOnAddress => "depends",
        ExplainedDecision::Answer | ExplainedDecision::Fail => "of a script",
    };
    format!("{decision} {}", explanation.rule)
}

/// An authority, and PEM files of a certificate from it with its key.
struct Identity {
    authority: String,
    certificate: String,
    key: String,
}

fn identity() -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["proxy.example".to_owned()]).unwrap();
    Identity {
        authority: authority.pem(),
        certificate: params.signed_by(&key, &authority).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// A revocation list without an entry.
fn empty_list() -> rcgen::CertificateRevocationList {
    list_of(&[])
}

/// A revocation list with these serial numbers.
fn list_of(serials: &[u64]) -> rcgen::CertificateRevocationList {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let now = rcgen::date_time_ymd(2024, 1, 1);
    let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
        serial_number: (*serial).into(),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    });
    let params = rcgen::CertificateRevocationListParams {
        this_update: now,
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(&authority).unwrap()
}

#[test]
fn a_minimal_file_has_the_defaults() {
    let setup = Setup::new();
    let config = setup.load(&with("")).unwrap();
    let directory = setup.directory.path();
    assert_eq!(config.file, directory.join("f.yaml"));
    assert_eq!(config.listeners.len(), 1);
    assert!(!config.is_exposed());
    assert!(config.admin.is_none());
    assert_eq!(config.auth.realm, "tollgate");
    assert_eq!(config.auth.htpasswd, directory.join("users"));
    assert!(config.auth.users.contains("alice"));
    assert_eq!(config.gateway, Gateway::default());
    assert_eq!(config.dns, Dns::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.log, telemetry::Settings::default());
    assert_eq!(config.auth.hash_threads, config.server.threads);

    assert!(config.policy.rules().is_empty());
    for (target, expected) in [
        ("a.example:443", "admit default"),
        ("a.example:444", "deny connect_ports"),
        ("http://a.example:8080/", "admit default"),
        ("/status", "admit default"),
        ("192.168.0.1:443", "deny special_purpose:private_use"),
    ] {
        assert_eq!(decision(&config.policy, target), expected, "{target}");
    }
}

#[test]
fn everything_at_once() {
    let setup = Setup::new();
    setup.file("users", format!("{ALICE}bob\ncarol:hunter2\n"));
    setup.file("deny.txt", "a.example\n\nb.*.example\n10.0.0.1\n");
    let yaml = "version: 2
thread: 4
tollgate:
  listeners:
    - address: 127.0.0.1:8888
      tls: {certificate: gone.pem, key: gone.key, ca: x}
    - address: 127.0.0.1:0
    - {}
  admin: {address: 0.0.0.0:8888}
  auth: {realm: 'a\"b', htpasswd: users}
  gateway: {upstreams: ['unix:app.sock', 127.0.0.1:8888]}
  egress:
    connect_ports: [443, 70000]
    allow_networks: [10.1.2.3/8]
    deny_domains: ['@deny.txt', '@gone.txt']
  timeouts:
    conect: 5s
    drain: 30
  limits: {request_head: 1GiB}
  log: {access: gone/access.log, format: xml}
";
    let expected = "\
f.yaml:1: version: out of range; write 1
f.yaml:2: thread: unknown key; did you mean \"threads\"?
f.yaml:6: tollgate.listeners[0].tls.ca: unknown key; known here: certificate, key, certificates, client_ca, client_crl, certificate_user, certificate_login
f.yaml:6: tollgate.listeners[0].tls.certificate: gone.pem does not exist; name a PEM file, relative to this file
f.yaml:6: tollgate.listeners[0].tls.key: gone.key does not exist; name a PEM file, relative to this file
f.yaml:7: tollgate.listeners[1].address: port 0; write a port from 1 to 65535
f.yaml:8: tollgate.listeners[2].address: missing; write one such as \"127.0.0.1:8888\"
f.yaml:9: tollgate.admin.address: in the way of tollgate.listeners[0].address: 0.0.0.0 takes the connections to every IPv4 address; give each one its own port, or keep only the one on 0.0.0.0
f.yaml:10: tollgate.auth.realm: not a realm; write up to 128 printable ASCII characters without \" and \\
f.yaml:11: tollgate.gateway.upstreams[0]: not an absolute path; write it as unix:/run/app.sock
f.yaml:11: tollgate.gateway.upstreams[1]: one of tollgate's own listeners; name the server behind it
f.yaml:13: tollgate.egress.connect_ports[1]: not a port; write 443, 8000-8099 or any
f.yaml:14: tollgate.egress.allow_networks[0]: has bits behind the prefix; write 10.0.0.0/8 for the network or a single address
f.yaml:15: tollgate.egress.deny_domains[1]: gone.txt does not exist; name a list file, relative to this file: @allowed.txt
f.yaml:17: tollgate.timeouts.conect: unknown key; did you mean \"connect\"?
f.yaml:18: tollgate.timeouts.drain: a duration needs a unit; add one of ms, s, m, h, d, as in 30s
f.yaml:19: tollgate.limits.request_head: out of range; write one from 1KiB to 1MiB, in B, KiB, MiB, GiB or TiB
f.yaml:20: tollgate.log.format: not a log format; write json or combined
f.yaml:20: tollgate.log.access: its directory does not exist; run `mkdir -p gone`, or name another
deny.txt:3: wildcards are not read; write .example.org for a domain and all below it
deny.txt:4: an address is not a domain; put it into a list of networks
users:2: no colon after the user name; write lines with `tollgate passwd users USER`; a comment begins with #
users:3: user \"carol\": not a known password hash; passwords in plain text are not accepted; set a new password with `tollgate passwd users carol`";
    let problems = setup.problems(yaml);
    assert_eq!(problems, expected);
    assert!(!problems.contains("hunter2"));
}

#[test]
fn files_that_are_none() {
    let setup = Setup::new();
    let gone = Config::load(&setup.directory.path().join("gone.yaml")).unwrap_err();
    let advice = "name a configuration file, as in `tollgate -c conf/pingora.yaml`";
    assert_eq!(
        setup.shown(&gone),
        format!("gone.yaml: does not exist; {advice}")
    );
    let problem = Config::load(setup.directory.path())
        .unwrap_err()
        .to_string();
    assert!(
        problem.contains(": is a directory; name a regular file"),
        "{problem}"
    );
    setup.file("f.yaml", vec![b'#'; (MAX_FILE + 1) as usize]);
    let large = Config::load(&setup.path()).unwrap_err();
    assert_eq!(
        setup.shown(&large),
        "f.yaml: is larger than 1MiB; name another file, or divide this one"
    );
    setup.file("f.yaml", b"a: 1\nb: \xff\n");
    let binary = Config::load(&setup.path()).unwrap_err();
    assert_eq!(
        setup.shown(&binary),
        "f.yaml:2: not UTF-8; save the file as UTF-8, for example with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEWFILE`"
    );
    assert_eq!(
        setup.problems(""),
        "f.yaml: the file has no configuration in it; write a configuration; conf/pingora.yaml is a short one"
    );
    assert_eq!(
        setup.problems("- version: 1\n"),
        "f.yaml:1: a list, where a map of keys is expected; write `key: value` lines"
    );
    assert_eq!(
        setup.problems("version: 1\ntollgate:\n"),
        "f.yaml:2: tollgate: has no value; write `key: value` lines\n\
         f.yaml:2: tollgate.listeners: missing; write a list with `- address: \"127.0.0.1:8888\"`\n\
         f.yaml:2: tollgate.auth.htpasswd: missing: every request is authenticated; make a file with `tollgate passwd FILE USER` and name it here"
    );
}

#[test]
fn secrets_stay_in_their_files() {
    // A password file in the place of the configuration, and a broken line with a password.
    let setup = Setup::new();
    for yaml in [
        "alice:hunter2\n",
        "alice: hunter2\n",
        "hunter2: alice: x\n",
        "version: hunter2\n",
        "threads: hunter2\ntollgate: hunter2\n",
        "threads: [hunter2]\n",
        "error_log: {hunter2: 1}\n",
        "runtime_metrics_poll_time_histogram_scale: hunter2\n",
    ] {
        let problems = setup.problems(yaml);
        assert!(!problems.contains("hunter2: "), "{problems}");
        assert!(!problems.contains(": hunter2"), "{problems}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_text_is_never_a_panic(text in "(?s).{0,300}") {
        let _ = Setup::new().load(&text);
    }

    #[test]
    fn arbitrary_values_are_never_a_panic(
        key in prop::sample::select(vec![
            "listeners", "admin", "auth", "gateway", "egress", "policy", "policy_tests", "dns", "timeouts", "limits", "log",
        ]),
        value in "[-\\[\\]{}:,'\"@#a-z0-9. \n]{0,60}",
    ) {
        let _ = Setup::new().load(&with(&format!("  {key}: {value}\n")));
    }

    #[test]
    fn damaged_files_are_never_a_panic(at in 0usize..2000, byte in any::<u8>()) {
        let mut text = fs::read(own("conf/production.yaml")).unwrap();
        let at = at % text.len();
        text[at] = byte;
        let setup = Setup::new();
        setup.file("f.yaml", text);
        let _ = Config::load(&setup.path());
    }
}
