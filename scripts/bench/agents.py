"""Row `eight_agents`: as `eight_clients`, driven by real MCP clients, as agents have them.

Eight clients of the protocol library in one event loop, each sending its next call when it has the answer to its last.
They take much of two cores themselves, for either kind of server.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from mcp import Client

from scripts.bench.crowd import BOUND, CLIENTS
from scripts.bench.figures import Row, Series, at_least, say
from scripts.bench.servers import call, noop, soma
from scripts.bench.stores import Bench
from scripts.bench.texts import texts


def measure(bench: Bench) -> list[Row]:
    """Rounds of both in turn, the first of each not counted."""
    rounds, calls = bench.times(7, 2), bench.times(50, 10)
    with bench.empty() as home:
        rates, bare = anyio.run(_rounds, home, rounds, calls)
    what = f"{CLIENTS} MCP clients storing in one folder, each round {CLIENTS * calls} calls"
    measured = Series(what, "calls/s", rates)
    control = Series(f"{CLIENTS} no-op servers driven the same way", "calls/s", bare)
    ratio = measured.median / control.median
    relation = "ratio of the medians"
    return [Row("eight_agents", measured, [control], relation, ratio, at_least(BOUND), ratio >= BOUND)]


async def _rounds(home: Path, rounds: int, calls: int) -> tuple[list[float], list[float]]:
    unused = iter(texts(2 * CLIENTS * calls * (rounds + 1), seed=8))
    rates: list[float] = []
    bare: list[float] = []
    async with AsyncExitStack() as stack:
        memories = [await stack.enter_async_context(Client(soma(home))) for _ in range(CLIENTS)]
        controls = [await stack.enter_async_context(Client(noop())) for _ in range(CLIENTS)]
        for number in range(rounds + 1):
            say(f"{CLIENTS} MCP clients, round {number} of {rounds}")
            bare.append(await _drive(controls, "noop", unused, calls))
            rates.append(await _drive(memories, "store", unused, calls))
            while (await call(memories[0], "status", {}))["pending"]["vectors"]:
                await anyio.sleep(0.05)
    return rates[1:], bare[1:]


async def _drive(clients: Sequence[Client], tool: str, unused: Iterator[str], calls: int) -> float:
    """Let each client make so many calls; calls/s of all."""

    async def one(client: Client) -> None:
        for _ in range(calls):
            await call(client, tool, {"text": next(unused)})

    start = time.perf_counter()
    async with anyio.create_task_group() as group:
        for client in clients:
            group.start_soon(one, client)
    return len(clients) * calls / (time.perf_counter() - start)
