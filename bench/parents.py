#!/usr/bin/env python3
"""Tunnels through an http parent: Tollgate beside Squid, each in front of the same parent.

    bench/parents.py TOLLGATE [--seconds 5] [--rounds 5] [--clients 32] [--streams 8]

Both verify Basic credentials, cache nothing and write no access log, with one thread or worker each; the parent is another
Tollgate, without a login. In interleaved rounds, new tunnels are opened to an origin that closes them, and then an origin
sends without end through some tunnels: the processor time of the proxy in front for each tunnel and for each GiB, which
does not depend on this generator. Needs Python, Squid and openssl; as root, Squid runs as the user proxy.
"""

import argparse
import base64
import os
import pwd
import select
import shutil
import statistics
import subprocess
import sys
import time

import socks
from forked import Forked

USER, PASSWORD = "bench", "bench-password"


CONTENT = bytes(1 << 20)


def send(connection):
    """Sends without end."""
    connection.send(CONTENT)
    return True


class Front(socks.Proxy):
    """A proxy in front of a parent, or, without one, the parent."""

    def __init__(self, name, arguments, parent=None):
        self.parent = parent
        super().__init__(name, arguments)

    def command(self, arguments):
        return self.tollgate(arguments) if self.name == "tollgate" else self.squid()

    def users(self):
        made = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
        path = self.write("users.htpasswd", f"{USER}:{made.stdout.strip()}\n")
        os.chmod(self.directory, 0o755)
        return path

    def tollgate(self, arguments):
        login, parents = f"htpasswd: {self.users()}", ""
        if self.parent is None:
            login += ", trusted_networks: [{ networks: [127.0.0.0/8], user: office }]"
        else:
            parents = f"  parents: {{ next: {{ urls: ['http://127.0.0.1:{self.parent.port}'] }} }}\n  via: next\n"
        path = self.write(
            "tollgate.yaml",
            f"""version: 1
threads: 1
pid_file: {self.directory}/pid
upgrade_sock: {self.directory}/upgrade.sock
tollgate:
  listeners: [{{ address: "127.0.0.1:{self.port}" }}]
  auth: {{ {login} }}
  egress: {{ connect_ports: any, allow_networks: [127.0.0.0/8] }}
{parents}  limits: {{ max_connections: 60000 }}
  log: {{ access: off }}
""",
        )
        return [arguments.tollgate, "-c", path]

    def squid(self):
        user = "proxy" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        helper = shutil.which("basic_ncsa_auth") or "/usr/lib/squid/basic_ncsa_auth"
        path = self.write(
            "squid.conf",
            f"""http_port 127.0.0.1:{self.port}
visible_hostname bench
auth_param basic program {helper} {self.users()}
auth_param basic credentialsttl 1 hour
acl users proxy_auth REQUIRED
http_access allow users
http_access deny all
cache_peer 127.0.0.1 parent {self.parent.port} 0 no-query no-digest no-netdb-exchange default
never_direct allow all
cache deny all
max_filedescriptors 16384
access_log none
cache_store_log none
cache_log {self.directory}/cache.log
pid_filename none
coredump_dir {self.directory}
cache_effective_user {user}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
""",
        )
        if os.geteuid() == 0:
            shutil.chown(self.directory, user)
        return [shutil.which("squid") or "/usr/sbin/squid", "-N", "-f", path]

    def messages(self, target):
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        host = f"127.0.0.1:{target}"
        head = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {token}\r\n\r\n"
        return [(head.encode(), None)]


class Client(socks.Client):
    """A tunnel by CONNECT."""

    def go_on(self, events):
        if events & select.EPOLLOUT:
            self.socket.send(self.messages[0][0])
            return False
        self.got += self.socket.recv(4096)
        if b"\r\n\r\n" not in self.got:
            return False
        if not self.got.startswith(b"HTTP/1.1 200"):
            sys.exit(f"refused: {self.got!r}")
        return True


def tunnels(proxy, origin, arguments):
    """CPU for each new tunnel, in microseconds."""
    messages = proxy.messages(origin.port)
    socks.drive(proxy.port, messages, 8, time.monotonic() + 0.5, make=Client)
    before, begun = proxy.cpu(), time.monotonic()
    count = socks.drive(proxy.port, messages, arguments.clients, begun + arguments.seconds, make=Client)
    took = time.monotonic() - begun
    return count / took, (proxy.cpu() - before) / count * 1e6


def bulk(proxy, source, arguments):
    """CPU for each GiB, in milliseconds."""
    streams = socks.drive(proxy.port, proxy.messages(source.port), arguments.streams, None, arguments.streams, Client)
    buffer, poll = bytearray(1 << 20), select.epoll()
    by_number = {stream.socket.fileno(): stream.socket for stream in streams}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    count, before, begun = 0, proxy.cpu(), time.monotonic()
    while (now := time.monotonic()) < begun + arguments.seconds:
        for number, _ in poll.poll(1):
            count += by_number[number].recv_into(buffer)
    cost = (proxy.cpu() - before) / count * 2**30 * 1e3
    for stream in streams:
        stream.socket.close()
    return count / (now - begun) / 2**20, cost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tollgate")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--streams", type=int, default=8)
    arguments = parser.parse_args()
    names, found = ["tollgate", "squid"], {}
    origin, source = socks.Origin(keeps=False), Forked(select.EPOLLOUT, send)
    parent = Front("tollgate", arguments)
    try:
        for number in range(arguments.rounds):
            for name in names if number % 2 else reversed(names):
                front = Front(name, arguments, parent)
                try:
                    row = [*tunnels(front, origin, arguments), *bulk(front, source, arguments)]
                finally:
                    front.stop()
                found.setdefault(name, []).append(row)
    finally:
        parent.stop()
        source.stop()
        origin.stop()
    print(f"{'':<10} {'tunnels/s':>10} {'CPU/tunnel':>12} {'MiB/s':>8} {'CPU/GiB':>10}")
    for name in names:
        rate, cost, speed, bytes_cost = (statistics.median(column) for column in zip(*found[name]))
        print(f"{name:<10} {rate:>10,.0f} {cost:>9,.0f} us {speed:>8,.0f} {bytes_cost:>7,.0f} ms")
    for column, what in ((1, "CPU for each tunnel"), (3, "CPU for each GiB")):
        pairs = [ours[column] / theirs[column] for ours, theirs in zip(found["tollgate"], found["squid"])]
        print(f"{what}, of Squid's: {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})")


if __name__ == "__main__":
    main()
