"""What PyPI's packages serve and ask: aiohttp, uvicorn (ASGI), gunicorn (WSGI) and psycopg."""
import asyncio
import hashlib
import os
import sys


def content():
    with open(os.environ["CONTENT"], "rb") as file:
        return file.read()


def summary(data):
    return "%d %s" % (len(data), hashlib.sha256(data).hexdigest())


def answer(method, path, body, data):
    return summary(body).encode() if method == "POST" else data[:int(path.rsplit("/", 1)[1])]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    data = answer(scope["method"], scope["path"], body, content())
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(data)).encode())]})
    await send({"type": "http.response.body", "body": data})


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    data = answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], body, content())
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]


def aiohttp_server(port):
    from aiohttp import web

    async def handle(request):
        return web.Response(body=answer(request.method, request.path, await request.read(), content()))

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


def aiohttp_client(port):
    import aiohttp

    async def main():
        data, base = content(), "http://127.0.0.1:%s" % port
        async with aiohttp.ClientSession() as session:
            for size in [1024] * 200 + [len(data)]:
                async with session.get("%s/bytes/%d" % (base, size)) as got:
                    if await got.read() != data[:size]:
                        sys.exit("an answer of %d bytes differs" % size)
            async with session.post(base + "/sum", data=data) as got:
                if await got.text() != summary(data):
                    sys.exit("the server received %s" % await got.text())
        print("equal")

    asyncio.run(main())


def psycopg_client(dsn):
    import psycopg

    data = content()
    with psycopg.connect(dsn) as db:
        for size in [1024] * 200 + [len(data)]:
            got = db.execute("SELECT %b::bytea", (data[:size],), binary=True).fetchone()[0]
            if got != data[:size]:
                sys.exit("a value of %d bytes differs" % size)
        db.execute("CREATE TEMP TABLE t (n int, b bytea)")
        with db.cursor() as cursor:
            with cursor.copy("COPY t FROM STDIN") as copy:
                for n in range(64):
                    copy.write_row((n, data[n * 65536:(n + 1) * 65536]))
            rows = cursor.execute("SELECT b FROM t ORDER BY n").fetchall()
        if b"".join(row[0] for row in rows) != data:
            sys.exit("what COPY brought differs")
    print("equal")


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
