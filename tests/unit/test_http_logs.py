"""The log of the server as a real process writes it on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory
from soma_core.domain.validation import check_text

SECRET = "SECRET-of-the-boat"

SERVER = """
import http.client, logging, sys, threading
from pathlib import Path
import uvicorn
from starlette.responses import JSONResponse
from soma_core.domain.errors import InvalidInput
from soma_core.settings import load_settings
from soma_mcp.http import logs
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.observe import Observed

async def app(scope, receive, send):
    if scope["path"] == "/recall":
        raise RuntimeError("broken")
    await JSONResponse({})(scope, receive, send)

logs.configure(load_settings())
server = uvicorn.Server(uvicorn.Config(Observed(app, Metrics()), port=0, log_config=None, lifespan="off"))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    pass
port = server.servers[0].sockets[0].getsockname()[1]
for path in ("/store?query=SECRET-of-the-boat", "/recall?query=SECRET-of-the-boat"):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", path, "SECRET-of-the-boat", {"Authorization": "Bearer SECRET-of-the-boat"})
    connection.getresponse().read()
    connection.close()
logging.getLogger("soma_core.services").debug("two\\nlines", extra=logs.fields(a="b c", n=None))
logging.getLogger("mcp.server").info("a message: SECRET-of-the-boat")
logging.getLogger("httpx2").debug("a header: SECRET-of-the-boat")
logging.getLogger("mcp.server").warning("careful %s", 1)
server.should_exit = True
thread.join()
"""


WORKER = """
import contextlib, logging, signal
from types import SimpleNamespace
from soma_mcp.cli import worker

@contextlib.contextmanager
def at_work(*_):
    logging.getLogger("workers").info("at work")
    logging.getLogger("aiokafka").info("a message: SECRET-of-the-boat")
    yield SimpleNamespace(run=lambda *_: signal.raise_signal(signal.SIGTERM))

worker.WorkerProcess = at_work
worker.worker(["all"], standalone_mode=False)
"""


def served(tmp_path: Path, form: str, level: str, program: str = SERVER) -> str:
    """What a server under these settings wrote on stderr."""
    environment = {
        "SOMA_LOG_FORMAT": form,
        "SOMA_LOG_LEVEL": level,
        "SOMA_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LC_ALL": "C",
    }
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    return run.stderr


def records(text: str, logger: str) -> list[dict[str, Any]]:
    return [record for line in text.splitlines() if (record := json.loads(line))["logger"] == logger]


def test_json_is_one_object_a_line_with_time_level_logger_message_and_fields(tmp_path: Path) -> None:
    text = served(tmp_path, "json", "info")
    first, second = records(text, "soma_mcp.access")
    assert (first["level"], first["message"], first["endpoint"], first["status"]) == ("info", "request", "store", 200)
    assert (first["method"], first["path"]) == ("POST", "/store")
    assert second["status"] == 500
    moment = datetime.fromisoformat(first["time"])
    assert first["time"].endswith("Z")
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=2)


def test_a_failure_has_its_traceback_and_the_request_id_of_its_access_line(tmp_path: Path) -> None:
    text = served(tmp_path, "json", "info")
    (failure,) = records(text, "soma_mcp.http.observe")
    assert failure["level"] == "error"
    assert "RuntimeError: broken" in failure["traceback"]
    assert failure["request_id"] == records(text, "soma_mcp.access")[1]["request_id"]


def test_uvicorn_writes_here_too_but_no_access_lines_of_its_own(tmp_path: Path) -> None:
    text = served(tmp_path, "json", "info")
    assert any("Uvicorn running" in record["message"] for record in records(text, "uvicorn.error"))
    assert not records(text, "uvicorn.access")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_query_body_or_token_is_written_at_any_level(tmp_path: Path, form: str, level: str) -> None:
    text = served(tmp_path, form, level)
    assert "soma_mcp.access" in text
    assert "careful 1" in text
    assert "SECRET" not in text


def test_the_level_is_for_soma_and_uvicorn(tmp_path: Path) -> None:
    assert records(served(tmp_path, "json", "debug"), "soma_core.services")[0]["a"] == "b c"
    assert not records(served(tmp_path, "json", "info"), "soma_core.services")
    text = served(tmp_path, "json", "error")
    assert {json.loads(line)["level"] for line in text.splitlines()} == {"error"}


def test_the_console_shows_lines_for_people(tmp_path: Path) -> None:
    text = served(tmp_path, "console", "debug")
    (line,) = [line for line in text.splitlines() if "path=/store" in line]
    assert " INFO    soma_mcp.access request method=POST endpoint=store path=/store status=200 ms=" in line
    assert 'a="b c"' in text
    assert " n=" not in text
    assert "\nRuntimeError: broken\n" in text


@pytest.mark.parametrize("text", [SECRET + "\x00", SECRET + "\ud800", SECRET * 10_000, {"a": SECRET}, [SECRET]])
def test_errors_of_the_engine_about_a_text_name_the_field_and_not_what_it_holds(text: Any) -> None:
    for check in (lambda: check_text("text", text), lambda: NewMemory.parse(text)):
        with pytest.raises(SomaError) as refused:
            check()
        assert refused.value.fields == ("text",)
        assert refused.value.message.startswith("text: ")
        assert SECRET not in refused.value.message


def test_a_worker_writes_in_the_same_form(tmp_path: Path) -> None:
    (line,) = served(tmp_path, "json", "info", WORKER).splitlines()
    assert (json.loads(line)["logger"], json.loads(line)["message"]) == ("workers", "at work")
