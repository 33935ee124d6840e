"""What every test may ask for: servers, once a session, that are real where their addresses are set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.kafka import apache, kafka, own_apache, topic_prefix
from tests.support.postgres import database, postgres
from tests.support.qdrant_process import QdrantProcess
from tests.support.redis_server import own_redis, redis_server

__all__ = [
    "any_qdrant",
    "apache",
    "database",
    "given_kafka",
    "given_qdrant",
    "kafka",
    "own_apache",
    "own_redis",
    "postgres",
    "qdrant",
    "real_qdrant",
    "redis_server",
    "topic_prefix",
]

GIVEN = {
    name: os.environ.pop(name)
    for name in list(os.environ)
    if name.startswith("QDRANT_") or name == "KAFKA_BOOTSTRAP_SERVERS"
}
"""The addresses, taken out of the environment: a test without them in its name is not to use these servers."""
for name in [name for name in os.environ if name.startswith("REDIS_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantProcess]:
    """A test-only Qdrant server over HTTP and gRPC, with Edge behind it."""
    process = QdrantProcess(tmp_path_factory.mktemp("qdrant"))
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="session")
def given_qdrant() -> dict[str, str]:
    """The settings of a real Qdrant server, or nothing."""
    return {name: value for name, value in GIVEN.items() if name.startswith("QDRANT_")} if "QDRANT_URL" in GIVEN else {}


@pytest.fixture(scope="session")
def real_qdrant(given_qdrant: dict[str, str]) -> dict[str, str]:
    """The same; the test is skipped where there are none."""
    if not given_qdrant:
        pytest.skip("QDRANT_URL is not set: a real Qdrant server cannot be installed by a test")
    return given_qdrant


@pytest.fixture(scope="session")
def any_qdrant(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of a Qdrant server: the real one where there is one, else that of the tests."""
    if "QDRANT_URL" in GIVEN:
        return cast(dict[str, str], request.getfixturevalue("real_qdrant"))
    return {"QDRANT_URL": request.getfixturevalue("qdrant").url}


@pytest.fixture(scope="session")
def given_kafka() -> str | None:
    """The address of a broker that runs already, if one was given."""
    return GIVEN.get("KAFKA_BOOTSTRAP_SERVERS")
