//! Loads for CONNECT tunnels and the servers behind them, for the benchmark.
//!
//! ```text
//! connect_load serve echo 127.0.0.1:7000
//! connect_load tunnels --target 127.0.0.1:7000 --proxy 127.0.0.1:8888 --user username:password
//! connect_load bulk --target 127.0.0.1:7001 --tunnels 8 --seconds 10
//! connect_load idle --target 127.0.0.1:7002 --tunnels 3000
//! ```
//!
//! `tunnels` opens a tunnel, sends 64 bytes, reads them back, closes and begins
//! again, on each of its clients. `bulk` reads what a `source` server sends.
//! `idle` opens tunnels, sends 64 bytes there and back in each, and holds them
//! until its standard input ends. Without `--proxy` they connect directly.
//!
//! Results are one line of `key=value` pairs on standard output. Only `std`:
//! plain `rustc` compiles it, and a blocking thread costs the machine no more
//! than a task for a client that does one thing at a time.

mod load;
mod options;
mod serve;
mod wire;

use std::process::ExitCode;

use options::{Command, USAGE};

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("connect_load: {error}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let outcome = match command {
        Command::Serve(kind, address) => serve::run(kind, address).map(|()| true),
        Command::Tunnels(way, clients, duration) => load::tunnels(&way, clients, duration),
        Command::Bulk(way, tunnels, duration) => load::bulk(&way, tunnels, duration),
        Command::Idle(way, tunnels) => load::idle(&way, tunnels),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("connect_load: {error}");
            ExitCode::FAILURE
        }
    }
}
