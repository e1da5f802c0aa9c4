//! What a server says when it refuses, as it is told.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::*;

#[test]
fn failures_have_a_kind_and_no_control_characters() {
    let server = |kind| ErrorKind::Server(kind);
    for (error, expected) in [
        (
            RedisError::from((server(ServerErrorKind::BusyLoading), "loading")),
            "loading",
        ),
        (
            RedisError::from((server(ServerErrorKind::ReadOnly), "read")),
            "read_only",
        ),
        (
            RedisError::from((server(ServerErrorKind::NoPerm), "no")),
            "denied",
        ),
        (
            RedisError::from((ErrorKind::AuthenticationFailed, "no")),
            "denied",
        ),
        (
            RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused)),
            "unreachable",
        ),
        (
            RedisError::from(io::Error::from(io::ErrorKind::WouldBlock)),
            "timeout",
        ),
        (
            redis::make_extension_error("OOM".into(), Some("a\r\nb".into())),
            "out_of_memory",
        ),
        (
            redis::make_extension_error("MISCONF".into(), Some("x".repeat(900))),
            "other",
        ),
    ] {
        let error = StoreError::from(error);
        let StoreError::Server { kind, text } = &error else {
            panic!("{error}");
        };
        assert_eq!(*kind, expected, "{error}");
        assert!(
            text.len() <= 200 && !text.contains(char::is_control),
            "{error}"
        );
    }
}
