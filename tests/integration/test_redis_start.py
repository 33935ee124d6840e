"""Reaching Redis: what is wrong with it is said at start, without the password; later it is done without."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from soma_core.adapters.memory.limits import MemoryRateLimiter
from soma_core.adapters.redis import address as addresses
from soma_core.adapters.redis import breaker as breakers
from soma_core.adapters.redis.address import CALL_SECONDS, Address
from soma_core.adapters.redis.cache import RedisCache
from soma_core.adapters.redis.limits import RedisRateLimiter
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import InvalidInput, SomaError, Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.servers import redis_address
from soma_core.services.limiting import DependableLimiter
from soma_core.settings import load_settings
from tests.support.redis_server import RedisServer
from tests.support.serving import until

PASSWORD = "hunter2@hunter2"
SECONDS = 10.0


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    """A server that wants a password."""
    server = RedisServer("--requirepass", PASSWORD)
    yield server
    server.kill()


def refused(url: str, kind: type[SomaError], **settings: str) -> str:
    """Why Redis cannot be used."""
    began = time.monotonic()
    given = load_settings({"REDIS_URL": url, "SOMA_HOME": "/nowhere", **settings})
    with pytest.raises(kind) as caught:
        redis_address(given).check()  # type: ignore[union-attr]
    assert time.monotonic() - began < SECONDS
    assert type(caught.value) is kind
    assert caught.value.fields == (caught.value.message.partition(":")[0],)
    assert "hunter2" not in caught.value.message
    return caught.value.message


def test_an_address_where_nobody_listens_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        said = refused(f"redis://soma:hunter2@127.0.0.1:{port}/3", Unavailable)
        assert said.startswith(f"REDIS_URL: Redis at 127.0.0.1:{port}/3 as soma cannot be used: ")
        assert said.endswith("is Redis running there, and reachable from here?")
        by_host = refused("", Unavailable, REDIS_HOST="127.0.0.1", REDIS_PORT=str(port), REDIS_DB="2")
        assert by_host.startswith(f"REDIS_HOST: Redis at 127.0.0.1:{port}/2 cannot be used: ")


def test_a_host_that_does_not_exist_and_one_that_says_nothing_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.START_SECONDS < SECONDS / 2
    monkeypatch.setattr(addresses, "START_SECONDS", 0.3)
    assert "no-such-host.invalid" in refused("redis://no-such-host.invalid", Unavailable)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "Timeout" in refused(f"redis://127.0.0.1:{silent.getsockname()[1]}", Unavailable)


def test_a_wrong_password_and_a_missing_one_are_told_without_it(guarded: RedisServer) -> None:
    place = f"127.0.0.1:{guarded.port}"
    for url in (f"redis://:hunter2x@{place}/0", f"redis://{place}/0", f"redis://nobody:hunter2@{place}/0"):
        assert refused(url, InvalidInput).endswith("check user and password")
    assert Address.parse(f"redis://:{PASSWORD.replace('@', '%40')}@{place}/0").check()


def test_a_database_that_is_not_there_is_told(redis_server: RedisServer) -> None:
    said = refused(f"redis://127.0.0.1:{redis_server.port}/99", InvalidInput)
    assert "DB index is out of range: name a database" in said


def test_tls_where_there_is_none_and_a_certificate_that_is_none_are_told(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "START_SECONDS", 0.3)
    place = f"127.0.0.1:{redis_server.port}"
    assert "is Redis running there with TLS" in refused(f"rediss://{place}", Unavailable)
    (tmp_path / "ca.pem").write_text("no certificate")
    assert "ssl_ca_certs" in refused(f"rediss://{place}?ssl_ca_certs={tmp_path / 'ca.pem'}", InvalidInput)


def test_what_is_no_redis_is_told() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        said = refused(f"redis://127.0.0.1:{listening.getsockname()[1]}", InvalidInput)
        stop.set()
    assert "no Redis server" in said


def test_a_user_without_the_rights_and_a_replica_are_told(own_redis: RedisServer) -> None:
    with closing(own_redis.client()) as client:
        client.execute_command("ACL", "SETUSER", "humble", "on", ">hunter2", "~other:*", "+@all")
        url = f"redis://humble:hunter2@127.0.0.1:{own_redis.port}"
        assert "keys that begin with soma:1:" in refused(url, InvalidInput)
        client.replicaof("127.0.0.1", 1)
        assert "name the primary" in refused(own_redis.url, InvalidInput)


def test_an_older_server_is_refused(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "OLDEST", (99, 0))
    assert "and Soma needs 99.0 or newer" in refused(redis_server.url, InvalidInput)


@pytest.mark.parametrize("url", ["http://h", "redis:h", "h:6379"])
def test_an_address_that_is_none_is_refused_by_the_settings(url: str) -> None:
    with pytest.raises(InvalidInput, match="REDIS_URL: must be an address such as redis://"):
        load_settings({"REDIS_URL": url})


@pytest.mark.parametrize("url", ["redis://:hunter2@h:port/0", "redis://:hunter2@h/abc", "redis://:hunter2@h?what=x"])
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    assert refused(url, InvalidInput).startswith("REDIS_URL: must be an address such as redis://")


def test_a_server_that_hangs_costs_one_caller_a_moment_and_is_used_again_when_it_answers(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RedisCache(Address.parse(own_redis.url), "s")
    cache.put({"a": b"1"}, 60)
    own_redis.freeze()
    began = time.monotonic()
    assert cache.get(["a"]) == [None]
    assert time.monotonic() - began < 4 * CALL_SECONDS
    began = time.monotonic()
    assert [cache.get(["a", "b"]) for _ in range(100)] == [[None, None]] * 100
    cache.put({"a": b"2"}, 60)
    assert cache.drop(["a"]) is False
    assert time.monotonic() - began < CALL_SECONDS
    problem = cache.problem()
    assert problem
    assert problem.startswith(f"cache: Redis at 127.0.0.1:{own_redis.port}/0 is not used: ")
    own_redis.thaw()
    cache._breaker._until = 0.0
    until(lambda: cache.get(["a"]) == [b"1"], "Redis to be used again")
    assert cache.problem() is None
    cache.close()


def test_after_a_rest_one_caller_tries_and_the_others_go_on_without() -> None:
    now = [0.0]
    breaker = breakers.Breaker("Redis", rest=5, clock=lambda: now[0])
    assert breaker.admits()
    breaker.failed("no answer")
    assert [breaker.admits() for _ in range(3)] == [False] * 3
    now[0] = 5.0
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.worked()
    assert [breaker.admits() for _ in range(3)] == [True] * 3


def test_without_redis_the_limits_hold_in_each_process(own_redis: RedisServer) -> None:
    async def asked() -> list[bool]:
        shared = RedisRateLimiter(Address.parse(own_redis.url), "s", 2, 60)
        limiter = DependableLimiter(shared, MemoryRateLimiter(2, 60))
        there = [await limiter.take("ada") > 0 for _ in range(3)]
        own_redis.kill()
        away = [await limiter.take("ada") > 0 for _ in range(3)]
        await limiter.close()
        return there + away

    assert asyncio.run(asked()) == [False, False, True, False, False, True]


def hits(soma: Any, scope: Scope) -> list[tuple[Any, float]]:
    found = soma.recall(scope, RecallQuery.parse("when do owls sleep", recency=False))
    return [(hit.memory, hit.parts.total) for hit in found.hits]


def test_losing_redis_changes_no_answer_and_nothing_purged_is_in_it(
    own_redis: RedisServer, database: str, tmp_path: Path
) -> None:
    """Over Postgres, where bodies are kept too: with Redis, asked again, frozen, killed and started empty."""
    environment = {"SOMA_HOME": str(tmp_path), "POSTGRES_URL": database, "REDIS_URL": own_redis.url}
    soma = create_memory_system(load_settings(environment | {"SOMA_DISK_RESERVE": "0"}))
    scope = Scope("a namespace with ' \" % \N{FOX FACE}" + "x" * 950)
    for text in ("Owls sleep by day.", "Foxes sleep when they like."):
        soma.store(scope, NewMemory.parse(text))
    secret = soma.store(scope, NewMemory.parse("Owls keep the zyxSECRET asleep."))
    soma.warm(scope)
    soma.index(scope)
    assert len(hits(soma, scope)) == 3
    with closing(own_redis.client()) as client:
        bodies = [name for name in client.keys("soma:1:*") if b":body:" in name]
        assert len(bodies) == 3
        assert any(b"zyxSECRET" in (client.get(name) or b"") for name in bodies)
        receipt = soma.forget(scope, [str(secret.id)], purge=True)
        assert receipt.index == "removed"
        assert not any(b"zyxSECRET" in (client.get(name) or b"") for name in client.keys("*"))
    expected = hits(soma, scope)
    assert [memory.text for memory, _ in expected] == ["Owls sleep by day.", "Foxes sleep when they like."]
    own_redis.freeze()
    assert hits(soma, scope) == expected
    assert any(note.startswith("cache: Redis at") for note in soma.status(scope).health)
    own_redis.thaw()
    own_redis.kill()
    assert hits(soma, scope) == expected
    own_redis.start()
    soma._cache._breaker._until = 0.0  # type: ignore[union-attr]
    assert hits(soma, scope) == expected == hits(soma, scope)
    assert soma.status(scope).health == []
    soma.close()


def test_two_stores_and_two_namespaces_in_one_redis_never_meet(redis_server: RedisServer, tmp_path: Path) -> None:
    def told(home: str, namespace: str, text: str) -> list[str]:
        settings = load_settings({"SOMA_HOME": str(tmp_path / home), "REDIS_URL": redis_server.url})
        soma = create_memory_system(settings)
        soma.store(Scope(namespace), NewMemory.parse(text, coordinate="1,2,3"))
        found = [memory.text for memory, _ in hits(soma, Scope(namespace))]
        soma.close()
        return found

    assert told("one", "a", "Owls of one.") == ["Owls of one."]
    assert told("two", "a", "Owls of two.") == ["Owls of two."]
    assert told("one", "b", "Owls of another name.") == ["Owls of another name."]
