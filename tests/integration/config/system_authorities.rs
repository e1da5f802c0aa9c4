//! The authorities of the system: without them the program starts, says so, and verifies nothing.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::client::Wire;
use crate::support::command::{program, run};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{connect, fetch};
use crate::support::tls::Authority;

/// What the environment of an odd machine says.
const ODD: [(&str, &str); 3] = [
    ("SSL_CERT_FILE", "/nonexistent/file.pem"),
    ("SSL_CERT_DIR", "/nonexistent"),
    // A directory where a file is expected.
    ("SSL_CERT_FILE", "/"),
];

fn command(variable: (&str, &str)) -> Command {
    let mut command = Command::new(program());
    command
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR")
        .env(variable.0, variable.1);
    command
}

/// The program, which ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[test]
fn check_warns_of_authorities_that_cannot_be_read() {
    let setup = Setup::new();
    let path = setup.write();
    for variable in ODD {
        let outcome = run(command(variable).arg("check").arg("-c").arg(&path), "");
        assert_eq!(
            outcome.code(),
            Some(0),
            "{variable:?}: {}",
            outcome.output()
        );
        for part in [
            "certificate authorities",
            variable.1,
            "SSL_CERT_FILE",
            "ca_file",
        ] {
            assert!(
                outcome.stderr.contains(part),
                "{variable:?}: {}",
                outcome.stderr
            );
        }
    }
    // Where the configuration names some the environment does not matter.
    let setup = setup
        .file("ca.pem", Authority::new().pem())
        .server("ca_file: ca.pem");
    let outcome = run(
        command(ODD[0]).arg("check").arg("-c").arg(setup.write()),
        "",
    );
    assert!(
        !outcome.stderr.contains("authorities"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn without_authorities_tunnels_work_and_no_origin_is_trusted() {
    let authority = Authority::new();
    let secure = Origin::https(authority.issue(&["127.0.0.1"]).server(), |_| {
        crate::support::message::ok("page")
    });
    for variable in ODD {
        let setup = Setup::new();
        let mut program = command(variable);
        program.arg("-c").arg(setup.write());
        program
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = Running(program.spawn().unwrap());
        eventually("the proxy to accept", || {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{variable:?}: {ended:?}");
            TcpStream::connect(setup.address()).ok()
        });
        let mut wire = Wire::connect(setup.address()).unwrap();
        assert_eq!(wire.exchange(connect(secure.address)).status(), 200);
        let mut wire = Wire::connect(setup.address()).unwrap();
        let answer = wire.exchange(fetch(&format!("https://{}/", secure.address)));
        assert_eq!(answer.status(), 502, "{variable:?}: {}", answer.text());
    }
}
