"""The follower's side: the methods of Soma over the owner's socket."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soma_core.engine import Progress
from soma_mcp.sharing.owner import addresses, check_address
from soma_mcp.sharing.wire import PROTOCOL, Channel, ConnectionLost, Line, method

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""An owner that opens a large store answers its first caller after that; a hung one is given up."""


class Follower:
    """Calls the owner of a data folder. Safe to call from many threads: each call has a connection to itself.

    Raises `ConnectionLost` when there is no owner, or it goes away before it answered.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._idle: list[Channel] = []
        self._lock = threading.Lock()
        self._closed = False
        self._watching: Channel | None = None
        self._lines: defaultdict[bytes, list[Line]] = defaultdict(list)
        """The idle ones by what they carry; only the event loop touches them. The owner ends them."""
        self.hello: dict[str, Any] = {}
        self._put_back(self._connect())

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the owner's engine; its errors are raised here."""
        progress: Progress | None = kwargs.get("progress")
        called = method(name)
        body = called.encode(args, kwargs)
        channel = self._take()
        try:
            channel.send(b"C", body)
            kind, answer = channel.receive()
            while kind == b"P":
                if progress:
                    progress(*json.loads(answer))
                kind, answer = channel.receive()
        except BaseException:
            channel.close()
            raise
        self._put_back(channel)
        return called.outcome(kind, answer)

    async def call_async(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Like `call`, on the event loop and without progress: a thread would cost as much as the call itself."""
        called = method(name)
        body = called.encode(args, kwargs)
        kind = b"S" if name == "store" else b"C"
        line = self._lines[kind].pop() if self._lines[kind] else await self._dial()
        try:
            line.send(kind, body)
            answered, answer = await line.receive()
            while answered == b"P":
                answered, answer = await line.receive()
        except BaseException:
            line.close()
            raise
        self._lines[kind].append(line)
        return called.outcome(answered, answer)

    def watch(self, on_loss: Callable[[], None]) -> None:
        """Call `on_loss` from a thread of its own as soon as the owner goes away."""
        channel = self._connect()

        def wait() -> None:
            try:
                channel.receive()
            except ConnectionLost:
                channel.close()
                if not self._closed:
                    on_loss()

        self._watching = channel
        threading.Thread(target=wait, name="watch", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for channel in idle:
            channel.close()
        if self._watching:
            self._watching.hang_up()

    def _take(self) -> Channel:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _put_back(self, channel: Channel) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(channel)
                return
        channel.close()

    async def _dial(self) -> Line:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                check_address(self._home, self._address)
                _, line = await asyncio.get_running_loop().create_unix_connection(Line, str(self._address))
                try:
                    _check_hello(*await line.receive())
                except BaseException:
                    line.close()
                    raise
                return line
        except (OSError, ValueError) as error:
            raise ConnectionLost(f"the owner does not answer: {error}") from error

    def _connect(self) -> Channel:
        problem: Exception | None = None
        for address in addresses(self._home):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            channel = Channel(connection)
            try:
                check_address(self._home, address)
                connection.settimeout(HELLO_SECONDS)
                connection.connect(str(address))
                self.hello = _check_hello(*channel.receive())
                self._address = address
                connection.settimeout(None)
                return channel
            except (OSError, ValueError, ConnectionLost) as error:
                channel.close()
                problem = error
        raise ConnectionLost(f"no owner answers: {problem}")


def _check_hello(kind: bytes, body: bytes) -> dict[str, Any]:
    """What the owner says of itself. Raises `ValueError` when it does not speak this protocol."""
    hello: dict[str, Any] = json.loads(body)
    if kind != b"H" or hello.get("protocol") != PROTOCOL:
        raise ValueError("the owner speaks another protocol")
    return hello
