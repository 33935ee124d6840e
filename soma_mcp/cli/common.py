"""What commands share: options, opening the memory, errors, printing."""

from __future__ import annotations

import functools
import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import click

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.memory import Scope, uuid7
from soma_core.domain.validation import MAX_NAME, check_string, invalid
from soma_core.engine import Progress
from soma_core.settings import VARIABLES, Settings, load_settings

if TYPE_CHECKING:
    from soma_mcp.client import RemoteSoma
    from soma_mcp.sharing import SharedSoma

    Opened: TypeAlias = SharedSoma | RemoteSoma

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Terminal:
    """How a command was called: its settings, and whether it prints JSON."""

    settings: Settings
    as_json: bool

    @contextmanager
    def memory(self) -> Iterator[Opened]:
        """The memory of the server that SOMA_URL names, else that of the data folder, whoever owns it."""
        if self.settings.url is None:
            with self.folder() as shared:
                yield shared
            return
        from soma_mcp.client import RemoteSoma, SomaClient  # only those who have a server pay for the import

        with closing(RemoteSoma(SomaClient(*self.server()))) as remote:
            yield remote

    @contextmanager
    def folder(self, *, accept_model: bool = False) -> Iterator[SharedSoma]:
        """The memory of the data folder. Raises `InvalidInput` when SOMA_URL names a server."""
        self.need_folder()
        from soma_mcp.sharing import SharedSoma  # a server claims its standard output before this is imported

        with closing(SharedSoma(self.settings, stay=False, accept_model=accept_model)) as memory:
            yield memory

    def need_folder(self) -> None:
        """Raises `InvalidInput` when SOMA_URL names a server: this command works on a data folder."""
        if self.settings.url is not None:
            raise invalid("SOMA_URL", "is set, and this command needs the data folder: run it where the server runs")

    def server(self) -> tuple[str, str | None]:
        """The address of the server and the token for it. Raises `InvalidInput` when a namespace was given too."""
        if self.settings.namespace != VARIABLES["SOMA_MEMORY_NAMESPACE"].default:
            raise InvalidInput(
                f"SOMA_MEMORY_NAMESPACE: is {self.settings.namespace!r}, and SOMA_URL is set: there the namespace is "
                "the token's; give none",
                fields=("SOMA_MEMORY_NAMESPACE", "SOMA_URL"),
            )
        return self.settings.url or "", self.settings.api_token

    def scope(self, key: str | None = None) -> Scope:
        """Where this command's calls happen."""
        request_id = check_string("key", key, max_chars=MAX_NAME) if key is not None else str(uuid7())
        return Scope(self.settings.namespace, "cli", request_id)

    def show(self, structured: object, text: str) -> None:
        """Print a result."""
        click.echo(json.dumps(structured, ensure_ascii=False) if self.as_json else text)

    @contextmanager
    def progress(self, label: str, length: int | None = None) -> Iterator[Progress]:
        """A progress bar on standard error, on a terminal only."""
        hidden = self.as_json or not sys.stderr.isatty()
        with click.progressbar(length=length or 1, label=label, file=sys.stderr, hidden=hidden) as bar:

            def report(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            yield report


def command(function: F) -> Callable[..., None]:
    """Give a command its common options and print Soma's errors as one line."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--namespace", metavar="NAME", help="The namespace to work in [SOMA_MEMORY_NAMESPACE].")
    @click.option("--home", metavar="FOLDER", help="The data folder [SOMA_HOME].")
    @functools.wraps(function)
    def run(as_json: bool, namespace: str | None, home: str | None, **options: Any) -> None:
        try:
            settings = load_settings(home=home, namespace=namespace)
            function(Terminal(settings, as_json), **options)
        except SomaError as error:
            fail(error, as_json)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)

    return run


@contextmanager
def starting() -> Iterator[None]:
    """Leave the garbage collector off while a server starts, and what was made by then out of its sight for good.

    A look at all that the libraries bring takes some 60 ms, in which nobody is answered, and they stay anyway. Of what
    is made later it looks at the youngest each ten thousand objects: a recall has thousands, which go as they came.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


def fail(error: SomaError, as_json: bool) -> NoReturn:
    """Say what is wrong, on standard error, and end with status 1."""
    if as_json:
        body = {"error": {"code": error.code, "message": error.message, "fields": list(error.fields)}}
        click.echo(json.dumps(body), err=True)
    else:
        click.echo(f"soma: {error.code}: {error.message}".encode("utf-8", "backslashreplace").decode(), err=True)
    sys.exit(1)


def parse_json(field: str, text: str) -> Any:
    """JSON from an option or a line. Raises `InvalidInput`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise invalid(field, "nests too deep") from None
    except ValueError as error:
        raise invalid(field, f"is no JSON: {error}") from None


def decode(field: str, data: bytes) -> str:
    """Text from bytes, which must be UTF-8. Raises `InvalidInput`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(field, f"is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


def open_input(name: str) -> Any:
    """Standard input for ``-``, else a file, for reading bytes. Raises `InvalidInput`."""
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise InvalidInput(f"{name}: {error.strerror}", fields=("file",)) from error


def list_or_none(values: tuple[str, ...]) -> list[str] | None:
    """A repeated option as a list; None when it was not given."""
    return list(values) or None
