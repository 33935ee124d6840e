"""Forgetting and revising while the indexer is at work, and events that come again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from soma_core.domain.events import EventKind
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from soma_core.ports.index import Indexed
from soma_core.settings import Settings
from tests.chaos.processes import SCOPE, checkpoint_of, inspected, plain_vectors

NAMESPACE = SCOPE.namespace
PLACE = "7,8,9"
Open = Callable[[], Soma]


@contextmanager
def while_embedding(soma: Soma) -> Iterator[None]:
    """Do something while all that waits is being embedded; afterwards the indexing is done."""
    at_work, go_on = threading.Event(), threading.Event()
    plain_vectors(soma)
    plain = soma.embedder.embed_passages

    def slow(given: Sequence[str]) -> list[Sequence[float]]:
        at_work.set()
        assert go_on.wait(20)
        return plain(given)

    soma.embedder.embed_passages = slow  # type: ignore[method-assign]
    failures: list[BaseException] = []

    def index() -> None:
        try:
            soma.index(SCOPE)
        except BaseException as error:
            failures.append(error)

    indexing = threading.Thread(target=index)
    indexing.start()
    assert at_work.wait(20)
    try:
        yield
    finally:
        go_on.set()
        indexing.join(20)
        plain_vectors(soma)
    assert not failures


def points_of(soma: Soma) -> Iterator[Indexed]:
    return soma.serving.built.index.points(NAMESPACE)


def points(soma: Soma, memory_id: object) -> list[tuple[int, bool]]:
    """Version and scope of every point of a memory."""
    return sorted((p.version, p.current) for p in points_of(soma) if p.memory_id == memory_id)


def recalled(soma: Soma, words: str) -> list[str]:
    return [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery(words)).hits]


@pytest.mark.parametrize("purge", [False, True], ids=["forget", "purge"])
def test_what_is_forgotten_while_it_is_embedded_leaves_no_point(engine: Open, purge: bool) -> None:
    soma = engine()
    gone, kept = (soma.store(SCOPE, NewMemory(f"the {animal} was seen")) for animal in ("wombat", "heron"))
    with while_embedding(soma):
        soma.forget(SCOPE, [str(gone.id)], purge=purge)
        assert recalled(soma, "wombat seen") == ["the heron was seen"]
    assert points(soma, gone.id) == []
    assert points(soma, kept.id) == [(1, True)]
    assert recalled(soma, "wombat seen") == ["the heron was seen"]
    assert inspected(soma).clean
    soma = engine()
    assert points(soma, gone.id) == []


def test_what_is_revised_while_it_is_embedded_is_recalled_as_it_is_now(engine: Open) -> None:
    soma = engine()
    first = soma.store(SCOPE, NewMemory("the meeting is on monday", coordinate=PLACE))
    with while_embedding(soma):
        soma.store(SCOPE, NewMemory("the meeting is on tuesday", coordinate=PLACE))
        assert recalled(soma, "meeting") == ["the meeting is on tuesday"]
    assert recalled(soma, "meeting") == ["the meeting is on tuesday"]
    assert inspected(soma).clean
    assert points(soma, first.id) == [(1, False), (2, True)]


def test_what_is_forgotten_and_stored_anew_while_it_is_embedded_is_there_once(engine: Open) -> None:
    soma = engine()
    first = soma.store(SCOPE, NewMemory("the badger lives here", coordinate=PLACE))
    with while_embedding(soma):
        soma.forget(SCOPE, [str(first.id)])
        soma.store(SCOPE, NewMemory("the otter lives here", coordinate=PLACE))
    assert inspected(soma).clean
    assert points(soma, first.id) == [(3, True)]
    assert recalled(soma, "badger otter lives") == ["the otter lives here"]


def test_a_long_memory_that_got_shorter_while_it_is_embedded_keeps_no_passage_too_many(engine: Open) -> None:
    soma = engine()
    long = " ".join(f"sentence {n} is about the long report." for n in range(400))
    first = soma.store(SCOPE, NewMemory(long, coordinate=PLACE))
    with while_embedding(soma):
        soma.store(SCOPE, NewMemory("a short report", coordinate=PLACE))
    assert inspected(soma).clean
    assert [key for key in points(soma, first.id) if key[1]] == [(2, True)]


def test_events_that_come_again_after_a_forget_bring_nothing_back(engine: Open) -> None:
    soma = engine()
    gone = soma.store(SCOPE, NewMemory("the wombat was seen"))
    soma.store(SCOPE, NewMemory("the heron was seen"))
    soma.index(SCOPE)
    soma.forget(SCOPE, [str(gone.id)])
    soma.index(SCOPE)
    progress = soma.indexing._of(NAMESPACE)
    stale = soma.records.log().read(NAMESPACE, 0, 10)  # type: ignore[attr-defined]
    assert [event.kind for event in stale] == [EventKind.STORED, EventKind.STORED, EventKind.FORGOTTEN]
    for words in (0, stale[0].offset, stale[1].offset):
        progress.words, progress.vectors = words, 0
        soma.index(SCOPE)
        assert points(soma, gone.id) == []
        assert recalled(soma, "wombat seen") == ["the heron was seen"]
        assert inspected(soma).clean


def test_an_earlier_checkpoint_put_back_is_replayed_to_the_same_index(engine: Open, settings: Settings) -> None:
    soma = engine()
    first = [soma.store(SCOPE, NewMemory(f"animal {n} wombat", coordinate=str(n))) for n in range(6)]
    soma.index(SCOPE)
    (file,) = (settings.home / "index").glob("*/checkpoint.json")
    earlier = file.read_bytes()
    soma.forget(SCOPE, [str(first[0].id)])
    soma.forget(SCOPE, [str(first[1].id)], purge=True)
    soma.store(SCOPE, NewMemory("animal 2 heron", coordinate="2"))
    soma.forget(SCOPE, [str(first[3].id)])
    soma.store(SCOPE, NewMemory("animal 3 heron", coordinate="3"))
    soma.index(SCOPE)
    expected = sorted((p.memory_id, p.version, p.current) for p in points_of(soma))
    soma.close()
    file.write_bytes(earlier)
    soma = engine()
    assert soma.status(SCOPE).pending_words > 0
    assert sorted(recalled(soma, "animal")) == [
        "animal 2 heron", "animal 3 heron", "animal 4 wombat", "animal 5 wombat"
    ]  # fmt: skip
    assert inspected(soma).clean
    assert sorted((p.memory_id, p.version, p.current) for p in points_of(soma)) == expected
    assert checkpoint_of(settings.home)["words"] == 11


def test_many_threads_that_store_revise_and_forget_under_the_indexer_leave_a_clean_index(engine: Open) -> None:
    soma = engine()
    stop = threading.Event()
    failures: list[BaseException] = []

    def follow() -> None:
        while not stop.is_set():
            soma.index(SCOPE)

    def change(thread: int) -> None:
        for n in range(40):
            receipt = soma.store(SCOPE, NewMemory(f"thing {n} of {thread}", coordinate=f"{n % 7}"))
            if n % 3 == 0:
                soma.forget(SCOPE, [str(receipt.id)], purge=n % 2 == 0)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    followers = [threading.Thread(target=guarded, args=(follow,)) for _ in range(2)]
    changers = [threading.Thread(target=guarded, args=(lambda n=n: change(n),)) for n in range(4)]
    for thread in followers + changers:
        thread.start()
    for thread in changers:
        thread.join(60)
    stop.set()
    for thread in followers:
        thread.join(20)
    assert not failures
    found = inspected(soma)
    assert found.clean, found.detail
    live = set(soma.records.live(NAMESPACE))
    assert {p.memory_id for p in points_of(soma) if p.current} == live
    assert {p.memory_id for p in points_of(soma)} == live, "old versions of what was forgotten are left"
