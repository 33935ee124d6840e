"""`soma mcp` with SOMA_URL: a real MCP client on a stdio server whose memory is a server's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import MCPError

from tests.e2e.clients import MODES, McpClient, Shell, mcp_client, server
from tests.e2e.remotes import TOKEN, SomaProcess, scripted, soma_server
from tests.support.ports import free_port

LEAVE_SECONDS = 1.0
SLACK = 0.15
"""What the test itself takes to notice, on a busy machine."""


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SomaProcess]:
    with soma_server(tmp_path_factory.mktemp("bridged") / "home", SOMA_API_TOKEN=TOKEN) as found:
        yield found


@pytest.fixture
def client(remote: SomaProcess, mode: str, home: Path, request: pytest.FixtureRequest) -> Iterator[McpClient]:
    """A client of a bridge, in a namespace of the test's own."""
    token = Shell(remote.home).text("token", "create", "--namespace", request.node.name).strip()
    with mcp_client(home, mode, SOMA_URL=remote.url, SOMA_API_TOKEN=token) as found:
        yield found
        assert found.log == ""
    assert not home.exists()


def test_a_bridge_shows_the_same_tools_and_instructions_as_a_server_on_a_folder(
    client: McpClient, tmp_path: Path, mode: str
) -> None:
    with mcp_client(tmp_path / "local", mode) as local:
        assert client.run("list_tools").tools == local.run("list_tools").tools
        assert client.instructions == local.instructions
        assert client.run("list_resources").resources == local.run("list_resources").resources


def test_every_tool_and_resource_works_on_the_servers_memory(client: McpClient) -> None:
    stored = client.ok("store", text="The walrus prefers oysters.", tags=["sea"], payload={"n": 1}, key="k")
    (memory,) = client.ok("get", ids=[stored["id"][-12:]])["memories"]

    again = client.ok("store", text="The walrus prefers oysters.", tags=["sea"], payload={"n": 1}, key="k")
    assert (again["id"], again["status"]) == (stored["id"], "created")
    assert client.refused("store", text="Another.", key="k")["code"] == "conflict"
    assert client.ok("store", text="The walrus prefers oysters.", check=True)["status"] == "duplicate"
    assert (memory["text"], memory["payload"]) == ("The walrus prefers oysters.", {"n": 1})
    assert client.texts("oysters", tags=["sea"]) == ["The walrus prefers oysters."]
    assert client.ok("browse", until="2999-01-01")["memories"] == [memory]
    assert "walrus" in client.read("memory://recent")
    assert json.loads(client.read(f"memory://{stored['id']}")) == memory
    client.until_embedded()
    assert client.ok("status")["namespace"].startswith("test_every_tool_and_resource")
    assert client.ok("forget", ids=[stored["id"]])["count"] == 1
    assert client.refused("get", ids=[stored["id"]])["code"] == "not_found"
    with pytest.raises(MCPError):
        client.read(f"memory://{stored['id']}")


def test_bad_input_is_refused_as_a_server_on_a_folder_refuses_it(client: McpClient, tmp_path: Path, mode: str) -> None:
    with mcp_client(tmp_path / "local", mode) as local:
        for tool, arguments in (
            ("store", {"text": " "}),
            ("store", {"text": "x", "coordinate": "1,,2"}),
            ("recall", {"query": "x", "limit": 0}),
            ("get", {"ids": ["0" * 12]}),
            ("browse", {"cursor": "nonsense"}),
            ("forget", {}),
            ("forget", {"nonsense": 1}),
        ):
            assert client.refused(tool, **arguments) == local.refused(tool, **arguments)


def test_a_wrong_token_is_told_to_the_agent(remote: SomaProcess, home: Path, mode: str) -> None:
    with mcp_client(home, mode, SOMA_URL=remote.url, SOMA_API_TOKEN="a-token-that-is-wrong") as client:
        assert client.refused("recall", query="anything")["code"] == "unauthenticated"


def test_a_bridge_outlives_a_server_that_is_not_there_yet_and_one_that_goes(tmp_path: Path, mode: str) -> None:
    away = SomaProcess(tmp_path / "far")
    with mcp_client(tmp_path / "home", mode, SOMA_URL=away.url) as client:
        refused = client.refused("store", text="Too early.")
        assert refused["code"] == "unavailable"
        assert away.url in refused["message"]

        away.start()
        try:
            client.ok("store", text="In time.")
            away.kill()
            assert client.refused("recall", query="time")["code"] == "unavailable"
            away.start()
            assert client.texts("time") == ["In time."]
        finally:
            away.stop()


def test_a_bridge_leaves_within_a_second_of_its_input_closing(home: Path) -> None:
    with server(home, SOMA_URL=f"http://127.0.0.1:{free_port()}") as bridge:
        bridge.handshake()
        assert bridge.call("status", {})["isError"]
        bridge.close_input()
        began = time.monotonic()
        bridge.process.wait(30)

    assert time.monotonic() - began < LEAVE_SECONDS + SLACK
    assert bridge.process.returncode == 0
    assert not home.exists()


@pytest.mark.parametrize("told", ["input closed", "SIGTERM"])
def test_a_bridge_leaves_within_a_second_though_the_server_hangs(home: Path, told: str) -> None:
    with scripted((200, {}, b"{}"), held=True) as script, server(home, SOMA_URL=script.url) as bridge:
        bridge.handshake()
        bridge.send(bridge.request("tools/call", '{"name": "status", "arguments": {}}', 77))
        while not script.asked:
            time.sleep(0.01)
        began = time.monotonic()
        if told == "SIGTERM":
            bridge.process.terminate()
        else:
            bridge.close_input()
        bridge.process.wait(30)

        assert time.monotonic() - began < LEAVE_SECONDS + SLACK
