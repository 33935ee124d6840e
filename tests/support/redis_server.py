"""A private Redis for the tests: started and thrown away by them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.ports import free_port

SECONDS = 10.0


class RedisServer:
    """One server on a free loopback port that keeps nothing on disk."""

    def __init__(self, *options: str) -> None:
        self._program = program()
        self._options = options
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A patient client of the test's own; close it."""
        return redis.Redis(port=self.port, socket_timeout=SECONDS)

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)

    def freeze(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def _answers(self) -> bool:
        with closing(redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0))) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False


def program() -> str:
    """Where redis-server is; skips the test, or fails it, where there is none."""
    if found := shutil.which("redis-server"):
        return found
    reason = "there is no redis-server on PATH"
    if os.environ.get("SOMA_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for all tests that leave it as it is."""
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of the test's own, to stop and to kill."""
    server = RedisServer()
    yield server
    server.kill()
