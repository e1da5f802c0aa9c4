use proptest::prelude::*;

use super::*;

/// A block with the DER of a short octet string, on five lines.
fn block(label: &str, content: u8) -> String {
    let der = [0x04, 2, content, content];
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

fn certificate(content: u8) -> String {
    block("CERTIFICATE", content)
}

/// The last byte of each block with its line; or the line of the error and the error.
fn read(text: impl AsRef<[u8]>) -> Result<Vec<(usize, u8)>, (usize, PemProblem)> {
    match parse(text.as_ref()) {
        Ok(blocks) => Ok(blocks
            .iter()
            .map(|block| (block.line, *block.content.last().unwrap()))
            .collect()),
        Err(error) => Err((error.line, error.problem)),
    }
}

#[test]
fn every_block_is_read() {
    let (one, two) = (certificate(1), certificate(2));
    let both = one.clone() + &two;
    let utf8 = |text: &str| format!("\u{feff}{text}");
    for (what, text, expected) in [
        ("two", both.clone(), [(1, 1), (4, 2)]),
        ("byte order mark", utf8(&both), [(1, 1), (4, 2)]),
        ("CRLF", both.replace('\n', "\r\n"), [(1, 1), (4, 2)]),
        ("CR", both.replace('\n', "\r"), [(1, 1), (4, 2)]),
        (
            "joined",
            format!("{}{two}", one.trim_end()),
            [(1, 1), (3, 2)],
        ),
        (
            "no final line end",
            both.trim_end().to_owned(),
            [(1, 1), (4, 2)],
        ),
        ("blanks", both.replace('\n', " \t\n"), [(1, 1), (4, 2)]),
        (
            "indented",
            format!("    {}", both.replace('\n', "\n    ")),
            [(1, 1), (4, 2)],
        ),
        ("empty lines", both.replace('\n', "\n\n"), [(1, 1), (7, 2)]),
        (
            "text",
            format!(
                "Bag Attributes\n    friendlyName: a-b\n# comment\n{one}Root\n====\n{two}end\n"
            ),
            [(4, 1), (9, 2)],
        ),
        (
            "text that is not UTF-8, and the name of openssl x509 -text",
            format!("Certificate:\n        Version: 3 (0x2)\n        00:b3:f1\n{one}{two}"),
            [(4, 1), (7, 2)],
        ),
    ] {
        assert_eq!(read(&text), Ok(expected.to_vec()), "{what}: {text}");
    }
    let latin = [b"subject=B\xfccher\n".as_slice(), one.as_bytes()].concat();
    assert_eq!(read(latin), Ok(vec![(2, 1)]));
    assert_eq!(read(""), Ok(vec![]));
    assert_eq!(read("rubbish\n"), Ok(vec![]));
    for (name, label) in [
        ("X509 CERTIFICATE", Label::Certificate),
        ("TRUSTED CERTIFICATE", Label::TrustedCertificate),
        ("NEW CERTIFICATE REQUEST", Label::CertificateRequest),
        ("X509 CRL", Label::RevocationList),
        ("RSA PRIVATE KEY", Label::RsaPrivateKey),
        ("SSH2 ENCRYPTED SOMETHING", Label::Other),
    ] {
        assert_eq!(parse(block(name, 1).as_bytes()).unwrap()[0].label, label);
    }
}

#[test]
fn headers_say_that_a_key_is_encrypted() {
    let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nAAAA\n\
                -----END RSA PRIVATE KEY-----\n";
    let blocks = parse(text.as_bytes()).unwrap();
    assert!(blocks[0].is_encrypted && blocks[0].content.is_empty());
    let comment = text.replace("Proc-Type: 4,ENCRYPTED", "Comment: mine");
    assert_eq!(read(comment), Err((2, PemProblem::Header)));
    let clear = text.replace("ENCRYPTED", "MIC-CLEAR");
    assert_eq!(read(clear), Err((1, PemProblem::Header)));
}

#[test]
fn what_is_not_understood_is_an_error_with_its_line() {
    use PemProblem::*;
    let (one, two) = (certificate(1), certificate(2));
    let both = one.clone() + &two;
    let long = "MII".to_owned() + &"A".repeat(61);
    let wide = |text: &str| -> Vec<u8> { text.bytes().flat_map(|byte| [byte, 0]).collect() };
    for (text, line, problem) in [
        (
            both.replacen("-----END CERTIFICATE-----\n", "", 1),
            1,
            MissingEnd,
        ),
        (
            one.replace("-----END CERTIFICATE-----\n", ""),
            1,
            MissingEnd,
        ),
        (
            both.replacen("-----BEGIN CERTIFICATE-----\n", "", 1),
            2,
            EndAlone,
        ),
        (
            one.replace("END CERT", "END X509 CERT"),
            3,
            OtherEnd { begin: 1 },
        ),
        (both.replacen("\n-----END", "-----END", 1), 2, Boundary),
        (
            both.replacen("CERTIFICATE-----", "CERTIFICATE----", 1),
            1,
            Boundary,
        ),
        (both.replacen("-----BEGIN", "------BEGIN", 1), 1, Boundary),
        (one.clone() + "# " + &two, 4, Boundary),
        (one.clone() + "> " + &two, 4, Boundary),
        (one.clone() + "----------\n", 4, Boundary),
        (one.clone() + "-----begin certificate-----\n", 4, Boundary),
        (one.clone() + "-----BEGIN-----\n", 4, Boundary),
        (format!("{one}\u{feff}{two}"), 4, ByteOrderMark),
        (one.replace('\n', "\\n"), 1, EscapedLineEnds),
        (one.clone() + "----BEGIN CERTIFICATE----\n", 4, WrongDashes),
        (
            one.clone() + "---- BEGIN SSH2 PUBLIC KEY ----\n",
            4,
            WrongDashes,
        ),
        (
            one.clone() + "\u{2014}BEGIN CERTIFICATE\u{2014}\n",
            4,
            WrongDashes,
        ),
        (format!("{one}{long}\n"), 4, MissingBegin),
        (one.replace("BAIBAQ==", "BAIBAQ=!"), 2, NotBase64),
        (one.replace("BAIBAQ==", "# comment\nBAIBAQ=="), 2, NotBase64),
        (one.replace("BAIBAQ==", "BAIBAQ="), 1, PartialBase64),
        (one.replace("BAIBAQ==", "BA==AQ=="), 1, PartialBase64),
        (one.replace("BAIBAQ==\n", ""), 1, Empty),
        (one.replace("BAIBAQ==", "BAIB"), 1, NotDer),
        (one.replace("BAIBAQ==", "BAIBAQAA"), 1, TrailingBytes(2)),
        (both.replacen("\nBAI", "\0\nBAI", 1), 1, Nul),
        (both.replacen("BAIC", "\0BAIC", 1), 5, Nul),
    ] {
        assert_eq!(read(&text), Err((line, problem)), "{text:?}");
        assert!(!problem.remedy("FILE").is_empty());
    }
    for mark in [&b"\xff\xfe\0\0-\0\0\0"[..], b"\0\0\xfe\xff\0\0\0-"] {
        assert_eq!(read(mark), Err((1, Utf32)));
    }
    for mark in [&b"\xff\xfe"[..], b""] {
        assert_eq!(read([mark, &wide(&one)].concat()), Err((1, Utf16)));
    }
}

#[test]
fn other_formats_are_named() {
    let sequence = |content: &[u8]| [&[0x30, content.len() as u8][..], content].concat();
    let signed = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    for (bytes, expected) in [
        (b"".to_vec(), "is empty"),
        (b"\xef\xbb\xbf \n".to_vec(), "is empty"),
        (
            b"hello\n".to_vec(),
            "is not a PEM file: it has no BEGIN line",
        ),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            "is a Java key store, where PEM is expected",
        ),
        (
            sequence(b"\x02\x01\x03\x30\0"),
            "is PKCS #12 (.p12, .pfx), where PEM is expected",
        ),
        (
            b"\x30\x80\x02\x01\x03\x30\x80".to_vec(),
            "is PKCS #12 (.p12, .pfx), where PEM is expected",
        ),
        (sequence(signed), "is PKCS #7 (.p7b), where PEM is expected"),
        (
            sequence(b"\x02\x01\x00\x30\0"),
            "is a key in DER, where PEM is expected",
        ),
        (sequence(b"\x30\0\x30\0"), "is DER, where PEM is expected"),
        (
            b"MIIBAAAA\nAAAA\n".to_vec(),
            "is base64 without its BEGIN and END lines",
        ),
        (
            STANDARD.encode(certificate(1)).into_bytes(),
            "is base64 of a PEM file, as in a Secret of Kubernetes",
        ),
        (
            b"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n".to_vec(),
            "is a file of users (htpasswd), where PEM is expected",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\xff\xff".to_vec(),
            "is no PEM file: the file is compressed (gzip)",
        ),
        (
            b"ssh-ed25519 AAAA x".to_vec(),
            "is a public key of SSH, where PEM is expected",
        ),
        (
            b"PuTTY-User-Key-File-2: ssh-rsa".to_vec(),
            "is a key of PuTTY, where PEM is expected",
        ),
    ] {
        assert_eq!(identify(&bytes, "FILE").0, expected, "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        identify(&bytes, "FILE");
    }

    /// Whatever happens to one byte: each block is read as it was or the file is an error, but for text that
    /// can stand between blocks.
    #[test]
    fn no_block_is_lost(at in any::<prop::sample::Index>(), byte in any::<u8>(), insert in any::<bool>()) {
        let mut text = [certificate(1), certificate(2), certificate(3)].concat().into_bytes();
        let at = at.index(text.len());
        if insert {
            text.insert(at, byte);
        } else {
            text[at] = byte;
        }
        if let Ok(blocks) = parse(&text) {
            prop_assert_eq!(blocks.len(), 3, "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn line_ends_and_blanks_do_not_matter(
        ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r", " \n", "\t\r\n", "\n\n"]), 12),
        indentation in prop::collection::vec(0usize..4, 12),
    ) {
        let text = [certificate(1), certificate(2), certificate(3), certificate(4)].concat();
        let text: String = text
            .lines()
            .zip(ends.iter().zip(&indentation))
            .map(|(line, (end, blanks))| format!("{}{line}{end}", " ".repeat(*blanks)))
            .collect();
        let blocks = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(blocks.len(), 4);
    }
}
