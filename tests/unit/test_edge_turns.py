"""The order of calls to the engine."""

from __future__ import annotations

import threading
import time

import pytest

from soma_core.adapters.qdrant.turns import Turns


class Line:
    """Threads that want a turn, and the order in which they got it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def add(self, name: str) -> None:
        turn = self.turns.query if name.startswith("query") else self.turns.write

        def run() -> None:
            with turn():
                self.order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        while len(self.turns._line) < len(self._threads):
            time.sleep(0.001)

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(5)
        return self.order


def test_queries_pass_writes_that_wait() -> None:
    line = Line(Turns(patience=60))
    with line.turns.write():
        for name in ("write 1", "query 1", "write 2", "query 2"):
            line.add(name)
    assert line.join() == ["query 1", "query 2", "write 1", "write 2"]


def test_a_write_that_has_waited_long_enough_is_not_passed_any_more() -> None:
    line = Line(Turns(patience=0.05))
    with line.turns.write():
        line.add("write 1")
        line.add("query 1")
        time.sleep(0.1)
        line.add("query 2")
    assert line.join() == ["query 1", "write 1", "query 2"]


def test_only_one_is_inside_at_a_time() -> None:
    turns = Turns()
    inside = 0
    most = 0

    def work(turn: int) -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns.write() if turn % 2 else turns.query():
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_failure_inside_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.query():
        raise ZeroDivisionError
    with turns.write():
        pass


def test_one_who_gives_up_waiting_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    turns = Turns()
    with turns.write(), monkeypatch.context() as patch:
        patch.setattr(turns._changed, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            turns.query().__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(turns._changed, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            turns.query().__enter__()
    with turns.query():
        pass
