//! `POST /api/v1/explain`: why the running process would admit or deny a request.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::admin::answer::Answer;
use crate::admin::routes::Call;

/// Explanations at once: each takes a thread, and may wait for name servers.
const AT_ONCE: usize = 4;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// A request to be explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A URL, `host:port` for a tunnel, or a path for the gateway.
    pub target: String,
    /// The user; by default the one that the client is without credentials.
    pub user: Option<String>,
    /// The client's address.
    #[serde(default = "loopback")]
    pub client: IpAddr,
    /// The method of a forwarded request.
    pub method: Option<String>,
    /// Fields of the request, each as `name: value`.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Groups that the token of the user says, or the authoriser.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Claims of that token, each as `name=text`.
    #[serde(default)]
    pub claims: Vec<String>,
    /// The addresses of the target's name; by default they are looked up.
    #[serde(default)]
    pub resolve: Vec<IpAddr>,
    /// The time of the request (RFC 3339); by default now.
    pub time: Option<String>,
    /// The status of a response, for which scripts are called too.
    pub status: Option<u16>,
    /// The name of the host in a ClientHello in the tunnel, or an empty text for none.
    pub sni: Option<String>,
    /// The protocols that the ClientHello offers.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// The fingerprint of the client.
    pub ja4: Option<String>,
    /// Whether there is an encrypted ClientHello inside.
    #[serde(default)]
    pub ech: bool,
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// What explains requests. It is in a layer above this one.
pub trait Explain: Send + Sync {
    /// The explanation, as `tollgate explain --json` prints it, with `notes`. Blocks, on a thread of a runtime.
    ///
    /// # Errors
    /// The question cannot be read, with the reason.
    fn explain(&self, question: &Question) -> Result<Value, String>;
}

/// Answers a question.
pub(in crate::admin) async fn explain(call: Call<'_>) -> Answer {
    let question: Question = match super::read(&call) {
        Ok(question) => question,
        Err(answer) => return answer,
    };
    let Ok(place) = PLACES.acquire().await else {
        return Answer::internal();
    };
    let explain = Arc::clone(&call.admin.explain);
    let explained = tokio::task::spawn_blocking(move || {
        let explained = explain.explain(&question);
        drop(place);
        explained
    });
    match explained.await {
        Ok(Ok(explanation)) => Answer::json(&explanation),
        Ok(Err(message)) => Answer::malformed(message),
        Err(_) => Answer::internal(),
    }
}
