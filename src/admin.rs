//! The admin service: metrics for Prometheus, statistics as JSON, balances of quotas, and reloading.
//!
//! It has no authentication, so it should listen on an address that only
//! operators reach; the checks of `Host` and `Origin` prevent attacks through a browser
//! on such a machine. A client can only cause a reload of the files on
//! the disk, and change balances.

pub mod certificates;
mod client;
mod page;
mod places;
mod quotas;
pub mod reload;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use http::{HeaderName, Method, Response, StatusCode};
use pingora_core::apps::ServerApp;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::ShutdownWatch;
use serde_json::json;

pub use self::client::{Changes, ReloadAnswer, reload};
pub use self::places::MAX_CONNECTIONS;
use self::places::Places;
use crate::access::client::Client;
use crate::admin::reload::{Reload, ReloadError};
use crate::balances::Balances;
use crate::telemetry::{METRICS_CONTENT_TYPE, STATS_CONTENT_TYPE, Telemetry};
use crate::upstream::dial::EXHAUSTED_PAUSE;

/// Serves `/metrics`, `/stats`, `/quotas` and `/reload`.
pub struct Admin {
    telemetry: Arc<Telemetry>,
    reload: Arc<Reload>,
    balances: Arc<Balances>,
    places: Places,
}

impl Admin {
    /// A service for these metrics, this reload and these balances.
    pub fn new(telemetry: Arc<Telemetry>, reload: Arc<Reload>, balances: Arc<Balances>) -> Self {
        Self {
            telemetry,
            reload,
            balances,
            places: Places::new(),
        }
    }

    /// Serves one connection, in its turn.
    pub async fn serve(
        self: &Arc<Self>,
        stream: Stream,
        peer: SocketAddr,
        draining: ShutdownWatch,
    ) {
        let mut stopped = draining.clone();
        let served = async {
            if let Some(_place) = self.places.enter(Client::site(peer.ip())).await {
                ServerApp::process_new(self, Box::new(stream), &draining).await;
            }
        };
        tokio::select! {
            () = served => {}
            // A scraper that keeps its connection must not delay the shutdown.
            _ = stopped.wait_for(|draining| *draining) => {}
        }
    }

    async fn render(&self, path: &str) -> Option<(&'static str, String)> {
        let telemetry = Arc::clone(&self.telemetry);
        // Rendering reads /proc and visits every series.
        let render = match path {
            "/metrics" => tokio::task::spawn_blocking(move || {
                (METRICS_CONTENT_TYPE, telemetry.render_metrics())
            }),
            "/stats" => {
                tokio::task::spawn_blocking(move || (STATS_CONTENT_TYPE, telemetry.render_stats()))
            }
            _ => return None,
        };
        render.await.ok()
    }

    /// Reloads, and answers with the outcome: 200 with the numbers and the changed keys, 422 with
    /// the errors of the files, when nothing was changed. The result is `partial` when a
    /// changed key needs a restart.
    async fn reload(&self) -> Response<Vec<u8>> {
        let (status, outcome) = match self.reload.run("admin").await {
            Ok(summary) => {
                let changes = &summary.changes;
                let complete = changes.are_complete();
                let mut outcome = json!({
                    "result": if complete { "success" } else { "partial" },
                    "users": summary.users,
                    "rules": summary.rules,
                    "applied": changes.applied,
                    "restart_needed": changes.restart_needed,
                    "not_compared": changes.not_compared,
                });
                if summary.left_out > 0
                    && let Some(fields) = outcome.as_object_mut()
                {
                    fields.insert("left_out".to_owned(), summary.left_out.into());
                }
                (StatusCode::OK, outcome)
            }
            Err(ReloadError::Config(error)) => {
                let problems: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
                let unlisted = error.unlisted();
                (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    json!({"result": "failure", "problems": problems, "unlisted": unlisted}),
                )
            }
            Err(error @ ReloadError::OutOfDescriptors) => {
                let outcome =
                    json!({"result": "failure", "problems": [error.to_string()], "unlisted": 0});
                let body = format!("{outcome}\n");
                let mut answer = respond(StatusCode::SERVICE_UNAVAILABLE, "application/json", body);
                let pause = EXHAUSTED_PAUSE.as_secs().to_string();
                set(&mut answer, RETRY_AFTER, &pause);
                return answer;
            }
            Err(ReloadError::System(error)) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({"result": "failure", "problems": [error], "unlisted": 0}),
            ),
        };
        respond(status, "application/json", format!("{outcome}\n"))
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let method = request.method.clone();
        let path = request.uri.path().to_owned();
        let host = request.headers.get(HOST).map(|value| value.as_bytes());
        if !is_direct(host) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "the Host field must be an address or localhost\n",
            );
        }
        let query = request.uri.query().map(str::to_owned);
        if path == "/reload" || quotas::is_change(&path) {
            // A page of any site can make a browser send a POST here, but only with this field.
            if request.headers.contains_key(ORIGIN) {
                return text(
                    StatusCode::FORBIDDEN,
                    "requests with an Origin field are refused\n",
                );
            }
            if method != Method::POST {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
                set(&mut answer, ALLOW, "POST");
                return answer;
            }
            return match path.as_str() {
                "/reload" => self.reload().await,
                path => quotas::change(&self.balances, path, query.as_deref()).await,
            };
        }
        if method != Method::GET && method != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            set(&mut answer, ALLOW, "GET, HEAD");
            return answer;
        }
        if path == quotas::LIST {
            return quotas::list(&self.balances, query.as_deref()).await;
        }
        match self.render(&path).await {
            Some((content_type, body)) => respond(StatusCode::OK, content_type, body),
            None => text(
                StatusCode::NOT_FOUND,
                "try /metrics, /stats, /quotas, POST /reload, POST /quotas/reset or POST /quotas/grant\n",
            ),
        }
    }
}

/// Whether `Host` is an address or localhost. A page whose name
/// resolves to this machine (DNS rebinding) sends that name.
fn is_direct(host: Option<&[u8]>) -> bool {
    let Some(host) = host.and_then(|host| std::str::from_utf8(host).ok()) else {
        return host.is_none();
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    respond(status, "text/plain; charset=utf-8", body.to_owned())
}

fn respond(status: StatusCode, content_type: &str, body: String) -> Response<Vec<u8>> {
    let mut answer = Response::new(body.into_bytes());
    *answer.status_mut() = status;
    let length = answer.body().len().to_string();
    set(&mut answer, CONTENT_TYPE, content_type);
    set(&mut answer, CONTENT_LENGTH, &length);
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

fn set(answer: &mut Response<Vec<u8>>, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_direct() {
        for host in [
            "127.0.0.1:9188",
            "127.0.0.1",
            "[::1]:9188",
            "localhost:1",
            "LOCALHOST",
        ] {
            assert!(is_direct(Some(host.as_bytes())), "{host}");
        }
        for host in [
            "evil.example:9188",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil",
            "\u{ff}",
        ] {
            assert!(!is_direct(Some(host.as_bytes())), "{host}");
        }
        assert!(is_direct(None));
        assert!(!is_direct(Some(b"\xff")));
    }
}
