//! A load of short CONNECT tunnels, for the benchmark: opens a tunnel, sends 64
//! bytes, reads them back, closes, and begins again, on each of its clients.
//!
//! ```text
//! connect_load --echo 127.0.0.1:7000
//! connect_load --target 127.0.0.1:7000 --clients 50 --seconds 10
//! connect_load --target 127.0.0.1:7000 --proxy 127.0.0.1:8888 --user username:password
//! ```
//!
//! The first is the server that the others' `--target` names. Only `std`: plain
//! `rustc` compiles it, and a blocking thread costs the machine no more than a
//! task for a client that does one thing at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// What is sent through each tunnel, and expected back.
const MESSAGE: [u8; 64] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// How long one step of a tunnel may take before it counts as an error.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the echo server holds at the same time; the rest wait in
/// the kernel's queue.
const ECHO_THREADS: usize = 256;

/// The longest response head that is read from a proxy.
const MAX_HEAD: usize = 8 * 1024;

const USAGE: &str = "usage: connect_load --echo ADDRESS
       connect_load --target ADDRESS [--proxy ADDRESS] [--user NAME:PASSWORD]
                    [--clients N] [--seconds N]";

/// The command line.
struct Options {
    echo: Option<SocketAddr>,
    target: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    user: Option<String>,
    clients: usize,
    seconds: u64,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// Names the argument that is unknown, lacks its value or cannot be read.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            echo: None,
            target: None,
            proxy: None,
            user: None,
            clients: 50,
            seconds: 10,
        };
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name}: value missing"))?;
            let wrong = |error: &dyn fmt::Display| format!("{name} {value}: {error}");
            match name.as_str() {
                "--echo" => options.echo = Some(value.parse().map_err(|e| wrong(&e))?),
                "--target" => options.target = Some(value.parse().map_err(|e| wrong(&e))?),
                "--proxy" => options.proxy = Some(value.parse().map_err(|e| wrong(&e))?),
                "--user" => options.user = Some(value),
                "--clients" => options.clients = value.parse().map_err(|e| wrong(&e))?,
                "--seconds" => options.seconds = value.parse().map_err(|e| wrong(&e))?,
                _ => return Err(format!("{name}: no such argument")),
            }
        }
        Ok(options)
    }
}

/// Why a tunnel did not carry its bytes.
enum Failure {
    /// The proxy answered the CONNECT with this status instead of a 2xx.
    Refused(u16),
    /// Connecting, writing or reading failed, or took too long.
    Io,
    /// What came back is not what was sent.
    Bytes,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// What one client, or all of them, did.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    refused: u64,
    last_refusal: u16,
    io: u64,
    bytes: u64,
}

impl Tally {
    fn count(&mut self, outcome: Result<(), Failure>, took: Duration) {
        match outcome {
            Ok(()) => self
                .micros
                .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)),
            Err(Failure::Refused(status)) => {
                self.refused += 1;
                self.last_refusal = status;
            }
            Err(Failure::Io) => self.io += 1,
            Err(Failure::Bytes) => self.bytes += 1,
        }
        // A proxy that is down must not be hammered in a busy loop.
        if self.micros.is_empty() && self.io > 100 {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.refused += other.refused;
        self.last_refusal = self.last_refusal.max(other.last_refusal);
        self.io += other.io;
        self.bytes += other.bytes;
    }

    /// The value below which `share` of the sorted durations lie, in milliseconds.
    fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        f64::from(self.micros.get(index).copied().unwrap_or(0)) / 1000.0
    }
}

/// Base64 (RFC 4648 §4), here so that the file needs no crate.
fn base64(input: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut output = String::new();
    for chunk in input.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) & 63;
            match ALPHABET.get(index as usize) {
                Some(letter) if place <= chunk.len() => output.push(char::from(*letter)),
                _ => output.push('='),
            }
        }
    }
    output
}

/// The head of the CONNECT request that opens a tunnel to `target`.
fn connect_head(target: SocketAddr, user: Option<&str>) -> Vec<u8> {
    let credentials = user.map_or_else(String::new, |user| {
        format!("Proxy-Authorization: Basic {}\r\n", base64(user.as_bytes()))
    });
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n").into_bytes()
}

/// Reads the answer to a CONNECT. The target speaks only after us, so every
/// byte up to the empty line is the proxy's.
fn read_connect_response(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut head = Vec::with_capacity(256);
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        if read == 0 || head.len() > MAX_HEAD {
            break;
        }
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    let status = head
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<u16>().ok());
    match status {
        Some(200..300) if head.ends_with(b"\r\n\r\n") => Ok(()),
        Some(200..300) => Err(Failure::Bytes),
        Some(status) => Err(Failure::Refused(status)),
        None => Err(Failure::Io),
    }
}

/// One tunnel: open, 64 bytes there and back, close.
fn tunnel(first_hop: SocketAddr, head: Option<&[u8]>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect_timeout(&first_hop, STEP_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    if let Some(head) = head {
        stream.write_all(head)?;
        read_connect_response(&mut stream)?;
    }
    stream.write_all(&MESSAGE)?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo)?;
    if echo == MESSAGE {
        Ok(())
    } else {
        Err(Failure::Bytes)
    }
}

/// Answers every connection with its own bytes until the process is ended.
fn serve_echo(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    eprintln!("echo on {}", listener.local_addr()?);
    let answer = |mut stream: TcpStream| -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            stream.write_all(buffer.get(..read).unwrap_or_default())?;
        }
    };
    thread::scope(|scope| {
        for _ in 0..ECHO_THREADS {
            scope.spawn(|| {
                for stream in listener.incoming().flatten() {
                    // The client counts what goes wrong.
                    drop(answer(stream));
                }
            });
        }
    });
    Ok(())
}

/// Runs the load and says what came of it; true when nothing failed.
fn run_load(options: &Options, target: SocketAddr) -> bool {
    let head = options
        .proxy
        .map(|_| connect_head(target, options.user.as_deref()));
    let first_hop = options.proxy.unwrap_or(target);
    let started = Instant::now();
    let deadline = started + Duration::from_secs(options.seconds);
    let mut total = Tally::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    let mut begun = Instant::now();
                    while begun < deadline {
                        let outcome = tunnel(first_hop, head.as_deref());
                        let now = Instant::now();
                        tally.count(outcome, now - begun);
                        begun = now;
                    }
                    tally
                })
            })
            .collect();
        for client in clients {
            match client.join() {
                Ok(tally) => total.add(tally),
                Err(_) => total.io += 1,
            }
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    total.micros.sort_unstable();
    let tunnels = total.micros.len();
    eprintln!(
        "tunnels={tunnels} seconds={seconds:.2} per_second={:.0} p50_ms={:.2} p99_ms={:.2} \
         errors={} refused={} last_refusal={} io_errors={} wrong_bytes={} ",
        tunnels as f64 / seconds,
        total.quantile_ms(0.5),
        total.quantile_ms(0.99),
        total.io + total.bytes,
        total.refused,
        total.last_refusal,
        total.io,
        total.bytes,
    );
    total.io + total.bytes + total.refused == 0 && tunnels > 0
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("connect_load: {error}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match (options.echo, options.target) {
        (Some(address), None) => match serve_echo(address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("connect_load: {address}: {error}");
                ExitCode::FAILURE
            }
        },
        (None, Some(target)) if run_load(&options, target) => ExitCode::SUCCESS,
        (None, Some(_)) => ExitCode::FAILURE,
        _ => {
            eprintln!("connect_load: either --echo or --target\n{USAGE}");
            ExitCode::from(64)
        }
    }
}
