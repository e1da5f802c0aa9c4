//! What expressions get of a request.

use super::{Evaluation, groups_of};
use crate::access::policy::Facts;
use crate::http::target::Host;

/// The texts that only expressions need.
pub(super) struct ExpressionInput<'a> {
    method: String,
    host: String,
    groups: Vec<&'a str>,
}

impl Evaluation<'_> {
    /// The facts for an expression.
    pub(super) fn facts(&self) -> Facts<'_> {
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
        }
    }
}
