//! The truth table of authentication, as far as it needs no connection.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::hash::tests::verifications;
use super::super::tokens::IssuerSettings;
use super::super::tokens::tests::{self as token_tests, Signer};
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
    with_cache(VerifiedCache::new(100, TTL).unwrap())
}

fn with_cache(verified: VerifiedCache) -> Authenticator {
    Authenticator::new(users(USERS), Arc::default(), None, verified)
}

fn next(auth: &Authenticator, users: Arc<Htpasswd>) -> Authenticator {
    auth.succeeded_by(users, Arc::default(), None)
}

fn at(instant: Instant) -> Clocks {
    Clocks {
        instant,
        ..Clocks::now()
    }
}

fn credentials(failure: Failure) -> CredentialsError {
    match failure {
        Failure::Credentials(error) => error,
        Failure::Token(error) => unreachable!("{error}"),
    }
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
    let user = match auth
        .check(field_value, None, at(now))
        .map_err(credentials)?
    {
        Check::Verified(identity) => Some(identity.user().clone()),
        Check::Token(_) => unreachable!("no tokens are accepted"),
        Check::Unverified(attempt) => auth.verify(&attempt, now),
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

// Else a client whose network is locked could try passwords of users that are verified elsewhere.
#[test]
fn verified_credentials_count_at_their_network() {
    let auth = authenticator();
    let value = basic("ann:a:b");
    let now = Instant::now();
    let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|ip| Some(ip.into()));
    let attempt = |network: Option<IpAddr>, now| match auth.check(&value, network, at(now)) {
        Ok(Check::Unverified(attempt)) => Some(attempt),
        Ok(Check::Verified(_)) => None,
        unexpected => panic!("{unexpected:?}"),
    };
    let first = attempt(one, now).unwrap();
    let here = first.here();
    assert!(auth.recall(here, at(now)).is_none() && !auth.was_verified(here));
    auth.verify(&first, now).unwrap();
    auth.note_network(here);
    assert!(attempt(one, now).is_none() && auth.was_verified(here));
    // At another one they are known, but not in use.
    let second = attempt(other, now).unwrap();
    let there = second.here();
    assert!(!auth.was_verified(there));
    let cost = verifications(|| assert!(auth.recall(there, at(now)).is_some()));
    assert_eq!(cost, 0);
    assert!(attempt(other, now).is_some(), "until this is noted");
    auth.note_network(there);
    assert!(attempt(other, now).is_none());
    // For no longer than where they were verified; right they were.
    let late = now + TTL;
    assert!(attempt(one, late).is_some() && attempt(other, late).is_some());
    assert!(auth.recall(there, at(late)).is_none());
    assert!(auth.was_verified(there));
    // Against another hash they are not.
    let changed = USERS.replace("saltsalt$CPQ", "saltsalt$APQ");
    assert!(!next(&auth, users(&changed)).was_verified(there));
}

#[test]
fn what_an_authorizer_accepts_is_asked_about_again() {
    let auth = authenticator();
    let network = Some([192, 0, 2, 1].into());
    let check = || auth.check(&basic("eve:x"), network, at(Instant::now()));
    let Ok(Check::Unverified(attempt)) = check() else {
        panic!("verified");
    };
    let (here, by) = (attempt.here(), AuthorizerId::unique());
    auth.note_authorizer(here, by, true);
    assert!(auth.was_accepted(here, by));
    assert!(matches!(check(), Ok(Check::Unverified(_))));
    // Neither another service nor the password file has verified them.
    assert!(!auth.was_accepted(here, AuthorizerId::unique()));
    assert!(!auth.was_verified(here));
    auth.note_authorizer(here, by, false);
    assert!(!auth.was_accepted(here, by));
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
        .map(|_| match auth.check(&value, None, at(now)).unwrap() {
            Check::Unverified(attempt) => attempt,
            Check::Verified(_) | Check::Token(_) => panic!("nothing was verified yet"),
        })
        .collect();
    let cost = verifications(|| {
        for attempt in attempts {
            assert_eq!(auth.verify(&attempt, now).unwrap().as_str(), "ann");
        }
    });
    assert_eq!(cost, 1);
}

#[test]
fn never_shows_the_password() {
    let auth = authenticator();
    let value = basic("ann:canary-7f3a");
    let now = Instant::now();
    let check = auth.check(&value, None, at(now)).unwrap();
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

/// What a reload does: ann is as before, jürgen has another password, bob is new.
const LATER: &str = "\
ann:$apr1$saltsalt$CPQFKdB6gSGh5dFaE4PEp/
jürgen:{SHA}wqawPxkN+ytKqR+K+NR3qbw0Adw=
bob:{SHA}wqawPxkN+ytKqR+K+NR3qbw0Adw=
";

/// The user of these credentials, and how many hashes that took.
fn ask(auth: &Authenticator, user_pass: &str) -> (Option<String>, usize) {
    let mut user = None;
    let now = Instant::now();
    let cost = verifications(|| user = admit(auth, &basic(user_pass), now).unwrap());
    (user, cost)
}

fn verified(user: &str, cost: usize) -> (Option<String>, usize) {
    (Some(user.to_owned()), cost)
}

#[test]
fn new_users_leave_verified_what_has_not_changed() {
    let before = authenticator();
    let (ann, juergen, new) = ("ann:a:b", "jürgen:pässwörd ☃", "jürgen:new");
    assert_eq!(ask(&before, ann), verified("ann", 1));
    assert_eq!(ask(&before, juergen), verified("jürgen", 1));
    let after = next(&before, users(LATER));
    assert_eq!(ask(&after, ann), verified("ann", 0));
    assert_eq!(ask(&after, juergen), (None, 1));
    assert_eq!(ask(&after, new), verified("jürgen", 1));
    assert_eq!(ask(&after, "bob:new"), verified("bob", 1));
    // A request that began before sees all of the file of then, and nothing of that of now.
    assert_eq!(ask(&before, juergen), verified("jürgen", 0));
    assert_eq!(ask(&before, new), (None, 1));
    assert_eq!(ask(&before, "bob:new"), (None, 1));

    let without_ann = next(&after, users(USERS.lines().nth(1).unwrap()));
    assert_eq!(ask(&without_ann, ann), (None, 1));
    // The hash is that of the first file again: it is hashed again.
    assert_eq!(ask(&without_ann, juergen), verified("jürgen", 1));
    let again = next(&without_ann, users(USERS));
    assert_eq!(ask(&again, ann), verified("ann", 1));
    assert_eq!(ask(&again, juergen), verified("jürgen", 0));
}

/// A verification may end after the reload that changed the hash.
#[test]
fn a_verification_against_an_old_hash_counts_for_the_old_file_alone() {
    let before = authenticator();
    let now = Instant::now();
    let attempt = |auth: &Authenticator, user_pass: &str| {
        let value = basic(user_pass);
        match auth.check(&value, None, at(now)).unwrap() {
            Check::Unverified(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    };
    let juergen = "jürgen:pässwörd ☃";
    let late = attempt(&before, juergen);
    let late_stranger = attempt(&before, "bob:new");
    let late_ann = attempt(&before, "ann:a:b");
    let after = next(&before, users(LATER));
    // Attempts against different hashes share no verification.
    assert_ne!(late.id(), attempt(&after, juergen).id());
    assert_ne!(late_stranger.id(), attempt(&after, "bob:new").id());
    assert_eq!(late_ann.id(), attempt(&after, "ann:a:b").id());
    assert_eq!(before.verify(&late, now).unwrap().as_str(), "jürgen");
    assert_eq!(before.verify(&late_ann, now).unwrap().as_str(), "ann");
    assert_eq!(ask(&after, juergen), (None, 1));
    assert_eq!(ask(&after, "ann:a:b"), verified("ann", 0));
}

proptest::proptest! {
    /// Whatever is reloaded in whatever order: who is verified, cached or not, is who has that hash now.
    #[test]
    fn no_file_admits_whom_it_would_not(
        files in proptest::collection::vec(proptest::collection::vec(0_usize..3, 3), 1..8),
    ) {
        // No line, and two hashes: of "new" and of "old".
        let hashes = ["", "{SHA}wqawPxkN+ytKqR+K+NR3qbw0Adw=", "{SHA}wA27ydrfvh4jLpOnKd1HUvreCr8="];
        let file = |lines: &[usize]| {
            let line = |(user, hash): (usize, &usize)| match hashes[*hash] {
                "" => String::new(),
                hash => format!("u{user}:{hash}\n"),
            };
            users(&lines.iter().enumerate().map(line).collect::<String>())
        };
        let mut auths = vec![Authenticator::new(file(&files[0]), Arc::default(), None, VerifiedCache::new(100, TTL).unwrap())];
        for lines in &files[1..] {
            auths.push(next(auths.last().unwrap(), file(lines)));
        }
        // Those of requests that began before a reload as well, in either order.
        for (auth, lines) in auths.iter().zip(&files).chain(auths.iter().zip(&files).rev()) {
            for (user, hash) in lines.iter().enumerate() {
                for (password, wanted) in [("new", 1), ("old", 2)] {
                    let (found, _) = ask(auth, &format!("u{user}:{password}"));
                    proptest::prop_assert_eq!(found.is_some(), *hash == wanted);
                }
            }
        }
    }
}

/// What a request with this field value comes to, at that second of the epoch.
fn ask_with_tokens(auth: &Authenticator, value: &[u8], seconds: u64) -> String {
    let now = Clocks {
        instant: Instant::now(),
        time: token_tests::at(seconds),
    };
    match auth.check(value, None, now) {
        Ok(Check::Verified(identity)) => format!("cached {}", identity.user()),
        Ok(Check::Token(attempt)) => match auth.verify_token(&attempt, now) {
            Ok(identity) => identity.user().to_string(),
            Err(error) => error.reason().to_owned(),
        },
        Ok(Check::Unverified(_)) => "a password".to_owned(),
        Err(Failure::Token(error)) => format!("at once {}", error.reason()),
        Err(Failure::Credentials(error)) => error.to_string(),
    }
}

#[test]
fn a_token_comes_by_bearer_and_as_a_password() {
    let signer = Signer::ec();
    let tokens = |keys: &[String]| {
        Some(Arc::new(token_tests::tokens_with(
            token_tests::settings(),
            keys,
        )))
    };
    let cache = || VerifiedCache::new(100, TTL).unwrap();
    let keys = [signer.jwk("k")];
    let auth = Authenticator::new(users(USERS), Arc::default(), tokens(&keys), cache());
    let token = signer.token("k", token_tests::CLAIMS);
    let bearer = format!("bEARER  {token}").into_bytes();
    for value in [
        &bearer,
        &basic(&format!("x:{token}")),
        &basic(&format!("ann:{token}")),
    ] {
        assert_eq!(ask_with_tokens(&auth, value, 1500), "gh:org/repo");
        assert_eq!(ask_with_tokens(&auth, value, 2029), "cached gh:org/repo");
        assert_eq!(ask_with_tokens(&auth, value, 2030), "expired");
    }
    let long = "p".repeat(1100);
    for (value, expected) in [
        (basic("ann:a:b"), "a password"),
        (basic("ann:correct.horse.battery"), "a password"),
        (basic(&format!("ann:{long}")), "credentials are too long"),
        (basic(&format!(":{token}")), "credentials have no user name"),
        (b"Bearer".to_vec(), "credentials are not base64"),
        (b"Bearer x".to_vec(), "malformed"),
        (
            format!("Bearer {}", "x".repeat(16 * 1024)).into_bytes(),
            "malformed",
        ),
        (
            format!("Bearer {}", "x".repeat(16 * 1024 + 1)).into_bytes(),
            "credentials are too long",
        ),
        (
            basic(&format!("x:e{}", "y.".repeat(9000))),
            "credentials are too long",
        ),
        (b"Digest x".to_vec(), "not the Basic scheme"),
    ] {
        assert_eq!(ask_with_tokens(&auth, &value, 1500), expected);
    }

    // Without tokens, Bearer is what it always was, and a long password too long.
    let without = auth.succeeded_by(users(USERS), Arc::default(), None);
    assert_eq!(
        ask_with_tokens(&without, &bearer, 1500),
        "not the Basic scheme"
    );
    let as_password = basic(&format!("x:{token}"));
    assert_eq!(ask_with_tokens(&without, &as_password, 1500), "a password");
    // And with tokens again, nothing is left in the cache of those before.
    let again = without.succeeded_by(users(USERS), Arc::default(), tokens(&keys));
    assert_eq!(ask_with_tokens(&again, &bearer, 1500), "gh:org/repo");
    let rotated = again.succeeded_by(
        users(USERS),
        Arc::default(),
        tokens(&[Signer::ec().jwk("k")]),
    );
    assert_eq!(ask_with_tokens(&rotated, &bearer, 1500), "signature");
}

/// Without a prefix, an issuer could make the users of the password file.
#[test]
fn a_token_is_no_user_with_another_proof() {
    let signer = Signer::ec();
    let settings = IssuerSettings {
        user_prefix: "".into(),
        ..token_tests::settings()
    };
    let tokens = || {
        Some(Arc::new(token_tests::tokens_with(
            settings.clone(),
            &[signer.jwk("k")],
        )))
    };
    let trusted = |user: &str| -> Arc<TrustedNetworks> {
        let user = User::parse(user).unwrap();
        Arc::new(
            [("10.0.0.0/8".parse().unwrap(), user)]
                .into_iter()
                .collect(),
        )
    };
    let auth = Authenticator::new(
        users(USERS),
        trusted("ci"),
        tokens(),
        VerifiedCache::new(100, TTL).unwrap(),
    );
    let value = |user: &str| {
        let claims = token_tests::CLAIMS.replace("org/repo", user);
        format!("Bearer {}", signer.token("k", &claims)).into_bytes()
    };
    let (eve, ann, ci) = (value("eve"), value("ann"), value("ci"));
    assert_eq!(ask_with_tokens(&auth, &eve, 1500), "eve");
    for taken in [&ann, &ci] {
        assert_eq!(ask_with_tokens(&auth, taken, 1500), "user");
    }
    // One of a password by now, although the token was verified before.
    assert_eq!(ask_with_tokens(&auth, &eve, 1500), "cached eve");
    let later = format!("{USERS}eve:{{SHA}}wqawPxkN+ytKqR+K+NR3qbw0Adw=\n");
    let after = auth.succeeded_by(users(&later), trusted("ci"), tokens());
    assert_eq!(ask_with_tokens(&after, &eve, 1500), "at once user");
    let after = auth.succeeded_by(users(USERS), trusted("eve"), tokens());
    assert_eq!(ask_with_tokens(&after, &eve, 1500), "at once user");
}

#[test]
fn a_cached_token_and_a_password_do_not_allocate() {
    let signer = Signer::ec();
    let tokens = token_tests::tokens_with(token_tests::settings(), &[signer.jwk("k")]);
    let cache = VerifiedCache::new(100, TTL).unwrap();
    let auth = Authenticator::new(users(USERS), Arc::default(), Some(Arc::new(tokens)), cache);
    let token = format!("Bearer {}", signer.token("k", token_tests::CLAIMS)).into_bytes();
    ask_with_tokens(&auth, &token, 1500);
    let password = basic("ann:a:b");
    let now = Clocks {
        time: token_tests::at(1500),
        ..Clocks::now()
    };
    let Ok(Check::Unverified(attempt)) = auth.check(&password, None, now) else {
        panic!()
    };
    auth.verify(&attempt, now.instant).unwrap();
    for value in [&token, &password] {
        let counted = allocation_counter::measure(|| {
            let check = auth.check(value, None, now);
            assert!(matches!(check, Ok(Check::Verified(_))));
        });
        assert_eq!(counted.count_total, 0);
    }
}
