//! A real collector of OpenTelemetry, Rotel: its receiver takes OTLP over HTTP, and it writes each span that it got.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{Capture, unpacked};
use super::eventually;
use super::port::Port;

/// One collector on a loopback port.
pub(crate) struct Collector {
    program: PathBuf,
    port: Port,
    /// It always listens for gRPC too.
    grpc: Port,
    running: Option<(Child, Capture)>,
}

impl Collector {
    /// One that does not run yet. None where the program is missing, as [`unpacked`].
    pub(crate) fn reserve() -> Option<Self> {
        Some(Self {
            program: unpacked("rotel-agent", "--version")?,
            port: Port::reserve(),
            grpc: Port::reserve(),
            running: None,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub(crate) fn start(&mut self) {
        // The settings of the collector can come from the environment: it gets what a program needs to be found and loaded.
        let kept = ["PATH", "LD_LIBRARY_PATH"];
        let kept = kept.map(|name| Some((name, std::env::var_os(name)?)));
        let mut process = Command::new(&self.program)
            .env_clear()
            .envs(kept.into_iter().flatten())
            .args(["--log-format", "json", "start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &self.port.address.to_string()])
            .args(["--otlp-grpc-endpoint", &self.grpc.address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = Capture::of(process.stdout.take());
        let (process, output) = self.running.insert((process, output));
        eventually("the collector to accept", || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", output.text());
            TcpStream::connect(self.port.address).ok()
        });
    }

    /// Waits for this many spans, ends the collector, and gives all that it got.
    pub(crate) fn finish(mut self, count: usize) -> Vec<Span> {
        let (process, output) = self.running.as_mut().unwrap();
        eventually("the spans", || {
            let seen = output.text().matches("Span #").count();
            (seen >= count).then_some(())
        });
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
        eventually("the end of the collector", || process.try_wait().unwrap());
        let (_, output) = self.running.take().unwrap();
        spans(&output.finish())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.running {
            let _already_gone = process.kill();
            process.wait().unwrap();
        }
    }
}

type Attributes = HashMap<String, String>;

/// A span as the collector writes it.
#[derive(Debug, Default)]
pub(crate) struct Span {
    pub(crate) resource: Attributes,
    pub(crate) scope: String,
    fields: Attributes,
    pub(crate) attributes: Attributes,
}

impl Span {
    pub(crate) fn name(&self) -> &str {
        self.field("Name")
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        &self.fields[name]
    }

    /// When it began, in nanoseconds.
    pub(crate) fn started(&self) -> u64 {
        self.field("Start time").parse().unwrap()
    }

    /// Its length in nanoseconds.
    pub(crate) fn nanoseconds(&self) -> u64 {
        self.field("End time").parse::<u64>().unwrap() - self.started()
    }
}

fn spans(output: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let (mut resource, mut scope, mut is_in_span) = (Attributes::new(), "", false);
    // Between the spans are lines of its log, in JSON.
    let is_log = |line: &&str| line.starts_with('{');
    for line in output.lines().map(str::trim).filter(|line| !is_log(line)) {
        if line.starts_with("ResourceSpans #") {
            (resource, is_in_span) = (Attributes::new(), false);
        } else if let Some(name) = line.strip_prefix("InstrumentationScope ") {
            scope = name;
        } else if line.starts_with("Span #") {
            is_in_span = true;
            spans.push(Span {
                resource: resource.clone(),
                scope: scope.to_owned(),
                ..Span::default()
            });
        } else if let Some(attribute) = line.strip_prefix("-> ") {
            // `name: Str(value)`, or another kind.
            let (name, value) = attribute.split_once(": ").unwrap();
            let value = value.split_once('(').unwrap().1.strip_suffix(')').unwrap();
            let of = match spans.last_mut() {
                Some(span) if is_in_span => &mut span.attributes,
                _ => &mut resource,
            };
            of.insert(name.to_owned(), value.to_owned());
        } else if let Some((name, value)) = line.split_once(':')
            && let Some(span) = spans.last_mut().filter(|_| is_in_span)
        {
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            span.fields.insert(name, value);
        }
    }
    spans
}
