//! What every connection shares: made once from the configuration, handed to the
//! parts that serve requests.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use http::HeaderValue;

use super::admit::{AccessControl, Asking, on_this_machine};
use super::lifecycle::Lifecycle;
use super::outcome::Exchange;
use super::reply::Reply;
use super::request_id::RequestIds;
use crate::access::auth::User;
use crate::access::auth::tokens::TokenError;
use crate::balances::Balances;
use crate::client::{ClientStream, Connection, Patience};
use crate::config::{Config, Forwarding, Limits, Timeouts};
use crate::hook::{self, HookSet, How, Stop};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::fields::{self, Pseudonym, UserField};
use crate::http::http1::{HeadLimits, MAX_FIELDS};
use crate::http::pac::Pac;
use crate::http::role::Role;
use crate::telemetry::Telemetry;
use crate::telemetry::throttle::Throttle;
use crate::tunnel::Socket as _;
use crate::upstream::certificates::Certificates;
use crate::upstream::dial::{Dialer, DnsOptions, Sources};
use crate::upstream::fetch::Fetcher;
use crate::upstream::limit::{Capacity, OriginLimits};
use crate::upstream::parent::{self, Parents};
use crate::upstream::pool::{IsOwn, Parts, Pools};
use crate::upstream::tls::OriginTls;

/// The parts that all connections share.
pub struct App {
    pub access: AccessControl,
    /// Look-up and dial of targets.
    pub dialer: Arc<Dialer>,
    /// TLS to origins that are dialled without Pingora.
    pub origin_tls: Arc<OriginTls>,
    /// The certificates of `ca_file`, which origins may show themselves.
    pub certificates: Certificates,
    /// The limits of origins that are forwarded to.
    pub origins: OriginLimits,
    /// The upstreams of the gateway.
    pub pools: Pools,
    pub telemetry: Arc<Telemetry>,
    /// What members have used of their quotas.
    pub balances: Arc<Balances>,
    pub lifecycle: Lifecycle,
    pub pseudonym: Pseudonym,
    /// What tells upstreams of the gateway who the client is.
    pub forwarding: Forwarding,
    /// The file from which browsers learn of this proxy, if it is served.
    pub pac: Option<Arc<Pac>>,
    /// Whether requests to https origins go on in HTTP/2, where these offer it.
    pub origin_http2: bool,
    /// What tells an upstream the user.
    pub user_field: Option<UserField>,
    pub ids: RequestIds,
    pub timeouts: Timeouts,
    /// Tells apart the pooled connections through parents. No client can choose a number.
    pub pool_hasher: RandomState,
    pub limits: Limits,
    /// Those of heads, as their parser takes them.
    pub head_limits: HeadLimits,
    /// The client for what the program itself asks for.
    pub fetcher: Arc<Fetcher>,
    /// Lines about keys that cannot be fetched.
    pub key_failures: Throttle,
    /// One for each scheme; that of Bearer only where tokens are accepted.
    challenges: [HeaderValue; 2],
    out_of_sockets: Throttle,
    out_of_ports: Throttle,
    hooks_failed: Throttle,
}

impl App {
    /// Makes the parts, with these hooks. Starts no thread and opens no socket: the process may
    /// still fork.
    ///
    /// # Errors
    /// A part cannot be made, with the reason.
    pub fn new(config: &Config, hooks: HookSet) -> anyhow::Result<Arc<Self>> {
        let threads = config.threads_apart();
        let realm = &config.auth.realm;
        let challenges = [
            format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            format!("Bearer realm=\"{realm}\""),
        ];
        let [basic, bearer] = challenges.map(|challenge| HeaderValue::from_str(&challenge));
        let forwarding = config.gateway.forwarding();
        let telemetry = Arc::new(Telemetry::new(&config.log)?);
        let ca_file = config.server.ca_file.as_deref().map(Path::new);
        let certificates = match ca_file {
            Some(path) => Certificates::read(path)
                .with_context(|| format!("cannot read ca_file {}", path.display()))?,
            None => Certificates::default(),
        };
        let dialer = Arc::new(dialer(config));
        let tls = OriginTls::new(ca_file, &certificates, config.timeouts.tls_handshake)?;
        let origin_tls = Arc::new(tls);
        let fetcher = Arc::new(fetcher(config, Arc::clone(&dialer)));
        let asking = Asking::new(Arc::clone(&fetcher), Arc::clone(&telemetry))?;
        let policy = on_this_machine(&config.policy);
        let is_own =
            move |address: SocketAddr| policy.guard().is_own_listener(address.ip(), address.port());
        let is_own: Arc<IsOwn> = Arc::new(is_own);
        let parents = parent::Parts {
            threads,
            keep_alive: config.timeouts.upstream_keep_alive,
            connect_timeout: config.timeouts.connect,
            sources: Sources::new(&config.sources()),
            tls: Arc::clone(&origin_tls),
            dialer: Arc::clone(&dialer),
            is_own: Arc::clone(&is_own),
            telemetry: Arc::clone(&telemetry),
        };
        let parents = Parents::new(&config.parents, Arc::new(parents), None);
        let parts = Parts {
            threads,
            timeouts: &config.timeouts,
            sources: Sources::new(&config.sources()),
            tls: Arc::clone(&origin_tls),
            dialer: Arc::clone(&dialer),
            is_own,
            telemetry: &telemetry,
        };
        let pools = Pools::new(&config.gateway, parts);
        let balances = Balances::new(config.store.clone(), Arc::clone(&telemetry));
        let balances = Arc::new(balances);
        let counted = Arc::clone(&balances);
        let access = AccessControl::new(config, hooks, pools.names(), asking, counted, parents)?;
        telemetry.show_classes(access.classes());
        Ok(Arc::new(Self {
            access,
            balances,
            dialer,
            origin_tls,
            certificates,
            origins: OriginLimits::new(
                Capacity {
                    permits: config.limits.connections_per_origin,
                    threads,
                    keep_alive: config.timeouts.upstream_keep_alive,
                },
                config.timeouts.connect,
            ),
            pools,
            telemetry,
            lifecycle: Lifecycle::default(),
            pac: config.pac.clone(),
            origin_http2: config.origin_http2,
            user_field: config.gateway.user_field.clone(),
            pseudonym: Pseudonym::new(getrandom::u32()?),
            ids: RequestIds::starting_at(getrandom::u64()?),
            timeouts: config.timeouts.clone(),
            pool_hasher: RandomState::new(),
            limits: config.limits.clone(),
            head_limits: HeadLimits {
                max_head: config.limits.request_head,
                max_target: config.limits.request_target,
                // With `Forwarded`, one line more may be added.
                max_fields: config
                    .limits
                    .request_fields
                    .min(MAX_FIELDS - usize::from(forwarding.actions.has_forwarded())),
                keep_forwarding: forwarding.actions.append(),
            },
            forwarding,
            challenges: [basic?, bearer?],
            fetcher,
            key_failures: Throttle::new(),
            out_of_sockets: Throttle::new(),
            out_of_ports: Throttle::new(),
            hooks_failed: Throttle::new(),
        }))
    }

    /// The answer to a request that failed, as text or what its `accept` asks for;
    /// notes the failure in `exchange`.
    pub fn refuse(
        &self,
        exchange: &mut Exchange,
        error: &RequestError,
        accept: Option<&[u8]>,
    ) -> Reply {
        if let Some(answer) = error.answer() {
            return Reply::of_hook(answer, exchange.request.id);
        }
        exchange.outcome.fail(error);
        if error.kind().is_challenge() {
            self.telemetry.auth_failed(error.kind().name());
        }
        if let Some(refused) = TokenError::of(error) {
            self.telemetry.token_refused(refused.reason());
        }
        let id = exchange.request.id;
        log::debug!("request {id}: {}", error.chain());
        self.tell_of_exhaustion(error);
        let json = fields::accepts_json(accept);
        Reply::to_error(error, id, self.challenges(error), json)
    }

    /// The challenges of an answer to this error: Basic first, which every client knows.
    fn challenges(&self, error: &RequestError) -> &[HeaderValue] {
        let count = match error.kind().is_challenge() {
            true if self.access.tokens().is_some() => 2,
            true => 1,
            false => 0,
        };
        self.challenges.get(..count).unwrap_or_default()
    }

    /// Whether the hooks let a connection in, which is closed otherwise.
    pub fn admits_connection(&self, connection: &Connection, client: SocketAddr) -> bool {
        let access = self.access.current();
        let Some(hooks) = access.hooks() else {
            return true;
        };
        let stopped = hooks.connection(&hook::Connection {
            client,
            local: connection.tcp().and_then(|tcp| tcp.local_addr().ok()),
            tls: matches!(connection, Connection::Right(_)),
        });
        if let Err(stop) = &stopped {
            self.telemetry.connection_rejected("hook");
            if matches!(stop.how, How::Failed(_)) {
                self.hook_failed(stop);
            }
        }
        stopped.is_ok()
    }

    /// Counts a hook that failed where no request can be refused any more, and says so now and then.
    pub fn hook_failed(&self, stop: &Stop) {
        self.telemetry.hook_failed(&stop.by);
        if let How::Failed(why) = &stop.how
            && let Some(passed) = self.hooks_failed.pass()
        {
            log::warn!("hook {} failed in {}: {why}{passed}", stop.by, stop.phase);
        }
    }

    /// How long clients are waited for.
    pub fn patience(&self) -> Patience {
        Patience {
            send: self.timeouts.send,
            half_closed: self.timeouts.half_closed,
        }
    }

    /// The field and the user of a request that goes to an upstream, which is to be told.
    pub fn user_for_upstream<'a>(
        &'a self,
        exchange: &'a Exchange,
    ) -> Option<(&'a UserField, &'a User)> {
        let is_gateway = exchange.request.role == Some(Role::Gateway);
        let field = self.user_field.as_ref().filter(|_| is_gateway)?;
        Some((field, exchange.outcome.user.as_ref()?))
    }

    /// Has a line in the log now and then while this host is out of something that its operator can raise.
    fn tell_of_exhaustion(&self, error: &RequestError) {
        let (throttle, remedy) = match error.kind() {
            ErrorKind::OutOfSockets => (
                &self.out_of_sockets,
                "raise the limit on open files (LimitNOFILE= in the systemd unit, ulimit -Hn), or lower \
                 tollgate.limits.max_connections",
            ),
            ErrorKind::OutOfPorts => (
                &self.out_of_ports,
                "widen net.ipv4.ip_local_port_range, or lower tollgate.limits.connections_per_origin",
            ),
            _ => return,
        };
        if let Some(passed) = throttle.pass() {
            log::warn!("requests get 503: {}; {remedy}{passed}", error.chain());
        }
    }

    /// Sends an answer of our own on a connection that is not with Pingora. Gives
    /// the connection back when it can go on.
    pub async fn answer(
        &self,
        mut client: Box<ClientStream>,
        answer: &[u8],
        close: bool,
    ) -> Option<Box<ClientStream>> {
        let sent = tokio::time::timeout(self.timeouts.send, client.send(answer)).await;
        sent.ok()?.ok()?;
        if !close {
            return Some(client);
        }
        client.linger_briefly().await;
        None
    }
}

/// The way out that `config` describes.
pub fn dialer(config: &Config) -> Dialer {
    let options = DnsOptions {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
        cache_entries: config.dns.cache_entries,
        ..DnsOptions::default()
    };
    let sources = Sources::new(&config.sources());
    Dialer::new(options, sources, config.timeouts.connect)
}

/// The client for what the program itself asks for.
pub fn fetcher(config: &Config, dialer: Arc<Dialer>) -> Fetcher {
    let ca_file = config.server.ca_file.clone();
    Fetcher::new(dialer, ca_file, config.sources(), config.timeouts.connect)
}
