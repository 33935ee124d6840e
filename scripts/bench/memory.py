"""Rows `memory_owner` and `memory_follower`: what processes keep resident when idle."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.bench.figures import Row, Series, at_most, say
from scripts.bench.servers import NOOP_ARGUMENTS, Wire, noop, soma
from scripts.bench.stores import Bench
from scripts.bench.texts import questions

MEMORIES = 10_000
OWNER_MB = 260.0
FOLLOWER_MB = 100.0
IDLE_SECONDS = 3.0
ASKED = 50
FIELDS = ("VmRSS", "RssAnon", "RssFile")


def measure(bench: Bench) -> list[Row]:
    """An owner, a follower and the control, all idle after some calls."""
    samples = []
    with bench.filled(MEMORIES) as home:
        for turn in range(bench.times(3, 1)):
            say(f"memory, turn {turn + 1}")
            samples.append(_sample(home))
    owner, follower, control = (list(kind) for kind in zip(*samples, strict=True))
    bare = [_series("no-op server", control)]
    return [
        _row("memory_owner", _series(f"owner of {MEMORIES} memories, model loaded", owner), bare, owner, OWNER_MB),
        _row("memory_follower", _series("follower", follower), bare, follower, FOLLOWER_MB),
    ]


def _sample(home: Path) -> list[dict[str, float]]:
    with Wire(soma(home)) as owner:
        owner.wait_embedded()
        with Wire(soma(home)) as follower, Wire(noop()) as control:
            for question in questions(ASKED):
                for server in (owner, follower):
                    server.call("recall", {"query": question})
                control.call("noop", NOOP_ARGUMENTS)
            time.sleep(IDLE_SECONDS)
            return [resident(server.pid) for server in (owner, follower, control)]


def resident(pid: int) -> dict[str, float]:
    """Resident memory of a process, all and by kind, in MB of a million bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if line.startswith(FIELDS))
    return {name: int(found[name].split()[0]) * 1024 / 1e6 for name in FIELDS}


def _series(what: str, samples: list[dict[str, float]]) -> Series:
    return Series(f"resident memory, idle: {what}", "MB", [sample["VmRSS"] for sample in samples])


def _row(name: str, measured: Series, bare: list[Series], samples: list[dict[str, float]], limit: float) -> Row:
    kinds = {field: round(samples[-1][field], 1) for field in FIELDS}
    bound = at_most(limit) + " MB"
    return Row(name, measured, bare, "median, MB", measured.median, bound, measured.median <= limit, {"last": kinds})
