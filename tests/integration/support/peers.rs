//! Servers of other makes, each with a configuration of its own, until dropped.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::eventually;
use super::port::Port;
use super::tls::Identity;

/// One process.
pub(crate) struct Peer {
    process: Child,
    pub(crate) port: Port,
    directory: tempfile::TempDir,
}

impl Peer {
    /// nginx with this in its block `http`; `PORT` is where it is to listen, and `DIR` a directory of its own.
    pub(crate) fn nginx(http: &str) -> Self {
        Self::nginx_with(http, &[])
    }

    /// The same with these files in its directory.
    pub(crate) fn nginx_with(http: &str, files: &[(&str, &str)]) -> Self {
        let config = format!(
            "daemon off; master_process off; pid DIR/pid; error_log DIR/error.log;
             events {{ worker_connections 256; }}
             http {{ access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;
                 uwsgi_temp_path DIR/d; scgi_temp_path DIR/e; {http} }}"
        );
        Self::start(&config, files, |file, directory| {
            let mut nginx = Command::new("nginx");
            nginx.arg("-e").arg(directory.join("error.log"));
            nginx.arg("-c").arg(file);
            nginx
        })
    }

    /// HAProxy with these sections behind `defaults` in the mode `tcp`.
    pub(crate) fn haproxy(sections: &str) -> Self {
        let config = format!(
            "defaults\n  mode tcp\n  timeout client 20s\n  timeout server 20s\n  timeout connect 10s\n{sections}\n"
        );
        Self::start(&config, &[], |file, _| {
            let mut haproxy = Command::new("haproxy");
            haproxy.args(["-db", "-f"]).arg(file);
            haproxy
        })
    }

    /// A script of Python, which gets its port as the argument.
    pub(crate) fn python(python: &str, script: &str) -> Self {
        let port = Port::reserve();
        let number = port.address.port().to_string();
        Self::start_at(port, script, &[], |file, _| {
            let mut command = Command::new(python);
            command.arg(file).arg(number);
            command
        })
    }

    fn start(
        config: &str,
        files: &[(&str, &str)],
        command: impl FnOnce(&Path, &Path) -> Command,
    ) -> Self {
        Self::start_at(Port::reserve(), config, files, command)
    }

    fn start_at(
        port: Port,
        config: &str,
        files: &[(&str, &str)],
        command: impl FnOnce(&Path, &Path) -> Command,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let config = config
            .replace("PORT", &port.address.to_string())
            .replace("DIR", &at.display().to_string());
        let file = at.join("config");
        std::fs::write(&file, config).unwrap();
        for (name, content) in files {
            std::fs::write(at.join(name), content).unwrap();
        }
        let output = std::fs::File::create(at.join("output")).unwrap();
        let process = command(&file, at)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; `make test` installs it"));
        let mut peer = Self {
            process,
            port,
            directory,
        };
        eventually("the peer to accept", || {
            let ended = peer.process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", peer.said());
            TcpStream::connect(peer.port.address).ok()
        });
        peer
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name));
        let texts = ["output", "error.log"].map(|name| read(name).unwrap_or_default());
        texts.concat()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// The files of a certificate and its key.
pub(crate) fn files<'a>(
    identity: &'a Identity,
    certificate: &'a str,
    key: &'a str,
) -> [(&'a str, &'a str); 2] {
    [
        (certificate, &identity.certificate_pem),
        (key, &identity.key_pem),
    ]
}
