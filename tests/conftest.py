"""What every test may ask for: servers, once a session, that are real where their addresses are set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.postgres import database, postgres
from tests.support.qdrant_process import QdrantProcess

__all__ = ["database", "postgres", "qdrant", "real_qdrant"]

GIVEN = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("QDRANT_")}
"""The addresses, taken out of the environment: a test without them in its name is not to use these servers."""


@pytest.fixture(scope="session")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantProcess]:
    """A test-only Qdrant server over HTTP and gRPC, with Edge behind it."""
    process = QdrantProcess(tmp_path_factory.mktemp("qdrant"))
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="session")
def real_qdrant() -> dict[str, str]:
    """The settings of a real Qdrant server; the test is skipped where there are none."""
    if "QDRANT_URL" not in GIVEN:
        pytest.skip("QDRANT_URL is not set: a real Qdrant server cannot be installed by a test")
    return GIVEN
