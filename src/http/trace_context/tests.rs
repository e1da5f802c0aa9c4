use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn the_example_of_the_recommendation() {
    let parent = TraceParent::parse(PARENT.as_bytes()).unwrap();
    assert!(parent.is_sampled);
    assert_eq!(parent.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(parent.parent_id[7], 0x31);
    assert_eq!(parent.to_string(), PARENT);
}

#[test]
fn parents_that_are_none() {
    use TraceContextError::{Form, Length, Version, Zero};
    let with = |from: &str, to: &str| PARENT.replacen(from, to, 1);
    for (value, error) in [
        (String::new(), Length),
        (with("-01", "-1"), Length),
        (with("-01", "-01-"), Length),
        (with("-01", "-01 "), Length),
        (with("00-", "ff-"), Version),
        (with("00-", "0x-"), Form),
        (with("0af7", "0AF7"), Form),
        (with("0af7", "0ag7"), Form),
        (with("00-0a", "00_0a"), Form),
        (with("00-", " 0-"), Form),
        (with("00-", "01-") + "x", Form),
        (
            with("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            Zero,
        ),
        (with("b7ad6b7169203331", &"0".repeat(16)), Zero),
    ] {
        assert_eq!(TraceParent::parse(value.as_bytes()), Err(error), "{value}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    for value in [
        PARENT.replacen("00-", "01-", 1),
        PARENT.replacen("00-", "cc-", 1) + "-more",
    ] {
        let parent = TraceParent::parse(value.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), PARENT);
    }
    let flags = PARENT.replacen("-01", "-fe", 1);
    assert!(!TraceParent::parse(flags.as_bytes()).unwrap().is_sampled);
}

#[test]
fn states() {
    let long_key = "a".repeat(256);
    let long_value = "x".repeat(256);
    let many = |count: usize| {
        let members: Vec<_> = (0..count).map(|number| format!("k{number}=v")).collect();
        members.join(",")
    };
    for state in [
        "a=1".to_owned(),
        "a=1, b=2\t,,c= 3".to_owned(),
        "1tenant@sys=x:y;z".to_owned(),
        format!("{long_key}={long_value}"),
        many(32),
    ] {
        assert_eq!(trace_state([state.as_bytes()]).as_deref(), Some(&*state));
    }
    assert_eq!(
        trace_state([&b"a=1"[..], b"b=2"]).as_deref(),
        Some("a=1,b=2")
    );
    for state in [
        String::new(),
        " , ,".to_owned(),
        "a".to_owned(),
        "=1".to_owned(),
        "a=".to_owned(),
        "A=1".to_owned(),
        "1=1".to_owned(),
        "a=1,a=2".to_owned(),
        "a=b=c".to_owned(),
        "a=\u{e9}".to_owned(),
        "a=\u{7f}".to_owned(),
        "t@=1".to_owned(),
        "@s=1".to_owned(),
        "t@abcdefghijklmno=1".to_owned(),
        format!("{long_key}a=1"),
        format!("a={long_value}x"),
        many(33),
        format!("{},", many(1)) + &" ".repeat(MAX_STATE),
    ] {
        assert_eq!(trace_state([state.as_bytes()]), None, "{state}");
    }
}

proptest! {
    #[test]
    fn every_parent_is_read_as_it_is_written(trace_id: [u8; 16], parent_id: [u8; 8], is_sampled: bool) {
        prop_assume!(trace_id != [0; 16] && parent_id != [0; 8]);
        let parent = TraceParent { trace_id, parent_id, is_sampled };
        prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Ok(parent));
    }

    #[test]
    fn nothing_but_the_grammar_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzz::trace_context(&bytes);
    }

    #[test]
    fn one_changed_byte_is_seen(at in 0_usize..55, byte in any::<u8>()) {
        let mut value = PARENT.as_bytes().to_vec();
        value[at] = byte;
        if let Ok(parent) = TraceParent::parse(&value) {
            let written = parent.to_string();
            // All but the version and the flags is in what was read.
            prop_assert_eq!(&written.as_bytes()[2..53], &value[2..53]);
        }
    }
}
