//! The table of the open tunnels: what each one is and has carried, and how it is told to end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::TunnelRequest;
use crate::access::auth::User;
use crate::access::limits::{Account, Flow, Volume};
use crate::access::policy::{DecidedBy, Name};
use crate::client::ClientCertificate;
use crate::hello::Hello;
use crate::hook::{self, Run, Stop};
use crate::http::http1::Version;
use crate::http::role::Role;
use crate::request::app::App;
use crate::request::hooks::ended;
use crate::request::live::Look;
use crate::request::outcome::Exchange;
use crate::request::request_id::RequestId;
use crate::telemetry;
use crate::tunnel::{Meter, Source, Traffic};
use crate::upstream::limit::Permit;
use crate::upstream::server::Address;

/// The reason of the end of a tunnel that a hook cuts.
const CUT_BY_HOOK: &str = "hook";

#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: HashMap<RequestId, Arc<Tunnel>>,
    /// Whether the process stops, so that a tunnel that opens now is aborted.
    is_closed: bool,
}

/// What a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// Of CONNECT.
    Connect,
    /// Of a WebSocket.
    WebSocket,
    /// Of SOCKS5.
    Socks5,
}

impl TunnelKind {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            TunnelKind::Connect => "connect",
            TunnelKind::WebSocket => "websocket",
            TunnelKind::Socks5 => "socks5",
        }
    }
}

/// An open tunnel, as others than its own task see it.
#[derive(Debug)]
pub struct Tunnel {
    pub id: RequestId,
    pub user: Option<User>,
    pub client: SocketAddr,
    pub kind: TunnelKind,
    pub target: Box<str>,
    /// What admitted it.
    pub decided_by: Option<DecidedBy>,
    /// The class that holds for it.
    pub class: Option<Name>,
    pub parent: Option<Arc<str>>,
    pub upstream: Option<Address>,
    /// The hello in it, where that was read.
    pub hello: OnceLock<Arc<Hello>>,
    pub since: Instant,
    /// What was reported of its bytes, and so is counted and charged.
    bytes_from_client: AtomicU64,
    bytes_from_upstream: AtomicU64,
    /// What its relay has carried by now.
    relayed_from_client: AtomicU64,
    relayed_from_upstream: AtomicU64,
    /// Bytes of the upstream that came before that.
    early: AtomicU64,
    /// What the last look saw.
    pub look: Mutex<Look>,
    abort: CancellationToken,
    /// When it ends, and whether it was that.
    expires: Option<SystemTime>,
    is_expired: AtomicBool,
    /// What the client has shown, and whether that is refused meanwhile.
    certificate: Option<Arc<ClientCertificate>>,
    is_refused: AtomicBool,
    is_closed_by_admin: AtomicBool,
}

/// The longest sleep until a token expires: the clock may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// An entry of the table, until dropped, with what the tunnel holds.
pub struct OpenTunnel<'a> {
    tunnels: &'a Tunnels,
    tunnel: Arc<Tunnel>,
    /// Its place in the metrics and statistics, if it has one.
    counted: Option<telemetry::OpenTunnel>,
    _permit: Option<Permit>,
    /// What its bytes are charged to, where a class holds for it.
    account: Option<Account>,
    /// The hooks of the request, while the tunnel is open.
    hooks: Option<Mutex<TunnelHooks>>,
    report_after: u64,
}

struct TunnelHooks {
    run: Box<Run>,
    /// Why a hook cuts the tunnel.
    cut: Option<Stop>,
}

impl Tunnels {
    /// Enters the tunnel that `request` opened. It keeps `permit` until it ends.
    pub fn enter(
        &self,
        request: &mut TunnelRequest,
        counted: Option<telemetry::OpenTunnel>,
        permit: Option<Permit>,
    ) -> OpenTunnel<'_> {
        let since = Instant::now();
        // The table of open tunnels has it from here on.
        request.exchange.live = None;
        let Exchange {
            request: facts,
            outcome,
            ..
        } = &request.exchange;
        let kind = match facts.role {
            Some(Role::Tunnel) if facts.version == Version::Socks5 => TunnelKind::Socks5,
            Some(Role::Tunnel) => TunnelKind::Connect,
            _ => TunnelKind::WebSocket,
        };
        let terms = outcome.terms.as_deref();
        let tunnel = Arc::new(Tunnel {
            id: facts.id,
            user: outcome.user.clone(),
            client: facts.source.client,
            kind,
            target: request.target().into(),
            decided_by: outcome.decided_by.clone(),
            class: outcome
                .account()
                .map(|account| account.class_name().clone()),
            parent: terms.and_then(|terms| terms.parent.clone()),
            upstream: outcome.upstream.clone(),
            hello: OnceLock::new(),
            since,
            bytes_from_client: AtomicU64::new(0),
            bytes_from_upstream: AtomicU64::new(0),
            relayed_from_client: AtomicU64::new(0),
            relayed_from_upstream: AtomicU64::new(0),
            early: AtomicU64::new(0),
            look: Mutex::new(Look::new(since)),
            abort: CancellationToken::new(),
            expires: terms.and_then(|terms| terms.expires),
            is_expired: AtomicBool::new(false),
            certificate: facts.source.certificate.clone(),
            is_refused: AtomicBool::new(false),
            is_closed_by_admin: AtomicBool::new(false),
        });
        let mut table = self.0.lock();
        if table.is_closed {
            tunnel.abort.cancel();
        }
        table.open.insert(tunnel.id, Arc::clone(&tunnel));
        drop(table);
        let run = request.exchange.run.take();
        let account = request.exchange.outcome.account().cloned();
        let every = run.as_ref().and_then(|run| run.report_every());
        let limit = account.as_ref().map(Account::report_after);
        OpenTunnel {
            tunnels: self,
            tunnel,
            counted,
            _permit: permit,
            account,
            report_after: every.into_iter().chain(limit).min().unwrap_or(u64::MAX),
            hooks: run.map(|run| Mutex::new(TunnelHooks { run, cut: None })),
        }
    }

    pub fn count(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Those that are open now.
    pub fn all(&self) -> Vec<Arc<Tunnel>> {
        self.0.lock().open.values().map(Arc::clone).collect()
    }

    /// Closes the tunnel of this id for an operator. False when there is none.
    pub fn close(&self, id: &str) -> bool {
        let Some(id) = RequestId::parse(id) else {
            return false;
        };
        let tunnel = self.0.lock().open.get(&id).map(Arc::clone);
        tunnel.is_some_and(|tunnel| {
            tunnel.close();
            true
        })
    }

    /// Closes all tunnels of these users for an operator. How many there were.
    pub fn close_of(&self, is_of: impl Fn(&User) -> bool) -> usize {
        let mut all = self.all();
        all.retain(|tunnel| tunnel.user.as_ref().is_some_and(&is_of));
        all.iter().for_each(|tunnel| tunnel.close());
        all.len()
    }

    /// Aborts every tunnel, and each one that opens from now on.
    pub fn abort_all(&self) {
        let mut table = self.0.lock();
        table.is_closed = true;
        for tunnel in table.open.values() {
            tunnel.abort.cancel();
            log::debug!("{}", tunnel.describe());
        }
    }
}

impl Tunnel {
    /// What it has carried by now.
    pub fn carried(&self) -> Traffic {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        let early = of(&self.early);
        Traffic {
            bytes_from_client: of(&self.relayed_from_client),
            // Before there is a relay, what was reported is all.
            bytes_from_upstream: (early + of(&self.relayed_from_upstream))
                .max(of(&self.bytes_from_upstream)),
        }
    }

    /// Whether it was told to end.
    pub fn is_closing(&self) -> bool {
        self.abort.is_cancelled()
    }

    fn close(&self) {
        self.is_closed_by_admin.store(true, Ordering::Relaxed);
        self.abort.cancel();
    }

    fn describe(&self) -> String {
        let carried = self.carried();
        format!(
            "tunnel {} to {}: aborted after {:?}, with {} bytes from the client and {} from the upstream",
            self.id,
            self.target,
            self.since.elapsed(),
            carried.bytes_from_client,
            carried.bytes_from_upstream,
        )
    }
}

impl OpenTunnel<'_> {
    /// Ready when the process stops, when an operator closes the tunnel, when the token of the tunnel expires, and when the certificate of its client is
    /// refused.
    pub async fn aborted(&self) {
        match (self.tunnel.expires, &self.tunnel.certificate) {
            (None, None) => self.tunnel.abort.cancelled().await,
            // Boxed, so that the other tunnels are not larger.
            (expires, None) => Box::pin(self.aborted_or_expired(expires)).await,
            (expires, Some(certificate)) => {
                Box::pin(self.aborted_or_refused(expires, certificate)).await;
            }
        }
    }

    /// Whether an operator has closed it.
    pub fn is_closed_by_admin(&self) -> bool {
        self.tunnel.is_closed_by_admin.load(Ordering::Relaxed)
    }

    /// Whether the certificate of its client is refused, and not the process stopped.
    pub fn is_refused(&self) -> bool {
        self.tunnel.is_refused.load(Ordering::Relaxed)
    }

    async fn aborted_or_refused(
        &self,
        expires: Option<SystemTime>,
        certificate: &ClientCertificate,
    ) {
        tokio::select! {
            () = self.aborted_or_expired(expires) => {}
            () = certificate.refused() => self.tunnel.is_refused.store(true, Ordering::Relaxed),
        }
    }

    /// Whether its token has expired, and not the process stopped.
    pub fn is_expired(&self) -> bool {
        self.tunnel.is_expired.load(Ordering::Relaxed)
    }

    async fn aborted_or_expired(&self, expires: Option<SystemTime>) {
        let Some(expires) = expires else {
            return self.tunnel.abort.cancelled().await;
        };
        loop {
            let left = expires.duration_since(SystemTime::now());
            let Some(left) = left.ok().filter(|left| !left.is_zero()) else {
                break;
            };
            let sleep = tokio::time::sleep(left.min(MAX_SLEEP));
            tokio::select! {
                () = self.tunnel.abort.cancelled() => return,
                () = sleep => {}
            }
        }
        self.tunnel.is_expired.store(true, Ordering::Relaxed);
    }

    /// The phase `tunnel_hello`: why a hook cuts the tunnel, if one does.
    pub fn hello(&self, hello: &Arc<Hello>) -> ControlFlow<&'static str> {
        // There is one.
        let _ = self.tunnel.hello.set(Arc::clone(hello));
        if let Some(hooks) = &self.hooks {
            let mut hooks = hooks.lock();
            if let Some(stop) = hooks.run.tunnel_hello(hello) {
                hooks.cut = Some(stop);
                return ControlFlow::Break(CUT_BY_HOOK);
            }
        }
        ControlFlow::Continue(())
    }

    /// Notes that the relay begins: what was carried until now comes before its bytes.
    pub fn begin_relay(&self) {
        let before = self.tunnel.bytes_from_upstream.load(Ordering::Relaxed);
        self.tunnel.early.store(before, Ordering::Relaxed);
    }

    /// Counts and charges bytes of the upstream that go to the client with the greeting.
    pub fn carried_before(&self, download: u64) {
        let counted = &self.tunnel.bytes_from_upstream;
        counted.fetch_add(download, Ordering::Relaxed);
        if let Some(account) = &self.account {
            // Over a limit, the first report says so again.
            let _ = account.carried(Volume::down(download));
        }
    }

    /// Charges what was carried since the last report. Tells the hooks that the tunnel has ended, and gives them back to
    /// its request.
    pub fn end(&mut self, app: &App, exchange: &mut Exchange, total: Traffic) {
        if let Some(account) = &self.account {
            let reported = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
            let rest = Volume {
                download: (total.bytes_from_upstream)
                    .saturating_sub(reported(&self.tunnel.bytes_from_upstream)),
                upload: (total.bytes_from_client)
                    .saturating_sub(reported(&self.tunnel.bytes_from_client)),
            };
            // It has ended: there is nothing left to stop.
            let _ = account.carried(rest);
        }
        let Some(hooks) = self.hooks.take() else {
            return;
        };
        let TunnelHooks { mut run, cut } = hooks.into_inner();
        if let Some(stop) = cut {
            let error = ended(exchange, stop);
            exchange.outcome.fail(&error);
        }
        if let Some(stop) = run.tunnel_close(hook_traffic(total)) {
            app.hook_failed(&stop);
        }
        exchange.run = Some(run);
    }

    /// Records the end of a tunnel that metrics and statistics count.
    pub fn close(mut self, record: &telemetry::Record<'_>) {
        if let Some(counted) = self.counted.take() {
            counted.close(record);
        }
    }
}

impl Meter for OpenTunnel<'_> {
    /// Counts and charges, and asks the hooks.
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str> {
        let Traffic {
            bytes_from_client,
            bytes_from_upstream,
        } = traffic;
        let tunnel = &self.tunnel;
        tunnel
            .bytes_from_client
            .fetch_add(bytes_from_client, Ordering::Relaxed);
        tunnel
            .bytes_from_upstream
            .fetch_add(bytes_from_upstream, Ordering::Relaxed);
        if let Some(counted) = &self.counted {
            counted.add_bytes(&tunnel.target, bytes_from_client, bytes_from_upstream);
        }
        if let Some(account) = &self.account {
            let bytes = Volume {
                download: bytes_from_upstream,
                upload: bytes_from_client,
            };
            if let ControlFlow::Break(limit) = account.carried(bytes) {
                return ControlFlow::Break(limit.as_str());
            }
        }
        if let Some(hooks) = &self.hooks {
            let mut hooks = hooks.lock();
            if let Some(stop) = hooks.run.tunnel_bytes(hook_traffic(traffic)) {
                hooks.cut = Some(stop);
                return ControlFlow::Break(CUT_BY_HOOK);
            }
        }
        ControlFlow::Continue(())
    }

    fn progress(&self, total: Traffic) {
        let tunnel = &self.tunnel;
        tunnel
            .relayed_from_client
            .store(total.bytes_from_client, Ordering::Relaxed);
        tunnel
            .relayed_from_upstream
            .store(total.bytes_from_upstream, Ordering::Relaxed);
    }

    fn report_after(&self) -> u64 {
        self.report_after
    }

    fn is_exact(&self) -> bool {
        self.account.as_ref().is_some_and(Account::is_exact)
    }

    fn part(&self, source: Source) -> Option<u64> {
        self.account.as_ref()?.part(flow(source))
    }

    fn lend_now(&self, source: Source, bytes: u64) -> bool {
        let account = self.account.as_ref();
        account.is_none_or(|account| account.lend_now(flow(source), bytes))
    }

    fn lend(&self, source: Source, bytes: u64) -> Duration {
        let account = self.account.as_ref();
        account.map_or(Duration::ZERO, |account| account.lend(flow(source), bytes))
    }

    fn give_back(&self, source: Source, bytes: u64) {
        if let Some(account) = &self.account {
            account.give_back(flow(source), bytes);
        }
    }
}

fn flow(source: Source) -> Flow {
    match source {
        Source::Client => Flow::Upload,
        Source::Upstream => Flow::Download,
    }
}

fn hook_traffic(traffic: Traffic) -> hook::Traffic {
    hook::Traffic {
        bytes_from_client: traffic.bytes_from_client,
        bytes_from_upstream: traffic.bytes_from_upstream,
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.tunnels.0.lock().open.remove(&self.tunnel.id);
    }
}
