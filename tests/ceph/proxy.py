"""A proxy that breaks things: it stands before an object store and fails a share of its requests, on purpose.

One request per connection, each read whole before it is sent on, so that a fault hits a request and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from typing_extensions import Self

FAULTS = ("slow", "500", "503", "reset before", "reset after", "cut", "throttle")
CHUNK = 1 << 16
SLOW_S = 1.5
THROTTLED_BYTES_PER_S = 1 << 20
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str
    path: str


Chooser = Callable[[Request], "str | None"]


def share(rate: float, faults: Sequence[str] = FAULTS, seed: int = 0) -> Chooser:
    """A share of all requests, each with one of the faults."""
    rng = random.Random(seed)
    return lambda request: rng.choice(faults) if rng.random() < rate else None


class FaultProxy:
    """Listens on a loopback port while the context is open; ``choose`` says which fault a request meets, if any.

    ``slow``: the answer takes a while. ``500``, ``503``: the store never sees the request. ``reset before``: nor
    here, and the connection breaks. ``reset after``: the store has done it, and the answer is lost. ``cut``: the
    answer breaks in mid-body. ``throttle``: it comes at a trickle. ``done`` is called where the store has done a
    request whose answer will be lost.
    """

    def __init__(
        self,
        target_port: int,
        choose: Chooser = lambda request: None,
        done: Callable[[str], None] = lambda fault: None,
    ) -> None:
        self._target_port, self.choose, self._done = target_port, choose, done
        self.port = 0
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError, EOFError):
            pass  # the client or the store went away: the other end shall see that
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        request = Request(method, path)
        if re.search(rb"(?im)^expect: *100-continue", head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, head)
        self.requests += 1
        fault = self.choose(request)
        if fault is not None:
            self.faults[fault] += 1
        if fault in ("500", "503"):
            _answer(writer, fault)
            await writer.drain()
        elif fault == "reset before":
            _reset(writer)
        else:
            await self._pass_on(head, body, writer, fault)

    async def _pass_on(self, head: bytes, body: bytes, writer: asyncio.StreamWriter, fault: str | None) -> None:
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        upstream, sender = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            head = re.sub(rb"(?im)^(expect|connection):[^\r\n]*\r\n", b"", head)
            sender.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
            await sender.drain()
            if fault == "reset after":
                await upstream.read()
                self._done(fault)
                _reset(writer)
                return
            sent = 0
            while data := await upstream.read(CHUNK):
                if fault == "cut":
                    writer.write(data[: max(1, len(data) // 2)])
                    await writer.drain()
                    _reset(writer)
                    return
                writer.write(data)
                await writer.drain()
                sent += len(data)
                if fault == "throttle":
                    await asyncio.sleep(len(data) / THROTTLED_BYTES_PER_S)
        finally:
            sender.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The request's body as it came, chunks and all."""
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    if length:
        return await reader.readexactly(int(length[1]))
    if not re.search(rb"(?im)^transfer-encoding: *chunked", head):
        return b""
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2)]
        if not size:
            return b"".join(parts)


def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    reason, body = ("Internal Server Error", INTERNAL) if status == "500" else ("Slow Down", SLOW_DOWN)
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection with RST, as a store does that dies."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
