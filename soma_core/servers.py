"""The servers that the settings name: where they are, whether they go together, and what is shared through them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from soma_core.adapters.memory.cache import MemoryCache
from soma_core.adapters.memory.limits import MemoryRateLimiter
from soma_core.domain.errors import InvalidInput
from soma_core.domain.hosts import bracketed
from soma_core.domain.validation import invalid
from soma_core.ports.cache import Cache
from soma_core.ports.limits import RateLimiter
from soma_core.ports.stream import INDEXER, Topic, group_of
from soma_core.ports.turn import Turn
from soma_core.services.limiting import DependableLimiter
from soma_core.settings import Settings

if TYPE_CHECKING:
    from soma_core.adapters.kafka.address import Address
    from soma_core.adapters.kafka.stream import KafkaStream
    from soma_core.adapters.redis.address import Address as RedisAddress

TURN_SECONDS = 2.0
"""How long the turn of a process that has just died may be held for it yet."""
POLL_SECONDS = 0.05


def check_together(settings: Settings) -> None:
    """Raises `InvalidInput` where Kafka is set without what it needs."""
    needed = {"POSTGRES_URL": settings.postgres_url, "QDRANT_URL": qdrant_server(settings)}
    missing = [name for name, value in needed.items() if not value]
    if settings.eventing and missing:
        raise InvalidInput(
            f"KAFKA_BOOTSTRAP_SERVERS: needs {' and '.join(missing)} too: indexers elsewhere must reach records and "
            "index. Set it, or EVENTING_ENABLED=false",
            fields=("KAFKA_BOOTSTRAP_SERVERS", *missing),
        )


def qdrant_server(settings: Settings) -> tuple[str, str] | None:
    """The address of the Qdrant server and the variable that it comes from."""
    if settings.qdrant_url:
        return settings.qdrant_url, "QDRANT_URL"
    if (host := settings.qdrant_host) is None:
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.qdrant_port}", "QDRANT_HOST"


@contextlib.contextmanager
def server_extra(setting: str) -> Iterator[None]:
    """Say what to install where a driver is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{setting}: needs the extra `server`: pip install 'soma-fractal-memory[server]'"
        raise InvalidInput(message, fields=(setting,)) from error


def kafka_address(settings: Settings) -> Address:
    """Where events travel. Raises `InvalidInput` where Kafka is not set, or what it needs beside it."""
    with server_extra("KAFKA_BOOTSTRAP_SERVERS"):
        from soma_core.adapters.kafka.address import Address
    if not settings.eventing_enabled:
        raise invalid("EVENTING_ENABLED", "is false: no events travel, the process that stores indexes by itself")
    if settings.kafka_bootstrap_servers is None:
        raise invalid("KAFKA_BOOTSTRAP_SERVERS", "is not set; it names the brokers, such as kafka:9092")
    check_together(settings)
    return Address(
        settings.kafka_bootstrap_servers,
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        user=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        ca=settings.kafka_ca,
        prefix=settings.kafka_topic_prefix,
    )


def open_stream(settings: Settings) -> KafkaStream:
    """Where events travel; makes the topics that are missing. Raises `InvalidInput`, `Unavailable`."""
    with server_extra("KAFKA_BOOTSTRAP_SERVERS"):
        from soma_core.adapters.kafka.stream import KafkaStream
    return KafkaStream(kafka_address(settings))


def ask_brokers(settings: Settings) -> str | None:
    """What the brokers say of themselves; None without any. Raises `Unavailable`, `InvalidInput`."""
    if not settings.eventing:
        return None
    with server_extra("KAFKA_BOOTSTRAP_SERVERS"):
        from soma_core.adapters.kafka.stream import describe
    return describe(kafka_address(settings))


def messages_waiting(settings: Settings) -> int | None:
    """How many events the brokers hold that no indexer has handled; None without brokers. Raises `Unavailable`."""
    if not settings.eventing:
        return None
    with contextlib.closing(open_stream(settings)) as stream:
        return sum(stream.lag(Topic.EVENTS, group_of(INDEXER)).values())


def redis_address(settings: Settings) -> RedisAddress | None:
    """Where Redis is; None where it is not set."""
    url, host = settings.redis_url, settings.redis_host
    if url is None and host is None:
        return None
    setting = "REDIS_URL" if url else "REDIS_HOST"
    with server_extra(setting):
        from soma_core.adapters.redis.address import Address
    return Address.parse(url or f"redis://{bracketed(host or '')}:{settings.redis_port}/{settings.redis_db}", setting)


def indexing_turn(settings: Settings, store_id: str) -> Turn | None:
    """Which of the processes on one database writes the index; None where a folder has one owner, or workers do it.

    Raises `InvalidInput` where the index is in the data folder, and another process keeps one in another folder.
    """
    if settings.postgres_url is None or settings.eventing:
        return None
    from soma_core.adapters.postgres.turn import PostgresTurn

    turn = PostgresTurn(settings.postgres_url, store_id, "writing the index")
    deadline = time.monotonic() + TURN_SECONDS
    while not settings.distributed and not turn.is_mine():
        if time.monotonic() > deadline:
            holder = turn.holder()
            turn.give_up()
            raise InvalidInput(
                f"POSTGRES_URL: the process {holder} keeps the index of this database in its own data folder, "
                "and there can be one such process: set QDRANT_URL for all of them, or SOMA_URL here to use that "
                "server, or stop it",
                fields=("POSTGRES_URL", "QDRANT_URL"),
            )
        time.sleep(POLL_SECONDS)
    return turn


def open_cache(settings: Settings, store_id: str) -> Cache:
    """What is kept for a while: in Redis, else in this process. Raises `InvalidInput`, `Unavailable`."""
    if (address := redis_address(settings)) is None:
        return MemoryCache()
    from soma_core.adapters.redis.cache import RedisCache

    address.check()
    return RedisCache(address, store_id)


def bodies_pay(settings: Settings) -> bool:
    """Reading them from the data folder is quicker than from any cache; one of this process would see no purge."""
    return settings.postgres_url is not None and redis_address(settings) is not None


def open_limiter(settings: Settings, store_id: Callable[[], str]) -> RateLimiter:
    """What counts for the rate limits: this process, or Redis for all of them while it answers.

    With Redis `store_id` is asked for: two stores in one Redis count for themselves.
    """
    own = MemoryRateLimiter(settings.rate_limit, settings.rate_window)
    if (address := redis_address(settings)) is None:
        return own
    from soma_core.adapters.redis.limits import RedisRateLimiter

    return DependableLimiter(RedisRateLimiter(address, store_id(), settings.rate_limit, settings.rate_window), own)
