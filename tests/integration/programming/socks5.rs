//! Hooks and clients of SOCKS5, whose login comes before the request that hooks see.

use tollgate::hook::{Authentication, Credentials, Hook, Outcome, Phases, Request};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::origin::Origin;
use crate::support::request::ALICE;
use crate::support::socks5::{CONNECT, NONE, address, log_in, reply};

/// Knows one user, which is not in the password file.
struct Names;

impl Hook for Names {
    type State = ();

    fn name(&self) -> &str {
        "names"
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    async fn authenticate(
        &self,
        credentials: &Credentials<'_>,
        request: &Request<'_>,
        _: &mut (),
    ) -> Outcome<Authentication> {
        Ok(match credentials.user() {
            Some("hooked") if credentials.is_password("right") && request.version() == "SOCKS5" => {
                Authentication::user("hooked")
            }
            Some("hooked") => Authentication::Refused,
            _ => Authentication::Unknown,
        })
    }
}

/// It sees the login with the request, and the users of the password file come behind it.
#[test]
fn a_hook_says_who_it_is() {
    let proxy = Embedded::start("", Names);
    let echo = Origin::echo();
    for (user, code) in [
        (("hooked", "right"), 0),
        (("hooked", "wrong"), 2),
        (ALICE, 0),
        (("alice", "wrong"), 2),
    ] {
        let mut wire = Wire::connect(proxy.address()).unwrap();
        log_in(&mut wire, user);
        wire.send(address(CONNECT, echo.address)).unwrap();
        assert_eq!(reply(&mut wire).unwrap().0, code, "{user:?}");
    }
    let record = proxy.record_with(|record| record["user"] == "hooked");
    assert_eq!(record["auth"], "hook", "{record}");
    // Without a login the hook is asked, and nobody is known.
    let mut wire = Wire::connect(proxy.address()).unwrap();
    wire.send(NONE).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), [5, 0]);
    wire.send(address(CONNECT, echo.address)).unwrap();
    assert_eq!(reply(&mut wire).unwrap().0, 2);
    wire.assert_closed();
}
