#!/usr/bin/env python3
"""What it costs that somebody looks: snapshots, answers of the admin service, and what traffic notices of it.

    bench/admin.py TOLLGATE [--users 100000] [--rate 1000] [--seconds 10] [--rounds 6] [--chromium]

So many users ask for one site each, and 200 tunnels stay open. Then the processor time of Tollgate is measured, in one
thread of requests: for a second with a listener of events beside a second without, and for each answer. After that a client
sends so many requests a second, and the p99 of their latency, counted from when each was due, is compared in interleaved
rounds: nobody looks; one page is open (what it asks for is asked for by this program, or, with --chromium, by a browser
on this machine, which takes processor time of its own); 1,000 connections to the admin service that ask slowly, and, since
this program takes processor time for them, as many to the admin service of another Tollgate. Linux, Python.
"""

import argparse
import base64
import hashlib
import http.client
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from forked import Forked

PASSWORD = b"bench"
PATHS = [
    "/",
    "/metrics",
    "/stats",
    "/api/v1/status",
    "/api/v1/tunnels",
    "/api/v1/requests",
    "/api/v1/users",
    "/api/v1/sites",
    "/api/v1/denials",
    "/api/v1/upstreams",
    "/api/v1/quotas?limit=50",
    "/api/v1/policy",
    "/api/v1/history",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def credentials(user):
    return base64.b64encode(user + b":" + PASSWORD)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(connection):
    """Answers each request with two bytes, and keeps what says nothing."""
    if not connection.recv(65536):
        return False
    connection.sendall(ANSWER)
    return True


class Tollgate:
    """The program, with its own directory."""

    def __init__(self, arguments):
        self.directory = tempfile.mkdtemp(prefix="admin-bench-")
        self.port, self.admin = free_port(), free_port()
        digest = base64.b64encode(hashlib.sha1(PASSWORD).digest()).decode()
        with open(f"{self.directory}/users.htpasswd", "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            for number in range(arguments.users):
                file.write(f"user-{number}:{{SHA}}{digest}\n")
        path = f"{self.directory}/tollgate.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"""version: 1
threads: 1
pid_file: {self.directory}/pid
upgrade_sock: {self.directory}/upgrade.sock
tollgate:
  listeners: [{{ address: "127.0.0.1:{self.port}" }}]
  admin: {{ address: "127.0.0.1:{self.admin}" }}
  auth: {{ htpasswd: users.htpasswd }}
  egress: {{ connect_ports: any, allow_networks: [127.0.0.0/8] }}
  limits: {{ store: {{ file: {self.directory}/quota.redb }}, classes: [{{ name: all, quota: {{ day: 1TiB }} }}] }}
  log: {{ access: off }}
""")
        output = open(f"{self.directory}/output", "wb")
        self.process = subprocess.Popen([arguments.tollgate, "-c", path], stdout=output, stderr=output)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.admin), 1).close()
                return
            except OSError:
                time.sleep(0.025)
        with open(f"{self.directory}/output", encoding="utf-8") as file:
            sys.exit(f"it does not listen: {file.read()}")

    def cpu(self):
        """Seconds of all its threads, those that have ended included: the clock of the process (CPUCLOCK_SCHED)."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def get(self, connection, path):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {body!r}")
        return body

    def connect_admin(self):
        return http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(connection, request):
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        got = connection.recv(65536)
        if not got:
            sys.exit(f"no answer: {answer!r}")
        answer += got
    return answer


def fill(tollgate, origin, users):
    """So many users ask for a site of their own, once each, on connections of their own hundred."""
    for number in range(users):
        if number % 100 == 0:
            connection = connect(tollgate.port)
        host = b"site-%d.localhost:%d" % (number, origin.port)
        user = credentials(b"user-%d" % number)
        request = b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n" % (host, host, user)
        answer = exchange(connection, request)
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"{answer!r}")


def open_tunnels(tollgate, origin, count):
    kept = []
    for number in range(count):
        connection = connect(tollgate.port)
        target = b"127.0.0.1:%d" % origin.port
        user = credentials(b"user-%d" % number)
        answer = exchange(
            connection, b"CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n" % (target, target, user)
        )
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"{answer!r}")
        kept.append(connection)
    return kept


class Page:
    """Asks for what an open page asks for."""

    def __init__(self, tollgate):
        self.tollgate, self.goes_on, self.snapshots = tollgate, True, 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        events = connect(self.tollgate.admin)
        events.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % self.tollgate.admin)
        events.settimeout(0.2)
        asks = self.tollgate.connect_admin()
        for path in ("/", "/api/v1/history"):
            self.tollgate.get(asks, path)
        while self.goes_on:
            try:
                got = events.recv(1 << 20)
            except TimeoutError:
                continue
            if not got:
                sys.exit("the events have ended")
            if b"event: snapshot" not in got:
                continue
            self.snapshots += 1
            self.tollgate.get(asks, "/api/v1/requests?limit=50")
            if self.snapshots % 5 == 0:
                for path in ("status", "denials?limit=50", "quotas?limit=50"):
                    self.tollgate.get(asks, f"/api/v1/{path}")
        events.close()

    def stop(self):
        self.goes_on = False
        self.thread.join()


class Browser:
    """A page in Chromium."""

    def __init__(self, tollgate):
        self.directory = tempfile.mkdtemp(prefix="admin-bench-browser-")
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.directory}"]
        command += ["--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"]
        command += ["--disable-component-update", f"http://127.0.0.1:{tollgate.admin}/"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # It starts, and draws for the first time.
        time.sleep(5)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Crowd:
    """1,000 connections to the admin service. Each sends a request byte by byte."""

    def __init__(self, tollgate):
        self.tollgate, self.goes_on, self.sent = tollgate, True, 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % self.tollgate.admin
        crowd = []
        while self.goes_on:
            for _ in range(20):
                if len(crowd) < 1000:
                    connection = connect(self.tollgate.admin)
                    connection.setblocking(False)
                    crowd.append([connection, 0])
            for entry in crowd[self.sent % 10 :: 10]:
                connection, at = entry
                try:
                    connection.send(request[at : at + 1])
                    entry[1] = (at + 1) % len(request)
                    connection.recv(1 << 20)
                except BlockingIOError:
                    continue
                except OSError:
                    # It was refused, or had its time.
                    connection.close()
                    entry[:] = [connect(self.tollgate.admin), 0]
                    entry[0].setblocking(False)
            self.sent += 1
            time.sleep(0.02)
        for connection, _ in crowd:
            connection.close()

    def stop(self):
        self.goes_on = False
        self.thread.join()


class Nobody:
    def __init__(self, _):
        pass

    def stop(self):
        pass


def paced(tollgate, origin, rate, seconds):
    """A process of its own sends requests when they are due, on 20 connections. The latencies, in milliseconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        return [float(line) for line in text.split()]
    os.close(reader)
    host = b"127.0.0.1:%d" % origin.port
    request = b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n"
    request %= (host, host, credentials(b"user-1"))
    poll, free, waiting = select.epoll(), [connect(tollgate.port) for _ in range(20)], {}
    for connection in free:
        poll.register(connection, select.EPOLLIN)
    by_number = {connection.fileno(): connection for connection in free}
    begun, sent, latencies = time.monotonic(), 0, []
    count = int(rate * seconds)
    while len(latencies) < count:
        now = time.monotonic()
        while free and sent < count and begun + sent / rate <= now:
            connection = free.pop()
            waiting[connection.fileno()] = begun + sent / rate
            connection.sendall(request)
            sent += 1
        until = begun + sent / rate - time.monotonic() if sent < count else 1
        for number, _ in poll.poll(max(until, 0) if free else 1):
            if not by_number[number].recv(65536).startswith(b"HTTP/1.1 200"):
                os._exit(1)
            latencies.append((time.monotonic() - waiting.pop(number)) * 1e3)
            free.append(by_number[number])
    with os.fdopen(writer, "w") as pipe:
        pipe.write("\n".join(f"{latency:.4f}" for latency in latencies))
    os._exit(0)


def costs(tollgate):
    def second(seconds=10):
        before = tollgate.cpu()
        time.sleep(seconds)
        return (tollgate.cpu() - before) / seconds * 1e3

    # Until the balances are written down.
    time.sleep(15)
    idle = second()
    events = connect(tollgate.admin)
    events.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % tollgate.admin)
    drain = threading.Thread(target=lambda: [None for _ in iter(lambda: events.recv(1 << 20), b"")], daemon=True)
    drain.start()
    time.sleep(2)
    listening = second()
    events.shutdown(socket.SHUT_RDWR)
    print(f"{'nobody listens to events':<28} {idle:>8.3f} ms CPU a second")
    print(f"{'one listens':<28} {listening:>8.3f} ms CPU a second")
    connection = tollgate.connect_admin()
    print(f"\n{'answer':<28} {'CPU':>11} {'bytes':>10}")
    for path in PATHS:
        length = len(tollgate.get(connection, path))
        before = tollgate.cpu()
        for _ in range(20):
            tollgate.get(connection, path)
        print(f"{path:<28} {(tollgate.cpu() - before) / 20 * 1e3:>8.3f} ms {length:>10,}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tollgate")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--chromium", action="store_true")
    arguments = parser.parse_args()
    origin = Forked(select.EPOLLIN, answer)
    tollgate, other = Tollgate(arguments), Tollgate(arguments)
    try:
        fill(tollgate, origin, arguments.users)
        tunnels = open_tunnels(tollgate, origin, 200)
        costs(tollgate)
        looks = {
            "nobody looks": Nobody,
            "one page": Page,
            "1,000 connections to another": lambda _: Crowd(other),
            "1,000 connections": Crowd,
        }
        if arguments.chromium:
            looks["one page in Chromium here"] = Browser
        found = {name: [] for name in looks}
        for name in list(looks) * arguments.rounds:
            look = looks[name](tollgate)
            latencies = sorted(paced(tollgate, origin, arguments.rate, arguments.seconds))
            look.stop()
            quantiles = [latencies[int(len(latencies) * part)] for part in (0.5, 0.99)]
            found[name].append(quantiles)
        del tunnels
        base = statistics.median(p99 for _, p99 in found["nobody looks"])
        print(f"\n{'':<28} {'p50':>9} {'p99':>9} {'of nobody':>10}")
        for name, rounds in found.items():
            p50, p99 = (statistics.median(column) for column in zip(*rounds))
            print(f"{name:<28} {p50:>6.3f} ms {p99:>6.3f} ms {p99 / base:>9.2f}x")
    finally:
        tollgate.stop()
        other.stop()
        origin.stop()


if __name__ == "__main__":
    main()
