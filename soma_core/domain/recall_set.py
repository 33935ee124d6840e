"""Recall sets: conversations with questions whose answers are known to stand in certain memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.domain.validation import MAX_INTEGER, MAX_NAME, MAX_TEXT_BYTES, check_integer, check_string, invalid

NO_CATEGORY = "uncategorised"
MEMORY_FIELDS = ("speaker", "thread", "occurred_at", "type", "tags", "importance")
"""What a memory of a set may have of what `NewMemory` has, besides its text."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the refs of the memories that answer it."""

    query: str
    relevant: tuple[str, ...]
    category: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Memories in the order in which they are stored, and what is asked about them."""

    id: str
    refs: tuple[str, ...]
    memories: tuple[NewMemory, ...]
    questions: tuple[Question, ...]
    cut: tuple[str, ...]
    """Refs of the memories whose text was cut to what a memory may hold."""


@dataclass(frozen=True, slots=True)
class RecallSet:
    """A set of conversations, each a memory of its own."""

    name: str
    conversations: tuple[Conversation, ...]

    @property
    def memories(self) -> int:
        return sum(len(conversation.memories) for conversation in self.conversations)

    @property
    def questions(self) -> int:
        return sum(len(conversation.questions) for conversation in self.conversations)

    @property
    def categories(self) -> list[str]:
        """In the order of the alphabet."""
        return sorted({question.category for found in self.conversations for question in found.questions})


def parse_set(value: object) -> RecallSet:
    """Check a set as it was read from JSON. Raises `InvalidInput` naming the place, such as ``conversations[0].id``."""
    found = check_object("the set", value)
    name = check_string("name", _required(found, "name"), max_chars=MAX_NAME)
    conversations: dict[str, Conversation] = {}
    for i, item in enumerate(_list(found, "conversations")):
        raw = check_object(f"conversations[{i}]", item)
        with inside(f"conversations[{i}]"):
            conversation = _parse_conversation(raw)
            if conversation.id in conversations:
                raise invalid("id", f"is {conversation.id!r} again, each conversation must have another id")
            conversations[conversation.id] = conversation
    return RecallSet(name, tuple(conversations.values()))


def _parse_conversation(found: Mapping[str, Any]) -> Conversation:
    name = check_string("id", _required(found, "id"), max_chars=MAX_NAME)
    memories: dict[str, NewMemory] = {}
    places: dict[str, tuple[str | None, int]] = {}
    cut = []
    for i, item in enumerate(_list(found, "memories")):
        raw = check_object(f"memories[{i}]", item)
        with inside(f"memories[{i}]"):
            ref = check_string("ref", _required(raw, "ref"), max_chars=MAX_NAME)
            if ref in memories:
                raise invalid("ref", f"is {ref!r} again, each memory of a conversation must have another ref")
            text = _shortened(_required(raw, "text"))
            cut += [ref] * (text != raw["text"])
            memories[ref] = NewMemory.parse(text, **{field: raw.get(field) for field in MEMORY_FIELDS})
            places[ref] = memories[ref].thread, _position(raw)
    refs = _in_order(places)
    questions = []
    for i, item in enumerate(_list(found, "questions")):
        raw = check_object(f"questions[{i}]", item)
        with inside(f"questions[{i}]"):
            questions.append(parse_question(raw, memories))
    return Conversation(name, refs, tuple(memories[ref] for ref in refs), tuple(questions), tuple(cut))


def parse_question(found: Mapping[str, Any], refs: Mapping[str, Any]) -> Question:
    """Check one question about the memories with these refs. Raises `InvalidInput`."""
    query = RecallQuery.parse(_required(found, "query")).text
    relevant: list[str] = []
    for i, item in enumerate(_list(found, "relevant")):
        ref = check_string(f"relevant[{i}]", item, max_chars=MAX_NAME)
        if ref not in refs:
            raise invalid(f"relevant[{i}]", f"is {ref!r}, must be the ref of a memory of the same conversation")
        if ref in relevant:
            raise invalid(f"relevant[{i}]", f"is {ref!r} again, each ref must be named once")
        relevant.append(ref)
    category = found.get("category")
    named = check_string("category", category, max_chars=MAX_NAME) if category is not None else NO_CATEGORY
    return Question(query, tuple(relevant), named)


@contextmanager
def inside(place: str) -> Iterator[None]:
    """Put the place before the field that an `InvalidInput` names."""
    try:
        yield
    except InvalidInput as error:
        fields = [f"{place}.{field}" for field in error.fields]
        raise InvalidInput(f"{place}.{error.message}", fields=fields) from None


def check_object(field: str, value: object) -> Mapping[str, Any]:
    """A JSON object. Raises `InvalidInput`."""
    if not isinstance(value, dict):
        raise invalid(field, "must be a JSON object")
    return value


def _required(found: Mapping[str, Any], field: str) -> object:
    if field not in found:
        raise invalid(field, "is missing")
    return found[field]


def _list(found: Mapping[str, Any], field: str) -> Sequence[object]:
    value = _required(found, field)
    if not isinstance(value, list) or not value:
        raise invalid(field, "must be a list of at least one")
    return value


def _shortened(value: object) -> str:
    """The beginning of a text that is longer than a memory may be."""
    text = check_string("text", value, max_chars=MAX_INTEGER)
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def _position(found: Mapping[str, Any]) -> int:
    position = found.get("position")
    return check_integer("position", position, 0, MAX_INTEGER) if position is not None else 0


def _in_order(places: Mapping[str, tuple[str | None, int]]) -> tuple[str, ...]:
    """The refs as listed, but those of a thread among themselves by position: so they get it when they are stored."""
    threads: dict[str | None, list[str]] = {}
    for ref, (thread, _) in places.items():
        threads.setdefault(thread, []).append(ref)
    ordered = {
        thread: iter(refs if thread is None else sorted(refs, key=lambda ref: places[ref][1]))
        for thread, refs in threads.items()
    }
    return tuple(next(ordered[thread]) for thread, _ in places.values())
