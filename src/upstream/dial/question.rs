//! One question to a name server, and the parser of its response (RFC 1035 §4). Pure.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// The UDP response size that a question advertises; packets of this size are not fragmented.
const EDNS_PAYLOAD: u16 = 1232;
/// The most aliases that are followed in one response.
const MAX_ALIASES: usize = 16;

/// The question for the records of one type.
#[derive(Clone, Debug)]
pub(super) struct Question {
    name: Name,
    kind: RecordType,
}

/// The meaning of a name server's response.
#[derive(Debug, PartialEq)]
pub(super) enum Response {
    /// The addresses; not empty.
    Addresses(Vec<IpAddr>, Duration),
    /// The name is an alias of this name, whose addresses are not in the response.
    Alias(Name, Duration),
    /// The name does not exist.
    NoName(Option<Duration>),
    /// The name has no such record.
    NoRecord(Option<Duration>),
    /// A referral to other name servers: this one does not resolve names.
    Referral,
    /// The response does not fit into a UDP packet.
    Truncated,
    /// An error code.
    Code(ResponseCode),
    /// The response cannot be parsed.
    Unreadable,
}

impl Question {
    pub(super) fn new(mut name: Name, kind: RecordType) -> Self {
        name.set_fqdn(true);
        Self { name, kind }
    }

    /// The question for the name servers of the root, which every name server can answer.
    pub(super) fn for_the_root() -> Self {
        Self::new(Name::root(), RecordType::NS)
    }

    /// The message to send; `None` for a name that is too long for one.
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

    /// Parses a message with the id of the question. `None` when it is not a response to
    /// this question: one to another question, or a forged one.
    pub(super) fn read(&self, message: &[u8]) -> Option<Response> {
        let Ok(message) = Message::from_vec(message) else {
            return Some(Response::Unreadable);
        };
        if message.metadata.message_type != MessageType::Response {
            return None;
        }
        let code = code_of(&message);
        match message.queries.as_slice() {
            [query] if self.is_repeated_by(query) => {}
            // A server that cannot parse a question need not repeat it (RFC 6891 §7: some
            // servers send the header alone).
            [] if code != ResponseCode::NoError && code != ResponseCode::NXDomain => {}
            _ => return None,
        }
        Some(match code {
            _ if message.metadata.truncation => Response::Truncated,
            ResponseCode::NoError | ResponseCode::NXDomain => self.records(&message, code),
            code => Response::Code(code),
        })
    }

    /// Names are compared case-insensitively: a server may change the case.
    fn is_repeated_by(&self, query: &Query) -> bool {
        *query.name() == self.name
            && query.query_type() == self.kind
            && query.query_class() == DNSClass::IN
    }

    /// Follows the aliases of a response to the records of the question.
    fn records(&self, message: &Message, code: ResponseCode) -> Response {
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
                return Response::Addresses(addresses, seconds(least.unwrap_or_default()));
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
            _ if code == ResponseCode::NXDomain => Response::NoName(negative),
            Some(_) if negative.is_some() => Response::NoRecord(negative),
            Some(ttl) => Response::Alias(name.clone(), seconds(ttl)),
            None if negative.is_none() && is_referral(message) => Response::Referral,
            None => Response::NoRecord(negative),
        }
    }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

/// The response code with the upper bits of EDNS.
fn code_of(message: &Message) -> ResponseCode {
    let low = message.metadata.response_code.low();
    let high = message.edns.as_ref().map_or(0, Edns::rcode_high);
    ResponseCode::from(high, low)
}

/// The TTL of a negative response (RFC 2308 §5).
fn negative_ttl(message: &Message) -> Option<u32> {
    message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
}

fn is_referral(message: &Message) -> bool {
    let is_ns = |record: &hickory_proto::rr::Record| record.record_type() == RecordType::NS;
    message.authorities.iter().any(is_ns)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn question() -> Question {
        Question::new(name("www.example"), RecordType::A)
    }

    type Records<'a> = &'a [(&'a str, RData)];

    /// The response to the question with these records.
    fn answer(records: Records<'_>) -> Vec<u8> {
        let query = question().to_message(7, true).unwrap();
        let mut message = Message::from_vec(&query).unwrap().into_response();
        for (owner, data) in records {
            message.add_answer(Record::from_rdata(name(owner), 60, data.clone()));
        }
        message.to_vec().unwrap()
    }

    fn alias(target: &str) -> RData {
        RData::CNAME(CNAME(name(target)))
    }

    #[test]
    fn only_records_of_the_name_and_its_aliases_are_used() {
        let address = RData::A(A([192, 0, 2, 1].into()));
        let found = Some(Response::Addresses(
            vec!["192.0.2.1".parse().unwrap()],
            Duration::from_secs(60),
        ));
        let minute = Duration::from_secs(60);
        let cases: [(Records<'_>, Option<Response>); 6] = [
            (&[("www.example.", address.clone())], found),
            (
                // In any order.
                &[
                    ("b.example.", address.clone()),
                    ("a.example.", alias("b.example.")),
                    ("www.example.", alias("a.example.")),
                ],
                Some(Response::Addresses(
                    vec!["192.0.2.1".parse().unwrap()],
                    minute,
                )),
            ),
            (
                &[("other.example.", address)],
                Some(Response::NoRecord(None)),
            ),
            (
                &[("www.example.", alias("a.example."))],
                Some(Response::Alias(name("a.example."), minute)),
            ),
            // A loop: followed by another question, whose number is limited too.
            (
                &[
                    ("www.example.", alias("a.example.")),
                    ("a.example.", alias("www.example.")),
                ],
                Some(Response::Alias(name("www.example."), minute)),
            ),
            (&[], Some(Response::NoRecord(None))),
        ];
        for (number, (records, expected)) in cases.into_iter().enumerate() {
            assert_eq!(question().read(&answer(records)), expected, "{number}");
        }
    }

    #[test]
    fn a_question_is_not_a_response() {
        let message = question().to_message(7, true).unwrap();
        assert_eq!(question().read(&message), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            question().read(&bytes);
        }

        #[test]
        fn never_panics_on_a_damaged_response(at in 0usize..60, byte in any::<u8>(), cut in 0usize..90) {
            let mut bytes = answer(&[
                ("www.example.", alias("a.example.")),
                ("a.example.", RData::A(A([192, 0, 2, 1].into()))),
            ]);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            bytes.truncate(cut);
            question().read(&bytes);
        }
    }
}
