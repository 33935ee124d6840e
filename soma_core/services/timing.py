"""How long the parts behind an engine take: measuring wraps a port."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Stopwatch:
    """Adds up the seconds that one thread, the one that made it, spends in what it wraps."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._spent: defaultdict[str, float] = defaultdict(float)

    def take(self) -> dict[str, float]:
        """The seconds by name since this was called last."""
        spent, self._spent = self._spent, defaultdict(float)
        return spent

    def watch(self, adapter: T, methods: Collection[str]) -> T:
        """The adapter with these methods timed under their names."""
        return cast("T", _Watched(adapter, methods, self._timed))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                if threading.get_ident() == self._thread:
                    self._spent[name] += time.perf_counter() - began

        return run


class _Watched:
    """An adapter that is timed; all but the timed methods are its own."""

    def __init__(
        self, adapter: Any, methods: Collection[str], timed: Callable[[str, Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        self._adapter = adapter
        self._methods = {name: timed(name, getattr(adapter, name)) for name in methods}

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._adapter, name)
