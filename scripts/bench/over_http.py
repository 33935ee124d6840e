"""Rows `http_store`, `http_bulk`, `http_recall`, `event_loop`: the HTTP API under load."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from scripts.bench.callers import cycle, drive, fetch, post, serving
from scripts.bench.figures import Row, Series, at_least, at_most, percentile, say
from scripts.bench.stores import Bench, embedder
from scripts.bench.texts import questions, texts

WRITERS = 50
P95_MS = 80.0
TIMES_CONTROL = 3.0
BULK_CLIENTS, BULK_ITEMS = 4, 50
READERS, MEMORIES = 8, 10_000
RECALL_SHARE = 0.6
WARM = 50
LOOP_MEMORIES, LOOP_MS = 5_000, 50.0


def measure_store(bench: Bench) -> list[Row]:
    """Fifty clients store for 15 s, after as long at the control."""
    seconds = bench.times(15, 2)
    bodies = cycle([{"payload": {"text": text}} for text in texts(40_000, seed=7)])
    with serving(None) as port:
        say("the control")
        control = drive(port, "/noop", WRITERS, bodies, seconds=seconds)
    with bench.empty() as home, serving(home) as port:
        say("storing")
        load = drive(port, "/store", WRITERS, bodies, seconds=seconds)
    p95, bound = percentile(load.taken, 95), TIMES_CONTROL * percentile(control.taken, 95)
    measured = Series(f"POST /store, {WRITERS} clients, closed loop, {seconds} s", "ms", load.taken)
    return [
        Row(
            "http_store", measured, [Series("a no-op route under the same load", "ms", control.taken)], "p95, ms", p95,
            f"<= {P95_MS:g} ms, <= {TIMES_CONTROL:g} x the control's p95, no error",
            p95 <= min(P95_MS, bound) and not load.errors,
            {"errors": load.errors, "calls_per_second": round(load.rate), "control": round(control.rate)},
        )
    ]  # fmt: skip


def measure_bulk(bench: Bench) -> list[Row]:
    """Four clients store fifty memories at a time."""
    seconds = bench.times(15, 2)
    wanted = texts(20_000, seed=8)
    items = [{"payload": {"text": text}} for text in wanted]
    groups = [{"items": items[at : at + BULK_ITEMS]} for at in range(0, len(items), BULK_ITEMS)]
    with serving(None) as port:
        control = drive(port, "/noop", BULK_CLIENTS, cycle([{"payload": {"items": groups[0]}}]), seconds=seconds / 3)
    with bench.empty() as home, serving(home) as port:
        load = drive(port, "/store_bulk", BULK_CLIENTS, cycle(groups), seconds=seconds)
    p95 = percentile(load.taken, 95)
    measured = Series(f"POST /store_bulk of {BULK_ITEMS}, {BULK_CLIENTS} clients", "ms", load.taken)
    controls = [Series("a no-op route with the same body", "ms", control.taken)]
    return [
        Row("http_bulk", measured, controls, "p95, ms", p95, at_most(P95_MS) + " ms, no error",
            p95 <= P95_MS and not load.errors, {"errors": load.errors})
    ]  # fmt: skip


def measure_recall(bench: Bench) -> list[Row]:
    """Eight clients ask, and eight threads embed the same questions one by one, in turn."""
    turns, each = bench.times(5, 2), bench.times(1_000, 100)
    fresh = iter(questions(turns * each + WARM))  # none is asked twice: the vectors of questions are kept
    model = embedder()
    rates, plain, errors = [], [], 0
    with bench.filled(MEMORIES) as home, serving(home) as port:
        drive(port, "/recall", READERS, cycle([{"query": question} for question in islice(fresh, WARM)]), calls=WARM)
        for turn in range(turns):
            say(f"recalls, turn {turn + 1}")
            asked = list(islice(fresh, each))
            plain.append(_embedding_rate(model.embed_query, asked))
            bodies = cycle([{"query": question, "top_k": 5} for question in asked])
            load = drive(port, "/recall", READERS, bodies, calls=len(asked))
            rates.append(load.rate)
            errors += load.errors
    measured = Series(f"POST /recall at {MEMORIES} memories, {READERS} clients, {each} a turn", "calls/s", rates)
    control = Series(f"the same questions embedded alone, {READERS} threads", "texts/s", plain)
    ratio = measured.median / control.median
    holds = ratio >= RECALL_SHARE and not errors
    return [Row("http_recall", measured, [control], "ratio of the medians", ratio, at_least(RECALL_SHARE), holds,
                {"errors": errors})]  # fmt: skip


def measure_loop(bench: Bench) -> list[Row]:
    """How late the event loop comes while memories are stored in bulk and embedded."""
    number = bench.times(LOOP_MEMORIES, 500)
    items = [{"payload": {"text": text}} for text in texts(number, seed=9)]
    with bench.empty() as home, serving(home) as port:
        idle = _late(fetch(port, "/metrics").decode())
        for at in range(0, number, 1_000):
            post(port, "/store_bulk", {"items": items[at : at + 1_000]})
        while post(port, "/recall", {"query": "anything"})["degraded"]:
            time.sleep(0.2)
        found = _late(fetch(port, "/metrics").decode())
    late = found["late"] - idle["late"]
    measured = Series("longest time the event loop was late", "ms", [found["longest"] * 1_000])
    return [
        Row("event_loop", measured, [Series("the same, idle", "ms", [idle["longest"] * 1_000])], "the longest, ms",
            measured.median, at_most(LOOP_MS) + " ms", measured.median <= LOOP_MS,
            {"looks": found["looks"] - idle["looks"], "looks_over_50_ms": late, "memories": number})
    ]  # fmt: skip


def _late(metrics: str) -> dict[str, float]:
    def value(pattern: str) -> float:
        return float(re.search(rf"^{pattern} (\S+)$", metrics, re.MULTILINE)[1])  # type: ignore[index]

    name = "soma_event_loop_lag_seconds"
    looks, good = value(f"{name}_count"), value(rf'{name}_bucket{{le="0\.05"}}')
    return {"looks": looks, "late": looks - good, "longest": value("soma_event_loop_longest_lag_seconds")}


def _embedding_rate(embed: object, asked: Sequence[str]) -> float:
    with ThreadPoolExecutor(READERS) as pool:
        began = time.perf_counter()
        list(pool.map(embed, asked))  # type: ignore[arg-type]
        return len(asked) / (time.perf_counter() - began)
