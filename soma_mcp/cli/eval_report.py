"""Results of `soma eval` as JSON: written, read again, and compared."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import fmean
from typing import Any

from soma_core.bootstrap import soma_version
from soma_core.domain.errors import InvalidInput
from soma_core.domain.evaluation import DEFAULT_ANSWER, SCORES, Figures, Outcome, by_category, changes, summarise
from soma_core.domain.measures import MEASURES, Figure, Paired, percentile
from soma_core.domain.query import RecallQuery
from soma_core.domain.recall_set import RecallSet, check_object, inside
from soma_core.domain.validation import MAX_INTEGER, MAX_NAME, check_integer, check_number, check_string, invalid
from soma_core.services.evaluate import Evaluated
from soma_core.settings import VARIABLES, Settings

FORMAT = "soma-eval 1"
HEADLINES = ("recall@10", "ndcg@10")
SHAPING = ("SOMA_EMBEDDING_MODEL", "SOMA_LANGUAGE", "SOMA_SPARSE_MODEL", "SOMA_RERANKER_MODEL")
"""The settings that change what is found."""
LIBRARIES = ("numpy", "onnxruntime", "qdrant-edge-py", "tokenizers")
FOREVER = 1e9
"""More seconds than any question takes."""


@dataclass(frozen=True, slots=True)
class Report:
    """A result that was read again."""

    name: str
    about: dict[str, Any]
    """All but the questions."""
    outcomes: list[Outcome]


def describe_run(
    found: RecallSet,
    evaluated: Evaluated,
    described: dict[str, Any],
    *,
    model: str,
    settings: Settings,
    left_out: Sequence[str],
) -> dict[str, Any]:
    """The result of a run."""
    outcomes = evaluated.outcomes
    size = {"conversations": len(found.conversations), "memories": found.memories, "questions": found.questions}
    return {
        "format": FORMAT,
        "set": described | size,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "model": model,
        "settings": {name: _as_text(getattr(settings, VARIABLES[name].field)) for name in SHAPING},
        "versions": {"soma": soma_version(), "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()},
        "notes": _notes(found, evaluated),
        "left_out": list(left_out),
        "figures": _figures(outcomes, left_out),
        "answer": _answer(outcomes),
        "milliseconds": _milliseconds(outcomes),
        "seconds": {"store": round(evaluated.stored_seconds, 3), "index": round(evaluated.indexed_seconds, 3)},
        "ablation": {
            step: _ablated(outcomes, rankings, left_out) for step, rankings in evaluated.ablated.items()
        },
        "questions": [_outcome(outcome) for outcome in outcomes],
    }  # fmt: skip


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _notes(found: RecallSet, evaluated: Evaluated) -> list[str]:
    """What the figures do not say and a reader should know."""
    notes = [
        f"{conversation.id}: the text of {ref} was cut to the 64 KB that a memory may have"
        for conversation in found.conversations
        for ref in conversation.cut
    ]
    reasons = [reason for outcome in evaluated.outcomes for reason in outcome.degraded]
    notes += [f"{reasons.count(reason)} answers were degraded: {reason}" for reason in dict.fromkeys(reasons)]
    return notes + evaluated.health


def _figures(outcomes: Sequence[Outcome], left_out: Sequence[str]) -> dict[str, Any]:
    summary = summarise(outcomes, left_out)
    return {
        "pooled": _group(summary.pooled),
        "without_left_out": _group(summary.kept) if summary.kept else None,
        "mean_of_categories": _group(summary.mean_of_categories),
        "categories": {name: _group(group) for name, group in summary.categories.items()},
    }


def _group(found: Figures) -> dict[str, Any]:
    return {"n": found.n} | {name: _figure(figure) for name, figure in found.measures.items()}


def _figure(figure: Figure) -> dict[str, float]:
    return {name: round(value, 5) for name, value in asdict(figure).items()}


def _paired(paired: Paired) -> dict[str, float]:
    return {"change": round(paired.change.value, 5), "low": round(paired.change.low, 5),
            "high": round(paired.change.high, 5), "p": round(paired.p, 5)}  # fmt: skip


def _answer(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    tokens = [outcome.tokens for outcome in outcomes]
    return {
        "limit": RecallQuery("").limit,
        "max_tokens": RecallQuery("").max_tokens,
        "tokens": {"mean": round(fmean(tokens), 1), "p50": percentile(tokens, 0.5), "p95": percentile(tokens, 0.95),
                   "max": max(tokens)},
        "omitted": round(fmean(outcome.omitted for outcome in outcomes), 3),
    }  # fmt: skip


def _milliseconds(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    parts: dict[str, Callable[[Outcome], float]] = {
        "answer": lambda outcome: outcome.seconds,
        "embedding": lambda outcome: outcome.embed_seconds,
        "search": lambda outcome: outcome.search_seconds,
        "ranking": lambda outcome: outcome.ranking_seconds,
    }
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        name: {at: round(1_000 * percentile([part(outcome) for outcome in outcomes], shares[at]), 3) for at in shares}
        for name, part in parts.items()
    }


def _ablated(
    outcomes: Sequence[Outcome], rankings: Sequence[tuple[str, ...]], left_out: Sequence[str]
) -> dict[str, Any]:
    """The figures without a step, and what that changed over the questions that are not left out."""
    without = [replace(outcome, ranking=ranking) for outcome, ranking in zip(outcomes, rankings, strict=True)]
    kept = [outcome for outcome in outcomes if outcome.category not in left_out]
    kept_without = [outcome for outcome in without if outcome.category not in left_out]
    return {
        "figures": _means(kept_without),
        "changes": {name: _paired(paired) for name, paired in changes(kept, kept_without, HEADLINES).items()},
        "categories": {name: _means(group) for name, group in by_category(without).items()},
    }


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    return {name: round(fmean(map(SCORES[name], outcomes)), 5) for name in MEASURES}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    seconds = {"seconds", "embed_seconds", "search_seconds"}
    return {name: round(value, 6) if name in seconds else value for name, value in asdict(outcome).items()}


def read_report(name: str, value: object) -> Report:
    """A result from its JSON. Raises `InvalidInput`."""
    found = check_object(name, value)
    if found.get("format") != FORMAT or not isinstance(found.get("questions"), list) or not found["questions"]:
        raise invalid(name, f"is no result of `soma eval SET.json` (--output, --json): its format must be {FORMAT!r}")
    outcomes = []
    for i, item in enumerate(found["questions"]):
        raw = check_object(f"{name}: questions[{i}]", item)
        with inside(f"{name}: questions[{i}]"):
            outcomes.append(_read_outcome(raw))
    return Report(name, {key: item for key, item in found.items() if key != "questions"}, outcomes)


def _read_outcome(raw: Mapping[str, Any]) -> Outcome:
    return Outcome(
        conversation=check_string("conversation", raw.get("conversation"), max_chars=MAX_NAME),
        number=check_integer("number", raw.get("number"), 0, MAX_INTEGER),
        query=check_string("query", raw.get("query"), max_chars=MAX_INTEGER),
        category=check_string("category", raw.get("category"), max_chars=MAX_NAME),
        tokens=check_integer("tokens", raw.get("tokens"), 0, MAX_INTEGER),
        omitted=check_integer("omitted", raw.get("omitted"), 0, MAX_INTEGER),
        relevant=_strings(raw, "relevant", least=1),
        ranking=_strings(raw, "ranking"),
        answer=_strings(raw, "answer"),
        degraded=_strings(raw, "degraded"),
        seconds=_seconds(raw, "seconds"),
        embed_seconds=_seconds(raw, "embed_seconds"),
        search_seconds=_seconds(raw, "search_seconds"),
    )


def _seconds(raw: Mapping[str, Any], field: str) -> float:
    return check_number(field, raw.get(field), 0, FOREVER)


def _strings(raw: Mapping[str, Any], field: str, least: int = 0) -> tuple[str, ...]:
    value = raw.get(field)
    if not isinstance(value, list) or len(value) < least or not all(isinstance(item, str) for item in value):
        raise invalid(field, f"must be a list of at least {least} strings")
    return tuple(value)


def compared(before: Report, after: Report, left_out: Sequence[str]) -> dict[str, Any]:
    """A paired test of two results over the same questions. Raises `InvalidInput` when they are not the same."""
    for one, other in zip(before.outcomes, after.outcomes, strict=False):
        if (one.conversation, one.query, one.relevant, one.category) != (
            other.conversation, other.query, other.relevant, other.category,
        ):  # fmt: skip
            break
    else:
        if len(before.outcomes) == len(after.outcomes):
            return _compared(before, after, left_out)
    raise InvalidInput(
        f"{after.name}: was measured on other questions than {before.name}; only results of one set can be compared",
        fields=(after.name,),
    )


def _compared(before: Report, after: Report, left_out: Sequence[str]) -> dict[str, Any]:
    def kept(report: Report) -> list[Outcome]:
        return [outcome for outcome in report.outcomes if outcome.category not in left_out]

    groups = zip(by_category(before.outcomes).items(), by_category(after.outcomes).values(), strict=True)
    return {
        "before": _about(before),
        "after": _about(after),
        "left_out": list(left_out),
        "n": len(kept(before)),
        "pooled": _differences(kept(before), kept(after), tuple(SCORES)),
        "categories": {
            name: {"n": len(first)} | _differences(first, second, (*HEADLINES, DEFAULT_ANSWER))
            for (name, first), second in groups
        },
    }


def _about(report: Report) -> dict[str, Any]:
    kept = ("set", "measured_at", "model", "settings", "versions", "milliseconds")
    return {"file": report.name} | {name: report.about.get(name) for name in kept}


def _differences(before: Sequence[Outcome], after: Sequence[Outcome], names: Sequence[str]) -> dict[str, Any]:
    return {
        name: {
            "before": round(fmean(map(SCORES[name], before)), 5),
            "after": round(fmean(map(SCORES[name], after)), 5),
        } | _paired(paired)
        for name, paired in changes(before, after, names).items()
    }  # fmt: skip
