//! Why a head was refused, and the status that says so to the client.

use thiserror::Error;

use crate::http::target::TargetError;

/// One reason to refuse a request head. Nothing of the head is kept in it.
///
/// After any of these the connection cannot be used further: where the next
/// request would begin is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The first byte cannot begin a request, as in a TLS handshake.
    #[error("the first byte cannot begin an HTTP request")]
    NotHttp,
    /// More empty lines before the request line than are skipped (RFC 9112 §2.2).
    #[error("too many empty lines before the request line")]
    EmptyLines,
    /// A line that ends in LF without CR before it.
    #[error("bare LF as a line end")]
    BareLf,
    /// A CR that no LF follows.
    #[error("bare CR")]
    BareCr,
    /// Not exactly one head: it ends early, or something follows its empty line.
    #[error("not exactly one request head")]
    NotOneHead,
    /// Not three parts with single spaces between them (RFC 9112 §3).
    #[error("malformed request line")]
    RequestLine,
    /// The method is empty or not a token.
    #[error("the method is not a token")]
    Method,
    /// The method is longer than any that is known (RFC 9112 §3 asks for 501).
    #[error("the method is too long")]
    MethodTooLong,
    /// A request line of HTTP/0.9, without a version.
    #[error("no HTTP version in the request line")]
    MissingVersion,
    /// Something else where the version should be.
    #[error("malformed HTTP version")]
    Version,
    /// A well-formed version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    UnsupportedVersion,
    /// The request-target is longer than the limit.
    #[error("the request-target is too long")]
    TargetTooLong,
    /// A control or malformed UTF-8 in the request-target.
    #[error("forbidden byte in the request-target")]
    TargetByte,
    /// The request-target was refused by its own parser.
    #[error("invalid request-target")]
    Target(#[source] TargetError),
    /// The head is larger than the limit.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More field lines than the limit.
    #[error("too many field lines")]
    TooManyFields,
    /// A field name that is empty or not a token, or no colon right after it.
    #[error("malformed field name")]
    FieldName,
    /// A field line that begins with whitespace (obs-fold, RFC 9112 §5.2).
    #[error("folded field line")]
    FoldedField,
    /// A control in a field value.
    #[error("forbidden byte in a field value")]
    FieldValue,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    #[error("no host field")]
    MissingHost,
    /// `Host` more than once.
    #[error("more than one host field")]
    DuplicateHost,
    /// HTTP/2 without `:authority`, and a `Host` that is not this server's own.
    #[error("no :authority to say where the request is to go")]
    MissingAuthority,
    /// A `Host` that differs from `:authority` (RFC 9113 §8.3.1).
    #[error("host and :authority differ")]
    ConflictingHost,
    /// A `Host` that is not `host [":" port]`.
    #[error("malformed host field")]
    Host,
    /// A `Content-Length` that is not a plain decimal number below 2^63.
    #[error("malformed content-length")]
    ContentLength,
    /// Several `Content-Length` fields that are not the same.
    #[error("conflicting content-length fields")]
    ConflictingContentLength,
    /// A `Transfer-Encoding` that is not exactly one `chunked`.
    #[error("transfer-encoding other than chunked")]
    TransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 §6.1).
    #[error("transfer-encoding in an http/1.0 request")]
    Http10TransferEncoding,
    /// `Transfer-Encoding` and `Content-Length` together (RFC 9112 §6.1).
    #[error("both transfer-encoding and content-length")]
    AmbiguousFraming,
    /// A `CONNECT` that announces content (RFC 9110 §9.3.6).
    #[error("a connect request with content")]
    ConnectBody,
    /// A connection option that is not a token.
    #[error("malformed connection option")]
    ConnectionOption,
    /// A connection option that would remove a field others rely on.
    #[error("connection option that names a protected field")]
    ProtectedConnectionOption,
    /// More connection options than any client needs.
    #[error("too many connection options")]
    TooManyConnectionOptions,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("expectation that cannot be met")]
    Expectation,
    /// More than one `Proxy-Authorization`.
    #[error("more than one proxy-authorization field")]
    DuplicateProxyAuthorization,
}

impl HeadError {
    /// The status code of the answer: 400, 414, 417, 431, 501 or 505.
    pub fn status(&self) -> u16 {
        self.entry().0
    }

    /// A short stable name for logs and metrics.
    pub fn reason(&self) -> &'static str {
        self.entry().1
    }

    fn entry(&self) -> (u16, &'static str) {
        match self {
            Self::NotHttp => (400, "not_http"),
            Self::EmptyLines => (400, "empty_lines"),
            Self::BareLf => (400, "bare_lf"),
            Self::BareCr => (400, "bare_cr"),
            Self::NotOneHead => (400, "not_one_head"),
            Self::RequestLine => (400, "request_line"),
            Self::Method => (400, "method"),
            Self::MethodTooLong => (501, "method_too_long"),
            Self::MissingVersion => (400, "missing_version"),
            Self::Version => (400, "version"),
            Self::UnsupportedVersion => (505, "unsupported_version"),
            Self::TargetTooLong => (414, "target_too_long"),
            Self::TargetByte => (400, "target_byte"),
            Self::Target(TargetError::Scheme) => (501, "target_scheme"),
            Self::Target(_) => (400, "target"),
            Self::HeadTooLarge => (431, "head_too_large"),
            Self::TooManyFields => (431, "too_many_fields"),
            Self::FieldName => (400, "field_name"),
            Self::FoldedField => (400, "folded_field"),
            Self::FieldValue => (400, "field_value"),
            Self::MissingHost => (400, "missing_host"),
            Self::DuplicateHost => (400, "duplicate_host"),
            Self::MissingAuthority => (400, "missing_authority"),
            Self::ConflictingHost => (400, "conflicting_host"),
            Self::Host => (400, "host"),
            Self::ContentLength => (400, "content_length"),
            Self::ConflictingContentLength => (400, "conflicting_content_length"),
            Self::TransferEncoding => (400, "transfer_encoding"),
            Self::Http10TransferEncoding => (400, "http10_transfer_encoding"),
            Self::AmbiguousFraming => (400, "ambiguous_framing"),
            Self::ConnectBody => (400, "connect_body"),
            Self::ConnectionOption => (400, "connection_option"),
            Self::ProtectedConnectionOption => (400, "protected_connection_option"),
            Self::TooManyConnectionOptions => (400, "too_many_connection_options"),
            Self::Expectation => (417, "expectation"),
            Self::DuplicateProxyAuthorization => (400, "duplicate_proxy_authorization"),
        }
    }
}
