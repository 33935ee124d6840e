"""The same memories and questions give the same answers, embedded and on servers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from soma_core.settings import load_settings
from tests.e2e.clients import ROOT
from tests.support.on_servers import OnServers
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer

LOCOMO = ROOT.parent / "shared" / "data" / "recall" / "locomo-dev.json"
CONVERSATIONS = 1
LEAST = 0.99
FIELDS = ("text", "type", "tags", "speaker", "thread", "occurred_at", "importance")
SCOPE = Scope("same")
PEOPLE = ("Ana", "Ben", "Cy", "Dora")
THINGS = ("kettle", "ladder", "violin", "heron", "ledger")
PLACES = ("cellar", "garden", "attic", "harbour")


@pytest.fixture
def deployments(
    tmp_path: Path, postgres: PostgresServer, any_qdrant: dict[str, str], redis_server: RedisServer
) -> Iterator[tuple[Soma, Soma]]:
    one, two = tmp_path / "one", tmp_path / "two"
    with ExitStack() as stack:
        servers = stack.enter_context(closing(OnServers(postgres, any_qdrant, redis_server)))
        settings = load_settings(servers(two), home=two, disk_reserve="0")
        yield (
            stack.enter_context(closing(create_memory_system(home=one, disk_reserve="0"))),
            stack.enter_context(closing(create_memory_system(settings))),
        )
    assert (one / "records.db").exists()
    assert not two.exists()


def diary() -> tuple[list[dict[str, Any]], list[str]]:
    """The diary of the examples with its questions, and generated texts that resemble each other with theirs."""
    examples = ROOT / "examples"
    memories = [json.loads(line) for line in (examples / "diary.jsonl").read_text().splitlines()]
    questions = [each["question"] for each in json.loads((examples / "questions.json").read_text())]
    rng = random.Random(14)
    for number in range(150):
        who, what, where = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(PLACES)
        when = f"2026-0{1 + number % 9}-{1 + number % 28:02}"
        text = f"{who} left the {what} in the {where} beside box {number}."
        memories.append({"text": text, "speaker": rng.choice(PEOPLE), "occurred_at": when})
    asked = [f"Where did {who} leave the {what}?" for who in PEOPLE for what in THINGS]
    return memories, [*questions, *asked, *(f"What is in the {where} since May?" for where in PLACES)]


def locomo() -> tuple[list[dict[str, Any]], list[str]]:
    found = json.loads(LOCOMO.read_text())["conversations"][:CONVERSATIONS]
    memories = [memory for each in found for memory in each["memories"]]
    return memories, [question["query"] for each in found for question in each["questions"]]


def tell(soma: Soma, memories: Sequence[dict[str, Any]]) -> dict[UUID, int]:
    """Store and index them all; which id the memory of which place has got."""
    told = [{name: memory[name] for name in FIELDS if memory.get(name) is not None} for memory in memories]
    receipts = soma.store_many(SCOPE, [NewMemory.parse(**each) for each in told])
    soma.index(SCOPE)
    return {receipt.id: place for place, receipt in enumerate(receipts)}


def top_ten(soma: Soma, places: dict[UUID, int], question: str) -> list[int]:
    answer = soma.recall(SCOPE, RecallQuery(question, limit=10, max_tokens=100_000))
    assert not answer.degraded
    return [places[hit.memory.id] for hit in answer.hits]


@pytest.mark.parametrize(
    "recall_set",
    [
        diary,
        pytest.param(locomo, marks=pytest.mark.skipif(not LOCOMO.exists(), reason=f"{LOCOMO.name} is not there")),
    ],
    ids=["diary", "locomo"],
)
def test_the_same_recall_set_gives_the_same_top_ten_in_both_deployments(
    deployments: tuple[Soma, Soma], recall_set: Any
) -> None:
    memories, questions = recall_set()
    embedded, distributed = deployments
    here, there = tell(embedded, memories), tell(distributed, memories)
    differing = [
        question
        for question in questions
        if not (found := top_ten(embedded, here, question)) or found != top_ten(distributed, there, question)
    ]
    share = 1 - len(differing) / len(questions)
    print(f"\nthe same top ten: {share:.4f} of {len(questions)} questions, {len(memories)} memories")
    assert share >= LEAST, differing
