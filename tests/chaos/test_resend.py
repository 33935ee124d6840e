"""An owner that dies between its commit and its answer: the request is sent again and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import BrowseQuery, Filter
from soma_core.domain.receipts import StoreStatus
from soma_core.settings import Settings
from soma_mcp.sharing import SharedSoma
from tests.chaos.conftest import StartWorker
from tests.chaos.processes import SCOPE, wait_until

KEY = "the-fatal-request"
FATAL = replace(SCOPE, request_id=KEY)
PLACE = "4,5,6"

Open = Callable[[], SharedSoma]


@pytest.fixture
def doomed(work: StartWorker, shared: Open) -> Callable[[str], SharedSoma]:
    """A follower of an owner that dies after it committed `KEY` with this method of the records."""

    def doomed(method: str) -> SharedSoma:
        owner = work("own", method, KEY)
        wait_until(lambda: owner.lines, "the owner")
        assert owner.lines == ["owns"]
        follower = shared()
        assert not follower.owns
        return follower

    return doomed


@contextmanager
def at_the_loss(follower: SharedSoma, do: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do something after the owner's death and before the follower sends its call again."""
    done: list[Any] = []
    lose = follower._lose

    def first_something_else(target: Any) -> None:
        if not done:
            done.append(do())
        lose(target)

    follower._lose = first_something_else  # type: ignore[method-assign]
    yield done
    assert done, "the owner did not die"


def live(memory: SharedSoma) -> list[str]:
    return sorted(found.text for found in memory.browse(SCOPE, BrowseQuery(limit=100)).memories)


def test_a_store_sent_again_is_answered_with_its_receipt_and_makes_no_second_memory(
    doomed: Callable[[str], SharedSoma],
) -> None:
    follower = doomed("store")
    with at_the_loss(follower, lambda: None):
        receipt = follower.store(FATAL, NewMemory("stored once"))
    assert follower.owns
    assert (receipt.status, receipt.version) == (StoreStatus.CREATED, 1)
    assert [found.id for found in follower.browse(SCOPE, BrowseQuery()).memories] == [receipt.id]
    again = follower.store(FATAL, NewMemory("stored once"))
    assert (again.id, again.version, again.status) == (receipt.id, 1, StoreStatus.CREATED)


def test_a_store_without_a_key_is_sent_again_under_one_that_was_made_for_it(
    work: StartWorker, shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_mcp.sharing.shared.uuid7", lambda: KEY)
    owner = work("own", "store", KEY)
    wait_until(lambda: owner.lines, "the owner")
    follower = shared()
    with at_the_loss(follower, lambda: None):
        receipt = follower.store(Scope("api_ns"), NewMemory("stored once"))
    assert [found.id for found in follower.browse(SCOPE, BrowseQuery()).memories] == [receipt.id]


def test_a_checked_store_sent_again_is_no_duplicate_of_itself(doomed: Callable[[str], SharedSoma]) -> None:
    follower = doomed("store")
    with at_the_loss(follower, lambda: None):
        receipt = follower.store_checked(FATAL, NewMemory("stored once, after a look"))
    assert (receipt.status, receipt.version) == (StoreStatus.CREATED, 1)
    assert live(follower) == ["stored once, after a look"]


def test_many_memories_sent_again_are_stored_once(doomed: Callable[[str], SharedSoma]) -> None:
    follower = doomed("store")
    news = [NewMemory(f"one of many {n}") for n in range(20)]
    with at_the_loss(follower, lambda: None):
        receipts = follower.store_many(FATAL, news)
    assert [found.text for found in follower.get(SCOPE, [str(r.id) for r in receipts])] == [new.text for new in news]
    assert len(live(follower)) == 20


def test_a_revision_sent_again_does_not_undo_what_another_client_stored_there_meanwhile(
    doomed: Callable[[str], SharedSoma], shared: Open
) -> None:
    follower = doomed("store")
    follower.store(SCOPE, NewMemory("the plan, first", coordinate=PLACE))

    def another() -> SharedSoma:
        other = shared()
        assert other.store(SCOPE, NewMemory("the plan, third", coordinate=PLACE)).version == 3
        return other

    with at_the_loss(follower, another) as others:
        receipt = follower.store(FATAL, NewMemory("the plan, second", coordinate=PLACE))
    assert (receipt.version, receipt.status) == (2, StoreStatus.REVISED)
    for client in (follower, others[0]):
        (found,) = client.get(SCOPE, [str(receipt.id)])
        assert (found.version, found.text) == (3, "the plan, third")


def test_a_batch_of_revisions_sent_again_makes_no_further_versions(
    doomed: Callable[[str], SharedSoma], shared: Open
) -> None:
    follower = doomed("store")
    news = [NewMemory(f"place {n}", coordinate=f"{n}") for n in range(5)]
    changed = [replace(new, text=f"{new.text} changed") for new in news]
    follower.store_many(SCOPE, news)

    def another() -> SharedSoma:
        other = shared()
        other.store(SCOPE, NewMemory("place 3 taken", coordinate="3"))
        return other

    with at_the_loss(follower, another):
        receipts = follower.store_many(FATAL, changed)
    assert [receipt.version for receipt in receipts] == [2] * 5
    found = follower.get(SCOPE, [str(receipt.id) for receipt in receipts])
    assert [memory.version for memory in found] == [2, 2, 2, 3, 2]
    assert found[3].text == "place 3 taken"


@pytest.mark.parametrize("purge", [False, True], ids=["forget", "purge"])
def test_a_forget_sent_again_gives_the_first_receipt(doomed: Callable[[str], SharedSoma], purge: bool) -> None:
    follower = doomed("forget")
    kept, gone = (follower.store(SCOPE, NewMemory(text)) for text in ("kept", "gone"))
    with at_the_loss(follower, lambda: None):
        receipt = follower.forget(FATAL, [str(gone.id)], None, purge)
    assert (list(receipt.ids), receipt.count, list(receipt.not_found)) == ([gone.id], 1, [])
    assert live(follower) == ["kept"]
    status = follower.status(SCOPE)
    assert (status.live, status.forgotten, status.purged) == (1, int(not purge), int(purge))
    assert kept.id not in receipt.ids


@pytest.mark.parametrize("purge", [False, True], ids=["forget", "purge"])
def test_a_forget_sent_again_spares_what_another_client_stored_there_meanwhile(
    doomed: Callable[[str], SharedSoma], shared: Open, purge: bool
) -> None:
    follower = doomed("forget")
    first = follower.store(SCOPE, NewMemory("an old secret", coordinate=PLACE))

    def another() -> SharedSoma:
        other = shared()
        other.store(SCOPE, NewMemory("a new fact", coordinate=PLACE))
        return other

    with at_the_loss(follower, another):
        receipt = follower.forget(FATAL, [str(first.id)], None, purge)
    assert receipt.count == 1
    assert live(follower) == ["a new fact"]
    (found,) = follower.get(SCOPE, [str(first.id)])
    assert found.version == 3


def test_a_forget_by_filter_sent_again_spares_what_matches_since(
    doomed: Callable[[str], SharedSoma], shared: Open
) -> None:
    follower = doomed("forget")
    for n in range(3):
        follower.store(SCOPE, NewMemory(f"draft {n}", thread="drafts"))

    def another() -> SharedSoma:
        other = shared()
        other.store(SCOPE, NewMemory("a later draft", thread="drafts"))
        return other

    with at_the_loss(follower, another):
        receipt = follower.forget(FATAL, (), Filter(thread="drafts"))
    assert receipt.count == 3
    assert live(follower) == ["a later draft"]


def test_a_purge_sent_again_still_erases_the_text_from_the_files(
    doomed: Callable[[str], SharedSoma], settings: Settings
) -> None:
    follower = doomed("forget")
    gone = follower.store(SCOPE, NewMemory("the marmalade password"))
    with at_the_loss(follower, lambda: None):
        receipt = follower.forget(FATAL, [str(gone.id)], None, True)
    assert receipt.records == "purged"
    for file in settings.home.rglob("*"):
        if file.is_file():
            assert b"marmalade" not in file.read_bytes(), file
