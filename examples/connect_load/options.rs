//! The command line.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::serve::Kind;
use crate::wire::Way;

/// What is printed when the command line is wrong.
pub(crate) const USAGE: &str = "usage: connect_load serve echo|source|hold ADDRESS
       connect_load tunnels|bulk|idle --target ADDRESS [--proxy ADDRESS] [--user NAME:PASSWORD]
                    [--clients N | --tunnels N] [--seconds N]";

/// What to do.
pub(crate) enum Command {
    /// Be a server of this kind.
    Serve(Kind, SocketAddr),
    /// Open short tunnels on so many clients for so long.
    Tunnels(Way, usize, Duration),
    /// Read from so many tunnels for so long.
    Bulk(Way, usize, Duration),
    /// Open so many tunnels and hold them.
    Idle(Way, usize),
}

impl Command {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// Names the argument that is unknown, missing or cannot be read.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let name = arguments.next().ok_or("a command is missing")?;
        if name == "serve" {
            let kind = arguments.next().ok_or("serve: what is missing")?;
            let address = arguments.next().ok_or("serve: the address is missing")?;
            return Ok(Self::Serve(
                Kind::parse(&kind).ok_or_else(|| format!("serve {kind}: no such server"))?,
                address.parse().map_err(|e| format!("{address}: {e}"))?,
            ));
        }
        let mut target = None;
        let mut proxy = None;
        let mut user = None;
        let mut count = 50;
        let mut seconds = 10;
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name}: value missing"))?;
            let wrong = |error: &dyn Display| format!("{name} {value}: {error}");
            match name.as_str() {
                "--target" => target = Some(value.parse().map_err(|e| wrong(&e))?),
                "--proxy" => proxy = Some(value.parse().map_err(|e| wrong(&e))?),
                "--user" => user = Some(value),
                "--clients" | "--tunnels" => count = value.parse().map_err(|e| wrong(&e))?,
                "--seconds" => seconds = value.parse().map_err(|e| wrong(&e))?,
                _ => return Err(format!("{name}: no such argument")),
            }
        }
        let way = Way::new(target.ok_or("--target is missing")?, proxy, user.as_deref());
        let duration = Duration::from_secs(seconds);
        match name.as_str() {
            "tunnels" => Ok(Self::Tunnels(way, count, duration)),
            "bulk" => Ok(Self::Bulk(way, count, duration)),
            "idle" => Ok(Self::Idle(way, count)),
            _ => Err(format!("{name}: no such command")),
        }
    }
}
