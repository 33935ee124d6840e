"""The end of `soma serve`, asked for or by force, and what it shares a data folder with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.query import BrowseQuery
from soma_core.settings import Settings
from tests.chaos.conftest import StartServer
from tests.chaos.processes import SCOPE, half_things, owner_pid, texts
from tests.support.ports import free_port
from tests.support.server import ask
from tests.support.serving import ROOT, SERVE, Serving, environment, soma_serve, until

WRITERS = 20
TAKEOVER_SECONDS = 10.0


def store(port: int, text: str, key: str | None = None) -> int:
    """The status that answers a store."""
    body = json.dumps({"text": text, "key": key})
    return ask(port, "/store", body, headers={"Content-Type": "application/json"}).status


def stored_texts(serving: Serving) -> list[str]:
    return [json.loads(line)["text"] for line in serving.ask("/export").body.splitlines()]


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def refused_start(home: Path, *arguments: str, **settings: str) -> str:
    """The one line that `soma serve` says when it does not start."""
    done = subprocess.run(
        [*SERVE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(home, settings),
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_at_work_are_finished_and_new_ones_refused(home: Path, settings: Settings, number: int) -> None:
    with soma_serve(home) as serving:
        assert store(serving.port, "before the end") == 200
        slow = socket.create_connection(("127.0.0.1", serving.port), 20)
        idle = socket.create_connection(("127.0.0.1", serving.port), 20)
        body = b'{"text": "half of this came after the signal"}'
        slow.sendall(b"POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        assert store(serving.port, "the server has seen the slow one") == 200
        serving.send(number)
        until(lambda: refuses_connections(serving.port), "the refusal of new connections", 5)
        assert serving.process.poll() is None
        slow.sendall(body[10:])
        answer = slow.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert b"connection: close" in answer.lower()
        assert serving.process.wait(5) == 0
        assert idle.recv(1) == b""
        slow.close()
        idle.close()
        assert "Traceback" not in serving.log
    soma = create_memory_system(settings)  # raises when the folder is held by anybody
    found = [memory.text for memory in soma.browse(SCOPE, BrowseQuery()).memories]
    soma.close()
    assert found[0] == "half of this came after the signal"


def test_a_request_that_never_ends_does_not_keep_the_server_from_ending(home: Path) -> None:
    with soma_serve(home, UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN="1") as serving:
        assert store(serving.port, "kept") == 200
        wires = []
        for path in (b"/store", b"/mcp", b"/import"):
            wires.append(socket.create_connection(("127.0.0.1", serving.port), 20))
            wires[-1].sendall(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert store(serving.port, "kept too") == 200
        began = time.monotonic()
        assert serving.end(signal.SIGTERM) == 0
        assert 1 <= time.monotonic() - began < 5
        for wire in wires:
            assert wire.recv(100).startswith(b"HTTP/1.1 503 ")
            wire.close()
        assert "Traceback" not in serving.log
    with soma_serve(home) as serving:
        assert stored_texts(serving) == ["kept", "kept too"]


class Writer(threading.Thread):
    """Stores one text after another, each under its key, until the server is gone."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.label = name
        self.acknowledged: list[tuple[str, str]] = []
        self.unanswered: tuple[str, str] | None = None

    def run(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            for turn in range(100_000):
                text, key = f"{self.label} notes turn {turn}", uuid.uuid4().hex
                self.unanswered = (text, key)
                try:
                    body = json.dumps({"text": text})
                    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
                    connection.request("POST", "/store", body, headers)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, HTTPException):
                    return
                assert answer.status == 200
                self.acknowledged.append((text, key))


def test_a_server_killed_in_a_crowd_of_writers_loses_and_doubles_nothing(home: Path) -> None:
    acknowledged: list[tuple[str, str]] = []
    unanswered: list[tuple[str, str]] = []
    for round_ in range(3):
        with soma_serve(home) as serving:
            assert serving.ask("/healthz").status == 200
            crowd = [Writer(serving.port, f"writer {round_}-{n}") for n in range(WRITERS)]
            for writer in crowd:
                writer.start()
            until(lambda crowd=crowd: all(len(writer.acknowledged) > 3 for writer in crowd), "a crowd at work")
            serving.kill()
            for writer in crowd:
                writer.join(20)
                acknowledged += writer.acknowledged
                assert writer.unanswered
                unanswered.append(writer.unanswered)
    assert not half_things(home)
    with soma_serve(home) as serving:
        kept = stored_texts(serving)
        assert set(kept) >= {text for text, _ in acknowledged}
        assert set(kept) <= {text for text, _ in acknowledged + unanswered}
        assert len(kept) == len(set(kept))
        for text, key in [*acknowledged[::10], *unanswered]:
            assert store(serving.port, text, key) == 200
        again = stored_texts(serving)
        assert len(again) == len(set(again))
        assert set(again) == {text for text, _ in acknowledged + unanswered}


def test_a_server_follows_a_stdio_owner_and_takes_over_when_that_is_killed(home: Path, start: StartServer) -> None:
    owner = start().ready()
    owner.call("store", text="The stdio server stored this quokka.")
    with soma_serve(home) as serving:
        assert store(serving.port, "The HTTP server stored this numbat.") == 200
        assert owner_pid(home) == owner.pid
        assert texts(owner.call("recall", query="numbat"))[0] == "The HTTP server stored this numbat."
        owner.kill()
        began = time.monotonic()
        assert store(serving.port, "After the owner was killed.") == 200
        assert time.monotonic() - began < TAKEOVER_SECONDS
        assert owner_pid(home) == serving.pid
        assert len(stored_texts(serving)) == 3
        assert serving.end(signal.SIGTERM) == 0
        assert "Traceback" not in serving.log


def test_a_stdio_server_follows_and_takes_over_when_the_http_server_is_killed(home: Path, start: StartServer) -> None:
    with soma_serve(home) as serving:
        assert store(serving.port, "The HTTP server stored this numbat.") == 200
        follower = start().ready()
        follower.call("store", text="The stdio server stored this quokka.")
        assert owner_pid(home) == serving.pid
        assert len(stored_texts(serving)) == 2
        serving.kill()
        began = time.monotonic()
        follower.call("store", text="After the owner was killed.")
        assert time.monotonic() - began < TAKEOVER_SECONDS
        assert owner_pid(home) == follower.pid
        assert len(follower.call("browse")["memories"]) == 3


def test_a_port_in_use_is_said_and_the_server_does_not_start(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused_start(home, "--port", str(port))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


def test_a_public_address_without_a_token_is_refused(home: Path) -> None:
    for settings in ({}, {"SOMA_ALLOWED_HOSTS": "*"}):
        said = refused_start(home, "--host", "0.0.0.0", "--port", "0", **settings)
        assert "0.0.0.0" in said
        assert "soma token create" in said
    assert "0.0.0.0" in refused_start(home, "--host", "0.0.0.0", "--port", "0", "--reload")
    with soma_serve(home, "--host", "0.0.0.0", SOMA_API_TOKEN="0123456789abcdef") as serving:
        assert serving.ask("/stats").status == 401
        assert serving.ask("/stats", Authorization="Bearer 0123456789abcdef").status == 200


def test_several_workers_on_a_data_folder_are_refused(home: Path) -> None:
    assert "UVICORN_WORKERS" in refused_start(home, "--port", "0", UVICORN_WORKERS="2")
    assert "SOMA_URL" in refused_start(home, "--port", "0", SOMA_URL="http://127.0.0.1:9")


def test_port_0_takes_a_free_port_and_prints_it(home: Path, tmp_path: Path) -> None:
    with soma_serve(home) as first, soma_serve(tmp_path / "other") as second:
        assert first.port != second.port
        assert f"serving http://127.0.0.1:{first.port} " in first.log
        for serving in (first, second):
            assert serving.port > 1_023
            assert serving.ask("/healthz").status == 200


def test_with_reload_it_serves_and_starts_anew_when_the_code_changes(home: Path) -> None:
    port = free_port()
    log = home.with_name("reload.log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*SERVE, "--port", str(port), "--reload"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment(home, {}),
            cwd=ROOT,
        )
    try:
        until(lambda: owner_pid(home) and not refuses_connections(port), "the first start")
        first = owner_pid(home)
        assert store(port, "before the reload") == 200
        os.utime(ROOT / "soma_mcp" / "cli" / "http.py")
        until(lambda: owner_pid(home) not in (None, first) and not refuses_connections(port), "the second start", 15)
        assert ask(port, "/export").body.count(b"before the reload") == 1
        process.terminate()
        process.wait(15)
        assert until(lambda: owner_pid(home) is None, "the end of the server")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)
