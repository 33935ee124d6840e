"""Each part of a distributed Soma is killed in the middle of a load; nothing is lost, nothing forgotten comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.stack import INDEXER, RELAY, Stack, running
from tests.support.distributed import WorkerProcess
from tests.support.kafka import ApacheKafka
from tests.support.serving import until

ACTS = 260
NEWEST = 20


@pytest.fixture(scope="module")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory, own_apache: ApacheKafka, given_qdrant: dict[str, str]
) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), own_apache, given_qdrant) as found:
        yield found


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The same, with nothing counted yet."""
    running_stack.load.refused = running_stack.load.unanswered = 0
    running_stack.load.lacking.clear()
    return running_stack


def taken(indexer: WorkerProcess) -> float:
    """How many events it was handed."""
    return sum(indexer.metrics("consumer_messages_consumed_total"))


def test_an_indexer_dies_and_another_goes_on(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.indexer.end(signal.SIGKILL)
        stack.load.wait_for(10)
        assert "are found by their words only so far" in stack.degraded()
        stack.indexer = stack.soma.start(INDEXER).ready()
    stack.check()
    assert stack.load.refused == stack.load.unanswered == 0


def test_of_two_relays_the_one_that_works_dies_and_the_other_goes_on(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.kill_relay()
        before = stack.sent()
        stack.relays.append(stack.soma.start(RELAY))
    stack.check()
    stack.relays[-1].ready()
    assert stack.sent() > before


def test_the_broker_dies_and_comes_back_and_the_relay_dies_with_what_it_could_not_send(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.kafka.kill()
        stack.load.wait_for(10)
        assert "are found by their words only so far" in stack.degraded()
        stack.kill_relay()
        stack.kafka.start()
        stack.relays.append(stack.soma.start(RELAY).ready())
    stack.check()
    assert stack.load.refused == stack.load.unanswered == 0


def test_redis_dies_and_comes_back_empty(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.redis.kill()
        stack.load.wait_for(10)
        assert stack.load.asked("/health")["parts"]["cache"]["note"].startswith("is not used")
        stack.redis.start()
    stack.check()
    assert stack.load.refused == stack.load.unanswered == 0


def test_postgres_crashes_and_what_cannot_be_durable_is_refused_until_it_is_back(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.postgres.stop("immediate")
        for path, body in (("/store", '{"text": "never"}'), ("/recall", '{"query": "anything"}')):
            answer = stack.api.ask(path, body, content_type="application/json")
            assert (answer.status, answer.json["error"]["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert stack.api.ask("/healthz").status == 200
        assert stack.api.ask("/readyz").json["missing"] == ["records: unavailable"]
        stack.postgres.start()
    stack.check()
    assert stack.load.refused > 0


def test_the_index_dies_and_comes_back(stack: Stack) -> None:
    if stack.qdrant is None:
        pytest.skip("QDRANT_URL names a server that is not the tests' own")
    failed = sum(stack.indexer.metrics("consumer_process_failure_total"))
    with stack.load.going_on(ACTS):
        stack.qdrant.kill()
        stack.load.wait_for(10)
        assert "index: " in stack.degraded()
        until(lambda: sum(stack.indexer.metrics("consumer_process_failure_total")) > failed, "the indexer to miss it")
        stack.qdrant.start()
    stack.check()
    assert stack.load.refused == stack.load.unanswered == 0


def test_the_server_dies_and_what_was_not_answered_is_sent_again(stack: Stack) -> None:
    with stack.load.going_on(ACTS):
        stack.api.kill()
        until(lambda: stack.load.unanswered > 4, "calls that nobody answers")
        stack.api = stack.soma.api()
    stack.check()


def test_an_indexer_stalls_with_old_events_in_hand_and_goes_on_when_all_is_done(stack: Stack) -> None:
    stalled, load = stack.indexer, stack.load
    sent, handed = stack.sent(), taken(stalled)
    earlier = set(load.live)
    with load.going_on(ACTS):
        before = taken(stalled)
        stalled.process.send_signal(signal.SIGSTOP)
        load.wait_for(ACTS // 4)
        stalled.process.send_signal(signal.SIGCONT)
        until(lambda: taken(stalled) > before, "many events in its hand")
        stalled.process.send_signal(signal.SIGSTOP)
        in_hand = load.live.keys() - earlier
        other = stack.soma.start(INDEXER)
    for number, id in enumerate(in_hand & load.live.keys()):
        if number % 3:
            load.forget(id, purge=number % 3 == 2)
    other.ready()
    stack.until_indexed()
    stalled.process.send_signal(signal.SIGCONT)
    until(lambda: sum(stalled.metrics("consumer_process_success_total")) == taken(stalled), "it to go on")
    assert taken(other) + taken(stalled) - handed > stack.sent() - sent, "nothing was in two hands"
    stack.check()
    assert other.end() == 0
    with load.going_on(ACTS // 8):
        pass
    stack.until_indexed()


def test_a_cache_that_is_filled_late_with_what_was_forgotten_returns_it_to_nobody(stack: Stack) -> None:
    load = stack.load
    with closing(stack.redis.client()) as redis:
        load.answers(list(load.live.values())[-NEWEST:])
        held: dict[bytes, Any] = {key: redis.get(key) for key in redis.scan_iter("*:body:*")}
        forgotten = list(load.live)[-NEWEST:]
        for id in forgotten[::2]:
            load.forget(id, purge=False)
        for id in forgotten[1::2]:
            load.forget(id, purge=True)
        ids = {UUID(id).hex.encode() for id in forgotten}
        late = {key: body for key, body in held.items() if key.rpartition(b":")[2] in ids}
        assert len(late) == NEWEST
        assert not set(redis.mget(late)) & set(late.values())
        redis.flushall()
        redis.mset(late)
        stack.check_answers()
        assert {key: redis.get(key) for key in late} == late
        redis.delete(*late)  # as a minute would; until then `soma verify` says that the cache holds them
        stack.check()
