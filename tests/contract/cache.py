"""What every `Cache` does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from soma_core.ports.cache import Cache
from tests.support.serving import until

NAMES = ("", "a", "a:b", "quote' \" %s", "\N{FOX FACE}", "x" * 1_000)


class CacheContract:
    """Give the fixtures `cache` and `another`, the cache of another store in the same place."""

    def test_what_was_put_is_there_and_nothing_else(self, cache: Cache) -> None:
        assert cache.get(["a", "b"]) == [None, None]
        cache.put({"a": b"\0 bytes \xff", "b": b""}, 60)
        assert cache.get(["b", "c", "a"]) == [b"", None, b"\0 bytes \xff"]
        assert cache.get([]) == []

    def test_a_later_put_takes_the_place_of_an_earlier_one(self, cache: Cache) -> None:
        cache.put({"a": b"one"}, 60)
        cache.put({"a": b"two"}, 60)
        assert cache.get(["a"]) == [b"two"]

    def test_an_entry_is_gone_when_its_time_is_up(self, cache: Cache) -> None:
        cache.put({"short": b"1"}, 0.05)
        cache.put({"long": b"2"}, 60)
        until(lambda: cache.get(["short"]) == [None], "the end of an entry")
        assert cache.get(["long"]) == [b"2"]

    def test_what_was_dropped_is_gone_and_put_late_it_does_not_come_back(self, cache: Cache) -> None:
        cache.put({"a": b"1", "b": b"2"}, 60)
        assert cache.drop(["a", "never there"]) is True
        cache.put({"a": b"1", "b": b"3", "never there": b"4"}, 60)
        assert cache.get(["a", "b", "never there"]) == [None, b"3", None]
        assert cache.drop([]) is True

    @pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
    def test_any_text_is_a_key_and_meets_no_other(self, cache: Cache, name: str) -> None:
        cache.put({name: name.encode(), f"{name} ": b"another"}, 60)
        assert cache.get([name, f"{name} ", f"-{name}"]) == [name.encode(), b"another", None]

    def test_entries_are_those_that_are_kept_under_keys_that_begin_so(self, cache: Cache, another: Cache) -> None:
        cache.put({"a*:1": b"1", "a*:2": b"2", "ab:3": b"3", "a*:gone": b"4"}, 60)
        another.put({"a*:5": b"5"}, 60)
        cache.drop(["a*:gone"])
        assert dict(cache.entries("a*:")) == {"a*:1": b"1", "a*:2": b"2"}
        assert dict(cache.entries("never")) == {}

    def test_two_stores_in_one_place_do_not_meet(self, cache: Cache, another: Cache) -> None:
        cache.put({"a": b"mine"}, 60)
        assert another.get(["a"]) == [None]
        assert another.drop(["a"]) is True
        assert cache.get(["a"]) == [b"mine"]

    def test_many_threads_put_drop_and_get_and_what_was_dropped_stays_gone(self, cache: Cache) -> None:
        def work(number: int) -> list[bytes | None]:
            key = f"{number % 20}"
            cache.put({key: b"x" * 100}, 60)
            if number % 20 < 10:
                cache.drop([key])
            cache.put({key: b"y" * 100}, 60)
            return cache.get([key])

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(work, range(200)))
        assert all(found[n] == [None] for n in range(200) if n % 20 < 10)
        assert all(body in (b"x" * 100, b"y" * 100) for n in range(200) if n % 20 >= 10 for body in found[n])

    def test_there_is_nothing_to_say_while_all_is_well(self, cache: Cache) -> None:
        cache.get(["a"])
        assert cache.problem() is None

    def test_closing_twice_is_no_error(self, make: Callable[[], Cache]) -> None:
        cache = make()
        cache.close()
        cache.close()
