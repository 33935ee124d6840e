"""The command `soma`."""

from __future__ import annotations

import importlib
import logging
import os
import sys

import click

_COMMANDS = {
    "store": "memories",
    "recall": "memories",
    "get": "memories",
    "browse": "memories",
    "forget": "memories",
    "store-bulk": "bulk",
    "stats": "upkeep",
    "reindex": "upkeep",
    "verify": "upkeep",
    "migrate": "upkeep",
    "doctor": "doctor",
    "token": "token",
    "demo": "demo",
    "eval": "eval",
    "mcp": "serve",
    "serve": "http",
    "worker": "worker",
    "dead-letters": "dead_letters",
}


class _Commands(click.Group):
    """Imports a command's module when it is called, so that `soma mcp` starts with little."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"soma_mcp.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from soma_core.bootstrap import soma_version

        click.echo(f"soma {soma_version()}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print it.")
def soma() -> None:
    """A long-term memory for LLM agents.

    Point an agent at `soma mcp`; the other commands reach the same memory, also while agents use it.
    """


def main() -> None:
    """Run the command line; files it makes are for this user only."""
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="soma: %(message)s")
    soma()
