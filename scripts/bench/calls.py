"""Rows `store` and `recall`: what one call takes, for one client."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from mcp import Client

from scripts.bench.figures import Row, Series, at_most, milliseconds, say
from scripts.bench.fsyncs import fsyncs_per_store
from scripts.bench.servers import NOOP_ARGUMENTS, READY_SECONDS, call, noop, soma
from scripts.bench.stores import Bench, embedder
from scripts.bench.texts import questions, texts

MEMORIES = 10_000
WARM = 20
ADDED_MS = 4.0
FSYNCS = 1.05
"""One a store; a checkpoint of the log now and then adds a few in a thousand."""


def measure_store(bench: Bench) -> list[Row]:
    """Store and call the control in turn; then count what is synced, then what a bare sync costs."""
    wanted = texts(bench.times(400, 30) + WARM, seed=3)
    with bench.empty() as home:
        stored, bare = anyio.run(_stores, home, wanted)
    say("counting fsyncs")
    with bench.empty() as home:
        fsyncs = fsyncs_per_store(home, texts(bench.times(200, 30), seed=4))
    sync = _bare_syncs(bench.folder / "appended", bench.times(200, 30))
    measured = Series("store over stdio, one client", "ms", stored)
    control = Series("no-op call", "ms", bare)
    difference = measured.median - control.median
    counted = fsyncs["per_store"]
    return [
        Row(
            "store", measured, [control], "difference of the medians, ms", difference,
            f"<= {ADDED_MS:g} ms, and one fsync a store",
            difference <= ADDED_MS and (counted is None or counted <= FSYNCS),
            {"fsyncs": fsyncs, "bare_append_of_4_kb_and_fsync": sync.json()},
        )
    ]  # fmt: skip


def measure_recall(bench: Bench) -> list[Row]:
    """Recall, call the control and embed the same question alone, in turn."""
    asked = questions(bench.times(400, 30) + WARM)
    with bench.filled(MEMORIES) as home:
        recalled, bare, embedded = anyio.run(_recalls, home, asked)
    measured = Series(f"recall over stdio at {MEMORIES} memories", "ms", recalled)
    controls = [Series("no-op call", "ms", bare), Series("one bare query embedding", "ms", embedded)]
    difference = measured.median - sum(control.median for control in controls)
    relation = "median less both medians of the controls, ms"
    return [Row("recall", measured, controls, relation, difference, at_most(ADDED_MS) + " ms", difference <= ADDED_MS)]


async def _stores(home: Path, wanted: Sequence[str]) -> tuple[list[float], list[float]]:
    stored, bare = [], []
    async with Client(soma(home)) as memory, Client(noop()) as control:
        await _until_ready(memory)
        for text in wanted:
            began = time.perf_counter()
            await call(memory, "store", {"text": text})
            stored.append(milliseconds(began))
            bare.append(await _noop_call(control))
    return stored[WARM:], bare[WARM:]


async def _recalls(home: Path, asked: Sequence[str]) -> tuple[list[float], list[float], list[float]]:
    recalled, bare, embedded = [], [], []
    model = embedder()
    async with Client(soma(home)) as memory, Client(noop()) as control:
        await _until_ready(memory)
        for question in asked:
            began = time.perf_counter()
            found = await call(memory, "recall", {"query": question})
            recalled.append(milliseconds(began))
            if found["degraded"]:
                raise RuntimeError(f"degraded: {found['degraded']}")
            bare.append(await _noop_call(control))
            began = time.perf_counter()
            model.embed_query(question)
            embedded.append(milliseconds(began))
    return recalled[WARM:], bare[WARM:], embedded[WARM:]


async def _noop_call(control: Client) -> float:
    began = time.perf_counter()
    await call(control, "noop", NOOP_ARGUMENTS)
    return milliseconds(began)


async def _until_ready(memory: Client) -> None:
    await call(memory, "recall", {"query": "anything"})
    with anyio.fail_after(READY_SECONDS):
        while not (await call(memory, "status", {}))["model"]["ready"]:
            await anyio.sleep(0.05)


def _bare_syncs(path: Path, times: int) -> Series:
    taken = []
    with path.open("ab", buffering=0) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(os.urandom(4096))
            os.fsync(file.fileno())
            taken.append(milliseconds(began))
    path.unlink()
    return Series("append of 4 KB and fsync, nothing else", "ms", taken)
