//! What client programs are tried with: a proxy whose user has an awkward password, and one site
//! that is served in the clear and over TLS.

use std::process::Command;

use super::command::{Outcome, run};
use super::message::{ok, response};
use super::origin::Origin;
use super::proxy::{Proxy, Setup};
use super::request::{ALICE, sha_line};
use super::tls::Authority;

/// A user whose password means something else in a URL unless it is percent-encoded.
pub(crate) const DORA: (&str, &str) = ("dora", "p@ss:w/rd%#");

/// The site's name. It is below `localhost`, so that no name server is asked, and it is not
/// `localhost` itself, which many programs never ask a proxy for.
const NAME: &str = "origin.localhost";

/// The proxy and the site.
pub(crate) struct Site {
    user: &'static str,
    /// Name and password as they stand in a URL.
    pub(crate) userinfo: &'static str,
    pub(crate) proxy: Proxy,
    pub(crate) plain: Origin,
    pub(crate) secure: Origin,
}

impl Site {
    /// Serves what `file` has for a path without its query; the rest is 404.
    pub(crate) fn start(
        file: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::of(DORA, "dora:p%40ss%3Aw%2Frd%25%23", file)
    }

    /// Answers every path with a page.
    pub(crate) fn page() -> Self {
        Self::start(|_| Some(b"page".to_vec()))
    }

    /// As [`Site::page`], with a user whose password is the same in a URL.
    pub(crate) fn alice() -> Self {
        Self::of(ALICE, "alice:canary-4d1f9a", |_| Some(b"page".to_vec()))
    }

    fn of(
        user: (&'static str, &'static str),
        userinfo: &'static str,
        file: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let identity = authority.issue(&[NAME]);
        let answer = move |request: &super::message::Request| {
            let path = request.head.target().split('?').next().unwrap_or("");
            file(path).map_or_else(|| response("404 Not Found", "", "absent"), ok)
        };
        let proxy = Setup::new()
            .file("users.htpasswd", sha_line(user))
            .file("ca.pem", authority.pem())
            .start();
        Self {
            user: user.0,
            userinfo,
            proxy,
            plain: Origin::http(answer.clone()),
            secure: Origin::https(identity.server(), answer),
        }
    }

    /// The proxy with the credentials, as in `https_proxy`.
    pub(crate) fn proxy_url(&self) -> String {
        format!("http://{}@{}", self.userinfo, self.proxy.address)
    }

    /// The file of the authority, for programs to trust.
    pub(crate) fn ca(&self) -> String {
        self.proxy.path("ca.pem").display().to_string()
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{NAME}:{}", self.plain.port())
    }

    pub(crate) fn https(&self) -> String {
        format!("https://{NAME}:{}", self.secure.port())
    }

    /// A program that finds the proxy in the variables that most programs read, in lower case.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = super::programs::command(program);
        command
            .env("http_proxy", self.proxy_url())
            .env("https_proxy", self.proxy_url())
            .env("SSL_CERT_FILE", self.ca())
            .current_dir(self.proxy.setup.directory.path());
        command
    }

    /// The outcome of a program that has to succeed.
    pub(crate) fn run(&self, command: &mut Command) -> Outcome {
        let outcome = run(command, "");
        assert!(
            outcome.status.success(),
            "{command:?}: {}",
            outcome.output()
        );
        outcome
    }

    /// The test fails unless the user has fetched something through a tunnel, and, when `forwarded`
    /// is true, with a forwarded request as well.
    pub(crate) fn assert_used(&self, forwarded: bool) {
        let roles = if forwarded {
            &["tunnel", "forward"][..]
        } else {
            &["tunnel"]
        };
        for role in roles {
            self.proxy.record(role, |record| {
                record["role"] == *role && record["user"] == self.user && record["status"] == 200
            });
        }
    }
}
