"""The command `store-bulk`: memories from a file of JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from soma_core.domain.errors import InvalidInput, ModelMissing, Retryable
from soma_core.domain.lines import parse_line
from soma_core.domain.memory import NewMemory
from soma_mcp.cli.common import Terminal, command, open_input

BATCH = 500
BATCH_BYTES = 4 << 20
"""A batch ends when its lines have so many; a server takes a few times as much."""


@dataclass(slots=True)
class _Lines:
    """A file's lines: the memories they give, and what is wrong with the others."""

    memories: list[NewMemory] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Of their lines, in bytes."""
    refused: list[dict[str, Any]] = field(default_factory=list)


@click.command(name="store-bulk")
@click.argument("file")
@click.option("--atomic", is_flag=True, help="Store all lines or none.")
@click.option("--key", help="Idempotency key: the same file again under the same key changes nothing.")
@click.option("--no-wait", is_flag=True, help="Leave the embedding to whoever uses the memory next.")
@command
def store_bulk(terminal: Terminal, file: str, atomic: bool, key: str | None, no_wait: bool) -> None:
    """Store the memories of FILE: JSON lines with the fields of `soma store` (- is standard input).

    A line that is wrong is named with its number; the others are stored, unless --atomic. The status is 1 when a
    line was refused.
    """
    with open_input(file) as source:
        lines = _read(source)
    refused = lines.refused
    stored = 0
    if not (atomic and refused) and lines.memories:
        stored = _store(terminal, lines, atomic, key, no_wait)
    for problem in [] if terminal.as_json else refused:
        click.echo(f"line {problem['line']}: {problem['message']}", err=True)
    kept = "nothing was stored" if atomic and refused else f"{stored} memories stored"
    terminal.show({"stored": stored, "refused": refused}, f"{kept}, {len(refused)} lines refused")
    sys.exit(1 if refused else 0)


def _read(source: Iterable[bytes]) -> _Lines:
    lines = _Lines()
    for number, data in enumerate(source, 1):
        if not data.strip():
            continue
        try:
            lines.memories.append(parse_line(data))
            lines.sizes.append(len(data))
        except InvalidInput as error:
            problem = {"line": number, "code": error.code, "message": error.message, "fields": list(error.fields)}
            lines.refused.append(problem)
    return lines


def _store(terminal: Terminal, lines: _Lines, atomic: bool, key: str | None, no_wait: bool) -> int:
    memories = lines.memories
    with terminal.memory() as shared:
        with terminal.progress("Storing", len(memories)) as report:
            done = 0
            for batch in [memories] if atomic else _batches(lines):
                done += len(shared.store_many(terminal.scope(f"{key}:{done}" if key else None), batch))
                report(done, len(memories))
        if not no_wait:
            try:
                with terminal.progress("Embedding") as report:
                    shared.index(terminal.scope(), report)
            except (ModelMissing, Retryable) as error:
                click.echo(f"soma: {error.code}: {error.message}", err=True)
    return done


def _batches(lines: _Lines) -> Iterator[list[NewMemory]]:
    batch: list[NewMemory] = []
    room = BATCH_BYTES
    for memory, size in zip(lines.memories, lines.sizes, strict=True):
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(memory)
        room -= size
    yield batch
