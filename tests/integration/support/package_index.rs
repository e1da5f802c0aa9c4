//! An index of Python packages with one tiny package, served as static files, and pip as its client.

use std::path::Path;

use super::command::{Outcome, run};
use super::message::{Request, ok, response};
use super::programs::{Way, assert_output, command};

/// Whether pip is here.
pub(crate) const PIP: [&str; 4] = ["python3", "-m", "pip", "--version"];

const WHEEL: &str = "tiny-1.0-py3-none-any.whl";

/// The package, in a directory of its own.
pub(crate) struct Index {
    directory: tempfile::TempDir,
    wheel: Vec<u8>,
}

impl Index {
    /// Makes the package with Python's own zip writer.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(WHEEL);
        let script = format!(
            "import zipfile
with zipfile.ZipFile({path:?}, 'w') as wheel:
    wheel.writestr('tiny.py', 'x = 1\\n')
    wheel.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
    wheel.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('tiny-1.0.dist-info/RECORD', '')"
        );
        assert_output(&run(command("python3").args(["-c", &script]), ""), "");
        let wheel = std::fs::read(path).unwrap();
        Self { directory, wheel }
    }

    /// What an origin answers that has it as `/simple/`.
    pub(crate) fn answer(&self) -> impl Fn(&Request) -> Vec<u8> + Clone + Send + Sync + use<> {
        let wheel = self.wheel.clone();
        move |request| match request.head.target().rsplit_once('/') {
            Some((_, WHEEL)) => ok(&wheel),
            Some(("/simple/tiny", "")) => response(
                "200 OK",
                "Content-Type: text/html\r\n",
                format!(
                    "<!DOCTYPE html><html><body><a href=\"/files/{WHEEL}\">{WHEEL}</a></body></html>"
                ),
            ),
            _ => response("404 Not Found", "", "absent"),
        }
    }

    /// `pip download` from the index at `url` into `name`, through the proxy, with this authority.
    pub(crate) fn download(&self, way: Way<'_>, ca: &Path, url: &str, name: &str) -> Outcome {
        self.try_download(0, way, ca, url, name)
    }

    /// The same with as many retries of pip's own.
    pub(crate) fn try_download(
        &self,
        retries: u32,
        way: Way<'_>,
        ca: &Path,
        url: &str,
        name: &str,
    ) -> Outcome {
        let mut pip = command("python3");
        // No configuration but our own.
        pip.env("PIP_CONFIG_FILE", "/dev/null")
            .args(["-m", "pip", "--isolated", "download", "-q"])
            .args(["--no-deps", "--no-cache-dir", "--no-input"])
            .args(["--disable-pip-version-check", "--retries"])
            .arg(retries.to_string())
            .args(["--timeout", "20", "--trusted-host", "127.0.0.1"])
            .arg("--cert")
            .arg(ca)
            .args(["--index-url", &format!("{url}/simple/"), "-d"])
            .arg(self.directory.path().join(name))
            .arg("tiny");
        way.apply(&mut pip, |pip, url| {
            pip.args(["--proxy", url]);
        });
        run(&mut pip, "")
    }

    pub(crate) fn assert_downloaded(&self, name: &str) {
        let got = self.directory.path().join(name).join(WHEEL);
        assert_eq!(std::fs::read(got).unwrap(), self.wheel, "{name}");
    }
}
