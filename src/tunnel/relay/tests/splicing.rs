//! The change between copying and splicing, and what splicing must not lose.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Mode, NEVER, SOON, Tunnel, assert_reset, outcome, payload, rest_of, splicing, stuff, within,
};
use crate::tunnel::Ended;
use crate::tunnel::buffer::tests::held;
use crate::tunnel::direction::Splicing;
use crate::tunnel::pipe::PIPE_SIZE;
use crate::tunnel::pipe::tests::{broken_pool, kept};

const BULK: usize = 12_345_678;

/// Sends `bytes` through `tunnel` from the client, while the upstream reads.
async fn send(tunnel: &mut Tunnel, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    let both = async {
        tokio::join!(
            async { tunnel.client.write_all(bytes).await.unwrap() },
            async { tunnel.upstream.read_exact(&mut got).await.unwrap() },
        )
    };
    within("the bytes", both).await;
    assert!(got == bytes);
}

fn spliced(tunnel: &Tunnel) -> u64 {
    tunnel.at_client.borrow().bytes_spliced
}

#[tokio::test]
async fn bulk_is_spliced_and_small_traffic_is_not() {
    let mut tunnel = Tunnel::open(Mode::Adaptive);
    let bulk = payload(1, BULK);
    for round in 0..300 {
        send(&mut tunnel, &bulk[round..round + 3000]).await;
        tunnel.idle().await;
    }
    assert_eq!(spliced(&tunnel), 0, "small traffic, much of it");

    send(&mut tunnel, &bulk).await;
    let bulky = spliced(&tunnel);
    assert!(bulky > BULK as u64 / 2, "{bulky}");
    tunnel.idle().await;
    assert_eq!((held(), tunnel.splicing.pipes.lent()), (0, 0));

    // The first small burst may still be spliced: nothing said that it is one.
    for round in 0..10 {
        send(&mut tunnel, &bulk[round..round + 3000]).await;
        tunnel.idle().await;
    }
    let after = spliced(&tunnel) - bulky;
    assert!(after <= 3000, "{after}");
    send(&mut tunnel, &bulk).await;
    assert!(spliced(&tunnel) > bulky + BULK as u64 / 2);
}

/// Splicing begins while a buffer is in use.
#[tokio::test]
async fn a_pause_before_splicing_leaves_no_buffer() {
    let mut tunnel = Tunnel::open(Mode::Adaptive);
    let burst = payload(6, 40_000);
    for round in 0..30 {
        send(&mut tunnel, &burst).await;
        tunnel.settled().await;
        assert_eq!(held(), 0, "after {round} bursts");
    }
    assert!(spliced(&tunnel) > 0);
}

/// A sink that takes long has the next bytes copied.
#[tokio::test]
async fn a_slow_reader_does_not_keep_a_pipe() {
    let mut tunnel = Tunnel::open(Mode::Adaptive);
    let bulk = payload(2, 40_000_000);
    let sent = stuff(&tunnel.client, &bulk).await;
    tunnel.settled().await;
    assert!(tunnel.at_upstream.borrow().blocked);
    assert_eq!((held(), tunnel.splicing.pipes.lent()), (0, 1));
    tokio::time::sleep(tunnel.splicing.limits.slow).await;
    let before = spliced(&tunnel);
    let mut got = vec![0; sent];
    within("what was sent", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert!(got == bulk[..sent]);
    send(&mut tunnel, &bulk[..5_000_000]).await;
    assert_eq!(spliced(&tunnel), before);
    assert_eq!(tunnel.splicing.pipes.lent(), 0);
}

#[tokio::test]
async fn without_a_pipe_bulk_is_copied() {
    let splicing = splicing(Mode::Splice);
    let mut all = Vec::new();
    while let Some(pipe) = splicing.pipes.lend() {
        all.push(pipe);
    }
    let mut tunnel = Tunnel::open_with(splicing, Vec::new(), NEVER, |stream| stream);
    let bulk = payload(3, BULK);
    send(&mut tunnel, &bulk).await;
    assert_eq!(spliced(&tunnel), 0);
    // It is asked for again, now and then.
    drop(all);
    for _ in 0..3 {
        send(&mut tunnel, &bulk).await;
    }
    assert!(spliced(&tunnel) > 0);
}

/// Carries bulk both ways, and the ends; how much of it was spliced.
async fn carry_all(splicing: &'static Splicing, wrap: impl Fn(TcpStream) -> TcpStream) -> u64 {
    let tunnel = Tunnel::open_with(splicing, b"early ".to_vec(), NEVER, wrap);
    let (eyes, other_eyes) = (tunnel.at_client.clone(), tunnel.at_upstream.clone());
    let bulk = payload(4, BULK);
    let (mut client_reads, mut client_writes) = tokio::io::split(tunnel.client);
    let (mut upstream_reads, mut upstream_writes) = tokio::io::split(tunnel.upstream);
    let exchange = async {
        tokio::join!(
            async {
                client_writes.write_all(&bulk).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            async {
                upstream_writes.write_all(&bulk).await.unwrap();
                upstream_writes.shutdown().await.unwrap();
            },
            rest_of(&mut client_reads),
            rest_of(&mut upstream_reads),
        )
    };
    let ((), (), (at_client, end), (at_upstream, other_end)) = within("the bulk", exchange).await;
    end.unwrap();
    other_end.unwrap();
    assert!(at_client == bulk);
    assert!(at_upstream[..6] == *b"early " && at_upstream[6..] == bulk);
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Complete);
    assert_eq!(traffic.bytes_from_client, 6 + BULK as u64);
    assert_eq!(traffic.bytes_from_upstream, BULK as u64);
    eyes.borrow().bytes_spliced + other_eyes.borrow().bytes_spliced
}

#[tokio::test]
async fn bytes_are_copied_when_splice_cannot_read() {
    let like = splicing(Mode::Splice);
    let refusing = Box::leak(Box::new(Splicing {
        limits: like.limits,
        pipes: broken_pool(),
    }));
    assert_eq!(carry_all(refusing, |stream| stream).await, 0);
    assert!(refusing.pipes.lend().is_none());
}

/// Then the pipe has bytes, which must come out all the same, and in order.
#[tokio::test]
async fn a_pipe_is_copied_when_splice_cannot_write() {
    let splicing = splicing(Mode::Splice);
    let spliced = carry_all(splicing, |stream| {
        // splice(2) does not write to a file in append mode.
        let flags = fcntl_getfl(stream.as_fd()).unwrap();
        fcntl_setfl(stream.as_fd(), flags | OFlags::APPEND).unwrap();
        stream
    })
    .await;
    assert!(spliced > 0 && spliced <= 2 * PIPE_SIZE as u64, "{spliced}");
    assert_eq!(splicing.pipes.lent(), 0);
}

/// Urgent data stops splice(2) as if there were nothing, and as if the stream had
/// ended: the bytes after it must arrive, and the end of the stream.
#[tokio::test]
async fn urgent_data_does_not_hide_what_follows() {
    for ends in [false, true] {
        let mut tunnel = Tunnel::open(Mode::Splice);
        tunnel.client.write_all(b"before").await.unwrap();
        let mut got = [0; 6];
        within("what is before", tunnel.upstream.read_exact(&mut got))
            .await
            .unwrap();
        let socket = socket2::SockRef::from(&tunnel.client);
        assert_eq!(socket.send_out_of_band(b"!").unwrap(), 1);
        tunnel.client.write_all(b"behind").await.unwrap();
        if ends {
            tunnel.client.shutdown().await.unwrap();
        }
        within("what is behind", tunnel.upstream.read_exact(&mut got))
            .await
            .unwrap();
        assert_eq!(&got, b"behind");
        if !ends {
            tunnel.client.write_all(b"later.").await.unwrap();
            within("what is later", tunnel.upstream.read_exact(&mut got))
                .await
                .unwrap();
            tunnel.client.shutdown().await.unwrap();
        }
        let (got, end) = rest_of(&mut tunnel.upstream).await;
        end.unwrap();
        assert!(got.is_empty());
    }
}

#[tokio::test]
async fn a_stalled_reader_is_reset_at_the_time_out_and_its_pipe_closed() {
    for drained in [false, true] {
        let splicing = splicing(Mode::Splice);
        let timeout = if drained {
            NEVER
        } else {
            Duration::from_millis(700)
        };
        let mut tunnel = Tunnel::open_with(splicing, Vec::new(), timeout, |stream| stream);
        let bulk = vec![7; 40_000_000];
        assert!(stuff(&tunnel.client, &bulk).await < bulk.len());
        if drained {
            tunnel.settled().await;
            assert_eq!(splicing.pipes.lent(), 1);
            tunnel.relay.abort();
        } else {
            assert_eq!(outcome(tunnel.relay).await.0, Ended::Idle);
        }
        assert_reset("the client", &tunnel.client).await;
        assert_reset("the upstream", &tunnel.upstream).await;
        assert_eq!(splicing.pipes.lent(), 0);
        assert_eq!(kept(&splicing.pipes), (0, 0), "closed, not kept");
    }
}

/// Bulk both ways on one thread leaves time for a small exchange, and it stops.
#[test]
fn bulk_does_not_take_the_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pumps = runtime.block_on(async {
        let busy = Tunnel::open(Mode::Splice);
        let mut small = Tunnel::open(Mode::Adaptive);
        let mut pumps = Vec::new();
        for far in [busy.client, busy.upstream] {
            let far = far.into_std().unwrap();
            far.set_nonblocking(false).unwrap();
            let reads = far.try_clone().unwrap();
            pumps.push(std::thread::spawn(move || {
                pump(|| (&far).write(&[1; 65536]))
            }));
            pumps.push(std::thread::spawn(move || {
                let mut space = vec![0; 65536];
                pump(|| (&reads).read(&mut space));
            }));
        }
        for _ in 0..100 {
            send(&mut small, b"question").await;
        }
        let moved =
            |eyes: &tokio::sync::watch::Receiver<super::support::Seen>| eyes.borrow().bytes_spliced;
        let both_move = async {
            while moved(&busy.at_client) < 50_000_000 || moved(&busy.at_upstream) < 50_000_000 {
                tokio::task::yield_now().await;
            }
        };
        within("both to move", both_move).await;
        busy.cancel.send(()).unwrap();
        let ended = tokio::time::timeout(SOON, busy.relay).await;
        assert_eq!(ended.unwrap().unwrap().0, Ended::Drained);
        pumps
    });
    for pump in pumps {
        pump.join().unwrap();
    }
}

/// Until the connection is reset.
fn pump(mut step: impl FnMut() -> io::Result<usize>) {
    while step().is_ok_and(|len| len > 0) {}
}

/// In a process of its own, where no other test opens descriptors.
#[test]
fn an_idle_tunnel_holds_its_two_sockets_alone() {
    let own = std::env::current_exe().unwrap();
    let name = format!("{}::alone", module_path!().split_once("::").unwrap().1);
    let run = std::process::Command::new(own)
        .args(["--exact", &name, "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "counts the descriptors of the process: another test runs it alone"]
fn alone() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bulk = payload(5, BULK);
        let mut first = Tunnel::open(Mode::Adaptive);
        let before = descriptors();
        let splicing = first.splicing;
        send(&mut first, &bulk).await;
        first.idle().await;
        // It was given back to the pool, which keeps one for all.
        assert_eq!(kept(&splicing.pipes), (1, PIPE_SIZE));
        assert_eq!(descriptors(), before + 2);
        assert_eq!(held(), 0);
        let mut others = Vec::new();
        for _ in 0..20 {
            let mut other = Tunnel::open_with(splicing, Vec::new(), NEVER, |stream| stream);
            send(&mut other, &bulk[..3_000_000]).await;
            assert!(spliced(&other) > 0);
            other.idle().await;
            others.push(other);
        }
        // Two far ends, and two of the relay.
        assert_eq!(descriptors(), before + 2 + 20 * 4);
        assert_eq!(held(), 0);
    });
}
