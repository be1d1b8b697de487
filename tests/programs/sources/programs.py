"""Servers and clients of Python's standard library."""
import asyncio
import hashlib
import http.server
import os
import select
import socket
import socketserver
import struct
import sys
import time

ROUNDS, ROUND = 200, 1024
STALL = 20  # seconds; nothing on loopback takes as long


def content(path):
    with open(path, "rb") as file:
        return file.read()


def summary(data):
    return "%d %s" % (len(data), hashlib.sha256(data).hexdigest())


def wait(sock, events, what):
    poll = select.poll()
    poll.register(sock, events)
    if not poll.poll(STALL * 1000):
        sys.exit("stalled: %s" % what)


def exchange(sock, data, end=False):
    """Sends and reads back at the same time, without blocking."""
    view, got = memoryview(data), bytearray()
    while len(got) < len(data) or end:
        wait(sock, select.POLLIN | (select.POLLOUT if view else 0), "%d of %d bytes came back" % (len(got), len(data)))
        try:
            if view:
                view = view[sock.send(view):]
                if not view and end:
                    sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        try:
            part = sock.recv(65536)
        except BlockingIOError:
            continue
        if not part:
            break
        got += part
    if got != data:
        sys.exit("%d of %d bytes came back%s" % (len(got), len(data), "" if data.startswith(got) else ", and others"))


def echo_client(port, path, end="half-close"):
    """Round trips and a bulk echo; ends its own direction before it has read all, unless `end` says otherwise."""
    data = content(path)
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", int(port)))
    wait(sock, select.POLLOUT, "connect")
    for _ in range(ROUNDS):
        exchange(sock, data[:ROUND])
    exchange(sock, data, end=end == "half-close")
    print("equal")


def upload_client(port, path):
    """Says that it only sends; the server answers with what it has received when the end has come."""
    data = b"SUM " + content(path)
    sock = socket.create_connection(("127.0.0.1", int(port)))
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(STALL)
    answer = b""
    while part := sock.recv(4096):
        answer += part
    if answer.decode() != summary(data):
        sys.exit("sent %s, received %s" % (summary(data), answer.decode()))
    print("equal")


async def forever(serve, port):
    server = await asyncio.start_server(serve, "127.0.0.1", int(port))
    await server.serve_forever()


def asyncio_server(port):
    """Echoes, or answers what begins with SUM with its length and SHA-256 at its end."""

    async def serve(reader, writer):
        first = data = await reader.read(65536)
        if first.startswith(b"SUM "):
            writer.write(summary(first + await reader.read()).encode())
            data = b""
        while data:
            writer.write(data)
            await writer.drain()
            data = await reader.read(65536)
        writer.close()

    asyncio.run(forever(serve, port))


def asyncio_client(port, path):
    async def main():
        data = content(path)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        for _ in range(ROUNDS):
            writer.write(data[:ROUND])
            if await reader.readexactly(ROUND) != data[:ROUND]:
                sys.exit("a round trip differs")
        writer.write(data)
        writer.write_eof()
        if await reader.read() != data:
            sys.exit("other bytes came back than were sent")
        print("equal")

    asyncio.run(main())


def socketserver_server(port):
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)

    socketserver.ThreadingTCPServer(("127.0.0.1", int(port)), Echo).serve_forever()


def http_server(port, path):
    data = content(path)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: the second would wait 40 ms for the acknowledgement of the first.
        disable_nagle_algorithm = True

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(data[:int(self.path.split("?")[0].rsplit("/", 1)[1])])

        def do_POST(self):
            if "100-continue" in self.headers.get("Expect", ""):
                self.send_response_only(100)
                self.end_headers()
            self.answer(summary(self.rfile.read(int(self.headers["Content-Length"]))).encode())

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


def broken_server(port):
    """/short: fewer bytes than promised. /reset: a reset after some of them. /silent: the end instead of an answer."""

    class Broken(socketserver.BaseRequestHandler):
        def handle(self):
            head = self.request.recv(65536)
            if b"/silent" in head:
                return
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
            if b"/reset" in head:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def finish(self):
            self.request.close()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", int(port)), Broken)
    server.shutdown_request = lambda request: None
    server.serve_forever()


def header_client(port):
    """Requests with headers of different lengths: nginx asks FIONREAD whether there is more when one fills its buffer. The long
    connections come first, since a server that has had only short ones is left alone for a while."""
    for lengths in [[0] * 300 + [3000] * 3 + [0] * 300 + [7000, 0]] * 2 + [[3000]] * 20 + [[0, 3000, 7000]] * 20:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", int(port)))
        wait(sock, select.POLLOUT, "connect")
        for number, length in enumerate(lengths):
            sock.send(b"GET /small HTTP/1.1\r\nHost: test\r\nX-Long: %b\r\n\r\n" % (b"x" * length))
            got, size = b"", None
            while size is None or len(got) < size:
                wait(sock, select.POLLIN, "request %d with %d bytes more" % (number, length))
                got += sock.recv(65536)
                end = got.find(b"\r\n\r\n")
                if size is None and end >= 0:
                    size = end + 4 + ROUND
            if not got.startswith(b"HTTP/1.1 200") or len(got) != size:
                sys.exit("another answer than expected: %r" % got[:60])
        sock.close()
    print("equal")


def probation_client(port, rate, path):
    """Requests on one connection, `rate` a second (0: one after the other), until bytes of one go past the stack: how many
    there were before, and how many milliseconds that took. A path of "echo" is no HTTP."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", int(port)))
    wait(sock, select.POLLOUT, "connect")
    http = path != "echo"
    request = ("GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path).encode() if http else b"x" * 100
    begin = time.monotonic()
    for number in range(20_000):
        sock.sendall(request)
        # struct tcp_info, include/uapi/linux/tcp.h: tcpi_bytes_sent.
        sent = struct.unpack_from("=Q", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 200)[0]
        if sent < (number + 1) * len(request):
            print(number, (time.monotonic() - begin) * 1000)
            return
        got, length = b"", len(request)
        while len(got) < length:
            wait(sock, select.POLLIN, "an answer")
            got += sock.recv(65536)
            if http and b"\r\n\r\n" in got:
                head = got.split(b"\r\n\r\n")[0]
                length = len(head) + 4 + int(head.lower().split(b"content-length:")[1].split()[0])
            elif http:
                length = len(got) + 1
        if int(rate):
            time.sleep(max(0, begin + (number + 1) / int(rate) - time.monotonic()))
    sys.exit("no byte went past the stack")


def memcached_client(port, path):
    data = content(path)[:900_000]  # one item may have at most 1 MiB
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", int(port)))
    wait(sock, select.POLLOUT, "connect")

    def ask(request, answer):
        view, got = memoryview(request), b""
        while len(got) < len(answer):
            wait(sock, select.POLLIN | (select.POLLOUT if view else 0), "%d of %d bytes" % (len(got), len(answer)))
            try:
                if view:
                    view = view[sock.send(view):]
            except BlockingIOError:
                pass
            try:
                part = sock.recv(65536)
            except BlockingIOError:
                continue
            if not part:
                break
            got += part
        if got != answer:
            sys.exit("another answer than expected: %d bytes, %r" % (len(got), got[:40]))

    for size in [ROUND] * ROUNDS + [len(data)]:
        value = data[:size]
        ask(b"set key 0 0 %d\r\n%b\r\n" % (size, value), b"STORED\r\n")
        ask(b"get key\r\n", b"VALUE key 0 %d\r\n%b\r\nEND\r\n" % (size, value))
    print("equal")


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
