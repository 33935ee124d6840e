"""The command `demo`: the main job, end to end, through a real stdio server."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import click
from mcp import Client, StdioServerParameters

from soma_core.domain.errors import Unavailable
from soma_mcp.cli.common import Terminal, command

READY_SECONDS = 60
SHOWN = 3
WIDTH = 150


def examples() -> Path:
    """Where the diary is: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if installed.is_dir() else package.parent / "examples"


@click.command()
@command
def demo(terminal: Terminal) -> None:
    """Store a diary of about sixty memories over MCP, ask it a dozen questions, and show the answers.

    It uses a memory of its own, which is thrown away.
    """
    terminal.need_folder()
    with tempfile.TemporaryDirectory(prefix="soma-demo-") as home:
        try:
            answers = anyio.run(_converse, home, not terminal.as_json)
        except BaseExceptionGroup as group:
            raise _cause(group) from group
    found = sum(answer["right"] for answer in answers)
    close = f"{found} of {len(answers)} right answers (>) are among the first {SHOWN}.\n"
    close += f"\n{CONNECT.format(command=_command())}"
    terminal.show({"answers": answers}, close)


def _cause(error: BaseException) -> BaseException:
    """The one failure behind nested groups of one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _converse(home: str, talk: bool) -> list[dict[str, Any]]:
    diary = [json.loads(entry) for entry in (examples() / "diary.jsonl").read_text().splitlines()]
    questions = json.loads((examples() / "questions.json").read_text())
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "soma_mcp.cli", "mcp"], env={"SOMA_HOME": home, "SOMA_DISK_RESERVE": "0"}
    )
    began = time.perf_counter()
    async with Client(server) as client:
        for memory in diary:
            await _call(client, "store", memory)
        stored = time.perf_counter() - began
        await _until_indexed(client)
        ready = time.perf_counter() - began
        if talk:
            click.echo(f"{len(diary)} memories stored over MCP in {stored:.1f} s, embedded after {ready:.1f} s.\n")
        return [await _ask(client, question, talk) for question in questions]


async def _ask(client: Client, question: dict[str, str], talk: bool) -> dict[str, Any]:
    began = time.perf_counter()
    found = await _call(client, "recall", {"query": question["question"], "limit": SHOWN})
    milliseconds = (time.perf_counter() - began) * 1000
    hits = [
        {"text": hit["text"], "score": round(hit["score"], 3), "occurred_at": hit["occurred_at"],
         "right": question["expect"] in hit["text"]}
        for hit in found["hits"]
    ]  # fmt: skip
    if talk:
        click.echo(f"Q  {question['question']}   ({milliseconds:.0f} ms)")
        click.echo("".join(f"{_line(hit)}\n" for hit in hits))
    right = any(hit["right"] for hit in hits)
    return {"question": question["question"], "hits": hits, "right": right, "milliseconds": round(milliseconds, 1)}


def _line(hit: dict[str, Any]) -> str:
    text = hit["text"] if len(hit["text"]) <= WIDTH else hit["text"][: WIDTH - 3] + "..."
    return f" {'>' if hit['right'] else ' '} {hit['score']:.2f}  {hit['occurred_at'][:10]}  {text}"


async def _call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise Unavailable(f"{tool}: {result.content}")
    return dict(result.structured_content)


async def _until_indexed(client: Client) -> None:
    with anyio.fail_after(READY_SECONDS):
        while (status := await _call(client, "status", {}))["pending"]["vectors"] or not status["model"]["ready"]:
            await anyio.sleep(0.05)


def _command() -> str:
    """The command that another program starts: beside this Python, else found on the path."""
    beside = Path(sys.executable).with_name("soma")
    return str(beside) if beside.exists() else "soma"


CONNECT = """\
Connect your own agent; they can all share one memory:

  Claude Code        claude mcp add soma -- {command} mcp
  Codex              codex mcp add soma -- {command} mcp
  Cursor, Claude Desktop (mcp.json, claude_desktop_config.json):
    {{"mcpServers": {{"soma": {{"command": "{command}", "args": ["mcp"]}}}}}}
  VS Code (.vscode/mcp.json):
    {{"servers": {{"soma": {{"command": "{command}", "args": ["mcp"]}}}}}}"""
