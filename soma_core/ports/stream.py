"""How news travels from the process that records it to those that act on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self


class Topic(StrEnum):
    """What there is to follow."""

    EVENTS = "memory.events"
    DEAD_LETTERS = "memory.dead_letters"


INDEXER = "vector_indexer"
"""Those who bring events into the index."""


def group_of(component: str) -> str:
    """The group of all who do the same work."""
    return f"soma.{component}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. Messages of one key keep their order."""

    key: str
    value: bytes | None
    """None says that what was published under the key counts no more."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message and where it stands."""

    topic: Topic
    partition: int
    position: int
    """Its place in the partition: larger than that of every message there before it, and never another message's."""
    key: str
    value: bytes | None


class Consumer(Protocol):
    """One member of a group. Not safe to call from several threads.

    Every message of the topic goes to one member of each group, once at least: a partition has one member at a time,
    which gets its messages in order. A group has a position in each partition, that of the next message to be handled;
    all before it were handled. `commit` moves it, nothing else does. A member that leaves or dies hands its partitions
    on, and the next one starts from there, so what was polled and not committed comes again. A new group starts with
    the first message that there is.
    """

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """At most `limit` messages: those there are, else the first to come; empty when none came for so long.

        Raises `Unavailable`.
        """
        ...

    def commit(self) -> None:
        """All that was polled is handled, for good when this returns.

        Partitions that went to another member meanwhile are left alone; it handles their messages again. Raises
        `Unavailable`.
        """
        ...

    def rest(self, seconds: float) -> None:
        """Wait, taking nothing, while the group goes on counting on this member."""
        ...

    def lag(self) -> Mapping[int, int]:
        """How many messages wait in each partition that this member has, those in its hands included.

        Raises `Unavailable`.
        """
        ...

    def close(self) -> None:
        """Leave the group; what was polled and not committed comes again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class EventStream(Protocol):
    """Topics of messages that outlive those who publish them. Safe to call from many threads.

    Delivery is at least once and in order within a key: whoever acts on messages must not mind one that comes again.
    """

    def publish(self, topic: Topic, messages: Iterable[Message]) -> None:
        """Returns when the stream has all of them for good. Raises `Unavailable`; any of them may be there then."""
        ...

    def consume(self, topic: Topic, group: str) -> Consumer:
        """Join a group; close what is returned. Raises `Unavailable`."""
        ...

    def read(self, topic: Topic) -> Sequence[Received]:
        """All that is in a topic now, for no group. Raises `Unavailable`."""
        ...

    def lag(self, topic: Topic, group: str) -> Mapping[int, int]:
        """How many messages of each partition the group has not handled, whether it has members or not.

        Raises `Unavailable`.
        """
        ...

    def close(self) -> None:
        """Let go of it. What was published stays."""
        ...
