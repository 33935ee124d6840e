"""The command `serve`: the HTTP API and MCP over the network."""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
import uvicorn
from starlette.types import ASGIApp

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import Scope
from soma_core.domain.validation import invalid
from soma_core.settings import Settings, load_settings
from soma_mcp.cli.common import Terminal, command
from soma_mcp.http.app import create_app
from soma_mcp.http.auth import check_exposure
from soma_mcp.http.logs import configure as configure_logs
from soma_mcp.http.traces import configure as configure_traces
from soma_mcp.sharing import SharedSoma

BACKLOG = 2_048
HEADER_BYTES = 64 << 10
SWITCH_SECONDS = 0.001


@click.command()
@click.option("--host", help="The address to listen on [UVICORN_HOST]; any but a loopback one needs a token.")
@click.option("--port", help="The port [UVICORN_PORT]; 0 takes a free one and prints it.")
@click.option("--reload", is_flag=True, help="For development: start anew when the code changes.")
@command
def serve(terminal: Terminal, host: str | None, port: str | None, reload: bool) -> None:
    """Serve the HTTP API, and MCP at /mcp.

    SIGTERM ends it: requests at work are finished, new ones are not taken.
    """
    home, namespace = terminal.settings.home, terminal.settings.namespace
    settings = load_settings(home=home, namespace=namespace, host=host, port=port)
    if settings.url:
        raise invalid("SOMA_URL", "is set, so there is a server already; unset it to serve the memory of a data folder")
    if settings.workers > 1:
        raise invalid("UVICORN_WORKERS", f"is {settings.workers}; a data folder is served by one process")
    configure_logs(settings)
    if reload:
        _serve_reloading(settings)
        return
    sys.setswitchinterval(SWITCH_SECONDS)
    _raise_open_files()
    sys.exit(_serve(settings))


def _serve(settings: Settings) -> int:
    configure_traces(settings)
    memory = SharedSoma(settings, stay=True)
    try:
        tokens = memory.tokens(Scope(settings.namespace, "serve"))
        check_exposure(settings, bool(tokens))
        with _bound(settings) as listening:
            port = listening.getsockname()[1]
            server = _Server(_config(settings, create_app(settings, memory)))
            click.echo(f"soma: serving http://{settings.host}:{port} (MCP at /mcp)", err=True)
            server.run(sockets=[listening])
    finally:
        memory.close()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """Ends with status 0 when it is told to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(settings.keep_alive),
        timeout_graceful_shutdown=int(settings.shutdown),
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """The listening socket. Raises `InvalidInput` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise InvalidInput(
            f"UVICORN_PORT: {settings.host}:{settings.port} cannot be listened on: {error.strerror}",
            fields=("UVICORN_HOST", "UVICORN_PORT"),
        ) from error
    try:
        yield listening
    finally:
        listening.close()


def _raise_open_files() -> None:
    """Every connection is an open file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve_reloading(settings: Settings) -> None:
    """Let uvicorn watch the code and start `development` in a process of its own, anew after each change."""
    os.environ |= {"SOMA_HOME": str(settings.home), "SOMA_MEMORY_NAMESPACE": settings.namespace}
    uvicorn.run(
        "soma_mcp.cli.http:development",
        factory=True,
        reload=True,
        reload_dirs=[str(Path(__file__).parents[2])],
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
    )


def development() -> ASGIApp:
    """The application over the data folder of the environment, for `soma serve --reload`."""
    settings = load_settings()
    configure_logs(settings)
    memory = SharedSoma(settings, stay=True)
    atexit.register(memory.close)
    return create_app(settings, memory)
