"""Rows `first_answer` and `first_full_answer`: how long a start takes."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
from mcp import Client

from scripts.bench.figures import Row, Series, at_most, milliseconds, say
from scripts.bench.servers import NOOP_ARGUMENTS, call, noop, soma
from scripts.bench.stores import Bench
from scripts.bench.texts import questions

MEMORIES = 1_000
POLL_SECONDS = 0.004
FULL_SECONDS = 60
FIRST_BOUND = 1.6
FULL_BOUND = 2.5


def measure(bench: Bench) -> list[Row]:
    """Start the server and the control in turn, from spawn to answers."""
    with bench.filled(MEMORIES) as home:
        return anyio.run(_measure, home, bench.times(20, 3))


async def _measure(home: Path, times: int) -> list[Row]:
    first, full, control = [], [], []
    by_words = 0
    asked = questions(times + 1)
    await _soma_start(home, asked[-1])  # reads the files once: a start from a cold disk measures the disk
    await _noop_start()
    for turn in range(times):
        say(f"start {turn + 1} of {times}")
        control.append(await _noop_start())
        to_first, to_full, degraded = await _soma_start(home, asked[turn])
        first.append(to_first)
        full.append(to_full)
        by_words += any(reason.startswith("dense:") for reason in degraded)
    bare = Series("no-op server: spawn to first answer", "ms", control)
    said = {"first_answers_that_said_they_were_by_words_only": by_words}
    return [
        _row("first_answer", Series("spawn to first answered recall", "ms", first), bare, FIRST_BOUND, said),
        _row("first_full_answer", Series("spawn to first recall with nothing degraded", "ms", full), bare, FULL_BOUND),
    ]


async def _noop_start() -> float:
    began = time.perf_counter()
    async with Client(noop()) as client:
        await call(client, "noop", NOOP_ARGUMENTS)
        return milliseconds(began)


async def _soma_start(home: Path, question: str) -> tuple[float, float, list[str]]:
    """Milliseconds to the first answer and to the first full one, and what the first one lacked."""
    began = time.perf_counter()
    async with Client(soma(home)) as client:
        found = await call(client, "recall", {"query": question})
        first, degraded = milliseconds(began), found["degraded"]
        if not found["hits"]:
            raise RuntimeError(f"nothing was found: {question}")
        with anyio.fail_after(FULL_SECONDS):
            while found["degraded"]:
                await anyio.sleep(POLL_SECONDS)
                found = await call(client, "recall", {"query": question})
        return first, milliseconds(began), degraded


def _row(name: str, measured: Series, control: Series, limit: float, context: dict[str, int] | None = None) -> Row:
    ratio = measured.median / control.median
    relation = "ratio of the medians"
    return Row(name, measured, [control], relation, ratio, at_most(limit), ratio <= limit, context or {})
