//! Real peers of WebSockets over HTTP/2: a server of Python, and Chromium.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::command::{is_installed, python_with, run as run_program};
use crate::support::eventually;
use crate::support::http2::{Client, read_all, read_bytes, run, send_all};
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::peers::Peer;
use crate::support::programs;
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::Authority;
use crate::support::websocket::{accept, extended, open, switching};

/// A real server of WebSockets, which insists on each field of the handshake.
#[test]
fn python_s_websockets_is_a_server() {
    let Some(python) = python_with("websockets") else {
        return;
    };
    let script = "
import asyncio, sys, websockets
async def echo(socket, *_):
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, '127.0.0.1', int(sys.argv[1]), subprotocols=['chat']):
        await asyncio.Future()
asyncio.run(main())";
    let server = Peer::python(python, script);
    let proxy = Proxy::plain();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let fields = [
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ];
        let uri = format!("http://{}/", server.port.address);
        let request = extended("websocket", &uri, &fields);
        let (head, mut send, mut receive) = open(&mut client, request).await;
        assert_eq!(head["sec-websocket-protocol"], "chat");
        // A text frame of two letters, masked with zeros (RFC 6455 §5.2), and a close frame.
        send_all(&mut send, b"\x81\x82\0\0\0\0hi", false)
            .await
            .unwrap();
        let frame = read_bytes(&mut receive, 2).await;
        assert_eq!(frame[0] & 0x8f, 0x81, "{frame:?}");
        send_all(&mut send, b"\x88\x82\0\0\0\0\x03\xe8", false)
            .await
            .unwrap();
        let rest = read_all(&mut receive).await.unwrap();
        assert!(rest.ends_with(b"\x88\x02\x03\xe8"), "{rest:?}");
        send_all(&mut send, b"", true).await.unwrap();
        let is_its = |it: &Value| it["end_reason"] == "complete" && it["version"] == "HTTP/2.0";
        proxy.record("it", is_its);
    });
}

/// Chromium opens a WebSocket on the HTTP/2 connection that it has, once it has seen the setting.
#[test]
fn chromium_uses_the_connection_that_it_has() {
    if !is_installed(&["chromium", "--version"]) {
        return;
    }
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    // The page is whole when its image has come, which the server holds back until it has heard from the page.
    let page = "<title>page</title><body><script>
        const socket = new WebSocket('wss://' + location.host + '/socket');
        socket.onmessage = event => {
            document.body.append('heard ' + event.data);
            socket.send('thanks');
        };
    </script><img src=/image></body>";
    let heard = Arc::new(AtomicBool::new(false));
    let upstream = Origin::raw(move |mut wire, _| {
        while let Some(head) = wire.read_head()? {
            if head.target() == "/socket" {
                wire.send(switching(&accept(&head), ""))?;
                wire.send(b"\x81\x05hello")?;
                // A text frame of six letters, with its mask.
                wire.read_bytes(12)?;
                heard.store(true, Ordering::SeqCst);
                return wire.read_to_end().map(drop);
            }
            if head.target() == "/image" {
                eventually("the page's word", || {
                    heard.load(Ordering::SeqCst).then_some(())
                });
            }
            wire.send(response("200 OK", "Content-Type: text/html\r\n", page))?;
        }
        Ok(())
    });
    let setup = Setup::new().tls(&identity).config(&format!(
        "gateway: {{ upstreams: ['{}'] }}
auth: {{ trusted_networks: [{{ networks: ['127.0.0.0/8'], user: alice }}] }}",
        upstream.address
    ));
    let home = setup.path("chromium");
    std::fs::create_dir(&home).unwrap();
    let proxy = setup.start();
    let mut browser = programs::command("chromium");
    browser
        .env("HOME", &home)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--no-proxy-server", "--ignore-certificate-errors"])
        .arg("--dump-dom")
        .arg(format!("--user-data-dir={}", home.display()))
        .arg(format!(
            "https://127.0.0.1:{}/",
            proxy.secure_address().port()
        ));
    let outcome = run_program(&mut browser, "");
    assert!(
        outcome.stdout.contains("heard hello"),
        "{}",
        outcome.output()
    );
    let record = proxy.record("the WebSocket", |it| it["target"] == "/socket");
    assert_eq!(record["version"], "HTTP/2.0", "{record}");
    assert_eq!(record["status"], 200, "{record}");
}
