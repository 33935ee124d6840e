"""The command `soma` on the memory of a server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import ROOT, Shell
from tests.e2e.remotes import TOKEN, SomaProcess, soma_server
from tests.support.ports import free_port

DIARY = ROOT / "examples" / "diary.jsonl"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SomaProcess]:
    with soma_server(tmp_path_factory.mktemp("remote") / "home", SOMA_API_TOKEN=TOKEN) as found:
        yield found


@pytest.fixture
def remote(server: SomaProcess, home: Path, request: pytest.FixtureRequest) -> Shell:
    """The command line on the server, in a namespace of the test's own; it has no data folder."""
    token = Shell(server.home).text("token", "create", "--namespace", request.node.name).strip()
    return Shell(home, SOMA_URL=server.url, SOMA_API_TOKEN=token)


def test_the_commands_on_memories_do_on_a_server_what_they_do_on_a_folder(remote: Shell) -> None:
    flags = ["--type", "semantic", "--tag", "a", "--thread", "t", "--speaker", "Ida", "--importance", "0.9"]
    flags += ["--occurred-at", "2026-01-02", "--coordinate", "1,2", "--payload", '{"x": [1, "ü"]}', "--key", "k"]
    receipt = remote.json("store", "Owls sleep: ☂.", *flags)
    (memory,) = remote.json("get", receipt["id"][-12:])["memories"]

    assert remote.json("store", "Owls sleep: ☂.", *flags)["id"] == receipt["id"]
    assert remote.refusal("store", "Something else.", "--key", "k")["code"] == "conflict"
    assert remote.text("store", "Owls sleep: ☂.", "--check").startswith("duplicate ")
    assert {name: memory[name] for name in ("text", "tags", "payload", "occurred_at", "coordinate", "speaker")} == {
        "text": "Owls sleep: ☂.",
        "tags": ["a"],
        "payload": {"x": [1, "ü"]},
        "occurred_at": "2026-01-02T00:00:00Z",
        "coordinate": "1,2",
        "speaker": "Ida",
    }
    assert "Ida: Owls sleep" in remote.text("browse", "--tag", "a", "--until", "2026-01-02")
    assert "Owls sleep" in remote.text("recall", "when do owls rest", "--type", "semantic")
    assert "1 memories in test_the_commands_on_memories" in remote.text("stats")
    assert remote.json("forget", "--thread", "t", "--dry-run")["count"] == 1
    assert remote.json("forget", receipt["id"], "--purge", "--yes", "--reason", "r")["records"] == "purged"
    assert remote.complaint("get", receipt["id"]).startswith("soma: not_found: ids: no memory has the id")
    assert not remote.home.exists()


def test_a_file_is_stored_on_a_server_once_under_its_key(remote: Shell) -> None:
    for _ in range(2):
        assert remote.json("store-bulk", str(DIARY), "--key", "k") == {"stored": 62, "refused": []}
    assert remote.json("stats")["counts"]["live"] == 62

    found = remote.json("store-bulk", "-", stdin='{"text":"Good."}\n{"text":""}\n', status=1)
    assert (found["stored"], [refused["line"] for refused in found["refused"]]) == (1, [2])
    remote.run("store-bulk", "-", "--atomic", stdin='{"text":"Good."}\n{"text":""}\n', status=1)
    assert remote.json("stats")["counts"]["live"] == 63


def test_a_file_that_is_over_what_a_server_takes_at_once_is_stored_in_parts(remote: Shell, tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    lines = [json.dumps({"text": f"{n} " + "x" * 60_000, "payload": {"p": "y" * 60_000}}) for n in range(200)]
    file.write_text("\n".join(lines + [json.dumps({"text": f"Small {n}."}) for n in range(1_100)]))

    assert remote.json("store-bulk", str(file), "--no-wait")["stored"] == 1_300
    assert remote.json("stats")["counts"]["live"] == 1_300


def test_a_server_that_is_away_and_a_token_that_is_wrong_are_said_clearly(remote: Shell) -> None:
    began = time.monotonic()
    url = f"http://127.0.0.1:{free_port()}"
    assert remote.complaint("stats", SOMA_URL=url).startswith(f"soma: unavailable: {url} cannot be reached: ")
    assert time.monotonic() - began < 15
    wrong = remote.refusal("stats", SOMA_API_TOKEN="a-token-that-is-wrong")
    assert wrong["code"] == "unauthenticated"


@pytest.mark.parametrize("command", ["stats", "mcp"])
def test_a_namespace_is_refused_because_it_is_the_tokens(remote: Shell, command: str) -> None:
    for given in (remote.complaint(command, "--namespace", "n"), remote.complaint(command, SOMA_MEMORY_NAMESPACE="n")):
        assert given.startswith("soma: invalid_input: SOMA_MEMORY_NAMESPACE: is 'n', and SOMA_URL is set")


@pytest.mark.parametrize("command", ["reindex", "doctor", "demo", "token list", "serve"])
def test_a_command_that_needs_the_folder_says_so(remote: Shell, command: str) -> None:
    error = remote.refusal(*command.split())

    assert error["code"] == "invalid_input"
    assert error["fields"] == ["SOMA_URL"]
    assert not remote.home.exists()
