//! A host that has no local port left: each kind of request gets 503 and the time to come back, the log one line.
//!
//! The range of local ports belongs to a network namespace, so the test runs in one of its own.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use crate::support::client::Wire;
use crate::support::command::is_root;
use crate::support::command::run;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, auth, connect, fetch, request_of};

/// Set where the test is in its own namespace.
const INSIDE: &str = "TOLLGATE_TEST_NAMESPACE";

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// How many ports are left.
const PORTS: u16 = 4;

/// Ports that nothing else has: below those that are given out by themselves.
const FIRST: u16 = 20_000;

#[cfg(target_os = "linux")]
#[test]
fn each_kind_of_request_gets_503_until_there_are_ports_again() {
    // Its name without that of the crate.
    let path = concat!(
        module_path!(),
        "::each_kind_of_request_gets_503_until_there_are_ports_again"
    );
    let (_, test) = path.split_once("::").unwrap();
    if std::env::var_os(INSIDE).is_some() {
        return exhaust();
    }
    if !is_root(test) {
        return;
    }
    let script = "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture";
    let mut command = Command::new("unshare");
    command
        .args(["-n", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1");
    let outcome = run(&mut command, "");
    if outcome.stderr.starts_with("unshare: ") {
        eprintln!(
            "skipped: {test} needs a network namespace: {}",
            outcome.output()
        );
        return;
    }
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(outcome.stdout.contains("1 passed"), "{}", outcome.output());
}

fn websocket(target: &str, host: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        auth()
    )
}

fn exhaust() {
    let origin = Origin::ok("in");
    let dns = Dns::table(&[("name.example", &["127.0.0.1"])]);
    let proxy = Setup::new()
        .config(&dns.config())
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], health_check: {{ interval: 50ms }} }}",
            origin.address
        ))
        .start();
    let at = origin.address;
    let requests = [
        connect(at),
        fetch(&format!("http://{at}/")),
        request_of(ALICE, "GET", &format!("https://{at}/")),
        websocket(&format!("http://{at}/"), &at.to_string()),
        request_of(ALICE, "GET", "/page"),
        websocket("/page", "gate"),
        connect(format!("name.example:{}", at.port())),
        fetch(&format!("http://name.example:{}/", at.port())),
    ];
    // The clients need ports too.
    let mut wires: Vec<Wire> = requests.iter().map(|_| proxy.connect()).collect();
    let mut tunnels: Vec<Wire> = (0..PORTS).map(|_| proxy.connect()).collect();
    let mut late = proxy.connect();

    let range = fs::read_to_string(RANGE).unwrap();
    fs::write(RANGE, format!("{FIRST} {}", FIRST + PORTS - 1)).unwrap();
    let udp = |port| UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let datagrams: Vec<UdpSocket> = (FIRST..FIRST + PORTS).map(udp).collect();
    // The health check takes one for a moment, so the last of these may come too late for it.
    let mut open = 0;
    for tunnel in &mut tunnels {
        open += u16::from(tunnel.exchange(connect(at)).status() == 200);
    }
    assert!(open > 0, "{}", proxy.errors());

    for (wire, request) in wires.iter_mut().zip(&requests) {
        let answer = wire.exchange(request);
        assert_eq!(answer.status(), 503, "{request}: {}", answer.text());
        assert_eq!(answer.field("retry-after"), Some("1"), "{request}");
        let text = answer.text();
        assert!(text.contains("out_of_local_ports"), "{request}: {text}");
    }
    let errors = proxy.errors();
    let count = |text: &str| errors.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("requests get 503"), 1, "{errors}");
    assert_eq!(count("net.ipv4.ip_local_port_range"), 1, "{errors}");
    assert_eq!(count("is down") + count("does not answer"), 0, "{errors}");

    drop(datagrams);
    fs::write(RANGE, range).unwrap();
    assert_eq!(late.exchange(connect(at)).status(), 200);
    // What a name server could not be asked is remembered for a moment.
    let name = format!("name.example:{}", at.port());
    eventually("a name that is resolved again", || {
        (proxy.exchange(connect(&name)).status() == 200).then_some(())
    });
    assert_eq!(proxy.fetch(&format!("http://{at}/")).status(), 200);
    assert_eq!(
        proxy.exchange(request_of(ALICE, "GET", "/page")).status(),
        200
    );
}
