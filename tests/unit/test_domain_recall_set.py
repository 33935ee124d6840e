"""Recall sets and marks: what is read, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.errors import InvalidInput
from soma_core.domain.lines import parse_line
from soma_core.domain.marks import parse_mark
from soma_core.domain.recall_set import NO_CATEGORY, parse_set

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = Path(__file__).parents[3] / "shared" / "data" / "recall"
MEMORIES = [
    {"ref": "a", "text": "Owls sleep by day.", "speaker": "Ida", "thread": "zoo", "position": 1,
     "occurred_at": "2026-01-02T03:04:05Z"},
    {"ref": "b", "text": "Do they?", "speaker": "Jon", "thread": "zoo", "position": 0, "occurred_at": None},
    {"ref": "c", "text": "It rains."},
]  # fmt: skip
QUESTIONS = [
    {"query": "When do owls sleep?", "relevant": ["a"], "category": "habits"},
    {"query": "What is the weather?", "relevant": ["c", "b"]},
]
CONVERSATION = {"id": "one", "memories": MEMORIES, "questions": QUESTIONS}
SET = {"name": "tiny", "licence": "none", "conversations": [CONVERSATION]}
MISSING = object()


def changed(path: str, value: object) -> Any:
    """The set with one value replaced, or taken out (MISSING)."""
    found: Any = copy.deepcopy({"set": SET})
    *parents, last = ["set", *(int(step) if step.isdigit() else step for step in path.split(".") if step)]
    place = found
    for step in parents:
        place = place[step]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return found["set"]


def test_a_set_is_read_with_the_memories_of_a_thread_in_their_order() -> None:
    found = parse_set(SET)
    (conversation,) = found.conversations

    assert (found.name, found.memories, found.questions) == ("tiny", 3, 2)
    assert conversation.refs == ("b", "a", "c")
    assert [memory.text for memory in conversation.memories] == ["Do they?", "Owls sleep by day.", "It rains."]
    assert conversation.memories[0].occurred_at is None
    assert conversation.questions[1].relevant == ("c", "b")
    assert found.categories == ["habits", NO_CATEGORY]


def test_memories_without_a_thread_stay_as_they_are_listed() -> None:
    memories = [{"ref": str(n), "text": "x", "position": 9 - n} for n in range(5)]
    found = parse_set(changed("conversations.0", {**CONVERSATION, "memories": memories, "questions": [
        {"query": "x", "relevant": ["1"]}]}))  # fmt: skip
    assert found.conversations[0].refs == ("0", "1", "2", "3", "4")


def test_a_text_longer_than_a_memory_may_be_is_cut_and_named() -> None:
    conversation = parse_set(changed("conversations.0.memories.2.text", "ü" * 40_000)).conversations[0]
    assert conversation.cut == ("c",)
    assert conversation.memories[2].text == "ü" * 32_768


@pytest.mark.parametrize(
    ("path", "value", "field", "allowed"),
    [
        ("", [], "the set", "must be a JSON object"),
        ("name", MISSING, "name", "is missing"),
        ("name", 5, "name", "must be a string"),
        ("conversations", MISSING, "conversations", "is missing"),
        ("conversations", [], "conversations", "must be a list of at least one"),
        ("conversations", {"id": "one"}, "conversations", "must be a list of at least one"),
        ("conversations.0", "one", "conversations[0]", "must be a JSON object"),
        ("conversations.0.id", MISSING, "conversations[0].id", "is missing"),
        ("conversations.0.memories", MISSING, "conversations[0].memories", "is missing"),
        ("conversations.0.memories", [], "conversations[0].memories", "must be a list of at least one"),
        ("conversations.0.questions", [], "conversations[0].questions", "must be a list of at least one"),
        ("conversations.0.memories.1", 7, "conversations[0].memories[1]", "must be a JSON object"),
        ("conversations.0.memories.1.ref", MISSING, "conversations[0].memories[1].ref", "is missing"),
        ("conversations.0.memories.1.ref", "a", "conversations[0].memories[1].ref", "must have another ref"),
        ("conversations.0.memories.1.text", MISSING, "conversations[0].memories[1].text", "is missing"),
        ("conversations.0.memories.1.text", " ", "conversations[0].memories[1].text", "must not be empty"),
        ("conversations.0.memories.1.text", "\ud800" * 70_000, "conversations[0].memories[1].text", "not allowed"),
        ("conversations.0.memories.1.speaker", 5, "conversations[0].memories[1].speaker", "must be a string"),
        ("conversations.0.memories.1.occurred_at", "May", "conversations[0].memories[1].occurred_at", "ISO 8601"),
        ("conversations.0.memories.1.position", -1, "conversations[0].memories[1].position", "must be from 0"),
        ("conversations.0.questions.1.query", MISSING, "conversations[0].questions[1].query", "is missing"),
        ("conversations.0.questions.1.query", "", "conversations[0].questions[1].query", "must not be empty"),
        ("conversations.0.questions.1.relevant", MISSING, "conversations[0].questions[1].relevant", "is missing"),
        ("conversations.0.questions.1.relevant", [], "conversations[0].questions[1].relevant", "at least one"),
        ("conversations.0.questions.1.relevant", ["b", "d"], "conversations[0].questions[1].relevant[1]",
         "is 'd', must be the ref of a memory of the same conversation"),
        ("conversations.0.questions.1.relevant", ["b", "b"], "conversations[0].questions[1].relevant[1]",
         "each ref must be named once"),
        ("conversations.0.questions.1.category", 3, "conversations[0].questions[1].category", "must be a string"),
        ("conversations", [CONVERSATION, CONVERSATION], "conversations[1].id", "must have another id"),
    ],
)  # fmt: skip
def test_a_wrong_set_is_refused_naming_the_place_and_what_is_allowed(
    path: str, value: object, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_set(changed(path, value))
    assert refused.value.fields == (field,)
    assert refused.value.message.startswith(f"{field}: ")
    assert allowed in refused.value.message


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", "mark"),
        ("[1]", "mark"),
        ('{"relevant": ["0123456789ab"]}', "query"),
        ('{"query": "x"}', "relevant"),
        ('{"query": "x", "relevant": []}', "relevant"),
        ('{"query": "x", "relevant": ["0123456789ab", "nonsense"]}', "relevant[1]"),
        ('{"query": "x", "relevant": ["0123456789ab"], "category": 1}', "category"),
        ('{"query": "x", "relevant": ["0123456789ab"], "note": 1}', "note"),
    ],
)
def test_a_wrong_mark_is_refused_naming_the_field(line: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_mark(line)
    assert refused.value.fields == (field,)


def test_the_example_set_is_the_diary_with_its_questions() -> None:
    (conversation,) = parse_set(json.loads((EXAMPLES / "diary-set.json").read_text())).conversations
    diary = [parse_line(line) for line in (EXAMPLES / "diary.jsonl").read_bytes().splitlines()]
    assert dict(zip(conversation.refs, conversation.memories, strict=True)) == {
        str(line): memory for line, memory in enumerate(diary, 1)
    }
    asked = json.loads((EXAMPLES / "questions.json").read_text())
    for question, listed in zip(conversation.questions, asked, strict=True):
        assert question.query == listed["question"]
        (right,) = question.relevant
        assert listed["expect"] in diary[int(right) - 1].text


@pytest.mark.parametrize(
    ("name", "conversations", "memories", "questions"), [("locomo-dev", 5, 2_760, 997), ("beam-dev", 6, 1_290, 108)]
)
def test_the_sets_beside_the_checkout_can_be_read(name: str, conversations: int, memories: int, questions: int) -> None:
    path = DATA / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    found = parse_set(json.loads(path.read_text()))
    assert (len(found.conversations), found.memories, found.questions) == (conversations, memories, questions)
