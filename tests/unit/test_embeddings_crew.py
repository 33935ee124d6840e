"""Helpers share a list's work, stand aside for what is urgent, and never outlive their call."""

from __future__ import annotations

import threading
import time

import pytest

from embeddings.crew import Crew


def test_results_are_in_the_order_given() -> None:
    assert Crew(4).map(lambda item: item * 2, range(1_000)) == [item * 2 for item in range(1_000)]


def test_nothing_is_no_work() -> None:
    assert Crew(4).map(str, []) == []


def test_several_threads_work_at_once() -> None:
    together = threading.Barrier(3)
    Crew(3).map(lambda _: together.wait(10), range(3))


def test_a_crew_of_one_and_a_list_of_one_stay_in_their_thread() -> None:
    me = threading.current_thread()
    assert set(Crew(1).map(lambda _: threading.current_thread(), range(10))) == {me}
    assert Crew(4).map(lambda _: threading.current_thread(), [1]) == [me]


def test_all_calls_together_have_no_more_helpers_than_there_is_room_for() -> None:
    crew, most = Crew(3), 0

    def work(_: int) -> None:
        nonlocal most
        most = max(most, sum(thread.name == "soma-embed" for thread in threading.enumerate()))
        time.sleep(0.002)

    callers = [threading.Thread(target=crew.map, args=(work, range(10))) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == 2


@pytest.mark.parametrize("size", [1, 4])
def test_the_first_error_ends_the_list_and_the_crew_works_on(size: int) -> None:
    crew, done = Crew(size), []

    def work(item: int) -> None:
        if item == 5:
            raise ValueError("five")
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(ValueError, match="five"):
        crew.map(work, range(1_000))
    assert len(done) < 50
    assert crew.map(str, range(3)) == ["0", "1", "2"]


def test_an_index_error_of_the_work_is_no_end_of_the_list() -> None:
    with pytest.raises(IndexError):
        Crew(2).map(lambda item: [][item], range(3))


def test_helpers_stand_aside_for_urgent_work_and_the_caller_goes_on() -> None:
    crew, me = Crew(4), threading.current_thread()
    with crew.urgent():
        assert set(crew.map(lambda _: threading.current_thread(), range(50), yielding=True)) == {me}
        assert crew.map(str, range(3)) == ["0", "1", "2"]


def test_helpers_come_back_when_it_is_calm() -> None:
    crew = Crew(2)
    urgent = crew.urgent()
    urgent.__enter__()
    seen: set[threading.Thread] = set()

    def work(item: int) -> None:
        seen.add(threading.current_thread())
        if item == 0:
            urgent.__exit__(None, None, None)
        time.sleep(0.005)

    crew.map(work, range(10), yielding=True)
    assert len(seen) == 2


def test_without_more_threads_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew = Crew(4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert crew.map(str, range(3)) == ["0", "1", "2"]
    together = threading.Barrier(4)
    crew.map(lambda _: together.wait(10), range(4))
