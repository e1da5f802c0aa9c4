//! Questions and answers, byte by byte.

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::answer::AnswerError;
use super::*;
use crate::http::role::Role;

fn question() -> Question<'static> {
    Question {
        id: "7-1",
        user: Some("ann"),
        client: "192.0.2.1".parse().unwrap(),
        role: Role::Forward,
        method: "GET",
        scheme: Some("http"),
        target: Some("a.example:80"),
        path: Some("/x"),
        paths: &[],
        query: Some("y"),
        tls: false,
        groups: vec!["dev"],
        rule: None,
        password: None,
        uri: "http://a.example/x?y",
        certificate: None,
        authorization: None,
    }
}

fn of_json(content: &str) -> Result<Answer, AnswerError> {
    Answer::of_json(StatusCode::OK, content.as_bytes(), Ask::Always)
}

#[test]
fn a_question_in_both_forms() {
    let content = question().content().unwrap();
    assert_eq!(
        std::str::from_utf8(&content).unwrap(),
        r#"{"id":"7-1","user":"ann","client":"192.0.2.1","role":"forward","method":"GET","scheme":"http","target":"a.example:80","path":"/x","query":"y","tls":false,"groups":["dev"]}"#
    );
    let tunnel = Question {
        user: None,
        role: Role::Tunnel,
        method: "CONNECT",
        scheme: None,
        path: None,
        query: None,
        tls: true,
        groups: vec![],
        password: Some("p\"w"),
        ..question()
    };
    let content = tunnel.content().unwrap();
    assert_eq!(
        std::str::from_utf8(&content).unwrap(),
        r#"{"id":"7-1","client":"192.0.2.1","role":"tunnel","method":"CONNECT","target":"a.example:80","tls":true,"password":"p\"w"}"#
    );
    assert!(!format!("{tunnel:?}").contains("p\"w"));
    let fields = |question: Question<'_>| {
        let fields = question.fields().map_err(|error| error.to_string())?;
        let shown = fields.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{name}: {value}")
        });
        Ok::<_, String>(shown.collect::<Vec<_>>())
    };
    let with = Question {
        authorization: Some(b"Basic YTpi"),
        ..question()
    };
    assert_eq!(
        fields(with).unwrap(),
        [
            "x-original-method: GET",
            "x-original-uri: http://a.example/x?y",
            "x-tollgate-user: ann",
            "x-tollgate-client: 192.0.2.1",
            "x-tollgate-role: forward",
            "x-request-id: 7-1",
            "authorization: Basic YTpi",
        ]
    );
    let by_rule = Question {
        rule: Some("uploads"),
        ..question()
    };
    let content = by_rule.content().unwrap();
    let content = std::str::from_utf8(&content).unwrap();
    assert!(
        content.ends_with(r#""groups":["dev"],"rule":"uploads"}"#),
        "{content}"
    );
    let fields_of_rule = fields(by_rule).unwrap();
    assert!(fields_of_rule.contains(&"x-tollgate-rule: uploads".to_owned()));
    // A server would read another name.
    for user in [" ann", "ann ", "a\nb"] {
        let odd = Question {
            user: Some(user),
            ..question()
        };
        assert!(fields(odd).unwrap_err().contains("the name of the user"));
    }
}

#[test]
fn the_key_is_of_all_that_an_answer_may_depend_on() {
    let secret = [7; 32];
    let key = |question: Question<'_>| question.key(&secret).unwrap();
    let base = key(question());
    let other_id = Question {
        id: "8-2",
        ..question()
    };
    assert_eq!(key(other_id), base);
    let change: [fn(&mut Question<'_>); 16] = [
        |question| question.user = None,
        |question| question.user = Some("bob"),
        |question| question.client = "192.0.2.2".parse().unwrap(),
        |question| question.role = Role::Gateway,
        |question| question.method = "POST",
        |question| question.scheme = Some("https"),
        |question| question.target = Some("a.example:81"),
        |question| question.path = Some("/y"),
        |question| question.path = None,
        |question| question.query = Some("z"),
        |question| question.uri = "http://a.example/x?z",
        |question| question.tls = true,
        |question| question.groups = vec![],
        |question| question.rule = Some("uploads"),
        |question| question.password = Some("p"),
        |question| question.authorization = Some(b"Basic YTpi"),
    ];
    let mut keys = vec![base];
    for change in change {
        let mut other = question();
        change(&mut other);
        keys.push(key(other));
    }
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(one), "{at}");
    }
    assert_ne!(question().key(&[8; 32]).unwrap(), base);
    assert_eq!(format!("{base:?}"), "QuestionKey(..)");
}

#[test]
fn answers_that_count() {
    let user = |name: &str| crate::access::auth::User::of_token(name).unwrap();
    let admit = |grant: Grant| Verdict::Admit(grant);
    for (content, verdict, ttl) in [
        (r#"{"allow":true}"#, admit(Grant::default()), None),
        (
            r#"{"allow":true,"user":"ldap:ann","groups":["dev","ops","dev"],"pool":"b","ttl":5,"more":{"x":[1]}}"#,
            admit(Grant {
                user: Some(user("ldap:ann")),
                groups: vec!["dev".into(), "ops".into()],
                pool: Some("b".into()),
            }),
            Some(5.0),
        ),
        (
            r#"{"allow":true,"user":null,"groups":null,"ttl":0.5}"#,
            admit(Grant::default()),
            Some(0.5),
        ),
        (
            r#"{"allow":false,"message":"ask\r\nit","status":451,"user":"ann"}"#,
            Verdict::Deny {
                refusal: crate::access::policy::Refusal {
                    status: StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
                    message: Some("askit".into()),
                },
                user: Some(user("ann")),
            },
            None,
        ),
        (
            r#"{"allow":false,"status":407,"message":"expired"}"#,
            Verdict::Challenge {
                message: Some("expired".into()),
            },
            None,
        ),
    ] {
        let ttl = ttl.map(Duration::from_secs_f64);
        assert_eq!(
            of_json(content),
            Ok(Answer {
                verdict,
                ttl,
                misspelt: None
            }),
            "{content}"
        );
    }
    // What a denial without a status is.
    let denied = br#"{"allow":false}"#;
    let authenticates = Answer::of_json(StatusCode::OK, denied, Ask::UnknownUsers).unwrap();
    assert_eq!(authenticates.verdict, Verdict::Challenge { message: None });
    let tightens = Answer::of_json(StatusCode::OK, denied, Ask::Always).unwrap();
    let Verdict::Deny { refusal, user } = tightens.verdict else {
        panic!("{tightens:?}");
    };
    assert_eq!((refusal.status.as_u16(), user), (403, None));
}

#[test]
fn answers_that_do_not_count() {
    let many = vec!["\"g\""; 257].join(",");
    for (content, expected) in [
        ("", "not JSON"),
        ("[true]", "not a JSON object"),
        ("allow", "not JSON"),
        (r#"{"allow":true,"allow":false}"#, "a member twice"),
        ("{}", "member allow"),
        (r#"{"allow":1}"#, "member allow"),
        (r#"{"allow":"true"}"#, "member allow"),
        (r#"{"allow":null}"#, "member allow"),
        (r#"{"allow":true,"user":""}"#, "member user"),
        (r#"{"allow":true,"user":7}"#, "member user"),
        (r#"{"allow":true,"user":"a\nb"}"#, "member user"),
        (r#"{"allow":true,"user":" a"}"#, "member user"),
        (r#"{"allow":true,"user":"a\u200b"}"#, "member user"),
        (r#"{"allow":true,"groups":"dev"}"#, "member groups"),
        (r#"{"allow":true,"groups":[1]}"#, "member groups"),
        (r#"{"allow":true,"groups":[""]}"#, "member groups"),
        (
            &format!(r#"{{"allow":true,"groups":[{many}]}}"#),
            "member groups",
        ),
        (r#"{"allow":false,"message":1}"#, "member message"),
        (r#"{"allow":false,"status":"403"}"#, "member status"),
        (r#"{"allow":false,"status":200}"#, "member status"),
        (r#"{"allow":false,"status":500}"#, "member status"),
        (r#"{"allow":true,"status":99999}"#, "member status"),
        (r#"{"allow":true,"pool":""}"#, "member pool"),
        (r#"{"allow":true,"ttl":-1}"#, "member ttl"),
        (r#"{"allow":true,"ttl":1e300}"#, "member ttl"),
        (r#"{"allow":true,"ttl":"1"}"#, "member ttl"),
    ] {
        let error = of_json(content).unwrap_err().to_string();
        assert!(error.contains(expected), "{content:.60}: {error}");
    }
    for status in [201, 204, 301, 401, 403, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer::of_json(status, br#"{"allow":true}"#, Ask::Always);
        assert_eq!(answer, Err(AnswerError::StatusOfJson(status)));
    }
}

#[test]
fn answers_by_status() {
    let answer = |status: u16, fields: &[(&'static str, &[u8])]| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Answer::of_status(StatusCode::from_u16(status).unwrap(), &map)
    };
    let grant = |status, fields: &[(&'static str, &[u8])]| match answer(status, fields) {
        Ok(Answer {
            verdict: Verdict::Admit(grant),
            ttl: None,
            misspelt: None,
        }) => grant,
        other => panic!("{other:?}"),
    };
    assert_eq!(grant(200, &[]), Grant::default());
    let both = grant(
        204,
        &[
            ("x-tollgate-user", "jörg".as_bytes()),
            ("x-tollgate-groups", b"dev, ops,,dev "),
        ],
    );
    assert_eq!(both.user.unwrap().as_str(), "jörg");
    assert_eq!(*both.groups, ["dev", "ops"].map(Box::<str>::from));
    let challenge = answer(401, &[("x-tollgate-user", b"ann")]).unwrap();
    assert_eq!(challenge.verdict, Verdict::Challenge { message: None });
    let denial = answer(403, &[]).unwrap().verdict;
    assert!(matches!(denial, Verdict::Deny { user: None, .. }));
    for status in [101, 302, 400, 404, 407, 500, 503] {
        let code = StatusCode::from_u16(status).unwrap();
        assert_eq!(answer(status, &[]), Err(AnswerError::Status(code)));
    }
    for fields in [
        &[("x-tollgate-user", &b""[..])][..],
        &[("x-tollgate-user", b"\xff")],
        &[("x-tollgate-user", b"ann"), ("x-tollgate-user", b"ann")],
        &[("x-tollgate-groups", b"a"), ("x-tollgate-groups", b"b")],
        &[("x-tollgate-groups", &[b'a'; 300])],
    ] {
        let error = answer(200, fields).unwrap_err();
        assert!(matches!(error, AnswerError::Field(_)), "{error}");
    }
}

#[test]
fn a_name_that_is_misspelt_is_no_answer() {
    let text = |name: &str, near: &str| {
        format!("the answer has \"{name}\", which has no meaning; did you mean \"{near}\"?")
    };
    for (content, name, near) in [
        (r#"{"allowed":true}"#, "allowed", "allow"),
        (r#"{"Allow":true}"#, "Allow", "allow"),
        (r#"{"allow":true,"group":["ci"]}"#, "group", "groups"),
        (r#"{"allow":true,"Groups":["ci"]}"#, "Groups", "groups"),
        (r#"{"allow":true,"users":"ann"}"#, "users", "user"),
        (
            r#"{"allow":true,"mes\u000asage":0}"#,
            "mes\\nsage",
            "message",
        ),
    ] {
        let error = of_json(content).unwrap_err();
        assert_eq!(error.to_string(), text(name, near), "{content}");
    }
    // Others are the author's own, and so is one beside that which it is near to.
    for own in [
        r#""email":"a@b.c","reason":"x","id":7,"role":"r","tags":["t"]"#,
        r#""user":"ann","users":["ann","bob"]"#,
        r#""status_code":200,"x_group":"g""#,
    ] {
        let content = format!("{{\"allow\":true,{own}}}");
        assert!(of_json(&content).is_ok(), "{content}");
    }
    let error = of_json(r#"{"result":true}"#).unwrap_err();
    assert_eq!(error, AnswerError::Missing);
    // A denial is one, whatever it says beside: a failure might let the request go on.
    let denial = of_json(r#"{"allow":false,"mesage":"no"}"#).unwrap();
    assert!(matches!(denial.verdict, Verdict::Deny { .. }));
    let said = denial.misspelt.unwrap().to_string();
    assert_eq!(said, text("mesage", "message"));
    let by_status = |name: &'static str| {
        let mut fields = HeaderMap::new();
        fields.insert(name, HeaderValue::from_static("ci"));
        Answer::of_status(StatusCode::OK, &fields)
    };
    let error = by_status("x-tollgate-group").unwrap_err();
    assert_eq!(error.to_string(), text("group", "groups"));
    for own in ["x-tollgate-role", "x-group", "x-tollgate-client"] {
        assert!(by_status(own).is_ok(), "{own}");
    }
}

/// A value that a member may have, or may not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        "-?[0-9]{1,6}",
        "[0-9]\\.[0-9]e[0-9]",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::collection::vec("[a-z\\n]{0,3}", 0..4)
            .prop_map(|texts| serde_json::to_string(&texts).unwrap()),
    ]
}

proptest! {
    #[test]
    fn no_answer_breaks_an_invariant(
        members in prop::collection::vec(
            ("allow|user|groups|message|status|pool|ttl|more|group|allowed", value()), 0..8,
        ),
        allow: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let members = members.iter().map(|(name, value)| format!(",\"{name}\":{value}"));
        let text = format!("{{\"allow\":{allow}{}}}", members.collect::<String>());
        fuzz::authorizer_answer(text.as_bytes());
        fuzz::authorizer_answer(&bytes);
        fuzz::authorizer_answer(&[b"fields:", &bytes[..]].concat());
    }
}
