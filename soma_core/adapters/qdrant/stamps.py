"""What is written beside a namespace's index: whose it is, how far it goes, and which files it must have."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from soma_core.ports.index import Checkpoint

FORMAT = 3
"""Of the stamp, the points, their words and the engine's configuration together.

An index of another format starts empty."""
STAMP = "checkpoint.json"
SHARD = "shard"
SEGMENTS = "segments"
IDS = "mutable_id_tracker.mappings"
"""The file that the engine only appends to, and that can kill the process where it is wrong."""
COMES_AND_GOES = ("tracker_journal.dat", "flags_a.dat", "flags_b.dat")
"""Files that the engine takes away again; all others only grow."""

Files = Mapping[str, Sequence[int]]
"""By their path inside the folder, the size of each file in bytes; of `IDS` a checksum too."""


class Damaged(Exception):
    """An index cannot be used as it is. The message completes the sentence "the index ..."."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Whose index it is. Any difference makes it another one."""

    namespace: str
    store_id: str
    model_id: str
    language: str
    format: int = field(default=FORMAT)
    sparse_model_id: str | None = None
    """None: it has no learned arm."""


def write_stamp(folder: Path, stamp: Stamp, checkpoint: Checkpoint, files: Files) -> None:
    """Write the stamp so that it survives a power cut, whole or not at all.

    `files` are as they were right after the engine's flush: what is written meanwhile may not survive.
    """
    entries = {**asdict(stamp), **asdict(checkpoint), "files": dict(files)}
    fresh = folder / f"{STAMP}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(entries, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / STAMP)
    sync_folder(folder)


def read_stamp(folder: Path, stamp: Stamp) -> Checkpoint:
    """The checkpoint of the index in `folder`. Raises `Damaged` unless it is `stamp`'s own and complete."""
    try:
        entries = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        checkpoint = Checkpoint(int(entries["words"]), int(entries["vectors"]))
        files: Files = dict(entries["files"])
    except FileNotFoundError:
        raise Damaged("has no checkpoint") from None
    except (ValueError, KeyError, TypeError):
        raise Damaged("has an unreadable checkpoint") from None
    for name, wanted in asdict(stamp).items():
        if entries.get(name) != wanted:
            raise Damaged(f"has the {name.removesuffix('_id')} {entries.get(name)!r}, not {wanted!r}")
    _check_files(folder, files)
    return checkpoint


def list_files(folder: Path) -> dict[str, list[int]]:
    """The files of the index in `folder` that must be there from now on, as they are."""
    files: dict[str, list[int]] = {}
    for path in (folder / SHARD / SEGMENTS).rglob("*"):
        if path.is_file() and path.name not in COMES_AND_GOES:
            size = path.stat().st_size
            files[str(path.relative_to(folder))] = [size, _checksum(path, size)] if path.name == IDS else [size]
    return files


def _check_files(folder: Path, files: Files) -> None:
    """The engine takes a missing or shortened file for an empty one and says nothing, so this looks first."""
    for name, (size, *checksum) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size < size:
            raise Damaged(f"lacks all or part of its file {path.name}")
        if checksum and [_checksum(path, size)] != checksum:
            raise Damaged(f"holds something else in its file {path.name}")


def _checksum(path: Path, size: int) -> int:
    with path.open("rb") as file:
        return zlib.crc32(file.read(size))


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
