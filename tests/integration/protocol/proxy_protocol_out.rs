//! PROXY headers that begin connections to upstreams: whom they name, what comes first, and that no connection serves
//! two clients.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::client::Wire;
use crate::support::command::is_installed;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth};
use crate::support::tls::Authority;

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

/// Connections are made for requests alone, after the first health check.
const CALM: &str = "  health_check: { interval: 1h }\n";

fn gateway(upstream: impl std::fmt::Display, version: &str) -> String {
    format!("gateway:\n  upstreams: [\"{upstream}\"]\n  proxy_protocol: {version}\n{CALM}")
}

/// The header that begins a connection, in words: `LOCAL`, or client and listener.
fn read_header(stream: &mut impl Read) -> io::Result<String> {
    let mut start = [0; 6];
    stream.read_exact(&mut start)?;
    if start == *b"PROXY " {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        return Ok(match words[..] {
            ["UNKNOWN"] => "LOCAL".to_owned(),
            [_, client, listener, from, to] => format!("{client} {from} > {listener} {to}"),
            _ => panic!("{line}"),
        });
    }
    assert_eq!(start, *b"\r\n\r\n\0\r");
    let mut rest = [0; 10];
    stream.read_exact(&mut rest)?;
    assert_eq!(rest[..6], *b"\nQUIT\n");
    let [command, family, high, low] = rest[6..] else {
        panic!()
    };
    let mut addresses = vec![0; u16::from_be_bytes([high, low]).into()];
    stream.read_exact(&mut addresses)?;
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let ip = |at: usize, len: usize| match <[u8; 4]>::try_from(&addresses[at..at + len]) {
        Ok(four) => std::net::IpAddr::from(four),
        Err(_) => <[u8; 16]>::try_from(&addresses[at..at + len])
            .unwrap()
            .into(),
    };
    Ok(match (command, family, addresses.len()) {
        (0x20, 0, 0) => "LOCAL".to_owned(),
        (0x21, 0x11, 12) => format!("{} {} > {} {}", ip(0, 4), port(8), ip(4, 4), port(10)),
        (0x21, 0x21, 36) => format!("{} {} > {} {}", ip(0, 16), port(32), ip(16, 16), port(34)),
        other => panic!("{other:?}"),
    })
}

/// An upstream that says what each of its connections began with, answers requests, and echoes after a handshake.
fn upstream() -> (Origin, Receiver<String>) {
    let (tell, told) = channel();
    let origin = Origin::raw(move |wire, _| serve(wire, |header| tell.send(header).unwrap()));
    (origin, told)
}

fn serve(mut wire: Wire, tell: impl Fn(String)) -> io::Result<()> {
    let header = read_header(&mut Bytes(&mut wire))?;
    tell(header.clone());
    while let Some(request) = wire.request()? {
        if request.head.fields.has("upgrade") {
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            let bytes = wire.read_bytes(4)?;
            return wire.send(bytes);
        }
        wire.send(ok(&header))?;
    }
    Ok(())
}

/// Reads the bytes of a wire one by one, so that what follows is there for its parser.
struct Bytes<'a>(&'a mut Wire);

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read_bytes(into.len())?;
        into.copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// What a header says of this connection.
fn named(wire: &Wire) -> String {
    let (client, listener) = (
        wire.socket().local_addr().unwrap(),
        wire.socket().peer_addr().unwrap(),
    );
    format!(
        "{} {} > {} {}",
        client.ip(),
        client.port(),
        listener.ip(),
        listener.port()
    )
}

/// The headers that name a client, so far.
fn clients(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().filter(|header| header != "LOCAL").collect()
}

#[test]
fn each_connection_names_one_client_and_serves_no_other() {
    for version in ["v1", "v2"] {
        let (origin, told) = upstream();
        let proxy = Proxy::start(&gateway(origin.address, version));
        // That of the health check.
        assert_eq!(told.recv_timeout(Duration::from_secs(15)).unwrap(), "LOCAL");
        let (mut one, mut other) = (proxy.connect(), proxy.connect());
        for _ in 0..3 {
            for wire in [&mut one, &mut other] {
                assert_eq!(wire.exchange(get()).text(), named(wire), "{version}");
            }
        }
        let expected = [named(&one), named(&other)];
        // A client's requests share its connection, and it is not more than that.
        assert_eq!(clients(&told), expected, "{version}");
        // Also when the connection of a client that has gone is idle at the upstream.
        drop(one);
        let mut third = proxy.connect();
        assert_eq!(third.exchange(get()).text(), named(&third), "{version}");
        assert_eq!(clients(&told), [named(&third)], "{version}");
        let shown = format!("{} with PROXY {version}", origin.address);
        let series = format!("tollgate_upstream_up{{upstream=\"{shown}\"}}");
        assert_eq!(proxy.metric(&series), 1);
    }
}

/// A new connection from the port of one that has ended is another client's, for all that is known.
#[test]
fn a_port_that_is_used_again_gets_a_connection_of_its_own() {
    let (origin, told) = upstream();
    // One thread, so that a connection that it may use would be used.
    let proxy = Setup::new()
        .server("threads: 1\n")
        .config(&gateway(origin.address, "v2"))
        .start();
    let port = Port::reserve();
    let client = |_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // The port is free at once.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&port.address.into())?;
        socket.connect(&proxy.address.into())?;
        Wire::new(socket.into())
    };
    let ports: Vec<_> = (0..2)
        .map(|number| {
            let mut wire = eventually("the port", || client(number).ok());
            assert_eq!(wire.exchange(get()).text(), named(&wire));
            named(&wire)
        })
        .collect();
    assert_eq!(ports[0], ports[1]);
    assert_eq!(clients(&told), ports);
}

#[test]
fn websockets_and_streams_of_http2_are_named_too() {
    let (origin, told) = upstream();
    let proxy = Proxy::start(&gateway(origin.address, "v1"));
    let mut wire = proxy.connect();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let handshake = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}{upgrade}\r\n", auth());
    assert_eq!(wire.exchange(handshake).status(), 101);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    assert_eq!(clients(&told), [named(&wire)]);
    let url = format!("http://{0}/", proxy.address);
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let ask = [
        "--http2-prior-knowledge",
        "--basic",
        "-u",
        &user,
        "-w",
        "\n%{local_port}\n",
    ];
    let outcome = curl(&[&ask[..], &[&url]].concat());
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let header = format!("127.0.0.1 {} > 127.0.0.1 {}", lines[1], proxy.port());
    assert_eq!(lines[0], header);
    assert_eq!(clients(&told), [header]);
}

/// An upstream that closes each connection when it is asked again gets the header on the next one as well.
#[test]
fn a_request_that_is_sent_again_is_named_again() {
    let (tell, told) = channel();
    let origin = Origin::raw(move |mut wire, _| {
        tell.send(read_header(&mut Bytes(&mut wire))?).unwrap();
        if wire.request()?.is_some() {
            wire.send(ok("once"))?;
            wire.request()?;
        }
        Ok(())
    });
    let proxy = Proxy::start(&gateway(origin.address, "v2"));
    let mut wire = proxy.connect();
    for _ in 0..3 {
        assert_eq!(wire.exchange(get()).text(), "once");
    }
    assert_eq!(clients(&told), vec![named(&wire); 3]);
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&["backend.test"]);
    let names = Dns::table(&[("backend.test", &["127.0.0.1"])]);
    let config = identity.server();
    let (tell, told) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let (config, tell) = (config.clone(), tell.clone());
            std::thread::spawn(move || -> io::Result<()> {
                tell.send(read_header(&mut socket)?).unwrap();
                let tls = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
                let stream = rustls::StreamOwned::new(tls, socket.try_clone()?);
                let mut wire = Wire::over(Box::new(stream), socket)?;
                while let Some(request) = wire.request()? {
                    wire.send(ok(request.head.target()))?;
                }
                Ok(())
            });
        }
    });
    let proxy = Setup::new()
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem\n")
        .config(&names.config())
        .config(&gateway(
            format!("https://backend.test:{}", address.port()),
            "v2",
        ))
        .start();
    let mut wire = proxy.connect();
    eventually("the look-up", || {
        (wire.exchange(get()).status() == 200).then_some(())
    });
    let expected = named(&wire);
    assert_eq!(clients(&told).last(), Some(&expected));
    let handshake = get().replace("Host", "Connection: Upgrade\r\nUpgrade: websocket\r\nHost");
    assert_eq!(proxy.connect().exchange(handshake).text(), "/");
}

/// The client that a load balancer names is named on; its family may be another one than that of the listener.
#[test]
fn a_client_behind_a_load_balancer_is_passed_on() {
    let (origin, told) = upstream();
    let proxy = Setup::new()
        .proxy_protocol()
        .config(&gateway(origin.address, "v2"))
        .start();
    for (sent, client) in [
        (
            "PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\r\n",
            "192.0.2.77 5000 > 127.0.0.1",
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 5000 443\r\n",
            "2001:db8::7 5000 > ::ffff:127.0.0.1",
        ),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!("{sent}{}", get())).unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), 200);
        assert_eq!(clients(&told), [format!("{client} {}", proxy.port())]);
    }
}

/// A pool says so for itself, and its server is another one than the same address without a header.
#[test]
fn pools_differ_and_sockets_have_the_header_of_the_client() {
    let plain = Origin::ok("plain");
    let setup = Setup::new();
    let path = setup.path("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            tell.send(read_header(&mut stream).unwrap()).unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it > 0) {
                request.extend(byte);
            }
            if !request.is_empty() {
                stream.write_all(&ok("socket")).unwrap();
            }
        }
    });
    let yaml = format!(
        "gateway:\n  upstreams: [\"{}\"]\n  pools:\n    - {{ name: s, path: /s, upstreams: [\"unix:{}\"], proxy_protocol: v1 }}\n{CALM}",
        plain.address,
        path.display()
    );
    let proxy = setup.config(&yaml).start();
    assert_eq!(told.recv_timeout(Duration::from_secs(15)).unwrap(), "LOCAL");
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(get()).text(), "plain");
    let socket = wire.exchange(get().replace("GET / ", "GET /s "));
    assert_eq!(socket.text(), "socket");
    assert_eq!(
        told.recv_timeout(Duration::from_secs(15)).unwrap(),
        named(&wire)
    );
}

/// A program with a configuration of its own, until dropped.
struct Server(
    Child,
    #[expect(dead_code, reason = "removed with it")] TempDir,
);

impl Server {
    fn start(program: &str, arguments: &[&str], config: &str, directory: TempDir) -> Self {
        let file = directory.path().join("server.conf");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap(), directory)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn nginx(port: &Port) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;
         events {{ worker_connections 64; }}
         http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;
             uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
             server {{ listen {1} proxy_protocol;
                 location / {{ return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port'; }} }} }}",
        directory.path().display(),
        port.address
    );
    let log = directory.path().join("error.log");
    Server::start(
        "nginx",
        &["-e", log.to_str().unwrap(), "-c"],
        &config,
        directory,
    )
}

fn haproxy(port: &Port) -> Server {
    let config = format!(
        "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 10s\n\
         frontend f\n  bind {} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string '%[src] %[src_port] %[dst_port]'\n",
        port.address
    );
    Server::start(
        "haproxy",
        &["-db", "-f"],
        &config,
        tempfile::tempdir().unwrap(),
    )
}

/// nginx and HAProxy read what is written, with HAProxy's `send-proxy-v2` in front as well.
#[test]
fn nginx_and_haproxy_know_the_client() {
    let mut servers: Vec<fn(&Port) -> Server> = vec![nginx];
    let has_haproxy = is_installed(&["haproxy", "-v"]);
    if has_haproxy {
        servers.push(haproxy);
    }
    for (start, version) in servers
        .iter()
        .flat_map(|start| ["v1", "v2"].map(|it| (start, it)))
    {
        let port = Port::reserve();
        let _server = start(&port);
        eventually("the server to listen", || {
            std::net::TcpStream::connect(port.address).ok()
        });
        let proxy = Setup::new()
            .proxy_protocol()
            .config(&gateway(port.address, version))
            .start();
        let mut wire = proxy.connect();
        wire.send(format!(
            "PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\r\n{}",
            get()
        ))
        .unwrap();
        let answer = wire.response("GET").unwrap();
        assert_eq!(
            answer.text(),
            format!("192.0.2.77 5000 {}", proxy.port()),
            "{version}"
        );
        if !has_haproxy {
            continue;
        }
        let front = Port::reserve();
        let config = format!(
            "defaults\n  mode tcp\n  timeout client 10s\n  timeout server 10s\n  timeout connect 10s\n\
             listen l\n  bind {}\n  server s {} send-proxy-v2\n",
            front.address, proxy.address
        );
        let _front = Server::start(
            "haproxy",
            &["-db", "-f"],
            &config,
            tempfile::tempdir().unwrap(),
        );
        let mut wire = eventually("HAProxy in front", || Wire::connect(front.address).ok());
        let port = wire.socket().local_addr().unwrap().port();
        let answer = wire.exchange(get());
        assert_eq!(
            answer.text(),
            format!("127.0.0.1 {port} {}", proxy.port()),
            "{version}"
        );
    }
}

/// Without the key, a connection begins with a request.
#[test]
fn no_header_unless_it_is_asked_for() {
    let origin = Origin::ok("plain");
    let proxy = Proxy::start(&gateway(origin.address, "none"));
    assert_output(
        &curl(&[
            "-u",
            &format!("{}:{}", ALICE.0, ALICE.1),
            &format!("http://{}/", proxy.address),
        ]),
        "plain",
    );
}
