"""Clients that hang up, trickle, flood or talk nonsense: the server stays up, and others are served meanwhile."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from soma_mcp.http.connections import HEAD_SECONDS
from tests.support.serving import Serving, soma_serve, until

PROMPT_SECONDS = 1.0
"""In which others are answered, also on a busy machine; quiet it takes some milliseconds."""
MB = 1 << 20
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with soma_serve(tmp_path_factory.mktemp("abuse") / "home") as serving:
        yield serving


@pytest.fixture
def serving(shared_server: Serving) -> Iterator[Serving]:
    """A server that must be up, and must have had no unforeseen failure, when the test is over."""
    yield shared_server
    others_are_served(shared_server)
    until(lambda: at_work(shared_server) <= 1, "the end of the requests at work")
    assert "Traceback" not in shared_server.log
    assert " ERROR " not in shared_server.log


def others_are_served(serving: Serving) -> None:
    """Store and read as another client would, promptly."""
    began = time.monotonic()
    stored = serving.ask("/store", json.dumps({"text": "others are served"}), Content_Type="application/json")
    assert stored.status == 200, stored
    assert serving.ask(f"/memories/{stored.json['id']}").json["text"] == "others are served"
    assert time.monotonic() - began < PROMPT_SECONDS


def at_work(serving: Serving) -> int:
    """Requests that are being served, this one too."""
    lines = serving.ask("/metrics").body.decode().splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("soma_requests_at_work "))


@contextmanager
def connected(serving: Serving, seconds: float = 20) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", serving.port), seconds) as wire:
        yield wire


def hang_up(wire: socket.socket) -> None:
    """Close at once and without ceremony: the server gets a reset."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def read_all(wire: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := wire.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize("path", [b"/store", b"/mcp", b"/import", b"/nowhere"])
@pytest.mark.parametrize("after", [b"", b"{", b'{"text": "cut o'])
def test_a_client_that_hangs_up_in_mid_request_is_forgotten(serving: Serving, path: bytes, after: bytes) -> None:
    for close in (hang_up, socket.socket.close):
        with connected(serving) as wire:
            wire.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: 5000\r\n\r\n" + after)
            time.sleep(0.01)
            close(wire)


def test_a_client_that_hangs_up_in_mid_head_is_forgotten(serving: Serving) -> None:
    for part in (b"P", b"POST /store", b"POST /store HTTP/1.1\r\nHost: loc"):
        with connected(serving) as wire:
            wire.sendall(part)
            time.sleep(0.01)
            hang_up(wire)


def test_a_client_that_hangs_up_in_mid_answer_of_an_export_is_forgotten(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"note {n} " + "lorem ipsum " * 200}) + "\n" for n in range(4_000))
    with soma_serve(tmp_path / "home") as serving:
        assert serving.ask("/import", lines).json["stored"] == 4_000
        for close in (hang_up, socket.socket.close):
            with connected(serving) as wire:
                wire.sendall(b"GET /export HTTP/1.1\r\n" + HEAD + b"\r\n")
                assert wire.recv(1_000).startswith(b"HTTP/1.1 200")
                close(wire)
        with connected(serving) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            wire.sendall(b"GET /export HTTP/1.1\r\n" + HEAD + b"\r\n")
            before = psutil.Process(serving.pid).memory_info().rss
            time.sleep(0.5)
            others_are_served(serving)
            assert psutil.Process(serving.pid).memory_info().rss < before + 30 * MB  # waits, instead of holding all
        until(lambda: at_work(serving) == 1, "the end of the exports")
        assert len(serving.ask("/export").body.splitlines()) == 4_001
        assert "Traceback" not in serving.log


def test_a_transfer_may_be_slow_but_not_stand_still(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"note {n} " + "lorem ipsum " * 200}) + "\n" for n in range(2_000))
    with soma_serve(tmp_path / "home", SOMA_REQUEST_TIMEOUT_SECONDS="1") as serving:
        assert serving.ask("/import", lines).json["stored"] == 2_000
        with connected(serving) as unread, connected(serving) as slow, connected(serving) as still:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            unread.sendall(b"GET /export HTTP/1.1\r\n" + HEAD + b"\r\n")
            until(lambda: at_work(serving) == 2, "an export that waits for its reader")  # at_work asks too
            body = b'{"text": "slow but sure"}'
            slow.sendall(b"POST /import HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            still.sendall(b"POST /import HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000\r\n\r\n" + body)
            began = time.monotonic()
            for place in range(0, len(body), 5):
                slow.sendall(body[place : place + 5])
                time.sleep(0.3)
            assert time.monotonic() - began > 1
            assert status_of(slow.recv(1_000)) == 200
            answer = read_all(still)
            assert (status_of(answer), b"nothing of the body arrived for 1 s" in answer) == (503, True)
            until(lambda: at_work(serving) == 1, "the end of the export")
            until(lambda: len(psutil.Process(serving.pid).net_connections("tcp")) <= 3, "the end of its connection")
        assert len(serving.ask("/export").body.splitlines()) == 2_001
        assert "Traceback" not in serving.log


def test_slow_senders_hold_up_nobody(serving: Serving) -> None:
    request = b"POST /store HTTP/1.1\r\n" + HEAD + b"Content-Length: 24\r\n\r\n" + b'{"text":"slow but sure"}'
    wires = [socket.create_connection(("127.0.0.1", serving.port), 20) for _ in range(30)]
    began = time.monotonic()
    for place in range(0, len(request), 4):
        for wire in wires:
            wire.sendall(request[place : place + 4])
        if place % 40 == 0:
            others_are_served(serving)
    for wire in wires:
        assert status_of(wire.recv(1_000)) == 200
        wire.close()
    assert time.monotonic() - began < HEAD_SECONDS


def test_a_head_that_does_not_end_is_answered_in_time_and_a_silent_connection_is_closed(serving: Serving) -> None:
    with connected(serving) as trickling, connected(serving) as silent:
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            trickling.sendall(b"GET /healthz HTTP/1.1\r\n")
            while time.monotonic() - began < HEAD_SECONDS - 1:
                trickling.sendall(b"X: y\r\n")
                time.sleep(0.2)
            others_are_served(serving)
        assert status_of(read_all(trickling)) == 408
        assert read_all(silent) == b""
        assert HEAD_SECONDS - 1 < time.monotonic() - began < HEAD_SECONDS + 3


def test_an_empty_line_after_an_answer_does_not_keep_the_connection(serving: Serving) -> None:
    with connected(serving) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += wire.recv(1_000)
        assert status_of(answer) == 200
        time.sleep(0.2)
        began = time.monotonic()
        wire.sendall(b"\r\n")
        assert read_all(wire) == b""
        assert time.monotonic() - began < HEAD_SECONDS + 3


def test_a_body_that_does_not_arrive_is_given_up_and_the_connection_closed(tmp_path: Path) -> None:
    with soma_serve(tmp_path / "home", SOMA_REQUEST_TIMEOUT_SECONDS="1") as serving:
        for path in (b"/store", b"/mcp"):
            with connected(serving) as wire:
                wire.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000\r\n\r\n")
                began = time.monotonic()
                with suppress(BrokenPipeError, ConnectionResetError):
                    for _ in range(20):
                        wire.sendall(b" ")
                        time.sleep(0.1)
                assert status_of(read_all(wire)) == 503
                assert time.monotonic() - began < 5
        others_are_served(serving)
        assert "Traceback" not in serving.log


def test_ten_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(10_000, hard - 1_000)
    if number < 2_000:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wires: list[socket.socket] = []
    try:
        with soma_serve(tmp_path / "home") as serving:
            wires = [socket.create_connection(("127.0.0.1", serving.port), 20) for _ in range(number)]
            until(lambda: psutil.Process(serving.pid).num_fds() >= number, f"{number} connections at the server")
            others_are_served(serving)
            assert "Traceback" not in serving.log
    finally:
        for wire in wires:
            wire.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_connections_than_files_are_turned_away_and_those_that_are_in_are_served(tmp_path: Path) -> None:
    wires: list[socket.socket] = []
    with soma_serve(tmp_path / "few", files=600) as serving:
        early = HTTPConnection("127.0.0.1", serving.port, timeout=20)
        early.request("GET", "/healthz")
        assert early.getresponse().read() == b'{"status":"ok"}'
        wires = [socket.create_connection(("127.0.0.1", serving.port), 20) for _ in range(700)]
        assert status_of(read_all(wires[-1])) == 503
        early.request("POST", "/store", '{"text":"still in"}', {"Content-Type": "application/json"})
        assert early.getresponse().status == 200
        early.close()
        for wire in wires:
            wire.close()
        until(lambda: psutil.Process(serving.pid).num_fds() < 200, "the end of the connections")
        others_are_served(serving)
        assert "Traceback" not in serving.log


@pytest.mark.parametrize("path", [b"/store", b"/mcp"])
def test_a_chunked_body_of_a_gigabyte_is_refused_early_and_memory_stays_flat(serving: Serving, path: bytes) -> None:
    process = psutil.Process(serving.pid)
    before = process.memory_info().rss
    chunk = b"100000\r\n" + bytes(MB) + b"\r\n"
    sent = answered = most = 0
    with connected(serving) as wire:
        wire.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):
            for sent in range(1, 1_025):
                wire.sendall(chunk)
                most = max(most, process.memory_info().rss)
                answered = answered or (sent if select.select([wire], [], [], 0)[0] else 0)
        answer = read_all(wire)
    assert 16 <= (answered or sent) <= 64
    assert not answer or status_of(answer) == 413
    assert most < before + 64 * MB


def test_a_body_over_the_cap_is_answered_413_before_it_is_sent(serving: Serving) -> None:
    with connected(serving) as wire:
        wire.sendall(b"POST /store HTTP/1.1\r\n" + HEAD + b"Content-Length: 1073741824\r\n\r\n")
        assert status_of(wire.recv(2_000)) == 413
    with connected(
        serving
    ) as wire:  # a little over, so that all of it fits into what the server takes of a refused body
        wire.sendall(b"POST /store HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(17):
            wire.sendall(b"100000\r\n" + bytes(MB) + b"\r\n")
        assert status_of(wire.recv(2_000)) == 413


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X: " + b"y" * MB, id="a header of a megabyte"),
        pytest.param(b"y" * MB + b": x", id="the name of a header"),
        pytest.param(b"\r\n".join(b"X-%d: %s" % (n, b"y" * 100) for n in range(1_000)), id="a thousand headers"),
        pytest.param(b"X: y\r\n" * 200_000, id="200,000 headers"),
    ],
)
def test_a_flood_of_headers_is_refused(serving: Serving, head: bytes) -> None:
    before = psutil.Process(serving.pid).memory_info().rss
    with connected(serving) as wire:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.sendall(b"GET /healthz HTTP/1.1\r\n" + HEAD + head + b"\r\n\r\n")
        assert status_of(read_all(wire)) in (431, 0)
    assert psutil.Process(serving.pid).memory_info().rss < before + 16 * MB


def test_a_head_that_is_somewhat_too_long_is_told_so(serving: Serving) -> None:
    for head in (b"GET /healthz HTTP/1.1\r\n" + HEAD + b"X: " + b"y" * 70_000, b"GET /" + b"y" * 70_000 + b" HTTP/1.1"):
        with connected(serving) as wire:
            wire.sendall(head + b"\r\n\r\n")
            answer = read_all(wire)
        assert status_of(answer) == 431
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"
    assert serving.ask("/healthz", X="y" * 60_000).status == 200


def test_random_bytes_are_no_request(serving: Serving) -> None:
    chance = random.Random(1)
    for start in (
        b"",
        b"GET ",
        b"POST /store HTTP/1.1\r\n",
        b"POST /store HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"\x16\x03\x01",
    ):
        for _ in range(20):
            with connected(serving) as wire:
                with suppress(BrokenPipeError, ConnectionResetError):
                    wire.sendall(start + chance.randbytes(chance.randint(1, 5_000)))
                    wire.shutdown(socket.SHUT_WR)
                answer = read_all(wire)
                assert b"HTTP/1.1 5" not in answer


def test_what_is_not_http_gets_the_error_shape(serving: Serving) -> None:
    for nonsense in (b"\x00\xff\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"):
        with connected(serving) as wire:
            wire.sendall(nonsense)
            answer = read_all(wire)
        assert status_of(answer) == 400, answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_input"


def test_a_request_of_http_1_0_is_answered_and_the_connection_closed(serving: Serving) -> None:
    with connected(serving) as wire:
        wire.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = read_all(wire)
    assert status_of(answer) == 200
    assert answer.endswith(b'{"status":"ok"}')


def test_pipelined_requests_are_answered_in_their_order(serving: Serving) -> None:
    number = 200
    asked = b"".join(
        b"GET /memories/nothing-%d HTTP/1.1\r\n" % n + HEAD + b"X-Request-ID: r%d\r\n\r\n" % n for n in range(number)
    )
    with connected(serving) as wire:
        wire.sendall(asked + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n")
        answer = read_all(wire)
    ids = [line.split(b": ")[1] for line in answer.split(b"\r\n") if line.lower().startswith(b"x-request-id: ")]
    assert ids[:number] == [b"r%d" % n for n in range(number)]
    assert answer.endswith(b'{"status":"ok"}')


def test_a_storm_of_short_connections_leaves_nothing_behind(serving: Serving) -> None:
    process = psutil.Process(serving.pid)
    others_are_served(serving)
    files = process.num_fds()

    def storm() -> None:
        for n in range(150):
            with connected(serving) as wire, suppress(OSError):
                wire.sendall((b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")[: n % 80])
                hang_up(wire)

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: process.num_fds() <= files + 5, "the files of the storm to be closed")
    assert os.getpgid(serving.pid)
