//! What the claims of a token say, as far as they are read here: times, audience, user, groups.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::TokenError;
use crate::access::auth::json::{Json, Object};
use crate::access::auth::{MAX_USER_LEN, User};
use crate::text::is_invisible;

/// Groups of one token, and audiences.
const MAX_VALUES: usize = 256;

/// The claims that are kept, and their names and texts together, in bytes.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 4096;

/// The first second of the year 10000: a later time is a mistake, such as milliseconds.
const LATEST: u64 = 253_402_300_800;

/// Which claim: by its name, or with a `/` in front by its place in nested ones (JSON Pointer, RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    parts: Vec<Box<str>>,
    text: Box<str>,
}

impl ClaimPath {
    /// The longest one, in bytes.
    pub const MAX: usize = 256;

    /// Reads a path; none for one that is empty, too long, or with a `~` that escapes nothing.
    pub fn parse(text: &str) -> Option<ClaimPath> {
        if text.is_empty() || text.len() > Self::MAX {
            return None;
        }
        let parts: Option<Vec<Box<str>>> = match text.strip_prefix('/') {
            None => Some(vec![text.into()]),
            Some(pointer) => pointer.split('/').map(unescape).collect(),
        };
        Some(ClaimPath {
            parts: parts?,
            text: text.into(),
        })
    }

    fn of<'a>(&self, claims: &'a Object) -> Option<&'a Json> {
        let (first, rest) = self.parts.split_first()?;
        let mut value = claims.get(first)?;
        for part in rest {
            value = value.get(part)?;
        }
        Some(value)
    }

    fn missing(&self) -> TokenError {
        TokenError::Claim(self.text.clone())
    }
}

/// One part of a pointer: `~1` is a slash and `~0` a tilde.
fn unescape(part: &str) -> Option<Box<str>> {
    let mut text = String::new();
    let mut pieces = part.split('~');
    text.push_str(pieces.next()?);
    for piece in pieces {
        let (sign, rest) = match piece.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        text.push(sign);
        text.push_str(rest);
    }
    Some(text.into())
}

/// Checks `exp`, `nbf` and `iat` against the clock, each with the leeway. When the token is accepted no longer.
pub(super) fn check_times(
    claims: &Object,
    now: SystemTime,
    leeway: Duration,
) -> Result<SystemTime, TokenError> {
    let expires = time(claims, "exp")?.ok_or_else(|| TokenError::Claim("exp".into()))? + leeway;
    if now >= expires {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|time| time > now + leeway) {
            return Err(TokenError::NotYetValid(if name == "nbf" {
                "nbf"
            } else {
                "iat"
            }));
        }
    }
    Ok(expires)
}

/// A NumericDate (RFC 7519 §2).
fn time(claims: &Object, name: &str) -> Result<Option<SystemTime>, TokenError> {
    let invalid = || TokenError::Claim(name.into());
    let since_epoch = match claims.get(name) {
        None => return Ok(None),
        Some(Json::Integer(seconds)) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Some(Json::Fraction(seconds)) => Duration::try_from_secs_f64(*seconds).ok(),
        Some(_) => None,
    };
    let since_epoch = since_epoch.filter(|time| time.as_secs() < LATEST);
    Ok(Some(UNIX_EPOCH + since_epoch.ok_or_else(invalid)?))
}

/// Checks that `aud` names one of `wanted`.
pub(super) fn check_audience(claims: &Object, wanted: &[Box<str>]) -> Result<(), TokenError> {
    let is_wanted = |text: &str| wanted.iter().any(|wanted| **wanted == *text);
    let names_one = match claims.get("aud") {
        Some(Json::Text(audience)) => is_wanted(audience),
        Some(Json::List(list)) if list.len() <= MAX_VALUES => {
            // A value of another type refuses all of them.
            list.iter().all(|item| item.text().is_some())
                && list.iter().filter_map(Json::text).any(is_wanted)
        }
        _ => false,
    };
    names_one.then_some(()).ok_or(TokenError::Audience)
}

/// The user: `prefix` and the claim.
pub(super) fn user(claims: &Object, path: &ClaimPath, prefix: &str) -> Result<User, TokenError> {
    let claim = path.of(claims).and_then(scalar);
    let claim = claim.ok_or_else(|| path.missing())?;
    if claim.is_empty() || claim.len() > MAX_USER_LEN {
        return Err(TokenError::User);
    }
    User::of_token(&format!("{prefix}{claim}")).map_err(|_invalid| TokenError::User)
}

/// The groups: a text, or a list of texts; none when the claim is missing.
pub(super) fn groups(claims: &Object, path: &ClaimPath) -> Result<Vec<Box<str>>, TokenError> {
    let Some(value) = path.of(claims) else {
        return Ok(Vec::new());
    };
    let texts: Option<Vec<&str>> = match value {
        Json::Text(group) => Some(vec![group]),
        Json::List(list) => list.iter().map(Json::text).collect(),
        _ => None,
    };
    let groups = texts.and_then(group_names);
    groups.ok_or_else(|| path.missing())
}

/// Checks the names of groups that a peer says: a limited number of names without control characters. Each is there
/// once.
pub(in crate::access::auth) fn group_names(names: Vec<&str>) -> Option<Vec<Box<str>>> {
    let is_group = |group: &&str| {
        !group.is_empty()
            && group.len() <= MAX_USER_LEN
            && !group.contains(|c: char| c.is_control() || is_invisible(c))
    };
    if names.len() > MAX_VALUES || !names.iter().all(is_group) {
        return None;
    }
    let mut groups: Vec<Box<str>> = Vec::with_capacity(names.len());
    for name in names {
        if !groups.iter().any(|group| **group == *name) {
            groups.push(name.into());
        }
    }
    Some(groups)
}

/// The claims that have one value, as text. Those that would exceed the limit are left out.
pub(super) fn kept(claims: &Object) -> Vec<(Box<str>, Box<str>)> {
    let mut left = MAX_KEPT_BYTES;
    let scalars = claims
        .members()
        .filter_map(|(name, value)| Some((Box::<str>::from(name), scalar_or_flag(value)?)));
    let mut fits = |(name, text): &(Box<str>, Box<str>)| {
        let rest = left.checked_sub(name.len() + text.len());
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    scalars.filter(|claim| fits(claim)).take(MAX_KEPT).collect()
}

/// A text or a whole number, as text.
fn scalar(value: &Json) -> Option<Box<str>> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Integer(number) => Some(number.to_string().into()),
        _ => None,
    }
}

fn scalar_or_flag(value: &Json) -> Option<Box<str>> {
    match value {
        Json::Flag(flag) => Some(flag.to_string().into()),
        Json::Fraction(number) => Some(number.to_string().into()),
        other => scalar(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        Object::parse(text.as_bytes(), 2048).unwrap()
    }

    fn path(text: &str) -> ClaimPath {
        ClaimPath::parse(text).unwrap()
    }

    #[test]
    fn times() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let leeway = Duration::from_secs(30);
        for (claims, expected) in [
            (r#"{"exp":1001}"#, Ok(1031)),
            (r#"{"exp":971}"#, Ok(1001)),
            (r#"{"exp":970.5}"#, Ok(1000)),
            (r#"{"exp":970}"#, Err("expired")),
            (r#"{"exp":0}"#, Err("expired")),
            (r#"{"exp":1001,"nbf":1030,"iat":1030}"#, Ok(1031)),
            (r#"{"exp":1001,"nbf":1031}"#, Err("not_yet_valid")),
            (r#"{"exp":1001,"iat":1031}"#, Err("not_yet_valid")),
            (r#"{"exp":1001,"iat":1030.1}"#, Err("not_yet_valid")),
            ("{}", Err("claim")),
            (r#"{"exp":null}"#, Err("claim")),
            (r#"{"exp":"1001"}"#, Err("claim")),
            (r#"{"exp":-1}"#, Err("claim")),
            (r#"{"exp":1e300}"#, Err("claim")),
            (r#"{"exp":253402300800}"#, Err("claim")),
            (r#"{"exp":18446744073709551615}"#, Err("claim")),
            (r#"{"exp":1001,"nbf":"0"}"#, Err("claim")),
            (r#"{"exp":1001,"iat":[]}"#, Err("claim")),
        ] {
            let checked = check_times(&object(claims), now, leeway);
            let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
            let checked = checked.map(seconds).map_err(|error| error.reason());
            assert_eq!(checked, expected, "{claims}");
        }
    }

    #[test]
    fn audiences() {
        let wanted = ["tollgate".into(), "proxy".into()];
        for (claims, expected) in [
            (r#"{"aud":"tollgate"}"#, true),
            (r#"{"aud":["x","proxy"]}"#, true),
            (r#"{"aud":"tollgate2"}"#, false),
            (r#"{"aud":"TOLLGATE"}"#, false),
            (r#"{"aud":["tollgate",1]}"#, false),
            (r#"{"aud":[]}"#, false),
            (r#"{"aud":{"tollgate":1}}"#, false),
            ("{}", false),
        ] {
            let checked = check_audience(&object(claims), &wanted);
            assert_eq!(checked.is_ok(), expected, "{claims}");
        }
    }

    #[test]
    fn users() {
        let long = format!(r#"{{"sub":"{}"}}"#, "u".repeat(253));
        let claims =
            |sub: &str| format!("{{\"sub\":{sub},\"a.b\":{{\"c/d\":{{\"~\":\"deep\"}}}}}}");
        for (claims, claim, expected) in [
            (claims(r#""org/repo""#), "sub", Ok("gh:org/repo")),
            (
                claims(r#""repo:o/r:ref:x""#),
                "sub",
                Ok("gh:repo:o/r:ref:x"),
            ),
            (claims("17"), "sub", Ok("gh:17")),
            (claims("1"), "/a.b/c~1d/~0", Ok("gh:deep")),
            (claims("1"), "/a.b/c", Err("claim")),
            (claims("1"), "none", Err("claim")),
            (claims("true"), "sub", Err("claim")),
            (claims("null"), "sub", Err("claim")),
            (claims("[\"a\"]"), "sub", Err("claim")),
            (claims(r#""""#), "sub", Err("user")),
            (claims(r#""a\nb""#), "sub", Err("user")),
            (claims(r#""a\u200bb""#), "sub", Err("user")),
            (claims(r#""a ""#), "sub", Err("user")),
            (long, "sub", Err("user")),
        ] {
            let user = user(&object(&claims), &path(claim), "gh:");
            let user = user.map_err(|error| error.reason());
            assert_eq!(
                user.as_ref().map(User::as_str),
                expected.as_ref().copied(),
                "{claims}"
            );
        }
        for text in ["", "/a~", "/a~2", &"a".repeat(257)] {
            assert_eq!(ClaimPath::parse(text), None, "{text}");
        }
    }

    #[test]
    fn groups_of_a_token() {
        let many = |count: usize| format!("{{\"groups\":[{}]}}", vec!["\"g\""; count].join(","));
        for (claims, expected) in [
            ("{}", Some(&[][..])),
            (r#"{"groups":"ops"}"#, Some(&["ops"][..])),
            (r#"{"groups":["a b","ops","ops"]}"#, Some(&["a b", "ops"])),
            (r#"{"groups":[]}"#, Some(&[])),
            (&many(256), Some(&["g"])),
            (&many(257), None),
            (r#"{"groups":["a",1]}"#, None),
            (r#"{"groups":1}"#, None),
            (r#"{"groups":""}"#, None),
            (r#"{"groups":["a\u0000"]}"#, None),
            (&format!("{{\"groups\":\"{}\"}}", "g".repeat(256)), None),
        ] {
            let found = groups(&object(claims), &path("groups")).ok();
            let expected =
                expected.map(|names| names.iter().map(|name| Box::from(*name)).collect());
            assert_eq!(found, expected, "{claims:.80}");
        }
    }

    #[test]
    fn few_claims_are_kept() {
        let claims = object(r#"{"a":"x","b":[1],"c":{},"d":null,"e":7,"f":true,"g":1.5}"#);
        let shown: Vec<String> = kept(&claims)
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        assert_eq!(shown, ["a=x", "e=7", "f=true", "g=1.5"]);
        let long = format!("{{\"a\":\"{}\",\"b\":1}}", "x".repeat(4096));
        assert_eq!(kept(&object(&long)).len(), 1);
        let many: Vec<String> = (0..100).map(|n| format!("\"c{n}\":{n}")).collect();
        assert_eq!(kept(&object(&format!("{{{}}}", many.join(",")))).len(), 64);
    }
}
