"""The curl lines of the README and of docs/http.md, as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ROOT
from tests.e2e.http_server import HttpServer, http_server

TOKEN = "a-token-of-enough-characters"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HttpServer]:
    with http_server(tmp_path / "home", **getattr(request, "param", {})) as found:
        yield found


def curl_lines(page: str) -> list[str]:
    """Every command of a page that begins with curl, in order; lines that go on are joined."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^\$ (curl .*)$", text, re.MULTILINE)


def run(line: str, server: HttpServer) -> Any:
    """What a line prints, as JSON; it must succeed."""
    command = line.replace("localhost:9595", server.url.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), line
    return json.loads(done.stdout)


@pytest.mark.parametrize("page", ["README.md", "docs/http.md"])
def test_the_curl_lines_work_as_they_stand(page: str, server: HttpServer) -> None:
    store, recall, *others = (line for line in curl_lines(page) if "$TOKEN" not in line)
    assert run(store, server)["status"] == "created"
    assert run(recall, server)["matches"][0]["text"].startswith("Ana prefers tabs")
    for line in others:
        assert "error" not in run(line, server), line


@pytest.mark.parametrize("server", [{"SOMA_API_TOKEN": TOKEN}], indirect=True)
def test_the_line_with_a_token_works(server: HttpServer) -> None:
    (line,) = (line for line in curl_lines("docs/http.md") if "$TOKEN" in line)
    assert run(line.replace("$TOKEN", TOKEN), server)["total_memories"] == 0
    assert run(line.replace("$TOKEN", "another"), server)["error"]["code"] == "unauthenticated"
