"""Running a recall set through an engine, and timing its parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.errors import ModelMissing, Unavailable
from soma_core.domain.recall_set import parse_set
from soma_core.services.evaluate import Evaluating
from soma_core.services.timing import Stopwatch
from tests.support.engine import Engine, opened


def a_set(conversations: int = 2) -> Any:
    return parse_set({"name": "birds", "conversations": [
        {
            "id": f"c{n}",
            "memories": [{"ref": "day", "text": f"owls {n} sleep by day"}, {"ref": "rain", "text": f"rain {n}"}],
            "questions": [{"query": "when do owls sleep", "relevant": ["day"]}] * 2,
        }
        for n in range(conversations)
    ]})  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as found:
        yield found


def test_every_question_is_asked_in_the_namespace_of_its_conversation(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    found = Evaluating(engine.soma, Stopwatch()).run(a_set(), ("recency",), lambda *done: seen.append(done))

    assert [(outcome.conversation, outcome.number) for outcome in found.outcomes] == [
        ("c0", 0), ("c0", 1), ("c1", 0), ("c1", 1),
    ]  # fmt: skip
    assert {outcome.ranking[0] for outcome in found.outcomes} == {"day"}
    assert all(set(outcome.ranking) <= {"day", "rain"} for outcome in found.outcomes)
    assert [len(rankings) for rankings in found.ablated.values()] == [4]
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


def test_what_could_not_be_embedded_is_told(engine: Engine) -> None:
    engine.embedder.fails = lambda text: "rain" in text
    found = Evaluating(engine.soma, Stopwatch()).run(a_set(1), (), lambda *done: None)
    assert found.health == ["1 passages could not be embedded and are found by their words only"]


def test_nothing_is_measured_without_the_model(engine: Engine) -> None:
    engine.embedder.missing = True
    with pytest.raises(ModelMissing):
        Evaluating(engine.soma, Stopwatch()).run(a_set(), (), lambda *done: None)


def test_nothing_is_measured_until_all_is_recallable_by_meaning(engine: Engine) -> None:
    engine.soma.index = lambda scope, progress=None: 0
    with pytest.raises(Unavailable, match="not all memories became recallable"):
        Evaluating(engine.soma, Stopwatch()).run(a_set(), (), lambda *done: None)


class Adapter:
    """Something with a method that takes its time."""

    name = "x"

    def slow(self, seconds: float, *, fail: bool = False) -> str:
        time.sleep(seconds)
        if fail:
            raise RuntimeError("broken")
        return f"slept {seconds}"

    def quick(self) -> str:
        return "quick"


def test_a_stopwatch_adds_up_the_methods_it_watches_and_nothing_else() -> None:
    stopwatch = Stopwatch()
    adapter = stopwatch.watch(Adapter(), ["slow"])

    assert (adapter.slow(0.01), adapter.slow(0.02), adapter.quick(), adapter.name) == (
        "slept 0.01", "slept 0.02", "quick", "x",
    )  # fmt: skip
    spent = stopwatch.take()
    assert set(spent) == {"slow"}
    assert 0.03 <= spent["slow"] < 1
    assert stopwatch.take() == {}


def test_a_stopwatch_leaves_out_what_another_thread_spends_meanwhile() -> None:
    stopwatch = Stopwatch()
    other = threading.Thread(target=stopwatch.watch(Adapter(), ["slow"]).slow, args=(0.01,))
    other.start()
    other.join()
    assert stopwatch.take() == {}


def test_a_stopwatch_counts_what_failed_too() -> None:
    stopwatch = Stopwatch()
    adapter = stopwatch.watch(Adapter(), ["slow"])
    with pytest.raises(RuntimeError, match="broken"):
        adapter.slow(0.01, fail=True)
    assert stopwatch.take()["slow"] >= 0.01
