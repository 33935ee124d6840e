"""What is asked for again and again, kept for a while: vectors of questions, and memories as they were read."""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from soma_core.domain.memory import Memory, MemoryType
from soma_core.ports.cache import Cache
from soma_core.ports.embedder import Embedder, Vector, WrappedEmbedder
from soma_core.ports.records import RecordStore
from soma_core.ports.telemetry import Telemetry

VECTOR_SECONDS = 3_600.0
BODY_SECONDS = 60.0
READ_SECONDS = 10.0
"""What took longer to read is not kept: it may have been dropped long ago."""


class CachingEmbedder(WrappedEmbedder):
    """An `Embedder` that remembers the vectors of questions, by model and text."""

    def __init__(self, inner: Embedder, cache: Cache, telemetry: Telemetry) -> None:
        super().__init__(inner)
        self._cache = cache
        self._telemetry = telemetry

    def embed_query(self, text: str) -> Vector:
        """The vector of a question, to the bit as the inner embedder gave it."""
        key = f"vector:{_digest(self.model_id, text)}"
        kept = self._cache.get([key])[0]
        hit = kept is not None and len(kept) == 8 * self.dimensions
        self._telemetry.cache_asked("query_vectors", hit, not hit)
        if kept is not None and hit:
            return array("d", kept).tolist()
        vector = self._wrapped.embed_query(text)
        self._cache.put({key: array("d", vector).tobytes()}, VECTOR_SECONDS)
        return vector


class Bodies:
    """The memories behind versions that the records have just confirmed, from the cache as far as it has them.

    Whether a memory is live, and at which version, is never read from a cache: who asks has asked the records.
    """

    def __init__(self, records: RecordStore, cache: Cache | None, telemetry: Telemetry) -> None:
        """Without a cache all is read from the records."""
        self._records = records
        self._cache = cache
        self._telemetry = telemetry

    def read(self, namespace: str, versions: Mapping[UUID, int]) -> dict[UUID, Memory]:
        """These versions; where the records have moved on since, what they say now, and nothing of what is gone."""
        if self._cache is None:
            return self._records.read(namespace, list(versions))
        kept = self._cache.get([_key(namespace, memory) for memory in versions])
        found = {}
        for (memory, version), body in zip(versions.items(), kept, strict=True):
            if body is not None and (said := _decoded(body, namespace, memory, version)):
                found[memory] = said
        missing = [memory for memory in versions if memory not in found]
        self._telemetry.cache_asked("bodies", len(found), len(missing))
        return found | self._fetched(self._cache, namespace, missing) if missing else found

    def drop(self, namespace: str, memories: Sequence[UUID]) -> bool:
        """Let the cache forget these memories, whatever their version; False when it may take a minute."""
        return self._cache is None or self._cache.drop([_key(namespace, memory) for memory in memories])

    def kept(self, namespace: str) -> dict[UUID, tuple[int, Memory | None]]:
        """What the cache holds of the namespace: versions, and what it says of them; None for what cannot be read."""
        found: dict[UUID, tuple[int, Memory | None]] = {}
        for key, body in self._cache.entries(_beginning(namespace)) if self._cache else ():
            memory = UUID(key.removeprefix(_beginning(namespace)))
            version = _version(body)
            found[memory] = version, _decoded(body, namespace, memory, version)
        return found

    @property
    def cached(self) -> bool:
        """Whether there is a cache of them."""
        return self._cache is not None

    def _fetched(self, cache: Cache, namespace: str, missing: Sequence[UUID]) -> dict[UUID, Memory]:
        began = time.monotonic()
        read = self._records.read(namespace, missing)
        if time.monotonic() - began < READ_SECONDS:
            cache.put({_key(namespace, memory.id): _encoded(memory) for memory in read.values()}, BODY_SECONDS)
        return read


def _digest(*parts: str) -> str:
    """Of fixed length, whatever the parts hold."""
    said = "\0".join(f"{len(part)}\0{part}" for part in parts)
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def _key(namespace: str, memory: UUID) -> str:
    """One for all versions of a memory, so that they go together."""
    return f"{_beginning(namespace)}{memory.hex}"


def _beginning(namespace: str) -> str:
    """Of the keys of all its memories."""
    return f"body:{_digest(namespace)}:"


_FIELDS = [field.name for field in fields(Memory) if field.name not in ("id", "namespace", "version")]
_MOMENTS = ("occurred_at", "recorded_at", "created_at")


def _encoded(memory: Memory) -> bytes:
    said: dict[str, Any] = {name: getattr(memory, name) for name in _FIELDS}
    said |= {name: said[name].isoformat() for name in _MOMENTS}
    return json.dumps([memory.namespace, memory.id.hex, memory.version, said]).encode()


def _version(body: bytes) -> int:
    """The version that was encoded; 0 for what cannot be read."""
    try:
        return int(json.loads(body)[2])
    except (ValueError, TypeError, LookupError):
        return 0


def _decoded(body: bytes, namespace: str, memory: UUID, version: int) -> Memory | None:
    """The memory that was encoded; None for another one, another version, or what cannot be read."""
    try:
        *about, said = json.loads(body)
        if about != [namespace, memory.hex, version]:
            return None
        said |= {name: datetime.fromisoformat(said[name]) for name in _MOMENTS}
        said |= {"type": MemoryType(said["type"]), "tags": tuple(said["tags"])}
        return Memory(id=memory, namespace=namespace, version=version, **said)
    except (ValueError, TypeError, KeyError):
        return None
