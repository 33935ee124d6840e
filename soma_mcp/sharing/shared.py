"""The memory of a data folder, whoever owns it: the methods of Soma that never see a lock."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from anyio import to_thread

from embeddings.choice import expected_id, is_chosen
from soma_core.adapters.folder import FolderLock
from soma_core.bootstrap import create_memory_system, model_choice, soma_version
from soma_core.domain.errors import FolderInUse, InvalidInput, ModelMissing, Unavailable
from soma_core.domain.memory import Memory, NewMemory, Scope, uuid7
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.domain.tokens import NewToken, Token
from soma_core.engine import Progress, Soma, Status
from soma_core.ports.telemetry import NoTelemetry, Telemetry
from soma_core.services.inspect import Drift
from soma_core.services.reindex import Reindexed
from soma_core.settings import Settings
from soma_mcp.sharing.follower import Follower
from soma_mcp.sharing.owner import FINISH_SECONDS, Listener
from soma_mcp.sharing.stores import StoreLoop
from soma_mcp.sharing.wire import ConnectionLost
from workers.embedded import Workers

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate[Soma, Scope, P], T]
log = logging.getLogger(__name__)

ELECTION_SECONDS = 15.0
POLL_SECONDS = 0.02


class _Owned:
    """The engine in this process, open to others on the same data folder; on servers each process has its own."""

    def __init__(self, settings: Settings, telemetry: Telemetry, *, stay: bool, accept_model: bool) -> None:
        with ExitStack() as stack:
            lock = listener = None
            if not settings.distributed:
                lock = FolderLock(settings.home)
                stack.callback(lock.release)
                listener = Listener(settings.home)
                stack.callback(listener.close)
            self.soma = create_memory_system(settings, lock=lock, accept_model=accept_model, telemetry=telemetry)
            stack.pop_all()
        self._listener = listener
        self._workers = Workers(self.soma).start() if stay else None
        hello = {
            "version": soma_version(),
            "backend": settings.embedding_backend,
            "language": settings.language,
        }
        self.stores = listener.serve(self.soma, hello) if listener else StoreLoop(self.soma)

    def close(self) -> None:
        if self._listener:
            self._listener.close()
        else:
            self.stores.close(FINISH_SECONDS)
        if self._workers:
            self._workers.close()
        self.soma.close()


class SharedSoma:
    """The methods of Soma on a data folder that other processes use too. Safe to call from many threads.

    With `stay` (a server) it works in the background while it owns the folder, and takes over at once when another
    owner goes away; without (a command) it does either only as far as its calls need it.
    """

    def __init__(
        self, settings: Settings, *, stay: bool, accept_model: bool = False, telemetry: Telemetry | None = None
    ) -> None:
        """`telemetry` is told what the engine does while it is in this process."""
        self._settings = settings
        self._telemetry = telemetry or NoTelemetry()
        self._stay = stay
        self._accept_model = accept_model
        self._turn = threading.Lock()
        self._target: _Owned | Follower | None = None
        self._closed = False
        self._warned = accept_model
        self._reach()

    @property
    def owns(self) -> bool:
        """Whether the engine is in this process."""
        return isinstance(self._target, _Owned)

    @property
    def owner(self) -> dict[str, Any]:
        """What the process that owns the folder says of itself: pid, version, model, language; empty for this one."""
        return dict(self._target.hello) if isinstance(self._target, Follower) else {}

    def store(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store`."""
        return self._call(Soma.store, scope, memory)

    def store_checked(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store_checked`."""
        return self._call(Soma.store_checked, scope, memory)

    def store_many(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """See `Soma.store_many`."""
        return self._call(Soma.store_many, scope, memories)

    def recall(self, scope: Scope, query: RecallQuery) -> Recall:
        """See `Soma.recall`."""
        return self._call(Soma.recall, scope, query)

    def get(self, scope: Scope, ids: Sequence[str]) -> list[Memory]:
        """See `Soma.get`."""
        return self._call(Soma.get, scope, ids)

    def browse(self, scope: Scope, query: BrowseQuery) -> Page:
        """See `Soma.browse`."""
        return self._call(Soma.browse, scope, query)

    def forget(
        self,
        scope: Scope,
        ids: Sequence[str] = (),
        wanted: Filter | None = None,
        purge: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
    ) -> ForgetReceipt:
        """See `Soma.forget`."""
        return self._call(Soma.forget, scope, ids, wanted, purge, dry_run, reason)

    def status(self, scope: Scope) -> Status:
        """See `Soma.status`."""
        return self._call(Soma.status, scope)

    def store_id(self, scope: Scope) -> str:
        """See `Soma.store_id`."""
        return self._call(Soma.store_id, scope)

    def warm(self, scope: Scope) -> None:
        """See `Soma.warm`."""
        self._call(Soma.warm, scope)

    def index(self, scope: Scope, progress: Progress | None = None) -> int:
        """See `Soma.index`."""
        return self._call(Soma.index, scope, progress=progress)

    def reindex(
        self, scope: Scope, model: str | None = None, language: str | None = None, progress: Progress | None = None
    ) -> Reindexed:
        """See `Soma.reindex`."""
        return self._call(Soma.reindex, scope, model, language, progress=progress)

    def drop_old(self, scope: Scope) -> list[int]:
        """See `Soma.drop_old`."""
        return self._call(Soma.drop_old, scope)

    def inspect(self, scope: Scope) -> Drift:
        """See `Soma.inspect`."""
        return self._call(Soma.inspect, scope)

    def verify(self, scope: Scope) -> list[Drift]:
        """See `Soma.verify`."""
        return self._call(Soma.verify, scope)

    def problems(self, scope: Scope) -> list[str]:
        """See `Soma.problems`."""
        return self._call(Soma.problems, scope)

    def create_token(
        self, scope: Scope, namespace: str, scopes: Sequence[str], expires_at: datetime | None, name: str | None
    ) -> NewToken:
        """See `Soma.create_token`."""
        return self._call(Soma.create_token, scope, namespace, scopes, expires_at, name)

    def tokens(self, scope: Scope) -> list[Token]:
        """See `Soma.tokens`."""
        return self._call(Soma.tokens, scope)

    def revoke_token(self, scope: Scope, id: str) -> Token:
        """See `Soma.revoke_token`."""
        return self._call(Soma.revoke_token, scope, id)

    def close(self) -> None:
        """Leave; an owner hands the folder to whoever waits for it."""
        with self._turn:
            self._closed = True
            target, self._target = self._target, None
        if target:
            target.close()

    async def call(self, method: Method[P, T], scope: Scope, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the engine from an event loop, always the same one; only an owner takes a thread for it."""
        scope = _identified(scope)
        called: Any = method
        target = self._target
        result: T
        if isinstance(target, _Owned) and called is Soma.store:
            result = await target.stores.store(scope, *args, **kwargs)  # type: ignore[arg-type, assignment]
            return result
        if isinstance(target, Follower):
            with contextlib.suppress(ConnectionLost):
                result = await target.call_async(method.__name__, (scope, *args), kwargs)
                return result
        return await to_thread.run_sync(partial(self._call, method, scope, *args, **kwargs))

    def _call(self, method: Method[P, T], scope: Scope, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the engine, here or at the owner; again, when the owner goes away before it answers."""
        scope = _identified(scope)
        while True:
            target = self._reach()
            try:
                if isinstance(target, Follower):
                    result: T = target.call(method.__name__, (scope, *args), kwargs)
                    return result
                return method(target.soma, scope, *args, **kwargs)
            except ConnectionLost:
                self._lose(target)

    def _lose(self, target: _Owned | Follower) -> None:
        with self._turn:
            if self._target is target:
                target.close()
                self._target = None

    def _reach(self) -> _Owned | Follower:
        """The owner, which may be this process; elects one when there is none."""
        with self._turn:
            deadline = time.monotonic() + ELECTION_SECONDS
            while self._target is None:
                if self._closed:
                    raise Unavailable("this process is leaving")
                self._target = self._attempt()
                if self._target is None and time.monotonic() > deadline:
                    raise Unavailable(
                        f"another process holds {self._settings.home}, but does not answer: see `soma doctor`",
                        fields=("SOMA_HOME",),
                    )
                if self._target is None:
                    time.sleep(POLL_SECONDS)
            return self._target

    def _attempt(self) -> _Owned | Follower | None:
        try:
            return _Owned(self._settings, self._telemetry, stay=self._stay, accept_model=self._accept_model)
        except FolderInUse:
            pass
        try:
            follower = Follower(self._settings.home)
            if self._stay:
                follower.watch(lambda: self._take_over(follower))
        except ConnectionLost:
            return None
        self._compare(follower.hello)
        return follower

    def _take_over(self, lost: Follower) -> None:
        self._lose(lost)
        try:
            self._reach()
        except Exception as error:
            if not self._closed:
                log.error("taking over %s: %s", self._settings.home, error)

    def _compare(self, hello: dict[str, Any]) -> None:
        """Say once that the owner's model or language is not what this process was told."""
        if self._warned:
            return
        self._warned = True
        found = {what: str(hello.get(what)) for what in ("model", "language")}
        said = "the process that owns the memory uses the %s %s, not %s"
        try:
            choice = model_choice(self._settings)
            if not is_chosen(found["model"], choice):
                log.warning(said, "model", found["model"], expected_id(choice))
        except (InvalidInput, ModelMissing) as error:
            log.warning(said, "model", found["model"], error.message)
        if found["language"] != self._settings.language:
            log.warning(said, "language", found["language"], self._settings.language)


def _identified(scope: Scope) -> Scope:
    """A scope whose mutating request can be sent again without being applied again."""
    return scope if scope.request_id else Scope(scope.namespace, scope.caller, str(uuid7()))
