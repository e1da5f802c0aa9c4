//! A running proxy that is replaced by the next one, and clients that ask all the time.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::client::Wire;
use super::command::successor;
use super::proxy::Proxy;

/// The next program of the same configuration.
pub(crate) struct Successor(Child);

impl Successor {
    pub(crate) fn start(proxy: &Proxy) -> Self {
        let child = Command::new(successor())
            .args(["-u", "-c"])
            .arg(proxy.path("pingora.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What clients saw who never stopped asking.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) stop: AtomicBool,
    pub(crate) served: AtomicUsize,
    pub(crate) failed: Mutex<Vec<String>>,
}

impl Load {
    fn fail(&self, text: String) {
        self.failed.lock().unwrap().push(text);
    }

    /// A new connection for each request: none may be refused, none may fail.
    pub(crate) fn new_connections(&self, address: SocketAddr, request: &str) {
        while !self.stop.load(Ordering::SeqCst) {
            let served = Wire::connect(address).and_then(|mut wire| {
                wire.send(request)?;
                wire.response("GET")
            });
            match served {
                Ok(answer) if answer.status() == 200 => {
                    self.served.fetch_add(1, Ordering::SeqCst);
                }
                Ok(answer) => self.fail(answer.head.start),
                Err(error) => self.fail(format!("new connection: {error}")),
            }
        }
    }

    /// One connection until it is told to close by an answer.
    pub(crate) fn kept_connections(&self, address: SocketAddr, request: &str) {
        while !self.stop.load(Ordering::SeqCst) {
            let Ok(mut wire) = Wire::connect(address) else {
                self.fail("kept connection: refused".to_owned());
                continue;
            };
            for number in 0.. {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                let answer = wire.send(request).and_then(|()| wire.response("GET"));
                match answer {
                    Ok(answer) if answer.status() == 200 => {
                        self.served.fetch_add(1, Ordering::SeqCst);
                        if answer.head.fields.lists("connection", "close") {
                            break;
                        }
                    }
                    Ok(answer) => self.fail(answer.head.start),
                    Err(error) => {
                        self.fail(format!("kept connection, request {number}: {error}"));
                        break;
                    }
                }
            }
        }
    }
}
