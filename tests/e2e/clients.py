"""Real processes to test: an MCP client on a stdio server, a server spoken to by the line, and the command line."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import jsonschema  # type: ignore[import-untyped]
from anyio.from_thread import BlockingPortal, start_blocking_portal
from click.testing import CliRunner
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, TextContent

from soma_mcp.cli import soma
from tests.support.deployments import settings_of

ROOT = Path(__file__).parents[2]
SOMA = [sys.executable, "-m", "soma_mcp.cli"]
MODES = ("auto", "legacy")
SECONDS = 30.0

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "by-the-line", "version": "1"},
}


def environment(home: Path | str, **settings: str) -> dict[str, str]:
    """The environment of a process of Soma on a data folder; nothing of the tester's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SOMA_")}
    own = {"SOMA_HOME": str(home), "SOMA_DISK_RESERVE": "0", "PYTHONPATH": str(ROOT)}
    return kept | own | settings_of(home) | settings


def wait_until(true: Callable[[], object], seconds: float = SECONDS, what: str = "the condition") -> None:
    """Return as soon as `true()` holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)


class McpClient:
    """An MCP client for tests that are not asynchronous; every call has a time limit."""

    def __init__(self, client: Client, portal: BlockingPortal, log: Path) -> None:
        self._client = client
        self._portal = portal
        self._log = log
        self._schemas: dict[str, dict[str, Any]] = {}

    def run(self, name: str, *args: Any) -> Any:
        """A method of the client itself."""
        return self._portal.call(self._limited, name, args)

    def call(self, tool: str, **arguments: Any) -> CallToolResult:
        result: CallToolResult = self.run("call_tool", tool, arguments)
        return result

    def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that succeeds, checked against the tool's output schema."""
        result = self.call(tool, **arguments)
        assert not result.is_error, result.content
        assert text_of(result).strip()
        assert isinstance(result.structured_content, dict)
        jsonschema.validate(result.structured_content, self.output_schema(tool))
        return result.structured_content

    def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The error of a call that is refused: code, message, fields."""
        return error_of(self.call(tool, **arguments))

    def many(self, tool: str, calls: Sequence[dict[str, Any]], at_once: int = 16) -> list[dict[str, Any]]:
        """Structured contents of calls of which several are in flight."""
        found: list[dict[str, Any]] = self._portal.call(self._many, tool, calls, at_once)
        return found

    def texts(self, query: str, **arguments: Any) -> list[str]:
        """The texts that a recall finds, best first."""
        return [hit["text"] for hit in self.ok("recall", query=query, **arguments)["hits"]]

    def read(self, uri: str) -> str:
        """The text of a resource."""
        content: str = self.run("read_resource", uri).contents[0].text
        return content

    def is_embedded(self) -> bool:
        found = self.ok("status")
        return found["model"]["ready"] and not found["pending"]["vectors"] and not found["pending"]["words"]

    def until_embedded(self, seconds: float = SECONDS) -> None:
        wait_until(self.is_embedded, seconds, "embedding all memories")

    def output_schema(self, tool: str) -> dict[str, Any]:
        if not self._schemas:
            self._schemas = {found.name: found.output_schema for found in self.run("list_tools").tools}
        return self._schemas[tool]

    @property
    def log(self) -> str:
        """What the server wrote to standard error."""
        return self._log.read_text()

    @property
    def instructions(self) -> str | None:
        return self._client.instructions

    async def _limited(self, name: str, args: Sequence[Any]) -> Any:
        with anyio.fail_after(SECONDS):
            return await getattr(self._client, name)(*args)

    async def _many(self, tool: str, calls: Sequence[dict[str, Any]], at_once: int) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = [{}] * len(calls)
        waiting = iter(enumerate(calls))

        async def work() -> None:
            for place, arguments in waiting:
                result = await self._client.call_tool(tool, arguments)
                assert not result.is_error, result.content
                results[place] = result.structured_content or {}

        with anyio.fail_after(2 * SECONDS):
            async with anyio.create_task_group() as group:
                for _ in range(at_once):
                    group.start_soon(work)
        return results


@contextmanager
def mcp_client(home: Path, mode: Any = "auto", **settings: str) -> Iterator[McpClient]:
    """A client with a stdio server of its own, which ends with it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    log = home.with_name(f"{home.name}.{time.monotonic_ns()}.log")
    server = StdioServerParameters(
        command=SOMA[0], args=[*SOMA[1:], "mcp"], env=environment(home, **settings), cwd=ROOT
    )
    with log.open("w") as errors, start_blocking_portal() as portal:
        transport = stdio_client(server, errlog=errors)
        with portal.wrap_async_context_manager(Client(transport, mode=mode)) as client:
            yield McpClient(client, portal, log)


class Server:
    """A stdio server spoken to by the line. Every line that it prints is kept."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.lines: list[bytes] = []
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._last_id = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def handshake(self) -> dict[str, Any]:
        found = self.ask("initialize", INITIALIZE)
        self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        return found

    def send(self, line: str | bytes) -> None:
        self._stdin.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
        self._stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a request."""
        self._last_id += 1
        return self.ask_line(self.request(method, json.dumps(params), self._last_id), self._last_id)

    def ask_line(self, line: str | bytes, expected: int | None, seconds: float = SECONDS) -> dict[str, Any]:
        """The message that answers a line, by its id (None: the next message without one)."""
        self.send(line)
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self._answers.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no answer within {seconds} s to {line[:100]!r}") from None
            message: dict[str, Any] = json.loads(answer)
            if "method" not in message and message.get("id") == expected:
                return message

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of a tool call as it is on the wire."""
        result: dict[str, Any] = self.ask("tools/call", {"name": tool, "arguments": arguments})["result"]
        return result

    def call_with(self, tool: str, arguments: str) -> dict[str, Any]:
        """The same with arguments that were written as JSON by hand."""
        self._last_id += 1
        params = f'{{"name":"{tool}","arguments":{arguments}}}'
        answer = self.ask_line(self.request("tools/call", params, self._last_id), self._last_id)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def ok(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self.call(tool, arguments)
        assert not result.get("isError"), result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    def is_embedded(self) -> bool:
        found = self.ok("status", {})
        return found["model"]["ready"] and not found["pending"]["vectors"]

    def close_input(self) -> None:
        self._stdin.close()

    def end(self) -> None:
        """Kill the process if it is still there, and let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        self._stdout.close()
        with suppress(BrokenPipeError):
            self._stdin.close()

    def until_silent(self) -> list[bytes]:
        """All lines that the server printed, when its standard output has ended."""
        self._reader.join(SECONDS)
        assert not self._reader.is_alive()
        return self.lines

    def _read(self) -> None:
        for line in self._stdout:
            self.lines.append(line)
            self._answers.put(line)

    @staticmethod
    def request(method: str, params: str, number: int) -> str:
        return f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}}}'


@contextmanager
def server(home: Path, command: Sequence[str] = (*SOMA, "mcp"), **settings: str) -> Iterator[Server]:
    """A stdio server whose wire is in the test's hands; its standard error goes to ``HOME.err``."""
    with home.with_name(f"{home.name}.err").open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(home, **settings),
            cwd=ROOT,
        )
        found = Server(process)
        try:
            yield found
        finally:
            found.end()


class Shell:
    """The command `soma` on a data folder."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = settings

    def run(
        self, *args: str | bytes, stdin: str | bytes = b"", status: int | None = 0, seconds: float = 60, **settings: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; it must end with `status` (None: any)."""
        done = subprocess.run(
            [*SOMA, *args],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=environment(self.home, **(self.settings | settings)),
            cwd=ROOT,
            timeout=seconds,
            check=False,
        )
        assert status is None or done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    def text(self, *args: str | bytes, **options: Any) -> str:
        return self.run(*args, **options).stdout.decode()

    def json(self, *args: str | bytes, **options: Any) -> Any:
        """What a command prints with ``--json``."""
        return json.loads(self.run(*args, "--json", **options).stdout)

    def complaint(self, *args: str | bytes, **options: Any) -> str:
        """The one line on standard error of a command that fails."""
        done = self.run(*args, status=1, **options)
        assert done.stdout == b""
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    def refusal(self, *args: str | bytes, **options: Any) -> dict[str, Any]:
        """The error that a failing command prints with ``--json``."""
        error: dict[str, Any] = json.loads(self.complaint(*args, "--json", **options))["error"]
        return error

    def refusal_here(self, *args: str | bytes, stdin: str = "") -> dict[str, Any]:
        """The same by running the command in this process, which takes milliseconds: for tables of bad input."""
        done = CliRunner().invoke(
            soma, [*_arguments(args), "--json"], input=stdin, env=environment(self.home, **self.settings)
        )
        assert done.exit_code == 1, (done.exception, done.output)
        assert done.stdout == ""
        error: dict[str, Any] = json.loads(done.stderr)["error"]
        return error


def _arguments(args: Sequence[str | bytes]) -> list[str]:
    """Arguments as Python gives them to a program."""
    return [os.fsdecode(arg) for arg in args]


def text_of(result: CallToolResult) -> str:
    """The text that a model reads."""
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


def error_of(result: CallToolResult | dict[str, Any]) -> dict[str, Any]:
    """The error in a refused call's result, whose text says the same."""
    if isinstance(result, dict):
        result = CallToolResult.model_validate(result)
    assert result.is_error, result
    assert result.structured_content is not None, result
    error: dict[str, Any] = result.structured_content["error"]
    assert text_of(result) == f"{error['code']}: {error['message']}"
    return error


def files_holding(home: Path, words: str) -> list[str]:
    """The files under a folder in which these words stand, in any usual encoding."""
    needles = [words.encode(), words.encode("utf-16-le"), json.dumps(words)[1:-1].encode()]
    found = []
    for path in sorted(home.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        if any(needle in data for needle in needles):
            found.append(str(path.relative_to(home)))
    return found
