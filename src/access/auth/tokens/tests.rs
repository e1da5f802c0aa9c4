//! The verification of tokens of a test issuer, which signs with ring.

use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};

use super::*;
use crate::access::auth::User;

/// A key that signs.
pub(crate) enum Signer {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa { pair: RsaKeyPair, is_pss: bool },
}

impl Signer {
    pub(crate) fn ec() -> Signer {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer::Ec(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    fn ed() -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    /// ring makes no RSA keys: that of the tests, which protects nothing.
    fn rsa(is_pss: bool) -> Signer {
        let der = include_bytes!("tests/rsa2048.pk8");
        Signer::Rsa {
            pair: RsaKeyPair::from_pkcs8(der).unwrap(),
            is_pss,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Signer::Ec(_) => "ES256",
            Signer::Ed(_) => "EdDSA",
            Signer::Rsa { is_pss: false, .. } => "RS256",
            Signer::Rsa { is_pss: true, .. } => "PS256",
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> String {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = match self {
            Signer::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (b64(&point[1..33]), b64(&point[33..]));
                format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{y}""#)
            }
            Signer::Ed(pair) => {
                let x = b64(pair.public_key().as_ref());
                format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#)
            }
            Signer::Rsa { pair, .. } => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (b64(&public.n), b64(&public.e));
                format!(r#""kty":"RSA","n":"{n}","e":"{e}""#)
            }
        };
        format!(r#"{{{key},"alg":"{}","kid":"{kid}"}}"#, self.algorithm())
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
            Signer::Rsa { pair, is_pss } => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding: &dyn ring::signature::RsaEncoding = match is_pss {
                    true => &RSA_PSS_SHA256,
                    false => &RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &random, signed, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with this header and these claims, whatever they are.
    fn sign(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(crate) fn token(&self, kid: &str, claims: &str) -> String {
        let header = format!(r#"{{"alg":"{}","kid":"{kid}"}}"#, self.algorithm());
        self.sign(&header, claims)
    }
}

pub(crate) const ISSUER: &str = "https://issuer.test";

/// Claims that are accepted, until 2,000 seconds of the epoch.
pub(crate) const CLAIMS: &str = r#"{"iss":"https://issuer.test","aud":"tollgate","sub":"org/repo","exp":2000,"nbf":1000,"iat":1000,"groups":["ops","dev"],"ref":"main"}"#;

pub(crate) fn settings() -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.into(),
        source: KeySource::File("jwks.json".into()),
        audience: vec!["tollgate".into()],
        user_claim: ClaimPath::parse("sub").unwrap(),
        user_prefix: "gh:".into(),
        groups_claim: ClaimPath::parse("groups"),
        leeway: Duration::from_secs(30),
    }
}

pub(crate) fn key_set(keys: &[String]) -> KeySet {
    KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).unwrap()
}

pub(crate) fn tokens_with(settings: IssuerSettings, keys: &[String]) -> Tokens {
    let issuer = Issuer::new(settings, key_set(keys));
    Tokens::new(vec![issuer], true, Duration::MAX, Duration::MAX)
}

fn tokens(keys: &[String]) -> Tokens {
    tokens_with(settings(), keys)
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn reason(tokens: &Tokens, token: &str) -> &'static str {
    match tokens.verify(token.as_bytes(), at(1500)) {
        Ok(_) => "verified",
        Err(error) => error.reason(),
    }
}

#[test]
fn every_algorithm_verifies_and_says_the_same() {
    for signer in [
        Signer::ec(),
        Signer::ed(),
        Signer::rsa(false),
        Signer::rsa(true),
    ] {
        let tokens = tokens(&[Signer::ec().jwk("other"), signer.jwk("k")]);
        let token = signer.token("k", CLAIMS);
        let verified = tokens.verify(token.as_bytes(), at(1500)).unwrap();
        let identity = &verified.identity;
        assert_eq!(identity.user(), &User::of_token("gh:org/repo").unwrap());
        assert_eq!(identity.groups(), ["ops", "dev"].map(Box::<str>::from));
        assert_eq!(identity.expires(), Some(at(2030)));
        let kept = identity
            .claims()
            .iter()
            .any(|claim| *claim == ("ref".into(), "main".into()));
        assert!(kept, "{identity:?}");
        // The same claims under the key of another.
        assert_eq!(
            reason(&tokens, &Signer::ec().token("other", CLAIMS)),
            "signature"
        );
    }
    // Of EdDSA there is a newer name (RFC 9864).
    let signer = Signer::ed();
    let renamed = signer.sign(r#"{"alg":"Ed25519","kid":"k"}"#, CLAIMS);
    assert_eq!(reason(&tokens(&[signer.jwk("k")]), &renamed), "verified");
}

#[test]
fn the_algorithm_is_that_of_the_key() {
    let signer = Signer::rsa(false);
    let tokens = tokens(&[signer.jwk("k")]);
    let with = |alg: &str| signer.sign(&format!(r#"{{"alg":"{alg}","kid":"k"}}"#), CLAIMS);
    assert_eq!(reason(&tokens, &with("RS256")), "verified");
    for alg in [
        "none", "None", "", "HS256", "RS512", "rs256", "PS256", "ES256", "EdDSA",
    ] {
        assert_eq!(reason(&tokens, &with(alg)), "algorithm", "{alg}");
        let nameless = signer.sign(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        assert_eq!(reason(&tokens, &nameless), "algorithm", "{alg}");
    }
    // Without a signature at all.
    let (signed, _) = with("none")
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(reason(&tokens, &format!("{signed}.")), "malformed");
    // A PSS signature is none of PKCS #1 v1.5, with the key of both.
    let pss = Signer::rsa(true);
    let (signed, _) = with("RS256")
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let signature = URL_SAFE_NO_PAD.encode(pss.signature(signed.as_bytes()));
    assert_eq!(
        reason(&tokens, &format!("{signed}.{signature}")),
        "signature"
    );
}

#[test]
fn a_key_is_selected_by_its_name_and_nothing_else() {
    let (one, two, ed) = (Signer::ec(), Signer::ec(), Signer::ed());
    let all = tokens(&[one.jwk("a"), two.jwk("b"), ed.jwk("a")]);
    let nameless =
        |signer: &Signer| signer.sign(&format!(r#"{{"alg":"{}"}}"#, signer.algorithm()), CLAIMS);
    for (token, expected) in [
        (one.token("a", CLAIMS), "verified"),
        // Two keys of one name: the algorithm tells them apart.
        (ed.token("a", CLAIMS), "verified"),
        (one.token("b", CLAIMS), "signature"),
        (one.token("A", CLAIMS), "key"),
        (one.token("", CLAIMS), "key"),
        (one.token("../../../../etc/passwd", CLAIMS), "key"),
        (one.token("https://attacker.test/jwks", CLAIMS), "key"),
        // Which of two is not tried out.
        (nameless(&one), "key"),
        (nameless(&ed), "verified"),
    ] {
        assert_eq!(reason(&all, &token), expected, "{token:.80}");
    }
    let jwk = two.jwk("x");
    let carried = two.sign(
        &format!(r#"{{"alg":"ES256","kid":"a","jwk":{jwk},"jku":"https://a.test/"}}"#),
        CLAIMS,
    );
    assert_eq!(reason(&all, &carried), "signature");
}

#[test]
fn claims_that_are_refused() {
    let signer = Signer::ec();
    let tokens = tokens(&[signer.jwk("k")]);
    for (from, to, expected) in [
        ("issuer.test", "other.test", "issuer"),
        ("issuer.test", "issuer.test/", "issuer"),
        ("\"iss\":", "\"is\":", "claim"),
        ("\"tollgate\"", "\"other\"", "audience"),
        ("\"tollgate\"", "[\"other\",\"tollgate\"]", "verified"),
        ("\"exp\":2000", "\"exp\":1400", "expired"),
        ("\"exp\":2000", "\"exp\":1471", "verified"),
        ("\"exp\":2000", "\"e\":2000", "claim"),
        ("\"nbf\":1000", "\"nbf\":1530", "verified"),
        ("\"nbf\":1000", "\"nbf\":1531", "not_yet_valid"),
        ("\"iat\":1000", "\"iat\":1531", "not_yet_valid"),
        ("\"sub\":\"org/repo\"", "\"sub\":[]", "claim"),
        ("\"sub\":\"org/repo\"", "\"sub\":\"a\\nb\"", "user"),
        ("[\"ops\",\"dev\"]", "7", "claim"),
        ("\"ref\"", "\"sub\"", "malformed"),
    ] {
        let claims = CLAIMS.replace(from, to);
        assert_ne!(claims, CLAIMS);
        assert_eq!(
            reason(&tokens, &signer.token("k", &claims)),
            expected,
            "{claims}"
        );
    }
}

#[test]
fn what_was_verified_counts_as_long_as_issuer_and_key_stay() {
    let (signer, other) = (Signer::ec(), Signer::ec());
    let verify = |tokens: &Tokens| {
        let token = signer.token("k", CLAIMS);
        tokens.verify(token.as_bytes(), at(1500)).unwrap()
    };
    let is_valid = |verified: &VerifiedToken| verified.is_valid(at(1500));
    let keys = [signer.jwk("k"), other.jwk("o")];

    // It ends at `exp` and the leeway.
    let before = tokens(&keys);
    let verified = verify(&before);
    assert!(verified.is_valid(at(2029)) && !verified.is_valid(at(2030)));

    // The same settings, and a key more or less.
    let mut after = tokens(&keys[..1]);
    after.succeed(Some(&before));
    assert!(is_valid(&verified) && is_valid(&verify(&after)));
    let mut without = tokens(&keys[1..]);
    without.succeed(Some(&after));
    assert!(!is_valid(&verified));
    // The key is back, and what was verified before it went is not.
    let mut again = tokens(&keys);
    again.succeed(Some(&without));
    assert!(!is_valid(&verified));
    let verified = verify(&again);
    assert!(is_valid(&verified));

    // Other settings.
    let stricter = IssuerSettings {
        audience: vec!["tollgate".into(), "x".into()],
        ..settings()
    };
    let mut after = tokens_with(stricter, &keys);
    after.succeed(Some(&again));
    assert!(!is_valid(&verified));
    let verified = verify(&after);
    // One that a request with the old state verifies meanwhile does not count either.
    assert!(is_valid(&verified) && !is_valid(&verify(&again)));

    after.retire();
    assert!(!is_valid(&verified));
}

#[test]
fn fetched_keys_go_over_to_the_next_configuration() {
    let signer = Signer::ec();
    let of_url = |prefix: &str| {
        let source = KeySource::Url(crate::http::url::HttpUrl::parse("https://i.test/k").unwrap());
        let settings = IssuerSettings {
            source,
            user_prefix: prefix.into(),
            ..settings()
        };
        Tokens::new(
            vec![Issuer::new(settings, KeySet::default())],
            true,
            Duration::MAX,
            Duration::MAX,
        )
    };
    let token = signer.token("k", CLAIMS);
    let before = of_url("gh:");
    assert_eq!(reason(&before, &token), "key");
    let keys = || key_set(&[signer.jwk("k")]);
    let changes = before.issuers()[0].replace_keys(keys());
    assert_eq!(
        changes,
        KeyChanges {
            added: 1,
            removed: 0
        }
    );
    assert_eq!(
        before.issuers()[0].replace_keys(keys()),
        KeyChanges::default()
    );
    let verified = before.verify(token.as_bytes(), at(1500)).unwrap();
    for (prefix, stays) in [("gh:", true), ("hub:", false)] {
        let mut after = of_url(prefix);
        after.succeed(Some(&before));
        assert_eq!(reason(&after, &token), "verified", "{prefix}");
        assert_eq!(verified.is_valid(at(1500)), stays, "{prefix}");
    }
}

/// One change of a token.
#[derive(Clone, Debug)]
enum Edit {
    Replace(usize, u8),
    Remove(usize),
    Insert(usize, u8),
    Swap(usize, usize),
    Cut(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let byte = || {
        prop_oneof![
            prop::sample::select(b"AZaz09-_.=+/ \n\0".to_vec()),
            any::<u8>()
        ]
    };
    let edit = prop_oneof![
        (any::<usize>(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        any::<usize>().prop_map(Edit::Remove),
        (any::<usize>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        any::<usize>().prop_map(Edit::Cut),
    ];
    prop::collection::vec(edit, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is changed in a token, it does not verify: there is no second spelling of one.
    #[test]
    fn an_edited_token_never_verifies(edits in edits()) {
        static TOKEN: std::sync::LazyLock<(Tokens, String)> = std::sync::LazyLock::new(|| {
            let signer = Signer::ed();
            (tokens(&[signer.jwk("k")]), signer.token("k", CLAIMS))
        });
        let (tokens, token) = &*TOKEN;
        let mut bytes = token.clone().into_bytes();
        for edit in edits {
            let len = bytes.len();
            if len == 0 {
                break;
            }
            match edit {
                Edit::Replace(at, byte) => bytes[at % len] = byte,
                Edit::Remove(at) => drop(bytes.remove(at % len)),
                Edit::Insert(at, byte) => bytes.insert(at % (len + 1), byte),
                Edit::Swap(a, b) => bytes.swap(a % len, b % len),
                Edit::Cut(at) => bytes.truncate(at % len),
            }
        }
        let verified = tokens.verify(&bytes, at(1500)).is_ok();
        prop_assert_eq!(verified, bytes == token.as_bytes());
    }
}

/// Prints what the check of a signature costs: `cargo test --lib cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_verification() {
    for signer in [
        Signer::ec(),
        Signer::ed(),
        Signer::rsa(false),
        Signer::rsa(true),
    ] {
        let tokens = tokens(&[signer.jwk("k")]);
        let token = signer.token("k", CLAIMS);
        let begun = std::time::Instant::now();
        for _ in 0..1000 {
            tokens.verify(token.as_bytes(), at(1500)).unwrap();
        }
        let each = begun.elapsed() / 1000;
        #[expect(clippy::print_stderr, reason = "a measurement")]
        {
            eprintln!("{}: {each:?}", signer.algorithm());
        }
    }
}
