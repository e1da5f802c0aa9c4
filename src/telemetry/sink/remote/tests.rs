use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IoSliceMut, Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

use super::super::syslog::{SyslogForm, Transport};
use super::super::tests::{DEADLINE, losses};
use super::super::{Place, Sink};
use super::*;

fn sink(service: Service) -> Sink {
    Sink::open(Place::Service(service), losses()).unwrap()
}

fn syslog(transport: Transport, form: SyslogForm) -> Service {
    Service::Syslog(SyslogTarget {
        transport,
        facility: 16,
        form,
        tag: "tollgate".to_owned(),
    })
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = vec![0; 100_000];
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_socket_of_the_machine_gets_the_form_of_syslog_3() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let sink = sink(syslog(Transport::Socket(path), SyslogForm::Rfc3164));
    sink.push(b"{\"a\":1}\n");
    sink.push(b"{\"b\":2}\n");
    let id = std::process::id();
    for body in ["{\"a\":1}", "{\"b\":2}"] {
        let message = receive(&socket);
        let (head, rest) = message.split_at("<134>Nov 30 17:00:00 ".len());
        assert!(head.starts_with("<134>") && head.ends_with(' '), "{head}");
        assert_eq!(rest, format!("tollgate[{id}]: {body}"));
    }
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 0);
}

#[test]
fn udp_has_the_form_of_rfc_5424() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = socket.local_addr().unwrap();
    let sink = sink(syslog(Transport::Udp(address), SyslogForm::Rfc5424));
    sink.push(b"{}\n");
    let mut buffer = [0; 1000];
    let length = socket.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..length]).unwrap();
    let parts: Vec<_> = message.split(' ').collect();
    let [version, time, _host, tag, process, kind, data, body] = parts[..] else {
        panic!("{message}");
    };
    assert_eq!(
        (version, tag, kind, data, body),
        ("<134>1", "tollgate", "access", "-", "{}")
    );
    assert_eq!(process, std::process::id().to_string());
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
}

/// The messages of a connection with octet counting, until it ends or there are enough.
fn read_frames(stream: std::net::TcpStream, count: usize) -> Vec<String> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut frames = Vec::new();
    while frames.len() < count {
        let mut length = Vec::new();
        if reader.read_until(b' ', &mut length).unwrap() == 0 {
            break;
        }
        let length = std::str::from_utf8(&length).unwrap().trim_end();
        let mut frame = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut frame).unwrap();
        frames.push(String::from_utf8(frame).unwrap());
    }
    frames
}

#[test]
fn tcp_is_connected_to_again_and_loses_nothing_that_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sink = sink(syslog(Transport::Tcp(address), SyslogForm::Rfc5424));
    for round in 0..3 {
        // More than one chunk.
        for line in 0..2000 {
            sink.push(format!("{{\"round\":{round},\"line\":{line}}}\n").as_bytes());
        }
        let (stream, _) = listener.accept().unwrap();
        let frames = read_frames(stream, 2000);
        assert_eq!(frames.len(), 2000);
        for (line, frame) in frames.iter().enumerate() {
            let body = format!(" access - {{\"round\":{round},\"line\":{line}}}");
            assert!(frame.ends_with(&body), "{frame}");
        }
        assert!(sink.flush(DEADLINE));
        // The server has closed its side by now.
    }
    assert_eq!(sink.shared.losses.write_error.get(), 0);
}

#[test]
fn lines_wait_for_a_service_that_comes_back_and_are_counted_when_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let sink = sink(syslog(Transport::Socket(path.clone()), SyslogForm::Rfc3164));
    sink.push(b"one\n");
    let socket = UnixDatagram::bind(&path).unwrap();
    assert!(receive(&socket).ends_with(": one"));
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 0);

    drop(socket);
    fs::remove_file(&path).unwrap();
    sink.push(b"two\nthree\n");
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 2);
    // From now on each batch is tried once.
    sink.push(b"four\n");
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 3);
    let socket = UnixDatagram::bind(&path).unwrap();
    sink.push(b"five\n");
    assert!(receive(&socket).ends_with(": five"));
}

#[test]
fn a_sink_that_ends_does_not_wait_for_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let sink = sink(syslog(Transport::Socket(path), SyslogForm::Rfc3164));
    sink.push(b"one\n");
    let shared = std::sync::Arc::clone(&sink.shared);
    drop(sink);
    let lost = || shared.losses.write_error.get() == 1;
    let deadline = Instant::now() + DEADLINE;
    while !lost() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(lost());
}

/// A record that no datagram can carry comes as a sealed file.
#[cfg(target_os = "linux")]
#[test]
fn a_long_record_comes_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let limit = sockopt::socket_send_buffer_size(&socket).unwrap();
    let sink = sink(Service::Journal(JournalTarget { socket: path }));
    let long = "x".repeat(limit);
    sink.push(format!("{{\"time\":\"{long}\"}}\n").as_bytes());
    sink.push(b"{\"time\":\"t\"}\n");

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(message.bytes, 0);
    let files = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let mut file = File::from(files.unwrap());
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::GROW));
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert!(text.contains(&format!("\nTOLLGATE_TIME={long}\n")));

    assert!(receive(&socket).ends_with("\nTOLLGATE_TIME=t\n"));
    assert!(sink.flush(DEADLINE));
    assert_eq!(sink.shared.losses.write_error.get(), 0);
}
