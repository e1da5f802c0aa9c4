//! The head of a request that was not sent: written as a client would, and read as that of a request.

use bytes::BytesMut;

use super::Scenario;
use crate::http::http1::{HeadError, HeadLimits, KeptHead, RequestHead};

impl Scenario {
    /// The head with these fields, without credentials, as rules see it.
    pub(super) fn head_with(&self, fields: &[(&str, &str)]) -> Result<KeptHead, HeadError> {
        let target = match (&self.authority, self.scheme) {
            (Some(authority), Some(scheme)) => format!("{scheme}://{authority}{}", self.path),
            (Some(authority), None) => authority.to_string(),
            (None, _) => self.path.to_string(),
        };
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        let has_host = fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !has_host {
            let host = self.authority.as_ref().map(ToString::to_string);
            head += &format!("Host: {}\r\n", host.as_deref().unwrap_or("localhost"));
        }
        for (name, value) in fields {
            // Of one line each, so that a value cannot hold further fields.
            if name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n']) {
                return Err(HeadError::NotOneHead);
            }
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let head = RequestHead::parse(BytesMut::from(head.as_bytes()), &HeadLimits::default())?;
        Ok(KeptHead::of(&head))
    }
}
