"""Commands for whoever keeps a memory: stats, verify, reindex and migrate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from soma_core.bootstrap import index_place
from soma_core.domain.validation import invalid
from soma_core.services.inspect import Drift
from soma_mcp.cli.common import Terminal, command
from soma_mcp.tools.status import describe_status, shown


@click.command()
@command
def stats(terminal: Terminal) -> None:
    """Tell how many memories there are, what is pending, and whether all is well."""
    with terminal.memory() as shared:
        found = shared.status(terminal.scope())
    terminal.show(describe_status(found), shown(found))


@click.command()
@command
def verify(terminal: Terminal) -> None:
    """Compare the records of every namespace with its index: counts, ids, versions and vectors.

    It reads all of both. The status is 1 where they differ; what the index has not followed yet is no difference.
    """
    with terminal.folder() as shared:
        drifts = shared.verify(terminal.scope())
    clean = all(drift.is_clean or drift.pending for drift in drifts)
    lines = [line for drift in drifts for line in _drift(drift)] or ["nothing was stored yet"]
    if not clean:
        lines.append(f"do: `soma reindex` rebuilds {index_place(terminal.settings)} from the records")
    terminal.show({"clean": clean, "namespaces": [asdict(drift) for drift in drifts]}, "\n".join(lines))
    if not clean:
        raise SystemExit(1)


def _drift(drift: Drift) -> Iterator[str]:
    """A namespace in a line, and a line for each example."""
    verdict = "wait" if drift.pending else "good" if drift.is_clean else "bad"
    counts = f"{drift.points} points for {drift.memories} memories"
    differing = {"missing": drift.missing, "without vector": drift.unembedded, "stale": drift.stale, "left": drift.left}
    said = [f"{number} {what}" for what, number in differing.items() if number]
    waiting = [f"{drift.pending} changes wait to be followed"] if drift.pending else []
    yield f"{verdict:4}  {drift.namespace!r}: " + ", ".join([counts, *said, *waiting])
    if not drift.pending:
        yield from (f"      {example}" for example in drift.examples)


@click.command()
@command
def reindex(terminal: Terminal) -> None:
    """Rebuild the index of every namespace from the records, with the present embedding model.

    Recall goes on meanwhile, by what is rebuilt so far. Nothing is lost when it is interrupted: the rest is done by
    the next process that uses the memory.
    """
    with terminal.folder(accept_model=True) as shared, terminal.progress("Reindexing") as report:
        events = shared.reindex(terminal.scope(), report)
    terminal.show({"events": events}, f"the index was rebuilt from {events} changes")


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
