//! Real HTTP servers with configurations of their own: lighttpd, Node's http module and Apache httpd.
//!
//! Each serves the same paths: `/file`, [`FILE`] bytes with a validator; `/program`, which says how it was asked and
//! sends the body back; `/stream`, those bytes with no length.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::command::is_installed;
use super::eventually;
use super::payload;
use super::port::Port;

/// The length of what `/file` and `/stream` are.
pub(crate) const FILE: u64 = 8_000_000;

/// Older than any clock of a test machine: no proxy writes it by itself.
pub(crate) const DATE: &str = "Thu, 01 Jan 2015 00:00:00 GMT";

/// What `/program` is where a server starts programs: method, length and port of the peer in a line, then the body.
const PROGRAM: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s %s %s\n' "$REQUEST_METHOD" "${CONTENT_LENGTH:-none}" "$REMOTE_PORT"
cat
"#;

const STREAM: &str = "#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
cat file
";

/// The same for Node. `/pipe` answers while it reads.
const SCRIPT: &str = r#"
const [directory, port, date] = process.argv.slice(1);
const fs = require('fs'), http = require('http');
const file = fs.readFileSync(directory + '/file');
const server = http.createServer({ keepAliveTimeout: 60000 }, (request, response) => {
    response.setHeader('Date', date);
    response.setHeader('Server', 'Node');
    const from = request.socket.remotePort;
    if (request.url === '/file') {
        response.setHeader('ETag', '"a"');
        if (request.headers['if-none-match'] === '"a"') return response.writeHead(304).end();
        response.setHeader('Content-Length', file.length);
        return response.end(request.method === 'HEAD' ? undefined : file);
    }
    if (request.url === '/stream') {
        response.write(file.subarray(0, 100));
        return response.end(file.subarray(100));
    }
    if (request.url === '/pipe') return request.pipe(response);
    const parts = [];
    request.on('data', part => parts.push(part));
    request.on('end', () => {
        const length = request.headers['content-length'] ?? 'none';
        response.end(Buffer.concat([Buffer.from(`${request.method} ${length} ${from}\n`), ...parts]));
    });
});
server.listen(Number(port), '127.0.0.1');
"#;

/// Where distributions have Apache's modules.
const MODULES: [&str; 6] = [
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/lib/apache2",
    "/usr/local/opt/httpd/lib/httpd/modules",
    "/opt/homebrew/opt/httpd/lib/httpd/modules",
];

/// One process of a server on a loopback port.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// What it puts into `Date`; `None` when it has the time.
    pub(crate) date: Option<&'static str>,
    process: Child,
    port: Port,
    directory: tempfile::TempDir,
}

impl Server {
    /// lighttpd; `None` on a machine that lacks it.
    pub(crate) fn lighttpd() -> Option<Self> {
        let program = either(&["lighttpd", "/usr/sbin/lighttpd"], "-v")?;
        let (directory, port) = prepare();
        let at = directory.path().display();
        let config = format!(
            r#"server.modules = ("mod_cgi", "mod_setenv", "mod_alias")
server.bind = "127.0.0.1"
server.port = {}
server.document-root = "{at}"
server.errorlog = "{at}/error.log"
server.upload-dirs = ("{at}")
server.tag = "lighttpd"
server.stream-response-body = 1
server.max-keep-alive-idle = 60
server.max-keep-alive-requests = 1000
mimetype.assign = ("" => "application/octet-stream")
setenv.add-response-header = ("Date" => "{DATE}")
alias.url = ("/program" => "{at}/program.sh", "/stream" => "{at}/stream.sh")
cgi.assign = (".sh" => "/bin/sh")
"#,
            port.address.port()
        );
        let file = directory.path().join("lighttpd.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-D").arg("-f").arg(file);
        Some(Self::run("lighttpd", Some(DATE), command, port, directory))
    }

    /// Node; `None` on a machine that lacks it.
    pub(crate) fn node() -> Option<Self> {
        let program = either(&["node"], "--version")?;
        let (directory, port) = prepare();
        let mut command = Command::new(program);
        command
            .args(["-e", SCRIPT])
            .arg(directory.path())
            .arg(port.address.port().to_string())
            .arg(DATE);
        Some(Self::run("Node", Some(DATE), command, port, directory))
    }

    /// Apache; `None` on a machine that lacks it. It always writes the time itself.
    pub(crate) fn apache() -> Option<Self> {
        let names = ["apache2", "httpd", "/usr/sbin/apache2", "/usr/sbin/httpd"];
        let program = either(&names, "-v")?;
        let (directory, port) = prepare();
        let at = directory.path().display();
        let modules = MODULES.map(PathBuf::from).into_iter();
        let modules = modules.filter(|path| path.join("mod_cgi.so").exists());
        let modules = modules.map(|path| path.display().to_string()).next();
        let modules = modules.expect("the modules of Apache");
        let load: String = ["mpm_prefork", "unixd", "authz_core", "alias", "cgi"]
            .iter()
            // Some distributions have these in the program.
            .filter(|name| Path::new(&format!("{modules}/mod_{name}.so")).exists())
            .map(|name| format!("LoadModule {name}_module {modules}/mod_{name}.so\n"))
            .collect();
        let config = format!(
            r##"{load}
ServerName localhost
Listen {}
DefaultRuntimeDir "{at}"
PidFile "{at}/apache.pid"
ErrorLog "{at}/error.log"
DocumentRoot "{at}"
KeepAliveTimeout 60
MaxKeepAliveRequests 0
FileETag MTime Size
<IfModule unixd_module>
    User "#65534"
    Group "#65534"
</IfModule>
ScriptAlias "/program" "{at}/program.sh"
ScriptAlias "/stream" "{at}/stream.sh"
<Directory "{at}">
    Require all granted
</Directory>
"##,
            port.address
        );
        let file = directory.path().join("apache.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-DFOREGROUND").arg("-f").arg(file);
        // It ends its whole process group, which must not be that of the tests.
        command.process_group(0);
        Some(Self::run("Apache", None, command, port, directory))
    }

    fn run(
        name: &'static str,
        date: Option<&'static str>,
        mut command: Command,
        port: Port,
        directory: tempfile::TempDir,
    ) -> Self {
        let log = std::fs::File::create(directory.path().join("output")).unwrap();
        let process = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            name,
            date,
            process,
            port,
            directory,
        };
        eventually("the server to accept", || {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {}", server.errors());
            TcpStream::connect(server.address()).ok()
        });
        server
    }

    /// What it has written of its errors.
    pub(crate) fn errors(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name));
        ["output", "error.log"]
            .map(|name| read(name).unwrap_or_default())
            .concat()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Apache ends its children when it is asked to end, not when it is killed.
        let id = rustix::process::Pid::from_child(&self.process);
        let _asked = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let ended = super::within(super::DEADLINE, || self.process.try_wait().unwrap());
        if ended.is_none() {
            let _already_gone = self.process.kill();
            let _reaped = self.process.wait();
        }
    }
}

/// The first of those programs that is here. The last one is asked for as [`is_installed`] does it.
fn either<'a>(names: &[&'a str], version: &str) -> Option<&'a str> {
    let is_here = |name: &&&str| {
        let probe = Command::new(name)
            .arg(version)
            .stdin(Stdio::null())
            .output();
        probe.is_ok_and(|output| output.status.success())
    };
    let here = names.iter().find(is_here).copied();
    here.or_else(|| {
        is_installed(&[names.first()?, version]);
        None
    })
}

/// The files that are served, readable for a server that gives up its rights.
fn prepare() -> (tempfile::TempDir, Port) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let length = usize::try_from(FILE).unwrap();
    std::fs::write(path.join("file"), payload::bytes(length)).unwrap();
    // The validator of a file that has just changed is a weak one.
    let file = std::fs::File::options().write(true).open(path.join("file"));
    let hour = std::time::Duration::from_secs(3600);
    let before = std::time::SystemTime::now() - hour;
    file.unwrap().set_modified(before).unwrap();
    for (name, text) in [("program.sh", PROGRAM), ("stream.sh", STREAM)] {
        std::fs::write(path.join(name), text).unwrap();
        allow(&path.join(name));
    }
    allow(path);
    (directory, Port::reserve())
}

fn allow(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
