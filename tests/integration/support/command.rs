//! Programs that are run: ours and others'.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::proxy::Setup;
use super::within;

/// The program: the one Cargo built, or the one `TOLLGATE_BIN` names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TOLLGATE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_tollgate").into(), PathBuf::from)
}

/// The program that takes over the sockets: the one that `TOLLGATE_SUCCESSOR_BIN` names, as `make handover-test`
/// does, or the same.
pub(crate) fn successor() -> PathBuf {
    std::env::var_os("TOLLGATE_SUCCESSOR_BIN").map_or_else(program, PathBuf::from)
}

/// An example of this package, as Cargo built it. Where it is not built, its test is skipped by name; under CI that is a
/// failure.
pub(crate) fn example(name: &str) -> Option<PathBuf> {
    let cargo_s = PathBuf::from(env!("CARGO_BIN_EXE_tollgate"));
    let path = cargo_s.with_file_name("examples").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the example {name} is not built"
    );
    eprintln!("NOT TESTED: the example {name}; `cargo build --examples` builds it");
    None
}

/// What a command that ends by itself has left.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Both outputs together.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end, within the deadline.
pub(crate) fn run(command: &mut Command, input: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (`make test` installs it)"));
    let (stdout, stderr) = (
        Capture::of(child.stdout.take()),
        Capture::of(child.stderr.take()),
    );
    // A program that does not read its input is no error.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = within(Duration::from_secs(60), || child.try_wait().unwrap());
    let Some(status) = ended else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!(
            "{command:?} does not end: {}{}",
            stdout.text(),
            stderr.text()
        );
    };
    Outcome {
        status,
        stdout: stdout.finish(),
        stderr: stderr.finish(),
    }
}

/// Whether a program that some machines lack is here, by a command that asks for its version.
///
/// Where it is missing its test is skipped by name; under CI, where the set-up installs it, that is
/// a failure.
pub(crate) fn is_installed(probe: &[&str]) -> bool {
    let (program, arguments) = probe.split_first().unwrap();
    let found = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let what = probe.join(" ");
        assert!(
            std::env::var_os("CI").is_none(),
            "`{what}` fails, and under CI nothing is skipped: scripts/setup.sh --tests installs it"
        );
        eprintln!("NOT TESTED: `{what}` fails");
    }
    found
}

/// A Python that has this module, of which some machines have several. As [`is_installed`] where none has it.
pub(crate) fn python_with(module: &str) -> Option<&'static str> {
    let import = format!("import {module}");
    let has = |python: &&str| {
        let mut probe = Command::new(python);
        let outcome = probe.args(["-c", &import]).output();
        outcome.is_ok_and(|output| output.status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has);
    if found.is_none() {
        assert!(!is_installed(&["python3", "-c", &import]));
    }
    found
}

/// A program that scripts/setup.sh unpacks below Cargo's target directory, or one of this name on the path; `version` is the
/// argument that asks for its version. As [`is_installed`] where there is none.
pub(crate) fn unpacked(name: &str, version: &str) -> Option<PathBuf> {
    // With a target of its own, Cargo has a folder more.
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors().skip(1);
    let mut paths = above.take(2).map(|it| it.join("test-tools/bin").join(name));
    let found = paths.find(|path| path.exists());
    let program = found.unwrap_or_else(|| name.into());
    is_installed(&[program.to_str().unwrap(), version]).then_some(program)
}

/// Runs the program itself with those arguments.
pub(crate) fn tollgate(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
    run(Command::new(program()).args(arguments), "")
}

/// `tollgate check`.
pub(crate) fn check(setup: &Setup) -> Outcome {
    let path = setup.write();
    tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()])
}

/// Whether the test runs as root; says what is left out when it does not.
pub(crate) fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: {test} needs root");
    }
    is_root
}

/// An output that is read to its end in the background.
pub(crate) struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Capture {
    pub(crate) fn of(output: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = channel();
        if let Some(mut output) = output {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || {
                let mut chunk = [0; 8192];
                while let Ok(count @ 1..) = output.read(&mut chunk) {
                    bytes.lock().unwrap().extend_from_slice(&chunk[..count]);
                }
                drop(end);
            });
        }
        Self { bytes, ended }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// The whole output of a process that has ended.
    ///
    /// A daemon that it left behind may hold the pipe for ever, so the wait is short.
    pub(crate) fn finish(self) -> String {
        let _ended_or_held = self.ended.recv_timeout(Duration::from_secs(2));
        self.text()
    }
}
