use std::fs;

use prometheus::IntCounter;

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

fn losses() -> Losses {
    Losses {
        overflow: IntCounter::new("overflow", "x").unwrap(),
        write_error: IntCounter::new("write_error", "x").unwrap(),
    }
}

#[test]
fn reads_destinations_and_formats() {
    for (text, expected) in [
        ("off", Destination::Off),
        ("stdout", Destination::Stdout),
        ("stderr", Destination::Stderr),
        ("./off", Destination::File("./off".into())),
        ("/var/log/a", Destination::File("/var/log/a".into())),
    ] {
        assert_eq!(Destination::parse(text), expected);
    }
    assert_eq!(Format::parse("json"), Ok(Format::Json));
    assert_eq!(Format::parse("combined"), Ok(Format::Combined));
    assert_eq!(Format::parse("JSON"), Err(FormatError));
}

#[test]
fn writes_both_formats() {
    for (format, start, lines) in [
        (Format::Json, "{\"time\":", 3),
        // A tunnel that opens has no combined line.
        (Format::Combined, "0.0.0.0 - - [", 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let destination = Destination::File(path.clone());
        let log = AccessLog::open(&destination, format, losses()).unwrap();
        for event in [Event::Request, Event::TunnelOpen, Event::TunnelClose] {
            log.write(&Record {
                event,
                ..Record::default()
            });
        }
        assert!(log.flush(DEADLINE));
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), lines);
        assert!(text.lines().all(|line| line.starts_with(start)), "{text}");
    }
}

#[test]
fn off_writes_nothing() {
    let log = AccessLog::open(&Destination::Off, Format::Json, losses()).unwrap();
    log.write(&Record::default());
    log.reopen();
    assert!(log.flush(Duration::ZERO));
}

#[test]
fn a_thread_that_ends_can_still_write() {
    struct AtExit(std::sync::Arc<AccessLog>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            self.0.write(&Record::default());
        }
    }
    thread_local! {
        static AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let destination = Destination::File(path.clone());
    let log = AccessLog::open(&destination, Format::Json, losses()).unwrap();
    let log = std::sync::Arc::new(log);
    let theirs = std::sync::Arc::clone(&log);
    std::thread::spawn(move || {
        // Destroyed in the order of their first use, or against it: try both.
        AT_EXIT.set(Some(AtExit(std::sync::Arc::clone(&theirs))));
        theirs.write(&Record::default());
    })
    .join()
    .unwrap();
    assert!(log.flush(DEADLINE));
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 2);
}
