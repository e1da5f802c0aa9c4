//! Chromium, driven by the Chrome DevTools Protocol over its WebSocket: one page, what it says of itself, and pictures.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::command::is_installed;
use super::programs::command;
use super::{DEADLINE, within};

/// A browser with one page. It ends when this goes out of scope.
pub(crate) struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    session: Value,
    last: u64,
    /// What the browser has told of the page so far.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// What a page has to do in each document before its own scripts run: keep the reports of its policy.
const LISTEN: &str = "window.reports = []; document.addEventListener('securitypolicyviolation', \
    (event) => window.reports.push(event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sourceFile));";

impl Browser {
    /// Starts Chromium; none where it is not installed, which is a failure under CI.
    pub(crate) fn start() -> Option<Self> {
        if !is_installed(&["chromium", "--version"]) {
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let process = command("chromium")
            .env("HOME", profile.path())
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--no-proxy-server", "--no-first-run", "--hide-scrollbars"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            // Pages of a hidden window are slowed down.
            .args([
                "--disable-renderer-backgrounding",
                "--disable-background-timer-throttling",
            ])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = profile.path().join("DevToolsActivePort");
        let place = within(DEADLINE * 2, || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.trim_end().split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.to_owned()))
        });
        let (port, path) = place.expect("Chromium opens its port");
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        let mut browser = Self {
            process,
            socket,
            session: Value::Null,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let listen = json!({"source": LISTEN});
        browser.call("Page.addScriptToEvaluateOnNewDocument", listen);
        Some(browser)
    }

    /// Calls a method of the protocol.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.try_call(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut call = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_null() {
            call["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(call.to_string())).unwrap();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "{method}: no answer");
            let message = self.socket.read();
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            let Ok(text) = message.to_text() else {
                continue;
            };
            let mut message: Value = serde_json::from_str(text).unwrap();
            if message["id"] != self.last {
                self.events.push(message);
                continue;
            }
            return match message["error"].take() {
                Value::Null => Ok(message["result"].take()),
                error => Err(error),
            };
        }
    }

    /// The value of an expression, or of its promise.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        // A page that loads itself again takes what is being evaluated with it.
        let evaluated = within(DEADLINE, || {
            match self.try_call("Runtime.evaluate", parameters.clone()) {
                Ok(result) => Some(result),
                Err(error) => {
                    let text = error.to_string();
                    let is_gone = text.contains("navigated") || text.contains("context");
                    assert!(is_gone, "{expression}: {text}");
                    None
                }
            }
        });
        let mut result = evaluated.unwrap_or_else(|| panic!("{expression}: no page"));
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, expression: &str) {
        let found = within(DEADLINE, || {
            (self.evaluate(expression) == true).then_some(())
        });
        if found.is_none() {
            let text = self.evaluate("document.body.innerText.slice(0, 3000)");
            panic!(
                "never true: {expression}\n{}\n{:?}",
                text.as_str().unwrap_or(""),
                self.complaints()
            );
        }
    }

    /// Opens a URL, with the window as wide and high as that.
    pub(crate) fn open(&mut self, url: &str, width: u32, height: u32) {
        self.resize(width, height);
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait("document.readyState === 'complete'");
    }

    /// Gives the window another size.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Chooses `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// Runs no script of pages from now on, or runs them again.
    pub(crate) fn disable_scripts(&mut self, disabled: bool) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": disabled}),
        );
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => panic!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// A picture of the window (PNG).
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// The URLs of all requests so far.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        self.evaluate("0");
        let requests = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        requests
            .map(|event| {
                event["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// Everything that the browser has complained of so far: exceptions, errors and warnings of the console, and
    /// reports of the content security policy.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let reports = self.evaluate("window.reports ?? []");
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => ["error", "warning", "assert"]
                .iter()
                .any(|kind| event["params"]["type"] == *kind),
            Some("Log.entryAdded") => ["error", "warning"]
                .iter()
                .any(|level| event["params"]["entry"]["level"] == *level),
            _ => false,
        };
        let events = self
            .events
            .iter()
            .filter(is_complaint)
            .map(Value::to_string);
        let reports = reports
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string);
        events.chain(reports).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it only when it ends by itself.
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        let asked = self.socket.send(Message::text(close)).is_ok();
        if asked && within(DEADLINE, || self.process.try_wait().ok().flatten()).is_some() {
            return;
        }
        let _already_gone = self.process.kill();
        let _status = self.process.wait();
    }
}
