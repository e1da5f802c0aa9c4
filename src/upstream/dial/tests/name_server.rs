//! A name server that says what a test tells it to, over UDP and TCP on one port.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What to say to one question.
#[derive(Clone)]
pub(super) enum Say {
    /// These addresses, as far as they are of the family that was asked for.
    Addresses(&'static [&'static str], u32),
    /// The name is an alias (TTL 7) of another, which has these.
    Alias(&'static str, &'static [&'static str], u32),
    /// An error code, with an SOA record of this TTL.
    Code(ResponseCode, Option<u32>),
    /// Nothing.
    Silence,
    /// Bytes that are not a message.
    Garbage,
    /// Another thing, after a while.
    Late(Duration, Box<Say>),
    /// "Ask by TCP", and there these addresses.
    Truncated(&'static [&'static str]),
    /// Another thing, but this to a question with EDNS.
    WithoutEdns(Box<Say>, Box<Say>),
    /// An error code in a bare header, without the question.
    Bare(ResponseCode),
    /// An error code of EDNS, in its own record.
    BadVersion,
    /// "Others know", without a name for the answer.
    Referral,
    /// Answers to other questions and with another id, then another thing.
    Forged(Box<Say>),
    /// Another thing, in upper case.
    UpperCase(Box<Say>),
}

type Script = dyn Fn(&str, RecordType) -> Say + Send + Sync;

pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    hold: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

struct Shared {
    script: Box<Script>,
    /// Each question once, however often it was sent again.
    questions: Mutex<HashSet<(u16, String, RecordType)>>,
    asked: watch::Sender<usize>,
    hold: watch::Receiver<bool>,
}

impl NameServer {
    pub(super) async fn start(
        script: impl Fn(&str, RecordType) -> Say + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The TCP port of this number may be in use: take the next.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (Arc::new(udp), tcp);
            }
        };
        let (hold, held) = watch::channel(false);
        let shared = Arc::new(Shared {
            script: Box::new(script),
            questions: Mutex::default(),
            asked: watch::Sender::new(0),
            hold: held,
        });
        let address = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&shared)));
        Self {
            address,
            shared,
            hold,
            _tasks: tasks,
        }
    }

    /// Says one thing to every question.
    pub(super) async fn saying(say: Say) -> Self {
        Self::start(move |_, _| say.clone()).await
    }

    /// From now on answers wait (`true`) or go out (`false`).
    pub(super) fn hold(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// The names that were asked for, one for each question. Without those in the background.
    pub(super) fn questions(&self) -> Vec<(String, RecordType)> {
        let questions = self.shared.questions.lock().unwrap();
        let mut list: Vec<_> = questions
            .iter()
            .map(|(_, name, kind)| (name.clone(), *kind))
            .filter(|(_, kind)| *kind != RecordType::NS)
            .collect();
        list.sort_by_key(|(name, kind)| (name.clone(), u16::from(*kind)));
        list
    }

    /// Waits until at least so many questions came.
    pub(super) async fn wait_for_questions(&self, count: usize) {
        let mut asked = self.shared.asked.subscribe();
        asked.wait_for(|asked| *asked >= count).await.unwrap();
    }
}

impl Shared {
    /// The packets that answer a question, once they may go out.
    async fn answer(&self, bytes: &[u8], over_tcp: bool) -> Vec<Vec<u8>> {
        self.try_answer(bytes, over_tcp).await.unwrap_or_default()
    }

    async fn try_answer(&self, bytes: &[u8], over_tcp: bool) -> Option<Vec<Vec<u8>>> {
        let request = Message::from_vec(bytes).unwrap();
        let query = request.queries.first().unwrap().clone();
        let name = query.name().to_ascii();
        let kind = query.query_type();
        let count = {
            let mut questions = self.questions.lock().unwrap();
            questions.insert((request.metadata.id, name.clone(), kind));
            questions.len()
        };
        self.asked.send_replace(count);
        self.hold.clone().wait_for(|hold| !hold).await.ok()?;

        let has_edns = request.edns.is_some();
        let mut response = request.into_response();
        response.edns = None;
        let mut say = (self.script)(&name, kind);
        let mut packets = Vec::new();
        let mut upper_case = false;
        loop {
            match say {
                Say::Late(delay, then) => {
                    tokio::time::sleep(delay).await;
                    say = *then;
                }
                Say::WithoutEdns(with, without) => say = if has_edns { *with } else { *without },
                Say::Forged(then) => {
                    let mut other = response.clone();
                    let forged = RData::A(A([192, 0, 2, 66].into()));
                    other.add_answer(Record::from_rdata(query.name().clone(), 60, forged));
                    other.metadata.id = response.metadata.id.wrapping_add(1);
                    packets.push(other.to_vec().unwrap());
                    other.metadata.id = response.metadata.id;
                    other.queries.clear();
                    packets.push(other.to_vec().unwrap());
                    let name = Name::from_ascii("forged.example.").unwrap();
                    other.add_query(hickory_proto::op::Query::query(name, kind));
                    packets.push(other.to_vec().unwrap());
                    packets.push(bytes.to_vec());
                    packets.push(vec![bytes[0]]);
                    say = *then;
                }
                Say::UpperCase(then) => {
                    upper_case = true;
                    say = *then;
                }
                _ => break,
            }
        }
        match say {
            Say::Late(..) | Say::WithoutEdns(..) | Say::Forged(_) | Say::UpperCase(_) => {
                unreachable!("resolved above")
            }
            Say::Silence => return Some(packets),
            Say::Garbage => return Some(vec![[&bytes[..2], &[0xff; 40]].concat()]),
            Say::Bare(code) => {
                response.queries.clear();
                response.metadata.response_code = code;
            }
            Say::BadVersion => {
                response.metadata.response_code = ResponseCode::BADVERS;
                response.set_edns(hickory_proto::op::Edns::new());
            }
            Say::Referral => {
                let ns = RData::NS(NS(Name::from_ascii("ns.example.").unwrap()));
                response.add_authority(Record::from_rdata(Name::root(), 60, ns));
            }
            Say::Addresses(list, ttl) => {
                response.add_answers(records(query.name(), kind, list, ttl));
            }
            Say::Alias(target, list, ttl) => {
                let target = Name::from_ascii(target).unwrap();
                let alias = RData::CNAME(CNAME(target.clone()));
                response.add_answer(Record::from_rdata(query.name().clone(), 7, alias));
                response.add_answers(records(&target, kind, list, ttl));
            }
            Say::Truncated(list) if over_tcp => {
                response.add_answers(records(query.name(), kind, list, 60));
            }
            Say::Truncated(_) => response.metadata.truncation = true,
            Say::Code(code, soa_ttl) => {
                response.metadata.response_code = code;
                if let Some(ttl) = soa_ttl {
                    let root = Name::root;
                    let soa = RData::SOA(SOA::new(root(), root(), 1, 1, 1, 1, ttl));
                    response.add_authority(Record::from_rdata(root(), ttl, soa));
                }
            }
        }
        if upper_case {
            let upper = |name: &Name| Name::from_ascii(name.to_ascii().to_uppercase()).unwrap();
            let query = response.queries.first_mut().unwrap();
            query.set_name(upper(query.name()));
            for record in &mut response.answers {
                record.name = upper(&record.name);
            }
        }
        packets.push(response.to_vec().unwrap());
        Some(packets)
    }
}

fn records(owner: &Name, kind: RecordType, list: &[&str], ttl: u32) -> Vec<Record> {
    list.iter()
        .map(|text| match text.parse().unwrap() {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        })
        .filter(|data| data.record_type() == kind)
        .map(|data| Record::from_rdata(owner.clone(), ttl, data))
        .collect()
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        // A closed socket of a client shows up as an error of this one.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
        let request = buffer[..length].to_vec();
        tasks.spawn(async move {
            for packet in shared.answer(&request, false).await {
                // The client may have its answer from another server, and have ended.
                let _sent = socket.send_to(&packet, client).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        tasks.spawn(serve_tcp_client(stream, Arc::clone(&shared)));
    }
}

async fn serve_tcp_client(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(length) = stream.read_u16().await {
        let mut request = vec![0; length.into()];
        stream.read_exact(&mut request).await.unwrap();
        for answer in shared.answer(&request, true).await {
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}
