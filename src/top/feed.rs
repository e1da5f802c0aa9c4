//! The threads that ask the service, and pass on what it says: one listens to events, one asks for the list that is shown, one
//! does what was commanded, one reloads. None waits for another, and none holds up the terminal.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::events::{Event, Parser};
use super::facts::Facts;
use super::lists::Tab;
use super::state::{Change, Closing, Command, Link, Message, STATUS, reloaded};
use crate::admin::{Ask, AskError, Reply, Service};

/// From one look at the process to the next, while another list is shown.
const STATUS_PERIOD: Duration = Duration::from_secs(5);

/// How long the service may be silent. A snapshot comes each second.
const SILENCE: Duration = Duration::from_secs(10);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a reload may take: it may read lists of millions.
const RELOAD: Duration = Duration::from_secs(300);

/// How long an explanation may take: it may wait for name servers.
const EXPLANATION: Duration = Duration::from_secs(60);

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(15);

/// Why the service does not answer a question.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// There is no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It refuses.
    #[error("{message} (status {status})")]
    Refused {
        /// The status.
        status: u16,
        /// Its name for programs, if it has one.
        code: Option<String>,
        /// What it says.
        message: String,
    },
    /// Its answer is not of this version.
    #[error("the answer of the admin service is not that of this version")]
    Form,
}

/// The threads.
pub(super) struct Feed {
    service: Arc<Service>,
    messages: SyncSender<Message>,
    commands: Sender<Command>,
    reloads: Sender<Command>,
    wanted: Arc<Wanted>,
}

/// What is to be asked for, and whether to connect now.
#[derive(Default)]
struct Wanted {
    list: Mutex<Option<(Tab, String)>>,
    list_changed: Condvar,
    connects: Mutex<bool>,
    connect: Condvar,
}

impl FeedError {
    /// Whether another attempt would fail as well, and might lock a user out.
    fn is_of_credentials(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 401 | 403 | 421,
                ..
            }
        )
    }
}

/// Asks for JSON.
pub(super) fn get(service: &Service, path: &str) -> Result<Facts, FeedError> {
    let ask = Ask {
        method: "GET",
        path,
        body: None,
        silence: SILENCE,
        time: Some(ANSWER),
    };
    Facts::parse(&answer(service, &ask)?).ok_or(FeedError::Form)
}

/// The content of an answer that is no refusal.
fn answer(service: &Service, ask: &Ask<'_>) -> Result<Vec<u8>, FeedError> {
    let reply = service.ask(ask)?;
    match reply.status {
        200..300 => Ok(service.read(reply)?),
        _ => Err(refusal(service, reply)),
    }
}

fn refusal(service: &Service, reply: Reply<crate::admin::Stream>) -> FeedError {
    let status = reply.status;
    let body = service.read(reply).ok();
    refusal_of(status, body.and_then(|body| Facts::parse(&body)).as_ref())
}

fn refusal_of(status: u16, body: Option<&Facts>) -> FeedError {
    let code = body.and_then(|body| body.at("error").raw());
    let code = code.map(str::to_owned);
    let message = body.and_then(|body| body.at("message").raw());
    // What is in front of the service, or an older one, says something else.
    let message = message
        .unwrap_or("the service refuses the request")
        .to_owned();
    FeedError::Refused {
        status,
        code,
        message,
    }
}

impl Feed {
    /// Starts the threads. They end with the program.
    pub(super) fn start(
        service: Arc<Service>,
        messages: SyncSender<Message>,
    ) -> std::io::Result<Self> {
        let (commands, received) = channel();
        let (reloads, asked) = channel();
        let feed = Self {
            service,
            messages,
            commands,
            reloads,
            wanted: Arc::default(),
        };
        feed.spawn("events", |feed| feed.listen())?;
        feed.spawn("lists", |feed| feed.look())?;
        feed.spawn("commands", move |feed| feed.obey(&received))?;
        feed.spawn("reloads", move |feed| feed.obey(&asked))?;
        Ok(feed)
    }

    fn spawn(&self, name: &str, run: impl FnOnce(Thread) + Send + 'static) -> std::io::Result<()> {
        let thread = Thread {
            service: Arc::clone(&self.service),
            messages: self.messages.clone(),
            wanted: Arc::clone(&self.wanted),
        };
        thread::Builder::new()
            .name(format!("top {name}"))
            .spawn(move || run(thread))?;
        Ok(())
    }

    /// Says what is shown now.
    pub(super) fn want(&self, list: Option<(Tab, String)>) {
        let mut wanted = self.wanted.list.lock();
        if *wanted != list {
            *wanted = list;
            self.wanted.list_changed.notify_all();
        }
    }

    /// Does what concerns the service.
    pub(super) fn command(&self, command: Command) {
        if command == Command::Connect {
            *self.wanted.connects.lock() = true;
            self.wanted.connect.notify_all();
            return;
        }
        let thread = match command {
            Command::Change(Change::Reload) => &self.reloads,
            _ => &self.commands,
        };
        // The threads live as long as this.
        drop(thread.send(command));
    }
}

/// What each thread has.
struct Thread {
    service: Arc<Service>,
    messages: SyncSender<Message>,
    wanted: Arc<Wanted>,
}

impl Thread {
    /// Passes a message on. False at the end of the program.
    fn tell(&self, message: Message) -> bool {
        self.messages.send(message).is_ok()
    }

    /// Listens to events, and connects again when they end.
    fn listen(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (error, had_snapshot) = self.listen_once();
            if had_snapshot {
                pause = FIRST_PAUSE;
            }
            let next = (!error.is_of_credentials()).then_some(pause);
            if !self.tell(Message::Link(Link::Lost(error.to_string(), next))) {
                return;
            }
            self.wait_to_connect(next);
            pause = (pause * 2).min(LAST_PAUSE);
            if !self.tell(Message::Link(Link::Connecting)) {
                return;
            }
        }
    }

    /// Waits until the pause is over, or a key says that it is.
    fn wait_to_connect(&self, pause: Option<Duration>) {
        let mut connects = self.wanted.connects.lock();
        while !*connects {
            match pause {
                None => self.wanted.connect.wait(&mut connects),
                Some(pause) => {
                    if self
                        .wanted
                        .connect
                        .wait_for(&mut connects, pause)
                        .timed_out()
                    {
                        break;
                    }
                }
            }
        }
        *connects = false;
    }

    /// One connection. Why it ended, and whether it was of use.
    fn listen_once(&self) -> (FeedError, bool) {
        let mut had_snapshot = false;
        let error = self.read_events(&mut had_snapshot).err();
        let error = error.unwrap_or_else(|| {
            let name = self.service.name().to_owned();
            let error = std::io::ErrorKind::UnexpectedEof.into();
            FeedError::Ask(AskError::Io { name, error })
        });
        (error, had_snapshot)
    }

    fn read_events(&self, had_snapshot: &mut bool) -> Result<(), FeedError> {
        // Events tell what changes; this is what was before.
        self.tell(Message::Status(get(&self.service, STATUS)?));
        self.tell(Message::History(get(&self.service, "/api/v1/history")?));
        let mut reply = self.service.ask(&Ask {
            method: "GET",
            path: "/api/v1/events",
            body: None,
            silence: SILENCE,
            time: None,
        })?;
        if reply.status != 200 {
            return Err(refusal(&self.service, reply));
        }
        let mut parser = Parser::default();
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = reply.body.read(&mut bytes);
            let read = read.map_err(|error| {
                let name = self.service.name().to_owned();
                let error = match error.kind() {
                    std::io::ErrorKind::WouldBlock => std::io::ErrorKind::TimedOut.into(),
                    _ => error,
                };
                AskError::Io { name, error }
            })?;
            if read == 0 {
                return Ok(());
            }
            let mut events = Vec::new();
            let part = bytes.get(..read).unwrap_or_default();
            let taken = parser.take(part, |event| events.push(event));
            for event in events {
                *had_snapshot |= event.name == "snapshot";
                if let Some(message) = message(&event) {
                    if event.name == "snapshot" {
                        self.tell(Message::Link(Link::Live));
                    }
                    self.tell(message);
                }
            }
            taken.map_err(|_too_large| FeedError::Form)?;
        }
    }

    /// Asks for the list that is shown, each second, and now and then for the process.
    fn look(&self) {
        let mut status_due = Instant::now() + STATUS_PERIOD;
        loop {
            let wanted = {
                let mut list = self.wanted.list.lock();
                if list.is_none() {
                    self.wanted.list_changed.wait(&mut list);
                }
                list.clone()
            };
            let Some((tab, path)) = wanted else {
                continue;
            };
            // Where there is no connection, the thread of the events says so.
            let message = match get(&self.service, &path) {
                Ok(answer) if tab == Tab::Process => Some(Message::Status(answer)),
                Ok(answer) => Some(Message::List(tab, answer)),
                Err(error @ FeedError::Refused { .. }) if !error.is_of_credentials() => {
                    Some(Message::Unlisted(tab, error.to_string()))
                }
                Err(_) => None,
            };
            if message.is_some_and(|message| !self.tell(message)) {
                return;
            }
            if tab != Tab::Process && status_due <= Instant::now() {
                status_due = Instant::now() + STATUS_PERIOD;
                if let Ok(status) = get(&self.service, STATUS) {
                    self.tell(Message::Status(status));
                }
            }
            let mut list = self.wanted.list.lock();
            if list.as_ref().is_some_and(|(_, now)| *now == path) {
                self.wanted.list_changed.wait_for(&mut list, tab.period());
            }
        }
    }

    /// Does what is commanded, one after the other.
    fn obey(&self, commands: &Receiver<Command>) {
        loop {
            let command = match commands.recv_timeout(Duration::from_secs(3600)) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let message = match command {
                Command::Change(change) => {
                    let message = match &change {
                        Change::Close(closing) => Message::Changed(self.close(closing)),
                        Change::Reload => Message::Reloaded(self.reload()),
                        Change::Drain => self.drain(),
                    };
                    // What it waits for is another thing now.
                    if change == Change::Reload
                        && let Ok(status) = get(&self.service, STATUS)
                    {
                        self.tell(Message::Status(status));
                    }
                    message
                }
                Command::Explain(question) => Message::Explained(self.explain(&question)),
                Command::History => match get(&self.service, "/api/v1/history") {
                    Ok(history) => Message::History(history),
                    Err(_) => continue,
                },
                Command::Quit | Command::Suspend | Command::Redraw | Command::Connect => continue,
            };
            if !self.tell(message) {
                return;
            }
        }
    }

    fn close(&self, closing: &Closing) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let path = match closing {
            Closing::Tunnel(id, _) => format!("/api/v1/tunnels/{}", encode(id)),
            Closing::User(user) => format!("/api/v1/users/{}/tunnels", encode(user)),
        };
        let ask = Ask {
            method: "DELETE",
            path: &path,
            body: None,
            silence: SILENCE,
            time: Some(ANSWER),
        };
        match answer(&self.service, &ask) {
            Ok(body) => {
                let closed = Facts::parse(&body).and_then(|body| body.at("closed").count());
                closing.outcome(closed.unwrap_or(1))
            }
            Err(FeedError::Refused { status: 404, .. }) => closing.outcome(0),
            Err(error) => format!("nothing was closed: {error}"),
        }
    }

    /// What became of a reload. Errors of the files are in an answer of their own form.
    fn reload(&self) -> Vec<String> {
        let asked = self.service.ask(&Ask {
            method: "POST",
            path: "/api/v1/reload",
            body: None,
            silence: RELOAD,
            time: Some(RELOAD),
        });
        let answered = asked.and_then(|reply| {
            let status = reply.status;
            Ok((status, self.service.read(reply)?))
        });
        let (status, body) = match answered {
            Ok((status, body)) => (status, Facts::parse(&body)),
            Err(error) => return vec![format!("no answer about the reload: {error}")],
        };
        match body {
            Some(outcome) if !outcome.at("result").is_nothing() => reloaded(&outcome),
            body => {
                let error = match status {
                    200..300 => FeedError::Form,
                    status => refusal_of(status, body.as_ref()),
                };
                vec![format!("not reloaded: {error}")]
            }
        }
    }

    fn drain(&self) -> Message {
        let ask = Ask {
            method: "POST",
            path: "/api/v1/drain",
            body: None,
            silence: SILENCE,
            time: Some(ANSWER),
        };
        match answer(&self.service, &ask) {
            Ok(_) => Message::Drains,
            Err(error) => Message::Changed(format!("the process does not drain: {error}")),
        }
    }

    fn explain(&self, question: &Value) -> Result<Facts, String> {
        let body = question.to_string();
        let ask = Ask {
            method: "POST",
            path: "/api/v1/explain",
            body: Some(body.as_bytes()),
            silence: EXPLANATION,
            time: Some(EXPLANATION),
        };
        let answer = answer(&self.service, &ask).map_err(|error| error.to_string())?;
        Facts::parse(&answer).ok_or_else(|| FeedError::Form.to_string())
    }
}

/// What an event says; nothing for one of a later version.
pub(super) fn message(event: &Event) -> Option<Message> {
    let facts = Facts::parse(&event.data)?;
    match event.name.as_str() {
        "snapshot" => Some(Message::Snapshot(facts)),
        "denial" => Some(Message::Denial(facts)),
        "denials_skipped" => facts.at("count").count().map(Message::Skipped),
        _ => None,
    }
}
