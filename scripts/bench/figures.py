"""What a row of the result is made of."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Series:
    """Measurements of one kind."""

    what: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def json(self) -> dict[str, Any]:
        """The series as one object: what, unit, n, median, p95, least, most."""
        return {
            "what": self.what,
            "unit": self.unit,
            "n": len(self.values),
            "median": rounded(self.median),
            "p95": rounded(percentile(self.values, 95)),
            "least": rounded(min(self.values)),
            "most": rounded(max(self.values)),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One bound: what was measured, its control, and whether it holds."""

    name: str
    measured: Series
    controls: Sequence[Series]
    relation: str
    """How the value comes from the medians: a ratio, or a difference in the unit of the series."""
    value: float
    bound: str
    holds: bool
    context: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": self.measured.json(),
            "controls": [control.json() for control in self.controls],
            "relation": self.relation,
            "value": rounded(self.value),
            "bound": self.bound,
            "holds": self.holds,
            **({"context": dict(self.context)} if self.context else {}),
        }


def at_most(limit: float) -> str:
    return f"<= {limit:g}"


def at_least(limit: float) -> str:
    return f">= {limit:g}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def milliseconds(began: float) -> float:
    """Since `began`, a moment of `time.perf_counter`."""
    return (time.perf_counter() - began) * 1000


def say(message: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {message}", file=sys.stderr, flush=True)
