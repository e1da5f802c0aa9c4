//! The kernel's table of TCP sockets, for waits that end when no more bytes move.

use std::net::{Ipv4Addr, SocketAddr};

/// Bytes that sockets of IPv4 bound to `local` have written and their peers have not yet acknowledged.
pub(crate) fn unacknowledged(local: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // proc_pid_net(5): number, local address, remote address, state, tx_queue:rx_queue, all in hexadecimal.
    let rows = table.lines().skip(1).map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (address(words[1]), words[4].split_once(':').unwrap().0)
    });
    rows.filter(|(address, _)| *address == local)
        .map(|(_, sending)| u64::from_str_radix(sending, 16).unwrap())
        .sum()
}

fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').unwrap();
    let host = u32::from_str_radix(host, 16).unwrap().to_ne_bytes();
    let port = u16::from_str_radix(port, 16).unwrap();
    SocketAddr::from((Ipv4Addr::from(host), port))
}
