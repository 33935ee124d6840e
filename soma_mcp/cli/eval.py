"""The command `eval`: how much of what is relevant recall brings back, over a set of questions."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import InvalidInput
from soma_core.domain.marks import Mark, build_set, parse_mark
from soma_core.domain.memory import Memory
from soma_core.domain.query import MAX_LIMIT, BrowseQuery
from soma_core.domain.recall_set import RecallSet, parse_set
from soma_core.domain.scoring import STEPS
from soma_core.domain.validation import check_namespace, invalid
from soma_core.services.evaluate import Evaluated, Evaluating
from soma_core.services.timing import Stopwatch
from soma_mcp.cli.common import Terminal, command, decode, open_input, parse_json, starting
from soma_mcp.cli.eval_report import compared, describe_run, read_report
from soma_mcp.cli.eval_tables import comparison_table, run_table

NO_SERVERS: dict[str, Any] = dict.fromkeys(
    ("postgres_url", "qdrant_url", "qdrant_host", "redis_url", "redis_host", "kafka_bootstrap_servers")
)
"""What is measured is stored in the folder that is thrown away, whatever servers the settings name."""


@click.command()
@click.argument("set_file", metavar="[SET.json]", required=False)
@click.option("--ablate", is_flag=True, help="Ask each question again without each step of ranking.")
@click.option("--leave-out", multiple=True, metavar="CATEGORY", help="Also pool without this category; repeatable.")
@click.option("--output", metavar="FILE", help="Write the whole result there as JSON.")
@click.option("--compare", nargs=2, metavar="A.json B.json", help="Test the difference of two results instead.")
@click.option("--from-namespace", metavar="NAME", help="Make a set of a namespace and --marks instead.")
@click.option("--marks", metavar="FILE.jsonl", help='Lines of {"query", "relevant": [id, ...], "category"}.')
@command
def eval(
    terminal: Terminal,
    set_file: str | None,
    ablate: bool,
    leave_out: tuple[str, ...],
    output: str | None,
    compare: tuple[str, str] | None,
    from_namespace: str | None,
    marks: str | None,
) -> None:
    """Measure recall over the questions of SET.json (- is standard input).

    Every conversation of the set is stored through the real engine, into a folder that is thrown away; of the data
    folder only the settings (soma.toml) are used. docs/evaluation.md has the format of sets and marks.
    """
    if (set_file, compare, from_namespace).count(None) != 2:
        raise click.UsageError("Give one of SET.json, --compare or --from-namespace.")
    if (from_namespace is None) != (marks is None):
        raise click.UsageError("--from-namespace and --marks belong together.")
    if (ablate and set_file is None) or (leave_out and from_namespace is not None):
        raise click.UsageError("--ablate needs SET.json; --leave-out needs SET.json or --compare.")
    target = _writable(output) if output is not None else None
    if set_file is not None:
        report = _run(terminal, set_file, STEPS if ablate else (), leave_out)
        text = run_table(report)
    elif compare is not None:
        report = _compare(*compare, leave_out)
        text = comparison_table(report)
    else:
        report = _collect(terminal, from_namespace or "", marks or "")
        text = _made(report, output)
    try:
        if target is not None:
            target.write_text(json.dumps(report, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise invalid("output", f"{target} cannot be written: {error.strerror}") from error
    finally:
        terminal.show(report, text)


def _made(found: dict[str, Any], output: str | None) -> str:
    """The set itself, or where it went."""
    if output is None:
        return json.dumps(found, ensure_ascii=False)
    (conversation,) = found["conversations"]
    return (
        f"{len(conversation['memories'])} memories and {len(conversation['questions'])} questions written to {output}"
    )


def _writable(name: str) -> Path:
    """Where the result goes. It is asked for before minutes of work, so refused here when nothing can be written."""
    path = Path(name)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise invalid("output", f"{name} cannot be written; give a file in a folder that exists and is yours")
    return path


def _run(terminal: Terminal, name: str, steps: tuple[str, ...], leave_out: tuple[str, ...]) -> dict[str, Any]:
    terminal.need_folder()
    with open_input(name) as source:
        data: bytes = source.read()
    found = parse_set(parse_json("set", decode("set", data)))
    _check_left_out(leave_out, found.categories)
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="soma-eval-") as home:
        settings = replace(terminal.settings, home=Path(home), **NO_SERVERS)
        with starting():  # as a server does, whose times these shall be
            opened = create_memory_system(settings, stopwatch=stopwatch)
        with closing(opened) as soma:
            evaluated = _evaluate(terminal, Evaluating(soma, stopwatch), found, steps)
            model = soma.embedder.model_id
    described = {"name": found.name, "sha256": hashlib.sha256(data).hexdigest()}
    return describe_run(found, evaluated, described, model=model, settings=terminal.settings, left_out=leave_out)


def _evaluate(terminal: Terminal, evaluating: Evaluating, found: RecallSet, steps: tuple[str, ...]) -> Evaluated:
    with terminal.progress("Evaluating") as report:
        return evaluating.run(found, steps, report)


def _check_left_out(leave_out: tuple[str, ...], categories: list[str]) -> None:
    for category in leave_out:
        if category not in categories:
            raise invalid("leave_out", f"is {category!r}, must be one of {', '.join(categories)}")
    if set(leave_out) >= set(categories):
        raise invalid("leave_out", "names every category of the set, one must be left")


def _compare(before: str, after: str, leave_out: tuple[str, ...]) -> dict[str, Any]:
    reports = []
    for name in (before, after):
        with open_input(name) as source:
            reports.append(read_report(name, parse_json(name, decode(name, source.read()))))
    first, second = reports
    _check_left_out(leave_out, sorted({outcome.category for outcome in first.outcomes}))
    return compared(first, second, leave_out)


def _collect(terminal: Terminal, namespace: str, name: str) -> dict[str, Any]:
    """A set from the memories of a namespace and a file of marks."""
    marks = _read_marks(name)
    settings = replace(terminal.settings, namespace=check_namespace(namespace))
    return build_set(namespace, _all_memories(Terminal(settings, terminal.as_json)), marks)


def _read_marks(name: str) -> dict[int, Mark]:
    """The marks of a file by the number of their line."""
    marks = {}
    with open_input(name) as source:
        for number, data in enumerate(source, 1):
            if data.strip():
                try:
                    marks[number] = parse_mark(decode("mark", data))
                except InvalidInput as error:
                    raise InvalidInput(f"line {number}: {error.message}", fields=error.fields) from None
    return marks


def _all_memories(terminal: Terminal) -> list[Memory]:
    found: list[Memory] = []
    with terminal.folder() as shared:
        query: BrowseQuery | None = BrowseQuery.parse(order="oldest", limit=MAX_LIMIT)
        while query is not None:
            page = shared.browse(terminal.scope(), query)
            found += page.memories
            query = replace(query, cursor=page.next_cursor) if page.next_cursor else None
    return found
