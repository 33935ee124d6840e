"""The examples of docs/client.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import ROOT, Shell, environment, mcp_client
from tests.e2e.remotes import TOKEN, SomaProcess, soma_server

PAGE = (ROOT / "docs" / "client.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SomaProcess]:
    with soma_server(tmp_path_factory.mktemp("page") / "home", SOMA_API_TOKEN=TOKEN) as found:
        yield found


def examples(language: str, server: SomaProcess) -> list[str]:
    """The page's blocks in a language, for the address and token of the test."""
    filled = PAGE.replace("http://127.0.0.1:9595", server.url).replace("YOUR-TOKEN", TOKEN)
    return re.findall(rf"```{language}\n(.*?)```", filled, re.DOTALL)


def test_the_python_examples_run(server: SomaProcess, home: Path) -> None:
    printed = []
    for code in examples("python", server):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment(home), check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(done.stdout.splitlines())

    plain, asynchronous = printed
    assert plain[-1] == "2 memories"
    assert any("Ana prefers short answers." in line for line in plain)
    assert asynchronous[0] == "5"
    assert len(asynchronous) == 8


def test_the_commands_run(server: SomaProcess, home: Path) -> None:
    (block,) = examples("sh", server)
    export, *commands = block.splitlines()
    shell = Shell(home, **dict(setting.split("=", 1) for setting in export.split()[1:]))
    printed = [shell.text(*shlex.split(command)[1:]) for command in commands]

    assert printed[0].startswith("created ")
    assert "Ana moved to Porto in May." in printed[1]
    assert "memories in api_ns" in printed[2]


def test_the_configuration_makes_a_bridge(server: SomaProcess, home: Path) -> None:
    (block,) = examples("json", server)
    configured = json.loads(block)["mcpServers"]["soma"]

    assert [configured["command"], *configured["args"]] == ["soma", "mcp"]
    with mcp_client(home, **configured["env"]) as client:
        assert client.ok("status")["namespace"] == "api_ns"
