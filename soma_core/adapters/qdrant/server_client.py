"""Reaching a Qdrant server: its address, its version, and what its failures mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from soma_core.domain.errors import InvalidInput, Unavailable

log = logging.getLogger(__name__)

FAILURES = (grpc.RpcError, ResourceExhaustedResponse, ResponseHandlingException, UnexpectedResponse)

OLDEST = (1, 19)
"""Older ones count how rare a word is over all namespaces, in silence."""
REST_PORT, GRPC_PORT = 6333, 6334
START_SECONDS = 3
CALL_SECONDS = 30
"""For a call that says nothing else; over gRPC every write."""
RECONNECT = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 1_000}
NOT_ALLOWED = (401, 403)
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is. `setting` is what the operator set it with."""

    url: str
    setting: str = "QDRANT_URL"
    api_key: str | None = field(default=None, repr=False)
    grpc_port: int | None = None

    @property
    def host(self) -> str:
        return f"{urlsplit(self.url).hostname}:{self.port}"

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or REST_PORT


class Gone(Exception):
    """The server answers, and the collection is not there."""


def connect(address: Address, collection: str) -> QdrantClient:
    """A client over gRPC where the server offers it, else over REST; close it when done.

    gRPC is looked for at its usual port when REST is at its own, or at the port that was named: another port of the
    host may be another server. Raises `Unavailable` or `InvalidInput`, which name the setting and the host.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes a line for every request
    version = _check(address, collection)
    port = address.grpc_port or (GRPC_PORT if address.port == REST_PORT else None)
    return _client(address, port if port and _offers_grpc(address, port, version) else None, CALL_SECONDS)


def describe(address: Address, collection: str) -> str:
    """The server in a few words. Raises as `connect` does."""
    with closing(connect(address, collection)) as client, starting(address):
        way = "gRPC" if client.init_options["prefer_grpc"] else "REST"
        return f"Qdrant {client.info().version} at {address.host} over {way}, collection {collection!r}"


def _check(address: Address, collection: str) -> str:
    """The version of the server, which is new enough and takes the key."""
    with closing(_client(address, None, START_SECONDS)) as client, starting(address):
        version = client.info().version
        _check_version(version, address)
        client.collection_exists(collection)
        return version


def _offers_grpc(address: Address, port: int, version: str) -> bool:
    """Whether the same server answers over gRPC."""
    with closing(_client(address, port, START_SECONDS)) as client:
        try:
            return client.info().version == version
        except grpc.RpcError as error:
            log.info("%s answers over REST only: port %d: %s", address.host, port, _reason(error))
            return False


@contextmanager
def starting(address: Address) -> Iterator[None]:
    """Translate failures at start into what is wrong with which setting; the key is never shown."""
    try:
        yield
    except FAILURES as error:
        if _refused(error):
            todo = "refuses this key" if address.api_key else "wants a key: set it"
            message = f"QDRANT_API_KEY: the Qdrant server at {address.host} {todo}"
            raise InvalidInput(message, fields=("QDRANT_API_KEY",)) from error
        message = f"{address.setting}: the Qdrant server at {address.host} cannot be used: {_reason(error)}"
        raise Unavailable(message, fields=(address.setting,)) from error


@contextmanager
def server_failures(what: str) -> Iterator[None]:
    """Translate failures of a call into `Unavailable`, or `Gone` where there is no collection."""
    try:
        yield
    except FAILURES as error:
        if _missing(error):
            raise Gone from error
        reason = "it refuses the key, see QDRANT_API_KEY" if _refused(error) else _reason(error)
        log.warning("%s: %s (%s)", what, reason, " ".join(str(error).split())[:500])
        raise Unavailable(f"{what}: the Qdrant server does not do it: {reason}") from error


def _client(address: Address, grpc_port: int | None, seconds: int) -> QdrantClient:
    """The key goes as a header, as the client would send it: it would also take it as a reason for TLS."""
    return QdrantClient(
        url=address.url,
        port=REST_PORT,
        grpc_port=grpc_port or GRPC_PORT,
        prefer_grpc=grpc_port is not None,
        headers={"api-key": address.api_key} if address.api_key else {},
        timeout=seconds,
        grpc_options=dict(RECONNECT),
        check_compatibility=False,
    )


def _check_version(version: str, address: Address) -> None:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        message = (
            f"{address.setting}: the Qdrant server at {address.host} has the version {version}, and Soma needs "
            f"{OLDEST[0]}.{OLDEST[1]} or newer: older ones count the words of all namespaces together"
        )
        raise InvalidInput(message, fields=(address.setting,))


def _missing(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404
    return isinstance(error, grpc.RpcError) and error.code() == grpc.StatusCode.NOT_FOUND


def _refused(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in NOT_ALLOWED
    return isinstance(error, grpc.RpcError) and error.code() in REFUSED


def _reason(error: Exception) -> str:
    """Why, in a few words."""
    if isinstance(error, UnexpectedResponse):
        return f"HTTP {error.status_code}"
    if isinstance(error, grpc.RpcError):
        return f"gRPC {error.code().name}"
    source = error.source if isinstance(error, ResponseHandlingException) else error
    name = type(source).__name__
    if name == "ValidationError":
        return "what answers there is no Qdrant server"
    return "no answer in time" if "Timeout" in name else f"{name}: {source}"[:200]
