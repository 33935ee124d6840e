"""Write docs/metrics.md from the metrics themselves; with ``--check`` only say whether it is up to date.

Run as ``python -m scripts.metrics_doc``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from soma_core.domain.metrics import Metric
from soma_mcp.http.metrics import METRICS
from workers.metrics import WORKER_METRICS

PATH = Path(__file__).parent.parent / "docs" / "metrics.md"

HEAD = """\
# Metrics

This page is made from `soma_mcp/http/metrics.py` and `workers/metrics.py` by `python -m scripts.metrics_doc`.

## Of the server

`GET /metrics` shows them in Prometheus' text format; with several worker processes any of them shows the numbers of
all. `endpoint` is the short name of a route, such as `store`, `recall` or `memory`, and `other` for every path that is
none; `method` is `OTHER` for those that HTTP does not define. So the number of series is bounded.

"""

WORKERS = """
## Of the workers

`soma worker NAME --metrics-port 8001` shows them at `/metrics`, each process its own. `component` is the name of the
worker, `topic` that of the topic without KAFKA_TOPIC_PREFIX.

"""

COLUMNS = """\
| metric | kind | labels | what it is |
|---|---|---|---|
"""


def metrics_doc() -> str:
    """The page."""
    return HEAD + _table(METRICS.items()) + WORKERS + _table(WORKER_METRICS.items())


def _table(metrics: Iterable[tuple[str, Metric]]) -> str:
    rows = [
        f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.doc} |\n"
        for name, metric in metrics
    ]
    return COLUMNS + "".join(rows)


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
