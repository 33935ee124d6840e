"""The command `doctor`: what is wrong with a data folder, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import click

from embeddings.choice import open_model
from embeddings.endpoint import Endpoint
from soma_core.adapters.sqlite.spare import free_bytes
from soma_core.bootstrap import ask_index_server, index_place, model_choice, records_path
from soma_core.domain.errors import SomaError
from soma_core.servers import ask_brokers
from soma_core.services.languages import OPENING
from soma_core.settings import Settings
from soma_mcp.cli.common import Terminal, command
from soma_mcp.sharing import SharedSoma

CHECKED = {"onnx": "its files are unaltered", "transformers": "its files are whole"}
"""What the loading of a model shows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["good", "note", "bad"]
    detail: str
    todo: str = ""


@click.command()
@command
def doctor(terminal: Terminal) -> None:
    """Check the folder, its owner, the disk, the model, the records and the index; say what to do.

    The status is 1 when something is bad.
    """
    terminal.need_folder()
    findings = list(_examine(terminal))
    lines = [f"{f.verdict:4}  {f.what}: {f.detail}" + (f"\n      do: {f.todo}" if f.todo else "") for f in findings]
    terminal.show({"findings": [asdict(f) for f in findings]}, "\n".join(lines))
    if any(f.verdict == "bad" for f in findings):
        raise SystemExit(1)


def _examine(terminal: Terminal) -> Iterator[Finding]:
    settings = terminal.settings
    yield from _folder(settings)
    yield from _asked("model", lambda: _model(settings))
    yield from _server("index server", lambda: ask_index_server(settings))
    yield from _server("brokers", lambda: ask_brokers(settings))
    path = records_path(settings.home)
    if settings.postgres_url is None and not path.exists() and not path.with_name(path.name + "-wal").exists():
        yield Finding("records", "note", "nothing was stored yet")
        return
    try:
        memory = SharedSoma(settings, stay=False)
    except SomaError as error:
        yield Finding("records", "bad", error.message, "see above")
        return
    try:
        yield _owner(memory)
        yield from _asked("records", lambda: _records(terminal, memory))
        yield from _asked("index", lambda: _index(terminal, memory))
        yield from _asked("languages", lambda: _languages(terminal, memory))
    finally:
        memory.close()


def _asked(what: str, ask: Callable[[], Finding]) -> Iterator[Finding]:
    """A finding, or the error that stood in its way."""
    try:
        yield ask()
    except SomaError as error:
        yield Finding(what, "bad", error.message)


def _folder(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if not home.is_dir():
        yield Finding("folder", "note", f"{home} is not there yet; the first store makes it")
        return
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding("folder", "bad", f"{home} is open to other users ({mode:o})", f"chmod 700 {home}")
    else:
        yield Finding("folder", "good", str(home))
    free, reserve = free_bytes(records_path(home)), settings.disk_reserve
    detail = f"{free >> 20} MB free, reserve {reserve >> 20} MB"
    if free < reserve:
        yield Finding("disk", "bad", detail, "make room: stores are refused and indexing pauses until then")
    else:
        yield Finding("disk", "good", detail)


def _model(settings: Settings) -> Finding:
    choice = model_choice(settings)
    model = open_model(choice)
    try:
        model.embedder.load()
        place = f"answers at {choice.host}" if isinstance(choice, Endpoint) else CHECKED[choice.backend]
        detail = f"{model.embedder.model_id}, {model.embedder.dimensions} dimensions, {place}"
        return Finding("model", "good", detail)
    finally:
        model.close()


def _server(what: str, ask: Callable[[], str | None]) -> Iterator[Finding]:
    """What a server says of itself, if there is one."""
    try:
        if said := ask():
            yield Finding(what, "good", said)
    except SomaError as error:
        yield Finding(what, "bad", error.message)


def _owner(memory: SharedSoma) -> Finding:
    if who := memory.owner:
        return Finding("owner", "good", f"process {who['pid']} (version {who['version']}) owns the folder and answers")
    return Finding("owner", "good", "no other process uses the folder")


def _records(terminal: Terminal, memory: SharedSoma) -> Finding:
    problems = memory.problems(terminal.scope())
    in_postgres = terminal.settings.postgres_url is not None
    if problems:
        path = records_path(terminal.settings.home)
        todo = f"stop every client, keep a copy of {path}, then put back a backup or `sqlite3 {path.name} .recover`"
        if in_postgres:
            todo = "stop every client, then put back a backup of the database"
        return Finding("records", "bad", "; ".join(problems), todo)
    status = memory.status(terminal.scope())
    whole = "the tables in Postgres fit together" if in_postgres else "the file is whole"
    return Finding("records", "good", f"{status.live} memories in {status.namespace}, {whole}")


def _index(terminal: Terminal, memory: SharedSoma) -> Finding:
    drift = memory.inspect(terminal.scope())
    detail = f"{drift.points} points for {drift.memories} memories"
    if drift.pending:
        return Finding("index", "note", f"{detail}; {drift.pending} changes wait to be followed", "let a server run")
    if not drift.is_clean:
        detail += (
            f"; {drift.missing} missing, {drift.unembedded} without vector, {drift.stale} stale, {drift.left} left"
        )
        todo = f"`soma reindex` rebuilds {index_place(terminal.settings)} from the records"
        return Finding("index", "bad", detail, todo)
    return Finding("index", "good", detail)


def _languages(terminal: Terminal, memory: SharedSoma) -> Finding:
    notes = [note for note in memory.status(terminal.scope()).health if note.startswith(OPENING)]
    if notes:
        return Finding("languages", "note", "; ".join(notes), "see docs/languages.md")
    return Finding("languages", "good", "nothing is in a language that would not be known")
