"""A TCP proxy on the loopback interface that can be told to misbehave: cut, delay, throttle, or fall silent.

Of our own, as it then needs nothing that Python lacks and runs wherever the tests do. What it does to a connection is what
Shopify's toxiproxy calls ``reset_peer``, ``latency``, ``bandwidth`` and ``timeout``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, as a cut connection looks to whoever sends next."""


class Wire:
    """From a port of its own to ``upstream``, a port that may change. Safe to be told from any thread.

    ``cut``: all connections are reset, new ones too. ``delay(s)``: every packet waits. ``throttle(rate)``: bytes a second.
    ``silence``: connections stay open and new ones are accepted, but nothing passes: half-open. ``heal`` ends all of these; what
    was held back while silent then arrives late, or with ``reset`` never.
    """

    def __init__(self, upstream: int = 0) -> None:
        self.upstream = upstream
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut, self._delay_s, self._rate = False, 0.0, 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_error: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def links(self) -> int:
        """Open connections, counted at both ends."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every connection, and each new one, until healed."""
        self._do(self._set(cut=True, reset=True))

    def delay(self, seconds: float) -> None:
        """Let every packet wait."""
        self._do(self._set(delay_s=seconds))

    def throttle(self, rate: float) -> None:
        """Let at most ``rate`` bytes a second pass on each connection and way."""
        self._do(self._set(rate=rate))

    def silence(self) -> None:
        """Pass nothing on, and say nothing about it."""
        self._do(self._set(silent=True))

    def heal(self, *, reset: bool = False) -> None:
        """End whatever is wrong; with ``reset`` every connection ends as well."""
        self._do(self._set(reset=reset))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(
        self, *, cut: bool = False, delay_s: float = 0.0, rate: float = 0.0, silent: bool = False, reset: bool = False
    ) -> None:
        self._is_cut, self._delay_s, self._rate = cut, delay_s, rate
        if reset:
            for link in list(self._links):
                _abort(link)
        if silent:
            self._open.clear()
        else:
            self._open.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        for link in list(self._links):
            _abort(link)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._links.add(writer)
        try:
            if self._is_cut:
                return
            await self._open.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._links.add(up_writer)
            try:
                pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, up_writer), (up_reader, writer))]
                _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in left:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                self._links.discard(up_writer)
                self._close(up_writer)
        except OSError:
            pass  # upstream is away: whoever connects sees the connection end
        finally:
            self._tasks.discard(task)
            self._links.discard(writer)
            self._close(writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            _abort(writer)
        else:
            writer.close()  # what was written still goes out

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._rate:
                    await asyncio.sleep(len(chunk) / self._rate)
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
