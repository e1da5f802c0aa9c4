//! Pipes over real sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::task::Poll;

use super::*;

/// A pool of the test's own.
fn pool(max_total: usize) -> &'static Pool {
    Box::leak(Box::new(Pool::new(max_total)))
}

/// A pool whose first pipe is invalid: splice(2) into it fails.
pub(in crate::tunnel) fn broken_pool() -> Pool {
    let pool = Pool::new(PIPE_SIZE);
    break_next(&pool);
    pool
}

fn break_next(pool: &Pool) {
    let mut pipes = pool.pipes.lock();
    pipes.total += PIPE_SIZE;
    pipes.kept.push(Ends {
        reader: File::open("/dev/null").unwrap().into(),
        writer: File::create("/dev/null").unwrap().into(),
        size: PIPE_SIZE,
    });
}

/// How many pipes are kept, and what all may hold.
pub(in crate::tunnel) fn kept(pool: &Pool) -> (usize, usize) {
    let pipes = pool.pipes.lock();
    (pipes.kept.len(), pipes.total)
}

/// The bytes of an attempt.
pub(in crate::tunnel) fn shown(attempt: &Poll<io::Result<Moved>>) -> Poll<io::Result<usize>> {
    match attempt {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(Moved::Some(len))) => Poll::Ready(Ok(*len)),
        Poll::Ready(Ok(Moved::None | Moved::Unsupported)) => Poll::Ready(Ok(0)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.kind().into())),
    }
}

/// A connected pair; the near end is of tokio.
fn pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (TcpStream::from_std(near).unwrap(), far)
}

fn len(moved: io::Result<Moved>) -> usize {
    match moved.unwrap() {
        Moved::Some(len) => len,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_pass_and_the_pipe_is_used_again() {
    let pool = pool(MAX_TOTAL);
    let (source, mut sender) = pair();
    let (sink, mut receiver) = pair();
    let mut pipe = pool.lend().unwrap();
    assert!(
        matches!(pipe.fill(&source, PIPE_SIZE), Ok(Moved::None)),
        "nothing yet"
    );
    sender.write_all(b"some bytes").unwrap();
    source.readable().await.unwrap();
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 10);
    assert!(!pipe.is_empty());
    assert_eq!(len(pipe.drain(&sink)), 10);
    assert!(pipe.is_empty());
    let mut got = [0; 10];
    receiver.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"some bytes");
    assert_eq!((pool.lent(), kept(pool)), (1, (0, PIPE_SIZE)));
    drop(pipe);
    assert_eq!((pool.lent(), kept(pool)), (0, (1, PIPE_SIZE)));
    drop(pool.lend().unwrap());
    assert_eq!(kept(pool), (1, PIPE_SIZE));
}

#[tokio::test]
async fn a_pipe_with_bytes_in_it_is_closed() {
    let pool = pool(MAX_TOTAL);
    let (source, mut sender) = pair();
    let mut pipe = pool.lend().unwrap();
    sender.write_all(b"secret").unwrap();
    source.readable().await.unwrap();
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 6);
    drop(pipe);
    assert_eq!((pool.lent(), kept(pool)), (0, (0, 0)));
}

#[test]
fn pipes_are_bounded_and_few_are_kept() {
    let pool = pool(MAX_TOTAL);
    let mut pipes = Vec::new();
    while let Some(pipe) = pool.lend() {
        pipes.push(pipe);
    }
    let (full, small) = (
        MAX_FULL_SIZE / PIPE_SIZE,
        (MAX_TOTAL - MAX_FULL_SIZE) / SMALL_SIZE,
    );
    assert_eq!(pipes.len(), full + small);
    assert_eq!(kept(pool), (0, MAX_TOTAL));
    pipes.pop();
    assert!(pool.lend().is_some(), "one is free again");
    drop(pipes);
    assert_eq!(pool.lent(), 0);
    let (kept, total) = kept(pool);
    assert_eq!(kept, MAX_KEPT);
    assert!(total <= MAX_KEPT * PIPE_SIZE);
}

#[tokio::test]
async fn the_first_refusal_is_permanent_and_a_later_one_is_for_one_socket() {
    let (source, mut sender) = pair();
    let (sink, _receiver) = pair();
    sender.write_all(b"bytes").unwrap();
    source.readable().await.unwrap();

    let pool: &Pool = Box::leak(Box::new(broken_pool()));
    let mut pipe = pool.lend().unwrap();
    assert!(matches!(
        pipe.fill(&source, PIPE_SIZE),
        Ok(Moved::Unsupported)
    ));
    assert!(pipe.is_empty());
    drop(pipe);
    assert!(pool.lend().is_none());

    let pool = self::pool(MAX_TOTAL);
    let mut pipe = pool.lend().unwrap();
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 5);
    assert_eq!(len(pipe.drain(&sink)), 5);
    break_next(pool);
    sender.write_all(b"bytes").unwrap();
    source.readable().await.unwrap();
    let mut broken = pool.lend().unwrap();
    assert!(matches!(
        broken.fill(&source, PIPE_SIZE),
        Ok(Moved::Unsupported)
    ));
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 5);
    assert!(pool.lend().is_some());
}

#[tokio::test]
async fn a_connection_error_does_not_disable_splicing() {
    let pool = pool(MAX_TOTAL);
    let (source, sender) = pair();
    let (sink, receiver) = pair();
    let mut pipe = pool.lend().unwrap();
    for far in [&sender, &receiver] {
        let linger = Some(std::time::Duration::ZERO);
        socket2::SockRef::from(far).set_linger(linger).unwrap();
    }
    (&sender).write_all(b"x").unwrap();
    source.readable().await.unwrap();
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 1);
    drop(receiver);
    sink.ready(tokio::io::Interest::ERROR).await.unwrap();
    assert_eq!(
        pipe.drain(&sink).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    let mut pipe = pool.lend().unwrap();
    drop(sender);
    source.ready(tokio::io::Interest::ERROR).await.unwrap();
    assert_eq!(
        pipe.fill(&source, PIPE_SIZE).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert!(pool.lend().is_some());
}

#[tokio::test]
async fn bytes_that_a_socket_does_not_take_are_read_back() {
    let pool = pool(MAX_TOTAL);
    let (source, mut sender) = pair();
    let mut pipe = pool.lend().unwrap();
    sender.write_all(b"some bytes").unwrap();
    source.readable().await.unwrap();
    assert_eq!(len(pipe.fill(&source, PIPE_SIZE)), 10);
    let mut space = [0; 6];
    assert_eq!(pipe.read(&mut space).unwrap(), 6);
    assert_eq!(&space, b"some b");
    assert_eq!(pipe.read(&mut space).unwrap(), 4);
    assert_eq!(&space[..4], b"ytes");
    assert!(pipe.is_empty());
}
