//! Which thread serves a connection.
//!
//! Where threads share their work (`work_stealing: true`), tokio decides, anew whenever a
//! connection has something to do. Where they do not, a connection stays on one thread
//! for good, and so does all that it uses: memory, upstream connections, their readiness.
//!
//! These threads are not Pingora's: that one has the watch over an idle upstream
//! connection run on any of its threads, so that to use the connection again would wait
//! for another thread. On a thread that Pingora does not know it stays there.

use std::future::Future;
use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// What the threads are made with.
#[derive(Clone, Copy, Debug)]
pub struct ThreadOptions {
    /// How many there are, with the one that accepts.
    pub count: usize,
    /// How many more may do what blocks, for each; none: as many as tokio likes.
    pub max_blocking: Option<usize>,
    /// How long such a thread is kept without work; none: as long as tokio likes.
    pub blocking_keep_alive: Option<Duration>,
}

/// The threads that share nothing; none where they share their work.
#[derive(Debug)]
pub(super) struct Threads(Vec<Arc<Thread>>);

#[derive(Debug)]
struct Thread {
    number: u16,
    handle: Handle,
    connections: AtomicUsize,
    /// Ends the thread when it is dropped; the one that accepts is not ours to end.
    _running: Option<oneshot::Sender<()>>,
}

/// A connection assigned to a thread, until dropped.
#[derive(Debug)]
pub(super) struct Assignment(Option<Arc<Thread>>);

impl Threads {
    /// Starts all but the thread that this is called on, which is the first. Where that
    /// shares its work with others already, none. As many as the system has.
    pub(super) fn start(options: ThreadOptions) -> Self {
        let here = Handle::current();
        if here.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return Self(Vec::new());
        }
        let mut threads = vec![Arc::new(Thread::new(0, here, None))];
        let count = u16::try_from(options.count).unwrap_or(u16::MAX);
        for number in 1..count {
            match Thread::start(number, options) {
                Ok(thread) => threads.push(Arc::new(thread)),
                Err(error) => {
                    log::warn!("{number} threads in place of {count}: {error}");
                    break;
                }
            }
        }
        Self(threads)
    }

    /// An assignment to the thread with the fewest connections.
    pub(super) fn choose(&self) -> Assignment {
        let fewest = self
            .0
            .iter()
            .min_by_key(|thread| thread.connections.load(Ordering::Relaxed));
        if let Some(thread) = fewest {
            thread.connections.fetch_add(1, Ordering::Relaxed);
        }
        Assignment(fewest.cloned())
    }
}

impl Thread {
    fn new(number: u16, handle: Handle, running: Option<oneshot::Sender<()>>) -> Self {
        Self {
            number,
            handle,
            connections: AtomicUsize::new(0),
            _running: running,
        }
    }

    fn start(number: u16, options: ThreadOptions) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.enable_all();
        if let Some(max) = options.max_blocking {
            builder.max_blocking_threads(max);
        }
        if let Some(keep_alive) = options.blocking_keep_alive {
            builder.thread_keep_alive(keep_alive);
        }
        let runtime = builder.build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("tollgate".to_owned())
            .spawn(move || {
                // An error is that the sender is gone, which is what is waited for.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self::new(number, handle, Some(running)))
    }
}

impl Assignment {
    /// The number of the thread; 0 where threads share their work.
    pub(super) fn thread(&self) -> u16 {
        self.0.as_ref().map_or(0, |thread| thread.number)
    }

    /// Runs `serve` on the assigned thread. `serve` keeps the assignment as long as it runs:
    /// kept beside it here, the whole future would be in its task twice.
    ///
    /// # Errors
    /// The socket cannot be used there.
    pub(super) fn spawn<F>(
        self,
        stream: StdStream,
        serve: impl FnOnce(TcpStream, Self) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let there = match &self.0 {
            Some(thread) => thread.handle.clone(),
            None => Handle::current(),
        };
        let stream = {
            // That it can be read is to be told to the thread that serves it.
            let _inside = there.enter();
            TcpStream::from_std(stream)?
        };
        there.spawn(serve(stream, self));
        Ok(())
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        if let Some(thread) = &self.0 {
            thread.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::mpsc;

    use tokio::io::AsyncReadExt;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    fn three() -> Threads {
        let options = ThreadOptions {
            count: 3,
            max_blocking: Some(1),
            blocking_keep_alive: None,
        };
        Threads::start(options)
    }

    #[tokio::test]
    async fn seats_are_spread_evenly_over_threads_that_do_not_share() {
        let threads = three();
        let spread = || {
            let assignments: Vec<Assignment> = (0..300).map(|_| threads.choose()).collect();
            let mut spread = [0; 3];
            for assignment in &assignments {
                spread[usize::from(assignment.thread())] += 1;
            }
            spread
        };
        assert_eq!(spread(), [100; 3]);
        // What was given back is taken again.
        assert_eq!(spread(), [100; 3]);
        drop(threads.choose());
        assert_eq!(threads.choose().thread(), 0, "the first, with all alike");
    }

    #[tokio::test]
    async fn a_connection_is_served_on_the_thread_of_its_seat() {
        const CONNECTIONS: usize = 60;
        let (tell, told) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let threads = three();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(StdStream::connect(address).unwrap());
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let (assignment, tell) = (threads.choose(), tell.clone());
            let number = assignment.thread();
            let served = move |mut stream: TcpStream, assignment| async move {
                // Most have to wait for it, and to be woken there.
                stream.read_u8().await.unwrap();
                // What Pingora runs besides stays as well.
                let besides = pingora_runtime::current_handle().spawn(async {});
                besides.await.unwrap();
                let beside = pingora_runtime::current_handle().id() == Handle::current().id();
                tell.send((number, thread::current().id(), beside)).unwrap();
                drop::<Assignment>(assignment);
            };
            assignment.spawn(stream, served).unwrap();
        }
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        let served = tokio::task::spawn_blocking(move || {
            (0..CONNECTIONS)
                .map(|_| told.recv_timeout(LONGEST).unwrap())
                .collect::<Vec<_>>()
        });
        let served = served.await.unwrap();
        let pairs: HashSet<_> = served.iter().copied().collect();
        let threads: HashSet<_> = served.iter().map(|it| it.1).collect();
        assert_eq!((pairs.len(), threads.len()), (3, 3), "{served:?}");
        assert!(served.iter().all(|it| it.2));
    }

    #[tokio::test]
    async fn a_thread_ends_when_nobody_needs_it() {
        let threads = three();
        let (tell, told) = oneshot::channel::<()>();
        // Dropped with the runtime of the thread.
        threads.0[2].handle.spawn(async move {
            std::future::pending::<()>().await;
            drop(tell);
        });
        drop(threads);
        let ended = tokio::time::timeout(LONGEST, told).await;
        assert!(ended.unwrap().is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_that_share_have_no_seats() {
        let threads = three();
        assert_eq!(threads.choose().thread(), 0);
        assert!(threads.0.is_empty());
    }
}
