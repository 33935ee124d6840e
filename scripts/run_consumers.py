"""Start every worker as a process of its own, and end them together: ``python -m scripts.run_consumers``.

The first shows its metrics on port 8001, the next on 8002, and so on; ``--metrics-port`` names another first one.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from workers.processes import WORKERS

GRACE_SECONDS = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run them until a signal comes or one of them ends; the exit status, 0 when all ended as they were told."""
    parser = argparse.ArgumentParser(prog="python -m scripts.run_consumers", description="Start every worker.")
    parser.add_argument("--metrics-port", type=int, default=8001, help="the first of them (8001)")
    first = parser.parse_args(arguments).metrics_port
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    processes = [_start(name, first + place) for place, name in enumerate(WORKERS)]
    while not stop.wait(0.2) and all(process.poll() is None for process in processes):
        pass
    told = stop.is_set()
    return 0 if _end(processes) and told else 1


def _start(name: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "soma_mcp.cli", "worker", name, "--metrics-port", str(port)]
    return subprocess.Popen(command, start_new_session=True)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Tell them to finish, and wait for that; whether all did."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return all(process.returncode == 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
