//! Invariants of ClientHellos, for the fuzz target.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::server::Acceptor;

use super::{HEADER, Hello, HelloReader, MAX_ALPN, MAX_BYTES, MAX_PROTOCOL, MAX_SNI, Unreadable};

type Outcome = Result<Option<Hello>, Unreadable>;

/// Reads `data` as the first bytes of a client of TLS.
///
/// The outcome does not depend on how the bytes are cut, nor on how the message is divided into records. What is read is
/// limited and printable. Where rustls reads a hello too, it reads the same.
///
/// # Panics
/// An invariant does not hold.
pub fn client_hello(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let whole = HelloReader::default().read(data);
    assert_eq!(whole, in_pieces(data, 1), "{shown}");
    assert_eq!(whole, in_pieces(data, 7), "{shown}");
    let hello = match &whole {
        Ok(Some(hello)) => hello,
        Ok(None) => return "incomplete".to_owned(),
        Err(error) => return error.to_string(),
    };
    check(hello);
    if let Some(message) = message(data) {
        for size in [1, 100] {
            let divided = records(message, size);
            if divided.len() < MAX_BYTES {
                let again = HelloReader::default().read(&divided);
                assert_eq!(whole, again, "in records of {size}: {shown}");
            }
        }
    }
    if let Some((sni, alpn)) = by_rustls(data) {
        let read = hello.sni.as_deref().map(str::to_ascii_lowercase);
        assert!(sni.is_none() || sni == read, "{sni:?} {read:?}: {shown}");
        assert_eq!(alpn, hello.alpn.len(), "{shown}");
    }
    format!(
        "{} {} {} {}",
        hello.ja4.get(..4).unwrap_or_default(),
        hello.sni.is_some(),
        hello.alpn.len().min(3),
        hello.ech
    )
}

fn check(hello: &Hello) {
    let printable = |text: &str, max: usize| {
        text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(sni) = &hello.sni {
        assert!(!sni.is_empty() && printable(sni, MAX_SNI), "{sni:?}");
    }
    assert!(hello.alpn.len() <= MAX_ALPN);
    assert!(hello.alpn.iter().all(|text| printable(text, MAX_PROTOCOL)));
    assert!(hello.ja4.len() == 36 && printable(&hello.ja4, 36));
}

/// Reads as if `size` bytes came at a time.
pub(super) fn in_pieces(data: &[u8], size: usize) -> Outcome {
    let mut reader = HelloReader::default();
    let mut end = 0;
    loop {
        end = data.len().min(end + size);
        let outcome = reader.read(data.get(..end).unwrap_or_default());
        if outcome != Ok(None) || end == data.len() {
            return outcome;
        }
    }
}

/// The message of a hello that is in one record.
pub(super) fn message(data: &[u8]) -> Option<&[u8]> {
    let [_, _, _, high, low] = data.first_chunk::<HEADER>()?;
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let message = data.get(HEADER..HEADER + len)?;
    let [_, high, middle, low] = message.first_chunk::<4>()?;
    let said = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    (said + 4 == len).then_some(message)
}

/// The message in records of `size` bytes.
pub(super) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for part in message.chunks(size) {
        let len = u16::try_from(part.len()).unwrap_or_default();
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&len.to_be_bytes());
        records.extend_from_slice(part);
    }
    records
}

/// The server name and the number of protocols as rustls reads them, where it reads a hello.
pub(super) fn by_rustls(data: &[u8]) -> Option<(Option<String>, usize)> {
    let read = || {
        let mut acceptor = Acceptor::default();
        let mut rest = data;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).ok()?;
            if let Some(accepted) = acceptor.accept().ok()? {
                let hello = accepted.client_hello();
                let alpn = hello.alpn().map_or(0, Iterator::count);
                return Some((hello.server_name().map(str::to_ascii_lowercase), alpn));
            }
        }
        None
    };
    // Whether rustls panics is not what is asked here.
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}
