//! Package managers through the proxy, each from a registry of its own on loopback. pip is in
//! `python`.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::command::{is_installed, run};
use crate::support::programs::command;
use crate::support::site::Site;

/// What a registry serves, by path; it can be filled after the port is known.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Files {
    fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.0
            .lock()
            .unwrap()
            .insert(path.to_owned(), content.into());
    }

    fn site(&self) -> Site {
        let files = self.clone();
        Site::start(move |path| files.0.lock().unwrap().get(path).cloned())
    }
}

/// An archive with one small file in it, and its SHA-256. Python makes it: it is there for other
/// tests, and knows zip, tar and the digest.
fn archive(directory: &Path, kind: &str, member: &str, content: &str) -> (Vec<u8>, String) {
    let path = directory.join("archive");
    let script = "
import hashlib, io, sys, tarfile, zipfile
path, kind, member, content = sys.argv[1:]
if kind == 'zip':
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(member, content)
else:
    with tarfile.open(path, 'w:gz') as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content.encode()))
print(hashlib.sha256(open(path, 'rb').read()).hexdigest())";
    let mut python = command("python3");
    python
        .args(["-c", script])
        .arg(&path)
        .args([kind, member, content]);
    let outcome = run(&mut python, "");
    assert!(outcome.status.success(), "{}", outcome.output());
    (
        std::fs::read(&path).unwrap(),
        outcome.stdout.trim().to_owned(),
    )
}

/// A file below `folder` with `part` in its name.
fn find(folder: &Path, part: &str) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()? {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name()?.to_string_lossy().contains(part) {
                return Some(path);
            }
        }
    }
    None
}

#[test]
fn npm_installs_a_package() {
    if !is_installed(&["npm", "--version"]) {
        return;
    }
    let files = Files::default();
    let site = files.site();
    let directory = site.proxy.setup.directory.path();
    let manifest = r#"{"name":"tiny","version":"1.0.0"}"#;
    let (tarball, _) = archive(directory, "tar", "package/package.json", manifest);
    let document = format!(
        r#"{{"name":"tiny","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{{
            "name":"tiny","version":"1.0.0","dist":{{"tarball":"{}/tiny.tgz"}}}}}}}}"#,
        site.https()
    );
    files.put("/tiny", document);
    files.put("/tiny.tgz", tarball);
    let project = directory.join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("package.json"), "{}").unwrap();
    let mut npm = site.command("npm");
    // No configuration but our own.
    npm.args([
        "install",
        "--userconfig",
        "/dev/null",
        "--globalconfig",
        "/dev/null/none",
    ])
    .args([
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--fetch-retries",
        "0",
    ])
    .args([
        "--cafile",
        &site.ca(),
        "--registry",
        &site.https(),
        "--cache",
    ])
    .arg(directory.join("npm-cache"))
    .arg("tiny")
    .current_dir(&project);
    site.run(&mut npm);
    assert!(project.join("node_modules/tiny/package.json").is_file());
    site.assert_used(false);
}

#[test]
fn cargo_downloads_a_crate() {
    let files = Files::default();
    let site = files.site();
    let directory = site.proxy.setup.directory.path();
    let manifest = "[package]\nname = \"tiny\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[lib]\npath = \"lib.rs\"\n";
    let (package, digest) = archive(directory, "tar", "tiny-1.0.0/Cargo.toml", manifest);
    files.put(
        "/index/config.json",
        format!(r#"{{"dl":"{}/dl"}}"#, site.https()),
    );
    files.put(
        "/index/ti/ny/tiny",
        format!(
            r#"{{"name":"tiny","vers":"1.0.0","deps":[],"cksum":"{digest}","features":{{}},"yanked":false}}"#
        ),
    );
    files.put("/dl/tiny/1.0.0/download", package);
    let project = directory.join("project");
    std::fs::create_dir_all(project.join("src")).unwrap();
    std::fs::write(project.join("src/lib.rs"), "").unwrap();
    std::fs::write(
        project.join("Cargo.toml"),
        "[package]\nname = \"user\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n\
         [dependencies]\ntiny = { version = \"1\", registry = \"loopback\" }\n",
    )
    .unwrap();
    let home = directory.join("cargo-home");
    let mut cargo = site.command("cargo");
    cargo
        .env("CARGO_HOME", &home)
        .env("CARGO_NET_RETRY", "0")
        .env("CARGO_HTTP_CAINFO", site.ca())
        .env(
            "CARGO_REGISTRIES_LOOPBACK_INDEX",
            format!("sparse+{}/index/", site.https()),
        )
        .env_remove("CARGO_NET_OFFLINE")
        .arg("fetch")
        .current_dir(&project);
    site.run(&mut cargo);
    assert!(find(&home, "tiny-1.0.0.crate").is_some());
    site.assert_used(false);
}

#[test]
fn go_downloads_a_module() {
    if !is_installed(&["go", "version"]) {
        return;
    }
    let files = Files::default();
    let site = files.site();
    let directory = site.proxy.setup.directory.path();
    let module = "module example.test/tiny\n";
    let (zip, _) = archive(directory, "zip", "example.test/tiny@v1.0.0/go.mod", module);
    let at = |file: &str| format!("/example.test/tiny/@v/v1.0.0.{file}");
    files.put(&at("info"), r#"{"Version":"v1.0.0"}"#);
    files.put(&at("mod"), module);
    files.put(&at("zip"), zip);
    let mut go = site.command("go");
    go.env("GOPROXY", site.https())
        .env("GOSUMDB", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOPATH", directory.join("go"))
        // Else the directory could not be removed.
        .env("GOFLAGS", "-mod=mod -modcacherw")
        .args(["mod", "download", "-x", "example.test/tiny@v1.0.0"]);
    site.run(&mut go);
    assert!(find(&directory.join("go"), "v1.0.0.zip").is_some());
    site.assert_used(false);
}

/// apt with a source, a state and a cache of its own.
fn apt(site: &Site, options: &[String]) -> Command {
    let directory = site.proxy.setup.directory.path();
    for folder in ["apt/lists/partial", "apt/cache/archives/partial"] {
        std::fs::create_dir_all(directory.join(folder)).unwrap();
    }
    std::fs::write(
        directory.join("apt/sources.list"),
        format!(
            "deb [trusted=yes] {}/plain ./\ndeb [trusted=yes] {}/secure ./\n",
            site.http(),
            site.https()
        ),
    )
    .unwrap();
    let mut apt = command("apt-get");
    let place = directory.join("apt").display().to_string();
    for option in [
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::Etc::SourceList={place}/sources.list"),
        format!("Dir::State={place}"),
        format!("Dir::Cache={place}/cache"),
        format!("Acquire::https::CAInfo={}", site.ca()),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Retries=0".to_owned(),
    ]
    .iter()
    .chain(options)
    {
        apt.args(["-o", option]);
    }
    apt.arg("update");
    apt
}

#[test]
fn apt_updates_by_its_options_and_by_the_environment() {
    if !is_installed(&["apt-get", "--version"]) {
        return;
    }
    let files = Files::default();
    let site = files.site();
    let package = "Package: tiny\nVersion: 1.0\nArchitecture: all\nFilename: ./tiny.deb\nSize: 1\n";
    for place in ["plain", "secure"] {
        files.put(&format!("/{place}/./Packages"), package);
    }
    let options = ["http", "https"].map(|s| format!("Acquire::{s}::Proxy={}", site.proxy_url()));
    let mut by_environment = apt(&site, &[]);
    by_environment
        .env("http_proxy", site.proxy_url())
        .env("https_proxy", site.proxy_url());
    for mut command in [apt(&site, &options), by_environment] {
        let lists = site.proxy.path("apt/lists");
        let outcome = site.run(&mut command);
        for place in ["plain", "secure"] {
            // Some systems keep the lists compressed, with one more ending.
            let list = find(&lists, &format!("_{place}_._Packages"));
            assert!(list.is_some(), "{place}: {}", outcome.output());
        }
        site.assert_used(true);
        std::fs::remove_dir_all(lists).unwrap();
        std::fs::create_dir_all(site.proxy.path("apt/lists/partial")).unwrap();
    }
}
