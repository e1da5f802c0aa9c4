use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use prometheus::IntCounter;
use tempfile::TempDir;

use super::*;

pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn losses() -> Losses {
    Losses {
        overflow: IntCounter::new("overflow", "x").unwrap(),
        write_error: IntCounter::new("write_error", "x").unwrap(),
    }
}

fn file_sink(dir: &TempDir) -> (Sink, PathBuf) {
    let path = dir.path().join("access.log");
    let sink = Sink::open(Place::File(path.clone()), losses()).unwrap();
    (sink, path)
}

/// A sink that writes to one end of a socket, and the other end.
fn socket_sink(capacity: usize) -> (Sink, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = File::from(OwnedFd::from(ours));
    let sink = Sink::new(Place::Stdout, Some(file), losses(), capacity);
    (sink, theirs)
}

#[test]
fn opening_starts_no_thread_and_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, path) = file_sink(&dir);
    assert!(matches!(
        sink.shared.state.lock().writer,
        Stage::Waiting { .. }
    ));
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    assert!(sink.flush(Duration::ZERO), "nothing to wait for");
}

#[test]
fn a_wrong_path_is_found_when_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none").join("access.log");
    let error = Sink::open(Place::File(path), losses()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn flush_waits_for_all_lines_of_all_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, path) = file_sink(&dir);
    fs::write(&path, "before\n").unwrap();
    for _ in 0..3 {
        thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    for i in 0..1000 {
                        sink.push(format!("line {i} of {thread}\n").as_bytes());
                    }
                });
            }
        });
        assert!(sink.flush(DEADLINE));
    }
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("before\n"), "appends");
    assert_eq!(text.lines().count(), 1 + 3 * 4 * 1000);
    assert!(
        text.lines()
            .all(|line| line == "before" || line.starts_with("line "))
    );
    assert_eq!(sink.shared.losses.overflow.get(), 0);
}

#[test]
fn a_line_is_written_without_a_flush() {
    let (sink, mut reader) = socket_sink(CAPACITY);
    reader.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut byte = [0; 2];
    for _ in 0..3 {
        sink.push(b"a\n");
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a\n");
    }
}

#[test]
fn dropping_the_sink_writes_what_is_queued() {
    let (sink, mut reader) = socket_sink(CAPACITY);
    reader.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..100 {
        sink.push(b"line\n");
    }
    drop(sink);
    // The end of the stream comes when the writer is gone.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "line\n".repeat(100));
}

#[test]
fn a_reader_that_stands_still_costs_lines_but_no_time() {
    let (sink, mut reader) = socket_sink(4096);
    reader.set_read_timeout(Some(DEADLINE)).unwrap();
    let line = format!("{}\n", "x".repeat(999));
    // Fill the socket until nothing moves, then the queue until it is full.
    let mut pushed = 0;
    loop {
        sink.push(line.as_bytes());
        pushed += 1;
        if !sink.flush(Duration::from_millis(200)) {
            break;
        }
    }
    while sink.shared.losses.overflow.get() < 10 {
        sink.push(line.as_bytes());
        pushed += 1;
    }
    assert!(sink.shared.state.lock().lines.len() <= 4096);
    let dropped = sink.shared.losses.overflow.get();
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines = u64::try_from(text.lines().count()).unwrap();
    assert_eq!(lines + dropped, pushed);
    assert!(
        text.split_inclusive('\n').all(|got| got == line),
        "no line is torn"
    );
}

#[test]
fn a_line_larger_than_the_queue_is_dropped() {
    let (sink, _reader) = socket_sink(10);
    sink.push(b"12345678901\n");
    assert_eq!(sink.shared.losses.overflow.get(), 1);
}

#[test]
fn reopening_continues_in_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, path) = file_sink(&dir);
    let rotated = dir.path().join("access.log.1");
    sink.push(b"one\n");
    assert!(sink.flush(DEADLINE));
    fs::rename(&path, &rotated).unwrap();
    sink.push(b"two\n");
    sink.reopen();
    assert!(sink.flush(DEADLINE));
    sink.push(b"three\n");
    assert!(sink.flush(DEADLINE));
    assert_eq!(fs::read_to_string(rotated).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "three\n");
}

#[test]
fn reopening_before_the_first_line_works_too() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, path) = file_sink(&dir);
    fs::remove_file(&path).unwrap();
    sink.reopen();
    sink.push(b"one\n");
    assert!(sink.flush(DEADLINE));
    assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
}

#[test]
fn a_failed_reopening_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let moved = dir.path().join("moved");
    fs::create_dir(&logs).unwrap();
    let sink = Sink::open(Place::File(logs.join("a")), losses()).unwrap();
    for line in ["one\n", "two\n"] {
        sink.push(line.as_bytes());
        assert!(sink.flush(DEADLINE));
        if logs.exists() {
            fs::rename(&logs, &moved).unwrap();
            sink.reopen();
            assert!(sink.flush(DEADLINE));
        }
    }
    assert_eq!(fs::read_to_string(moved.join("a")).unwrap(), "one\ntwo\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_survived() {
    let sink = Sink::open(Place::File("/dev/full".into()), losses()).unwrap();
    sink.push(b"one\n");
    sink.push(b"two\n");
    assert!(sink.flush(DEADLINE));
    sink.push(b"three\n");
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 3);
    assert_eq!(sink.shared.losses.overflow.get(), 0);
}
