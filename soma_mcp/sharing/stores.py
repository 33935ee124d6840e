"""The stores of all callers, carried out by one thread."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from soma_core.domain.errors import Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma
from soma_mcp.sharing.calls import read_store, store_answer
from soma_mcp.sharing.wire import ConnectionLost, Frames, frame

READ_BYTES = 1 << 16
SEND_SECONDS = 1.0
"""An answer is short and its reader waits for it; one that does not read it is hung up on."""

Outcome = StoreReceipt | Exception


@dataclass(slots=True)
class _Sent:
    """A store that came on a connection."""

    connection: socket.socket
    body: bytes

    def wanted(self) -> tuple[Scope, NewMemory]:
        return read_store(self.body)


@dataclass(slots=True)
class _Own:
    """A store of this process."""

    scope: Scope
    memory: NewMemory
    future: asyncio.Future[StoreReceipt]

    def wanted(self) -> tuple[Scope, NewMemory]:
        return self.scope, self.memory


Call = _Sent | _Own


class StoreLoop:
    """Carries out what came from anywhere in one commit, then what came meanwhile.

    With a thread a connection each store costs twice as much: SQLite gives up the interpreter lock at every statement,
    and then some other thread takes it.
    """

    def __init__(self, soma: Soma) -> None:
        self._soma = soma
        self._selector = selectors.DefaultSelector()
        self._brought: deque[Call] = deque()
        self._bell, heard = socket.socketpair()
        self._selector.register(heard, selectors.EVENT_READ)
        self._rung = False
        self._at_work = threading.Lock()
        self._closed = self._ended = False
        threading.Thread(target=self._run, name="stores", daemon=True).start()

    async def store(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store`; for the callers of an event loop of this process, always the same one."""
        future: asyncio.Future[StoreReceipt] = asyncio.get_running_loop().create_future()
        self._bring(_Own(scope, memory, future))
        if self._ended:
            future.cancel()
            raise _leaving()
        return await future

    def adopt(self, connection: socket.socket, body: bytes) -> None:
        """Serve a connection from now on, beginning with the call that was read from it."""
        connection.settimeout(SEND_SECONDS)
        self._bring(_Sent(connection, body))
        if self._ended:
            connection.close()

    def close(self, seconds: float) -> None:
        """Take no new calls, let those at work finish for so long, hang up."""
        finished = self._at_work.acquire(timeout=seconds)
        self._closed = True
        if finished:
            self._at_work.release()
        self._ring()

    def _bring(self, call: Call) -> None:
        self._brought.append(call)
        if not self._rung:
            self._rung = True
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
                    self._carry_out(calls)
        self._ended = True
        left = [*calls, *self._brought]
        self._settle([(call, _leaving()) for call in left if isinstance(call, _Own)])
        for call in left:
            if isinstance(call, _Sent):
                self._drop(call.connection)
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
                    self._rung = False
                elif data:
                    key.data.feed(data)
                    calls += [_Sent(connection, body) for _, body in iter(key.data.take, None)]
                else:
                    self._drop(connection)
            except (OSError, ConnectionLost):
                self._drop(connection)
        while self._brought:
            call = self._brought.popleft()
            if isinstance(call, _Sent):
                self._selector.register(call.connection, selectors.EVENT_READ, Frames())
            calls.append(call)
        return calls

    def _carry_out(self, calls: Sequence[Call]) -> None:
        """Store in one commit; where that fails as a whole each for itself, so that none pays for another's."""
        try:
            outcomes: Sequence[Outcome] = self._soma.store_each([call.wanted() for call in calls])
        except Exception as error:
            if len(calls) > 1:
                for call in calls:
                    self._carry_out([call])
                return
            outcomes = [error]
        own: list[tuple[_Own, Outcome]] = []
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(call, _Own):
                own.append((call, outcome))
            else:
                self._send(call, outcome)
        self._settle(own)

    def _send(self, call: _Sent, outcome: Outcome) -> None:
        try:
            call.connection.sendall(frame(*store_answer(outcome)))
        except OSError:
            self._drop(call.connection)

    def _settle(self, answers: Sequence[tuple[_Own, Outcome]]) -> None:
        if answers:
            with contextlib.suppress(RuntimeError):  # the event loop is closed, and nobody waits
                answers[0][0].future.get_loop().call_soon_threadsafe(_settle, answers)

    def _drop(self, connection: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):  # ValueError: it sent several calls, and is closed by now
            self._selector.unregister(connection)
        connection.close()


def _leaving() -> Unavailable:
    return Unavailable("this process is leaving")


def _settle(answers: Sequence[tuple[_Own, Outcome]]) -> None:
    for call, outcome in answers:
        if call.future.done():  # its caller went away
            continue
        if isinstance(outcome, Exception):
            call.future.set_exception(outcome)
        else:
            call.future.set_result(outcome)
