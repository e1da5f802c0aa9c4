//! What expressions get of a request.

use std::cell::OnceCell;

use super::{Evaluation, groups_of};
use crate::access::policy::{Facts, NameKey, Policy, Request, RequestPath};
use crate::http::target::Host;

/// The texts that only expressions need.
pub(super) struct ExpressionInput<'a> {
    method: String,
    host: String,
    groups: Vec<&'a str>,
}

impl Policy {
    /// A request with the values that rules need.
    pub(in crate::access::policy) fn evaluation<'a>(
        &'a self,
        request: &'a Request<'a>,
    ) -> Evaluation<'a> {
        let authority = request.destination.authority();
        Evaluation {
            request,
            authority,
            key: authority
                .and_then(|authority| authority.host.name())
                .map(NameKey::new),
            class: self.rules.class_of(request.user),
            path: match self.rules.read_path() {
                true => RequestPath::of(request),
                false => RequestPath::Unknown,
            },
            input: OnceCell::new(),
        }
    }
}

impl Evaluation<'_> {
    /// The facts for an expression.
    pub(in crate::access::policy) fn facts(&self) -> Facts<'_> {
        let input = self.input.get_or_init(|| ExpressionInput {
            method: self.request.method.to_ascii_uppercase(),
            host: match self.authority.map(|authority| &authority.host) {
                None => String::new(),
                Some(Host::Name(name)) => String::from(&**name),
                Some(Host::Ip(ip)) => ip.to_canonical().to_string(),
            },
            groups: groups_of(self.class, self.request.groups),
        });
        Facts {
            role: self.request.role().as_str(),
            method: &input.method,
            host: &input.host,
            port: self.authority.map_or(0, |authority| authority.port),
            user: self.request.user,
            groups: &input.groups,
            client: self.request.client,
            time: self.request.time,
            head: self.request.head,
            path: &self.path,
            claims: self.request.claims,
            hello: self.request.hello,
        }
    }
}
