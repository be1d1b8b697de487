"""A proxy that reads with splice(2). It is a file of its own, since sidestep tells programs of one interpreter apart by their files."""
import os
import select
import socket
import sys


def splice_proxy(port, target):
    """Both ways by splice(2) through pipes, edge-triggered, as Go's runtime does it."""
    epoll = select.epoll()
    listener = socket.create_server(("127.0.0.1", int(port)))
    listener.setblocking(False)
    epoll.register(listener, select.EPOLLIN)
    flows = {}

    def pump(flow):
        while True:
            if not flow["held"]:
                if flow["done"]:
                    return
                try:
                    count = os.splice(flow["from"].fileno(), flow["w"], 1 << 16, flags=3)
                except BlockingIOError:
                    return
                except OSError:
                    count = 0
                if not count:
                    flow["done"] = True
                    try:
                        flow["to"].shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    return
                flow["held"] = count
            try:
                flow["held"] -= os.splice(flow["r"], flow["to"].fileno(), flow["held"], flags=3)
            except BlockingIOError:
                return

    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", int(target)))
                pair = []
                for source, sink in ((client, server), (server, client)):
                    r, w = os.pipe()
                    os.set_blocking(r, False)
                    os.set_blocking(w, False)
                    pair.append({"from": source, "to": sink, "r": r, "w": w, "held": 0, "done": False})
                for sock in (client, server):
                    sock.setblocking(False)
                    flows[sock.fileno()] = pair
                    epoll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            for flow in flows.get(fd, ()):
                pump(flow)


if __name__ == "__main__":
    splice_proxy(*sys.argv[1:])
