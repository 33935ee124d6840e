"""The command `mcp`: the stdio server."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TextIO, TypeAlias

import click

from soma_mcp.cli.common import Terminal, command, starting

if TYPE_CHECKING:
    from soma_mcp.client import RemoteTools
    from soma_mcp.sharing import SharedSoma

    Opened: TypeAlias = SharedSoma | RemoteTools

LEAVE_SECONDS = 0.8
PARENT_SECONDS = 0.25
BRIDGE_RETRIES = 2
"""An agent hears within a second that the server is away."""
SWITCH_SECONDS = 0.001
"""How long a busy thread may keep another from running: a call passes through several."""


@click.command()
@command
def mcp(terminal: Terminal) -> None:
    """Serve agents over MCP on standard input and output.

    Any number of these can share one data folder; with SOMA_URL the memory is that of a server. The process ends with
    its standard input, or with its parent.
    """
    wire_in, wire_out = _claim_wire()
    sys.setswitchinterval(SWITCH_SECONDS)
    with starting():
        opening = _in_background(_opener(terminal))
        _Leaving(opening).watch()
        import anyio

        from soma_core.bootstrap import soma_version
        from soma_mcp.server import SomaServer
        from soma_mcp.tools.toolbox import Toolbox

        server = SomaServer(Toolbox(opening.result, terminal.settings.namespace), soma_version())
        opening.result()
    anyio.run(server.serve, wire_in, wire_out, backend_options={"use_uvloop": sys.platform != "win32"})
    _leave(opening, 0)


def _opener(terminal: Terminal) -> Callable[[], Opened]:
    """What opens the memory; its modules are imported already."""
    if terminal.settings.url is None:
        from soma_mcp.sharing import SharedSoma

        return lambda: SharedSoma(terminal.settings, stay=True)
    from soma_mcp.client import AsyncSomaClient, RemoteTools

    url, token = terminal.server()
    return lambda: RemoteTools(AsyncSomaClient(url, token, retries=BRIDGE_RETRIES))


def _claim_wire() -> tuple[TextIO, TextIO]:
    """Take standard input and output for the protocol; what any library prints goes to standard error from here on."""
    wire_in = os.fdopen(os.dup(0), encoding="utf-8", errors="surrogateescape")
    wire_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return wire_in, wire_out


def _in_background(work: Callable[[], Opened]) -> Future[Opened]:
    """Open the memory while the protocol library is imported."""
    future: Future[Opened] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="open", daemon=True).start()
    return future


class _Leaving:
    """Ends the process when it is told to, or when its parent is gone: a server must not be an orphan."""

    def __init__(self, opening: Future[Opened]) -> None:
        self._opening = opening
        self._parent = os.getppid()

    def watch(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    def _on_signal(self, number: int, _: object) -> None:
        threading.Thread(target=_leave, args=(self._opening, 128 + number)).start()

    def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(PARENT_SECONDS)
        _leave(self._opening, 0)


def _leave(opening: Future[Opened], status: int) -> None:
    """Hand over what this process owns, then end it, though a thread may still wait for input.

    What takes longer than a moment is not waited for: the records are durable, and the index is replayed.
    """

    def close() -> None:
        if opening.done() and not opening.exception():
            opening.result().close()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(LEAVE_SECONDS)
    sys.stderr.flush()
    os._exit(status)
