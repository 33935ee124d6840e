"""Where the processes that a test starts keep their memories: in the data folder, or on servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EMBEDDED, DISTRIBUTED, WITH_WORKERS = "embedded", "distributed", "distributed with workers"
Deployment = Callable[[Path], dict[str, str]]
"""The settings that a process on a data folder needs for it."""


def embedded(_: Path) -> dict[str, str]:
    """All is in the folder: nothing is to be set."""
    return {}


def twice(other: str = DISTRIBUTED) -> list[pytest.MarkDecorator]:
    """Marks that make every test of a file run embedded and then in the other deployment.

    What the file's own fixtures of a wider scope start is of the deployment if they ask for the fixture `deployment`.
    """
    deployments = pytest.mark.parametrize("deployment", [EMBEDDED, other], indirect=True, scope="module")
    return [pytest.mark.usefixtures("deployment"), deployments]


_deployments: list[Deployment] = [embedded]


def settings_of(home: Path | str) -> dict[str, str]:
    """What a process on this data folder is told by the deployment that is under test."""
    return _deployments[-1](Path(home))


@contextmanager
def deployed(deployment: Deployment) -> Iterator[None]:
    """Processes started in the block are of this deployment."""
    _deployments.append(deployment)
    try:
        yield
    finally:
        _deployments.remove(deployment)
