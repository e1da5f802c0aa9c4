//! What Pingora's hooks refuse by themselves.

use super::*;
use crate::client::ConnectionReturn;
use crate::config::Config;
use crate::hook::HookSet;
use crate::http::credentials::Credentials;
use crate::request::facts::{Arrival, Request, Source};
use crate::request::outcome::Exchange;
use crate::request::request_id::RequestId;

fn forward() -> Forward {
    let directory = tempfile::tempdir().unwrap();
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/users.htpasswd");
    let yaml = format!(
        "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n  auth: {{htpasswd: '{users}'}}\n  \
         gateway: {{upstreams: ['127.0.0.1:81']}}\n  log: {{access: 'off'}}\n"
    );
    let path = directory.path().join("f.yaml");
    std::fs::write(&path, yaml).unwrap();
    Forward::new(App::new(&Config::load(&path).unwrap(), HookSet::default()).unwrap())
}

fn context(request: Request) -> Context {
    let exchange = Exchange::new(request, Credentials::Missing);
    Context(Some(Box::new(Forwarded::new(
        exchange,
        Arc::new(ConnectionReturn::default()),
    ))))
}

/// No hook but `request_filter` admits: a request that did not pass it goes nowhere.
#[tokio::test]
async fn a_request_that_was_not_admitted_gets_no_peer() {
    let forward = forward();
    let (stream, _client) = tokio::io::duplex(1024);
    let mut session = Session::new_h1(Box::new(stream));
    let source = Source {
        client: ([127, 0, 0, 1], 9).into(),
        listener: None,
        connection: 1,
        tls: false,
        thread: 0,
        certificate: None,
    };
    let mut request = Request::unread(RequestId::new(1), source, Arrival::now());
    request.role = Some(Role::Gateway);
    for mut context in [context(request), Context::default()] {
        let peer = forward.upstream_peer(&mut session, &mut context).await;
        let error = failure::classify(&peer.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
