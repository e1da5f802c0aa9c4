#!/usr/bin/env python3
"""How well Tollgate keeps the bandwidths of classes, measured at the ends of real connections.

    bench/bandwidth.py TOLLGATE [--seconds 5] [--only NAME]
    bench/bandwidth.py TOLLGATE --cost 9

For each way that bytes can go (tunnel, forward and gateway bodies, HTTP/2) and each rate: the mean, the 99th percentile and the highest of all windows of 100 ms (each begins 10 ms after the one
before), in parts of the limit, and the most bytes that came at once after a silence. Then: eight connections of one user, two
users, and both directions at once. Needs
Python, curl for HTTP/2, and wrk for `--cost`.
"""

import argparse
import base64
import hashlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

BLOCK = bytes(64 * 1024)
USERS = ["alice", "bob"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Flow:
    """Arrivals of bytes at one end."""

    def __init__(self):
        self.arrivals = []

    def add(self, count):
        self.arrivals.append((time.monotonic(), count))

    def total(self, begin=None, end=None):
        return sum(n for t, n in self.arrivals if (begin is None or t >= begin) and (end is None or t < end))


class Origin:
    """A raw origin: /down sends for ever, /up reads for ever. A tunnel says the same as its first line."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.uploads = {}
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            line, _, _ = head.partition(b"\r\n")
            rest = head.partition(b"\r\n\r\n")[2]
            key = line.split()[1].decode().rpartition("/")[2]
            while key == "small":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")
                if not connection.recv(65536):
                    return
            if "down" in key:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                while True:
                    connection.sendall(BLOCK)
            flow = self.uploads.setdefault(key, Flow())
            flow.add(len(rest))
            while True:
                more = connection.recv(256 * 1024)
                if not more:
                    return
                flow.add(len(more))
        except OSError:
            pass
        finally:
            connection.close()


class Proxy:
    def __init__(self, binary, limits, origin, splice=True):
        self.directory = tempfile.TemporaryDirectory(prefix="tollgate-bandwidth.")
        self.port, self.admin = free_port(), free_port()
        path = self.directory.name
        with open(f"{path}/users", "w") as users:
            for name in USERS:
                digest = base64.b64encode(hashlib.sha1(b"pw").digest()).decode()
                users.write(f"{name}:{{SHA}}{digest}\n")
        self.config = f"{path}/tollgate.yaml"
        with open(self.config, "w") as config:
            config.write(
                f"""version: 1
threads: 2
pid_file: {path}/pid
upgrade_sock: {path}/upgrade.sock
tollgate:
  listeners: [{{ address: "127.0.0.1:{self.port}" }}]
  admin: {{ address: "127.0.0.1:{self.admin}" }}
  auth: {{ realm: r, htpasswd: users }}
  gateway: {{ upstreams: ["127.0.0.1:{origin.port}"] }}
  egress: {{ connect_ports: any, http_ports: any, allow_networks: ["127.0.0.0/8"] }}
  log: {{ access: "off" }}
  limits: {{ classes: [{{ name: all, {limits} }}] }}
"""
            )
        self.process = subprocess.Popen([binary, "-c", self.config], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.connect().close()
                break
            except OSError:
                time.sleep(0.05)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()


def credentials(user):
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{user}:pw".encode()).decode()


def begin(proxy, origin, way, key, user):
    """A connection on which the bytes of `key` go now, in the way that is asked for."""
    connection = proxy.connect()
    target = f"http://127.0.0.1:{origin.port}/{key}" if way != "gateway" else f"/{key}"
    length = "" if "down" in key else "Content-Length: 1000000000000\r\n"
    method = "GET" if "down" in key else "POST"
    if way == "tunnel":
        connection.sendall(f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n{credentials(user)}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        if b" 200 " not in head:
            sys.exit(head.decode())
        target, fields = f"/{key}", ""
    else:
        fields = credentials(user) + "\r\n"
        if way == "gateway":
            fields = fields.replace("Proxy-Authorization", "Authorization")
    connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n{fields}{length}\r\n".encode())
    return connection


def receive(connection, flow, until):
    connection.settimeout(5)
    try:
        while time.monotonic() < until:
            count = len(connection.recv(256 * 1024))
            if not count:
                break
            flow.add(count)
    except OSError:
        pass
    reset(connection)


def reset(connection):
    """What the kernel has of it does not count against what is measured next."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def transmit(connection, until):
    connection.settimeout(5)
    try:
        while time.monotonic() < until:
            connection.sendall(BLOCK)
    except OSError:
        pass
    reset(connection)


counter = iter(range(1 << 30))


def start(proxy, origin, way, direction, user, until):
    key = f"{direction}{next(counter)}"
    if way == "h2":
        flow = Flow()
        address = f"http://127.0.0.1:{proxy.port}/{key}"
        command = ["curl", "-s", "--http2-prior-knowledge", "-u", f"{user}:pw", "-o", "-", address]
        if direction == "up":
            flow = origin.uploads.setdefault(key, Flow())
            command += ["-T", "/dev/zero"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)

        def read():
            while time.monotonic() < until:
                if direction == "up":
                    time.sleep(0.05)
                    continue
                more = os.read(process.stdout.fileno(), 256 * 1024)
                if not more:
                    break
                flow.add(len(more))
            process.kill()
            process.wait()

        return flow, threading.Thread(target=read)
    connection = begin(proxy, origin, way, key, user)
    if direction == "down":
        flow = Flow()
        return flow, threading.Thread(target=receive, args=(connection, flow, until))
    flow = origin.uploads.setdefault(key, Flow())
    return flow, threading.Thread(target=transmit, args=(connection, until))


def measure(proxy, origin, seconds, streams):
    """`streams` are (way, direction, user). Their flows, the time of the begin and the CPU of the proxy."""
    begun = time.monotonic()
    cpu = proxy.cpu()
    running = [start(proxy, origin, *stream, begun + seconds) for stream in streams]
    for _, thread in running:
        thread.start()
    for _, thread in running:
        thread.join()
    return [flow for flow, _ in running], begun, proxy.cpu() - cpu


def windows(flows, begun, seconds, length=0.1, step=0.01):
    arrivals = sorted(a for flow in flows for a in flow.arrivals)
    sums, first, last, total = [], 0, 0, 0
    edge = begun
    while edge + length <= begun + seconds:
        while last < len(arrivals) and arrivals[last][0] < edge + length:
            total += arrivals[last][1]
            last += 1
        while first < last and arrivals[first][0] < edge:
            total -= arrivals[first][1]
            first += 1
        sums.append(total)
        edge += step
    return sorted(sums)


def most_at_once(flows):
    """The most bytes that came with less than 2 ms between two arrivals."""
    arrivals = sorted(a for flow in flows for a in flow.arrivals)
    most = total = 0
    before = 0
    for at, count in arrivals:
        total = count if at - before > 0.002 else total + count
        before, most = at, max(most, total)
    return most


def report(name, rate, flows, begun, seconds, cpu):
    # The burst of the first moment is in the windows, and not in the mean.
    skip = 0.5
    mean = sum(f.total(begun + skip, begun + seconds) for f in flows) / (seconds - skip)
    sums = windows(flows, begun, seconds)
    tenth = rate / 10
    print(
        f"{name:38} mean {mean / rate:6.3f}  p99 window {sums[int(len(sums) * 0.99)] / tenth:5.2f}"
        f"  highest {sums[-1] / tenth:5.2f}  at once {most_at_once(flows) / 1024:8.1f} KiB  cpu {cpu / seconds * 100:5.1f} %",
        flush=True,
    )


def cost(binary, origin, rounds):
    """CPU of the proxy without a class for the user, with one that has no bandwidth, and with one that is not reached: for a
    gigabyte through eight tunnels, and for a request of wrk. Medians of pairs, as parts of the first."""
    variants = {
        "no class": "users: [nobody]",
        "class, no bandwidth": "tunnels: 1000, concurrent_requests: 1000",
        "bandwidth": "tunnels: 1000, concurrent_requests: 1000, download: 100GB/s, upload: 100GB/s",
    }
    amount = 128 * 1024 * 1024

    def fetch(proxy):
        connection = begin(proxy, origin, "tunnel", f"down{next(counter)}", "alice")
        left = amount
        space = bytearray(1 << 20)
        while left > 0:
            left -= connection.recv_into(space)
        reset(connection)

    def bulk(proxy):
        before = proxy.cpu()
        threads = [threading.Thread(target=fetch, args=(proxy,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (proxy.cpu() - before) / (8 * amount / 1e9)

    def requests(proxy):
        before = proxy.cpu()
        script = f"{proxy.directory.name}/auth.lua"
        with open(script, "w") as lua:
            lua.write(f'wrk.headers["Authorization"] = "{credentials("alice").partition(": ")[2]}"')
        command = ["wrk", "-t1", "-c20", "-d3", "-s", script, f"http://127.0.0.1:{proxy.port}/small"]
        out = subprocess.run(command, capture_output=True, text=True).stdout
        count = int(next(line for line in out.splitlines() if "requests in" in line).split()[0])
        return (proxy.cpu() - before) / count * 1e6

    proxies = {name: Proxy(binary, limits, origin) for name, limits in variants.items()}
    try:
        for what, unit, run in [("bulk", "s/GB", bulk), ("requests", "us each", requests)]:
            results = {name: [] for name in variants}
            for round in range(rounds + 1):
                names = list(variants) if round % 2 else list(variants)[::-1]
                for name in names:
                    result = run(proxies[name])
                    if round:
                        results[name].append(result)
            base = results["no class"]
            for name, values in results.items():
                pairs = sorted(a / b for a, b in zip(values, base))
                print(f"{what:10} {name:22} {sorted(values)[len(values) // 2]:8.3f} {unit}  of the first {pairs[len(pairs) // 2]:.3f}", flush=True)
    finally:
        for proxy in proxies.values():
            proxy.close()


RATES = [("64KiB/s", 64 << 10), ("1MiB/s", 1 << 20), ("20MB/s", 20_000_000), ("200MB/s", 200_000_000)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tollgate")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--cost", type=int, metavar="ROUNDS", help="what it costs, in so many pairs, instead")
    args = parser.parse_args()
    origin = Origin()
    if args.cost:
        return cost(args.tollgate, origin, args.cost)
    for text, rate in RATES:
        proxy = Proxy(args.tollgate, f"download: {text}, upload: {text}", origin)
        try:
            for way in ["tunnel", "forward", "gateway", "h2"]:
                for direction in ["down", "up"]:
                    name = f"{way} {direction} {text}"
                    if args.only in name:
                        time.sleep(0.3)
                        result = measure(proxy, origin, args.seconds, [(way, direction, "alice")])
                        report(name, rate, result[0], result[1], args.seconds, result[2])
            for way in ["tunnel", "forward"]:
                name = f"eight {way}s down {text}"
                if args.only in name:
                    time.sleep(0.3)
                    flows, begun, cpu = measure(proxy, origin, args.seconds, [(way, "down", "alice")] * 8)
                    report(name, rate, flows, begun, args.seconds, cpu)
                    totals = [f.total(begun + 0.5) for f in flows]
                    shares = [total / max(1, sum(totals)) * 8 for total in totals]
                    print(f"{'':38} shares {min(shares):.3f} to {max(shares):.3f}")
            name = f"two users down {text}"
            if args.only in name:
                time.sleep(0.3)
                streams = [("tunnel", "down", "alice")] * 3 + [("tunnel", "down", "bob")]
                flows, begun, cpu = measure(proxy, origin, args.seconds, streams)
                report(name + ", alice with three", rate, flows[:3], begun, args.seconds, cpu)
                report(name + ", bob with one", rate, flows[3:], begun, args.seconds, cpu)
            name = f"both ways at once {text}"
            if args.only in name:
                time.sleep(0.3)
                streams = [("tunnel", "down", "alice"), ("tunnel", "up", "alice")]
                flows, begun, cpu = measure(proxy, origin, args.seconds, streams)
                report(name + ", down", rate, flows[:1], begun, args.seconds, cpu)
                report(name + ", up", rate, flows[1:], begun, args.seconds, cpu)
        finally:
            proxy.close()


if __name__ == "__main__":
    main()
