"""Row `eight_clients`: many clients on one folder, storing at once.

One thread drives all of them, with ready-made lines and no protocol library, each client sending its next call when it
has the answer to its last: the servers are what is measured. The control is driven by the same code.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.bench.figures import Row, Series, at_least, milliseconds, say
from scripts.bench.servers import Wire, noop, soma, structured
from scripts.bench.stores import Bench, scope, settings
from scripts.bench.texts import texts
from soma_mcp.sharing import SharedSoma

CLIENTS = 8
BOUND = 0.6
WARM = 5
READ = 500


def measure(bench: Bench) -> list[Row]:
    """Rounds of both in turn; then read everything that was acknowledged."""
    rounds, calls = bench.times(5, 2), bench.times(200, 10)
    with bench.empty() as home:
        rates, bare, latencies, ids = _rounds(home, rounds, calls)
        lost = _lost(home, ids)
    measured = Series(f"{CLIENTS} clients storing in one folder, each round {CLIENTS * calls} calls", "calls/s", rates)
    control = Series(f"{CLIENTS} no-op servers driven the same way", "calls/s", bare)
    ratio = measured.median / control.median
    return [
        Row(
            "eight_clients", measured, [control], "ratio of the medians", ratio,
            f"{at_least(BOUND)}, and none lost", ratio >= BOUND and not lost,
            {"acknowledged": len(ids), "lost": lost, "store": Series("one store", "ms", latencies).json()},
        )
    ]  # fmt: skip


def _rounds(home: Path, rounds: int, calls: int) -> tuple[list[float], list[float], list[float], list[str]]:
    rates: list[float] = []
    bare: list[float] = []
    latencies: list[float] = []
    ids: list[str] = []
    unused = iter(texts(CLIENTS * (WARM + rounds * calls), seed=5))
    with ExitStack() as stack:
        memories = [stack.enter_context(Wire(soma(home))) for _ in range(CLIENTS)]
        controls = [stack.enter_context(Wire(noop())) for _ in range(CLIENTS)]
        ids += [answer["id"] for answer in drive(memories, "store", unused, WARM)[1]]
        drive(controls, "noop", iter(texts(CLIENTS * WARM)), WARM)
        for number in range(rounds):
            say(f"{CLIENTS} clients, round {number + 1} of {rounds}")
            memories[0].wait_embedded()  # what follows a store must not slow the control down
            bare.append(drive(controls, "noop", iter(texts(CLIENTS * calls)), calls)[0])
            rate, answers, taken = drive(memories, "store", unused, calls)
            rates.append(rate)
            latencies += taken
            ids += [answer["id"] for answer in answers]
    return rates, bare, latencies, ids


def drive(
    clients: Sequence[Wire], tool: str, unused: Iterator[str], calls: int
) -> tuple[float, list[dict[str, Any]], list[float]]:
    """Let each client make so many calls; calls/s of all, the answers, and milliseconds of each."""
    lines: list[bytes] = []
    taken: list[float] = []
    began = dict.fromkeys(clients, 0.0)
    left = dict.fromkeys(clients, calls)
    start = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.output, selectors.EVENT_READ, client)
            began[client] = time.perf_counter()
            client.send_call(tool, {"text": next(unused)})
        while selector.get_map():
            for key, _ in selector.select():
                client = key.data
                lines.append(client.output.readline())
                taken.append(milliseconds(began[client]))
                left[client] -= 1
                if left[client]:
                    began[client] = time.perf_counter()
                    client.send_call(tool, {"text": next(unused)})
                else:
                    selector.unregister(client.output)
        seconds = time.perf_counter() - start
    return len(lines) / seconds, [structured(line) for line in lines], taken


def _lost(home: Path, ids: Sequence[str]) -> int:
    """How many acknowledged memories cannot be read by a process that opens the folder afterwards."""
    shared = SharedSoma(settings(home), stay=False)
    try:
        found: set[str] = set()
        for start in range(0, len(ids), READ):
            found |= {str(memory.id) for memory in shared.get(scope(), ids[start : start + READ])}
    finally:
        shared.close()
    return len(set(ids) - found) + len(ids) - len(set(ids))
