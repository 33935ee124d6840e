"""`EventStream` within a process: for tests of those who publish and consume."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from zlib import crc32

from soma_core.ports.stream import Message, Received, Topic


@dataclass(slots=True)
class _Group:
    """Who is in a group, and the next message of each partition to be handled."""

    members: list[MemoryConsumer] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)

    def share_out(self, partitions: int) -> None:
        """Give each partition to one member; one that changes hands starts from what was committed."""
        for place, member in enumerate(self.members):
            member.take({p for p in range(partitions) if p % len(self.members) == place})


class MemoryStream:
    """Messages in lists; they end with the object, not with `close`."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.changed = threading.Condition(threading.RLock())
        self.logs: dict[Topic, list[list[Received]]] = {topic: [[] for _ in range(partitions)] for topic in Topic}
        self._groups: dict[tuple[Topic, str], _Group] = {}

    def publish(self, topic: Topic, messages: Iterable[Message]) -> None:
        with self.changed:
            for message in messages:
                number = crc32(message.key.encode()) % self.partitions
                log = self.logs[topic][number]
                log.append(Received(topic, number, len(log), message.key, message.value))
            self.changed.notify_all()

    def consume(self, topic: Topic, group: str) -> MemoryConsumer:
        with self.changed:
            joined = self._groups.setdefault((topic, group), _Group())
            consumer = MemoryConsumer(self, topic, joined)
            joined.members.append(consumer)
            joined.share_out(self.partitions)
            return consumer

    def read(self, topic: Topic) -> Sequence[Received]:
        with self.changed:
            return [message for log in self.logs[topic] for message in log]

    def lag(self, topic: Topic, group: str) -> Mapping[int, int]:
        with self.changed:
            done = self._groups.get((topic, group), _Group()).committed
            return {number: len(log) - done.get(number, 0) for number, log in enumerate(self.logs[topic])}

    def close(self) -> None: ...


class MemoryConsumer:
    """A member of a group of a `MemoryStream`."""

    def __init__(self, stream: MemoryStream, topic: Topic, group: _Group) -> None:
        self._stream = stream
        self._logs = stream.logs[topic]
        self._group = group
        self._next: dict[int, int] = {}

    def take(self, partitions: set[int]) -> None:
        """Have these partitions from here on, and no others."""
        kept = {number: at for number, at in self._next.items() if number in partitions}
        self._next = {number: self._group.committed.get(number, 0) for number in partitions} | kept

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        with self._stream.changed:
            self._stream.changed.wait_for(self._waits, seconds)
            found: list[Received] = []
            for number, at in self._next.items():
                found += self._logs[number][at : at + limit - len(found)]
            for message in found:
                self._next[message.partition] = message.position + 1
            return found

    def commit(self) -> None:
        with self._stream.changed:
            self._group.committed |= self._next

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def lag(self) -> Mapping[int, int]:
        with self._stream.changed:
            return {number: len(self._logs[number]) - self._group.committed.get(number, 0) for number in self._next}

    def close(self) -> None:
        with self._stream.changed:
            if self in self._group.members:
                self._group.members.remove(self)
                self._group.share_out(self._stream.partitions)
                self._stream.changed.notify_all()

    def _waits(self) -> bool:
        return any(len(self._logs[number]) > at for number, at in self._next.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
