"""The owner's side: the local socket and the threads that answer on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from soma_core.domain.errors import SomaError, Unavailable
from soma_core.engine import Soma
from soma_mcp.sharing.wire import PROTOCOL, ConnectionLost, error_body, method, receive, send

log = logging.getLogger(__name__)

BACKLOG = 128
SOCKET_PATH_BYTES = 100
"""Longer paths do not fit into a socket address on every platform."""
FINISH_SECONDS = 0.5


def address_file(home: Path) -> Path:
    """Where the owner of a data folder writes down who it is and where it listens."""
    return home / "owner.json"


class Listener:
    """A socket that is bound before the engine is open, so that nobody who comes early is turned away."""

    def __init__(self, home: Path, version: str) -> None:
        """Raises `Unavailable` when nothing can be written there, such as on a full disk."""
        self._file = address_file(home)
        try:
            self._address = _socket_path(home)
            self._bind()
            self._announce({"pid": os.getpid(), "socket": str(self._address), "version": version})
        except OSError as error:
            raise Unavailable(f"{home} cannot be shared: {error.strerror or error}", fields=("SOMA_HOME",)) from error
        self._connections: dict[socket.socket, threading.Lock] = {}
        self._lock = threading.Lock()
        self._closing = False

    def _bind(self) -> None:
        self._address.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(self._address))
        finally:
            os.umask(before)
        self._socket.listen(BACKLOG)

    def serve(self, soma: Soma, hello: dict[str, Any]) -> None:
        """Answer calls, each connection in a thread of its own, until `close`."""
        greeting = json.dumps(hello | {"protocol": PROTOCOL, "pid": os.getpid()}).encode()
        threading.Thread(target=self._accept, args=(soma, greeting), name="sharing", daemon=True).start()

    def close(self) -> None:
        """Take no new calls, let those at work finish for half a second, hang up."""
        with self._lock:
            self._closing = True
            waiting = dict(self._connections)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        deadline = time.monotonic() + FINISH_SECONDS
        for connection, at_work in waiting.items():
            finished = at_work.acquire(timeout=max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if finished:
                at_work.release()
        self._address.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)

    def _announce(self, who: dict[str, Any]) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(who))
        draft.replace(self._file)

    def _accept(self, soma: Soma, greeting: bytes) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            at_work = threading.Lock()
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                self._connections[connection] = at_work
            answer = threading.Thread(target=self._answer, args=(soma, connection, at_work, greeting), daemon=True)
            answer.start()

    def _answer(self, soma: Soma, connection: socket.socket, at_work: threading.Lock, greeting: bytes) -> None:
        try:
            send(connection, b"H", greeting)
            while True:
                kind, body = receive(connection)
                with at_work:
                    if self._closing or kind != b"C":
                        return
                    send(connection, *_outcome(soma, connection, body))
        except ConnectionLost:
            pass
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()


def _outcome(soma: Soma, connection: socket.socket, body: bytes) -> tuple[bytes, bytes]:
    """Carry out a call: the kind and body of the frame that answers it."""
    name, _, arguments = body.partition(b"\0")
    try:
        called = method(name.decode())
        named = called.arguments.validate_json(arguments)
        if called.reports_progress:
            named["progress"] = lambda done, total: send(connection, b"P", json.dumps([done, total]).encode())
        return b"R", called.result.dump_json(getattr(soma, called.name)(**named))
    except SomaError as error:
        return b"E", error_body(error)
    except ConnectionLost:
        raise
    except Exception:
        log.exception("the call %r failed", name.decode(errors="replace"))
        return b"E", error_body(Unavailable("the call failed in the process that owns the memory; its log says why"))


def _socket_path(home: Path) -> Path:
    """In the data folder, or where that path is too long in a folder of this user's beside other temporary files."""
    path = home / "soma.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    folder = Path(tempfile.gettempdir()) / f"soma-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Unavailable(f"{folder} must be a folder that only this user can open", fields=("SOMA_HOME",))
    return folder / f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"
