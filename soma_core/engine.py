"""Soma: one object with every use case; tools, routes, command line and clients share its methods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime

from soma_core.domain.errors import ModelMissing, NotFound, Retryable, SomaError
from soma_core.domain.events import Event
from soma_core.domain.memory import Memory, NewMemory, Scope, State
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.domain.terms import Terms
from soma_core.domain.tokens import NewToken, Token
from soma_core.ports.builds import Built, IndexBuilds, Models
from soma_core.ports.cache import Cache
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.embedder import Embedder
from soma_core.ports.log import EventLog
from soma_core.ports.outbox import Outbox
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker
from soma_core.ports.telemetry import NoTelemetry
from soma_core.ports.tokens import TokenStore
from soma_core.ports.turn import Turn
from soma_core.services.caching import Bodies
from soma_core.services.indexing import Indexing
from soma_core.services.inspect import Drift, compare
from soma_core.services.progress import Report
from soma_core.services.reindex import Reindexed, Reindexing
from soma_core.services.requests import KEPT
from soma_core.services.serving import Current, Serving
from soma_core.services.status import Status
from soma_core.services.tokens import Tokens

__all__ = ["Progress", "Soma", "Status"]

Progress = Report
"""Called with how much is done and how much there is."""


class Soma:
    """The engine over its ports. Safe to call from many threads; `bootstrap` builds it.

    Nothing runs by itself: a worker, or `index`, brings what was stored into the index.
    """

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        built: Built,
        *,
        builds: IndexBuilds,
        models: Models,
        tokens: TokenStore,
        version: str,
        reranker: Reranker | None = None,
        outbox: Outbox | None = None,
        cache: Cache | None = None,
        bodies: Bodies | None = None,
        turn: Turn | None = None,
        clock: Clock = system_clock,
        has_room: Callable[[], bool] = lambda: True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`built` serves until `builds` and `models` have made another. With an `outbox` workers elsewhere index.

        `cache` is told of in `status` and closed at the end; what uses it is over it already. `turn`: whether this
        process writes the index, where several processes could; None where it is the only one, or workers do it.
        """
        bodies = bodies or Bodies(records, None, NoTelemetry())

        def opened(built: Built, is_new: bool) -> Serving:
            shared = builds.shared and turn is not None
            return Serving(
                records, events, built, clock, has_room, bodies, turn, reranker, outbox, is_shared=shared, is_new=is_new
            )

        self.records = records
        self.outbox = outbox
        """What those who index elsewhere have still to do; None where this process indexes by itself."""
        self._current = Current(opened(built, False))
        self._reindexing = Reindexing(
            records, events, builds, models, self._current, opened, lambda: self.last_call, outbox
        )
        self._clock = clock
        self._version = version
        self._on_close = on_close
        self._cache = cache
        self._turn = turn
        self._reranker = reranker
        self._tokens = Tokens(tokens, clock)
        self._bodies = bodies
        self._model_error: str | None = None
        self.last_call = 0.0
        """When a memory was last asked for or stored by itself, on the monotonic clock: indexing gives way to that."""
        self.served = threading.Event()
        """Set when the first such caller was answered: the model is not loaded in the way of that answer."""

    @property
    def serving(self) -> Serving:
        """The generation that serves now; who works on it for long holds it with `using`."""
        return self._current.serving

    @property
    def indexing(self) -> Indexing:
        """What follows the events into the generation that serves now."""
        return self.serving.indexing

    @property
    def embedder(self) -> Embedder:
        """The embedder of the generation that serves now."""
        return self.serving.built.trained.embedder

    def using(self) -> AbstractContextManager[Serving]:
        """Hold the generation that serves: a switch closes it only afterwards."""
        return self._current.using()

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
            with self.using() as serving:
                return serving.storing.store_checked(scope, memory)
        finally:
            self.served.set()

    def store_each(self, calls: Sequence[tuple[Scope, NewMemory]]) -> list[StoreReceipt | SomaError]:
        """Do what `store` does for each of several callers, in one commit; each stands or falls alone.

        Cheaper than as many threads that each call `store`. Raises `Unavailable` when nothing could be stored.
        """
        self.last_call = time.monotonic()
        try:
            with self.using() as serving:
                outcomes = serving.storing.store_each([(scope, [memory]) for scope, memory in calls])
            return [outcome if isinstance(outcome, SomaError) else outcome[0] for outcome in outcomes]
        finally:
            self.served.set()

    def store_many(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """Keep all of the memories or, when this raises, none."""
        with self.using() as serving:
            return serving.storing.store(scope, memories) if memories else []

    def recall(self, scope: Scope, query: RecallQuery) -> Recall:
        """The best memories for a question, each with its score taken apart."""
        self.last_call = time.monotonic()
        try:
            with self.using() as serving:
                return serving.recalling.recall(scope.namespace, query)
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
        told = wanted or Filter()
        with self.using() as serving:
            return serving.forgetting.forget(scope, ids, told, purge=purge, dry_run=dry_run, reason=reason)

    def status(self, scope: Scope) -> Status:
        """Counts, what is pending, the model, and anything an operator should know."""
        counts = self.records.counts(scope.namespace)
        with self.using() as serving:
            words, vectors = serving.state.backlog(scope.namespace)
            oldest = serving.state.oldest(scope.namespace) if vectors else None
            health = serving.state.notices(scope.namespace)
            languages = serving.languages.notices(scope.namespace)
        told = (self._model_error, self._reindexing.notice, self._cache.problem() if self._cache else None)
        health += [notice for notice in told if notice] + languages
        return Status(
            namespace=scope.namespace,
            live=counts.states[State.LIVE],
            forgotten=counts.states[State.FORGOTTEN],
            purged=counts.states[State.PURGED],
            types={kind.value: n for kind, n in counts.types.items()},
            pending_words=words,
            pending_vectors=vectors,
            pending_oldest=oldest,
            model=self.embedder.model_id,
            model_ready=self.embedder.ready,
            health=health,
            version=self._version,
        )

    def store_id(self, scope: Scope) -> str:
        """The id of the store of all namespaces, for what is kept elsewhere in its name."""
        return self.records.store_id

    def warm(self, scope: Scope) -> None:
        """Load the models now, so that answers are by meaning too. Raises `ModelMissing`, `Unavailable`."""
        try:
            for model in (self.embedder, self.serving.built.trained.sparse, self._reranker):
                if model:
                    model.load()
            self._model_error = None
        except (ModelMissing, Retryable) as error:
            self._model_error = error.message
            raise

    def index(self, scope: Scope, progress: Progress | None = None) -> int:
        """Bring all that is stored in the namespace into the index; how many events that took.

        Raises `ModelMissing`, or `Unavailable` where the model is elsewhere and away; the words are in then. Where
        workers elsewhere index, it leaves that to them.
        """
        return self._current.through(lambda serving: serving.follow(scope.namespace, progress))

    def apply(self, events: Sequence[Event]) -> None:
        """Bring in what these events are about, as a worker that was given them; see `Tracking.apply`."""
        self._current.through(lambda serving: serving.apply(events))

    def reindex(
        self, scope: Scope, model: str | None = None, language: str | None = None, progress: Progress | None = None
    ) -> Reindexed:
        """Build the index of every namespace anew beside the one that serves, and let it serve when it is complete.

        `model` and `language` as the settings name them; None: those of this process. What was half done is gone on
        with. Raises `ModelMissing`, `Unavailable`, and `Conflict` when another reindex is at work.
        """
        return self._reindexing.run(model, language, progress or (lambda done, total: None))

    def drop_old(self, scope: Scope) -> list[int]:
        """Delete every generation of the index that does not serve, a half done one too; their numbers."""
        return self._reindexing.drop()

    def follow_switch(self) -> None:
        """Go over to another generation, or say so in `status`, when another process has switched to it."""
        self._reindexing.follow()

    def inspect(self, scope: Scope) -> Drift:
        """Compare the namespace's index, log and cache with the records; reads all of them."""
        with self.using() as serving:
            return self._compared(serving, scope.namespace)

    def _compared(self, serving: Serving, namespace: str) -> Drift:
        index, state = serving.built.index, serving.state
        return compare(
            self.records, index, state, namespace, outbox=self.outbox, bodies=self._bodies, clock=self._clock
        )

    def verify(self, scope: Scope) -> list[Drift]:
        """The same for every namespace that has memories."""
        with self.using() as serving:
            names = sorted(serving.state.namespaces())
            return [self._compared(serving, name) for name in names]

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
        """Drop expired request ids, erase what a purge could not erase at once, delete old generations of the index."""
        self.records.expire_requests(self._clock() - KEPT)
        self.records.erase(at_once=False)
        self._reindexing.sweep()

    def close(self) -> None:
        """Flush the index as far as it was written and let go of everything."""
        with ExitStack() as leaving:  # each part, whatever another raises
            leaving.callback(self._on_close)
            if self._cache:
                leaving.callback(self._cache.close)
            leaving.callback(self.records.close)
            if self._turn:
                leaving.callback(self._turn.give_up)
            leaving.callback(self.serving.close)
            leaving.callback(self._reindexing.stop)
