//! The facts of a request that was not sent, from the scenario of the policy.

use super::Decided;
use super::samples::{RequestText, facts};
use crate::access::policy::{Policy, Scenario};
use crate::hook::Facts;
use crate::http::role::Role;

/// The facts of a scenario. `target` is what it was made of, since a scenario has no path.
///
/// # Errors
/// Why no client can send the request. The text names no value of a field.
pub fn scenario_facts(
    scenario: &Scenario,
    target: &str,
    fields: &[(Box<str>, Box<str>)],
) -> Result<Facts, String> {
    let request = scenario.request();
    let of_socket = match target.split_once("://") {
        Some(("wss", rest)) => Some(format!("https://{rest}")),
        Some(("ws", rest)) => Some(format!("http://{rest}")),
        _ => None,
    };
    facts(&RequestText {
        method: request.method,
        target: match request.role() {
            Role::Tunnel => scenario.target(),
            Role::Forward => of_socket.as_deref().unwrap_or(target),
            Role::Gateway => target,
        },
        fields,
        client: scenario.client,
    })
}

impl Decided {
    /// How a policy that admits the request of a scenario has it sent.
    pub fn admitted(policy: &Policy, scenario: &Scenario) -> Self {
        match policy.upgraded(&scenario.request()) {
            Some(target) => Decided::Upgraded(target),
            None => match &scenario.hello {
                Some(hello) if policy.reads_hello(scenario) => Decided::Greeted(hello.clone()),
                _ => Decided::Admitted,
            },
        }
    }
}
