//! The relayed bytes, their order, and their ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::recorder::Recorder;
use super::support::{
    Mode, NEVER, Tunnel, in_every_mode, outcome, pair, payload, splicing, stuff, within,
};
use crate::tunnel::buffer::BUFFER_SIZE;
use crate::tunnel::buffer::tests::held;
use crate::tunnel::pipe::{PIPE_SIZE, Pool};
use crate::tunnel::{Ended, Socket};

/// A sink that keeps what it gets until it is full or flushed, as TLS may.
impl Socket for BufWriter<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref())
    }
}

/// A stream that takes and gives so much at a time at most.
struct Chopped {
    stream: TcpStream,
    limit: usize,
}

impl Socket for Chopped {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(&self.stream)
    }
}

impl AsyncRead for Chopped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = self.limit.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(limit));
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let len = part.filled().len();
        buf.advance(len);
        result
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let limit = self.limit.min(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..limit])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What one side does: its parts with pauses between them, how it reads, and
/// whether its last part waits for the end of the other side.
#[derive(Clone, Debug)]
pub(super) struct Script {
    parts: Vec<(usize, u64)>,
    chunk: usize,
    pause: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Neither,
    Client,
    Upstream,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Streams {
    Plain,
    Buffered,
    Chopped(usize),
}

pub(super) fn script() -> impl Strategy<Value = Script> {
    let size = prop_oneof![0..4_usize, 1..5_000_usize, 1..400_000_usize];
    let pause = prop_oneof![3 => Just(0_u64), 1 => 1..4_u64];
    let parts = prop::collection::vec((size, pause.clone()), 0..5);
    (parts, 1..100_000_usize, pause).prop_map(|(parts, chunk, pause)| Script {
        parts,
        chunk,
        pause,
    })
}

pub(super) fn streams() -> impl Strategy<Value = Streams> {
    prop_oneof![
        Just(Streams::Plain),
        Just(Streams::Buffered),
        (500..100_000_usize).prop_map(Streams::Chopped)
    ]
}

async fn pause(millis: u64) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

async fn send(
    mut half: WriteHalf<TcpStream>,
    script: Script,
    bytes: Vec<u8>,
    last: Option<oneshot::Receiver<()>>,
) {
    let mut rest = bytes.as_slice();
    let (early, late) = match last {
        Some(_) => script.parts.split_at(script.parts.len().saturating_sub(1)),
        None => script.parts.split_at(script.parts.len()),
    };
    for (len, millis) in early {
        let (part, behind) = rest.split_at(*len);
        half.write_all(part).await.unwrap();
        rest = behind;
        pause(*millis).await;
    }
    if let Some(other_ended) = last {
        other_ended.await.unwrap();
        for (len, _) in late {
            let (part, behind) = rest.split_at(*len);
            half.write_all(part).await.unwrap();
            rest = behind;
        }
    }
    assert!(rest.is_empty());
    half.shutdown().await.unwrap();
}

async fn receive(
    mut half: ReadHalf<TcpStream>,
    script: Script,
    ended: oneshot::Sender<()>,
) -> Vec<u8> {
    let mut got = Vec::new();
    let mut chunk = vec![0; script.chunk];
    loop {
        match half.read(&mut chunk).await.unwrap() {
            0 => break,
            len => got.extend_from_slice(&chunk[..len]),
        }
        // A few slow reads are enough, and keep the test short.
        if got.len() < 20 * script.chunk {
            pause(script.pause).await;
        }
    }
    // The receiver may be gone.
    ended.send(()).unwrap_or_default();
    got
}

pub(super) async fn play(
    mode: Mode,
    early: usize,
    client: Script,
    upstream: Script,
    last: Last,
    streams: Streams,
    meter: Recorder,
) {
    let splicing = splicing(mode);
    let pairs = [pair(), pair()];
    let total = |script: &Script| script.parts.iter().map(|(len, _)| len).sum::<usize>();
    let from_client = payload(1, early + total(&client));
    let from_upstream = payload(2, total(&upstream));
    let (early, behind) = from_client.split_at(early);
    let early = early.to_vec();
    let early_len = early.len() as u64;
    let tunnel = match streams {
        Streams::Plain => Tunnel::between(pairs, splicing, early, NEVER, |stream| stream, meter),
        Streams::Buffered => Tunnel::between(pairs, splicing, early, NEVER, BufWriter::new, meter),
        Streams::Chopped(limit) => {
            let chop = move |stream| Chopped { stream, limit };
            Tunnel::between(pairs, splicing, early, NEVER, chop, meter)
        }
    };
    let (client_reads, client_writes) = tokio::io::split(tunnel.client);
    let (upstream_reads, upstream_writes) = tokio::io::split(tunnel.upstream);
    let (client_ended, for_upstream) = oneshot::channel();
    let (upstream_ended, for_client) = oneshot::channel();
    let for_client = (last == Last::Client).then_some(for_client);
    let for_upstream = (last == Last::Upstream).then_some(for_upstream);
    let exchange = async {
        tokio::join!(
            send(client_writes, client.clone(), behind.to_vec(), for_client),
            send(
                upstream_writes,
                upstream.clone(),
                from_upstream.clone(),
                for_upstream
            ),
            receive(client_reads, client.clone(), upstream_ended),
            receive(upstream_reads, upstream.clone(), client_ended),
        )
    };
    let ((), (), at_client, at_upstream) = within("the exchange", exchange).await;
    assert!(at_upstream == from_client, "what the client sent");
    assert!(at_client == from_upstream, "what the upstream sent");
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Complete);
    assert_eq!(traffic.bytes_from_client, from_client.len() as u64);
    assert_eq!(traffic.bytes_from_upstream, from_upstream.len() as u64);
    assert_eq!(splicing.pipes.lent(), 0);
    let spliced =
        tunnel.at_client.borrow().bytes_spliced + tunnel.at_upstream.borrow().bytes_spliced;
    match (mode, streams) {
        // Not all of it: bytes that arrive between a splice without result and the read
        // that asks why is copied.
        (Mode::Splice, Streams::Plain) => {
            let carried = traffic.bytes_from_client + traffic.bytes_from_upstream;
            let most = carried - early_len;
            assert!(spliced <= most, "{spliced} of {most}");
            assert!(spliced > 0 || most < 1_000_000, "{spliced} of {most}");
        }
        (Mode::Copy, _) | (_, Streams::Buffered | Streams::Chopped(_)) => assert_eq!(spliced, 0),
        (Mode::Adaptive, Streams::Plain) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 100,
        max_shrink_time: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_and_ends_arrive_as_they_were_sent(
        early in prop_oneof![Just(0_usize), 1..3_usize, 1..100_000_usize],
        client in script(),
        upstream in script(),
        mode in prop_oneof![1 => Just(Mode::Copy), 2 => Just(Mode::Splice), 2 => Just(Mode::Adaptive)],
        last in prop_oneof![Just(Last::Neither), Just(Last::Client), Just(Last::Upstream)],
        streams in streams(),
        threads in any::<bool>(),
    ) {
        let mut runtime = if threads {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        runtime
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(play(mode, early, client, upstream, last, streams, Recorder::default()));
        prop_assert_eq!(held(), 0);
    }
}

async fn early_bytes_come_first_and_what_follows_is_read_at_full_size(mode: Mode) {
    let mut tunnel = Tunnel::open_with(splicing(mode), b"early".to_vec(), NEVER, |stream| stream);
    tunnel.client.write_all(b" and late").await.unwrap();
    let mut got = [0; 14];
    within("the bytes", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(&got, b"early and late");
    tunnel.idle().await;
    let least = tunnel.at_client.borrow().least_space;
    assert!(least.is_none_or(|least| least == BUFFER_SIZE), "{least:?}");
}

async fn a_sink_that_buffers_is_flushed_when_nothing_follows(mode: Mode) {
    let mut tunnel = Tunnel::open_with(splicing(mode), b"early".to_vec(), NEVER, BufWriter::new);
    let mut got = [0; 5];
    within("the early bytes", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    for round in 0..20 {
        tunnel.client.write_all(&[round; 5]).await.unwrap();
        within("the question", tunnel.upstream.read_exact(&mut got))
            .await
            .unwrap();
        tunnel.upstream.write_all(&got).await.unwrap();
        within("the answer", tunnel.client.read_exact(&mut got))
            .await
            .unwrap();
        assert_eq!(got, [round; 5]);
    }
    // More than all buffers hold, so that the last flush is blocked for a while.
    let bulk = payload(3, 12_345_678);
    let (mut reads, mut writes) = tokio::io::split(tunnel.client);
    let sent = bulk.clone();
    let sending = tokio::spawn(async move {
        writes.write_all(&sent).await.unwrap();
        writes
    });
    within(
        "a blocked sink",
        tunnel.at_upstream.wait_for(|seen| seen.blocked),
    )
    .await
    .unwrap();
    let mut got = vec![0; bulk.len()];
    within("the bulk", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert!(got == bulk);
    tunnel.upstream.write_all(b"still").await.unwrap();
    let mut got = [0; 5];
    within("an answer", reads.read_exact(&mut got))
        .await
        .unwrap();
    drop(within("the sender", sending).await.unwrap());
}

/// Buffers and pipes that are in use.
fn holds(pipes: &Pool) -> usize {
    usize::try_from(held()).unwrap() + pipes.lent()
}

async fn a_slow_reader_holds_one_buffer_or_pipe_and_an_idle_tunnel_none(mode: Mode) {
    let bulk = payload(4, 40_000_000);
    let mut tunnel = Tunnel::open(mode);
    tunnel.idle().await;
    let pipes = &tunnel.splicing.pipes;
    assert_eq!(holds(pipes), 0, "before the first byte");

    let sent = stuff(&tunnel.client, &bulk).await;
    tunnel.settled().await;
    assert!(sent < bulk.len(), "the sender is slowed down");
    let (read, written) = (
        tunnel.at_client.borrow().bytes_read,
        tunnel.at_upstream.borrow().bytes_written,
    );
    assert!(tunnel.at_upstream.borrow().blocked);
    let most = match mode {
        Mode::Copy => BUFFER_SIZE,
        Mode::Splice | Mode::Adaptive => PIPE_SIZE,
    };
    assert!(read - written <= most as u64, "{read} - {written}");
    assert_eq!(holds(pipes), 1, "one direction is blocked");

    let back = stuff(&tunnel.upstream, &bulk).await;
    tunnel.settled().await;
    assert!(back < bulk.len(), "the other direction too");
    assert_eq!(holds(pipes), 2, "both are blocked");

    let mut got = vec![0; sent];
    within("what was sent", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert!(got == bulk[..sent]);
    let mut got = vec![0; back];
    within("what was sent back", tunnel.client.read_exact(&mut got))
        .await
        .unwrap();
    assert!(got == bulk[..back]);
    tunnel.idle().await;
    assert_eq!(holds(pipes), 0, "idle again");
    assert_eq!(tunnel.at_client.borrow().bytes_written, back as u64);
}

in_every_mode! {
    early_bytes_come_first_and_what_follows_is_read_at_full_size,
    a_sink_that_buffers_is_flushed_when_nothing_follows,
    a_slow_reader_holds_one_buffer_or_pipe_and_an_idle_tunnel_none,
}
