//! Takes passwords from a table of its own, before the htpasswd file, and gives each user a group.
//! `cargo run --example hook_authenticator -- conf/pingora.yaml`

use tollgate::hook::{Authentication, Credentials, Hook, Outcome, Phases, Request};

// A real one asks a service, and caches what it says.
const USERS: [(&str, &str, &str); 2] = [("ci", "let-me-in", "robots"), ("eve", "open", "guests")];

struct Table;
impl Hook for Table {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    async fn authenticate(
        &self,
        credentials: &Credentials<'_>,
        _: &Request<'_>,
        (): &mut (),
    ) -> Outcome<Authentication> {
        let mut users = USERS.iter();
        let known = users.find(|(user, ..)| credentials.user() == Some(user));
        Ok(match known {
            None => Authentication::Unknown,
            Some((user, password, group)) if credentials.is_password(password) => {
                Authentication::user(*user).in_group(*group)
            }
            Some(_) => Authentication::Refused,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(Table).build().run()
}
