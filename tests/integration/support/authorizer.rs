//! Services that decide about requests, for `auth.external`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::message::{Request, response};
use super::origin::Origin;
use super::programs::command;
use super::proxy::{Proxy, Setup};

/// An answer in JSON.
pub(crate) fn answer(content: &Value) -> Vec<u8> {
    response("200 OK", "", content.to_string())
}

/// The content of a question.
pub(crate) fn question(request: &Request) -> Value {
    serde_json::from_slice(&request.body)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&request.body)))
}

/// A service that answers with what `decide` makes of a question.
pub(crate) fn service(decide: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Origin {
    Origin::http(move |request| answer(&decide(&question(request))))
}

/// One that admits all.
pub(crate) fn admitting() -> Origin {
    service(|_| json!({ "allow": true }))
}

/// The questions so far.
pub(crate) fn questions(service: &Origin) -> Vec<Value> {
    service.requests().iter().map(question).collect()
}

/// The configuration with this service; `keys` are further ones of `external`.
pub(crate) fn config(service: &Origin, keys: &str) -> String {
    let url = format!("http://{}/check?key=k", service.address);
    format!("auth: {{ external: {{ url: \"{url}\", {keys} }} }}")
}

/// A proxy with this service.
pub(crate) fn proxy(service: &Origin, keys: &str) -> Proxy {
    Setup::new().config(&config(service, keys)).start()
}

/// A setup of a proxy where these rules, and no other, admit and ask this service.
pub(crate) fn asked_by(service: &Origin, keys: &str, rules: &str) -> Setup {
    let keys = format!("ask: rule{keys}");
    Setup::new()
        .config(&config(service, &keys))
        .config(&format!("policy: {{ default: deny, rules: [{rules}] }}"))
}

/// A service in Python, ended with its value.
pub(crate) struct PythonService {
    process: Child,
    pub(crate) port: u16,
}

impl PythonService {
    /// Runs a program that prints its port in a line.
    pub(crate) fn start(program: &str) -> Self {
        let mut python: Command = command("python3");
        let mut process = python
            .args(["-u", "-c", program])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        Self {
            process,
            port: line.trim().parse().unwrap(),
        }
    }
}

impl Drop for PythonService {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
