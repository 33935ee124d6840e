"""The owner's side: the local socket and the threads that answer on it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from soma_core.domain.errors import SomaError, Unavailable
from soma_core.engine import Soma
from soma_mcp.sharing.wire import PROTOCOL, Channel, ConnectionLost, error_body, method

log = logging.getLogger(__name__)

BACKLOG = 128
STORE = b"store\0"
"""How the body of a call of `store` begins."""
SOCKET_PATH_BYTES = 100
"""Longer paths do not fit into a socket address on every platform."""
FINISH_SECONDS = 0.5


class Listener:
    """A socket that is bound before the engine is open, so that nobody who comes early is turned away."""

    def __init__(self, home: Path) -> None:
        """Raises `Unavailable` when a socket can be made nowhere."""
        self._address, self._socket = _bind(home)
        self._socket.listen(BACKLOG)
        self._channels: set[Channel] = set()
        self._calls = 0
        self._changed = threading.Condition()
        self._closing = False
        self._stores: SimpleQueue[tuple[Channel, bytes]] = SimpleQueue()

    def serve(self, soma: Soma, hello: dict[str, Any]) -> None:
        """Answer calls, each connection in a thread of its own, until `close`."""
        greeting = json.dumps(hello | {"protocol": PROTOCOL, "pid": os.getpid()}).encode()
        threading.Thread(target=self._accept, args=(soma, greeting), name="sharing", daemon=True).start()
        threading.Thread(target=self._store, args=(soma,), name="storing", daemon=True).start()

    def close(self) -> None:
        """Take no new calls, let those at work finish for half a second, hang up."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._calls, FINISH_SECONDS)
            waiting = set(self._channels)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for channel in waiting:
            channel.hang_up()
        self._address.unlink(missing_ok=True)

    def _accept(self, soma: Soma, greeting: bytes) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            channel = Channel(connection)
            with self._changed:
                if self._closing:
                    channel.close()
                    return
                self._channels.add(channel)
            threading.Thread(target=self._answer, args=(soma, channel, greeting), daemon=True).start()

    def _answer(self, soma: Soma, channel: Channel, greeting: bytes) -> None:
        try:
            channel.send(b"H", greeting)
            while True:
                kind, body = channel.receive()
                with self._changed:
                    if self._closing or kind != b"C":
                        return
                    self._calls += 1
                if body.startswith(STORE):
                    self._stores.put((channel, body))
                else:
                    with self._ending():
                        channel.send(*_outcome(soma, channel, body))
        except ConnectionLost:
            pass
        finally:
            with self._changed:
                self._channels.discard(channel)
            channel.close()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """What is done inside ends a call, whether its caller gets the answer or not."""
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def _store(self, soma: Soma) -> None:
        """Carry out the calls of `store` in one thread: what came during a commit goes into the next one.

        A thread a call would cost twice as much: each statement gives up the interpreter lock.
        """
        while True:
            calls = [self._stores.get()]
            with contextlib.suppress(Empty):
                while True:
                    calls.append(self._stores.get_nowait())
            try:
                answers = _stored(soma, [body for _, body in calls])
            except Exception:  # each for itself then: none pays for another's
                answers = [_outcome(soma, channel, body) for channel, body in calls]
            for (channel, _), answer in zip(calls, answers, strict=True):
                with contextlib.suppress(ConnectionLost), self._ending():
                    channel.send(*answer)


def _outcome(soma: Soma, channel: Channel, body: bytes) -> tuple[bytes, bytes]:
    """Carry out a call: the kind and body of the frame that answers it."""
    name, _, arguments = body.partition(b"\0")
    try:
        called = method(name.decode())
        named = called.arguments.validate_json(arguments)
        if called.reports_progress:
            named["progress"] = lambda done, total: channel.send(b"P", json.dumps([done, total]).encode())
        return b"R", called.result.dump_json(getattr(soma, called.name)(**named))
    except ConnectionLost:
        raise
    except SomaError as error:
        return b"E", error_body(error)
    except Exception:
        log.exception("the call %r failed", name.decode(errors="replace"))
        return b"E", error_body(Unavailable("the call failed in the process that owns the memory; its log says why"))


def _stored(soma: Soma, bodies: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Carry out calls of `store` in one commit: the kind and body of the frame that answers each."""
    called = method("store")
    named = [called.arguments.validate_json(body.removeprefix(STORE)) for body in bodies]
    outcomes = soma.store_each([(each["scope"], each["memory"]) for each in named])
    return [
        (b"E", error_body(outcome)) if isinstance(outcome, SomaError) else (b"R", called.result.dump_json(outcome))
        for outcome in outcomes
    ]


def addresses(home: Path) -> list[Path]:
    """Where the owner of a data folder may listen, the likeliest first.

    In the folder; where that path is too long, or the disk takes no socket, beside other temporary files.
    """
    name = f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"
    here, elsewhere = home / "soma.sock", Path(tempfile.gettempdir()) / f"soma-{os.getuid()}" / name
    return [path for path in (here, elsewhere) if len(os.fsencode(path)) <= SOCKET_PATH_BYTES]


def _bind(home: Path) -> tuple[Path, socket.socket]:
    """A socket that only this user can open, at the first address that can be had."""
    problem = "the path of the temporary folder is too long"
    for address in addresses(home):
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if address.parent != home:
                _check_private(address.parent)
            address.unlink(missing_ok=True)
            _bind_private(listening, address)
            return address, listening
        except OSError as error:
            listening.close()
            problem = f"{address}: {error.strerror or error}"
    raise Unavailable(f"{home} cannot be shared: {problem}", fields=("SOMA_HOME",))


def _bind_private(listening: socket.socket, address: Path) -> None:
    before = os.umask(0o177)
    try:
        listening.bind(str(address))
    finally:
        os.umask(before)


def _check_private(folder: Path) -> None:
    """Make the folder for this user only. Raises `PermissionError` when it is somebody else's, or open to others."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "must be a folder that only this user can open")
