//! A real Redis with a directory and a port of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::command::is_installed;
use super::port::Port;
use super::{DEADLINE, eventually};

/// One redis-server on a loopback port.
pub(crate) struct Redis {
    process: Option<Child>,
    port: Port,
    pub(crate) directory: tempfile::TempDir,
    arguments: Vec<String>,
    password: Option<&'static str>,
}

impl Redis {
    /// Starts it. None where it is not installed, as [`is_installed`].
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[], None)
    }

    /// The same with arguments, and the password that they demand.
    pub(crate) fn start_with(arguments: &[&str], password: Option<&'static str>) -> Option<Self> {
        if !is_installed(&["redis-server", "--version"]) {
            return None;
        }
        let mut redis = Self {
            process: None,
            port: Port::reserve(),
            directory: tempfile::tempdir().unwrap(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            password,
        };
        redis.spawn();
        redis.wait();
        Some(redis)
    }

    fn spawn(&mut self) {
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.address.port().to_string(),
            ])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
    }

    fn wait(&mut self) {
        eventually("redis-server to answer", || {
            let ended = self.process.as_mut()?.try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ended: {ended:?}");
            self.try_ask(&["PING"])
                .filter(|answer| answer.starts_with("+PONG"))
        });
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.port.address)
    }

    /// The raw answer to a command.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap()
    }

    fn try_ask(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut request = String::new();
        let mut write = |words: &[&str]| {
            request.push_str(&format!("*{}\r\n", words.len()));
            for word in words {
                request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
            }
        };
        if let Some(password) = self.password {
            write(&["AUTH", password]);
        }
        write(words);
        write(&["QUIT"]);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let answer = match self.password {
            Some(_) => answer.strip_prefix("+OK\r\n").unwrap_or(&answer).to_owned(),
            None => answer,
        };
        Some(answer)
    }

    /// How many instances it knows.
    pub(crate) fn instances(&self) -> usize {
        let answer = self.ask(&["ZCARD", "tollgate:instances"]);
        let line = answer.lines().next().unwrap();
        line.trim_start_matches(':').parse().unwrap_or_default()
    }

    /// Ends it with everything that it has.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _already_gone = process.kill();
            process.wait().unwrap();
        }
    }

    /// Starts it again, empty.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.spawn();
        self.wait();
    }

    /// Starts it again, slowly: it loads data for some seconds, and commands are answered meanwhile.
    pub(crate) fn restart_loading(&mut self) {
        let slow = [
            ["--key-load-delay", "1000"],
            ["--loading-process-events-interval-bytes", "1024"],
        ];
        self.arguments
            .extend(slow.concat().into_iter().map(str::to_owned));
        self.stop();
        self.spawn();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
