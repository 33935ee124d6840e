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
import time
from pathlib import Path
from typing import Any

from soma_core.domain.errors import Unavailable
from soma_core.engine import Soma
from soma_mcp.sharing.calls import carry_out
from soma_mcp.sharing.stores import StoreLoop
from soma_mcp.sharing.wire import PROTOCOL, Channel, ConnectionLost

log = logging.getLogger(__name__)

BACKLOG = 128
SOCKET_PATH_BYTES = 100
"""Longer paths do not fit into a socket address on every platform."""
FINISH_SECONDS = 0.5


class Listener:
    """A socket that is bound before the engine is open, so that nobody who comes early is turned away."""

    def __init__(self, home: Path) -> None:
        """Raises `Unavailable` when a socket can be made nowhere."""
        self._address, self._socket = _bind(home)
        self._socket.listen(BACKLOG)
        self._channels: dict[Channel, threading.Lock] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._stores: StoreLoop | None = None

    def serve(self, soma: Soma, hello: dict[str, Any]) -> StoreLoop:
        """Answer calls until `close`: each connection in a thread of its own, those that store in one together."""
        self._stores = stores = StoreLoop(soma)
        threading.Thread(target=self._accept, args=(soma, stores, hello), name="sharing", daemon=True).start()
        return stores

    def close(self) -> None:
        """Take no new calls, let those at work finish for half a second, hang up."""
        with self._lock:
            self._closing = True
            waiting = dict(self._channels)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        deadline = time.monotonic() + FINISH_SECONDS
        for channel, at_work in waiting.items():
            finished = at_work.acquire(timeout=max(0.0, deadline - time.monotonic()))
            channel.hang_up()
            if finished:
                at_work.release()
        if self._stores:
            self._stores.close(max(0.0, deadline - time.monotonic()))
        self._address.unlink(missing_ok=True)

    def _accept(self, soma: Soma, stores: StoreLoop, hello: dict[str, Any]) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            channel, at_work = Channel(connection), threading.Lock()
            said = {**hello, "model": soma.embedder.model_id, "protocol": PROTOCOL, "pid": os.getpid()}
            greeting = json.dumps(said).encode()
            with self._lock:
                if self._closing:
                    channel.close()
                    return
                self._channels[channel] = at_work
            answer = threading.Thread(target=self._answer, args=(soma, stores, channel, at_work, greeting), daemon=True)
            answer.start()

    def _answer(
        self, soma: Soma, stores: StoreLoop, channel: Channel, at_work: threading.Lock, greeting: bytes
    ) -> None:
        try:
            channel.send(b"H", greeting)
            while True:
                kind, body = channel.receive()
                with at_work:
                    if self._closing or kind not in (b"C", b"S"):
                        return
                    if kind == b"S":
                        stores.adopt(channel.release(), body)
                        return
                    channel.send(*carry_out(soma, body, channel.send))
        except ConnectionLost:
            pass
        finally:
            with self._lock:
                self._channels.pop(channel, None)
            channel.close()


def addresses(home: Path) -> list[Path]:
    """Where the owner of a data folder may listen, the likeliest first.

    In the folder; where that path is too long, or the disk takes no socket, beside other temporary files.
    """
    name = f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"
    here, elsewhere = home / "soma.sock", Path(tempfile.gettempdir()) / f"soma-{os.getuid()}" / name
    return [path for path in (here, elsewhere) if len(os.fsencode(path)) <= SOCKET_PATH_BYTES]


def check_address(home: Path, address: Path) -> None:
    """Raises `PermissionError` when somebody else may listen there: its folder is theirs, or open to others."""
    if address.parent == home:
        return
    found = address.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "must be a folder that only this user can open", str(address.parent))


def _bind(home: Path) -> tuple[Path, socket.socket]:
    """A socket that only this user can open, at the first address that can be had."""
    problem = "the path of the temporary folder is too long"
    for address in addresses(home):
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if address.parent != home:
                address.parent.mkdir(mode=0o700, exist_ok=True)
            check_address(home, address)
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
