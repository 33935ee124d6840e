"""The death of the process in mid-write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.domain.query import Filter
from soma_core.ports.index import Checkpoint, IndexQuery
from tests.contract.index import DIMENSIONS, NAMESPACE, dense, held, lexical, memory, point, unit

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.ports.index import Checkpoint
from tests.contract.index import DIMENSIONS, NAMESPACE, memory, point

folder, number = Path(sys.argv[1]), int(sys.argv[2])
index = EdgeIndex(folder, store_id="store", model_id="model:int8", dimensions=DIMENSIONS)
while True:
    index.put(NAMESPACE, [point(number, f"kafka unique{number}", vector=None)])
    index.put(NAMESPACE, [point(number, f"kafka unique{number}")])
    if number % 10 == 0:
        index.remove(NAMESPACE, memory(number), 2)
    if number % 25 == 0:
        index.flush(NAMESPACE, Checkpoint(number, number))
    print(number, flush=True)
    number += 1
"""


def opened(folder: Path) -> EdgeIndex:
    return EdgeIndex(folder, store_id="store", model_id="model:int8", dimensions=DIMENSIONS)


def write_and_kill(folder: Path, start: int, count: int) -> int:
    """Let a process write points from `start` on, kill it after `count`; the last one whose write had returned."""
    command = [sys.executable, "-c", WRITER, str(folder), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        for _ in range(count):
            process.stdout.readline()
        process.kill()
        lines = [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return int(lines[-1]) if lines else start + count - 1


@pytest.mark.parametrize("count", [1, 13, 40, 77, 130])
def test_what_was_written_before_kill_9_is_there_afterwards(tmp_path: Path, count: int) -> None:
    last = 0
    for _ in range(2):
        last = write_and_kill(tmp_path, last + 1, count)
        index = opened(tmp_path)
        expected = {number for number in range(1, last + 1) if number % 10}
        found = {p.memory_id.int: p.embedded for p in held(index) if p.memory_id.int <= last}
        assert found == dict.fromkeys(expected, True)
        for number in (1, last - last % 10 + 1 if last % 10 else last - 1):
            assert lexical(index, f"unique{number}") == ([number] if number in found else [])
        assert dense(index, unit(1), limit=1) == [1]
        assert last - 26 <= index.checkpoint(NAMESPACE).words <= last + 1
        assert list(index.rebuilt()) == []
        index.close()


def test_points_can_be_changed_after_a_kill_9(tmp_path: Path) -> None:
    last = write_and_kill(tmp_path, 1, 60)
    index = opened(tmp_path)
    before = index.search(NAMESPACE, IndexQuery("kafka", None, 1_000, Filter())).lexical
    for match in before:
        index.retire(NAMESPACE, UUID(int=match.memory), 2)
    assert len(before) >= last - last // 10
    assert lexical(index, "kafka") == []
    index.flush(NAMESPACE, Checkpoint(last, last))
    index.close()
    index = opened(tmp_path)
    assert lexical(index, "kafka") == []
    index.close()


def test_a_power_cut_takes_the_index_back_to_its_last_flush(tmp_path: Path) -> None:
    live, cut = tmp_path / "live", tmp_path / "cut"
    index = opened(live)
    index.put(NAMESPACE, [point(n, "kafka") for n in range(1, 1_001)])
    index.flush(NAMESPACE, Checkpoint(1_000, 1_000))
    shutil.copytree(live, cut)
    index.put(NAMESPACE, [point(n, "kafka") for n in range(1_001, 1_101)])
    index.remove(NAMESPACE, memory(1), 2)
    index.close()
    index = opened(cut)
    assert index.checkpoint(NAMESPACE) == Checkpoint(1_000, 1_000)
    assert list(index.rebuilt()) == []
    assert len(held(index)) == 1_000
    index.put(NAMESPACE, [point(n, "kafka") for n in range(1_001, 1_101)])
    index.put(NAMESPACE, [point(2, "postgres")])
    index.remove(NAMESPACE, memory(1), 2)
    assert len(held(index)) == 1_099
    assert lexical(index, "postgres") == [2]
    index.close()
