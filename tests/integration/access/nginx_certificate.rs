//! nginx in front with a certificate of its own (`proxy_ssl_certificate`), which is the user.

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::peers::{Peer, files};
use crate::support::proxy::Setup;
use crate::support::tls::{Authority, Identity};

/// nginx that passes all on to the TLS listener, with these lines more.
fn nginx(to: std::net::SocketAddr, ours: &Authority, shown: Option<&Identity>) -> Peer {
    let certificate = match shown {
        Some(_) => {
            "proxy_ssl_certificate DIR/client.pem; proxy_ssl_certificate_key DIR/client.key;"
        }
        None => "",
    };
    let config = format!(
        "server {{ listen PORT; location / {{ proxy_pass https://{to}; {certificate}
             proxy_ssl_trusted_certificate DIR/ca.pem; proxy_ssl_verify on; proxy_ssl_name proxy.test;
             proxy_ssl_server_name on; proxy_http_version 1.1; proxy_set_header Connection \"\";
             proxy_set_header Host proxy.test; }} }}"
    );
    let authority = ours.pem();
    let mut all = vec![("ca.pem", authority.as_str())];
    if let Some(shown) = shown {
        all.extend(files(shown, "client.pem", "client.key"));
    }
    Peer::nginx_with(&config, &all)
}

#[test]
fn nginx_is_the_user_that_its_certificate_names() {
    let (ours, theirs) = (Authority::new(), Authority::of_name("clients"));
    let upstream = Origin::ok("behind");
    let proxy = Setup::new()
        .file("clients.pem", theirs.pem())
        .secure_listener(
            &ours.issue(&["proxy.test"]),
            "tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem, certificate_user: san_dns }",
        )
        .config(&format!(
            "gateway: {{ upstreams: ['{}'], user_field: X-User }}
policy: {{ default: deny, rules: [{{ name: front, action: admit, users: [front.example] }}] }}",
            upstream.address
        ))
        .start();
    let get = "GET /a HTTP/1.1\r\nHost: site.test\r\n\r\n";
    let ask = |nginx: &Peer| {
        let mut wire = Wire::connect(nginx.port.address).unwrap();
        let answers = [(); 3].map(|()| wire.exchange(get));
        answers.map(|answer| (answer.status(), answer.text()))
    };
    let known = theirs.issue(&["front.example"]);
    let front = nginx(proxy.secure_address(), &ours, Some(&known));
    for (status, text) in ask(&front) {
        assert_eq!((status, text.as_str()), (200, "behind"), "{}", front.said());
    }
    assert_eq!(
        upstream.request().head.fields.value("x-user"),
        Some("front.example")
    );
    let record = proxy.wait_records(3).remove(2);
    assert_eq!(record["user"], "front.example", "{record}");
    // Another user, who may do nothing.
    let other = theirs.issue(&["other.example"]);
    let front = nginx(proxy.secure_address(), &ours, Some(&other));
    assert_eq!(ask(&front)[0].0, 403, "{}", front.said());
    // One of another authority, and none: the handshake fails, and nginx answers itself.
    let stranger = Authority::of_name("strangers").issue(&["front.example"]);
    for shown in [Some(&stranger), None] {
        let front = nginx(proxy.secure_address(), &ours, shown);
        assert_eq!(ask(&front)[0].0, 502, "{}", front.said());
    }
    assert_eq!(upstream.requests().len(), 3);
}
