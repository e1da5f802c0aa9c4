//! What the admin service answers a request that it does not do: the one list of its kinds.

use http::StatusCode;

/// Declares the kinds: `status name kind: "when"`.
macro_rules! problems {
    ($($status:ident $name:ident $kind:literal: $when:literal;)*) => {
        /// Why a request is not done. Its name in `error` is for programs and stays.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Problem {
            $(#[doc = $when] $name,)*
        }

        impl Problem {
            /// All of them, by status.
            #[cfg(test)]
            pub(super) const ALL: &[Problem] = &[$(Problem::$name),*];

            /// The name in `error`.
            pub(super) const fn kind(self) -> &'static str {
                match self {
                    $(Self::$name => $kind,)*
                }
            }

            /// The status of the answer.
            pub(super) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// When it comes, for the documents.
            #[cfg(test)]
            pub(super) const fn when(self) -> &'static str {
                match self {
                    $(Self::$name => $when,)*
                }
            }
        }
    };
}

problems! {
    BAD_REQUEST Malformed "malformed":
        "The target, the query, the body or the `Host` field cannot be read.";
    UNAUTHORIZED CredentialsMissing "credentials_missing": "There are no credentials.";
    UNAUTHORIZED CredentialsMalformed "credentials_malformed": "The credentials are not Basic, or cannot be read.";
    UNAUTHORIZED CredentialsWrong "credentials_wrong": "There is no such user, or the password is another one.";
    FORBIDDEN CertificateMissing "certificate_missing":
        "The service takes clients with a certificate alone, and the client showed none.";
    FORBIDDEN CertificateRefused "certificate_refused":
        "The certificate is not accepted any more, or names no user where it has to.";
    FORBIDDEN UsersMissing "users_missing":
        "The service has no users, and its address is not loopback: only what is for everyone is served.";
    FORBIDDEN ReadOnly "read_only": "The service has no users, and the request changes something.";
    FORBIDDEN OriginRefused "origin_refused": "A page of another site made the request.";
    FORBIDDEN RequestFieldMissing "request_field_missing":
        "The field `Tollgate-Request: 1` is missing: a page of another site may have made the request.";
    NOT_FOUND NotFound "not_found": "There is nothing of this name.";
    METHOD_NOT_ALLOWED MethodNotAllowed "method_not_allowed": "The path has other methods: `Allow` has them.";
    CONFLICT LevelUnavailable "level_unavailable":
        "The filter that the process was started with keeps messages of this level out (`RUST_LOG`).";
    PAYLOAD_TOO_LARGE TooLarge "too_large": "The body is longer than 64 KiB.";
    UNSUPPORTED_MEDIA_TYPE NotJson "not_json": "The body is not JSON.";
    MISDIRECTED_REQUEST HostUnknown "host_unknown": "The `Host` field has a name that is not this service's.";
    TOO_MANY_REQUESTS LockedOut "locked_out": "Too many logins have failed; `Retry-After` says how long.";
    INTERNAL_SERVER_ERROR Internal "internal": "A mistake in this program, or a system without a further thread.";
    SERVICE_UNAVAILABLE AuthenticationOverloaded "authentication_overloaded": "Too many passwords wait to be verified.";
    SERVICE_UNAVAILABLE TooManyListeners "too_many_listeners": "All places of events are taken, or this client's share of them.";
    SERVICE_UNAVAILABLE StoreFailed "store_failed": "The store of the balances does not work.";
}
