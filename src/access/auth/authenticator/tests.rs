//! The truth table of authentication, as far as it needs no connection.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::hash::tests::verifications;
use super::*;

const TTL: Duration = Duration::from_secs(60);

// By `openssl passwd`; the passwords: a:b and pässwörd ☃
const USERS: &str = "\
ann:$apr1$saltsalt$CPQFKdB6gSGh5dFaE4PEp/
jürgen:$5$saltSALT$mMs6CRX/R3WaEm8IYqA0ZgHFKtDC7o.LyurTSfyv7r/
";

fn users(text: &str) -> Arc<Htpasswd> {
    Arc::new(Htpasswd::parse(text).unwrap())
}

fn authenticator() -> Authenticator {
    Authenticator::new(users(USERS), VerifiedCache::new(100, TTL).unwrap())
}

fn basic(user_pass: &str) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(user_pass)).into_bytes()
}

/// What a request with this field value comes to.
fn admit(
    auth: &Authenticator,
    field_value: &[u8],
    now: Instant,
) -> Result<Option<String>, CredentialsError> {
    let user = match auth.check(Token68::parse(field_value)?, now)? {
        Check::Verified(user) => Some(user),
        Check::Unverified(attempt) => auth.verify(attempt, now),
    };
    Ok(user.map(|user| user.to_string()))
}

#[test]
fn truth_table() {
    let auth = authenticator();
    let cases = [
        (b"".to_vec(), Err(CredentialsError::Missing)),
        (b"Basic".to_vec(), Err(CredentialsError::NotBase64)),
        (
            b"Basic YW5uOmE6Y".to_vec(),
            Err(CredentialsError::NotBase64),
        ),
        (basic("ann"), Err(CredentialsError::NoColon)),
        (basic(":a:b"), Err(CredentialsError::EmptyUser)),
        (
            basic(&"a:".repeat(32 * 1024)),
            Err(CredentialsError::TooLong),
        ),
        (basic("ann:a:b"), Ok(Some("ann"))),
        (basic("ann:a"), Ok(None)),
        (basic("ann:"), Ok(None)),
        (basic("ann:b"), Ok(None)),
        (basic("ann:a:b:"), Ok(None)),
        (basic("ann:pässwörd ☃"), Ok(None)),
        (basic("bob:a:b"), Ok(None)),
        (basic("Ann:a:b"), Ok(None)),
        (basic("jürgen:pässwörd ☃"), Ok(Some("jürgen"))),
        (basic("jürgen:passwörd ☃"), Ok(None)),
        (basic("jürgen:a:b"), Ok(None)),
    ];
    let now = Instant::now();
    // Twice in one order and once in the other: an earlier result, positive or
    // negative, changes nothing.
    for (value, expected) in cases.iter().chain(&cases).chain(cases.iter().rev()) {
        let admitted = admit(&auth, value, now);
        let admitted = admitted
            .as_ref()
            .map(|user| user.as_deref())
            .map_err(|error| *error);
        assert_eq!(admitted, *expected, "{}", String::from_utf8_lossy(value));
    }
}

#[test]
fn valid_credentials_cost_one_hash_and_wrong_ones_one_each_time() {
    let auth = authenticator();
    let now = Instant::now();
    let cost = |value: &[u8], now| {
        verifications(|| {
            let _ = admit(&auth, value, now);
        })
    };
    let good = basic("ann:a:b");
    assert_eq!(cost(&good, now), 1);
    assert_eq!(cost(&good, now), 0);
    assert_eq!(cost(&good, now + TTL), 1);
    for bad in [basic("ann:x"), basic("nobody:x")] {
        assert_eq!(cost(&bad, now), 1);
        assert_eq!(cost(&bad, now), 1);
    }
    assert_eq!(cost(b"Basic !", now), 0);
}

#[test]
fn queued_attempts_of_one_client_share_the_first_ones_hash() {
    let auth = authenticator();
    let now = Instant::now();
    let value = basic("ann:a:b");
    let attempts: Vec<_> = (0..10)
        .map(
            |_| match auth.check(Token68::parse(&value).unwrap(), now).unwrap() {
                Check::Unverified(attempt) => attempt,
                Check::Verified(_) => panic!("nothing was verified yet"),
            },
        )
        .collect();
    let cost = verifications(|| {
        for attempt in attempts {
            assert_eq!(auth.verify(attempt, now).unwrap().as_str(), "ann");
        }
    });
    assert_eq!(cost, 1);
}

#[test]
fn never_shows_the_password() {
    let auth = authenticator();
    let value = basic("ann:canary-7f3a");
    let now = Instant::now();
    let check = auth.check(Token68::parse(&value).unwrap(), now).unwrap();
    let shown = format!("{check:?} {auth:?}");
    let encoded = STANDARD.encode("ann:canary-7f3a");
    assert!(
        !shown.contains("canary") && !shown.contains(&encoded),
        "{shown}"
    );
    assert!(
        !shown.contains("99, 97, 110") && !shown.contains("$5$"),
        "{shown}"
    );
}
