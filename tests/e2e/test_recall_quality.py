"""How much of what is relevant a real conversation's questions bring back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from tests.e2e.clients import ROOT, mcp_client

DATA = ROOT.parent / "shared" / "data" / "recall"
FIELDS = ("text", "speaker", "thread", "occurred_at")
LEAST_OF_FRIENDS = 0.81
LEAST_WITH_ASSISTANT = 0.67

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there")


def conversation(name: str, id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The turns of a conversation as they are stored, with their refs, and the questions that it answers."""
    found = next(c for c in json.loads((DATA / name).read_text())["conversations"] if c["id"] == id)
    questions = [q for q in found["questions"] if q["category"] != "adversarial" and q["relevant"]]
    return found["memories"], questions


def told(memory: dict[str, Any]) -> dict[str, Any]:
    return {name: memory[name] for name in FIELDS if memory[name] is not None}


def mean_share(questions: list[dict[str, Any]], answers: list[set[str]]) -> float:
    """How much of what is relevant stands in the answers, on average."""
    shares = [
        len(found & set(q["relevant"])) / len(set(q["relevant"])) for q, found in zip(questions, answers, strict=True)
    ]
    return sum(shares) / len(shares)


@needs_data
def test_four_fifths_of_what_is_relevant_in_a_long_conversation_of_friends_is_among_the_first_ten(home: Path) -> None:
    memories, questions = conversation("locomo-dev.json", "conv-26")
    assert len(memories) == 419

    with mcp_client(home) as client:
        receipts = client.many("store", [told(memory) for memory in memories])
        client.until_embedded(60)
        wanted = {"limit": 10, "max_tokens": 100_000}
        answers = client.many("recall", [{"query": q["query"], **wanted} for q in questions], at_once=4)

    assert not any(answer["degraded"] or answer["omitted"] for answer in answers)
    refs = {receipt["id"]: memory["ref"] for receipt, memory in zip(receipts, memories, strict=True)}
    assert len(refs) == 419
    recall_at_10 = mean_share(questions, [{refs[hit["id"]] for hit in answer["hits"]} for answer in answers])
    print(f"\nrecall@10 on conv-26: {recall_at_10:.4f} over {len(questions)} questions")
    assert recall_at_10 >= LEAST_OF_FRIENDS


@needs_data
def test_two_thirds_of_what_is_relevant_in_long_work_with_an_assistant_is_among_the_first_ten(home: Path) -> None:
    memories, questions = conversation("beam-dev.json", "beam-2")
    scope = Scope("quality")
    soma = create_memory_system(home=home, disk_reserve="0")
    try:
        receipts = soma.store_many(scope, [NewMemory.parse(**told(memory)) for memory in memories])
        soma.index(scope)
        asked = [RecallQuery(q["query"], limit=10, max_tokens=100_000) for q in questions]
        answers = [soma.recall(scope, query) for query in asked]
    finally:
        soma.close()

    refs = {receipt.id: memory["ref"] for receipt, memory in zip(receipts, memories, strict=True)}
    assert not any(answer.degraded or answer.omitted for answer in answers)
    recall_at_10 = mean_share(questions, [{refs[hit.memory.id] for hit in answer.hits} for answer in answers])
    print(f"\nrecall@10 on beam-2: {recall_at_10:.4f} over {len(questions)} questions")
    assert recall_at_10 >= LEAST_WITH_ASSISTANT
