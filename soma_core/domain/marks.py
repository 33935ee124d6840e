"""Marks: what someone asked their own memory, and which memories were right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import Memory, short_id
from soma_core.domain.query import RecallQuery, parse_ids
from soma_core.domain.validation import MAX_NAME, check_string, invalid, printable

FIELDS = ("query", "relevant", "category")


@dataclass(frozen=True, slots=True)
class Mark:
    """A question and the ids, as given, of the memories that answer it."""

    query: str
    relevant: tuple[str, ...]
    category: str | None


def parse_mark(text: str) -> Mark:
    """The mark that one line of JSON holds. Raises `InvalidInput` naming the field."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid("mark", f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid("mark", f"must be a JSON object with {', '.join(FIELDS)}")
    if unknown := sorted(found.keys() - set(FIELDS)):
        raise invalid(printable(unknown[0]), f"unknown field; a mark may have {', '.join(FIELDS)}")
    category = found.get("category")
    return Mark(
        query=RecallQuery.parse(found.get("query")).text,
        relevant=parse_ids(found.get("relevant"), "relevant"),
        category=check_string("category", category, max_chars=MAX_NAME) if category is not None else None,
    )


def build_set(name: str, memories: Sequence[Memory], marks: Mapping[int, Mark]) -> dict[str, Any]:
    """A recall set of one conversation as JSON, from marks by their line. Raises `InvalidInput` for an unknown id."""
    if not memories:
        raise invalid("from_namespace", f"is {name!r}, and there are no memories in it")
    if not marks:
        raise invalid("marks", "holds no mark, at least one is needed")
    refs = {key: str(memory.id) for memory in memories for key in (short_id(memory.id), str(memory.id))}
    conversation = {
        "id": name[:MAX_NAME],
        "memories": [_described(memory) for memory in memories],
        "questions": [_asked(line, mark, refs) for line, mark in marks.items()],
    }
    return {"name": name[:MAX_NAME], "licence": None, "conversations": [conversation]}


def _asked(line: int, mark: Mark, refs: Mapping[str, str]) -> dict[str, Any]:
    for i, given in enumerate(mark.relevant):
        if given not in refs:
            field = f"relevant[{i}]"
            raise InvalidInput(f"line {line}: {field}: no memory of the namespace has the id {given}", fields=(field,))
    relevant = list(dict.fromkeys(refs[given] for given in mark.relevant))
    return {"query": mark.query, "relevant": relevant, "category": mark.category}


def _described(memory: Memory) -> dict[str, Any]:
    return {
        "ref": str(memory.id),
        "text": memory.text,
        "speaker": memory.speaker,
        "thread": memory.thread,
        "position": memory.position,
        "occurred_at": memory.occurred_at.isoformat().replace("+00:00", "Z"),
        "type": memory.type.value,
        "tags": list(memory.tags),
        "importance": memory.importance,
    }
