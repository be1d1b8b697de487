"""relay.py LISTEN TARGET: a TCP proxy that splices both ways, one process for each connection, edge-triggered."""

import os
import select
import socket
import sys

FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Way:
    def __init__(self, source, target):
        self.source, self.target = source, target
        self.out, self.into = os.pipe2(os.O_NONBLOCK)
        self.held, self.ended, self.done = 0, False, False

    def pump(self):
        while not self.done:
            moved = False
            if not self.ended:
                try:
                    got = os.splice(self.source.fileno(), self.into, 1 << 16, flags=FLAGS)
                    self.held, self.ended, moved = self.held + got, got == 0, got > 0
                except BlockingIOError:
                    pass
            if self.held:
                try:
                    self.held -= os.splice(self.out, self.target.fileno(), self.held, flags=FLAGS)
                    moved = True
                except BlockingIOError:
                    pass
            if self.ended and not self.held:
                self.target.shutdown(socket.SHUT_WR)
                self.done = True
            if not moved:
                return


def serve(client, target):
    server = socket.create_connection(("127.0.0.1", target))
    poll = select.epoll()
    for one in (client, server):
        one.setblocking(False)
        poll.register(one.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
    ways = [Way(client, server), Way(server, client)]
    while not all(way.done for way in ways):
        poll.poll()
        for way in ways:
            way.pump()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        serve(connection, int(sys.argv[2]))
        os._exit(0)
    connection.close()
