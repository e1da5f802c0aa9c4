//! A name server on a loopback UDP port.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};

/// Answers what a function says, with the TTL it was made with.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

impl Dns {
    /// Answers from a table; a name that is not in it does not exist.
    pub(crate) fn table(names: &[(&str, &[&str])]) -> Self {
        let names: Vec<(String, Vec<IpAddr>)> = names
            .iter()
            .map(|(name, addresses)| {
                let addresses = addresses.iter().map(|text| text.parse().unwrap());
                ((*name).to_owned(), addresses.collect())
            })
            .collect();
        Self::with(60, move |name, _| {
            let found = names.iter().find(|(have, _)| have == name);
            found.map(|(_, addresses)| addresses.clone())
        })
    }

    /// Answers what `look_up` gives for a name (lower case, no trailing dot) and the number of
    /// address look-ups for IPv4 so far; `None` is NXDOMAIN.
    pub(crate) fn with(
        ttl: u32,
        look_up: impl Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + 'static,
    ) -> Self {
        Self::odd(move |query, asked| Some(answer(query, ttl, asked, &look_up).to_vec().unwrap()))
    }

    /// Answers with whatever bytes; also given the number of address look-ups so far.
    pub(crate) fn odd(
        answer: impl Fn(&Message, &AtomicUsize) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let dns = Self {
            address,
            asked: Arc::clone(&asked),
            stopping: Arc::clone(&stopping),
        };
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            loop {
                // A client's closed socket shows up as an error of this one.
                let Ok((length, peer)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(query) = Message::from_vec(&packet[..length]) else {
                    continue;
                };
                if let Some(bytes) = answer(&query, &asked) {
                    let _sent = socket.send_to(&bytes, peer);
                }
            }
        });
        dns
    }

    /// Never answers, and counts the look-ups.
    pub(crate) fn silent() -> Self {
        Self::odd(|query, asked| {
            let of_address = |it: &hickory_proto::op::Query| it.query_type() == RecordType::A;
            asked.fetch_add(
                query.queries.iter().filter(|it| of_address(it)).count(),
                Ordering::SeqCst,
            );
            None
        })
    }

    /// Answers 127.0.0.1 to questions without EDNS, and others with what `refuse` makes of
    /// them.
    pub(crate) fn without_edns(
        refuse: impl Fn(&Message) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        Self::odd(move |query, asked| {
            if query.edns.is_some() {
                return refuse(query);
            }
            let loopback = |_: &str, _| Some(vec![IpAddr::from([127, 0, 0, 1])]);
            Some(answer(query, 60, asked, &loopback).to_vec().unwrap())
        })
    }

    /// Address look-ups for IPv4 so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The configuration that makes the program ask here, as lines under `tollgate:`.
    pub(crate) fn config(&self) -> String {
        format!("dns: {{ servers: [\"{}\"] }}\n", self.address)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _woken = waker.send_to(b"end", self.address);
    }
}

pub(crate) fn answer(
    query: &Message,
    ttl: u32,
    asked: &AtomicUsize,
    look_up: &impl Fn(&str, usize) -> Option<Vec<IpAddr>>,
) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    for question in &query.queries {
        message.add_query(question.clone());
        let kind = question.query_type();
        let count = if kind == RecordType::A {
            asked.fetch_add(1, Ordering::SeqCst)
        } else {
            asked.load(Ordering::SeqCst)
        };
        let name = question.name().to_ascii().to_ascii_lowercase();
        let Some(addresses) = look_up(name.trim_end_matches('.'), count) else {
            message.metadata.response_code = ResponseCode::NXDomain;
            continue;
        };
        for address in addresses {
            let data = match address {
                IpAddr::V4(v4) if kind == RecordType::A => RData::A(A(v4)),
                IpAddr::V6(v6) if kind == RecordType::AAAA => RData::AAAA(AAAA(v6)),
                _ => continue,
            };
            message.add_answer(Record::from_rdata(question.name().clone(), ttl, data));
        }
    }
    message
}
