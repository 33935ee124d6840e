"""What a comparison of an index with the records finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from soma_core.domain.memory import NewMemory, Scope
from soma_core.services.inspect import Drift
from tests.support.engine import NAMESPACE, SCOPE, Engine, opened

STRANGER = UUID(int=77)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Three memories, all in the index, one of them in its second version."""
    with opened(tmp_path) as engine:
        for text in ("kafka broker", "postgres replica"):
            engine.store(text)
        engine.store("tea at three", coordinate="1,2")
        engine.store("tea at four", coordinate="1,2")
        engine.soma.index(SCOPE)
        yield engine


def counts(drift: Drift) -> dict[str, int]:
    return {kind: number for kind in ("missing", "unembedded", "stale", "left") if (number := getattr(drift, kind))}


def test_an_index_that_followed_everything_is_clean(engine: Engine) -> None:
    drift = engine.soma.inspect(SCOPE)
    assert drift.is_clean
    assert (drift.memories, drift.points, drift.pending, list(drift.examples)) == (3, 4, 0, [])


def test_a_passage_that_the_index_lost_is_missing(engine: Engine) -> None:
    kept = engine.index.kept[NAMESPACE]
    key = next(key for key, point in kept.items() if "kafka" in point.words)
    del kept[key]
    drift = engine.soma.inspect(SCOPE)
    assert counts(drift) == {"missing": 1}
    assert list(drift.examples) == [f"memory {key[0]} version 1 passage 0: the index lacks it"]


def test_a_passage_without_its_vector_is_unembedded(engine: Engine) -> None:
    kept = engine.index.kept[NAMESPACE]
    key = next(key for key, point in kept.items() if "kafka" in point.words)
    kept[key] = replace(kept[key], vector=None)
    assert counts(engine.soma.inspect(SCOPE)) == {"unembedded": 1}


def test_a_point_in_the_current_scope_of_an_older_version_is_stale(engine: Engine) -> None:
    kept = engine.index.kept[NAMESPACE]
    key = next(key for key, point in kept.items() if not point.current)
    kept[key] = replace(kept[key], current=True)
    assert counts(engine.soma.inspect(SCOPE)) == {"stale": 1}


def test_the_live_version_only_as_an_older_one_is_missing(engine: Engine) -> None:
    kept = engine.index.kept[NAMESPACE]
    key = next(key for key, point in kept.items() if point.version == 2)
    kept[key] = replace(kept[key], current=False)
    assert counts(engine.soma.inspect(SCOPE)) == {"missing": 1}


@pytest.mark.parametrize(("current", "kind"), [(True, "stale"), (False, "left")])
def test_a_point_of_a_memory_that_is_gone_is_found_in_either_scope(engine: Engine, current: bool, kind: str) -> None:
    kept = engine.index.kept[NAMESPACE]
    one = next(iter(kept.values()))
    kept[STRANGER, 1, 0] = replace(one, memory_id=STRANGER, current=current)
    drift = engine.soma.inspect(SCOPE)
    assert counts(drift) == {kind: 1}
    assert str(STRANGER) in drift.examples[0]


def test_of_many_differences_the_first_ten_are_named(engine: Engine) -> None:
    for number in range(30):
        engine.store(f"more {number}")
    engine.soma.index(SCOPE)
    engine.index.kept[NAMESPACE].clear()
    drift = engine.soma.inspect(SCOPE)
    assert counts(drift) == {"missing": 33}
    assert len(drift.examples) == 10


def test_what_changes_while_it_looks_is_no_difference(engine: Engine) -> None:
    live = engine.records.live
    stored: list[object] = []

    def live_after_a_store(namespace: str) -> object:
        if not stored:
            stored.append(engine.store("just now"))
            engine.soma.index(SCOPE)
        return live(namespace)

    engine.records.live = live_after_a_store
    drift = engine.soma.inspect(SCOPE)
    assert drift.is_clean
    assert drift.memories == 4


def test_verify_looks_at_every_namespace(engine: Engine) -> None:
    other = Scope("other")
    engine.soma.store(other, NewMemory.parse("something else"))
    engine.soma.index(other)
    engine.index.kept["other"].clear()
    found = {drift.namespace: counts(drift) for drift in engine.soma.verify(SCOPE)}
    assert found == {NAMESPACE: {}, "other": {"missing": 1}}
