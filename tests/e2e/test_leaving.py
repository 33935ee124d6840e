"""Standard output is the wire and nothing else; a server that is no longer wanted is gone within a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soma_core.adapters.folder import FolderLock
from tests.e2e.clients import INITIALIZE, ROOT, SOMA, Server, Shell, environment, server, wait_until

LEAVE_SECONDS = 1.0
SLACK = 0.15
"""What the test itself takes to notice, on a busy machine."""

BACKLOG = [f"Memory number {n}: the {w} of the long winter, told in several words." for n in range(100) for w in "abc"]

NOISE = """\
import atexit, builtins, os, sys, threading
print("noise at the start", flush=True)
atexit.register(lambda: print("noise at the exit", flush=True))
real = builtins.__import__
def noisy(name, *rest, **more):
    if name == os.environ["NOISY"]:
        os.write(1, b"noise of an import\\n")
        print("noise of " + name, flush=True)
    return real(name, *rest, **more)
builtins.__import__ = noisy
"""


def ended_within(process: subprocess.Popen[bytes]) -> float:
    """Seconds until the process has ended."""
    began = time.monotonic()
    process.wait(30)
    return time.monotonic() - began


def assert_free(home: Path, pid: int) -> None:
    """Nobody is left of the process, and the folder is anyone's."""
    assert not psutil.pid_exists(pid)
    assert using(home) == []
    FolderLock(home).release()


def using(home: Path) -> list[int]:
    """The processes that were started on a data folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SOMA_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.fixture
def loaded(home: Path) -> Iterator[Server]:
    """A server with its model loaded."""
    with server(home) as found:
        found.handshake()
        found.ok("store", {"text": "One memory."})
        wait_until(found.is_embedded)
        yield found


def give_backlog(found: Server) -> None:
    """Let it have a few hundred memories to embed."""
    for text in BACKLOG:
        found.send(found.request("tools/call", json.dumps({"name": "store", "arguments": {"text": text}}), 5_000))
    wait_until(lambda: found.ok("status", {})["counts"]["live"] > len(BACKLOG))
    assert found.ok("status", {})["pending"]["vectors"] > 50


# Standard output


@pytest.mark.parametrize("library", ["qdrant_edge", "onnxruntime", "tokenizers"])
def test_standard_output_carries_only_protocol_though_a_library_prints(
    home: Path, tmp_path: Path, library: str
) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "noise.py").write_text(NOISE)
    (tmp_path / "noise" / "run.py").write_text(
        "import sys, os, runpy\n"
        "wire = os.dup(1); os.dup2(2, 1)\n"
        "import noise\n"
        "os.dup2(wire, 1); os.close(wire)\n"
        "sys.argv = ['soma', 'mcp']\n"
        "runpy.run_module('soma_mcp.cli', run_name='__main__', alter_sys=True)\n"
    )
    path = os.pathsep.join([str(tmp_path / "noise"), str(ROOT)])
    with server(
        home, command=[sys.executable, str(tmp_path / "noise" / "run.py")], PYTHONPATH=path, NOISY=library
    ) as found:
        found.handshake()
        found.ok("store", {"text": "A quiet memory."})
        wait_until(found.is_embedded)
        found.ok("recall", {"query": "quiet"})
        found.call("store", {"text": ""})
        found.close_input()
        found.process.wait(30)
        lines = found.until_silent()

    assert b"noise of an import" in home.with_name("home.err").read_bytes()
    assert len(lines) >= 5
    for line in lines:
        assert json.loads(line)["jsonrpc"] == "2.0", line


def test_a_server_without_trouble_writes_nothing_to_standard_error(home: Path, loaded: Server) -> None:
    loaded.ok("recall", {"query": "one"})
    loaded.close_input()
    loaded.process.wait(30)

    assert loaded.process.returncode == 0
    assert home.with_name("home.err").read_text() == ""


# Leaving


@pytest.mark.parametrize("when", ["idle", "embedding"])
def test_it_leaves_within_a_second_of_its_input_closing(home: Path, loaded: Server, when: str) -> None:
    if when == "embedding":
        give_backlog(loaded)

    loaded.close_input()

    assert ended_within(loaded.process) < LEAVE_SECONDS + SLACK
    assert loaded.process.returncode == 0
    assert_free(home, loaded.process.pid)


@pytest.mark.parametrize("when", ["idle", "embedding"])
def test_it_leaves_within_a_second_of_sigterm(home: Path, loaded: Server, when: str) -> None:
    if when == "embedding":
        give_backlog(loaded)

    loaded.process.terminate()

    assert ended_within(loaded.process) < LEAVE_SECONDS + SLACK
    assert_free(home, loaded.process.pid)


def test_it_leaves_within_a_second_when_its_input_closes_before_it_was_spoken_to(home: Path) -> None:
    with server(home) as found:
        found.close_input()
        found.process.wait(30)
        assert found.process.returncode == 0
        assert found.until_silent() == []


def test_a_follower_leaves_within_a_second_too_and_the_owner_stays(home: Path, loaded: Server) -> None:
    with server(home) as follower:
        follower.handshake()
        follower.ok("store", {"text": "Told to the follower."})
        follower.close_input()
        assert ended_within(follower.process) < LEAVE_SECONDS + SLACK
    assert loaded.ok("status", {})["counts"]["live"] == 2
    assert using(home) == [loaded.process.pid]


def test_nothing_that_was_acknowledged_is_missing_after_leaving_in_mid_work(home: Path, loaded: Server) -> None:
    give_backlog(loaded)
    loaded.close_input()
    loaded.process.wait(30)

    with server(home) as found:
        found.handshake()
        assert found.ok("status", {})["counts"]["live"] == len(BACKLOG) + 1
        wait_until(found.is_embedded, 60)
        hits = found.ok("recall", {"query": "Memory number 77", "limit": 100, "max_tokens": 100_000})["hits"]
        assert sum("number 77:" in hit["text"] for hit in hits) == 3
    assert [f["verdict"] for f in Shell(home).json("doctor")["findings"] if f["verdict"] == "bad"] == []


PARENT = """\
import json, os, subprocess, sys
pipe = int(sys.argv[1])
server = subprocess.Popen(json.loads(sys.argv[2]), stdin=pipe, stdout=1, start_new_session=True)
print(server.pid, file=sys.stderr, flush=True)
server.wait()
"""


def test_it_leaves_within_a_second_of_its_parents_death_though_its_input_stays_open(home: Path) -> None:
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(reading), json.dumps([*SOMA, "mcp"])],
        pass_fds=[reading],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
        cwd=ROOT,
    )
    os.close(reading)
    assert parent.stderr is not None
    assert parent.stdout is not None
    pid = int(parent.stderr.readline())
    try:
        os.write(writing, Server.request("initialize", json.dumps(INITIALIZE), 1).encode() + b"\n")
        assert json.loads(parent.stdout.readline())["id"] == 1

        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        began = time.monotonic()
        wait_until(lambda: pid not in using(home), 10, "the server's leaving")

        assert time.monotonic() - began < LEAVE_SECONDS + SLACK
        FolderLock(home).release()
    finally:
        os.close(writing)
        parent.stdout.close()
        parent.stderr.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
