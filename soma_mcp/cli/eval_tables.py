"""Results of `soma eval` as tables; shares in per cent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from soma_core.domain.evaluation import DEFAULT_ANSWER, SCORES

LABEL = 26
COLUMN = 8
_HEADS = {"ndcg@10": "nDCG@10", "mrr@10": "MRR@10"}


def _head(measure: str) -> str:
    return _HEADS.get(measure, measure.replace("recall@", "R@"))


def _row(label: str, *cells: str, columns: int = COLUMN) -> str:
    label = label if len(label) < LABEL else f"{label[: LABEL - 3]}.."
    return f"{label:<{LABEL}}" + "".join(f"{cell:>{columns}}" for cell in cells)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def run_table(report: Mapping[str, Any]) -> str:
    """What a run found."""
    about, seconds = report["set"], report["seconds"]
    lines = [
        f"{about['name']}: {about['conversations']} conversations, {about['memories']} memories, "
        f"{about['questions']} questions",
        f"soma {report['versions']['soma']}, {report['model']}; stored in {seconds['store']:.1f} s, "
        f"embedded in {seconds['index']:.1f} s",
        "",
        _row("per cent", "n", *map(_head, SCORES)),
        *_figure_rows(report),
        "",
        *_answer_lines(report),
        *(f"note: {note}" for note in report["notes"]),
    ]
    if report["ablation"]:
        lines += ["", *_ablation_rows(report)]
    return "\n".join(lines)


def _figure_rows(report: Mapping[str, Any]) -> Iterator[str]:
    figures = report["figures"]
    groups = {"all questions": figures["pooled"]}
    if figures["without_left_out"]:
        groups["without " + ", ".join(report["left_out"])] = figures["without_left_out"]
    several = len(figures["categories"]) > 1
    if several:
        groups["mean of categories"] = figures["mean_of_categories"]
    for label, group in groups.items():
        yield _row(label, str(group["n"]), *(_percent(group[name]["value"]) for name in SCORES))
        halves = [(group[name]["high"] - group[name]["low"]) / 2 for name in SCORES]
        yield _row("  95 % interval", "", *(f"±{_percent(half)}" for half in halves))
    for label, group in figures["categories"].items() if several else ():
        yield _row(label, str(group["n"]), *(_percent(group[name]["value"]) for name in SCORES))


def _answer_lines(report: Mapping[str, Any]) -> Iterator[str]:
    answer, tokens = report["answer"], report["answer"]["tokens"]
    pooled = report["figures"]["without_left_out"] or report["figures"]["pooled"]
    yield (
        f"{DEFAULT_ANSWER}: of what is relevant the default answer in {answer['max_tokens']} tokens holds "
        f"{_percent(pooled[DEFAULT_ANSWER]['value'])} %, the ten best {_percent(pooled['recall@10']['value'])} %"
    )
    yield (
        f"tokens of an answer: {tokens['mean']:.0f} on average, p50 {tokens['p50']}, p95 {tokens['p95']}, "
        f"at most {tokens['max']}"
    )
    for name, times in report["milliseconds"].items():
        label = "milliseconds until the answer" if name == "answer" else f"  of these {name}"
        yield f"{label:<30}p50 {times['p50']:6.2f}   p95 {times['p95']:6.2f}   p99 {times['p99']:6.2f}"


def _ablation_rows(report: Mapping[str, Any]) -> Iterator[str]:
    categories = report["figures"]["categories"]
    whole = report["figures"]["without_left_out"] or report["figures"]["pooled"]
    heads = [f"  R@10 {category[:20]}" for category in report["left_out"]]

    def others(values: Iterable[float]) -> str:
        return "".join(f"{_percent(value):>{len(head)}}" for head, value in zip(heads, values, strict=True))

    titles = ("R@10", "change", "p", "nDCG@10", "change", "p")
    yield _row("without the step", *titles, columns=10) + "".join(heads)
    now = [_percent(whole[name]["value"]) for name in ("recall@10", "ndcg@10")]
    left_out = others(categories[category]["recall@10"]["value"] for category in report["left_out"])
    yield _row("(all steps)", now[0], "", "", now[1], "", "", columns=10) + left_out
    for step, found in report["ablation"].items():
        cells: list[str] = []
        for name, paired in found["changes"].items():
            cells += [_percent(found["figures"][name]), f"{100 * paired['change']:+.1f}", f"{paired['p']:.4f}"]
        left_out = others(found["categories"][category]["recall@10"] for category in report["left_out"])
        yield _row(step, *cells, columns=10) + left_out


def comparison_table(report: Mapping[str, Any]) -> str:
    """What a paired test found."""
    before, after = report["before"], report["after"]
    lines = [
        f"A  {before['file']}: {before['model']}, {before['measured_at']}",
        f"B  {after['file']}: {after['model']}, {after['measured_at']}",
        f"{report['n']} questions" + (f" without {', '.join(report['left_out'])}" if report["left_out"] else ""),
        "",
        _row("per cent", "A", "B", "change", "95 % interval", "p", columns=15),
        *(_pair_row(_head(name), found) for name, found in report["pooled"].items()),
    ]
    for category, group in report["categories"].items():
        lines += ["", f"{category} ({group['n']})"]
        lines += [_pair_row("  " + _head(name), found) for name, found in group.items() if name != "n"]
    return "\n".join(lines)


def _pair_row(label: str, found: Mapping[str, float]) -> str:
    interval = f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    change = f"{100 * found['change']:+.1f}"
    return _row(label, _percent(found["before"]), _percent(found["after"]), change, interval, f"{found['p']:.4f}",
                columns=15)  # fmt: skip
