use super::*;

/// Reads entries back as the journal does.
fn parse(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = memchr::memchr2(b'=', b'\n', bytes).unwrap();
        let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (value, rest) = if bytes[end] == b'=' {
            let (value, rest) = next_line(&bytes[end + 1..]).unwrap();
            (value.to_vec(), rest)
        } else {
            let (length, rest) = bytes[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(rest[length], b'\n');
            (rest[..length].to_vec(), &rest[length + 1..])
        };
        fields.push((name, value));
        bytes = rest;
    }
    fields
}

fn fields(line: &[u8]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    push_fields(&mut out, line);
    let text = |(name, value)| (name, String::from_utf8(value).unwrap());
    parse(&out).into_iter().map(text).collect()
}

#[test]
fn each_member_is_a_field() {
    let line = br#"{"time":"t","status":403,"observed":["a","b"],"tags":{"k":"v"},"user":"a\nPRIORITY=0"}"#;
    let fields = fields(line);
    let of = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(of, _)| of == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("MESSAGE"), [std::str::from_utf8(line).unwrap()]);
    assert_eq!(of("PRIORITY"), ["6"]);
    assert_eq!(of("SYSLOG_IDENTIFIER"), ["tollgate"]);
    assert_eq!(of("TOLLGATE_STATUS"), ["403"]);
    assert_eq!(of("TOLLGATE_OBSERVED"), ["a", "b"]);
    assert_eq!(of("TOLLGATE_TAGS"), [r#"{"k":"v"}"#]);
    // Text of a client begins no field.
    assert_eq!(of("TOLLGATE_USER"), ["a\nPRIORITY=0"]);
}

#[test]
fn what_is_no_record_is_a_message_alone() {
    let names: Vec<_> = fields(b"text").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE"]);
}
