"""Data folders and the command line on them, and where the memories of a test are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.clients import Shell
from tests.support.deployments import EMBEDDED, WITH_WORKERS, deployed
from tests.support.on_servers import OnServers


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)


@pytest.fixture(scope="module")
def deployment(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where what the file starts keeps its memories; the file has the marks of `twice`."""
    with ExitStack() as stack:
        if request.param != EMBEDDED:
            names = ["postgres", "any_qdrant", "redis_server", *(["kafka"] if request.param == WITH_WORKERS else [])]
            servers = OnServers(*map(request.getfixturevalue, names))
            stack.enter_context(closing(servers))
            stack.enter_context(deployed(servers))
        yield request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that is about the data folder is skipped, for the reason that it gives, where nothing is kept in it."""
    for item in items:
        only = item.get_closest_marker("embedded_only")
        if only and isinstance(item, pytest.Function) and item.callspec.params["deployment"] != EMBEDDED:
            item.add_marker(pytest.mark.skip(f"embedded only: {only.args[0]}"))
