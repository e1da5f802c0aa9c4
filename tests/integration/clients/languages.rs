//! What the HTTP clients of programming languages do with a proxy: its address and its credentials
//! in variables or properties, one request that is forwarded and one in a tunnel.
//! docs/clients.md says the same in words.

use std::path::PathBuf;

use crate::support::command::{is_installed, run, unpacked};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, command};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::ALICE;
use crate::support::site::{DORA, Site};
use crate::support::tls::Authority;

/// A directory that is kept between runs, for what a tool would compile each time.
fn cache(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn go_reads_the_environment() {
    if !is_installed(&["go", "version"]) {
        return;
    }
    let site = Site::page();
    let source = r#"package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	for _, url := range os.Args[1:] {
		answer, err := http.Get(url)
		if err != nil { panic(err) }
		body, err := io.ReadAll(answer.Body)
		if err != nil { panic(err) }
		fmt.Println(answer.StatusCode, string(body))
	}
}
"#;
    let file = site.proxy.path("main.go");
    std::fs::write(&file, source).unwrap();
    let mut go = site.command("go");
    go.env("GOCACHE", cache("go-build"))
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .arg("run")
        .arg(file)
        .args([site.http(), site.https()]);
    assert_output(&run(&mut go, ""), "200 page\n200 page\n");
    site.assert_used(true);
}

/// Go offers HTTP/2 to a proxy with TLS and then writes a CONNECT of HTTP/1.1. Where it agreed on HTTP/2, it asks for
/// nothing in the clear.
#[test]
fn go_reaches_a_proxy_over_tls() {
    if !is_installed(&["go", "version"]) {
        return;
    }
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let setup = |http2: bool| {
        let keys = format!("tls: {{ certificate: cert.pem, key: key.pem }}\n    http2: {http2}");
        Setup::new()
            .file("ca.pem", authority.pem())
            .secure_listener(&identity, &keys)
            .start()
    };
    let (both, http1) = (setup(true), setup(false));
    let (plain, secure) = (
        Origin::ok("page"),
        Origin::https(identity.server(), |_| ok("page")),
    );
    let (plain, secure) = (
        format!("http://{}/", plain.address),
        format!("https://{}/", secure.address),
    );
    let source = r#"package main

import ("fmt"; "io"; "net/http"; "net/url"; "os")

func main() {
	proxy, err := url.Parse(os.Args[1])
	if err != nil { panic(err) }
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxy)
	client := http.Client{Transport: transport}
	for _, url := range os.Args[2:] {
		answer, err := client.Get(url)
		if err != nil { fmt.Println(err); continue }
		body, err := io.ReadAll(answer.Body)
		if err != nil { panic(err) }
		fmt.Println(answer.StatusCode, string(body))
	}
}
"#;
    let program = both.path("proxied");
    let file = both.path("main.go");
    std::fs::write(&file, source).unwrap();
    let mut build = command("go");
    build
        .env("GOCACHE", cache("go-build"))
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-o"])
        .args([&program, &file]);
    assert_output(&run(&mut build, ""), "");
    let fetch = |proxy: &Proxy, url: &str| {
        let address = format!("https://{}:{}@{}", ALICE.0, ALICE.1, proxy.secure_address());
        let mut client = command(program.to_str().unwrap());
        client
            .env("SSL_CERT_FILE", both.path("ca.pem"))
            .args([&address, url]);
        run(&mut client, "").stdout
    };
    for proxy in [&both, &http1] {
        assert_eq!(fetch(proxy, &secure), "200 page\n");
    }
    assert_eq!(fetch(&http1, &plain), "200 page\n");
    let refused = fetch(&both, &plain);
    assert!(refused.contains("unsupported scheme"), "{refused}");
}

/// What agents for Node do: a URL in the request line, or a CONNECT and TLS in it.
#[test]
fn node_sends_what_its_agents_send() {
    if !is_installed(&["node", "--version"]) {
        return;
    }
    let site = Site::page();
    let script = r"
const http = require('http'), https = require('https'), tls = require('tls');
const proxy = new URL(process.env.https_proxy), [plain, secure] = process.argv.slice(1).map(u => new URL(u));
const password = decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password);
const headers = { 'Proxy-Authorization': 'Basic ' + Buffer.from(password).toString('base64') };
const end = { host: proxy.hostname, port: proxy.port };
const show = answer => { console.log(answer.statusCode); answer.resume(); };
http.get({ ...end, path: plain.href, headers: { ...headers, Host: plain.host } }, answer => {
    show(answer);
    http.request({ ...end, method: 'CONNECT', path: secure.host, headers })
        .on('connect', (answer, socket) => {
            const agent = new https.Agent();
            agent.createConnection = () => tls.connect({ socket, servername: secure.hostname });
            https.get(secure, { agent }, show);
        }).end();
});";
    let mut node = site.command("node");
    node.env("NODE_EXTRA_CA_CERTS", site.ca())
        .args(["-e", script, "--"])
        .args([site.http(), site.https()]);
    assert_output(&run(&mut node, ""), "200\n200\n");
    site.assert_used(true);
}

/// `fetch` has a tunnel for `http` as well, so it needs the port of the origin in `connect_ports`.
#[test]
fn node_reads_the_environment_when_told_to() {
    // The one of the distribution may be older than 24, which reads no proxy from the environment.
    let Some(node) = unpacked("node24", "--version") else {
        return;
    };
    let site = Site::page();
    let script = "(async () => { for (const url of process.argv.slice(1)) {
        const answer = await fetch(url); console.log(answer.status, await answer.text()); } })()";
    let mut node = site.command(node.to_str().unwrap());
    node.env("NODE_USE_ENV_PROXY", "1")
        .env("NODE_EXTRA_CA_CERTS", site.ca())
        .args(["-e", script, "--"])
        .args([site.http(), site.https()]);
    assert_output(&run(&mut node, ""), "200 page\n200 page\n");
    site.assert_used(false);
}

/// Java asks its `Authenticator` for the password, and by default never sends Basic credentials for
/// a tunnel.
#[test]
fn java_needs_a_property_for_tunnels() {
    if !is_installed(&["java", "-version"]) || !is_installed(&["sh", "-c", "command -v keytool"]) {
        return;
    }
    let site = Site::page();
    let source = r#"
import java.net.*;
import java.net.http.*;

public class Fetch {
    public static void main(String[] urls) throws Exception {
        var password = new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                if (getRequestorType() != RequestorType.PROXY) return null;
                return new PasswordAuthentication(
                    System.getProperty("http.proxyUser"), System.getProperty("http.proxyPassword").toCharArray());
            }
        };
        Authenticator.setDefault(password);
        for (var url : urls)
            System.out.println(((HttpURLConnection) new URL(url).openConnection()).getResponseCode());
        var client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).authenticator(password).build();
        for (var url : urls)
            System.out.println(client.send(HttpRequest.newBuilder(URI.create(url)).build(),
                HttpResponse.BodyHandlers.discarding()).statusCode());
    }
}
"#;
    std::fs::write(site.proxy.path("Fetch.java"), source).unwrap();
    site.run(
        site.command("keytool")
            .args([
                "-importcert",
                "-noprompt",
                "-alias",
                "ca",
                "-file",
                "ca.pem",
            ])
            .args(["-keystore", "trusted.p12", "-storepass", "changeit"]),
    );
    let fetch = |property: &str, urls: &[String]| {
        let mut java = site.command("java");
        java.args([
            "-Djavax.net.ssl.trustStore=trusted.p12",
            "-Djavax.net.ssl.trustStorePassword=changeit",
        ]);
        for scheme in ["http", "https"] {
            java.arg(format!("-D{scheme}.proxyHost=127.0.0.1"))
                .arg(format!("-D{scheme}.proxyPort={}", site.proxy.port()));
        }
        java.arg(format!("-Dhttp.proxyUser={}", DORA.0))
            .arg(format!("-Dhttp.proxyPassword={}", DORA.1))
            .arg(property)
            .arg("Fetch.java")
            .args(urls);
        run(&mut java, "")
    };
    let default = "-Djdk.http.auth.tunneling.disabledSchemes=Basic";
    let outcome = fetch(default, &[site.https()]);
    assert_eq!(outcome.stdout, "407\n407\n", "{}", outcome.stderr);
    let opened = "-Djdk.http.auth.tunneling.disabledSchemes=";
    let outcome = fetch(opened, &[site.http(), site.https()]);
    assert_eq!(outcome.stdout, "200\n200\n200\n200\n", "{}", outcome.stderr);
    site.assert_used(true);
}

#[test]
fn ruby_reads_the_environment() {
    if !is_installed(&["ruby", "--version"]) {
        return;
    }
    let site = Site::page();
    let script = "require 'net/http'
ARGV.each do |url|
  uri = URI(url)
  Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == 'https') { |http| puts http.get('/').body }
end";
    let mut ruby = site.command("ruby");
    ruby.args(["-e", script]).args([site.http(), site.https()]);
    assert_output(&run(&mut ruby, ""), "page\npage\n");
    site.assert_used(true);
}

/// PHP's streams read no variable; a whole URL in the request line is for `http` only.
#[test]
fn php_is_given_the_proxy() {
    if !is_installed(&["php", "--version"]) {
        return;
    }
    let site = Site::page();
    let script = "foreach (array_slice($argv, 3) as $url) {
    $context = stream_context_create(['http' => [
        'proxy' => 'tcp://' . $argv[1], 'request_fulluri' => str_starts_with($url, 'http:'),
        'header' => 'Proxy-Authorization: Basic ' . base64_encode($argv[2])]]);
    echo file_get_contents($url, false, $context), PHP_EOL;
}";
    let mut php = site.command("php");
    php.args(["-r", script, "--"])
        .arg(site.proxy.address.to_string())
        .arg(format!("{}:{}", DORA.0, DORA.1))
        .args([site.http(), site.https()]);
    assert_output(&run(&mut php, ""), "page\npage\n");
    site.assert_used(true);
}
