//! Sets against a scan, lists in each format, and what lists must not hold.

use proptest::prelude::*;

use super::*;
use crate::http::target::TargetError;

fn domains(entries: &[&str]) -> Domains {
    Domains::parse(entries).unwrap()
}

fn list(text: &str) -> Domains {
    let mut domains = Domains::default();
    domains.extend_list(text).unwrap();
    domains
}

fn found(domains: &Domains, name: &str) -> Option<String> {
    let found = domains.matching(&NameKey::new(name));
    found.map(|entry| entry.to_string())
}

#[test]
fn exact_and_suffix() {
    let domains = domains(&[
        "example.org",
        ".example.net.",
        "Both.example",
        ".BOTH.example # twice",
        "a.b.example.net",
        ".bücher.de",
        "# comment",
        "",
        "  .x.y.z.org",
        ".test",
    ]);
    assert_eq!(domains.len(), 7);
    for (name, expected) in [
        ("example.org", Some("example.org")),
        ("www.example.org", None),
        ("example.net", Some(".example.net")),
        ("www.example.net", Some(".example.net")),
        ("a.b.example.net", Some("a.b.example.net")),
        ("c.a.b.example.net", Some(".example.net")),
        ("notexample.net", None),
        ("net", None),
        ("both.example", Some("both.example")),
        ("x.both.example", Some(".both.example")),
        ("xn--bcher-kva.de", Some(".xn--bcher-kva.de")),
        ("1.2.3.4.5.x.y.z.org", Some(".x.y.z.org")),
        ("y.z.org", None),
        ("test", Some(".test")),
        ("a.b.c.test", Some(".test")),
    ] {
        assert_eq!(found(&domains, name).as_deref(), expected, "{name}");
    }
    assert!(Domains::default().is_empty() && !domains.is_empty());
    assert_eq!(found(&Domains::default(), "example.org"), None);
}

#[test]
fn the_most_specific_entry_is_named() {
    let domains = domains(&[".org", ".example.org", ".b.example.org"]);
    for (name, expected) in [
        ("a.b.example.org", ".b.example.org"),
        ("a.c.example.org", ".example.org"),
        ("a.c.sample.org", ".org"),
    ] {
        assert_eq!(found(&domains, name).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn names_that_are_deeper_than_a_key() {
    let deep = "a.b.c.d.e.f.g.h.i.j.k.example.org";
    let above = "c.d.e.f.g.h.i.j.k.example.org";
    let suffix = format!(".{above}");
    for (entries, expected) in [
        (vec![deep, &suffix, ".org"], Some(deep)),
        (vec![&suffix, ".org", ".k.example.org"], Some(&suffix)),
        (
            vec![".d.e.f.g.h.i.j.k.example.org", &suffix, ".org"],
            Some(&suffix),
        ),
        (vec![above, ".org"], Some(".org")),
        (vec![above, ".x.y.z.y.x.y.z.y.x.y.z.y.example.org"], None),
    ] {
        let domains = domains(&entries);
        assert_eq!(found(&domains, deep).as_deref(), expected, "{entries:?}");
    }
    // Each label of the deepest name, and no longer name.
    let mut name = "a.".repeat(126) + "a";
    for labels in 1..=127 {
        let suffix = ".a".repeat(labels);
        assert_eq!(found(&domains(&[&suffix]), &name), Some(suffix));
    }
    name.insert_str(0, "a.");
    assert_eq!(found(&domains(&[".a"]), &name), None);
}

#[test]
fn errors_of_entries() {
    for (entry, problem) in [
        ("*.example.org", EntryProblem::Wildcard),
        ("*", EntryProblem::Wildcard),
        ("127.0.0.1", EntryProblem::AddressAsDomain),
        ("[::1]", EntryProblem::AddressAsDomain),
        (".0x7f.1", EntryProblem::AddressAsDomain),
        (".", EntryProblem::Domain(TargetError::EmptyHost)),
        ("..org", EntryProblem::Domain(TargetError::EmptyLabel)),
        ("a b", EntryProblem::SeveralDomains),
        ("a_b!c", EntryProblem::Domain(TargetError::HostName)),
        ("example.org:443", EntryProblem::PortOfDomain),
        ("http://example.org/", EntryProblem::Url),
        ("@list.txt", EntryProblem::Include),
        ("||example.org^", EntryProblem::Pattern),
        ("(^|\\.)example\\.org$", EntryProblem::Expression),
        ("10.0.0.0/8", EntryProblem::NetworkAsDomain),
    ] {
        let error = Domains::parse(["ok.example", entry]).unwrap_err().remove(0);
        assert_eq!((error.number, error.problem), (2, problem), "{entry}");
    }
    // All at once, and valid entries are kept.
    let mut domains = Domains::default();
    let errors = domains.extend(["a.org", "*", "b.org", "1.1"]).unwrap_err();
    assert_eq!((errors.len(), domains.len()), (2, 2));
}

#[test]
fn lists_in_all_formats() {
    let read = list(concat!(
        "# Title\r\n",
        "[Adblock Plus 2.0]\r\n",
        "! Homepage: https://example.org/\n",
        "!################\n",
        "## Section\n",
        "\t plain.example. \r\n",
        ".Suffix.example # and all below\n",
        "*.star.example\n",
        "||ads.example^\n",
        "||Bücher.example^   # note\n",
        "\r\n",
        "0.0.0.0 hosts.example\ttwo.example three.example # note\n",
        "127.0.0.1\tfour.example\r\n",
        ":: five.example\n::1 six.example\n",
        ".com\n",
        "last.example",
    ));
    let same = domains(&[
        "plain.example",
        ".suffix.example",
        ".star.example",
        ".ads.example",
        ".bücher.example",
        "hosts.example",
        "two.example",
        "three.example",
        "four.example",
        "five.example",
        "six.example",
        ".com",
        "last.example",
    ]);
    assert_eq!(read, same, "{read:?}");
    assert_eq!(
        found(&read, "star.example").as_deref(),
        Some(".star.example")
    );
    for empty in ["", "\n\n", "\r\n", "#", "! a\n# b", "[adblock]"] {
        assert!(list(empty).is_empty(), "{empty:?}");
    }
}

#[test]
fn entries_of_a_hosts_file_for_the_machine_are_skipped() {
    let read = list(
        "127.0.0.1 localhost
         127.0.0.1 localhost.localdomain
         127.0.0.1 local
         255.255.255.255 broadcasthost
         ::1 LOCALHOST
         ::1 ip6-localhost ip6-loopback
         fe80::1%lo0 localhost
         ff00::0 ip6-localnet
         ff00::0 ip6-mcastprefix
         ff02::1 ip6-allnodes
         ff02::2 ip6-allrouters
         ff02::3 ip6-allhosts
         0.0.0.0 0.0.0.0
         0.0.0.0 ads.example localhost",
    );
    assert_eq!(read, domains(&["ads.example"]));
}

#[test]
fn errors_of_lists() {
    use EntryProblem::*;
    for (line, problem) in [
        ("192.0.2.1 intranet.example", HostsAddress),
        ("127.0.1.1 localhost me.example", HostsAddress),
        ("::ffff:0.0.0.0 ads.example", HostsAddress),
        ("@@||example.org^", Exception),
        ("@@||example.org^$important", Exception),
        ("||example.org^$third-party", Options),
        ("||ads.*^$image", Options),
        ("||*.example.org^", Wildcard),
        ("||example.*", Wildcard),
        ("*.*.example.org", Wildcard),
        ("*ads.example", Wildcard),
        ("/^ads[0-9]+\\./", Expression),
        ("/", Path),
        ("https://example.org/", Url),
        ("||example.org/ads^", Path),
        ("/banner/*/img^", Path),
        ("|http://example.org|", Path),
        ("||example.org", Pattern),
        ("|example.org^", Pattern),
        ("example.org^", Pattern),
        ("||example.org^|", Pattern),
        ("example.org##.ad", Hash),
        ("example.org#@#.ad", Hash),
        ("ads.example#note", Hash),
        ("0.0.0.0 ads.example#note", Hash),
        ("!#include other.txt", Directive),
        ("!#if env_mobile", Directive),
        ("!+ PLATFORM(windows)", Directive),
        ("0.0.0.0", AddressAsDomain),
        ("||192.0.2.1^", AddressAsDomain),
        ("0.0.0.0 192.0.2.1", AddressAsDomain),
        ("10.0.0.0/8", NetworkAsDomain),
        ("2001:db8::/32", NetworkAsDomain),
        ("2001:db8::1", NetworkAsDomain),
        ("192.0.2.1:80", NetworkAsDomain),
        ("192.0.2.1-192.0.2.9", NetworkAsDomain),
        ("^ads\\.", Expression),
        ("(^|\\.)ads\\.example$", Expression),
        (".*\\.ads\\.example", Expression),
        ("ads[0-9]+.example", Expression),
        ("/ads/i", Expression),
        ("example.org/path", Path),
        ("address=/ads.example/0.0.0.0", Dnsmasq),
        ("address=/ads.example/#", Dnsmasq),
        ("https://example.org/?a=b#c", Url),
        ("local=/ads.example/", Dnsmasq),
        ("server=/ads.example/", Dnsmasq),
        ("local-zone: \"ads.example\" static", NameServer),
        ("local-data: \"ads.example A 0.0.0.0\"", NameServer),
        ("server:", NameServer),
        ("zone \"ads.example\" { type master; };", NameServer),
        ("\u{201c}ads.example\u{201d}", Typographic('\u{201c}')),
        ("a.example\u{3001}b.example", Typographic('\u{3001}')),
        ("ads\u{2013}x.example", Typographic('\u{2013}')),
        (
            "0.0.0.0 \u{2018}ads.example\u{2019}",
            Typographic('\u{2018}'),
        ),
        ("ads.example CNAME .", ZoneFile),
        ("ads.example A 0.0.0.0", ZoneFile),
        ("ads.example AAAA ::", ZoneFile),
        ("*.ads.example IN CNAME .", ZoneFile),
        ("$TTL 60", ZoneFile),
        ("@ IN SOA localhost. root.localhost. 1 2 3 4 5", ZoneFile),
        ("acl bad dstdomain .ads.example", Squid),
        ("a.example,b.example", Divider),
        ("a.example;", Divider),
        ("\"ads.example\"", Quotes),
        ("; note", CommentSign),
        ("// note", CommentSign),
        ("@other.txt", Include),
        ("<!DOCTYPE html>", Markup),
        ("ads.example\u{a0}", Invisible('\u{a0}')),
        ("www.*.example", Wildcard),
        (".", Domain(TargetError::EmptyHost)),
        ("*.", Domain(TargetError::EmptyHost)),
        ("||^", Pattern),
        ("||.example.org^", Pattern),
        ("..", Domain(TargetError::EmptyHost)),
        ("a.example b.example", SeveralDomains),
        ("example.org:443", PortOfDomain),
        ("[uBlock]", Domain(TargetError::Brackets)),
        ("a.example ! note", SeveralDomains),
    ] {
        let mut read = Domains::default();
        let text = format!("ok.example\r\n\r\n{line}\r\nlast.example");
        let errors = read.extend_list(&text).unwrap_err();
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert_eq!(
            (errors[0].number, &errors[0].problem),
            (3, &problem),
            "{line}"
        );
        assert_eq!(read, domains(&["ok.example", "last.example"]), "{line}");
    }
    // A hosts line quotes the name that is wrong.
    let mut read = Domains::default();
    let errors = read
        .extend_list("0.0.0.0 a.example b/c d.example")
        .unwrap_err();
    assert_eq!((&*errors[0].text, errors[0].number), ("b/c", 1));
    assert_eq!(read.len(), 2);
    // A list of something else is not repeated as a whole.
    let errors = read.extend_list(&"<html>\n".repeat(1000)).unwrap_err();
    assert_eq!(errors.len(), 51);
    assert_eq!((errors[50].number, &errors[50].problem), (1000, &More(950)));
    // Long lines too: their end shows their format.
    let long = format!("||example.org^$domain={}", "a.example|".repeat(1000));
    let errors = read.extend_list(&long).unwrap_err();
    assert_eq!(errors[0].problem, Options);
    assert_eq!(errors[0].text.len(), 80);
}

#[test]
fn each_problem_says_what_to_do() {
    use EntryProblem::*;
    for problem in [
        Wildcard,
        AddressAsDomain,
        HostsAddress,
        Exception,
        Options,
        Expression,
        Url,
        Path,
        PortOfDomain,
        NetworkAsDomain,
        SeveralDomains,
        Divider,
        Quotes,
        CommentSign,
        Include,
        Markup,
        Dnsmasq,
        NameServer,
        ZoneFile,
        Squid,
        Invisible('\u{200b}'),
        Pattern,
        Hash,
        Directive,
        Full,
    ] {
        let message = problem.to_string();
        assert_eq!(message.matches("; ").count(), 1, "{message}");
    }
}

#[test]
fn many_names_and_few_labels() {
    // Enough for every bit of the filter, and for tables that grow in between.
    let names: Vec<String> = (0..20_000).map(|i| format!("n{i}.example")).collect();
    let mut grown = Domains::default();
    for name in &names {
        grown.extend([name]).unwrap();
    }
    let read = list(&names.join("\n"));
    assert_eq!(read, grown);
    assert_eq!(read.len(), 20_000);
    for name in &names {
        assert_eq!(found(&read, name).as_ref(), Some(name));
        assert_eq!(found(&read, &format!("x.{name}")), None);
    }
}

#[test]
fn debug_is_short() {
    let few = domains(&["a.org", ".b.org", ".a.org"]);
    assert_eq!(format!("{few:?}"), "Domains(2: a.org, .a.org, .b.org)");
    let names: Vec<String> = (0..1000).map(|i| format!("n{i}.example")).collect();
    let many = format!("{:?}", list(&names.join("\n")));
    assert!(many.starts_with("Domains(1000: n0.example, ") && many.len() < 200);
    assert_eq!(format!("{:?}", Domains::default()), "Domains(0)");
    assert_eq!(format!("{:?}", NameKey::new("a.org")), "NameKey(\"a.org\")");
}

#[test]
fn sets_with_the_same_names_are_equal() {
    assert_eq!(domains(&["a.org", ".b.org"]), list("||b.org^\n:: A.org"));
    for other in [&["a.org"][..], &[".a.org"], &["a.org", ".a.org"]] {
        assert_ne!(domains(&["b.org"]), domains(other));
    }
    assert_ne!(domains(&["a.org"]), domains(&[".a.org"]));
    assert_ne!(domains(&["a.org"]), domains(&["a.org", ".a.org"]));
}

/// Names that come close to what the fast path must not take.
fn odd_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_-]{0,5}(\\.[a-z0-9_-]{0,5}){0,4}\\.?",
        "(xn--|a-|--)?[a-zA-Zü0-9]{1,5}(\\.[0-9a-fx]{1,4}){0,3}\\.{0,2}",
        "[a-z]{60,66}(\\.[a-z]{58,66}){0,4}\\.?",
        ".{0,12}",
    ]
}

fn entry() -> impl Strategy<Value = String> {
    prop_oneof!["\\.?[ab](\\.[ab]){0,3}", "\\.?[ab](\\.[ab]){6,12}",]
}

proptest! {
    #[test]
    fn agrees_with_a_scan(
        entries in proptest::collection::vec(entry(), 0..8),
        name in prop_oneof!["[ab](\\.[ab]){0,5}", "[ab](\\.[ab]){6,14}"],
    ) {
        let domains = Domains::parse(&entries).unwrap();
        let holds = |entry: &&String| match entry.strip_prefix('.') {
            Some(suffix) => name == suffix || name.ends_with(entry.as_str()),
            None => **entry == name,
        };
        // An exact entry is the most specific; of the suffixes the longest is.
        let expected = entries
            .iter()
            .filter(holds)
            .max_by_key(|entry| (!entry.starts_with('.'), entry.len()));
        let found = found(&domains, &name);
        prop_assert_eq!(found.as_ref(), expected);
    }

    #[test]
    fn the_fast_path_agrees_with_the_parser(name in odd_name()) {
        if let Some(plain) = plain(&name) {
            prop_assert_eq!(Host::parse(name.as_bytes()), Ok(Host::Name(plain.into())));
        }
    }

    #[test]
    fn each_format_means_its_entries(names in proptest::collection::vec("[a-z]{1,3}(\\.[a-z]{1,3}){1,3}", 1..20)) {
        let exact = Domains::parse(&names).unwrap();
        let suffix = Domains::parse(names.iter().map(|name| format!(".{name}"))).unwrap();
        let written = |before: &str, after: &str| -> String {
            names.iter().map(|name| format!("{before}{name}{after}")).collect()
        };
        prop_assert_eq!(&list(&written("", "\n")), &exact);
        prop_assert_eq!(&list(&written("0.0.0.0 ", "\r\n")), &exact);
        prop_assert_eq!(&list(&format!(":: {}", names.join(" "))), &exact);
        prop_assert_eq!(&list(&written(".", " # note\n")), &suffix);
        prop_assert_eq!(&list(&written("*.", "\n")), &suffix);
        prop_assert_eq!(&list(&written("||", "^\r\n")), &suffix);
        // A match prints as an entry of the set, and one that holds the name.
        for name in &names {
            let below = format!("x.{name}");
            let found = found(&suffix, &below).unwrap_or_default();
            let entry = list(&found);
            prop_assert!(entry.matching(&NameKey::new(&below)).is_some());
            let mut both = suffix.clone();
            prop_assert!(both.extend([&found]).is_ok());
            prop_assert_eq!(&both, &suffix);
        }
    }

    #[test]
    fn never_panics(
        entries in proptest::collection::vec(".{0,20}", 0..8),
        line in "[!#@|*.\\[/:0 \t]{0,3}.{0,20}[$^|#\\]/ ]{0,2}.{0,4}",
    ) {
        let text = entries.join("\n") + &line;
        let _ = Domains::parse(&entries);
        let mut domains = Domains::default();
        let _ = domains.extend_list(&text);
        let _ = domains.extend_list(&line);
        for name in entries.iter().chain([&text, &line]) {
            let _ = domains.matching(&NameKey::new(name));
        }
    }

    #[test]
    fn no_line_is_skipped_silently(line in "[!-~]{1,12}") {
        let mut domains = Domains::default();
        let read = domains.extend_list(&line);
        let comment = line.starts_with(['#', '!']) || line.to_lowercase().starts_with("[adblock");
        prop_assert!(read.is_err() || comment || domains.len() == 1);
    }
}
