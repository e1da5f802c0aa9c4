//! Why a request was refused: each malformation of a head or a body with its name.

use std::error::Error;
use std::fmt;

use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::TargetError;

/// Declares an error by a table. A line reads
///
/// ```text
/// Variant => "name", "what is wrong";
/// ```
///
/// The name is in the log and the metrics, and in `docs/observability.md` by `make reference`;
/// it is not changed. The part `of` gives names to the variants of an error that another one holds.
macro_rules! reasons {
    (
        $(#[$doc:meta])*
        pub enum $error:ident {
            $($(#[$about:meta])* $variant:ident => $name:literal, $words:literal;)*
        }
        $(
            of $outer:ident($inner:ident), $outer_words:literal {
                $($inner_variant:ident => $inner_name:literal;)*
            }
        )?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $error {
            $($(#[$about])* $variant,)*
            $(#[doc = $outer_words] $outer($inner),)?
        }

        impl $error {
            /// Every reason.
            #[cfg(test)]
            pub const ALL: &'static [Self] = &[
                $(Self::$variant,)*
                $($(Self::$outer($inner::$inner_variant),)*)?
            ];

            /// The short stable name for log and metrics.
            pub const fn reason(&self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    $($(Self::$outer($inner::$inner_variant) => $inner_name,)*)?
                }
            }

            /// What is wrong, in words.
            const fn words(&self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)*
                    $(Self::$outer(_) => $outer_words,)?
                }
            }
        }

        /// The name, a colon, and what is wrong.
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}: {}", self.reason(), self.words())
            }
        }

        impl Error for $error {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                match self {
                    $(Self::$outer(inner) => Some(inner),)?
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// One reason to refuse a request head. Nothing of the head is kept in it.
    ///
    /// After any of these the connection cannot be used further: where the next
    /// request would begin is not known.
    pub enum HeadError {
        /// The first byte cannot begin a request, as in a TLS handshake.
        NotHttp => "not_http", "the first byte cannot begin an HTTP request";
        /// More empty lines before the request line than are skipped (RFC 9112 §2.2).
        EmptyLines => "empty_lines", "too many empty lines before the request line";
        /// A line that ends in LF without CR before it.
        BareLf => "bare_lf", "bare LF as a line end";
        /// A CR that no LF follows.
        BareCr => "bare_cr", "bare CR";
        /// Not exactly one head: it ends early, or something follows its empty line.
        NotOneHead => "not_one_head", "not exactly one request head";
        /// Not three parts with single spaces between them (RFC 9112 §3).
        RequestLine => "request_line", "malformed request line";
        /// The method is empty or not a token.
        Method => "method", "the method is not a token";
        /// The method is longer than any that is known (RFC 9112 §3 asks for 501).
        MethodTooLong => "method_too_long", "the method is too long";
        /// A request line of HTTP/0.9, without a version.
        MissingVersion => "missing_version", "no HTTP version in the request line";
        /// Something else where the version should be.
        Version => "version", "malformed HTTP version";
        /// A well-formed version other than 1.0 and 1.1.
        UnsupportedVersion => "unsupported_version", "unsupported HTTP version";
        /// The request-target is longer than the limit.
        TargetTooLong => "target_too_long", "the request-target is too long";
        /// A control or malformed UTF-8 in the request-target.
        TargetByte => "target_byte", "forbidden byte in the request-target";
        /// The head is larger than the limit.
        HeadTooLarge => "head_too_large", "the request head is too large";
        /// More field lines than the limit.
        TooManyFields => "too_many_fields", "too many field lines";
        /// A field name that is empty or not a token, or no colon right after it.
        FieldName => "field_name", "malformed field name";
        /// A field line that begins with whitespace (obs-fold, RFC 9112 §5.2).
        FoldedField => "folded_field", "folded field line";
        /// A control in a field value.
        FieldValue => "field_value", "forbidden byte in a field value";
        /// HTTP/2 with whitespace at an end of a field value, which HTTP/1.1 would drop (RFC 9113 §8.2.1).
        FieldWhitespace => "field_whitespace", "space or tab at an end of a field value";
        /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
        MissingHost => "missing_host", "no host field";
        /// `Host` more than once.
        DuplicateHost => "duplicate_host", "more than one host field";
        /// HTTP/2 without `:authority`, and a `Host` that is not this server's own.
        MissingAuthority => "missing_authority", "no :authority to say where the request is to go";
        /// A `Host` that differs from `:authority` (RFC 9113 §8.3.1).
        ConflictingHost => "conflicting_host", "host and :authority differ";
        /// A `Host` that is not `host [":" port]`.
        Host => "host", "malformed host field";
        /// A `Content-Length` that is not a plain decimal number below 2^63.
        ContentLength => "content_length", "malformed content-length";
        /// Several `Content-Length` fields that are not the same.
        ConflictingContentLength => "conflicting_content_length", "conflicting content-length fields";
        /// A `Transfer-Encoding` that is not exactly one `chunked`.
        TransferEncoding => "transfer_encoding", "transfer-encoding other than chunked";
        /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 §6.1).
        Http10TransferEncoding => "http10_transfer_encoding", "transfer-encoding in an http/1.0 request";
        /// `Transfer-Encoding` and `Content-Length` together (RFC 9112 §6.1).
        AmbiguousFraming => "ambiguous_framing", "both transfer-encoding and content-length";
        /// A `CONNECT` that announces content (RFC 9110 §9.3.6).
        ConnectBody => "connect_body", "a connect request with content";
        /// HTTP/2 with an extended `CONNECT` for another protocol than `websocket` (RFC 8441 §4).
        ConnectProtocol => "connect_protocol", "an extended connect request for another protocol than websocket";
        /// A connection option that is not a token.
        ConnectionOption => "connection_option", "malformed connection option";
        /// A connection option that would remove a field others rely on.
        ProtectedConnectionOption => "protected_connection_option", "connection option that names a protected field";
        /// More connection options than any client needs.
        TooManyConnectionOptions => "too_many_connection_options", "too many connection options";
        /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
        Expectation => "expectation", "expectation that cannot be met";
        /// More than one `Proxy-Authorization`.
        DuplicateProxyAuthorization => "duplicate_proxy_authorization", "more than one proxy-authorization field";
        /// More than one `Authorization` in a request that it authenticates at the gateway.
        DuplicateAuthorization => "duplicate_authorization", "more than one authorization field";
    }
    of Target(TargetError), "invalid request-target" {
        Empty => "target_empty";
        Byte => "target_control_or_space";
        Fragment => "target_fragment";
        Form => "target_form";
        ConnectForm => "target_connect_form";
        AuthorityForm => "target_authority_form";
        AsteriskForm => "target_asterisk_form";
        Scheme => "target_scheme";
        Userinfo => "target_userinfo";
        Backslash => "target_backslash";
        EmptyHost => "target_empty_host";
        MissingPort => "target_missing_port";
        Port => "target_port";
        UnbracketedIpv6 => "target_unbracketed_ipv6";
        Brackets => "target_brackets";
        PercentInHost => "target_percent_in_host";
        HostName => "target_host_name";
        EmptyLabel => "target_empty_label";
        HostLength => "target_host_length";
        Ipv4Number => "target_ipv4_number";
    }
}

reasons! {
    /// How a chunked body broke the grammar of RFC 9112 §7.1.
    ///
    /// The bytes that follow cannot be told apart any more: close the connection.
    pub enum FramingError {
        /// A chunk size without digits, or with something behind them that is
        /// neither an extension nor a line end.
        ChunkSize => "chunk_size", "malformed chunk size";
        /// A chunk size of more than 16 digits or 2^63 bytes and more.
        ChunkSizeOverflow => "chunk_size_overflow", "chunk size out of range";
        /// A control in a chunk extension.
        Extension => "chunk_extension", "forbidden byte in a chunk extension";
        /// Longer chunk extensions than any honest sender writes.
        ExtensionTooLong => "chunk_extension_too_long", "chunk extensions are too long";
        /// A CR without LF behind it, or a LF without CR in front.
        LineEnd => "chunk_line_end", "malformed line end in a chunked body";
        /// Chunk data that no CRLF follows.
        ChunkEnd => "chunk_end", "chunk data is longer than its size";
        /// A trailer line that is not a field line.
        Trailer => "trailer", "malformed trailer field";
        /// A trailer section above 8 KiB.
        TrailersTooLong => "trailers_too_long", "the trailer section is too long";
    }
}

impl HeadError {
    /// The kind of answer that the client gets.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::MethodTooLong => ErrorKind::MethodUnknown,
            Self::ConnectProtocol => ErrorKind::ConnectProtocolUnsupported,
            Self::UnsupportedVersion => ErrorKind::VersionUnsupported,
            Self::TargetTooLong => ErrorKind::TargetTooLong,
            Self::HeadTooLarge | Self::TooManyFields => ErrorKind::HeadTooLarge,
            Self::Expectation => ErrorKind::ExpectationFailed,
            Self::Target(TargetError::Scheme) => ErrorKind::SchemeUnsupported,
            _ => ErrorKind::BadRequest,
        }
    }

    /// The malformation that an error is about, if it is about one.
    pub fn of(error: &RequestError) -> Option<&Self> {
        error.source()?.downcast_ref()
    }
}

impl From<HeadError> for RequestError {
    fn from(error: HeadError) -> Self {
        Self::new(error.kind()).because(error)
    }
}

#[cfg(test)]
mod tests;
