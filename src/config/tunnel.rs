//! `tollgate.tunnel`, and `tunnel` of a rule: what the first bytes of tunnels have to be.

use std::sync::Arc;
use std::time::Duration;

use super::keys::form::Absent::Means;
use super::keys::form::{Flag, Given, OneOf, Raw, Within};
use super::keys::keys;
use super::policy::{ValueReader, tunnel_expression};
use super::reader::{Item, Part};
use super::units::{milliseconds, minutes, seconds};
use crate::access::policy::{Action, Expression, HelloTerms, Matchers, Name, SniDemand};
use crate::hello::Hello;
use crate::http::role::Role;

const SNI: OneOf<SniDemand> = OneOf(&[
    ("match", SniDemand::Match),
    ("present", SniDemand::Present),
    ("off", SniDemand::Off),
]);
const VERDICT: OneOf<bool> = OneOf(&[("admit", true), ("deny", false)]);

keys! {
    /// The first bytes of tunnels by CONNECT, which [tunnels.md](tunnels.md) describes.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Keys {
        /// What the name of the host (SNI) in the ClientHello has to be: `match`, the host of the tunnel; `present`, any name;
        /// `off`, anything. For a tunnel to an address `match` means that there is no name, or this address.
        sni: SniDemand = SniDemand::Off, SNI;
        /// Whether another protocol than TLS is admitted.
        non_tls: Option<bool> = Means("`deny` where `sni` is not `off`, else `admit`"), Given(VERDICT);
        /// Whether a ClientHello with ECH is admitted. Browsers send what looks like it (GREASE) to every server.
        ech: bool = true, VERDICT;
        /// Whether the ClientHello is read where nothing is asked of it: for `sni`, `alpn` and `ja4` in the log and for hooks.
        peek: bool = false, Flag;
        /// From the first byte of a ClientHello to its last. Then the tunnel ends.
        hello_timeout: Duration = seconds(10), Within(milliseconds(10)..=minutes(1));
    }
}

keys! {
    /// The first bytes of the tunnels that a rule admits.
    pub(super) struct RuleKeys<'d> {
        /// What the name of the host in the ClientHello has to be.
        sni: Option<SniDemand> = Means("as in `tollgate.tunnel`"), Given(SNI);
        /// Whether another protocol than TLS is admitted.
        non_tls: Option<bool> = Means("as in `tollgate.tunnel`; where it is not there, `deny` with `when` or where `sni` is not `off`, else `admit`"), Given(VERDICT);
        /// Whether a ClientHello with ECH is admitted.
        ech: Option<bool> = Means("as in `tollgate.tunnel`"), Given(VERDICT);
        /// Whether the ClientHello is read where nothing is asked of it.
        peek: Option<bool> = Means("as in `tollgate.tunnel`"), Given(Flag);
        /// A [CEL expression](policy.md#cel) that is true; it may read `tls.sni`, `tls.alpn`, `tls.ja4` and `tls.ech`. Else
        /// the tunnel is denied.
        when: Option<Item<'d>> = Means("always"), Raw => Shape::text("an expression");
    }
}

keys! {
    /// A ClientHello, for a test.
    pub(super) struct HelloKeys<'d> {
        /// The name of the host.
        sni: Option<Item<'d>> = Means("none"), Raw => Shape::text("a name");
        /// The protocols that it offers.
        alpn: Option<Item<'d>> = Means("none"), Raw => Shape::text("a protocol such as h2").some();
        /// The fingerprint of the client.
        ja4: Option<Item<'d>> = Means("empty"), Raw => Shape::text("a fingerprint");
        /// Whether it has an encrypted hello inside, or what looks like one.
        ech: bool = false, Flag;
    }
}

impl Keys {
    pub(super) fn read(part: Part<'_>) -> Keys {
        let mut section = part.section();
        let keys = Keys::take(&mut section);
        section.finish();
        keys
    }

    /// The terms of tunnels whose rule has none.
    pub(super) fn terms(self) -> HelloTerms {
        self.with(None, None)
    }

    fn with(self, when: Option<Expression>, rule: Option<Name>) -> HelloTerms {
        let asks = self.sni != SniDemand::Off || when.is_some();
        HelloTerms {
            sni: self.sni,
            non_tls: self.non_tls.unwrap_or(!asks),
            ech: self.ech,
            peek: self.peek,
            when,
            timeout: self.hello_timeout,
            rule,
        }
    }

    /// Reads `tunnel` of a rule, which these are the defaults of.
    pub(super) fn of_rule(
        self,
        item: &Item<'_>,
        (name, action, matchers): (Option<&Name>, Option<&Action>, &Matchers),
    ) -> Option<Arc<HelloTerms>> {
        let mut section = item.section();
        let keys = RuleKeys::take(&mut section);
        let mut reader = ValueReader::new();
        let when = reader.part(&keys.when, tunnel_expression);
        section.finish();
        let mut is_whole = reader.is_whole();
        if !matches!(action, Some(Action::Admit) | None) {
            let message = "only for rules that admit";
            item.report(message, "remove it, or write `action: admit`");
            is_whole = false;
        }
        let roles = matchers.roles;
        if roles.is_some_and(|roles| !roles.contains(Role::Tunnel)) {
            let message = "only for tunnels, which the roles of this rule leave out";
            item.report(message, "remove it, or add tunnel to `roles`");
            is_whole = false;
        }
        let keys = Keys {
            sni: keys.sni.unwrap_or(self.sni),
            non_tls: keys.non_tls.or(self.non_tls),
            ech: keys.ech.unwrap_or(self.ech),
            peek: keys.peek.unwrap_or(self.peek),
            hello_timeout: self.hello_timeout,
        };
        is_whole.then(|| Arc::new(keys.with(when, name.cloned())))
    }
}

/// Reads the ClientHello of a test.
pub(super) fn hello(item: &Item<'_>) -> Option<Hello> {
    let mut section = item.section();
    let keys = HelloKeys::take(&mut section);
    let mut reader = ValueReader::new();
    let text = |item: &Item<'_>| item.text().map(Box::from);
    let sni = reader.part(&keys.sni, text);
    let alpn = reader.values(&keys.alpn, text);
    let ja4 = reader.part(&keys.ja4, text);
    section.finish();
    reader.is_whole().then(|| Hello {
        sni,
        alpn: alpn.unwrap_or_default(),
        ja4: ja4.unwrap_or_default(),
        ech: keys.ech,
    })
}
