"""A server's memory under the engine's own signatures: for commands, and for the tools of the stdio bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from soma_core.domain.memory import Memory, NewMemory, Scope
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.engine import Progress, Soma, Status
from soma_mcp.client import calls
from soma_mcp.client.asynchronous import AsyncSomaClient
from soma_mcp.client.calls import Call
from soma_mcp.client.sync import SomaClient

P = ParamSpec("P")
T = TypeVar("T")


def _store(scope: Scope, memory: NewMemory) -> Call[StoreReceipt]:
    return calls.store(memory, scope.request_id, check=False)


def _store_checked(scope: Scope, memory: NewMemory) -> Call[StoreReceipt]:
    return calls.store(memory, scope.request_id, check=True)


def _recall(_: Scope, query: RecallQuery) -> Call[Recall]:
    return calls.recall(query)


def _get(_: Scope, ids: Sequence[str]) -> Call[list[Memory]]:
    return calls.get(ids)


def _browse(_: Scope, query: BrowseQuery) -> Call[Page]:
    return calls.browse(query)


def _forget(
    scope: Scope,
    ids: Sequence[str] = (),
    wanted: Filter | None = None,
    purge: bool = False,
    dry_run: bool = False,
    reason: str | None = None,
) -> Call[ForgetReceipt]:
    return calls.forget(ids, wanted or Filter(), purge, dry_run, reason, scope.request_id)


def _status(_: Scope) -> Call[Status]:
    return calls.status()


BUILDERS: dict[str, Callable[..., Call[Any]]] = {
    "store": _store,
    "store_checked": _store_checked,
    "recall": _recall,
    "get": _get,
    "browse": _browse,
    "forget": _forget,
    "status": _status,
}
"""Methods of Soma as calls. The namespace of the scope is not sent: it is the token's."""


class RemoteSoma:
    """The methods of Soma that commands use, on a server. It closes the client."""

    owns = False

    def __init__(self, client: SomaClient) -> None:
        self._client = client

    def store(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store`."""
        return self._client.send(_store(scope, memory))

    def store_checked(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store_checked`."""
        return self._client.send(_store_checked(scope, memory))

    def store_many(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """See `Soma.store_many`; a server takes up to 1,000 at once."""
        return self._client.store_many(memories, key=scope.request_id)

    def recall(self, scope: Scope, query: RecallQuery) -> Recall:
        """See `Soma.recall`."""
        return self._client.send(_recall(scope, query))

    def get(self, scope: Scope, ids: Sequence[str]) -> list[Memory]:
        """See `Soma.get`."""
        return self._client.send(_get(scope, ids))

    def browse(self, scope: Scope, query: BrowseQuery) -> Page:
        """See `Soma.browse`."""
        return self._client.send(_browse(scope, query))

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
        return self._client.send(_forget(scope, ids, wanted, purge, dry_run, reason))

    def status(self, scope: Scope) -> Status:
        """See `Soma.status`."""
        return self._client.send(_status(scope))

    def warm(self, scope: Scope) -> None:
        """Nothing: a server loads its model by itself."""

    def index(self, scope: Scope, progress: Progress | None = None) -> int:
        """Nothing: a server indexes by itself."""
        return 0

    def close(self) -> None:
        self._client.close()


class RemoteTools:
    """The methods of Soma that tools use, on a server, for an event loop."""

    def __init__(self, client: AsyncSomaClient) -> None:
        self._client = client

    async def call(
        self, method: Callable[Concatenate[Soma, Scope, P], T], scope: Scope, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Ask the server for what a method of the engine would do."""
        return cast("T", await self._client.send(BUILDERS[method.__name__](scope, *args, **kwargs)))

    def close(self) -> None:
        """Nothing is kept here that someone else waits for; the connections end with the process."""
