"""What a metric is; the tables that use it name every one there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its kind, the names of its labels, and what it counts."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    doc: str
