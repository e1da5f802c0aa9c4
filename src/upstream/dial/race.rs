//! Happy eyeballs (RFC 8305 §5): connection attempts that overlap, one winner.
//! Dials exactly the addresses that it is given and looks nothing up.

use std::future::{self, Future};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::error::{DialError, exhaustion, is_out_of_udp};
use super::sources::Sources;
use crate::http::error::ErrorKind;

/// How long an attempt may go on alone before the next one starts (the
/// "Connection Attempt Delay", RFC 8305 §5).
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection to one of the addresses.
#[derive(Debug)]
pub struct Dialed<S = TcpStream> {
    /// The connected stream, with `TCP_NODELAY` set.
    pub stream: S,
    /// The address that it is connected to.
    pub address: SocketAddr,
}

/// Connects to whichever of `addresses` accepts first. They are tried in their
/// order, the next one after 250 ms or as soon as one failed. The attempts that
/// lose are closed before this returns.
///
/// # Errors
/// [`DialError::Timeout`] after `limit` for all attempts together; when every
/// attempt failed, the error that tells most; [`DialError::NoAddress`] for none.
pub async fn connect_any(
    addresses: impl IntoIterator<Item = SocketAddr>,
    sources: &Sources,
    limit: Duration,
) -> Result<Dialed, DialError> {
    race(addresses, limit, |address| connect_one(address, sources)).await
}

async fn connect_one(address: SocketAddr, sources: &Sources) -> Result<TcpStream, DialError> {
    let sorted = |error| {
        let sourceless = exhaustion(&error) == Some(ErrorKind::OutOfPorts) && !has_source(address);
        DialError::from_connect(error, sourceless)
    };
    let stream = sources.connect(address).await.map_err(sorted)?;
    // A port of our own ephemeral range without a listener can be connected to
    // itself (simultaneous open): an echo where there is no server.
    if stream.local_addr().map_err(sorted)? == address {
        return Err(DialError::Refused);
    }
    // A relay that waits for more to send adds a round trip to small messages.
    stream.set_nodelay(true).map_err(sorted)?;
    Ok(stream)
}

/// Whether this host has an address to reach `address` from: Linux has one error for a host without IPv6 and
/// for one whose ports are all taken. To connect a UDP socket asks for a route and sends nothing.
fn has_source(address: SocketAddr) -> bool {
    let connected = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .and_then(|socket| socket.connect(&address.into()));
    match connected {
        Ok(()) => true,
        // The ports of UDP are looked for when there is a route.
        Err(error) => is_out_of_udp(&error),
    }
}

/// An attempt under way, and whose it is.
pub(super) type Attempt<K, F> = (K, Pin<Box<F>>);

/// The race itself, whatever `connect` is.
async fn race<C, F, S>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    limit: Duration,
    connect: C,
) -> Result<Dialed<S>, DialError>
where
    C: Fn(SocketAddr) -> F,
    F: Future<Output = Result<S, DialError>>,
{
    let mut waiting = addresses.into_iter().peekable();
    let mut running: Vec<Attempt<SocketAddr, F>> = Vec::new();
    let mut error = DialError::NoAddress;
    let racing = async {
        loop {
            // One starts at each turn: at first, after a failure, after the delay.
            if let Some(address) = waiting.next() {
                running.push((address, Box::pin(connect(address))));
            } else if running.is_empty() {
                return Err(error);
            }
            tokio::select! {
                biased;
                (address, outcome) = first_finished(&mut running) => match outcome {
                    Ok(stream) => return Ok(Dialed { stream, address }),
                    Err(failed) => error = error.more_telling(failed),
                },
                () = sleep(ATTEMPT_DELAY), if waiting.peek().is_some() => {}
            }
        }
    };
    timeout(limit, racing)
        .await
        .unwrap_or(Err(DialError::Timeout))
}

/// Waits for any attempt to finish and takes it out. An earlier one comes first
/// when two have finished.
pub(super) async fn first_finished<K, F, T>(running: &mut Vec<Attempt<K, F>>) -> (K, T)
where
    F: Future<Output = T>,
{
    future::poll_fn(|context| {
        for index in 0..running.len() {
            let Some((_, attempt)) = running.get_mut(index) else {
                break;
            };
            if let Poll::Ready(outcome) = attempt.as_mut().poll(context) {
                let (whose, _) = running.remove(index);
                return Poll::Ready((whose, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rustix::io::Errno;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// What an address does, by its port, and after how many milliseconds.
    #[derive(Clone, Copy)]
    enum Does {
        Accept(u64),
        Refuse(u64),
        NoRoute,
        Hang,
    }

    /// Runs a race on a paused clock. Gives the outcome, when it was over, and when
    /// each attempt started.
    async fn run(plan: &[Does]) -> (Result<Dialed<usize>, DialError>, u128, Vec<u128>) {
        let begin = Instant::now();
        let starts = Mutex::new(Vec::new());
        let addresses = (0..plan.len()).map(|n| SocketAddr::from(([192, 0, 2, 1], n as u16)));
        let outcome = race(addresses, LIMIT, |address| {
            starts.lock().unwrap().push(begin.elapsed().as_millis());
            let index = usize::from(address.port());
            let does = plan[index];
            async move {
                match does {
                    Does::Accept(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(index)
                    }
                    Does::Refuse(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err(DialError::Refused)
                    }
                    Does::NoRoute => Err(DialError::Unreachable(Errno::NETUNREACH.into())),
                    Does::Hang => future::pending().await,
                }
            }
        })
        .await;
        (
            outcome,
            begin.elapsed().as_millis(),
            starts.into_inner().unwrap(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn schedule() {
        use Does::{Accept, Hang, NoRoute, Refuse};
        // What each address does; the winner, when it is over, when each started.
        #[expect(
            clippy::type_complexity,
            reason = "a table reads better than a struct here"
        )]
        let cases: &[(&[Does], Result<usize, &str>, u128, &[u128])] = &[
            (&[Accept(10)], Ok(0), 10, &[0]),
            // The first is fast enough: no other address is tried.
            (&[Accept(249), Accept(1)], Ok(0), 249, &[0]),
            // A failure starts the next one at once.
            (&[Refuse(10), Accept(5)], Ok(1), 15, &[0, 10]),
            (&[NoRoute, NoRoute, Accept(5)], Ok(2), 5, &[0, 0, 0]),
            // Silence starts the next one after 250 ms.
            (&[Hang, Accept(5)], Ok(1), 255, &[0, 250]),
            (&[Hang, Hang, Accept(5)], Ok(2), 505, &[0, 250, 500]),
            // The slow first one may still win.
            (&[Accept(400), Accept(300)], Ok(0), 400, &[0, 250]),
            // A failure in the middle of the delay starts a new delay.
            (
                &[Hang, Refuse(50), Hang, Accept(5)],
                Ok(3),
                555,
                &[0, 250, 300, 550],
            ),
            // All failed: what tells most.
            (
                &[NoRoute, Refuse(20)],
                Err("connection_refused"),
                20,
                &[0, 0],
            ),
            (
                &[Refuse(20), NoRoute],
                Err("connection_refused"),
                20,
                &[0, 20],
            ),
            (&[NoRoute], Err("destination_ip_unroutable"), 0, &[0]),
            (&[], Err("name_not_found"), 0, &[]),
            // The limit is for all together.
            (&[Hang], Err("connection_timeout"), 5000, &[0]),
            (
                &[Refuse(0), Hang, Hang],
                Err("connection_timeout"),
                5000,
                &[0, 0, 250],
            ),
        ];
        for (number, (plan, expected, over, starts)) in cases.iter().enumerate() {
            let (outcome, elapsed, started) = run(plan).await;
            if let Ok(dialed) = &outcome {
                assert_eq!(usize::from(dialed.address.port()), dialed.stream);
            }
            let outcome = outcome
                .map(|dialed| dialed.stream)
                .map_err(|error| error.kind().name());
            assert_eq!(outcome, *expected, "case {number}");
            // The timer of tokio has a grain of one millisecond.
            assert!(elapsed.abs_diff(*over) <= 4, "case {number}: {elapsed}");
            assert_eq!(started.len(), starts.len(), "case {number}: {started:?}");
            for (is, wanted) in started.iter().zip(*starts) {
                assert!(is.abs_diff(*wanted) <= 4, "case {number}: {started:?}");
            }
        }
    }
}
