"""Postgres crashes in the middle of stores."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.domain.errors import Retryable
from tests.contract.records import NAMESPACE, texts
from tests.support.postgres import DURABLE, PostgresServer
from tests.support.requests import new, request, stored

STORES = 500
CRASHES = 3


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    found = PostgresServer(*DURABLE)
    yield found
    found.remove()


def test_what_was_acknowledged_is_there_once_after_crashes_of_the_server(server: PostgresServer) -> None:
    url = server.database()
    stores = [PostgresRecordStore(url, pool_size=4) for _ in range(2)]
    acknowledged, done, failures = dict[str, UUID](), threading.Semaphore(0), list[str]()

    def keep(number: int) -> None:
        text, own = f"{number}", request()
        place = f"{number % 50}" if number % 5 == 0 else None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                acknowledged[text] = stored(stores[number % 2], NAMESPACE, [new(text, coordinate=place)], own)[0].id
                break
            except Retryable as error:
                failures.append(error.message)
                time.sleep(0.05)
        done.release()

    with ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(keep, number) for number in range(STORES)]
        for _ in range(CRASHES):
            for _ in range(STORES // (CRASHES + 2)):
                assert done.acquire(timeout=60)
            server.stop("immediate")
            server.start()
        for job in jobs:
            job.result(90)

    found = texts(stores[0])
    events = stores[0].log().read(NAMESPACE, 0, 10_000)
    assert len(acknowledged) == STORES
    assert failures, "no store met a crash"
    assert len(found) == len(set(found)) == STORES * 4 // 5 + 10
    assert {text for text in acknowledged if int(text) % 5} <= set(found)
    assert len(events) == len({(event.memory_id, event.version) for event in events}) == STORES
    assert stores[0].problems() == []
    for store in stores:
        store.close()
