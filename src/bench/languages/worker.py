"""One end of a measured pair, by asyncio. See mod.rs for the arguments, and ../worker/mod.rs for what it says."""

import asyncio
import sys
import time

role, address, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
message = b"\x5a" * size


def say(*words):
    print(*words, flush=True)


async def connected():
    if role == "client":
        return await asyncio.open_connection(address, port)
    accepted = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *streams: accepted.set_result(streams), address, port)
    say("ready", server.sockets[0].getsockname()[1])
    return await accepted


async def work(reader, writer, operations):
    for _ in range(operations):
        if role == "client":
            writer.write(message)
            await reader.readexactly(size)
        else:
            writer.write(await reader.readexactly(size))


loop = asyncio.new_event_loop()
reader, writer = loop.run_until_complete(connected())
say("ready 0")
for line in iter(sys.stdin.readline, ""):
    if line.strip() == "end":
        break
    start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    loop.run_until_complete(work(reader, writer, int(line)))
    say("ran", start, time.clock_gettime_ns(time.CLOCK_MONOTONIC), 0)
say("bye 0 0")
