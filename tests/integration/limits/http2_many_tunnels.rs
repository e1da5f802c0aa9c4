//! A hundred tunnels on one HTTP/2 connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::http2::{Client, read_all};
use crate::support::http2_origin::send_all;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;

const TUNNELS: usize = 100;
const BYTES: usize = 10_000_000;

/// So many times as much is for the client that takes nothing: more than all buffers of the system have room for.
const PARTS: usize = 6;

/// What a tunnel carries: no two carry the same.
fn part(all: &[u8], tunnel: usize) -> &[u8] {
    &all[tunnel * 7..tunnel * 7 + BYTES]
}

/// Each carries ten megabytes in each direction, byte for byte, beside one whose client takes nothing.
#[test]
fn a_hundred_tunnels_and_one_that_is_not_read() {
    let proxy = Proxy::start("limits: { streams_per_connection: 101 }");
    let echo = Origin::echo();
    let all = Arc::new(payload::bytes(BYTES + TUNNELS * 7));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let carried = async {
        let socket = TcpStream::connect(proxy.address).await.unwrap();
        let mut settings = h2::client::Builder::new();
        // One stream that is not read takes its own window, and not that of the connection.
        settings
            .initial_window_size(256 * 1024)
            .initial_connection_window_size(101 * 256 * 1024);
        let (send, connection) = settings.handshake(socket).await.unwrap();
        let mut client = Client::over(send, connection);
        let (mut stalled, mut unread) = client.tunnel(echo.address).await;
        let held = Arc::clone(&all);
        let sending = tokio::spawn(async move {
            for _ in 0..PARTS {
                send_all(&mut stalled, &held).await.unwrap();
            }
            stalled.send_data(Bytes::new(), true).unwrap();
        });
        let mut tunnels = Vec::new();
        for _ in 0..TUNNELS {
            tunnels.push(client.tunnel(echo.address).await);
        }
        let began = Instant::now();
        let mut running = Vec::new();
        for (number, (mut send, mut receive)) in tunnels.into_iter().enumerate() {
            let up = Arc::clone(&all);
            running.push(tokio::spawn(async move {
                send_all(&mut send, part(&up, number)).await.unwrap();
                send.send_data(Bytes::new(), true).unwrap();
            }));
            let all = Arc::clone(&all);
            running.push(tokio::spawn(async move {
                let mut expected = part(&all, number);
                while let Some(data) = receive.data().await {
                    let data = data.unwrap();
                    receive.flow_control().release_capacity(data.len()).unwrap();
                    let (now, later) = expected.split_at(data.len());
                    assert!(now == data, "tunnel {number}");
                    expected = later;
                }
                assert!(expected.is_empty(), "tunnel {number}");
            }));
        }
        for task in running {
            task.await.unwrap();
        }
        let time = began.elapsed();
        // What was held back is still there, all of it.
        assert!(!sending.is_finished());
        let rest = read_all(&mut unread).await.unwrap();
        assert_eq!(rest.len(), PARTS * all.len());
        assert!(rest.chunks(all.len()).all(|part| *part == **all));
        sending.await.unwrap();
        time
    };
    let time = runtime.block_on(async { timeout(Duration::from_secs(300), carried).await });
    let time = time.expect("in time");
    eprintln!("{TUNNELS} tunnels with {BYTES} bytes each way took {time:?}");
    let records = proxy.wait_records(TUNNELS + 1);
    let whole = records.iter().filter(|it| it["bytes_from_client"] == BYTES);
    assert_eq!(whole.count(), TUNNELS);
    for record in records {
        assert_eq!(record["end_reason"], "complete", "{record}");
        assert_eq!(
            record["bytes_from_client"], record["bytes_from_upstream"],
            "{record}"
        );
    }
}
