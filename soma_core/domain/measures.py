"""How good ranked answers are, and how sure that is: pure functions.

What is relevant is relevant or not, without grades. A ranking is a sequence of distinct refs, best first. Every measure
lies between 0 and 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

RESAMPLES = 1_000
FLIPS = 10_000
SEED = 20_240_229
"""Of all chance in here: the same values give the same interval and the same p."""

Measure = Callable[[Sequence[str], Collection[str]], float]
"""From a ranking and what is relevant (never empty) to 0..1."""


def recall_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """The share of what is relevant that stands among the first `k`."""
    return len(set(ranking[:k]) & set(relevant)) / len(set(relevant))


def any_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """1 when anything relevant stands among the first `k`."""
    return float(not set(relevant).isdisjoint(ranking[:k]))


def all_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """1 when all that is relevant stands among the first `k`."""
    return float(set(relevant) <= set(ranking[:k]))


def ndcg_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Gains discounted by log2(1 + rank), over those of the best possible ranking (Järvelin and Kekäläinen, 2002)."""
    gained = sum(_discount(rank) for rank, ref in enumerate(ranking[:k], 1) if ref in relevant)
    return gained / sum(_discount(rank) for rank in range(1, min(k, len(set(relevant))) + 1))


def _discount(rank: int) -> float:
    return 1 / math.log2(1 + rank)


def reciprocal_rank_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """1 / the rank of the first that is relevant; 0 when none is among the first `k`."""
    return next((1 / rank for rank, ref in enumerate(ranking[:k], 1) if ref in relevant), 0.0)


DEEPEST = 20
"""How much of a ranking the measures look at."""

MEASURES: Mapping[str, Measure] = {
    **{f"recall@{k}": partial(recall_at, k) for k in (1, 5, 10, DEEPEST)},
    **{f"any@{k}": partial(any_at, k) for k in (5, 10)},
    **{f"all@{k}": partial(all_at, k) for k in (5, 10)},
    "ndcg@10": partial(ndcg_at, 10),
    "mrr@10": partial(reciprocal_rank_at, 10),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """How much the mean of pairs grew, with its 95 % interval; `p` is how likely chance alone moves it as far."""

    change: Figure
    p: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of the values do not exceed; of none 0."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def estimate(*groups: Sequence[float]) -> Figure:
    """The mean over groups of their means, with the interval of a percentile bootstrap within each group."""
    chance = random.Random(SEED)
    means = [fmean(sum(chance.choices(group, k=len(group))) / len(group) for group in groups) for _ in range(RESAMPLES)]
    return Figure(fmean(map(fmean, groups)), percentile(means, 0.025), percentile(means, 0.975))


def compare(before: Sequence[float], after: Sequence[float]) -> Paired:
    """A paired bootstrap for the interval, and a paired permutation test (random signs) for p."""
    changes = [b - a for a, b in zip(before, after, strict=True)]
    moved = [change for change in changes if change]
    chance = random.Random(SEED)
    least = abs(sum(moved)) - 1e-9
    as_far = sum(abs(sum(map(_signed, moved, _bits(chance, len(moved))))) >= least for _ in range(FLIPS))
    return Paired(estimate(changes), (as_far + 1) / (FLIPS + 1))


def _signed(change: float, bit: str) -> float:
    return change if bit == "1" else -change


def _bits(chance: random.Random, n: int) -> str:
    return f"{chance.getrandbits(n):0{n}b}" if n else ""
