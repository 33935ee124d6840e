"""The commands `soma dead-letters`: events that workers gave up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import click

from soma_core.domain.messages import DeadLetter, encode_letter
from soma_core.domain.validation import invalid
from soma_core.servers import open_stream
from soma_core.services.dead_letters import DeadLetters
from soma_mcp.cli.common import Terminal, command


@click.group()
def dead_letters() -> None:
    """List, send again and drop the events that a worker gave up.

    They hold no text of a memory. The memories themselves are in the records, and recall finds them by their words.
    """


@dead_letters.command(name="list")
@command
def list_(terminal: Terminal) -> None:
    """List them, the oldest first, with the reason."""
    with _letters(terminal) as letters:
        found = letters.list()
    lines = "\n".join(_described(letter) for letter in found) or "There are no dead letters."
    terminal.show({"dead_letters": [_shown(letter) for letter in found]}, lines)


@dead_letters.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that hold an event.")
@command
def replay(terminal: Terminal, ids: tuple[str, ...], every: bool) -> None:
    """Send the events of these dead letters again, once what made them fail is mended."""
    with _letters(terminal) as letters:
        wanted = _wanted(letters, ids, every)
        done = letters.replay([letter.id for letter in wanted if ids or letter.event is not None])
    _tell(terminal, "replayed", done)


@dead_letters.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All there are.")
@command
def drop(terminal: Terminal, ids: tuple[str, ...], every: bool) -> None:
    """Forget these dead letters. The memories that they name stay as they are."""
    with _letters(terminal) as letters:
        done = letters.drop([letter.id for letter in _wanted(letters, ids, every)])
    _tell(terminal, "dropped", done)


@contextmanager
def _letters(terminal: Terminal) -> Iterator[DeadLetters]:
    terminal.need_folder()
    with closing(open_stream(terminal.settings)) as stream:
        yield DeadLetters(stream)


def _wanted(letters: DeadLetters, ids: tuple[str, ...], every: bool) -> Sequence[DeadLetter]:
    if bool(ids) == every:
        raise invalid("ids", "must be given, as `soma dead-letters list` shows them, or else --all")
    return letters.list() if every else letters.named(ids)


def _tell(terminal: Terminal, verb: str, done: Sequence[DeadLetter]) -> None:
    lines = "\n".join(f"{verb} {letter.id}" for letter in done) or "There are none."
    terminal.show({verb: [letter.id for letter in done]}, lines)


def _shown(letter: DeadLetter) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(encode_letter(letter))
    return shown


def _described(letter: DeadLetter) -> str:
    """A line about a dead letter."""
    event = letter.event or {}
    what = f"{event.get('kind')} {event.get('id')} version {event.get('version')}" if event else "no event"
    tries = f"{letter.attempts} attempt{'s' if letter.attempts > 1 else ''}"
    why = f"{letter.reason}: {letter.error} ({what}; {tries}, {letter.component})"
    return f"{letter.time:%Y-%m-%d %H:%M}  {letter.id}  {why}"
