"""Texts and questions like those of an agent's memory: made from a fixed seed, no two the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

DIARY = Path(__file__).parents[2] / "examples" / "diary.jsonl"

PEOPLE = (
    "Mara", "Jonas", "Priya", "Tomasz", "Ines", "Okello", "Beatrix", "Hiro", "Salome", "Viktor", "Leila", "Anders",
    "Chiamaka", "Ruben", "Yuki", "Petra", "Dario", "Noor", "Magnus", "Celeste",
)  # fmt: skip
SUBJECTS = (
    "the checkout flow", "the nightly export", "the label printer", "the seed catalogue", "the staging database",
    "the payment provider", "the search index", "the image resizer", "the delivery calendar", "the stock report",
    "the login page", "the newsletter", "the tax rounding", "the greenhouse sensors", "the mobile layout",
    "the backup job", "the discount codes", "the order archive", "the error budget", "the customer survey",
)  # fmt: skip
ACTIONS = (
    "decided to postpone", "asked me to rewrite", "found a race in", "wants to replace", "is worried about",
    "finally fixed", "measured the latency of", "documented", "rolled back the change to", "took over",
    "will present", "cut the cost of", "added tests for", "could not reproduce the fault in",
)  # fmt: skip
REASONS = (
    "because the old version lost rows when two people saved at once",
    "since the autumn season starts in three weeks and nothing may break then",
    "because the vendor changes its contract at the end of the quarter",
    "after a customer in Ghent paid twice and had to wait nine days for the refund",
    "so that the garden centres can work when the line is down",
    "because the log showed timeouts every morning between six and seven",
    "since nobody could say any more why the number was chosen",
    "after the review showed that half of the code was never called",
)
RULES = (
    "Keep the feature flag until the next inventory.",
    "Run the migration on a copy first and compare the totals.",
    "Tell the shop in Leuven a day before.",
    "The limit stays at {n} requests a minute.",
    "Ticket QW-{n} has the details and the screenshots.",
    "It took {n} minutes, and most of that was waiting.",
    "Never restart it between eight and ten in the morning.",
    "The next look at it is on the {day} of October.",
)
QUESTIONS = (
    "What did {person} say about {subject}?",
    "Why did {person} want to change {subject}?",
    "When is the next look at {subject}, {person} asked?",
    "Which ticket has the details of {subject} for {person}?",
    "Who {action} {subject} with {person}?",
)


def texts(number: int, seed: int = 1) -> list[str]:
    """Distinct texts of about forty tokens; at most each tenth is one of the diary's."""
    return list(islice(_texts(Random(seed)), number))


def questions(number: int, seed: int = 2) -> list[str]:
    """Distinct questions of about twelve tokens."""
    return list(islice(_questions(Random(seed)), number))


def _texts(random: Random) -> Iterator[str]:
    diary = [str(json.loads(entry)["text"]) for entry in DIARY.read_text(encoding="utf-8").splitlines()]
    seen: set[str] = set()
    while True:
        text = diary.pop() if diary and len(seen) % 10 == 9 else _text(random)
        if text not in seen:
            seen.add(text)
            yield text


def _text(random: Random) -> str:
    first, second = random.sample(PEOPLE, 2)
    rule = random.choice(RULES).format(n=random.randint(11, 9_999), day=f"{random.randint(4, 28)}th")
    return (
        f"{first} {random.choice(ACTIONS)} {random.choice(SUBJECTS)} {random.choice(REASONS)}. {second} agreed. {rule}"
    )


def _questions(random: Random) -> Iterator[str]:
    seen: set[str] = set()
    while True:
        shape = random.choice(QUESTIONS)
        question = shape.format(
            person=random.choice(PEOPLE), subject=random.choice(SUBJECTS), action=random.choice(ACTIONS)
        )
        if question not in seen:
            seen.add(question)
            yield question
