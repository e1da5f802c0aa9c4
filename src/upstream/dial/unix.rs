//! Connections to sockets of this machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::DialError;

/// Connects to the socket at `path`.
///
/// # Errors
/// [`DialError::Timeout`] after `limit`; what connect(2) says.
pub async fn connect_unix(path: &Path, limit: Duration) -> Result<UnixStream, DialError> {
    match timeout(limit, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        // The server accepts too slowly. For TCP the same error is a shortage of this host.
        Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => {
            let full = "the socket takes no more connections at the moment";
            Err(DialError::Io(io::Error::other(full)))
        }
        Ok(Err(error)) => Err(DialError::from_connect(error, false)),
        Err(_late) => Err(DialError::Timeout),
    }
}
