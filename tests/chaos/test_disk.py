"""A disk that runs below its reserve, or full, and has room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import StartServer
from tests.chaos.processes import Gone, Refused, Server, half_things, settled, texts, wait_until

SIZE_MB = 64
RESERVE_MB = 16


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, leave: int) -> Path:
    """Leave only so many bytes on the disk."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file:
        while (free := shutil.disk_usage(disk).free) > leave:
            try:
                file.write(bytes(min(1 << 20, free - leave)))
                file.flush()
            except OSError:
                break
    return ballast


def store_is_refused(server: Server, text: str = "too much") -> bool:
    try:
        server.call("store", text=text)
    except Refused as error:
        assert error.code == "unavailable", error
        return True
    return False


def test_below_the_reserve_stores_are_refused_reads_go_on_and_it_recovers_by_itself(
    disk: Path, start: StartServer
) -> None:
    home = disk / "home"
    reserve = {"SOMA_DISK_RESERVE": f"{RESERVE_MB}MB"}
    server = start(home, **reserve).ready()
    follower = start(home, **reserve).ready()
    first = [f"animal{n} lives in the valley" for n in range(10)]
    ids = [server.call("store", text=text)["id"] for text in first]
    wait_until(lambda: settled(server), "all to be indexed")
    late = [server.call("store", text=f"flower{n} grows by the river")["id"] for n in range(10)]
    ballast = fill(disk, (RESERVE_MB - 4) << 20)

    for client in (server, follower):
        with pytest.raises(Refused, match="reserve") as refused:
            client.call("store", text="a secret that is too much")
        assert refused.value.code == "unavailable"
        with pytest.raises(Refused) as refused:
            client.call("store", text="a secret that is too much", coordinate="1,2")
        assert refused.value.code == "unavailable"
        assert texts(client.call("recall", query="animal3"))[0] == first[3]
        assert "flower4 grows by the river" in texts(client.call("recall", query="flower4"))
        assert [memory["id"] for memory in client.call("get", ids=ids)["memories"]] == ids
        assert len(client.call("browse", limit=100)["memories"]) == 20
        health = " ".join(client.call("status")["health"])
        assert "reserve" in health, health
        assert "indexing pauses" in health, health
    assert server.call("forget", ids=late[:1])["count"] == 1
    assert texts(server.call("recall", query="flower0")) == [] or "flower0" not in str(
        texts(server.call("recall", query="flower0"))
    )
    assert server.call("status")["counts"]["live"] == 19

    ballast.unlink()
    assert server.call("store", text="there is room again")["status"] == "created"
    wait_until(lambda: settled(server), "the pending to be indexed by itself")
    assert server.call("status")["health"] == []
    assert texts(follower.call("recall", query="room again"))[0] == "there is room again"
    assert "secret" not in str(server.call("browse", limit=100))
    assert half_things(home) == []
    for client in (server, follower):
        assert "Traceback" not in client.stderr, client.stderr
        assert client.leave() == 0


def test_a_server_started_below_the_reserve_reads_and_recovers(disk: Path, start: StartServer) -> None:
    home = disk / "home"
    first = start(home, SOMA_DISK_RESERVE="16MB")
    first.call("store", text="the heron was seen")
    first.kill()
    shutil.rmtree(home / "index", ignore_errors=True)
    ballast = fill(disk, 8 << 20)
    server = start(home, SOMA_DISK_RESERVE="16MB")
    assert texts(server.call("recall", query="heron")) == ["the heron was seen"]
    assert store_is_refused(server)
    ballast.unlink()
    assert server.call("store", text="there is room again")["status"] == "created"
    wait_until(lambda: settled(server), "the pending to be indexed by itself")


@pytest.mark.parametrize("before", [20, 400])
@pytest.mark.parametrize("leave", [0, 200_000], ids=["to the last byte", "but a little"])
def test_a_disk_that_is_full_costs_no_acknowledged_memory(
    disk: Path, start: StartServer, leave: int, before: int
) -> None:
    """Without a reserve the index may take the process with it; what was acknowledged stays."""
    home = disk / "home"
    server = start(home).ready()
    stored = {server.call("store", text=f"animal{n} lives in the valley")["id"] for n in range(before)}
    ballast = fill(disk, leave)
    refused = 0
    try:
        for n in range(60):
            try:
                stored.add(server.call("store", text=f"flower{n} grows by the river " + "far " * 900)["id"])
            except Refused as error:
                assert error.code == "unavailable", error
                refused += 1
        assert len(server.call("get", ids=list(stored))["memories"]) == len(stored)
        server.call("recall", query="animal3")
        wait_until(lambda: server.call("status")["model"]["ready"], "the model")
        try:
            wait_until(lambda: settled(server), "all to be indexed", 2)
            outcome = "it lived and indexed"
        except AssertionError:
            outcome = "it lived and waits"
    except Gone:
        outcome = f"it died with status {server.join()}"
    print(f"{before} stored, {leave} bytes left: {outcome}, {refused} stores refused; {server.stderr[-300:]}")
    ballast.unlink()
    if not server.alive:
        server = start(home).ready()
    assert server.call("store", text="there is room again")["status"] == "created"
    assert len(server.call("get", ids=list(stored))["memories"]) == len(stored)
    wait_until(lambda: settled(server), "all to be indexed")
    in_flight = 1 if outcome.startswith("it died") else 0
    assert len(stored) + 1 <= server.call("status")["counts"]["live"] <= len(stored) + 1 + in_flight
    assert texts(server.call("recall", query="animal3"))[0] == "animal3 lives in the valley"
    assert half_things(home) == []
    assert refused or outcome.startswith("it died"), "the disk was never full"


def test_a_full_disk_at_the_first_start_is_said_and_leaves_nothing_half_made(disk: Path, start: StartServer) -> None:
    home = disk / "home"
    home.mkdir(mode=0o700)
    ballast = fill(disk, 0)
    server = start(home)
    with pytest.raises((Gone, Refused)):
        server.call("store", text="the very first")
    server.kill()
    assert "Traceback" not in server.stderr, server.stderr
    ballast.unlink()
    again = start(home)
    assert again.call("store", text="the very first")["version"] == 1


def test_a_full_disk_is_read_after_any_number_of_restarts(disk: Path, start: StartServer) -> None:
    home = disk / "home"
    server = start(home, SOMA_DISK_RESERVE="16MB").ready()
    server.call("store", text="the heron was seen")
    wait_until(lambda: settled(server), "all to be indexed")
    server.leave()
    fill(disk, 0)
    for end in (Server.leave, Server.kill, Server.kill, Server.leave, Server.leave):
        again = start(home, SOMA_DISK_RESERVE="16MB")
        assert texts(again.call("recall", query="heron")) == ["the heron was seen"]
        assert store_is_refused(again)
        end(again)


def test_a_disk_without_even_the_room_that_was_set_aside_is_said_to_be_full(disk: Path, start: StartServer) -> None:
    home = disk / "home"
    server = start(home, SOMA_DISK_RESERVE="16MB").ready()
    server.call("store", text="the heron was seen")
    server.leave()
    for spare in home.glob("*.spare"):
        spare.unlink()
    ballast = fill(disk, 0)
    refused = start(home, SOMA_DISK_RESERVE="16MB")
    with pytest.raises(Gone, match="is full"):
        refused.call("status")
    assert "Traceback" not in refused.stderr, refused.stderr
    ballast.unlink()
    assert texts(start(home, SOMA_DISK_RESERVE="16MB").call("recall", query="heron")) == ["the heron was seen"]


@pytest.mark.parametrize(
    ("how", "leave"),
    [
        ("running", 0),
        ("running", 200_000),
        ("started again", 0),
        ("started again", 200_000),
        ("started again without its index", 0),
        ("started again without its index", 200_000),
    ],
)
def test_with_a_reserve_a_disk_that_others_filled_stops_stores_and_nothing_else(
    disk: Path, start: StartServer, how: str, leave: int
) -> None:
    home = disk / "home"
    reserve = {"SOMA_DISK_RESERVE": f"{RESERVE_MB}MB"}
    server = start(home, **reserve).ready()
    ids = [server.call("store", text=f"animal{n} lives in the valley")["id"] for n in range(200)]
    if how != "running":
        wait_until(lambda: settled(server), "all to be indexed")
        server.leave()
    if how.endswith("index"):
        shutil.rmtree(home / "index")
    ballast = fill(disk, leave)
    if how != "running":
        server = start(home, **reserve).ready()
    assert "animal3 lives in the valley" in texts(server.call("recall", query="animal3"))
    for _ in range(3):
        assert store_is_refused(server)
    wait_until(lambda: server.call("status")["model"]["ready"], "the model")
    assert "animal3 lives in the valley" in texts(server.call("recall", query="animal3"))
    assert [memory["id"] for memory in server.call("get", ids=ids)["memories"]] == ids
    assert len(server.call("browse", limit=100)["memories"]) == 100
    assert "reserve" in " ".join(server.call("status")["health"])
    ballast.unlink()
    assert server.call("store", text="there is room again")["status"] == "created"
    wait_until(lambda: settled(server), "the pending to be indexed by itself")
    assert server.alive


def test_when_the_owner_is_killed_on_a_full_disk_a_follower_takes_over_and_reads(
    disk: Path, start: StartServer
) -> None:
    home = disk / "home"
    reserve = {"SOMA_DISK_RESERVE": f"{RESERVE_MB}MB"}
    owner = start(home, **reserve).ready()
    owner.call("store", text="the heron was seen")
    follower = start(home, **reserve).ready()
    follower.call("status")
    fill(disk, 0)
    owner.kill()
    assert texts(follower.call("recall", query="heron")) == ["the heron was seen"]
    assert store_is_refused(follower)
