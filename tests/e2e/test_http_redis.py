"""`soma serve` with Redis beside it."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.redis_server import RedisServer
from tests.support.serving import Serving, soma_serve, until


def recall(soma: Serving, query: str) -> int:
    return soma.ask("/recall", json.dumps({"query": query}), content_type="application/json").status


def test_servers_share_their_limits_and_say_when_redis_is_away(own_redis: RedisServer, tmp_path: Path) -> None:
    def serving() -> AbstractContextManager[Serving]:
        limits = {"SOMA_RATE_LIMIT_MAX": "4", "SOMA_RATE_LIMIT_WINDOW_SECONDS": "3600"}
        return soma_serve(tmp_path / "home", files=None, REDIS_URL=own_redis.url, **limits)

    with serving() as one, serving() as another:
        until(lambda: one.ask("/readyz").status == 200, "the model")
        assert [recall(one, "owls"), recall(another, "owls"), recall(one, "owls"), recall(another, "foxes")] == [
            200
        ] * 4
        assert [recall(one, "owls"), recall(another, "owls")] == [429, 429]
        shown = one.ask("/metrics").body.decode()
        assert 'soma_cache_hits_total{what="query_vectors"} 2.0' in shown
        assert 'soma_cache_misses_total{what="query_vectors"} 2.0' in shown
        assert one.ask("/health").json["parts"]["cache"]["note"] == ""

        own_redis.kill()
        assert [recall(one, "owls") for _ in range(5)] == [200, 200, 200, 200, 429]
        health = one.ask("/health")
        assert (health.status, health.json["status"]) == (200, "ok")
        assert health.json["parts"]["cache"]["note"].startswith("is not used")
        assert str(own_redis.port) not in health.body.decode()
        assert one.ask("/readyz").status == 200
        assert own_redis.url not in one.log
