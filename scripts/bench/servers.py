"""The servers that are measured, and two ways to talk to them.

`soma` and `noop` are what the protocol's own client starts. `Wire` is a client of next to no cost, for measurements in
which the client must not be what is measured: it writes ready-made lines, and knows the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from mcp import Client, StdioServerParameters

ROOT = Path(__file__).parents[2]
NOOP = Path(__file__).with_name("noop_server.py")
NOOP_ARGUMENTS = {"text": "Nothing is done with this text."}
PROTOCOL = "2025-11-25"
READY_SECONDS = 120


def environment(home: Path) -> dict[str, str]:
    """What a Soma server is told; a full disk is not what is measured."""
    return {"SOMA_HOME": str(home), "SOMA_DISK_RESERVE": "0"}


def soma(home: Path) -> StdioServerParameters:
    """The real server on a data folder."""
    arguments = ["-m", "soma_mcp.cli", "mcp"]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment(home), cwd=ROOT)


def noop() -> StdioServerParameters:
    """The control."""
    return StdioServerParameters(command=sys.executable, args=[str(NOOP)], cwd=ROOT)


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool's structured answer. Raises `RuntimeError` when it is an error."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise RuntimeError(f"{tool}: {result.content}")
    return dict(result.structured_content)


class Wire:
    """A stdio server as a process, and the protocol as plain lines (the older handshake)."""

    def __init__(self, server: StdioServerParameters) -> None:
        self.process = subprocess.Popen(
            [server.command, *server.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=server.cwd,
            env=os.environ | (server.env or {}),
        )
        assert self.process.stdin
        assert self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        self._last = 0
        client = {"name": "bench", "version": "0"}
        self.request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    @property
    def pid(self) -> int:
        return self.process.pid

    def send_call(self, tool: str, arguments: dict[str, Any]) -> None:
        """Send a call without waiting for its answer."""
        self._send("tools/call", {"name": tool, "arguments": arguments})

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A tool's structured answer. Raises `RuntimeError` when it is an error."""
        self.send_call(tool, arguments)
        return structured(self.output.readline())

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; nothing else may be under way."""
        self._send(method, params)
        return result(self.output.readline())

    def wait_embedded(self) -> None:
        """Wait until a Soma server has its model and all it was given is embedded."""
        deadline = time.monotonic() + READY_SECONDS
        while (status := self.call("status", {}))["pending"]["vectors"] or not status["model"]["ready"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not embedded after {READY_SECONDS} s: {status}")
            time.sleep(0.05)

    def close(self) -> None:
        """End the input and wait for the process to leave."""
        self.input.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, method: str, params: dict[str, Any]) -> None:
        self._last += 1
        self._write({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        self.input.write(json.dumps(message).encode() + b"\n")
        self.input.flush()


def result(line: bytes) -> dict[str, Any]:
    """What a line answers. Raises `RuntimeError` when it is an error, or the server is gone."""
    if not line:
        raise RuntimeError("the server is gone")
    message = json.loads(line)
    if "result" not in message:
        raise RuntimeError(str(message.get("error", message)))
    return dict(message["result"])


def structured(line: bytes) -> dict[str, Any]:
    """The structured content of a line that answers a call. Raises `RuntimeError`."""
    answer = result(line)
    if answer.get("isError"):
        raise RuntimeError(str(answer["content"]))
    return dict(answer["structuredContent"])
