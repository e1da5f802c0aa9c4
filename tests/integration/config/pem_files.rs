//! Certificates and keys as OpenSSL and editors write them: served, or refused with what to do.

use std::path::PathBuf;
use std::process::Command;

use crate::support::command::{Outcome, run, tollgate};
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::Setup;
use crate::support::request::ALICE;

/// Runs OpenSSL in the directory of a setup.
fn openssl(setup: &Setup, arguments: &str) -> Outcome {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split_whitespace())
        .current_dir(setup.directory.path());
    run(&mut command, "")
}

/// As [`openssl`], for what has to work.
fn make(setup: &Setup, arguments: &str) {
    let outcome = openssl(setup, arguments);
    assert!(
        outcome.status.success(),
        "openssl {arguments}: {}",
        outcome.output()
    );
}

/// Makes a certificate for the key in a file.
fn certify(setup: &Setup, key: &str, certificate: &str) {
    let names = "-subj /CN=proxy.test -addext subjectAltName=DNS:proxy.test,IP:127.0.0.1";
    make(
        setup,
        &format!("req -x509 -key {key} -days 30 {names} -out {certificate}"),
    );
}

/// `tollgate check` of a TLS listener with those files; `rest` is for the `tls` map.
fn check(setup: &Setup, certificate: &str, key: &str, rest: &str) -> Outcome {
    let yaml = format!(
        "version: 1\ntollgate:\n  auth: {{ htpasswd: users.htpasswd }}\n  listeners:\n    \
         - address: \"{}\"\n      tls: {{ certificate: {certificate}, key: {key}{rest} }}\n",
        setup.address()
    );
    let path = setup.path("checked.yaml");
    std::fs::write(&path, yaml).unwrap();
    let checked = tollgate(["check".as_ref(), path.as_os_str()]);
    let tested = tollgate(["-t".as_ref(), "-c".as_ref(), path.as_os_str()]);
    assert_eq!(checked.code(), tested.code(), "{}", tested.output());
    checked
}

fn assert_ok(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code(), Some(0), "{what}: {}", outcome.output());
    assert!(
        outcome.stderr.contains(": OK"),
        "{what}: {}",
        outcome.stderr
    );
}

fn assert_refused(outcome: &Outcome, what: &str, words: &[&str]) {
    assert_eq!(outcome.code(), Some(78), "{what}: {}", outcome.output());
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "{what}: no {word:?} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.output().contains("panicked"), "{what}");
}

fn read(setup: &Setup, name: &str) -> String {
    std::fs::read_to_string(setup.path(name)).unwrap()
}

fn write(setup: &Setup, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = setup.path(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// An RSA key and a certificate for it: key.pem and cert.pem.
fn rsa() -> Setup {
    let setup = Setup::new();
    make(&setup, "genrsa -out key.pem 2048");
    certify(&setup, "key.pem", "cert.pem");
    setup
}

#[test]
fn every_form_of_a_key_is_served() {
    let setup = rsa();
    make(&setup, "rsa -in key.pem -traditional -out pkcs1.pem");
    // As old versions write it: with the parameters of the curve in a block of their own.
    make(&setup, "ecparam -name prime256v1 -genkey -out p256.pem");
    make(
        &setup,
        "ecparam -name secp384r1 -genkey -noout -out p384.pem",
    );
    make(&setup, "pkey -in p256.pem -out p256-pkcs8.pem");
    make(&setup, "genpkey -algorithm ed25519 -out ed25519.pem");
    make(&setup, "genrsa -out rsa4096.pem 4096");
    assert!(read(&setup, "p256.pem").contains("BEGIN EC PARAMETERS"));
    for key in ["p256", "p384", "ed25519", "rsa4096"] {
        certify(&setup, &format!("{key}.pem"), &format!("{key}.crt"));
    }
    // With attributes before each block, and all in one file.
    make(
        &setup,
        "pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out all.p12",
    );
    make(
        &setup,
        "pkcs12 -in all.p12 -nodes -passin pass:x -out all.pem",
    );
    assert!(read(&setup, "all.pem").contains("Bag Attributes"));
    make(&setup, "x509 -in cert.pem -text -out text.pem");
    for (certificate, key) in [
        ("cert.pem", "key.pem"),
        ("cert.pem", "pkcs1.pem"),
        ("text.pem", "pkcs1.pem"),
        ("p256.crt", "p256.pem"),
        ("p256.crt", "p256-pkcs8.pem"),
        ("p384.crt", "p384.pem"),
        ("ed25519.crt", "ed25519.pem"),
        ("rsa4096.crt", "rsa4096.pem"),
        ("all.pem", "all.pem"),
    ] {
        assert_ok(&check(&setup, certificate, key, ""), key);
    }
    let origin = Origin::ok("page");
    let setup = Setup::new()
        .file("cert.pem", read(&setup, "p256.crt"))
        .file("key.pem", read(&setup, "p256.pem"));
    let authority = setup.path("cert.pem").display().to_string();
    let proxy = setup.serve_tls("").start();
    let through = format!("https://{}:{}@{}", ALICE.0, ALICE.1, proxy.secure_address());
    let url = format!("http://{}/", origin.address);
    let outcome = curl(&["--proxy-cacert", &authority, "-x", &through, &url]);
    assert_output(&outcome, "page");
}

#[test]
fn keys_that_cannot_be_used_are_named_with_a_remedy() {
    let setup = rsa();
    let der = std::fs::read(setup.path("key.pem")).unwrap();
    make(&setup, "pkey -in key.pem -outform DER -out key.der");
    make(&setup, "pkey -in key.pem -pubout -out public.pem");
    make(
        &setup,
        "pkey -in key.pem -aes256 -passout pass:x -out pkcs8-encrypted.pem",
    );
    make(
        &setup,
        "rsa -in key.pem -traditional -aes256 -passout pass:x -out rsa-encrypted.pem",
    );
    make(&setup, "genrsa -out rsa1024.pem 1024");
    make(
        &setup,
        "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem",
    );
    for curve in ["secp256k1", "secp521r1", "brainpoolP256r1"] {
        make(
            &setup,
            &format!("ecparam -name {curve} -genkey -noout -out {curve}.pem"),
        );
    }
    make(
        &setup,
        "ecparam -name prime256v1 -genkey -param_enc explicit -out explicit.pem",
    );
    make(&setup, "ecparam -name prime256v1 -out parameters.pem");
    make(&setup, "genpkey -algorithm ed448 -out ed448.pem");
    make(&setup, "dsaparam -out dsa-parameters.pem 1024");
    make(&setup, "gendsa -out dsa.pem dsa-parameters.pem");
    make(
        &setup,
        "pkey -in dsa.pem -traditional -out dsa-traditional.pem",
    );
    make(
        &setup,
        "pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out key.p12",
    );
    make(&setup, "req -new -key key.pem -subj /CN=x -out request.pem");
    let two = [&der[..], &der[..]].concat();
    write(&setup, "two.pem", two);
    write(
        &setup,
        "openssh.pem",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    );
    write(&setup, "store.jks", b"\xfe\xed\xfe\xed\0\0\0\x02");
    write(&setup, "empty.pem", "");
    write(&setup, "rubbish.pem", "rubbish\n");
    for (key, words) in [
        (
            "pkcs8-encrypted.pem",
            vec!["is encrypted", "openssl pkey -in "],
        ),
        (
            "rsa-encrypted.pem",
            vec!["is encrypted", "openssl pkey -in "],
        ),
        ("openssh.pem", vec!["OpenSSH", "ssh-keygen -p"]),
        (
            "public.pem",
            vec!["public.pem:1: ", "public key, where a private key"],
        ),
        ("key.der", vec!["DER", "openssl pkey -inform DER -in "]),
        ("key.p12", vec!["PKCS #12", "openssl pkcs12 -in "]),
        (
            "store.jks",
            vec!["Java key store", "keytool -importkeystore"],
        ),
        (
            "rsa1024.pem",
            vec!["1024 bits", "openssl req -x509 -newkey"],
        ),
        ("pss.pem", vec!["RSA-PSS", "openssl req -x509 -newkey"]),
        (
            "secp256k1.pem",
            vec!["secp256k1", "P-256", "openssl req -x509 -newkey"],
        ),
        ("secp521r1.pem", vec!["P-521", "P-256"]),
        ("brainpoolP256r1.pem", vec!["brainpoolP256r1"]),
        ("explicit.pem", vec!["named_curve"]),
        ("parameters.pem", vec!["parameters of a curve", "-genkey"]),
        ("ed448.pem", vec!["Ed448"]),
        ("dsa.pem", vec!["DSA"]),
        ("dsa-traditional.pem", vec!["DSA"]),
        (
            "dsa-parameters.pem",
            vec!["parameters of Diffie-Hellman or DSA"],
        ),
        ("request.pem", vec!["certificate request"]),
        ("two.pem", vec!["second private key", "line 1"]),
        (
            "cert.pem",
            vec!["a certificate, where a private key is expected"],
        ),
        ("empty.pem", vec!["is empty"]),
        ("rubbish.pem", vec!["not a PEM file"]),
        ("absent.pem", vec!["absent.pem"]),
    ] {
        let outcome = check(&setup, "cert.pem", key, "");
        assert_refused(&outcome, key, &[&words[..], &["tls.key: "]].concat());
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named_with_a_remedy() {
    let setup = rsa();
    let (certificate, key) = (read(&setup, "cert.pem"), read(&setup, "key.pem"));
    make(
        &setup,
        "req -new -key key.pem -subj /CN=proxy.test -out request.pem",
    );
    make(&setup, "x509 -in cert.pem -outform DER -out cert.der");
    make(&setup, "x509 -in cert.pem -trustout -out trusted.pem");
    make(&setup, "crl2pkcs7 -nocrl -certfile cert.pem -out cert.p7b");
    make(
        &setup,
        "crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out der.p7b",
    );
    make(
        &setup,
        "pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out cert.p12",
    );
    make(
        &setup,
        "x509 -req -in request.pem -signkey key.pem -days 30 -out version1.pem",
    );
    write(&setup, "with-key.pem", certificate.clone() + &key);
    write(&setup, "names.txt", "subjectAltName=DNS:proxy.test\n");
    make(
        &setup,
        "x509 -req -in request.pem -signkey key.pem -days -1 -extfile names.txt -out expired.pem",
    );
    make(&setup, "genrsa -out other.key 2048");
    certify(&setup, "other.key", "other.pem");
    write(
        &setup,
        "other-first.pem",
        read(&setup, "other.pem") + &certificate,
    );
    write(&setup, "cut.pem", &certificate[..certificate.len() / 2]);
    write(&setup, "damaged.pem", certificate.replacen("MII", "MI!", 1));
    write(&setup, "wide.pem", {
        let units = certificate.encode_utf16().flat_map(u16::to_le_bytes);
        [vec![0xff, 0xfe], units.collect()].concat()
    });
    write(&setup, "nul.pem", certificate.replacen('\n', "\0\n", 3));
    write(
        &setup,
        "quoted.pem",
        format!("{certificate}> {certificate}"),
    );
    for (name, words) in [
        (
            "request.pem",
            vec!["certificate request", "openssl req -x509 -in "],
        ),
        ("cert.der", vec!["DER", "openssl x509 -inform DER -in "]),
        (
            "trusted.pem",
            vec!["TRUSTED CERTIFICATE", "openssl x509 -in "],
        ),
        (
            "cert.p7b",
            vec!["PKCS #7", "openssl pkcs7 -in ", "-print_certs"],
        ),
        ("der.p7b", vec!["PKCS #7", "openssl pkcs7 -inform DER -in "]),
        ("cert.p12", vec!["PKCS #12", "openssl pkcs12 -in "]),
        (
            "version1.pem",
            vec![
                "version1.pem:1: ",
                "X.509 version 1",
                "openssl req -x509 -key ",
            ],
        ),
        (
            "with-key.pem",
            vec!["a private key, where only certificates"],
        ),
        (
            "other.pem",
            vec![
                "key.pem is not the key of the certificate",
                "openssl pkey -in ",
            ],
        ),
        (
            "other-first.pem",
            vec!["is not the first of the file", "put it first"],
        ),
        ("cut.pem", vec!["cut.pem:1: ", "no END line"]),
        ("damaged.pem", vec!["damaged.pem:2: ", "not base64"]),
        ("wide.pem", vec!["UTF-16", "iconv -f UTF-16 -t UTF-8"]),
        ("nul.pem", vec!["nul.pem:1: ", "NUL"]),
        ("quoted.pem", vec!["-----"]),
        (
            "key.pem",
            vec!["a private key, where a certificate is expected"],
        ),
        ("absent.pem", vec!["absent.pem"]),
    ] {
        let outcome = check(&setup, name, "key.pem", "");
        let place = match name {
            "other.pem" => "tls.key: ",
            _ => "tls.certificate: ",
        };
        assert_refused(&outcome, name, &[&words[..], &[place]].concat());
    }
    let swapped = check(&setup, "key.pem", "cert.pem", "");
    assert_refused(&swapped, "swapped", &["exchange the two names"]);
    let lines = swapped.stderr.lines().filter(|line| line.contains("tls."));
    assert_eq!(lines.count(), 1, "{}", swapped.stderr);
    // Clients refuse these, which is not for the program to decide.
    make(
        &setup,
        "req -x509 -key key.pem -subj /CN=proxy.test -days 30 -out nameless.pem",
    );
    let nameless = check(&setup, "nameless.pem", "key.pem", "");
    assert_ok(&nameless, "nameless.pem");
    for word in ["warning: ", "no subjectAltName", "CA:TRUE"] {
        assert!(nameless.stderr.contains(word), "{}", nameless.stderr);
    }
}

/// What a message says to type is typed, and the outcome is served.
#[test]
fn remedies_work() {
    let setup = rsa();
    make(
        &setup,
        "rsa -in key.pem -traditional -aes256 -passout pass:x -out encrypted.pem",
    );
    make(&setup, "x509 -in cert.pem -outform DER -out cert.der");
    make(&setup, "pkey -in key.pem -outform DER -out key.der");
    make(&setup, "x509 -in cert.pem -trustout -out trusted.pem");
    make(&setup, "crl2pkcs7 -nocrl -certfile cert.pem -out cert.p7b");
    make(
        &setup,
        "pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out all.p12",
    );
    make(
        &setup,
        "req -new -key key.pem -subj /CN=proxy.test -out request.pem",
    );
    make(
        &setup,
        "x509 -req -in request.pem -signkey key.pem -days 30 -out version1.pem",
    );
    make(
        &setup,
        "ecparam -name prime256v1 -genkey -param_enc explicit -out explicit.pem",
    );
    make(
        &setup,
        "ecparam -name prime256v1 -genkey -noout -out ec.pem",
    );
    certify(&setup, "ec.pem", "ec.crt");
    make(&setup, "ec -in ec.pem -no_public -out no-public.pem");
    for (certificate, key, more) in [
        ("cert.pem", "encrypted.pem", " -passin pass:x"),
        ("cert.der", "key.pem", ""),
        ("cert.pem", "key.der", ""),
        ("trusted.pem", "key.pem", ""),
        ("cert.p7b", "key.pem", ""),
        ("all.p12", "all.p12", " -passin pass:x"),
        ("version1.pem", "key.pem", ""),
        ("request.pem", "key.pem", ""),
        ("ec.crt", "no-public.pem", ""),
        ("cert.pem", "explicit.pem", ""),
    ] {
        let outcome = check(&setup, certificate, key, "");
        assert_eq!(outcome.code(), Some(78), "{certificate}, {key}");
        let advice = outcome
            .stderr
            .split('`')
            .find(|part| part.starts_with("openssl "));
        let advice = advice.unwrap_or_else(|| panic!("no command in {}", outcome.stderr));
        let command = advice
            .replacen("openssl ", "", 1)
            .replace("KEYFILE", "key.pem");
        make(&setup, &format!("{command}{more}"));
        let (certificate, key) = match (certificate, key) {
            ("all.p12", _) => ("NEWFILE", "NEWFILE"),
            (_, "explicit.pem") => {
                certify(&setup, "NEWFILE", "new.crt");
                ("new.crt", "NEWFILE")
            }
            ("cert.pem" | "ec.crt", _) => (certificate, "NEWFILE"),
            _ => ("NEWFILE", key),
        };
        let outcome = check(&setup, certificate, key, "");
        assert_ok(&outcome, &format!("{certificate}, {key} after {command}"));
    }
}
