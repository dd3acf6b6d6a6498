"""Python's `websockets` against the echo handler: python websockets_echo.py ws://ADDR/echo

One line of output for each check; the exit code says whether all passed.
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

CHECK_SECONDS_MAX = 20

TEXTS = {
    "text": "hello",
    "empty text": "",
    "unicode text": "Grüße, 世界, 🦀 and \0 and e\u0301",
    "text of 200 KiB": "wharf 🦀 " * 20_480,
}
BINARIES = {
    "binary": bytes(range(256)),
    "empty binary": b"",
    "binary of 200 KiB": os.urandom(204_800),
}


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: {actual!r:.80} where {wanted!r:.80} was right")


async def echo(url, wanted, **options):
    async with connect(url, max_size=None, **options) as socket:
        await socket.send(wanted)
        expect(await socket.recv(), wanted, "payload")


async def fragmented(url, parts):
    async with connect(url) as socket:
        # An iterable is sent as one message, a fragment for each part.
        await socket.send(parts)
        expect(await socket.recv(), parts[0][:0].join(parts), "payload")


async def order(url):
    async with connect(url) as socket:
        wanted = [f"message {index}" for index in range(500)]
        sending = asyncio.create_task(send_all(socket, wanted))
        for message in wanted:
            expect(await socket.recv(), message, "message")
        await sending


async def send_all(socket, messages):
    for message in messages:
        await socket.send(message)


async def ping(url):
    async with connect(url) as socket:
        await (await socket.ping(b"are you there"))


async def deflate(url):
    async with connect(url) as socket:
        names = [extension.name for extension in socket.protocol.extensions]
        expect(names, ["permessage-deflate"], "extensions")


async def close(url, code, wanted):
    async with connect(url) as socket:
        await socket.close(code, "enough")
        expect(socket.close_code, wanted, "code")


async def over_the_limit(url):
    async with connect(url, compression=None) as socket:
        await socket.send(bytes(1_048_577))
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            expect(closed.rcvd and closed.rcvd.code, 1009, "code")
            return
        raise AssertionError("the message was taken")


def checks(url):
    for name, wanted in (TEXTS | BINARIES).items():
        yield name, echo(url, wanted)
    yield "text of 200 KiB, no extension offered", echo(url, TEXTS["text of 200 KiB"], compression=None)
    yield "deflate is negotiated", deflate(url)
    small = ClientPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=10,
        client_max_window_bits=10,
    )
    yield "deflate without context takeover, small windows", echo(
        url, TEXTS["text of 200 KiB"], compression=None, extensions=[small]
    )
    yield "fragmented text", fragmented(url, ["one ", "", "two 🦀 ", "three"])
    yield "fragmented binary", fragmented(url, [os.urandom(7_000) for _ in range(14)])
    yield "500 messages in order", order(url)
    yield "a ping is answered", ping(url)
    yield "close with a code comes back", close(url, 4001, 4001)
    yield "a message over the limit is refused with 1009", over_the_limit(url)


async def main(url):
    passed = failed = 0
    for name, check in checks(url):
        try:
            await asyncio.wait_for(check, CHECK_SECONDS_MAX)
            print(f"ok {name}", flush=True)
            passed += 1
        except Exception as error:  # Whatever went wrong, the next check still runs.
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed == 0


if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} URL")
sys.exit(0 if asyncio.run(main(sys.argv[1])) else 1)
