"""The command `serve`: the HTTP API and MCP over the network."""

from __future__ import annotations

import atexit
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import click
import uvicorn
from starlette.types import ASGIApp

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.hosts import bracketed
from soma_core.domain.validation import invalid
from soma_core.settings import Settings, hand_down, load_settings
from soma_mcp.cli.common import Terminal, command, fail, starting
from soma_mcp.cli.crew import Crew
from soma_mcp.http.app import create_app
from soma_mcp.http.auth import check_exposure, usable_tokens
from soma_mcp.http.connections import Connection
from soma_mcp.http.hosts import is_loopback
from soma_mcp.http.logs import configure as configure_logs
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.traces import configure as configure_traces
from soma_mcp.sharing import SharedSoma

BACKLOG = 2_048
SPARE_FILES = 256
"""Open files that connections leave to the data folder and the log."""
CODE = ("embeddings", "soma_core", "soma_mcp", "workers")
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
    if settings.workers > 1 and not settings.distributed:
        told = f"is {settings.workers}; a data folder is served by one process: more need POSTGRES_URL and QDRANT_URL"
        raise invalid("UVICORN_WORKERS", told)
    configure_logs(settings)
    if reload:
        _serve_reloading(settings)
        return
    if settings.workers == 1:
        sys.exit(_serve(settings, _bound(settings), lambda listening: _say_serving(settings, listening)))
    with _bound(settings) as listening:
        sys.exit(Crew(settings, _work, listening).run(lambda: _say_serving(settings, listening)))


def _say_serving(settings: Settings, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    click.echo(f"soma: serving http://{bracketed(settings.host)}:{port} (MCP at /mcp)", err=True)


def _work(settings: Settings, listening: socket.socket, on_serving: Callable[[], None]) -> int:
    """Serve as one of several processes."""
    configure_logs(settings)
    try:
        return _serve(settings, contextlib.nullcontext(listening), lambda _: on_serving())
    except SomaError as error:
        fail(error, as_json=False)


def _serve(
    settings: Settings,
    binding: contextlib.AbstractContextManager[socket.socket],
    on_serving: Callable[[socket.socket], None],
) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    _raise_open_files()
    end_traces = configure_traces(settings)
    metrics = Metrics()
    memory = SharedSoma(settings, stay=True, telemetry=metrics)
    try:
        check_exposure(settings, usable_tokens(memory, settings))
        with binding as listening:
            with starting():
                server = _Server(_config(settings, create_app(settings, memory, metrics)))
            on_serving(listening)
            server.run(sockets=[listening])
    finally:
        memory.close()
        end_traces()
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
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=settings.shutdown,
        backlog=BACKLOG,
    )


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """The listening socket. Raises `InvalidInput` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidInput(
            f"UVICORN_PORT: {bracketed(settings.host)}:{settings.port} cannot be listened on: {error.strerror}",
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
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY:
        Connection.most = max(SPARE_FILES, allowed - SPARE_FILES)


def _serve_reloading(settings: Settings) -> None:
    """Let uvicorn watch the code and start `development` in a process of its own, anew after each change."""
    if not is_loopback(settings.host):
        raise invalid("UVICORN_HOST", f"is {settings.host}; with --reload only a loopback address is listened on")
    hand_down(home=settings.home, namespace=settings.namespace)
    uvicorn.run(
        "soma_mcp.cli.http:development",
        factory=True,
        reload=True,
        reload_dirs=[str(folder) for name in CODE if (folder := Path(__file__).parents[2] / name).is_dir()],
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
    )


def development() -> ASGIApp:
    """The application over the data folder of the environment, for `soma serve --reload`."""
    settings = load_settings()
    configure_logs(settings)
    metrics = Metrics()
    memory = SharedSoma(settings, stay=True, telemetry=metrics)
    atexit.register(memory.close)
    return create_app(settings, memory, metrics)
