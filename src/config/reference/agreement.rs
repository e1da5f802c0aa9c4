//! The program and the schema agree: whatever the program takes, the schema takes; and it refuses what the program
//! refuses for its type, its word or its name.

use std::num::NonZero;

use jsonschema::Validator;
use serde_yaml::Value;

use super::super::keys::shape::{DefaultText, Key, Shape, Typed};
use super::super::tests::Setup;
use super::super::yaml::join;
use super::{schema, tables};

/// A whole configuration. Its `ca_file` spares each load the authorities of the system.
const BASE: &str = "
version: 1
ca_file: cert.pem
tollgate:
  listeners:
    - { address: '127.0.0.1:8888' }
  auth: { htpasswd: users, groups: groups }
  limits: { store: { file: quota.redb } }
";

/// The same with the maps that may be left out.
const MAPS: [(&str, &str); 20] = [
    ("tollgate.pac", "{ proxy: 'PROXY a.test:1' }"),
    ("tollgate.limits.classes", "[{ name: c, requests: 7/s }]"),
    ("tollgate.limits.classes[].quota", "{ day: 7GiB }"),
    (
        "tollgate.listeners[].tls",
        "{ certificate: cert.pem, key: key.pem }",
    ),
    (
        "tollgate.listeners[].tls.certificates",
        "[{ certificate: cert.pem, key: key.pem }]",
    ),
    ("tollgate.admin", "{ address: '127.0.0.1:9188' }"),
    (
        "tollgate.admin.tls",
        "{ certificate: cert.pem, key: key.pem }",
    ),
    (
        "tollgate.admin.tls.certificates",
        "[{ certificate: cert.pem, key: key.pem }]",
    ),
    (
        "tollgate.auth.tokens",
        "{ issuers: [{ issuer: i, jwks: 'https://i.test/', audience: a, user_prefix: 'p:' }] }",
    ),
    (
        "tollgate.auth.external",
        "{ url: 'http://127.0.0.1:9000/' }",
    ),
    (
        "tollgate.auth.trusted_networks",
        "[{ networks: [10.1.0.0/16], user: ci }]",
    ),
    (
        "tollgate.gateway.pools",
        "[{ name: p, path: /p, upstreams: ['127.0.0.1:80'] }]",
    ),
    ("tollgate.policy.rules", "[{ name: r, action: deny }]"),
    ("tollgate.policy.rules[].time", "{ days: [mon] }"),
    (
        "tollgate.policy_tests",
        "[{ user: alice, target: 'example.org:443', expect: admit }]",
    ),
    (
        "tollgate.scripts",
        "[{ name: s, source: 'fn request(r) { }' }]",
    ),
    ("tollgate.secrets.NAME", "{ file: list.txt }"),
    (
        "tollgate.parents.NAME",
        "{ urls: ['http://10.0.0.1:3128'] }",
    ),
    ("tollgate.egress.allow_domains", "[{ list: list.txt }]"),
    ("tollgate.egress.deny_domains", "[{ list: list.txt }]"),
];

/// Values in many spellings, right and wrong.
const VALUES: &str = "
null | ~ | true | True | 'true' | no | 0 | 1 | 7 | '7' | +7 | 0x7 | 0o7 | -1 | 1.5 | 400 | 451 | '404' | 65536 |
99999999999999999999 | 30s | 30 s | '1m' | 100ms | 0s | 1h30m | 30 | 64KiB | 64 kib | 1 MB | 64K | none | any | off |
stdout | json | combined | xml | admit | deny | observe | log | linear | users | list.txt | cert.pem | key.pem | groups |
new.file | gone/file | r | default | connect_ports | GET | get | alice | 5 o'clock | '08:00' | 24:00 | 25:00 | UTC |
Europe/Berlin | 2027-01-01T00:00:00Z | '2027-01-01 00:00:00+01:00' | 'true' | '\"a\" == \"a\"' | 127.0.0.1 |
'127.0.0.1:8889' | '[::1]:8890' | '::1' | '2001:db8::/32' | 10.0.0.0/8 | example.org | '@list.txt' | [] | [a] | [any] |
[443] | ['443', 8000-8099, 1 - 2] | [10.0.0.0/8, '::1'] | [127.0.0.1] | ['::1'] | ['192.0.2.1:53'] | [mon, tue-fri] |
[monday] | [tunnel, forward] | [tunel] | [PUT, POST] | [alice] | [team] | ['@list.txt', .example.org] |
[{ list: list.txt, lenient: true }] | [{ list: list.txt }] | [{ lenient: false }] | [true] | [1] | {} | { list: list.txt } |
7/s | 0/s | 30/m | 30/d | client_network | cut | { day: 1GiB } | { day: 1 GiB, year: 1GiB } |
{ days: [mon] } | { from: '08:00', zone: UTC } | { address: '127.0.0.1:9189' } | [{ address: '127.0.0.1:9190', http2: True }] |
[{ name: q, action: admit }] | [{ user: alice, target: /, expect: admit, time: 2027-01-01T00:00:00Z }] | '' | \"\" | [''] | [[]]
";

struct Check {
    setup: Setup,
    schema: Validator,
}

impl Check {
    fn new() -> Check {
        let setup = Setup::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["one.test".to_owned()]).unwrap();
        setup.file("cert.pem", params.self_signed(&key).unwrap().pem());
        setup.file("key.pem", key.serialize_pem());
        setup.file("list.txt", "listed.example\n");
        setup.file("groups", "team: alice\n");
        let schema = jsonschema::draft202012::new(&schema::schema()).unwrap();
        Check { setup, schema }
    }

    fn program_takes(&self, yaml: &str) -> bool {
        self.setup.load(yaml).is_ok()
    }

    /// How many of the values the program takes for a key; the schema takes them as well.
    fn agree(&self, path: &str, key: &Key) -> usize {
        // Pingora is given a number as text that is no whole number of 64 bits, which no schema can say.
        let is_typed = matches!(key.shape, Shape::Typed(_));
        let excepted = |value: &&str| is_typed && ["1.5", "99999999999999999999"].contains(value);
        let values = VALUES.split('|').map(str::trim);
        let taken = values
            .filter(|value| !excepted(value))
            .map(|value| (value, with(path, value)))
            .filter(|(_, yaml)| self.program_takes(yaml));
        taken
            .inspect(|(value, yaml)| assert!(self.schema_takes(yaml), "{path}: {value}"))
            .count()
    }

    fn schema_takes(&self, yaml: &str) -> bool {
        // A value that the other parser of YAML does not read is none for the schema to refuse.
        let value = serde_yaml::from_str::<Value>(yaml).ok();
        let value = value.and_then(|value| serde_json::to_value(value).ok());
        value.is_none_or(|value| self.schema.is_valid(&value))
    }
}

/// The base with a value at the path of a key, as it is written.
fn with(path: &str, value: &str) -> String {
    const MARK: &str = "the-value";
    let mut document: Value = serde_yaml::from_str(BASE).unwrap();
    for (map, content) in MAPS {
        if path.starts_with(map) && path != map {
            *at(&mut document, map) = serde_yaml::from_str(content).unwrap();
        }
    }
    *at(&mut document, path) = MARK.into();
    let json = serde_json::to_string(&document).unwrap();
    // JSON is YAML.
    json.replace(&format!("\"{MARK}\""), &format!(" {value} "))
}

/// The place of a path, in the first entry of each list.
fn at<'v>(document: &'v mut Value, path: &str) -> &'v mut Value {
    let mut place = document;
    for step in path.split('.') {
        let key = step.trim_end_matches("[]");
        if place.is_null() {
            *place = Value::Mapping(Default::default());
        }
        let map = place.as_mapping_mut().unwrap();
        place = map.entry(key.into()).or_insert(Value::Null);
        if step.ends_with("[]") {
            place = &mut place[0];
        }
    }
    place
}

/// Every key with its path.
fn keys() -> Vec<(String, Key)> {
    let tables = tables().into_iter();
    let keys = tables.flat_map(|table| {
        let path = table.path;
        let keys = table.keys.into_iter();
        keys.map(move |key| (join(&path, key.name), key))
    });
    keys.filter(|(path, _)| !path.contains("domains[].") || path.contains("egress.deny"))
        .collect()
}

#[test]
fn the_schema_takes_what_the_program_takes() {
    let keys = keys();
    // Many thousands of configurations.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let taken: usize = std::thread::scope(|scope| {
        let of_keys = |part: &[(String, Key)]| {
            // Each thread has a directory of its own.
            let check = Check::new();
            let agreed = part.iter().map(|(path, key)| check.agree(path, key));
            agreed.sum::<usize>()
        };
        let parts = keys.chunks(keys.len().div_ceil(threads));
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || of_keys(part)))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    });
    assert!(taken > 400, "{taken} values taken");
}

#[test]
fn the_schema_refuses_wrong_types_words_and_keys() {
    let check = Check::new();
    for (path, key) in keys() {
        for value in wrong(&key.shape) {
            let yaml = with(&path, value);
            assert!(!check.program_takes(&yaml), "{path}: {value}");
            assert!(!check.schema_takes(&yaml), "{path}: {value}");
        }
    }
    for table in tables() {
        let path = join(&table.path, "no_such_key");
        if !path.contains("domains[].") || path.contains("egress.deny") {
            let yaml = with(&path, "1");
            assert!(!check.program_takes(&yaml), "{path}");
            assert!(!check.schema_takes(&yaml), "{path}");
        }
    }
}

/// Values that are wrong for their type alone, or for being none of the words to choose from.
fn wrong(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Flag => vec!["maybe", "1", "[true]", "{ a: 1 }", "null"],
        Shape::Number(_) | Shape::Size(_) => vec!["many", "-1", "1.5", "[1]", "{ a: 1 }", "null"],
        Shape::Duration(_) => vec!["30", "soon", "30sec", "[30s]", "{ a: 1 }", "null"],
        Shape::Words(_) => vec!["zzz", "[zzz]", "{ a: 1 }", "null"],
        Shape::Text(..) | Shape::Form { .. } => vec!["[[a]]", "{ a: 1 }", "null", "''"],
        Shape::Either(_) => vec!["{ a: 1 }", "null", "[[a]]"],
        Shape::List { .. } => vec!["zzz", "7", "{ a: 1 }", "null", "[[a]]", "[null]"],
        Shape::Texts(_) => vec!["zzz", "7", "[a]", "{ a: [b] }", "{ a: '' }", "null"],
        Shape::Names(_) => vec!["zzz", "7", "[a]", "null", "{ a: { b: 1 } }"],
        Shape::NamedMaps(_) => vec!["zzz", "7", "[a]", "null", "{ a: 1 }", "{ a: [] }"],
        Shape::Map(_) => vec!["zzz", "7", "[a]", "null"],
        Shape::Part(_) => vec!["zzz", "7", "[a]"],
        Shape::Typed(Typed::Optional(inner)) => wrong_type(inner),
        Shape::Typed(typed) => [wrong_type(typed), vec!["null"]].concat(),
    }
}

fn wrong_type(typed: &Typed) -> Vec<&'static str> {
    match typed {
        Typed::Flag => vec!["maybe", "1", "'true'", "[true]", "{ a: 1 }"],
        Typed::Number(_) => vec!["many", "-1", "'7'", "[1]", "{ a: 1 }"],
        Typed::Text(_) => vec!["7", "true", "[a]", "{ a: 1 }"],
        Typed::Words(_) => vec!["zzz", "7", "[zzz]", "{ a: 1 }"],
        Typed::List(_) => vec!["zzz", "7", "[1]", "{ a: 1 }"],
        Typed::Optional(inner) => wrong_type(inner),
    }
}

/// A default that the tables show is what a key is that is left out.
#[test]
fn the_defaults_are_the_defaults() {
    let check = Check::new();
    let mut compared = 0;
    for (path, key) in keys() {
        let DefaultText::Value(value) = &key.default else {
            continue;
        };
        let mut without: Value = serde_yaml::from_str(&with(&path, "null")).unwrap();
        let (map, name) = path.rsplit_once('.').unwrap_or(("", &path));
        let map = if map.is_empty() {
            &mut without
        } else {
            at(&mut without, map)
        };
        map.as_mapping_mut().unwrap().remove(name);
        let load = |yaml: &str| {
            let config = check.setup.load(yaml);
            let mut config = config.unwrap_or_else(|error| panic!("{error}"));
            // Of a key that has no effect.
            config.warnings = Default::default();
            format!("{config:?}")
        };
        assert_eq!(
            load(&with(&path, value)),
            load(&serde_yaml::to_string(&without).unwrap()),
            "{path}: {value}"
        );
        compared += 1;
    }
    assert!(compared > 40, "{compared} defaults");
}
