"""The namespaces of a collection on a Qdrant server, and their stamps there: whose each is, and how far it goes."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid5

from qdrant_client import QdrantClient, models

from soma_core.adapters.qdrant.points import LABELS, label
from soma_core.adapters.qdrant.server_requests import server_filter
from soma_core.adapters.qdrant.shards import named
from soma_core.adapters.qdrant.stamps import Stamp
from soma_core.domain.memory import ID_SPACE
from soma_core.ports.index import Checkpoint

log = logging.getLogger(__name__)

STAMPS = label("kind", "stamp")
MOST_STAMPS = 100
OWNERS = ("store_id", "model_id", "sparse_model_id", "language", "format")
"""What makes an index another one, in the order in which it is named."""


class Tenants:
    """Every namespace is one tenant of the collection for each store, model and language that wrote it.

    So two stores in one collection never see or harm each other, and no search mixes the vectors of two models. The
    stamp is a point without vectors that belongs to no tenant.
    """

    def __init__(self, client: QdrantClient, collection: str, stamp: Stamp, *, max_open: int, seconds: int) -> None:
        self._client = client
        self._collection = collection
        self._stamp = stamp
        self._max_open = max_open
        self._seconds = seconds
        self._owner = _owner(stamp)
        self._changing = threading.RLock()
        self._table = threading.Lock()
        self._at_hand: OrderedDict[str, None] = OrderedDict()
        self._seen: set[str] = set()
        self._looked_at: set[str] = set()
        self._begun_anew: set[str] = set()
        """Namespaces that lost their index and whose owner has not asked for the checkpoint since."""
        self.rebuilt: list[str] = []

    def tenant(self, namespace: str) -> str:
        return f"{self._owner}/{namespace}"

    def made(self, namespace: str) -> str:
        """The tenant of a namespace that is about to be written; it gets its stamp where it has none."""
        if not self.is_at_hand(namespace) and self._read(namespace) is None:
            with self._changing:
                self._read_or_begin(namespace)
        return self.tenant(namespace)

    def is_at_hand(self, namespace: str) -> bool:
        """Whether the namespace was used lately and needs no asking."""
        with self._table:
            if namespace in self._at_hand:
                self._at_hand.move_to_end(namespace)
            return namespace in self._at_hand

    def checkpoint(self, namespace: str) -> Checkpoint:
        found = self._read(namespace)
        with self._changing:
            found = found or self._read(namespace)
            if found is None:
                self._say_why(namespace)
            self._begun_anew.discard(namespace)
        return found or Checkpoint()

    def record(self, namespace: str, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; (0, 0) for a namespace begun anew whose owner does not know that yet."""
        with self._changing:
            self._read_or_begin(namespace)
            self._write(namespace, Checkpoint() if namespace in self._begun_anew else checkpoint)

    def check(self, namespace: str) -> None:
        """Notice when a namespace that had a stamp has lost it."""
        if namespace in self._seen and self._read(namespace) is None:
            with self._changing:
                self._say_if_lost(namespace)

    def drop(self, namespace: str) -> None:
        """Delete a namespace: the stamp first, so that no checkpoint outlives what it describes."""
        with self._changing:
            self._forget(namespace)
            self._delete(self.tenant(namespace))

    def check_all(self) -> None:
        """The same for every namespace that was in use."""
        with self._changing:
            for namespace in list(self._seen):
                self._say_if_lost(namespace)

    def _read_or_begin(self, namespace: str) -> None:
        """Give the namespace a stamp, unless it has one. Under the lock: another thread may have been quicker."""
        if self._read(namespace) is None:
            self._say_why(namespace)
            self._write(namespace, Checkpoint())
            self._remember(namespace)

    def _say_if_lost(self, namespace: str) -> None:
        if namespace in self._seen and self._read(namespace) is None:
            self._say_lost(namespace)

    def _say_why(self, namespace: str) -> None:
        """Say why a namespace has no stamp, where it should have one; what another model wrote is deleted."""
        if namespace in self._seen:
            self._say_lost(namespace)
        if namespace in self._looked_at:
            return
        for entries in find_stamps(self._client, self._collection, label("stamp", namespace), seconds=self._seconds):
            differing = [each for each in OWNERS if self._differs(entries, each)]
            if not differing:
                continue
            name = differing[0]
            self._say(namespace, f"has the {name.removesuffix('_id')} {entries.get(name)!r}, not {self._own(name)!r}")
            if name != "store_id":
                self._delete(entries["stamps"])
        self._looked_at.add(namespace)

    def _differs(self, entries: dict[str, Any], name: str) -> bool:
        return bool(entries.get(name) != self._own(name))

    def _own(self, name: str) -> object:
        return asdict(self._stamp)[name]

    def _say_lost(self, namespace: str) -> None:
        self._forget(namespace)
        self._say(namespace, "was deleted while it was in use")

    def _say(self, namespace: str, damage: str) -> None:
        sentence = f"the index of {named(namespace)} {damage}: it starts empty and is rebuilt from the records"
        log.warning("%s", sentence)
        self._begun_anew.add(namespace)
        self.rebuilt.append(sentence)

    def _read(self, namespace: str) -> Checkpoint | None:
        ids = [_stamp_id(self.tenant(namespace))]
        found = self._client.retrieve(self._collection, ids, with_payload=True, timeout=self._seconds)
        if not found:
            return None
        self._remember(namespace)
        entries = found[0].payload or {}
        return Checkpoint(entries["words"], entries["vectors"])

    def _write(self, namespace: str, checkpoint: Checkpoint) -> None:
        tenant, stamp = self.tenant(namespace), replace(self._stamp, namespace=namespace)
        labels = [STAMPS, label("stamp", namespace), *whose(stamp.store_id, stamp.model_id)]
        entries = {**asdict(stamp), **asdict(checkpoint), "stamps": tenant, LABELS: labels}
        point = models.PointStruct(id=_stamp_id(tenant), vector={}, payload=entries)
        self._client.upsert(self._collection, [point], wait=True, timeout=self._seconds)

    def _delete(self, tenant: str) -> None:
        delete_tenant(self._client, self._collection, tenant, self._seconds)

    def _remember(self, namespace: str) -> None:
        with self._table:
            self._seen.add(namespace)
            self._at_hand[namespace] = None
            self._at_hand.move_to_end(namespace)
            if len(self._at_hand) > self._max_open:
                self._at_hand.popitem(last=False)

    def _forget(self, namespace: str) -> None:
        with self._table:
            self._seen.discard(namespace)
            self._at_hand.pop(namespace, None)


def delete_tenant(client: QdrantClient, collection: str, tenant: str, seconds: int) -> None:
    """Delete all of a tenant, its stamp first."""
    selectors = (models.PointIdsList(points=[_stamp_id(tenant)]), models.FilterSelector(filter=server_filter(tenant)))
    for selector in selectors:
        client.delete(collection, selector, wait=True, timeout=seconds)


def _stamp_id(tenant: str) -> str:
    return str(uuid5(ID_SPACE, f"stamp\0{tenant}"))


def _owner(stamp: Stamp) -> str:
    """The start of every tenant's name. What a stamp does not say has no part in it."""
    said = [value for value in asdict(stamp).values() if value is not None]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def whose(store_id: str, model_id: str) -> list[str]:
    """The labels by which the stamps of a store, and of a model of it, are found."""
    return [label("store", store_id), label("model", f"{store_id} {model_id}")]


def find_stamps(
    client: QdrantClient,
    collection: str,
    wanted: str,
    *,
    without: str | None = None,
    limit: int = MOST_STAMPS,
    seconds: int,
) -> Sequence[dict[str, Any]]:
    """What is in the stamps that have one label and lack the other."""
    conditions = [_labelled(STAMPS), _labelled(wanted)]
    chosen = models.Filter(must=[*conditions], must_not=[_labelled(without)] if without else None)
    records, _ = client.scroll(collection, chosen, limit=limit, with_payload=True, timeout=seconds)
    return [record.payload or {} for record in records]


def _labelled(value: str) -> models.FieldCondition:
    return models.FieldCondition(key=LABELS, match=models.MatchValue(value=value))
