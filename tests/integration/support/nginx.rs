//! A real nginx with a configuration of its own.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::eventually;
use super::port::Port;

/// One nginx process on a loopback port; every answer's body is the name it was given.
pub(crate) struct Nginx {
    process: Child,
    port: Port,
    directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts it. `make test` installs nginx, so its absence is a failure and no reason to skip.
    pub(crate) fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = Port::reserve();
        std::fs::write(directory.path().join("index.html"), name).unwrap();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; worker_rlimit_nofile 1024;
             events {{ worker_connections 512; }}
             http {{
                 access_log access.log; client_body_temp_path body; proxy_temp_path proxy;
                 fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                 server {{ listen {}; listen unix:{directory}/nginx.sock; root {directory}; }}
             }}",
            port.address,
            directory = directory.path().display()
        );
        std::fs::write(directory.path().join("nginx.conf"), config).unwrap();
        let spawned = Command::new("nginx")
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("nginx is not installed; `make test` installs it")
            }
            spawned => spawned.unwrap(),
        };
        let mut nginx = Self {
            process,
            port,
            directory,
        };
        eventually("nginx to accept", || {
            let ended = nginx.process.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {}", nginx.errors());
            TcpStream::connect(nginx.address()).ok()
        });
        nginx
    }

    /// Where a file that it serves lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The socket at which it serves the same.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("nginx.sock")
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Requests it has logged so far.
    pub(crate) fn requests(&self) -> usize {
        let log = std::fs::read_to_string(self.directory.path().join("access.log"));
        log.unwrap_or_default().lines().count()
    }

    /// Ends the process; the port refuses from then on.
    pub(crate) fn stop(&mut self) {
        let _already_gone = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}
