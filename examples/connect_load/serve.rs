//! The servers that tunnels lead to. They run until the process is ended.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::wire::{MESSAGE, STEP_TIMEOUT, bulk_pattern};

/// Connections that the echo server holds at the same time; the rest wait in
/// the kernel's queue.
const ECHO_THREADS: usize = 256;

/// Threads of the holding server. More than one: a connection that sends
/// nothing keeps its thread for a while.
const HOLD_THREADS: usize = 8;

/// What a server does with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Sends back what it gets.
    Echo,
    /// Sends without an end.
    Source,
    /// Sends back one message and then keeps the connection for good.
    Hold,
}

impl Kind {
    /// The kind of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "echo" => Some(Self::Echo),
            "source" => Some(Self::Source),
            "hold" => Some(Self::Hold),
            _ => None,
        }
    }
}

/// Serves at this address.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn run(kind: Kind, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    match kind {
        Kind::Echo => on_threads(ECHO_THREADS, || {
            for stream in listener.incoming().flatten() {
                // The client counts what goes wrong, here and below.
                drop(echo(stream));
            }
        }),
        Kind::Source => {
            let pattern = bulk_pattern();
            thread::scope(|scope| {
                for stream in listener.incoming().flatten() {
                    scope.spawn(|| drop(source(stream, &pattern)));
                }
            });
        }
        Kind::Hold => on_threads(HOLD_THREADS, || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                held.extend(answer_once(stream));
            }
        }),
    }
    Ok(())
}

fn on_threads(count: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(&work);
        }
    });
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

fn source(mut stream: TcpStream, pattern: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(pattern)?;
    }
}

fn answer_once(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    let mut message = [0; MESSAGE.len()];
    stream.read_exact(&mut message)?;
    stream.write_all(&message)?;
    Ok(stream)
}
