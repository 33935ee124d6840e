"""Any sequence of stores, forgets, recalls and restarts agrees with a dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from soma_core.adapters.qdrant.edge_builds import EdgeBuilds
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.generations import Generations
from soma_core.domain.memory import NewMemory, Scope, new_id
from soma_core.domain.query import BrowseQuery, Filter, RecallQuery
from tests.support.builds import FIRST
from tests.support.clock import FixedClock
from tests.support.engine import soma_over

SCOPES = [Scope("api_ns"), Scope('it\'s "another" 🦊')]
scopes = st.sampled_from(SCOPES)
coordinates = st.integers(0, 2).map(str)
threads = st.sampled_from([None, "a", "b"])
tags = st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2)
fillers = st.sampled_from(["", "tea with Ana. ", "tea with Bob. ", "A long story about tea. " * 80])
pick = st.randoms(use_true_random=False)


@dataclass(frozen=True)
class Known:
    """What the dictionary holds of a memory."""

    text: str
    word: str
    version: int
    new: NewMemory

    def matches(self, wanted: Filter) -> bool:
        return wanted.thread in (None, self.new.thread) and set(wanted.tags) <= set(self.new.tags)


class EngineAgainstDictionary(RuleBasedStateMachine):
    """`live` is the truth; `last` the version each id ever reached."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="soma-property-"))
        self.clock = FixedClock()
        self.live: dict[Scope, dict[UUID, Known]] = {scope: {} for scope in SCOPES}
        self.forgotten: dict[Scope, dict[UUID, Known]] = {scope: {} for scope in SCOPES}
        self.last: dict[UUID, int] = {}
        self.words: list[str] = []
        self.open()

    def open(self) -> None:
        records = SqliteRecordStore(self.folder / "records.db", reserve_bytes=0, clock=self.clock)
        builds = EdgeBuilds(self.folder / "index", store_id=records.store_id)
        serving = (records.generations() or Generations(FIRST)).serving
        self.soma = soma_over(records, builds.open(serving), None, serving, builds=builds, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "soma"):
            self.soma.close()
            shutil.rmtree(self.folder)

    def store(self, scope: Scope, filler: str, **fields: Any) -> None:
        self.clock.advance(seconds=1)
        word = f"zq{len(self.words)}zq"
        new = NewMemory.parse(f"{filler}{word}", **fields)
        receipt = self.soma.store(scope, new)
        version = self.last.get(receipt.id, 0) + 1
        assert receipt.version == version
        assert receipt.status == ("revised" if receipt.id in self.live[scope] else "created")
        self.words.append(word)
        self.last[receipt.id] = version
        self.forgotten[scope].pop(receipt.id, None)
        self.live[scope][receipt.id] = Known(new.text, word, version, new)
        self.found(scope, receipt.id)

    def found(self, scope: Scope, key: UUID) -> None:
        known = self.live[scope][key]
        hits = self.recalled(scope, known.word)
        assert key in hits, f"{known.word} is not found"

    def recalled(self, scope: Scope, question: str, wanted: Filter | None = None) -> list[UUID]:
        """The ids of an answer, each of which must be a live memory as the dictionary has it."""
        answer = self.soma.recall(
            scope, RecallQuery(question, limit=100, filter=wanted or Filter(), max_tokens=100_000)
        )
        assert all(reason.startswith("vectors: ") for reason in answer.degraded)
        ids = [hit.memory.id for hit in answer.hits]
        assert len(ids) == len(set(ids))
        for hit in answer.hits:
            known = self.live[scope][hit.memory.id]
            assert (hit.memory.text, hit.memory.version) == (known.text, known.version)
            assert known.matches(wanted or Filter())
        return ids

    @rule(scope=scopes, filler=fillers, thread=threads, tags=tags)
    def store_one(self, scope: Scope, filler: str, thread: str | None, tags: list[str]) -> None:
        self.store(scope, filler, thread=thread, tags=tags)

    @rule(scope=scopes, filler=fillers, coordinate=coordinates, thread=threads, tags=tags)
    def store_at_a_coordinate(
        self, scope: Scope, filler: str, coordinate: str, thread: str | None, tags: list[str]
    ) -> None:
        self.store(scope, filler, coordinate=coordinate, thread=thread, tags=tags)

    @rule(scope=scopes, coordinate=coordinates)
    def store_the_same_again(self, scope: Scope, coordinate: str) -> None:
        key = new_id(scope.namespace, coordinate)
        if known := self.live[scope].get(key):
            receipt = self.soma.store(scope, known.new)
            assert (receipt.status, receipt.version) == ("unchanged", known.version)

    @rule(scope=scopes, pick=pick, purge=st.booleans(), many=st.integers(1, 3))
    def forget_by_id(self, scope: Scope, pick: Any, purge: bool, many: int) -> None:
        known = sorted({**self.live[scope], **self.forgotten[scope]})
        if not known:
            return
        chosen = {pick.choice(known) for _ in range(many)}
        receipt = self.soma.forget(scope, [str(key) for key in chosen], purge=purge)
        self.gone(scope, chosen, purge, receipt.ids)

    @rule(scope=scopes, thread=threads, tags=tags, purge=st.booleans())
    def forget_by_filter(self, scope: Scope, thread: str | None, tags: list[str], purge: bool) -> None:
        wanted = Filter.parse(thread=thread, tags=tags)
        if wanted.is_empty:
            return
        everything = {**self.live[scope], **self.forgotten[scope]}
        receipt = self.soma.forget(scope, wanted=wanted, purge=purge)
        self.gone(scope, {key for key, known in everything.items() if known.matches(wanted)}, purge, receipt.ids)

    def gone(self, scope: Scope, chosen: set[UUID], purge: bool, said: Any) -> None:
        expected = {key for key in chosen if key in self.live[scope] or (purge and key in self.forgotten[scope])}
        assert set(said) == expected
        for key in expected:
            known = self.live[scope].pop(key, None) or self.forgotten[scope].pop(key)
            self.last[key] += 1
            self.forgotten[scope].pop(key, None)
            if not purge:
                self.forgotten[scope][key] = known
            assert key not in self.recalled(scope, known.word)

    @rule(scope=scopes, thread=threads, tags=tags)
    def recall_what_all_have_in_common(self, scope: Scope, thread: str | None, tags: list[str]) -> None:
        self.recalled(scope, "tea with Ana", Filter.parse(thread=thread, tags=tags))

    @rule(scope=scopes, pick=pick)
    def recall_any_word_there_ever_was(self, scope: Scope, pick: Any) -> None:
        if self.words:
            word = pick.choice(self.words)
            ids = self.recalled(scope, word)
            assert all(key in ids for key, known in self.live[scope].items() if known.word == word)

    @rule(scope=scopes, words=st.booleans(), vectors=st.integers(0, 3))
    def index_a_little(self, scope: Scope, words: bool, vectors: int) -> None:
        if words:
            self.soma.indexing.words_step(scope.namespace)
        if vectors:
            self.soma.indexing.vectors_step(scope.namespace, vectors)

    @rule(scope=scopes)
    def index_all_and_inspect(self, scope: Scope) -> None:
        self.soma.index(scope)
        drift = self.soma.inspect(scope)
        assert drift.is_clean, drift
        assert drift.pending == 0
        assert drift.memories == len(self.live[scope])

    @rule(scope=scopes)
    def begin_the_index_anew(self, scope: Scope) -> None:
        self.soma.indexing.begin_anew(scope.namespace)

    @rule()
    def build_the_index_anew(self) -> None:
        self.soma.reindex(SCOPES[0])

    @rule(flushed=st.booleans())
    def reopen(self, flushed: bool) -> None:
        if flushed:
            self.soma.close()
        else:
            self.soma.serving.built.index.close()
            self.soma.records.close()
        self.open()

    @precondition(lambda self: hasattr(self, "soma"))
    @invariant()
    def get_and_browse_give_exactly_what_lives(self) -> None:
        for scope, live in self.live.items():
            memories = self.soma.browse(scope, BrowseQuery(limit=100)).memories
            assert {m.id: (m.text, m.version) for m in memories} == {k: (v.text, v.version) for k, v in live.items()}
            assert [m.id for m in self.soma.get(scope, [str(key) for key in live])] == list(live)
            assert self.soma.status(scope).live == len(live)
            assert self.soma.status(scope).forgotten == len(self.forgotten[scope])

    @rule(scope=scopes)
    def every_live_memory_is_found_by_its_own_word(self, scope: Scope) -> None:
        for key in self.live[scope]:
            self.found(scope, key)


EngineAgainstDictionary.TestCase.settings = settings(
    max_examples=int(os.environ.get("SOMA_TEST_EXAMPLES", "10")), stateful_step_count=20, deadline=None, database=None
)
TestEngineAgainstDictionary = EngineAgainstDictionary.TestCase
