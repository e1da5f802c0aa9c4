//! Which thread serves a connection.
//!
//! Where threads share their work (`work_stealing: true`), tokio decides, anew whenever a
//! connection has something to do. Where they do not, a connection stays on one thread
//! for good, and so does all that it uses: memory, upstream connections, their readiness.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pingora_runtime::current_handle;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The threads that are known, and how many connections each has.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<Arc<Thread>>>);

#[derive(Debug)]
struct Thread {
    /// From 1 on.
    number: u16,
    handle: Handle,
    connections: AtomicUsize,
}

/// A connection's place on a thread, until dropped.
#[derive(Debug)]
pub(super) struct Seat(Option<Arc<Thread>>);

impl Threads {
    /// The thread with the fewest connections. To be called on a thread of the service.
    pub(super) fn choose(&self) -> Seat {
        if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
            return Seat(None);
        }
        // Pingora names one of its threads at random, and no other way to learn of them.
        let named = current_handle();
        let mut known = self.0.lock();
        if !known.iter().any(|thread| thread.handle.id() == named.id()) {
            let number = u16::try_from(known.len() + 1).unwrap_or(u16::MAX);
            known.push(Arc::new(Thread {
                number,
                handle: named,
                connections: AtomicUsize::new(0),
            }));
        }
        let fewest = known
            .iter()
            .min_by_key(|thread| thread.connections.load(Ordering::Relaxed));
        if let Some(thread) = fewest {
            thread.connections.fetch_add(1, Ordering::Relaxed);
        }
        Seat(fewest.cloned())
    }
}

impl Seat {
    /// The number of the thread; 0 where threads share their work.
    pub(super) fn thread(&self) -> u16 {
        self.0.as_ref().map_or(0, |thread| thread.number)
    }

    /// Has `serve` run where the seat is, and keeps the seat for that time.
    ///
    /// # Errors
    /// The socket cannot be moved there.
    pub(super) fn spawn<F>(
        self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let here = Handle::current();
        let there = self
            .0
            .as_ref()
            .map_or(&here, |thread| &thread.handle)
            .clone();
        let stream = if there.id() == here.id() {
            stream
        } else {
            // That it can be read is to be told to the thread that serves it.
            let stream = stream.into_std()?;
            let _inside = there.enter();
            TcpStream::from_std(stream)?
        };
        let served = serve(stream);
        there.spawn(async move {
            served.await;
            drop(self);
        });
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(thread) = &self.0 {
            thread.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora_runtime::Runtime;

    use super::*;

    /// Takes so many seats on a runtime and shows how they are spread.
    fn spread(runtime: Runtime, count: usize) -> Vec<usize> {
        let (tell, told) = std::sync::mpsc::channel();
        runtime.get_handle().spawn(async move {
            let threads = Threads::default();
            let first: Vec<Seat> = (0..count).map(|_| threads.choose()).collect();
            // What is given back is taken first.
            drop(first);
            let seats: Vec<Seat> = (0..count).map(|_| threads.choose()).collect();
            let mut spread = [0; 4];
            for seat in &seats {
                spread[usize::from(seat.thread())] += 1;
            }
            tell.send(spread.to_vec()).unwrap();
        });
        let spread = told.recv_timeout(std::time::Duration::from_secs(10));
        runtime.shutdown_timeout(std::time::Duration::ZERO);
        spread.unwrap()
    }

    #[test]
    fn seats_are_spread_evenly_over_threads_that_do_not_share() {
        let three = Runtime::new_no_steal(3, "test");
        // All three are known after so many.
        assert_eq!(spread(three, 300), [0, 100, 100, 100]);
    }

    #[test]
    fn a_connection_is_served_on_the_thread_of_its_seat() {
        use std::io::Write;

        use tokio::io::AsyncReadExt;

        const CONNECTIONS: usize = 60;
        let runtime = Runtime::new_no_steal(3, "test");
        let (tell, told) = std::sync::mpsc::channel();
        let (begin, address) = std::sync::mpsc::channel();
        runtime.get_handle().spawn(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            begin.send(listener.local_addr().unwrap()).unwrap();
            let threads = Threads::default();
            for _ in 0..CONNECTIONS {
                let (stream, _) = listener.accept().await.unwrap();
                let (seat, tell) = (threads.choose(), tell.clone());
                let number = seat.thread();
                let served = move |mut stream: TcpStream| async move {
                    // Most have to wait for it, and to be woken there.
                    stream.read_u8().await.unwrap();
                    let here = std::thread::current().id();
                    tell.send((number, here)).unwrap();
                };
                seat.spawn(stream, served).unwrap();
            }
        });
        let address = address.recv().unwrap();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        for mut client in clients {
            client.write_all(b"x").unwrap();
        }
        let longest = std::time::Duration::from_secs(10);
        let served: Vec<_> = (0..CONNECTIONS)
            .map(|_| told.recv_timeout(longest).unwrap())
            .collect();
        let pairs: std::collections::HashSet<_> = served.iter().copied().collect();
        let threads: std::collections::HashSet<_> = served.iter().map(|pair| pair.1).collect();
        assert_eq!((pairs.len(), threads.len()), (3, 3), "{served:?}");
        runtime.shutdown_timeout(std::time::Duration::ZERO);
    }

    #[test]
    fn threads_that_share_have_no_seats() {
        assert_eq!(spread(Runtime::new_steal(3, "test"), 10), [10, 0, 0, 0]);
    }
}
