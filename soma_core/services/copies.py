"""Comparing what is kept beside records and index with them: the events that wait, and the bodies in the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from soma_core.ports.outbox import Held
from soma_core.ports.records import RecordStore
from soma_core.services.caching import Bodies

LONG = timedelta(minutes=1)
"""What has not gone on for so long is not merely on its way."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class LogDrift:
    """The events of a namespace that wait, and those among them that are older than a minute and go nowhere."""

    waiting: int
    """Memories and changes that the index may lack for now: they explain differences."""
    unsent: int
    """Old ones that no relay has sent."""
    stuck: int
    """Old ones that were sent and whose memories the index lacks: late, or given up, or lost by the log."""
    left_over: int
    """Old ones that were sent and wait, though the index has their memories as the records have them."""

    @property
    def is_clean(self) -> bool:
        return not (self.unsent or self.left_over)


@dataclass(frozen=True, slots=True)
class CacheDrift:
    """The bodies of a namespace's memories in the cache."""

    bodies: int
    outdated: int
    """Of older versions: nobody reads them, and they go within a minute."""
    forgotten: int
    """Of memories that are not live."""
    altered: int
    """Of the live version, saying something else than the records."""

    @property
    def is_clean(self) -> bool:
        return not (self.forgotten or self.altered)


class Copy(NamedTuple):
    """A body in the cache that is not what the records have."""

    kind: Literal["outdated", "forgotten", "altered"]
    memory: UUID
    version: int

    def __str__(self) -> str:
        return f"memory {self.memory} version {self.version}: {_MEANINGS[self.kind]}"


_MEANINGS = {
    "outdated": "the cache holds this older version yet",
    "forgotten": "the cache holds it, and the records let go of the memory",
    "altered": "the cache says something else than the records",
}


def log_drift(held: Sequence[Held], differing: Collection[UUID], now: datetime) -> LogDrift:
    """`differing`: the memories that the index has not as the records have them."""
    old = [each for each in held if now - each.event.time > LONG]
    sent = [each.event.memory_id in differing for each in old if each.sent]
    return LogDrift(waiting=len(held), unsent=len(old) - len(sent), stuck=sum(sent), left_over=len(sent) - sum(sent))


def cache_drift(records: RecordStore, bodies: Bodies, namespace: str) -> tuple[CacheDrift, list[Copy]]:
    """It looks twice, as memories change meanwhile."""
    number, found = _copies(records, bodies, namespace)
    if found:
        before = set(found)
        number, again = _copies(records, bodies, namespace)
        found = [each for each in again if each in before]
    kinds = Counter(each.kind for each in found)
    drift = CacheDrift(number, kinds["outdated"], kinds["forgotten"], kinds["altered"])
    return drift, [each for each in found if each.kind != "outdated"]


def _copies(records: RecordStore, bodies: Bodies, namespace: str) -> tuple[int, list[Copy]]:
    """How many bodies there are, and those that are not as the records have them."""
    kept = bodies.kept(namespace)
    found: list[Copy] = []
    ids = list(kept)
    for start in range(0, len(ids), BATCH):
        now = records.read(namespace, ids[start : start + BATCH])
        for key in ids[start : start + BATCH]:
            version, said = kept[key]
            if key not in now:
                found.append(Copy("forgotten", key, version))
            elif now[key].version != version:
                found.append(Copy("outdated", key, version))
            elif now[key] != said:
                found.append(Copy("altered", key, version))
    return len(ids), sorted(found)
