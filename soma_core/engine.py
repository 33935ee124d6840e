"""Soma: one object with every use case; tools, routes, command line and clients share its methods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from soma_core.domain.errors import ModelMissing, NotFound, SomaError
from soma_core.domain.memory import Memory, NewMemory, Scope, State
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.domain.terms import Terms
from soma_core.domain.tokens import NewToken, Token
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.embedder import Embedder
from soma_core.ports.index import VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker
from soma_core.ports.sparse import SparseModel
from soma_core.ports.tokens import TokenStore
from soma_core.services.forget import Forgetting
from soma_core.services.indexing import Indexing
from soma_core.services.inspect import Drift, compare
from soma_core.services.languages import Languages
from soma_core.services.learned import Learned
from soma_core.services.recall import Recalling
from soma_core.services.requests import KEPT
from soma_core.services.store import Storing
from soma_core.services.tokens import Tokens

EMBED_BATCH = 128
"""Events embedded between two looks at what else there is to do."""

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the memory of a namespace stands."""

    namespace: str
    live: int
    forgotten: int
    purged: int
    types: dict[str, int]
    pending_words: int
    """Events whose words are not in the index yet."""
    pending_vectors: int
    """Events whose vectors are not."""
    model: str
    model_ready: bool
    health: list[str]
    """What an operator should know; empty when all is well."""
    version: str


class Soma:
    """The engine over its ports. Safe to call from many threads; `bootstrap` builds it.

    Nothing runs by itself: a worker, or `index`, brings what was stored into the index.
    """

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        index: VectorIndex,
        embedder: Embedder,
        *,
        tokens: TokenStore,
        version: str,
        knows: Sequence[str] = (),
        stems: str | None = None,
        reranker: Reranker | None = None,
        sparse: SparseModel | None = None,
        clock: Clock = system_clock,
        has_room: Callable[[], bool] = lambda: True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`knows` and `stems`: the languages of the model, and that of the search by words, as `Languages` has them."""
        self.records = records
        self.embedder = embedder
        learned = Learned(sparse)
        self.indexing = Indexing(records, events, index, embedder, learned=learned, has_room=has_room)
        self._index = index
        self._clock = clock
        self._version = version
        self._on_close = on_close
        self._extras = [model for model in (sparse, reranker) if model]
        self._recalling = Recalling(records, index, embedder, self.indexing, clock, learned, reranker)
        self._storing = Storing(records, self.indexing, self._recalling)
        self._forgetting = Forgetting(records, self.indexing)
        self._tokens = Tokens(tokens, clock)
        self._languages = Languages(records, events, model=embedder.model_id, knows=knows, stems=stems)
        self._model_error: str | None = None
        self.last_call = 0.0
        """When a caller last came, on the monotonic clock: indexing gives way to callers."""
        self.served = threading.Event()
        """Set when the first caller was answered: the model is not loaded in the way of that answer."""

    def store(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """Keep a memory; durable when this returns."""
        outcome = self.store_each([(scope, memory)])[0]
        if isinstance(outcome, SomaError):
            raise outcome
        return outcome

    def store_checked(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """Keep a memory unless there is one with the same text; names the similar ones."""
        self.last_call = time.monotonic()
        try:
            return self._storing.store_checked(scope, memory)
        finally:
            self.served.set()

    def store_each(self, calls: Sequence[tuple[Scope, NewMemory]]) -> list[StoreReceipt | SomaError]:
        """Do what `store` does for each of several callers, in one commit; each stands or falls alone.

        Cheaper than as many threads that each call `store`. Raises `Unavailable` when nothing could be stored.
        """
        self.last_call = time.monotonic()
        try:
            outcomes = self._storing.store_each([(scope, [memory]) for scope, memory in calls])
            return [outcome if isinstance(outcome, SomaError) else outcome[0] for outcome in outcomes]
        finally:
            self.served.set()

    def store_many(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """Keep all of the memories or, when this raises, none."""
        return self._storing.store(scope, memories) if memories else []

    def recall(self, scope: Scope, query: RecallQuery) -> Recall:
        """The best memories for a question, each with its score taken apart."""
        self.last_call = time.monotonic()
        try:
            return self._recalling.recall(scope.namespace, query)
        finally:
            self.served.set()

    def get(self, scope: Scope, ids: Sequence[str]) -> list[Memory]:
        """The live memories with these ids (whole, or their last twelve digits), in that order.

        Raises `NotFound` naming the unknown ones.
        """
        found = self.records.find(scope.namespace, ids)
        memories = self.records.read(scope.namespace, list(found.values()))
        missing = [given for given in ids if found.get(given) not in memories]
        if missing:
            raise NotFound(f"ids: no memory has the id {', '.join(missing)}", fields=("ids",))
        return [memories[found[given]] for given in ids]

    def browse(self, scope: Scope, query: BrowseQuery) -> Page:
        """Live memories by time, page by page."""
        return self.records.browse(scope.namespace, query)

    def within(self, scope: Scope, low: str, high: str, wanted: Filter, limit: int) -> list[Memory]:
        """Live memories whose coordinate lies between two others, borders included."""
        return self.records.within(scope.namespace, low, high, wanted, limit)

    def containing(self, scope: Scope, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
        """Live memories whose text holds every term as it is written, the newest first."""
        return self.records.containing(scope.namespace, terms, wanted, limit)

    def forget(
        self,
        scope: Scope,
        ids: Sequence[str] = (),
        wanted: Filter | None = None,
        purge: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
    ) -> ForgetReceipt:
        """Put memories out of reach, by ids or by a filter; with `purge` remove them altogether."""
        return self._forgetting.forget(scope, ids, wanted or Filter(), purge=purge, dry_run=dry_run, reason=reason)

    def status(self, scope: Scope) -> Status:
        """Counts, what is pending, the model, and anything an operator should know."""
        counts = self.records.counts(scope.namespace)
        words, vectors = self.indexing.backlog(scope.namespace)
        health = self.indexing.notices(scope.namespace)
        if self._model_error:
            health.append(self._model_error)
        health += self._languages.notices(scope.namespace)
        return Status(
            namespace=scope.namespace,
            live=counts.states[State.LIVE],
            forgotten=counts.states[State.FORGOTTEN],
            purged=counts.states[State.PURGED],
            types={kind.value: n for kind, n in counts.types.items()},
            pending_words=words,
            pending_vectors=vectors,
            model=self.embedder.model_id,
            model_ready=self.embedder.ready,
            health=health,
            version=self._version,
        )

    def warm(self, scope: Scope) -> None:
        """Load the models now, so that answers are by meaning too. Raises `ModelMissing`."""
        try:
            self.embedder.load()
            for model in self._extras:
                model.load()
            self._model_error = None
        except ModelMissing as error:
            self._model_error = error.message
            raise

    def index(self, scope: Scope, progress: Progress | None = None) -> int:
        """Bring all that is stored in the namespace into the index; how many events that took.

        Raises `ModelMissing`; the words are in then.
        """
        total = max(self.indexing.backlog(scope.namespace))
        while self.indexing.words_step(scope.namespace):
            pass
        while self.indexing.vectors_step(scope.namespace, EMBED_BATCH):
            self.indexing.flush(scope.namespace, idle=False)
            if progress:
                progress(max(0, total - max(self.indexing.backlog(scope.namespace))), total)
        self.indexing.flush(scope.namespace, idle=True)
        return total - max(self.indexing.backlog(scope.namespace))

    def reindex(self, scope: Scope, progress: Progress | None = None) -> int:
        """Rebuild the index of every namespace from the records, with the present model; how many events it took."""
        self.warm(scope)
        self.records.serve_model(self.embedder.model_id)
        names = self.indexing.namespaces()
        for name in names:
            self.indexing.begin_anew(name)
        total = sum(max(self.indexing.backlog(name)) for name in names)
        done = 0
        for name in names:
            before = done
            report = (lambda n, _, before=before: progress(before + n, total)) if progress else None
            done += self.index(Scope(name, scope.caller), report)
        return done

    def inspect(self, scope: Scope) -> Drift:
        """Compare the namespace's index with the records; reads all of both."""
        return compare(self.records, self._index, self.indexing, scope.namespace)

    def verify(self, scope: Scope) -> list[Drift]:
        """The same for every namespace that has memories."""
        return [compare(self.records, self._index, self.indexing, name) for name in sorted(self.indexing.namespaces())]

    def problems(self, scope: Scope) -> list[str]:
        """What an integrity check of the record store finds; reads all of it."""
        return self.records.problems()

    def create_token(
        self, scope: Scope, namespace: str, scopes: Sequence[str], expires_at: datetime | None, name: str | None
    ) -> NewToken:
        """Make a token for a namespace; its secret is in the answer and nowhere else. Raises `InvalidInput`.

        When a call is sent again because its owner went away, the first may have left a token that nobody knows.
        """
        return self._tokens.create(namespace, scopes, expires_at, name)

    def tokens(self, scope: Scope) -> list[Token]:
        """Every token of every namespace, the oldest first; expired and revoked ones too."""
        return self._tokens.list()

    def revoke_token(self, scope: Scope, id: str) -> Token:
        """Make a token good for nothing. Raises `NotFound`."""
        return self._tokens.revoke(id)

    def authenticate(self, scope: Scope, secret: str) -> Token | None:
        """The token with this secret; None for one that is unknown, expired or revoked."""
        return self._tokens.authenticate(secret)

    def housekeep(self) -> None:
        """Drop expired request ids, and erase what a purge could not erase at once."""
        self.records.expire_requests(self._clock() - KEPT)
        self.records.erase(at_once=False)

    def close(self) -> None:
        """Flush the index as far as it was written and let go of everything."""
        for name in self.indexing.behind():
            try:
                self.indexing.flush(name, idle=True)
            except SomaError:
                continue  # the position stays behind, the next start replays
        self._index.close()
        self.records.close()
        self._on_close()
