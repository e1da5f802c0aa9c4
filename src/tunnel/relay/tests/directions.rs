//! Each direction has pauses of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::recorder::{Answer, Recorder};
use super::support::{
    Mode, NEVER, Tunnel, in_every_mode, outcome, pair, payload, rest_of, splicing, within,
};
use crate::tunnel::{Ended, Source};

/// A tunnel of which one source has a long pause, and the bytes that it has waiting.
async fn paused(mode: Mode, source: Source) -> Tunnel {
    let meter = Recorder::new(100_000, |_| Answer::Continue(Duration::MAX)).of(source);
    let pairs = [pair(), pair()];
    let mut tunnel = Tunnel::between(pairs, splicing(mode), Vec::new(), NEVER, |it| it, meter);
    let (from, to) = match source {
        Source::Client => (&mut tunnel.client, &mut tunnel.upstream),
        Source::Upstream => (&mut tunnel.upstream, &mut tunnel.client),
    };
    from.write_all(&vec![7; 200_000]).await.unwrap();
    within("a part", to.read_exact(&mut vec![0; 100_000]))
        .await
        .unwrap();
    tunnel.settled().await;
    tunnel
}

/// Bulk, by as many calls as without any pause, and its end.
async fn one_does_not_pause_the_other(mode: Mode) {
    for source in [Source::Client, Source::Upstream] {
        let mut tunnel = paused(mode, source).await;
        let bulk = payload(9, 3_000_000);
        let (from, to, seen) = match source {
            Source::Client => (
                &mut tunnel.upstream,
                &mut tunnel.client,
                &tunnel.at_upstream,
            ),
            Source::Upstream => (&mut tunnel.client, &mut tunnel.upstream, &tunnel.at_client),
        };
        let begun = Instant::now();
        let sending = async {
            from.write_all(&bulk).await.unwrap();
            from.shutdown().await.unwrap();
        };
        let ((), (got, end)) = tokio::join!(sending, rest_of(to));
        end.unwrap();
        assert!(got == bulk, "{source:?}");
        // Not one of the pauses: each lasts a minute.
        assert!(begun.elapsed() < Duration::from_secs(10), "{source:?}");
        let spliced = seen.borrow().bytes_spliced;
        assert!(mode != Mode::Splice || spliced > 1_500_000, "{spliced}");
        // What waits has not moved.
        let seen = match source {
            Source::Client => &tunnel.at_client,
            Source::Upstream => &tunnel.at_upstream,
        };
        assert_eq!(seen.borrow().bytes_read, 100_000, "{source:?}");
    }
}

/// The end of a stream that has nothing before it.
async fn an_end_passes_beside_a_pause(mode: Mode) {
    let mut tunnel = paused(mode, Source::Client).await;
    tunnel.upstream.shutdown().await.unwrap();
    let (got, end) = rest_of(&mut tunnel.client).await;
    end.unwrap();
    assert_eq!(got, b"");
    tunnel.cancel.send(()).unwrap();
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Drained);
}

in_every_mode! {
    one_does_not_pause_the_other,
    an_end_passes_beside_a_pause,
}
