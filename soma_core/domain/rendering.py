"""What a model is shown of memories and answers: short text, every entry dated and with its id."""

from __future__ import annotations

from collections.abc import Sequence

from soma_core.domain.excerpts import count_tokens, cut_to
from soma_core.domain.memory import Memory, short_id
from soma_core.domain.query import Alike, Hit, Recall

BETWEEN = "\n\n"
LABEL = 80
"""Characters shown of a thread or speaker."""
TAGS = 120
"""Characters shown of the tags together."""
NAMED = 3
"""So many of the memories that say the same are named."""
CUT = "([cut]: a part of a longer text; get reads the whole)"
NOTHING = "Nothing was found."
NOTHING_NEW = "Nothing new was found."
NOT_RELEVANT = "Nothing clearly relevant was found. The nearest:"


def line(memory: Memory) -> str:
    """A memory in one entry: when, where, short id, who, what."""
    return f"{head(memory)}{memory.text}"


def head(memory: Memory) -> str:
    """What stands before the text of a memory."""
    where = f" in {_label(memory.thread)}" if memory.thread else ""
    tags = _clipped("".join(f" #{tag}" for tag in memory.tags), TAGS)
    who = f"{_label(memory.speaker)}: " if memory.speaker else ""
    return f"[{short_id(memory.id)}] {memory.occurred_at.date()}{where}{tags}\n{who}"


def foot(alike: Sequence[Alike], cut: bool) -> str:
    """What stands after the text of a hit."""
    marked = " [cut]" if cut else ""
    if not alike:
        return marked
    named = ", ".join(f"[{short_id(each.id)}] {each.occurred_at.date()}" for each in alike[:NAMED])
    more = f" and {len(alike) - NAMED} more" if len(alike) > NAMED else ""
    return f"{marked}\n({len(alike)} alike: {named}{more})"


def entry(hit: Hit) -> str:
    """A hit as it is shown."""
    return line(hit.memory) + foot(hit.alike, hit.cut)


def rendered(found: Recall, max_tokens: int) -> str:
    """An answer as it is shown: at most `max_tokens` counted tokens, whatever it holds.

    Where not all fits, what is said beside the hits is left out, from the first of the notes on.
    """
    for left_out in range(len(notes(found)) + 1):
        if count_tokens(text := framed(found, left_out)) <= max_tokens:
            return text
    if count_tokens(bare := BETWEEN.join(map(entry, found.hits))) <= max_tokens and bare:
        return bare
    return cut_to(found.hits[0].memory.text if found.hits else NOTHING, max_tokens)


def framed(found: Recall, left_out: int = 0) -> str:
    """The whole answer: its hits and, but for the first ones, what is said beside them."""
    shown = [entry(hit) for hit in found.hits] or [NOTHING_NEW if found.seen else NOTHING]
    if found.hits and found.relevance == "none":
        shown.insert(0, NOT_RELEVANT)
    return BETWEEN.join([*shown, *notes(found)[left_out:]])


def notes(found: Recall) -> list[str]:
    """What is said below the hits, the most important last."""
    said = [f"(cursor: {found.cursor})"] if found.cursor else []
    said += [CUT] if any(hit.cut for hit in found.hits) else []
    said += [f"({found.seen} more you have already)"] if found.seen else []
    said += [f"({found.omitted} more did not fit into max_tokens)"] if found.omitted else []
    return said + [f"(degraded: {reason})" for reason in found.degraded]


def _label(text: str) -> str:
    return _clipped(text, LABEL)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
