"""The shards that are open: the least recently used makes room for the next."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from soma_core.adapters.qdrant.shards import Shard, create_shard, engine_failures, flush_shard, named, open_shard
from soma_core.adapters.qdrant.stamps import Damaged, Stamp
from soma_core.adapters.qdrant.turns import Turns
from soma_core.domain.errors import Unavailable

log = logging.getLogger(__name__)


class Shelf:
    """One shard a namespace, in a folder of its own. A shard stays open while a call holds it.

    Opening and closing happen under a lock that the users of open shards never take.
    """

    def __init__(self, folder: Path, stamp: Stamp, dimensions: int | None, turns: Turns, max_open: int) -> None:
        self._folder = folder
        self._stamp = stamp
        self._dimensions = dimensions
        self._turns = turns
        self._max_open = max_open
        self._moving = threading.Lock()
        self._table = threading.Condition()
        self._open: OrderedDict[str, Shard] = OrderedDict()
        self._known: set[str] = set()
        self._closed = False
        self.rebuilt: list[str] = []
        self._clear_the_way()
        self.begun_anew: set[str] = set()
        """Namespaces that lost their index and whose owner has not asked for the checkpoint since."""

    def _clear_the_way(self) -> None:
        """The folder is all Soma's: a file in its place is damage like any other."""
        if self._folder.exists() and not self._folder.is_dir():
            self._folder.unlink()
            self.rebuilt.append(f"{self._folder} was a file: the index starts empty and is rebuilt from the records")
            log.warning("%s", self.rebuilt[-1])

    @contextmanager
    def found(self, namespace: str) -> Iterator[Shard | None]:
        """Hold the shard of a namespace, or None where there is none."""
        shard = self._take(namespace) or self._bring(namespace, create=False)
        try:
            yield shard
        finally:
            if shard:
                self._leave(shard)

    @contextmanager
    def made(self, namespace: str) -> Iterator[Shard]:
        """Hold the shard of a namespace, which is made where there is none."""
        shard = self._take(namespace) or self._bring(namespace, create=True)
        if shard is None:
            raise AssertionError("a shard to be made is never None")
        try:
            yield shard
        finally:
            self._leave(shard)

    def is_open(self, namespace: str) -> bool:
        with self._table:
            return namespace in self._open

    def drop(self, namespace: str) -> None:
        """Wait for the calls that hold the shard, close it and delete its files."""
        with self._moving:
            with self._table:
                shard = self._open.pop(namespace, None)
                self._table.wait_for(lambda: shard is None or shard.users == 0)
            if shard:
                self._close_shard(shard)
            self._known.discard(namespace)
            self._delete(namespace)

    def close(self) -> None:
        """Wait for the calls that hold shards and close all; later calls raise `Unavailable`."""
        with self._moving:
            with self._table:
                self._closed = True
                shards = list(self._open.values())
                self._open.clear()
                self._table.wait_for(lambda: not any(shard.users for shard in shards))
            for shard in shards:
                self._close_shard(shard)

    def _take(self, namespace: str) -> Shard | None:
        with self._table:
            if self._closed:
                raise Unavailable("the index is closed")
            shard = self._open.get(namespace)
            if shard:
                shard.users += 1
                self._open.move_to_end(namespace)
            return shard

    def _leave(self, shard: Shard) -> None:
        with self._table:
            shard.users -= 1
            self._table.notify_all()

    def _bring(self, namespace: str, *, create: bool) -> Shard | None:
        with self._moving:
            shard = self._take(namespace)
            if shard is None:
                shard = self._load(namespace) or (self._create(namespace) if create else None)
                if shard:
                    self._put_in(namespace, shard)
            return shard

    def _put_in(self, namespace: str, shard: Shard) -> None:
        self._known.add(namespace)
        with self._table:
            shard.users = 1
            self._open[namespace] = shard

    def _load(self, namespace: str) -> Shard | None:
        """Open what is there. Where that cannot be used it is deleted, and said."""
        folder = self._folder_of(namespace)
        try:
            if folder.exists():
                self._make_room()
                return open_shard(folder, self._stamp_of(namespace))
            if namespace in self._known:
                raise Damaged("was deleted while it was in use")
        except Damaged as damage:
            self._begin_anew(namespace, damage)
        return None

    def _create(self, namespace: str) -> Shard:
        if self._dimensions is None:
            raise Unavailable(
                f"the index of {named(namespace)} cannot be made without its model {self._stamp.model_id}"
            )
        self._make_room()
        return create_shard(self._folder_of(namespace), self._stamp_of(namespace), self._dimensions)

    def _begin_anew(self, namespace: str, damage: Damaged) -> None:
        sentence = f"the index of {named(namespace)} {damage}: it starts empty and is rebuilt from the records"
        log.warning("%s (%s)", sentence, damage.__cause__ or "no error")
        self._delete(namespace)
        self._known.discard(namespace)
        self.begun_anew.add(namespace)
        self.rebuilt.append(sentence)

    def _make_room(self) -> None:
        while victim := self._least_used():
            self._close_shard(victim)

    def _least_used(self) -> Shard | None:
        """Take the shard that was not used for longest off the shelf, if that is full; one in use stays."""
        with self._table:
            if len(self._open) < self._max_open:
                return None
            for namespace, shard in self._open.items():
                if not shard.users:
                    return self._open.pop(namespace)
            return None

    def _close_shard(self, shard: Shard) -> None:
        """Let go of a shard. It is flushed, as the engine would by itself, and its checkpoint stays where it was."""
        try:
            with self._turns.write(), engine_failures(f"{shard.folder} was not closed well"):
                flush_shard(shard)
                shard.engine.close()
        except Unavailable:
            pass  # Said by `engine_failures`; what was not written is replayed.

    def _delete(self, namespace: str) -> None:
        with engine_failures(f"the index of {named(namespace)} could not be deleted"):
            if (folder := self._folder_of(namespace)).exists():
                shutil.rmtree(folder)

    def _stamp_of(self, namespace: str) -> Stamp:
        return replace(self._stamp, namespace=namespace)

    def _folder_of(self, namespace: str) -> Path:
        return self._folder / hashlib.sha256(namespace.encode()).hexdigest()[:32]
