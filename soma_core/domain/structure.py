"""What the order of a conversation says about its memories: who asked, who answered, what a thread is about.

Every step gives each candidate a number; `scoring` weighs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from soma_core.domain.candidates import Candidates

BEST_OF_THREAD = 3
TOO_EVEN = 1e-6
"""Threads whose strengths spread less than this are all alike."""
MANY_WORDS = 60
"""More words than this are worth no more."""


def answers(found: Candidates) -> Sequence[float]:
    """An answer follows its question: the score of the bare question that another speaker asked right before.

    An assistant answers everything, so that its words are no answer in this sense.
    """
    seen, fused = found.seen, found.fused
    return [
        fused[before]
        if before >= 0 and not assistant and seen[before].question and seen[before].speaker != each.speaker
        else 0.0
        for each, before, assistant in zip(seen, found.before, found.assistant, strict=True)
    ]


def questions(found: Candidates) -> Sequence[float]:
    """A bare question is no answer."""
    return [-1.0 if each.question else 0.0 for each in found.seen]


def threads(found: Candidates) -> Sequence[float]:
    """A thread on the subject: how far the mean of its three best scores stands out among the threads (z)."""
    strengths = {thread: _strength(found, numbers) for thread, numbers in found.threads.items()}
    middle = fmean(strengths.values()) if strengths else 0.0
    spread = math.sqrt(fmean((each - middle) ** 2 for each in strengths.values())) if strengths else 0.0
    if spread < TOO_EVEN:
        return [0.0] * len(found.seen)
    lifts: dict[str | None, float] = {thread: (each - middle) / spread for thread, each in strengths.items()}
    lifts[None] = 0.0
    return [lifts[each.thread] for each in found.seen]


def _strength(found: Candidates, numbers: Sequence[int]) -> float:
    best = sorted([found.fused[number] for number in numbers], reverse=True)[:BEST_OF_THREAD]
    return sum(best) / len(best)


def substance(found: Candidates) -> Sequence[float]:
    """Who says more has more to tell, up to sixty words."""
    return [math.log1p(min(each.words, MANY_WORDS)) for each in found.seen]


def assistants(found: Candidates) -> Sequence[float]:
    """An assistant's many words drown what people said: theirs come first."""
    return [-1.0 if assistant else 0.0 for assistant in found.assistant]


def neighbours(found: Candidates) -> Sequence[float]:
    """What stands beside a good candidate is good too: the scores right before and after it."""
    fused = found.fused
    return [fused[before] + fused[after] for before, after in zip(found.before, found.after, strict=True)]
