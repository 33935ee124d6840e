"""Commands on memories: store, recall, get, browse, forget."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from soma_core.domain.errors import ModelMissing, Retryable
from soma_core.domain.memory import MemoryType, NewMemory, short_id
from soma_core.domain.query import BrowseQuery, Filter, Recall, RecallQuery, parse_ids
from soma_core.domain.rendering import foot, line
from soma_core.domain.validation import check_string
from soma_mcp.cli.common import Terminal, command, decode, list_or_none, open_input, parse_json
from soma_mcp.tools.answers import compact, describe, describe_page, describe_recall
from soma_mcp.tools.receipts import MAX_REASON, describe_receipt, describe_stored, shown_receipt

if TYPE_CHECKING:
    from soma_mcp.cli.common import Opened

CATCH_UP = 200
"""A command embeds so many waiting memories before it answers; more than that it leaves to `soma reindex`."""

types = click.option("--type", "types", multiple=True, help=f"Only this type ({', '.join(MemoryType)}); repeatable.")
tags = click.option("--tag", "tags", multiple=True, help="Only with this tag; repeated: with all of them.")
thread = click.option("--thread", help="Only of this thread.")
speaker = click.option("--speaker", help="Only by this speaker.")
since = click.option("--since", help="Only what occurred then or later (ISO 8601).")
until = click.option("--until", help="Only what occurred until then; a date includes that day.")


@click.command()
@click.argument("text")
@click.option("--type", "type_", default="episodic", show_default=True, help=", ".join(MemoryType))
@click.option("--tag", "tags", multiple=True, help="Repeatable.")
@click.option("--thread", help="The conversation or run it belongs to.")
@click.option("--speaker", help="Who said it.")
@click.option("--occurred-at", help="ISO 8601 date or time; default now.")
@click.option("--coordinate", help='An address such as "1,2.5,3"; storing there again revises the memory.')
@click.option("--importance", type=float, default=0.5, show_default=True, help="0 to 1.")
@click.option("--payload", help="A JSON object that is kept with it.")
@click.option("--key", help="Idempotency key: the same call again changes nothing.")
@click.option("--check", is_flag=True, help="Look for similar memories first; the same text is not stored twice.")
@command
def store(
    terminal: Terminal,
    text: str,
    type_: str,
    tags: tuple[str, ...],
    payload: str | None,
    key: str | None,
    check: bool,
    **fields: Any,
) -> None:
    """Keep a memory. TEXT - reads standard input."""
    if text == "-":
        text = decode("text", open_input("-").read())
    raw = parse_json("payload", payload) if payload is not None else None
    memory = NewMemory.parse(text, type=type_, tags=list(tags), payload=raw, **fields)
    with terminal.memory() as shared:
        store_it = shared.store_checked if check else shared.store
        receipt = store_it(terminal.scope(key), memory)
    lines = [f"{receipt.status.value} {receipt.id} (version {receipt.version})"]
    lines += [f"similar {s.id} ({s.score:.2f}): {s.text}" for s in receipt.similar]
    terminal.show(describe_stored(receipt), "\n".join(lines))


@click.command()
@click.argument("query")
@click.option("--limit", type=int, default=10, show_default=True)
@types
@tags
@thread
@speaker
@since
@until
@click.option("--order", default="score", show_default=True, help="score or time")
@click.option("--max-tokens", type=int, default=2000, show_default=True, help="Budget for the answer.")
@click.option("--recency/--no-recency", default=True, help="Whether the newer of equals comes first, by a little.")
@click.option("--since-cursor", help="Leave out what was shown up to the answer that printed it.")
@command
def recall(
    terminal: Terminal,
    query: str,
    limit: int,
    order: str,
    max_tokens: int,
    recency: bool,
    since_cursor: str | None,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    **fields: str | None,
) -> None:
    """Find memories by meaning and by words."""
    wanted = Filter.parse(types=list_or_none(types), tags=list_or_none(tags), **fields)
    question = RecallQuery.parse(
        query,
        limit=limit,
        order=order,
        max_tokens=max_tokens,
        filter=wanted,
        since_cursor=since_cursor,
        recency=recency,
    )
    with terminal.memory() as shared:
        _prepare(terminal, shared)
        found = shared.recall(terminal.scope(), question)
    entries = [f"{hit.score:.2f} {line(hit.memory)}{foot(hit.alike, hit.cut)}" for hit in found.hits]
    terminal.show(describe_recall(found), "\n\n".join(entries) or "Nothing was found.")
    if not terminal.as_json:
        for note in _notes(found):
            click.echo(f"({note})", err=True)


def _notes(found: Recall) -> list[str]:
    """What is said beside the memories of an answer."""
    said = ["nothing clearly relevant was found; these are the nearest"] if found.relevance == "none" else []
    said += ["[cut]: a part of a longer text; soma get reads the whole"] if any(hit.cut for hit in found.hits) else []
    said += [f"{found.seen} more you have already"] if found.seen else []
    said += [f"{found.omitted} more did not fit into --max-tokens"] if found.omitted else []
    said += found.degraded
    return said + ([f"others: --since-cursor {found.cursor}"] if found.cursor else [])


def _prepare(terminal: Terminal, shared: Opened) -> None:
    """A command can wait for the model, and for a few memories to be embedded; an agent's server does not."""
    try:
        shared.warm(terminal.scope())
        if shared.owns and 0 < shared.status(terminal.scope()).pending_vectors <= CATCH_UP:
            shared.index(terminal.scope())
    except (ModelMissing, Retryable) as error:
        click.echo(f"soma: {error.code}: {error.message}", err=True)


@click.command()
@click.argument("ids", nargs=-1, required=True)
@command
def get(terminal: Terminal, ids: tuple[str, ...]) -> None:
    """Read memories in full; IDS are whole ids or their last twelve digits."""
    with terminal.memory() as shared:
        memories = shared.get(terminal.scope(), parse_ids(ids))
    shown = [
        f"{line(m)}\n({m.type.value}, version {m.version}, id {m.id}, importance {m.importance:g}"
        + (f", payload {compact(m.payload)})" if m.payload else ")")
        for m in memories
    ]
    terminal.show({"memories": [describe(memory) for memory in memories]}, "\n\n".join(shown))


@click.command()
@types
@tags
@thread
@speaker
@since
@until
@click.option("--order", default="newest", show_default=True, help="newest or oldest")
@click.option("--limit", type=int, default=20, show_default=True)
@click.option("--cursor", help="Continue after the page that printed it.")
@command
def browse(
    terminal: Terminal,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    order: str,
    limit: int,
    cursor: str | None,
    **fields: str | None,
) -> None:
    """List memories by time."""
    wanted = Filter.parse(types=list_or_none(types), tags=list_or_none(tags), **fields)
    query = BrowseQuery.parse(order=order, limit=limit, cursor=cursor, filter=wanted)
    with terminal.memory() as shared:
        page = shared.browse(terminal.scope(), query)
    terminal.show(describe_page(page), "\n\n".join(line(memory) for memory in page.memories) or "Nothing was found.")
    if page.next_cursor and not terminal.as_json:
        click.echo(f"(more: --cursor {page.next_cursor})", err=True)


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--thread", help="All of this thread.")
@click.option("--tag", "tags", multiple=True, help="All with this tag; repeated: with all of them.")
@click.option("--before", help="All that occurred earlier (ISO 8601).")
@click.option("--speaker", help="All by this speaker.")
@click.option("--purge", is_flag=True, help="Erase text and versions for good.")
@click.option("--dry-run", is_flag=True, help="Only say what would be forgotten.")
@click.option("--reason", help="Kept with the tombstone.")
@click.option("--key", help="Idempotency key: the same call again changes nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command
def forget(
    terminal: Terminal,
    ids: tuple[str, ...],
    tags: tuple[str, ...],
    purge: bool,
    dry_run: bool,
    reason: str | None,
    key: str | None,
    yes: bool,
    **fields: str | None,
) -> None:
    """Forget memories, by IDS or by a filter: nothing returns them any more."""
    wanted = Filter.parse(tags=list_or_none(tags), **fields)
    why = check_string("reason", reason, max_chars=MAX_REASON) if reason is not None else None
    chosen = parse_ids(ids) if ids else ()
    scope = terminal.scope(key)
    with terminal.memory() as shared:
        if not (dry_run or yes) and (purge or not ids) and sys.stdin.isatty():
            plan = shared.forget(scope, chosen, wanted, purge, True, why)
            click.confirm(f"{'Purge' if purge else 'Forget'} {plan.count} memories?", abort=True, err=True)
        receipt = shared.forget(scope, chosen, wanted, purge, dry_run, why)
    listed = "".join(f"\n{short_id(key)}" for key in receipt.ids) if dry_run else ""
    terminal.show(describe_receipt(receipt), shown_receipt(receipt) + listed)
