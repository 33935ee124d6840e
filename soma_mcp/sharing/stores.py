"""The connections on which followers store, all served by one thread."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Sequence

from soma_core.engine import Soma
from soma_mcp.sharing.calls import Answer, carry_out, carry_out_stores
from soma_mcp.sharing.wire import ConnectionLost, Frames, frame

READ_BYTES = 1 << 16
SEND_SECONDS = 1.0
"""An answer is short and its reader waits for it; one that does not read it is hung up on."""

Call = tuple[socket.socket, bytes]
"""The body of a call and the connection it came on."""


class StoreLoop:
    """Carries out what came on any of its connections in one commit, then what came meanwhile.

    With a thread a connection each store costs twice as much: SQLite gives up the interpreter lock at every statement,
    and then some other thread takes it.
    """

    def __init__(self, soma: Soma) -> None:
        self._soma = soma
        self._selector = selectors.DefaultSelector()
        self._adopted: deque[Call] = deque()
        self._bell, heard = socket.socketpair()
        self._selector.register(heard, selectors.EVENT_READ)
        self._at_work = threading.Lock()
        self._closed = False
        threading.Thread(target=self._run, name="stores", daemon=True).start()

    def adopt(self, connection: socket.socket, body: bytes) -> None:
        """Serve a connection from now on, beginning with the call that was read from it."""
        connection.settimeout(SEND_SECONDS)
        self._adopted.append((connection, body))
        self._ring()

    def close(self, seconds: float) -> None:
        """Take no new calls, let those at work finish for so long, hang up."""
        finished = self._at_work.acquire(timeout=seconds)
        self._closed = True
        if finished:
            self._at_work.release()
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")

    def _run(self) -> None:
        while True:
            calls = self._received()
            with self._at_work:
                if self._closed:
                    break
                if calls:
                    self._answer(calls)
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()
        self._bell.close()

    def _received(self) -> list[Call]:
        """Wait for calls; those that are there."""
        calls: list[Call] = []
        for key, _ in self._selector.select():
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            try:
                data = connection.recv(READ_BYTES)
                if key.data is None:
                    calls += self._take_on()
                elif data:
                    key.data.feed(data)
                    calls += [(connection, body) for _, body in iter(key.data.take, None)]
                else:
                    self._drop(connection)
            except (OSError, ConnectionLost):
                self._drop(connection)
        return calls

    def _take_on(self) -> list[Call]:
        calls: list[Call] = []
        while self._adopted:
            connection, body = self._adopted.popleft()
            self._selector.register(connection, selectors.EVENT_READ, Frames())
            calls.append((connection, body))
        return calls

    def _answer(self, calls: Sequence[Call]) -> None:
        answers: Sequence[Answer]
        try:
            answers = carry_out_stores(self._soma, [body for _, body in calls])
        except Exception:  # each for itself then: none pays for another's
            answers = [carry_out(self._soma, body, lambda *_: None) for _, body in calls]
        for (connection, _), answer in zip(calls, answers, strict=True):
            try:
                connection.sendall(frame(*answer))
            except OSError:
                self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):  # ValueError: it sent several calls, and is closed by now
            self._selector.unregister(connection)
        connection.close()
