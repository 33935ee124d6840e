"""Write docs/metrics.md from the metrics themselves; with ``--check`` only say whether it is up to date.

Run as ``python -m scripts.metrics_doc``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from soma_mcp.http.metrics import METRICS

PATH = Path(__file__).parent.parent / "docs" / "metrics.md"

HEAD = """\
# Metrics

`GET /metrics` shows them in Prometheus' text format; with several worker processes any of them shows the numbers of
all. `endpoint` is the short name of a route, such as `store`, `recall` or `memory`, and `other` for every path that is
none; `method` is `OTHER` for those that HTTP does not define. So the number of series is bounded.

This page is made from `soma_mcp/http/metrics.py` by `python -m scripts.metrics_doc`.

| metric | kind | labels | what it is |
|---|---|---|---|
"""


def metrics_doc() -> str:
    """The page."""
    rows = [
        f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.doc} |\n"
        for name, metric in METRICS.items()
    ]
    return HEAD + "".join(rows)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with ``--check`` compare it; the exit status."""
    page = metrics_doc()
    if "--check" not in arguments:
        PATH.write_text(page, encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == page:
        return 0
    print("docs/metrics.md is not up to date: run `python -m scripts.metrics_doc`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
