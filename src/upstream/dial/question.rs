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

    /// The answer to the question with these records.
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
    fn only_the_records_of_the_name_and_its_aliases_count() {
        let address = RData::A(A([192, 0, 2, 1].into()));
        let found = Some(Said::Addresses(
            vec!["192.0.2.1".parse().unwrap()],
            Duration::from_secs(60),
        ));
        let minute = Duration::from_secs(60);
        let cases: [(Records<'_>, Option<Said>); 6] = [
            (&[("www.example.", address.clone())], found),
            (
                // In any order.
                &[
                    ("b.example.", address.clone()),
                    ("a.example.", alias("b.example.")),
                    ("www.example.", alias("a.example.")),
                ],
                Some(Said::Addresses(vec!["192.0.2.1".parse().unwrap()], minute)),
            ),
            (&[("other.example.", address)], Some(Said::NoRecord(None))),
            (
                &[("www.example.", alias("a.example."))],
                Some(Said::Alias(name("a.example."), minute)),
            ),
            // A circle: to be asked for again, which is bounded as well.
            (
                &[
                    ("www.example.", alias("a.example.")),
                    ("a.example.", alias("www.example.")),
                ],
                Some(Said::Alias(name("www.example."), minute)),
            ),
            (&[], Some(Said::NoRecord(None))),
        ];
        for (number, (records, expected)) in cases.into_iter().enumerate() {
            assert_eq!(question().read(&answer(records)), expected, "{number}");
        }
    }

    #[test]
    fn a_question_is_no_answer() {
        let message = question().to_message(7, true).unwrap();
        assert_eq!(question().read(&message), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            question().read(&bytes);
        }

        #[test]
        fn never_panics_on_a_broken_answer(at in 0usize..60, byte in any::<u8>(), cut in 0usize..90) {
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
