//! One question to a name server, and what an answer to it says (RFC 1035 §4). Pure.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// The size of a UDP answer that is asked for: what no path breaks into fragments.
const EDNS_PAYLOAD: u16 = 1232;
/// The aliases that one answer is followed through.
const MAX_ALIASES: usize = 16;

/// The question for the records of one type.
#[derive(Clone, Debug)]
pub(super) struct Question {
    name: Name,
    kind: RecordType,
}

/// What a name server said.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// These are the addresses; not empty.
    Addresses(Vec<IpAddr>, Duration),
    /// The name is an alias of this one, whose addresses are not in the answer.
    Alias(Name, Duration),
    /// There is no such name.
    NoName(Option<Duration>),
    /// The name has no such record.
    NoRecord(Option<Duration>),
    /// Other name servers know: this one does not resolve names.
    Referral,
    /// The answer does not fit into a UDP packet.
    Truncated,
    /// An error.
    Code(ResponseCode),
    /// The answer cannot be read.
    Unreadable,
}

impl Question {
    pub(super) fn new(mut name: Name, kind: RecordType) -> Self {
        name.set_fqdn(true);
        Self { name, kind }
    }

    /// The question that every name server can answer, for the name servers of the root.
    pub(super) fn for_the_root() -> Self {
        Self::new(Name::root(), RecordType::NS)
    }

    /// The message to send; none for a name that does not fit into one.
    pub(super) fn to_message(&self, id: u16, edns: bool) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        if edns {
            let mut options = Edns::new();
            options.set_max_payload(EDNS_PAYLOAD);
            message.set_edns(options);
        }
        message.to_vec().ok()
    }

    /// Reads a message that carries the id of the question. `None` when it does not answer
    /// this question: another one's answer, or a forged one.
    pub(super) fn read(&self, message: &[u8]) -> Option<Said> {
        let Ok(message) = Message::from_vec(message) else {
            return Some(Said::Unreadable);
        };
        if message.metadata.message_type != MessageType::Response {
            return None;
        }
        let code = code_of(&message);
        match message.queries.as_slice() {
            [query] if self.is_repeated_by(query) => {}
            // A server that cannot read a question need not repeat it (RFC 6891 §7 meets
            // servers that send the header alone).
            [] if code != ResponseCode::NoError && code != ResponseCode::NXDomain => {}
            _ => return None,
        }
        Some(match code {
            _ if message.metadata.truncation => Said::Truncated,
            ResponseCode::NoError | ResponseCode::NXDomain => self.records(&message, code),
            code => Said::Code(code),
        })
    }

    /// Names compare without regard to case: a server may answer in another one.
    fn is_repeated_by(&self, query: &Query) -> bool {
        *query.name() == self.name
            && query.query_type() == self.kind
            && query.query_class() == DNSClass::IN
    }

    /// Follows the aliases of an answer to the records that were asked for.
    fn records(&self, message: &Message, code: ResponseCode) -> Said {
        let mut name = &self.name;
        let mut ttl: Option<u32> = None;
        for _ in 0..MAX_ALIASES {
            let own = || {
                message
                    .answers
                    .iter()
                    .filter(|record| record.name == *name && record.dns_class == DNSClass::IN)
            };
            let wanted = own().filter(|record| record.record_type() == self.kind);
            let least = wanted.clone().map(|record| record.ttl).chain(ttl).min();
            let addresses: Vec<IpAddr> = wanted.filter_map(|it| it.data.ip_addr()).collect();
            if !addresses.is_empty() {
                return Said::Addresses(addresses, seconds(least.unwrap_or_default()));
            }
            let alias = own().find_map(|record| match &record.data {
                RData::CNAME(target) => Some((&target.0, record.ttl)),
                _ => None,
            });
            let Some((target, alias_ttl)) = alias else {
                break;
            };
            name = target;
            ttl = Some(ttl.map_or(alias_ttl, |ttl| ttl.min(alias_ttl)));
        }
        let negative = negative_ttl(message).map(seconds);
        match ttl {
            _ if code == ResponseCode::NXDomain => Said::NoName(negative),
            Some(_) if negative.is_some() => Said::NoRecord(negative),
            Some(ttl) => Said::Alias(name.clone(), seconds(ttl)),
            None if negative.is_none() && refers(message) => Said::Referral,
            None => Said::NoRecord(negative),
        }
    }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

/// The code with the upper bits that EDNS adds.
fn code_of(message: &Message) -> ResponseCode {
    let low = message.metadata.response_code.low();
    let high = message.edns.as_ref().map_or(0, Edns::rcode_high);
    ResponseCode::from(high, low)
}

/// How long "there is none" may be kept (RFC 2308 §5).
fn negative_ttl(message: &Message) -> Option<u32> {
    message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
}

fn refers(message: &Message) -> bool {
    let is_ns = |record: &hickory_proto::rr::Record| record.record_type() == RecordType::NS;
    message.authorities.iter().any(is_ns)
}
