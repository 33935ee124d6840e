"""The servers that an engine can stand on: Postgres, Qdrant, Redis."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.domain.validation import check_string
from soma_core.setting_values import (
    parse_cache,
    parse_collection,
    parse_database,
    parse_host,
    parse_integer,
    parse_server_url,
    parse_switch,
)
from soma_core.variables.setting import Setting

SERVICES: Mapping[str, Setting] = {
    "POSTGRES_URL": Setting(
        "postgres_url",
        None,
        "Where the records are, instead of a file in the data folder: postgresql://user:password@host:5432/database, "
        "with the options of libpq such as ?sslmode=verify-full. Needs the extra `server`.",
        parse_database,
    ),
    "POSTGRES_POOL_SIZE": Setting(
        "postgres_pool_size",
        "10",
        "The most connections to Postgres that a process keeps; at most half of them write at once.",
        parse_integer(1, 1_000),
    ),
    "SOMA_MIGRATE_ON_START": Setting(
        "migrate_on_start",
        "false",
        "Whether the tables in Postgres are made, or brought to the present schema, at start; otherwise "
        "`soma migrate` does it.",
        parse_switch,
    ),
    "QDRANT_URL": Setting(
        "qdrant_url",
        None,
        "The address of a Qdrant server, 1.19 or newer: the index is then kept there (docs/qdrant.md).",
        parse_server_url,
    ),
    "QDRANT_HOST": Setting(
        "qdrant_host", None, "The same by host, over plain HTTP; QDRANT_URL goes first.", parse_host
    ),
    "QDRANT_PORT": Setting("qdrant_port", "6333", "Its port for REST, with QDRANT_HOST.", parse_integer(1, 65_535)),
    "QDRANT_GRPC_PORT": Setting(
        "qdrant_grpc_port",
        None,
        "Its port for gRPC, which is used where the server answers there. Default: 6334 where the other is 6333.",
        parse_integer(1, 65_535),
    ),
    "QDRANT_COLLECTION": Setting(
        "qdrant_collection", "api_ns", "The collection there; it is made where there is none.", parse_collection
    ),
    "QDRANT_API_KEY": Setting(
        "qdrant_api_key",
        None,
        "The key that the server wants.",
        lambda name, value: check_string(name, value.strip(), max_chars=4_096),
    ),
    "REDIS_URL": Setting(
        "redis_url",
        None,
        "The address of a Redis server, 6.0 or newer, that several processes share: redis://user:password@host:6379/0, "
        "or rediss:// for TLS. It keeps vectors of questions, counts for the rate limits and, with POSTGRES_URL, holds "
        "what was read within the last minute; losing it changes no answer (docs/redis.md). Needs the extra `server`.",
        parse_cache,
    ),
    "REDIS_HOST": Setting("redis_host", None, "The same by host, without TLS; REDIS_URL goes first.", parse_host),
    "REDIS_PORT": Setting("redis_port", "6379", "Its port, with REDIS_HOST.", parse_integer(1, 65_535)),
    "REDIS_DB": Setting("redis_db", "0", "The number of its database, with REDIS_HOST.", parse_integer(0, 1_000_000)),
}
