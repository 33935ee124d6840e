"""Counts what a server syncs while it stores: with strace, where there is one."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.bench.servers import Wire, soma

SYNC = re.compile(r"\b(?:fsync|fdatasync)\(\d+<([^>]*)>")
ATTACH_SECONDS = 10


def fsyncs_per_store(home: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """How often the server synced a file of the records, per store; beside it every synced file by name.

    The index is flushed when the server is idle or a thousand points are written: those syncs are no store's.
    """
    if not shutil.which("strace"):
        return {"per_store": None, "why": "not measured: there is no strace"}
    log = home.with_name("strace.log")
    with Wire(soma(home)) as server:
        server.call("store", {"text": "The first memory makes the files."})
        server.wait_embedded()
        time.sleep(3)  # idle: the index is flushed
        tracer = _attach(server.pid, log)
        if tracer is None:
            return {"per_store": None, "why": "not measured: strace may not attach"}
        for text in wanted:
            server.call("store", {"text": text})
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=10)
    synced = Counter(Path(path).name for path in SYNC.findall(log.read_text(errors="replace")))
    of_records = sum(number for name, number in synced.items() if name.startswith("records.db"))
    return {"per_store": of_records / len(wanted), "stores": len(wanted), "by_file": dict(synced)}


def _attach(pid: int, log: Path) -> subprocess.Popen[bytes] | None:
    """Trace every thread of a process; None when that is not allowed."""
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + ATTACH_SECONDS
    while tracer.poll() is None and time.monotonic() < deadline:
        if _traced(pid):
            time.sleep(0.2)  # every thread
            return tracer
        time.sleep(0.05)
    tracer.kill()
    tracer.wait()
    return None


def _traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status
