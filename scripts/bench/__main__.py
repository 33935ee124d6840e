"""Run the measurements and print one JSON document; what is under way goes to standard error."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.bench import agents, bulk, calls, crowd, indexers, memory, over_http, postgres, relay, starts
from scripts.bench.figures import Row, say
from scripts.bench.stores import Bench

MEASUREMENTS: dict[str, Callable[[Bench], list[Row]]] = {
    "starts": starts.measure,
    "store": calls.measure_store,
    "recall": calls.measure_recall,
    "clients": crowd.measure,
    "agents": agents.measure,
    "bulk": bulk.measure,
    "memory": memory.measure,
    "http_store": over_http.measure_store,
    "http_bulk": over_http.measure_bulk,
    "http_recall": over_http.measure_recall,
    "event_loop": over_http.measure_loop,
    "postgres_store": postgres.measure_store,
    "postgres_bulk": postgres.measure_bulk,
    "relay": relay.measure,
    "indexer": indexers.measure_idle,
    "indexer_backlog": indexers.measure_backlog,
    "indexer_two": indexers.measure_two,
}
PACKAGES = ("soma-fractal-memory", "fastapi", "mcp", "numpy", "onnxruntime", "pydantic", "qdrant-edge-py", "tokenizers")


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 when something could not be measured. A bound that does not hold is a result, not an error."""
    options = _options(arguments)
    document: dict[str, Any] = {"machine": _machine(), "versions": _versions(), "quick": options.quick, "rows": []}
    with TemporaryDirectory(prefix="soma-bench-") as temporary:
        folder = Path(options.folder or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.only or MEASUREMENTS:
            say(name)
            document["rows"] += _rows(name, Bench(folder, options.quick))
    document["machine"]["load_after"] = _load()
    print(json.dumps(document, indent=2))
    return 1 if any("error" in row for row in document["rows"]) else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure this alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="few repetitions: shows that all of it runs")
    parser.add_argument("--folder", help="keep the prepared stores here, for the next run")
    return parser.parse_args(arguments)


def _rows(name: str, bench: Bench) -> list[dict[str, Any]]:
    try:
        rows = [row.json() for row in MEASUREMENTS[name](bench)]
    except Exception as error:
        say(f"{name} failed: {error!r}")
        return [{"name": name, "error": repr(error), "holds": False}]
    for row in rows:
        say(f"{row['name']}: {row['value']} ({row['bound']}: {'holds' if row['holds'] else 'DOES NOT HOLD'})")
    return rows


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "load_before": _load(),
    }


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
