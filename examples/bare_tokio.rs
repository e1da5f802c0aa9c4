//! A bare tunnel on tokio: reads a CONNECT, compares its credentials with one
//! string, connects and copies both ways. The yardstick for what Tollgate adds
//! to its runtime when it opens and relays tunnels.
//!
//! ```text
//! bare_tokio LISTEN CREDENTIALS-FIELD THREADS
//! ```

use std::error::Error;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest head that is read.
const MAX_HEAD: usize = 8 * 1024;

const REFUSAL: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"bare\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Reads up to the end of the head; what came after it stays in the buffer.
async fn read_head(client: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(end + 4);
        }
        if buffer.len() > MAX_HEAD || client.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

async fn tunnel(mut client: TcpStream, credentials: &str) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1024);
    let length = read_head(&mut client, &mut buffer).await?;
    let early = buffer.split_off(length);
    let head = std::str::from_utf8(&buffer).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let target = lines
        .next()
        .and_then(|line| line.strip_prefix("CONNECT "))
        .and_then(|line| line.strip_suffix(" HTTP/1.1"))
        .ok_or(io::ErrorKind::InvalidData)?;
    let admitted = lines.any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == credentials
        })
    });
    if !admitted {
        return client.write_all(REFUSAL).await;
    }
    let mut origin = TcpStream::connect(target).await?;
    origin.set_nodelay(true)?;
    client.set_nodelay(true)?;
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    origin.write_all(&early).await?;
    copy_bidirectional(&mut client, &mut origin)
        .await
        .map(|_| ())
}

async fn serve(listen: &str, credentials: &'static str) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // The load's client counts what goes wrong.
        tokio::spawn(async move { drop(tunnel(client, credentials).await) });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: bare_tokio LISTEN CREDENTIALS-FIELD THREADS";
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or(usage);
    let listen = next()?;
    let credentials: &'static str = next()?.leak();
    let threads = next()?.parse()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?
        .block_on(serve(&listen, credentials))?;
    Ok(())
}
