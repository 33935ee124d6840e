"""Callers of a running Soma: they store, store again at a coordinate, and forget, and know what must be true then."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.support.serving import Serving, until

CALLERS = 4
ASKED = 10
PATIENCE = 60.0
LATER = {429, 503}
WORDS = (
    "Ada Boris Clara Dmitri Elif Farid Greta Hugo Ines Jonas Kofi Lena Mateo Nadia Omar Petra Quinn Rosa Sven Tamar",
    "bought broke carved cleaned found hid lent lost measured mended moved packed painted polished repaired sold "
    "stole traded washed wrapped",
    "amber ancient bent brittle copper crimson dusty faded golden heavy hollow ivory narrow olive plain rusty scarlet "
    "silver tiny wooden",
    "anvil banjo candle compass drum feather hammer kettle lantern magnet mirror needle pillow ribbon saddle teapot "
    "trumpet umbrella violin wrench",
    "airport attic bakery barn canal castle cellar church garage harbour kitchen library market museum orchard pantry "
    "school stable studio tower",
)


class Load:
    """What was acknowledged over the life of one installation, whoever of its parts died meanwhile.

    A call that is refused, or gets no answer, is made again under its key until it is acknowledged. A reader asks all
    the while, and checks that what was forgotten before it asked is never among its answers, and that what was just
    stored is.
    """

    def __init__(self, api: Callable[[], Serving]) -> None:
        self._api = api
        self._lock = threading.Lock()
        self.live: dict[str, str] = {}
        self.gone: dict[str, str] = {}
        self.done = 0
        """Acknowledged calls."""
        self.refused = 0
        """Answers that said to come again later."""
        self.unanswered = 0
        self.lacking: set[str] = set()
        """The parts that answers to the reader named as missing."""
        self._numbers = iter(range(1_000_000))

    @contextmanager
    def going_on(self, acts: int) -> Iterator[None]:
        """So many calls, of several callers; they go on while the block does its harm, and are all acknowledged."""
        stop = threading.Event()
        with ThreadPoolExecutor(CALLERS + 1) as pool:
            asking = pool.submit(self._ask_until, stop)
            calling = [pool.submit(self._call, acts // CALLERS) for _ in range(CALLERS)]
            try:
                self.wait_for(acts // 4)
                yield
                for each in calling:
                    each.result(2 * PATIENCE)
            finally:
                stop.set()
            assert asking.result(PATIENCE), "the reader got no answer"

    def wait_for(self, more: int) -> None:
        """Until so many more calls are acknowledged."""
        wanted = self.done + more
        until(lambda: self.done >= wanted, f"{more} acknowledged calls", PATIENCE)

    def answers(self, texts: list[str], **more: Any) -> list[list[str]]:
        """The ids that are recalled for each of these texts."""
        found = self.asked("/recall_batch", {"queries": texts, "top_k": ASKED, **more})
        return [[match["id"] for match in batch] for batch in found["batches"]]

    def asked(self, path: str, body: object = None) -> Any:
        """The answer of a server that is well."""
        answer = _ask(self._api(), path, body)
        assert answer.status == 200, answer.body
        return answer.json

    def _call(self, acts: int) -> None:
        """A caller's calls, one after the other: of ten two are at its coordinates, and two forget."""
        number = next(self._numbers)
        own: list[str] = []
        places: dict[str, str] = {}
        for step in range(acts):
            text = self._text()
            if step % 10 in (4, 8) and own:
                self.forget(own.pop(0), purge=step % 10 == 8)
            elif step % 10 in (3, 7):
                place = f"{number},{step % 4}"
                with self._lock:
                    self.live.pop(places.get(place, ""), None)
                places[place] = self._store(text, coord=place)
            else:
                own.append(self._store(text))

    def _store(self, text: str, **more: str) -> str:
        found = self._acknowledged("/store", {"text": text, **more})
        with self._lock:
            self.live[found["id"]] = text
            self.done += 1
        return str(found["id"])

    def forget(self, id: str, *, purge: bool) -> None:
        with self._lock:
            text = self.live.pop(id)
        found = self._acknowledged("/forget", {"ids": [id], "purge": purge})
        assert found["ids"] == [id]
        with self._lock:
            self.gone[id] = text
            self.done += 1

    def _acknowledged(self, path: str, body: dict[str, Any]) -> Any:
        body["key"] = f"call {next(self._numbers)}"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = _ask(self._api(), path, body)
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
            else:
                if answer.status == 200:
                    return answer.json
                assert answer.status in LATER, answer.body
                assert int(answer.headers["retry-after"]) > 0
                self.refused += 1
            time.sleep(0.05)
        raise AssertionError(f"{path} was not acknowledged within {PATIENCE} s")

    def _ask_until(self, stop: threading.Event) -> int:
        """Ask for the newest memory and for the newest forgotten one, in turn; how many answers there were."""
        answers = 0
        while not stop.wait(0.05):
            with self._lock:
                id, text = next(
                    reversed((self.live if answers % 2 else self.gone or self.live).items()), ("", "nothing")
                )
                gone = set(self.gone)
            try:
                answer = _ask(self._api(), "/recall", {"query": text, "top_k": 3 * ASKED})
            except (OSError, http.client.HTTPException):
                continue
            if answer.status in LATER:
                continue
            assert answer.status == 200, answer.body
            answers += 1
            self._check(answer.json, id, text, gone)
        return answers

    def _check(self, answer: Any, id: str, text: str, gone: set[str]) -> None:
        found = {match["id"]: match["text"] for match in answer["matches"]}
        assert not gone & found.keys(), "a forgotten memory was returned"
        parts = {said.partition(":")[0] for said in answer["degraded"]}
        self.lacking |= parts
        with self._lock:
            is_wanted = self.live.get(id) == text and not parts & {"index", "words"}
        assert not is_wanted or found.get(id) == text, (
            f"{text!r} was acknowledged and is not found: {answer['degraded']}"
        )

    def _text(self) -> str:
        """A sentence like no other."""
        number = next(self._numbers)
        who, did, which, what, where = (random.Random(f"{number} {words}").choice(words.split()) for words in WORDS)
        return f"{who} {did} the {which} {what} at the {where}, case {number}."


def _ask(api: Serving, path: str, body: object) -> Any:
    return api.ask(path, None if body is None else json.dumps(body), content_type="application/json")
