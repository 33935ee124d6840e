"""What goes over the socket: length-prefixed frames, and the methods of Soma as JSON.

A frame is four bytes of length (big-endian), one byte that says what it is, and a body:

====  ==========================================================================
H     hello, from the owner, once: JSON object
C     call: the method's name, a zero byte, its arguments as a JSON object
S     the same for `store`; a connection that begins with one carries nothing else
P     progress of the call at work: JSON array of done and total
R     the call's result as JSON
E     its error as JSON: code, message, fields, retry_after
====  ==========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from soma_core.domain.errors import Retryable, SomaError, error_classes
from soma_core.engine import Soma

PROTOCOL = 1
MAX_FRAME = 1 << 30
HEAD = struct.Struct(">Ic")

SHARED_METHODS = (
    "store", "store_checked", "store_many", "recall", "get", "browse", "within", "containing", "forget", "status",
    "warm", "index", "reindex", "drop_old", "inspect", "verify", "problems", "create_token", "tokens", "revoke_token",
    "authenticate", "store_id",
)  # fmt: skip


class ConnectionLost(Exception):
    """The other side is gone; whether it carried out the last call is unknown."""


@dataclass(frozen=True, slots=True)
class Method:
    """How the arguments and the result of one method of Soma are written as JSON."""

    name: str
    parameters: tuple[str, ...]
    arguments: TypeAdapter[Any]
    result: TypeAdapter[Any]
    reports_progress: bool

    def outcome(self, kind: bytes, body: bytes) -> Any:
        """What a frame that answers a call holds; raises the owner's error."""
        if kind == b"E":
            raise error_from(body)
        return self.result.validate_json(body)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        named = dict(zip(self.parameters, args, strict=False)) | kwargs
        named.pop("progress", None)
        return self.name.encode() + b"\0" + self.arguments.dump_json(named)


@cache
def method(name: str) -> Method:
    """The description of a shared method, from its own annotations."""
    if name not in SHARED_METHODS:
        raise SomaError(f"there is no method {name}: are two versions of Soma running?")
    function = getattr(Soma, name)
    hints = get_type_hints(function)
    result = hints.pop("return")
    reports = hints.pop("progress", None) is not None
    order = tuple(p for p in inspect.signature(function).parameters if p in hints)
    fields = TypedDict(f"{name}_arguments", hints, total=False)  # type: ignore[misc]
    return Method(name, order, TypeAdapter(fields), TypeAdapter(result), reports)


class Channel:
    """Frames over a connected socket. One thread sends and receives at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")

    def send(self, kind: bytes, body: bytes) -> None:
        """Send one frame. Raises `ConnectionLost`."""
        try:
            self._socket.sendall(frame(kind, body))
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def receive(self) -> tuple[bytes, bytes]:
        """Receive one frame: what it is, and its body. Raises `ConnectionLost`."""
        size, kind = _head(self._exactly(HEAD.size))
        return kind, self._exactly(size)

    def release(self) -> socket.socket:
        """The bare connection; nothing may be left to receive. The channel is closed without hanging up."""
        self._reader.close()
        return socket.socket(fileno=self._socket.detach())

    def hang_up(self) -> None:
        """End the connection for both sides, also for a thread that waits in `receive`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        with contextlib.suppress(OSError):
            self._reader.close()
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        try:
            found = self._reader.read(size)
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise ConnectionLost(str(error)) from error
        if len(found) < size:
            raise ConnectionLost("the other side closed the connection")
        return found


class Frames:
    """Cuts what is received into frames."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> None:
        self._received += data

    def take(self) -> tuple[bytes, bytes] | None:
        """The next frame that is whole: what it is, and its body. Raises `ConnectionLost` for what can be none."""
        if len(self._received) < HEAD.size:
            return None
        size, kind = _head(self._received[: HEAD.size])
        end = HEAD.size + size
        if len(self._received) < end:
            return None
        body = bytes(self._received[HEAD.size : end])
        del self._received[:end]
        return kind, body


class Line(asyncio.Protocol):
    """Frames over a connection of the event loop. One caller sends and receives at a time."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._lost = False
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._wake()

    def send(self, kind: bytes, body: bytes) -> None:
        """Send one frame; that the connection is lost shows at the next `receive`."""
        if not self._lost:  # uvloop raises at once
            self._transport.write(frame(kind, body))

    async def receive(self) -> tuple[bytes, bytes]:
        """Receive one frame: what it is, and its body. Raises `ConnectionLost`."""
        while not (found := self._frames.take()):
            if self._lost:
                raise ConnectionLost("the other side closed the connection")
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


def frame(kind: bytes, body: bytes) -> bytes:
    """The bytes of a frame."""
    return HEAD.pack(len(body) + 1, kind) + body


def _head(head: bytes | bytearray) -> tuple[int, bytes]:
    """The size of a frame's body and what it is. Raises `ConnectionLost` for what cannot be a frame."""
    length, kind = HEAD.unpack(head)
    if not 1 <= length <= MAX_FRAME:
        raise ConnectionLost(f"a frame of {length} bytes: the other side does not speak this protocol")
    return length - 1, kind


def error_body(error: SomaError) -> bytes:
    """An error of the tree as JSON."""
    after = error.retry_after if isinstance(error, Retryable) else None
    return json.dumps([error.code, error.message, error.fields, after]).encode()


def error_from(body: bytes) -> SomaError:
    """The error that `error_body` wrote."""
    code, message, fields, after = json.loads(body)
    kind = error_classes().get(code, SomaError)
    if issubclass(kind, Retryable):
        return kind(message, fields=fields, retry_after=after or 1.0)
    return kind(message, fields=fields)
