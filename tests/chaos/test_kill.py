"""kill -9 of the owner in the middle of its writes."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from tests.chaos.conftest import StartWorker
from tests.chaos.processes import SCOPE, checkpoint_of, half_things, inspected, run_soma, wait_until
from tests.chaos.worker import BATCH

ROUNDS = 50


def test_fifty_kills_in_mid_write_lose_no_acknowledged_memory_and_leave_none_half_there(
    home: Path, work: StartWorker, engine: Callable[[], Soma]
) -> None:
    chance = random.Random(11)
    said: list[str] = []
    began = time.monotonic()
    for round_ in range(ROUNDS):
        writer = work("write", str(round_))
        wait_until(lambda writer=writer: writer.lines or not writer.alive, "a first answer")
        writer.ended.wait(chance.uniform(0, 0.3))
        assert writer.alive, writer.stderr
        writer.kill()
        assert "Traceback" not in writer.stderr, writer.stderr
        said += writer.lines
    took = time.monotonic() - began
    assert half_things(home) == []
    db = sqlite3.connect(home / "records.db")
    parts = [n for (n,) in db.execute("SELECT count(*) FROM memories WHERE thread LIKE 'batch%' GROUP BY thread")]
    db.close()
    assert set(parts) == {BATCH}, "a batch is all there or not at all"

    soma = engine()
    stored = {words[1]: words[2] for line in said if (words := line.split(" ", 2))[0] == "stored"}
    assert len(stored) > ROUNDS
    ids = list(stored)
    for at in range(0, len(ids), 500):
        some = ids[at : at + 500]
        assert [memory.text for memory in soma.get(SCOPE, some)] == [stored[key] for key in some]
    revisions = [line.split(" ", 3) for line in said if line.startswith("revised")]
    (place,) = soma.get(SCOPE, [revisions[-1][1]])
    assert place.version >= max(int(words[2]) for words in revisions)
    assert len({words[2] for words in revisions}) == len(revisions), "every revision has a version of its own"

    found = inspected(soma)
    assert found.clean, found.detail
    lost = [text for key, text in stored.items() if key not in recalled(soma, word_of(text))]
    assert not lost, f"{len(lost)} of {len(stored)} are not recalled, such as {lost[:3]}"
    for line in (line for line in said if line.startswith("forgotten")):
        _, key, word = line.split()
        assert key not in recalled(soma, word)
    print(f"{ROUNDS} kills in {took:.1f} s, {len(stored)} acknowledged, index at {checkpoint_of(home)['words']}")


def test_doctor_finds_nothing_wrong_after_a_kill(home: Path, work: StartWorker) -> None:
    for round_ in ("0", "1"):
        writer = work("write", round_)
        wait_until(lambda writer=writer: len(writer.lines) > 20, "some answers")
        writer.kill()
    found = run_soma(home, "doctor")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_late_vector_of_a_forgotten_memory_is_taken_out_by_the_next_start(
    home: Path, work: StartWorker, engine: Callable[[], Soma]
) -> None:
    worker = work("die-before-repair")
    worker.join()
    assert "Traceback" not in worker.stderr, worker.stderr
    soma = engine()
    found = inspected(soma)
    assert found.clean, found.detail
    assert worker.lines[0] not in {str(point.memory_id) for point in soma.serving.built.index.points(SCOPE.namespace)}
    assert recalled(soma, "wombat") == set()
    assert len(recalled(soma, "heron")) == 1


def word_of(text: str) -> str:
    return next(word for word in text.split() if word.startswith("word"))


def recalled(soma: Soma, word: str) -> set[str]:
    return {str(hit.memory.id) for hit in soma.recall(SCOPE, RecallQuery(word)).hits}
