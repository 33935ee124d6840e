"""Rows `indexer`, `indexer_backlog`, `indexer_two`: `soma worker vector_indexer`, behind Kafka and the relay."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from scripts.bench.callers import fetch, post, serving
from scripts.bench.distributed import Deployment, all_processor_seconds, broker, deployment, processor_seconds, until
from scripts.bench.figures import Row, Series, at_least, at_most, milliseconds, percentile, say
from scripts.bench.stores import Bench, embedder
from scripts.bench.texts import texts
from tests.support.distributed import WorkerProcess

STORES = 200
IDLE_MS = 250.0
ASK_SECONDS = 0.003
BETWEEN_SECONDS = 0.05
BACKLOG = 3_000
"""Memories that wait when the indexers begin."""
BATCH_SHARE = 0.85
TWO_SHARE = 1.6
PORTION = 64
LAST_SHARE = 0.1
"""What is left when counting ends: the partitions do not run out at the same time."""
LEFT = "SELECT count(*) FROM outbox"
UNSENT = "SELECT EXISTS (SELECT FROM outbox WHERE NOT sent)"


def measure_idle(bench: Bench) -> list[Row]:
    """One store after another, each when the one before is in the index with its vector and a moment has passed."""
    wanted = texts(bench.times(STORES, 20) + 1, seed=11)
    model = embedder()
    model.embed_passages(wanted[:4])
    taken: list[float] = []
    bare: list[float] = []
    with (
        broker() as kafka,
        deployment(bench, fresh=kafka) as place,
        serving(place.home, **place.settings) as port,
        place.worker("outbox_relay"),
        place.worker("vector_indexer"),
    ):
        for text in wanted:
            began = time.perf_counter()
            post(port, "/store", {"payload": {"text": text}})
            until(lambda: not _pending(port), "the vector", ASK_SECONDS)
            taken.append(milliseconds(began))
            began = time.perf_counter()
            model.embed_passages([text])
            bare.append(milliseconds(began))
            time.sleep(BETWEEN_SECONDS)
        found = sum(_is_first(port, text) for text in wanted[-10:])
    if found < len(wanted[-10:]):
        raise RuntimeError(f"of the last ten, {found} are found first by their own text, with meaning")
    measured = Series("from sending POST /store until /stats tells that nothing is pending, idle", "ms", taken[1:])
    control = Series("the bare embedding of the same text", "ms", bare[1:])
    p95 = percentile(taken[1:], 95)
    context = {"index": place.index, "found_first": f"{found} of 10", "p99": round(percentile(taken[1:], 99), 1)}
    return [Row("indexer", measured, [control], "p95", p95, at_most(IDLE_MS), p95 <= IDLE_MS, context)]


def _pending(port: int) -> bool:
    return any(json.loads(fetch(port, "/stats"))["pending"].get(kind) for kind in ("words", "vectors"))


def _is_first(port: int, text: str) -> bool:
    """Whether a recall finds it first, and left nothing out."""
    answer = post(port, "/recall", {"query": text, "top_k": 3})
    return bool(answer["matches"][0]["text"] == text and not answer["degraded"])


def measure_backlog(bench: Bench) -> list[Row]:
    """One indexer with the whole machine, on a backlog; the embedder alone before and after it."""
    wanted = texts(bench.times(BACKLOG, 600), seed=12)
    sample = wanted[: bench.times(1_280, 192)]
    model = embedder()
    with broker() as kafka, deployment(bench, fresh=kafka) as place:
        _waiting(place, wanted)
        alone = _batch_rates(model.embed_passages, sample)
        with place.worker("vector_indexer") as one:
            rate, context = _followed(place, [one], len(wanted))
        alone += _batch_rates(model.embed_passages, sample)
        context["index"] = place.index
    measured = Series(f"{len(wanted)} events that wait, one indexer process", "events/s", [rate])
    control = Series(f"the embedder alone: the same texts in batches of {PORTION}", "texts/s", alone)
    ratio = rate / control.median
    bound, holds = at_least(BATCH_SHARE), ratio >= BATCH_SHARE
    return [Row("indexer_backlog", measured, [control], "ratio of the medians", ratio, bound, holds, context)]


def measure_two(bench: Bench) -> list[Row]:
    """One indexer process that may use one processor, and two of them, one each."""
    wanted = texts(bench.times(BACKLOG, 600), seed=13)
    rates: list[float] = []
    contexts = []
    with broker() as kafka:
        for number in (1, 2):
            with deployment(bench, fresh=kafka) as place, contextlib.ExitStack() as stack:
                _waiting(place, wanted[: len(wanted) * number // 2])
                one_thread = {"SOMA_EMBEDDING_THREADS": "1"}
                workers = [stack.enter_context(place.worker("vector_indexer", **one_thread)) for _ in range(number)]
                rate, context = _followed(place, workers, len(wanted) * number // 2)
                rates.append(rate)
                contexts.append(context | {"index": place.index})
    measured = Series("events that wait, two indexer processes with SOMA_EMBEDDING_THREADS=1", "events/s", rates[1:])
    control = Series("half as many, one such process", "events/s", rates[:1])
    ratio = rates[1] / rates[0]
    bound, holds = at_least(TWO_SHARE), ratio >= TWO_SHARE
    context = {"one": contexts[0], "two": contexts[1]}
    return [Row("indexer_two", measured, [control], "ratio", ratio, bound, holds, context)]


def _batch_rates(embed: Callable[[Sequence[str]], object], wanted: Sequence[str]) -> list[float]:
    """Texts a second of every batch."""
    moments = [time.perf_counter()]
    for start in range(0, len(wanted), PORTION):
        embed(wanted[start : start + PORTION])
        moments.append(time.perf_counter())
    return [PORTION / (after - before) for before, after in pairwise(moments)]


def _waiting(place: Deployment, wanted: Sequence[str]) -> None:
    """Let these wait for indexers: recorded, and sent to the log."""
    say(f"storing {len(wanted)} memories")
    place.store(wanted)
    with place.worker("outbox_relay"), place.asking() as ask:
        until(lambda: not ask(UNSENT), "the relay")


def _followed(place: Deployment, workers: Sequence[WorkerProcess], number: int) -> tuple[float, dict[str, object]]:
    """Events a second from when all of them have done a batch until few are left; and what the processors did."""
    say(f"following with {len(workers)}")
    until(lambda: all(any(worker.metrics("consumer_process_success_total")) for worker in workers), "the first batches")
    with place.asking() as ask:
        began, before, spent = time.perf_counter(), ask(LEFT), _spent(place, workers)
        everything = -all_processor_seconds()
        until(lambda: ask(LEFT) <= number * LAST_SHARE, "the last events")
        seconds, left = time.perf_counter() - began, ask(LEFT)
        everything += all_processor_seconds()
    used = [after - earlier for after, earlier in zip(_spent(place, workers), spent, strict=True)]
    done = before - left
    context: dict[str, object] = {"counted": done, "indexer_cpu_ms_each": [round(1000 * x / done, 2) for x in used[1:]]}
    if place.index_pid:
        context["stand_in_cpu_ms_each"] = round(1000 * used[0] / done, 2)
    context["cores_used"] = {"by_these": round(sum(used) / seconds, 2), "in_all": round(everything / seconds, 2)}
    return done / seconds, context


def _spent(place: Deployment, workers: Sequence[WorkerProcess]) -> list[float]:
    """Processor seconds of the index's server, 0 for one elsewhere, and of each worker."""
    index = processor_seconds(place.index_pid) if place.index_pid else 0.0
    return [index, *(processor_seconds(worker.process.pid) for worker in workers)]
