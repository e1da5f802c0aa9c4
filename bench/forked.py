"""A server in a process of its own, for benchmarks."""

import os
import select
import socket


class Forked:
    """Accepts connections on a free port of loopback, and calls `serve` with each that is ready for `events`. One that fails, or
    for which `serve` gives False, is closed."""

    def __init__(self, events, serve):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        self.port = listener.getsockname()[1]
        self.child = os.fork()
        if self.child == 0:
            self.run(listener, events, serve)
        listener.close()

    @staticmethod
    def run(listener, events, serve):
        poll, connections = select.epoll(), {}
        poll.register(listener, select.EPOLLIN)
        while True:
            for number, _ in poll.poll():
                if number == listener.fileno():
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connections[connection.fileno()] = connection
                    poll.register(connection, events)
                    continue
                try:
                    goes_on = serve(connections[number])
                except BlockingIOError:
                    continue
                except OSError:
                    goes_on = False
                if not goes_on:
                    connections.pop(number).close()

    def stop(self):
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)
