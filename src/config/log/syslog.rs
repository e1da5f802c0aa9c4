//! `tollgate.log.syslog`: where syslog is, and what its messages say beside the record.

use std::net::SocketAddr;
use std::path::Path;

use super::super::keys::form::Absent::{Is, Means};
use super::super::keys::form::{Given, OneOf, Raw};
use super::super::keys::keys;
use super::super::reader::{Item, Part};
use crate::telemetry::{SyslogForm, SyslogTarget, Transport};

/// The socket of the machine.
const SOCKET: &str = "/dev/log";
/// The longest APP-NAME (RFC 5424 §6).
const MAX_TAG: usize = 48;

/// The facilities of RFC 5424 §6.2.1 that a program may use, with their numbers.
const FACILITIES: [(&str, u8); 19] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
const DAEMON: u8 = 3;

const FORMS: [(&str, SyslogForm); 2] = [
    ("rfc5424", SyslogForm::Rfc5424),
    ("rfc3164", SyslogForm::Rfc3164),
];

keys! {
    /// A syslog.
    pub(in super::super) struct SyslogKeys<'d> {
        /// Where it is: a socket of this machine, such as `unix:/dev/log`, or an address, such as `udp://192.0.2.1:514` or
        /// `tcp://192.0.2.1:601`.
        to: Option<Item<'d>> = Is("unix:/dev/log"), Raw => Shape::text("a socket or an address");
        /// The facility of the messages.
        facility: u8 = DAEMON, OneOf(&FACILITIES);
        /// How the head of a message is written.
        format: Option<SyslogForm> = Means("`rfc3164` for a socket of this machine, as `syslog(3)` writes it, else `rfc5424`"), Given(OneOf(&FORMS));
        /// The name of the program in the messages.
        tag: Option<Item<'d>> = Is("tollgate"), Raw => Shape::text("a word");
    }
}

impl SyslogKeys<'_> {
    /// Reads the section; none where it has errors.
    pub(super) fn read(part: Part<'_>) -> Option<SyslogTarget> {
        let mut section = part.section();
        let keys = SyslogKeys::take(&mut section);
        let transport = match &keys.to {
            None => Some(Transport::Socket(SOCKET.into())),
            Some(item) => transport(item),
        };
        let tag = match &keys.tag {
            None => Some("tollgate".to_owned()),
            Some(item) => tag(item),
        };
        let transport = transport.inspect(|transport| {
            section.note_meaning("to", &format!("{transport:?}"));
        });
        section.note_meaning("tag", &format!("{tag:?}"));
        section.finish();
        let transport = transport?;
        let form = keys.format.unwrap_or(match transport {
            Transport::Socket(_) => SyslogForm::Rfc3164,
            Transport::Udp(_) | Transport::Tcp(_) => SyslogForm::Rfc5424,
        });
        Some(SyslogTarget {
            transport,
            facility: keys.facility,
            form,
            tag: tag?,
        })
    }
}

fn transport(item: &Item<'_>) -> Option<Transport> {
    const REMEDY: &str =
        "write one such as unix:/dev/log, udp://192.0.2.1:514 or tcp://192.0.2.1:601";
    let text = item.text()?;
    let of_address = |text: &str| {
        let address = text.parse::<SocketAddr>().ok();
        address.filter(|address| address.port() != 0)
    };
    let transport = if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        path.is_absolute().then(|| Transport::Socket(path.into()))
    } else if let Some(address) = text.strip_prefix("udp://") {
        of_address(address).map(Transport::Udp)
    } else if let Some(address) = text.strip_prefix("tcp://") {
        of_address(address).map(Transport::Tcp)
    } else {
        None
    };
    if transport.is_none() {
        item.report("neither a socket nor an address with its port", REMEDY);
    }
    transport
}

fn tag(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    // `[` and `:` end the tag of RFC 3164.
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if text.is_empty() || text.len() > MAX_TAG || !text.bytes().all(is_part) {
        let remedy = format!("write up to {MAX_TAG} letters, digits, -, _, . and /");
        item.report("not the name of a program", remedy);
        return None;
    }
    Some(text.to_owned())
}
