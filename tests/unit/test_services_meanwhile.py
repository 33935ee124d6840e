"""What is done beside a caller: one thing at a time, and nothing of it is lost."""

from __future__ import annotations

import threading

import pytest

from soma_core.services.meanwhile import Meanwhile


def test_it_is_done_in_another_thread_and_its_result_is_had() -> None:
    begun = Meanwhile().begin(threading.get_ident)
    assert begun is not None
    assert begun.result(5) != threading.get_ident()


def test_while_it_is_busy_it_begins_nothing_and_afterwards_it_does() -> None:
    meanwhile, go_on = Meanwhile(), threading.Event()
    first = meanwhile.begin(lambda: go_on.wait(5))
    assert first is not None
    assert meanwhile.begin(lambda: True) is None
    go_on.set()
    assert first.result(5)
    assert _when_free(meanwhile)


def test_an_error_reaches_who_asks_for_the_result_and_leaves_it_free() -> None:
    meanwhile = Meanwhile()
    begun = meanwhile.begin(lambda: 1 // 0)
    assert begun is not None
    with pytest.raises(ZeroDivisionError):
        begun.result(5)
    assert _when_free(meanwhile)


def test_without_another_thread_nothing_is_begun_and_with_one_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    meanwhile = Meanwhile()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert meanwhile.begin(lambda: True) is None
        assert meanwhile.begin(lambda: True) is None
    for _ in range(3):
        assert _when_free(meanwhile)


def _when_free(meanwhile: Meanwhile) -> bool:
    """It is, a moment after the result is there."""
    for _ in range(1_000):
        if begun := meanwhile.begin(lambda: True):
            return begun.result(5)
        threading.Event().wait(0.005)
    return False
