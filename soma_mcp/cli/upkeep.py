"""Commands for whoever keeps a memory: stats, verify, reindex and migrate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from soma_core.bootstrap import index_place
from soma_core.domain.validation import invalid
from soma_core.servers import messages_waiting
from soma_core.services.inspect import Drift
from soma_core.services.reindex import Reindexed
from soma_core.settings import VARIABLES, Settings
from soma_mcp.cli.common import Terminal, command
from soma_mcp.tools.receipts import describe_status, shown_status


@click.command()
@command
def stats(terminal: Terminal) -> None:
    """Tell how many memories there are, what is pending, and whether all is well."""
    with terminal.memory() as shared:
        found = shared.status(terminal.scope())
    terminal.show(describe_status(found), shown_status(found))


@click.command()
@command
def verify(terminal: Terminal) -> None:
    """Compare the records of every namespace with its index, with what waits for it, and with the cache.

    It reads all of them: counts, ids, versions, vectors and texts. The status is 1 where they differ; what the index
    has not followed yet is no difference. With Kafka it also asks how many events no indexer has handled.
    """
    with terminal.folder() as shared:
        before = messages_waiting(terminal.settings)
        drifts = shared.verify(terminal.scope())
        messages = messages_waiting(terminal.settings)
    lost = sum(drift.log.stuck for drift in drifts if drift.log) if before == messages == 0 else 0
    clean = all(drift.is_good for drift in drifts) and not lost
    lines = [line for drift in drifts for line in _drift(drift)] or ["nothing was stored yet"]
    if messages is not None:
        lines.append(f"{'bad' if lost else 'wait' if messages else 'good':4}  log: {_log(messages, lost)}")
    if not clean:
        lines += _advice(drifts, lost, index_place(terminal.settings))
    found = {"clean": clean, "messages": messages, "lost": lost, "namespaces": [asdict(drift) for drift in drifts]}
    terminal.show(found, "\n".join(lines))
    if not clean:
        raise SystemExit(1)


def _drift(drift: Drift) -> Iterator[str]:
    """A namespace in a line, and a line for each example."""
    verdict = "bad" if not drift.is_good else "wait" if drift.pending else "good"
    counts = f"{drift.points} points for {drift.memories} memories"
    differing = {"missing": drift.missing, "without vector": drift.unembedded, "stale": drift.stale, "left": drift.left}
    if log := drift.log:
        differing |= {"unsent for over a minute": log.unsent, "waiting though in the index": log.left_over}
    if cache := drift.cache:
        differing |= {"cached and forgotten": cache.forgotten, "cached with another text": cache.altered}
    said = [f"{number} {what}" for what, number in differing.items() if number]
    waiting = [f"{drift.pending} changes wait to be followed"] if drift.pending else []
    yield f"{verdict:4}  {drift.namespace!r}: " + ", ".join([counts, *said, *waiting])
    if drift.log or not drift.pending:
        yield from (f"      {example}" for example in drift.examples)


def _log(messages: int, lost: int) -> str:
    if lost:
        return f"{lost} changes were sent and are not in the index, and no message waits"
    return f"{messages} messages wait for an indexer" if messages else "no message waits for an indexer"


def _advice(drifts: Sequence[Drift], lost: int, place: str) -> Iterator[str]:
    """What to do about each kind of difference that there is."""
    if any(drift.log and drift.log.unsent for drift in drifts):
        yield "do: see that a `soma worker outbox_relay` runs and reaches the brokers"
    if lost:
        yield "do: `soma dead-letters list` shows what was given up; `soma reindex` sends all that is missing again"
    if any((not drift.is_indexed and not drift.is_good) or (drift.log and drift.log.left_over) for drift in drifts):
        yield f"do: `soma reindex` rebuilds {place} from the records"
    if any(drift.cache and not drift.cache.is_clean for drift in drifts):
        yield "do: nothing for the cache: it lets go of every text after a minute; if it does not, empty it"


@click.command()
@click.option("--drop-old", is_flag=True, help="Build nothing: delete older indexes that were kept, and one half done.")
@command
def reindex(terminal: Terminal, drop_old: bool) -> None:
    """Build the index of every namespace anew from the records, with the present embedding model.

    It is built beside the one that serves, which answers meanwhile as before; at the end the new one serves. When it is
    interrupted, the next `soma reindex` goes on. This is also the way to change SOMA_EMBEDDING_MODEL.
    """
    with terminal.folder(accept_model=True) as shared:
        if drop_old:
            dropped = shared.drop_old(terminal.scope())
            said = f"deleted: generation {', '.join(map(str, dropped))}" if dropped else "there is none to delete"
            terminal.show({"dropped": dropped}, said)
            return
        _check_backend(terminal.settings, shared.owner)
        model, language = _chosen(terminal.settings)
        with terminal.progress("Reindexing") as report:
            done = shared.reindex(terminal.scope(), model, language, report)
        terminal.show(asdict(done), "\n".join(_reindexed(done, shared.owner)))


def _check_backend(settings: Settings, owner: Mapping[str, Any]) -> None:
    """A model is told to the owner by its name, which another backend would misunderstand. Raises `InvalidInput`."""
    mine = settings.embedding_backend
    theirs = owner.get("backend", mine)
    if theirs != mine and (settings.embedding_model or mine != VARIABLES["SOMA_EMBEDDING_BACKEND"].default):
        raise invalid(
            "SOMA_EMBEDDING_BACKEND",
            f"is {mine} here, and {theirs} in process {owner['pid']}, which owns the folder: end that, reindex, and "
            "start it again with the new settings",
        )


def _chosen(settings: Settings) -> tuple[str | None, str | None]:
    """The model and language that were chosen here; where none was, None: the choice of who owns the folder."""
    model, language = settings.embedding_model, settings.language
    if model and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().resolve())
    return model, language if language != VARIABLES["SOMA_LANGUAGE"].default else None


def _reindexed(done: Reindexed, owner: Mapping[str, Any]) -> Iterator[str]:
    yield f"the index was rebuilt from {done.events} changes"
    if owner.get("model", done.model) != done.model:
        yield f"process {owner['pid']} goes on with the model {done.model}: set SOMA_EMBEDDING_MODEL for its next start"
    if done.kept:
        kept = ", ".join(map(str, done.kept))
        yield f"kept for processes that still use it: generation {kept}; `soma reindex --drop-old` deletes it"


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; the status is 1 when there is something to do.")
@command
def migrate(terminal: Terminal, check: bool) -> None:
    """Make the tables in Postgres, or bring them to the present schema.

    Safe to run from several places at once. Records in the data folder need no such step.
    """
    from soma_core.adapters.postgres.migrate import migrate, pending  # only those who have Postgres pay for the import

    url = terminal.settings.postgres_url
    if url is None:
        raise invalid("POSTGRES_URL", "is not set; records in the data folder are brought up to date when opened")
    steps = [f"{step.number:04} {step.name}" for step in (pending(url) if check else migrate(url))]
    verb = "pending" if check else "applied"
    lines = [f"{verb}: {step}" for step in steps] or ["the schema is the present one"]
    terminal.show({verb: steps}, "\n".join(lines))
    if check and steps:
        raise SystemExit(1)
