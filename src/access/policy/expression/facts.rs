//! The facts of a request: their names, types and sizes, and their values during one evaluation.

use std::{
    fmt,
    net::IpAddr,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use cel::{
    common::{
        types::{CelBool, CelInt, CelList, CelString, CelTimestamp},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use chrono::DateTime;

use super::{
    Facts, MAX_FACT, MAX_GROUPS, MAX_HEAD_FACT, Scalar, ValueType,
    check::Checked,
    error::{EvaluationError, nearest},
    evaluate::Opaque,
    head,
    value_type::Size,
};
use crate::access::policy::hello::normalised;
use crate::hello::{MAX_ALPN, MAX_PROTOCOL};
use crate::http::role::Role;

/// The seconds of the years 1 to 9999, the range of CEL.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A name that an expression can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `request.role`
    Role,
    /// `request.method`
    Method,
    /// `request.host`
    Host,
    /// `request.port`
    Port,
    /// `request.path`
    Path,
    /// `request.query`
    Query,
    /// `user.name`
    User,
    /// `user.groups`
    Groups,
    /// `client.ip`
    Client,
    /// `time`
    Time,
    /// `tls.sni`
    Sni,
    /// `tls.alpn`
    Alpn,
    /// `tls.ja4`
    Ja4,
    /// `tls.ech`
    Ech,
}

impl Fact {
    /// Every one.
    pub const ALL: [Fact; 14] = [
        Fact::Role,
        Fact::Method,
        Fact::Host,
        Fact::Port,
        Fact::Path,
        Fact::Query,
        Fact::User,
        Fact::Groups,
        Fact::Client,
        Fact::Time,
        Fact::Sni,
        Fact::Alpn,
        Fact::Ja4,
        Fact::Ech,
    ];

    /// The name in an expression.
    pub const fn name(self) -> &'static str {
        match self {
            Fact::Role => "request.role",
            Fact::Method => "request.method",
            Fact::Host => "request.host",
            Fact::Port => "request.port",
            Fact::Path => "request.path",
            Fact::Query => "request.query",
            Fact::User => "user.name",
            Fact::Groups => "user.groups",
            Fact::Client => "client.ip",
            Fact::Time => "time",
            Fact::Sni => "tls.sni",
            Fact::Alpn => "tls.alpn",
            Fact::Ja4 => "tls.ja4",
            Fact::Ech => "tls.ech",
        }
    }

    pub(super) const fn value_type(self) -> ValueType {
        match self {
            Fact::Role
            | Fact::Method
            | Fact::Host
            | Fact::Path
            | Fact::Query
            | Fact::User
            | Fact::Client
            | Fact::Sni
            | Fact::Ja4 => ValueType::One(Scalar::String),
            Fact::Port => ValueType::One(Scalar::Int),
            Fact::Groups | Fact::Alpn => ValueType::List(Some(Scalar::String)),
            Fact::Ech => ValueType::One(Scalar::Bool),
            Fact::Time => ValueType::One(Scalar::Timestamp),
        }
    }

    pub(super) const fn size(self) -> Size {
        let (bytes, len) = match self {
            Fact::Role | Fact::Client | Fact::Ja4 => (64, 0),
            Fact::Method | Fact::Host | Fact::User | Fact::Sni => (MAX_FACT as u64, 0),
            Fact::Path | Fact::Query => (MAX_HEAD_FACT as u64, 0),
            Fact::Groups => (MAX_FACT as u64, MAX_GROUPS as u64),
            Fact::Alpn => (MAX_PROTOCOL as u64, MAX_ALPN as u64),
            Fact::Port | Fact::Time | Fact::Ech => (0, 0),
        };
        Size { bytes, len }
    }

    /// Why the fact, or this part of it, can never equal this text.
    pub(super) fn never(self, text: &str, compared: Compared) -> Option<Box<str>> {
        let whole = compared == Compared::Whole;
        let quoted = |text: &str| format!("write {:?}", text).into();
        match self {
            Fact::Host | Fact::Sni if text.bytes().any(|b| b.is_ascii_uppercase()) => Some(
                format!(
                    "hosts are in lower case; write {:?}",
                    text.to_ascii_lowercase()
                )
                .into(),
            ),
            Fact::Host | Fact::Sni if !text.is_ascii() => {
                Some("hosts are in their ASCII form, as xn--bcher-kva.example".into())
            }
            Fact::Host | Fact::Sni
                if compared != Compared::Part && text.len() > 1 && text.ends_with('.') =>
            {
                Some(
                    format!(
                        "hosts have no dot at the end; write {:?}",
                        text.trim_end_matches('.')
                    )
                    .into(),
                )
            }
            Fact::Role if whole && !ROLES.contains(&text) => {
                Some(nearest(text, ROLES).map_or_else(
                    || format!("it is one of {}", ROLES.join(", ")).into(),
                    quoted,
                ))
            }
            Fact::Method if whole && METHODS.contains(&&*text.to_ascii_uppercase()) => {
                let upper = text.to_ascii_uppercase();
                (upper != text).then(|| quoted(&upper))
            }
            Fact::Path if whole && !text.is_empty() && !text.starts_with('/') => {
                Some(format!("paths begin with a slash; write {:?}", format!("/{text}")).into())
            }
            Fact::Path if text.contains('?') => {
                Some("the query is in request.query, without the ?".into())
            }
            Fact::Client if whole => match text.parse::<IpAddr>() {
                Ok(ip) => {
                    let canonical = ip.to_canonical().to_string();
                    (canonical != text).then(|| quoted(&canonical))
                }
                Err(_) => Some("it is one address; write ip_in(client.ip, \"10.0.0.0/8\")".into()),
            },
            _ => None,
        }
    }
}

const ROLES: [&str; 3] = Role::NAMES;
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// The part of a fact that is compared with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// All of it.
    Whole,
    /// Its end.
    End,
    /// Any other part.
    Part,
}

/// The name of the client's address for `ip_in`. No expression can use it.
pub(super) const ADDRESS: &str = "client address";

/// The name of a constant. No expression can use it.
pub(super) fn constant_name(index: usize) -> String {
    format!("${index}")
}

/// The facts that an expression uses. The others are not computed and cannot fail the evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UsedFacts(u16);

impl UsedFacts {
    pub(super) fn insert(&mut self, fact: Fact) {
        self.0 |= 1 << fact as u8;
    }

    pub(super) fn contains(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u8) != 0
    }
}

/// The constants of an expression, by their names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants<'a>(pub(super) &'a [Box<dyn Val>]);

/// The values of one evaluation.
#[derive(Debug)]
pub(super) struct FactValues<'a> {
    role: CelString<'a>,
    method: CelString<'a>,
    host: CelString<'a>,
    port: CelInt,
    user: CelString<'a>,
    path: CelString<'a>,
    query: CelString<'a>,
    client: CelString<'a>,
    address: Opaque,
    time: CelTimestamp,
    group_names: &'a [&'a str],
    /// Made on first use: it allocates, and `&&` may never need it.
    groups: OnceLock<CelList<'a>>,
    hello: HelloValues<'a>,
    constants: Constants<'a>,
    /// The values of the checker's readings, in order.
    readings: Vec<Box<dyn Val + 'a>>,
}

/// The values of a hello; empty where the expression does not use them.
#[derive(Debug)]
struct HelloValues<'a> {
    sni: CelString<'a>,
    alpn: CelList<'a>,
    ja4: CelString<'a>,
    ech: CelBool,
}

impl<'a> HelloValues<'a> {
    fn new(facts: &Facts<'a>, used: UsedFacts) -> Result<Self, EvaluationError> {
        let of_hello = [Fact::Sni, Fact::Alpn, Fact::Ja4, Fact::Ech];
        if !of_hello.into_iter().any(|fact| used.contains(fact)) {
            return Ok(Self {
                sni: CelString::default(),
                alpn: Vec::new().into(),
                ja4: CelString::default(),
                ech: false.into(),
            });
        }
        let hello = facts.hello.ok_or(EvaluationError::NoHello)?;
        let boxed =
            |protocol: &'a str| -> Box<dyn Val + 'a> { Box::new(CelString::from(protocol)) };
        let protocols = hello.alpn.iter().map(AsRef::as_ref);
        Ok(Self {
            sni: normalised(hello.sni.as_deref().unwrap_or_default()).into(),
            alpn: protocols.map(boxed).collect::<Vec<_>>().into(),
            ja4: (&*hello.ja4).into(),
            ech: hello.ech.into(),
        })
    }
}

impl<'a> FactValues<'a> {
    /// Checks the used facts against the limits with which the worst case was computed.
    pub(super) fn new(
        facts: &Facts<'a>,
        checked: &'a Checked,
    ) -> Result<FactValues<'a>, EvaluationError> {
        let used = checked.used;
        for (fact, text) in [
            (Fact::Role, facts.role),
            (Fact::Method, facts.method),
            (Fact::Host, facts.host),
            (Fact::User, facts.user),
        ] {
            if used.contains(fact) && text.len() as u64 > fact.size().bytes {
                return Err(EvaluationError::LongFact(fact));
            }
        }
        if used.contains(Fact::Groups) {
            if facts.groups.len() > MAX_GROUPS {
                return Err(EvaluationError::ManyGroups);
            }
            if facts.groups.iter().any(|group| group.len() > MAX_FACT) {
                return Err(EvaluationError::LongFact(Fact::Groups));
            }
        }
        let of_head = |fact| match used.contains(fact) {
            true => head::fact(fact, facts).map(CelString::from),
            false => Ok(CelString::default()),
        };
        let readings = checked.readings.iter();
        let client = facts.client.to_canonical();
        Ok(FactValues {
            role: facts.role.into(),
            method: facts.method.into(),
            host: facts.host.into(),
            port: i64::from(facts.port).into(),
            user: facts.user.into(),
            client: if used.contains(Fact::Client) {
                client.to_string().into()
            } else {
                CelString::default()
            },
            address: Opaque::Address(client),
            time: if used.contains(Fact::Time) {
                timestamp(facts.time).ok_or(EvaluationError::Time)?
            } else {
                DateTime::UNIX_EPOCH.fixed_offset().into()
            },
            group_names: facts.groups,
            groups: OnceLock::new(),
            hello: HelloValues::new(facts, used)?,
            path: of_head(Fact::Path)?,
            query: of_head(Fact::Query)?,
            constants: Constants(&checked.constants),
            readings: readings
                .map(|reading| reading.value(facts))
                .collect::<Result<_, _>>()?,
        })
    }

    fn groups(&self) -> &CelList<'a> {
        self.groups.get_or_init(|| {
            let boxed =
                |group: &&'a str| -> Box<dyn Val + 'a> { Box::new(CelString::from(*group)) };
            self.group_names
                .iter()
                .map(boxed)
                .collect::<Vec<_>>()
                .into()
        })
    }
}

impl VariableResolver for FactValues<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(CowVal::Borrowed(match variable {
            "request.role" => &self.role,
            "request.method" => &self.method,
            "request.host" => &self.host,
            "request.port" => &self.port,
            "request.path" => &self.path,
            "request.query" => &self.query,
            "user.name" => &self.user,
            "user.groups" => self.groups(),
            "client.ip" => &self.client,
            ADDRESS => &self.address,
            "time" => &self.time,
            "tls.sni" => &self.hello.sni,
            "tls.alpn" => &self.hello.alpn,
            "tls.ja4" => &self.hello.ja4,
            "tls.ech" => &self.hello.ech,
            _ => match head::reading_index(variable) {
                Some(index) => self.readings.get(index)?.as_ref(),
                None => return self.constants.resolve(variable),
            },
        }))
    }
}

impl VariableResolver for Constants<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let index: usize = variable.strip_prefix('$')?.parse().ok()?;
        Some(CowVal::Borrowed(self.0.get(index)?.as_ref()))
    }
}

/// The time as a CEL timestamp, if it is in CEL's range.
fn timestamp(time: SystemTime) -> Option<CelTimestamp> {
    let time = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            let seconds = i64::try_from(after.as_secs()).ok()?;
            DateTime::from_timestamp(seconds, after.subsec_nanos())?
        }
        Err(before) => {
            let before = chrono::Duration::from_std(before.duration()).ok()?;
            DateTime::UNIX_EPOCH.checked_sub_signed(before)?
        }
    };
    in_range(time.fixed_offset()).then(|| time.fixed_offset().into())
}

/// Whether the time is in CEL's range.
pub(super) fn in_range(time: DateTime<chrono::FixedOffset>) -> bool {
    YEARS.contains(&time.timestamp())
}

/// Text in an error: its start, without control characters.
pub(super) struct Quoted<'a>(pub(super) &'a str, pub(super) usize);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(self.1) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
