"""Making and opening the shard of one namespace, and what the engine's failures mean."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid5

import qdrant_edge as edge

from soma_core.adapters.qdrant.points import AT, DENSE, LABELS, LEARNED, MEMORY, SCOPE, WORDS
from soma_core.adapters.qdrant.stamps import SHARD, Damaged, Stamp, list_files, read_stamp, sync_folder, write_stamp
from soma_core.domain.errors import Unavailable
from soma_core.domain.memory import ID_SPACE
from soma_core.ports.index import Checkpoint

log = logging.getLogger(__name__)

NEVER = 10**9
LOG_BYTES = 2 * 1024 * 1024
MARK = uuid5(ID_SPACE, "mark")
"""A point without vectors, in no scope, which is only there to see that writes are taken."""
ATTEMPTS = "opening"
PLAIN = "plain"
MAX_ATTEMPTS = 3
PASSING = {errno.EACCES, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EPERM, errno.EROFS}
"""Errors of the system that say nothing about the files."""


@dataclass(slots=True, eq=False)
class Shard:
    """An open shard. `users` counts the calls that hold it; `flushing` keeps two flushes apart."""

    engine: edge.EdgeShard
    folder: Path
    stamp: Stamp
    checkpoint: Checkpoint
    plain: bool
    """Whether every point that it ever held is there and current. Shards made before this was noted are not."""
    users: int = 0
    flushing: threading.Lock = field(default_factory=threading.Lock)


def create_shard(folder: Path, stamp: Stamp, dimensions: int) -> Shard:
    """Make an empty index in `folder`, which must not exist. Raises `Unavailable`, leaving nothing."""
    try:
        with engine_failures(f"the index of {named(stamp.namespace)} could not be made"):
            (folder / SHARD).mkdir(parents=True)
            write_stamp(folder, stamp, Checkpoint(), list_files(folder))
            config = json.dumps(_config(dimensions, learned=stamp.sparse_model_id is not None))
            (folder / SHARD / "edge_config.json").write_text(config, encoding="utf-8")
            engine = edge.EdgeShard.load(str(folder / SHARD))
            _index_fields(engine)
            (folder / PLAIN).touch()
    except Unavailable:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Shard(engine, folder, stamp, Checkpoint(), plain=True)


def open_shard(folder: Path, stamp: Stamp) -> Shard:
    """Open the index in `folder`. Raises `Damaged` where it cannot be used, `Unavailable` where it can later."""
    with _loading(stamp.namespace):
        checkpoint = read_stamp(folder, stamp)
        with _counted(folder / ATTEMPTS):
            engine = edge.EdgeShard.load(str(folder / SHARD))
            _index_fields(engine)
            _check_writes(engine)
    return Shard(engine, folder, stamp, checkpoint, plain=(folder / PLAIN).exists())


def flush_shard(shard: Shard) -> None:
    """Make everything written so far survive a power cut."""
    _mark(shard.engine)
    shard.engine.flush()


def mix(shard: Shard) -> None:
    """Note, so that it survives a power cut, that the shard is not plain from now on."""
    if shard.plain:
        with engine_failures(f"the index of {named(shard.stamp.namespace)} could not be written"):
            (shard.folder / PLAIN).unlink(missing_ok=True)
            sync_folder(shard.folder)
            shard.plain = False


@contextmanager
def engine_failures(what: str) -> Iterator[None]:
    """Translate the failures of the engine and the file system into `Unavailable`: `what`, and what to do next."""
    try:
        yield
    except Unavailable:
        raise
    except BaseException as error:
        if not _is_failure(error):
            raise
        log.warning("%s: %s: %s", what, type(error).__name__, error)
        raise Unavailable(f"{what}; if that lasts, `soma reindex` rebuilds it from the records") from error


def named(namespace: str) -> str:
    """A namespace for a message: quoted, and cut if it is long."""
    return repr(namespace if len(namespace) <= 60 else namespace[:57] + "...")


def _is_failure(error: BaseException) -> bool:
    # A panic in the engine's Rust is no Exception, and its class cannot be imported.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


@contextmanager
def _loading(namespace: str) -> Iterator[None]:
    """Tell failures that come from the files from those that will pass."""
    try:
        yield
    except Damaged:
        raise
    except BaseException as error:
        if not _is_failure(error):
            raise
        if reason := _passing_reason(error):
            raise Unavailable(f"the index of {named(namespace)} cannot be opened now: {reason}") from error
        raise Damaged("cannot be opened") from error


def _passing_reason(error: BaseException) -> str | None:
    """Why files could not be opened that may well be sound. The engine tells errors of the system only in its text."""
    if "WouldBlock" in str(error):
        return "another process holds it"
    found = re.search(r"os error (\d+)", str(error))
    code = error.errno if isinstance(error, OSError) else int(found.group(1)) if found else None
    return os.strerror(code) if code in PASSING else None


@contextmanager
def _counted(attempts: Path) -> Iterator[None]:
    """Raise `Damaged` where the process died in here several times running: some damage kills it in the engine."""
    with attempts.open("ab") as file:
        if file.tell() >= MAX_ATTEMPTS:
            raise Damaged(f"killed the process the last {MAX_ATTEMPTS} times it was opened")
        file.write(b".")
    try:
        yield
    finally:
        attempts.unlink(missing_ok=True)


def _config(dimensions: int, *, learned: bool) -> dict[str, Any]:
    """The configuration as the engine keeps it, which has more to choose than its Python classes.

    `cold`: nothing is held in memory that need not be; a small shard would pay for whole chunks of 32 MB. The log in
    files of 2 MB, not of 32, because opening reads the last one in. One search thread, as there is one segment. And
    no graph is ever built: building one stops every thread of the process for minutes.
    """
    quantised = {"turbo": {"bits": "bits4", "memory": "cold"}}
    dense = {"size": dimensions, "distance": "Cosine", "datatype": "float16", "memory": "cold"}
    return {
        "vectors": {DENSE: {**dense, "quantization_config": quantised}},
        "sparse_vectors": {WORDS: {"modifier": "idf"}} | ({LEARNED: {}} if learned else {}),
        "payload_memory": "cold",
        "optimizers": {"indexing_threshold": NEVER},
        "max_search_threads": 1,
        "wal_options": {"segment_capacity": LOG_BYTES, "segment_queue_len": 0, "retain_closed": 1},
    }


def _index_fields(engine: edge.EdgeShard) -> None:
    """Index the payload fields that filters use, where that was not done: 10 ms each."""
    wanted: dict[str, edge.PayloadSchemaType] = {
        MEMORY: edge.PayloadSchemaType.Uuid,
        SCOPE: edge.PayloadSchemaType.Keyword,
        LABELS: edge.PayloadSchemaType.Keyword,
        AT: edge.PayloadSchemaType.Datetime,
    }
    for name in wanted.keys() - engine.info().payload_schema.keys():
        engine.update(edge.UpdateOperation.create_field_index(name, wanted[name]))


def _mark(engine: edge.EdgeShard) -> str:
    """Write the mark, with a new value."""
    value = str(time.time_ns())
    engine.update(edge.UpdateOperation.upsert_points([edge.Point(str(MARK), {}, {"value": value})]))
    return value


def _check_writes(engine: edge.EdgeShard) -> None:
    """Raise `Damaged` where writes to points that are there already have no effect.

    The engine numbers its writes by its log and skips those that are older than the point. Without its log it begins
    again at 0 and skips them all, in silence. The mark is written last before every flush, so it is skipped too.
    """
    value = _mark(engine)
    found = engine.retrieve([MARK], True, False)
    if not found or (found[0].payload or {}).get("value") != value:
        raise Damaged("has lost its log")
