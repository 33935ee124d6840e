"""How much of what is relevant a real conversation's questions bring back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ROOT, mcp_client

DATA = ROOT.parent / "shared" / "data" / "recall" / "locomo-dev.json"
FIELDS = ("text", "speaker", "thread", "occurred_at")
LEAST = 0.64


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there")
def test_two_thirds_of_what_is_relevant_in_a_long_conversation_is_among_the_first_ten(home: Path) -> None:
    conversation = next(c for c in json.loads(DATA.read_text())["conversations"] if c["id"] == "conv-26")
    memories = conversation["memories"]
    assert len(memories) == 419
    turns = [{name: memory[name] for name in FIELDS if memory[name] is not None} for memory in memories]
    questions = [q for q in conversation["questions"] if q["category"] != "adversarial" and q["relevant"]]

    with mcp_client(home) as client:
        receipts = client.many("store", turns)
        client.until_embedded(60)
        wanted = {"limit": 10, "max_tokens": 100_000}
        answers = client.many("recall", [{"query": q["query"], **wanted} for q in questions], at_once=4)

    assert not any(answer["degraded"] or answer["omitted"] for answer in answers)
    refs = {receipt["id"]: memory["ref"] for receipt, memory in zip(receipts, memories, strict=True)}
    assert len(refs) == 419
    shares = [share_found(question, answer, refs) for question, answer in zip(questions, answers, strict=True)]
    recall_at_10 = sum(shares) / len(shares)
    print(f"\nrecall@10 on conv-26: {recall_at_10:.4f} over {len(questions)} questions")
    assert recall_at_10 >= LEAST


def share_found(question: dict[str, Any], answer: dict[str, Any], refs: dict[str, str]) -> float:
    """How much of what is relevant stands in the answer."""
    found = {refs[hit["id"]] for hit in answer["hits"]}
    return len(found & set(question["relevant"])) / len(set(question["relevant"]))
