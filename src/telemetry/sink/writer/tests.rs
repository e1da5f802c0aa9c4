use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::telemetry::sink::tests::{DEADLINE, losses};
use crate::telemetry::sink::{Place, Sink};

#[test]
fn writing_recovers_and_a_torn_line_stays_alone() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let sink = Sink::new(Place::Stdout, None, losses(), 10);
    let mut writer = Writer::new(
        Arc::clone(&sink.shared),
        Some(File::from(OwnedFd::from(ours))),
    );
    // One line that does not fit the socket, and one behind it.
    let line = format!("{}\n", "x".repeat(8 * 1024 * 1024));
    writer.write_batch(format!("{line}lost\n").as_bytes());
    assert!(writer.failing && writer.torn);
    assert_eq!(sink.shared.losses.write_error.get(), 2);
    writer.write_batch(b"lost\n");
    assert_eq!((writer.lost, sink.shared.losses.write_error.get()), (3, 3));

    let reader = thread::spawn(move || {
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        text
    });
    let start = Instant::now();
    while writer.failing && start.elapsed() < DEADLINE {
        writer.write_batch(b"next\n");
    }
    assert!(!writer.failing && !writer.torn && writer.lost == 0);
    drop(writer);
    let text = reader.join().unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].bytes().all(|byte| byte == b'x'));
    assert_eq!(lines[1..], ["next"]);
}

#[test]
fn overflow_is_reported_once_an_interval() {
    let sink = Sink::new(Place::Stdout, None, losses(), 10);
    let mut writer = Writer::new(Arc::clone(&sink.shared), None);
    sink.shared.losses.overflow.inc_by(5);
    writer.warn_of_overflow();
    assert_eq!(writer.overflow_reported, 5);
    sink.shared.losses.overflow.inc_by(5);
    writer.warn_of_overflow();
    assert_eq!(writer.overflow_reported, 5, "too soon");
    writer.warned = Instant::now().checked_sub(WARNING_INTERVAL);
    writer.warn_of_overflow();
    assert_eq!(writer.overflow_reported, 10);
}
