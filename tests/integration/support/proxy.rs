//! The program under test: a child process with a configuration of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Wire;
use super::command::{Capture, program};
use super::message::Response;
use super::port::Port;
use super::request::{ALICE, BOB, COLON, UNICODE, connect, fetch, sha_line};
use super::tls::{Authority, Identity};
use super::{DEADLINE, eventually, within};

/// Puts `from` over `onto`, map by map.
pub(crate) fn merge(onto: &mut serde_yaml::Value, from: serde_yaml::Value) {
    match (onto, from) {
        (serde_yaml::Value::Mapping(onto), serde_yaml::Value::Mapping(from)) => {
            for (key, value) in from {
                merge(onto.entry(key).or_insert(serde_yaml::Value::Null), value);
            }
        }
        (_, serde_yaml::Value::Null) => {}
        (onto, from) => *onto = from,
    }
}

/// What a proxy is started with.
pub(crate) struct Setup {
    pub(crate) directory: tempfile::TempDir,
    port: Port,
    admin: Port,
    secure: Option<Port>,
    has_admin: bool,
    config: serde_yaml::Value,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// One plain listener, an admin listener, the four users, loopback open to all.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, admin) = (Port::reserve(), Port::reserve());
        let config = format!(
            "version: 1
threads: 2
pid_file: {directory}/tollgate.pid
upgrade_sock: {directory}/upgrade.sock
tollgate:
  listeners:
    - address: \"{}\"
  admin: {{ address: \"{}\" }}
  auth: {{ realm: tollgate, htpasswd: users.htpasswd }}
  egress:
    connect_ports: any
    http_ports: any
    allow_networks: [\"127.0.0.0/8\", \"::1/128\"]
  log: {{ access: access.log, format: json }}
",
            port.address,
            admin.address,
            directory = directory.path().display()
        );
        let setup = Self {
            directory,
            port,
            admin,
            secure: None,
            has_admin: true,
            config: serde_yaml::from_str(&config).unwrap(),
            environment: Vec::new(),
        };
        let users: String = [ALICE, BOB, COLON, UNICODE].map(sha_line).concat();
        setup.file("users.htpasswd", users)
    }

    /// Lays YAML over what is under `tollgate:`.
    pub(crate) fn config(self, yaml: &str) -> Self {
        let value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
        let mut under = serde_yaml::Mapping::new();
        under.insert("tollgate".into(), value);
        self.overlay(under.into())
    }

    /// Lays YAML over the top level, where Pingora's own keys are.
    pub(crate) fn server(self, yaml: &str) -> Self {
        let value = serde_yaml::from_str(yaml).unwrap();
        self.overlay(value)
    }

    fn overlay(mut self, value: serde_yaml::Value) -> Self {
        merge(&mut self.config, value);
        self
    }

    /// Replaces the whole configuration.
    pub(crate) fn whole(mut self, yaml: &str) -> Self {
        self.config = serde_yaml::from_str(yaml).unwrap();
        self
    }

    /// Says that the configuration has no admin listener to wait for.
    pub(crate) fn without_admin(mut self) -> Self {
        self.has_admin = false;
        self
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// Adds a TLS listener that shows `identity`.
    pub(crate) fn tls(self, identity: &Identity) -> Self {
        self.secure_listener(identity, "tls: { certificate: cert.pem, key: key.pem }")
    }

    /// Adds a TLS listener that shows `identity` and admits who has a certificate of `clients`.
    pub(crate) fn mutual_tls(self, identity: &Identity, clients: &Authority) -> Self {
        self.file("clients.pem", clients.pem()).secure_listener(
            identity,
            "tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem }",
        )
    }

    /// Adds a TLS listener where each connection begins with a PROXY header, in the clear.
    pub(crate) fn tls_behind_proxy_protocol(self, identity: &Identity) -> Self {
        self.secure_listener(
            identity,
            "tls: { certificate: cert.pem, key: key.pem }\n    proxy_protocol: true",
        )
    }

    /// Adds a listener that shows `identity`, with the keys that YAML gives it.
    pub(crate) fn secure_listener(self, identity: &Identity, keys: &str) -> Self {
        self.file("cert.pem", &identity.certificate_pem)
            .file("key.pem", &identity.key_pem)
            .listen_securely(keys)
    }

    /// Adds a TLS listener with the files cert.pem and key.pem, which are there already; `rest` is for its `tls` map.
    pub(crate) fn serve_tls(self, rest: &str) -> Self {
        self.listen_securely(&format!(
            "tls: {{ certificate: cert.pem, key: key.pem{rest} }}"
        ))
    }

    /// Adds a TLS listener with this `tls` map; its files are there already.
    pub(crate) fn secure(self, tls: &str) -> Self {
        self.listen_securely(&format!("tls: {tls}"))
    }

    fn listen_securely(mut self, keys: &str) -> Self {
        let secure = Port::reserve();
        let yaml = format!(
            "listeners:
  - address: \"{}\"
  - address: \"{}\"
    {keys}",
            self.port.address, secure.address
        );
        self.secure = Some(secure);
        self.config(&yaml)
    }

    /// Has each connection to the plain listener begin with a PROXY header.
    pub(crate) fn proxy_protocol(self) -> Self {
        let yaml = format!(
            "listeners: [{{ address: \"{}\", proxy_protocol: true }}]",
            self.port.address
        );
        self.config(&yaml)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The proxy's address, before it is started.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// The TLS listener's address, before it is started.
    pub(crate) fn secure_listener_address(&self) -> SocketAddr {
        self.secure.as_ref().unwrap().address
    }

    /// The admin listener's address, before it is started.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Writes the configuration and returns its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.path("pingora.yaml");
        std::fs::write(&path, serde_yaml::to_string(&self.config).unwrap()).unwrap();
        path
    }

    /// A variable of the environment that names a file of the directory.
    pub(crate) fn environment(mut self, variable: &'static str, file: &str) -> Self {
        let path = self.path(file);
        self.environment.push((variable, path));
        self
    }

    /// A variable of the environment.
    pub(crate) fn variable(mut self, variable: &'static str, text: &str) -> Self {
        self.environment.push((variable, text.into()));
        self
    }

    /// Starts the program and waits until it accepts.
    pub(crate) fn start(self) -> Proxy {
        let mut command = Command::new(program());
        command.arg("-c");
        self.start_by(command)
    }

    /// The same for another program, which takes the configuration as its last argument.
    pub(crate) fn start_by(self, mut command: Command) -> Proxy {
        let config = self.write();
        let mut process = command
            .arg(&config)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Capture::of(process.stdout.take());
        let stderr = Capture::of(process.stderr.take());
        let mut proxy = Proxy {
            process,
            address: self.port.address,
            stdout,
            stderr,
            setup: self,
        };
        eventually("the proxy to accept", || {
            if let Some(status) = proxy.process.try_wait().unwrap() {
                panic!("the proxy ended with {status}: {}", proxy.errors());
            }
            let up = TcpStream::connect(proxy.address).is_ok();
            let admin =
                !proxy.setup.has_admin || TcpStream::connect(proxy.setup.admin.address).is_ok();
            (up && admin).then_some(())
        });
        proxy
    }
}

/// The running program. It is killed when this goes out of scope.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) address: SocketAddr,
    stdout: Capture,
    stderr: Capture,
    pub(crate) setup: Setup,
}

impl Proxy {
    /// Starts one with `yaml` laid over what is under `tollgate:`.
    pub(crate) fn start(yaml: &str) -> Self {
        Setup::new().config(yaml).start()
    }

    /// Starts one with the base configuration.
    pub(crate) fn plain() -> Self {
        Setup::new().start()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.setup.admin.address
    }

    /// The TLS listener's address.
    pub(crate) fn secure_address(&self) -> SocketAddr {
        self.setup.secure.as_ref().unwrap().address
    }

    /// A new connection to the plain listener.
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address).unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().exchange(request)
    }

    /// Alice's GET of `url` on a connection of its own.
    pub(crate) fn fetch(&self, url: &str) -> Response {
        self.exchange(fetch(url))
    }

    /// Alice's tunnel to `authority`; the test fails unless the answer is 200.
    pub(crate) fn tunnel(&self, authority: impl std::fmt::Display) -> Wire {
        let mut wire = self.connect();
        let answer = wire.exchange(connect(authority));
        assert_eq!(answer.status(), 200, "{:?}", answer.text());
        wire
    }

    /// A GET at the admin listener.
    pub(crate) fn admin(&self, path: &str) -> Response {
        let mut wire = Wire::connect(self.admin_address()).unwrap();
        wire.exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin_address()
        ))
    }

    /// Lays YAML over what is under `tollgate:` in the file that the program was started with. The
    /// file changes in one step.
    pub(crate) fn rewrite(&self, yaml: &str) {
        let file = self.path("pingora.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let mut config: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        merge(&mut config["tollgate"], serde_yaml::from_str(yaml).unwrap());
        let next = self.path("pingora.yaml.next");
        std::fs::write(&next, serde_yaml::to_string(&config).unwrap()).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    /// Asks the admin service for a reload.
    pub(crate) fn reload(&self) -> Response {
        reload(self.admin_address())
    }

    /// The value of a metric, by its name with its labels; 0 when there is none.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let metrics = self.admin("/metrics").text();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// One request on a connection of its own, which must be the only one for the time being, with
    /// its record. An admitted tunnel is closed at once.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> (Response, Value) {
        let before = self.records().len();
        let answer = self.exchange(request);
        let mut records = self.wait_records(before + 1);
        assert_eq!(records.len(), before + 1, "{records:#?}");
        (answer, records.remove(before))
    }

    /// The records of the JSON access log so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.path("access.log")).unwrap_or_default();
        // The last line may be half written.
        let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}")))
            .collect()
    }

    /// Waits for a record that `wanted` accepts.
    pub(crate) fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = within(DEADLINE, || {
            let mut records = self.records().into_iter();
            records.find(|record| wanted(record))
        });
        found.unwrap_or_else(|| panic!("no record of {what} in {:#?}", self.records()))
    }

    /// Waits until there are that many records.
    pub(crate) fn wait_records(&self, count: usize) -> Vec<Value> {
        eventually("access-log records", || {
            let records = self.records();
            (records.len() >= count).then_some(records)
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// What the program has written to its error output so far.
    pub(crate) fn errors(&self) -> String {
        self.stderr.text()
    }

    /// What the program has written to its standard output so far.
    pub(crate) fn output(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Waits for the end of the process; the test fails when it takes longer.
    pub(crate) fn wait_exit(&mut self, longest: Duration) -> ExitStatus {
        let ended = within(longest, || self.process.try_wait().unwrap());
        ended.unwrap_or_else(|| panic!("still running after {longest:?}: {}", self.errors()))
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        resident(
            Path::new("/proc")
                .join(self.process.id().to_string())
                .as_path(),
        )
    }

    /// The names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        let names = tasks.filter_map(name);
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// The processor time that the process has used, in ticks (proc_pid_stat(5)).
    pub(crate) fn processor_ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name of the program is in parentheses and may have spaces.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(directory).unwrap().count()
    }
}

/// Asks the admin service at `address` for a reload.
pub(crate) fn reload(address: SocketAddr) -> Response {
    let mut wire = Wire::connect(address).unwrap();
    // Large lists take their time in a build that is not optimised.
    wire.set_deadline(Duration::from_secs(60));
    wire.exchange(format!(
        "POST /reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

fn resident(process: &Path) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
        // A task that panics takes its connection with it, and nothing else may notice.
        if !std::thread::panicking() {
            let errors = self.errors();
            assert!(!errors.contains("panicked at"), "{errors}");
        }
    }
}
