//! The command line: its structs, and the texts of usage errors.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use structopt::StructOpt;
use structopt::clap::{Error, ErrorKind};

use crate::admin::Trust;

/// The first line of the help. The derive macro would use the comment of the
/// subcommands otherwise.
const ABOUT: &str = "Authenticated HTTP/HTTPS proxy: forward proxy, CONNECT tunnels and gateway \
    on one port";

/// The command line of `tollgate`.
#[derive(Debug, StructOpt)]
#[structopt(
    name = "tollgate",
    about = ABOUT,
    after_help = "Signals: TERM drains and exits, INT exits at once, HUP reloads users and \
        policy,\nUSR1 reopens the logs, QUIT hands over to a process started with -u."
)]
pub struct Cli {
    /// Configuration file; needed to serve
    #[structopt(short, long, value_name = "FILE", parse(from_os_str))]
    pub conf: Option<PathBuf>,

    /// Run in the background
    #[structopt(short, long)]
    pub daemon: bool,

    /// Take over the listening sockets of the running process; send SIGQUIT to
    /// that process
    #[structopt(short, long)]
    pub upgrade: bool,

    /// Check the configuration and exit
    #[structopt(short, long)]
    pub test: bool,

    /// A command other than serving
    #[structopt(subcommand)]
    pub command: Option<Command>,
}

/// The commands other than serving.
#[derive(Debug, StructOpt)]
#[structopt(about = ABOUT)]
pub enum Command {
    /// Check the configuration and every file that it names
    Check {
        /// Configuration file
        #[structopt(
            short,
            long,
            value_name = "FILE",
            parse(from_os_str),
            conflicts_with = "file"
        )]
        conf: Option<PathBuf>,
        /// Configuration file, without -c
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: Option<PathBuf>,
    },
    /// Explain the decision of the policy about a request, for each way in which clients
    /// send it; exits with 0 when the usual way is admitted, else with 1
    Explain {
        /// Configuration file
        #[structopt(short, long, value_name = "FILE", parse(from_os_str))]
        conf: PathBuf,
        /// The user; by default the one that the client is without credentials
        #[structopt(long, value_name = "USER")]
        user: Option<String>,
        /// A group that the token of the user says, or the authoriser; several times for several
        #[structopt(long = "group", value_name = "GROUP", number_of_values = 1)]
        groups: Vec<String>,
        /// A claim of that token, such as repository=example/app; several times for several
        #[structopt(long = "claim", value_name = "NAME=TEXT", number_of_values = 1)]
        claims: Vec<String>,
        /// A URL, host:port for a tunnel only, or a path for the gateway
        #[structopt(long, value_name = "TARGET")]
        target: String,
        /// The method of the forwarded request; CONNECT explains the tunnel only
        #[structopt(long, value_name = "METHOD")]
        method: Option<String>,
        /// A field of the request, such as 'User-Agent: curl/8.5.0'; may be given several times
        #[structopt(long, value_name = "NAME: VALUE", number_of_values = 1)]
        header: Vec<String>,
        /// Call the scripts for a response with this status, too
        #[structopt(long, value_name = "STATUS")]
        status: Option<u16>,
        /// Judge a ClientHello in the tunnel with this name of a host, or with none: ''
        #[structopt(long, value_name = "NAME")]
        sni: Option<String>,
        /// A protocol that the ClientHello offers, such as h2; several times for several
        #[structopt(long, value_name = "PROTOCOL", number_of_values = 1, requires = "sni")]
        alpn: Vec<String>,
        /// The fingerprint of the client
        #[structopt(long, value_name = "JA4", requires = "sni")]
        ja4: Option<String>,
        /// The ClientHello has an encrypted one inside
        #[structopt(long, requires = "sni")]
        ech: bool,
        /// The client's address
        #[structopt(long, value_name = "IP", default_value = "127.0.0.1")]
        client: IpAddr,
        /// The addresses of the target's name; by default they are looked up
        #[structopt(long, value_name = "IP,...", use_delimiter = true)]
        resolve: Vec<IpAddr>,
        /// The time of the request, such as 2026-11-24T10:00:00Z; by default now
        #[structopt(long, value_name = "TIME")]
        time: Option<String>,
        /// Ask the authoriser of the configuration, without a password, and show question and answer
        #[structopt(long)]
        ask: bool,
        /// Print JSON
        #[structopt(long)]
        json: bool,
    },
    /// Reload users, groups and policy in the running process; exits with 0 when every
    /// change is in effect, with 2 when changed keys need a restart, with 78 when the file
    /// has errors and nothing was changed
    Reload {
        /// The configuration file of that process, with `tollgate.admin`
        #[structopt(short, long, value_name = "FILE", parse(from_os_str))]
        conf: PathBuf,
        #[structopt(flatten)]
        login: Login,
    },
    /// Show what users and networks have used of their quotas, or change it, in the running process
    /// or, if none runs, in the store; exits with 1 when there is nothing to change, or it cannot be done
    Quota {
        /// The configuration file, with `tollgate.limits.store`
        #[structopt(short, long, value_name = "FILE", parse(from_os_str))]
        conf: PathBuf,
        /// This user alone
        #[structopt(long, value_name = "USER", conflicts_with = "network")]
        user: Option<String>,
        /// The network of this address alone
        #[structopt(long, value_name = "IP")]
        network: Option<IpAddr>,
        /// This class alone
        #[structopt(long, value_name = "CLASS")]
        class: Option<String>,
        /// Forget what was used and granted
        #[structopt(long, conflicts_with = "grant")]
        reset: bool,
        /// Let each use so much more, until its periods end, such as 10GiB
        #[structopt(long, value_name = "SIZE")]
        grant: Option<String>,
        /// Print JSON
        #[structopt(long)]
        json: bool,
    },
    /// Show the JSON access log for a person, one line for each request or tunnel
    Log {
        /// Configuration file: its access log by default, and its `users_key` for --user
        #[structopt(short, long, value_name = "CONF", parse(from_os_str))]
        conf: Option<PathBuf>,
        /// The access log; - for standard input
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: Option<PathBuf>,
        /// Wait for more, through rotations; begins with the last 10 lines, or with --since
        #[structopt(short, long)]
        follow: bool,
        /// Those of this user; of hashed names, with the key of the configuration
        #[structopt(long, value_name = "USER")]
        user: Option<String>,
        /// Those to this host, such as example.org, .example.org (and its subdomains), example.org:443, gateway
        #[structopt(long, value_name = "SITE")]
        site: Option<String>,
        /// Those that this rule or part of the guard has decided or observed
        #[structopt(long, value_name = "RULE")]
        rule: Option<String>,
        /// Those with this status, such as 403 or 4xx; several times for several
        #[structopt(long, value_name = "STATUS", number_of_values = 1)]
        status: Vec<String>,
        /// Those that ended since then, such as 10m (ago) or 2026-11-30T17:00:00Z
        #[structopt(long, value_name = "TIME")]
        since: Option<String>,
        /// Those with an error, or a status of 400 or more
        #[structopt(long)]
        errors: bool,
        /// When to use colours: auto is for terminals, unless NO_COLOR is set
        #[structopt(long, value_name = "WHEN", default_value = "auto", possible_values = &["auto", "always", "never"])]
        color: String,
    },
    /// Try a script of an operator; see docs/scripts.md
    Script {
        /// What to do with it
        #[structopt(subcommand)]
        command: ScriptCommand,
    },
    /// Show what the running process does, in a terminal: requests, tunnels, users, sites, denials. It asks the admin service;
    /// see docs/top.md
    Top {
        /// The configuration file of that process, with `tollgate.admin`
        #[structopt(
            short,
            long,
            value_name = "FILE",
            parse(from_os_str),
            conflicts_with = "url"
        )]
        conf: Option<PathBuf>,
        /// Its admin service, such as `https://ops.example.org:9090`
        #[structopt(long, value_name = "URL")]
        url: Option<String>,
        #[structopt(flatten)]
        login: Login,
        /// Print one snapshot, as tables
        #[structopt(long)]
        once: bool,
        /// Print it as JSON
        #[structopt(long, requires = "once")]
        json: bool,
    },
    /// Set a user's password in an htpasswd file, as an argon2id hash; prompts for it,
    /// or reads it from standard input. argon2id uses all of a password, bcrypt ($2y$)
    /// the first 72 bytes only
    Passwd {
        /// The htpasswd file; created if it does not exist
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: PathBuf,
        /// The user
        #[structopt(value_name = "USER")]
        user: String,
    },
}

// Who asks the admin service, and what is trusted to be it. The derive macro would make a doc comment here, and at other
// parts of a command, the help of that command.
#[derive(Debug, Default, StructOpt)]
pub struct Login {
    /// A user of the admin service; prompts for the password, or reads it from standard input
    #[structopt(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A file whose first line is the password
    #[structopt(long, value_name = "FILE", parse(from_os_str), requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that are trusted, in place of those of the system
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub ca: Option<PathBuf>,
    /// A certificate to show to the service
    #[structopt(long, value_name = "FILE", parse(from_os_str), requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key
    #[structopt(long, value_name = "FILE", parse(from_os_str), requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Login {
    /// The files for TLS.
    pub fn trust(&self) -> Trust {
        Trust {
            ca: self.ca.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
        }
    }
}

// The commands for scripts. Without a doc comment, as `Login`.
#[derive(Debug, StructOpt)]
pub enum ScriptCommand {
    /// Call the functions of a script for a request, without a policy; exits with 0 when the
    /// request goes on, with 1 when it is denied or answered, with 78 when the script fails
    Run {
        /// A configuration with this script: its settings, secrets, roles and limits, and the
        /// groups of the user
        #[structopt(short, long, value_name = "CONF", parse(from_os_str))]
        conf: Option<PathBuf>,
        /// The file of the script
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: PathBuf,
        /// The user
        #[structopt(long, value_name = "USER")]
        user: String,
        /// A URL, host:port for a tunnel, or a path for the gateway
        #[structopt(long, value_name = "TARGET")]
        target: String,
        /// The method
        #[structopt(long, value_name = "METHOD")]
        method: Option<String>,
        /// A field of the request; may be given several times
        #[structopt(long, value_name = "NAME: VALUE", number_of_values = 1)]
        header: Vec<String>,
        /// A group of the user; may be given several times
        #[structopt(long, value_name = "GROUP", number_of_values = 1)]
        group: Vec<String>,
        /// Call the function for a response with this status, too
        #[structopt(long, value_name = "STATUS")]
        status: Option<u16>,
        /// A constant of `settings`, in place of that of the configuration; may be given several times
        #[structopt(long, value_name = "NAME=VALUE", number_of_values = 1)]
        setting: Vec<String>,
        /// The name of a secret, whose value is a placeholder; may be given several times
        #[structopt(long, value_name = "NAME", number_of_values = 1)]
        secret: Vec<String>,
        /// The client's address
        #[structopt(long, value_name = "IP", default_value = "127.0.0.1")]
        client: IpAddr,
        /// Print JSON
        #[structopt(long)]
        json: bool,
    },
}

/// The names of the commands.
const COMMANDS: [&str; 8] = [
    "check", "explain", "log", "passwd", "quota", "reload", "script", "top",
];

/// The message for an invalid command line, with what to type in its last line.
pub fn explain_usage(error: &Error) -> String {
    let unknown = match error.kind {
        ErrorKind::UnknownArgument => error.info.as_ref().and_then(|info| info.first()),
        _ => None,
    };
    let Some(unknown) = unknown else {
        return error.message.clone();
    };
    // The argument may be the password, so it is not shown.
    if error.message.contains("tollgate passwd") {
        return "tollgate passwd: more arguments than FILE and USER; `passwd` prompts for the password, or reads it from standard input"
            .to_owned();
    }
    let remedy = if unknown.starts_with('-') {
        "`tollgate --help` has the options".to_owned()
    } else if is_configuration(unknown) {
        format!("a configuration file is named with -c, as in `tollgate -c {unknown}`")
    } else {
        match nearest_command(unknown) {
            Some(command) => format!("did you mean `tollgate {command}`?"),
            None => format!(
                "the commands are {}; without one, `tollgate -c FILE` serves",
                COMMANDS.join(", ")
            ),
        }
    };
    format!("tollgate: {unknown:?} is not understood; {remedy}")
}

/// Whether an argument is a configuration file: by its extension, or because the file exists.
fn is_configuration(argument: &str) -> bool {
    let path = Path::new(argument);
    let has_ending = path
        .extension()
        .is_some_and(|ending| matches!(ending.to_str(), Some("yaml" | "yml" | "json" | "conf")));
    has_ending || path.is_file()
}

fn nearest_command(word: &str) -> Option<&'static str> {
    let distance = |command: &str| strsim::osa_distance(&word.to_lowercase(), command);
    let near = COMMANDS
        .into_iter()
        .min_by_key(|command| distance(command))?;
    (distance(near) <= 2).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, structopt::clap::Error> {
        Cli::from_iter_safe(std::iter::once("tollgate").chain(line.split_whitespace()))
    }

    #[test]
    fn serving() {
        let cli = parse("-c a.yaml -d -u").unwrap();
        assert_eq!(cli.conf, Some("a.yaml".into()));
        assert!(cli.daemon && cli.upgrade && !cli.test);
        assert!(parse("-c").is_err());
        assert!(parse("-x").is_err());
    }

    #[test]
    fn subcommands_have_their_own_options() {
        let cli = parse("check -c a.yaml").unwrap();
        assert!(
            matches!(cli.command, Some(Command::Check { conf: Some(conf), file: None }) if conf.as_os_str() == "a.yaml")
        );
        let cli = parse("check a.yaml").unwrap();
        assert!(
            matches!(cli.command, Some(Command::Check { conf: None, file: Some(file) }) if file.as_os_str() == "a.yaml")
        );
        assert!(parse("check -c a.yaml b.yaml").is_err());
        let cli = parse("passwd users alice").unwrap();
        assert!(matches!(cli.command, Some(Command::Passwd { user, .. }) if user == "alice"));
        let explain = "explain -c a.yaml --user u --target a.org:443 --resolve 10.0.0.1,::1 --json";
        let command = parse(explain).unwrap().command;
        assert!(
            matches!(command, Some(Command::Explain { resolve, json: true, .. }) if resolve.len() == 2)
        );
        assert!(parse("explain -c a.yaml --user u").is_err());
        assert!(parse(&explain.replace("::1", "x")).is_err());
        assert!(parse("passwd users").is_err());
        assert!(parse("frobnicate").is_err());
    }

    #[test]
    fn usage_errors_have_a_remedy() {
        for (line, expected) in [
            (
                "conf/tollgate.yaml",
                "tollgate: \"conf/tollgate.yaml\" is not understood; a configuration file is named with -c, \
                 as in `tollgate -c conf/tollgate.yaml`",
            ),
            (
                "chek -c a.yaml",
                "tollgate: \"chek\" is not understood; did you mean `tollgate check`?",
            ),
            (
                "run",
                "tollgate: \"run\" is not understood; the commands are check, explain, log, passwd, quota, reload, script, top; without one, \
                 `tollgate -c FILE` serves",
            ),
            (
                "--check",
                "tollgate: \"--check\" is not understood; `tollgate --help` has the options",
            ),
        ] {
            assert_eq!(explain_usage(&parse(line).unwrap_err()), expected);
        }
        let secret = explain_usage(&parse("passwd users alice hunter2").unwrap_err());
        assert!(!secret.contains("hunter2"), "{secret}");
        let missing = explain_usage(&parse("explain -c a.yaml --user u").unwrap_err());
        assert!(missing.contains("--target <TARGET>"), "{missing}");
    }
}
