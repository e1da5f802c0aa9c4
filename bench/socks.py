#!/usr/bin/env python3
"""New tunnels, and the memory of idle ones, by SOCKS5: Tollgate, dante and microsocks.

    bench/socks.py TOLLGATE [--seconds 5] [--rounds 3] [--clients 64] [--idle 2000] [--only NAME]

Each proxy opens tunnels to an origin that closes them, for some seconds, in interleaved rounds: tunnels a second, and the
processor time of the proxy's processes for each, which does not depend on this generator. Then idle tunnels are opened: the memory
(PSS) that they add to the proxy's processes, for each. dante runs without a login, since its logins are users of the
system; Tollgate runs so and with one. Two workers each, with an access log in no case. Needs Python and root for dante.
"""

import argparse
import base64
import hashlib
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

USER, PASSWORD = b"bench", b"bench-password"
NONE = b"\x05\x01\x00"
LOGIN = b"\x05\x01\x02"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.025)
    return False


class Origin:
    """Processes that accept. They close at once, or keep what they accept."""

    def __init__(self, keeps):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        self.port = self.listener.getsockname()[1]
        self.child = os.fork()
        if self.child == 0:
            kept = []
            while True:
                connection, _ = self.listener.accept()
                if keeps:
                    kept.append(connection)
                else:
                    connection.close()

    def stop(self):
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)
        self.listener.close()


class Proxy:
    """A proxy with its own directory, and what its clients say."""

    def __init__(self, name, arguments):
        self.name, self.port = name, free_port()
        self.directory = tempfile.mkdtemp(prefix="socks-bench-")
        self.logs_in = name == "tollgate, login"
        command = self.command(arguments)
        log = open(os.path.join(self.directory, "output"), "wb")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        if not listens(self.port):
            self.stop()
            sys.exit(f"{name} does not listen")

    def command(self, arguments):
        if self.name.startswith("tollgate"):
            return self.tollgate(arguments)
        if self.name == "dante":
            return self.dante()
        return ["microsocks", "-i", "127.0.0.1", "-p", str(self.port)]

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def tollgate(self, arguments):
        digest = base64.b64encode(hashlib.sha1(PASSWORD).digest()).decode()
        self.write("users.htpasswd", f"{USER.decode()}:{{SHA}}{digest}\n")
        trusted = "" if self.logs_in else "    trusted_networks: [{ networks: [127.0.0.0/8], user: office }]\n"
        path = self.write(
            "tollgate.yaml",
            f"""version: 1
threads: 2
pid_file: {self.directory}/pid
upgrade_sock: {self.directory}/upgrade.sock
tollgate:
  listeners: [{{ address: "127.0.0.1:{self.port}", socks5: only }}]
  auth:
    htpasswd: users.htpasswd
{trusted}  egress: {{ connect_ports: any, allow_networks: [127.0.0.0/8] }}
  limits: {{ max_connections: 60000 }}
  log: {{ access: off }}
""",
        )
        return [arguments.tollgate, "-c", path]

    def dante(self):
        path = self.write(
            "danted.conf",
            f"""logoutput: /dev/null
internal: 127.0.0.1 port = {self.port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
""",
        )
        binary = shutil.which("danted") or shutil.which("sockd")
        return [binary, "-f", path, "-p", os.path.join(self.directory, "pid")]

    def processes(self):
        """Its process and all below it."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                        parent = int(file.read().rsplit(") ", 1)[1].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry))
        found, todo = [], [self.process.pid]
        while todo:
            found.append(todo.pop())
            todo += children.get(found[-1], [])
        return found

    def cpu(self):
        """Seconds, those of processes below it that have ended included."""
        total = 0
        for pid in self.processes():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            total += sum(int(field) for field in fields[11:15])
        return total / TICK

    def memory(self):
        """PSS in KiB."""
        total = 0
        for pid in self.processes():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total

    def messages(self, target):
        """What a client sends, each with the length of the answer that it waits for."""
        request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big")
        if not self.logs_in:
            return [(NONE, 2), (request, 10)]
        login = bytes([1, len(USER)]) + USER + bytes([len(PASSWORD)]) + PASSWORD
        return [(LOGIN, 2), (login, 2), (request, 10)]

    def stop(self):
        for pid in reversed(self.processes()):
            try:
                os.kill(pid, 15 if pid == self.process.pid else 9)
            except OSError:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Client:
    """A connection on its way through a handshake."""

    def __init__(self, port, messages):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.messages, self.step, self.got = messages, 0, b""
        try:
            self.socket.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass

    def go_on(self, events):
        """Whether the tunnel is open."""
        if events & select.EPOLLOUT:
            self.socket.send(self.messages[0][0])
            return False
        self.got += self.socket.recv(64)
        while len(self.got) >= (length := self.messages[self.step][1]):
            answer, self.got = self.got[:length], self.got[length:]
            if answer[1] not in (0, 2):
                sys.exit(f"refused: {answer!r}")
            self.step += 1
            if self.step == len(self.messages):
                return True
            self.socket.send(self.messages[self.step][0])
        return False


def drive(port, messages, clients, until, keep=None, make=Client):
    """Opens tunnels with so many clients at once. Returns how many. With `keep`, so many, which stay open."""
    poll, open_now, count, kept = select.epoll(), {}, 0, []

    def begin():
        client = make(port, messages)
        open_now[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLOUT)

    def goes_on():
        return len(kept) + len(open_now) < keep if keep else time.monotonic() < until

    for _ in range(clients):
        begin()
    while open_now:
        for number, events in poll.poll(1):
            client = open_now[number]
            try:
                is_open = client.go_on(events)
            except OSError as error:
                sys.exit(f"a tunnel failed: {error}")
            if events & select.EPOLLOUT:
                poll.modify(number, select.EPOLLIN)
            if not is_open:
                continue
            count += 1
            poll.unregister(number)
            del open_now[number]
            if keep:
                kept.append(client)
            else:
                client.socket.close()
            if goes_on():
                begin()
    return kept if keep else count


def rate(proxy, origin, arguments):
    messages = proxy.messages(origin.port)
    drive(proxy.port, messages, 8, time.monotonic() + 0.5)
    before, begun = proxy.cpu(), time.monotonic()
    count = drive(proxy.port, messages, arguments.clients, begun + arguments.seconds)
    took = time.monotonic() - begun
    return count / took, (proxy.cpu() - before) / count * 1e6


def idle(proxy, arguments):
    origin = Origin(keeps=True)
    try:
        messages = proxy.messages(origin.port)
        # Some are open before, so that what each thread allocates once does not count.
        warm = drive(proxy.port, messages, 8, None, keep=32)
        before = proxy.memory()
        kept = drive(proxy.port, messages, 32, None, keep=arguments.idle)
        time.sleep(1)
        added = (proxy.memory() - before) / len(kept)
        for client in warm + kept:
            client.socket.close()
        return added
    finally:
        origin.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tollgate")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    names = ["tollgate", "tollgate, login", "dante", "microsocks"]
    if not (shutil.which("danted") or shutil.which("sockd")) or os.geteuid() != 0:
        names.remove("dante")
    if not shutil.which("microsocks"):
        names.remove("microsocks")
    names = [name for name in names if arguments.only in (None, name)]
    rates, costs = {name: [] for name in names}, {name: [] for name in names}
    origin = Origin(keeps=False)
    try:
        for name in names * arguments.rounds:
            proxy = Proxy(name, arguments)
            try:
                per_second, cost = rate(proxy, origin, arguments)
            finally:
                proxy.stop()
            rates[name].append(per_second)
            costs[name].append(cost)
    finally:
        origin.stop()
    print(f"{'':<16} {'tunnels/s':>10} {'CPU/tunnel':>11} {'idle tunnel':>12}")
    for name in names:
        proxy = Proxy(name, arguments)
        try:
            memory = f"{idle(proxy, arguments):.1f} KiB"
        finally:
            proxy.stop()
        tunnels, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"{name:<16} {tunnels:>10,.0f} {cost:>8,.0f} us {memory:>12}")


if __name__ == "__main__":
    main()
