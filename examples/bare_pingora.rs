//! A bare Pingora proxy with the same check as Tollgate's gateway: the yardstick
//! for what Tollgate adds to its framework.
//!
//! ```text
//! bare_pingora LISTEN UPSTREAM CREDENTIALS-FIELD THREADS
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare {
    upstream: SocketAddr,
    credentials: String,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        let given = session.get_header("proxy-authorization");
        if given.is_some_and(|value| value.as_bytes() == self.credentials.as_bytes()) {
            return Ok(false);
        }
        let mut head = ResponseHeader::build(407, Some(2))?;
        head.insert_header("Proxy-Authenticate", "Basic realm=\"bare\"")?;
        head.insert_header("Content-Length", "0")?;
        session.write_response_header(Box::new(head), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: bare_pingora LISTEN UPSTREAM CREDENTIALS-FIELD THREADS";
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or(usage);
    let listen = next()?;
    let upstream = next()?.parse()?;
    let credentials = next()?;
    let threads = next()?.parse()?;
    let conf = Arc::new(ServerConf {
        threads,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    });
    let mut server = Server::new_with_opt_and_conf(
        None,
        ServerConf {
            threads,
            ..ServerConf::default()
        },
    );
    server.bootstrap();
    let app = Bare {
        upstream,
        credentials,
    };
    let mut service = pingora_proxy::http_proxy_service(&conf, app);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
