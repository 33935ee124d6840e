"""What the chaos tests share: a data folder, and processes that never outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.engine import Soma
from soma_core.settings import Settings, load_settings
from soma_mcp.sharing import SharedSoma
from tests.chaos.processes import Process, Server, plain_vectors

StartServer = Callable[..., Server]
StartWorker = Callable[..., Process]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path) -> Settings:
    return load_settings({}, home=home, disk_reserve="0")


@pytest.fixture
def start(home: Path) -> Iterator[StartServer]:
    """Start stdio servers on the folder."""
    running: list[Server] = []

    def start(where: Path = home, **more: str) -> Server:
        running.append(Server(where, **more))
        return running[-1]

    yield start
    for server in running:
        server.kill()


@pytest.fixture
def work(home: Path) -> Iterator[StartWorker]:
    """Start processes of `tests.chaos.worker` on the folder."""
    running: list[Process] = []

    def work(*arguments: str, where: Path = home, **more: str) -> Process:
        running.append(Process(where, ["-m", "tests.chaos.worker", *arguments], more))
        return running[-1]

    yield work
    for process in running:
        process.kill()


@pytest.fixture
def shared(settings: Settings) -> Iterator[Callable[[], SharedSoma]]:
    """Clients in this process, as commands are."""
    opened: list[SharedSoma] = []

    def shared() -> SharedSoma:
        opened.append(SharedSoma(settings, stay=False))
        return opened[-1]

    yield shared
    for memory in reversed(opened):
        memory.close()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Callable[[], Soma]]:
    """Engines in this process, with vectors that cost nothing; opening another closes the one before."""
    opened: list[Soma] = []

    def engine() -> Soma:
        while opened:
            opened.pop().close()
        opened.append(create_memory_system(settings))
        plain_vectors(opened[-1])
        return opened[-1]

    yield engine
    while opened:
        opened.pop().close()
