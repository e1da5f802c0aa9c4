//! The table of errors: one row for what each kind means to the client, the log, the metrics, `Proxy-Status` and SOCKS5.

use std::error::Error as StdError;

use http::StatusCode;

use super::RequestError;
use crate::socks5::ReplyCode;

/// Whose fault a failed request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client: a malformed, unauthenticated or denied request.
    Downstream,
    /// The origin, a local upstream or the way to it.
    Upstream,
    /// Tollgate itself: a bound that was reached, or a defect.
    Internal,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $error:literal, $status:ident, $side:ident, $socks:ident, $text:literal;)*) => {
        /// Why a request did not get what it asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $variant,)* }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            #[cfg(test)]
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)*];

            /// The stable name in the access log and the metrics.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$variant => $name,)* }
            }

            /// The error type that `Proxy-Status` carries (RFC 9209 §2.3).
            pub const fn proxy_status(self) -> &'static str {
                match self { $(ErrorKind::$variant => $error,)* }
            }

            /// The status code that the client gets.
            pub const fn status(self) -> StatusCode {
                match self { $(ErrorKind::$variant => StatusCode::$status,)* }
            }

            /// Whose fault it is.
            pub const fn side(self) -> Side {
                match self { $(ErrorKind::$variant => Side::$side,)* }
            }

            /// The reply that a client of SOCKS5 gets (RFC 1928 §6).
            pub const fn socks5_reply(self) -> ReplyCode {
                match self { $(ErrorKind::$variant => ReplyCode::$socks,)* }
            }

            /// The sentence that the answer shows. It names the remedy and never a user, an address or a policy entry.
            pub const fn text(self) -> &'static str {
                match self { $(ErrorKind::$variant => $text,)* }
            }
        }
    };
}

kinds! {
    /// The message is not HTTP, or not unambiguous HTTP.
    BadRequest => "http_request_error", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "The request is malformed; it was not forwarded.";
    /// TLS on a listener without `tls`.
    TlsAtPlainPort => "wrong_protocol_tls", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port speaks plain HTTP and not TLS: use http:// in the address of the proxy.";
    /// HTTP without TLS on a listener with `tls`.
    PlainAtTlsPort => "wrong_protocol_plain", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port speaks TLS: use https:// in the address of the proxy.";
    /// SOCKS 4 or 5.
    Socks => "wrong_protocol_socks", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is an HTTP proxy and not a SOCKS proxy: set it as the HTTP proxy.";
    /// SOCKS 4 on a listener that serves SOCKS 5.
    Socks4 => "wrong_protocol_socks4", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is a SOCKS5 proxy, and this is SOCKS4: use socks5h:// in the address of the proxy.";
    /// Another protocol on a listener that serves SOCKS 5 alone.
    NotSocks5 => "wrong_protocol_not_socks5", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is a SOCKS5 proxy and not an HTTP proxy: use socks5h:// in the address of the proxy.";
    /// A SOCKS5 command other than CONNECT.
    SocksCommand => "socks5_command_unsupported", "http_request_error", NOT_IMPLEMENTED, Downstream, COMMAND_NOT_SUPPORTED,
        "The only command of SOCKS5 that is served is CONNECT.";
    /// A SOCKS5 address of an unknown type.
    SocksAddressType => "socks5_address_type_unsupported", "http_request_error", BAD_REQUEST, Downstream, ADDRESS_TYPE_NOT_SUPPORTED,
        "The target is neither a name nor an IPv4 or IPv6 address.";
    /// SSH.
    Ssh => "wrong_protocol_ssh", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is an HTTP proxy and not an SSH server: reach one through it with CONNECT.";
    /// HTTP/2 from the first byte on, on a listener with `http2: false`.
    Http2Off => "wrong_protocol_http2", "http_request_error", HTTP_VERSION_NOT_SUPPORTED, Downstream, GENERAL_FAILURE,
        "HTTP/2 is off on this port: use HTTP/1.1.";
    /// A PROXY protocol header on a listener without `proxy_protocol`.
    ProxyHeaderUnexpected => "proxy_header_unexpected", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port takes no PROXY protocol header: set proxy_protocol on the listener, or switch the header off in the load balancer.";
    /// No PROXY protocol header on a listener with `proxy_protocol`.
    ProxyHeaderMissing => "proxy_header_missing", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is for a load balancer that sends a PROXY protocol header: use the address of the load balancer.";
    /// A connection to a listener with `proxy_protocol` from an address that is not in its `from`.
    ProxyHeaderUntrusted => "proxy_header_untrusted", "http_request_denied", FORBIDDEN, Downstream, GENERAL_FAILURE,
        "This port is for a load balancer, and your address is none of one: use the address of the load balancer.";
    /// Another protocol, or bytes of no known one.
    OtherProtocol => "wrong_protocol_other", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "This port is an HTTP proxy, and this is another protocol.";
    /// The head was not complete before its deadline.
    HeadTimeout => "http_request_timeout", "http_request_error", REQUEST_TIMEOUT, Downstream, GENERAL_FAILURE,
        "The request head did not arrive in time.";
    /// The body stalled for longer than its deadline.
    BodyTimeout => "http_request_body_timeout", "http_request_error", REQUEST_TIMEOUT, Downstream, GENERAL_FAILURE,
        "The request body did not arrive in time.";
    /// The request body is longer than `limits.request_body`.
    BodyTooLarge => "http_request_body_size", "http_request_error", PAYLOAD_TOO_LARGE, Downstream, GENERAL_FAILURE,
        "The request body is larger than this proxy admits.";
    /// The request-target is longer than `limits.request_target`.
    TargetTooLong => "http_request_target_size", "http_request_error", URI_TOO_LONG, Downstream, GENERAL_FAILURE,
        "The request-target is longer than this proxy admits.";
    /// The head is larger than `limits.request_head` or has too many fields.
    HeadTooLarge => "http_request_head_size", "http_request_error", REQUEST_HEADER_FIELDS_TOO_LARGE, Downstream, GENERAL_FAILURE,
        "The request head is larger than this proxy admits.";
    /// An `Expect` other than `100-continue`.
    ExpectationFailed => "http_expectation_failed", "http_request_error", EXPECTATION_FAILED, Downstream, GENERAL_FAILURE,
        "The only expectation that can be met is 100-continue.";
    /// A method that has no meaning at a proxy.
    MethodNotAllowed => "http_method_not_allowed", "http_request_denied", METHOD_NOT_ALLOWED, Downstream, NOT_ALLOWED,
        "The method is not allowed here.";
    /// A method that no proxy knows what to do with.
    MethodUnknown => "http_method_unknown", "http_request_error", NOT_IMPLEMENTED, Downstream, GENERAL_FAILURE,
        "The method is not known.";
    /// An extended CONNECT of HTTP/2 for another protocol than `websocket` (RFC 8441 §4).
    ConnectProtocolUnsupported => "connect_protocol_unsupported", "http_request_error", NOT_IMPLEMENTED, Downstream, GENERAL_FAILURE,
        "The only protocol of an extended CONNECT that is served is websocket.";
    /// A scheme other than http and https, or one that cannot be proxied this way.
    SchemeUnsupported => "scheme_unsupported", "http_request_error", NOT_IMPLEMENTED, Downstream, GENERAL_FAILURE,
        "Only http and https targets can be proxied.";
    /// A major version other than HTTP/1.
    VersionUnsupported => "http_version_unsupported", "http_request_error", HTTP_VERSION_NOT_SUPPORTED, Downstream, GENERAL_FAILURE,
        "Use HTTP/1.1 on this connection.";
    /// No credentials.
    CredentialsMissing => "credentials_missing", "http_request_denied", PROXY_AUTHENTICATION_REQUIRED, Downstream, NOT_ALLOWED,
        "This proxy needs credentials: send Basic proxy authorization.";
    /// Credentials that cannot be read.
    CredentialsMalformed => "credentials_malformed", "http_request_denied", PROXY_AUTHENTICATION_REQUIRED, Downstream, NOT_ALLOWED,
        "The proxy credentials cannot be read: send Basic proxy authorization.";
    /// Credentials that are wrong.
    CredentialsWrong => "credentials_wrong", "http_request_denied", PROXY_AUTHENTICATION_REQUIRED, Downstream, NOT_ALLOWED,
        "The user name or the password is wrong.";
    /// A token that is not accepted.
    TokenInvalid => "token_invalid", "http_request_denied", PROXY_AUTHENTICATION_REQUIRED, Downstream, NOT_ALLOWED,
        "The token is not accepted.";
    /// A token after its time.
    TokenExpired => "token_expired", "http_request_denied", PROXY_AUTHENTICATION_REQUIRED, Downstream, NOT_ALLOWED,
        "The token has expired: get a new one.";
    /// The certificate of the client is not accepted any more: revoked, expired, or of an authority that was removed.
    ClientCertificate => "client_certificate_refused", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The certificate of this client is not accepted any more.";
    /// Too many logins of the user at the network of the client, or of the network, have failed.
    LockedOut => "locked_out", "http_request_denied", TOO_MANY_REQUESTS, Downstream, NOT_ALLOWED,
        "Too many logins have failed; try again later.";
    /// Too many password checks are waiting already.
    AuthenticationOverloaded => "authentication_overloaded", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "Too many password checks are waiting; try again shortly.";
    /// The external authoriser has not answered, or not in a way that counts.
    AuthorizerFailed => "authorizer_failed", "proxy_internal_error", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "The service that authorises requests does not work; try again shortly, or tell the operator.";
    /// The policy denies the name, the port or the method.
    Denied => "http_request_denied", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The policy of this proxy denies this request.";
    /// The request is over a limit of its class.
    LimitReached => "limit_reached", "connection_limit_reached", TOO_MANY_REQUESTS, Downstream, GENERAL_FAILURE,
        "A limit of this proxy is reached; try again later.";
    /// What the client has used of its quota is not known, since the store does not work.
    QuotaUnknown => "quota_store_failed", "proxy_internal_error", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "The store of the quotas of this proxy does not work; try again shortly, or tell the operator.";
    /// The policy denies every address of the target.
    AddressDenied => "destination_ip_prohibited", "destination_ip_prohibited", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The policy of this proxy denies the address of this target.";
    /// The ClientHello in a tunnel names another host than the target.
    SniMismatch => "sni_mismatch", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The TLS of this tunnel is for another host than the tunnel.";
    /// The ClientHello in a tunnel names no host.
    SniMissing => "sni_missing", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The TLS of this tunnel names no host (SNI).";
    /// Something else than TLS in a tunnel.
    NotTls => "not_tls", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The policy of this proxy admits TLS alone in this tunnel.";
    /// An encrypted ClientHello in a tunnel.
    EchDenied => "ech_denied", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The policy of this proxy denies an encrypted ClientHello (ECH) in this tunnel.";
    /// A ClientHello that cannot be read.
    HelloUnreadable => "hello_unreadable", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The ClientHello in this tunnel cannot be read.";
    /// A ClientHello that was begun and not ended in time.
    HelloTimeout => "hello_timeout", "http_request_denied", FORBIDDEN, Downstream, NOT_ALLOWED,
        "The ClientHello in this tunnel was not complete in time.";
    /// The request came through this proxy before.
    Loop => "proxy_loop_detected", "proxy_loop_detected", LOOP_DETECTED, Downstream, NOT_ALLOWED,
        "The request has been here before: two proxies point at each other.";
    /// The name does not exist or has no address.
    NameNotFound => "name_not_found", "dns_error", BAD_GATEWAY, Upstream, HOST_UNREACHABLE,
        "The name of the target does not exist.";
    /// The name servers answered with an error.
    DnsError => "dns_error", "dns_error", BAD_GATEWAY, Upstream, HOST_UNREACHABLE,
        "The name of the target could not be resolved.";
    /// The name servers did not answer in time.
    DnsTimeout => "dns_timeout", "dns_timeout", GATEWAY_TIMEOUT, Upstream, TTL_EXPIRED,
        "The name of the target could not be resolved in time.";
    /// Too many look-ups are under way.
    DnsOverloaded => "dns_overloaded", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "Too many names are being resolved; try again shortly.";
    /// The target refuses connections.
    ConnectionRefused => "connection_refused", "connection_refused", BAD_GATEWAY, Upstream, CONNECTION_REFUSED,
        "The target refused the connection.";
    /// There is no route to the target.
    Unroutable => "destination_ip_unroutable", "destination_ip_unroutable", BAD_GATEWAY, Upstream, NETWORK_UNREACHABLE,
        "There is no route to the target.";
    /// Connecting failed in another way.
    Unreachable => "connection_failed", "destination_unavailable", BAD_GATEWAY, Upstream, HOST_UNREACHABLE,
        "The target could not be reached.";
    /// The target did not accept the connection in time.
    ConnectTimeout => "connection_timeout", "connection_timeout", GATEWAY_TIMEOUT, Upstream, TTL_EXPIRED,
        "The target did not accept the connection in time.";
    /// The upstream closed or reset the connection before a whole response.
    ConnectionTerminated => "connection_terminated", "connection_terminated", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The target closed the connection before it had answered.";
    /// The upstream did not answer in time.
    ResponseTimeout => "http_response_timeout", "http_response_timeout", GATEWAY_TIMEOUT, Upstream, GENERAL_FAILURE,
        "The target did not answer in time.";
    /// The upstream did not take the request in time.
    WriteTimeout => "connection_write_timeout", "connection_write_timeout", GATEWAY_TIMEOUT, Upstream, GENERAL_FAILURE,
        "The target did not take the request in time.";
    /// The upstream does not speak HTTP as RFC 9112 has it.
    ProtocolError => "http_protocol_error", "http_protocol_error", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The target did not answer in valid HTTP.";
    /// The upstream did not answer the handshake of a WebSocket with one, and has not refused it either.
    UpgradeFailed => "http_upgrade_failed", "http_upgrade_failed", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The target did not begin the WebSocket.";
    /// The certificate of an https target does not verify.
    TlsCertificate => "tls_certificate_error", "tls_certificate_error", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The certificate of the target could not be verified.";
    /// The TLS handshake with an https target failed.
    TlsProtocol => "tls_protocol_error", "tls_protocol_error", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The TLS handshake with the target failed.";
    /// No URL of a parent proxy can be connected to, or speaks its protocol.
    ParentFailed => "parent_failed", "destination_unavailable", BAD_GATEWAY, Upstream, HOST_UNREACHABLE,
        "The next proxy cannot be used at the moment.";
    /// A parent proxy does not open the tunnel, or answers with an error of its own.
    ParentRefused => "parent_refused", "http_protocol_error", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The next proxy refused the request.";
    /// A parent proxy does not accept this proxy's credentials.
    ParentAuth => "parent_auth", "http_protocol_error", BAD_GATEWAY, Upstream, GENERAL_FAILURE,
        "The next proxy does not accept the credentials of this one.";
    /// The queue in front of a parent proxy did not move in time.
    ParentBusy => "parent_queue_timeout", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "Too many requests wait for the next proxy; try again shortly.";
    /// Every local upstream is down.
    UpstreamsDown => "destination_unavailable", "destination_unavailable", BAD_GATEWAY, Upstream, HOST_UNREACHABLE,
        "No upstream of this gateway is available.";
    /// The queue in front of the local upstreams did not move in time.
    QueueTimeout => "gateway_queue_timeout", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "The upstreams of this gateway are busy; try again shortly.";
    /// The queue in front of the origin did not move in time.
    OriginBusy => "origin_queue_timeout", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "Too many requests wait for this target; try again shortly.";
    /// This host has no descriptor, or no memory for sockets, left for a connection.
    OutOfSockets => "out_of_sockets", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "This proxy cannot open more connections at the moment; try again shortly.";
    /// Every local port towards the target is taken.
    OutOfPorts => "out_of_local_ports", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "This proxy has too many connections to this target at the moment; try again shortly.";
    /// The process is about to stop.
    Draining => "draining", "connection_limit_reached", SERVICE_UNAVAILABLE, Internal, GENERAL_FAILURE,
        "This proxy is shutting down; try again.";
    /// The client closed its connection; there is no reader of the answer.
    ClientGone => "client_gone", "http_request_error", BAD_REQUEST, Downstream, GENERAL_FAILURE,
        "The connection was closed before the exchange was complete.";
    /// A defect of Tollgate.
    Internal => "proxy_internal_error", "proxy_internal_error", INTERNAL_SERVER_ERROR, Internal, GENERAL_FAILURE,
        "This proxy failed; its log says why.";
}

impl ErrorKind {
    /// Whether the client is asked for credentials, and may try again.
    pub fn is_challenge(self) -> bool {
        self.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
    }

    /// An error of this kind, with its cause for the log.
    pub fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> RequestError {
        RequestError::new(self).because(source)
    }
}
