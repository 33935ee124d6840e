"""What the order of a conversation says about its memories: who asked, who answered, what a thread is about.

Every step gives each candidate a number, or an empty list for none; `scoring` weighs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from soma_core.domain.asking import wants_assistant
from soma_core.domain.candidates import Candidates

BEST_OF_THREAD = 2
TOO_EVEN = 1e-6
"""Threads whose strengths spread less than this are all alike."""
MANY_WORDS = 60
"""More words than this are worth no more."""
_SUBSTANCE = [math.log1p(words) for words in range(MANY_WORDS + 1)]
SHORT_TURN = 30
"""Texts of about so many words are chat."""
FEW = 3
DROWNING = 3.0


def answers(found: Candidates) -> Sequence[float]:
    """An answer follows its question: the score of the bare question that another speaker asked right before.

    An assistant answers everything, so that its words are no answer in this sense.
    """
    fused, asking, speakers = found.fused, found.asking, found.speakers
    return [
        fused[before] if before >= 0 and not assistant and asking[before] and speakers[before] != speaker else 0.0
        for speaker, before, assistant in zip(speakers, found.before, found.assistant, strict=True)
    ]


def questions(found: Candidates) -> Sequence[float]:
    """A bare question is no answer."""
    return [-1.0 if asks else 0.0 for asks in found.asking]


def threads(found: Candidates) -> Sequence[float]:
    """A thread on the subject: how far the mean of its two best scores stands out among the threads (z)."""
    strengths = {thread: _strength(found, numbers) for thread, numbers in found.threads.items()}
    middle = fmean(strengths.values()) if strengths else 0.0
    spread = math.sqrt(fmean((each - middle) ** 2 for each in strengths.values())) if strengths else 0.0
    if spread < TOO_EVEN:
        return []
    lifts: dict[str | None, float] = {thread: (each - middle) / spread for thread, each in strengths.items()}
    lifts[None] = 0.0
    return [lifts[thread] for thread in found.in_thread]


def _strength(found: Candidates, numbers: Sequence[int]) -> float:
    best = sorted([found.fused[number] for number in numbers], reverse=True)[:BEST_OF_THREAD]
    return sum(best) / len(best)


def substance(found: Candidates) -> Sequence[float]:
    """Who says more has more to tell, up to sixty words; the longer the texts are anyway, the less that says.

    In chat of short turns it tells news from "Oh, nice!"; where the middle one has three hundred words, nothing.
    """
    lengths = sorted(found.words)
    middle = lengths[len(lengths) // 2] if lengths else 0
    share = SHORT_TURN / max(SHORT_TURN, middle)
    return [share * _SUBSTANCE[min(words, MANY_WORDS)] for words in found.words]


def assistants(found: Candidates) -> Sequence[float]:
    """An assistant's many words drown what people said: theirs come first, unless the question asks for its words.

    Full where its texts are three times as long as theirs (by medians) or longer, nothing where they are no longer: an
    assistant that keeps short notes drowns nobody.
    """
    pairs = list(zip(found.words, found.assistant, strict=True))
    its = sorted(words for words, assistant in pairs if assistant)
    theirs = sorted(words for words, assistant in pairs if not assistant)
    if not its or not theirs or wants_assistant(found.question.text):
        return []
    longer = its[len(its) // 2] / max(1, theirs[len(theirs) // 2])
    share = min(1.0, max(0.0, (longer - 1) / (DROWNING - 1)))
    return [-share if assistant else 0.0 for assistant in found.assistant]


def standing(found: Candidates) -> Sequence[float]:
    """A person's standing instruction on the subject goes with every answer, while there are few of them."""
    given = [
        instructs and not assistant for instructs, assistant in zip(found.instructing, found.assistant, strict=True)
    ]
    if not 0 < sum(given) <= max(FEW, len(given) // 10):
        return []
    return [float(each) for each in given]


def neighbours(found: Candidates) -> Sequence[float]:
    """What stands beside a good candidate is good too: the scores right before and after it."""
    fused = found.fused
    return [fused[before] + fused[after] for before, after in zip(found.before, found.after, strict=True)]
