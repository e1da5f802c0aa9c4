use std::collections::HashSet;

use super::*;

#[test]
fn statuses() {
    use HeadError::*;
    let all = [
        (NotHttp, 400),
        (EmptyLines, 400),
        (BareLf, 400),
        (BareCr, 400),
        (NotOneHead, 400),
        (RequestLine, 400),
        (Method, 400),
        (MethodTooLong, 501),
        (MissingVersion, 400),
        (Version, 400),
        (UnsupportedVersion, 505),
        (TargetTooLong, 414),
        (TargetByte, 400),
        (Target(TargetError::Form), 400),
        (Target(TargetError::Scheme), 501),
        (HeadTooLarge, 431),
        (TooManyFields, 431),
        (FieldName, 400),
        (FoldedField, 400),
        (FieldValue, 400),
        (MissingHost, 400),
        (DuplicateHost, 400),
        (Host, 400),
        (ContentLength, 400),
        (ConflictingContentLength, 400),
        (TransferEncoding, 400),
        (Http10TransferEncoding, 400),
        (AmbiguousFraming, 400),
        (ConnectBody, 400),
        (ConnectionOption, 400),
        (ProtectedConnectionOption, 400),
        (TooManyConnectionOptions, 400),
        (Expectation, 417),
        (DuplicateProxyAuthorization, 400),
        (DuplicateAuthorization, 400),
    ];
    for (error, status) in &all {
        assert_eq!(error.kind().status().as_u16(), *status, "{error}");
    }
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let heads = HeadError::ALL.iter().map(HeadError::reason);
    let bodies = FramingError::ALL.iter().map(FramingError::reason);
    let names: Vec<_> = heads.chain(bodies).collect();
    let distinct: HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    for name in names {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(is_plain) && name.len() < 32, "{name}");
    }
}

#[test]
fn what_the_log_has_begins_with_the_name() {
    for error in HeadError::ALL {
        let reason = error.reason();
        let refused = RequestError::from(error.clone());
        assert_eq!(HeadError::of(&refused), Some(error));
        let detail = refused.detail().unwrap();
        assert!(detail.starts_with(&format!("{reason}: ")), "{detail}");
    }
    let error = RequestError::from(HeadError::Target(TargetError::Userinfo));
    assert_eq!(
        error.detail().unwrap(),
        "target_userinfo: invalid request-target: user information in the authority"
    );
    assert_eq!(HeadError::of(&ErrorKind::BadRequest.into()), None);
}
