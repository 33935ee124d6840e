"""Commands for whoever keeps a memory: stats and reindex."""

from __future__ import annotations

import click

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
def reindex(terminal: Terminal) -> None:
    """Rebuild the index of every namespace from the records, with the present embedding model.

    Recall goes on meanwhile, by what is rebuilt so far. Nothing is lost when it is interrupted: the rest is done by
    the next process that uses the memory.
    """
    with terminal.folder(accept_model=True) as shared, terminal.progress("Reindexing") as report:
        events = shared.reindex(terminal.scope(), report)
    terminal.show({"events": events}, f"the index was rebuilt from {events} changes")
