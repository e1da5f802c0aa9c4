//! Tollgate as the parent of another proxy, which brings the credentials for clients that have
//! none. The configurations are those of docs/migrating.md.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::command::is_installed;
use crate::support::eventually;
use crate::support::port::Port;
use crate::support::programs::{assert_output, curl};
use crate::support::site::Site;

/// A proxy of another make, which ends with this.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// Starts the other proxy, and fetches the page through it, forwarded and in a tunnel.
fn assert_passes(site: &Site, port: &Port, command: &mut Command) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = Other(child.spawn().unwrap());
    eventually("the other proxy to accept", || {
        let ended = child.0.try_wait().unwrap();
        assert!(ended.is_none(), "the other proxy ended: {ended:?}");
        TcpStream::connect(port.address).ok()
    });
    let proxy = format!("http://{}", port.address);
    for url in [site.http(), site.https()] {
        let outcome = curl(&["--cacert", &site.ca(), "-x", &proxy, &url]);
        assert_output(&outcome, "page");
    }
    site.assert_used(true);
}

#[test]
fn tinyproxy_brings_the_credentials() {
    if !is_installed(&["tinyproxy", "-v"]) {
        return;
    }
    let site = Site::alice();
    let port = Port::reserve();
    let config = format!(
        "Port {}\nListen 127.0.0.1\nAllow 127.0.0.1\nUpstream http {}@{}\n",
        port.address.port(),
        site.userinfo,
        site.proxy.address
    );
    let file = site.proxy.path("tinyproxy.conf");
    std::fs::write(&file, config).unwrap();
    assert_passes(
        &site,
        &port,
        Command::new("tinyproxy").arg("-d").arg("-c").arg(file),
    );
}

#[test]
fn squid_brings_the_credentials() {
    if !is_installed(&["squid", "-v"]) {
        return;
    }
    let site = Site::alice();
    let port = Port::reserve();
    let config = format!(
        "http_port {}\nhttp_access allow localhost\nhttp_access deny all\n\
         cache_peer 127.0.0.1 parent {} 0 no-query no-digest default login={}\n\
         never_direct allow all\n\
         pid_filename none\ncache_log /dev/null\naccess_log none\nvisible_hostname squid.test\n",
        port.address,
        site.proxy.port(),
        site.userinfo
    );
    let file = site.proxy.path("squid.conf");
    std::fs::write(&file, config).unwrap();
    assert_passes(
        &site,
        &port,
        Command::new("squid").arg("-N").arg("-f").arg(file),
    );
}
