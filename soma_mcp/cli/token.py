"""The commands `soma token`: who may call `soma serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from soma_core.domain.tokens import SCOPES, Token, check_token_name, parse_expiry, parse_scopes
from soma_core.domain.validation import invalid
from soma_mcp.cli.common import Terminal, command

if TYPE_CHECKING:
    from soma_mcp.sharing import SharedSoma


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that callers of `soma serve` bring.

    As soon as there is one, every caller needs one. A running server notices a change within a second.
    """


@token.command()
@click.option("--scopes", default="read,write", show_default=True, help=f"What it allows, of {', '.join(SCOPES)}.")
@click.option("--expires", help="When it ends: days such as 30d, or a date (ISO 8601), which is included.")
@click.option("--name", help="What it is for, shown by `soma token list`.")
@command
def create(terminal: Terminal, scopes: str, expires: str | None, name: str | None) -> None:
    """Make a token for the namespace, and print it: only its hash is kept, so this is the only time."""
    allowed = parse_scopes(scopes)
    ends = parse_expiry(expires, datetime.now(UTC)) if expires is not None else None
    called = check_token_name(name) if name is not None else None
    with _folder(terminal) as shared:
        made = shared.create_token(terminal.scope(), terminal.settings.namespace, allowed, ends, called)
    terminal.show(_shown(made.token) | {"token": made.secret}, made.secret)
    if not terminal.as_json:
        click.echo(f"({_described(made.token)}; it is not shown again)", err=True)


@token.command(name="list")
@command
def list_(terminal: Terminal) -> None:
    """List the tokens of every namespace, the oldest first."""
    with _folder(terminal) as shared:
        found = shared.tokens(terminal.scope())
    lines = "\n".join(_described(each) for each in found) or "There are no tokens."
    terminal.show({"tokens": [_shown(each) for each in found]}, lines)


@token.command()
@click.argument("id")
@command
def revoke(terminal: Terminal, id: str) -> None:
    """Make the token with this ID good for nothing."""
    with _folder(terminal) as shared:
        revoked = shared.revoke_token(terminal.scope(), id)
    terminal.show(_shown(revoked), f"revoked {_described(revoked)}")


@contextmanager
def _folder(terminal: Terminal) -> Iterator[SharedSoma]:
    """The memory of the data folder. Raises `InvalidInput` where commands work on that of a server."""
    if terminal.settings.url:
        raise invalid("SOMA_URL", "must not be set: tokens are kept on the machine of the server, in its data folder")
    with terminal.folder() as shared:
        yield shared


def _state(found: Token) -> str:
    if found.revoked_at:
        return f"revoked {found.revoked_at:%Y-%m-%d}"
    if found.expires_at is None:
        return "does not expire"
    return f"{'expires' if found.usable(datetime.now(UTC)) else 'expired'} {found.expires_at:%Y-%m-%d %H:%M} UTC"


def _described(found: Token) -> str:
    """A line about a token."""
    name = f" {found.name!r}" if found.name else ""
    return f"{found.id}{name}: {','.join(found.scopes)} in {found.namespace}, {_state(found)}"


def _shown(found: Token) -> dict[str, Any]:
    """A token as JSON, without its secret."""
    return {
        "id": found.id,
        "namespace": found.namespace,
        "scopes": list(found.scopes),
        "name": found.name,
        "created_at": _time(found.created_at),
        "expires_at": _time(found.expires_at),
        "revoked_at": _time(found.revoked_at),
        "usable": found.usable(datetime.now(UTC)),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
