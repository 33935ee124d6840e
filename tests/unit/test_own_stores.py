"""Stores of one event loop: gathered into few commits, each answered for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from soma_core.domain.errors import Conflict, Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import BrowseQuery
from soma_core.engine import Soma
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from soma_mcp.sharing.stores import StoreLoop

SCOPE = Scope("api_ns")


@pytest.fixture
def soma(tmp_path: Any) -> Iterator[Soma]:
    shared = SharedSoma(load_settings({}, home=tmp_path / "home", disk_reserve="0"), stay=False)
    yield shared._target.soma  # type: ignore[union-attr]
    shared.close()


@pytest.fixture
def stores(soma: Soma) -> Iterator[StoreLoop]:
    found = StoreLoop(soma)
    yield found
    found.close(1)


def new(text: str) -> NewMemory:
    return NewMemory.parse(text)


def keyed(key: str) -> Scope:
    return Scope("api_ns", request_id=key)


def live(soma: Soma) -> list[str]:
    return sorted(found.text for found in soma.browse(SCOPE, BrowseQuery(limit=100)).memories)


def test_what_comes_during_a_commit_shares_the_next_one(
    soma: Soma, stores: StoreLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    started, go_on = threading.Event(), threading.Event()
    real = soma.store_each

    def held(calls: Any) -> Any:
        sizes.append(len(calls))
        started.set()
        assert go_on.wait(10)
        return real(calls)

    monkeypatch.setattr(soma, "store_each", held)

    async def crowd() -> list[Any]:
        first = asyncio.create_task(stores.store(keyed("0"), new("memory 0")))
        await asyncio.to_thread(started.wait, 10)
        others = [asyncio.create_task(stores.store(keyed(f"{n}"), new(f"memory {n}"))) for n in range(1, 30)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(first, *others)

    receipts = asyncio.run(crowd())
    assert sizes == [1, 29]
    assert len({receipt.id for receipt in receipts}) == 30
    assert live(soma) == sorted(f"memory {n}" for n in range(30))


def test_each_caller_gets_its_own_receipt_and_an_error_is_nobody_elses(soma: Soma, stores: StoreLoop) -> None:
    soma.store(keyed("used"), new("before"))

    async def crowd() -> list[Any]:
        calls = [stores.store(keyed(f"k{n}"), new(f"memory {n}")) for n in range(5)]
        calls.insert(2, stores.store(keyed("used"), new("something else")))
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(crowd())
    assert isinstance(outcomes.pop(2), Conflict)
    assert [soma.get(SCOPE, [str(receipt.id)])[0].text for receipt in outcomes] == [f"memory {n}" for n in range(5)]


def test_a_caller_that_goes_away_keeps_nobody_from_an_answer(soma: Soma, stores: StoreLoop) -> None:
    async def crowd() -> Any:
        gone = asyncio.create_task(stores.store(keyed("gone"), new("the impatient one")))
        stays = asyncio.create_task(stores.store(keyed("stays"), new("the patient one")))
        await asyncio.sleep(0)
        gone.cancel()
        receipt = await asyncio.wait_for(stays, 10)
        with pytest.raises(asyncio.CancelledError):
            await gone
        return receipt

    assert asyncio.run(crowd()).version == 1
    assert "the patient one" in live(soma)


def test_when_nothing_can_be_stored_every_caller_is_told(soma: Soma, stores: StoreLoop) -> None:
    soma.records.close()

    async def crowd() -> list[Any]:
        return await asyncio.gather(
            *(stores.store(keyed(f"{n}"), new("late")) for n in range(3)), return_exceptions=True
        )

    assert [type(outcome) for outcome in asyncio.run(crowd())] == [Unavailable] * 3


def test_after_a_pause_it_goes_on(soma: Soma, stores: StoreLoop) -> None:
    async def twice() -> None:
        await stores.store(keyed("a"), new("first"))
        await asyncio.sleep(0.01)
        await stores.store(keyed("b"), new("second"))

    asyncio.run(asyncio.wait_for(twice(), 10))
    assert live(soma) == ["first", "second"]


def test_who_comes_too_late_or_still_waits_at_the_end_is_told(soma: Soma, stores: StoreLoop) -> None:
    async def late() -> Any:
        waiting = asyncio.create_task(stores.store(keyed("a"), new("in time or told")))
        await asyncio.to_thread(stores.close, 1)
        return await asyncio.gather(waiting, stores.store(keyed("b"), new("too late")), return_exceptions=True)

    first, second = asyncio.run(asyncio.wait_for(late(), 10))
    assert isinstance(second, Unavailable)
    assert live(soma) == ([] if isinstance(first, Unavailable) else ["in time or told"])


def test_a_commit_that_fails_as_a_whole_is_tried_for_each(
    soma: Soma, stores: StoreLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = soma.store_each

    def broken(calls: Any) -> Any:
        if any(memory.text == "poison" for _, memory in calls):
            raise ZeroDivisionError
        return real(calls)

    monkeypatch.setattr(soma, "store_each", broken)

    async def crowd() -> list[Any]:
        texts = ["good", "poison", "fine"]
        calls = [stores.store(keyed(text), new(text)) for text in texts]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(crowd())
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert live(soma) == ["fine", "good"]
